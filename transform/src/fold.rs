//! Rows into states: the one lowering, by (rule, input) alone, of micro-batches and of scans.
//!
//! Rows are grouped by their key bytes and pane in a hash table of our own, then each state column takes its rows
//! in one loop of its type. A group-by of Polars would do the same for a large scan, but costs several times as
//! much where most groups are new (a batch of 10,000 events over months), and would be a second lowering to prove
//! equal to the first. What rows contribute is defined in [`tideline_common::aggregate::fold`].

use std::hash::{BuildHasher, Hasher};

use hashbrown::HashTable;
use tideline_common::aggregate::{registers, sketch};
use tideline_common::column::Column;
use tideline_common::key;
use tideline_common::state::{Input, MapColumn, Ordered, StateBatch, StateColumn, StateField};
use tideline_common::time::{Span, Timestamp};
use tideline_common::value::{Type, Value};

/// Maps up to this many entries are changed in place; for longer ones the entries of a batch are sorted first.
const IN_PLACE: usize = 64;

/// Typed rows of one table, as the states need them.
pub(crate) struct Rows {
    /// Key columns.
    pub(crate) keys: Vec<Column>,
    /// Event times in microseconds.
    pub(crate) times: Vec<i64>,
    /// Sequences.
    pub(crate) sequences: Vec<i64>,
    /// The arguments, each once.
    pub(crate) arguments: Vec<Column>,
}

/// What a field takes from a row.
#[derive(Clone, Debug)]
pub(crate) struct Taker {
    /// Its index among the view's fields.
    pub(crate) field: usize,
    /// What a row contributes.
    pub(crate) input: Input,
    /// Its type.
    pub(crate) ty: Type,
    /// Index of its argument.
    pub(crate) argument: Option<usize>,
}

/// States of groups, growing as rows come.
pub(crate) struct Groups {
    pane: Span,
    batch: StateBatch,
    index: HashTable<u32>,
    hasher: ahash::RandomState,
    /// The group of each row of the current batch.
    of_row: Vec<u32>,
    key: Vec<u8>,
}

impl Groups {
    pub(crate) fn new(fields: &[StateField], pane: Span, rows: usize) -> Self {
        Self {
            pane,
            batch: StateBatch::new(fields),
            index: HashTable::with_capacity(rows),
            hasher: ahash::RandomState::with_seeds(5, 6, 7, 8),
            of_row: Vec::with_capacity(rows),
            key: Vec::new(),
        }
    }

    pub(crate) fn into_batch(self) -> StateBatch {
        self.batch
    }

    /// Takes in rows of one table; `takers` are the fields that it contributes to.
    pub(crate) fn fold(&mut self, rows: &Rows, takers: &[Taker]) {
        self.group(rows);
        for taker in takers {
            if let Some(states) = self.batch.states.get_mut(taker.field) {
                let argument = taker.argument.and_then(|argument| rows.arguments.get(argument));
                take(states, &self.of_row, taker, argument, rows);
            }
        }
    }

    /// Finds the group of every row.
    fn group(&mut self, rows: &Rows) {
        self.of_row.clear();
        for (row, time) in rows.times.iter().enumerate() {
            self.key.clear();
            key::encode_row(&rows.keys, row, &mut self.key);
            let pane = Timestamp(*time).floor(self.pane);
            let code = hash(&self.hasher, &self.key, pane);
            let batch = &self.batch;
            let same = |group: &u32| {
                batch.panes[*group as usize] == pane && batch.keys.get(*group as usize) == self.key.as_slice()
            };
            let group = if let Some(group) = self.index.find(code, same) {
                *group
            } else {
                let group = self.batch.push_identity(&self.key, pane) as u32;
                let (batch, hasher) = (&self.batch, &self.hasher);
                let hash_of = |group: &u32| hash(hasher, batch.keys.get(*group as usize), batch.panes[*group as usize]);
                self.index.insert_unique(code, group, hash_of);
                group
            };
            self.of_row.push(group);
        }
    }
}

fn hash(hasher: &ahash::RandomState, key: &[u8], pane: Timestamp) -> u64 {
    let mut state = hasher.build_hasher();
    state.write(key);
    state.write_i64(pane.0);
    state.finish()
}

/// Lets one state column take its rows; row `i` belongs to group `groups[i]`.
fn take(states: &mut StateColumn, groups: &[u32], taker: &Taker, argument: Option<&Column>, rows: &Rows) {
    match states {
        StateColumn::SumInt(sums) => sum_int(sums, groups, taker.input, argument),
        StateColumn::SumFloat(sums) => sum_float(sums, groups, taker.input == Input::Square, argument),
        StateColumn::Min(_) | StateColumn::Max(_) => {
            let Some(values) = argument.map(|argument| converted(argument, taker.ty)) else { return };
            let from =
                if matches!(states, StateColumn::Min(_)) { StateColumn::Min(values) } else { StateColumn::Max(values) };
            merge(states, groups, &from);
        }
        StateColumn::First(_) | StateColumn::Last(_) => {
            let Some(values) = argument.map(|argument| converted(argument, taker.ty)) else { return };
            let ordered = Ordered { values, times: rows.times.clone(), sequences: rows.sequences.clone() };
            let from = if matches!(states, StateColumn::First(_)) {
                StateColumn::First(ordered)
            } else {
                StateColumn::Last(ordered)
            };
            merge(states, groups, &from);
        }
        StateColumn::MapSum(MapColumn::Int(maps)) => {
            let Some(argument) = argument else { return };
            let entry = |row| number(argument, row).and_then(sketch::bucket).map(|bucket| (bucket, 1));
            take_entries(maps, groups, entry, i64::wrapping_add);
        }
        StateColumn::MapMax(MapColumn::Int(maps)) => {
            let Some(argument) = argument else { return };
            take_entries(maps, groups, |row| hash_of(argument, row).map(registers::register), i64::max);
        }
        StateColumn::MapSum(MapColumn::Text(maps)) | StateColumn::MapMax(MapColumn::Text(maps)) => {
            if let Some(argument) = argument {
                categories(maps, groups, argument);
            }
        }
    }
}

fn merge(states: &mut StateColumn, groups: &[u32], from: &StateColumn) {
    for (row, group) in groups.iter().enumerate() {
        states.merge_row(*group as usize, from, row);
    }
}

/// The argument in the type of the state: the only conversion is from integer to float.
fn converted(argument: &Column, ty: Type) -> Column {
    match (argument, ty) {
        (Column::Int(v), Type::Float) => Column::Float(v.iter().map(|i| i.map(|i| i as f64)).collect()),
        (argument, _) => argument.clone(),
    }
}

fn sum_int(sums: &mut [i64], groups: &[u32], input: Input, argument: Option<&Column>) {
    let mut add = |counts: &mut dyn FnMut(usize) -> i64| {
        for (row, group) in groups.iter().enumerate() {
            let sum = &mut sums[*group as usize];
            *sum = sum.wrapping_add(counts(row));
        }
    };
    match (input, argument) {
        (Input::One, _) => add(&mut |_| 1),
        (Input::NotNull, Some(argument)) => add(&mut |row| i64::from(!argument.is_null(row))),
        (Input::IsTrue, Some(Column::Bool(v))) => add(&mut |row| i64::from(v[row] == Some(true))),
        (Input::Value, Some(Column::Int(v))) => add(&mut |row| v[row].unwrap_or(0)),
        _ => debug_assert!(false, "an integer sum of something else"),
    }
}

fn sum_float(sums: &mut [f64], groups: &[u32], square: bool, argument: Option<&Column>) {
    let mut add = |x: Option<f64>, group: u32| {
        if let Some(x) = x {
            sums[group as usize] += if square { x * x } else { x };
        }
    };
    match argument {
        Some(Column::Float(v)) => v.iter().zip(groups).for_each(|(x, group)| add(*x, *group)),
        Some(Column::Int(v)) => v.iter().zip(groups).for_each(|(i, group)| add(i.map(|i| i as f64), *group)),
        _ => debug_assert!(false, "a float sum of something else"),
    }
}

fn number(argument: &Column, row: usize) -> Option<f64> {
    match argument {
        Column::Float(v) => v[row],
        Column::Int(v) => v[row].map(|i| i as f64),
        _ => None,
    }
}

fn hash_of(argument: &Column, row: usize) -> Option<u64> {
    match argument {
        Column::Bool(v) => v[row].map(registers::hash_bool),
        Column::Int(v) => v[row].map(registers::hash_i64),
        Column::Float(v) => v[row].map(registers::hash_f64),
        Column::String(v) => v.get(row).map(registers::hash_str),
        Column::Timestamp(v) => v[row].map(|time| registers::hash_i64(time.0)),
        Column::Strings(_) => None,
    }
}

type IntMap = Vec<(i32, i64)>;

fn take_entries(
    maps: &mut [IntMap],
    groups: &[u32],
    entry: impl Fn(usize) -> Option<(i32, i64)>,
    combine: impl Fn(i64, i64) -> i64,
) {
    let mut many: Vec<(u32, i32, i64)> = Vec::new();
    for (row, group) in groups.iter().enumerate() {
        let Some((key, number)) = entry(row) else { continue };
        let map = &mut maps[*group as usize];
        match map.binary_search_by_key(&key, |(key, _)| *key) {
            Ok(at) => map[at].1 = combine(map[at].1, number),
            Err(at) if map.len() < IN_PLACE => map.insert(at, (key, number)),
            Err(_) => many.push((*group, key, number)),
        }
    }
    many.sort_unstable_by_key(|(group, key, _)| (*group, *key));
    for of_group in many.chunk_by(|a, b| a.0 == b.0) {
        let map = &mut maps[of_group[0].0 as usize];
        let old = std::mem::take(map);
        map.reserve(old.len() + of_group.len());
        let mut push = |key: i32, number: i64| match map.last_mut() {
            Some(last) if last.0 == key => last.1 = combine(last.1, number),
            _ => map.push((key, number)),
        };
        let mut new = of_group.iter().peekable();
        for (key, number) in old {
            while let Some((_, key, number)) = new.next_if(|new| new.1 < key) {
                push(*key, *number);
            }
            push(key, number);
        }
        new.for_each(|(_, key, number)| push(*key, *number));
    }
}

fn categories(maps: &mut [Vec<(Box<str>, i64)>], groups: &[u32], argument: &Column) {
    let mut add = |group: u32, category: &str| {
        let map = &mut maps[group as usize];
        match map.binary_search_by(|(key, _)| (**key).cmp(category)) {
            Ok(at) => map[at].1 = map[at].1.wrapping_add(1),
            Err(at) => map.insert(at, (category.into(), 1)),
        }
    };
    for (row, group) in groups.iter().enumerate() {
        match argument {
            Column::String(v) => v.get(row).into_iter().for_each(|text| add(*group, text)),
            Column::Bool(_) | Column::Int(_) if !argument.is_null(row) => {
                let value: Value = argument.value(row);
                add(*group, &value.to_string());
            }
            _ => {}
        }
    }
}
