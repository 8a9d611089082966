//! The panes of one view's newest window, of the newest that has ended, and of those a slide before, kept in memory, and
//! the finished columns of the newest.
//!
//! Per pane there is a [`Sheet`] for each shard of the speed layer and one for batch; a row of it is the state of a
//! key. The answer of a key is the merge of its rows, in the order in which the slow path reads them (batch before
//! speed, by pane), so that both agree to the last bit. The values by which a view can be ranked are finished for every
//! key and put into columns: a change costs the merge of the keys it names, a window that moves on that of the keys
//! whose panes left it, and a ranking one pass over a column.

use std::collections::BTreeMap;
use std::sync::Arc;

use tideline_common::changes::Change;
use tideline_common::manifest::Manifest;
use tideline_common::plan::{Answers, ViewPlan};
use tideline_common::ports::ShardPanes;
use tideline_common::position::{Offset, Shard};
use tideline_common::state::StateBatch;
use tideline_common::time::{Span, Timestamp};
use tideline_common::value::Value;

use super::frontier::Frontier;
use super::keys::{KeyId, Keys};
use super::sheet::Sheet;
use crate::boundary::Interval;
use crate::merge::order::{descending, is_rankable};

/// Keys that are forgotten are worth a renumbering when there are more of them than of others, and this many.
const DEAD_KEYS_MIN: usize = 10_000;

/// Lookups of a key in a sheet that one answer out of another window than the newest may need: nothing changes the copy
/// meanwhile.
const LOOKUPS_MAX: usize = 1 << 16;

/// What batch contributes: immutable panes of one manifest.
#[derive(Debug)]
pub(crate) struct BatchPart {
    /// The manifest; `None`: nothing has been published.
    pub(crate) manifest: Option<Arc<Manifest>>,
    /// Panes that begin before this are batch's.
    pub(crate) boundary: Timestamp,
    /// End of the newest pane that batch answers with.
    pub(crate) end: Option<Timestamp>,
    /// By pane.
    sheets: BTreeMap<Timestamp, Sheet>,
}

impl BatchPart {
    /// Without panes yet.
    pub(crate) const fn new(manifest: Option<Arc<Manifest>>, boundary: Timestamp, end: Option<Timestamp>) -> Self {
        Self { manifest, boundary, end, sheets: BTreeMap::new() }
    }
}

/// Newly finished values of some keys; `None` for a key that is not in the window.
#[derive(Debug, Default)]
pub(crate) struct Finished(Vec<(KeyId, Option<Vec<Value>>)>);

impl Finished {
    /// Adds those of `more`.
    pub(crate) fn append(&mut self, more: Self) {
        self.0.extend(more.0);
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Kept {
    view: ViewPlan,
    keys: Keys,
    /// Whose the sheets of a pane are, by index.
    shards: Vec<Shard>,
    speed: BTreeMap<Timestamp, Vec<Sheet>>,
    pub(crate) batch: BatchPart,
    /// The newest window; `None` while there is no pane.
    window: Option<Interval>,
    /// Up to where every change is in.
    pub(crate) frontier: Frontier,
    /// Answer columns that can rank, by their index.
    rankable: Vec<usize>,
    /// One per rankable column: the value of every key.
    columns: Vec<Vec<Value>>,
    /// Which keys are in the window.
    present: Vec<bool>,
    present_count: usize,
}

/// The panes that are kept for a window of a view: its own, those of the window a pane before it, which has ended, and
/// those of the windows that began one slide before either, which directions are told from.
pub(crate) fn kept_panes(view: &ViewPlan, window: Interval) -> Interval {
    Interval { from: window.from.minus(view.window.slide).minus(view.pane), to: window.to }
}

/// The window of `size` that ends with the newest of both layers.
pub(crate) fn newest(speed: Option<Timestamp>, batch: Option<Timestamp>, size: Span) -> Option<Interval> {
    let end = speed.max(batch)?;
    Interval::new(end.minus(size), end)
}

impl Kept {
    /// Without panes yet.
    pub(crate) fn new(view: ViewPlan, frontier: Frontier, batch: BatchPart, window: Option<Interval>) -> Self {
        let rankable: Vec<usize> = (0..view.answer.len()).filter(|at| is_rankable(view.answer[*at].ty)).collect();
        Self {
            window,
            keys: Keys::default(),
            shards: Vec::new(),
            speed: BTreeMap::new(),
            batch,
            frontier,
            columns: vec![Vec::new(); rankable.len()],
            rankable,
            present: Vec::new(),
            present_count: 0,
            view,
        }
    }

    /// The newest window.
    pub(crate) const fn window(&self) -> Option<Interval> {
        self.window
    }

    /// End of the newest pane of the speed layer in the window.
    pub(crate) fn speed_end(&self) -> Option<Timestamp> {
        self.speed.last_key_value().map(|(pane, _)| pane.plus(self.view.pane))
    }

    fn shard(&mut self, shard: &Shard) -> usize {
        self.shards.iter().position(|known| known == shard).unwrap_or_else(|| {
            self.shards.push(shard.clone());
            self.shards.len() - 1
        })
    }

    fn set(&mut self, shard: usize, position: Offset, from: &StateBatch, row: usize) -> Option<KeyId> {
        let pane = from.panes[row];
        if self.window.is_none_or(|window| !kept_panes(&self.view, window).contains(pane)) {
            return None;
        }
        let id = self.key(from.keys.get(row));
        let sheets = self.speed.entry(pane).or_default();
        while sheets.len() <= shard {
            sheets.push(Sheet::new(&self.view.fields));
        }
        sheets[shard].set(id, position, from, row).then_some(id)
    }

    fn key(&mut self, key: &[u8]) -> KeyId {
        let id = self.keys.give(key);
        if self.present.len() < self.keys.len() {
            self.present.resize(self.keys.len(), false);
            for column in &mut self.columns {
                column.resize(self.keys.len(), Value::Null);
            }
        }
        id
    }

    /// Takes rows `rows` of a shard as of a snapshot; columns are not finished.
    pub(crate) fn load(&mut self, of: &ShardPanes, position: Offset, rows: std::ops::Range<usize>) {
        let shard = self.shard(&of.shard);
        for row in rows {
            // Changes up to the position are in the snapshot: only later ones replace its rows.
            self.set(shard, position, &of.panes, row);
        }
    }

    /// The end of the window that a change moves it to, if it does.
    pub(crate) fn moves_to(&self, change: &Change) -> Option<Timestamp> {
        let end = change.panes.panes.iter().max()?.plus(self.view.pane);
        (self.window.is_none_or(|window| end > window.to)).then_some(end)
    }

    /// Takes rows `rows` of a change in; `ids` gets the keys that changed. The columns are to be
    /// [finished](Self::finish) for them.
    pub(crate) fn apply(&mut self, change: &Change, rows: std::ops::Range<usize>, ids: &mut Vec<KeyId>) {
        let shard = self.shard(&change.shard);
        ids.extend(rows.filter_map(|row| self.set(shard, change.position, &change.panes, row)));
    }

    /// Takes rows of batch into a part that is not in use yet.
    pub(crate) fn load_batch(&mut self, part: &mut BatchPart, panes: &StateBatch, rows: std::ops::Range<usize>) {
        for row in rows {
            let pane = panes.panes[row];
            let id = self.key(panes.keys.get(row));
            part.sheets.entry(pane).or_insert_with(|| Sheet::new(&self.view.fields)).merge(id, panes, row);
        }
    }

    /// The states of a key in a window, as a new row of `into`; `false` when it has none.
    fn merge(&self, id: KeyId, window: Interval, batch: &BatchPart, into: &mut StateBatch) -> bool {
        let to = into.push_identity(&[], window.from);
        let mut found = false;
        let boundary = batch.boundary.clamp(window.from, window.to);
        for sheet in batch.sheets.range(window.from..boundary).map(|(_, sheet)| sheet) {
            found |= sheet.merge_into(id, into, to);
        }
        for sheet in self.speed.range(boundary..window.to).flat_map(|(_, sheets)| sheets) {
            found |= sheet.merge_into(id, into, to);
        }
        found
    }

    /// Finishes keys for a window, with `batch` in the place of the part in use when it is given.
    pub(crate) fn finish(&self, ids: &[KeyId], window: Interval, batch: Option<&BatchPart>) -> Finished {
        let (answers, batch) = (Answers::new(&self.view), batch.unwrap_or(&self.batch));
        let mut states = StateBatch::new(&self.view.fields);
        let finished = ids.iter().enumerate().map(|(row, id)| {
            let found = self.merge(*id, window, batch, &mut states);
            let values = found.then(|| {
                let mut values = answers.row(&states, row);
                self.rankable.iter().map(|at| std::mem::replace(&mut values[*at], Value::Null)).collect()
            });
            (*id, values)
        });
        Finished(finished.collect())
    }

    /// Puts finished values into the columns.
    pub(crate) fn install(&mut self, finished: Finished) {
        for (id, values) in finished.0 {
            let id = id as usize;
            let was = std::mem::replace(&mut self.present[id], values.is_some());
            self.present_count = self.present_count + usize::from(values.is_some()) - usize::from(was);
            let mut values = values.into_iter().flatten();
            for column in &mut self.columns {
                column[id] = values.next().unwrap_or(Value::Null);
            }
        }
    }

    /// All keys.
    pub(crate) fn ids(&self) -> std::ops::Range<KeyId> {
        0..self.keys.len() as KeyId
    }

    /// The window that ends at `end`, and the keys with a pane that is in the window now and not in that one.
    pub(crate) fn leaving(&self, end: Timestamp) -> (Interval, Vec<KeyId>) {
        let to = Interval { from: end.minus(self.view.window.size), to: end };
        let Some(from) = self.window else { return (to, Vec::new()) };
        let past = from.from..to.from.min(from.to).max(from.from);
        let speed = self.speed.range(past.clone()).flat_map(|(_, sheets)| sheets);
        let mut ids: Vec<KeyId> =
            speed.chain(self.batch.sheets.range(past).map(|(_, sheet)| sheet)).flat_map(Sheet::ids).copied().collect();
        ids.sort_unstable();
        ids.dedup();
        (to, ids)
    }

    /// Moves the window on; `finished` are the keys that [leave](Self::leaving) it, for the new one.
    pub(crate) fn slide(&mut self, to: Interval, finished: Finished) {
        self.install(finished);
        self.window = Some(to);
        let kept = kept_panes(&self.view, to);
        self.speed = self.speed.split_off(&kept.from);
        self.batch.sheets = self.batch.sheets.split_off(&kept.from);
        let dead = self.keys.len() - self.present_count;
        if dead > DEAD_KEYS_MIN && dead > self.present_count {
            self.forget_dead_keys();
        }
    }

    /// Puts a part of batch in use; `finished` is every key with it.
    pub(crate) fn adopt(&mut self, part: BatchPart, finished: Finished) {
        self.install(finished);
        self.batch = part;
    }

    /// Gives the keys that any sheet has new numbers, and drops the others.
    fn forget_dead_keys(&mut self) {
        let mut used = vec![false; self.keys.len()];
        let sheets = || self.speed.values().flatten().chain(self.batch.sheets.values());
        for id in sheets().flat_map(Sheet::ids) {
            used[*id as usize] = true;
        }
        let mut keys = Keys::default();
        let mut numbers = vec![0; used.len()];
        for id in (0..used.len()).filter(|id| used[*id]) {
            numbers[id] = keys.give(self.keys.get(id as KeyId));
        }
        for sheet in self.speed.values_mut().flatten().chain(self.batch.sheets.values_mut()) {
            sheet.renumber(&numbers);
        }
        // Numbers keep their order: what is kept moves to the front.
        let keep = |at: usize| used[at];
        let mut at = 0..;
        self.present.retain(|_| at.next().is_some_and(keep));
        for column in &mut self.columns {
            let mut at = 0..;
            column.retain(|_| at.next().is_some_and(keep));
            column.shrink_to_fit();
        }
        self.keys = keys;
    }

    /// The newest window that has ended: the one before the newest pane. `None` when it would take too long to rank.
    pub(crate) fn ended(&self) -> Option<Interval> {
        let sheets = self.speed.values().map(Vec::len).sum::<usize>() + self.batch.sheets.len();
        let window = self.window?.before(self.view.pane)?;
        (self.keys.len().saturating_mul(sheets) <= LOOKUPS_MAX).then_some(window)
    }

    /// The first `limit` keys of the newest window by answer column `by`, greatest first, nulls last, ties in key order:
    /// key and merged states of each, and their numbers. `None` when the column cannot rank.
    pub(crate) fn rank(&self, by: usize, limit: usize) -> Option<(StateBatch, Vec<KeyId>)> {
        let column = &self.columns[self.rankable.iter().position(|at| *at == by)?];
        let mut order: Vec<KeyId> = self.ids().filter(|id| self.present[*id as usize]).collect();
        self.order(&mut order, limit, |id| &column[id as usize]);
        Some((self.merged(&order, self.window?), order))
    }

    /// As [`rank`](Self::rank), of any window whose panes are kept: its keys are finished for this alone.
    pub(crate) fn rank_window(&self, by: usize, limit: usize, window: Interval) -> Option<(StateBatch, Vec<KeyId>)> {
        let at = self.rankable.iter().position(|at| *at == by)?;
        let ids: Vec<KeyId> = self.ids().collect();
        let finished = self.finish(&ids, window, None).0;
        let column: Vec<Option<Value>> =
            finished.into_iter().map(|(_, values)| values.map(|mut values| values.swap_remove(at))).collect();
        let mut order: Vec<KeyId> = self.ids().filter(|id| column[*id as usize].is_some()).collect();
        self.order(&mut order, limit, |id| column[id as usize].as_ref().unwrap_or(&Value::Null));
        Some((self.merged(&order, window), order))
    }

    /// Leaves the first `limit` keys by their values, in order.
    fn order<'a>(&self, order: &mut Vec<KeyId>, limit: usize, value: impl Fn(KeyId) -> &'a Value) {
        let compare = |a: &KeyId, b: &KeyId| {
            descending(value(*a), value(*b)).then_with(|| self.keys.get(*a).cmp(self.keys.get(*b)))
        };
        if order.len() > limit {
            order.select_nth_unstable_by(limit, compare);
            order.truncate(limit);
        }
        order.sort_unstable_by(compare);
    }

    /// Keys and merged states of a window.
    fn merged(&self, ids: &[KeyId], window: Interval) -> StateBatch {
        let mut states = StateBatch::new(&self.view.fields);
        let mut rows = StateBatch::new(&[]);
        for id in ids {
            self.merge(*id, window, &self.batch, &mut states);
            rows.push_identity(self.keys.get(*id), window.from);
        }
        rows.states = states.states;
        rows
    }

    /// The merged states of keys in the window that began one slide before `window`, a row each, and whether they have any
    /// there.
    pub(crate) fn previous(&self, ids: &[KeyId], window: Interval) -> Option<(StateBatch, Vec<bool>)> {
        let window = window.before(self.view.window.slide)?;
        let mut states = StateBatch::new(&self.view.fields);
        let found = ids.iter().map(|id| self.merge(*id, window, &self.batch, &mut states)).collect();
        Some((states, found))
    }

    /// Rows of all sheets.
    pub(crate) fn rows(&self) -> usize {
        self.speed.values().flatten().chain(self.batch.sheets.values()).map(Sheet::len).sum()
    }

    /// Keys in the window.
    pub(crate) const fn present(&self) -> usize {
        self.present_count
    }

    /// Memory, in bytes, estimated.
    pub(crate) fn bytes(&self) -> usize {
        let sheets: usize = self.speed.values().flatten().chain(self.batch.sheets.values()).map(Sheet::bytes).sum();
        sheets + self.keys.bytes() + self.present.len() * (1 + self.columns.len() * size_of::<Value>())
    }
}
