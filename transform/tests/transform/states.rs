//! Rows to states, against the reference fold.

use polars::prelude::IntoLazy;
use proptest::prelude::*;
use tideline_common::aggregate::fold::{Event, fold};
use tideline_common::key::Key;
use tideline_common::plan::Plan;
use tideline_common::position::sequence;
use tideline_common::record::Record;
use tideline_common::state::{StateBatch, StateColumn, StateTable};
use tideline_common::time::Timestamp;
use tideline_common::value::Value;
use tideline_common::watermark::is_late;
use tideline_transform::{SourceTransform, ViewTransform};

use crate::plans::{plan, record};

#[derive(Clone, Debug)]
struct Row {
    at: i64,
    text: Option<String>,
    n: Option<i64>,
    x: Option<f64>,
    ok: Option<bool>,
}

fn row() -> impl Strategy<Value = Row> {
    let x = prop_oneof![Just(0.0), Just(-2.5), -1e3..1e3, Just(1e-300)];
    // Few times and texts, so that groups and ties are common; times before 1970 too.
    (
        -5i64..5,
        prop::option::of("[ab]{0,1}"),
        prop::option::of(-9i64..9),
        prop::option::of(x),
        prop::option::of(any::<bool>()),
    )
        .prop_map(|(at, text, n, x, ok)| Row { at, text, n, x, ok })
}

fn records(rows: &[Row]) -> Vec<Record> {
    let json = |row: &Row| serde_json::json!({ "at": row.at, "text": row.text, "n": row.n, "x": row.x, "ok": row.ok });
    rows.iter().enumerate().map(|(at, row)| record(at as u64, json(row).to_string())).collect()
}

fn value<T>(value: Option<T>, of: impl Fn(T) -> Value) -> Value {
    value.map_or(Value::Null, of)
}

fn naive(plan: &Plan, rows: &[(u64, Row)]) -> StateTable {
    let view = &plan.views[0];
    let mut table = StateTable::new(&view.fields);
    for (offset, row) in rows {
        let time = Timestamp(row.at * 1_000_000);
        let key = Key::of(&[value(row.text.clone(), Value::String), value(row.ok, Value::Bool)]);
        let mut one = StateBatch::new(&view.fields);
        one.push_identity(&key.0, time.floor(view.pane));
        for (field, state) in view.fields.iter().zip(&mut one.states) {
            let argument = match field.argument.as_deref() {
                Some("text") => value(row.text.clone(), Value::String),
                Some("n") => value(row.n, Value::Int),
                Some("x") => value(row.x, Value::Float),
                Some("ok") => value(row.ok, Value::Bool),
                Some("x > 0") => value(row.x, |x| Value::Bool(x > 0.0)),
                Some(other) => panic!("{other}"),
                None => Value::Null,
            };
            fold(field, state, 0, Event { argument: &argument, time, sequence: sequence(0, *offset) });
        }
        table.merge(&one);
    }
    table
}

/// Sums of floats may differ by rounding, all else not at all.
fn same(a: &StateTable, b: &StateTable) -> Result<(), TestCaseError> {
    prop_assert_eq!(a.len(), b.len());
    let (a, b) = (a.groups(), b);
    for row in 0..a.len() {
        let other = b.find(a.keys.get(row), a.panes[row]);
        prop_assert!(other.is_some(), "a group is missing");
        let mut one = StateBatch::new(&plan().views[0].fields);
        let mut two = one.clone();
        one.push_from(a, row);
        two.push_from(b.groups(), other.unwrap());
        for (one, two) in one.states.iter().zip(&two.states) {
            match (one, two) {
                (StateColumn::SumFloat(one), StateColumn::SumFloat(two)) => {
                    prop_assert!((one[0] - two[0]).abs() <= 1e-9 * one[0].abs().max(1.0), "{} {}", one[0], two[0]);
                }
                _ => prop_assert_eq!(one, two),
            }
        }
    }
    Ok(())
}

fn table_of(plan: &Plan, batches: &[StateBatch]) -> StateTable {
    let mut table = StateTable::new(&plan.views[0].fields);
    for batch in batches {
        table.merge(batch);
    }
    table
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_split_folds_to_the_reference(rows in prop::collection::vec(row(), 0..60), batch in 1usize..20) {
        let plan = plan();
        let (source, view) = (SourceTransform::new(&plan, "s").unwrap(), ViewTransform::new(&plan, "v").unwrap());
        let records = records(&rows);
        let states = |records: &[Record]| {
            let decoded = source.decode(0, records).unwrap();
            assert!(decoded.rejected.is_empty());
            view.states("rows", &source.table_rows("rows", &decoded.rows).unwrap()).unwrap()
        };
        let reference = naive(&plan, &rows.into_iter().enumerate().map(|(at, row)| (at as u64, row)).collect::<Vec<_>>());
        same(&reference, &table_of(&plan, &[states(&records)]))?;
        same(&reference, &table_of(&plan, &records.chunks(batch).map(states).collect::<Vec<_>>()))?;
    }

    #[test]
    fn lateness_splits_the_rows(rows in prop::collection::vec(row(), 1..40)) {
        let plan = plan();
        let (source, view) = (SourceTransform::new(&plan, "s").unwrap(), ViewTransform::new(&plan, "v").unwrap());
        let mut highest = i64::MIN;
        let mut before = Vec::new();
        let (mut on_time, mut late) = (Vec::new(), 0);
        for (at, row) in rows.iter().enumerate() {
            let time = row.at * 1_000_000;
            if is_late(plan.views[0].window, Timestamp(time), Timestamp(highest), plan.sources[0].lateness) {
                late += 1;
            } else {
                on_time.push((at as u64, row.clone()));
            }
            before.push(highest);
            highest = highest.max(time);
        }
        let mut decoded = source.decode(0, &records(&rows)).unwrap().rows;
        decoded.set_highest(before).unwrap();
        let states = view.speed_states("rows", &source.table_rows("rows", &decoded).unwrap()).unwrap();
        same(&naive(&plan, &on_time), &table_of(&plan, &[states.on_time]))?;
        let StateColumn::SumInt(counts) = &states.late.states[0] else { panic!("not a count") };
        prop_assert_eq!(counts.iter().sum::<i64>(), late);
    }
}

#[test]
fn a_scan_folds_as_a_batch_does() {
    let plan = plan();
    let (source, view) = (SourceTransform::new(&plan, "s").unwrap(), ViewTransform::new(&plan, "v").unwrap());
    // Enough values for the maps to leave the path for small ones.
    let rows: Vec<Row> = (0..5_000)
        .map(|i| Row { at: i % 7, text: Some(format!("t{}", i % 3)), n: Some(i), x: Some(i as f64), ok: Some(true) })
        .collect();
    let decoded = source.decode(0, &records(&rows)).unwrap().rows;
    let frame = source.table_rows("rows", &decoded).unwrap();
    let scanned = view.states_lazy("rows", frame.clone().lazy()).unwrap();
    let reference = naive(&plan, &rows.into_iter().enumerate().map(|(at, row)| (at as u64, row)).collect::<Vec<_>>());
    same(&reference, &table_of(&plan, &[view.states("rows", &frame).unwrap()])).unwrap();
    same(&reference, &table_of(&plan, &[scanned])).unwrap();
    assert!(view.states("tags", &frame).is_err());
}
