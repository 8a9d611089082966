//! What the API needs from the rest of the process: small traits that the wiring implements.

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;
use tideline_common::ports::{Appended, PortResult};
use tideline_common::time::Timestamp;

/// Takes records into topics.
#[async_trait]
pub trait TopicWriter: Send + Sync + std::fmt::Debug {
    /// The topics that can be written to.
    fn topics(&self) -> Vec<String>;

    /// Appends records, in order, and answers where they went once they are durable. `NotFound` when there is no such
    /// topic, `Full` when there is no room.
    async fn append(&self, topic: &str, records: Vec<Bytes>) -> PortResult<Appended>;
}

/// Where a batch run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Waits for its turn.
    Queued,
    /// At work.
    Running,
    /// Done; its manifest is published.
    Succeeded,
    /// Given up; nothing was published.
    Failed,
}

/// A batch run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub state: RunState,
    /// When it was started.
    #[serde(serialize_with = "time")]
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(serialize_with = "optional_time")]
    pub finished_at: Option<Timestamp>,
    /// What it did: counts, the manifest's version.
    pub report: serde_json::Value,
    /// Why it failed, for the caller.
    pub error: Option<String>,
}

// The signatures are serde's.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn time<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

// The signatures are serde's.
#[allow(clippy::ref_option)]
fn optional_time<S: serde::Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(|at| at.to_string()).serialize(serializer)
}

/// Why a run was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another one is at work, and this one was not queued.
    #[error("batch run {running} is at work")]
    Busy {
        /// The one at work.
        running: String,
    },
    /// It cannot work now.
    #[error("the batch layer cannot start a run now")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Starts batch runs and tells how they went.
#[async_trait]
pub trait BatchControl: Send + Sync + std::fmt::Debug {
    /// Starts a run, or queues it, and answers at once.
    async fn start(&self) -> Result<Run, StartError>;

    /// The run of this id, if it is still remembered.
    async fn run(&self, id: &str) -> Option<Run>;

    /// The runs that are remembered, newest first.
    async fn runs(&self) -> Vec<Run>;
}

/// Something that must work for the process to be ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// Whether it works.
    pub ok: bool,
    /// What is wrong, for the operator; nothing secret.
    pub detail: Option<String>,
}

/// Tells what only the rest of the process knows.
#[async_trait]
pub trait StatusSource: Send + Sync + std::fmt::Debug {
    /// Added to `/v1/status` as `process`.
    async fn status(&self) -> serde_json::Value;

    /// Added to the checks of `/readyz`.
    async fn checks(&self) -> Vec<Check>;
}
