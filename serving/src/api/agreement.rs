//! `/v1/agreement`: do the layers agree? Compared when asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::problem::{ApiResult, Problem};
use super::query::Query;
use super::{Api, json};

/// A key and pane on which the layers differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// Values of the key, as text.
    pub key: Vec<String>,
    /// Start of the pane, RFC 3339.
    pub pane: String,
    /// Why they differ: `late`, `expired`, `duplicate`, `not_yet`, or `unexplained`.
    pub because: String,
    /// The first state that differs; `None` when one side lacks the group.
    pub field: Option<String>,
    /// The speed layer's state; `None` when it lacks the group.
    pub speed: Option<String>,
    /// Batch's state; `None` when it lacks the group.
    pub batch: Option<String>,
}

/// How far the layers agree on one view. Counts are of (key, pane) groups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewAgreement {
    /// Panes that end at or before this were compared, RFC 3339; `None`: none were.
    pub through: Option<String>,
    /// Why nothing was compared.
    pub skipped: Option<String>,
    /// Groups that either layer has.
    pub compared: u64,
    /// … on which both agree.
    pub equal: u64,
    /// Differences: the speed layer left late records to batch.
    pub late: u64,
    /// Differences: speed rows outlived their time to live.
    pub expired: u64,
    /// Differences: a duplicate came from another partition than its first copy.
    pub duplicate: u64,
    /// Differences: the layers stand at different positions.
    pub not_yet: u64,
    /// Differences that nothing explains.
    pub unexplained: u64,
    /// Some of the differences, unexplained ones first.
    pub examples: Vec<Example>,
}

/// How far the layers agree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreement {
    /// The version of batch that was compared; 0: nothing is published yet.
    pub version: u64,
    /// When the comparison began, RFC 3339.
    pub at: String,
    /// Differences that nothing explains, over all views.
    pub unexplained: u64,
    /// By view.
    pub views: BTreeMap<String, ViewAgreement>,
}

/// A comparison that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the layers cannot be compared now")]
pub struct CompareError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Compares what the speed layer served with what batch computed.
#[async_trait]
pub trait AgreementSource: Send + Sync + std::fmt::Debug {
    /// Compares now. Dropping the future gives up.
    async fn compare(&self) -> Result<Agreement, CompareError>;
}

/// Compares now. It reads all of Gold: one request at a time does, others wait for their turn, for a while.
pub(crate) async fn compare(State(api): State<Api>, uri: Uri) -> ApiResult<Response> {
    Query::of(&uri).done()?;
    let source = api
        .agreement
        .as_ref()
        .map(Arc::clone)
        .ok_or_else(|| Problem::new("unavailable", "this process has not both layers: ask the one that has"))?;
    let turn = tokio::time::timeout(api.config.compare_wait, Arc::clone(&api.comparing).acquire_owned()).await;
    let Ok(Ok(_turn)) = turn else {
        return Err(Problem::new("overloaded", "another comparison is at work: come again").retry_after(10));
    };
    match tokio::time::timeout(api.config.compare_timeout, source.compare()).await {
        Ok(Ok(agreement)) => json(agreement, 0).await,
        Ok(Err(CompareError(source))) => {
            tracing::warn!(error = %source, "the layers could not be compared");
            Err(Problem::new("unavailable", "the layers cannot be compared now"))
        }
        Err(_) => {
            let detail = format!("the comparison was given up after {} s", api.config.compare_timeout.as_secs_f64());
            Err(Problem::new("timeout", detail).retry_after(60))
        }
    }
}
