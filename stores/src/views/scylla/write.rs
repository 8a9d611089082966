//! Writing flushes: absolute rows under timestamps that only grow, in batches by partition, and the progress last.

use std::collections::HashMap;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use scylla::client::session::Session;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use tideline_common::key;
use tideline_common::ports::{Flush, LookupRows, LookupSchema, PortError, PortResult};
use tideline_common::state::StateBatch;
use tideline_common::time::{Span, Timestamp};
use tideline_common::value::{Type, Value};

use super::ScyllaConfig;
use super::catalog::{Catalog, SCOPE};
use super::connection::{execute, failure};
use super::key::{key_cells, partition_key};
use super::schema::ttl_seconds;
use super::statements::{LookupStatements, PaneTable, Statements, ViewStatements};
use super::types::{Values, split};

/// Keys whose rows are counted for trimming, at most.
pub(super) const COUNTED_MAX: usize = 100_000;

/// Rows of one partition of one table.
struct Group {
    statement: PreparedStatement,
    rows: Vec<Values>,
}

/// Statements that are sent as one.
#[derive(Default)]
struct Request {
    statements: Vec<PreparedStatement>,
    values: Vec<Values>,
    /// Of the request itself.
    bytes: usize,
    /// As the server counts.
    weight: usize,
    partitions: usize,
}

impl Request {
    fn push(&mut self, statement: &PreparedStatement, values: Values) {
        self.bytes += values.size();
        self.weight += values.weight();
        self.statements.push(statement.clone());
        self.values.push(values);
    }

    async fn send(self, session: Arc<Session>) -> PortResult<()> {
        if let ([statement], [values]) = (&self.statements[..], &self.values[..]) {
            return execute(&session, statement, values).await.map(drop);
        }
        let mut batch = Batch::new(BatchType::Unlogged);
        for statement in self.statements {
            batch.append_statement(statement);
        }
        batch.set_is_idempotent(true);
        session.batch(&batch, &self.values).await.map(drop).map_err(failure)
    }
}

/// The timestamp of a row of states: it grows with the position, and lies near the time of the events, so that the
/// server keeps rows of one time in one file.
pub(super) const fn version(pane: Timestamp, position: u64) -> i64 {
    pane.0.saturating_add(position as i64)
}

/// How long a pane may be missing on the list of panes after its rows were written again.
pub(super) fn relist_after(ttl: Option<Span>) -> Span {
    Span(ttl.map_or(Span::HOUR.0, |ttl| ttl.0 / 10).clamp(Span::SECOND.0, Span::HOUR.0))
}

/// The TTL to bind: 0 is for ever.
fn bound_ttl(ttl: Option<Span>) -> i32 {
    ttl_seconds(ttl).unwrap_or(0)
}

/// Groups of a flush.
struct Groups {
    groups: Vec<Group>,
    /// Panes to note as listed when all is written.
    listed: Vec<(Arc<Statements>, bool, (Timestamp, String))>,
}

/// The states of row `row`, when they were written, and which are null.
fn push_states(values: &mut Values, batch: &StateBatch, row: usize, now: Timestamp) {
    let mut nulls = Vec::new();
    for (at, column) in batch.states.iter().enumerate() {
        if !values.state(column, row) {
            nulls.resize(at / 8 + 1, 0);
            nulls[at / 8] |= 1 << (at % 8);
        }
    }
    values.millis(now);
    values.bytes(&nulls);
}

/// The values of a key, one per key column.
fn key_values(key: &[u8]) -> PortResult<Vec<Value>> {
    key::decode(key).map_err(|e| PortError::invalid("a key of a flush", e))
}

/// Key columns of a partition; whether they say all.
pub(super) fn push_partition(values: &mut Values, key: &[Value], types: &[Type]) -> bool {
    if types.is_empty() {
        values.boolean(true);
        return true;
    }
    partition_key(values, key, types)
}

impl Groups {
    /// Groups by pane, in the order of keys.
    #[allow(clippy::too_many_arguments)]
    fn add_by_pane(
        &mut self,
        catalog: &Catalog,
        (statements, is_late): (&Arc<Statements>, bool),
        (view, table): (&ViewStatements, &PaneTable),
        ttl: Option<Span>,
        batch: &StateBatch,
        flush: &Flush,
        now: Timestamp,
    ) -> PortResult<()> {
        let shard = flush.shard.to_string();
        let mut by_pane: HashMap<Timestamp, Vec<Values>> = HashMap::new();
        for row in 0..batch.len() {
            let (pane, key) = (batch.panes[row], batch.keys.get(row));
            if pane.0 % 1_000 != 0 {
                return Err(PortError::invalid(&table.name, "panes of less than a millisecond have no place in CQL"));
            }
            let mut values = Values::new();
            values.millis(pane);
            values.text(&shard);
            values.bytes(key);
            key_cells(&mut values, &key_values(key)?, &view.key);
            push_states(&mut values, batch, row, now);
            values.int(bound_ttl(ttl));
            values.bigint(version(pane, flush.progress.position));
            by_pane.entry(pane).or_default().push(values);
        }
        let relist = relist_after(ttl);
        let mut list = Vec::new();
        for (pane, rows) in by_pane {
            self.groups.push(Group { statement: table.insert.clone(), rows });
            let at = (pane, shard.clone());
            if !table.listed.is_recent(&at, now, relist) {
                let mut values = Values::new();
                values.text(&table.name);
                values.millis(pane);
                values.text(&shard);
                values.millis(now);
                // It outlives rows that are written again while it is not.
                values.int(ttl_seconds(ttl.map(|ttl| Span(ttl.0.saturating_add(relist.0)))).unwrap_or(0));
                values.bigint(now.0);
                list.push(values);
                self.listed.push((statements.clone(), is_late, at));
            }
        }
        if !list.is_empty() {
            self.groups.push(Group { statement: catalog.put_pane.clone(), rows: list });
        }
        Ok(())
    }

    /// Groups by key.
    fn add_by_key(
        &mut self,
        view: &ViewStatements,
        ttl: Option<Span>,
        batch: &StateBatch,
        flush: &Flush,
        now: Timestamp,
    ) -> PortResult<()> {
        let shard = flush.shard.to_string();
        let mut by_key: HashMap<&[u8], Vec<Values>> = HashMap::new();
        for row in 0..batch.len() {
            let (pane, key) = (batch.panes[row], batch.keys.get(row));
            let mut values = Values::new();
            push_partition(&mut values, &key_values(key)?, &view.key);
            values.millis(pane);
            values.text(&shard);
            values.bytes(key);
            push_states(&mut values, batch, row, now);
            values.int(bound_ttl(ttl));
            values.bigint(version(pane, flush.progress.position));
            by_key.entry(key).or_default().push(values);
        }
        let statement = &view.insert_panes;
        self.groups.extend(by_key.into_values().map(|rows| Group { statement: statement.clone(), rows }));
        Ok(())
    }

    /// Rows of a lookup, by key: of each only the newest, as no more can ever be asked for.
    fn add_rows(
        &mut self,
        statements: &LookupStatements,
        lookup: &LookupSchema,
        rows: &LookupRows,
        now: Timestamp,
    ) -> PortResult<()> {
        let mut by_key: HashMap<&[u8], Vec<usize>> = HashMap::new();
        for row in 0..rows.len() {
            by_key.entry(rows.keys.get(row)).or_default().push(row);
        }
        for (key, mut of_key) in by_key {
            if of_key.len() > lookup.limit {
                of_key.sort_unstable_by_key(|row| {
                    std::cmp::Reverse((rows.times[*row], rows.sequences[*row], rows.ordinals[*row]))
                });
                of_key.truncate(lookup.limit);
            }
            let decoded = key_values(key)?;
            let mut group = Vec::with_capacity(of_key.len());
            let mut exact = true;
            for row in of_key {
                let mut values = Values::new();
                exact = push_partition(&mut values, &decoded, &statements.key);
                values.time(rows.times[row]);
                values.bigint(rows.sequences[row]);
                values.int(rows.ordinals[row] as i32);
                values.bytes(key);
                for column in &rows.columns {
                    values.value(column, row);
                }
                values.millis(now);
                values.int(bound_ttl(lookup.ttl));
                values.bigint(row_version(rows.times[row]));
                group.push(values);
            }
            if exact {
                // Others may share the partition of a key that does not say all: it is left to its time to live.
                let mut written = statements.written.lock();
                if written.len() < COUNTED_MAX || written.contains_key(key) {
                    *written.entry(key.to_vec()).or_default() += group.len();
                }
            }
            self.groups.push(Group { statement: statements.insert.clone(), rows: group });
        }
        Ok(())
    }
}

/// The timestamp of a row of a lookup: a row never changes, so that of its event will do.
pub(super) const fn row_version(time: Timestamp) -> i64 {
    time.0
}

/// Puts groups into requests: one partition each, or several small ones of one node.
fn requests(session: &Session, config: &ScyllaConfig, groups: Vec<Group>) -> Vec<Request> {
    let cluster = session.get_cluster_state();
    let several_nodes = cluster.get_nodes_info().len() > 1;
    let node_of = |statement: &PreparedStatement, values: &Values| -> Option<u128> {
        if !several_nodes {
            return Some(0);
        }
        let token = statement.calculate_token(values).ok()??;
        let table = statement.get_table_spec()?;
        let replicas = cluster.get_token_endpoints(table.ks_name(), table.table_name(), token);
        replicas.first().map(|(node, _)| node.host_id.as_u128())
    };
    let mut requests = Vec::new();
    let mut shared: HashMap<u128, Request> = HashMap::new();
    for group in groups {
        let weight: usize = group.rows.iter().map(Values::weight).sum();
        if config.batch_partitions > 1
            && weight <= config.batch_partitions_bytes
            && let Some(node) = group.rows.first().and_then(|values| node_of(&group.statement, values))
        {
            let request = shared.entry(node).or_default();
            if request.partitions >= config.batch_partitions || request.weight + weight > config.batch_partitions_bytes
            {
                requests.push(std::mem::take(request));
            }
            request.partitions += 1;
            group.rows.into_iter().for_each(|values| request.push(&group.statement, values));
            continue;
        }
        let mut request = Request::default();
        for values in group.rows {
            let is_full = request.values.len() >= config.batch_rows.clamp(1, usize::from(u16::MAX))
                || request.bytes + values.size() > config.batch_bytes;
            if is_full && !request.values.is_empty() {
                requests.push(std::mem::take(&mut request));
            }
            request.push(&group.statement, values);
        }
        requests.push(request);
    }
    requests.extend(shared.into_values());
    requests.retain(|request| !request.values.is_empty());
    requests
}

/// Writes the rows of a flush, and then its progress. `statements` are those of its views and then of its lookups,
/// `None` where there is nothing to write.
pub(super) async fn write(
    session: &Arc<Session>,
    config: &ScyllaConfig,
    catalog: &Catalog,
    statements: &[Option<Arc<Statements>>],
    flush: &Flush,
    now: Timestamp,
) -> PortResult<()> {
    let mut groups = Groups { groups: Vec::new(), listed: Vec::new() };
    for (panes, of) in flush.panes.iter().zip(statements) {
        let Some(of) = of else { continue };
        let Statements::View(view) = &**of else { continue };
        let ttl = panes.view.ttl;
        groups.add_by_key(view, ttl, &panes.panes, flush, now)?;
        groups.add_by_pane(catalog, (of, false), (view, &view.by_pane), ttl, &panes.panes, flush, now)?;
        groups.add_by_pane(catalog, (of, true), (view, &view.late), ttl, &panes.late, flush, now)?;
    }
    for ((lookup, rows), of) in flush.rows.iter().zip(&statements[flush.panes.len()..]) {
        let Some(of) = of else { continue };
        if let Statements::Lookup(statements) = &**of {
            groups.add_rows(statements, lookup, rows, now)?;
        }
    }
    let Groups { groups, listed } = groups;
    let rows: usize = groups.iter().map(|group| group.rows.len()).sum();
    let requests = requests(session, config, groups);
    let sent = requests.len();
    stream::iter(requests.into_iter().map(|request| request.send(session.clone())))
        .buffer_unordered(config.write_concurrency.max(1))
        .try_collect::<()>()
        .await?;
    for (of, is_late, at) in listed {
        if let Statements::View(view) = &*of {
            let table = if is_late { &view.late } else { &view.by_pane };
            table.listed.note(at, now);
        }
    }
    put_progress(session, catalog, flush).await?;
    tracing::trace!(shard = %flush.shard, rows, requests = sent, "flush written");
    Ok(())
}

async fn put_progress(session: &Session, catalog: &Catalog, flush: &Flush) -> PortResult<()> {
    let progress = &flush.progress;
    let mut values = Values::new();
    values.text(SCOPE);
    values.text(&flush.shard.source);
    values.int(flush.shard.partition as i32);
    values.bigint(progress.position as i64);
    for time in [progress.highest, progress.last_appended] {
        match time {
            Some(time) => values.time(time),
            None => {
                values.null();
                values.null();
            }
        }
    }
    values.time(progress.written_at);
    for count in [progress.records, progress.rejected, progress.duplicates, progress.late] {
        values.bigint(count as i64);
    }
    values.text(&progress.version);
    values.bigint(progress.position as i64);
    execute(session, &catalog.put_progress, &values).await.map(drop)
}

/// Deletes the rows of `key` beyond the newest `limit`. Their timestamps are their event times, so a deletion as of the
/// oldest row that stays takes exactly what is older, also when it is written again by a replay.
pub(super) async fn trim(session: &Session, statements: &LookupStatements, key: &[u8], limit: usize) -> PortResult<()> {
    let decoded = key_values(key)?;
    let mut values = Values::new();
    push_partition(&mut values, &decoded, &statements.key);
    let mut select = statements.select_times.clone();
    let page = i32::try_from(limit.max(1)).unwrap_or(i32::MAX);
    select.set_page_size(page.min(select.get_page_size()));
    let (mut seen, mut oldest) = (0, None);
    let mut state = scylla::response::PagingState::start();
    while seen < limit {
        let next = super::connection::page(session, &select, &values, state, &mut |cells| {
            seen += 1;
            if seen == limit {
                oldest = super::types::CellReader::new(cells).millis()?;
            }
            Ok(())
        })
        .await?;
        let Some(next) = next else { break };
        state = next;
    }
    let Some(oldest) = oldest else { return Ok(()) };
    let mut values = Values::new();
    values.bigint(row_version(oldest).saturating_sub(1));
    push_partition(&mut values, &decoded, &statements.key);
    values.bigint(split(oldest).0);
    execute(session, &statements.delete_before, &values).await.map(drop)
}
