//! A moving aggregate over the last rows of each group.

use polars::prelude::{DataType, Expr, LazyFrame, RollingOptionsFixedWindow, SortOptions, WindowMapping, col};

use crate::TransformError;

/// See [`tideline_common::plan::Step::Rolling`].
pub(super) struct Frame<'a> {
    pub(super) column: &'a str,
    pub(super) agg: &'a str,
    pub(super) rows: usize,
    pub(super) over: &'a [String],
    pub(super) order_by: &'a str,
    pub(super) output: &'a str,
}

/// Adds the moving aggregate. Nulls are left out of it; a frame without a value, and `std` of one value, is null.
pub(super) fn run(frame: LazyFrame, rolling: &Frame<'_>) -> Result<LazyFrame, TransformError> {
    if rolling.rows == 0 {
        return Err(TransformError::frame("rolling", "`rows` must be at least 1"));
    }
    let options = RollingOptionsFixedWindow { window_size: rolling.rows, min_periods: 1, ..Default::default() };
    let values = col(rolling.column);
    let moving = match rolling.agg {
        "mean" => values.cast(DataType::Float64).rolling_mean(options),
        "std" => values.cast(DataType::Float64).rolling_std(options),
        "sum" => values.rolling_sum(options),
        "min" => values.rolling_min(options),
        "max" => values.rolling_max(options),
        other => return Err(TransformError::frame("rolling", format!("unknown aggregate `{other}`"))),
    };
    // Rows at one time keep their order.
    let order = SortOptions { maintain_order: true, ..Default::default() };
    let over: Vec<Expr> = rolling.over.iter().map(|name| col(name.as_str())).collect();
    let over = if over.is_empty() { None } else { Some(over) };
    let order_by = Some((vec![col(rolling.order_by)], order));
    let moving = moving.over_with_options(over, order_by, WindowMapping::default())?;
    Ok(frame.with_column(moving.alias(rolling.output)))
}
