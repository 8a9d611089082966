//! Configuration of the speed layer: defaults, bounds, and how long to pause before trying again.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tideline_common::generation::Generation;
use tideline_common::time::Span;

use crate::SpeedError;

/// How the speed layer works. As TOML (`[speed]`), lengths of time are written as text: `"200ms"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpeedConfig {
    /// Changed panes become visible at least this often while records keep coming; four times as often when a
    /// shard has caught up with its log. 10 ms to 10 s.
    #[serde(with = "text")]
    pub flush_interval: Span,
    /// How long a shard that has caught up lets records gather before it reads again. 0 to `flush_interval`.
    #[serde(with = "text")]
    pub linger: Span,
    /// A checkpoint is made at least this often when there is anything new. 10 ms to 60 s.
    #[serde(with = "text")]
    pub checkpoint_interval: Span,
    /// Checkpoints kept per shard: the newest, and those to fall back to when it is damaged. 1 to 100.
    pub checkpoints_kept: usize,
    /// Records of a micro-batch. 1 to 1,000,000.
    pub max_batch_records: usize,
    /// Payload bytes of a micro-batch. 1 to 1 GiB.
    pub max_batch_bytes: usize,
    /// Bytes of records (and of dead letters) that wait for Bronze, per shard; when reached, a file is cut
    /// before the checkpoint is due. Twice this may be held, as one file is written while the next one gathers.
    /// 1 to 4 GiB.
    pub max_bronze_bytes: usize,
    /// Bytes of changed panes that wait to be appended to topics of changes, per shard; beyond it they are given up, and
    /// made again from the checkpoint when the topics can be written. 1 to 4 GiB.
    pub max_change_bytes: usize,
    /// Bytes of records whose rows wait to be appended to the topics of outputs, per shard, for each output; when reached, the
    /// shard waits for the log. 1 to 4 GiB.
    pub max_output_bytes: usize,
    /// Bytes of a row in the topic of an output, with its key and headers: less than a log takes. A larger row is left out,
    /// and counted. 1 to 64 MiB.
    pub max_row_bytes: usize,
    /// Rows of lookups that wait for a flush, per shard. 1 to 10,000,000.
    pub max_pending_rows: usize,
    /// Bytes of open panes, remembered keys and late counts, per shard. A shard above it stops reading, and says
    /// so, until it is restarted with a greater bound: the log keeps everything. At least 1.
    pub max_state_bytes: usize,
    /// Groups of late rows whose counts are kept exact, per shard and view; beyond it the least recent half is
    /// forgotten (a forgotten group starts again at 1 when it is touched). 1 to 100,000,000.
    pub max_late_groups: usize,
    /// First pause before something that failed is tried again; doubles each time. 1 ms to `retry_max`.
    #[serde(with = "text")]
    pub retry_initial: Span,
    /// Longest pause. At most 10 min.
    #[serde(with = "text")]
    pub retry_max: Span,
    /// How long one read waits for records. 1 ms to 60 s.
    #[serde(with = "text")]
    pub read_wait: Span,
    /// How often ends of topics, lag and new partitions are looked up. 10 ms to 10 min.
    #[serde(with = "text")]
    pub monitor_interval: Span,
    /// How long an ordered shutdown may take before a shard is dropped where it stands (which loses nothing:
    /// it only has more to replay). At most 10 min.
    #[serde(with = "text")]
    pub shutdown_timeout: Span,
    /// How long a shard whose partition goes to another process may take to end in order, before it is dropped where
    /// it stands. The group does not wait for ever: well below `max.poll.interval.ms`. At most 2 min.
    #[serde(with = "text")]
    pub handover_timeout: Span,
    /// How long [`crate::SpeedHandle::seal`] waits. At most 1 h.
    #[serde(with = "text")]
    pub seal_timeout: Span,
    /// Consumer group under which progress is noted in the log, for lag monitoring only.
    pub group: String,
    /// Whose checkpoints these are: those of another generation are not trusted. Not configured, but found out.
    #[serde(skip)]
    pub generation: Generation,
}

impl Default for SpeedConfig {
    fn default() -> Self {
        Self {
            flush_interval: Span::from_millis(200),
            linger: Span::from_millis(40),
            checkpoint_interval: Span::from_secs(10),
            checkpoints_kept: 3,
            max_batch_records: 10_000,
            max_batch_bytes: 8 << 20,
            max_bronze_bytes: 16 << 20,
            max_change_bytes: 16 << 20,
            max_output_bytes: 16 << 20,
            max_row_bytes: 1_000_000,
            max_pending_rows: 50_000,
            max_state_bytes: 512 << 20,
            max_late_groups: 250_000,
            retry_initial: Span::from_millis(100),
            retry_max: Span::from_secs(10),
            read_wait: Span::from_secs(1),
            monitor_interval: Span::from_secs(1),
            shutdown_timeout: Span::from_secs(30),
            handover_timeout: Span::from_secs(20),
            seal_timeout: Span::from_secs(60),
            group: "tideline".to_owned(),
            generation: Generation::default(),
        }
    }
}

impl SpeedConfig {
    /// Checks every bound.
    ///
    /// # Errors
    /// [`SpeedError::Config`] for the first value that is out of its bounds.
    pub fn check(&self) -> Result<(), SpeedError> {
        let ms = Span::from_millis;
        let span = |key: &'static str, value: Span, least: Span, most: Span| {
            if value < least || value > most {
                return Err(SpeedError::Config { key, reason: format!("{value} is not between {least} and {most}") });
            }
            Ok(())
        };
        let count = |key: &'static str, value: usize, most: usize| {
            if value < 1 || value > most {
                return Err(SpeedError::Config { key, reason: format!("{value} is not between 1 and {most}") });
            }
            Ok(())
        };
        span("speed.flush_interval", self.flush_interval, ms(10), Span::from_secs(10))?;
        span("speed.linger", self.linger, Span::ZERO, self.flush_interval)?;
        span("speed.checkpoint_interval", self.checkpoint_interval, ms(10), Span::from_secs(60))?;
        span("speed.retry_max", self.retry_max, ms(1), Span::from_secs(600))?;
        span("speed.retry_initial", self.retry_initial, ms(1), self.retry_max)?;
        span("speed.read_wait", self.read_wait, ms(1), Span::from_secs(60))?;
        span("speed.monitor_interval", self.monitor_interval, ms(10), Span::from_secs(600))?;
        span("speed.shutdown_timeout", self.shutdown_timeout, Span::ZERO, Span::from_secs(600))?;
        span("speed.handover_timeout", self.handover_timeout, Span::ZERO, Span::from_secs(120))?;
        span("speed.seal_timeout", self.seal_timeout, Span::ZERO, Span::HOUR)?;
        count("speed.checkpoints_kept", self.checkpoints_kept, 100)?;
        count("speed.max_batch_records", self.max_batch_records, 1_000_000)?;
        count("speed.max_batch_bytes", self.max_batch_bytes, 1 << 30)?;
        count("speed.max_bronze_bytes", self.max_bronze_bytes, 4 << 30)?;
        count("speed.max_change_bytes", self.max_change_bytes, 4 << 30)?;
        count("speed.max_output_bytes", self.max_output_bytes, 4 << 30)?;
        count("speed.max_row_bytes", self.max_row_bytes, 64 << 20)?;
        count("speed.max_pending_rows", self.max_pending_rows, 10_000_000)?;
        count("speed.max_state_bytes", self.max_state_bytes, usize::MAX)?;
        count("speed.max_late_groups", self.max_late_groups, 100_000_000)?;
        Ok(())
    }

    /// The pause before attempt `attempt` (0: the first one that follows a failure): doubles from
    /// `retry_initial` to `retry_max`, and is cut by up to a half by `seed`, so that shards that failed together
    /// do not come back together.
    pub(crate) fn pause(&self, attempt: u32, seed: u64) -> Duration {
        let doubled = self.retry_initial.0.saturating_mul(1_i64 << attempt.min(30));
        let micros = doubled.min(self.retry_max.0).max(1) as u64;
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..].copy_from_slice(&attempt.to_le_bytes());
        Duration::from_micros(micros - xxhash_rust::xxh3::xxh3_64(&bytes) % (micros / 2 + 1))
    }
}

/// Lengths of time as text.
pub(crate) mod text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use tideline_common::time::Span;

    // By reference, as serde calls it.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    pub(crate) fn serialize<S: Serializer>(span: &Span, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(span)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        Span::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn defaults_are_within_their_bounds_and_read_back() {
        let config = SpeedConfig::default();
        config.check().unwrap();
        let text = serde_json::to_string(&config).unwrap();
        assert!(text.contains(r#""flush_interval":"200ms""#), "{text}");
        assert_eq!(serde_json::from_str::<SpeedConfig>(&text).unwrap(), config);
        let one: SpeedConfig = serde_json::from_str(r#"{"checkpoint_interval": "30s"}"#).unwrap();
        assert_eq!(one, SpeedConfig { checkpoint_interval: Span::from_secs(30), ..config });
        assert!(serde_json::from_str::<SpeedConfig>(r#"{"flush": "1s"}"#).is_err());
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        let default = SpeedConfig::default;
        for (config, key) in [
            (SpeedConfig { flush_interval: Span::ZERO, ..default() }, "speed.flush_interval"),
            (SpeedConfig { checkpoint_interval: Span::from_secs(61), ..default() }, "speed.checkpoint_interval"),
            (SpeedConfig { linger: Span::SECOND, ..default() }, "speed.linger"),
            (SpeedConfig { max_batch_records: 0, ..default() }, "speed.max_batch_records"),
        ] {
            assert!(matches!(config.check(), Err(SpeedError::Config { key: k, .. }) if k == key), "{key}");
        }
    }

    #[test]
    fn pauses_grow_and_stay_bounded() {
        let config = SpeedConfig::default();
        for attempt in 0..40 {
            for seed in 0..20 {
                let most = (100_000_u128 << attempt.min(30)).min(10_000_000);
                let pause = config.pause(attempt, seed).as_micros();
                assert!(pause <= most && pause >= most / 2 - 1, "{attempt}: {pause}");
            }
        }
    }
}
