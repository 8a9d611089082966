//! What every request passes: measuring, tokens, bounds, panics, and errors that are not problems yet.

use std::any::Any;
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::decompression::RequestDecompressionLayer;

use super::problem::{Carried, Problem};
use super::{Api, auth, page};

/// Paths that are answered also when there is too much to do: they say so.
const ALWAYS: &[&str] = &["/healthz", "/readyz", "/metrics", "/v1/views/{view}/live", "/v1/live"];

/// Puts everything around the routes. The first to see a request is the last named here.
pub(crate) fn wrap(router: Router<Api>, api: &Api) -> Router<Api> {
    router
        .fallback(page::page)
        .method_not_allowed_fallback(no_method)
        .layer(RequestDecompressionLayer::new().pass_through_unaccepted(true))
        .layer(CompressionLayer::new())
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(api.clone(), bound))
        // Before there is a place for it: who may not takes none.
        .layer(from_fn_with_state(api.clone(), auth::guard))
        .layer(from_fn(complete))
        .layer(from_fn(measure))
}

async fn no_method(request: Request) -> Problem {
    Problem::new("method-not-allowed", format!("`{}` does not have {}", request.uri().path(), request.method()))
}

// The layer hands the panic over.
#[allow(clippy::needless_pass_by_value)]
fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    tracing::error!(panic = %text, "a request panicked");
    Problem::new("internal", "the failure has been logged").into_response()
}

/// Sends requests away when too many are at work.
async fn bound(State(api): State<Api>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    if route.is_some_and(|route| ALWAYS.contains(&route)) {
        return next.run(request).await;
    }
    let Ok(_permit) = api.requests.clone().try_acquire_owned() else {
        let detail = format!("{} requests are at work already: come again", api.config.max_requests);
        return Problem::new("overloaded", detail).into_response();
    };
    next.run(request).await
}

/// Completes problems with the path they are about, and makes problems of all other errors.
async fn complete(request: Request, next: Next) -> Response {
    let uri = request.uri().clone();
    let mut response = next.run(request).await;
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let problem = match response.extensions_mut().remove::<Carried>() {
        Some(Carried(problem)) => problem,
        // The readiness report is an answer of its own.
        None if uri.path() == "/readyz" => return response,
        None => match status {
            StatusCode::PAYLOAD_TOO_LARGE => Problem::new("body-too-large", "the body is too large"),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Problem::new("unsupported-encoding", "send gzip or nothing"),
            status if status.is_server_error() => Problem::new("internal", "the failure has been logged"),
            status => Problem::new("request-refused", status.canonical_reason().unwrap_or("refused")),
        },
    };
    let allow = response.headers().get(header::ALLOW).cloned();
    let mut response = problem.instance(&uri).into_response();
    if let Some(allow) = allow {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// Counts requests and their time, by route.
async fn measure(request: Request, next: Next) -> Response {
    let began = Instant::now();
    // The route, not the path: the number of series is bounded.
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = request.method().as_str().to_owned();
    let method = if ["GET", "HEAD", "POST"].contains(&method.as_str()) { method } else { "other".to_owned() };
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let (status, elapsed) = (response.status().as_u16(), began.elapsed());
    tracing::debug!(%method, path, status, ?elapsed, "request");
    let labels = [("route", route.clone()), ("method", method.clone()), ("status", status.to_string())];
    metrics::counter!("tideline_http_requests_total", &labels).increment(1);
    metrics::histogram!("tideline_http_request_seconds", "route" => route, "method" => method)
        .record(elapsed.as_secs_f64());
    response
}
