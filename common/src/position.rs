//! Positions: how far along a log something has come.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A partition of a topic.
pub type Partition = u32;

/// The place of a record in its partition, counted from 0 by the log.
pub type Offset = u64;

/// Partition → the next offset, of one source. A partition that is absent stands at 0.
pub type Positions = BTreeMap<Partition, Offset>;

/// One (source, partition): the unit of parallel work in the speed layer and the owner of its rows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Shard {
    /// Name of the source.
    pub source: String,
    /// Partition of the source's topic.
    pub partition: Partition,
}

impl Shard {
    /// The shard of `source` and `partition`.
    pub fn new(source: impl Into<String>, partition: Partition) -> Self {
        Self { source: source.into(), partition }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.source, self.partition)
    }
}

/// Number of low bits of a [`sequence`] that hold the offset.
const OFFSET_BITS: u32 = 44;

/// One number that orders records of all partitions of a source: the partition above the offset. It breaks
/// ties of event time in `first` and `last`, so that every layer picks the same record.
pub const fn sequence(partition: Partition, offset: Offset) -> i64 {
    ((partition as i64) << OFFSET_BITS) | (offset & ((1 << OFFSET_BITS) - 1)) as i64
}

/// The offset in a [`sequence`].
pub const fn offset_of(sequence: i64) -> Offset {
    sequence as u64 & ((1 << OFFSET_BITS) - 1)
}
