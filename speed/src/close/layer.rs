//! Closing windows as a whole: joins the group that shares the topics of changes, and follows its assignments.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tideline_common::plan::{Plan, ViewPlan};
use tideline_common::ports::{
    Clock, Handover, Log, Membership, Objects, PortResult, Rebalance, SpeedViews, TopicPartition, TopicSpec, Webhook,
};
use tideline_common::position::Partition;
use tideline_common::{alert, changes};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::begin;
use super::config::CloseConfig;
use super::consumer::Consumers;
use super::context::{Context, Ports};
use super::status::{Cell, CloseCondition, CloseStatus};
use super::task::supervise;
use crate::SpeedError;
use crate::context::persist;
use crate::layer::changes_spec;

/// What closing windows needs from the outside world.
#[derive(Clone, Debug)]
pub struct ClosePorts {
    /// Where changes come from, and closed windows go.
    pub log: Arc<dyn Log>,
    /// Which partitions of the topics of changes this process works on: another group than that of the sources.
    pub membership: Arc<dyn Membership>,
    /// Where checkpoints go.
    pub objects: Arc<dyn Objects>,
    /// What was there before the first change that is read.
    pub views: Arc<dyn SpeedViews>,
    /// Posts alerts.
    pub webhook: Arc<dyn Webhook>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Who waits for windows beside outputs and alerts: [`NoOthers`](super::consumer::NoOthers), if nobody does.
    pub others: Arc<dyn Consumers>,
}

/// Starts closing windows.
#[derive(Debug)]
pub struct CloseLayer;

/// Windows that are being closed. Dropping it drops its tasks where they stand, which loses nothing; cancelling the token
/// that it was started with and [`join`](CloseHandle::join) end it in order.
#[derive(Debug)]
pub struct CloseHandle {
    inner: Arc<Inner>,
    follower: Option<AbortOnDropHandle<()>>,
}

/// A partition at work.
#[derive(Debug)]
struct Running {
    status: Arc<Cell>,
    stop: CancellationToken,
    task: Option<AbortOnDropHandle<()>>,
}

#[derive(Debug)]
struct Inner {
    plan: Arc<Plan>,
    membership: Arc<dyn Membership>,
    ports: Ports,
    config: Arc<CloseConfig>,
    stop: CancellationToken,
    running: Mutex<BTreeMap<(String, Partition), Running>>,
}

/// The topics that are written to and read, and are Tideline's to make.
pub(super) fn topics(plan: &Plan, config: &CloseConfig) -> Vec<TopicSpec> {
    let views = plan.views.iter().filter(|view| plan.closes(&view.name));
    let mut topics: Vec<TopicSpec> = views.map(|view| changes_spec(changes::topic(&view.name))).collect();
    topics.extend(plan.output_topics());
    if !plan.alerts.is_empty() {
        topics.push(TopicSpec {
            name: alert::TOPIC.to_owned(),
            partitions: 1,
            retention: Some(config.alerts_retention),
            max_bytes: None,
        });
    }
    topics
}

impl CloseLayer {
    /// Creates the topics of outputs and alerts where they are missing, notes where closing begins, joins the group, and
    /// from then on works on what is assigned to this process. To be started before the speed layer: windows that close
    /// before it has begun are not told of. While log, lake or views are not available this waits; cancelled meanwhile, it
    /// does nothing.
    ///
    /// # Errors
    /// A value of the configuration out of its bounds, stores that refuse.
    pub async fn start(
        plan: Arc<Plan>,
        ports: ClosePorts,
        config: CloseConfig,
        cancel: CancellationToken,
    ) -> Result<CloseHandle, SpeedError> {
        config.check()?;
        let ClosePorts { log, membership, objects, views, webhook, clock, others } = ports;
        let ports = Ports { log, objects, views, webhook, clock, others };
        let config = Arc::new(config);
        let inner = Arc::new(Inner { plan, membership, ports, config, stop: cancel, running: Mutex::default() });
        let topics = inner.changes_topics();
        if topics.is_empty() {
            return Ok(CloseHandle { inner, follower: None });
        }
        tokio::select! {
            begun = inner.begin(&topics) => begun?,
            () = inner.stop.cancelled() => return Ok(CloseHandle { inner, follower: None }),
        }
        let follower = tokio::spawn(follow(Arc::clone(&inner), topics));
        Ok(CloseHandle { inner, follower: Some(AbortOnDropHandle::new(follower)) })
    }
}

impl Inner {
    /// The topics of changes of the views whose windows somebody waits for.
    fn changes_topics(&self) -> Vec<String> {
        let views = self.plan.views.iter().filter(|view| self.plan.closes(&view.name));
        views.map(|view| changes::topic(&view.name)).collect()
    }

    fn view_of(&self, topic: &str) -> Option<Arc<ViewPlan>> {
        let mut views = self.plan.views.iter();
        views.find(|view| changes::topic(&view.name) == topic).map(|view| Arc::new(view.clone()))
    }

    async fn persist<T, F: Future<Output = PortResult<T>>>(
        &self,
        what: &'static str,
        call: impl FnMut() -> F,
    ) -> PortResult<T> {
        let pause = |attempt| self.config.pause(attempt, self.ports.clock.now().0 as u64);
        persist(what, call, pause, |_| {}).await
    }

    fn context(&self, view: Arc<ViewPlan>, partition: Partition) -> Context {
        let status = CloseStatus { view: view.name.clone(), partition, ..CloseStatus::default() };
        Context {
            plan: Arc::clone(&self.plan),
            view,
            partition,
            ports: self.ports.clone(),
            config: Arc::clone(&self.config),
            status: Arc::new(Cell::new(status)),
        }
    }

    /// Notes where closing begins, for every partition: whoever works on it later goes on from there.
    async fn begin(&self, changes: &[String]) -> Result<(), SpeedError> {
        for spec in topics(&self.plan, &self.config) {
            self.persist("create topic", || self.ports.log.ensure_topic(&spec)).await?;
        }
        for topic in changes {
            let Some(view) = self.view_of(topic) else { continue };
            let info = self.persist("look up topic", || self.ports.log.topic(topic)).await?;
            for partition in info.partitions.into_keys() {
                begin::begin(&self.context(Arc::clone(&view), partition)).await?;
            }
        }
        Ok(())
    }

    fn assign(&self, partitions: &[TopicPartition]) {
        let mut running = self.running.lock();
        if self.stop.is_cancelled() {
            return;
        }
        for (topic, partition) in partitions {
            let at_work = running.get(&(topic.clone(), *partition)).and_then(|running| running.task.as_ref());
            if at_work.is_some_and(|task| !task.is_finished()) {
                continue;
            }
            let Some(view) = self.view_of(topic) else { continue };
            let context = Arc::new(self.context(view, *partition));
            let (status, stop) = (Arc::clone(&context.status), self.stop.child_token());
            let task = AbortOnDropHandle::new(tokio::spawn(supervise(context, stop.clone())));
            running.insert((topic.clone(), *partition), Running { status, stop, task: Some(task) });
        }
    }

    /// Ends the work on partitions in order, and drops the handover then.
    fn revoke(&self, partitions: &[TopicPartition], handover: Handover) {
        let mut tasks = Vec::new();
        let mut running = self.running.lock();
        for partition in partitions {
            if let Some(Running { stop, task: Some(task), .. }) = running.remove(partition) {
                stop.cancel();
                tasks.push(task);
            }
        }
        let timeout = self.config.handover_timeout.to_std();
        tokio::spawn(async move {
            let ended = async {
                for task in tasks {
                    ended(task).await;
                }
            };
            if tokio::time::timeout(timeout, ended).await.is_err() {
                tracing::warn!("the handover took too long: dropped where it stands; nothing is lost");
            }
            drop(handover);
        });
    }

    fn apply(&self, change: Rebalance) {
        match change {
            Rebalance::Assigned(partitions) => self.assign(&partitions),
            Rebalance::Revoked { partitions, handover } => self.revoke(&partitions, handover),
            // Dropping the handle of a task drops the task.
            Rebalance::Lost(partitions) => {
                let mut running = self.running.lock();
                for partition in &partitions {
                    if let Some(lost) = running.remove(partition) {
                        lost.status.begin(CloseCondition::Stopped, None);
                    }
                }
            }
        }
    }
}

async fn ended(task: AbortOnDropHandle<()>) {
    if let Err(error) = task.await
        && !error.is_cancelled()
    {
        tracing::error!(%error, "the task that closes windows ended by itself");
    }
}

/// Joins the group, and does what it says until stopped.
async fn follow(inner: Arc<Inner>, topics: Vec<String>) {
    let work = async {
        inner.persist("join the group", || inner.membership.join(&topics)).await?;
        loop {
            let change = inner.persist("follow the group", || inner.membership.next()).await?;
            inner.apply(change);
        }
    };
    tokio::select! {
        () = inner.stop.cancelled() => {}
        outcome = work => {
            let outcome: PortResult<()> = outcome;
            if let Err(error) = outcome {
                tracing::error!(%error, "the group that closes windows refuses this process: what is assigned stays as it is");
            }
        }
    }
}

impl CloseHandle {
    /// The status of every partition of this process, by view.
    pub fn status(&self) -> Vec<CloseStatus> {
        self.inner.running.lock().values().map(|running| running.status.get()).collect()
    }

    /// Looks up where the topics of changes end, for [`CloseStatus::lag`].
    ///
    /// # Errors
    /// A log that does not answer.
    pub async fn look(&self) -> PortResult<()> {
        let topics: BTreeSet<String> = self.inner.changes_topics().into_iter().collect();
        for topic in topics {
            let info = self.inner.ports.log.topic(&topic).await?;
            let running = self.inner.running.lock();
            for (partition, (_, next)) in info.partitions {
                if let Some(running) = running.get(&(topic.clone(), partition)) {
                    running.status.update(|status| status.end = status.end.max(next));
                }
            }
        }
        Ok(())
    }

    /// Waits until everything has stopped, and leaves the group: after the token was cancelled.
    pub async fn join(&self) {
        if self.follower.is_none() {
            return;
        }
        loop {
            let task = self.inner.running.lock().values_mut().find_map(|running| running.task.take());
            let Some(task) = task else { break };
            let abort = task.abort_handle();
            let timeout = self.inner.config.handover_timeout.to_std();
            if tokio::time::timeout(timeout, ended(task)).await.is_err() {
                tracing::warn!("the end took too long: dropped where it stands; nothing is lost");
                abort.abort();
            }
        }
        if let Err(error) = self.inner.membership.leave().await {
            tracing::warn!(%error, "could not leave the group, which will miss this process");
        }
    }
}

impl Drop for CloseHandle {
    fn drop(&mut self) {
        for running in self.inner.running.lock().values_mut() {
            running.task = None;
        }
    }
}
