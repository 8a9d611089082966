//! Keys of rows: as the columns of a partition, which CQL allows neither to be null nor, alone, empty, and as plain cells.

use tideline_common::value::{Type, Value};

use super::types::{Values, split};

/// What stands for a null and an empty text in a partition key, where CQL allows neither, as far as that is possible
/// to the eye. Rows carry the exact key beside, so a key that looks like one of these is still told apart.
const NULL_TEXT: &str = "(null)";
const EMPTY_TEXT: &str = "(empty)";
const NULL_INT: i64 = i64::MIN;
const NULL_FLOAT: f64 = f64::MIN;
/// 0001-01-01, the earliest that cqlsh prints.
const NULL_MILLIS: i64 = -62_135_596_800_000;
/// Characters of a text that stand in a partition key; the exact key has the rest.
const TEXT_MAX: usize = 4_096;
/// Texts of fewer bytes are not what any other text is cut to: a cut is at most one character, of four bytes, short.
const TEXT_EXACT: usize = TEXT_MAX - 3;

/// The columns of a partition key for `values` of types `types`; whether they say all, so that no other key has them.
pub(super) fn partition_key(out: &mut Values, values: &[Value], types: &[Type]) -> bool {
    let mut exact = true;
    for (at, ty) in types.iter().enumerate() {
        match (ty, values.get(at).unwrap_or(&Value::Null)) {
            (Type::Bool, Value::Bool(b)) => {
                exact &= *b;
                out.boolean(*b);
            }
            (Type::Bool, _) => {
                exact = false;
                out.boolean(false);
            }
            (Type::Int, value) => {
                let int = if let Value::Int(i) = value { *i } else { NULL_INT };
                exact &= int != NULL_INT;
                out.bigint(int);
            }
            (Type::Float, value) => {
                let float = value.as_f64().unwrap_or(NULL_FLOAT);
                exact &= float > NULL_FLOAT;
                out.double(float);
            }
            (Type::Timestamp, Value::Timestamp(time)) => {
                // A thousand times have the same milliseconds.
                exact = false;
                out.bigint(split(*time).0);
            }
            (Type::Timestamp, _) => {
                exact = false;
                out.bigint(NULL_MILLIS);
            }
            (_, Value::String(text)) => {
                let shown = match text.as_str() {
                    "" => EMPTY_TEXT,
                    text => &text[..text.floor_char_boundary(TEXT_MAX)],
                };
                exact &= shown.len() < TEXT_EXACT && !["", NULL_TEXT, EMPTY_TEXT].contains(&text.as_str());
                out.text(shown);
            }
            _ => {
                exact = false;
                out.text(NULL_TEXT);
            }
        }
    }
    exact
}

/// Key columns as plain cells, for a person to read: null where the value is, times to the millisecond.
pub(super) fn key_cells(out: &mut Values, values: &[Value], types: &[Type]) {
    for (at, ty) in types.iter().enumerate() {
        match (ty, values.get(at)) {
            (Type::Bool, Some(Value::Bool(b))) => out.boolean(*b),
            (Type::Int, Some(Value::Int(i))) => out.bigint(*i),
            (Type::Float, Some(Value::Float(x))) => out.double(*x),
            (Type::Timestamp, Some(Value::Timestamp(t))) => out.millis(*t),
            (Type::String | Type::Map, Some(Value::String(s))) => out.text(s),
            // Keys never change, so there is nothing older to delete.
            _ => out.unset(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use tideline_common::key::Key;
    use tideline_common::time::Timestamp;

    use super::super::types::tests::value;
    use super::*;

    /// Two values of one type that can be in a key, near each other and near what is shown in place of others.
    fn two_keys() -> impl Strategy<Value = (Type, Value, Value)> {
        let types = vec![Type::Bool, Type::Int, Type::Float, Type::String, Type::Timestamp];
        prop::sample::select(types).prop_flat_map(|ty| {
            let special: BoxedStrategy<Value> = match ty {
                Type::Int => (-1..=1_i64).prop_map(|near| Value::Int(NULL_INT.wrapping_add(near))).boxed(),
                Type::Float => prop::sample::select(vec![NULL_FLOAT, f64::NEG_INFINITY, f64::NAN, 0.0, -0.0])
                    .prop_map(Value::Float)
                    .boxed(),
                Type::Timestamp => (prop::sample::select(vec![0, NULL_MILLIS]), -1_001..=1_001_i64)
                    .prop_map(|(millis, near)| Value::Timestamp(Timestamp(millis * 1_000 + near)))
                    .boxed(),
                Type::String => prop_oneof![
                    prop::sample::select(vec![NULL_TEXT, EMPTY_TEXT, ""])
                        .prop_map(|text| Value::String(text.to_owned())),
                    // Around the length at which texts are cut, the cut between characters or within one.
                    (TEXT_MAX - 6..TEXT_MAX + 6, ".{0,2}")
                        .prop_map(|(length, end)| Value::String("x".repeat(length) + &end)),
                ]
                .boxed(),
                ty => value(ty),
            };
            let one = prop_oneof![1 => value(ty), 4 => special, 1 => Just(Value::Null)].boxed();
            (Just(ty), one.clone(), one)
        })
    }

    proptest! {
        #[test]
        fn a_partition_key_that_says_all_is_of_one_key((ty, a, b) in two_keys()) {
            // As keys have them: -0 and 0 are one, and so are all NaNs.
            let (a, b) = (Key::of(&[a]), Key::of(&[b]));
            let of = |key: &Key| {
                let mut out = Values::new();
                let exact = partition_key(&mut out, &key.values().unwrap(), &[ty]);
                (out.bytes, exact)
            };
            let ((x, exact), (y, _)) = (of(&a), of(&b));
            prop_assert!(!x.is_empty(), "a server refuses an empty partition key");
            prop_assert!(!exact || x != y || a == b, "{a:?} shares its partition with {b:?}");
        }
    }

    #[test]
    fn nulls_and_empty_texts_have_a_partition() {
        let shown = |value: Value, ty| {
            let mut out = Values::new();
            assert!(!partition_key(&mut out, &[value], &[ty]));
            out.bytes
        };
        assert_eq!(shown(Value::Null, Type::String), b"(null)");
        assert_eq!(shown(Value::String(String::new()), Type::String), b"(empty)");
        assert_eq!(shown(Value::String("é".repeat(3_000)), Type::String).len(), TEXT_MAX);
        assert_eq!(shown(Value::Null, Type::Int), i64::MIN.to_be_bytes());
        assert_eq!(shown(Value::Null, Type::Bool), [0]);
    }

    #[test]
    fn what_shares_its_partition_does_not_say_all() {
        let of = |value: Value, ty| {
            let mut out = Values::new();
            let exact = partition_key(&mut out, &[value], &[ty]);
            (out.bytes, exact)
        };
        let text = |length: usize, end: &str| of(Value::String("x".repeat(length) + end), Type::String);
        for (one, other) in [
            (
                of(Value::Timestamp(Timestamp(5_000)), Type::Timestamp),
                of(Value::Timestamp(Timestamp(5_999)), Type::Timestamp),
            ),
            (text(TEXT_MAX, ""), text(TEXT_MAX, "y")),
            (text(TEXT_MAX - 3, ""), text(TEXT_MAX - 3, "🦀")),
        ] {
            assert_eq!(one.0, other.0);
            assert!(!one.1 && !other.1);
        }
        assert!(text(TEXT_MAX - 4, "").1, "shorter than whatever is cut");
    }
}
