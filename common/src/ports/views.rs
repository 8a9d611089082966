//! Speed views: panes and newest rows of the speed layer.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::PortResult;
use crate::column::Column;
use crate::generation::Generation;
use crate::key::Key;
use crate::plan::{Field, LookupPlan, ViewPlan};
use crate::position::{Offset, Shard};
use crate::state::{StateBatch, StateField};
use crate::time::{Span, Timestamp};

/// What a store must know of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewSchema {
    /// Name of the view.
    pub name: String,
    /// Hash of its plan: rows of two versions never meet.
    pub version: String,
    /// Key columns.
    pub key: Vec<Field>,
    /// State columns.
    pub fields: Vec<StateField>,
    /// Length of a pane.
    pub pane: Span,
    /// Time to live after the last write; `None`: for ever.
    pub ttl: Option<Span>,
}

impl From<&ViewPlan> for ViewSchema {
    fn from(plan: &ViewPlan) -> Self {
        Self {
            name: plan.name.clone(),
            version: plan.version.clone(),
            key: plan.key.clone(),
            fields: plan.fields.clone(),
            pane: plan.pane,
            ttl: plan.retain_speed,
        }
    }
}

/// What a store must know of a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupSchema {
    /// Name of the lookup.
    pub name: String,
    /// Hash of its plan.
    pub version: String,
    /// Key columns.
    pub key: Vec<Field>,
    /// Columns of its rows, without `event_time`.
    pub columns: Vec<Field>,
    /// Rows kept per key.
    pub limit: usize,
    /// Time to live after the write; `None`: for ever.
    pub ttl: Option<Span>,
}

impl From<&LookupPlan> for LookupSchema {
    fn from(plan: &LookupPlan) -> Self {
        Self {
            name: plan.name.clone(),
            version: plan.version.clone(),
            key: plan.key.clone(),
            columns: plan.columns.clone(),
            limit: plan.limit,
            ttl: plan.retain_speed,
        }
    }
}

/// Rows of a lookup. A row is identified by (key, event time, sequence, ordinal): writing it again changes nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct LookupRows {
    /// Keys of the rows, in byte form.
    pub keys: crate::state::KeyColumn,
    /// Event times.
    pub times: Vec<Timestamp>,
    /// [`crate::position::sequence`] of the records.
    pub sequences: Vec<i64>,
    /// Place among the rows of one record (0 unless `unnest` made several).
    pub ordinals: Vec<u32>,
    /// One column per field of the lookup.
    pub columns: Vec<Column>,
}

impl LookupRows {
    /// No rows, with the columns of `fields`.
    pub fn new(fields: &[Field]) -> Self {
        Self {
            keys: crate::state::KeyColumn::default(),
            times: Vec::new(),
            sequences: Vec::new(),
            ordinals: Vec::new(),
            columns: fields.iter().map(|f| Column::new(f.ty)).collect(),
        }
    }

    /// Number of rows.
    pub const fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there are no rows.
    pub const fn is_empty(&self) -> bool {
        self.times.is_empty()
    }
}

/// How far a shard has come, written with its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Everything before this offset is in the rows.
    pub position: Offset,
    /// Highest event time seen.
    pub highest: Option<Timestamp>,
    /// When the log took the last record.
    pub last_appended: Option<Timestamp>,
    /// When this was written.
    pub written_at: Timestamp,
    /// Records taken in since the source's first record.
    pub records: u64,
    /// Records that went to the dead letter.
    pub rejected: u64,
    /// Duplicates left out.
    pub duplicates: u64,
    /// Rows left to batch because no window that holds them was open.
    pub late: u64,
    /// Version of what the shard computes, [`Plan::version_of`](crate::plan::Plan::version_of) its source: progress of
    /// another version says nothing of this one's rows. Empty in what was written before there were versions.
    #[serde(default)]
    pub version: String,
}

/// Changed panes of one view.
#[derive(Clone, Debug)]
pub struct PaneFlush {
    /// The view.
    pub view: ViewSchema,
    /// Whole states of the changed groups of this shard, as of the flush's position.
    pub panes: StateBatch,
    /// Rows per (key, pane) that were late, in all, as of the flush's position: the view with one integer `sum`.
    /// Kept beside the panes, to explain differences between the layers.
    pub late: StateBatch,
}

/// One write of a shard: absolute states as of `progress.position`.
#[derive(Clone, Debug)]
pub struct Flush {
    /// Who writes.
    pub shard: Shard,
    /// Changed panes.
    pub panes: Vec<PaneFlush>,
    /// New rows.
    pub rows: Vec<(LookupSchema, LookupRows)>,
    /// Progress; its position is the version of every row of this flush.
    pub progress: Progress,
}

/// Which keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySelector {
    /// All, in byte order, those greater than `after` when given.
    All {
        /// The last key of the page before.
        after: Option<Key>,
    },
    /// One.
    One(Key),
}

/// Which panes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaneQuery {
    /// Which keys.
    pub keys: KeySelector,
    /// First pane start wanted.
    pub from: Timestamp,
    /// Pane starts before this are wanted.
    pub to: Timestamp,
    /// Stop after the key with which this many rows are reached (a key is never cut).
    pub max_rows: usize,
}

/// Panes of a query.
#[derive(Clone, Debug)]
pub struct PanePage {
    /// Rows sorted by key, then pane; a (key, pane) appears once per shard.
    pub panes: StateBatch,
    /// When the page stopped at `max_rows`: the last key that is whole; there may be more after it.
    pub more_after: Option<Key>,
}

/// Panes of one shard.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardPanes {
    /// Whose.
    pub shard: Shard,
    /// Its rows, in any order; a (key, pane) appears once.
    pub panes: StateBatch,
}

/// The store of the speed layer.
///
/// Contract: rows are absolute ("the state of this pane from this shard as of offset N"): a flush with a lower
/// position never overwrites a row of a higher one, and one written again changes nothing. A flush is visible
/// when answered, durable after [`sync`](SpeedViews::sync). Rows older than the view's time to live (since their
/// last write) are not returned.
#[async_trait]
pub trait SpeedViews: Send + Sync + std::fmt::Debug {
    /// Writes a flush; `now` is the time from which the time to live counts.
    async fn write(&self, flush: &Flush, now: Timestamp) -> PortResult<()>;

    /// Panes of a view, as of `now`.
    async fn panes(&self, view: &ViewSchema, query: &PaneQuery, now: Timestamp) -> PortResult<PanePage>;

    /// Late counts per (key, pane) of a view: states of one integer `sum`.
    async fn late(&self, view: &ViewSchema, query: &PaneQuery, now: Timestamp) -> PortResult<PanePage>;

    /// Start of the newest pane of a view that has a row, `None` without any.
    async fn newest_pane(&self, view: &ViewSchema, now: Timestamp) -> PortResult<Option<Timestamp>>;

    /// Panes of all keys in [from, to), sorted by key and pane: what a ranking reads. Never cut.
    async fn panes_between(
        &self,
        view: &ViewSchema,
        from: Timestamp,
        to: Timestamp,
        now: Timestamp,
    ) -> PortResult<StateBatch>;

    /// As [`panes_between`](SpeedViews::panes_between), told apart by shard: what a copy begins from that is then kept
    /// up by changes, which are absolute per shard. Each shard appears once; one without rows is left out.
    async fn shards_between(
        &self,
        view: &ViewSchema,
        from: Timestamp,
        to: Timestamp,
        now: Timestamp,
    ) -> PortResult<Vec<ShardPanes>>;

    /// The newest rows of a key, newest first, at most `limit`.
    async fn rows(&self, lookup: &LookupSchema, key: &Key, limit: usize, now: Timestamp) -> PortResult<LookupRows>;

    /// Progress of every shard.
    async fn progress(&self) -> PortResult<Vec<(Shard, Progress)>>;

    /// The generation whose rows are read (see [`crate::generation`]): what was made of rows of one does not go on with
    /// those of another.
    async fn generation(&self) -> PortResult<Generation> {
        Ok(Generation::default())
    }

    /// Makes everything written so far durable.
    async fn sync(&self) -> PortResult<()>;

    /// Drops rows past their time to live, rows beyond a lookup's limit, and versions of views not in `views` /
    /// `lookups`. Returns the number of rows dropped.
    async fn expire(&self, views: &[ViewSchema], lookups: &[LookupSchema], now: Timestamp) -> PortResult<u64>;
}
