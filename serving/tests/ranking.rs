//! Rankings kept ready against the same question asked of the stores, whatever happens to both.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::prelude::*;
use support::store::{Speed, Worker};
use support::{Event, MemoryAnalytics, PANE, World, manifest, plan, states};
use tideline_common::key::Key;
use tideline_common::manifest::Manifest;
use tideline_common::plan::Plan;
use tideline_common::ports::{Analytics, Clock, ManualClock};
use tideline_common::time::{Span, Timestamp};
use tideline_serving::boundary::Layer;
use tideline_serving::merge::{At, Direction, Reader, ReaderConfig, TopAnswer, TopRequest};
use tideline_serving::ranking::{Because, Rankings, RankingsConfig};
use tokio_util::sync::CancellationToken;

fn quick() -> RankingsConfig {
    RankingsConfig {
        refresh_interval: Duration::from_millis(5),
        max_lag: Duration::from_millis(300),
        read_timeout: Duration::from_millis(500),
        catch_up_timeout: Duration::from_millis(500),
        retry_pause: Duration::from_millis(10),
        ..RankingsConfig::default()
    }
}

/// A serving process over stores, with a reader that keeps rankings and one that does not.
struct Serving {
    speed: Speed,
    analytics: Arc<MemoryAnalytics>,
    clock: Arc<ManualClock>,
    kept: Reader,
    plain: Reader,
    rankings: Arc<Rankings>,
}

impl Serving {
    fn start(plan: Plan, speed: Speed, batch: &[Event], through: Option<Timestamp>, config: RankingsConfig) -> Self {
        let world = World::new(batch, &[], through);
        let (analytics, clock, plan) = (world.analytics, world.clock, Arc::new(plan));
        let rankings = Rankings::start(
            &plan,
            speed.log.clone(),
            speed.views.clone(),
            analytics.clone() as Arc<dyn Analytics>,
            clock.clone() as Arc<dyn Clock>,
            config,
            &CancellationToken::new(),
        );
        let bounds = ReaderConfig { layer_timeout: Duration::from_millis(300), ..ReaderConfig::default() };
        let reader = || Reader::new(plan.clone(), speed.views.clone(), analytics.clone(), clock.clone(), bounds);
        let kept = reader().with_rankings(rankings.clone());
        Self { plain: reader(), kept, speed, analytics, clock, rankings }
    }

    /// Publishes Gold with what `events` hold.
    fn publish(&self, events: &[Event], through: Timestamp, version: u64) {
        *self.analytics.states.lock() = states(events);
        let mut manifest = Manifest { version, ..manifest(Some(through)) };
        // Other files: what a run that changed something leaves.
        manifest.views.get_mut("trades").unwrap().files = vec![tideline_common::manifest::TimedFile {
            path: version.to_string(),
            rows: 1,
            min_time: Timestamp(0),
            max_time: Timestamp(0),
        }];
        *self.analytics.manifest.lock() = Some(Arc::new(manifest));
    }

    async fn until(&self, what: &str, mut is: impl AsyncFnMut(&Self) -> bool) {
        let waiting = async {
            while !is(self).await {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let met = tokio::time::timeout(Duration::from_secs(20), waiting).await.is_ok();
        assert!(met, "never: {what}; {:?}", self.rankings.status());
    }

    async fn until_ready(&self) {
        self.until("ready", async |serving| serving.rankings.status()["trades"].ready).await;
    }

    async fn until_because(&self, because: Because) {
        let is = async |serving: &Self| serving.rankings.status()["trades"].because == Some(because);
        self.until(because.name(), is).await;
    }

    /// Both answer the same, the one from memory, as of the same positions.
    async fn until_same(&self, request: &TopRequest) -> TopAnswer {
        let mut last = None;
        let is = async |serving: &Self| {
            let kept = serving.kept.top(request).await.unwrap();
            let plain = serving.plain.top(request).await.unwrap();
            let same = kept.provenance.kept
                && kept.provenance.positions == plain.provenance.positions
                // Where nothing of speed is in the answer, positions do not tell how far the copy is.
                && kept.provenance.watermarks == plain.provenance.watermarks
                && kept.provenance.manifest == plain.provenance.manifest;
            last = Some((kept, plain));
            same
        };
        self.until("the copy is at the positions of the stores", is).await;
        let (kept, plain) = last.unwrap();
        assert_eq!((kept.window, &kept.rows, &kept.previous), (plain.window, &plain.rows, &plain.previous));
        let (mut of_kept, of_plain) = (kept.provenance.clone(), plain.provenance);
        of_kept.kept = false;
        assert_eq!(of_kept, of_plain);
        kept
    }
}

fn top() -> TopRequest {
    TopRequest { view: "trades".into(), limit: Some(7), ..TopRequest::default() }
}

/// What happens, in order.
#[derive(Clone, Debug)]
enum Step {
    /// Events of a shard, and a flush.
    Events(u32, Vec<(i64, u8, i64, u32)>),
    /// The last change of a shard is appended once more.
    Again(u32),
    /// A worker that should be gone writes what it had, long ago.
    Zombie(u32),
    /// A run takes in everything and publishes it up to this pane.
    Publish(i64),
    /// Only now the copy is started, if it is not yet.
    Start,
    /// Both are asked.
    Ask(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let event = (0..14 * 60i64, 0..6u8, 0..2i64, 1..1_000u32);
    let step = prop_oneof![
        6 => (0..3u32, prop::collection::vec(event, 0..12)).prop_map(|(shard, events)| Step::Events(shard, events)),
        1 => (0..3u32).prop_map(Step::Again),
        1 => (0..3u32).prop_map(Step::Zombie),
        1 => (0..14i64).prop_map(Step::Publish),
        1 => Just(Step::Start),
        2 => (0..4usize).prop_map(Step::Ask),
    ];
    prop::collection::vec(step, 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Random changes of three shards in random orders, repeated and older ones among them, cut over one or three
    /// partitions, with the boundary anywhere and moving either way: memory and stores give the same answer.
    #[test]
    fn the_copy_answers_as_the_stores_do(steps in steps(), partitions in prop_oneof![Just(1u32), Just(3)]) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let speed = Speed::new(partitions);
            let mut workers: Vec<Worker> = (0..3).map(Worker::new).collect();
            let mut flushed = vec![Vec::new(); 3];
            let mut events: Vec<Event> = Vec::new();
            let (mut version, mut published) = (7, (Vec::new(), None));
            let mut serving: Option<Serving> = None;
            for (number, step) in steps.into_iter().chain([Step::Start, Step::Ask(0), Step::Ask(1)]).enumerate() {
                match step {
                    Step::Events(shard, new) => {
                        let worker = &mut workers[shard as usize];
                        for (secs, symbol, venue, x) in new {
                            let event = Event {
                                shard,
                                x: f64::from(x) / 8.0,
                                ..Event::new(secs, &format!("S{symbol}"), venue, 0.0, (number * 100) as i64)
                            };
                            worker.take(&event);
                            events.push(event);
                        }
                        let change = worker.change();
                        speed.flush(&change);
                        flushed[shard as usize].push(change);
                    }
                    Step::Again(shard) => {
                        if let Some(change) = flushed[shard as usize].last() {
                            speed.flush(change);
                        }
                    }
                    Step::Zombie(shard) => {
                        if let Some(change) = flushed[shard as usize].first() {
                            speed.flush(change);
                        }
                    }
                    Step::Publish(pane) => {
                        version += 1;
                        published = (events.clone(), Some((Timestamp(pane * PANE.0), version)));
                        if let Some(serving) = &serving {
                            serving.publish(&events, Timestamp(pane * PANE.0), version);
                        }
                    }
                    Step::Start => {
                        if serving.is_none() {
                            let started = Serving::start(plan(), speed.clone(), &[], None, quick());
                            if let Some((through, version)) = published.1 {
                                started.publish(&published.0, through, version);
                            }
                            serving = Some(started);
                        }
                    }
                    Step::Ask(by) => {
                        if let Some(serving) = serving.as_ref().filter(|_| !events.is_empty()) {
                            let by = ["n", "total", "close", "ratio"][by];
                            serving.until_same(&TopRequest { by: Some(by.into()), previous: true, ..top() }).await;
                        }
                    }
                }
                tokio::task::yield_now().await;
            }
        });
    }
}

/// Ten panes of two keys from each of two shards.
fn filled() -> (Speed, Vec<Worker>, Vec<Event>) {
    let speed = Speed::new(1);
    let mut workers: Vec<Worker> = (0..2).map(Worker::new).collect();
    let mut events = Vec::new();
    for at in 0..10 {
        for (shard, worker) in workers.iter_mut().enumerate() {
            for symbol in ["A", "B"] {
                let event = Event { shard: shard as u32, ..Event::new(at * 60 + 5, symbol, 1, 1.0, at) };
                worker.take(&event);
                events.push(event);
            }
            speed.flush(&worker.change());
        }
    }
    (speed, workers, events)
}

#[tokio::test]
async fn what_memory_does_not_have_is_answered_from_the_stores() {
    let (speed, _, events) = filled();
    let serving = Serving::start(plan(), speed, &events, Some(Timestamp(7 * PANE.0)), quick());
    serving.until_ready().await;
    let answer = serving.until_same(&top()).await;
    assert_eq!((answer.rows.len(), answer.window.unwrap().to), (2, Timestamp(10 * PANE.0)));
    let end = |pane: i64| At::End(Timestamp(pane * PANE.0 + 7));
    let directed = serving.until_same(&TopRequest { previous: true, ..top() }).await;
    assert!((0..2).all(|row| directed.before(row).unwrap().1 == Some(Direction::Same)), "{directed:?}");
    assert!(answer.before(0).is_none(), "it was not asked for");
    serving.until_same(&TopRequest { at: end(10), ..top() }).await;
    let others = [
        TopRequest { at: end(9), ..top() },
        TopRequest { at: end(9), previous: true, ..top() },
        TopRequest { window: Some(PANE), ..top() },
        TopRequest { window: Some(Span(8 * PANE.0)), ..top() },
        TopRequest { layer: Layer::Speed, ..top() },
        TopRequest { layer: Layer::Batch, ..top() },
        TopRequest { boundary: Some(Timestamp(3 * PANE.0 + 7)), ..top() },
    ];
    for request in others {
        let (kept, plain) = (serving.kept.top(&request).await.unwrap(), serving.plain.top(&request).await.unwrap());
        assert!(!kept.provenance.kept, "{request:?}");
        assert_eq!((kept.rows, kept.previous), (plain.rows, plain.previous), "{request:?}");
    }
    assert!(serving.kept.top(&TopRequest { by: Some("none".into()), ..top() }).await.is_err());
}

/// At a steady rate the newest window, in the midst of a minute, holds less than the one before it: a direction is fair
/// between windows that have ended.
#[tokio::test]
async fn windows_that_have_ended_are_compared_with_their_like() {
    let speed = Speed::new(1);
    let mut worker = Worker::new(0);
    let mut events = Vec::new();
    // One every ten seconds; of the last minute two.
    for n in 0..62 {
        for symbol in ["A", "B"] {
            let event = Event::new(n * 10, symbol, 1, 1.0, n);
            worker.take(&event);
            events.push(event);
        }
        speed.flush(&worker.change());
    }
    for through in [None, Some(Timestamp(8 * PANE.0))] {
        let serving = Serving::start(plan(), speed.clone(), &events, through, quick());
        serving.until_ready().await;
        let direction = |answer: &TopAnswer| {
            let directions: Vec<Option<Direction>> = (0..2).map(|row| answer.before(row).unwrap().1).collect();
            assert_eq!(directions[0], directions[1]);
            directions[0]
        };
        let running = serving.until_same(&TopRequest { previous: true, ..top() }).await;
        assert_eq!(running.window.unwrap().to, Timestamp(11 * PANE.0));
        assert_eq!(direction(&running), Some(Direction::Down));
        let request = TopRequest { at: At::Complete, previous: true, ..top() };
        let sweeps = serving.speed.views.sweeps.load(Ordering::SeqCst);
        let ended = serving.kept.top(&request).await.unwrap();
        assert_eq!(serving.speed.views.sweeps.load(Ordering::SeqCst), sweeps, "panes were read from the store");
        assert_eq!(ended.window.unwrap().to, Timestamp(10 * PANE.0));
        assert_eq!(direction(&ended), Some(Direction::Same));
        assert_eq!(ended.rows[0].values[0].as_f64(), Some(30.0));
        for by in ["n", "total", "close", "ratio"] {
            serving.until_same(&TopRequest { by: Some(by.into()), limit: Some(1), ..request.clone() }).await;
        }
        // Of one minute: the one before the newest pane, out of the stores.
        let minute = serving.kept.top(&TopRequest { window: Some(PANE), ..request.clone() }).await.unwrap();
        assert_eq!((minute.window.unwrap().to, direction(&minute)), (Timestamp(10 * PANE.0), Some(Direction::Same)));
        // A pane of the future is no reason to say that a window has ended.
        serving.clock.set(Timestamp(9 * PANE.0 + 30_000_000));
        let early = serving.kept.top(&request).await.unwrap();
        assert_eq!((early.window.unwrap().to, early.provenance.kept), (Timestamp(9 * PANE.0), false));
        assert_eq!(direction(&early), Some(Direction::Same));
    }
}

/// A record that comes late into a window that has ended changes what memory says of it.
#[tokio::test]
async fn a_window_that_has_ended_takes_in_what_comes_late() {
    let (speed, mut workers, events) = filled();
    let serving = Serving::start(plan(), speed, &events, Some(Timestamp(3 * PANE.0)), quick());
    serving.until_ready().await;
    let request = TopRequest { at: At::Complete, previous: true, ..top() };
    let before = serving.until_same(&request).await;
    for (number, pane) in [4, 8, 9].into_iter().enumerate() {
        workers[1].take(&Event { shard: 1, ..Event::new(pane * 60 + 30, "B", 1, 2.0, 99 + number as i64) });
        serving.speed.flush(&workers[1].change());
        let after = serving.until_same(&request).await;
        assert_eq!(after.window, before.window);
        // The newest pane is in none that has ended.
        assert_eq!(after.rows[0].values[0].as_f64(), Some([11.0, 12.0, 12.0][number]), "{after:?}");
        assert_eq!(serving.until_same(&TopRequest { previous: true, ..top() }).await.rows.len(), 2);
    }
}

#[tokio::test]
async fn memory_answers_without_a_read_and_while_a_store_is_down() {
    let (speed, mut workers, events) = filled();
    let serving = Serving::start(plan(), speed, &events, Some(Timestamp(7 * PANE.0)), quick());
    serving.until_ready().await;
    let before = serving.until_same(&top()).await;
    let sweeps = serving.speed.views.sweeps.load(Ordering::SeqCst);
    serving.speed.views.faults.down.store(true, Ordering::SeqCst);
    serving.analytics.faults.down.store(true, Ordering::SeqCst);
    serving.analytics.blind.store(true, Ordering::SeqCst);
    for _ in 0..100 {
        let answer = serving.kept.top(&top()).await.unwrap();
        assert!(answer.provenance.kept && answer.provenance.missing.is_empty());
        assert_eq!(answer.rows, before.rows);
    }
    assert_eq!(serving.speed.views.sweeps.load(Ordering::SeqCst), sweeps);
    // A change that comes meanwhile is in.
    workers[0].take(&Event::new(9 * 60 + 9, "B", 1, 1.0, 99));
    serving.speed.flush(&workers[0].change());
    let risen = async |serving: &Serving| serving.kept.top(&top()).await.unwrap().rows[0] != before.rows[0];
    serving.until("the change is in", risen).await;
    serving.speed.views.faults.down.store(false, Ordering::SeqCst);
    serving.analytics.faults.down.store(false, Ordering::SeqCst);
    serving.analytics.blind.store(false, Ordering::SeqCst);
    serving.until_same(&top()).await;
}

#[tokio::test]
async fn rows_that_a_replay_has_made_anew_are_read_anew() {
    let (speed, _, events) = filled();
    let serving = Serving::start(plan(), speed, &events, Some(Timestamp(7 * PANE.0)), quick());
    serving.until_ready().await;
    let before = serving.until_same(&top()).await;
    // Other rows, of which no change tells.
    serving.speed.views.rows.lock().retain(|(key, ..), _| *key == Key::of(&before.rows[0].key).0);
    assert_eq!(serving.kept.top(&top()).await.unwrap().rows, before.rows);
    serving.speed.views.generation.store(1, Ordering::SeqCst);
    let anew = async |serving: &Serving| serving.kept.top(&top()).await.unwrap().rows != before.rows;
    serving.until("the copy is of the new generation", anew).await;
    serving.until_same(&top()).await;
}

#[tokio::test]
async fn a_log_that_is_down_or_has_forgotten_is_said_and_made_good() {
    let (speed, mut workers, events) = filled();
    let serving = Serving::start(plan(), speed, &events, None, quick());
    serving.until_ready().await;
    serving.speed.log.faults.down.store(true, Ordering::SeqCst);
    serving.until_because(Because::LogDown).await;
    // Written while the log cannot be read, and gone from it before it can again.
    workers[1].take(&Event::new(9 * 60 + 9, "B", 1, 8.0, 99));
    serving.speed.flush(&workers[1].change());
    serving.speed.log.forget(Speed::TOPIC);
    let (kept, plain) = (serving.kept.top(&top()).await.unwrap(), serving.plain.top(&top()).await.unwrap());
    assert!(!kept.provenance.kept, "from the stores: {:?}", kept.provenance);
    assert_eq!(kept.rows, plain.rows);
    serving.speed.log.faults.down.store(false, Ordering::SeqCst);
    serving.until_ready().await;
    serving.until_same(&top()).await;
}

#[tokio::test]
async fn views_that_are_ahead_of_the_changes_are_noticed() {
    let (speed, mut workers, events) = filled();
    let serving = Serving::start(plan(), speed, &events, None, quick());
    serving.until_ready().await;
    // The worker dies between the views and the changes.
    workers[0].take(&Event::new(9 * 60 + 9, "A", 1, 5.0, 99));
    serving.speed.views.take(&workers[0].change());
    let noticed = async |serving: &Serving| !serving.kept.top(&top()).await.unwrap().provenance.kept;
    serving.until("it is answered from the stores", noticed).await;
    // The copy is read anew, and answers again.
    serving.until_same(&top()).await;
}

#[tokio::test]
async fn a_damaged_change_makes_the_copy_anew() {
    let (speed, mut workers, events) = filled();
    let serving = Serving::start(plan(), speed, &events, None, quick());
    serving.until_ready().await;
    workers[0].take(&Event::new(9 * 60 + 9, "A", 1, 5.0, 99));
    let change = workers[0].change();
    serving.speed.views.take(&change);
    let mut records = change.encode();
    for record in &mut records {
        record.payload = record.payload.slice(..record.payload.len() - 1);
    }
    serving.speed.log.add(Speed::TOPIC, &records);
    serving.until_same(&top()).await;
}

#[tokio::test]
async fn memory_is_bounded() {
    let (speed, _, events) = filled();
    let config = RankingsConfig { max_bytes: 1_000, ..quick() };
    let serving = Serving::start(plan(), speed, &events, None, config);
    serving.until_because(Because::TooLarge).await;
    let answer = serving.kept.top(&top()).await.unwrap();
    assert_eq!((answer.rows.len(), answer.provenance.kept), (2, false));
    assert_eq!(serving.rankings.status()["trades"].bytes, 0, "nothing is kept");
}

#[tokio::test]
async fn a_topic_that_comes_later_and_a_stop() {
    let (speed, _, events) = filled();
    speed.log.topics.lock().clear();
    let serving = Serving::start(plan(), speed, &events, None, quick());
    serving.until_because(Because::NoTopic).await;
    serving.speed.log.create(Speed::TOPIC, 2);
    serving.until_same(&top()).await;
    tokio::time::timeout(Duration::from_secs(10), serving.rankings.stop()).await.unwrap();
    assert!(!serving.kept.top(&top()).await.unwrap().provenance.kept);
}

#[tokio::test]
async fn rows_that_may_have_expired_are_left_to_the_stores() {
    let (speed, _, events) = filled();
    let mut plan = plan();
    plan.views[0].retain_speed = Some(Span::HOUR);
    let serving = Serving::start(plan, speed, &events, Some(Timestamp(7 * PANE.0)), quick());
    serving.until_ready().await;
    serving.until_same(&top()).await;
    serving.clock.set(Timestamp(10 * Span::HOUR.0));
    let answer = serving.kept.top(&top()).await.unwrap();
    assert!(!answer.provenance.kept && !answer.provenance.missing.is_empty());
}

#[tokio::test]
async fn many_keys_come_and_go() {
    let speed = Speed::new(1);
    let mut worker = Worker::new(0);
    let serving = Serving::start(plan(), speed, &[], None, quick());
    for round in 0..8 {
        for at in 0..2_500 {
            worker.take(&Event::new(round * 120, &format!("R{round} {at}"), at % 2, f64::from(at as u32), at));
        }
        serving.speed.flush(&worker.change());
        let answer = serving.until_same(&TopRequest { by: Some("total".into()), ..top() }).await;
        assert_eq!(answer.rows[0].values[1].as_f64(), Some(2_499.0));
        // From memory or, when that would take too long, from the stores.
        let ended = TopRequest { at: At::Complete, previous: true, ..top() };
        let (kept, plain) = (serving.kept.top(&ended).await.unwrap(), serving.plain.top(&ended).await.unwrap());
        assert_eq!((kept.window, kept.rows, kept.previous), (plain.window, plain.rows, plain.previous));
    }
    let status = &serving.rankings.status()["trades"];
    assert!(status.keys <= 7_500, "{status:?}");
}
