//! Reads one batch ahead of what is being processed: first what Bronze has, then the log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tideline_common::ports::{PortError, ReadRequest};
use tideline_common::position::Offset;
use tideline_common::record::Record;
use tokio::sync::mpsc::Sender;

use crate::SpeedError;
use crate::bronze;
use crate::context::Context;

/// What the reader hands over, in order.
#[derive(Debug)]
pub(crate) enum Input {
    /// Records of the Bronze file `[first, next)` follow; all of them if `whole`.
    Replay { first: Offset, next: Offset, whole: bool },
    /// Records, after which the position is `next`.
    Records {
        records: Vec<Record>,
        next: Offset,
        /// Whether the log had no more.
        drained: bool,
    },
    /// Bronze is through: what follows comes from the log.
    Live,
}

/// Reads from `position` on: the Bronze files `files` (and those that have come since), then the log. Ends with
/// an error, or when nobody receives any more.
pub(crate) async fn run(
    context: Arc<Context>,
    position: Offset,
    files: Vec<Offset>,
    inputs: Sender<Result<Input, SpeedError>>,
) {
    if let Err(error) = read(&context, position, files, &inputs).await {
        // Nobody receives: nobody wants to know.
        let _ = inputs.send(Err(error)).await;
    }
}

async fn read(
    context: &Context,
    position: Offset,
    files: Vec<Offset>,
    inputs: &Sender<Result<Input, SpeedError>>,
) -> Result<(), SpeedError> {
    let position = replay(context, position, files, inputs).await?;
    if inputs.send(Ok(Input::Live)).await.is_err() {
        return Ok(());
    }
    follow(context, position, inputs).await
}

/// Replays Bronze; answers where it ends.
async fn replay(
    context: &Context,
    mut position: Offset,
    mut files: Vec<Offset>,
    inputs: &Sender<Result<Input, SpeedError>>,
) -> Result<Offset, SpeedError> {
    let mut expected = None;
    while let Some(last) = files.last().copied() {
        for first in files {
            link(context, expected.unwrap_or(position), first, expected.is_some())?;
            let file = bronze::read(context, first).await?;
            expected = Some(file.next);
            if file.next <= position {
                continue;
            }
            let whole = first >= position;
            let mut records = file.records;
            records.retain(|record| record.offset >= position);
            position = file.next;
            if inputs.send(Ok(Input::Replay { first, next: file.next, whole })).await.is_err() {
                return Ok(position);
            }
            let size = context.config.max_batch_records;
            loop {
                let rest = records.split_off(records.len().min(size));
                // Offsets without a record at the end of a file belong to it too.
                let next = rest.first().map_or(file.next, |record| record.offset);
                let input = Input::Records { records, next, drained: false };
                if inputs.send(Ok(input)).await.is_err() || rest.is_empty() {
                    break;
                }
                records = rest;
            }
        }
        files = bronze::files(context, Some(last)).await?;
    }
    Ok(position)
}

/// Checks that the file that begins at `first` goes on where the one before it ended.
fn link(context: &Context, expected: Offset, first: Offset, exact: bool) -> Result<(), SpeedError> {
    let shard = context.shard.clone();
    if first > expected {
        let between = "Bronze files do not join";
        return Err(SpeedError::Gap { shard, from: expected, to: first, between });
    }
    if exact && first < expected {
        let path = tideline_transform::bronze::path(&shard.source, shard.partition, first);
        let reason = format!("it begins before {expected}, where the file before it ends");
        return Err(PortError::corrupt(path, reason).into());
    }
    Ok(())
}

/// Follows the log.
async fn follow(
    context: &Context,
    mut position: Offset,
    inputs: &Sender<Result<Input, SpeedError>>,
) -> Result<(), SpeedError> {
    let config = &context.config;
    loop {
        // Room first: no more than one batch is ever read ahead.
        let Ok(room) = inputs.reserve().await else {
            return Ok(());
        };
        let request = ReadRequest {
            topic: context.program.source.topic.clone(),
            partition: context.shard.partition,
            from: position,
            max_records: config.max_batch_records,
            max_bytes: config.max_batch_bytes,
            wait: config.read_wait.to_std(),
        };
        let asked = Instant::now();
        let mut records = context.retry("read log", || context.ports.log.read(&request)).await?;
        records.retain(|record| record.offset >= position);
        let Some(last) = records.last() else {
            // A log that does not wait must not keep us busy.
            if asked.elapsed() < Duration::from_millis(1) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            continue;
        };
        position = last.offset + 1;
        let bytes: usize = records.iter().map(|record| record.payload.len()).sum();
        let drained = records.len() < config.max_batch_records && bytes < config.max_batch_bytes;
        room.send(Ok(Input::Records { records, next: position, drained }));
        if drained {
            tokio::time::sleep(config.linger.to_std()).await;
        }
    }
}
