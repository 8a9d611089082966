//! Linear regression by stochastic gradient descent, one sample at a time.
//!
//! Equal to `linear_model.LinearRegression(optimizer=optim.SGD(rate), l2=l2)` of River 0.26
//! (`river/linear_model/base.py`, `lin_reg.py`, `river/optim/sgd.py`): weights and intercept begin at 0, the loss is the
//! square of the error, and a step with sample x and target y is, in this order,
//!
//! ```text
//! ŷ = Σ wᵢxᵢ + b                     in the order of the features
//! g = clamp(2 (ŷ − y), −clip, clip)  clip_gradient, 1e12
//! Gᵢ = xᵢ g + l2 wᵢ                  for the features that are there, with the old weights
//! b ← b − intercept rate · g         never regularised; intercept_lr, 0.01, has nothing to do with the rate of SGD
//! wᵢ ← wᵢ − rate · Gᵢ
//! ```
//! A feature that a sample lacks adds nothing, and its weight is neither moved nor shrunk.

use serde::{Deserialize, Serialize};

/// Settings of the descent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Learning {
    /// Step length of the weights.
    pub learning_rate: f64,
    /// Weight of the squared weights in the loss.
    pub l2: f64,
    /// Step length of the intercept.
    pub intercept_rate: f64,
    /// The greatest magnitude of the loss's gradient.
    pub clip_gradient: f64,
}

impl Default for Learning {
    /// SYSTEMS: SGD 0.01 and L2 0.001; the rest as in River.
    fn default() -> Self {
        Self { learning_rate: 0.01, l2: 0.001, intercept_rate: 0.01, clip_gradient: 1e12 }
    }
}

/// Weights and intercept.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearRegression {
    /// One per feature.
    pub weights: Vec<f64>,
    /// The prediction where every feature is 0.
    pub intercept: f64,
}

impl LinearRegression {
    /// Of so many features, all weights 0.
    pub fn new(features: usize) -> Self {
        Self { weights: vec![0.0; features], intercept: 0.0 }
    }

    /// The prediction for a sample; absent features are NaN.
    pub fn predict(&self, sample: &[f64]) -> f64 {
        let present = self.weights.iter().zip(sample).filter(|(_, x)| !x.is_nan());
        present.fold(0.0, |sum, (weight, x)| sum + weight * x) + self.intercept
    }

    /// One step towards `target`.
    pub fn learn(&mut self, sample: &[f64], target: f64, learning: &Learning) {
        let gradient = 2.0 * (self.predict(sample) - target);
        let gradient = gradient.clamp(-learning.clip_gradient, learning.clip_gradient);
        self.intercept -= learning.intercept_rate * gradient;
        for (weight, x) in self.weights.iter_mut().zip(sample).filter(|(_, x)| !x.is_nan()) {
            let step = x * gradient + learning.l2 * *weight;
            *weight -= learning.learning_rate * step;
        }
    }
}
