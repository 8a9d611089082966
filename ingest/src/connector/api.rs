//! One API over HTTP: who is asking, how often, how long to wait, and what to do when it does not answer as it should.

use std::error::Error as _;
use std::time::Duration;

use metrics::{counter, histogram};
use parking_lot::Mutex;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use tideline_common::time::{Span, Timestamp};
use tokio::sync::Notify;

use super::auth::{Auth, ClientCredentials, Grant};
use super::backoff::Backoff;
use super::budget::{Budget, Rate};
use super::error::{FetchError, Next};
use super::limits;
use super::secret::Secret;
use super::status::StatusCell;
use super::time::Time;

/// Bounds of an API's use.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Name of the connector: for metrics and logs.
    pub name: String,
    /// Who is asking, in words: `User-Agent`.
    pub user_agent: String,
    /// From the beginning of a request to the end of its answer.
    pub timeout: Span,
    /// The longest answer, in bytes.
    pub max_body_bytes: usize,
    /// The stated budget.
    pub rate: Option<Rate>,
    /// First wait before another attempt; it doubles. None when zero.
    pub retry_initial: Span,
    /// Longest wait before another attempt, unless the server says that it wants a longer one.
    pub retry_max: Span,
    /// Attempts at one request, the first one included.
    pub attempts: u32,
}

/// What an API says in ways of its own, beside its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Too many requests; ask again after this time, or after a backoff when it is not told.
    Limited(Option<Span>),
    /// Whoever asks is not accepted.
    Credentials,
}

/// Reads an answer that is no success for what its status does not say; `None`: the status says it all.
pub type Reading = fn(StatusCode, &HeaderMap, &[u8]) -> Option<Verdict>;

/// An API.
#[derive(Debug)]
pub struct Api {
    client: Client,
    auth: Auth,
    config: ApiConfig,
    budget: Mutex<Budget>,
    backoff: Backoff,
    time: Time,
    reading: Reading,
    /// Where holds are shown.
    status: Option<StatusCell>,
    /// Somebody begins to wait for the end of a hold.
    waiting: Notify,
}

/// An attempt that failed.
struct Failed {
    error: FetchError,
    next: Next,
    /// The token that it was made with.
    token: Option<Secret>,
}

/// As much of a refusal's text as goes into messages.
const DETAIL_CHARS: usize = 300;
/// Bytes that are read of an answer that is no success.
const REFUSAL_BYTES: usize = 64 << 10;
/// Until there is a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

impl Api {
    /// An API that is asked as `config` says.
    ///
    /// # Errors
    /// When there can be no HTTP client: a user agent that no header can hold, no TLS.
    pub fn new(config: ApiConfig, auth: Auth, time: Time, reading: Reading) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .user_agent(&config.user_agent)
            .connect_timeout(CONNECT_TIMEOUT.min(config.timeout.to_std()))
            .timeout(config.timeout.to_std())
            // Credentials go nowhere but where the configuration says.
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let now = time.now();
        let budget = Mutex::new(Budget::new(config.rate, now));
        // Two connectors that fail together must not come back together.
        let seed = config.name.bytes().fold(now.micros() as u64, |seed, byte| seed.rotate_left(7) ^ u64::from(byte));
        let backoff = Backoff::new(config.retry_initial, config.retry_max, seed);
        Ok(Self { client, auth, config, budget, backoff, time, reading, status: None, waiting: Notify::new() })
    }

    /// The time as the API's user sees it.
    pub fn now(&self) -> Timestamp {
        self.time.now()
    }

    /// Shows in `status` from now on until when the server holds it.
    pub(super) fn show_in(&mut self, status: StatusCell) {
        self.status = Some(status);
    }

    /// Until when nothing is asked for because the server said so; `None` when that is over.
    pub fn held_until(&self) -> Option<Timestamp> {
        self.budget.lock().held_until(self.time.now())
    }

    /// No request before `until`, which is a day from now at most: the server has said so, or had said so to whoever asked
    /// before.
    pub(super) fn hold(&self, until: Timestamp) {
        let now = self.time.now();
        self.budget.lock().hold(until.min(now.plus(limits::HOLD_MAX)), now);
        self.show();
    }

    /// Until a request begins to wait because the server said so.
    pub(super) async fn held_up(&self) {
        self.waiting.notified().await;
    }

    fn show(&self) {
        let Some(status) = &self.status else { return };
        let held_until = self.held_until();
        status.change(|status| {
            status.held_until = held_until;
            // A poll that is held up goes on then; it may be the one that was due.
            status.next_poll = status.next_poll.max(held_until);
        });
    }

    /// GET, decoded. What may pass is waited for and tried again, up to the bound of attempts.
    ///
    /// # Errors
    /// What did not pass: the last attempt's error.
    pub async fn get<T: DeserializeOwned>(&self, url: &Url) -> Result<T, FetchError> {
        let mut failures = 0;
        let mut renewed = false;
        loop {
            let Failed { error, next, token } = match self.attempt(url).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            counter!("tideline_connector_request_errors_total", "connector" => self.config.name.clone(), "kind" => error.kind())
                .increment(1);
            failures += 1;
            // A new token is no new attempt at the server's patience, but one is enough.
            if next == Next::Renew
                && !renewed
                && let (Auth::ClientCredentials(application), Some(used)) = (&self.auth, &token)
            {
                tracing::info!(
                    connector = self.config.name,
                    "the API does not take the token any more; getting another"
                );
                application.forget(used).await;
                renewed = true;
                continue;
            }
            let wait = match next {
                Next::Renew | Next::GiveUp => return Err(error),
                Next::After(span) => span,
                Next::Backoff => self.backoff.wait(failures),
            };
            if failures >= self.config.attempts {
                // Whoever comes next waits as the server said.
                if let Next::After(span) = next {
                    self.hold(self.time.now().plus(span));
                }
                return Err(error);
            }
            tracing::warn!(connector = self.config.name, %error, failures, %wait, "an API did not answer as it should; trying again");
            match next {
                // In the budget, so that a status shows it.
                Next::After(span) => self.hold(self.time.now().plus(span)),
                _ => self.time.pause(wait).await,
            }
        }
    }

    async fn attempt<T: DeserializeOwned>(&self, url: &Url) -> Result<T, Failed> {
        let token = match &self.auth {
            Auth::ClientCredentials(application) => Some(self.token(application).await?),
            _ => None,
        };
        let request = self.client.get(self.auth.address(url)).header(ACCEPT, "application/json");
        let body = self.send(url, self.auth.sign(request, token.as_ref())).await.map_err(|mut failed| {
            failed.token.clone_from(&token);
            failed
        })?;
        decode(url, &body)
    }

    /// The application's token; another one when there is none that holds.
    async fn token(&self, application: &ClientCredentials) -> Result<Secret, Failed> {
        if let Some(token) = application.token(self.time.now()).await {
            return Ok(token);
        }
        let url = &application.token_url;
        let request = self
            .client
            .post(url.clone())
            .basic_auth(&application.client_id, Some(application.client_secret.expose()))
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body("grant_type=client_credentials");
        let body = self.send(url, request).await.map_err(|failed| match failed.error {
            // RFC 6749 §5.2: 400 with `invalid_client` and the like; there is no token to renew a token with.
            FetchError::Refused { url, status, detail } => {
                Failed { error: FetchError::Credentials { url, status, detail }, next: Next::GiveUp, token: None }
            }
            error @ FetchError::Credentials { .. } => Failed { error, next: Next::GiveUp, token: None },
            error => Failed { error, ..failed },
        })?;
        let grant: Grant = decode(url, &body)?;
        tracing::info!(connector = self.config.name, "got an access token");
        Ok(application.keep(grant, self.time.now()).await)
    }

    /// Sends one request when the budget allows, and reads its answer.
    async fn send(&self, url: &Url, request: RequestBuilder) -> Result<Vec<u8>, Failed> {
        loop {
            let wait = match self.budget.lock().take(self.time.now()) {
                Ok(()) => break,
                Err(wait) => wait,
            };
            if self.held_until().is_some() {
                self.waiting.notify_one();
            }
            self.time.pause(wait).await;
            // It may be over.
            self.show();
        }
        let begun = self.time.now();
        let answered = request.send().await;
        let result = match answered {
            Ok(response) => self.read(url, response).await,
            Err(error) => Err(connection(url, error)),
        };
        let seconds = self.time.now().since(begun).micros() as f64 / 1e6;
        histogram!("tideline_connector_request_seconds", "connector" => self.config.name.clone()).record(seconds);
        result
    }

    async fn read(&self, url: &Url, response: Response) -> Result<Vec<u8>, Failed> {
        let (status, headers) = (response.status(), response.headers().clone());
        let told = limits::hold(&headers, self.time.now());
        if let Some(until) = told {
            self.hold(until);
        }
        if status.is_success() {
            return body(url, response, self.config.max_body_bytes, false).await;
        }
        // Of a refusal as much as comes; it is for messages.
        let said = body(url, response, REFUSAL_BYTES, true).await.unwrap_or_default();
        let (address, status_code, detail) = (bare(url), status.as_u16(), self.auth.masked(detail(&said)));
        let limited = |wait: Option<Span>| {
            let error = FetchError::RateLimited { url: bare(url), status: status_code, detail: detail.clone() };
            let now = self.time.now();
            let wait = wait.or_else(|| told.or_else(|| limits::reset(&headers, now)).map(|until| until.since(now)));
            Failed { error, next: wait.map_or(Next::Backoff, Next::After), token: None }
        };
        match (self.reading)(status, &headers, &said) {
            Some(Verdict::Limited(wait)) => return Err(limited(wait)),
            Some(Verdict::Credentials) => {
                let error = FetchError::Credentials { url: address, status: status_code, detail };
                return Err(Failed { error, next: Next::Renew, token: None });
            }
            None => {}
        }
        let again = told.map_or(Next::Backoff, |until| Next::After(until.since(self.time.now())));
        Err(match status {
            StatusCode::TOO_MANY_REQUESTS => limited(None),
            StatusCode::UNAUTHORIZED => {
                let error = FetchError::Credentials { url: address, status: status_code, detail };
                Failed { error, next: Next::Renew, token: None }
            }
            StatusCode::REQUEST_TIMEOUT => {
                let error = FetchError::Server { url: address, status: status_code, detail };
                Failed { error, next: again, token: None }
            }
            status if status.is_server_error() => {
                let error = FetchError::Server { url: address, status: status_code, detail };
                Failed { error, next: again, token: None }
            }
            _ => {
                let error = FetchError::Refused { url: address, status: status_code, detail };
                Failed { error, next: Next::GiveUp, token: None }
            }
        })
    }
}

/// An address without its query.
fn bare(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.into()
}

fn connection(url: &Url, error: reqwest::Error) -> Failed {
    let error = error.without_url();
    let mut reason = if error.is_timeout() { "no answer in time".to_owned() } else { error.to_string() };
    // What reqwest says itself is seldom what is wrong.
    let mut source = error.source();
    while let Some(cause) = source {
        reason = format!("{reason}: {cause}");
        source = cause.source();
    }
    Failed { error: FetchError::Connection { url: bare(url), reason }, next: Next::Backoff, token: None }
}

/// Reads a body of at most `max` bytes; a longer one is cut, or an error.
async fn body(url: &Url, mut response: Response, max: usize, cut: bool) -> Result<Vec<u8>, Failed> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| connection(url, error))? {
        if body.len() + chunk.len() > max {
            if cut {
                body.extend_from_slice(&chunk[..max - body.len()]);
                return Ok(body);
            }
            let error = FetchError::TooLarge { url: bare(url), max };
            return Err(Failed { error, next: Next::GiveUp, token: None });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn decode<T: DeserializeOwned>(url: &Url, body: &[u8]) -> Result<T, Failed> {
    serde_json::from_slice(body).map_err(|error| {
        // A proxy's page, an answer that was cut: it may be another one next time.
        let error = FetchError::Malformed { url: bare(url), reason: error.to_string() };
        Failed { error, next: Next::Backoff, token: None }
    })
}

/// What a server said, on one line and shortened, with `: ` before it.
fn detail(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut detail: String = line.chars().take(DETAIL_CHARS).collect();
    if line.chars().nth(DETAIL_CHARS).is_some() {
        detail.push('…');
    }
    if detail.is_empty() { detail } else { format!(": {detail}") }
}
