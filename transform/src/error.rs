//! What can go wrong besides a bad record.

use polars::error::PolarsError;

/// Why rows or states could not be made. A record that cannot be read is no error: it is
/// [rejected](crate::Rejected).
#[derive(Debug, thiserror::Error)]
pub enum TransformError {
    /// The plan has no such thing.
    #[error("the plan has no {kind} `{name}`")]
    Unknown {
        /// What it should be: source, table, view, column.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// An expression of the plan cannot be run.
    #[error("{what}: {message}")]
    Expression {
        /// Whose expression it is.
        what: String,
        /// What is wrong with it.
        message: String,
    },
    /// A frame is not what it should be.
    #[error("{what}: {message}")]
    Frame {
        /// Which frame or column.
        what: String,
        /// What is wrong with it.
        message: String,
    },
    /// Polars could not evaluate.
    #[error("cannot evaluate: {0}")]
    Engine(#[from] PolarsError),
}

impl TransformError {
    pub(crate) fn unknown(kind: &'static str, name: impl Into<String>) -> Self {
        Self::Unknown { kind, name: name.into() }
    }

    pub(crate) fn frame(what: impl Into<String>, message: impl std::fmt::Display) -> Self {
        Self::Frame { what: what.into(), message: message.to_string() }
    }
}
