//! The reference lowering: what one row contributes to a state, by (rule, input) alone.
//!
//! Row at a time and without any engine: what the layers' lowering is checked against, and good enough where
//! rows are few.

use super::{StateSpec, registers, sketch};
use crate::state::{Input, MapColumn, Rule, StateColumn, StateField};
use crate::time::Timestamp;
use crate::value::{Type, Value};

/// A row, as one aggregate sees it.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// The argument; anything for [`Input::One`].
    pub argument: &'a Value,
    /// Event time.
    pub time: Timestamp,
    /// [`crate::position::sequence`] of the record.
    pub sequence: i64,
}

impl StateSpec {
    /// The field that a view gets for this state of `argument` over `table`.
    pub fn field(&self, name: impl Into<String>, table: impl Into<String>, argument: Option<String>) -> StateField {
        StateField {
            name: name.into(),
            rule: self.rule,
            ty: self.ty,
            input: self.input,
            table: table.into(),
            argument: if self.input == Input::One { None } else { argument },
        }
    }
}

/// Merges what `event` contributes into group `group` of `states`, the column of `field`.
pub fn fold(field: &StateField, states: &mut StateColumn, group: usize, event: Event<'_>) {
    states.merge_row(group, &state_of(field, event), 0);
}

/// The state of a group of one row: a column of one group.
pub fn state_of(field: &StateField, event: Event<'_>) -> StateColumn {
    let mut state = StateColumn::new(field);
    state.push_identity();
    let argument = event.argument;
    match &mut state {
        StateColumn::SumInt(sums) => sums[0] = whole(field.input, argument),
        StateColumn::SumFloat(sums) => {
            let x = argument.as_f64().unwrap_or(0.0);
            sums[0] = if field.input == Input::Square { x * x } else { x };
        }
        StateColumn::Min(values) | StateColumn::Max(values) => {
            if !matches!(argument, Value::Float(x) if x.is_nan()) {
                let mut column = crate::column::Column::new(field.ty);
                column.push(argument);
                *values = column;
            }
        }
        StateColumn::First(ordered) | StateColumn::Last(ordered) => {
            let mut column = crate::column::Column::new(field.ty);
            column.push(argument);
            if !column.is_null(0) {
                (ordered.times[0], ordered.sequences[0]) = (event.time.0, event.sequence);
            }
            ordered.values = column;
        }
        StateColumn::MapSum(MapColumn::Int(maps)) | StateColumn::MapMax(MapColumn::Int(maps)) => {
            maps[0].extend(if field.input == Input::Register {
                hash(argument).map(registers::register)
            } else {
                argument.as_f64().and_then(sketch::bucket).map(|bucket| (bucket, 1))
            });
        }
        StateColumn::MapSum(MapColumn::Text(maps)) | StateColumn::MapMax(MapColumn::Text(maps)) => {
            maps[0].extend(category(argument).map(|text| (text.into(), 1)));
        }
    }
    state
}

fn whole(input: Input, argument: &Value) -> i64 {
    match (input, argument) {
        (Input::One, _) => 1,
        (Input::NotNull, argument) => i64::from(!argument.is_null()),
        (Input::IsTrue, argument) => i64::from(*argument == Value::Bool(true)),
        (_, Value::Int(i)) => *i,
        _ => 0,
    }
}

/// The hash of a value for [`registers::register`]; `None` for null and for what cannot be counted.
pub fn hash(value: &Value) -> Option<u64> {
    match value {
        Value::Bool(b) => Some(registers::hash_bool(*b)),
        Value::Int(i) => Some(registers::hash_i64(*i)),
        Value::Float(x) => Some(registers::hash_f64(*x)),
        Value::String(s) => Some(registers::hash_str(s)),
        Value::Timestamp(t) => Some(registers::hash_i64(t.0)),
        Value::Null | Value::Strings(_) | Value::Map(_) => None,
    }
}

fn category(value: &Value) -> Option<String> {
    match value {
        Value::Bool(_) | Value::Int(_) | Value::String(_) => Some(value.to_string()),
        _ => None,
    }
}

/// Whether `rule` and `input` go together for a state of type `ty`: what a lowering has to know.
pub const fn is_lowered(rule: Rule, input: Input, ty: Type) -> bool {
    match input {
        Input::One | Input::NotNull | Input::IsTrue => matches!((rule, ty), (Rule::Sum, Type::Int)),
        Input::Square => matches!((rule, ty), (Rule::Sum, Type::Float)),
        Input::Value => match rule {
            Rule::Sum => ty.is_numeric(),
            Rule::Min | Rule::Max | Rule::First | Rule::Last => {
                matches!(ty, Type::Bool | Type::Int | Type::Float | Type::String | Type::Timestamp)
            }
            Rule::MapSum | Rule::MapMax => false,
        },
        Input::Bucket => matches!((rule, ty), (Rule::MapSum, Type::Int)),
        Input::Register => matches!((rule, ty), (Rule::MapMax, Type::Int)),
        Input::Category => matches!((rule, ty), (Rule::MapSum, Type::String)),
    }
}
