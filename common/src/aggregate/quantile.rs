//! `quantile(x, q)` by `DDSketch` (see [`super::sketch`]).

use super::{StateSpec, sketch};
use crate::state::{Input, MapColumn, Rule, StateColumn};
use crate::value::{Type, Value};

pub(super) fn states() -> Vec<StateSpec> {
    vec![StateSpec { suffix: "buckets", rule: Rule::MapSum, ty: Type::Int, input: Input::Bucket }]
}

pub(super) fn finish(q: f64, states: &[&StateColumn], row: usize) -> Value {
    match states.first() {
        Some(StateColumn::MapSum(MapColumn::Int(maps))) => {
            sketch::quantile(&maps[row], q).map_or(Value::Null, Value::Float)
        }
        _ => Value::Null,
    }
}
