//! Ports and layers put together: the only place where adapters are chosen.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use tideline_batch::{BatchLayer, BatchPorts};
use tideline_common::plan::Plan;
use tideline_common::ports::{Analytics, Clock, Log, LookupSchema, Objects, SpeedViews, TopicSpec, ViewSchema};
use tideline_ingest::appender::{Appender, RecordKeys};
use tideline_serving::merge::{Reader, ReaderConfig};
use tideline_speed::{SpeedHandle, SpeedLayer, SpeedPorts};
use tideline_stores::analytics::parquet::{ParquetAnalytics, ParquetAnalyticsConfig};
use tideline_stores::clock::SystemClock;
use tideline_stores::lock::DataFolder;
use tideline_stores::log::embedded::{EmbeddedLog, EmbeddedLogConfig};
use tideline_stores::objects::ObjectStoreObjects;
use tideline_stores::views::embedded::{EmbeddedViews, EmbeddedViewsConfig};
use tideline_transform::SourceTransform;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::agreement::Agreements;
use crate::config::Config;

/// Bytes that stay free on the device of the lake: a full disk is met before the system suffers.
const RESERVE_BYTES: u64 = 256 << 20;
/// How often expired records and rows are dropped.
const MAINTENANCE_INTERVAL: Duration = Duration::from_mins(1);

/// The stores of one process.
#[derive(Debug, Clone)]
pub struct Stores {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The lake.
    pub objects: Arc<dyn Objects>,
    /// Speed views.
    pub views: Arc<dyn SpeedViews>,
    /// Batch results.
    pub analytics: Arc<dyn Analytics>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Keeps other processes out; last to be dropped.
    _folder: Option<Arc<DataFolder>>,
}

impl Stores {
    /// The embedded stores in `folder`, which is created if needed.
    ///
    /// # Errors
    /// Another process has the folder, or what it holds cannot be opened.
    pub async fn open(folder: &Path, config: &Config) -> anyhow::Result<Self> {
        let folder = Arc::new(DataFolder::open(folder)?);
        let (held, config) = (Arc::clone(&folder), config.clone());
        // Opening reads what is there: not on the reactor.
        tokio::task::spawn_blocking(move || {
            let log_config = EmbeddedLogConfig {
                max_log_bytes: Some(config.log.max_bytes),
                max_append_bytes: config.serve.max_body_bytes,
                ..EmbeddedLogConfig::default()
            };
            let log = EmbeddedLog::open(held.log(), log_config).context("cannot open the log")?;
            let views =
                EmbeddedViews::open(held.views(), EmbeddedViewsConfig::default()).context("cannot open the views")?;
            let lake = config.lake.url.clone().unwrap_or_else(|| held.lake());
            let objects: Arc<dyn Objects> =
                Arc::new(ObjectStoreObjects::local(lake, RESERVE_BYTES).context("cannot open the lake")?);
            let stores = Self {
                log: Arc::new(log),
                analytics: Arc::new(ParquetAnalytics::new(Arc::clone(&objects), ParquetAnalyticsConfig::default())),
                objects,
                views: Arc::new(views),
                clock: Arc::new(SystemClock),
                _folder: Some(held),
            };
            anyhow::Ok(stores)
        })
        .await?
    }

    /// Stores of one's own choice: for tests.
    pub fn of(
        log: Arc<dyn Log>,
        objects: Arc<dyn Objects>,
        views: Arc<dyn SpeedViews>,
        analytics: Arc<dyn Analytics>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { log, objects, views, analytics, clock, _folder: None }
    }

    /// The batch layer over these stores.
    ///
    /// # Errors
    /// A plan that cannot be run.
    pub fn batch(&self, plan: &Arc<Plan>, config: &Config) -> anyhow::Result<Arc<BatchLayer>> {
        let ports = BatchPorts { objects: Arc::clone(&self.objects), clock: Arc::clone(&self.clock) };
        Ok(Arc::new(BatchLayer::new(Arc::clone(plan), ports, config.batch.clone())?))
    }

    /// Starts the speed layer over these stores.
    ///
    /// # Errors
    /// A plan that cannot be run, a topic that cannot be made.
    pub async fn speed(
        &self,
        plan: &Arc<Plan>,
        config: &Config,
        cancel: CancellationToken,
    ) -> anyhow::Result<Arc<SpeedHandle>> {
        let ports = SpeedPorts {
            log: Arc::clone(&self.log),
            objects: Arc::clone(&self.objects),
            views: Arc::clone(&self.views),
            clock: Arc::clone(&self.clock),
        };
        Ok(Arc::new(SpeedLayer::start(Arc::clone(plan), ports, config.speed.clone(), cancel).await?))
    }

    /// The query engine over these stores.
    pub fn reader(&self, plan: &Arc<Plan>) -> Arc<Reader> {
        Arc::new(Reader::new(
            Arc::clone(plan),
            Arc::clone(&self.views),
            Arc::clone(&self.analytics),
            Arc::clone(&self.clock),
            ReaderConfig::default(),
        ))
    }

    /// What appends records to the topics of the plan's sources. The topics are made where they are missing.
    ///
    /// # Errors
    /// A key expression that cannot be run, a topic that cannot be made.
    pub async fn appender(&self, plan: &Arc<Plan>) -> anyhow::Result<Arc<Appender>> {
        let mut keys: BTreeMap<String, Arc<dyn RecordKeys>> = BTreeMap::new();
        for source in &plan.sources {
            let spec =
                TopicSpec { name: source.topic.clone(), partitions: source.partitions, retention: source.retention };
            self.log.ensure_topic(&spec).await?;
            let transform = SourceTransform::new(plan, &source.name)?;
            // Of two sources on one topic the first decides, in the plan's order.
            keys.entry(source.topic.clone()).or_insert_with(|| Arc::new(SourceKeys(transform)));
        }
        Ok(Arc::new(Appender::new(Arc::clone(&self.log), Arc::clone(&self.clock), keys)))
    }
}

/// Partition keys as the source's definition says.
struct SourceKeys(SourceTransform);

impl RecordKeys for SourceKeys {
    fn keys(&self, records: &[Bytes]) -> Vec<Option<Bytes>> {
        self.0.keys(records)
    }
}

/// Everything in one process.
#[derive(Debug)]
pub struct Platform {
    /// What runs.
    pub plan: Arc<Plan>,
    /// The stores.
    pub stores: Stores,
    /// The speed layer.
    pub speed: Arc<SpeedHandle>,
    /// The batch layer.
    pub batch: Arc<BatchLayer>,
    /// The query engine.
    pub reader: Arc<Reader>,
    /// Takes records in.
    pub appender: Arc<Appender>,
    /// Compares the layers.
    pub agreements: Arc<Agreements>,
    cancel: CancellationToken,
    maintenance: AbortOnDropHandle<()>,
    following: Option<AbortOnDropHandle<()>>,
}

impl Platform {
    /// Starts every layer over `stores`. A batch run begins by sealing the speed layer, so that it sees
    /// everything that was appended before it.
    ///
    /// # Errors
    /// A plan that cannot be run, stores that fail.
    pub async fn start(plan: Arc<Plan>, stores: Stores, config: &Config) -> anyhow::Result<Self> {
        let cancel = CancellationToken::new();
        let appender = stores.appender(&plan).await?;
        let speed = stores.speed(&plan, config, cancel.child_token()).await?;
        let batch = stores.batch(&plan, config)?;
        let sealed = Arc::downgrade(&speed);
        batch.before_run(move || {
            let speed = sealed.upgrade();
            async move {
                match speed {
                    Some(speed) => speed.seal().await.map_err(|error| error.to_string()),
                    None => Err("the speed layer has stopped".to_owned()),
                }
            }
        });
        let reader = stores.reader(&plan);
        let agreements =
            Arc::new(Agreements::new(Arc::clone(&batch), Arc::clone(&stores.views), Arc::clone(&stores.clock)));
        let upkeep = maintain(Arc::clone(&plan), stores.clone(), Arc::clone(&speed), cancel.clone());
        let maintenance = AbortOnDropHandle::new(tokio::spawn(upkeep));
        Ok(Self { plan, stores, speed, batch, reader, appender, agreements, cancel, maintenance, following: None })
    }

    /// From now on the layers are compared after every version that is published, in the background.
    pub fn follow_agreement(&mut self) {
        if self.following.is_none() {
            let follow = Arc::clone(&self.agreements).follow(self.cancel.child_token());
            self.following = Some(AbortOnDropHandle::new(tokio::spawn(follow)));
        }
    }

    /// Stops in order: batch ends at its next step, and with it a comparison; the speed layer flushes, writes Bronze
    /// and a checkpoint.
    pub async fn stop(self) {
        self.batch.shutdown().await;
        self.cancel.cancel();
        if let Some(following) = self.following
            && let Err(error) = following.await
        {
            tracing::error!(%error, "the comparison of the layers ended by itself");
        }
        self.speed.join().await;
        if let Err(error) = self.maintenance.await {
            tracing::error!(%error, "maintenance ended by itself");
        }
    }
}

/// Drops what retention and times to live no longer keep, now and then.
async fn maintain(plan: Arc<Plan>, stores: Stores, speed: Arc<SpeedHandle>, cancel: CancellationToken) {
    let views: Vec<ViewSchema> = plan.views.iter().map(ViewSchema::from).collect();
    let lookups: Vec<LookupSchema> = plan.lookups.iter().map(LookupSchema::from).collect();
    while cancel.run_until_cancelled(tokio::time::sleep(MAINTENANCE_INTERVAL)).await.is_some() {
        let now = stores.clock.now();
        match stores.log.expire(now, &speed.keep_from()).await {
            Ok(0) => {}
            Ok(records) => tracing::info!(records, "expired records of the log dropped"),
            Err(error) => tracing::warn!(%error, "the log could not drop expired records"),
        }
        match stores.views.expire(&views, &lookups, now).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "expired rows of the views dropped"),
            Err(error) => tracing::warn!(%error, "the views could not drop expired rows"),
        }
    }
}
