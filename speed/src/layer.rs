//! The speed layer as a whole: starts a task per shard, and speaks for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use tideline_common::plan::Plan;
use tideline_common::ports::{Clock, Log, Objects, PortResult, SpeedViews, TopicSpec};
use tideline_common::position::{Offset, Partition, Shard};
use tideline_common::time::{Span, Timestamp};
use tideline_common::watermark::{Watermark, combine};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::context::{Context, compute};
use crate::program::Program;
use crate::shard::{Controls, Durable, supervise};
use crate::status::StatusCell;
use crate::{ShardStatus, SpeedConfig, SpeedError};

/// What the speed layer needs from the outside world.
#[derive(Clone, Debug)]
pub struct SpeedPorts {
    /// Where records come from.
    pub log: Arc<dyn Log>,
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

/// Starts the speed layer.
#[derive(Debug)]
pub struct SpeedLayer;

/// A running speed layer. Dropping it drops its tasks where they stand, which loses nothing; cancelling the token
/// that it was started with and [`join`](SpeedHandle::join) end it in order.
#[derive(Debug)]
pub struct SpeedHandle {
    inner: Arc<Inner>,
    monitor: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Inner {
    plan: Arc<Plan>,
    ports: SpeedPorts,
    config: Arc<SpeedConfig>,
    programs: Vec<Arc<Program>>,
    stop: CancellationToken,
    shards: Mutex<BTreeMap<Shard, Running>>,
}

#[derive(Debug)]
struct Running {
    status: Arc<StatusCell>,
    seal: watch::Sender<Offset>,
    durable: watch::Receiver<Durable>,
    task: Option<AbortOnDropHandle<()>>,
}

impl SpeedLayer {
    /// Creates the topics of the plan's sources where they are missing, and starts a task for every partition.
    /// While the log is not available this waits, trying again.
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
        let inner = Arc::new(Inner {
            plan,
            ports,
            config: Arc::new(config),
            programs,
            stop: cancel,
            shards: Mutex::new(BTreeMap::new()),
        });
        for program in &inner.programs {
            let source = &program.source;
            let spec =
                TopicSpec { name: source.topic.clone(), partitions: source.partitions, retention: source.retention };
            let context = inner.context(program, Shard::new(&source.name, 0));
            let partitions = async {
                context.retry("create topic", || inner.ports.log.ensure_topic(&spec)).await?;
                context.retry("look up topic", || inner.ports.log.topic(&spec.name)).await
            };
            let info = tokio::select! {
                info = partitions => info?,
                () = inner.stop.cancelled() => return Err(stopped(&source.name)),
            };
            inner.observe(program, &info.partitions);
        }
        let monitor = AbortOnDropHandle::new(tokio::spawn(monitor(Arc::clone(&inner))));
        Ok(SpeedHandle { inner, monitor })
    }
}

impl Inner {
    fn context(&self, program: &Arc<Program>, shard: Shard) -> Arc<Context> {
        Arc::new(Context {
            status: Arc::new(StatusCell::new(shard.clone())),
            shard,
            program: Arc::clone(program),
            ports: self.ports.clone(),
            config: Arc::clone(&self.config),
        })
    }

    /// Takes note of how far the partitions of a source's topic go; starts the shards that are new.
    fn observe(&self, program: &Arc<Program>, partitions: &BTreeMap<Partition, (Offset, Offset)>) {
        let mut shards = self.shards.lock();
        for (partition, (_, next)) in partitions {
            let shard = Shard::new(&program.source.name, *partition);
            if !shards.contains_key(&shard) && !self.stop.is_cancelled() {
                shards.insert(shard.clone(), self.spawn(program, shard.clone()));
            }
            if let Some(running) = shards.get(&shard) {
                running.status.update(|status| status.log_end = status.log_end.max(*next));
                let status = running.status.get();
                let labels = [("source", shard.source.clone()), ("partition", partition.to_string())];
                metrics::gauge!("tideline_speed_lag_records", &labels).set(status.lag() as f64);
            }
        }
    }

    fn spawn(&self, program: &Arc<Program>, shard: Shard) -> Running {
        let context = self.context(program, shard);
        let (seal, wanted) = watch::channel(0);
        let (done, durable) = watch::channel(Durable::default());
        let status = Arc::clone(&context.status);
        let controls = Controls { stop: self.stop.clone(), seal: wanted, durable: done };
        let task = AbortOnDropHandle::new(tokio::spawn(supervise(context, controls)));
        Running { status, seal, durable, task: Some(task) }
    }

    /// Looks up ends of topics.
    async fn look(&self) -> PortResult<()> {
        for program in &self.programs {
            let info = self.ports.log.topic(&program.source.topic).await?;
            self.observe(program, &info.partitions);
        }
        Ok(())
    }
}

fn stopped(source: &str) -> SpeedError {
    SpeedError::Stopped { shard: Shard::new(source, 0), reason: "the speed layer is being stopped".to_owned() }
}

/// Looks up ends of topics and new partitions, again and again.
async fn monitor(inner: Arc<Inner>) {
    loop {
        tokio::select! {
            () = inner.stop.cancelled() => return,
            () = tokio::time::sleep(inner.config.monitor_interval.to_std()) => {}
        }
        if let Err(error) = inner.look().await {
            tracing::warn!(%error, "ends of topics could not be looked up");
        }
    }
}

impl SpeedHandle {
    /// Waits until everything that the log held when this was called is visible in the views and is in Bronze.
    ///
    /// # Errors
    /// [`SpeedError::Stopped`] for a shard that does not go on; [`SpeedError::SealTimeout`] after
    /// [`SpeedConfig::seal_timeout`], with what each shard is waiting for; what the log answers.
    pub async fn seal(&self) -> Result<(), SpeedError> {
        let timeout = self.inner.config.seal_timeout;
        match tokio::time::timeout(timeout.to_std(), self.sealed()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(SpeedError::SealTimeout { timeout, waiting: self.waiting() }),
        }
    }

    async fn sealed(&self) -> Result<(), SpeedError> {
        let mut waits = Vec::new();
        for program in &self.inner.programs {
            let context = self.inner.context(program, Shard::new(&program.source.name, 0));
            let info = context.retry("look up topic", || self.inner.ports.log.topic(&program.source.topic)).await?;
            self.inner.observe(program, &info.partitions);
            let shards = self.inner.shards.lock();
            for (partition, (_, next)) in &info.partitions {
                let shard = Shard::new(&program.source.name, *partition);
                let running = shards.get(&shard).ok_or_else(|| stopped(&shard.source))?;
                running.seal.send_modify(|target| *target = (*target).max(*next));
                waits.push((shard, *next, running.durable.clone(), Arc::clone(&running.status)));
            }
        }
        for (shard, next, mut durable, status) in waits {
            let reached = durable.wait_for(|durable| durable.position >= next || durable.ended).await;
            if !reached.is_ok_and(|durable| durable.position >= next) {
                let reason = status.get().reason.unwrap_or_else(|| "it has been stopped".to_owned());
                return Err(SpeedError::Stopped { shard, reason });
            }
        }
        Ok(())
    }

    /// Shards that a seal still waits for.
    fn waiting(&self) -> Vec<String> {
        let shards = self.inner.shards.lock();
        let late = shards.iter().filter(|(_, running)| running.durable.borrow().position < *running.seal.borrow());
        late.map(|(shard, running)| {
            let status = running.status.get();
            let reason = status.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            format!("{shard} is at {} of {}{reason}", running.durable.borrow().position, *running.seal.borrow())
        })
        .collect()
    }

    /// The status of every shard, sorted.
    pub fn status(&self) -> Vec<ShardStatus> {
        self.inner.shards.lock().values().map(|running| running.status.get()).collect()
    }

    /// Event-time progress of every view, in the plan's order. Idle shards do not hold a view back.
    pub fn watermarks(&self) -> Vec<ViewWatermark> {
        let now = self.inner.ports.clock.now();
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

    /// From which offset on each partition of the log is still needed: what is not in Bronze yet. To be handed to
    /// [`Log::expire`].
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

    /// Waits until all shards have stopped: after the token was cancelled. A shard that has failed has stopped.
    pub async fn join(&self) {
        loop {
            let task = self.inner.shards.lock().values_mut().find_map(|running| running.task.take());
            let Some(task) = task else { return };
            if let Err(error) = task.await {
                tracing::error!(%error, "a shard's task ended by itself");
            }
        }
    }
}

impl Drop for SpeedHandle {
    fn drop(&mut self) {
        self.monitor.abort();
        for running in self.inner.shards.lock().values_mut() {
            running.task = None;
        }
    }
}
