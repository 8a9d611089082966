//! Do the layers agree? Compared on demand and after every published version, one comparison at a time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::{Value as Json, json};
use tideline_batch::reconcile::Agreement;
use tideline_batch::{BatchError, BatchLayer};
use tideline_common::ports::{Clock, SpeedViews};
use tideline_common::time::Timestamp;
use tideline_serving::api::agreement::{self as answer, AgreementSource, CompareError};
use tokio_util::sync::CancellationToken;

/// A comparison after a run that takes longer is given up.
const COMPARISON_MAX: Duration = Duration::from_mins(15);
/// After a comparison by itself the process rests for so many times its length: comparing reads all of Gold, and
/// must not be what the process does for most of the time.
const REST_FACTOR: u32 = 4;
/// The longest rest.
const REST_MAX: Duration = Duration::from_mins(15);
/// Examples of unexplained differences in the log, per view and comparison.
const LOGGED_EXAMPLES: usize = 3;

/// Compares the layers of one process, and remembers what came of it.
#[derive(Debug)]
pub struct Agreements {
    batch: Arc<BatchLayer>,
    views: Arc<dyn SpeedViews>,
    clock: Arc<dyn Clock>,
    /// Held by the comparison at work.
    gate: tokio::sync::Mutex<()>,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    agreement: Option<Agreement>,
    failed_at: Option<Timestamp>,
}

impl Agreements {
    /// Nothing is compared yet.
    pub fn new(batch: Arc<BatchLayer>, views: Arc<dyn SpeedViews>, clock: Arc<dyn Clock>) -> Self {
        Self { batch, views, clock, gate: tokio::sync::Mutex::default(), last: Mutex::default() }
    }

    /// Compares now, after the comparison at work if there is one.
    ///
    /// # Errors
    /// A store that fails. Differences are no error.
    pub async fn compare(&self) -> Result<Agreement, BatchError> {
        let _gate = self.gate.lock().await;
        let result = self.batch.reconcile(self.views.as_ref()).await;
        let outcome = match &result {
            Ok(agreement) => {
                report(agreement);
                let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
                *last = Last { agreement: Some(agreement.clone()), failed_at: None };
                if agreement.unexplained() == 0 { "agreed" } else { "disagreed" }
            }
            Err(BatchError::Cancelled) => "cancelled",
            Err(_) => {
                self.last.lock().unwrap_or_else(PoisonError::into_inner).failed_at = Some(self.clock.now());
                "failed"
            }
        };
        metrics::counter!("tideline_agreement_comparisons_total", "outcome" => outcome).increment(1);
        result
    }

    /// What the last comparison found, without examples: part of `/v1/status`. `null` before the first.
    pub fn summary(&self) -> Json {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let failed_at = last.failed_at.map(|at| at.to_string());
        let Some(agreement) = &last.agreement else {
            return failed_at.map_or(Json::Null, |at| json!({ "failed_at": at }));
        };
        let views: serde_json::Map<String, Json> = agreement
            .views
            .iter()
            .map(|(view, found)| {
                let counts = json!({
                    "through": found.through.map(|at| at.to_string()),
                    "compared": found.compared,
                    "equal": found.equal,
                    "explained": found.late + found.expired + found.duplicate + found.not_yet,
                    "unexplained": found.unexplained,
                });
                (view.clone(), counts)
            })
            .collect();
        json!({
            "version": agreement.version,
            "at": agreement.at.to_string(),
            "unexplained": agreement.unexplained(),
            "views": views,
            // A later comparison that could not be made.
            "failed_at": failed_at,
        })
    }

    /// Compares after every version that the batch layer publishes, until `cancel`. Versions published during a
    /// comparison, or in the rest after it, are followed by one comparison, of the newest.
    pub async fn follow(self: Arc<Self>, cancel: CancellationToken) {
        // What was published before is followed too, should the first run have been faster than this task.
        let mut published = self.batch.published();
        let mut compared = 0;
        loop {
            let next = published.wait_for(|version| *version > compared);
            match cancel.run_until_cancelled(next).await {
                Some(Ok(version)) => compared = *version,
                Some(Err(_)) | None => return,
            }
            let begun = Instant::now();
            let comparison = tokio::time::timeout(COMPARISON_MAX, self.compare());
            match cancel.run_until_cancelled(comparison).await {
                None | Some(Ok(Err(BatchError::Cancelled))) => return,
                Some(Ok(Ok(_))) => {}
                Some(Ok(Err(error))) => tracing::error!(%error, "the layers could not be compared"),
                Some(Err(_)) => {
                    let seconds = COMPARISON_MAX.as_secs();
                    metrics::counter!("tideline_agreement_comparisons_total", "outcome" => "timeout").increment(1);
                    tracing::error!(seconds, "comparing the layers took too long, and was given up");
                }
            }
            let rest = begun.elapsed().saturating_mul(REST_FACTOR).min(REST_MAX);
            if cancel.run_until_cancelled(tokio::time::sleep(rest)).await.is_none() {
                return;
            }
        }
    }
}

/// Gauges, and what nothing explains as errors. The comparison itself counts its outcomes.
fn report(agreement: &Agreement) {
    metrics::gauge!("tideline_agreement_version").set(agreement.version as f64);
    metrics::gauge!("tideline_agreement_compared_at_seconds").set(agreement.at.0 as f64 / 1e6);
    for (view, found) in &agreement.views {
        metrics::gauge!("tideline_agreement_unexplained_panes", "view" => view.clone()).set(found.unexplained as f64);
        // Unexplained ones are first.
        for example in found.examples.iter().take(LOGGED_EXAMPLES.min(found.unexplained as usize)) {
            tracing::error!(
                view,
                version = agreement.version,
                key = example.key.join(","),
                pane = %example.pane,
                field = example.field.as_deref().unwrap_or("-"),
                speed = example.speed.as_deref().unwrap_or("nothing"),
                batch = example.batch.as_deref().unwrap_or("nothing"),
                "the layers differ, and nothing explains it"
            );
        }
    }
}

#[async_trait]
impl AgreementSource for Agreements {
    async fn compare(&self) -> Result<answer::Agreement, CompareError> {
        match Self::compare(self).await {
            Ok(agreement) => Ok(as_answer(&agreement)),
            Err(error) => Err(CompareError(Box::new(error))),
        }
    }
}

/// An agreement as the HTTP API writes it.
pub fn as_answer(agreement: &Agreement) -> answer::Agreement {
    let views = agreement.views.iter().map(|(view, found)| {
        let examples = found.examples.iter().map(|example| answer::Example {
            key: example.key.clone(),
            pane: example.pane.to_string(),
            because: example.because.name().to_owned(),
            field: example.field.clone(),
            speed: example.speed.clone(),
            batch: example.batch.clone(),
        });
        let found = answer::ViewAgreement {
            through: found.through.map(|at| at.to_string()),
            skipped: found.skipped.clone(),
            compared: found.compared,
            equal: found.equal,
            late: found.late,
            expired: found.expired,
            duplicate: found.duplicate,
            not_yet: found.not_yet,
            unexplained: found.unexplained,
            examples: examples.collect(),
        };
        (view.clone(), found)
    });
    answer::Agreement {
        version: agreement.version,
        at: agreement.at.to_string(),
        unexplained: agreement.unexplained(),
        views: views.collect(),
    }
}
