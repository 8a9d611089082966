//! Databases that compute over the lake for the batch layer.

pub mod clickhouse;
