//! Groups found by (key, time): where partial states meet.

use std::collections::BTreeMap;

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
    /// Hash of each group: growing the index does not look at the keys again.
    hashes: Vec<u64>,
    changed: Vec<bool>,
    changes: Vec<u32>,
    /// Place in `times` of each group's time.
    slots: Vec<u32>,
    times: Vec<Slot>,
    /// Time → place in `times`.
    time_index: BTreeMap<Timestamp, u32>,
    /// Memory of the groups without that of their texts, kept up as they change.
    bytes: usize,
    /// `bytes` of a group that has seen nothing, without its key.
    identity_bytes: usize,
}

/// The groups of one time: with these, forgetting nothing costs nothing.
#[derive(Debug, Clone, Copy)]
struct Slot {
    time: Timestamp,
    groups: u32,
    changed: u32,
}

/// Key end, pane, index entry, hash and flags of a group.
const GROUP_BYTES: usize = 64;

impl StateTable {
    /// An empty table for a view of these fields.
    pub fn new(fields: &[StateField]) -> Self {
        let groups = StateBatch::new(fields);
        let identity_bytes = GROUP_BYTES + groups.states.iter().map(StateColumn::identity_bytes).sum::<usize>();
        Self {
            fields: fields.to_vec(),
            groups,
            index: HashTable::new(),
            // Fixed seeds: the order of groups never depends on them, and two runs are alike.
            hasher: ahash::RandomState::with_seeds(1, 2, 3, 4),
            hashes: Vec::new(),
            changed: Vec::new(),
            changes: Vec::new(),
            slots: Vec::new(),
            times: Vec::new(),
            time_index: BTreeMap::new(),
            bytes: 0,
            identity_bytes,
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
        self.bytes += self.identity_bytes + key.len();
        self.note(hash, time);
        let hashes = &self.hashes;
        self.index.insert_unique(hash, row as u32, |row| hashes[*row as usize]);
        row
    }

    /// Adds the bookkeeping of a new, unchanged group.
    fn note(&mut self, hash: u64, time: Timestamp) {
        self.hashes.push(hash);
        self.changed.push(false);
        // Groups of one time tend to come together.
        let slot = match self.slots.last() {
            Some(last) if self.times[*last as usize].time == time => *last,
            _ => *self.time_index.entry(time).or_insert_with(|| {
                self.times.push(Slot { time, groups: 0, changed: 0 });
                self.times.len() as u32 - 1
            }),
        };
        self.times[slot as usize].groups += 1;
        self.slots.push(slot);
    }

    /// The row of a group, if it is there.
    pub fn find(&self, key: &[u8], time: Timestamp) -> Option<usize> {
        let same = |row: &u32| self.groups.panes[*row as usize] == time && self.groups.keys.get(*row as usize) == key;
        self.index.find(Self::hash(&self.hasher, key, time), same).map(|row| *row as usize)
    }

    /// Merges row `row` of `batch` into the group (`key`, `time`).
    pub fn merge_row(&mut self, key: &[u8], time: Timestamp, batch: &StateBatch, row: usize) {
        debug_assert_eq!(self.groups.states.len(), batch.states.len(), "a batch of other fields");
        let to = self.row(key, time);
        for (column, from) in self.groups.states.iter_mut().zip(&batch.states) {
            self.bytes += column.merge_row(to, from, row);
        }
        self.mark(to);
    }

    /// Merges every row of `batch`, whose columns are those of this table's fields.
    pub fn merge(&mut self, batch: &StateBatch) {
        debug_assert_eq!(self.groups.states.len(), batch.states.len(), "a batch of other fields");
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
                        a[*to] = a[*to].wrapping_add(*b);
                    }
                }
                (StateColumn::SumFloat(a), StateColumn::SumFloat(b)) => {
                    for (to, b) in rows.iter().zip(b) {
                        a[*to] += b;
                    }
                }
                (column, from) => {
                    for (row, to) in rows.iter().enumerate() {
                        self.bytes += column.merge_row(*to, from, row);
                    }
                }
            }
        }
    }

    fn mark(&mut self, row: usize) {
        if !self.changed[row] {
            self.changed[row] = true;
            self.times[self.slots[row] as usize].changed += 1;
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
            self.times[self.slots[row as usize] as usize].changed -= 1;
            batch.push_from(&self.groups, row as usize);
        }
        batch
    }

    /// Forgets every unchanged group whose time is not kept; changed ones stay until they are taken. `keep` is
    /// asked once per time. With nothing to forget this costs as much as there are times; else as much as there
    /// are groups.
    pub fn retain(&mut self, mut keep: impl FnMut(Timestamp) -> bool) {
        let kept_times: Vec<bool> = self.times.iter().map(|slot| keep(slot.time)).collect();
        if self.times.iter().zip(&kept_times).all(|(slot, kept)| *kept || slot.groups == slot.changed) {
            return;
        }
        let flags: Vec<bool> =
            (0..self.len()).map(|row| self.changed[row] || kept_times[self.slots[row] as usize]).collect();
        let mut kept = StateBatch::new(&[]);
        let (mut hashes, mut changed) = (Vec::new(), Vec::new());
        for (row, _) in flags.iter().enumerate().filter(|(_, flag)| **flag) {
            kept.push_identity(self.groups.keys.get(row), self.groups.panes[row]);
            hashes.push(self.hashes[row]);
            changed.push(self.changed[row]);
        }
        kept.states = std::mem::take(&mut self.groups.states);
        for column in &mut kept.states {
            column.retain(&flags);
        }
        self.groups = kept;
        (self.hashes, self.changed, self.slots, self.times) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        self.time_index.clear();
        self.changes.clear();
        self.index = HashTable::with_capacity(hashes.len());
        self.bytes = 0;
        for (row, (hash, changed)) in hashes.into_iter().zip(changed).enumerate() {
            self.note(hash, self.groups.panes[row]);
            if changed {
                self.mark(row);
            }
            let hashes = &self.hashes;
            self.index.insert_unique(hash, row as u32, |row| hashes[*row as usize]);
            self.bytes += self.row_bytes(row);
        }
    }

    fn row_bytes(&self, row: usize) -> usize {
        let states: usize = self.groups.states.iter().map(|column| column.row_bytes(row)).sum();
        GROUP_BYTES + self.groups.keys.get(row).len() + states
    }

    /// Memory of the groups, in bytes, estimated: exact for maps and texts, a fixed part for all else. A running
    /// figure: costs nothing to ask for.
    pub fn bytes(&self) -> usize {
        self.bytes + self.groups.states.iter().map(StateColumn::text_bytes).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;
    use crate::aggregate::fold::{Event, state_of};
    use crate::state::{Input, Rule};
    use crate::value::{Type, Value};

    fn fields() -> Vec<StateField> {
        let field = |name: &str, rule, ty, input| StateField {
            name: name.into(),
            rule,
            ty,
            input,
            table: "t".into(),
            argument: Some("x".into()),
        };
        vec![
            field("sum", Rule::Sum, Type::Int, Input::Value),
            field("registers", Rule::MapMax, Type::Int, Input::Register),
            field("words", Rule::MapSum, Type::String, Input::Category),
            field("last", Rule::Last, Type::String, Input::Value),
        ]
    }

    /// One row: 1, and `text` as register, category and last value.
    fn row(batch: &mut StateBatch, fields: &[StateField], key: &[u8], pane: i64, text: &str, sequence: i64) {
        let at = batch.push_identity(key, Timestamp(pane));
        let (one, text) = (Value::Int(1), Value::String(text.into()));
        for (field, column) in fields.iter().zip(&mut batch.states) {
            let argument = if field.ty == Type::Int && field.input == Input::Value { &one } else { &text };
            column.merge_row(at, &state_of(field, Event { argument, time: Timestamp(pane), sequence }), 0);
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Merge(Vec<(u8, i64, String)>),
        MergeRow(u8, i64, String),
        Take,
        Retain(i64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let row = || (0..6_u8, 0..5_i64, "[a-c]{0,3}");
        let step = prop_oneof![
            3 => prop::collection::vec(row(), 0..12).prop_map(Step::Merge),
            2 => row().prop_map(|(key, pane, text)| Step::MergeRow(key, pane, text)),
            1 => Just(Step::Take),
            1 => (0..6_i64).prop_map(Step::Retain),
        ];
        prop::collection::vec(step, 0..30)
    }

    type Group = (Vec<u8>, i64);

    /// A table as a map from group to the texts it has seen, in order.
    #[derive(Default)]
    struct Model {
        groups: BTreeMap<Group, Vec<String>>,
        changed: BTreeSet<Group>,
    }

    impl Model {
        fn see(&mut self, key: u8, pane: i64, text: &str) {
            let group = (vec![key; usize::from(key)], pane);
            self.groups.entry(group.clone()).or_default().push(text.to_owned());
            self.changed.insert(group);
        }
    }

    fn check(batch: &StateBatch, row: usize, seen: &[String]) {
        let StateColumn::SumInt(sums) = &batch.states[0] else { panic!("not a sum") };
        assert_eq!(sums[row], seen.len() as i64);
        let StateColumn::MapSum(crate::state::MapColumn::Text(words)) = &batch.states[2] else { panic!("not a map") };
        let mut counts = BTreeMap::<&str, i64>::new();
        for text in seen {
            *counts.entry(text).or_default() += 1;
        }
        assert!(words[row].iter().map(|(word, count)| (&**word, *count)).eq(counts));
        let StateColumn::Last(last) = &batch.states[3] else { panic!("not a last") };
        assert_eq!(last.values.value(row), Value::String(seen.last().unwrap().clone()));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

        #[test]
        fn a_table_is_a_map_from_group_to_state(steps in steps()) {
            let fields = fields();
            let mut table = StateTable::new(&fields);
            let mut model = Model::default();
            let mut sequence = 0;
            for step in steps {
                match step {
                    Step::Merge(rows) => {
                        let mut batch = StateBatch::new(&fields);
                        for (key, pane, text) in &rows {
                            sequence += 1;
                            row(&mut batch, &fields, &vec![*key; usize::from(*key)], *pane, text, sequence);
                            model.see(*key, *pane, text);
                        }
                        table.merge(&batch);
                    }
                    Step::MergeRow(key, pane, text) => {
                        sequence += 1;
                        let mut batch = StateBatch::new(&fields);
                        row(&mut batch, &fields, b"another", pane, &text, sequence);
                        table.merge_row(&vec![key; usize::from(key)], Timestamp(pane), &batch, 0);
                        model.see(key, pane, &text);
                    }
                    Step::Take => {
                        let taken = table.take_changed();
                        prop_assert_eq!(taken.len(), model.changed.len());
                        for at in 0..taken.len() {
                            let group = (taken.keys.get(at).to_vec(), taken.panes[at].0);
                            prop_assert!(model.changed.remove(&group));
                            check(&taken, at, &model.groups[&group]);
                        }
                    }
                    Step::Retain(from) => {
                        table.retain(|time| time.0 >= from);
                        model.groups.retain(|group, _| group.1 >= from || model.changed.contains(group));
                    }
                }
                prop_assert_eq!(table.len(), model.groups.len());
                prop_assert_eq!(table.changed_len(), model.changed.len());
                for (group, seen) in &model.groups {
                    let at = table.find(&group.0, Timestamp(group.1)).unwrap();
                    check(table.groups(), at, seen);
                }
                prop_assert_eq!(table.find(b"never", Timestamp(0)), None);
                let recomputed: usize = (0..table.len()).map(|row| table.row_bytes(row)).sum();
                prop_assert_eq!(table.bytes, recomputed);
            }
        }
    }
}
