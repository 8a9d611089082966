//! Files of the lake as Polars reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::sync::Arc;

use polars::io::HiveOptions;
use polars::io::cloud::CloudOptions;
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
pub(in crate::analytics) struct Lake {
    objects: Arc<dyn Objects>,
    reads: Semaphore,
}

/// A file to read: on this machine, in an S3 store (which Polars reads by itself), or fetched.
enum Source {
    Path(PlRefPath),
    S3 { url: String, options: Vec<(String, String)> },
    Bytes(bytes::Bytes),
}

impl Lake {
    pub(in crate::analytics) fn new(objects: Arc<dyn Objects>, max_reads: usize) -> Self {
        Self { objects, reads: Semaphore::new(max_reads.clamp(1, Semaphore::MAX_PERMITS)) }
    }

    /// Reads files of one schema, below each other, through `query`. `None` when there are no files. `what` names
    /// them in errors.
    pub(in crate::analytics) async fn read<T: Send + 'static>(
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
                        return Err(missing(file));
                    }
                    Source::Path(PlRefPath::try_from_pathbuf(path).map_err(|e| failed(file, e))?)
                }
                Location::S3 { url, options } => Source::S3 { url, options },
                Location::Url(_) => Source::Bytes(self.objects.get(file).await.map_err(|e| match e {
                    PortError::NotFound { .. } => missing(file),
                    e => e,
                })?),
            });
        }
        let remote = sources.iter().any(|source| matches!(source, Source::S3 { .. }));
        let result = self.query(what, files.clone(), sources, query).await;
        match result {
            // Polars does not tell an object that is gone from a store that is down.
            Err(PortError::Unavailable { .. }) if remote => match self.first_missing(&files).await? {
                Some(file) => Err(missing(&file)),
                None => result,
            },
            result => result,
        }
    }

    async fn query<T: Send + 'static>(
        &self,
        what: String,
        files: Vec<String>,
        sources: Vec<Source>,
        query: impl Fn(LazyFrame) -> PortResult<T> + Send + 'static,
    ) -> PortResult<Option<T>> {
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

    /// The first of `files` that the store has not.
    async fn first_missing(&self, files: &[String]) -> PortResult<Option<String>> {
        let mut folders: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for file in files {
            let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
            folders.entry(folder).or_default().push(file);
        }
        for (folder, files) in folders {
            let there: BTreeSet<String> = self.objects.list(folder).await?.into_iter().map(|o| o.path).collect();
            if let Some(file) = files.into_iter().find(|file| !there.contains(*file)) {
                return Ok(Some(file.to_owned()));
            }
        }
        Ok(None)
    }
}

fn missing(file: &str) -> PortError {
    PortError::corrupt(file, "the manifest names it, and it is not there")
}

fn scan(sources: Vec<Source>) -> Result<LazyFrame, PolarsError> {
    let (mut local, mut cloud, mut scans) = (Vec::new(), Vec::new(), Vec::new());
    let mut cloud_options = None;
    for source in sources {
        match source {
            Source::Path(path) => local.push(path),
            Source::S3 { url, options } => {
                let path = PlRefPath::new(url);
                if cloud_options.is_none() {
                    // One lake, one store: what the first needs, all need.
                    cloud_options = Some(CloudOptions::from_untyped_config(path.scheme(), options)?);
                }
                cloud.push(path);
            }
            Source::Bytes(bytes) => scans.push(ParquetReader::new(Cursor::new(bytes)).finish()?.lazy()),
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
pub(in crate::analytics) fn key_values(fields: &[Field], key: &Key) -> PortResult<Vec<Value>> {
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
pub(in crate::analytics) fn collect(what: &str, frame: LazyFrame) -> PortResult<DataFrame> {
    frame.collect().map_err(|e| failed(what, e))
}
