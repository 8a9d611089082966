//! Speed views with faults.

use std::sync::Arc;

use async_trait::async_trait;
use tideline_common::generation::Generation;
use tideline_common::key::Key;
use tideline_common::ports::{
    Flush, LookupRows, LookupSchema, PanePage, PaneQuery, PortResult, Progress, ShardPanes, SpeedViews, ViewSchema,
};
use tideline_common::position::Shard;
use tideline_common::state::StateBatch;
use tideline_common::time::Timestamp;

use super::Faults;

/// Speed views whose calls meet faults, as `views.` and the name of the call, about the view or lookup (for
/// `views.write`, the shard).
#[derive(Debug, Clone)]
pub struct FaultyViews {
    inner: Arc<dyn SpeedViews>,
    faults: Faults,
}

impl FaultyViews {
    /// `inner` with `faults`.
    pub fn new(inner: Arc<dyn SpeedViews>, faults: Faults) -> Self {
        Self { inner, faults }
    }
}

#[async_trait]
impl SpeedViews for FaultyViews {
    async fn write(&self, flush: &Flush, now: Timestamp) -> PortResult<()> {
        self.faults.call("views.write", &flush.shard.to_string(), true, self.inner.write(flush, now)).await
    }

    async fn panes(&self, view: &ViewSchema, query: &PaneQuery, now: Timestamp) -> PortResult<PanePage> {
        self.faults.call("views.panes", &view.name, false, self.inner.panes(view, query, now)).await
    }

    async fn late(&self, view: &ViewSchema, query: &PaneQuery, now: Timestamp) -> PortResult<PanePage> {
        self.faults.call("views.late", &view.name, false, self.inner.late(view, query, now)).await
    }

    async fn newest_pane(&self, view: &ViewSchema, now: Timestamp) -> PortResult<Option<Timestamp>> {
        self.faults.call("views.newest_pane", &view.name, false, self.inner.newest_pane(view, now)).await
    }

    async fn panes_between(
        &self,
        view: &ViewSchema,
        from: Timestamp,
        to: Timestamp,
        now: Timestamp,
    ) -> PortResult<StateBatch> {
        let work = self.inner.panes_between(view, from, to, now);
        self.faults.call("views.panes_between", &view.name, false, work).await
    }

    async fn shards_between(
        &self,
        view: &ViewSchema,
        from: Timestamp,
        to: Timestamp,
        now: Timestamp,
    ) -> PortResult<Vec<ShardPanes>> {
        let work = self.inner.shards_between(view, from, to, now);
        self.faults.call("views.shards_between", &view.name, false, work).await
    }

    async fn rows(&self, lookup: &LookupSchema, key: &Key, limit: usize, now: Timestamp) -> PortResult<LookupRows> {
        self.faults.call("views.rows", &lookup.name, false, self.inner.rows(lookup, key, limit, now)).await
    }

    async fn generation(&self) -> PortResult<Generation> {
        self.inner.generation().await
    }

    async fn progress(&self) -> PortResult<Vec<(Shard, Progress)>> {
        self.faults.call("views.progress", "", false, self.inner.progress()).await
    }

    async fn sync(&self) -> PortResult<()> {
        self.faults.call("views.sync", "", true, self.inner.sync()).await
    }

    async fn expire(&self, views: &[ViewSchema], lookups: &[LookupSchema], now: Timestamp) -> PortResult<u64> {
        self.faults.call("views.expire", "", true, self.inner.expire(views, lookups, now)).await
    }
}
