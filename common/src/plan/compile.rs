//! From a definition to a plan: names found, types checked, states laid out. Every mistake is reported and compiling
//! goes on; what depends on something broken is checked as far as it can be, without mistakes that only follow.

use super::expression::{self, Names};
use super::functions::{AGGREGATES, UNSTABLE, locate, word};
use super::{
    AlertPlan, Check, EVENT_TIME, EventTime, ExpressionTypes, Field, LookupPlan, Plan, SourcePlan, TableColumn,
    TablePlan, TimeFormat, endpoints, hash, outputs, predictions, reports, views,
};
use crate::definition::{self, Definition, Diagnostics, Environment, Findings, Text, did_you_mean};
use crate::formula::{Formula, FormulaError, suggest};
use crate::value::Type;

/// Compiles a definition; `types` says what its SQL expressions evaluate to.
///
/// # Errors
/// Every mistake of meaning, with its place.
pub fn compile(definition: &Definition, types: &dyn ExpressionTypes) -> Result<Plan, Diagnostics> {
    run(definition, types, Findings::new(definition.file.clone()))
}

/// Reads and compiles a definition. `file` is the name that diagnostics print; `env` resolves `${VAR}`.
///
/// # Errors
/// Every mistake of form and of meaning, with its place.
pub fn load(file: &str, text: &str, env: &Environment<'_>, types: &dyn ExpressionTypes) -> Result<Plan, Diagnostics> {
    match definition::read(file, text, env) {
        (Some(definition), findings) => run(&definition, types, findings),
        (None, findings) => Err(findings.finish().unwrap_or(Diagnostics(Vec::new()))),
    }
}

fn run(definition: &Definition, types: &dyn ExpressionTypes, findings: Findings) -> Result<Plan, Diagnostics> {
    let mut compiler = Compiler { types, findings, sources: Vec::new(), tables: Vec::new(), views: Vec::new() };
    let mut plan = Plan::empty(definition.name.clone());
    for source in &definition.sources {
        plan.sources.push(compiler.source(source));
    }
    for table in &definition.tables {
        plan.tables.push(compiler.table(table, &plan.sources));
    }
    for view in &definition.views {
        let compiled = views::view(&mut compiler, view, &plan);
        compiler.views.push(Rows { name: view.name.value.clone(), columns: compiled.rows, complete: true });
        plan.views.push(compiled.plan);
    }
    for lookup in &definition.lookups {
        plan.lookups.push(compiler.lookup(lookup, &plan.tables));
    }
    for alert in &definition.alerts {
        plan.alerts.extend(compiler.alert(alert, &plan));
    }
    for output in &definition.outputs {
        outputs::output(&mut compiler, output, &mut plan);
    }
    for endpoint in &definition.endpoints {
        let compiled = endpoints::endpoint(&mut compiler, endpoint, &plan);
        plan.endpoints.extend(compiled);
    }
    for prediction in &definition.predictions {
        let compiled = predictions::prediction(&mut compiler, prediction, &plan);
        plan.predictions.extend(compiled);
    }
    for report in &definition.reports {
        let compiled = reports::report(&mut compiler, report, &plan);
        plan.reports.push(compiled);
    }
    match compiler.findings.finish() {
        None => Ok(plan),
        Some(found) => Err(found),
    }
}

/// A column whose type may not be known because of a mistake elsewhere.
pub(super) type Column = (String, Option<Type>);

/// Something with columns.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    /// Whether these are all of them: with `false`, a name that is not there may be right.
    pub(super) complete: bool,
}

impl Rows {
    pub(super) fn get(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|(column, _)| column == name)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(name, _)| name.as_str())
    }
}

pub(super) struct Compiler<'a> {
    pub(super) types: &'a dyn ExpressionTypes,
    pub(super) findings: Findings,
    /// Sources with their columns.
    sources: Vec<Rows>,
    /// Tables with their columns, `event_time` included.
    pub(super) tables: Vec<Rows>,
    /// Views with their columns, key and window included.
    pub(super) views: Vec<Rows>,
}

impl Compiler<'_> {
    pub(super) fn error(&mut self, text: &Text, message: impl Into<String>) {
        self.findings.error(&text.place, message);
    }

    /// Looks `name` up in `all`; a name that is not there is reported.
    pub(super) fn find<'p, T>(
        &mut self,
        name: &Text,
        what: &str,
        all: &'p [T],
        name_of: impl Fn(&T) -> &str,
    ) -> Option<&'p T> {
        let found = all.iter().find(|item| name_of(item) == name.value);
        if found.is_none() {
            let help = did_you_mean(&name.value, all.iter().map(name_of));
            self.findings.add(&name.place, format!("unknown {what} `{}`", name.value), help);
        }
        found
    }

    /// The type of a column; `None` when it is not there, which is reported, or its type is not known.
    pub(super) fn column(&mut self, name: &Text, rows: &Rows, of: &str) -> Option<Type> {
        if let Some((_, ty)) = rows.get(&name.value) {
            return *ty;
        }
        if rows.complete {
            let message = format!("unknown column `{}` of {of}", name.value);
            self.findings.add(&name.place, message, did_you_mean(&name.value, rows.names()));
        }
        None
    }

    /// The type of a row-level expression over `rows`; `None` when it has mistakes, which are reported, or depends
    /// on something that has.
    pub(super) fn expression(&mut self, sql: &Text, rows: &Rows, of: &str) -> Option<Type> {
        let before = self.findings.len();
        let names = match expression::expression(&sql.value, |name| rows.get(name).is_some()) {
            Ok((_, names)) => names,
            Err(error) => {
                let place = error.at.map_or_else(|| sql.place.clone(), |at| sql.place_of(at..at));
                self.findings.error(&place, error.message);
                return None;
            }
        };
        let mut known = rows.complete;
        for (name, place) in &names.columns {
            match rows.get(name) {
                Some((_, ty)) => known &= ty.is_some(),
                None if UNSTABLE.contains(&name.to_ascii_lowercase().as_str()) => self.unstable(sql, name, place),
                None if rows.complete => {
                    let message = format!("unknown column `{name}` of {of}");
                    self.findings.add(&sql.place_of(place.clone()), message, did_you_mean(name, rows.names()));
                }
                None => {}
            }
        }
        self.row_level(sql, &names);
        if self.findings.len() > before || !known {
            return None;
        }
        let fields: Vec<Field> =
            rows.columns.iter().filter_map(|(name, ty)| Some(Field { name: name.clone(), ty: (*ty)? })).collect();
        match self.types.type_of(&sql.value, &fields) {
            Ok(ty) => Some(ty),
            Err(error) => {
                let (place, help) = locate(sql, &error.message, error.at, &names);
                self.findings.add(&place, error.message, help);
                None
            }
        }
    }

    fn unstable(&mut self, sql: &Text, name: &str, place: &std::ops::Range<usize>) {
        let message = format!("`{name}` has another value every time: a replay would not give the same rows");
        self.findings.add(&sql.place_of(place.clone()), message, Some("use event_time, or a column".into()));
    }

    /// Refuses what does not belong in an expression over one row.
    fn row_level(&mut self, sql: &Text, names: &Names) {
        for (_, name, place) in &names.qualified {
            let message = format!("there is one row here, so a column is written alone: `{name}`");
            self.findings.error(&sql.place_of(place.clone()), message);
        }
        if names.queries > 0 {
            self.error(sql, "an expression over one row has no subquery");
        }
        for place in &names.windowed {
            self.findings.error(&sql.place_of(place.clone()), "an expression over one row has no OVER");
        }
        for (name, place) in &names.functions {
            if names.windowed.contains(place) {
                continue;
            }
            if UNSTABLE.contains(&name.as_str()) {
                self.unstable(sql, name, place);
            } else if AGGREGATES.contains(&name.as_str()) {
                let message = format!("`{name}` is over many rows, and here is one");
                let help = Some("aggregates are measures of a view, or belong in a report's step".to_owned());
                self.findings.add(&sql.place_of(place.clone()), message, help);
            } else if name == "unnest" {
                let message = "`unnest` is the whole expression of a table's column, or not there at all";
                self.findings.error(&sql.place_of(place.clone()), message);
            }
        }
    }

    /// An expression that must be of one type.
    fn expression_of(&mut self, sql: &Text, rows: &Rows, of: &str, expected: Type, what: &str) {
        if let Some(ty) = self.expression(sql, rows, of)
            && ty != expected
        {
            self.error(sql, format!("{what} is of type {expected}, and this is of type {ty}"));
        }
    }

    fn source(&mut self, source: &definition::Source) -> SourcePlan {
        let name = source.name.value.clone();
        let of = format!("source `{name}`");
        let rows = Rows {
            name: name.clone(),
            columns: source.columns.iter().map(|c| (c.name.value.clone(), c.ty)).collect(),
            complete: !source.columns_unknown,
        };
        for column in &source.required {
            self.column(column, &rows, &of);
        }
        let event_time = self.event_time(source, &rows, &of);
        if let Some(key) = &source.key
            && let Some(ty @ (Type::Strings | Type::Map)) = self.expression(key, &rows, &of)
        {
            self.error(key, format!("a partition key is a single value, and this is of type {ty}"));
        }
        if let Some(dedupe) = &source.dedupe {
            self.expression_of(dedupe, &rows, &of, Type::String, "`dedupe`");
        }
        for check in &source.checks {
            if let Some(sql) = &check.sql {
                self.expression_of(sql, &rows, &of, Type::Bool, "a check");
            }
        }
        let text = |text: &Option<Text>| text.as_ref().map(|t| t.value.clone());
        let mut plan = SourcePlan {
            topic: text(&source.topic).unwrap_or_default(),
            partitions: source.partitions,
            retention: source.retention,
            start: source.start,
            columns: fields(&rows),
            required: source.required.iter().map(|r| r.value.clone()).collect(),
            event_time,
            key: text(&source.key),
            lateness: source.lateness,
            max_ahead: source.max_ahead,
            idle_after: source.idle_after,
            dedupe: text(&source.dedupe),
            checks: source
                .checks
                .iter()
                .filter_map(|c| Some(Check { name: c.name.value.clone(), sql: c.sql.as_ref()?.value.clone() }))
                .collect(),
            retain_bronze: source.retain_bronze,
            version: String::new(),
            name,
        };
        plan.version = hash::source(&plan);
        self.sources.push(rows);
        plan
    }

    fn event_time(&mut self, source: &definition::Source, rows: &Rows, of: &str) -> EventTime {
        let format = source.event_time_format.as_ref().and_then(|format| self.time_format(format));
        let plan = EventTime {
            column: source.event_time.as_ref().map_or_else(String::new, |c| c.value.clone()),
            format: format.clone().unwrap_or(TimeFormat::Rfc3339),
        };
        let Some(column) = &source.event_time else { return plan };
        let Some(ty) = self.column(column, rows, of) else { return plan };
        let place = source.event_time_format.as_ref().unwrap_or(column);
        let fits = match (&format, ty) {
            (_, Type::Bool | Type::Strings | Type::Map) => false,
            // A format that could not be read was reported.
            (None, _) if source.event_time_format.is_some() => true,
            (Some(TimeFormat::Rfc3339) | None, ty) => matches!(ty, Type::String | Type::Timestamp),
            (Some(TimeFormat::Pattern(_)), ty) => ty == Type::String,
            (Some(_), ty) => matches!(ty, Type::Int | Type::Float),
        };
        if !fits {
            let help = match ty {
                Type::Int | Type::Float => "the format of a number is epoch_s, epoch_ms or epoch_us",
                Type::String => "the format of a string is rfc3339 or a strftime pattern such as %Y-%m-%d %H:%M:%S",
                Type::Timestamp => "a timestamp is read as rfc3339",
                _ => "use a column of type string, timestamp, int or float",
            };
            let message = format!("`{}` of type {ty} cannot be read as an event time this way", column.value);
            self.findings.add(&place.place, message, Some(help.into()));
        }
        plan
    }

    fn time_format(&mut self, text: &Text) -> Option<TimeFormat> {
        Some(match text.value.as_str() {
            "rfc3339" | "iso8601" => TimeFormat::Rfc3339,
            "epoch_s" | "epoch_seconds" => TimeFormat::EpochSeconds,
            "epoch_ms" | "epoch_millis" => TimeFormat::EpochMillis,
            "epoch_us" | "epoch_micros" => TimeFormat::EpochMicros,
            pattern if pattern.contains('%') => {
                use chrono::format::{Item, StrftimeItems};
                if StrftimeItems::new(pattern).any(|item| item == Item::Error) {
                    self.error(text, format!("`{pattern}` is not a strftime pattern"));
                    return None;
                }
                TimeFormat::Pattern(pattern.to_owned())
            }
            other => {
                let known = ["rfc3339", "epoch_s", "epoch_ms", "epoch_us"];
                let help = suggest(other, known).map_or_else(
                    || format!("there is {}, or a strftime pattern such as %Y-%m-%d %H:%M:%S", known.join(", ")),
                    |like| format!("did you mean `{like}`?"),
                );
                self.findings.add(&text.place, format!("unknown time format `{other}`"), Some(help));
                return None;
            }
        })
    }

    fn table(&mut self, table: &definition::Table, sources: &[SourcePlan]) -> TablePlan {
        let name = table.name.value.clone();
        let source = table.from.as_ref().and_then(|from| self.find(from, "source", sources, |s| &s.name));
        let mut input = source
            .and_then(|source| self.sources.iter().find(|rows| rows.name == source.name).cloned())
            .unwrap_or(Rows { name: String::new(), columns: Vec::new(), complete: false });
        let of = format!("source `{}`", input.name);
        input.columns.push((EVENT_TIME.to_owned(), Some(Type::Timestamp)));
        // Without columns (which was reported) any name may be right.
        let mut rows = Rows { name: name.clone(), columns: Vec::new(), complete: !table.columns.is_empty() };
        let mut columns = Vec::new();
        let mut unnested: Option<&str> = None;
        for column in &table.columns {
            let (sql, unnest, ty) = match &column.sql {
                Some(sql) => self.table_column(sql, &input, &of),
                None => (String::new(), false, None),
            };
            if unnest {
                if let Some(first) = unnested {
                    let message = format!("a table has one unnest, and `{first}` is one already");
                    self.error(column.sql.as_ref().unwrap_or(&column.name), message);
                }
                unnested.get_or_insert(&column.name.value);
            }
            rows.columns.push((column.name.value.clone(), ty));
            columns.push(TableColumn { name: column.name.value.clone(), sql, ty: ty.unwrap_or(Type::String), unnest });
        }
        rows.columns.push((EVENT_TIME.to_owned(), Some(Type::Timestamp)));
        let of = format!("table `{name}`");
        if let Some(filter) = &table.filter {
            self.expression_of(filter, &rows, &of, Type::Bool, "`where`");
        }
        for column in &table.partition_by {
            if let Some(ty) = self.column(column, &rows, &of)
                && !matches!(ty, Type::String | Type::Int | Type::Bool)
            {
                self.error(
                    column,
                    format!("Silver is partitioned by a string, int or bool, and `{}` is of type {ty}", column.value),
                );
            }
        }
        let mut plan = TablePlan {
            source: source.map_or_else(String::new, |s| s.name.clone()),
            columns,
            filter: table.filter.as_ref().map(|f| f.value.clone()),
            partition_by: table.partition_by.iter().map(|p| p.value.clone()).collect(),
            retain_silver: table.retain_silver,
            version: String::new(),
            name,
        };
        plan.version = hash::table(&plan, source.map_or("", |s| &s.version));
        self.tables.push(rows);
        plan
    }

    /// SQL (of `unnest`, its argument), whether it is an `unnest`, and the column's type.
    fn table_column(&mut self, sql: &Text, input: &Rows, of: &str) -> (String, bool, Option<Type>) {
        let call =
            expression::call(&sql.value).filter(|call| sql.value[call.name.clone()].eq_ignore_ascii_case("unnest"));
        let Some(call) = call else {
            let mut ty = self.expression(sql, input, of);
            if let Some(list @ (Type::Strings | Type::Map)) = ty {
                let help = Some(format!("make rows of it: unnest({})", sql.value.trim()));
                self.findings.add(
                    &sql.place,
                    format!("a table's column is a single value, and this is of type {list}"),
                    help,
                );
                ty = None;
            }
            return (sql.value.clone(), false, ty);
        };
        let [list] = call.arguments.as_slice() else {
            self.error(sql, format!("`unnest` takes one list, not {} arguments", call.arguments.len()));
            return (sql.value.clone(), true, None);
        };
        let inner = sql.part(list.clone());
        let ty = match self.expression(&inner, input, of) {
            Some(Type::Strings) => Some(Type::String),
            Some(other) => {
                self.error(&inner, format!("`unnest` takes a list, and this is of type {other}"));
                None
            }
            None => None,
        };
        (inner.value, true, ty)
    }

    fn lookup(&mut self, lookup: &definition::Lookup, tables: &[TablePlan]) -> LookupPlan {
        let table = lookup.table.as_ref().and_then(|table| self.find(table, "table", tables, |t| &t.name));
        let rows = table.and_then(|table| self.tables.iter().find(|rows| rows.name == table.name).cloned());
        let mut key = Vec::new();
        for column in &lookup.key {
            let Some(rows) = &rows else { continue };
            let of = format!("table `{}`", rows.name);
            if let Some(ty) = self.column(column, rows, &of) {
                key.push(Field { name: column.value.clone(), ty });
            }
        }
        let columns = |table: &TablePlan| {
            table.columns.iter().map(|c| Field { name: c.name.clone(), ty: c.ty }).collect::<Vec<_>>()
        };
        let mut plan = LookupPlan {
            name: lookup.name.value.clone(),
            table: table.map_or_else(String::new, |t| t.name.clone()),
            source: table.map_or_else(String::new, |t| t.source.clone()),
            key,
            columns: table.map(columns).unwrap_or_default(),
            limit: lookup.limit,
            retain_speed: lookup.retain_speed,
            version: String::new(),
        };
        plan.version = hash::lookup(&plan, table.map_or("", |t| &t.version));
        plan
    }

    fn alert(&mut self, alert: &definition::Alert, plan: &Plan) -> Option<AlertPlan> {
        let view = self.find(alert.view.as_ref()?, "view", &plan.views, |v| &v.name)?;
        let when = alert.when.as_ref()?;
        // A view with a mistake has columns whose types are guesses.
        let rows = self.views.iter().find(|rows| rows.name == view.name)?;
        let known = rows.complete && rows.columns.iter().all(|(_, ty)| ty.is_some());
        if !known {
            return None;
        }
        let formula = self.formula_of(when, Formula::compile_with_previous(&when.value, &view.answer))?;
        if formula.1 != Type::Bool {
            self.error(when, format!("`when` is of type bool, and this is of type {}", formula.1));
        }
        Some(AlertPlan {
            name: alert.name.value.clone(),
            view: view.name.clone(),
            on: alert.on,
            when: formula.0,
            webhook: alert.webhook.as_ref().map(|w| w.value.clone()),
            secret: alert.secret.as_ref().map(|s| s.value.clone()),
        })
    }

    /// Compiles a formula; its mistakes are reported.
    pub(super) fn formula(&mut self, sql: &Text, columns: &[Field]) -> Option<(Formula, Type)> {
        self.formula_of(sql, Formula::compile(&sql.value, columns))
    }

    fn formula_of(
        &mut self,
        sql: &Text,
        compiled: Result<(Formula, Type), Vec<FormulaError>>,
    ) -> Option<(Formula, Type)> {
        match compiled {
            Ok(compiled) => Some(compiled),
            Err(errors) => {
                for error in errors {
                    let place = error.at.map_or_else(|| sql.place.clone(), |at| sql.place_of(word(&sql.value, at)));
                    self.findings.error(&place, error.message);
                }
                None
            }
        }
    }
}

/// Columns as fields; a type that is not known is text until the mistake is mended.
pub(super) fn fields(rows: &Rows) -> Vec<Field> {
    rows.columns.iter().map(|(name, ty)| Field { name: name.clone(), ty: ty.unwrap_or(Type::String) }).collect()
}
