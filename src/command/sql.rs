//! `tideline sql SQL --table NAME=FILE`: every function of a definition, to try one out.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use polars::prelude::{
    AnyValue, CsvReadOptions, DataFrame, IntoLazy, JsonFormat, JsonReader, LazyFrame, PlRefPath, PolarsError,
    ScanArgsParquet, SerReader, TimeUnit,
};
use serde_json::{Map, Value as Json};
use tideline_common::time::Timestamp;
use tideline_transform::sql;

use crate::command::print;
use crate::config::Config;
use crate::models;
use crate::output::{Format, Rows};

/// Runs one SELECT over files, with every function of a definition.
#[derive(Debug, Args)]
pub struct Sql {
    /// The statement.
    #[arg(value_name = "SQL")]
    statement: String,
    /// A table: NDJSON (.ndjson, .jsonl, .json), CSV (.csv) or Parquet (.parquet); .gz of the text formats too.
    #[arg(long = "table", value_name = "NAME=FILE", value_parser = table)]
    tables: Vec<(String, PathBuf)>,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Configuration, which names models; ./tideline.toml if there is one.
    #[arg(long, env = "TIDELINE_CONFIG")]
    config: Option<PathBuf>,
}

fn table(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => Ok((name.to_owned(), PathBuf::from(file))),
        _ => Err(format!("`{text}` is not NAME=FILE")),
    }
}

impl Sql {
    /// Prints the result.
    ///
    /// # Errors
    /// A file that cannot be read, or a statement that cannot be run.
    pub fn run(self) -> anyhow::Result<()> {
        models::install(&Config::load(self.config.as_deref(), std::env::vars())?);
        let mut tables = Vec::new();
        for (name, file) in &self.tables {
            tables.push((name.clone(), scan(file).with_context(|| format!("table {name}"))?));
        }
        let mut context = sql::context(tables);
        let frame =
            context.execute(&self.statement).and_then(LazyFrame::collect).context("cannot run the statement")?;
        let rows = rows(&frame)?;
        print(|out| rows.write(self.format, out))
    }
}

fn scan(file: &Path) -> anyhow::Result<LazyFrame> {
    let shown = file.display();
    let name = file.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let plain = name.strip_suffix(".gz").unwrap_or(&name);
    let extension = plain.rsplit_once('.').map_or("", |(_, extension)| extension);
    let read = || -> anyhow::Result<Cursor<Vec<u8>>> {
        let mut bytes = std::fs::read(file).with_context(|| format!("cannot read {shown}"))?;
        if plain.len() < name.len() {
            let mut plain = Vec::new();
            flate2::read::MultiGzDecoder::new(&bytes[..])
                .read_to_end(&mut plain)
                .with_context(|| format!("cannot unpack {shown}"))?;
            bytes = plain;
        }
        Ok(Cursor::new(bytes))
    };
    let frame = match extension {
        "ndjson" | "jsonl" | "json" => JsonReader::new(read()?)
            .with_json_format(JsonFormat::JsonLines)
            .infer_schema_len(None)
            .finish()
            .with_context(|| format!("{shown} is not NDJSON"))?,
        "csv" => CsvReadOptions::default()
            .with_infer_schema_length(None)
            .into_reader_with_file_handle(read()?)
            .finish()
            .with_context(|| format!("{shown} is not CSV"))?,
        "parquet" => {
            let path = file.to_str().with_context(|| format!("{shown} is not a name in UTF-8"))?;
            let scan = LazyFrame::scan_parquet(PlRefPath::new(path), ScanArgsParquet::default());
            return scan.with_context(|| format!("{shown} is not Parquet"));
        }
        _ => bail!("{shown}: use a file that ends in .ndjson, .jsonl, .json, .csv (each also .gz) or .parquet"),
    };
    Ok(frame.lazy())
}

/// A frame as rows of JSON.
///
/// # Errors
/// When a column cannot be read.
pub fn rows(frame: &DataFrame) -> anyhow::Result<Rows> {
    let columns: Vec<String> = frame.get_column_names().iter().map(ToString::to_string).collect();
    let mut rows = Vec::with_capacity(frame.height());
    for at in 0..frame.height() {
        let row: Result<Vec<Json>, PolarsError> =
            frame.columns().iter().map(|column| Ok(json(column.get(at)?))).collect();
        rows.push(row?);
    }
    Ok(Rows { columns, rows })
}

fn json(value: AnyValue<'_>) -> Json {
    match value {
        AnyValue::Null => Json::Null,
        AnyValue::Boolean(b) => Json::Bool(b),
        AnyValue::String(text) => Json::String(text.to_owned()),
        AnyValue::StringOwned(text) => Json::String(text.to_string()),
        AnyValue::Float32(x) => number(f64::from(x)),
        AnyValue::Float64(x) => number(x),
        AnyValue::List(series) => Json::Array(series.iter().map(json).collect()),
        AnyValue::Datetime(t, unit, _) => {
            let micros = match unit {
                TimeUnit::Nanoseconds => t.div_euclid(1_000),
                TimeUnit::Microseconds => t,
                TimeUnit::Milliseconds => t.saturating_mul(1_000),
            };
            Json::String(Timestamp(micros).to_string())
        }
        AnyValue::Struct(..) | AnyValue::StructOwned(_) => {
            let fields: Vec<AnyValue<'_>> = value._iter_struct_av().collect();
            let names: Vec<String> = match &value {
                AnyValue::Struct(_, _, fields) => fields.iter().map(|field| field.name().to_string()).collect(),
                AnyValue::StructOwned(inner) => inner.1.iter().map(|field| field.name().to_string()).collect(),
                _ => Vec::new(),
            };
            Json::Object(names.into_iter().zip(fields.into_iter().map(json)).collect::<Map<_, _>>())
        }
        other => other
            .extract::<i64>()
            .filter(|_| other.dtype().is_integer())
            .map_or_else(|| Json::String(other.to_string()), Json::from),
    }
}

fn number(x: f64) -> Json {
    serde_json::Number::from_f64(x).map_or(Json::Null, Json::Number)
}
