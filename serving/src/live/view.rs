//! The newest window of a view: asked for once for all who watch it.
//!
//! Where the rankings of the view are kept in memory they tell when something has changed, and the window is asked for
//! at once, but not more often than the most impatient client wants. Elsewhere the progress of the layers is looked at
//! as often as that, which costs next to nothing, and the window is asked for when it has moved. A row is written as
//! JSON once, and again only when it has changed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::value::{RawValue, to_raw_value};
use tideline_common::key::Key;
use tideline_common::time::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::{INTERVAL_MAX, ROWS_MAX};
use crate::boundary::Interval;
use crate::error::QueryError;
use crate::merge::{Reader, TopAnswer, TopRequest};

/// How often a window whose ranking is kept is asked for when nothing is told of it: it may no longer be kept.
pub(crate) const KEPT_LOOK: Duration = Duration::from_secs(1);

/// A row, written.
#[derive(Clone, Debug)]
pub(super) struct LiveRow {
    pub(super) key: Arc<[u8]>,
    /// Number of the state that it last changed in.
    pub(super) number: u64,
    pub(super) json: Arc<RawValue>,
}

/// The newest window, its rows in the order of the ranking.
#[derive(Clone, Debug, Default)]
pub(super) struct Current {
    pub(super) window: Option<Interval>,
    pub(super) rows: Arc<[LiveRow]>,
    pub(super) freshness_ms: Option<i64>,
    /// When the newest record of it was appended.
    pub(super) appended: Option<Timestamp>,
    pub(super) partial: bool,
}

/// What a feed knows.
#[derive(Clone, Debug)]
pub(super) enum Known {
    /// Nothing was asked yet.
    Nothing,
    /// This.
    Window(Current),
    /// It cannot be had now.
    Failed(Arc<QueryError>),
}

/// What a feed knows, as of a number that grows with every change.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) number: u64,
    /// Rows that were asked for.
    asked: usize,
    pub(super) known: Known,
}

/// Rows and interval of each who watches, by number.
#[derive(Debug, Default)]
struct Watchers {
    last: u64,
    all: BTreeMap<u64, (usize, Duration)>,
}

#[derive(Debug)]
struct Shared {
    view: String,
    state: Mutex<Arc<State>>,
    watchers: Mutex<Watchers>,
    /// Somebody wants more than before.
    more: Notify,
}

/// See the module. Dropping it ends the work.
#[derive(Debug)]
pub(super) struct ViewFeed {
    shared: Arc<Shared>,
    _task: AbortOnDropHandle<()>,
}

/// One who watches a view.
#[derive(Debug)]
pub(super) struct Watching {
    feed: Arc<ViewFeed>,
    number: u64,
    rows: usize,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.feed.shared.watchers.lock().all.remove(&self.number);
    }
}

impl Watching {
    pub(super) fn view(&self) -> &str {
        &self.feed.shared.view
    }

    /// What is known now.
    pub(super) fn state(&self) -> Arc<State> {
        Arc::clone(&self.feed.shared.state.lock())
    }

    /// Whether it was asked for as many rows as this one wants.
    pub(super) fn is_ready(&self) -> bool {
        self.feed.shared.state.lock().asked >= self.rows
    }
}

impl ViewFeed {
    pub(super) fn start(
        view: &str,
        reader: Arc<Reader>,
        changed: watch::Sender<u64>,
        cancel: CancellationToken,
    ) -> Self {
        let shared = Arc::new(Shared {
            view: view.to_owned(),
            state: Mutex::new(Arc::new(State { number: 0, asked: 0, known: Known::Nothing })),
            watchers: Mutex::default(),
            more: Notify::new(),
        });
        let feeding = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            cancel.run_until_cancelled(feed(&feeding, &reader, &changed)).await;
        });
        Self { shared, _task: AbortOnDropHandle::new(task) }
    }

    /// Watches it, for so many rows, so often.
    pub(super) fn watch(self: Arc<Self>, rows: usize, interval: Duration) -> Watching {
        let mut watchers = self.shared.watchers.lock();
        watchers.last += 1;
        let number = watchers.last;
        watchers.all.insert(number, (rows, interval));
        drop(watchers);
        self.shared.more.notify_one();
        Watching { feed: self, number, rows }
    }
}

impl Shared {
    /// The most rows, and the shortest interval, that anybody wants.
    fn wanted(&self) -> (usize, Duration) {
        let watchers = self.watchers.lock();
        let rows = watchers.all.values().map(|(rows, _)| *rows).max();
        let interval = watchers.all.values().map(|(_, interval)| *interval).min();
        (rows.unwrap_or(1).min(ROWS_MAX), interval.unwrap_or(INTERVAL_MAX))
    }

    /// Takes in an answer. Whether anybody has to be told.
    fn take(&self, asked: usize, answer: Result<TopAnswer, QueryError>) -> bool {
        let before = Arc::clone(&self.state.lock());
        let number = before.number + 1;
        let (known, changed) = match answer {
            Ok(answer) => written(&answer, &before.known, number),
            Err(error) => {
                let told = matches!(&before.known, Known::Failed(known) if known.to_string() == error.to_string());
                (Known::Failed(Arc::new(error)), !told)
            }
        };
        // Those who wait for their first rows are told also when there are none.
        let told = changed || asked > before.asked;
        let number = if changed { number } else { before.number };
        *self.state.lock() = Arc::new(State { number, asked, known });
        told
    }
}

/// An answer with its rows written, those that are as before taken over; whether anything has changed.
fn written(answer: &TopAnswer, before: &Known, number: u64) -> (Known, bool) {
    let none = Current::default();
    let (before, was_known) = match before {
        Known::Window(current) => (current, true),
        _ => (&none, false),
    };
    let old: HashMap<&[u8], &LiveRow> = if before.window == answer.window {
        before.rows.iter().map(|row| (&*row.key, row)).collect()
    } else {
        HashMap::new()
    };
    let mut changed = !was_known || before.window != answer.window || before.rows.len() != answer.rows.len();
    let row = |at: usize| {
        let key = Key::of(&answer.rows[at].key).0;
        // Keys and values are what JSON can say.
        let json = to_raw_value(&answer.keyed(at)).ok()?;
        if let Some(old) = old.get(&*key).filter(|old| old.json.get() == json.get()) {
            changed |= before.rows.get(at).is_none_or(|there| there.key != old.key);
            return Some((*old).clone());
        }
        changed = true;
        Some(LiveRow { key: key.into(), number, json: Arc::from(json) })
    };
    let rows: Vec<LiveRow> = (0..answer.rows.len()).filter_map(row).collect();
    let partial = !answer.provenance.missing.is_empty();
    changed |= partial != before.partial;
    let (freshness_ms, appended) = (answer.provenance.freshness_ms, answer.provenance.appended);
    let current = Current { window: answer.window, rows: rows.into(), freshness_ms, appended, partial };
    (Known::Window(current), changed)
}

async fn feed(shared: &Shared, reader: &Reader, changed: &watch::Sender<u64>) {
    let Ok(view) = reader.view(&shared.view) else { return };
    let mut told = reader.rankings().and_then(|rankings| rankings.changes(view));
    let mut kept = false;
    loop {
        let began = Instant::now();
        let (rows, interval) = shared.wanted();
        if let Some(told) = &mut told {
            told.mark_unchanged();
        }
        // Before the answer: what comes while it is made is seen the next time.
        let seen = if kept { None } else { reader.standing().await };
        let request = TopRequest { view: shared.view.clone(), limit: Some(rows), ..TopRequest::default() };
        let answer = reader.top(&request).await;
        kept = told.is_some() && answer.as_ref().is_ok_and(|answer| answer.provenance.kept);
        let seen = seen.filter(|_| answer.is_ok());
        if shared.take(rows, answer) {
            changed.send_modify(|changes| *changes += 1);
        }
        let mut due = began + if kept { KEPT_LOOK.max(interval) } else { interval };
        loop {
            tokio::select! {
                () = shared.more.notified() => break,
                () = news(&mut told) => {}
                () = tokio::time::sleep_until(due) => {}
            }
            // Somebody who wants more does not wait for the others' pace.
            tokio::select! {
                () = shared.more.notified() => break,
                () = tokio::time::sleep_until(began + interval) => {}
            }
            if kept || seen.is_none() || reader.standing().await != seen {
                break;
            }
            due = Instant::now() + interval;
        }
    }
}

/// Waits until the rankings tell of a change; for ever where there are none.
async fn news(told: &mut Option<watch::Receiver<u64>>) {
    if let Some(receiver) = told
        && receiver.changed().await.is_ok()
    {
        return;
    }
    *told = None;
    std::future::pending::<()>().await;
}
