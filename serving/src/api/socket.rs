//! `GET /v1/live`: views, rows and alerts as they change, over a WebSocket.
//!
//! What is sent comes from [`crate::live`]. Here are the upgrade, who may have it, and the bounds: frames of a client are
//! small and never asked for, a client that does not answer is closed, and one that reads slowly is sent what is
//! newest when it has read what was sent before.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderMap, Uri, header};
use axum::response::Response;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use parking_lot::Mutex;
use tideline_common::ports::PortError;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, timeout};

use super::problem::{ApiResult, Problem};
use super::query::{Query, invalid};
use super::server::Closing;
use super::{Api, ApiConfig};
use crate::error::{QueryError, Thing};
use crate::live::{self, Client, Frame, INTERVAL_MAX, INTERVAL_MIN, Live, MESSAGES_MAX, ROWS_MAX, Wanted};

/// How often changes are looked for, rows of a view and messages of a frame when nothing else is asked for.
const INTERVAL: Duration = Duration::from_millis(200);
const ROWS: usize = 100;
const MESSAGES: usize = 50;
/// What names nothing of a kind.
const NONE: &str = "none";
/// The longest frame of a client, in bytes.
const FRAME_MAX: usize = 4 << 10;
/// Frames that a client may send for nothing before it is closed.
const NONSENSE_MAX: usize = 100;
/// How long each step of closing may take.
const CLOSE: Duration = Duration::from_secs(1);

/// Upgrades to a WebSocket that shows what changes.
pub(crate) async fn live(
    State(api): State<Api>,
    closing: Option<Extension<Closing>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    headers: HeaderMap,
    uri: Uri,
) -> ApiResult<Response> {
    let live = api.live()?;
    let wanted = wanted(&live, &uri)?;
    check_origin(&headers, &api.config.origins)?;
    let upgrade = upgrade.map_err(|rejection| {
        let detail = format!("connect to `{}` as a WebSocket: {}", uri.path(), rejection.body_text());
        Problem::new("upgrade-required", detail)
    })?;
    let Ok(permit) = api.live_streams.clone().try_acquire_owned() else {
        return Err(Problem::new("overloaded", format!("{} live streams are open already", api.config.max_live)));
    };
    let closing = closing.map_or_else(Closing::never, |Extension(closing)| closing);
    // The server waits for the socket from now on, also while it is not there yet.
    let held = closing.tasks.token();
    let upgrade = upgrade.max_message_size(FRAME_MAX).max_frame_size(FRAME_MAX).write_buffer_size(0);
    let config = api.config.clone();
    Ok(upgrade.on_upgrade(move |socket| async move {
        let gauge = metrics::gauge!("tideline_live_sockets");
        gauge.increment(1.0);
        let client = live.client(wanted);
        closing.cut.run_until_cancelled(show(socket, client, &closing, &config)).await;
        gauge.decrement(1.0);
        drop((held, permit));
    }))
}

/// What a query asks for.
fn wanted(live: &Live, uri: &Uri) -> ApiResult<Wanted> {
    let mut query = Query::of(uri);
    let plan = live.plan();
    let views = names(&mut query, "view", live.view_names().collect(), |name| {
        match plan.view(name) {
            // It is there, but cannot be shown.
            Some(_) => Err(invalid("view", format!("`{name}` has no column that can order its rows"))),
            None => Err(QueryError::unknown(Thing::View, name, live.view_names()).into()),
        }
    })?;
    let outputs: Vec<&str> = plan.row_outputs.iter().map(|output| output.name.as_str()).collect();
    let outputs = names(&mut query, "output", outputs.clone(), |name| {
        Err(QueryError::unknown(Thing::Output, name, outputs.iter().copied()).into())
    })?;
    let alerts: Vec<&str> = plan.alerts.iter().map(|alert| alert.name.as_str()).collect();
    let alerts = names(&mut query, "alert", alerts.clone(), |name| {
        Err(QueryError::unknown(Thing::Alert, name, alerts.iter().copied()).into())
    })?;
    let interval = query.span("interval")?.map_or(INTERVAL, tideline_common::time::Span::to_std);
    if !(INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) {
        return Err(invalid("interval", "is not from 50ms to 60s"));
    }
    let rows = query.bounded("rows", 1, ROWS_MAX)?.unwrap_or(ROWS);
    let messages = query.bounded("messages", 1, MESSAGES_MAX)?.unwrap_or(MESSAGES);
    query.done()?;
    Ok(Wanted { views, outputs, alerts, rows, messages, interval })
}

/// The names of one kind: all that there are when none is named, none of them by `none`.
fn names(
    query: &mut Query,
    parameter: &'static str,
    known: Vec<&str>,
    unknown: impl Fn(&str) -> ApiResult<()>,
) -> ApiResult<Vec<String>> {
    let mut named = query.texts(parameter);
    if named.is_empty() {
        return Ok(known.into_iter().map(str::to_owned).collect());
    }
    if named.iter().any(|name| name == NONE) {
        return if named.len() == 1 {
            Ok(Vec::new())
        } else {
            Err(invalid(parameter, "is `none`, and something else"))
        };
    }
    for name in &named {
        if !known.contains(&name.as_str()) {
            unknown(name)?;
        }
    }
    named.sort_unstable();
    named.dedup();
    Ok(named)
}

/// Browsers say which page connects: one of this server, or one that is configured. Others say nothing.
fn check_origin(headers: &HeaderMap, allowed: &[String]) -> ApiResult<()> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let of_origin = origin.split_once("://").map(|(_, host)| host);
    let is_same = !host.is_empty() && of_origin.is_some_and(|of| of.eq_ignore_ascii_case(host));
    let is_allowed = |allowed: &String| allowed == "*" || allowed.eq_ignore_ascii_case(origin);
    if is_same || allowed.iter().any(is_allowed) {
        return Ok(());
    }
    let detail = format!("`{origin}` is neither the origin of this server nor one of `serve.origins`");
    Err(Problem::new("forbidden-origin", detail))
}

/// Why a socket ends.
#[derive(Debug)]
enum End {
    /// The client is gone, or has closed it.
    Gone,
    /// We close it.
    Close(u16, &'static str),
}

/// When the client was heard of last.
type Heard = Mutex<Instant>;

async fn show(socket: WebSocket, client: Client, closing: &Closing, config: &ApiConfig) {
    let (mut sink, mut stream) = socket.split();
    let heard = Mutex::new(Instant::now());
    // One answer at a time: whoever sends more than that is not told of each.
    let (say, said) = mpsc::channel(1);
    let end = tokio::select! {
        end = read(&mut stream, &heard, &say) => end,
        end = write(&mut sink, client, said, &heard, config) => end,
        () = closing.token.cancelled() => End::Close(close_code::AWAY, "the server is shutting down"),
        () = closing.expired() => End::Close(close_code::POLICY, "the token has expired"),
    };
    tracing::debug!(?end, "a live socket ends");
    if let End::Close(code, reason) = end {
        let frame = CloseFrame { code, reason: reason.into() };
        let _ = timeout(CLOSE, sink.send(Message::Close(Some(frame)))).await;
    }
    // Until both sides have said so.
    let _ = timeout(CLOSE, async { while let Some(Ok(_)) = stream.next().await {} }).await;
}

/// Reads what a client sends: signs of life, and nothing else.
async fn read(stream: &mut SplitStream<WebSocket>, heard: &Heard, say: &mpsc::Sender<Problem>) -> End {
    let mut nonsense = 0;
    while let Some(message) = stream.next().await {
        *heard.lock() = Instant::now();
        match message {
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            Ok(Message::Close(_)) => return End::Gone,
            Ok(Message::Text(_) | Message::Binary(_)) => {
                nonsense += 1;
                if nonsense > NONSENSE_MAX {
                    return End::Close(close_code::POLICY, "this socket takes no messages");
                }
                let detail = "this socket takes no messages: what it shows is asked for by the query of its address";
                let _ = say.try_send(Problem::new("unknown-frame", detail));
            }
            Err(error) => {
                tracing::debug!(%error, "a live socket could not be read");
                return End::Close(close_code::POLICY, "a frame that is too long, or that is none");
            }
        }
    }
    End::Gone
}

/// Sends what the client lacks, as fast as it reads.
async fn write(
    sink: &mut SplitSink<WebSocket, Message>,
    mut client: Client,
    mut said: mpsc::Receiver<Problem>,
    heard: &Heard,
    config: &ApiConfig,
) -> End {
    let Some(mut pace) = client.pace() else { return End::Gone };
    let (mut alerts, wanted) = client.alerts().unzip();
    let mut ping = tokio::time::interval_at(Instant::now() + config.ping_interval, config.ping_interval);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let beat = config.heartbeat_interval;
    let mut heartbeat = tokio::time::interval_at(Instant::now() + beat, beat);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut frames = client.first().await;
    pace.rest(client.has_more());
    loop {
        for frame in frames.drain(..) {
            let (kind, text) = match frame {
                Frame::Text(kind, text) => (kind, text),
                Frame::Problem(view, error) => match live::problem(Problem::from(&*error).view(view)) {
                    Some(Frame::Text(kind, text)) => (kind, text),
                    _ => continue,
                },
            };
            metrics::counter!("tideline_live_frames_total", "kind" => kind).increment(1);
            metrics::counter!("tideline_live_bytes_total").increment(text.len() as u64);
            if !sent(sink, Message::Text(text.into()), config).await {
                return End::Gone;
            }
        }
        let alert = async {
            match &mut alerts {
                Some(alerts) => alerts.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            Some(problem) = said.recv() => frames.extend(live::problem(problem)),
            alert = alert => match alert {
                Ok(event) if wanted.as_ref().is_some_and(|wanted| wanted.contains(&event.alert)) => {
                    frames.extend(live::alert(&event));
                }
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => {
                    metrics::counter!("tideline_live_missed_alerts_total").increment(missed);
                    frames.extend(live::missed(missed));
                }
                Err(RecvError::Closed) => alerts = None,
            },
            () = pace.due() => {
                pace.begin();
                frames = client.changed();
                if !frames.is_empty() {
                    pace.rest(client.has_more());
                }
            }
            _ = heartbeat.tick() => frames.extend(client.heartbeat()),
            _ = ping.tick() => {
                if heard.lock().elapsed() > config.silence_max {
                    return End::Close(close_code::POLICY, "no answer to pings");
                }
                if !sent(sink, Message::Ping(axum::body::Bytes::new()), config).await {
                    return End::Gone;
                }
            }
        }
    }
}

/// Sends a message; `false` when the client is gone, or takes too long to read it.
async fn sent(sink: &mut SplitSink<WebSocket, Message>, message: Message, config: &ApiConfig) -> bool {
    matches!(timeout(config.silence_max, sink.send(message)).await, Ok(Ok(())))
}

impl Api {
    /// What shows changes.
    pub(crate) fn live(&self) -> ApiResult<Arc<Live>> {
        let none = || {
            let error = PortError::unavailable("live", "this process shows nothing live");
            Problem::from(QueryError::port("what shows changes", error))
        };
        self.live.clone().ok_or_else(none)
    }
}
