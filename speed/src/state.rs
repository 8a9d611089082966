//! What a shard has computed: panes, late counts, remembered keys, watermark and counters, as of one position.
//!
//! Pure: records in, changed rows out. Everything in it is a function of the records before `position` (and of
//! the plan), whatever the batches they came in; this is what makes a replay harmless.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tideline_common::ports::{Flush, LookupRows, LookupSchema, PaneFlush, Progress};
use tideline_common::position::{Offset, Shard};
use tideline_common::record::Record;
use tideline_common::state::{StateBatch, StateTable};
use tideline_common::time::Timestamp;
use tideline_common::watermark::{Watermark, is_late};
use tideline_transform::JsonRows;
use tideline_transform::frame::lookup_rows;

use crate::SpeedError;
use crate::dead_letter::Rejection;
use crate::dedupe::DedupeSet;
use crate::late::LateTable;
use crate::program::Program;

/// Panes and late counts of one view.
#[derive(Debug)]
pub(crate) struct ViewState {
    pub(crate) panes: StateTable,
    pub(crate) late: LateTable,
}

/// Numbers since the first record of the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Records taken in.
    pub(crate) records: u64,
    /// Of these, dead letters.
    pub(crate) rejected: u64,
    /// Of these, duplicates.
    pub(crate) duplicates: u64,
    /// Rows left to batch, counted once per view that they were late for.
    pub(crate) late: u64,
}

/// What a shard has computed of the records before `position`.
#[derive(Debug)]
pub(crate) struct ShardState {
    pub(crate) program: Arc<Program>,
    pub(crate) shard: Shard,
    /// Everything before this offset is in here.
    pub(crate) position: Offset,
    /// Where the shard began: the first file of its Bronze chain.
    pub(crate) start: Offset,
    /// First offset of the Bronze file that ends at the position of the checkpoint that this comes from, if known.
    pub(crate) tail: Option<Offset>,
    pub(crate) watermark: Watermark,
    pub(crate) counters: Counters,
    /// One per view of the program.
    pub(crate) views: Vec<ViewState>,
    pub(crate) dedupe: DedupeSet,
    rows: Vec<(LookupSchema, LookupRows)>,
    pending_rows: usize,
    /// Position of the last flush that was taken.
    flushed: Option<Offset>,
    measured: Measure,
}

/// What taking in records gave.
#[derive(Debug)]
pub(crate) struct Applied {
    /// Those that cannot be read.
    pub(crate) rejections: Vec<Rejection>,
    /// Rows for the topics of outputs, if there are any, one per output of the program.
    pub(crate) outputs: Vec<Option<JsonRows>>,
    /// Time spent on making rows and states of them.
    pub(crate) transform: Duration,
    /// Time spent on merging the states.
    pub(crate) merge: Duration,
}

/// When memory was measured last, as it takes a pass over all groups.
#[derive(Debug, Default)]
struct Measure {
    bytes: usize,
    groups: usize,
    records: u64,
}

impl ShardState {
    /// A shard that begins at `start`.
    pub(crate) fn new(program: Arc<Program>, shard: Shard, start: Offset, max_late_groups: usize) -> Self {
        let views = program
            .views
            .iter()
            .map(|view| ViewState {
                panes: StateTable::new(&view.schema.fields),
                late: LateTable::new(max_late_groups),
            })
            .collect();
        Self {
            dedupe: DedupeSet::new(program.horizon.clone()),
            program,
            shard,
            position: start,
            start,
            tail: None,
            watermark: Watermark::default(),
            counters: Counters::default(),
            views,
            rows: Vec::new(),
            pending_rows: 0,
            flushed: None,
            measured: Measure::default(),
        }
    }

    /// Takes in records, in offset order, after which the position is `next`. Rows of records before `told` are in the topics
    /// of outputs already.
    ///
    /// # Errors
    /// When an expression of the plan cannot be evaluated; the state is then not to be used any more.
    pub(crate) fn apply(&mut self, records: &[Record], next: Offset, told: Offset) -> Result<Applied, SpeedError> {
        let (began, mut merge) = (Instant::now(), Duration::ZERO);
        let program = Arc::clone(&self.program);
        let decoded = program.transform.decode(self.shard.partition, records)?;
        self.counters.records += records.len() as u64;
        self.counters.rejected += decoded.rejected.len() as u64;
        let mut rows = decoded.rows;

        // The watermark of a row is that of the records before it, not of its batch.
        let mut highest = Vec::with_capacity(rows.len());
        for (time, appended) in rows.event_times().iter().zip(rows.appended()) {
            highest.push(self.highest());
            self.watermark.observe(Timestamp(*time), *appended);
        }
        if let Some(last) = records.last() {
            self.watermark.last_appended =
                Some(self.watermark.last_appended.map_or(last.appended, |at| at.max(last.appended)));
        }
        if let Some(keys) = rows.dedupe_keys() {
            let keep: Vec<bool> = keys
                .iter()
                .zip(rows.event_times())
                .zip(&highest)
                .map(|((key, time), highest)| {
                    key.is_none_or(|key| !self.dedupe.is_duplicate(key, Timestamp(*time), *highest))
                })
                .collect();
            self.counters.duplicates += keep.iter().filter(|keep| !**keep).count() as u64;
            rows.set_highest(highest)?;
            rows.retain(&keep)?;
        } else {
            rows.set_highest(highest)?;
        }

        self.position = next;
        let mut outputs: Vec<Option<JsonRows>> = program.outputs.iter().map(|_| None).collect();
        if !rows.is_empty() {
            let mut tables = program.transform.tables_over(&rows);
            for table in &program.tables {
                let frame = tables.rows(&table.name)?;
                if frame.height() == 0 {
                    continue;
                }
                for at in &table.views {
                    let states = program.views[*at].transform.speed_states(&table.name, &frame)?;
                    let (view, merging) = (&mut self.views[*at], Instant::now());
                    view.panes.merge(&states.on_time);
                    self.counters.late += view.late.merge(&states.late, next);
                    merge += merging.elapsed();
                }
                for at in &table.lookups {
                    let schema = &program.lookups[*at];
                    let rows = lookup_rows(schema, &frame)?;
                    if !rows.is_empty() {
                        self.pending_rows += rows.len();
                        self.rows.push((schema.clone(), rows));
                    }
                }
                // JSON is made of them where they are appended.
                for at in table.outputs.iter().filter(|_| next > told) {
                    outputs[*at] = Some(program.outputs[*at].json.over(&frame, told)?);
                }
            }
        }
        let reject = |rejected: &tideline_transform::Rejected| {
            records.get(rejected.index).map(|record| Rejection {
                record: record.clone(),
                kind: rejected.reason.kind(),
                reason: rejected.reason.to_string(),
            })
        };
        let rejections = decoded.rejected.iter().filter_map(reject).collect();
        Ok(Applied { rejections, outputs, transform: began.elapsed().saturating_sub(merge), merge })
    }

    /// Highest event time so far, `i64::MIN` before the first row.
    fn highest(&self) -> i64 {
        self.watermark.highest.map_or(i64::MIN, Timestamp::micros)
    }

    /// Rows of lookups that wait for a flush.
    pub(crate) const fn pending_rows(&self) -> usize {
        self.pending_rows
    }

    /// Whether anything has come since the last flush.
    pub(crate) fn is_dirty(&self) -> bool {
        self.flushed.map_or(self.position > self.start, |flushed| self.position > flushed)
    }

    /// Everything that changed since this was last called, and forgets the panes that can change no more.
    pub(crate) fn take_flush(&mut self, now: Timestamp) -> Flush {
        let highest = Timestamp(self.highest());
        let lateness = self.program.source.lateness;
        let mut panes = Vec::new();
        for (program, view) in self.program.views.iter().zip(&mut self.views) {
            let (changed, late) = (view.panes.take_changed(), view.late.take_changed());
            if !changed.is_empty() || !late.is_empty() {
                panes.push(PaneFlush { view: program.schema.clone(), panes: changed, late });
            }
            // All times of a pane have the same windows: the pane's start speaks for them.
            view.panes.retain(|pane| !is_late(program.window, pane, highest, lateness));
        }
        self.dedupe.sweep(highest.0);
        self.pending_rows = 0;
        self.flushed = Some(self.position);
        Flush { shard: self.shard.clone(), panes, rows: std::mem::take(&mut self.rows), progress: self.progress(now) }
    }

    /// Progress as of now.
    pub(crate) fn progress(&self, now: Timestamp) -> Progress {
        Progress {
            position: self.position,
            highest: self.watermark.highest,
            last_appended: self.watermark.last_appended,
            written_at: now,
            records: self.counters.records,
            rejected: self.counters.rejected,
            duplicates: self.counters.duplicates,
            late: self.counters.late,
            version: self.program.fingerprint.clone(),
        }
    }

    /// Takes over panes of a checkpoint, as unchanged.
    pub(crate) fn restore_panes(&mut self, view: usize, panes: &StateBatch) {
        self.views[view].panes.merge(panes);
        self.views[view].panes.take_changed();
    }

    /// Says that everything in here comes from a checkpoint: it has been flushed.
    pub(crate) const fn restored(&mut self) {
        self.flushed = Some(self.position);
    }

    /// Memory of the state in bytes, estimated; measured anew when it may have changed by more than a few percent.
    pub(crate) fn bytes(&mut self) -> usize {
        let groups = self.dedupe.len() + self.views.iter().map(|v| v.panes.len() + v.late.len()).sum::<usize>();
        let records = self.counters.records;
        let grown = groups.abs_diff(self.measured.groups) * 32 > self.measured.groups;
        // Sketches grow without a new group, but no faster than records come.
        if grown || records.saturating_sub(self.measured.records) * 4 > groups as u64 {
            let bytes = self.dedupe.bytes()
                + self.views.iter().map(|view| view.panes.bytes() + view.late.bytes()).sum::<usize>();
            self.measured = Measure { bytes, groups, records };
        }
        self.measured.bytes
    }

    /// Measures memory without the estimate's patience, after dropping all that may be forgotten.
    pub(crate) fn compact(&mut self) -> usize {
        self.dedupe.sweep_now(self.highest());
        // Everything counts as new, so that the next call measures.
        self.measured = Measure::default();
        self.bytes()
    }
}
