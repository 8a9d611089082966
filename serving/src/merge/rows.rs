//! Rows of a view: windows of keys, in order, page by page.

use std::sync::Arc;

use tideline_common::key::{Key, decode};
use tideline_common::manifest::Manifest;
use tideline_common::plan::{Answers, ViewPlan};
use tideline_common::ports::{KeySelector, ViewSchema};
use tideline_common::state::StateBatch;
use tideline_common::time::{Span, Timestamp};
use tideline_common::value::Value;
use tideline_common::window::Window;

use super::answer::{Row, RowsAnswer};
use super::cursor::Place;
use super::pages::LayerPages;
use super::request::{DEFAULT_LIMIT, MAX_LIMIT, RowsRequest, checked_limit, checked_window};
use super::windows::Windows;
use super::{LayerDown, Reader, layer_name};
use crate::boundary::{Interval, Layer, Missing, Split};
use crate::error::QueryError;

/// Windows finished at a time, before other tasks get their turn.
const CHUNK: usize = 1_024;

/// A query of rows that has been checked.
struct Query<'a> {
    plan: &'a ViewPlan,
    schema: ViewSchema,
    window: Window,
    /// Windows begin here.
    starts: Interval,
    key: Option<Key>,
    after: Option<Place>,
    limit: usize,
}

/// Why a run over the pages stopped.
enum Stop {
    Down(LayerDown),
    Query(QueryError),
}

impl From<LayerDown> for Stop {
    fn from(down: LayerDown) -> Self {
        Self::Down(down)
    }
}

/// Panes of the windows that begin in `starts`; `None` when no window begins there.
fn panes_of(starts: Interval, window: Window) -> Option<Interval> {
    let from = if starts.from == Timestamp::MIN { starts.from } else { starts.from.ceil(window.slide) };
    let to = if starts.to == Timestamp::MAX {
        starts.to
    } else {
        // The last start before `to`, and all of its window.
        starts.to.minus(Span(1)).floor(window.slide).plus(window.size)
    };
    Interval::new(from, to)
}

/// The windows to list, from a request's bounds.
pub(crate) fn checked_starts(from: Option<Timestamp>, to: Option<Timestamp>) -> Result<Interval, QueryError> {
    let (from, to) = (from.unwrap_or(Timestamp::MIN), to.unwrap_or(Timestamp::MAX));
    Interval::new(from, to).ok_or_else(|| QueryError::parameter("to", format!("{to} is not later than `from`, {from}")))
}

impl Reader {
    /// Rows of a view, ordered by key bytes, then window start.
    ///
    /// # Errors
    /// Unknown names, parameters that make no sense, too much work, no layer that can be read.
    pub async fn rows(&self, request: &RowsRequest) -> Result<RowsAnswer, QueryError> {
        self.bounded(self.rows_unbounded(request)).await
    }

    async fn rows_unbounded(&self, request: &RowsRequest) -> Result<RowsAnswer, QueryError> {
        let plan = self.view(&request.view)?;
        let window = checked_window(plan, request.window, request.slide)?;
        let starts = checked_starts(request.from, request.to)?;
        let key = request.key.resolve(&plan.key)?;
        // All that decides which rows there are, in which order.
        let identity = format!(
            "rows {} {} {:?} {starts:?} {key:?} {:?} {:?}",
            plan.name, plan.version, window, request.layer, request.boundary
        );
        let after = request.cursor.as_ref().map(|cursor| Place::from_cursor(&identity, cursor)).transpose()?;
        let query = Query {
            plan,
            schema: ViewSchema::from(plan),
            window,
            starts,
            key,
            after,
            limit: checked_limit(request.limit, DEFAULT_LIMIT, MAX_LIMIT)?,
        };

        let snapshot = self.snapshot(request.layer).await?;
        let mut parts = match panes_of(starts, window) {
            Some(panes) => snapshot.split(&self.plan, plan, request.layer, panes, request.boundary),
            None => snapshot.nothing(plan, request.boundary),
        };
        let (rows, last) = loop {
            // A layer that fails in the middle makes the whole answer start again without it, so that what is
            // missing is the same for all of its rows.
            match self.collect(&query, snapshot.manifest.as_ref(), parts.split, &parts.missing).await {
                Ok(rows) => break rows,
                Err(Stop::Query(error)) => return Err(error),
                Err(Stop::Down(down)) => {
                    let (gone, other) = match down.layer {
                        Layer::Batch => (parts.split.batch.take(), parts.split.speed),
                        _ => (parts.split.speed.take(), parts.split.batch),
                    };
                    let (Some(panes), Some(_)) = (gone, other) else {
                        return Err(QueryError::Unavailable { what: layer_name(request.layer) });
                    };
                    parts.missing.push(Missing { layer: down.layer, panes, reason: down.reason });
                }
            }
        };
        let cursor = last.map(|place| place.to_cursor(&identity));
        Ok(RowsAnswer {
            view: plan.name.clone(),
            window,
            key: plan.key.clone(),
            columns: plan.answer.clone(),
            rows,
            cursor,
            provenance: snapshot.provenance(&self.plan, &plan.sources, request.layer, parts),
        })
    }

    /// The rows of one page, and the place of the last one when there are more.
    async fn collect(
        &self,
        query: &Query<'_>,
        manifest: Option<&Arc<Manifest>>,
        split: Split,
        missing: &[Missing],
    ) -> Result<(Vec<Row>, Option<Place>), Stop> {
        let mut run = Run { query, rows: Vec::new(), states: StateBatch::new(&query.plan.fields), missing, key: None };
        let mut read = 0;
        // A cursor first finishes the key where it stopped, then goes on after it.
        let mut phases = Vec::with_capacity(2);
        match (&query.after, &query.key) {
            (None, None) => phases.push((KeySelector::All { after: None }, query.starts.from)),
            (None, Some(key)) => phases.push((KeySelector::One(key.clone()), query.starts.from)),
            (Some(place), key) => {
                let at = Key(place.key.clone());
                phases.push((KeySelector::One(at.clone()), place.start.plus(query.window.slide)));
                if key.is_none() {
                    phases.push((KeySelector::All { after: Some(at) }, query.starts.from));
                }
            }
        }
        for (keys, from) in phases {
            if run.full() {
                break;
            }
            if let Some(starts) = Interval::new(from, query.starts.to) {
                self.run_phase(&mut run, &keys, starts, manifest, split, &mut read).await?;
            }
        }
        run.finish().map_err(Stop::Query)?;
        let Run { mut rows, .. } = run;
        let last = if rows.len() > query.limit {
            rows.truncate(query.limit);
            rows.last().map(|row| Place { key: Key::of(&row.key).0, start: row.start })
        } else {
            None
        };
        Ok((rows, last))
    }

    async fn run_phase(
        &self,
        run: &mut Run<'_>,
        keys: &KeySelector,
        starts: Interval,
        manifest: Option<&Arc<Manifest>>,
        split: Split,
        read: &mut usize,
    ) -> Result<(), Stop> {
        let Query { plan, schema, window, limit, .. } = run.query;
        let Some(panes) = panes_of(starts, *window) else { return Ok(()) };
        let part = |whole: Option<Interval>| {
            whole.and_then(|whole| Interval::new(whole.from.max(panes.from), whole.to.min(panes.to)))
        };
        let mut batch = LayerPages::new(Layer::Batch, part(split.batch), keys, schema);
        let mut speed = LayerPages::new(Layer::Speed, part(split.speed), keys, schema);
        // Panes that the wanted rows come to at least, so that a small answer reads a small page.
        let per_row = usize::try_from(window.slide.0 / plan.pane.0).unwrap_or(usize::MAX);
        let page_rows = limit
            .saturating_mul(per_row)
            .saturating_add(1)
            .clamp(4_096.min(self.config.page_rows), self.config.page_rows);
        let (mut key, mut slots) = (Vec::new(), Vec::new());
        loop {
            batch.fill(self, manifest, schema, page_rows, read).await?;
            speed.fill(self, manifest, schema, page_rows, read).await?;
            if *read > self.config.max_panes {
                let message = format!(
                    "the answer would need more than {} panes; ask for a key, a shorter time range or a smaller limit",
                    self.config.max_panes
                );
                return Err(Stop::Query(QueryError::TooMuch { message }));
            }
            let Some(next) = batch.key().into_iter().chain(speed.key()).min() else { return Ok(()) };
            key.clear();
            key.extend_from_slice(next);
            slots.clear();
            batch.take(&key, 0, &mut slots);
            speed.take(&key, 1, &mut slots);
            let mut windows = Windows::new(*window, &plan.fields, &key, &slots, starts.from, starts.to);
            while windows.next([&batch.page, &speed.page], &mut run.states) {
                if run.states.len() >= CHUNK {
                    run.finish().map_err(Stop::Query)?;
                    tokio::task::yield_now().await;
                }
                if run.full() {
                    return Ok(());
                }
            }
        }
    }
}

/// Rows on their way.
struct Run<'a> {
    query: &'a Query<'a>,
    rows: Vec<Row>,
    /// Windows that are merged and not yet finished.
    states: StateBatch,
    missing: &'a [Missing],
    /// The last key, in both forms.
    key: Option<(Vec<u8>, Arc<[Value]>)>,
}

impl Run<'_> {
    /// Whether there is one row more than asked for: proof that there is another page.
    fn full(&self) -> bool {
        self.rows.len() + self.states.len() > self.query.limit
    }

    /// Finishes the merged windows.
    fn finish(&mut self) -> Result<(), QueryError> {
        if self.states.is_empty() {
            return Ok(());
        }
        let states = std::mem::replace(&mut self.states, StateBatch::new(&self.query.plan.fields));
        let answers = Answers::new(self.query.plan);
        for row in 0..states.len() {
            let bytes = states.keys.get(row);
            let key = match &self.key {
                Some((known, values)) if known == bytes => values.clone(),
                _ => {
                    let values: Arc<[Value]> = decode_key(bytes)?.into();
                    self.key = Some((bytes.to_vec(), values.clone()));
                    values
                }
            };
            let start = states.panes[row];
            let end = start.plus(self.query.window.size);
            let partial = Interval::new(start, end)
                .is_some_and(|window| self.missing.iter().any(|part| part.panes.overlaps(window)));
            self.rows.push(Row { key, start, end, values: answers.row(&states, row), partial });
        }
        Ok(())
    }
}

/// The values of a key that a store gave.
pub(crate) fn decode_key(bytes: &[u8]) -> Result<Vec<Value>, QueryError> {
    decode(bytes).map_err(|error| QueryError::Internal { what: "a stored key is damaged", source: error.into() })
}
