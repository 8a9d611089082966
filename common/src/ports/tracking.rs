//! A tracker of experiments: where a model's settings, its errors over time and the model itself can be looked up.

use async_trait::async_trait;
use bytes::Bytes;

use super::PortResult;
use crate::time::Timestamp;

/// What a run is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackedRun {
    /// The experiment, made if it is not there.
    pub experiment: String,
    /// Names the run for ever: whoever opens it again, after a restart too, goes on with the same one.
    pub key: String,
    /// Its name as people read it.
    pub name: String,
    /// When it began.
    pub started: Timestamp,
    /// Settings, which never change.
    pub params: Vec<(String, String)>,
}

/// Where a run stands in the tracker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunHandle {
    /// Its id there.
    pub id: String,
    /// Where its artifacts lie, as the tracker says it.
    pub artifacts: String,
}

/// Figures of a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct TrackedMetrics {
    /// How far it had come: predictions, say.
    pub step: u64,
    /// When.
    pub at: Timestamp,
    /// Name and figure; what is not finite is left out.
    pub figures: Vec<(String, f64)>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// As it should.
    Finished,
    /// Given up.
    Failed,
}

/// A tracker of experiments.
///
/// Contract: every call may be repeated, and repeated changes nothing: a run is opened once per key, a figure of the same
/// name, step and moment is one figure, an artifact of the same path is replaced. Nothing that is predicted waits for a
/// tracker or depends on it.
#[async_trait]
pub trait Tracking: Send + Sync + std::fmt::Debug {
    /// The run of this key: the one that is open, or a new one.
    async fn open(&self, run: &TrackedRun) -> PortResult<RunHandle>;

    /// Adds figures.
    async fn log(&self, run: &RunHandle, metrics: &TrackedMetrics) -> PortResult<()>;

    /// Stores a file of the run at `path`, made of plain names and slashes.
    async fn upload(&self, run: &RunHandle, path: &str, bytes: Bytes) -> PortResult<()>;

    /// Ends the run. The next [`open`](Tracking::open) with its key begins a new one.
    async fn finish(&self, run: &RunHandle, end: RunEnd, at: Timestamp) -> PortResult<()>;
}
