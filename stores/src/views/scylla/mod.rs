//! Speed views on Scylla, Cassandra, or any CQL server.
//!
//! # Tables
//! Named as the definition names things, for a person with cqlsh; `docs/scylla.md` shows them with rows.
//!
//! | table | primary key | holds |
//! |---|---|---|
//! | `<view>_panes` | (key columns), pane start ↓, shard, key | states of a key, the newest pane first |
//! | `<view>_by_pane` | (pane start, shard), key | the same, for rankings and for all keys in their order |
//! | `<view>_late` | (pane start, shard), key | late counts |
//! | `<lookup>` | (key columns), event time ↓, sequence ↓, ordinal ↓, key | the newest rows of a key |
//! | `tideline_panes` | (table), pane start ↓, shard | which panes there are |
//! | `tideline_progress` | (scope), source, partition | progress |
//! | `tideline_tables`, `tideline_usage`, `tideline_lock` | | names of tables, see [`catalog`] |
//!
//! A key of CQL cannot be null nor, alone, empty. Key columns of a partition key hold `(null)`, `(empty)` or the least
//! number then, and every row has its exact key in byte form, in the column `key`, which tells such rows apart and
//! orders them. A second version of a view or lookup has `_v2` behind its name.
//!
//! # Writing
//! Rows are absolute, and written `USING TIMESTAMP` pane start in µs + position. For one row the pane start is fixed, so
//! its timestamps grow with the position: whatever the order in which flushes arrive, from whomever, the server keeps the
//! cells of the highest position. A repeated flush writes what is there, so every request may be repeated.
//!
//! - *Nulls.* Writing a null makes a tombstone, and a thousand of them make a read slow. So a null state is left out, and
//!   the column `nulls`, which is written always, says which states are null as of the row's position: an older cell that
//!   was left behind is not read.
//! - *Maps* are frozen: one cell, replaced whole, without the tombstone of a collection.
//! - *Equal timestamps* are of equal positions, whose states are equal.
//! - *Rows of lookups* never change, so their timestamps are their event times; see [`write::trim`].
//! - *Time to live* counts from the write, by the servers' clocks, and is a second longer than asked. Rows also have their
//!   time of writing, by which reads leave out what is over as of the `now` that they are given.
//!
//! A flush is written in batches by partition; what is of one pane and shard is seen whole as long as it fits one batch.
//! Its progress is written last: it never runs ahead of rows. Servers answer when a quorum of the data centre has the
//! write in its commit log, so that there is nothing left for [`sync`](SpeedViews::sync) to do.

mod catalog;
mod config;
mod connection;
mod expire;
mod key;
mod names;
mod pages;
mod read;
mod schema;
mod statements;
mod tables;
mod types;
mod write;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use parking_lot::RwLock;
use scylla::client::session::Session;
use tideline_common::key::Key;
use tideline_common::ports::{
    Clock as _, Flush, KeySelector, LookupRows, LookupSchema, PanePage, PaneQuery, PortError, PortResult, Progress,
    ShardPanes, SpeedViews, ViewSchema,
};
use tideline_common::position::Shard;
use tideline_common::state::{Input, Rule, StateBatch, StateField};
use tideline_common::time::Timestamp;
use tideline_common::value::Type;

use self::catalog::{Catalog, Identity, State, Wanted};
pub use self::config::ScyllaConfig;
use self::connection::Connection;
use self::read::Sweep;
pub use self::schema::ddl;
use self::statements::{LookupStatements, Statements, ViewStatements};
use crate::clock::SystemClock;

struct Inner {
    config: ScyllaConfig,
    connection: Connection,
    catalog: RwLock<Option<Arc<Catalog>>>,
    opened: RwLock<HashMap<Identity, Arc<Statements>>>,
    /// Held while tables are created or statements prepared, so that a process does it once.
    opening: tokio::sync::Mutex<()>,
}

/// Speed views on a CQL server. Cheap to clone.
#[derive(Clone)]
pub struct ScyllaViews {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for ScyllaViews {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScyllaViews").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

/// The state of a late count: one integer `sum`.
fn late_fields() -> Vec<StateField> {
    vec![StateField {
        name: "late".to_owned(),
        rule: Rule::Sum,
        ty: Type::Int,
        input: Input::One,
        table: String::new(),
        argument: None,
    }]
}

/// What a caller is told whose tables are gone although the catalogue has them.
fn gone(error: PortError) -> PortError {
    match error {
        PortError::NotFound { what } => {
            PortError::invalid("the tables of the speed views", format!("{what}; run `tideline migrate`"))
        }
        error => error,
    }
}

impl ScyllaViews {
    /// Speed views as configured. Connects when they are first used, and again after each failure; what is asked
    /// before that works fails as unavailable.
    ///
    /// # Errors
    /// `Invalid` when the configuration names no node or certificates that cannot be read.
    pub fn connect(config: ScyllaConfig) -> PortResult<Self> {
        let inner = Inner {
            connection: Connection::new(&config)?,
            config,
            catalog: RwLock::new(None),
            opened: RwLock::new(HashMap::new()),
            opening: tokio::sync::Mutex::new(()),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Creates the keyspace and the tables of `views` and `lookups` where they are missing, and adds columns that are
    /// missing. May be run again, and by several processes at once. A process that writes does the same for what it
    /// writes, unless [`ScyllaConfig::create`] is off.
    ///
    /// # Errors
    /// `Invalid` when a table of one of the names is there and is another; `Unavailable` when the servers are, or when
    /// others change the schema all the time.
    pub async fn migrate(&self, views: &[ViewSchema], lookups: &[LookupSchema]) -> PortResult<()> {
        let session = self.session().await?;
        let _opening = self.inner.opening.lock().await;
        connection_bootstrap(&session, &self.inner.config).await?;
        let catalog = self.catalog(&session).await?.ok_or_else(|| self.not_there("Tideline's own tables"))?;
        let wanted: Vec<_> = views.iter().map(Wanted::View).chain(lookups.iter().map(Wanted::Lookup)).collect();
        catalog.create(&session, &self.inner.config, &wanted, SystemClock.now()).await.map_err(gone)
    }

    async fn session(&self) -> PortResult<Arc<Session>> {
        self.inner.connection.session().await.cloned()
    }

    fn not_there(&self, what: &str) -> PortError {
        let place = format!("keyspace {}", self.inner.config.keyspace);
        PortError::invalid(place, format!("{what} are not there; run `tideline migrate`"))
    }

    /// The catalogue, when its tables are there.
    async fn catalog(&self, session: &Session) -> PortResult<Option<Arc<Catalog>>> {
        if let Some(catalog) = &*self.inner.catalog.read() {
            return Ok(Some(catalog.clone()));
        }
        let Some(catalog) = Catalog::open(session, &self.inner.config).await? else { return Ok(None) };
        let catalog = Arc::new(catalog);
        *self.inner.catalog.write() = Some(catalog.clone());
        Ok(Some(catalog))
    }

    fn known(&self, identity: &Identity) -> Option<Arc<Statements>> {
        self.inner.opened.read().get(identity).cloned()
    }

    fn forget(&self, identity: &Identity) {
        self.inner.opened.write().remove(identity);
        *self.inner.catalog.write() = None;
    }

    /// Notes that tables are in use, now and then.
    async fn note_use(&self, session: &Session, catalog: &Catalog, of: &Statements, now: Timestamp) -> PortResult<()> {
        let (stem, last) = of.usage();
        if last.is_due(now, self.inner.config.drop_after) {
            catalog.note_use(session, stem, now).await?;
        }
        Ok(())
    }

    async fn prepare(&self, session: &Session, stem: &str, wanted: Wanted<'_>) -> PortResult<Arc<Statements>> {
        let config = &self.inner.config;
        let statements = Arc::new(match wanted {
            Wanted::View(view) => Statements::View(ViewStatements::prepare(session, config, stem, view).await?),
            Wanted::Lookup(lookup) => {
                Statements::Lookup(LookupStatements::prepare(session, config, stem, lookup).await?)
            }
        });
        self.inner.opened.write().insert(wanted.identity(), statements.clone());
        Ok(statements)
    }

    /// The catalogue and the statements of what is read; `None` when it was never written.
    async fn open(
        &self,
        session: &Session,
        wanted: Wanted<'_>,
        now: Timestamp,
    ) -> PortResult<Option<(Arc<Catalog>, Arc<Statements>)>> {
        let Some(catalog) = self.catalog(session).await? else { return Ok(None) };
        let identity = wanted.identity();
        let statements = match self.known(&identity) {
            Some(statements) => statements,
            None => {
                let listing = catalog.list(session, false).await?;
                let Some(entry) = listing.find(&identity).filter(|entry| entry.state == State::Live) else {
                    return Ok(None);
                };
                self.prepare(session, &entry.stem, wanted).await?
            }
        };
        if let Err(error) = self.note_use(session, &catalog, &statements, now).await {
            // A reader may have no right to write; who writes notes it as well.
            tracing::debug!(%error, "the use of tables was not noted");
        }
        Ok(Some((catalog, statements)))
    }

    /// The catalogue and the statements of what is written, with tables created where they are missing.
    async fn open_to_write(
        &self,
        session: &Session,
        wanted: &[Option<Wanted<'_>>],
        now: Timestamp,
    ) -> PortResult<(Arc<Catalog>, Vec<Option<Arc<Statements>>>)> {
        let known = |wanted: &Wanted<'_>| self.known(&wanted.identity());
        let catalog = self.inner.catalog.read().clone();
        let catalog = match catalog {
            Some(catalog) if wanted.iter().flatten().all(|w| known(w).is_some()) => catalog,
            _ => self.create(session, wanted, now).await?,
        };
        let statements: Vec<_> = wanted.iter().map(|wanted| wanted.as_ref().and_then(known)).collect();
        for of in statements.iter().flatten() {
            self.note_use(session, &catalog, of, now).await?;
        }
        Ok((catalog, statements))
    }

    async fn create(
        &self,
        session: &Session,
        wanted: &[Option<Wanted<'_>>],
        now: Timestamp,
    ) -> PortResult<Arc<Catalog>> {
        let _opening = self.inner.opening.lock().await;
        let config = &self.inner.config;
        let catalog = match self.catalog(session).await? {
            Some(catalog) => catalog,
            None if config.create => {
                connection_bootstrap(session, config).await?;
                self.catalog(session).await?.ok_or_else(|| self.not_there("Tideline's own tables"))?
            }
            None => return Err(self.not_there("Tideline's own tables")),
        };
        let listing = catalog.list(session, false).await?;
        let mut missing = Vec::new();
        for wanted in wanted.iter().flatten() {
            let identity = wanted.identity();
            if self.known(&identity).is_some() {
                continue;
            }
            let entry = listing.find(&identity).filter(|entry| entry.state == State::Live);
            let prepared = match entry {
                Some(entry) => self.prepare(session, &entry.stem, *wanted).await.map(drop),
                None => Err(PortError::NotFound { what: format!("the tables of {}", identity.1) }),
            };
            match prepared {
                Err(PortError::NotFound { .. }) if config.create => missing.push(*wanted),
                Err(PortError::NotFound { what }) => return Err(self.not_there(&what)),
                prepared => prepared?,
            }
        }
        if !missing.is_empty() {
            catalog.create(session, config, &missing, now).await?;
            let listing = catalog.list(session, true).await?;
            for wanted in missing {
                let entry = listing.find(&wanted.identity()).ok_or_else(|| self.not_there("tables"))?;
                self.prepare(session, &entry.stem, wanted).await?;
            }
        }
        Ok(catalog)
    }

    /// Reads what `of` asks for, from statements opened anew when their tables turn out to be gone; `None` when
    /// nothing was ever written.
    async fn read<'a, T>(
        &'a self,
        wanted: Wanted<'a>,
        now: Timestamp,
        of: impl Fn(Arc<Session>, Arc<Catalog>, Arc<Statements>) -> BoxFuture<'a, PortResult<T>> + Send + Sync,
    ) -> PortResult<Option<T>> {
        let session = self.session().await?;
        let mut again = true;
        loop {
            let result = match self.open(&session, wanted, now).await {
                Ok(None) => return Ok(None),
                Ok(Some((catalog, statements))) => of(session.clone(), catalog, statements).await,
                Err(error) => Err(error),
            };
            match result {
                // Dropped by another, and perhaps made anew under another name.
                Err(PortError::NotFound { .. }) if again => {
                    self.forget(&wanted.identity());
                    again = false;
                }
                result => return result.map(Some).map_err(gone),
            }
        }
    }

    async fn page_of(&self, view: &ViewSchema, query: &PaneQuery, now: Timestamp, late: bool) -> PortResult<PanePage> {
        let fields = if late { late_fields() } else { view.fields.clone() };
        let nothing = PanePage { panes: StateBatch::new(&fields), more_after: None };
        if query.from >= query.to {
            return Ok(nothing);
        }
        let (ttl, query, inner) = (view.ttl, query.clone(), self.inner.clone());
        let read = self.read(Wanted::View(view), now, move |session, catalog, statements| {
            let (fields, query, inner) = (fields.clone(), query.clone(), inner.clone());
            Box::pin(async move {
                let Statements::View(of) = &*statements else { return Err(mixed_up()) };
                let times = (query.from, query.to);
                let table = if late { &of.late } else { &of.by_pane };
                let sweep = Sweep {
                    session: &session,
                    config: &inner.config,
                    table,
                    key: of.key.len(),
                    fields: &fields,
                    ttl,
                    now,
                };
                let panes = match &query.keys {
                    KeySelector::One(key) if late => {
                        sweep.all(read::places(&session, &catalog, table, times).await?, Some(key)).await?
                    }
                    KeySelector::One(key) => read::of_key(&session, of, &fields, key, times, (ttl, now)).await?,
                    KeySelector::All { after } => {
                        let places = read::places(&session, &catalog, table, times).await?;
                        return pages::all_keys(&sweep, places, after.as_ref(), query.max_rows).await;
                    }
                };
                Ok(PanePage { panes, more_after: None })
            })
        });
        Ok(read.await?.unwrap_or(nothing))
    }
}

async fn connection_bootstrap(session: &Session, config: &ScyllaConfig) -> PortResult<()> {
    tables::bootstrap(session, config).await.map_err(gone)
}

/// A view under the name of a lookup, which the identities rule out.
fn mixed_up() -> PortError {
    PortError::invalid("the speed views", "a view was taken for a lookup")
}

#[async_trait]
impl SpeedViews for ScyllaViews {
    async fn write(&self, flush: &Flush, now: Timestamp) -> PortResult<()> {
        let session = self.session().await?;
        let views = flush.panes.iter().map(|panes| {
            let is_empty = panes.panes.is_empty() && panes.late.is_empty();
            (!is_empty).then_some(Wanted::View(&panes.view))
        });
        let lookups = flush.rows.iter().map(|(lookup, rows)| (!rows.is_empty()).then_some(Wanted::Lookup(lookup)));
        let wanted: Vec<_> = views.chain(lookups).collect();
        let mut again = true;
        loop {
            let result = async {
                let (catalog, statements) = self.open_to_write(&session, &wanted, now).await?;
                write::write(&session, &self.inner.config, &catalog, &statements, flush, now).await
            }
            .await;
            match result {
                // Dropped by another: this flush makes them anew.
                Err(PortError::NotFound { .. }) if again => {
                    wanted.iter().flatten().for_each(|wanted| self.forget(&wanted.identity()));
                    *self.inner.catalog.write() = None;
                    again = false;
                }
                result => return result.map_err(gone),
            }
        }
    }

    async fn panes(&self, view: &ViewSchema, query: &PaneQuery, now: Timestamp) -> PortResult<PanePage> {
        self.page_of(view, query, now, false).await
    }

    async fn late(&self, view: &ViewSchema, query: &PaneQuery, now: Timestamp) -> PortResult<PanePage> {
        self.page_of(view, query, now, true).await
    }

    async fn newest_pane(&self, view: &ViewSchema, now: Timestamp) -> PortResult<Option<Timestamp>> {
        let (ttl, inner) = (view.ttl, self.inner.clone());
        let read = self.read(Wanted::View(view), now, move |session, catalog, statements| {
            let inner = inner.clone();
            Box::pin(async move {
                let Statements::View(of) = &*statements else { return Err(mixed_up()) };
                let (table, config) = (&of.by_pane, &inner.config);
                let sweep = Sweep { session: &session, config, table, key: of.key.len(), fields: &[], ttl, now };
                sweep.newest(&catalog).await
            })
        });
        Ok(read.await?.flatten())
    }

    async fn panes_between(
        &self,
        view: &ViewSchema,
        from: Timestamp,
        to: Timestamp,
        now: Timestamp,
    ) -> PortResult<StateBatch> {
        if from >= to {
            return Ok(StateBatch::new(&view.fields));
        }
        let (ttl, inner, fields) = (view.ttl, self.inner.clone(), view.fields.clone());
        let read = self.read(Wanted::View(view), now, move |session, catalog, statements| {
            let (inner, fields) = (inner.clone(), fields.clone());
            Box::pin(async move {
                let Statements::View(of) = &*statements else { return Err(mixed_up()) };
                let (table, config) = (&of.by_pane, &inner.config);
                let places = read::places(&session, &catalog, table, (from, to)).await?;
                let sweep = Sweep { session: &session, config, table, key: of.key.len(), fields: &fields, ttl, now };
                sweep.all(places, None).await
            })
        });
        Ok(read.await?.unwrap_or_else(|| StateBatch::new(&view.fields)))
    }

    async fn shards_between(
        &self,
        view: &ViewSchema,
        from: Timestamp,
        to: Timestamp,
        now: Timestamp,
    ) -> PortResult<Vec<ShardPanes>> {
        if from >= to {
            return Ok(Vec::new());
        }
        let (ttl, inner, fields) = (view.ttl, self.inner.clone(), view.fields.clone());
        let read = self.read(Wanted::View(view), now, move |session, catalog, statements| {
            let (inner, fields) = (inner.clone(), fields.clone());
            Box::pin(async move {
                let Statements::View(of) = &*statements else { return Err(mixed_up()) };
                let (table, config) = (&of.by_pane, &inner.config);
                let places = read::places(&session, &catalog, table, (from, to)).await?;
                let sweep = Sweep { session: &session, config, table, key: of.key.len(), fields: &fields, ttl, now };
                sweep.by_shard(places).await
            })
        });
        Ok(read.await?.unwrap_or_default())
    }

    async fn rows(&self, lookup: &LookupSchema, key: &Key, limit: usize, now: Timestamp) -> PortResult<LookupRows> {
        let (schema, key) = (lookup.clone(), key.clone());
        let read = self.read(Wanted::Lookup(lookup), now, move |session, _, statements| {
            let (schema, key) = (schema.clone(), key.clone());
            Box::pin(async move {
                let Statements::Lookup(of) = &*statements else { return Err(mixed_up()) };
                read::rows(&session, of, &schema, &key, limit, now).await
            })
        });
        Ok(read.await?.unwrap_or_else(|| LookupRows::new(&lookup.columns)))
    }

    async fn progress(&self) -> PortResult<Vec<(Shard, Progress)>> {
        let session = self.session().await?;
        let Some(catalog) = self.catalog(&session).await? else { return Ok(Vec::new()) };
        match read::progress(&session, &catalog).await {
            Err(PortError::NotFound { .. }) => {
                *self.inner.catalog.write() = None;
                let Some(catalog) = self.catalog(&session).await? else { return Ok(Vec::new()) };
                read::progress(&session, &catalog).await.map_err(gone)
            }
            progress => progress,
        }
    }

    /// Nothing to do: a write is answered when a quorum of the data centre has it in its commit log, and the servers
    /// answer for that (with a commit log that is synced in batches or groups; see `docs/scylla.md`).
    async fn sync(&self) -> PortResult<()> {
        Ok(())
    }

    /// The servers drop rows whose time is over. This trims hot keys of lookups, and drops the tables of versions that
    /// are not wanted when nobody has used them for a while. Returns the number of keys trimmed and of versions dropped:
    /// nobody counts rows here.
    async fn expire(&self, views: &[ViewSchema], lookups: &[LookupSchema], now: Timestamp) -> PortResult<u64> {
        let session = self.session().await?;
        let Some(catalog) = self.catalog(&session).await? else { return Ok(0) };
        let mut dropped = 0;
        for lookup in lookups {
            let known = self.known(&Wanted::Lookup(lookup).identity());
            if let Some(Statements::Lookup(statements)) = known.as_deref() {
                dropped += expire::trim_hot(&session, &self.inner.config, statements, lookup).await.map_err(gone)?;
            }
        }
        let wanted = expire::wanted(views.iter().map(Wanted::View).chain(lookups.iter().map(Wanted::Lookup)));
        let stems = catalog.drop_unused(&session, &self.inner.config, &wanted, now).await.map_err(gone)?;
        self.inner.opened.write().retain(|_, of| !stems.contains(of.usage().0));
        Ok(dropped + stems.len() as u64)
    }
}
