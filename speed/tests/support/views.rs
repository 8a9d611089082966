//! Speed views in memory: what was not synced is lost when the process dies.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tideline_common::key::Key;
use tideline_common::ports::{
    Flush, LookupRows, LookupSchema, PanePage, PaneQuery, PortError, PortResult, Progress, ShardPanes, SpeedViews,
    ViewSchema,
};
use tideline_common::position::Shard;
use tideline_common::state::{Reader, StateBatch};
use tideline_common::time::Timestamp;

use super::faults::Faults;

/// (view, "panes" or "late", shard, key, pane): a row.
type PaneKey = (String, &'static str, Shard, Vec<u8>, i64);
/// (lookup, key, event time, sequence, ordinal): a row.
type RowKey = (String, Vec<u8>, i64, i64, u32);

/// Everything in the views that does not depend on when it was flushed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contents {
    /// States, as bytes.
    pub panes: BTreeMap<PaneKey, Vec<u8>>,
    pub rows: BTreeMap<RowKey, String>,
    pub progress: BTreeMap<Shard, Progress>,
}

#[derive(Clone, Debug, Default)]
struct Tables {
    panes: BTreeMap<PaneKey, (u64, Vec<u8>)>,
    rows: BTreeMap<RowKey, String>,
    progress: BTreeMap<Shard, Progress>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct MemoryViews {
    visible: Mutex<Tables>,
    durable: Mutex<Tables>,
}

impl MemoryViews {
    pub fn copy(&self) -> Self {
        let (visible, durable) = (self.visible.lock().clone(), self.durable.lock().clone());
        Self { visible: Mutex::new(visible), durable: Mutex::new(durable) }
    }

    /// Loses what was not synced.
    pub fn crash(&self) {
        *self.visible.lock() = self.durable.lock().clone();
    }

    /// Loses everything.
    pub fn wipe(&self) {
        *self.durable.lock() = Tables::default();
        self.crash();
    }

    pub fn contents(&self) -> Contents {
        let tables = self.visible.lock().clone();
        let mut progress = tables.progress;
        for progress in progress.values_mut() {
            progress.written_at = Timestamp(0);
        }
        Contents { panes: tables.panes.into_iter().map(|(k, v)| (k, v.1)).collect(), rows: tables.rows, progress }
    }

    fn shards_between(&self, view: &ViewSchema, from: Timestamp, to: Timestamp) -> Vec<ShardPanes> {
        let name = format!("{}@{}", view.name, view.version);
        let tables = self.visible.lock();
        let mut shards: BTreeMap<Shard, StateBatch> = BTreeMap::new();
        for ((of, kind, shard, key, pane), (_, bytes)) in &tables.panes {
            let pane = Timestamp(*pane);
            if *of == name && *kind == "panes" && pane >= from && pane < to {
                let batch = shards.entry(shard.clone()).or_insert_with(|| StateBatch::new(&view.fields));
                batch.read_states(key, pane, &mut Reader::new(bytes)).unwrap();
            }
        }
        shards.into_iter().map(|(shard, panes)| ShardPanes { shard, panes }).collect()
    }

    fn write(&self, flush: &Flush) {
        let mut tables = self.visible.lock();
        let position = flush.progress.position;
        for view in &flush.panes {
            for (kind, batch) in [("panes", &view.panes), ("late", &view.late)] {
                for row in 0..batch.len() {
                    let name = format!("{}@{}", view.view.name, view.view.version);
                    let key = (name, kind, flush.shard.clone(), batch.keys.get(row).to_vec(), batch.panes[row].0);
                    let mut bytes = Vec::new();
                    batch.write_states(row, &mut bytes);
                    let cell = tables.panes.entry(key).or_default();
                    if position >= cell.0 {
                        *cell = (position, bytes);
                    }
                }
            }
        }
        for (lookup, rows) in &flush.rows {
            for row in 0..rows.len() {
                let key = rows.keys.get(row).to_vec();
                let key = (lookup.name.clone(), key, rows.times[row].0, rows.sequences[row], rows.ordinals[row]);
                let values: Vec<_> = rows.columns.iter().map(|column| column.value(row)).collect();
                tables.rows.insert(key, format!("{values:?}"));
            }
        }
        let progress = tables.progress.entry(flush.shard.clone()).or_default();
        if position >= progress.position {
            *progress = flush.progress.clone();
        }
    }
}

/// The views as one process sees them.
#[derive(Debug)]
pub struct FaultyViews(pub Arc<MemoryViews>, pub Arc<Faults>);

fn not_here<T>() -> PortResult<T> {
    Err(PortError::invalid("views", "the speed layer does not read them"))
}

#[async_trait]
impl SpeedViews for FaultyViews {
    async fn write(&self, flush: &Flush, _: Timestamp) -> PortResult<()> {
        let work = async {
            self.0.write(flush);
            Ok(())
        };
        self.1.call("views write", work).await
    }

    async fn panes(&self, _: &ViewSchema, _: &PaneQuery, _: Timestamp) -> PortResult<PanePage> {
        not_here()
    }

    async fn late(&self, _: &ViewSchema, _: &PaneQuery, _: Timestamp) -> PortResult<PanePage> {
        not_here()
    }

    async fn newest_pane(&self, _: &ViewSchema, _: Timestamp) -> PortResult<Option<Timestamp>> {
        not_here()
    }

    async fn panes_between(&self, _: &ViewSchema, _: Timestamp, _: Timestamp, _: Timestamp) -> PortResult<StateBatch> {
        not_here()
    }

    async fn shards_between(
        &self,
        view: &ViewSchema,
        from: Timestamp,
        to: Timestamp,
        _: Timestamp,
    ) -> PortResult<Vec<ShardPanes>> {
        let work = async { Ok(self.0.shards_between(view, from, to)) };
        self.1.call("views shards_between", work).await
    }

    async fn rows(&self, _: &LookupSchema, _: &Key, _: usize, _: Timestamp) -> PortResult<LookupRows> {
        not_here()
    }

    async fn progress(&self) -> PortResult<Vec<(Shard, Progress)>> {
        let work = async { Ok(self.0.visible.lock().progress.clone().into_iter().collect()) };
        self.1.call("views progress", work).await
    }

    async fn sync(&self) -> PortResult<()> {
        let work = async {
            let visible = self.0.visible.lock().clone();
            *self.0.durable.lock() = visible;
            Ok(())
        };
        self.1.call("views sync", work).await
    }

    async fn expire(&self, _: &[ViewSchema], _: &[LookupSchema], _: Timestamp) -> PortResult<u64> {
        Ok(0)
    }
}
