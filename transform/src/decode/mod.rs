//! Records to typed columns: each record is staged whole, judged, and only then added, so that a bad one leaves
//! nothing behind and no batch is ever tried twice.

mod columns;
mod json;
mod time;

use std::sync::Arc;

use ahash::AHashMap;
use polars::prelude::Column;
use tideline_common::plan::SourcePlan;
use tideline_common::position::Offset;
use tideline_common::record::Record;
use tideline_common::time::{Span, Timestamp};
use tideline_common::value::Type;

use self::columns::{Cell, ColumnBuilder, Misfit, cell, found};
use self::json::{Members, Scratch, Slot, read_object};
use self::time::{RawTime, TimeReader};
use crate::reason::{Reason, Rejected};

/// Columns up to this many are looked up one after the other.
const LINEAR: usize = 12;
/// Most characters of a value that a reason quotes.
const QUOTED_MAX: usize = 64;

/// Decodes the records of one source.
#[derive(Debug)]
pub(crate) struct Decoder {
    names: Names,
    types: Vec<Type>,
    required: Vec<usize>,
    time: usize,
    reader: TimeReader,
    max_ahead: Option<Span>,
    /// How many of the members are columns: all, but for an event time that is no column.
    columns: usize,
}

/// Columns of accepted records, and the rejected ones.
pub(crate) struct Columns {
    pub(crate) filled: Vec<Column>,
    pub(crate) event_times: Vec<i64>,
    pub(crate) offsets: Vec<Offset>,
    pub(crate) appended: Vec<Timestamp>,
    /// Index of each accepted record in the batch.
    pub(crate) indexes: Vec<u32>,
    pub(crate) rejected: Vec<Rejected>,
}

#[derive(Debug)]
struct Names {
    names: Vec<Arc<str>>,
    index: AHashMap<Arc<str>, usize>,
}

impl Members for Names {
    #[inline]
    fn find(&self, name: &str, nth: usize) -> Option<usize> {
        // Producers write members in one order, usually that of the definition.
        if self.names.get(nth).is_some_and(|known| **known == *name) {
            return Some(nth);
        }
        if self.names.len() <= LINEAR {
            return self.names.iter().position(|known| **known == *name);
        }
        self.index.get(name).copied()
    }
}

impl Decoder {
    pub(crate) fn new(plan: &SourcePlan) -> Self {
        let mut names: Vec<Arc<str>> = plan.columns.iter().map(|field| field.name.as_str().into()).collect();
        let mut types: Vec<Type> = plan.columns.iter().map(|field| field.ty).collect();
        let columns = names.len();
        let time = names.iter().position(|name| **name == *plan.event_time.column).unwrap_or_else(|| {
            names.push(plan.event_time.column.as_str().into());
            types.push(Type::Timestamp);
            columns
        });
        let required = (0..columns).filter(|at| plan.required.iter().any(|name| **name == *names[*at])).collect();
        let index = names.iter().cloned().enumerate().map(|(at, name)| (name, at)).collect();
        Self {
            names: Names { names, index },
            types,
            required,
            time,
            reader: TimeReader::new(&plan.event_time.format),
            max_ahead: plan.max_ahead,
            columns,
        }
    }

    pub(crate) fn decode(&self, records: &[Record]) -> Columns {
        let rows = records.len();
        let mut out = Columns {
            filled: Vec::with_capacity(self.columns),
            event_times: Vec::with_capacity(rows),
            offsets: Vec::with_capacity(rows),
            appended: Vec::with_capacity(rows),
            indexes: Vec::with_capacity(rows),
            rejected: Vec::new(),
        };
        let mut builders = self.builders(rows);
        let mut scratch = Scratch::default();
        let mut slots = vec![Slot::default(); self.types.len()];
        let mut cells = vec![Cell::Null; self.columns];
        for (index, record) in records.iter().enumerate() {
            match self.record(record, &mut slots, &mut cells, &mut scratch) {
                Ok(event_time) => {
                    for ((builder, cell), slot) in builders.iter_mut().zip(&cells).zip(&slots) {
                        builder.push(*cell, *slot, &scratch);
                    }
                    out.event_times.push(event_time);
                    out.offsets.push(record.offset);
                    out.appended.push(record.appended);
                    out.indexes.push(index as u32);
                }
                Err(reason) => out.rejected.push(Rejected { index, offset: record.offset, reason }),
            }
        }
        out.filled = self.finish(builders);
        out
    }

    /// The columns of payloads, whatever their times are, and whether each could be read; one that could not
    /// makes a row of nulls.
    pub(crate) fn columns<'a>(&self, payloads: impl ExactSizeIterator<Item = &'a [u8]>) -> (Vec<Column>, Vec<bool>) {
        let mut builders = self.builders(payloads.len());
        let mut scratch = Scratch::default();
        let mut slots = vec![Slot::default(); self.types.len()];
        let mut readable = Vec::with_capacity(payloads.len());
        for payload in payloads {
            let read = self.stage(payload, &mut slots, &mut scratch).is_ok();
            readable.push(read);
            for (at, builder) in builders.iter_mut().enumerate() {
                // A value of a wrong type is as good as none here.
                let cell = if read { self.cell(at, slots[at], &scratch, None) } else { Ok(Cell::Null) };
                builder.push(cell.unwrap_or(Cell::Null), slots[at], &scratch);
            }
        }
        (self.finish(builders), readable)
    }

    fn builders(&self, rows: usize) -> Vec<ColumnBuilder> {
        self.types[..self.columns].iter().map(|ty| ColumnBuilder::new(*ty, rows)).collect()
    }

    fn finish(&self, builders: Vec<ColumnBuilder>) -> Vec<Column> {
        let names = self.names.names.iter().map(|name| name.as_ref().into());
        builders.into_iter().zip(names).map(|(builder, name)| builder.finish(name)).collect()
    }

    fn stage<'a>(&self, payload: &'a [u8], slots: &mut [Slot<'a>], scratch: &mut Scratch<'a>) -> Result<(), Reason> {
        slots.fill(Slot::Absent);
        scratch.clear();
        let text = std::str::from_utf8(payload).map_err(|error| Reason::Utf8 { at: error.valid_up_to() })?;
        read_object(text, &self.names, slots, scratch)
    }

    /// Stages and judges one record; its event time.
    fn record<'a>(
        &self,
        record: &'a Record,
        slots: &mut [Slot<'a>],
        cells: &mut [Cell],
        scratch: &mut Scratch<'a>,
    ) -> Result<i64, Reason> {
        self.stage(&record.payload, slots, scratch)?;
        let event_time = self.event_time(slots[self.time], scratch)?;
        for (at, to) in cells.iter_mut().enumerate() {
            *to = self.cell(at, slots[at], scratch, Some(event_time)).map_err(|misfit| {
                let (column, expected) = (self.names.names[at].clone(), self.types[at]);
                match misfit {
                    Misfit::Type(found) => Reason::Type { column, expected, found },
                    Misfit::Range => Reason::Range { column, expected },
                }
            })?;
        }
        if let Some(at) = self.required.iter().find(|at| cells[**at] == Cell::Null) {
            return Err(Reason::Missing { column: self.names.names[*at].clone() });
        }
        if let Some(max) = self.max_ahead {
            let event_time = Timestamp(event_time);
            let by = event_time.since(record.appended);
            if by > max {
                return Err(Reason::AheadOfTime { by, event_time });
            }
        }
        Ok(event_time)
    }

    fn cell<'a>(
        &self,
        at: usize,
        slot: Slot<'a>,
        scratch: &Scratch<'a>,
        event_time: Option<i64>,
    ) -> Result<Cell, Misfit> {
        // A timestamp column that holds the event time is read by the event time's format.
        if at == self.time && self.types[at] == Type::Timestamp {
            let time = event_time.or_else(|| self.event_time(slot, scratch).ok());
            return Ok(time.map_or(Cell::Null, Cell::Int));
        }
        cell(slot, self.types[at], scratch)
    }

    fn event_time<'a>(&self, slot: Slot<'a>, scratch: &Scratch<'a>) -> Result<i64, Reason> {
        let column = || self.names.names[self.time].clone();
        let raw = match slot {
            Slot::Absent | Slot::Null => return Err(Reason::MissingTime { column: column() }),
            Slot::Int(i) => Some(RawTime::Int(i)),
            Slot::Float(x) => Some(RawTime::Float(x)),
            slot => scratch.text_of(slot).map(RawTime::Text),
        };
        raw.and_then(|raw| self.reader.read(raw)).ok_or_else(|| {
            let text = match raw {
                Some(RawTime::Text(text)) => text.chars().take(QUOTED_MAX).collect(),
                Some(RawTime::Int(i)) => i.to_string(),
                Some(RawTime::Float(x)) => x.to_string(),
                None => found(slot).to_owned(),
            };
            Reason::BadTime { column: column(), found: text }
        })
    }
}
