//! What came of a unit.

use std::collections::BTreeSet;

use ahash::AHashSet;
use polars::prelude::{DataFrame, DataType, NamedFrom, Series, TimeUnit};
use serde::{Deserialize, Serialize};
use tideline_common::manifest::TimedFile;
use tideline_common::plan::EVENT_TIME;
use tideline_common::position::Offset;
use tideline_common::time::Timestamp;
use tideline_common::watermark::Watermark;
use tideline_transform::SourceRows;

use super::Stored;
use super::offer::FORMAT;
use crate::error::BatchError;
use crate::lake::{self, Lake};
use crate::silver::seen::hour_of;

/// A part, as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) format: u32,
    /// Why there is nothing: the unit could not be done, by anybody. All else is empty then.
    pub(super) failed: Option<String>,
    /// Where the chain goes on.
    pub(super) next: Offset,
    pub(super) watermark: Watermark,
    pub(super) records: u64,
    pub(super) rejected: u64,
    /// Rows in `tables`.
    pub(super) rows: u64,
    /// The keys of all its records that have one.
    pub(super) keys: Option<TimedFile>,
    /// Silver files by table.
    pub(super) tables: Stored<TimedFile>,
    /// Buckets by view.
    pub(super) touched: Stored<Timestamp>,
}

impl Part {
    pub(super) fn failed(reason: String) -> Self {
        Self {
            format: FORMAT,
            failed: Some(reason),
            next: 0,
            watermark: Watermark::default(),
            records: 0,
            rejected: 0,
            rows: 0,
            keys: None,
            tables: Stored::new(),
            touched: Stored::new(),
        }
    }
}

/// The key of a record of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyRow {
    pub(crate) time: i64,
    pub(crate) key: u128,
    pub(crate) offset: Offset,
    /// The unit has it before, and has left this one out already.
    pub(crate) repeated: bool,
}

/// The keys of a unit in the making, in the order of its records.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    known: AHashSet<(i64, u128)>,
    rows: Vec<KeyRow>,
}

impl Keys {
    /// One flag per row: whether it is the first of its kind in the unit. `None` when the source knows no duplicates.
    pub(crate) fn check(&mut self, rows: &SourceRows) -> Option<Vec<bool>> {
        let keys = rows.dedupe_keys()?;
        let rows = keys.iter().zip(rows.event_times()).zip(rows.offsets());
        let first = |((key, time), offset): ((&Option<u128>, &i64), &Offset)| {
            let Some(key) = *key else { return true };
            let new = self.known.insert((hour_of(*time), key));
            self.rows.push(KeyRow { time: *time, key, offset: *offset, repeated: !new });
            new
        };
        Some(rows.map(first).collect())
    }

    /// The keys as a file; `None` without any.
    pub(super) fn encode(&self, path: String) -> Result<Option<(TimedFile, bytes::Bytes)>, BatchError> {
        if self.rows.is_empty() {
            return Ok(None);
        }
        let mut frame = frame_of(&self.rows)?;
        Ok(Some((lake::timed(path, &frame, EVENT_TIME)?, lake::encode(&mut frame, None)?)))
    }
}

const HIGH: &str = "key_high";
const LOW: &str = "key_low";
const OFFSET: &str = "offset";
const REPEATED: &str = "repeated";

fn frame_of(rows: &[KeyRow]) -> Result<DataFrame, BatchError> {
    let what = || BatchError::frame("keys of a unit");
    let times: Vec<i64> = rows.iter().map(|row| row.time).collect();
    let times =
        Series::new(EVENT_TIME.into(), times).cast(&DataType::Datetime(TimeUnit::Microseconds, None)).map_err(what())?;
    let high: Vec<u64> = rows.iter().map(|row| (row.key >> 64) as u64).collect();
    let low: Vec<u64> = rows.iter().map(|row| row.key as u64).collect();
    let offsets: Vec<u64> = rows.iter().map(|row| row.offset).collect();
    let repeated: Vec<bool> = rows.iter().map(|row| row.repeated).collect();
    let columns = vec![
        times.into(),
        Series::new(HIGH.into(), high).into(),
        Series::new(LOW.into(), low).into(),
        Series::new(OFFSET.into(), offsets).into(),
        Series::new(REPEATED.into(), repeated).into(),
    ];
    DataFrame::new(rows.len(), columns).map_err(what())
}

/// The keys of a part.
pub(super) async fn read_keys(lake: &Lake, file: &TimedFile) -> Result<Vec<KeyRow>, BatchError> {
    rows_of(&lake.read(&file.path).await?)
}

fn rows_of(frame: &DataFrame) -> Result<Vec<KeyRow>, BatchError> {
    let what = || BatchError::frame("keys of a unit");
    let times = lake::micros(frame, EVENT_TIME)?;
    let numbers = |name: &str| frame.column(name).and_then(|column| column.u64()).map_err(what());
    let (high, low, offsets) = (numbers(HIGH)?, numbers(LOW)?, numbers(OFFSET)?);
    let repeated = frame.column(REPEATED).and_then(|column| column.bool()).map_err(what())?;
    let rest = high.iter().zip(low.iter()).zip(offsets.iter()).zip(repeated.iter());
    Ok(times
        .into_iter()
        .zip(rest)
        .map(|(time, (((high, low), offset), repeated))| KeyRow {
            time,
            key: (u128::from(high.unwrap_or_default()) << 64) | u128::from(low.unwrap_or_default()),
            offset: offset.unwrap_or_default(),
            repeated: repeated.unwrap_or_default(),
        })
        .collect())
}

/// Sets as lists, to be stored.
pub(super) fn listed(sets: impl IntoIterator<Item = (String, BTreeSet<Timestamp>)>) -> Stored<Timestamp> {
    sets.into_iter().map(|(name, set)| (name, set.into_iter().collect())).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keys_read_back_in_order() {
        let rows = [
            KeyRow { time: -5, key: u128::MAX - 3, offset: 9, repeated: false },
            KeyRow { time: 7, key: 1, offset: 2, repeated: true },
        ];
        assert_eq!(rows_of(&frame_of(&rows).unwrap()).unwrap(), rows);
    }

    #[test]
    fn a_part_reads_back() {
        let mut part = Part::failed("no".to_owned());
        part.touched.insert("v".to_owned(), vec![Timestamp(-1), Timestamp(5)]);
        let text = serde_json::to_string(&part).unwrap();
        assert_eq!(serde_json::from_str::<Part>(&text).unwrap(), part);
    }
}
