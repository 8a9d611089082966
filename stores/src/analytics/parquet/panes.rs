//! Panes out of Gold.

use polars::prelude::{LazyFrame, col};
use tideline_common::key::Key;
use tideline_common::manifest::{Manifest, TimedFile};
use tideline_common::ports::{KeySelector, PanePage, PaneQuery, PortError, PortResult, ViewSchema};
use tideline_common::state::StateBatch;
use tideline_common::time::Timestamp;
use tideline_transform::frame::{PANE, frame_to_states};

use super::scan::{Lake, collect, key_after, key_equals, key_values, within};

/// The Gold files of this version of the view: none when the manifest has another.
pub(super) fn files<'a>(manifest: &'a Manifest, view: &ViewSchema) -> &'a [TimedFile] {
    match manifest.views.get(&view.name) {
        Some(files) if files.plan == view.version => &files.files,
        _ => &[],
    }
}

/// Those of them with panes of [from, to).
fn overlapping(manifest: &Manifest, view: &ViewSchema, from: Timestamp, to: Timestamp) -> Vec<String> {
    let overlaps = |f: &&TimedFile| f.rows > 0 && f.min_time < to && f.max_time >= from;
    files(manifest, view).iter().filter(overlaps).map(|f| f.path.clone()).collect()
}

fn what(view: &ViewSchema) -> String {
    format!("Gold of view {}", view.name)
}

fn states(view: &ViewSchema, frame: LazyFrame) -> PortResult<StateBatch> {
    let frame = collect(&what(view), frame)?;
    frame_to_states(view, &frame).map_err(|e| PortError::corrupt(what(view), e))
}

/// The same rows by key, then pane.
fn sorted(view: &ViewSchema, batch: &StateBatch) -> StateBatch {
    let mut order: Vec<usize> = (0..batch.len()).collect();
    order.sort_unstable_by(|a, b| (batch.keys.get(*a), batch.panes[*a]).cmp(&(batch.keys.get(*b), batch.panes[*b])));
    let mut out = StateBatch::new(&view.fields);
    for row in order {
        out.push_from(batch, row);
    }
    out
}

/// See [`tideline_common::ports::Analytics::panes_between`].
pub(super) async fn panes_between(
    lake: &Lake,
    manifest: &Manifest,
    view: &ViewSchema,
    from: Timestamp,
    to: Timestamp,
) -> PortResult<StateBatch> {
    let (files, schema, name) = (overlapping(manifest, view, from, to), view.clone(), what(view));
    let read = lake.read(&name, files, move |scan| {
        let batch = states(&schema, scan.filter(within(PANE, from, to)))?;
        Ok(sorted(&schema, &batch))
    });
    Ok(read.await?.unwrap_or_else(|| StateBatch::new(&view.fields)))
}

/// See [`tideline_common::ports::Analytics::panes`].
pub(super) async fn panes(
    lake: &Lake,
    manifest: &Manifest,
    view: &ViewSchema,
    query: &PaneQuery,
) -> PortResult<PanePage> {
    let (from, to) = (query.from, query.to);
    let files = overlapping(manifest, view, from, to);
    let empty = || PanePage { panes: StateBatch::new(&view.fields), more_after: None };
    if from >= to || files.is_empty() {
        return Ok(empty());
    }
    let (schema, name) = (view.clone(), what(view));
    match &query.keys {
        KeySelector::One(key) => {
            let filter = within(PANE, from, to).and(key_equals(&view.key, &key_values(&view.key, key)?));
            let read = lake.read(&name, files, move |scan| {
                let batch = states(&schema, scan.filter(filter.clone()))?;
                Ok(PanePage { panes: sorted(&schema, &batch), more_after: None })
            });
            Ok(read.await?.unwrap_or_else(empty))
        }
        KeySelector::All { after } => {
            let after = after.as_ref().map(|key| key_values(&view.key, key)).transpose()?;
            let (max, window) = (query.max_rows.max(1), within(PANE, from, to));
            let read = lake.read(&name, files, move |scan| {
                let mut filter = window.clone();
                if let Some(after) = &after {
                    filter = filter.and(key_after(&schema.key, after));
                }
                page(&schema, &scan.filter(filter), max)
            });
            Ok(read.await?.unwrap_or_else(empty))
        }
    }
}

/// The first whole keys of a scan with at least `max` rows, if it has so many.
///
/// Reads keys and panes first: they are small, and say where the page ends; then the states up to there.
fn page(view: &ViewSchema, scan: &LazyFrame, max: usize) -> PortResult<PanePage> {
    let bare = ViewSchema { fields: Vec::new(), ..view.clone() };
    let columns: Vec<_> = view.key.iter().map(|f| col(&*f.name)).chain([col(PANE)]).collect();
    let index = states(&bare, scan.clone().select(columns))?;
    let mut keys: Vec<&[u8]> = index.keys.iter().collect();
    keys.sort_unstable();
    let last = keys.get(max - 1).copied();
    let end = last.and_then(|last| {
        let cut = keys.partition_point(|key| *key <= last);
        (cut < keys.len()).then(|| Key(last.to_vec()))
    });
    let scan = match &end {
        // What sorts after the last key of the page is not wanted.
        Some(end) => scan.clone().filter(key_after(&view.key, &key_values(&view.key, end)?).not()),
        None => scan.clone(),
    };
    let batch = states(view, scan)?;
    Ok(PanePage { panes: sorted(view, &batch), more_after: end })
}
