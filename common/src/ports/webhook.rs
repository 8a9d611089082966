//! Webhooks: what posts alerts to the address of somebody else.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::PortResult;
use crate::time::Timestamp;

/// Something to post.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookPost {
    /// Where to: `http://` or `https://`. May hold a secret: it is not printed.
    pub url: String,
    /// What it is: the same for every attempt, so that a receiver takes it in once.
    pub id: String,
    /// What to sign with; `None`: it is not signed.
    pub secret: Option<String>,
    /// When this attempt is made; part of what is signed.
    pub at: Timestamp,
    /// JSON.
    pub body: Bytes,
    /// How long all of it may take.
    pub timeout: Duration,
}

// By hand: address and secret are nobody's business.
impl fmt::Debug for WebhookPost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookPost").field("id", &self.id).field("at", &self.at).finish_non_exhaustive()
    }
}

/// What the other side answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebhookAnswer {
    /// HTTP status.
    pub status: u16,
    /// How long it wants to be left alone, if it says so (`Retry-After`).
    pub retry_after: Option<Duration>,
}

impl WebhookAnswer {
    /// Whether the post has been taken.
    pub const fn is_taken(self) -> bool {
        self.status / 100 == 2
    }

    /// Whether the same post may be taken later: the other side has trouble, or wants fewer.
    pub const fn is_retryable(self) -> bool {
        matches!(self.status, 408 | 425 | 429) || self.status / 100 == 5
    }
}

/// Posts to webhooks.
///
/// Contract: one attempt per call, within its timeout; redirects are not followed. Every post carries
/// `Idempotency-Key` (the id), `Tideline-Timestamp` (seconds since the epoch of [`WebhookPost::at`]) and, with a secret,
/// `Tideline-Signature: v1=<hex>`: HMAC-SHA256 by the secret over the timestamp, a full stop and the body.
#[async_trait]
pub trait Webhook: Send + Sync + fmt::Debug {
    /// Posts once. An answer of any status is an answer; `Unavailable` when there is none, `Invalid` for an address that
    /// is none.
    async fn post(&self, post: &WebhookPost) -> PortResult<WebhookAnswer>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_say_whether_to_try_again() {
        let answer = |status| WebhookAnswer { status, retry_after: None };
        for status in [200, 202, 204] {
            assert!(answer(status).is_taken() && !answer(status).is_retryable());
        }
        for status in [408, 425, 429, 500, 502, 503, 599] {
            assert!(!answer(status).is_taken() && answer(status).is_retryable(), "{status}");
        }
        for status in [101, 301, 307, 400, 401, 403, 404, 410, 422] {
            assert!(!answer(status).is_taken() && !answer(status).is_retryable(), "{status}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let post = WebhookPost {
            url: "https://example.org/hush".to_owned(),
            id: "1".to_owned(),
            secret: Some("hush".to_owned()),
            at: Timestamp(0),
            body: Bytes::from_static(b"hush"),
            timeout: Duration::from_secs(1),
        };
        assert!(!format!("{post:?}").contains("hush"));
    }
}
