//! Alerts: conditions over windows, fired once per key and window.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde_json::{Map, Value as Json};
use tideline_common::alert::{self, AlertEvent};
use tideline_common::plan::{AlertOn, AlertPlan, ViewPlan};
use tideline_common::record::NewRecord;
use tideline_common::state::{CodecError, Reader, write_bytes, write_signed, write_varint};
use tideline_common::time::Timestamp;
use tideline_common::value::Value;
use tideline_common::window::Window;

use super::consumer::{Consumer, Effect, KeyWindow, Post};

/// See the module.
#[derive(Debug)]
pub(super) struct Alerting {
    plan: AlertPlan,
    window: Window,
    /// Keys for which it has fired, by the start of windows that are still open. Closed ones come once.
    fired: BTreeMap<Timestamp, BTreeSet<Vec<u8>>>,
}

impl Alerting {
    pub(super) const fn new(plan: AlertPlan, window: Window) -> Self {
        Self { plan, window, fired: BTreeMap::new() }
    }

    /// Whether the condition holds: null does not.
    fn holds(&self, window: &KeyWindow<'_>) -> bool {
        let value = match window.previous {
            Some(previous) if self.plan.when.has_previous() => {
                let row: Vec<Value> = window.values.iter().chain(previous).cloned().collect();
                self.plan.when.evaluate(&row)
            }
            _ => self.plan.when.evaluate(window.values),
        };
        value == Value::Bool(true)
    }

    fn fire(&self, window: &KeyWindow<'_>, effects: &mut Vec<Effect>) {
        let event = self.event(window);
        // One per key and window is data, not an event of the process: a view may have as many keys as it likes.
        tracing::debug!(
            alert = event.alert,
            view = event.view,
            key = %Json::Object(event.key.clone()),
            window_start = event.window_start,
            id = event.id,
            "alert fired"
        );
        metrics::counter!("tideline_alerts_total", "alert" => self.plan.name.clone()).increment(1);
        let mut key = self.plan.name.clone().into_bytes();
        key.push(0);
        key.extend_from_slice(window.key);
        let body = event.to_json();
        let record = NewRecord { key: Some(key.into()), headers: Vec::new(), payload: Bytes::from(body.clone()) };
        effects.push(Effect::Append { topic: alert::TOPIC.to_owned(), record });
        if self.plan.webhook.is_some() {
            effects.push(Effect::Post(Post { alert: self.plan.name.clone(), id: event.id, body }));
        }
    }

    fn event(&self, window: &KeyWindow<'_>) -> AlertEvent {
        let key = window.view.key.iter().zip(&window.key_values);
        AlertEvent {
            id: AlertEvent::id(&self.plan.name, &self.plan.view, window.key, window.start),
            alert: self.plan.name.clone(),
            view: self.plan.view.clone(),
            on: self.plan.on,
            key: key.map(|(field, value)| (field.name.clone(), value.to_json())).collect(),
            window_start: window.start.to_string(),
            window_end: window.end.to_string(),
            columns: columns(window.view, window.values),
            previous: window
                .previous
                .filter(|_| self.plan.when.has_previous())
                .map(|values| columns(window.view, values)),
            fired_at: window.now.to_string(),
        }
    }
}

fn columns(view: &ViewPlan, values: &[Value]) -> Map<String, Json> {
    view.answer.iter().zip(values).map(|(field, value)| (field.name.clone(), value.to_json())).collect()
}

impl Consumer for Alerting {
    fn name(&self) -> String {
        format!("alert {}", self.plan.name)
    }

    fn window(&self) -> Window {
        self.window
    }

    fn wants_previous(&self) -> bool {
        self.plan.when.has_previous()
    }

    fn follows(&self) -> bool {
        self.plan.on == AlertOn::Running
    }

    fn closed(&mut self, window: &KeyWindow<'_>, effects: &mut Vec<Effect>) {
        let fired = self.fired.get(&window.start).is_some_and(|keys| keys.contains(window.key));
        if !fired && self.holds(window) {
            self.fire(window, effects);
        }
    }

    fn changed(&mut self, window: &KeyWindow<'_>, effects: &mut Vec<Effect>) {
        if self.fired.get(&window.start).is_some_and(|keys| keys.contains(window.key)) || !self.holds(window) {
            return;
        }
        self.fire(window, effects);
        self.fired.entry(window.start).or_default().insert(window.key.to_vec());
    }

    fn forget(&mut self, through: Timestamp) {
        self.fired = self.fired.split_off(&through);
    }

    fn save(&self, out: &mut Vec<u8>) {
        write_varint(self.fired.len() as u64, out);
        for (start, keys) in &self.fired {
            write_signed(start.0, out);
            write_varint(keys.len() as u64, out);
            for key in keys {
                write_bytes(key, out);
            }
        }
    }

    fn restore(&mut self, reader: &mut Reader<'_>) -> Result<(), CodecError> {
        for _ in 0..reader.varint()? {
            let start = Timestamp(reader.signed()?);
            let keys = self.fired.entry(start).or_default();
            for _ in 0..reader.varint()? {
                keys.insert(reader.bytes()?.to_vec());
            }
        }
        Ok(())
    }
}
