//! The speed layer: from the log to views that answer in under a second, exactly once.
//!
//! Several processes share the partitions of the sources: each joins a group and works on what it is assigned. That is a
//! way to share work, not a lock: who does not know yet that its partition was given away does no harm, as everything
//! durable is either created only if absent, or absolute and as of a position.
//!
//! One task per *shard*, a partition of a source. It reads a micro-batch while it computes the one before, makes rows and
//! partial states of it with the same transform as the batch layer, merges them into its panes, and
//! - **flushes** what changed to the views, whole and under the position that it is "as of": writing it again, or
//!   late, changes nothing;
//! - **appends** rows, as soon as they are made, to the topics of outputs that take them;
//! - **commits** every checkpoint interval: views synced → rows appended → Bronze file → dead letters → changes appended →
//!   checkpoint, each created only if absent. What is read again after a kill therefore meets itself.
//!
//! What a shard has computed is a function of the records before its position alone: no batch boundary, clock or
//! number of restarts goes into it. Everything else follows from that.
//!
//! # Layout
//! - [`SpeedLayer`], [`SpeedHandle`]: all shards of a process · `roster`: which they are · [`ShardStatus`]: what one tells about itself · [`SpeedConfig`]
//! - `shard`: the task of one · `reader`: reads ahead, Bronze then log · `recover`: where it stood · `start`: where it began
//! - `state`: what it has computed, pure · `dedupe`: keys seen · `late`: counts of late rows · `program`: the plan, compiled
//! - `commit`: the order of durable steps · `bronze`: the chain · `checkpoint` · [`dead_letter`] · `changes`: for rankings kept ready
//! - `outputs`: rows as they come, to topics
//! - `rebuild`: all of it again, from Bronze alone
//! - [`close`]: closed windows to topics and alerts, from the changes of all shards
//! - `context`: ports of a shard, and trying again
//!
//! # Never
//! This crate never knows a store, the batch or the serving layer; never reads the wall clock but through its
//! port; never decides anything about a record by when or with which others it was read; never drops a record.

mod bronze;
mod changes;
mod checkpoint;
pub mod close;
mod commit;
mod config;
mod context;
pub mod dead_letter;
mod dedupe;
mod error;
mod flush;
mod late;
mod layer;
mod outputs;
mod program;
mod reader;
mod rebuild;
mod recover;
mod roster;
mod shard;
mod start;
mod state;
mod status;

pub use checkpoint::CHECKPOINTS;
pub use config::SpeedConfig;
pub use error::SpeedError;
pub use layer::{MembershipStatus, SpeedHandle, SpeedLayer, SpeedPorts, ViewWatermark};
pub use rebuild::Rebuilt;
pub use status::{ShardCondition, ShardStatus};
