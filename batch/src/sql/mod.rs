//! Silver to Gold as SQL for `ClickHouse`: the same states as [`tideline_transform::ViewTransform`] makes, computed by
//! a database near the lake.
//!
//! One statement per table of a view for all states that are plain columns, and one per map state: its entries are
//! counted by (key, pane, entry) before they are put together, which is several times as fast as merging a map per
//! row. What the statements answer is merged like the states of any other shard, so no statement needs to know the
//! others, and files may be spread over several runs of one statement.
//!
//! # What is the same
//! Integers, times, texts, buckets and registers exactly; sums of floats up to rounding (another order of additions).
//! - Buckets ([`tideline_common::aggregate::sketch`]) are computed from the bits of the float with the same operations.
//! - Registers ([`tideline_common::aggregate::registers`]) from `ClickHouse`'s `xxh3`, which is XXH3-64 with seed 0 of
//!   the same bytes.
//! - `first` and `last` compare (time, sequence, value), floats in their total order.
//!
//! # What is not expressed
//! An argument beyond the whitelist of `argument` (Tideline's own functions first of all) makes its whole view
//! [`Unsupported`]: that view stays with Polars, and the run says why.

mod argument;
mod state;

use std::fmt::Write;

use tideline_common::plan::{EVENT_TIME, Field, Plan, TablePlan, ViewPlan};
use tideline_common::state::{Input, Rule, StateField};
use tideline_common::time::Timestamp;
use tideline_common::value::Type;
use tideline_transform::SEQUENCE;

use self::argument::Argument;

/// Times that `DateTime64` of `ClickHouse` holds: the years from 1900 to 2299.
pub(crate) const TIMES: std::ops::Range<Timestamp> =
    Timestamp(-2_208_988_800_000_000)..Timestamp(10_413_792_000_000_000);

/// What every statement is run with: times are UTC, columns come from the files and not from their folders.
const SETTINGS: &str = "SETTINGS session_timezone = 'UTC', use_hive_partitioning = 0, \
     output_format_parquet_compression_method = 'snappy', output_format_parquet_string_as_string = 1";

/// Why a view cannot be computed by SQL; it is computed by Polars.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {reason}")]
pub struct Unsupported {
    /// What cannot be expressed: `sum(vader(text))`.
    pub what: String,
    /// Why.
    pub reason: String,
}

/// The statements of one view.
#[derive(Clone, Debug)]
pub(crate) struct ViewSql {
    pub(crate) statements: Vec<Statement>,
}

/// One statement: the part of a view's states that it answers with.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    /// The table whose Silver it reads.
    pub(crate) table: String,
    /// Indexes of its states among the view's fields, in the order of its columns.
    pub(crate) fields: Vec<usize>,
    /// Columns of Silver that it reads, with types, as `ClickHouse` names them.
    pub(crate) structure: String,
    before: String,
    after: String,
}

impl Statement {
    /// The statement over rows of `source` (a table or table function) that `filter` keeps.
    pub(crate) fn sql(&self, source: &str, filter: &str) -> String {
        format!("{}{source}\n      WHERE {filter}{}", self.before, self.after)
    }
}

/// Rows of [from, to).
pub(crate) fn within(from: Timestamp, to: Timestamp) -> String {
    let time = |time: Timestamp| format!("fromUnixTimestamp64Micro(toInt64({}), 'UTC')", time.0);
    format!("{0} >= {1} AND {0} < {2}", quoted(EVENT_TIME), time(from), time(to))
}

/// The SQL by which `ClickHouse` makes Gold of the view's Silver, for people to read: the statements, one after the
/// other. `{from:DateTime64(6)}` and `{to:DateTime64(6)}` are the time range; the files are those of the manifest.
///
/// # Errors
/// [`Unsupported`] when the view stays with Polars, with the reason.
pub fn silver_to_gold(plan: &Plan, view: &ViewPlan) -> Result<String, Unsupported> {
    let mut out = String::new();
    for statement in compile(plan, view)?.statements {
        let structure = literal(&statement.structure);
        let source = format!("s3('s3://lake/silver/{}/**.parquet', 'Parquet', {structure})", statement.table);
        let time = quoted(EVENT_TIME);
        let filter = format!("{time} >= {{from:DateTime64(6)}} AND {time} < {{to:DateTime64(6)}}");
        let separator = if out.is_empty() { "" } else { "\n\n" };
        // Writing into a string does not fail.
        let _ = write!(out, "{separator}{};", statement.sql(&source, &filter));
    }
    Ok(out)
}

/// The statements of `view`.
pub(crate) fn compile(plan: &Plan, view: &ViewPlan) -> Result<ViewSql, Unsupported> {
    let mut statements = Vec::new();
    for name in &view.tables {
        let table = plan.table(name).ok_or_else(|| Unsupported {
            what: format!("table {name}"),
            reason: "the plan has no such table".to_owned(),
        })?;
        let (mut plain, mut maps) = (Vec::new(), Vec::new());
        for (index, field) in view.fields.iter().enumerate().filter(|(_, field)| field.table == *name) {
            if matches!(field.rule, Rule::MapSum | Rule::MapMax) { maps.push(index) } else { plain.push(index) }
        }
        if !plain.is_empty() {
            statements.push(statement(view, table, plain)?);
        }
        for index in maps {
            statements.push(statement(view, table, vec![index])?);
        }
    }
    Ok(ViewSql { statements })
}

/// The innermost SELECT of a statement: keys, times and arguments of rows.
struct Inner {
    /// Its columns, one per line.
    select: Vec<String>,
    /// The arguments, each once: SQL as written in the definition.
    arguments: Vec<String>,
    /// Columns of Silver that are read.
    columns: Vec<String>,
}

impl Inner {
    fn new(view: &ViewPlan) -> Self {
        let keys =
            view.key.iter().enumerate().map(|(index, key)| format!("{} AS {}", quoted(&key.name), key_name(index)));
        let mut select: Vec<String> = keys.collect();
        select.push(format!("toUnixTimestamp64Micro({}) AS {WHEN}", quoted(EVENT_TIME)));
        let mut columns: Vec<String> = view.key.iter().map(|key| key.name.clone()).collect();
        columns.push(EVENT_TIME.to_owned());
        Self { select, arguments: Vec::new(), columns }
    }

    /// The name of a field's argument, which is added when it is new.
    fn argument(&mut self, table: &TablePlan, field: &StateField) -> Result<String, Unsupported> {
        let sql = field.argument.as_deref().unwrap_or_default();
        let index = match self.arguments.iter().position(|known| known == sql) {
            Some(index) => index,
            None => {
                let argument = Argument::translate(sql, table)?;
                self.select.push(format!(
                    "CAST({} AS {}) AS {}",
                    argument.sql,
                    argument.database_type(),
                    argument_name(self.arguments.len())
                ));
                self.columns.extend(argument.columns);
                self.arguments.push(sql.to_owned());
                self.arguments.len() - 1
            }
        };
        Ok(argument_name(index))
    }

    /// `name Type, …` of the columns read.
    fn structure(&self, table: &TablePlan) -> String {
        let mut columns: Vec<&String> = self.columns.iter().collect();
        columns.sort();
        columns.dedup();
        let column = |name: &String| match (name.as_str(), table.type_of(name)) {
            (EVENT_TIME, _) => format!("{} DateTime64(6, 'UTC')", quoted(name)),
            (SEQUENCE, _) => format!("{} Int64", quoted(name)),
            (_, ty) => format!("{} {}", quoted(name), state::database_type(ty.unwrap_or(Type::String))),
        };
        columns.into_iter().map(column).collect::<Vec<_>>().join(", ")
    }
}

const WHEN: &str = "_when";
const PLACE: &str = "_pane";

fn key_name(index: usize) -> String {
    format!("_key_{index}")
}

fn argument_name(index: usize) -> String {
    format!("_argument_{index}")
}

/// An identifier of `ClickHouse`.
fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`"))
}

/// A text of `ClickHouse`.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn statement(view: &ViewPlan, table: &TablePlan, fields: Vec<usize>) -> Result<Statement, Unsupported> {
    check_key(&view.key)?;
    let mut inner = Inner::new(view);
    let keys: Vec<String> = (0..view.key.len()).map(key_name).collect();
    let grouped = keys.iter().fold(String::new(), |grouped, key| grouped + key + ", ");
    let pane = format!("{WHEN} - positiveModulo({WHEN}, toInt64({})) AS {PLACE}", view.pane.0.max(1));
    let mut outer: Vec<String> =
        view.key.iter().zip(&keys).map(|(field, key)| format!("{key} AS {}", quoted(&field.name))).collect();
    outer.push(format!("fromUnixTimestamp64Micro({PLACE}, 'UTC') AS {}", quoted(tideline_transform::frame::PANE)));
    // From the inside out: rows, entries of a map if it is one, groups, answers.
    let (mut middle, group) = (Vec::new(), format!("{grouped}{PLACE}"));
    let mut entries = None;
    for index in &fields {
        let field = &view.fields[*index];
        let argument = match field.input {
            Input::One => String::new(),
            _ => inner.argument(table, field)?,
        };
        if matches!(field.rule, Rule::First | Rule::Last) {
            inner.columns.push(SEQUENCE.to_owned());
        }
        match field.rule {
            Rule::MapSum | Rule::MapMax => {
                let ty = inner_type(field, table)?;
                entries = Some(state::entries(field, &argument, ty)?);
                outer.push(state::collected(field));
            }
            _ => state::plain(field, *index, &argument, &mut middle, &mut outer)?,
        }
    }
    if inner.columns.iter().any(|column| column == SEQUENCE) {
        inner.select.push(quoted(SEQUENCE));
    }
    let rows = format!("SELECT {}\n      FROM ", inner.select.join(",\n             "));
    let (before, after) = match entries {
        None => {
            middle.insert(0, format!("{grouped}{pane}"));
            let groups = format!("SELECT {}\n    FROM (\n      ", middle.join(",\n           "));
            let before = format!("SELECT {}\nFROM (\n    {groups}{rows}", outer.join(",\n       "));
            (before, format!("\n    )\n    GROUP BY {group}\n)\n{SETTINGS}"))
        }
        Some(entries) => {
            // The map's own level: one row per (key, pane, entry). Rows that have no entry are not filtered but make
            // an entry that is null: their groups belong to the answer, and a condition on the argument would be
            // tested on the statistics of the files, which ClickHouse 26.9 gets wrong for IS NOT NULL and NaN.
            let prepared = format!(
                "SELECT {grouped}{pane}, {}, {} AS {}\n    FROM (\n      ",
                entries.prepare,
                entries.counts,
                state::COUNTS
            );
            let counted = format!(
                "SELECT {grouped}{PLACE}, if({}, {}, NULL) AS {}, {} AS {}\n  FROM (\n    ",
                state::COUNTS,
                entries.key,
                state::ENTRY,
                entries.number,
                state::NUMBER
            );
            let before = format!("SELECT {}\nFROM (\n  {counted}{prepared}{rows}", outer.join(",\n       "));
            let after = format!("\n    )\n  )\n  GROUP BY {group}, {}\n)\nGROUP BY {group}\n{SETTINGS}", state::ENTRY);
            (before, after)
        }
    };
    Ok(Statement { table: table.name.clone(), fields, structure: inner.structure(table), before, after })
}

/// The type of a field's argument.
fn inner_type(field: &StateField, table: &TablePlan) -> Result<Type, Unsupported> {
    Ok(Argument::translate(field.argument.as_deref().unwrap_or_default(), table)?.ty)
}

fn check_key(key: &[Field]) -> Result<(), Unsupported> {
    match key.iter().find(|field| matches!(field.ty, Type::Strings | Type::Map)) {
        None => Ok(()),
        Some(field) => Err(Unsupported {
            what: format!("key {}", field.name),
            reason: format!("a key of type {} has no SQL", field.ty),
        }),
    }
}

#[cfg(test)]
mod tests;
