//! What appends the rows of one shard to the topic of one output.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tideline_common::ports::{PortError, PortResult, TopicSpec};
use tideline_common::position::{Offset, Partition};
use tideline_common::record::NewRecord;
use tideline_common::time::Timestamp;
use tideline_transform::JsonRows;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::Shared;
use super::record::{Place, Row, prefix, records};
use super::tail::{Wanted, there};
use crate::SpeedError;
use crate::context::{Context, compute};
use crate::program::OutputProgram;

/// Bytes of one append, about: less than any log takes.
const APPEND_BYTES: usize = 4 << 20;
/// Micro-batches whose rows share an append, at most.
const GROUP: usize = 64;

/// Rows of a micro-batch.
#[derive(Debug)]
pub(super) struct Batch {
    /// `None` when it has none for this output, or all of them are there.
    pub(super) rows: Option<JsonRows>,
    /// Position of the shard after them.
    pub(super) next: Offset,
    /// When the log took the first record that they are from.
    pub(super) since: Timestamp,
    /// What they count for among what waits.
    pub(super) bytes: usize,
}

/// Rows for one append.
#[derive(Debug)]
struct Piece {
    rows: Vec<Row>,
    /// When the log took the first record that they are from, or one before it.
    since: Timestamp,
    /// Position after which no row is left out, if any micro-batch ends in the piece.
    next: Option<Offset>,
    /// What the micro-batches count for that end in the piece.
    bytes: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Lane {
    context: Arc<Context>,
    /// Index in the program's outputs.
    output: usize,
    /// What the ids of its rows begin with.
    prefix: Arc<str>,
    /// Partitions of the topic, once they are known.
    partitions: Option<u32>,
    /// Rows of records before this offset may be in the topic: a predecessor may have appended them, or an append that failed.
    unsure: Offset,
    /// Rows that are known to be in the topic.
    there: BTreeSet<Place>,
}

impl Lane {
    /// Of the output with this index in the program.
    pub(super) fn new(context: Arc<Context>, output: usize, unsure: Offset) -> Self {
        let prefix = prefix(&context.program.outputs[output].plan.name, &context.shard).into();
        Self { context, output, prefix, partitions: None, unsure, there: BTreeSet::new() }
    }

    fn program(&self) -> &OutputProgram {
        &self.context.program.outputs[self.output]
    }

    /// Appends what comes, in order, and tells how far it has come. Ends when nothing more will come, or rows cannot be made
    /// into JSON, which a plan does not allow.
    pub(super) async fn run(
        mut self,
        shared: Arc<Shared>,
        mut waiting: mpsc::UnboundedReceiver<Batch>,
        told: watch::Sender<Offset>,
    ) {
        let mut batches = VecDeque::new();
        loop {
            if batches.is_empty() {
                let Some(batch) = waiting.recv().await else { return };
                batches.push_back(batch);
            }
            while batches.len() < GROUP
                && let Ok(more) = waiting.try_recv()
            {
                batches.push_back(more);
            }
            let piece = match self.piece(&mut batches).await {
                Ok(piece) => piece,
                Err(error) => {
                    tracing::error!(shard = %self.context.shard, output = self.program().plan.name, %error, "rows cannot be appended");
                    return;
                }
            };
            self.append(piece.rows, piece.since).await;
            if let Some(next) = piece.next {
                let name = &self.program().plan.name;
                self.context.status.update(|status| {
                    status.outputs.insert(name.clone(), next);
                });
                shared.bytes.fetch_sub(piece.bytes, Ordering::SeqCst);
                shared.room.notify_one();
                told.send_replace(next);
            }
        }
    }

    /// The next rows of `batches`, of which those that have no more are dropped.
    async fn piece(&self, batches: &mut VecDeque<Batch>) -> Result<Piece, SpeedError> {
        let mut taken = std::mem::take(batches);
        // Hardly anything has to be made while a shard reads what is in Bronze.
        if taken.iter().all(|batch| batch.rows.is_none()) {
            let last = taken.back().map(|batch| batch.next);
            return Ok(Piece { rows: Vec::new(), since: Timestamp::MIN, next: last, bytes: 0 });
        }
        let prefix = Arc::clone(&self.prefix);
        let work = move || make(&mut taken, &prefix).map(|piece| (piece, taken));
        let (mut piece, left) = compute(work).await??;
        *batches = left;
        let (most, output) = (self.context.config.max_row_bytes, &self.program().plan.name);
        piece.rows.retain(|row| {
            let (size, (offset, ordinal)) = (row.size(), row.place);
            if size > most {
                tracing::error!(shard = %self.context.shard, output, offset, ordinal, size, most, "a row is too large for the topic of an output, and left out");
                metrics::counter!("tideline_output_rows_too_large_total", "output" => output.clone()).increment(1);
            }
            size <= most
        });
        Ok(piece)
    }

    /// Appends rows, until it works: the shard has nothing better to do than to wait.
    async fn append(&mut self, mut rows: Vec<Row>, since: Timestamp) {
        const WHAT: &str = "append rows";
        let (Some(first), Some(last)) = (rows.first().map(|row| row.place), rows.last().map(|row| row.place)) else {
            return;
        };
        let (began, output) = (Instant::now(), self.program().plan.name.clone());
        let mut attempt = 0;
        while let Err(error) = self.attempt(&mut rows, first.0, since).await {
            // Some of them may be there all the same.
            self.unsure = self.unsure.max(last.0 + 1);
            // And the topic may not be what it was.
            self.partitions = None;
            let pause = self.context.pause(attempt);
            tracing::warn!(shard = %self.context.shard, output, attempt, ?pause, %error, "rows could not be appended, will try again");
            let source = self.context.shard.source.clone();
            metrics::counter!("tideline_speed_retries_total", "source" => source, "what" => WHAT).increment(1);
            self.context.status.pause(WHAT, Some(format!("{WHAT} of output {output}: {error}")));
            tokio::time::sleep(pause).await;
            attempt = attempt.saturating_add(1);
        }
        if attempt > 0 {
            self.context.status.pause(WHAT, None);
        }
        // What is appended from now on is later.
        self.there = self.there.split_off(&(last.0, last.1.saturating_add(1)));
        metrics::histogram!("tideline_output_append_seconds", "output" => output).record(began.elapsed().as_secs_f64());
    }

    /// Appends the rows that are not there yet.
    async fn attempt(&mut self, rows: &mut Vec<Row>, first: Offset, since: Timestamp) -> PortResult<()> {
        let partitions = self.partitions().await?;
        let own = self.context.shard.partition % partitions;
        let has_key = !self.program().plan.key.is_empty();
        if first < self.unsure {
            let topic = &self.program().plan.topic;
            let wanted = Wanted { topic, prefix: &self.prefix, from: first, since };
            let all = if has_key { 0..partitions } else { own..own + 1 };
            let found = there(&self.context, &wanted, all).await?;
            self.there = found;
            self.unsure = 0;
        }
        let before = rows.len();
        if !self.there.is_empty() {
            rows.retain(|row| !self.there.contains(&row.place));
        }
        let output = &self.program().plan;
        metrics::counter!("tideline_output_rows_skipped_total", "output" => output.name.clone())
            .increment((before - rows.len()) as u64);
        if rows.is_empty() {
            return Ok(());
        }
        let copies: Vec<NewRecord> = rows.iter().map(|row| row.record.clone()).collect();
        let (log, now) = (&self.context.ports.log, self.context.ports.clock.now());
        if has_key {
            // In one call, so that rows without a value are in order with the others.
            log.append(&output.topic, copies, now).await?;
        } else {
            log.append_to(&output.topic, own, copies, now).await?;
        }
        metrics::counter!("tideline_output_rows_total", "output" => output.name.clone()).increment(rows.len() as u64);
        Ok(())
    }

    /// Partitions of the topic, which is made when it is gone.
    async fn partitions(&mut self) -> PortResult<u32> {
        if let Some(partitions) = self.partitions {
            return Ok(partitions);
        }
        let (log, output) = (&self.context.ports.log, &self.program().plan);
        let info = match log.topic(&output.topic).await {
            Err(PortError::NotFound { .. }) => {
                log.ensure_topic(&spec(output)).await?;
                log.topic(&output.topic).await?
            }
            answer => answer?,
        };
        let partitions = info.partitions.len() as Partition;
        if partitions == 0 {
            return Err(PortError::unavailable(format!("topic {}", output.topic), "it has no partition"));
        }
        self.partitions = Some(partitions);
        Ok(partitions)
    }
}

/// The topic of an output, as it is made where it is missing.
fn spec(output: &tideline_common::plan::RowOutputPlan) -> TopicSpec {
    TopicSpec {
        name: output.topic.clone(),
        partitions: output.partitions,
        retention: output.retention,
        max_bytes: None,
    }
}

/// Makes records of the next rows of `batches`, those without rows included, and drops the micro-batches that have none left.
fn make(batches: &mut VecDeque<Batch>, prefix: &str) -> Result<Piece, SpeedError> {
    let since = batches.iter().find(|batch| batch.rows.is_some()).map_or(Timestamp::MIN, |batch| batch.since);
    let mut piece = Piece { rows: Vec::new(), since, next: None, bytes: 0 };
    let mut size = 0;
    while let Some(batch) = batches.front_mut() {
        if let Some(rows) = &mut batch.rows {
            if size >= APPEND_BYTES {
                break;
            }
            let made = records(prefix, rows.take(APPEND_BYTES - size)?);
            size += made.iter().map(Row::size).sum::<usize>();
            piece.rows.extend(made);
            if !rows.is_done() {
                break;
            }
        }
        piece.next = Some(batch.next);
        piece.bytes += batch.bytes;
        batches.pop_front();
    }
    Ok(piece)
}
