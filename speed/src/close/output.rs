//! Outputs: closed windows as JSON records of a topic.
//!
//! A record is an object: the key columns, `window_start`, `window_end`, and the columns asked for, in that order. Its key
//! is the value of the key column, as text; of several, a JSON array of them. The header `tideline-id` is the same for
//! every copy of a record, which a restart may make: it follows from view, key and window alone.

use bytes::Bytes;
use serde_json::{Map, Value as Json};
use tideline_common::plan::OutputPlan;
use tideline_common::record::NewRecord;
use tideline_common::value::Value;
use tideline_common::window::Window;
use xxhash_rust::xxh3::xxh3_128;

use super::consumer::{Consumer, Effect, KeyWindow};

/// Header with the identity of a record.
pub const ID_HEADER: &str = "tideline-id";

/// The key of a record, of the values of key columns: of one its text, of several a JSON array. `None`: it has none.
pub fn record_key<'v>(values: impl IntoIterator<Item = &'v Value>) -> Option<Bytes> {
    let values: Vec<&Value> = values.into_iter().collect();
    match values.as_slice() {
        [] | [Value::Null] => None,
        [value] => Some(value.to_string().into()),
        several => Some(Json::from(several.iter().map(|value| value.to_json()).collect::<Vec<_>>()).to_string().into()),
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Output {
    plan: OutputPlan,
}

impl Output {
    pub(super) const fn new(plan: OutputPlan) -> Self {
        Self { plan }
    }

    fn key(&self, values: &[Value]) -> Option<Bytes> {
        record_key(self.plan.key.iter().map(|at| values.get(*at).unwrap_or(&Value::Null)))
    }

    fn payload(&self, window: &KeyWindow<'_>) -> Bytes {
        let mut object = Map::new();
        for (field, value) in window.view.key.iter().zip(&window.key_values) {
            object.insert(field.name.clone(), value.to_json());
        }
        object.insert("window_start".to_owned(), Json::from(window.start.to_string()));
        object.insert("window_end".to_owned(), Json::from(window.end.to_string()));
        for at in &self.plan.columns {
            if let (Some(field), Some(value)) = (window.view.answer.get(*at), window.values.get(*at)) {
                object.insert(field.name.clone(), value.to_json());
            }
        }
        Json::Object(object).to_string().into()
    }

    fn id(&self, window: &KeyWindow<'_>) -> String {
        let Window { size, slide } = self.plan.window;
        let mut bytes = Vec::with_capacity(window.key.len() + 64);
        for part in [self.plan.name.as_bytes(), self.plan.view.as_bytes(), window.key] {
            bytes.extend_from_slice(&(part.len() as u32).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        for number in [window.start.0, size.0, slide.0] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        format!("{:032x}", xxh3_128(&bytes))
    }
}

impl Consumer for Output {
    fn name(&self) -> String {
        format!("output {}", self.plan.name)
    }

    fn window(&self) -> Window {
        self.plan.window
    }

    fn closed(&mut self, window: &KeyWindow<'_>, effects: &mut Vec<Effect>) {
        metrics::counter!("tideline_output_rows_total", "output" => self.plan.name.clone()).increment(1);
        let record = NewRecord {
            key: self.key(&window.key_values),
            headers: vec![(ID_HEADER.to_owned(), self.id(window).into())],
            payload: self.payload(window),
        };
        effects.push(Effect::Append { topic: self.plan.topic.clone(), record });
    }
}
