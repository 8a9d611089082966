//! Compiled expressions, and their value for a row. Stores that have a language of their own read them to say the same
//! in it.

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::time::Timestamp;
use crate::value::{Type, Value};

/// The value of a part of an expression: texts are borrowed from the row where they can be.
#[derive(Clone, Debug)]
pub(super) enum Cell<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Cow<'a, str>),
    Time(Timestamp),
    /// There is a value, of a type that formulas do not look into.
    Opaque,
}

/// Functions that are null when an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// Of an integer an integer; null where it does not fit into 64 bits.
    Abs,
    /// -1, 0 or 1, an integer.
    Sign,
    /// Of an integer itself.
    Floor,
    /// Of an integer itself.
    Ceil,
    /// Null below 0.
    Sqrt,
    /// The natural logarithm; null unless above 0.
    Ln,
    /// e to the power of the argument.
    Exp,
    /// The first argument to the power of the second.
    Power,
    /// Halves away from zero; with a second argument to so many decimals.
    Round,
    /// `positive` from [`LABEL_FROM`], `negative` from its negation down, else `neutral`.
    Label,
}

/// Operators of numbers. Two integers give an integer, null where that does not fit into 64 bits; all else gives a float.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// Sum.
    Add,
    /// Difference.
    Subtract,
    /// Product.
    Multiply,
    /// Quotient, a float whatever its sides.
    Divide,
    /// Remainder, with the sign of the dividend.
    Remainder,
}

/// Operators that compare; null where a side is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `<>`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Comparison {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

type Part = Box<Node>;

/// An expression whose types have been checked. A float that is not finite is null, wherever it comes up.
#[derive(Clone, Debug)]
pub enum Node {
    /// The column at an index; past the columns of the row are those of the row before.
    Column(usize),
    /// A literal.
    Constant(Value),
    /// Of an integer null where it does not fit into 64 bits.
    Negate(Part),
    /// See [`Arithmetic`].
    Arithmetic(Arithmetic, Part, Part),
    /// See [`Comparison`]. Both sides are of one type.
    Compare(Comparison, Part, Part),
    /// False where a side is, else null where a side is.
    And(Part, Part),
    /// True where a side is, else null where a side is.
    Or(Part, Part),
    /// Null where it is.
    Not(Part),
    /// Whether it is null; never null itself.
    IsNull(Part),
    /// Whether it is just this; never null.
    IsBool(Part, bool),
    /// Whether they differ, where two nulls do not; never null.
    IsDistinct(Part, Part),
    /// Not below `low` and not above `high`, as by [`Node::And`].
    Between {
        /// What is looked at.
        value: Part,
        /// The lower bound, which belongs to it.
        low: Part,
        /// The upper bound, which belongs to it.
        high: Part,
    },
    /// Equal to one of a list, as by [`Node::Or`].
    In {
        /// What is looked at.
        value: Part,
        /// What it may be.
        list: Vec<Self>,
    },
    /// The result of the first arm that holds.
    Case {
        /// What arms are compared with; without it they are conditions.
        operand: Option<Part>,
        /// Conditions, and what they answer with.
        arms: Vec<(Self, Self)>,
        /// The answer where none holds; null without it.
        otherwise: Option<Part>,
    },
    /// As another type; null where it is none of that.
    Cast(Type, Part),
    /// See [`Scalar`].
    Call(Scalar, Vec<Self>),
    /// The first that is not null.
    Coalesce(Vec<Self>),
    /// The first, null where it equals the second.
    NullIf(Part, Part),
    /// The greatest of those that are not null, or the least.
    Extreme {
        /// Among these.
        parts: Vec<Self>,
        /// The greatest; otherwise the least.
        greatest: bool,
    },
    /// Two texts, one after the other.
    Concatenate(Part, Part),
}

impl Cell<'_> {
    pub(super) fn into_value(self) -> Value {
        match self {
            Self::Null | Self::Opaque => Value::Null,
            Self::Bool(b) => Value::Bool(b),
            Self::Int(i) => Value::Int(i),
            Self::Float(x) => Value::Float(x),
            Self::Text(s) => Value::String(s.into_owned()),
            Self::Time(t) => Value::Timestamp(t),
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Self::Int(i) => Some(*i as f64),
            Self::Float(x) => Some(*x),
            _ => None,
        }
    }

    fn truth(&self) -> Option<bool> {
        if let Self::Bool(b) = self { Some(*b) } else { None }
    }

    const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// `None` when a side is null.
    fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(b)),
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            (Self::Time(a), Self::Time(b)) => Some(a.cmp(b)),
            (a, b) => a.number()?.partial_cmp(&b.number()?),
        }
    }
}

impl From<Option<bool>> for Cell<'_> {
    fn from(truth: Option<bool>) -> Self {
        truth.map_or(Self::Null, Self::Bool)
    }
}

/// A float that is a number; null otherwise.
fn finite<'a>(x: f64) -> Cell<'a> {
    if x.is_finite() { Cell::Float(x) } else { Cell::Null }
}

fn whole<'a>(i: Option<i64>) -> Cell<'a> {
    i.map_or(Cell::Null, Cell::Int)
}

impl Node {
    /// Calls `visit` with the index of every column, in the order of the text.
    pub(super) fn visit_columns(&self, visit: &mut impl FnMut(usize)) {
        let mut all = |parts: &[&Self]| {
            for part in parts {
                part.visit_columns(visit);
            }
        };
        match self {
            Self::Column(at) => visit(*at),
            Self::Constant(_) => {}
            Self::Negate(a) | Self::Not(a) | Self::IsNull(a) | Self::IsBool(a, _) | Self::Cast(_, a) => all(&[a]),
            Self::Arithmetic(_, a, b)
            | Self::Compare(_, a, b)
            | Self::And(a, b)
            | Self::Or(a, b)
            | Self::IsDistinct(a, b)
            | Self::NullIf(a, b)
            | Self::Concatenate(a, b) => all(&[a, b]),
            Self::Between { value, low, high } => all(&[value, low, high]),
            Self::In { value, list } => {
                all(&[value]);
                for part in list {
                    part.visit_columns(visit);
                }
            }
            Self::Case { operand, arms, otherwise } => {
                if let Some(part) = operand {
                    part.visit_columns(visit);
                }
                for (condition, result) in arms {
                    condition.visit_columns(visit);
                    result.visit_columns(visit);
                }
                if let Some(part) = otherwise {
                    part.visit_columns(visit);
                }
            }
            Self::Call(_, parts) | Self::Coalesce(parts) | Self::Extreme { parts, .. } => {
                for part in parts {
                    part.visit_columns(visit);
                }
            }
        }
    }

    pub(super) fn evaluate<'a>(&'a self, row: &'a [Value]) -> Cell<'a> {
        match self {
            Self::Column(at) => row.get(*at).map_or(Cell::Null, cell_of),
            Self::Constant(value) => cell_of(value),
            Self::Negate(a) => match a.evaluate(row) {
                Cell::Int(i) => whole(i.checked_neg()),
                Cell::Float(x) => Cell::Float(-x),
                _ => Cell::Null,
            },
            Self::Arithmetic(op, a, b) => arithmetic(*op, &a.evaluate(row), &b.evaluate(row)),
            Self::Compare(op, a, b) => a.evaluate(row).compare(&b.evaluate(row)).map(|order| op.holds(order)).into(),
            Self::And(a, b) => match a.evaluate(row).truth() {
                Some(false) => Cell::Bool(false),
                left => match (left, b.evaluate(row).truth()) {
                    (_, Some(false)) => Cell::Bool(false),
                    (Some(_), Some(_)) => Cell::Bool(true),
                    _ => Cell::Null,
                },
            },
            Self::Or(a, b) => match a.evaluate(row).truth() {
                Some(true) => Cell::Bool(true),
                left => match (left, b.evaluate(row).truth()) {
                    (_, Some(true)) => Cell::Bool(true),
                    (Some(_), Some(_)) => Cell::Bool(false),
                    _ => Cell::Null,
                },
            },
            Self::Not(a) => a.evaluate(row).truth().map(|b| !b).into(),
            Self::IsNull(a) => Cell::Bool(a.evaluate(row).is_null()),
            Self::IsBool(a, wanted) => Cell::Bool(a.evaluate(row).truth() == Some(*wanted)),
            Self::IsDistinct(a, b) => {
                let (a, b) = (a.evaluate(row), b.evaluate(row));
                Cell::Bool(match a.compare(&b) {
                    Some(order) => order.is_ne(),
                    None => a.is_null() != b.is_null(),
                })
            }
            Self::Between { value, low, high } => {
                let value = value.evaluate(row);
                let above = value.compare(&low.evaluate(row)).map(Ordering::is_ge);
                let below = value.compare(&high.evaluate(row)).map(Ordering::is_le);
                match (above, below) {
                    (Some(false), _) | (_, Some(false)) => Cell::Bool(false),
                    (Some(true), Some(true)) => Cell::Bool(true),
                    _ => Cell::Null,
                }
            }
            Self::In { value, list } => {
                let value = value.evaluate(row);
                let mut unknown = false;
                for part in list {
                    match value.compare(&part.evaluate(row)) {
                        Some(Ordering::Equal) => return Cell::Bool(true),
                        Some(_) => {}
                        None => unknown = true,
                    }
                }
                if unknown { Cell::Null } else { Cell::Bool(false) }
            }
            Self::Case { operand, arms, otherwise } => {
                let operand = operand.as_ref().map(|operand| operand.evaluate(row));
                let taken = arms.iter().find(|(condition, _)| {
                    let condition = condition.evaluate(row);
                    match &operand {
                        Some(operand) => operand.compare(&condition) == Some(Ordering::Equal),
                        None => condition.truth() == Some(true),
                    }
                });
                match (taken, otherwise) {
                    (Some((_, result)), _) => result.evaluate(row),
                    (None, Some(otherwise)) => otherwise.evaluate(row),
                    (None, None) => Cell::Null,
                }
            }
            Self::Cast(ty, a) => cast(a.evaluate(row), *ty),
            Self::Call(scalar, parts) => call(*scalar, parts, row),
            Self::Coalesce(parts) => {
                parts.iter().map(|part| part.evaluate(row)).find(|cell| !cell.is_null()).unwrap_or(Cell::Null)
            }
            Self::NullIf(a, b) => {
                let a = a.evaluate(row);
                if a.compare(&b.evaluate(row)) == Some(Ordering::Equal) { Cell::Null } else { a }
            }
            Self::Extreme { parts, greatest } => {
                let better = if *greatest { Ordering::Greater } else { Ordering::Less };
                parts.iter().map(|part| part.evaluate(row)).filter(|cell| !cell.is_null()).fold(
                    Cell::Null,
                    |best, cell| {
                        if best.is_null() || cell.compare(&best) == Some(better) { cell } else { best }
                    },
                )
            }
            Self::Concatenate(a, b) => match (a.evaluate(row), b.evaluate(row)) {
                (Cell::Text(a), Cell::Text(b)) => Cell::Text(Cow::Owned(format!("{a}{b}"))),
                _ => Cell::Null,
            },
        }
    }
}

fn cell_of(value: &Value) -> Cell<'_> {
    match value {
        Value::Null => Cell::Null,
        Value::Bool(b) => Cell::Bool(*b),
        Value::Int(i) => Cell::Int(*i),
        Value::Float(x) => finite(*x),
        Value::String(s) => Cell::Text(Cow::Borrowed(s)),
        Value::Timestamp(t) => Cell::Time(*t),
        Value::Strings(_) | Value::Map(_) => Cell::Opaque,
    }
}

fn arithmetic<'a>(op: Arithmetic, a: &Cell<'_>, b: &Cell<'_>) -> Cell<'a> {
    if let (Cell::Int(a), Cell::Int(b)) = (a, b) {
        return match op {
            Arithmetic::Add => whole(a.checked_add(*b)),
            Arithmetic::Subtract => whole(a.checked_sub(*b)),
            Arithmetic::Multiply => whole(a.checked_mul(*b)),
            Arithmetic::Divide => finite(*a as f64 / *b as f64),
            // The remainder of the least integer by -1 is 0, though its quotient does not fit.
            Arithmetic::Remainder => whole(if *b == 0 { None } else { Some(a.wrapping_rem(*b)) }),
        };
    }
    let (Some(a), Some(b)) = (a.number(), b.number()) else {
        return Cell::Null;
    };
    finite(match op {
        Arithmetic::Add => a + b,
        Arithmetic::Subtract => a - b,
        Arithmetic::Multiply => a * b,
        Arithmetic::Divide => a / b,
        Arithmetic::Remainder => a % b,
    })
}

fn cast(cell: Cell<'_>, ty: Type) -> Cell<'_> {
    match (ty, cell) {
        (Type::Int, Cell::Bool(b)) => Cell::Int(i64::from(b)),
        (Type::Int, Cell::Float(x)) => whole(fits(x.trunc())),
        (Type::Int, Cell::Text(s)) => whole(s.trim().parse().ok()),
        (Type::Int, Cell::Time(t)) => Cell::Int(t.0),
        (Type::Float, Cell::Bool(b)) => Cell::Float(f64::from(u8::from(b))),
        (Type::Float, Cell::Int(i)) => Cell::Float(i as f64),
        (Type::Float, Cell::Text(s)) => s.trim().parse().map_or(Cell::Null, finite),
        (Type::Bool, Cell::Int(i)) => Cell::Bool(i != 0),
        (Type::Bool, Cell::Float(x)) => Cell::Bool(x != 0.0),
        (Type::Bool, Cell::Text(s)) => match s.trim() {
            s if s.eq_ignore_ascii_case("true") => Cell::Bool(true),
            s if s.eq_ignore_ascii_case("false") => Cell::Bool(false),
            _ => Cell::Null,
        },
        (Type::String, Cell::Bool(b)) => Cell::Text(Cow::Borrowed(if b { "true" } else { "false" })),
        (Type::String, Cell::Int(i)) => Cell::Text(Cow::Owned(i.to_string())),
        (Type::String, Cell::Float(x)) => Cell::Text(Cow::Owned(format!("{x:?}"))),
        (Type::String, Cell::Time(t)) => Cell::Text(Cow::Owned(t.to_string())),
        (_, cell) => cell,
    }
}

/// A whole float as an integer, where it is one of 64 bits.
fn fits(x: f64) -> Option<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    (-LIMIT..LIMIT).contains(&x).then_some(x as i64)
}

fn call<'a>(scalar: Scalar, parts: &'a [Node], row: &'a [Value]) -> Cell<'a> {
    let first = parts.first().map_or(Cell::Null, |part| part.evaluate(row));
    if let Cell::Int(i) = first {
        match scalar {
            Scalar::Abs => return whole(i.checked_abs()),
            Scalar::Sign => return Cell::Int(i.signum()),
            Scalar::Floor | Scalar::Ceil => return Cell::Int(i),
            Scalar::Round if parts.len() == 1 => return Cell::Int(i),
            _ => {}
        }
    }
    let Some(x) = first.number() else {
        return Cell::Null;
    };
    match scalar {
        Scalar::Abs => Cell::Float(x.abs()),
        Scalar::Sign => Cell::Int(i64::from(x > 0.0) - i64::from(x < 0.0)),
        Scalar::Floor => Cell::Float(x.floor()),
        Scalar::Ceil => Cell::Float(x.ceil()),
        Scalar::Sqrt => finite(x.sqrt()),
        Scalar::Ln => finite(x.ln()),
        Scalar::Exp => finite(x.exp()),
        Scalar::Power => match parts.get(1).and_then(|part| part.evaluate(row).number()) {
            Some(y) => finite(x.powf(y)),
            None => Cell::Null,
        },
        Scalar::Round => match parts.get(1).map(|part| part.evaluate(row)) {
            None => Cell::Float(x.round()),
            Some(Cell::Int(digits)) => finite(round(x, digits)),
            Some(_) => Cell::Null,
        },
        Scalar::Label => Cell::Text(Cow::Borrowed(if x >= LABEL_FROM {
            "positive"
        } else if x <= -LABEL_FROM {
            "negative"
        } else {
            "neutral"
        })),
    }
}

/// From where a sentiment is positive, and from its negation down negative.
pub const LABEL_FROM: f64 = 0.05;

/// `x` rounded to `digits` decimals; tens for negative ones.
fn round(x: f64, digits: i64) -> f64 {
    // A float has no more than 17 significant decimals, and its exponent stays within ±324.
    if digits > 324 {
        return x;
    }
    if digits < -308 {
        return 0.0;
    }
    let scale = 10_f64.powi(digits.unsigned_abs() as i32);
    if digits < 0 {
        return (x / scale).round() * scale;
    }
    let scaled = x * scale;
    // From 2^53 there are no fractions left to round; and a scale past the floats' range is past their precision.
    if scaled.is_finite() && scaled.abs() < 9_007_199_254_740_992.0 { scaled.round() / scale } else { x }
}
