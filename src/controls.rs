//! What the HTTP API asks of the other layers, answered.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value as Json, json};
use tideline_batch::{BatchLayer, RunStatus};
use tideline_common::plan::Plan;
use tideline_common::ports::{Appended, Log, PortResult};
use tideline_common::time::Timestamp;
use tideline_ingest::appender::Appender;
use tideline_serving::api::ports::{BatchControl, Check, Run, RunState, StartError, StatusSource, TopicWriter};
use tideline_speed::{ShardCondition, SpeedHandle};

use crate::agreement::Agreements;

/// Topics of the plan, written through the appender.
#[derive(Debug)]
pub struct Topics(pub Arc<Appender>);

#[async_trait]
impl TopicWriter for Topics {
    fn topics(&self) -> Vec<String> {
        self.0.topics().map(str::to_owned).collect()
    }

    async fn append(&self, topic: &str, records: Vec<Bytes>) -> PortResult<Appended> {
        self.0.append(topic, records).await
    }
}

/// Runs of the batch layer.
#[derive(Debug)]
pub struct Runs(pub Arc<BatchLayer>);

/// A time as the API writes it.
fn text(at: Option<Timestamp>) -> Json {
    at.map_or(Json::Null, |at| at.to_string().into())
}

fn run(status: &RunStatus) -> Run {
    let mut report = serde_json::to_value(&status.report).unwrap_or(Json::Null);
    for (view, through) in status.report.iter().flat_map(|report| &report.through) {
        report["through"][view] = text(*through);
    }
    Run {
        id: status.id.to_string(),
        state: match status.state {
            tideline_batch::RunState::Queued => RunState::Queued,
            tideline_batch::RunState::Running => RunState::Running,
            tideline_batch::RunState::Succeeded => RunState::Succeeded,
            tideline_batch::RunState::Failed => RunState::Failed,
        },
        started_at: status.started_at.unwrap_or(status.queued_at),
        finished_at: status.finished_at,
        report,
        error: status.error.clone(),
    }
}

#[async_trait]
impl BatchControl for Runs {
    async fn start(&self) -> Result<Run, StartError> {
        let id = self.0.start();
        let status = self.0.status(&id).ok_or_else(|| StartError::Unavailable("the run is not remembered".into()))?;
        Ok(run(&status))
    }

    async fn run(&self, id: &str) -> Option<Run> {
        self.0.status(&tideline_batch::RunId(id.to_owned())).map(|status| run(&status))
    }

    async fn runs(&self) -> Vec<Run> {
        self.0.runs().iter().map(run).collect()
    }
}

/// What the process knows of itself.
#[derive(Debug)]
pub struct Process {
    /// The plan.
    pub plan: Arc<Plan>,
    /// The speed layer.
    pub speed: Arc<SpeedHandle>,
    /// The batch layer.
    pub batch: Arc<BatchLayer>,
    /// The log.
    pub log: Arc<dyn Log>,
    /// Compares the layers.
    pub agreements: Arc<Agreements>,
}

#[async_trait]
impl StatusSource for Process {
    async fn status(&self) -> Json {
        let shards: Vec<Json> = self
            .speed
            .status()
            .into_iter()
            .map(|status| {
                let lag = status.lag();
                let mut shard = serde_json::to_value(&status).unwrap_or(Json::Null);
                shard["lag"] = lag.into();
                // Inside, times are microseconds; in the API they are text.
                for (field, at) in [("checkpoint_at", status.checkpoint_at), ("watermark", status.watermark)] {
                    shard[field] = text(at);
                }
                shard["progress"] = json!({
                    "highest": text(status.progress.highest),
                    "last_appended": text(status.progress.last_appended),
                });
                shard
            })
            .collect();
        let topics: serde_json::Map<String, Json> = match self.log.topics().await {
            Ok(topics) => topics
                .into_iter()
                .map(|topic| {
                    let partitions: serde_json::Map<String, Json> = topic
                        .partitions
                        .iter()
                        .map(|(partition, (first, next))| {
                            (partition.to_string(), json!({"first": first, "next": next}))
                        })
                        .collect();
                    (topic.name, json!({ "partitions": partitions }))
                })
                .collect(),
            Err(error) => {
                tracing::warn!(%error, "status could not ask the log");
                serde_json::Map::new()
            }
        };
        let watermarks: serde_json::Map<String, Json> =
            self.speed.watermarks().into_iter().map(|view| (view.view, text(view.watermark))).collect();
        let last_run = self.batch.runs().first().map(run);
        json!({
            "pipelines": self.plan.name,
            "shards": shards,
            "topics": topics,
            "watermarks": watermarks,
            "batch": { "last_run": last_run, "skipped_ticks": self.batch.skipped() },
            "agreement": self.agreements.summary(),
        })
    }

    async fn checks(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        for status in self.speed.status() {
            let bad = matches!(status.condition, ShardCondition::Failed | ShardCondition::Paused);
            checks.push(Check {
                name: format!("speed {}", status.shard),
                ok: !bad,
                detail: status.reason.filter(|_| bad),
            });
        }
        let log = self.log.topics().await;
        checks.push(Check {
            name: "log".to_owned(),
            ok: log.is_ok(),
            detail: log.err().map(|error| error.to_string()),
        });
        checks
    }
}
