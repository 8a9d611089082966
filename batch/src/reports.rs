//! Reports: batch-only results, made by steps over Silver and Gold.
//!
//! The file of a report is `gold/_reports/<report>/<run>-<n>.<fingerprint>.parquet`. The fingerprint is a hash of
//! the report's version and of the names of all files it was made from: as long as it is the same, so is the
//! result, and the report is carried over. A report that fails keeps its last result and is tried again by the
//! next run.
//!
//! Rows are in the order of `order_by`, then of all other plain columns, so that equal inputs make equal files;
//! without `order_by`, in the order of the last step. `_sequence` and `_ordinal` are left out of the result.

use std::collections::BTreeMap;

use polars::prelude::{Column, DataFrame, DataType, IntoLazy, LazyFrame, SortMultipleOptions, TimeUnit};
use tideline_common::manifest::{Manifest, ReportFile, ReportFiles, ViewFiles};
use tideline_common::plan::{Field, ReportPlan, ViewPlan};
use tideline_common::ports::ViewSchema;
use tideline_common::state::{StateBatch, StateTable};
use tideline_common::time::{Span, Timestamp};
use tideline_common::value::Type;
use tideline_transform::{ORDINAL, SEQUENCE, TransformError, frame, steps};
use xxhash_rust::xxh3::Xxh3;

use crate::context::Context;
use crate::error::BatchError;
use crate::lake;

/// What became of a report in a run.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum ReportOutcome {
    /// Made again.
    Computed {
        /// Its rows.
        rows: u64,
    },
    /// Its inputs are what they were.
    Unchanged,
    /// It could not be made; the last result stays.
    Failed {
        /// Why.
        error: String,
    },
}

/// The reports of the version in the making, over its tables and views.
pub(crate) async fn make(
    context: &Context,
    base: &Manifest,
    next: &Manifest,
) -> Result<(BTreeMap<String, ReportFiles>, BTreeMap<String, ReportOutcome>), BatchError> {
    let mut files = BTreeMap::new();
    let mut outcomes = BTreeMap::new();
    for report in &context.plan().reports {
        context.check()?;
        let before = base.reports.get(&report.name);
        let fingerprint = fingerprint(report, next);
        let suffix = format!(".{fingerprint}.parquet");
        if let Some(before) = before
            && before.plan == report.version
            && before.files.first().is_some_and(|file| file.path.ends_with(&suffix))
        {
            files.insert(report.name.clone(), before.clone());
            outcomes.insert(report.name.clone(), ReportOutcome::Unchanged);
            continue;
        }
        match one(context, report, next, &suffix).await {
            Ok(made) => {
                outcomes.insert(report.name.clone(), ReportOutcome::Computed { rows: made.rows });
                files.insert(report.name.clone(), made);
            }
            // A store that fails or a shutdown ends the run; anything else is the report's own fault.
            Err(error @ (BatchError::Port(_) | BatchError::Cancelled)) => return Err(error),
            Err(error) => {
                tracing::warn!(report = report.name, %error, "a report failed, its last result stays");
                metrics::counter!("tideline_batch_report_failures_total", "report" => report.name.clone()).increment(1);
                if let Some(before) = before {
                    files.insert(report.name.clone(), before.clone());
                }
                outcomes.insert(report.name.clone(), ReportOutcome::Failed { error: error.to_string() });
            }
        }
    }
    Ok((files, outcomes))
}

/// Hash of a report's version and the files of its inputs.
fn fingerprint(report: &ReportPlan, next: &Manifest) -> String {
    let mut hash = Xxh3::new();
    let mut add = |text: &str| {
        hash.update(text.as_bytes());
        hash.update(&[0]);
    };
    add(&report.version);
    for input in &report.inputs {
        add(input);
        let tables = next.tables.get(input).into_iter().flat_map(|table| &table.files);
        let views = next.views.get(input).into_iter().flat_map(|view| &view.files);
        for file in tables.chain(views) {
            add(&file.path);
        }
    }
    format!("{:016x}", hash.digest())
}

async fn one(context: &Context, report: &ReportPlan, next: &Manifest, suffix: &str) -> Result<ReportFiles, BatchError> {
    let mut inputs = Vec::with_capacity(report.inputs.len());
    for input in &report.inputs {
        inputs.push((input.clone(), self::input(context, input, next).await?));
    }
    let plan = report.clone();
    let path = context.file(&format!("gold/_reports/{}", report.name)).replace(".parquet", suffix);
    let (columns, rows, bytes) = lake::blocking(move || {
        let result = ordered(steps::run(&plan, inputs)?, &plan)?;
        let (mut result, columns) = plain(&result.drop_many([SEQUENCE, ORDINAL]))?;
        let bytes = lake::encode(&mut result, None)?;
        Ok((columns, result.height() as u64, bytes))
    })
    .await?;
    context.lake.put(&path, bytes).await?;
    Ok(ReportFiles { plan: report.version.clone(), columns, files: vec![ReportFile { path, rows }], rows })
}

/// A table's rows (with `_sequence` and `_ordinal`, which name a row), or a view's finished answers for its declared
/// window.
async fn input(context: &Context, name: &str, next: &Manifest) -> Result<LazyFrame, BatchError> {
    if let Some(table) = context.plan().table(name) {
        let files = next.tables.get(name).into_iter().flat_map(|table| &table.files);
        return context.lake.scan(files.map(|file| file.path.as_str()), &lake::silver_fields(table)).await;
    }
    if let (Some(view), Some(files)) = (context.plan().view(name), next.views.get(name)) {
        return Ok(answers(context, view, files).await?.lazy());
    }
    Err(TransformError::Unknown { kind: "table or view", name: name.to_owned() }.into())
}

/// Answers of the view's declared window, sorted by key and window start; every window that holds a pane.
///
/// Gold is read a file at a time, and a window is finished as soon as no later file can add to it.
pub(crate) async fn answers(context: &Context, view: &ViewPlan, gold: &ViewFiles) -> Result<DataFrame, BatchError> {
    let schema = ViewSchema::from(view);
    let mut open = StateTable::new(&view.fields);
    let mut frames = Vec::new();
    for (index, file) in gold.files.iter().enumerate() {
        context.check()?;
        let content = context.lake.read(&file.path).await?;
        let later = gold.files.get(index + 1).map_or(Timestamp::MAX, |file| file.min_time);
        let (schema, view) = (schema.clone(), view.clone());
        let mut windows = open;
        let (still_open, frame) = lake::blocking(move || {
            let panes = frame::frame_to_states(&schema, &content)?;
            merge_windows(&view, &panes, &mut windows);
            let (done, open) = split(&view, windows, later);
            Ok((open, frame::answers_to_frame(&view, &done)?))
        })
        .await?;
        open = still_open;
        frames.push(frame);
    }
    let view = view.clone();
    lake::blocking(move || {
        let all = match lake::stack(frames)? {
            Some(all) => all,
            None => frame::answers_to_frame(&view, &StateBatch::new(&view.fields))?,
        };
        let mut by: Vec<&str> = view.key.iter().map(|field| field.name.as_str()).collect();
        by.push("window_start");
        all.sort(by, SortMultipleOptions::default()).map_err(BatchError::frame("sorting answers"))
    })
    .await
}

/// Adds each pane to every declared window that holds it.
fn merge_windows(view: &ViewPlan, panes: &StateBatch, windows: &mut StateTable) {
    let window = view.window;
    // One shift of the panes per window that holds them: the inner loops stay in `StateTable::merge`.
    let mut shifted = panes.clone();
    let holding = window.size.0 / window.slide.0 + 1;
    for back in 0..=holding {
        let mut keep = Vec::with_capacity(panes.len());
        for (row, pane) in panes.panes.iter().enumerate() {
            let start = window.last_start(*pane).minus(Span(window.slide.0.saturating_mul(back)));
            shifted.panes[row] = start;
            keep.push(start >= window.first_start(*pane));
        }
        if keep.iter().all(|keep| *keep) {
            windows.merge(&shifted);
        } else if keep.iter().any(|keep| *keep) {
            let mut part = StateBatch::new(&view.fields);
            for row in (0..panes.len()).filter(|row| keep[*row]) {
                part.push_from(&shifted, row);
            }
            windows.merge(&part);
        }
    }
}

/// Windows that no pane from `later` on can be in, and the others.
fn split(view: &ViewPlan, windows: StateTable, later: Timestamp) -> (StateBatch, StateTable) {
    let groups = windows.into_groups();
    let mut done = StateBatch::new(&view.fields);
    let mut rest = StateBatch::new(&view.fields);
    for row in 0..groups.len() {
        let to = if groups.panes[row].plus(view.window.size) <= later { &mut done } else { &mut rest };
        to.push_from(&groups, row);
    }
    let mut open = StateTable::new(&view.fields);
    open.merge(&rest);
    (done, open)
}

/// Rows in the report's order.
fn ordered(result: DataFrame, report: &ReportPlan) -> Result<DataFrame, BatchError> {
    if report.order_by.is_empty() {
        return Ok(result);
    }
    let mut by: Vec<String> = report.order_by.clone();
    for column in result.columns() {
        let plain = matches!(column.dtype(), DataType::String | DataType::Boolean | DataType::Datetime(..))
            || column.dtype().is_primitive_numeric();
        if plain && !by.iter().any(|name| name == column.name().as_str()) {
            by.push(column.name().to_string());
        }
    }
    result
        .sort(by, SortMultipleOptions::default().with_maintain_order(true))
        .map_err(BatchError::frame(format!("order_by of report {}", report.name)))
}

/// Columns as the types of the plan: what serving and `ClickHouse` know.
fn plain(result: &DataFrame) -> Result<(DataFrame, Vec<Field>), BatchError> {
    let mut fields = Vec::with_capacity(result.width());
    let mut columns: Vec<Column> = Vec::with_capacity(result.width());
    for column in result.columns() {
        let (ty, wanted) = match column.dtype() {
            DataType::Boolean => (Type::Bool, DataType::Boolean),
            dtype if dtype.is_integer() => (Type::Int, DataType::Int64),
            dtype if dtype.is_float() => (Type::Float, DataType::Float64),
            DataType::Datetime(..) | DataType::Date => {
                (Type::Timestamp, DataType::Datetime(TimeUnit::Microseconds, None))
            }
            DataType::List(inner) if **inner == DataType::String => {
                (Type::Strings, DataType::List(Box::new(DataType::String)))
            }
            DataType::List(inner) if matches!(**inner, DataType::Struct(_)) => (Type::Map, column.dtype().clone()),
            _ => (Type::String, DataType::String),
        };
        fields.push(Field { name: column.name().to_string(), ty });
        columns.push(column.cast(&wanted).map_err(BatchError::frame(format!("column {}", column.name())))?);
    }
    let frame = DataFrame::new(result.height(), columns).map_err(BatchError::frame("report"))?;
    Ok((frame, fields))
}
