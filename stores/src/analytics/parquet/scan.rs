//! Files of the lake as Polars reads them.

use std::io::Cursor;
use std::sync::Arc;

use polars::io::HiveOptions;
use polars::prelude::{
    DataFrame, DataType, Expr, IntoLazy, LazyFrame, ParquetReader, PlRefPath, PolarsError, ScanArgsParquet,
    ScanSources, SerReader, TimeUnit, UnionArgs, col, concat, lit,
};
use tideline_common::key::Key;
use tideline_common::plan::Field;
use tideline_common::ports::{Location, Objects, PortError, PortResult};
use tideline_common::time::Timestamp;
use tideline_common::value::Value;
use tokio::sync::Semaphore;

use crate::disk::blocking;

/// The lake, with a bound on the reads that run at once.
#[derive(Debug)]
pub(super) struct Lake {
    objects: Arc<dyn Objects>,
    reads: Semaphore,
}

/// A file to read: on this machine, or fetched.
enum Source {
    Path(PlRefPath),
    Bytes(bytes::Bytes),
}

impl Lake {
    pub(super) fn new(objects: Arc<dyn Objects>, max_reads: usize) -> Self {
        Self { objects, reads: Semaphore::new(max_reads.clamp(1, Semaphore::MAX_PERMITS)) }
    }

    /// Reads files of one schema, below each other, through `query`. `None` when there are no files. `what` names
    /// them in errors.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        what: &str,
        files: Vec<String>,
        query: impl Fn(LazyFrame) -> PortResult<T> + Send + 'static,
    ) -> PortResult<Option<T>> {
        if files.is_empty() {
            return Ok(None);
        }
        let what = what.to_owned();
        let _permit = self.reads.acquire().await.map_err(|e| PortError::unavailable(&what, e))?;
        let mut sources = Vec::with_capacity(files.len());
        for file in &files {
            sources.push(match self.objects.location(file) {
                Location::File(path) => {
                    if !path.exists() {
                        return Err(PortError::corrupt(file, "the manifest names it, and it is not there"));
                    }
                    Source::Path(PlRefPath::try_from_pathbuf(path).map_err(|e| failed(file, e))?)
                }
                Location::S3 { .. } | Location::Url(_) => {
                    Source::Bytes(self.objects.get(file).await.map_err(|e| match e {
                        PortError::NotFound { .. } => {
                            PortError::corrupt(file, "the manifest names it, and it is not there")
                        }
                        e => e,
                    })?)
                }
            });
        }
        blocking("reading Parquet", move || {
            let result = scan(sources).map_err(|e| failed(&what, e)).and_then(query);
            match result {
                // Which of the files it is, the message of Polars does not say.
                Err(PortError::Corrupt { what, reason }) if files.len() < 4 => {
                    Err(PortError::corrupt(format!("{what} ({})", files.join(", ")), reason))
                }
                other => other.map(Some),
            }
        })
        .await
    }
}

fn scan(sources: Vec<Source>) -> Result<LazyFrame, PolarsError> {
    let (mut paths, mut scans) = (Vec::new(), Vec::new());
    for source in sources {
        match source {
            Source::Path(path) => paths.push(path),
            Source::Bytes(bytes) => scans.push(ParquetReader::new(Cursor::new(bytes)).finish()?.lazy()),
        }
    }
    if !paths.is_empty() {
        // Folders name partition columns, but the files hold them too: nothing is taken from paths.
        let args = ScanArgsParquet {
            hive_options: HiveOptions::new_disabled(),
            glob: false,
            cache: false,
            ..ScanArgsParquet::default()
        };
        scans.push(LazyFrame::scan_parquet_sources(ScanSources::Paths(paths.into_iter().collect()), args)?);
    }
    concat(scans, UnionArgs::default())
}

/// An error of Polars while reading `what`: input and output may work later, all else is damage.
pub(super) fn failed(what: &str, error: PolarsError) -> PortError {
    match error {
        PolarsError::IO { error, .. } if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            PortError::corrupt(what, error)
        }
        e @ PolarsError::IO { .. } => PortError::unavailable(what, e),
        e => PortError::corrupt(what, e),
    }
}

/// A value as a literal; `None` for what no column of a key or filter holds.
pub(super) fn literal(value: &Value) -> Option<Expr> {
    Some(match value {
        Value::Bool(b) => lit(*b),
        Value::Int(i) => lit(*i),
        Value::Float(x) => lit(*x),
        Value::String(s) => lit(s.as_str()),
        Value::Timestamp(t) => lit(t.0).cast(DataType::Datetime(TimeUnit::Microseconds, None)),
        Value::Null | Value::Strings(_) | Value::Map(_) => return None,
    })
}

/// Rows in which a column has a value, null included.
pub(super) fn equals(column: &str, value: &Value) -> Expr {
    match literal(value) {
        Some(literal) => col(column).eq(literal),
        None => col(column).is_null(),
    }
}

/// Rows of [from, to) by a time column.
pub(super) fn within(column: &str, from: Timestamp, to: Timestamp) -> Expr {
    let time = |t: Timestamp| lit(t.0).cast(DataType::Datetime(TimeUnit::Microseconds, None));
    col(column).gt_eq(time(from)).and(col(column).lt(time(to)))
}

/// The values of a key, as many as there are key columns.
pub(super) fn key_values(fields: &[Field], key: &Key) -> PortResult<Vec<Value>> {
    let values = key.values().map_err(|e| PortError::invalid("a key", e))?;
    if values.len() != fields.len() {
        let reason = format!("it has {} values and the key has {} columns", values.len(), fields.len());
        return Err(PortError::invalid("a key", reason));
    }
    Ok(values)
}

/// Rows of one key.
pub(super) fn key_equals(fields: &[Field], values: &[Value]) -> Expr {
    fields.iter().zip(values).map(|(f, v)| equals(&f.name, v)).reduce(Expr::and).unwrap_or_else(|| lit(true))
}

/// Rows whose key sorts after `values`: null is least, as in the byte order of keys.
pub(super) fn key_after(fields: &[Field], values: &[Value]) -> Expr {
    let mut after = lit(false);
    for (field, value) in fields.iter().zip(values).rev() {
        let greater = match literal(value) {
            Some(literal) => col(&*field.name).gt(literal),
            None => col(&*field.name).is_not_null(),
        };
        // Comparing with null gives null, which counts as false.
        after = greater.fill_null(lit(false)).or(equals(&field.name, value).fill_null(lit(false)).and(after));
    }
    after
}

/// What a query makes of its scan.
pub(super) fn collect(what: &str, frame: LazyFrame) -> PortResult<DataFrame> {
    frame.collect().map_err(|e| failed(what, e))
}
