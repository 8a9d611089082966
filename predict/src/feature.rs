//! Features: what a model sees of a window and of the windows of its key before it.
//!
//! Nulls: a value that is null is a feature that is absent. An absent feature adds nothing to a prediction, and neither
//! the scaler nor its weight learns from that window (River does the same with a feature that a sample lacks). A change
//! is absent when either of its two windows is null; an average is of the values that are there, absent when none is.

use serde::{Deserialize, Serialize};
use tideline_common::state::{write_bytes, write_varint};
use tideline_common::time::{Span, Timestamp};

use crate::history::History;

/// A named input of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feature {
    /// Its name, unique within a model.
    pub name: String,
    /// Where it comes from.
    pub source: Source,
}

/// Where a feature comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// The value of a column in the newest window.
    Value {
        /// The column.
        column: String,
    },
    /// The value in the newest window less that in the window before it; 0 for the first window of a key.
    Delta {
        /// The column.
        column: String,
    },
    /// The mean over the newest windows, the newest one included; over fewer while a key has fewer.
    Average {
        /// The column.
        column: String,
        /// How many windows, at least one.
        windows: usize,
    },
    /// The hour of the window's start in UTC, 0 to 23.
    Hour,
    /// The day of the week of the window's start in UTC: 0 is Monday, 6 is Sunday.
    DayOfWeek,
}

impl Source {
    /// The column that it reads; none for what comes from the time alone.
    pub fn column(&self) -> Option<&str> {
        match self {
            Self::Value { column } | Self::Delta { column } | Self::Average { column, .. } => Some(column),
            Self::Hour | Self::DayOfWeek => None,
        }
    }

    /// Appends a form that is the same exactly when the source is.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.push(match self {
            Self::Value { .. } => 0,
            Self::Delta { .. } => 1,
            Self::Average { .. } => 2,
            Self::Hour => 3,
            Self::DayOfWeek => 4,
        });
        write_bytes(self.column().unwrap_or_default().as_bytes(), out);
        if let Self::Average { windows, .. } = self {
            write_varint(*windows as u64, out);
        }
    }
}

/// The features of a system in the usual order: the values of `columns`, hour, day of the week, then `delta_NAME` and
/// then `ma_NAME` for each (name, column) of `trends`, averaged over `windows`.
pub fn standard(columns: &[&str], trends: &[(&str, &str)], windows: usize) -> Vec<Feature> {
    let feature = |name: String, source| Feature { name, source };
    let values = columns.iter().map(|c| feature((*c).to_owned(), Source::Value { column: (*c).to_owned() }));
    let times = [feature("hour".to_owned(), Source::Hour), feature("day_of_week".to_owned(), Source::DayOfWeek)];
    let deltas = trends
        .iter()
        .map(|(name, column)| feature(format!("delta_{name}"), Source::Delta { column: (*column).to_owned() }));
    let averages = trends
        .iter()
        .map(|(name, column)| feature(format!("ma_{name}"), Source::Average { column: (*column).to_owned(), windows }));
    values.chain(times).chain(deltas).chain(averages).collect()
}

/// The hour in UTC, 0 to 23.
pub fn hour(time: Timestamp) -> u8 {
    (time.0.rem_euclid(Span::DAY.0) / Span::HOUR.0) as u8
}

/// The day of the week in UTC, 0 = Monday. (1970-01-01 was a Thursday.)
pub fn day_of_week(time: Timestamp) -> u8 {
    (time.0.div_euclid(Span::DAY.0) + 3).rem_euclid(7) as u8
}

/// A source whose column has been looked up.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Resolved {
    Value(usize),
    Delta(usize),
    Average(usize, usize),
    Hour,
    DayOfWeek,
}

impl Resolved {
    /// The source over `columns`; `None` when its column is not among them.
    pub(crate) fn of(source: &Source, columns: &[String]) -> Option<Self> {
        let at = |name: &String| columns.iter().position(|column| column == name);
        Some(match source {
            Source::Value { column } => Self::Value(at(column)?),
            Source::Delta { column } => Self::Delta(at(column)?),
            Source::Average { column, windows } => Self::Average(at(column)?, *windows),
            Source::Hour => Self::Hour,
            Source::DayOfWeek => Self::DayOfWeek,
        })
    }

    /// The feature of the newest window; `None` when it is absent.
    pub(crate) fn compute(self, history: &History) -> Option<f64> {
        match self {
            Self::Value(column) => history.value(0, column),
            Self::Delta(column) => {
                let now = history.value(0, column)?;
                if history.len() < 2 { Some(0.0) } else { history.value(1, column).map(|before| now - before) }
            }
            Self::Average(column, windows) => {
                let windows = windows.min(history.len());
                // From the oldest to the newest, as a reader would add them up.
                let values = (0..windows).rev().filter_map(|back| history.value(back, column));
                let (sum, count) = values.fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
                (count > 0).then(|| sum / f64::from(count))
            }
            Self::Hour => history.newest().map(|start| f64::from(hour(start))),
            Self::DayOfWeek => history.newest().map(|start| f64::from(day_of_week(start))),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::float_cmp)]
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (text, hours, days) in [
            ("1970-01-01T00:00:00Z", 0, 3),
            ("1969-12-31T23:59:59Z", 23, 2),
            ("2024-05-06T13:50:00Z", 13, 0),
            ("2024-05-12T23:00:00Z", 23, 6),
            ("2024-05-13T02:00:00+03:00", 23, 6),
        ] {
            assert_eq!((hour(at(text)), day_of_week(at(text))), (hours, days), "{text}");
        }
    }

    proptest! {
        #[test]
        fn days_follow_each_other(time in -4_000_000_000_000_000i64..4_000_000_000_000_000) {
            let time = Timestamp(time);
            prop_assert_eq!(day_of_week(time.plus(Span::DAY)), (day_of_week(time) + 1) % 7);
            prop_assert_eq!(hour(time.plus(Span::HOUR)), (hour(time) + 1) % 24);
        }
    }

    #[test]
    fn changes_and_averages_over_nulls() {
        let columns = ["a".to_owned(), "b".to_owned()];
        let source = |kind: &str, column: &str| match kind {
            "delta" => Source::Delta { column: column.to_owned() },
            "ma" => Source::Average { column: column.to_owned(), windows: 3 },
            _ => Source::Value { column: column.to_owned() },
        };
        let mut history = History::new(2);
        let mut seen = Vec::new();
        for (minute, (a, b)) in
            [(Some(1.0), None), (Some(4.0), Some(2.0)), (None, Some(6.0)), (Some(7.0), None), (Some(8.0), None)]
                .into_iter()
                .enumerate()
        {
            history.push(Timestamp(minute as i64 * Span::MINUTE.0), &[a, b], 4);
            seen.push(["value", "delta", "ma"].map(|kind| {
                ["a", "b"].map(|column| Resolved::of(&source(kind, column), &columns).unwrap().compute(&history))
            }));
        }
        assert_eq!(seen[0], [[Some(1.0), None], [Some(0.0), None], [Some(1.0), None]]);
        assert_eq!(seen[1], [[Some(4.0), Some(2.0)], [Some(3.0), None], [Some(2.5), Some(2.0)]]);
        assert_eq!(seen[2], [[None, Some(6.0)], [None, Some(4.0)], [Some(2.5), Some(4.0)]]);
        assert_eq!(seen[3], [[Some(7.0), None], [None, None], [Some(5.5), Some(4.0)]]);
        assert_eq!(seen[4], [[Some(8.0), None], [Some(1.0), None], [Some(7.5), Some(6.0)]]);
    }

    #[test]
    fn the_usual_features_have_the_usual_names() {
        let features = standard(&["popularity", "mentions_count"], &[("mentions", "mentions_count")], 5);
        let names: Vec<&str> = features.iter().map(|feature| feature.name.as_str()).collect();
        assert_eq!(names, ["popularity", "mentions_count", "hour", "day_of_week", "delta_mentions", "ma_mentions"]);
    }
}
