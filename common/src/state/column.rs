//! One state column of many groups.

use std::cmp::Ordering;

use super::{MapColumn, Rule, StateField};
use crate::column::Column;
use crate::value::Type;

/// Values with the event that each came from, for `first` and `last`. A null value is the identity. Of two values
/// with the same time and sequence, which only rows that `unnest` made of one record have, the lesser is the first
/// and the greater the last (floats in their total order).
#[derive(Clone, Debug, PartialEq)]
pub struct Ordered {
    /// The values.
    pub values: Column,
    /// Event times in microseconds; 0 where the value is null.
    pub times: Vec<i64>,
    /// [`crate::position::sequence`] of the records; 0 where the value is null.
    pub sequences: Vec<i64>,
}

/// A state column: one state per group, all merged by one rule.
#[derive(Clone, Debug, PartialEq)]
pub enum StateColumn {
    /// [`Rule::Sum`] of integers (they wrap, see [`super`]).
    SumInt(Vec<i64>),
    /// [`Rule::Sum`] of floats.
    SumFloat(Vec<f64>),
    /// [`Rule::Min`].
    Min(Column),
    /// [`Rule::Max`].
    Max(Column),
    /// [`Rule::First`].
    First(Ordered),
    /// [`Rule::Last`].
    Last(Ordered),
    /// [`Rule::MapSum`].
    MapSum(MapColumn),
    /// [`Rule::MapMax`].
    MapMax(MapColumn),
}

impl StateColumn {
    /// An empty column for `field`.
    pub fn new(field: &StateField) -> Self {
        let ordered = || Ordered { values: Column::new(field.ty), times: Vec::new(), sequences: Vec::new() };
        let map = || match field.ty {
            Type::Int => MapColumn::Int(Vec::new()),
            _ => MapColumn::Text(Vec::new()),
        };
        match field.rule {
            Rule::Sum if field.ty == Type::Float => Self::SumFloat(Vec::new()),
            Rule::Sum => Self::SumInt(Vec::new()),
            Rule::Min => Self::Min(Column::new(field.ty)),
            Rule::Max => Self::Max(Column::new(field.ty)),
            Rule::First => Self::First(ordered()),
            Rule::Last => Self::Last(ordered()),
            Rule::MapSum => Self::MapSum(map()),
            Rule::MapMax => Self::MapMax(map()),
        }
    }

    /// Number of groups.
    pub const fn len(&self) -> usize {
        match self {
            Self::SumInt(v) => v.len(),
            Self::SumFloat(v) => v.len(),
            Self::Min(v) | Self::Max(v) => v.len(),
            Self::First(v) | Self::Last(v) => v.values.len(),
            Self::MapSum(v) | Self::MapMax(v) => v.len(),
        }
    }

    /// Whether there are no groups.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a group that has seen nothing.
    pub fn push_identity(&mut self) {
        match self {
            Self::SumInt(v) => v.push(0),
            Self::SumFloat(v) => v.push(0.0),
            Self::Min(v) | Self::Max(v) => v.push(&crate::value::Value::Null),
            Self::First(v) | Self::Last(v) => {
                v.values.push(&crate::value::Value::Null);
                v.times.push(0);
                v.sequences.push(0);
            }
            Self::MapSum(v) | Self::MapMax(v) => v.push_empty(),
        }
    }

    /// Merges group `row` of `from` into group `to`; returns by how many bytes the group has grown, texts that are
    /// not in maps left out. Both columns are of one field: a column of another kind contributes nothing.
    pub fn merge_row(&mut self, to: usize, from: &Self, row: usize) -> usize {
        match (self, from) {
            (Self::SumInt(a), Self::SumInt(b)) => a[to] = a[to].wrapping_add(b[row]),
            (Self::SumFloat(a), Self::SumFloat(b)) => a[to] += b[row],
            (Self::Min(a), Self::Min(b)) => merge_extreme(a, to, b, row, false),
            (Self::Max(a), Self::Max(b)) => merge_extreme(a, to, b, row, true),
            (Self::First(a), Self::First(b)) => merge_ordered(a, to, b, row, false),
            (Self::Last(a), Self::Last(b)) => merge_ordered(a, to, b, row, true),
            (Self::MapSum(a), Self::MapSum(b)) => return a.merge_row(to, b, row, i64::wrapping_add),
            (Self::MapMax(a), Self::MapMax(b)) => return a.merge_row(to, b, row, i64::max),
            _ => debug_assert!(false, "state columns of two kinds"),
        }
        0
    }

    /// Replaces the state of group `to` by that of group `row` of `from`, a column of the same field (unchanged
    /// otherwise). A text that becomes null again, which no state does, stays.
    pub fn set_row(&mut self, to: usize, from: &Self, row: usize) {
        match (self, from) {
            (Self::SumInt(a), Self::SumInt(b)) => a[to] = b[row],
            (Self::SumFloat(a), Self::SumFloat(b)) => a[to] = b[row],
            (Self::Min(a), Self::Min(b)) | (Self::Max(a), Self::Max(b)) => a.set_from(to, b, row),
            (Self::First(a), Self::First(b)) | (Self::Last(a), Self::Last(b)) => {
                a.values.set_from(to, &b.values, row);
                (a.times[to], a.sequences[to]) = (b.times[row], b.sequences[row]);
            }
            (Self::MapSum(a), Self::MapSum(b)) | (Self::MapMax(a), Self::MapMax(b)) => a.set_row(to, b, row),
            _ => debug_assert!(false, "state columns of two kinds"),
        }
    }

    /// Memory of group `row`, in bytes: exact for maps, without the buffer of texts, which
    /// [`text_bytes`](Self::text_bytes) has.
    pub fn row_bytes(&self, row: usize) -> usize {
        match self {
            Self::MapSum(v) | Self::MapMax(v) => 24 + v.row_bytes(row),
            Self::First(_) | Self::Last(_) => 40,
            _ => 16,
        }
    }

    /// Memory of a group that has seen nothing, in bytes.
    pub(super) const fn identity_bytes(&self) -> usize {
        match self {
            Self::MapSum(_) | Self::MapMax(_) => 24,
            Self::First(_) | Self::Last(_) => 40,
            _ => 16,
        }
    }

    /// Memory of the texts of all groups, in bytes.
    pub const fn text_bytes(&self) -> usize {
        match self {
            Self::Min(Column::String(v)) | Self::Max(Column::String(v)) => v.buffer_len(),
            Self::First(v) | Self::Last(v) => match &v.values {
                Column::String(v) => v.buffer_len(),
                _ => 0,
            },
            _ => 0,
        }
    }

    /// Keeps the groups that `keep` names (one flag per group).
    pub fn retain(&mut self, keep: &[bool]) {
        fn of<T>(rows: &mut Vec<T>, keep: &[bool]) {
            let mut flags = keep.iter();
            rows.retain(|_| flags.next().copied().unwrap_or(true));
        }
        fn column(column: &mut Column, keep: &[bool]) {
            let mut kept = Column::new(column.ty());
            for row in (0..column.len()).filter(|row| keep[*row]) {
                kept.push_from(column, row);
            }
            *column = kept;
        }
        match self {
            Self::SumInt(v) => of(v, keep),
            Self::SumFloat(v) => of(v, keep),
            Self::Min(v) | Self::Max(v) => column(v, keep),
            Self::First(v) | Self::Last(v) => {
                column(&mut v.values, keep);
                of(&mut v.times, keep);
                of(&mut v.sequences, keep);
            }
            Self::MapSum(v) | Self::MapMax(v) => v.retain(keep),
        }
    }
}

fn merge_extreme(to: &mut Column, at: usize, from: &Column, row: usize, greatest: bool) {
    fn pick<T: Copy>(a: &mut Option<T>, b: Option<T>, better: impl Fn(&T, &T) -> bool) {
        if let Some(b) = b
            && a.as_ref().is_none_or(|a| better(&b, a))
        {
            *a = Some(b);
        }
    }
    match (to, from) {
        (Column::Bool(a), Column::Bool(b)) => pick(&mut a[at], b[row], |x, y| if greatest { x > y } else { x < y }),
        (Column::Int(a), Column::Int(b)) => pick(&mut a[at], b[row], |x, y| if greatest { x > y } else { x < y }),
        (Column::Float(a), Column::Float(b)) => {
            // NaN neither wins nor stays.
            let b = b[row].filter(|x| !x.is_nan());
            pick(&mut a[at], b, |x, y| y.is_nan() || if greatest { x > y } else { x < y });
        }
        (Column::Timestamp(a), Column::Timestamp(b)) => {
            pick(&mut a[at], b[row], |x, y| if greatest { x > y } else { x < y });
        }
        (Column::String(a), Column::String(b)) => {
            if let Some(new) = b.get(row)
                && a.get(at).is_none_or(|old| if greatest { new > old } else { new < old })
            {
                a.set(at, new);
            }
        }
        _ => debug_assert!(false, "extremes of two types"),
    }
}

fn merge_ordered(to: &mut Ordered, at: usize, from: &Ordered, row: usize, latest: bool) {
    if from.values.is_null(row) {
        return;
    }
    let new = (from.times[row], from.sequences[row]);
    let old = (to.times[at], to.sequences[at]);
    let wins = || {
        let order = new.cmp(&old).then_with(|| compare(&from.values, row, &to.values, at));
        if latest { order.is_gt() } else { order.is_lt() }
    };
    if to.values.is_null(at) || wins() {
        to.values.set_from(at, &from.values, row);
        (to.times[at], to.sequences[at]) = new;
    }
}

/// The order of two values that are not null, in columns of one type.
fn compare(a: &Column, row: usize, b: &Column, other: usize) -> Ordering {
    match (a, b) {
        (Column::Bool(a), Column::Bool(b)) => a[row].cmp(&b[other]),
        (Column::Int(a), Column::Int(b)) => a[row].cmp(&b[other]),
        (Column::Float(a), Column::Float(b)) => a[row].unwrap_or(f64::NAN).total_cmp(&b[other].unwrap_or(f64::NAN)),
        (Column::String(a), Column::String(b)) => a.get(row).cmp(&b.get(other)),
        (Column::Timestamp(a), Column::Timestamp(b)) => a[row].cmp(&b[other]),
        (Column::Strings(a), Column::Strings(b)) => a[row].cmp(&b[other]),
        _ => Ordering::Equal,
    }
}
