//! The steps of a report.

use polars::prelude::{DataFrame, LazyFrame};
use tideline_common::plan::ReportPlan;

use crate::TransformError;

/// Runs the steps of `plan`. `inputs` are its tables and views by name (views: their answers).
///
/// # Errors
/// When an input is missing, or a step names a column that is not there or cannot be evaluated.
pub fn run(plan: &ReportPlan, inputs: Vec<(String, LazyFrame)>) -> Result<DataFrame, TransformError> {
    let _ = (plan, inputs);
    unimplemented!()
}
