//! Silver to Gold: states per (key, pane), in files of one time bucket each.
//!
//! A bucket (a day, or as long as the view's panes need) is the unit of recomputation: the buckets that new rows
//! fall into are computed again from all Silver rows of their time, every other is carried over by name. So a late
//! event corrects the panes that it touches, and costs one bucket.
//!
//! `retain.batch` is relative to the newest event time of the view's tables, not to the wall clock: a replay of
//! old data keeps what it would have kept when the data was new.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use polars::prelude::{DataType, TimeUnit, col, lit};
use tideline_common::manifest::{TableFiles, TimedFile, ViewFiles};
use tideline_common::plan::{EVENT_TIME, Plan, ViewPlan};
use tideline_common::ports::ViewSchema;
use tideline_common::state::{StateBatch, StateTable};
use tideline_common::time::{Span, Timestamp};
use tideline_transform::frame;

use crate::config::BatchConfig;
use crate::context::Context;
use crate::error::BatchError;
use crate::lake;

/// Length of a view's buckets: the configured one, rounded up to whole panes.
pub(crate) fn bucket_of(view: &ViewPlan, config: &BatchConfig) -> Span {
    let pane = view.pane.0.max(1);
    let panes = config.bucket.0.max(1).saturating_add(pane - 1) / pane;
    Span(pane.saturating_mul(panes))
}

/// What the stage did for one view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct GoldCounts {
    /// Buckets computed again.
    pub recomputed: u64,
    /// Buckets carried over.
    pub carried: u64,
    /// (key, pane) groups written.
    pub groups: u64,
    /// Buckets that new rows fall into, and that stay as they are: retention has dropped Silver of them.
    pub frozen: u64,
}

/// The Gold files of a view (its boundary is set later).
pub(crate) async fn recompute(
    context: &Context,
    view: &ViewPlan,
    before: Option<&ViewFiles>,
    tables: &BTreeMap<String, TableFiles>,
    mut touched: BTreeSet<Timestamp>,
) -> Result<(ViewFiles, GoldCounts), BatchError> {
    let bucket = bucket_of(view, &context.config);
    let mut after = ViewFiles {
        plan: view.version.clone(),
        through: None,
        key: view.key.clone(),
        fields: view.fields.clone(),
        files: Vec::new(),
    };
    let horizon = horizon(view, tables, bucket);
    let mut counts = GoldCounts::default();
    let mut complete = complete_from(view, tables, bucket);
    let ranges = match before.filter(|before| before.plan == view.version) {
        Some(before) => {
            // A file written with other buckets: the buckets it lies in are computed again.
            for file in before.files.iter().filter(|file| file.min_time.floor(bucket) != file.max_time.floor(bucket)) {
                let from = file.min_time.floor(bucket);
                match complete {
                    // Not all of them could be: it stays whole.
                    Some(complete_from) if from < complete_from => {
                        complete = Some(complete_from.max(file.max_time.floor(bucket).plus(bucket)));
                    }
                    _ => touched.extend(starts(from, file.max_time, bucket)),
                }
            }
            if let Some(complete) = complete {
                let all = touched.len();
                touched.retain(|start| *start >= complete);
                counts.frozen = (all - touched.len()) as u64;
            }
            let kept = before.files.iter().filter(|file| {
                let start = file.min_time.floor(bucket);
                !touched.contains(&start) && horizon.is_none_or(|horizon| start >= horizon)
            });
            after.files = kept.cloned().collect();
            runs(touched, bucket)
        }
        None => spans(view, tables, bucket),
    };
    counts.carried = after.files.len() as u64;
    if counts.frozen > 0 {
        tracing::warn!(
            view = view.name,
            buckets = counts.frozen,
            "late rows fall into time of which Silver is dropped"
        );
        metrics::counter!("tideline_batch_frozen_buckets_total", "view" => view.name.clone()).increment(counts.frozen);
    }
    let least = horizon.max(complete);
    for range in ranges {
        let start = least.map_or(range.start, |least| range.start.max(least));
        let mut pending = vec![start..range.end];
        while let Some(range) = pending.pop() {
            if range.start >= range.end {
                continue;
            }
            // Halves until a scan is small enough; a stack, so that time still goes forward.
            let middle = range.start.plus(Span(range.end.since(range.start).0 / 2)).floor(bucket);
            if middle > range.start && rows_between(view, tables, &range) > context.config.gold_rows {
                pending.push(middle..range.end);
                pending.push(range.start..middle);
                continue;
            }
            context.check()?;
            let states = states_between(context, view, tables, &range).await?;
            for file in write(context, view, states, bucket).await? {
                counts.recomputed += 1;
                counts.groups += file.rows;
                after.files.push(file);
            }
        }
    }
    after.files.sort_by_key(|file| file.min_time);
    Ok((after, counts))
}

/// Bucket starts from `first` (one of them) to that of `last`.
fn starts(first: Timestamp, last: Timestamp, bucket: Span) -> impl Iterator<Item = Timestamp> {
    std::iter::successors(Some(first), move |start| Some(start.plus(bucket))).take_while(move |start| *start <= last)
}

/// The first bucket of which all Silver rows are there, when retention has dropped some.
pub(crate) fn complete_from(view: &ViewPlan, tables: &BTreeMap<String, TableFiles>, bucket: Span) -> Option<Timestamp> {
    let tables = view.tables.iter().filter_map(|table| tables.get(table)?.complete_from);
    // The bucket that it lies in has lost its beginning.
    tables
        .max()
        .map(|complete| if complete.floor(bucket) == complete { complete } else { complete.floor(bucket).plus(bucket) })
}

/// Drops Silver files of which every row is older than the table keeps them, counted from its newest event time.
pub(crate) fn retain_silver(plan: &Plan, tables: &mut BTreeMap<String, TableFiles>) {
    for (name, table) in tables {
        let Some(retain) = plan.table(name).and_then(|plan| plan.retain_silver) else { continue };
        let Some(newest) = table.files.iter().map(|file| file.max_time).max() else { continue };
        let horizon = newest.minus(retain);
        let before = table.files.len();
        table.files.retain(|file| file.max_time >= horizon);
        if table.files.len() < before {
            tracing::info!(table = name, files = before - table.files.len(), %horizon, "old Silver is no longer kept");
            table.complete_from = table.complete_from.max(Some(horizon));
        }
    }
}

/// The first bucket that is kept, when the view forgets.
pub(crate) fn horizon(view: &ViewPlan, tables: &BTreeMap<String, TableFiles>, bucket: Span) -> Option<Timestamp> {
    let retain = view.retain_batch?;
    let newest = files_of(view, tables).map(|file| file.max_time).max()?;
    Some(newest.minus(retain).floor(bucket))
}

fn files_of<'a>(view: &'a ViewPlan, tables: &'a BTreeMap<String, TableFiles>) -> impl Iterator<Item = &'a TimedFile> {
    view.tables.iter().filter_map(|table| tables.get(table)).flat_map(|table| &table.files)
}

/// Buckets next to each other, joined.
fn runs(buckets: BTreeSet<Timestamp>, bucket: Span) -> Vec<Range<Timestamp>> {
    let mut runs: Vec<Range<Timestamp>> = Vec::new();
    for start in buckets {
        match runs.last_mut() {
            Some(run) if run.end == start => run.end = start.plus(bucket),
            _ => runs.push(start..start.plus(bucket)),
        }
    }
    runs
}

/// Where a view's tables have rows: ranges of whole buckets, ascending, apart from each other.
fn spans(view: &ViewPlan, tables: &BTreeMap<String, TableFiles>, bucket: Span) -> Vec<Range<Timestamp>> {
    let mut spans: Vec<Range<Timestamp>> = files_of(view, tables)
        .map(|file| file.min_time.floor(bucket)..file.max_time.floor(bucket).plus(bucket))
        .collect();
    spans.sort_by_key(|span| span.start);
    let mut joined: Vec<Range<Timestamp>> = Vec::new();
    for span in spans {
        match joined.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => joined.push(span),
        }
    }
    joined
}

/// Silver rows in a range, estimated: those of a file are taken as spread evenly over its time.
fn rows_between(view: &ViewPlan, tables: &BTreeMap<String, TableFiles>, range: &Range<Timestamp>) -> u64 {
    let rows = files_of(view, tables).map(|file| {
        let (from, to) = (file.min_time.max(range.start), file.max_time.plus(Span(1)).min(range.end));
        let length = file.max_time.since(file.min_time).0.saturating_add(1);
        file.rows as f64 * (to.since(from).0.max(0) as f64 / length as f64)
    });
    rows.sum::<f64>() as u64
}

/// States of a range, of all tables of the view, sorted by pane, then key.
async fn states_between(
    context: &Context,
    view: &ViewPlan,
    tables: &BTreeMap<String, TableFiles>,
    range: &Range<Timestamp>,
) -> Result<StateBatch, BatchError> {
    let mut table_states = StateTable::new(&view.fields);
    for name in &view.tables {
        let (Some(files), Some(plan)) = (tables.get(name), context.plan().table(name)) else { continue };
        let overlapping: Vec<&str> = files
            .files
            .iter()
            .filter(|file| file.min_time < range.end && file.max_time >= range.start)
            .map(|file| file.path.as_str())
            .collect();
        if overlapping.is_empty() {
            continue;
        }
        if let Some(sql) = &context.engines.sql
            && let Some(statements) = sql.statements(&view.name, range)
        {
            for statement in statements {
                if statement.table == *name {
                    sql.states(context, view, statement, &overlapping, range, &mut table_states).await?;
                }
            }
            continue;
        }
        let time = |time: Timestamp| lit(time.0).cast(DataType::Datetime(TimeUnit::Microseconds, None));
        let rows = context
            .lake
            .scan(overlapping, &lake::silver_fields(plan))
            .await?
            .filter(col(EVENT_TIME).gt_eq(time(range.start)).and(col(EVENT_TIME).lt(time(range.end))));
        let transform = context.engines.view(&view.name)?;
        let name = name.clone();
        let states = lake::blocking(move || Ok(transform.states_lazy(&name, rows)?)).await?;
        table_states.merge(&states);
    }
    Ok(table_states.into_groups())
}

/// One file per bucket, each sorted by (key, pane).
async fn write(
    context: &Context,
    view: &ViewPlan,
    states: StateBatch,
    bucket: Span,
) -> Result<Vec<TimedFile>, BatchError> {
    let schema = ViewSchema::from(view);
    let (fields, row_group) = (view.fields.clone(), context.config.gold_row_group.max(1));
    let encoded = lake::blocking(move || {
        let mut order: Vec<usize> = (0..states.len()).collect();
        order.sort_unstable_by(|a, b| {
            let place = |row: usize| (states.panes[row].floor(bucket), states.keys.get(row), states.panes[row]);
            place(*a).cmp(&place(*b))
        });
        let mut files = Vec::new();
        for rows in order.chunk_by(|a, b| states.panes[*a].floor(bucket) == states.panes[*b].floor(bucket)) {
            let mut part = StateBatch::new(&fields);
            for row in rows {
                part.push_from(&states, *row);
            }
            let (min, max) = part
                .panes
                .iter()
                .fold((Timestamp::MAX, Timestamp::MIN), |(min, max), pane| (min.min(*pane), max.max(*pane)));
            let bytes = lake::encode(&mut frame::states_to_frame(&schema, &part)?, Some(row_group))?;
            files.push((bytes, part.len() as u64, min, max));
        }
        Ok(files)
    })
    .await?;
    let folder = format!("gold/{}/{}", view.name, view.version);
    let mut files = Vec::with_capacity(encoded.len());
    for (bytes, rows, min_time, max_time) in encoded {
        let file = TimedFile { path: context.file(&folder), rows, min_time, max_time };
        context.lake.put(&file.path, bytes).await?;
        files.push(file);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_buckets_are_one_scan() {
        let of = |starts: &[i64]| runs(starts.iter().map(|start| Timestamp(*start)).collect(), Span(10));
        assert_eq!(of(&[]), []);
        assert_eq!(
            of(&[-10, 0, 10, 40, 60]),
            [Timestamp(-10)..Timestamp(20), Timestamp(40)..Timestamp(50), Timestamp(60)..Timestamp(70)]
        );
        let list: Vec<i64> = starts(Timestamp(-10), Timestamp(14), Span(10)).map(|start| start.0).collect();
        assert_eq!(list, [-10, 0, 10]);
    }
}
