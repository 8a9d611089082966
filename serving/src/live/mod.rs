//! What changes, for whoever watches: views, rows and alerts, to any number of clients at once.
//!
//! Clients share the work. Of every view that somebody watches one task asks for the newest window when it may have
//! changed, and writes each row once; of every output of rows one task follows the topic and keeps the newest records.
//! A [`Client`] takes from both what it has not had yet. It holds no queue: what a client misses while it is slow is
//! replaced by what is newest, so that a client costs a bounded amount of memory whatever it does. A feed that nobody
//! watches any more ends.
//!
//! # Layout
//! - [`mod@view`]: the newest window of a view · [`rows`]: the newest rows of an output
//! - [`client`]: what one client has had, and the frames that bring it up to date

mod client;
mod rows;
mod view;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tideline_common::plan::{Plan, RowOutputPlan};
use tideline_common::ports::Log;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use client::{Client, Frame, alert, missed, problem};
pub(crate) use view::KEPT_LOOK;

use crate::alerts::Alerts;
use crate::merge::Reader;
use rows::RowFeed;
use view::ViewFeed;

/// The most rows of a view that a client can have.
pub(crate) const ROWS_MAX: usize = 1_000;
/// The most messages of an output that a frame can have.
pub(crate) const MESSAGES_MAX: usize = 2_000;
/// How often changes can be looked for.
pub(crate) const INTERVAL_MIN: Duration = Duration::from_millis(50);
/// How seldom.
pub(crate) const INTERVAL_MAX: Duration = Duration::from_mins(1);

/// What a client wants to see. Names are those of the plan.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) views: Vec<String>,
    pub(crate) outputs: Vec<String>,
    pub(crate) alerts: Vec<String>,
    /// Rows per view.
    pub(crate) rows: usize,
    /// Messages per frame.
    pub(crate) messages: usize,
    /// Time between two looks.
    pub(crate) interval: Duration,
}

/// See the module.
pub struct Live {
    reader: Arc<Reader>,
    log: Arc<dyn Log>,
    alerts: Arc<Alerts>,
    /// Feeds that somebody watches, by name.
    views: Mutex<BTreeMap<String, Weak<ViewFeed>>>,
    outputs: Mutex<BTreeMap<String, Weak<RowFeed>>>,
    /// Counts what feeds have to tell.
    changed: watch::Sender<u64>,
    cancel: CancellationToken,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

impl Live {
    /// Follows alerts from now on, and views and outputs while somebody watches them, until `cancel`. To be called within
    /// a Tokio runtime; no store has to be there yet.
    pub fn start(reader: Arc<Reader>, log: Arc<dyn Log>, cancel: &CancellationToken) -> Arc<Self> {
        let cancel = cancel.child_token();
        Arc::new(Self {
            alerts: Arc::new(Alerts::start(Arc::clone(&log), cancel.clone())),
            reader,
            log,
            views: Mutex::default(),
            outputs: Mutex::default(),
            changed: watch::Sender::new(0),
            cancel,
        })
    }

    /// The alerts that were fired last.
    pub fn alerts(&self) -> &Alerts {
        &self.alerts
    }

    /// The plan whose views, outputs and alerts it shows.
    pub(crate) fn plan(&self) -> &Arc<Plan> {
        self.reader.plan()
    }

    /// The views that can be watched.
    pub(crate) fn view_names(&self) -> impl Iterator<Item = &str> {
        self.plan().views.iter().filter(|view| Reader::can_rank(view)).map(|view| view.name.as_str())
    }

    /// A client that has had nothing yet.
    pub(crate) fn client(&self, wanted: Wanted) -> Client {
        let changed = self.changed.subscribe();
        let views = wanted.views.iter().map(|view| self.view(view).watch(wanted.rows, wanted.interval)).collect();
        let output = |name: &String| self.plan().row_outputs.iter().find(|output| output.name == *name);
        let outputs = wanted.outputs.iter().filter_map(output).map(|output| self.rows(output)).collect();
        Client::new(wanted, Arc::clone(self.reader.clock()), views, outputs, &self.alerts, changed)
    }

    fn view(&self, name: &str) -> Arc<ViewFeed> {
        feed(&self.views, name, || {
            ViewFeed::start(name, Arc::clone(&self.reader), self.changed.clone(), self.cancel.clone())
        })
    }

    fn rows(&self, output: &RowOutputPlan) -> Arc<RowFeed> {
        feed(&self.outputs, &output.name, || {
            RowFeed::start(output, Arc::clone(&self.log), self.changed.clone(), self.cancel.clone())
        })
    }
}

/// The feed of this name that is at work, or a new one.
fn feed<F>(feeds: &Mutex<BTreeMap<String, Weak<F>>>, name: &str, start: impl FnOnce() -> F) -> Arc<F> {
    let mut feeds = feeds.lock();
    if let Some(feed) = feeds.get(name).and_then(Weak::upgrade) {
        return feed;
    }
    let feed = Arc::new(start());
    feeds.insert(name.to_owned(), Arc::downgrade(&feed));
    feed
}
