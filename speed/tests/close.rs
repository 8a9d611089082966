//! Closing windows: what comes out is what a reader of the views would compute, whatever happens on the way.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use support::closing::{Closing, Receiver, config, plan, shard};
use support::faults::{Act, Faults, When};
use support::membership::Script;
use support::{Process, TOPIC, World, payloads};
use tideline_common::alert::{self, AlertEvent};
use tideline_common::changes;
use tideline_common::plan::Plan;
use tideline_common::time::Span;
use tideline_speed::SpeedConfig;
use tideline_speed::close::{CLOSE, CloseCondition, CloseConfig};

/// A log of so many partitions with records in each, in order of time by and large.
fn world(partitions: u32, count: u64) -> World {
    let world = World::default();
    world.log.create(TOPIC, partitions);
    for partition in 0..partitions {
        world.push(partition, &records(partition, count));
    }
    world
}

/// Ids are per partition: duplicates of one would be in one.
fn records(partition: u32, count: u64) -> Vec<Bytes> {
    let rename = |payload: Bytes| {
        let text = String::from_utf8_lossy(&payload).replace("\"id\":\"r", &format!("\"id\":\"p{partition}-"));
        if payload.ends_with(b"\xff") { payload } else { Bytes::from(text) }
    };
    payloads(count, u64::from(partition) + 3).into_iter().map(rename).collect()
}

struct Both {
    speed: Process,
    close: Closing,
}

async fn start(world: &World, plan: &Plan, receiver: &Arc<Receiver>, faults: &Arc<Faults>) -> Both {
    let close = world.close(plan, config(), receiver, faults).await;
    let speed = world.start(plan, support::config(), faults).await;
    Both { speed, close }
}

impl Both {
    async fn settle(&self, world: &World, plan: &Plan, receiver: &Receiver) {
        self.speed.handle.seal().await.unwrap();
        self.close.until_closed(world, plan, receiver).await;
    }

    async fn end(self) {
        self.speed.end().await;
        self.close.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_close_with_the_rows_of_the_views() {
    let (world, plan, receiver) = (world(2, 200), plan(2), Arc::new(Receiver::default()));
    let both = start(&world, &plan, &receiver, &Faults::none()).await;
    both.settle(&world, &plan, &receiver).await;
    let expected = world.expected(&plan);
    assert!(expected.records["closed"].len() > 100, "{}", expected.records["closed"].len());
    assert!(expected.records["wide"].len() > 20 && expected.alerts.len() > 20);
    let status = both.close.handle.status();
    assert!(status.iter().all(|status| status.condition == CloseCondition::Running && status.late == 0), "{status:?}");
    both.end().await;
    // Once each: nothing was decided twice.
    let all = world.log.records("closed").len();
    assert_eq!(all, expected.records["closed"].len());
    // Started again, it has nothing to say.
    let both = start(&world, &plan, &receiver, &Faults::none()).await;
    both.settle(&world, &plan, &receiver).await;
    both.end().await;
    assert_eq!(world.log.records("closed").len(), all);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_begins_with_the_windows_that_are_open() {
    let plan = plan(1);
    let quiet = Plan { outputs: Vec::new(), alerts: Vec::new(), ..plan.clone() };
    let (world, all) = (World::with(&[]), records(0, 240));
    world.push(0, &all[..120]);
    world.run(&quiet, support::config()).await;
    // So far nobody has waited.
    let before = world.expected(&plan);
    let receiver = Arc::new(Receiver::default());
    let both = start(&world, &plan, &receiver, &Faults::none()).await;
    world.push(0, &all[120..]);
    both.speed.handle.seal().await.unwrap();
    let wanted: usize = world.expected(&plan).records["closed"].difference(&before.records["closed"]).count();
    for _ in 0..4_000 {
        if world.log.records("closed").len() >= wanted {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (expected, found) = (world.expected(&plan), world.closed(&plan, &receiver));
    let missing: Vec<_> = expected.records["closed"].difference(&found.records["closed"]).collect();
    assert_eq!(missing.len(), before.records["closed"].len(), "those that had closed, and no other");
    assert!(missing.iter().all(|row| before.records["closed"].contains(*row)));
    assert!(found.records["closed"].is_subset(&expected.records["closed"]), "whole windows only");
    both.end().await;
}

/// Every call of every port that closing makes, killed before and after it, and failed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_kill_at_any_call_changes_nothing() {
    let plan = plan(1);
    let all = records(0, 60);
    let operations = [
        "log append",
        "log read",
        "log topic",
        "log ensure_topic",
        "objects put_if_absent",
        "objects get",
        "objects list",
        "objects delete",
        "views progress",
        "views shards_between",
        "membership next",
        "webhook post",
    ];
    let mut runs = 0;
    for operation in operations {
        for (act, when) in [(Act::Kill, When::Before), (Act::Kill, When::After), (Act::Fail, When::After)] {
            for call in [0, 1, 2, 3, 5, 8, 13, 21, 34] {
                let (world, receiver) = (World::with(&all), Arc::new(Receiver::default()));
                let faults = Faults::at(operation, call, when, act);
                let run = async {
                    let both = start(&world, &plan, &receiver, &faults).await;
                    both.settle(&world, &plan, &receiver).await;
                    both.end().await;
                };
                let killed = tokio::select! {
                    () = run => false,
                    () = faults.died() => true,
                };
                if killed {
                    world.views.crash();
                    let both = start(&world, &plan, &receiver, &Faults::none()).await;
                    both.settle(&world, &plan, &receiver).await;
                    both.end().await;
                }
                runs += 1;
                if faults.calls(operation) <= call {
                    // It was never called as often.
                    break;
                }
            }
        }
    }
    assert!(runs > 100, "{runs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_at_work_on_one_partition_one_decides() {
    let plan = plan(2);
    let (world, receiver) = (world(2, 150), Arc::new(Receiver::default()));
    let first = world.close(&plan, config(), &receiver, &Faults::none()).await;
    // It does not know that it is not alone.
    let second = world.close(&plan, config(), &receiver, &Faults::none()).await;
    let speed = world.start(&plan, support::config(), &Faults::none()).await;
    speed.handle.seal().await.unwrap();
    first.until_closed(&world, &plan, &receiver).await;
    speed.end().await;
    first.end().await;
    second.end().await;
    world.closed(&plan, &receiver);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_has_slept_decides_nothing() {
    let plan = plan(1);
    let (world, receiver) = (World::with(&records(0, 40)), Arc::new(Receiver::default()));
    let sleeper = Faults::none();
    let both = start(&world, &plan, &receiver, &sleeper).await;
    both.settle(&world, &plan, &receiver).await;
    // It falls asleep before it puts its next checkpoint.
    sleeper.next("objects put_if_absent", When::Before, Act::Pause);
    world.push(0, &records(0, 200)[40..]);
    sleeper.paused().await;
    let others = start(&world, &plan, &receiver, &Faults::none()).await;
    others.settle(&world, &plan, &receiver).await;
    let many = world.objects.paths(CLOSE).len();
    sleeper.resume();
    both.settle(&world, &plan, &receiver).await;
    both.end().await;
    others.settle(&world, &plan, &receiver).await;
    others.end().await;
    assert!(world.objects.paths(CLOSE).len() <= many + 1, "{:?}", world.objects.paths(CLOSE));
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_of_the_changes_go_from_one_process_to_another() {
    let plan = plan(2);
    let world = world(2, 80);
    // Somebody has made it with more partitions than Tideline does.
    let topic = changes::topic("sliding");
    world.log.create(&topic, 3);
    let receiver = Arc::new(Receiver::default());
    let (one, other) = (Script::nothing(), Script::nothing());
    let partition = |partitions: &[u32]| partitions.iter().map(|at| (topic.clone(), *at)).collect::<Vec<_>>();
    let first = world.close_as(&plan, config(), &receiver, &one, &Faults::none()).await;
    let second = world.close_as(&plan, config(), &receiver, &other, &Faults::none()).await;
    one.assign(&partition(&[0, 1, 2]));
    let speed = world.start(&plan, support::config(), &Faults::none()).await;
    speed.handle.seal().await.unwrap();
    first.until_closed(&world, &plan, &receiver).await;
    one.revoke(&partition(&[1, 2])).await.unwrap();
    other.assign(&partition(&[1, 2]));
    for at in 0..2 {
        world.push(at, &records(at, 200)[80..]);
    }
    speed.handle.seal().await.unwrap();
    first.until_closed(&world, &plan, &receiver).await;
    assert_eq!((first.handle.status().len(), second.handle.status().len()), (1, 2));
    speed.end().await;
    first.end().await;
    second.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_have_expired_are_in_the_views() {
    let plan = plan(1);
    let (world, all) = (World::with(&records(0, 60)), records(0, 300));
    let receiver = Arc::new(Receiver::default());
    let both = start(&world, &plan, &receiver, &Faults::none()).await;
    both.settle(&world, &plan, &receiver).await;
    both.close.end().await;
    // Nobody closes windows for a while, and the topic of changes forgets.
    world.push(0, &all[60..]);
    both.speed.handle.seal().await.unwrap();
    let topic = changes::topic("sliding");
    let end = world.log.payloads(&topic, 0).len() as u64;
    world.log.expire_before(&topic, 0, end);
    let close = world.close(&plan, config(), &receiver, &Faults::none()).await;
    // Something must be heard of the shard.
    both.speed.end().await;
    let speed = world.start(&plan, support::config(), &Faults::none()).await;
    close.until_closed(&world, &plan, &receiver).await;
    speed.end().await;
    close.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_checkpoint_is_passed_over() {
    let mut plan = plan(1);
    // What was decided in it is decided again, and a running window is not as it was then.
    plan.alerts.retain(|alert| alert.name != "soon");
    let (world, receiver) = (World::with(&records(0, 100)), Arc::new(Receiver::default()));
    let both = start(&world, &plan, &receiver, &Faults::none()).await;
    both.settle(&world, &plan, &receiver).await;
    both.end().await;
    let newest = world.objects.paths(CLOSE).pop().unwrap();
    let mut bytes = world.objects.read(&newest).to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    world.objects.write(&newest, bytes.into());
    world.push(0, &records(0, 200)[100..]);
    let both = start(&world, &plan, &receiver, &Faults::none()).await;
    both.settle(&world, &plan, &receiver).await;
    both.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_are_posted_until_they_are_taken_and_no_more() {
    let plan = plan(1);
    let (world, receiver) = (World::with(&records(0, 120)), Arc::new(Receiver::default()));
    for status in [500, 503, 429, 400] {
        receiver.answer(status);
    }
    let both = start(&world, &plan, &receiver, &Faults::none()).await;
    both.settle(&world, &plan, &receiver).await;
    let posts = receiver.posts.lock().clone();
    let ids: BTreeSet<&String> = posts.iter().map(|post| &post.id).collect();
    // Three were tried again, one was refused for good.
    assert_eq!(posts.len(), ids.len() + 3);
    assert!(posts.iter().any(|post| post.secret.as_deref() == Some("hush") && post.url.ends_with("/much")));
    assert!(posts.iter().any(|post| post.secret.is_none() && post.url.ends_with("/soon")));
    both.end().await;
    // What was posted is not posted again after an end in order.
    let both = start(&world, &plan, &receiver, &Faults::none()).await;
    both.settle(&world, &plan, &receiver).await;
    both.end().await;
    assert_eq!(receiver.posts.lock().len(), posts.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_holds_up_nothing_and_is_given_up() {
    let plan = plan(1);
    let (world, receiver) = (World::with(&records(0, 120)), Arc::new(Receiver::default()));
    let faults = Faults::none();
    faults.full(Some("webhook"));
    let close_config = CloseConfig { webhook_attempts: 3, ..config() };
    let close = world.close(&plan, close_config, &receiver, &faults).await;
    let speed = world.start(&plan, support::config(), &Faults::none()).await;
    speed.handle.seal().await.unwrap();
    let expected = world.expected(&plan);
    for _ in 0..4_000 {
        let found = world.closed(&plan, &receiver);
        let posts: usize = close.handle.status().iter().map(|status| status.posts).sum();
        if found.records == expected.records && posts == 0 && expected.alerts.is_subset(&found.alerts) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(world.closed(&plan, &receiver).records, expected.records);
    assert!(faults.calls("webhook post") >= 3 && receiver.posts.lock().is_empty());
    assert!(close.handle.status().iter().all(|status| status.posts == 0), "{:?}", close.handle.status());
    speed.end().await;
    close.end().await;
}

/// Ids of the alerts of a name that were told, each once.
fn told(world: &World, name: &str) -> BTreeSet<String> {
    let records = world.log.records(alert::TOPIC);
    let events = records.iter().map(|record| AlertEvent::from_json(&record.payload).unwrap());
    let ids: Vec<String> = events.filter(|event| event.alert == name).map(|event| event.id).collect();
    let once: BTreeSet<String> = ids.iter().cloned().collect();
    assert_eq!(once.len(), ids.len(), "an alert of {name} was told twice");
    once
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_holds_up_no_other_alert() {
    let plan = plan(1);
    let (world, receiver) = (World::with(&records(0, 200)), Arc::new(Receiver::default()));
    *receiver.gone.lock() = Some("/soon");
    // What is not taken waits for longer than this test, and one request at a time is all that an alert has.
    let (pause, at_once) = (Span::HOUR, 1);
    let close_config =
        CloseConfig { webhook_retry_initial: pause, webhook_retry_max: pause, max_posts_at_once: at_once, ..config() };
    let close = world.close(&plan, close_config, &receiver, &Faults::none()).await;
    let speed = world.start(&plan, support::config(), &Faults::none()).await;
    speed.handle.seal().await.unwrap();
    let posted = |end: &str| -> Vec<String> {
        let posts = receiver.posts.lock();
        posts.iter().filter(|post| post.url.ends_with(end)).map(|post| post.id.clone()).collect()
    };
    let expected = world.expected(&plan);
    for _ in 0..4_000 {
        close.handle.look().await.unwrap();
        let status = close.handle.status();
        let (much, soon) = (told(&world, "much").len(), told(&world, "soon").len());
        let all_read = !status.is_empty() && status.iter().all(|status| status.lag() == 0);
        let waiting: usize = status.iter().map(|status| status.posts).sum();
        let closed = world.closed(&plan, &receiver).records == expected.records;
        if all_read && closed && (posted("/much").len(), posted("/soon").len(), waiting) == (much, soon, soon) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (much, soon) = (told(&world, "much"), told(&world, "soon"));
    assert!(much.len() > 5 && soon.len() > 10, "{} {}", much.len(), soon.len());
    assert_eq!(posted("/much").into_iter().collect::<BTreeSet<_>>(), much, "the one whose receiver is there");
    // Of the other, each was tried, although none that was tried before it was taken.
    let tried = posted("/soon");
    assert_eq!((tried.len(), tried.into_iter().collect::<BTreeSet<_>>()), (soon.len(), soon.clone()));
    let waiting: usize = close.handle.status().iter().map(|status| status.posts).sum();
    assert_eq!(waiting, soon.len(), "they wait");
    speed.end().await;
    close.end().await;
    // A restart begins with those that wait.
    *receiver.gone.lock() = None;
    let both = start(&world, &plan, &receiver, &Faults::none()).await;
    both.settle(&world, &plan, &receiver).await;
    both.end().await;
    assert_eq!(posted("/soon").len(), 2 * soon.len());
    assert_eq!(posted("/much").len(), much.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_of_the_view_goes_on_where_this_one_was() {
    let first = plan(1);
    let (world, receiver) = (World::with(&records(0, 100)), Arc::new(Receiver::default()));
    let both = start(&world, &first, &receiver, &Faults::none()).await;
    both.settle(&world, &first, &receiver).await;
    both.end().await;
    let told = world.log.records("closed").len();
    let mut second = first.clone();
    second.views[0].version = "another".to_owned();
    let both = start(&world, &second, &receiver, &Faults::none()).await;
    world.push(0, &records(0, 200)[100..]);
    both.speed.handle.seal().await.unwrap();
    let wanted = world.expected(&second).records["closed"].len();
    for _ in 0..4_000 {
        if world.closed(&second, &receiver).records["closed"].len() >= wanted {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(world.closed(&second, &receiver).records["closed"], world.expected(&second).records["closed"]);
    assert!(told > 0 && world.log.records("closed").len() == wanted, "nothing was told twice");
    both.end().await;
}

/// The same plan with another version of its view.
fn other_version(plan: &Plan) -> Plan {
    let mut other = plan.clone();
    "another".clone_into(&mut other.views[0].version);
    other
}

/// Waits until all windows that must have closed by the views of `plan` are told. Then none of them was told twice, and no alert.
async fn until_told_once(world: &World, plan: &Plan, receiver: &Receiver) {
    for _ in 0..4_000 {
        if world.closed(plan, receiver).records == world.expected(plan).records {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (found, expected) = (world.closed(plan, receiver), world.expected(plan));
    assert_eq!(found.records, expected.records);
    for (topic, rows) in &expected.records {
        assert_eq!(world.log.records(topic).len(), rows.len(), "{topic}: something was told twice");
    }
    for alert in ["much", "more", "soon"] {
        told(world, alert);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_comes_back_goes_on_after_the_one_before_it() {
    // The other version is at work for so short that windows are open which this one had begun, or for longer.
    for meanwhile in [104, 160] {
        let first = plan(1);
        let second = other_version(&first);
        let (world, all) = (World::with(&records(0, 100)), records(0, 260));
        let receiver = Arc::new(Receiver::default());
        let both = start(&world, &first, &receiver, &Faults::none()).await;
        both.settle(&world, &first, &receiver).await;
        both.end().await;
        let before = world.log.records("closed").len();
        let both = start(&world, &second, &receiver, &Faults::none()).await;
        world.push(0, &all[100..meanwhile]);
        both.speed.handle.seal().await.unwrap();
        until_told_once(&world, &second, &receiver).await;
        both.end().await;
        let after = world.log.records("closed").len();
        assert!(before > 0 && (meanwhile == 104 || after > before), "{before} {after}");
        // The definition is taken back.
        let both = start(&world, &first, &receiver, &Faults::none()).await;
        world.push(0, &all[meanwhile..]);
        both.speed.handle.seal().await.unwrap();
        until_told_once(&world, &first, &receiver).await;
        assert!(world.log.records("closed").len() > after);
        both.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_has_begun_goes_on_after_what_the_one_before_it_did_since() {
    let first = plan(1);
    let second = other_version(&first);
    let (world, all) = (World::with(&records(0, 100)), records(0, 260));
    let receiver = Arc::new(Receiver::default());
    let both = start(&world, &first, &receiver, &Faults::none()).await;
    both.settle(&world, &first, &receiver).await;
    both.end().await;
    // A process with the new definition has started, and has no partition yet; one with the old one works on.
    let script = Script::nothing();
    let next = world.close_as(&second, config(), &receiver, &script, &Faults::none()).await;
    let both = start(&world, &first, &receiver, &Faults::none()).await;
    world.push(0, &all[100..180]);
    both.settle(&world, &first, &receiver).await;
    until_told_once(&world, &first, &receiver).await;
    both.end().await;
    let topic = changes::topic("sliding");
    script.assign(&[(topic, 0)]);
    let speed = world.start(&second, support::config(), &Faults::none()).await;
    world.push(0, &all[180..]);
    speed.handle.seal().await.unwrap();
    until_told_once(&world, &second, &receiver).await;
    speed.end().await;
    next.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_versions_at_work_on_one_partition_one_decides() {
    let first = plan(1);
    let second = other_version(&first);
    let (world, all) = (World::with(&records(0, 100)), records(0, 200));
    let receiver = Arc::new(Receiver::default());
    let both = start(&world, &first, &receiver, &Faults::none()).await;
    both.settle(&world, &first, &receiver).await;
    // The new one takes the next number while the old one is at work.
    let next = world.close_as(&second, config(), &receiver, &Script::nothing(), &Faults::none()).await;
    world.push(0, &all[100..]);
    both.settle(&world, &first, &receiver).await;
    let status = both.close.handle.status();
    assert!(status.iter().any(|status| status.restarts > 0), "it goes on from what the other has put: {status:?}");
    both.end().await;
    next.end().await;
    let newest = world.objects.paths(CLOSE).pop().unwrap();
    assert!(!newest.ends_with("-another.ckpt"), "{newest}");
    let mut numbers: Vec<String> = Vec::new();
    for path in world.objects.paths(CLOSE) {
        let name = path.rsplit_once('/').unwrap().1.to_owned();
        numbers.push(name.split_once('-').unwrap().0.to_owned());
    }
    let count = numbers.len();
    numbers.dedup();
    assert_eq!(numbers.len(), count, "a number is one version's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_of_the_state_is_told() {
    let plan = plan(1);
    let (world, receiver) = (World::with(&records(0, 120)), Arc::new(Receiver::default()));
    let close_config = CloseConfig { max_state_bytes: 1, ..config() };
    let close = world.close(&plan, close_config, &receiver, &Faults::none()).await;
    let slow = SpeedConfig { flush_interval: Span::from_millis(10), ..support::config() };
    let speed = world.start(&plan, slow, &Faults::none()).await;
    for _ in 0..4_000 {
        let status = close.handle.status();
        if status.iter().any(|s| s.reason.as_deref().is_some_and(|reason| reason.contains("max_state_bytes"))) {
            speed.end().await;
            close.end().await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("never told: {:?} of {}", close.handle.status(), shard(0));
}
