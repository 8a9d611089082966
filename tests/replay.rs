//! A replay makes speed views and Gold anew from Bronze alone: whatever else is gone, whenever it is killed, whoever
//! works meanwhile. Every answer must be that of the golden folder (an independent computation, see
//! `tests/golden/make.py`), and what comes afterwards is taken in exactly once.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value as Json;
use support::world::{World, case, differences, process};
use support::{caught_up, root, until};
use tideline::config::{AnalyticsKind, Config, LogKind, ViewsKind};
use tideline::golden::case::Case;
use tideline::platform::{Platform, Stores};
use tideline::replay::{Report, replay};
use tideline_batch::{EngineKind, GoldEngine};
use tideline_common::generation::Generation;
use tideline_common::plan::load;
use tideline_common::ports::Objects;
use tideline_common::time::{Span, Timestamp};
use tideline_serving::boundary::Layer;
use tideline_serving::merge::Reader;
use tideline_stores::faulty::{Fault, Faults, FaultyLog, Kind};
use tideline_stores::views::embedded::{EmbeddedViews, EmbeddedViewsConfig};
use tideline_transform::SqlTypes;
use tokio_util::sync::CancellationToken;

/// Layers that answer after a batch run.
const LAYERS: [Layer; 3] = [Layer::Speed, Layer::Batch, Layer::Merged];
/// What is in the lake and can be made anew.
const DERIVED: [&str; 4] = ["gold", "silver", "manifests", "checkpoints"];

/// Drops what can be made anew.
async fn drop_derived(objects: &dyn Objects) {
    for folder in DERIVED {
        for object in objects.list(folder).await.unwrap() {
            objects.delete(&object.path).await.unwrap();
        }
    }
}

impl World {
    async fn replay(&self, case: &Case, config: &Config) -> anyhow::Result<Report> {
        let plan = Arc::new(case.plan.clone());
        replay(&plan, &self.stores(), config, false, &CancellationToken::new()).await
    }

    /// Leaves Bronze, and nothing else: no view, no Gold, no checkpoint, and a log whose records have all expired.
    async fn wipe(&mut self, case: &Case) {
        drop_derived(self.objects.as_ref()).await;
        let now = Timestamp::parse("2024-07-06T14:00:00Z").unwrap();
        self.log.expire(now, &BTreeMap::new()).await.unwrap();
        for source in &case.plan.sources {
            for (partition, (first, next)) in self.log.topic(&source.topic).await.unwrap().partitions {
                assert_eq!(first, next, "{}/{partition} still has records", source.topic);
            }
        }
        let empty = EmbeddedViews::open(self.folder.path().join("empty"), EmbeddedViewsConfig::default());
        self.views = Arc::new(empty.unwrap());
    }

    fn reader(&self, case: &Case, config: &Config) -> Reader {
        self.stores().reader(&Arc::new(case.plan.clone()), &config.serve)
    }
}

/// All layers answer as the golden folder says.
async fn check(reader: &Reader, case: &Case, context: &str) {
    for layer in LAYERS {
        let found = differences(reader, &case.plan, &case.views, layer).await;
        assert_eq!(found, Vec::<String>::new(), "{context}: {layer:?}");
    }
}

/// Appends the part of every topic that lies between two fractions of it.
async fn append(platform: &Platform, input: &BTreeMap<String, Vec<Bytes>>, from: usize, to: usize, of: usize) {
    for (topic, records) in input {
        let range = from * records.len() / of..to * records.len() / of;
        platform.appender.append(topic, records[range].to_vec()).await.unwrap();
    }
}

/// Takes in the first `parts` of 4, with Gold at the end.
async fn live(world: &World, case: &Case, config: &Config, parts: usize) {
    let platform = world.start(case, config).await;
    for part in 0..parts {
        append(&platform, &case.input, part, part + 1, 4).await;
        platform.speed.seal().await.unwrap();
    }
    caught_up(&platform).await;
    assert!(platform.batch.run().await.unwrap().is_clean());
    platform.stop().await;
}

/// The rest after it, taken in by a new process: exactly once.
async fn go_on(world: &World, case: &Case, config: &Config, parts: usize, context: &str) {
    let platform = world.start(case, config).await;
    if parts < 4 {
        append(&platform, &case.input, parts, 4, 4).await;
    }
    caught_up(&platform).await;
    let records: usize = case.input.values().map(Vec::len).sum();
    let status = platform.speed.status();
    assert_eq!(status.iter().map(|shard| shard.records).sum::<u64>(), records as u64, "{context}");
    assert!(platform.batch.run().await.unwrap().is_clean());
    check(&platform.reader, case, context).await;
    for source in &case.plan.sources {
        let found = support::payloads(world.objects.as_ref(), &source.name).await;
        assert!(found == support::sorted(&case.input[&source.topic]), "{context}: Bronze of {}", source.name);
    }
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn speed_views_and_gold_come_back_from_bronze_alone() {
    let (mut world, case, config) = (World::new(), case(2), support::config());
    live(&world, &case, &config, 4).await;
    check(&world.reader(&case, &config), &case, "before").await;
    world.wipe(&case).await;
    let reader = world.reader(&case, &config);
    assert_ne!(differences(&reader, &case.plan, &case.views, Layer::Speed).await, Vec::<String>::new());

    // The log is not asked for anything.
    world.faults.add(Fault::on("log.", Kind::ErrorBefore));
    let report = world.replay(&case, &config).await.unwrap();
    world.faults.clear();
    assert_eq!((report.generation, report.resumed), (1, false));
    assert!(report.gold.is_clean() && report.gold.published.is_some(), "{:?}", report.gold);
    let mut ends = BTreeMap::new();
    for source in &case.plan.sources {
        for ((partition, offset), _) in support::bronze(world.objects.as_ref(), &source.name).await {
            ends.insert((source.name.clone(), partition), offset + 1);
        }
    }
    let reached =
        report.shards.iter().map(|shard| ((shard.shard.source.clone(), shard.shard.partition), shard.position));
    assert_eq!(reached.collect::<BTreeMap<_, _>>(), ends);
    // Without a speed layer at work.
    check(&world.reader(&case, &config), &case, "after the replay").await;

    // Whoever goes on trusts the new checkpoints: nothing of Bronze is taken in again.
    let platform = world.start(&case, &config).await;
    until("all shards are live", || async {
        let status = platform.speed.status();
        status.len() == ends.len() && status.iter().all(|shard| shard.lag() == 0 && shard.checkpoint.is_some())
    })
    .await;
    for shard in platform.speed.status() {
        let end = ends[&(shard.shard.source.clone(), shard.shard.partition)];
        assert_eq!((shard.checkpoint, shard.position), (Some(end), end), "{shard:?}");
    }
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn afterwards_speed_goes_on_after_bronze() {
    let (mut world, case, config) = (World::new(), case(2), support::config());
    live(&world, &case, &config, 3).await;
    world.wipe(&case).await;
    let first = world.replay(&case, &config).await.unwrap();
    // Again, over views that are whole: the second is a generation of its own.
    let second = world.replay(&case, &config).await.unwrap();
    assert_eq!((first.generation, second.generation, second.resumed), (1, 2, false));
    assert_eq!(first.shards, second.shards);
    go_on(&world, &case, &config, 3, "after two replays").await;
    // What was made first is of no use any more.
    let stores = world.stores();
    let (views, lookups): (Vec<_>, Vec<_>) =
        (case.plan.views.iter().map(Into::into).collect(), case.plan.lookups.iter().map(Into::into).collect());
    assert!(stores.views.expire(&views, &lookups, stores.clock.now()).await.unwrap() > 0);
    check(&world.reader(&case, &config), &case, "after the old views went").await;
}

#[test]
fn a_replay_that_is_killed_anywhere_goes_on() {
    let case = case(1);
    let mut config = support::config();
    // Small batches, a flush and a checkpoint for each, so that there is something to go on from.
    config.speed.max_batch_records = 40;
    config.speed.flush_interval = Span::from_millis(10);
    config.speed.linger = Span::ZERO;
    config.speed.checkpoint_interval = Span::from_millis(10);
    // How many steps there are.
    let steps = {
        let mut world = World::new();
        process(live(&world, &case, &config, 3));
        process(world.wipe(&case));
        let before = world.faults.steps();
        process(world.replay(&case, &config)).unwrap();
        world.faults.steps() - before
    };
    assert!(steps > 15, "only {steps} durable steps");

    let sample = 10;
    let (mut deaths, mut resumed) = (0, 0);
    for nth in 0..sample {
        let kind = if nth % 2 == 0 { Kind::CrashBefore } else { Kind::CrashAfter };
        let mut world = World::new();
        process(live(&world, &case, &config, 3));
        process(world.wipe(&case));
        let step = 1 + nth * (steps - 1) / (sample - 1);
        let context = format!("{kind:?} at step {step} of {steps}");
        world.faults.crash_at(world.faults.steps() + step, kind);
        let done = process(async {
            let died = async {
                while !world.faults.is_crashed() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::select! {
                done = world.replay(&case, &config) => {
                    done.map_err(|error| assert!(world.faults.is_crashed(), "{context}: {error:#}")).is_ok()
                }
                () = died => false,
            }
        });
        assert!(!done || !world.faults.is_crashed(), "{context}");
        deaths += u64::from(world.faults.is_crashed());
        world.faults.revive();
        if nth % 3 == 0 {
            // Meanwhile everything works with what there was, and tends its stores.
            process(async {
                let platform = world.start(&case, &config).await;
                caught_up(&platform).await;
                let (views, lookups): (Vec<_>, Vec<_>) = (
                    case.plan.views.iter().map(Into::into).collect(),
                    case.plan.lookups.iter().map(Into::into).collect(),
                );
                platform.stores.views.expire(&views, &lookups, platform.stores.clock.now()).await.unwrap();
                platform.batch.run().await.unwrap();
                platform.stop().await;
            });
        }
        let report = process(world.replay(&case, &config)).unwrap();
        resumed += u64::from(report.resumed);
        process(go_on(&world, &case, &config, 3, &context));
    }
    // Shards work side by side, and flushes go by time: a run may have a few steps less than the one that was counted.
    assert!(deaths >= sample - 4 && resumed >= deaths - 2, "{deaths} of {sample} met their crash, {resumed} went on");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_works_on_the_old_views_meanwhile_changes_nothing() {
    let (world, case, config) = (World::new(), case(2), support::config());
    live(&world, &case, &config, 1).await;
    // This one does not notice anything: it works on through the replay, and after it.
    let old = world.start(&case, &config).await;
    append(&old, &case.input, 1, 2, 4).await;
    old.speed.seal().await.unwrap();
    let report = world.replay(&case, &config).await.unwrap();
    append(&old, &case.input, 2, 3, 4).await;
    caught_up(&old).await;

    // New readers have what Bronze had; the old views are not theirs.
    let progress = world.stores().views.progress().await.unwrap();
    let reached: BTreeMap<_, _> = progress.into_iter().map(|(shard, progress)| (shard, progress.position)).collect();
    let rebuilt = report.shards.iter().map(|shard| (shard.shard.clone(), shard.position)).collect();
    assert_eq!(reached, rebuilt);
    // Who watches learns that it is to begin again.
    let watch = old.stores.clone().superseded(old.generation, CancellationToken::new());
    let by = tokio::time::timeout(support::PATIENCE, watch).await.unwrap();
    assert_eq!(by, Some(Generation(1)));
    old.stop().await;
    go_on(&world, &case, &config, 3, "after a worker that had not noticed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_bronze_no_longer_has_is_said_first() {
    let (world, case, mut config) = (World::new(), case(1), support::config());
    config.speed.checkpoint_interval = Span::from_secs(60);
    live(&world, &case, &config, 4).await;
    let files = world.objects.list("bronze/tweets").await.unwrap();
    assert!(files.len() > 1, "{files:?}");
    world.objects.delete(&files[0].path).await.unwrap();
    let error = world.replay(&case, &config).await.unwrap_err().to_string();
    assert!(error.contains("--lossy") && error.contains("tweets/0"), "{error}");
    assert!(world.objects.list("replays").await.unwrap().is_empty(), "nothing was begun");
    let plan = Arc::new(case.plan.clone());
    let report = replay(&plan, &world.stores(), &config, true, &CancellationToken::new()).await.unwrap();
    let tweets = report.shards.iter().find(|shard| shard.shard.source == "tweets").unwrap();
    assert!(tweets.records > 0 && tweets.records < case.input["tweets"].len() as u64, "{tweets:?}");
}

#[test]
fn the_command_takes_the_folder_and_says_what_it_did() {
    let folder = tempfile::tempdir().unwrap();
    let tideline = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_tideline"))
            .args(arguments)
            .args(["--data", "data", "--pipelines", root("schema/pipelines").to_str().unwrap()])
            .current_dir(folder.path())
            .env_remove("TIDELINE_URL")
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned(), output.stderr)
    };
    let (done, said, log) = tideline(&["replay"]);
    assert!(done, "{}", String::from_utf8_lossy(&log));
    let report: Json = serde_json::from_str(&said).unwrap();
    assert_eq!((&report["generation"], &report["shards"]), (&1.into(), &Json::Array(Vec::new())), "{report}");

    // While another process has the folder it is refused.
    let held = process(Stores::open(&folder.path().join("data"), &Config::default())).unwrap();
    let (done, _, log) = tideline(&["replay"]);
    assert!(!done && String::from_utf8_lossy(&log).contains("in use by process"), "{log:?}");
    drop(held);
    let (done, said, _) = tideline(&["replay"]);
    assert!(done && serde_json::from_str::<Json>(&said).unwrap()["generation"] == 2, "{said}");
}

/// The definition under names of its own, so that topics and tables on shared servers are this test's alone.
fn renamed(case: &mut Case, unique: &str) {
    let text = std::fs::read_to_string(root("schema/pipelines/stock-sentiment.toml")).unwrap();
    let view = format!("symbol_sentiment_{unique}");
    let text = text.replace("symbol_sentiment", &view);
    case.plan = load("renamed.toml", &text, &|_| None, &SqlTypes).unwrap();
    for source in &mut case.plan.sources {
        let records = case.input.remove(&source.topic).unwrap();
        source.topic = format!("{}-{unique}", source.topic);
        source.partitions = 2;
        case.input.insert(source.topic.clone(), records);
    }
    let rows = case.views.remove("symbol_sentiment").unwrap();
    case.views.insert(view, rows);
}

/// Over Kafka, a CQL store, `MinIO` and `ClickHouse`.
#[tokio::test(flavor = "multi_thread")]
async fn real_servers_come_back_from_bronze_alone() {
    let mut servers = BTreeMap::new();
    for name in ["KAFKA", "CQL", "S3", "CLICKHOUSE"] {
        let variable = format!("TIDELINE_TEST_{name}");
        match std::env::var(&variable) {
            Ok(value) if !value.is_empty() => servers.insert(name, value),
            _ => {
                eprintln!("SKIPPED real_servers_come_back_from_bronze_alone: {variable} is not set");
                return;
            }
        };
    }
    let clock = tideline_stores::clock::SystemClock;
    let unique = format!("r{}", tideline_common::ports::Clock::now(&clock).0);
    let mut case = case(2);
    renamed(&mut case, &unique);
    let mut config = support::config();
    config.log.kind = LogKind::Kafka;
    config.log.brokers = vec![servers["KAFKA"].clone()];
    config.log.group = unique.clone();
    config.views.kind = ViewsKind::Scylla;
    config.views.nodes = vec![servers["CQL"].clone()];
    config.views.keyspace = format!("{unique}_a");
    config.lake.url = Some(format!("s3://tideline-test/replay-{unique}"));
    config.lake.endpoint = Some(servers["S3"].clone());
    config.lake.access_key = Some("minioadmin".to_owned());
    config.lake.secret_key = Some("minioadmin".to_owned());
    config.analytics.kind = AnalyticsKind::Clickhouse;
    config.analytics.url.clone_from(&servers["CLICKHOUSE"]);
    config.analytics.database = format!("{unique}_a");
    config.batch.engine = EngineKind::ClickHouse;
    let plan = Arc::new(case.plan.clone());

    let stores = Stores::shared("speed", &config).await.unwrap();
    let platform = Platform::start(Arc::clone(&plan), stores, &config).await.unwrap();
    append(&platform, &case.input, 0, 3, 4).await;
    everything_is_there(&platform, &case, 3).await;
    assert!(platform.batch.run().await.unwrap().is_clean());
    platform.stop().await;

    // In place, beside tables that are whole: rows of both have equal timestamps, and never meet.
    let mut stores = Stores::shared("replay", &config).await.unwrap();
    let faults = Faults::new(1);
    faults.add(Fault::on("log.", Kind::ErrorBefore));
    stores.log = Arc::new(FaultyLog::new(stores.log, faults.clone()));
    let first = replay(&plan, &stores, &config, false, &CancellationToken::new()).await.unwrap();
    assert!(first.gold.is_clean() && first.generation == 1, "{:?}", first.gold);
    // As configured, Gold is computed by ClickHouse.
    let engines: Vec<_> = first.gold.engines.values().collect();
    assert!(
        !engines.is_empty() && engines.iter().all(|engine| matches!(engine, GoldEngine::Sql { .. })),
        "{engines:?}"
    );

    // Everything but Bronze gone: a keyspace and a database that are empty, and no object of any other kind.
    config.views.keyspace = format!("{unique}_b");
    config.analytics.database = format!("{unique}_b");
    drop_derived(stores.objects.as_ref()).await;
    let mut stores = Stores::shared("replay", &config).await.unwrap();
    stores.log = Arc::new(FaultyLog::new(stores.log, faults));
    let second = replay(&plan, &stores, &config, false, &CancellationToken::new()).await.unwrap();
    assert!(second.gold.is_clean() && second.generation == 2, "{:?}", second.gold);
    assert_eq!(first.shards, second.shards);
    assert_eq!(second.shards.iter().map(|shard| shard.records).sum::<u64>(), taken_in(&case, 3));

    let stores = Stores::shared("speed", &config).await.unwrap();
    let platform = Platform::start(Arc::clone(&plan), stores, &config).await.unwrap();
    append(&platform, &case.input, 3, 4, 4).await;
    everything_is_there(&platform, &case, 4).await;
    assert!(platform.batch.run().await.unwrap().is_clean());
    check(&platform.reader, &case, "after the replays").await;
    platform.stop().await;
}

fn taken_in(case: &Case, parts: usize) -> u64 {
    case.input.values().map(|records| (records.len() * parts / 4) as u64).sum()
}

/// Waits until so many parts are in views and Bronze. A group takes its time to assign.
async fn everything_is_there(platform: &Platform, case: &Case, parts: usize) {
    let all = taken_in(case, parts);
    until("all records are taken in", || async {
        let status = platform.speed.status();
        status.len() == 4 && status.iter().map(|shard| shard.records).sum::<u64>() == all
    })
    .await;
    platform.speed.seal().await.unwrap();
}
