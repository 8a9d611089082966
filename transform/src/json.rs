//! Rows of a table as JSON objects, for the topics of outputs that take rows.
//!
//! Row by row over columns that are looked up once per piece, into memory that all rows of the piece share: what a row costs
//! is its bytes, and not an object in memory.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use polars::prelude::{BooleanChunked, Column, DataFrame, Float64Chunked, Int64Chunked, StringChunked};
use tideline_common::plan::{Field, RowOutputPlan};
use tideline_common::position::{Offset, offset_of};
use tideline_common::time::Timestamp;
use tideline_common::value::Type;

use crate::{ORDINAL, SEQUENCE, TransformError};

/// Bytes of a row, for the first guess.
const ROW_BYTES: usize = 256;

/// How the rows of a table become JSON objects.
#[derive(Debug)]
pub struct RowJson {
    columns: Vec<Member>,
    key: Vec<Field>,
}

/// A member of the objects.
#[derive(Debug)]
struct Member {
    field: Field,
    /// What goes before its value: `{"name":` or `,"name":`.
    head: Vec<u8>,
}

/// Rows of a batch, of which JSON is made piece by piece: `unnest` makes many rows of one record, and each has a copy of its
/// texts.
#[derive(Debug)]
pub struct JsonRows {
    json: Arc<RowJson>,
    /// The columns that are needed, each in one piece.
    rows: DataFrame,
    /// The next row.
    at: usize,
}

/// A row as JSON. Its bytes are shared with those of other rows of the piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonRow {
    /// Offset of the record that it is from.
    pub offset: Offset,
    /// Its place among the rows of that record.
    pub ordinal: u32,
    /// The text of the key column, or a JSON array of several; `None` without a key column, or where its value is null.
    pub key: Option<Bytes>,
    /// The object.
    pub object: Bytes,
}

/// A column of a batch, in the type that its field says.
enum Cells<'a> {
    Bool(&'a BooleanChunked),
    Int(&'a Int64Chunked),
    Float(&'a Float64Chunked),
    String(&'a StringChunked),
    /// Microseconds.
    Time(&'a Int64Chunked),
}

impl RowJson {
    /// As an output says.
    pub fn new(output: &RowOutputPlan) -> Self {
        let member = |(at, field): (usize, &Field)| {
            let before = if at == 0 { '{' } else { ',' };
            // A name is of letters, digits and `_`.
            Member { field: field.clone(), head: format!("{before}\"{}\":", field.name).into_bytes() }
        };
        Self { columns: output.columns.iter().enumerate().map(member).collect(), key: output.key.clone() }
    }

    /// Rows of the table, in order, except those of records before `from`.
    ///
    /// # Errors
    /// When a column is missing.
    pub fn over(self: &Arc<Self>, rows: &DataFrame, from: Offset) -> Result<JsonRows, TransformError> {
        let mut columns: Vec<Column> = Vec::with_capacity(self.columns.len() + self.key.len() + 2);
        let fields = self.columns.iter().map(|member| &member.field).chain(&self.key);
        for name in fields.map(|field| field.name.as_str()).chain([SEQUENCE, ORDINAL]) {
            if !columns.iter().any(|column| column.name() == name) {
                // Cells are looked up by their row.
                columns.push(rows.column(name)?.rechunk());
            }
        }
        let rows = DataFrame::new(rows.height(), columns)?;
        let sequences = rows.column(SEQUENCE)?.i64()?;
        let early = |sequence: &Option<i64>| offset_of(sequence.unwrap_or_default()) < from;
        let at = sequences.iter().take_while(early).count();
        Ok(JsonRows { json: Arc::clone(self), rows, at })
    }
}

impl JsonRows {
    /// Whether there is no row left.
    pub fn is_done(&self) -> bool {
        self.at >= self.rows.height()
    }

    /// The next rows, of about so many bytes: at least one, if there is one.
    ///
    /// # Errors
    /// When a column is of another type than the plan says.
    pub fn take(&mut self, bytes: usize) -> Result<Vec<JsonRow>, TransformError> {
        let (json, rows) = (&self.json, &self.rows);
        let (sequences, ordinals) = (rows.column(SEQUENCE)?.i64()?, rows.column(ORDINAL)?.i64()?);
        let columns = json.columns.iter().map(|member| cells(&member.field, rows)).collect::<Result<Vec<_>, _>>()?;
        let keys = json.key.iter().map(|field| cells(field, rows)).collect::<Result<Vec<_>, _>>()?;
        let left = rows.height() - self.at.min(rows.height());
        let mut places = Vec::with_capacity(left);
        let (mut objects, mut key_bytes) = (Vec::with_capacity(bytes.min(left * ROW_BYTES)), Vec::new());
        while self.at < rows.height() && objects.len() < bytes.max(1) {
            let row = self.at;
            let has_key = write_key(&keys, row, &mut key_bytes)?;
            for (member, cells) in json.columns.iter().zip(&columns) {
                objects.extend_from_slice(&member.head);
                cells.write(row, &mut objects)?;
            }
            objects.push(b'}');
            let offset = offset_of(sequences.get(row).unwrap_or_default());
            let ordinal = u32::try_from(ordinals.get(row).unwrap_or_default()).unwrap_or(u32::MAX);
            places.push((offset, ordinal, objects.len(), has_key.then_some(key_bytes.len())));
            self.at += 1;
        }
        let (objects, key_bytes) = (Bytes::from(objects), Bytes::from(key_bytes));
        let (mut start, mut key_start) = (0, 0);
        let row = |(offset, ordinal, end, key_end): (Offset, u32, usize, Option<usize>)| {
            let key = key_end.map(|end| key_bytes.slice(std::mem::replace(&mut key_start, end)..end));
            let object = objects.slice(std::mem::replace(&mut start, end)..end);
            JsonRow { offset, ordinal, key, object }
        };
        Ok(places.into_iter().map(row).collect())
    }
}

fn cells<'a>(field: &Field, rows: &'a DataFrame) -> Result<Cells<'a>, TransformError> {
    let column: &'a Column = rows.column(&field.name)?;
    Ok(match field.ty {
        Type::Bool => Cells::Bool(column.bool()?),
        Type::Int => Cells::Int(column.i64()?),
        Type::Float => Cells::Float(column.f64()?),
        Type::String => Cells::String(column.str()?),
        Type::Timestamp => Cells::Time(column.datetime()?.physical()),
        ty => return Err(TransformError::frame(format!("column `{}`", field.name), format!("a row of a {ty}"))),
    })
}

/// Appends the key of a row; whether it has one.
fn write_key(keys: &[Cells<'_>], row: usize, out: &mut Vec<u8>) -> Result<bool, TransformError> {
    match keys {
        [] => return Ok(false),
        [Cells::String(texts)] => match texts.get(row) {
            Some(text) => out.extend_from_slice(text.as_bytes()),
            None => return Ok(false),
        },
        [Cells::Time(times)] => match times.get(row) {
            Some(micros) => write!(out, "{}", Timestamp(micros)).map_err(failed)?,
            None => return Ok(false),
        },
        [cells] if cells.is_null(row) => return Ok(false),
        [cells] => cells.write(row, out)?,
        several => {
            for (at, cells) in several.iter().enumerate() {
                out.push(if at == 0 { b'[' } else { b',' });
                cells.write(row, out)?;
            }
            out.push(b']');
        }
    }
    Ok(true)
}

impl Cells<'_> {
    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Bool(cells) => cells.get(row).is_none(),
            Self::Int(cells) | Self::Time(cells) => cells.get(row).is_none(),
            Self::Float(cells) => cells.get(row).is_none(),
            Self::String(cells) => cells.get(row).is_none(),
        }
    }

    /// Appends a cell as JSON: instants as RFC 3339 text; null for what JSON cannot say (NaN, infinities).
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), TransformError> {
        let written = match self {
            Self::Bool(cells) => serde_json::to_writer(out, &cells.get(row)),
            Self::Int(cells) => serde_json::to_writer(out, &cells.get(row)),
            Self::Float(cells) => serde_json::to_writer(out, &cells.get(row)),
            Self::String(cells) => serde_json::to_writer(out, &cells.get(row)),
            Self::Time(cells) => {
                let time = cells.get(row).map(|micros| Timestamp(micros).to_string());
                serde_json::to_writer(out, &time)
            }
        };
        written.map_err(failed)
    }
}

/// Memory takes everything, and plain values are JSON: this does not happen.
fn failed(error: impl std::fmt::Display) -> TransformError {
    TransformError::frame("a row as JSON", error)
}
