//! A sheet: the states of one pane from one shard, found by key.

use hashbrown::HashTable;
use tideline_common::position::Offset;
use tideline_common::state::{
    CodecError, Reader, StateBatch, StateColumn, StateField, StateTable, write_bytes, write_varint,
};
use tideline_common::time::Timestamp;
use xxhash_rust::xxh3::xxh3_64;

/// Memory of a row beside its key and states: its position, its pane, its key's end, its place in the index.
const ROW_BYTES: usize = 8 + 8 + 8 + 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Sheet {
    /// Row i is as of `positions[i]`.
    positions: Vec<Offset>,
    rows: StateBatch,
    index: HashTable<u32>,
    /// Memory without texts, kept up as rows change.
    bytes: usize,
}

impl Sheet {
    pub(super) fn new(fields: &[StateField]) -> Self {
        Self { positions: Vec::new(), rows: StateBatch::new(fields), index: HashTable::new(), bytes: 0 }
    }

    pub(super) fn find(&self, key: &[u8]) -> Option<usize> {
        self.index.find(xxh3_64(key), |row| self.rows.keys.get(*row as usize) == key).map(|row| *row as usize)
    }

    /// Takes row `row` of `from` as the state of its key as of `position`, unless there is one of that position or a
    /// higher one. Says whether it did.
    pub(super) fn set(&mut self, pane: Timestamp, position: Offset, from: &StateBatch, row: usize) -> bool {
        let key = from.keys.get(row);
        let at = match self.find(key) {
            Some(at) if position <= self.positions[at] => return false,
            Some(at) => {
                self.positions[at] = position;
                self.bytes -= row_bytes(&self.rows, at);
                at
            }
            None => self.add(key, pane, position),
        };
        for (column, from) in self.rows.states.iter_mut().zip(&from.states) {
            column.set_row(at, from, row);
        }
        self.bytes += row_bytes(&self.rows, at);
        true
    }

    /// The states of a key, as bytes.
    pub(super) fn states(&self, key: &[u8]) -> Option<Vec<u8>> {
        let row = self.find(key)?;
        let mut states = Vec::new();
        self.rows.write_states(row, &mut states);
        Some(states)
    }

    /// Adds a row that has seen nothing; its states are not counted yet.
    fn add(&mut self, key: &[u8], pane: Timestamp, position: Offset) -> usize {
        let at = self.rows.push_identity(key, pane);
        self.positions.push(position);
        self.bytes += ROW_BYTES + key.len();
        let keys = &self.rows.keys;
        self.index.insert_unique(xxh3_64(key), at as u32, |row| xxh3_64(keys.get(*row as usize)));
        at
    }

    /// Merges every row into the group of its key and `start`.
    pub(super) fn merge_all(&self, start: Timestamp, into: &mut StateTable) {
        for row in 0..self.rows.len() {
            into.merge_row(self.rows.keys.get(row), start, &self.rows, row);
        }
    }

    /// Merges the row of one key into the group of it and `start`.
    pub(super) fn merge_one(&self, key: &[u8], start: Timestamp, into: &mut StateTable) {
        if let Some(row) = self.find(key) {
            into.merge_row(key, start, &self.rows, row);
        }
    }

    /// Memory, in bytes, estimated.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.rows.states.iter().map(StateColumn::text_bytes).sum::<usize>()
    }

    /// Appends positions, keys and states; the pane is what it is kept under.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write_varint(self.positions.len() as u64, out);
        for (row, position) in self.positions.iter().enumerate() {
            write_bytes(self.rows.keys.get(row), out);
            write_varint(*position, out);
            self.rows.write_states(row, out);
        }
    }

    /// What [`write`](Self::write) wrote.
    pub(super) fn read(fields: &[StateField], pane: Timestamp, reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let (mut rows, mut positions) = (StateBatch::new(fields), Vec::new());
        for _ in 0..reader.varint()? {
            let key = reader.bytes()?;
            positions.push(reader.varint()?);
            rows.read_states(key, pane, reader)?;
        }
        let mut index = HashTable::with_capacity(positions.len());
        let mut bytes = 0;
        for row in 0..rows.len() {
            let keys = &rows.keys;
            index.insert_unique(xxh3_64(keys.get(row)), row as u32, |row| xxh3_64(keys.get(*row as usize)));
            bytes += ROW_BYTES + keys.get(row).len() + row_bytes(&rows, row);
        }
        Ok(Self { positions, rows, index, bytes })
    }
}

/// Memory of the states of a row.
fn row_bytes(rows: &StateBatch, row: usize) -> usize {
    rows.states.iter().map(|column| column.row_bytes(row)).sum()
}
