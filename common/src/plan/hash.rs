//! Versions: hashes of all that decides a content. States, rows and reports of two versions never meet.
//!
//! What is hashed is JSON with fields in a fixed order, so a version is the same on every machine and in every run.
//! Not part of any version: retention, rankings, alerts, and a view's formulas, which read states and never make them.

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use super::{LookupPlan, ReportPlan, SourcePlan, TablePlan, ViewPlan};

/// Raise it when the meaning of stored rows or states changes: every version changes with it.
const MEANING: u32 = 2;

fn version(content: &impl Serialize) -> String {
    // These are plain data: names, numbers and lists. Were one ever not to be JSON, its version would be that of nothing.
    let text = serde_json::to_string(&(MEANING, content)).unwrap_or_default();
    format!("{:016x}", xxh3_64(text.as_bytes()))
}

/// What decides which rows come out of a record. Lateness does not: it decides only what speed leaves to batch.
pub(super) fn source(plan: &SourcePlan) -> String {
    version(&(
        ("source", &plan.name, &plan.topic),
        (&plan.columns, &plan.required, &plan.event_time),
        (plan.max_ahead, &plan.dedupe, &plan.checks),
    ))
}

pub(super) fn table(plan: &TablePlan, source: &str) -> String {
    version(&(("table", &plan.name, &plan.source, source), &plan.columns, &plan.filter, &plan.partition_by))
}

/// `inputs`: (table, its version, its source's lateness in µs).
pub(super) fn view(plan: &ViewPlan, inputs: &[(String, String, i64)]) -> String {
    version(&(("view", &plan.name), &plan.key, plan.window, plan.pane, &plan.fields, inputs))
}

pub(super) fn lookup(plan: &LookupPlan, table: &str) -> String {
    version(&(("lookup", &plan.name, &plan.table, table), &plan.key, &plan.columns, plan.limit))
}

/// `inputs`: names and versions of tables and views, of views with their formulas, which a report sees.
pub(super) fn report(plan: &ReportPlan, inputs: &[(String, String)]) -> String {
    version(&(("report", &plan.name, &plan.from), &plan.steps, &plan.order_by, inputs))
}
