//! A data folder, held by one process at a time.
//!
//! The lock is one of the operating system on the file `LOCK`: it goes with the process that holds it, however
//! that process ends. The file holds the process id of the holder, for the message only.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Why a data folder cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Someone else has it.
    #[error("the data folder {} is in use by {}; stop it, or choose another folder with --data", .folder.display(), holder(*.pid))]
    Held {
        /// The folder.
        folder: PathBuf,
        /// The process that has it, if its id could be read.
        pid: Option<u32>,
    },
    /// The folder cannot be created, or its lock not be written.
    #[error("the data folder {} cannot be used: {source}", .folder.display())]
    Io {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// An open data folder. Dropping it lets the next one in.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Opens the folder, creating it if needed, for this process alone.
    ///
    /// # Errors
    /// [`LockError::Held`] while another process, or this one, has it open; [`LockError::Io`] when it cannot be
    /// created or written.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, LockError> {
        let path = path.into();
        let io = |source| LockError::Io { folder: path.clone(), source };
        std::fs::create_dir_all(&path).map_err(io)?;
        let name = path.join("LOCK");
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&name).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(LockError::Held { folder: path, pid });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| writeln!(file, "{}", std::process::id()))
            .map_err(io)?;
        Ok(Self { path, _lock: file })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the embedded log lives.
    pub fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Where the lake (object store) lives.
    pub fn lake(&self) -> PathBuf {
        self.path.join("lake")
    }

    /// Where the embedded speed views live.
    pub fn views(&self) -> PathBuf {
        self.path.join("views")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_second_open_is_refused_with_the_folder_and_the_holder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/data");
        let first = DataFolder::open(&path).unwrap();
        let error = DataFolder::open(&path).unwrap_err();
        assert!(matches!(&error, LockError::Held { pid: Some(pid), .. } if *pid == std::process::id()), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&path.display().to_string()) && text.contains(&std::process::id().to_string()), "{text}");
        drop(first);
        assert_eq!(DataFolder::open(&path).unwrap().path(), path);
    }

    #[test]
    fn a_path_that_is_a_file_is_an_error_that_names_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = DataFolder::open(file.path()).unwrap_err();
        assert!(matches!(error, LockError::Io { .. }));
        assert!(error.to_string().contains(&file.path().display().to_string()));
    }
}
