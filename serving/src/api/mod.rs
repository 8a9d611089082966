//! The HTTP API: every endpoint over a [`Reader`] and the ports of [`ports`].
//!
//! [`router`] is the whole API as a service; [`serve`] runs it on a listener that it is given. Each route stands in one
//! table (`routes`) with its handler and its description, from which both the router and `/openapi.json` are made.
//! Every error is a problem document; what failed inside goes to the log and not to the caller.

pub mod agreement;
mod alerts;
pub mod auth;
mod endpoints;
mod files;
mod health;
mod live;
mod middleware;
mod openapi;
mod page;
pub mod ports;
mod predictions;
mod problem;
mod query;
mod reports;
mod routes;
mod runs;
mod schemas;
mod server;
mod socket;
mod tls;
mod topics;
mod views;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::{self, HeaderName};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::Semaphore;

pub use files::FileError;
pub use openapi::openapi;
pub use problem::{ApiResult, KINDS, PROBLEM_JSON, Problem};
pub use server::{ServeConfig, serve};
pub use tls::{Tls, TlsFiles};

use crate::live::Live;
use crate::merge::{Reader, Table};
use agreement::AgreementSource;
use auth::Auth;
use ports::{BatchControl, StatusSource, TopicWriter};

/// Bounds of the API.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Which part of the API is answered.
    pub scope: Scope,
    /// Checks tokens; whoever connects may do everything when absent.
    pub auth: Option<Arc<Auth>>,
    /// The longest record, in bytes.
    pub max_record_bytes: usize,
    /// The longest body, in bytes, after decompression.
    pub max_body_bytes: usize,
    /// All bodies being taken in together, in bytes.
    pub max_bodies_bytes: usize,
    /// How long a body may stand still.
    pub body_timeout: Duration,
    /// How long a body may take in all.
    pub body_total_timeout: Duration,
    /// Requests at work at once; more are sent away with 503.
    pub max_requests: usize,
    /// Live streams at once, of both kinds.
    pub max_live: usize,
    /// Origins of pages, beside this server's own, that may open a WebSocket: `https://example.com`; `*` is all of them.
    pub origins: Vec<String>,
    /// How often a WebSocket is pinged.
    pub ping_interval: Duration,
    /// How often a WebSocket is sent a heartbeat, which a page can see.
    pub heartbeat_interval: Duration,
    /// How long the client of a WebSocket may give no sign of life, or take to read one frame, before it is closed.
    pub silence_max: Duration,
    /// How long one check of `/readyz` may take.
    pub check_timeout: Duration,
    /// How long a request for a comparison of the layers waits for another one to end.
    pub compare_wait: Duration,
    /// How long a comparison of the layers may take.
    pub compare_timeout: Duration,
    /// Folder of the built web page; what is not there is said at `/`.
    pub web: PathBuf,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            scope: Scope::default(),
            auth: None,
            max_record_bytes: 1 << 20,
            max_body_bytes: 64 << 20,
            max_bodies_bytes: 256 << 20,
            body_timeout: Duration::from_secs(30),
            body_total_timeout: Duration::from_mins(5),
            max_requests: 256,
            max_live: 256,
            origins: Vec::new(),
            ping_interval: Duration::from_secs(15),
            heartbeat_interval: Duration::from_secs(5),
            silence_max: Duration::from_mins(1),
            check_timeout: Duration::from_secs(2),
            compare_wait: Duration::from_secs(15),
            compare_timeout: Duration::from_mins(4),
            web: PathBuf::from("dashboards/web/dist"),
        }
    }
}

/// Which part of the API a process answers: a role that does one thing answers for that alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All of it.
    #[default]
    Everything,
    /// Records are taken in; health, status and metrics.
    Ingest,
    /// Batch runs and the agreement of the layers; health, status and metrics.
    Batch,
    /// Health, status and metrics.
    Operations,
}

impl Scope {
    fn has(self, path: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Ingest => path.starts_with("/v1/topics") || path == "/openapi.json" || Self::Operations.has(path),
            Self::Batch => {
                path.starts_with("/v1/batch")
                    || matches!(path, "/v1/agreement" | "/openapi.json")
                    || Self::Operations.has(path)
            }
            Self::Operations => matches!(path, "/healthz" | "/readyz" | "/metrics" | "/v1/status"),
        }
    }
}

/// Prints the process's metrics in the Prometheus text format.
pub type MetricsText = Arc<dyn Fn() -> String + Send + Sync>;

/// What the API works with.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

/// The parts of an [`Api`].
pub struct ApiParts {
    /// Answers queries.
    pub reader: Arc<Reader>,
    /// Takes records.
    pub topics: Arc<dyn TopicWriter>,
    /// Runs batch; `None` where this process has no batch layer.
    pub batch: Option<Arc<dyn BatchControl>>,
    /// Compares the layers; `None` where this process has not both.
    pub agreement: Option<Arc<dyn AgreementSource>>,
    /// Shows what changes; `None` where this process does not.
    pub live: Option<Arc<Live>>,
    /// Knows the rest of the process.
    pub status: Arc<dyn StatusSource>,
    /// Prints the metrics.
    pub metrics: MetricsText,
    /// Bounds.
    pub config: ApiConfig,
}

/// See [`Api`].
pub struct Inner {
    reader: Arc<Reader>,
    topics: Arc<dyn TopicWriter>,
    batch: Option<Arc<dyn BatchControl>>,
    agreement: Option<Arc<dyn AgreementSource>>,
    live: Option<Arc<Live>>,
    status: Arc<dyn StatusSource>,
    metrics: MetricsText,
    config: ApiConfig,
    /// Bodies being taken in.
    bodies: Arc<Semaphore>,
    /// Requests at work.
    requests: Arc<Semaphore>,
    /// Live streams.
    live_streams: Arc<Semaphore>,
    /// Held by the comparison at work.
    comparing: Arc<Semaphore>,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("config", &self.config).finish_non_exhaustive()
    }
}

impl fmt::Debug for ApiParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiParts").field("config", &self.config).finish_non_exhaustive()
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("config", &self.config).finish_non_exhaustive()
    }
}

impl std::ops::Deref for Api {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl From<ApiParts> for Api {
    fn from(parts: ApiParts) -> Self {
        let ApiParts { reader, topics, batch, agreement, live, status, metrics, config } = parts;
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits.clamp(1, Semaphore::MAX_PERMITS)));
        Self(Arc::new(Inner {
            reader,
            topics,
            batch,
            agreement,
            live,
            status,
            metrics,
            bodies: topics::budget(&config),
            requests: semaphore(config.max_requests),
            live_streams: semaphore(config.max_live),
            comparing: semaphore(1),
            config,
        }))
    }
}

/// The API, as far as its scope goes, as a service.
pub fn router(api: impl Into<Api>) -> Router {
    let api = api.into();
    let mut router = Router::new();
    let routes = routes::routes(api.reader.plan());
    for route in routes.into_iter().filter(|route| api.config.scope.has(&route.path)) {
        router = router.route(&route.path, route.methods);
    }
    middleware::wrap(router, &api).with_state(api)
}

/// Writes an answer as JSON. A large one is written on a thread of its own kind: it would hold up other requests.
async fn json<T: Serialize + Send + 'static>(answer: T, rows: usize) -> ApiResult<Response> {
    let write = move || serde_json::to_vec(&answer);
    let bytes = if rows < 2_000 { Ok(write()) } else { tokio::task::spawn_blocking(write).await };
    match bytes {
        Ok(Ok(bytes)) => Ok(([(header::CONTENT_TYPE, "application/json")], bytes).into_response()),
        failed => {
            tracing::error!(?failed, "an answer could not be written");
            Err(Problem::new("internal", "the failure has been logged"))
        }
    }
}

/// The header that names what an answer lacks, wherever its body is looked at by nobody or has no place for it.
const MISSING: HeaderName = HeaderName::from_static("x-missing");

/// Writes an answer as CSV or JSON.
async fn table<T: Table + Serialize + Send + 'static>(answer: T, csv: bool) -> ApiResult<Response> {
    let rows = answer.row_count();
    let mut missing: Vec<String> =
        answer.missing().iter().map(|part| format!("{}={}", part.layer.name(), part.reason.name())).collect();
    missing.dedup();
    let mut response = if csv {
        let text = tokio::task::spawn_blocking(move || answer.to_csv()).await.map_err(|error| {
            tracing::error!(%error, "an answer could not be written");
            Problem::new("internal", "the failure has been logged")
        })?;
        ([(header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present")], text).into_response()
    } else {
        json(answer, rows).await?
    };
    if let Some(missing) = HeaderValue::from_str(&missing.join(", ")).ok().filter(|value| !value.is_empty()) {
        response.headers_mut().insert(MISSING, missing);
    }
    Ok(response)
}
