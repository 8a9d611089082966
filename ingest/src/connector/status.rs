//! How a connector is doing.

use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use tideline_common::time::Timestamp;

use super::config::Kind;

/// What a connector is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It has not polled yet, or not since it has taken over.
    Starting,
    /// Its last poll has worked.
    Running,
    /// Another process has it; this one would take over.
    Standby,
    /// Its last poll has not worked; it tries again.
    Failing,
    /// The API does not accept its credentials or its requests: somebody must do something. It tries again now and then.
    Refused,
    /// It has ended in order.
    Stopped,
}

/// How a connector is doing, since the process started.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// Name.
    pub name: String,
    /// Which API.
    pub kind: Kind,
    /// Where its records go.
    pub topic: String,
    /// What it is at.
    pub state: State,
    /// Polls that have worked.
    pub polls: u64,
    /// Records appended.
    pub records: u64,
    /// Records that the filter did not want.
    pub filtered: u64,
    /// Records longer than the log takes, left out.
    pub oversized: u64,
    /// Polls that found that the API no longer had everything.
    pub gaps: u64,
    /// What the last gap was.
    pub last_gap: Option<String>,
    /// Why the last poll has not worked, or what of it has not.
    pub error: Option<String>,
    /// Polls in a row that have not worked.
    pub failures: u32,
    /// When the last poll that worked began.
    #[serde(serialize_with = "text")]
    pub polled_at: Option<Timestamp>,
    /// When the next one is due.
    #[serde(serialize_with = "text")]
    pub next_poll: Option<Timestamp>,
    /// Until when nothing is asked for because the server said so.
    #[serde(serialize_with = "text")]
    pub held_until: Option<Timestamp>,
}

// The signature is serde's.
#[allow(clippy::ref_option)]
fn text<S: serde::Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.collect_str(at),
        None => serializer.serialize_none(),
    }
}

/// A status that its connector changes and others read.
#[derive(Clone, Debug)]
pub struct StatusCell(Arc<Mutex<Status>>);

impl StatusCell {
    /// The status of a connector that has not polled yet.
    pub fn new(name: &str, kind: Kind, topic: &str) -> Self {
        Self(Arc::new(Mutex::new(Status {
            name: name.to_owned(),
            kind,
            topic: topic.to_owned(),
            state: State::Starting,
            polls: 0,
            records: 0,
            filtered: 0,
            oversized: 0,
            gaps: 0,
            last_gap: None,
            error: None,
            failures: 0,
            polled_at: None,
            next_poll: None,
            held_until: None,
        })))
    }

    /// How it is doing now.
    pub fn get(&self) -> Status {
        self.0.lock().clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.0.lock());
    }
}
