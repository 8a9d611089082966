//! What closing windows tells about itself.

use parking_lot::Mutex;
use serde::Serialize;
use tideline_common::position::{Offset, Partition};
use tideline_common::time::Timestamp;

/// Whether the windows of a view close.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseCondition {
    /// Finding out where it stood.
    #[default]
    Recovering,
    /// Reading.
    Running,
    /// Something does not work and is tried again, or a bound is reached; the reason says which.
    Paused,
    /// It cannot go on; the reason says why. Others do.
    Failed,
    /// Stopped in order.
    Stopped,
}

/// What closing the windows of a view tells about itself, of one partition of its changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CloseStatus {
    /// The view.
    pub view: String,
    /// The partition of the topic of its changes.
    pub partition: Partition,
    /// Whether it works.
    pub condition: CloseCondition,
    /// Why it is paused or has failed.
    pub reason: Option<String>,
    /// Changes before this offset have been taken in.
    pub next: Offset,
    /// Next offset of the topic, as of the last look.
    pub end: Offset,
    /// Up to where no shard changes anything any more; `None` while one has not been heard of.
    pub watermark: Option<Timestamp>,
    /// Windows that start before this have closed.
    pub through: Option<Timestamp>,
    /// Rows of windows that have closed since this process began.
    pub rows: u64,
    /// Groups that changed after a window that holds them had closed: they are in the views, and not in what went out.
    pub late: u64,
    /// Posts to webhooks that wait or are on their way.
    pub posts: usize,
    /// Number of the last checkpoint.
    pub checkpoint: Option<u64>,
    /// Memory of open panes, estimated, in bytes.
    pub state_bytes: usize,
    /// How often it was started again after a failure.
    pub restarts: u64,
}

impl CloseStatus {
    /// Changes that have not been taken in.
    pub const fn lag(&self) -> u64 {
        self.end.saturating_sub(self.next)
    }
}

/// A status that changes.
#[derive(Debug)]
pub(super) struct Cell(Mutex<CloseStatus>);

impl Cell {
    pub(super) const fn new(status: CloseStatus) -> Self {
        Self(Mutex::new(status))
    }

    pub(super) fn get(&self) -> CloseStatus {
        self.0.lock().clone()
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut CloseStatus)) {
        change(&mut self.0.lock());
    }

    pub(super) fn begin(&self, condition: CloseCondition, reason: Option<String>) {
        let mut status = self.0.lock();
        (status.condition, status.reason) = (condition, reason);
        tell(&status);
    }

    /// Something is being tried again, or (`None`) works.
    pub(super) fn pause(&self, reason: Option<String>) {
        let mut status = self.0.lock();
        if matches!(status.condition, CloseCondition::Running | CloseCondition::Paused) {
            status.condition = if reason.is_some() { CloseCondition::Paused } else { CloseCondition::Running };
        }
        if status.condition != CloseCondition::Failed {
            status.reason = reason;
        }
        tell(&status);
    }
}

/// Tells the metrics whether windows close. What has stopped is perhaps another process's now, which speaks for itself.
fn tell(status: &CloseStatus) {
    let labels = [("view", status.view.clone()), ("partition", status.partition.to_string())];
    let stalled = matches!(status.condition, CloseCondition::Paused | CloseCondition::Failed);
    metrics::gauge!("tideline_close_stalled", &labels).set(f64::from(stalled));
    if status.condition == CloseCondition::Stopped {
        metrics::gauge!("tideline_close_lag_records", &labels).set(0.0);
        metrics::gauge!("tideline_close_state_bytes", &labels).set(0.0);
    }
}
