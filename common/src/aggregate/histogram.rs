//! `histogram(category)`: how many rows of each category.

use super::StateSpec;
use crate::state::{Input, MapColumn, Rule, StateColumn};
use crate::value::{Type, Value};

pub(super) fn states() -> Vec<StateSpec> {
    vec![StateSpec { suffix: "counts", rule: Rule::MapSum, ty: Type::String, input: Input::Category }]
}

pub(super) fn finish(states: &[&StateColumn], row: usize) -> Value {
    match states.first() {
        Some(StateColumn::MapSum(MapColumn::Text(maps))) if !maps[row].is_empty() => {
            Value::Map(maps[row].iter().map(|(category, count)| (category.to_string(), *count)).collect())
        }
        _ => Value::Null,
    }
}
