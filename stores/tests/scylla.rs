//! The speed views on a real CQL server, which `TIDELINE_TEST_CQL` names (`host:port`), and the CQL that creates them.
//!
//! Every test has a keyspace of its own, dropped when it ends.
#![allow(clippy::unwrap_used)]

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::value::{CqlTimestamp, CqlValue, Row};
use tideline_common::key::Key;
use tideline_common::plan::Field;
use tideline_common::ports::{
    Flush, KeySelector, LookupRows, LookupSchema, PaneFlush, PaneQuery, PortError, Progress, SpeedViews, ViewSchema,
};
use tideline_common::position::Shard;
use tideline_common::state::{Input, MapColumn, Rule, StateBatch, StateColumn, StateField};
use tideline_common::time::{Span, Timestamp};
use tideline_common::value::{Type, Value};
use tideline_stores::conformance::{self, Fixture};
use tideline_stores::views::scylla::{self as adapter, ScyllaConfig, ScyllaViews};

/// Now, in tests that do not wait.
const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

/// How long a test waits for what is certain to come.
const SOON: Duration = Duration::from_mins(1);

/// The server, if the environment names one.
fn server(test: &str) -> Option<String> {
    let server = std::env::var("TIDELINE_TEST_CQL").ok().filter(|server| !server.is_empty());
    if server.is_none() {
        eprintln!("SKIPPED {test}: TIDELINE_TEST_CQL is not set");
    }
    server
}

/// A keyspace that no other test, nor another run of this one, has used.
fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let since = tideline_common::ports::Clock::now(&tideline_stores::clock::SystemClock).0;
    format!("test_{since}_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

fn config(server: &str, keyspace: &str) -> ScyllaConfig {
    // As in the contract: what is not wanted goes at once.
    ScyllaConfig {
        nodes: vec![server.to_owned()],
        keyspace: keyspace.to_owned(),
        drop_after: Span::ZERO,
        request_timeout: Duration::from_secs(30),
        ..ScyllaConfig::default()
    }
}

async fn session(server: &str) -> Session {
    SessionBuilder::new().known_node(server).build().await.unwrap()
}

/// Runs `test` with a server and a keyspace, which is dropped after, also when it fails.
async fn with_keyspace<F: Future<Output = ()> + Send + 'static>(name: &str, test: impl FnOnce(String, String) -> F) {
    let Some(server) = server(name) else { return };
    let keyspace = unique();
    let outcome = tokio::spawn(test(server.clone(), keyspace.clone())).await;
    drop_keyspaces(&server, &[keyspace]).await;
    if let Err(failed) = outcome {
        std::panic::resume_unwind(failed.into_panic());
    }
}

async fn drop_keyspaces(server: &str, keyspaces: &[String]) {
    let session = session(server).await;
    for keyspace in keyspaces {
        session.query_unpaged(format!("DROP KEYSPACE IF EXISTS {keyspace}"), ()).await.unwrap();
    }
}

/// An empty keyspace, opened again and again.
struct Keyspace {
    server: String,
    keyspace: String,
}

#[async_trait]
impl Fixture<dyn SpeedViews> for Keyspace {
    async fn open(&mut self) -> Arc<dyn SpeedViews> {
        Arc::new(ScyllaViews::connect(config(&self.server, &self.keyspace)).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_views_keep_the_contract() {
    let Some(server) = server("the_views_keep_the_contract") else { return };
    let keyspaces = Arc::new(Mutex::new(Vec::new()));
    let (made, at) = (keyspaces.clone(), server.clone());
    let suite = conformance::views::suite(move || {
        let keyspace = unique();
        made.lock().unwrap().push(keyspace.clone());
        Keyspace { server: at.clone(), keyspace }
    });
    let outcome = tokio::spawn(suite).await;
    let made = keyspaces.lock().unwrap().clone();
    drop_keyspaces(&server, &made).await;
    if let Err(failed) = outcome {
        std::panic::resume_unwind(failed.into_panic());
    }
}

fn field(name: &str, rule: Rule, ty: Type) -> StateField {
    StateField { name: name.to_owned(), rule, ty, input: Input::Value, table: "t".to_owned(), argument: None }
}

fn column(name: &str, ty: Type) -> Field {
    Field { name: name.to_owned(), ty }
}

/// A view of prices by symbol.
fn prices() -> ViewSchema {
    ViewSchema {
        name: "prices".to_owned(),
        version: "1".to_owned(),
        key: vec![column("symbol", Type::String)],
        fields: vec![
            field("trades__count", Rule::Sum, Type::Int),
            field("price__last", Rule::Last, Type::Float),
            field("price__max", Rule::Max, Type::Float),
            field("price__buckets", Rule::MapSum, Type::Int),
            field("side__counts", Rule::MapSum, Type::String),
        ],
        pane: Span::MINUTE,
        ttl: None,
    }
}

const fn pane(n: i64) -> Timestamp {
    Timestamp(1_389_096_000_000_000 + n * 60_000_000)
}

fn key(text: &str) -> Key {
    Key::of(&[Value::String(text.to_owned())])
}

/// One pane per (key, pane): `n` trades, the last and highest at `price`, null when there is none.
fn trades(rows: &[(&str, i64, i64, Option<f64>)]) -> StateBatch {
    let mut batch = StateBatch::new(&prices().fields);
    for (k, p, n, price) in rows {
        let at = batch.push_identity(key(k).as_bytes(), pane(*p));
        for column in &mut batch.states {
            match column {
                StateColumn::SumInt(v) => v[at] = *n,
                StateColumn::Max(tideline_common::column::Column::Float(v)) => v[at] = *price,
                StateColumn::Last(v) => {
                    if let (Some(_), tideline_common::column::Column::Float(values)) = (price, &mut v.values) {
                        values[at] = *price;
                        (v.times[at], v.sequences[at]) = (pane(*p).0 + 1_234_567, *n);
                    }
                }
                StateColumn::MapSum(MapColumn::Int(v)) => v[at] = vec![(-3, 1), (12, *n)],
                StateColumn::MapSum(MapColumn::Text(v)) => v[at] = vec![("buy".into(), *n)],
                _ => unreachable!("the fields of prices"),
            }
        }
    }
    batch
}

fn flush_of(view: ViewSchema, shard: u32, position: u64, panes: StateBatch) -> Flush {
    let late = StateBatch::new(&[field("late", Rule::Sum, Type::Int)]);
    Flush {
        shard: Shard::new("ticks", shard),
        panes: vec![PaneFlush { view, panes, late }],
        rows: Vec::new(),
        progress: Progress { position, written_at: NOW, ..Progress::default() },
    }
}

fn everything() -> PaneQuery {
    PaneQuery { keys: KeySelector::All { after: None }, from: Timestamp::MIN, to: Timestamp::MAX, max_rows: usize::MAX }
}

fn news() -> LookupSchema {
    LookupSchema {
        name: "news".to_owned(),
        version: "1".to_owned(),
        key: vec![column("symbol", Type::String)],
        columns: vec![column("text", Type::String), column("score", Type::Float)],
        limit: 3,
        ttl: Some(Span::HOUR),
    }
}

fn news_flush(position: u64, rows: &[(&Key, Timestamp, Option<f64>)]) -> Flush {
    let mut out = LookupRows::new(&news().columns);
    for (at, (key, time, score)) in rows.iter().enumerate() {
        out.keys.push(key.as_bytes());
        out.times.push(*time);
        out.sequences.push(at as i64);
        out.ordinals.push(0);
        out.columns[0].push(&Value::String(format!("row {at}")));
        out.columns[1].push(&score.map_or(Value::Null, Value::Float));
    }
    let progress = Progress { position, written_at: NOW, ..Progress::default() };
    Flush { shard: Shard::new("ticks", 0), panes: Vec::new(), rows: vec![(news(), out)], progress }
}

/// Rows of hand-written CQL.
async fn cql(server: &str, cql: String) -> Vec<Vec<Option<CqlValue>>> {
    let result = session(server).await.query_unpaged(cql, ()).await.unwrap();
    let rows = result.into_rows_result().unwrap();
    rows.rows::<Row>().unwrap().map(|row| row.unwrap().columns).collect()
}

async fn tables(server: &str, keyspace: &str) -> Vec<String> {
    let rows =
        cql(server, format!("SELECT table_name FROM system_schema.tables WHERE keyspace_name = '{keyspace}'")).await;
    let name = |row: &Vec<Option<CqlValue>>| row[0].as_ref().unwrap().as_text().unwrap().clone();
    rows.iter().map(name).filter(|name| !name.starts_with("tideline_")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_are_read_by_plain_cql() {
    with_keyspace("tables_are_read_by_plain_cql", |server, keyspace| async move {
        let views = ScyllaViews::connect(config(&server, &keyspace)).unwrap();
        let panes = trades(&[("TSLA", 0, 5, Some(12.5)), ("TSLA", 1, 7, None), ("AAPL", 0, 1, Some(1.0))]);
        views.write(&flush_of(prices(), 3, 40, panes), NOW).await.unwrap();
        let time = Timestamp(1_389_096_061_000_001);
        views
            .write(&news_flush(50, &[(&key("TSLA"), time, Some(0.25)), (&key("TSLA"), pane(0), None)]), NOW)
            .await
            .unwrap();

        let what = "pane_start, shard, trades__count, price__last, price__last_time, price__last_time_us, \
                    price__last_sequence, price__max, price__buckets, side__counts, WRITETIME(trades__count)";
        let rows = cql(&server, format!("SELECT {what} FROM {keyspace}.prices_panes WHERE symbol = 'TSLA'")).await;
        let map = |entries: Vec<(CqlValue, i64)>| {
            Some(CqlValue::Map(entries.into_iter().map(|(k, n)| (k, CqlValue::BigInt(n))).collect()))
        };
        let (text, big) = (|s: &str| Some(CqlValue::Text(s.to_owned())), |n| Some(CqlValue::BigInt(n)));
        let at = |micros: i64| Some(CqlValue::Timestamp(CqlTimestamp(micros / 1_000)));
        let maps = |n| {
            [
                map(vec![(CqlValue::Int(-3), 1), (CqlValue::Int(12), n)]),
                map(vec![(CqlValue::Text("buy".to_owned()), n)]),
            ]
        };
        let mut newest = vec![at(pane(1).0), text("ticks/3"), big(7), None, None, None, None, None];
        newest.extend(maps(7).into_iter().chain([big(pane(1).0 + 40)]));
        let double = |x| Some(CqlValue::Double(x));
        let mut oldest = vec![at(pane(0).0), text("ticks/3"), big(5), double(12.5), at(pane(0).0 + 1_234_000)];
        oldest.extend([Some(CqlValue::SmallInt(567)), big(5), double(12.5)]);
        oldest.extend(maps(5).into_iter().chain([big(pane(0).0 + 40)]));
        assert_eq!(rows, [newest, oldest], "the newest pane first");

        let of_pane = "WHERE pane_start = '2014-01-07 12:00:00Z' AND shard = 'ticks/3'";
        let rows = cql(&server, format!("SELECT symbol, trades__count FROM {keyspace}.prices_by_pane {of_pane}")).await;
        assert_eq!(rows, [vec![text("AAPL"), big(1)], vec![text("TSLA"), big(5)]]);

        let what = "event_time, event_time_us, text, score";
        let rows = cql(&server, format!("SELECT {what} FROM {keyspace}.news WHERE symbol = 'TSLA'")).await;
        let small = |n| Some(CqlValue::SmallInt(n));
        let first = vec![at(time.0), small(1), text("row 0"), double(0.25)];
        assert_eq!(rows, [first, vec![at(pane(0).0), small(0), text("row 1"), None]]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zombie_changes_nothing() {
    with_keyspace("a_zombie_changes_nothing", |server, keyspace| async move {
        let (ours, zombie) = (
            ScyllaViews::connect(config(&server, &keyspace)).unwrap(),
            ScyllaViews::connect(config(&server, &keyspace)).unwrap(),
        );
        let view = prices();
        let of =
            |position: u64, price| flush_of(view.clone(), 0, position, trades(&[("a", 0, position as i64, price)]));
        zombie.write(&of(10, Some(1.0)), NOW).await.unwrap();
        ours.write(&of(20, None), NOW).await.unwrap();
        // It wakes up, later by the clock, and repeats itself.
        let later = NOW.plus(Span::HOUR);
        zombie.write(&of(10, Some(1.0)), later).await.unwrap();
        zombie.write(&of(15, Some(1.5)), later).await.unwrap();
        let expected = trades(&[("a", 0, 20, None)]);
        assert_eq!(ours.panes(&view, &everything(), later).await.unwrap().panes, expected, "also where it is null");
        let one = PaneQuery { keys: KeySelector::One(key("a")), ..everything() };
        assert_eq!(zombie.panes(&view, &one, later).await.unwrap().panes, expected);
        assert_eq!(zombie.progress().await.unwrap()[0].1.position, 20);
        // Both at once: whatever order the server sees, the highest position stays.
        let writers = (21..60).map(|position| {
            let (views, flush) =
                (if position % 2 == 0 { ours.clone() } else { zombie.clone() }, of(position, Some(2.0)));
            tokio::spawn(async move { views.write(&flush, NOW).await.unwrap() })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        let expected = trades(&[("a", 0, 59, Some(2.0))]);
        assert_eq!(ours.panes(&view, &one, later).await.unwrap().panes, expected);
        assert_eq!(ours.panes(&view, &everything(), later).await.unwrap().panes, expected);
        assert_eq!(ours.progress().await.unwrap()[0].1.position, 59);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_drops_what_is_over() {
    with_keyspace("the_server_drops_what_is_over", |server, keyspace| async move {
        let views = ScyllaViews::connect(config(&server, &keyspace)).unwrap();
        let of = |name: &str, ttl| ViewSchema { name: name.to_owned(), ttl, ..prices() };
        let (short, long, ever) = (
            of("short", Some(Span::SECOND)),
            of("long", Some(Span::DAY)),
            of("ever", Some(Span(Span::DAY.0 * 10_000))),
        );
        for view in [&short, &long, &ever] {
            views.write(&flush_of(view.clone(), 0, 1, trades(&[("a", 0, 1, None)])), NOW).await.unwrap();
        }
        for table in ["panes", "by_pane"] {
            let ttl = cql(&server, format!("SELECT TTL(trades__count) FROM {keyspace}.long_{table}")).await;
            let Some(CqlValue::Int(left)) = ttl[0][0] else { panic!("{ttl:?}") };
            assert!((86_000..=86_401).contains(&left), "{left}");
            let ttl = cql(&server, format!("SELECT TTL(trades__count) FROM {keyspace}.ever_{table}")).await;
            assert_eq!(ttl, [[None]], "longer than servers know: for ever");
        }
        let start = Instant::now();
        for table in ["panes", "by_pane"] {
            while !cql(&server, format!("SELECT * FROM {keyspace}.short_{table}")).await.is_empty() {
                assert!(start.elapsed() < SOON, "rows whose time is over are still there");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        assert_eq!(views.newest_pane(&short, NOW).await.unwrap(), None);
        assert_eq!(views.newest_pane(&long, NOW).await.unwrap(), Some(pane(0)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_live_side_by_side_until_nobody_uses_one() {
    with_keyspace("versions_live_side_by_side_until_nobody_uses_one", |server, keyspace| async move {
        let config = ScyllaConfig { drop_after: Span::HOUR, ..config(&server, &keyspace) };
        let (views, other) = (ScyllaViews::connect(config.clone()).unwrap(), ScyllaViews::connect(config).unwrap());
        let second = ViewSchema { version: "2".to_owned(), ..prices() };
        let write = |view: &ViewSchema, n| flush_of(view.clone(), 0, 1, trades(&[("a", 0, n, None)]));
        views.write(&write(&prices(), 1), NOW).await.unwrap();
        views.write(&write(&second, 2), NOW).await.unwrap();
        let old = ["prices_by_pane", "prices_late", "prices_panes"];
        let new = ["prices_v2_by_pane", "prices_v2_late", "prices_v2_panes"];
        assert_eq!(tables(&server, &keyspace).await, [&old[..], &new[..]].concat());
        let minutes = |n: i64| NOW.plus(Span(Span::MINUTE.0 * n));
        let wanted = std::slice::from_ref(&second);
        // Another process still runs the old version.
        other.write(&write(&prices(), 1), minutes(30)).await.unwrap();
        assert_eq!(views.expire(wanted, &[], minutes(89)).await.unwrap(), 0, "used an hour ago at most");
        assert_eq!(tables(&server, &keyspace).await.len(), 6);
        let both = tokio::join!(views.expire(wanted, &[], minutes(91)), other.expire(wanted, &[], minutes(91)));
        assert!(both.0.unwrap() + both.1.unwrap() >= 1);
        assert_eq!(tables(&server, &keyspace).await, new);
        // It wakes up once more: it gets tables of its own, and harms nobody.
        other.write(&write(&prices(), 3), minutes(92)).await.unwrap();
        let of = |view: ViewSchema| {
            let views = views.clone();
            async move { views.panes(&view, &everything(), minutes(92)).await.unwrap().panes }
        };
        assert_eq!(of(prices()).await, trades(&[("a", 0, 3, None)]));
        assert_eq!(of(second).await, trades(&[("a", 0, 2, None)]));
        assert!(
            tables(&server, &keyspace).await.contains(&"prices_v3_panes".to_owned()),
            "a name is never given twice"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_processes_agree_on_the_tables() {
    with_keyspace("many_processes_agree_on_the_tables", |server, keyspace| async move {
        let mut starts = Vec::new();
        for shard in 0..6 {
            let views = ScyllaViews::connect(config(&server, &keyspace)).unwrap();
            starts.push(tokio::spawn(async move {
                if shard == 0 {
                    views.migrate(&[prices()], &[news()]).await.unwrap();
                }
                let panes = trades(&[("a", 0, i64::from(shard), None)]);
                views.write(&flush_of(prices(), shard, 1, panes), NOW).await.unwrap();
            }));
        }
        for start in starts {
            start.await.unwrap();
        }
        let views = ScyllaViews::connect(config(&server, &keyspace)).unwrap();
        let rows: Vec<_> = (0..6).map(|n| ("a", 0, n, None)).collect();
        assert_eq!(views.panes(&prices(), &everything(), NOW).await.unwrap().panes, trades(&rows));
        assert_eq!(tables(&server, &keyspace).await, ["news", "prices_by_pane", "prices_late", "prices_panes"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_add_what_is_missing_and_refuse_what_is_another() {
    with_keyspace("migrations_add_what_is_missing_and_refuse_what_is_another", |server, keyspace| async move {
        let strict = ScyllaConfig { create: false, ..config(&server, &keyspace) };
        let views = ScyllaViews::connect(strict).unwrap();
        let flush = flush_of(prices(), 0, 1, trades(&[("a", 0, 1, Some(2.0))]));
        let error = views.write(&flush, NOW).await.unwrap_err();
        assert!(
            matches!(error, PortError::Invalid { .. }) && error.to_string().contains("tideline migrate"),
            "{error}"
        );
        views.migrate(&[prices()], &[]).await.unwrap();
        views.migrate(&[prices()], &[]).await.unwrap();
        views.write(&flush, NOW).await.unwrap();
        let error = views.write(&news_flush(2, &[(&key("a"), NOW, None)]), NOW).await.unwrap_err();
        assert!(error.to_string().contains("tideline migrate"), "{error}");

        // A column that another release did not know: a table that never had it.
        let session = &session(&server).await;
        let run = |cql: String| async move { session.query_unpaged(cql, ()).await.unwrap() };
        let described = run(format!("DESCRIBE TABLE {keyspace}.prices_panes")).await.into_rows_result().unwrap();
        let Some(CqlValue::Text(create)) = described.rows::<Row>().unwrap().next().unwrap().unwrap().columns.remove(3)
        else {
            panic!("no statement that creates the table")
        };
        let older = create.replace("    price__max double,\n", "");
        assert_ne!(older, create);
        run(format!("DROP TABLE {keyspace}.prices_panes")).await;
        run(older).await;
        views.migrate(&[prices()], &[]).await.unwrap();
        let again = ScyllaViews::connect(config(&server, &keyspace)).unwrap();
        again.write(&flush_of(prices(), 0, 2, trades(&[("a", 0, 2, Some(3.0))])), NOW).await.unwrap();
        let one = PaneQuery { keys: KeySelector::One(key("a")), ..everything() };
        assert_eq!(again.panes(&prices(), &one, NOW).await.unwrap().panes, trades(&[("a", 0, 2, Some(3.0))]));

        // A column that was dropped: added again it would hide what is written of panes from before, and say nothing.
        run(format!("ALTER TABLE {keyspace}.prices_panes DROP price__max")).await;
        for added_again in [false, true] {
            if added_again {
                run(format!("ALTER TABLE {keyspace}.prices_panes ADD price__max double")).await;
            }
            let error = views.migrate(&[prices()], &[]).await.unwrap_err();
            assert!(matches!(error, PortError::Invalid { .. }), "{error:?}");
            assert!(error.to_string().contains("its column price__max was dropped once"), "{error}");
        }

        // A table of somebody else.
        let theirs = format!("CREATE TABLE {keyspace}.news (id int PRIMARY KEY, text text)");
        session.query_unpaged(theirs, ()).await.unwrap();
        let error = again.migrate(&[], &[news()]).await.unwrap_err();
        assert!(matches!(error, PortError::Invalid { .. }), "{error:?}");
        assert!(error.to_string().contains(&format!("table {keyspace}.news: its primary key is (id int)")), "{error}");

        // Tables that were dropped by hand are made anew by who writes.
        session.query_unpaged(format!("DROP TABLE {keyspace}.prices_panes"), ()).await.unwrap();
        again.write(&flush_of(prices(), 0, 3, trades(&[("a", 0, 3, None)])), NOW).await.unwrap();
        assert_eq!(again.panes(&prices(), &one, NOW).await.unwrap().panes, trades(&[("a", 0, 3, None)]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_cql_reserves_are_names() {
    with_keyspace("names_that_cql_reserves_are_names", |server, keyspace| async move {
        let views = ScyllaViews::connect(config(&server, &keyspace)).unwrap();
        let long = format!("Table{}", "x".repeat(120));
        let mut view = ViewSchema { name: long, key: vec![column("Select", Type::String)], ..prices() };
        view.fields[0].name = "Order".to_owned();
        view.fields[1].name = "token".to_owned();
        let panes = trades(&[("a", 0, 1, Some(2.0))]);
        let mut flush = flush_of(view.clone(), 0, 1, panes.clone());
        let mut lookup = news();
        lookup.name = "select".to_owned();
        lookup.key[0].name = "event_time".to_owned();
        lookup.columns[0].name = "sequence".to_owned();
        lookup.columns[1].name = "KEY".to_owned();
        let rows = news_flush(1, &[(&key("a"), NOW, Some(0.5))]).rows.remove(0).1;
        flush.rows.push((lookup.clone(), rows.clone()));
        views.write(&flush, NOW).await.unwrap();
        assert_eq!(views.panes(&view, &everything(), NOW).await.unwrap().panes, panes);
        let one = PaneQuery { keys: KeySelector::One(key("a")), ..everything() };
        assert_eq!(views.panes(&view, &one, NOW).await.unwrap().panes, panes);
        assert_eq!(views.rows(&lookup, &key("a"), 9, NOW).await.unwrap(), rows);
        let read =
            cql(&server, format!("SELECT \"KEY\", sequence FROM {keyspace}.\"select\" WHERE event_time = 'a'")).await;
        assert_eq!(read, [[Some(CqlValue::Double(0.5)), Some(CqlValue::Text("row 0".to_owned()))]]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_cql_has_not_are_keys() {
    with_keyspace("keys_that_cql_has_not_are_keys", |server, keyspace| async move {
        let views = ScyllaViews::connect(config(&server, &keyspace)).unwrap();
        let long = "x".repeat(20_000);
        let texts =
            [None, Some(""), Some("\0"), Some("(empty)"), Some("(null)"), Some(&long[..]), Some(&long[..19_999])];
        let keys: Vec<Key> =
            texts.iter().map(|t| Key::of(&[t.map_or(Value::Null, |t| Value::String(t.to_owned()))])).collect();
        let mut sorted = keys.clone();
        sorted.sort();
        let batch = |keys: &[Key]| {
            let mut batch = StateBatch::new(&prices().fields);
            for key in keys {
                batch.push_identity(key.as_bytes(), pane(0));
            }
            batch
        };
        let mut flush = flush_of(prices(), 0, 1, batch(&keys));
        let rows: Vec<_> = keys.iter().map(|key| (key, NOW, Some(1.0))).collect();
        flush.rows = news_flush(1, &rows).rows;
        views.write(&flush, NOW).await.unwrap();
        assert_eq!(views.panes(&prices(), &everything(), NOW).await.unwrap().panes, batch(&sorted));
        for (at, key) in keys.iter().enumerate() {
            let one = PaneQuery { keys: KeySelector::One(key.clone()), ..everything() };
            let one = views.panes(&prices(), &one, NOW).await.unwrap().panes;
            assert_eq!(one, batch(std::slice::from_ref(key)), "{at}");
            let rows = views.rows(&news(), key, 9, NOW).await.unwrap();
            assert_eq!((rows.len(), rows.sequences[0]), (1, at as i64));
        }
        // No key columns at all.
        let all = ViewSchema { name: "all".to_owned(), key: Vec::new(), ..prices() };
        let panes = batch(&[Key::default()]);
        views.write(&flush_of(all.clone(), 0, 1, panes.clone()), NOW).await.unwrap();
        assert_eq!(views.panes(&all, &everything(), NOW).await.unwrap().panes, panes);
        let one = PaneQuery { keys: KeySelector::One(Key::default()), ..everything() };
        assert_eq!(views.panes(&all, &one, NOW).await.unwrap().panes, panes);
        let read = cql(&server, format!("SELECT trades__count FROM {keyspace}.all_panes WHERE all_keys = true")).await;
        assert_eq!(read, [[Some(CqlValue::BigInt(0))]]);
        // Numbers and times, of which null is none.
        let typed = ViewSchema {
            name: "typed".to_owned(),
            key: vec![
                column("n", Type::Int),
                column("t", Type::Timestamp),
                column("b", Type::Bool),
                column("x", Type::Float),
            ],
            ..prices()
        };
        let of = |n, t, b, x| Key::of(&[n, t, b, x]);
        let mut keys = vec![of(Value::Null, Value::Null, Value::Null, Value::Null)];
        keys.push(of(Value::Int(i64::MIN), Value::Null, Value::Bool(false), Value::Float(f64::MIN)));
        keys.push(of(Value::Int(0), Value::Timestamp(Timestamp(1_001)), Value::Bool(false), Value::Float(f64::NAN)));
        keys.push(of(Value::Int(0), Value::Timestamp(Timestamp(1_002)), Value::Bool(true), Value::Float(-0.0)));
        keys.sort();
        views.write(&flush_of(typed.clone(), 0, 1, batch(&keys)), NOW).await.unwrap();
        assert_eq!(views.panes(&typed, &everything(), NOW).await.unwrap().panes, batch(&keys));
        for key in keys {
            let one = PaneQuery { keys: KeySelector::One(key.clone()), ..everything() };
            let one = views.panes(&typed, &one, NOW).await.unwrap().panes;
            assert_eq!(one, batch(&[key]));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_in_the_order_of_keys_over_shards_and_panes() {
    with_keyspace("pages_are_in_the_order_of_keys_over_shards_and_panes", |server, keyspace| async move {
        // Answers of five rows, so that every partition has several; flushes in batches of a few rows.
        let small = ScyllaConfig { page_rows: 5, batch_rows: 7, read_concurrency: 3, ..config(&server, &keyspace) };
        let views = ScyllaViews::connect(small).unwrap();
        let names: Vec<String> = (0..60).map(|n| format!("{:03}", n * 37 % 60)).collect();
        let mut expected: Vec<(&str, i64, u32)> = Vec::new();
        for shard in 0..3 {
            let mut rows = Vec::new();
            for (n, name) in names.iter().enumerate() {
                for p in 0..4 {
                    if (n as i64 + p + i64::from(shard)) % 3 != 0 {
                        rows.push((name.as_str(), p, i64::from(shard), None));
                        expected.push((name, p, shard));
                    }
                }
            }
            views.write(&flush_of(prices(), shard, 1, trades(&rows)), NOW).await.unwrap();
        }
        expected.sort_unstable();
        let rows: Vec<_> = expected.iter().map(|(k, p, shard)| (*k, *p, i64::from(*shard), None)).collect();
        let whole = trades(&rows);
        assert_eq!(views.panes(&prices(), &everything(), NOW).await.unwrap().panes, whole);
        assert_eq!(views.panes_between(&prices(), pane(0), pane(9), NOW).await.unwrap(), whole);
        for max_rows in [1, 10, 100] {
            let mut paged = StateBatch::new(&prices().fields);
            let mut after = None;
            loop {
                let query = PaneQuery { keys: KeySelector::All { after: after.take() }, max_rows, ..everything() };
                let page = views.panes(&prices(), &query, NOW).await.unwrap();
                let keys: std::collections::BTreeSet<_> = page.panes.keys.iter().map(<[u8]>::to_vec).collect();
                // With the last key left out, it is short of the rows that were asked for.
                let last = keys.last().unwrap();
                let before = page.panes.keys.iter().filter(|key| key != last).count();
                assert!(before < max_rows, "{before} rows without the last key of a page of {max_rows}");
                for row in 0..page.panes.len() {
                    paged.push_from(&page.panes, row);
                }
                after = page.more_after;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(paged, whole);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushes_larger_than_a_batch_may_be() {
    with_keyspace("flushes_larger_than_a_batch_may_be", |server, keyspace| async move {
        let views = ScyllaViews::connect(config(&server, &keyspace)).unwrap();
        // A pane of 3,000 keys: beyond the 50 KiB at which Cassandra refuses batches over several partitions.
        let names: Vec<String> = (0..3_000).map(|n| format!("{n:04} {}", "y".repeat(50))).collect();
        let rows: Vec<_> = names.iter().map(|name| (name.as_str(), 0, 1, Some(1.0))).collect();
        let panes = trades(&rows);
        views.write(&flush_of(prices(), 0, 1, panes.clone()), NOW).await.unwrap();
        assert_eq!(views.panes_between(&prices(), pane(0), pane(1), NOW).await.unwrap(), panes);
        // One row of 300 KB, and a hundred rows of a lookup of 20 KB each.
        let mut large = trades(&[("large", 1, 1, None)]);
        let StateColumn::MapSum(MapColumn::Text(v)) = &mut large.states[4] else { unreachable!("a map") };
        v[0] = (0..3_000).map(|n| (format!("{n:05} {}", "z".repeat(80)).into(), n)).collect();
        let mut flush = flush_of(prices(), 0, 2, large.clone());
        let mut lookup = news();
        lookup.limit = 100;
        let mut rows = LookupRows::new(&lookup.columns);
        for n in (0..100).rev() {
            rows.keys.push(key("a").as_bytes());
            rows.times.push(Timestamp(NOW.0 + n));
            rows.sequences.push(n);
            rows.ordinals.push(0);
            rows.columns[0].push(&Value::String("w".repeat(20_000)));
            rows.columns[1].push(&Value::Null);
        }
        flush.rows.push((lookup.clone(), rows.clone()));
        views.write(&flush, NOW).await.unwrap();
        assert_eq!(views.panes_between(&prices(), pane(1), pane(2), NOW).await.unwrap(), large);
        assert_eq!(views.rows(&lookup, &key("a"), 100, NOW).await.unwrap(), rows);
    })
    .await;
}

/// Counts what the driver passes on of the server's warnings.
struct Warnings(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN && metadata.target().starts_with("scylla")
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        use std::fmt::Write as _;

        struct Text(String);
        impl tracing::field::Visit for Text {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                write!(self.0, "{field}: {value:?} ").unwrap();
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

// One thread: the subscriber is that of the thread, and the driver's tasks have to run on it.
#[tokio::test]
async fn the_server_has_nothing_to_say_about_batches() {
    let Some(server) = server("the_server_has_nothing_to_say_about_batches") else { return };
    let keyspace = unique();
    let said = Arc::new(Mutex::new(Vec::new()));
    {
        let _guard = tracing::subscriber::set_default(Warnings(said.clone()));
        let written = async |config: ScyllaConfig, position: u64| {
            let views = ScyllaViews::connect(config).unwrap();
            // Partitions of all sizes from a few cells up to what is too much for a batch with others; many rows in one.
            let names: Vec<String> = (0..400).map(|n| format!("{n:04} {}", "y".repeat(n * 15))).collect();
            let rows: Vec<_> = names.iter().map(|name| (name.as_str(), 0, 1, Some(1.0))).collect();
            let mut flush = flush_of(prices(), 0, position, trades(&rows));
            let keys: Vec<Key> = (0..1_000).map(|n| key(&n.to_string())).collect();
            let rows: Vec<_> = keys.iter().map(|key| (key, NOW, (position == 1).then_some(1.0))).collect();
            flush.rows = news_flush(position, &rows).rows;
            views.write(&flush, NOW).await.unwrap();
        };
        written(config(&server, &keyspace), 1).await;
        assert_eq!(*said.lock().unwrap(), Vec::<String>::new());
        // The server does say so: of batches over as many partitions and bytes as it refuses not yet.
        let large =
            ScyllaConfig { batch_partitions: 40, batch_partitions_bytes: 40 << 10, ..config(&server, &keyspace) };
        written(large, 2).await;
    }
    drop_keyspaces(&server, &[keyspace]).await;
    let said = said.lock().unwrap();
    assert!(said.iter().any(|warning| warning.contains("Batch")), "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hot_keys_of_lookups_are_trimmed() {
    with_keyspace("hot_keys_of_lookups_are_trimmed", |server, keyspace| async move {
        let views = ScyllaViews::connect(config(&server, &keyspace)).unwrap();
        let (hot, cold) = (key("hot"), key("cold"));
        for n in 0..10 {
            let at = Timestamp(NOW.0 + n * 1_500);
            views.write(&news_flush(n as u64, &[(&hot, at, None)]), NOW).await.unwrap();
        }
        views.write(&news_flush(10, &[(&cold, NOW, None)]), NOW).await.unwrap();
        let count = |key: &'static str| {
            let cql = cql(&server, format!("SELECT event_time FROM {keyspace}.news WHERE symbol = '{key}'"));
            async move { cql.await.len() }
        };
        assert_eq!(count("hot").await, 10);
        assert_eq!(views.expire(&[], &[news()], NOW).await.unwrap(), 1, "one key");
        assert_eq!((count("hot").await, count("cold").await), (3, 1));
        assert_eq!(views.expire(&[], &[news()], NOW).await.unwrap(), 0, "it was not written since");
        // What was trimmed does not come back with a replay; what is newer does come.
        views.write(&news_flush(0, &[(&hot, NOW, None)]), NOW).await.unwrap();
        assert_eq!(count("hot").await, 3);
        views.write(&news_flush(11, &[(&hot, Timestamp(NOW.0 + 60_000), None)]), NOW).await.unwrap();
        let times: Vec<i64> =
            views.rows(&news(), &hot, 9, NOW).await.unwrap().times.iter().map(|time| time.0 - NOW.0).collect();
        assert_eq!(times, [60_000, 13_500, 12_000]);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_down_is_unavailable() {
    // Nobody listens on a port that was just given back.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config =
        ScyllaConfig { connect_timeout: Duration::from_secs(2), ..config(&format!("127.0.0.1:{port}"), "nowhere") };
    let views = ScyllaViews::connect(config).unwrap();
    for _ in 0..2 {
        let error = views.progress().await.unwrap_err();
        assert!(error.is_retryable(), "{error:?}");
    }
    let error = views.write(&flush_of(prices(), 0, 1, trades(&[("a", 0, 1, None)])), NOW).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    assert!(ScyllaViews::connect(ScyllaConfig { nodes: Vec::new(), ..ScyllaConfig::default() }).is_err());
}

/// `TIDELINE_WRITE_SCHEMA=1` writes the files.
#[test]
fn the_committed_cql_is_the_generated_one() {
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/../schema");
    let mut pipelines: Vec<_> =
        std::fs::read_dir(format!("{schema}/pipelines")).unwrap().map(|entry| entry.unwrap().path()).collect();
    pipelines.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    pipelines.sort();
    assert!(!pipelines.is_empty());
    for path in pipelines {
        let text = std::fs::read_to_string(&path).unwrap();
        let file = path.file_name().unwrap().to_str().unwrap();
        let plan = tideline_common::plan::load(file, &text, &|_| None, &tideline_transform::SqlTypes).unwrap();
        let statements = adapter::ddl(&plan, &ScyllaConfig::default());
        let head = format!(
            "-- Tables of pipeline {} on Scylla or Cassandra. Generated: see stores/tests/scylla.rs.\n",
            plan.name
        );
        let generated = format!("{head}\n{};\n", statements.join(";\n\n"));
        let committed = format!("{schema}/cql/{}.cql", path.file_stem().unwrap().to_str().unwrap());
        if std::env::var_os("TIDELINE_WRITE_SCHEMA").is_some() {
            std::fs::create_dir_all(format!("{schema}/cql")).unwrap();
            std::fs::write(&committed, &generated).unwrap();
        }
        let there = std::fs::read_to_string(&committed).unwrap_or_default();
        assert!(there == generated, "run the test once with TIDELINE_WRITE_SCHEMA=1 and commit {committed}");
    }
}
