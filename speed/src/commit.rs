//! A commit: what makes progress durable, in an order in which a kill between any two steps loses nothing.
//!
//! panes flushed → views synced → rows of outputs appended → Bronze file → its dead letters → changes appended → checkpoint.
//! A checkpoint thus never stands for what is not in the views, in Bronze and in the topics
//! of changes (see [`crate::changes`]), and Bronze for no record whose rows are not in the topics of outputs (see
//! [`crate::outputs`]). Runs beside the loop, which goes on with the next records meanwhile; one at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tideline_common::ports::Created;
use tideline_common::position::{Offset, Shard};
use tideline_transform::bronze as file;
use tokio::sync::watch;

use crate::SpeedError;
use crate::bronze::{self, Taken};
use crate::checkpoint::Snapshot;
use crate::context::{Context, Reads, compute_aside};
use crate::dead_letter::{self, Rejection};
use crate::flush;
use crate::outputs::{self, Appended};

/// How long a commit waits for changes that have not been appended. Bronze waits for the commit.
const CHANGES_WAIT: Duration = Duration::from_secs(1);

/// A checkpoint to write.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    pub(crate) state: Snapshot,
    /// Up to where the changes have been appended, if anyone wants them.
    pub(crate) changes: Option<watch::Receiver<Offset>>,
}

/// What became of the checkpoint of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checkpointed {
    /// There was none to write.
    Unasked,
    /// It is there.
    Made,
    /// It stands for changes that could not be appended yet: it has not been written.
    Withheld,
}

/// How a commit ended.
#[derive(Debug)]
pub(crate) enum Committed {
    /// Everything before `position` is in Bronze.
    Done { position: Offset, checkpoint: Checkpointed },
    /// Another writer's file `[taken.first, next)` was there: nothing has been written.
    Lost { taken: Taken, next: Offset },
}

/// What a commit waits for.
#[derive(Debug)]
pub(crate) struct Waits {
    /// Up to where panes are in the views.
    pub(crate) written: watch::Receiver<Offset>,
    /// Up to where rows have been appended.
    pub(crate) outputs: Appended,
}

/// Commits what was taken, with a checkpoint at `taken.next` if given, once that is in the views and in the topics of outputs.
pub(crate) async fn run(
    context: Arc<Context>,
    taken: Taken,
    checkpoint: Option<Checkpoint>,
    waits: Waits,
) -> Result<Committed, SpeedError> {
    let started = Instant::now();
    flush::wait(waits.written, taken.next).await?;
    context.spent("wait for flush", started.elapsed());
    if checkpoint.is_some() {
        let syncing = Instant::now();
        context.retry("sync views", || context.ports.views.sync()).await?;
        context.spent("sync views", syncing.elapsed());
    }
    let waiting = Instant::now();
    outputs::wait(waits.outputs, taken.next).await?;
    context.spent("wait for outputs", waiting.elapsed());
    if taken.first < taken.next
        && let Some(next) = put_file(&context, &taken).await?
        && next != taken.next
    {
        tracing::info!(shard = %context.shard, first = taken.first, next, "adopted another writer's Bronze file");
        metrics::counter!("tideline_speed_bronze_adopted_total", &context.labels()).increment(1);
        return Ok(Committed::Lost { taken, next });
    }
    let own = (taken.first, taken.next);
    for (first, next) in taken.foreign.iter().copied().chain(std::iter::once(own)) {
        let from = taken.rejections.partition_point(|rejection| rejection.record.offset < first);
        let to = taken.rejections.partition_point(|rejection| rejection.record.offset < next);
        if from < to {
            put_dead_letters(&context, first, &taken.rejections[from..to]).await?;
        }
    }
    let position = taken.next;
    let checkpoint = match checkpoint {
        Some(checkpoint) => put_checkpoint(&context, position, checkpoint).await?,
        None => Checkpointed::Unasked,
    };
    metrics::histogram!("tideline_speed_commit_seconds", &context.labels()).record(started.elapsed().as_secs_f64());
    Ok(Committed::Done { position, checkpoint })
}

/// Puts a checkpoint, unless changes before its position are missing.
async fn put_checkpoint(
    context: &Context,
    position: Offset,
    checkpoint: Checkpoint,
) -> Result<Checkpointed, SpeedError> {
    if let Some(mut changes) = checkpoint.changes {
        let appended = changes.wait_for(|appended| *appended >= position);
        if !tokio::time::timeout(CHANGES_WAIT, appended).await.is_ok_and(|appended| appended.is_ok()) {
            tracing::warn!(shard = %context.shard, position, "no checkpoint: changes before it have not been appended yet");
            metrics::counter!("tideline_speed_checkpoints_withheld_total", &context.labels()).increment(1);
            return Ok(Checkpointed::Withheld);
        }
    }
    let (encoding, state) = (Instant::now(), checkpoint.state);
    let bytes = compute_aside(move || state.encode()).await?;
    context.spent("encode checkpoint", encoding.elapsed());
    metrics::gauge!("tideline_speed_checkpoint_bytes", &context.labels()).set(bytes.len() as f64);
    let saving = Instant::now();
    crate::checkpoint::save(context, position, bytes.into()).await?;
    context.spent("write checkpoint", saving.elapsed());
    if context.reads == Reads::Bronze {
        return Ok(Checkpointed::Made);
    }
    let Shard { source, partition } = &context.shard;
    let topic = &context.program.source.topic;
    let hint = context.ports.log.commit_hint(&context.config.group, topic, *partition, position).await;
    if let Err(error) = hint {
        tracing::debug!(source, partition, %error, "progress could not be noted in the log");
    }
    Ok(Checkpointed::Made)
}

/// Puts the file; when there is one already, answers where that one ends.
async fn put_file(context: &Context, taken: &Taken) -> Result<Option<Offset>, SpeedError> {
    let Shard { source, partition } = context.shard.clone();
    let path = file::path(&source, partition, taken.first);
    let (records, next, now) = (Arc::clone(&taken.records), taken.next, context.ports.clock.now());
    let encoding = Instant::now();
    let encoded = compute_aside(move || file::encode(&records, &source, partition, next, now)).await?;
    context.spent("encode Bronze", encoding.elapsed());
    let bytes = encoded.map_err(|source| SpeedError::Bronze { path: path.clone(), source })?;
    metrics::counter!("tideline_speed_bronze_bytes_total", &context.labels()).increment(bytes.len() as u64);
    let objects = &context.ports.objects;
    let putting = Instant::now();
    let created = context.retry("write Bronze", || objects.put_if_absent(&path, bytes.clone())).await?;
    context.spent("write Bronze", putting.elapsed());
    match created {
        Created::Yes => Ok(None),
        Created::Exists => Ok(Some(bronze::end_of(context, taken.first).await?)),
    }
}

/// Puts the dead letters of the file that begins at `first`. One that is there is the same.
async fn put_dead_letters(context: &Context, first: Offset, rejections: &[Rejection]) -> Result<(), SpeedError> {
    let path = dead_letter::path(&context.shard.source, context.shard.partition, first);
    let bytes =
        dead_letter::encode(rejections).map_err(|error| tideline_common::ports::PortError::invalid(&path, error))?;
    let objects = &context.ports.objects;
    context.retry("write dead letters", || objects.put_if_absent(&path, bytes.clone())).await?;
    Ok(())
}
