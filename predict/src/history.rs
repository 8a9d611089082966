//! The last windows of a key: values of some columns, oldest first, the oldest dropped when there are too many.

use std::collections::VecDeque;

use tideline_common::state::{CodecError, Reader, write_signed, write_varint};
use tideline_common::time::Timestamp;

use crate::usable;

/// The last windows of a key.
#[derive(Clone, Debug)]
pub struct History {
    columns: usize,
    starts: VecDeque<Timestamp>,
    /// `columns` values per window; NaN is null.
    values: VecDeque<f64>,
}

/// What a history knows of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// It is later than all.
    Newer,
    /// It has it, with these values.
    Same,
    /// It has it, with other values.
    Different(usize),
    /// It is earlier than the newest, and not here.
    Older,
}

impl History {
    /// No windows yet, of so many columns.
    pub fn new(columns: usize) -> Self {
        Self { columns, starts: VecDeque::new(), values: VecDeque::new() }
    }

    /// Number of windows.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there are no windows.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Start of the newest window.
    pub fn newest(&self) -> Option<Timestamp> {
        self.starts.back().copied()
    }

    /// The value of `column`, `back` windows before the newest; `None` when it is null or not there.
    pub fn value(&self, back: usize, column: usize) -> Option<f64> {
        let window = self.starts.len().checked_sub(back + 1)?;
        self.values.get(window * self.columns + column).copied().filter(|value| !value.is_nan())
    }

    /// Adds a window that is later than all, and drops the oldest beyond `windows_max`.
    pub fn push(&mut self, start: Timestamp, values: &[Option<f64>], windows_max: usize) {
        debug_assert_eq!(values.len(), self.columns);
        self.starts.push_back(start);
        self.values.extend(values.iter().map(|value| usable(*value).unwrap_or(f64::NAN)));
        while self.starts.len() > windows_max {
            self.starts.pop_front();
            self.values.drain(..self.columns);
        }
    }

    /// What is known of the window that begins at `start`.
    pub(crate) fn knows(&self, start: Timestamp, values: &[Option<f64>]) -> Known {
        match self.newest() {
            None => Known::Newer,
            Some(newest) if start > newest => Known::Newer,
            _ => match self.starts.binary_search(&start) {
                Err(_) => Known::Older,
                Ok(window) => {
                    let here = self.values.range(window * self.columns..(window + 1) * self.columns);
                    let same = here.zip(values).all(|(here, value)| match usable(*value) {
                        Some(value) => here.to_bits() == value.to_bits(),
                        None => here.is_nan(),
                    });
                    if same { Known::Same } else { Known::Different(window) }
                }
            },
        }
    }

    /// Replaces the values of a window that [`Known::Different`] named.
    pub(crate) fn correct(&mut self, window: usize, values: &[Option<f64>]) {
        let here = self.values.range_mut(window * self.columns..(window + 1) * self.columns);
        for (here, value) in here.zip(values) {
            *here = usable(*value).unwrap_or(f64::NAN);
        }
    }

    /// Appends the windows: `varint n | n × (zigzag varint start, less the one before | numbers)`.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        write_varint(self.starts.len() as u64, out);
        let mut before = 0;
        let mut row = Vec::with_capacity(self.columns);
        for (window, start) in self.starts.iter().enumerate() {
            write_signed(start.0.wrapping_sub(before), out);
            before = start.0;
            row.clear();
            row.extend(self.values.range(window * self.columns..(window + 1) * self.columns));
            write_numbers(&row, out);
        }
    }

    /// Reads windows whose columns are, of `columns` here, those that `mapping` names (`None`: no longer wanted).
    pub(crate) fn read(
        columns: usize,
        mapping: &[Option<usize>],
        windows_max: usize,
        reader: &mut Reader,
    ) -> Result<Self, CodecError> {
        let mut history = Self::new(columns);
        let mut row = vec![None; columns];
        let mut before: Option<i64> = None;
        for _ in 0..reader.varint()? {
            let start = reader.signed()?.wrapping_add(before.unwrap_or(0));
            if before.is_some_and(|before| start <= before) {
                return Err(reader.error("windows in order"));
            }
            before = Some(start);
            let numbers = read_numbers(mapping.len(), reader)?;
            row.fill(None);
            for (number, to) in numbers.into_iter().zip(mapping) {
                if let Some(to) = to {
                    row[*to] = Some(number);
                }
            }
            history.push(Timestamp(start), &row, windows_max);
        }
        Ok(history)
    }
}

/// Integers up to here are stored as such: floats have no other of the same value.
const INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// Appends numbers, of which NaN is null: two bits each (0 null, 1 float, 2 integer), then floats in 8 bytes and integers
/// as zigzag varints. Bits are kept, negative zero's too.
pub(crate) fn write_numbers(numbers: &[f64], out: &mut Vec<u8>) {
    let tag = |x: f64| {
        if x.is_nan() {
            0
        } else if x.abs() <= INTEGER_MAX && (x as i64 as f64).to_bits() == x.to_bits() {
            2
        } else {
            1
        }
    };
    for four in numbers.chunks(4) {
        out.push(four.iter().enumerate().fold(0, |byte, (at, x)| byte | tag(*x) << (2 * at)));
    }
    for x in numbers {
        match tag(*x) {
            1 => out.extend_from_slice(&x.to_le_bytes()),
            2 => write_signed(*x as i64, out),
            _ => {}
        }
    }
}

/// Reads `n` numbers; null is NaN.
pub(crate) fn read_numbers(n: usize, reader: &mut Reader) -> Result<Vec<f64>, CodecError> {
    let tags = reader.take(n.div_ceil(4))?;
    let mut numbers = Vec::with_capacity(n);
    for at in 0..n {
        numbers.push(match tags[at / 4] >> (2 * (at % 4)) & 3 {
            0 => f64::NAN,
            1 => reader.float()?,
            2 => reader.signed()? as f64,
            _ => return Err(reader.error("a known tag of a number")),
        });
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_read_back_bit_for_bit(numbers in proptest::collection::vec(prop_oneof![
            any::<f64>().prop_filter("null", |x| !x.is_nan()), (-50i64..50).prop_map(|i| i as f64),
            Just(f64::NAN), Just(-0.0), Just(9_007_199_254_740_993.0), Just(-9_007_199_254_740_992.0),
        ], 0..20)) {
            let mut bytes = Vec::new();
            write_numbers(&numbers, &mut bytes);
            let mut reader = Reader::new(&bytes);
            let back = read_numbers(numbers.len(), &mut reader).unwrap();
            prop_assert!(reader.is_done());
            for (back, number) in back.iter().zip(&numbers) {
                prop_assert!(back.to_bits() == number.to_bits() || back.is_nan() && number.is_nan());
            }
        }
    }

    #[test]
    fn only_the_last_windows_are_kept() {
        let mut history = History::new(1);
        for start in 0..10 {
            assert_eq!(history.knows(Timestamp(start), &[Some(0.5)]), Known::Newer);
            history.push(Timestamp(start), &[Some(start as f64)], 3);
        }
        assert_eq!((history.len(), history.value(0, 0), history.value(2, 0)), (3, Some(9.0), Some(7.0)));
        assert_eq!(history.value(3, 0), None);
        assert_eq!(history.knows(Timestamp(8), &[Some(8.0)]), Known::Same);
        assert_eq!(history.knows(Timestamp(8), &[None]), Known::Different(1));
        assert_eq!(history.knows(Timestamp(6), &[Some(6.0)]), Known::Older);
        history.correct(1, &[None]);
        assert_eq!((history.value(1, 0), history.knows(Timestamp(8), &[None])), (None, Known::Same));
    }

    #[test]
    fn what_is_no_number_is_null() {
        let mut history = History::new(4);
        let values = [Some(f64::NAN), Some(f64::INFINITY), Some(-1e101), Some(-1e100)];
        history.push(Timestamp(0), &values, 3);
        assert_eq!([0, 1, 2, 3].map(|column| history.value(0, column)), [None, None, None, Some(-1e100)]);
        assert_eq!(history.knows(Timestamp(0), &values), Known::Same);
    }
}
