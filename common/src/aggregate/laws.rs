//! The laws of every aggregate and every rule, by property: what the layers rely on when they split the work.

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::fold::{Event, fold, is_lowered};
use super::*;
use crate::state::{Reader, StateBatch, StateField};
use crate::time::Timestamp;

#[derive(Clone, Debug)]
struct Row {
    argument: Value,
    time: i64,
    sequence: i64,
}

/// Every aggregate over every type that it takes.
fn aggregates() -> Vec<Aggregate> {
    let functions = Function::NAMES.iter().flat_map(|name| {
        let quantiles: &[f64] = if *name == "quantile" { &[0.0, 0.5, 0.95, 1.0] } else { &[0.5] };
        let arguments = if *name == "quantile" { 2 } else { 1 };
        quantiles.iter().map(move |q| Function::named(name, arguments, Some(*q)).unwrap())
    });
    let typed = functions.flat_map(|function| {
        let types = function.argument_types().iter().filter(|ty| SCALARS.contains(ty));
        types.map(move |ty| Aggregate::new(function, Some(("x".into(), *ty))).unwrap())
    });
    typed.chain([Aggregate::new(Function::Count, None).unwrap()]).collect()
}

fn values(ty: Type) -> BoxedStrategy<Value> {
    let some = match ty {
        Type::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Type::Int => prop_oneof![8 => -50..50_i64, 1 => any::<i64>()].prop_map(Value::Int).boxed(),
        Type::Float => prop_oneof![
            20 => (-1e6..1e6_f64).prop_map(Value::Float),
            4 => prop::sample::select(vec![0.0, -0.0, 1.0, -1.0]).prop_map(Value::Float),
        ]
        .boxed(),
        Type::String => "[a-d]{0,2}".prop_map(Value::String).boxed(),
        _ => (-50..50_i64).prop_map(|t| Value::Timestamp(Timestamp(t))).boxed(),
    };
    prop_oneof![1 => Just(Value::Null), 5 => some].boxed()
}

fn rows(ty: Type) -> impl Strategy<Value = Vec<Row>> {
    // Few times and sequences: ties are what breaks an order.
    let row = (values(ty), -3..3_i64, 0..4_i64).prop_map(|(argument, time, sequence)| Row { argument, time, sequence });
    prop::collection::vec(row, 0..40)
}

fn cases() -> impl Strategy<Value = (Aggregate, Vec<Row>)> {
    prop::sample::select(aggregates()).prop_flat_map(|aggregate| {
        let rows = rows(aggregate.argument_type());
        (Just(aggregate), rows)
    })
}

fn fields(aggregate: &Aggregate) -> Vec<StateField> {
    aggregate.states().iter().map(|spec| spec.field(spec.suffix, "t", aggregate.argument.clone())).collect()
}

/// The states of `rows`, in a batch of one group.
fn states(aggregate: &Aggregate, rows: &[Row]) -> StateBatch {
    let fields = fields(aggregate);
    let mut batch = StateBatch::new(&fields);
    batch.push_identity(b"k", Timestamp(0));
    for row in rows {
        let event = Event { argument: &row.argument, time: Timestamp(row.time), sequence: row.sequence };
        for (field, column) in fields.iter().zip(&mut batch.states) {
            fold(field, column, 0, event);
        }
    }
    batch
}

fn merged(into: &StateBatch, from: &StateBatch) -> StateBatch {
    let mut into = into.clone();
    for (column, from) in into.states.iter_mut().zip(&from.states) {
        column.merge_row(0, from, 0);
    }
    into
}

fn finish(aggregate: &Aggregate, batch: &StateBatch) -> Value {
    aggregate.finish(&batch.states.iter().collect::<Vec<_>>(), 0)
}

#[allow(clippy::float_cmp)] // infinities and zeros are equal, or not
fn near(a: f64, b: f64, scale: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(scale)
}

/// Equal states; sums of floats up to rounding, relative to the magnitudes that went in.
fn same(a: &StateBatch, b: &StateBatch, rows: &[Row]) -> bool {
    let total: f64 = rows.iter().filter_map(|row| row.argument.as_f64()).map(|x| x.abs().max(x * x)).sum();
    a.states.iter().zip(&b.states).all(|pair| match pair {
        (StateColumn::SumFloat(a), StateColumn::SumFloat(b)) => near(a[0], b[0], total * 1e-6),
        (a, b) => a == b,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn merging_is_associative_commutative_and_has_an_identity(
        (aggregate, rows) in cases(), first in 0..40_usize, second in 0..40_usize,
    ) {
        let (first, second) = (first.min(rows.len()), second.min(rows.len()));
        let (a, b, c) = (
            states(&aggregate, &rows[..first.min(second)]),
            states(&aggregate, &rows[first.min(second)..first.max(second)]),
            states(&aggregate, &rows[first.max(second)..]),
        );
        let nothing = states(&aggregate, &[]);
        prop_assert!(same(&merged(&merged(&a, &b), &c), &merged(&a, &merged(&b, &c)), &rows));
        prop_assert!(same(&merged(&a, &b), &merged(&b, &a), &rows));
        prop_assert_eq!(&merged(&a, &nothing), &a);
        prop_assert_eq!(&merged(&nothing, &a), &a);
    }

    #[test]
    fn any_split_in_any_order_makes_the_same_state(
        (aggregate, rows) in cases(), parts in prop::collection::vec((0..5_usize, any::<u32>()), 40),
    ) {
        let whole = states(&aggregate, &rows);
        let mut split: BTreeMap<usize, Vec<(u32, Row)>> = BTreeMap::new();
        for (row, (part, order)) in rows.iter().zip(parts) {
            split.entry(part).or_default().push((order, row.clone()));
        }
        let mut total = states(&aggregate, &[]);
        for (_, mut part) in split.into_iter().rev() {
            part.sort_by_key(|(order, _)| *order);
            let part: Vec<Row> = part.into_iter().map(|(_, row)| row).collect();
            total = merged(&total, &states(&aggregate, &part));
        }
        prop_assert!(same(&total, &whole, &rows), "{:?} is not {:?}", total, whole);
    }

    #[test]
    fn finishing_equals_the_naive_answer((aggregate, rows) in cases()) {
        let answer = finish(&aggregate, &states(&aggregate, &rows));
        let expected = naive(&aggregate, &rows);
        let fits = match (&answer, &expected) {
            (Value::Float(a), Value::Float(b)) if matches!(aggregate.function, Function::Quantile(_)) => {
                (a - b).abs() <= 0.01 * b.abs()
            }
            (Value::Float(a), Value::Float(b)) => {
                // Of the magnitudes that were added, not of what cancellation leaves.
                let scale = rows.iter().filter_map(|row| row.argument.as_f64()).fold(0.0, |m: f64, x| m.max(x.abs()));
                let square = matches!(aggregate.function, Function::Variance | Function::Stddev);
                let scale = if square { scale * scale * 1e-3 } else { scale };
                let (a, b) = if aggregate.function == Function::Stddev { (a * a, b * b) } else { (*a, *b) };
                near(a, b, scale)
            }
            // Two of forty values may share a register.
            (Value::Int(a), Value::Int(b)) if aggregate.function == Function::Distinct => (a - b).abs() <= 2,
            (a, b) => a == b,
        };
        prop_assert!(fits, "{:?}: {:?} is not {:?}", aggregate, answer, expected);
        prop_assert!(answer.is_null() || type_of(&answer) == aggregate.result_type());
    }

    #[test]
    fn states_read_back((aggregate, rows) in cases()) {
        let batch = states(&aggregate, &rows);
        let mut bytes = Vec::new();
        batch.write(&mut bytes);
        let mut reader = Reader::new(&bytes);
        let mut back = StateBatch::new(&fields(&aggregate));
        back.read(&mut reader).unwrap();
        prop_assert!(reader.is_done());
        prop_assert_eq!(&back, &batch);
        // Every cut is noticed.
        for end in 0..bytes.len() {
            prop_assert!(StateBatch::new(&fields(&aggregate)).read(&mut Reader::new(&bytes[..end])).is_err());
        }
    }

    #[test]
    fn damaged_states_are_an_error_or_states_but_no_panic(
        (aggregate, rows) in cases(), place in any::<prop::sample::Index>(), byte in any::<u8>(),
        noise in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut bytes = Vec::new();
        states(&aggregate, &rows).write(&mut bytes);
        let at = place.index(bytes.len());
        bytes[at] = byte;
        for damaged in [bytes, noise] {
            let mut batch = StateBatch::new(&fields(&aggregate));
            if batch.read(&mut Reader::new(&damaged)).is_ok() {
                // What was read can be used.
                for row in 0..batch.len() {
                    aggregate.finish(&batch.states.iter().collect::<Vec<_>>(), row);
                    let copy = batch.clone();
                    batch.states.iter_mut().zip(&copy.states).for_each(|(to, from)| { to.merge_row(row, from, 0); });
                }
            }
        }
    }
}

fn type_of(value: &Value) -> Type {
    match value {
        Value::Bool(_) => Type::Bool,
        Value::Int(_) => Type::Int,
        Value::Float(_) => Type::Float,
        Value::String(_) => Type::String,
        Value::Timestamp(_) => Type::Timestamp,
        Value::Map(_) => Type::Map,
        Value::Null | Value::Strings(_) => Type::Strings,
    }
}

fn order(a: &Value, b: &Value) -> std::cmp::Ordering {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => a.total_cmp(b),
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
        _ => panic!("values of two types"),
    }
}

/// The answer by looking at all rows at once.
fn naive(aggregate: &Aggregate, rows: &[Row]) -> Value {
    let some: Vec<&Row> = rows.iter().filter(|row| !row.argument.is_null()).collect();
    let n = some.len();
    let numbers: Vec<f64> = some.iter().filter_map(|row| row.argument.as_f64()).collect();
    let mean = numbers.iter().sum::<f64>() / n as f64;
    let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n as f64 - 1.0);
    let by_event = |row: &&&Row| (row.time, row.sequence);
    let of = |row: Option<&&Row>| row.map_or(Value::Null, |row| row.argument.clone());
    match aggregate.function {
        Function::Count if aggregate.argument.is_none() => Value::Int(rows.len() as i64),
        Function::Count => Value::Int(n as i64),
        Function::CountIf => Value::Int(some.iter().filter(|row| row.argument == Value::Bool(true)).count() as i64),
        Function::Distinct => {
            let plain_text = |row: &&Row| match row.argument {
                Value::Float(x) => format!("{}", x + 0.0),
                ref other => other.to_string(),
            };
            Value::Int(some.iter().map(plain_text).collect::<HashSet<_>>().len() as i64)
        }
        _ if n == 0 => Value::Null,
        Function::Histogram => {
            let mut counts = BTreeMap::new();
            for row in &some {
                *counts.entry(row.argument.to_string()).or_insert(0) += 1;
            }
            Value::Map(counts)
        }
        Function::Sum if aggregate.argument_type == Some(Type::Int) => {
            Value::Int(some.iter().fold(0_i64, |sum, row| {
                let Value::Int(i) = row.argument else { panic!("not an integer") };
                sum.wrapping_add(i)
            }))
        }
        Function::Sum => Value::Float(numbers.iter().sum()),
        Function::Avg => Value::Float(mean),
        Function::Min => of(some.iter().min_by(|a, b| order(&a.argument, &b.argument))),
        Function::Max => of(some.iter().max_by(|a, b| order(&a.argument, &b.argument))),
        Function::First => {
            of(some.iter().min_by(|a, b| by_event(a).cmp(&by_event(b)).then_with(|| order(&a.argument, &b.argument))))
        }
        Function::Last => {
            of(some.iter().max_by(|a, b| by_event(a).cmp(&by_event(b)).then_with(|| order(&a.argument, &b.argument))))
        }
        Function::Variance | Function::Stddev if n < 2 => Value::Null,
        Function::Variance => Value::Float(variance),
        Function::Stddev => Value::Float(variance.sqrt()),
        Function::Quantile(q) => {
            let mut sorted = numbers;
            sorted.sort_by(f64::total_cmp);
            Value::Float(sorted[(q * (n - 1) as f64) as usize])
        }
    }
}

#[test]
fn a_table_that_was_never_touched_counts_nothing_and_is_null_otherwise() {
    for aggregate in aggregates() {
        let counts = matches!(aggregate.function, Function::Count | Function::CountIf | Function::Distinct);
        let expected = if counts { Value::Int(0) } else { Value::Null };
        assert_eq!(finish(&aggregate, &states(&aggregate, &[])), expected, "{aggregate:?}");
    }
}

#[test]
fn every_state_is_one_that_layers_lower() {
    for aggregate in aggregates() {
        let mut suffixes = HashSet::new();
        for spec in aggregate.states() {
            assert!(is_lowered(spec.rule, spec.input, spec.ty), "{spec:?}");
            assert!(suffixes.insert(spec.suffix), "{spec:?}");
        }
    }
}

#[test]
fn nan_propagates_in_sums_and_is_left_out_of_extremes_and_quantiles() {
    let rows: Vec<Row> = [1.0, f64::NAN, 3.0]
        .into_iter()
        .zip(0..)
        .map(|(x, at)| Row { argument: Value::Float(x), time: at, sequence: at })
        .collect();
    let answer = |name: &str, rows: &[Row]| {
        let function = Function::named(name, if name == "quantile" { 2 } else { 1 }, Some(1.0)).unwrap();
        let aggregate = Aggregate::new(function, Some(("x".into(), Type::Float))).unwrap();
        finish(&aggregate, &states(&aggregate, rows))
    };
    for name in ["sum", "avg", "variance", "stddev"] {
        assert!(answer(name, &rows).as_f64().unwrap().is_nan(), "{name}");
    }
    assert_eq!(answer("min", &rows), Value::Float(1.0));
    assert_eq!(answer("max", &rows), Value::Float(3.0));
    assert_eq!(answer("count", &rows), Value::Int(3));
    assert!((answer("quantile", &rows).as_f64().unwrap() - 3.0).abs() < 0.03);
    assert_eq!(answer("min", &rows[1..2]), Value::Null);
    assert_eq!(answer("quantile", &rows[1..2]), Value::Null);
}

#[test]
fn variance_survives_a_mean_of_a_thousand_deviations() {
    let rows: Vec<Row> = (0..1_000)
        .map(|i| Row { argument: Value::Float(1_000.0 + f64::from(i % 7) * 0.5), time: 0, sequence: 0 })
        .collect();
    let aggregate = Aggregate::new(Function::Variance, Some(("x".into(), Type::Float))).unwrap();
    let (answer, expected) = (finish(&aggregate, &states(&aggregate, &rows)), naive(&aggregate, &rows));
    let (answer, expected) = (answer.as_f64().unwrap(), expected.as_f64().unwrap());
    assert!((answer / expected - 1.0).abs() < 1e-9, "{answer} is not {expected}");
    // Equal values: rounding must not make it negative.
    let equal = vec![Row { argument: Value::Float(0.1), time: 0, sequence: 0 }; 1_001];
    let zero = finish(&aggregate, &states(&aggregate, &equal)).as_f64().unwrap();
    assert!((0.0..1e-14).contains(&zero), "{zero}");
}
