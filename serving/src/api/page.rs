//! `/`: the web page, as files that were built from `dashboards/web`.
//!
//! Files stand below every route of the API: they answer only what no route has. What is no file either is the same
//! problem as without a page. A file under `/assets/` has the hash of its content in its name and is kept by browsers for
//! good; all others are asked for again each time, so that a new build is seen at the next load.

use std::io;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tower_http::services::ServeDir;

use super::problem::Problem;
use super::{Api, Scope};

/// Where the page begins.
const INDEX: &str = "/index.html";
/// Files that never change under their name.
const HASHED: &str = "/assets/";

/// What the page may do: run its own files and ask its own server. Charts put styles on the elements that they make.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; img-src 'self' data:; \
     font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
const FOR_GOOD: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");
const AS_TOLD: HeaderValue = HeaderValue::from_static("nosniff");
const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");

/// What is said where the page would be.
const NOT_BUILT: &str = "Tideline answers at /v1/ (see /openapi.json). The web page has not been built: `make web` builds it \
(Node.js 20.19 or newer), and `serve.web` of the configuration names the folder.\n";

/// Answers what no route has: a file of the page, or that there is nothing.
pub(crate) async fn page(State(api): State<Api>, mut request: Request) -> Response {
    let nothing = no_path(request.uri());
    if api.config.scope != Scope::Everything || ![Method::GET, Method::HEAD].contains(request.method()) {
        return nothing.into_response();
    }
    let path = match request.uri().path() {
        "/" => INDEX,
        path => path,
    }
    .to_owned();
    // The path alone: what a browser is asked to open may carry a query that is the page's own.
    let Ok(uri) = Uri::try_from(&path) else { return nothing.into_response() };
    *request.uri_mut() = uri;
    // A folder is no file, and is not redirected to itself with a slash.
    let mut files = ServeDir::new(&api.config.web).append_index_html_on_directories(false);
    let found = match files.try_call(request).await {
        Ok(found) => Some(found).filter(|found| found.status() != StatusCode::NOT_FOUND),
        Err(error) if is_nothing(&error) => None,
        Err(error) => {
            tracing::error!(%error, path, folder = %api.config.web.display(), "a file of the page could not be read");
            return Problem::new("internal", "the failure has been logged").into_response();
        }
    };
    let mut response = match found {
        Some(found) => found.map(Body::new),
        None if path == INDEX => NOT_BUILT.into_response(),
        None => return nothing.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, if path.starts_with(HASHED) { FOR_GOOD } else { ASK_AGAIN });
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, AS_TOLD);
    if path == INDEX {
        headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
        headers.insert(HeaderName::from_static("referrer-policy"), NO_REFERRER);
    }
    response
}

/// Whether there is no such file, rather than one that cannot be read.
fn is_nothing(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidFilename, NotADirectory, NotFound, PermissionDenied};
    matches!(error.kind(), InvalidFilename | NotADirectory | NotFound | PermissionDenied)
}

fn no_path(uri: &Uri) -> Problem {
    Problem::new("unknown-path", format!("there is nothing at `{}`; /openapi.json lists what there is", uri.path()))
}
