//! The query engine: answers out of both layers, without HTTP.
//!
//! [`Reader`] takes a request, reads one manifest, splits the panes at the boundary (see [`crate::boundary`]), streams
//! pages of panes of both layers in key order, merges them into windows, and finishes these by the plan. Its memory is
//! bounded by one page per layer, one key and the rows of the answer.

mod answer;
mod cursor;
mod direction;
mod lookup;
pub(crate) mod order;
mod pages;
mod report;
mod request;
mod rows;
mod snapshot;
mod table;
mod top;
mod windows;

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tideline_common::manifest::Manifest;
use tideline_common::plan::{Plan, ViewPlan};
use tideline_common::ports::{
    Analytics, Clock, Log, ObjectInfo, Objects, PortError, PortResult, Progress, SpeedViews, TopicInfo,
};
use tideline_common::position::{Positions, Shard};
use tideline_common::time::Timestamp;
use xxhash_rust::xxh3::Xxh3;

pub(crate) use answer::SomeOfTop;
pub use answer::{
    CurrentAnswer, LayerPositions, LookupAnswer, ManifestRef, Provenance, ReportAnswer, Row, RowsAnswer, TopAnswer,
};
pub use direction::{Before, Direction};
pub use request::{
    At, DEFAULT_LIMIT, KeyFilter, LookupRequest, MAX_LIMIT, MAX_TOP, ReportRequest, RowsRequest, TopRequest,
};
pub(crate) use snapshot::freshness_ms;
pub use table::Table;

use crate::boundary::{Layer, Reason};
use crate::error::{QueryError, Thing};
use crate::guard::{Guard, GuardConfig, ReadError, Size, Store};
use crate::predictions::lake_error;
use crate::ranking::Rankings;
use crate::versions::Versions;
use snapshot::Snapshot;

/// Bounds of a query.
#[derive(Clone, Copy, Debug)]
pub struct ReaderConfig {
    /// The most pane rows that one answer may read.
    pub max_panes: usize,
    /// The most pane rows that one page of a layer should hold (a key is never cut).
    pub page_rows: usize,
    /// How long one answer may take.
    pub timeout: Duration,
    /// How long one read of a layer may take, before its part counts as missing.
    pub layer_timeout: Duration,
    /// The other bounds of reads of a store; its timeout is `layer_timeout`.
    pub guard: GuardConfig,
}

impl Default for ReaderConfig {
    fn default() -> Self {
        Self {
            max_panes: 5_000_000,
            page_rows: 65_536,
            timeout: Duration::from_secs(30),
            layer_timeout: Duration::from_secs(10),
            guard: GuardConfig::default(),
        }
    }
}

/// Answers queries over both layers.
#[derive(Debug)]
pub struct Reader {
    plan: Arc<Plan>,
    versions: Versions,
    views: Arc<dyn SpeedViews>,
    analytics: Arc<dyn Analytics>,
    /// Only watched: no answer is read from it.
    log: Option<Arc<dyn Log>>,
    /// What predictions are told in; otherwise only watched.
    lake: Option<Arc<dyn Objects>>,
    clock: Arc<dyn Clock>,
    config: ReaderConfig,
    /// Before the store of each layer.
    guards: Guards,
    /// The newest manifest ever read: the boundary while a newer one cannot be.
    known: Mutex<Option<Arc<Manifest>>>,
    /// Rankings kept ready.
    rankings: Option<Arc<Rankings>>,
}

/// The guards of the stores that answers are made from.
#[derive(Clone, Debug)]
pub(crate) struct Guards {
    views: Arc<Guard>,
    analytics: Arc<Guard>,
    log: Option<Arc<Guard>>,
    lake: Option<Arc<Guard>>,
}

impl Guards {
    /// Those of the stores that answers are read from.
    pub(crate) const fn layers(&self) -> [&Arc<Guard>; 2] {
        [&self.views, &self.analytics]
    }

    /// Those of the stores that are watched beside them.
    pub(crate) fn beside(&self) -> impl Iterator<Item = &Arc<Guard>> {
        self.log.iter().chain(&self.lake)
    }
}

/// A layer that could not be read: its part of the answer is missing.
#[derive(Debug)]
struct LayerDown {
    layer: Layer,
    reason: Reason,
}

impl Reader {
    /// A reader over these stores.
    pub fn new(
        plan: Arc<Plan>,
        views: Arc<dyn SpeedViews>,
        analytics: Arc<dyn Analytics>,
        clock: Arc<dyn Clock>,
        config: ReaderConfig,
    ) -> Self {
        let bounds = GuardConfig { timeout: config.layer_timeout, ..config.guard };
        let guard = |name, store| Guard::new(name, store, Arc::clone(&clock), bounds);
        let guards = Guards {
            views: guard("speed_views", Store::Views(Arc::clone(&views))),
            analytics: guard("analytics", Store::Analytics(Arc::clone(&analytics))),
            log: None,
            lake: None,
        };
        let versions = Versions::of(&plan);
        Self {
            plan,
            versions,
            views,
            analytics,
            log: None,
            lake: None,
            clock,
            config,
            guards,
            known: Mutex::new(None),
            rankings: None,
        }
    }

    /// The same reader, with rankings that are answered from memory where they can be.
    #[must_use]
    pub fn with_rankings(mut self, rankings: Arc<Rankings>) -> Self {
        self.rankings = Some(rankings);
        self
    }

    /// The same reader, watching stores from which it reads no answers of views: `/readyz` tells how they are, and the
    /// status how far the log is ahead. How predictions are doing is read from the lake.
    #[must_use]
    pub fn watching(mut self, log: Option<Arc<dyn Log>>, lake: Option<Arc<dyn Objects>>) -> Self {
        let bounds = GuardConfig { timeout: self.config.layer_timeout, ..self.config.guard };
        let guard = |name, store| Guard::new(name, store, Arc::clone(&self.clock), bounds);
        self.guards.log = log.clone().map(|log| guard("log", Store::Log(log)));
        self.guards.lake = lake.clone().map(|lake| guard("lake", Store::Objects(lake)));
        (self.log, self.lake) = (log, lake);
        self
    }

    /// The rankings kept ready, if any are.
    pub const fn rankings(&self) -> Option<&Arc<Rankings>> {
        self.rankings.as_ref()
    }

    /// The plan whose views it answers.
    pub const fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// The store of the speed layer.
    pub fn views(&self) -> &Arc<dyn SpeedViews> {
        &self.views
    }

    /// What the batch layer has published.
    pub fn analytics(&self) -> &Arc<dyn Analytics> {
        &self.analytics
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The view of this name.
    ///
    /// # Errors
    /// [`QueryError::Unknown`] with what there is.
    pub fn view(&self, name: &str) -> Result<&ViewPlan, QueryError> {
        let known = || self.plan.views.iter().map(|view| view.name.as_str());
        self.plan.view(name).ok_or_else(|| QueryError::unknown(Thing::View, name, known()))
    }

    /// Whether rows of a view can be put in an order, as rankings and live views need it.
    pub(crate) fn can_rank(view: &ViewPlan) -> bool {
        view.answer.iter().any(|field| order::is_rankable(field.ty))
    }

    /// Runs a query within the bound on its time.
    async fn bounded<T>(&self, query: impl Future<Output = Result<T, QueryError>>) -> Result<T, QueryError> {
        let bound = self.config.timeout;
        let late = |_| Err(QueryError::Timeout { seconds: bound.as_secs() });
        tokio::time::timeout(bound, query).await.unwrap_or_else(late)
    }

    /// The guards of its stores.
    pub(crate) const fn guards(&self) -> &Guards {
        &self.guards
    }

    fn guard(&self, layer: Layer) -> &Arc<Guard> {
        if layer == Layer::Batch { &self.guards.analytics } else { &self.guards.views }
    }

    /// Reads from a layer; a failure or a delay is the layer's, not the query's.
    async fn read<T>(&self, layer: Layer, read: impl Future<Output = PortResult<T>>) -> Result<T, LayerDown> {
        self.read_sized(layer, Size::Any, read).await
    }

    async fn read_sized<T>(
        &self,
        layer: Layer,
        size: Size,
        read: impl Future<Output = PortResult<T>>,
    ) -> Result<T, LayerDown> {
        self.guard(layer).read(size, read).await.map_err(|error| {
            if let ReadError::Port(error) = &error {
                tracing::warn!(%error, layer = layer.name(), "a query could not read a layer");
            }
            LayerDown { layer, reason: error.reason() }
        })
    }

    /// The newest published manifest, through the guard of its store.
    ///
    /// # Errors
    /// Why it cannot be read now.
    pub(crate) async fn manifest(&self) -> Result<Option<Arc<Manifest>>, ReadError> {
        self.guards.analytics.read(Size::Small, self.analytics.current()).await
    }

    /// The progress of the speed layer's shards, through the guard of their store. Progress of another version of the
    /// plan says nothing of this one's rows: it is left out.
    ///
    /// # Errors
    /// Why it cannot be read now.
    pub(crate) async fn progress(&self) -> Result<Vec<(Shard, Progress)>, ReadError> {
        let progress = self.guards.views.read(Size::Small, self.views.progress()).await;
        progress.map(|mut shards| {
            shards.retain(|(shard, progress)| self.versions.has(shard, progress));
            shards
        })
    }

    /// A hash of how far the layers have come: while it is the same, so are answers. `None` when one cannot be read.
    pub(crate) async fn standing(&self) -> Option<u64> {
        let progress = self.progress().await.ok()?;
        let manifest = self.manifest().await.ok()?;
        let mut hash = Xxh3::new();
        hash.write_u64(manifest.map_or(0, |manifest| manifest.version));
        for (shard, progress) in progress {
            hash.write(shard.source.as_bytes());
            hash.write_u32(shard.partition);
            hash.write_u64(progress.position);
        }
        Some(hash.finish())
    }

    /// Per topic and partition the next offset of the log, through its guard; nothing without a log to watch.
    ///
    /// # Errors
    /// Why it cannot be read now.
    pub(crate) async fn log_ends(&self) -> Result<BTreeMap<String, Positions>, ReadError> {
        let (Some(log), Some(guard)) = (&self.log, &self.guards.log) else { return Ok(BTreeMap::new()) };
        let topics = guard.read(Size::Small, log.topics()).await?;
        let ends = |topic: TopicInfo| {
            (topic.name, topic.partitions.into_iter().map(|(partition, (_, next))| (partition, next)).collect())
        };
        Ok(topics.into_iter().map(ends).collect())
    }

    /// The objects of the lake below a folder, through its guard; none without a lake.
    ///
    /// # Errors
    /// Why they cannot be listed now.
    pub(crate) async fn lake_objects(&self, folder: &str) -> Result<Vec<ObjectInfo>, QueryError> {
        let (Some(lake), Some(guard)) = (&self.lake, &self.guards.lake) else { return Ok(Vec::new()) };
        guard.read(Size::Any, lake.list(folder)).await.map_err(lake_error)
    }

    /// An object of the lake, through its guard; `None` if it is not there, or without a lake.
    ///
    /// # Errors
    /// Why it cannot be read now.
    pub(crate) async fn lake_object(&self, path: &str) -> Result<Option<Bytes>, QueryError> {
        let (Some(lake), Some(guard)) = (&self.lake, &self.guards.lake) else { return Ok(None) };
        match guard.read(Size::Any, lake.get(path)).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(ReadError::Port(PortError::NotFound { .. })) => Ok(None),
            Err(error) => Err(lake_error(error)),
        }
    }

    /// Start of the newest pane of a view in the speed views, through their guard.
    ///
    /// # Errors
    /// Why it cannot be read now.
    pub(crate) async fn newest_speed_pane(&self, view: &ViewPlan) -> Result<Option<Timestamp>, ReadError> {
        let (schema, now) = (view.into(), self.clock.now());
        self.guards.views.read(Size::Small, self.views.newest_pane(&schema, now)).await
    }

    /// The state of the layers that `layer` needs. The manifest comes before everything else.
    async fn snapshot(&self, layer: Layer) -> Result<Snapshot, QueryError> {
        let (manifest, unknown) = if layer == Layer::Speed {
            (None, None)
        } else {
            match self.read_sized(Layer::Batch, Size::Small, self.analytics.current()).await {
                Ok(manifest) => {
                    self.known.lock().clone_from(&manifest);
                    (manifest, None)
                }
                // With an earlier manifest the boundary is known, if not the newest; reads of batch decide the rest.
                Err(down) => match (self.known.lock().clone(), layer) {
                    (Some(known), _) => (Some(known), None),
                    (None, Layer::Batch) => return Err(QueryError::Unavailable { what: "the batch layer" }),
                    (None, _) => (None, Some(down.reason)),
                },
            }
        };
        let progress = if layer == Layer::Batch {
            Vec::new()
        } else {
            // Only provenance needs it: an answer whose panes can be read is not refused for it.
            self.progress().await.unwrap_or_default()
        };
        Ok(Snapshot { manifest, unknown, progress, now: self.clock.now() })
    }
}

/// What a layer is called in an error.
const fn layer_name(layer: Layer) -> &'static str {
    match layer {
        Layer::Speed => "the speed layer",
        Layer::Batch => "the batch layer",
        Layer::Merged => "either layer",
    }
}
