//! Webhooks over HTTP.

use std::fmt::Write as _;
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use chrono::DateTime;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, redirect};
use tideline_common::ports::{PortError, PortResult, Webhook, WebhookAnswer, WebhookPost};
use tideline_common::time::Timestamp;

/// The same for every attempt of a post.
pub const ID_HEADER: &str = "idempotency-key";
/// When the attempt was made, in seconds since the epoch.
pub const TIMESTAMP_HEADER: &str = "tideline-timestamp";
/// `v1=` and the HMAC-SHA256 over timestamp, full stop and body, in hex.
pub const SIGNATURE_HEADER: &str = "tideline-signature";

/// Posts over HTTP and HTTPS.
#[derive(Debug, Clone)]
pub struct HttpWebhook {
    client: Client,
}

impl HttpWebhook {
    /// A client that keeps connections for a while.
    ///
    /// # Errors
    /// When there is no TLS.
    pub fn new() -> PortResult<Self> {
        let client = Client::builder()
            .user_agent(concat!("tideline/", env!("CARGO_PKG_VERSION")))
            // Whoever is redirected may be led anywhere, with what was signed for another.
            .redirect(redirect::Policy::none())
            .pool_idle_timeout(Duration::from_mins(1))
            .pool_max_idle_per_host(4)
            .build();
        Ok(Self { client: client.map_err(|error| PortError::invalid("webhook client", error))? })
    }
}

/// The signature of a body: see [`SIGNATURE_HEADER`].
pub fn signature(secret: &str, timestamp: i64, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(timestamp.to_string().as_bytes());
    context.update(b".");
    context.update(body);
    let mut text = "v1=".to_owned();
    for byte in context.sign().as_ref() {
        // A `String` takes everything.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// How long the other side wants to be left alone: seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = DateTime::parse_from_rfc2822(text).ok()?;
    let wait = Timestamp(at.timestamp_micros()).since(now);
    Some(wait.to_std())
}

#[async_trait]
impl Webhook for HttpWebhook {
    async fn post(&self, post: &WebhookPost) -> PortResult<WebhookAnswer> {
        let timestamp = post.at.0.div_euclid(1_000_000);
        let mut request = self
            .client
            .post(&post.url)
            .timeout(post.timeout)
            .header(CONTENT_TYPE, "application/json")
            .header(ID_HEADER, &post.id)
            .header(TIMESTAMP_HEADER, timestamp)
            .body(post.body.clone());
        if let Some(secret) = &post.secret {
            request = request.header(SIGNATURE_HEADER, signature(secret, timestamp, &post.body));
        }
        // Without the address: it may hold a secret.
        let answer = request.send().await.map_err(|error| {
            let (wrong, error) = (error.is_builder(), error.without_url());
            if wrong { PortError::invalid("webhook", error) } else { PortError::unavailable("webhook", error) }
        })?;
        let answer =
            WebhookAnswer { status: answer.status().as_u16(), retry_after: retry_after(answer.headers(), post.at) };
        // What the other side has to say beside the status is not read.
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn signatures_are_those_of_others() {
        // python3 -c 'import hmac; print(hmac.new(b"hush", b"1700000000.{\"a\":1}", "sha256").hexdigest())'
        let expected = "v1=7cfd1df542c33ab7251748ffdc6e7fed278c63b83d4ece95a4534b0ad465571b";
        assert_eq!(signature("hush", 1_700_000_000, br#"{"a":1}"#), expected);
        assert_ne!(signature("hush", 1_700_000_001, br#"{"a":1}"#), expected);
        assert_ne!(signature("hush!", 1_700_000_000, br#"{"a":1}"#), expected);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Timestamp::parse("2024-05-06T10:00:00Z").unwrap();
        let of = |text: &str| retry_after(&HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]), now);
        assert_eq!(of("120"), Some(Duration::from_mins(2)));
        assert_eq!(of("Mon, 06 May 2024 10:00:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(of("Mon, 06 May 2024 09:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(of("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
