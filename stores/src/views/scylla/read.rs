//! Reading panes and rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use scylla::client::session::Session;
use scylla::response::PagingState;
use tideline_common::key::{self, Key};
use tideline_common::ports::{LookupRows, LookupSchema, PortError, PortResult, Progress, ShardPanes};
use tideline_common::position::Shard;
use tideline_common::state::{StateBatch, StateField};
use tideline_common::time::{Span, Timestamp};

use super::ScyllaConfig;
use super::catalog::{Catalog, SCOPE};
use super::connection::{page, select};
use super::statements::{LookupStatements, PaneTable, ViewStatements};
use super::types::{Cell, CellReader, Values};
use super::write::push_partition;

/// Whether a row written then is still returned.
fn is_alive(written_at: Timestamp, ttl: Option<Span>, now: Timestamp) -> bool {
    ttl.is_none_or(|ttl| now < written_at.plus(ttl))
}

/// Where a pane and its shard are.
pub(super) type Place = (Timestamp, String);

/// States with the shards they are of, for sorting: a batch does not say it.
pub(super) struct Found {
    pub(super) batch: StateBatch,
    pub(super) shards: Vec<Arc<str>>,
}

impl Found {
    pub(super) fn new(fields: &[StateField]) -> Self {
        Self { batch: StateBatch::new(fields), shards: Vec::new() }
    }

    /// Adds the row of which `reader` has states, time of writing and nulls left, unless its time is over.
    fn add(
        &mut self,
        key: &[u8],
        (pane, shard): (Timestamp, &Arc<str>),
        mut reader: CellReader<'_, '_>,
        (ttl, now): (Option<Span>, Timestamp),
    ) -> PortResult<()> {
        // The last two cells stand behind the states, and decide about them.
        let (written_at, nulls) = reader.last_two()?;
        if !is_alive(written_at, ttl, now) {
            return Ok(());
        }
        for (at, column) in self.batch.states.iter_mut().enumerate() {
            let is_null = nulls.get(at / 8).is_some_and(|byte| byte & (1 << (at % 8)) != 0);
            reader.state(column, is_null).map_err(|error| match error {
                PortError::Corrupt { reason, .. } => {
                    let key = Key(key.to_vec()).values().unwrap_or_default();
                    PortError::corrupt(format!("the state of pane {pane} of key {key:?}"), reason)
                }
                error => error,
            })?;
        }
        self.batch.keys.push(key);
        self.batch.panes.push(pane);
        self.shards.push(shard.clone());
        Ok(())
    }

    /// Rows by key, pane and shard.
    pub(super) fn sorted(self, fields: &[StateField]) -> StateBatch {
        let Self { batch, shards } = self;
        let at = |row: usize| (batch.keys.get(row), batch.panes[row], &shards[row]);
        if (1..batch.len()).all(|row| at(row - 1) <= at(row)) {
            return batch;
        }
        let mut order: Vec<usize> = (0..batch.len()).collect();
        order.sort_unstable_by(|a, b| at(*a).cmp(&at(*b)));
        let mut sorted = StateBatch::new(fields);
        for row in order {
            sorted.push_from(&batch, row);
        }
        sorted
    }
}

/// The first millisecond at or after `time`: panes start at milliseconds, so the same panes are before it.
fn bound(time: Timestamp) -> i64 {
    time.0.div_euclid(1_000) + i64::from(time.0.rem_euclid(1_000) != 0)
}

/// Panes of one key in [from, to).
pub(super) async fn of_key(
    session: &Session,
    view: &ViewStatements,
    fields: &[StateField],
    key: &Key,
    (from, to): (Timestamp, Timestamp),
    (ttl, now): (Option<Span>, Timestamp),
) -> PortResult<StateBatch> {
    let mut found = Found::new(fields);
    let decoded = key.values().map_err(|e| PortError::invalid("the key of a query", e))?;
    if decoded.len() != view.key.len() {
        return Ok(found.batch);
    }
    let mut values = Values::new();
    push_partition(&mut values, &decoded, &view.key);
    values.bigint(bound(from));
    values.bigint(bound(to));
    select(session, &view.select_panes, &values, &mut |cells| {
        let mut reader = CellReader::new(cells);
        let pane = CellReader::required(reader.millis()?, "start of a pane")?;
        let shard = CellReader::required(reader.text()?, "shard")?.into();
        // Another key may share the partition.
        if reader.cell()? == Some(key.as_bytes()) {
            found.add(key.as_bytes(), (pane, &shard), reader, (ttl, now))?;
        }
        Ok(())
    })
    .await?;
    Ok(found.sorted(fields))
}

/// Panes on the list that start in [from, to), the newest first.
pub(super) async fn places(
    session: &Session,
    catalog: &Catalog,
    table: &PaneTable,
    (from, to): (Timestamp, Timestamp),
) -> PortResult<Vec<Place>> {
    let mut places = Vec::new();
    select(session, &catalog.panes, &list_values(table, from, to), &mut |cells| {
        places.push(place(cells)?);
        Ok(())
    })
    .await?;
    Ok(places)
}

fn list_values(table: &PaneTable, from: Timestamp, to: Timestamp) -> Values {
    let mut values = Values::new();
    values.text(&table.name);
    values.bigint(bound(from));
    values.bigint(bound(to));
    values
}

fn place(cells: &[Cell<'_>]) -> PortResult<Place> {
    let mut reader = CellReader::new(cells);
    let pane = CellReader::required(reader.millis()?, "start of a pane")?;
    Ok((pane, CellReader::required(reader.text()?, "shard")?.to_owned()))
}

pub(super) fn place_values((pane, shard): &Place) -> Values {
    let mut values = Values::new();
    values.millis(*pane);
    values.text(shard);
    values
}

/// Adds a row of a table of panes.
pub(super) fn add_row(
    found: &mut Found,
    table_key: usize,
    place: (Timestamp, &Arc<str>),
    cells: &[Cell<'_>],
    alive: (Option<Span>, Timestamp),
) -> PortResult<()> {
    let mut reader = CellReader::new(cells);
    let key = CellReader::required(reader.cell()?, "key")?;
    // Its columns are for people.
    reader.skip(table_key);
    found.add(key, place, reader, alive)
}

/// What is read of tables of panes.
#[derive(Clone, Copy)]
pub(super) struct Sweep<'a> {
    pub(super) session: &'a Arc<Session>,
    pub(super) config: &'a ScyllaConfig,
    pub(super) table: &'a PaneTable,
    /// Key columns.
    pub(super) key: usize,
    pub(super) fields: &'a [StateField],
    pub(super) ttl: Option<Span>,
    pub(super) now: Timestamp,
}

impl Sweep<'_> {
    /// The rows of each of `places`, or those of one key.
    async fn parts(&self, places: Vec<Place>, one: Option<&Key>) -> PortResult<Vec<Found>> {
        let statement = if one.is_some() { &self.table.select_key } else { &self.table.select };
        let reads = places.into_iter().map(|place| {
            let mut values = place_values(&place);
            if let Some(key) = one {
                values.bytes(key.as_bytes());
            }
            let (fields, key, alive) = (self.fields, self.key, (self.ttl, self.now));
            let session = self.session.clone();
            async move {
                let mut found = Found::new(fields);
                let (pane, shard) = (place.0, place.1.into());
                let mut add = |cells: &[Cell<'_>]| add_row(&mut found, key, (pane, &shard), cells, alive);
                select(&session, statement, &values, &mut add).await?;
                Ok::<_, PortError>(found)
            }
        });
        let reads: Vec<_> = reads.collect();
        stream::iter(reads).buffer_unordered(self.config.read_concurrency.max(1)).try_collect().await
    }

    /// All rows of `places`, by shard.
    pub(super) async fn by_shard(&self, places: Vec<Place>) -> PortResult<Vec<ShardPanes>> {
        let mut shards: BTreeMap<Arc<str>, StateBatch> = BTreeMap::new();
        for found in self.parts(places, None).await? {
            let Some(shard) = found.shards.first() else { continue };
            let batch = shards.entry(shard.clone()).or_insert_with(|| StateBatch::new(self.fields));
            (0..found.batch.len()).for_each(|row| batch.push_from(&found.batch, row));
        }
        let named = |(name, panes): (Arc<str>, StateBatch)| {
            let shard = name.rsplit_once('/').and_then(|(source, n)| Some(Shard::new(source, n.parse().ok()?)));
            let shard = shard.ok_or_else(|| PortError::corrupt(&self.table.name, format!("`{name}` is no shard")))?;
            Ok(ShardPanes { shard, panes })
        };
        shards.into_iter().map(named).collect()
    }

    /// All rows of `places`, or those of one key, sorted by key, pane and shard.
    pub(super) async fn all(&self, places: Vec<Place>, one: Option<&Key>) -> PortResult<StateBatch> {
        let mut parts = self.parts(places, one).await?;
        if parts.len() == 1 {
            return Ok(parts.pop().map_or_else(|| StateBatch::new(self.fields), |found| found.sorted(self.fields)));
        }
        let mut rows = Vec::new();
        for (part, found) in parts.iter().enumerate() {
            let of = |row| (found.batch.keys.get(row), found.batch.panes[row], &found.shards[row], part, row);
            rows.extend((0..found.batch.len()).map(of));
        }
        rows.sort_unstable();
        let mut sorted = StateBatch::new(self.fields);
        for (_, _, _, part, row) in rows {
            sorted.push_from(&parts[part].batch, row);
        }
        Ok(sorted)
    }

    /// Start of the newest pane that has a row: the list says where to look.
    pub(super) async fn newest(&self, catalog: &Catalog) -> PortResult<Option<Timestamp>> {
        let mut statement = catalog.panes.clone();
        statement.set_page_size(100);
        let values = list_values(self.table, Timestamp::MIN, Timestamp::MAX);
        let mut state = Some(PagingState::start());
        while let Some(from) = state.take() {
            let mut places = Vec::new();
            state = page(self.session, &statement, &values, from, &mut |cells| {
                places.push(place(cells)?);
                Ok(())
            })
            .await?;
            for place in places {
                if self.has_row(&place).await? {
                    return Ok(Some(place.0));
                }
            }
        }
        Ok(None)
    }

    async fn has_row(&self, place: &Place) -> PortResult<bool> {
        let values = place_values(place);
        let mut state = PagingState::start();
        let mut found = false;
        loop {
            let next = page(self.session, &self.table.select_written, &values, state, &mut |cells| {
                let written_at = CellReader::required(CellReader::new(cells).millis()?, "time of writing")?;
                found |= is_alive(written_at, self.ttl, self.now);
                Ok(())
            })
            .await?;
            match next {
                Some(next) if !found => state = next,
                _ => return Ok(found),
            }
        }
    }
}

/// The newest live rows of a key.
pub(super) async fn rows(
    session: &Session,
    statements: &LookupStatements,
    lookup: &LookupSchema,
    key: &Key,
    limit: usize,
    now: Timestamp,
) -> PortResult<LookupRows> {
    let mut rows = LookupRows::new(&lookup.columns);
    let limit = limit.min(lookup.limit);
    let decoded = key::decode(key.as_bytes()).map_err(|e| PortError::invalid("the key of a query", e))?;
    if decoded.len() != statements.key.len() || limit == 0 {
        return Ok(rows);
    }
    let mut values = Values::new();
    push_partition(&mut values, &decoded, &statements.key);
    let mut statement = statements.select.clone();
    let page_rows = i32::try_from(limit).unwrap_or(i32::MAX);
    statement.set_page_size(page_rows.min(statement.get_page_size()));
    let mut state = Some(PagingState::start());
    while let Some(from) = state.take() {
        state = page(session, &statement, &values, from, &mut |cells| {
            if rows.len() >= limit {
                return Ok(());
            }
            let mut reader = CellReader::new(cells);
            let (time, sequence) = (reader.time()?, reader.bigint()?);
            let (ordinal, of) = (reader.int()?, reader.cell()?);
            // Another key may share the partition.
            if of != Some(key.as_bytes()) {
                return Ok(());
            }
            let written_at = reader.last()?;
            if !is_alive(written_at, lookup.ttl, now) {
                return Ok(());
            }
            for column in &mut rows.columns {
                reader.value(column)?;
            }
            rows.keys.push(key.as_bytes());
            rows.times.push(CellReader::required(time, "event time")?);
            rows.sequences.push(CellReader::required(sequence, "sequence")?);
            rows.ordinals.push(CellReader::required(ordinal, "ordinal")? as u32);
            Ok(())
        })
        .await?;
        if rows.len() >= limit {
            break;
        }
    }
    Ok(rows)
}

/// Progress of every shard.
pub(super) async fn progress(session: &Session, catalog: &Catalog) -> PortResult<Vec<(Shard, Progress)>> {
    let mut values = Values::new();
    values.text(SCOPE);
    let mut all = Vec::new();
    select(session, &catalog.progress, &values, &mut |cells| {
        let mut reader = CellReader::new(cells);
        let source = CellReader::required(reader.text()?, "source")?.to_owned();
        let partition = CellReader::required(reader.int()?, "partition")? as u32;
        let position = CellReader::required(reader.bigint()?, "position")? as u64;
        let (highest, last_appended, written_at) = (reader.time()?, reader.time()?, reader.time()?);
        let mut count = || Ok::<_, PortError>(reader.bigint()?.unwrap_or(0) as u64);
        let progress = Progress {
            position,
            highest,
            last_appended,
            written_at: written_at.unwrap_or_default(),
            records: count()?,
            rejected: count()?,
            duplicates: count()?,
            late: count()?,
            version: reader.text()?.unwrap_or_default().to_owned(),
        };
        all.push((Shard::new(source, partition), progress));
        Ok(())
    })
    .await?;
    Ok(all)
}
