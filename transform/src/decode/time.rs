//! Event times and other instants, read.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};
use tideline_common::plan::TimeFormat;
use tideline_common::time::Timestamp;

/// Microseconds of 0001-01-01 and of 10000-01-01: what lies outside is a broken clock or a wrong unit, and no
/// calendar of an engine or a store reaches it.
const YEARS: std::ops::Range<i64> = -62_135_596_800_000_000..253_402_300_800_000_000;

const DAY_SECONDS: i64 = 86_400;
const MICROS: i64 = 1_000_000;

/// Reads times of one format.
#[derive(Clone, Debug)]
pub(crate) struct TimeReader {
    format: TimeFormat,
    /// The parts of a pattern whose parts all have one width.
    parts: Option<Vec<Part>>,
    /// Whether the pattern names an offset.
    offset: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    Literal(u8),
}

/// A time as a record has it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RawTime<'a> {
    Text(&'a str),
    Int(i64),
    Float(f64),
}

impl TimeReader {
    pub(crate) fn new(format: &TimeFormat) -> Self {
        let (parts, offset) = match format {
            TimeFormat::Pattern(pattern) => {
                (parts(pattern), ["%z", "%:z", "%::z", "%#z", "%+"].iter().any(|offset| pattern.contains(offset)))
            }
            _ => (None, false),
        };
        Self { format: format.clone(), parts, offset }
    }

    /// The time in microseconds; `None` when it is not of the format or not in the calendar.
    #[inline]
    pub(crate) fn read(&self, raw: RawTime<'_>) -> Option<i64> {
        let time = match (raw, &self.format) {
            (RawTime::Text(text), TimeFormat::Rfc3339) => rfc3339(text),
            (RawTime::Text(text), TimeFormat::Pattern(pattern)) => self
                .parts
                .as_ref()
                .and_then(|parts| fixed(parts, text.as_bytes()))
                .or_else(|| general(pattern, self.offset, text)),
            (RawTime::Text(text), _) => match text.parse::<i64>() {
                Ok(number) => return self.read(RawTime::Int(number)),
                Err(_) => return self.read(RawTime::Float(text.parse().ok()?)),
            },
            (RawTime::Int(number), format) => number.checked_mul(unit(format)?),
            (RawTime::Float(number), format) => {
                let micros = (number * unit(format)? as f64).round();
                // Every time in the calendar is far within the range in which the cast is exact.
                (micros.abs() < 9e18).then_some(micros as i64)
            }
        };
        time.filter(|time| YEARS.contains(time))
    }
}

/// Microseconds per unit of an epoch format.
const fn unit(format: &TimeFormat) -> Option<i64> {
    match format {
        TimeFormat::EpochSeconds => Some(MICROS),
        TimeFormat::EpochMillis => Some(1_000),
        TimeFormat::EpochMicros => Some(1),
        TimeFormat::Rfc3339 | TimeFormat::Pattern(_) => None,
    }
}

/// The parts of a pattern, when it has a date and each part has one width.
fn parts(pattern: &str) -> Option<Vec<Part>> {
    let pattern = pattern.replace("%F", "%Y-%m-%d").replace("%T", "%H:%M:%S");
    let mut bytes = pattern.bytes();
    let mut parts = Vec::new();
    while let Some(byte) = bytes.next() {
        parts.push(match byte {
            b'%' => match bytes.next()? {
                b'Y' => Part::Year,
                b'm' => Part::Month,
                b'd' => Part::Day,
                b'H' => Part::Hour,
                b'M' => Part::Minute,
                b'S' => Part::Second,
                _ => return None,
            },
            // White space in a pattern stands for any amount of it, digits would blur into the numbers: one plain
            // space is taken as such here, and all else is left to the general reader.
            b' ' => Part::Literal(byte),
            byte if byte.is_ascii_graphic() && !byte.is_ascii_digit() => Part::Literal(byte),
            _ => return None,
        });
    }
    let date = [Part::Year, Part::Month, Part::Day];
    let once = |part: &Part| parts.iter().filter(|other| *other == part).count() <= 1;
    (date.iter().all(|part| parts.contains(part))
        && parts.iter().all(|part| matches!(part, Part::Literal(_)) || once(part)))
    .then_some(parts)
}

#[inline]
fn number(bytes: &[u8]) -> Option<i64> {
    bytes.iter().try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
}

/// Reads a text whose parts have their usual width; `None` says only that it is not of that kind.
#[inline]
fn fixed(parts: &[Part], text: &[u8]) -> Option<i64> {
    let (mut year, mut month, mut day, mut hour, mut minute, mut second) = (1970, 1, 1, 0, 0, 0);
    let mut rest = text;
    for part in parts {
        let (width, to) = match part {
            Part::Literal(byte) => {
                let (first, after) = rest.split_first()?;
                if first != byte {
                    return None;
                }
                rest = after;
                continue;
            }
            Part::Year => (4, &mut year),
            Part::Month => (2, &mut month),
            Part::Day => (2, &mut day),
            Part::Hour => (2, &mut hour),
            Part::Minute => (2, &mut minute),
            Part::Second => (2, &mut second),
        };
        let (digits, after) = rest.split_at_checked(width)?;
        *to = number(digits)?;
        rest = after;
    }
    if rest.is_empty() { civil(year, month, day, hour, minute, second) } else { None }
}

/// Microseconds of a time in UTC, if there is such a time (leap seconds aside).
#[inline]
fn civil(year: i64, month: i64, day: i64, hour: i64, minute: i64, second: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    if day < 1 || day > days_in_month || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days since 1970-01-01, from years that begin in March (H. Hinnant, "chrono-Compatible Low-Level Date
    // Algorithms", days_from_civil).
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    Some((days * DAY_SECONDS + hour * 3_600 + minute * 60 + second) * MICROS)
}

/// Any pattern, by `chrono`: with an offset, without one (UTC), or a date alone.
fn general(pattern: &str, offset: bool, text: &str) -> Option<i64> {
    if offset {
        return DateTime::parse_from_str(text, pattern).ok().map(|time| time.timestamp_micros());
    }
    if let Ok(time) = NaiveDateTime::parse_from_str(text, pattern) {
        return Some(time.and_utc().timestamp_micros());
    }
    let date = NaiveDate::parse_from_str(text, pattern).ok()?;
    Some(date.and_time(NaiveTime::MIN).and_utc().timestamp_micros())
}

/// RFC 3339, or the same without an offset (UTC).
#[inline]
pub(crate) fn rfc3339(text: &str) -> Option<i64> {
    rfc3339_plain(text.as_bytes())
        .or_else(|| Timestamp::parse(text).ok().map(Timestamp::micros))
        .filter(|time| YEARS.contains(time))
}

/// The usual form: `YYYY-MM-DD[T ]HH:MM:SS[.f][Z]`, at most six digits of fraction.
#[inline]
fn rfc3339_plain(text: &[u8]) -> Option<i64> {
    let (plain, rest) = text.split_first_chunk::<19>()?;
    let marks = (plain[4], plain[7], plain[10], plain[13], plain[16]);
    if !matches!(marks, (b'-', b'-', b'T' | b' ' | b't', b':', b':')) {
        return None;
    }
    let part = |from: usize, to: usize| number(&plain[from..to]);
    let time = civil(part(0, 4)?, part(5, 7)?, part(8, 10)?, part(11, 13)?, part(14, 16)?, part(17, 19)?)?;
    let rest = rest.strip_suffix(b"Z").or_else(|| rest.strip_suffix(b"z")).unwrap_or(rest);
    let micros = match rest.split_first() {
        None => 0,
        Some((b'.', digits)) if (1..=6).contains(&digits.len()) => {
            number(digits)? * 10_i64.pow(6 - digits.len() as u32)
        }
        Some(_) => return None,
    };
    Some(time + micros)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const TWEETS: &str = "%Y-%m-%d %H:%M:%S";

    fn pattern(pattern: &str, text: &str) -> Option<String> {
        let time = TimeReader::new(&TimeFormat::Pattern(pattern.to_owned())).read(RawTime::Text(text));
        time.map(|time| Timestamp(time).to_string())
    }

    #[test]
    fn patterns() {
        let cases = [
            (TWEETS, "2014-01-01 09:30:05", Some("2014-01-01T09:30:05Z")),
            (TWEETS, "2016-02-29 00:00:00", Some("2016-02-29T00:00:00Z")),
            (TWEETS, "2015-02-29 00:00:00", None),
            (TWEETS, "1900-02-29 00:00:00", None),
            (TWEETS, "2014-13-01 00:00:00", None),
            (TWEETS, "2014-01-01 24:00:00", None),
            (TWEETS, "2014-01-01", None),
            (TWEETS, "2014-01-01 09:30:05 ", None),
            (TWEETS, "1955-11-05 06:15:00", Some("1955-11-05T06:15:00Z")),
            ("%d/%m/%Y", "31/12/2013", Some("2013-12-31T00:00:00Z")),
            ("%d/%m/%Y %T", "31/12/2013 23:00:00", Some("2013-12-31T23:00:00Z")),
            ("%Y-%m-%d %H:%M:%S %z", "2014-01-01 01:00:00 +0100", Some("2014-01-01T00:00:00Z")),
            ("%a %b %d %H:%M:%S %Y", "Wed Jan 01 10:00:00 2014", Some("2014-01-01T10:00:00Z")),
            ("%Y-%m-%d %H:%M:%S%.f", "2014-01-01 01:00:00.25", Some("2014-01-01T01:00:00.250Z")),
        ];
        for (format, text, expected) in cases {
            assert_eq!(pattern(format, text).as_deref(), expected, "{format} {text}");
        }
    }

    #[test]
    fn epochs_and_rfc3339() {
        let read = |format: TimeFormat, raw| TimeReader::new(&format).read(raw);
        assert_eq!(read(TimeFormat::EpochSeconds, RawTime::Int(2)), Some(2_000_000));
        assert_eq!(read(TimeFormat::EpochSeconds, RawTime::Float(1.5)), Some(1_500_000));
        assert_eq!(read(TimeFormat::EpochMillis, RawTime::Int(-3)), Some(-3_000));
        assert_eq!(read(TimeFormat::EpochMicros, RawTime::Text("12")), Some(12));
        assert_eq!(read(TimeFormat::EpochSeconds, RawTime::Int(i64::MAX)), None);
        assert_eq!(read(TimeFormat::EpochMicros, RawTime::Int(i64::MAX)), None);
        assert_eq!(read(TimeFormat::EpochSeconds, RawTime::Float(f64::NAN)), None);
        assert_eq!(read(TimeFormat::Rfc3339, RawTime::Int(1)), None);
        for text in ["2014-01-01T00:00:00.5Z", "2014-01-01T01:00:00.5+01:00", "2014-01-01 00:00:00.500000"] {
            assert_eq!(read(TimeFormat::Rfc3339, RawTime::Text(text)), Some(1_388_534_400_500_000), "{text}");
        }
        assert_eq!(read(TimeFormat::Rfc3339, RawTime::Text("soon")), None);
    }

    proptest! {
        #[test]
        fn the_fast_reader_agrees_with_chrono(
            y in 0i64..10_000, m in 0i64..14, d in 0i64..33, h in 0i64..25, min in 0i64..61, s in 0i64..60,
        ) {
            let text = format!("{y:04}-{m:02}-{d:02} {h:02}:{min:02}:{s:02}");
            let parts = parts(TWEETS).unwrap();
            prop_assert_eq!(fixed(&parts, text.as_bytes()), general(TWEETS, false, &text));
            let plain = rfc3339_plain(text.as_bytes());
            prop_assert_eq!(plain, Timestamp::parse(&text).ok().map(Timestamp::micros));
        }
    }
}
