//! An object store in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tideline_common::ports::{Created, Location, ObjectInfo, Objects, PortError, PortResult};

use super::faults::Faults;

/// The objects, and how often one was asked for that is not there.
#[derive(Debug, Default)]
pub struct MemoryObjects(Mutex<BTreeMap<String, Bytes>>, AtomicUsize);

impl MemoryObjects {
    pub fn copy(&self) -> Self {
        Self(Mutex::new(self.0.lock().clone()), AtomicUsize::new(0))
    }

    /// How often an object was asked for that is not there.
    pub fn missed(&self) -> usize {
        self.1.load(Ordering::SeqCst)
    }

    pub fn paths(&self, prefix: &str) -> Vec<String> {
        self.0.lock().keys().filter(|path| path.starts_with(prefix)).cloned().collect()
    }

    pub fn read(&self, path: &str) -> Bytes {
        self.0.lock()[path].clone()
    }

    pub fn write(&self, path: &str, bytes: Bytes) {
        self.0.lock().insert(path.to_owned(), bytes);
    }

    pub fn remove(&self, path: &str) {
        self.0.lock().remove(path);
    }

    fn list(&self, prefix: &str, after: &str) -> Vec<ObjectInfo> {
        let objects = self.0.lock();
        let below = objects.iter().filter(|(path, _)| {
            path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/')) && path.as_str() > after
        });
        below.map(|(path, bytes)| ObjectInfo { path: path.clone(), size: bytes.len() as u64 }).collect()
    }
}

/// The store as one process sees it.
#[derive(Debug)]
pub struct FaultyObjects(pub Arc<MemoryObjects>, pub Arc<Faults>);

#[async_trait]
impl Objects for FaultyObjects {
    async fn get(&self, path: &str) -> PortResult<Bytes> {
        let work = async {
            let found = self.0.0.lock().get(path).cloned();
            found.ok_or_else(|| {
                self.0.1.fetch_add(1, Ordering::SeqCst);
                PortError::NotFound { what: path.to_owned() }
            })
        };
        self.1.call("objects get", work).await
    }

    async fn put(&self, path: &str, bytes: Bytes) -> PortResult<()> {
        let work = async {
            self.0.write(path, bytes);
            Ok(())
        };
        self.1.call("objects put", work).await
    }

    async fn put_if_absent(&self, path: &str, bytes: Bytes) -> PortResult<Created> {
        let work = async {
            let mut objects = self.0.0.lock();
            if objects.contains_key(path) {
                return Ok(Created::Exists);
            }
            objects.insert(path.to_owned(), bytes);
            Ok(Created::Yes)
        };
        self.1.call("objects put_if_absent", work).await
    }

    async fn list(&self, prefix: &str) -> PortResult<Vec<ObjectInfo>> {
        self.1.call("objects list", async { Ok(self.0.list(prefix, "")) }).await
    }

    async fn list_after(&self, prefix: &str, after: &str) -> PortResult<Vec<ObjectInfo>> {
        self.1.call("objects list_after", async { Ok(self.0.list(prefix, after)) }).await
    }

    async fn delete(&self, path: &str) -> PortResult<()> {
        let work = async {
            self.0.remove(path);
            Ok(())
        };
        self.1.call("objects delete", work).await
    }

    fn location(&self, path: &str) -> Location {
        Location::Url(path.to_owned())
    }
}
