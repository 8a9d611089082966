//! After publication: what no version needs any more is deleted.
//!
//! # What is safe to delete
//! A version is kept while it is one of the newest `keep_versions`, or was the published one within the last
//! `grace`: a reader that began with it can finish. A file is kept while a kept version names it, or while its run
//! (the id is in the file's name, and says when the run began) is younger than `grace`.
//!
//! Collection happens only right after a publication of ours. A run of another process that began before it can
//! no longer publish (its version is taken), and one that began after it is young. So whatever is deleted,
//! nothing will ever name it. Manifests go first: a crash in between leaves files without a version, which the
//! next collection finds.

use std::collections::BTreeSet;
use std::sync::Arc;

use tideline_common::manifest::Manifest;
use tideline_common::ports::PortError;
use tideline_common::time::{Span, Timestamp};
use ulid::Ulid;

use crate::config::BatchConfig;
use crate::error::BatchError;
use crate::lake::Lake;
use crate::manifests::Manifests;

/// Every file that a version names.
pub fn files_of(manifest: &Manifest) -> impl Iterator<Item = &str> {
    let seen = manifest.sources.values().flat_map(|source| &source.seen);
    let silver = manifest.tables.values().flat_map(|table| &table.files);
    let gold = manifest.views.values().flat_map(|view| &view.files);
    let timed = seen.chain(silver).chain(gold).map(|file| file.path.as_str());
    timed.chain(manifest.reports.values().flat_map(|report| &report.files).map(|file| file.path.as_str()))
}

/// When the run that wrote `path` began; `None` for a file that no run wrote.
fn began(path: &str) -> Option<Timestamp> {
    let name = match path.strip_prefix("silver/_runs/") {
        // A shared run: its folder has the name.
        Some(rest) => rest,
        None => path.rsplit_once('/').map_or(path, |(_, name)| name),
    };
    let ulid = Ulid::from_string(name.get(..26)?).ok()?;
    Some(Timestamp::from_millis(i64::try_from(ulid.timestamp_ms()).ok()?))
}

/// What a collection did.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// Objects deleted.
    pub(crate) deleted: u64,
    /// The versions that are left, newest first.
    pub(crate) kept: Vec<Arc<Manifest>>,
}

/// Deletes old versions and the files that none needs.
///
/// # Errors
/// When the store fails; what was not deleted is found the next time.
pub(crate) async fn collect(
    lake: &Lake,
    manifests: &Manifests,
    config: &BatchConfig,
    now: Timestamp,
) -> Result<Collected, BatchError> {
    let versions = manifests.versions().await?;
    let edge = now.minus(config.grace);
    let newest = versions.len().saturating_sub(config.keep_versions.max(1));
    let mut kept: BTreeSet<String> = BTreeSet::new();
    let mut old = Vec::new();
    let mut left = Vec::new();
    // From the newest down: a version was the published one until the next was published.
    let mut replaced_at = Timestamp::MAX;
    for (index, version) in versions.iter().enumerate().rev() {
        let manifest = match manifests.get(*version).await {
            Ok(manifest) => Some(Arc::new(manifest)),
            // No reader can have begun with it: it goes when it is old, and needs no file.
            Err(BatchError::Port(PortError::Corrupt { .. })) => None,
            Err(error) => return Err(error),
        };
        if index >= newest || replaced_at > edge {
            kept.extend(manifest.iter().flat_map(|manifest| files_of(manifest)).map(str::to_owned));
            left.extend(manifest.clone());
        } else {
            old.push(*version);
        }
        replaced_at = manifest.map_or(replaced_at, |manifest| manifest.published_at);
    }
    let mut deleted = 0;
    for version in old {
        manifests.delete(version).await?;
        deleted += 1;
    }
    for folder in ["silver", "gold"] {
        for object in lake.objects.list(folder).await? {
            let expired = began(&object.path).is_some_and(|began| began < edge);
            if expired && !kept.contains(&object.path) {
                lake.objects.delete(&object.path).await?;
                deleted += 1;
            }
        }
    }
    metrics::counter!("tideline_batch_deleted_objects_total").increment(deleted);
    Ok(Collected { deleted, kept: left })
}

/// A new run id, ordered by time.
pub(crate) fn run_id(now: Timestamp) -> String {
    let since = std::time::UNIX_EPOCH + Span(now.0).to_std();
    // Only within one millisecond can the random part overflow, and the part is new each time.
    let mut generator = ulid::Generator::new();
    generator.generate_from_datetime(since).unwrap_or_else(|_| Ulid::nil()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_says_when_its_run_began() {
        let now = Timestamp::from_millis(1_400_000_000_123);
        let run = run_id(now);
        assert_eq!(began(&format!("silver/t/symbol=A/{run}-17.parquet")), Some(now));
        assert_eq!(began(&format!("silver/_runs/{run}-0/claims/000001-000.json")), Some(now));
        assert_eq!(began("gold/_manifests/00000000000000000001.json"), None);
        assert_eq!(began("silver/t/readme.txt"), None);
        assert_ne!(run_id(now), run);
    }
}
