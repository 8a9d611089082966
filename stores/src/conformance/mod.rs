//! The suites: what every adapter of a port must do, whatever it runs on.
//!
//! A suite is a function that takes a *fixture* per test: something that opens the store under test, again and again
//! over the same data, so that durability can be tested. It panics where the store breaks the contract, with what
//! was expected; the tests of an adapter call it.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a suite is a test: it reports by panicking")]

pub mod analytics;
pub mod log;
pub mod membership;
pub mod objects;
pub mod views;

use std::sync::Arc;

use async_trait::async_trait;

/// One empty store, which can be opened again.
#[async_trait]
pub trait Fixture<Port: ?Sized>: Send {
    /// Opens the store, with all that was written before. The suite has let go of what was opened before.
    async fn open(&mut self) -> Arc<Port>;
}
