//! What every store of the speed layer must do.

use std::collections::BTreeMap;

use tideline_common::key::Key;
use tideline_common::plan::Field;
use tideline_common::ports::{
    Flush, KeySelector, LookupRows, LookupSchema, PaneFlush, PanePage, PaneQuery, Progress, SpeedViews, ViewSchema,
};
use tideline_common::position::Shard;
use tideline_common::state::{Input, MapColumn, Rule, StateBatch, StateColumn, StateField};
use tideline_common::time::{Span, Timestamp};
use tideline_common::value::{Type, Value};

use super::Fixture;

/// Now, in the suite.
const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

/// Runs the suite; `fixture` makes an empty store each time.
pub async fn suite<F: Fixture<dyn SpeedViews>>(mut fixture: impl FnMut() -> F) {
    nothing_is_empty_not_an_error(fixture()).await;
    every_kind_of_state_reads_back(fixture()).await;
    a_lower_position_never_overwrites(fixture()).await;
    shards_and_versions_never_meet(fixture()).await;
    queries_by_key_and_time(fixture()).await;
    pages_never_cut_a_key(fixture()).await;
    late_counts_are_kept_beside(fixture()).await;
    rows_past_their_time_are_gone(fixture()).await;
    lookups_answer_newest_first(fixture()).await;
    lookups_are_trimmed(fixture()).await;
    progress_only_moves_on(fixture()).await;
    synced_rows_survive_reopening(fixture()).await;
    old_versions_are_dropped(fixture()).await;
    flushes_are_seen_whole(fixture()).await;
}

fn field(name: &str, rule: Rule, ty: Type) -> StateField {
    StateField { name: name.to_owned(), rule, ty, input: Input::Value, table: "t".to_owned(), argument: None }
}

/// A view with a field of every rule and type.
fn wide() -> ViewSchema {
    let types = [Type::Bool, Type::Int, Type::Float, Type::String, Type::Timestamp];
    let mut fields = vec![field("sum_int", Rule::Sum, Type::Int), field("sum_float", Rule::Sum, Type::Float)];
    for rule in [Rule::Min, Rule::Max, Rule::First, Rule::Last] {
        fields.extend(types.map(|ty| field(&format!("{}_{}", rule.name(), ty.name()), rule, ty)));
    }
    for rule in [Rule::MapSum, Rule::MapMax] {
        fields.extend([Type::Int, Type::String].map(|ty| field(&format!("{}_{}", rule.name(), ty.name()), rule, ty)));
    }
    let key =
        vec![Field { name: "symbol".to_owned(), ty: Type::String }, Field { name: "level".to_owned(), ty: Type::Int }];
    ViewSchema { name: "wide".to_owned(), version: "1".to_owned(), key, fields, pane: Span::MINUTE, ttl: None }
}

/// A view with one integer sum, keyed by text.
fn counts() -> ViewSchema {
    ViewSchema {
        name: "counts".to_owned(),
        version: "1".to_owned(),
        key: vec![Field { name: "k".to_owned(), ty: Type::String }],
        fields: vec![field("n", Rule::Sum, Type::Int)],
        pane: Span::MINUTE,
        ttl: None,
    }
}

fn key(text: &str) -> Key {
    Key::of(&[Value::String(text.to_owned())])
}

/// The start of pane number `n`.
const fn pane(n: i64) -> Timestamp {
    Timestamp(n * 60_000_000)
}

/// Sums by (key, pane).
fn sums(rows: &[(&str, i64, i64)]) -> StateBatch {
    let mut batch = StateBatch::new(&counts().fields);
    for (k, p, n) in rows {
        let row = batch.push_identity(key(k).as_bytes(), pane(*p));
        let StateColumn::SumInt(column) = &mut batch.states[0] else { unreachable!("a sum of integers") };
        column[row] = *n;
    }
    batch
}

fn rows_of(batch: &StateBatch) -> Vec<(String, i64, i64)> {
    let StateColumn::SumInt(column) = &batch.states[0] else { unreachable!("a sum of integers") };
    (0..batch.len())
        .map(|row| {
            let key = Key(batch.keys.get(row).to_vec()).values().unwrap();
            let Value::String(key) = &key[0] else { unreachable!("a text") };
            (key.clone(), batch.panes[row].0 / 60_000_000, column[row])
        })
        .collect()
}

fn flush_of(shard: Shard, position: u64, view: ViewSchema, panes: StateBatch) -> Flush {
    let late = StateBatch::new(&counts().fields);
    let progress = Progress { position, written_at: NOW, ..Progress::default() };
    Flush { shard, panes: vec![PaneFlush { view, panes, late }], rows: Vec::new(), progress }
}

fn flush(partition: u32, position: u64, rows: &[(&str, i64, i64)]) -> Flush {
    flush_of(Shard::new("s", partition), position, counts(), sums(rows))
}

fn everything() -> PaneQuery {
    PaneQuery { keys: KeySelector::All { after: None }, from: Timestamp::MIN, to: Timestamp::MAX, max_rows: 1_000_000 }
}

fn of_key(k: &str, from: i64, to: i64) -> PaneQuery {
    PaneQuery { keys: KeySelector::One(key(k)), from: pane(from), to: pane(to), max_rows: 1_000_000 }
}

async fn all(views: &dyn SpeedViews) -> Vec<(String, i64, i64)> {
    rows_of(&views.panes(&counts(), &everything(), NOW).await.unwrap().panes)
}

fn row(k: &str, p: i64, n: i64) -> (String, i64, i64) {
    (k.to_owned(), p, n)
}

async fn nothing_is_empty_not_an_error<F: Fixture<dyn SpeedViews>>(mut fixture: F) {
    let views = fixture.open().await;
    let PanePage { panes, more_after } = views.panes(&counts(), &everything(), NOW).await.unwrap();
    assert!(panes.is_empty() && more_after.is_none() && panes.states.len() == 1);
    assert!(views.late(&counts(), &everything(), NOW).await.unwrap().panes.is_empty());
    assert_eq!(views.newest_pane(&counts(), NOW).await.unwrap(), None);
    assert!(views.panes_between(&counts(), pane(0), pane(9), NOW).await.unwrap().is_empty());
    assert!(views.rows(&lookup(), &key("a"), 10, NOW).await.unwrap().is_empty());
    assert!(views.progress().await.unwrap().is_empty());
    assert_eq!(views.expire(&[counts()], &[lookup()], NOW).await.unwrap(), 0);
    views.sync().await.unwrap();
}

/// Puts something into every column of the last row; `None` leaves the identity.
fn fill(batch: &mut StateBatch, seed: i64) {
    let value = |ty| match ty {
        Type::Bool => Value::Bool(seed % 2 == 0),
        Type::Int => Value::Int(seed - 5),
        Type::Float => Value::Float(seed as f64 / 7.0),
        Type::Timestamp => Value::Timestamp(Timestamp(seed * -1_000)),
        _ => Value::String(format!("té\0xt {seed}")),
    };
    let at = batch.len() - 1;
    for column in &mut batch.states {
        match column {
            StateColumn::SumInt(v) => v[at] = i64::MIN + seed,
            StateColumn::SumFloat(v) => v[at] = seed as f64 / 3.0,
            StateColumn::Min(v) | StateColumn::Max(v) => set(v, at, &value(v.ty())),
            StateColumn::First(v) | StateColumn::Last(v) => {
                let new = value(v.values.ty());
                set(&mut v.values, at, &new);
                (v.times[at], v.sequences[at]) = (-seed, i64::MAX - seed);
            }
            StateColumn::MapSum(MapColumn::Int(v)) | StateColumn::MapMax(MapColumn::Int(v)) => {
                v[at] = vec![(i32::MIN, 1), (0, seed), (7, i64::MAX)];
            }
            StateColumn::MapSum(MapColumn::Text(v)) | StateColumn::MapMax(MapColumn::Text(v)) => {
                v[at] = vec![("".into(), 1), ("a".into(), seed), ("ü\0".into(), 3)];
            }
        }
    }
}

fn set(column: &mut tideline_common::column::Column, at: usize, value: &Value) {
    let mut one = tideline_common::column::Column::new(column.ty());
    one.push(value);
    column.set_from(at, &one, 0);
}

async fn every_kind_of_state_reads_back<F: Fixture<dyn SpeedViews>>(mut fixture: F) {
    let views = fixture.open().await;
    let view = wide();
    let mut batch = StateBatch::new(&view.fields);
    // In the order in which they are read: null before any text, negative before positive, and panes before 1970.
    let keys = [
        [Value::Null, Value::Int(1)],
        [Value::String(String::new()), Value::Null],
        [Value::String("$TSLA".to_owned()), Value::Int(-1)],
        [Value::String("$TSLA".to_owned()), Value::Int(3)],
        [Value::String("$TSLA\0".to_owned()), Value::Int(0)],
    ];
    for (i, values) in keys.iter().enumerate() {
        for p in [-3, 0, 5] {
            batch.push_identity(Key::of(values).as_bytes(), pane(p));
            if i != 1 {
                fill(&mut batch, i as i64 * 10 + p);
            }
        }
    }
    views.write(&flush_of(Shard::new("s", 0), 1, view.clone(), batch.clone()), NOW).await.unwrap();
    assert_eq!(views.panes(&view, &everything(), NOW).await.unwrap().panes, batch);
    assert_eq!(views.panes_between(&view, Timestamp::MIN, Timestamp::MAX, NOW).await.unwrap(), batch);
    assert_eq!(views.newest_pane(&view, NOW).await.unwrap(), Some(pane(5)));
}

async fn a_lower_position_never_overwrites<F: Fixture<dyn SpeedViews>>(mut fixture: F) {
    let views = fixture.open().await;
    views.write(&flush(0, 10, &[("a", 0, 10), ("b", 0, 10)]), NOW).await.unwrap();
    // A writer that should be gone.
    views.write(&flush(0, 5, &[("a", 0, 5), ("c", 0, 5)]), NOW).await.unwrap();
    assert_eq!(all(&*views).await, [row("a", 0, 10), row("b", 0, 10), row("c", 0, 5)]);
    // The same again, and then on.
    views.write(&flush(0, 10, &[("a", 0, 10)]), NOW).await.unwrap();
    views.write(&flush(0, 11, &[("b", 0, 11)]), NOW).await.unwrap();
    assert_eq!(all(&*views).await, [row("a", 0, 10), row("b", 0, 11), row("c", 0, 5)]);
}

async fn shards_and_versions_never_meet<F: Fixture<dyn SpeedViews>>(mut fixture: F) {
    let views = fixture.open().await;
    let second = ViewSchema { version: "2".to_owned(), ..counts() };
    let other = ViewSchema { name: "counts1".to_owned(), version: String::new(), ..counts() };
    views.write(&flush(0, 10, &[("a", 0, 1)]), NOW).await.unwrap();
    views.write(&flush(1, 3, &[("a", 0, 2)]), NOW).await.unwrap();
    views.write(&flush_of(Shard::new("s", 0), 4, second.clone(), sums(&[("a", 0, 3)])), NOW).await.unwrap();
    views.write(&flush_of(Shard::new("s", 0), 4, other.clone(), sums(&[("a", 0, 4)])), NOW).await.unwrap();
    let mut both = all(&*views).await;
    both.sort();
    assert_eq!(both, [row("a", 0, 1), row("a", 0, 2)], "once per shard");
    let mut shards = views.shards_between(&counts(), pane(0), pane(1), NOW).await.unwrap();
    shards.sort_by(|a, b| a.shard.cmp(&b.shard));
    let by_shard: Vec<_> = shards.iter().map(|of| (of.shard.clone(), rows_of(&of.panes))).collect();
    let expected = [(Shard::new("s", 0), vec![row("a", 0, 1)]), (Shard::new("s", 1), vec![row("a", 0, 2)])];
    assert_eq!(by_shard, expected, "told apart");
    assert_eq!(views.shards_between(&counts(), pane(1), pane(9), NOW).await.unwrap(), []);
    assert_eq!(views.shards_between(&counts(), pane(1), pane(0), NOW).await.unwrap(), []);
    assert_eq!(rows_of(&views.panes(&second, &everything(), NOW).await.unwrap().panes), [row("a", 0, 3)]);
    assert_eq!(rows_of(&views.panes(&other, &everything(), NOW).await.unwrap().panes), [row("a", 0, 4)]);
}

async fn queries_by_key_and_time<F: Fixture<dyn SpeedViews>>(mut fixture: F) {
    let views = fixture.open().await;
    // Keys of which one begins with another, and a pane before 1970.
    views.write(&flush(0, 1, &[("ab", 2, 5), ("a", -1, 1), ("a", 0, 2), ("a", 3, 3), ("b", 1, 4)]), NOW).await.unwrap();
    let store = &views;
    let of = |query| async move { rows_of(&store.panes(&counts(), &query, NOW).await.unwrap().panes) };
    assert_eq!(of(of_key("a", -5, 9)).await, [row("a", -1, 1), row("a", 0, 2), row("a", 3, 3)]);
    assert_eq!(of(of_key("a", 0, 3)).await, [row("a", 0, 2)], "from is in, to is not");
    assert_eq!(of(of_key("a", 3, 3)).await, []);
    assert_eq!(of(of_key("a", 3, 0)).await, []);
    assert_eq!(of(of_key("none", -5, 9)).await, []);
    let middle = PaneQuery { from: pane(0), to: pane(3), ..everything() };
    assert_eq!(of(middle).await, [row("a", 0, 2), row("ab", 2, 5), row("b", 1, 4)], "by key, then pane");
    let between = views.panes_between(&counts(), pane(0), pane(3), NOW).await.unwrap();
    assert_eq!(rows_of(&between), [row("a", 0, 2), row("ab", 2, 5), row("b", 1, 4)]);
    assert!(views.panes_between(&counts(), pane(3), pane(0), NOW).await.unwrap().is_empty());
    assert_eq!(views.newest_pane(&counts(), NOW).await.unwrap(), Some(pane(3)));
}

async fn pages_never_cut_a_key<F: Fixture<dyn SpeedViews>>(mut fixture: F) {
    let views = fixture.open().await;
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    let rows: Vec<_> = names.iter().flat_map(|k| (0..3).map(move |p| (*k, p, p))).collect();
    views.write(&flush(0, 1, &rows), NOW).await.unwrap();
    let (mut after, mut pages, mut seen) = (None, 0, Vec::new());
    loop {
        let query = PaneQuery { keys: KeySelector::All { after }, max_rows: 4, ..everything() };
        let page = views.panes(&counts(), &query, NOW).await.unwrap();
        let rows = rows_of(&page.panes);
        assert!(rows.len().is_multiple_of(3), "whole keys only: {rows:?}");
        if let Some(last) = &page.more_after {
            assert_eq!(*last, key(&rows.last().unwrap().0), "a page goes on after its last key");
            assert_eq!(rows.len(), 6, "it stops after the key with which it has four rows");
        }
        seen.extend(rows);
        pages += 1;
        after = page.more_after;
        if after.is_none() || pages > 10 {
            break;
        }
    }
    assert_eq!(seen, rows.iter().map(|(k, p, n)| row(k, *p, *n)).collect::<Vec<_>>());
    assert_eq!(pages, 4);
}

async fn late_counts_are_kept_beside<F: Fixture<dyn SpeedViews>>(mut fixture: F) {
    let views = fixture.open().await;
    let with_late = |position, rows: &[(&str, i64, i64)]| {
        let mut flush = flush(0, position, &[("a", 5, 1)]);
        flush.panes[0].late = sums(rows);
        flush
    };
    views.write(&with_late(10, &[("a", 1, 3), ("b", 2, 1)]), NOW).await.unwrap();
    views.write(&with_late(5, &[("a", 1, 2)]), NOW).await.unwrap();
    views.write(&with_late(12, &[("b", 2, 4)]), NOW).await.unwrap();
    let late = views.late(&counts(), &everything(), NOW).await.unwrap().panes;
    assert_eq!(rows_of(&late), [row("a", 1, 3), row("b", 2, 4)], "absolute and monotonic as panes are");
    let late = views.late(&counts(), &of_key("b", 0, 3), NOW).await.unwrap().panes;
    assert_eq!(rows_of(&late), [row("b", 2, 4)]);
    assert_eq!(all(&*views).await, [row("a", 5, 1)], "and not among them");
}

async fn rows_past_their_time_are_gone<F: Fixture<dyn SpeedViews>>(mut fixture: F) {
    let views = fixture.open().await;
    let view = ViewSchema { ttl: Some(Span::HOUR), ..counts() };
    let of = |position, rows| flush_of(Shard::new("s", 0), position, view.clone(), sums(rows));
    let later = |minutes: i64| NOW.plus(Span(Span::MINUTE.0 * minutes));
    let (old, new): (&[(&str, i64, i64)], _) = (&[("a", 0, 1), ("a", 9, 1), ("b", 0, 1)], &[("b", 0, 2), ("c", 3, 1)]);
    views.write(&of(1, old), NOW).await.unwrap();
    views.write(&of(2, new), later(30)).await.unwrap();
    let alive = |now| {
        let (views, view) = (views.clone(), view.clone());
        async move { rows_of(&views.panes(&view, &everything(), now).await.unwrap().panes) }
    };
    assert_eq!(alive(later(59)).await.len(), 4);
    assert_eq!(alive(later(60)).await, [row("b", 0, 2), row("c", 3, 1)], "an hour after the last write");
    assert_eq!(views.newest_pane(&view, later(60)).await.unwrap(), Some(pane(3)));
    assert_eq!(views.panes_between(&view, pane(0), pane(10), later(60)).await.unwrap().len(), 2);
    let shards = views.shards_between(&view, pane(0), pane(10), later(60)).await.unwrap();
    assert_eq!(shards.iter().map(|of| of.panes.len()).collect::<Vec<_>>(), [2]);
    views.expire(std::slice::from_ref(&view), &[], later(60)).await.unwrap();
    assert_eq!(alive(later(60)).await, [row("b", 0, 2), row("c", 3, 1)], "what lives is not dropped");
    assert_eq!(alive(later(90)).await, []);
    assert_eq!(views.newest_pane(&view, later(90)).await.unwrap(), None);
}

fn lookup() -> LookupSchema {
    let column = |name: &str, ty| Field { name: name.to_owned(), ty };
    LookupSchema {
        name: "newest".to_owned(),
        version: "1".to_owned(),
        key: vec![column("k", Type::String)],
        columns: vec![
            column("text", Type::String),
            column("n", Type::Int),
            column("x", Type::Float),
            column("yes", Type::Bool),
            column("at", Type::Timestamp),
            column("tags", Type::Strings),
        ],
        limit: 5,
        ttl: Some(Span::HOUR),
    }
}

/// Rows of (key, time, sequence, ordinal); every third has null columns.
fn lookup_rows(rows: &[(&str, i64, i64, u32)]) -> LookupRows {
    let mut out = LookupRows::new(&lookup().columns);
    for (i, (k, time, sequence, ordinal)) in rows.iter().enumerate() {
        out.keys.push(key(k).as_bytes());
        out.times.push(Timestamp(*time));
        out.sequences.push(*sequence);
        out.ordinals.push(*ordinal);
        let values = [
            Value::String(format!("{k} {time} {sequence} {ordinal}")),
            Value::Int(*time),
            Value::Float(0.5),
            Value::Bool(true),
            Value::Timestamp(Timestamp(-1)),
            Value::Strings(vec!["x".to_owned(), String::new()]),
        ];
        for (c, (column, value)) in out.columns.iter_mut().zip(values).enumerate() {
            column.push(if c > 0 && i % 3 == 2 { &Value::Null } else { &value });
        }
    }
    out
}

fn lookup_flush(position: u64, rows: &[(&str, i64, i64, u32)]) -> Flush {
    let progress = Progress { position, written_at: NOW, ..Progress::default() };
    Flush { shard: Shard::new("s", 0), panes: Vec::new(), rows: vec![(lookup(), lookup_rows(rows))], progress }
}

fn identities(rows: &LookupRows) -> Vec<(i64, i64, u32)> {
    (0..rows.len()).map(|i| (rows.times[i].0, rows.sequences[i], rows.ordinals[i])).collect()
}

async fn lookups_answer_newest_first<F: Fixture<dyn SpeedViews>>(mut fixture: F) {
    let views = fixture.open().await;
    let rows = [("a", 5, 1, 0), ("a", 9, 2, 0), ("b", 7, 3, 0), ("ab", 1, 9, 0), ("a", 9, 3, 0), ("a", -4, 4, 0)];
    views.write(&lookup_flush(10, &rows), NOW).await.unwrap();
    views.write(&lookup_flush(10, &rows), NOW).await.unwrap();
    let newest = views.rows(&lookup(), &key("a"), 100, NOW).await.unwrap();
    assert_eq!(identities(&newest), [(9, 3, 0), (9, 2, 0), (5, 1, 0), (-4, 4, 0)], "by time, then sequence; once each");
    let expected = lookup_rows(&rows);
    for (i, original) in [4, 1, 0, 5].into_iter().enumerate() {
        assert_eq!(newest.keys.get(i), key("a").as_bytes());
        for (column, of) in newest.columns.iter().zip(&expected.columns) {
            assert_eq!(column.value(i), of.value(original));
        }
    }
    assert_eq!(views.rows(&lookup(), &key("a"), 2, NOW).await.unwrap().len(), 2);
    assert!(views.rows(&lookup(), &key("none"), 2, NOW).await.unwrap().is_empty());
    // Several rows of one record are all there.
    views.write(&lookup_flush(11, &[("c", 1, 1, 0), ("c", 1, 1, 1), ("c", 1, 1, 2)]), NOW).await.unwrap();
    assert_eq!(views.rows(&lookup(), &key("c"), 9, NOW).await.unwrap().len(), 3);
    let later = NOW.plus(Span::HOUR);
    assert!(views.rows(&lookup(), &key("a"), 9, later).await.unwrap().is_empty(), "their time is over");
}

async fn lookups_are_trimmed<F: Fixture<dyn SpeedViews>>(mut fixture: F) {
    let views = fixture.open().await;
    for i in 0..4 {
        let rows: Vec<_> = (0..4).map(|j| ("a", i * 4 + j, i, 0)).collect();
        views.write(&lookup_flush(i as u64, &rows), NOW).await.unwrap();
    }
    // More than the limit in one flush.
    let rows: Vec<_> = (0..20).map(|j| ("b", j, j, 0)).collect();
    views.write(&lookup_flush(9, &rows), NOW).await.unwrap();
    let newest = |k| {
        let views = views.clone();
        async move {
            let rows = views.rows(&lookup(), &key(k), 100, NOW).await.unwrap();
            rows.times.iter().map(|t| t.0).collect::<Vec<_>>()
        }
    };
    assert_eq!(newest("a").await, [15, 14, 13, 12, 11], "never more than the lookup's limit");
    assert_eq!(newest("b").await, [19, 18, 17, 16, 15]);
    views.expire(&[], &[lookup()], NOW).await.unwrap();
    assert_eq!(newest("a").await, [15, 14, 13, 12, 11]);
    assert_eq!(newest("b").await, [19, 18, 17, 16, 15]);
}

async fn progress_only_moves_on<F: Fixture<dyn SpeedViews>>(mut fixture: F) {
    let views = fixture.open().await;
    let full = Progress {
        position: 10,
        highest: Some(Timestamp(-5)),
        last_appended: Some(Timestamp(7)),
        written_at: NOW,
        records: 10,
        rejected: 1,
        duplicates: 2,
        late: 3,
        version: "v1".to_owned(),
    };
    let of = |source: &str, partition, progress: &Progress| Flush {
        shard: Shard::new(source, partition),
        panes: Vec::new(),
        rows: Vec::new(),
        progress: progress.clone(),
    };
    views.write(&of("s", 0, &full), NOW).await.unwrap();
    views.write(&of("s", 0, &Progress { position: 9, records: 9, ..full.clone() }), NOW).await.unwrap();
    views.write(&of("s", 300, &Progress { position: 2, ..full.clone() }), NOW).await.unwrap();
    views.write(&of("s2", 0, &Progress { position: 3, ..full.clone() }), NOW).await.unwrap();
    let progress: BTreeMap<_, _> = views.progress().await.unwrap().into_iter().collect();
    assert_eq!(progress[&Shard::new("s", 0)], full, "an older position changes nothing");
    assert_eq!(progress[&Shard::new("s", 300)].position, 2);
    assert_eq!(progress[&Shard::new("s2", 0)].position, 3);
    assert_eq!(progress.len(), 3);
    let next = Progress { position: 11, highest: None, ..full };
    views.write(&of("s", 0, &next), NOW).await.unwrap();
    let progress: BTreeMap<_, _> = views.progress().await.unwrap().into_iter().collect();
    assert_eq!(progress[&Shard::new("s", 0)], next);
}

async fn synced_rows_survive_reopening<F: Fixture<dyn SpeedViews>>(mut fixture: F) {
    let views = fixture.open().await;
    views.write(&flush(0, 10, &[("a", 0, 1)]), NOW).await.unwrap();
    views.write(&lookup_flush(11, &[("a", 1, 1, 0)]), NOW).await.unwrap();
    views.sync().await.unwrap();
    drop(views);
    let views = fixture.open().await;
    assert_eq!(all(&*views).await, [row("a", 0, 1)]);
    assert_eq!(views.rows(&lookup(), &key("a"), 9, NOW).await.unwrap().len(), 1);
    assert_eq!(views.progress().await.unwrap()[0].1.position, 11);
    views.write(&flush(0, 9, &[("a", 0, 9)]), NOW).await.unwrap();
    views.write(&flush(1, 1, &[("b", 0, 2)]), NOW).await.unwrap();
    assert_eq!(all(&*views).await, [row("a", 0, 1), row("b", 0, 2)], "older is known to be older");
}

async fn old_versions_are_dropped<F: Fixture<dyn SpeedViews>>(mut fixture: F) {
    let views = fixture.open().await;
    let second = ViewSchema { version: "2".to_owned(), ..counts() };
    views.write(&flush(0, 10, &[("a", 0, 1), ("b", 0, 1)]), NOW).await.unwrap();
    views.write(&flush_of(Shard::new("s", 0), 11, second.clone(), sums(&[("a", 0, 3)])), NOW).await.unwrap();
    views.write(&lookup_flush(12, &[("a", 1, 1, 0)]), NOW).await.unwrap();
    let third = LookupSchema { version: "3".to_owned(), ..lookup() };
    views.expire(std::slice::from_ref(&second), &[third], NOW).await.unwrap();
    assert_eq!(all(&*views).await, []);
    assert!(views.rows(&lookup(), &key("a"), 9, NOW).await.unwrap().is_empty());
    assert_eq!(rows_of(&views.panes(&second, &everything(), NOW).await.unwrap().panes), [row("a", 0, 3)]);
    // A version that comes back starts anew.
    views.write(&flush(0, 2, &[("c", 0, 1)]), NOW).await.unwrap();
    assert_eq!(all(&*views).await, [row("c", 0, 1)]);
    assert_eq!(rows_of(&views.panes(&second, &everything(), NOW).await.unwrap().panes), [row("a", 0, 3)]);
}

async fn flushes_are_seen_whole<F: Fixture<dyn SpeedViews>>(mut fixture: F) {
    let views = fixture.open().await;
    let names: Vec<String> = (0..200).map(|i| format!("{i:03}")).collect();
    let of = |n: i64| {
        let rows: Vec<_> = names.iter().map(|k| (k.as_str(), 0, n)).collect();
        flush(0, n as u64, &rows)
    };
    views.write(&of(1), NOW).await.unwrap();
    let writer = {
        let (views, flushes) = (views.clone(), (2..40).map(of).collect::<Vec<_>>());
        tokio::spawn(async move {
            for flush in flushes {
                views.write(&flush, NOW).await.unwrap();
            }
        })
    };
    loop {
        let done = writer.is_finished();
        let rows = rows_of(&views.panes_between(&counts(), pane(0), pane(1), NOW).await.unwrap());
        assert_eq!(rows.len(), 200);
        assert!(rows.iter().all(|r| r.2 == rows[0].2), "one flush, not two mixed");
        if done {
            assert_eq!(rows[0].2, 39, "a flush is visible when answered");
            break;
        }
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
}
