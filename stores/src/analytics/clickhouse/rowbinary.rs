//! Rows in the server's `RowBinary` format, straight from and to typed columns.
//!
//! ```text
//! Nullable(T)  00 T | 01          Int64, DateTime64, Float64  8 bytes, little endian
//! Bool         1 byte             Int32                       4 bytes, little endian
//! String       length, UTF-8      Map, Array                  length, then entries; lengths are LEB128 varints
//! ```

use tideline_common::column::Column;
use tideline_common::key;
use tideline_common::plan::Field;
use tideline_common::ports::{PortError, PortResult};
use tideline_common::state::{KeyColumn, MapColumn, Ordered, Rule, StateBatch, StateColumn, StateField};
use tideline_common::time::Timestamp;
use tideline_common::value::{Type, Value};

use super::server::Answer;

/// Appends a length.
pub(super) fn write_length(mut length: usize, out: &mut Vec<u8>) {
    while length >= 0x80 {
        out.push((length & 0x7F) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

/// Appends a text.
pub(super) fn write_text(text: &str, out: &mut Vec<u8>) {
    write_length(text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

/// Appends an integer.
pub(super) fn write_int(i: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(&i.to_le_bytes());
}

fn write_some(value: Option<i64>, out: &mut Vec<u8>) {
    match value {
        Some(value) => {
            out.push(0);
            write_int(value, out);
        }
        None => out.push(1),
    }
}

/// Appends row `row` of a column, as a value that may be null; lists as they are, null lists as empty ones.
pub(super) fn write_value(column: &Column, row: usize, out: &mut Vec<u8>) {
    match column {
        Column::Bool(v) => match v[row] {
            Some(b) => out.extend_from_slice(&[0, u8::from(b)]),
            None => out.push(1),
        },
        Column::Int(v) => write_some(v[row], out),
        Column::Float(v) => write_some(v[row].map(|x| x.to_bits() as i64), out),
        Column::Timestamp(v) => write_some(v[row].map(|t| t.0), out),
        Column::String(v) => match v.get(row) {
            Some(text) => {
                out.push(0);
                write_text(text, out);
            }
            None => out.push(1),
        },
        Column::Strings(v) => {
            let list = v[row].as_deref().unwrap_or_default();
            write_length(list.len(), out);
            for text in list {
                write_text(text, out);
            }
        }
    }
}

fn write_key_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Bool(b) => out.extend_from_slice(&[0, u8::from(*b)]),
        Value::Int(i) => write_some(Some(*i), out),
        Value::Float(x) => write_some(Some(x.to_bits() as i64), out),
        Value::Timestamp(t) => write_some(Some(t.0), out),
        Value::String(s) => {
            out.push(0);
            write_text(s, out);
        }
        Value::Null | Value::Strings(_) | Value::Map(_) => out.push(1),
    }
}

/// Appends rows of states, in the order of the columns of their table, each with `tail` after it.
///
/// # Errors
/// `Corrupt` when a key is not one of `key`.
pub(super) fn write_states(key: &[Field], states: &StateBatch, tail: &[u8], out: &mut Vec<u8>) -> PortResult<()> {
    for row in 0..states.len() {
        let values = key::decode(states.keys.get(row)).map_err(|e| PortError::corrupt("a key", e))?;
        if values.len() != key.len() {
            let reason = format!("it has {} values and the view has {} key columns", values.len(), key.len());
            return Err(PortError::corrupt("a key", reason));
        }
        for value in &values {
            write_key_value(value, out);
        }
        write_int(states.panes[row].0, out);
        for column in &states.states {
            write_state(column, row, out);
        }
        out.extend_from_slice(tail);
    }
    Ok(())
}

fn write_state(column: &StateColumn, row: usize, out: &mut Vec<u8>) {
    match column {
        StateColumn::SumInt(v) => write_int(v[row], out),
        StateColumn::SumFloat(v) => write_int(v[row].to_bits() as i64, out),
        StateColumn::Min(v) | StateColumn::Max(v) => write_value(v, row, out),
        StateColumn::First(v) | StateColumn::Last(v) => {
            let present = !v.values.is_null(row);
            write_value(&v.values, row, out);
            write_some(present.then_some(v.times[row]), out);
            write_some(present.then_some(v.sequences[row]), out);
        }
        StateColumn::MapSum(v) | StateColumn::MapMax(v) => match v {
            MapColumn::Int(rows) => {
                write_length(rows[row].len(), out);
                for (key, number) in &rows[row] {
                    out.extend_from_slice(&key.to_le_bytes());
                    write_int(*number, out);
                }
            }
            MapColumn::Text(rows) => {
                write_length(rows[row].len(), out);
                for (key, number) in &rows[row] {
                    write_text(key, out);
                    write_int(*number, out);
                }
            }
        },
    }
}

/// Bytes of an answer, read from the front. `None`: they end too early.
#[derive(Clone, Copy)]
struct Cursor<'a> {
    bytes: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(front)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn int(&mut self) -> Option<i64> {
        self.take(8)?.try_into().ok().map(i64::from_le_bytes)
    }

    fn int32(&mut self) -> Option<i32> {
        self.take(4)?.try_into().ok().map(i32::from_le_bytes)
    }

    fn length(&mut self) -> Option<usize> {
        let mut length = 0_usize;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            length |= usize::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(length);
            }
        }
        None
    }

    fn text_bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    /// A number that may be null; 0 for null.
    fn int_or_zero(&mut self) -> Option<i64> {
        if self.byte()? == 0 { self.int() } else { Some(0) }
    }
}

/// What a column of an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Value(Type),
    /// A number of 8 bytes.
    Number,
    Ordered(Type),
    IntMap,
    TextMap,
}

impl Shape {
    fn of(field: &StateField) -> Self {
        match field.rule {
            Rule::Sum => Self::Number,
            Rule::Min | Rule::Max => Self::Value(field.ty),
            Rule::First | Rule::Last => Self::Ordered(field.ty),
            Rule::MapSum | Rule::MapMax if field.ty == Type::Int => Self::IntMap,
            Rule::MapSum | Rule::MapMax => Self::TextMap,
        }
    }

    /// Passes over one value.
    fn skip(self, from: &mut Cursor<'_>) -> Option<()> {
        match self {
            Self::Number => from.int().map(drop),
            Self::Value(Type::Strings) => {
                for _ in 0..from.length()? {
                    from.text_bytes()?;
                }
                Some(())
            }
            Self::Value(ty) => {
                if from.byte()? != 0 {
                    return Some(());
                }
                match ty {
                    Type::Bool => from.byte().map(drop),
                    Type::String | Type::Map => from.text_bytes().map(drop),
                    _ => from.int().map(drop),
                }
            }
            Self::Ordered(ty) => {
                Self::Value(ty).skip(from)?;
                from.int_or_zero()?;
                from.int_or_zero().map(drop)
            }
            Self::IntMap => {
                for _ in 0..from.length()? {
                    from.take(12)?;
                }
                Some(())
            }
            Self::TextMap => {
                for _ in 0..from.length()? {
                    from.text_bytes()?;
                    from.int()?;
                }
                Some(())
            }
        }
    }
}

/// A text that cannot be read, or bytes that end too early.
fn damaged() -> PortError {
    PortError::corrupt("an answer of ClickHouse", "it is not what was asked for")
}

fn text(bytes: &[u8]) -> PortResult<&str> {
    std::str::from_utf8(bytes).map_err(|_| damaged())
}

fn read_value(column: &mut Column, from: &mut Cursor<'_>) -> PortResult<()> {
    if let Column::Strings(v) = column {
        let mut list = Vec::new();
        for _ in 0..from.length().ok_or_else(damaged)? {
            list.push(text(from.text_bytes().ok_or_else(damaged)?)?.to_owned());
        }
        v.push(Some(list));
        return Ok(());
    }
    let is_null = from.byte().ok_or_else(damaged)? != 0;
    let mut number = || if is_null { Ok(None) } else { from.int().map(Some).ok_or_else(damaged) };
    match column {
        Column::Int(v) => v.push(number()?),
        Column::Float(v) => v.push(number()?.map(|bits| f64::from_bits(bits as u64))),
        Column::Timestamp(v) => v.push(number()?.map(Timestamp)),
        Column::Bool(v) => v.push(if is_null { None } else { Some(from.byte().ok_or_else(damaged)? != 0) }),
        Column::String(v) if is_null => v.push(None),
        Column::String(v) => v.push(Some(text(from.text_bytes().ok_or_else(damaged)?)?)),
        Column::Strings(_) => {}
    }
    Ok(())
}

fn read_state(column: &mut StateColumn, from: &mut Cursor<'_>) -> PortResult<()> {
    match column {
        StateColumn::SumInt(v) => v.push(from.int().ok_or_else(damaged)?),
        StateColumn::SumFloat(v) => v.push(f64::from_bits(from.int().ok_or_else(damaged)? as u64)),
        StateColumn::Min(v) | StateColumn::Max(v) => read_value(v, from)?,
        StateColumn::First(Ordered { values, times, sequences })
        | StateColumn::Last(Ordered { values, times, sequences }) => {
            read_value(values, from)?;
            times.push(from.int_or_zero().ok_or_else(damaged)?);
            sequences.push(from.int_or_zero().ok_or_else(damaged)?);
        }
        StateColumn::MapSum(v) | StateColumn::MapMax(v) => {
            let length = from.length().ok_or_else(damaged)?;
            match v {
                MapColumn::Int(rows) => {
                    let mut map = Vec::new();
                    for _ in 0..length {
                        let key = from.int32().ok_or_else(damaged)?;
                        map.push((key, from.int().ok_or_else(damaged)?));
                    }
                    map.sort_unstable_by_key(|(key, _)| *key);
                    rows.push(map);
                }
                MapColumn::Text(rows) => {
                    let mut map = Vec::new();
                    for _ in 0..length {
                        let key: Box<str> = text(from.text_bytes().ok_or_else(damaged)?)?.into();
                        map.push((key, from.int().ok_or_else(damaged)?));
                    }
                    map.sort_unstable();
                    rows.push(map);
                }
            }
        }
    }
    Ok(())
}

/// Takes in rows one by one.
pub(super) trait Rows: Send {
    /// Passes over one row; `None` when it is not whole yet.
    fn skip(&self, bytes: &[u8]) -> Option<usize>;

    /// Takes in one row, which is whole.
    fn read(&mut self, bytes: &[u8]) -> PortResult<()>;
}

/// Cuts an answer into rows; keeps no more of it than a row that is not whole.
pub(super) struct Reader<R> {
    pub(super) rows: R,
    rest: Vec<u8>,
}

impl<R: Rows> Reader<R> {
    pub(super) const fn new(rows: R) -> Self {
        Self { rows, rest: Vec::new() }
    }

    fn all(&mut self, mut bytes: &[u8]) -> PortResult<usize> {
        let whole = bytes.len();
        while !bytes.is_empty() {
            let Some(length) = self.rows.skip(bytes) else { break };
            self.rows.read(&bytes[..length])?;
            bytes = &bytes[length..];
        }
        Ok(whole - bytes.len())
    }
}

impl<R: Rows> Answer for Reader<R> {
    fn part(&mut self, bytes: &[u8]) -> PortResult<()> {
        if self.rest.is_empty() {
            let taken = self.all(bytes)?;
            self.rest.extend_from_slice(&bytes[taken..]);
            return Ok(());
        }
        let mut pending = std::mem::take(&mut self.rest);
        pending.extend_from_slice(bytes);
        let taken = self.all(&pending)?;
        pending.drain(..taken);
        self.rest = pending;
        Ok(())
    }

    fn end(&mut self) -> PortResult<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(damaged()) }
    }
}

/// Rows of states: key columns, pane, states.
pub(super) struct StateRows {
    shapes: Vec<Shape>,
    key: Vec<Column>,
    panes: Vec<Timestamp>,
    states: Vec<StateColumn>,
}

impl StateRows {
    pub(super) fn new(key: &[Field], fields: &[StateField]) -> Self {
        let mut shapes: Vec<Shape> = key.iter().map(|f| Shape::Value(f.ty)).collect();
        shapes.push(Shape::Number);
        shapes.extend(fields.iter().map(Shape::of));
        let key = key.iter().map(|f| Column::new(f.ty)).collect();
        Self { shapes, key, panes: Vec::new(), states: fields.iter().map(StateColumn::new).collect() }
    }

    /// What was read.
    pub(super) fn into_batch(self) -> StateBatch {
        let mut keys = KeyColumn::default();
        for row in 0..self.panes.len() {
            keys.push_with(|bytes| key::encode_row(&self.key, row, bytes));
        }
        StateBatch { keys, panes: self.panes, states: self.states }
    }
}

impl Rows for StateRows {
    fn skip(&self, bytes: &[u8]) -> Option<usize> {
        skip(&self.shapes, bytes)
    }

    fn read(&mut self, bytes: &[u8]) -> PortResult<()> {
        let mut from = Cursor { bytes };
        for column in &mut self.key {
            read_value(column, &mut from)?;
        }
        self.panes.push(Timestamp(from.int().ok_or_else(damaged)?));
        for column in &mut self.states {
            read_state(column, &mut from)?;
        }
        Ok(())
    }
}

fn skip(shapes: &[Shape], bytes: &[u8]) -> Option<usize> {
    let mut from = Cursor { bytes };
    for shape in shapes {
        shape.skip(&mut from)?;
    }
    Some(bytes.len() - from.bytes.len())
}

/// Rows of values.
pub(super) struct ValueRows {
    shapes: Vec<Shape>,
    /// What was read.
    pub(super) columns: Vec<Column>,
}

impl ValueRows {
    pub(super) fn new(fields: &[Field]) -> Self {
        let shapes = fields.iter().map(|f| Shape::Value(f.ty)).collect();
        Self { shapes, columns: fields.iter().map(|f| Column::new(f.ty)).collect() }
    }
}

impl Rows for ValueRows {
    fn skip(&self, bytes: &[u8]) -> Option<usize> {
        skip(&self.shapes, bytes)
    }

    fn read(&mut self, bytes: &[u8]) -> PortResult<()> {
        let mut from = Cursor { bytes };
        self.columns.iter_mut().try_for_each(|column| read_value(column, &mut from))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use tideline_common::key::Key;
    use tideline_common::state::Input;

    use super::*;

    fn fields() -> Vec<StateField> {
        let field = |rule, ty| StateField {
            name: format!("{rule:?}{ty}"),
            rule,
            ty,
            input: Input::Value,
            table: "t".to_owned(),
            argument: None,
        };
        vec![
            field(Rule::Sum, Type::Int),
            field(Rule::Sum, Type::Float),
            field(Rule::Min, Type::String),
            field(Rule::Max, Type::Bool),
            field(Rule::Last, Type::Timestamp),
            field(Rule::MapSum, Type::String),
            field(Rule::MapMax, Type::Int),
        ]
    }

    type Row = ((Option<String>, Option<f64>), i64, i64, f64, Option<String>, Option<bool>, Option<(i64, i64, i64)>);

    fn row() -> impl Strategy<Value = Row> {
        let text = || prop::option::of("[\\x00'\"a\u{e9}\u{1F600}]{0,200}");
        let numbers =
            (any::<i64>(), any::<i64>(), any::<f64>().prop_filter("NaN differs from itself", |x| !x.is_nan()));
        let last = prop::option::of((any::<i64>(), any::<i64>(), any::<i64>()));
        ((text(), prop::option::of(-1e9..1e9)), numbers, text(), any::<Option<bool>>(), last)
            .prop_map(|(key, (pane, sum, float), min, max, last)| (key, pane, sum, float, min, max, last))
    }

    fn batch(rows: &[Row]) -> StateBatch {
        let mut batch = StateBatch::new(&fields());
        for ((text, number), pane, sum, float, min, max, last) in rows {
            let value = |text: &Option<String>| text.clone().map_or(Value::Null, Value::String);
            let key = Key::of(&[value(text), number.map_or(Value::Null, Value::Float)]);
            let row = batch.push_identity(key.as_bytes(), Timestamp(*pane));
            for state in &mut batch.states {
                match state {
                    StateColumn::SumInt(v) => v[row] = *sum,
                    StateColumn::SumFloat(v) => v[row] = *float,
                    StateColumn::Min(Column::String(v)) => {
                        if let Some(min) = min {
                            v.set(row, min);
                        }
                    }
                    StateColumn::Max(Column::Bool(v)) => v[row] = *max,
                    StateColumn::Last(v) => {
                        if let (Some((value, time, sequence)), Column::Timestamp(values)) = (last, &mut v.values) {
                            values[row] = Some(Timestamp(*value));
                            (v.times[row], v.sequences[row]) = (*time, *sequence);
                        }
                    }
                    StateColumn::MapSum(MapColumn::Text(v)) => {
                        v[row] = text.iter().map(|text| (text.as_str().into(), *sum)).collect();
                    }
                    StateColumn::MapMax(MapColumn::Int(v)) => v[row] = vec![(-3, *sum), (9, *pane)],
                    _ => {}
                }
            }
        }
        batch
    }

    proptest! {
        #[test]
        fn rows_read_back_however_they_are_cut(
            rows in prop::collection::vec(row(), 0..12),
            cuts in prop::collection::vec(1..97_usize, 1..20),
        ) {
            let key = [("s", Type::String), ("x", Type::Float)].map(|(name, ty)| Field { name: name.to_owned(), ty });
            let batch = batch(&rows);
            let mut bytes = Vec::new();
            write_states(&key, &batch, &[], &mut bytes).unwrap();
            let mut reader = Reader::new(StateRows::new(&key, &fields()));
            let (mut rest, mut cuts) = (bytes.as_slice(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (part, after) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                reader.part(part).unwrap();
                rest = after;
            }
            reader.end().unwrap();
            prop_assert_eq!(reader.rows.into_batch(), batch);
        }

        #[test]
        fn damage_is_an_error_not_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = Reader::new(StateRows::new(&[], &fields()));
            let _ = reader.part(&bytes).and_then(|()| reader.end());
        }
    }

    #[test]
    fn an_answer_that_ends_within_a_row_is_damaged() {
        let mut reader = Reader::new(ValueRows::new(&[Field { name: "n".to_owned(), ty: Type::Int }]));
        reader.part(&[0, 1, 2]).unwrap();
        assert!(matches!(reader.end(), Err(PortError::Corrupt { .. })));
    }
}
