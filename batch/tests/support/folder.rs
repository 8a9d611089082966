//! Objects in a folder, mostly a temporary one, with a switch that makes the store fail at a chosen step.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use polars::prelude::{DataFrame, ParquetReader, SerReader};
use tideline_common::ports::{Created, Location, ObjectInfo, Objects, PortError, PortResult};

/// When the store dies: before or after the durable step of this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crash {
    pub step: u64,
    pub after: bool,
}

#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    /// Deletes the folder in the end.
    _temporary: Option<tempfile::TempDir>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    steps: u64,
    crash: Option<Crash>,
    dead: bool,
}

impl Folder {
    pub fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        Self { root: temporary.path().to_owned(), _temporary: Some(temporary), state: Mutex::default() }
    }

    /// A folder that stays.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), _temporary: None, state: Mutex::default() }
    }

    /// Counts durable steps from 0 again, dies at `crash`.
    pub fn arm(&self, crash: Option<Crash>) {
        *self.state.lock().unwrap() = State { steps: 0, crash, dead: false };
    }

    /// Durable steps since [`Folder::arm`].
    pub fn steps(&self) -> u64 {
        self.state.lock().unwrap().steps
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn step<T>(&self, work: impl FnOnce() -> PortResult<T>) -> PortResult<T> {
        let mut state = self.state.lock().unwrap();
        let dead = || PortError::unavailable("the folder", "the process has crashed");
        if state.dead {
            return Err(dead());
        }
        let now = state.crash.filter(|crash| crash.step == state.steps);
        state.steps += 1;
        state.dead = now.is_some();
        match now {
            Some(Crash { after: false, .. }) => Err(dead()),
            Some(_) => work().and_then(|_| Err(dead())),
            None => work(),
        }
    }

    pub async fn frame(&self, path: &str) -> DataFrame {
        ParquetReader::new(Cursor::new(self.get(path).await.unwrap())).finish().unwrap()
    }

    pub async fn paths(&self, prefix: &str) -> Vec<String> {
        self.list(prefix).await.unwrap().into_iter().map(|object| object.path).collect()
    }
}

fn write(to: &Path, bytes: &[u8], replace: bool) -> std::io::Result<Created> {
    std::fs::create_dir_all(to.parent().unwrap())?;
    if !replace && to.exists() {
        return Ok(Created::Exists);
    }
    std::fs::write(to, bytes)?;
    Ok(Created::Yes)
}

#[async_trait]
impl Objects for Folder {
    async fn get(&self, path: &str) -> PortResult<Bytes> {
        Ok(Bytes::from(std::fs::read(self.path(path)).map_err(|error| PortError::io(path, error))?))
    }

    async fn put(&self, path: &str, bytes: Bytes) -> PortResult<()> {
        let to = self.path(path);
        self.step(|| write(&to, &bytes, true).map(|_| ()).map_err(|error| PortError::io(path, error)))
    }

    async fn put_if_absent(&self, path: &str, bytes: Bytes) -> PortResult<Created> {
        let to = self.path(path);
        // The lock that counts steps also makes this one step.
        self.step(|| write(&to, &bytes, false).map_err(|error| PortError::io(path, error)))
    }

    async fn list(&self, prefix: &str) -> PortResult<Vec<ObjectInfo>> {
        fn walk(root: &Path, at: &Path, found: &mut Vec<ObjectInfo>) {
            for entry in std::fs::read_dir(at).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(root, &path, found);
                } else {
                    let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                    found.push(ObjectInfo { path: name, size: path.metadata().unwrap().len() });
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.root, &self.path(prefix), &mut found);
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    async fn list_after(&self, prefix: &str, after: &str) -> PortResult<Vec<ObjectInfo>> {
        Ok(self.list(prefix).await?.into_iter().filter(|object| object.path.as_str() > after).collect())
    }

    async fn delete(&self, path: &str) -> PortResult<()> {
        let at = self.path(path);
        self.step(|| match std::fs::remove_file(&at) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(PortError::io(path, error)),
            _ => Ok(()),
        })
    }

    fn location(&self, path: &str) -> Location {
        Location::File(self.path(path))
    }
}
