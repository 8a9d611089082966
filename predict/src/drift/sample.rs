//! What is compared: columns of values, missing ones among them.

use tideline_common::time::Timestamp;

use crate::usable;

/// How a column is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// By distance and order.
    Numeric,
    /// By frequency of each value.
    Categorical,
}

/// Values of a column; `None` is missing.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Numbers; what is not finite, or beyond [`MAGNITUDE_MAX`](crate::MAGNITUDE_MAX), is missing.
    Numeric(Vec<Option<f64>>),
    /// Categories.
    Categorical(Vec<Option<String>>),
}

/// A column with its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its values.
    pub values: Values,
}

/// Rows of a stretch of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Where the stretch begins.
    pub from: Timestamp,
    /// Where it ends; not included.
    pub to: Timestamp,
    /// What the model saw.
    pub features: Vec<Column>,
    /// Errors of the predictions (predicted less actual), a column per version, named as it is.
    pub errors: Vec<Column>,
}

impl Values {
    /// Its kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Numeric(_) => Kind::Numeric,
            Self::Categorical(_) => Kind::Categorical,
        }
    }

    /// Rows, missing values included.
    pub const fn len(&self) -> usize {
        match self {
            Self::Numeric(values) => values.len(),
            Self::Categorical(values) => values.len(),
        }
    }

    /// Whether there are no rows.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Column {
    /// A column of numbers.
    pub fn numeric(name: impl Into<String>, values: Vec<Option<f64>>) -> Self {
        Self { name: name.into(), values: Values::Numeric(values) }
    }

    /// A column of categories.
    pub fn categorical(name: impl Into<String>, values: Vec<Option<String>>) -> Self {
        Self { name: name.into(), values: Values::Categorical(values) }
    }
}

/// The numbers that are there, ascending.
pub(crate) fn sorted(values: &[Option<f64>]) -> Vec<f64> {
    // Negative zero is zero: the two are equal, and must be one value to those that count distinct ones.
    let mut numbers: Vec<f64> = values.iter().filter_map(|value| usable(*value)).map(|x| x + 0.0).collect();
    numbers.sort_by(f64::total_cmp);
    numbers
}
