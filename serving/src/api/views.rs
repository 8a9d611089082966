//! `/v1/views` and `/v1/lookups`: what there is, rows, rankings, newest rows.

use axum::extract::{Path, State};
use axum::http::{HeaderValue, Uri};
use axum::response::Response;
use serde::Serialize;
use tideline_common::plan::{Field, LookupPlan, ViewPlan};

use super::problem::ApiResult;
use super::query::Query;
use super::{Api, json, table};
use crate::merge::{LookupRequest, RowsRequest, Table, TopRequest};

#[derive(Serialize)]
struct MeasureInfo {
    name: String,
    table: String,
    agg: String,
}

#[derive(Serialize)]
struct ColumnInfo {
    name: String,
    formula: String,
}

#[derive(Serialize)]
struct ViewInfo {
    name: String,
    key: Vec<Field>,
    columns: Vec<Field>,
    window: String,
    slide: String,
    pane: String,
    measures: Vec<MeasureInfo>,
    formulas: Vec<ColumnInfo>,
    top: Vec<String>,
    tables: Vec<String>,
    sources: Vec<String>,
    retain_speed: Option<String>,
    retain_batch: Option<String>,
    version: String,
}

impl From<&ViewPlan> for ViewInfo {
    fn from(plan: &ViewPlan) -> Self {
        Self {
            name: plan.name.clone(),
            key: plan.key.clone(),
            columns: plan.answer.clone(),
            window: plan.window.size.to_string(),
            slide: plan.window.slide.to_string(),
            pane: plan.pane.to_string(),
            measures: plan
                .measures
                .iter()
                .map(|m| MeasureInfo { name: m.name.clone(), table: m.table.clone(), agg: m.sql.clone() })
                .collect(),
            formulas: plan
                .columns
                .iter()
                .map(|c| ColumnInfo { name: c.name.clone(), formula: c.formula.sql.clone() })
                .collect(),
            top: plan.top.clone(),
            tables: plan.tables.clone(),
            sources: plan.sources.clone(),
            retain_speed: plan.retain_speed.map(|span| span.to_string()),
            retain_batch: plan.retain_batch.map(|span| span.to_string()),
            version: plan.version.clone(),
        }
    }
}

#[derive(Serialize)]
struct Views {
    views: Vec<ViewInfo>,
}

/// All views.
pub(crate) async fn list(State(api): State<Api>, uri: Uri) -> ApiResult<Response> {
    Query::of(&uri).done()?;
    json(Views { views: api.reader.plan().views.iter().map(ViewInfo::from).collect() }, 0).await
}

/// One view.
pub(crate) async fn one(State(api): State<Api>, Path(view): Path<String>, uri: Uri) -> ApiResult<Response> {
    Query::of(&uri).done()?;
    json(ViewInfo::from(api.reader.view(&view)?), 0).await
}

/// Rows of a view.
pub(crate) async fn rows(State(api): State<Api>, Path(view): Path<String>, uri: Uri) -> ApiResult<Response> {
    api.reader.view(&view)?;
    let mut query = Query::of(&uri);
    let csv = query.csv()?;
    let request = RowsRequest {
        key: query.key()?,
        from: query.time("from")?,
        to: query.time("to")?,
        window: query.span("window")?,
        slide: query.span("slide")?,
        layer: query.layer()?,
        limit: query.limit()?,
        cursor: query.text("cursor")?,
        boundary: None,
        view,
    };
    query.done()?;
    let answer = api.reader.rows(&request).await?;
    metrics::counter!("tideline_http_rows_total", "view" => request.view).increment(answer.row_count() as u64);
    let cursor = answer.cursor.clone();
    let mut response = table(answer, csv).await?;
    // CSV has no other place for it.
    if let Some(cursor) = cursor.and_then(|cursor| HeaderValue::from_str(&cursor).ok()).filter(|_| csv) {
        response.headers_mut().insert("x-next-cursor", cursor);
    }
    Ok(response)
}

/// A ranking.
pub(crate) async fn top(State(api): State<Api>, Path(view): Path<String>, uri: Uri) -> ApiResult<Response> {
    api.reader.view(&view)?;
    let mut query = Query::of(&uri);
    let csv = query.csv()?;
    let request = TopRequest {
        by: query.text("by")?,
        limit: query.limit()?,
        window: query.span("window")?,
        at: query.at()?,
        previous: query.flag("previous")?,
        layer: query.layer()?,
        boundary: None,
        view,
    };
    query.done()?;
    table(api.reader.top(&request).await?, csv).await
}

#[derive(Serialize)]
struct LookupInfo {
    name: String,
    table: String,
    key: Vec<Field>,
    columns: Vec<Field>,
    limit: usize,
}

impl From<&LookupPlan> for LookupInfo {
    fn from(plan: &LookupPlan) -> Self {
        Self {
            name: plan.name.clone(),
            table: plan.table.clone(),
            key: plan.key.clone(),
            columns: plan.columns.clone(),
            limit: plan.limit,
        }
    }
}

#[derive(Serialize)]
struct Lookups {
    lookups: Vec<LookupInfo>,
}

/// All lookups.
pub(crate) async fn lookups(State(api): State<Api>, uri: Uri) -> ApiResult<Response> {
    Query::of(&uri).done()?;
    json(Lookups { lookups: api.reader.plan().lookups.iter().map(LookupInfo::from).collect() }, 0).await
}

/// Newest rows of a key.
pub(crate) async fn lookup(State(api): State<Api>, Path(lookup): Path<String>, uri: Uri) -> ApiResult<Response> {
    api.reader.lookup_plan(&lookup)?;
    let mut query = Query::of(&uri);
    let csv = query.csv()?;
    let request = LookupRequest { key: query.key()?, limit: query.limit()?, layer: query.layer()?, lookup };
    query.done()?;
    table(api.reader.lookup(&request).await?, csv).await
}
