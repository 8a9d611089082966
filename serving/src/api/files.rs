//! Files that a running process looks at again: certificates and keys are renewed without a restart.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// The largest such file, in bytes.
const BYTES_MAX: u64 = 1 << 20;
/// How often files are looked at again.
pub(super) const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct FileError {
    /// Which file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl FileError {
    pub(crate) fn new(path: &Path, reason: impl Into<String>) -> Self {
        Self { path: path.to_path_buf(), reason: reason.into() }
    }
}

/// All of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let file = std::fs::File::open(path).map_err(|error| FileError::new(path, format!("cannot be read: {error}")))?;
    let mut bytes = Vec::new();
    let read = file.take(BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| FileError::new(path, format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(FileError::new(path, "is larger than 1 MiB"));
    }
    Ok(bytes)
}

/// Looks again and again until `shutdown`. What fails is logged, and changes nothing; what is new is logged too.
pub(crate) async fn follow(
    what: &'static str,
    every: Duration,
    shutdown: CancellationToken,
    look: impl Fn() -> Result<bool, FileError> + Clone + Send + 'static,
) {
    while shutdown.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
        // A file may lie on a disk that does not answer.
        let looked = tokio::task::spawn_blocking(look.clone());
        let outcome = match shutdown.run_until_cancelled(looked).await {
            None => return,
            Some(Ok(Ok(false))) => continue,
            Some(Ok(Ok(true))) => {
                tracing::info!(what, "renewed files are used from now on");
                "renewed"
            }
            Some(Ok(Err(error))) => {
                tracing::error!(%error, what, "renewed files cannot be used; those from before stay");
                "failed"
            }
            Some(Err(error)) => {
                tracing::error!(%error, what, "files could not be looked at");
                "failed"
            }
        };
        metrics::counter!("tideline_http_files_total", "what" => what, "outcome" => outcome).increment(1);
    }
}
