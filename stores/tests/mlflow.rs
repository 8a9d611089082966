//! The tracker of experiments against the `MLflow` server named by `TIDELINE_TEST_MLFLOW`, and against one that misbehaves.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value as Json, json};
use tideline_common::ports::{Clock, PortError, RunEnd, RunHandle, TrackedMetrics, TrackedRun, Tracking};
use tideline_common::time::{Span, Timestamp};
use tideline_stores::clock::SystemClock;
use tideline_stores::tracking::mlflow::{Mlflow, MlflowConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Address of the server; without one the test is skipped, and says so.
fn server(test: &str) -> Option<String> {
    let url = std::env::var("TIDELINE_TEST_MLFLOW").ok().filter(|url| !url.is_empty());
    if url.is_none() {
        eprintln!("SKIPPED {test}: TIDELINE_TEST_MLFLOW is not set");
    }
    url
}

/// A name that no other test, and no earlier run, has.
fn unique(what: &str) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!("{what}-{}-{}", SystemClock.now().0, COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Patient: the server works on `SQLite`, one request at a time.
fn config(url: &str) -> MlflowConfig {
    MlflowConfig { timeout: Duration::from_mins(1), ..MlflowConfig::new(url) }
}

fn run(experiment: &str, key: &str) -> TrackedRun {
    let param = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    TrackedRun {
        experiment: experiment.to_owned(),
        key: key.to_owned(),
        name: "trend v1".to_owned(),
        started: Timestamp::from_millis(1_714_996_800_000),
        params: vec![
            param("learning_rate", "0.01"),
            param("model_version", "v1"),
            param("model_type", "StandardScaler | LinearRegression"),
        ],
    }
}

fn metrics(step: u64, mae: f64) -> TrackedMetrics {
    let figures = vec![("mae".to_owned(), mae), ("rmse".to_owned(), 2.5), ("r2".to_owned(), f64::NAN)];
    TrackedMetrics { step, at: Timestamp::from_millis(1_714_996_800_000 + step as i64), figures }
}

/// What the server itself says, through another client.
async fn ask(url: &str, path: &str, query: &[(&str, &str)]) -> Json {
    let url = reqwest::Url::parse_with_params(&format!("{url}{path}"), query).unwrap();
    let answer = reqwest::get(url).await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    answer.json().await.unwrap()
}

async fn run_of(url: &str, handle: &RunHandle) -> Json {
    ask(url, "/api/2.0/mlflow/runs/get", &[("run_id", &handle.id)]).await["run"].take()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_opened_logged_and_finished() {
    let Some(url) = server("a_run_is_opened_logged_and_finished") else { return };
    let tracker = Mlflow::new(&config(&url)).unwrap();
    let experiment = unique("trend's \"score\"");
    let tracked = run(&experiment, "trend/v1/0");
    let handle = tracker.open(&tracked).await.unwrap();
    for step in [100, 200] {
        tracker.log(&handle, &metrics(step, step as f64 / 10.0)).await.unwrap();
    }
    // Again, as after a lost answer.
    tracker.log(&handle, &metrics(200, 20.0)).await.unwrap();
    let model = Bytes::from_static(br#"{"version":"v1"}"#);
    tracker.upload(&handle, "model/model.json", Bytes::from_static(b"old")).await.unwrap();
    tracker.upload(&handle, "model/model.json", model.clone()).await.unwrap();

    let there = run_of(&url, &handle).await;
    let (info, data) = (&there["info"], &there["data"]);
    assert_eq!((&info["run_name"], &info["status"]), (&json!("trend v1"), &json!("RUNNING")));
    assert_eq!(info["start_time"], 1_714_996_800_000_i64);
    for (key, value) in &tracked.params {
        assert!(data["params"].as_array().unwrap().contains(&json!({ "key": key, "value": value })), "{data}");
    }
    let history =
        ask(&url, "/api/2.0/mlflow/metrics/get-history", &[("run_id", &handle.id), ("metric_key", "mae")]).await;
    let points: Vec<_> =
        history["metrics"].as_array().unwrap().iter().map(|m| (m["step"].clone(), m["value"].clone())).collect();
    assert_eq!(points, [(json!(100), json!(10.0)), (json!(200), json!(20.0))]);
    let names: Vec<&str> = data["metrics"].as_array().unwrap().iter().filter_map(|m| m["key"].as_str()).collect();
    assert!(names.contains(&"rmse") && !names.contains(&"r2"), "what is no number is left out: {names:?}");
    let stored = reqwest::get(format!("{url}/get-artifact?path=model/model.json&run_id={}", handle.id)).await.unwrap();
    assert_eq!(stored.bytes().await.unwrap(), model);

    // Another process, or the same one after a restart, goes on with the run.
    let again = Mlflow::new(&config(&url)).unwrap();
    assert_eq!(again.open(&tracked).await.unwrap(), handle);
    assert_ne!(again.open(&run(&experiment, "trend/v2/0")).await.unwrap().id, handle.id);
    // Settings never change.
    let mut changed = tracked.clone();
    changed.params[0].1 = "0.5".to_owned();
    let error = again.open(&changed).await.unwrap_err();
    assert!(matches!(error, PortError::Invalid { .. }) && error.to_string().contains("learning_rate"), "{error}");

    let end = tracked.started.plus(Span::HOUR);
    again.finish(&handle, RunEnd::Finished, end).await.unwrap();
    again.finish(&handle, RunEnd::Finished, end).await.unwrap();
    let info = run_of(&url, &handle).await["info"].take();
    assert_eq!((&info["status"], &info["end_time"]), (&json!("FINISHED"), &json!(1_715_000_400_000_i64)));
    let next = again.open(&tracked).await.unwrap();
    assert_ne!(next.id, handle.id, "a run that has ended is not gone on with");
    again.finish(&next, RunEnd::Failed, end).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_figures_go_in_batches_and_many_openers_find_one_experiment() {
    let Some(url) = server("many_figures_go_in_batches_and_many_openers_find_one_experiment") else { return };
    let experiment = unique("race");
    let opens = (0..4).map(|number| {
        let (url, experiment) = (url.clone(), experiment.clone());
        tokio::spawn(async move {
            let tracker = Mlflow::new(&config(&url)).unwrap();
            tracker.open(&run(&experiment, &format!("key '{number}'"))).await.unwrap()
        })
    });
    let handles: Vec<RunHandle> = futures::future::join_all(opens).await.into_iter().map(Result::unwrap).collect();
    let mut experiments = Vec::new();
    for handle in &handles {
        experiments.push(run_of(&url, handle).await["info"]["experiment_id"].clone());
    }
    experiments.dedup();
    assert_eq!(experiments.len(), 1, "{experiments:?}");
    let tracker = Mlflow::new(&config(&url)).unwrap();
    let figures = (0..1500).map(|n| (format!("feature_{n}"), f64::from(n))).collect();
    tracker.log(&handles[0], &TrackedMetrics { step: 1, at: Timestamp(0), figures }).await.unwrap();
    assert_eq!(run_of(&url, &handles[0]).await["data"]["metrics"].as_array().unwrap().len(), 1500);
    let absent = RunHandle { id: "0".repeat(32), ..handles[0].clone() };
    let error = tracker.log(&absent, &metrics(1, 1.0)).await.unwrap_err();
    assert!(matches!(error, PortError::NotFound { .. }), "{error:?}");
}

/// A server that answers the n-th request with the n-th answer (the last one again after that), and counts them.
async fn scripted(answers: Vec<&'static str>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let number = counted.fetch_add(1, Ordering::SeqCst);
            let answer = answers[number.min(answers.len() - 1)];
            tokio::spawn(async move {
                let mut request = vec![0; 64 << 10];
                let _ = stream.read(&mut request).await;
                match answer {
                    "silent" => tokio::time::sleep(Duration::from_mins(10)).await,
                    "cut" => {}
                    _ => {
                        let (status, body) = answer.split_once(' ').unwrap();
                        let head = format!(
                            "HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                            body.len()
                        );
                        let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
                    }
                }
            });
        }
    });
    (url, count)
}

fn hasty(url: &str) -> MlflowConfig {
    MlflowConfig {
        timeout: Duration::from_millis(500),
        attempts: 3,
        retry_wait: Duration::from_millis(1),
        ..MlflowConfig::new(url)
    }
}

fn handle() -> RunHandle {
    RunHandle { id: "ab".to_owned(), artifacts: "mlflow-artifacts:/1/ab/artifacts".to_owned() }
}

#[tokio::test]
async fn what_passes_is_tried_again_and_what_does_not_is_not() {
    for (answers, tries, works) in [
        (vec!["503 busy", "cut", "200 {}"], 3, true),
        (vec!["429 {}", "200 {}"], 2, true),
        (vec!["500 {}"], 3, false),
        (vec!["silent"], 3, false),
        (vec!["cut"], 3, false),
        (vec!["400 {\"error_code\": \"INVALID_PARAMETER_VALUE\", \"message\": \"no such thing\"}"], 1, false),
        (vec!["401 who are you"], 1, false),
        (vec!["302 {}"], 1, false),
        (vec!["200 <html>"], 1, false),
    ] {
        let (url, count) = scripted(answers.clone()).await;
        let began = Instant::now();
        let result = Mlflow::new(&hasty(&url)).unwrap().log(&handle(), &metrics(100, 1.0)).await;
        assert_eq!((result.is_ok(), count.load(Ordering::SeqCst)), (works, tries), "{answers:?}: {result:?}");
        assert!(began.elapsed() < Duration::from_secs(20), "{answers:?} took {:?}", began.elapsed());
        if let Err(error) = result {
            assert_eq!(error.is_retryable(), tries == 3, "{answers:?}: {error:?}");
        }
    }
}

#[tokio::test]
async fn a_run_whose_answer_was_lost_is_found_and_not_made_again() {
    let found = r#"200 {"runs": [{"info": {"run_id": "other", "artifact_uri": "mlflow-artifacts:/1/o/artifacts"}, "data": {"tags": [{"key": "tideline.key", "value": "TREND"}]}}, {"info": {"run_id": "r1", "artifact_uri": "mlflow-artifacts:/1/r1/artifacts"}, "data": {"tags": [{"key": "tideline.key", "value": "trend"}]}}]}"#;
    let answers = vec![
        r#"404 {"error_code": "RESOURCE_DOES_NOT_EXIST"}"#, // the experiment
        r#"400 {"error_code": "RESOURCE_ALREADY_EXISTS"}"#, // to make it: somebody was faster
        r#"200 {"experiment": {"experiment_id": "1", "lifecycle_stage": "active"}}"#,
        "200 {}", // no run of this key
        "cut",    // to make one
        found,
        "200 {}", // its params
    ];
    let (url, count) = scripted(answers).await;
    let run = Mlflow::new(&hasty(&url)).unwrap().open(&run("e", "trend")).await.unwrap();
    assert_eq!(run, RunHandle { id: "r1".to_owned(), artifacts: "mlflow-artifacts:/1/r1/artifacts".to_owned() });
    assert_eq!(count.load(Ordering::SeqCst), 7);
}

#[tokio::test]
async fn a_deleted_experiment_is_an_error_that_says_so() {
    let (url, _) = scripted(vec![r#"200 {"experiment": {"experiment_id": "1", "lifecycle_stage": "deleted"}}"#]).await;
    let error = Mlflow::new(&hasty(&url)).unwrap().open(&run("gone", "k")).await.unwrap_err();
    assert!(error.to_string().contains("`gone`") && error.to_string().contains("deleted"), "{error}");
    // Nobody there at all.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = Mlflow::new(&hasty(&url)).unwrap().open(&run("e", "k")).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
}
