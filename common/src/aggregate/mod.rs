//! Aggregates: fixed sets of states, each with a merge rule, and what they finish to.
//!
//! | aggregate | states (rule, input) | argument | answer | over nothing |
//! |---|---|---|---|---|
//! | `count()`, `count(x)` | `sum` one, `sum` not null | any | int | 0 |
//! | `count_if(c)` | `sum` is true | bool | int | 0 |
//! | `sum(x)` | `sum` value, `sum` not null | int, float | as `x` | null |
//! | `avg(x)` | `sum` value (float), `sum` not null | int, float | float | null |
//! | `min(x)`, `max(x)` | `min`, `max` value | bool, int, float, string, timestamp | as `x` | null |
//! | `first(x)`, `last(x)` | `first`, `last` value | bool, int, float, string, timestamp | as `x` | null |
//! | `variance(x)`, `stddev(x)` | `sum` not null, `sum` value (float), `sum` square | int, float | float | null (n < 2) |
//! | `distinct(x)` | `map_max` register | bool, int, float, string, timestamp | int | 0 |
//! | `quantile(x, q)` | `map_sum` bucket | int, float | float | null |
//! | `histogram(c)` | `map_sum` category | bool, int, string | map | null |
//!
//! # What every lowering must do
//! [`fold`] is the reference: a layer that computes states any other way must agree with it.
//! - The argument is converted to the type of the state first (an integer argument of a float `sum` becomes a float).
//! - Null contributes nothing (`not null` contributes 0).
//! - NaN is a value that is not a number, not an absent one: it propagates through `sum`, `avg`, `variance`; it
//!   contributes nothing to `min`, `max` and `quantile`; `count(x)`, `first`, `last` see it like any value; for
//!   `distinct` all NaNs are one value, and so are 0.0 and −0.0.
//! - Integer sums wrap at 64 bits: the only overflow that keeps addition associative, so that a sum which fits is
//!   right whatever the order in which it was made.
//! - `first` and `last` compare event time, then sequence, then the value itself (the lesser is first): rows that
//!   `unnest` made of one record have time and sequence in common.

mod avg;
mod count;
mod count_if;
mod distinct;
mod extreme;
pub mod fold;
mod histogram;
#[cfg(test)]
mod laws;
mod ordered;
mod quantile;
pub mod registers;
pub mod sketch;
mod sum;
mod variance;

use serde::Serialize;

use crate::formula::suggest;
use crate::state::{Input, Rule, StateColumn};
use crate::value::{Type, Value};

/// The aggregates of a definition.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Function {
    /// `count()`: rows; `count(x)`: rows with a value.
    Count,
    /// `sum(x)`.
    Sum,
    /// `avg(x)`.
    Avg,
    /// `min(x)`.
    Min,
    /// `max(x)`.
    Max,
    /// `first(x)`: the value of the earliest event that has one.
    First,
    /// `last(x)`: the value of the latest event that has one.
    Last,
    /// `stddev(x)`: of the sample.
    Stddev,
    /// `variance(x)`: of the sample.
    Variance,
    /// `count_if(condition)`.
    CountIf,
    /// `distinct(x)`.
    Distinct,
    /// `quantile(x, q)`.
    Quantile(f64),
    /// `histogram(category)`.
    Histogram,
}

/// An aggregate of a measure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Aggregate {
    /// Which one.
    pub function: Function,
    /// SQL expression of its argument, over the table's columns; `None` for `count()`.
    pub argument: Option<String>,
    /// Type of the argument.
    pub argument_type: Option<Type>,
}

/// One state that an aggregate needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateSpec {
    /// Last part of its name, unique in the aggregate: `sum`, `count`.
    pub suffix: &'static str,
    /// How it merges.
    pub rule: Rule,
    /// See [`crate::state::StateField::ty`].
    pub ty: Type,
    /// What a row contributes.
    pub input: Input,
}

/// Why a call is not an aggregate. The text is for the author of the definition.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AggregateError {
    /// No aggregate has this name.
    #[error("unknown aggregate `{name}`{}", suggestion.map_or_else(
        || format!("; there are {}", Function::NAMES.join(", ")),
        |s| format!("; did you mean `{s}`?")))]
    Unknown {
        /// The name.
        name: String,
        /// A name like it.
        suggestion: Option<&'static str>,
    },
    /// Too many or too few arguments.
    #[error("`{name}` takes {expected}, not {found}")]
    Arguments {
        /// The aggregate.
        name: &'static str,
        /// What it takes.
        expected: &'static str,
        /// How many there are.
        found: usize,
    },
    /// The second argument of `quantile` is not a number, or not from 0 to 1.
    #[error("the second argument of `quantile` must be a number from 0 to 1, such as 0.95")]
    Quantile,
    /// The argument has a type that the aggregate cannot take.
    #[error("`{name}` takes {expected}, not {found}")]
    ArgumentType {
        /// The aggregate.
        name: &'static str,
        /// What it takes.
        expected: &'static str,
        /// The argument's type.
        found: Type,
    },
}

/// Types that can be compared and kept as one value.
const SCALARS: &[Type] = &[Type::Bool, Type::Int, Type::Float, Type::String, Type::Timestamp];
const NUMBERS: &[Type] = &[Type::Int, Type::Float];

impl Function {
    /// The names of all aggregates.
    pub const NAMES: &'static [&'static str] = &[
        "count",
        "sum",
        "avg",
        "min",
        "max",
        "first",
        "last",
        "stddev",
        "variance",
        "count_if",
        "distinct",
        "quantile",
        "histogram",
    ];

    /// The aggregate called `name` (any case) with `arguments` arguments; `constant` is the second one when it
    /// is a numeric literal. `count(*)` is `count` without an argument.
    ///
    /// # Errors
    /// When there is no such aggregate, it takes another number of arguments, or `q` is not in [0, 1].
    pub fn named(name: &str, arguments: usize, constant: Option<f64>) -> Result<Self, AggregateError> {
        let lower = name.to_ascii_lowercase();
        let function = match lower.as_str() {
            "count" => Self::Count,
            "sum" => Self::Sum,
            "avg" => Self::Avg,
            "min" => Self::Min,
            "max" => Self::Max,
            "first" => Self::First,
            "last" => Self::Last,
            "stddev" => Self::Stddev,
            "variance" => Self::Variance,
            "count_if" => Self::CountIf,
            "distinct" => Self::Distinct,
            "quantile" => Self::Quantile(0.5),
            "histogram" => Self::Histogram,
            _ => {
                let suggestion = suggest(&lower, Self::NAMES.iter().copied());
                return Err(AggregateError::Unknown { name: name.to_owned(), suggestion });
            }
        };
        let (expected, fits) = match function {
            Self::Count => ("one argument or none", arguments <= 1),
            Self::Quantile(_) => ("two arguments, a number and a constant", arguments == 2),
            _ => ("one argument", arguments == 1),
        };
        if !fits {
            return Err(AggregateError::Arguments { name: function.name(), expected, found: arguments });
        }
        match (function, constant) {
            (Self::Quantile(_), Some(q)) if (0.0..=1.0).contains(&q) => Ok(Self::Quantile(q)),
            (Self::Quantile(_), _) => Err(AggregateError::Quantile),
            (function, _) => Ok(function),
        }
    }

    /// Its name in definitions.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::First => "first",
            Self::Last => "last",
            Self::Stddev => "stddev",
            Self::Variance => "variance",
            Self::CountIf => "count_if",
            Self::Distinct => "distinct",
            Self::Quantile(_) => "quantile",
            Self::Histogram => "histogram",
        }
    }

    /// The types that its argument may have.
    pub const fn argument_types(self) -> &'static [Type] {
        match self {
            Self::Count => {
                &[Type::Bool, Type::Int, Type::Float, Type::String, Type::Timestamp, Type::Strings, Type::Map]
            }
            Self::Sum | Self::Avg | Self::Stddev | Self::Variance | Self::Quantile(_) => NUMBERS,
            Self::Min | Self::Max | Self::First | Self::Last | Self::Distinct => SCALARS,
            Self::CountIf => &[Type::Bool],
            Self::Histogram => &[Type::Bool, Type::Int, Type::String],
        }
    }

    /// Whether it takes an argument of type `ty`.
    ///
    /// # Errors
    /// What it takes.
    pub fn check_argument(self, ty: Type) -> Result<(), AggregateError> {
        if self.argument_types().contains(&ty) {
            return Ok(());
        }
        let expected = match self {
            Self::CountIf => "a condition (bool)",
            Self::Histogram => "a string, int or bool",
            Self::Sum | Self::Avg | Self::Stddev | Self::Variance | Self::Quantile(_) => "a number (int or float)",
            _ => "a single value (bool, int, float, string or timestamp)",
        };
        Err(AggregateError::ArgumentType { name: self.name(), expected, found: ty })
    }
}

impl Aggregate {
    /// The aggregate `function` over `argument`, an SQL expression and its type.
    ///
    /// # Errors
    /// When `function` cannot take an argument of that type, or needs one and there is none.
    pub fn new(function: Function, argument: Option<(String, Type)>) -> Result<Self, AggregateError> {
        match &argument {
            Some((_, ty)) => function.check_argument(*ty)?,
            None if function == Function::Count => {}
            None => {
                return Err(AggregateError::Arguments { name: function.name(), expected: "an argument", found: 0 });
            }
        }
        let (argument, argument_type) = argument.unzip();
        Ok(Self { function, argument, argument_type })
    }

    fn argument_type(&self) -> Type {
        self.argument_type.unwrap_or(Type::Int)
    }

    /// The states that it needs, in the order in which [`finish`](Self::finish) takes them.
    pub fn states(&self) -> Vec<StateSpec> {
        let ty = self.argument_type();
        match self.function {
            Function::Count => count::states(self.argument.is_some()),
            Function::Sum => sum::states(ty),
            Function::Avg => avg::states(),
            Function::Min => extreme::states(Rule::Min, ty),
            Function::Max => extreme::states(Rule::Max, ty),
            Function::First => ordered::states(Rule::First, ty),
            Function::Last => ordered::states(Rule::Last, ty),
            Function::Stddev | Function::Variance => variance::states(),
            Function::CountIf => count_if::states(),
            Function::Distinct => distinct::states(),
            Function::Quantile(_) => quantile::states(),
            Function::Histogram => histogram::states(),
        }
    }

    /// The type of its answer.
    pub fn result_type(&self) -> Type {
        match self.function {
            Function::Count | Function::CountIf | Function::Distinct => Type::Int,
            Function::Avg | Function::Stddev | Function::Variance | Function::Quantile(_) => Type::Float,
            Function::Sum | Function::Min | Function::Max | Function::First | Function::Last => self.argument_type(),
            Function::Histogram => Type::Map,
        }
    }

    /// The answer of group `row`. `states` are the columns of [`states`](Self::states), in that order. Columns of
    /// other kinds answer null. Panics when `row` is past the end.
    pub fn finish(&self, states: &[&StateColumn], row: usize) -> Value {
        match self.function {
            Function::Count => count::finish(states, row),
            Function::Sum => sum::finish(states, row),
            Function::Avg => avg::finish(states, row),
            Function::Min | Function::Max => extreme::finish(states, row),
            Function::First | Function::Last => ordered::finish(states, row),
            Function::Variance => variance::finish(states, row),
            Function::Stddev => variance::finish_root(states, row),
            Function::CountIf => count_if::finish(states, row),
            Function::Distinct => distinct::finish(states, row),
            Function::Quantile(q) => quantile::finish(q, states, row),
            Function::Histogram => histogram::finish(states, row),
        }
    }
}

/// Number of values in a state that counts, 0 for a column that does not.
fn count_at(column: Option<&&StateColumn>, row: usize) -> i64 {
    if let Some(StateColumn::SumInt(counts)) = column { counts[row] } else { 0 }
}

/// Minus zero is zero: which of the two a merge keeps depends on its order.
fn plain(x: f64) -> f64 {
    x + 0.0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn calls_are_checked() {
        let message = |name, arguments, constant| Function::named(name, arguments, constant).unwrap_err().to_string();
        assert_eq!(Function::named("AVG", 1, None).unwrap(), Function::Avg);
        assert_eq!(Function::named("count", 0, None).unwrap(), Function::Count);
        assert_eq!(Function::named("quantile", 2, Some(1.0)).unwrap(), Function::Quantile(1.0));
        assert_eq!(message("cuont", 1, None), "unknown aggregate `cuont`; did you mean `count`?");
        assert!(message("frobnicate", 1, None).contains("there are count, sum, avg"));
        assert_eq!(message("sum", 2, None), "`sum` takes one argument, not 2");
        assert_eq!(message("count", 2, None), "`count` takes one argument or none, not 2");
        assert!(message("quantile", 1, None).contains("two arguments"));
        for q in [None, Some(1.5), Some(-0.1), Some(f64::NAN)] {
            assert!(message("quantile", 2, q).contains("from 0 to 1"));
        }
    }

    #[test]
    fn every_name_is_an_aggregate_of_that_name() {
        for name in Function::NAMES {
            let arguments = if *name == "quantile" { 2 } else { 1 };
            assert_eq!(Function::named(name, arguments, Some(0.5)).unwrap().name(), *name);
        }
    }

    #[test]
    fn argument_types_are_checked() {
        let of = |function, ty| Aggregate::new(function, Some(("x".into(), ty)));
        assert_eq!(
            of(Function::Sum, Type::String).unwrap_err().to_string(),
            "`sum` takes a number (int or float), not string"
        );
        assert_eq!(
            of(Function::CountIf, Type::Int).unwrap_err().to_string(),
            "`count_if` takes a condition (bool), not int"
        );
        assert!(of(Function::Histogram, Type::Float).is_err());
        assert!(of(Function::Min, Type::Strings).is_err());
        assert!(of(Function::Count, Type::Strings).is_ok());
        assert!(Aggregate::new(Function::Sum, None).is_err());
        assert_eq!(of(Function::Sum, Type::Int).unwrap().result_type(), Type::Int);
        assert_eq!(of(Function::Avg, Type::Int).unwrap().result_type(), Type::Float);
        assert_eq!(of(Function::Last, Type::Timestamp).unwrap().result_type(), Type::Timestamp);
    }
}
