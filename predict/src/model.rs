//! One version of a model: scaler and regression, and how it has done.
//!
//! Equal to River's `preprocessing.StandardScaler() | linear_model.LinearRegression(...)`: to predict, the sample is
//! scaled by what was seen before it; to learn, the scaler first takes the sample in, then the regression takes a step
//! with the sample scaled anew.

use serde::Serialize;

use crate::MAGNITUDE_MAX;
use crate::feature::Resolved;
use crate::history::History;
use crate::metrics::{Errors, Metrics};
use crate::regression::{Learning, LinearRegression};
use crate::scaler::StandardScaler;
use crate::spec::ModelSpec;

/// The kind of the model, as trackers of experiments name it.
pub const MODEL_TYPE: &str = "StandardScaler | LinearRegression";

/// A version at work.
#[derive(Clone, Debug)]
pub struct Model {
    pub(crate) spec: ModelSpec,
    pub(crate) fingerprint: u64,
    pub(crate) inputs: Vec<Resolved>,
    pub(crate) scaler: StandardScaler,
    pub(crate) regression: LinearRegression,
    pub(crate) errors: Errors,
    /// Predictions that were made.
    pub(crate) predictions: u64,
    /// Windows that were learnt from.
    pub(crate) learnt: u64,
    /// Times that no prediction could be made: it would have been beyond all bounds.
    pub(crate) beyond: u64,
    /// Scaled samples go here, so that none is allocated per window.
    scaled: Vec<f64>,
}

/// A feature as the model stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FeatureState {
    /// Its name.
    pub name: String,
    /// Values seen.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// Their population variance.
    pub variance: f64,
    /// The weight of the scaled value.
    pub weight: f64,
}

/// A model in full, to be looked at or stored with a tracker of experiments.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelDocument {
    /// Its version.
    pub version: String,
    /// Its kind.
    pub model_type: &'static str,
    /// Its settings.
    pub learning: Learning,
    /// Its features in order.
    pub features: Vec<FeatureState>,
    /// The prediction where every scaled feature is 0.
    pub intercept: f64,
    /// Windows that were learnt from.
    pub learnt: u64,
    /// How it has done.
    pub metrics: Metrics,
}

impl Model {
    /// A model that has seen nothing. `inputs`: its features, looked up.
    pub(crate) fn new(spec: ModelSpec, fingerprint: u64, inputs: Vec<Resolved>) -> Self {
        let features = inputs.len();
        Self {
            spec,
            fingerprint,
            inputs,
            scaler: StandardScaler::new(features),
            regression: LinearRegression::new(features),
            errors: Errors::default(),
            predictions: 0,
            learnt: 0,
            beyond: 0,
            scaled: Vec::with_capacity(features),
        }
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.spec.version
    }

    /// Its settings.
    pub const fn learning(&self) -> &Learning {
        &self.spec.learning
    }

    /// How it has done: errors over all predictions whose window came.
    pub fn metrics(&self) -> Metrics {
        self.errors.metrics()
    }

    /// Predictions that were made.
    pub const fn predictions(&self) -> u64 {
        self.predictions
    }

    /// Windows that were learnt from.
    pub const fn learnt(&self) -> u64 {
        self.learnt
    }

    /// Times that a prediction would have been beyond [`MAGNITUDE_MAX`], and none was made.
    pub const fn beyond(&self) -> u64 {
        self.beyond
    }

    /// Its settings by name, as trackers of experiments keep them: they never change while the version has its name.
    pub fn parameters(&self) -> Vec<(String, String)> {
        let Learning { learning_rate, l2, intercept_rate, clip_gradient } = self.spec.learning;
        let features: Vec<&str> = self.spec.features.iter().map(|feature| feature.name.as_str()).collect();
        [
            ("learning_rate", learning_rate.to_string()),
            ("model_version", self.spec.version.clone()),
            ("model_type", MODEL_TYPE.to_owned()),
            ("l2", l2.to_string()),
            ("intercept_rate", intercept_rate.to_string()),
            ("clip_gradient", clip_gradient.to_string()),
            ("features", features.join(", ")),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    /// The model in full.
    pub fn document(&self) -> ModelDocument {
        let states = self.scaler.scales().iter().zip(&self.regression.weights).zip(&self.spec.features);
        let features = states.map(|((scale, weight), feature)| FeatureState {
            name: feature.name.clone(),
            count: scale.count,
            mean: scale.mean,
            variance: scale.variance,
            weight: *weight,
        });
        ModelDocument {
            version: self.spec.version.clone(),
            model_type: MODEL_TYPE,
            learning: self.spec.learning,
            features: features.collect(),
            intercept: self.regression.intercept,
            learnt: self.learnt,
            metrics: self.metrics(),
        }
    }

    /// The sample for the newest window of `history`; absent features are NaN.
    pub(crate) fn sample(&self, history: &History) -> Vec<f64> {
        self.inputs.iter().map(|input| crate::usable(input.compute(history)).unwrap_or(f64::NAN)).collect()
    }

    /// The prediction for a sample; `None` when it would be beyond [`MAGNITUDE_MAX`].
    pub(crate) fn predict(&mut self, sample: &[f64]) -> Option<f64> {
        self.scaler.transform(sample, &mut self.scaled);
        let predicted = crate::usable(Some(self.regression.predict(&self.scaled)));
        match predicted {
            Some(_) => self.predictions += 1,
            None => self.beyond += 1,
        }
        predicted
    }

    /// Takes in what came after `sample`, for which `predicted` was said.
    pub(crate) fn learn(&mut self, sample: &[f64], predicted: Option<f64>, actual: f64) {
        debug_assert!(actual.abs() <= MAGNITUDE_MAX);
        if let Some(predicted) = predicted {
            self.errors.update(actual, predicted);
        }
        self.scaler.learn(sample);
        self.scaler.transform(sample, &mut self.scaled);
        self.regression.learn(&self.scaled, actual, &self.spec.learning);
        self.learnt += 1;
    }
}
