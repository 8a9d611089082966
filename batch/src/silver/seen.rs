//! Deduplication across a whole source: which keys were seen, per hour of event time.
//!
//! Duplicates carry the same event time, so a key is looked up in its hour only. Keys live in files of
//! `silver/_seen/<source>/<day>/`, of which those of the days at hand are read. A duplicate whose first copy came
//! from another partition is noted there too (`dropped`): the speed layer cannot catch it, and what it counts
//! more is explained by it.

use std::collections::{BTreeMap, BTreeSet};

use ahash::AHashMap;
use polars::prelude::{DataFrame, DataType, NamedFrom, Series, TimeUnit};
use tideline_common::manifest::TimedFile;
use tideline_common::plan::EVENT_TIME;
use tideline_common::position::{Offset, Partition};
use tideline_common::time::{Span, Timestamp};
use tideline_transform::SourceRows;

use super::share::KeyRow;
use crate::context::Context;
use crate::error::BatchError;
use crate::lake::{self, Lake};

const HIGH: &str = "key_high";
const LOW: &str = "key_low";
const PARTITION: &str = "partition";
const DROPPED: &str = "dropped";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SeenRow {
    time: i64,
    key: u128,
    partition: Partition,
    dropped: bool,
}

/// The keys of one source.
#[derive(Debug)]
pub(crate) struct Seen {
    folder: String,
    /// Published files and those written by this run.
    pub(crate) files: Vec<TimedFile>,
    /// (hour, key) → partition of the first copy.
    keys: AHashMap<(i64, u128), Partition>,
    /// Days whose files are in `keys`.
    loaded: BTreeSet<i64>,
    /// Not yet in a file.
    fresh: Vec<SeenRow>,
}

pub(super) const fn hour_of(time: i64) -> i64 {
    time.div_euclid(Span::HOUR.0)
}

const fn day_of(time: i64) -> i64 {
    time.div_euclid(Span::DAY.0)
}

impl Seen {
    pub(crate) fn new(source: &str, files: Vec<TimedFile>) -> Self {
        Self {
            folder: format!("silver/_seen/{source}"),
            files,
            keys: AHashMap::new(),
            loaded: BTreeSet::new(),
            fresh: Vec::new(),
        }
    }

    /// Keys in memory.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// One flag per row: whether it is the first of its kind. `None` when the source knows no duplicates.
    pub(crate) async fn check(&mut self, lake: &Lake, rows: &SourceRows) -> Result<Option<Vec<bool>>, BatchError> {
        let Some(keys) = rows.dedupe_keys() else { return Ok(None) };
        let times = rows.event_times();
        self.load(lake, times.iter().map(|time| day_of(*time)).collect()).await?;
        let mut keep = Vec::with_capacity(times.len());
        for (time, key) in times.iter().zip(keys) {
            let Some(key) = *key else {
                keep.push(true);
                continue;
            };
            let row = SeenRow { time: *time, key, partition: rows.partition(), dropped: false };
            keep.push(self.first(row));
        }
        Ok(Some(keep))
    }

    /// The keys of a unit that another process has read, in their order: how many of them are duplicates, and which
    /// the unit still has (event time and offset).
    pub(super) async fn check_keys(
        &mut self,
        lake: &Lake,
        partition: Partition,
        rows: &[KeyRow],
    ) -> Result<(u64, Vec<(i64, Offset)>), BatchError> {
        self.load(lake, rows.iter().map(|row| day_of(row.time)).collect()).await?;
        let (mut duplicates, mut left) = (0, Vec::new());
        for row in rows {
            let seen = SeenRow { time: row.time, key: row.key, partition, dropped: false };
            if !self.first(seen) {
                duplicates += 1;
                if !row.repeated {
                    left.push((row.time, row.offset));
                }
            }
        }
        Ok((duplicates, left))
    }

    /// Whether `row` is the first of its kind; it is noted.
    fn first(&mut self, row: SeenRow) -> bool {
        match self.keys.entry((hour_of(row.time), row.key)) {
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(row.partition);
                self.fresh.push(row);
                true
            }
            std::collections::hash_map::Entry::Occupied(entry) => {
                if *entry.get() != row.partition {
                    self.fresh.push(SeenRow { dropped: true, ..row });
                }
                false
            }
        }
    }

    async fn load(&mut self, lake: &Lake, days: BTreeSet<i64>) -> Result<(), BatchError> {
        let missing: BTreeSet<i64> = days.difference(&self.loaded).copied().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let wanted: Vec<String> = self
            .files
            .iter()
            .filter(|file| missing.range(day_of(file.min_time.0)..=day_of(file.max_time.0)).next().is_some())
            .map(|file| file.path.clone())
            .collect();
        for path in wanted {
            for row in rows_of(&lake.read(&path).await?)? {
                if !row.dropped && missing.contains(&day_of(row.time)) {
                    self.keys.insert((hour_of(row.time), row.key), row.partition);
                }
            }
        }
        self.loaded.extend(missing);
        Ok(())
    }

    /// Writes the new keys, one file per day, and forgets all when there are more than `limit` in memory.
    pub(crate) async fn flush(&mut self, context: &Context, limit: usize) -> Result<(), BatchError> {
        let mut days: BTreeMap<i64, Vec<SeenRow>> = BTreeMap::new();
        for row in std::mem::take(&mut self.fresh) {
            days.entry(day_of(row.time)).or_default().push(row);
        }
        for (day, rows) in days {
            let path = context.file(&format!("{}/{}", self.folder, day_name(day)));
            let (file, bytes) = lake::blocking(move || {
                let mut frame = frame_of(&rows)?;
                Ok((lake::timed(path, &frame, EVENT_TIME)?, lake::encode(&mut frame, None)?))
            })
            .await?;
            context.lake.put(&file.path, bytes).await?;
            self.files.push(file);
        }
        if self.keys.len() > limit {
            self.keys = AHashMap::new();
            self.loaded.clear();
        }
        Ok(())
    }
}

/// Event times of duplicates that came from another partition than their first copy, in [from, to).
pub(crate) async fn dropped_between(
    lake: &Lake,
    files: &[TimedFile],
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<Timestamp>, BatchError> {
    let mut times = Vec::new();
    for file in files.iter().filter(|file| file.min_time < to && file.max_time >= from) {
        for row in rows_of(&lake.read(&file.path).await?)? {
            if row.dropped && (from.0..to.0).contains(&row.time) {
                times.push(Timestamp(row.time));
            }
        }
    }
    Ok(times)
}

fn day_name(day: i64) -> String {
    let start = Timestamp(day.saturating_mul(Span::DAY.0));
    start.to_chrono().map_or_else(|| format!("day{day}"), |time| time.format("%Y-%m-%d").to_string())
}

fn frame_of(rows: &[SeenRow]) -> Result<DataFrame, BatchError> {
    let times: Vec<i64> = rows.iter().map(|row| row.time).collect();
    let high: Vec<u64> = rows.iter().map(|row| (row.key >> 64) as u64).collect();
    let low: Vec<u64> = rows.iter().map(|row| row.key as u64).collect();
    let partitions: Vec<i64> = rows.iter().map(|row| i64::from(row.partition)).collect();
    let dropped: Vec<bool> = rows.iter().map(|row| row.dropped).collect();
    let what = || BatchError::frame("deduplication keys");
    let times =
        Series::new(EVENT_TIME.into(), times).cast(&DataType::Datetime(TimeUnit::Microseconds, None)).map_err(what())?;
    let columns = vec![
        times.into(),
        Series::new(HIGH.into(), high).into(),
        Series::new(LOW.into(), low).into(),
        Series::new(PARTITION.into(), partitions).into(),
        Series::new(DROPPED.into(), dropped).into(),
    ];
    DataFrame::new(rows.len(), columns).map_err(what())
}

fn rows_of(frame: &DataFrame) -> Result<Vec<SeenRow>, BatchError> {
    let what = || BatchError::frame("deduplication keys");
    let times = lake::micros(frame, EVENT_TIME)?;
    let partitions = lake::integers(frame, PARTITION)?;
    let high = frame.column(HIGH).and_then(|column| column.u64()).map_err(what())?;
    let low = frame.column(LOW).and_then(|column| column.u64()).map_err(what())?;
    let dropped = frame.column(DROPPED).and_then(|column| column.bool()).map_err(what())?;
    let halves = high.iter().zip(low.iter()).zip(dropped.iter());
    Ok(times
        .iter()
        .zip(&partitions)
        .zip(halves)
        .map(|((time, partition), ((high, low), dropped))| SeenRow {
            time: *time,
            key: (u128::from(high.unwrap_or_default()) << 64) | u128::from(low.unwrap_or_default()),
            partition: *partition as Partition,
            dropped: dropped.unwrap_or_default(),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keys_read_back() {
        let rows = vec![
            SeenRow { time: -5, key: u128::MAX - 3, partition: 7, dropped: false },
            SeenRow { time: 5 * Span::DAY.0, key: 1, partition: 0, dropped: true },
        ];
        let frame = frame_of(&rows).unwrap();
        let bytes = lake::encode(&mut frame.clone(), None).unwrap();
        let read = {
            use polars::prelude::SerReader;
            polars::prelude::ParquetReader::new(std::io::Cursor::new(bytes)).finish().unwrap()
        };
        assert_eq!(rows_of(&read).unwrap(), rows);
        assert_eq!((hour_of(-1), day_of(-1), day_name(-1)), (-1, -1, "1969-12-31".to_owned()));
    }
}
