//! The steps of a report.

mod join;
mod pivot;
mod rolling;

use polars::prelude::{DataFrame, IntoLazy, LazyFrame};
use tideline_common::plan::{ReportPlan, Step};

use crate::{TransformError, sql};

/// The name of the result so far in the SQL of a step.
const INPUT: &str = "input";

/// Runs the steps of `plan`. `inputs` are its tables and views by name (views: their answers).
///
/// In an `sql` step, `input` is the result so far and every input goes by its name. In the first `sql` step `from`
/// is the result so far too, so that a report may begin `SELECT … FROM mentions` whatever came before.
///
/// # Errors
/// When an input is missing, or a step names a column that is not there or cannot be evaluated.
#[allow(clippy::needless_pass_by_value)] // A caller has no use for the frames any more.
pub fn run(plan: &ReportPlan, inputs: Vec<(String, LazyFrame)>) -> Result<DataFrame, TransformError> {
    let find = |name: &str| {
        let found = inputs.iter().find(|(known, _)| known == name);
        found.map(|(_, frame)| frame.clone()).ok_or_else(|| TransformError::unknown("input", name))
    };
    let mut result = find(&plan.from)?;
    let mut before_sql = true;
    for (index, step) in plan.steps.iter().enumerate() {
        let what = || format!("report `{}`, step {}", plan.name, index + 1);
        let next = match step {
            Step::Sql { sql } => {
                let result_so_far = |name: &str| name == INPUT || before_sql && name == plan.from;
                let others = inputs.iter().filter(|(name, _)| !result_so_far(name)).cloned();
                let mut tables: Vec<(String, LazyFrame)> = others.collect();
                tables.push((INPUT.to_owned(), result.clone()));
                if before_sql && plan.from != INPUT {
                    tables.push((plan.from.clone(), result.clone()));
                }
                before_sql = false;
                sql::context(tables).execute(sql).map_err(TransformError::from)
            }
            Step::Rolling { column, agg, rows, over, order_by, output } => {
                rolling::run(result, &rolling::Frame { column, agg, rows: *rows, over, order_by, output })
            }
            Step::Pivot { on, index, values, agg, columns, prefix } => {
                pivot::run(result, &pivot::Pivot { on, index, values, agg, columns, prefix })
            }
            Step::Join { with, on, time, how, suffix, left_time, right_time } => {
                let times = join::Times { join: *time, left: left_time, right: right_time };
                find(with).and_then(|right| {
                    let (left, right) = (result.collect()?, right.collect()?);
                    join::run(&left, &right, on, &times, how, suffix).map(IntoLazy::lazy)
                })
            }
        };
        result = next.map_err(|error| named(what(), &error))?;
    }
    result.collect().map_err(|error| named(format!("report `{}`", plan.name), &error.into()))
}

fn named(what: String, error: &TransformError) -> TransformError {
    TransformError::Expression { what, message: error.to_string() }
}
