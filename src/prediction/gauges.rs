//! Gauges of a prediction in one partition, which say how its models are doing in this process.
//!
//! A partition that has moved away is another process's to tell of: with the consumer its gauges end, too. The registry of
//! metrics keeps what it was told last, so they are set to what says nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tideline_common::plan::PredictionPlan;
use tideline_common::position::Partition;
use tideline_predict::metrics::Metrics;

use super::saved::Drift;

/// Which gauges of a prediction and partition were made last: one that is dropped later than its successor was made has
/// nothing more to say. There is one entry for each that lives.
static NEWEST: Mutex<BTreeMap<(String, Partition), u64>> = Mutex::new(BTreeMap::new());
static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// See the module.
#[derive(Debug)]
pub(super) struct Gauges {
    prediction: String,
    partition: Partition,
    versions: Vec<String>,
    number: u64,
}

impl Gauges {
    pub(super) fn new(plan: &PredictionPlan, partition: Partition) -> Self {
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        NEWEST.lock().insert((plan.name.clone(), partition), number);
        let versions = plan.models.iter().map(|model| model.version.clone()).collect();
        Self { prediction: plan.name.clone(), partition, versions, number }
    }

    /// Whether nothing is predicted.
    pub(super) fn refused(&self, refused: bool) {
        metrics::gauge!("tideline_prediction_refused", &self.labels()).set(f64::from(u8::from(refused)));
    }

    /// The errors of a version, once there are any.
    pub(super) fn errors(&self, version: &str, metrics: &Metrics) {
        if metrics.evaluated > 0 {
            self.set_errors(version, [metrics.mae, metrics.rmse, metrics.r2]);
        }
    }

    /// What the last report of drift has found.
    pub(super) fn drift(&self, drift: Drift) {
        metrics::gauge!("ml_drift_share", &self.labels()).set(drift.share);
        metrics::gauge!("ml_drift", &self.labels()).set(f64::from(u8::from(drift.drifted)));
    }

    fn set_errors(&self, version: &str, [mae, rmse, r2]: [f64; 3]) {
        let labels = [
            ("prediction", self.prediction.clone()),
            ("model_version", version.to_owned()),
            ("partition", self.partition.to_string()),
        ];
        metrics::gauge!("ml_mae", &labels).set(mae);
        metrics::gauge!("ml_rmse", &labels).set(rmse);
        metrics::gauge!("ml_r2", &labels).set(r2);
    }

    fn labels(&self) -> [(&'static str, String); 2] {
        [("prediction", self.prediction.clone()), ("partition", self.partition.to_string())]
    }
}

impl Drop for Gauges {
    fn drop(&mut self) {
        let mut newest = NEWEST.lock();
        let key = (self.prediction.clone(), self.partition);
        if newest.get(&key) != Some(&self.number) {
            return;
        }
        newest.remove(&key);
        self.refused(false);
        self.drift(Drift { share: 0.0, drifted: false });
        for version in &self.versions {
            // An error of 0 would be the best that there is: beside another process's, and to who looks for the least.
            self.set_errors(version, [f64::NAN; 3]);
        }
    }
}
