//! Analytics with faults.

use std::sync::Arc;

use async_trait::async_trait;
use tideline_common::key::Key;
use tideline_common::manifest::Manifest;
use tideline_common::ports::{
    Analytics, LookupRows, LookupSchema, PanePage, PaneQuery, PortResult, ReportPage, ReportQuery, ViewSchema,
};
use tideline_common::state::StateBatch;
use tideline_common::time::Timestamp;

use super::Faults;

/// Analytics whose calls meet faults, as `analytics.` and the name of the call, about the view, report or table.
#[derive(Debug, Clone)]
pub struct FaultyAnalytics {
    inner: Arc<dyn Analytics>,
    faults: Faults,
}

impl FaultyAnalytics {
    /// `inner` with `faults`.
    pub fn new(inner: Arc<dyn Analytics>, faults: Faults) -> Self {
        Self { inner, faults }
    }
}

#[async_trait]
impl Analytics for FaultyAnalytics {
    async fn current(&self) -> PortResult<Option<Arc<Manifest>>> {
        self.faults.call("analytics.current", "", false, self.inner.current()).await
    }

    async fn panes(&self, manifest: &Manifest, view: &ViewSchema, query: &PaneQuery) -> PortResult<PanePage> {
        self.faults.call("analytics.panes", &view.name, false, self.inner.panes(manifest, view, query)).await
    }

    async fn panes_between(
        &self,
        manifest: &Manifest,
        view: &ViewSchema,
        from: Timestamp,
        to: Timestamp,
    ) -> PortResult<StateBatch> {
        let work = self.inner.panes_between(manifest, view, from, to);
        self.faults.call("analytics.panes_between", &view.name, false, work).await
    }

    async fn newest_pane(&self, manifest: &Manifest, view: &ViewSchema) -> PortResult<Option<Timestamp>> {
        self.faults.call("analytics.newest_pane", &view.name, false, self.inner.newest_pane(manifest, view)).await
    }

    async fn report(&self, manifest: &Manifest, report: &str, query: &ReportQuery) -> PortResult<ReportPage> {
        self.faults.call("analytics.report", report, false, self.inner.report(manifest, report, query)).await
    }

    async fn rows(
        &self,
        manifest: &Manifest,
        table: &str,
        lookup: &LookupSchema,
        key: &Key,
        limit: usize,
    ) -> PortResult<LookupRows> {
        let work = self.inner.rows(manifest, table, lookup, key, limit);
        self.faults.call("analytics.rows", table, false, work).await
    }
}
