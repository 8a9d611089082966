//! States and columns as frames, and back.

use tideline_common::column::Column;
use tideline_common::plan::LookupPlan;
use tideline_common::ports::{LookupSchema, ViewSchema};
use tideline_common::state::StateBatch;
use tideline_common::time::Timestamp;
use tideline_common::value::{Type, Value};
use tideline_transform::{SourceTransform, ViewTransform, frame};

use crate::plans::{field, plan, record};

fn states() -> StateBatch {
    let plan = plan();
    let source = SourceTransform::new(&plan, "s").unwrap();
    let payloads = [
        r#"{"at": 1, "text": "a", "n": 1, "x": 0.5, "ok": true}"#,
        r#"{"at": 1, "text": "a", "n": 2, "x": -3, "ok": true}"#,
        r#"{"at": -9, "text": "b\u0000c"}"#,
        r#"{"at": 100, "n": 7, "ok": false}"#,
    ];
    let records: Vec<_> = payloads.iter().enumerate().map(|(at, payload)| record(at as u64, *payload)).collect();
    let rows = source.decode(1, &records).unwrap().rows;
    let rows = source.table_rows("rows", &rows).unwrap();
    ViewTransform::new(&plan, "v").unwrap().states("rows", &rows).unwrap()
}

#[test]
fn states_read_back() {
    let view = ViewSchema::from(&plan().views[0]);
    for states in [states(), StateBatch::new(&view.fields)] {
        let gold = frame::states_to_frame(&view, &states).unwrap();
        assert_eq!(frame::frame_to_states(&view, &gold).unwrap(), states);
    }
    let gold = frame::states_to_frame(&view, &states()).unwrap();
    assert!(frame::frame_to_states(&view, &gold.drop("pane").unwrap()).is_err());
    assert!(frame::states_to_frame(&view, &StateBatch::new(&[])).is_err());
}

#[test]
fn answers_have_windows_and_columns() {
    let view = &plan().views[0];
    let answers = frame::answers_to_frame(view, &states()).unwrap();
    assert_eq!(answers.shape(), (3, 4 + view.answer.len()));
    let count = answers.column("m0").unwrap().i64().unwrap();
    assert_eq!(count.iter().collect::<Vec<_>>(), [2, 1, 1].map(Some));
    let histogram = answers.column("m16").unwrap().str().unwrap();
    assert_eq!(histogram.get(0), Some(r#"{"a":2}"#));
    assert_eq!(histogram.get(2), None);
    let span = answers.column("window_end").unwrap().datetime().unwrap().physical().get(0).unwrap()
        - answers.column("window_start").unwrap().datetime().unwrap().physical().get(0).unwrap();
    assert_eq!(span, view.window.size.0);
}

#[test]
fn columns_read_back() {
    let fields = [
        field("b", Type::Bool),
        field("i", Type::Int),
        field("x", Type::Float),
        field("s", Type::String),
        field("t", Type::Timestamp),
        field("l", Type::Strings),
    ];
    let mut columns: Vec<Column> = fields.iter().map(|field| Column::new(field.ty)).collect();
    let rows = [
        [
            Value::Bool(true),
            Value::Int(-4),
            Value::Float(0.25),
            Value::String("é".to_owned()),
            Value::Timestamp(Timestamp(-7)),
            Value::Strings(vec!["a".to_owned(), String::new()]),
        ],
        [const { Value::Null }; 6],
        [
            Value::Bool(false),
            Value::Int(i64::MAX),
            Value::Float(f64::MIN),
            Value::String(String::new()),
            Value::Timestamp(Timestamp(0)),
            Value::Strings(vec![]),
        ],
    ];
    for row in &rows {
        for (column, value) in columns.iter_mut().zip(row) {
            column.push(value);
        }
    }
    let made = frame::columns_to_frame(&fields, &columns).unwrap();
    assert_eq!(frame::frame_to_columns(&fields, &made).unwrap(), columns);
    assert_eq!(frame::fields(&made).unwrap(), fields);
    assert!(frame::frame_to_columns(&[field("s", Type::Int)], &made).is_err());
    assert!(frame::frame_to_columns(&[field("none", Type::Int)], &made).is_err());
}

#[test]
fn lookup_rows_keep_their_place() {
    let plan = plan();
    let source = SourceTransform::new(&plan, "s").unwrap();
    let records = [record(5, r#"{"at": 1, "text": "t", "tags": ["a", "b"]}"#)];
    let rows = source.table_rows("tags", &source.decode(3, &records).unwrap().rows).unwrap();
    let lookup = LookupSchema::from(&LookupPlan {
        name: "l".to_owned(),
        table: "tags".to_owned(),
        source: "s".to_owned(),
        key: vec![field("tag", Type::String)],
        columns: vec![field("score", Type::Float), field("mood", Type::String), field("tag", Type::String)],
        limit: 10,
        retain_speed: None,
        version: "v".to_owned(),
    });
    let found = frame::lookup_rows(&lookup, &rows).unwrap();
    assert_eq!(found.ordinals, [0, 1]);
    assert_eq!(found.times, [Timestamp(1_000_000); 2]);
    assert_eq!(found.sequences, [tideline_common::position::sequence(3, 5); 2]);
    assert_eq!(found.keys.get(1), tideline_common::key::Key::of(&[Value::String("b".to_owned())]).as_bytes());
    assert_eq!(found.columns[1].value(0), Value::String("neutral".to_owned()));
}
