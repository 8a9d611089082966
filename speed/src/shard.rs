//! The task of one shard: read, compute, flush, commit; and what happens when something fails.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tideline_common::position::{Offset, Partition};
use tideline_common::time::Timestamp;
use tideline_common::watermark::Watermark;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::SpeedError;
use crate::bronze::Buffer;
use crate::changes::{self, Changes};
use crate::checkpoint;
use crate::commit::{self, Checkpoint, Checkpointed, Committed, Waits};
use crate::context::{Context, Reads, compute};
use crate::flush::{Flushed, Flushing, Written};
use crate::outputs::Outputs;
use crate::reader::{self, Input};
use crate::recover::{Recovered, recover};
use crate::state::ShardState;
use crate::status::ShardCondition;

/// How far a shard's work is in the views and in Bronze.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Durable {
    /// Everything before this offset.
    pub(crate) position: Offset,
    /// Whether it will not get any further.
    pub(crate) ended: bool,
}

/// What a shard listens and talks to.
#[derive(Debug)]
pub(crate) struct Controls {
    /// Ends it in order: the layer stops, or the partition goes to another process.
    pub(crate) stop: CancellationToken,
    /// Ends the whole layer, and with it `stop`.
    pub(crate) layer: CancellationToken,
    /// Everything before this offset is wanted in the views and in Bronze soon.
    pub(crate) seal: watch::Receiver<Offset>,
    pub(crate) durable: watch::Sender<Durable>,
}

/// Runs a shard until it is stopped: starts it again after what may pass, reports what does not.
pub(crate) async fn supervise(context: Arc<Context>, mut controls: Controls) {
    let mut attempt = 0;
    let stop = controls.stop.clone();
    let layer = controls.layer.clone();
    loop {
        context.status.begin(ShardCondition::Recovering, None);
        let began = Instant::now();
        let overdue = async {
            stop.cancelled().await;
            let config = &context.config;
            let (what, timeout) = if layer.is_cancelled() {
                ("shutdown", config.shutdown_timeout)
            } else {
                ("handover", config.handover_timeout)
            };
            tokio::time::sleep(timeout.to_std()).await;
            what
        };
        let outcome = tokio::select! {
            outcome = run(&context, &mut controls) => outcome,
            what = overdue => {
                tracing::warn!(
                    shard = %context.shard,
                    "the {what} took too long: dropped where it stands; there is more to replay, and nothing lost"
                );
                metrics::counter!("tideline_speed_dropped_total", "source" => context.shard.source.clone(), "what" => what)
                    .increment(1);
                context.status.begin(ShardCondition::Stopped, Some(format!("the {what} took too long")));
                break;
            }
        };
        match outcome {
            Ok(()) => {
                context.status.begin(ShardCondition::Stopped, None);
                break;
            }
            Err(error) if error.is_retryable() && !stop.is_cancelled() => {
                if began.elapsed() > 2 * context.config.retry_max.to_std() {
                    attempt = 0;
                }
                let pause = context.pause(attempt);
                attempt = attempt.saturating_add(1);
                tracing::warn!(shard = %context.shard, %error, ?pause, "starts again");
                metrics::counter!("tideline_speed_restarts_total", &context.labels()).increment(1);
                context.status.update(|status| status.restarts += 1);
                context.status.pause("run", Some(error.to_string()));
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(pause) => {}
                }
            }
            Err(error) => {
                tracing::error!(shard = %context.shard, %error, "failed; other shards go on");
                metrics::counter!("tideline_speed_failed_total", &context.labels()).increment(1);
                context.status.begin(ShardCondition::Failed, Some(error.to_string()));
                break;
            }
        }
    }
    controls.durable.send_modify(|durable| durable.ended = true);
}

/// A commit under way.
type Commit = AbortOnDropHandle<Result<Committed, SpeedError>>;

struct Task<'a> {
    context: &'a Arc<Context>,
    durable: &'a watch::Sender<Durable>,
    /// Taken only while a computation holds it.
    state: Option<Box<ShardState>>,
    buffer: Buffer,
    flush: Option<Flushing>,
    written: Written,
    commit: Option<Commit>,
    changes: Option<Changes>,
    outputs: Outputs,
    /// Position of the last checkpoint.
    checkpointed: Offset,
    checkpointed_at: Instant,
    /// From then to the next.
    checkpoint_after: Duration,
    /// Whether the last commit had to leave out its checkpoint.
    withheld: bool,
    flushed_at: Instant,
    /// How long the last flush took.
    flush_took: Duration,
    /// Whether the log had no more than the last batch.
    drained: bool,
    /// Whether the state has reached its bound.
    over: bool,
}

/// Runs a shard until it is stopped, or has read all that it reads.
pub(crate) async fn run(context: &Arc<Context>, controls: &mut Controls) -> Result<(), SpeedError> {
    let stop = controls.stop.clone();
    let recovered = tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(()),
        recovered = recover(context) => recovered?,
    };
    let Recovered { state, files, end, checkpoint, log_end } = recovered;
    context.status.update(|status| {
        status.bronze = end;
        status.flushed = state.position;
        status.checkpoint = checkpoint;
    });
    let (sender, mut inputs) = mpsc::channel(1);
    let reader = reader::run(Arc::clone(context), state.position, files, sender);
    let reader = AbortOnDropHandle::new(tokio::spawn(reader));
    controls.durable.send_modify(|durable| durable.position = state.position);
    let mut task = Task {
        context,
        durable: &controls.durable,
        buffer: Buffer::new(state.position, state.tail),
        flush: None,
        written: Written::new(state.position),
        commit: None,
        changes: Changes::start(context, state.position, state.watermark).await,
        outputs: Outputs::start(context, state.position, log_end),
        checkpointed: checkpoint.unwrap_or(state.position),
        checkpointed_at: Instant::now(),
        checkpoint_after: early(context),
        withheld: false,
        flushed_at: Instant::now(),
        flush_took: Duration::ZERO,
        drained: false,
        over: false,
        state: Some(Box::new(state)),
    };
    task.report();
    let mut sealing = true;
    loop {
        let deadline = task.deadline();
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            flushed = ended(&mut task.flush) => task.flushed(flushed?).await?,
            outcome = ended(&mut task.commit) => task.committed(outcome)?,
            error = changes::again(task.changes.as_mut()) => return Err(error),
            changed = controls.seal.changed(), if sealing => sealing = changed.is_ok(),
            input = inputs.recv(), if task.has_room() => match input {
                Some(Ok(Input::Live)) if context.reads == Reads::Bronze => break,
                Some(input) => task.take(input?).await?,
                None => return Err(SpeedError::Panicked("the reader ended".to_owned())),
            },
            () = task.outputs.room(), if !task.outputs.has_room(context) => {}
            () = tokio::time::sleep_until(deadline) => {}
        }
        let target = *controls.seal.borrow();
        task.work(target).await?;
    }
    drop(reader);
    task.finish().await
}

/// Ends when what is under way does; never without anything.
async fn ended<T>(under_way: &mut Option<AbortOnDropHandle<Result<T, SpeedError>>>) -> Result<T, SpeedError> {
    match under_way {
        Some(handle) => {
            let outcome = Pin::new(handle).await;
            *under_way = None;
            outcome.map_err(|error| SpeedError::Panicked(error.to_string()))?
        }
        None => std::future::pending().await,
    }
}

impl Task<'_> {
    fn state(&self) -> Result<&ShardState, SpeedError> {
        self.state.as_deref().ok_or_else(lost)
    }

    /// Runs a computation on the state off the reactor.
    async fn compute<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut ShardState) -> T + Send + 'static,
    ) -> Result<T, SpeedError> {
        let mut state = self.state.take().ok_or_else(lost)?;
        let (state, answer) = compute(move || {
            let answer = work(&mut state);
            (state, answer)
        })
        .await?;
        self.state = Some(state);
        Ok(answer)
    }

    fn position(&self) -> Offset {
        self.state.as_ref().map_or(0, |state| state.position)
    }

    /// Whether the next batch may be taken in.
    fn has_room(&self) -> bool {
        // In the midst of a file that is in Bronze already nothing can be cut, and little is held.
        let in_bronze = self.position() < self.buffer.next;
        !self.over
            && (self.flush.is_none() || !self.is_full())
            && self.outputs.has_room(self.context)
            && (in_bronze || self.buffer.bytes() < self.context.config.max_bronze_bytes)
    }

    /// Whether as many rows of lookups wait for a flush as may.
    fn is_full(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.pending_rows() >= self.context.config.max_pending_rows)
    }

    /// Whether Bronze can be continued from the position: not in the midst of a file that is there already. What is
    /// committed is flushed before, and one flush is written at a time.
    fn can_commit(&self) -> bool {
        self.commit.is_none() && self.flush.is_none() && self.position() >= self.buffer.next
    }

    /// The time between two flushes. Small ones follow each other fast; views that take long to write get fewer, so that
    /// they are not all that the machine does.
    fn flush_interval(&self) -> Duration {
        let interval = self.context.config.flush_interval.to_std();
        if self.drained { (interval / 4).max(2 * self.flush_took).min(interval) } else { interval }
    }

    /// When there is something to do even if nothing comes.
    fn deadline(&self) -> Instant {
        let far = Instant::now() + Duration::from_hours(1);
        let dirty = self.state.as_ref().is_some_and(|state| state.is_dirty());
        let flush = if dirty && self.flush.is_none() { self.flushed_at + self.flush_interval() } else { far };
        let due = self.can_commit() && self.position() > self.checkpointed;
        let checkpoint = if due { self.checkpointed_at + self.checkpoint_after } else { far };
        flush.min(checkpoint)
    }

    /// Takes in what was read.
    async fn take(&mut self, input: Input) -> Result<(), SpeedError> {
        match input {
            Input::Live => self.context.status.begin(ShardCondition::Running, None),
            Input::Replay { first, next, whole } => self.buffer.replay(first, next, whole),
            Input::Records { records, next, drained } => {
                let started = std::time::Instant::now();
                let count = records.len() as u64;
                let since = records.first().map_or(Timestamp::MIN, |record| record.appended);
                let payload: usize = records.iter().map(|record| record.payload.len()).sum();
                // What is in Bronze is in the topics of outputs.
                let told = self.buffer.next;
                let work = move |state: &mut ShardState| {
                    let applied = state.apply(&records, next, told)?;
                    Ok::<_, SpeedError>((records, applied, state.bytes()))
                };
                let (records, applied, bytes) = self.compute(work).await??;
                self.context.spent("transform", applied.transform);
                self.context.spent("merge", applied.merge);
                self.outputs.add(applied.outputs, payload, next, since);
                let rejections = applied.rejections;
                let labels = self.context.labels();
                metrics::counter!("tideline_speed_records_total", &labels).increment(count);
                for rejection in &rejections {
                    let source = self.context.shard.source.clone();
                    metrics::counter!("tideline_speed_rejected_total", "source" => source, "reason" => rejection.kind)
                        .increment(1);
                }
                metrics::histogram!("tideline_speed_batch_seconds", &labels).record(started.elapsed().as_secs_f64());
                self.buffer.push(records);
                self.buffer.reject(rejections);
                self.drained = drained;
                if bytes > self.context.config.max_state_bytes {
                    self.relieve().await?;
                }
                self.report();
            }
        }
        Ok(())
    }

    /// Makes room in a state that has reached its bound, or stops reading.
    async fn relieve(&mut self) -> Result<(), SpeedError> {
        self.flush().await?;
        let bytes = self.compute(ShardState::compact).await?;
        let most = self.context.config.max_state_bytes;
        if bytes > most && self.context.reads == Reads::Bronze {
            let reason = format!("open panes and remembered keys take {bytes} bytes, more than this ({most})");
            return Err(SpeedError::Config { key: "speed.max_state_bytes", reason });
        }
        if bytes > most {
            self.over = true;
            let reason = format!(
                "open panes and remembered keys take {bytes} bytes, more than speed.max_state_bytes = {most}: \
                 reading has stopped, nothing is lost; restart with a greater bound"
            );
            tracing::error!(shard = %self.context.shard, bytes, most, "state has reached its bound, reading stops");
            self.context.status.pause("state", Some(reason));
        }
        Ok(())
    }

    /// Does what is due. `target`: see [`Controls::seal`].
    async fn work(&mut self, target: Offset) -> Result<(), SpeedError> {
        let config = Arc::clone(&self.context.config);
        let due = self.is_full() || self.flushed_at.elapsed() >= self.flush_interval();
        if due && self.flush.is_none() && self.state()?.is_dirty() {
            self.begin_flush().await?;
        }
        if !self.can_commit() {
            return Ok(());
        }
        let position = self.position();
        let sealing = self.durable.borrow().position < target && position >= target;
        let due = position > self.checkpointed && self.checkpointed_at.elapsed() >= self.checkpoint_after;
        if sealing || due {
            self.checkpoint_after = if sealing { early(self.context) } else { config.checkpoint_interval.to_std() };
            self.commit(true).await?;
        } else if self.buffer.bytes() >= config.max_bronze_bytes {
            self.commit(false).await?;
        }
        Ok(())
    }

    /// Makes all that changed visible, and waits for it.
    async fn flush(&mut self) -> Result<(), SpeedError> {
        while self.flush.is_some() || self.state()?.is_dirty() {
            if self.flush.is_none() {
                self.begin_flush().await?;
            }
            let flushed = ended(&mut self.flush).await?;
            self.flushed(flushed).await?;
        }
        Ok(())
    }

    /// Begins to make visible what changed. None may be under way.
    async fn begin_flush(&mut self) -> Result<(), SpeedError> {
        let began = std::time::Instant::now();
        let now = self.context.ports.clock.now();
        let flush = self.compute(move |state| state.take_flush(now)).await?;
        self.context.spent("take flush", began.elapsed());
        self.flush = Some(self.written.write(self.context, flush, now, began));
        Ok(())
    }

    /// Takes note of a flush that is in the views.
    async fn flushed(&mut self, flushed: Flushed) -> Result<(), SpeedError> {
        let Flushed { flush, took } = flushed;
        (self.flushed_at, self.flush_took) = (Instant::now(), took);
        let progress = flush.progress.clone();
        let panes: usize = flush.panes.iter().map(|view| view.panes.len()).sum();
        let labels = self.context.labels();
        metrics::counter!("tideline_speed_flushed_panes_total", &labels).increment(panes as u64);
        metrics::histogram!("tideline_speed_flush_seconds", &labels).record(took.as_secs_f64());
        self.context.status.update(|status| status.flushed = progress.position);
        // Written only now, so that the gauge never runs ahead of what can be seen.
        if let Some(appended) = progress.last_appended {
            let age = self.context.ports.clock.now().0.saturating_sub(appended.0).max(0);
            metrics::histogram!("tideline_speed_freshness_seconds", &labels).record(age as f64 / 1e6);
        }
        if let Some(highest) = progress.highest {
            let watermark = highest.minus(self.context.program.source.lateness);
            metrics::gauge!("tideline_speed_watermark_seconds", &labels).set(watermark.0 as f64 / 1e6);
        }
        metrics::counter!("tideline_speed_late_total", &labels).absolute(progress.late);
        metrics::counter!("tideline_speed_duplicates_total", &labels).absolute(progress.duplicates);
        if let Some(changes) = &self.changes {
            let watermark = Watermark { highest: progress.highest, last_appended: progress.last_appended };
            changes.add(self.context, flush, watermark).await?;
        }
        Ok(())
    }

    /// Starts a commit at the position. It waits for the flush of everything before it.
    async fn commit(&mut self, with_checkpoint: bool) -> Result<(), SpeedError> {
        if self.state()?.is_dirty() {
            self.begin_flush().await?;
        }
        let tail = self.buffer.tail(self.position());
        let checkpoint = if with_checkpoint {
            let taking = std::time::Instant::now();
            let state = self.compute(move |state| checkpoint::snapshot(state, tail)).await?;
            self.context.spent("take checkpoint", taking.elapsed());
            Some(Checkpoint { state, changes: self.changes.as_ref().map(Changes::appended) })
        } else {
            None
        };
        let taken = self.buffer.take(self.position());
        let waits = Waits { written: self.written.reached(), outputs: self.outputs.appended() };
        let commit = commit::run(Arc::clone(self.context), taken, checkpoint, waits);
        self.commit = Some(AbortOnDropHandle::new(tokio::spawn(commit)));
        Ok(())
    }

    /// Takes note of how a commit ended.
    fn committed(&mut self, outcome: Result<Committed, SpeedError>) -> Result<(), SpeedError> {
        match outcome? {
            Committed::Done { position, checkpoint } => {
                let made = checkpoint == Checkpointed::Made;
                if made {
                    self.checkpointed = position;
                }
                if checkpoint != Checkpointed::Unasked {
                    // One that was withheld is tried again an interval later.
                    self.checkpointed_at = Instant::now();
                }
                self.withheld = checkpoint == Checkpointed::Withheld;
                let now = self.context.ports.clock.now();
                self.context.status.update(|status| {
                    status.bronze = position;
                    if made {
                        status.checkpoint = Some(position);
                        status.checkpoint_at = Some(now);
                    }
                });
                self.durable.send_modify(|durable| durable.position = position);
            }
            Committed::Lost { taken, next } => {
                self.buffer.adopt(taken, next);
                self.context.status.update(|status| status.bronze = next);
            }
        }
        Ok(())
    }

    /// Ends in order: flush, rows of outputs, Bronze, checkpoint.
    async fn finish(mut self) -> Result<(), SpeedError> {
        let mut tried = false;
        loop {
            if self.flush.is_some() {
                // A commit waits for it, and for what follows from it.
                let flushed = ended(&mut self.flush).await?;
                self.flushed(flushed).await?;
            } else if self.commit.is_some() {
                let outcome = ended(&mut self.commit).await;
                self.committed(outcome)?;
            } else if tried && self.withheld {
                // There is more to replay then.
                break;
            } else if self.can_commit() && self.position() > self.checkpointed {
                tried = true;
                self.commit(true).await?;
            } else {
                break;
            }
        }
        // In the midst of a replay there is nothing to commit, but something to show.
        self.flush().await?;
        self.report();
        tracing::info!(shard = %self.context.shard, position = self.position(), "stopped");
        Ok(())
    }

    fn report(&mut self) {
        let Some(state) = &mut self.state else { return };
        let bytes = state.bytes() as u64;
        let lateness = self.context.program.source.lateness;
        metrics::gauge!("tideline_speed_state_bytes", &self.context.labels()).set(bytes as f64);
        self.context.status.update(|status| {
            status.position = state.position;
            status.log_end = status.log_end.max(state.position);
            status.progress = state.watermark;
            status.watermark = state.watermark.at(lateness);
            status.records = state.counters.records;
            status.rejected = state.counters.rejected;
            status.duplicates = state.counters.duplicates;
            status.late = state.counters.late;
            status.state_bytes = bytes;
        });
    }
}

/// The time to the next checkpoint where all shards made their last at once (at the start, before a batch run): each is
/// early by another part of the interval, so that they share the processors evenly from then on.
fn early(context: &Context) -> Duration {
    context.config.checkpoint_interval.to_std().mul_f64(1.0 - phase(context.shard.partition))
}

/// Where a partition stands within an interval that all partitions share evenly, whichever of them are there: from 0 to
/// below 1, the bits of its number reversed (the sequence of van der Corput).
fn phase(partition: Partition) -> f64 {
    f64::from(partition.reverse_bits()) / (f64::from(u32::MAX) + 1.0)
}

fn lost() -> SpeedError {
    SpeedError::Panicked("the state is lost".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_share_an_interval_evenly() {
        let phases: Vec<f64> = (0..4).map(phase).collect();
        assert_eq!(phases, [0.0, 0.5, 0.25, 0.75]);
        assert!((0..1000).map(phase).all(|phase| (0.0..1.0).contains(&phase)));
    }
}
