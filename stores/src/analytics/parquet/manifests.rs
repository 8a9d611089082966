//! The published manifest.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Deserialize;
use tideline_common::manifest::{MANIFESTS, Manifest, StoredManifest, manifest_path};
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

/// The format alone, of whatever is stored.
#[derive(Deserialize)]
struct Format {
    format: String,
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
        let path = manifest_path(version);
        let bytes = self.objects.get(&path).await?;
        let Format { format } = serde_json::from_slice(&bytes).map_err(|e| PortError::corrupt(&path, e))?;
        if format != "1" {
            let reason = format!("format {format:?} is unknown: it was written by a newer version of this program");
            return Err(PortError::invalid(path, reason));
        }
        let StoredManifest::V1(manifest) = serde_json::from_slice(&bytes).map_err(|e| PortError::corrupt(&path, e))?;
        if manifest.version != version {
            return Err(PortError::corrupt(path, format!("it says that it is version {}", manifest.version)));
        }
        Ok(manifest)
    }
}

/// The number in the path of a manifest; `None` for other objects.
fn version_of(path: &str) -> Option<u64> {
    let digits = path.strip_prefix(MANIFESTS)?.strip_prefix('/')?.strip_suffix(".json")?;
    if digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
}
