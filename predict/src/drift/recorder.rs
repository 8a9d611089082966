//! What drift is computed from: rows of features and errors by the hour, as far back as the reference lies.
//!
//! A bucket keeps at most `rows_max` rows. Beyond, each row of the hour has the same chance to be among them (Vitter's
//! algorithm R, 1985), and which one goes follows from the hour and the count alone: the same rows in the same order give
//! the same sample, after a restart too.
//!
//! ```text
//! "TIDEDRFT"  8 bytes
//! version     1 byte, now 1
//! names       varint n | n × text, of features | the same of versions
//! bucket      zigzag varint, its length in microseconds
//! buckets     varint n | n × (zigzag varint start | varint seen | varint rows | rows × numbers: features, then errors)
//! xxh3        8 bytes little endian, of everything before
//! ```

use std::collections::BTreeMap;

use tideline_common::state::{CodecError, Reader, write_bytes, write_signed, write_varint};
use tideline_common::time::{Span, Timestamp};
use xxhash_rust::xxh3::xxh3_64;

use super::sample::{Column, Sample};
use super::{DriftReport, DriftSpec, compare};
use crate::history::{read_numbers, write_numbers};
use crate::predictor::Settled;

const MAGIC: &[u8; 8] = b"TIDEDRFT";
const VERSION: u8 = 1;
/// The most buckets that may be kept.
const BUCKETS_MAX: i64 = 1_000;

/// What is recorded, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecorderSpec {
    /// Names of the features.
    pub features: Vec<String>,
    /// Versions whose errors are recorded.
    pub versions: Vec<String>,
    /// Length of a sample.
    pub bucket: Span,
    /// How far the reference lies before the current sample; a multiple of `bucket`.
    pub age: Span,
    /// Rows kept of a bucket.
    pub rows_max: usize,
}

impl RecorderSpec {
    /// The current hour against the same one 24 hours ago, at most 1,000 rows each.
    pub const fn daily(features: Vec<String>, versions: Vec<String>) -> Self {
        Self { features, versions, bucket: Span::HOUR, age: Span::DAY, rows_max: 1_000 }
    }
}

/// What is wrong with a recorder's spec or its bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecorderError {
    /// The spec makes no sense.
    #[error(
        "a drift recorder needs a bucket longer than zero, an age of 1 to {BUCKETS_MAX} buckets, and room for a row"
    )]
    Spec,
    /// Something else.
    #[error("not the state of a drift recorder")]
    Magic,
    /// Written by another program.
    #[error("format {0} of the state of a drift recorder is not known")]
    Version(u8),
    /// Not what was written.
    #[error("the state of a drift recorder is damaged: its checksum does not match")]
    Checksum,
    /// The bytes end too early, or hold what they cannot.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Bucket {
    /// Rows that came.
    seen: u64,
    /// Rows that are kept: features, then errors; NaN is missing.
    rows: Vec<Vec<f64>>,
}

/// Rows by the hour.
#[derive(Clone, Debug)]
pub struct Recorder {
    spec: RecorderSpec,
    buckets: BTreeMap<Timestamp, Bucket>,
}

impl Recorder {
    /// A recorder without rows.
    ///
    /// # Errors
    /// When the spec makes no sense.
    pub fn new(spec: RecorderSpec) -> Result<Self, RecorderError> {
        let whole = spec.bucket.0 > 0 && spec.age.0 % spec.bucket.0 == 0;
        if !whole || !(1..=BUCKETS_MAX).contains(&(spec.age.0 / spec.bucket.0)) || spec.rows_max == 0 {
            return Err(RecorderError::Spec);
        }
        Ok(Self { spec, buckets: BTreeMap::new() })
    }

    /// Adds the row of a window: its features by name (others than those of the spec are left out, absent ones are
    /// missing), and the errors that it settled. A window older than the reference of the newest one is left out.
    pub fn record<'a>(
        &mut self,
        start: Timestamp,
        features: impl IntoIterator<Item = (&'a str, Option<f64>)>,
        settled: &[Settled],
    ) {
        let at = start.floor(self.spec.bucket);
        let newest = self.buckets.last_key_value().map_or(at, |(newest, _)| *newest).max(at);
        if at < newest.minus(self.spec.age) {
            return;
        }
        self.forget(newest);
        let mut row = vec![f64::NAN; self.spec.features.len() + self.spec.versions.len()];
        for (name, value) in features {
            if let Some(place) = self.spec.features.iter().position(|feature| feature == name) {
                row[place] = crate::usable(value).unwrap_or(f64::NAN);
            }
        }
        for was in settled {
            if let Some(place) = self.spec.versions.iter().position(|version| **version == *was.version) {
                row[self.spec.features.len() + place] = was.error.unwrap_or(f64::NAN);
            }
        }
        self.buckets.entry(at).or_default().add(at, row, self.spec.rows_max);
    }

    fn forget(&mut self, newest: Timestamp) {
        let oldest = newest.minus(self.spec.age);
        self.buckets = self.buckets.split_off(&oldest);
    }

    /// Start of the newest bucket.
    pub fn newest(&self) -> Option<Timestamp> {
        self.buckets.last_key_value().map(|(start, _)| *start)
    }

    /// The sample of the bucket that holds `time`; `None` when there are no rows in it.
    pub fn sample(&self, time: Timestamp) -> Option<Sample> {
        let from = time.floor(self.spec.bucket);
        let bucket = self.buckets.get(&from)?;
        let features = self.spec.features.len();
        let column = |(place, name): (usize, &String)| {
            let value = |row: &Vec<f64>| Some(row[place]).filter(|x| !x.is_nan());
            Column::numeric(name, bucket.rows.iter().map(value).collect())
        };
        Some(Sample {
            from,
            to: from.plus(self.spec.bucket),
            features: self.spec.features.iter().enumerate().map(column).collect(),
            errors: self.spec.versions.iter().enumerate().map(|(at, name)| column((features + at, name))).collect(),
        })
    }

    /// The bucket that holds `time` against that of one `age` before; `None` when one of them has no rows.
    pub fn report(&self, prediction: &str, time: Timestamp, spec: &DriftSpec) -> Option<DriftReport> {
        let reference = self.sample(time.minus(self.spec.age))?;
        Some(compare(prediction, &reference, &self.sample(time)?, spec))
    }

    /// The rows as bytes.
    pub fn state(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(VERSION);
        for names in [&self.spec.features, &self.spec.versions] {
            write_varint(names.len() as u64, &mut out);
            for name in names {
                write_bytes(name.as_bytes(), &mut out);
            }
        }
        write_signed(self.spec.bucket.0, &mut out);
        write_varint(self.buckets.len() as u64, &mut out);
        for (start, bucket) in &self.buckets {
            write_signed(start.0, &mut out);
            write_varint(bucket.seen, &mut out);
            write_varint(bucket.rows.len() as u64, &mut out);
            for row in &bucket.rows {
                write_numbers(row, &mut out);
            }
        }
        let hash = xxh3_64(&out);
        out.extend_from_slice(&hash.to_le_bytes());
        out
    }

    /// A recorder that goes on where the one that wrote `bytes` stood. Features and versions are matched by name; with
    /// another length of buckets, it begins anew.
    ///
    /// # Errors
    /// When the spec makes no sense, or the bytes are not a recorder's.
    pub fn restore(spec: RecorderSpec, bytes: &[u8]) -> Result<Self, RecorderError> {
        let mut recorder = Self::new(spec)?;
        let (body, hash) = bytes.split_last_chunk::<8>().ok_or(RecorderError::Magic)?;
        let rest = body.strip_prefix(MAGIC).ok_or(RecorderError::Magic)?;
        if xxh3_64(body) != u64::from_le_bytes(*hash) {
            return Err(RecorderError::Checksum);
        }
        let mut reader = Reader::new(rest);
        match reader.byte()? {
            VERSION => {}
            other => return Err(RecorderError::Version(other)),
        }
        let features = recorder.spec.features.len();
        let mut mapping = read_names(&recorder.spec.features, 0, &mut reader)?;
        mapping.extend(read_names(&recorder.spec.versions, features, &mut reader)?);
        if reader.signed()? != recorder.spec.bucket.0 {
            return Ok(recorder);
        }
        let width = features + recorder.spec.versions.len();
        for _ in 0..reader.varint()? {
            let start = Timestamp(reader.signed()?);
            let mut bucket = Bucket { seen: reader.varint()?, rows: Vec::new() };
            for _ in 0..reader.varint()? {
                let mut row = vec![f64::NAN; width];
                for (number, to) in read_numbers(mapping.len(), &mut reader)?.into_iter().zip(&mapping) {
                    if let Some(to) = to {
                        row[*to] = number;
                    }
                }
                // Of rows without a column there may be any number in no bytes.
                if bucket.rows.len() < recorder.spec.rows_max {
                    bucket.rows.push(row);
                } else if mapping.is_empty() {
                    break;
                }
            }
            recorder.buckets.insert(start, bucket);
        }
        if let Some(newest) = recorder.newest() {
            recorder.forget(newest);
        }
        if reader.is_done() { Ok(recorder) } else { Err(reader.error("the end").into()) }
    }
}

/// Reads names; answers the place of each among `names`, counted from `from`.
fn read_names(names: &[String], from: usize, reader: &mut Reader) -> Result<Vec<Option<usize>>, CodecError> {
    let mut places = Vec::new();
    for _ in 0..reader.varint()? {
        let name = reader.text()?;
        places.push(names.iter().position(|here| here == name).map(|at| from + at));
    }
    Ok(places)
}

impl Bucket {
    fn add(&mut self, at: Timestamp, row: Vec<f64>, rows_max: usize) {
        self.seen += 1;
        if self.rows.len() < rows_max {
            self.rows.push(row);
            return;
        }
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&at.0.to_le_bytes());
        bytes[8..].copy_from_slice(&self.seen.to_le_bytes());
        let place = (xxh3_64(&bytes) % self.seen) as usize;
        if let Some(old) = self.rows.get_mut(place) {
            *old = row;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::drift::sample::Values;

    fn spec(rows_max: usize) -> RecorderSpec {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        RecorderSpec { rows_max, ..RecorderSpec::daily(names(&["a", "b"]), names(&["v1"])) }
    }

    fn error(version: &str, error: f64) -> Settled {
        Settled {
            version: Arc::from(version),
            made_at: Timestamp(0),
            window: Timestamp(0),
            predicted: Some(error),
            actual: 0.0,
            error: Some(error),
        }
    }

    fn hour(hours: i64) -> Timestamp {
        Timestamp(hours * Span::HOUR.0)
    }

    fn numbers(column: &Column) -> Vec<Option<f64>> {
        match &column.values {
            Values::Numeric(values) => values.clone(),
            Values::Categorical(_) => panic!("numbers"),
        }
    }

    #[test]
    fn today_is_compared_with_yesterday() {
        let mut recorder = Recorder::new(spec(1_000)).unwrap();
        for minute in 0..60 * 30 {
            let at = Timestamp(minute * Span::MINUTE.0);
            let day = f64::from(u8::from(minute >= 60 * 24));
            let a = (minute % 60) as f64 + 100.0 * day;
            recorder.record(at, [("a", Some(a)), ("other", Some(1.0))], &[error("v1", day), error("v9", 5.0)]);
        }
        let report = recorder.report("score", hour(29), &DriftSpec::default()).unwrap();
        assert_eq!(
            (report.reference.from.as_str(), report.current.from.as_str()),
            ("1970-01-01T05:00:00Z", "1970-01-02T05:00:00Z")
        );
        assert_eq!((report.reference.rows, report.current.rows), (60, 60));
        assert_eq!(report.features[0].verdict.drifted(), Some(true));
        assert_eq!(report.features[1].verdict.drifted(), None, "b was never there");
        assert_eq!((report.errors[0].reference.unwrap().mae, report.errors[0].current.unwrap().mae), (0.0, 1.0));
        assert!(recorder.report("score", hour(20), &DriftSpec::default()).is_none(), "nothing so far back");
        assert_eq!((recorder.newest(), recorder.buckets.len()), (Some(hour(29)), 25));
        recorder.record(hour(3), [("a", Some(0.0))], &[]);
        assert!(recorder.sample(hour(3)).is_none(), "older than any reference");
    }

    #[test]
    fn a_full_bucket_keeps_a_fair_sample() {
        let mut recorder = Recorder::new(spec(500)).unwrap();
        for row in 0..20_000 {
            recorder.record(hour(1), [("a", Some(f64::from(row)))], &[]);
        }
        let values: Vec<f64> = numbers(&recorder.sample(hour(1)).unwrap().features[0]).into_iter().flatten().collect();
        assert_eq!(values.len(), 500);
        // Of 500 draws of 0..20,000 the mean is 10,000 ± 258; four of these are as good as certain.
        let mean = values.iter().sum::<f64>() / 500.0;
        assert!((mean - 10_000.0).abs() < 1_100.0, "{mean}");
    }

    #[test]
    fn specs_are_checked() {
        for (bucket, age, rows) in [(0, 24, 1), (1, 0, 1), (5, 24, 1), (1, 24, 0), (1, 1_001, 1)] {
            let spec = RecorderSpec { bucket: Span(bucket), age: Span(age), ..spec(rows) };
            assert_eq!(Recorder::new(spec).unwrap_err(), RecorderError::Spec);
        }
    }

    proptest! {
        #[test]
        fn a_restart_changes_nothing(
            rows in vec((0i64..60, prop_oneof![(-9.0..9.0f64).prop_map(Some), Just(None)], -3.0..3.0f64), 0..120),
            cut in any::<prop::sample::Index>(),
            rows_max in 1usize..5,
        ) {
            let mut straight = Recorder::new(spec(rows_max)).unwrap();
            let mut stopped = Recorder::new(spec(rows_max)).unwrap();
            for (number, (hours, a, b)) in rows.iter().enumerate() {
                if number == cut.index(rows.len()) {
                    stopped = Recorder::restore(spec(rows_max), &stopped.state()).unwrap();
                }
                for recorder in [&mut straight, &mut stopped] {
                    recorder.record(hour(*hours), [("a", *a), ("b", Some(*b))], &[error("v1", *b)]);
                }
            }
            let bytes = straight.state();
            prop_assert_eq!(&bytes, &stopped.state());
            let mut damaged = bytes.clone();
            let at = cut.index(bytes.len());
            damaged[at] ^= 4;
            prop_assert!(Recorder::restore(spec(rows_max), &damaged).is_err());
            prop_assert!(Recorder::restore(spec(rows_max), &bytes[..at]).is_err());
            let end = damaged.len() - 8;
            let hash = xxh3_64(&damaged[..end]);
            damaged[end..].copy_from_slice(&hash.to_le_bytes());
            let _ = Recorder::restore(spec(rows_max), &damaged);
        }
    }

    #[test]
    fn columns_are_matched_by_name() {
        let mut recorder = Recorder::new(spec(10)).unwrap();
        recorder.record(hour(1), [("a", Some(1.0)), ("b", Some(2.0))], &[error("v1", 3.0)]);
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let other = RecorderSpec::daily(names(&["c", "b"]), names(&["v2", "v1"]));
        let restored = Recorder::restore(other, &recorder.state()).unwrap();
        let sample = restored.sample(hour(1)).unwrap();
        assert_eq!(sample.features.iter().flat_map(numbers).collect::<Vec<_>>(), [None, Some(2.0)]);
        assert_eq!(sample.errors.iter().flat_map(numbers).collect::<Vec<_>>(), [None, Some(3.0)]);
        let minutes = RecorderSpec { bucket: Span::MINUTE, age: Span::HOUR, ..spec(10) };
        assert_eq!(Recorder::restore(minutes, &recorder.state()).unwrap().newest(), None);
        assert_eq!(Recorder::restore(spec(10), b"nothing of it").unwrap_err(), RecorderError::Magic);
    }
}
