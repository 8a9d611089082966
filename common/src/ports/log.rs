//! The log: topics of partitions of records, each with an offset.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

use super::PortResult;
use crate::position::{Offset, Partition};
use crate::record::{NewRecord, Record};
use crate::time::{Span, Timestamp};

/// What a topic should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Name.
    pub name: String,
    /// Number of partitions, when it is created. An existing topic keeps its own.
    pub partitions: u32,
    /// How long records are kept; `None`: for ever.
    pub retention: Option<Span>,
    /// About how many bytes each partition keeps: beyond it the oldest records go, whether anyone has read them or not,
    /// and an append is never refused for want of room in the log. For topics that can be made again from elsewhere.
    /// `None`: no such bound.
    pub max_bytes: Option<u64>,
}

/// What a topic is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Name.
    pub name: String,
    /// Partition → (first offset still there, next offset).
    pub partitions: BTreeMap<Partition, (Offset, Offset)>,
}

/// Where appended records went: partition → (first, next).
pub type Appended = BTreeMap<Partition, (Offset, Offset)>;

/// What to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: Partition,
    /// First offset wanted.
    pub from: Offset,
    /// At most so many records.
    pub max_records: usize,
    /// At most about so many bytes of payload; at least one record is returned if there is one.
    pub max_bytes: usize,
    /// How long to wait when nothing is there.
    pub wait: Duration,
}

/// An append-only log.
///
/// Contract: offsets of a partition start at 0 and have no holes that a reader must know of (a reader goes on
/// from the last offset + 1); what [`append`](Log::append) answered survives a crash of the process and of the
/// machine; records with equal keys go to one partition and keep their order.
#[async_trait]
pub trait Log: Send + Sync + std::fmt::Debug {
    /// Creates the topic if it is not there, and takes over the retention and the bound in bytes.
    async fn ensure_topic(&self, spec: &TopicSpec) -> PortResult<()>;

    /// All topics.
    async fn topics(&self) -> PortResult<Vec<TopicInfo>>;

    /// One topic. `NotFound` if there is none of this name.
    async fn topic(&self, name: &str) -> PortResult<TopicInfo>;

    /// Appends records, all or none per partition, durable when it answers. `now` becomes their append time
    /// (made monotonic per partition). Records without a key are spread over the partitions. `NotFound` when
    /// there is no such topic, `Full` when there is no room.
    async fn append(&self, topic: &str, records: Vec<NewRecord>, now: Timestamp) -> PortResult<Appended>;

    /// Appends records to one partition, whatever their keys are: in order, all or none, durable when it answers. First and
    /// next offset of them. `NotFound` also when the topic has no such partition; otherwise as [`append`](Log::append).
    async fn append_to(
        &self,
        topic: &str,
        partition: Partition,
        records: Vec<NewRecord>,
        now: Timestamp,
    ) -> PortResult<(Offset, Offset)>;

    /// Records from an offset on, in order; empty when none came within the wait. `Expired` when `from` is no
    /// longer there. `from` beyond the end waits for it.
    async fn read(&self, request: &ReadRequest) -> PortResult<Vec<Record>>;

    /// Where a reader goes on that got nothing from `from` on: `from`, or a later offset when those in between are
    /// known to have no record for it (transaction markers, records of aborted transactions). To be asked after a
    /// read without records, so that a reader reaches the end that [`topic`](Log::topic) tells.
    async fn skip(&self, topic: &str, partition: Partition, from: Offset) -> PortResult<Offset> {
        let _ = (topic, partition);
        Ok(from)
    }

    /// Notes how far a group has come, for lag monitoring only.
    async fn commit_hint(&self, group: &str, topic: &str, partition: Partition, next: Offset) -> PortResult<()>;

    /// Drops what retention no longer keeps at `now`, and never what `keep_from` (per topic and partition) still
    /// names. Returns the number of records dropped. A log that does this by itself does nothing.
    async fn expire(&self, now: Timestamp, keep_from: &BTreeMap<(String, Partition), Offset>) -> PortResult<u64>;
}
