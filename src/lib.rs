//! The program: command line, configuration and wiring. The only place where adapters are chosen.
//!
//! # Layout
//! - [`config`]: `tideline.toml` · [`catalog`]: a folder of definitions → one plan
//! - [`stores`]: the adapters that the configuration names · [`platform`]: every layer in one process
//! - [`prediction`]: closed windows learnt from, and what the next will be
//! - [`connectors`]: those that are configured, at work
//! - [`process`]: what every standing process has · [`controls`]: what serving asks of the other layers
//! - [`models`]: configured models that classify texts, each a program of its own · [`web`]: where the built page lies
//! - [`replay`]: speed views and Gold made anew from Bronze · [`streams`]: what speed knows, into `ClickHouse`
//! - [`agreement`]: the layers compared, on demand and after every published version
//! - [`client`]: the HTTP API, of a running server or in this process
//! - [`command`]: one file per command · [`output`]: what they print
//! - [`golden`]: definitions tested against expected answers
//!
//! # Never
//! Nothing here computes an answer: that is the layers' work.

pub mod agreement;
pub mod catalog;
pub mod client;
pub mod command;
pub mod config;
pub mod connectors;
pub mod controls;
pub mod golden;
pub mod models;
pub mod output;
pub mod platform;
pub mod prediction;
pub mod process;
pub mod replay;
pub mod stores;
pub mod streams;
pub mod web;
