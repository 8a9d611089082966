//! Values as CQL has them on the wire: big endian, each behind its length.
//!
//! | type | CQL | note |
//! |---|---|---|
//! | bool, int, float, string | `boolean`, `bigint`, `double`, `text` | |
//! | timestamp | `timestamp`, and `smallint` | a `timestamp` has milliseconds; the microseconds beyond are in a second column |
//! | strings | `frozen<list<text>>` | |
//! | map state | `frozen<map<int, bigint>>`, `frozen<map<text, bigint>>` | frozen: one cell, replaced whole, without tombstones |

use scylla::deserialize::row::{ColumnIterator, DeserializeRow};
use scylla::deserialize::{DeserializationError, TypeCheckError};
use scylla::frame::response::result::ColumnSpec;
use scylla::serialize::SerializationError;
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::writers::RowWriter;
use tideline_common::column::Column;
use tideline_common::ports::{PortError, PortResult};
use tideline_common::state::{MapColumn, Ordered, StateColumn};
use tideline_common::time::Timestamp;
use tideline_common::value::Type;

/// The type of a column of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CqlType {
    Boolean,
    Smallint,
    Int,
    Bigint,
    Double,
    Text,
    Blob,
    Timestamp,
    Texts,
    IntMap,
    TextMap,
}

impl CqlType {
    /// As `CREATE TABLE` and `system_schema.columns` write it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Smallint => "smallint",
            Self::Int => "int",
            Self::Bigint => "bigint",
            Self::Double => "double",
            Self::Text => "text",
            Self::Blob => "blob",
            Self::Timestamp => "timestamp",
            Self::Texts => "frozen<list<text>>",
            Self::IntMap => "frozen<map<int, bigint>>",
            Self::TextMap => "frozen<map<text, bigint>>",
        }
    }

    /// The type that holds values of `ty`.
    pub(super) const fn of(ty: Type) -> Self {
        match ty {
            Type::Bool => Self::Boolean,
            Type::Int => Self::Bigint,
            Type::Float => Self::Double,
            // A map is never a column; its column form is text.
            Type::String | Type::Map => Self::Text,
            Type::Timestamp => Self::Timestamp,
            Type::Strings => Self::Texts,
        }
    }
}

/// A bound value or a value read: `None` is null.
pub(super) type Cell<'a> = Option<&'a [u8]>;

const NULL: i32 = -1;
const UNSET: i32 = -2;

/// The bound values of one statement, in its order. The types of tables were compared with those of the program when
/// they were opened, so the driver need not look at each value again.
#[derive(Debug, Clone, Default)]
pub(super) struct Values {
    pub(super) bytes: Vec<u8>,
    lengths: Vec<i32>,
}

impl Values {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Bytes that this takes in a request.
    pub(super) const fn size(&self) -> usize {
        self.bytes.len() + 4 * self.lengths.len()
    }

    /// Bytes that a row of these counts for when Cassandra looks at the size of a batch, or some more: each cell has a
    /// timestamp, a time to live and a time of its end, 20 bytes together. A row and its partition have 62 bytes beside
    /// their cells: less than what keys, TTL and timestamp are counted for here, which are no cells.
    pub(super) const fn weight(&self) -> usize {
        self.bytes.len() + 20 * self.lengths.len()
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        // No cell comes near 2 GiB: records are bounded far below.
        self.lengths.push(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
    }

    /// A null, which deletes what is there.
    pub(super) fn null(&mut self) {
        self.lengths.push(NULL);
    }

    /// Nothing: what is there stays.
    pub(super) fn unset(&mut self) {
        self.lengths.push(UNSET);
    }

    pub(super) fn boolean(&mut self, value: bool) {
        self.bytes(&[u8::from(value)]);
    }

    pub(super) fn smallint(&mut self, value: i16) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn int(&mut self, value: i32) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn bigint(&mut self, value: i64) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn double(&mut self, value: f64) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    /// A time to the millisecond.
    pub(super) fn millis(&mut self, value: Timestamp) {
        self.bigint(split(value).0);
    }

    /// A time in two cells: to the millisecond, and the microseconds beyond it.
    pub(super) fn time(&mut self, value: Timestamp) {
        let (millis, micros) = split(value);
        self.bigint(millis);
        self.smallint(micros);
    }

    fn texts(&mut self, list: &[String]) {
        let mut bytes = (list.len() as i32).to_be_bytes().to_vec();
        for text in list {
            element(&mut bytes, text.as_bytes());
        }
        self.bytes(&bytes);
    }

    /// Row `row` of a column in its cells, each of them `absent` when it is null.
    pub(super) fn value(&mut self, column: &Column, row: usize) -> bool {
        match column {
            Column::Bool(v) if v[row].is_some() => self.boolean(v[row].unwrap_or_default()),
            Column::Int(v) if v[row].is_some() => self.bigint(v[row].unwrap_or_default()),
            Column::Float(v) if v[row].is_some() => self.double(v[row].unwrap_or_default()),
            Column::String(v) if v.get(row).is_some() => self.text(v.get(row).unwrap_or_default()),
            Column::Timestamp(v) if v[row].is_some() => self.time(v[row].unwrap_or_default()),
            Column::Strings(v) => match &v[row] {
                Some(list) => self.texts(list),
                None => {
                    self.unset();
                    return false;
                }
            },
            column => {
                (0..cells_of(column.ty())).for_each(|_| self.unset());
                return false;
            }
        }
        true
    }

    /// Group `row` of a state column in its cells; whether there was something (else they are unset).
    pub(super) fn state(&mut self, column: &StateColumn, row: usize) -> bool {
        match column {
            StateColumn::SumInt(v) => self.bigint(v[row]),
            StateColumn::SumFloat(v) => self.double(v[row]),
            StateColumn::Min(v) | StateColumn::Max(v) => return self.value(v, row),
            StateColumn::First(v) | StateColumn::Last(v) => {
                if !self.value(&v.values, row) {
                    (0..3).for_each(|_| self.unset());
                    return false;
                }
                self.time(Timestamp(v.times[row]));
                self.bigint(v.sequences[row]);
            }
            StateColumn::MapSum(v) | StateColumn::MapMax(v) => {
                let bytes = match v {
                    MapColumn::Int(rows) => map(rows[row].iter().map(|(k, n)| (k.to_be_bytes(), *n))),
                    MapColumn::Text(rows) => map(rows[row].iter().map(|(k, n)| (k.as_bytes(), *n))),
                };
                self.bytes(&bytes);
            }
        }
        true
    }
}

/// Milliseconds, and the microseconds beyond them.
pub(super) const fn split(time: Timestamp) -> (i64, i16) {
    (time.0.div_euclid(1_000), time.0.rem_euclid(1_000) as i16)
}

/// Cells that a value of `ty` takes.
pub(super) const fn cells_of(ty: Type) -> usize {
    if matches!(ty, Type::Timestamp) { 2 } else { 1 }
}

fn element(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn map<K: AsRef<[u8]>>(entries: impl ExactSizeIterator<Item = (K, i64)>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + 24 * entries.len());
    bytes.extend_from_slice(&(entries.len() as i32).to_be_bytes());
    for (key, number) in entries {
        element(&mut bytes, key.as_ref());
        element(&mut bytes, &number.to_be_bytes());
    }
    bytes
}

impl SerializeRow for Values {
    fn serialize(
        &self,
        ctx: &RowSerializationContext<'_>,
        writer: &mut RowWriter<'_>,
    ) -> Result<(), SerializationError> {
        if ctx.columns().len() != self.lengths.len() {
            let reason = format!("{} values for {} markers", self.lengths.len(), ctx.columns().len());
            return Err(SerializationError::new(std::io::Error::other(reason)));
        }
        let mut at = 0;
        for length in &self.lengths {
            let cell = writer.make_cell_writer();
            match *length {
                NULL => drop(cell.set_null()),
                UNSET => drop(cell.set_unset()),
                length => {
                    let end = at + length as usize;
                    cell.set_value(&self.bytes[at..end]).map_err(SerializationError::new)?;
                    at = end;
                }
            }
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }
}

/// The cells of a row as they came, for tables whose columns are known only when the program runs.
pub(super) struct Cells<'frame>(pub(super) Vec<Cell<'frame>>);

impl<'frame, 'metadata> DeserializeRow<'frame, 'metadata> for Cells<'frame> {
    fn type_check(_: &[ColumnSpec<'_>]) -> Result<(), TypeCheckError> {
        Ok(())
    }

    fn deserialize(row: ColumnIterator<'frame, 'metadata>) -> Result<Self, DeserializationError> {
        row.map(|column| Ok(column?.slice.map(|slice| slice.as_slice()))).collect::<Result<_, _>>().map(Self)
    }
}

/// Takes the cells of a row one after the other.
pub(super) struct CellReader<'a, 'frame> {
    cells: &'a [Cell<'frame>],
    at: usize,
}

fn damaged(reason: impl std::fmt::Display) -> PortError {
    PortError::corrupt("a row of the speed views", reason)
}

impl<'a, 'frame> CellReader<'a, 'frame> {
    pub(super) const fn new(cells: &'a [Cell<'frame>]) -> Self {
        Self { cells, at: 0 }
    }

    pub(super) fn cell(&mut self) -> PortResult<Cell<'frame>> {
        let cell = self.cells.get(self.at).ok_or_else(|| damaged(format!("it has only {} cells", self.at)))?;
        self.at += 1;
        Ok(*cell)
    }

    pub(super) fn skip(&mut self, cells: usize) {
        self.at += cells;
    }

    /// The last two cells, which are not taken: when the row was written, and which of its states are null.
    pub(super) fn last_two(&self) -> PortResult<(Timestamp, &'frame [u8])> {
        let [.., written_at, nulls] = self.cells else { return Err(damaged("it has too few cells")) };
        let written_at = CellReader { cells: &[*written_at], at: 0 }.millis()?;
        Ok((Self::required(written_at, "time of writing")?, nulls.unwrap_or_default()))
    }

    /// The last cell, which is not taken: when the row was written.
    pub(super) fn last(&self) -> PortResult<Timestamp> {
        let [.., written_at] = self.cells else { return Err(damaged("it has no cells")) };
        let written_at = CellReader { cells: &[*written_at], at: 0 }.millis()?;
        Self::required(written_at, "time of writing")
    }

    fn fixed<const N: usize>(&mut self) -> PortResult<Option<[u8; N]>> {
        let at = self.at;
        self.cell()?
            .map(|bytes| {
                bytes.try_into().map_err(|_| damaged(format!("cell {at} has {} bytes instead of {N}", bytes.len())))
            })
            .transpose()
    }

    pub(super) fn boolean(&mut self) -> PortResult<Option<bool>> {
        Ok(self.fixed::<1>()?.map(|b| b[0] != 0))
    }

    pub(super) fn smallint(&mut self) -> PortResult<Option<i16>> {
        Ok(self.fixed()?.map(i16::from_be_bytes))
    }

    pub(super) fn int(&mut self) -> PortResult<Option<i32>> {
        Ok(self.fixed()?.map(i32::from_be_bytes))
    }

    pub(super) fn bigint(&mut self) -> PortResult<Option<i64>> {
        Ok(self.fixed()?.map(i64::from_be_bytes))
    }

    pub(super) fn double(&mut self) -> PortResult<Option<f64>> {
        Ok(self.fixed()?.map(f64::from_be_bytes))
    }

    pub(super) fn text(&mut self) -> PortResult<Option<&'frame str>> {
        self.cell()?.map(|bytes| std::str::from_utf8(bytes).map_err(damaged)).transpose()
    }

    /// A time in two cells.
    pub(super) fn time(&mut self) -> PortResult<Option<Timestamp>> {
        let (millis, micros) = (self.bigint()?, self.smallint()?);
        Ok(millis.map(|millis| join(millis, micros.unwrap_or(0))))
    }

    /// A time to the millisecond.
    pub(super) fn millis(&mut self) -> PortResult<Option<Timestamp>> {
        Ok(self.bigint()?.map(|millis| join(millis, 0)))
    }

    /// What must be there.
    pub(super) fn required<T>(value: Option<T>, what: &str) -> PortResult<T> {
        value.ok_or_else(|| damaged(format!("it has no {what}")))
    }

    /// Adds the value of the next cells to `column`.
    pub(super) fn value(&mut self, column: &mut Column) -> PortResult<()> {
        match column {
            Column::Bool(v) => v.push(self.boolean()?),
            Column::Int(v) => v.push(self.bigint()?),
            Column::Float(v) => v.push(self.double()?),
            Column::String(v) => v.push(self.text()?),
            Column::Timestamp(v) => v.push(self.time()?),
            Column::Strings(v) => v.push(self.cell()?.map(read_texts).transpose()?),
        }
        Ok(())
    }

    /// Adds the state of the next cells to `column`. A state that is said to be null is so whatever its cells hold.
    pub(super) fn state(&mut self, column: &mut StateColumn, is_null: bool) -> PortResult<()> {
        if is_null {
            column.push_identity();
            self.skip(state_cells(column));
            return Ok(());
        }
        match column {
            StateColumn::SumInt(v) => v.push(self.bigint()?.unwrap_or(0)),
            StateColumn::SumFloat(v) => v.push(self.double()?.unwrap_or(0.0)),
            StateColumn::Min(v) | StateColumn::Max(v) => self.value(v)?,
            StateColumn::First(v) | StateColumn::Last(v) => {
                self.value(&mut v.values)?;
                v.times.push(self.time()?.unwrap_or_default().0);
                v.sequences.push(self.bigint()?.unwrap_or(0));
            }
            StateColumn::MapSum(v) | StateColumn::MapMax(v) => {
                let cell = self.cell()?.unwrap_or(&[0; 4]);
                match v {
                    MapColumn::Int(rows) => {
                        rows.push(read_map(cell, |key| Ok(i32::from_be_bytes(key.try_into().map_err(damaged)?)))?);
                    }
                    MapColumn::Text(rows) => {
                        rows.push(read_map(cell, |key| Ok(std::str::from_utf8(key).map_err(damaged)?.into()))?);
                    }
                }
            }
        }
        Ok(())
    }
}

const fn join(millis: i64, micros: i16) -> Timestamp {
    Timestamp(millis.saturating_mul(1_000).saturating_add(micros as i64))
}

/// Cells that a state of this column takes.
fn state_cells(column: &StateColumn) -> usize {
    match column {
        StateColumn::Min(v) | StateColumn::Max(v) => cells_of(v.ty()),
        StateColumn::First(Ordered { values, .. }) | StateColumn::Last(Ordered { values, .. }) => {
            cells_of(values.ty()) + 3
        }
        _ => 1,
    }
}

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> PortResult<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(n).ok_or_else(|| damaged("a collection is cut"))?;
    *bytes = rest;
    Ok(taken)
}

fn length(bytes: &mut &[u8]) -> PortResult<usize> {
    let word: [u8; 4] = take(bytes, 4)?.try_into().map_err(damaged)?;
    usize::try_from(i32::from_be_bytes(word)).map_err(damaged)
}

fn read_texts(mut bytes: &[u8]) -> PortResult<Vec<String>> {
    let count = length(&mut bytes)?;
    let mut list = Vec::new();
    for _ in 0..count {
        let length = length(&mut bytes)?;
        list.push(std::str::from_utf8(take(&mut bytes, length)?).map_err(damaged)?.to_owned());
    }
    Ok(list)
}

fn read_map<K: Ord>(mut bytes: &[u8], key: impl Fn(&[u8]) -> PortResult<K>) -> PortResult<Vec<(K, i64)>> {
    let count = length(&mut bytes)?;
    let mut entries = Vec::with_capacity(count.min(bytes.len() / 16));
    for _ in 0..count {
        let length_of_key = length(&mut bytes)?;
        let key = key(take(&mut bytes, length_of_key)?)?;
        let length_of_number = length(&mut bytes)?;
        let number: [u8; 8] = take(&mut bytes, length_of_number)?.try_into().map_err(damaged)?;
        entries.push((key, i64::from_be_bytes(number)));
    }
    // A person may have written it, and merging relies on the order.
    entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(entries)
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use tideline_common::state::{Input, Rule, StateField};
    use tideline_common::value::Value;

    use super::*;

    /// The cells of bound values, as a server would answer them: unset ones are null.
    fn cells(values: &Values) -> Vec<Cell<'_>> {
        let mut at = 0;
        values
            .lengths
            .iter()
            .map(|length| {
                let length = usize::try_from(*length).ok()?;
                at += length;
                Some(&values.bytes[at - length..at])
            })
            .collect()
    }

    /// Any value of a type.
    pub(in super::super) fn value(ty: Type) -> BoxedStrategy<Value> {
        match ty {
            Type::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
            Type::Int => any::<i64>().prop_map(Value::Int).boxed(),
            Type::Float => {
                any::<f64>().prop_filter("NaN differs from itself", |x| !x.is_nan()).prop_map(Value::Float).boxed()
            }
            Type::Timestamp => any::<i64>().prop_map(|t| Value::Timestamp(Timestamp(t))).boxed(),
            Type::Strings => prop::collection::vec(".{0,3}", 0..4).prop_map(Value::Strings).boxed(),
            _ => ".{0,4}".prop_map(Value::String).boxed(),
        }
    }

    fn of_any_type() -> impl Strategy<Value = (Type, Value)> {
        let types = vec![Type::Bool, Type::Int, Type::Float, Type::String, Type::Timestamp, Type::Strings];
        prop::sample::select(types)
            .prop_flat_map(|ty| prop_oneof![4 => value(ty), 1 => Just(Value::Null)].prop_map(move |v| (ty, v)))
    }

    proptest! {
        #[test]
        fn values_read_back((ty, value) in of_any_type()) {
            let mut column = Column::new(ty);
            column.push(&value);
            let mut bound = Values::new();
            prop_assert_eq!(bound.value(&column, 0), !value.is_null());
            prop_assert_eq!(bound.lengths.len(), cells_of(ty));
            let mut back = Column::new(ty);
            CellReader::new(&cells(&bound)).value(&mut back).unwrap();
            prop_assert_eq!(back, column);
        }

        #[test]
        fn ordered_states_read_back((ty, value) in of_any_type(), time in any::<i64>(), sequence in any::<i64>()) {
            let field = StateField { name: "x".into(), rule: Rule::Last, ty, input: Input::Value, table: "t".into(), argument: None };
            let mut column = StateColumn::new(&field);
            if let StateColumn::Last(v) = &mut column {
                v.values.push(&value);
                v.times.push(if value.is_null() { 0 } else { time });
                v.sequences.push(if value.is_null() { 0 } else { sequence });
            }
            let mut bound = Values::new();
            let there = bound.state(&column, 0);
            prop_assert_eq!(bound.lengths.len(), state_cells(&column));
            let mut back = StateColumn::new(&field);
            CellReader::new(&cells(&bound)).state(&mut back, !there).unwrap();
            prop_assert_eq!(&back, &column);
            // Whatever an older row left behind.
            let mut null = StateColumn::new(&field);
            CellReader::new(&cells(&bound)).state(&mut null, true).unwrap();
            let mut identity = StateColumn::new(&field);
            identity.push_identity();
            prop_assert_eq!(null, identity);
        }

        #[test]
        fn maps_read_back(ints in prop::collection::btree_map(any::<i32>(), any::<i64>(), 0..9), texts in prop::collection::btree_map(".{0,4}", any::<i64>(), 0..9)) {
            let int = StateColumn::MapSum(MapColumn::Int(vec![ints.into_iter().collect()]));
            let text = StateColumn::MapMax(MapColumn::Text(vec![texts.into_iter().map(|(k, n)| (k.into(), n)).collect()]));
            let mut bound = Values::new();
            prop_assert!(bound.state(&int, 0) && bound.state(&text, 0));
            let (mut a, mut b) = (StateColumn::MapSum(MapColumn::Int(Vec::new())), StateColumn::MapMax(MapColumn::Text(Vec::new())));
            let cells = cells(&bound);
            let mut reader = CellReader::new(&cells);
            reader.state(&mut a, false).unwrap();
            reader.state(&mut b, false).unwrap();
            prop_assert_eq!((a, b), (int, text));
        }

        #[test]
        fn damage_is_an_error_not_a_panic(noise in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = read_texts(&noise);
            let _ = read_map(&noise, |_| Ok(0));
            for ty in [Type::Bool, Type::Int, Type::Float, Type::String, Type::Timestamp, Type::Strings] {
                let _ = CellReader::new(&[Some(&noise), Some(&noise)]).value(&mut Column::new(ty));
            }
        }
    }
}
