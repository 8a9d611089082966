//! Rows as they come: every one of them is in the topic, whatever fails, and what is there is not appended again.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use support::faults::{Act, Faults, When};
use support::membership::Script;
use support::telling::{KEYED, PLAIN, plan};
use support::{TOPIC, World, config, payloads};
use tideline_common::generation::Generation;
use tideline_common::time::Span;
use tideline_speed::{ShardCondition, SpeedConfig, SpeedLayer};
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn every_row_is_there_late_or_not() {
    let all = payloads(300, 7);
    let world = World::with(&all);
    let status = world.run(&plan(1, 1), config()).await.remove(0);
    assert_eq!(world.check_told(), 0);
    // What is compared is not empty, and each kind of record occurs.
    assert!(status.late > 0 && status.duplicates > 0 && status.rejected > 0, "{status:?}");
    assert_eq!(status.outputs.values().copied().collect::<Vec<_>>(), [300, 300]);
    // A later start has nothing to say.
    let faults = Faults::none();
    let process = world.start(&plan(1, 1), config(), &faults).await;
    process.handle.seal().await.unwrap();
    process.end().await;
    assert_eq!((world.check_told(), faults.calls("log append_to")), (0, 0));
}

/// The port calls of a shard that matter to what it tells.
const CALLS: [&str; 11] = [
    "log topic",
    "log read",
    "log append",
    "log append_to",
    "objects list",
    "objects get",
    "objects put_if_absent",
    "views write",
    "views sync",
    "views progress",
    "membership next",
];

/// Takes in records part by part, stopped and started again in the midst, with a fault at one call; goes on after a kill.
async fn with_fault(payloads: &[Bytes], faults: &Arc<Faults>) -> (World, bool) {
    let (world, plan) = (World::with(&[]), plan(1, 1));
    let mut fed = 0;
    let run = async {
        for half in payloads.chunks(payloads.len() / 2) {
            let process = world.start(&plan, config(), faults).await;
            for part in half.chunks(11) {
                world.push(0, part);
                fed += part.len();
                process.handle.seal().await.unwrap();
            }
            process.end().await;
        }
    };
    let killed = tokio::select! {
        () = run => false,
        () = faults.died() => true,
    };
    if killed {
        world.views.crash();
        world.push(0, &payloads[fed..]);
        world.run(&plan, config()).await;
    }
    (world, killed)
}

async fn at_every_call(act: Act) {
    let all = payloads(60, 7);
    for name in CALLS {
        let (mut call, mut kills) = (0, 0);
        loop {
            let mut reached = false;
            for when in [When::Before, When::After] {
                let faults = Faults::at(name, call, when, act);
                let (world, killed) = with_fault(&all, &faults).await;
                assert_eq!(world.check_told(), 0, "{act:?} {when:?} call {call} of {name}");
                reached |= faults.calls(name) > call;
                kills += usize::from(killed);
            }
            // Runs are not equally long: calls made while waiting come and go.
            if !reached {
                break;
            }
            call += 1;
        }
        assert!(call > 0 && (kills > 0) == (act == Act::Kill), "{name}: {kills} kills in {call} calls");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_around_any_call_repeats_nothing() {
    at_every_call(Act::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_around_any_call_repeats_nothing() {
    at_every_call(Act::Fail).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_shards_share_a_partition_and_are_killed_again_and_again() {
    let (world, plan) = (World::default(), plan(3, 2));
    world.log.create(TOPIC, 3);
    let all: Vec<Vec<Bytes>> = (0..3).map(|partition| payloads(200, partition)).collect();
    for round in 0..24 {
        let faults = Faults::at(CALLS[2 + round % 5], 1 + round / 5, When::After, Act::Kill);
        let (from, to) = (round * 200 / 24, (round + 1) * 200 / 24);
        for (partition, payloads) in all.iter().enumerate() {
            world.push(partition as u32, &payloads[from..to]);
        }
        let run = async {
            let process = world.start(&plan, config(), &faults).await;
            process.handle.seal().await.unwrap();
            process
        };
        tokio::select! {
            process = run => { process.end().await; }
            () = faults.died() => world.views.crash(),
        }
    }
    let statuses = world.run(&plan, config()).await;
    assert!(statuses.iter().all(|status| status.position == 200 && status.bronze == 200), "{statuses:?}");
    assert_eq!(world.check_told(), 0);
    let sources = |partition| world.log.partition(PLAIN, partition).len();
    assert!(sources(0) > sources(1), "partitions 0 and 2 of the source share one");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_tell_the_same() {
    let all = payloads(200, 11);
    for round in 0..6 {
        let (world, plan) = (World::with(&all[..50]), plan(1, 1));
        // A zombie of another pace, and files of other lengths.
        let slow = SpeedConfig { max_batch_records: 3, max_bronze_bytes: 700 + 200 * round, ..config() };
        let one = world.start(&plan, config(), &Faults::none()).await;
        let two = world.start(&plan, slow, &Faults::none()).await;
        for part in all[50..].chunks(30) {
            world.push(0, part);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (a, b) = tokio::join!(one.handle.seal(), two.handle.seal());
        a.unwrap();
        b.unwrap();
        tokio::join!(one.end(), two.end());
        // Both tell, at most.
        assert!(world.check_told() <= 2 * all.len());
        let before = world.log.records(PLAIN).len();
        world.run(&plan, config()).await;
        assert_eq!(world.log.records(PLAIN).len(), before, "and who comes after them has nothing to say");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_has_slept_repeats_at_most_what_it_was_about_to_say() {
    let all = payloads(200, 5);
    for call in ["log append", "log append_to", "objects put_if_absent"] {
        let (world, plan) = (World::with(&all[..60]), plan(1, 1));
        let sleeper = Faults::none();
        let process = world.start(&plan, config(), &sleeper).await;
        process.handle.seal().await.unwrap();
        sleeper.next(call, When::Before, Act::Pause);
        world.push(0, &all[60..120]);
        sleeper.paused().await;
        // Another one goes on with its partition, and tells all.
        world.run(&plan, config()).await;
        assert!(
            world.check_told() <= 60,
            "what the sleeper had said before it slept is not looked for by who began earlier"
        );
        world.push(0, &all[120..]);
        world.run(&plan, config()).await;
        let repeats = world.check_told();
        sleeper.resume();
        process.handle.seal().await.unwrap();
        process.end().await;
        // It had read at most what was there when it fell asleep, and what it reads now it finds in Bronze or tells again.
        assert!(world.check_told() <= repeats + 2 * 140, "{call}");
        let told = world.log.records(KEYED).len();
        world.run(&plan, config()).await;
        assert_eq!(world.log.records(KEYED).len(), told);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_takes_nothing_makes_the_shard_wait_and_loses_nothing() {
    let all = payloads(600, 24);
    let world = World::with(&all[..20]);
    let plan = plan(1, 1);
    let little = SpeedConfig { max_output_bytes: 5_000, ..config() };
    let process = world.start(&plan, little, &Faults::none()).await;
    process.handle.seal().await.unwrap();
    process.faults.full(Some("log append_to"));
    world.push(0, &all[20..]);
    process.until("waiting for the log", |s| s[0].condition == ShardCondition::Paused && s[0].position > 20).await;
    // It reads on until what may wait is full, and no further.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let status = process.handle.status().remove(0);
    let reason = status.reason.clone().unwrap();
    assert!(reason.contains("append rows of output plain") && reason.contains("full"), "{reason}");
    assert!(status.position < 200, "{status:?}");
    assert_eq!(
        (status.bronze, status.outputs[PLAIN]),
        (20, 20),
        "nothing is in Bronze whose rows are not in the topic"
    );
    assert!(status.flushed > 20, "what was read is in the views all the same: {status:?}");
    process.faults.full(None);
    process.handle.seal().await.unwrap();
    let status = process.end().await.remove(0);
    assert_eq!((status.position, status.bronze, status.restarts), (600, 600, 0));
    assert_eq!(world.check_told(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_do_not_wait_for_the_views() {
    let all = payloads(40, 24);
    let (world, plan) = (World::with(&all[..20]), plan(1, 1));
    let process = world.start(&plan, config(), &Faults::none()).await;
    process.handle.seal().await.unwrap();
    process.faults.full(Some("views write"));
    for (until, part) in [(30, &all[20..30]), (40, &all[30..])] {
        world.push(0, part);
        process.until("told", |s| s[0].position == until && s[0].outputs.values().all(|at| *at == until)).await;
    }
    process.until("paused", |s| s[0].condition == ShardCondition::Paused).await;
    let status = process.handle.status().remove(0);
    assert_eq!((status.flushed, status.bronze), (20, 20), "nothing is in Bronze whose panes are not in the views");
    assert!(status.reason.clone().unwrap().contains("write views"), "{status:?}");
    process.faults.full(None);
    process.handle.seal().await.unwrap();
    let status = process.end().await.remove(0);
    assert_eq!((status.flushed, status.bronze, status.restarts), (40, 40, 0));
    assert_eq!(world.check_told(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_while_the_log_takes_nothing_it_goes_on_later() {
    let all = payloads(100, 3);
    let (world, plan) = (World::with(&all[..20]), plan(1, 1));
    let hurried = SpeedConfig { shutdown_timeout: Span::from_millis(200), ..config() };
    let process = world.start(&plan, hurried, &Faults::none()).await;
    process.handle.seal().await.unwrap();
    process.faults.full(Some("log append"));
    world.push(0, &all[20..]);
    process.until("waiting for the log", |s| s[0].condition == ShardCondition::Paused && s[0].position > 20).await;
    let status = process.end().await.remove(0);
    assert_eq!(status.bronze, 20);
    assert!(status.reason.unwrap().contains("shutdown"));
    world.views.crash();
    world.run(&plan, config()).await;
    assert_eq!(world.check_told(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_dropped_is_made_again() {
    let all = payloads(80, 9);
    let (world, plan) = (World::with(&all[..40]), plan(1, 1));
    let process = world.start(&plan, config(), &Faults::none()).await;
    process.handle.seal().await.unwrap();
    let before = world.told(PLAIN).rows.len();
    world.log.drop_topic(PLAIN);
    world.push(0, &all[40..]);
    process.handle.seal().await.unwrap();
    assert_eq!(process.end().await[0].restarts, 0);
    let told = world.told(PLAIN);
    assert_eq!((told.rows.len() + before, told.repeats), (world.told(KEYED).rows.len(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_bronze_is_not_told_again() {
    let all = payloads(160, 8);
    let (world, plan) = (World::with(&[]), plan(1, 1));
    for part in all[..120].chunks(40) {
        world.push(0, part);
        world.run(&plan, config()).await;
    }
    let told = world.log.records(PLAIN).len();
    // Another version of a view is made from the beginning of Bronze, and then goes on.
    let mut changed = plan.clone();
    changed.views[0].version = "fedcba9876543210".to_owned();
    world.push(0, &all[120..140]);
    let status = world.run(&changed, config()).await.remove(0);
    assert_eq!(status.records, 140);
    assert_eq!(world.check_told(), 0);
    assert!(world.log.records(PLAIN).len() > told);
    // So are lost views, without a checkpoint.
    let told = world.log.records(PLAIN).len();
    for path in world.checkpoints() {
        world.objects.remove(&path);
    }
    world.views.wipe();
    world.run(&changed, config()).await;
    assert_eq!((world.check_told(), world.log.records(PLAIN).len()), (0, told));
    // And a replay, beside the one at work.
    let faults = Faults::none();
    let second = SpeedConfig { generation: Generation(1), ..config() };
    let ports = world.ports(&faults);
    SpeedLayer::rebuild(Arc::new(changed.clone()), ports, second.clone(), CancellationToken::new()).await.unwrap();
    assert_eq!((faults.calls("log append"), faults.calls("log append_to")), (0, 0));
    world.push(0, &all[140..]);
    let status = world.run(&changed, second).await.remove(0);
    assert_eq!((status.records, world.check_told()), (160, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_begins_after_what_is_in_bronze() {
    let all = payloads(120, 4);
    let world = World::with(&all[..80]);
    world.run(&support::plan::plan(1), config()).await;
    world.push(0, &all[80..]);
    world.run(&plan(1, 1), config()).await;
    let told = world.told(PLAIN);
    assert_eq!(told.rows, world.told(KEYED).rows);
    assert!(told.rows.keys().all(|(_, offset)| *offset >= 80), "{:?}", told.rows.keys());
    let found: Vec<u64> = told.rows.keys().map(|(_, offset)| *offset).collect();
    assert!(found.len() > 20 && found.last() > Some(&115), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_no_log_takes_is_left_out_and_holds_up_nothing() {
    let mut all = payloads(40, 4);
    let long = "x".repeat(3_000);
    all.push(Bytes::from(format!(r#"{{"at":1700000200000,"id":"long","who":"{long}","amount":1.0}}"#)));
    all.extend(payloads(60, 4).split_off(40));
    let (world, plan) = (World::with(&all), plan(1, 1));
    let little = SpeedConfig { max_row_bytes: 2_000, ..config() };
    let status = world.run(&plan, little).await.remove(0);
    assert_eq!((status.position, status.bronze), (61, 61));
    for output in [PLAIN, KEYED] {
        let told = world.told(output);
        assert!(!told.rows.contains_key(&(0, 40)), "{output}");
        assert_eq!(told.rows.len() as u64, status.records - status.rejected - status.duplicates - 1, "{output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_go_from_one_process_to_another_with_their_rows() {
    let (world, plan) = (World::default(), plan(2, 2));
    world.log.create(TOPIC, 2);
    let all: Vec<Vec<Bytes>> = (0..2).map(|partition| payloads(150, partition + 20)).collect();
    let push = |from: usize, to: usize| {
        for (partition, payloads) in all.iter().enumerate() {
            world.push(partition as u32, &payloads[from..to]);
        }
    };
    let partition = |at: u32| vec![(TOPIC.to_owned(), at)];
    let (mine, theirs) = (Script::nothing(), Script::nothing());
    mine.assign(&[partition(0), partition(1)].concat());
    push(0, 50);
    let one = world.start_as(&plan, config(), &Faults::none(), &mine).await;
    let two = world.start_as(&plan, config(), &Faults::none(), &theirs).await;
    one.handle.seal().await.unwrap();
    push(50, 100);
    mine.revoke(&partition(1)).await.unwrap();
    theirs.assign(&partition(1));
    push(100, 150);
    one.handle.seal().await.unwrap();
    two.until("at work", |s| s.len() == 1 && s[0].bronze == 150).await;
    one.end().await;
    two.end().await;
    assert_eq!(world.check_told(), 0);
}
