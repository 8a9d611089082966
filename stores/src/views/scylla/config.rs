//! Where the servers are, and the bounds of what is asked of them.

use std::path::PathBuf;
use std::time::Duration;

use tideline_common::time::Span;

/// Configuration of speed views on a CQL server.
#[derive(Clone)]
pub struct ScyllaConfig {
    /// `host:port` of some nodes; the others are learnt from them.
    pub nodes: Vec<String>,
    /// The keyspace.
    pub keyspace: String,
    /// Replication factor of the keyspace when it is created here.
    pub replication_factor: u32,
    /// The data centre whose nodes are asked. The keyspace is then created with replicas in it alone; without, with
    /// `replication_factor` replicas in every data centre.
    pub datacenter: Option<String>,
    /// User; none when absent.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<String>,
    /// File of certificates (PEM) that are trusted; TLS is used when it is given.
    pub ca_file: Option<PathBuf>,
    /// Whether tables that are missing are created when they are first written; else that is an error, and only
    /// [`ScyllaViews::migrate`](super::ScyllaViews::migrate) creates them.
    pub create: bool,
    /// A request is given up after this, its retries included.
    pub request_timeout: Duration,
    /// Connecting is given up after this; the next call tries again.
    pub connect_timeout: Duration,
    /// Requests of one flush under way at a time.
    pub write_concurrency: usize,
    /// Requests of one query under way at a time.
    pub read_concurrency: usize,
    /// Rows of one answer of the server; longer ones come in pages.
    pub page_rows: u32,
    /// Rows of one batch into one partition.
    pub batch_rows: usize,
    /// Bytes of one batch into one partition. Servers check the size only of batches over several partitions.
    pub batch_bytes: usize,
    /// Partitions that share a batch when they are of one node; 1: each has its own. Cassandra warns beyond 10.
    pub batch_partitions: usize,
    /// Bytes of a batch over several partitions, as the server counts them: with what it stores beside each cell.
    /// Cassandra warns beyond 5 KiB and refuses 50 KiB.
    pub batch_partitions_bytes: usize,
    /// Tables of a version that is not wanted any more are dropped when nobody used them for this long.
    pub drop_after: Span,
}

impl Default for ScyllaConfig {
    fn default() -> Self {
        Self {
            nodes: vec!["127.0.0.1:9042".to_owned()],
            keyspace: "tideline".to_owned(),
            replication_factor: 1,
            datacenter: None,
            username: None,
            password: None,
            ca_file: None,
            create: true,
            request_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(15),
            write_concurrency: 32,
            read_concurrency: 32,
            page_rows: 5_000,
            batch_rows: 1_000,
            batch_bytes: 128 << 10,
            batch_partitions: 8,
            batch_partitions_bytes: 5 << 10,
            drop_after: Span::DAY,
        }
    }
}

// By hand: the password is never printed.
impl std::fmt::Debug for ScyllaConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScyllaConfig")
            .field("nodes", &self.nodes)
            .field("keyspace", &self.keyspace)
            .field("datacenter", &self.datacenter)
            .field("username", &self.username)
            .field("ca_file", &self.ca_file)
            .finish_non_exhaustive()
    }
}
