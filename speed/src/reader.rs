//! Reads one batch ahead of what is being processed: first what Bronze has, then the log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tideline_common::ports::{PortError, ReadRequest};
use tideline_common::position::{Offset, Shard};
use tideline_common::record::Record;
use tideline_transform::bronze::chain::{ChainFile, Step, Walk};
use tokio::sync::mpsc::Sender;

use crate::SpeedError;
use crate::bronze;
use crate::context::{Context, Reads};

/// What the reader hands over, in order.
#[derive(Debug)]
pub(crate) enum Input {
    /// Records `[first, next)` of a Bronze file follow; its dead letters may be missing if `whole`.
    Replay { first: Offset, next: Offset, whole: bool },
    /// Records, after which the position is `next`.
    Records {
        records: Vec<Record>,
        next: Offset,
        /// Whether the log had no more.
        drained: bool,
    },
    /// Bronze is through: what follows, if anything does, comes from the log.
    Live,
}

/// Reads from `position` on: the Bronze files `files` (and those that have come since), then the log. Ends with
/// an error, or when nobody receives any more.
pub(crate) async fn run(
    context: Arc<Context>,
    position: Offset,
    files: Vec<ChainFile>,
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
    files: Vec<ChainFile>,
    inputs: &Sender<Result<Input, SpeedError>>,
) -> Result<(), SpeedError> {
    let position = replay(context, position, files, inputs).await?;
    if inputs.send(Ok(Input::Live)).await.is_err() || context.reads == Reads::Bronze {
        return Ok(());
    }
    follow(context, position, inputs).await
}

/// How often the chain is listed anew, without coming any further, before records count as lost.
const LISTINGS: usize = 3;

/// Replays Bronze; answers where it ends.
async fn replay(
    context: &Context,
    position: Offset,
    files: Vec<ChainFile>,
    inputs: &Sender<Result<Input, SpeedError>>,
) -> Result<Offset, SpeedError> {
    let mut walk = Walk::new(files, position);
    let mut seen = Vec::new();
    let mut listings = 0;
    loop {
        match walk.step() {
            Step::Read(file) => {
                let position = walk.reached();
                let Some(content) = bronze::read(context, &file).await? else {
                    // It has been joined to others since it was listed.
                    walk = again(context, position, &mut listings).await?;
                    continue;
                };
                let mut records = content.records;
                bronze::compare(&file.path, &seen, &records)?;
                walk.read(content.next);
                if content.next <= position {
                    continue;
                }
                listings = 0;
                seen = bronze::fingerprints(&records);
                records.retain(|record| record.offset >= position);
                let first = file.first.max(position);
                // Joined are only files whose dead letters have been written.
                let input = Input::Replay { first, next: content.next, whole: file.next.is_none() };
                if inputs.send(Ok(input)).await.is_err() || !hand_over(context, records, content.next, inputs).await {
                    return Ok(content.next);
                }
            }
            Step::Gap { expected, .. } if listings < LISTINGS => walk = again(context, expected, &mut listings).await?,
            Step::Gap { expected, found } => {
                let (shard, between) = (context.shard.clone(), "Bronze files do not join");
                return Err(SpeedError::Gap { shard, from: expected, to: found, between });
            }
            Step::End => {
                let position = walk.reached();
                let more = bronze::files(context, Some(position)).await?;
                if more.is_empty() {
                    return Ok(position);
                }
                walk = Walk::new(more, position);
            }
        }
    }
}

/// The way on from `position`, through the files that are there now.
async fn again(context: &Context, position: Offset, listings: &mut usize) -> Result<Walk, SpeedError> {
    *listings += 1;
    if *listings > LISTINGS {
        let what = format!("Bronze of {} at {position}", context.shard);
        return Err(PortError::unavailable(what, "files vanish faster than they are read").into());
    }
    Ok(Walk::new(bronze::files(context, None).await?, position))
}

/// Hands over the records of a file that ends at `next`, in batches; whether anyone still receives.
async fn hand_over(
    context: &Context,
    mut records: Vec<Record>,
    next: Offset,
    inputs: &Sender<Result<Input, SpeedError>>,
) -> bool {
    let size = context.config.max_batch_records;
    loop {
        let rest = records.split_off(records.len().min(size));
        // Offsets without a record at the end of a file belong to it too.
        let until = rest.first().map_or(next, |record| record.offset);
        if inputs.send(Ok(Input::Records { records, next: until, drained: false })).await.is_err() {
            return false;
        }
        if rest.is_empty() {
            return true;
        }
        records = rest;
    }
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
            let Shard { partition, .. } = context.shard;
            let skip = || context.ports.log.skip(&request.topic, partition, position);
            let next = context.retry("read log", skip).await?;
            if next > position {
                // What lies between has no record for a reader.
                position = next;
                room.send(Ok(Input::Records { records, next, drained: true }));
                continue;
            }
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
