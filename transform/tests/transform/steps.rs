//! The steps of reports.

use polars::prelude::{Column, DataFrame, IntoLazy, NamedFrom, Series, TimeUnit, df};
use proptest::prelude::*;
use tideline_common::plan::{JoinTime, ReportPlan, Step};
use tideline_common::time::Span;
use tideline_transform::steps;

fn times(name: &str, micros: &[i64]) -> Column {
    let dtype = polars::prelude::DataType::Datetime(TimeUnit::Microseconds, None);
    Series::new(name.into(), micros).cast(&dtype).unwrap().into()
}

fn run(steps: Vec<Step>, inputs: &[(&str, &DataFrame)]) -> Result<DataFrame, String> {
    let plan = ReportPlan {
        name: "r".to_owned(),
        from: inputs[0].0.to_owned(),
        steps,
        inputs: inputs.iter().map(|(name, _)| (*name).to_owned()).collect(),
        order_by: vec![],
        version: "v".to_owned(),
    };
    let inputs = inputs.iter().map(|(name, frame)| ((*name).to_owned(), (*frame).clone().lazy())).collect();
    steps::run(&plan, inputs).map_err(|error| error.to_string())
}

fn join(time: JoinTime, how: &str) -> Step {
    Step::Join {
        with: "prices".to_owned(),
        on: vec![("topic".to_owned(), "symbol".to_owned())],
        time,
        how: how.to_owned(),
        suffix: "_price".to_owned(),
        left_time: "at".to_owned(),
        right_time: "at".to_owned(),
    }
}

fn sides(left: &[(Option<&str>, i64)], right: &[(Option<&str>, i64)]) -> (DataFrame, DataFrame) {
    let ids = |n: usize| (0..n as i64).collect::<Vec<_>>();
    let make = |rows: &[(Option<&str>, i64)], key: &str, id: &str| {
        let keys: Vec<_> = rows.iter().map(|(key, _)| *key).collect();
        let at: Vec<_> = rows.iter().map(|(_, at)| *at).collect();
        let columns = vec![
            Series::new(key.into(), keys).into(),
            times("at", &at),
            Series::new(id.into(), ids(rows.len())).into(),
        ];
        DataFrame::new(rows.len(), columns).unwrap()
    };
    (make(left, "topic", "l"), make(right, "symbol", "r"))
}

fn pairs(joined: &DataFrame) -> Vec<(i64, Option<i64>)> {
    let (l, r) = (joined.column("l").unwrap().i64().unwrap(), joined.column("r").unwrap().i64().unwrap());
    l.iter().map(Option::unwrap).zip(r.iter()).collect()
}

fn side() -> impl Strategy<Value = Vec<(Option<&'static str>, i64)>> {
    prop::collection::vec((prop::option::weighted(0.9, prop::sample::select(vec!["a", "b"])), -20i64..20), 0..25)
}

proptest! {
    #[test]
    fn interval_and_as_of_joins_equal_the_naive_ones(
        left in side(), right in side(), before in 0i64..6, after in 0i64..6, keep in any::<bool>(),
    ) {
        let how = if keep { "left" } else { "inner" };
        let (l, r) = sides(&left, &right);
        let inputs = [("tweets", &l), ("prices", &r)];
        let interval = JoinTime::Interval { before: Span(before), after: Span(after) };
        let (mut every, mut newest) = (Vec::new(), Vec::new());
        for (i, (key, at)) in left.iter().enumerate() {
            let of_key = || right.iter().enumerate().filter(|(_, (other, _))| key.is_some() && other == key);
            let mut matching: Vec<_> =
                of_key().filter(|(_, (_, time))| (at - before..=at + after).contains(time)).collect();
            matching.sort_by_key(|(_, (_, time))| *time);
            every.extend(matching.iter().map(|(j, _)| (i as i64, Some(*j as i64))));
            let as_of = of_key().filter(|(_, (_, time))| time <= at && at - time <= before).max_by_key(|(j, (_, t))| (*t, *j));
            newest.extend(as_of.map(|(j, _)| (i as i64, Some(j as i64))));
            if keep && matching.is_empty() {
                every.push((i as i64, None));
            }
            if keep && as_of.is_none() {
                newest.push((i as i64, None));
            }
        }
        prop_assert_eq!(pairs(&run(vec![join(interval, how)], &inputs).unwrap()), every);
        let as_of = JoinTime::AsOf { within: Some(Span(before)) };
        prop_assert_eq!(pairs(&run(vec![join(as_of, how)], &inputs).unwrap()), newest);
    }
}

#[test]
fn a_join_names_its_columns() {
    let (l, r) = sides(&[(Some("a"), 1)], &[(Some("a"), 2)]);
    let joined = run(vec![join(JoinTime::Any, "inner")], &[("tweets", &l), ("prices", &r)]).unwrap();
    let names: Vec<_> = joined.get_column_names().into_iter().map(ToString::to_string).collect();
    assert_eq!(names, ["topic", "at", "l", "at_price", "r"]);
    let error = run(vec![join(JoinTime::Any, "outer")], &[("tweets", &l), ("prices", &r)]).unwrap_err();
    assert!(error.contains("step 1") && error.contains("outer"), "{error}");
}

#[test]
fn steps_follow_each_other() {
    let scores = df!("symbol" => ["a", "b", "a", "a"], "t" => [3, 1, 1, 2], "s" => [4.0, 1.0, 1.0, 2.0]).unwrap();
    let rolling = |agg: &str, over: &[&str]| Step::Rolling {
        column: "score".to_owned(),
        agg: agg.to_owned(),
        rows: 2,
        over: over.iter().map(|name| (*name).to_owned()).collect(),
        order_by: "t".to_owned(),
        output: agg.to_owned(),
    };
    let sql = |sql: &str| Step::Sql { sql: sql.to_owned() };
    let made = run(
        vec![
            sql("SELECT symbol, t, s AS score FROM mentions"),
            rolling("mean", &["symbol"]),
            rolling("std", &["symbol"]),
            rolling("max", &[]),
            sql("SELECT i.*, m.s AS again FROM input i JOIN mentions m ON i.symbol = m.symbol AND i.t = m.t ORDER BY i.symbol, i.t"),
        ],
        &[("mentions", &scores)],
    )
    .unwrap();
    let floats = |name: &str| made.column(name).unwrap().f64().unwrap().iter().collect::<Vec<_>>();
    assert_eq!(floats("mean"), [Some(1.0), Some(1.5), Some(3.0), Some(1.0)]);
    let std = floats("std");
    assert_eq!((std[0], std[3]), (None, None));
    assert!((std[2].unwrap() - 2f64.sqrt()).abs() < 1e-12);
    assert_eq!(floats("max")[2], Some(4.0));
    assert_eq!(floats("again"), [1.0, 2.0, 4.0, 1.0].map(Some));
}

#[test]
fn a_pivot_has_the_columns_of_its_definition() {
    let rows =
        df!("k" => [2, 1, 2, 2], "on" => ["p", "n", "p", "other"], "v" => [Some(1), Some(5), Some(2), None]).unwrap();
    let pivot = |agg: &str| Step::Pivot {
        on: "on".to_owned(),
        index: vec!["k".to_owned()],
        values: "v".to_owned(),
        agg: agg.to_owned(),
        columns: ["p", "n", "never"].map(str::to_owned).to_vec(),
        prefix: "is_".to_owned(),
    };
    let cells = |agg: &str| -> Vec<Vec<Option<f64>>> {
        let made = run(vec![pivot(agg)], &[("rows", &rows)]).unwrap();
        assert_eq!(made.column("k").unwrap().i32().unwrap().iter().collect::<Vec<_>>(), [Some(2), Some(1)]);
        ["is_p", "is_n", "is_never"]
            .map(|name| {
                let cells = made.column(name).unwrap().cast(&polars::prelude::DataType::Float64).unwrap();
                cells.f64().unwrap().iter().collect()
            })
            .to_vec()
    };
    assert_eq!(cells("sum"), [vec![Some(3.0), None], vec![None, Some(5.0)], vec![None, None]]);
    assert_eq!(cells("count"), [vec![Some(2.0), Some(0.0)], vec![Some(0.0), Some(1.0)], vec![Some(0.0), Some(0.0)]]);
    assert_eq!(cells("last"), [vec![Some(2.0), None], vec![None, Some(5.0)], vec![None, None]]);
    assert!(run(vec![pivot("median")], &[("rows", &rows)]).is_err());
}

#[test]
fn an_unknown_input_is_named() {
    let rows = df!("a" => [1]).unwrap();
    let error = run(vec![Step::Sql { sql: "SELECT * FROM nothing".to_owned() }], &[("rows", &rows)]).unwrap_err();
    assert!(error.contains("report `r`, step 1") && error.contains("nothing"), "{error}");
}
