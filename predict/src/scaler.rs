//! The running scaler: each feature less its mean, over its standard deviation.
//!
//! Equal to `preprocessing.StandardScaler` of River 0.26 (`river/preprocessing/scale.py`): mean and population variance
//! by Welford's method, one count per feature, in River's order of operations:
//!
//! ```text
//! n ← n + 1      m′ ← m + (x − m) / n      v ← v + ((x − m)(x − m′) − v) / n      x scaled = (x − m) / √v, or 0 where v = 0
//! ```
//! River writes `v**0.5`, C's `pow`; the square root here is the correctly rounded one. Both differ by one unit in the
//! last place at most.

/// Running statistics of one feature.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scale {
    /// Values seen.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// Their population variance.
    pub variance: f64,
}

impl Scale {
    /// Takes a value in.
    pub fn learn(&mut self, x: f64) {
        self.count += 1;
        let n = self.count as f64;
        let before = self.mean;
        self.mean += (x - before) / n;
        self.variance += ((x - before) * (x - self.mean) - self.variance) / n;
    }

    /// The value, scaled by what has been seen.
    pub fn scaled(&self, x: f64) -> f64 {
        if self.variance == 0.0 { 0.0 } else { (x - self.mean) / self.variance.sqrt() }
    }
}

/// The scales of the features of a model, in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct StandardScaler(Vec<Scale>);

impl StandardScaler {
    /// Of so many features, of which nothing has been seen.
    pub fn new(features: usize) -> Self {
        Self(vec![Scale::default(); features])
    }

    /// With these statistics.
    pub const fn from_scales(scales: Vec<Scale>) -> Self {
        Self(scales)
    }

    /// The statistics.
    pub fn scales(&self) -> &[Scale] {
        &self.0
    }

    /// Takes a sample in; absent features (NaN) are left as they are.
    pub fn learn(&mut self, sample: &[f64]) {
        for (scale, x) in self.0.iter_mut().zip(sample).filter(|(_, x)| !x.is_nan()) {
            scale.learn(*x);
        }
    }

    /// Writes the scaled sample to `scaled`; absent features stay absent.
    pub fn transform(&self, sample: &[f64], scaled: &mut Vec<f64>) {
        scaled.clear();
        scaled.extend(self.0.iter().zip(sample).map(|(scale, x)| if x.is_nan() { *x } else { scale.scaled(*x) }));
    }
}
