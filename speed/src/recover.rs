//! Where a shard stood: the newest checkpoint that can be trusted, or the beginning of Bronze, or of the log.
//!
//! Other processes may be at work on the shard meanwhile: one that ends late, or has not noticed that it was given
//! away. What is found may therefore be older than what is there a moment later, never wrong: Bronze only grows, so it
//! is looked at before the log.

use tideline_common::plan::Start;
use tideline_common::ports::PortError;
use tideline_common::position::Offset;
use tideline_transform::bronze::chain::ChainFile;

use crate::SpeedError;
use crate::context::{Context, Reads};
use crate::state::ShardState;
use crate::{bronze, checkpoint, start};

/// How often it is looked again when what was found has vanished or been overtaken meanwhile.
const LOOKS: u32 = 5;

/// Where to go on.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) state: ShardState,
    /// Files of Bronze, some of which are to be replayed from the state's position on; none if Bronze ends there.
    pub(crate) files: Vec<ChainFile>,
    /// End of Bronze, or the state's position while there is none.
    pub(crate) end: Offset,
    /// Position of the checkpoint that this is from.
    pub(crate) checkpoint: Option<Offset>,
    /// Where the log ended; `None` when it was not asked.
    pub(crate) log_end: Option<Offset>,
}

/// Files of Bronze, and where they end.
#[derive(Debug)]
struct Chain {
    files: Vec<ChainFile>,
    /// `None` without a file.
    end: Option<Offset>,
}

/// Finds out where to go on.
///
/// # Errors
/// [`SpeedError::Gap`] and [`PortError::Corrupt`] when records are lost; what ports answer otherwise.
pub(crate) async fn recover(context: &Context) -> Result<Recovered, SpeedError> {
    let mut looks = 0;
    loop {
        let outcome = look(context).await;
        looks += 1;
        match outcome {
            // Another process has compacted files, dropped checkpoints, or gone on while the log expired.
            Err(SpeedError::Port(PortError::NotFound { .. }) | SpeedError::Gap { .. }) if looks < LOOKS => {
                tokio::time::sleep(context.pause(looks)).await;
            }
            outcome => return outcome,
        }
    }
}

async fn look(context: &Context) -> Result<Recovered, SpeedError> {
    let shard = &context.shard;
    let found = checkpoint::find(context).await?;
    let newest = checkpoint::load(context, &ours(&found, None)).await?;
    let (mut chain, whole) = match newest.as_ref().and_then(|state| state.tail) {
        Some(tail) => tail_of(context, tail).await?,
        None => (whole_chain(context).await?, true),
    };
    let state = trusted(context, &found, newest, &chain).await?;
    if state.is_none() && !whole {
        // It starts anew, from the first file.
        chain = whole_chain(context).await?;
    }

    // Bronze alone: what the log has is of no concern.
    let log = if context.reads == Reads::Bronze { None } else { Some(in_log(context).await?) };
    let checkpoint = state.as_ref().map(|state| state.position);
    let state = if let Some(state) = state {
        state
    } else {
        let start = match chain.files.first() {
            Some(file) => file.first,
            None => {
                // Checkpoints without Bronze: the one that a start at the latest record left behind in the past.
                let first = match (context.program.source.start, log) {
                    (Start::Earliest, Some((log_first, _))) => log_first,
                    (Start::Latest, Some((_, log_next))) => log_next,
                    (_, None) => return Err(PortError::NotFound { what: format!("Bronze of {shard}") }.into()),
                };
                let proposed = found.iter().map(|found| found.position).min().unwrap_or(first);
                start::settle(context, proposed).await?
            }
        };
        tracing::info!(%shard, start, end = chain.end, "starts without a checkpoint");
        ShardState::new(context.program.clone(), shard.clone(), start, context.config.max_late_groups)
    };

    let position = state.position;
    let end = chain.end.unwrap_or(position);
    if let Some((log_first, log_next)) = log {
        if log_first > end {
            let between = "the log has expired them, and Bronze does not have them";
            return Err(SpeedError::Gap { shard: shard.clone(), from: end, to: log_first, between });
        }
        if log_next < end {
            let what = format!("partition {} of topic {}", shard.partition, context.program.source.topic);
            let reason = format!("it ends at {log_next}, but records up to {end} have been read from it before");
            return Err(PortError::corrupt(what, reason).into());
        }
    }
    let mut files = chain.files;
    if position >= end {
        files.clear();
    }
    tracing::info!(%shard, position, end, ?log, files = files.len(), "recovered");
    Ok(Recovered { state, files, end, checkpoint, log_end: log.map(|(_, next)| next) })
}

/// First and next offset of the partition in the log.
async fn in_log(context: &Context) -> Result<(Offset, Offset), SpeedError> {
    let (topic, partition) = (&context.program.source.topic, context.shard.partition);
    let info = context.retry("look up topic", || context.ports.log.topic(topic)).await?;
    let offsets = info.partitions.get(&partition).copied();
    Ok(offsets.ok_or_else(|| PortError::NotFound { what: format!("partition {partition} of topic {topic}") })?)
}

/// Checkpoints of the plan that runs, newest first, those beyond `end` left out.
fn ours(found: &[checkpoint::Found], end: Option<Offset>) -> Vec<checkpoint::Found> {
    let within = |found: &&checkpoint::Found| found.ours && end.is_none_or(|end| found.position <= end);
    found.iter().filter(within).cloned().collect()
}

async fn whole_chain(context: &Context) -> Result<Chain, SpeedError> {
    let files = bronze::files(context, None).await?;
    let end = bronze::end(context, &files).await?;
    Ok(Chain { files, end })
}

/// The chain from the file that begins at `tail` on, without a look at the thousands before it; all of it, with true,
/// if that file is not there.
async fn tail_of(context: &Context, tail: Offset) -> Result<(Chain, bool), SpeedError> {
    let files = bronze::files(context, Some(tail)).await?;
    if files.first().is_some_and(|file| file.first == tail) {
        let end = bronze::end(context, &files).await?;
        return Ok((Chain { files, end }, false));
    }
    Ok((whole_chain(context).await?, true))
}

/// The state of the newest checkpoint that Bronze and the views are not behind of: a checkpoint is written after
/// both, so if one of them is, it has lost what the checkpoint stands for, and has to be made anew.
async fn trusted(
    context: &Context,
    found: &[checkpoint::Found],
    newest: Option<ShardState>,
    chain: &Chain,
) -> Result<Option<ShardState>, SpeedError> {
    let (shard, end) = (&context.shard, chain.end);
    let candidates = ours(found, end);
    if candidates.len() < found.len() {
        tracing::warn!(%shard, end, ?found, "some checkpoints are of another plan, or beyond the end of Bronze");
    }
    let state = match newest {
        Some(state) if end.is_some_and(|end| state.position > end) => checkpoint::load(context, &candidates).await?,
        newest => newest,
    };
    let Some(state) = state else {
        return Ok(None);
    };
    if end.is_none() && state.position > state.start {
        tracing::error!(%shard, position = state.position, "Bronze is gone; reading the log from the beginning");
        return Ok(None);
    }
    let progress = context.retry("read progress", || context.ports.views.progress()).await?;
    let in_views = progress.iter().find(|(s, _)| s == shard).map(|(_, progress)| progress.position);
    if state.counters.records > 0 && in_views.is_none_or(|position| position < state.position) {
        tracing::error!(%shard, ?in_views, position = state.position, "views have lost rows; making them anew from Bronze");
        return Ok(None);
    }
    Ok(Some(state))
}
