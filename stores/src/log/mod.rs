//! Logs.

pub mod embedded;
