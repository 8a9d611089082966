//! States of many groups, as they travel between layers and stores.

use super::{StateColumn, StateField};
use crate::time::Timestamp;

/// Keys in their byte form (see [`crate::key`]), laid end to end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyColumn {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl KeyColumn {
    /// Number of keys.
    pub const fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no keys.
    pub const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Adds a key.
    pub fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
    }

    /// Adds a key that `write` appends to the buffer: no copy in between.
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// The key of `row`. Panics past the end.
    pub fn get(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.bytes[start..self.ends[row]]
    }

    /// All keys, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|row| self.get(row))
    }
}

/// Partial states: row i is the state of group (`keys[i]`, `panes[i]`). A group may appear more than once (one
/// row per shard): its state is the merge of its rows.
#[derive(Clone, Debug, PartialEq)]
pub struct StateBatch {
    /// Keys of the groups.
    pub keys: KeyColumn,
    /// Starts of the panes.
    pub panes: Vec<Timestamp>,
    /// One column per field of the view, in the plan's order.
    pub states: Vec<StateColumn>,
}

impl StateBatch {
    /// An empty batch with the columns of `fields`.
    pub fn new(fields: &[StateField]) -> Self {
        Self { keys: KeyColumn::default(), panes: Vec::new(), states: fields.iter().map(StateColumn::new).collect() }
    }

    /// Number of rows.
    pub const fn len(&self) -> usize {
        self.panes.len()
    }

    /// Whether there are no rows.
    pub const fn is_empty(&self) -> bool {
        self.panes.is_empty()
    }

    /// Adds a group that has seen nothing; returns its row.
    pub fn push_identity(&mut self, key: &[u8], pane: Timestamp) -> usize {
        self.keys.push(key);
        self.panes.push(pane);
        for column in &mut self.states {
            column.push_identity();
        }
        self.panes.len() - 1
    }

    /// Adds row `row` of `other`, a batch of the same fields.
    pub fn push_from(&mut self, other: &Self, row: usize) {
        let to = self.push_identity(other.keys.get(row), other.panes[row]);
        for (column, from) in self.states.iter_mut().zip(&other.states) {
            column.merge_row(to, from, row);
        }
    }
}
