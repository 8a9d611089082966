//! Bronze to Silver over several processes: `tideline batch --worker`, of which one is killed at work. The result is that
//! of a single process, row by row.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Cursor};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use polars::prelude::{DataFrame, ParquetReader, SerReader, SortMultipleOptions};
use serde_json::Value as Json;
use support::{root, until};
use tideline::catalog;
use tideline_batch::{BatchConfig, BatchLayer, BatchPorts, RunReport};
use tideline_common::manifest::{Manifest, TimedFile};
use tideline_common::plan::{EVENT_TIME, Plan};
use tideline_common::ports::{Created, Location, ManualClock, ObjectInfo, Objects, PortResult};
use tideline_common::record::Record;
use tideline_common::time::{Span, Timestamp};
use tideline_stores::clock::SystemClock;
use tideline_stores::objects::ObjectStoreObjects;
use tideline_transform::{SEQUENCE, bronze};

const SOURCE: &str = "viewing";
/// 2024-05-06T20:00:00Z.
const START: i64 = 1_715_025_600_000_000;
const RECORDS: u64 = 30_000;

/// What the coordinator sees of the lake. Writes take a while, so that there is time for others; the names under which it
/// claims units are kept.
#[derive(Debug)]
struct Slow {
    inner: Arc<dyn Objects>,
    names: Mutex<BTreeSet<String>>,
}

fn claimed_by(bytes: &[u8]) -> String {
    serde_json::from_slice::<Json>(bytes).unwrap()["worker"].as_str().unwrap().to_owned()
}

#[async_trait]
impl Objects for Slow {
    async fn get(&self, path: &str) -> PortResult<Bytes> {
        self.inner.get(path).await
    }
    async fn put(&self, path: &str, bytes: Bytes) -> PortResult<()> {
        tokio::time::sleep(Duration::from_millis(100)).await;
        self.inner.put(path, bytes).await
    }
    async fn put_if_absent(&self, path: &str, bytes: Bytes) -> PortResult<Created> {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if path.contains("/claims/") {
            self.names.lock().unwrap().insert(claimed_by(&bytes));
        }
        self.inner.put_if_absent(path, bytes).await
    }
    async fn list(&self, prefix: &str) -> PortResult<Vec<ObjectInfo>> {
        self.inner.list(prefix).await
    }
    async fn list_after(&self, prefix: &str, after: &str) -> PortResult<Vec<ObjectInfo>> {
        self.inner.list_after(prefix, after).await
    }
    async fn delete(&self, path: &str) -> PortResult<()> {
        self.inner.delete(path).await
    }
    fn location(&self, path: &str) -> Location {
        self.inner.location(path)
    }
}

/// A record of the source: some are duplicates of others, also far away, and some cannot be read.
fn payload(offset: u64) -> Bytes {
    if offset.is_multiple_of(997) {
        return Bytes::from_static(b"{\"event_id\": ");
    }
    let event = if offset % 11 == 3 { offset / 2 } else { offset };
    let kind = ["view", "pause", "resume", "complete", "rating"][(event % 5) as usize];
    let time = Timestamp(START + event as i64 * 20_000);
    let rating = if kind == "rating" { (1 + event % 5).to_string() } else { "null".to_owned() };
    let (user, movie) = (event * 7 % 301, event * 13 % 97);
    Bytes::from(format!(
        r#"{{"event_id": "e{event}", "user_id": "u{user}", "movie_id": "m{movie}", "event_type": "{kind}", "timestamp": "{time}", "duration": 1.5, "rating": {rating}}}"#
    ))
}

/// A lake with Bronze.
async fn lake(folder: &Path) -> Arc<dyn Objects> {
    let objects: Arc<dyn Objects> = Arc::new(ObjectStoreObjects::local(folder, 0).unwrap());
    for partition in 0..2 {
        let record = |offset: u64| Record {
            offset,
            appended: Timestamp(START + Span::DAY.0),
            key: None,
            headers: Vec::new(),
            payload: payload(offset * 2 + u64::from(partition)),
        };
        let records: Vec<Record> = (0..RECORDS / 2).map(record).collect();
        for part in records.chunks(500) {
            let (first, next) = (part[0].offset, part[part.len() - 1].offset + 1);
            let bytes = bronze::encode(part, SOURCE, partition, next, Timestamp(START)).unwrap();
            objects.put(&bronze::path(SOURCE, partition, first), bytes).await.unwrap();
        }
    }
    objects
}

fn layer(plan: &Arc<Plan>, objects: Arc<dyn Objects>, config: BatchConfig, clock: bool) -> BatchLayer {
    let clock: Arc<dyn tideline_common::ports::Clock> =
        if clock { Arc::new(SystemClock) } else { Arc::new(ManualClock::new(Timestamp(START + 2 * Span::DAY.0))) };
    let ports = BatchPorts { objects, clock, publication: None, sql: None };
    BatchLayer::new(Arc::clone(plan), ports, config).unwrap()
}

/// A worker, ended with this value.
struct Worker {
    process: Child,
    address: String,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts a worker, and waits until it is up.
fn worker(folder: &Path) -> Worker {
    let mut process = Command::new(env!("CARGO_BIN_EXE_tideline"))
        .args(["batch", "--worker", "--config", "tideline.toml", "--listen", "127.0.0.1:0", "--pipelines"])
        .arg(root("schema/pipelines"))
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
    let up = lines.by_ref().find(|line| line.contains("a batch worker is up")).expect("it comes up");
    // Its log is read on, so that it can go on.
    std::thread::spawn(move || lines.for_each(drop));
    let address = up.split("address=").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap().to_owned();
    Worker { process, address }
}

/// Whether somebody else than `coordinator` has claimed a unit that is not done.
async fn another_is_at_work(objects: &dyn Objects, coordinator: &Slow) -> bool {
    let found = objects.list("silver/_runs").await.unwrap();
    let is_done = |unit: &str| found.iter().any(|object| object.path.ends_with(&format!("/parts/{unit}.json")));
    for object in &found {
        let Some((_, claim)) = object.path.split_once("/claims/") else { continue };
        if is_done(claim.split('-').next().unwrap()) {
            continue;
        }
        let name = claimed_by(&objects.get(&object.path).await.unwrap());
        if !coordinator.names.lock().unwrap().contains(&name) {
            return true;
        }
    }
    false
}

fn signal(worker: &Worker, name: &str) {
    let told = Command::new("kill").args([name, &worker.process.id().to_string()]).status().unwrap();
    assert!(told.success());
}

async fn frame(objects: &dyn Objects, files: &[TimedFile], by: &[&str]) -> DataFrame {
    let mut all: Option<DataFrame> = None;
    for file in files {
        let bytes = objects.get(&file.path).await.unwrap();
        let read = ParquetReader::new(Cursor::new(bytes)).finish().unwrap();
        match &mut all {
            None => all = Some(read),
            Some(all) => {
                all.vstack_mut(&read).unwrap();
            }
        }
    }
    all.unwrap().sort(by.iter().copied(), SortMultipleOptions::default()).unwrap()
}

/// Silver row by row, and Gold group by group.
async fn compare(plan: &Plan, one: (&dyn Objects, &Manifest), other: (&dyn Objects, &Manifest)) {
    // Names of files of remembered keys are of their runs.
    let sources = |manifest: &Manifest| {
        let mut sources = manifest.sources.clone();
        sources.values_mut().flat_map(|source| &mut source.seen).for_each(|file| file.path.clear());
        sources
    };
    assert_eq!(sources(one.1), sources(other.1));
    for table in &plan.tables {
        let by = [EVENT_TIME, SEQUENCE];
        let a = frame(one.0, &one.1.tables[&table.name].files, &by).await;
        let b = frame(other.0, &other.1.tables[&table.name].files, &by).await;
        assert!(a.height() > 1_000 && a.equals_missing(&b), "{}: {a} {b}", table.name);
    }
    for view in &plan.views {
        // Sums of ratings are whole numbers: they are equal in any order.
        let a = frame(one.0, &one.1.views[&view.name].files, &[view.key[0].name.as_str(), "pane"]).await;
        let b = frame(other.0, &other.1.views[&view.name].files, &[view.key[0].name.as_str(), "pane"]).await;
        assert!(a.height() > 50 && a.equals_missing(&b), "{}: {a} {b}", view.name);
    }
}

fn of_gold(report: &RunReport) -> BTreeMap<&String, u64> {
    report.gold.iter().map(|(view, counts)| (view, counts.groups)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_costs_nothing_but_time() {
    let plan = Arc::new(catalog::load_file(&root("schema/pipelines/movie-viewing.toml")).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let alone = lake(&folder.path().join("alone")).await;
    let single = layer(&plan, Arc::clone(&alone), BatchConfig::default(), false);
    let expected = single.run().await.unwrap();
    assert!(expected.silver.rejected > 0 && expected.silver.duplicates > 500, "{:?}", expected.silver);

    let shared = lake(&folder.path().join("shared")).await;
    let toml = format!(
        "[lake]\nurl = \"{}\"\n[batch]\nshare = true\nshare_poll = \"20ms\"\nlease = \"3s\"\n",
        folder.path().join("shared").display()
    );
    std::fs::write(folder.path().join("tideline.toml"), toml).unwrap();
    let mut doomed = worker(folder.path());
    let config = BatchConfig {
        share: true,
        share_records: 500,
        share_poll: Span::from_millis(20),
        lease: Span::from_secs(3),
        ..BatchConfig::default()
    };
    let slow = Arc::new(Slow { inner: Arc::clone(&shared), names: Mutex::default() });
    // It goes by the same time as the workers: leases are theirs too.
    let coordinator = Arc::new(layer(&plan, Arc::clone(&slow) as _, config, true));
    let run = {
        let coordinator = Arc::clone(&coordinator);
        tokio::spawn(async move { coordinator.run().await })
    };
    // It is killed in the midst of a unit: stopped, looked at, and let go on if it was between two.
    until("the worker is at a unit", || async {
        signal(&doomed, "-STOP");
        let is_at_work = another_is_at_work(shared.as_ref(), &slow).await;
        if !is_at_work {
            signal(&doomed, "-CONT");
        }
        is_at_work
    })
    .await;
    doomed.process.kill().unwrap();
    doomed.process.wait().unwrap();
    let mut lucky = worker(folder.path());
    let report = run.await.unwrap().unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.silver.records, expected.silver.records);
    assert_eq!(
        (report.silver.rejected, report.silver.duplicates, report.silver.rows),
        (expected.silver.rejected, expected.silver.duplicates, expected.silver.rows)
    );
    assert_eq!(of_gold(&report), of_gold(&expected));
    let (one, other) = (
        single.manifests().current().await.unwrap().unwrap(),
        coordinator.manifests().current().await.unwrap().unwrap(),
    );
    compare(&plan, (alone.as_ref(), &one), (shared.as_ref(), &other)).await;
    assert!(shared.list("silver/_runs").await.unwrap().is_empty(), "what was shared is cleaned up");

    // The other worker has done a part of it, and says so; it ends in order.
    let metrics = reqwest::get(format!("http://{}/metrics", lucky.address)).await.unwrap().text().await.unwrap();
    let done = metrics.lines().find(|line| line.starts_with("tideline_batch_units_total") && line.contains("\"done\""));
    let done: f64 = done.and_then(|line| line.rsplit(' ').next()).unwrap().parse().unwrap();
    assert!(done >= 1.0, "{metrics}");
    signal(&lucky, "-TERM");
    assert!(lucky.process.wait().unwrap().success());
}

#[test]
fn a_worker_needs_a_lake_that_is_shared() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_tideline"))
        .args(["batch", "--worker", "--pipelines"])
        .arg(root("schema/pipelines"))
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("lake.url"), "{said}");
}
