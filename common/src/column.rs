//! Typed columns with nulls, independent of any data-frame library.

use crate::time::Timestamp;
use crate::value::{Type, Value};

/// Texts in one buffer, with the place of each. Replacing a text leaves its old bytes behind; once these outweigh
/// the texts, the buffer is rebuilt, so a column that is replaced for ever stays within twice its texts.
#[derive(Clone, Debug, Default)]
pub struct StringColumn {
    bytes: String,
    /// Bytes of `bytes` that no row has any more.
    garbage: usize,
    /// (start, length) per row; a length of `u32::MAX` is null.
    places: Vec<(usize, u32)>,
}

const NULL_LENGTH: u32 = u32::MAX;

/// Replaced texts of so many bytes are not worth a rebuild.
const SMALL: usize = 4096;

impl PartialEq for StringColumn {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && (0..self.len()).all(|row| self.get(row) == other.get(row))
    }
}

impl StringColumn {
    /// Number of rows.
    pub const fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are no rows.
    pub const fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Adds a row.
    pub fn push(&mut self, text: Option<&str>) {
        let place = self.place(text);
        self.places.push(place);
    }

    /// Replaces the text of `row`. Panics past the end.
    pub fn set(&mut self, row: usize, text: &str) {
        let (start, length) = self.places[row];
        if length != NULL_LENGTH {
            let end = start + length as usize;
            if length as usize == text.len() {
                // As long as the old one: in its place.
                self.bytes.replace_range(start..end, text);
                return;
            }
            self.garbage += length as usize;
        }
        self.places[row] = self.place(Some(text));
        if self.garbage > SMALL && self.garbage > self.bytes.len() / 2 {
            self.rebuild();
        }
    }

    fn rebuild(&mut self) {
        let mut bytes = String::with_capacity(self.bytes.len() - self.garbage);
        for (start, length) in &mut self.places {
            if *length != NULL_LENGTH {
                let text = &self.bytes[*start..*start + *length as usize];
                *start = bytes.len();
                bytes.push_str(text);
            }
        }
        (self.bytes, self.garbage) = (bytes, 0);
    }

    /// Bytes of the buffer, those of replaced texts included.
    pub const fn buffer_len(&self) -> usize {
        self.bytes.len()
    }

    fn place(&mut self, text: Option<&str>) -> (usize, u32) {
        let start = self.bytes.len();
        match text.map(|text| (text, u32::try_from(text.len()))) {
            Some((text, Ok(length))) if length < NULL_LENGTH => {
                self.bytes.push_str(text);
                (start, length)
            }
            _ => (start, NULL_LENGTH),
        }
    }

    /// The text of `row`, or `None` where it is null. Panics past the end.
    pub fn get(&self, row: usize) -> Option<&str> {
        let (start, length) = self.places[row];
        (length != NULL_LENGTH).then(|| &self.bytes[start..start + length as usize])
    }
}

/// A column of one type.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// See [`Type::Bool`].
    Bool(Vec<Option<bool>>),
    /// See [`Type::Int`].
    Int(Vec<Option<i64>>),
    /// See [`Type::Float`].
    Float(Vec<Option<f64>>),
    /// See [`Type::String`].
    String(StringColumn),
    /// See [`Type::Timestamp`].
    Timestamp(Vec<Option<Timestamp>>),
    /// See [`Type::Strings`].
    Strings(Vec<Option<Vec<String>>>),
}

impl Column {
    /// An empty column. `Map` has no column form and becomes text.
    pub fn new(ty: Type) -> Self {
        match ty {
            Type::Bool => Self::Bool(Vec::new()),
            Type::Int => Self::Int(Vec::new()),
            Type::Float => Self::Float(Vec::new()),
            Type::String | Type::Map => Self::String(StringColumn::default()),
            Type::Timestamp => Self::Timestamp(Vec::new()),
            Type::Strings => Self::Strings(Vec::new()),
        }
    }

    /// Its type.
    pub const fn ty(&self) -> Type {
        match self {
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Float(_) => Type::Float,
            Self::String(_) => Type::String,
            Self::Timestamp(_) => Type::Timestamp,
            Self::Strings(_) => Type::Strings,
        }
    }

    /// Number of rows.
    pub const fn len(&self) -> usize {
        match self {
            Self::Bool(v) => v.len(),
            Self::Int(v) => v.len(),
            Self::Float(v) => v.len(),
            Self::String(v) => v.len(),
            Self::Timestamp(v) => v.len(),
            Self::Strings(v) => v.len(),
        }
    }

    /// Whether there are no rows.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of `row`. Panics past the end.
    pub fn value(&self, row: usize) -> Value {
        match self {
            Self::Bool(v) => v[row].map_or(Value::Null, Value::Bool),
            Self::Int(v) => v[row].map_or(Value::Null, Value::Int),
            Self::Float(v) => v[row].map_or(Value::Null, Value::Float),
            Self::String(v) => v.get(row).map_or(Value::Null, |s| Value::String(s.to_owned())),
            Self::Timestamp(v) => v[row].map_or(Value::Null, Value::Timestamp),
            Self::Strings(v) => v[row].clone().map_or(Value::Null, Value::Strings),
        }
    }

    /// Adds a value; one of another type is added as null.
    pub fn push(&mut self, value: &Value) {
        match self {
            Self::Bool(v) => v.push(if let Value::Bool(b) = value { Some(*b) } else { None }),
            Self::Int(v) => v.push(if let Value::Int(i) = value { Some(*i) } else { None }),
            Self::Float(v) => v.push(value.as_f64()),
            Self::String(v) => v.push(if let Value::String(s) = value { Some(s) } else { None }),
            Self::Timestamp(v) => v.push(if let Value::Timestamp(t) = value { Some(*t) } else { None }),
            Self::Strings(v) => v.push(if let Value::Strings(s) = value { Some(s.clone()) } else { None }),
        }
    }

    /// Whether row `row` is null. Panics past the end.
    pub fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Bool(v) => v[row].is_none(),
            Self::Int(v) => v[row].is_none(),
            Self::Float(v) => v[row].is_none(),
            Self::String(v) => v.get(row).is_none(),
            Self::Timestamp(v) => v[row].is_none(),
            Self::Strings(v) => v[row].is_none(),
        }
    }

    /// Replaces row `at` by row `row` of `other`, a column of the same type (unchanged otherwise, and for a
    /// text that is null).
    pub fn set_from(&mut self, at: usize, other: &Self, row: usize) {
        match (self, other) {
            (Self::Bool(to), Self::Bool(from)) => to[at] = from[row],
            (Self::Int(to), Self::Int(from)) => to[at] = from[row],
            (Self::Float(to), Self::Float(from)) => to[at] = from[row],
            (Self::String(to), Self::String(from)) => {
                if let Some(text) = from.get(row) {
                    to.set(at, text);
                }
            }
            (Self::Timestamp(to), Self::Timestamp(from)) => to[at] = from[row],
            (Self::Strings(to), Self::Strings(from)) => to[at].clone_from(&from[row]),
            _ => debug_assert!(false, "columns of two types"),
        }
    }

    /// Adds row `row` of `other`, a column of the same type (null otherwise).
    pub fn push_from(&mut self, other: &Self, row: usize) {
        match (self, other) {
            (Self::Bool(to), Self::Bool(from)) => to.push(from[row]),
            (Self::Int(to), Self::Int(from)) => to.push(from[row]),
            (Self::Float(to), Self::Float(from)) => to.push(from[row]),
            (Self::String(to), Self::String(from)) => to.push(from.get(row)),
            (Self::Timestamp(to), Self::Timestamp(from)) => to.push(from[row]),
            (to, from) => to.push(&from.value(row)),
        }
    }
}

impl FromIterator<Option<Timestamp>> for Column {
    fn from_iter<I: IntoIterator<Item = Option<Timestamp>>>(iter: I) -> Self {
        Self::Timestamp(iter.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaced_texts_do_not_pile_up() {
        let mut column = StringColumn::default();
        column.push(Some("é"));
        column.push(None);
        column.push(Some("kept"));
        for round in 0..100_000 {
            column.set(0, &"x".repeat(round % 50));
            column.set(1, &round.to_string());
        }
        assert_eq!((column.get(0), column.get(1)), (Some("x".repeat(99_999 % 50).as_str()), Some("99999")));
        assert_eq!(column.get(2), Some("kept"));
        assert!(column.buffer_len() < 3 * SMALL, "{}", column.buffer_len());
    }
}
