//! Who waits for windows to close: the place where closed windows are handed on.
//!
//! A new kind of consumer is one implementation of [`Consumer`]: made in [`of`], or, where this crate must not know what it
//! does (such as predictions), by [`Consumers`] that the program hands in. It is given windows in an order that is
//! always the same: by start of the window, and by key. What it wants done it says as [`Effect`]s, and does nothing
//! itself: what it has decided is made durable before any of it is done, so that a repeat after a kill has the same
//! content. What it must remember it saves, and is given back.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tideline_common::key::decode;
use tideline_common::plan::{Plan, ViewPlan};
use tideline_common::position::Partition;
use tideline_common::record::NewRecord;
use tideline_common::state::{CodecError, Reader};
use tideline_common::time::Timestamp;
use tideline_common::value::Value;
use tideline_common::window::Window;

use super::alert::Alerting;
use super::board::Row;
use super::output::Output;

/// A window of a key.
#[derive(Debug)]
pub struct KeyWindow<'a> {
    /// The view.
    pub view: &'a ViewPlan,
    /// The key, in its byte form.
    pub key: &'a [u8],
    /// The same, one value per key column.
    pub key_values: Vec<Value>,
    /// Start of the window.
    pub start: Timestamp,
    /// End of the window.
    pub end: Timestamp,
    /// One value per column of [`ViewPlan::answer`].
    pub values: &'a [Value],
    /// Those of the window that began one slide before, if it was asked for and has any.
    pub previous: Option<&'a [Value]>,
    /// When it is handed on. Nothing that must be the same after a restart may follow from it.
    pub now: Timestamp,
}

impl<'a> KeyWindow<'a> {
    pub(super) fn of(view: &'a ViewPlan, window: Window, row: &'a Row, now: Timestamp) -> Self {
        // Made by this program of a key's values.
        let key_values = decode(&row.key).unwrap_or_default();
        Self {
            view,
            key: &row.key,
            key_values,
            start: row.start,
            end: row.start.plus(window.size),
            values: &row.values,
            previous: row.previous.as_deref(),
            now,
        }
    }
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A record, for a topic.
    Append {
        /// The topic.
        topic: String,
        /// The record.
        record: NewRecord,
    },
    /// An object of the lake, put or dropped. Of several for one path the last counts.
    Store {
        /// Its path.
        path: String,
        /// What it holds from then on; `None`: it is there no more.
        content: Option<Bytes>,
    },
    /// A post, to the webhook of an alert.
    Post(Post),
}

/// A post to the webhook of an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// The alert: its plan has address and secret, which are written nowhere.
    pub alert: String,
    /// What it is.
    pub id: String,
    /// JSON.
    pub body: Vec<u8>,
}

/// See the module.
pub trait Consumer: Send + Sync + fmt::Debug {
    /// What kind of consumer it is, and its name, unique among those of a view: what it saved is found again by it.
    fn name(&self) -> String;

    /// The windows that it waits for.
    fn window(&self) -> Window;

    /// Whether it wants the window before, too.
    fn wants_previous(&self) -> bool {
        false
    }

    /// Whether it wants to see running windows, whenever they change.
    fn follows(&self) -> bool {
        false
    }

    /// Takes a window that has closed.
    fn closed(&mut self, window: &KeyWindow<'_>, effects: &mut Vec<Effect>);

    /// Takes a running window as it is now.
    fn changed(&mut self, window: &KeyWindow<'_>, effects: &mut Vec<Effect>) {
        let _ = (window, effects);
    }

    /// Every window of this consumer that starts before `through` has been handed on, of all keys: what follows from the
    /// order of windows of several keys is decided here, as [`closed`](Self::closed) may be told of one key before another
    /// whose window is earlier. `now`: as in [`KeyWindow::now`].
    fn complete(&mut self, through: Timestamp, now: Timestamp, effects: &mut Vec<Effect>) {
        let _ = (through, now, effects);
    }

    /// Every window that starts before this has closed, whoever waited for it: nothing will be said of it any more.
    fn forget(&mut self, through: Timestamp) {
        let _ = through;
    }

    /// Appends what it must remember.
    fn save(&self, out: &mut Vec<u8>) {
        let _ = out;
    }

    /// Takes back what it saved.
    ///
    /// # Errors
    /// Bytes that it did not save.
    fn restore(&mut self, reader: &mut Reader<'_>) -> Result<(), CodecError> {
        let _ = reader;
        Ok(())
    }
}

/// Makes consumers that this crate does not know. One of a view whose windows nobody else waits for must be in the plan:
/// see [`Plan::closes`].
pub trait Consumers: Send + Sync + fmt::Debug {
    /// The consumers of a view, as they are before any window: always the same, in the same order. Each partition of the
    /// view's changes has its own.
    fn of(&self, plan: &Plan, view: &ViewPlan, partition: Partition) -> Vec<Box<dyn Consumer>>;
}

/// No consumers but outputs and alerts.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoOthers;

impl Consumers for NoOthers {
    fn of(&self, _: &Plan, _: &ViewPlan, _: Partition) -> Vec<Box<dyn Consumer>> {
        Vec::new()
    }
}

/// The consumers of a view, in the order in which they are given windows.
pub(super) fn of(
    plan: &Plan,
    view: &Arc<ViewPlan>,
    partition: Partition,
    others: &dyn Consumers,
) -> Vec<Box<dyn Consumer>> {
    let outputs = plan.outputs.iter().filter(|output| output.view == view.name);
    let outputs = outputs.map(|output| Box::new(Output::new(output.clone())) as Box<dyn Consumer>);
    let alerts = plan.alerts.iter().filter(|alert| alert.view == view.name);
    let alerts = alerts.map(|alert| Box::new(Alerting::new(alert.clone(), view.window)) as Box<dyn Consumer>);
    outputs.chain(alerts).chain(others.of(plan, view, partition)).collect()
}
