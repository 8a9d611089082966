//! Typed rows of a source.

use polars::prelude::{BooleanChunked, Column, DataFrame, Int64Chunked, IntoColumn, NewChunkedArray, TimeUnit};
use tideline_common::plan::EVENT_TIME;
use tideline_common::position::{Offset, Partition, sequence};
use tideline_common::time::Timestamp;

use crate::reason::Rejected;
use crate::{HIGHEST, SEQUENCE, TransformError};

/// What became of a batch of records: each is either a row or rejected.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The rows, in the order of the records.
    pub rows: SourceRows,
    /// The rejected records, in the order of the records.
    pub rejected: Vec<Rejected>,
}

/// Typed rows of one partition of a source, in offset order.
#[derive(Clone, Debug)]
pub struct SourceRows {
    pub(crate) partition: Partition,
    pub(crate) columns: Vec<Column>,
    pub(crate) event_times: Vec<i64>,
    pub(crate) offsets: Vec<Offset>,
    pub(crate) appended: Vec<Timestamp>,
    pub(crate) dedupe: Option<Vec<Option<u128>>>,
    pub(crate) highest: Option<Vec<i64>>,
}

impl SourceRows {
    /// Number of rows.
    pub const fn len(&self) -> usize {
        self.event_times.len()
    }

    /// Whether there are no rows.
    pub const fn is_empty(&self) -> bool {
        self.event_times.is_empty()
    }

    /// The partition that they come from.
    pub const fn partition(&self) -> Partition {
        self.partition
    }

    /// Event times in microseconds.
    pub fn event_times(&self) -> &[i64] {
        &self.event_times
    }

    /// Offsets of the records.
    pub fn offsets(&self) -> &[Offset] {
        &self.offsets
    }

    /// When the log took the records.
    pub fn appended(&self) -> &[Timestamp] {
        &self.appended
    }

    /// xxh3-128 of the text of the source's dedupe expression; `None` for a row whose expression is null: it is
    /// never a duplicate. `None` altogether when the source declares no dedupe expression.
    pub fn dedupe_keys(&self) -> Option<&[Option<u128>]> {
        self.dedupe.as_deref()
    }

    /// Keeps the rows that `keep` names, one flag per row.
    ///
    /// # Errors
    /// When there are not as many flags as rows.
    pub fn retain(&mut self, keep: &[bool]) -> Result<(), TransformError> {
        if keep.len() != self.len() {
            return Err(TransformError::frame("retain", format!("{} flags for {} rows", keep.len(), self.len())));
        }
        if keep.iter().all(|flag| *flag) {
            return Ok(());
        }
        let mask = BooleanChunked::from_slice("".into(), keep);
        for column in &mut self.columns {
            *column = column.filter(&mask)?;
        }
        keep_flagged(&mut self.event_times, keep);
        keep_flagged(&mut self.offsets, keep);
        keep_flagged(&mut self.appended, keep);
        if let Some(dedupe) = &mut self.dedupe {
            keep_flagged(dedupe, keep);
        }
        if let Some(highest) = &mut self.highest {
            keep_flagged(highest, keep);
        }
        Ok(())
    }

    /// Sets, per row, the highest event time of the partition before the row's record, in microseconds
    /// (`i64::MIN` before the first): what decides lateness. It becomes the column [`HIGHEST`].
    ///
    /// # Errors
    /// When there are not as many times as rows.
    pub fn set_highest(&mut self, highest: Vec<i64>) -> Result<(), TransformError> {
        if highest.len() != self.len() {
            return Err(TransformError::frame(
                "set_highest",
                format!("{} times for {} rows", highest.len(), self.len()),
            ));
        }
        self.highest = Some(highest);
        Ok(())
    }

    /// As a frame: the source's columns, `event_time`, [`SEQUENCE`] and, when set, [`HIGHEST`]. Shares the buffers.
    ///
    /// # Errors
    /// When the columns do not fit together.
    pub fn frame(&self) -> Result<DataFrame, TransformError> {
        let mut columns: Vec<Column> = self.declared_columns().collect();
        columns.extend(self.system_columns());
        Ok(DataFrame::new(self.len(), columns)?)
    }

    /// What expressions of the definition may use: the source's columns and `event_time`.
    pub(crate) fn source_frame(&self) -> Result<DataFrame, TransformError> {
        Ok(DataFrame::new(self.len(), self.declared_columns().chain([self.event_time_column()]).collect())?)
    }

    /// `event_time`, [`SEQUENCE`] and, when set, [`HIGHEST`].
    pub(crate) fn system_columns(&self) -> Vec<Column> {
        let sequences: Vec<i64> = self.offsets.iter().map(|offset| sequence(self.partition, *offset)).collect();
        let mut columns =
            vec![self.event_time_column(), Int64Chunked::from_vec(SEQUENCE.into(), sequences).into_column()];
        if let Some(highest) = &self.highest {
            columns.push(Int64Chunked::from_slice(HIGHEST.into(), highest).into_column());
        }
        columns
    }

    fn declared_columns(&self) -> impl Iterator<Item = Column> {
        self.columns.iter().filter(|column| column.name() != EVENT_TIME).cloned()
    }

    fn event_time_column(&self) -> Column {
        let times = Int64Chunked::from_slice(EVENT_TIME.into(), &self.event_times);
        times.into_datetime(TimeUnit::Microseconds, None).into_column()
    }
}

/// Keeps the elements whose flag is set.
pub(crate) fn keep_flagged<T>(rows: &mut Vec<T>, keep: &[bool]) {
    let mut flags = keep.iter();
    rows.retain(|_| flags.next().copied().unwrap_or(true));
}
