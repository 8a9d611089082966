//! Several processes share the partitions: they come and go while records flow, end late, do not end at all, and wake up
//! as zombies. What comes out is that of one process that was never disturbed.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use support::faults::{Act, Faults, When};
use support::membership::{Released, Script};
use support::plan::plan;
use support::{Outcome, Process, TOPIC, World, config, payloads};
use tideline_common::checkpoint;
use tideline_common::time::Span;
use tideline_speed::{ShardCondition, SpeedConfig};

fn partition(partition: u32) -> (String, u32) {
    (TOPIC.to_owned(), partition)
}

/// What one process makes of the records of these partitions.
async fn reference(partitions: &[Vec<Bytes>]) -> Outcome {
    let world = World::default();
    let count = partitions.len() as u32;
    world.log.create(TOPIC, count);
    for (partition, payloads) in partitions.iter().enumerate() {
        world.push(partition as u32, payloads);
    }
    world.run(&plan(count), config()).await;
    let outcome = world.outcome(count);
    let progress = outcome.views.progress.values().next().unwrap();
    assert!(progress.late > 0 && progress.duplicates > 0 && progress.rejected > 0, "{progress:?}");
    outcome
}

/// A process and what it is told.
struct Member {
    process: Process,
    script: Arc<Script>,
}

impl Member {
    async fn start(world: &World, partitions: u32, config: SpeedConfig, faults: &Arc<Faults>, first: &[u32]) -> Self {
        let script = Script::nothing();
        script.assign(&first.iter().copied().map(partition).collect::<Vec<_>>());
        let process = world.start_as(&plan(partitions), config, faults, &script).await;
        Self { process, script }
    }

    fn revoke(&self, of: u32) -> Released {
        self.script.revoke(&[partition(of)])
    }

    fn assign(&self, of: u32) {
        self.script.assign(&[partition(of)]);
    }

    /// Waits until a partition is worked on up to `position`.
    async fn reaches(&self, of: u32, position: u64) {
        let there = |statuses: &[tideline_speed::ShardStatus]| {
            statuses.iter().any(|status| status.shard.partition == of && status.bronze >= position)
        };
        self.process.until("far enough", there).await;
    }
}

/// Gives every partition to the member that `owners` says, one by one, each after it has been put down.
async fn rebalance(members: &[Member], owners: &mut BTreeMap<u32, usize>, wanted: impl Fn(u32) -> usize) {
    for (partition, owner) in owners.iter_mut() {
        let wanted = wanted(*partition);
        if wanted != *owner {
            members[*owner].revoke(*partition).await.unwrap();
            members[wanted].assign(*partition);
            *owner = wanted;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_three_two_while_records_flow() {
    let all: Vec<_> = (0..4).map(|seed| payloads(160, seed)).collect();
    let expected = reference(&all).await;
    let world = World::default();
    world.log.create(TOPIC, 4);
    let mut fed = 0;
    let mut feed = |count: usize| {
        for (partition, payloads) in all.iter().enumerate() {
            world.push(partition as u32, &payloads[fed..fed + count]);
        }
        fed += count;
    };
    feed(40);
    let mut members = vec![Member::start(&world, 4, config(), &Faults::none(), &[0, 1, 2, 3]).await];
    let mut owners: BTreeMap<u32, usize> = (0..4).map(|partition| (partition, 0)).collect();
    members[0].reaches(0, 7).await;
    feed(20);
    for _ in 0..2 {
        members.push(Member::start(&world, 4, config(), &Faults::none(), &[]).await);
    }
    rebalance(&members, &mut owners, |partition| partition as usize % 3).await;
    feed(40);
    members[1].reaches(1, 70).await;
    assert_eq!(members[0].process.handle.status().len(), 2, "0 and 3");
    feed(20);
    // The first one leaves.
    rebalance(&members, &mut owners, |partition| 1 + partition as usize % 2).await;
    let first = members.remove(0);
    assert!(first.process.handle.status().is_empty());
    first.process.end().await;
    assert!(*first.script.left.lock());
    feed(40);
    for member in members {
        member.process.handle.seal().await.unwrap();
        let statuses = member.process.end().await;
        assert!(statuses.iter().all(|status| status.restarts == 0 && status.checkpoint == Some(160)), "{statuses:?}");
    }
    assert_eq!(world.outcome(4), expected);
    world.check_changes(&plan(4));
}

/// What makes something durable, or decides what is done.
const STEPS: [&str; 11] = [
    "log read",
    "log append",
    "log commit_hint",
    "objects list",
    "objects list_after",
    "objects get",
    "objects put_if_absent",
    "objects delete",
    "views write",
    "views sync",
    "views progress",
];

/// What a zombie meets.
#[derive(Clone, Copy, Debug)]
struct Meets {
    /// Whether records had been taken in before it began: it begins with a checkpoint then.
    checkpoint: bool,
    /// Whether Bronze is joined while it stands still.
    joined: bool,
}

/// A process that stands still somewhere, and goes on after another one has taken over and gone on: it was never told.
async fn with_zombie(all: &[Bytes], faults: &Arc<Faults>, meets: Meets) -> (Outcome, bool) {
    let world = World::with(&all[..20]);
    if meets.checkpoint {
        world.run(&plan(1), config()).await;
    }
    let zombie = Member::start(&world, 1, config(), faults, &[0]).await;
    let mut fed = 20;
    let feed = async {
        for part in all[20..70].chunks(10) {
            zombie.process.handle.seal().await.unwrap();
            world.push(0, part);
            fed += part.len();
        }
        zombie.process.handle.seal().await.unwrap();
    };
    let paused = tokio::select! {
        biased;
        () = faults.paused() => true,
        () = feed => false,
    };
    world.push(0, &all[fed..85]);
    // Files of other lengths.
    let other = SpeedConfig { max_batch_records: 5, max_bronze_bytes: 900, ..config() };
    let heir = Member::start(&world, 1, other, &Faults::none(), &[0]).await;
    heir.reaches(0, 85).await;
    if meets.joined {
        // Old checkpoints go when there are newer ones.
        let behind = |path: &String| checkpoint::position_of(path).is_some_and(|position| position < 80);
        for next in 85..95 {
            world.push(0, &all[next..=next]);
            let there = |s: &[tideline_speed::ShardStatus]| s[0].checkpoint == Some(next as u64 + 1);
            heir.process.until("checkpointed", there).await;
            if !world.checkpoints().iter().any(behind) {
                break;
            }
        }
        assert!(world.join(0, 0, 1_000) > 1);
    }
    faults.resume();
    let next = world.log.payloads(TOPIC, 0).len();
    world.push(0, &all[next..]);
    heir.process.handle.seal().await.unwrap();
    zombie.process.handle.seal().await.unwrap();
    let (a, b) = tokio::join!(zombie.process.end(), heir.process.end());
    assert!(a.iter().chain(&b).all(|status| status.condition == ShardCondition::Stopped), "{a:?} {b:?}");
    world.check_changes(&plan(1));
    let outcome = world.outcome(1);
    // And who comes after them finds one truth.
    world.run(&plan(1), config()).await;
    assert_eq!(world.outcome(1), outcome);
    let outcome = if meets.joined { outcome.with_letters_once() } else { outcome };
    (outcome, paused)
}

/// Lets a zombie stand still before and after the calls of `steps`, up to `most` of each.
async fn zombies(steps: &[&'static str], most: usize, meets: &[Meets]) {
    let all = payloads(100, 7);
    let expected = reference(std::slice::from_ref(&all)).await;
    for &name in steps {
        let mut pauses = 0;
        for meets in meets {
            for call in 0..most {
                let mut reached = false;
                for when in [When::Before, When::After] {
                    let faults = Faults::at(name, call, when, Act::Pause);
                    let (outcome, paused) = with_zombie(&all, &faults, *meets).await;
                    assert_eq!(outcome, expected, "{when:?} call {call} of {name}, {meets:?}");
                    reached |= faults.calls(name) > call;
                    pauses += usize::from(paused);
                }
                if !reached {
                    break;
                }
            }
        }
        assert!(pauses > 0, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_that_wakes_up_anywhere_does_no_harm() {
    let begun = Meets { checkpoint: true, joined: false };
    zombies(&STEPS, 14, &[begun]).await;
    // Where it begins is settled while it does.
    zombies(&["objects list", "objects put_if_absent", "log read"], 3, &[Meets { checkpoint: false, ..begun }]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_whose_files_were_joined_does_no_harm() {
    let steps = ["objects list", "objects list_after", "objects get", "objects put_if_absent", "objects delete"];
    zombies(&steps, 8, &[Meets { checkpoint: true, joined: true }]).await;
}

/// A partition goes from one process to another, with a fault in the one that gives or in the one that takes.
async fn handed_over(all: &[Bytes], giver: &Arc<Faults>, taker: &Arc<Faults>) -> Outcome {
    let world = World::with(&all[..60]);
    // Nothing is due before it is revoked.
    let lazy = SpeedConfig {
        flush_interval: Span::from_secs(10),
        checkpoint_interval: Span::from_secs(60),
        max_bronze_bytes: 2_000,
        ..config()
    };
    let from = Member::start(&world, 1, lazy, giver, &[0]).await;
    let read = from.process.until("read", |s| s.first().is_some_and(|status| status.position == 60));
    tokio::select! {
        () = giver.died() => world.views.crash(),
        () = read => {
            let released = from.revoke(0);
            tokio::select! {
                () = giver.died() => world.views.crash(),
                released = released => released.unwrap(),
            }
        }
    }
    world.push(0, &all[60..]);
    let sealed = async {
        let to = Member::start(&world, 1, config(), taker, &[0]).await;
        to.process.handle.seal().await.unwrap();
        to.process.end().await;
    };
    tokio::select! {
        () = taker.died() => world.views.crash(),
        () = sealed => {}
    }
    world.run(&plan(1), config()).await;
    world.check_changes(&plan(1));
    world.outcome(1)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_around_any_step_of_a_handover_changes_nothing() {
    let all = payloads(90, 5);
    let expected = reference(std::slice::from_ref(&all)).await;
    for act in [Act::Kill, Act::Fail] {
        for name in STEPS {
            for call in 0.. {
                let mut reached = false;
                for when in [When::Before, When::After] {
                    let faults = Faults::at(name, call, when, act);
                    assert_eq!(
                        handed_over(&all, &faults, &Faults::none()).await,
                        expected,
                        "giver: {act:?} {when:?} {call} {name}"
                    );
                    reached |= faults.calls(name) > call;
                    let faults = Faults::at(name, call, when, act);
                    assert_eq!(
                        handed_over(&all, &Faults::none(), &faults).await,
                        expected,
                        "taker: {act:?} {when:?} {call} {name}"
                    );
                    reached |= faults.calls(name) > call;
                }
                if !reached || call > 8 {
                    break;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_comes_back_waits_for_its_old_task() {
    let all = payloads(80, 4);
    let world = World::with(&all[..40]);
    let member = Member::start(&world, 1, config(), &Faults::none(), &[0]).await;
    member.reaches(0, 40).await;
    member.process.faults.full(Some("objects put"));
    world.push(0, &all[40..60]);
    member.process.until("stuck", |s| s[0].condition == ShardCondition::Paused).await;
    let mut released = member.revoke(0);
    member.assign(0);
    let begun = |s: &[tideline_speed::ShardStatus]| s[0].condition == ShardCondition::Recovering && s[0].position == 0;
    member.process.until("back", begun).await;
    let listings = member.process.faults.calls("objects list_after");
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(released.try_recv().is_err(), "it has not ended");
    assert_eq!(member.process.handle.status()[0].position, 0, "and the new one does nothing meanwhile");
    assert_eq!(member.process.faults.calls("objects list_after"), listings);
    member.process.faults.full(None);
    released.await.unwrap();
    world.push(0, &all[60..]);
    member.process.handle.seal().await.unwrap();
    member.process.end().await;
    assert_eq!(world.outcome(1), reference(&[all]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handover_is_bounded() {
    let all = payloads(80, 4);
    let world = World::with(&[]);
    let hurried = SpeedConfig { handover_timeout: Span::from_millis(50), ..config() };
    let member = Member::start(&world, 1, hurried, &Faults::none(), &[0]).await;
    member.process.ready().await;
    member.process.faults.full(Some("objects put"));
    world.push(0, &all[..40]);
    member.process.until("stuck", |s| s.first().is_some_and(|s| s.condition == ShardCondition::Paused)).await;
    member.revoke(0).await.unwrap();
    assert!(world.checkpoints().is_empty());
    world.push(0, &all[40..]);
    world.run(&plan(1), config()).await;
    assert_eq!(world.outcome(1), reference(&[all]).await);
    member.process.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_is_dropped_where_it_stands() {
    let all = payloads(80, 4);
    let world = World::with(&all[..40]);
    let lazy = SpeedConfig { checkpoint_interval: Span::from_secs(60), max_bronze_bytes: 1 << 30, ..config() };
    let member = Member::start(&world, 1, lazy, &Faults::none(), &[0]).await;
    member.process.until("read", |s| s.first().is_some_and(|s| s.flushed == 40)).await;
    member.script.lose(&[partition(0)]);
    member.process.until("gone", <[_]>::is_empty).await;
    world.push(0, &all[40..]);
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(world.bronze(0).is_empty());
    // Nothing here is to be sealed, and it comes back.
    member.process.handle.seal().await.unwrap();
    member.assign(0);
    member.process.until("back", |s| s.len() == 1).await;
    member.process.handle.seal().await.unwrap();
    member.process.end().await;
    assert_eq!(world.outcome(1), reference(&[all]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_sources_of_a_topic_go_with_its_partition() {
    let mut two = plan(2);
    let mut copy = two.sources[0].clone();
    copy.name = "copies".to_owned();
    two.sources.push(copy);
    let world = World::default();
    world.log.create(TOPIC, 2);
    world.push(1, &payloads(30, 1));
    let script = Script::nothing();
    script.assign(&[partition(1), ("unknown".to_owned(), 0)]);
    let process = world.start_as(&two, config(), &Faults::none(), &script).await;
    process.handle.seal().await.unwrap();
    let shards: Vec<String> = process.handle.status().iter().map(|status| status.shard.to_string()).collect();
    assert_eq!(shards, ["copies/1", "events/1"]);
    assert_eq!(script.topics.lock().as_slice(), [TOPIC]);
    assert_eq!(process.handle.keep_from()[&partition(1)], 30);
    // The other partition is another process's to seal.
    world.push(0, &payloads(30, 1));
    process.handle.seal().await.unwrap();
    script.revoke(&[partition(1)]).await.unwrap();
    assert!(process.handle.status().is_empty());
    assert_eq!(process.handle.membership().rebalances, 2);
    let files = world.objects.paths("bronze/");
    assert!(
        files.iter().any(|path| path.starts_with("bronze/copies/1/")) && files.iter().all(|path| path.contains("/1/"))
    );
    process.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_cannot_be_reached_is_told_and_tried_again() {
    let world = World::with(&payloads(20, 1));
    let faults = Faults::none();
    faults.full(Some("membership join"));
    // It starts without an assignment.
    let process = world.start(&plan(1), config(), &faults).await;
    let status = process.handle.membership();
    assert!(!status.joined && status.reason.unwrap().contains("is full"));
    faults.full(Some("membership next"));
    let told = || process.handle.membership().reason.is_some_and(|reason| reason.contains("follow"));
    process.until("joined", |_| process.handle.membership().joined && told()).await;
    faults.full(None);
    process.until("at work", |statuses| statuses.len() == 1).await;
    assert_eq!(process.handle.membership().reason, None);
    process.handle.seal().await.unwrap();
    assert_eq!(process.end().await[0].checkpoint, Some(20));
}
