//! Writing flushes: absolute, monotonic, and one batch each.

use fjall::PersistMode;
use tideline_common::ports::{Flush, PortError, PortResult, Progress};
use tideline_common::position::{Offset, Shard};
use tideline_common::state::Reader;
use tideline_common::time::Timestamp;

use super::layout::{self, Stamp, Table};
use super::names::Name;
use super::{Inner, StoredProgress, shard_key};
use crate::disk;

/// A flush in bytes, ready to be written away from the reactor.
pub(super) struct Encoded {
    shard: Shard,
    progress: Progress,
    groups: Vec<Group>,
    bytes: usize,
}

/// Rows of one table.
struct Group {
    name: Name,
    rows: Rows,
}

enum Rows {
    /// Key, pane and value of each.
    States { late: bool, rows: Vec<(Vec<u8>, Timestamp, Vec<u8>)> },
    /// Key (with a lookup of number 0) and value of each.
    Lookup(Vec<(Vec<u8>, Vec<u8>)>),
}

/// The bytes of a flush.
pub(super) fn encode(flush: &Flush, now: Timestamp) -> Encoded {
    let stamp = Stamp { position: flush.progress.position, written_at: now };
    let mut encoded =
        Encoded { shard: flush.shard.clone(), progress: flush.progress.clone(), groups: Vec::new(), bytes: 0 };
    for panes in &flush.panes {
        let name = Name::View(panes.view.name.clone(), panes.view.version.clone());
        for (late, batch) in [(false, &panes.panes), (true, &panes.late)] {
            let mut rows = Vec::with_capacity(batch.len());
            for row in 0..batch.len() {
                let mut value = Vec::new();
                stamp.write(&mut value);
                batch.write_states(row, &mut value);
                encoded.bytes += value.len();
                rows.push((batch.keys.get(row).to_vec(), batch.panes[row], value));
            }
            if !rows.is_empty() {
                encoded.groups.push(Group { name: name.clone(), rows: Rows::States { late, rows } });
            }
        }
    }
    for (lookup, rows) in &flush.rows {
        let mut keyed: Vec<_> = (0..rows.len()).map(|row| (layout::row_key(0, rows, row), row)).collect();
        keyed.sort_unstable();
        // Of one key, only the newest can ever be asked for.
        let (mut last, mut count) = (None, 0);
        keyed.retain(|(_, row)| {
            let key = Some(rows.keys.get(*row));
            count = if last == key { count + 1 } else { 1 };
            last = key;
            count <= lookup.limit
        });
        let rows: Vec<_> = keyed.into_iter().map(|(key, row)| (key, layout::row_value(rows, row, stamp))).collect();
        encoded.bytes += rows.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        if !rows.is_empty() {
            let name = Name::Lookup(lookup.name.clone(), lookup.version.clone());
            encoded.groups.push(Group { name, rows: Rows::Lookup(rows) });
        }
    }
    encoded
}

impl Inner {
    /// Writes what is newer than what is there, as one batch.
    pub(super) fn write(&self, flush: Encoded) -> PortResult<()> {
        let what = "the speed views";
        let failed = |e| disk::error(what, e);
        self.reserve.check(what, flush.bytes as u64)?;
        let _writing = self.writing.lock();
        // Handed to the operating system at once: only the machine can lose it before the next sync.
        let mut batch = self.database.batch().durability(Some(PersistMode::Buffer));
        let mut new = Vec::new();
        let shard = self.names.read().give(&Name::Shard(flush.shard.clone()), &mut new, &self.meta, &mut batch);
        let (mut written, mut stale) = (0usize, 0usize);
        for group in flush.groups {
            let number = self.names.read().give(&group.name, &mut new, &self.meta, &mut batch);
            match group.rows {
                Rows::States { late, rows } => {
                    let table = if late { Table::late(number) } else { Table::states(number) };
                    for (key, pane, value) in rows {
                        let at = layout::pane_key(table, pane, &key, shard);
                        match self.panes.get(&at).map_err(failed)? {
                            Some(old) if Stamp::read(&mut Reader::new(&old))?.position >= flush.progress.position => {
                                stale += 1;
                                continue;
                            }
                            Some(_) => {}
                            None => batch.insert(&self.index, layout::index_key(table, &key, pane, shard), []),
                        }
                        batch.insert(&self.panes, at, value);
                        written += 1;
                    }
                }
                Rows::Lookup(rows) => {
                    for (mut key, value) in rows {
                        key[..4].copy_from_slice(&number.to_be_bytes());
                        if self.rows.contains_key(&key).map_err(failed)? {
                            stale += 1;
                        } else {
                            batch.insert(&self.rows, key, value);
                            written += 1;
                        }
                    }
                }
            }
        }
        let progress = self.progress_of(&flush.shard)?;
        let is_newer =
            |old: &Progress| (old.position, old.written_at) <= (flush.progress.position, flush.progress.written_at);
        if progress.as_ref().is_none_or(is_newer) {
            let stored = serde_json::to_vec(&StoredProgress::V1(flush.progress));
            let stored = stored.map_err(|e| PortError::invalid(what, e))?;
            batch.insert(&self.progress, shard_key(&flush.shard), stored);
        } else {
            let (newer, older) = (progress.map_or(0, |p| p.position), flush.progress.position);
            warn_stale(&flush.shard, newer, older);
        }
        batch.commit().map_err(failed)?;
        self.names.write().learn(new);
        tracing::trace!(shard = %flush.shard, written, stale, "flush written");
        Ok(())
    }
}

/// A replay after a restart does this for a moment; a writer that goes on with it is one that should be gone.
fn warn_stale(shard: &Shard, newer: Offset, older: Offset) {
    tracing::debug!(%shard, newer, older, "a flush of an older position left newer rows as they are");
}
