//! Trackers of experiments: `MLflow`, over its REST API.

pub mod mlflow;
