//! Status, health, metrics and the description of the API.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures::future::join_all;
use serde::Serialize;
use tideline_common::ports::Progress;
use tideline_common::position::Shard;

use super::ports::Check;
use super::problem::ApiResult;
use super::query::Query;
use super::{Api, Scope, json, openapi};
use crate::boundary::Reason;
use crate::guard::Guard;
use crate::ranking::RankingStatus;

/// Whether the process is alive: it answers.
pub(crate) async fn healthz(uri: Uri) -> ApiResult<Response> {
    Query::of(&uri).done()?;
    Ok("ok\n".into_response())
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    checks: Vec<Reported>,
}

/// A check as it is answered.
#[derive(Serialize)]
struct Reported {
    #[serde(flatten)]
    check: Check,
    /// Since when it does not work, where that is known.
    since: Option<String>,
    /// Whether the process is not ready without it: queries need the layers; the log and the lake are told only.
    needed: bool,
}

/// How a store is, as its guard knows or finds out.
async fn check(guard: &Arc<Guard>, needed: bool) -> Reported {
    let health = guard.check().await;
    let detail = health.failing.map(|(_, reason)| match reason {
        Reason::TimedOut => "does not answer in time",
        _ => "cannot be reached; the log says why",
    });
    Reported {
        check: Check { name: guard.name().to_owned(), ok: detail.is_none(), detail: detail.map(str::to_owned) },
        since: health.failing.map(|(since, _)| since.to_string()),
        needed,
    }
}

/// Whether everything that answers need works.
pub(crate) async fn readyz(State(api): State<Api>, uri: Uri) -> ApiResult<Response> {
    Query::of(&uri).done()?;
    let others = tokio::time::timeout(api.config.check_timeout, api.status.checks());
    // A role that answers no queries is ready without what only those need.
    let (mut checks, others) = if api.config.scope == Scope::Everything {
        let (layers, beside) = (api.reader.guards().layers(), api.reader.guards().beside());
        let layers = join_all(layers.into_iter().map(|guard| check(guard, true)));
        let beside = join_all(beside.map(|guard| check(guard, false)));
        let (mut checks, beside, others) = tokio::join!(layers, beside, others);
        checks.extend(beside);
        (checks, others)
    } else {
        (Vec::new(), others.await)
    };
    let others = others.unwrap_or_else(|_| {
        vec![Check { name: "process".into(), ok: false, detail: Some("its checks took too long".into()) }]
    });
    checks.extend(others.into_iter().map(|check| Reported { check, since: None, needed: true }));
    let ready = checks.iter().all(|reported| reported.check.ok || !reported.needed);
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
    /// Records of the log after the position; `None` when the log cannot be asked.
    lag: Option<u64>,
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
    /// Rankings kept ready, by view.
    rankings: BTreeMap<String, RankingStatus>,
    process: serde_json::Value,
}

/// What the process and its layers are at: from the stores, so that it does not matter which process is asked.
pub(crate) async fn status(State(api): State<Api>, uri: Uri) -> ApiResult<Response> {
    Query::of(&uri).done()?;
    let bound = api.config.check_timeout;
    let (progress, manifest, ends, process) = tokio::join!(
        tokio::time::timeout(bound, api.reader.progress()),
        tokio::time::timeout(bound, api.reader.manifest()),
        tokio::time::timeout(bound, api.reader.log_ends()),
        tokio::time::timeout(bound, api.status.status()),
    );
    let progress = progress.ok().and_then(Result::ok);
    let manifest = manifest.ok().and_then(Result::ok).flatten();
    let ends = ends.ok().and_then(Result::ok).unwrap_or_default();
    let plan = api.reader.plan();
    let lag = |shard: &Shard, position: u64| {
        let next = ends.get(&plan.source(&shard.source)?.topic)?.get(&shard.partition)?;
        Some(next.saturating_sub(position))
    };
    let newest = plan.views.iter().map(|view| tokio::time::timeout(bound, api.reader.newest_speed_pane(view)));
    let newest = join_all(newest).await;
    let mut views = BTreeMap::new();
    for (view, newest) in plan.views.iter().zip(newest) {
        let files = manifest.as_ref().and_then(|m| m.views.get(&view.name)).filter(|files| files.plan == view.version);
        let status = ViewStatus {
            through: files.and_then(|files| files.through).map(|at| at.to_string()),
            newest_pane: newest.ok().and_then(Result::ok).flatten().map(|at| at.to_string()),
        };
        views.insert(view.name.clone(), status);
    }
    let status = Status {
        pipeline: plan.name.clone(),
        version: env!("CARGO_PKG_VERSION"),
        now: api.reader.clock().now().to_string(),
        shards: progress.map(|shards| {
            shards
                .iter()
                .map(|(shard, progress)| shard_status(shard, progress, lag(shard, progress.position)))
                .collect()
        }),
        manifest: manifest.map(|m| ManifestStatus {
            version: m.version,
            run: m.run.clone(),
            published_at: m.published_at.to_string(),
            positions: m.sources.iter().map(|(name, source)| (name.clone(), source.positions.clone())).collect(),
        }),
        views,
        rankings: api.reader.rankings().map(|rankings| rankings.status()).unwrap_or_default(),
        process: process.unwrap_or_default(),
    };
    json(status, 0).await
}

fn shard_status(shard: &Shard, progress: &Progress, lag: Option<u64>) -> ShardStatus {
    ShardStatus {
        source: shard.source.clone(),
        partition: shard.partition,
        position: progress.position,
        lag,
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
pub(crate) async fn description(State(api): State<Api>, uri: Uri) -> ApiResult<Response> {
    Query::of(&uri).done()?;
    json(openapi::describe(api.reader.plan(), api.config.auth.is_some()), 0).await
}
