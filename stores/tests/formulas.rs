//! Formulas in the SQL of `ClickHouse`, against the server that `TIDELINE_TEST_CLICKHOUSE` names.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "support/clickhouse.rs"]
mod support;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use support::{Database, database};
use tideline_common::aggregate::fold::{Event, fold};
use tideline_common::key::Key;
use tideline_common::manifest::{decode_manifest, manifest_path};
use tideline_common::plan::{Answers, Plan};
use tideline_common::ports::{Objects, Publication as _, ViewSchema};
use tideline_common::state::StateBatch;
use tideline_common::time::Timestamp;
use tideline_common::value::{Type, Value};
use tideline_stores::analytics::clickhouse::{ClickHouseAnalytics, ClickHouseConfig};
use tideline_stores::conformance::analytics::{Publication, publish_to_lake};
use tideline_stores::objects::ObjectStoreObjects;

/// Each part of the language, and what is not there.
const FORMULAS: &[&str] = &[
    "a + b",
    "a - b",
    "a * b",
    "a / b",
    "a % b",
    "-a",
    "a + x",
    "x - y",
    "x * y",
    "x / y",
    "-x",
    "9223372036854775807 + n",
    "1e308 * 10 * n",
    "NULL + a",
    "a = b",
    "a <> x",
    "x < y",
    "s <= t",
    "a > 1.5",
    "p >= q",
    "time > '2024-01-01T00:00:00Z'",
    "p AND q",
    "p OR q",
    "NOT p",
    "p AND NULL",
    "x IS NULL",
    "s IS NOT NULL",
    "m IS NULL",
    "p IS TRUE",
    "p IS NOT FALSE",
    "(a > b) IS FALSE",
    "a IS DISTINCT FROM b",
    "x + 1 IS NOT DISTINCT FROM y + 1",
    "a BETWEEN b AND 10",
    "x * 2 NOT BETWEEN y AND a",
    "a IN (1, 2, b)",
    "s NOT IN ('a', 'it''s', t)",
    "x + y IN (0.5, NULL, 3)",
    "CASE WHEN p THEN 1 WHEN q THEN 2.5 ELSE a END",
    "CASE WHEN x > y THEN s END",
    "CASE a + 1 WHEN b THEN 'b' WHEN 8 THEN 'eight' ELSE t END",
    "CASE WHEN p THEN NULL ELSE time END",
    "CAST(p AS int) + a",
    "CAST(x AS int)",
    "CAST(time AS int)",
    "CAST(a AS float) / 2",
    "CAST(q AS float)",
    "CAST(a AS bool)",
    "CAST(x AS bool)",
    "CAST(a AS string)",
    "CAST(p AS string) || '!'",
    "ABS(a)",
    "ABS(x)",
    "SIGN(a)",
    "SIGN(x)",
    "FLOOR(a)",
    "FLOOR(x)",
    "CEIL(x)",
    "SQRT(x)",
    "LN(x)",
    "EXP(x)",
    "EXP(a)",
    "POWER(x, 2)",
    "POWER(x, y)",
    "ROUND(a)",
    "ROUND(x)",
    "ROUND(x, 2)",
    "ROUND(x, 0)",
    "ROUND(x, -2)",
    "ROUND(x, 400)",
    "ROUND(x, -400)",
    "ROUND(a, 1)",
    "LABEL(x)",
    "LABEL(a)",
    "COALESCE(a, b, 0)",
    "COALESCE(x, a, 0.5)",
    "COALESCE(s, t, '')",
    "NULLIF(a, b)",
    "NULLIF(x * 1, y)",
    "NULLIF(s, 'a')",
    "GREATEST(a, b)",
    "LEAST(x, y, a)",
    "GREATEST(s, t)",
    "LEAST(time, '2024-01-01T00:00:00Z')",
    "GREATEST(p, q)",
    "s || t",
    "s || NULL",
    "f0 + f3",
    "f12 IS NULL",
    r"'it''s \ `' || s",
];

/// These have no equal in `ClickHouse`; the last depends on one that has none.
const UNSAID: &[&str] = &[
    "CAST(s AS int)",
    "CAST(x AS string)",
    "CAST(time AS string)",
    "x % y",
    "ROUND(x, a)",
    "CAST(s AS bool)",
    "f0 + 1",
];

/// Parts within parts that SQL is made of, at most.
const DEPTH: usize = 40;

/// Rows that values are compared over.
const ROWS: usize = 88;

/// A view of the newest values of every type, with formulas over them.
fn definition(formulas: &[String]) -> String {
    let mut text = r#"
version = 1
name = "formulas"
[sources.s]
topic = "s"
columns = { at = "string", k = "string", a = "int", b = "int", x = "float", y = "float", s = "string", t = "string", p = "bool", q = "bool", time = "timestamp" }
event_time = { column = "at", format = "rfc3339" }
[tables.t]
from = "s"
columns = { k = "k", a = "a", b = "b", x = "x", y = "y", s = "s", t = "t", p = "p", q = "q", time = "time" }
[views.formulas]
key = ["k"]
window = "1m"
measures.n = { table = "t", agg = "count()" }
measures.m = { table = "t", agg = "histogram(s)" }
"#
    .to_owned();
    for column in ["a", "b", "x", "y", "s", "t", "p", "q", "time"] {
        writeln!(text, r#"measures.{column} = {{ table = "t", agg = "last({column})" }}"#).unwrap();
    }
    for (at, formula) in formulas.iter().enumerate() {
        writeln!(text, "columns.f{at} = '''{formula}'''").unwrap();
    }
    text
}

/// One row per key, of values on the edges of their types.
fn states(view: &ViewSchema) -> StateBatch {
    const INTS: &[Option<i64>] =
        &[None, Some(0), Some(1), Some(-1), Some(7), Some(i64::MAX), Some(i64::MIN), Some(1_000_000_007)];
    const FLOATS: &[Option<f64>] = &[
        None,
        Some(0.0),
        Some(0.5),
        Some(-0.5),
        Some(2.5),
        Some(-1.005),
        Some(0.05),
        Some(0.499_999_999_999_999_94),
        Some(1e17),
        Some(-1e308),
        Some(9_223_372_036_854_775_808.0),
    ];
    let int = |at: usize| INTS[at % INTS.len()].map_or(Value::Null, Value::Int);
    let float = |at: usize| FLOATS[at % FLOATS.len()].map_or(Value::Null, Value::Float);
    let text = |at: usize, of: &[Option<&str>]| of[at % of.len()].map_or(Value::Null, |s| Value::String(s.to_owned()));
    let truth = |at: usize| [Value::Null, Value::Bool(true), Value::Bool(false)][at % 3].clone();
    let mut batch = StateBatch::new(&view.fields);
    for row in 0..ROWS {
        batch.push_identity(Key::of(&[Value::String(format!("{row:03}"))]).as_bytes(), Timestamp(0));
        for (field, states) in view.fields.iter().zip(&mut batch.states) {
            let argument = match field.argument.as_deref() {
                Some("a") => int(row),
                Some("b") => int(row / 8 + row),
                Some("x") => float(row),
                Some("y") => float(row / 11 + row),
                Some("s") => text(row, &[Some("a"), None, Some("it's"), Some(r"é\"), Some("")]),
                Some("t") => text(row / 5, &[None, Some("b"), Some("a")]),
                Some("p") => truth(row),
                Some("q") => truth(row / 3),
                Some("time") if row % 4 != 0 => {
                    Value::Timestamp(Timestamp(1_704_067_200_000_000 + (row as i64 - 44) * 1_234_567))
                }
                _ => Value::Null,
            };
            // A null says nothing: there is no newest value then.
            if field.argument.is_none() || argument != Value::Null {
                fold(field, states, row, Event { argument: &argument, time: Timestamp(1), sequence: 1 });
            }
        }
    }
    batch
}

/// Formulas at random.
struct Formulas(u64);

impl Formulas {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    fn pick(&mut self, of: &[&'static str]) -> &'static str {
        of[self.below(of.len())]
    }

    fn number(&mut self, depth: usize) -> String {
        let Some(deeper) = depth.checked_sub(1) else {
            return self.pick(&["a", "b", "x", "y", "n", "1", "0", "2.5", "-7", "1e9", "NULL"]).to_owned();
        };
        let (a, b) = (self.number(deeper), self.number(deeper));
        match self.below(12) {
            0..4 => format!("({a} {} {b})", self.pick(&["+", "-", "*", "/"])),
            4 => format!("(-{a})"),
            5 => format!("{}({a})", self.pick(&["ABS", "SIGN", "FLOOR", "CEIL", "ROUND", "SQRT"])),
            6 => format!("COALESCE({a}, {b})"),
            7 => format!("NULLIF({a}, {b})"),
            8 => format!("{}({a}, {b})", self.pick(&["GREATEST", "LEAST"])),
            9 => format!("CASE WHEN {} THEN {a} ELSE {b} END", self.truth(deeper)),
            10 => format!("CAST({a} AS int)"),
            _ => format!("(CAST({a} AS int) % CAST({b} AS int))"),
        }
    }

    fn truth(&mut self, depth: usize) -> String {
        let Some(deeper) = depth.checked_sub(1) else {
            return self.pick(&["p", "q", "TRUE", "FALSE", "s IS NULL"]).to_owned();
        };
        let (a, b) = (self.number(deeper), self.number(deeper));
        match self.below(7) {
            0 | 1 => format!("({a} {} {b})", self.pick(&["=", "<>", "<", "<=", ">", ">="])),
            2 => format!("({} AND {})", self.truth(deeper), self.truth(deeper)),
            3 => format!("({} OR {})", self.truth(deeper), self.truth(deeper)),
            4 => format!("(NOT {})", self.truth(deeper)),
            5 => format!("({a} IS DISTINCT FROM {b})"),
            _ => format!("({a} BETWEEN {b} AND {})", self.number(deeper)),
        }
    }
}

fn plan(formulas: &[String]) -> Result<Plan, String> {
    tideline_common::plan::load("formulas", &definition(formulas), &|_| None, &tideline_transform::SqlTypes)
        .map_err(|mistakes| format!("{mistakes:?}"))
}

/// Compares formulas in SQL with what they are here; returns the number of values. `said`: how many of them are there.
async fn compare(database: &Database, version: u64, formulas: &[String], said: usize) -> usize {
    let plan = plan(formulas).unwrap();
    let (plan_view, view) = (&plan.views[0], ViewSchema::from(&plan.views[0]));
    let batch = states(&view);
    let answers = Answers::new(plan_view);
    let expected: Vec<Vec<Value>> = (0..ROWS).map(|row| answers.row(&batch, row)).collect();

    let objects: Arc<dyn Objects> = Arc::new(ObjectStoreObjects::memory());
    let publication = Publication { version, views: vec![(view, vec![batch])], ..Publication::default() };
    publish_to_lake(&*objects, &publication, 16).await;
    let manifest = decode_manifest(version, &objects.get(&manifest_path(version)).await.unwrap()).unwrap();
    let config = ClickHouseConfig {
        url: database.url.clone(),
        database: database.name.clone(),
        refresh: Duration::ZERO,
        ..ClickHouseConfig::default()
    };
    let analytics = ClickHouseAnalytics::new(config, objects).unwrap();
    analytics.migrate(&plan).await.unwrap();
    analytics.load(&manifest).await.unwrap();

    let sql = "SELECT * FROM formulas ORDER BY k FORMAT JSONEachRow \
               SETTINGS output_format_json_quote_64bit_integers = 0, date_time_output_format = 'iso'";
    let answer = database.ask(sql).await;
    let found: Vec<serde_json::Map<String, serde_json::Value>> =
        answer.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(found.len(), ROWS);
    let mut compared = 0;
    for (row, (expected, found)) in expected.iter().zip(&found).enumerate() {
        for (field, expected) in plan_view.answer.iter().zip(expected) {
            let Some(formula) = field.name.strip_prefix('f').and_then(|at| formulas.get(at.parse::<usize>().ok()?))
            else {
                continue;
            };
            let Some(found) = found.get(&field.name) else { continue };
            let same = match (field.ty, expected.as_f64(), found.as_f64()) {
                // Functions of the server differ by rounding, and `pow` does not end in 0.
                (Type::Float, Some(a), Some(b)) => (a - b).abs() <= 1e-12 * a.abs() + 1e-200,
                (Type::Timestamp, ..) => match (expected, found.as_str()) {
                    (Value::Timestamp(time), Some(text)) => Timestamp::parse(text).unwrap() == *time,
                    (expected, text) => *expected == Value::Null && text.is_none(),
                },
                _ => expected.to_json() == *found,
            };
            assert!(same, "{formula} in row {row}: {found}, not {expected:?}");
            compared += 1;
        }
    }
    assert_eq!(compared, said * ROWS);
    compared
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn formulas_in_sql_are_those_of_the_platform() {
    let Some(database) = database("formulas_in_sql_are_those_of_the_platform") else { return };
    let owned = |formulas: &[&str]| formulas.iter().map(|sql| (*sql).to_owned()).collect::<Vec<_>>();
    let nested = |depth: usize| {
        let needs = |open: &str, close: &str| format!("{}x{}", open.repeat(depth), close.repeat(depth));
        [
            format!("x{}", " + 1".repeat(depth)),
            needs("NULLIF(", ", 7)"),
            needs("CASE WHEN p THEN ", " ELSE y END"),
            needs("ROUND(", ", 2)"),
        ]
    };
    let said = [owned(FORMULAS), nested(20).to_vec(), vec![nested(DEPTH)[0].clone()]].concat();
    let mut compared = compare(&database, 1, &said, said.len()).await;
    let unsaid = [owned(UNSAID), vec![nested(DEPTH + 1)[0].clone()]].concat();
    compare(&database, 2, &unsaid, 0).await;
    let mut formulas = Formulas(11);
    for version in 3..6 {
        let mut some = Vec::new();
        while some.len() < 40 {
            let formula = if some.len() % 3 == 0 { formulas.truth(3) } else { formulas.number(3) };
            // What is always null has no type, and is no formula.
            if plan(std::slice::from_ref(&formula)).is_ok() {
                some.push(formula);
            }
        }
        compared += compare(&database, version, &some, some.len()).await;
    }
    assert!(compared > 15_000, "{compared}");
}
