//! A sheet: the states of one pane from one shard (or from batch), found by key.

use hashbrown::HashTable;
use tideline_common::position::Offset;
use tideline_common::state::{StateBatch, StateColumn, StateField};

use super::keys::KeyId;

/// Memory of a row beside its states: its key, its position, its place in the index.
const ROW_BYTES: usize = 4 + 8 + 10;

/// States by key.
#[derive(Debug)]
pub(crate) struct Sheet {
    /// Row i is the state of `ids[i]` as of `positions[i]`.
    ids: Vec<KeyId>,
    positions: Vec<Offset>,
    states: Vec<StateColumn>,
    index: HashTable<u32>,
    /// Memory without texts, kept up as rows change.
    bytes: usize,
}

/// Numbers of keys are dense: multiplying spreads them over the table (Knuth, The Art of Computer Programming 6.4).
fn hash(id: KeyId) -> u64 {
    u64::from(id).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl Sheet {
    pub(crate) fn new(fields: &[StateField]) -> Self {
        Self {
            ids: Vec::new(),
            positions: Vec::new(),
            states: fields.iter().map(StateColumn::new).collect(),
            index: HashTable::new(),
            bytes: 0,
        }
    }

    /// Number of rows.
    pub(crate) const fn len(&self) -> usize {
        self.ids.len()
    }

    /// The keys that have a row.
    pub(crate) fn ids(&self) -> &[KeyId] {
        &self.ids
    }

    fn find(&self, id: KeyId) -> Option<usize> {
        self.index.find(hash(id), |row| self.ids[*row as usize] == id).map(|row| *row as usize)
    }

    /// Takes row `row` of `from` as the state of a key as of `position`, unless there is one of that position or a
    /// higher one. Says whether it did.
    pub(crate) fn set(&mut self, id: KeyId, position: Offset, from: &StateBatch, row: usize) -> bool {
        if let Some(at) = self.find(id) {
            if position <= self.positions[at] {
                return false;
            }
            self.positions[at] = position;
            for (column, from) in self.states.iter_mut().zip(&from.states) {
                self.bytes -= column.row_bytes(at);
                column.set_row(at, from, row);
                self.bytes += column.row_bytes(at);
            }
            return true;
        }
        let at = self.add(id, position);
        for (column, from) in self.states.iter_mut().zip(&from.states) {
            column.set_row(at, from, row);
            self.bytes += column.row_bytes(at);
        }
        true
    }

    /// Merges row `row` of `from` into the state of a key.
    pub(crate) fn merge(&mut self, id: KeyId, from: &StateBatch, row: usize) {
        let at = match self.find(id) {
            Some(at) => {
                self.bytes -= self.states.iter().map(|column| column.row_bytes(at)).sum::<usize>();
                at
            }
            None => self.add(id, 0),
        };
        for (column, from) in self.states.iter_mut().zip(&from.states) {
            column.merge_row(at, from, row);
            self.bytes += column.row_bytes(at);
        }
    }

    /// Adds a row that has seen nothing; its states are not counted yet.
    fn add(&mut self, id: KeyId, position: Offset) -> usize {
        let at = self.ids.len();
        self.ids.push(id);
        self.positions.push(position);
        self.bytes += ROW_BYTES;
        for column in &mut self.states {
            column.push_identity();
        }
        let ids = &self.ids;
        self.index.insert_unique(hash(id), at as u32, |row| hash(ids[*row as usize]));
        at
    }

    /// Merges the state of a key into row `to` of `into`; says whether there is one.
    pub(crate) fn merge_into(&self, id: KeyId, into: &mut StateBatch, to: usize) -> bool {
        let Some(row) = self.find(id) else { return false };
        for (column, from) in into.states.iter_mut().zip(&self.states) {
            column.merge_row(to, from, row);
        }
        true
    }

    /// Gives the keys new numbers: key i becomes `numbers[i]`.
    pub(crate) fn renumber(&mut self, numbers: &[KeyId]) {
        for id in &mut self.ids {
            *id = numbers[*id as usize];
        }
        let ids = &self.ids;
        self.index = HashTable::with_capacity(ids.len());
        for row in 0..ids.len() as u32 {
            self.index.insert_unique(hash(ids[row as usize]), row, |row| hash(ids[*row as usize]));
        }
    }

    /// Memory, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.states.iter().map(StateColumn::text_bytes).sum::<usize>()
    }
}
