//! What a prediction remembers, and its form in a checkpoint.
//!
//! ```text
//! format 2 | learner bytes (tideline_predict::predictor) | recorder bytes (tideline_predict::drift)
//! | through: 0, or 1 and signed | reports: n × signed, oldest first | drift: 0, or 1, share 8 bytes, 1 when it has drifted
//! | columns: n × text | windows that wait: n × (start signed | key bytes | a value per column: 0 null, or 1 and 8 bytes)
//! ```
//! Format 1, which is still read, had no drift.

use std::collections::{BTreeMap, VecDeque};

use tideline_common::state::{CodecError, Reader, write_bytes, write_signed, write_varint};
use tideline_common::time::Timestamp;
use tideline_predict::drift::recorder::RecorderError;
use tideline_predict::drift::{Recorder, RecorderSpec};
use tideline_predict::predictor::{Predictor, StateError};
use tideline_predict::spec::PredictorSpec;

const FORMAT: u8 = 2;
/// The format before: without the last report's verdict.
const FORMAT_WITHOUT_DRIFT: u8 = 1;

/// What a prediction remembers.
#[derive(Debug)]
pub(super) struct Memory {
    /// Models, histories, predictions that wait.
    pub(super) predictor: Predictor,
    /// Samples for reports of drift.
    pub(super) recorder: Recorder,
    /// Windows that have closed, of keys that may be ahead of others: they wait for these. One value per column.
    pub(super) waiting: BTreeMap<(Timestamp, Vec<u8>), Vec<Option<f64>>>,
    /// Windows that start before this have been learnt from.
    pub(super) through: Option<Timestamp>,
    /// Hours of the reports that are kept, oldest first.
    pub(super) reports: VecDeque<Timestamp>,
    /// What the last report has found; `None` before the first, or when that was before this was kept.
    pub(super) drift: Option<Drift>,
}

/// What a report of drift has found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Drift {
    /// Share of the features that have drifted.
    pub(super) share: f64,
    /// Whether the data has.
    pub(super) drifted: bool,
}

/// Why something saved is not taken over.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// It is whole, and not for this definition or this program.
    Refused(String),
    /// It is damaged.
    Damaged(CodecError),
}

impl From<CodecError> for Unreadable {
    fn from(error: CodecError) -> Self {
        Self::Damaged(error)
    }
}

impl Memory {
    /// Nothing is known yet.
    ///
    /// # Errors
    /// A spec that makes no sense.
    pub(super) fn new(predictor: PredictorSpec, recorder: RecorderSpec) -> Result<Self, String> {
        Ok(Self {
            predictor: Predictor::new(predictor).map_err(|error| error.to_string())?,
            recorder: Recorder::new(recorder).map_err(|error| error.to_string())?,
            waiting: BTreeMap::new(),
            through: None,
            reports: VecDeque::new(),
            drift: None,
        })
    }

    /// Appends all of it.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        write_bytes(&self.predictor.state(), out);
        write_bytes(&self.recorder.state(), out);
        out.push(u8::from(self.through.is_some()));
        if let Some(through) = self.through {
            write_signed(through.0, out);
        }
        write_varint(self.reports.len() as u64, out);
        for hour in &self.reports {
            write_signed(hour.0, out);
        }
        out.push(u8::from(self.drift.is_some()));
        if let Some(Drift { share, drifted }) = self.drift {
            out.extend_from_slice(&share.to_le_bytes());
            out.push(u8::from(drifted));
        }
        let columns = self.predictor.columns();
        write_varint(columns.len() as u64, out);
        for column in columns {
            write_bytes(column.as_bytes(), out);
        }
        write_varint(self.waiting.len() as u64, out);
        for ((start, key), values) in &self.waiting {
            write_signed(start.0, out);
            write_bytes(key, out);
            for value in values {
                out.push(u8::from(value.is_some()));
                if let Some(value) = value {
                    out.extend_from_slice(&value.to_le_bytes());
                }
            }
        }
    }

    /// What [`write`](Self::write) wrote. Columns and versions are matched by name: what is new begins with nothing.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub(super) fn read(bytes: &[u8], predictor: PredictorSpec, recorder: RecorderSpec) -> Result<Self, Unreadable> {
        let mut reader = Reader::new(bytes);
        let format = reader.byte()?;
        if !matches!(format, FORMAT | FORMAT_WITHOUT_DRIFT) {
            return Err(Unreadable::Refused(format!(
                "format {format} of what it has saved is not known to this program"
            )));
        }
        let learner = Predictor::restore(predictor, reader.bytes()?).map_err(|error| match error {
            StateError::Magic | StateError::Checksum => reader.error("the state of a prediction").into(),
            StateError::Codec(error) => error.into(),
            StateError::Version(_) | StateError::Changed { .. } | StateError::Spec(_) => {
                Unreadable::Refused(error.to_string())
            }
        })?;
        let samples = Recorder::restore(recorder, reader.bytes()?).map_err(|error| match error {
            RecorderError::Magic | RecorderError::Checksum => reader.error("samples of a prediction").into(),
            RecorderError::Codec(error) => error.into(),
            RecorderError::Version(_) | RecorderError::Spec => Unreadable::Refused(error.to_string()),
        })?;
        let through = if reader.byte()? == 0 { None } else { Some(Timestamp(reader.signed()?)) };
        let mut reports = VecDeque::new();
        for _ in 0..reader.varint()? {
            reports.push_back(Timestamp(reader.signed()?));
        }
        let drift = if format == FORMAT_WITHOUT_DRIFT || reader.byte()? == 0 {
            None
        } else {
            Some(Drift { share: reader.float()?, drifted: reader.byte()? != 0 })
        };
        let columns = learner.columns();
        let mut places = Vec::new();
        for _ in 0..reader.varint()? {
            let name = reader.text()?;
            places.push(columns.iter().position(|column| column == name));
        }
        let mut waiting = BTreeMap::new();
        for _ in 0..reader.varint()? {
            let start = Timestamp(reader.signed()?);
            let key = reader.bytes()?.to_vec();
            let mut values = vec![None; columns.len()];
            for place in &places {
                let value = if reader.byte()? == 0 { None } else { Some(reader.float()?) };
                if let Some(place) = place {
                    values[*place] = value;
                }
            }
            waiting.insert((start, key), values);
        }
        if !reader.is_done() {
            return Err(reader.error("the end").into());
        }
        Ok(Self { predictor: learner, recorder: samples, waiting, through, reports, drift })
    }
}
