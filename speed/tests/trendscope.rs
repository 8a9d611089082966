//! The pipeline of trending movies, through the speed layer and the closing of its windows, against the golden folder
//! that plain Python has computed.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value as Json};
use support::World;
use support::closing::{COUNTS, Receiver, config};
use support::faults::Faults;
use tideline_common::plan;
use tideline_common::time::{Span, Timestamp};
use tideline_transform::SqlTypes;

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/trendscope"))
}

fn lines(path: &str) -> Vec<Bytes> {
    let bytes = Bytes::from(std::fs::read(folder().join(path)).unwrap());
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(|line| bytes.slice_ref(line)).collect()
}

/// (title, start of the window) → columns.
type Rows = BTreeMap<(String, String), Map<String, Json>>;

fn row(title: &Json, mut columns: Map<String, Json>) -> ((String, String), Map<String, Json>) {
    let start = columns.remove("window_start").unwrap();
    columns.remove("window_end").unwrap();
    ((title.as_str().unwrap().to_owned(), start.as_str().unwrap().to_owned()), columns)
}

/// The rows of a file that Python has computed.
fn computed(path: &str) -> Rows {
    let parse = |line: &Bytes| {
        let mut columns: Map<String, Json> = serde_json::from_slice(line).unwrap();
        let key = columns.remove("key").unwrap();
        row(&key["movie_title"], columns)
    };
    lines(path).iter().map(parse).collect()
}

fn found(world: &World) -> Rows {
    let mut rows = Rows::new();
    for record in world.log.records("trend_stream") {
        let mut columns: Map<String, Json> = serde_json::from_slice(&record.payload).unwrap();
        let title = columns.remove("movie_title").unwrap();
        assert_eq!(record.key.as_deref(), title.as_str().map(str::as_bytes), "keyed by title");
        let (key, columns) = row(&title, columns);
        assert!(rows.insert(key, columns).is_none(), "nothing was killed, and nothing is there twice");
    }
    rows
}

fn same(a: &Json, b: &Json) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1e-3),
        _ => a == b,
    }
}

/// (title, start) → (score of the window before, score of this one).
type Spikes = BTreeMap<(String, String), (f64, f64)>;

/// Of the windows `closed`, by the rows that Python has computed: those whose score is more than `by` times the one of the
/// window before, and those where only a poll was missing before.
fn spikes(by: f64, closed: &Rows) -> (Spikes, Vec<(String, String)>) {
    let rows = computed("expected/movie_trends.ndjson");
    let (mut spikes, mut polls) = (Spikes::new(), Vec::new());
    for key in closed.keys() {
        let before = Timestamp::parse(&key.1).unwrap().minus(Span::MINUTE).to_string();
        let (now, Some(before)) = (&rows[key], rows.get(&(key.0.clone(), before))) else { continue };
        let scores = (before["trend_score"].as_f64().unwrap(), now["trend_score"].as_f64().unwrap());
        if scores.1 <= by * scores.0 || now["mentions_count"].as_i64().unwrap() < 3 {
            continue;
        }
        if now["tmdb_popularity"].is_null() || !before["tmdb_popularity"].is_null() {
            spikes.insert(key.clone(), scores);
        } else {
            polls.push(key.clone());
        }
    }
    (spikes, polls)
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_windows_are_the_rows_that_python_computes() {
    let text = include_str!("../../schema/pipelines/trendscope.toml");
    // These streams have no movie whose score rises by half without its poll; by a twentieth, some do.
    let often = text.replace("trend_score > 1.5 *", "trend_score > 1.05 *");
    assert_ne!(often, text);
    let plan = plan::load("trendscope.toml", &often, &|_| None, &SqlTypes).unwrap();
    let world = World::default();
    let appended = Timestamp::parse("2024-05-07T00:00:00Z").unwrap();
    for topic in ["tmdb_stream", "reddit_stream"] {
        world.log.create(topic, 1);
        world.log.push(topic, 0, &lines(&format!("input/{topic}.ndjson")), appended);
    }
    world.log.create(COUNTS, 1);
    let receiver = Arc::new(Receiver::default());
    let close = world.close(&plan, config(), &receiver, &Faults::none()).await;
    let speed = world.start(&plan, support::config(), &Faults::none()).await;
    speed.handle.seal().await.unwrap();
    let expected = computed("expected/outputs/trend_stream.ndjson");
    // Both streams have come to 21:00 or shortly before: less 10 minutes, and 4 that windows settle.
    let (mut wanted, mut rows) = (Rows::new(), Rows::new());
    for _ in 0..4_000 {
        close.handle.look().await.unwrap();
        let statuses = close.handle.status();
        let through = statuses.first().and_then(|status| status.through).filter(|_| statuses[0].lag() == 0);
        let is_closed = |start: &str| through.is_some_and(|through| Timestamp::parse(start).unwrap() < through);
        wanted =
            expected.iter().filter(|((_, start), _)| is_closed(start)).map(|(k, v)| (k.clone(), v.clone())).collect();
        rows = found(&world);
        if wanted.len() > 300 && rows.len() == wanted.len() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(wanted.len() > 300, "{} windows have closed: {:?}", wanted.len(), close.handle.status());
    assert_eq!(rows.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
    for (key, columns) in &wanted {
        let have = &rows[key];
        assert_eq!(have.keys().collect::<Vec<_>>(), columns.keys().collect::<Vec<_>>());
        for (name, value) in columns {
            assert!(same(value, &have[name]), "{key:?} {name}: expected {value}, found {}", have[name]);
        }
    }
    // Spikes are told, each once, with the window before; a poll that is back is none.
    let score = |columns: &Map<String, Json>| columns["trend_score"].as_f64().unwrap();
    let mut told = BTreeMap::new();
    for record in world.log.records(tideline_common::alert::TOPIC) {
        let event = tideline_common::alert::AlertEvent::from_json(&record.payload).unwrap();
        let key = (event.key["movie_title"].as_str().unwrap().to_owned(), event.window_start.clone());
        let scores = (score(event.previous.as_ref().unwrap()), score(&event.columns));
        assert!(told.insert(key, scores).is_none(), "{event:?}");
    }
    let (spikes, polls) = spikes(1.05, &wanted);
    assert!(spikes.len() > 10 && !polls.is_empty(), "{} {}", spikes.len(), polls.len());
    assert_eq!(told.keys().collect::<Vec<_>>(), spikes.keys().collect::<Vec<_>>());
    for (key, (before, now)) in &told {
        let (b, n) = spikes[key];
        assert!(same(&b.into(), &(*before).into()) && same(&n.into(), &(*now).into()), "{key:?}");
    }
    assert!(polls.iter().all(|key| !told.contains_key(key)));
    speed.end().await;
    close.end().await;
}
