//! The serving layer: one answer out of two layers, and the HTTP API over it.
//!
//! # Layout
//! - [`boundary`]: which layer answers for which panes, and what is missing when one cannot
//! - [`merge`]: the query engine, [`merge::Reader`]: rows of windows, rankings, lookups, reports; works without HTTP
//! - [`ranking`]: rankings kept ready in memory
//! - [`predictions`]: how predictions are doing, and drift reports
//! - [`alerts`]: alerts as they are fired, for whoever shows them live
//! - [`live`]: views, rows and alerts as they change, for many clients at once
//! - [`guard`]: what stands between queries and a store that may be down or slow
//! - [`api`]: the HTTP endpoints over a [`merge::Reader`], problem documents, `OpenAPI`, [`api::serve`]
//! - [`error`]: why a query has no answer
//!
//! # Never
//! This crate knows the layers by the ports of `common` and by the small traits of [`api::ports`] only: no Polars, no
//! store, no log, no broker. It never computes an aggregate itself: states are merged by their rules and finished by
//! the plan. Only [`api`] knows HTTP.

pub mod alerts;
pub mod api;
pub mod boundary;
pub mod error;
pub mod guard;
pub mod live;
pub mod merge;
pub mod predictions;
pub mod ranking;
mod versions;
