//! The object store: the lake and the checkpoints.

use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;

use super::PortResult;

/// Outcome of a conditional put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The object is new and ours.
    Yes,
    /// There was one already; nothing was written.
    Exists,
}

/// An object of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Path, with `/` between its parts, without a leading one.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
}

/// Where a columnar reader finds an object by itself.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// A file of this machine.
    File(PathBuf),
    /// An object of an S3 store, which Polars and `ClickHouse` read by themselves.
    S3 {
        /// `s3://bucket/path`.
        url: String,
        /// What a reader needs to get there, as pairs that `object_store` and Polars understand: `aws_endpoint_url`,
        /// `aws_region`, `aws_access_key_id`, `aws_secret_access_key` (a secret: never print it), `aws_allow_http` ...
        /// Without keys, a reader looks for them where this process did: the environment, the role of the machine.
        options: Vec<(String, String)>,
    },
    /// Something that no reader can open by itself: fetch it with [`Objects::get`]. The URL is for messages.
    Url(String),
}

// By hand: options hold secrets.
impl std::fmt::Debug for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::S3 { url, .. } => f.debug_struct("S3").field("url", url).finish_non_exhaustive(),
            Self::Url(url) => f.debug_tuple("Url").field(url).finish(),
        }
    }
}

/// Objects by path.
///
/// Contract: an object is visible whole or not at all, also after a crash; of several
/// [`put_if_absent`](Objects::put_if_absent) of one path exactly one answers [`Created::Yes`]; a listing shows
/// what was put before it began.
#[async_trait]
pub trait Objects: Send + Sync + std::fmt::Debug {
    /// The whole object. `NotFound` if there is none.
    async fn get(&self, path: &str) -> PortResult<Bytes>;

    /// Puts an object, replacing one that is there.
    async fn put(&self, path: &str, bytes: Bytes) -> PortResult<()>;

    /// Puts an object unless there is one.
    async fn put_if_absent(&self, path: &str, bytes: Bytes) -> PortResult<Created>;

    /// Objects below a folder (all levels), sorted by path. `prefix` is whole path parts; an absent folder is empty.
    async fn list(&self, prefix: &str) -> PortResult<Vec<ObjectInfo>>;

    /// As [`list`](Objects::list), only objects whose path is greater than `after`.
    async fn list_after(&self, prefix: &str, after: &str) -> PortResult<Vec<ObjectInfo>>;

    /// Deletes an object; one that is not there is deleted already.
    async fn delete(&self, path: &str) -> PortResult<()>;

    /// Where a columnar reader (Polars) finds the object.
    fn location(&self, path: &str) -> Location;
}
