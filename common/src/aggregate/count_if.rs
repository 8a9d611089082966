//! `count_if(condition)`.

use super::{StateSpec, count_at};
use crate::state::{Input, Rule, StateColumn};
use crate::value::{Type, Value};

pub(super) fn states() -> Vec<StateSpec> {
    vec![StateSpec { suffix: "count_if", rule: Rule::Sum, ty: Type::Int, input: Input::IsTrue }]
}

pub(super) fn finish(states: &[&StateColumn], row: usize) -> Value {
    Value::Int(count_at(states.first(), row))
}
