//! Reading panes and rows, each call from one snapshot: a flush is seen whole or not at all.

use std::collections::BTreeMap;

use fjall::{Readable, Slice};
use tideline_common::key::Key;
use tideline_common::ports::{KeySelector, LookupRows, LookupSchema, PanePage, PaneQuery, PortError, PortResult};
use tideline_common::state::{Reader, StateBatch, StateField};
use tideline_common::time::{Span, Timestamp};

use super::Inner;
use super::layout::{self, Stamp, Table};
use crate::disk;

/// Panes passed over one by one before the index is asked for the next wanted one.
const PASSED_MAX: usize = 16;

fn failed(error: fjall::Error) -> PortError {
    disk::error("the speed views", error)
}

/// Whether a row written then is still returned.
pub(super) fn is_alive(written_at: Timestamp, ttl: Option<Span>, now: Timestamp) -> bool {
    ttl.is_none_or(|ttl| now < written_at.plus(ttl))
}

/// Adds a row unless its time is over; says whether it did.
fn add(
    batch: &mut StateBatch,
    key: &[u8],
    pane: Timestamp,
    value: &[u8],
    ttl: Option<Span>,
    now: Timestamp,
) -> PortResult<bool> {
    let mut reader = Reader::new(value);
    if !is_alive(Stamp::read(&mut reader)?.written_at, ttl, now) {
        return Ok(false);
    }
    let name = || format!("the state of pane {pane} of key {:?}", Key(key.to_vec()).values().unwrap_or_default());
    batch.read_states(key, pane, &mut reader).map_err(|e| PortError::corrupt(name(), e))?;
    if reader.is_done() { Ok(true) } else { Err(PortError::corrupt(name(), "bytes follow its last column")) }
}

impl Inner {
    /// Panes by key, along the index.
    pub(super) fn panes(
        &self,
        table: Table,
        fields: &[StateField],
        ttl: Option<Span>,
        query: &PaneQuery,
        now: Timestamp,
    ) -> PortResult<PanePage> {
        let mut panes = StateBatch::new(fields);
        if query.from >= query.to {
            return Ok(PanePage { panes, more_after: None });
        }
        let (mut cursor, end) = match &query.keys {
            KeySelector::One(key) => (
                layout::index_bound(table, key.as_bytes(), query.from),
                layout::index_bound(table, key.as_bytes(), query.to),
            ),
            KeySelector::All { after: None } => (table.prefix().to_vec(), table.end().to_vec()),
            KeySelector::All { after: Some(key) } => (layout::index_after(table, key.as_bytes()), table.end().to_vec()),
        };
        let one = match &query.keys {
            KeySelector::One(key) => Some(key.as_bytes()),
            KeySelector::All { .. } => None,
        };
        let snapshot = self.database.snapshot();
        let mut last: Option<Vec<u8>> = None;
        'seek: loop {
            let mut passed = 0;
            for entry in snapshot.range(&self.index, cursor.clone()..end.clone()) {
                let at = entry.key().map_err(failed)?;
                let (key, pane, shard) = layout::split_index(&at)?;
                if one.is_some_and(|one| one != key) {
                    continue;
                }
                if pane < query.from || pane >= query.to {
                    passed += 1;
                    if passed > PASSED_MAX {
                        cursor = if pane < query.from {
                            layout::index_bound(table, key, query.from)
                        } else {
                            layout::index_after(table, key)
                        };
                        continue 'seek;
                    }
                    continue;
                }
                if last.as_deref() != Some(key) {
                    if one.is_none() && last.is_some() && panes.len() >= query.max_rows {
                        return Ok(PanePage { panes, more_after: last.map(Key) });
                    }
                    last = Some(key.to_vec());
                }
                let value = snapshot.get(&self.panes, layout::pane_key(table, pane, key, shard)).map_err(failed)?;
                let value = value.ok_or_else(|| {
                    PortError::corrupt(
                        "the index of the speed views",
                        format!("it names a pane {pane} that is not there"),
                    )
                })?;
                add(&mut panes, key, pane, &value, ttl, now)?;
            }
            return Ok(PanePage { panes, more_after: None });
        }
    }

    /// Panes of all keys in [from, to), in one sweep over the panes.
    pub(super) fn panes_between(
        &self,
        table: Table,
        fields: &[StateField],
        ttl: Option<Span>,
        (from, to): (Timestamp, Timestamp),
        now: Timestamp,
    ) -> PortResult<StateBatch> {
        let mut batch = StateBatch::new(fields);
        if from >= to {
            return Ok(batch);
        }
        let mut found: Vec<(Slice, Slice)> = Vec::new();
        let range = layout::pane_bound(table, from)..layout::pane_bound(table, to);
        for entry in self.database.snapshot().range(&self.panes, range) {
            found.push(entry.into_inner().map_err(failed)?);
        }
        let mut rows = Vec::with_capacity(found.len());
        for (key, value) in &found {
            let (pane, key, shard) = layout::split_pane(key)?;
            rows.push((key, pane, shard, value));
        }
        rows.sort_unstable_by(|a, b| (a.0, a.1, a.2).cmp(&(b.0, b.1, b.2)));
        for (key, pane, _, value) in rows {
            add(&mut batch, key, pane, value, ttl, now)?;
        }
        Ok(batch)
    }

    /// Panes of all keys in [from, to) by the number of their shard, in one sweep.
    pub(super) fn shards_between(
        &self,
        table: Table,
        fields: &[StateField],
        ttl: Option<Span>,
        (from, to): (Timestamp, Timestamp),
        now: Timestamp,
    ) -> PortResult<BTreeMap<u32, StateBatch>> {
        let mut shards: BTreeMap<u32, StateBatch> = BTreeMap::new();
        if from >= to {
            return Ok(shards);
        }
        let range = layout::pane_bound(table, from)..layout::pane_bound(table, to);
        for entry in self.database.snapshot().range(&self.panes, range) {
            let (key, value) = entry.into_inner().map_err(failed)?;
            let (pane, key, shard) = layout::split_pane(&key)?;
            let batch = shards.entry(shard).or_insert_with(|| StateBatch::new(fields));
            add(batch, key, pane, &value, ttl, now)?;
        }
        shards.retain(|_, batch| !batch.is_empty());
        Ok(shards)
    }

    /// The newest pane with a live row.
    pub(super) fn newest_pane(&self, table: Table, ttl: Option<Span>, now: Timestamp) -> PortResult<Option<Timestamp>> {
        for entry in self.database.snapshot().range(&self.panes, table.prefix()..table.end()).rev() {
            let (key, value) = entry.into_inner().map_err(failed)?;
            if is_alive(Stamp::read(&mut Reader::new(&value))?.written_at, ttl, now) {
                return Ok(Some(layout::split_pane(&key)?.0));
            }
        }
        Ok(None)
    }

    /// The newest live rows of a key.
    pub(super) fn rows(
        &self,
        number: u32,
        lookup: &LookupSchema,
        key: &Key,
        limit: usize,
        now: Timestamp,
    ) -> PortResult<LookupRows> {
        let mut rows = LookupRows::new(&lookup.columns);
        let limit = limit.min(lookup.limit);
        for entry in self.database.snapshot().prefix(&self.rows, layout::rows_bound(number, key.as_bytes())) {
            if rows.len() >= limit {
                break;
            }
            let (at, value) = entry.into_inner().map_err(failed)?;
            if layout::split_row(&at)?.0 != key.as_bytes() {
                continue;
            }
            let mut reader = Reader::new(&value);
            if is_alive(Stamp::read(&mut reader)?.written_at, lookup.ttl, now) {
                layout::read_row(&at, &mut reader, &mut rows)?;
            }
        }
        Ok(rows)
    }
}
