//! The embedded speed views: panes and rows in a database of fjall, for one process.
//!
//! # Bytes on disk
//! A database of five keyspaces. Numbers in keys are big endian, with the sign bit flipped where they are signed, so
//! that byte order is their order; `key` is the order-preserving form of `tideline_common::key`.
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `panes` | table u32, pane i64, key, shard u32 | stamp, states |
//! | `index` | table u32, key, pane i64, shard u32 | nothing |
//! | `rows` | lookup u32, key, then inverted: time i64, sequence i64, ordinal u32 | stamp, a value per column |
//! | `progress` | source `00` partition u32 | JSON with a format |
//! | `meta` | `v` view `00` version · `l` lookup `00` version · `s` source `00` partition | number u32 |
//!
//! A stamp is: format u8 = 1, position varint, time of writing as zigzag varint. States and values are in the form of
//! `tideline_common::state`; a list of texts is tag 6, a varint count, and the texts. The table of a version of a view is
//! twice its number; its late counts are in the table after that. Numbers are never given twice.
//!
//! Panes lie by time: a ranking is one sweep, and flushes write near the end. The index, written only when a pane is
//! new, finds the panes of a key. Inverted times put the newest row first.
//!
//! # Writing
//! A flush is one batch. Under one lock, each row is compared with the one there: only a higher position replaces
//! it. A writer that should be gone, or a replay, changes nothing that is newer.

mod expire;
mod layout;
mod names;
mod read;
mod write;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use tideline_common::key::Key;
use tideline_common::ports::{
    Flush, LookupRows, LookupSchema, PanePage, PaneQuery, PortError, PortResult, Progress, ShardPanes, SpeedViews,
    ViewSchema,
};
use tideline_common::position::Shard;
use tideline_common::state::{Input, Rule, StateBatch, StateField};
use tideline_common::time::Timestamp;
use tideline_common::value::Type;

use self::layout::Table;
use self::names::{Name, Names};
use crate::disk::{self, Reserve, blocking};

/// Bounds of embedded speed views.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbeddedViewsConfig {
    /// Bytes that must stay free on the device; writes that would use them are refused as full.
    pub reserve_bytes: u64,
    /// Bytes of the cache of blocks.
    pub cache_bytes: u64,
}

impl Default for EmbeddedViewsConfig {
    fn default() -> Self {
        Self { reserve_bytes: 256 << 20, cache_bytes: 64 << 20 }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "format")]
enum StoredProgress {
    #[serde(rename = "1")]
    V1(Progress),
}

/// Keyspaces, shared with calls that block.
struct Inner {
    database: Database,
    panes: Keyspace,
    index: Keyspace,
    rows: Keyspace,
    progress: Keyspace,
    meta: Keyspace,
    names: RwLock<Names>,
    /// Held from comparing with what is there until the batch is written.
    writing: Mutex<()>,
    reserve: Reserve,
}

/// Speed views in a folder of this machine, for one process.
#[derive(Clone)]
pub struct EmbeddedViews {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for EmbeddedViews {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedViews").finish_non_exhaustive()
    }
}

impl EmbeddedViews {
    /// Opens the views in `folder`, creating them if needed. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be used or another process has it, and `Corrupt` when what it holds cannot be read.
    pub fn open(folder: impl AsRef<Path>, config: EmbeddedViewsConfig) -> PortResult<Self> {
        let folder = folder.as_ref();
        let what = "the speed views";
        let database = disk::open(what, folder, |b| b.cache_size(config.cache_bytes).max_journaling_size(128 << 20))?;
        let keyspace = |name: &str, memtable: u64| {
            let options = || KeyspaceCreateOptions::default().max_memtable_size(memtable);
            database.keyspace(name, options).map_err(|e| disk::error(what, e))
        };
        let (panes, index) = (keyspace("panes", 32 << 20)?, keyspace("index", 16 << 20)?);
        let rows = keyspace("rows", 16 << 20)?;
        let (progress, meta) = (keyspace("progress", 4 << 20)?, keyspace("meta", 4 << 20)?);
        let names = RwLock::new(Names::open(&meta)?);
        let reserve = Reserve::new(folder, config.reserve_bytes);
        let writing = Mutex::new(());
        Ok(Self { inner: Arc::new(Inner { database, panes, index, rows, progress, meta, names, writing, reserve }) })
    }

    fn view(&self, view: &ViewSchema) -> Option<u32> {
        self.inner.names.read().get(&Name::View(view.name.clone(), view.version.clone()))
    }
}

/// The state of a late count: one integer `sum`.
fn late_fields() -> Vec<StateField> {
    vec![StateField {
        name: "late".to_owned(),
        rule: Rule::Sum,
        ty: Type::Int,
        input: Input::One,
        table: String::new(),
        argument: None,
    }]
}

fn shard_key(shard: &Shard) -> Vec<u8> {
    [shard.source.as_bytes(), &[0], &shard.partition.to_be_bytes()].concat()
}

fn read_progress(value: &[u8]) -> PortResult<Progress> {
    let stored = serde_json::from_slice(value).map_err(|e| PortError::corrupt("the progress of a shard", e))?;
    let StoredProgress::V1(progress) = stored;
    Ok(progress)
}

impl Inner {
    fn progress_of(&self, shard: &Shard) -> PortResult<Option<Progress>> {
        let value = self.progress.get(shard_key(shard)).map_err(|e| disk::error("the speed views", e))?;
        value.map(|value| read_progress(&value)).transpose()
    }

    fn all_progress(&self) -> PortResult<Vec<(Shard, Progress)>> {
        let mut all = Vec::new();
        for entry in self.progress.iter() {
            let (key, value) = entry.into_inner().map_err(|e| disk::error("the speed views", e))?;
            let damaged = || PortError::corrupt("the progress of a shard", format!("{key:?} names no shard"));
            let (front, partition) = key.split_at_checked(key.len().wrapping_sub(4)).ok_or_else(damaged)?;
            let partition = u32::from_be_bytes(partition.try_into().map_err(|_| damaged())?);
            let source = front.split_last().and_then(|(_, name)| std::str::from_utf8(name).ok()).ok_or_else(damaged)?;
            all.push((Shard::new(source, partition), read_progress(&value)?));
        }
        Ok(all)
    }
}

#[async_trait]
impl SpeedViews for EmbeddedViews {
    async fn write(&self, flush: &Flush, now: Timestamp) -> PortResult<()> {
        let (inner, encoded) = (self.inner.clone(), write::encode(flush, now));
        blocking("the speed views", move || inner.write(encoded)).await
    }

    async fn panes(&self, view: &ViewSchema, query: &PaneQuery, now: Timestamp) -> PortResult<PanePage> {
        let Some(number) = self.view(view) else {
            return Ok(PanePage { panes: StateBatch::new(&view.fields), more_after: None });
        };
        let (inner, fields, ttl, query) = (self.inner.clone(), view.fields.clone(), view.ttl, query.clone());
        blocking("the speed views", move || inner.panes(Table::states(number), &fields, ttl, &query, now)).await
    }

    async fn late(&self, view: &ViewSchema, query: &PaneQuery, now: Timestamp) -> PortResult<PanePage> {
        let fields = late_fields();
        let Some(number) = self.view(view) else {
            return Ok(PanePage { panes: StateBatch::new(&fields), more_after: None });
        };
        let (inner, ttl, query) = (self.inner.clone(), view.ttl, query.clone());
        blocking("the speed views", move || inner.panes(Table::late(number), &fields, ttl, &query, now)).await
    }

    async fn newest_pane(&self, view: &ViewSchema, now: Timestamp) -> PortResult<Option<Timestamp>> {
        let Some(number) = self.view(view) else { return Ok(None) };
        let (inner, ttl) = (self.inner.clone(), view.ttl);
        blocking("the speed views", move || inner.newest_pane(Table::states(number), ttl, now)).await
    }

    async fn panes_between(
        &self,
        view: &ViewSchema,
        from: Timestamp,
        to: Timestamp,
        now: Timestamp,
    ) -> PortResult<StateBatch> {
        let Some(number) = self.view(view) else { return Ok(StateBatch::new(&view.fields)) };
        let (inner, fields, ttl) = (self.inner.clone(), view.fields.clone(), view.ttl);
        let sweep = move || inner.panes_between(Table::states(number), &fields, ttl, (from, to), now);
        blocking("the speed views", sweep).await
    }

    async fn shards_between(
        &self,
        view: &ViewSchema,
        from: Timestamp,
        to: Timestamp,
        now: Timestamp,
    ) -> PortResult<Vec<ShardPanes>> {
        let Some(number) = self.view(view) else { return Ok(Vec::new()) };
        let (inner, fields, ttl) = (self.inner.clone(), view.fields.clone(), view.ttl);
        let sweep = move || {
            let mut shards = Vec::new();
            for (number, panes) in inner.shards_between(Table::states(number), &fields, ttl, (from, to), now)? {
                let shard = inner.names.read().shard(number).ok_or_else(|| {
                    PortError::corrupt("the speed views", format!("panes of shard {number}, which has no name"))
                })?;
                shards.push(ShardPanes { shard, panes });
            }
            Ok(shards)
        };
        blocking("the speed views", sweep).await
    }

    async fn rows(&self, lookup: &LookupSchema, key: &Key, limit: usize, now: Timestamp) -> PortResult<LookupRows> {
        let name = Name::Lookup(lookup.name.clone(), lookup.version.clone());
        let number = self.inner.names.read().get(&name);
        let Some(number) = number else { return Ok(LookupRows::new(&lookup.columns)) };
        let (inner, lookup, key) = (self.inner.clone(), lookup.clone(), key.clone());
        blocking("the speed views", move || inner.rows(number, &lookup, &key, limit, now)).await
    }

    async fn progress(&self) -> PortResult<Vec<(Shard, Progress)>> {
        let inner = self.inner.clone();
        blocking("the speed views", move || inner.all_progress()).await
    }

    async fn sync(&self) -> PortResult<()> {
        let inner = self.inner.clone();
        blocking("the speed views", move || {
            inner.database.persist(PersistMode::SyncAll).map_err(|e| disk::error("the speed views", e))
        })
        .await
    }

    async fn expire(&self, views: &[ViewSchema], lookups: &[LookupSchema], now: Timestamp) -> PortResult<u64> {
        let (inner, views, lookups) = (self.inner.clone(), views.to_vec(), lookups.to_vec());
        blocking("the speed views", move || inner.expire(&views, &lookups, now)).await
    }
}

#[cfg(test)]
mod tests;
