//! `/v1/predictions`: how predictions are doing, and drift reports.

use axum::extract::{Path, State};
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::problem::{ApiResult, Problem};
use super::query::Query;
use super::{Api, json};
use crate::predictions::{DriftRequest, PredictionAnswer};

/// What the page of a report may load: nothing but its own styles.
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");

#[derive(Serialize)]
struct Predictions {
    predictions: Vec<PredictionAnswer>,
}

/// All predictions.
pub(crate) async fn list(State(api): State<Api>, uri: Uri) -> ApiResult<Response> {
    Query::of(&uri).done()?;
    json(Predictions { predictions: api.reader.predictions().await? }, 0).await
}

/// One prediction.
pub(crate) async fn one(State(api): State<Api>, Path(prediction): Path<String>, uri: Uri) -> ApiResult<Response> {
    Query::of(&uri).done()?;
    json(api.reader.prediction(&prediction).await?, 0).await
}

/// The drift report of an hour.
pub(crate) async fn drift(State(api): State<Api>, Path(prediction): Path<String>, uri: Uri) -> ApiResult<Response> {
    let mut query = Query::of(&uri);
    let html = match query.text("format")?.as_deref() {
        None | Some("json") => false,
        Some("html") => true,
        Some(other) => {
            let detail = format!("`format` `{other}` is neither json nor html");
            return Err(Problem::new("invalid-parameter", detail).parameter("format"));
        }
    };
    let at = query.time("at")?;
    let partition = query.number("partition")?.map(|partition| u32::try_from(partition).unwrap_or(u32::MAX));
    query.done()?;
    let Some(report) = api.reader.drift(&prediction, DriftRequest { at, partition, html }).await? else {
        let detail = format!(
            "prediction `{prediction}` has no drift report {}: there is one after each hour with an hour a day before to \
             compare it with, and it is kept for a week",
            if at.is_some() { "of that hour" } else { "yet" }
        );
        return Err(Problem::new("not-published", detail));
    };
    if !html {
        return Ok(([(header::CONTENT_TYPE, "application/json")], report).into_response());
    }
    let mut response = ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], report).into_response();
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, POLICY);
    Ok(response)
}
