//! Configuration: section `[batch]` of `tideline.toml`.

use serde::{Deserialize, Deserializer};
use tideline_common::time::Span;

use crate::error::BatchError;
use crate::schedule::check_schedule;

/// What computes Gold from Silver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// Polars, in this process.
    #[default]
    Polars,
    /// The `ClickHouse` of section `[analytics]`, which reads Silver from the object store by itself. A view that it
    /// cannot compute stays with Polars; the run says which, and why.
    ClickHouse,
}

/// How the batch layer works. Every field has a default; unknown keys are errors.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchConfig {
    /// When runs begin: cron with six fields (second first), UTC. An empty text: only on demand.
    pub schedule: String,
    /// What computes Gold from Silver.
    pub engine: EngineKind,
    /// Bronze files that are read and decoded at the same time.
    pub parallelism: usize,
    /// Records that are decoded together, about: a single Bronze file is never cut.
    pub unit_records: usize,
    /// Size of the Bronze files that are decoded together, in stored (compressed) bytes, about.
    pub unit_bytes: u64,
    /// Whether Bronze to Silver is shared with other processes of this role, through the object store alone.
    pub share: bool,
    /// Records of one unit of a shared run, about: what a process that is killed costs.
    pub share_records: u64,
    /// Stored bytes of the Bronze files of one unit of a shared run, about.
    pub share_bytes: u64,
    /// How long a process has a unit of a shared run for itself; then another may do it again.
    #[serde(deserialize_with = "span")]
    pub lease: Span,
    /// How often a process looks for units to do, or for what others have done.
    #[serde(deserialize_with = "span")]
    pub share_poll: Span,
    /// Silver rows are written when those in memory reach this many bytes.
    pub chunk_bytes: usize,
    /// Deduplication keys in memory, at most, about; beyond, they are read again from their files.
    pub seen_keys: usize,
    /// Silver rows that one Gold scan covers, about (a bucket is never cut).
    pub gold_rows: u64,
    /// Rows per row group of a Gold file: the finest that a reader of one key can skip.
    pub gold_row_group: usize,
    /// Length of the time buckets that Gold is cut into and recomputed by; made a multiple of the view's pane.
    #[serde(deserialize_with = "span")]
    pub bucket: Span,
    /// Hive partitions in one write of a table, at most.
    pub max_partitions: usize,
    /// Small files in one folder of Silver that are left as they are; more are made one.
    pub compact_files: usize,
    /// A Silver file of this many rows is no longer small.
    pub compact_rows: u64,
    /// Published versions that are kept.
    pub keep_versions: usize,
    /// A version stays readable for at least this long after a newer one, and a file without a version is left
    /// alone for this long: it may belong to a run in progress.
    #[serde(deserialize_with = "span")]
    pub grace: Span,
    /// Size of the files that small Bronze files are joined to, in stored bytes, about; 0: none are joined.
    pub bronze_join_bytes: u64,
    /// Records of such a file, about.
    pub bronze_join_records: u64,
    /// So many neighbours are joined even when they do not fill a file.
    pub bronze_join_files: usize,
    /// The newest files of each chain of Bronze, which are neither joined nor dropped.
    pub bronze_keep_newest: usize,
    /// Finished runs that are remembered.
    pub history: usize,
    /// (key, pane) groups per page that [`verify`](crate::BatchLayer::reconcile) asks of the speed views.
    pub verify_page: usize,
    /// Two float sums are equal when they differ by at most this much, relative to the greater.
    pub tolerance: f64,
    /// … or by at most this much in all: sums that cancel out to about nothing.
    pub tolerance_absolute: f64,
}

impl BatchConfig {
    /// Checks every bound, and the schedule.
    ///
    /// # Errors
    /// [`BatchError::Config`] with the key that is out of its bounds, [`BatchError::Schedule`].
    pub fn check(&self) -> Result<(), BatchError> {
        let positive: [(&'static str, bool); 20] = [
            ("parallelism", self.parallelism > 0),
            ("unit_records", self.unit_records > 0),
            ("unit_bytes", self.unit_bytes > 0),
            ("share_records", self.share_records > 0),
            ("share_bytes", self.share_bytes > 0),
            ("lease", self.lease.0 > 0),
            ("share_poll", self.share_poll.0 > 0),
            ("chunk_bytes", self.chunk_bytes > 0),
            ("seen_keys", self.seen_keys > 0),
            ("gold_rows", self.gold_rows > 0),
            ("gold_row_group", self.gold_row_group > 0),
            ("bucket", self.bucket.0 > 0),
            ("max_partitions", self.max_partitions > 0),
            ("keep_versions", self.keep_versions > 0),
            ("bronze_join_records", self.bronze_join_records > 0),
            ("bronze_join_files", self.bronze_join_files > 1),
            ("bronze_keep_newest", self.bronze_keep_newest > 0),
            ("history", self.history > 0),
            ("verify_page", self.verify_page > 0),
            ("compact_files", self.compact_files > 0),
        ];
        if let Some((key, _)) = positive.into_iter().find(|(_, holds)| !holds) {
            return Err(BatchError::Config { key, reason: "it must be greater than zero" });
        }
        if !(0.0..1.0).contains(&self.tolerance) || !(0.0..1.0).contains(&self.tolerance_absolute) {
            return Err(BatchError::Config { key: "tolerance", reason: "it must be at least 0 and below 1" });
        }
        if self.schedule.is_empty() { Ok(()) } else { check_schedule(&self.schedule) }
    }
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self {
            schedule: "0 */5 * * * *".to_owned(),
            engine: EngineKind::Polars,
            parallelism: 2,
            unit_records: 20_000,
            unit_bytes: 8 << 20,
            share: false,
            share_records: 1_000_000,
            share_bytes: 256 << 20,
            lease: Span(5 * Span::MINUTE.0),
            share_poll: Span(Span::SECOND.0 / 2),
            chunk_bytes: 256 << 20,
            seen_keys: 4_000_000,
            gold_rows: 5_000_000,
            gold_row_group: 4_096,
            bucket: Span::DAY,
            max_partitions: 20_000,
            compact_files: 8,
            compact_rows: 100_000,
            keep_versions: 10,
            grace: Span::HOUR,
            bronze_join_bytes: 32 << 20,
            bronze_join_records: 500_000,
            bronze_join_files: 8,
            bronze_keep_newest: 8,
            history: 100,
            verify_page: 50_000,
            tolerance: 1e-9,
            tolerance_absolute: 1e-9,
        }
    }
}

fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
    let text = String::deserialize(deserializer)?;
    let span = Span::parse(&text).map_err(serde::de::Error::custom)?;
    if span.0 <= 0 {
        return Err(serde::de::Error::custom(format!("`{text}` must be longer than zero")));
    }
    Ok(span)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn absent_keys_have_defaults_and_unknown_ones_fail() {
        let config: BatchConfig = serde_json::from_str(r#"{"bucket": "6h", "keep_versions": 3}"#).unwrap();
        assert_eq!((config.bucket, config.keep_versions, config.parallelism), (Span(6 * Span::HOUR.0), 3, 2));
        assert_eq!(config.engine, EngineKind::Polars);
        let config: BatchConfig = serde_json::from_str(r#"{"engine": "clickhouse"}"#).unwrap();
        assert_eq!(config.engine, EngineKind::ClickHouse);
        assert!(serde_json::from_str::<BatchConfig>(r#"{"engine": "spark"}"#).is_err());
        assert!(serde_json::from_str::<BatchConfig>(r#"{"buckets": "6h"}"#).is_err());
        assert!(serde_json::from_str::<BatchConfig>(r#"{"bucket": "soon"}"#).is_err());
        assert!(serde_json::from_str::<BatchConfig>(r#"{"bucket": "0s"}"#).is_err());
    }
}
