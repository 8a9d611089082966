//! Predictions of a whole platform: whatever dies, they are those of a run in which nothing does; how they are doing is
//! told over HTTP, and to `MLflow`.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value as Json, json};
use support::world::{World, process};
use support::{PATIENCE, get, routes, until};
use tideline::config::{Config, TrackingKind};
use tideline::platform::{Platform, Stores};
use tideline_common::changes;
use tideline_common::plan::{self, Plan};
use tideline_common::ports::{Clock, Log, ReadRequest, TopicSpec};
use tideline_common::prediction::{PredictionStatus, status_path};
use tideline_common::record::NewRecord;
use tideline_common::time::{Span, Timestamp};
use tideline_stores::clock::SystemClock;
use tideline_stores::faulty::Kind;
use tideline_transform::SqlTypes;

const TOPIC: &str = "levels_predicted";
const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];

fn definition(v1: &str) -> Plan {
    let text = format!(
        r#"
version = 1
name = "levels"

[sources.scores]
topic = "scores"
columns = {{ at = "string", who = "string", x = "float" }}
event_time = "at"
key = "who"
partitions = 2
lateness = "5m"

[tables.rows]
from = "scores"
columns = {{ who = "who", x = "x" }}

[views.levels]
key = ["who"]
window = {{ size = "20m", slide = "10m" }}
measures.n = {{ table = "rows", agg = "count()" }}
measures.level = {{ table = "rows", agg = "avg(x)" }}

[outputs.levels]
view = "levels"
topic = "levels_closed"

[predictions.level]
view = "levels"
target = "level"
topic = "{TOPIC}"
buffer = 10

[predictions.level.models.v1]
features = [{v1}]

[predictions.level.models.v2]
features = ["level", "hour"]
learning_rate = 0.05
"#
    );
    plan::load("levels.toml", &text, &|_| None, &SqlTypes).unwrap()
}

const FEATURES: &str = r#""level", "n", "hour", "delta(level)", "ma(level, 3)""#;

/// A record every ten minutes of each key, with some left out; more than a day.
fn input(windows: std::ops::Range<i64>) -> Vec<(String, Bytes)> {
    let begin = Timestamp::parse("2024-05-06T00:00:00Z").unwrap();
    let mut records = Vec::new();
    for n in windows {
        for (at, who) in KEYS.iter().enumerate() {
            if (n + 3 * at as i64) % 11 == 0 {
                continue;
            }
            let time = begin.plus(Span((n * 10 + at as i64) * Span::MINUTE.0));
            let x = ((n * 7 + at as i64 * 13) % 29) as f64 / 3.0 + at as f64;
            let record = json!({ "at": time.to_string(), "who": who, "x": x });
            records.push(((*who).to_owned(), record.to_string().into()));
        }
    }
    records
}

/// Appends by hand, so that no fault is met.
async fn append(world: &World, records: Vec<(String, Bytes)>) {
    let spec = TopicSpec { name: "scores".to_owned(), partitions: 2, retention: None, max_bytes: None };
    world.log.ensure_topic(&spec).await.unwrap();
    let record = |(who, payload): (String, Bytes)| NewRecord { key: Some(who.into()), headers: Vec::new(), payload };
    world.log.append("scores", records.into_iter().map(record).collect(), world.clock.now()).await.unwrap();
}

fn config() -> Config {
    let mut config = support::config();
    config.speed.checkpoint_interval = Span::from_millis(30);
    config.close.round_interval = Span::from_millis(5);
    config.close.read_wait = Span::from_millis(5);
    config.close.checkpoint_interval = Span::from_millis(20);
    config.close.retry_initial = Span::from_millis(2);
    config.close.retry_max = Span::from_millis(20);
    // Many rounds.
    config.close.max_round_rows = 40;
    config
}

/// Records of a topic by their identity. Copies of one are the same.
async fn told(log: &dyn Log, topic: &str) -> Told {
    let mut all = BTreeMap::new();
    let Ok(info) = log.topic(topic).await else { return all };
    for (partition, (first, next)) in info.partitions {
        let mut from = first;
        while from < next {
            let request = ReadRequest {
                topic: topic.to_owned(),
                partition,
                from,
                max_records: 10_000,
                max_bytes: 16 << 20,
                wait: Duration::from_millis(100),
            };
            // A log that has died has nothing more to tell.
            let Ok(records) = log.read(&request).await else { return all };
            let Some(last) = records.last() else { break };
            from = last.offset + 1;
            for record in records {
                let (name, id) = &record.headers[0];
                assert_eq!(name, "tideline-id");
                let content = (record.key.clone(), record.payload.clone());
                let known = all.entry(String::from_utf8(id.to_vec()).unwrap()).or_insert_with(|| content.clone());
                assert_eq!(*known, content, "copies differ");
            }
        }
    }
    all
}

/// How the models are doing, by partition; but when it was written, and how far beyond the last window it was known that
/// nothing comes.
async fn statuses(world: &World) -> Vec<PredictionStatus> {
    let mut all = Vec::new();
    for partition in 0..4 {
        if let Ok(bytes) = world.objects.get(&status_path("level", partition)).await {
            let status: PredictionStatus = serde_json::from_slice(&bytes).unwrap();
            all.push(PredictionStatus { written_at: String::new(), through: None, ..status });
        }
    }
    all
}

type Told = BTreeMap<String, (Option<Bytes>, Bytes)>;

/// Waits until nothing has happened for a second; `false` when the process has died before.
async fn quiet(world: &World, platform: &Platform) -> bool {
    let begun = Instant::now();
    let (mut since, mut last) = (Instant::now(), None);
    while since.elapsed() < Duration::from_secs(1) {
        if world.faults.is_crashed() {
            return false;
        }
        assert!(begun.elapsed() < PATIENCE, "{:?}", platform.close.status());
        tokio::time::sleep(Duration::from_millis(20)).await;
        let _ = platform.close.look().await;
        let speed: Vec<_> = platform.speed.status().into_iter().map(|s| (s.position, s.flushed, s.lag())).collect();
        let closing: Vec<_> = platform.close.status().into_iter().map(|s| (s.through, s.checkpoint, s.lag())).collect();
        let read = speed.iter().all(|(position, flushed, lag)| flushed >= position && *lag == 0)
            && !closing.is_empty()
            && closing.iter().all(|(through, _, lag)| through.is_some() && *lag == 0);
        let now = (speed, closing);
        if !read || last.as_ref() != Some(&now) {
            (since, last) = (Instant::now(), Some(now));
        }
    }
    true
}

/// Closes all that can close: until it is as `expected`, or nothing happens any more. `false` when the process dies meanwhile:
/// nothing of it is waited for then, as what has died ends nothing in order.
async fn live(world: &World, plan: &Plan, config: &Config, expected: Option<&(Told, Vec<PredictionStatus>)>) -> bool {
    let work = async {
        let platform = Platform::start(Arc::new(plan.clone()), world.stores(), config).await?;
        match expected {
            None => {
                let _ = quiet(world, &platform).await;
            }
            Some((records, doing)) => {
                let begun = Instant::now();
                loop {
                    let (told, doing_now) = (told(world.log.as_ref(), TOPIC).await.len(), statuses(world).await);
                    if told >= records.len() && doing_now == *doing {
                        break;
                    }
                    let (all, closing) = (records.len(), platform.close.status());
                    assert!(begun.elapsed() < PATIENCE, "{told} of {all}; {closing:?}; {doing_now:?}, not {doing:?}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        platform.stop().await;
        anyhow::Ok(())
    };
    let died = async {
        while !world.faults.is_crashed() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        biased;
        () = died => false,
        done = work => done.map_err(|error| assert!(world.faults.is_crashed(), "{error:#}")).is_ok(),
    }
}

/// A world with all of the input, whose view tells changes in so many partitions.
async fn world(partitions: u32) -> World {
    let world = World::new();
    let spec = TopicSpec { name: changes::topic("levels"), partitions, retention: None, max_bytes: None };
    world.log.ensure_topic(&spec).await.unwrap();
    append(&world, input(0..190)).await;
    world
}

fn whatever_dies(partitions: u32) {
    let (plan, config) = (definition(FEATURES), config());
    // Undisturbed, in two ways: in small steps, and all at once.
    let straight = process(world(partitions));
    assert!(process(live(&straight, &plan, &config, None)));
    let steps = straight.faults.steps();
    let all = (process(told(straight.log.as_ref(), TOPIC)), process(statuses(&straight)));
    let (expected, doing) = &all;
    assert!(expected.len() > 2_500, "{}", expected.len());
    assert_eq!(doing.len(), partitions as usize);
    assert!(doing.iter().all(|status| !status.drift.is_empty() && status.refused.is_none()), "{doing:?}");
    let mut hasty = config.clone();
    hasty.close.max_round_rows = 20_000;
    hasty.close.round_interval = Span::from_millis(200);
    let at_once = process(world(partitions));
    assert!(process(live(&at_once, &plan, &hasty, None)));
    assert!(process(told(at_once.log.as_ref(), TOPIC)) == *expected, "all at once");
    assert_eq!(process(statuses(&at_once)), *doing);

    let sample = 14;
    let mut deaths = 0;
    for nth in 0..sample {
        let step = 1 + nth * (steps - 1) / (sample - 1);
        let kind = if nth % 2 == 0 { Kind::CrashBefore } else { Kind::CrashAfter };
        let context = format!("{kind:?} at step {step} of {steps}");
        let world = process(world(partitions));
        world.faults.crash_at(step, kind);
        let lived = process(live(&world, &plan, &config, Some(&all)));
        deaths += u64::from(!lived);
        world.faults.revive();
        assert!(process(live(&world, &plan, &config, Some(&all))), "{context}: the second life");
        assert!(process(told(world.log.as_ref(), TOPIC)) == *expected, "{context}");
        assert_eq!(process(statuses(&world)), *doing, "{context}");
        let hours = |status: &PredictionStatus| status.drift.len();
        let reports = process(world.objects.list("predictions/level")).unwrap().len();
        assert_eq!(reports, doing.iter().map(|status| 1 + 2 * hours(status)).sum::<usize>(), "{context}");
    }
    // Shards work side by side: a run may have some steps less than the one that was counted.
    assert!(deaths >= sample / 2, "{deaths} of {sample} runs met their crash");
}

#[test]
fn whatever_dies_predictions_are_those_of_an_undisturbed_run() {
    whatever_dies(1);
}

#[test]
fn so_they_are_where_several_partitions_share_the_keys() {
    whatever_dies(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn how_they_are_doing_is_told_over_http() {
    let (world, config) = (world(1).await, config());
    let plan = Arc::new(definition(FEATURES));
    let platform = Platform::start(plan.clone(), world.stores(), &config).await.unwrap();
    let router = routes(&platform, &config);
    assert!(quiet(&world, &platform).await);
    let one = get(&router, "/v1/predictions/level").await.json();
    assert_eq!((&one["view"], &one["target"], &one["topic"]), (&json!("levels"), &json!("level"), &json!(TOPIC)));
    let status = &one["partitions"][0];
    for (model, doing) in one["models"].as_array().unwrap().iter().zip(status["models"].as_array().unwrap()) {
        assert!(model["evaluated"].as_u64().unwrap() > 500, "{model}");
        for figure in ["version", "predictions", "evaluated", "mae", "rmse", "r2"] {
            assert_eq!(model[figure], doing[figure], "{figure}");
        }
    }
    assert_eq!(one["models"][1]["learning_rate"], 0.05);
    assert_eq!(one["models"][0]["features"][3], json!({ "name": "delta_level", "source": "delta(level)" }));
    get(&router, "/v1/predictions/levle").await.problem(404, "unknown-prediction");

    let report = get(&router, "/v1/predictions/level/drift").await;
    assert_eq!((report.status.as_u16(), report.header("content-type")), (200, "application/json"));
    let newest = report.json();
    assert_eq!(newest["prediction"], "level");
    assert_eq!(newest["current"]["from"], format!("{}:00:00Z", status["drift"][0].as_str().unwrap()));
    let page = get(&router, "/v1/predictions/level/drift?format=html").await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    assert!(String::from_utf8_lossy(&page.body).starts_with("<!doctype html>"));
    let hour = get(&router, "/v1/predictions/level/drift?at=2024-05-07T02:30:00Z").await.json();
    assert_eq!(hour["current"]["from"], "2024-05-07T02:00:00Z");
    assert_eq!(hour["reference"]["from"], "2024-05-06T02:00:00Z");
    for query in ["at=2024-05-06T02:30:00Z", "partition=1"] {
        get(&router, &format!("/v1/predictions/level/drift?{query}")).await.problem(404, "not-published");
    }
    get(&router, "/v1/predictions/level/drift?format=pdf").await.problem(400, "invalid-parameter");
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_refused_stops_nobody_else() {
    let (world, config) = (World::new(), config());
    append(&world, input(0..40)).await;
    let run = async |plan: &Plan, outputs: usize| {
        let platform = Platform::start(Arc::new(plan.clone()), world.stores(), &config).await.unwrap();
        until("outputs go on", || async { told(world.log.as_ref(), "levels_closed").await.len() >= outputs }).await;
        assert!(quiet(&world, &platform).await);
        let router = routes(&platform, &config);
        let status = get(&router, "/v1/predictions/level").await.json()["partitions"][0].clone();
        assert_eq!(get(&router, "/readyz").await.status, 200);
        platform.stop().await;
        status
    };
    let plan = definition(FEATURES);
    let first = run(&plan, 150).await;
    assert_eq!(first["refused"], Json::Null);
    let before = told(world.log.as_ref(), TOPIC).await.len();
    // The same version sees something else.
    append(&world, input(40..70)).await;
    let refused = run(&definition(r#""level""#), 280).await;
    assert!(refused["refused"].as_str().unwrap().contains("model `v1`"), "{refused}");
    assert_eq!(told(world.log.as_ref(), TOPIC).await.len(), before, "nothing is predicted");
    // Mended, it goes on with what it had learnt.
    append(&world, input(70..100)).await;
    let last = run(&plan, 400).await;
    assert_eq!(last["refused"], Json::Null);
    assert!(told(world.log.as_ref(), TOPIC).await.len() > before + 400, "it goes on");
    let evaluated = |status: &Json| status["models"][0]["evaluated"].as_u64().unwrap();
    assert!(evaluated(&last) > evaluated(&first), "{first} {last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mlflow_is_told_every_hundred_predictions() {
    let Some(url) = std::env::var("TIDELINE_TEST_MLFLOW").ok().filter(|url| !url.is_empty()) else {
        eprintln!("SKIPPED mlflow_is_told_every_hundred_predictions: TIDELINE_TEST_MLFLOW is not set");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut config = config();
    config.tracking.kind = Some(TrackingKind::Mlflow);
    config.tracking.url.clone_from(&url);
    config.tracking.experiment = format!("levels-{}", SystemClock.now().0);
    // The server works on SQLite, one request at a time.
    config.tracking.timeout = Span::from_secs(60);
    let stores = Stores::open(folder.path(), &config).await.unwrap();
    let platform = Platform::start(Arc::new(definition(FEATURES)), stores, &config).await.unwrap();
    let records: Vec<Bytes> = input(0..80).into_iter().map(|(_, payload)| payload).collect();
    platform.appender.append("scores", records).await.unwrap();
    let log = Arc::clone(&platform.stores.log);
    until("windows are predicted", || async { told(log.as_ref(), TOPIC).await.len() > 1_200 }).await;

    let http = reqwest::Client::new();
    let api = |call: &str| format!("{url}/api/2.0/mlflow/{call}");
    let experiment = async || -> Option<String> {
        let query = [("experiment_name", config.tracking.experiment.as_str())];
        let url = reqwest::Url::parse_with_params(&api("experiments/get-by-name"), query).ok()?;
        let json: Json = http.get(url).send().await.ok()?.json().await.ok()?;
        Some(json["experiment"]["experiment_id"].as_str()?.to_owned())
    };
    let runs = async || -> Vec<Json> {
        let Some(experiment) = experiment().await else { return Vec::new() };
        let search = json!({ "experiment_ids": [experiment] });
        let answer = http.post(api("runs/search")).body(search.to_string()).header("content-type", "application/json");
        let json: Json = answer.send().await.unwrap().json().await.unwrap();
        json["runs"].as_array().cloned().unwrap_or_default()
    };
    let history = async |run: &Json, figure: &str| -> Vec<(i64, f64)> {
        let query = [("run_id", run["info"]["run_id"].as_str().unwrap()), ("metric_key", figure)];
        let url = reqwest::Url::parse_with_params(&api("metrics/get-history"), query).unwrap();
        let json: Json = http.get(url).send().await.unwrap().json().await.unwrap();
        let all = json["metrics"].as_array().cloned().unwrap_or_default();
        let step = |metric: &Json| match &metric["step"] {
            Json::String(text) => text.parse().unwrap(),
            number => number.as_i64().unwrap(),
        };
        let mut steps: Vec<(i64, f64)> = all.iter().map(|m| (step(m), m["value"].as_f64().unwrap())).collect();
        steps.sort_by_key(|step| step.0);
        steps
    };
    let began = Instant::now();
    loop {
        let runs = runs().await;
        let mut told = 0;
        for run in &runs {
            told += usize::from(history(run, "mae").await.len() >= 3);
        }
        if told == 2 {
            break;
        }
        assert!(began.elapsed() < 3 * PATIENCE, "{runs:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    platform.stop().await;
    let runs = runs().await;
    assert_eq!(runs.len(), 2, "one of each version");
    for run in runs {
        let param = |name: &str| {
            let params = run["data"]["params"].as_array().unwrap();
            params.iter().find(|param| param["key"] == name).unwrap()["value"].clone()
        };
        let version = param("model_version");
        assert_eq!(param("learning_rate"), if version == "v1" { "0.01" } else { "0.05" });
        assert_eq!(param("model_type"), "StandardScaler | LinearRegression");
        for figure in ["mae", "rmse", "r2"] {
            let history = history(&run, figure).await;
            let steps: Vec<i64> = history.iter().map(|(step, _)| *step).collect();
            let expected: Vec<i64> = (1..=steps.len() as i64).map(|hundred| hundred * 100).collect();
            assert_eq!(steps, expected, "{figure}");
            assert!(history.iter().all(|(_, value)| value.is_finite()));
        }
        let list = [("run_id", run["info"]["run_id"].as_str().unwrap()), ("path", "model")];
        let list = reqwest::Url::parse_with_params(&api("artifacts/list"), list).unwrap();
        let files: Json = http.get(list).send().await.unwrap().json().await.unwrap();
        assert_eq!(files["files"][0]["path"], format!("model/{}.json", version.as_str().unwrap()), "{files}");
    }
}
