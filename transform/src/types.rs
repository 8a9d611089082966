//! Types and columns of the domain as those of Polars, and back.

use polars::prelude::{
    BooleanChunked, Column as Series, DataType, Float64Chunked, Int64Chunked, IntoColumn, IntoSeries, NewChunkedArray,
    StringChunked, TimeUnit,
};
use polars_arrow::array::{Array, ListArray, MutableBinaryViewArray, Utf8ViewArray};
use polars_arrow::bitmap::Bitmap;
use polars_arrow::offset::OffsetsBuffer;
use polars_core::prelude::ListChunked;
use tideline_common::column::{Column, StringColumn};
use tideline_common::time::Timestamp;
use tideline_common::value::Type;

use crate::TransformError;

/// Instants, as every frame of this crate has them.
pub(crate) const TIME: DataType = DataType::Datetime(TimeUnit::Microseconds, None);

/// The Polars type of a domain type. A map has no column form and becomes text (JSON).
pub(crate) fn data_type(ty: Type) -> DataType {
    match ty {
        Type::Bool => DataType::Boolean,
        Type::Int => DataType::Int64,
        Type::Float => DataType::Float64,
        Type::String | Type::Map => DataType::String,
        Type::Timestamp => TIME,
        Type::Strings => DataType::List(Box::new(DataType::String)),
    }
}

/// The domain type that values of a Polars type have.
pub(crate) fn domain_type(dtype: &DataType) -> Option<Type> {
    Some(match dtype {
        DataType::Boolean => Type::Bool,
        dtype if dtype.is_integer() => Type::Int,
        dtype if dtype.is_float() => Type::Float,
        DataType::Date | DataType::Datetime(..) => Type::Timestamp,
        DataType::List(inner) if **inner == DataType::String => Type::Strings,
        // The type of `NULL` alone: any would do.
        DataType::String | DataType::Null => Type::String,
        _ => return None,
    })
}

/// A column of the domain as one of Polars.
pub(crate) fn series_from_column(name: &str, column: &Column) -> Series {
    let name = name.into();
    match column {
        Column::Bool(v) => BooleanChunked::from_iter_options(name, v.iter().copied()).into_column(),
        Column::Int(v) => Int64Chunked::from_slice_options(name, v).into_column(),
        Column::Float(v) => Float64Chunked::from_slice_options(name, v).into_column(),
        Column::String(v) => StringChunked::from_iter_options(name, (0..v.len()).map(|row| v.get(row))).into_column(),
        Column::Timestamp(v) => {
            let micros = v.iter().map(|time| time.map(|time| time.0));
            Int64Chunked::from_iter_options(name, micros).into_datetime(TimeUnit::Microseconds, None).into_column()
        }
        Column::Strings(v) => {
            let mut values = MutableBinaryViewArray::<str>::new();
            let mut ends = vec![0_i64];
            for list in v {
                for text in list.iter().flatten() {
                    values.push_value(text);
                }
                ends.push(values.len() as i64);
            }
            let validity: Bitmap = v.iter().map(Option::is_some).collect();
            string_lists(name, values.into(), ends, Some(validity)).into_column()
        }
    }
}

/// Lists of texts: row `i` has the texts from `ends[i]` to `ends[i + 1]`.
pub(crate) fn string_lists(
    name: polars::prelude::PlSmallStr,
    values: Utf8ViewArray,
    ends: Vec<i64>,
    validity: Option<Bitmap>,
) -> ListChunked {
    let dtype = ListArray::<i64>::default_datatype(values.dtype().clone());
    // `ends` starts at 0 and never falls: it is made by counting values.
    let offsets = OffsetsBuffer::try_from(ends).unwrap_or_default();
    ListChunked::with_chunk(name, ListArray::new(dtype, offsets, Box::new(values), validity))
}

/// A column of Polars as one of the domain, of type `ty`. Integers of any width are integers, and floats where
/// a float is asked for; times of any unit become microseconds UTC.
///
/// # Errors
/// When its type is another one.
pub(crate) fn column_from_series(series: &Series, ty: Type) -> Result<Column, TransformError> {
    let found = domain_type(series.dtype());
    let fits = match ty {
        Type::Float => matches!(found, Some(Type::Float | Type::Int)),
        Type::Map => found == Some(Type::String),
        _ => found == Some(ty),
    } || series.dtype() == &DataType::Null;
    if !fits {
        let message = format!("is of type {} where {ty} is needed", series.dtype());
        return Err(TransformError::frame(format!("column `{}`", series.name()), message));
    }
    let series = series.as_materialized_series().cast(&data_type(ty))?;
    Ok(match ty {
        Type::Bool => Column::Bool(series.bool()?.iter().collect()),
        Type::Int => Column::Int(series.i64()?.iter().collect()),
        Type::Float => Column::Float(series.f64()?.iter().collect()),
        Type::String | Type::Map => {
            let mut column = StringColumn::default();
            for text in series.str()?.iter() {
                column.push(text);
            }
            Column::String(column)
        }
        Type::Timestamp => {
            Column::Timestamp(series.datetime()?.physical().iter().map(|time| time.map(Timestamp)).collect())
        }
        Type::Strings => {
            let lists = series.list()?.rechunk().into_owned();
            let mut rows = Vec::with_capacity(lists.len());
            for row in 0..lists.len() {
                rows.push(match lists.get_as_series(row) {
                    Some(list) => Some(list.str()?.iter().flatten().map(str::to_owned).collect()),
                    None => None,
                });
            }
            Column::Strings(rows)
        }
    })
}

/// `column` in type `ty`.
///
/// # Errors
/// When a value cannot be converted.
pub(crate) fn cast(column: &Series, ty: Type) -> Result<Series, TransformError> {
    let dtype = data_type(ty);
    if *column.dtype() == dtype {
        return Ok(column.clone());
    }
    Ok(column.as_materialized_series().strict_cast(&dtype)?.into_series().into_column())
}
