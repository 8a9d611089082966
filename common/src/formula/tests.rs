use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::time::Timestamp;

const COLUMNS: &[(&str, Type)] = &[
    ("open", Type::Float),
    ("close", Type::Float),
    ("views", Type::Int),
    ("name", Type::String),
    ("up", Type::Bool),
    ("at", Type::Timestamp),
    ("kinds", Type::Map),
];

fn columns() -> Vec<Field> {
    COLUMNS.iter().map(|(name, ty)| Field { name: (*name).into(), ty: *ty }).collect()
}

fn row() -> Vec<Value> {
    vec![
        Value::Float(4.0),
        Value::Float(5.0),
        Value::Int(7),
        Value::String("TSLA".into()),
        Value::Bool(true),
        Value::Timestamp(Timestamp(1_000_000)),
        Value::Map(BTreeMap::from([("a".into(), 1)])),
    ]
}

fn over(sql: &str, row: &[Value]) -> Value {
    match Formula::compile(sql, &columns()) {
        Ok((formula, ty)) => {
            let value = formula.evaluate(row);
            let fits = match &value {
                Value::Null => true,
                Value::Bool(_) => ty == Type::Bool,
                Value::Int(_) => ty == Type::Int,
                Value::Float(_) => ty == Type::Float,
                Value::String(_) => ty == Type::String,
                Value::Timestamp(_) => ty == Type::Timestamp,
                Value::Strings(_) | Value::Map(_) => false,
            };
            assert!(fits, "{sql} is {value:?}, and should be {ty}");
            value
        }
        Err(mistakes) => panic!("{sql}: {mistakes:?}"),
    }
}

/// The value as JSON text, with every column set; and that with every column null.
fn both(sql: &str) -> (String, String) {
    (over(sql, &row()).to_json().to_string(), over(sql, &vec![Value::Null; COLUMNS.len()]).to_json().to_string())
}

#[test]
fn values() {
    for (sql, expected, of_nulls) in [
        // Arithmetic.
        ("close / open - 1", "0.25", "null"),
        ("views / 2", "3.5", "null"),
        ("views + 1", "8", "null"),
        ("views - 1.5", "5.5", "null"),
        ("-views * 2", "-14", "null"),
        ("- -views", "7", "null"),
        ("views % 4", "3", "null"),
        ("-views % 4", "-3", "null"),
        ("views % 0", "null", "null"),
        ("views / 0", "null", "null"),
        ("0 / (views - 7)", "null", "null"),
        ("open / 0.0", "null", "null"),
        ("1 + 2 * 3", "7", "7"),
        ("(1 + 2) * 3", "9", "9"),
        ("9223372036854775807 + views", "null", "null"),
        ("1e308 * 10", "null", "null"),
        ("1 - - 1", "2", "2"),
        // Comparison and logic.
        ("open < close", "true", "null"),
        ("views >= 7.0", "true", "null"),
        ("name = 'TSLA'", "true", "null"),
        ("name <> 'A'", "true", "null"),
        ("up AND views > 100", "false", "null"),
        ("up AND FALSE", "false", "false"),
        ("up OR TRUE", "true", "true"),
        ("NOT up", "false", "null"),
        ("up IS TRUE", "true", "false"),
        ("up IS NOT TRUE", "false", "true"),
        ("up IS FALSE", "false", "false"),
        ("open IS NULL", "false", "true"),
        ("kinds IS NOT NULL", "true", "false"),
        ("open IS DISTINCT FROM close", "true", "false"),
        ("views BETWEEN 7 AND 8", "true", "null"),
        ("views NOT BETWEEN 0 AND 6.5", "true", "null"),
        ("views IN (1, 7.0)", "true", "null"),
        ("views IN (1, NULL)", "null", "null"),
        ("views NOT IN (1, 2)", "true", "null"),
        ("at > '1970-01-01T00:00:00Z'", "true", "null"),
        // Choice.
        ("CASE WHEN views > 5 THEN 'many' WHEN views > 3 THEN 'some' ELSE 'few' END", "\"many\"", "\"few\""),
        ("CASE WHEN views > 50 THEN 1 END", "null", "null"),
        ("CASE views WHEN 7 THEN 1 ELSE 2.5 END", "1.0", "2.5"),
        ("COALESCE(open, 0)", "4.0", "0.0"),
        ("COALESCE(NULL, views, 3)", "7", "3"),
        ("NULLIF(views, 7)", "null", "null"),
        ("NULLIF(views, 8)", "7", "null"),
        ("GREATEST(open, close, 4.5)", "5.0", "4.5"),
        ("LEAST(views, 9)", "7", "9"),
        // Functions.
        ("ABS(-views)", "7", "null"),
        ("ABS(-2.5)", "2.5", "2.5"),
        ("ROUND(2.5)", "3.0", "3.0"),
        ("ROUND(-2.5)", "-3.0", "-3.0"),
        ("ROUND(close / 3, 2)", "1.67", "null"),
        ("ROUND(1234.5, -2)", "1200.0", "1200.0"),
        ("ROUND(1.5, 400)", "1.5", "1.5"),
        ("FLOOR(-1.5)", "-2.0", "-2.0"),
        ("CEIL(views)", "7", "null"),
        ("CEILING(1.2)", "2.0", "2.0"),
        ("SQRT(open)", "2.0", "null"),
        ("SQRT(-1)", "null", "null"),
        ("LN(0)", "null", "null"),
        ("LN(EXP(1))", "1.0", "1.0"),
        ("EXP(1000)", "null", "null"),
        ("POWER(2, views)", "128.0", "null"),
        ("SIGN(-0.5)", "-1", "-1"),
        ("label(0.05)", "\"positive\"", "\"positive\""),
        ("label(open - 4.06)", "\"negative\"", "null"),
        ("label(0.049)", "\"neutral\"", "\"neutral\""),
        ("'$' || name", "\"$TSLA\"", "null"),
        // Casts.
        ("CAST(close AS INT)", "5", "null"),
        ("CAST(-2.9 AS BIGINT)", "-2", "-2"),
        ("CAST(1e300 AS INT)", "null", "null"),
        ("CAST(views AS DOUBLE PRECISION)", "7.0", "null"),
        ("CAST(' 12 ' AS INT)", "12", "12"),
        ("CAST('x' AS FLOAT)", "null", "null"),
        ("CAST('nan' AS FLOAT)", "null", "null"),
        ("open::TEXT", "\"4.0\"", "null"),
        ("CAST(at AS BIGINT)", "1000000", "null"),
        ("CAST(NULL AS FLOAT)", "null", "null"),
    ] {
        assert_eq!(both(sql), (expected.to_owned(), of_nulls.to_owned()), "{sql}");
    }
}

#[test]
fn numbers_that_are_none_are_null() {
    let mut row = row();
    for x in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        row[0] = Value::Float(x);
        for sql in ["open", "open + 1", "-open", "ABS(open)", "CAST(open AS INT)", "open < 1"] {
            assert_eq!(over(sql, &row), Value::Null, "{sql}");
        }
        assert_eq!(over("open IS NULL", &row), Value::Bool(true));
    }
}

#[test]
fn a_short_row_is_null_where_it_ends() {
    assert_eq!(over("close", &[Value::Float(1.0)]), Value::Null);
}

fn mistakes(sql: &str) -> Vec<(MistakeKind, Option<usize>, String)> {
    let mistakes = Formula::compile(sql, &columns()).map(|_| ()).expect_err(sql);
    mistakes.into_iter().map(|m| (m.kind, m.at, m.message)).collect()
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let sql = "clsoe / open\n + é + ABS(name) + foo(opne)";
    let found = mistakes(sql);
    let expected = [
        (MistakeKind::UnknownColumn, "clsoe", "did you mean `close`?"),
        (MistakeKind::UnknownColumn, "é", "unknown column `é`"),
        (MistakeKind::Type, "name", "a number is expected here, and this is a string"),
        (MistakeKind::UnknownFunction, "foo", "unknown function `foo`"),
        (MistakeKind::UnknownColumn, "opne", "did you mean `open`?"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for ((kind, at, message), (expected, word, part)) in found.iter().zip(expected) {
        assert_eq!((*kind, *at), (expected, sql.find(word)), "{message}");
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn mistakes_say_what_is_wrong() {
    for (sql, kind, part) in [
        ("", MistakeKind::Syntax, "nothing"),
        ("  -- only a comment", MistakeKind::Syntax, "nothing"),
        ("open +", MistakeKind::Syntax, "Expected"),
        ("open close", MistakeKind::Syntax, "ends before `close`"),
        ("'open", MistakeKind::Syntax, "Unterminated"),
        ("(open", MistakeKind::Syntax, "Expected"),
        ("open; DROP TABLE x", MistakeKind::Syntax, "ends before"),
        ("t.open", MistakeKind::UnknownColumn, "no table before"),
        ("\"TSLA\" = name", MistakeKind::UnknownColumn, "single quotes"),
        ("rond(open)", MistakeKind::UnknownFunction, "did you mean `round`?"),
        ("ROUND(open, 1, 2)", MistakeKind::Arguments, "one or two arguments, not 3"),
        ("ROUND(open, 1.5)", MistakeKind::Type, "whole number"),
        ("SQRT()", MistakeKind::Arguments, "one argument, not 0"),
        ("NULLIF(open)", MistakeKind::Arguments, "two arguments"),
        ("open AND up", MistakeKind::Type, "a condition is expected"),
        ("name < 3", MistakeKind::Type, "cannot compare a string with an int"),
        ("at > 'tomorrow'", MistakeKind::Type, "a timestamp with a string"),
        ("at - 1", MistakeKind::Type, "a number is expected"),
        ("CASE WHEN up THEN 1 ELSE 'x' END", MistakeKind::Type, "an int with a string"),
        ("COALESCE(open, 'x')", MistakeKind::Type, "a float with a string"),
        ("kinds = kinds", MistakeKind::Type, "only be tested for null"),
        ("kinds", MistakeKind::Type, "cannot be a map"),
        ("NULL", MistakeKind::Type, "always null"),
        ("CAST(open AS DATE)", MistakeKind::Unsupported, "int, float, string, bool"),
        ("CAST(at AS FLOAT)", MistakeKind::Type, "a float of a timestamp"),
        ("name LIKE 'T%'", MistakeKind::Unsupported, "LIKE"),
        ("(SELECT 1)", MistakeKind::Unsupported, "subqueries"),
        ("ABS(DISTINCT open)", MistakeKind::Unsupported, "DISTINCT"),
        ("SUM(open) OVER ()", MistakeKind::Unsupported, "OVER"),
        ("1e999", MistakeKind::Type, "64 bits"),
    ] {
        let found = mistakes(sql);
        assert_eq!(found.len(), 1, "{sql}: {found:?}");
        assert_eq!(found[0].0, kind, "{sql}: {found:?}");
        assert!(found[0].2.contains(part), "{sql}: {found:?}");
    }
}

#[test]
fn size_is_bounded() {
    let deep = format!("{}open{}", "(".repeat(10_000), ")".repeat(10_000));
    let chain = vec!["open"; 10_000].join(" + ");
    let minus = format!("{}open", "- ".repeat(10_000));
    let cases = format!("{}1{}", "CASE WHEN up THEN ".repeat(400), " END".repeat(400));
    let long = format!("open /* {} */", "x".repeat(100_000));
    for sql in [deep, chain, minus, cases, long] {
        let found = mistakes(&sql);
        assert_eq!(found[0].0, MistakeKind::TooLarge, "{found:?}");
    }
    // The parser gives up on these where its own bound is.
    assert!(Formula::compile(&format!("{}up", "NOT ".repeat(900)), &columns()).is_err());
    assert!(Formula::compile(&format!("{}open", "- ".repeat(900)), &columns()).is_err());
    // What is within the bounds works.
    let chain = vec!["views"; 400].join(" + ");
    assert_eq!(over(&chain, &row()), Value::Int(2_800));
    let nested = format!("{}views{}", "(".repeat(25), ")".repeat(25));
    assert_eq!(over(&nested, &row()), Value::Int(7));
    let calls = format!("{}views{}", "NULLIF(".repeat(25), ", 0)".repeat(25));
    assert_eq!(over(&calls, &row()), Value::Int(7));
}

#[test]
fn references_are_each_named_once_in_order() {
    let sql = "close / open + CASE WHEN close > missing THEN 1 ELSE ABS(views) END";
    let names = Formula::references_of(sql).unwrap();
    let places = ["close", "open", "missing", "views"].map(|name| (name.to_owned(), sql.find(name).unwrap()));
    assert_eq!(names.into_iter().map(|r| (r.name, r.at)).collect::<Vec<_>>(), places);
    let (formula, _) = Formula::compile("close / open + close + views", &columns()).unwrap();
    assert_eq!(formula.references().collect::<Vec<_>>(), ["close", "open", "views"]);
    assert!(Formula::references_of("1 +").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(sql in "[ ()a-z0-9+*/.,'%=<>!|é\n-]{0,40}") {
        let _ = Formula::compile(&sql, &columns());
    }

    #[test]
    fn words_of_sql_in_any_order_are_a_formula_or_mistakes_in_the_text(
        words in prop::collection::vec(prop::sample::select(vec![
            "open", "views", "name", "up", "at", "kinds", "nme", "1", "2.5", "'x'", "NULL", "TRUE", "+", "-", "/", "%", "=", "<",
            "AND", "OR", "NOT", "IS", "NULL", "BETWEEN", "IN", "(", ")", ",", "CASE", "WHEN", "THEN", "ELSE", "END",
            "ROUND(", "COALESCE(", "CAST(", "AS", "INT",
        ]), 0..14),
    ) {
        let sql = words.join(" ");
        match Formula::compile(&sql, &columns()) {
            Ok((formula, _)) => {
                let value = formula.evaluate(&row());
                prop_assert!(value.as_f64().is_none_or(f64::is_finite));
            }
            Err(mistakes) => {
                prop_assert!(!mistakes.is_empty());
                for mistake in mistakes {
                    prop_assert!(mistake.at.is_none_or(|at| sql.is_char_boundary(at)), "{sql}: {mistake:?}");
                }
            }
        }
    }

    #[test]
    fn arithmetic_is_that_of_numbers(a in -1e9..1e9_f64, b in -1e9..1e9_f64, n in any::<i64>()) {
        let row = vec![Value::Float(a), Value::Float(b), Value::Int(n)];
        prop_assert_eq!(over("close + open", &row), Value::Float(b + a));
        prop_assert_eq!(over("close * open", &row), Value::Float(b * a));
        prop_assert_eq!(over("views - 1", &row), n.checked_sub(1).map_or(Value::Null, Value::Int));
        prop_assert_eq!(over("open < close", &row), Value::Bool(a < b));
        prop_assert_eq!(over("NOT (open < close OR views > 0)", &row), Value::Bool(a >= b && n <= 0));
    }
}

#[test]
fn the_row_before_is_null_without_one() {
    let columns = [("score", Type::Float), ("n", Type::Int)].map(|(name, ty)| Field { name: name.into(), ty });
    let (formula, ty) = Formula::compile_with_previous("score > 1.5 * prev(score) AND n >= 3", &columns).unwrap();
    assert_eq!((ty, formula.has_previous()), (Type::Bool, true));
    assert_eq!(formula.references().collect::<Vec<_>>(), ["score", "n"]);
    let row = |score: f64, n: i64| vec![Value::Float(score), Value::Int(n)];
    let both = |now: Vec<Value>, before: Vec<Value>| formula.evaluate(&[now, before].concat());
    assert_eq!(both(row(16.0, 3), row(10.0, 9)), Value::Bool(true));
    assert_eq!(both(row(15.0, 3), row(10.0, 9)), Value::Bool(false));
    assert_eq!(formula.evaluate(&row(16.0, 3)), Value::Null);
    let (formula, _) = Formula::compile_with_previous("n > COALESCE(prev(n), 0)", &columns).unwrap();
    assert_eq!(formula.evaluate(&row(0.0, 1)), Value::Bool(true));
    // Where there is no row before, there is no such function.
    let unknown = Formula::compile("prev(n) > 1", &columns).unwrap_err();
    assert!(unknown[0].message.contains("unknown function `prev`"), "{unknown:?}");
    for (sql, part) in
        [("prev(n + 1) > 1", "one column"), ("prev() > 1", "one column"), ("prev(x) > 1", "unknown column")]
    {
        let errors = Formula::compile_with_previous(sql, &columns).unwrap_err();
        assert!(errors.len() == 1 && errors[0].message.contains(part), "{sql}: {errors:?}");
    }
    assert!(!Formula::compile_with_previous("n > 1", &columns).unwrap().0.has_previous());
}
