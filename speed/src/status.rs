//! What a shard tells about itself.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use serde::Serialize;
use tideline_common::position::{Offset, Shard};
use tideline_common::time::Timestamp;
use tideline_common::watermark::Watermark;

/// Whether a shard works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ShardCondition {
    /// Finding out where it stood, or replaying Bronze.
    Recovering,
    /// Reading.
    Running,
    /// Something does not work and is tried again; or a bound is reached. The reason says which.
    Paused,
    /// It cannot go on; the reason says why. Others do.
    Failed,
    /// Stopped in order.
    Stopped,
}

/// What a shard tells about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShardStatus {
    /// Which shard.
    pub shard: Shard,
    /// Whether it works.
    pub condition: ShardCondition,
    /// Why it is paused or has failed.
    pub reason: Option<String>,
    /// Everything before this offset has been taken in.
    pub position: Offset,
    /// Everything before this offset is visible in the views.
    pub flushed: Offset,
    /// Everything before this offset is in Bronze.
    pub bronze: Offset,
    /// Position of the last checkpoint.
    pub checkpoint: Option<Offset>,
    /// When the last checkpoint was made.
    pub checkpoint_at: Option<Timestamp>,
    /// Per output that takes rows: those of everything before this offset are in its topic.
    pub outputs: BTreeMap<String, Offset>,
    /// Next offset of the log, as of the last look.
    pub log_end: Offset,
    /// Event-time progress.
    pub progress: Watermark,
    /// The watermark: highest event time − lateness.
    pub watermark: Option<Timestamp>,
    /// Records taken in since the source's first record.
    pub records: u64,
    /// Of these, dead letters.
    pub rejected: u64,
    /// Of these, duplicates.
    pub duplicates: u64,
    /// Rows left to batch, once per view that they were late for.
    pub late: u64,
    /// Memory of open panes, remembered keys and late counts, estimated, in bytes.
    pub state_bytes: u64,
    /// How often it was started again after a failure.
    pub restarts: u64,
    /// Checkpoints that could not be read.
    pub corrupt_checkpoints: u64,
}

impl ShardStatus {
    /// Records of the log that have not been taken in.
    pub const fn lag(&self) -> u64 {
        self.log_end.saturating_sub(self.position)
    }
}

#[derive(Debug)]
struct Inner {
    status: ShardStatus,
    /// What is being tried again, and why.
    pauses: BTreeMap<&'static str, String>,
}

/// The status of a shard, shared between what works on it.
#[derive(Debug)]
pub(crate) struct StatusCell(Mutex<Inner>);

impl StatusCell {
    pub(crate) fn new(shard: Shard) -> Self {
        let status = ShardStatus {
            shard,
            condition: ShardCondition::Recovering,
            reason: None,
            position: 0,
            flushed: 0,
            bronze: 0,
            checkpoint: None,
            checkpoint_at: None,
            outputs: BTreeMap::new(),
            log_end: 0,
            progress: Watermark::default(),
            watermark: None,
            records: 0,
            rejected: 0,
            duplicates: 0,
            late: 0,
            state_bytes: 0,
            restarts: 0,
            corrupt_checkpoints: 0,
        };
        Self(Mutex::new(Inner { status, pauses: BTreeMap::new() }))
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut ShardStatus)) {
        change(&mut self.0.lock().status);
    }

    /// Says that `what` does not work now, or (`None`) that it works again.
    pub(crate) fn pause(&self, what: &'static str, reason: Option<String>) {
        let pauses = &mut self.0.lock().pauses;
        match reason {
            Some(reason) => pauses.insert(what, reason),
            None => pauses.remove(what),
        };
    }

    /// Says what it is in, having dropped everything that was being tried.
    pub(crate) fn begin(&self, condition: ShardCondition, reason: Option<String>) {
        let mut inner = self.0.lock();
        inner.pauses.clear();
        inner.status.condition = condition;
        inner.status.reason = reason;
    }

    pub(crate) fn get(&self) -> ShardStatus {
        let inner = self.0.lock();
        let mut status = inner.status.clone();
        if !inner.pauses.is_empty() && !matches!(status.condition, ShardCondition::Failed | ShardCondition::Stopped) {
            status.condition = ShardCondition::Paused;
            status.reason = Some(inner.pauses.values().cloned().collect::<Vec<_>>().join("; "));
        }
        status
    }
}
