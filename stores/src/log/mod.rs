//! Logs.

pub mod embedded;
pub mod kafka;
mod spec;
