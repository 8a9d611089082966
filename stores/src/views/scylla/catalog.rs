//! Which version of a view or lookup has which tables, and creating and dropping them.
//!
//! `tideline_tables` is one partition with a row per stem (what the names of the tables of a version begin with) and a
//! number, its generation. Every change is a compare and set on the generation, so all changes come one after the
//! other whoever makes them. Stems are never given twice: a process that was asleep while it dropped tables drops
//! nothing but what was dropped already.
//!
//! Whoever creates or drops tables holds `tideline_lock`, a row that expires by itself: servers before Cassandra 5.1
//! take no two changes of the schema at a time. What its holder left half done, the next one completes:
//!
//! ```text
//! nothing → creating → live → dropping → dropped
//! ```

use std::collections::HashSet;
use std::time::Duration;

use scylla::client::session::Session;
use scylla::frame::types::Consistency;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use tideline_common::ports::{LookupSchema, PortError, PortResult, ViewSchema};
use tideline_common::time::Timestamp;
use tokio::time::Instant;

use super::ScyllaConfig;
use super::connection::{self, change_schema, each_row, execute, prepare, select};
use super::names::{self, quoted};
use super::schema::{self, Table, ViewTables};
use super::tables;
use super::types::{CellReader, Values};

/// Partition of the tables that have only one.
pub(super) const SCOPE: &str = "tideline";

/// The lock is lost after this, unless it is renewed: longer than any one change of the schema.
const LOCK_SECONDS: i32 = 60;

/// How long a process waits for the lock: longer than another that died with it holds it.
const LOCK_WAIT: Duration = Duration::from_secs(90);

/// Attempts to change the catalogue while others change it.
const ATTEMPTS: usize = 20;

/// What has tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted<'a> {
    View(&'a ViewSchema),
    Lookup(&'a LookupSchema),
}

/// Kind (`view` or `lookup`), name and version.
pub(super) type Identity = (bool, String, String);

impl Wanted<'_> {
    pub(super) fn identity(&self) -> Identity {
        match self {
            Self::View(v) => (true, v.name.clone(), v.version.clone()),
            Self::Lookup(l) => (false, l.name.clone(), l.version.clone()),
        }
    }

    fn tables(&self, stem: &str) -> Vec<Table> {
        match self {
            Self::View(view) => ViewTables::new(stem, view).all(),
            Self::Lookup(lookup) => vec![schema::lookup_table(stem, lookup)],
        }
    }
}

/// How far the tables of a stem are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Creating,
    Live,
    Dropping,
    Dropped,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Live => "live",
            Self::Dropping => "dropping",
            Self::Dropped => "dropped",
        }
    }

    fn named(name: &str) -> PortResult<Self> {
        [Self::Creating, Self::Live, Self::Dropping, Self::Dropped]
            .into_iter()
            .find(|state| state.name() == name)
            .ok_or_else(|| PortError::corrupt("tideline_tables", format!("`{name}` is no state")))
    }
}

/// A row of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) stem: String,
    pub(super) identity: Identity,
    pub(super) state: State,
}

/// The catalogue as read.
#[derive(Debug, Default)]
pub(super) struct Listing {
    generation: Option<i32>,
    pub(super) entries: Vec<Entry>,
}

impl Listing {
    /// The tables of a version: at most one stem of it is neither dropped nor about to be.
    pub(super) fn find(&self, identity: &Identity) -> Option<&Entry> {
        self.entries.iter().find(|e| e.identity == *identity && matches!(e.state, State::Creating | State::Live))
    }

    /// A stem that no table has or ever had.
    fn free_stem(&self, identity: &Identity) -> String {
        let mut taken: HashSet<String> = schema::own_tables().into_iter().map(|table| table.name).collect();
        for entry in &self.entries {
            taken.insert(entry.stem.clone());
            taken.extend(schema::table_names(entry.identity.0, &entry.stem));
        }
        let is_free = |stem: &String| {
            !taken.contains(stem) && schema::table_names(identity.0, stem).iter().all(|name| !taken.contains(name))
        };
        let mut number = 1;
        loop {
            let stem = names::stem(&identity.1, number);
            if is_free(&stem) {
                return stem;
            }
            number += 1;
        }
    }
}

/// Prepared statements over Tideline's own tables.
pub(super) struct Catalog {
    read: PreparedStatement,
    read_serial: PreparedStatement,
    next_generation: PreparedStatement,
    put: PreparedStatement,
    lock: PreparedStatement,
    renew: PreparedStatement,
    unlock: PreparedStatement,
    use_now: PreparedStatement,
    used: PreparedStatement,
    pub(super) put_pane: PreparedStatement,
    pub(super) panes: PreparedStatement,
    pub(super) put_progress: PreparedStatement,
    pub(super) progress: PreparedStatement,
}

impl Catalog {
    /// Prepares the statements, when the tables are there.
    pub(super) async fn open(session: &Session, config: &ScyllaConfig) -> PortResult<Option<Self>> {
        let there = tables::existing(session, config).await?;
        let tables = schema::own_tables();
        if !tables.iter().all(|table| there.contains(&table.name)) {
            return Ok(None);
        }
        let [claims, usage, lock, panes, progress] = &tables[..] else {
            return Err(PortError::invalid("the catalogue of the speed views", "it has five tables"));
        };
        let keyspace = &config.keyspace;
        let read = format!(
            "SELECT generation, stem, kind, name, version, state FROM {} WHERE scope = ?",
            claims.path(keyspace)
        );
        let statement = |cql: String| prepare(session, cql, config.page_rows);
        let mut catalog = Self {
            read: statement(read.clone()).await?,
            read_serial: statement(read).await?,
            next_generation: statement(format!(
                "UPDATE {} SET generation = ? WHERE scope = ? IF generation = ?",
                claims.path(keyspace)
            ))
            .await?,
            put: statement(claims.insert(keyspace, "")).await?,
            lock: statement(format!(
                "INSERT INTO {} (name, owner) VALUES (?, ?) IF NOT EXISTS USING TTL {LOCK_SECONDS}",
                lock.path(keyspace)
            ))
            .await?,
            renew: statement(format!(
                "UPDATE {} USING TTL {LOCK_SECONDS} SET owner = ? WHERE name = ? IF owner = ?",
                lock.path(keyspace)
            ))
            .await?,
            unlock: statement(format!("DELETE FROM {} WHERE name = ? IF owner = ?", lock.path(keyspace))).await?,
            use_now: statement(usage.insert(keyspace, " USING TIMESTAMP ?")).await?,
            used: statement(format!("SELECT stem, used_at FROM {} WHERE scope = ?", usage.path(keyspace))).await?,
            put_pane: statement(panes.insert(keyspace, " USING TTL ? AND TIMESTAMP ?")).await?,
            panes: statement(format!(
                "SELECT pane_start, shard FROM {} WHERE table_name = ? AND pane_start >= ? AND pane_start < ?",
                panes.path(keyspace)
            ))
            .await?,
            put_progress: statement(progress.insert(keyspace, " USING TIMESTAMP ?")).await?,
            progress: statement(format!(
                "SELECT source, partition, position, highest, highest_us, last_appended, last_appended_us, written_at, \
                 written_at_us, records, rejected, duplicates, late, version FROM {} WHERE scope = ?",
                progress.path(keyspace)
            ))
            .await?,
        };
        catalog.read_serial.set_consistency(Consistency::Serial);
        Ok(Some(catalog))
    }

    /// The catalogue. `serial`: after all changes that were ever answered, of every process.
    pub(super) async fn list(&self, session: &Session, serial: bool) -> PortResult<Listing> {
        let mut values = Values::new();
        values.text(SCOPE);
        let mut listing = Listing::default();
        let statement = if serial { &self.read_serial } else { &self.read };
        select(session, statement, &values, &mut |cells| {
            let mut reader = CellReader::new(cells);
            listing.generation = reader.int()?;
            let mut text = || Ok::<_, PortError>(reader.text()?.map(str::to_owned));
            // Before the first claim the partition may have a number and no row.
            let (Some(stem), Some(kind), Some(name), Some(version), Some(state)) =
                (text()?, text()?, text()?, text()?, text()?)
            else {
                return Ok(());
            };
            let state = State::named(&state)?;
            listing.entries.push(Entry { stem, identity: (kind == "view", name, version), state });
            Ok(())
        })
        .await?;
        Ok(listing)
    }

    /// Puts an entry, if nothing has changed since `listing` was read.
    async fn change(&self, session: &Session, listing: &Listing, entry: &Entry) -> PortResult<bool> {
        let mut batch = Batch::new(BatchType::Unlogged);
        batch.append_statement(self.next_generation.clone());
        batch.append_statement(self.put.clone());
        batch.set_consistency(Consistency::Quorum);
        let mut next = Values::new();
        next.int(listing.generation.unwrap_or(0) + 1);
        next.text(SCOPE);
        match listing.generation {
            Some(generation) => next.int(generation),
            None => next.null(),
        }
        let mut put = Values::new();
        let (is_view, name, version) = &entry.identity;
        let kind = if *is_view { "view" } else { "lookup" };
        for text in [SCOPE, &entry.stem, kind, name, version, entry.state.name()] {
            put.text(text);
        }
        let result = session.batch(&batch, vec![next, put]).await.map_err(connection::failure)?;
        applied(result, "").map(|(applied, _)| applied)
    }

    /// Moves the entry that `pick` chooses on to another state; the entry as it then is.
    async fn settle(
        &self,
        session: &Session,
        mut pick: impl FnMut(&Listing) -> Option<Entry>,
    ) -> PortResult<Option<Entry>> {
        for attempt in 0..ATTEMPTS {
            let listing = self.list(session, true).await?;
            let Some(entry) = pick(&listing) else { return Ok(None) };
            if listing.entries.contains(&entry) || self.change(session, &listing, &entry).await? {
                return Ok(Some(entry));
            }
            tokio::time::sleep(Duration::from_millis(10 * (attempt as u64 + 1))).await;
        }
        Err(PortError::unavailable("the catalogue of the speed views", "others change it all the time"))
    }

    /// Notes that the tables of a stem are in use.
    pub(super) async fn note_use(&self, session: &Session, stem: &str, now: Timestamp) -> PortResult<()> {
        let mut values = Values::new();
        values.text(SCOPE);
        values.text(stem);
        values.millis(now);
        values.bigint(now.0);
        execute(session, &self.use_now, &values).await.map(drop)
    }

    /// When the tables of each stem were last used.
    async fn usage(&self, session: &Session) -> PortResult<Vec<(String, Timestamp)>> {
        let mut values = Values::new();
        values.text(SCOPE);
        let mut usage = Vec::new();
        select(session, &self.used, &values, &mut |cells| {
            let mut reader = CellReader::new(cells);
            if let (Some(stem), Some(at)) = (reader.text()?.map(str::to_owned), reader.millis()?) {
                usage.push((stem, at));
            }
            Ok(())
        })
        .await?;
        Ok(usage)
    }

    async fn lock(&self, session: &Session) -> PortResult<Lock<'_>> {
        let owner = format!("{:032x}", uuid());
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            let mut values = Values::new();
            values.text("schema");
            values.text(&owner);
            let (applied, holder) = applied(execute(session, &self.lock, &values).await?, &owner)?;
            if applied || holder {
                return Ok(Lock { catalog: self, owner });
            }
            if Instant::now() >= deadline {
                return Err(PortError::unavailable("the schema of the speed views", "another process is changing it"));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Creates the tables of all of `wanted` that are missing, claiming names for versions that have none.
    pub(super) async fn create(
        &self,
        session: &Session,
        config: &ScyllaConfig,
        wanted: &[Wanted<'_>],
        now: Timestamp,
    ) -> PortResult<()> {
        let lock = self.lock(session).await?;
        let result = async {
            for wanted in wanted {
                let identity = wanted.identity();
                let claim = |listing: &Listing| {
                    Some(listing.find(&identity).cloned().unwrap_or_else(|| Entry {
                        stem: listing.free_stem(&identity),
                        identity: identity.clone(),
                        state: State::Creating,
                    }))
                };
                let Some(entry) = self.settle(session, claim).await? else { continue };
                let tables = wanted.tables(&entry.stem);
                // Before they are live: nobody shall think that they are unused.
                self.note_use(session, &entry.stem, now).await?;
                lock.renew(session).await?;
                tables::create(session, config, &tables).await?;
                let live = Entry { state: State::Live, ..entry };
                self.settle(session, |_| Some(live.clone())).await?;
                tracing::info!(name = identity.1, version = identity.2, stem = live.stem, "tables are ready");
            }
            Ok(())
        }
        .await;
        lock.release(session).await;
        // The driver learns of new tables by itself after a while; requests find their servers at once this way.
        if let Err(error) = session.refresh_metadata().await {
            tracing::debug!(%error, "the driver did not read the schema again");
        }
        result
    }

    /// Drops the tables of versions that are not wanted and that nobody used for a while; their stems.
    pub(super) async fn drop_unused(
        &self,
        session: &Session,
        config: &ScyllaConfig,
        wanted: &HashSet<Identity>,
        now: Timestamp,
    ) -> PortResult<Vec<String>> {
        let listing = self.list(session, false).await?;
        let unwanted = |entry: &Entry| entry.state != State::Dropped && !wanted.contains(&entry.identity);
        if !listing.entries.iter().any(unwanted) {
            return Ok(Vec::new());
        }
        let old = |usage: &[(String, Timestamp)], entry: &Entry| {
            let used = usage.iter().find(|(stem, _)| *stem == entry.stem).map(|(_, at)| *at);
            used.is_none_or(|at| at.plus(config.drop_after) <= now)
        };
        let usage = self.usage(session).await?;
        if !listing.entries.iter().any(|entry| unwanted(entry) && old(&usage, entry)) {
            return Ok(Vec::new());
        }
        let lock = self.lock(session).await?;
        let mut dropped = Vec::new();
        let result = async {
            for entry in listing.entries.iter().filter(|entry| unwanted(entry)) {
                // Whoever creates or uses tables notes it first, so this is the last word before they are marked.
                let usage = self.usage(session).await?;
                let mark = |listing: &Listing| {
                    let now = listing.entries.iter().find(|e| e.stem == entry.stem)?;
                    let goes = now.state == State::Dropping || (now.state != State::Dropped && old(&usage, now));
                    goes.then(|| Entry { state: State::Dropping, ..now.clone() })
                };
                let Some(marked) = self.settle(session, mark).await? else { continue };
                for name in schema::table_names(marked.identity.0, &marked.stem) {
                    lock.renew(session).await?;
                    let path = format!("{}.{}", quoted(&config.keyspace), quoted(&name));
                    change_schema(session, format!("DROP TABLE IF EXISTS {path}")).await?;
                }
                let gone = Entry { state: State::Dropped, ..marked };
                self.settle(session, |_| Some(gone.clone())).await?;
                let (_, name, version) = &gone.identity;
                tracing::info!(name, version, stem = gone.stem, "tables of an old version are dropped");
                dropped.push(gone.stem);
            }
            Ok(())
        }
        .await;
        lock.release(session).await;
        result.map(|()| dropped)
    }
}

/// The right to change the schema.
struct Lock<'a> {
    catalog: &'a Catalog,
    owner: String,
}

impl Lock<'_> {
    /// Holds it for as long again.
    ///
    /// # Errors
    /// When another has it: this process was asleep.
    async fn renew(&self, session: &Session) -> PortResult<()> {
        let mut values = Values::new();
        for text in [&self.owner, "schema", &self.owner] {
            values.text(text);
        }
        let (applied, _) = applied(execute(session, &self.catalog.renew, &values).await?, &self.owner)?;
        if applied {
            return Ok(());
        }
        Err(PortError::unavailable("the schema of the speed views", "another process has begun to change it"))
    }

    /// Gives it back; it expires if that fails.
    async fn release(self, session: &Session) {
        let mut values = Values::new();
        values.text("schema");
        values.text(&self.owner);
        if let Err(error) = execute(session, &self.catalog.unlock, &values).await {
            tracing::debug!(%error, "the lock of the schema is left to expire");
        }
    }
}

/// Whether a conditional change was made, and whether the row that was in its way is `owner`'s.
fn applied(result: scylla::response::query_result::QueryResult, owner: &str) -> PortResult<(bool, bool)> {
    let (mut applied, mut owned) = (false, false);
    each_row(result, &mut |cells| {
        applied |= CellReader::new(cells).boolean()?.unwrap_or(false);
        owned |= cells.len() > 1 && cells.last().is_some_and(|cell| *cell == Some(owner.as_bytes()));
        Ok(())
    })?;
    Ok((applied, owned))
}

/// A number that no other process has.
fn uuid() -> u128 {
    use std::hash::{BuildHasher as _, RandomState};
    // The standard library's own random seeds: two 64-bit words.
    let word = || u128::from(RandomState::new().hash_one(std::process::id()));
    (word() << 64) | word()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(is_view: bool, name: &str, version: &str, stem: &str, state: State) -> Entry {
        Entry { stem: stem.to_owned(), identity: (is_view, name.to_owned(), version.to_owned()), state }
    }

    #[test]
    fn stems_are_never_given_twice() {
        let listing = Listing {
            generation: Some(3),
            entries: vec![
                entry(true, "prices", "1", "prices", State::Dropped),
                entry(true, "prices", "2", "prices_v2", State::Live),
                entry(false, "x_panes", "1", "x_panes", State::Live),
                entry(true, "prices_v3", "1", "prices_v3", State::Creating),
            ],
        };
        let stem = |is_view, name: &str| listing.free_stem(&(is_view, name.to_owned(), "9".to_owned()));
        assert_eq!(stem(true, "prices"), "prices_v4");
        assert_eq!(stem(true, "new"), "new");
        assert_eq!(stem(false, "new"), "new");
        assert_eq!(stem(true, "x"), "x_v2", "its tables would have a name that a lookup has");
        assert_eq!(stem(false, "prices_v2_late"), "prices_v2_late_v2");
        assert_eq!(stem(true, "tideline"), "tideline_v2", "tideline_panes is Tideline's own");
        assert_eq!(listing.find(&(true, "prices".to_owned(), "1".to_owned())), None);
        assert_eq!(
            listing.find(&(true, "prices".to_owned(), "2".to_owned())).map(|e| e.stem.as_str()),
            Some("prices_v2")
        );
    }
}
