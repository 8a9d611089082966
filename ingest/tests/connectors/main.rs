//! Connectors against a server on this machine that answers as the APIs' documentation says, errors included. Time is a clock
//! that stands still until somebody waits, so that hours pass at once and nothing depends on how fast this machine is.

// Modules of a test program are seen by nobody else.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod config;
mod cursor;
mod http;
mod instagram;
mod reddit;
mod runner;
mod stocks;
mod support;
mod tmdb;
mod twitter;
