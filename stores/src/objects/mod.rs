//! Objects over the `object_store` crate: a folder of this machine, memory, S3, and whatever else the crate speaks.
//!
//! In a folder, an object is a file. It is written beside its place, made durable (`fsync` of the file and of its
//! folder), and then renamed or, when there must be none, hard-linked into place: it is visible whole or not at all,
//! and of several that create one path exactly one wins, also across processes.

mod path;
pub mod s3;

use std::fmt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use tideline_common::ports::{Created, Location, ObjectInfo, Objects, PortError, PortResult};

use crate::disk::{Reserve, blocking};

/// Where the objects of a store are for someone else.
#[derive(Clone)]
enum Base {
    Folder(PathBuf),
    S3 { url: String, options: Vec<(String, String)> },
    Url(String),
}

/// An object store.
#[derive(Clone)]
pub struct ObjectStoreObjects {
    store: Arc<dyn ObjectStore>,
    base: Base,
    reserve: Option<Reserve>,
    /// The largest object that is taken, in bytes.
    put_max: usize,
}

// By hand: what is within holds keys.
impl fmt::Debug for ObjectStoreObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = match &self.base {
            Base::Folder(folder) => folder.display().to_string(),
            Base::S3 { url, .. } | Base::Url(url) => url.clone(),
        };
        f.debug_struct("ObjectStoreObjects").field("at", &at).finish_non_exhaustive()
    }
}

impl ObjectStoreObjects {
    /// Objects as files below `folder`, which is created if needed. At least `reserve_bytes` stay free on its
    /// device: a put that would use them is refused as full.
    ///
    /// # Errors
    /// When the folder cannot be created.
    pub fn local(folder: impl AsRef<FilePath>, reserve_bytes: u64) -> PortResult<Self> {
        let folder = folder.as_ref();
        let what = format!("the lake in {}", folder.display());
        std::fs::create_dir_all(folder).map_err(|e| PortError::unavailable(&what, e))?;
        let folder = folder.canonicalize().map_err(|e| PortError::unavailable(&what, e))?;
        let store = LocalFileSystem::new_with_prefix(&folder).map_err(|e| failed(&what, e))?.with_fsync(true);
        let reserve = Some(Reserve::new(&folder, reserve_bytes));
        Ok(Self { store: Arc::new(store), base: Base::Folder(folder), reserve, put_max: usize::MAX })
    }

    /// Objects in memory, for tests: they go with the last clone.
    pub fn memory() -> Self {
        Self::new(Arc::new(InMemory::new()), "memory:/")
    }

    /// Objects of any store of the crate (already limited to its prefix); `url` is where a columnar reader
    /// finds them, such as `s3://bucket/prefix`. The store must do conditional puts.
    pub fn new(store: Arc<dyn ObjectStore>, url: impl Into<String>) -> Self {
        Self { store, base: Base::Url(url.into()), reserve: None, put_max: usize::MAX }
    }

    async fn check_room(&self, path: &str, bytes: usize) -> PortResult<()> {
        if bytes > self.put_max {
            let reason = format!("{bytes} bytes are more than the {} that one put may write", self.put_max);
            return Err(PortError::invalid(path, reason));
        }
        let Some(reserve) = self.reserve.clone() else { return Ok(()) };
        let path = path.to_owned();
        blocking("the lake", move || reserve.check(&path, bytes as u64)).await
    }

    async fn list_where(&self, prefix: &str, after: Option<&str>) -> PortResult<Vec<ObjectInfo>> {
        let what = || format!("the listing of {prefix}");
        let folder = if prefix.trim_end_matches('/').is_empty() {
            None
        } else {
            Some(path::parse(prefix.trim_end_matches('/'))?)
        };
        let stream = match after {
            // The crate takes any text as the offset; it is compared, never opened.
            Some(after) if !after.is_empty() => {
                let after = object_store::path::Path::parse(after).map_err(|e| PortError::invalid(what(), e))?;
                self.store.list_with_offset(folder.as_ref(), &after)
            }
            _ => self.store.list(folder.as_ref()),
        };
        let mut objects: Vec<_> = stream
            .map(|object| object.map(|o| ObjectInfo { path: o.location.to_string(), size: o.size }))
            // S3 knows objects that stand for a folder, which consoles make: they are not in it.
            .try_filter(|object| std::future::ready(folder.as_ref().is_none_or(|f| object.path != f.as_ref())))
            .try_collect()
            .await
            .map_err(|e| refused(&what(), e))?;
        objects.sort_by(|a: &ObjectInfo, b| a.path.cmp(&b.path));
        Ok(objects)
    }
}

#[async_trait]
impl Objects for ObjectStoreObjects {
    async fn get(&self, path: &str) -> PortResult<Bytes> {
        let at = path::parse(path)?;
        let result = self.store.get(&at).await.map_err(|e| failed(path, e))?;
        result.bytes().await.map_err(|e| failed(path, e))
    }

    async fn put(&self, path: &str, bytes: Bytes) -> PortResult<()> {
        let at = path::parse(path)?;
        self.check_room(path, bytes.len()).await?;
        self.store.put(&at, bytes.into()).await.map_err(|e| refused(path, e))?;
        Ok(())
    }

    async fn put_if_absent(&self, path: &str, bytes: Bytes) -> PortResult<Created> {
        let at = path::parse(path)?;
        self.check_room(path, bytes.len()).await?;
        match self.store.put_opts(&at, bytes.into(), PutOptions::from(PutMode::Create)).await {
            Ok(_) => Ok(Created::Yes),
            // S3 answers a lost race with a failed precondition.
            Err(object_store::Error::Precondition { .. }) => Ok(Created::Exists),
            Err(object_store::Error::AlreadyExists { source, path: there }) => {
                // S3 also answers with a conflict, to a put that met another one under way, of which it does not
                // know the end. So whether there is an object is looked up.
                let certain = !matches!(self.base, Base::S3 { .. })
                    || matches!(
                        source.downcast_ref(),
                        Some(object_store::Error::Precondition { .. } | object_store::Error::NotModified { .. })
                    );
                if certain {
                    return Ok(Created::Exists);
                }
                match self.store.head(&at).await {
                    Ok(_) => Ok(Created::Exists),
                    Err(object_store::Error::NotFound { .. }) => {
                        Err(PortError::unavailable(path, object_store::Error::AlreadyExists { source, path: there }))
                    }
                    Err(e) => Err(failed(path, e)),
                }
            }
            Err(e) => Err(refused(path, e)),
        }
    }

    async fn list(&self, prefix: &str) -> PortResult<Vec<ObjectInfo>> {
        self.list_where(prefix, None).await
    }

    async fn list_after(&self, prefix: &str, after: &str) -> PortResult<Vec<ObjectInfo>> {
        self.list_where(prefix, Some(after)).await
    }

    async fn delete(&self, path: &str) -> PortResult<()> {
        let at = path::parse(path)?;
        match self.store.delete(&at).await {
            Ok(()) => Ok(()),
            Err(e) => match failed(path, e) {
                PortError::NotFound { .. } => Ok(()),
                e => Err(e),
            },
        }
    }

    fn location(&self, path: &str) -> Location {
        match &self.base {
            Base::Folder(folder) => Location::File(folder.join(path)),
            Base::S3 { url, options } => Location::S3 { url: format!("{url}/{path}"), options: options.clone() },
            Base::Url(url) => Location::Url(format!("{}/{path}", url.trim_end_matches('/'))),
        }
    }
}

/// Parts of answers that tell of a server without room.
const FULL: [&str; 3] = ["507 Insufficient Storage", "XMinioStorageFull", "QuotaExceeded"];

/// As [`failed`], of a call to which "not there" is no answer: what is not there is the place to write to, or to list.
fn refused(what: &str, error: object_store::Error) -> PortError {
    match error {
        e @ object_store::Error::NotFound { .. } => PortError::unavailable(what, e),
        e => failed(what, e),
    }
}

/// An error of the crate as one of the port: a full device is told from a network that fails.
fn failed(what: &str, error: object_store::Error) -> PortError {
    match error {
        // A bucket that is not there is no answer about the object.
        object_store::Error::NotFound { source, path } if source.to_string().contains("NoSuchBucket") => {
            PortError::unavailable(what, object_store::Error::NotFound { source, path })
        }
        object_store::Error::NotFound { .. } => PortError::NotFound { what: what.to_owned() },
        e @ (object_store::Error::InvalidPath { .. }
        | object_store::Error::NotSupported { .. }
        | object_store::Error::NotImplemented { .. }) => PortError::invalid(what, e),
        e => {
            let text = e.to_string();
            if FULL.iter().any(|full| text.contains(full)) {
                return PortError::Full { what: what.to_owned(), source: Box::new(e) };
            }
            let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&e);
            while let Some(inner) = source {
                if let Some(io) = inner.downcast_ref::<std::io::Error>() {
                    let kind = io.kind();
                    return PortError::io(what, std::io::Error::new(kind, e));
                }
                source = inner.source();
            }
            PortError::unavailable(what, e)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_file_is_where_location_says_whatever_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let objects = ObjectStoreObjects::local(folder.path(), 0).unwrap();
        for name in ["plain", "symbol=$TSLA/1.parquet", "a b/50%/é/c#d", "x%20y", "q?a=b&c", "a:b", "emoji🌊"] {
            objects.put(name, Bytes::from(name.to_owned())).await.unwrap();
            let Location::File(file) = objects.location(name) else { panic!("a folder has files") };
            assert_eq!(std::fs::read(file).unwrap(), name.as_bytes());
            let listed = objects.list("").await.unwrap();
            assert!(listed.iter().any(|o| o.path == name && o.size == name.len() as u64), "{name}: {listed:?}");
            assert_eq!(objects.get(name).await.unwrap(), name.as_bytes());
        }
    }

    #[tokio::test]
    async fn no_path_leads_out_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let objects = ObjectStoreObjects::local(folder.path().join("lake"), 0).unwrap();
        let long = "x".repeat(256);
        for path in ["../x", "a/../../x", "/etc/passwd", "a//b", "", "a/", "./a", "a\\..\\b", "a\0b", "a/b#1", &long] {
            for error in [
                objects.put(path, Bytes::new()).await.unwrap_err(),
                objects.get(path).await.unwrap_err(),
                objects.put_if_absent(path, Bytes::new()).await.unwrap_err(),
                objects.delete(path).await.unwrap_err(),
            ] {
                assert!(matches!(error, PortError::Invalid { .. }), "{path:?}: {error:?}");
            }
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_file_torn_by_a_crash_is_no_object() {
        let folder = tempfile::tempdir().unwrap();
        let objects = ObjectStoreObjects::local(folder.path(), 0).unwrap();
        objects.put("a/b", Bytes::from_static(b"whole")).await.unwrap();
        // What a put leaves behind when the process dies within it.
        std::fs::write(folder.path().join("a/c#1"), b"torn").unwrap();
        let listed = objects.list("a").await.unwrap();
        assert_eq!(listed, [ObjectInfo { path: "a/b".to_owned(), size: 5 }]);
        assert_eq!(objects.put_if_absent("a/c", Bytes::from_static(b"new")).await.unwrap(), Created::Yes);
        assert_eq!(objects.get("a/c").await.unwrap(), "new");
    }

    #[tokio::test]
    async fn a_device_without_its_reserve_refuses_puts() {
        let folder = tempfile::tempdir().unwrap();
        let objects = ObjectStoreObjects::local(folder.path(), u64::MAX).unwrap();
        assert!(matches!(objects.put("a", Bytes::new()).await.unwrap_err(), PortError::Full { .. }));
        assert!(matches!(objects.put_if_absent("a", Bytes::new()).await.unwrap_err(), PortError::Full { .. }));
        assert!(objects.list("").await.unwrap().is_empty());
    }

    #[test]
    fn a_bucket_that_is_not_there_says_nothing_about_an_object() {
        let of = |text: &str| object_store::Error::NotFound { path: "x".to_owned(), source: text.into() };
        assert!(matches!(failed("x", of("<Code>NoSuchKey</Code>")), PortError::NotFound { .. }));
        assert!(matches!(failed("x", of("<Code>NoSuchBucket</Code>")), PortError::Unavailable { .. }));
        assert!(matches!(refused("x", of("<Code>NoSuchKey</Code>")), PortError::Unavailable { .. }));
    }

    #[test]
    fn a_full_device_is_told_from_other_failures() {
        let of = |kind| {
            let source = Box::new(std::io::Error::from(kind));
            failed("x", object_store::Error::Generic { store: "test", source })
        };
        assert!(matches!(of(std::io::ErrorKind::StorageFull), PortError::Full { .. }));
        assert!(matches!(of(std::io::ErrorKind::ConnectionReset), PortError::Unavailable { .. }));
        let source = "Server returned non-2xx status code: 507 Insufficient Storage: <Code>XMinioStorageFull</Code>";
        let full = failed("x", object_store::Error::Generic { store: "S3", source: source.into() });
        assert!(matches!(full, PortError::Full { .. }), "{full:?}");
    }
}
