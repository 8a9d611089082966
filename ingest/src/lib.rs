//! What brings records into a log: connectors to APIs, generators, and the appender behind HTTP ingest and `tideline produce`.
//!
//! # Layout
//! - [`appender`]: records → partition keys → the log
//! - [`connector`]: what is fetched from APIs; one file per API
//! - [`generate`]: synthetic streams of the systems, seeded
//! - [`pace`]: so many per second
//!
//! # Never
//! This crate never parses a record of a topic for its meaning (a record that cannot be read is for the layers to find, and
//! to keep), and never knows which log it writes to. An API is what a connector asks over HTTP (`docs/adr/0012`), and nothing
//! else here does.

pub mod appender;
pub mod connector;
pub mod generate;
pub mod pace;
