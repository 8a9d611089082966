//! The domain of Tideline, pure: no I/O, no vendor, no clock of its own.
//!
//! # Layout
//! - [`time`]: timestamps and spans in microseconds · [`window`]: panes and windows · [`watermark`]: event-time progress
//! - [`position`]: partitions, offsets, shards · [`record`]: what a log holds
//! - [`value`]: types and values · [`mod@column`]: typed columns · [`key`]: order-preserving key bytes
//! - [`state`]: states with merge rules, in columns; the pane algebra · [`aggregate`]: the aggregates made of them
//! - [`formula`]: expressions over finished measures
//! - [`definition`]: the TOML file · [`plan`]: what it compiles to
//! - [`manifest`]: what the batch layer publishes · [`checkpoint`]: where the speed layer keeps its own · [`generation`]: what a replay makes anew · [`changes`]: changed panes in the log · [`alert`]: alerts that were fired · [`prediction`]: how predictions are doing
//! - [`ports`]: what the layers need from the outside world
//!
//! # Never
//! This crate never opens a file or a socket, never reads the wall clock, and never knows Polars, Kafka,
//! Scylla, `ClickHouse` or HTTP. What enters it is used by two layers.

pub mod aggregate;
pub mod alert;
pub mod changes;
pub mod checkpoint;
pub mod column;
pub mod definition;
pub mod formula;
pub mod generation;
pub mod key;
pub mod manifest;
pub mod plan;
pub mod ports;
pub mod position;
pub mod prediction;
pub mod record;
pub mod state;
pub mod time;
pub mod value;
pub mod watermark;
pub mod window;
