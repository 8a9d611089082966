//! Analytics: what the batch layer has published.

pub mod clickhouse;
pub mod parquet;
