//! Why a record is rejected.

use std::fmt;
use std::sync::Arc;

use tideline_common::position::Offset;
use tideline_common::time::{Span, Timestamp};
use tideline_common::value::Type;

/// A record that does not become a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejected {
    /// Its index in the slice given to [`crate::SourceTransform::decode`].
    pub index: usize,
    /// Its offset.
    pub offset: Offset,
    /// Why.
    pub reason: Reason,
}

/// Why a record is rejected: the same for the same bytes and append time, whatever batch it came in.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// Not UTF-8.
    Utf8 {
        /// Index of the first byte that is not.
        at: usize,
    },
    /// Not JSON.
    Json {
        /// Index of the byte where it stops being JSON.
        at: usize,
        /// What was expected there.
        expected: &'static str,
    },
    /// JSON, but not an object.
    NotObject,
    /// A column's value is of another type.
    Type {
        /// The column.
        column: Arc<str>,
        /// Its declared type.
        expected: Type,
        /// What was there.
        found: &'static str,
    },
    /// A column's number does not fit its type.
    Range {
        /// The column.
        column: Arc<str>,
        /// Its declared type.
        expected: Type,
    },
    /// A required column is absent or null.
    Missing {
        /// The column.
        column: Arc<str>,
    },
    /// The event time is absent or null.
    MissingTime {
        /// The column that should hold it.
        column: Arc<str>,
    },
    /// The event time cannot be read.
    BadTime {
        /// The column that holds it.
        column: Arc<str>,
        /// What was there, shortened.
        found: String,
    },
    /// The event time is too far after the append time.
    AheadOfTime {
        /// By how much.
        by: Span,
        /// The event time.
        event_time: Timestamp,
    },
    /// A check is not true.
    Check {
        /// Name of the check.
        name: Arc<str>,
    },
    /// A key has more bytes than stores take.
    LongKey {
        /// What has the key.
        of: Arc<str>,
        /// How many.
        bytes: usize,
    },
}

impl Reason {
    /// A label for metrics: one of a small fixed set.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Utf8 { .. } => "utf8",
            Self::Json { .. } => "json",
            Self::NotObject => "not_object",
            Self::Type { .. } => "type",
            Self::Range { .. } => "range",
            Self::Missing { .. } => "missing",
            Self::MissingTime { .. } => "missing_time",
            Self::BadTime { .. } => "bad_time",
            Self::AheadOfTime { .. } => "ahead_of_time",
            Self::Check { .. } => "check",
            Self::LongKey { .. } => "long_key",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Utf8 { at } => write!(f, "not UTF-8 from byte {at} on"),
            Self::Json { at, expected } => write!(f, "not JSON: expected {expected} at byte {at}"),
            Self::NotObject => f.write_str("not a JSON object"),
            Self::Type { column, expected, found } => {
                write!(f, "column `{column}` is of type {expected}, the value is {found}")
            }
            Self::Range { column, expected } => {
                write!(f, "column `{column}`: the number does not fit the type {expected}")
            }
            Self::Missing { column } => write!(f, "the required column `{column}` is missing"),
            Self::MissingTime { column } => write!(f, "the event time, column `{column}`, is missing"),
            Self::BadTime { column, found } => {
                write!(f, "the event time, column `{column}`, cannot be read: `{found}`")
            }
            Self::AheadOfTime { by, event_time } => {
                write!(f, "the event time {event_time} is {by} after the time at which the record was taken")
            }
            Self::Check { name } => write!(f, "check `{name}` failed"),
            Self::LongKey { of, bytes } => {
                write!(f, "the key of {of} has {bytes} bytes, {} at most", tideline_common::key::MAX_BYTES)
            }
        }
    }
}
