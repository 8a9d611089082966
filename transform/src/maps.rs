//! Map states as Polars columns: lists of struct {`key`, `number`}.

use polars::prelude::{
    ChunkExplode, Column, DataType, Field, Int32Chunked, Int64Chunked, IntoColumn, IntoSeries, NewChunkedArray,
    PolarsResult, Series, StringChunked, StructChunked,
};
use polars_arrow::array::ListArray;
use polars_arrow::offset::OffsetsBuffer;
use polars_core::prelude::{CompatLevel, ListChunked};
use tideline_common::state::MapColumn;
use tideline_common::value::Type;

use crate::TransformError;

const KEY: &str = "key";
const NUMBER: &str = "number";

/// The Polars type of maps with keys of type `ty`.
pub(crate) fn data_type(ty: Type) -> DataType {
    let key = if ty == Type::Int { DataType::Int32 } else { DataType::String };
    DataType::List(Box::new(DataType::Struct(vec![
        Field::new(KEY.into(), key),
        Field::new(NUMBER.into(), DataType::Int64),
    ])))
}

/// A column of maps as a Polars column.
pub(crate) fn to_series(name: &str, maps: &MapColumn) -> Result<Column, TransformError> {
    let mut ends = vec![0_i64];
    let mut end = 0_i64;
    let mut count = |entries: usize| {
        end += entries as i64;
        ends.push(end);
    };
    let (keys, numbers, ty) = match maps {
        MapColumn::Int(rows) => {
            for row in rows {
                count(row.len());
            }
            let keys: Vec<i32> = rows.iter().flatten().map(|(key, _)| *key).collect();
            let numbers: Vec<i64> = rows.iter().flatten().map(|(_, number)| *number).collect();
            (Int32Chunked::from_vec(KEY.into(), keys).into_series(), numbers, Type::Int)
        }
        MapColumn::Text(rows) => {
            for row in rows {
                count(row.len());
            }
            let keys = rows.iter().flatten().map(|(key, _)| Some(key.as_ref()));
            let numbers: Vec<i64> = rows.iter().flatten().map(|(_, number)| *number).collect();
            (StringChunked::from_iter_options(KEY.into(), keys).into_series(), numbers, Type::String)
        }
    };
    Ok(lists(name, keys, numbers, ends, ty)?)
}

fn lists(name: &str, keys: Series, numbers: Vec<i64>, ends: Vec<i64>, ty: Type) -> PolarsResult<Column> {
    let height = numbers.len();
    let numbers = Int64Chunked::from_vec(NUMBER.into(), numbers).into_series();
    let entries = StructChunked::from_series("".into(), height, [keys, numbers].iter())?.into_series();
    let values = entries.rechunk().to_arrow(0, CompatLevel::newest());
    let dtype = ListArray::<i64>::default_datatype(values.dtype().clone());
    let offsets = OffsetsBuffer::try_from(ends)?;
    let list = ListArray::new(dtype, offsets, values, None);
    let list: ListChunked = ListChunked::with_chunk(name.into(), list);
    Ok(list.into_series().cast(&data_type(ty))?.into_column())
}

/// A Polars column as a column of maps with keys of type `ty`.
///
/// # Errors
/// When it is not a list of {`key`, `number`}.
pub(crate) fn from_series(column: &Column, ty: Type) -> Result<MapColumn, TransformError> {
    let series = column.as_materialized_series().cast(&data_type(ty))?.rechunk();
    let lists = series.list()?;
    let offsets = lists.offsets()?;
    let entries = lists.get_inner();
    let fields = entries.struct_()?.fields_as_series();
    let [keys, numbers] = fields.as_slice() else {
        return Err(TransformError::frame(column.name().as_str(), "not a map"));
    };
    let numbers: Vec<i64> = numbers.i64()?.iter().map(Option::unwrap_or_default).collect();
    let ranges = offsets.offset_and_length_iter().map(|(start, length)| start..start + length);
    if ty == Type::Int {
        let keys: Vec<i32> = keys.i32()?.iter().map(Option::unwrap_or_default).collect();
        let row = |range: std::ops::Range<usize>| {
            keys[range.clone()].iter().copied().zip(numbers[range].iter().copied()).collect()
        };
        return Ok(MapColumn::Int(ranges.map(row).collect()));
    }
    let keys: Vec<Box<str>> = keys.str()?.iter().map(|key| key.unwrap_or_default().into()).collect();
    let row = |range: std::ops::Range<usize>| {
        keys[range.clone()].iter().cloned().zip(numbers[range].iter().copied()).collect()
    };
    Ok(MapColumn::Text(ranges.map(row).collect()))
}
