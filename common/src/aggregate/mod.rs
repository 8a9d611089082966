//! Aggregates: fixed sets of states, each with a merge rule, and what they finish to.

pub mod registers;
pub mod sketch;

use serde::Serialize;

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
