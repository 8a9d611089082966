//! Analytics: what the batch layer has published.

pub mod parquet;
