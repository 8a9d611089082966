//! `sum(x)`: of integers an integer, of floats a float. The count of values tells a sum of 0 from a sum of nothing.

use super::{StateSpec, count_at, plain};
use crate::state::{Input, Rule, StateColumn};
use crate::value::{Type, Value};

pub(super) fn states(ty: Type) -> Vec<StateSpec> {
    vec![
        StateSpec { suffix: "sum", rule: Rule::Sum, ty, input: Input::Value },
        StateSpec { suffix: "count", rule: Rule::Sum, ty: Type::Int, input: Input::NotNull },
    ]
}

pub(super) fn finish(states: &[&StateColumn], row: usize) -> Value {
    if count_at(states.get(1), row) == 0 {
        return Value::Null;
    }
    match states.first() {
        Some(StateColumn::SumInt(sums)) => Value::Int(sums[row]),
        Some(StateColumn::SumFloat(sums)) => Value::Float(plain(sums[row])),
        _ => Value::Null,
    }
}
