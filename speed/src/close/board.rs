//! What is known of the open windows of one view, in one partition of its changes: pure.
//!
//! Keys are split into the buckets of [`tideline_common::changes`], by their bytes, whatever buckets the records had. A
//! *unit* is a bucket: its panes by shard, its marks, and up to where its windows have closed. A shard's mark moves when
//! all that a change says of the bucket has been read, so that the panes of the unit are whole as of the marks.
//!
//! Panes are absolute and the higher position wins; marks only go up. So neither the order in which changes come, nor
//! how they are cut, nor how often one is read, is seen in what closes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tideline_common::changes::{BUCKETS, Change, Part, bucket};
use tideline_common::plan::{Answers, ViewPlan};
use tideline_common::position::{Offset, Shard};
use tideline_common::state::{CodecError, Reader, StateBatch, StateTable, write_bytes, write_signed, write_varint};
use tideline_common::time::Timestamp;
use tideline_common::value::Value;
use tideline_common::watermark::Watermark;
use tideline_common::window::Window;

use super::closing::{first_needed, first_open, first_start, has_closed, open_starts};
use super::marks::{Ends, Marks, Terms, read_time, write_time};
use super::sheet::Sheet;

/// A window that somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    /// Its size and slide, in µs: the order is for no other purpose than to have one.
    size: i64,
    slide: i64,
    /// Whether the row of the window before is wanted too.
    pub(super) before: bool,
}

impl Kind {
    pub(super) const fn new(window: Window, before: bool) -> Self {
        Self { size: window.size.0, slide: window.slide.0, before }
    }

    pub(super) const fn window(self) -> Window {
        use tideline_common::time::Span;
        Window { size: Span(self.size), slide: Span(self.slide) }
    }
}

/// A key and a window, with its answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// Index of the window among the [kinds](Board::kinds).
    pub(super) kind: usize,
    pub(super) start: Timestamp,
    pub(super) key: Vec<u8>,
    /// One value per column of the view's answer.
    pub(super) values: Vec<Value>,
    /// Those of the window before, where they are wanted and there are some.
    pub(super) previous: Option<Vec<Value>>,
}

/// Windows that have closed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Closed {
    /// By kind, window and key.
    pub(super) rows: Vec<Row>,
    /// Whether there are more that can close.
    pub(super) more: bool,
}

/// What taking in a change has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Panes that changed.
    pub(super) changed: u64,
    /// Of these, panes of windows that have closed, wholly or in part: what changed in them is not in what went out.
    pub(super) late: u64,
}

/// See the module.
#[derive(Debug, Default)]
struct Unit {
    /// Whether a record of this partition spoke of it: no other partition has it then.
    heard: bool,
    marks: Marks,
    panes: BTreeMap<Timestamp, BTreeMap<Shard, Sheet>>,
    /// Windows that start before this have closed, by kind.
    through: Vec<Option<Timestamp>>,
    /// Panes before this are not kept any more.
    kept_from: Option<Timestamp>,
    /// Groups that changed since the running windows were looked at.
    changed: BTreeSet<(Timestamp, Vec<u8>)>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Board {
    view: Arc<ViewPlan>,
    kinds: Vec<Kind>,
    terms: BTreeMap<String, Terms>,
    units: Vec<Unit>,
    /// Whether the groups that change are to be told of.
    follows: bool,
    /// The first change that was read, of those that are cut into buckets: with the second all of this partition's
    /// buckets have been heard of.
    first: Option<(Shard, Offset)>,
    /// Whether a second change was read.
    all_heard: bool,
    /// What [`take_complete`](Self::take_complete) has told, by kind. It is not kept, and told again.
    complete: Vec<Option<Timestamp>>,
}

impl Board {
    /// Nothing is known yet. `follows`: see [`take_running`](Self::take_running).
    pub(super) fn new(view: Arc<ViewPlan>, kinds: Vec<Kind>, terms: BTreeMap<String, Terms>, follows: bool) -> Self {
        let unit = || Unit { through: vec![None; kinds.len()], ..Unit::default() };
        let units = (0..BUCKETS).map(|_| unit()).collect();
        let complete = vec![None; kinds.len()];
        Self { view, kinds, terms, units, follows, first: None, all_heard: false, complete }
    }

    pub(super) fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// Takes in a record of changes.
    pub(super) fn take(&mut self, change: &Change, part: Part) -> Taken {
        let taken = self.take_panes(&change.shard, change.position, &change.panes);
        let Some(of) = part.bucket else { return taken };
        if of.buckets == 1 {
            for unit in &mut self.units {
                unit.heard = true;
            }
        } else if of.buckets == BUCKETS {
            if let Some(unit) = self.units.get_mut(usize::from(of.bucket)) {
                unit.heard = true;
            }
            self.tell_foreign(&change.shard, change.position);
        } else {
            // Nobody cuts changes like this: nothing can be said of what has come.
            return taken;
        }
        if of.last {
            let all = of.buckets == 1;
            for (at, unit) in self.units.iter_mut().enumerate() {
                if all || at == usize::from(of.bucket) {
                    unit.marks.note(&change.shard, change.position, change.watermark);
                }
            }
        }
        taken
    }

    /// Forgets what other partitions have, once that is known.
    fn tell_foreign(&mut self, shard: &Shard, position: Offset) {
        match &self.first {
            None => self.first = Some((shard.clone(), position)),
            Some((first, at)) if first == shard && *at == position => {}
            Some(_) => {
                self.all_heard = true;
                for unit in self.units.iter_mut().filter(|unit| !unit.heard) {
                    unit.panes.clear();
                    unit.changed.clear();
                }
            }
        }
    }

    /// Takes in what the views hold of a shard: at least all before `position`.
    pub(super) fn load(&mut self, shard: &Shard, position: Offset, watermark: Watermark, panes: &StateBatch) -> Taken {
        let taken = self.take_panes(shard, position, panes);
        for unit in &mut self.units {
            unit.marks.note(shard, position, watermark);
        }
        taken
    }

    /// Takes in what the views hold of a shard of which it is not known up to where: anything that is told of it is newer.
    pub(super) fn load_before(&mut self, shard: &Shard, panes: &StateBatch) {
        self.take_panes(shard, 0, panes);
    }

    fn take_panes(&mut self, shard: &Shard, position: Offset, panes: &StateBatch) -> Taken {
        let mut taken = Taken::default();
        for row in 0..panes.len() {
            let (key, pane) = (panes.keys.get(row), panes.panes[row]);
            let unit = &mut self.units[usize::from(bucket(key, BUCKETS))];
            if unit.kept_from.is_some_and(|kept| pane < kept) {
                // All windows that it is in have closed. It may also just have been read again.
                continue;
            }
            let sheets = unit.panes.entry(pane).or_default();
            if !sheets.contains_key(shard) {
                sheets.insert(shard.clone(), Sheet::new(&self.view.fields));
            }
            let Some(sheet) = sheets.get_mut(shard) else { continue };
            let mut closed = self.kinds.iter().zip(&unit.through);
            let closed = closed.any(|(kind, through)| has_closed(kind.window(), pane, *through));
            // A shard that was started again tells what it has told before.
            let before = if closed { sheet.states(key) } else { None };
            if !sheet.set(pane, position, panes, row) {
                continue;
            }
            taken.changed += 1;
            taken.late += u64::from(closed && before != sheet.states(key));
            if self.follows {
                unit.changed.insert((pane, key.to_vec()));
            }
        }
        taken
    }

    /// Windows that ended before `at` are taken for closed: nothing was ever said of them. To be called before anything
    /// has been taken in.
    pub(super) fn begin_at(&mut self, at: Timestamp) {
        for unit in &mut self.units {
            for (kind, through) in self.kinds.iter().zip(&mut unit.through) {
                *through = Some(first_open(kind.window(), self.view.window, at));
            }
        }
        self.forget();
    }

    /// The first pane that may still be needed; `None`: all.
    pub(super) fn needed_from(&self) -> Option<Timestamp> {
        let first = self.units.iter().map(|unit| unit.kept_from);
        first.min().flatten()
    }

    /// Whether something may close, if no shard were behind.
    pub(super) fn may_close(&self, now: Timestamp) -> bool {
        let none = Ends::new();
        self.units.iter().any(|unit| {
            unit.marks.watermark(&self.terms, &none, now).is_some_and(|watermark| {
                self.kinds.iter().enumerate().any(|(at, kind)| {
                    let open = first_open(kind.window(), self.view.window, watermark);
                    unit.through[at].is_none_or(|through| through < open)
                })
            })
        })
    }

    /// The watermark by which the windows of all keys close.
    pub(super) fn watermark(&self, ends: &Ends, now: Timestamp) -> Option<Timestamp> {
        let heard = self.units.iter().filter(|unit| unit.heard);
        heard.map(|unit| unit.marks.watermark(&self.terms, ends, now)).min().flatten()
    }

    /// Windows that start before this have closed for all keys.
    pub(super) fn through(&self) -> Option<Timestamp> {
        let heard = self.units.iter().filter(|unit| unit.heard);
        heard.flat_map(|unit| unit.through.iter().copied()).min().flatten()
    }

    /// Windows of a kind that start before this have closed for all keys of this partition; `None` while it is not known
    /// which keys it has.
    fn complete_through(&self, kind: usize) -> Option<Timestamp> {
        if !self.all_heard && self.units.iter().any(|unit| !unit.heard) {
            return None;
        }
        let heard = self.units.iter().filter(|unit| unit.heard);
        heard.map(|unit| unit.through[kind]).min().flatten()
    }

    /// As `complete_through`, by kind, where it is later than what this has told before. That may be so although
    /// nothing has closed since: windows close by what was read before a restart, and which keys there are turns out after it.
    pub(super) fn take_complete(&mut self) -> Vec<Option<Timestamp>> {
        let known: Vec<Option<Timestamp>> = (0..self.kinds.len()).map(|kind| self.complete_through(kind)).collect();
        let later = self.complete.iter().zip(&known).map(|(told, known)| known.filter(|_| known > told)).collect();
        self.complete = known;
        later
    }

    /// Closes windows that can change no more: those of `most` rows, or few more.
    pub(super) fn close(&mut self, ends: &Ends, now: Timestamp, most: usize) -> Closed {
        let mut closed = Closed::default();
        let watermarks: Vec<Option<Timestamp>> = self
            .units
            .iter()
            .map(|unit| if unit.heard { unit.marks.watermark(&self.terms, ends, now) } else { None })
            .collect();
        for (at, kind) in self.kinds.clone().into_iter().enumerate() {
            self.close_kind(at, kind, &watermarks, most, &mut closed);
        }
        self.forget();
        closed
    }

    fn close_kind(
        &mut self,
        at: usize,
        kind: Kind,
        watermarks: &[Option<Timestamp>],
        most: usize,
        closed: &mut Closed,
    ) {
        let window = kind.window();
        let open: Vec<Option<Timestamp>> = watermarks
            .iter()
            .map(|watermark| watermark.map(|watermark| first_open(window, self.view.window, watermark)))
            .collect();
        loop {
            let next = |(unit, open): (&Unit, &Option<Timestamp>)| {
                let start = unit.first_start(window, unit.through[at])?;
                open.is_some_and(|open| start < open).then_some(start)
            };
            let Some(start) = self.units.iter().zip(&open).filter_map(next).min() else { break };
            if closed.rows.len() >= most {
                closed.more = true;
                return;
            }
            let units: Vec<usize> =
                (0..self.units.len()).filter(|unit| next((&self.units[*unit], &open[*unit])) == Some(start)).collect();
            let earlier = start.minus(window.slide);
            for (key, values) in self.rows(&units, window, start) {
                let previous = kind.before.then(|| self.whole_row(self.unit_of(&key), window, earlier, &key)).flatten();
                closed.rows.push(Row { kind: at, start, key, values, previous });
            }
            for unit in units {
                self.units[unit].through[at] = Some(start.plus(window.slide));
            }
        }
        for (unit, open) in self.units.iter_mut().zip(open) {
            // A watermark that goes back, because an idle shard has awoken, opens nothing.
            unit.through[at] = unit.through[at].max(open);
        }
    }

    fn unit_of(&self, key: &[u8]) -> &Unit {
        &self.units[usize::from(bucket(key, BUCKETS))]
    }

    /// The rows of the windows that start at `start`, by key.
    fn rows(&self, units: &[usize], window: Window, start: Timestamp) -> BTreeMap<Vec<u8>, Vec<Value>> {
        let mut table = StateTable::new(&self.view.fields);
        for unit in units {
            for sheet in self.units[*unit].panes.range(start..start.plus(window.size)).flat_map(|(_, s)| s.values()) {
                sheet.merge_all(start, &mut table);
            }
        }
        let answers = Answers::new(&self.view);
        let states = table.groups();
        (0..states.len()).map(|row| (states.keys.get(row).to_vec(), answers.row(states, row))).collect()
    }

    /// The running windows that have changed since this was last called, as they are now: for those kinds that `wanted`
    /// names. `follows` must be set.
    pub(super) fn take_running(&mut self, wanted: &[bool]) -> Vec<Row> {
        let mut rows = Vec::new();
        for at in 0..self.units.len() {
            let changed = std::mem::take(&mut self.units[at].changed);
            let unit = &self.units[at];
            if !unit.heard {
                continue;
            }
            for (kind, _) in wanted.iter().enumerate().filter(|(_, wanted)| **wanted) {
                let window = self.kinds[kind].window();
                let starts: BTreeSet<(Timestamp, &Vec<u8>)> = changed
                    .iter()
                    .flat_map(|(pane, key)| {
                        open_starts(window, *pane, unit.through[kind]).map(move |start| (start, key))
                    })
                    .collect();
                for (start, key) in starts {
                    let Some(values) = self.row(unit, window, start, key) else { continue };
                    let before = self.kinds[kind].before;
                    let earlier = start.minus(window.slide);
                    let previous = before.then(|| self.whole_row(unit, window, earlier, key)).flatten();
                    rows.push(Row { kind, start, key: key.clone(), values, previous });
                }
            }
        }
        rows.sort_by(|a, b| (a.kind, a.start, &a.key).cmp(&(b.kind, b.start, &b.key)));
        rows
    }

    /// Whether no running window has changed since they were looked at.
    pub(super) fn has_no_changed(&self) -> bool {
        self.units.iter().all(|unit| unit.changed.is_empty())
    }

    /// Takes what has changed in running windows for looked at.
    pub(super) fn forget_changed(&mut self) {
        for unit in &mut self.units {
            unit.changed.clear();
        }
    }

    /// As [`row`](Self::row), and `None` where some of the window's panes are not kept: when somebody has begun to ask for
    /// windows before others only now.
    fn whole_row(&self, unit: &Unit, window: Window, start: Timestamp, key: &[u8]) -> Option<Vec<Value>> {
        if unit.kept_from.is_some_and(|kept| start < kept) { None } else { self.row(unit, window, start, key) }
    }

    /// The row of one key; `None` when nothing of it is in the window.
    fn row(&self, unit: &Unit, window: Window, start: Timestamp, key: &[u8]) -> Option<Vec<Value>> {
        let mut table = StateTable::new(&self.view.fields);
        for sheet in unit.panes.range(start..start.plus(window.size)).flat_map(|(_, sheets)| sheets.values()) {
            sheet.merge_one(key, start, &mut table);
        }
        (!table.is_empty()).then(|| self.view.answer(table.groups(), 0))
    }

    /// Drops the panes that no window needs any more.
    fn forget(&mut self) {
        for unit in &mut self.units {
            let needed = self.kinds.iter().zip(&unit.through);
            let needed =
                needed.map(|(kind, through)| through.map(|through| first_needed(kind.window(), through, kind.before)));
            // Where a kind has closed nothing yet, everything is needed.
            unit.kept_from = unit.kept_from.max(needed.min().flatten());
            if let Some(kept) = unit.kept_from {
                unit.panes = unit.panes.split_off(&kept);
                unit.changed = unit.changed.split_off(&(kept, Vec::new()));
            }
        }
    }

    /// Memory, in bytes, estimated.
    pub(super) fn bytes(&self) -> usize {
        let sheets = self.units.iter().flat_map(|unit| unit.panes.values()).flat_map(BTreeMap::values);
        let changed: usize = self.units.iter().flat_map(|unit| &unit.changed).map(|(_, key)| key.len() + 64).sum();
        sheets.map(Sheet::bytes).sum::<usize>() + changed
    }

    /// Appends everything: see [`read`](Self::read). What changed in running windows must have been taken.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write_varint(self.kinds.len() as u64, out);
        for kind in &self.kinds {
            write_signed(kind.size, out);
            write_signed(kind.slide, out);
            out.push(u8::from(kind.before));
        }
        // 0: nothing was read of those that are cut; 1: one change; 2: more than one.
        out.push(u8::from(self.first.is_some()) + u8::from(self.all_heard));
        if let Some((shard, position)) = &self.first {
            write_bytes(shard.source.as_bytes(), out);
            write_varint(u64::from(shard.partition), out);
            write_varint(*position, out);
        }
        for unit in &self.units {
            out.push(u8::from(unit.heard));
            for through in &unit.through {
                write_time(*through, out);
            }
            write_time(unit.kept_from, out);
        }
        // From here on it is of one version of the view.
        for unit in &self.units {
            unit.marks.write(out);
            write_varint(unit.panes.len() as u64, out);
            for (pane, sheets) in &unit.panes {
                write_signed(pane.0, out);
                write_varint(sheets.len() as u64, out);
                for (shard, sheet) in sheets {
                    write_bytes(shard.source.as_bytes(), out);
                    write_varint(u64::from(shard.partition), out);
                    sheet.write(out);
                }
            }
        }
    }

    /// Takes over what [`write`](Self::write) wrote, into a board of which nothing is known yet. A kind of window that
    /// it did not have begins with the first window whose panes are all there.
    ///
    /// # Errors
    /// Bytes that are not a board of this view.
    pub(super) fn read(&mut self, reader: &mut Reader<'_>) -> Result<(), CodecError> {
        self.read_closed(reader)?;
        for unit in &mut self.units {
            unit.marks = Marks::read(reader)?;
            for _ in 0..reader.varint()? {
                let pane = Timestamp(reader.signed()?);
                let mut sheets = BTreeMap::new();
                for _ in 0..reader.varint()? {
                    let shard = read_shard(reader)?;
                    sheets.insert(shard, Sheet::read(&self.view.fields, pane, reader)?);
                }
                unit.panes.insert(pane, sheets);
            }
        }
        self.forget();
        Ok(())
    }

    /// Takes over only what has closed: all that the states of another version of the view are good for.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(super) fn read_closed(&mut self, reader: &mut Reader<'_>) -> Result<(), CodecError> {
        let mut kinds = Vec::new();
        for _ in 0..reader.varint()? {
            kinds.push((reader.signed()?, reader.signed()?, reader.byte()? != 0));
        }
        let heard = reader.byte()?;
        self.all_heard = heard > 1;
        if heard > 0 {
            let shard = read_shard(reader)?;
            self.first = Some((shard, reader.varint()?));
        }
        for unit in &mut self.units {
            unit.heard = reader.byte()? != 0;
            let mut closed = Vec::new();
            for _ in &kinds {
                closed.push(read_time(reader)?);
            }
            unit.kept_from = read_time(reader)?;
            for (kind, through) in self.kinds.iter().zip(&mut unit.through) {
                let known = kinds.iter().position(|(size, slide, _)| (*size, *slide) == (kind.size, kind.slide));
                *through = match known {
                    Some(at) => closed[at],
                    None => unit.kept_from.map(|kept| kept.ceil(kind.window().slide)),
                };
            }
        }
        Ok(())
    }
}

impl Unit {
    /// The start of the first window that has not closed and holds a pane.
    fn first_start(&self, window: Window, through: Option<Timestamp>) -> Option<Timestamp> {
        let mut from = self.panes.first_key_value().map(|(pane, _)| *pane)?;
        loop {
            let (pane, _) = self.panes.range(from..).next()?;
            let start = first_start(window, *pane, through);
            if start <= *pane {
                return Some(start);
            }
            // All windows that hold this pane have closed.
            from = start;
        }
    }
}

fn read_shard(reader: &mut Reader<'_>) -> Result<Shard, CodecError> {
    let source = reader.text()?.to_owned();
    let partition = u32::try_from(reader.varint()?).map_err(|_| reader.error("a partition"))?;
    Ok(Shard { source, partition })
}
