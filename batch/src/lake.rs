//! Parquet files of the lake: written through the object store, scanned by Polars where they lie.

use std::io::Cursor;
use std::sync::Arc;

use bytes::Bytes;
use polars::io::HiveOptions;
use polars::io::cloud::CloudOptions;
use polars::prelude::{
    Column as Series, DataFrame, DataType, IntoLazy, LazyFrame, ParquetCompression, ParquetReader, ParquetWriter,
    PlRefPath, ScanArgsParquet, ScanSources, SerReader, StatisticsOptions, TimeUnit,
};
use tideline_common::manifest::TimedFile;
use tideline_common::plan::{EVENT_TIME, Field, TablePlan};
use tideline_common::ports::{Location, Objects};
use tideline_common::time::Timestamp;
use tideline_common::value::Type;
use tideline_transform::{ORDINAL, SEQUENCE};

use crate::error::BatchError;

/// The lake as Polars sees it.
#[derive(Clone, Debug)]
pub(crate) struct Lake {
    pub(crate) objects: Arc<dyn Objects>,
}

impl Lake {
    /// A scan over files of one schema; `schema` is that of no rows when there are no files.
    ///
    /// Files of this machine and objects of an S3 store are read by Polars where they lie: only the columns, row
    /// groups and rows that the query needs. Any other object is fetched first and is then whole in memory.
    pub(crate) async fn scan<'a>(
        &self,
        files: impl IntoIterator<Item = &'a str>,
        schema: &[Field],
    ) -> Result<LazyFrame, BatchError> {
        let mut local: Vec<PlRefPath> = Vec::new();
        let mut cloud: Vec<PlRefPath> = Vec::new();
        let mut cloud_options = None;
        let mut scans = Vec::new();
        // Collected first: an iterator of closures held across a wait makes futures that cannot be sent.
        let files: Vec<&str> = files.into_iter().collect();
        for file in files {
            match self.objects.location(file) {
                Location::File(path) => {
                    local
                        .push(PlRefPath::try_from_pathbuf(path).map_err(BatchError::frame(format!("path of {file}")))?);
                }
                Location::S3 { url, options } => {
                    let path = PlRefPath::new(url);
                    if cloud_options.is_none() {
                        // One lake, one store: what the first needs, all need.
                        let options = CloudOptions::from_untyped_config(path.scheme(), options);
                        cloud_options = Some(options.map_err(BatchError::frame("options of the lake"))?);
                    }
                    cloud.push(path);
                }
                Location::Url(_) => scans.push(self.read(file).await?.lazy()),
            }
        }
        for (paths, cloud_options) in [(local, None), (cloud, cloud_options)] {
            if paths.is_empty() {
                continue;
            }
            // Folders name partition columns, but the files hold them too: nothing is taken from paths.
            let args = ScanArgsParquet {
                hive_options: HiveOptions::new_disabled(),
                glob: false,
                cache: false,
                cloud_options,
                ..ScanArgsParquet::default()
            };
            let scan = LazyFrame::scan_parquet_sources(ScanSources::Paths(paths.into_iter().collect()), args);
            scans.push(scan.map_err(BatchError::frame("scan"))?);
        }
        match scans.len() {
            0 => Ok(empty(schema).lazy()),
            1 => Ok(scans.remove(0)),
            _ => {
                polars::prelude::concat(scans, polars::prelude::UnionArgs::default()).map_err(BatchError::frame("scan"))
            }
        }
    }

    /// A whole file.
    pub(crate) async fn read(&self, path: &str) -> Result<DataFrame, BatchError> {
        let bytes = self.objects.get(path).await?;
        let name = path.to_owned();
        blocking(move || ParquetReader::new(Cursor::new(bytes)).finish().map_err(BatchError::frame(name))).await
    }

    /// Writes a file that no one else writes: its path holds the run.
    pub(crate) async fn put(&self, path: &str, bytes: Bytes) -> Result<(), BatchError> {
        Ok(self.objects.put(path, bytes).await?)
    }
}

/// A frame as Parquet: snappy, with statistics.
pub(crate) fn encode(frame: &mut DataFrame, row_group: Option<usize>) -> Result<Bytes, BatchError> {
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes)
        .with_compression(ParquetCompression::Snappy)
        .with_statistics(StatisticsOptions::full())
        .with_row_group_size(row_group)
        .finish(frame)
        .map_err(BatchError::frame("writing Parquet"))?;
    Ok(Bytes::from(bytes))
}

/// Runs work that keeps a core busy off the reactor.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BatchError> + Send + 'static,
) -> Result<T, BatchError> {
    tokio::task::spawn_blocking(work).await?
}

/// The file entry of a frame with a time column.
pub(crate) fn timed(path: String, frame: &DataFrame, time: &str) -> Result<TimedFile, BatchError> {
    let times = micros(frame, time)?;
    let min = times.iter().min().copied().unwrap_or_default();
    let max = times.iter().max().copied().unwrap_or_default();
    Ok(TimedFile { path, rows: times.len() as u64, min_time: Timestamp(min), max_time: Timestamp(max) })
}

/// A time column as microseconds.
pub(crate) fn micros(frame: &DataFrame, column: &str) -> Result<Vec<i64>, BatchError> {
    let what = || BatchError::frame(format!("column {column}"));
    let series = frame.column(column).map_err(what())?.as_materialized_series();
    let series = series.cast(&DataType::Datetime(TimeUnit::Microseconds, None)).map_err(what())?;
    let times = series.datetime().map_err(what())?;
    Ok(times.physical().iter().map(Option::unwrap_or_default).collect())
}

/// An integer column; null is 0.
pub(crate) fn integers(frame: &DataFrame, column: &str) -> Result<Vec<i64>, BatchError> {
    let what = || BatchError::frame(format!("column {column}"));
    let series = frame.column(column).map_err(what())?;
    Ok(series.i64().map_err(what())?.iter().map(Option::unwrap_or_default).collect())
}

/// Frames below each other.
pub(crate) fn stack(frames: Vec<DataFrame>) -> Result<Option<DataFrame>, BatchError> {
    let mut frames = frames.into_iter();
    let Some(mut all) = frames.next() else { return Ok(None) };
    for frame in frames {
        all.vstack_mut(&frame).map_err(BatchError::frame("joining rows"))?;
    }
    Ok(Some(all))
}

/// The columns of a table's Silver files.
pub(crate) fn silver_fields(table: &TablePlan) -> Vec<Field> {
    let mut fields: Vec<Field> =
        table.columns.iter().map(|column| Field { name: column.name.clone(), ty: column.ty }).collect();
    fields.push(Field { name: EVENT_TIME.to_owned(), ty: Type::Timestamp });
    fields.push(Field { name: SEQUENCE.to_owned(), ty: Type::Int });
    fields.push(Field { name: ORDINAL.to_owned(), ty: Type::Int });
    fields
}

/// A frame of these columns without rows.
pub(crate) fn empty(schema: &[Field]) -> DataFrame {
    let columns: Vec<Series> =
        schema.iter().map(|field| Series::new_empty(field.name.as_str().into(), &data_type(field.ty))).collect();
    DataFrame::new(0, columns).unwrap_or_default()
}

fn data_type(ty: Type) -> DataType {
    match ty {
        Type::Bool => DataType::Boolean,
        Type::Int => DataType::Int64,
        Type::Float => DataType::Float64,
        Type::String | Type::Map => DataType::String,
        Type::Timestamp => DataType::Datetime(TimeUnit::Microseconds, None),
        Type::Strings => DataType::List(Box::new(DataType::String)),
    }
}
