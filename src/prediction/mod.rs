//! Predictions at work: who waits for windows to close to learn from them, and to say what the next one will be.
//!
//! `tideline-predict` knows how to learn, closing windows knows when a window is final: this is what stands between them.
//! Each prediction has, for each partition of its view's changes, models of its own; what they have learnt is kept in the
//! checkpoints of closing windows, with what was decided from it.
//!
//! # Layout
//! - [`Predictions`]: makes the consumers · `predicting`: one of them · `record`: what it tells · `saved`: what it remembers · `gauges`
//! - [`tracker`]: settings and errors of the models, to a tracker of experiments

mod gauges;
mod predicting;
mod record;
mod saved;
#[cfg(test)]
mod tests;
pub mod tracker;

use tideline_common::plan::{FeatureSource, ModelPlan, Plan, PredictionPlan, ViewPlan};
use tideline_common::position::Partition;
use tideline_predict::drift::RecorderSpec;
use tideline_predict::feature::{Feature, Source};
use tideline_predict::regression::Learning;
use tideline_predict::spec::{ModelSpec, PredictorSpec};
use tideline_speed::close::consumer::{Consumer, Consumers};

use predicting::Predicting;
use tracker::Points;

/// Makes a consumer of closed windows of each prediction of a plan.
#[derive(Clone, Debug, Default)]
pub struct Predictions {
    /// Who is told how the models are doing; nobody: `None`.
    points: Option<Points>,
}

impl Predictions {
    /// Predictions that a tracker of experiments is told of.
    pub const fn tracked(points: Option<Points>) -> Self {
        Self { points }
    }
}

impl Consumers for Predictions {
    fn of(&self, plan: &Plan, view: &ViewPlan, partition: Partition) -> Vec<Box<dyn Consumer>> {
        let of_view = plan.predictions.iter().filter(|prediction| prediction.view == view.name);
        of_view
            .map(|prediction| {
                let points = self.points.clone();
                Box::new(Predicting::new(prediction.clone(), view, partition, points)) as Box<dyn Consumer>
            })
            .collect()
    }
}

/// What the plan asks of the learner.
fn predictor_spec(plan: &PredictionPlan, view: &ViewPlan) -> PredictorSpec {
    let model = |model: &ModelPlan| ModelSpec {
        version: model.version.clone(),
        features: model
            .features
            .iter()
            .map(|feature| Feature { name: feature.name.clone(), source: source(&feature.source) })
            .collect(),
        learning: Learning {
            learning_rate: model.learning.learning_rate,
            l2: model.learning.l2,
            intercept_rate: model.learning.intercept_rate,
            clip_gradient: model.learning.clip_gradient,
        },
    };
    PredictorSpec {
        target: plan.target.clone(),
        step: view.window.slide,
        gap_max: plan.gap_max,
        buffer: plan.buffer,
        keys_max: plan.keys_max,
        models: plan.models.iter().map(model).collect(),
    }
}

fn source(source: &FeatureSource) -> Source {
    match source {
        FeatureSource::Value { column } => Source::Value { column: column.clone() },
        FeatureSource::Delta { column } => Source::Delta { column: column.clone() },
        FeatureSource::Average { column, windows } => Source::Average { column: column.clone(), windows: *windows },
        FeatureSource::Hour => Source::Hour,
        FeatureSource::DayOfWeek => Source::DayOfWeek,
    }
}

/// What is recorded for reports of drift: the features of all versions, each once, and the errors of each version. The
/// calendar is left out: an hour is compared with the same one of the day before, so that `hour` would never differ, and
/// `day_of_week` always.
fn recorder_spec(plan: &PredictionPlan) -> RecorderSpec {
    let mut features: Vec<String> = Vec::new();
    for feature in plan.models.iter().flat_map(|model| &model.features) {
        let calendar = matches!(feature.source, FeatureSource::Hour | FeatureSource::DayOfWeek);
        if !calendar && !features.contains(&feature.name) {
            features.push(feature.name.clone());
        }
    }
    RecorderSpec::daily(features, plan.models.iter().map(|model| model.version.clone()).collect())
}
