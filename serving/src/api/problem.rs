//! Problem documents (RFC 9457): what an error looks like to a caller.

use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::error::QueryError;

/// The media type of problem documents.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Every kind of problem: slug (the end of `type`), status, title. Nothing else is answered.
pub const KINDS: &[(&str, u16, &str)] = &[
    ("invalid-parameter", 400, "A parameter makes no sense"),
    ("unknown-parameter", 400, "There is no such parameter"),
    ("invalid-body", 400, "The body cannot be read"),
    ("unknown-frame", 400, "The socket takes no such frame"),
    ("token-missing", 401, "A token is needed"),
    ("token-invalid", 401, "The token is not accepted"),
    ("scope-missing", 403, "The token does not allow this"),
    ("forbidden-origin", 403, "Pages of this origin may not connect"),
    ("unknown-view", 404, "There is no such view"),
    ("unknown-lookup", 404, "There is no such lookup"),
    ("unknown-report", 404, "There is no such report"),
    ("unknown-prediction", 404, "There is no such prediction"),
    ("unknown-topic", 404, "There is no such topic"),
    ("unknown-output", 404, "There is no such output of rows"),
    ("unknown-alert", 404, "There is no such alert"),
    ("unknown-run", 404, "There is no such batch run"),
    ("unknown-path", 404, "There is nothing at this path"),
    ("not-published", 404, "Not published yet"),
    ("method-not-allowed", 405, "This path does not have this method"),
    ("body-timeout", 408, "The body came too slowly"),
    ("run-in-progress", 409, "Another batch run is at work"),
    ("record-too-large", 413, "A record is too large"),
    ("body-too-large", 413, "The body is too large"),
    ("unsupported-encoding", 415, "The body's encoding is not supported"),
    ("too-much-work", 422, "The query needs too much work"),
    ("upgrade-required", 426, "This is a WebSocket"),
    ("request-refused", 400, "The request was refused"),
    ("internal", 500, "Something failed inside"),
    ("no-batch-layer", 501, "This process has no batch layer"),
    ("unavailable", 503, "Not available now"),
    ("full", 503, "There is no room now"),
    ("overloaded", 503, "Too many requests at once"),
    ("timeout", 503, "It took too long"),
];

/// A problem document.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Problem(Box<Document>);

#[derive(Clone, Debug, Serialize)]
struct Document {
    /// `urn:tideline:problem:` and the kind.
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    view: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suggestion: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    known: Option<Vec<String>>,
    #[serde(skip)]
    retry_after_secs: Option<u32>,
    #[serde(skip)]
    challenge: Option<String>,
}

impl Problem {
    /// A problem of one of [`KINDS`]; any other kind is `internal`.
    pub fn new(kind: &str, detail: impl Into<String>) -> Self {
        let (kind, status, title) = KINDS.iter().find(|(slug, ..)| *slug == kind).copied().unwrap_or((
            "internal",
            500,
            "Something failed inside",
        ));
        Self(Box::new(Document {
            kind: format!("urn:tideline:problem:{kind}"),
            title,
            status,
            detail: detail.into(),
            instance: None,
            parameter: None,
            view: None,
            line: None,
            suggestion: None,
            known: None,
            retry_after_secs: (status == 503).then_some(1),
            challenge: None,
        }))
    }

    /// Says which parameter it is about.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>) -> Self {
        self.0.parameter = Some(name.into());
        self
    }

    /// Says which view it is about, where that is not asked for alone.
    #[must_use]
    pub fn view(mut self, name: impl Into<String>) -> Self {
        self.0.view = Some(name.into());
        self
    }

    /// Says which line of the body it is about, counted from 1.
    #[must_use]
    pub fn line(mut self, line: u64) -> Self {
        self.0.line = Some(line);
        self
    }

    /// Says what there is instead.
    #[must_use]
    pub fn known(mut self, known: Vec<String>, suggestion: Option<String>) -> Self {
        (self.0.known, self.0.suggestion) = (Some(known), suggestion);
        self
    }

    /// Says which request it answers.
    #[must_use]
    pub fn instance(mut self, uri: &Uri) -> Self {
        self.0.instance = Some(uri.path().to_owned());
        self
    }

    /// Says when to come again, where that is not in a second.
    #[must_use]
    pub fn retry_after(mut self, secs: u32) -> Self {
        self.0.retry_after_secs = Some(secs);
        self
    }

    /// Says what kind of token is asked for (`WWW-Authenticate`).
    #[must_use]
    pub(crate) fn challenge(mut self, challenge: impl Into<String>) -> Self {
        self.0.challenge = Some(challenge.into());
        self
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// Put into the extensions of a problem's response, so that the middleware can complete it.
#[derive(Clone, Debug)]
pub(crate) struct Carried(pub(crate) Problem);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (self.status(), [(header::CONTENT_TYPE, PROBLEM_JSON)], body).into_response();
        if let Some(secs) = self.0.retry_after_secs {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(secs));
        }
        if let Some(challenge) = self.0.challenge.as_ref().and_then(|text| HeaderValue::from_str(text).ok()) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        if self.status() == StatusCode::UPGRADE_REQUIRED {
            response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        response.extensions_mut().insert(Carried(self));
        response
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        Self::from(&error)
    }
}

impl From<&QueryError> for Problem {
    fn from(error: &QueryError) -> Self {
        let text = error.to_string();
        match error {
            QueryError::Unknown { thing, suggestion, known, .. } => {
                Self::new(&format!("unknown-{thing}"), text).known(known.clone(), suggestion.clone())
            }
            QueryError::Parameter { parameter, message } => {
                Self::new("invalid-parameter", format!("`{parameter}` {message}")).parameter(parameter)
            }
            QueryError::TooMuch { .. } => Self::new("too-much-work", text),
            QueryError::NotPublished { .. } => Self::new("not-published", text),
            QueryError::Unavailable { .. } => Self::new("unavailable", text),
            QueryError::Timeout { .. } => Self::new("timeout", text),
            QueryError::Internal { what, source } => {
                tracing::error!(error = %source, what, "a query failed inside");
                Self::new("internal", "the failure has been logged")
            }
        }
    }
}

/// What handlers answer.
pub type ApiResult<T> = Result<T, Problem>;
