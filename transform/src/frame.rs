//! States, answers and rows as Polars frames.
//!
//! # The schema of Gold
//! Key columns; `pane` (microseconds); then per state field, in the plan's order:
//!
//! | rule | columns |
//! |---|---|
//! | `sum` | `name`: int64 or float64 |
//! | `min`, `max` | `name`: the value |
//! | `first`, `last` | `name`: the value, `name__time` (microseconds), `name__sequence` (int64); all null together |
//! | `map_sum`, `map_max` | `name`: list of struct {`key`, `number`}, ascending by key |

use polars::prelude::{Column as Series, DataFrame, DataType, IntoColumn, NamedFrom, TimeUnit};
use tideline_common::column::Column;
use tideline_common::key;
use tideline_common::plan::{Answers, EVENT_TIME, Field, ViewPlan};
use tideline_common::ports::{LookupRows, LookupSchema, ViewSchema};
use tideline_common::state::{KeyColumn, Ordered, Rule, StateBatch, StateColumn, StateField};
use tideline_common::time::Timestamp;
use tideline_common::value::{Type, Value};

use crate::types::{column_from_series, series_from_column};
use crate::{ORDINAL, SEQUENCE, TransformError, maps};

/// The column of a Gold frame that holds the start of the pane.
pub const PANE: &str = "pane";

/// States as a frame, in the schema of Gold.
///
/// # Errors
/// When the batch is not of the view's fields, or a key not of its key columns.
pub fn states_to_frame(view: &ViewSchema, states: &StateBatch) -> Result<DataFrame, TransformError> {
    check_fields(&view.name, view.fields.len(), states)?;
    let mut columns = key_columns(&view.key, &states.keys)?;
    columns.push(timestamps(PANE, &states.panes));
    for (field, state) in view.fields.iter().zip(&states.states) {
        let name = field.name.as_str();
        match state {
            StateColumn::SumInt(v) => columns.push(polars::prelude::Series::new(name.into(), v).into_column()),
            StateColumn::SumFloat(v) => columns.push(polars::prelude::Series::new(name.into(), v).into_column()),
            StateColumn::Min(v) | StateColumn::Max(v) => columns.push(series_from_column(name, v)),
            StateColumn::First(v) | StateColumn::Last(v) => {
                let present = |numbers: &[i64]| -> Vec<Option<i64>> {
                    (0..numbers.len()).map(|row| (!v.values.is_null(row)).then_some(numbers[row])).collect()
                };
                let times = present(&v.times).into_iter().map(|time| time.map(Timestamp)).collect();
                columns.push(series_from_column(name, &v.values));
                columns.push(series_from_column(&time_name(name), &Column::Timestamp(times)));
                columns.push(series_from_column(&sequence_name(name), &Column::Int(present(&v.sequences))));
            }
            StateColumn::MapSum(v) | StateColumn::MapMax(v) => columns.push(maps::to_series(name, v)?),
        }
    }
    Ok(DataFrame::new(states.len(), columns)?)
}

/// States from a frame in the schema of Gold.
///
/// # Errors
/// When a column is missing or of another type.
pub fn frame_to_states(view: &ViewSchema, frame: &DataFrame) -> Result<StateBatch, TransformError> {
    let mut states = StateBatch::new(&view.fields);
    states.keys = frame_keys(&view.key, frame)?;
    states.panes = non_null_times(PANE, frame)?;
    let read = |name: &str, ty| column_from_series(frame.column(name)?, ty);
    for (field, state) in view.fields.iter().zip(&mut states.states) {
        *state = state_from_frame(field, frame, read)?;
    }
    Ok(states)
}

fn state_from_frame(
    field: &StateField,
    frame: &DataFrame,
    read: impl Fn(&str, Type) -> Result<Column, TransformError>,
) -> Result<StateColumn, TransformError> {
    let name = field.name.as_str();
    Ok(match field.rule {
        Rule::Sum => match read(name, field.ty)? {
            Column::Int(v) => StateColumn::SumInt(v.into_iter().map(Option::unwrap_or_default).collect()),
            Column::Float(v) => StateColumn::SumFloat(v.into_iter().map(Option::unwrap_or_default).collect()),
            other => return Err(TransformError::frame(name, format!("a sum of type {}", other.ty()))),
        },
        Rule::Min => StateColumn::Min(read(name, field.ty)?),
        Rule::Max => StateColumn::Max(read(name, field.ty)?),
        Rule::First | Rule::Last => {
            let values = read(name, field.ty)?;
            let numbers = |name: &str, ty| -> Result<Vec<i64>, TransformError> {
                Ok(match read(name, ty)? {
                    Column::Timestamp(v) => v.into_iter().map(|time| time.map_or(0, |time| time.0)).collect(),
                    Column::Int(v) => v.into_iter().map(Option::unwrap_or_default).collect(),
                    _ => Vec::new(),
                })
            };
            let times = numbers(&time_name(name), Type::Timestamp)?;
            let sequences = numbers(&sequence_name(name), Type::Int)?;
            let ordered = Ordered { values, times, sequences };
            if field.rule == Rule::First { StateColumn::First(ordered) } else { StateColumn::Last(ordered) }
        }
        Rule::MapSum => StateColumn::MapSum(maps::from_series(frame.column(name)?, field.ty)?),
        Rule::MapMax => StateColumn::MapMax(maps::from_series(frame.column(name)?, field.ty)?),
    })
}

fn time_name(name: &str) -> String {
    format!("{name}__time")
}

fn sequence_name(name: &str) -> String {
    format!("{name}__sequence")
}

/// Finished answers of window states (`panes` are the starts of windows of the view's size): key columns,
/// `window_start`, `window_end`, answer columns. A map becomes its JSON text.
///
/// # Errors
/// When the batch is not of the view's fields, or a key not of its key columns.
pub fn answers_to_frame(view: &ViewPlan, states: &StateBatch) -> Result<DataFrame, TransformError> {
    check_fields(&view.name, view.fields.len(), states)?;
    let mut columns = key_columns(&view.key, &states.keys)?;
    let ends: Vec<Timestamp> = states.panes.iter().map(|start| start.plus(view.window.size)).collect();
    columns.push(timestamps("window_start", &states.panes));
    columns.push(timestamps("window_end", &ends));
    let answers = Answers::new(view);
    let mut answered: Vec<Column> = view.answer.iter().map(|field| Column::new(field.ty)).collect();
    for row in 0..states.len() {
        for (column, value) in answered.iter_mut().zip(answers.row(states, row)) {
            match value {
                Value::Map(_) => column.push(&Value::String(value.to_json().to_string())),
                value => column.push(&value),
            }
        }
    }
    columns.extend(view.answer.iter().zip(&answered).map(|(field, column)| series_from_column(&field.name, column)));
    Ok(DataFrame::new(states.len(), columns)?)
}

fn check_fields(view: &str, fields: usize, states: &StateBatch) -> Result<(), TransformError> {
    if states.states.len() == fields && states.states.iter().all(|state| state.len() == states.len()) {
        return Ok(());
    }
    Err(TransformError::frame(view, "states of another view"))
}

fn timestamps(name: &str, times: &[Timestamp]) -> Series {
    let micros: Vec<i64> = times.iter().map(|time| time.0).collect();
    let series = polars::prelude::Int64Chunked::from_vec(name.into(), micros);
    series.into_datetime(TimeUnit::Microseconds, None).into_column()
}

fn key_columns(fields: &[Field], keys: &KeyColumn) -> Result<Vec<Series>, TransformError> {
    let mut columns: Vec<Column> = fields.iter().map(|field| Column::new(field.ty)).collect();
    for key in keys.iter() {
        let values = key::decode(key).map_err(|error| TransformError::frame("key", error))?;
        if values.len() != columns.len() {
            return Err(TransformError::frame("key", format!("{} of {} columns", values.len(), columns.len())));
        }
        for (column, value) in columns.iter_mut().zip(&values) {
            column.push(value);
        }
    }
    Ok(fields.iter().zip(&columns).map(|(field, column)| series_from_column(&field.name, column)).collect())
}

fn frame_keys(fields: &[Field], frame: &DataFrame) -> Result<KeyColumn, TransformError> {
    let columns = frame_to_columns(fields, frame)?;
    let mut keys = KeyColumn::default();
    for row in 0..frame.height() {
        keys.push_with(|bytes| key::encode_row(&columns, row, bytes));
    }
    Ok(keys)
}

fn non_null_times(name: &str, frame: &DataFrame) -> Result<Vec<Timestamp>, TransformError> {
    let Column::Timestamp(times) = column_from_series(frame.column(name)?, Type::Timestamp)? else {
        return Err(TransformError::frame(name, "not a timestamp"));
    };
    times.into_iter().collect::<Option<Vec<_>>>().ok_or_else(|| TransformError::frame(name, "a time is null"))
}

/// Rows of a table as rows of a lookup.
///
/// # Errors
/// When a column is missing or of another type.
pub fn lookup_rows(lookup: &LookupSchema, rows: &DataFrame) -> Result<LookupRows, TransformError> {
    let numbers = |name: &str| -> Result<Vec<i64>, TransformError> {
        match column_from_series(rows.column(name)?, Type::Int)? {
            Column::Int(v) => Ok(v.into_iter().map(Option::unwrap_or_default).collect()),
            other => Err(TransformError::frame(name, format!("of type {}", other.ty()))),
        }
    };
    Ok(LookupRows {
        keys: frame_keys(&lookup.key, rows)?,
        times: non_null_times(EVENT_TIME, rows)?,
        sequences: numbers(SEQUENCE)?,
        ordinals: numbers(ORDINAL)?.into_iter().map(|ordinal| u32::try_from(ordinal).unwrap_or(u32::MAX)).collect(),
        columns: frame_to_columns(&lookup.columns, rows)?,
    })
}

/// Typed columns as a frame. A column of type map is text (JSON).
///
/// # Errors
/// When the columns are not of one length.
pub fn columns_to_frame(fields: &[Field], columns: &[Column]) -> Result<DataFrame, TransformError> {
    let height = columns.first().map_or(0, Column::len);
    let columns = fields.iter().zip(columns).map(|(field, column)| series_from_column(&field.name, column)).collect();
    Ok(DataFrame::new(height, columns)?)
}

/// Columns of a frame by name and type. Integers are read as floats where a float is asked for; times of any
/// unit and zone become microseconds UTC.
///
/// # Errors
/// When a column is missing or of another type.
pub fn frame_to_columns(fields: &[Field], frame: &DataFrame) -> Result<Vec<Column>, TransformError> {
    fields.iter().map(|field| column_from_series(frame.column(&field.name)?, field.ty)).collect()
}

/// The fields of a frame.
///
/// # Errors
/// When a column has a type that the domain does not know.
pub fn fields(frame: &DataFrame) -> Result<Vec<Field>, TransformError> {
    let field = |column: &Series| -> Result<Field, TransformError> {
        let ty = crate::types::domain_type(column.dtype())
            .ok_or_else(|| TransformError::frame(column.name().as_str(), format!("of type {}", column.dtype())))?;
        Ok(Field { name: column.name().to_string(), ty })
    };
    debug_assert!(frame.columns().iter().all(|column| !matches!(column.dtype(), DataType::Unknown(_))));
    frame.columns().iter().map(field).collect()
}
