//! What one client has had, and the frames that bring it up to date.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use tideline_common::alert::AlertEvent;
use tideline_common::ports::Clock;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use super::Wanted;
use super::rows::RowFeed;
use super::view::{Current, Known, Watching};
use crate::alerts::Alerts;
use crate::boundary::Interval;
use crate::error::QueryError;
use crate::merge::freshness_ms;

/// How long the first frame waits for views that were not watched before; those that take longer come later.
const FIRST: Duration = Duration::from_secs(2);
/// The most bytes of the rows of one view in one frame, beside the first of them.
const VIEW_BYTES_MAX: usize = 512 << 10;
/// How often it is looked whether they are there.
const FIRST_LOOK: Duration = Duration::from_millis(10);

/// Something to send.
#[derive(Debug)]
pub(crate) enum Frame {
    /// A frame, written: its kind, and the text.
    Text(&'static str, String),
    /// The view of this name cannot be answered now.
    Problem(String, Arc<QueryError>),
}

#[derive(Serialize)]
struct Event<'a, T> {
    event: &'a str,
    data: T,
}

fn text<T: Serialize>(kind: &'static str, event: &str, data: T) -> Option<Frame> {
    match serde_json::to_string(&Event { event, data }) {
        Ok(text) => Some(Frame::Text(kind, text)),
        Err(error) => {
            tracing::error!(%error, event, "a frame could not be written");
            None
        }
    }
}

#[derive(Serialize)]
struct Metrics<'a> {
    at: String,
    views: BTreeMap<&'a str, Newest>,
}

#[derive(Serialize)]
struct Newest {
    window_start: Option<String>,
    window_end: Option<String>,
    #[serde(serialize_with = "written")]
    rows: Vec<Arc<RawValue>>,
    freshness_ms: Option<i64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
    /// Whether there are more rows, in the next frame.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

#[derive(Serialize)]
struct Fresh<'a> {
    output: &'a str,
    topic: &'a str,
    #[serde(serialize_with = "written")]
    messages: Vec<Arc<RawValue>>,
    skipped: u64,
}

/// What is said when nothing else is.
#[derive(Serialize)]
struct Heartbeat<'a> {
    time: String,
    views: BTreeMap<&'a str, Freshness>,
}

#[derive(Serialize)]
struct Freshness {
    freshness_ms: Option<i64>,
}

/// Rows that are JSON already.
fn written<S: Serializer>(rows: &[Arc<RawValue>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(rows.iter().map(|row| &**row))
}

/// A view, and what the client has of it.
#[derive(Debug)]
struct Shown {
    watching: Watching,
    /// Number of the state that was looked at last.
    number: u64,
    /// Whether the client has yet to get rows of it.
    truncated: bool,
    window: Option<Interval>,
    partial: bool,
    /// Number of each row that the client has, by key.
    sent: HashMap<Arc<[u8]>, u64>,
}

impl Shown {
    /// What the client lacks of `current`, of which it sees `rows`; whether that is anything.
    fn lacking(&mut self, current: &Current, rows: usize) -> (Newest, bool) {
        let moved = current.window != self.window;
        if moved {
            self.sent.clear();
        }
        let rows = &current.rows[..current.rows.len().min(rows)];
        let mut sent = HashMap::with_capacity(rows.len());
        let (mut new, mut bytes) = (Vec::new(), 0);
        self.truncated = false;
        for row in rows {
            let had = self.sent.get(&row.key).copied();
            if had != Some(row.number) {
                bytes += row.json.get().len();
                if self.truncated || (bytes > VIEW_BYTES_MAX && !new.is_empty()) {
                    // The client goes on with what it has, if it has any, until the next frame.
                    self.truncated = true;
                    if let Some(had) = had {
                        sent.insert(Arc::clone(&row.key), had);
                    }
                    continue;
                }
                new.push(Arc::clone(&row.json));
            }
            sent.insert(Arc::clone(&row.key), row.number);
        }
        self.sent = sent;
        let lacks = moved || self.partial != current.partial || !new.is_empty();
        (self.window, self.partial) = (current.window, current.partial);
        let window = Newest {
            window_start: current.window.map(|window| window.from.to_string()),
            window_end: current.window.map(|window| window.to.to_string()),
            rows: new,
            freshness_ms: current.freshness_ms,
            partial: current.partial,
            truncated: self.truncated,
        };
        (window, lacks)
    }
}

/// An output, and how many of its rows the client has had or missed.
#[derive(Debug)]
struct Followed {
    feed: Arc<RowFeed>,
    seen: u64,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    clock: Arc<dyn Clock>,
    wanted: Wanted,
    views: Vec<Shown>,
    outputs: Vec<Followed>,
    alerts: Option<broadcast::Receiver<Arc<AlertEvent>>>,
    /// Where they come from, if it wants any.
    alerts_of: Option<Arc<Alerts>>,
    pace: Option<Pace>,
}

/// When a client is to be brought up to date: when something has changed, but not more often than it wants.
#[derive(Debug)]
pub(crate) struct Pace {
    changed: watch::Receiver<u64>,
    interval: Duration,
    last: Instant,
    pending: bool,
}

impl Pace {
    /// Waits until the client is to be brought up to date. Nothing is lost when this is dropped and called again.
    pub(crate) async fn due(&mut self) {
        if !self.pending {
            if self.changed.changed().await.is_err() {
                // The server ends, which others tell.
                std::future::pending::<()>().await;
            }
            self.pending = true;
        }
        tokio::time::sleep_until(self.last + self.interval).await;
    }

    /// The client is about to be brought up to date.
    pub(crate) fn begin(&mut self) {
        self.changed.mark_unchanged();
        self.pending = false;
    }

    /// There was something: the next time is an interval away, and sure to come if there is `more`.
    pub(crate) fn rest(&mut self, more: bool) {
        self.last = Instant::now();
        self.pending |= more;
    }
}

impl Client {
    pub(super) fn new(
        wanted: Wanted,
        clock: Arc<dyn Clock>,
        views: Vec<Watching>,
        outputs: Vec<Arc<RowFeed>>,
        alerts: &Arc<Alerts>,
        changed: watch::Receiver<u64>,
    ) -> Self {
        let shown = |watching| {
            let (window, sent) = (None, HashMap::new());
            Shown { watching, number: 0, truncated: false, window, partial: false, sent }
        };
        let followed = |feed: Arc<RowFeed>| Followed { seen: feed.next(), feed };
        let pace = Pace { changed, interval: wanted.interval, last: Instant::now(), pending: true };
        Self {
            clock,
            views: views.into_iter().map(shown).collect(),
            outputs: outputs.into_iter().map(followed).collect(),
            alerts: (!wanted.alerts.is_empty()).then(|| alerts.subscribe()),
            alerts_of: (!wanted.alerts.is_empty()).then(|| Arc::clone(alerts)),
            pace: Some(pace),
            wanted,
        }
    }

    /// What says when the client is to be brought up to date: taken once, by whoever does it.
    pub(crate) fn pace(&mut self) -> Option<Pace> {
        self.pace.take()
    }

    /// What says which alerts are fired: as [`Client::pace`]. `None` when it wants none.
    pub(crate) fn alerts(&mut self) -> Option<(broadcast::Receiver<Arc<AlertEvent>>, BTreeSet<String>)> {
        Some((self.alerts.take()?, self.wanted.alerts.iter().cloned().collect()))
    }

    /// The first frames: the newest window of all views, as far as they can be had soon. Every row of an output that is
    /// appended after them, and every alert that is fired, is shown or counted.
    pub(crate) async fn first(&mut self) -> Vec<Frame> {
        let ready = async {
            let views = || self.views.iter().all(|shown| shown.watching.is_ready());
            let outputs = || self.outputs.iter().all(|output| output.feed.is_ready());
            let alerts = || self.alerts_of.as_ref().is_none_or(|alerts| alerts.is_ready());
            while !(views() && outputs() && alerts()) {
                tokio::time::sleep(FIRST_LOOK).await;
            }
        };
        // What takes longer comes as an update.
        let _ = tokio::time::timeout(FIRST, ready).await;
        self.metrics("metrics:initial", true)
    }

    /// The frames of what has changed.
    pub(crate) fn changed(&mut self) -> Vec<Frame> {
        let mut frames = self.metrics("metrics:update", false);
        for output in &mut self.outputs {
            let Some(taken) = output.feed.take(&mut output.seen, self.wanted.messages) else { continue };
            if taken.skipped > 0 {
                let name = output.feed.output().to_owned();
                metrics::counter!("tideline_live_skipped_messages_total", "output" => name).increment(taken.skipped);
            }
            let fresh = Fresh {
                output: output.feed.output(),
                topic: output.feed.topic(),
                messages: taken.rows,
                skipped: taken.skipped,
            };
            frames.extend(text("message:new", "message:new", fresh));
        }
        frames
    }

    /// A frame that says what time it is, and how fresh the newest window of each view is by now: a window that does not
    /// change gets older, and who hears nothing has lost the connection. It costs no answer: each view's feed knows when
    /// its newest record was appended.
    pub(crate) fn heartbeat(&self) -> Option<Frame> {
        let now = self.clock.now();
        let views = self.views.iter().map(|shown| {
            let appended = match &shown.watching.state().known {
                Known::Window(current) => current.appended,
                Known::Nothing | Known::Failed(_) => None,
            };
            (shown.watching.view(), Freshness { freshness_ms: appended.map(|at| freshness_ms(at, now)) })
        });
        let views = views.collect();
        text("heartbeat", "heartbeat", Heartbeat { time: now.to_string(), views })
    }

    /// Whether there are rows that did not fit into the last frames.
    pub(crate) fn has_more(&self) -> bool {
        self.views.iter().any(|shown| shown.truncated)
    }

    /// `first`: what there is, be it nothing.
    fn metrics(&mut self, event: &'static str, first: bool) -> Vec<Frame> {
        let mut frames = Vec::new();
        let mut windows = BTreeMap::new();
        for shown in &mut self.views {
            let state = shown.watching.state();
            if state.number == shown.number && !shown.truncated {
                continue;
            }
            (shown.number, shown.truncated) = (state.number, false);
            match &state.known {
                Known::Nothing => {}
                Known::Window(current) => {
                    let (window, lacks) = shown.lacking(current, self.wanted.rows);
                    if lacks || first {
                        windows.insert(shown.watching.view(), window);
                    }
                }
                Known::Failed(error) => {
                    frames.push(Frame::Problem(shown.watching.view().to_owned(), Arc::clone(error)));
                }
            }
        }
        if first || !windows.is_empty() {
            let metrics = Metrics { at: self.clock.now().to_string(), views: windows };
            // Before what cannot be had.
            if let Some(frame) = text(event, event, metrics) {
                frames.insert(0, frame);
            }
        }
        frames
    }
}

/// The frame of an alert.
pub(crate) fn alert(event: &AlertEvent) -> Option<Frame> {
    text("alert", &format!("alert:{}", event.alert), event)
}

/// The frame that says how many alerts were fired too fast to be sent.
pub(crate) fn missed(alerts: u64) -> Option<Frame> {
    #[derive(Serialize)]
    struct Missed {
        missed: u64,
    }
    text("alert", "alerts:missed", Missed { missed: alerts })
}

/// The frame of a problem, of whatever kind.
pub(crate) fn problem<T: Serialize>(problem: T) -> Option<Frame> {
    text("problem", "problem", problem)
}
