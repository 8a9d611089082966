//! Records of predictions: what is told of a window to come, and of one that came.
//!
//! An object: the key columns, `timestamp` and `window_end` of the window, `actual_TARGET`, `predicted_TARGET`,
//! `prediction_error` (predicted less actual), `model_version`, `status`. Of a window to come, actual and error are null.

use bytes::Bytes;
use serde_json::{Map, Value as Json};
use tideline_common::key::decode;
use tideline_common::plan::Field;
use tideline_common::prediction::{RecordStatus, record_id};
use tideline_common::record::NewRecord;
use tideline_common::time::{Span, Timestamp};
use tideline_common::value::Value;
use tideline_predict::predictor::{Prediction, Settled};
use tideline_speed::close::{ID_HEADER, record_key};

/// How records of a prediction are made.
#[derive(Debug)]
pub(super) struct Records {
    prediction: String,
    key: Vec<Field>,
    size: Span,
    actual: String,
    predicted: String,
}

/// What one record says.
struct Said<'a> {
    window: Timestamp,
    version: &'a str,
    predicted: Option<f64>,
    actual: Option<f64>,
    error: Option<f64>,
    status: RecordStatus,
}

impl Records {
    /// Of a prediction of `target`, over windows of `size` of a view with this key.
    pub(super) fn new(prediction: &str, target: &str, key: &[Field], size: Span) -> Self {
        Self {
            prediction: prediction.to_owned(),
            key: key.to_vec(),
            size,
            actual: format!("actual_{target}"),
            predicted: format!("predicted_{target}"),
        }
    }

    /// That a window is to come.
    pub(super) fn predicted(&self, key: &[u8], prediction: &Prediction) -> NewRecord {
        self.record(
            key,
            &Said {
                window: prediction.window,
                version: &prediction.version,
                predicted: prediction.predicted,
                actual: None,
                error: None,
                status: RecordStatus::Predicted,
            },
        )
    }

    /// That it came.
    pub(super) fn settled(&self, key: &[u8], settled: &Settled) -> NewRecord {
        self.record(
            key,
            &Said {
                window: settled.window,
                version: &settled.version,
                predicted: settled.predicted,
                actual: Some(settled.actual),
                error: settled.error,
                status: RecordStatus::Settled,
            },
        )
    }

    fn record(&self, key: &[u8], said: &Said<'_>) -> NewRecord {
        // Made by this program of a key's values.
        let values = decode(key).unwrap_or_default();
        let number = |number: Option<f64>| number.map_or(Value::Null, Value::Float).to_json();
        let mut object = Map::new();
        for (field, value) in self.key.iter().zip(&values) {
            object.insert(field.name.clone(), value.to_json());
        }
        object.insert("timestamp".to_owned(), Json::from(said.window.to_string()));
        object.insert("window_end".to_owned(), Json::from(said.window.plus(self.size).to_string()));
        object.insert(self.actual.clone(), number(said.actual));
        object.insert(self.predicted.clone(), number(said.predicted));
        object.insert("prediction_error".to_owned(), number(said.error));
        object.insert("model_version".to_owned(), Json::from(said.version));
        object.insert("status".to_owned(), Json::from(said.status.name()));
        let id = record_id(&self.prediction, key, said.window, said.version, said.status);
        NewRecord {
            key: record_key(&values),
            headers: vec![(ID_HEADER.to_owned(), id.into())],
            payload: Bytes::from(Json::Object(object).to_string()),
        }
    }
}
