//! Which versions are loaded, and their manifests.
//!
//! A version is loaded once its row is in `tideline_versions`: one insert of one row, after everything that it names.
//! The manifest itself is read from the lake, and kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tideline_common::manifest::{Manifest, decode_manifest, manifest_path};
use tideline_common::ports::{Objects, PortError, PortResult};

use super::ClickHouseConfig;
use super::rowbinary::{write_int, write_length, write_text};
use super::schema::{GoldTable, VERSIONS};
use super::server::{Server, is_absent};

/// Manifests that are kept.
const MANIFESTS_MAX: usize = 8;

/// The loaded versions.
#[derive(Debug)]
pub(super) struct Versions {
    objects: Arc<dyn Objects>,
    config: ClickHouseConfig,
    known: Mutex<Known>,
    /// Held while the server is asked, so that it is asked once for all who wait.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    asked: Option<Instant>,
    loaded: BTreeSet<u64>,
    manifests: BTreeMap<u64, Arc<Manifest>>,
    /// Versions whose manifest cannot be read, each warned of once.
    bad: BTreeSet<u64>,
}

impl Versions {
    pub(super) fn new(objects: Arc<dyn Objects>, config: &ClickHouseConfig) -> Self {
        Self { objects, config: config.clone(), known: Mutex::default(), asking: tokio::sync::Mutex::new(()) }
    }

    /// The loaded versions as the server has them now.
    pub(super) async fn ask(&self, server: &Server) -> PortResult<BTreeSet<u64>> {
        let sql = format!("SELECT DISTINCT version FROM {VERSIONS} ORDER BY version");
        let asked = Instant::now();
        let rows = match server.table("reading the loaded versions", sql).await {
            // Nothing was ever made there: nothing is loaded.
            Err(error) if is_absent(&error) => Vec::new(),
            rows => rows?,
        };
        let parse = |row: &Vec<String>| row.first().and_then(|text| text.parse().ok());
        let loaded: Option<BTreeSet<u64>> = rows.iter().map(parse).collect();
        let loaded = loaded.ok_or_else(|| PortError::corrupt(VERSIONS, "a version is no number"))?;
        let mut known = self.known.lock();
        known.asked = Some(asked);
        known.loaded.clone_from(&loaded);
        Ok(loaded)
    }

    /// The loaded versions, at most as old as is configured.
    async fn recent(&self, server: &Server) -> PortResult<BTreeSet<u64>> {
        let fresh = || {
            let known = self.known.lock();
            let is_fresh = known.asked.is_some_and(|asked| asked.elapsed() < self.config.refresh);
            is_fresh.then(|| known.loaded.clone())
        };
        if let Some(loaded) = fresh() {
            return Ok(loaded);
        }
        let _asking = self.asking.lock().await;
        match fresh() {
            Some(loaded) => Ok(loaded),
            None => self.ask(server).await,
        }
    }

    /// See [`tideline_common::ports::Analytics::current`].
    pub(super) async fn current(&self, server: &Server) -> PortResult<Option<Arc<Manifest>>> {
        let mut damage = None;
        for version in self.recent(server).await?.into_iter().rev() {
            match self.manifest(version).await {
                Ok(manifest) => return Ok(Some(manifest)),
                Err(error @ (PortError::Corrupt { .. } | PortError::NotFound { .. })) => {
                    if self.known.lock().bad.insert(version) {
                        tracing::warn!(version, %error, "a loaded version has no manifest; the one before it is used");
                    }
                    damage = damage.or(Some(error));
                }
                Err(error) => return Err(error),
            }
        }
        damage.map_or(Ok(None), Err)
    }

    async fn manifest(&self, version: u64) -> PortResult<Arc<Manifest>> {
        if let Some(manifest) = self.known.lock().manifests.get(&version) {
            return Ok(manifest.clone());
        }
        let bytes = self.objects.get(&manifest_path(version)).await?;
        let manifest = Arc::new(decode_manifest(version, &bytes)?);
        let mut known = self.known.lock();
        known.manifests.insert(version, manifest.clone());
        if known.manifests.len() > MANIFESTS_MAX {
            known.manifests.pop_first();
        }
        Ok(manifest)
    }

    /// Refuses reads of a version that is not loaded, or not any more: there would be holes in the answer.
    pub(super) async fn check(&self, server: &Server, version: u64) -> PortResult<()> {
        if self.recent(server).await?.contains(&version) || self.ask(server).await?.contains(&version) {
            return Ok(());
        }
        Err(PortError::unavailable(format!("version {version} of the batch layer"), "ClickHouse does not have it"))
    }

    /// Makes a version readable. Everything that it names is there.
    pub(super) async fn publish(&self, server: &Server, manifest: &Manifest) -> PortResult<()> {
        let mut row = Vec::new();
        row.extend_from_slice(&manifest.version.to_le_bytes());
        write_text(&manifest.run, &mut row);
        write_int(manifest.published_at.0, &mut row);
        write_length(manifest.views.len(), &mut row);
        for (view, files) in &manifest.views {
            write_text(&GoldTable::of_files(view, files).name(), &mut row);
            write_length(files.files.len(), &mut row);
            files.files.iter().for_each(|file| write_text(&file.path, &mut row));
        }
        let through = || manifest.views.iter().filter_map(|(view, files)| Some((view, files.through?)));
        write_length(through().count(), &mut row);
        for (view, time) in through() {
            write_text(view, &mut row);
            write_int(time.0, &mut row);
        }
        let sql = format!("INSERT INTO {VERSIONS} (version, run, published_at, files, through) FORMAT RowBinary");
        let mut insert = server.insert("making a version current", sql);
        insert.send(row).await?;
        insert.end().await?;
        self.ask(server).await.map(drop)
    }
}
