//! Panes of all keys, a page at a time: a merge of the tables' partitions, each of which is in the order of keys.
//!
//! A page is a k-way merge over the (pane, shard) partitions in its time, each read a little at a time. What a page costs
//! grows with the number of partitions in its time, not with the rows that follow.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use scylla::response::PagingState;
use scylla::statement::prepared::PreparedStatement;
use tideline_common::key::Key;
use tideline_common::ports::{PanePage, PortError, PortResult};
use tideline_common::state::StateBatch;

use super::connection::page;
use super::read::{Found, Place, Sweep, add_row, place_values};
use super::types::{Cell, Values};

/// Rows read of a partition at a time, at least.
const ROWS_MIN: usize = 16;

/// A partition, read as far as the merge has come.
struct Cursor {
    place: Place,
    /// Where reading goes on; `None` at the end.
    state: Option<PagingState>,
    /// Rows read and not merged yet.
    found: Found,
    rows: VecDeque<usize>,
}

impl Cursor {
    /// Reads on until there is a row or no more.
    async fn fill(mut self, sweep: &Sweep<'_>, statement: &PreparedStatement, after: Option<&Key>) -> PortResult<Self> {
        while self.rows.is_empty()
            && let Some(state) = self.state.take()
        {
            let mut values: Values = place_values(&self.place);
            if let Some(after) = after {
                values.bytes(after.as_bytes());
            }
            let shard: Arc<str> = self.place.1.as_str().into();
            let mut found = Found::new(sweep.fields);
            let (pane, key, alive) = (self.place.0, sweep.key, (sweep.ttl, sweep.now));
            let mut add = |cells: &[Cell<'_>]| add_row(&mut found, key, (pane, &shard), cells, alive);
            self.state = page(sweep.session, statement, &values, state, &mut add).await?;
            self.rows = (0..found.batch.len()).collect();
            self.found = found;
        }
        Ok(self)
    }
}

/// The page after `after`: it ends with the key with which `max_rows` rows are reached.
pub(super) async fn all_keys(
    sweep: &Sweep<'_>,
    places: Vec<Place>,
    after: Option<&Key>,
    max_rows: usize,
) -> PortResult<PanePage> {
    let mut panes = StateBatch::new(sweep.fields);
    let mut statement = if after.is_some() { sweep.table.select_after.clone() } else { sweep.table.select.clone() };
    let rows_max = statement.get_page_size();
    let share = (max_rows / places.len().max(1)).saturating_add(1).max(ROWS_MIN);
    statement.set_page_size(i32::try_from(share).unwrap_or(i32::MAX).min(rows_max));
    let mut cursors: Vec<Option<Cursor>> = Vec::with_capacity(places.len());
    let mut waiting = Vec::with_capacity(places.len());
    for (at, place) in places.into_iter().enumerate() {
        let found = Found::new(sweep.fields);
        waiting.push((at, Cursor { place, state: Some(PagingState::start()), found, rows: VecDeque::new() }));
        cursors.push(None);
    }
    // The next row of each partition: key, pane, shard, and the partition's number.
    let mut heap: BinaryHeap<Reverse<(Vec<u8>, Place, usize)>> = BinaryHeap::new();
    let mut last: Option<Vec<u8>> = None;
    loop {
        // All that have run dry are read on, together.
        let fills: Vec<_> = std::mem::take(&mut waiting)
            .into_iter()
            .map(|(at, cursor)| {
                let statement = &statement;
                async move { Ok::<_, PortError>((at, cursor.fill(sweep, statement, after).await?)) }
            })
            .collect();
        let filled: Vec<(usize, Cursor)> =
            stream::iter(fills).buffer_unordered(sweep.config.read_concurrency.max(1)).try_collect().await?;
        for (at, cursor) in filled {
            if let Some(row) = cursor.rows.front() {
                heap.push(Reverse((cursor.found.batch.keys.get(*row).to_vec(), cursor.place.clone(), at)));
                cursors[at] = Some(cursor);
            }
        }
        while waiting.is_empty() {
            let Some(Reverse((key, place, at))) = heap.pop() else {
                return Ok(PanePage { panes, more_after: None });
            };
            if last.as_ref() != Some(&key) && last.is_some() && panes.len() >= max_rows {
                return Ok(PanePage { panes, more_after: last.map(Key) });
            }
            let Some(cursor) = &mut cursors[at] else { continue };
            if let Some(row) = cursor.rows.pop_front() {
                panes.push_from(&cursor.found.batch, row);
            }
            last = Some(key);
            match cursor.rows.front() {
                Some(row) => heap.push(Reverse((cursor.found.batch.keys.get(*row).to_vec(), place, at))),
                None => {
                    if let Some(cursor) = cursors[at].take_if(|cursor| cursor.state.is_some()) {
                        waiting.push((at, cursor));
                    }
                }
            }
        }
    }
}
