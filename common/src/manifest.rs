//! What the batch layer publishes: one manifest per version of Silver and Gold.
//!
//! A manifest is an object `gold/_manifests/<version, 20 digits>.json`, created only if absent; the highest
//! number is the published one. Readers see one version whole; files that a newer manifest no longer names are
//! kept until no kept manifest names them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::plan::Field;
use crate::position::{Partition, Positions};
use crate::state::StateField;
use crate::time::Timestamp;
use crate::watermark::Watermark;

/// Folder of the manifests in the lake.
pub const MANIFESTS: &str = "gold/_manifests";

/// A published version of the batch layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "format")]
pub enum StoredManifest {
    /// The first format.
    #[serde(rename = "1")]
    V1(Manifest),
}

/// A published version of the batch layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its number: 1, 2, 3 …
    pub version: u64,
    /// The run that made it.
    pub run: String,
    /// When it was published.
    pub published_at: Timestamp,
    /// Per source, how far Bronze has been taken in, and what was seen there.
    pub sources: BTreeMap<String, SourceProgress>,
    /// Silver, by table.
    pub tables: BTreeMap<String, TableFiles>,
    /// Gold states, by view.
    pub views: BTreeMap<String, ViewFiles>,
    /// Reports, by name.
    pub reports: BTreeMap<String, ReportFiles>,
}

/// How far a source's Bronze has been taken in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceProgress {
    /// Version of the source's plan.
    pub plan: String,
    /// Next offset per partition.
    pub positions: Positions,
    /// Event-time progress per partition.
    pub watermarks: BTreeMap<Partition, Watermark>,
    /// Records taken in.
    pub records: u64,
    /// Records rejected (dead letters).
    pub rejected: u64,
    /// Duplicates left out.
    pub duplicates: u64,
    /// Files of the keys already seen, for deduplication.
    pub seen: Vec<TimedFile>,
}

/// A file of rows with the event times in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimedFile {
    /// Path in the lake.
    pub path: String,
    /// Number of rows.
    pub rows: u64,
    /// Least event time (or pane start) in it.
    pub min_time: Timestamp,
    /// Greatest event time (or pane start) in it.
    pub max_time: Timestamp,
}

/// Silver files of a table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TableFiles {
    /// Version of the table's plan.
    pub plan: String,
    /// Files, in the order in which they were written.
    pub files: Vec<TimedFile>,
}

/// Gold files of a view.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ViewFiles {
    /// Version of the view's plan.
    pub plan: String,
    /// Every pane ending at or before this belongs to batch; `None`: nothing does yet.
    pub through: Option<Timestamp>,
    /// Key columns.
    pub key: Vec<Field>,
    /// State columns.
    pub fields: Vec<StateField>,
    /// Files: disjoint in pane time, ascending, each sorted by (key, pane).
    pub files: Vec<TimedFile>,
}

/// The file of a report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReportFiles {
    /// Version of the report's plan.
    pub plan: String,
    /// Columns, in order.
    pub columns: Vec<Field>,
    /// Files, in row order.
    pub files: Vec<ReportFile>,
    /// Rows in all.
    pub rows: u64,
}

/// A file of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportFile {
    /// Path in the lake.
    pub path: String,
    /// Number of rows.
    pub rows: u64,
}

/// The path of manifest `version`.
pub fn manifest_path(version: u64) -> String {
    format!("{MANIFESTS}/{version:020}.json")
}
