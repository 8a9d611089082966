//! Checkpoints of a shard in the object store.
//!
//! `checkpoints/<source>/<partition>/<position, 20 digits>-<fingerprint of the plan>.ckpt`, created only if absent: a
//! checkpoint is a function of the records before its position and of the plan, so the one that is there is as
//! good. The newest few are kept, to fall back to when one is damaged; those of another plan until this one has
//! overtaken them, those of a later generation (see [`tideline_common::generation`]) in any case.

mod codec;

use bytes::Bytes;
pub(crate) use codec::{Snapshot, snapshot};
pub use tideline_common::checkpoint::CHECKPOINTS;
use tideline_common::checkpoint::{folder, position_of};
use tideline_common::generation::Generation;
use tideline_common::ports::{Created, PortResult};
use tideline_common::position::Offset;

use crate::SpeedError;
use crate::context::{Context, compute, is_absent};
use crate::state::ShardState;

/// A checkpoint that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) path: String,
    pub(crate) position: Offset,
    /// Whether it is of the plan that runs.
    pub(crate) ours: bool,
}

/// Where the checkpoint of the plan that runs lies, in the generation that runs.
fn path_of(context: &Context, position: Offset) -> String {
    let name = context.config.generation.name(&context.program.fingerprint);
    format!("{}/{position:020}-{name}.ckpt", folder(&context.shard))
}

/// The generation of the checkpoint at `path`.
fn generation_of(path: &str) -> Option<Generation> {
    Generation::parse(path.strip_suffix(".ckpt")?).map(|(_, generation)| generation)
}

/// Checkpoints of the shard, newest first. What is not one by its name is left alone.
pub(crate) async fn find(context: &Context) -> PortResult<Vec<Found>> {
    let folder = folder(&context.shard);
    let objects = context.retry("list checkpoints", || context.ports.objects.list(&folder)).await?;
    let parse = |path: String| {
        let position = position_of(&path)?;
        let ours = path == path_of(context, position);
        Some(Found { path, position, ours })
    };
    let mut found: Vec<Found> = objects.into_iter().filter_map(|object| parse(object.path)).collect();
    found.sort_by(|a, b| b.position.cmp(&a.position).then_with(|| a.path.cmp(&b.path)));
    Ok(found)
}

/// The state of the newest of `candidates` that can be read. What is damaged is reported and counted.
///
/// # Errors
/// `NotFound` when one that was found is gone, and none after it can be read: another process has written newer ones.
pub(crate) async fn load(context: &Context, candidates: &[Found]) -> Result<Option<ShardState>, SpeedError> {
    let mut gone = None;
    for found in candidates {
        let bytes = match context.retry("read checkpoint", || context.ports.objects.get(&found.path)).await {
            Ok(bytes) => bytes,
            // Another writer has dropped it since.
            Err(error) if is_absent(&error) => {
                gone = Some(error);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let (program, shard, most) = (context.program.clone(), context.shard.clone(), context.config.max_late_groups);
        match compute(move || codec::decode(&bytes, &program, &shard, most)).await? {
            Ok(state) if state.position == found.position => return Ok(Some(state)),
            Ok(_) => damaged(context, &found.path, "its position is not that of its name"),
            Err(error) => damaged(context, &found.path, &error.to_string()),
        }
    }
    gone.map_or(Ok(None), |error| Err(error.into()))
}

fn damaged(context: &Context, path: &str, reason: &str) {
    tracing::error!(shard = %context.shard, path, reason, "checkpoint is damaged, the one before it will be used");
    metrics::counter!("tideline_speed_corrupt_checkpoints_total", &context.labels()).increment(1);
    context.status.update(|status| status.corrupt_checkpoints += 1);
}

/// Writes a checkpoint, and drops those that are no longer needed.
pub(crate) async fn save(context: &Context, position: Offset, bytes: Bytes) -> PortResult<()> {
    let path = path_of(context, position);
    let objects = &context.ports.objects;
    let created = context.retry("write checkpoint", || objects.put_if_absent(&path, bytes.clone())).await?;
    if created == Created::Exists {
        // As good as ours, unless it is damaged: then recovery fell back to the one before it.
        let there = context.retry("read checkpoint", || objects.get(&path)).await;
        let whole = there.as_ref().is_ok_and(|there| codec::check(there).is_ok());
        if !whole {
            context.retry("write checkpoint", || objects.put(&path, bytes.clone())).await?;
        }
    }
    // What is not dropped now is dropped the next time.
    if let Err(error) = drop_old(context, position).await {
        tracing::warn!(shard = %context.shard, %error, "old checkpoints could not be dropped");
    }
    Ok(())
}

async fn drop_old(context: &Context, newest: Offset) -> PortResult<()> {
    let found = find(context).await?;
    let ours =
        found.iter().filter(|found| found.ours && found.position <= newest).skip(context.config.checkpoints_kept);
    // A replay beside this process is at a position that this one has long been at: its checkpoints are not old.
    let of_replay = |path: &str| generation_of(path).is_none_or(|other| other > context.config.generation);
    let others = found.iter().filter(|found| !found.ours && found.position <= newest && !of_replay(&found.path));
    for found in ours.chain(others) {
        context.ports.objects.delete(&found.path).await?;
    }
    Ok(())
}
