//! Doubles of the ports and small builders for the tests of the batch layer.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, clippy::missing_panics_doc)]

pub mod folder;
pub mod views;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tideline_batch::{BatchConfig, BatchLayer, BatchPorts, Manifests};
use tideline_common::manifest::Manifest;
use tideline_common::plan::{Plan, load};
use tideline_common::ports::{ManualClock, Objects, ViewSchema};
use tideline_common::record::Record;
use tideline_common::state::{StateBatch, StateTable};
use tideline_common::time::{Span, Timestamp};
use tideline_transform::{SqlTypes, bronze, frame};

pub use folder::Folder;

/// 2024-01-01T00:00:00Z: a multiple of every pane used here.
pub const START: i64 = 1_704_067_200_000_000;

pub fn plan(text: &str) -> Arc<Plan> {
    match load("test.toml", text, &|_| None, &SqlTypes) {
        Ok(plan) => Arc::new(plan),
        Err(diagnostics) => panic!("{diagnostics}"),
    }
}

pub const SHOP: &str = r#"
version = 1
name = "shop"

[sources.orders]
topic = "orders"
columns = { id = "string", at = "int", shop = "string", amount = "float", buyer = "string" }
event_time = { column = "at", format = "epoch_ms" }
lateness = "1m"
idle_after = "1000d"
dedupe = "id"
checks = { shop = "length(shop) > 0" }

[sources.visits]
topic = "visits"
columns = { at = "int", shop = "string" }
event_time = { column = "at", format = "epoch_ms" }
lateness = "1m"
idle_after = "1000d"

[tables.sales]
from = "orders"
columns = { shop = "shop", amount = "amount", buyer = "buyer" }
partition_by = ["shop"]

[tables.visitors]
from = "visits"
columns = { shop = "shop" }

[views.revenue]
key = ["shop"]
window = { size = "5m", slide = "1m" }
measures.orders = { table = "sales", agg = "count()" }
measures.revenue = { table = "sales", agg = "sum(amount)" }
measures.average = { table = "sales", agg = "avg(amount)" }
measures.least = { table = "sales", agg = "min(amount)" }
measures.spread = { table = "sales", agg = "stddev(amount)" }
measures.opening = { table = "sales", agg = "first(amount)" }
measures.latest = { table = "sales", agg = "last(buyer)" }
measures.p90 = { table = "sales", agg = "quantile(amount, 0.9)" }
measures.buyers = { table = "sales", agg = "distinct(buyer)" }
measures.who = { table = "sales", agg = "histogram(buyer)" }
measures.visits = { table = "visitors", agg = "count()" }
columns.per_visit = "revenue / visits"
retain = { speed = "3d", batch = "60d" }

[reports.totals]
from = "sales"
clickhouse = { order_by = ["shop"] }
steps = [ { sql = "SELECT shop, COUNT(*) AS orders, SUM(amount) AS revenue FROM sales GROUP BY shop" } ]

[reports.busiest]
from = "revenue"
clickhouse = { order_by = ["shop", "window_start"] }
steps = [ { sql = "SELECT shop, window_start, orders FROM revenue WHERE orders > 1" } ]
"#;

/// A lake with what a test needs around it.
#[derive(Debug, Clone)]
pub struct Lake {
    pub folder: Arc<Folder>,
    pub clock: Arc<ManualClock>,
}

impl Lake {
    pub fn new() -> Self {
        let clock = ManualClock::new(Timestamp(START + 100 * Span::DAY.0));
        Self { folder: Arc::new(Folder::new()), clock: Arc::new(clock) }
    }

    pub fn layer(&self, plan: &Arc<Plan>) -> Arc<BatchLayer> {
        self.layer_with(plan, config())
    }

    pub fn layer_with(&self, plan: &Arc<Plan>, config: BatchConfig) -> Arc<BatchLayer> {
        Arc::new(BatchLayer::new(plan.clone(), self.ports(), config).unwrap())
    }

    pub fn ports(&self) -> BatchPorts {
        BatchPorts { objects: self.folder.clone(), clock: self.clock.clone(), publication: None, sql: None }
    }

    /// Writes records as one file of the chain.
    pub async fn bronze(&self, source: &str, partition: u32, first: u64, records: &[Record]) {
        let next = records.last().map_or(first, |record| record.offset + 1);
        let bytes = bronze::encode(records, source, partition, next, Timestamp(START)).unwrap();
        self.folder.put(&bronze::path(source, partition, first), bytes).await.unwrap();
    }

    pub async fn current(&self) -> Manifest {
        Manifests::new(self.folder.clone()).current().await.unwrap().expect("something is published")
    }

    /// The states of a view, by (key, pane), in a form that can be compared.
    pub async fn gold(&self, plan: &Plan, manifest: &Manifest, view: &str) -> BTreeMap<(Vec<u8>, i64), String> {
        let view = plan.view(view).unwrap();
        let mut table = StateTable::new(&view.fields);
        for file in &manifest.views[&view.name].files {
            table.merge(&read_states(&self.folder, view, &file.path).await);
        }
        readable(table.groups())
    }
}

pub async fn read_states(folder: &Folder, view: &tideline_common::plan::ViewPlan, path: &str) -> StateBatch {
    frame::frame_to_states(&ViewSchema::from(view), &folder.frame(path).await).unwrap()
}

/// Groups as text: floats rounded, since they may be added in another order.
pub fn readable(groups: &StateBatch) -> BTreeMap<(Vec<u8>, i64), String> {
    use tideline_common::state::StateColumn;
    let mut all = BTreeMap::new();
    for row in 0..groups.len() {
        let mut text = String::new();
        for column in &groups.states {
            let cell = match column {
                StateColumn::SumFloat(v) => format!("{:.6}", v[row] + 0.0),
                StateColumn::SumInt(v) => v[row].to_string(),
                StateColumn::Min(v) | StateColumn::Max(v) => format!("{:?}", v.value(row)),
                StateColumn::First(v) | StateColumn::Last(v) => {
                    format!("{:?}@{}/{}", v.values.value(row), v.times[row], v.sequences[row])
                }
                StateColumn::MapSum(v) | StateColumn::MapMax(v) => match v {
                    tideline_common::state::MapColumn::Int(v) => format!("{:?}", v[row]),
                    tideline_common::state::MapColumn::Text(v) => format!("{:?}", v[row]),
                },
            };
            text.push_str(&cell);
            text.push('|');
        }
        all.insert((groups.keys.get(row).to_vec(), groups.panes[row].0), text);
    }
    all
}

/// Small sizes everywhere, so that every boundary is met.
pub fn config() -> BatchConfig {
    BatchConfig {
        unit_records: 5,
        chunk_bytes: 2_000,
        seen_keys: 10,
        gold_rows: 20,
        gold_row_group: 3,
        compact_files: 3,
        verify_page: 2,
        ..BatchConfig::default()
    }
}

pub fn record(offset: u64, payload: String) -> Record {
    Record {
        offset,
        appended: Timestamp(START + offset as i64 * 1_000),
        key: None,
        headers: Vec::new(),
        payload: Bytes::from(payload),
    }
}

/// An order `seconds` after [`START`].
pub fn order(offset: u64, id: &str, seconds: i64, shop: &str, amount: f64) -> Record {
    let at = START / 1_000 + seconds * 1_000;
    let buyer = format!("b{}", offset % 3);
    record(offset, format!(r#"{{"id":"{id}","at":{at},"shop":"{shop}","amount":{amount:?},"buyer":"{buyer}"}}"#))
}

pub fn visit(offset: u64, seconds: i64, shop: &str) -> Record {
    record(offset, format!(r#"{{"at":{},"shop":"{shop}"}}"#, START / 1_000 + seconds * 1_000))
}
