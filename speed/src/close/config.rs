//! How windows are closed and alerts delivered: defaults and bounds.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tideline_common::time::Span;

use crate::SpeedError;

/// The longest pause that the other side of a webhook may ask for: beyond it, it is tried nevertheless.
const RETRY_AFTER_MAX: Span = Span::HOUR;

/// How windows are closed and alerts delivered. As TOML (`[close]`), lengths of time are written as text: `"200ms"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CloseConfig {
    /// It is looked for windows that can close, and at running ones, at most this often. 1 ms to 60 s.
    #[serde(with = "crate::config::text")]
    pub round_interval: Span,
    /// A checkpoint is made at least this often when there is anything new. 1 ms to 60 s.
    #[serde(with = "crate::config::text")]
    pub checkpoint_interval: Span,
    /// Checkpoints kept per view and partition. 2 to 100.
    pub checkpoints_kept: usize,
    /// About how many rows are closed at a time. 1 to 1,000,000.
    pub max_round_rows: usize,
    /// Bytes of open panes, per view and partition. Above it no changes are read until windows have closed. At least 1.
    pub max_state_bytes: usize,
    /// How long one read waits for changes. 1 ms to 60 s.
    #[serde(with = "crate::config::text")]
    pub read_wait: Span,
    /// First pause before something that failed is tried again; doubles each time. 1 ms to `retry_max`.
    #[serde(with = "crate::config::text")]
    pub retry_initial: Span,
    /// Longest pause. At most 10 min.
    #[serde(with = "crate::config::text")]
    pub retry_max: Span,
    /// How long one post to a webhook may take. 1 ms to 5 min.
    #[serde(with = "crate::config::text")]
    pub webhook_timeout: Span,
    /// How often a post is tried in all, before it is given up. 1 to 100.
    pub webhook_attempts: u32,
    /// First pause before a post is tried again; doubles each time. 1 ms to `webhook_retry_max`.
    #[serde(with = "crate::config::text")]
    pub webhook_retry_initial: Span,
    /// Longest pause, unless the other side asks for a longer one, which is heeded up to an hour. At most 1 h.
    #[serde(with = "crate::config::text")]
    pub webhook_retry_max: Span,
    /// Posts that are on their way at once, per alert and partition. 1 to 1,000.
    pub max_posts_at_once: usize,
    /// Posts that wait, per alert and partition. What comes beyond it is not posted, and counted. 1 to 1,000,000.
    pub max_posts: usize,
    /// How long the topic of fired alerts keeps them. At least 1 min.
    #[serde(with = "crate::config::text")]
    pub alerts_retention: Span,
    /// How long an ordered end may take before a partition is dropped where it stands, which loses nothing. At most 2 min.
    #[serde(with = "crate::config::text")]
    pub handover_timeout: Span,
}

impl Default for CloseConfig {
    fn default() -> Self {
        Self {
            round_interval: Span::from_millis(200),
            checkpoint_interval: Span::from_secs(10),
            checkpoints_kept: 3,
            max_round_rows: 20_000,
            max_state_bytes: 512 << 20,
            read_wait: Span::from_millis(500),
            retry_initial: Span::from_millis(100),
            retry_max: Span::from_secs(10),
            webhook_timeout: Span::from_secs(10),
            webhook_attempts: 10,
            webhook_retry_initial: Span::SECOND,
            webhook_retry_max: Span::from_secs(300),
            max_posts_at_once: 8,
            max_posts: 1_000,
            alerts_retention: Span(7 * Span::DAY.0),
            handover_timeout: Span::from_secs(20),
        }
    }
}

impl CloseConfig {
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
        let count = |key: &'static str, value: usize, least: usize, most: usize| {
            if value < least || value > most {
                return Err(SpeedError::Config { key, reason: format!("{value} is not between {least} and {most}") });
            }
            Ok(())
        };
        span("close.round_interval", self.round_interval, ms(1), Span::MINUTE)?;
        span("close.checkpoint_interval", self.checkpoint_interval, ms(1), Span::MINUTE)?;
        span("close.read_wait", self.read_wait, ms(1), Span::MINUTE)?;
        span("close.retry_max", self.retry_max, ms(1), Span::from_secs(600))?;
        span("close.retry_initial", self.retry_initial, ms(1), self.retry_max)?;
        span("close.webhook_timeout", self.webhook_timeout, ms(1), Span::from_secs(300))?;
        span("close.webhook_retry_max", self.webhook_retry_max, ms(1), Span::HOUR)?;
        span("close.webhook_retry_initial", self.webhook_retry_initial, ms(1), self.webhook_retry_max)?;
        span("close.alerts_retention", self.alerts_retention, Span::MINUTE, Span(i64::MAX))?;
        span("close.handover_timeout", self.handover_timeout, Span::ZERO, Span::from_secs(120))?;
        count("close.checkpoints_kept", self.checkpoints_kept, 2, 100)?;
        count("close.max_round_rows", self.max_round_rows, 1, 1_000_000)?;
        count("close.max_state_bytes", self.max_state_bytes, 1, usize::MAX)?;
        count("close.webhook_attempts", self.webhook_attempts as usize, 1, 100)?;
        count("close.max_posts_at_once", self.max_posts_at_once, 1, 1_000)?;
        count("close.max_posts", self.max_posts, 1, 1_000_000)?;
        Ok(())
    }

    /// The pause before attempt `attempt` of something, cut by up to a half by `seed`.
    pub(super) fn pause(&self, attempt: u32, seed: u64) -> Duration {
        backoff(self.retry_initial, self.retry_max, attempt, seed)
    }

    /// The pause after attempt `attempt` of a post, whose answer asked for `wanted`.
    pub(super) fn webhook_pause(&self, attempt: u32, seed: u64, wanted: Option<Duration>) -> Duration {
        let own = backoff(self.webhook_retry_initial, self.webhook_retry_max, attempt, seed);
        wanted.map_or(own, |wanted| own.max(wanted.min(RETRY_AFTER_MAX.to_std())))
    }
}

/// Doubles from `initial` to `max`; what failed together does not come back together.
fn backoff(initial: Span, max: Span, attempt: u32, seed: u64) -> Duration {
    let micros = initial.0.saturating_mul(1_i64 << attempt.min(30)).min(max.0).max(1) as u64;
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..].copy_from_slice(&attempt.to_le_bytes());
    Duration::from_micros(micros - xxhash_rust::xxh3::xxh3_64(&bytes) % (micros / 2 + 1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn defaults_are_within_their_bounds_and_read_back() {
        let config = CloseConfig::default();
        config.check().unwrap();
        let text = serde_json::to_string(&config).unwrap();
        assert!(text.contains(r#""alerts_retention":"7d""#), "{text}");
        assert_eq!(serde_json::from_str::<CloseConfig>(&text).unwrap(), config);
        assert!(serde_json::from_str::<CloseConfig>(r#"{"nope": 1}"#).is_err());
        let wrong = CloseConfig { checkpoints_kept: 1, ..config };
        assert!(matches!(wrong.check(), Err(SpeedError::Config { key: "close.checkpoints_kept", .. })));
    }

    #[test]
    fn what_the_other_side_asks_for_is_heeded_within_bounds() {
        let config = CloseConfig::default();
        let pause = |wanted: Option<u64>| config.webhook_pause(0, 7, wanted.map(Duration::from_secs));
        assert!(pause(None) <= Duration::from_secs(1) && pause(None) >= Duration::from_millis(499));
        assert_eq!(pause(Some(20)), Duration::from_secs(20));
        assert_eq!(pause(Some(1_800)), Duration::from_mins(30), "longer than its own longest");
        assert_eq!(pause(Some(9_999)), Duration::from_hours(1));
        assert!(config.webhook_pause(40, 7, None) <= Duration::from_mins(5));
    }
}
