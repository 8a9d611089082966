//! Instants and spans of time, in whole microseconds.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// An instant: microseconds since 1970-01-01T00:00:00Z, leap seconds not counted; may be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// A length of time in microseconds, never negative where a definition declares it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(pub i64);

impl Timestamp {
    /// The earliest instant.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest instant.
    pub const MAX: Self = Self(i64::MAX);

    /// The instant `micros` microseconds after the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The instant `millis` milliseconds after the epoch, saturating.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// Microseconds since the epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// This instant moved forward, saturating at the ends of time.
    #[must_use]
    pub const fn plus(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// This instant moved back, saturating at the ends of time.
    #[must_use]
    pub const fn minus(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }

    /// The time from `earlier` to this instant, saturating; negative when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }

    /// The start of the interval of length `step` (aligned at the epoch) that holds this instant.
    /// Right for instants before 1970 too (`rem_euclid`). `step` must be positive.
    #[must_use]
    pub const fn floor(self, step: Span) -> Self {
        Self(self.0.saturating_sub(self.0.rem_euclid(step.0)))
    }

    /// The first multiple of `step` at or after this instant.
    #[must_use]
    pub const fn ceil(self, step: Span) -> Self {
        let floor = self.floor(step);
        if floor.0 == self.0 { floor } else { floor.plus(step) }
    }

    /// Parses RFC 3339 (`2014-01-01T00:00:00Z`, any offset, any fraction), or a plain
    /// `YYYY-MM-DD[ T]HH:MM[:SS[.f]]` or `YYYY-MM-DD`, which are taken as UTC.
    ///
    /// # Errors
    /// The text that could not be read.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        let text = text.trim();
        if let Ok(time) = DateTime::parse_from_rfc3339(text) {
            return Ok(Self(time.timestamp_micros()));
        }
        for format in ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"] {
            if let Ok(time) = chrono::NaiveDateTime::parse_from_str(text, format) {
                return Ok(Self(time.and_utc().timestamp_micros()));
            }
        }
        if let Ok(date) = chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d") {
            return Ok(Self(date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros()));
        }
        Err(TimeError::Instant(text.to_owned()))
    }

    /// The instant as a `chrono` time; `None` outside of the years that chrono knows.
    pub fn to_chrono(self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_micros(self.0)
    }
}

/// RFC 3339 in UTC, with as many fraction digits as needed (none, 3 or 6); an instant outside of the
/// calendar is printed as its microseconds.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_chrono() {
            Some(time) => f.write_str(&time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
            None => write!(f, "{}us", self.0),
        }
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// One second.
    pub const SECOND: Self = Self(1_000_000);
    /// One minute.
    pub const MINUTE: Self = Self(60_000_000);
    /// One hour.
    pub const HOUR: Self = Self(3_600_000_000);
    /// One day of 24 hours.
    pub const DAY: Self = Self(86_400_000_000);

    /// A span of `micros` microseconds.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// A span of `millis` milliseconds, saturating.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// A span of `secs` seconds, saturating.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Length in microseconds.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Both spans together, saturating.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// As a standard duration; a negative span is zero.
    pub const fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_micros(if self.0 < 0 { 0 } else { self.0 as u64 })
    }

    /// Parses an integer with one of the units `us ms s m h d w y` (a year is 365 days), or several
    /// of them joined: `90s`, `1h30m`, `2y`.
    ///
    /// # Errors
    /// The text, when it is empty, has no unit, an unknown unit or does not fit 64 bits.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        let error = || TimeError::Span(text.to_owned());
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(error());
        }
        let mut total: i64 = 0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(error)?;
            let count: i64 = rest[..digits].parse().map_err(|_| error())?;
            rest = &rest[digits..];
            let unit_end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
            let unit = match &rest[..unit_end] {
                "us" => 1,
                "ms" => 1_000,
                "s" => Self::SECOND.0,
                "m" => Self::MINUTE.0,
                "h" => Self::HOUR.0,
                "d" => Self::DAY.0,
                "w" => 7 * Self::DAY.0,
                "y" => 365 * Self::DAY.0,
                _ => return Err(error()),
            };
            rest = &rest[unit_end..];
            total = count.checked_mul(unit).and_then(|part| total.checked_add(part)).ok_or_else(error)?;
        }
        Ok(Self(total))
    }
}

/// The shortest form that [`Span::parse`] reads back: `5m`, `1h30m`, `250ms`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 <= 0 {
            return write!(f, "{}s", self.0 / Self::SECOND.0);
        }
        let mut rest = self.0;
        for (unit, name) in [
            (Self::DAY.0, "d"),
            (Self::HOUR.0, "h"),
            (Self::MINUTE.0, "m"),
            (Self::SECOND.0, "s"),
            (1_000, "ms"),
            (1, "us"),
        ] {
            let count = rest / unit;
            rest %= unit;
            if count > 0 {
                write!(f, "{count}{name}")?;
            }
        }
        Ok(())
    }
}

/// A time or a span that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Not an instant.
    #[error("`{0}` is not a time: use RFC 3339, such as 2014-01-01T09:30:00Z")]
    Instant(String),
    /// Not a span.
    #[error("`{0}` is not a duration: use a number with a unit (us ms s m h d w y), such as 5m or 1h30m")]
    Span(String),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn spans_read_back() {
        for text in ["5m", "1h30m", "250ms", "730d", "1us"] {
            assert_eq!(Span::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Span::parse("2y").unwrap(), Span(730 * Span::DAY.0));
        for bad in ["", "5", "m", "5 m", "-5m", "5x", "99999999999999999999d", "9999999999999d"] {
            assert!(Span::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn instants_read_back() {
        let time = Timestamp::parse("2013-12-31 23:10:08").unwrap();
        assert_eq!(time.to_string(), "2013-12-31T23:10:08Z");
        assert_eq!(Timestamp::parse(&time.to_string()).unwrap(), time);
        assert_eq!(Timestamp::parse("2014-01-01T01:00:00+01:00").unwrap().to_string(), "2014-01-01T00:00:00Z");
        assert_eq!(Timestamp::parse("2014-01-01").unwrap().to_string(), "2014-01-01T00:00:00Z");
        assert!(Timestamp::parse("yesterday").is_err());
    }

    #[test]
    fn floor_and_ceil_before_1970() {
        let minute = Span::MINUTE;
        assert_eq!(Timestamp(-1).floor(minute), Timestamp(-60_000_000));
        assert_eq!(Timestamp(-60_000_000).floor(minute), Timestamp(-60_000_000));
        assert_eq!(Timestamp(-1).ceil(minute), Timestamp(0));
        assert_eq!(Timestamp(1).ceil(minute), Timestamp(60_000_000));
    }
}
