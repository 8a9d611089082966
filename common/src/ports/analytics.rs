//! Analytics: what the batch layer has published, for serving.

use std::sync::Arc;

use async_trait::async_trait;

use super::{LookupRows, LookupSchema, PanePage, PaneQuery, PortResult, ViewSchema};
use crate::key::Key;
use crate::manifest::Manifest;
use crate::plan::Field;
use crate::state::StateBatch;
use crate::time::Timestamp;
use crate::value::Value;

/// Which rows of a report.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReportQuery {
    /// Equality conditions: column and value.
    pub filters: Vec<(String, Value)>,
    /// Rows to skip.
    pub offset: u64,
    /// Rows at most.
    pub limit: usize,
}

/// Rows of a report.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReportPage {
    /// Columns.
    pub columns: Vec<Field>,
    /// Rows, in the report's order.
    pub rows: Vec<Vec<Value>>,
    /// Whether there are more after these.
    pub more: bool,
}

/// The published results of the batch layer. Every read names the manifest it belongs to, so that one answer
/// never mixes two versions.
#[async_trait]
pub trait Analytics: Send + Sync + std::fmt::Debug {
    /// The newest published manifest, `None` before the first.
    async fn current(&self) -> PortResult<Option<Arc<Manifest>>>;

    /// Panes of a view; empty when the manifest has none of this version of the view.
    async fn panes(&self, manifest: &Manifest, view: &ViewSchema, query: &PaneQuery) -> PortResult<PanePage>;

    /// Panes of all keys in [from, to), sorted by key and pane. Never cut.
    async fn panes_between(
        &self,
        manifest: &Manifest,
        view: &ViewSchema,
        from: Timestamp,
        to: Timestamp,
    ) -> PortResult<StateBatch>;

    /// Start of the newest pane of a view.
    async fn newest_pane(&self, manifest: &Manifest, view: &ViewSchema) -> PortResult<Option<Timestamp>>;

    /// Rows of a report. `NotFound` when the manifest has none of this name.
    async fn report(&self, manifest: &Manifest, report: &str, query: &ReportQuery) -> PortResult<ReportPage>;

    /// The newest Silver rows of a key, newest first, at most `limit`. `table` is the lookup's table.
    async fn rows(
        &self,
        manifest: &Manifest,
        table: &str,
        lookup: &LookupSchema,
        key: &Key,
        limit: usize,
    ) -> PortResult<LookupRows>;
}

/// What a load did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Loaded {
    /// Files taken in; those that were there already are not counted.
    pub files: u64,
    /// Rows of them.
    pub rows: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// A store of analytics that must be told of a published version before it can answer from it, such as a database.
///
/// The lake is the truth: a version is published there first, and loaded here after. Until it is, readers of this
/// store are given the version before ([`Analytics::current`] of the same store). A load that fails or is cut off
/// anywhere leaves what was readable readable, and is made good by the next one.
#[async_trait]
pub trait Publication: Send + Sync + std::fmt::Debug {
    /// Takes in what `manifest` names and is not there yet, and makes the version readable, at once and whole.
    /// Loading a version again changes nothing; a version older than the loaded one is not made current.
    async fn load(&self, manifest: &Manifest) -> PortResult<Loaded>;

    /// Drops what none of `kept` needs. Returns the number of files dropped.
    async fn collect(&self, kept: &[Arc<Manifest>]) -> PortResult<u64>;
}
