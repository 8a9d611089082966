//! Adapters behind the ports of `tideline-common`, and the suites that each of them passes.
//!
//! # Layout
//! - [`lock`]: a data folder, held by one process · [`clock`]: the wall clock
//! - [`log`]: the log on fjall, and on Kafka · [`membership`]: of a process that does everything
//! - [`objects`]: the object store, over the `object_store` crate
//! - [`views`]: the speed views on fjall
//! - [`analytics`]: what batch has published, as Parquet in the object store
//! - [`webhook`]: posts to the webhooks of alerts, over HTTP
//! - [`engine`]: databases that compute over the lake
//! - [`tracking`]: a tracker of experiments, `MLflow`
//! - [`faulty`]: decorators that inject faults · [`conformance`]: one suite per port
//!
//! # Never
//! No layer knows this crate: they see the ports, and the binary alone chooses adapters. An adapter never knows a
//! definition or an aggregate; it stores records, objects and states, and says what went wrong in terms of
//! [`PortError`](tideline_common::ports::PortError).

pub mod analytics;
pub mod clock;
pub mod conformance;
mod disk;
pub mod engine;
pub mod faulty;
pub mod lock;
pub mod log;
pub mod membership;
pub mod objects;
pub mod tracking;
pub mod views;
pub mod webhook;
