//! Counts of late rows per (key, pane), kept beside a view's panes to explain differences between the layers.

use std::collections::HashMap;

use tideline_common::position::Offset;
use tideline_common::state::{
    CodecError, Input, Reader, Rule, StateBatch, StateColumn, StateField, write_bytes, write_signed, write_varint,
};
use tideline_common::time::Timestamp;
use tideline_common::value::Type;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count {
    rows: i64,
    /// Offset behind the batch that touched it last: what is least recent is forgotten first.
    touched: Offset,
    changed: bool,
}

/// Late rows of one view and shard.
///
/// Late rows may have any event time, so no watermark bounds their groups; a fixed number does. A group that is
/// forgotten keeps its row in the store, and starts again at what comes later: its count is then too small, but
/// never 0, which is what explains a difference.
#[derive(Clone, Debug)]
pub(crate) struct LateTable {
    groups: HashMap<(Box<[u8]>, i64), Count, ahash::RandomState>,
    changes: Vec<(Box<[u8]>, i64)>,
    key_bytes: usize,
    max_groups: usize,
}

/// The one field of late counts.
pub(crate) fn late_field() -> StateField {
    StateField {
        name: "late".to_owned(),
        rule: Rule::Sum,
        ty: Type::Int,
        input: Input::One,
        table: String::new(),
        argument: None,
    }
}

impl LateTable {
    pub(crate) fn new(max_groups: usize) -> Self {
        Self {
            groups: HashMap::with_hasher(ahash::RandomState::with_seeds(1, 2, 3, 4)),
            changes: Vec::new(),
            key_bytes: 0,
            max_groups,
        }
    }

    /// Number of groups.
    pub(crate) fn len(&self) -> usize {
        self.groups.len()
    }

    /// Memory in bytes, estimated.
    pub(crate) fn bytes(&self) -> usize {
        self.groups.capacity() * 56 + self.key_bytes
    }

    /// Adds counts (one integer sum per group) of records before `position`; returns how many rows they are.
    pub(crate) fn merge(&mut self, batch: &StateBatch, position: Offset) -> u64 {
        let Some(StateColumn::SumInt(rows)) = batch.states.first() else {
            return 0;
        };
        let mut total = 0;
        for (row, count) in rows.iter().enumerate() {
            let group = (Box::from(batch.keys.get(row)), batch.panes[row].0);
            total += u64::try_from(*count).unwrap_or(0);
            let entry = self.groups.entry(group).or_insert_with_key(|group| {
                self.key_bytes += group.0.len();
                Count { rows: 0, touched: position, changed: false }
            });
            entry.rows = entry.rows.saturating_add(*count);
            entry.touched = position;
            if !entry.changed {
                entry.changed = true;
                self.changes.push((Box::from(batch.keys.get(row)), batch.panes[row].0));
            }
        }
        total
    }

    /// The whole counts of the groups that changed since this was last called; then forgets the least recent
    /// half if there are too many.
    pub(crate) fn take_changed(&mut self) -> StateBatch {
        let mut batch = StateBatch::new(&[late_field()]);
        for group in std::mem::take(&mut self.changes) {
            if let Some(count) = self.groups.get_mut(&group) {
                count.changed = false;
                let row = batch.push_identity(&group.0, Timestamp(group.1));
                if let Some(StateColumn::SumInt(rows)) = batch.states.first_mut() {
                    rows[row] = count.rows;
                }
            }
        }
        if self.groups.len() > self.max_groups {
            let mut touched: Vec<Offset> = self.groups.values().map(|count| count.touched).collect();
            let middle = touched.len() / 2;
            let (_, median, _) = touched.select_nth_unstable(middle);
            let median = *median;
            self.groups.retain(|_, count| count.touched > median);
            self.key_bytes = self.groups.keys().map(|(key, _)| key.len()).sum();
            self.groups.shrink_to_fit();
        }
        batch
    }

    /// Appends all groups, sorted: varint n, then per group key, pane, rows, touched.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_unstable_by(|a, b| a.0.cmp(b.0));
        write_varint(groups.len() as u64, out);
        for ((key, pane), count) in groups {
            write_bytes(key, out);
            write_signed(*pane, out);
            write_signed(count.rows, out);
            write_varint(count.touched, out);
        }
    }

    /// Adds what [`LateTable::write`] wrote, as unchanged.
    pub(crate) fn read(&mut self, reader: &mut Reader<'_>) -> Result<(), CodecError> {
        for _ in 0..reader.varint()? {
            let key: Box<[u8]> = reader.bytes()?.into();
            let pane = reader.signed()?;
            self.key_bytes += key.len();
            let count = Count { rows: reader.signed()?, touched: reader.varint()?, changed: false };
            self.groups.insert((key, pane), count);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn batch(rows: &[(&str, i64, i64)]) -> StateBatch {
        let mut batch = StateBatch::new(&[late_field()]);
        for (key, pane, count) in rows {
            let row = batch.push_identity(key.as_bytes(), Timestamp(*pane));
            let StateColumn::SumInt(counts) = &mut batch.states[0] else { panic!("a sum") };
            counts[row] = *count;
        }
        batch
    }

    #[test]
    fn counts_are_absolute_and_only_changes_are_taken() {
        let mut table = LateTable::new(10);
        assert_eq!(table.merge(&batch(&[("a", 0, 2), ("b", 0, 1)]), 10), 3);
        assert_eq!(table.take_changed(), batch(&[("a", 0, 2), ("b", 0, 1)]));
        assert_eq!(table.merge(&batch(&[("a", 0, 3), ("a", 5, 1)]), 20), 4);
        assert_eq!(table.take_changed(), batch(&[("a", 0, 5), ("a", 5, 1)]));
        assert!(table.take_changed().is_empty());
        let mut bytes = Vec::new();
        table.write(&mut bytes);
        let mut other = LateTable::new(10);
        other.read(&mut Reader::new(&bytes)).unwrap();
        other.merge(&batch(&[("b", 0, 1)]), 30);
        assert_eq!(other.take_changed(), batch(&[("b", 0, 2)]));
        assert_eq!((other.len(), other.key_bytes), (3, 3));
    }

    #[test]
    fn the_least_recent_half_is_forgotten() {
        let mut table = LateTable::new(4);
        for i in 0..6 {
            table.merge(&batch(&[("k", i, 1)]), i as u64);
        }
        assert_eq!(table.take_changed().len(), 6);
        assert_eq!((table.len(), table.key_bytes), (2, 2));
        table.merge(&batch(&[("k", 5, 1), ("k", 0, 1)]), 9);
        assert_eq!(table.take_changed(), batch(&[("k", 5, 2), ("k", 0, 1)]));
    }
}
