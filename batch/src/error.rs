//! What can go wrong in a run.

use polars::error::PolarsError;
use tideline_common::ports::PortError;
use tideline_common::position::{Offset, Partition};
use tideline_transform::TransformError;
use tideline_transform::bronze::BronzeError;

/// Why the batch layer could not do its work. Whatever it is, the version published before stays readable.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// A value of the configuration is out of its bounds.
    #[error("batch.{key}: {reason}")]
    Config {
        /// Which one.
        key: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A store failed.
    #[error(transparent)]
    Port(#[from] PortError),
    /// Rows or states could not be made.
    #[error(transparent)]
    Transform(#[from] TransformError),
    /// A Bronze file cannot be read.
    #[error("{path}: {source}")]
    Bronze {
        /// The file.
        path: String,
        /// Why.
        source: BronzeError,
    },
    /// The Bronze chain of a partition has a hole: records are missing, and what follows must wait for them.
    #[error("Bronze of {source_name}/{partition} has a gap: expected offset {expected}, found {found} ({path})")]
    Gap {
        /// The source.
        source_name: String,
        /// The partition.
        partition: Partition,
        /// Where the chain should go on.
        expected: Offset,
        /// Where the next file begins.
        found: Offset,
        /// The next file.
        path: String,
    },
    /// A Bronze file is not there any more: it has been joined to others since it was listed.
    #[error("{path} has vanished since it was listed")]
    Vanished {
        /// The file.
        path: String,
    },
    /// Bronze files hold different records at the same offset: the chain has forked.
    #[error("Bronze of {source_name}/{partition}: {reason} ({path})")]
    Fork {
        /// The source.
        source_name: String,
        /// The partition.
        partition: Partition,
        /// What differs.
        reason: String,
        /// One of the files.
        path: String,
    },
    /// Retention has dropped a part of Bronze: made anew from the rest, a version would lack what came before.
    #[error("Bronze no longer begins where its records did, so what came before cannot be made again: {dropped}")]
    Lossy {
        /// Where, for the operator.
        dropped: String,
    },
    /// Polars failed outside of a definition's expressions.
    #[error("{what}: {source}")]
    Frame {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: PolarsError,
    },
    /// Another writer published this version first: the run must begin again, from that version.
    #[error("version {version} has been published by another writer")]
    LostRace {
        /// The version that both wanted.
        version: u64,
    },
    /// No manifest of this version is kept.
    #[error("version {version} is not kept: {kept}")]
    NoVersion {
        /// The version asked for.
        version: u64,
        /// Which are, for the operator.
        kept: String,
    },
    /// A table is partitioned by columns with too many values.
    #[error("table `{table}`: one write has {count} Hive partitions, more than {limit} (batch.max_partitions)")]
    TooManyPartitions {
        /// The table.
        table: String,
        /// Values met.
        count: usize,
        /// The bound.
        limit: usize,
    },
    /// The schedule is not one.
    #[error(
        "`{expression}` is not a schedule: {reason}; use six fields, second minute hour day month weekday, such as `0 */5 * * * *`"
    )]
    Schedule {
        /// As written.
        expression: String,
        /// What is wrong.
        reason: String,
    },
    /// The process is shutting down.
    #[error("the run was cancelled")]
    Cancelled,
    /// A worker thread panicked.
    #[error("a worker failed: {0}")]
    Worker(String),
}

impl BatchError {
    /// A [`BatchError::Frame`].
    pub(crate) fn frame(what: impl Into<String>) -> impl FnOnce(PolarsError) -> Self {
        let what = what.into();
        move |source| Self::Frame { what, source }
    }

    /// Whether a new run may succeed without anyone changing anything.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Port(error) => error.is_retryable(),
            Self::LostRace { .. } | Self::Vanished { .. } => true,
            _ => false,
        }
    }
}

impl From<tokio::task::JoinError> for BatchError {
    fn from(error: tokio::task::JoinError) -> Self {
        if error.is_cancelled() { Self::Cancelled } else { Self::Worker(error.to_string()) }
    }
}
