//! Benchmarks, each a ratio or a rate of one run

pub mod ndjson;
pub mod spent;
