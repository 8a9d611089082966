//! A whole platform over stores that fail: full disks, damaged files, and a process that dies at any durable step. Every
//! answer must be that of the golden folder (an independent computation, see `tests/golden/make.py`), and Bronze must
//! hold every record exactly once.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use serde_json::Value as Json;
use support::world::{self, World, case, process};
use support::{caught_up, get, in_log, post, until};
use tideline::config::Config;
use tideline::golden::case::Case;
use tideline::golden::compare;
use tideline::platform::{Platform, Stores};
use tideline_common::manifest::{MANIFESTS, manifest_path};
use tideline_common::ports::Objects;
use tideline_common::time::Span;
use tideline_serving::boundary::Layer;
use tideline_serving::merge::{MAX_LIMIT, ReportRequest};
use tideline_stores::faulty::{Fault, Kind};

const VIEW: &str = "symbol_sentiment";
const SOURCES: [(&str, &str); 2] = [("tweets", "tweets"), ("stock-prices", "stock_prices")];

/// The input in `parts` requests per topic, the topics in step with each other.
fn requests(case: &Case, parts: usize) -> Vec<(String, Vec<Bytes>)> {
    let mut requests = Vec::new();
    for part in 0..parts {
        for (topic, records) in &case.input {
            let range = part * records.len() / parts..(part + 1) * records.len() / parts;
            requests.push((topic.clone(), records[range].to_vec()));
        }
    }
    requests
}

/// A process over the stores of `world`, and its routes.
async fn start(world: &World, case: &Case, config: &Config) -> (Platform, Router) {
    let platform = world.start(case, config).await;
    let router = support::routes(&platform, config);
    (platform, router)
}

/// What differs between a layer's rows and those of the golden folder.
async fn differences(platform: &Platform, case: &Case, layer: Layer) -> Vec<String> {
    world::differences(&platform.reader, &case.plan, &case.views, layer).await
}

async fn report_differences(platform: &Platform, case: &Case) -> Vec<String> {
    let mut all = Vec::new();
    for (name, expected) in &case.reports {
        let request = ReportRequest { report: name.clone(), limit: Some(MAX_LIMIT), ..ReportRequest::default() };
        let answer = platform.reader.report(&request).await.unwrap();
        all.extend(compare::report(&answer.columns, expected, &answer.rows));
    }
    all
}

/// Speed at once; batch, merged and reports after a run; Bronze once and byte for byte.
async fn check(platform: &Platform, case: &Case, objects: &dyn Objects, context: &str) {
    let none: Vec<String> = Vec::new();
    caught_up(platform).await;
    assert_eq!(differences(platform, case, Layer::Speed).await, none, "{context}: speed");
    let report = platform.batch.run().await.unwrap();
    assert!(report.is_clean(), "{context}: {report:?}");
    assert_eq!(differences(platform, case, Layer::Batch).await, none, "{context}: batch");
    assert_eq!(differences(platform, case, Layer::Merged).await, none, "{context}: merged");
    assert_eq!(report_differences(platform, case).await, none, "{context}: reports");
    for (topic, source) in SOURCES {
        let found = support::payloads(objects, source).await;
        assert!(found == support::sorted(&case.input[topic]), "{context}: Bronze of {source}");
    }
}

/// Checks of `/readyz` that fail, with their details.
async fn unready(router: &Router) -> Vec<String> {
    let answer = get(router, "/readyz").await;
    let json = answer.json();
    let failing: Vec<String> = json["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["ok"] == false)
        .map(|check| format!("{}: {}", check["name"], check["detail"]))
        .collect();
    assert_eq!(answer.status == 503, !failing.is_empty(), "{json}");
    failing
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_lake_is_full_records_are_taken_and_afterwards_all_is_there() {
    let (world, case) = (World::new(), case(2));
    let mut config = support::config();
    config.speed.checkpoint_interval = Span::from_millis(20);
    let (platform, router) = start(&world, &case, &config).await;
    let requests = requests(&case, 6);
    let (before, during) = requests.split_at(4);
    for (topic, records) in before {
        assert_eq!(post(&router, topic, records).await.status, 200);
    }
    caught_up(&platform).await;
    assert_eq!(unready(&router).await, Vec::<String>::new());

    for operation in ["objects.put", "objects.put_if_absent"] {
        world.faults.add(Fault::on(operation, Kind::Full));
    }
    for (topic, records) in during {
        assert_eq!(post(&router, topic, records).await.status, 200, "the log has room");
    }
    let full =
        || async { unready(&router).await.iter().any(|check| check.contains("speed") && check.contains("full")) };
    until("readyz says that the lake is full", full).await;
    let paused = |status: &Json| {
        status["process"]["shards"].as_array().unwrap().iter().any(|shard| {
            shard["condition"] == "paused" && shard["reason"].as_str().is_some_and(|reason| reason.contains("full"))
        })
    };
    until("status says so", || async { paused(&get(&router, "/v1/status").await.json()) }).await;
    // Speed goes on: everything becomes visible, though nothing more can be put into the lake.
    let visible = || async { differences(&platform, &case, Layer::Speed).await.is_empty() };
    until("all is visible", visible).await;
    // A batch run on a full disk fails, and says why; nothing half is published.
    let run = tokio::time::timeout(Duration::from_millis(300), platform.batch.run()).await;
    assert!(!matches!(run, Ok(Ok(_))), "a run was published on a full disk");
    assert!(world.objects.list(MANIFESTS).await.unwrap().is_empty());

    world.faults.clear();
    until("it is ready again", || async { unready(&router).await.is_empty() }).await;
    check(&platform, &case, world.objects.as_ref(), "after the disk was full").await;
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_full_takes_nothing_and_says_when_to_come_again() {
    let (world, case, config) = (World::new(), case(2), support::config());
    let (platform, router) = start(&world, &case, &config).await;
    // Of this topic alone: the layers append what they have to tell meanwhile.
    world.faults.add(Fault::on("log.append", Kind::Full).about("tweets").times(3));
    for attempt in 0..3 {
        let answer = post(&router, "tweets", &case.input["tweets"]).await;
        let problem = answer.problem(503, "full");
        assert!(problem["detail"].as_str().unwrap().contains("no room"), "{problem}");
        assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0), "{answer:?}");
        assert_eq!(in_log(&platform, "tweets").await, 0, "attempt {attempt}");
    }
    world.faults.add(Fault::on("log.append", Kind::ErrorBefore).about("tweets").times(1));
    post(&router, "tweets", &case.input["tweets"]).await.problem(503, "unavailable");
    for (topic, records) in requests(&case, 1) {
        assert_eq!(post(&router, &topic, &records).await.status, 200);
    }
    check(&platform, &case, world.objects.as_ref(), "after the log was full").await;
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_fills_up_keeps_exactly_what_it_has_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let (case, mut config) = (case(2), support::config());
    config.log.max_bytes = 20_000;
    let stores = Stores::open(folder.path(), &config).await.unwrap();
    let platform = Platform::start(Arc::new(case.plan.clone()), stores, &config).await.unwrap();
    let router = support::routes(&platform, &config);
    let mut taken = Vec::new();
    let mut refused = 0;
    for records in case.input["tweets"].chunks(20) {
        let answer = post(&router, "tweets", records).await;
        if answer.status == 200 {
            taken.extend_from_slice(records);
        } else {
            answer.problem(503, "full");
            refused += 1;
        }
        assert_eq!(in_log(&platform, "tweets").await, taken.len() as u64);
    }
    assert!(refused > 0 && taken.len() > 60, "{refused} refused, {} taken", taken.len());
    caught_up(&platform).await;
    assert_eq!(support::payloads(platform.stores.objects.as_ref(), "tweets").await, support::sorted(&taken));
    assert_eq!(unready(&router).await, Vec::<String>::new(), "what is there can be asked for");
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn views_that_fail_for_a_while_recover() {
    let (world, case, config) = (World::new(), case(2), support::config());
    let (platform, router) = start(&world, &case, &config).await;
    let requests = requests(&case, 4);
    assert_eq!(post(&router, &requests[0].0, &requests[0].1).await.status, 200);
    caught_up(&platform).await;

    for kind in [Kind::ErrorBefore, Kind::ErrorAfter] {
        world.faults.add(Fault::on("views.write", kind).times(4));
        world.faults.add(Fault::on("views.sync", kind).times(2));
    }
    world.faults.add(Fault::on("views.progress", Kind::ErrorBefore).times(3));
    for (topic, records) in &requests[1..] {
        assert_eq!(post(&router, topic, records).await.status, 200);
    }
    caught_up(&platform).await;
    assert!(world.faults.calls("views.write") > 8);
    world.faults.clear();

    // Views that cannot be read: a problem while there is nothing else, a part that is missing once batch has run.
    let rows = format!("/v1/views/{VIEW}/rows?limit=100000");
    world.faults.add(Fault::on("views.", Kind::ErrorBefore));
    get(&router, &rows).await.problem(503, "unavailable");
    assert!(unready(&router).await.iter().any(|check| check.contains("speed_views")));
    world.faults.clear();
    check(&platform, &case, world.objects.as_ref(), "after the views failed").await;
    world.faults.add(Fault::on("views.", Kind::ErrorBefore));
    let partial = get(&router, &rows).await.json();
    assert_eq!(partial["provenance"]["missing"][0]["layer"], "speed", "{}", partial["provenance"]);
    world.faults.clear();
    assert_eq!(differences(&platform, &case, Layer::Merged).await, Vec::<String>::new());
    assert_eq!(unready(&router).await, Vec::<String>::new());
    platform.stop().await;
}

/// Files of a folder and its folders, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all.extend(files(&path)) } else { all.push(path) }
    }
    all.sort();
    all
}

/// Damages a file in one of several ways.
fn damage(path: &Path, way: &str) {
    let bytes = std::fs::read(path).unwrap();
    match way {
        "garbage" => std::fs::write(path, vec![0xA5; bytes.len()]).unwrap(),
        "cut" => std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap(),
        "empty" => std::fs::write(path, b"").unwrap(),
        "flipped" => {
            let mut bytes = bytes;
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(path, bytes).unwrap();
        }
        "missing" => std::fs::remove_file(path).unwrap(),
        way => panic!("no such damage: {way}"),
    }
}

#[test]
fn of_damaged_checkpoints_the_one_before_is_used() {
    let case = case(1);
    let mut config = support::config();
    // Checkpoints are made by sealing alone, so that their number is known.
    config.speed.checkpoint_interval = Span::from_secs(60);
    // Way, how many of the newest, whether any is left.
    for (way, newest) in [("garbage", 1), ("cut", 1), ("empty", 2), ("flipped", 3)] {
        let folder = tempfile::tempdir().unwrap();
        let open = || async {
            let stores = Stores::open(folder.path(), &config).await.unwrap();
            Platform::start(Arc::new(case.plan.clone()), stores, &config).await.unwrap()
        };
        let requests = requests(&case, 5);
        let (sealed, rest) = requests.split_at(6);
        process(async {
            let platform = open().await;
            for pair in sealed.chunks(2) {
                for (topic, records) in pair {
                    platform.appender.append(topic, records.clone()).await.unwrap();
                }
                platform.speed.seal().await.unwrap();
            }
            // These are in the log, and in no checkpoint.
            let (topic, records) = &rest[0];
            platform.appender.append(topic, records.clone()).await.unwrap();
        });
        let mut damaged = BTreeMap::new();
        for (_, source) in SOURCES {
            let mut found = files(&folder.path().join("lake/checkpoints").join(source));
            // Beside them the folder says where the chain began.
            found.retain(|path| path.extension().is_some_and(|extension| extension == "ckpt"));
            assert_eq!(found.len(), 3, "{found:?}");
            found.iter().rev().take(newest).for_each(|path| damage(path, way));
            damaged.insert(source, found);
        }
        process(async {
            let platform = open().await;
            for (topic, records) in &rest[1..] {
                platform.appender.append(topic, records.clone()).await.unwrap();
            }
            check(&platform, &case, platform.stores.objects.as_ref(), way).await;
            for shard in platform.speed.status() {
                assert_eq!(shard.corrupt_checkpoints, newest as u64, "{way}: {shard:?}");
                assert_eq!(shard.restarts, 0, "{way}: {shard:?}");
            }
            platform.stop().await;
        });
    }
}

/// What the program logs, for tests of warnings.
fn logged() -> Arc<Mutex<Vec<u8>>> {
    static LOGGED: OnceLock<Arc<Mutex<Vec<u8>>>> = OnceLock::new();
    struct Into(Arc<Mutex<Vec<u8>>>);
    impl Write for Into {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let all = LOGGED.get_or_init(|| {
        let all: Arc<Mutex<Vec<u8>>> = Arc::default();
        let writer = all.clone();
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_ansi(false)
            .with_writer(move || Into(writer.clone()))
            .init();
        all
    });
    all.clone()
}

#[test]
fn of_damaged_manifests_the_one_before_answers() {
    let logged = logged();
    let case = case(2);
    let config = support::config();
    let uri = format!("/v1/views/{VIEW}/rows?layer=batch&limit=100000");
    for way in ["garbage", "cut", "empty", "missing"] {
        let folder = tempfile::tempdir().unwrap();
        let open = || async {
            let stores = Stores::open(folder.path(), &config).await.unwrap();
            let platform = Platform::start(Arc::new(case.plan.clone()), stores, &config).await.unwrap();
            let router = support::routes(&platform, &config);
            (platform, router)
        };
        let requests = requests(&case, 4);
        let first = process(async {
            let (platform, router) = open().await;
            let mut first = Json::Null;
            for half in requests.chunks(4) {
                for (topic, records) in half {
                    platform.appender.append(topic, records.clone()).await.unwrap();
                }
                platform.batch.run().await.unwrap();
                if first.is_null() {
                    first = get(&router, &uri).await.json();
                    assert_eq!(first["provenance"]["manifest"]["version"], 1);
                }
            }
            let second = get(&router, &uri).await.json();
            assert_eq!(second["provenance"]["manifest"]["version"], 2);
            assert_ne!(second["rows"], first["rows"]);
            first
        });
        damage(&folder.path().join("lake").join(manifest_path(2)), way);
        let before = logged.lock().unwrap().len();
        process(async {
            let (platform, router) = open().await;
            let answer = get(&router, &uri).await.json();
            assert_eq!(answer["provenance"]["manifest"]["version"], 1, "{way}: {}", answer["provenance"]);
            assert_eq!(answer["rows"], first["rows"], "{way}");
            // Nothing warns of a file that nobody knows of.
            let said = String::from_utf8_lossy(&logged.lock().unwrap()[before..]).into_owned();
            assert_eq!(said.contains("the one before it is used"), way != "missing", "{way}: {said}");
            // Merged, speed answers for what that manifest does not have.
            caught_up(&platform).await;
            assert_eq!(differences(&platform, &case, Layer::Merged).await, Vec::<String>::new(), "{way}");
            assert_eq!(get(&router, "/readyz").await.status, 200, "{way}");
            // The next run makes it good.
            check(&platform, &case, platform.stores.objects.as_ref(), way).await;
            platform.stop().await;
        });
    }
}

/// Parts that the crash sweep sends the input in, each sealed (views synced, Bronze, dead letters, checkpoint).
const PARTS: usize = 3;

/// Takes in what the log does not have yet, and runs batch after it. `false` when the process dies meanwhile.
async fn live(world: &World, case: &Case, config: &Config) -> bool {
    let work = async {
        let platform = Platform::start(Arc::new(case.plan.clone()), world.stores(), config).await?;
        for part in 1..=PARTS {
            for (topic, all) in &case.input {
                // Topics of one partition: who was not told how an append ended sees it by the number of records.
                let info = world.log.topic(topic).await?;
                let there = info.partitions.values().map(|(_, next)| *next as usize).sum();
                let end = all.len() * part / PARTS;
                if there < end {
                    platform.appender.append(topic, all[there..end].to_vec()).await?;
                }
            }
            platform.speed.seal().await?;
        }
        platform.batch.run().await?;
        anyhow::Ok(())
    };
    let died = async {
        while !world.faults.is_crashed() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        done = work => done.map_err(|error| assert!(world.faults.is_crashed(), "{error:#}")).is_ok(),
        () = died => false,
    }
}

#[test]
fn a_process_that_dies_at_any_durable_step_goes_on_as_if_nothing_had_been() {
    let case = case(1);
    let mut config = support::config();
    // Flushes and checkpoints come from sealing alone, so that steps are much the same in every run.
    config.speed.checkpoint_interval = Span::from_secs(60);
    config.speed.flush_interval = Span::from_secs(10);

    let world = World::new();
    assert!(process(live(&world, &case, &config)));
    let steps = world.faults.steps();
    assert!(steps > 30, "only {steps} durable steps");

    let sample = 14;
    let mut deaths = 0;
    for nth in 0..sample {
        // From the first step to the last, before and after in turn.
        let step = 1 + nth * (steps - 1) / (sample - 1);
        let kind = if nth % 2 == 0 { Kind::CrashBefore } else { Kind::CrashAfter };
        let context = format!("{kind:?} at step {step} of {steps}");
        let world = World::new();
        world.faults.crash_at(step, kind);
        let lived = process(live(&world, &case, &config));
        deaths += u64::from(world.faults.is_crashed());
        assert_eq!(lived, !world.faults.is_crashed(), "{context}");
        world.faults.revive();
        process(async {
            assert!(live(&world, &case, &config).await, "{context}: the second life");
        });
        process(async {
            let (platform, _) = start(&world, &case, &config).await;
            check(&platform, &case, world.objects.as_ref(), &context).await;
            platform.stop().await;
        });
    }
    // Shards work side by side: a run may have a step or two less than the one that was counted.
    assert!(deaths >= sample - 2, "{deaths} of {sample} runs met their crash");
}
