//! Rankings: all keys of one window, the highest first.

use std::collections::HashMap;
use std::sync::Arc;

use tideline_common::key::Key;
use tideline_common::manifest::Manifest;
use tideline_common::plan::{Answers, ViewPlan};
use tideline_common::ports::ViewSchema;
use tideline_common::state::{StateBatch, StateTable};
use tideline_common::time::{Span, Timestamp};
use tideline_common::value::Value;

use super::answer::{Row, TopAnswer};
use super::direction::Before;
use super::order::{descending, is_rankable};
use super::request::{At, MAX_TOP, TopRequest, checked_limit, checked_window};
use super::rows::decode_key;
use super::snapshot::Snapshot;
use super::{LayerDown, Reader, layer_name};
use crate::boundary::{Interval, Layer, Missing, Split, boundary};
use crate::error::QueryError;
use crate::guard::Size;
use crate::ranking::Because;

/// Entries when no limit is given.
const DEFAULT_TOP: usize = 10;
/// Groups finished at a time, before other tasks get their turn.
const CHUNK: usize = 4_096;

impl Reader {
    /// A ranking of the keys of one window by an answer column, descending; nulls last, ties in key order.
    ///
    /// # Errors
    /// As [`Reader::rows`].
    pub async fn top(&self, request: &TopRequest) -> Result<TopAnswer, QueryError> {
        self.bounded(self.top_unbounded(request)).await
    }

    async fn top_unbounded(&self, request: &TopRequest) -> Result<TopAnswer, QueryError> {
        let plan = self.view(&request.view)?;
        let by = ranking_column(plan, request.by.as_deref())?;
        let limit = checked_limit(request.limit, DEFAULT_TOP, MAX_TOP)?;
        let declared = checked_window(plan, request.window, None)?;
        let size = declared.size;
        if let Some(answer) = self.top_from_memory(plan, by, limit, size, request)? {
            return Ok(answer);
        }
        let schema = ViewSchema::from(plan);
        let snapshot = self.snapshot(request.layer).await?;
        let manifest = snapshot.manifest.as_ref();

        // The window: the one asked for, or one that the newest pane with data tells.
        let mut parts = snapshot.split(&self.plan, plan, request.layer, Interval::ALL, request.boundary);
        let mut down: Vec<LayerDown> = Vec::new();
        let newest = match request.at {
            At::End(_) => None,
            At::Newest | At::Complete => self.newest_end(plan, &schema, manifest, &parts, &mut down).await,
        };
        let end = request.at.end(newest, plan.pane, snapshot.now);
        let window = end.and_then(|end| Interval::new(end.minus(size), end));
        let before = window.filter(|_| request.previous).and_then(|window| window.before(declared.slide));
        let looked_in = parts.split;
        if let Some(window) = window {
            let panes = Interval { from: before.map_or(window.from, |before| before.from), to: window.to };
            parts = snapshot.split(&self.plan, plan, request.layer, panes, request.boundary);
        }

        let mut table = StateTable::new(&plan.fields);
        let mut table_before = StateTable::new(&plan.fields);
        for layer in [Layer::Batch, Layer::Speed] {
            let part = if layer == Layer::Batch { &mut parts.split.batch } else { &mut parts.split.speed };
            let Some(panes) = *part else { continue };
            let known = down.iter().position(|d| d.layer == layer).map(|at| down.swap_remove(at));
            let states = match (known, window) {
                (Some(down), _) => Err(down),
                (None, None) => continue,
                (None, Some(_)) => self.panes_between(layer, manifest, &schema, panes).await,
            };
            match states {
                Ok(states) => {
                    self.add(&mut table, &states, window)?;
                    if before.is_some() {
                        self.add(&mut table_before, &states, before)?;
                    }
                }
                Err(down) => {
                    *part = None;
                    parts.missing.push(Missing { layer, panes, reason: down.reason });
                }
            }
        }
        if parts.split == (Split { batch: None, speed: None }) {
            return Err(QueryError::Unavailable { what: layer_name(request.layer) });
        }
        // A layer that could not say what its newest pane is, and has none of this window: there may be a newer one.
        for LayerDown { layer, reason } in down {
            if let Some(panes) = if layer == Layer::Batch { looked_in.batch } else { looked_in.speed } {
                parts.missing.push(Missing { layer, panes, reason });
            }
        }
        let lacks = |window: Option<Interval>| {
            window.is_some_and(|window| parts.missing.iter().any(|part| part.panes.overlaps(window)))
        };
        let rows = match window {
            Some(of) => rank(plan, by, &table.into_groups(), limit, of, lacks(window)).await?,
            None => Vec::new(),
        };
        let previous = request.previous.then(|| {
            if lacks(before) {
                vec![Before::Unknown; rows.len()]
            } else {
                values_of(plan, by, &table_before.into_groups(), &rows)
            }
        });
        Ok(TopAnswer {
            view: plan.name.clone(),
            by: plan.answer[by].name.clone(),
            window,
            key: plan.key.clone(),
            columns: plan.answer.clone(),
            rows,
            previous,
            provenance: snapshot.provenance(&self.plan, &plan.sources, request.layer, parts),
        })
    }

    /// The answer out of the copy that is kept of the newest window, where it has it: no store is read.
    fn top_from_memory(
        &self,
        plan: &ViewPlan,
        by: usize,
        limit: usize,
        size: Span,
        request: &TopRequest,
    ) -> Result<Option<TopAnswer>, QueryError> {
        let Some(rankings) = &self.rankings else { return Ok(None) };
        let now = self.clock.now();
        let found = if request.layer != Layer::Merged || request.boundary.is_some() {
            Err(Because::OtherLayer)
        } else {
            rankings.top(plan, by, limit, size, request, now)
        };
        let found = found.and_then(|ready| {
            let snapshot =
                Snapshot { manifest: ready.manifest.clone(), unknown: None, progress: ready.progress.clone(), now };
            // Rows that may have expired are told, and taken from batch where it has them, by the slow path alone.
            let whole = snapshot.split(&self.plan, plan, Layer::Merged, Interval::ALL, None);
            let plain = whole.split == Split::of(Layer::Merged, Interval::ALL, whole.through, plan.pane);
            if !plain || !whole.missing.is_empty() {
                return Err(Because::Expired);
            }
            let from = if request.previous { ready.window.from.minus(plan.window.slide) } else { ready.window.from };
            let panes = Interval { from, to: ready.window.to };
            let parts = snapshot.split(&self.plan, plan, Layer::Merged, panes, None);
            Ok((ready, snapshot, parts))
        });
        let from = found.as_ref().err().map_or("memory", |because| because.name());
        metrics::counter!("tideline_serving_rankings_total", "view" => plan.name.clone(), "from" => from).increment(1);
        let Ok((ready, snapshot, parts)) = found else { return Ok(None) };
        let answers = Answers::new(plan);
        let rows = (0..ready.rows.len()).map(|row| {
            let key = decode_key(ready.rows.keys.get(row))?.into();
            let Interval { from: start, to: end } = ready.window;
            Ok(Row { key, start, end, values: answers.row(&ready.rows, row), partial: false })
        });
        let rows = rows.collect::<Result<_, QueryError>>()?;
        let previous = ready.previous.map(|(states, found)| {
            let was = |row: usize| Before::Was(answers.row(&states, row).swap_remove(by));
            found.iter().enumerate().map(|(row, found)| if *found { was(row) } else { Before::Absent }).collect()
        });
        let mut provenance = snapshot.provenance(&self.plan, &plan.sources, Layer::Merged, parts);
        provenance.kept = true;
        let mut known = self.known.lock();
        if known.is_none() {
            *known = ready.manifest;
        }
        drop(known);
        Ok(Some(TopAnswer {
            view: plan.name.clone(),
            by: plan.answer[by].name.clone(),
            window: Some(ready.window),
            key: plan.key.clone(),
            columns: plan.answer.clone(),
            rows,
            previous,
            provenance,
        }))
    }

    /// The end of the newest pane with data in the layers of `parts`.
    async fn newest_end(
        &self,
        plan: &ViewPlan,
        schema: &ViewSchema,
        manifest: Option<&Arc<Manifest>>,
        parts: &super::snapshot::Parts,
        down: &mut Vec<LayerDown>,
    ) -> Option<Timestamp> {
        let mut newest: Option<Timestamp> = None;
        if parts.split.speed.is_some() {
            let newest_pane = self.views.newest_pane(schema, self.clock.now());
            match self.read_sized(Layer::Speed, Size::Small, newest_pane).await {
                Ok(pane) => newest = pane,
                Err(error) => down.push(error),
            }
        }
        if let (Some(batch), Some(manifest)) = (parts.split.batch, manifest) {
            let newest_pane = self.analytics.newest_pane(manifest, schema);
            match self.read_sized(Layer::Batch, Size::Small, newest_pane).await {
                Ok(pane) => {
                    // Gold also holds panes after the boundary; those are not batch's here.
                    let last = if batch.to == Timestamp::MAX {
                        batch.to
                    } else {
                        boundary(Some(batch.to), plan.pane).minus(plan.pane)
                    };
                    newest = newest.max(pane.map(|pane| pane.min(last)));
                }
                Err(error) => down.push(error),
            }
        }
        newest.map(|pane| pane.plus(plan.pane))
    }

    async fn panes_between(
        &self,
        layer: Layer,
        manifest: Option<&Arc<Manifest>>,
        schema: &ViewSchema,
        panes: Interval,
    ) -> Result<StateBatch, LayerDown> {
        match (layer, manifest) {
            (Layer::Batch, Some(manifest)) => {
                self.read(layer, self.analytics.panes_between(manifest, schema, panes.from, panes.to)).await
            }
            (Layer::Batch, None) => Ok(StateBatch::new(&schema.fields)),
            _ => self.read(layer, self.views.panes_between(schema, panes.from, panes.to, self.clock.now())).await,
        }
    }

    /// Merges all panes of a key within `window` into one group.
    fn add(&self, table: &mut StateTable, states: &StateBatch, window: Option<Interval>) -> Result<(), QueryError> {
        if table.len() + states.len() > self.config.max_panes {
            let message =
                format!("the ranking would need more than {} panes; ask for a shorter window", self.config.max_panes);
            return Err(QueryError::TooMuch { message });
        }
        for row in 0..states.len() {
            if window.is_some_and(|window| window.contains(states.panes[row])) {
                table.merge_row(states.keys.get(row), Timestamp::MIN, states, row);
            }
        }
        Ok(())
    }
}

/// The column that ranks.
fn ranking_column(plan: &ViewPlan, by: Option<&str>) -> Result<usize, QueryError> {
    let names =
        || plan.answer.iter().filter(|f| is_rankable(f.ty)).map(|f| f.name.as_str()).collect::<Vec<_>>().join(", ");
    let Some(name) = by.or_else(|| plan.top.first().map(String::as_str)) else {
        let first = plan.answer.iter().position(|field| is_rankable(field.ty));
        return first.ok_or_else(|| QueryError::parameter("by", "no column of this view can rank"));
    };
    match plan.answer.iter().position(|field| field.name == name) {
        Some(at) if is_rankable(plan.answer[at].ty) => Ok(at),
        Some(at) => {
            let message = format!("`{name}` is of type {} and cannot rank; these can: {}", plan.answer[at].ty, names());
            Err(QueryError::parameter("by", message))
        }
        None => Err(QueryError::parameter(
            "by",
            format!("view `{}` has no column `{name}`; it has: {}", plan.name, names()),
        )),
    }
}

/// What ranks the keys of `rows`, by the states of another window.
fn values_of(plan: &ViewPlan, by: usize, groups: &StateBatch, rows: &[Row]) -> Vec<Before> {
    let answers = Answers::new(plan);
    let place: HashMap<Vec<u8>, usize> = rows.iter().enumerate().map(|(at, row)| (Key::of(&row.key).0, at)).collect();
    let mut values = vec![Before::Absent; rows.len()];
    for row in 0..groups.len() {
        if let Some(at) = place.get(groups.keys.get(row)) {
            values[*at] = Before::Was(answers.row(groups, row).swap_remove(by));
        }
    }
    values
}

async fn rank(
    plan: &ViewPlan,
    by: usize,
    groups: &StateBatch,
    limit: usize,
    window: Interval,
    partial: bool,
) -> Result<Vec<Row>, QueryError> {
    let answers = Answers::new(plan);
    let mut order: Vec<(Value, usize)> = Vec::with_capacity(groups.len());
    for row in 0..groups.len() {
        order.push((answers.row(groups, row).swap_remove(by), row));
        if row % CHUNK == CHUNK - 1 {
            tokio::task::yield_now().await;
        }
    }
    let compare = |a: &(Value, usize), b: &(Value, usize)| {
        descending(&a.0, &b.0).then_with(|| groups.keys.get(a.1).cmp(groups.keys.get(b.1)))
    };
    if order.len() > limit {
        order.select_nth_unstable_by(limit, compare);
        order.truncate(limit);
    }
    order.sort_unstable_by(compare);
    order
        .into_iter()
        .map(|(_, row)| {
            let key = decode_key(groups.keys.get(row))?.into();
            Ok(Row { key, start: window.from, end: window.to, values: answers.row(groups, row), partial })
        })
        .collect()
}
