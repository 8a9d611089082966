//! What is particular to the embedded views; what every store must do is in the conformance suite.
#![allow(clippy::unwrap_used)]

use std::time::Instant;

use tideline_common::ports::{KeySelector, PaneFlush};
use tideline_common::state::StateColumn;
use tideline_common::time::Span;
use tideline_common::value::Value;

use super::*;

const ROOM: EmbeddedViewsConfig = EmbeddedViewsConfig { reserve_bytes: 0, cache_bytes: 16 << 20 };

fn view() -> ViewSchema {
    ViewSchema {
        name: "v".to_owned(),
        version: "1".to_owned(),
        key: Vec::new(),
        fields: late_fields(),
        pane: Span::MINUTE,
        ttl: None,
    }
}

fn batch(rows: impl Iterator<Item = (Key, i64, i64)>) -> StateBatch {
    let mut batch = StateBatch::new(&late_fields());
    for (key, pane, n) in rows {
        let row = batch.push_identity(key.as_bytes(), Timestamp(pane));
        if let StateColumn::SumInt(v) = &mut batch.states[0] {
            v[row] = n;
        }
    }
    batch
}

fn flush(position: u64, panes: StateBatch) -> Flush {
    Flush {
        shard: Shard::new("s", 0),
        panes: vec![PaneFlush { view: view(), panes, late: StateBatch::new(&late_fields()) }],
        rows: Vec::new(),
        progress: Progress { position, ..Progress::default() },
    }
}

fn everything() -> PaneQuery {
    PaneQuery { keys: KeySelector::All { after: None }, from: Timestamp::MIN, to: Timestamp::MAX, max_rows: usize::MAX }
}

fn key(n: i64) -> Key {
    Key::of(&[Value::Int(n)])
}

#[tokio::test]
async fn a_damaged_state_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let views = EmbeddedViews::open(folder.path(), ROOM).unwrap();
    views.write(&flush(1, batch([(key(7), 60, 1)].into_iter())), Timestamp(0)).await.unwrap();
    let entry = views.inner.panes.iter().next().unwrap();
    let (at, value) = entry.into_inner().unwrap();
    views.inner.panes.insert(at.clone(), [&value[..], &[9]].concat()).unwrap();
    let error = views.panes(&view(), &everything(), Timestamp(0)).await.unwrap_err();
    assert!(matches!(error, PortError::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains("Int(7)"), "{error}");
    views.inner.panes.insert(at, [&[99], &value[1..]].concat()).unwrap();
    let error = views.panes(&view(), &everything(), Timestamp(0)).await.unwrap_err();
    assert!(error.to_string().contains("format 99 is unknown"), "{error}");
}

#[tokio::test]
async fn a_device_without_its_reserve_refuses_flushes() {
    let folder = tempfile::tempdir().unwrap();
    let config = EmbeddedViewsConfig { reserve_bytes: u64::MAX, ..ROOM };
    let views = EmbeddedViews::open(folder.path(), config).unwrap();
    let error = views.write(&flush(1, batch([(key(1), 0, 1)].into_iter())), Timestamp(0)).await.unwrap_err();
    assert!(matches!(error, PortError::Full { .. }), "{error:?}");
    assert!(views.progress().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_page_seeks_over_panes_outside_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let views = EmbeddedViews::open(folder.path(), ROOM).unwrap();
    // 100 panes per key, so that both ways of passing over are taken.
    let rows = (0..5).flat_map(|k| (0..100).map(move |p| (key(k), p, k * 1000 + p)));
    views.write(&flush(1, batch(rows)), Timestamp(0)).await.unwrap();
    let query = PaneQuery { from: Timestamp(40), to: Timestamp(42), ..everything() };
    let page = views.panes(&view(), &query, Timestamp(0)).await.unwrap();
    let expected = batch((0..5).flat_map(|k| (40..42).map(move |p| (key(k), p, k * 1000 + p))));
    assert_eq!(page.panes, expected);
}

#[tokio::test]
async fn many_rows_expire_in_batches() {
    let folder = tempfile::tempdir().unwrap();
    let views = EmbeddedViews::open(folder.path(), ROOM).unwrap();
    views.write(&flush(1, batch((0..10_000).map(|k| (key(k), 0, k)))), Timestamp(0)).await.unwrap();
    views.write(&flush(2, batch((0..10).map(|k| (key(k), 0, k)))), Timestamp(100)).await.unwrap();
    let schema = ViewSchema { ttl: Some(Span(50)), ..view() };
    assert_eq!(views.expire(&[schema], &[], Timestamp(120)).await.unwrap(), 9_990);
    assert_eq!(views.panes(&view(), &everything(), Timestamp(120)).await.unwrap().panes.len(), 10);
    assert_eq!(views.inner.index.len().unwrap(), 10);
}

/// Prints what flushes and reads cost here; asserts nothing about time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn measure_flushes_and_reads() {
    let folder = tempfile::tempdir().unwrap();
    let views = EmbeddedViews::open(folder.path(), ROOM).unwrap();
    // 50 flushes of 2,000 keys, each of a new pane, and then each pane once more.
    let panes = |p: i64| batch((0..2_000).map(move |k| (key(k), p * 60, k)));
    let start = Instant::now();
    for p in 0..50 {
        views.write(&flush(p as u64 + 1, panes(p)), Timestamp(0)).await.unwrap();
    }
    println!("flush of 2,000 new panes: {:?}", start.elapsed() / 50);
    let start = Instant::now();
    for p in 0..50 {
        views.write(&flush(p as u64 + 100, panes(p)), Timestamp(0)).await.unwrap();
    }
    println!("flush of 2,000 known panes: {:?}", start.elapsed() / 50);
    let start = Instant::now();
    views.sync().await.unwrap();
    println!("sync: {:?}", start.elapsed());
    let start = Instant::now();
    let read = views.panes_between(&view(), Timestamp::MIN, Timestamp::MAX, Timestamp(0)).await.unwrap();
    println!("panes_between of 100,000 panes: {:?}", start.elapsed());
    assert_eq!(read.len(), 100_000);
    let start = Instant::now();
    let page = views.panes(&view(), &everything(), Timestamp(0)).await.unwrap();
    println!("panes of all keys, 100,000 panes: {:?}", start.elapsed());
    assert_eq!(page.panes, read);
    let start = Instant::now();
    let one = PaneQuery { keys: KeySelector::One(key(5)), ..everything() };
    let page = views.panes(&view(), &one, Timestamp(0)).await.unwrap();
    println!("50 panes of one key: {:?}", start.elapsed());
    assert_eq!(page.panes.len(), 50);
}
