//! `GET /v1/views/{view}/live`: the newest window as server-sent events.
//!
//! The stream looks at the progress of the layers every `interval`, which costs next to nothing; only when a position
//! has moved or a run has published it asks for the ranking of the newest window, and sends the rows that differ from
//! what it sent before. It remembers one hash per row it shows, `limit` at most.

use std::collections::HashMap;
use std::convert::Infallible;
use std::hash::Hasher;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use tideline_common::key::Key;
use tokio::sync::OwnedSemaphorePermit;
use xxhash_rust::xxh3::Xxh3;

use super::Api;
use super::problem::{ApiResult, Problem};
use super::query::Query;
use super::server::Closing;
use crate::merge::{Row, TopRequest};

/// How often progress is looked at when nothing is asked for, and at most.
const INTERVAL: Duration = Duration::from_secs(1);
const INTERVAL_MIN: Duration = Duration::from_millis(100);
const INTERVAL_MAX: Duration = Duration::from_mins(1);
/// A comment is sent when nothing else was for so long.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Rows when no limit is given, and at most.
const ROWS: usize = 1_000;

/// A stream on its way.
struct Live {
    api: Api,
    request: TopRequest,
    interval: Duration,
    closing: Closing,
    /// What the layers were at when rows were last asked for.
    seen: Option<u64>,
    /// Hash of each row that the caller has, by key.
    sent: HashMap<Vec<u8>, u64>,
    first: bool,
    _permit: OwnedSemaphorePermit,
}

/// Streams the newest window of a view.
pub(crate) async fn live(
    State(api): State<Api>,
    Path(view): Path<String>,
    closing: Option<Extension<Closing>>,
    uri: Uri,
) -> ApiResult<Response> {
    api.reader.view(&view)?;
    let mut query = Query::of(&uri);
    let interval = query.span("interval")?.map_or(INTERVAL, |span| span.to_std().clamp(INTERVAL_MIN, INTERVAL_MAX));
    let request = TopRequest {
        by: query.text("by")?,
        window: query.span("window")?,
        limit: Some(query.limit()?.unwrap_or(ROWS)),
        layer: query.layer()?,
        view,
        ..TopRequest::default()
    };
    query.done()?;
    if request.limit.is_some_and(|limit| !(1..=ROWS).contains(&limit)) {
        return Err(Problem::new("invalid-parameter", format!("`limit` is not from 1 to {ROWS}")).parameter("limit"));
    }
    let Ok(permit) = api.live_streams.clone().try_acquire_owned() else {
        return Err(Problem::new("overloaded", format!("{} live streams are open already", api.config.max_live)));
    };
    // What is wrong with the request is said now, by status; later failures are events.
    api.reader.top(&request).await?;
    let live = Live {
        api,
        request,
        interval,
        closing: closing.map_or_else(Closing::never, |Extension(closing)| closing),
        seen: None,
        sent: HashMap::new(),
        first: true,
        _permit: permit,
    };
    let events = stream::unfold(live, |mut live| async move {
        let event = live.next().await?;
        Some((Ok::<_, Infallible>(event), live))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response())
}

impl Live {
    /// The next event, `None` when the server closes or the token of the request expires.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if !std::mem::take(&mut self.first) {
                self.closing.rest(self.interval).await?;
            }
            let state = self.api.reader.standing().await;
            if state.is_some() && state == self.seen {
                continue;
            }
            match self.api.reader.top(&self.request).await {
                Ok(mut answer) => {
                    self.seen = state;
                    self.keep_changed(&mut answer.rows);
                    if answer.rows.is_empty() {
                        continue;
                    }
                    return Event::default().event("rows").json_data(&answer).ok();
                }
                Err(error) => {
                    self.seen = None;
                    return Event::default().event("problem").json_data(Problem::from(error)).ok();
                }
            }
        }
    }

    /// Leaves the rows that the caller does not have yet.
    fn keep_changed(&mut self, rows: &mut Vec<Row>) {
        let before = std::mem::take(&mut self.sent);
        rows.retain(|row| {
            let key = Key::of(&row.key).0;
            let mut hash = Xxh3::new();
            hash.write_i64(row.start.0);
            hash.write(format!("{:?} {}", row.values, row.partial).as_bytes());
            let hash = hash.finish();
            let changed = before.get(&key) != Some(&hash);
            self.sent.insert(key, hash);
            changed
        });
    }
}
