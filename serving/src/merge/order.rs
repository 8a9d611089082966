//! The order of a ranking.

use std::cmp::Ordering;

use tideline_common::value::{Type, Value};

/// Whether a column of this type can rank.
pub(crate) const fn is_rankable(ty: Type) -> bool {
    !matches!(ty, Type::Map | Type::Strings)
}

/// The order of a ranking: greater values first, null and NaN last.
pub(crate) fn descending(a: &Value, b: &Value) -> Ordering {
    let absent = |value: &Value| match value {
        Value::Null => true,
        Value::Float(x) => x.is_nan(),
        _ => false,
    };
    match (absent(a), absent(b)) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => b.cmp(a),
        (Value::Bool(a), Value::Bool(b)) => b.cmp(a),
        (Value::String(a), Value::String(b)) => b.cmp(a),
        (Value::Timestamp(a), Value::Timestamp(b)) => b.cmp(a),
        (a, b) => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => b.total_cmp(&a),
            _ => Ordering::Equal,
        },
    }
}
