//! The shards of this process: who is at work, and who is ending because the partition goes to another process.
//!
//! A partition can come back while its old task is still ending. Every shard has a *gate*, held by everything that
//! works on it until the last of it is gone: there are never two tasks for one shard in one process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tideline_common::ports::{Handover, TopicPartition};
use tideline_common::position::{Offset, Partition, Shard};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::context::{Context, Reads};
use crate::program::Program;
use crate::shard::{Controls, Durable, supervise};
use crate::status::StatusCell;
use crate::{ShardCondition, ShardStatus, SpeedConfig, SpeedPorts};

/// Held while a shard is worked on.
type Gate = Arc<tokio::sync::Mutex<()>>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Roster {
    pub(crate) ports: SpeedPorts,
    pub(crate) config: Arc<SpeedConfig>,
    pub(crate) programs: Vec<Arc<Program>>,
    /// Ends everything, in order.
    pub(crate) stop: CancellationToken,
    shards: Mutex<Shards>,
}

#[derive(Debug, Default)]
struct Shards {
    working: BTreeMap<Shard, Running>,
    ending: Vec<Ending>,
    gates: BTreeMap<Shard, Gate>,
}

/// A shard at work.
#[derive(Debug)]
struct Running {
    status: Arc<StatusCell>,
    seal: watch::Sender<Offset>,
    durable: watch::Receiver<Durable>,
    stop: CancellationToken,
    task: Option<AbortOnDropHandle<()>>,
}

/// Shards that were revoked together.
#[derive(Debug)]
struct Ending {
    shards: Vec<(Shard, Arc<StatusCell>, AbortHandle)>,
    /// Whether all of them have ended: known before anyone is told that they have.
    ended: Arc<AtomicBool>,
    task: AbortOnDropHandle<()>,
}

/// What a seal waits for in one shard.
#[derive(Debug)]
pub(crate) struct Sealing {
    pub(crate) shard: Shard,
    target: Offset,
    durable: watch::Receiver<Durable>,
    status: Arc<StatusCell>,
}

impl Sealing {
    /// Waits until everything before the target is durable (`Ok`), or the shard has ended before that (`Err`: why).
    pub(crate) async fn wait(&mut self) -> Result<(), String> {
        let target = self.target;
        let reached = self.durable.wait_for(|durable| durable.position >= target || durable.ended).await;
        if reached.is_ok_and(|durable| durable.position >= target) {
            return Ok(());
        }
        Err(self.status.get().reason.unwrap_or_else(|| "it has been stopped".to_owned()))
    }
}

impl Roster {
    pub(crate) fn new(
        ports: SpeedPorts,
        config: SpeedConfig,
        programs: Vec<Arc<Program>>,
        stop: CancellationToken,
    ) -> Self {
        Self { ports, config: Arc::new(config), programs, stop, shards: Mutex::default() }
    }

    /// Topics of the sources, each once.
    pub(crate) fn topics(&self) -> Vec<String> {
        let topics: BTreeSet<&String> = self.programs.iter().map(|program| &program.source.topic).collect();
        topics.into_iter().cloned().collect()
    }

    /// The shards behind partitions of topics: one per source of the topic.
    fn behind(&self, partitions: &[TopicPartition]) -> Vec<(Arc<Program>, Shard)> {
        let of = |(topic, partition): &TopicPartition| {
            let sources = self.programs.iter().filter(|program| program.source.topic == *topic);
            let partition = *partition;
            sources
                .map(|program| (Arc::clone(program), Shard::new(&program.source.name, partition)))
                .collect::<Vec<_>>()
        };
        partitions.iter().flat_map(of).collect()
    }

    /// Starts the shards behind `partitions`; those at work go on.
    pub(crate) fn assign(&self, partitions: &[TopicPartition]) {
        let mut shards = self.shards.lock();
        if self.stop.is_cancelled() {
            return;
        }
        for (program, shard) in self.behind(partitions) {
            let at_work = shards.working.get(&shard).is_some_and(|running| !running.durable.borrow().ended);
            if !at_work {
                let gate = Arc::clone(shards.gates.entry(shard.clone()).or_default());
                shards.working.insert(shard.clone(), self.spawn(&program, shard, gate));
            }
        }
    }

    fn spawn(&self, program: &Arc<Program>, shard: Shard, gate: Gate) -> Running {
        let status = Arc::new(StatusCell::new(shard.clone()));
        let (seal, wanted) = watch::channel(0);
        let (done, durable) = watch::channel(Durable::default());
        let stop = self.stop.child_token();
        let controls = Controls { stop: stop.clone(), layer: self.stop.clone(), seal: wanted, durable: done };
        let (ports, config) = (self.ports.clone(), Arc::clone(&self.config));
        let (program, told) = (Arc::clone(program), Arc::clone(&status));
        let work = async move {
            let lease = tokio::select! {
                biased;
                () = controls.stop.cancelled() => None,
                lease = gate.lock_owned() => Some(lease),
            };
            let reads = Reads::Log;
            let context = Context { shard, reads, program, ports, config, status: told, _lease: lease };
            supervise(Arc::new(context), controls).await;
        };
        let task = AbortOnDropHandle::new(tokio::spawn(work));
        Running { status, seal, durable, stop, task: Some(task) }
    }

    /// Ends the shards behind `partitions` in order, and drops the handover then; at the latest after
    /// [`SpeedConfig::handover_timeout`], with what has not ended dropped where it stands.
    pub(crate) fn revoke(&self, partitions: &[TopicPartition], handover: Handover) {
        let mut shards = self.shards.lock();
        let (mut told, mut tasks) = (Vec::new(), Vec::new());
        for (_, shard) in self.behind(partitions) {
            if let Some(Running { status, stop, task: Some(task), .. }) = shards.working.remove(&shard) {
                stop.cancel();
                told.push((shard, status, task.abort_handle()));
                tasks.push(task);
            }
        }
        let gone: Vec<Shard> = told.iter().map(|(shard, ..)| shard.clone()).collect();
        let over = Arc::new(AtomicBool::new(false));
        let tell = Arc::clone(&over);
        let ended = async move {
            for task in tasks {
                ended(task).await;
            }
            gone.iter().for_each(forget);
            tell.store(true, Ordering::Release);
            drop(handover);
        };
        shards.ending.retain(|ending| !ending.task.is_finished());
        let task = AbortOnDropHandle::new(tokio::spawn(ended));
        shards.ending.push(Ending { shards: told, ended: over, task });
    }

    /// Drops the shards behind `partitions` where they stand.
    pub(crate) fn lose(&self, partitions: &[TopicPartition]) {
        let mut shards = self.shards.lock();
        for (_, shard) in self.behind(partitions) {
            // Dropping the handle of its task drops the task.
            shards.working.remove(&shard);
            forget(&shard);
            for (ending, _, abort) in shards.ending.iter().flat_map(|ending| &ending.shards) {
                if *ending == shard {
                    abort.abort();
                }
            }
        }
    }

    /// Takes note of how far the partitions of a source's topic go.
    pub(crate) fn observe(&self, program: &Program, partitions: &BTreeMap<Partition, (Offset, Offset)>) {
        let shards = self.shards.lock();
        for (partition, (_, next)) in partitions {
            if let Some(running) = shards.working.get(&Shard::new(&program.source.name, *partition)) {
                running.status.update(|status| status.log_end = status.log_end.max(*next));
                let status = running.status.get();
                metrics::gauge!("tideline_speed_lag_records", &labels(&status.shard)).set(status.lag() as f64);
            }
        }
    }

    /// Tells the metrics how the shards at work are.
    pub(crate) fn report(&self) {
        for (shard, running) in &self.shards.lock().working {
            let (status, labels) = (running.status.get(), labels(shard));
            let stalled = matches!(status.condition, ShardCondition::Paused | ShardCondition::Failed);
            metrics::gauge!("tideline_speed_stalled", &labels).set(f64::from(stalled));
            if let Some(at) = status.checkpoint_at {
                metrics::gauge!("tideline_speed_checkpoint_seconds", &labels).set(at.0 as f64 / 1e6);
            }
        }
    }

    /// Asks a shard, if it is at work here, to make everything before `target` durable soon.
    pub(crate) fn seal(&self, shard: &Shard, target: Offset) -> Option<Sealing> {
        let shards = self.shards.lock();
        let running = shards.working.get(shard)?;
        running.seal.send_modify(|wanted| *wanted = (*wanted).max(target));
        let (durable, status) = (running.durable.clone(), Arc::clone(&running.status));
        Some(Sealing { shard: shard.clone(), target, durable, status })
    }

    /// Whether the task that `sealing` waits for is still the one at work on the shard.
    pub(crate) fn is_current(&self, sealing: &Sealing) -> bool {
        let shards = self.shards.lock();
        shards.working.get(&sealing.shard).is_some_and(|running| Arc::ptr_eq(&running.status, &sealing.status))
    }

    /// Shards that a seal still waits for, with the reason.
    pub(crate) fn waiting(&self) -> Vec<String> {
        let shards = self.shards.lock();
        let late =
            shards.working.iter().filter(|(_, running)| running.durable.borrow().position < *running.seal.borrow());
        late.map(|(shard, running)| {
            let status = running.status.get();
            let reason = status.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            format!("{shard} is at {} of {}{reason}", running.durable.borrow().position, *running.seal.borrow())
        })
        .collect()
    }

    /// The status of every shard, sorted; one that is ending is among them until it has.
    pub(crate) fn status(&self) -> Vec<ShardStatus> {
        let shards = self.shards.lock();
        let mut all: BTreeMap<Shard, ShardStatus> = BTreeMap::new();
        for ending in shards.ending.iter().filter(|ending| !ending.ended.load(Ordering::Acquire)) {
            all.extend(ending.shards.iter().map(|(shard, status, _)| (shard.clone(), status.get())));
        }
        all.extend(shards.working.iter().map(|(shard, running)| (shard.clone(), running.status.get())));
        all.into_values().collect()
    }

    /// Waits until all shards have ended: after the layer was told to stop.
    pub(crate) async fn join(&self) {
        loop {
            let task = {
                let mut shards = self.shards.lock();
                let working = shards.working.values_mut().find_map(|running| running.task.take());
                working.or_else(|| shards.ending.pop().map(|ending| ending.task))
            };
            let Some(task) = task else { return };
            ended(task).await;
        }
    }

    /// Drops all shards where they stand.
    pub(crate) fn drop_all(&self) {
        let mut shards = self.shards.lock();
        shards.ending.clear();
        for running in shards.working.values_mut() {
            running.task = None;
        }
    }
}

fn labels(shard: &Shard) -> [(&'static str, String); 2] {
    [("source", shard.source.clone()), ("partition", shard.partition.to_string())]
}

/// Takes back what the metrics say of a shard that is not this process's any more: it would be said for ever, beside
/// what the process says that has it now.
fn forget(shard: &Shard) {
    let labels = labels(shard);
    metrics::gauge!("tideline_speed_lag_records", &labels).set(0.0);
    metrics::gauge!("tideline_speed_state_bytes", &labels).set(0.0);
    metrics::gauge!("tideline_speed_stalled", &labels).set(0.0);
}

async fn ended(task: AbortOnDropHandle<()>) {
    if let Err(error) = task.await
        && !error.is_cancelled()
    {
        tracing::error!(%error, "a shard's task ended by itself");
    }
}
