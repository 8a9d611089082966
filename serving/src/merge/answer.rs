//! What comes back, and how it is written as JSON: straight from the rows, without a tree in between.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use tideline_common::plan::Field;
use tideline_common::position::Positions;
use tideline_common::time::{Span, Timestamp};
use tideline_common::value::Value;
use tideline_common::window::Window;

use super::direction::{Before, Direction};
use crate::boundary::{Interval, Layer, Missing};

/// Where an answer comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Provenance {
    /// The layer that was asked for.
    pub layer: Layer,
    /// Every pane of the view ending at or before this belongs to batch; `None`: nothing does.
    #[serde(serialize_with = "optional_time")]
    pub through: Option<Timestamp>,
    /// The manifest that batch answered from.
    pub manifest: Option<ManifestRef>,
    /// Panes that came from batch.
    pub batch: Option<Interval>,
    /// Panes that came from speed.
    pub speed: Option<Interval>,
    /// Next offset per source and partition: everything before it is in the part of that layer.
    pub positions: LayerPositions,
    /// Per source the speed layer's watermark (highest event time − lateness, over the partitions that are not idle).
    #[serde(serialize_with = "times")]
    pub watermarks: BTreeMap<String, Option<Timestamp>>,
    /// Time from the append of the newest record in the answer's layers until the answer, in milliseconds: how old the
    /// answer is at most, if records keep coming. `None` before the first record.
    pub freshness_ms: Option<i64>,
    /// When that record was appended: what `freshness_ms` counts from.
    #[serde(skip)]
    pub appended: Option<Timestamp>,
    /// Whether it comes from the copy in memory that is kept of the newest window (see [`crate::ranking`]), as of the
    /// positions above.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub kept: bool,
    /// Parts that should be here and are not.
    pub missing: Vec<Missing>,
}

/// A published version of the batch layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ManifestRef {
    /// Its number.
    pub version: u64,
    /// The run that made it.
    pub run: String,
    /// When it was published.
    #[serde(serialize_with = "time")]
    pub published_at: Timestamp,
}

/// How far each layer has come, per source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LayerPositions {
    /// What the manifest has taken in.
    pub batch: BTreeMap<String, Positions>,
    /// What the speed views hold.
    pub speed: BTreeMap<String, Positions>,
}

/// A window of a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Values of the key columns; rows of one key share them.
    pub key: Arc<[Value]>,
    /// Start of the window.
    pub start: Timestamp,
    /// End of the window.
    pub end: Timestamp,
    /// One value per answer column.
    pub values: Vec<Value>,
    /// Whether the window reaches into a missing part.
    pub partial: bool,
}

/// Rows of a view, ordered by key, then window.
#[derive(Clone, Debug)]
pub struct RowsAnswer {
    /// The view.
    pub view: String,
    /// The windows.
    pub window: Window,
    /// Key columns.
    pub key: Vec<Field>,
    /// Answer columns.
    pub columns: Vec<Field>,
    /// The rows.
    pub rows: Vec<Row>,
    /// Goes on after the last row; `None` when there are no more.
    pub cursor: Option<String>,
    /// Where they come from.
    pub provenance: Provenance,
}

/// A ranking: rows of one window, the highest first.
#[derive(Clone, Debug)]
pub struct TopAnswer {
    /// The view.
    pub view: String,
    /// The column that ranks.
    pub by: String,
    /// The window, `None` when the view has no data.
    pub window: Option<Interval>,
    /// Key columns.
    pub key: Vec<Field>,
    /// Answer columns.
    pub columns: Vec<Field>,
    /// The rows.
    pub rows: Vec<Row>,
    /// Per row, what ranked it in the window before, if that was asked for.
    pub previous: Option<Vec<Before>>,
    /// Where they come from.
    pub provenance: Provenance,
}

impl TopAnswer {
    /// What a row's key had in the window before, and which way it has gone since; `None` if it was not asked for.
    pub fn before(&self, row: usize) -> Option<(&Before, Option<Direction>)> {
        let before = self.previous.as_ref()?.get(row)?;
        let by = self.columns.iter().position(|field| field.name == self.by)?;
        Some((before, before.to(&self.rows.get(row)?.values[by])))
    }
}

/// Newest rows of a key, newest first.
#[derive(Clone, Debug)]
pub struct LookupAnswer {
    /// The lookup.
    pub lookup: String,
    /// Columns of the rows, without `event_time`.
    pub columns: Vec<Field>,
    /// Event time and values of each row.
    pub rows: Vec<(Timestamp, Vec<Value>)>,
    /// Where they come from.
    pub provenance: Provenance,
}

/// Rows of a report, in its order.
#[derive(Clone, Debug)]
pub struct ReportAnswer {
    /// The report.
    pub report: String,
    /// Columns.
    pub columns: Vec<Field>,
    /// Rows.
    pub rows: Vec<Vec<Value>>,
    /// Goes on after the last row; `None` when there are no more.
    pub cursor: Option<String>,
    /// The manifest they belong to.
    pub manifest: ManifestRef,
}

// The signatures are serde's.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn time<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

// The signatures are serde's.
#[allow(clippy::ref_option)]
fn optional_time<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.collect_str(at),
        None => serializer.serialize_none(),
    }
}

fn times<S: Serializer>(times: &BTreeMap<String, Option<Timestamp>>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(times.len()))?;
    for (source, at) in times {
        map.serialize_entry(source, &at.map(|at| at.to_string()))?;
    }
    map.end()
}

/// A value as JSON says it: the same as [`Value::to_json`], without the tree.
struct Cell<'a>(&'a Value);

impl Serialize for Cell<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Bool(b) => serializer.serialize_bool(*b),
            Value::Int(i) => serializer.serialize_i64(*i),
            Value::Float(x) if x.is_finite() => serializer.serialize_f64(*x),
            Value::Null | Value::Float(_) => serializer.serialize_none(),
            Value::String(s) => serializer.serialize_str(s),
            Value::Timestamp(t) => serializer.collect_str(t),
            Value::Strings(list) => list.serialize(serializer),
            Value::Map(map) => map.serialize(serializer),
        }
    }
}

/// Values under the names of their fields.
struct Named<'a>(&'a [Field], &'a [Value]);

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (field, value) in self.0.iter().zip(self.1) {
            map.serialize_entry(&field.name, &Cell(value))?;
        }
        map.end()
    }
}

struct RowJson<'a> {
    key: &'a [Field],
    columns: &'a [Field],
    row: &'a Row,
    rank: Option<usize>,
    before: Option<(&'a Before, Option<Direction>)>,
}

impl Serialize for RowJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(rank) = self.rank {
            map.serialize_entry("rank", &rank)?;
        }
        map.serialize_entry("key", &Named(self.key, &self.row.key))?;
        map.serialize_entry("window_start", &Cell(&Value::Timestamp(self.row.start)))?;
        map.serialize_entry("window_end", &Cell(&Value::Timestamp(self.row.end)))?;
        for (field, value) in self.columns.iter().zip(&self.row.values) {
            map.serialize_entry(&field.name, &Cell(value))?;
        }
        if let Some((before, direction)) = &self.before {
            map.serialize_entry("previous", &Cell(before.value()))?;
            map.serialize_entry("direction", direction)?;
        }
        if self.row.partial {
            map.serialize_entry("partial", &true)?;
        }
        map.end()
    }
}

/// A row under its key, where the window stands elsewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyedRow<'a> {
    pub(crate) key: &'a [Field],
    pub(crate) columns: &'a [Field],
    pub(crate) row: &'a Row,
}

impl Serialize for KeyedRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("key", &Named(self.key, &self.row.key))?;
        for (field, value) in self.columns.iter().zip(&self.row.values) {
            map.serialize_entry(&field.name, &Cell(value))?;
        }
        if self.row.partial {
            map.serialize_entry("partial", &true)?;
        }
        map.end()
    }
}

impl TopAnswer {
    /// A row under its key. Panics past the end.
    pub(crate) fn keyed(&self, at: usize) -> KeyedRow<'_> {
        KeyedRow { key: &self.key, columns: &self.columns, row: &self.rows[at] }
    }
}

/// The rows of one window, which stands above them.
#[derive(Clone, Debug)]
pub struct CurrentAnswer(pub TopAnswer);

impl Serialize for CurrentAnswer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let answer = &self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("view", &answer.view)?;
        map.serialize_entry("window_start", &answer.window.map(|w| w.from.to_string()))?;
        map.serialize_entry("window_end", &answer.window.map(|w| w.to.to_string()))?;
        map.serialize_entry("rows", &List(answer.rows.len(), |at: usize| answer.keyed(at)))?;
        map.serialize_entry("provenance", &answer.provenance)?;
        map.end()
    }
}

/// A list that is written item by item.
struct List<F>(usize, F);

impl<T: Serialize, F: Fn(usize) -> T> Serialize for List<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0))?;
        for at in 0..self.0 {
            list.serialize_element(&(self.1)(at))?;
        }
        list.end()
    }
}

fn span(span: Span) -> String {
    span.to_string()
}

impl Serialize for RowsAnswer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let row = |at: usize| RowJson {
            key: &self.key,
            columns: &self.columns,
            row: &self.rows[at],
            rank: None,
            before: None,
        };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("view", &self.view)?;
        map.serialize_entry("window", &span(self.window.size))?;
        map.serialize_entry("slide", &span(self.window.slide))?;
        map.serialize_entry("rows", &List(self.rows.len(), row))?;
        map.serialize_entry("cursor", &self.cursor)?;
        map.serialize_entry("provenance", &self.provenance)?;
        map.end()
    }
}

impl TopAnswer {
    /// Writes it, with the rank of each row.
    fn ranked<S: Serializer>(&self, rank: impl Fn(usize) -> usize, serializer: S) -> Result<S::Ok, S::Error> {
        let row = |at: usize| RowJson {
            key: &self.key,
            columns: &self.columns,
            row: &self.rows[at],
            rank: Some(rank(at)),
            before: self.before(at),
        };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("view", &self.view)?;
        map.serialize_entry("by", &self.by)?;
        map.serialize_entry("window_start", &self.window.map(|w| w.from.to_string()))?;
        map.serialize_entry("window_end", &self.window.map(|w| w.to.to_string()))?;
        map.serialize_entry("rows", &List(self.rows.len(), row))?;
        map.serialize_entry("provenance", &self.provenance)?;
        map.end()
    }
}

impl Serialize for TopAnswer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.ranked(|at| at + 1, serializer)
    }
}

/// Some rows of a ranking, each with its rank among all.
#[derive(Clone, Debug)]
pub(crate) struct SomeOfTop {
    pub(crate) answer: TopAnswer,
    /// One per row.
    pub(crate) ranks: Vec<usize>,
}

impl Serialize for SomeOfTop {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.answer.ranked(|at| self.ranks.get(at).copied().unwrap_or(at + 1), serializer)
    }
}

struct LookupRow<'a>(&'a [Field], &'a (Timestamp, Vec<Value>));

impl Serialize for LookupRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("event_time", &Cell(&Value::Timestamp(self.1.0)))?;
        for (field, value) in self.0.iter().zip(&self.1.1) {
            map.serialize_entry(&field.name, &Cell(value))?;
        }
        map.end()
    }
}

impl Serialize for LookupAnswer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("lookup", &self.lookup)?;
        map.serialize_entry("rows", &List(self.rows.len(), |at: usize| LookupRow(&self.columns, &self.rows[at])))?;
        map.serialize_entry("provenance", &self.provenance)?;
        map.end()
    }
}

impl Serialize for ReportAnswer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("report", &self.report)?;
        map.serialize_entry("columns", &self.columns)?;
        map.serialize_entry("rows", &List(self.rows.len(), |at: usize| Named(&self.columns, &self.rows[at])))?;
        map.serialize_entry("cursor", &self.cursor)?;
        map.serialize_entry("provenance", &ReportProvenance { layer: Layer::Batch, manifest: &self.manifest })?;
        map.end()
    }
}

#[derive(Serialize)]
struct ReportProvenance<'a> {
    layer: Layer,
    manifest: &'a ManifestRef,
}
