//! The steps of a report, from TOML to the model.

use toml_span::value::Value;

use super::format::Section;
use super::model::Step;
use super::reader::{Context, Reader, a_kind, place_of};
use super::sections::section_of;
use super::text::Text;
use crate::plan::JoinTime;
use crate::time::Span;

/// Reads one step.
pub(super) fn step(section: &'static Section, value: &Value<'_>, context: &mut Context<'_>) -> Step {
    let mut place = place_of(value.span);
    let Some(table) = value.as_table() else {
        context.report.error(&place, format!("a step is a table, not {}", a_kind(value)));
        return Step::Unknown;
    };
    if let Some(first) = table.keys().map(|key| key.span).min_by_key(|span| span.start) {
        place = place_of(first);
    }
    let reader = Reader::new(section, table, &place, context);
    let known: Vec<&str> = section.keys.iter().map(|key| key.name).filter(|name| table.contains_key(*name)).collect();
    match known.as_slice() {
        [] if table.is_empty() => {
            context.report.error(&place, "a step has one of sql, rolling, pivot, join");
            Step::Unknown
        }
        ["sql"] => reader.filled("sql", context).map_or(Step::Unknown, Step::Sql),
        [one] => {
            let Some((table, place)) = reader.table(one, context) else { return Step::Unknown };
            let inner = Reader::new(section_of(section, one), table, &place, context);
            match *one {
                "rolling" => rolling(&inner, context),
                "pivot" => pivot(&inner, context),
                _ => join(section_of(section, one), &inner, place, context),
            }
            .unwrap_or(Step::Unknown)
        }
        [] => Step::Unknown,
        [_, second, ..] => {
            let message = format!("a step has one of sql, rolling, pivot, join: here are {}", known.join(" and "));
            context.report.add(&reader.place_of_key(second), message, Some("make two steps of it".into()));
            Step::Unknown
        }
    }
}

fn rolling(reader: &Reader<'_, '_>, context: &mut Context<'_>) -> Option<Step> {
    let column = reader.filled("column", context);
    let agg = reader.choice("agg", context);
    let rows = reader.integer("rows", context);
    let over = reader.texts("over", context);
    let order_by = reader.filled("order_by", context);
    let output = reader.filled("as", context).filter(|name| context.check_name(name));
    Some(Step::Rolling { column: column?, agg: agg?, rows: rows? as usize, over, order_by: order_by?, output: output? })
}

fn pivot(reader: &Reader<'_, '_>, context: &mut Context<'_>) -> Option<Step> {
    let on = reader.filled("on", context);
    let index = reader.texts("index", context);
    let values = reader.filled("values", context);
    let agg = reader.choice("agg", context);
    let columns = reader.texts("columns", context);
    let prefix = reader.text("prefix", context).map_or_else(String::new, |prefix| prefix.value);
    for key in ["index", "columns"] {
        if reader.value(key).is_some_and(|v| v.as_array().is_some_and(Vec::is_empty)) {
            context.report.error(&reader.place_of_key(key), format!("`{key}` of a pivot is empty"));
        }
    }
    Some(Step::Pivot { on: on?, index, values: values?, agg: agg?, columns, prefix })
}

fn join(
    section: &'static Section,
    reader: &Reader<'_, '_>,
    place: super::model::Place,
    context: &mut Context<'_>,
) -> Option<Step> {
    let with = reader.filled("with", context);
    let on = reader.texts("on", context).iter().map(pair).collect();
    let how = reader.choice("how", context).unwrap_or_else(|| "inner".into());
    let suffix = reader.filled("suffix", context).map_or_else(|| "_right".into(), |suffix| suffix.value);
    let left_time = reader.filled("left_time", context);
    let right_time = reader.filled("right_time", context);
    let mut time = JoinTime::Any;
    if let Some((table, place)) = reader.table("interval", context) {
        let inner = Reader::new(section_of(section, "interval"), table, &place, context);
        let side = |key: &str, context: &mut Context<'_>| inner.duration(key, context).map_or(Span::ZERO, |d| d.value);
        time = JoinTime::Interval { before: side("before", context), after: side("after", context) };
    }
    if let Some((table, place)) = reader.table("as_of", context) {
        let inner = Reader::new(section_of(section, "as_of"), table, &place, context);
        if time != JoinTime::Any {
            context.report.error(&place, "a join has `interval` or `as_of`, not both");
        }
        time = JoinTime::AsOf { within: inner.duration("within", context).map(|d| d.value) };
    }
    Some(Step::Join { with: with?, on, time, how, suffix, left_time, right_time, place })
}

/// `name`, or `left = right`.
fn pair(text: &Text) -> (Text, Text) {
    let trimmed = |range: std::ops::Range<usize>| {
        let part = &text.value[range.clone()];
        let start = range.start + (part.len() - part.trim_start().len());
        text.part(start..start + part.trim().len())
    };
    match text.value.find('=') {
        Some(at) => (trimmed(0..at), trimmed(at + 1..text.value.len())),
        None => (trimmed(0..text.value.len()), trimmed(0..text.value.len())),
    }
}
