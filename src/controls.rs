//! What the HTTP API asks of the other layers, answered.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value as Json, json};
use tideline_batch::{BatchLayer, RunStatus};
use tideline_common::plan::Plan;
use tideline_common::ports::{Appended, Log, PortResult};
use tideline_common::position::{Offset, Partition};
use tideline_common::time::Timestamp;
use tideline_ingest::appender::Appender;
use tideline_ingest::connector::status::StatusCell;
use tideline_serving::api::ports::{BatchControl, Check, Run, RunState, StartError, StatusSource, TopicWriter};
use tideline_speed::close::{CloseCondition, CloseHandle, CloseStatus};
use tideline_speed::{ShardCondition, ShardStatus, SpeedHandle};

use crate::agreement::Agreements;
use crate::connectors::Connectors;
use crate::platform::Stores;

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

/// What the process knows of itself: of the layers that it runs, and of the log.
#[derive(Debug)]
pub struct Status {
    plan: Arc<Plan>,
    log: Arc<dyn Log>,
    /// Set when the speed layer has started, which needs the log.
    speed: Arc<OnceLock<Arc<SpeedHandle>>>,
    /// Set with it.
    close: Arc<OnceLock<Arc<CloseHandle>>>,
    batch: Option<Arc<BatchLayer>>,
    agreements: Option<Arc<Agreements>>,
    connectors: Vec<StatusCell>,
    /// Whether this process is nothing without the log.
    needs_log: bool,
}

impl Status {
    /// A process that runs neither layer.
    pub fn new(plan: &Arc<Plan>, stores: &Stores) -> Self {
        Self {
            plan: Arc::clone(plan),
            log: Arc::clone(&stores.log),
            speed: Arc::default(),
            close: Arc::default(),
            batch: None,
            agreements: None,
            connectors: Vec::new(),
            needs_log: true,
        }
    }

    /// It works without the log.
    #[must_use]
    pub const fn without_log(mut self) -> Self {
        self.needs_log = false;
        self
    }

    /// It runs the speed layer, and closes windows.
    #[must_use]
    pub fn with_speed(self, speed: &Arc<SpeedHandle>, close: &Arc<CloseHandle>) -> Self {
        // Nobody else has set what was made with this value.
        let _ = self.speed.set(Arc::clone(speed));
        let _ = self.close.set(Arc::clone(close));
        self
    }

    /// It will run the speed layer, and close windows, once both are set.
    #[must_use]
    pub fn starting_speed(
        mut self,
        speed: Arc<OnceLock<Arc<SpeedHandle>>>,
        close: Arc<OnceLock<Arc<CloseHandle>>>,
    ) -> Self {
        (self.speed, self.close) = (speed, close);
        self
    }

    /// It runs the batch layer.
    #[must_use]
    pub fn with_batch(mut self, batch: &Arc<BatchLayer>, agreements: &Arc<Agreements>) -> Self {
        self.batch = Some(Arc::clone(batch));
        self.agreements = Some(Arc::clone(agreements));
        self
    }

    /// It runs connectors.
    #[must_use]
    pub fn with_connectors(mut self, connectors: &Connectors) -> Self {
        self.connectors = connectors.statuses();
        self
    }

    fn shards(&self) -> Vec<Json> {
        let shard = |status: ShardStatus| {
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
        };
        self.speed.get().map(|speed| speed.status().into_iter().map(shard).collect()).unwrap_or_default()
    }

    /// Where closing windows stands, by view and partition of its changes.
    async fn closing(&self) -> Vec<Json> {
        let Some(close) = self.close.get() else { return Vec::new() };
        if let Err(error) = close.look().await {
            tracing::debug!(%error, "ends of changes could not be looked up");
        }
        let one = |status: CloseStatus| {
            let mut json = serde_json::to_value(&status).unwrap_or(Json::Null);
            json["lag"] = status.lag().into();
            for (field, at) in [("watermark", status.watermark), ("through", status.through)] {
                json[field] = text(at);
            }
            json
        };
        close.status().into_iter().map(one).collect()
    }

    async fn topics(&self) -> serde_json::Map<String, Json> {
        let topics = self.log.topics().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "status could not ask the log");
            Vec::new()
        });
        let range = |(partition, (first, next)): (&Partition, &(Offset, Offset))| {
            (partition.to_string(), json!({"first": first, "next": next}))
        };
        topics
            .into_iter()
            .map(|topic| {
                let partitions: serde_json::Map<String, Json> = topic.partitions.iter().map(range).collect();
                (topic.name, json!({ "partitions": partitions }))
            })
            .collect()
    }
}

#[async_trait]
impl StatusSource for Status {
    async fn status(&self) -> Json {
        let speed = self.speed.get();
        let watermarks: serde_json::Map<String, Json> = speed
            .into_iter()
            .flat_map(|speed| speed.watermarks())
            .map(|view| (view.view, text(view.watermark)))
            .collect();
        let last_run = |batch: &Arc<BatchLayer>| batch.runs().first().map(run);
        json!({
            "pipelines": self.plan.name,
            "shards": self.shards(),
            "membership": speed.map(|speed| json!(speed.membership())),
            "closing": self.closing().await,
            "topics": self.topics().await,
            "watermarks": watermarks,
            "batch": {
                "last_run": self.batch.as_ref().and_then(last_run),
                "skipped_ticks": self.batch.as_ref().map(|batch| batch.skipped()),
            },
            "connectors": self.connectors.iter().map(StatusCell::get).collect::<Vec<_>>(),
            "agreement": self.agreements.as_ref().map(|agreements| agreements.summary()),
        })
    }

    async fn checks(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        for status in self.speed.get().into_iter().flat_map(|speed| speed.status()) {
            let bad = matches!(status.condition, ShardCondition::Failed | ShardCondition::Paused);
            checks.push(Check {
                name: format!("speed {}", status.shard),
                ok: !bad,
                detail: status.reason.filter(|_| bad),
            });
        }
        for status in self.close.get().into_iter().flat_map(|close| close.status()) {
            let bad = matches!(status.condition, CloseCondition::Failed | CloseCondition::Paused);
            checks.push(Check {
                name: format!("closing {}/{}", status.view, status.partition),
                ok: !bad,
                detail: status.reason.filter(|_| bad),
            });
        }
        if let Some(speed) = self.speed.get() {
            let group = speed.membership();
            checks.push(Check { name: "speed group".to_owned(), ok: group.reason.is_none(), detail: group.reason });
        }
        if self.needs_log {
            let log = self.log.topics().await;
            let detail = log.err().map(|error| error.to_string());
            checks.push(Check { name: "log".to_owned(), ok: detail.is_none(), detail });
        }
        checks
    }
}
