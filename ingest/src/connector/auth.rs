//! Who is asking: nobody, a key, a token, or an application that gets itself a token.

use reqwest::{RequestBuilder, Url};
use serde::Deserialize;
use tideline_common::time::{Span, Timestamp};
use tokio::sync::Mutex;

use super::secret::Secret;

/// How requests say who is asking.
#[derive(Debug)]
pub enum Auth {
    /// Not at all.
    None,
    /// `Authorization: Bearer …` with a token that is given and does not change.
    Bearer(Secret),
    /// A key in the query.
    Query {
        /// Name of the parameter.
        name: &'static str,
        /// The key.
        key: Secret,
    },
    /// OAuth 2.0 client credentials ([RFC 6749 §4.4](https://www.rfc-editor.org/rfc/rfc6749#section-4.4)): the application's
    /// id and secret are changed for a token, which is renewed before it expires, and when the API does not take it.
    ClientCredentials(ClientCredentials),
}

/// An application, and the token that it has.
#[derive(Debug)]
pub struct ClientCredentials {
    /// Where tokens are given.
    pub token_url: Url,
    /// The application.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    token: Mutex<Option<Token>>,
}

#[derive(Debug, Clone)]
struct Token {
    secret: Secret,
    /// From when on another one is needed; `None`: never, as far as is known.
    renew_at: Option<Timestamp>,
}

/// What a token endpoint answers.
#[derive(Debug, Deserialize)]
pub(super) struct Grant {
    access_token: Secret,
    #[serde(default)]
    expires_in: Option<f64>,
}

/// A token is renewed so long before it expires, or when a tenth of its life is left.
const RENEW_BEFORE: Span = Span::MINUTE;

impl ClientCredentials {
    /// An application that has no token yet.
    pub fn new(token_url: Url, client_id: String, client_secret: Secret) -> Self {
        Self { token_url, client_id, client_secret, token: Mutex::new(None) }
    }

    /// The token, if there is one that will still be accepted.
    pub(super) async fn token(&self, now: Timestamp) -> Option<Secret> {
        let token = self.token.lock().await;
        let valid = token.as_ref().filter(|token| token.renew_at.is_none_or(|at| now < at))?;
        Some(valid.secret.clone())
    }

    /// Keeps what the server gave.
    pub(super) async fn keep(&self, grant: Grant, now: Timestamp) -> Secret {
        let renew_at = grant.expires_in.filter(|seconds| seconds.is_finite() && *seconds > 0.0).map(|seconds| {
            let life = Span((seconds.min(1e9) * 1e6) as i64);
            now.plus(Span(life.micros() - RENEW_BEFORE.micros().min(life.micros() / 10)))
        });
        let secret = grant.access_token.clone();
        *self.token.lock().await = Some(Token { secret: grant.access_token, renew_at });
        secret
    }

    /// Forgets the token, unless it is another one already.
    pub(super) async fn forget(&self, used: &Secret) {
        let mut token = self.token.lock().await;
        if token.as_ref().is_some_and(|token| token.secret == *used) {
            *token = None;
        }
    }
}

impl Auth {
    /// Puts a key into the address, where that is its place.
    pub(super) fn address(&self, url: &Url) -> Url {
        let mut url = url.clone();
        if let Self::Query { name, key } = self {
            url.query_pairs_mut().append_pair(name, key.expose());
        }
        url
    }

    /// A server's words without the secrets that it may have repeated.
    pub(super) fn masked(&self, text: String) -> String {
        let secret = match self {
            Self::None => return text,
            Self::Bearer(secret) | Self::Query { key: secret, .. } => secret,
            Self::ClientCredentials(application) => &application.client_secret,
        };
        if secret.is_empty() { text } else { text.replace(secret.expose(), "…") }
    }

    /// Puts a token into the request; `token` is that of the application.
    pub(super) fn sign(&self, request: RequestBuilder, token: Option<&Secret>) -> RequestBuilder {
        match (self, token) {
            (Self::Bearer(token), _) | (Self::ClientCredentials(_), Some(token)) => request.bearer_auth(token.expose()),
            _ => request,
        }
    }
}
