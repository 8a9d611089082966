//! Whether two states are the same.

use tideline_common::column::Column;
use tideline_common::state::{Input, MapColumn, StateBatch, StateColumn, StateField};

/// How far two float sums may be apart: they were added in different orders.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tolerance {
    pub(super) relative: f64,
    /// For sums that cancel out to about nothing, where a relative bound has no meaning.
    pub(super) absolute: f64,
}

impl Tolerance {
    fn same(self, a: f64, b: f64) -> bool {
        // Equal infinities, and two NaNs, are the same.
        a.to_bits() == b.to_bits()
            || (a.is_nan() && b.is_nan())
            || (a.is_finite()
                && b.is_finite()
                && (a - b).abs() <= self.absolute.max(self.relative * a.abs().max(b.abs())))
    }
}

/// The first state column on which row `row` of `a` and row `other` of `b` differ. Integers, extremes, first and
/// last values and sketches must be equal; float sums within the tolerance.
pub(super) fn differs(a: &StateBatch, row: usize, b: &StateBatch, other: usize, tolerance: Tolerance) -> Option<usize> {
    a.states.iter().zip(&b.states).position(|(a, b)| !same(a, row, b, other, tolerance))
}

/// Whether some count of `a` is greater than that of `b`.
pub(super) fn counts_more(fields: &[StateField], a: &StateBatch, row: usize, b: &StateBatch, other: usize) -> bool {
    let counts = |field: &StateField| matches!(field.input, Input::One | Input::NotNull | Input::IsTrue);
    fields.iter().zip(a.states.iter().zip(&b.states)).any(|(field, columns)| match columns {
        (StateColumn::SumInt(a), StateColumn::SumInt(b)) => counts(field) && a[row] > b[other],
        _ => false,
    })
}

fn same(a: &StateColumn, row: usize, b: &StateColumn, other: usize, tolerance: Tolerance) -> bool {
    match (a, b) {
        (StateColumn::SumInt(a), StateColumn::SumInt(b)) => a[row] == b[other],
        (StateColumn::SumFloat(a), StateColumn::SumFloat(b)) => tolerance.same(a[row], b[other]),
        (StateColumn::Min(a), StateColumn::Min(b)) | (StateColumn::Max(a), StateColumn::Max(b)) => {
            value(a, row, b, other)
        }
        (StateColumn::First(a), StateColumn::First(b)) | (StateColumn::Last(a), StateColumn::Last(b)) => {
            value(&a.values, row, &b.values, other)
                && (a.values.is_null(row) || (a.times[row], a.sequences[row]) == (b.times[other], b.sequences[other]))
        }
        (StateColumn::MapSum(a), StateColumn::MapSum(b)) | (StateColumn::MapMax(a), StateColumn::MapMax(b)) => {
            match (a, b) {
                (MapColumn::Int(a), MapColumn::Int(b)) => a[row] == b[other],
                (MapColumn::Text(a), MapColumn::Text(b)) => a[row] == b[other],
                _ => false,
            }
        }
        _ => false,
    }
}

fn value(a: &Column, row: usize, b: &Column, other: usize) -> bool {
    match (a, b) {
        (Column::Float(a), Column::Float(b)) => match (a[row], b[other]) {
            (Some(a), Some(b)) => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 0.0,
            (a, b) => a.is_none() && b.is_none(),
        },
        (Column::String(a), Column::String(b)) => a.get(row) == b.get(other),
        (a, b) => a.value(row) == b.value(other),
    }
}

/// A state as text, for an example; long maps are cut.
pub(super) fn describe(column: &StateColumn, row: usize) -> String {
    let text = match column {
        StateColumn::SumInt(v) => v[row].to_string(),
        StateColumn::SumFloat(v) => format!("{:?}", v[row]),
        StateColumn::Min(v) | StateColumn::Max(v) => v.value(row).to_json().to_string(),
        StateColumn::First(v) | StateColumn::Last(v) => {
            format!("{} at {} ({})", v.values.value(row).to_json(), v.times[row], v.sequences[row])
        }
        StateColumn::MapSum(MapColumn::Int(v)) | StateColumn::MapMax(MapColumn::Int(v)) => format!("{:?}", v[row]),
        StateColumn::MapSum(MapColumn::Text(v)) | StateColumn::MapMax(MapColumn::Text(v)) => format!("{:?}", v[row]),
    };
    if text.chars().count() > 200 { text.chars().take(200).chain("…".chars()).collect() } else { text }
}

#[cfg(test)]
mod tests {
    use tideline_common::state::Rule;
    use tideline_common::time::Timestamp;
    use tideline_common::value::Type;

    use super::*;

    const TOLERANCE: Tolerance = Tolerance { relative: 1e-9, absolute: 1e-9 };

    fn sums(count: i64, sum: f64) -> StateBatch {
        let field = |ty| StateField {
            name: format!("{ty}"),
            rule: Rule::Sum,
            ty,
            input: Input::Value,
            table: "t".into(),
            argument: None,
        };
        let mut batch = StateBatch::new(&[field(Type::Int), field(Type::Float)]);
        batch.push_identity(b"k", Timestamp(0));
        batch.states = vec![StateColumn::SumInt(vec![count]), StateColumn::SumFloat(vec![sum])];
        batch
    }

    #[test]
    fn counts_are_exact_and_sums_nearly() {
        let of = |a: (i64, f64), b: (i64, f64)| differs(&sums(a.0, a.1), 0, &sums(b.0, b.1), 0, TOLERANCE);
        assert_eq!(of((5, 1e12), (5, 1e12 + 100.0)), None);
        assert_eq!(of((5, 1e12), (5, 1e12 + 10_000.0)), Some(1));
        assert_eq!(of((5, 1.0), (6, 1.0)), Some(0));
        assert_eq!(of((5, 0.0), (5, 1e-17)), None);
        assert_eq!(of((5, f64::NAN), (5, f64::NAN)), None);
        assert_eq!(of((5, f64::INFINITY), (5, f64::INFINITY)), None);
        assert_eq!(of((5, f64::INFINITY), (5, 1.0)), Some(1));
        assert_eq!(of((5, f64::NAN), (5, 1.0)), Some(1));
    }
}
