//! Types and values of columns, keys and answers.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Type {
    /// `true` or `false`.
    Bool,
    /// 64-bit signed integer.
    Int,
    /// 64-bit IEEE 754 number.
    Float,
    /// UTF-8 text.
    String,
    /// Instant, in microseconds UTC.
    Timestamp,
    /// List of texts (a source's column only; `unnest` makes rows of it).
    Strings,
    /// Category → count (an answer only: the result of `histogram`).
    Map,
}

impl Type {
    /// Whether arithmetic applies.
    pub const fn is_numeric(self) -> bool {
        matches!(self, Self::Int | Self::Float)
    }

    /// The name used in definitions and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Float => "float",
            Self::String => "string",
            Self::Timestamp => "timestamp",
            Self::Strings => "strings",
            Self::Map => "map",
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One value. `Null` belongs to every type.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Value {
    /// Absent.
    #[default]
    Null,
    /// See [`Type::Bool`].
    Bool(bool),
    /// See [`Type::Int`].
    Int(i64),
    /// See [`Type::Float`].
    Float(f64),
    /// See [`Type::String`].
    String(String),
    /// See [`Type::Timestamp`].
    Timestamp(Timestamp),
    /// See [`Type::Strings`].
    Strings(Vec<String>),
    /// See [`Type::Map`].
    Map(BTreeMap<String, i64>),
}

impl Value {
    /// Whether this is `Null`.
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The value as a number: integers and floats only.
    pub const fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Int(i) => Some(*i as f64),
            Self::Float(x) => Some(*x),
            _ => None,
        }
    }

    /// As JSON: instants as RFC 3339 text; `null` for what JSON cannot say (NaN, infinities).
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Self::Null => Json::Null,
            Self::Bool(b) => Json::Bool(*b),
            Self::Int(i) => Json::from(*i),
            Self::Float(x) => serde_json::Number::from_f64(*x).map_or(Json::Null, Json::Number),
            Self::String(s) => Json::String(s.clone()),
            Self::Timestamp(t) => Json::String(t.to_string()),
            Self::Strings(list) => Json::from(list.clone()),
            Self::Map(map) => Json::Object(map.iter().map(|(k, v)| (k.clone(), Json::from(*v))).collect()),
        }
    }

    /// Reads a value of type `ty` from text, as a query string or a command line gives it.
    ///
    /// # Errors
    /// What was expected and what was there.
    pub fn parse(text: &str, ty: Type) -> Result<Self, ValueError> {
        let error = || ValueError { expected: ty, text: text.to_owned() };
        Ok(match ty {
            Type::Bool => Self::Bool(text.parse().map_err(|_| error())?),
            Type::Int => Self::Int(text.parse().map_err(|_| error())?),
            Type::Float => Self::Float(text.parse().map_err(|_| error())?),
            Type::String => Self::String(text.to_owned()),
            Type::Timestamp => Self::Timestamp(Timestamp::parse(text).map_err(|_| error())?),
            Type::Strings | Type::Map => return Err(error()),
        })
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::String(s) => f.write_str(s),
            Self::Timestamp(t) => t.fmt(f),
            other => other.to_json().fmt(f),
        }
    }
}

/// A text that is not of the type that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not of type {expected}")]
pub struct ValueError {
    /// What was asked for.
    pub expected: Type,
    /// What was there.
    pub text: String,
}
