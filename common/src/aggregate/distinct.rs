//! `distinct(x)`: how many distinct values, by `HyperLogLog` (see [`super::registers`]).

use super::{StateSpec, registers};
use crate::state::{Input, MapColumn, Rule, StateColumn};
use crate::value::{Type, Value};

pub(super) fn states() -> Vec<StateSpec> {
    vec![StateSpec { suffix: "registers", rule: Rule::MapMax, ty: Type::Int, input: Input::Register }]
}

pub(super) fn finish(states: &[&StateColumn], row: usize) -> Value {
    match states.first() {
        Some(StateColumn::MapMax(MapColumn::Int(maps))) => Value::Int(registers::estimate(&maps[row])),
        _ => Value::Int(0),
    }
}
