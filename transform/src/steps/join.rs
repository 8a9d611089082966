//! Joins by equality and time, by a sorted index of the right side: what it costs is both sides and the result,
//! never the product of the rows of a key.

use ahash::AHashMap;
use polars::prelude::{DataFrame, IdxCa, NewChunkedArray};
use tideline_common::column::Column;
use tideline_common::key;
use tideline_common::plan::JoinTime;
use tideline_common::time::Timestamp;
use tideline_common::value::Type;

use crate::TransformError;
use crate::types::{column_from_series, domain_type};

/// Most rows of a result: Polars counts rows in 32 bits.
const ROWS_MAX: usize = u32::MAX as usize - 1;

/// The time columns and what they must satisfy.
pub(super) struct Times<'a> {
    pub(super) join: JoinTime,
    pub(super) left: &'a str,
    pub(super) right: &'a str,
}

/// Whether a join of kind `how` keeps left rows without a match.
fn is_left(how: &str) -> Result<bool, TransformError> {
    match how {
        "inner" => Ok(false),
        "left" => Ok(true),
        other => Err(TransformError::frame("join", format!("`{other}` is neither `inner` nor `left`"))),
    }
}

/// Every matching pair, in the order of the left rows and then of the right times. The right side's key columns
/// are left out, as they equal the left ones; another right column whose name is taken gets `suffix`. Null keys and
/// times match nothing.
pub(super) fn run(
    left: &DataFrame,
    right: &DataFrame,
    on: &[(String, String)],
    times: &Times<'_>,
    how: &str,
    suffix: &str,
) -> Result<DataFrame, TransformError> {
    let keep_left = is_left(how)?;
    let (left_keys, right_keys) = keys(left, right, on)?;
    let (left_times, right_times) = match times.join {
        JoinTime::Any => (vec![Some(0); left.height()], vec![Some(0); right.height()]),
        _ => (micros(left, times.left)?, micros(right, times.right)?),
    };
    // Right rows of each key, by time; rows of one time in their order.
    let mut index: AHashMap<Vec<u8>, Vec<(i64, u32)>> = AHashMap::new();
    for (row, time) in right_times.iter().enumerate() {
        if let (Some(time), Some(key)) = (time, key_of(&right_keys, row)) {
            index.entry(key).or_default().push((*time, row as u32));
        }
    }
    for rows in index.values_mut() {
        rows.sort_unstable();
    }
    let mut pairs: (Vec<u32>, Vec<Option<u32>>) = (Vec::new(), Vec::new());
    for (row, time) in left_times.iter().enumerate() {
        let matches = match (time, key_of(&left_keys, row).and_then(|key| index.get(&key))) {
            (Some(time), Some(rows)) => matching(rows, *time, times.join),
            _ => &[],
        };
        for (_, other) in matches {
            pairs.0.push(row as u32);
            pairs.1.push(Some(*other));
        }
        if matches.is_empty() && keep_left {
            pairs.0.push(row as u32);
            pairs.1.push(None);
        }
        if pairs.0.len() > ROWS_MAX {
            return Err(TransformError::frame("join", format!("more than {ROWS_MAX} rows")));
        }
    }
    let mut joined = left.take(&IdxCa::from_vec("".into(), pairs.0))?;
    let others = IdxCa::from_iter_options("".into(), pairs.1.into_iter());
    for column in right.columns().iter().filter(|column| !on.iter().any(|(_, right)| column.name() == right)) {
        let mut column = column.take(&others)?;
        if joined.column(column.name()).is_ok() {
            column.rename(format!("{}{suffix}", column.name()).into());
            if joined.column(column.name()).is_ok() {
                return Err(TransformError::frame("join", format!("two columns are called `{}`", column.name())));
            }
        }
        joined.with_column(column)?;
    }
    Ok(joined)
}

/// The rows, sorted by time, that match a left row at `time`.
fn matching(rows: &[(i64, u32)], time: i64, join: JoinTime) -> &[(i64, u32)] {
    let before = |limit: i64| rows.partition_point(|(time, _)| *time < limit);
    let up_to = |limit: i64| rows.partition_point(|(time, _)| *time <= limit);
    let at = Timestamp(time);
    match join {
        JoinTime::Any => rows,
        JoinTime::Interval { before: back, after } => {
            let (from, to) = (before(at.minus(back).0), up_to(at.plus(after).0));
            rows.get(from..to).unwrap_or_default()
        }
        JoinTime::AsOf { within } => match up_to(time).checked_sub(1) {
            Some(last) if within.is_none_or(|within| at.since(Timestamp(rows[last].0)) <= within) => &rows[last..=last],
            _ => &[],
        },
    }
}

fn keys(
    left: &DataFrame,
    right: &DataFrame,
    on: &[(String, String)],
) -> Result<(Vec<Column>, Vec<Column>), TransformError> {
    let mut keys = (Vec::new(), Vec::new());
    for (left_name, right_name) in on {
        let (a, b) = (left.column(left_name)?, right.column(right_name)?);
        let ty = match (domain_type(a.dtype()), domain_type(b.dtype())) {
            (Some(a), Some(b)) if a == b => a,
            (Some(Type::Int | Type::Float), Some(Type::Int | Type::Float)) => Type::Float,
            _ => {
                let message = format!("`{left_name}` ({}) and `{right_name}` ({}) differ", a.dtype(), b.dtype());
                return Err(TransformError::frame("join", message));
            }
        };
        keys.0.push(column_from_series(a, ty)?);
        keys.1.push(column_from_series(b, ty)?);
    }
    Ok(keys)
}

/// The bytes of a row's key; `None` when a part is null.
fn key_of(columns: &[Column], row: usize) -> Option<Vec<u8>> {
    if columns.iter().any(|column| column.is_null(row)) {
        return None;
    }
    let mut bytes = Vec::new();
    key::encode_row(columns, row, &mut bytes);
    Some(bytes)
}

fn micros(frame: &DataFrame, name: &str) -> Result<Vec<Option<i64>>, TransformError> {
    match column_from_series(frame.column(name)?, Type::Timestamp)? {
        Column::Timestamp(times) => Ok(times.into_iter().map(|time| time.map(|time| time.0)).collect()),
        other => Err(TransformError::frame(name, format!("of type {}", other.ty()))),
    }
}
