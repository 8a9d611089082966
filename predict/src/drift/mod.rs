//! Drift: a reference sample of windows against a current one.
//!
//! Three questions, each with the test and the threshold that Evidently 0.7 takes by default: are the features still
//! distributed as they were ([`ColumnDrift`], [`DatasetDrift`]), are the errors of the predictions ([`ErrorDrift`]), and
//! is the data as complete and within the range that it had ([`Quality`]).
//!
//! # Which test
//! By the kind of a column, the rows of the reference (nulls left out), and the distinct values of both samples together:
//!
//! | reference | distinct values | numeric column | categorical column |
//! |---|---|---|---|
//! | at most 1,000 rows | more than 5 | [Kolmogorov–Smirnov](test::kolmogorov_smirnov), p ≤ 0.05 | [χ²](test::chi_square), p < 0.05 |
//! | | 3 to 5 | χ², p < 0.05 | χ², p < 0.05 |
//! | | 1 or 2 | [z](test::proportions), p < 0.05 | z, p < 0.05 |
//! | more | more than 5 | [Wasserstein](test::wasserstein) over the reference's σ, ≥ 0.1 | [Jensen–Shannon](test::jensen_shannon), ≥ 0.1 |
//! | | at most 5 | Jensen–Shannon, ≥ 0.1 | Jensen–Shannon, ≥ 0.1 |
//!
//! The data set has drifted when the share of drifted features is at least 0.5.
//!
//! # Layout
//! [`sample`]: what is compared · [`mod@test`]: the tests, pure functions of two samples · [`compare()`]: which test, and what
//! comes of it · [`recorder`]: the samples, by the hour · [`report`]: the result · [`html`]: the result as a page

mod compare;
pub mod html;
pub mod recorder;
pub mod report;
pub mod sample;
pub mod test;

pub use compare::{DriftSpec, compare};
pub use recorder::{Recorder, RecorderSpec};
pub use report::{ColumnDrift, DatasetDrift, DriftReport, ErrorDrift, Quality};
pub use sample::{Column, Kind, Sample, Values};
