//! Endpoints of definitions: a path that answers with a window of a view.

use std::sync::Arc;

use axum::http::Uri;
use axum::response::Response;
use tideline_common::plan::EndpointPlan;

use super::problem::ApiResult;
use super::query::Query;
use super::{Api, table};
use crate::merge::{CurrentAnswer, MAX_TOP, TopRequest};

/// The newest window, or the one that is asked for.
pub(crate) async fn current(api: Api, endpoint: Arc<EndpointPlan>, uri: Uri) -> ApiResult<Response> {
    let mut query = Query::of(&uri);
    let csv = query.csv()?;
    let request = TopRequest {
        view: endpoint.view.clone(),
        by: endpoint.by.clone(),
        window: query.span("window")?,
        at: query.at()?,
        limit: Some(query.bounded("limit", 1, MAX_TOP)?.unwrap_or(endpoint.limit)),
        ..TopRequest::default()
    };
    query.done()?;
    table(CurrentAnswer(api.reader.top(&request).await?), csv).await
}
