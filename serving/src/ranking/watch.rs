//! What the stores say of themselves, looked at once for all views.

use std::sync::Arc;

use tideline_common::generation::Generation;
use tideline_common::manifest::Manifest;
use tideline_common::ports::{PortResult, Progress};
use tideline_common::position::Shard;
use tokio::sync::watch;

use super::{Ports, RankingsConfig};
use crate::versions::Versions;

/// A manifest that was read: the newest, `None` before the first is published.
pub(crate) type Newest = Option<Arc<Manifest>>;

/// The shards with their progress.
pub(crate) type Shards = Arc<[(Shard, Progress)]>;

/// The newest manifest and the progress of the shards, as far as they can be read.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    /// `None` until it could be read; then the newest manifest, `None` before the first.
    pub(crate) manifest: watch::Receiver<Option<Newest>>,
    /// `None` until it could be read.
    pub(crate) generation: watch::Receiver<Option<Generation>>,
    /// `None` while it cannot be read.
    pub(crate) progress: watch::Receiver<Option<Shards>>,
}

/// Where both are seen, and the work of looking.
pub(crate) fn watch(
    ports: Ports,
    versions: Versions,
    config: RankingsConfig,
) -> (Watched, impl Future<Output = ()> + Send) {
    let (manifest, manifest_seen) = watch::channel(None);
    let (generation, generation_seen) = watch::channel(None);
    let (progress, progress_seen) = watch::channel(None);
    let looking = async move {
        loop {
            let (newest, of, shards) = tokio::join!(
                in_time(config, ports.analytics.current()),
                in_time(config, ports.views.generation()),
                in_time(config, ports.views.progress()),
            );
            if of.is_some() {
                generation.send_if_modified(|known| std::mem::replace(known, of) != of);
            }
            if let Some(newest) = newest {
                let version = |known: &Option<Arc<Manifest>>| known.as_ref().map(|manifest| manifest.version);
                manifest.send_if_modified(|known| {
                    let changed = known.as_ref().map(version) != Some(version(&newest));
                    *known = Some(newest);
                    changed
                });
            }
            let of_plan = |mut shards: Vec<(Shard, Progress)>| {
                shards.retain(|(shard, progress)| versions.has(shard, progress));
                Arc::from(shards)
            };
            progress.send_replace(shards.map(of_plan));
            tokio::time::sleep(config.refresh_interval).await;
        }
    };
    (Watched { manifest: manifest_seen, generation: generation_seen, progress: progress_seen }, looking)
}

/// What a store answers; `None` when it fails or is too slow: those who ask for an answer say so in the log.
async fn in_time<T>(config: RankingsConfig, read: impl Future<Output = PortResult<T>>) -> Option<T> {
    tokio::time::timeout(config.read_timeout, read).await.ok()?.ok()
}
