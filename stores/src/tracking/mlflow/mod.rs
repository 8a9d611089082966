//! An `MLflow` tracking server, over its REST API (`/api/2.0/mlflow`, version 2 and 3 of the server).
//!
//! A run is found again by the tag [`KEY_TAG`], so that a restart, and a request whose answer was lost, go on with the run
//! that is there. Figures are logged in batches, which the server takes twice without counting them twice. Artifacts go
//! through the server's proxy (`mlflow server --serve-artifacts`, its default): nothing here knows the store behind it.
//!
//! Every request has a time limit and a bounded number of attempts; every answer a bounded size.

mod server;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value as Json, json};
use tideline_common::ports::{PortError, PortResult, RunEnd, RunHandle, TrackedMetrics, TrackedRun, Tracking};
use tideline_common::time::Timestamp;

use server::Server;

/// The tag that names a run for ever.
pub const KEY_TAG: &str = "tideline.key";

/// What the server takes at a time (`mlflow/utils/validation.py`).
const METRICS_PER_BATCH: usize = 1000;
const PARAMS_PER_BATCH: usize = 100;
/// Runs of one key that are looked at: all but one have ended.
const RUNS_MAX: u32 = 50;

/// How an `MLflow` server is reached.
#[derive(Clone, PartialEq, Eq)]
pub struct MlflowConfig {
    /// `http://HOST:PORT` or `https://…`, with the prefix it is served under, if any.
    pub url: String,
    /// User, for servers that ask for one.
    pub user: Option<String>,
    /// Password of the user.
    pub password: Option<String>,
    /// Bearer token, instead of user and password.
    pub token: Option<String>,
    /// Time limit of one attempt.
    pub timeout: Duration,
    /// Attempts of a request before it fails; at least one.
    pub attempts: u32,
    /// Wait before the second attempt; doubled each time, at most ten seconds.
    pub retry_wait: Duration,
}

impl MlflowConfig {
    /// The server at `url`, without credentials: ten seconds an attempt, three attempts.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            user: None,
            password: None,
            token: None,
            timeout: Duration::from_secs(10),
            attempts: 3,
            retry_wait: Duration::from_millis(250),
        }
    }
}

impl std::fmt::Debug for MlflowConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let secret = |secret: &Option<String>| secret.as_ref().map(|_| "***");
        f.debug_struct("MlflowConfig")
            .field("url", &self.url)
            .field("user", &self.user)
            .field("password", &secret(&self.password))
            .field("token", &secret(&self.token))
            .field("timeout", &self.timeout)
            .field("attempts", &self.attempts)
            .field("retry_wait", &self.retry_wait)
            .finish()
    }
}

/// An `MLflow` tracking server.
#[derive(Debug)]
pub struct Mlflow {
    server: Server,
}

impl Mlflow {
    /// A server. Nothing is sent before the first call.
    ///
    /// # Errors
    /// When the address is none, or there is no TLS.
    pub fn new(config: &MlflowConfig) -> PortResult<Self> {
        Ok(Self { server: Server::new(config)? })
    }

    /// The id of an experiment, which is made if it is not there.
    async fn experiment(&self, name: &str) -> PortResult<String> {
        let what = || format!("experiment `{name}`");
        if let Some(id) = self.find_experiment(name).await? {
            return Ok(id);
        }
        match self.server.post(&what(), "experiments/create", &json!({ "name": name })).await {
            Ok(answer) => text(&what(), &answer, &["experiment_id"]),
            // Another process, or an attempt whose answer was lost, was faster.
            Err(error @ PortError::Invalid { .. }) => self.find_experiment(name).await?.ok_or(error),
            Err(error) => Err(error),
        }
    }

    async fn find_experiment(&self, name: &str) -> PortResult<Option<String>> {
        let what = format!("experiment `{name}`");
        let query = [("experiment_name", name)];
        let answer = match self.server.get(&what, "experiments/get-by-name", &query).await {
            Ok(answer) => answer,
            Err(PortError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        if answer["experiment"]["lifecycle_stage"] == "deleted" {
            return Err(PortError::invalid(
                format!("MLflow ({what})"),
                "it is deleted: restore it, or take another name",
            ));
        }
        text(&what, &answer, &["experiment", "experiment_id"]).map(Some)
    }

    /// The run of a key that has not ended.
    async fn find_run(&self, experiment: &str, key: &str) -> PortResult<Option<Json>> {
        // A text of the filter may be in either quotes, and knows no other way to hold one.
        let quote = match (key.contains('\''), key.contains('"')) {
            (false, _) => '\'',
            (true, false) => '"',
            (true, true) => {
                return Err(PortError::invalid("MLflow (run)", format!("the key `{key}` has quotes of both kinds")));
            }
        };
        let search = json!({
            "experiment_ids": [experiment],
            "filter": format!("tags.`{KEY_TAG}` = {quote}{key}{quote} AND attributes.status = 'RUNNING'"),
            "max_results": RUNS_MAX,
            "order_by": ["attributes.start_time ASC"],
        });
        let mut answer = self.server.post(&format!("run `{key}`"), "runs/search", &search).await?;
        let runs = answer["runs"].as_array_mut().map(std::mem::take).unwrap_or_default();
        // Comparison of texts may be loose in some databases.
        let is_it = |run: &Json| {
            let tags = run["data"]["tags"].as_array();
            tags.is_some_and(|tags| tags.iter().any(|tag| tag["key"] == KEY_TAG && tag["value"] == key))
        };
        Ok(runs.into_iter().find(is_it))
    }

    async fn create_run(&self, experiment: &str, run: &TrackedRun) -> PortResult<Json> {
        let what = format!("run `{}`", run.key);
        let body = json!({
            "experiment_id": experiment,
            "run_name": run.name,
            "start_time": millis(run.started),
            "tags": [{ "key": KEY_TAG, "value": run.key }, { "key": "mlflow.source.name", "value": "tideline" }],
        });
        // Once only: an attempt whose answer was lost may have made it.
        match self.server.once(&what, "runs/create", &body).await {
            Ok(mut answer) => Ok(answer["run"].take()),
            Err(error) if error.is_retryable() => match self.find_run(experiment, &run.key).await? {
                Some(found) => Ok(found),
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Tracking for Mlflow {
    async fn open(&self, run: &TrackedRun) -> PortResult<RunHandle> {
        let experiment = self.experiment(&run.experiment).await?;
        let there = match self.find_run(&experiment, &run.key).await? {
            Some(found) => found,
            None => self.create_run(&experiment, run).await?,
        };
        let what = format!("run `{}`", run.key);
        let id = text(&what, &there, &["info", "run_id"])?;
        let artifacts = text(&what, &there, &["info", "artifact_uri"])?;
        // The same values again are no change; other ones are refused by the server, which says so.
        for params in run.params.chunks(PARAMS_PER_BATCH) {
            let params: Vec<Json> = params.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
            let body = json!({ "run_id": id, "params": params });
            self.server.post(&format!("params of {what}"), "runs/log-batch", &body).await?;
        }
        Ok(RunHandle { id, artifacts })
    }

    async fn log(&self, run: &RunHandle, metrics: &TrackedMetrics) -> PortResult<()> {
        let figures: Vec<&(String, f64)> = metrics.figures.iter().filter(|(_, figure)| figure.is_finite()).collect();
        for figures in figures.chunks(METRICS_PER_BATCH) {
            let figures: Vec<Json> = figures
                .iter()
                .map(|(key, value)| {
                    json!({ "key": key, "value": value, "timestamp": millis(metrics.at), "step": metrics.step })
                })
                .collect();
            let body = json!({ "run_id": run.id, "metrics": figures });
            self.server.post(&format!("metrics of run {}", run.id), "runs/log-batch", &body).await?;
        }
        Ok(())
    }

    async fn upload(&self, run: &RunHandle, path: &str, bytes: Bytes) -> PortResult<()> {
        let what = format!("artifact `{path}` of run {}", run.id);
        let place = artifact_path(&run.artifacts, path).map_err(|reason| PortError::invalid(&what, reason))?;
        self.server.put(&what, &place, bytes).await
    }

    async fn finish(&self, run: &RunHandle, end: RunEnd, at: Timestamp) -> PortResult<()> {
        let status = match end {
            RunEnd::Finished => "FINISHED",
            RunEnd::Failed => "FAILED",
        };
        let body = json!({ "run_id": run.id, "status": status, "end_time": millis(at) });
        self.server.post(&format!("end of run {}", run.id), "runs/update", &body).await?;
        Ok(())
    }
}

const fn millis(time: Timestamp) -> i64 {
    time.0.div_euclid(1_000)
}

/// A text in an answer, which must be there.
fn text(what: &str, answer: &Json, path: &[&str]) -> PortResult<String> {
    let found = path.iter().fold(answer, |json, name| &json[*name]);
    let missing = || PortError::corrupt(format!("MLflow ({what})"), format!("the answer has no `{}`", path.join(".")));
    found.as_str().map(str::to_owned).ok_or_else(missing)
}

/// Where the proxy takes an artifact: below the folder of the run, as the server names it.
fn artifact_path(folder: &str, path: &str) -> Result<String, String> {
    let Some(rest) = folder.strip_prefix("mlflow-artifacts:") else {
        return Err(format!("artifacts lie in {folder}, not behind the server: start it with --serve-artifacts"));
    };
    // With a host, mlflow-artifacts://HOST:PORT/…, it is this server all the same.
    let rest = match rest.strip_prefix("//") {
        Some(rest) => rest.split_once('/').map_or("", |(_, path)| path),
        None => rest,
    };
    let plain = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
            && !part.starts_with('.')
    };
    let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).chain(path.split('/')).collect();
    match parts.iter().find(|part| !plain(part)) {
        Some(part) => Err(format!("`{part}` is not a plain name: letters, digits, `.`, `_` and `-`")),
        None => Ok(parts.join("/")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn artifacts_stay_below_their_run() {
        assert_eq!(
            artifact_path("mlflow-artifacts:/7/ab12/artifacts", "model/v1.json").unwrap(),
            "7/ab12/artifacts/model/v1.json"
        );
        assert_eq!(artifact_path("mlflow-artifacts://host:5000/7/ab/artifacts", "m").unwrap(), "7/ab/artifacts/m");
        for path in ["", "..", "a/../b", "/a", "a//b", "a b", "a?b", ".hidden", "é"] {
            assert!(artifact_path("mlflow-artifacts:/7/ab/artifacts", path).is_err(), "{path}");
        }
        assert!(artifact_path("s3://bucket/7", "m").unwrap_err().contains("--serve-artifacts"));
    }

    #[test]
    fn secrets_are_not_shown() {
        let config =
            MlflowConfig { password: Some("hush".into()), token: Some("hush".into()), ..MlflowConfig::new("http://h") };
        assert!(!format!("{config:?}").contains("hush"));
        assert!(!format!("{:?}", Mlflow::new(&config).unwrap()).contains("hush"));
    }

    #[test]
    fn addresses_are_checked() {
        for url in ["", "h:5000", "ftp://h", "http://", "http://user:hush@h:5000", "http://h?x"] {
            let error = Mlflow::new(&MlflowConfig::new(url)).unwrap_err();
            assert!(matches!(error, PortError::Invalid { .. }), "{url}: {error:?}");
            assert!(!error.to_string().contains("hush"));
        }
    }
}
