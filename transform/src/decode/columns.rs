//! Columns being filled, record by record.

use polars::prelude::{
    BooleanChunked, Column, Float64Chunked, Int64Chunked, IntoColumn, NewChunkedArray, PlSmallStr, StringChunked,
    TimeUnit,
};
use polars_arrow::array::MutableBinaryViewArray;
use polars_arrow::bitmap::BitmapBuilder;
use tideline_common::value::Type;

use super::json::{Scratch, Slot};
use super::time::rfc3339;
use crate::types::string_lists;

/// A value that fits its column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// The text or texts of the slot.
    Slot,
}

/// Why a value does not fit its column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Misfit {
    Type(&'static str),
    Range,
}

/// 2^63, the first float beyond the integers.
const INT_END: f64 = 9_223_372_036_854_775_808.0;

/// `slot` as a value of type `ty`. Whole floats are integers, integers are floats, RFC 3339 texts are instants;
/// nothing else is converted.
#[inline]
pub(crate) fn cell<'a>(slot: Slot<'a>, ty: Type, scratch: &Scratch<'a>) -> Result<Cell, Misfit> {
    Ok(match (slot, ty) {
        (Slot::Absent | Slot::Null, _) => Cell::Null,
        (Slot::Text(_) | Slot::Unescaped(..), Type::String) | (Slot::Texts(..), Type::Strings) => Cell::Slot,
        (Slot::Int(i), Type::Int) => Cell::Int(i),
        (Slot::Float(x), Type::Float) => Cell::Float(x),
        (Slot::Int(i), Type::Float) => Cell::Float(i as f64),
        (Slot::Bool(b), Type::Bool) => Cell::Bool(b),
        (Slot::Float(x), Type::Int) if x.fract() != 0.0 => return Err(Misfit::Type("a number with a fraction")),
        (Slot::Float(x), Type::Int) if (-INT_END..INT_END).contains(&x) => Cell::Int(x as i64),
        (Slot::Float(_), Type::Int) | (Slot::TooLarge, Type::Int | Type::Float) => return Err(Misfit::Range),
        (Slot::Text(_) | Slot::Unescaped(..), Type::Timestamp) => {
            let time = scratch.text_of(slot).and_then(rfc3339);
            Cell::Int(time.ok_or(Misfit::Type("a string that is not an RFC 3339 time"))?)
        }
        (slot, _) => return Err(Misfit::Type(found(slot))),
    })
}

/// What a slot holds, in words.
pub(crate) const fn found(slot: Slot<'_>) -> &'static str {
    match slot {
        Slot::Absent | Slot::Null => "null",
        Slot::Bool(_) => "a bool",
        Slot::Int(_) | Slot::Float(_) | Slot::TooLarge => "a number",
        Slot::Text(_) | Slot::Unescaped(..) => "a string",
        Slot::Texts(..) => "a list of strings",
        Slot::Other(what) => what,
    }
}

/// One column being filled.
pub(crate) enum ColumnBuilder {
    Bool(Vec<Option<bool>>),
    Int(Numbers<i64>),
    Float(Numbers<f64>),
    Timestamp(Numbers<i64>),
    String(MutableBinaryViewArray<str>),
    Strings { values: MutableBinaryViewArray<str>, ends: Vec<i64>, validity: BitmapBuilder },
}

/// Numbers, and which of them are there once one is not.
pub(crate) struct Numbers<T> {
    values: Vec<T>,
    validity: BitmapBuilder,
}

impl<T: Default> Numbers<T> {
    fn with_capacity(rows: usize) -> Self {
        Self { values: Vec::with_capacity(rows), validity: BitmapBuilder::with_capacity(rows) }
    }

    #[inline]
    fn push(&mut self, value: Option<T>) {
        self.validity.push(value.is_some());
        self.values.push(value.unwrap_or_default());
    }
}

impl ColumnBuilder {
    pub(crate) fn new(ty: Type, rows: usize) -> Self {
        match ty {
            Type::Bool => Self::Bool(Vec::with_capacity(rows)),
            Type::Int => Self::Int(Numbers::with_capacity(rows)),
            Type::Float => Self::Float(Numbers::with_capacity(rows)),
            Type::Timestamp => Self::Timestamp(Numbers::with_capacity(rows)),
            Type::String | Type::Map => Self::String(MutableBinaryViewArray::with_capacity(rows)),
            Type::Strings => Self::Strings {
                values: MutableBinaryViewArray::with_capacity(rows),
                ends: vec![0],
                validity: BitmapBuilder::with_capacity(rows),
            },
        }
    }

    /// Adds a row: `cell`, which was made of `slot` for this column.
    #[inline]
    pub(crate) fn push<'a>(&mut self, cell: Cell, slot: Slot<'a>, scratch: &Scratch<'a>) {
        match (self, cell) {
            (Self::String(builder), Cell::Slot) => builder.push(scratch.text_of(slot)),
            (Self::String(builder), _) => builder.push::<&str>(None),
            (Self::Int(builder) | Self::Timestamp(builder), Cell::Int(i)) => builder.push(Some(i)),
            (Self::Int(builder) | Self::Timestamp(builder), _) => builder.push(None),
            (Self::Float(builder), Cell::Float(x)) => builder.push(Some(x)),
            (Self::Float(builder), _) => builder.push(None),
            (Self::Bool(builder), Cell::Bool(b)) => builder.push(Some(b)),
            (Self::Bool(builder), _) => builder.push(None),
            (Self::Strings { values, ends, validity }, cell) => {
                validity.push(cell == Cell::Slot);
                if let Slot::Texts(start, end) = slot {
                    for text in scratch.texts.get(start..end).unwrap_or_default() {
                        values.push_value(scratch.text_of(*text).unwrap_or_default());
                    }
                }
                ends.push(values.len() as i64);
            }
        }
    }

    pub(crate) fn finish(self, name: PlSmallStr) -> Column {
        let times = |column: Int64Chunked| column.into_datetime(TimeUnit::Microseconds, None);
        match self {
            Self::Bool(v) => BooleanChunked::from_iter_options(name, v.into_iter()).into_column(),
            Self::Int(v) => {
                Int64Chunked::from_vec_validity(name, v.values, v.validity.into_opt_validity()).into_column()
            }
            Self::Float(v) => {
                Float64Chunked::from_vec_validity(name, v.values, v.validity.into_opt_validity()).into_column()
            }
            Self::Timestamp(v) => {
                times(Int64Chunked::from_vec_validity(name, v.values, v.validity.into_opt_validity())).into_column()
            }
            Self::String(builder) => StringChunked::with_chunk(name, builder.into()).into_column(),
            Self::Strings { values, ends, validity } => {
                string_lists(name, values.into(), ends, validity.into_opt_validity()).into_column()
            }
        }
    }
}
