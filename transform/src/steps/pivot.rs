//! Values of a column become columns: those of the definition, never those of the data.

use polars::prelude::{DataType, Expr, LazyFrame, NULL, col, lit, when};

use crate::TransformError;

/// See [`tideline_common::plan::Step::Pivot`].
pub(super) struct Pivot<'a> {
    pub(super) on: &'a str,
    pub(super) index: &'a [String],
    pub(super) values: &'a str,
    pub(super) agg: &'a str,
    pub(super) columns: &'a [String],
    pub(super) prefix: &'a str,
}

/// One row per distinct `index`, in the order of their first rows. A cell without a value is null, 0 in `count`.
pub(super) fn run(frame: LazyFrame, pivot: &Pivot<'_>) -> Result<LazyFrame, TransformError> {
    let cells = pivot.columns.iter().map(|value| cell(pivot, value)).collect::<Result<Vec<_>, _>>()?;
    let index: Vec<Expr> = pivot.index.iter().map(|name| col(name.as_str())).collect();
    if index.is_empty() {
        return Ok(frame.select(cells));
    }
    Ok(frame.group_by_stable(index).agg(cells))
}

fn cell(pivot: &Pivot<'_>, value: &str) -> Result<Expr, TransformError> {
    let is_value = col(pivot.on).cast(DataType::String).eq(lit(value.to_owned()));
    let values = col(pivot.values).filter(is_value).drop_nulls();
    let filled = match pivot.agg {
        "count" => values.count().cast(DataType::Int64),
        // The sum of nothing is 0 for Polars.
        "sum" => when(values.clone().count().gt(lit(0))).then(values.sum()).otherwise(lit(NULL)),
        "mean" => values.mean(),
        "min" => values.min(),
        "max" => values.max(),
        "first" => values.first(),
        "last" => values.last(),
        other => return Err(TransformError::frame("pivot", format!("unknown aggregate `{other}`"))),
    };
    Ok(filled.alias(format!("{}{value}", pivot.prefix)))
}
