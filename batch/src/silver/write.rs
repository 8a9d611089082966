//! Silver rows to Hive-partitioned files.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use polars::prelude::DataFrame;
use tideline_common::manifest::TimedFile;
use tideline_common::plan::EVENT_TIME;
use tideline_common::time::{Span, Timestamp};

use crate::context::Context;
use crate::error::BatchError;
use crate::{hive, lake};

/// Files that are put at the same time.
const PUTS: usize = 16;

/// Time buckets of views that new rows fall into.
#[derive(Clone, Debug, Default)]
pub(crate) struct Touched(BTreeMap<String, BTreeSet<Timestamp>>);

impl Touched {
    fn note(&mut self, view: &str, bucket: Span, times: &[i64]) {
        let set = self.0.entry(view.to_owned()).or_default();
        let mut last = None;
        for time in times {
            let start = Timestamp(*time).floor(bucket);
            // Rows mostly come in order: one comparison instead of a look-up.
            if last != Some(start) {
                set.insert(start);
                last = Some(start);
            }
        }
    }

    /// Adds those of another table.
    pub(crate) fn join(&mut self, other: Self) {
        for (view, buckets) in other.0 {
            self.0.entry(view).or_default().extend(buckets);
        }
    }

    /// All of them, by view.
    pub(super) fn into_sets(self) -> BTreeMap<String, BTreeSet<Timestamp>> {
        self.0
    }

    /// The buckets of a view, by their starts.
    pub(crate) fn of(&self, view: &str) -> BTreeSet<Timestamp> {
        self.0.get(view).cloned().unwrap_or_default()
    }
}

impl From<BTreeMap<String, Vec<Timestamp>>> for Touched {
    fn from(lists: BTreeMap<String, Vec<Timestamp>>) -> Self {
        Self(lists.into_iter().map(|(view, buckets)| (view, buckets.into_iter().collect())).collect())
    }
}

/// Collects rows of tables until there are enough for a write.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pending: BTreeMap<String, Vec<DataFrame>>,
    bytes: usize,
    /// New files by table.
    pub(crate) files: BTreeMap<String, Vec<TimedFile>>,
    pub(crate) touched: Touched,
    pub(crate) rows: u64,
}

impl Writer {
    /// Takes rows of a table.
    pub(crate) fn add(&mut self, table: &str, rows: DataFrame) {
        if rows.height() == 0 {
            return;
        }
        self.bytes += rows.estimated_size();
        self.pending.entry(table.to_owned()).or_default().push(rows);
    }

    /// Memory of the rows that wait.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Writes what waits.
    pub(crate) async fn flush(&mut self, context: &Context) -> Result<(), BatchError> {
        self.bytes = 0;
        for (table, frames) in std::mem::take(&mut self.pending) {
            context.check()?;
            let Some(plan) = context.plan().table(&table) else { continue };
            let (columns, limit) = (plan.partition_by.clone(), context.config.max_partitions);
            let name = table.clone();
            let (parts, times) = lake::blocking(move || partition(&name, frames, &columns, limit)).await?;
            for view in context.plan().views_of(&table) {
                let bucket = crate::gold::bucket_of(view, &context.config);
                self.touched.note(&view.name, bucket, &times);
            }
            self.rows += times.len() as u64;
            let files = parts.into_iter().map(|part| {
                let folder = if part.folder.is_empty() {
                    format!("silver/{table}")
                } else {
                    format!("silver/{table}/{}", part.folder)
                };
                let file = TimedFile { path: context.file(&folder), ..part.file };
                async move {
                    context.lake.put(&file.path, part.bytes).await?;
                    Ok::<_, BatchError>(file)
                }
            });
            // Ordered, so that the manifest does not depend on which put was faster.
            let files: Vec<TimedFile> = futures::stream::iter(files).buffered(PUTS).try_collect().await?;
            self.files.entry(table).or_default().extend(files);
        }
        Ok(())
    }
}

struct Part {
    folder: String,
    bytes: Bytes,
    file: TimedFile,
}

/// Rows of a table by folder, encoded, and the event times of all of them.
fn partition(
    table: &str,
    frames: Vec<DataFrame>,
    columns: &[String],
    limit: usize,
) -> Result<(Vec<Part>, Vec<i64>), BatchError> {
    let Some(all) = lake::stack(frames)? else { return Ok((Vec::new(), Vec::new())) };
    let times = lake::micros(&all, EVENT_TIME)?;
    let frames = if columns.is_empty() {
        vec![all]
    } else {
        all.partition_by_stable(columns.to_vec(), true).map_err(BatchError::frame(format!("partitions of {table}")))?
    };
    if frames.len() > limit {
        return Err(BatchError::TooManyPartitions { table: table.to_owned(), count: frames.len(), limit });
    }
    let mut parts = Vec::with_capacity(frames.len());
    for mut frame in frames {
        let folder = hive::folder(&frame, columns).map_err(BatchError::frame(format!("partitions of {table}")))?;
        let file = lake::timed(String::new(), &frame, EVENT_TIME)?;
        parts.push(Part { folder, bytes: lake::encode(&mut frame, None)?, file });
    }
    Ok((parts, times))
}
