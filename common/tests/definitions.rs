//! Definitions that are wrong, and what is said about them; the pipelines of this repository; versions and schema.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use support::{CLEAN, diagnostics, load, with};
use tideline_common::definition::format::{Kind, ROOT, Section};
use tideline_common::plan::{Clash, Plan};
use tideline_common::value::Value;

/// The places and messages of a definition's mistakes, one a line.
fn found(text: &str) -> String {
    let lines: Vec<String> =
        diagnostics(text).0.iter().map(|d| format!("{}:{} {}", d.line, d.column, d.message)).collect();
    lines.join("\n")
}

#[test]
fn ten_mistakes_are_ten_diagnostics() {
    let text = include_str!("definitions/ten_mistakes.toml");
    let found = diagnostics(text);
    assert_eq!(found.0.len(), 10, "{found}");
    insta::assert_snapshot!(found.to_string());
}

#[test]
fn mistakes_of_form() {
    insta::assert_snapshot!(diagnostics(include_str!("definitions/form.toml")).to_string());
}

#[test]
fn mistakes_in_views_alerts_and_lookups() {
    insta::assert_snapshot!(diagnostics(include_str!("definitions/views.toml")).to_string());
}

#[test]
fn mistakes_in_reports() {
    insta::assert_snapshot!(diagnostics(include_str!("definitions/reports.toml")).to_string());
}

#[test]
fn a_file_that_is_not_toml_has_one_mistake_with_a_place() {
    assert_eq!(found("version = 1\nname = stock\n"), "2:8 a value that is neither quoted nor a number");
    assert_eq!(found("version = 1\nversion = 1\n"), "2:1 `version` is defined twice");
    assert!(found("version = 1\n[sources.a").starts_with("2:"), "{}", found("version = 1\n[sources.a"));
    assert!(found("").contains("`version` is missing"));
}

#[test]
fn a_newer_version_is_refused_as_a_whole() {
    let text = CLEAN.replace("version = 1", "version = 2\nanything = true");
    assert_eq!(found(&text), "1:11 version 2 of the format is not known to this program, which reads version 1");
    let text = CLEAN.replace("version = 1", "version = \"1\"");
    assert_eq!(found(&text), "1:12 `version` is an integer: version = 1");
}

#[test]
fn the_environment_is_read_where_a_string_says_so() {
    let text = CLEAN.replace("topic = \"events\"", "topic = \"${TOPIC}\"\nstart = \"${START:-latest}\"");
    let plan = support::load_with(&text, &|name| (name == "TOPIC").then(|| "from-env".to_owned())).unwrap();
    assert_eq!(plan.sources[0].topic, "from-env");
    assert_eq!(plan.sources[0].start, tideline_common::plan::Start::Latest);
    assert_eq!(found(&text), "5:10 environment variable `TOPIC` is not set");
}

#[test]
fn places_in_sql_survive_what_the_environment_put_before() {
    let text = with("where = \"amount > 0\"", "where = \"label = '${LONG:-a long default}' AND amuont > 0\"");
    let found = diagnostics(&text);
    assert_eq!(found.0.len(), 1, "{found}");
    assert_eq!(&found.0[0].source[found.0[0].column - 1..][..6], "amuont");
}

#[test]
fn columns_and_answers_keep_the_order_of_the_file() {
    let plan = load(CLEAN).unwrap();
    let columns: Vec<&str> = plan.sources[0].columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(columns, ["id", "at", "label", "amount", "tags"]);
    let answer: Vec<&str> = plan.views[0].answer.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(answer, ["total", "double", "quadruple", "mean", "events"]);
    // Dependencies first, whatever the order in the file.
    let computed: Vec<&str> = plan.views[0].columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(computed, ["quadruple", "double"]);
}

#[test]
fn measures_share_states() {
    let view = &load(CLEAN).unwrap().views[0];
    let names: std::collections::HashSet<&str> = view.fields.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names.len(), view.fields.len());
    let states = |name: &str| view.measures.iter().find(|m| m.name == name).unwrap().states.clone();
    let shared = states("mean").iter().filter(|s| states("total").contains(s)).count();
    assert!(shared >= 1, "{:?}", view.fields);
}

#[test]
fn versions_follow_what_decides_the_content_and_nothing_else() {
    let clean = load(CLEAN).unwrap();
    assert_eq!(load(CLEAN).unwrap().views[0].version, clean.views[0].version);
    assert!(clean.views[0].version.len() == 16 && clean.views[0].version.bytes().all(|b| b.is_ascii_hexdigit()));
    let same = |from: &str, to: &str| {
        let plan = load(&with(from, to)).unwrap();
        assert_eq!(plan.views[0].version, clean.views[0].version, "{to}");
        assert_eq!(plan.tables[0].version, clean.tables[0].version, "{to}");
    };
    same("retain = { speed = \"1h\" }", "retain = { speed = \"2h\" }");
    same("top = [\"total\"]", "top = []");
    same("columns.double = \"quadruple / 2\"", "columns.double = \"quadruple / 3\"");
    same("partitions = 4", "partitions = 8");
    let other = |from: &str, to: &str| {
        let plan = load(&with(from, to)).unwrap();
        assert_ne!(plan.views[0].version, clean.views[0].version, "{to}");
        plan.tables[0].version != clean.tables[0].version
    };
    assert!(other("where = \"amount > 0\"", "where = \"amount > 1\""));
    assert!(other("checks.id = \"id > 0\"", "checks.id = \"id > 1\""));
    assert!(other("columns.amount = \"float\"", "columns.amount = \"int\""));
    assert!(!other("size = \"10m\"", "size = \"20m\""));
    assert!(!other("avg(amount)", "max(amount)"));
    assert!(!other("lateness = \"1m\"", "lateness = \"2m\""));
}

/// A version names what stores hold: one that changes by accident makes every store rebuild.
#[test]
fn versions_are_the_same_in_every_build() {
    let plan = load(CLEAN).unwrap();
    insta::assert_snapshot!(format!(
        "{} {} {}",
        plan.sources[0].version, plan.tables[0].version, plan.views[0].version
    ));
}

#[test]
fn plans_explain_themselves() {
    insta::assert_snapshot!("clean", load(CLEAN).unwrap().explain());
    insta::assert_snapshot!(
        "stock_sentiment",
        load(include_str!("../../schema/pipelines/stock-sentiment.toml")).unwrap().explain()
    );
    insta::assert_snapshot!(
        "trendscope",
        load(include_str!("../../schema/pipelines/trendscope.toml")).unwrap().explain()
    );
    insta::assert_snapshot!(
        "movie_viewing",
        load(include_str!("../../schema/pipelines/movie-viewing.toml")).unwrap().explain()
    );
}

#[test]
fn a_movie_is_no_spike_because_a_poll_is_back() {
    let plan = load(include_str!("../../schema/pipelines/trendscope.toml")).unwrap();
    let view = plan.view("movie_trends").unwrap();
    let alert = plan.alerts.iter().find(|alert| alert.name == "trend_spike").unwrap();
    // What a window answers that has this popularity, if there was a poll, and so many mentions.
    let window = |popularity: Option<f64>, mentions: i64| {
        let measured = |name: &str| match name {
            "tmdb_popularity" => popularity.map_or(Value::Null, Value::Float),
            "mentions_count" => Value::Int(mentions),
            "reddit_sentiment" => Value::Float(0.0),
            name => panic!("a measure that this test does not know: {name}"),
        };
        let mut values: Vec<Value> = view.measures.iter().map(|measure| measured(&measure.name)).collect();
        for computed in &view.columns {
            let value = computed.formula.evaluate(&values);
            values.push(value);
        }
        let names =
            view.measures.iter().map(|measure| &measure.name).chain(view.columns.iter().map(|column| &column.name));
        assert!(names.eq(view.answer.iter().map(|field| &field.name)), "the answer is in another order");
        values
    };
    let fires = |before: Vec<Value>, now: Vec<Value>| alert.when.evaluate(&[now, before].concat()) == Value::Bool(true);
    // With a poll in both windows, more is a spike, and so is more talk about a movie of which TMDB says nothing.
    assert!(fires(window(Some(100.0), 5), window(Some(300.0), 5)));
    assert!(fires(window(Some(100.0), 5), window(Some(100.0), 50)));
    assert!(fires(window(None, 5), window(None, 50)));
    assert!(!fires(window(Some(100.0), 5), window(Some(110.0), 5)));
    // One poll is missing: the score falls, and then is what it was.
    assert!(!fires(window(Some(100.0), 5), window(None, 5)));
    assert!(!fires(window(None, 5), window(Some(100.0), 5)));
    // Nobody talks about it, or there is no window before.
    assert!(!fires(window(Some(100.0), 2), window(Some(300.0), 2)));
    assert_ne!(alert.when.evaluate(&window(Some(300.0), 5)), Value::Bool(true));
}

#[test]
fn customer_sentiment_is_configured_by_the_environment() {
    let text = include_str!("../../schema/pipelines/customer-sentiment.toml");
    insta::assert_snapshot!("customer_sentiment", load(text).unwrap().explain());
    // One clock that is fast makes nobody late.
    let source = &load(text).unwrap().sources[0];
    assert!(source.max_ahead.unwrap() <= source.lateness, "{:?} {}", source.max_ahead, source.lateness);
    let env = |name: &str| match name {
        "SENTIMENT_WINDOW" => Some("5m".to_owned()),
        "CHURN_HIGH" => Some("0.5".to_owned()),
        "CHURN_ALERT" => Some("0.99".to_owned()),
        _ => None,
    };
    let plan = support::load_with(text, &env).unwrap();
    let windows: std::collections::BTreeSet<String> =
        plan.views.iter().map(|view| view.window.size.to_string()).collect();
    assert_eq!(windows.into_iter().collect::<Vec<_>>(), ["5m"]);
    assert!(plan.table("risks").unwrap().filter.as_ref().unwrap().ends_with(">= 0.5"));
    assert_eq!(plan.alerts[0].when.sql, "churn_risk >= 0.99");
}

const ENDPOINTS: &str = r#"
[endpoints.all]
path = "/api/totals"
view = "totals"

[endpoints.best]
path = "/api/totals/best-1.0"
view = "totals"
by = "mean"
limit = 5
"#;

#[test]
fn endpoints_are_paths_of_views() {
    let plan = load(&format!("{CLEAN}{ENDPOINTS}")).unwrap();
    let of = |at: usize| {
        let endpoint = &plan.endpoints[at];
        (endpoint.path.as_str(), endpoint.view.as_str(), endpoint.by.as_deref(), endpoint.limit)
    };
    assert_eq!(of(0), ("/api/totals", "totals", None, 1_000));
    assert_eq!(of(1), ("/api/totals/best-1.0", "totals", Some("mean"), 5));
    assert_eq!(plan.views[0].version, load(CLEAN).unwrap().views[0].version, "states are the same");
    let text = plan.explain();
    assert!(
        text.contains("endpoint best\n  GET /api/totals/best-1.0\n  newest window of totals, up to 5 rows by mean"),
        "{text}"
    );
    // Of two pipelines, neither may have the path of the other.
    let other = load(&format!("{CLEAN}{ENDPOINTS}").replace("\"clean\"", "\"other\"")).unwrap();
    let kinds: Vec<&str> = Plan::merge(vec![plan, other]).unwrap_err().iter().map(|clash| clash.kind).collect();
    assert!(kinds.contains(&"endpoint") && kinds.contains(&"path of an endpoint"), "{kinds:?}");
}

#[test]
fn mistakes_in_endpoints() {
    let with = |body: &str| found(&format!("{CLEAN}[endpoints.e]\n{body}\n"));
    let line = CLEAN.lines().count() + 2;
    for (path, message) in [
        ("/v1/views", "`/v1/views` does not begin with /api/, where paths of endpoints are"),
        ("api/x", "`api/x` does not begin with /api/, where paths of endpoints are"),
        ("/api/", "`/api/` is not a path"),
        ("/api/a//b", "`/api/a//b` is not a path"),
        ("/api/a/", "`/api/a/` is not a path"),
        ("/api/a/../b", "`/api/a/../b` is not a path"),
        ("/api/A", "`/api/A` is not a path"),
        ("/api/{view}", "`/api/{view}` is not a path"),
        ("/api/a?b=1", "`/api/a?b=1` is not a path"),
    ] {
        let found = with(&format!("path = \"{path}\"\nview = \"totals\""));
        assert!(found.starts_with(&format!("{line}:9 {message}")) && found.lines().count() == 1, "{path}: {found}");
    }
    let long = with(&format!("path = \"/api/{}\"\nview = \"totals\"", "x".repeat(200)));
    assert!(long.ends_with("a path has at most 200 characters"), "{long}");
    let path = "path = \"/api/x\"";
    assert!(with(&format!("{path}\nview = \"totls\"")).ends_with("unknown view `totls`"));
    assert!(
        with(&format!("{path}\nview = \"totals\"\nby = \"men\"")).ends_with("unknown column `men` of view `totals`")
    );
    assert!(with(&format!("{path}\nview = \"totals\"\nlimit = 0")).ends_with("`limit` is from 1 to 10000, not 0"));
    assert!(with("view = \"totals\"").ends_with("`path` is missing"));
    assert!(with(path).ends_with("`view` is missing"));
    let twice = found(&format!("{CLEAN}{ENDPOINTS}[endpoints.third]\npath = \"/api/totals\"\nview = \"totals\"\n"));
    assert!(twice.ends_with("endpoint `all` has the path `/api/totals` already"), "{twice}");
    let maps = CLEAN.replace(
        "measures.mean = { table = \"rows\", agg = \"avg(amount)\" }",
        "measures.mean = { table = \"rows\", agg = \"histogram(label)\" }",
    );
    let found = found(&format!("{maps}[endpoints.e]\n{path}\nview = \"totals\"\nby = \"mean\"\n"));
    assert!(found.ends_with("rows are ordered by a single value, and `mean` is of type map"), "{found}");
}

#[test]
fn the_score_of_a_trend_is_the_sum_of_its_parts() {
    let text = include_str!("../../schema/pipelines/trendscope.toml");
    let score = |env: &dyn Fn(&str) -> Option<String>, popularity, mentions, sentiment| {
        let plan = support::load_with(text, env).unwrap();
        let view = plan.view("movie_trends").unwrap();
        let names: Vec<&str> = view.measures.iter().map(|measure| measure.name.as_str()).collect();
        assert_eq!(names, ["tmdb_popularity", "mentions_count", "reddit_sentiment"]);
        let mut row = vec![popularity, mentions, sentiment];
        for column in &view.columns {
            let value = column.formula.evaluate(&row);
            row.push(value);
        }
        let at = view.columns.iter().position(|column| column.name == "trend_score").unwrap();
        row[view.measures.len() + at].as_f64().unwrap()
    };
    let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-9, "{found}");
    let none = |_: &str| None;
    // 0.4 · 156.78 + 0.3 · 50 · 10 + 0.3 · 1.65 · 50
    close(score(&none, Value::Float(156.78), Value::Int(50), Value::Float(0.65)), 237.462);
    // A side that is missing counts as 0, and its sentiment as neutral.
    close(score(&none, Value::Null, Value::Int(50), Value::Float(0.65)), 174.75);
    close(score(&none, Value::Float(156.78), Value::Int(0), Value::Null), 77.712);
    let weights = |name: &str| (name == "W2_MENTIONS").then(|| "0.5".to_owned());
    close(score(&weights, Value::Float(156.78), Value::Int(50), Value::Float(0.65)), 337.462);
}

const CLOSING: &str = r#"
[outputs.hourly]
view = "totals"
topic = "hourly"
window = { size = "1h", slide = "10m" }
columns = ["mean", "total"]

[alerts.jump]
view = "totals"
on = "running"
when = "total > 2 * prev(total)"
"#;

#[test]
fn outputs_and_alerts_wait_for_windows() {
    let clean = load(CLEAN).unwrap();
    assert!(!clean.closes("totals"));
    let plan = load(&format!("{CLEAN}{CLOSING}")).unwrap();
    assert!(plan.closes("totals") && plan.alerts[0].when.has_previous());
    assert_eq!(plan.views[0].version, clean.views[0].version, "states are the same");
    let output = &plan.outputs[0];
    let columns: Vec<&str> = output.columns.iter().map(|at| plan.views[0].answer[*at].name.as_str()).collect();
    assert_eq!((columns, output.key.as_slice(), output.partitions), (vec!["mean", "total"], &[0][..], 2));
    insta::assert_snapshot!("closing", plan.explain());
}

#[test]
fn mistakes_in_outputs_and_alerts() {
    let text = format!("{CLEAN}{}", include_str!("definitions/closing.toml"));
    insta::assert_snapshot!(diagnostics(&text).to_string());
}

const ROWS: &str = r#"
[outputs.told]
table = "rows"
topic = "rows.told"
partitions = 3
retention = "30d"

[outputs.some]
table = "rows"
topic = "rows.some"
columns = ["tag", "event_time", "id"]
key = ["tag", "id"]
"#;

#[test]
fn rows_of_a_table_go_to_a_topic() {
    let clean = load(CLEAN).unwrap();
    let plan = load(&format!("{CLEAN}{ROWS}")).unwrap();
    assert!(plan.outputs.is_empty() && !plan.closes("totals"), "nobody waits for windows");
    assert_eq!(plan.version_of("events"), clean.version_of("events"), "and nothing is made anew");
    let names = |fields: &[tideline_common::plan::Field]| -> Vec<String> {
        fields.iter().map(|field| format!("{} {}", field.name, field.ty)).collect()
    };
    let [told, some] = &plan.row_outputs[..] else { panic!("{:?}", plan.row_outputs) };
    assert_eq!(names(&told.columns), ["event_time timestamp", "id int", "amount float", "label string", "tag string"]);
    assert!(told.key.is_empty(), "the source has none");
    assert_eq!(
        (names(&some.columns).join(", "), names(&some.key)),
        ("tag string, event_time timestamp, id int".to_owned(), vec!["tag string".to_owned(), "id int".to_owned()])
    );
    let topics: Vec<(String, u32)> =
        plan.output_topics().into_iter().map(|spec| (spec.name, spec.partitions)).collect();
    assert_eq!(topics, [("rows.told".to_owned(), 3), ("rows.some".to_owned(), 2)]);
    insta::assert_snapshot!("rows", plan.explain());
    // The key of the source, where the table has it as it is; unless another one is asked for, or none.
    let keyed = format!("{CLEAN}{ROWS}").replace("dedupe = \"label\"", "dedupe = \"label\"\nkey = \"label\"");
    let key = |text: &str| names(&load(text).unwrap().row_outputs[0].key);
    assert_eq!(key(&keyed), ["label string"]);
    assert_eq!(key(&keyed.replace("topic = \"rows.told\"", "topic = \"rows.told\"\nkey = \"id\"")), ["id int"]);
    assert!(key(&keyed.replace("topic = \"rows.told\"", "topic = \"rows.told\"\nkey = []")).is_empty());
    assert!(key(&keyed.replace("label = \"label\"", "label = \"lower(label)\"")).is_empty());
}

#[test]
fn mistakes_in_outputs_of_rows() {
    let text = format!("{CLEAN}{}", include_str!("definitions/rows.toml"));
    insta::assert_snapshot!(diagnostics(&text).to_string());
}

#[test]
fn outputs_of_several_pipelines_lead_back_to_none() {
    let one = load(&format!("{CLEAN}{ROWS}")).unwrap();
    let other = |topic: &str| {
        let text = CLEAN.replace("\"clean\"", "\"other\"").replace("\"events\"", "\"echoes\"");
        let text = text.replace("sources.events", "sources.echoes").replace("tables.rows", "tables.echoed");
        let text = text.replace("\"rows\"", "\"echoed\"").replace("views.totals", "views.sums");
        let text = text.replace("topic = \"echoes\"", "topic = \"rows.told\"");
        load(&format!("{text}\n[outputs.back]\nview = \"sums\"\ntopic = \"{topic}\"\n")).unwrap()
    };
    let merged = Plan::merge(vec![one.clone(), other("elsewhere")]).unwrap();
    assert_eq!((merged.outputs.len(), merged.row_outputs.len()), (1, 2));
    // What a source reads is made as the source says.
    let made: Vec<String> = merged.output_topics().into_iter().map(|spec| spec.name).collect();
    assert_eq!(made, ["elsewhere", "rows.some"]);
    let clashes = Plan::merge(vec![one.clone(), other("events")]).unwrap_err();
    let texts: Vec<String> = clashes.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        ["events", "rows.told"].map(|topic| format!(
            "what an output writes to `{topic}` comes back to where it is from, by way of pipelines clean, other"
        ))
    );
    let clashes = Plan::merge(vec![one, other("rows.some")]).unwrap_err();
    assert!(clashes[0].to_string().starts_with("topic of an output `rows.some` is defined more than once"));
}

#[test]
fn a_plan_that_is_printed_holds_no_webhook() {
    let text = format!(
        "{CLEAN}\n[alerts.a]\nview = \"totals\"\nwhen = \"total > 1\"\nwebhook = \"https://secret.example\"\nsecret = \"secret\"\n"
    );
    let plan = load(&text).unwrap();
    assert_eq!(plan.alerts[0].webhook.as_deref(), Some("https://secret.example"));
    assert_eq!(plan.alerts[0].secret.as_deref(), Some("secret"));
    assert!(!plan.explain().contains("secret.example") && plan.explain().contains("secret: set"));
    assert!(!serde_json::to_string(&plan).unwrap().contains("secret"));
}

#[test]
fn several_plans_become_one() {
    let stock = load(include_str!("../../schema/pipelines/stock-sentiment.toml")).unwrap();
    let movie = load(include_str!("../../schema/pipelines/movie-viewing.toml")).unwrap();
    let merged = Plan::merge(vec![stock.clone(), movie]).unwrap();
    assert_eq!(merged.sources.len(), 3);
    assert!(merged.view("symbol_sentiment").is_some() && merged.view("stream_ratings").is_some());
    let clean = load(CLEAN).unwrap();
    let mut other = load(CLEAN).unwrap();
    other.name = "other".into();
    let clashes = Plan::merge(vec![clean, other]).unwrap_err();
    let pipelines = vec!["clean".to_owned(), "other".to_owned()];
    assert!(clashes.contains(&Clash { kind: "source", name: "events".into(), pipelines: pipelines.clone() }));
    assert!(clashes.contains(&Clash { kind: "table or view", name: "totals".into(), pipelines }));
    assert_eq!(clashes.len(), 3);
}

#[test]
fn the_committed_schema_is_the_generated_one() {
    let generated = format!("{:#}\n", tideline_common::definition::schema::schema());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../schema/definition.schema.json");
    if std::env::var_os("TIDELINE_WRITE_SCHEMA").is_some() {
        std::fs::write(path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(
        committed == generated,
        "run the test once with TIDELINE_WRITE_SCHEMA=1 and commit schema/definition.schema.json"
    );
}

/// Calls `visit` with every key of the format.
fn keys(section: &Section, visit: &mut impl FnMut(&Section, &str)) {
    for key in section.keys {
        visit(section, key.name);
        if let Kind::Table(inner)
        | Kind::StringOr(inner)
        | Kind::DurationOr(inner)
        | Kind::Named(inner)
        | Kind::Tables(inner) = key.kind
        {
            keys(inner, visit);
        }
    }
}

#[test]
fn the_reference_explains_every_key() {
    let reference = include_str!("../../docs/definition.md");
    keys(&ROOT, &mut |section, key| {
        assert!(
            reference.contains(&format!("`{key}`")),
            "docs/definition.md does not explain `{key}` of a {}",
            section.name
        );
    });
}

const PREDICTIONS: &str = r#"
[predictions.next]
view = "totals"
target = "total"
buffer = 12
gap_max = "1h"

[predictions.next.models.v1]
features = ["total", "events", "hour", "day_of_week", "delta(total)", "mean_12 = ma(mean, 12)"]
l2 = 0

[predictions.next.models.v2]
features = ["total"]
learning_rate = "${RATE:-0.5}"
"#;

#[test]
fn predictions_wait_for_windows() {
    let plan = load(&format!("{CLEAN}{PREDICTIONS}")).unwrap();
    assert!(plan.closes("totals"));
    assert_eq!(plan.views[0].version, load(CLEAN).unwrap().views[0].version, "states are the same");
    let prediction = &plan.predictions[0];
    assert_eq!(
        (prediction.topic.as_str(), prediction.buffer, prediction.keys_max),
        ("clean.predictions.next", 12, 10_000)
    );
    let names: Vec<&str> = prediction.models[0].features.iter().map(|feature| feature.name.as_str()).collect();
    assert_eq!(names, ["total", "events", "hour", "day_of_week", "delta_total", "mean_12"]);
    let rates: Vec<(f64, f64)> =
        prediction.models.iter().map(|model| (model.learning.learning_rate, model.learning.l2)).collect();
    assert_eq!(rates, [(0.01, 0.0), (0.5, 0.001)]);
    let explained = plan.explain();
    assert!(explained.contains("prediction next to topic clean.predictions.next"), "{explained}");
    assert!(explained.contains("    mean_12 = ma(mean, 12)"), "{explained}");
}

#[test]
fn mistakes_in_predictions() {
    let text = format!("{CLEAN}{}", include_str!("definitions/predictions.toml"));
    let expected = [
        "unknown view `totls`",
        "`learning_rate` is greater than 0 and at most 1, not 0",
        "unknown column `labl` of view `totals`",
        "view `totals` is made from `events`, which source `events` reads",
        "unknown column `tag` of view `totals`",
        "`max(total)` is no feature",
        "model `v1` has a feature `total` already",
        "an average is over 1 to 3 windows, the buffer, not 5",
        "gap_max of 1m is shorter than the slide of the view, 5m",
        "a model has at least one feature",
        "`models` is missing",
        "topics that start with `tideline.` are Tideline's own",
        "prediction `six` writes to the topic `six` already",
        "a feature is a number, and `kinds` is of type map",
    ];
    let found = found(&text);
    for message in expected {
        assert!(found.contains(message), "{message}\n{found}");
    }
    assert_eq!(found.lines().count(), expected.len(), "{found}");
    // With its place: the column, within the feature.
    let line = text.lines().position(|line| line.contains("delta(tag)")).unwrap() + 1;
    let column = text.lines().nth(line - 1).unwrap().find("tag)").unwrap() + 1;
    assert!(found.contains(&format!("{line}:{column} unknown column `tag`")), "{found}");
}
