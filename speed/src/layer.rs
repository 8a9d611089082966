//! The speed layer as a whole: joins the group, follows its assignments, and speaks for the shards of this process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tideline_common::plan::Plan;
use tideline_common::ports::{
    Clock, Log, Membership, Objects, PortResult, Rebalance, SpeedViews, TopicPartition, TopicSpec,
};
use tideline_common::position::{Offset, Partition, Shard};
use tideline_common::time::{Span, Timestamp};
use tideline_common::watermark::{Watermark, combine};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::context::{compute, persist};
use crate::program::Program;
use crate::roster::Roster;
use crate::{ShardStatus, SpeedConfig, SpeedError};

/// How long [`SpeedLayer::start`] waits for the first assignment before it goes on without one. A group of one answers
/// at once, so that a seal right after the start has something to seal; one of several may take its time.
const FIRST_ASSIGNMENT: Duration = Duration::from_secs(2);
/// How long a topic of changes keeps its records, when it is made here: readers that are further behind begin anew.
const CHANGES_RETENTION: Span = Span::HOUR;
/// How many bytes of them, about: they are a copy of what the views hold, and must not fill the log.
const CHANGES_BYTES: u64 = 1 << 30;
/// How long leaving the group may take. Who does not leave is found missing.
const LEAVE: Duration = Duration::from_secs(5);

/// What the speed layer needs from the outside world.
#[derive(Clone, Debug)]
pub struct SpeedPorts {
    /// Where records come from.
    pub log: Arc<dyn Log>,
    /// Which partitions of it this process works on.
    pub membership: Arc<dyn Membership>,
    /// Where Bronze, dead letters and checkpoints go.
    pub objects: Arc<dyn Objects>,
    /// Where panes and newest rows go.
    pub views: Arc<dyn SpeedViews>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

/// Event-time progress of a view over all shards behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ViewWatermark {
    /// The view.
    pub view: String,
    /// The watermark: the least of the shards that are not idle. `None` before the first record.
    pub watermark: Option<Timestamp>,
}

/// The place of this process in the group that shares the partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MembershipStatus {
    /// Whether it has joined.
    pub joined: bool,
    /// Changes of its assignment so far.
    pub rebalances: u64,
    /// Why the group cannot be reached now; what is at work goes on.
    pub reason: Option<String>,
}

/// Starts the speed layer.
#[derive(Debug)]
pub struct SpeedLayer;

/// A running speed layer. Dropping it drops its tasks where they stand, which loses nothing; cancelling the token
/// that it was started with and [`join`](SpeedHandle::join) end it in order.
///
/// When several processes share the partitions, this speaks for the shards of its own process only.
#[derive(Debug)]
pub struct SpeedHandle {
    inner: Arc<Inner>,
    monitor: AbortOnDropHandle<()>,
    follower: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Inner {
    plan: Arc<Plan>,
    roster: Roster,
    membership: Mutex<MembershipStatus>,
}

impl SpeedLayer {
    /// Creates the topics of the plan's sources where they are missing, joins the group, and from then on works on
    /// the partitions that are assigned to this process. While the log is not available this waits, trying again.
    ///
    /// # Errors
    /// A value of the configuration out of its bounds, an expression of the plan that cannot be run, a topic
    /// that cannot be made; [`SpeedError::Stopped`] when cancelled before all had started.
    pub async fn start(
        plan: Arc<Plan>,
        ports: SpeedPorts,
        config: SpeedConfig,
        cancel: CancellationToken,
    ) -> Result<SpeedHandle, SpeedError> {
        config.check()?;
        let mut programs = Vec::new();
        for source in plan.sources.clone() {
            let compiled = Arc::clone(&plan);
            programs.push(Arc::new(compute(move || Program::new(&compiled, &source)).await??));
        }
        let roster = Roster::new(ports, config, programs, cancel);
        let inner = Arc::new(Inner { plan, roster, membership: Mutex::default() });
        for spec in inner.topics() {
            tokio::select! {
                made = inner.persist("create topic", || inner.roster.ports.log.ensure_topic(&spec)) => made?,
                () = inner.roster.stop.cancelled() => return Err(stopped(&spec.name)),
            }
        }
        let (told, assigned) = oneshot::channel();
        let follower = AbortOnDropHandle::new(tokio::spawn(follow(Arc::clone(&inner), told)));
        tokio::select! {
            // Late, or never: it goes on without.
            _ = tokio::time::timeout(FIRST_ASSIGNMENT, assigned) => {}
            () = inner.roster.stop.cancelled() => {}
        }
        let monitor = AbortOnDropHandle::new(tokio::spawn(monitor(Arc::clone(&inner))));
        Ok(SpeedHandle { inner, monitor, follower })
    }
}

/// What a topic of changes is, when it is made here.
pub(crate) fn changes_spec(topic: String) -> TopicSpec {
    TopicSpec { name: topic, partitions: 1, retention: Some(CHANGES_RETENTION), max_bytes: Some(CHANGES_BYTES) }
}

impl Inner {
    /// The topics that the layer needs.
    fn topics(&self) -> Vec<TopicSpec> {
        let sources = self.roster.programs.iter().map(|program| &program.source);
        let sources = sources.map(|source| TopicSpec {
            name: source.topic.clone(),
            partitions: source.partitions,
            retention: source.retention,
            max_bytes: None,
        });
        let changes: BTreeSet<&String> =
            self.roster.programs.iter().flat_map(|p| &p.views).filter_map(|view| view.changes.as_ref()).collect();
        sources
            .chain(self.plan.output_topics())
            .chain(changes.into_iter().map(|topic| changes_spec(topic.clone())))
            .collect()
    }

    /// As [`persist`], told in the status of the membership.
    async fn persist<T, F: Future<Output = PortResult<T>>>(
        &self,
        what: &'static str,
        call: impl FnMut() -> F,
    ) -> PortResult<T> {
        let told = |failure: Option<String>| self.membership.lock().reason = failure;
        let pause = |attempt| self.roster.config.pause(attempt, self.roster.ports.clock.now().0 as u64);
        persist(what, call, pause, told).await
    }

    /// Looks up ends of topics.
    async fn look(&self) -> PortResult<()> {
        for program in &self.roster.programs {
            let info = self.roster.ports.log.topic(&program.source.topic).await?;
            self.roster.observe(program, &info.partitions);
        }
        Ok(())
    }

    fn apply(&self, change: Rebalance) {
        let text = |partitions: &[TopicPartition]| {
            partitions.iter().map(|(topic, partition)| format!("{topic}/{partition}")).collect::<Vec<_>>().join(" ")
        };
        self.membership.lock().rebalances += 1;
        let kind = match change {
            Rebalance::Assigned(partitions) => {
                tracing::info!(partitions = text(&partitions), "partitions assigned");
                self.roster.assign(&partitions);
                "assigned"
            }
            Rebalance::Revoked { partitions, handover } => {
                tracing::info!(partitions = text(&partitions), "partitions revoked, ending in order");
                self.roster.revoke(&partitions, handover);
                "revoked"
            }
            Rebalance::Lost(partitions) => {
                tracing::warn!(partitions = text(&partitions), "partitions lost, dropped where they stand");
                self.roster.lose(&partitions);
                "lost"
            }
        };
        metrics::counter!("tideline_speed_rebalances_total", "kind" => kind).increment(1);
    }
}

fn stopped(source: &str) -> SpeedError {
    SpeedError::Stopped { shard: Shard::new(source, 0), reason: "the speed layer is being stopped".to_owned() }
}

/// Joins the group, and does what it says until the layer is stopped.
async fn follow(inner: Arc<Inner>, told: oneshot::Sender<()>) {
    let (ports, stop) = (&inner.roster.ports, &inner.roster.stop);
    let topics = inner.roster.topics();
    let mut told = Some(told);
    let work = async {
        inner.persist("join the group", || ports.membership.join(&topics)).await?;
        inner.membership.lock().joined = true;
        loop {
            let change = inner.persist("follow the group", || ports.membership.next()).await?;
            inner.apply(change);
            if let Some(told) = told.take() {
                // Who has not waited for it does not need it.
                let _ = told.send(());
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        outcome = work => {
            let outcome: PortResult<()> = outcome;
            if let Err(error) = outcome {
                tracing::error!(%error, "the group refuses this process: what is assigned stays as it is");
                inner.membership.lock().reason = Some(error.to_string());
            }
        }
    }
}

/// Looks up ends of topics, and tells the metrics how the shards are, again and again.
async fn monitor(inner: Arc<Inner>) {
    loop {
        // Also while the log does not answer.
        inner.roster.report();
        if let Err(error) = inner.look().await {
            tracing::warn!(%error, "ends of topics could not be looked up");
        }
        tokio::select! {
            () = inner.roster.stop.cancelled() => return,
            () = tokio::time::sleep(inner.roster.config.monitor_interval.to_std()) => {}
        }
    }
}

impl SpeedHandle {
    /// Waits until everything that the log held when this was called is visible in the views and is in Bronze, as far
    /// as this process works on it. What is assigned to other processes, or is given away meanwhile, is theirs to make
    /// durable: where several share the partitions this does not speak for all.
    ///
    /// # Errors
    /// [`SpeedError::Stopped`] for a shard that does not go on; [`SpeedError::SealTimeout`] after
    /// [`SpeedConfig::seal_timeout`], with what each shard is waiting for; what the log answers.
    pub async fn seal(&self) -> Result<(), SpeedError> {
        let timeout = self.inner.roster.config.seal_timeout;
        match tokio::time::timeout(timeout.to_std(), self.sealed()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(SpeedError::SealTimeout { timeout, waiting: self.inner.roster.waiting() }),
        }
    }

    async fn sealed(&self) -> Result<(), SpeedError> {
        let roster = &self.inner.roster;
        let mut targets = Vec::new();
        for program in &roster.programs {
            let look = || roster.ports.log.topic(&program.source.topic);
            let info = self.inner.persist("look up topic", look).await?;
            roster.observe(program, &info.partitions);
            for (partition, (_, next)) in &info.partitions {
                let shard = Shard::new(&program.source.name, *partition);
                // All are asked before one is waited for.
                roster.seal(&shard, *next);
                targets.push((shard, *next));
            }
        }
        if roster.stop.is_cancelled() {
            return Err(stopped(self.inner.plan.sources.first().map_or("", |source| &source.name)));
        }
        for (shard, target) in targets {
            while let Some(mut sealing) = roster.seal(&shard, target) {
                match sealing.wait().await {
                    Ok(()) => break,
                    // One that was given away and came back is waited for again.
                    Err(_) if !roster.is_current(&sealing) => {}
                    Err(reason) => return Err(SpeedError::Stopped { shard: sealing.shard, reason }),
                }
            }
        }
        Ok(())
    }

    /// The status of every shard of this process, sorted.
    pub fn status(&self) -> Vec<ShardStatus> {
        self.inner.roster.status()
    }

    /// The place of this process in the group that shares the partitions.
    pub fn membership(&self) -> MembershipStatus {
        self.inner.membership.lock().clone()
    }

    /// Event-time progress of every view over the shards of this process, in the plan's order. Idle shards do not hold
    /// a view back.
    pub fn watermarks(&self) -> Vec<ViewWatermark> {
        let now = self.inner.roster.ports.clock.now();
        let statuses = self.status();
        let of = |view: &tideline_common::plan::ViewPlan| {
            // Each source has a lateness and a patience of its own: both are applied here, and no more below.
            let marks = statuses.iter().filter(|status| view.sources.contains(&status.shard.source)).map(|status| {
                let source = self.inner.plan.source(&status.shard.source);
                let patience = source.map_or(Span::ZERO, |source| source.idle_after);
                Watermark {
                    highest: status.watermark,
                    last_appended: status.progress.last_appended.map(|at| at.plus(patience)),
                }
            });
            combine(marks, Span::ZERO, Span::ZERO, now)
        };
        self.inner
            .plan
            .views
            .iter()
            .map(|view| ViewWatermark { view: view.name.clone(), watermark: of(view) })
            .collect()
    }

    /// From which offset on each partition of the log is still needed by this process: what is not in Bronze yet. To be
    /// handed to [`Log::expire`].
    pub fn keep_from(&self) -> BTreeMap<(String, Partition), Offset> {
        let mut keep = BTreeMap::new();
        for status in self.status() {
            let Some(source) = self.inner.plan.source(&status.shard.source) else {
                continue;
            };
            let key = (source.topic.clone(), status.shard.partition);
            keep.entry(key).and_modify(|at: &mut Offset| *at = (*at).min(status.bronze)).or_insert(status.bronze);
        }
        keep
    }

    /// Waits until all shards have stopped, and leaves the group: after the token was cancelled. A shard that has failed
    /// has stopped.
    pub async fn join(&self) {
        self.inner.roster.join().await;
        match tokio::time::timeout(LEAVE, self.inner.roster.ports.membership.leave()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "could not leave the group, which will miss this process"),
            Err(_) => tracing::warn!(timeout = ?LEAVE, "leaving the group took too long, it will miss this process"),
        }
    }
}

impl Drop for SpeedHandle {
    fn drop(&mut self) {
        self.monitor.abort();
        self.follower.abort();
        self.inner.roster.drop_all();
    }
}
