//! What speed knows, in `ClickHouse`: the changes of a view's panes, tailed from their topic.
//!
//! ```text
//! <view>_stream_<plan version>   key columns | pane | states | _shard | _position | _written_at
//! tideline_streams               stream | topic_partition | next: how far a topic was taken in
//! ```
//!
//! Changes are absolute (the whole state of a pane from a shard as of a position), and the table keeps the row of the
//! highest position of each (key, pane, shard). So the rows of a change are written first and the offset after them: what
//! is written again after a crash changes nothing. Rows go when they are as old as the view's `retain.speed`.
//!
//! When a topic no longer has the records that come next (its retention is an hour by default), reading goes on at the
//! first one that it has, with a warning: panes that changed only in between stay as they were until batch has them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tideline_common::changes::{self, Change};
use tideline_common::plan::ViewPlan;
use tideline_common::ports::{Log, PortError, PortResult, ReadRequest, ViewSchema};
use tideline_common::position::{Offset, Partition};
use tokio_util::sync::CancellationToken;

use super::ClickHouseAnalytics;
use super::names::{list, literal, name};
use super::rowbinary::{write_int, write_states, write_text};
use super::schema::{GoldTable, PANE, STREAMS, TIME};
use super::server::{Param, Statement, is_absent};

/// Records that are read at once.
const RECORDS: usize = 1_000;
/// Bytes of records that are read at once.
const BYTES: usize = 8 << 20;
/// Bytes of rows that are written at once, at least: inserts are few and big, as `ClickHouse` wants them.
const INSERT_BYTES: usize = 4 << 20;
/// How long rows wait for more before they are written.
const INSERT_INTERVAL: Duration = Duration::from_secs(1);
/// The longest wait between attempts while the log or the server is down.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// The name of the table of a view's changes.
pub(super) fn table_name(table: &GoldTable<'_>) -> String {
    format!("{}_stream_{}", table.view, table.version)
}

/// Makes the table of a view's changes.
pub(super) fn create(view: &ViewPlan) -> String {
    let table = GoldTable::of_plan(view);
    let columns: Vec<String> =
        table.content().iter().map(|(column, ty)| format!("    {} {ty},\n", name(column))).collect();
    let sort = list(view.key.iter().map(|f| f.name.as_str()).chain([PANE, "_shard"]));
    let ttl = view.retain_speed.map_or_else(String::new, |ttl| {
        format!("\nTTL toDateTime(_written_at) + toIntervalSecond({})", (ttl.0 / 1_000_000).max(1))
    });
    format!(
        "CREATE TABLE IF NOT EXISTS {} (\n{}    _shard LowCardinality(String),\n    _position UInt64,\n    \
         _written_at {TIME} DEFAULT now64(6, 'UTC')\n)\nENGINE = ReplacingMergeTree(_position)\n\
         PARTITION BY intDiv(toUnixTimestamp64Micro({PANE}), 86400000000)\nORDER BY ({sort}){ttl}\n\
         SETTINGS allow_nullable_key = 1\nCOMMENT {}",
        name(&table_name(&table)),
        columns.concat(),
        literal(&format!("changes of view {} {}", view.name, view.version)),
    )
}

/// Makes the SQL view of a view's panes: those of batch up to its boundary, those of speed after it. While nothing is
/// tailed, all are of batch.
pub(super) fn create_current(view: &ViewPlan) -> String {
    let table = GoldTable::of_plan(view);
    let (columns, stream) = (table.content_names(), table_name(&table));
    let through = format!(
        "(SELECT max(through[{}]) FROM {} WHERE version = (SELECT max(version) FROM {}))",
        literal(&view.name),
        super::schema::VERSIONS,
        super::schema::VERSIONS
    );
    // A version without a boundary has the time 0, which is no boundary of anything that happened after it.
    let end = format!("toUnixTimestamp64Micro({PANE}) + {}", view.pane.0);
    let batch = format!("{end} <= toUnixTimestamp64Micro({through})");
    format!(
        "CREATE OR REPLACE VIEW {} AS\nSELECT {columns}\nFROM {}\nWHERE {} IN (\n    {}\n) AND ({batch} OR \
         (SELECT count() FROM {STREAMS} WHERE stream = {}) = 0)\nUNION ALL\nSELECT {columns}\nFROM {} FINAL\n\
         WHERE NOT ({batch})",
        name(&table.current_name()),
        name(&table.name()),
        name(&table.file_column()),
        table.current_files(),
        literal(&stream),
        name(&stream),
    )
}

/// Tails the changes of `view` into its table until `shutdown`. The tables are there (see
/// [`ClickHouseAnalytics::migrate`]). While the log or the server is down, it waits.
///
/// # Errors
/// What waiting does not help against: a table that is not there, or is of other columns.
pub async fn follow(
    log: Arc<dyn Log>,
    store: Arc<ClickHouseAnalytics>,
    view: ViewPlan,
    shutdown: CancellationToken,
) -> PortResult<()> {
    let mut pause = Duration::from_millis(100);
    loop {
        let started = Instant::now();
        let result = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            result = tail(&*log, &store, &view) => result,
        };
        let Err(error) = result;
        // Before the first change there is no topic.
        let waits = error.is_retryable() || matches!(error, PortError::NotFound { .. } | PortError::Expired { .. });
        if !waits {
            return Err(error);
        }
        if !matches!(error, PortError::NotFound { .. }) {
            tracing::warn!(view = view.name, %error, "changes are not taken into ClickHouse; trying again");
        }
        if started.elapsed() > PAUSE_MAX {
            pause = Duration::from_millis(100);
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
        }
    }
}

/// Rows that wait to be written, and how far they go.
#[derive(Debug, Default)]
struct Pending {
    rows: Vec<u8>,
    next: BTreeMap<Partition, Offset>,
    since: Option<Instant>,
}

/// Tails until something fails.
async fn tail(log: &dyn Log, store: &ClickHouseAnalytics, view: &ViewPlan) -> PortResult<Infallible> {
    let (topic, schema) = (changes::topic(&view.name), ViewSchema::from(view));
    let stream = table_name(&GoldTable::of_plan(view));
    let mut next = taken(store, &stream).await?;
    let mut pending = Pending::default();
    loop {
        let partitions = log.topic(&topic).await?.partitions;
        // All that is there is read before anything waits for more.
        let mut found = false;
        for (partition, (first, end)) in &partitions {
            let from = next.entry(*partition).or_insert(*first);
            if *from < *first {
                tracing::warn!(topic, partition, from, first, "changes expired before they were taken into ClickHouse");
                *from = *first;
            }
            if *from >= *end {
                continue;
            }
            let request = ReadRequest {
                topic: topic.clone(),
                partition: *partition,
                from: *from,
                max_records: RECORDS,
                max_bytes: BYTES,
                wait: Duration::from_millis(10),
            };
            let records = log.read(&request).await?;
            match records.last() {
                Some(last) => *from = last.offset + 1,
                None => *from = log.skip(&topic, *partition, *from).await?,
            }
            found |= !records.is_empty();
            for record in records {
                take(&mut pending, &schema, &record.payload)?;
            }
            pending.next.insert(*partition, *from);
        }
        let is_due = pending.since.is_some_and(|since| since.elapsed() >= INSERT_INTERVAL);
        if pending.rows.len() >= INSERT_BYTES || is_due {
            write(store, view, &stream, std::mem::take(&mut pending)).await?;
        }
        if !found {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Adds the rows of a record.
fn take(pending: &mut Pending, view: &ViewSchema, payload: &[u8]) -> PortResult<()> {
    pending.since.get_or_insert_with(Instant::now);
    match Change::decode(payload, view) {
        Ok(Some(change)) => {
            let mut tail = Vec::new();
            write_text(&change.shard.to_string(), &mut tail);
            write_int(change.position as i64, &mut tail);
            write_states(&view.key, &change.panes, &tail, &mut pending.rows)
        }
        // Of another version of the view.
        Ok(None) => Ok(()),
        Err(error) => Err(PortError::corrupt(format!("a change of view {}", view.name), error)),
    }
}

/// Writes rows, then how far they go.
async fn write(store: &ClickHouseAnalytics, view: &ViewPlan, stream: &str, pending: Pending) -> PortResult<()> {
    let what = format!("taking in changes of view {}", view.name);
    if !pending.rows.is_empty() {
        let columns = GoldTable::of_plan(view).content_names();
        let sql = format!("INSERT INTO {} ({columns}, _shard, _position) FORMAT RowBinary", name(stream));
        let mut insert = store.server.insert(&what, sql);
        insert.send(pending.rows).await?;
        insert.end().await?;
    }
    let mut rows = Vec::new();
    for (partition, next) in pending.next {
        write_text(stream, &mut rows);
        rows.extend_from_slice(&partition.to_le_bytes());
        write_int(next as i64, &mut rows);
    }
    let sql = format!("INSERT INTO {STREAMS} (stream, topic_partition, next) FORMAT RowBinary");
    let mut insert = store.server.insert(&what, sql);
    insert.send(rows).await?;
    insert.end().await.map(drop)
}

/// How far the topic of a stream was taken in.
async fn taken(store: &ClickHouseAnalytics, stream: &str) -> PortResult<BTreeMap<Partition, Offset>> {
    let mut statement = Statement::new(format!("SELECT topic_partition, max(next) FROM {STREAMS} WHERE stream = "));
    let stream = statement.param(Param::Text(stream.to_owned()));
    statement.push(&format!("{stream} GROUP BY topic_partition"));
    let rows = match store.server.table("reading how far changes were taken in", statement).await {
        Err(error) if is_absent(&error) => {
            return Err(PortError::invalid(STREAMS, "the table is not there: run `tideline migrate`"));
        }
        rows => rows?,
    };
    let parse = |row: &Vec<String>| Some((row.first()?.parse().ok()?, row.get(1)?.parse().ok()?));
    let taken: Option<BTreeMap<Partition, Offset>> = rows.iter().map(parse).collect();
    taken.ok_or_else(|| PortError::corrupt(STREAMS, "an offset is no number"))
}
