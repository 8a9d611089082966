//! The HTTP API as commands use it: of a running server, or of this process when no server has the folder.

use std::fmt::{self, Write as _};

use anyhow::{Context, bail};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Request, header};
use bytes::Bytes;
use clap::Args;
use http_body_util::BodyExt;
use serde_json::Value as Json;
use tideline_stores::lock::LockError;
use tower::ServiceExt;

use crate::config::Config;

/// Where requests go.
#[derive(Debug, Clone)]
pub enum Client {
    /// A server, by its base URL without a slash at the end.
    Remote {
        /// Base URL.
        base: String,
        /// Connections.
        http: reqwest::Client,
    },
    /// The routes of this process.
    Local(axum::Router),
}

/// What a command shows a server that asks for a token.
#[derive(Clone, Default, Args)]
pub struct Token {
    /// Bearer token, where the server asks for one.
    #[arg(long, env = "TIDELINE_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

// By hand: tokens are never printed.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").finish_non_exhaustive()
    }
}

impl Token {
    fn headers(&self) -> anyhow::Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        // An empty variable is none.
        if let Some(token) = self.token.as_deref().map(str::trim).filter(|token| !token.is_empty()) {
            let value = HeaderValue::from_str(&format!("Bearer {token}"));
            let mut value = value.context("--token (TIDELINE_TOKEN) has characters that no token has")?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        Ok(headers)
    }
}

/// The most that a command reads of one answer, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 30;

impl Client {
    /// A client of the server at `base`.
    ///
    /// # Errors
    /// When no connection pool can be made, and a token that is none.
    pub fn remote(base: &str, token: &Token) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .connect_timeout(std::time::Duration::from_secs(3))
            .timeout(std::time::Duration::from_mins(5))
            .default_headers(token.headers()?)
            .build()?;
        Ok(Self::Remote { base: base.trim_end_matches('/').to_owned(), http })
    }

    /// The server to ask instead, when opening a data folder failed because another process has it: that at `url`, or
    /// where the configuration says that it listens.
    ///
    /// # Errors
    /// `failure` itself when it is another one (only a folder that somebody has is somebody else's to answer for), or
    /// when no server answers.
    pub async fn of_holder(
        failure: anyhow::Error,
        url: Option<&str>,
        token: &Token,
        config: &Config,
    ) -> anyhow::Result<Self> {
        if !matches!(failure.downcast_ref(), Some(LockError::Held { .. })) {
            return Err(failure);
        }
        let base = url.map_or_else(|| config.serve.url(), str::to_owned);
        let client = Self::remote(&base, token)?;
        if client.is_up().await {
            Ok(client)
        } else {
            Err(failure.context(format!("there is no server at {base} to ask (see --url)")))
        }
    }

    /// Whether a server answers.
    async fn is_up(&self) -> bool {
        match self {
            Self::Remote { base, http } => http.get(format!("{base}/healthz")).send().await.is_ok(),
            Self::Local(_) => true,
        }
    }

    /// GET, decoded.
    ///
    /// # Errors
    /// No connection, or the server's problem in words.
    pub async fn get(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<Json> {
        let mut target = path.to_owned();
        for (at, (name, value)) in query.iter().enumerate() {
            target.push(if at == 0 { '?' } else { '&' });
            target.push_str(name);
            target.push('=');
            target.push_str(&escape(value));
        }
        self.send(Method::GET, &target, Bytes::new()).await
    }

    /// POST, decoded.
    ///
    /// # Errors
    /// No connection, or the server's problem in words.
    pub async fn post(&self, path: &str, body: Bytes) -> anyhow::Result<Json> {
        self.send(Method::POST, path, body).await
    }

    async fn send(&self, method: Method, target: &str, body: Bytes) -> anyhow::Result<Json> {
        let (status, bytes) = match self {
            Self::Remote { base, http } => {
                let response = http
                    .request(method, format!("{base}{target}"))
                    .body(body)
                    .send()
                    .await
                    .with_context(|| format!("no answer from {base}: is `tideline up` running there?"))?;
                (response.status(), response.bytes().await.context("the answer broke off")?)
            }
            Self::Local(router) => {
                let request = Request::builder().method(method).uri(target).body(Body::from(body))?;
                let response = router.clone().oneshot(request).await?;
                let status = response.status();
                let limited = http_body_util::Limited::new(response.into_body(), ANSWER_BYTES_MAX);
                let bytes = limited.collect().await.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
                (status, bytes)
            }
        };
        let answer: Json = serde_json::from_slice(&bytes)
            .with_context(|| format!("{target} answered {status} with something else than JSON"))?;
        if status.is_success() {
            return Ok(answer);
        }
        bail!("{}", problem(&answer, status.as_u16()))
    }
}

/// A problem document (RFC 9457) in one line.
fn problem(answer: &Json, status: u16) -> String {
    let text = |name: &str| answer[name].as_str().map(str::to_owned);
    match (text("title"), text("detail")) {
        (Some(title), Some(detail)) => format!("{title}: {detail}"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => format!("status {status}: {answer}"),
    }
}

/// Percent-encodes what a query value or a path part may not hold.
pub fn escape(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~,:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_becomes_a_header_and_is_not_printed() {
        let of = |token: &str| Token { token: Some(token.to_owned()) };
        assert_eq!(of(" a.b.c\n").headers().unwrap()[header::AUTHORIZATION], "Bearer a.b.c");
        assert!(of("").headers().unwrap().is_empty() && Token::default().headers().unwrap().is_empty());
        let message = of("a\nb").headers().unwrap_err().to_string();
        assert!(message.contains("TIDELINE_TOKEN") && !message.contains("a\nb"), "{message}");
        assert!(!format!("{:?} {:?}", of("hush"), of("hush").headers()).contains("hush"));
    }
}
