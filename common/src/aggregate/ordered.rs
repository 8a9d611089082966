//! `first(x)` and `last(x)` by event time; see [`crate::state::Ordered`] for how ties are broken.

use super::StateSpec;
use crate::state::{Input, Rule, StateColumn};
use crate::value::{Type, Value};

pub(super) fn states(rule: Rule, ty: Type) -> Vec<StateSpec> {
    let suffix = if rule == Rule::First { "first" } else { "last" };
    vec![StateSpec { suffix, rule, ty, input: Input::Value }]
}

pub(super) fn finish(states: &[&StateColumn], row: usize) -> Value {
    match states.first() {
        Some(StateColumn::First(ordered) | StateColumn::Last(ordered)) => ordered.values.value(row),
        _ => Value::Null,
    }
}
