//! Analytics over the lake itself: manifests, and Parquet files read by Polars where they lie.
//!
//! The published version is the manifest with the highest number that can be read. It is kept until a listing shows a
//! newer one; one that is damaged or gone is passed over with a warning, one of an unknown format is an error (an older
//! program must not answer from an older version as if nothing had happened).
//!
//! Every read names a manifest and opens only files that it names; files that lie outside of the time or (by their Hive
//! folder) the key that is asked for are not opened. Files of this machine and objects of an S3 store are read by Polars where
//! they lie, only the columns and row groups that a query needs; any other object is fetched whole.

mod manifests;
mod panes;
pub(super) mod report;
mod rows;
pub(super) mod scan;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use tideline_common::key::Key;
use tideline_common::manifest::Manifest;
use tideline_common::ports::{
    Analytics, LookupRows, LookupSchema, Objects, PanePage, PaneQuery, PortResult, ReportPage, ReportQuery, ViewSchema,
};
use tideline_common::state::StateBatch;
use tideline_common::time::Timestamp;

use self::manifests::Manifests;
use self::scan::Lake;

/// Bounds of analytics over Parquet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParquetAnalyticsConfig {
    /// Reads that may run at once; more wait. Each may hold its result in memory.
    pub max_reads: usize,
}

impl Default for ParquetAnalyticsConfig {
    fn default() -> Self {
        Self { max_reads: 8 }
    }
}

/// Analytics over Gold, Silver and reports in an object store.
#[derive(Debug)]
pub struct ParquetAnalytics {
    manifests: Manifests,
    lake: Lake,
}

impl ParquetAnalytics {
    /// Analytics over what the batch layer writes to `objects`.
    pub fn new(objects: Arc<dyn Objects>, config: ParquetAnalyticsConfig) -> Self {
        Self { manifests: Manifests::new(objects.clone()), lake: Lake::new(objects, config.max_reads) }
    }
}

#[async_trait]
impl Analytics for ParquetAnalytics {
    async fn current(&self) -> PortResult<Option<Arc<Manifest>>> {
        self.manifests.current().await
    }

    async fn panes(&self, manifest: &Manifest, view: &ViewSchema, query: &PaneQuery) -> PortResult<PanePage> {
        panes::panes(&self.lake, manifest, view, query).await
    }

    async fn panes_between(
        &self,
        manifest: &Manifest,
        view: &ViewSchema,
        from: Timestamp,
        to: Timestamp,
    ) -> PortResult<StateBatch> {
        panes::panes_between(&self.lake, manifest, view, from, to).await
    }

    async fn newest_pane(&self, manifest: &Manifest, view: &ViewSchema) -> PortResult<Option<Timestamp>> {
        Ok(panes::files(manifest, view).iter().filter(|f| f.rows > 0).map(|f| f.max_time).max())
    }

    async fn report(&self, manifest: &Manifest, report: &str, query: &ReportQuery) -> PortResult<ReportPage> {
        report::report(&self.lake, manifest, report, query).await
    }

    async fn rows(
        &self,
        manifest: &Manifest,
        table: &str,
        lookup: &LookupSchema,
        key: &Key,
        limit: usize,
    ) -> PortResult<LookupRows> {
        rows::rows(&self.lake, manifest, table, lookup, key, limit).await
    }
}
