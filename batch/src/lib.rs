//! The batch layer: exact answers from Bronze, in published versions.
//!
//! # Layout
//! - [`BatchLayer`] (`layer`): one run after the other; `registry`: which runs there were; `schedule`: when they begin
//! - a run: `chain` (what Bronze has beyond the positions) → `silver` (rows, deduplicated) → `gold` (states) →
//!   `through` (the boundary) → `reports` → [`Manifests`] (publication) → `load` (a store of analytics takes it in) → `publish` (deletion
//!   of what is old)
//! - `engine`: Gold by Polars or by a database; [`sql`]: the plan as statements for that database
//! - [`reconcile`]: what speed served, compared with Gold
//! - `lake`, `hive`, `compact`: Parquet files, their folders, small ones joined · `context`: what a run works with
//!
//! # Files
//! ```text
//! silver/<table>/<column>=<value>/…/<run>-<n>.parquet     rows: columns, event_time, _sequence, _ordinal
//! silver/_seen/<source>/<day>/<run>-<n>.parquet           deduplication keys
//! gold/<view>/<version>/<run>-<n>.parquet                 states of one time bucket, sorted by (key, pane)
//! gold/_reports/<report>/<run>-<n>.<fingerprint>.parquet  rows of a report
//! gold/_manifests/<version, 20 digits>.json               what belongs to a version
//! ```
//!
//! # Invariants
//! - Nothing is readable before its manifest is; the manifest is one conditional put. A crash anywhere leaves the
//!   version before, and files that no manifest names, which a later run deletes.
//! - A path is written once: it holds the id of its run. Files are never changed.
//! - Incremental equals from scratch: a run's result depends on Bronze up to its positions, not on how many runs
//!   it took. (One freedom: of cross-partition duplicates that differ outside of the dedupe expression, the one
//!   that was taken in first stays.)
//!
//! # Never
//! This crate never knows the speed layer, serving, or a store: Bronze is all it reads of the others' work, and
//! ports are all it writes through. It never reads the wall clock but through the `Clock` port, and has no code
//! for any one aggregate, view or pipeline.

mod bronze;
mod chain;
mod compact;
mod config;
mod context;
mod engine;
mod error;
mod gold;
mod hive;
mod lake;
mod layer;
mod load;
mod manifests;
mod publish;
pub mod reconcile;
mod registry;
mod reports;
mod schedule;
mod silver;
pub mod sql;
mod through;

pub use bronze::BronzeCounts;
pub use config::{BatchConfig, EngineKind};
pub use engine::GoldEngine;
pub use error::BatchError;
pub use gold::GoldCounts;
pub use layer::{BatchLayer, BatchPorts};
pub use manifests::Manifests;
pub use publish::files_of;
pub use registry::{RunId, RunReport, RunState, RunStatus, Stage};
pub use reports::ReportOutcome;
pub use schedule::check_schedule;
pub use silver::SilverCounts;
