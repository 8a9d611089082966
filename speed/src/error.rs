//! What can go wrong, and whether it may pass.

use tideline_common::ports::PortError;
use tideline_common::position::{Offset, Shard};
use tideline_transform::TransformError;
use tideline_transform::bronze::BronzeError;

/// Why the speed layer, or one shard of it, cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SpeedError {
    /// A value of the configuration is out of its bounds.
    #[error("configuration `{key}`: {reason}")]
    Config {
        /// Which one.
        key: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A port cannot do its work.
    #[error("{0}")]
    Port(#[from] PortError),
    /// Rows or states cannot be made of records.
    #[error("{0}")]
    Transform(#[from] TransformError),
    /// A Bronze file cannot be made or read.
    #[error("{path}: {source}")]
    Bronze {
        /// Its path in the lake.
        path: String,
        /// Why.
        source: BronzeError,
    },
    /// Records are neither in Bronze nor in the log any more.
    #[error("{shard}: records [{from}, {to}) are missing: {between}")]
    Gap {
        /// Whose they are.
        shard: Shard,
        /// First offset that is missing.
        from: Offset,
        /// First offset that is there again.
        to: Offset,
        /// Between what.
        between: &'static str,
    },
    /// Another process has gone on with the same work: what it has decided holds.
    #[error("{what}: another process has gone on with it")]
    Superseded {
        /// The work.
        what: String,
    },
    /// A computation panicked; a bug.
    #[error("a computation panicked: {0}")]
    Panicked(String),
    /// Not everything reached the views and Bronze in time.
    #[error("not sealed within {timeout}: {}", waiting.join("; "))]
    SealTimeout {
        /// How long it was waited for.
        timeout: tideline_common::time::Span,
        /// The shards that are not there yet, each with its reason.
        waiting: Vec<String>,
    },
    /// A shard has failed for good, or the layer has been stopped.
    #[error("{shard} does not go on: {reason}")]
    Stopped {
        /// The shard.
        shard: Shard,
        /// Why.
        reason: String,
    },
}

impl SpeedError {
    /// Whether starting the shard again from its checkpoint may help.
    pub const fn is_retryable(&self) -> bool {
        match self {
            // What has expired from the log since is in Bronze; recovery finds out.
            Self::Port(error) => error.is_retryable() || matches!(error, PortError::Expired { .. }),
            _ => false,
        }
    }
}
