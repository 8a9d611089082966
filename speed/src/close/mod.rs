//! Closing windows: what waits for a window to be over gets its rows, once and for all.
//!
//! A second group of consumers reads the changes of the views (see [`tideline_common::changes`]), merges the shards of
//! each key, and closes a window when no shard can change it any more. Its rows are those that a reader of the views would
//! compute then, and ever after.
//!
//! # When a window closes
//! When the watermark of every shard behind the view says that all records of the window are late from now on: see
//! `closing` for which instant that is, and `marks` for what the watermark of all shards together is. What comes for a
//! window after that is late by the same rule by which the views leave it to batch, so that nothing of the window changes
//! in the views either. There is one exception: a shard that was taken for idle, and did have something to say. What it
//! says then is in the views, in batch, and in windows that are still open; it is counted, and no output is corrected.
//!
//! # Exactly one decision
//! 1. Changes are read and merged: state is a function of what was read, in whatever order and however often.
//! 2. What closes is decided, with all that follows from it: records, posts, what consumers remember.
//! 3. That is made durable, in a checkpoint put only if absent under the number after the one before.
//! 4. Only then anything is done: records are appended, objects put, alerts posted.
//!
//! A kill before 3 leaves no trace, and the same is decided again. A kill after it finds the decision in the checkpoint,
//! and does it again: a record may be in its topic twice, always with one content and one identity. Of two processes at
//! work on the same, one loses at 3.
//!
//! # Layout
//! - [`CloseLayer`], [`CloseHandle`]: all partitions of a process · `task`: one of them · [`CloseStatus`] · [`CloseConfig`]
//! - `closing`: which windows are final, arithmetic · `marks`: watermarks of shards · `sheet`: states by key · `board`: open windows, pure
//! - [`consumer`]: who waits for windows, and what they want done · `output`: topics · `alert`: conditions · `posts`: webhooks
//! - `state`: all of it, as a checkpoint · `chain`: checkpoints with one author · `begin`: where it starts
//! - `context`: ports, and trying again

mod alert;
mod begin;
mod board;
mod chain;
mod closing;
mod config;
pub mod consumer;
mod context;
#[cfg(test)]
mod laws;
mod layer;
mod marks;
mod output;
mod posts;
mod sheet;
mod state;
mod status;
mod task;

pub use chain::CLOSE;
pub use config::CloseConfig;
pub use layer::{CloseHandle, CloseLayer, ClosePorts};
pub use output::{ID_HEADER, record_key};
pub use status::{CloseCondition, CloseStatus};
