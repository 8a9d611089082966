//! The published versions: `gold/_manifests/<version>.json`, each put only if absent.
//!
//! The highest number is the published one. Publication is one conditional put: of two writers that both began
//! from version N, one makes N + 1 and the other learns that it lost ([`BatchError::LostRace`]).

use std::sync::Arc;

use bytes::Bytes;
use tideline_common::manifest::{MANIFESTS, Manifest, StoredManifest, decode_manifest, manifest_path, version_of};
use tideline_common::ports::{Created, Objects, PortError};

use crate::error::BatchError;

/// Reads and writes manifests.
#[derive(Clone, Debug)]
pub struct Manifests {
    objects: Arc<dyn Objects>,
}

impl Manifests {
    /// Manifests of a lake.
    pub const fn new(objects: Arc<dyn Objects>) -> Self {
        Self { objects }
    }

    /// Numbers of the versions that are kept, ascending.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn versions(&self) -> Result<Vec<u64>, BatchError> {
        let mut versions: Vec<u64> =
            self.objects.list(MANIFESTS).await?.iter().filter_map(|object| version_of(&object.path)).collect();
        versions.sort_unstable();
        Ok(versions)
    }

    /// The published version, `None` before the first: the newest that can be read.
    ///
    /// # Errors
    /// As [`Manifests::newest`].
    pub async fn current(&self) -> Result<Option<Manifest>, BatchError> {
        Ok(self.newest().await?.0)
    }

    /// The published version, and the highest number that is taken (0: none). The number is greater than the version's
    /// own when newer manifests are damaged: those are warned of and passed over, as readers do, and a run begins from
    /// the one before them.
    ///
    /// # Errors
    /// When the store fails, when there are manifests and none can be read, or when the newest is of a format that a
    /// newer version of this program wrote.
    pub async fn newest(&self) -> Result<(Option<Manifest>, u64), BatchError> {
        let versions = self.versions().await?;
        let taken = versions.last().copied().unwrap_or(0);
        let mut damage = None;
        for version in versions.into_iter().rev() {
            match self.get(version).await {
                Ok(manifest) => return Ok((Some(manifest), taken)),
                Err(BatchError::Port(error @ PortError::Corrupt { .. })) => {
                    tracing::warn!(version, %error, "a manifest cannot be read; the one before it is used");
                    damage = damage.or(Some(error));
                }
                Err(error) => return Err(error),
            }
        }
        damage.map_or(Ok((None, taken)), |damage| Err(damage.into()))
    }

    /// A version.
    ///
    /// # Errors
    /// [`BatchError::NoVersion`] when it is not kept; otherwise as [`Manifests::current`].
    pub async fn get(&self, version: u64) -> Result<Manifest, BatchError> {
        let path = manifest_path(version);
        let bytes = match self.objects.get(&path).await {
            Ok(bytes) => bytes,
            Err(PortError::NotFound { .. }) => {
                let kept: Vec<String> = self.versions().await?.iter().map(u64::to_string).collect();
                let kept = if kept.is_empty() { "none is".to_owned() } else { format!("kept are {}", kept.join(", ")) };
                return Err(BatchError::NoVersion { version, kept });
            }
            Err(error) => return Err(error.into()),
        };
        Ok(decode_manifest(version, &bytes)?)
    }

    /// Publishes `manifest` under its version.
    ///
    /// # Errors
    /// [`BatchError::LostRace`] when that version is there already, and not this one.
    pub async fn publish(&self, manifest: &Manifest) -> Result<(), BatchError> {
        let path = manifest_path(manifest.version);
        let bytes = serde_json::to_vec(&StoredManifest::V1(manifest.clone()))
            .map_err(|error| PortError::invalid(&path, error))?;
        match self.objects.put_if_absent(&path, Bytes::from(bytes)).await? {
            Created::Yes => Ok(()),
            // A put may be repeated by the store's client after a lost answer: ours is then there already.
            Created::Exists => match self.get(manifest.version).await {
                Ok(there) if there.run == manifest.run => Ok(()),
                _ => Err(BatchError::LostRace { version: manifest.version }),
            },
        }
    }

    /// Deletes a version. The published one must never be named.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn delete(&self, version: u64) -> Result<(), BatchError> {
        Ok(self.objects.delete(&manifest_path(version)).await?)
    }
}
