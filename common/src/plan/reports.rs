//! Reports: the columns that each step takes and gives, so that a wrong name is found before a run.

use sqlparser::ast::{Expr, SelectItem, SetExpr};

use super::compile::{Column, Compiler, Rows, fields};
use super::expression::{self, Names};
use super::functions::locate;
use super::{EVENT_TIME, Field, JoinTime, Plan, ReportPlan, Step, hash};
use crate::definition::{self, Text, did_you_mean};
use crate::value::Type;

/// The name of the result so far.
const INPUT: &str = "input";

struct State<'p> {
    plan: &'p Plan,
    from: String,
    /// The result so far.
    rows: Rows,
    inputs: Vec<String>,
    /// Whether an `sql` step has been: after it, `from` names the table itself.
    after_sql: bool,
}

/// Compiles a report; tables and views are in `plan`.
pub(super) fn report(compiler: &mut Compiler<'_>, report: &definition::Report, plan: &Plan) -> ReportPlan {
    let rows = report.from.as_ref().and_then(|from| table_or_view(compiler, from));
    let from = rows.as_ref().map_or_else(String::new, |rows| rows.name.clone());
    let mut state = State {
        plan,
        inputs: rows.iter().map(|rows| rows.name.clone()).collect(),
        rows: rows.unwrap_or_else(nothing),
        after_sql: false,
        from: from.clone(),
    };
    let mut steps = Vec::new();
    for step in &report.steps {
        steps.extend(self::step(compiler, step, &mut state));
    }
    for column in &report.order_by {
        compiler.column(column, &state.rows, "the result");
    }
    let mut compiled = ReportPlan {
        name: report.name.value.clone(),
        from,
        steps,
        inputs: state.inputs,
        order_by: report.order_by.iter().map(|c| c.value.clone()).collect(),
        version: String::new(),
    };
    let versions: Vec<(String, String)> =
        compiled.inputs.iter().map(|name| (name.clone(), version(plan, name))).collect();
    compiled.version = hash::report(&compiled, &versions);
    compiled
}

/// Version of a table; of a view, with its measures and formulas, which a report reads.
fn version(plan: &Plan, name: &str) -> String {
    let formulas = |view: &super::ViewPlan| {
        let measures = view.measures.iter().map(|m| format!("{}={}", m.name, m.sql));
        let columns = view.columns.iter().map(|c| format!("{}={}", c.name, c.formula.sql));
        measures.chain(columns).fold(view.version.clone(), |all, one| format!("{all};{one}"))
    };
    plan.table(name).map(|t| t.version.clone()).or_else(|| plan.view(name).map(formulas)).unwrap_or_default()
}

/// Columns of which nothing is known.
const fn nothing() -> Rows {
    Rows { name: String::new(), columns: Vec::new(), complete: false }
}

fn table_or_view(compiler: &mut Compiler<'_>, name: &Text) -> Option<Rows> {
    let all: Vec<Rows> = compiler.tables.iter().chain(&compiler.views).cloned().collect();
    compiler.find(name, "table or view", &all, |rows| &rows.name).cloned()
}

fn step(compiler: &mut Compiler<'_>, step: &definition::Step, state: &mut State<'_>) -> Option<Step> {
    match step {
        definition::Step::Unknown => {
            state.rows = nothing();
            None
        }
        definition::Step::Sql(sql) => {
            state.rows = select(compiler, sql, state).unwrap_or_else(nothing);
            state.after_sql = true;
            Some(Step::Sql { sql: sql.value.clone() })
        }
        definition::Step::Rolling { column, agg, rows, over, order_by, output } => {
            let ty = input(compiler, column, state);
            if let Some(ty) = ty.filter(|ty| !ty.is_numeric()) {
                compiler.error(column, format!("`{agg}` is of numbers, and `{}` is of type {ty}", column.value));
            }
            for column in over.iter().chain([order_by]) {
                input(compiler, column, state);
            }
            let ty = if matches!(agg.as_str(), "mean" | "std") { Some(Type::Float) } else { ty };
            add(compiler, &mut state.rows, output, ty);
            Some(Step::Rolling {
                column: column.value.clone(),
                agg: agg.clone(),
                rows: *rows,
                over: values(over),
                order_by: order_by.value.clone(),
                output: output.value.clone(),
            })
        }
        definition::Step::Pivot { on, index, values: cells, agg, columns, prefix } => {
            input(compiler, on, state);
            let ty = input(compiler, cells, state);
            let mut result = Rows { name: String::new(), columns: Vec::new(), complete: true };
            for column in index {
                let ty = input(compiler, column, state);
                result.columns.push((column.value.clone(), ty));
            }
            let numeric = matches!(agg.as_str(), "sum" | "mean");
            if let Some(ty) = ty.filter(|ty| numeric && !ty.is_numeric()) {
                compiler.error(cells, format!("`{agg}` is of numbers, and `{}` is of type {ty}", cells.value));
            }
            let ty = match agg.as_str() {
                "count" => Some(Type::Int),
                "mean" => Some(Type::Float),
                _ => ty,
            };
            for value in columns {
                let mut name = value.clone();
                name.value.insert_str(0, prefix);
                add(compiler, &mut result, &name, ty);
            }
            state.rows = result;
            Some(Step::Pivot {
                on: on.value.clone(),
                index: values(index),
                values: cells.value.clone(),
                agg: agg.clone(),
                columns: values(columns),
                prefix: prefix.clone(),
            })
        }
        definition::Step::Join { with, on, time, how, suffix, left_time, right_time, place } => {
            let right = table_or_view(compiler, with).unwrap_or_else(nothing);
            note(state, &right.name);
            let of = format!("`{}`", with.value);
            for (left_column, right_column) in on {
                let left = input(compiler, left_column, state);
                let right = compiler.column(right_column, &right, &of);
                if let (Some(left), Some(right)) = (left, right)
                    && left != right
                {
                    let message = format!("`{}` is of type {left}, but of type {right} in {of}", left_column.value);
                    compiler.error(left_column, message);
                }
            }
            let timed = *time != JoinTime::Any;
            let left_time = time_column(compiler, left_time.as_ref(), &state.rows, "the result so far", timed, place);
            let right_time = time_column(compiler, right_time.as_ref(), &right, &of, timed, place);
            for (name, ty) in &right.columns {
                if on.iter().any(|(_, column)| column.value == *name) {
                    continue;
                }
                let taken = state.rows.get(name).is_some();
                let name = if taken { format!("{name}{suffix}") } else { name.clone() };
                if state.rows.get(&name).is_some() {
                    let message = format!("the join makes column `{name}` twice: choose another suffix");
                    compiler.findings.error(place, message);
                } else {
                    state.rows.columns.push((name, *ty));
                }
            }
            state.rows.complete &= right.complete;
            Some(Step::Join {
                with: with.value.clone(),
                on: on.iter().map(|(l, r)| (l.value.clone(), r.value.clone())).collect(),
                time: *time,
                how: how.clone(),
                suffix: suffix.clone(),
                left_time,
                right_time,
            })
        }
    }
}

fn values(texts: &[Text]) -> Vec<String> {
    texts.iter().map(|text| text.value.clone()).collect()
}

fn note(state: &mut State<'_>, name: &str) {
    if !name.is_empty() && !state.inputs.iter().any(|input| input == name) {
        state.inputs.push(name.to_owned());
    }
}

fn input(compiler: &mut Compiler<'_>, column: &Text, state: &State<'_>) -> Option<Type> {
    compiler.column(column, &state.rows, "the result so far")
}

fn add(compiler: &mut Compiler<'_>, rows: &mut Rows, name: &Text, ty: Option<Type>) {
    if rows.get(&name.value).is_some() {
        compiler.error(name, format!("the result has a column `{}` already", name.value));
    } else {
        rows.columns.push((name.value.clone(), ty));
    }
}

/// The time column of one side of a join; by default `event_time`, of a view `window_start`.
fn time_column(
    compiler: &mut Compiler<'_>,
    given: Option<&Text>,
    rows: &Rows,
    of: &str,
    timed: bool,
    place: &definition::Place,
) -> String {
    if let Some(given) = given {
        if let Some(ty) = compiler.column(given, rows, of)
            && ty != Type::Timestamp
        {
            compiler.error(given, format!("a time is of type timestamp, and `{}` is of type {ty}", given.value));
        }
        return given.value.clone();
    }
    if rows.get(EVENT_TIME).is_none() && rows.get("window_start").is_some() {
        return "window_start".to_owned();
    }
    if timed && rows.complete && rows.get(EVENT_TIME).is_none() {
        let help = Some("say which with left_time and right_time".to_owned());
        compiler.findings.add(place, format!("{of} has neither event_time nor window_start"), help);
    }
    EVENT_TIME.to_owned()
}

/// Checks a SELECT and says what columns it gives, when that can be said.
fn select(compiler: &mut Compiler<'_>, sql: &Text, state: &mut State<'_>) -> Option<Rows> {
    let before = compiler.findings.len();
    let (query, names) = match expression::select(&sql.value) {
        Ok(parsed) => parsed,
        Err(error) => {
            let place = error.at.map_or_else(|| sql.place.clone(), |at| sql.place_of(at..at));
            compiler.findings.error(&place, error.message);
            return None;
        }
    };
    let mut tables: Vec<Rows> = Vec::new();
    for (name, place) in &names.relations {
        if names.defined.contains(name) {
            continue;
        }
        if name == INPUT || (*name == state.from && !state.after_sql) {
            tables.push(Rows { name: name.clone(), ..state.rows.clone() });
        } else if let Some(rows) = compiler.tables.iter().chain(&compiler.views).find(|rows| rows.name == *name) {
            tables.push(rows.clone());
            note(state, name);
        } else if !state.from.is_empty() {
            let known = [INPUT].into_iter().chain(state.plan.tables.iter().map(|t| t.name.as_str()));
            let known: Vec<&str> = known.chain(state.plan.views.iter().map(|v| v.name.as_str())).collect();
            let help = did_you_mean(name, known);
            compiler.findings.add(&sql.place_of(place.clone()), format!("unknown table or view `{name}`"), help);
        }
    }
    // Reported here, or a table whose own name could not be found.
    let found = names.relations.iter().filter(|(name, _)| !names.defined.contains(name)).count() == tables.len();
    let body = if let SetExpr::Select(select) = query.body.as_ref() { Some(select) } else { None };
    let simple = names.queries == 1 && tables.len() == names.relations.len() && tables.iter().all(|t| t.complete);
    if let Some(select) = body.filter(|_| simple) {
        let aliases: Vec<&str> = select.projection.iter().filter_map(alias).collect();
        columns(compiler, sql, &names, &tables, &aliases);
    }
    if compiler.findings.len() > before
        || !found
        || tables.iter().any(|t| !t.complete || t.columns.iter().any(|c| c.1.is_none()))
    {
        return body.filter(|_| simple).and_then(|select| projected(&select.projection, &tables));
    }
    let typed: Vec<(String, Vec<Field>)> = tables.iter().map(|t| (t.name.clone(), fields(t))).collect();
    let typed: Vec<(&str, &[Field])> = typed.iter().map(|(name, fields)| (name.as_str(), fields.as_slice())).collect();
    match compiler.types.columns_of(&sql.value, &typed) {
        Ok(Some(columns)) => Some(Rows {
            name: String::new(),
            columns: columns.into_iter().map(|field| (field.name, Some(field.ty))).collect(),
            complete: true,
        }),
        Ok(None) => body.filter(|_| simple).and_then(|select| projected(&select.projection, &tables)),
        Err(error) => {
            let (place, help) = locate(sql, &error.message, error.at, &names);
            compiler.findings.add(&place, error.message, help);
            None
        }
    }
}

fn alias(item: &SelectItem) -> Option<&str> {
    if let SelectItem::ExprWithAlias { alias, .. } = item { Some(&alias.value) } else { None }
}

/// Every column that a plain SELECT names is one of its tables', or one that it defines.
fn columns(compiler: &mut Compiler<'_>, sql: &Text, names: &Names, tables: &[Rows], aliases: &[&str]) {
    for (name, place) in &names.columns {
        if aliases.contains(&name.as_str()) || tables.iter().any(|rows| rows.get(name).is_some()) {
            continue;
        }
        let known = tables
            .iter()
            .flat_map(|rows| rows.columns.iter().map(|(name, _)| name.as_str()))
            .chain(aliases.iter().copied());
        let help = did_you_mean(name, known);
        compiler.findings.add(&sql.place_of(place.clone()), format!("unknown column `{name}`"), help);
    }
    for (table, name, place) in &names.qualified {
        // An alias of a table is not looked into.
        if let Some(rows) = tables.iter().find(|rows| rows.name == *table)
            && rows.get(name).is_none()
        {
            let help = did_you_mean(name, rows.columns.iter().map(|(name, _)| name.as_str()));
            compiler.findings.add(&sql.place_of(place.clone()), format!("unknown column `{name}` of `{table}`"), help);
        }
    }
}

/// The columns of a projection, when each has a name that does not depend on the engine.
fn projected(items: &[SelectItem], tables: &[Rows]) -> Option<Rows> {
    let type_of = |name: &str| tables.iter().find_map(|rows| rows.get(name)).and_then(|(_, ty)| *ty);
    let mut all: Vec<Column> = Vec::new();
    for item in items {
        match item {
            SelectItem::UnnamedExpr(Expr::Identifier(ident)) => all.push((ident.value.clone(), type_of(&ident.value))),
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => {
                let name = &parts.last()?.value;
                all.push((name.clone(), type_of(name)));
            }
            SelectItem::ExprWithAlias { expr: Expr::Identifier(ident), alias } => {
                all.push((alias.value.clone(), type_of(&ident.value)));
            }
            SelectItem::ExprWithAlias { alias, .. } => all.push((alias.value.clone(), None)),
            SelectItem::Wildcard(_) if tables.len() == 1 => all.extend(tables[0].columns.iter().cloned()),
            _ => return None,
        }
    }
    Some(Rows { name: String::new(), columns: all, complete: true })
}
