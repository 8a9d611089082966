//! Analytics in `ClickHouse`, against the server that `TIDELINE_TEST_CLICKHOUSE` names (`http://127.0.0.1:PORT`).
#![allow(clippy::unwrap_used)]

#[path = "support/clickhouse.rs"]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use support::plan;
use support::{Database, Proxy, database};
use tideline_common::column::Column;
use tideline_common::key::Key;
use tideline_common::manifest::{Manifest, StoredManifest, decode_manifest, manifest_path};
use tideline_common::plan::Field;
use tideline_common::ports::{
    Analytics, KeySelector, Objects, PaneQuery, PortError, Publication as _, ReportQuery, ViewSchema,
};
use tideline_common::state::{Input, Rule, StateBatch, StateColumn, StateField};
use tideline_common::time::{Span, Timestamp};
use tideline_common::value::{Type, Value};
use tideline_stores::analytics::clickhouse::{ClickHouseAnalytics, ClickHouseConfig, ddl};
use tideline_stores::conformance;
use tideline_stores::conformance::analytics::{AnalyticsFixture, Publication, publish_to_lake};
use tideline_stores::objects::ObjectStoreObjects;

/// A lake in memory beside a database.
struct Store {
    database: Database,
    objects: Arc<dyn Objects>,
}

impl Store {
    fn new(database: Database) -> Self {
        Self { database, objects: Arc::new(ObjectStoreObjects::memory()) }
    }

    fn config(&self) -> ClickHouseConfig {
        ClickHouseConfig {
            url: self.database.url.clone(),
            database: self.database.name.clone(),
            // Every answer as it is now.
            refresh: Duration::ZERO,
            grace: Duration::ZERO,
            // Small, so that files are loaded in several chunks.
            chunk_rows: 40,
            ..ClickHouseConfig::default()
        }
    }

    fn analytics(&self) -> ClickHouseAnalytics {
        ClickHouseAnalytics::new(self.config(), self.objects.clone()).unwrap()
    }

    /// Puts a version into the lake.
    async fn put(&self, publication: &Publication) -> Manifest {
        publish_to_lake(&*self.objects, publication, 16).await;
        self.manifest(publication.version).await
    }

    async fn manifest(&self, version: u64) -> Manifest {
        decode_manifest(version, &self.objects.get(&manifest_path(version)).await.unwrap()).unwrap()
    }

    /// Names tables of this database that match a pattern.
    async fn tables(&self, like: &str) -> Vec<String> {
        let sql = format!(
            "SELECT name FROM system.tables WHERE database = '{}' AND name LIKE '{like}' ORDER BY name",
            self.database.name
        );
        self.database.ask(&sql).await.lines().map(str::to_owned).collect()
    }
}

#[async_trait]
impl AnalyticsFixture for Store {
    async fn open(&mut self) -> Arc<dyn Analytics> {
        Arc::new(self.analytics())
    }

    async fn publish(&mut self, publication: &Publication) {
        let manifest = self.put(publication).await;
        self.analytics().load(&manifest).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite() {
    if database("the_suite").is_none() {
        return;
    }
    conformance::analytics::suite(|| Store::new(database("the_suite").unwrap())).await;
}

fn field(name: &str, rule: Rule, ty: Type) -> StateField {
    StateField { name: name.to_owned(), rule, ty, input: Input::Value, table: "t".to_owned(), argument: None }
}

fn column(name: &str, ty: Type) -> Field {
    Field { name: name.to_owned(), ty }
}

fn text(s: &str) -> Value {
    Value::String(s.to_owned())
}

/// A view whose key has every type, and whose states have every rule.
fn every_type() -> ViewSchema {
    ViewSchema {
        name: "every`type".to_owned(),
        version: "00ff".to_owned(),
        key: vec![
            column("s", Type::String),
            column("x", Type::Float),
            column("b", Type::Bool),
            column("i", Type::Int),
            column("gold_file", Type::Timestamp),
        ],
        fields: vec![
            field("n", Rule::Sum, Type::Int),
            field("total", Rule::Sum, Type::Float),
            field("least", Rule::Min, Type::String),
            field("most", Rule::Max, Type::Float),
            field("at", Rule::Max, Type::Timestamp),
            field("was", Rule::First, Type::Bool),
            field("is", Rule::Last, Type::String),
            field("buckets", Rule::MapSum, Type::Int),
            field("words", Rule::MapSum, Type::String),
            field("registers", Rule::MapMax, Type::Int),
        ],
        pane: Span::SECOND,
        ttl: None,
    }
}

/// Texts that an escape could be forgotten for.
const TEXTS: &[&str] =
    &["", "it's", "\"", "`", "\\", "\\N", "a\tb\nc\r", "\0", "\0\0b", "é 🎬", "{p0:String}", "?", "%"];

/// Rows of every sort of key and state, sorted by key and pane.
fn every_value() -> StateBatch {
    let view = every_type();
    let floats = [0.0, 1.5, -1e300, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 0.1 + 0.2];
    let mut keys: Vec<Key> = vec![Key::of(&[Value::Null, Value::Null, Value::Null, Value::Null, Value::Null])];
    for (n, s) in TEXTS.iter().enumerate() {
        let i = if n % 3 == 0 { Value::Null } else { Value::Int(i64::MIN + n as i64) };
        let at = Value::Timestamp(Timestamp(-1_000_001 * n as i64));
        keys.push(Key::of(&[text(s), Value::Float(floats[n % floats.len()]), Value::Bool(n % 2 == 0), i, at]));
        keys.push(Key::of(&[text(s), Value::Null, Value::Null, Value::Int(n as i64), Value::Null]));
    }
    for x in floats {
        keys.push(Key::of(&[text("same"), Value::Float(x), Value::Bool(true), Value::Int(1), Value::Null]));
    }
    keys.sort();
    let mut batch = StateBatch::new(&view.fields);
    for (k, key) in keys.iter().enumerate() {
        for (p, pane) in [-1_000_000, 0, 1_000_000].into_iter().enumerate() {
            let row = batch.push_identity(key.as_bytes(), Timestamp(pane));
            if (k + p) % 4 == 0 {
                continue; // The identity of every rule.
            }
            let (word, number) = (TEXTS[(k + p) % TEXTS.len()], (k * 10 + p) as i64);
            for state in &mut batch.states {
                match state {
                    StateColumn::SumInt(v) => v[row] = i64::MAX - number,
                    StateColumn::SumFloat(v) => v[row] = floats[(k + p) % floats.len()],
                    StateColumn::Min(Column::String(v)) => v.set(row, word),
                    StateColumn::Max(Column::Float(v)) => v[row] = Some(floats[k % 5]),
                    StateColumn::Max(Column::Timestamp(v)) => v[row] = Some(Timestamp(number * 1_000_003 + 7)),
                    StateColumn::First(v) | StateColumn::Last(v) => {
                        match &mut v.values {
                            Column::Bool(values) => values[row] = Some(p == 1),
                            Column::String(values) => values.set(row, word),
                            _ => {}
                        }
                        (v.times[row], v.sequences[row]) = (-number, i64::MAX - number);
                    }
                    StateColumn::MapSum(tideline_common::state::MapColumn::Text(v)) => {
                        let mut map = vec![(word.into(), number), ("z".into(), -number)];
                        map.sort();
                        v[row] = map;
                    }
                    StateColumn::MapSum(tideline_common::state::MapColumn::Int(v))
                    | StateColumn::MapMax(tideline_common::state::MapColumn::Int(v)) => {
                        v[row] = vec![(i32::MIN, number), (0, 0), (i32::MAX, i64::MAX)];
                    }
                    _ => {}
                }
            }
        }
    }
    batch
}

/// Equal, NaNs included.
fn assert_same(found: &StateBatch, expected: &StateBatch, what: &str) {
    assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{what}");
}

fn only(batch: &StateBatch, keep: impl Fn(&[u8], Timestamp) -> bool) -> StateBatch {
    let mut out = StateBatch::new(&every_type().fields);
    for row in (0..batch.len()).filter(|row| keep(batch.keys.get(*row), batch.panes[*row])) {
        out.push_from(batch, row);
    }
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_reads_back() {
    let Some(database) = database("every_type_reads_back") else { return };
    let (store, view, all) = (Store::new(database), every_type(), every_value());
    let views = vec![(view.clone(), vec![all.clone()])];
    let manifest = store.put(&Publication { version: 1, views, ..Publication::default() }).await;
    let analytics = store.analytics();
    assert_eq!(analytics.load(&manifest).await.unwrap().rows, all.len() as u64);
    let between = analytics.panes_between(&manifest, &view, Timestamp(-1), Timestamp(i64::MAX)).await.unwrap();
    assert_same(&between, &only(&all, |_, pane| pane.0 >= -1), "between");
    let everything = (Timestamp::MIN, Timestamp::MAX);
    let between = analytics.panes_between(&manifest, &view, everything.0, everything.1).await.unwrap();
    assert_same(&between, &all, "everything");
    let query = |keys, max_rows| PaneQuery { keys, from: everything.0, to: everything.1, max_rows };
    let (mut after, mut paged) = (None, StateBatch::new(&view.fields));
    loop {
        let page = analytics.panes(&manifest, &view, &query(KeySelector::All { after }, 5)).await.unwrap();
        (0..page.panes.len()).for_each(|row| paged.push_from(&page.panes, row));
        after = page.more_after;
        if after.is_none() {
            break;
        }
    }
    assert_same(&paged, &all, "page by page");
    let keys: std::collections::BTreeSet<&[u8]> = all.keys.iter().collect();
    for key in keys {
        let one = KeySelector::One(Key(key.to_vec()));
        let page = analytics.panes(&manifest, &view, &query(one, 1)).await.unwrap();
        assert_same(&page.panes, &only(&all, |k, _| k == key), "one key");
    }
    // A person merges states in SQL.
    let sql = "SELECT sum(n), mapKeys(sumMap(words)), max(at), argMax(`is`, (is__time, is__sequence, `is`)) \
               FROM `every\\`type_panes` WHERE s = 'same' GROUP BY s FORMAT JSONCompact";
    assert!(store.database.ask(sql).await.contains("\"data\""));
    // Keys are values, never SQL.
    let evil = Key::of(&[text("' OR 1=1 --"), Value::Null, Value::Null, Value::Int(0), Value::Null]);
    let page = analytics.panes(&manifest, &view, &query(KeySelector::One(evil), 1)).await.unwrap();
    assert!(page.panes.is_empty());
}

/// A view keyed by text with one sum.
fn simple(version: &str) -> ViewSchema {
    ViewSchema {
        name: "v".to_owned(),
        version: version.to_owned(),
        key: vec![column("k", Type::String)],
        fields: vec![field("n", Rule::Sum, Type::Int)],
        pane: Span::MINUTE,
        ttl: None,
    }
}

/// `keys` keys with panes [from, to), all of `number`.
fn states(keys: usize, from: i64, to: i64, number: i64) -> StateBatch {
    let mut batch = StateBatch::new(&simple("1").fields);
    for k in 0..keys {
        for pane in from..to {
            let row = batch.push_identity(Key::of(&[text(&format!("k{k:06}"))]).as_bytes(), Timestamp(pane));
            if let StateColumn::SumInt(v) = &mut batch.states[0] {
                v[row] = number;
            }
        }
    }
    batch
}

/// A report of rows (0, number), (1, number) …
fn report(rows: i64, number: i64) -> (String, Vec<Field>, Vec<Vec<Column>>) {
    let columns = vec![column("row", Type::Int), column("number", Type::Int)];
    let part =
        vec![Column::Int((0..rows).rev().map(Some).collect()), Column::Int((0..rows).map(|_| Some(number)).collect())];
    ("r".to_owned(), columns, vec![part])
}

async fn numbers(analytics: &ClickHouseAnalytics, manifest: &Manifest) -> (StateBatch, Vec<Vec<Value>>) {
    let panes = analytics.panes_between(manifest, &simple("1"), Timestamp::MIN, Timestamp::MAX).await.unwrap();
    let query = ReportQuery { limit: 1_000, ..ReportQuery::default() };
    (panes, analytics.report(manifest, "r", &query).await.unwrap().rows)
}

/// Panes 0 to 4 in two files, and a report.
fn publication(version: u64, number: i64) -> Publication {
    let parts = vec![states(30, 0, 2, number), states(30, 2, 4, number)];
    let views = vec![(simple("1"), parts)];
    Publication { version, views, reports: vec![report(50 + version as i64, number)], ..Publication::default() }
}

/// What [`numbers`] finds of [`publication`].
fn expected(version: u64, number: i64) -> (StateBatch, Vec<Vec<Value>>) {
    let rows = (0..50 + version as i64).rev().map(|row| vec![Value::Int(row), Value::Int(number)]).collect();
    (states(30, 0, 4, number), rows)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_cut_off_anywhere_is_made_good() {
    let Some(first) = database("a_load_cut_off_anywhere_is_made_good") else { return };
    let proxy = Proxy::start(&first.url).await;
    // How many requests a whole load makes.
    let whole = cut_load(first, &proxy, u64::MAX, false).await;
    assert!(whole > 12, "{whole} requests");
    for at in 1..=whole {
        for answered in [false, true] {
            let database = database("a_load_cut_off_anywhere_is_made_good").unwrap();
            cut_load(database, &proxy, at, answered).await;
        }
    }
}

/// Loads version 2 over version 1; from request `at` on nothing gets through (`executed`: that one is executed, and its
/// answer lost). Returns the number of requests.
async fn cut_load(database: Database, proxy: &Proxy, at: u64, executed: bool) -> u64 {
    let store = Store::new(database);
    let what = format!("cut at request {at}, executed: {executed}");
    let first = store.put(&publication(1, 1)).await;
    let second = store.put(&publication(2, 2)).await;
    store.analytics().load(&first).await.unwrap();
    proxy.cut_at(at, executed);
    let config = ClickHouseConfig { url: proxy.url.clone(), attempts: 1, max_loads: 1, ..store.config() };
    let cut = ClickHouseAnalytics::new(config, store.objects.clone()).unwrap();
    match cut.load(&second).await {
        // Only what cleans up may fail without harm.
        Ok(_) => {}
        Err(error) => assert!(error.is_retryable(), "{what}: {error}"),
    }
    let requests = proxy.requests();
    let analytics = store.analytics();
    let current = analytics.current().await.unwrap().unwrap();
    let version = current.version;
    assert!(version == 1 || version == 2, "{what}");
    assert_eq!(numbers(&analytics, &current).await, expected(version, version as i64), "{what}: a version is whole");
    analytics.load(&second).await.unwrap();
    let current = analytics.current().await.unwrap().unwrap();
    assert_eq!(current.version, 2, "{what}");
    assert_eq!(numbers(&analytics, &current).await, expected(2, 2), "{what}: made good");
    assert_eq!(numbers(&analytics, &first).await, expected(1, 1), "{what}: the version before is still there");
    let counts = store.database.ask("SELECT (SELECT count() FROM v_panes_1), (SELECT count() FROM r)").await;
    assert_eq!(counts.trim(), "240\t52", "{what}: no duplicates");
    requests
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_behind_is_dropped_when_it_is_stale() {
    let Some(database) = database("what_is_left_behind_is_dropped_when_it_is_stale") else { return };
    let store = Store::new(database);
    let manifest = store.put(&publication(1, 1)).await;
    store.analytics().migrate(&plan("movie-viewing.toml")).await.unwrap();
    let proxy = Proxy::start(&store.database.url).await;
    let config = ClickHouseConfig { url: proxy.url.clone(), attempts: 1, max_loads: 1, ..store.config() };
    let cut = ClickHouseAnalytics::new(config, store.objects.clone()).unwrap();
    let mut at = 1;
    while store.tables("tideline_staging%").await.is_empty() {
        proxy.cut_at(at, true);
        let _ = cut.load(&manifest).await;
        at += 1;
    }
    let analytics = store.analytics();
    analytics.load(&manifest).await.unwrap();
    assert_eq!(store.tables("tideline_staging%").await.len(), 1, "it may be in use");
    // The server knows times of tables to the second.
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let config = ClickHouseConfig { stale: Duration::from_secs(1), ..store.config() };
    let later = ClickHouseAnalytics::new(config, store.objects.clone()).unwrap();
    assert_eq!(later.load(&manifest).await.unwrap().files, 0, "all is there");
    assert_eq!(store.tables("tideline_staging%").await, Vec::<String>::new());
    assert_eq!(numbers(&later, &manifest).await, expected(1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_loads_at_once_do_no_harm() {
    let Some(database) = database("several_loads_at_once_do_no_harm") else { return };
    let store = Store::new(database);
    let (first, second) = (store.put(&publication(1, 1)).await, store.put(&publication(2, 2)).await);
    let loads = (0..6).map(|n| {
        let (analytics, manifest) = (store.analytics(), if n % 2 == 0 { first.clone() } else { second.clone() });
        tokio::spawn(async move { analytics.load(&manifest).await })
    });
    for load in futures::future::join_all(loads).await {
        // One that finds a table gone that another has just made or moved may be told to try again.
        if let Err(error) = load.unwrap() {
            assert!(error.is_retryable(), "{error}");
        }
    }
    let analytics = store.analytics();
    analytics.load(&second).await.unwrap();
    assert_eq!(analytics.current().await.unwrap().unwrap().version, 2);
    assert_eq!(numbers(&analytics, &second).await, expected(2, 2));
    analytics.load(&first).await.unwrap();
    assert_eq!(analytics.current().await.unwrap().unwrap().version, 2, "an older version does not become current");
    assert_eq!(numbers(&analytics, &second).await, expected(2, 2));
    let counts = store.database.ask("SELECT count(), uniqExact(gold_file) FROM v_panes_1").await;
    let whole = ["120\t2", "240\t4"];
    assert!(whole.contains(&counts.trim()), "files are there once, or not at all: {counts}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_not_put_in_its_place_while_another_load_does_so() {
    let Some(database) = database("a_file_is_not_put_in_its_place_while_another_load_does_so") else { return };
    let store = Arc::new(Store::new(database));
    let manifest = store.put(&publication(1, 1)).await;
    let proxy = Proxy::start(&store.database.url).await;
    let config = ClickHouseConfig { url: proxy.url.clone(), ..store.config() };
    ClickHouseAnalytics::new(config, store.objects.clone()).unwrap().load(&manifest).await.unwrap();
    let ids = proxy.ids();
    assert_eq!(ids.len(), 2, "one for each file of the view: {ids:?}");
    assert_ne!(ids[0], ids[1], "files do not wait for each other");
    store.database.ask("TRUNCATE TABLE v_panes_1 SYNC").await;
    // In the place of the other load's statement, so that it takes long enough to be seen.
    let (other, id) = (store.clone(), ids[1].clone());
    let running = tokio::spawn(async move {
        // The question below, whether it runs, may be what is in its way.
        while other.database.try_ask("SELECT sleep(2)", &id).await.is_err() {}
    });
    while store.database.try_ask("SELECT 1", &ids[1]).await.is_ok() {
        assert!(!running.is_finished(), "the server lets two queries of an id run at once");
    }
    store.analytics().load(&manifest).await.unwrap();
    assert!(running.is_finished(), "the load did not wait");
    running.await.unwrap();
    assert_eq!(numbers(&store.analytics(), &manifest).await, expected(1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_is_rolled_back_by_publishing_it_anew() {
    let Some(database) = database("a_version_is_rolled_back_by_publishing_it_anew") else { return };
    let store = Store::new(database);
    let (first, second) = (store.put(&publication(1, 1)).await, store.put(&publication(2, 2)).await);
    let analytics = store.analytics();
    assert_eq!(analytics.load(&first).await.unwrap().files, 3);
    assert_eq!(analytics.load(&first).await.unwrap().files, 0, "loading again changes nothing");
    assert_eq!(analytics.load(&second).await.unwrap().files, 3);
    let third = Manifest { version: 3, ..first.clone() };
    let bytes = serde_json::to_vec(&StoredManifest::V1(third.clone())).unwrap();
    store.objects.put(&manifest_path(3), bytes.into()).await.unwrap();
    let loaded = analytics.load(&third).await.unwrap();
    assert_eq!((loaded.files, loaded.rows), (1, 51), "only the report: the files of views are there");
    assert_eq!(analytics.current().await.unwrap().unwrap().version, 3);
    assert_eq!(numbers(&analytics, &third).await, expected(1, 1));
    assert_eq!(numbers(&analytics, &second).await, expected(2, 2), "a reader that began before can finish");
    let counts = store.database.ask("SELECT (SELECT count() FROM v_panes), (SELECT count() FROM r)").await;
    assert_eq!(counts.trim(), "120\t51", "people see the current version");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_of_a_view_never_meet() {
    let Some(database) = database("versions_of_a_view_never_meet") else { return };
    let store = Store::new(database);
    let old = store.put(&publication(1, 1)).await;
    let changed = ViewSchema {
        version: "2".to_owned(),
        fields: vec![field("n", Rule::Sum, Type::Float), field("last", Rule::Last, Type::Int)],
        ..simple("2")
    };
    let mut rows = StateBatch::new(&changed.fields);
    rows.push_identity(Key::of(&[text("k")]).as_bytes(), Timestamp(0));
    let mut columns = report(3, 9);
    columns.1[1].name = "renamed".to_owned();
    let views = vec![(changed.clone(), vec![rows.clone()])];
    let new = store.put(&Publication { version: 2, views, reports: vec![columns], ..Publication::default() }).await;
    let analytics = store.analytics();
    analytics.load(&old).await.unwrap();
    analytics.load(&new).await.unwrap();
    assert_eq!(analytics.panes_between(&new, &changed, Timestamp::MIN, Timestamp::MAX).await.unwrap(), rows);
    assert!(analytics.panes_between(&new, &simple("1"), Timestamp::MIN, Timestamp::MAX).await.unwrap().is_empty());
    assert_eq!(numbers(&analytics, &old).await, expected(1, 1), "the old one is still readable");
    let renamed = store.database.ask("SELECT count(), any(renamed) FROM r").await;
    assert_eq!(renamed.trim(), "3\t9", "a changed report has its new columns");
    assert_eq!(store.tables("v\\_panes\\_%").await, ["v_panes_1", "v_panes_2"]);
    let (old, new) = (Arc::new(old), Arc::new(new));
    assert_eq!(analytics.collect(&[]).await.unwrap(), 0, "nothing kept is no reason to drop everything");
    assert_eq!(analytics.collect(&[old.clone(), new.clone()]).await.unwrap(), 0);
    assert_eq!(analytics.collect(std::slice::from_ref(&new)).await.unwrap(), 2);
    assert_eq!(store.tables("v\\_panes\\_%").await, ["v_panes_2"]);
    let gone = analytics.panes_between(&old, &simple("1"), Timestamp::MIN, Timestamp::MAX).await.unwrap_err();
    assert!(matches!(gone, PortError::Unavailable { .. }), "no answer with holes: {gone:?}");
    assert_eq!(analytics.panes_between(&new, &changed, Timestamp::MIN, Timestamp::MAX).await.unwrap(), rows);
    assert_eq!(analytics.current().await.unwrap().unwrap().version, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_files_that_no_version_needs_are_dropped() {
    let Some(database) = database("only_files_that_no_version_needs_are_dropped") else { return };
    let store = Store::new(database);
    let first = store.put(&publication(1, 1)).await;
    let second = store.put(&publication(2, 2)).await;
    // The third has the first's first file, and the second's second one.
    let mut third = Manifest { version: 3, ..second.clone() };
    third.views.get_mut("v").unwrap().files[0] = first.views["v"].files[0].clone();
    let analytics = store.analytics();
    for manifest in [&first, &second, &third] {
        analytics.load(manifest).await.unwrap();
    }
    let kept = [Arc::new(third.clone())];
    let patient = ClickHouseConfig { grace: Duration::from_mins(10), ..store.config() };
    let patient = ClickHouseAnalytics::new(patient, store.objects.clone()).unwrap();
    assert_eq!(patient.collect(&kept).await.unwrap(), 0, "what is new may be of a version that is being loaded");
    assert_eq!(analytics.collect(&kept).await.unwrap(), 2);
    assert_eq!(analytics.collect(&kept).await.unwrap(), 0);
    let read = analytics.panes_between(&third, &simple("1"), Timestamp::MIN, Timestamp::MAX).await.unwrap();
    let StateColumn::SumInt(found) = &read.states[0] else { panic!("not a sum") };
    assert_eq!((read.len(), found.iter().sum::<i64>()), (120, 60 + 2 * 60));
    // A version that the one who collects does not know of is kept.
    let fourth = Manifest { version: 4, ..second.clone() };
    analytics.load(&fourth).await.unwrap();
    assert_eq!(analytics.collect(&kept).await.unwrap(), 0);
    let read = analytics.panes_between(&fourth, &simple("1"), Timestamp::MIN, Timestamp::MAX).await.unwrap();
    assert_eq!(read, states(30, 0, 4, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_of_reports_read_back() {
    let Some(database) = database("values_of_reports_read_back") else { return };
    let store = Store::new(database);
    let columns = vec![
        column("s", Type::String),
        column("i", Type::Int),
        column("x", Type::Float),
        column("b", Type::Bool),
        column("at", Type::Timestamp),
    ];
    let mut part: Vec<Column> = columns.iter().map(|f| Column::new(f.ty)).collect();
    let mut rows = vec![vec![Value::Null; 5]];
    for (n, s) in TEXTS.iter().enumerate() {
        let at = Timestamp(1_400_000_000_123_457 - 3_000_000_000_000_001 * n as i64);
        let x = [f64::MAX, -0.5, f64::INFINITY, 1e-308][n % 4];
        let row = vec![
            text(s),
            Value::Int(i64::MIN + n as i64),
            Value::Float(x),
            Value::Bool(n % 2 == 0),
            Value::Timestamp(at),
        ];
        rows.push(row);
    }
    for row in &rows {
        part.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
    }
    let reports = vec![
        ("r".to_owned(), columns.clone(), vec![part]),
        ("empty".to_owned(), columns.clone(), vec![columns.iter().map(|f| Column::new(f.ty)).collect()]),
    ];
    let manifest = store.put(&Publication { version: 1, reports, ..Publication::default() }).await;
    let analytics = store.analytics();
    analytics.load(&manifest).await.unwrap();
    let all = ReportQuery { limit: 100, ..ReportQuery::default() };
    assert_eq!(analytics.report(&manifest, "r", &all).await.unwrap().rows, rows);
    assert_eq!(analytics.report(&manifest, "empty", &all).await.unwrap().rows, Vec::<Vec<Value>>::new());
    for row in &rows {
        for (column, value) in columns.iter().zip(row) {
            let filters = vec![(column.name.clone(), value.clone())];
            let found = analytics.report(&manifest, "r", &ReportQuery { filters, ..all.clone() }).await.unwrap();
            assert!(found.rows.contains(row), "{} = {value:?}", column.name);
        }
    }
    // From the table, not from the lake behind it.
    store.objects.delete(&manifest.reports["r"].files[0].path).await.unwrap();
    assert_eq!(analytics.report(&manifest, "r", &all).await.unwrap().rows, rows);
    assert_eq!(store.database.ask("SELECT * FROM r WHERE s = 'it\\'s' FORMAT TSV").await.split('\t').count(), 5);
}

#[test]
fn the_generated_tables_are_those_of_the_definitions() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../schema/clickhouse");
    for file in support::pipelines() {
        let head = format!(
            "-- Tables of schema/pipelines/{file} in ClickHouse, as `tideline migrate` makes them. Generated.\n"
        );
        let statements: Vec<String> = ddl(&plan(&file)).iter().map(|statement| format!("\n{statement};\n")).collect();
        let statements = statements.concat();
        let path = format!("{folder}/{}.sql", file.trim_end_matches(".toml"));
        if std::env::var_os("TIDELINE_WRITE_SCHEMA").is_some() {
            std::fs::write(&path, format!("{head}{statements}")).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == format!("{head}{statements}"),
            "run the test once with TIDELINE_WRITE_SCHEMA=1 and commit {path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tables_of_pipelines_are_made_and_made_again() {
    let Some(database) = database("the_tables_of_pipelines_are_made_and_made_again") else { return };
    let store = Store::new(database);
    let analytics = store.analytics();
    for file in support::pipelines() {
        let plan = plan(&file);
        for _ in 0..2 {
            analytics.migrate(&plan).await.unwrap();
        }
        for view in &plan.views {
            let empty = store.database.ask(&format!("SELECT count() FROM `{}_panes`", view.name)).await;
            assert_eq!(empty.trim(), "0", "{}", view.name);
        }
    }
    assert!(analytics.current().await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_down_is_unavailable_and_says_no_password() {
    let objects: Arc<dyn Objects> = Arc::new(ObjectStoreObjects::memory());
    let config = ClickHouseConfig {
        // Port 9 discards: nobody listens there.
        url: "http://127.0.0.1:9".to_owned(),
        user: Some("someone".to_owned()),
        password: Some("secret".to_owned()),
        retry_wait: Duration::from_millis(1),
        ..ClickHouseConfig::default()
    };
    let analytics = ClickHouseAnalytics::new(config, objects).unwrap();
    let errors = [
        analytics.current().await.unwrap_err(),
        analytics.load(&Manifest::default()).await.unwrap_err(),
        analytics.migrate(&plan("movie-viewing.toml")).await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, PortError::Unavailable { .. }), "{error:?}");
        assert!(error.to_string().contains("refused") && !error.to_string().contains("secret"), "{error}");
    }
}

/// A view with every aggregate, over windows of three panes every two.
const AGGREGATES: &str = r#"
version = 1
name = "aggregates"
[sources.s]
topic = "s"
columns = { at = "string", k = "string", x = "float", i = "int", b = "bool" }
event_time = { column = "at", format = "rfc3339" }
[tables.t]
from = "s"
columns = { k = "k", x = "x", i = "i", b = "b" }
[views.answers]
key = ["k"]
window = { size = "3m", slide = "2m" }
measures.rows = { table = "t", agg = "count()" }
measures.values = { table = "t", agg = "count(x)" }
measures.true = { table = "t", agg = "count_if(b)" }
measures.sum_x = { table = "t", agg = "sum(x)" }
measures.sum_i = { table = "t", agg = "sum(i)" }
measures.avg_x = { table = "t", agg = "avg(x)" }
measures.avg_i = { table = "t", agg = "avg(i)" }
measures.min_x = { table = "t", agg = "min(x)" }
measures.max_i = { table = "t", agg = "max(i)" }
measures.first_k = { table = "t", agg = "first(k)" }
measures.last_x = { table = "t", agg = "last(x)" }
measures.variance_x = { table = "t", agg = "variance(x)" }
measures.stddev_i = { table = "t", agg = "stddev(i)" }
measures.distinct_i = { table = "t", agg = "distinct(i)" }
measures.median_x = { table = "t", agg = "quantile(x, 0.5)" }
measures.p95_i = { table = "t", agg = "quantile(i, 0.95)" }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_in_sql_are_those_of_the_platform() {
    use tideline_common::aggregate::fold::{Event, fold};
    use tideline_common::plan::Answers;
    use tideline_common::state::StateTable;

    let Some(database) = database("answers_in_sql_are_those_of_the_platform") else { return };
    let store = Store::new(database);
    let plan = tideline_common::plan::load("aggregates", AGGREGATES, &|_| None, &tideline_transform::SqlTypes).unwrap();
    let (plan_view, view) = (&plan.views[0], ViewSchema::from(&plan.views[0]));
    // Key "many" has so many values that nearly every register is used; the others have few, or none at all.
    let mut panes = StateTable::new(&view.fields);
    let mut state = 7_u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    for (key, rows) in [("many", 60_000), ("few", 40), ("one", 1), ("nothing", 3)] {
        let mut batch = StateBatch::new(&view.fields);
        for pane in -3..4_i64 {
            batch.push_identity(Key::of(&[text(key)]).as_bytes(), Timestamp(pane * 60_000_000));
        }
        for row in 0..rows {
            let (pane, time) = ((random() % 7) as usize, Timestamp((random() % 50) as i64));
            let (x, i) = ((random() as f64 - 1e9) / 1e7, random() as i64 - 1_000_000_000);
            for (field, states) in view.fields.iter().zip(&mut batch.states) {
                let argument = match field.argument.as_deref() {
                    _ if key == "nothing" => Value::Null,
                    Some("x") => Value::Float(if row % 9 == 0 { -x / 1e12 } else { x }),
                    Some("i") => Value::Int(i),
                    Some("b") => Value::Bool(i % 2 == 0),
                    Some("k") => text(TEXTS[row % TEXTS.len()]),
                    _ => Value::Null,
                };
                fold(field, states, pane, Event { argument: &argument, time, sequence: row as i64 });
            }
        }
        panes.merge(&batch);
    }
    let mut windows = StateTable::new(&view.fields);
    for row in 0..panes.len() {
        let groups = panes.groups();
        for start in plan_view.window.starts(groups.panes[row]) {
            windows.merge_row(groups.keys.get(row), start, groups, row);
        }
    }
    let mut sorted = StateBatch::new(&view.fields);
    let mut order: Vec<usize> = (0..panes.len()).collect();
    order.sort_by_key(|row| (panes.groups().keys.get(*row).to_vec(), panes.groups().panes[*row]));
    for row in order {
        sorted.push_from(panes.groups(), row);
    }
    let manifest =
        store.put(&Publication { version: 1, views: vec![(view, vec![sorted])], ..Publication::default() }).await;
    let analytics = store.analytics();
    analytics.migrate(&plan).await.unwrap();
    analytics.load(&manifest).await.unwrap();
    let sql = "SELECT * FROM answers ORDER BY k, window_start FORMAT JSONCompactEachRow \
               SETTINGS output_format_json_quote_64bit_integers = 0, date_time_output_format = 'iso'";
    let found: Vec<Vec<serde_json::Value>> =
        store.database.ask(sql).await.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let groups = windows.groups();
    assert_eq!(found.len(), groups.len());
    let answers = Answers::new(plan_view);
    for row in found {
        let start = Timestamp::parse(row[1].as_str().unwrap()).unwrap();
        assert_eq!(Timestamp::parse(row[2].as_str().unwrap()).unwrap(), start.plus(Span(180_000_000)));
        let key = Key::of(&[text(row[0].as_str().unwrap())]);
        let at = windows.find(key.as_bytes(), start).unwrap();
        for ((field, expected), found) in plan_view.answer.iter().zip(answers.row(groups, at)).zip(&row[3..]) {
            let same = match (field.ty, expected.as_f64(), found.as_f64()) {
                // Sums of floats depend on their order: to rounding, everything else to the bit.
                (Type::Float, Some(a), Some(b)) => (a - b).abs() <= 1e-9 * a.abs(),
                _ => expected.to_json() == *found,
            };
            assert!(same, "{} of {} at {start}: {found}, not {expected:?}", field.name, row[0]);
        }
    }
}

/// A view whose changes are tailed.
const RANKED: &str = r#"
version = 1
name = "ranked"
[sources.s]
topic = "s"
columns = { at = "string", k = "string" }
event_time = { column = "at", format = "rfc3339" }
[tables.t]
from = "s"
columns = { k = "k" }
[views.ranked]
key = ["k"]
window = "1m"
measures.rows = { table = "t", agg = "count()" }
top = ["rows"]
retain = { speed = "1d" }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_speed_go_on_where_batch_ends() {
    use tideline_common::changes::{Change, topic};
    use tideline_common::ports::{Log, TopicSpec};
    use tideline_common::position::Shard;
    use tideline_common::watermark::Watermark;
    use tideline_stores::analytics::clickhouse::follow;
    use tideline_stores::log::embedded::{EmbeddedLog, EmbeddedLogConfig};
    use tokio_util::sync::CancellationToken;

    let Some(database) = database("changes_of_speed_go_on_where_batch_ends") else { return };
    let store = Store::new(database);
    let folder = tempfile::tempdir().unwrap();
    let config = EmbeddedLogConfig { reserve_bytes: 0, ..EmbeddedLogConfig::default() };
    let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(folder.path(), config).unwrap());
    let plan = tideline_common::plan::load("ranked", RANKED, &|_| None, &tideline_transform::SqlTypes).unwrap();
    let (ranked, view) = (plan.views[0].clone(), ViewSchema::from(&plan.views[0]));
    let analytics = Arc::new(store.analytics());
    analytics.migrate(&plan).await.unwrap();
    let minute = 60_000_000;
    let rows = |list: &[(&str, i64, i64)]| {
        let mut batch = StateBatch::new(&view.fields);
        for (key, pane, count) in list {
            let row = batch.push_identity(Key::of(&[text(key)]).as_bytes(), Timestamp(pane * minute));
            if let StateColumn::SumInt(v) = &mut batch.states[0] {
                v[row] = *count;
            }
        }
        batch
    };
    // Batch has panes 0 to 2, and answers for 0 and 1.
    let gold = rows(&[("a", 0, 10), ("a", 1, 11), ("a", 2, 1)]);
    let mut manifest =
        store.put(&Publication { version: 1, views: vec![(view.clone(), vec![gold])], ..Publication::default() }).await;
    manifest.views.get_mut("ranked").unwrap().through = Some(Timestamp(2 * minute));
    analytics.load(&manifest).await.unwrap();
    let answers = async || {
        let sql = "SELECT k, toUnixTimestamp(window_start) / 60, rows FROM ranked ORDER BY k, window_start";
        store.database.ask(sql).await.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(answers().await, "a 0 10 a 1 11 a 2 1", "while nothing is tailed, all are of batch");
    log.ensure_topic(&TopicSpec { name: topic("ranked"), partitions: 1, retention: None, max_bytes: None })
        .await
        .unwrap();
    let change = |shard: u32, position: u64, list: &[(&str, i64, i64)]| Change {
        version: view.version.clone(),
        shard: Shard::new("s", shard),
        position,
        watermark: Watermark::default(),
        panes: rows(list),
    };
    let until = async |expected: &str| {
        let start = Instant::now();
        loop {
            let found = answers().await;
            if found == expected {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "{found}, not {expected}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let append = async |change: &Change| {
        log.append(&topic("ranked"), change.encode(), Timestamp(0)).await.unwrap();
    };
    append(&change(0, 5, &[("a", 1, 99), ("a", 2, 3), ("a", 3, 1)])).await;
    append(&change(1, 7, &[("a", 2, 4), ("b", 3, 2)])).await;
    for round in ["first", "again"] {
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(follow(log.clone(), analytics.clone(), ranked.clone(), shutdown.clone()));
        if round == "first" {
            until("a 0 10 a 1 11 a 2 7 a 3 1 b 3 2").await;
            append(&change(0, 9, &[("a", 3, 6)])).await;
        }
        until("a 0 10 a 1 11 a 2 7 a 3 6 b 3 2").await;
        shutdown.cancel();
        task.await.unwrap().unwrap();
        // Older changes, and the same ones, change nothing: as if the offset had not been written before a crash.
        append(&change(0, 8, &[("a", 3, 5)])).await;
        append(&change(0, 9, &[("a", 3, 6)])).await;
    }
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(follow(log.clone(), analytics.clone(), ranked, shutdown.clone()));
    append(&change(1, 11, &[("b", 3, 3)])).await;
    until("a 0 10 a 1 11 a 2 7 a 3 6 b 3 3").await;
    shutdown.cancel();
    task.await.unwrap().unwrap();
}

/// Prints what loading and reading cost here; asserts nothing about time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn measure() {
    let Some(database) = database("measure") else { return };
    let store = Store::new(database);
    let config = ClickHouseConfig { chunk_rows: ClickHouseConfig::default().chunk_rows, ..store.config() };
    let analytics = ClickHouseAnalytics::new(config, store.objects.clone()).unwrap();
    let panes = states(100_000, 0, 5, 1);
    let views = vec![(simple("1"), vec![panes])];
    publish_to_lake(&*store.objects, &Publication { version: 1, views, ..Publication::default() }, 65_536).await;
    let manifest = store.manifest(1).await;
    let start = Instant::now();
    let loaded = analytics.load(&manifest).await.unwrap();
    let seconds = start.elapsed().as_secs_f64();
    println!("load: {} rows in {seconds:.2} s, {:.0} rows/s", loaded.rows, loaded.rows as f64 / seconds);
    let one = KeySelector::One(Key::of(&[text("k050000")]));
    let query = PaneQuery { keys: one, from: Timestamp(0), to: Timestamp(5), max_rows: 1 };
    let mut times = Vec::new();
    for _ in 0..50 {
        let start = Instant::now();
        assert_eq!(analytics.panes(&manifest, &simple("1"), &query).await.unwrap().panes.len(), 5);
        times.push(start.elapsed());
    }
    times.sort();
    println!("5 panes of one key out of 100,000: median {:?}, worst {:?}", times[25], times[49]);
    for _ in 0..3 {
        let start = Instant::now();
        let read = analytics.panes_between(&manifest, &simple("1"), Timestamp(0), Timestamp(5)).await.unwrap();
        println!("5 panes of each of 100,000 keys: {:?}", start.elapsed());
        assert_eq!(read.len(), 500_000);
    }
    let start = Instant::now();
    let page = PaneQuery { keys: KeySelector::All { after: None }, max_rows: 1_000, ..query };
    assert_eq!(analytics.panes(&manifest, &simple("1"), &page).await.unwrap().panes.len(), 1_000);
    println!("a page of 1,000 rows: {:?}", start.elapsed());
}
