//! SQL in definitions.

use tideline_common::plan::{ExpressionError, ExpressionTypes, Field};
use tideline_common::value::Type;
use tideline_transform::{SourceTransform, SqlTypes, sql};

use crate::plans::{field, plan};

fn columns() -> Vec<Field> {
    vec![
        field("text", Type::String),
        field("n", Type::Int),
        field("x", Type::Float),
        field("ok", Type::Bool),
        field("tags", Type::Strings),
        field("event_time", Type::Timestamp),
    ]
}

fn type_of(sql: &str) -> Result<Type, ExpressionError> {
    SqlTypes.type_of(sql, &columns())
}

#[test]
fn types() {
    let cases = [
        ("text", Type::String),
        ("n + 1", Type::Int),
        ("n + 1.5", Type::Float),
        ("n / 2.0", Type::Float),
        ("x > 0 AND ok", Type::Bool),
        ("length(text)", Type::Int),
        ("text || 'a' || CAST(n AS VARCHAR)", Type::String),
        ("CASE WHEN n > 0 THEN 'up' ELSE 'down' END", Type::String),
        ("COALESCE(x, 0.0)", Type::Float),
        ("vader(text)", Type::Float),
        ("label(vader(text))", Type::String),
        ("label(0.5)", Type::String),
        ("cashtags(text)", Type::Strings),
        ("cashtags(text, 'all')", Type::Strings),
        ("emotion(text)", Type::String),
        ("emotions(text)", Type::Strings),
        ("emotion_score(text, 'joy')", Type::Float),
        ("toxicity(text) > churn_risk(text)", Type::Bool),
        ("tags", Type::Strings),
        ("time_bucket('1h', event_time)", Type::Timestamp),
        ("event_time", Type::Timestamp),
        ("1", Type::Int),
        ("'constant'", Type::String),
        ("text IS NOT NULL -- a remark", Type::Bool),
        ("text LIKE 'a%'", Type::Bool),
        ("n IN (1, 2)", Type::Bool),
    ];
    for (sql, ty) in cases {
        assert_eq!(type_of(sql), Ok(ty), "{sql}");
    }
}

#[test]
fn errors_speak_of_the_expression() {
    let cases = [
        ("veder(text)", "did you mean `vader`?"),
        ("frobnicate(text)", "unknown function `frobnicate`"),
        ("txt", "did you mean `text`?"),
        ("sum(n)", "row-wise"),
        ("lag(n) OVER (ORDER BY n)", "row-wise"),
        ("vader(n)", "`vader` takes a string, not int"),
        ("vader(text, n)", "`vader` takes 1 arguments, not 2"),
        ("label(text)", "`label` takes a number, not string"),
        ("cashtags()", "`cashtags`"),
        ("cashtags(text, n)", "`cashtags` takes a string, and 'all' where repeats are wanted"),
        ("emotional(text)", "did you mean `emotion`?"),
        ("emotion(x)", "`emotion` takes a string, not float"),
        ("emotion_score(text)", "`emotion_score` takes 2 arguments, not 1"),
        ("emotion_score(text, 'happiness')", "`emotion_score` is one of 'anger', 'disgust', 'fear', 'joy'"),
        ("emotion_score(text, text)", "`emotion_score` is one of"),
        ("toxicity(n)", "`toxicity` takes a string, not int"),
        ("churn_risk(text, 'more')", "`churn_risk` takes 1 arguments, not 2"),
        ("n +", ""),
        ("n, x", ""),
        ("n) , (x", "one expression"),
        ("n FROM rows; DROP TABLE rows", ""),
        ("", ""),
    ];
    for (sql, part) in cases {
        let error = type_of(sql).expect_err(sql);
        assert!(error.message.contains(part), "{sql}: {}", error.message);
        assert!(!error.message.contains("FAILED HERE") && !error.message.contains("resolv"), "{}", error.message);
    }
    assert_eq!(type_of("n + veder(text)").unwrap_err().at, Some(4));
}

#[test]
fn a_plan_with_a_bad_expression_is_refused() {
    let mut plan = plan();
    plan.tables[1].columns[0].sql = "veder(text)".to_owned();
    let error = SourceTransform::new(&plan, "s").unwrap_err().to_string();
    assert!(error.contains("table `tags`, `score`") && error.contains("vader"), "{error}");
    plan.tables[1].columns[0].sql = "text".to_owned();
    assert!(SourceTransform::new(&plan, "s").is_err(), "a text is no score");
    assert!(SourceTransform::new(&plan, "nothing").is_err());
}

#[test]
fn free_sql_knows_the_functions() {
    let rows = polars::df!("text" => ["I love $TSLA and $AAPL", "meh"]).unwrap();
    let mut context = sql::context(vec![("rows".to_owned(), polars::prelude::IntoLazy::lazy(rows))]);
    let found = context.execute("SELECT UNNEST(cashtags(text)) AS symbol FROM rows WHERE vader(text) > 0.5");
    let found = found.unwrap().collect().unwrap();
    let symbols: Vec<_> = found.column("symbol").unwrap().str().unwrap().iter().flatten().collect();
    assert_eq!(symbols, ["TSLA", "AAPL"]);
}

#[test]
fn cashtags_are_distinct_unless_all_are_wanted() {
    let rows = || polars::prelude::IntoLazy::lazy(polars::df!("text" => ["$A $B $A", "none", "$A $A"]).unwrap());
    let symbols = |sql: &str| {
        let found = sql::context(vec![("rows".to_owned(), rows())]).execute(sql)?.collect()?;
        let column = found.column("symbol")?.str()?.clone();
        polars::prelude::PolarsResult::Ok(column.iter().flatten().map(str::to_owned).collect::<Vec<_>>())
    };
    assert_eq!(symbols("SELECT UNNEST(cashtags(text)) AS symbol FROM rows").unwrap(), ["A", "B", "A"]);
    let all = symbols("SELECT UNNEST(cashtags(text, 'all')) AS symbol FROM rows").unwrap();
    assert_eq!(all, ["A", "B", "A", "A", "A"]);
    let error = symbols("SELECT UNNEST(cashtags(text, 'every')) AS symbol FROM rows").unwrap_err().to_string();
    assert!(error.contains("the second argument of `cashtags`"), "{error}");
}

#[test]
fn columns_of_a_statement() {
    let columns = columns();
    let tables = [("rows", columns.as_slice())];
    let found = SqlTypes.columns_of("SELECT text AS topic, AVG(x) AS mean FROM rows GROUP BY text", &tables);
    assert_eq!(found, Ok(Some(vec![field("topic", Type::String), field("mean", Type::Float)])));
    assert!(SqlTypes.columns_of("SELECT nothing FROM rows", &tables).is_err());
    assert!(SqlTypes.columns_of("SELECT text FROM elsewhere", &tables).is_err());
}

#[test]
fn time_buckets_begin_before_1970_too() {
    let plan = {
        let mut plan = plan();
        plan.tables[0].columns[0].sql = "CAST(time_bucket('10s', event_time) AS BIGINT)".to_owned();
        plan.tables[0].columns[0].ty = Type::Int;
        plan
    };
    let source = SourceTransform::new(&plan, "s").unwrap();
    let records = [crate::plans::record(0, r#"{"at": -1}"#), crate::plans::record(1, r#"{"at": 19}"#)];
    let rows = source.decode(0, &records).unwrap().rows;
    let rows = source.table_rows("rows", &rows).unwrap();
    let buckets: Vec<_> = rows.column("text").unwrap().i64().unwrap().iter().flatten().collect();
    assert_eq!(buckets, [-10_000_000, 10_000_000]);
}

/// More rows than one thread takes, with nulls between them: each row has what its text alone has.
#[test]
fn emotions_and_risks_are_those_of_each_text() {
    use tideline_enrich::emotion;

    let kinds = [
        Some("Thank you so much, I love it!"),
        None,
        Some("You are an idiot, I hate you"),
        Some(""),
        Some("I am scared. Cancel my subscription."),
    ];
    let rows: Vec<Option<&str>> = kinds.into_iter().cycle().take(5_003).collect();
    let frame = polars::df!("text" => &rows).unwrap();
    let mut context = sql::context(vec![("rows".to_owned(), polars::prelude::IntoLazy::lazy(frame))]);
    let found = context
        .execute(
            "SELECT emotion(text) AS emotion, emotion_score(text, 'joy') AS joy, toxicity(text) AS toxicity, \
             churn_risk(text) AS churn, emotions(text) AS emotions FROM rows",
        )
        .unwrap()
        .collect()
        .unwrap();
    let floats = |name: &str| found.column(name).unwrap().f64().unwrap().iter().collect::<Vec<_>>();
    let each = |value: fn(&str) -> f64| rows.iter().map(|text| text.map(value)).collect::<Vec<_>>();
    assert_eq!(floats("joy"), each(|text| emotion::emotions(text).probability(emotion::Emotion::Joy)));
    assert_eq!(floats("toxicity"), each(tideline_enrich::toxicity::toxicity));
    assert_eq!(floats("churn"), each(tideline_enrich::churn_risk));
    let names: Vec<_> = found.column("emotion").unwrap().str().unwrap().iter().collect();
    let expected: Vec<_> = rows.iter().map(|text| text.map(|text| emotion::emotion(text).name())).collect();
    assert_eq!(names, expected);
    let lists = found.column("emotions").unwrap().list().unwrap().clone();
    for (row, text) in rows.iter().enumerate() {
        let list = lists
            .get_as_series(row)
            .map(|list| list.str().unwrap().iter().flatten().map(str::to_owned).collect::<Vec<_>>());
        let expected = text.map(|text| emotion::emotions(text).shown().map(|one| one.to_string()).collect::<Vec<_>>());
        assert_eq!(list, expected, "row {row}");
    }
}
