//! A prediction of the trendscope pipeline, window by window: what it tells, what it remembers, what it refuses.
#![allow(clippy::unwrap_used, clippy::float_cmp)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use metrics_exporter_prometheus::PrometheusBuilder;
use parking_lot::Mutex;
use serde_json::Value as Json;
use tideline_common::key::Key;
use tideline_common::plan::{self, FeaturePlan, FeatureSource, Learning, Plan, PredictionPlan, ViewPlan};
use tideline_common::ports::{
    ManualClock, PortError, PortResult, RunEnd, RunHandle, TrackedMetrics, TrackedRun, Tracking,
};
use tideline_common::prediction::{PredictionStatus, REPORTS_KEPT, status_path};
use tideline_common::state::{Reader, write_bytes, write_signed, write_varint};
use tideline_common::time::{Span, Timestamp};
use tideline_common::value::Value;
use tideline_speed::close::consumer::{Consumer, Effect, KeyWindow};
use tideline_transform::SqlTypes;

use super::predicting::Predicting;
use super::tracker::{Point, Tracker};

const COLUMNS: [&str; 4] = ["popularity", "mentions_count", "avg_sentiment", "trend_score"];
/// When windows are handed on; nothing follows from it but when a status was written.
const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

fn trendscope() -> Plan {
    plan::load("trendscope.toml", include_str!("../../schema/pipelines/trendscope.toml"), &|_| None, &SqlTypes).unwrap()
}

/// The prediction with the versions of River's fixture: the same features, other settings.
fn prediction() -> (PredictionPlan, ViewPlan) {
    let plan = trendscope();
    let mut prediction = plan.predictions[0].clone();
    prediction.models.truncate(1);
    let mut second = prediction.models[0].clone();
    second.version = "v2".to_owned();
    second.learning = Learning { learning_rate: 0.05, l2: 0.01, ..Learning::default() };
    prediction.models.push(second);
    let view = plan.view(&prediction.view).unwrap().clone();
    (prediction, view)
}

fn fresh((plan, view): &(PredictionPlan, ViewPlan)) -> Predicting {
    Predicting::new(plan.clone(), view, 0, None)
}

/// A window of a title.
#[derive(Clone, Debug)]
struct Row {
    title: String,
    start: Timestamp,
    columns: [Option<f64>; 4],
}

fn close(predicting: &mut Predicting, view: &ViewPlan, row: &Row) {
    let key = vec![Value::String(row.title.clone())];
    let bytes = Key::of(&key);
    let value = |name: &str| {
        let at = COLUMNS.iter().position(|column| *column == name)?;
        row.columns[at].map(Value::Float)
    };
    let values: Vec<Value> = view.answer.iter().map(|field| value(&field.name).unwrap_or(Value::Null)).collect();
    let window = KeyWindow {
        view,
        key: bytes.as_bytes(),
        key_values: key,
        start: row.start,
        end: row.start.plus(view.window.size),
        values: &values,
        previous: None,
        now: NOW,
    };
    let mut effects = Vec::new();
    predicting.closed(&window, &mut effects);
    assert!(effects.is_empty(), "nothing is decided before all keys have closed");
}

fn complete(predicting: &mut Predicting, through: Timestamp) -> Vec<Effect> {
    let mut effects = Vec::new();
    predicting.complete(through, NOW, &mut effects);
    effects
}

/// One window, alone.
fn feed(predicting: &mut Predicting, view: &ViewPlan, row: &Row) -> Vec<Effect> {
    close(predicting, view, row);
    complete(predicting, row.start.plus(Span(1)))
}

fn records(effects: &[Effect]) -> Vec<Json> {
    let mut records = Vec::new();
    for effect in effects {
        if let Effect::Append { topic, record } = effect {
            assert_eq!(topic, "trend_predictions");
            let json: Json = serde_json::from_slice(&record.payload).unwrap();
            assert_eq!(record.key.as_deref(), json["movie_title"].as_str().map(str::as_bytes));
            assert_eq!(record.headers[0].0, "tideline-id");
            records.push(json);
        }
    }
    records
}

fn objects(effects: &[Effect]) -> BTreeMap<String, Option<bytes::Bytes>> {
    let store = |effect: &Effect| match effect {
        Effect::Store { path, content } => Some((path.clone(), content.clone())),
        _ => None,
    };
    effects.iter().filter_map(store).collect()
}

fn status(effects: &[Effect]) -> PredictionStatus {
    let content = objects(effects).remove(&status_path("trend", 0)).unwrap().unwrap();
    serde_json::from_slice(&content).unwrap()
}

fn saved(predicting: &Predicting) -> Vec<u8> {
    let mut bytes = Vec::new();
    predicting.save(&mut bytes);
    bytes
}

fn restored(of: &(PredictionPlan, ViewPlan), bytes: &[u8]) -> Predicting {
    let mut predicting = fresh(of);
    let mut reader = Reader::new(bytes);
    predicting.restore(&mut reader).unwrap();
    assert!(reader.is_done());
    predicting
}

fn numbers(text: &Json) -> Vec<Option<f64>> {
    text.as_str().unwrap().split_whitespace().map(|word| word.parse().ok()).collect()
}

/// Arrivals of River's fixture, each with what it says of them.
fn fixture() -> Vec<(Row, Json)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("predict/tests/fixtures/windows.ndjson");
    let parse = |line: &str| {
        let line: Json = serde_json::from_str(line).unwrap();
        let row = Row {
            title: line["key"].as_str().unwrap().to_owned(),
            start: Timestamp(line["start"].as_i64().unwrap() * 1_000_000),
            columns: numbers(&line["columns"]).try_into().unwrap(),
        };
        (row, line)
    };
    std::fs::read_to_string(path).unwrap().lines().map(parse).collect()
}

fn assert_equal(found: &Json, expected: f64, place: &str) {
    let found = found.as_f64().unwrap_or_else(|| panic!("{place}: {found}"));
    let scale = expected.abs().max(found.abs()).max(1.0);
    assert!((found - expected).abs() <= 1e-9 * scale, "{place}: {found:e} here, {expected:e} in River");
}

#[test]
fn a_definition_predicts_what_river_does() {
    let of = prediction();
    let view = &of.1;
    let mut predicting = fresh(&of);
    let (mut settled, mut predicted) = (0, 0);
    for (number, (row, line)) in fixture().iter().enumerate() {
        let found = records(&feed(&mut predicting, view, row));
        let place = format!("line {number}");
        for record in &found {
            let version = record["model_version"].as_str().unwrap();
            assert_eq!(record["movie_title"], Json::from(row.title.as_str()));
            if record["status"] == "settled" {
                let expected = numbers(&line["settled"][version]);
                for (column, expected) in
                    ["predicted_trend_score", "actual_trend_score", "prediction_error"].into_iter().zip(&expected)
                {
                    assert_equal(&record[column], expected.unwrap(), &format!("{place} {version} {column}"));
                }
                assert_eq!(record["timestamp"], Json::from(row.start.to_string()));
                assert_eq!(record["window_end"], Json::from(row.start.plus(view.window.size).to_string()));
                settled += 1;
            } else {
                assert_eq!(record["status"], "predicted");
                let expected = numbers(&line["predicted"][version])[0].unwrap();
                assert_equal(&record["predicted_trend_score"], expected, &format!("{place} {version}"));
                let window = row.start.plus(view.window.slide);
                assert_eq!(record["timestamp"], Json::from(window.to_string()));
                assert!(record["actual_trend_score"].is_null() && record["prediction_error"].is_null());
                predicted += 1;
            }
        }
        let wanted = |of: &str| line[of].as_object().map_or(0, serde_json::Map::len);
        assert_eq!(found.len(), wanted("settled") + wanted("predicted"), "{place}");
    }
    assert!(settled > 1_400 && predicted > 1_500, "{settled} {predicted}");
}

#[test]
fn what_is_saved_goes_on_bit_for_bit() {
    let of = prediction();
    let rows: Vec<Row> = fixture().into_iter().map(|(row, _)| row).take(400).collect();
    let mut straight = fresh(&of);
    let mut broken = fresh(&of);
    for (number, row) in rows.iter().enumerate() {
        if number % 7 == 0 {
            broken = restored(&of, &saved(&broken));
        }
        assert_eq!(feed(&mut broken, &of.1, row), feed(&mut straight, &of.1, row), "{number}");
    }
    // What waits for other keys is kept, too.
    let late = Row { start: Timestamp(1_900_000_000_000_000), ..rows[0].clone() };
    close(&mut straight, &of.1, &late);
    let mut again = restored(&of, &saved(&straight));
    assert_eq!(saved(&again), saved(&straight));
    let through = late.start.plus(Span(1));
    assert_eq!(complete(&mut again, through), complete(&mut straight, through));
    // Bytes that are damaged are no state.
    let mut bytes = saved(&straight);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    assert!(fresh(&of).restore(&mut Reader::new(&bytes)).is_err());
}

#[test]
fn how_keys_come_to_close_does_not_matter() {
    let of = prediction();
    let minute = |n: i64| Timestamp(1_715_000_400_000_000 + n * Span::MINUTE.0);
    let rows = |n: i64| -> Vec<Row> {
        ["Alien", "Dune", "Heat"]
            .iter()
            .zip(0..)
            .map(|(title, at)| Row {
                title: (*title).to_owned(),
                start: minute(n),
                columns: [Some((n * at) as f64), Some(n as f64), Some(0.1 * at as f64), Some((n + 7 * at) as f64)],
            })
            .collect()
    };
    // Window by window, in order.
    let mut straight = fresh(&of);
    let mut expected = Vec::new();
    for n in 0..40 {
        for row in rows(n) {
            close(&mut straight, &of.1, &row);
        }
        expected.extend(records(&complete(&mut straight, minute(n + 1))));
    }
    // One title is far ahead of the others; these come backwards; they are complete in steps of three.
    let mut other = fresh(&of);
    for n in 0..40 {
        close(&mut other, &of.1, &rows(n)[1]);
    }
    let mut found = Vec::new();
    for n in 0..40 {
        for row in rows(n).iter().rev().filter(|row| row.title != "Dune") {
            close(&mut other, &of.1, row);
        }
        if n % 3 == 0 || n == 39 {
            found.extend(records(&complete(&mut other, minute(n + 1))));
        }
    }
    assert_eq!(found, expected);
    assert!(expected.len() > 400);
}

#[test]
fn a_changed_model_under_an_old_name_is_refused_and_kept() {
    let of = prediction();
    let rows: Vec<Row> = fixture().into_iter().map(|(row, _)| row).take(60).collect();
    let mut predicting = fresh(&of);
    for row in &rows[..40] {
        feed(&mut predicting, &of.1, row);
    }
    let bytes = saved(&predicting);
    let mut changed = of.clone();
    changed.0.models[0].features.push(FeaturePlan {
        name: "score".to_owned(),
        source: FeatureSource::Value { column: "trend_score".to_owned() },
    });
    let mut refused = restored(&changed, &bytes);
    let effects = feed(&mut refused, &changed.1, &rows[40]);
    assert!(records(&effects).is_empty());
    let reason = status(&effects).refused.unwrap();
    assert!(reason.contains("model `v1` has learnt with") && reason.contains("a version of its own"), "{reason}");
    // Told once, and kept as it was.
    assert!(feed(&mut refused, &changed.1, &rows[41]).is_empty());
    assert_eq!(saved(&refused), bytes);
    // Mended, it goes on: with a name of its own the changed model begins, and the other one has what it had.
    changed.0.models[0].version = "v3".to_owned();
    let mut mended = restored(&changed, &saved(&refused));
    let effects = feed(&mut mended, &changed.1, &rows[40]);
    let status = status(&effects);
    let predictions = |version: &str| status.models.iter().find(|model| model.version == version).unwrap().predictions;
    assert_eq!(status.refused, None);
    assert!(predictions("v2") > 30 && predictions("v3") <= 1, "{status:?}");
    assert_eq!(feed(&mut restored(&of, &bytes), &of.1, &rows[40]), feed(&mut predicting, &of.1, &rows[40]));
}

#[test]
fn each_hour_is_compared_with_the_one_a_day_before() {
    let of = prediction();
    let begin = Timestamp::parse("2024-05-06T00:00:00Z").unwrap();
    let mut predicting = fresh(&of);
    let mut lake: BTreeMap<String, bytes::Bytes> = BTreeMap::new();
    let mut dropped = 0;
    for n in 0..9 * 24 * 6 {
        let hour = f64::from(n / 6 % 24);
        let row = Row {
            title: "Dune".to_owned(),
            start: begin.plus(Span(i64::from(n) * 10 * Span::MINUTE.0)),
            columns: [Some(hour * 3.0), Some(f64::from(n % 6)), Some(0.0), Some(hour + f64::from(n % 6))],
        };
        let effects = feed(&mut predicting, &of.1, &row);
        for (path, content) in objects(&effects) {
            match content {
                Some(content) => drop(lake.insert(path, content)),
                None => {
                    assert!(lake.remove(&path).is_some(), "{path} was there");
                    dropped += 1;
                }
            }
        }
        if n == 24 * 6 {
            assert_eq!(lake.len(), 1, "nothing to compare with yet: {:?}", lake.keys());
        }
    }
    let reports: Vec<&String> = lake
        .keys()
        .filter(|path| {
            path.contains("/drift/") && std::path::Path::new(path).extension().is_some_and(|of| of == "json")
        })
        .collect();
    // Nine days, less the first, less the hour that is not over: of these a week is kept.
    assert_eq!((reports.len(), dropped), (REPORTS_KEPT, 2 * (8 * 24 - 1 - REPORTS_KEPT)));
    assert_eq!(*reports[REPORTS_KEPT - 1], "predictions/trend/0/drift/2024-05-14T22.json");
    let report: Json = serde_json::from_slice(&lake[reports[0]]).unwrap();
    assert_eq!(report["prediction"], "trend");
    assert_eq!(report["dataset"]["drift"], false, "days are alike: {}", report["dataset"]);
    assert_eq!(report["errors"].as_array().unwrap().len(), 2);
    // The calendar is no feature of the data: without it, what is the same has not drifted at all.
    let names: Vec<&str> =
        report["features"].as_array().unwrap().iter().map(|feature| feature["column"].as_str().unwrap()).collect();
    assert!(names.len() == 9 && !names.contains(&"hour") && !names.contains(&"day_of_week"), "{names:?}");
    assert_eq!(report["dataset"]["share"], 0.0);
    let page = String::from_utf8(lake["predictions/trend/0/drift/2024-05-14T22.html"].to_vec()).unwrap();
    assert!(page.contains("The data has not drifted"));
    let status: PredictionStatus = serde_json::from_slice(&lake[&status_path("trend", 0)]).unwrap();
    assert_eq!((status.drift.len(), status.drift[0].as_str()), (REPORTS_KEPT, "2024-05-14T22"));
    // The last hour is over when windows have closed beyond it, whether or not there are any.
    let effects = complete(&mut predicting, begin.plus(Span(9 * Span::DAY.0)));
    assert!(objects(&effects).contains_key("predictions/trend/0/drift/2024-05-14T23.json"));
    assert!(complete(&mut predicting, begin.plus(Span(10 * Span::DAY.0))).is_empty(), "each hour once");
}

/// Saved bytes as they were before the last report's verdict was kept.
fn without_drift(saved: &[u8]) -> Vec<u8> {
    let body = Reader::new(saved).bytes().unwrap();
    let mut reader = Reader::new(body);
    assert_eq!(reader.byte().unwrap(), 2);
    let mut old = vec![1];
    for _ in ["learner", "recorder"] {
        write_bytes(reader.bytes().unwrap(), &mut old);
    }
    assert_eq!(reader.byte().unwrap(), 1, "something was learnt");
    old.push(1);
    write_signed(reader.signed().unwrap(), &mut old);
    let reports = reader.varint().unwrap();
    write_varint(reports, &mut old);
    for _ in 0..reports {
        write_signed(reader.signed().unwrap(), &mut old);
    }
    assert_eq!((reader.byte().unwrap(), reader.float().unwrap() > 0.5, reader.byte().unwrap()), (1, true, 1));
    old.extend_from_slice(&body[old.len() + 10..]);
    let mut bytes = Vec::new();
    write_bytes(&old, &mut bytes);
    bytes
}

#[test]
fn gauges_are_told_again_after_a_restart_and_end_with_the_partition() {
    // A partition of its own: what other tests tell at the same time is none of it.
    const PARTITION: u32 = 7;
    let of = prediction();
    let make = || Predicting::new(of.0.clone(), &of.1, PARTITION, None);
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let gauge = |name: &str| -> Option<f64> {
        let text = handle.render();
        // Of two versions always the same one.
        let is_of = |line: &&str| line.starts_with(&format!("{name}{{")) && line.contains("partition=\"7\"");
        let line = text.lines().filter(is_of).min()?;
        line.rsplit_once(' ')?.1.parse().ok()
    };
    metrics::with_local_recorder(&recorder, || {
        let begin = Timestamp::parse("2024-05-06T00:00:00Z").unwrap();
        let mut predicting = make();
        assert_eq!(
            (gauge("tideline_prediction_refused"), gauge("ml_drift"), gauge("ml_rmse")),
            (Some(0.0), None, None)
        );
        // The second day is nothing like the first one; its first hour is over.
        for n in 0..=25 * 12 {
            let (day, n) = (f64::from(u8::from(n >= 24 * 12)), f64::from(n));
            let row = Row {
                title: "Dune".to_owned(),
                start: begin.plus(Span(n as i64 * 5 * Span::MINUTE.0)),
                columns: [n % 12.0 + 100.0 * day, n % 7.0 + 50.0 * day, n % 11.0 / 10.0 + 20.0 * day, n].map(Some),
            };
            feed(&mut predicting, &of.1, &row);
        }
        let share = gauge("ml_drift_share").unwrap();
        assert!(gauge("ml_drift") == Some(1.0) && share > 0.5, "{share}");
        let rmse = gauge("ml_rmse").unwrap();
        assert!(rmse > 0.0, "{rmse}");
        let bytes = saved(&predicting);
        drop(predicting);
        assert_eq!((gauge("ml_drift"), gauge("ml_drift_share")), (Some(0.0), Some(0.0)));
        assert!(
            gauge("ml_rmse").unwrap().is_nan() && gauge("ml_mae").unwrap().is_nan() && gauge("ml_r2").unwrap().is_nan()
        );
        // Whoever has the partition next knows it from the checkpoint.
        let restore = |bytes: &[u8]| {
            let mut predicting = make();
            predicting.restore(&mut Reader::new(bytes)).unwrap();
            predicting
        };
        let again = restore(&bytes);
        assert_eq!(
            (gauge("ml_drift"), gauge("ml_drift_share"), gauge("ml_rmse")),
            (Some(1.0), Some(share), Some(rmse))
        );
        assert_eq!(saved(&again), bytes);
        // One that is dropped after its successor was made takes nothing from it.
        let successor = restore(&bytes);
        drop(again);
        assert_eq!((gauge("ml_drift"), gauge("ml_rmse")), (Some(1.0), Some(rmse)));
        drop(successor);
        // A checkpoint from before goes on, without the verdict.
        let old = restore(&without_drift(&bytes));
        assert_eq!((gauge("ml_drift"), gauge("ml_rmse")), (Some(0.0), Some(rmse)));
        assert_eq!(saved(&restore(&saved(&old))), saved(&old));
        // What is refused is told, and ends as well.
        drop(old);
        let mut changed = of.clone();
        changed.0.models[0].features.pop();
        let mut refused = Predicting::new(changed.0.clone(), &changed.1, PARTITION, None);
        refused.restore(&mut Reader::new(&bytes)).unwrap();
        assert_eq!(gauge("tideline_prediction_refused"), Some(1.0));
        drop(refused);
        assert_eq!(gauge("tideline_prediction_refused"), Some(0.0));
    });
}

/// Keeps what it is told; fails while it is told to.
#[derive(Debug, Default)]
struct Memory {
    runs: Mutex<Vec<TrackedRun>>,
    metrics: Mutex<Vec<(String, TrackedMetrics)>>,
    files: Mutex<BTreeMap<(String, String), bytes::Bytes>>,
    down: AtomicBool,
    tried: AtomicUsize,
}

impl Memory {
    fn check(&self) -> PortResult<()> {
        self.tried.fetch_add(1, Ordering::SeqCst);
        if self.down.load(Ordering::SeqCst) { Err(PortError::unavailable("the tracker", "down")) } else { Ok(()) }
    }
}

#[async_trait]
impl Tracking for Memory {
    async fn open(&self, run: &TrackedRun) -> PortResult<RunHandle> {
        self.check()?;
        self.runs.lock().push(run.clone());
        Ok(RunHandle { id: run.key.clone(), artifacts: String::new() })
    }

    async fn log(&self, run: &RunHandle, metrics: &TrackedMetrics) -> PortResult<()> {
        self.check()?;
        self.metrics.lock().push((run.id.clone(), metrics.clone()));
        Ok(())
    }

    async fn upload(&self, run: &RunHandle, path: &str, bytes: bytes::Bytes) -> PortResult<()> {
        self.check()?;
        self.files.lock().insert((run.id.clone(), path.to_owned()), bytes);
        Ok(())
    }

    async fn finish(&self, _: &RunHandle, _: RunEnd, _: Timestamp) -> PortResult<()> {
        Ok(())
    }
}

fn tracker(memory: &Arc<Memory>) -> Tracker {
    Tracker::start(Arc::clone(memory) as _, Arc::new(ManualClock::new(NOW)), "tideline".to_owned(), 100)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_hundredth_prediction_is_tracked() {
    let of = prediction();
    let memory = Arc::new(Memory::default());
    let tracker = tracker(&memory);
    let mut predicting = Predicting::new(of.0.clone(), &of.1, 0, Some(tracker.points()));
    let mut last = None;
    for (row, _) in fixture() {
        last = Some(feed(&mut predicting, &of.1, &row));
    }
    tracker.stop().await;
    let status = status(&last.unwrap());
    let runs = memory.runs.lock();
    assert_eq!(runs.len(), 2, "a run of each version");
    for (run, model) in runs.iter().zip(&status.models) {
        let param = |name: &str| run.params.iter().find(|(param, _)| param == name).unwrap().1.clone();
        assert_eq!((param("model_version"), run.experiment.as_str()), (model.version.clone(), "tideline"));
        assert_eq!(param("learning_rate"), if model.version == "v1" { "0.01" } else { "0.05" });
        assert_eq!(param("model_type"), "StandardScaler | LinearRegression");
        let metrics = memory.metrics.lock();
        let steps: Vec<u64> = metrics.iter().filter(|(of, _)| *of == run.key).map(|(_, m)| m.step).collect();
        let expected: Vec<u64> = (1..=model.evaluated / 100).map(|hundred| hundred * 100).collect();
        assert_eq!(steps, expected);
        assert!(steps.len() >= 7);
        let figures: Vec<&str> = metrics[0].1.figures.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(figures, ["mae", "rmse", "r2"]);
        let path = format!("model/{}.json", model.version);
        let document: Json = serde_json::from_slice(&memory.files.lock()[&(run.key.clone(), path)]).unwrap();
        assert_eq!(document["version"], Json::from(model.version.as_str()));
        assert_eq!(document["features"].as_array().unwrap().len(), 11);
    }
}

// On one thread: the task takes nothing while it is told, however long that takes.
#[tokio::test]
async fn a_tracker_that_is_gone_holds_up_nothing() {
    let memory = Arc::new(Memory::default());
    memory.down.store(true, Ordering::SeqCst);
    let tracker = tracker(&memory);
    let points = tracker.points();
    let point = |step: u64| Point {
        prediction: "trend".to_owned(),
        partition: 0,
        version: "v1".to_owned(),
        params: vec![("learning_rate".to_owned(), "0.01".to_owned())],
        step,
        at: NOW,
        figures: vec![("mae".to_owned(), 1.0)],
        document: b"{}".to_vec(),
    };
    // More than may wait: what is beyond is dropped, at once.
    for step in 1..=5_000 {
        points.tell(point(step));
    }
    // The first is tried, and given up.
    while memory.tried.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    memory.down.store(false, Ordering::SeqCst);
    // What waits is told at the end, without the pause after a failure.
    tracker.stop().await;
    let steps: Vec<u64> = memory.metrics.lock().iter().map(|(_, metrics)| metrics.step).collect();
    assert!(steps.iter().copied().eq(2..=1_024), "{steps:?}");
    assert_eq!(memory.runs.lock().len(), 1);
}
