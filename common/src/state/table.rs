//! Groups found by (key, time): where partial states meet.

use hashbrown::HashTable;

use super::{StateBatch, StateColumn, StateField};
use crate::time::Timestamp;

/// States by (key, time), where time is the start of a pane or of a window. Remembers which groups changed
/// since they were last taken.
#[derive(Debug, Clone)]
pub struct StateTable {
    fields: Vec<StateField>,
    groups: StateBatch,
    index: HashTable<u32>,
    hasher: ahash::RandomState,
    changed: Vec<bool>,
    changes: Vec<u32>,
}

impl StateTable {
    /// An empty table for a view of these fields.
    pub fn new(fields: &[StateField]) -> Self {
        Self {
            fields: fields.to_vec(),
            groups: StateBatch::new(fields),
            index: HashTable::new(),
            // Fixed seeds: the order of groups never depends on them, and two runs are alike.
            hasher: ahash::RandomState::with_seeds(1, 2, 3, 4),
            changed: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// Number of groups.
    pub const fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there are no groups.
    pub const fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// All groups, in the order in which they came.
    pub const fn groups(&self) -> &StateBatch {
        &self.groups
    }

    /// All groups, without a copy.
    pub fn into_groups(self) -> StateBatch {
        self.groups
    }

    fn hash(hasher: &ahash::RandomState, key: &[u8], time: Timestamp) -> u64 {
        use std::hash::{BuildHasher, Hasher};
        let mut state = hasher.build_hasher();
        state.write(key);
        state.write_i64(time.0);
        state.finish()
    }

    /// The row of a group, added with identity states if it is new.
    pub fn row(&mut self, key: &[u8], time: Timestamp) -> usize {
        let hash = Self::hash(&self.hasher, key, time);
        let groups = &self.groups;
        let same = |row: &u32| groups.panes[*row as usize] == time && groups.keys.get(*row as usize) == key;
        if let Some(row) = self.index.find(hash, same) {
            return *row as usize;
        }
        let row = self.groups.push_identity(key, time);
        self.changed.push(false);
        let (groups, hasher) = (&self.groups, &self.hasher);
        self.index.insert_unique(hash, row as u32, |row| {
            Self::hash(hasher, groups.keys.get(*row as usize), groups.panes[*row as usize])
        });
        row
    }

    /// The row of a group, if it is there.
    pub fn find(&self, key: &[u8], time: Timestamp) -> Option<usize> {
        let same = |row: &u32| self.groups.panes[*row as usize] == time && self.groups.keys.get(*row as usize) == key;
        self.index.find(Self::hash(&self.hasher, key, time), same).map(|row| *row as usize)
    }

    /// Merges row `row` of `batch` into the group (`key`, `time`).
    pub fn merge_row(&mut self, key: &[u8], time: Timestamp, batch: &StateBatch, row: usize) {
        let to = self.row(key, time);
        for (column, from) in self.groups.states.iter_mut().zip(&batch.states) {
            column.merge_row(to, from, row);
        }
        self.mark(to);
    }

    /// Merges every row of `batch`, whose columns are those of this table's fields.
    pub fn merge(&mut self, batch: &StateBatch) {
        // Groups first, then column by column: the inner loops stay in one column.
        let mut rows = Vec::with_capacity(batch.len());
        for row in 0..batch.len() {
            let to = self.row(batch.keys.get(row), batch.panes[row]);
            self.mark(to);
            rows.push(to);
        }
        for (column, from) in self.groups.states.iter_mut().zip(&batch.states) {
            match (column, from) {
                (StateColumn::SumInt(a), StateColumn::SumInt(b)) => {
                    for (to, b) in rows.iter().zip(b) {
                        a[*to] = a[*to].saturating_add(*b);
                    }
                }
                (StateColumn::SumFloat(a), StateColumn::SumFloat(b)) => {
                    for (to, b) in rows.iter().zip(b) {
                        a[*to] += b;
                    }
                }
                (column, from) => {
                    for (row, to) in rows.iter().enumerate() {
                        column.merge_row(*to, from, row);
                    }
                }
            }
        }
    }

    fn mark(&mut self, row: usize) {
        if !self.changed[row] {
            self.changed[row] = true;
            self.changes.push(row as u32);
        }
    }

    /// Number of groups changed since the last [`take_changed`](Self::take_changed).
    pub const fn changed_len(&self) -> usize {
        self.changes.len()
    }

    /// The whole states of the groups that changed since this was last called.
    pub fn take_changed(&mut self) -> StateBatch {
        let mut batch = StateBatch::new(&self.fields);
        for row in std::mem::take(&mut self.changes) {
            self.changed[row as usize] = false;
            batch.push_from(&self.groups, row as usize);
        }
        batch
    }

    /// Forgets every unchanged group whose time is not kept; changed ones stay until they are taken.
    pub fn retain(&mut self, mut keep: impl FnMut(Timestamp) -> bool) {
        let flags: Vec<bool> =
            (0..self.len()).map(|row| self.changed[row] || keep(self.groups.panes[row])).collect();
        if flags.iter().all(|flag| *flag) {
            return;
        }
        let mut kept = StateBatch::new(&[]);
        for (row, _) in flags.iter().enumerate().filter(|(_, flag)| **flag) {
            kept.push_identity(self.groups.keys.get(row), self.groups.panes[row]);
        }
        kept.states = std::mem::take(&mut self.groups.states);
        for column in &mut kept.states {
            column.retain(&flags);
        }
        self.groups = kept;
        let mut changed = flags.iter();
        self.changed.retain(|_| changed.next().copied().unwrap_or(true));
        self.changes = (0..self.len() as u32).filter(|row| self.changed[*row as usize]).collect();
        self.index.clear();
        let (groups, hasher) = (&self.groups, &self.hasher);
        let hash_of = |row: &u32| Self::hash(hasher, groups.keys.get(*row as usize), groups.panes[*row as usize]);
        for row in 0..groups.len() as u32 {
            self.index.insert_unique(hash_of(&row), row, hash_of);
        }
    }

    /// Memory of the groups, in bytes, estimated: exact for maps, a fixed part for all else.
    pub fn bytes(&self) -> usize {
        let fixed = 64;
        (0..self.len())
            .map(|row| {
                fixed + self.groups.keys.get(row).len()
                    + self.groups.states.iter().map(|column| column.row_bytes(row)).sum::<usize>()
            })
            .sum()
    }
}
