//! Checkpoints of closing windows: a chain that has one author at a time.
//!
//! `close/<view>/<partition>/<sequence, 20 digits>-<version of the view>.ckpt`. What is decided is put here before it is
//! done, each checkpoint only if absent and under the number that follows the one before. Of two processes that are at
//! work on one partition without knowing of each other one loses, and goes on from what the other has put: nothing is
//! ever done of which there is not one decision.

use tideline_common::ports::{Created, PortError, PortResult};

use super::context::Context;
use super::state::State;
use crate::SpeedError;
use crate::context::{compute, is_absent};

/// Folder of the checkpoints.
pub const CLOSE: &str = "close";

/// A checkpoint that is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    sequence: u64,
    version: String,
    path: String,
}

fn folder(context: &Context) -> String {
    format!("{CLOSE}/{}/{}", context.view.name, context.partition)
}

fn path(context: &Context, sequence: u64) -> String {
    format!("{}/{sequence:020}-{}.ckpt", folder(context), context.view.version)
}

fn parse(path: String) -> Option<Found> {
    let name = path.rsplit_once('/')?.1.strip_suffix(".ckpt")?;
    let (sequence, version) = name.split_once('-')?;
    let sequence = Some(sequence).filter(|digits| digits.len() == 20)?.parse().ok()?;
    Some(Found { sequence, version: version.to_owned(), path })
}

/// Checkpoints, newest first.
async fn find(context: &Context) -> PortResult<Vec<Found>> {
    let folder = folder(context);
    let objects = context.retry("list checkpoints", || context.ports.objects.list(&folder)).await?;
    let mut found: Vec<Found> = objects.into_iter().filter_map(|object| parse(object.path)).collect();
    found.sort_by(|a, b| b.cmp(a));
    Ok(found)
}

/// What the lake knows of closed windows.
#[derive(Debug)]
pub(super) enum Known {
    /// The state to go on with.
    State(Box<State>),
    /// What has closed, by another version of the view; nothing else is known.
    Closed(Box<State>),
    /// Nothing.
    Nothing(Box<State>),
}

/// The newest checkpoint that can be read.
///
/// # Errors
/// `NotFound` when those that were found are gone: another process has put newer ones.
pub(super) async fn load(context: &Context) -> Result<Known, SpeedError> {
    let found = find(context).await?;
    let is_ours = |found: &&Found| found.version == context.view.version;
    let after = found.iter().map(|found| found.sequence + 1).max().unwrap_or(0);
    let mut gone = None;
    let ours = found.iter().filter(is_ours);
    for (found, own) in ours.map(|f| (f, true)).chain(found.iter().filter(|f| !is_ours(f)).map(|f| (f, false))) {
        let bytes = match context.retry("read checkpoint", || context.ports.objects.get(&found.path)).await {
            Ok(bytes) => bytes,
            Err(error) if is_absent(&error) => {
                gone = Some(error);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if gone.is_some() && !own {
            break;
        }
        let mut state = context.fresh();
        let sequence = found.sequence;
        let decoded = compute(move || state.decode(&bytes, sequence).map(|same| (state, same))).await?;
        match decoded {
            Ok((mut state, same)) => {
                // One that is damaged was put after it.
                state.sequence = after;
                let state = Box::new(state);
                return Ok(if same { Known::State(state) } else { Known::Closed(state) });
            }
            Err(error) => {
                tracing::error!(path = found.path, %error, "checkpoint is damaged, the one before it will be used");
                metrics::counter!("tideline_close_corrupt_checkpoints_total", &context.labels()).increment(1);
            }
        }
    }
    if let Some(error) = gone {
        return Err(error.into());
    }
    let mut state = context.fresh();
    state.sequence = after;
    Ok(Known::Nothing(Box::new(state)))
}

/// Whether there is a checkpoint of this version.
pub(super) async fn has_begun(context: &Context) -> PortResult<bool> {
    Ok(find(context).await?.iter().any(|found| found.version == context.view.version))
}

/// Puts the checkpoint of a state.
///
/// # Errors
/// [`SpeedError::Superseded`] when another process has put one of this number, or later ones.
pub(super) async fn put(context: &Context, sequence: u64, bytes: Vec<u8>) -> Result<(), SpeedError> {
    let bytes = bytes::Bytes::from(bytes);
    let (path, objects) = (path(context, sequence), &context.ports.objects);
    let created = context.retry("write checkpoint", || objects.put_if_absent(&path, bytes.clone())).await?;
    let superseded = || SpeedError::Superseded { what: context.name() };
    if created == Created::Exists {
        // Ours, if the answer to the first attempt was lost.
        let there = context.retry("read checkpoint", || objects.get(&path)).await;
        if !there.is_ok_and(|there| there == bytes) {
            return Err(superseded());
        }
    }
    // Old ones are dropped: the place was free for one who has slept through all that came after.
    let found = find(context).await?;
    let ours: Vec<&Found> = found.iter().filter(|found| found.version == context.view.version).collect();
    if ours.first().is_none_or(|newest| newest.sequence != sequence) {
        if let Err(error) = objects.delete(&path).await {
            tracing::warn!(path, %error, "a checkpoint that nobody reads could not be dropped");
        }
        return Err(superseded());
    }
    let others = found.iter().filter(|found| found.version != context.view.version);
    // Of other versions one is enough: to know what they have closed.
    let old = ours.into_iter().skip(context.config.checkpoints_kept).chain(others.skip(1));
    for found in old {
        // What is not dropped now is dropped the next time.
        if let Err(error) = objects.delete(&found.path).await {
            tracing::warn!(path = found.path, %error, "an old checkpoint could not be dropped");
        }
    }
    Ok(())
}

/// Puts the first checkpoint; one that is there is as good.
pub(super) async fn put_first(context: &Context, state: &State) -> Result<(), PortError> {
    let (path, bytes) = (path(context, state.sequence), bytes::Bytes::from(state.encode()));
    context.retry("write checkpoint", || context.ports.objects.put_if_absent(&path, bytes.clone())).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_number_and_version() {
        let of = |name: &str| parse(format!("close/v/0/{name}")).map(|found| (found.sequence, found.version));
        assert_eq!(of("00000000000000000007-00ff.ckpt"), Some((7, "00ff".to_owned())));
        assert_eq!((of("7-00ff.ckpt"), of("00000000000000000007-00ff.tmp"), of("x")), (None, None, None));
    }
}
