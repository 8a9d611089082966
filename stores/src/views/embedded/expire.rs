//! Dropping what is past its time, beyond a limit, or of a version that nobody has any more.

use std::ops::Bound;

use fjall::{Readable, Slice};
use tideline_common::ports::{LookupSchema, PortResult, ViewSchema};
use tideline_common::state::Reader;
use tideline_common::time::{Span, Timestamp};

use super::Inner;
use super::layout::{self, Stamp, Table};
use super::names::Name;
use super::read::is_alive;
use crate::disk;

/// Rows dropped in one batch: bounds its memory, and how long writers wait.
const BATCH: usize = 4096;

/// Pause after each batch, so that tombstones are flushed as fast as they are written and do not pile up in memory,
/// and writers get their turn.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(8);

/// Which rows of a range go.
#[derive(Clone, Copy)]
enum Drop {
    All,
    /// Those whose time is over.
    Past {
        ttl: Option<Span>,
        now: Timestamp,
    },
}

impl Drop {
    fn applies(self, value: &[u8]) -> PortResult<bool> {
        Ok(match self {
            Self::All => true,
            Self::Past { ttl, now } => !is_alive(Stamp::read(&mut Reader::new(value))?.written_at, ttl, now),
        })
    }
}

fn failed(error: fjall::Error) -> tideline_common::ports::PortError {
    disk::error("the speed views", error)
}

impl Inner {
    pub(super) fn expire(&self, views: &[ViewSchema], lookups: &[LookupSchema], now: Timestamp) -> PortResult<u64> {
        let mut dropped = 0;
        let names: Vec<(Name, u32)> = self.names.read().all().map(|(name, number)| (name.clone(), number)).collect();
        for (name, number) in names {
            match &name {
                Name::View(view, version) => {
                    let schema = views.iter().find(|v| v.name == *view && v.version == *version);
                    let drop = match schema {
                        None => Drop::All,
                        Some(ViewSchema { ttl: None, .. }) => continue,
                        Some(ViewSchema { ttl, .. }) => Drop::Past { ttl: *ttl, now },
                    };
                    dropped += self.expire_table(Table::states(number), drop)?;
                    dropped += self.expire_table(Table::late(number), drop)?;
                    if schema.is_none() {
                        self.forget(&name)?;
                    }
                }
                Name::Lookup(lookup, version) => {
                    let schema = lookups.iter().find(|l| l.name == *lookup && l.version == *version);
                    let (limit, drop) = match schema {
                        None => (0, Drop::All),
                        Some(schema) => (schema.limit, Drop::Past { ttl: schema.ttl, now }),
                    };
                    dropped += self.expire_rows(number, limit, drop)?;
                    if schema.is_none() {
                        self.forget(&name)?;
                    }
                }
                Name::Shard(_) => {}
            }
        }
        Ok(dropped)
    }

    fn forget(&self, name: &Name) -> PortResult<()> {
        let _writing = self.writing.lock();
        self.names.write().forget(name, &self.meta)
    }

    fn expire_table(&self, table: Table, drop: Drop) -> PortResult<u64> {
        let mut dropped = 0;
        let mut from = Bound::Included(Slice::from(table.prefix()));
        loop {
            let mut candidates = Vec::new();
            let range = (from.clone(), Bound::Excluded(Slice::from(table.end())));
            for entry in self.database.snapshot().range(&self.panes, range) {
                let (key, value) = entry.into_inner().map_err(failed)?;
                if drop.applies(&value)? {
                    candidates.push(key);
                    if candidates.len() == BATCH {
                        break;
                    }
                }
            }
            let Some(last) = candidates.last().cloned() else { return Ok(dropped) };
            let more = candidates.len() == BATCH;
            let writing = self.writing.lock();
            let mut batch = self.database.batch();
            for at in candidates {
                // A flush may have written it again in between.
                let is_still = self.panes.get(&at).map_err(failed)?.is_some_and(|v| drop.applies(&v).unwrap_or(false));
                if is_still {
                    let (pane, key, shard) = layout::split_pane(&at)?;
                    batch.remove(&self.index, layout::index_key(table, key, pane, shard));
                    batch.remove(&self.panes, at.clone());
                    dropped += 1;
                }
            }
            batch.commit().map_err(failed)?;
            if !more {
                return Ok(dropped);
            }
            std::mem::drop(writing);
            std::thread::sleep(PAUSE);
            from = Bound::Excluded(last);
        }
    }

    fn expire_rows(&self, lookup: u32, limit: usize, drop: Drop) -> PortResult<u64> {
        let (mut dropped, mut last, mut kept) = (0, Vec::new(), 0);
        let mut batch = self.database.batch();
        for entry in self.database.snapshot().prefix(&self.rows, lookup.to_be_bytes()) {
            let (at, value) = entry.into_inner().map_err(failed)?;
            let key = layout::split_row(&at)?.0;
            if last != key {
                last = key.to_vec();
                kept = 0;
            }
            // Rows are written once, so one that is over stays over.
            if kept >= limit || drop.applies(&value)? {
                batch.remove(&self.rows, at);
                dropped += 1;
            } else {
                kept += 1;
            }
            if batch.len() == BATCH {
                std::mem::replace(&mut batch, self.database.batch()).commit().map_err(failed)?;
                std::thread::sleep(PAUSE);
            }
        }
        batch.commit().map_err(failed)?;
        Ok(dropped)
    }
}
