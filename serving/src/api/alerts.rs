//! `/v1/alerts`: the alerts that were fired last.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use serde::{Serialize, Serializer};
use tideline_common::alert::AlertEvent;

use super::problem::ApiResult;
use super::query::Query;
use super::{Api, json};
use crate::alerts::RECENT;
use crate::error::{QueryError, Thing};

/// Alerts when no limit is given.
const DEFAULT_LIMIT: usize = 50;

#[derive(Serialize)]
struct Fired {
    #[serde(serialize_with = "events")]
    alerts: Vec<Arc<AlertEvent>>,
}

fn events<S: Serializer>(alerts: &[Arc<AlertEvent>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(alerts.iter().map(|event| &**event))
}

/// The newest alerts, newest first.
pub(crate) async fn recent(State(api): State<Api>, uri: Uri) -> ApiResult<Response> {
    let mut query = Query::of(&uri);
    let limit = query.bounded("limit", 1, RECENT)?.unwrap_or(DEFAULT_LIMIT);
    let alert = query.text("alert")?;
    query.done()?;
    let live = api.live()?;
    if let Some(name) = &alert {
        let known = || live.plan().alerts.iter().map(|alert| alert.name.as_str());
        if !known().any(|known| known == name) {
            return Err(QueryError::unknown(Thing::Alert, name, known()).into());
        }
    }
    let is_wanted = |event: &Arc<AlertEvent>| alert.as_ref().is_none_or(|alert| *alert == event.alert);
    let alerts = live.alerts().recent().into_iter().rev().filter(is_wanted).take(limit).collect();
    json(Fired { alerts }, 0).await
}
