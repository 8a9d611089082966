//! The program as a user meets it on the command line: answers, and errors that name their place.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tideline_common::ports::Clock;
use tideline_common::time::Timestamp;
use tideline_stores::clock::SystemClock;

fn tideline(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tideline"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("TIDELINE_URL")
        .output()
        .expect("the program starts")
}

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn error(output: &Output) -> String {
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_definitions_of_the_systems_are_right() {
    let said = out(&tideline(root(), &["check"]));
    assert!(said.contains("stock-sentiment.toml: ok"), "{said}");
    assert!(said.contains("movie-viewing.toml: ok"), "{said}");
    let plan = out(&tideline(root(), &["plan", "schema/pipelines/stock-sentiment.toml"]));
    let layers = [
        "symbol_sentiment",
        "map_sum",
        "first",
        "vader(text)",
        "CREATE TABLE IF NOT EXISTS tideline.symbol_sentiment_panes",
        "ENGINE = MergeTree",
        "FROM s3('s3://lake/silver/mentions/**.parquet', 'Parquet'",
    ];
    for part in layers {
        assert!(plan.contains(part), "{part} is not in\n{plan}");
    }
    let json = out(&tideline(root(), &["plan", "--json", "schema/pipelines/stock-sentiment.toml"]));
    assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{json}");
}

#[test]
fn ten_mistakes_are_ten_errors_with_their_places() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = r#"version = 1
name = "wrong"
colour = "red"

[sources.tweets]
topic = "tweets"
columns = { created_at = "string", text = "string", n = "integr" }
event_time = { column = "created", format = "%Y-%m-%d %H:%M:%S" }
lateness = "2 minutes"
checks = { text = "length(texd) > 0" }

[tables.words]
from = "tweets"
columns = { text = "text", half = "text / 2 +" }

[views.counts]
key = ["word"]
window = { size = "5m", slide = "7m" }
measures.a = { table = "wordz", agg = "count()" }
measures.b = { table = "words", agg = "median(text)" }
columns.x = "y + 1"
columns.y = "x + 1"
"#;
    std::fs::write(folder.path().join("wrong.toml"), text).expect("written");
    let said = error(&tideline(folder.path(), &["check", "wrong.toml"]));
    let places: std::collections::BTreeSet<&str> =
        said.lines().filter_map(|line| line.trim_start_matches("error: ").strip_prefix("wrong.toml:")).collect();
    assert!(places.len() >= 10, "{} errors:\n{said}", places.len());
    assert!(places.iter().any(|place| place.starts_with("3:1: ") && place.contains("colour")), "{said}");
    assert!(places.iter().any(|place| place.starts_with("10:") && place.contains("texd")), "{said}");
}

#[test]
fn sql_knows_the_functions_of_definitions() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut file = std::fs::File::create(folder.path().join("t.ndjson")).expect("created");
    writeln!(file, r#"{{"text": "VADER is smart, handsome, and funny!"}}"#).expect("written");
    writeln!(file, r#"{{"text": "$TSLA and $AAPL: not good"}}"#).expect("written");
    let sql = "SELECT text, vader(text) AS compound, cashtags(text) AS symbols FROM t";
    let said = out(&tideline(folder.path(), &["sql", sql, "--table", "t=t.ndjson", "--format", "ndjson"]));
    let rows: Vec<serde_json::Value> = said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    // The first is the example of the reference's own documentation.
    assert_eq!(rows[0]["compound"], 0.8439);
    assert_eq!(rows[1]["symbols"], serde_json::json!(["TSLA", "AAPL"]));
    let said = error(&tideline(folder.path(), &["sql", "SELECT nope FROM t", "--table", "t=t.ndjson"]));
    assert!(said.contains("nope"), "{said}");
    let said = error(&tideline(folder.path(), &["sql", "SELECT 1 FROM t", "--table", "t=gone.ndjson"]));
    assert!(said.contains("gone.ndjson"), "{said}");
}

#[test]
fn one_seed_generates_one_stream() {
    let arguments = ["generate", "movie-viewing", "--count", "50", "--seed", "4", "--start", "2024-01-01T00:00:00Z"];
    let first = out(&tideline(root(), &arguments));
    assert_eq!(first.lines().count(), 50);
    assert_eq!(first, out(&tideline(root(), &arguments)));
    let said = error(&tideline(root(), &["generate", "weather"]));
    assert!(said.contains("stock-sentiment"), "{said}");
}

#[test]
fn a_stream_can_be_continued() {
    let same = ["generate", "customer-sentiment", "--start", "2024-01-01T00:00:00Z", "--duplicates", "0.1"];
    let part = |more: &[&str]| out(&tideline(root(), &[same.as_slice(), more].concat()));
    assert_eq!(part(&["--count", "300"]), part(&["--count", "200"]) + &part(&["--count", "100", "--skip", "200"]));
    let said = error(&tideline(root(), &["generate", "customer-sentiment", "--skip", "200"]));
    assert!(said.contains("--start"), "{said}");
}

#[test]
fn records_that_are_sent_at_once_do_not_reach_into_the_future() {
    let of = |record: &str, field: &str| {
        let record: serde_json::Value = serde_json::from_str(record).expect("JSON");
        Timestamp::parse(record[field].as_str().expect("a time")).expect("a time")
    };
    let minutes = |count: &str, system: &str, topic: &str, field: &str| {
        let arguments = ["generate", system, "--count", count, "--topic", topic];
        let said = out(&tideline(root(), &arguments));
        let (first, last) = (said.lines().next().expect("a record"), said.lines().last().expect("a record"));
        let now = SystemClock.now();
        [first, last].map(|record| now.since(of(record, field)).micros() as f64 / 60e6)
    };
    // 6,000 records of 100 ms on average, and 2,000 of which only every fifth of the stream is one.
    let [first, last] = minutes("6000", "movie-viewing", "movie-viewing-events", "timestamp");
    assert!((9.0..11.5).contains(&first) && (-0.5..1.5).contains(&last), "{first} {last}");
    let [first, last] = minutes("2000", "stock-sentiment", "stock-prices", "trade_timestamp");
    assert!((14.0..20.0).contains(&first) && (-0.5..1.5).contains(&last), "{first} {last}");
    // The whole of a stream: about as long as so many steps.
    let said = out(&tideline(root(), &["generate", "movie-viewing", "--count", "6000"]));
    let ago = SystemClock.now().since(of(said.lines().next().expect("a record"), "timestamp")).micros() as f64 / 60e6;
    assert!((9.0..11.5).contains(&ago), "{ago}");
    // With a rate they come as time goes by.
    let said = out(&tideline(root(), &["generate", "movie-viewing", "--count", "5", "--rate", "1000/s"]));
    let ago = SystemClock.now().since(of(said.lines().next().expect("a record"), "timestamp")).micros() as f64 / 60e6;
    assert!((-0.1..1.0).contains(&ago), "{ago}");
}

#[test]
fn the_mix_of_a_stream_can_be_changed() {
    let arguments = ["generate", "customer-sentiment", "--count", "40", "--start", "2024-01-01T00:00:00Z"];
    let changed = ["--mix", "city.*=0", "--mix", "city.São Paulo=1"];
    let said = out(&tideline(root(), &[arguments.as_slice(), changed.as_slice()].concat()));
    assert_eq!(said.lines().filter(|line| line.contains(r#""city":"São Paulo""#)).count(), 40, "{said}");
    let said = error(&tideline(root(), &[arguments.as_slice(), ["--mix", "city.Atlantis=1"].as_slice()].concat()));
    assert!(said.contains("city.Atlantis=1") && said.contains("Berlin"), "{said}");
}

#[test]
fn a_wrong_configuration_is_refused_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("tideline.toml"), "[serve]\nlisten = \"127.0.0.1:0\"\nport = 1\n")
        .expect("written");
    let pipelines = root().join("schema/pipelines");
    let pipelines = pipelines.to_str().expect("UTF-8");
    let said = error(&tideline(folder.path(), &["up", "--pipelines", pipelines]));
    assert!(said.contains("tideline.toml") && said.contains("line 3") && said.contains("port"), "{said}");
}

#[test]
fn a_second_process_on_the_same_folder_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipelines = root().join("schema/pipelines");
    let arguments =
        ["up", "--listen", "127.0.0.1:0", "--data", "data", "--pipelines", pipelines.to_str().expect("UTF-8")];
    let mut first = Command::new(env!("CARGO_BIN_EXE_tideline"))
        .args(arguments)
        .current_dir(folder.path())
        .env("TIDELINE_BATCH__SCHEDULE", "")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(first.stderr.take().expect("piped")));
    let up = lines.by_ref().map_while(Result::ok).any(|line| line.contains("tideline is up"));
    assert!(up, "the first process did not come up");
    let drain = std::thread::spawn(move || lines.map_while(Result::ok).any(|line| line.contains("has stopped")));

    let said = error(&tideline(folder.path(), &arguments));
    assert!(said.contains("in use by process") && said.contains(&first.id().to_string()), "{said}");

    // SIGTERM ends it in order, and frees the folder.
    let killed = Command::new("kill").args(["-TERM", &first.id().to_string()]).status().expect("kill runs");
    assert!(killed.success());
    assert!(first.wait().expect("it ends").success());
    assert!(drain.join().expect("its log is read"), "it did not say that it stopped in order");
    let verified = out(&tideline(folder.path(), &["verify", "--data", "data", "--pipelines", arguments[6]]));
    assert!(verified.contains("nothing to compare"), "{verified}");
}
