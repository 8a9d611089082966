//! Checkpoints of closing windows: a chain that has one author at a time.
//!
//! `close/<view>/<partition>/<sequence, 20 digits>-<version of the view>.ckpt`. What is decided is put here before it is
//! done, each checkpoint only if absent and under the number that follows the one before. Of two processes that are at
//! work on one partition without knowing of each other one loses, and goes on from what the other has put: nothing is
//! ever done of which there is not one decision.
//!
//! Versions of the view share the numbers: the newest checkpoint says what has closed, whosever it is. A version goes on
//! from one of its own only if that is the newest. One that comes back after another was at work, because a definition was
//! taken back, would else close again what that one has closed; it goes on after it, as the other had gone on after this one.
//! As the version is part of the name, two versions may put one number; so whoever has put a checkpoint looks whether it is
//! alone before it does anything, and takes it back if it is not.

use tideline_common::ports::{Created, PortError, PortResult};

use super::context::Context;
use super::state::State;
use crate::SpeedError;
use crate::context::compute;

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

/// How often it is looked again when what was found is gone: another process has put newer ones.
const LOOKS: u32 = 5;

/// The newest checkpoint that can be read.
///
/// # Errors
/// `NotFound` when those that were found are gone again and again.
pub(super) async fn load(context: &Context) -> Result<Known, SpeedError> {
    let mut looks = 0;
    loop {
        looks += 1;
        match look(context).await {
            Err(SpeedError::Port(PortError::NotFound { .. })) if looks < LOOKS => {}
            outcome => return outcome,
        }
    }
}

async fn look(context: &Context) -> Result<Known, SpeedError> {
    let found = find(context).await?;
    let after = found.first().map_or(0, |newest| newest.sequence + 1);
    for found in found {
        // One that is gone is older than one that was not found.
        let bytes = context.retry("read checkpoint", || context.ports.objects.get(&found.path)).await?;
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
    let mut state = context.fresh();
    state.sequence = after;
    Ok(Known::Nothing(Box::new(state)))
}

/// Whether the newest checkpoint is of this version.
pub(super) async fn has_begun(context: &Context) -> PortResult<bool> {
    Ok(find(context).await?.first().is_some_and(|newest| newest.version == context.view.version))
}

/// Puts the checkpoint of a state.
///
/// # Errors
/// [`SpeedError::Superseded`] when another process has put one of this number, or later ones.
pub(super) async fn put(context: &Context, sequence: u64, bytes: Vec<u8>) -> Result<(), SpeedError> {
    let bytes = bytes::Bytes::from(bytes);
    let (path, objects) = (path(context, sequence), &context.ports.objects);
    let created = context.retry("write checkpoint", || objects.put_if_absent(&path, bytes.clone())).await?;
    if created == Created::Exists {
        // Ours, if the answer to the first attempt was lost.
        let there = context.retry("read checkpoint", || objects.get(&path)).await;
        if !there.is_ok_and(|there| there == bytes) {
            return Err(superseded(context));
        }
    }
    let found = alone(context, sequence).await?;
    let (ours, others): (Vec<Found>, Vec<Found>) =
        found.into_iter().partition(|found| found.version == context.view.version);
    // Of other versions one is enough: to know what they have closed, where ours are damaged.
    let old = ours.into_iter().skip(context.config.checkpoints_kept).chain(others.into_iter().skip(1));
    for found in old {
        // What is not dropped now is dropped the next time.
        if let Err(error) = objects.delete(&found.path).await {
            tracing::warn!(path = found.path, %error, "an old checkpoint could not be dropped");
        }
    }
    Ok(())
}

/// Puts the first checkpoint of this version, or the first after those of another; one of this version that is there is as good.
///
/// # Errors
/// [`SpeedError::Superseded`] when there is one of another version of this number, or later ones.
pub(super) async fn put_first(context: &Context, state: &State) -> Result<(), SpeedError> {
    let (path, bytes) = (path(context, state.sequence), bytes::Bytes::from(state.encode()));
    match context.retry("write checkpoint", || context.ports.objects.put_if_absent(&path, bytes.clone())).await? {
        Created::Yes => alone(context, state.sequence).await.map(|_| ()),
        Created::Exists => Ok(()),
    }
}

/// All checkpoints, if the one of this number and version is the newest, and the only one of its number. Else it is taken
/// back, before anything that it decides was done: old ones are dropped, so that its place was free for one who has slept
/// through all that came after it; and another version may have taken the number.
async fn alone(context: &Context, sequence: u64) -> Result<Vec<Found>, SpeedError> {
    let found = find(context).await?;
    if is_alone(&found, sequence, &context.view.version) {
        return Ok(found);
    }
    let path = path(context, sequence);
    if let Err(error) = context.ports.objects.delete(&path).await {
        tracing::warn!(path, %error, "a checkpoint that nobody reads could not be dropped");
    }
    Err(superseded(context))
}

fn is_alone(newest_first: &[Found], sequence: u64, version: &str) -> bool {
    let mut last = newest_first.iter().take_while(|found| found.sequence >= sequence);
    last.next().is_some_and(|found| found.sequence == sequence && found.version == version) && last.next().is_none()
}

fn superseded(context: &Context) -> SpeedError {
    SpeedError::Superseded { what: context.name() }
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

    #[test]
    fn a_number_is_one_versions() {
        let alone = |others: &[(u64, &str)]| {
            let found = |(sequence, version): &(u64, &str)| Found {
                sequence: *sequence,
                version: (*version).to_owned(),
                path: String::new(),
            };
            is_alone(&others.iter().map(found).collect::<Vec<_>>(), 7, "b")
        };
        assert!(alone(&[(7, "b")]) && alone(&[(7, "b"), (6, "c"), (6, "b")]));
        assert!(!alone(&[(7, "c"), (7, "b")]) && !alone(&[(7, "b"), (7, "a")]), "another version has put it, too");
        assert!(!alone(&[(8, "a"), (7, "b")]) && !alone(&[(9, "b"), (7, "b")]), "others are further");
        assert!(!alone(&[(6, "b")]) && !alone(&[]), "it was dropped as an old one");
    }
}
