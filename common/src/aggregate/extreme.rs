//! `min(x)` and `max(x)`. NaN is neither: over nothing but NaN they are null.

use super::{StateSpec, plain};
use crate::column::Column;
use crate::state::{Input, Rule, StateColumn};
use crate::value::{Type, Value};

pub(super) fn states(rule: Rule, ty: Type) -> Vec<StateSpec> {
    let suffix = if rule == Rule::Min { "min" } else { "max" };
    vec![StateSpec { suffix, rule, ty, input: Input::Value }]
}

pub(super) fn finish(states: &[&StateColumn], row: usize) -> Value {
    match states.first() {
        Some(StateColumn::Min(Column::Float(values)) | StateColumn::Max(Column::Float(values))) => {
            values[row].filter(|x| !x.is_nan()).map_or(Value::Null, |x| Value::Float(plain(x)))
        }
        Some(StateColumn::Min(values) | StateColumn::Max(values)) => values.value(row),
        _ => Value::Null,
    }
}
