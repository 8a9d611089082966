//! What every adapter of analytics must do.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use polars::prelude::{DataFrame, ParquetWriter};
use tideline_common::column::Column;
use tideline_common::key::Key;
use tideline_common::manifest::{
    Manifest, ReportFile, ReportFiles, StoredManifest, TableFiles, TimedFile, ViewFiles, manifest_path,
};
use tideline_common::plan::{EVENT_TIME, Field};
use tideline_common::ports::{
    Analytics, KeySelector, LookupRows, LookupSchema, Objects, PaneQuery, PortError, ReportQuery, ViewSchema,
};
use tideline_common::state::{Input, Rule, StateBatch, StateColumn, StateField};
use tideline_common::time::{Span, Timestamp};
use tideline_common::value::{Type, Value};
use tideline_transform::frame::{columns_to_frame, states_to_frame};
use tideline_transform::{ORDINAL, SEQUENCE};

/// What a batch run publishes, whatever it is kept in.
#[derive(Clone, Debug, Default)]
pub struct Publication {
    /// Its number.
    pub version: u64,
    /// Views, each with parts that are disjoint in pane time and sorted by (key, pane).
    pub views: Vec<(ViewSchema, Vec<StateBatch>)>,
    /// Silver tables, as the lookup over each, in parts.
    pub tables: Vec<(String, LookupSchema, Vec<LookupRows>)>,
    /// Reports: name, columns, and parts in row order.
    pub reports: Vec<(String, Vec<Field>, Vec<Vec<Column>>)>,
}

/// One empty store of what batch publishes.
#[async_trait]
pub trait AnalyticsFixture: Send {
    /// Opens the store, with all that was published before.
    async fn open(&mut self) -> Arc<dyn Analytics>;

    /// Publishes a version, as the batch layer does.
    async fn publish(&mut self, publication: &Publication);
}

/// Publishes to a lake: Parquet files in groups of `row_group` rows, and a manifest that names them.
pub async fn publish_to_lake(objects: &dyn Objects, publication: &Publication, row_group: usize) {
    let version = publication.version;
    let mut manifest = Manifest { version, run: format!("run-{version}"), ..Manifest::default() };
    for (view, parts) in &publication.views {
        let mut files = Vec::new();
        for (n, part) in parts.iter().enumerate() {
            let path = format!("gold/{}/{}/{version}-{n}.parquet", view.name, view.version);
            files.push(put(objects, row_group, path, states_to_frame(view, part).unwrap(), &part.panes).await);
        }
        let (plan, key, fields) = (view.version.clone(), view.key.clone(), view.fields.clone());
        manifest.views.insert(view.name.clone(), ViewFiles { plan, through: None, key, fields, files });
    }
    for (table, lookup, parts) in &publication.tables {
        let mut files = Vec::new();
        for (n, part) in parts.iter().enumerate() {
            let mut fields = lookup.columns.clone();
            let mut columns = part.columns.clone();
            for (name, ty) in [(EVENT_TIME, Type::Timestamp), (SEQUENCE, Type::Int), (ORDINAL, Type::Int)] {
                fields.push(Field { name: name.to_owned(), ty });
            }
            columns.push(part.times.iter().map(|t| Some(*t)).collect());
            columns.push(Column::Int(part.sequences.iter().map(|s| Some(*s)).collect()));
            columns.push(Column::Int(part.ordinals.iter().map(|o| Some(i64::from(*o))).collect()));
            let path = format!("silver/{table}/{version}-{n}.parquet");
            files.push(put(objects, row_group, path, columns_to_frame(&fields, &columns).unwrap(), &part.times).await);
        }
        manifest.tables.insert(table.clone(), TableFiles { plan: "1".to_owned(), files, ..TableFiles::default() });
    }
    for (report, columns, parts) in &publication.reports {
        let mut files = Vec::new();
        for (n, part) in parts.iter().enumerate() {
            let path = format!("gold/_reports/{report}/{version}-{n}.parquet");
            let file = put(objects, row_group, path, columns_to_frame(columns, part).unwrap(), &[]).await;
            files.push(ReportFile { path: file.path, rows: file.rows });
        }
        let rows = files.iter().map(|f| f.rows).sum();
        let files = ReportFiles { plan: "1".to_owned(), columns: columns.clone(), files, rows };
        manifest.reports.insert(report.clone(), files);
    }
    let bytes = serde_json::to_vec(&StoredManifest::V1(manifest)).unwrap();
    objects.put_if_absent(&manifest_path(version), Bytes::from(bytes)).await.unwrap();
}

async fn put(
    objects: &dyn Objects,
    row_group: usize,
    path: String,
    mut frame: DataFrame,
    times: &[Timestamp],
) -> TimedFile {
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes).with_row_group_size(Some(row_group)).finish(&mut frame).unwrap();
    objects.put(&path, Bytes::from(bytes)).await.unwrap();
    let bound = |time: Option<&Timestamp>| time.copied().unwrap_or_default();
    let (min_time, max_time) = (bound(times.iter().min()), bound(times.iter().max()));
    TimedFile { path, rows: frame.height() as u64, min_time, max_time }
}

/// Runs the suite; `fixture` makes an empty store each time.
pub async fn suite<F: AnalyticsFixture>(mut fixture: impl FnMut() -> F) {
    the_newest_version_is_current(fixture()).await;
    panes_of_a_key(fixture()).await;
    pages_of_all_keys(fixture()).await;
    panes_of_all_keys_in_a_time(fixture()).await;
    rows_of_a_report(fixture()).await;
    newest_rows_of_a_key(fixture()).await;
}

/// A view keyed by a text and a number, either of which may be null.
fn view() -> ViewSchema {
    let field = |name: &str, rule, ty| StateField {
        name: name.to_owned(),
        rule,
        ty,
        input: Input::Value,
        table: "t".to_owned(),
        argument: None,
    };
    ViewSchema {
        name: "v".to_owned(),
        version: "1".to_owned(),
        key: vec![
            Field { name: "symbol".to_owned(), ty: Type::String },
            Field { name: "level".to_owned(), ty: Type::Int },
        ],
        fields: vec![field("n", Rule::Sum, Type::Int), field("last", Rule::Last, Type::String)],
        pane: Span::MINUTE,
        ttl: None,
    }
}

const fn pane(n: i64) -> Timestamp {
    Timestamp(n * 60_000_000)
}

fn key(symbol: Option<&str>, level: Option<i64>) -> Key {
    let symbol = symbol.map_or(Value::Null, |s| Value::String(s.to_owned()));
    Key::of(&[symbol, level.map_or(Value::Null, Value::Int)])
}

/// All keys of the suite, in byte order.
fn keys() -> Vec<Key> {
    let mut keys = Vec::new();
    for symbol in [None, Some(""), Some("$A"), Some("$AB"), Some("b")] {
        for level in [None, Some(-1), Some(2)] {
            keys.push(key(symbol, level));
        }
    }
    keys
}

/// Panes [from, to) of every key, with numbers that tell all rows apart.
fn states(from: i64, to: i64, version: i64) -> StateBatch {
    let mut batch = StateBatch::new(&view().fields);
    for (k, key) in keys().iter().enumerate() {
        for p in from..to {
            let row = batch.push_identity(key.as_bytes(), pane(p));
            let number = version * 1_000_000 + k as i64 * 1_000 + p;
            if let StateColumn::SumInt(v) = &mut batch.states[0] {
                v[row] = number;
            }
            if let StateColumn::Last(v) = &mut batch.states[1]
                && k % 2 == 0
            {
                let mut text = Column::new(Type::String);
                text.push(&Value::String(format!("{number}")));
                v.values.set_from(row, &text, 0);
                (v.times[row], v.sequences[row]) = (p * 7, number);
            }
        }
    }
    batch
}

/// The rows of `batch` that `keep` accepts by (key, pane), in order.
fn only(batch: &StateBatch, keep: impl Fn(&[u8], Timestamp) -> bool) -> StateBatch {
    let mut out = StateBatch::new(&view().fields);
    for row in (0..batch.len()).filter(|row| keep(batch.keys.get(*row), batch.panes[*row])) {
        out.push_from(batch, row);
    }
    out
}

/// Version `version`: three files of panes -2 to 7.
fn gold(version: u64) -> Publication {
    let v = version as i64;
    let parts = vec![states(-2, 0, v), states(0, 4, v), states(4, 7, v)];
    Publication { version, views: vec![(view(), parts)], ..Publication::default() }
}

fn query(keys: KeySelector, from: i64, to: i64, max_rows: usize) -> PaneQuery {
    PaneQuery { keys, from: pane(from), to: pane(to), max_rows }
}

async fn the_newest_version_is_current<F: AnalyticsFixture>(mut fixture: F) {
    let analytics = fixture.open().await;
    assert!(analytics.current().await.unwrap().is_none(), "nothing is published");
    fixture.publish(&gold(1)).await;
    let first = analytics.current().await.unwrap().unwrap();
    assert_eq!((first.version, first.run.as_str()), (1, "run-1"));
    fixture.publish(&gold(2)).await;
    fixture.publish(&gold(3)).await;
    let third = analytics.current().await.unwrap().unwrap();
    assert_eq!(third.version, 3, "seen at once");
    assert_eq!(fixture.open().await.current().await.unwrap().unwrap(), third);
    for (manifest, version) in [(&first, 1), (&third, 3)] {
        let read = analytics.panes_between(manifest, &view(), pane(-2), pane(7)).await.unwrap();
        assert_eq!(read, states(-2, 7, version), "a read is of the version that it names");
    }
}

async fn panes_of_a_key<F: AnalyticsFixture>(mut fixture: F) {
    fixture.publish(&gold(1)).await;
    let analytics = fixture.open().await;
    let manifest = analytics.current().await.unwrap().unwrap();
    let all = states(-2, 7, 1);
    for one in keys() {
        for (from, to) in [(-9, 99), (-1, 5), (0, 4), (2, 2), (5, 1), (50, 60)] {
            let page =
                analytics.panes(&manifest, &view(), &query(KeySelector::One(one.clone()), from, to, 1)).await.unwrap();
            let expected = only(&all, |key, p| key == one.as_bytes() && p >= pane(from) && p < pane(to));
            assert_eq!(page.panes, expected, "{:?} {from}..{to}", one.values());
            assert_eq!(page.more_after, None);
        }
    }
    let none = KeySelector::One(key(Some("none"), Some(1)));
    assert!(analytics.panes(&manifest, &view(), &query(none, -9, 99, 9)).await.unwrap().panes.is_empty());
    let wrong = KeySelector::One(Key::of(&[Value::Int(1)]));
    let error = analytics.panes(&manifest, &view(), &query(wrong, -9, 99, 9)).await.unwrap_err();
    assert!(matches!(error, PortError::Invalid { .. }), "{error:?}");
    let other = ViewSchema { version: "2".to_owned(), ..view() };
    let everything = query(KeySelector::All { after: None }, -9, 99, 9);
    assert!(analytics.panes(&manifest, &other, &everything).await.unwrap().panes.is_empty(), "another version");
}

async fn pages_of_all_keys<F: AnalyticsFixture>(mut fixture: F) {
    fixture.publish(&gold(1)).await;
    let analytics = fixture.open().await;
    let manifest = analytics.current().await.unwrap().unwrap();
    for (from, to, max) in [(-9, 99, 1), (-9, 99, 20), (-1, 5, 7), (-1, 5, 6), (-9, 99, 1_000_000), (90, 99, 1)] {
        let expected = only(&states(-2, 7, 1), |_, p| p >= pane(from) && p < pane(to));
        let (mut after, mut seen) = (None, StateBatch::new(&view().fields));
        for _ in 0..=keys().len() {
            let query = query(KeySelector::All { after: after.clone() }, from, to, max);
            let page = analytics.panes(&manifest, &view(), &query).await.unwrap();
            for row in 0..page.panes.len() {
                seen.push_from(&page.panes, row);
            }
            if let Some(last) = &page.more_after {
                assert_eq!(page.panes.keys.get(page.panes.len() - 1), last.as_bytes());
                assert!(page.panes.len() >= max, "a page is full when there is more");
            }
            after = page.more_after;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(after, None, "pages come to an end");
        assert_eq!(seen, expected, "{from}..{to} by {max}: every row once, whole keys, in order");
    }
}

async fn panes_of_all_keys_in_a_time<F: AnalyticsFixture>(mut fixture: F) {
    fixture.publish(&gold(1)).await;
    let analytics = fixture.open().await;
    let manifest = analytics.current().await.unwrap().unwrap();
    for (from, to) in [(-9, 99), (-1, 1), (3, 5), (6, 7), (7, 9), (5, 1)] {
        let read = analytics.panes_between(&manifest, &view(), pane(from), pane(to)).await.unwrap();
        assert_eq!(read, only(&states(-2, 7, 1), |_, p| p >= pane(from) && p < pane(to)), "{from}..{to}");
    }
    assert_eq!(analytics.newest_pane(&manifest, &view()).await.unwrap(), Some(pane(6)));
    let other = ViewSchema { name: "other".to_owned(), ..view() };
    assert_eq!(analytics.newest_pane(&manifest, &other).await.unwrap(), None);
    assert!(analytics.panes_between(&manifest, &other, pane(0), pane(9)).await.unwrap().is_empty());
}

async fn rows_of_a_report<F: AnalyticsFixture>(mut fixture: F) {
    let columns = vec![
        Field { name: "topic".to_owned(), ty: Type::String },
        Field { name: "n".to_owned(), ty: Type::Int },
        Field { name: "x".to_owned(), ty: Type::Float },
        Field { name: "at".to_owned(), ty: Type::Timestamp },
    ];
    let row = |i: i64| {
        let topic = if i % 4 == 3 { Value::Null } else { Value::String(format!("t{}", i % 4)) };
        vec![topic, Value::Int(i), Value::Float(i as f64 / 2.0), Value::Timestamp(Timestamp(-i))]
    };
    let part = |from: i64, to: i64| {
        let mut part: Vec<Column> = columns.iter().map(|f| Column::new(f.ty)).collect();
        for i in from..to {
            part.iter_mut().zip(row(i)).for_each(|(column, value)| column.push(&value));
        }
        part
    };
    let reports = vec![("r".to_owned(), columns.clone(), vec![part(0, 10), part(10, 11), part(11, 30)])];
    fixture.publish(&Publication { version: 1, reports, ..Publication::default() }).await;
    let analytics = fixture.open().await;
    let manifest = analytics.current().await.unwrap().unwrap();
    let text = |s: &str| Value::String(s.to_owned());
    let filters = [
        vec![],
        vec![("topic".to_owned(), text("t1"))],
        vec![("topic".to_owned(), Value::Null)],
        vec![("topic".to_owned(), text("t1")), ("n".to_owned(), Value::Int(13))],
        vec![("x".to_owned(), Value::Int(7))],
        vec![("at".to_owned(), Value::Timestamp(Timestamp(-12)))],
        vec![("topic".to_owned(), text("none"))],
    ];
    for filters in filters {
        let at = |name: &str| columns.iter().position(|f| f.name == name).unwrap();
        let same = |a: &Value, b: &Value| a == b || (a.as_f64().is_some() && a.as_f64() == b.as_f64());
        let all: Vec<_> = (0..30).map(row).filter(|row| filters.iter().all(|(c, v)| same(&row[at(c)], v))).collect();
        for (offset, limit) in [(0, 100), (0, 3), (9, 3), (10, 1), (12, 18), (30, 5), (99, 5), (0, 0)] {
            let query = ReportQuery { filters: filters.clone(), offset, limit };
            let page = analytics.report(&manifest, "r", &query).await.unwrap();
            let expected: Vec<_> = all.iter().skip(offset as usize).take(limit).cloned().collect();
            assert_eq!(page.rows, expected, "{query:?}");
            assert_eq!(page.columns, columns);
            if limit > 0 {
                assert_eq!(page.more, all.len() > offset as usize + limit, "{query:?}");
            }
        }
    }
    let any = ReportQuery { limit: 1, ..ReportQuery::default() };
    let missing = analytics.report(&manifest, "none", &any).await.unwrap_err();
    assert!(matches!(&missing, PortError::NotFound { what } if what.contains("none")), "{missing:?}");
    for wrong in [("no_column", Value::Int(1)), ("n", text("one")), ("topic", Value::Int(1))] {
        let query = ReportQuery { filters: vec![(wrong.0.to_owned(), wrong.1)], offset: 0, limit: 1 };
        let error = analytics.report(&manifest, "r", &query).await.unwrap_err();
        assert!(matches!(error, PortError::Invalid { .. }), "{error:?}");
    }
}

async fn newest_rows_of_a_key<F: AnalyticsFixture>(mut fixture: F) {
    let field = |name: &str, ty| Field { name: name.to_owned(), ty };
    let lookup = LookupSchema {
        name: "newest".to_owned(),
        version: "1".to_owned(),
        key: vec![field("k", Type::String)],
        columns: vec![field("k", Type::String), field("n", Type::Int)],
        limit: 6,
        ttl: None,
    };
    let rows = |list: &[(&str, i64, i64, u32)]| {
        let mut rows = LookupRows::new(&lookup.columns);
        for (k, time, sequence, ordinal) in list {
            rows.keys.push(Key::of(&[Value::String((*k).to_owned())]).as_bytes());
            rows.times.push(Timestamp(*time));
            rows.sequences.push(*sequence);
            rows.ordinals.push(*ordinal);
            rows.columns[0].push(&Value::String((*k).to_owned()));
            rows.columns[1].push(&Value::Int(time * 10 + sequence));
        }
        rows
    };
    // Parts overlap in time, and ties of time lie in two of them; there are more parts than are read at once.
    let mut parts = vec![
        rows(&[("a", 5, 1, 0), ("b", 99, 2, 0), ("a", 9, 3, 0)]),
        rows(&[("a", 9, 4, 0), ("a", 9, 4, 1), ("a", 7, 5, 0)]),
        rows(&[("a", -3, 6, 0), ("c", 1, 7, 0)]),
    ];
    parts.extend((0..30).map(|i| rows(&[("d", i, i, 0)])));
    let tables = vec![("t".to_owned(), lookup.clone(), parts)];
    fixture.publish(&Publication { version: 1, tables, ..Publication::default() }).await;
    let analytics = fixture.open().await;
    let manifest = analytics.current().await.unwrap().unwrap();
    let expected =
        rows(&[("a", 9, 4, 1), ("a", 9, 4, 0), ("a", 9, 3, 0), ("a", 7, 5, 0), ("a", 5, 1, 0), ("a", -3, 6, 0)]);
    let a = Key::of(&[Value::String("a".to_owned())]);
    let newest = analytics.rows(&manifest, "t", &lookup, &a, 100).await.unwrap();
    assert_eq!(newest, expected, "by time, then sequence, then ordinal");
    let newest = analytics.rows(&manifest, "t", &lookup, &a, 2).await.unwrap();
    assert_eq!(newest.sequences, [4, 4]);
    let d = Key::of(&[Value::String("d".to_owned())]);
    let newest = analytics.rows(&manifest, "t", &lookup, &d, 100).await.unwrap();
    assert_eq!(newest.sequences, [29, 28, 27, 26, 25, 24], "never more than the lookup's limit");
    let none = Key::of(&[Value::String("none".to_owned())]);
    assert!(analytics.rows(&manifest, "t", &lookup, &none, 9).await.unwrap().is_empty());
    assert!(analytics.rows(&manifest, "no_table", &lookup, &a, 9).await.unwrap().is_empty());
}
