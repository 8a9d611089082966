//! Lookups: the newest rows of a key, from both layers.
//!
//! A lookup has no boundary: a row is the same in both layers and is known by (event time, sequence, ordinal), so the
//! answer is the union of both, each row once.

use tideline_common::plan::LookupPlan;
use tideline_common::ports::{LookupRows, LookupSchema};
use tideline_common::time::Timestamp;
use tideline_common::value::Value;

use super::answer::LookupAnswer;
use super::request::{DEFAULT_LIMIT, LookupRequest, checked_limit};
use super::snapshot::Parts;
use super::{Reader, layer_name};
use crate::boundary::{Interval, Layer, Missing, Reason, Split};
use crate::error::{QueryError, Thing};

/// What orders and identifies a row: event time, sequence, ordinal.
type Identity = (Timestamp, i64, u32);

impl Reader {
    /// The lookup of this name.
    ///
    /// # Errors
    /// [`QueryError::Unknown`] with what there is.
    pub fn lookup_plan(&self, name: &str) -> Result<&LookupPlan, QueryError> {
        let known = || self.plan.lookups.iter().map(|lookup| lookup.name.as_str());
        let found = self.plan.lookups.iter().find(|lookup| lookup.name == name);
        found.ok_or_else(|| QueryError::unknown(Thing::Lookup, name, known()))
    }

    /// The newest rows of a key, newest first.
    ///
    /// # Errors
    /// As [`Reader::rows`].
    pub async fn lookup(&self, request: &LookupRequest) -> Result<LookupAnswer, QueryError> {
        self.bounded(self.lookup_unbounded(request)).await
    }

    async fn lookup_unbounded(&self, request: &LookupRequest) -> Result<LookupAnswer, QueryError> {
        let plan = self.lookup_plan(&request.lookup)?;
        let key = match request.key.resolve(&plan.key)? {
            Some(key) => key,
            None if plan.key.is_empty() => tideline_common::key::Key::default(),
            None => {
                let names: Vec<&str> = plan.key.iter().map(|f| f.name.as_str()).collect();
                return Err(QueryError::parameter("key", format!("missing: the {} to look up", names.join(", "))));
            }
        };
        let most = plan.limit.max(1);
        let limit = checked_limit(request.limit, most.min(DEFAULT_LIMIT), most)?;
        let schema = LookupSchema::from(plan);
        let snapshot = self.snapshot(request.layer).await?;

        let wants = |layer: Layer| request.layer == layer || request.layer == Layer::Merged;
        let mut split = Split { batch: None, speed: None };
        let mut missing = Vec::new();
        let mut found: Vec<(Identity, Vec<Value>)> = Vec::new();
        if wants(Layer::Batch) {
            let rows = match (&snapshot.manifest, snapshot.unknown) {
                (_, Some(reason)) => Err(reason),
                (None, None) => Ok(LookupRows::new(&schema.columns)),
                (Some(manifest), None) => {
                    let rows = self.analytics.rows(manifest, &plan.table, &schema, &key, limit);
                    self.read(Layer::Batch, rows).await.map_err(|down| down.reason)
                }
            };
            take(rows, Layer::Batch, &mut split.batch, &mut missing, &mut found);
        }
        if wants(Layer::Speed) {
            let rows = self.read(Layer::Speed, self.views.rows(&schema, &key, limit, snapshot.now)).await;
            take(rows.map_err(|down| down.reason), Layer::Speed, &mut split.speed, &mut missing, &mut found);
        }
        if split.batch.is_none() && split.speed.is_none() {
            return Err(QueryError::Unavailable { what: layer_name(request.layer) });
        }
        found.sort_by_key(|row| std::cmp::Reverse(row.0));
        found.dedup_by(|a, b| a.0 == b.0);
        found.truncate(limit);
        let parts = Parts { through: None, split, missing };
        let sources = [plan.source.clone()];
        Ok(LookupAnswer {
            lookup: plan.name.clone(),
            columns: plan.columns.clone(),
            rows: found.into_iter().map(|((time, ..), values)| (time, values)).collect(),
            provenance: snapshot.provenance(&self.plan, &sources, request.layer, parts),
        })
    }
}

fn take(
    rows: Result<LookupRows, Reason>,
    layer: Layer,
    part: &mut Option<Interval>,
    missing: &mut Vec<Missing>,
    found: &mut Vec<(Identity, Vec<Value>)>,
) {
    match rows {
        Ok(rows) => {
            *part = Some(Interval::ALL);
            found.extend((0..rows.len()).map(|row| {
                let values = rows.columns.iter().map(|column| column.value(row)).collect();
                ((rows.times[row], rows.sequences[row], rows.ordinals[row]), values)
            }));
        }
        Err(reason) => missing.push(Missing { layer, panes: Interval::ALL, reason }),
    }
}
