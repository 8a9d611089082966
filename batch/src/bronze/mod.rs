//! What becomes of old Bronze, after a publication: small files are joined, and what retention does not keep is
//! dropped.
//!
//! # What is touched
//! A file is *settled* when nobody needs it as it is:
//! - a version that was published at least `grace` ago has taken it in, so no reader of this layer is behind it;
//! - it ends at or before the oldest checkpoint of its shard: what the speed layer has yet to do for it, such as its
//!   dead letters, has been done. A shard without a checkpoint has no settled file;
//! - no replay is reading Bronze from its beginning (see [`tideline_common::generation`]);
//! - it is not one of the newest `bronze_keep_newest` of its chain: those tell writers where the chain ends.
//!
//! # Why nobody is harmed
//! Bronze is a function from offsets to records. A joined file `<first>-<next>.parquet` holds what its members held,
//! and is put, only if absent, before they are deleted. Whoever listed before finds members gone, and lists again;
//! whoever lists in between sees both, and passes over what it has had. A writer that was paused for so long that its
//! chain has been joined meanwhile may put a member again: it holds what the joined file holds, is compared with it
//! and deleted by the next run. `docs/adr/0010-joined-bronze.md` has the whole argument.

mod join;
mod retain;

use std::collections::BTreeMap;

use tideline_common::checkpoint;
use tideline_common::generation::Replays;
use tideline_common::manifest::Manifest;
use tideline_common::plan::Plan;
use tideline_common::ports::{Objects, PortError};
use tideline_common::position::{Offset, Partition, Positions, Shard};
use tideline_transform::bronze::chain::{self, ChainFile};

use crate::chain::list;
use crate::context::Context;
use crate::error::BatchError;
use crate::manifests::Manifests;
use join::Joiner;

/// What was done to Bronze after a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct BronzeCounts {
    /// Files that were joined to others, and deleted.
    pub joined: u64,
    /// Bigger files that they were joined to.
    pub written: u64,
    /// Files deleted because retention no longer keeps them.
    pub dropped: u64,
}

/// Joins and drops what is settled, of all sources of the plan. What one source meets ends the work on it alone.
///
/// # Errors
/// The first of what was met; what was done stays, and the next run goes on.
pub(crate) async fn maintain(context: &Context, manifests: &Manifests) -> Result<BronzeCounts, BatchError> {
    let mut counts = BronzeCounts::default();
    if let Some(generation) = Replays::read(context.lake.objects.as_ref()).await?.building() {
        // It reads Bronze from the beginning, and has no checkpoint yet that would say so.
        tracing::warn!(
            generation = generation.0,
            "Bronze is left as it is until the replay that was begun has read it"
        );
        return Ok(counts);
    }
    let Some(kept) = kept(context, manifests).await? else { return Ok(counts) };
    let mut result = Ok(());
    for source in &context.plan().sources {
        context.check()?;
        let done = maintain_source(context, &source.name, &kept, &mut counts).await;
        if let Err(error) = done {
            tracing::warn!(source = source.name, %error, "Bronze could not be tended");
            result = result.and(Err(error));
        }
    }
    metrics::counter!("tideline_batch_bronze_joined_total").increment(counts.joined);
    metrics::counter!("tideline_batch_bronze_dropped_total").increment(counts.dropped);
    result.map(|()| counts)
}

/// What the kept versions have taken in.
#[derive(Debug)]
struct Kept {
    /// The newest that is at least `grace` old.
    settled: Manifest,
    /// Positions that every kept version has taken in, by source.
    least: BTreeMap<String, Positions>,
}

/// `None` when no version is old enough.
async fn kept(context: &Context, manifests: &Manifests) -> Result<Option<Kept>, BatchError> {
    let edge = context.now.minus(context.config.grace);
    let mut settled: Option<Manifest> = None;
    let mut least: Option<BTreeMap<String, Positions>> = None;
    for version in manifests.versions().await? {
        let manifest = match manifests.get(version).await {
            Ok(manifest) => manifest,
            // Damaged, or gone since: nothing can go back to it.
            Err(BatchError::Port(PortError::Corrupt { .. }) | BatchError::NoVersion { .. }) => continue,
            Err(error) => return Err(error),
        };
        let positions = manifest.sources.iter().map(|(name, progress)| (name.clone(), progress.positions.clone()));
        least = Some(match least {
            None => positions.collect(),
            Some(least) => both(&least, &positions.collect()),
        });
        if manifest.published_at <= edge {
            settled = Some(manifest);
        }
    }
    Ok(settled.zip(least).map(|(settled, least)| Kept { settled, least }))
}

/// Positions that both have come to.
fn both(a: &BTreeMap<String, Positions>, b: &BTreeMap<String, Positions>) -> BTreeMap<String, Positions> {
    let mut least = BTreeMap::new();
    for (source, positions) in a {
        let Some(others) = b.get(source) else { continue };
        let common = positions.iter().filter_map(|(partition, at)| Some((*partition, *at.min(others.get(partition)?))));
        least.insert(source.clone(), common.collect());
    }
    least
}

async fn maintain_source(
    context: &Context,
    source: &str,
    kept: &Kept,
    counts: &mut BronzeCounts,
) -> Result<(), BatchError> {
    let Some(progress) = kept.settled.sources.get(source) else { return Ok(()) };
    let retention = context.plan().source(source).and_then(|source| source.retain_bronze);
    for (partition, files) in list(context.lake.objects.as_ref(), source).await? {
        context.check()?;
        let Some(oldest) = oldest_checkpoint(context, &Shard::new(source, partition)).await? else { continue };
        let taken_in = progress.positions.get(&partition).copied().unwrap_or(0);
        let limit = taken_in.min(oldest);
        let mut joiner = Joiner { context, source, partition, counts };
        joiner.clear(&files, limit).await?;
        if context.config.bronze_join_bytes > 0 {
            let candidates = settled(&files, limit, context.config.bronze_keep_newest);
            joiner.join(candidates).await?;
        }
        if let Some(retention) = retention {
            let every = kept.least.get(source).and_then(|positions| positions.get(&partition)).copied().unwrap_or(0);
            let candidates = settled(&files, limit.min(every), context.config.bronze_keep_newest);
            retain::drop_expired(context, source, partition, candidates, retention, counts).await?;
        }
    }
    Ok(())
}

/// Chains that no longer begin where their shards did, as texts.
pub(crate) async fn dropped(objects: &dyn Objects, plan: &Plan) -> Result<Vec<String>, BatchError> {
    let mut dropped = Vec::new();
    for source in &plan.sources {
        for (partition, files) in list(objects, &source.name).await? {
            let Some(first) = files.first().map(|file| file.first) else { continue };
            let shard = Shard::new(&source.name, partition);
            let start = match objects.get(&checkpoint::start_path(&shard)).await {
                Ok(bytes) => std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0),
                // Nobody has noted it: at the beginning of the log, most likely.
                Err(PortError::NotFound { .. }) => 0,
                Err(error) => return Err(error.into()),
            };
            if first > start {
                dropped.push(format!("{shard} began at {start} and has {first} on"));
            }
        }
    }
    Ok(dropped)
}

/// Position of the oldest checkpoint of a shard, of whatever plan.
async fn oldest_checkpoint(context: &Context, shard: &Shard) -> Result<Option<Offset>, BatchError> {
    let objects = context.lake.objects.list(&checkpoint::folder(shard)).await?;
    Ok(objects.iter().filter_map(|object| checkpoint::position_of(&object.path)).min())
}

/// A file with the offset that it ends at: as its name says, or as that of the next one says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Settled {
    file: ChainFile,
    next: Offset,
}

/// The files of a chain that end at or before `limit` and are not among the newest, without those within a joined
/// one. `files` are in the order of [`chain::sort`].
fn settled(files: &[ChainFile], limit: Offset, keep_newest: usize) -> Vec<Settled> {
    let files = chain::without_covered(files.to_vec());
    let count = files.len().saturating_sub(keep_newest.max(1));
    let ends = files.iter().zip(files.iter().skip(1)).take(count);
    let ends = ends.map(|(file, after)| Settled { next: file.next.unwrap_or(after.first), file: file.clone() });
    ends.take_while(|settled| settled.next <= limit).collect()
}

/// A path for messages.
fn what(source: &str, partition: Partition) -> String {
    format!("Bronze of {source}/{partition}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(first: Offset) -> ChainFile {
        ChainFile { path: first.to_string(), first, next: None, size: 1 }
    }

    #[test]
    fn the_newest_and_what_is_not_taken_in_stay() {
        let mut files: Vec<ChainFile> = [0, 10, 20, 30, 40].into_iter().map(plain).collect();
        let of = |files: &[ChainFile], limit, keep| -> Vec<(Offset, Offset)> {
            settled(files, limit, keep).iter().map(|s| (s.file.first, s.next)).collect()
        };
        assert_eq!(of(&files, 100, 1), [(0, 10), (10, 20), (20, 30), (30, 40)]);
        assert_eq!(of(&files, 100, 0), of(&files, 100, 1), "where the newest ends no name says");
        assert_eq!(of(&files, 100, 3), [(0, 10), (10, 20)]);
        assert_eq!(of(&files, 25, 1), [(0, 10), (10, 20)]);
        files.push(ChainFile { path: "j".to_owned(), first: 0, next: Some(20), size: 2 });
        chain::sort(&mut files);
        assert_eq!(of(&files, 100, 1), [(0, 20), (20, 30), (30, 40)]);
        assert_eq!(of(&files, 0, 1), []);
    }

    #[test]
    fn what_all_versions_have_taken_in() {
        let of = |positions: &[(u32, u64)]| BTreeMap::from([("s".to_owned(), positions.iter().copied().collect())]);
        assert_eq!(both(&of(&[(0, 5), (1, 9)]), &of(&[(0, 7)])), of(&[(0, 5)]));
        assert_eq!(both(&of(&[(0, 5)]), &BTreeMap::new()), BTreeMap::new());
    }
}
