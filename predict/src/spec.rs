//! What is predicted, from what, and by which versions of a model.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tideline_common::state::{write_bytes, write_varint};
use tideline_common::time::Span;
use xxhash_rust::xxh3::xxh3_64;

use crate::feature::{Feature, Source};
use crate::regression::Learning;

/// The most windows that may be kept per key.
pub const BUFFER_MAX: usize = 10_000;
/// The most versions side by side.
pub const MODELS_MAX: usize = 16;
/// The most features of a model.
pub const FEATURES_MAX: usize = 256;

/// What a predictor does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PredictorSpec {
    /// The column whose value in the next window is predicted.
    pub target: String,
    /// From the start of one window to the start of the next: the slide of the view.
    pub step: Span,
    /// A prediction is compared with the next window of its key only if that one begins at most so much later; absent:
    /// with the next one, however late.
    pub gap_max: Option<Span>,
    /// Windows kept per key.
    pub buffer: usize,
    /// Keys remembered. Beyond, the key whose last window was observed longest ago is forgotten.
    pub keys_max: usize,
    /// The versions, side by side over the same windows.
    pub models: Vec<ModelSpec>,
}

/// One version of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelSpec {
    /// Its name in rows and metrics.
    pub version: String,
    /// What it sees, in this order.
    pub features: Vec<Feature>,
    /// How it learns.
    #[serde(default)]
    pub learning: Learning,
}

/// What is wrong with a spec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// No target.
    #[error("a prediction needs the name of its target column")]
    Target,
    /// A window after which none comes.
    #[error("the step from one window to the next must be longer than zero")]
    Step,
    /// A gap that no two windows can keep.
    #[error("gap_max must be at least the step from one window to the next")]
    Gap,
    /// A number outside of its bounds.
    #[error("{what} must be from {least} to {most}")]
    Bounds {
        /// What.
        what: String,
        /// The least.
        least: usize,
        /// The most.
        most: usize,
    },
    /// Two of the same name, or none.
    #[error("{what} `{name}` is empty or there twice")]
    Name {
        /// What has the name.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A setting of the descent outside of its bounds.
    #[error("{setting} of model `{version}` must be {bounds}")]
    Learning {
        /// The version.
        version: String,
        /// The setting.
        setting: &'static str,
        /// Its bounds.
        bounds: &'static str,
    },
    /// An average over no windows, or over more than are kept.
    #[error("feature `{feature}` of model `{version}`: an average is over 1 to {buffer} windows, the buffer")]
    Average {
        /// The version.
        version: String,
        /// The feature.
        feature: String,
        /// Windows that are kept.
        buffer: usize,
    },
    /// A feature without a column.
    #[error("feature `{feature}` of model `{version}` names no column")]
    Column {
        /// The version.
        version: String,
        /// The feature.
        feature: String,
    },
}

fn bounded(what: &str, value: usize, most: usize) -> Result<(), SpecError> {
    if (1..=most).contains(&value) { Ok(()) } else { Err(SpecError::Bounds { what: what.to_owned(), least: 1, most }) }
}

impl PredictorSpec {
    /// A spec with the usual bounds: 100 windows a key, 10,000 keys, the next window however late it comes.
    pub fn new(target: impl Into<String>, step: Span, models: Vec<ModelSpec>) -> Self {
        Self { target: target.into(), step, gap_max: None, buffer: 100, keys_max: 10_000, models }
    }

    /// Checks the spec.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn check(&self) -> Result<(), SpecError> {
        if self.target.is_empty() {
            return Err(SpecError::Target);
        }
        if self.step.0 <= 0 {
            return Err(SpecError::Step);
        }
        if self.gap_max.is_some_and(|gap| gap < self.step) {
            return Err(SpecError::Gap);
        }
        bounded("buffer", self.buffer, BUFFER_MAX)?;
        bounded("keys_max", self.keys_max, u32::MAX as usize)?;
        bounded("the number of models", self.models.len(), MODELS_MAX)?;
        let mut versions = BTreeSet::new();
        for model in &self.models {
            if model.version.is_empty() || !versions.insert(&model.version) {
                return Err(SpecError::Name { what: "model version", name: model.version.clone() });
            }
            model.check(self.buffer)?;
        }
        Ok(())
    }

    /// The columns that are read of a window: the target first, then in the order in which features name them.
    pub fn columns(&self) -> Vec<String> {
        let mut columns = vec![self.target.clone()];
        for column in self.models.iter().flat_map(|model| &model.features).filter_map(|f| f.source.column()) {
            if !columns.iter().any(|known| known == column) {
                columns.push(column.to_owned());
            }
        }
        columns
    }
}

impl ModelSpec {
    fn check(&self, buffer: usize) -> Result<(), SpecError> {
        bounded(&format!("the number of features of model `{}`", self.version), self.features.len(), FEATURES_MAX)?;
        let mut names = BTreeSet::new();
        for feature in &self.features {
            if feature.name.is_empty() || !names.insert(&feature.name) {
                return Err(SpecError::Name { what: "feature", name: feature.name.clone() });
            }
            let place = || (self.version.clone(), feature.name.clone());
            if feature.source.column().is_some_and(str::is_empty) {
                let (version, feature) = place();
                return Err(SpecError::Column { version, feature });
            }
            if let Source::Average { windows, .. } = feature.source
                && !(1..=buffer).contains(&windows)
            {
                let (version, feature) = place();
                return Err(SpecError::Average { version, feature, buffer });
            }
        }
        // Within these bounds a step shrinks a weight and never turns it, and no run makes one infinite.
        let rate = |x: f64| x > 0.0 && x <= 1.0;
        let share = |x: f64| (0.0..=1.0).contains(&x);
        let learning = &self.learning;
        for (setting, good, bounds) in [
            ("learning_rate", rate(learning.learning_rate), "greater than 0 and at most 1"),
            ("l2", share(learning.l2), "from 0 to 1"),
            ("intercept_rate", share(learning.intercept_rate), "from 0 to 1"),
            (
                "clip_gradient",
                learning.clip_gradient > 0.0 && learning.clip_gradient <= 1e12,
                "greater than 0, at most 1e12",
            ),
        ] {
            if !good {
                return Err(SpecError::Learning { version: self.version.clone(), setting, bounds });
            }
        }
        Ok(())
    }

    /// The same for two versions exactly when what they learn is the same: target, features, settings.
    pub(crate) fn fingerprint(&self, target: &str) -> u64 {
        let mut bytes = Vec::new();
        write_bytes(target.as_bytes(), &mut bytes);
        write_varint(self.features.len() as u64, &mut bytes);
        for feature in &self.features {
            write_bytes(feature.name.as_bytes(), &mut bytes);
            feature.source.write(&mut bytes);
        }
        let learning = &self.learning;
        for number in [learning.learning_rate, learning.l2, learning.intercept_rate, learning.clip_gradient] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        xxh3_64(&bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::feature::standard;

    fn model(version: &str) -> ModelSpec {
        ModelSpec {
            version: version.to_owned(),
            features: standard(&["a"], &[("a", "a"), ("b", "b")], 5),
            learning: Learning::default(),
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let good = PredictorSpec::new("score", Span::MINUTE, vec![model("v1"), model("v2")]);
        good.check().unwrap();
        assert_eq!(good.columns(), ["score", "a", "b"]);
        let wrong = |change: fn(&mut PredictorSpec)| {
            let mut spec = good.clone();
            change(&mut spec);
            spec.check().unwrap_err().to_string()
        };
        assert_eq!(wrong(|s| s.target.clear()), "a prediction needs the name of its target column");
        assert!(wrong(|s| s.step = Span::ZERO).contains("longer than zero"));
        assert!(wrong(|s| s.gap_max = Some(Span::SECOND)).contains("gap_max"));
        assert_eq!(wrong(|s| s.buffer = 0), "buffer must be from 1 to 10000");
        assert!(wrong(|s| s.keys_max = 0).starts_with("keys_max"));
        assert!(wrong(|s| s.models.clear()).starts_with("the number of models"));
        assert!(wrong(|s| s.models[1].version = "v1".to_owned()).contains("`v1` is empty or there twice"));
        assert!(wrong(|s| s.models[0].features[1].name = "a".to_owned()).contains("feature `a`"));
        assert!(wrong(|s| s.models[0].features.clear()).contains("features of model `v1`"));
        assert!(wrong(|s| s.buffer = 4).contains("feature `ma_a` of model `v1`"));
        assert!(wrong(|s| s.models[1].learning.l2 = f64::NAN).contains("l2 of model `v2`"));
        assert!(wrong(|s| s.models[1].learning.learning_rate = 0.0).contains("learning_rate"));
        assert!(
            wrong(|s| s.models[0].features[0].source = Source::Value { column: String::new() }).contains("no column")
        );
    }

    #[test]
    fn a_fingerprint_changes_with_what_is_learnt() {
        let model = model("v1");
        let mut other = model.clone();
        other.version = "v2".to_owned();
        assert_eq!(model.fingerprint("a"), other.fingerprint("a"), "a name is no setting");
        assert_ne!(model.fingerprint("a"), model.fingerprint("b"));
        other.learning.l2 = 0.002;
        assert_ne!(model.fingerprint("a"), other.fingerprint("a"));
        other = model.clone();
        other.features.swap(0, 1);
        assert_ne!(model.fingerprint("a"), other.fingerprint("a"));
    }
}
