//! SQL engines: databases that can compute over the lake, so that the batch layer need not.

use async_trait::async_trait;
use bytes::Bytes;

use super::PortResult;

/// A database that reads Parquet objects of the lake by itself and answers with Parquet. Its dialect is that of
/// `ClickHouse`.
#[async_trait]
pub trait SqlEngine: Send + Sync + std::fmt::Debug {
    /// Its name, for reports and metrics: `clickhouse`.
    fn name(&self) -> &'static str;

    /// The table function by which a query reads these Parquet objects, at least one; `structure` is the list of their
    /// columns with types. It may hold secrets: never print it.
    ///
    /// # Errors
    /// `Invalid` when the engine cannot reach the lake (a folder of this machine), or an object by its name.
    fn table(&self, files: &[&str], structure: &str) -> PortResult<String>;

    /// Objects that one [`table`](Self::table) may name.
    fn max_files(&self) -> usize;

    /// Runs a SELECT, and answers with all of its result as one Parquet file.
    async fn query(&self, sql: &str) -> PortResult<Bytes>;
}
