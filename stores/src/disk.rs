//! What the adapters over fjall share: its errors as errors of the ports, room on the device, and leaving the
//! reactor for calls that block.

use std::path::{Path, PathBuf};

use fjall::LsmError;
use tideline_common::ports::{PortError, PortResult};

/// An error of fjall while doing `what`.
pub(crate) fn error(what: &str, error: fjall::Error) -> PortError {
    match error {
        fjall::Error::Io(e) | fjall::Error::Storage(LsmError::Io(e)) => match PortError::io(what, e) {
            // A file that fjall expects and does not find is damage, not an answer to what the caller asked.
            PortError::NotFound { what } => PortError::corrupt(what, "a file of the store is missing"),
            other => other,
        },
        fjall::Error::Poisoned => PortError::unavailable(
            what,
            "an earlier write failed; the store must be opened again (restart the process) to recover",
        ),
        e @ (fjall::Error::Locked | fjall::Error::KeyspaceDeleted) => PortError::unavailable(what, e),
        e => PortError::corrupt(what, e),
    }
}

/// Runs what blocks away from the reactor.
pub(crate) async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> PortResult<T> + Send + 'static,
) -> PortResult<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(PortError::unavailable(what, e)))
}

/// Room that must stay free on a device: a store refuses writes before the device is full, because fjall cannot
/// go on after a write that the device cut short.
#[derive(Debug, Clone)]
pub(crate) struct Reserve {
    folder: PathBuf,
    bytes: u64,
}

impl Reserve {
    pub(crate) fn new(folder: &Path, bytes: u64) -> Self {
        Self { folder: folder.to_owned(), bytes }
    }

    /// `Full` when writing `bytes` would touch the reserve.
    pub(crate) fn check(&self, what: &str, bytes: u64) -> PortResult<()> {
        let free = fs4::available_space(&self.folder).map_err(|e| PortError::io(what, e))?;
        if free < self.bytes.saturating_add(bytes) {
            return Err(PortError::Full {
                what: what.to_owned(),
                source: format!(
                    "the device of {} has {free} bytes free and {} must stay free",
                    self.folder.display(),
                    self.bytes
                )
                .into(),
            });
        }
        Ok(())
    }
}

/// Opens a database of fjall. One that this process has just let go of may be held for a moment by a read that
/// is still running, so a lock is waited for, for two seconds.
pub(crate) fn open(
    what: &str,
    folder: &Path,
    configure: impl Fn(fjall::DatabaseBuilder<fjall::Database>) -> fjall::DatabaseBuilder<fjall::Database>,
) -> PortResult<fjall::Database> {
    std::fs::create_dir_all(folder).map_err(|e| PortError::unavailable(what, e))?;
    let mut tries = 0;
    loop {
        match configure(fjall::Database::builder(folder)).open() {
            Err(fjall::Error::Locked) if tries < 100 => {
                tries += 1;
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            other => return other.map_err(|e| error(what, e)),
        }
    }
}
