//! Keys as bytes whose order is the order of their values: stores sort by them, pages go on after them.
//!
//! ```text
//! null       00
//! bool       01 | 00 or 01
//! int        02 | 8 bytes, big endian, sign bit flipped
//! float      03 | 8 bytes, big endian; sign bit flipped when positive, all bits when negative
//! string     04 | UTF-8, each 00 as 00 FF | 00 00
//! timestamp  05 | as int, microseconds
//! ```

use crate::column::Column;
use crate::time::Timestamp;
use crate::value::Value;

/// The most bytes of a key. Stores have bounds of their own (CQL 65,535 bytes for all clustering columns together, fjall
/// 65,536 for a key with what stands around it); this one is the same whatever the store, and a record with a longer key
/// is rejected.
pub const MAX_BYTES: usize = 32 << 10;

const NULL: u8 = 0;
const BOOL: u8 = 1;
const INT: u8 = 2;
const FLOAT: u8 = 3;
const STRING: u8 = 4;
const TIMESTAMP: u8 = 5;
const SIGN: u64 = 1 << 63;

/// A key in its byte form.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub Vec<u8>);

impl Key {
    /// The key of `values`.
    pub fn of(values: &[Value]) -> Self {
        let mut bytes = Vec::new();
        for value in values {
            encode_value(value, &mut bytes);
        }
        Self(bytes)
    }

    /// Its values.
    ///
    /// # Errors
    /// [`KeyError`] when the bytes are not a key.
    pub fn values(&self) -> Result<Vec<Value>, KeyError> {
        decode(&self.0)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Bytes that are not a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the bytes of a key are damaged at {at}")]
pub struct KeyError {
    /// Index of the first byte that makes no sense.
    pub at: usize,
}

/// Appends one value. Lists and maps cannot be keys and are encoded as null.
pub fn encode_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Bool(b) => encode_bool(*b, out),
        Value::Int(i) => encode_int(INT, *i, out),
        Value::Float(x) => encode_float(*x, out),
        Value::String(s) => encode_str(s, out),
        Value::Timestamp(t) => encode_int(TIMESTAMP, t.0, out),
        Value::Null | Value::Strings(_) | Value::Map(_) => out.push(NULL),
    }
}

/// Appends row `row` of `columns`, without making values of it: the hot path of grouping.
pub fn encode_row(columns: &[Column], row: usize, out: &mut Vec<u8>) {
    for column in columns {
        match column {
            Column::Bool(v) => {
                if let Some(b) = v[row] {
                    encode_bool(b, out);
                    continue;
                }
            }
            Column::Int(v) => {
                if let Some(i) = v[row] {
                    encode_int(INT, i, out);
                    continue;
                }
            }
            Column::Float(v) => {
                if let Some(x) = v[row] {
                    encode_float(x, out);
                    continue;
                }
            }
            Column::String(v) => {
                if let Some(s) = v.get(row) {
                    encode_str(s, out);
                    continue;
                }
            }
            Column::Timestamp(v) => {
                if let Some(t) = v[row] {
                    encode_int(TIMESTAMP, t.0, out);
                    continue;
                }
            }
            Column::Strings(_) => {}
        }
        out.push(NULL);
    }
}

fn encode_bool(b: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(&[BOOL, u8::from(b)]);
}

fn encode_int(tag: u8, i: i64, out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(&((i as u64) ^ SIGN).to_be_bytes());
}

fn encode_float(x: f64, out: &mut Vec<u8>) {
    // -0 and 0 are one key, and so are all NaNs.
    let x = if x == 0.0 {
        0.0
    } else if x.is_nan() {
        f64::NAN
    } else {
        x
    };
    let bits = x.to_bits();
    out.push(FLOAT);
    out.extend_from_slice(&(if bits & SIGN == 0 { bits ^ SIGN } else { !bits }).to_be_bytes());
}

fn encode_str(s: &str, out: &mut Vec<u8>) {
    out.push(STRING);
    if s.as_bytes().contains(&0) {
        for &byte in s.as_bytes() {
            out.push(byte);
            if byte == 0 {
                out.push(0xFF);
            }
        }
    } else {
        out.extend_from_slice(s.as_bytes());
    }
    out.extend_from_slice(&[0, 0]);
}

/// The values of encoded bytes.
///
/// # Errors
/// [`KeyError`] when the bytes are not a key.
pub fn decode(bytes: &[u8]) -> Result<Vec<Value>, KeyError> {
    let mut values = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let error = KeyError { at };
        let tag = bytes[at];
        at += 1;
        let word = || -> Result<u64, KeyError> {
            let slice = bytes.get(at..at + 8).ok_or(KeyError { at })?;
            slice.try_into().map(u64::from_be_bytes).map_err(|_| KeyError { at })
        };
        match tag {
            NULL => values.push(Value::Null),
            BOOL => {
                values.push(Value::Bool(*bytes.get(at).ok_or(error)? != 0));
                at += 1;
            }
            INT => {
                values.push(Value::Int((word()? ^ SIGN) as i64));
                at += 8;
            }
            TIMESTAMP => {
                values.push(Value::Timestamp(Timestamp((word()? ^ SIGN) as i64)));
                at += 8;
            }
            FLOAT => {
                let word = word()?;
                let bits = if word & SIGN == 0 { !word } else { word ^ SIGN };
                values.push(Value::Float(f64::from_bits(bits)));
                at += 8;
            }
            STRING => {
                let mut text = Vec::new();
                loop {
                    match (bytes.get(at), bytes.get(at + 1)) {
                        (Some(0), Some(0)) => break,
                        (Some(0), Some(0xFF)) => {
                            text.push(0);
                            at += 2;
                        }
                        (Some(0) | None, _) => return Err(error),
                        (Some(&byte), _) => {
                            text.push(byte);
                            at += 1;
                        }
                    }
                }
                at += 2;
                values.push(Value::String(String::from_utf8(text).map_err(|_| error)?));
            }
            _ => return Err(error),
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            any::<f64>().prop_filter("NaN differs from itself", |x| !x.is_nan()).prop_map(|x| Value::Float(x + 0.0)),
            "[\\x00\\x01a-c\u{e9}]{0,4}".prop_map(Value::String),
            any::<i64>().prop_map(|t| Value::Timestamp(Timestamp(t))),
        ]
    }

    proptest! {
        #[test]
        fn keys_read_back(values in prop::collection::vec(values(), 0..4)) {
            prop_assert_eq!(Key::of(&values).values().unwrap(), values);
        }

        #[test]
        fn byte_order_is_value_order(a in any::<i64>(), b in any::<i64>(), x in -1e9..1e9f64, y in -1e9..1e9f64, s in "[\\x00a]{0,3}", t in "[\\x00a]{0,3}") {
            prop_assert_eq!(Key::of(&[Value::Int(a)]).cmp(&Key::of(&[Value::Int(b)])), a.cmp(&b));
            prop_assert_eq!(Key::of(&[Value::Float(x)]).cmp(&Key::of(&[Value::Float(y)])), x.total_cmp(&y));
            let (long, short) = (Key::of(&[Value::String(s.clone()), Value::Int(a)]), Key::of(&[Value::String(t.clone()), Value::Int(b)]));
            prop_assert_eq!(long.cmp(&short), s.cmp(&t).then(a.cmp(&b)));
        }

        #[test]
        fn damage_is_an_error_not_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            let _ = Key(bytes).values();
        }
    }
}
