//! Requests to an `MLflow` server: bounded in time, attempts and size; errors in terms of the ports.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, StatusCode, Url, redirect};
use serde_json::Value as Json;
use tideline_common::ports::{PortError, PortResult};

use super::MlflowConfig;

/// The most that is read of an answer.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Characters of an error's message that are kept.
const MESSAGE_CHARS_MAX: usize = 500;
/// The longest wait before the next attempt, whatever the server asks for.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// A server.
pub(super) struct Server {
    client: Client,
    config: MlflowConfig,
    base: String,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Why an attempt failed.
struct Failure {
    error: PortError,
    /// How long to wait before the next one, when the server says so.
    wait: Option<Duration>,
}

impl Server {
    pub(super) fn new(config: &MlflowConfig) -> PortResult<Self> {
        let base = config.url.trim_end_matches('/').to_owned();
        let scheme = base.split_once("://").map(|(scheme, rest)| (scheme, !rest.is_empty()));
        if !matches!(scheme, Some(("http" | "https", true))) || base.contains(['?', '#']) {
            return Err(PortError::invalid("MLflow", "the address must be http://HOST:PORT or https://HOST:PORT"));
        }
        if base.contains('@') {
            return Err(PortError::invalid("MLflow", "user and password have settings of their own, not the address"));
        }
        let client = Client::builder()
            .user_agent(concat!("tideline/", env!("CARGO_PKG_VERSION")))
            .timeout(config.timeout)
            // Credentials go to this server and no other.
            .redirect(redirect::Policy::none())
            .pool_max_idle_per_host(2)
            .build()
            .map_err(|error| PortError::invalid("the HTTP client of MLflow", error))?;
        Ok(Self { client, config: config.clone(), base })
    }

    /// Asks; `what` names it in errors.
    pub(super) async fn get(&self, what: &str, call: &str, query: &[(&str, &str)]) -> PortResult<Json> {
        let url =
            Url::parse_with_params(&self.api(call), query).map_err(|error| PortError::invalid("MLflow", error))?;
        self.repeat(what, self.config.attempts, || self.client.get(url.clone())).await
    }

    /// Posts what may be posted twice.
    pub(super) async fn post(&self, what: &str, call: &str, body: &Json) -> PortResult<Json> {
        let url = self.api(call);
        self.repeat(what, self.config.attempts, || self.client.post(&url).json(body)).await
    }

    /// Posts what must not be posted twice.
    pub(super) async fn once(&self, what: &str, call: &str, body: &Json) -> PortResult<Json> {
        let url = self.api(call);
        self.repeat(what, 1, || self.client.post(&url).json(body)).await
    }

    /// Stores an artifact behind the proxy.
    pub(super) async fn put(&self, what: &str, path: &str, bytes: Bytes) -> PortResult<()> {
        let url = format!("{}/api/2.0/mlflow-artifacts/artifacts/{path}", self.base);
        let request = || self.client.put(&url).header(CONTENT_TYPE, "application/octet-stream").body(bytes.clone());
        self.repeat(what, self.config.attempts, request).await.map(|_| ())
    }

    fn api(&self, call: &str) -> String {
        format!("{}/api/2.0/mlflow/{call}", self.base)
    }

    async fn repeat(&self, what: &str, attempts: u32, request: impl Fn() -> RequestBuilder + Send) -> PortResult<Json> {
        let what = format!("MLflow ({what})");
        let (mut left, mut wait) = (attempts.max(1), self.config.retry_wait);
        loop {
            left -= 1;
            let attempt = self.attempt(&what, request());
            match attempt.await {
                Err(Failure { error, wait: asked }) if left > 0 && error.is_retryable() => {
                    tracing::debug!(what, %error, left, "MLflow did not do it; trying again");
                    tokio::time::sleep(asked.unwrap_or(wait).min(WAIT_MAX)).await;
                    wait = wait.saturating_mul(2);
                }
                Err(Failure { error, .. }) => return Err(error),
                Ok(answer) => return Ok(answer),
            }
        }
    }

    async fn attempt(&self, what: &str, request: RequestBuilder) -> Result<Json, Failure> {
        let lost = |error: reqwest::Error| Failure {
            error: if error.is_builder() {
                PortError::invalid(what, error.without_url())
            } else {
                PortError::unavailable(what, error.without_url())
            },
            wait: None,
        };
        let request = match (&self.config.token, &self.config.user) {
            (Some(token), _) => request.bearer_auth(token),
            (None, Some(user)) => request.basic_auth(user, self.config.password.as_ref()),
            (None, None) => request,
        };
        let mut response = request.send().await.map_err(lost)?;
        let status = response.status();
        let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let wait = wait.map(Duration::from_secs);
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                let reason = format!("the answer has more than {ANSWER_BYTES_MAX} bytes");
                return Err(Failure { error: PortError::invalid(what, reason), wait: None });
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_success() {
            let json = if body.is_empty() { Ok(Json::Null) } else { serde_json::from_slice(&body) };
            return json.map_err(|error| Failure { error: PortError::corrupt(what, error), wait: None });
        }
        Err(Failure { error: refusal(what, status, &body), wait })
    }
}

/// The error that an answer stands for: `{"error_code": …, "message": …}`, or whatever a proxy before it says.
fn refusal(what: &str, status: StatusCode, body: &[u8]) -> PortError {
    let json: Json = serde_json::from_slice(body).unwrap_or_default();
    let code = json["error_code"].as_str().unwrap_or_default();
    let message = json["message"].as_str().map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned);
    let message: String = message.chars().take(MESSAGE_CHARS_MAX).collect();
    let reason = format!("{}: {code} {message}", status.as_u16());
    match status {
        _ if code == "RESOURCE_DOES_NOT_EXIST" => PortError::NotFound { what: what.to_owned() },
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            PortError::invalid(what, format!("refused, check user, password or token ({reason})"))
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => PortError::unavailable(what, reason),
        _ if status.is_server_error() => PortError::unavailable(what, reason),
        _ => PortError::invalid(what, reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_what_can_be_done() {
        let of = |status, body: &str| refusal("x", status, body.as_bytes());
        let absent = of(StatusCode::NOT_FOUND, r#"{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no"}"#);
        assert!(matches!(absent, PortError::NotFound { .. }));
        // A proxy, or another program: not that the thing is absent.
        assert!(matches!(of(StatusCode::NOT_FOUND, "<html>"), PortError::Invalid { .. }));
        assert!(of(StatusCode::UNAUTHORIZED, "").to_string().contains("check user, password or token"));
        assert!(of(StatusCode::BAD_GATEWAY, "").is_retryable() && of(StatusCode::TOO_MANY_REQUESTS, "").is_retryable());
        let long = of(StatusCode::BAD_REQUEST, &"é".repeat(10_000));
        assert!(long.to_string().chars().count() < 600 && !long.is_retryable());
    }
}
