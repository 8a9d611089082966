//! Windows out of panes, for one key at a time.
//!
//! A window that slides by less than its size shares panes with the one before. Where few windows share a pane they are
//! simply merged again. Otherwise the panes of the current window stand in a queue made of two stacks: the older ones
//! as suffix merges (entry i is the merge of pane i and all after it in the stack), the newer ones as one running merge.
//! A window is then one suffix and the running merge; when the older stack runs dry, the newer panes become its
//! suffixes. Each pane is merged at most twice and each window costs two merges, whatever its size: no state has an
//! inverse (minima, maps), so subtracting what left is not possible, and this needs none.

use tideline_common::state::{StateBatch, StateField};
use tideline_common::time::Timestamp;
use tideline_common::window::Window;

/// A pane of the current key: rows of one page that are all of this pane (one per shard).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) pane: Timestamp,
    /// Index in the pages given to [`Windows::next`].
    pub(crate) page: usize,
    pub(crate) first: usize,
    pub(crate) end: usize,
}

/// Panes per slide beyond which sharing is worth the queue.
const DIRECT_MERGES_MAX: i64 = 4;

fn merge_row(to: &mut StateBatch, at: usize, from: &StateBatch, row: usize) {
    for (column, from) in to.states.iter_mut().zip(&from.states) {
        column.merge_row(at, from, row);
    }
}

fn merge_slot(to: &mut StateBatch, at: usize, pages: [&StateBatch; 2], slot: Slot) {
    for row in slot.first..slot.end {
        merge_row(to, at, pages[slot.page], row);
    }
}

/// The windows of one key, in order of their starts; only those that hold a pane.
#[derive(Debug)]
pub(crate) struct Windows<'a> {
    window: Window,
    fields: &'a [StateField],
    key: &'a [u8],
    slots: &'a [Slot],
    /// Start of the next window to look at.
    start: Timestamp,
    /// Windows begin before this.
    to: Timestamp,
    /// Slots of the current window: `low..high`.
    low: usize,
    high: usize,
    shared: Option<Queue>,
}

/// The two stacks. `older` holds suffix merges of slots `low..middle`, the last row being slot `low`'s.
#[derive(Debug)]
struct Queue {
    older: StateBatch,
    middle: usize,
    newer: StateBatch,
}

impl<'a> Windows<'a> {
    /// Windows that begin in `[from, to)`, over the panes `slots` (ascending) of `key`.
    pub(crate) fn new(
        window: Window,
        fields: &'a [StateField],
        key: &'a [u8],
        slots: &'a [Slot],
        from: Timestamp,
        to: Timestamp,
    ) -> Self {
        let first = slots.first().map_or(to, |slot| window.first_start(slot.pane));
        let start = first.max(if from == Timestamp::MIN { from } else { from.ceil(window.slide) });
        let shared = (window.size.0 / window.slide.0 > DIRECT_MERGES_MAX).then(|| Queue {
            older: StateBatch::new(fields),
            middle: 0,
            newer: StateBatch::new(fields),
        });
        Self { window, fields, key, slots, start, to, low: 0, high: 0, shared }
    }

    /// Appends the states of the next window to `out` (its start as the pane), `false` when there is none.
    pub(crate) fn next(&mut self, pages: [&StateBatch; 2], out: &mut StateBatch) -> bool {
        loop {
            while self.low < self.slots.len() && self.slots[self.low].pane < self.start {
                self.low += 1;
            }
            if self.low == self.slots.len() || self.start >= self.to {
                return false;
            }
            let end = self.start.plus(self.window.size);
            let oldest = self.slots[self.low].pane;
            if oldest < end {
                self.fill(end, pages);
                let row = out.push_identity(self.key, self.start);
                self.merge_into(out, row, pages);
                self.start = self.start.plus(self.window.slide);
                return true;
            }
            // Nothing here: on to the first window that holds the next pane.
            self.start = self.window.first_start(oldest);
        }
    }

    /// Takes in the slots of the window that ends at `end`.
    fn fill(&mut self, end: Timestamp, pages: [&StateBatch; 2]) {
        let from = self.high.max(self.low);
        self.high = from;
        while self.high < self.slots.len() && self.slots[self.high].pane < end {
            self.high += 1;
        }
        let Some(queue) = &mut self.shared else { return };
        if self.low >= queue.middle {
            // The older stack is dry: every slot of the window becomes a suffix.
            queue.older = StateBatch::new(self.fields);
            let mut suffix = StateBatch::new(self.fields);
            suffix.push_identity(&[], end);
            for slot in self.slots[self.low..self.high].iter().rev() {
                merge_slot(&mut suffix, 0, pages, *slot);
                queue.older.push_from(&suffix, 0);
            }
            queue.middle = self.high;
            queue.newer = StateBatch::new(self.fields);
            queue.newer.push_identity(&[], end);
        } else {
            for slot in &self.slots[from..self.high] {
                merge_slot(&mut queue.newer, 0, pages, *slot);
            }
        }
    }

    fn merge_into(&self, out: &mut StateBatch, row: usize, pages: [&StateBatch; 2]) {
        match &self.shared {
            None => {
                for slot in &self.slots[self.low..self.high] {
                    merge_slot(out, row, pages, *slot);
                }
            }
            Some(queue) => {
                merge_row(out, row, &queue.older, queue.middle - 1 - self.low);
                if self.high > queue.middle {
                    merge_row(out, row, &queue.newer, 0);
                }
            }
        }
    }
}
