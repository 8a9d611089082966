//! Gold by `ClickHouse` is Gold by Polars, on the same Silver in S3: for the pipelines of the golden tests, and for
//! random rows with every aggregate.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tideline_batch::{BatchConfig, BatchLayer, BatchPorts, EngineKind, GoldEngine, RunReport};
use tideline_common::manifest::Manifest;
use tideline_common::plan::{Plan, ViewPlan, load};
use tideline_common::ports::{ManualClock, Objects, ViewSchema};
use tideline_common::record::Record;
use tideline_common::state::{StateColumn, StateTable};
use tideline_common::time::{Span, Timestamp};
use tideline_stores::engine::clickhouse::{ClickHouseEngine, ClickHouseEngineConfig};
use tideline_stores::objects::ObjectStoreObjects;
use tideline_stores::objects::s3::S3Config;
use tideline_transform::{SqlTypes, bronze, frame};

/// 2024-01-01T00:00:00Z.
const START: i64 = 1_704_067_200_000_000;

/// The servers, when there are some.
struct Servers {
    objects: Arc<dyn Objects>,
    engine: Arc<ClickHouseEngine>,
}

fn servers(test: &str) -> Option<Servers> {
    let variable = |name: &str| match std::env::var(name) {
        Ok(value) if !value.is_empty() => Some(value),
        _ => {
            eprintln!("SKIPPED {test}: {name} is not set");
            None
        }
    };
    let (endpoint, url) = (variable("TIDELINE_TEST_S3")?, variable("TIDELINE_TEST_CLICKHOUSE")?);
    let unique = tideline_common::ports::Clock::now(&tideline_stores::clock::SystemClock).0;
    let config = S3Config {
        endpoint: Some(endpoint),
        access_key: Some("minioadmin".to_owned()),
        secret_key: Some("minioadmin".to_owned()),
        ..S3Config::new(format!("s3://tideline-test/engines-{test}-{unique}"))
    };
    let objects: Arc<dyn Objects> = Arc::new(ObjectStoreObjects::s3(&config).unwrap());
    let config = ClickHouseEngineConfig { url, ..ClickHouseEngineConfig::default() };
    let engine = Arc::new(ClickHouseEngine::new(config, objects.clone()).unwrap());
    Some(Servers { objects, engine })
}

impl Servers {
    fn layer(&self, plan: &Arc<Plan>, engine: EngineKind) -> BatchLayer {
        let config =
            BatchConfig { engine, unit_records: 500, gold_rows: 2_000, bucket: Span::DAY, ..BatchConfig::default() };
        let ports = BatchPorts {
            objects: self.objects.clone(),
            clock: Arc::new(ManualClock::new(Timestamp(START + 1_000 * Span::DAY.0))),
            publication: None,
            sql: Some(self.engine.clone()),
        };
        BatchLayer::new(plan.clone(), ports, config).unwrap()
    }

    /// Writes payloads as the Bronze of a source.
    async fn bronze(&self, source: &str, payloads: &[Bytes]) {
        let record = |(offset, payload): (u64, &Bytes)| Record {
            offset,
            appended: Timestamp(START + 999 * Span::DAY.0),
            key: None,
            headers: Vec::new(),
            payload: payload.clone(),
        };
        let records: Vec<Record> = (0..).zip(payloads).map(record).collect();
        for part in records.chunks(1_000) {
            let (first, next) = (part[0].offset, part[part.len() - 1].offset + 1);
            let bytes = bronze::encode(part, source, 0, next, Timestamp(START)).unwrap();
            self.objects.put(&bronze::path(source, 0, first), bytes).await.unwrap();
        }
    }

    /// Gold by both engines, from the same Silver; the report is that of the second.
    async fn both(&self, plan: &Arc<Plan>) -> (Manifest, Manifest, RunReport) {
        let polars = self.layer(plan, EngineKind::Polars);
        let report = polars.run().await.unwrap();
        assert!(report.is_clean() && report.silver.rows > 0, "{report:?}");
        let first = polars.manifests().current().await.unwrap().unwrap();
        // A version with this Silver and no Gold: the next run makes all of it.
        let bare =
            Manifest { version: first.version + 1, run: "bare".to_owned(), views: BTreeMap::new(), ..first.clone() };
        polars.manifests().publish(&bare).await.unwrap();
        let clickhouse = self.layer(plan, EngineKind::ClickHouse);
        let report = clickhouse.run().await.unwrap();
        let second = clickhouse.manifests().current().await.unwrap().unwrap();
        assert_eq!(second.tables, first.tables, "the same Silver");
        (first, second, report)
    }

    async fn states(&self, manifest: &Manifest, view: &ViewPlan) -> StateTable {
        let mut table = StateTable::new(&view.fields);
        for file in &manifest.views[&view.name].files {
            let bytes = self.objects.get(&file.path).await.unwrap();
            let read = {
                use polars::prelude::SerReader;
                polars::prelude::ParquetReader::new(std::io::Cursor::new(bytes)).finish().unwrap()
            };
            table.merge(&frame::frame_to_states(&ViewSchema::from(view), &read).unwrap());
        }
        table
    }

    /// Compares all views, and says how many groups there were.
    async fn compare(&self, plan: &Plan, first: &Manifest, second: &Manifest) -> usize {
        let mut compared = 0;
        for view in &plan.views {
            let (a, b) = (self.states(first, view).await, self.states(second, view).await);
            assert_eq!(a.len(), b.len(), "groups of {}", view.name);
            for row in 0..a.len() {
                let (key, pane) = (a.groups().keys.get(row), a.groups().panes[row]);
                let other = b.find(key, pane).unwrap_or_else(|| panic!("{}: no {key:?} at {pane}", view.name));
                for (index, field) in view.fields.iter().enumerate() {
                    let pair = (&a.groups().states[index], &b.groups().states[index]);
                    same(pair, row, other, &format!("{}.{} of {key:?} at {pane}", view.name, field.name));
                }
            }
            compared += a.len();
            // Both write each bucket in one order.
            let sizes = |manifest: &Manifest| -> Vec<(u64, Timestamp, Timestamp)> {
                manifest.views[&view.name].files.iter().map(|file| (file.rows, file.min_time, file.max_time)).collect()
            };
            assert_eq!(sizes(first), sizes(second), "files of {}", view.name);
        }
        compared
    }
}

#[allow(clippy::float_cmp, reason = "infinities are equal to themselves")]
fn near(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
}

#[allow(clippy::float_cmp, reason = "what is not rounded is compared exactly")]
fn same(pair: (&StateColumn, &StateColumn), a: usize, b: usize, what: &str) {
    use tideline_common::value::Value;
    let equal = |x: &Value, y: &Value| match (x, y) {
        // One value of the rows: nothing is rounded (0 and −0 are one).
        (Value::Float(x), Value::Float(y)) => x == y || (x.is_nan() && y.is_nan()),
        (x, y) => x == y,
    };
    match pair {
        (StateColumn::SumInt(x), StateColumn::SumInt(y)) => assert_eq!(x[a], y[b], "{what}"),
        (StateColumn::SumFloat(x), StateColumn::SumFloat(y)) => {
            assert!(near(x[a], y[b]), "{what}: {} and {}", x[a], y[b]);
        }
        (StateColumn::Min(x), StateColumn::Min(y)) | (StateColumn::Max(x), StateColumn::Max(y)) => {
            assert!(equal(&x.value(a), &y.value(b)), "{what}: {:?} and {:?}", x.value(a), y.value(b));
        }
        (StateColumn::First(x), StateColumn::First(y)) | (StateColumn::Last(x), StateColumn::Last(y)) => {
            assert_eq!((x.times[a], x.sequences[a]), (y.times[b], y.sequences[b]), "{what}");
            let (x, y) = (x.values.value(a), y.values.value(b));
            assert!(equal(&x, &y), "{what}: {x:?} and {y:?}");
        }
        (StateColumn::MapSum(x), StateColumn::MapSum(y)) | (StateColumn::MapMax(x), StateColumn::MapMax(y)) => {
            use tideline_common::state::MapColumn;
            match (x, y) {
                (MapColumn::Int(x), MapColumn::Int(y)) => assert_eq!(x[a], y[b], "{what}"),
                (MapColumn::Text(x), MapColumn::Text(y)) => assert_eq!(x[a], y[b], "{what}"),
                _ => panic!("{what}: maps of two types"),
            }
        }
        _ => panic!("{what}: two kinds of state"),
    }
}

/// Every aggregate, every type of argument, null, NaN, infinities, a key that can be null, `unnest`.
const EVERYTHING: &str = r#"
version = 1
name = "everything"

[sources.events]
topic = "events"
columns = { at = "int", shop = "string", amount = "float", units = "int", part = "float", whole = "float", gift = "bool", note = "string", tags = "strings" }
event_time = { column = "at", format = "epoch_us" }
lateness = "1m"

[tables.sales]
from = "events"
columns = { shop = "shop", amount = "amount", units = "units", ratio = "part / whole", gift = "gift", note = "note", tag = "unnest(tags)" }
partition_by = ["shop"]

[views.numbers]
key = ["shop"]
window = { size = "5m", slide = "1m" }
measures.rows = { table = "sales", agg = "count()" }
measures.given = { table = "sales", agg = "count(amount)" }
measures.total = { table = "sales", agg = "sum(amount)" }
measures.pieces = { table = "sales", agg = "sum(units)" }
measures.mean = { table = "sales", agg = "avg(units)" }
measures.spread = { table = "sales", agg = "stddev(amount)" }
measures.least = { table = "sales", agg = "min(ratio)" }
measures.most = { table = "sales", agg = "max(ratio)" }
measures.fewest = { table = "sales", agg = "min(units)" }
measures.early = { table = "sales", agg = "min(event_time)" }
measures.word = { table = "sales", agg = "max(note)" }
measures.any_gift = { table = "sales", agg = "max(gift)" }
measures.opening = { table = "sales", agg = "first(ratio)" }
measures.closing = { table = "sales", agg = "last(note)" }
measures.last_tag = { table = "sales", agg = "last(tag)" }
measures.last_gift = { table = "sales", agg = "last(gift)" }
measures.when = { table = "sales", agg = "last(event_time)" }

[views.maps]
key = ["shop", "gift"]
window = "1m"
measures.p90 = { table = "sales", agg = "quantile(ratio, 0.9)" }
measures.p50 = { table = "sales", agg = "quantile(units, 0.5)" }
measures.notes = { table = "sales", agg = "distinct(note)" }
measures.ratios = { table = "sales", agg = "distinct(ratio)" }
measures.counts = { table = "sales", agg = "distinct(units)" }
measures.times = { table = "sales", agg = "distinct(event_time)" }
measures.gifts = { table = "sales", agg = "distinct(gift)" }
measures.who = { table = "sales", agg = "histogram(note)" }
measures.how_many = { table = "sales", agg = "histogram(units)" }
measures.given = { table = "sales", agg = "histogram(gift)" }

[views.expressions]
key = ["tag"]
window = "1m"
measures.value = { table = "sales", agg = "sum(units * 3 - 1)" }
measures.each = { table = "sales", agg = "avg(amount / units)" }
measures.big = { table = "sales", agg = "count_if(ratio > 0.5)" }
measures.small = { table = "sales", agg = "count_if(ratio <= 1)" }
measures.not_small = { table = "sales", agg = "count_if(NOT (ratio < 0.5))" }
measures.odd = { table = "sales", agg = "count_if(units BETWEEN 2 AND 5 AND note <> 'n3')" }
measures.some = { table = "sales", agg = "count_if(note IN ('n1', 'it''s', 'n4'))" }
measures.others = { table = "sales", agg = "count_if(note NOT IN ('n1', 'n2'))" }
measures.missing = { table = "sales", agg = "count_if(amount IS NULL OR gift)" }
measures.chosen = { table = "sales", agg = "sum(CASE WHEN gift THEN 0 WHEN amount > 10 THEN amount ELSE units END)" }
measures.size = { table = "sales", agg = "max(length(note))" }
measures.filled = { table = "sales", agg = "sum(coalesce(amount, ratio))" }
measures.negative = { table = "sales", agg = "min(-units)" }
measures.distance = { table = "sales", agg = "sum(abs(amount - 50.25))" }

[views.everything_else]
window = "10m"
measures.rows = { table = "sales", agg = "count()" }
measures.lower = { table = "sales", agg = "distinct(lower(note))" }
"#;

fn random_event(random: &mut StdRng, at: i64) -> Bytes {
    let mut object = serde_json::Map::new();
    object.insert("at".to_owned(), at.into());
    let mut put = |random: &mut StdRng, name: &str, value: serde_json::Value| {
        if random.random_range(0..6) > 0 {
            object.insert(name.to_owned(), value);
        }
    };
    let shops = ["tea", "it's", "a/b=c %é", "", "$TSLA"];
    let shop = shops[random.random_range(0..shops.len())];
    put(random, "shop", shop.into());
    let amount = f64::from(random.random_range(-5_000..20_000)) / 64.0;
    put(random, "amount", amount.into());
    let units: i64 = random.random_range(-3..12);
    put(random, "units", units.into());
    // Zero by zero is NaN, anything else by zero infinite.
    let (part, whole) = (random.random_range(-2..4), random.random_range(0..3));
    put(random, "part", (f64::from(part) * 0.7).into());
    put(random, "whole", f64::from(whole).into());
    let gift = random.random_range(0..2) == 0;
    put(random, "gift", gift.into());
    let notes = ["n1", "n2", "n3", "it's", "\u{e9}t\u{e9}", "", "zzz\\"];
    let note = notes[random.random_range(0..notes.len())];
    put(random, "note", note.into());
    let tags: Vec<String> = (0..random.random_range(0..4)).map(|_| format!("t{}", random.random_range(0..5))).collect();
    put(random, "tags", tags.into());
    Bytes::from(serde_json::to_vec(&object).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_aggregate_is_the_same_in_both() {
    let Some(servers) = servers("every-aggregate") else { return };
    let plan = Arc::new(load("test.toml", EVERYTHING, &|_| None, &SqlTypes).unwrap());
    let mut random = StdRng::seed_from_u64(1);
    // Two days in bursts, many rows at the same instant, and one before 1970.
    let mut payloads = vec![random_event(&mut random, -90_000_001)];
    let mut at = START;
    for _ in 0..6_000 {
        if random.random_range(0..3) == 0 {
            at += random.random_range(0..90_000_000);
        }
        payloads.push(random_event(&mut random, at));
    }
    servers.bronze("events", &payloads).await;
    let (first, second, report) = servers.both(&plan).await;
    let engine = |view: &str| report.engines[view].clone();
    for view in ["numbers", "maps", "expressions"] {
        assert_eq!(engine(view), GoldEngine::Sql { name: "clickhouse".to_owned() }, "{view}");
    }
    // What cannot be said in SQL stays with Polars, and the run says why.
    let GoldEngine::Polars { reason: Some(reason) } = engine("everything_else") else { panic!("{report:?}") };
    assert!(reason.contains("lower"), "{reason}");
    let groups = servers.compare(&plan, &first, &second).await;
    assert!(groups > 5_000, "only {groups} groups were compared");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_golden_pipelines_are_the_same_in_both() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for pipeline in ["stock-sentiment", "movie-viewing"] {
        let Some(servers) = servers(pipeline) else { return };
        let text = std::fs::read_to_string(root.join(format!("schema/pipelines/{pipeline}.toml"))).unwrap();
        let plan = Arc::new(load(pipeline, &text, &|_| None, &SqlTypes).unwrap());
        for source in &plan.sources {
            let file = root.join(format!("tests/golden/{pipeline}/input/{}.ndjson", source.topic));
            let lines = std::fs::read_to_string(file).unwrap();
            let payloads: Vec<Bytes> =
                lines.lines().filter(|line| !line.is_empty()).map(|line| Bytes::from(line.to_owned())).collect();
            servers.bronze(&source.name, &payloads).await;
        }
        let (first, second, report) = servers.both(&plan).await;
        for view in &plan.views {
            assert!(matches!(report.engines[&view.name], GoldEngine::Sql { .. }), "{}: {report:?}", view.name);
        }
        assert!(servers.compare(&plan, &first, &second).await > 0);
    }
}
