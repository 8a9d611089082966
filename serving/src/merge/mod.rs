//! The query engine: answers out of both layers, without HTTP.
//!
//! [`Reader`] takes a request, reads one manifest, splits the panes at the boundary (see [`crate::boundary`]), streams
//! pages of panes of both layers in key order, merges them into windows, and finishes these by the plan. Its memory is
//! bounded by one page per layer, one key and the rows of the answer.

mod answer;
mod cursor;
mod lookup;
mod pages;
mod report;
mod request;
mod rows;
mod snapshot;
mod table;
mod top;
mod windows;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tideline_common::manifest::Manifest;
use tideline_common::plan::{Plan, ViewPlan};
use tideline_common::ports::{Analytics, Clock, PortResult, SpeedViews};

pub use answer::{LayerPositions, LookupAnswer, ManifestRef, Provenance, ReportAnswer, Row, RowsAnswer, TopAnswer};
pub use request::{
    DEFAULT_LIMIT, KeyFilter, LookupRequest, MAX_LIMIT, MAX_TOP, ReportRequest, RowsRequest, TopRequest,
};
pub use table::Table;

use crate::boundary::{Layer, Reason};
use crate::error::{QueryError, Thing};
use snapshot::{Snapshot, reason};

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
}

impl Default for ReaderConfig {
    fn default() -> Self {
        Self {
            max_panes: 5_000_000,
            page_rows: 65_536,
            timeout: Duration::from_secs(30),
            layer_timeout: Duration::from_secs(10),
        }
    }
}

/// Answers queries over both layers.
#[derive(Debug)]
pub struct Reader {
    plan: Arc<Plan>,
    views: Arc<dyn SpeedViews>,
    analytics: Arc<dyn Analytics>,
    clock: Arc<dyn Clock>,
    config: ReaderConfig,
    /// The newest manifest ever read: the boundary while a newer one cannot be.
    known: Mutex<Option<Arc<Manifest>>>,
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
        Self { plan, views, analytics, clock, config, known: Mutex::new(None) }
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

    /// Runs a query within the bound on its time.
    async fn bounded<T>(&self, query: impl Future<Output = Result<T, QueryError>>) -> Result<T, QueryError> {
        let bound = self.config.timeout;
        let late = |_| Err(QueryError::Timeout { seconds: bound.as_secs() });
        tokio::time::timeout(bound, query).await.unwrap_or_else(late)
    }

    /// Reads from a layer; a failure or a delay is the layer's, not the query's.
    async fn read<T>(&self, layer: Layer, read: impl Future<Output = PortResult<T>>) -> Result<T, LayerDown> {
        match tokio::time::timeout(self.config.layer_timeout, read).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                tracing::warn!(%error, layer = layer.name(), "a query could not read a layer");
                Err(LayerDown { layer, reason: reason(&error) })
            }
            Err(_) => {
                tracing::warn!(layer = layer.name(), timeout = ?self.config.layer_timeout, "a layer did not answer in time");
                Err(LayerDown { layer, reason: Reason::TimedOut })
            }
        }
    }

    /// The state of the layers that `layer` needs. The manifest comes before everything else.
    async fn snapshot(&self, layer: Layer) -> Result<Snapshot, QueryError> {
        let (manifest, unknown) = if layer == Layer::Speed {
            (None, None)
        } else {
            match self.read(Layer::Batch, self.analytics.current()).await {
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
            self.read(Layer::Speed, self.views.progress()).await.unwrap_or_default()
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
