//! `/v1/reports`: results of the batch layer.

use axum::extract::{Path, State};
use axum::http::{HeaderValue, Uri};
use axum::response::Response;
use serde::Serialize;
use tideline_common::plan::Field;

use super::problem::ApiResult;
use super::query::Query;
use super::{Api, json, table};
use crate::error::QueryError;
use crate::guard::ReadError;
use crate::merge::ReportRequest;

#[derive(Serialize)]
struct ReportInfo {
    name: String,
    from: String,
    inputs: Vec<String>,
    /// `None` until a batch run has published it.
    columns: Option<Vec<Field>>,
    rows: Option<u64>,
}

#[derive(Serialize)]
struct Reports {
    reports: Vec<ReportInfo>,
}

/// All reports.
pub(crate) async fn list(State(api): State<Api>, uri: Uri) -> ApiResult<Response> {
    Query::of(&uri).done()?;
    let manifest = api.reader.manifest().await.map_err(|error| match error {
        ReadError::Port(error) => QueryError::port("the batch layer", error),
        ReadError::Down(_) => QueryError::Unavailable { what: "the batch layer" },
    })?;
    let published = |name: &str| manifest.as_ref().and_then(|m| m.reports.get(name));
    let reports = api.reader.plan().reports.iter().map(|plan| ReportInfo {
        name: plan.name.clone(),
        from: plan.from.clone(),
        inputs: plan.inputs.clone(),
        columns: published(&plan.name).map(|files| files.columns.clone()),
        rows: published(&plan.name).map(|files| files.rows),
    });
    json(Reports { reports: reports.collect() }, 0).await
}

/// Rows of a report.
pub(crate) async fn one(State(api): State<Api>, Path(report): Path<String>, uri: Uri) -> ApiResult<Response> {
    api.reader.report_plan(&report)?;
    let mut query = Query::of(&uri);
    let csv = query.csv()?;
    let request = ReportRequest {
        offset: query.number("offset")?.unwrap_or(0),
        limit: query.limit()?,
        cursor: query.text("cursor")?,
        // All other parameters are conditions on columns; the reader refuses those that are none.
        filters: query.filters(),
        report,
    };
    let answer = api.reader.report(&request).await?;
    let cursor = answer.cursor.clone();
    let mut response = table(answer, csv).await?;
    if let Some(cursor) = cursor.and_then(|cursor| HeaderValue::from_str(&cursor).ok()).filter(|_| csv) {
        response.headers_mut().insert("x-next-cursor", cursor);
    }
    Ok(response)
}
