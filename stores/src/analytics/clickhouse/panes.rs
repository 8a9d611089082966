//! Panes out of the tables of views.

use tideline_common::key::Key;
use tideline_common::manifest::{Manifest, TimedFile};
use tideline_common::plan::Field;
use tideline_common::ports::{KeySelector, PanePage, PaneQuery, PortResult, ViewSchema};
use tideline_common::state::StateBatch;
use tideline_common::time::Timestamp;
use tideline_common::value::{Type, Value};

use super::names::{hex, literal, name};
use super::rowbinary::{Reader, StateRows};
use super::schema::{GoldTable, PANE, VERSIONS};
use super::server::{Param, Server, Statement};
use crate::analytics::parquet::scan::key_values;

/// Files that are named in a query; of more, the server looks up those of the version.
const FILES_NAMED: usize = 500;

/// The Gold files of this version of the view with panes of [from, to): none when the manifest has another.
fn overlapping<'a>(manifest: &'a Manifest, view: &ViewSchema, from: Timestamp, to: Timestamp) -> Vec<&'a TimedFile> {
    let overlaps = |file: &&TimedFile| file.rows > 0 && file.min_time < to && file.max_time >= from;
    match manifest.views.get(&view.name) {
        Some(files) if files.plan == view.version && from < to => files.files.iter().filter(overlaps).collect(),
        _ => Vec::new(),
    }
}

/// `SELECT` of the panes of [from, to) in `files`: the conditions go on with ` AND …`.
fn select(
    manifest: &Manifest,
    table: &GoldTable<'_>,
    files: &[&TimedFile],
    from: Timestamp,
    to: Timestamp,
) -> Statement {
    let mut statement = Statement::new(format!(
        "SELECT {} FROM {} WHERE {}",
        table.content_names(),
        name(&table.name()),
        name(&table.file_column())
    ));
    if files.len() <= FILES_NAMED {
        let files = statement.param(Param::Texts(files.iter().map(|file| file.path.clone()).collect()));
        statement.push(&format!(" IN {files}"));
    } else {
        let version = statement.param(Param::Unsigned(manifest.version));
        let table = literal(&table.name());
        statement.push(&format!(" IN (SELECT arrayJoin(files[{table}]) FROM {VERSIONS} WHERE version = {version})"));
    }
    for (comparison, time) in [(">=", from), ("<", to)] {
        let time = statement.param(Param::Int(time.0));
        statement.push(&format!(" AND {PANE} {comparison} fromUnixTimestamp64Micro({time}, 'UTC')"));
    }
    statement
}

/// A value of a key as an expression; `None` for null.
fn expression(statement: &mut Statement, value: &Value) -> Option<String> {
    Some(match value {
        Value::Bool(b) => (if *b { "true" } else { "false" }).to_owned(),
        Value::Int(i) => statement.param(Param::Int(*i)),
        // Every bit of it: digits might be rounded.
        Value::Float(x) => format!("reinterpretAsFloat64({})", statement.param(Param::Unsigned(x.to_bits()))),
        Value::String(s) => format!("unhex({})", statement.param(Param::Text(hex(s.as_bytes())))),
        Value::Timestamp(t) => format!("fromUnixTimestamp64Micro({}, 'UTC')", statement.param(Param::Int(t.0))),
        Value::Null | Value::Strings(_) | Value::Map(_) => return None,
    })
}

/// A condition: the column has the value. All NaNs are one key.
pub(super) fn equals(statement: &mut Statement, column: &str, value: &Value) -> String {
    let column = name(column);
    match expression(statement, value) {
        _ if matches!(value, Value::Float(x) if x.is_nan()) => format!("isNaN({column})"),
        Some(expression) => format!("{column} = {expression}"),
        None => format!("{column} IS NULL"),
    }
}

/// A condition: the key sorts after `values`, in the byte order of keys: null first, NaN last.
fn after(statement: &mut Statement, fields: &[Field], values: &[Value]) -> String {
    let mut condition = "false".to_owned();
    for (field, value) in fields.iter().zip(values).rev() {
        let column = name(&field.name);
        let greater = match (value, expression(statement, value)) {
            (Value::Float(x), _) if x.is_nan() => "false".to_owned(),
            (Value::Float(_), Some(expression)) => format!("({column} > {expression} OR isNaN({column}))"),
            (_, Some(expression)) => format!("{column} > {expression}"),
            (_, None) => format!("{column} IS NOT NULL"),
        };
        let equal = equals(statement, &field.name, value);
        // A comparison with null is null, and counts as false.
        condition = format!("(ifNull({greater}, false) OR (ifNull({equal}, false) AND {condition}))");
    }
    condition
}

/// The byte order of keys as `ORDER BY`.
fn order(fields: &[Field]) -> Vec<String> {
    let mut order = Vec::new();
    for field in fields {
        let column = name(&field.name);
        if field.ty == Type::Float {
            // `NULLS FIRST` would put NaN first too.
            order.push(format!("isNull({column}) DESC"));
            order.push(format!("{column} ASC NULLS LAST"));
        } else {
            order.push(format!("{column} ASC NULLS FIRST"));
        }
    }
    order
}

async fn fetch(server: &Server, view: &ViewSchema, statement: &Statement) -> PortResult<StateBatch> {
    let what = format!("reading panes of view {}", view.name);
    let new = || Reader::new(StateRows::new(&view.key, &view.fields));
    let reader = server.fetch(&what, statement, "RowBinary", new).await?;
    Ok(reader.rows.into_batch())
}

/// The same rows by key, then pane.
fn sorted(view: &ViewSchema, batch: StateBatch) -> StateBatch {
    let place = |row: usize| (batch.keys.get(row), batch.panes[row]);
    if (1..batch.len()).all(|row| place(row - 1) <= place(row)) {
        return batch;
    }
    let mut order: Vec<usize> = (0..batch.len()).collect();
    order.sort_unstable_by(|a, b| place(*a).cmp(&place(*b)));
    let mut out = StateBatch::new(&view.fields);
    for row in order {
        out.push_from(&batch, row);
    }
    out
}

/// See [`tideline_common::ports::Analytics::panes_between`].
pub(super) async fn panes_between(
    server: &Server,
    manifest: &Manifest,
    view: &ViewSchema,
    from: Timestamp,
    to: Timestamp,
) -> PortResult<StateBatch> {
    let files = overlapping(manifest, view, from, to);
    if files.is_empty() {
        return Ok(StateBatch::new(&view.fields));
    }
    let mut statement = select(manifest, &GoldTable::of_schema(view), &files, from, to);
    let mut order = order(&view.key);
    order.push(PANE.to_owned());
    statement.push(&format!(" ORDER BY {}", order.join(", ")));
    Ok(sorted(view, fetch(server, view, &statement).await?))
}

/// See [`tideline_common::ports::Analytics::panes`].
pub(super) async fn panes(
    server: &Server,
    manifest: &Manifest,
    view: &ViewSchema,
    query: &PaneQuery,
) -> PortResult<PanePage> {
    let files = overlapping(manifest, view, query.from, query.to);
    if files.is_empty() {
        return Ok(PanePage { panes: StateBatch::new(&view.fields), more_after: None });
    }
    let mut statement = select(manifest, &GoldTable::of_schema(view), &files, query.from, query.to);
    match &query.keys {
        KeySelector::One(key) => {
            for (field, value) in view.key.iter().zip(key_values(&view.key, key)?) {
                let condition = equals(&mut statement, &field.name, &value);
                statement.push(&format!(" AND {condition}"));
            }
            statement.push(&format!(" ORDER BY {PANE}"));
            Ok(PanePage { panes: sorted(view, fetch(server, view, &statement).await?), more_after: None })
        }
        KeySelector::All { after: last } => {
            if let Some(last) = last {
                let condition = after(&mut statement, &view.key, &key_values(&view.key, last)?);
                statement.push(&format!(" AND {condition}"));
            }
            let max = query.max_rows.max(1);
            if view.key.is_empty() {
                // One key: all of it.
                let panes = sorted(view, fetch(server, view, &statement).await?);
                return Ok(PanePage { panes, more_after: None });
            }
            // Whole keys: rows that sort like the last one come too. One row more may tell that another key follows.
            let limit = statement.param(Param::Unsigned((max as u64).saturating_add(1)));
            statement.push(&format!(" ORDER BY {} LIMIT {limit} WITH TIES", order(&view.key).join(", ")));
            Ok(page(view, sorted(view, fetch(server, view, &statement).await?), max))
        }
    }
}

/// Rows up to the end of the key with which `max` rows are reached. `batch` has one row more than that, if there is one,
/// and all rows of the keys that it has.
fn page(view: &ViewSchema, batch: StateBatch, max: usize) -> PanePage {
    if batch.len() <= max {
        return PanePage { panes: batch, more_after: None };
    }
    let last = Key(batch.keys.get(max - 1).to_vec());
    let panes = match (max..batch.len()).find(|row| batch.keys.get(*row) != last.as_bytes()) {
        Some(end) => {
            let mut panes = StateBatch::new(&view.fields);
            (0..end).for_each(|row| panes.push_from(&batch, row));
            panes
        }
        // The row more is of the same key: whether another key follows is not known.
        None => batch,
    };
    PanePage { panes, more_after: Some(last) }
}
