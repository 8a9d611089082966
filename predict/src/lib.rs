//! Online prediction over closed windows, and drift between two samples of them; pure.
//!
//! # Layout
//! - [`feature`]: what a model sees of a window and of those before it · [`history`]: the last windows of a key
//! - [`scaler`], [`regression`]: the learner, equal to River's · [`metrics`]: its running errors, equal to River's
//! - [`model`]: one version of a model with its settings · [`spec`]: what is predicted, from what, by which versions
//! - [`predictor`]: predict, wait for the window, learn; the state as bytes
//! - [`drift`]: a reference sample against a current one, with Evidently's tests; the report as JSON and HTML
//!
//! # Never
//! This crate never reads a clock, opens a file or a socket, and never knows where windows come from or where
//! predictions go: it is given windows in the order of its caller, and the same windows in the same order give the same
//! predictions, to the last bit, whether or not the state was stored and read back in between.

pub mod drift;
pub mod feature;
pub mod history;
pub mod metrics;
pub mod model;
pub mod predictor;
pub mod regression;
pub mod scaler;
pub mod spec;

/// The greatest magnitude of a number that is learnt from. What is beyond it, infinite or not a number counts as null:
/// squares of what remains, summed over any run, stay finite, so one absurd value cannot spoil a model for ever.
pub const MAGNITUDE_MAX: f64 = 1e100;

/// The number, where it is one that is learnt from.
pub(crate) fn usable(number: Option<f64>) -> Option<f64> {
    number.filter(|x| x.abs() <= MAGNITUDE_MAX)
}
