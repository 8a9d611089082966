//! The state of a predictor as bytes.
//!
//! ```text
//! "TIDEPRED"  8 bytes
//! version     1 byte, now 1
//! columns     varint n | n × text, the target first
//! counters    varints: windows, repeated, corrected, out of order, without target, after gap, evicted
//! models      varint n | n × (text version | 8 bytes fingerprint | varint features
//!                             | features × (varint count | mean, variance, weight: 8 bytes each) | intercept 8 bytes
//!                             | varints predictions, learnt, beyond, evaluated | 5 × 8 bytes of running errors)
//! keys        varint n | n × (bytes key | windows | per model: 0, or 1 and the prediction that waits), oldest first
//! waiting     numbers: predicted, then the sample
//! windows     varint n | n × (zigzag varint start, less the one before | numbers, one per column)
//! numbers     2 bits each: 0 null, 1 float, 2 integer | floats 8 bytes, integers zigzag varint
//! xxh3        8 bytes little endian, of everything before
//! ```
//! Texts and bytes stand after their varint length; floats are little endian, bit for bit.

use tideline_common::key::Key;
use tideline_common::state::{CodecError, Reader, write_bytes, write_varint};
use xxhash_rust::xxh3::xxh3_64;

use super::keys::{KeyState, Keys, Waiting};
use super::{Counters, Predictor};
use crate::history::{History, read_numbers, write_numbers};
use crate::metrics::{Errors, Mean};
use crate::model::Model;
use crate::regression::LinearRegression;
use crate::scaler::{Scale, StandardScaler};
use crate::spec::{PredictorSpec, SpecError};

const MAGIC: &[u8; 8] = b"TIDEPRED";
const VERSION: u8 = 1;

/// Why bytes are not the state of this predictor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Something else.
    #[error("not the state of a prediction")]
    Magic,
    /// Written by another program.
    #[error("format {0} of the state of a prediction is not known")]
    Version(u8),
    /// Not what was written.
    #[error("the state of a prediction is damaged: its checksum does not match")]
    Checksum,
    /// The settings of a version are not those it has learnt with.
    #[error(
        "model `{version}` has learnt with another target, other features or other settings: give the changed model a version of its own"
    )]
    Changed {
        /// The version.
        version: String,
    },
    /// The spec makes no sense.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The bytes end too early, or hold what they cannot.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

impl Predictor {
    /// The state as bytes: models, metrics, histories, waiting predictions, counters.
    pub fn state(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4096);
        out.extend_from_slice(MAGIC);
        out.push(VERSION);
        write_varint(self.columns.len() as u64, &mut out);
        for column in &self.columns {
            write_bytes(column.as_bytes(), &mut out);
        }
        write_counters(&self.counters, &mut out);
        write_varint(self.models.len() as u64, &mut out);
        for model in &self.models {
            write_model(model, &mut out);
        }
        write_varint(self.keys.len() as u64, &mut out);
        let mut numbers = Vec::new();
        for (key, state) in self.keys.iter() {
            write_bytes(key.as_bytes(), &mut out);
            state.history.write(&mut out);
            for waiting in &state.waiting {
                out.push(u8::from(waiting.is_some()));
                if let Some(waiting) = waiting {
                    numbers.clear();
                    numbers.push(waiting.predicted.unwrap_or(f64::NAN));
                    numbers.extend_from_slice(&waiting.sample);
                    write_numbers(&numbers, &mut out);
                }
            }
        }
        let hash = xxh3_64(&out);
        out.extend_from_slice(&hash.to_le_bytes());
        out
    }

    /// A predictor that goes on where the one that wrote `bytes` stood, bit for bit.
    ///
    /// The spec may differ from the one before: a version that is new begins with nothing, one that is gone is dropped,
    /// columns are matched by name (null in old windows where they are new), bounds apply at once.
    ///
    /// # Errors
    /// When the spec makes no sense, the bytes are not a state, or a version of the same name has other settings.
    pub fn restore(spec: PredictorSpec, bytes: &[u8]) -> Result<Self, StateError> {
        let mut predictor = Self::new(spec)?;
        let (body, hash) = bytes.split_last_chunk::<8>().ok_or(StateError::Magic)?;
        let body_after_magic = body.strip_prefix(MAGIC).ok_or(StateError::Magic)?;
        if xxh3_64(body) != u64::from_le_bytes(*hash) {
            return Err(StateError::Checksum);
        }
        let mut reader = Reader::new(body_after_magic);
        let version = reader.byte()?;
        if version != VERSION {
            return Err(StateError::Version(version));
        }
        let mut mapping = Vec::new();
        for _ in 0..reader.varint()? {
            let column = reader.text()?;
            mapping.push(predictor.columns.iter().position(|here| here == column));
        }
        predictor.counters = read_counters(&mut reader)?;
        let mut stored = Vec::new();
        for _ in 0..reader.varint()? {
            stored.push(predictor.read_model(&mut reader)?);
        }
        predictor.read_keys(&mapping, &stored, &mut reader)?;
        if !reader.is_done() {
            return Err(reader.error("the end").into());
        }
        Ok(predictor)
    }

    /// Reads a model into the one of its version; answers where that is, and how many features it has.
    fn read_model(&mut self, reader: &mut Reader) -> Result<StoredModel, StateError> {
        let version = reader.text()?;
        let place = self.models.iter().position(|model| model.version() == version);
        let fingerprint = u64::from_le_bytes(reader.take(8)?.try_into().map_err(|_| reader.error("a fingerprint"))?);
        if place.is_some_and(|place| self.models[place].fingerprint != fingerprint) {
            return Err(StateError::Changed { version: version.to_owned() });
        }
        let features = usize::try_from(reader.varint()?).map_err(|_| reader.error("a number of features"))?;
        if place.is_some_and(|place| self.models[place].inputs.len() != features) {
            return Err(reader.error("as many features as the model has").into());
        }
        let (mut scales, mut weights) = (Vec::new(), Vec::new());
        for _ in 0..features {
            scales.push(Scale { count: reader.varint()?, mean: reader.float()?, variance: reader.float()? });
            weights.push(reader.float()?);
        }
        let regression = LinearRegression { weights, intercept: reader.float()? };
        let (predictions, learnt, beyond) = (reader.varint()?, reader.varint()?, reader.varint()?);
        let errors = Errors {
            count: reader.varint()?,
            absolute: Mean(reader.float()?),
            squared: Mean(reader.float()?),
            target: Mean(reader.float()?),
            spread: reader.float()?,
            residual: reader.float()?,
        };
        if let Some(place) = place {
            let model = &mut self.models[place];
            (model.scaler, model.regression) = (StandardScaler::from_scales(scales), regression);
            (model.predictions, model.learnt, model.beyond, model.errors) = (predictions, learnt, beyond, errors);
        }
        Ok(StoredModel { place, features })
    }

    fn read_keys(
        &mut self,
        mapping: &[Option<usize>],
        stored: &[StoredModel],
        reader: &mut Reader,
    ) -> Result<(), StateError> {
        let mut keys = Keys::new(self.spec.keys_max);
        let count = reader.varint()?;
        for number in 0..count {
            let key = Key(reader.bytes()?.to_vec());
            let history = History::read(self.columns.len(), mapping, self.spec.buffer, reader)?;
            let mut state = KeyState { history, waiting: vec![None; self.models.len()] };
            for model in stored {
                match reader.byte()? {
                    0 => continue,
                    1 => {}
                    _ => return Err(reader.error("whether a prediction waits").into()),
                }
                let mut numbers = read_numbers(model.features + 1, reader)?;
                if let Some(place) = model.place {
                    let predicted = Some(numbers.remove(0)).filter(|predicted| !predicted.is_nan());
                    state.waiting[place] = Some(Waiting { sample: numbers, predicted });
                }
            }
            if keys.get_mut(&key).is_some() {
                return Err(reader.error("each key once").into());
            }
            // The oldest come first: of more than there is room for, they are the ones to go.
            if count - number <= self.spec.keys_max as u64 {
                keys.push(&key, state);
            } else {
                self.counters.evicted += 1;
            }
        }
        self.keys = keys;
        Ok(())
    }
}

/// A model in the bytes.
struct StoredModel {
    /// Its place among the models here, if it is still wanted.
    place: Option<usize>,
    features: usize,
}

fn write_model(model: &Model, out: &mut Vec<u8>) {
    write_bytes(model.version().as_bytes(), out);
    out.extend_from_slice(&model.fingerprint.to_le_bytes());
    write_varint(model.inputs.len() as u64, out);
    let float = |x: f64, out: &mut Vec<u8>| out.extend_from_slice(&x.to_le_bytes());
    for (scale, weight) in model.scaler.scales().iter().zip(&model.regression.weights) {
        write_varint(scale.count, out);
        float(scale.mean, out);
        float(scale.variance, out);
        float(*weight, out);
    }
    float(model.regression.intercept, out);
    let errors = &model.errors;
    for count in [model.predictions, model.learnt, model.beyond, errors.count] {
        write_varint(count, out);
    }
    for x in [errors.absolute.0, errors.squared.0, errors.target.0, errors.spread, errors.residual] {
        float(x, out);
    }
}

fn write_counters(counters: &Counters, out: &mut Vec<u8>) {
    let Counters { windows, repeated, corrected, out_of_order, without_target, after_gap, evicted } = *counters;
    for count in [windows, repeated, corrected, out_of_order, without_target, after_gap, evicted] {
        write_varint(count, out);
    }
}

fn read_counters(reader: &mut Reader) -> Result<Counters, CodecError> {
    Ok(Counters {
        windows: reader.varint()?,
        repeated: reader.varint()?,
        corrected: reader.varint()?,
        out_of_order: reader.varint()?,
        without_target: reader.varint()?,
        after_gap: reader.varint()?,
        evicted: reader.varint()?,
    })
}
