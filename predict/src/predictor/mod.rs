//! Predict the next window, wait for it, learn from it: prequential evaluation, per key in order of windows.
//!
//! One model of each version serves all keys; a key has the history that its features come from and the predictions that
//! wait for its next window. For a new window of a key, in this order:
//!
//! 1. the predictions that waited are compared with its target, each version learns (scaler, then regression) and takes
//!    the error into its metrics;
//! 2. the window enters the history of its key;
//! 3. each version predicts the window after it.
//!
//! **Repeats.** A window that its key has seen, with the same values, changes nothing and gives nothing: states are
//! published absolutely, so a closed window may come again. Seen with *other* values (a correction), it replaces the
//! values in the history: what is computed from now on sees them. What was learnt from the old values stays learnt, and
//! the predictions that were made stay, as they were published. A window earlier than the newest of its key that the
//! history does not have is ignored: it came out of order, or before what is kept. All three are counted.
//!
//! **No target.** A window whose target is null settles nothing; the predictions for it are dropped and counted. So are
//! those whose next window begins more than `gap_max` later.
//!
//! **Bounds.** `buffer` windows a key, `keys_max` keys: beyond, the key whose last window was observed longest ago is
//! forgotten with its history and its waiting predictions. The models keep what they have learnt from it.

mod codec;
mod keys;

use std::sync::Arc;

use tideline_common::key::Key;
use tideline_common::time::Timestamp;

pub use codec::StateError;

use crate::feature::Resolved;
use crate::history::Known;
use crate::model::Model;
use crate::spec::{PredictorSpec, SpecError};
use keys::{KeyState, Keys, Waiting};

/// How a window was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It is the newest of its key.
    New,
    /// It was seen with the same values.
    Repeated,
    /// It was seen with other values, which it replaces in the history.
    Corrected,
    /// It is earlier than the newest of its key, and was ignored.
    OutOfOrder,
}

/// A prediction for a window that has not come.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The version that made it.
    pub version: Arc<str>,
    /// Start of the window after which it was made.
    pub made_at: Timestamp,
    /// Start of the window that is predicted, one step later.
    pub window: Timestamp,
    /// The target; `None` when it would have been beyond all bounds.
    pub predicted: Option<f64>,
}

/// A prediction, and what came.
#[derive(Clone, Debug, PartialEq)]
pub struct Settled {
    /// The version that made it.
    pub version: Arc<str>,
    /// Start of the window after which it was made.
    pub made_at: Timestamp,
    /// Start of the window that came: the next one of its key, which a gap may have made later than was predicted.
    pub window: Timestamp,
    /// What was predicted.
    pub predicted: Option<f64>,
    /// What came.
    pub actual: f64,
    /// Predicted less actual: positive where too much was predicted.
    pub error: Option<f64>,
}

/// What a window led to.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// How it was taken.
    pub arrival: Arrival,
    /// The predictions that waited for it, one per version; empty for the first window of a key.
    pub settled: Vec<Settled>,
    /// The predictions for the window after it, one per version; empty unless the window is new.
    pub predictions: Vec<Prediction>,
}

/// What happened to windows and keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// New windows.
    pub windows: u64,
    /// Windows that came again.
    pub repeated: u64,
    /// Windows that came again with other values.
    pub corrected: u64,
    /// Windows that were ignored: earlier than the newest of their key.
    pub out_of_order: u64,
    /// Windows whose target was null while predictions waited for them.
    pub without_target: u64,
    /// Windows that came too long after the predictions that waited.
    pub after_gap: u64,
    /// Keys that were forgotten to make room.
    pub evicted: u64,
}

/// Versions of a model at work over the same windows.
#[derive(Clone, Debug)]
pub struct Predictor {
    spec: PredictorSpec,
    columns: Vec<String>,
    versions: Vec<Arc<str>>,
    models: Vec<Model>,
    keys: Keys,
    counters: Counters,
    /// The values of the window at hand, so that none is allocated per window.
    row: Vec<Option<f64>>,
}

impl Predictor {
    /// A predictor that has seen nothing.
    ///
    /// # Errors
    /// When the spec makes no sense.
    pub fn new(spec: PredictorSpec) -> Result<Self, SpecError> {
        spec.check()?;
        let columns = spec.columns();
        let models = spec.models.iter().map(|model| {
            // A source without a column was refused by the check; all others are among the columns.
            let inputs = model.features.iter().filter_map(|f| Resolved::of(&f.source, &columns)).collect();
            Model::new(model.clone(), model.fingerprint(&spec.target), inputs)
        });
        let models: Vec<Model> = models.collect();
        let versions = models.iter().map(|model| Arc::from(model.version())).collect();
        let keys = Keys::new(spec.keys_max);
        Ok(Self {
            row: Vec::with_capacity(columns.len()),
            columns,
            versions,
            models,
            keys,
            counters: Counters::default(),
            spec,
        })
    }

    /// The columns that it reads of a window, the target first.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// What it does.
    pub const fn spec(&self) -> &PredictorSpec {
        &self.spec
    }

    /// The versions at work.
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// What happened to windows and keys.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Number of keys that are remembered.
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// Takes a closed window of `key` in: [`learn`](Self::learn), then [`predict`](Self::predict) if it is new.
    /// `value` gives a column of the window by its name; it is asked for [`columns`](Self::columns) only. What is null,
    /// absent, not finite or beyond [`MAGNITUDE_MAX`](crate::MAGNITUDE_MAX) is null.
    pub fn observe(&mut self, key: &Key, start: Timestamp, value: impl FnMut(&str) -> Option<f64>) -> Observed {
        let (arrival, settled) = self.learn(key, start, value);
        let predictions = if arrival == Arrival::New { self.predict(key) } else { Vec::new() };
        Observed { arrival, settled, predictions }
    }

    /// The first half of [`observe`](Self::observe), for callers that time the two: settles what waited, learns from it,
    /// and takes the window into the history.
    pub fn learn(
        &mut self,
        key: &Key,
        start: Timestamp,
        value: impl FnMut(&str) -> Option<f64>,
    ) -> (Arrival, Vec<Settled>) {
        self.row.clear();
        self.row.extend(self.columns.iter().map(String::as_str).map(value).map(crate::usable));
        let versions = self.models.len();
        let (state, evicted) = self.keys.touch(key, || KeyState::new(self.columns.len(), versions));
        self.counters.evicted += u64::from(evicted);
        match state.history.knows(start, &self.row) {
            Known::Newer => {}
            Known::Same => {
                self.counters.repeated += 1;
                return (Arrival::Repeated, Vec::new());
            }
            Known::Different(window) => {
                state.history.correct(window, &self.row);
                self.counters.corrected += 1;
                return (Arrival::Corrected, Vec::new());
            }
            Known::Older => {
                self.counters.out_of_order += 1;
                return (Arrival::OutOfOrder, Vec::new());
            }
        }
        self.counters.windows += 1;
        let mut settled = Vec::new();
        if let Some(made_at) = state.history.newest()
            && state.waiting.iter().any(Option::is_some)
        {
            if self.spec.gap_max.is_some_and(|gap| start.since(made_at) > gap) {
                self.counters.after_gap += 1;
            } else if let Some(actual) = self.row[TARGET] {
                for ((model, version), waiting) in self.models.iter_mut().zip(&self.versions).zip(&state.waiting) {
                    let Some(Waiting { sample, predicted }) = waiting else { continue };
                    model.learn(sample, *predicted, actual);
                    settled.push(Settled {
                        version: Arc::clone(version),
                        made_at,
                        window: start,
                        predicted: *predicted,
                        actual,
                        error: predicted.map(|predicted| predicted - actual),
                    });
                }
            } else {
                self.counters.without_target += 1;
            }
        }
        state.waiting.fill(None);
        state.history.push(start, &self.row, self.spec.buffer);
        (Arrival::New, settled)
    }

    /// The second half of [`observe`](Self::observe): what each version predicts for the window after the newest of
    /// `key`. A prediction is made once: asked again before the next window, it answers what it said. Empty for a key
    /// that it does not know.
    pub fn predict(&mut self, key: &Key) -> Vec<Prediction> {
        let Some(state) = self.keys.get_mut(key) else { return Vec::new() };
        let Some(made_at) = state.history.newest() else { return Vec::new() };
        let mut predictions = Vec::with_capacity(self.models.len());
        for ((model, version), waiting) in self.models.iter_mut().zip(&self.versions).zip(&mut state.waiting) {
            let waiting = waiting.get_or_insert_with(|| {
                let sample = model.sample(&state.history);
                let predicted = model.predict(&sample);
                Waiting { sample, predicted }
            });
            predictions.push(Prediction {
                version: Arc::clone(version),
                made_at,
                window: made_at.plus(self.spec.step),
                predicted: waiting.predicted,
            });
        }
        predictions
    }

    /// What the versions saw of the newest window of `key`, by the names of the features, each name once: null where it
    /// was absent. Empty before [`predict`](Self::predict), and for a key that it does not know.
    pub fn features(&self, key: &Key) -> Vec<(&str, Option<f64>)> {
        let mut features: Vec<(&str, Option<f64>)> = Vec::new();
        let Some(state) = self.keys.get(key) else { return features };
        for (model, waiting) in self.models.iter().zip(&state.waiting) {
            let Some(waiting) = waiting else { continue };
            for (feature, value) in model.spec.features.iter().zip(&waiting.sample) {
                if !features.iter().any(|(name, _)| *name == feature.name) {
                    features.push((&feature.name, Some(*value).filter(|value| !value.is_nan())));
                }
            }
        }
        features
    }
}

/// Place of the target among the columns.
const TARGET: usize = 0;

#[cfg(test)]
mod tests;
