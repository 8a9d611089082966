//! When an answer equals what was expected: integers, texts, times and nulls exactly; floats to 1e-9 relative;
//! quantiles within 1 % and distinct counts within 2 %, as the aggregates promise.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;
use tideline_common::aggregate::Function;
use tideline_common::plan::{Field, ViewPlan};
use tideline_common::value::Value;
use tideline_serving::merge::Row;

/// Relative difference that floats may have.
const FLOATS: f64 = 1e-9;
/// Difference in all that floats may have: sums that cancel to nothing are not exact relative to what is left.
const FLOATS_ABSOLUTE: f64 = 1e-12;
/// Differences that are listed.
const LISTED: usize = 5;

/// A row of a view's answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Key, start and end of the window, as one text.
    pub group: String,
    /// Column → value.
    pub values: BTreeMap<String, Json>,
}

impl Answer {
    /// A row that was found.
    pub fn of_row(key: &[Field], columns: &[Field], row: &Row) -> Self {
        let keys: BTreeMap<&str, Json> =
            key.iter().map(|field| field.name.as_str()).zip(row.key.iter().map(Value::to_json)).collect();
        let values =
            columns.iter().map(|field| field.name.clone()).zip(row.values.iter().map(Value::to_json)).collect();
        Self { group: group(&keys, &row.start.to_string(), &row.end.to_string()), values }
    }

    /// A row that was expected.
    pub fn of_json(row: &Json) -> Option<Self> {
        let mut values: BTreeMap<String, Json> = row.as_object()?.clone().into_iter().collect();
        let key = values.remove("key")?;
        let keys: BTreeMap<&str, Json> = key.as_object()?.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
        let (start, end) = (values.remove("window_start")?, values.remove("window_end")?);
        Some(Self { group: group(&keys, start.as_str()?, end.as_str()?), values })
    }
}

fn group(keys: &BTreeMap<&str, Json>, start: &str, end: &str) -> String {
    let keys: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{} [{start}, {end})", keys.join(" "))
}

impl Answer {
    /// A record of an output: its key columns are those of the view.
    pub fn of_record(key: &[Field], record: &Json) -> Option<Self> {
        let mut values: BTreeMap<String, Json> = record.as_object()?.clone().into_iter().collect();
        let keys: Option<Vec<(&str, Json)>> =
            key.iter().map(|field| Some((field.name.as_str(), values.remove(&field.name)?))).collect();
        let (start, end) = (values.remove("window_start")?, values.remove("window_end")?);
        let group = group(&keys?.into_iter().collect(), start.as_str()?, end.as_str()?);
        Some(Self { group, values })
    }
}

/// What differs between the expected rows of a view and those found.
pub fn view(plan: &ViewPlan, expected: &[Json], found: &[Answer]) -> Vec<String> {
    let mut differences = Vec::new();
    let mut wanted = BTreeMap::new();
    for row in expected {
        match Answer::of_json(row) {
            Some(answer) => {
                wanted.insert(answer.group.clone(), answer);
            }
            None => differences.push(format!("an expected row is not one: {row}")),
        }
    }
    let mut seen = BTreeSet::new();
    for answer in found {
        if !seen.insert(answer.group.as_str()) {
            differences.push(format!("{} is there twice", answer.group));
        }
        let Some(want) = wanted.get(&answer.group) else {
            differences.push(format!("{} should not be there", answer.group));
            continue;
        };
        for (column, value) in &want.values {
            let have = answer.values.get(column).unwrap_or(&Json::Null);
            if !same(value, have, tolerance(plan, column)) {
                differences.push(format!("{} {column}: expected {value}, found {have}", answer.group));
            }
        }
    }
    for group in wanted.keys().filter(|group| !seen.contains(group.as_str())) {
        differences.push(format!("{group} is missing"));
    }
    short(differences)
}

/// What differs between the expected rows of a report and those found, in order.
pub fn report(columns: &[Field], expected: &[Json], found: &[Vec<Value>]) -> Vec<String> {
    let mut differences = Vec::new();
    if expected.len() != found.len() {
        differences.push(format!("expected {} rows, found {}", expected.len(), found.len()));
    }
    for (number, (want, row)) in expected.iter().zip(found).enumerate() {
        let names: Vec<&String> = want.as_object().map(|map| map.keys().collect()).unwrap_or_default();
        for name in names {
            let at = columns.iter().position(|field| field.name == *name);
            let have = at.map_or(Json::Null, |at| row[at].to_json());
            if !same(&want[name], &have, FLOATS) {
                differences.push(format!("row {} {name}: expected {}, found {have}", number + 1, want[name]));
            }
        }
    }
    short(differences)
}

/// What differs between the expected records of a prediction and those found. What is text in a record says which one it
/// is: one that is there more than once, after a kill, must be the same. Numbers may differ as floats do, of 1 at least:
/// what is learnt from many windows cancels.
pub fn prediction(expected: &[Json], found: &[Json]) -> Vec<String> {
    let split = |record: &Json| -> (String, BTreeMap<String, Json>) {
        let fields = record.as_object().cloned().unwrap_or_default();
        let (texts, rest): (BTreeMap<_, _>, BTreeMap<_, _>) =
            fields.into_iter().partition(|(_, value)| value.is_string());
        (texts.iter().map(|(name, text)| format!("{name}={text} ")).collect::<Vec<_>>().concat(), rest)
    };
    let equal = |want: &Json, have: &Json| match (want.as_f64(), have.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= FLOATS * a.abs().max(b.abs()).max(1.0),
        _ => want == have,
    };
    let mut differences = Vec::new();
    let wanted: BTreeMap<String, BTreeMap<String, Json>> = expected.iter().map(split).collect();
    let mut seen: BTreeMap<String, BTreeMap<String, Json>> = BTreeMap::new();
    for record in found {
        let (group, numbers) = split(record);
        match wanted.get(&group) {
            None => differences.push(format!("{group}should not be there")),
            Some(want) => {
                for (name, value) in want {
                    let have = numbers.get(name).unwrap_or(&Json::Null);
                    if !equal(value, have) {
                        differences.push(format!("{group}{name}: expected {value}, found {have}"));
                    }
                }
            }
        }
        if seen.insert(group.clone(), numbers.clone()).is_some_and(|other| other != numbers) {
            differences.push(format!("{group}is there twice, and not the same"));
        }
    }
    for group in wanted.keys().filter(|group| !seen.contains_key(*group)) {
        differences.push(format!("{group}is missing"));
    }
    differences
}

/// What differs between the expected rows of a table and those found, in any order: rows that agree in all but their floats
/// are compared one by one, in the order of these.
pub fn rows(expected: &[Json], found: &[Json]) -> Vec<String> {
    let (wanted, found) = (by_exact(expected), by_exact(found));
    let mut differences = Vec::new();
    for (exact, want) in &wanted {
        let have = found.get(exact).map_or(&[][..], Vec::as_slice);
        if want.len() != have.len() {
            differences.push(format!("{exact}: expected {} times, found {}", want.len(), have.len()));
        }
        for (want, have) in want.iter().zip(have) {
            let mut pairs = want.iter().zip(have);
            if let Some((want, have)) = pairs.find(|(a, b)| !same(&Json::from(**a), &Json::from(**b), FLOATS)) {
                differences.push(format!("{exact}: expected {want}, found {have}"));
            }
        }
    }
    for exact in found.keys().filter(|exact| !wanted.contains_key(*exact)) {
        differences.push(format!("{exact} should not be there"));
    }
    short(differences)
}

/// Rows by all of their columns but floats; of each the floats, in the order of their columns.
fn by_exact(rows: &[Json]) -> BTreeMap<String, Vec<Vec<f64>>> {
    let mut groups: BTreeMap<String, Vec<Vec<f64>>> = BTreeMap::new();
    for row in rows {
        let mut columns: BTreeMap<&String, Json> =
            row.as_object().into_iter().flatten().map(|(k, v)| (k, v.clone())).collect();
        let mut floats = Vec::new();
        for value in columns.values_mut() {
            if let Some(float) = value.as_f64().filter(|_| value.is_f64()) {
                floats.push(float);
                *value = Json::from("a float");
            }
        }
        groups.entry(serde_json::to_string(&columns).unwrap_or_default()).or_default().push(floats);
    }
    for floats in groups.values_mut() {
        floats.sort_by(|a, b| {
            a.iter()
                .zip(b)
                .map(|(a, b)| a.total_cmp(b))
                .find(|order| order.is_ne())
                .unwrap_or(std::cmp::Ordering::Equal)
        });
    }
    groups
}

fn short(mut differences: Vec<String>) -> Vec<String> {
    let all = differences.len();
    if all > LISTED {
        differences.truncate(LISTED);
        differences.push(format!("… {all} differences in all"));
    }
    differences
}

/// The relative difference that a column may have; a computed column has that of the coarsest measure in it.
fn tolerance(plan: &ViewPlan, column: &str) -> f64 {
    if let Some(measure) = plan.measures.iter().find(|measure| measure.name == column) {
        return match measure.aggregate.function {
            Function::Quantile(_) => 0.01,
            Function::Distinct => 0.02,
            _ => FLOATS,
        };
    }
    let computed = plan.columns.iter().find(|computed| computed.name == column);
    let inputs = computed.into_iter().flat_map(|computed| computed.formula.references());
    inputs.map(|name| tolerance(plan, name)).fold(FLOATS, f64::max)
}

fn same(want: &Json, have: &Json, tolerance: f64) -> bool {
    if want == have {
        return true;
    }
    match (want.as_f64(), have.as_f64()) {
        (Some(a), Some(b)) if tolerance > FLOATS || !(want.is_i64() && have.is_i64()) => {
            (a - b).abs() <= (tolerance * a.abs().max(b.abs())).max(FLOATS_ABSOLUTE)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn equal_is_what_was_promised() {
        assert!(same(&json!(1.0), &json!(1.0 + 1e-12), FLOATS));
        assert!(!same(&json!(1.0), &json!(1.0 + 1e-8), FLOATS));
        assert!(!same(&json!(1_000_000_000_000_i64), &json!(1_000_000_000_001_i64), FLOATS));
        assert!(same(&json!(100), &json!(101), 0.02));
        assert!(!same(&json!(null), &json!(0.0), 0.01));
        assert!(same(&json!(-0.5), &json!(-0.5049), 0.01));
    }

    #[test]
    fn rows_are_compared_in_any_order() {
        let row = |id: &str, n: i64, x: f64| json!({ "id": id, "n": n, "x": x });
        let all = [row("a", 1, 0.5), row("a", 1, 0.25), row("b", 2, 1.0)];
        let close = [row("b", 2, 1.0 + 1e-12), row("a", 1, 0.25), row("a", 1, 0.5)];
        assert_eq!(rows(&all, &close), Vec::<String>::new());
        for other in [
            vec![row("b", 2, 1.0), row("a", 1, 0.25)],
            vec![row("b", 2, 1.0), row("a", 1, 0.25), row("a", 1, 0.75)],
            vec![row("b", 3, 1.0), row("a", 1, 0.25), row("a", 1, 0.5)],
            [&close[..], &close[2..]].concat(),
        ] {
            assert!(!rows(&all, &other).is_empty(), "{other:?}");
        }
        assert!(rows(&[json!({ "x": null })], &[json!({ "x": 0.0 })]).len() == 2, "null is no float");
    }
}
