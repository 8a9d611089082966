//! The published manifest.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use tideline_common::manifest::{MANIFESTS, Manifest, decode_manifest, manifest_path, version_of};
use tideline_common::ports::{Objects, PortError, PortResult};

/// Numbers of unreadable manifests that are remembered, so that each is warned of and fetched once.
const BAD_MAX: usize = 1024;

/// Finds the published manifest, and keeps it.
#[derive(Debug)]
pub(super) struct Manifests {
    objects: Arc<dyn Objects>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    manifest: Option<Arc<Manifest>>,
    bad: BTreeSet<u64>,
}

impl Manifests {
    pub(super) fn new(objects: Arc<dyn Objects>) -> Self {
        Self { objects, kept: Mutex::default() }
    }

    /// The newest manifest that can be read, `None` before the first.
    pub(super) async fn current(&self) -> PortResult<Option<Arc<Manifest>>> {
        let kept = self.kept.lock().manifest.clone();
        let newer = match &kept {
            Some(manifest) => self.objects.list_after(MANIFESTS, &manifest_path(manifest.version)).await?,
            None => self.objects.list(MANIFESTS).await?,
        };
        let mut versions: Vec<u64> = newer.iter().filter_map(|object| version_of(&object.path)).collect();
        versions.sort_unstable();
        let mut damage = None;
        for version in versions.into_iter().rev() {
            if self.kept.lock().bad.contains(&version) {
                damage = damage.or_else(|| Some(PortError::corrupt(manifest_path(version), "it could not be read")));
                continue;
            }
            match self.read(version).await {
                Ok(manifest) => {
                    let manifest = Arc::new(manifest);
                    let mut kept = self.kept.lock();
                    // Another call may have found a newer one meanwhile.
                    if kept.manifest.as_ref().is_none_or(|old| old.version < version) {
                        kept.manifest = Some(manifest.clone());
                        kept.bad.retain(|bad| *bad > version);
                    }
                    return Ok(kept.manifest.clone());
                }
                Err(error @ (PortError::Corrupt { .. } | PortError::NotFound { .. })) => {
                    tracing::warn!(version, %error, "a manifest cannot be read; the one before it is used");
                    let mut kept = self.kept.lock();
                    if kept.bad.len() == BAD_MAX {
                        kept.bad.pop_first();
                    }
                    kept.bad.insert(version);
                    damage = damage.or(Some(error));
                }
                Err(error) => return Err(error),
            }
        }
        match (kept, damage) {
            (Some(kept), _) => Ok(Some(kept)),
            // Something was published, and nothing of it can be read: that is not the same as nothing.
            (None, Some(damage)) => Err(damage),
            (None, None) => Ok(None),
        }
    }

    async fn read(&self, version: u64) -> PortResult<Manifest> {
        decode_manifest(version, &self.objects.get(&manifest_path(version)).await?)
    }
}
