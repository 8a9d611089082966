//! Everything is bounded, and what reaches a bound says so and loses nothing: full stores, a full state, a slow end.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::time::Duration;

use bytes::Bytes;
use support::faults::Faults;
use support::plan::plan;
use support::{Outcome, World, config, payloads};
use tideline_common::changes;
use tideline_common::time::Span;
use tideline_speed::{ShardCondition, SpeedConfig, SpeedError, SpeedLayer, dead_letter};

async fn reference(payloads: &[Bytes]) -> Outcome {
    let world = World::with(payloads);
    world.run(&plan(1), config()).await;
    world.outcome(1)
}

/// While `what` is full the shard waits and says so, holding little; afterwards nothing is missing.
async fn full(what: &'static str, holds_at_most: u64) {
    let all = payloads(400, 21);
    let world = World::with(&[]);
    let process = world.start(&plan(1), config(), &Faults::none()).await;
    process.ready().await;
    process.faults.full(Some(what));
    world.push(0, &all);
    process.until("paused", |statuses| statuses[0].condition == ShardCondition::Paused).await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    let status = process.handle.status().remove(0);
    assert_eq!(status.condition, ShardCondition::Paused);
    assert!(status.reason.clone().unwrap().contains("is full"), "{status:?}");
    assert!(status.position <= holds_at_most, "{status:?}");
    assert!(world.outcome(1).bronze[&0].len() as u64 <= status.position);
    process.faults.full(None);
    process.handle.seal().await.unwrap();
    let statuses = process.end().await;
    assert_eq!((statuses[0].condition, statuses[0].restarts), (ShardCondition::Stopped, 0));
    assert_eq!(world.outcome(1), reference(&all).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_lake_stops_reading_and_loses_nothing() {
    // Two buffers of 4,000 bytes hold about 30 records each.
    full("objects put", 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn full_views_stop_reading_and_lose_nothing() {
    full("views write", 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn views_that_cannot_be_synced_hold_back_checkpoints() {
    let all = payloads(100, 23);
    let world = World::with(&all[..50]);
    let faults = Faults::none();
    faults.full(Some("views sync"));
    let process = world.start(&plan(1), config(), &faults).await;
    process.until("paused", |statuses| statuses[0].condition == ShardCondition::Paused).await;
    world.push(0, &all[50..]);
    let tried = faults.calls("views sync");
    process.until("tried again and again", |_| faults.calls("views sync") > tried + 10).await;
    // Were there a checkpoint, a crash would lose what it stands for.
    assert!(world.checkpoints().is_empty());
    drop(process);
    world.views.crash();
    world.run(&plan(1), config()).await;
    assert_eq!(world.outcome(1), reference(&all).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_state_stops_reading_and_says_so() {
    // Event times hardly move, so that no pane closes.
    let all: Vec<Bytes> = (0..300)
        .map(|i| format!("{{\"at\":{},\"id\":\"{i}\",\"who\":\"u{i}\",\"amount\":1.0}}", 1_000_000 + i).into())
        .collect();
    let world = World::with(&all);
    let small = SpeedConfig { max_state_bytes: 30_000, seal_timeout: Span::from_millis(300), ..config() };
    let process = world.start(&plan(1), small, &Faults::none()).await;
    let Err(SpeedError::SealTimeout { waiting, .. }) = process.handle.seal().await else { panic!("it has stopped") };
    assert!(waiting.len() == 1 && waiting[0].contains("speed.max_state_bytes"), "{waiting:?}");
    let status = process.handle.status().remove(0);
    assert!(status.condition == ShardCondition::Paused && status.position < 300, "{status:?}");
    assert!(status.lag() > 0 && status.state_bytes > 30_000);
    process.end().await;
    // What it had is kept, and the rest follows once there is room.
    let taken_in = world.outcome(1).bronze[&0].len() as u64;
    assert_eq!(taken_in, status.position);
    let status = world.run(&plan(1), config()).await.remove(0);
    assert_eq!((status.position, status.checkpoint), (300, Some(300)));
    assert_eq!(world.outcome(1), reference(&all).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_panes_leave_memory() {
    // A pane of an hour ago cannot change any more: the state does not grow with the stream.
    let line = |i: u64| Bytes::from(format!("{{\"at\":{},\"id\":\"{i}\",\"who\":\"u\",\"amount\":1.0}}", i * 20_000));
    let all: Vec<Bytes> = (0..2_000).map(line).collect();
    let world = World::with(&all);
    let bound = SpeedConfig { max_state_bytes: 60_000, max_batch_records: 50, ..config() };
    let status = world.run(&plan(1), bound).await.remove(0);
    assert_eq!(status.position, 2_000);
    assert!(status.state_bytes < 60_000, "{status:?}");
    let outcome = world.outcome(1);
    let panes = outcome.views.panes.keys().filter(|key| key.0.starts_with("tumbling") && key.1 == "panes");
    assert_eq!(panes.count(), 2_000 * 20 / 60 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_in_order_and_bounded() {
    let all = payloads(100, 22);
    let world = World::with(&all);
    // Nothing is due for a minute: what is there at the end is there because it ended in order.
    let lazy = SpeedConfig {
        flush_interval: Span::from_secs(10),
        checkpoint_interval: Span::from_secs(60),
        max_bronze_bytes: 1 << 30,
        ..config()
    };
    let process = world.start(&plan(1), lazy, &Faults::none()).await;
    process.until("read", |statuses| statuses[0].position == 100).await;
    let status = process.end().await.remove(0);
    assert_eq!((status.condition, status.checkpoint, status.bronze), (ShardCondition::Stopped, Some(100), 100));
    assert_eq!(world.outcome(1), reference(&all).await);

    // A lake that does not work any more does not hold up the end for longer than was said.
    let world = World::with(&[]);
    let hurried = SpeedConfig { shutdown_timeout: Span::from_millis(50), ..config() };
    let process = world.start(&plan(1), hurried, &Faults::none()).await;
    process.ready().await;
    process.faults.full(Some("objects put"));
    world.push(0, &all);
    process.until("paused", |statuses| statuses[0].condition == ShardCondition::Paused).await;
    let status = process.end().await.remove(0);
    assert_eq!(status.condition, ShardCondition::Stopped);
    assert!(status.reason.unwrap().contains("took too long"));
    world.views.crash();
    world.run(&plan(1), config()).await;
    assert_eq!(world.outcome(1), reference(&all).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_layer_seals_nothing() {
    let world = World::with(&payloads(10, 1));
    let process = world.start(&plan(1), config(), &Faults::none()).await;
    process.handle.seal().await.unwrap();
    process.stop.cancel();
    process.handle.join().await;
    world.push(0, &payloads(1, 2));
    assert!(matches!(process.handle.seal().await, Err(SpeedError::Stopped { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_is_refused() {
    let world = World::with(&[]);
    let wrong = SpeedConfig { max_batch_records: 0, ..config() };
    let started = SpeedLayer::start(
        std::sync::Arc::new(plan(1)),
        world.ports(&Faults::none()),
        wrong,
        tokio_util::sync::CancellationToken::new(),
    );
    assert!(matches!(started.await, Err(SpeedError::Config { key: "speed.max_batch_records", .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_can_be_listed() {
    let world = World::default();
    world.log.create(support::TOPIC, 2);
    let good = Bytes::from_static(b"{\"at\":1000,\"id\":\"a\",\"who\":\"u\",\"amount\":1.5}");
    let bad = Bytes::from_static(b"{\"at\":\xff");
    let timeless = Bytes::from_static(b"{\"id\":\"b\"}");
    world.push(0, &[good.clone(), bad.clone(), good.clone()]);
    world.push(1, &[good.clone(), timeless.clone()]);
    let statuses = world.run(&plan(2), config()).await;
    assert_eq!(statuses.iter().map(|status| status.rejected).collect::<Vec<_>>(), [1, 1]);
    let ports = world.ports(&Faults::none());
    let letters = dead_letter::list(&*ports.objects, None, 10).await.unwrap();
    let brief: Vec<_> = letters.iter().map(|l| (l.shard.partition, l.offset, l.raw.clone())).collect();
    assert_eq!(brief, [(0, 1, bad), (1, 1, timeless)]);
    assert_eq!(letters[1].kind, "missing_time");
    assert!(!letters[0].reason.is_empty());
    assert_eq!(dead_letter::list(&*ports.objects, Some("events"), 1).await.unwrap().len(), 1);
    assert!(dead_letter::list(&*ports.objects, Some("other"), 10).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_cannot_be_appended_hold_back_checkpoints_only() {
    let all = payloads(120, 24);
    let world = World::with(&all[..60]);
    let process = world.start(&plan(1), config(), &Faults::none()).await;
    process.faults.full(Some("log append"));
    world.push(0, &all[60..]);
    process.until("in Bronze", |s| s[0].bronze == 120 && s[0].flushed == 120).await;
    let status = process.handle.status().remove(0);
    assert_eq!(status.condition, ShardCondition::Paused);
    assert!(status.reason.unwrap().contains("append changes"));
    assert!(status.checkpoint < Some(120));
    process.faults.full(None);
    process.until("checkpointed", |s| s[0].checkpoint == Some(120)).await;
    assert_eq!(process.end().await[0].restarts, 0);
    assert_eq!(world.outcome(1), reference(&all).await);
    world.check_changes(&plan(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_were_given_up_are_made_again() {
    let all = payloads(200, 25);
    let world = World::with(&all[..20]);
    // Two flushes are more.
    let little = SpeedConfig { max_change_bytes: 100, ..config() };
    let process = world.start(&plan(1), little, &Faults::none()).await;
    process.handle.seal().await.unwrap();
    process.faults.full(Some("log append"));
    for (at, part) in all[20..].chunks(60).enumerate() {
        world.push(0, part);
        process.until("flushed", |s| s[0].flushed == 80 + 60 * at as u64).await;
    }
    process.until("in Bronze", |s| s[0].bronze == 200).await;
    process.faults.full(None);
    process.until("made again", |s| s[0].restarts == 1 && s[0].checkpoint == Some(200)).await;
    process.end().await;
    assert_eq!(world.outcome(1), reference(&all).await);
    world.check_changes(&plan(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_appends_one_record_of_changes() {
    let all = payloads(300, 26);
    // To a topic of several partitions a record for each bucket of keys, so that each partition learns of the progress.
    for (partitions, records) in [(1, 1), (4, 16)] {
        let world = World::with(&all[..100]);
        let topic = changes::topic(support::plan::CHANGING);
        world.log.create(&topic, partitions);
        let process = world.start(&plan(1), config(), &Faults::none()).await;
        for part in all[100..].chunks(50) {
            process.handle.seal().await.unwrap();
            world.push(0, part);
        }
        process.handle.seal().await.unwrap();
        let (faults, status) = (process.faults.clone(), process.end().await.remove(0));
        // All of them have been appended: a checkpoint waits for that.
        assert_eq!((status.position, status.checkpoint, status.restarts), (300, Some(300), 0));
        let (flushes, appends) = (faults.calls("views write"), faults.calls("log append"));
        assert_eq!((appends, world.log.records(&topic).len()), (flushes, flushes * records));
        world.check_changes(&plan(1));
    }
}
