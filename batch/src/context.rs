//! What every stage of one run works with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tideline_common::plan::Plan;
use tideline_common::ports::{Clock, SqlEngine};
use tideline_common::time::Timestamp;
use tideline_transform::{SourceTransform, ViewTransform};
use tokio_util::sync::CancellationToken;

use crate::config::BatchConfig;
use crate::engine::SqlViews;
use crate::error::BatchError;
use crate::lake::Lake;

/// The plan, compiled once per process.
#[derive(Debug)]
pub(crate) struct Engines {
    pub(crate) plan: Arc<Plan>,
    sources: BTreeMap<String, Arc<SourceTransform>>,
    views: BTreeMap<String, Arc<ViewTransform>>,
    /// The database that makes Gold, when one is configured.
    pub(crate) sql: Option<SqlViews>,
}

impl Engines {
    pub(crate) fn new(plan: Arc<Plan>, sql: Option<Arc<dyn SqlEngine>>) -> Result<Self, BatchError> {
        let mut sources = BTreeMap::new();
        for source in &plan.sources {
            sources.insert(source.name.clone(), Arc::new(SourceTransform::new(&plan, &source.name)?));
        }
        let mut views = BTreeMap::new();
        for view in &plan.views {
            views.insert(view.name.clone(), Arc::new(ViewTransform::new(&plan, &view.name)?));
        }
        let sql = sql.map(|engine| SqlViews::new(&plan, engine));
        Ok(Self { plan, sources, views, sql })
    }

    pub(crate) fn source(&self, name: &str) -> Result<Arc<SourceTransform>, BatchError> {
        let found = self.sources.get(name).cloned();
        found
            .ok_or_else(|| tideline_transform::TransformError::Unknown { kind: "source", name: name.to_owned() }.into())
    }

    pub(crate) fn view(&self, name: &str) -> Result<Arc<ViewTransform>, BatchError> {
        let found = self.views.get(name).cloned();
        found.ok_or_else(|| tideline_transform::TransformError::Unknown { kind: "view", name: name.to_owned() }.into())
    }
}

/// One run: its name, its time, and what it works with.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) engines: Arc<Engines>,
    pub(crate) lake: Lake,
    pub(crate) config: Arc<BatchConfig>,
    /// Id of the run: part of every path it writes, so that no two runs write one path.
    pub(crate) run: String,
    pub(crate) now: Timestamp,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) cancel: CancellationToken,
    files: AtomicU64,
    shares: AtomicU64,
}

impl Context {
    pub(crate) fn new(
        engines: Arc<Engines>,
        lake: Lake,
        config: Arc<BatchConfig>,
        run: String,
        clock: Arc<dyn Clock>,
        cancel: CancellationToken,
    ) -> Self {
        let (now, files, shares) = (clock.now(), AtomicU64::new(0), AtomicU64::new(0));
        Self { engines, lake, config, run, now, clock, cancel, files, shares }
    }

    /// The same with another name in its paths.
    pub(crate) fn named(&self, run: String) -> Self {
        Self {
            engines: Arc::clone(&self.engines),
            lake: self.lake.clone(),
            config: Arc::clone(&self.config),
            run,
            now: self.now,
            clock: Arc::clone(&self.clock),
            cancel: self.cancel.clone(),
            files: AtomicU64::new(0),
            shares: AtomicU64::new(0),
        }
    }

    /// A name for what this run shares with other processes.
    pub(crate) fn share_name(&self) -> String {
        format!("{}-{}", self.run, self.shares.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.engines.plan
    }

    /// A new file in `folder`: `<folder>/<run>-<n>.parquet`.
    pub(crate) fn file(&self, folder: &str) -> String {
        format!("{folder}/{}-{}.parquet", self.run, self.files.fetch_add(1, Ordering::Relaxed))
    }

    /// Ends the run here when the process is shutting down: nothing has been published yet.
    pub(crate) fn check(&self) -> Result<(), BatchError> {
        if self.cancel.is_cancelled() { Err(BatchError::Cancelled) } else { Ok(()) }
    }
}
