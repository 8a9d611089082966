//! Analytics in `ClickHouse`: what batch has published, in tables that people query too.
//!
//! The lake stays the truth. A version is loaded from it (see [`load`]) and readable once its row is in
//! `tideline_versions`; [`schema`] draws the tables. Gold files never change, so each is one partition, and a version is
//! a set of them: loading a version moves only what is new, and versions share the rest.
//!
//! Silver is not loaded: rows of lookups are read from the lake, and so is a report of another version than the one that
//! its table has.
//!
//! # Layout
//! [`server`] requests, errors, retries · [`names`] quoting · [`rowbinary`] the format of rows · [`schema`] the tables ·
//! [`finish`] answers in SQL · [`formula`] their computed columns · [`versions`] what is loaded · [`load`] taking in · [`reports`] · [`panes`] reading · [`collect`] dropping ·
//! [`stream`] what speed knows

mod collect;
mod finish;
mod formula;
mod load;
mod names;
mod panes;
mod reports;
mod rowbinary;
mod schema;
mod server;
mod stream;
mod versions;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tideline_common::key::Key;
use tideline_common::manifest::Manifest;
use tideline_common::plan::Plan;
use tideline_common::ports::{
    Analytics, Loaded, LookupRows, LookupSchema, Objects, PanePage, PaneQuery, PortResult, Publication, ReportPage,
    ReportQuery, ViewSchema,
};
use tideline_common::state::StateBatch;
use tideline_common::time::Timestamp;

use self::load::StagingNames;
pub use self::schema::ddl;
use self::server::Server;
pub use self::stream::follow;
use self::versions::Versions;
use super::parquet::scan::Lake;
use super::parquet::{ParquetAnalytics, ParquetAnalyticsConfig};

/// Where the server is, and bounds.
#[derive(Clone, PartialEq, Eq)]
pub struct ClickHouseConfig {
    /// Address of the HTTP interface: `http://HOST:PORT` or `https://HOST:PORT` (public certificate authorities).
    pub url: String,
    /// Database; [`ClickHouseAnalytics::migrate`] makes it.
    pub database: String,
    /// User; the server's default one when absent.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<String>,
    /// Time for a read, all attempts together.
    pub timeout: Duration,
    /// Time for a statement of a load.
    pub load_timeout: Duration,
    /// How often what may work later is tried, the first time included.
    pub attempts: u32,
    /// Time before the second attempt; twice as long before each one after it.
    pub retry_wait: Duration,
    /// How old the answer to "which version is loaded" may be.
    pub refresh: Duration,
    /// Reads that may run at once; more wait.
    pub max_reads: usize,
    /// Files that are loaded at once. Each holds a chunk of rows in memory.
    pub max_loads: usize,
    /// Rows of a file that are in memory at once.
    pub chunk_rows: usize,
    /// Staging tables older than this are dropped: longer than any load of a file takes.
    pub stale: Duration,
    /// Files loaded within this time are not dropped by a collection: they may be of a version that is being loaded.
    pub grace: Duration,
    /// Whether data is compressed on its way (LZ4).
    pub compress: bool,
}

impl Default for ClickHouseConfig {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:8123".to_owned(),
            database: "tideline".to_owned(),
            user: None,
            password: None,
            timeout: Duration::from_secs(30),
            load_timeout: Duration::from_mins(10),
            attempts: 3,
            retry_wait: Duration::from_millis(100),
            refresh: Duration::from_millis(500),
            max_reads: 16,
            max_loads: 2,
            chunk_rows: 50_000,
            stale: Duration::from_hours(1),
            grace: Duration::from_mins(10),
            compress: true,
        }
    }
}

/// Without the password.
impl std::fmt::Debug for ClickHouseConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClickHouseConfig")
            .field("url", &self.url)
            .field("database", &self.database)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Analytics over tables of `ClickHouse`, with the lake behind them.
#[derive(Debug)]
pub struct ClickHouseAnalytics {
    config: ClickHouseConfig,
    server: Server,
    versions: Versions,
    staging: StagingNames,
    /// To load from.
    lake: Lake,
    /// Reads what is not in `ClickHouse`.
    parquet: ParquetAnalytics,
}

impl ClickHouseAnalytics {
    /// Analytics of what the batch layer writes to `objects`, in a database of `ClickHouse`. The server is not asked yet.
    ///
    /// # Errors
    /// `Invalid` when the address is none.
    pub fn new(config: ClickHouseConfig, objects: Arc<dyn Objects>) -> PortResult<Self> {
        let parquet = ParquetAnalyticsConfig { max_reads: config.max_reads };
        Ok(Self {
            server: Server::new(&config)?,
            versions: Versions::new(objects.clone(), &config),
            staging: StagingNames::new(),
            lake: Lake::new(objects.clone(), config.max_loads),
            parquet: ParquetAnalytics::new(objects, parquet),
            config,
        })
    }

    /// Makes the database and the tables of `plan` that are not there, and notes how its reports are sorted.
    ///
    /// # Errors
    /// When the server cannot be reached, or refuses.
    pub async fn migrate(&self, plan: &Plan) -> PortResult<()> {
        self.server.create_database().await?;
        for statement in ddl(plan) {
            self.server.run("making tables", statement).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Analytics for ClickHouseAnalytics {
    async fn current(&self) -> PortResult<Option<Arc<Manifest>>> {
        self.versions.current(&self.server).await
    }

    async fn panes(&self, manifest: &Manifest, view: &ViewSchema, query: &PaneQuery) -> PortResult<PanePage> {
        self.versions.check(&self.server, manifest.version).await?;
        panes::panes(&self.server, manifest, view, query).await
    }

    async fn panes_between(
        &self,
        manifest: &Manifest,
        view: &ViewSchema,
        from: Timestamp,
        to: Timestamp,
    ) -> PortResult<StateBatch> {
        self.versions.check(&self.server, manifest.version).await?;
        panes::panes_between(&self.server, manifest, view, from, to).await
    }

    async fn newest_pane(&self, manifest: &Manifest, view: &ViewSchema) -> PortResult<Option<Timestamp>> {
        self.parquet.newest_pane(manifest, view).await
    }

    async fn report(&self, manifest: &Manifest, report: &str, query: &ReportQuery) -> PortResult<ReportPage> {
        match reports::report(self, manifest, report, query).await? {
            Some(page) => Ok(page),
            None => self.parquet.report(manifest, report, query).await,
        }
    }

    async fn rows(
        &self,
        manifest: &Manifest,
        table: &str,
        lookup: &LookupSchema,
        key: &Key,
        limit: usize,
    ) -> PortResult<LookupRows> {
        self.parquet.rows(manifest, table, lookup, key, limit).await
    }
}

#[async_trait]
impl Publication for ClickHouseAnalytics {
    async fn load(&self, manifest: &Manifest) -> PortResult<Loaded> {
        load::load(self, manifest).await
    }

    async fn collect(&self, kept: &[Arc<Manifest>]) -> PortResult<u64> {
        collect::collect(self, kept).await
    }
}
