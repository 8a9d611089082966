//! The sections of a definition, from TOML to the model.

use toml_span::value::{Table as TomlTable, Value};

use super::format::{Kind, ROOT, Section, TYPES};
use super::model::{
    Alert, Definition, Endpoint, Lookup, Measure, NamedSql, Output, Place, Placed, Report, Source, SourceColumn, Table,
    View,
};
use super::prediction::prediction;
use super::reader::{Context, Reader, a_kind, did_you_mean, place_of};
use super::steps;
use super::text::Text;
use crate::plan::{AlertOn, EVENT_TIME, Start};
use crate::time::Span;
use crate::value::Type;

/// Columns that every answer has.
const ANSWER_COLUMNS: &[&str] = &["key", "window_start", "window_end"];
pub(super) const DEFAULT_PARTITIONS: i64 = 2;
const DEFAULT_IDLE: Span = Span(30 * Span::SECOND.0);
const DEFAULT_LOOKUP_ROWS: i64 = 100;
const DEFAULT_ENDPOINT_ROWS: i64 = 1_000;
/// Longest path of an endpoint.
const MAX_PATH: usize = 200;

/// The section under a key of another.
pub(super) fn section_of(of: &'static Section, key: &str) -> &'static Section {
    let kind = of.keys.iter().find(|k| k.name == key).map(|k| &k.kind);
    match kind {
        Some(
            Kind::Table(section)
            | Kind::StringOr(section)
            | Kind::DurationOr(section)
            | Kind::Named(section)
            | Kind::Tables(section),
        ) => section,
        _ => of,
    }
}

/// Reads the whole file, as much as there is sense in.
pub(super) fn definition(root: &TomlTable<'_>, context: &mut Context<'_>) -> Definition {
    let whole = 0..context.file.text.lines().next().map_or(0, str::len);
    let reader = Reader::new(&ROOT, root, &whole, context);
    let name = reader.filled("name", context).map_or_else(String::new, |name| {
        if !name.value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')) {
            context.report.error(&name.place, "a pipeline's name has letters, digits, `-`, `_` and `.` only");
        }
        name.value
    });
    let definition = Definition {
        file: context.file.clone(),
        name,
        sources: named(&reader, "sources", context, source),
        tables: named(&reader, "tables", context, table),
        views: named(&reader, "views", context, view),
        lookups: named(&reader, "lookups", context, lookup),
        alerts: named(&reader, "alerts", context, alert),
        outputs: named(&reader, "outputs", context, output),
        predictions: named(&reader, "predictions", context, prediction),
        endpoints: named(&reader, "endpoints", context, endpoint),
        reports: named(&reader, "reports", context, report),
    };
    let both = definition.tables.iter().map(|t| &t.name).chain(definition.views.iter().map(|v| &v.name));
    context.check_unique(both, "table or view");
    definition
}

fn named<T>(
    reader: &Reader<'_, '_>,
    key: &str,
    context: &mut Context<'_>,
    read: fn(Text, Reader<'_, '_>, &mut Context<'_>) -> T,
) -> Vec<T> {
    let section = section_of(&ROOT, key);
    let mut all = Vec::new();
    for (name, value) in reader.names(key, context) {
        if let Some(reader) = reader_of(section, &name.place, value, context) {
            all.push(read(name, reader, context));
        }
    }
    all
}

pub(super) fn reader_of<'t, 'de>(
    section: &'static Section,
    place: &Place,
    value: &'t Value<'de>,
    context: &mut Context<'_>,
) -> Option<Reader<'t, 'de>> {
    let Some(table) = value.as_table() else {
        let message = format!("{} is a table, not {}", section.with_article(), a_kind(value));
        context.report.error(&place_of(value.span), message);
        return None;
    };
    Some(Reader::new(section, table, place, context))
}

/// `name = "sql"` pairs.
fn expressions(reader: &Reader<'_, '_>, key: &str, context: &mut Context<'_>) -> Vec<NamedSql> {
    let mut all = Vec::new();
    for (name, value) in reader.names(key, context) {
        let sql = if value.as_str().is_some() {
            context.text(value).filter(|text| {
                let filled = !text.value.trim().is_empty();
                if !filled {
                    context.report.error(&place_of(value.span), format!("`{}` is empty", name.value));
                }
                filled
            })
        } else {
            let message = format!("`{}` is a string with an SQL expression, not {}", name.value, a_kind(value));
            context.report.error(&place_of(value.span), message);
            None
        };
        all.push(NamedSql { name, sql });
    }
    all
}

fn source(name: Text, reader: Reader<'_, '_>, context: &mut Context<'_>) -> Source {
    let columns = source_columns(&reader, context);
    let (event_time, event_time_format) = event_time(&reader, context);
    let duration = |key: &str, context: &mut Context<'_>| reader.duration(key, context).map(|d| d.value);
    let retain_bronze = retention(&reader, "sources", "bronze", context);
    Source {
        topic: reader.filled("topic", context).inspect(|topic| check_topic(topic, context)),
        partitions: reader.integer("partitions", context).unwrap_or(DEFAULT_PARTITIONS) as u32,
        retention: duration("retention", context),
        start: match reader.choice("start", context).as_deref() {
            Some("latest") => Start::Latest,
            _ => Start::Earliest,
        },
        columns_unknown: columns.is_none(),
        columns: columns.unwrap_or_default(),
        required: reader.texts("required", context),
        event_time,
        event_time_format,
        key: reader.filled("key", context),
        lateness: duration("lateness", context).unwrap_or(Span::ZERO),
        max_ahead: duration("max_ahead", context),
        idle_after: duration("idle_after", context).unwrap_or(DEFAULT_IDLE),
        dedupe: reader.filled("dedupe", context),
        checks: expressions(&reader, "checks", context),
        retain_bronze,
        name,
    }
}

/// A duration of the section's `retain`.
fn retention(reader: &Reader<'_, '_>, section: &str, layer: &str, context: &mut Context<'_>) -> Option<Span> {
    let (table, place) = reader.table("retain", context)?;
    let inner = Reader::new(section_of(section_of(&ROOT, section), "retain"), table, &place, context);
    let kept = inner.duration(layer, context)?;
    if kept.value < Span::DAY {
        context.report.error(&kept.place, format!("kept for {}: the least is a day", kept.value));
        return None;
    }
    Some(kept.value)
}

/// What Kafka allows.
fn check_topic(topic: &Text, context: &mut Context<'_>) {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !topic.value.chars().all(legal) || topic.value.len() > 249 || matches!(topic.value.as_str(), "." | "..") {
        let message = format!("`{}` is not a topic: use letters, digits, `.`, `_` and `-`, at most 249", topic.value);
        context.report.error(&topic.place, message);
    }
}

/// A topic that a definition writes to.
pub(super) fn own_topic(topic: &Text, context: &mut Context<'_>) {
    check_topic(topic, context);
    if topic.value.starts_with("tideline.") {
        context.report.error(&topic.place, "topics that start with `tideline.` are Tideline's own");
    }
}

/// `None` where they could not be read at all.
fn source_columns(reader: &Reader<'_, '_>, context: &mut Context<'_>) -> Option<Vec<SourceColumn>> {
    reader.value("columns")?.as_table().is_some().then_some(()).or_else(|| {
        reader.names("columns", context);
        None
    })?;
    let mut columns = Vec::new();
    for (name, value) in reader.names("columns", context) {
        context.check_column(&name, &[EVENT_TIME]);
        let ty = if value.as_str().is_some() {
            context.text(value).and_then(|text| {
                let ty = type_named(&text.value);
                if ty.is_none() {
                    let help = did_you_mean(&text.value, TYPES.iter().copied());
                    context.report.add(&text.place, format!("unknown type `{}`", text.value), help);
                }
                ty
            })
        } else {
            let message = format!("the type of `{}` is a string, such as \"int\"", name.value);
            context.report.error(&place_of(value.span), message);
            None
        };
        columns.push(SourceColumn { name, ty });
    }
    if columns.is_empty() {
        context.report.error(&reader.place_of_key("columns"), "a source has at least one column");
    }
    Some(columns)
}

/// The type of that name, aliases included.
pub(super) fn type_named(name: &str) -> Option<Type> {
    Some(match name.trim().to_ascii_lowercase().as_str() {
        "bool" | "boolean" => Type::Bool,
        "int" | "integer" | "long" | "bigint" => Type::Int,
        "float" | "double" | "number" => Type::Float,
        "string" | "text" | "varchar" => Type::String,
        "timestamp" | "datetime" => Type::Timestamp,
        "strings" | "string[]" | "text[]" => Type::Strings,
        _ => return None,
    })
}

fn event_time(reader: &Reader<'_, '_>, context: &mut Context<'_>) -> (Option<Text>, Option<Text>) {
    let Some(value) = reader.value("event_time") else { return (None, None) };
    if value.as_str().is_some() {
        return (context.text(value), None);
    }
    let Some((table, place)) = reader.table("event_time", context) else { return (None, None) };
    let inner = Reader::new(section_of(section_of(&ROOT, "sources"), "event_time"), table, &place, context);
    (inner.filled("column", context), inner.filled("format", context))
}

fn table(name: Text, reader: Reader<'_, '_>, context: &mut Context<'_>) -> Table {
    let columns = expressions(&reader, "columns", context);
    for column in &columns {
        context.check_column(&column.name, &[EVENT_TIME]);
    }
    if columns.is_empty() && reader.value("columns").is_some_and(|v| v.as_table().is_some()) {
        context.report.error(&reader.place_of_key("columns"), "a table has at least one column");
    }
    Table {
        from: reader.filled("from", context),
        columns,
        filter: reader.filled("where", context),
        partition_by: reader.texts("partition_by", context),
        retain_silver: retention(&reader, "tables", "silver", context),
        name,
    }
}

/// Size and slide of the window of a view or an output.
fn window(
    reader: &Reader<'_, '_>,
    section: &'static Section,
    context: &mut Context<'_>,
) -> (Option<Placed<Span>>, Option<Placed<Span>>) {
    let Some(value) = reader.value("window") else { return (None, None) };
    if value.as_str().is_some() {
        return (reader.duration("window", context), None);
    }
    let Some((table, place)) = reader.table("window", context) else { return (None, None) };
    let inner = Reader::new(section_of(section, "window"), table, &place, context);
    let size = inner.duration("size", context);
    let slide = inner.duration("slide", context);
    // A slide that cannot be read must not become a tumbling window with mistakes of its own.
    if slide.is_none() && inner.value("slide").is_some() {
        return (None, None);
    }
    (size, slide)
}

fn view(name: Text, reader: Reader<'_, '_>, context: &mut Context<'_>) -> View {
    let view = section_of(&ROOT, "views");
    let (size, slide) = window(&reader, view, context);
    let mut measures = Vec::new();
    for (name, value) in reader.names("measures", context) {
        context.check_column(&name, ANSWER_COLUMNS);
        // One that cannot be read keeps its name, so that what refers to it is not a mistake too.
        let inner = reader_of(section_of(view, "measures"), &name.place, value, context);
        let (table, agg) = inner.map_or((None, None), |i| (i.filled("table", context), i.filled("agg", context)));
        measures.push(Measure { name, table, agg });
    }
    let columns = expressions(&reader, "columns", context);
    for column in &columns {
        context.check_column(&column.name, ANSWER_COLUMNS);
    }
    context.check_unique(measures.iter().map(|m| &m.name).chain(columns.iter().map(|c| &c.name)), "column");
    let (mut retain_speed, mut retain_batch) = (None, None);
    if let Some((table, place)) = reader.table("retain", context) {
        let inner = Reader::new(section_of(view, "retain"), table, &place, context);
        retain_speed = inner.duration("speed", context);
        retain_batch = inner.duration("batch", context);
    }
    View {
        key: reader.texts("key", context),
        size,
        slide,
        measures,
        columns,
        retain_speed,
        retain_batch,
        top: reader.texts("top", context),
        name,
    }
}

fn lookup(name: Text, reader: Reader<'_, '_>, context: &mut Context<'_>) -> Lookup {
    let mut retain_speed = None;
    if let Some((table, place)) = reader.table("retain", context) {
        let inner = Reader::new(section_of(section_of(&ROOT, "lookups"), "retain"), table, &place, context);
        retain_speed = inner.duration("speed", context).map(|d| d.value);
    }
    let key = reader.texts("key", context);
    if key.is_empty() && reader.value("key").is_some_and(|v| v.as_array().is_some_and(Vec::is_empty)) {
        context.report.error(&reader.place_of_key("key"), "a lookup has at least one key column");
    }
    Lookup {
        table: reader.filled("table", context),
        key,
        limit: reader.integer("limit", context).unwrap_or(DEFAULT_LOOKUP_ROWS) as usize,
        retain_speed,
        name,
    }
}

fn alert(name: Text, reader: Reader<'_, '_>, context: &mut Context<'_>) -> Alert {
    let webhook = reader.text("webhook", context).filter(|url| !url.value.is_empty());
    if let Some(url) = &webhook
        && !url.value.starts_with("http://")
        && !url.value.starts_with("https://")
    {
        // What it holds may be a secret: it is not repeated.
        context.report.error(&url.place, "a webhook is a URL that starts with http:// or https://");
    }
    let on = match reader.choice("on", context).as_deref() {
        Some("running") => AlertOn::Running,
        _ => AlertOn::Closed,
    };
    let secret = reader.text("secret", context).filter(|secret| !secret.value.is_empty());
    Alert { view: reader.filled("view", context), when: reader.filled("when", context), on, webhook, secret, name }
}

fn output(name: Text, reader: Reader<'_, '_>, context: &mut Context<'_>) -> Output {
    let (size, slide) = window(&reader, section_of(&ROOT, "outputs"), context);
    let list = |key: &str, context: &mut Context<'_>| reader.value(key).map(|_| reader.texts(key, context));
    let topic = reader.filled("topic", context).inspect(|topic| own_topic(topic, context));
    let has = |key: &str| reader.value(key).is_some();
    match (has("view"), has("table")) {
        (false, false) => {
            let help = "view: its closed windows go to the topic; table: its rows do".to_owned();
            context.report.add(&name.place, "an output has a `view` or a `table`", Some(help));
        }
        (true, true) => {
            context.report.error(&reader.place_of_key("table"), "an output has a `view` or a `table`, not both");
        }
        (false, true) if has("window") => {
            let help = Some("rows go to the topic as they come".to_owned());
            context.report.add(&reader.place_of_key("window"), "`window` goes with `view`, not with `table`", help);
        }
        _ => {}
    }
    Output {
        view: reader.filled("view", context),
        table: reader.filled("table", context),
        topic,
        key: list("key", context),
        size,
        slide,
        columns: list("columns", context),
        partitions: reader.integer("partitions", context).unwrap_or(DEFAULT_PARTITIONS) as u32,
        retention: reader.duration("retention", context).map(|kept| kept.value),
        name,
    }
}

fn endpoint(name: Text, reader: Reader<'_, '_>, context: &mut Context<'_>) -> Endpoint {
    Endpoint {
        path: reader.filled("path", context).inspect(|path| check_path(path, context)),
        view: reader.filled("view", context),
        by: reader.filled("by", context),
        limit: reader.integer("limit", context).unwrap_or(DEFAULT_ENDPOINT_ROWS) as usize,
        name,
    }
}

/// A path of the API that is nobody else's.
fn check_path(path: &Text, context: &mut Context<'_>) {
    const PREFIX: &str = "/api/";
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    let wrong = |part: &str| part.is_empty() || !part.chars().all(legal) || part.chars().all(|c| c == '.');
    let message = match path.value.strip_prefix(PREFIX) {
        None => format!("`{}` does not begin with {PREFIX}, where paths of endpoints are", path.value),
        Some(_) if path.value.len() > MAX_PATH => format!("a path has at most {MAX_PATH} characters"),
        Some(rest) if rest.split('/').any(wrong) => {
            format!(
                "`{}` is not a path: its parts are of a-z, 0-9, `-`, `_` and `.`, with one / between them",
                path.value
            )
        }
        Some(_) => return,
    };
    context.report.error(&path.place, message);
}

fn report(name: Text, reader: Reader<'_, '_>, context: &mut Context<'_>) -> Report {
    let section = section_of(&ROOT, "reports");
    let mut order_by = Vec::new();
    if let Some((table, place)) = reader.table("clickhouse", context) {
        order_by = Reader::new(section_of(section, "clickhouse"), table, &place, context).texts("order_by", context);
    }
    let mut all = Vec::new();
    if let Some(value) = reader.value("steps") {
        if let Some(list) = value.as_array() {
            for item in list {
                all.push(steps::step(section_of(section, "steps"), item, context));
            }
        } else {
            reader.wrong("steps", value, context);
        }
    }
    Report { from: reader.filled("from", context), steps: all, order_by, name }
}
