//! Where closing windows begins: what the views hold, and then what is told of changes.
//!
//! The order of the reads is what makes it right: where the topic of changes ends, then how far the shards are in the
//! views, then the panes. A shard writes the views before it appends to the topic, so the panes hold every change before
//! that end, and every change after it is read; those that are in both change nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use tideline_common::ports::{PortResult, Progress, ShardPanes, ViewSchema};
use tideline_common::position::Shard;
use tideline_common::time::Timestamp;
use tideline_common::watermark::Watermark;

use super::chain::{self, Known};
use super::context::Context;
use super::marks::{Ends, Marks, Terms};
use super::state::State;
use crate::SpeedError;
use crate::context::compute;

/// How often it is begun again when another process was faster.
const ATTEMPTS: u32 = 5;

/// Makes the first checkpoint of this version of the view, or the first after those of another, unless the newest is of
/// this one.
///
/// # Errors
/// Stores that refuse; [`SpeedError::Superseded`] when other versions are faster again and again.
pub(super) async fn begin(context: &Context) -> Result<(), SpeedError> {
    let mut attempt = 0;
    loop {
        if chain::has_begun(context).await? {
            return Ok(());
        }
        attempt += 1;
        match begin_after(context, chain::load(context).await?).await {
            Err(SpeedError::Superseded { .. }) if attempt < ATTEMPTS => {
                tokio::time::sleep(context.pause(attempt)).await;
            }
            outcome => return outcome,
        }
    }
}

/// Makes the first checkpoint after what is known.
///
/// # Errors
/// As [`begin`].
pub(super) async fn begin_after(context: &Context, known: Known) -> Result<(), SpeedError> {
    let (state, first) = match known {
        Known::State(_) => return Ok(()),
        Known::Closed(state) => (*state, false),
        Known::Nothing(state) => (*state, true),
    };
    let state = read_views(context, state, first).await?;
    chain::put_first(context, &state).await?;
    tracing::info!(view = context.view.name, partition = context.partition, first, "windows begin to be closed");
    Ok(())
}

/// Takes over what the views hold, and goes on at the end of the topic. `first`: windows that have ended are not closed.
///
/// Otherwise the panes of shards are taken over, too, of which progress tells that another version was last at work on them:
/// this one is back after it. They are from before, so whatever is told of them from now on is newer; and how far such a shard
/// has come is what it says itself, when it starts where this version had stopped. It does not tell again of what it had told
/// by then.
pub(super) async fn read_views(context: &Context, mut state: State, first: bool) -> Result<State, SpeedError> {
    let topic = context.topic();
    let info = context.retry("look up topic", || context.ports.log.topic(&topic)).await?;
    let next = info.partitions.get(&context.partition).map_or(0, |(_, next)| *next);
    let progress = context.retry("read progress", || context.ports.views.progress()).await?;
    let progress: Vec<(Shard, Progress)> =
        progress.into_iter().filter(|(shard, progress)| is_of(context, shard, progress)).collect();
    let mark = |progress: &Progress| Watermark { highest: progress.highest, last_appended: progress.last_appended };
    if first && let Some(watermark) = watermark(context, &progress) {
        state.board.begin_at(watermark);
    }
    let schema = ViewSchema::from(context.view.as_ref());
    let from = state.board.needed_from().unwrap_or(Timestamp::MIN);
    let panes = if first && progress.is_empty() {
        Vec::new()
    } else {
        let now = context.ports.clock.now();
        let read = || context.ports.views.shards_between(&schema, from, Timestamp::MAX, now);
        context.retry("read views", read).await?
    };
    let view = Arc::clone(&context.view);
    let state = compute(move || {
        if !first {
            let known = |shard: &Shard| progress.iter().any(|(of, _)| of == shard);
            let before = panes.iter().filter(|of| view.sources.contains(&of.shard.source) && !known(&of.shard));
            for ShardPanes { shard, panes } in before {
                state.board.load_before(shard, panes);
            }
        }
        let none = tideline_common::state::StateBatch::new(&schema.fields);
        for (shard, progress) in &progress {
            let of = panes.iter().find(|panes| panes.shard == *shard).map_or(&none, |panes| &panes.panes);
            state.board.load(shard, progress.position, mark(progress), of);
        }
        // What happened before is nobody's news.
        state.board.forget_changed();
        state.next = next;
        state.is_new = true;
        state
    })
    .await?;
    Ok(state)
}

/// Whether progress tells of rows of this plan: see [`Progress::version`].
fn is_of(context: &Context, shard: &Shard, progress: &Progress) -> bool {
    context.view.sources.contains(&shard.source)
        && (progress.version.is_empty() || progress.version == context.plan.version_of(&shard.source))
}

/// The watermark of the shards, those that are idle aside.
fn watermark(context: &Context, progress: &[(Shard, Progress)]) -> Option<Timestamp> {
    let mut marks = Marks::default();
    for (shard, progress) in progress {
        let watermark = Watermark { highest: progress.highest, last_appended: progress.last_appended };
        marks.note(shard, progress.position, watermark);
    }
    let terms: BTreeMap<String, Terms> = context
        .plan
        .sources
        .iter()
        .map(|source| (source.name.clone(), Terms { lateness: source.lateness, idle_after: source.idle_after }))
        .collect();
    marks.watermark(&terms, &Ends::new(), context.ports.clock.now())
}

/// Creates the topics that are written to.
///
/// # Errors
/// A log that refuses.
pub(super) async fn ensure_topics(context: &Context) -> PortResult<()> {
    for spec in super::layer::topics(&context.plan, &context.config) {
        context.retry("create topic", || context.ports.log.ensure_topic(&spec)).await?;
    }
    Ok(())
}
