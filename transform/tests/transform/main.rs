//! The transform as its callers see it.
#![allow(clippy::unwrap_used, missing_docs)]

mod decoding;
mod expressions;
mod frames;
mod json;
mod models;
mod plans;
mod states;
mod steps;
mod titles;
mod words;
