//! `GET /v1/views/{view}/live`: the newest window as server-sent events.
//!
//! The stream looks at the progress of the layers every `interval`, which costs next to nothing; only when a position
//! has moved or a run has published it asks for the ranking of the newest window, and sends the rows that differ from
//! what it sent before. A ranking that is kept in memory trails that progress: of such a one it asks when the rankings
//! tell of a change of theirs. It remembers one hash per row it shows, `limit` at most.

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
use tideline_common::time::Span;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;
use xxhash_rust::xxh3::Xxh3;

use super::Api;
use super::problem::{ApiResult, Problem};
use super::query::{Query, invalid};
use super::server::Closing;
use crate::live::KEPT_LOOK;
use crate::merge::{SomeOfTop, TopAnswer, TopRequest};

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
    /// What the layers were at when rows were last asked for; `None` when that does not tell what they are of.
    seen: Option<u64>,
    /// What tells of changes of rankings that are kept.
    told: Option<watch::Receiver<u64>>,
    /// When rows were last asked for, if they came from the rankings that are kept.
    kept: Option<Instant>,
    /// Hash of each row that the caller has, by key.
    sent: HashMap<Vec<u8>, u64>,
    /// The problem that the caller was told last, while there is one.
    failed: Option<String>,
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
    let told = api.reader.view(&view).map(|view| api.reader.rankings().and_then(|rankings| rankings.changes(view)))?;
    let mut query = Query::of(&uri);
    let interval = query.span("interval")?.map_or(INTERVAL, Span::to_std);
    if !(INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) {
        return Err(invalid("interval", "is not from 100ms to 60s"));
    }
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
        return Err(invalid("limit", format!("is not from 1 to {ROWS}")));
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
        told,
        kept: None,
        sent: HashMap::new(),
        failed: None,
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
            if !self.may_have_changed().await {
                continue;
            }
            // Before the answer: what comes while it is made is seen the next time.
            if let Some(told) = &mut self.told {
                told.mark_unchanged();
            }
            let asked = Instant::now();
            let state = if self.kept.is_some() { None } else { self.api.reader.standing().await };
            match self.api.reader.top(&self.request).await {
                Ok(answer) => {
                    self.kept = (self.told.is_some() && answer.provenance.kept).then_some(asked);
                    self.seen = state;
                    // After a problem all rows are sent, be there none: it is over.
                    let is_over = self.failed.take().is_some();
                    let changed = self.changed(answer);
                    if changed.ranks.is_empty() && !is_over {
                        continue;
                    }
                    return Event::default().event("rows").json_data(&changed).ok();
                }
                Err(error) => {
                    (self.seen, self.kept) = (None, None);
                    self.sent.clear();
                    let text = error.to_string();
                    if self.failed.replace(text.clone()) == Some(text) {
                        continue;
                    }
                    return Event::default()
                        .event("problem")
                        .json_data(Problem::from(error).view(&self.request.view))
                        .ok();
                }
            }
        }
    }

    /// Whether an answer may differ from the one before.
    async fn may_have_changed(&self) -> bool {
        match (&self.told, self.kept) {
            // They may also no longer be kept.
            (Some(told), Some(asked)) => told.has_changed().unwrap_or(true) || asked.elapsed() >= KEPT_LOOK,
            _ => self.seen.is_none() || self.api.reader.standing().await != self.seen,
        }
    }

    /// The rows that the caller does not have yet. A row has its rank: one that was overtaken is another.
    fn changed(&mut self, mut answer: TopAnswer) -> SomeOfTop {
        let before = std::mem::take(&mut self.sent);
        let (mut rank, mut ranks) = (0, Vec::new());
        answer.rows.retain(|row| {
            rank += 1;
            let key = Key::of(&row.key).0;
            let mut hash = Xxh3::new();
            hash.write_usize(rank);
            hash.write_i64(row.start.0);
            hash.write(format!("{:?} {}", row.values, row.partial).as_bytes());
            let hash = hash.finish();
            let changed = before.get(&key) != Some(&hash);
            if changed {
                ranks.push(rank);
            }
            self.sent.insert(key, hash);
            changed
        });
        SomeOfTop { answer, ranks }
    }
}
