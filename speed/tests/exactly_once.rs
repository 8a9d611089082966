//! Exactly once: neither batch boundaries, nor kills, nor failures, nor a second writer change what comes out.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use support::faults::{Act, Faults, When};
use support::plan::plan;
use support::{Outcome, World, config, payloads};
use tideline_common::time::Span;
use tideline_speed::SpeedConfig;

/// What one run without a fault, in one batch, makes of the records.
async fn reference(payloads: &[Bytes]) -> Outcome {
    let world = World::with(payloads);
    let config = SpeedConfig { max_batch_records: 100_000, max_bronze_bytes: 1 << 30, ..config() };
    world.run(&plan(1), config).await;
    let outcome = world.outcome(1);
    let raw: Vec<&Bytes> = outcome.bronze[&0].iter().map(|record| &record.payload).collect();
    assert_eq!(raw, payloads.iter().collect::<Vec<_>>());
    // What is compared below is not empty, and each kind of record occurs.
    let progress = outcome.views.progress.values().next().unwrap();
    assert!(progress.late > 0 && progress.duplicates > 0 && progress.rejected > 0, "{progress:?}");
    assert_eq!(progress.rejected, outcome.dead.len() as u64);
    assert!(outcome.views.panes.len() > 20 && !outcome.views.rows.is_empty());
    outcome
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn batches_of_any_size_give_the_same(
        seed in 0u64..1_000,
        batch_records in 1usize..60,
        batch_bytes in 50usize..5_000,
        bronze_bytes in 200usize..20_000,
        pending_rows in 1usize..50,
    ) {
        let all = payloads(150, seed);
        runtime().block_on(async {
            let expected = reference(&all).await;
            let world = World::with(&all);
            let config = SpeedConfig {
                max_batch_records: batch_records,
                max_batch_bytes: batch_bytes,
                max_bronze_bytes: bronze_bytes,
                max_pending_rows: pending_rows,
                ..config()
            };
            world.run(&plan(1), config).await;
            assert_eq!(world.outcome(1), expected);
        });
    }
}

/// The port calls of a shard.
const CALLS: [&str; 15] = [
    "log ensure_topic",
    "log topic",
    "log read",
    "log append",
    "log commit_hint",
    "membership join",
    "membership next",
    "objects list",
    "objects list_after",
    "objects get",
    "objects put_if_absent",
    "objects delete",
    "views write",
    "views sync",
    "views progress",
];

/// Takes in records part by part, stopped and started again in the midst, with a fault at one call. After a kill,
/// what was not synced is lost and it starts again.
async fn with_fault(payloads: &[Bytes], faults: &Arc<Faults>) -> (Outcome, bool) {
    let world = World::with(&[]);
    let mut fed = 0;
    let run = async {
        for half in payloads.chunks(payloads.len() / 2) {
            let process = world.start(&plan(1), config(), faults).await;
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
        world.run(&plan(1), config()).await;
    }
    world.check_changes(&plan(1));
    (world.outcome(1), killed)
}

/// Tries a fault before and after every call of a run.
async fn at_every_call(act: Act) {
    let all = payloads(60, 7);
    let expected = reference(&all).await;
    for name in CALLS {
        let (mut call, mut kills) = (0, 0);
        loop {
            let mut reached = false;
            for when in [When::Before, When::After] {
                let faults = Faults::at(name, call, when, act);
                let (outcome, killed) = with_fault(&all, &faults).await;
                assert_eq!(outcome, expected, "{act:?} {when:?} call {call} of {name}");
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
async fn a_kill_around_any_call_changes_nothing() {
    at_every_call(Act::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_around_any_call_changes_nothing() {
    at_every_call(Act::Fail).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again() {
    let all = payloads(120, 3);
    let expected = reference(&all).await;
    let world = World::with(&all);
    for round in 0..6 * CALLS.len() {
        let faults = Faults::at(CALLS[round % CALLS.len()], round / CALLS.len(), When::Before, Act::Kill);
        let run = async {
            let process = world.start(&plan(1), config(), &faults).await;
            process.handle.seal().await.unwrap();
            process
        };
        tokio::select! {
            process = run => { process.end().await; }
            () = faults.died() => world.views.crash(),
        }
    }
    world.run(&plan(1), config()).await;
    assert_eq!(world.outcome(1), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_do_not_fork_the_chain() {
    let all = payloads(200, 11);
    let expected = reference(&all).await;
    for round in 0..6 {
        let world = World::with(&all[..50]);
        // A zombie of another pace, and files of other lengths.
        let slow = SpeedConfig { max_batch_records: 3, max_bronze_bytes: 700 + 200 * round, ..config() };
        let one = world.start(&plan(1), config(), &Faults::none()).await;
        let two = world.start(&plan(1), slow, &Faults::none()).await;
        for part in all[50..].chunks(30) {
            world.push(0, part);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (a, b) = tokio::join!(one.handle.seal(), two.handle.seal());
        a.unwrap();
        b.unwrap();
        tokio::join!(one.end(), two.end());
        assert_eq!(world.outcome(1), expected);
        // And who comes after them finds one truth.
        world.run(&plan(1), config()).await;
        assert_eq!(world.outcome(1), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_are_independent() {
    let all: Vec<_> = (0..3).map(|seed| payloads(80, seed)).collect();
    let world = World::default();
    world.log.create(support::TOPIC, 3);
    for (partition, payloads) in all.iter().enumerate() {
        world.push(partition as u32, payloads);
    }
    let statuses = world.run(&plan(3), config()).await;
    assert_eq!(statuses.len(), 3);
    let together = world.outcome(3);
    for (partition, payloads) in all.iter().enumerate() {
        let alone = reference(payloads).await;
        let panes = together.views.panes.iter().filter(|(key, _)| key.2.partition == partition as u32);
        assert_eq!(panes.count(), alone.views.panes.len());
        assert_eq!(together.bronze[&(partition as u32)], alone.bronze[&0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_it_runs_is_taken_in() {
    let all = payloads(200, 5);
    let expected = reference(&all).await;
    let world = World::with(&[]);
    let config = SpeedConfig { linger: Span::from_millis(3), ..config() };
    let process = world.start(&plan(1), config, &Faults::none()).await;
    for part in all.chunks(13) {
        world.push(0, part);
        process.handle.seal().await.unwrap();
    }
    let before = world.outcome(1);
    assert_eq!(before, expected);
    process.end().await;
    assert_eq!(world.outcome(1), expected);
}
