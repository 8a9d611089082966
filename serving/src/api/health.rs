//! Status, health, metrics and the description of the API.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tideline_common::ports::{PortResult, Progress};

use super::ports::Check;
use super::problem::ApiResult;
use super::query::Query;
use super::{Api, json};

/// Whether the process is alive: it answers.
pub(crate) async fn healthz(uri: Uri) -> ApiResult<Response> {
    Query::of(&uri).done()?;
    Ok("ok\n".into_response())
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    checks: Vec<Check>,
}

async fn check<T>(api: &Api, name: &str, call: impl Future<Output = PortResult<T>>) -> Check {
    let detail = match tokio::time::timeout(api.config.check_timeout, call).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => {
            tracing::warn!(%error, check = name, "a readiness check failed");
            Some("cannot be reached; the log says why".to_owned())
        }
        Err(_) => Some(format!("did not answer within {} ms", api.config.check_timeout.as_millis())),
    };
    Check { name: name.to_owned(), ok: detail.is_none(), detail }
}

/// Whether everything that answers need works.
pub(crate) async fn readyz(State(api): State<Api>, uri: Uri) -> ApiResult<Response> {
    Query::of(&uri).done()?;
    let (views, analytics, others) = tokio::join!(
        check(&api, "speed_views", api.reader.views().progress()),
        check(&api, "analytics", api.reader.analytics().current()),
        tokio::time::timeout(api.config.check_timeout, api.status.checks()),
    );
    let mut checks = vec![views, analytics];
    checks.extend(others.unwrap_or_else(|_| {
        vec![Check { name: "process".into(), ok: false, detail: Some("its checks took too long".into()) }]
    }));
    let ready = checks.iter().all(|check| check.ok);
    let mut response = json(Ready { ready, checks }, 0).await?;
    if !ready {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(response)
}

#[derive(Serialize)]
struct ViewStatus {
    /// Every pane ending at or before this belongs to batch.
    through: Option<String>,
    /// Start of the newest pane in the speed views.
    newest_pane: Option<String>,
}

#[derive(Serialize)]
struct ShardStatus {
    source: String,
    partition: u32,
    position: u64,
    records: u64,
    rejected: u64,
    duplicates: u64,
    late: u64,
    highest_event_time: Option<String>,
    last_appended: Option<String>,
    written_at: String,
}

#[derive(Serialize)]
struct ManifestStatus {
    version: u64,
    run: String,
    published_at: String,
    positions: BTreeMap<String, tideline_common::position::Positions>,
}

#[derive(Serialize)]
struct Status {
    pipeline: String,
    version: &'static str,
    now: String,
    /// `None` when the speed views cannot be read.
    shards: Option<Vec<ShardStatus>>,
    /// `None` before the first run, or when it cannot be read.
    manifest: Option<ManifestStatus>,
    views: BTreeMap<String, ViewStatus>,
    process: serde_json::Value,
}

/// What the process and its layers are at.
pub(crate) async fn status(State(api): State<Api>, uri: Uri) -> ApiResult<Response> {
    Query::of(&uri).done()?;
    let bound = api.config.check_timeout;
    let now = api.reader.clock().now();
    let (progress, manifest, process) = tokio::join!(
        tokio::time::timeout(bound, api.reader.views().progress()),
        tokio::time::timeout(bound, api.reader.analytics().current()),
        tokio::time::timeout(bound, api.status.status()),
    );
    let progress = progress.ok().and_then(Result::ok);
    let manifest = manifest.ok().and_then(Result::ok).flatten();
    let mut views = BTreeMap::new();
    for view in &api.reader.plan().views {
        let newest = tokio::time::timeout(bound, api.reader.views().newest_pane(&view.into(), now)).await;
        let files = manifest.as_ref().and_then(|m| m.views.get(&view.name)).filter(|files| files.plan == view.version);
        let status = ViewStatus {
            through: files.and_then(|files| files.through).map(|at| at.to_string()),
            newest_pane: newest.ok().and_then(Result::ok).flatten().map(|at| at.to_string()),
        };
        views.insert(view.name.clone(), status);
    }
    let status = Status {
        pipeline: api.reader.plan().name.clone(),
        version: env!("CARGO_PKG_VERSION"),
        now: now.to_string(),
        shards: progress.map(|shards| {
            shards.iter().map(|(shard, progress)| shard_status(&shard.source, shard.partition, progress)).collect()
        }),
        manifest: manifest.map(|m| ManifestStatus {
            version: m.version,
            run: m.run.clone(),
            published_at: m.published_at.to_string(),
            positions: m.sources.iter().map(|(name, source)| (name.clone(), source.positions.clone())).collect(),
        }),
        views,
        process: process.unwrap_or_default(),
    };
    json(status, 0).await
}

fn shard_status(source: &str, partition: u32, progress: &Progress) -> ShardStatus {
    ShardStatus {
        source: source.to_owned(),
        partition,
        position: progress.position,
        records: progress.records,
        rejected: progress.rejected,
        duplicates: progress.duplicates,
        late: progress.late,
        highest_event_time: progress.highest.map(|at| at.to_string()),
        last_appended: progress.last_appended.map(|at| at.to_string()),
        written_at: progress.written_at.to_string(),
    }
}

/// The metrics of the process.
pub(crate) async fn metrics(State(api): State<Api>, uri: Uri) -> ApiResult<Response> {
    Query::of(&uri).done()?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (api.metrics)()).into_response())
}

/// The description of the API.
pub(crate) async fn description(uri: Uri) -> ApiResult<Response> {
    Query::of(&uri).done()?;
    json(super::openapi(), 0).await
}
