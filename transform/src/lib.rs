//! Records to typed rows to partial states: the one function that both layers call.
//!
//! # Layout
//! - [`SourceTransform`]: records of a source → typed rows ([`SourceRows`]) and rejected records ([`Rejected`]);
//!   typed rows → rows of a table. `decode` reads JSON and event times straight into columns.
//! - [`ViewTransform`]: rows of a table → partial states of a view, by `fold`, over a micro-batch and over a lazy
//!   scan alike.
//! - [`RowJson`]: rows of a table → JSON, for topics that take rows.
//! - [`SqlTypes`]: what an SQL expression evaluates to · `expression`: SQL compiled once · `functions`, `titles`, `emotions`,
//!   [`models`]: ours
//! - [`sql`]: free SQL for reports and `tideline sql` · [`steps`]: the steps of a report
//! - [`frame`]: states, answers and lookup rows as Polars frames: the schema of Gold · [`bronze`]: records as Parquet
//!
//! # Never
//! This crate never opens a file or a socket, never reads the wall clock, never logs a record's content, and knows
//! neither log nor store. It decides nothing about time but what it is told: lateness comes in as a column.

pub mod bronze;
mod decode;
mod emotions;
mod error;
mod expression;
mod fold;
pub mod frame;
mod functions;
mod json;
mod long_keys;
mod maps;
mod message;
pub mod models;
mod reason;
mod rows;
mod source;
pub mod sql;
pub mod steps;
mod titles;
mod types;
mod view;

pub use error::TransformError;
pub use json::{JsonRow, JsonRows, RowJson};
pub use reason::{Reason, Rejected};
pub use rows::{Decoded, SourceRows};
pub use source::{SourceTransform, TablesOver};
pub use sql::SqlTypes;
pub use view::{SpeedStates, ViewTransform};

/// Column of a row frame: [`tideline_common::position::sequence`] of the row's record.
pub const SEQUENCE: &str = "_sequence";
/// Column of a row frame: the row's place among the rows of its record, 0 unless `unnest` made several.
pub const ORDINAL: &str = "_ordinal";
/// Column of a row frame in the speed layer: highest event time of the partition before the row's record, in
/// microseconds; null before the first record.
pub const HIGHEST: &str = "_highest";
