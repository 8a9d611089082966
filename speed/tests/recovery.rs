//! Where a shard goes on: damaged and lost checkpoints, an expired log, lost views, another plan, another writer.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use bytes::Bytes;
use support::faults::{Act, Faults, When};
use support::plan::plan;
use support::{Outcome, TOPIC, World, config, payloads};
use tideline_common::plan::Start;
use tideline_common::time::{Span, Timestamp};
use tideline_speed::{ShardCondition, SpeedConfig, SpeedError};

async fn reference(payloads: &[Bytes]) -> Outcome {
    let world = World::with(payloads);
    world.run(&plan(1), config()).await;
    world.outcome(1)
}

/// A world that has taken in `payloads` in several runs, so that there are several checkpoints.
async fn taken_in(payloads: &[Bytes], runs: usize) -> World {
    taken_in_by(payloads, runs, config()).await
}

async fn taken_in_by(payloads: &[Bytes], runs: usize, config: SpeedConfig) -> World {
    let world = World::with(&[]);
    for part in payloads.chunks(payloads.len().div_ceil(runs)) {
        world.push(0, part);
        world.run(&plan(1), config.clone()).await;
    }
    world
}

/// Makes a file of Bronze of every five records.
fn small_files() -> SpeedConfig {
    SpeedConfig { max_batch_records: 5, max_bronze_bytes: 400, ..config() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_checkpoint_is_passed_over() {
    let all = payloads(120, 1);
    let world = taken_in(&all[..100], 5).await;
    let checkpoints = world.checkpoints();
    assert_eq!(checkpoints.len(), 3, "the newest three are kept: {checkpoints:?}");
    let cut = world.objects.read(&checkpoints[2]);
    world.objects.write(&checkpoints[2], cut.slice(..cut.len() / 2));
    let mut flipped = world.objects.read(&checkpoints[1]).to_vec();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    world.objects.write(&checkpoints[1], flipped.into());

    world.push(0, &all[100..]);
    let process = world.start(&plan(1), config(), &Faults::none()).await;
    process.handle.seal().await.unwrap();
    let status = process.end().await.remove(0);
    assert_eq!((status.corrupt_checkpoints, status.restarts), (2, 0));
    assert_eq!((status.position, status.records), (120, 120));
    assert_eq!(world.outcome(1), reference(&all).await);
    // With all of them damaged, everything comes from Bronze.
    for path in world.checkpoints() {
        world.objects.write(&path, Bytes::from_static(b"TIDECKPT nonsense"));
    }
    world.log.expire_before(TOPIC, 0, 120);
    let status = world.run(&plan(1), config()).await.remove(0);
    assert_eq!((status.corrupt_checkpoints, status.position), (3, 120));
    assert_eq!(world.outcome(1), reference(&all).await);
    // What was damaged has been replaced: the next start trusts it.
    let status = world.run(&plan(1), config()).await.remove(0);
    assert_eq!((status.corrupt_checkpoints, status.checkpoint), (0, Some(120)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_of_the_first_format_is_read() {
    // Written by the first version of this crate, from the first 30 records below and the plan of these tests.
    let fixture = Bytes::from_static(include_bytes!("fixtures/checkpoint-v1.ckpt"));
    let all = payloads(60, 7);
    let world = taken_in(&all[..30], 1).await;
    let path = world.checkpoints().pop().unwrap();
    assert!(path.ends_with("00000000000000000030-883deab9b1ffc38a.ckpt"), "{path}");
    world.objects.write(&path, fixture);
    world.push(0, &all[30..]);
    let status = world.run(&plan(1), config()).await.remove(0);
    assert_eq!((status.corrupt_checkpoints, status.position), (0, 60));
    assert_eq!(world.outcome(1), reference(&all).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn bronze_replaces_a_log_that_has_expired() {
    let all = payloads(150, 2);
    let world = taken_in(&all[..130], 4).await;
    for path in world.checkpoints() {
        world.objects.remove(&path);
    }
    world.views.wipe();
    world.log.expire_before(TOPIC, 0, 125);
    world.push(0, &all[130..]);
    let status = world.run(&plan(1), config()).await.remove(0);
    assert_eq!((status.position, status.records), (150, 150));
    assert_eq!(world.outcome(1), reference(&all).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_expires_below_a_reader_sends_it_to_bronze() {
    let all = payloads(120, 2);
    let world = World::with(&all[..40]);
    // The first process hangs at its log while another one, and then the retention, pass it.
    let slow = world.start(&plan(1), config(), &Faults::none()).await;
    slow.handle.seal().await.unwrap();
    slow.faults.full(Some("log read"));
    world.push(0, &all[40..]);
    world.run(&plan(1), config()).await;
    world.log.expire_before(TOPIC, 0, 110);
    slow.faults.full(None);
    slow.until("past what has expired", |statuses| statuses[0].position == 120).await;
    slow.handle.seal().await.unwrap();
    assert!(slow.end().await[0].restarts >= 1);
    assert_eq!(world.outcome(1), reference(&all).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_is_reported_and_other_shards_go_on() {
    let all = payloads(60, 4);
    let world = World::default();
    world.log.create(TOPIC, 2);
    world.push(0, &all);
    world.push(1, &all);
    world.run(&plan(2), config()).await;
    world.push(0, &all);
    world.push(1, &all);
    world.log.expire_before(TOPIC, 0, 75);
    let process = world.start(&plan(2), config(), &Faults::none()).await;
    process.until("half failed", |s| s[0].condition == ShardCondition::Failed && s[1].position == 120).await;
    let reason = process.handle.status()[0].reason.clone().unwrap();
    assert!(reason.contains("[60, 75)"), "{reason}");
    assert!(matches!(process.handle.seal().await, Err(SpeedError::Stopped { .. })));
    process.end().await;

    // The same for a file that is missing in the midst of Bronze.
    let world = taken_in(&all, 4).await;
    let files = world.objects.paths("bronze/");
    world.objects.remove(&files[files.len() / 2]);
    world.views.wipe();
    let process = world.start(&plan(1), config(), &Faults::none()).await;
    process.until("failed", |statuses| statuses[0].condition == ShardCondition::Failed).await;
    let reason = process.handle.status()[0].reason.clone().unwrap();
    assert!(reason.contains("do not join"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_has_lost_its_end_is_reported() {
    let all = payloads(40, 4);
    let world = taken_in(&all, 1).await;
    let other = World { log: std::sync::Arc::default(), ..world.clone() };
    other.log.create(TOPIC, 1);
    other.push(0, &all[..10]);
    let process = other.start(&plan(1), config(), &Faults::none()).await;
    process.until("failed", |statuses| statuses[0].condition == ShardCondition::Failed).await;
    let reason = process.handle.status()[0].reason.clone().unwrap();
    assert!(reason.contains("ends at 10") && reason.contains("40"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn views_that_were_lost_are_made_anew() {
    let all = payloads(90, 6);
    let world = taken_in(&all, 3).await;
    world.views.wipe();
    world.run(&plan(1), config()).await;
    assert_eq!(world.outcome(1), reference(&all).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_plan_starts_from_the_beginning_of_bronze() {
    let all = payloads(110, 8);
    let world = taken_in(&all[..100], 3).await;
    world.log.expire_before(TOPIC, 0, 100);
    world.push(0, &all[100..]);
    let of_the_old_plan = world.checkpoints();
    let mut changed = plan(1);
    changed.views[0].version = "fedcba9876543210".to_owned();
    let status = world.run(&changed, config()).await.remove(0);
    assert_eq!((status.position, status.records), (110, 110));
    let outcome = world.outcome(1);
    let of = |outcome: &Outcome, view: &str| -> Vec<_> {
        let panes = outcome.views.panes.iter().filter(|(key, _)| key.0 == view);
        panes.map(|(key, states)| (key.1, key.3.clone(), key.4, states.clone())).collect()
    };
    let expected = reference(&all).await;
    assert_eq!(of(&outcome, "sliding@fedcba9876543210"), of(&expected, "sliding@0123456789abcdef"));
    assert_eq!(of(&outcome, "tumbling@0123456789abcdef"), of(&expected, "tumbling@0123456789abcdef"));
    assert_eq!((&outcome.bronze, &outcome.dead), (&expected.bronze, &expected.dead));
    // Overtaken checkpoints of the old plan are gone; the old plan is then made from Bronze again.
    let checkpoints = world.checkpoints();
    assert!(!checkpoints.is_empty() && checkpoints.iter().all(|path| !of_the_old_plan.contains(path)));
    let status = world.run(&plan(1), config()).await.remove(0);
    assert_eq!((status.position, status.records), (110, 110));
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_means_the_first_start() {
    let all = payloads(60, 9);
    let world = World::with(&all[..20]);
    let mut latest = plan(1);
    latest.sources[0].start = Start::Latest;
    let process = world.start(&latest, config(), &Faults::none()).await;
    process.until("running", |statuses| statuses[0].condition == ShardCondition::Running).await;
    drop(process);
    world.push(0, &all[20..]);
    let status = world.run(&latest, config()).await.remove(0);
    assert_eq!((status.position, status.records), (60, 40));
    let offsets: Vec<u64> = world.bronze(0).iter().map(|record| record.offset).collect();
    assert_eq!(offsets, (20..60).collect::<Vec<_>>());
}

/// A process whose first file waits while another one writes the chain.
async fn overtaken(all: &[Bytes], other: SpeedConfig, read_before: usize) {
    let world = World::with(&[]);
    let process = world.start(&plan(1), config(), &Faults::none()).await;
    process.ready().await;
    process.faults.full(Some("objects put"));
    world.push(0, &all[..read_before]);
    let some = read_before.min(20) as u64;
    process.until("waiting for Bronze", |s| s[0].condition == ShardCondition::Paused && s[0].position >= some).await;
    world.push(0, &all[read_before..]);
    world.run(&plan(1), other).await;
    process.faults.full(None);
    process.handle.seal().await.unwrap();
    process.end().await;
    assert_eq!(world.outcome(1), reference(all).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_winner_with_shorter_files_is_adopted() {
    let all = payloads(80, 10);
    let short = SpeedConfig { max_batch_records: 2, max_bronze_bytes: 100, ..config() };
    overtaken(&all, short, 40).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_winner_with_longer_files_is_adopted() {
    let all = payloads(80, 10);
    let long = SpeedConfig {
        max_batch_records: 1_000,
        max_bronze_bytes: 1 << 30,
        checkpoint_interval: Span::from_secs(60),
        ..config()
    };
    overtaken(&all, long, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watermarks_and_what_the_log_must_keep_are_known() {
    let world = World::default();
    world.log.create(TOPIC, 2);
    let line = |at: u64, id: &str| Bytes::from(format!("{{\"at\":{at},\"id\":\"{id}\",\"who\":\"u\",\"amount\":1.0}}"));
    world.push(0, &[line(100_000, "a"), line(90_000, "b")]);
    let process = world.start(&plan(2), config(), &Faults::none()).await;
    process.handle.seal().await.unwrap();
    let at = |view: &str| {
        let all = process.handle.watermarks();
        all.into_iter().find(|mark| mark.view == view).unwrap().watermark
    };
    // A partition without a record does not count.
    assert_eq!(at("sliding"), Some(Timestamp(95_000_000)));
    world.push(1, &[line(70_000, "c")]);
    process.handle.seal().await.unwrap();
    assert_eq!(at("tumbling"), Some(Timestamp(65_000_000)));
    let keep = process.handle.keep_from();
    assert_eq!(keep[&(TOPIC.to_owned(), 0)], 2);
    assert_eq!(keep[&(TOPIC.to_owned(), 1)], 1);
    let status = &process.handle.status()[0];
    assert_eq!((status.lag(), status.log_end, status.bronze, status.flushed), (0, 2, 2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_winner_that_is_joined_before_it_is_read_is_adopted() {
    let all = payloads(100, 10);
    let world = World::with(&[]);
    let process = world.start(&plan(1), config(), &Faults::none()).await;
    process.ready().await;
    process.faults.full(Some("objects put"));
    world.push(0, &all[..20]);
    process.until("waiting for Bronze", |s| s[0].condition == ShardCondition::Paused && s[0].position == 20).await;
    // Another one writes the chain meanwhile, in files of other lengths.
    let other = small_files();
    for part in all[20..80].chunks(15) {
        world.push(0, part);
        world.run(&plan(1), other.clone()).await;
    }
    process.faults.next("objects get", When::Before, Act::Pause);
    process.faults.full(None);
    process.faults.paused().await;
    assert!(world.join(0, 0, 1_000) > 1);
    process.faults.resume();
    world.push(0, &all[80..]);
    process.handle.seal().await.unwrap();
    let status = process.end().await.remove(0);
    assert_eq!((status.position, status.restarts), (100, 0));
    assert!(world.objects.missed() > 0, "the winner's file was gone when it was read");
    assert_eq!(world.outcome(1).with_letters_once(), reference(&all).await);
    world.check_changes(&plan(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn joined_bronze_is_replayed() {
    let all = payloads(140, 12);
    let expected = reference(&all).await;
    let origin = taken_in_by(&all[..120], 6, small_files()).await;
    origin.log.expire_before(TOPIC, 0, 120);
    let newest = origin.checkpoints()[1..].to_vec();
    // All of them in one, in two, in two with a plain one between them, and some of them only.
    for ranges in [&[(0, 1_000)][..], &[(0, 40), (40, 1_000)], &[(0, 40), (60, 1_000)], &[(20, 80)]] {
        // Without the views everything is replayed; with the oldest checkpoint, which may stand at the end of a file that
        // is part of a joined one, what comes after it.
        for (views, checkpoints) in [(false, true), (false, false), (true, false)] {
            let world = origin.copy();
            let joined = ranges.iter().map(|(from, to)| world.join(0, *from, *to)).sum::<usize>();
            assert!(joined > 1, "{ranges:?}: {joined}");
            if !views {
                world.views.wipe();
            }
            if !checkpoints {
                for path in &newest {
                    world.objects.remove(path);
                }
            }
            world.push(0, &all[120..]);
            let status = world.run(&plan(1), config()).await.remove(0);
            assert_eq!((status.position, status.records, status.restarts), (140, 140, 0));
            assert_eq!(world.outcome(1), expected, "{ranges:?}, views: {views}, checkpoints: {checkpoints}");
            world.check_changes(&plan(1));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_vanish_below_a_reader_are_looked_for_again() {
    let all = payloads(140, 12);
    let expected = reference(&all).await;
    let origin = taken_in_by(&all[..120], 6, small_files()).await;
    origin.log.expire_before(TOPIC, 0, 120);
    // Everything is replayed, and nothing but Bronze has it.
    origin.views.wipe();
    let mut vanished = 0;
    for name in ["objects list", "objects list_after", "objects get"] {
        let mut joined = 0;
        for call in 0.. {
            let mut reached = false;
            for when in [When::Before, When::After] {
                let (world, faults) = (origin.copy(), Faults::at(name, call, when, Act::Pause));
                let process = world.start(&plan(1), config(), &faults).await;
                tokio::select! {
                    biased;
                    () = faults.paused() => {
                        // Each run ends a file, whatever it has cut before: at 20, 40, .. Less is joined where the replay has
                        // just written a checkpoint of its own: what comes after the oldest stays as it is.
                        joined += usize::from(world.join(0, 0, 40) > 1 && world.join(0, 40, 1_000) > 1);
                    }
                    () = process.ready() => {}
                }
                faults.resume();
                world.push(0, &all[120..]);
                process.handle.seal().await.unwrap();
                let status = process.end().await.remove(0);
                assert_eq!((status.position, status.records, status.restarts), (140, 140, 0));
                assert_eq!(world.outcome(1), expected, "{when:?} call {call} of {name}");
                vanished += world.objects.missed();
                reached |= faults.calls(name) > call;
            }
            if !reached {
                break;
            }
        }
        assert!(joined > 0, "{name}");
    }
    assert!(vanished > 0, "no file was gone when it was to be read");
}
