//! Records as a log holds them.

use bytes::Bytes;

use crate::position::Offset;
use crate::time::Timestamp;

/// A header of a record: a name and bytes.
pub type Header = (String, Bytes);

/// A record read from a log. Cloning shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the partition.
    pub offset: Offset,
    /// When the log took it (the broker's timestamp).
    pub appended: Timestamp,
    /// Partitioning key, if any.
    pub key: Option<Bytes>,
    /// Headers, in order.
    pub headers: Vec<Header>,
    /// The record itself, byte for byte.
    pub payload: Bytes,
}

/// A record to append.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct NewRecord {
    /// Partitioning key, if any. Records of one key go to one partition.
    pub key: Option<Bytes>,
    /// Headers, in order.
    pub headers: Vec<Header>,
    /// The record itself.
    pub payload: Bytes,
}
