//! The batch layer as a whole: one run after the other, each from the published version to the next.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures::future::BoxFuture;
use tideline_common::manifest::Manifest;
use tideline_common::plan::Plan;
use tideline_common::ports::{Clock, Objects, Publication, SqlEngine};
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use crate::config::{BatchConfig, EngineKind};
use crate::context::{Context, Engines};
use crate::engine::GoldEngine;
use crate::error::BatchError;
use crate::lake::Lake;
use crate::load::Loader;
use crate::manifests::Manifests;
use crate::publish;
use crate::registry::{Registry, RunId, RunReport, RunState, RunStatus, Stage};
use crate::silver::Worker;
use crate::through::through;
use crate::{bronze, gold, reports, silver};

/// How often a run that lost the race for its version is begun again.
const ATTEMPTS: usize = 3;

/// What the batch layer needs from outside.
#[derive(Clone, Debug)]
pub struct BatchPorts {
    /// The lake.
    pub objects: Arc<dyn Objects>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// A store of analytics that must be told of each version; `None` when readers read the lake.
    pub publication: Option<Arc<dyn Publication>>,
    /// The database that computes Gold when `batch.engine` asks for one.
    pub sql: Option<Arc<dyn SqlEngine>>,
}

type Hook = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// The batch layer of one plan.
pub struct BatchLayer {
    pub(crate) engines: Arc<Engines>,
    pub(crate) lake: Lake,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: Arc<BatchConfig>,
    pub(crate) manifests: Manifests,
    registry: Registry,
    /// Held by the run that works: there is one at a time.
    gate: Arc<tokio::sync::Mutex<()>>,
    hook: Mutex<Option<Hook>>,
    loader: Loader,
    pub(crate) stop: CancellationToken,
    pub(crate) skipped: AtomicU64,
    /// The version that this layer published last; 0 before the first.
    published: tokio::sync::watch::Sender<u64>,
}

impl fmt::Debug for BatchLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchLayer")
            .field("plan", &self.engines.plan.name)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl BatchLayer {
    /// The batch layer of `plan`.
    ///
    /// # Errors
    /// When an expression of the plan cannot be compiled, or the configuration asks for an engine that is not there.
    pub fn new(plan: Arc<Plan>, ports: BatchPorts, config: BatchConfig) -> Result<Self, BatchError> {
        let sql = match (config.engine, ports.sql) {
            (EngineKind::Polars, _) => None,
            (EngineKind::ClickHouse, Some(engine)) => Some(engine),
            (EngineKind::ClickHouse, None) => {
                let reason = "`clickhouse` needs analytics.kind = \"clickhouse\" and a lake on S3";
                return Err(BatchError::Config { key: "engine", reason });
            }
        };
        let stop = CancellationToken::new();
        Ok(Self {
            engines: Arc::new(Engines::new(plan, sql)?),
            lake: Lake { objects: Arc::clone(&ports.objects) },
            clock: ports.clock,
            manifests: Manifests::new(ports.objects),
            registry: Registry::new(config.history),
            config: Arc::new(config),
            gate: Arc::default(),
            hook: Mutex::default(),
            loader: Loader { publication: ports.publication, stop: stop.clone() },
            stop,
            skipped: AtomicU64::new(0),
            published: tokio::sync::watch::Sender::new(0),
        })
    }

    /// Sets what is done before each run: the speed layer's `seal`, so that a run takes in everything appended
    /// before it. When it fails the run goes on with the Bronze there is, and says so in its warnings.
    pub fn before_run<F, Fut, E>(&self, hook: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display,
    {
        let hook: Hook = Arc::new(move || {
            let work = hook();
            Box::pin(async move { work.await.map_err(|error| error.to_string()) })
        });
        *self.hook.lock().unwrap_or_else(PoisonError::into_inner) = Some(hook);
    }

    /// The published versions.
    pub const fn manifests(&self) -> &Manifests {
        &self.manifests
    }

    /// Tells the version that this layer publishes, by a run or a rollback, as soon as it can be read (when there is a
    /// store of analytics: as soon as that has taken it in, or has failed to); 0 before the first.
    pub fn published(&self) -> tokio::sync::watch::Receiver<u64> {
        self.published.subscribe()
    }

    /// Runs now, after the run in progress if there is one. A run that loses the race for its version against
    /// another process is begun again from the version that won, a few times.
    ///
    /// # Errors
    /// See [`BatchError`]; the version published before stays.
    pub async fn run(&self) -> Result<RunReport, BatchError> {
        self.run_from(Origin::Published).await
    }

    /// Makes Silver, Gold and reports anew from Bronze alone, and publishes them as a new version when all is done:
    /// until then, and whenever this is cut off, the version published before is the one that is read. What a run is
    /// when it is told to forget.
    ///
    /// # Errors
    /// [`BatchError::Lossy`] when retention has dropped a part of Bronze, so that the new version would lack what the
    /// published one has; with `lossy` it is made all the same. Otherwise as [`run`](Self::run).
    pub async fn rebuild(&self, lossy: bool) -> Result<RunReport, BatchError> {
        let dropped = self.dropped().await?;
        if !dropped.is_empty() && !lossy && self.manifests.current().await?.is_some() {
            return Err(BatchError::Lossy { dropped: dropped.join(", ") });
        }
        self.run_from(Origin::Nothing).await
    }

    /// What retention has dropped of Bronze, in words, one text per partition: what is made anew lacks it.
    ///
    /// # Errors
    /// What the lake answers.
    pub async fn dropped(&self) -> Result<Vec<String>, BatchError> {
        bronze::dropped(self.lake.objects.as_ref(), &self.engines.plan).await
    }

    async fn run_from(&self, origin: Origin) -> Result<RunReport, BatchError> {
        let mut attempt = 1;
        loop {
            let id = self.new_id();
            self.registry.add(id.clone(), self.clock.now());
            match self.run_as(&id, None, origin).await {
                Err(BatchError::LostRace { version }) if attempt < ATTEMPTS => {
                    tracing::warn!(version, attempt, "another writer was first: running again");
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    /// Starts a run in the background and answers with its id. While one works, the next is queued; more than
    /// one never is: asking again answers with the id of the one that waits.
    pub fn start(self: &Arc<Self>) -> RunId {
        let (new, id) = self.registry.queue(|| self.new_id(), self.clock.now());
        if new {
            let (layer, id) = (Arc::clone(self), id.clone());
            tokio::spawn(async move {
                if let Err(BatchError::LostRace { .. }) = layer.run_as(&id, None, Origin::Published).await {
                    // The run itself has failed, and says so; its work is done by a new one.
                    let again = layer.run().await;
                    tracing::debug!(ok = again.is_ok(), "ran again after a lost race");
                }
            });
        }
        id
    }

    /// What is known of a run.
    pub fn status(&self, id: &RunId) -> Option<RunStatus> {
        self.registry.get(id)
    }

    /// All runs that are remembered, newest first.
    pub fn runs(&self) -> Vec<RunStatus> {
        self.registry.all()
    }

    /// Ticks of the schedule that fell into a run and were skipped.
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    /// Ends the run in progress at its next step, without publishing, and lets none begin. Resolves when all is
    /// quiet.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        drop(self.gate.lock().await);
    }

    /// Publishes the content of an older version again, as a new one. Its positions come with it: the next run
    /// takes in again what came after them. A store of analytics that fails to take it in is told again by the next
    /// run.
    ///
    /// # Errors
    /// [`BatchError::NoVersion`] when it is not kept, [`BatchError::LostRace`] when another writer publishes.
    pub async fn rollback(&self, version: u64) -> Result<Manifest, BatchError> {
        let _gate = self.gate.lock().await;
        let old = self.manifests.get(version).await?;
        let (_, taken) = self.manifests.newest().await?;
        let now = self.clock.now();
        let next = Manifest { version: taken + 1, run: publish::run_id(now), published_at: now, ..old };
        self.manifests.publish(&next).await?;
        // Logged and counted where it failed.
        let _ = self.loader.load(&next).await;
        self.published.send_replace(next.version);
        tracing::info!(version = next.version, of = version, "rolled back");
        Ok(next)
    }

    /// Works on what the runs of other processes share (`batch.share`), until `cancel` or [`shutdown`](Self::shutdown).
    /// It publishes nothing, and may be ended at any time: what it was at is done again by another.
    pub async fn work(&self, cancel: CancellationToken) {
        let context = Context::new(
            Arc::clone(&self.engines),
            self.lake.clone(),
            Arc::clone(&self.config),
            publish::run_id(self.clock.now()),
            Arc::clone(&self.clock),
            self.stop.clone(),
        );
        let worker = Worker::of(&context);
        tokio::select! {
            () = worker.help(&cancel) => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// Begins a run unless one works: what a tick of the schedule does.
    pub(crate) async fn run_unless_busy(&self) {
        if let Ok(gate) = Arc::clone(&self.gate).try_lock_owned() {
            let id = self.new_id();
            self.registry.add(id.clone(), self.clock.now());
            // Logged and counted where it failed; the next tick is the retry.
            let _ = self.run_as(&id, Some(gate), Origin::Published).await;
        } else {
            self.skipped.fetch_add(1, Ordering::Relaxed);
            metrics::counter!("tideline_batch_skipped_ticks_total").increment(1);
            tracing::info!("a run is in progress: this tick is skipped");
        }
    }

    fn new_id(&self) -> RunId {
        RunId(publish::run_id(self.clock.now()))
    }

    async fn run_as(
        &self,
        id: &RunId,
        gate: Option<OwnedMutexGuard<()>>,
        origin: Origin,
    ) -> Result<RunReport, BatchError> {
        // Also when this future is dropped or panics, the registry learns that the run has ended.
        let mut ended = Ended { layer: self, id, done: false };
        let _gate = match gate {
            Some(gate) => gate,
            None => Arc::clone(&self.gate).lock_owned().await,
        };
        let started = self.clock.now();
        self.registry.update(id, |run| {
            run.state = RunState::Running;
            run.started_at = Some(started);
        });
        let result = self.execute(id, origin).await;
        ended.done = true;
        let finished = self.clock.now();
        let outcome = match &result {
            Ok(report) => {
                tracing::info!(run = %id, version = report.version, published = report.published.is_some(), records = report.silver.records, "batch run done");
                "succeeded"
            }
            Err(error) => {
                tracing::error!(run = %id, %error, "batch run failed");
                "failed"
            }
        };
        metrics::counter!("tideline_batch_runs_total", "outcome" => outcome).increment(1);
        metrics::gauge!("tideline_batch_last_run_seconds", "outcome" => outcome).set(finished.0 as f64 / 1e6);
        self.registry.update(id, |run| {
            run.stage = None;
            run.finished_at = Some(finished);
            match &result {
                Ok(report) => {
                    run.state = RunState::Succeeded;
                    run.report = Some(report.clone());
                }
                Err(error) => {
                    run.state = RunState::Failed;
                    run.error = Some(error.to_string());
                }
            }
        });
        result
    }

    fn enter(&self, id: &RunId, stage: Stage) {
        self.registry.update(id, |run| run.stage = Some(stage));
    }

    async fn execute(&self, id: &RunId, origin: Origin) -> Result<RunReport, BatchError> {
        let mut report = RunReport { run: id.0.clone(), ..RunReport::default() };
        let mut clock = StageClock::new();
        if self.stop.is_cancelled() {
            return Err(BatchError::Cancelled);
        }
        self.enter(id, Stage::Seal);
        let hook = self.hook.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(hook) = hook
            && let Err(error) = hook().await
        {
            tracing::warn!(error, "the speed layer could not be sealed: going on with the Bronze there is");
            report.warnings.push(format!("the speed layer could not be sealed: {error}"));
        }
        clock.done(Stage::Seal, &mut report);

        let (published, taken) = self.manifests.newest().await?;
        let published = published.unwrap_or_default();
        let base = match origin {
            Origin::Published => published.clone(),
            Origin::Nothing => Manifest::default(),
        };
        let context = Context::new(
            Arc::clone(&self.engines),
            self.lake.clone(),
            Arc::clone(&self.config),
            id.0.clone(),
            Arc::clone(&self.clock),
            self.stop.clone(),
        );
        self.enter(id, Stage::Silver);
        let silver = silver::advance(&context, &base).await?;
        report.silver = silver.counts;
        clock.done(Stage::Silver, &mut report);

        self.enter(id, Stage::Gold);
        let mut views = BTreeMap::new();
        for view in &context.plan().views {
            let before = base.views.get(&view.name).filter(|before| before.plan == view.version);
            let touched = silver.touched.of(&view.name);
            let (mut files, counts) = gold::recompute(&context, view, before, &silver.tables, touched).await?;
            // Also of a version that is made anew: a boundary that readers have seen holds.
            let before = published.views.get(&view.name).filter(|before| before.plan == view.version);
            let boundary = before.and_then(|before| before.through);
            files.through = through(context.plan(), view, &silver.sources, context.now, boundary);
            report.gold.insert(view.name.clone(), counts);
            if counts.recomputed > 0 {
                let engine = context.engines.sql.as_ref().map(|sql| sql.choice(&view.name));
                report.engines.insert(view.name.clone(), engine.unwrap_or(GoldEngine::Polars { reason: None }));
            }
            report.through.insert(view.name.clone(), files.through);
            views.insert(view.name.clone(), files);
        }
        clock.done(Stage::Gold, &mut report);

        self.enter(id, Stage::Reports);
        let mut next = Manifest {
            version: taken + 1,
            run: id.0.clone(),
            published_at: context.now,
            sources: silver.sources,
            tables: silver.tables,
            views,
            reports: BTreeMap::new(),
        };
        (next.reports, report.reports) = reports::make(&context, &base, &next).await?;
        // After all that is made of Silver: this version has used what the next will not have.
        gold::retain_silver(context.plan(), &mut next.tables);
        clock.done(Stage::Reports, &mut report);

        self.enter(id, Stage::Publish);
        context.check()?;
        let same = base.sources == next.sources
            && base.tables == next.tables
            && base.views == next.views
            && base.reports == next.reports;
        // After a damaged manifest, also what is the same is published: it is the newest again.
        if same && base.version > 0 && base.version == taken {
            report.version = base.version;
            // The run before may have failed to.
            self.load(id, &base, &mut report, &mut clock).await;
            self.tend_bronze(id, &context, &mut report, &mut clock).await;
            return Ok(report);
        }
        next.published_at = self.clock.now();
        self.manifests.publish(&next).await?;
        for (view, files) in &next.views {
            if let Some(through) = files.through {
                metrics::gauge!("tideline_batch_through_seconds", "view" => view.clone()).set(through.0 as f64 / 1e6);
            }
        }
        report.published = Some(next.version);
        report.version = next.version;
        clock.done(Stage::Publish, &mut report);
        self.load(id, &next, &mut report, &mut clock).await;
        self.published.send_replace(next.version);

        self.enter(id, Stage::Collect);
        match publish::collect(&self.lake, &self.manifests, &self.config, next.published_at).await {
            Ok(collected) => {
                report.deleted = collected.deleted;
                report.warnings.extend(self.loader.collect(&collected.kept).await.err());
            }
            Err(error) => {
                // The version is published; what was left lying is found by the next run.
                tracing::warn!(%error, "old files could not be deleted");
                report.warnings.push(format!("old files could not be deleted: {error}"));
            }
        }
        clock.done(Stage::Collect, &mut report);
        self.tend_bronze(id, &context, &mut report, &mut clock).await;
        Ok(report)
    }

    /// Joins small files of Bronze, and drops what retention does not keep. What fails is done by the next run.
    async fn tend_bronze(&self, id: &RunId, context: &Context, report: &mut RunReport, clock: &mut StageClock) {
        self.enter(id, Stage::Bronze);
        match bronze::maintain(context, &self.manifests).await {
            Ok(counts) => report.bronze = counts,
            Err(error) => report.warnings.push(format!("Bronze could not be tended: {error}")),
        }
        clock.done(Stage::Bronze, report);
    }

    /// Tells the store of analytics, if there is one.
    async fn load(&self, id: &RunId, manifest: &Manifest, report: &mut RunReport, clock: &mut StageClock) {
        if self.loader.publication.is_none() {
            return;
        }
        self.enter(id, Stage::Load);
        match self.loader.load(manifest).await {
            Ok(loaded) => report.loaded = loaded,
            Err(warning) => report.warnings.push(warning),
        }
        clock.done(Stage::Load, report);
    }
}

/// What a run goes on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// The published version.
    Published,
    /// Bronze alone.
    Nothing,
}

struct Ended<'a> {
    layer: &'a BatchLayer,
    id: &'a RunId,
    done: bool,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        if !self.done {
            let now = self.layer.clock.now();
            self.layer.registry.update(self.id, |run| {
                run.state = RunState::Failed;
                run.stage = None;
                run.finished_at = Some(now);
                run.error = Some("the run was abandoned".to_owned());
            });
        }
    }
}

struct StageClock(Instant);

impl StageClock {
    fn new() -> Self {
        Self(Instant::now())
    }

    fn done(&mut self, stage: Stage, report: &mut RunReport) {
        let spent = self.0.elapsed();
        metrics::histogram!("tideline_batch_stage_seconds", "stage" => format!("{stage:?}").to_lowercase())
            .record(spent.as_secs_f64());
        report.stages_ms.insert(stage, spent.as_millis() as u64);
        self.0 = Instant::now();
    }
}
