//! Columns that are named like words of SQL.

use tideline_common::plan::{ExpressionTypes, Plan, load};
use tideline_common::value::Type;
use tideline_transform::{SourceTransform, SqlTypes, ViewTransform};

use crate::plans::{field, record};

/// Words of SQL that people call columns.
#[rustfmt::skip]
const WORDS: &[&str] = &[
    "user", "current_user", "session_user", "current_date", "current_time", "current_timestamp", "localtime",
    "localtimestamp", "current_catalog", "time", "date", "timestamp", "datetime", "value", "type", "text",
    "count", "index", "year", "month", "day", "hour", "name", "id", "role", "comment", "language", "location", "path",
    "line", "point", "box", "level", "position", "rank", "row", "rows", "range", "source", "target", "status", "state",
    "session", "start", "first", "last", "min", "max", "sum", "left", "right", "order", "group", "select", "from",
    "where", "end", "interval", "case", "cast", "table", "limit", "offset", "by", "to", "default", "with", "values",
    "exists", "array", "map", "struct", "format", "method", "action", "version", "tag", "domain", "price", "symbol",
    "filter", "window", "over", "partition", "trim", "replace", "floor", "ceil", "extract", "substring", "overlay",
];

/// A pipeline that uses `word`, written as `sql`, wherever an expression stands.
fn pipeline(word: &str, sql: &str) -> Result<Plan, String> {
    let text = format!(
        r#"version = 1
name = "words"
[sources.s]
topic = "s"
columns = {{ at = "string", "{word}" = "string", n = "int" }}
event_time = "at"
key = '{sql}'
dedupe = '{sql}'
checks.some = 'n > 0 AND {sql} IS NOT NULL'
[tables.t]
from = "s"
columns = {{ "{word}" = 'upper({sql})', n = "n" }}
where = "n < 10 AND {sql} <> 'NO'"
[views.v]
key = ["{word}"]
window = {{ size = "10s" }}
measures.hits_of_a = {{ table = "t", agg = "count_if({sql} = 'A')" }}
measures.least_of_all = {{ table = "t", agg = "min({sql})" }}
"#
    );
    load("words.toml", &text, &|_| None, &SqlTypes).map_err(|error| error.to_string())
}

#[test]
fn words_of_sql_are_columns() {
    for word in WORDS {
        let plan = pipeline(word, word).unwrap_or_else(|error| panic!("{word}: {error}"));
        let source = SourceTransform::new(&plan, "s").unwrap();
        ViewTransform::new(&plan, "v").unwrap();
        let payload =
            |value: &str, n: i64| format!(r#"{{"at": "2024-01-01T00:00:00Z", "{word}": "{value}", "n": {n}}}"#);
        let records = [record(0, payload("a", 1)), record(1, payload("no", 1)), record(2, payload("b", 0))];
        let decoded = source.decode(0, &records).unwrap();
        assert_eq!(decoded.rejected.len(), 1, "{word}: n is 0");
        let rows = source.table_rows("t", &decoded.rows).unwrap();
        let values: Vec<_> = rows.column(word).unwrap().str().unwrap().iter().flatten().collect();
        assert_eq!(values, ["A"], "{word}");
    }
}

#[test]
fn the_others_are_told_to_be_quoted() {
    let error = pipeline("not", "not").unwrap_err();
    assert!(error.contains(r#"double quotes, "not""#), "{error}");
    let text = [field("not", Type::String), field("user", Type::String), field("n", Type::Int)];
    assert_eq!(SqlTypes.type_of(r#""not" || "user""#, &text), Ok(Type::String));
}

#[test]
fn a_step_says_how_such_a_column_is_written() {
    let columns = [field("user", Type::String)];
    let error = SqlTypes.columns_of("SELECT user FROM t", &[("t", &columns)]).unwrap_err();
    assert!(error.message.contains(r#"double quotes: "user""#), "{}", error.message);
    assert_eq!(error.at, Some(7));
    let found = SqlTypes.columns_of(r#"SELECT "user" FROM t"#, &[("t", &columns)]);
    assert_eq!(found, Ok(Some(columns.to_vec())));
}

#[test]
fn a_word_that_is_no_column_is_an_unknown_one() {
    let error = pipeline("text", "user").unwrap_err();
    assert!(error.contains("unknown column `user` of source `s`"), "{error}");
    let error = pipeline("text", "current_date").unwrap_err();
    assert!(error.contains("has another value every time"), "{error}");
}

#[test]
fn places_are_those_of_the_text_as_written() {
    let columns = [field("user", Type::String)];
    assert_eq!(SqlTypes.type_of("user || veder(user)", &columns).unwrap_err().at, Some(8));
    assert_eq!(SqlTypes.type_of("user || )", &columns).unwrap_err().at, Some(8));
}
