//! Where a shard stood: the newest checkpoint that can be trusted, or the beginning of Bronze, or of the log.

use tideline_common::plan::Start;
use tideline_common::ports::PortError;
use tideline_common::position::Offset;

use crate::SpeedError;
use crate::context::Context;
use crate::state::ShardState;
use crate::{bronze, checkpoint};

/// Where to go on.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) state: ShardState,
    /// Bronze files to replay, from the one that holds the state's position on; none if Bronze ends there.
    pub(crate) files: Vec<Offset>,
    /// End of Bronze, or the state's position while there is none.
    pub(crate) end: Offset,
    /// Position of the checkpoint that this is from.
    pub(crate) checkpoint: Option<Offset>,
}

/// Finds out where to go on.
///
/// # Errors
/// [`SpeedError::Gap`] and [`PortError::Corrupt`] when records are lost; what ports answer otherwise.
pub(crate) async fn recover(context: &Context) -> Result<Recovered, SpeedError> {
    let shard = &context.shard;
    let topic = &context.program.source.topic;
    let info = context.retry("look up topic", || context.ports.log.topic(topic)).await?;
    let (log_first, log_next) = *info
        .partitions
        .get(&shard.partition)
        .ok_or_else(|| PortError::NotFound { what: format!("partition {} of topic {topic}", shard.partition) })?;

    let mut files = bronze::files(context, None).await?;
    let end = match files.last() {
        Some(last) => Some(bronze::read(context, *last).await?.next),
        None => None,
    };
    let found = checkpoint::find(context).await?;
    let state = trusted(context, &found, end).await?;
    let checkpoint = state.as_ref().map(|state| state.position);
    let state = if let Some(state) = state {
        state
    } else {
        let never_read = files.is_empty() && found.is_empty();
        let start = match files.first() {
            Some(first) => *first,
            // Checkpoints without Bronze: the one that a start at the latest record leaves behind.
            None => found.iter().map(|found| found.position).min().unwrap_or(match context.program.source.start {
                Start::Earliest => log_first,
                Start::Latest => log_next,
            }),
        };
        let state = ShardState::new(context.program.clone(), shard.clone(), start, context.config.max_late_groups);
        tracing::info!(%shard, start, end, never_read, "starts without a checkpoint");
        if never_read && context.program.source.start == Start::Latest {
            // Where `latest` was must not move with the next start.
            checkpoint::save(context, start, checkpoint::encode(&state).into()).await?;
        }
        state
    };

    let position = state.position;
    let end = end.unwrap_or(position);
    if log_first > end {
        let between = "the log has expired them, and Bronze does not have them";
        return Err(SpeedError::Gap { shard: shard.clone(), from: end, to: log_first, between });
    }
    if log_next < end {
        let reason = format!("it ends at {log_next}, but records up to {end} have been read from it before");
        return Err(PortError::corrupt(format!("partition {} of topic {topic}", shard.partition), reason).into());
    }
    if position < end {
        let holder = files.partition_point(|first| *first <= position).saturating_sub(1);
        files.drain(..holder);
    } else {
        files.clear();
    }
    tracing::info!(%shard, position, end, log_next, files = files.len(), "recovered");
    Ok(Recovered { state, files, end, checkpoint })
}

/// The state of the newest checkpoint that Bronze and the views are not behind of: a checkpoint is written after
/// both, so if one of them is, it has lost what the checkpoint stands for, and has to be made anew.
async fn trusted(
    context: &Context,
    found: &[checkpoint::Found],
    end: Option<Offset>,
) -> Result<Option<ShardState>, SpeedError> {
    let shard = &context.shard;
    let ours = found.iter().filter(|found| found.ours);
    let candidates: Vec<_> = ours.filter(|found| end.is_none_or(|end| found.position <= end)).cloned().collect();
    if candidates.len() < found.len() {
        tracing::warn!(%shard, end, ?found, "some checkpoints are of another plan, or beyond the end of Bronze");
    }
    let Some(state) = checkpoint::load(context, &candidates).await? else {
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
