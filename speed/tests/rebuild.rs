//! Views made anew from Bronze alone: the same as ever, whenever it is cut off, and the seam to who goes on with them.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::sync::Arc;

use bytes::Bytes;
use support::faults::{Act, Faults, When};
use support::plan::plan;
use support::{Outcome, TOPIC, World, config, payloads};
use tideline_common::generation::Generation;
use tideline_common::time::Span;
use tideline_speed::{Rebuilt, SpeedConfig, SpeedError, SpeedLayer};
use tokio_util::sync::CancellationToken;

async fn reference(payloads: &[Bytes]) -> Outcome {
    let world = World::with(payloads);
    world.run(&plan(1), config()).await;
    world.outcome(1)
}

/// A world that has taken in `payloads` in several runs, and has lost all but Bronze and dead letters.
async fn bronze_of(payloads: &[Bytes], runs: usize) -> World {
    let world = World::with(&[]);
    for part in payloads.chunks(payloads.len().div_ceil(runs)) {
        world.push(0, part);
        world.run(&plan(1), config()).await;
    }
    world.log.expire_before(TOPIC, 0, payloads.len() as u64);
    for path in world.objects.paths("checkpoints") {
        world.objects.remove(&path);
    }
    world.views.wipe();
    world
}

fn second() -> SpeedConfig {
    SpeedConfig { generation: Generation(1), max_batch_records: 7, ..config() }
}

async fn rebuild(world: &World, config: SpeedConfig, faults: &Arc<Faults>) -> Result<Vec<Rebuilt>, SpeedError> {
    SpeedLayer::rebuild(Arc::new(plan(1)), world.ports(faults), config, CancellationToken::new()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn bronze_alone_makes_the_same_views() {
    let all = payloads(140, 12);
    let world = bronze_of(&all[..120], 6).await;
    let faults = Faults::none();
    let rebuilt = rebuild(&world, second(), &faults).await.unwrap();
    assert_eq!((rebuilt.len(), rebuilt[0].position, rebuilt[0].records), (1, 120, 120));
    for call in ["log topic", "log read", "log append", "log commit_hint"] {
        assert_eq!(faults.calls(call), 0, "{call}");
    }
    assert_eq!(world.outcome(1), reference(&all[..120]).await);
    // Again, there is nothing to do but to look.
    let flushes = faults.calls("views write");
    assert_eq!(rebuild(&world, second(), &faults).await.unwrap(), rebuilt);
    assert_eq!(faults.calls("views write"), flushes);

    world.push(0, &all[120..]);
    let status = world.run(&plan(1), second()).await.remove(0);
    assert_eq!((status.position, status.records, status.restarts), (140, 140, 0));
    assert_eq!(world.outcome(1), reference(&all).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_anywhere_it_goes_on() {
    let all = payloads(120, 5);
    let origin = bronze_of(&all, 6).await;
    let expected = reference(&all).await;
    // A flush and a checkpoint whenever there is something.
    let config = SpeedConfig {
        checkpoint_interval: Span::from_millis(10),
        flush_interval: Span::from_millis(10),
        linger: Span::ZERO,
        ..second()
    };
    for call in ["views write", "views sync", "objects put_if_absent", "objects get"] {
        for number in [0, 1, 3] {
            for (when, act) in [(When::Before, Act::Kill), (When::After, Act::Kill), (When::Before, Act::Fail)] {
                let context = format!("{act:?} {when:?} {call} {number}");
                let world = origin.copy();
                let faults = Faults::at(call, number, when, act);
                tokio::select! {
                    done = rebuild(&world, config.clone(), &faults) => {
                        assert_eq!(done.unwrap()[0].position, 120, "{context}");
                    }
                    () = faults.died() => assert_eq!(act, Act::Kill, "{context}"),
                }
                let rebuilt = rebuild(&world, config.clone(), &Faults::none()).await.unwrap();
                assert_eq!((rebuilt[0].position, rebuilt[0].records), (120, 120), "{context}");
                assert_eq!(world.outcome(1), expected, "{context}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_checkpoint_nothing_before_it_is_read_again() {
    let all = payloads(200, 5);
    let world = bronze_of(&all, 10).await;
    let config = SpeedConfig { checkpoint_interval: Span::from_millis(10), ..second() };
    // The first file has been read, and has its checkpoint, when the process dies over a later one.
    let files = world.files(0);
    let faults = Faults::none();
    let dying = async {
        let stop = CancellationToken::new();
        let work = SpeedLayer::rebuild(Arc::new(plan(1)), world.ports(&faults), config.clone(), stop.clone());
        let watch = async {
            while world.checkpoints().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            done = work => drop(done.unwrap()),
            () = watch => {}
        }
    };
    dying.await;
    let newest = world.checkpoints().pop().unwrap();
    let position = tideline_common::checkpoint::position_of(&newest).unwrap();
    assert!(newest.ends_with("@1.ckpt") && position > 0, "{newest}");
    // What lies before it may even be gone.
    for file in files.iter().filter(|file| file.first + 20 < position) {
        world.objects.remove(&file.path);
    }
    let rebuilt = rebuild(&world, config, &Faults::none()).await.unwrap();
    assert_eq!((rebuilt[0].position, rebuilt[0].records), (200, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_at_work_leaves_what_is_made_beside_it() {
    let all = payloads(120, 9);
    let world = World::with(&all[..60]);
    world.run(&plan(1), config()).await;
    rebuild(&world, second(), &Faults::none()).await.unwrap();
    let made = world.checkpoints().into_iter().find(|path| path.ends_with("@1.ckpt")).unwrap();
    // It goes far beyond, and drops what it has overtaken of its own.
    for part in all[60..].chunks(10) {
        world.push(0, part);
        world.run(&plan(1), config()).await;
    }
    let there = world.checkpoints();
    assert!(there.contains(&made), "{there:?}");
    // Who goes on with the new generation trusts that one alone, and then drops the others.
    let status = world.run(&plan(1), second()).await.remove(0);
    assert_eq!((status.position, status.records), (120, 120));
    assert!(world.checkpoints().iter().all(|path| path.ends_with("@1.ckpt")), "{:?}", world.checkpoints());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_is_too_big_and_a_hole_are_errors() {
    let all = payloads(120, 3);
    let world = bronze_of(&all, 6).await;
    let small = SpeedConfig { max_state_bytes: 1, ..second() };
    let error = rebuild(&world, small, &Faults::none()).await.unwrap_err();
    assert!(matches!(error, SpeedError::Config { key: "speed.max_state_bytes", .. }), "{error}");
    let hole = world.files(0).remove(2);
    world.objects.remove(&hole.path);
    let error = rebuild(&world, second(), &Faults::none()).await.unwrap_err();
    assert!(matches!(error, SpeedError::Gap { from, .. } if from == hole.first), "{error}");
    // Stopped before it could begin.
    let stop = CancellationToken::new();
    stop.cancel();
    let stopped = SpeedLayer::rebuild(Arc::new(plan(1)), world.ports(&Faults::none()), second(), stop).await;
    assert!(matches!(stopped, Err(SpeedError::Stopped { .. })), "{stopped:?}");
}
