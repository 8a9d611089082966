//! What the log knows of its topics while it runs.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tideline_common::ports::{PortError, PortResult, TopicInfo};
use tideline_common::position::{Offset, Partition};
use tideline_common::time::{Span, Timestamp};
use tokio::sync::watch;

/// A topic as it is stored, under its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "format")]
pub(super) enum StoredTopic {
    #[serde(rename = "1")]
    V1 {
        id: u32,
        partitions: u32,
        retention: Option<Span>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_bytes: Option<u64>,
    },
}

/// Where a partition begins once something has expired, stored under topic and partition: what would be known
/// from the last block that was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "format")]
pub(super) enum StoredFloor {
    #[serde(rename = "1")]
    V1 { first: Offset, appended: Timestamp, before: u64 },
}

/// The end of a partition. Only the writer changes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tail {
    pub(super) next: Offset,
    /// Append time of the last block.
    pub(super) appended: Timestamp,
    /// Value bytes of all blocks ever written.
    pub(super) written: u64,
}

#[derive(Debug)]
pub(super) struct PartitionState {
    /// First offset still there.
    pub(super) first: AtomicU64,
    /// Value bytes of all blocks dropped.
    pub(super) dropped: AtomicU64,
    /// Next offset that readers may see; they wait on it.
    pub(super) next: watch::Sender<Offset>,
    pub(super) tail: Mutex<Tail>,
    /// Held while blocks are dropped: retention and the bound in bytes may both be at it.
    pub(super) dropping: Mutex<()>,
}

impl PartitionState {
    pub(super) fn new(first: Offset, dropped: u64, tail: Tail) -> Self {
        Self {
            first: AtomicU64::new(first),
            dropped: AtomicU64::new(dropped),
            next: watch::Sender::new(tail.next),
            tail: Mutex::new(tail),
            dropping: Mutex::new(()),
        }
    }

    pub(super) fn empty() -> Self {
        Self::new(0, 0, Tail { next: 0, appended: Timestamp::MIN, written: 0 })
    }

    pub(super) fn first(&self) -> Offset {
        self.first.load(Ordering::Acquire)
    }

    /// Value bytes of the blocks that are there.
    pub(super) fn used(&self) -> u64 {
        // Dropped before written: it never is the greater.
        let dropped = self.dropped.load(Ordering::Acquire);
        self.tail.lock().written.saturating_sub(dropped)
    }
}

/// What a topic keeps of its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Keeps {
    /// For how long; `None`: for ever.
    pub(super) retention: Option<Span>,
    /// How many bytes of each partition; `None`: all.
    pub(super) max_bytes: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) id: u32,
    pub(super) name: String,
    pub(super) keeps: Mutex<Keeps>,
    pub(super) partitions: Vec<PartitionState>,
    /// Where the next chunk without keys goes.
    pub(super) turn: AtomicU32,
}

impl Topic {
    pub(super) fn new(id: u32, name: &str, keeps: Keeps, partitions: Vec<PartitionState>) -> Self {
        Self { id, name: name.to_owned(), keeps: Mutex::new(keeps), partitions, turn: AtomicU32::new(0) }
    }

    /// Bytes that each partition keeps, when the topic has a bound of its own.
    pub(super) fn max_bytes(&self) -> Option<u64> {
        self.keeps.lock().max_bytes
    }

    pub(super) fn partition(&self, partition: Partition) -> PortResult<&PartitionState> {
        self.partitions
            .get(partition as usize)
            .ok_or_else(|| PortError::NotFound { what: format!("partition {partition} of topic {}", self.name) })
    }

    pub(super) fn info(&self) -> TopicInfo {
        // Next before first: what expires in between cannot make first > next.
        let bounds = |p: &PartitionState| {
            let next = *p.next.borrow();
            (p.first().min(next), next)
        };
        TopicInfo {
            name: self.name.clone(),
            partitions: self.partitions.iter().enumerate().map(|(i, p)| (i as Partition, bounds(p))).collect(),
        }
    }

    /// The partition of a key: XXH3-64 of its bytes modulo the number of partitions. Part of the format: it never
    /// changes, or the records of a key would be in two partitions.
    pub(super) fn partition_of(&self, key: &[u8]) -> Partition {
        (xxhash_rust::xxh3::xxh3_64(key) % self.partitions.len() as u64) as Partition
    }

    /// The partition of the next chunk of records without keys: each in its turn.
    pub(super) fn next_turn(&self) -> Partition {
        self.turn.fetch_add(1, Ordering::Relaxed) % self.partitions.len() as u32
    }
}
