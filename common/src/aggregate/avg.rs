//! `avg(x)`. Its sum is a float even for integers: an average must not overflow because its sum does.

use super::{StateSpec, count_at, plain};
use crate::state::{Input, Rule, StateColumn};
use crate::value::{Type, Value};

pub(super) fn states() -> Vec<StateSpec> {
    vec![
        StateSpec { suffix: "sum", rule: Rule::Sum, ty: Type::Float, input: Input::Value },
        StateSpec { suffix: "count", rule: Rule::Sum, ty: Type::Int, input: Input::NotNull },
    ]
}

pub(super) fn finish(states: &[&StateColumn], row: usize) -> Value {
    match (states.first(), count_at(states.get(1), row)) {
        (Some(StateColumn::SumFloat(sums)), count) if count > 0 => Value::Float(plain(sums[row] / count as f64)),
        _ => Value::Null,
    }
}
