//! Rows as JSON: what a reader of an output's topic finds.

use std::sync::Arc;

use tideline_common::plan::{EVENT_TIME, Field, RowOutputPlan, TableColumn};
use tideline_common::value::Type;
use tideline_transform::{JsonRow, RowJson, SourceTransform};

use crate::plans::{field, plan, record};

fn output(table: &str, key: &[Field], columns: &[Field]) -> RowOutputPlan {
    RowOutputPlan {
        name: "o".to_owned(),
        table: table.to_owned(),
        source: "s".to_owned(),
        topic: "t".to_owned(),
        key: key.to_vec(),
        columns: columns.to_vec(),
        partitions: 1,
        retention: None,
    }
}

/// The rows that an output makes of records with these payloads, those before `from` left out.
fn written(table: &str, key: &[Field], columns: &[Field], payloads: &[&str], from: u64) -> Vec<JsonRow> {
    let mut plan = plan();
    let (name, sql, ty) = ("seen".to_owned(), "seen".to_owned(), Type::Timestamp);
    plan.tables[0].columns.push(TableColumn { name, sql, ty, unnest: false });
    let source = SourceTransform::new(&plan, "s").unwrap();
    let records: Vec<_> =
        payloads.iter().enumerate().map(|(at, payload)| record(at as u64, (*payload).to_owned())).collect();
    let rows = source.decode(3, &records).unwrap().rows;
    let rows = source.table_rows(table, &rows).unwrap();
    let mut over = Arc::new(RowJson::new(&output(table, key, columns))).over(&rows, from).unwrap();
    let all = over.take(usize::MAX).unwrap();
    assert!(over.is_done() && over.take(1).unwrap().is_empty());
    // In pieces they are the same.
    for bytes in [0, 100, 200] {
        let mut over = Arc::new(RowJson::new(&output(table, key, columns))).over(&rows, from).unwrap();
        let mut pieces = Vec::new();
        while !over.is_done() {
            let piece = over.take(bytes).unwrap();
            let (last, rest) = piece.split_last().unwrap();
            assert!(rest.iter().map(|row| row.object.len()).sum::<usize>() < bytes.max(1), "{bytes}");
            assert!(bytes > 0 || piece == [last.clone()]);
            pieces.extend(piece);
        }
        assert_eq!(pieces, all, "{bytes}");
    }
    all
}

fn time() -> Field {
    field(EVENT_TIME, Type::Timestamp)
}

fn texts(rows: &[JsonRow]) -> Vec<&str> {
    rows.iter().map(|row| std::str::from_utf8(&row.object).unwrap()).collect()
}

fn keys(rows: &[JsonRow]) -> Vec<Option<&str>> {
    rows.iter().map(|row| row.key.as_deref().map(|key| std::str::from_utf8(key).unwrap())).collect()
}

#[test]
fn every_type_is_written_in_the_order_asked_for() {
    let columns = [
        field("text", Type::String),
        time(),
        field("n", Type::Int),
        field("x", Type::Float),
        field("ok", Type::Bool),
        field("seen", Type::Timestamp),
    ];
    let payloads = [
        r#"{"at": 1, "text": "a \"b\" \\ \u0001 ü 🦀", "n": -5, "x": 0.1, "ok": true, "seen": "2024-05-06T20:00:00.25Z"}"#,
        r#"{"at": -86400}"#,
        r#"{"at": 2, "n": 9007199254740993, "x": 1e300, "ok": false}"#,
    ];
    let rows = written("rows", &[], &columns, &payloads, 0);
    assert_eq!(
        texts(&rows),
        [
            r#"{"text":"a \"b\" \\ \u0001 ü 🦀","event_time":"1970-01-01T00:00:01Z","n":-5,"x":0.1,"ok":true,"seen":"2024-05-06T20:00:00.250Z"}"#,
            r#"{"text":null,"event_time":"1969-12-31T00:00:00Z","n":null,"x":null,"ok":null,"seen":null}"#,
            r#"{"text":null,"event_time":"1970-01-01T00:00:02Z","n":9007199254740993,"x":1e+300,"ok":false,"seen":null}"#,
        ]
    );
    assert!(rows.iter().all(|row| serde_json::from_slice::<serde_json::Value>(&row.object).is_ok()));
    assert_eq!(keys(&rows), [None, None, None]);
    assert_eq!(rows.iter().map(|row| (row.offset, row.ordinal)).collect::<Vec<_>>(), [(0, 0), (1, 0), (2, 0)]);
}

#[test]
fn rows_of_one_record_have_numbers_and_early_records_are_left_out() {
    let payloads =
        [r#"{"at": 1, "tags": ["a", "b"]}"#, r#"{"at": 1}"#, r#"{"at": 2, "tags": ["c", "d", "e"], "text": "t"}"#];
    let columns = [time(), field("tag", Type::String)];
    let all = written("tags", &[], &columns, &payloads, 0);
    let place = |row: &JsonRow| (row.offset, row.ordinal);
    assert_eq!(all.iter().map(place).collect::<Vec<_>>(), [(0, 0), (0, 1), (2, 0), (2, 1), (2, 2)]);
    assert_eq!(texts(&all)[4], r#"{"event_time":"1970-01-01T00:00:02Z","tag":"e"}"#);
    assert_eq!(written("tags", &[], &columns, &payloads, 1), all[2..], "the same bytes, whatever is before them");
    assert!(written("tags", &[], &columns, &payloads, 3).is_empty());
}

#[test]
fn a_key_is_the_text_of_its_column_or_a_list() {
    let payloads = [
        r#"{"at": 1, "text": "a \"b\"", "n": 7, "ok": true, "x": 2.5}"#,
        r#"{"at": 2, "text": "", "ok": false}"#,
        r#"{"at": 3}"#,
    ];
    let of = |key: &[Field]| written("rows", key, &[time()], &payloads, 0);
    let found = |key: &[Field]| -> Vec<Option<String>> {
        keys(&of(key)).into_iter().map(|key| key.map(str::to_owned)).collect()
    };
    let some = |texts: [Option<&str>; 3]| texts.map(|text| text.map(str::to_owned)).to_vec();
    assert_eq!(found(&[field("text", Type::String)]), some([Some("a \"b\""), Some(""), None]));
    assert_eq!(found(&[field("n", Type::Int)]), some([Some("7"), None, None]));
    assert_eq!(found(&[field("x", Type::Float)]), some([Some("2.5"), None, None]));
    let times = ["1970-01-01T00:00:01Z", "1970-01-01T00:00:02Z", "1970-01-01T00:00:03Z"].map(Some);
    assert_eq!(found(&[time()]), some(times));
    let both = [field("text", Type::String), field("n", Type::Int)];
    assert_eq!(found(&both), some([Some(r#"["a \"b\"",7]"#), Some(r#"["",null]"#), Some("[null,null]")]));
}

#[test]
fn a_column_that_is_not_there_is_an_error() {
    let plan = plan();
    let source = SourceTransform::new(&plan, "s").unwrap();
    let rows = source.decode(0, &[record(0, r#"{"at": 1}"#)]).unwrap().rows;
    let rows = source.table_rows("rows", &rows).unwrap();
    for wrong in [field("nothing", Type::Int), field("text", Type::Int), field("n", Type::Map)] {
        let json = Arc::new(RowJson::new(&output("rows", &[], std::slice::from_ref(&wrong))));
        assert!(json.over(&rows, 0).and_then(|mut over| over.take(1)).is_err(), "{wrong:?}");
    }
}
