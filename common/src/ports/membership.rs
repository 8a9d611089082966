//! Membership: which partitions this process works on, when several processes share the work.

use async_trait::async_trait;

use super::PortResult;
use crate::position::Partition;

/// A partition of a topic, as an assignment names it.
pub type TopicPartition = (String, Partition);

/// Dropped when everything that belongs to revoked partitions has been put down: they may go to another process then.
/// A group does not wait for it for ever: a process that is slower is taken for dead, and its partitions are given
/// away while it still works. Nothing may depend on having been in time.
#[derive(Debug)]
pub struct Handover(Option<Box<dyn Release>>);

/// What a [`Handover`] does when it is dropped.
pub trait Release: Send + Sync + std::fmt::Debug {
    /// The partitions may be given away.
    fn release(&mut self);
}

impl Handover {
    /// A handover that calls `release` when it is dropped.
    pub fn new(release: impl Release + 'static) -> Self {
        Self(Some(Box::new(release)))
    }

    /// A handover for which nobody waits.
    pub const fn nobody() -> Self {
        Self(None)
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        if let Some(mut release) = self.0.take() {
            release.release();
        }
    }
}

/// A change of what this process works on. Partitions that are not named stay as they are.
#[derive(Debug)]
pub enum Rebalance {
    /// These are ours from now on.
    Assigned(Vec<TopicPartition>),
    /// These go to another process as soon as the handover is dropped: put them down in order (flush, Bronze,
    /// checkpoint), so that the next one has little to replay.
    Revoked {
        /// Which.
        partitions: Vec<TopicPartition>,
        /// Who waits for it.
        handover: Handover,
    },
    /// These have been taken away, and another process may be at work on them already: drop them where they stand.
    Lost(Vec<TopicPartition>),
}

/// The group of processes that share the partitions of some topics.
///
/// Contract: after joining, every partition of the topics is assigned to some member, partitions that are added
/// later included; while all members are alive and in time, to one at a time. It is a way to share work, not a lock:
/// correctness never rests on it (Bronze is created only if absent, rows of the views are absolute).
#[async_trait]
pub trait Membership: Send + Sync + std::fmt::Debug {
    /// Joins the group for `topics`, which exist. Called once, before the first [`next`](Membership::next).
    async fn join(&self, topics: &[String]) -> PortResult<()>;

    /// Waits for the next change. Cancel safe.
    async fn next(&self) -> PortResult<Rebalance>;

    /// Leaves the group: what was assigned is given away at once. To be called after the work on it has ended.
    async fn leave(&self) -> PortResult<()>;
}
