//! `[tracking]`: the tracker of experiments that is told how models are doing.

use serde::Deserialize;
use tideline_common::time::Span;

use super::span;

/// `[tracking]`
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrackingConfig {
    /// Which tracker of experiments is told how models are doing; none when absent.
    pub kind: Option<TrackingKind>,
    /// `MLflow`: address of the server.
    pub url: String,
    /// The experiment.
    pub experiment: String,
    /// `MLflow`: user; none when absent.
    pub user: Option<String>,
    /// `MLflow`: the user's password.
    pub password: Option<String>,
    /// `MLflow`: bearer token, instead of user and password.
    pub token: Option<String>,
    /// Compared predictions of a version from one entry to the next.
    pub every: u64,
    /// How long one attempt of a request may take.
    #[serde(deserialize_with = "span")]
    pub timeout: Span,
}

impl Default for TrackingConfig {
    fn default() -> Self {
        Self {
            kind: None,
            url: "http://127.0.0.1:5000".to_owned(),
            experiment: "tideline".to_owned(),
            user: None,
            password: None,
            token: None,
            every: 100,
            timeout: Span::from_secs(10),
        }
    }
}

// By hand: password and token are never printed.
impl std::fmt::Debug for TrackingConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrackingConfig")
            .field("kind", &self.kind)
            .field("url", &self.url)
            .field("experiment", &self.experiment)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl TrackingConfig {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.experiment.trim().is_empty() {
            return Err("tracking.experiment must not be empty".to_owned());
        }
        // An empty one is none: it comes from a variable that is not set.
        let set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        if set(&self.user) != set(&self.password) {
            return Err("tracking.user and tracking.password belong together".to_owned());
        }
        if set(&self.user) && set(&self.token) {
            return Err("tracking.token is instead of tracking.user and tracking.password".to_owned());
        }
        if !(1..=1_000_000).contains(&self.every) {
            return Err("tracking.every must be from 1 to 1000000".to_owned());
        }
        if self.timeout < Span::from_millis(100) || self.timeout > Span::from_secs(120) {
            return Err("tracking.timeout must be between 100 ms and 2 min".to_owned());
        }
        Ok(())
    }
}

/// Kinds of trackers of experiments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrackingKind {
    /// `MLflow`.
    Mlflow,
}
