//! Telling a store of analytics, such as a database, of a published version.
//!
//! The lake is the truth: a version is published when its manifest is there, and this comes after. A store that does
//! not take it in answers from the version before; the next run tells it again, also when it finds nothing new.

use std::sync::Arc;
use std::time::Instant;

use tideline_common::manifest::Manifest;
use tideline_common::ports::{Loaded, Publication};
use tokio_util::sync::CancellationToken;

/// The store behind the port, if there is one, and what ends a load.
#[derive(Clone, Debug)]
pub(crate) struct Loader {
    pub(crate) publication: Option<Arc<dyn Publication>>,
    pub(crate) stop: CancellationToken,
}

impl Loader {
    /// Loads `manifest`. `None` without a store.
    ///
    /// # Errors
    /// A warning: the version is published, and is loaded by the next run.
    pub(crate) async fn load(&self, manifest: &Manifest) -> Result<Option<Loaded>, String> {
        let Some(publication) = &self.publication else { return Ok(None) };
        let started = Instant::now();
        let version = manifest.version;
        let result = tokio::select! {
            result = publication.load(manifest) => result.map_err(|error| error.to_string()),
            // Cut off anywhere, a load leaves what was readable readable.
            () = self.stop.cancelled() => Err("the process is shutting down".to_owned()),
        };
        metrics::histogram!("tideline_batch_publication_seconds").record(started.elapsed().as_secs_f64());
        match result {
            Ok(loaded) => {
                metrics::gauge!("tideline_batch_publication_version").set(version as f64);
                metrics::counter!("tideline_batch_publication_files_total").increment(loaded.files);
                metrics::counter!("tideline_batch_publication_rows_total").increment(loaded.rows);
                metrics::counter!("tideline_batch_publication_bytes_total").increment(loaded.bytes);
                if loaded.files > 0 {
                    tracing::info!(version, files = loaded.files, rows = loaded.rows, "version loaded");
                }
                Ok(Some(loaded))
            }
            Err(error) => {
                metrics::counter!("tideline_batch_publication_failures_total", "step" => "load").increment(1);
                tracing::warn!(
                    version,
                    error,
                    "the store of analytics did not take in the version: the next run tells it again"
                );
                Err(format!("version {version} is published, and not loaded into the store of analytics: {error}"))
            }
        }
    }

    /// Drops what none of `kept` needs.
    ///
    /// # Errors
    /// A warning: what was left is dropped after the next publication.
    pub(crate) async fn collect(&self, kept: &[Arc<Manifest>]) -> Result<u64, String> {
        let Some(publication) = &self.publication else { return Ok(0) };
        let result = tokio::select! {
            result = publication.collect(kept) => result.map_err(|error| error.to_string()),
            () = self.stop.cancelled() => Err("the process is shutting down".to_owned()),
        };
        result.map_err(|error| {
            metrics::counter!("tideline_batch_publication_failures_total", "step" => "collect").increment(1);
            tracing::warn!(error, "old files could not be dropped from the store of analytics");
            format!("old files could not be dropped from the store of analytics: {error}")
        })
    }
}
