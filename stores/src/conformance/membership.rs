//! What every membership must do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use tideline_common::ports::{Membership, PortError, Rebalance, TopicPartition};
use tokio_util::task::AbortOnDropHandle;

/// How long the group is given to share the partitions out: longer than any timeout of it.
const SOON: Duration = Duration::from_mins(1);

/// How long nothing happens where nothing may happen.
const QUIET: Duration = Duration::from_secs(2);

/// A log and its group, both new.
#[async_trait]
pub trait GroupFixture: Send {
    /// Makes a topic, or gives it more partitions; answers its name, which may be decorated.
    async fn topic(&mut self, name: &str, partitions: u32) -> String;

    /// A new process of the group, which has not joined.
    async fn member(&mut self) -> Arc<dyn Membership>;
}

/// Runs the suite; `fixture` makes a new group each time. `shares`: whether several processes share the work (a
/// membership that is made for one process is not tested for it).
pub async fn suite<F: GroupFixture>(mut fixture: impl FnMut() -> F, shares: bool) {
    one_member_gets_everything(fixture()).await;
    added_partitions_are_assigned(fixture()).await;
    calls_out_of_order_are_refused(fixture()).await;
    if shares {
        members_share(fixture()).await;
        a_handover_is_waited_for(fixture()).await;
    }
}

/// Who works on what, over all members; each is told apart by a number.
#[derive(Default)]
struct Work {
    owners: BTreeMap<TopicPartition, usize>,
    wrong: Vec<String>,
}

/// A member that puts partitions down as soon as it is asked to.
struct Worker {
    number: usize,
    member: Arc<dyn Membership>,
    work: Arc<Mutex<Work>>,
    _task: AbortOnDropHandle<()>,
}

impl Worker {
    async fn start(number: usize, member: Arc<dyn Membership>, topics: &[String], work: &Arc<Mutex<Work>>) -> Self {
        member.join(topics).await.unwrap();
        let task = tokio::spawn(follow(number, Arc::clone(&member), Arc::clone(work)));
        Self { number, member, work: Arc::clone(work), _task: AbortOnDropHandle::new(task) }
    }

    async fn leave(self) {
        // The work ends first.
        self.work.lock().owners.retain(|_, owner| *owner != self.number);
        self.member.leave().await.unwrap();
    }
}

async fn follow(number: usize, member: Arc<dyn Membership>, work: Arc<Mutex<Work>>) {
    while let Ok(change) = member.next().await {
        let mut work = work.lock();
        match change {
            Rebalance::Assigned(partitions) => {
                for partition in partitions {
                    if let Some(other) = work.owners.insert(partition.clone(), number) {
                        work.wrong.push(format!("{partition:?} is assigned to {number} while {other} works on it"));
                    }
                }
            }
            Rebalance::Revoked { partitions, handover } => {
                for partition in partitions {
                    if work.owners.remove(&partition) != Some(number) {
                        work.wrong.push(format!("{partition:?} is revoked from {number}, which did not have it"));
                    }
                }
                drop(handover);
            }
            Rebalance::Lost(partitions) => work.wrong.push(format!("{number} lost {partitions:?} while it was alive")),
        }
    }
}

/// Waits until the work is as `wanted`.
async fn until(work: &Mutex<Work>, what: &str, wanted: impl Fn(&BTreeMap<TopicPartition, usize>) -> bool) {
    let deadline = Instant::now() + SOON;
    loop {
        {
            let work = work.lock();
            assert!(work.wrong.is_empty(), "{what}: {:?}", work.wrong);
            if wanted(&work.owners) {
                return;
            }
            assert!(Instant::now() < deadline, "{what}: {:?}", work.owners);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Partitions per member.
fn shares(owners: &BTreeMap<TopicPartition, usize>) -> BTreeMap<usize, usize> {
    let mut shares = BTreeMap::new();
    for owner in owners.values() {
        *shares.entry(*owner).or_default() += 1;
    }
    shares
}

async fn one_member_gets_everything<F: GroupFixture>(mut fixture: F) {
    let topics = [fixture.topic("a", 3).await, fixture.topic("b", 1).await];
    fixture.topic("other", 2).await;
    let member = fixture.member().await;
    member.join(&topics).await.unwrap();
    let wanted: BTreeSet<TopicPartition> =
        (0..3).map(|partition| (topics[0].clone(), partition)).chain([(topics[1].clone(), 0)]).collect();
    let (mut assigned, deadline) = (BTreeSet::new(), Instant::now() + SOON);
    while assigned != wanted {
        assert!(Instant::now() < deadline, "{assigned:?}");
        // Given up again and again: a change must not be lost with a call that was.
        match tokio::time::timeout(Duration::from_millis(5), member.next()).await {
            Err(_) => {}
            Ok(Ok(Rebalance::Assigned(partitions))) => {
                for partition in partitions {
                    assert!(wanted.contains(&partition), "{partition:?} was not asked for");
                    assert!(assigned.insert(partition), "each once");
                }
            }
            Ok(change) => panic!("only assignments are expected: {change:?}"),
        }
    }
    let more = tokio::time::timeout(QUIET, member.next()).await;
    assert!(more.is_err(), "nothing else is assigned: {more:?}");
    member.leave().await.unwrap();
}

async fn added_partitions_are_assigned<F: GroupFixture>(mut fixture: F) {
    let topics = [fixture.topic("t", 1).await];
    let work = Arc::default();
    let worker = Worker::start(1, fixture.member().await, &topics, &work).await;
    until(&work, "one partition", |owners| owners.len() == 1).await;
    fixture.topic("t", 4).await;
    until(&work, "the added partitions", |owners| owners.len() == 4).await;
    worker.leave().await;
}

async fn calls_out_of_order_are_refused<F: GroupFixture>(mut fixture: F) {
    let topics = [fixture.topic("t", 1).await];
    let member = fixture.member().await;
    let early = member.next().await.unwrap_err();
    assert!(matches!(early, PortError::Invalid { .. }), "{early:?}");
    member.join(&topics).await.unwrap();
    let twice = member.join(&topics).await.unwrap_err();
    assert!(matches!(twice, PortError::Invalid { .. }), "{twice:?}");
    assert!(matches!(member.next().await.unwrap(), Rebalance::Assigned(_)));
    let waits = tokio::spawn({
        let member = Arc::clone(&member);
        async move { member.next().await }
    });
    tokio::task::yield_now().await;
    member.leave().await.unwrap();
    let late = tokio::time::timeout(SOON, waits).await.expect("leaving ends a wait").unwrap().unwrap_err();
    assert!(matches!(late, PortError::Invalid { .. }), "{late:?}");
    member.leave().await.unwrap();
}

async fn members_share<F: GroupFixture>(mut fixture: F) {
    let topics = [fixture.topic("t", 6).await];
    let work = Arc::default();
    let first = Worker::start(1, fixture.member().await, &topics, &work).await;
    until(&work, "one member has all", |owners| shares(owners) == BTreeMap::from([(1, 6)])).await;
    let second = Worker::start(2, fixture.member().await, &topics, &work).await;
    let third = Worker::start(3, fixture.member().await, &topics, &work).await;
    let even = BTreeMap::from([(1, 2), (2, 2), (3, 2)]);
    until(&work, "three members share", |owners| shares(owners) == even).await;
    second.leave().await;
    until(&work, "two members share", |owners| shares(owners) == BTreeMap::from([(1, 3), (3, 3)])).await;
    tokio::time::sleep(QUIET).await;
    until(&work, "and it stays so", |owners| shares(owners) == BTreeMap::from([(1, 3), (3, 3)])).await;
    first.leave().await;
    until(&work, "the last one has all", |owners| shares(owners) == BTreeMap::from([(3, 6)])).await;
    third.leave().await;
}

async fn a_handover_is_waited_for<F: GroupFixture>(mut fixture: F) {
    let topics = [fixture.topic("t", 2).await];
    let slow = fixture.member().await;
    slow.join(&topics).await.unwrap();
    let mut held = 0;
    while held < 2 {
        match slow.next().await.unwrap() {
            Rebalance::Assigned(partitions) => held += partitions.len(),
            other => panic!("{other:?}"),
        }
    }
    let work: Arc<Mutex<Work>> = Arc::default();
    let quick = Worker::start(2, fixture.member().await, &topics, &work).await;
    let revoked = tokio::time::timeout(SOON, slow.next()).await.expect("a partition is revoked").unwrap();
    let Rebalance::Revoked { partitions, handover } = revoked else { panic!("{revoked:?}") };
    assert_eq!(partitions.len(), 1, "only what moves");
    tokio::time::sleep(QUIET).await;
    assert!(work.lock().owners.is_empty(), "nobody gets it before the handover");
    drop(handover);
    let follows = tokio::spawn(follow(1, Arc::clone(&slow), Arc::clone(&work)));
    until(&work, "it has been handed over", |owners| owners.keys().eq(&partitions)).await;
    slow.leave().await.unwrap();
    follows.await.unwrap();
    until(&work, "the rest too", |owners| shares(owners) == BTreeMap::from([(2, 2)])).await;
    quick.leave().await;
}
