//! States as bytes, for stores and checkpoints: little endian, varints, no padding.
//!
//! ```text
//! row     one cell per field, in the plan's order
//! sum     int: zigzag varint · float: 8 bytes
//! min/max value
//! first   value | if not null: time zigzag varint | sequence zigzag varint
//! map     varint n | n × (key: zigzag varint, or varint length and UTF-8 | number: zigzag varint)
//! value   tag 0 null · 1 bool u8 · 2 int zigzag varint · 3 float 8 bytes · 4 text varint length and UTF-8 · 5 time zigzag varint
//! ```
//! A version byte belongs to whatever contains rows, not to the row.

use super::{MapColumn, StateBatch, StateColumn};
use crate::column::Column;
use crate::time::Timestamp;
use crate::value::Value;

/// Bytes that are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stored state is damaged at byte {at}: {what}")]
pub struct CodecError {
    /// Where.
    pub at: usize,
    /// What was expected.
    pub what: &'static str,
}

/// Appends an unsigned varint (LEB128).
pub fn write_varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Appends a signed varint (zigzag).
pub fn write_signed(n: i64, out: &mut Vec<u8>) {
    write_varint(((n << 1) ^ (n >> 63)) as u64, out);
}

/// Appends bytes after their length.
pub fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    write_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Appends a value with its tag. Lists and maps are not stored as states and become null.
pub fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null | Value::Strings(_) | Value::Map(_) => out.push(0),
        Value::Bool(b) => out.extend_from_slice(&[1, u8::from(*b)]),
        Value::Int(i) => {
            out.push(2);
            write_signed(*i, out);
        }
        Value::Float(x) => {
            out.push(3);
            out.extend_from_slice(&x.to_le_bytes());
        }
        Value::String(s) => {
            out.push(TEXT);
            write_bytes(s.as_bytes(), out);
        }
        Value::Timestamp(t) => {
            out.push(5);
            write_signed(t.0, out);
        }
    }
}

/// Reads what the writers of this module wrote.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Whether everything has been read.
    pub const fn is_done(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// The error that names this place.
    pub const fn error(&self, what: &'static str) -> CodecError {
        CodecError { at: self.at, what }
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], CodecError> {
        let end = self.at.checked_add(n).filter(|end| *end <= self.bytes.len()).ok_or(self.error("more bytes"))?;
        let slice = &self.bytes[self.at..end];
        self.at = end;
        Ok(slice)
    }

    /// One byte.
    ///
    /// # Errors
    /// At the end.
    pub fn byte(&mut self) -> Result<u8, CodecError> {
        Ok(self.take(1)?[0])
    }

    /// An unsigned varint.
    ///
    /// # Errors
    /// When it does not end or does not fit.
    pub fn varint(&mut self) -> Result<u64, CodecError> {
        let mut n = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                return Err(self.error("a number of 64 bits"));
            }
            n |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(n);
            }
        }
        Err(self.error("a varint of at most ten bytes"))
    }

    /// A signed varint.
    ///
    /// # Errors
    /// As [`Reader::varint`].
    pub fn signed(&mut self) -> Result<i64, CodecError> {
        let n = self.varint()?;
        Ok((n >> 1) as i64 ^ -((n & 1) as i64))
    }

    /// A float.
    ///
    /// # Errors
    /// When there are fewer than eight bytes.
    pub fn float(&mut self) -> Result<f64, CodecError> {
        let bytes: [u8; 8] = self.take(8)?.try_into().map_err(|_| self.error("a float"))?;
        Ok(f64::from_le_bytes(bytes))
    }

    /// Bytes after their length.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn bytes(&mut self) -> Result<&'a [u8], CodecError> {
        let n = usize::try_from(self.varint()?).map_err(|_| self.error("a length"))?;
        self.take(n)
    }

    /// Text after its length.
    ///
    /// # Errors
    /// When there is less, or it is not UTF-8.
    pub fn text(&mut self) -> Result<&'a str, CodecError> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|_| self.error("UTF-8"))
    }

    /// A value with its tag.
    ///
    /// # Errors
    /// When the tag is unknown or the value is cut off.
    pub fn value(&mut self) -> Result<Value, CodecError> {
        Ok(match self.byte()? {
            0 => Value::Null,
            1 => match self.byte()? {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                _ => return Err(self.error("a truth value")),
            },
            2 => Value::Int(self.signed()?),
            3 => Value::Float(self.float()?),
            TEXT => Value::String(self.text()?.to_owned()),
            5 => Value::Timestamp(Timestamp(self.signed()?)),
            _ => return Err(self.error("a known value tag")),
        })
    }
}

impl StateColumn {
    fn write_cell(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::SumInt(v) => write_signed(v[row], out),
            Self::SumFloat(v) => out.extend_from_slice(&v[row].to_le_bytes()),
            Self::Min(v) | Self::Max(v) => write_column_value(v, row, out),
            Self::First(v) | Self::Last(v) => {
                write_column_value(&v.values, row, out);
                if !v.values.is_null(row) {
                    write_signed(v.times[row], out);
                    write_signed(v.sequences[row], out);
                }
            }
            Self::MapSum(MapColumn::Int(v)) | Self::MapMax(MapColumn::Int(v)) => {
                write_varint(v[row].len() as u64, out);
                for (key, number) in &v[row] {
                    write_signed(i64::from(*key), out);
                    write_signed(*number, out);
                }
            }
            Self::MapSum(MapColumn::Text(v)) | Self::MapMax(MapColumn::Text(v)) => {
                write_varint(v[row].len() as u64, out);
                for (key, number) in &v[row] {
                    write_bytes(key.as_bytes(), out);
                    write_signed(*number, out);
                }
            }
        }
    }

    fn read_cell(&mut self, reader: &mut Reader<'_>) -> Result<(), CodecError> {
        match self {
            Self::SumInt(v) => v.push(reader.signed()?),
            Self::SumFloat(v) => v.push(reader.float()?),
            Self::Min(v) | Self::Max(v) => read_value(v, reader)?,
            Self::First(v) | Self::Last(v) => {
                read_value(&mut v.values, reader)?;
                let is_null = v.values.is_null(v.values.len() - 1);
                let (time, sequence) = if is_null { (0, 0) } else { (reader.signed()?, reader.signed()?) };
                v.times.push(time);
                v.sequences.push(sequence);
            }
            Self::MapSum(MapColumn::Int(v)) | Self::MapMax(MapColumn::Int(v)) => {
                let mut map = Vec::new();
                for _ in 0..reader.varint()? {
                    let key = i32::try_from(reader.signed()?).map_err(|_| reader.error("a map key of 32 bits"))?;
                    ascending(map.last(), &key, reader)?;
                    map.push((key, reader.signed()?));
                }
                v.push(map);
            }
            Self::MapSum(MapColumn::Text(v)) | Self::MapMax(MapColumn::Text(v)) => {
                let mut map = Vec::new();
                for _ in 0..reader.varint()? {
                    let key: Box<str> = reader.text()?.into();
                    ascending(map.last(), &key, reader)?;
                    map.push((key, reader.signed()?));
                }
                v.push(map);
            }
        }
        Ok(())
    }
}

fn write_column_value(column: &Column, row: usize, out: &mut Vec<u8>) {
    // Texts without a copy; the rest is cheap to make a value of.
    match column {
        Column::String(v) => match v.get(row) {
            Some(text) => {
                out.push(TEXT);
                write_bytes(text.as_bytes(), out);
            }
            None => out.push(0),
        },
        other => write_value(&other.value(row), out),
    }
}

/// Merging relies on the order of a map's keys: it is checked where bytes come in.
fn ascending<K: Ord>(last: Option<&(K, i64)>, key: &K, reader: &Reader<'_>) -> Result<(), CodecError> {
    match last {
        Some((last, _)) if last >= key => Err(reader.error("map keys in ascending order")),
        _ => Ok(()),
    }
}

fn read_value(column: &mut Column, reader: &mut Reader<'_>) -> Result<(), CodecError> {
    // Texts without a copy in between, as they are written.
    if let (Column::String(texts), Some(&TEXT)) = (&mut *column, reader.bytes.get(reader.at)) {
        reader.at += 1;
        texts.push(Some(reader.text()?));
        return Ok(());
    }
    let value = reader.value()?;
    column.push(&value);
    let fits = match (&*column, &value) {
        (_, Value::Null) => true,
        // An integer would be taken for a float.
        (Column::Float(_), value) => matches!(value, Value::Float(_)),
        (column, _) => !column.is_null(column.len() - 1),
    };
    if fits { Ok(()) } else { Err(reader.error("a value of the column's type")) }
}

/// Tag of a text.
const TEXT: u8 = 4;

impl StateBatch {
    /// Appends the states of `row` (without its key and pane).
    pub fn write_states(&self, row: usize, out: &mut Vec<u8>) {
        for column in &self.states {
            column.write_cell(row, out);
        }
    }

    /// Adds a row whose states were written by [`StateBatch::write_states`].
    ///
    /// # Errors
    /// When the bytes are not states of these columns; the batch is then not to be used any more.
    pub fn read_states(&mut self, key: &[u8], pane: Timestamp, reader: &mut Reader<'_>) -> Result<(), CodecError> {
        self.keys.push(key);
        self.panes.push(pane);
        for column in &mut self.states {
            column.read_cell(reader)?;
        }
        Ok(())
    }

    /// Appends all rows: varint n, then per row key, pane and states.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_varint(self.len() as u64, out);
        for row in 0..self.len() {
            write_bytes(self.keys.get(row), out);
            write_signed(self.panes[row].0, out);
            self.write_states(row, out);
        }
    }

    /// Adds all rows that [`StateBatch::write`] wrote.
    ///
    /// # Errors
    /// As [`StateBatch::read_states`].
    pub fn read(&mut self, reader: &mut Reader<'_>) -> Result<(), CodecError> {
        for _ in 0..reader.varint()? {
            let key = reader.bytes()?;
            let pane = Timestamp(reader.signed()?);
            self.read_states(key, pane, reader)?;
        }
        Ok(())
    }
}
