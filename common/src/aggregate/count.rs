//! `count()` and `count(x)`.

use super::{StateSpec, count_at};
use crate::state::{Input, Rule, StateColumn};
use crate::value::{Type, Value};

pub(super) fn states(has_argument: bool) -> Vec<StateSpec> {
    let input = if has_argument { Input::NotNull } else { Input::One };
    vec![StateSpec { suffix: "count", rule: Rule::Sum, ty: Type::Int, input }]
}

pub(super) fn finish(states: &[&StateColumn], row: usize) -> Value {
    Value::Int(count_at(states.first(), row))
}
