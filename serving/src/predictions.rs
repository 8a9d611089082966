//! How predictions are doing, and whether their data has drifted: as those who predict have put it into the lake.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tideline_common::plan::{Learning, ModelPlan, PredictionPlan};
use tideline_common::ports::PortError;
use tideline_common::position::Partition;
use tideline_common::prediction::{
    ModelStatus, PredictionStatus, ReportFormat, folder, hour_name, hour_of, partition_of, report_path, status_path,
};
use tideline_common::time::Timestamp;

use crate::error::{QueryError, Thing};
use crate::guard::ReadError;
use crate::merge::Reader;

/// The most partitions of one prediction that are read: there are not more that share the work.
const PARTITIONS_MAX: usize = 64;
/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Where it is read from, in errors.
const LAKE: &str = "the lake";

/// A prediction.
#[derive(Clone, Debug, Serialize)]
pub struct PredictionAnswer {
    name: String,
    view: String,
    target: String,
    topic: String,
    models: Vec<ModelAnswer>,
    /// How it is doing, by partition of the view's changes; empty while nothing has been predicted.
    partitions: Vec<PredictionStatus>,
}

/// A version of a model, over all partitions.
#[derive(Clone, Debug, Serialize)]
struct ModelAnswer {
    version: String,
    features: Vec<FeatureAnswer>,
    #[serde(flatten)]
    learning: Learning,
    predictions: u64,
    evaluated: u64,
    mae: Option<f64>,
    rmse: Option<f64>,
    /// Of one partition alone: it cannot be told of several together.
    r2: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
struct FeatureAnswer {
    name: String,
    source: String,
}

/// Which drift report is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct DriftRequest {
    /// A time of the hour; `None`: the newest.
    pub at: Option<Timestamp>,
    /// The partition; `None`: the first that has one.
    pub partition: Option<Partition>,
    /// Whether as a page.
    pub html: bool,
}

impl PredictionAnswer {
    fn new(plan: &PredictionPlan, partitions: Vec<PredictionStatus>) -> Self {
        Self {
            name: plan.name.clone(),
            view: plan.view.clone(),
            target: plan.target.clone(),
            topic: plan.topic.clone(),
            models: plan.models.iter().map(|model| ModelAnswer::new(model, &partitions)).collect(),
            partitions,
        }
    }
}

impl ModelAnswer {
    fn new(plan: &ModelPlan, partitions: &[PredictionStatus]) -> Self {
        let models = partitions.iter().flat_map(|status| &status.models);
        let all: Vec<&ModelStatus> = models.filter(|model| model.version == plan.version).collect();
        let evaluated: u64 = all.iter().map(|model| model.evaluated).sum();
        // Means over all predictions: each partition by its share of them.
        let mean = |of: fn(&ModelStatus) -> f64| {
            let share = |model: &&ModelStatus| of(model) * (model.evaluated as f64 / evaluated as f64);
            (evaluated > 0).then(|| all.iter().filter(|model| model.evaluated > 0).map(share).sum::<f64>())
        };
        let mut working = all.iter().filter(|model| model.evaluated > 0);
        let r2 = match (working.next(), working.next()) {
            (Some(one), None) => Some(one.r2),
            _ => None,
        };
        Self {
            version: plan.version.clone(),
            features: plan
                .features
                .iter()
                .map(|feature| FeatureAnswer { name: feature.name.clone(), source: feature.source.to_string() })
                .collect(),
            learning: plan.learning,
            predictions: all.iter().map(|model| model.predictions).sum(),
            evaluated,
            mae: mean(|model| model.mae),
            rmse: mean(|model| model.rmse * model.rmse).map(f64::sqrt),
            r2,
        }
    }
}

impl Reader {
    /// All predictions, in the order of the plan.
    ///
    /// # Errors
    /// A lake that cannot be read now, or damaged statuses.
    pub async fn predictions(&self) -> Result<Vec<PredictionAnswer>, QueryError> {
        within(async {
            let mut all = Vec::new();
            for plan in &self.plan().predictions {
                all.push(PredictionAnswer::new(plan, self.prediction_statuses(&plan.name).await?));
            }
            Ok(all)
        })
        .await
    }

    /// The prediction of this name.
    ///
    /// # Errors
    /// As [`predictions`](Self::predictions), and where there is none of this name.
    pub async fn prediction(&self, name: &str) -> Result<PredictionAnswer, QueryError> {
        let plan = self.prediction_plan(name)?;
        within(async { Ok(PredictionAnswer::new(plan, self.prediction_statuses(&plan.name).await?)) }).await
    }

    /// A drift report; `None` where there is none of that hour, or none at all.
    ///
    /// # Errors
    /// As [`prediction`](Self::prediction).
    pub async fn drift(&self, name: &str, request: DriftRequest) -> Result<Option<Bytes>, QueryError> {
        let plan = self.prediction_plan(name)?;
        within(async {
            let statuses = self.prediction_statuses(&plan.name).await?;
            let wanted = request.at.map(hour_name);
            let of_partition =
                statuses.iter().filter(|status| request.partition.is_none_or(|at| at == status.partition));
            let found = of_partition.filter_map(|status| {
                let mut hours = status.drift.iter().filter(|hour| wanted.as_ref().is_none_or(|wanted| *hour == wanted));
                // Newest first.
                Some((hours.next()?.clone(), status.partition))
            });
            // Of the newest hour, the first partition.
            let newest = found.max_by(|(hour, partition), (other, of)| hour.cmp(other).then_with(|| of.cmp(partition)));
            let Some((hour, partition)) = newest else { return Ok(None) };
            let Some(hour) = hour_of(&hour) else {
                return Err(damaged(PortError::corrupt("the status of a prediction", format!("no hour: {hour}"))));
            };
            let format = if request.html { ReportFormat::Html } else { ReportFormat::Json };
            self.lake_object(&report_path(&plan.name, partition, hour, format)).await
        })
        .await
    }

    fn prediction_plan(&self, name: &str) -> Result<&PredictionPlan, QueryError> {
        let all = &self.plan().predictions;
        let known = || all.iter().map(|plan| plan.name.as_str());
        all.iter().find(|plan| plan.name == name).ok_or_else(|| QueryError::unknown(Thing::Prediction, name, known()))
    }

    async fn prediction_statuses(&self, name: &str) -> Result<Vec<PredictionStatus>, QueryError> {
        let objects = self.lake_objects(&folder(name)).await?;
        let mut partitions: Vec<Partition> =
            objects.iter().filter_map(|object| partition_of(name, &object.path)).take(PARTITIONS_MAX).collect();
        partitions.sort_unstable();
        let mut statuses = Vec::new();
        for partition in partitions {
            // One that has gone in between is not there.
            let Some(bytes) = self.lake_object(&status_path(name, partition)).await? else { continue };
            statuses.push(serde_json::from_slice(&bytes).map_err(damaged)?);
        }
        Ok(statuses)
    }
}

fn damaged(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> QueryError {
    QueryError::Internal { what: "the status of a prediction is damaged", source: error.into() }
}

async fn within<T>(answer: impl Future<Output = Result<T, QueryError>>) -> Result<T, QueryError> {
    let late = |_| Err(QueryError::Timeout { seconds: TIMEOUT.as_secs() });
    tokio::time::timeout(TIMEOUT, answer).await.unwrap_or_else(late)
}

/// Why the lake has no answer.
pub(crate) fn lake_error(error: ReadError) -> QueryError {
    match error {
        ReadError::Port(error) => QueryError::port(LAKE, error),
        ReadError::Down(_) => QueryError::Unavailable { what: LAKE },
    }
}
