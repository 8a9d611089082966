//! Which way a value has gone since the window before.

use std::cmp::Ordering;

use serde::Serialize;
use tideline_common::value::Value;

use super::order::descending;

/// The ranking column of a key in the window that began one slide before.
#[derive(Clone, Debug, PartialEq)]
pub enum Before {
    /// Not known: a part of that window is missing.
    Unknown,
    /// The key was not in that window.
    Absent,
    /// Its value there.
    Was(Value),
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Greater than before.
    Up,
    /// Less than before.
    Down,
    /// As before.
    Same,
    /// Not in the window before.
    New,
}

impl Direction {
    /// The name, as answers have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Same => "same",
            Self::New => "new",
        }
    }
}

impl Before {
    /// The value, null where there is none.
    pub const fn value(&self) -> &Value {
        match self {
            Self::Was(value) => value,
            Self::Unknown | Self::Absent => &Value::Null,
        }
    }

    /// From here to `now`; `None` when nothing can be said: what was is not known, or one of the values is null.
    pub fn to(&self, now: &Value) -> Option<Direction> {
        let was = match self {
            Self::Unknown => return None,
            Self::Absent => return Some(Direction::New),
            Self::Was(was) => was,
        };
        let absent = |value: &Value| match value {
            Value::Null => true,
            Value::Float(x) => x.is_nan(),
            _ => false,
        };
        if absent(was) || absent(now) {
            return None;
        }
        Some(match descending(was, now) {
            Ordering::Greater => Direction::Up,
            Ordering::Less => Direction::Down,
            Ordering::Equal => Direction::Same,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direction_needs_two_values() {
        let was = |value: f64| Before::Was(Value::Float(value));
        assert_eq!(was(1.0).to(&Value::Float(2.0)), Some(Direction::Up));
        assert_eq!(was(2.0).to(&Value::Int(1)), Some(Direction::Down));
        assert_eq!(was(2.0).to(&Value::Int(2)), Some(Direction::Same));
        assert_eq!(Before::Was(Value::String("a".into())).to(&Value::String("b".into())), Some(Direction::Up));
        assert_eq!(Before::Absent.to(&Value::Float(1.0)), Some(Direction::New));
        assert_eq!(Before::Unknown.to(&Value::Float(1.0)), None);
        assert_eq!(was(1.0).to(&Value::Null), None);
        assert_eq!(was(f64::NAN).to(&Value::Float(1.0)), None);
    }
}
