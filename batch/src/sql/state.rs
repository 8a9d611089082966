//! State columns as SQL aggregates.

use tideline_common::aggregate::{registers, sketch};
use tideline_common::state::{Input, Rule, StateField};
use tideline_common::value::Type;

use super::{Unsupported, WHEN, quoted};

/// Key of an entry of a map.
pub(super) const ENTRY: &str = "_entry";
/// Number of an entry of a map.
pub(super) const NUMBER: &str = "_number";
/// Whether a row has an entry.
pub(super) const COUNTS: &str = "_counts";
/// Whatever an entry is computed from.
const BITS: &str = "_bits";

/// The type of a column or argument, which may be null.
pub(super) const fn database_type(ty: Type) -> &'static str {
    match ty {
        Type::Bool => "Nullable(Bool)",
        Type::Int => "Nullable(Int64)",
        Type::Float => "Nullable(Float64)",
        Type::Timestamp => "Nullable(DateTime64(6, 'UTC'))",
        Type::String | Type::Map => "Nullable(String)",
        Type::Strings => "Array(String)",
    }
}

/// A state that is one value: what the group keeps goes to `groups`, the columns of the answer to `answers`.
pub(super) fn plain(
    field: &StateField,
    index: usize,
    argument: &str,
    groups: &mut Vec<String>,
    answers: &mut Vec<String>,
) -> Result<(), Unsupported> {
    let kept = format!("_field_{index}");
    let name = quoted(&field.name);
    let aggregate = match (field.rule, field.input) {
        (Rule::Sum, Input::One) => "toInt64(count())".to_owned(),
        (Rule::Sum, Input::NotNull) => format!("toInt64(count({argument}))"),
        (Rule::Sum, Input::IsTrue) => format!("toInt64(countIf(ifNull({argument}, false)))"),
        (Rule::Sum, Input::Value) if field.ty == Type::Int => format!("ifNull(sum({argument}), toInt64(0))"),
        (Rule::Sum, Input::Value) => format!("ifNull(sum(toFloat64({argument})), toFloat64(0))"),
        (Rule::Sum, Input::Square) => {
            format!("ifNull(sum(toFloat64({argument}) * toFloat64({argument})), toFloat64(0))")
        }
        (Rule::Min | Rule::Max, Input::Value) => {
            let function = field.rule.name();
            match field.ty {
                // NaN is neither.
                Type::Float => format!("{function}If(toFloat64({argument}), NOT isNaN(toFloat64({argument})))"),
                _ => format!("{function}({argument})"),
            }
        }
        (Rule::First | Rule::Last, Input::Value) => {
            let value = match field.ty {
                Type::Float => format!("toFloat64(assumeNotNull({argument}))"),
                _ => format!("assumeNotNull({argument})"),
            };
            let rank = match field.ty {
                Type::Float => total_order(&value),
                _ => value.clone(),
            };
            let function = if field.rule == Rule::First { "argMinIf" } else { "argMaxIf" };
            let sequence = quoted(tideline_transform::SEQUENCE);
            groups.push(format!(
                "{function}(tuple({value}, {WHEN}, {sequence}), tuple({WHEN}, {sequence}, {rank}), \
                 isNotNull({argument})) AS {kept}"
            ));
            groups.push(format!("count({argument}) AS {kept}_count"));
            let part = |part: u8| format!("tupleElement({kept}, {part})");
            let present = |sql: String| format!("if({kept}_count = 0, NULL, {sql})");
            answers.push(format!("{} AS {name}", present(part(1))));
            let time = format!("fromUnixTimestamp64Micro({}, 'UTC')", part(2));
            answers.push(format!("{} AS {}", present(time), quoted(&format!("{}__time", field.name))));
            answers.push(format!("{} AS {}", present(part(3)), quoted(&format!("{}__sequence", field.name))));
            return Ok(());
        }
        (rule, input) => return Err(unknown(field, rule, input)),
    };
    groups.push(format!("{aggregate} AS {kept}"));
    let answer = match field.rule {
        Rule::Min | Rule::Max => format!("CAST({kept} AS {})", database_type(field.ty)),
        _ => kept,
    };
    answers.push(format!("{answer} AS {name}"));
    Ok(())
}

/// The bits of a float as an integer in the float's total order.
fn total_order(value: &str) -> String {
    let bits = format!("reinterpretAsInt64({value})");
    format!("if({bits} < 0, bitXor({bits}, toInt64(9223372036854775807)), {bits})")
}

fn unknown(field: &StateField, rule: Rule, input: Input) -> Unsupported {
    Unsupported {
        what: format!("state {}", field.name),
        reason: format!("rule {} with input {input:?} has no SQL", rule.name()),
    }
}

/// How the entries of a map are made of rows.
#[derive(Debug)]
pub(super) struct Entries {
    /// A column that key and number are computed from.
    pub(super) prepare: String,
    /// Whether a row has an entry.
    pub(super) counts: String,
    /// Key of the entry.
    pub(super) key: String,
    /// Aggregate over the rows of an entry.
    pub(super) number: String,
}

/// The entries of the map state `field` of an argument of type `ty`.
pub(super) fn entries(field: &StateField, argument: &str, ty: Type) -> Result<Entries, Unsupported> {
    let value = format!("assumeNotNull({argument})");
    let given = format!("isNotNull({argument})");
    match (field.rule, field.input) {
        (Rule::MapSum, Input::Bucket) => {
            let float = format!("toFloat64({value})");
            Ok(Entries {
                prepare: format!("{float} AS {BITS}"),
                counts: format!("{given} AND NOT isNaN({float})"),
                key: bucket(BITS),
                number: "toInt64(count())".to_owned(),
            })
        }
        (Rule::MapMax, Input::Register) => Ok(Entries {
            prepare: format!("{} AS {BITS}", hash(&value, ty)?),
            counts: given,
            key: register(BITS),
            number: format!("max({})", rank(BITS)),
        }),
        (Rule::MapSum, Input::Category) => {
            if !matches!(ty, Type::Bool | Type::Int | Type::String) {
                return Err(unknown(field, field.rule, field.input));
            }
            Ok(Entries {
                prepare: format!("toString({value}) AS {BITS}"),
                counts: given,
                key: BITS.to_owned(),
                number: "toInt64(count())".to_owned(),
            })
        }
        (rule, input) => Err(unknown(field, rule, input)),
    }
}

/// The map put together of its entries, ascending by key, in the schema of Gold.
pub(super) fn collected(field: &StateField) -> String {
    let key = if field.ty == Type::Int { "Int32" } else { "String" };
    let name = quoted(&field.name);
    format!(
        "CAST(arraySort(groupArrayIf(tuple(assumeNotNull({ENTRY}), {NUMBER}), isNotNull({ENTRY}))) AS Array(Tuple(key {key}, number Int64))) AS {name}"
    )
}

/// [`sketch::bucket`] of a float that is not NaN.
fn bucket(x: &str) -> String {
    let bits = format!("reinterpretAsUInt64({x})");
    let exponent = format!("bitAnd(bitShiftRight({bits}, {}), 2047)", sketch::MANTISSA_BITS);
    let mantissa = (1_u64 << sketch::MANTISSA_BITS) - 1;
    let one = 1023_u64 << sketch::MANTISSA_BITS;
    let s = format!("(reinterpretAsFloat64(bitOr(bitAnd({bits}, toUInt64({mantissa})), toUInt64({one}))) - 1.)");
    let octave = sketch::PER_OCTAVE;
    let step = format!("toInt32(trunc({s} * (4. - {s}) * (toFloat64({octave}) / 3.)))");
    let magnitude = format!("(toInt32({exponent}) * {octave} + {step})");
    format!("toInt32(if({exponent} = 0, 0, if({x} < 0, -{magnitude}, {magnitude})))")
}

/// The hash of a value that is not null, as [`registers`] has it.
fn hash(value: &str, ty: Type) -> Result<String, Unsupported> {
    Ok(match ty {
        Type::String => format!("xxh3({value})"),
        Type::Int | Type::Bool => format!("xxh3(toInt64({value}))"),
        Type::Timestamp => format!("xxh3(toUnixTimestamp64Micro({value}))"),
        Type::Float => {
            let whole = format!("trunc({value}) = {value} AND abs({value}) < 9223372036854775808.");
            // All NaNs are one value.
            let bits = format!("if(isNaN({value}), toUInt64({}), reinterpretAsUInt64({value}))", f64::NAN.to_bits());
            format!("if({whole}, xxh3(toInt64(if({whole}, {value}, 0.))), xxh3(byteSwap({bits})))")
        }
        Type::Strings | Type::Map => {
            return Err(Unsupported { what: "distinct".to_owned(), reason: format!("a {ty} has no hash") });
        }
    })
}

/// The register of a hash.
fn register(hash: &str) -> String {
    format!("toInt32(bitShiftRight({hash}, {}))", 64 - registers::PRECISION)
}

/// The rank of a hash: the place of the highest bit among those that do not name the register is read from the
/// exponent of their number as a float, which holds all of them.
fn rank(hash: &str) -> String {
    let ranked = 64 - registers::PRECISION;
    let rest = format!("bitAnd({hash}, toUInt64({}))", (1_u64 << ranked) - 1);
    let highest = format!("(toInt64(bitShiftRight(reinterpretAsUInt64(toFloat64({rest})), 52)) - 1023)");
    format!("toInt64(if({rest} = 0, {}, {ranked} - {highest}))", ranked + 1)
}
