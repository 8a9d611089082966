//! Why an API was not read.

use tideline_common::time::Span;

/// Why an API was not read. Addresses are without their query, which may hold a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// No answer: no connection, one that was cut, or none in time.
    #[error("{url}: {reason}")]
    Connection {
        /// Which address.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The server failed (5xx), or had no time (408).
    #[error("{url}: the server answered {status}{detail}")]
    Server {
        /// Which address.
        url: String,
        /// Status.
        status: u16,
        /// What the server said, shortened; with `: ` before it.
        detail: String,
    },
    /// Too many requests.
    #[error("{url}: too many requests ({status}){detail}")]
    RateLimited {
        /// Which address.
        url: String,
        /// Status.
        status: u16,
        /// What the server said, shortened; with `: ` before it.
        detail: String,
    },
    /// The answer is not what the API's documentation says.
    #[error("{url}: the answer makes no sense: {reason}")]
    Malformed {
        /// Which address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The answer is longer than allowed.
    #[error("{url}: the answer has more than {max} bytes")]
    TooLarge {
        /// Which address.
        url: String,
        /// Bound in bytes.
        max: usize,
    },
    /// The server does not accept who is asking.
    #[error("{url}: the credentials are not accepted ({status}){detail}")]
    Credentials {
        /// Which address.
        url: String,
        /// Status.
        status: u16,
        /// What the server said, shortened; with `: ` before it.
        detail: String,
    },
    /// The server does not accept what is asked for.
    #[error("{url}: the server refuses ({status}){detail}")]
    Refused {
        /// Which address.
        url: String,
        /// Status.
        status: u16,
        /// What the server said, shortened; with `: ` before it.
        detail: String,
    },
    /// What was noted of the last time cannot be read.
    #[error("the cursor cannot be read: {0}")]
    Cursor(String),
}

impl FetchError {
    /// Whether the same request may work in a moment.
    pub const fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Connection { .. } | Self::Server { .. } | Self::RateLimited { .. } | Self::Malformed { .. }
        )
    }

    /// A word for metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Connection { .. } => "connection",
            Self::Server { .. } => "server",
            Self::RateLimited { .. } => "rate_limited",
            Self::Malformed { .. } => "malformed",
            Self::TooLarge { .. } => "too_large",
            Self::Credentials { .. } => "credentials",
            Self::Refused { .. } => "refused",
            Self::Cursor(_) => "cursor",
        }
    }

    /// What the server said, if it refused.
    pub fn refusal(&self) -> Option<&str> {
        match self {
            Self::Refused { detail, .. } => Some(detail),
            _ => None,
        }
    }
}

/// What to do after a request that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Get a new token and try again; if there is no new token to be had, give up.
    Renew,
    /// Try again after this time, as the server said.
    After(Span),
    /// Try again after a backoff.
    Backoff,
    /// Trying again does not help.
    GiveUp,
}
