//! What brings records into a log: generators, and the appender behind HTTP ingest and `tideline produce`.
//!
//! # Layout
//! - [`appender`]: records → partition keys → the log
//! - [`generate`]: synthetic streams of the systems, seeded
//! - [`pace`]: so many per second
//!
//! # Never
//! This crate never parses a record for its meaning (a record that cannot be read is for the layers to find, and
//! to keep), and never knows which log it writes to.

pub mod appender;
pub mod generate;
pub mod pace;
