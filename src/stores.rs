//! The stores of one process: the only place where adapters are chosen.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use tideline_batch::{BatchLayer, BatchPorts};
use tideline_common::generation::{Generation, Replays};
use tideline_common::plan::Plan;
use tideline_common::ports::{
    Analytics, Clock, Log, Membership, Objects, PortResult, Publication, SpeedViews, SqlEngine, TopicSpec, Tracking,
    Webhook,
};
use tideline_ingest::appender::{Appender, RecordKeys};
use tideline_serving::guard::GuardConfig;
use tideline_serving::merge::{Reader, ReaderConfig};
use tideline_serving::ranking::{Rankings, RankingsConfig};
use tideline_speed::close::{CloseHandle, CloseLayer, ClosePorts};
use tideline_speed::{Rebuilt, SpeedConfig, SpeedHandle, SpeedLayer, SpeedPorts};
use tideline_stores::analytics::clickhouse::{ClickHouseAnalytics, ClickHouseConfig};
use tideline_stores::analytics::parquet::{ParquetAnalytics, ParquetAnalyticsConfig};
use tideline_stores::clock::SystemClock;
use tideline_stores::engine::clickhouse::{ClickHouseEngine, ClickHouseEngineConfig};
use tideline_stores::lock::DataFolder;
use tideline_stores::log::embedded::{EmbeddedLog, EmbeddedLogConfig};
use tideline_stores::log::kafka::{KafkaLog, KafkaLogConfig, KafkaMembership};
use tideline_stores::membership::Everything;
use tideline_stores::objects::ObjectStoreObjects;
use tideline_stores::objects::s3::S3Config;
use tideline_stores::tracking::mlflow::{Mlflow, MlflowConfig};
use tideline_stores::views::embedded::{EmbeddedViews, EmbeddedViewsConfig};
use tideline_stores::views::generation::GenerationViews;
use tideline_stores::views::scylla::{ScyllaConfig, ScyllaViews};
use tideline_stores::webhook::HttpWebhook;
use tideline_transform::SourceTransform;
use tokio_util::sync::CancellationToken;

use crate::config::{AnalyticsKind, Config, LogKind, ServeConfig, TrackingKind, ViewsKind};
use crate::prediction::Predictions;
use crate::prediction::tracker::Tracker;
use crate::streams;

/// Bytes that stay free on the device of the lake: a full disk is met before the system suffers.
const RESERVE_BYTES: u64 = 256 << 20;
/// How often it is looked whether a replay has taken over.
const REPLAYS_LOOK: Duration = Duration::from_secs(2);
/// How often new partitions of topics are looked for.
const TOPICS_LOOK: Duration = Duration::from_secs(2);
/// First pause before topics are tried to be created again; it doubles.
const TOPICS_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause.
const TOPICS_PAUSE_MAX: Duration = Duration::from_secs(15);

/// The stores of one process.
#[derive(Debug, Clone)]
pub struct Stores {
    /// The log.
    pub log: Arc<dyn Log>,
    /// Which partitions of the log this process works on.
    pub membership: Arc<dyn Membership>,
    /// Which partitions of the topics of changes it closes windows of.
    pub closing: Arc<dyn Membership>,
    /// Posts alerts.
    pub webhook: Arc<dyn Webhook>,
    /// The lake.
    pub objects: Arc<dyn Objects>,
    /// Speed views, of the generation in use: to be read.
    pub views: Arc<dyn SpeedViews>,
    /// Batch results.
    pub analytics: Arc<dyn Analytics>,
    /// What must be told of published versions; `None` where the lake is all.
    pub publication: Option<Arc<dyn Publication>>,
    /// The database that may compute Gold; `None` without one.
    pub sql: Option<Arc<dyn SqlEngine>>,
    /// The database that takes in what batch has published and what speed knows; `None` without one.
    pub clickhouse: Option<Arc<ClickHouseAnalytics>>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The tracker of experiments; `None` without one.
    pub tracking: Option<Arc<dyn Tracking>>,
    /// What tells it, once windows are being closed.
    tracker: Arc<OnceLock<Tracker>>,
    /// Speed views of any generation.
    generations: GenerationViews,
    /// Keeps other processes out; last to be dropped. `None` where nothing is this process's alone.
    folder: Option<Arc<DataFolder>>,
}

impl Stores {
    /// The stores that the configuration names. What is embedded is in `folder`, which is created if needed. Servers
    /// need not be there yet: what is asked of them fails until they are.
    ///
    /// # Errors
    /// Another process has the folder, what it holds cannot be opened, or a store's configuration makes no sense.
    pub async fn open(folder: &Path, config: &Config) -> anyhow::Result<Self> {
        let held = if config.embedded().is_empty() { None } else { Some(Arc::new(DataFolder::open(folder)?)) };
        let config = config.clone();
        // Opening reads what is there: not on the reactor.
        let opened = tokio::task::spawn_blocking(move || Opened::new(held, &config).map(|opened| (opened, config)));
        let (opened, config) = opened.await??;
        let Opened { log, objects, folder } = opened;
        let views: Arc<dyn SpeedViews> = match (config.views.kind, &folder) {
            (ViewsKind::Embedded, Some(folder)) => {
                let at = folder.views();
                let open = move || EmbeddedViews::open(at, EmbeddedViewsConfig::default());
                Arc::new(tokio::task::spawn_blocking(open).await?.context("cannot open the views")?)
            }
            (ViewsKind::Embedded, None) => bail!("views.kind = \"embedded\" needs a data folder"),
            (ViewsKind::Scylla, _) => Arc::new(scylla(&config)?),
        };
        let everything = |log: &Arc<dyn Log>| Arc::new(Everything::new(Arc::clone(log), TOPICS_LOOK));
        let (log, membership, closing): (Arc<dyn Log>, Arc<dyn Membership>, Arc<dyn Membership>) = match log {
            OpenedLog::Embedded(log) => {
                let (membership, closing) = (everything(&log), everything(&log));
                (log, membership, closing)
            }
            OpenedLog::Kafka(log) => match config.views.kind {
                // Views that are one process's own hold what that process reads: it reads everything.
                ViewsKind::Embedded => {
                    let log: Arc<dyn Log> = Arc::from(log as Box<dyn Log>);
                    let (membership, closing) = (everything(&log), everything(&log));
                    (log, membership, closing)
                }
                ViewsKind::Scylla => {
                    let membership = KafkaMembership::new(kafka_config(&config))?;
                    log.note_progress_as(&membership);
                    let kafka = kafka_config(&config);
                    let group = format!("{}.close", kafka.group);
                    let closing = KafkaMembership::new(KafkaLogConfig { group, ..kafka })?;
                    (Arc::from(log as Box<dyn Log>), Arc::new(membership), Arc::new(closing))
                }
            },
        };
        let generations = GenerationViews::in_use(views, Arc::clone(&objects));
        let parquet = || ParquetAnalytics::new(Arc::clone(&objects), ParquetAnalyticsConfig::default());
        let mut stores = Self {
            log,
            membership,
            closing,
            webhook: Arc::new(HttpWebhook::new()?),
            analytics: Arc::new(parquet()),
            publication: None,
            sql: None,
            clickhouse: None,
            objects,
            views: Arc::new(generations.clone()),
            clock: Arc::new(SystemClock),
            tracking: tracking(&config)?,
            tracker: Arc::default(),
            generations,
            folder,
        };
        if config.analytics.kind == AnalyticsKind::Clickhouse {
            let database = Arc::new(clickhouse(&config, Arc::clone(&stores.objects))?);
            stores.analytics = Arc::clone(&database) as _;
            stores.publication = Some(Arc::clone(&database) as _);
            stores.clickhouse = Some(database);
            stores.sql = Some(Arc::new(engine(&config, Arc::clone(&stores.objects))?));
        }
        Ok(stores)
    }

    /// Stores that several processes share: for a role that does one thing.
    ///
    /// # Errors
    /// As [`Stores::open`], and when something is embedded, which one process has for itself.
    pub async fn shared(role: &str, config: &Config) -> anyhow::Result<Self> {
        let embedded = config.embedded();
        if !embedded.is_empty() {
            bail!(
                "`tideline {role}` works over stores that processes share, and {} is embedded: name servers in \
                 tideline.toml, or use `tideline up`, which is everything in one process",
                embedded.join(", ")
            );
        }
        Self::open(Path::new("."), config).await
    }

    /// Whether other processes may work over the same stores.
    pub const fn is_shared(&self) -> bool {
        self.folder.is_none()
    }

    /// Stores of one's own choice: for tests.
    ///
    /// # Errors
    /// When there is no TLS for webhooks.
    pub fn of(
        log: Arc<dyn Log>,
        objects: Arc<dyn Objects>,
        views: Arc<dyn SpeedViews>,
        analytics: Arc<dyn Analytics>,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let everything = || Arc::new(Everything::new(Arc::clone(&log), TOPICS_LOOK));
        let (membership, closing) = (everything(), everything());
        let generations = GenerationViews::in_use(views, Arc::clone(&objects));
        Ok(Self {
            membership,
            closing,
            webhook: Arc::new(HttpWebhook::new()?),
            views: Arc::new(generations.clone()),
            log,
            objects,
            analytics,
            publication: None,
            sql: None,
            clickhouse: None,
            clock,
            tracking: None,
            tracker: Arc::default(),
            generations,
            folder: None,
        })
    }

    /// The batch layer over these stores.
    ///
    /// # Errors
    /// A plan that cannot be run.
    pub fn batch(&self, plan: &Arc<Plan>, config: &Config) -> anyhow::Result<Arc<BatchLayer>> {
        let ports = BatchPorts {
            objects: Arc::clone(&self.objects),
            clock: Arc::clone(&self.clock),
            publication: self.publication.clone(),
            sql: self.sql.clone(),
        };
        Ok(Arc::new(BatchLayer::new(Arc::clone(plan), ports, config.batch.clone())?))
    }

    /// The generation of speed views in use. While the lake does not tell, this waits, until `cancel`.
    ///
    /// # Errors
    /// Cancelled, or what waiting does not help against.
    pub async fn generation(&self, cancel: &CancellationToken) -> anyhow::Result<Generation> {
        let mut pause = TOPICS_PAUSE;
        loop {
            match cancel.run_until_cancelled(Replays::read(self.objects.as_ref())).await {
                None => bail!("stopped before the lake told which generation of views is in use"),
                Some(Ok(replays)) => return Ok(replays.current()),
                Some(Err(error)) if error.is_retryable() => {
                    tracing::warn!(%error, ?pause, "the lake does not tell yet which generation of views is in use");
                }
                Some(Err(error)) => return Err(error.into()),
            }
            cancel.run_until_cancelled(tokio::time::sleep(pause)).await;
            pause = (pause * 2).min(TOPICS_PAUSE_MAX);
        }
    }

    /// Waits until a replay has made a generation later than `generation`; `None` when cancelled before.
    pub async fn superseded(self, generation: Generation, cancel: CancellationToken) -> Option<Generation> {
        loop {
            cancel.run_until_cancelled(tokio::time::sleep(REPLAYS_LOOK)).await?;
            match cancel.run_until_cancelled(Replays::read(self.objects.as_ref())).await? {
                Ok(replays) if replays.current() > generation => return Some(replays.current()),
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "replays could not be looked up"),
            }
        }
    }

    /// Starts the speed layer over these stores, to write views of `generation`.
    ///
    /// # Errors
    /// A plan that cannot be run, a topic that cannot be made.
    pub async fn speed(
        &self,
        plan: &Arc<Plan>,
        config: &Config,
        generation: Generation,
        cancel: CancellationToken,
    ) -> anyhow::Result<Arc<SpeedHandle>> {
        let (ports, speed) = self.speed_parts(config, generation);
        Ok(Arc::new(SpeedLayer::start(Arc::clone(plan), ports, speed, cancel).await?))
    }

    /// Starts closing windows over these stores: before the speed layer, which tells of them.
    ///
    /// # Errors
    /// A configuration out of its bounds, stores that refuse.
    pub async fn close(
        &self,
        plan: &Arc<Plan>,
        config: &Config,
        generation: Generation,
        cancel: CancellationToken,
    ) -> anyhow::Result<Arc<CloseHandle>> {
        let ports = ClosePorts {
            log: Arc::clone(&self.log),
            membership: Arc::clone(&self.closing),
            objects: Arc::clone(&self.objects),
            views: Arc::new(self.generations.of(generation)),
            webhook: Arc::clone(&self.webhook),
            clock: Arc::clone(&self.clock),
            others: Arc::new(Predictions::tracked(self.points(config))),
        };
        Ok(Arc::new(CloseLayer::start(Arc::clone(plan), ports, config.close.clone(), cancel).await?))
    }

    /// Where the tracker of experiments is told how models are doing; `None` without one.
    fn points(&self, config: &Config) -> Option<crate::prediction::tracker::Points> {
        let tracking = Arc::clone(self.tracking.as_ref()?);
        let start = || {
            let (experiment, every) = (config.tracking.experiment.clone(), config.tracking.every);
            Tracker::start(tracking, Arc::clone(&self.clock), experiment, every)
        };
        Some(self.tracker.get_or_init(start).points())
    }

    /// Ends what tells the tracker of experiments, after windows have ceased to be closed. Whatever happens there, it takes
    /// no longer than some seconds.
    pub async fn stop_tracking(&self) {
        if let Some(tracker) = self.tracker.get() {
            tracker.stop().await;
        }
    }

    /// Makes speed views of `generation` anew, from Bronze alone.
    ///
    /// # Errors
    /// As [`SpeedLayer::rebuild`].
    pub async fn rebuild_speed(
        &self,
        plan: &Arc<Plan>,
        config: &Config,
        generation: Generation,
        cancel: CancellationToken,
    ) -> anyhow::Result<Vec<Rebuilt>> {
        let (ports, speed) = self.speed_parts(config, generation);
        Ok(SpeedLayer::rebuild(Arc::clone(plan), ports, speed, cancel).await?)
    }

    fn speed_parts(&self, config: &Config, generation: Generation) -> (SpeedPorts, SpeedConfig) {
        // The log takes a group's progress from its members only.
        let speed = SpeedConfig { group: config.log.group.clone(), generation, ..config.speed.clone() };
        let ports = SpeedPorts {
            log: Arc::clone(&self.log),
            membership: Arc::clone(&self.membership),
            objects: Arc::clone(&self.objects),
            views: Arc::new(self.generations.of(generation)),
            clock: Arc::clone(&self.clock),
        };
        (ports, speed)
    }

    /// Takes what speed knows of the views of `plan` into `ClickHouse`, where there is one, until `cancel`.
    pub fn spawn_streams(&self, plan: &Arc<Plan>, cancel: &CancellationToken) -> tokio::task::JoinHandle<()> {
        let work = self
            .clickhouse
            .clone()
            .map(|store| streams::follow(Arc::clone(&self.log), store, Arc::clone(plan), cancel.child_token()));
        tokio::spawn(async move {
            if let Some(work) = work {
                work.await;
            }
        })
    }

    /// The query engine over these stores.
    pub fn reader(&self, plan: &Arc<Plan>, config: &ServeConfig) -> Reader {
        let guard = GuardConfig { max_reads: config.max_store_reads, ..GuardConfig::default() };
        let bounds = ReaderConfig { guard, ..ReaderConfig::default() };
        let (views, analytics) = (Arc::clone(&self.views), Arc::clone(&self.analytics));
        Reader::new(Arc::clone(plan), views, analytics, Arc::clone(&self.clock), bounds)
            .watching(Some(Arc::clone(&self.log)), Some(Arc::clone(&self.objects)))
    }

    /// The query engine, with rankings kept ready until `cancel`.
    pub fn ranking_reader(&self, plan: &Arc<Plan>, config: &ServeConfig, cancel: &CancellationToken) -> Reader {
        let rankings = Rankings::start(
            plan,
            Arc::clone(&self.log),
            Arc::clone(&self.views),
            Arc::clone(&self.analytics),
            Arc::clone(&self.clock),
            RankingsConfig { max_bytes: config.rankings_bytes, ..RankingsConfig::default() },
            cancel,
        );
        self.reader(plan, config).with_rankings(rankings)
    }

    /// Creates the topics of the plan's sources where they are missing.
    ///
    /// # Errors
    /// A log that is not available, or refuses.
    pub async fn ensure_topics(&self, plan: &Plan) -> PortResult<()> {
        Self::ensure_topics_of(self.log.as_ref(), plan).await
    }

    /// As [`Stores::ensure_topics`], with a log alone.
    ///
    /// # Errors
    /// A log that is not available, or refuses.
    pub async fn ensure_topics_of(log: &dyn Log, plan: &Plan) -> PortResult<()> {
        for source in &plan.sources {
            let spec = TopicSpec {
                name: source.topic.clone(),
                partitions: source.partitions,
                retention: source.retention,
                max_bytes: None,
            };
            log.ensure_topic(&spec).await?;
        }
        for spec in plan.output_topics() {
            log.ensure_topic(&spec).await?;
        }
        Ok(())
    }

    /// As [`Stores::ensure_topics`], again and again until it has worked or `cancel`.
    pub async fn ensure_topics_in_time(self, plan: Arc<Plan>, cancel: CancellationToken) {
        let mut pause = TOPICS_PAUSE;
        loop {
            match cancel.run_until_cancelled(self.ensure_topics(&plan)).await {
                None | Some(Ok(())) => return,
                Some(Err(error)) => tracing::warn!(%error, ?pause, "topics could not be created yet"),
            }
            if cancel.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
            pause = (pause * 2).min(TOPICS_PAUSE_MAX);
        }
    }

    /// What appends records to the topics of the plan's sources.
    ///
    /// # Errors
    /// A key expression that cannot be run.
    pub fn appender(&self, plan: &Arc<Plan>) -> anyhow::Result<Arc<Appender>> {
        let mut keys: BTreeMap<String, Arc<dyn RecordKeys>> = BTreeMap::new();
        for source in &plan.sources {
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

/// What is opened on a thread that may block.
struct Opened {
    log: OpenedLog,
    objects: Arc<dyn Objects>,
    folder: Option<Arc<DataFolder>>,
}

enum OpenedLog {
    Embedded(Arc<dyn Log>),
    Kafka(Box<KafkaLog>),
}

impl Opened {
    fn new(folder: Option<Arc<DataFolder>>, config: &Config) -> anyhow::Result<Self> {
        let log = match (config.log.kind, &folder) {
            (LogKind::Embedded, Some(folder)) => {
                let log_config = EmbeddedLogConfig {
                    max_log_bytes: Some(config.log.max_bytes),
                    max_append_bytes: config.serve.max_body_bytes,
                    ..EmbeddedLogConfig::default()
                };
                let log = EmbeddedLog::open(folder.log(), log_config).context("cannot open the log")?;
                OpenedLog::Embedded(Arc::new(log))
            }
            (LogKind::Embedded, None) => bail!("log.kind = \"embedded\" needs a data folder"),
            (LogKind::Kafka, _) => OpenedLog::Kafka(Box::new(kafka(config)?)),
        };
        let objects = match &folder {
            Some(folder) if config.lake.url.is_none() => {
                Arc::new(ObjectStoreObjects::local(folder.lake(), RESERVE_BYTES).context("cannot open the lake")?)
            }
            _ => lake(config)?,
        };
        Ok(Self { log, objects, folder })
    }
}

fn kafka_config(config: &Config) -> KafkaLogConfig {
    KafkaLogConfig {
        replication_factor: config.log.replication_factor,
        properties: config.log.properties.clone(),
        max_append_bytes: config.serve.max_body_bytes,
        session_timeout: config.log.session_timeout.to_std(),
        ..KafkaLogConfig::new(config.log.brokers.clone(), config.log.group.clone())
    }
}

/// The log on Kafka.
///
/// # Errors
/// A configuration that makes no sense.
pub fn kafka(config: &Config) -> anyhow::Result<KafkaLog> {
    Ok(KafkaLog::new(kafka_config(config))?)
}

/// The lake that `lake.url` names.
///
/// # Errors
/// None named, a folder that cannot be opened, or a configuration that makes no sense.
pub fn lake(config: &Config) -> anyhow::Result<Arc<dyn Objects>> {
    let Some(url) = &config.lake.url else { bail!("lake.url is not set") };
    if !config.lake.is_s3() {
        return Ok(Arc::new(ObjectStoreObjects::local(url, RESERVE_BYTES).context("cannot open the lake")?));
    }
    let s3 = S3Config {
        endpoint: config.lake.endpoint.clone(),
        region: config.lake.region.clone(),
        access_key: config.lake.access_key.clone(),
        secret_key: config.lake.secret_key.clone(),
        ..S3Config::new(url)
    };
    Ok(Arc::new(ObjectStoreObjects::s3(&s3)?))
}

/// The speed views on a CQL server.
///
/// # Errors
/// A configuration that makes no sense.
pub fn scylla(config: &Config) -> anyhow::Result<ScyllaViews> {
    Ok(ScyllaViews::connect(scylla_config(config))?)
}

/// How the CQL server is reached.
pub fn scylla_config(config: &Config) -> ScyllaConfig {
    let views = &config.views;
    ScyllaConfig {
        nodes: views.nodes.clone(),
        keyspace: views.keyspace.clone(),
        replication_factor: views.replication_factor,
        datacenter: views.datacenter.clone(),
        username: views.username.clone(),
        password: views.password.clone(),
        ca_file: views.ca_file.clone(),
        ..ScyllaConfig::default()
    }
}

/// The analytics on `ClickHouse`, over a lake.
///
/// # Errors
/// A configuration that makes no sense.
pub fn clickhouse(config: &Config, objects: Arc<dyn Objects>) -> anyhow::Result<ClickHouseAnalytics> {
    let analytics = &config.analytics;
    let clickhouse = ClickHouseConfig {
        url: analytics.url.clone(),
        database: analytics.database.clone(),
        user: analytics.user.clone(),
        password: analytics.password.clone(),
        ..ClickHouseConfig::default()
    };
    Ok(ClickHouseAnalytics::new(clickhouse, objects)?)
}

/// The tracker of experiments that is configured.
fn tracking(config: &Config) -> anyhow::Result<Option<Arc<dyn Tracking>>> {
    let tracking = &config.tracking;
    let set = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    Ok(match tracking.kind {
        None => None,
        Some(TrackingKind::Mlflow) => {
            let mlflow = MlflowConfig {
                user: set(&tracking.user),
                password: set(&tracking.password),
                token: set(&tracking.token),
                timeout: tracking.timeout.to_std(),
                ..MlflowConfig::new(tracking.url.clone())
            };
            Some(Arc::new(Mlflow::new(&mlflow).context("tracking.url")?))
        }
    })
}

/// The same server as an engine of the batch layer.
fn engine(config: &Config, objects: Arc<dyn Objects>) -> anyhow::Result<ClickHouseEngine> {
    let analytics = &config.analytics;
    let user = analytics.user.clone().map(|user| (user, analytics.password.clone().unwrap_or_default()));
    let engine = ClickHouseEngineConfig {
        url: analytics.url.clone(),
        credentials: user,
        cluster: analytics.cluster.clone(),
        lake_endpoint: analytics.lake_endpoint.clone(),
        ..ClickHouseEngineConfig::default()
    };
    Ok(ClickHouseEngine::new(engine, objects)?)
}
