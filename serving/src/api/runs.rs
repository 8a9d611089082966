//! `/v1/batch/runs`: batch runs, on demand.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::ports::{BatchControl, Run, StartError};
use super::problem::{ApiResult, Problem};
use super::query::Query;
use super::{Api, json};
use crate::error::{QueryError, Thing};

fn control(api: &Api) -> ApiResult<&Arc<dyn BatchControl>> {
    api.batch.as_ref().ok_or_else(|| {
        Problem::new("no-batch-layer", "this process runs no batch layer: ask the one that runs `tideline batch`")
    })
}

/// Starts a run.
pub(crate) async fn start(State(api): State<Api>, uri: Uri) -> ApiResult<Response> {
    Query::of(&uri).done()?;
    let run = control(&api)?.start().await.map_err(|error| match error {
        StartError::Busy { running } => {
            let detail = format!("run {running} is at work; see /v1/batch/runs/{running}");
            Problem::new("run-in-progress", detail).known(vec![running], None)
        }
        StartError::Unavailable(source) => {
            tracing::warn!(error = %source, "a batch run could not be started");
            Problem::new("unavailable", "the batch layer cannot start a run now")
        }
    })?;
    let location = format!("/v1/batch/runs/{}", run.id);
    let mut response = json(run, 0).await?;
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(([(header::LOCATION, location)], response).into_response())
}

#[derive(Serialize)]
struct Runs {
    runs: Vec<Run>,
}

/// The runs that are remembered.
pub(crate) async fn list(State(api): State<Api>, uri: Uri) -> ApiResult<Response> {
    Query::of(&uri).done()?;
    json(Runs { runs: control(&api)?.runs().await }, 0).await
}

/// One run.
pub(crate) async fn one(State(api): State<Api>, Path(id): Path<String>, uri: Uri) -> ApiResult<Response> {
    Query::of(&uri).done()?;
    let control = control(&api)?;
    if let Some(run) = control.run(&id).await {
        return json(run, 0).await;
    }
    let known = control.runs().await.into_iter().map(|run| run.id);
    Err(QueryError::unknown(Thing::Run, &id, known).into())
}
