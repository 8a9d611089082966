//! Running errors of a model, equal to River 0.26's `metrics.MAE`, `RMSE` and `R2` over all that was evaluated.
//!
//! ```text
//! MAE   running mean of |y − ŷ|:  m ← m + (1 / n)(e − m)
//! RMSE  square root of the running mean of (y − ŷ)²
//! R²    1 − Σ(y − ŷ)² / S,  S = Σ(y − ȳ)² by Welford's method; 0 with fewer than two samples, and where S is 0
//! ```

use serde::Serialize;

/// A running mean, as `stats.Mean` of River updates it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Mean(pub(crate) f64);

impl Mean {
    /// Takes the `n`-th value in.
    fn update(&mut self, x: f64, n: f64) {
        self.0 += (1.0 / n) * (x - self.0);
    }
}

/// Running errors.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Errors {
    pub(crate) count: u64,
    pub(crate) absolute: Mean,
    pub(crate) squared: Mean,
    pub(crate) target: Mean,
    /// Σ(y − ȳ)².
    pub(crate) spread: f64,
    /// Σ(y − ŷ)².
    pub(crate) residual: f64,
}

/// The errors of a model at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Metrics {
    /// Predictions whose window came.
    pub evaluated: u64,
    /// Mean absolute error.
    pub mae: f64,
    /// Root of the mean squared error.
    pub rmse: f64,
    /// Coefficient of determination.
    pub r2: f64,
}

impl Errors {
    /// Takes a prediction and what came in.
    pub fn update(&mut self, actual: f64, predicted: f64) {
        self.count += 1;
        let n = self.count as f64;
        let error = actual - predicted;
        self.absolute.update(error.abs(), n);
        self.squared.update(error * error, n);
        let before = self.target.0;
        self.target.update(actual, n);
        self.spread += (actual - before) * (actual - self.target.0);
        self.residual += error * error;
    }

    /// The errors so far.
    pub fn metrics(&self) -> Metrics {
        // As River writes it: S from the variance of the sample, which may differ from the sum in the last place.
        let r2 = if self.count < 2 {
            0.0
        } else {
            let less = self.count as f64 - 1.0;
            let total = less * (self.spread / less);
            if total == 0.0 { 0.0 } else { 1.0 - self.residual / total }
        };
        Metrics { evaluated: self.count, mae: self.absolute.0, rmse: self.squared.0.sqrt(), r2 }
    }
}
