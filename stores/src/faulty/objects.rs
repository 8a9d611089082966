//! An object store with faults.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tideline_common::ports::{Created, Location, ObjectInfo, Objects, PortResult};

use super::Faults;

/// An object store whose calls meet faults, as `objects.` and the name of the call, about the path.
#[derive(Debug, Clone)]
pub struct FaultyObjects {
    inner: Arc<dyn Objects>,
    faults: Faults,
}

impl FaultyObjects {
    /// `inner` with `faults`.
    pub fn new(inner: Arc<dyn Objects>, faults: Faults) -> Self {
        Self { inner, faults }
    }
}

#[async_trait]
impl Objects for FaultyObjects {
    async fn get(&self, path: &str) -> PortResult<Bytes> {
        self.faults.call("objects.get", path, false, self.inner.get(path)).await
    }

    async fn put(&self, path: &str, bytes: Bytes) -> PortResult<()> {
        self.faults.call("objects.put", path, true, self.inner.put(path, bytes)).await
    }

    async fn put_if_absent(&self, path: &str, bytes: Bytes) -> PortResult<Created> {
        self.faults.call("objects.put_if_absent", path, true, self.inner.put_if_absent(path, bytes)).await
    }

    async fn list(&self, prefix: &str) -> PortResult<Vec<ObjectInfo>> {
        self.faults.call("objects.list", prefix, false, self.inner.list(prefix)).await
    }

    async fn list_after(&self, prefix: &str, after: &str) -> PortResult<Vec<ObjectInfo>> {
        self.faults.call("objects.list_after", prefix, false, self.inner.list_after(prefix, after)).await
    }

    async fn delete(&self, path: &str) -> PortResult<()> {
        self.faults.call("objects.delete", path, true, self.inner.delete(path)).await
    }

    fn location(&self, path: &str) -> Location {
        self.inner.location(path)
    }
}
