//! Speed views and Gold made anew from Bronze alone.
//!
//! A replay makes a new *generation* of the speed layer's views and checkpoints beside the one in use
//! ([`tideline_common::generation`]), from the beginning of Bronze to its end, and then puts the object that makes it
//! the one in use. Until then nothing that is read or written by others has changed; from then on readers read the new
//! one, and workers of the one before end by themselves. Those that begin next go on from the new checkpoints, the rest of
//! Bronze and the log. After that Gold is made anew, and published as one version.
//!
//! Every step is noted in the lake, so a replay that is killed goes on where it stood: shards from their last checkpoints
//! of the new generation.

use std::sync::Arc;

use anyhow::bail;
use serde::Serialize;
use tideline_batch::RunReport;
use tideline_common::generation::{Generation, Replays, Step};
use tideline_common::plan::Plan;
use tideline_common::ports::Created;
use tideline_speed::Rebuilt;
use tideline_stores::views::generation;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::stores::Stores;

/// How often a replay that was begun by another process at the same moment is looked for again.
const LOOKS: usize = 3;

/// What a replay has done.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The generation of speed views that it made.
    pub generation: u64,
    /// Whether it went on with a replay that had been cut off.
    pub resumed: bool,
    /// What was made anew of each shard; empty when an earlier attempt had made all of them.
    pub shards: Vec<Rebuilt>,
    /// The run that made Gold anew.
    pub gold: RunReport,
}

/// Makes speed views and Gold of `plan` anew. `lossy`: also when retention has dropped a part of Bronze.
///
/// # Errors
/// Bronze that is damaged or no longer whole, stores that fail for good, a run that fails, or `cancel`. What was done
/// stays: to be called again.
pub async fn replay(
    plan: &Arc<Plan>,
    stores: &Stores,
    config: &Config,
    lossy: bool,
    cancel: &CancellationToken,
) -> anyhow::Result<Report> {
    let batch = stores.batch(plan, config)?;
    let lost = batch.dropped().await?;
    if !lost.is_empty() && !lossy {
        bail!(
            "retention has dropped a part of Bronze ({}): what is made anew would lack it; --lossy does it all the same",
            lost.join(", ")
        );
    }
    let (generation, step, resumed) = begin(stores).await?;
    tracing::info!(generation = generation.0, resumed, "a replay makes speed views and Gold anew");
    let mut shards = Vec::new();
    if step < Step::Built {
        shards = stores.rebuild_speed(plan, config, generation, cancel.child_token()).await?;
        // Their checkpoints are there, so whoever begins now goes on from them.
        generation::note(stores.objects.as_ref(), generation, Step::Built, stores.clock.now()).await?;
        tracing::info!(generation = generation.0, "the new speed views are in use");
    }
    let gold = tokio::select! {
        gold = batch.rebuild(lossy) => gold?,
        () = cancel.cancelled() => {
            batch.shutdown().await;
            bail!("stopped; speed views are made anew, Gold is not: begun again, the replay goes on with Gold");
        }
    };
    generation::note(stores.objects.as_ref(), generation, Step::Done, stores.clock.now()).await?;
    Ok(Report { generation: generation.0, resumed, shards, gold })
}

/// The replay that was cut off, or a new one.
async fn begin(stores: &Stores) -> anyhow::Result<(Generation, Step, bool)> {
    for _ in 0..LOOKS {
        let replays = Replays::read(stores.objects.as_ref()).await?;
        if let Some((generation, step)) = replays.unfinished() {
            return Ok((generation, step, true));
        }
        let next = replays.next();
        let noted = generation::note(stores.objects.as_ref(), next, Step::Begun, stores.clock.now()).await?;
        if noted == Created::Yes {
            return Ok((next, Step::Begun, false));
        }
    }
    bail!("other replays begin and end faster than this one")
}
