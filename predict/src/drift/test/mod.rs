//! The tests: pure functions of two samples, equal to those of `SciPy` 1.17 as Evidently 0.7 calls them.
//!
//! Equal means to 1e-9: of the value for distances and p-values, and never closer than 1e-14 in all for p-values that
//! `SciPy` itself computes as one less something. Two are more exact than the reference there: [`proportions()`] does not
//! lose small p-values to that subtraction.

// The names are those of the papers.
#![allow(clippy::many_single_char_names)]

mod counts;
mod gamma;
mod kolmogorov;
mod smirnov;
mod wasserstein;

pub use counts::{Counts, chi_square, jensen_shannon, proportions};
pub use smirnov::kolmogorov_smirnov;
pub use wasserstein::wasserstein;
