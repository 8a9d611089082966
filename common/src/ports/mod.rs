//! Ports: what the layers need from the outside world. Adapters live in `stores`; each passes the public
//! conformance suite of its port there.

mod analytics;
mod clock;
mod log;
mod membership;
mod objects;
mod sql;
mod tracking;
mod views;
mod webhook;

pub use analytics::{Analytics, Loaded, Publication, ReportPage, ReportQuery};
pub use clock::{Clock, ManualClock};
pub use log::{Appended, Log, ReadRequest, TopicInfo, TopicSpec};
pub use membership::{Handover, Membership, Rebalance, Release, TopicPartition};
pub use objects::{Created, Location, ObjectInfo, Objects};
pub use sql::SqlEngine;
pub use tracking::{RunEnd, RunHandle, TrackedMetrics, TrackedRun, Tracking};
pub use views::{
    Flush, KeySelector, LookupRows, LookupSchema, PaneFlush, PanePage, PaneQuery, Progress, ShardPanes, SpeedViews,
    ViewSchema,
};
pub use webhook::{Webhook, WebhookAnswer, WebhookPost};

/// What a port answers with when it cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The thing is not there.
    #[error("{what} is not there")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// The log no longer has these records.
    #[error("records before offset {first} have expired")]
    Expired {
        /// The first offset that the log still has.
        first: u64,
    },
    /// It may work later: network, a server that is down, a busy lock.
    #[error("{what} is not available: {source}")]
    Unavailable {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No room: the disk or a configured bound is full.
    #[error("{what} is full: {source}")]
    Full {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What is stored cannot be read.
    #[error("{what} is damaged: {reason}")]
    Corrupt {
        /// What was read.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The request makes no sense to the store: a bug or a wrong configuration; trying again does not help.
    #[error("{what}: {reason}")]
    Invalid {
        /// What was tried.
        what: String,
        /// Why it was refused.
        reason: String,
    },
}

impl PortError {
    /// An [`PortError::Unavailable`].
    pub fn unavailable(what: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unavailable { what: what.into(), source: source.into() }
    }

    /// A [`PortError::Corrupt`].
    pub fn corrupt(what: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Corrupt { what: what.into(), reason: reason.to_string() }
    }

    /// A [`PortError::Invalid`].
    pub fn invalid(what: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Invalid { what: what.into(), reason: reason.to_string() }
    }

    /// A failed input or output: full when the device is, unavailable otherwise.
    pub fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        let what = what.into();
        match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Self::Full { what, source: source.into() }
            }
            std::io::ErrorKind::NotFound => Self::NotFound { what },
            _ => Self::Unavailable { what, source: source.into() },
        }
    }

    /// Whether the same call may work later.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Full { .. })
    }
}

/// What ports return.
pub type PortResult<T> = Result<T, PortError>;
