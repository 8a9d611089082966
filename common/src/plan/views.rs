//! Views: from measures to states, from formulas to an order in which they can be computed.

use std::collections::HashMap;
use std::ops::Range;

use super::compile::{Column, Compiler, Rows};
use super::expression;
use super::{Computed, Field, Measure, Plan, ViewPlan, hash};
use crate::aggregate::{Aggregate, AggregateError, Function};
use crate::definition::{self, Placed, Text};
use crate::formula::Formula;
use crate::state::StateField;
use crate::time::Span;
use crate::value::Type;
use crate::window::{Window, WindowError};

/// A view as compiled, with what others may say about its columns.
pub(super) struct Compiled {
    pub(super) plan: ViewPlan,
    /// Key, window and answer columns.
    pub(super) rows: Vec<Column>,
}

/// Compiles a view; tables and sources are in `plan`.
pub(super) fn view(compiler: &mut Compiler<'_>, view: &definition::View, plan: &Plan) -> Compiled {
    let window = window(compiler, view);
    let mut tables: Vec<String> = Vec::new();
    let mut fields = Vec::new();
    let mut measures = Vec::new();
    // Name → type, `None` when it depends on a mistake.
    let mut types: HashMap<&str, Option<Type>> = HashMap::new();
    for measure in &view.measures {
        let compiled = self::measure(compiler, measure, plan, &mut tables, &mut fields);
        types.insert(&measure.name.value, compiled.as_ref().map(|m| m.ty));
        measures.extend(compiled);
    }
    if view.measures.is_empty() {
        compiler.error(&view.name, format!("view `{}` has no measure", view.name.value));
    }
    let key = key(compiler, view, &tables);
    let columns = formulas(compiler, view, &measures, &mut types);
    let mut written: Vec<&Text> =
        view.measures.iter().map(|m| &m.name).chain(view.columns.iter().map(|c| &c.name)).collect();
    written.sort_by_key(|name| name.place.start);
    for name in &written {
        if view.key.iter().any(|key| key.value == name.value) {
            compiler.error(name, format!("`{}` is a key column of the view already", name.value));
        }
    }
    let answer: Vec<Column> =
        written.iter().map(|n| (n.value.clone(), types.get(n.value.as_str()).copied().flatten())).collect();
    top(compiler, view, &answer);
    let mut rows: Vec<Column> = view.key.iter().map(|k| k.value.clone()).zip(key.iter().map(|k| k.1)).collect();
    for bound in ["window_start", "window_end"] {
        rows.push((bound.to_owned(), Some(Type::Timestamp)));
    }
    rows.extend(answer.iter().cloned());
    let mut sources: Vec<String> = tables.iter().filter_map(|t| plan.table(t)).map(|t| t.source.clone()).collect();
    sources.sort();
    sources.dedup();
    let field = |(name, ty): &Column| Field { name: name.clone(), ty: ty.unwrap_or(Type::String) };
    let mut compiled = ViewPlan {
        name: view.name.value.clone(),
        key: key.iter().map(field).collect(),
        window,
        pane: window.pane(),
        measures,
        columns,
        answer: answer.iter().map(field).collect(),
        fields,
        sources,
        retain_speed: view.retain_speed.as_ref().map(|r| r.value),
        retain_batch: view.retain_batch.as_ref().map(|r| r.value),
        top: view.top.iter().map(|t| t.value.clone()).collect(),
        version: String::new(),
        tables,
    };
    let inputs: Vec<(String, String, i64)> = compiled
        .tables
        .iter()
        .filter_map(|t| plan.table(t))
        .map(|t| (t.name.clone(), t.version.clone(), plan.source(&t.source).map_or(0, |s| s.lateness.0)))
        .collect();
    compiled.version = hash::view(&compiled, &inputs);
    for (table, _, lateness) in &inputs {
        // A record that is on time for a window must find Silver that it can be added to.
        let needed = Span(window.size.0.saturating_add(*lateness));
        if let Some(kept) = plan.table(table).and_then(|table| table.retain_silver)
            && kept < needed
        {
            let message =
                format!("table `{table}` keeps Silver for {kept}, shorter than window and lateness, {needed}");
            compiler.error(&view.name, message);
        }
    }
    Compiled { plan: compiled, rows }
}

/// The window, or any when there is none that makes sense (which was reported).
fn window(compiler: &mut Compiler<'_>, view: &definition::View) -> Window {
    let fallback = Window { size: Span::MINUTE, slide: Span::MINUTE };
    let Some(size) = &view.size else { return fallback };
    let slide = view.slide.as_ref().unwrap_or(size);
    let window = match Window::new(size.value, slide.value) {
        Ok(window) => window,
        Err(error) => {
            let place = if error == WindowError::NotPositive && size.value.0 <= 0 { &size.place } else { &slide.place };
            compiler.findings.error(place, error.to_string());
            return fallback;
        }
    };
    if let Err(error) = window.check_panes(window.pane()) {
        compiler.findings.error(&slide.place, error.to_string());
    }
    for retain in [&view.retain_speed, &view.retain_batch].into_iter().flatten() {
        let Placed { value, place } = retain;
        if *value < window.size {
            let message = format!("kept for {value}, which is shorter than the window, {}", window.size);
            compiler.findings.add(place, message, Some(format!("keep states for {} at least", window.size)));
        }
    }
    window
}

/// Key columns: in every table, of one type.
fn key(compiler: &mut Compiler<'_>, view: &definition::View, tables: &[String]) -> Vec<Column> {
    let all: Vec<Rows> =
        tables.iter().filter_map(|name| compiler.tables.iter().find(|rows| rows.name == *name).cloned()).collect();
    let mut key = Vec::new();
    for column in &view.key {
        let mut first: Option<(Type, &str)> = None;
        if ["key", "window_start", "window_end"].contains(&column.value.as_str()) {
            compiler.error(column, format!("`{}` is a column that is always there: choose another name", column.value));
        }
        for rows in &all {
            let of = format!("table `{}`, which a measure of this view is over", rows.name);
            let Some(ty) = compiler.column(column, rows, &of) else { continue };
            if matches!(ty, Type::Strings | Type::Map) {
                compiler.error(column, format!("a key is a single value, and `{}` is of type {ty}", column.value));
                break;
            }
            match first {
                Some((other, table)) if other != ty => {
                    let message = format!(
                        "key `{}` is of type {other} in table `{table}`, but of type {ty} in `{}`",
                        column.value, rows.name
                    );
                    compiler.findings.add(&column.place, message, Some("convert one: CAST(column AS VARCHAR)".into()));
                }
                _ => first = first.or(Some((ty, rows.name.as_str()))),
            }
        }
        key.push((column.value.clone(), first.map(|(ty, _)| ty)));
    }
    key
}

fn measure(
    compiler: &mut Compiler<'_>,
    measure: &definition::Measure,
    plan: &Plan,
    tables: &mut Vec<String>,
    fields: &mut Vec<StateField>,
) -> Option<Measure> {
    let table = measure.table.as_ref().and_then(|t| compiler.find(t, "table", &plan.tables, |t| &t.name));
    if let Some(table) = table
        && !tables.contains(&table.name)
    {
        tables.push(table.name.clone());
    }
    let agg = measure.agg.as_ref()?;
    let sql = agg.value.trim().to_owned();
    let Some(call) = expression::call(&agg.value) else {
        let message = "a measure is one aggregate, such as count() or avg(x)";
        compiler.findings.add(&agg.place, message, Some("compute with measures in `columns`".into()));
        return None;
    };
    let mut arguments = call.arguments.as_slice();
    if let [star] = arguments
        && &agg.value[star.clone()] == "*"
    {
        arguments = &[];
    }
    let constant = arguments.get(1).and_then(|second| agg.value[second.clone()].parse().ok());
    let function = match Function::named(&agg.value[call.name.clone()], arguments.len(), constant) {
        Ok(function) => function,
        Err(error) => {
            let place = match &error {
                AggregateError::Quantile => arguments.get(1).unwrap_or(&call.name),
                _ => &call.name,
            };
            compiler.findings.error(&agg.place_of(place.clone()), error.to_string());
            return None;
        }
    };
    let table = table?;
    let rows = compiler.tables.iter().find(|rows| rows.name == table.name)?.clone();
    let argument = match arguments.first() {
        None => None,
        Some(range) => {
            let text = agg.part(range.clone());
            let ty = compiler.expression(&text, &rows, &format!("table `{}`", table.name))?;
            Some((text, ty))
        }
    };
    let place: Range<usize> = argument.as_ref().map_or_else(|| agg.place.clone(), |(text, _)| text.place.clone());
    let aggregate = match Aggregate::new(function, argument.map(|(text, ty)| (text.value, ty))) {
        Ok(aggregate) => aggregate,
        Err(error) => {
            compiler.findings.error(&place, error.to_string());
            return None;
        }
    };
    Some(Measure {
        name: measure.name.value.clone(),
        table: table.name.clone(),
        states: states(&aggregate, &table.name, &measure.name.value, fields),
        ty: aggregate.result_type(),
        aggregate,
        sql,
    })
}

/// Lays out the states of an aggregate; those that are there already are shared.
fn states(aggregate: &Aggregate, table: &str, measure: &str, fields: &mut Vec<StateField>) -> Vec<usize> {
    let mut indexes = Vec::new();
    for spec in aggregate.states() {
        // What takes no value of the argument is the same for all of them.
        let argument = if spec.input == crate::state::Input::One { None } else { aggregate.argument.clone() };
        let same = |field: &StateField| {
            field.rule == spec.rule
                && field.ty == spec.ty
                && field.input == spec.input
                && field.table == table
                && field.argument == argument
        };
        let index = fields.iter().position(same).unwrap_or_else(|| {
            let base = argument
                .as_deref()
                .filter(|a| is_word(a))
                .map_or_else(|| if argument.is_none() { table.to_owned() } else { measure.to_owned() }, str::to_owned);
            let stem = format!("{base}__{}", spec.suffix);
            let taken = |name: &str| fields.iter().any(|field| field.name == name);
            let mut name = stem.clone();
            let mut number = 2;
            while taken(&name) {
                name = format!("{stem}_{number}");
                number += 1;
            }
            fields.push(StateField {
                name,
                rule: spec.rule,
                ty: spec.ty,
                input: spec.input,
                table: table.to_owned(),
                argument,
            });
            fields.len() - 1
        });
        indexes.push(index);
    }
    indexes
}

fn is_word(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Compiles formulas, those first that others are over; a cycle is reported with its path.
fn formulas<'d>(
    compiler: &mut Compiler<'_>,
    view: &'d definition::View,
    measures: &[Measure],
    types: &mut HashMap<&'d str, Option<Type>>,
) -> Vec<Computed> {
    let mut over: Vec<Vec<usize>> = Vec::new();
    let position = |name: &str| view.columns.iter().position(|c| c.name.value == name);
    for column in &view.columns {
        let references = column.sql.as_ref().and_then(|sql| Formula::references_of(&sql.value).ok());
        over.push(references.unwrap_or_default().iter().filter_map(|r| position(&r.name)).collect());
    }
    let (order, cyclic) = sort(compiler, view, &over);
    let mut scope: Vec<Field> = measures.iter().map(|m| Field { name: m.name.clone(), ty: m.ty }).collect();
    let mut computed = Vec::new();
    for at in order {
        let column = &view.columns[at];
        let Some(sql) = &column.sql else {
            types.insert(&column.name.value, None);
            continue;
        };
        let references = Formula::references_of(&sql.value).unwrap_or_default();
        // Over something broken nothing can be said; its own mistake was reported.
        let broken = cyclic[at] || references.iter().any(|r| matches!(types.get(r.name.as_str()), Some(None)));
        let compiled = if broken { None } else { compiler.formula(sql, &scope) };
        types.insert(&column.name.value, compiled.as_ref().map(|(_, ty)| *ty));
        if let Some((formula, ty)) = compiled {
            scope.push(Field { name: column.name.value.clone(), ty });
            computed.push(Computed { name: column.name.value.clone(), formula, ty });
        }
    }
    computed
}

/// An order in which each comes after what it is over, and which of them are in or behind a cycle.
fn sort(compiler: &mut Compiler<'_>, view: &definition::View, over: &[Vec<usize>]) -> (Vec<usize>, Vec<bool>) {
    let (mut order, mut done, mut cyclic) = (Vec::new(), vec![false; over.len()], vec![false; over.len()]);
    for start in 0..over.len() {
        // (formula, how many of what it is over were looked at): a stack of our own, as files are of any length.
        let mut path: Vec<(usize, usize)> = if done[start] { Vec::new() } else { vec![(start, 0)] };
        while let Some((at, next)) = path.last_mut() {
            let at = *at;
            if let Some(&to) = over[at].get(*next) {
                *next += 1;
                if let Some(from) = path.iter().position(|(on, _)| *on == to) {
                    let names: Vec<&str> = path[from..]
                        .iter()
                        .map(|(on, _)| *on)
                        .chain([to])
                        .map(|on| view.columns[on].name.value.as_str())
                        .collect();
                    let message = format!("formulas are defined by each other: {}", names.join(" → "));
                    compiler.error(&view.columns[to].name, message);
                    path[from..].iter().for_each(|(on, _)| cyclic[*on] = true);
                } else if !done[to] {
                    path.push((to, 0));
                }
            } else {
                path.pop();
                done[at] = true;
                cyclic[at] |= over[at].iter().any(|on| cyclic[*on]);
                order.push(at);
            }
        }
    }
    (order, cyclic)
}

fn top(compiler: &mut Compiler<'_>, view: &definition::View, answer: &[Column]) {
    let rows = Rows { name: view.name.value.clone(), columns: answer.to_vec(), complete: true };
    for column in &view.top {
        let of = format!("view `{}`", rows.name);
        if let Some(ty) = compiler.column(column, &rows, &of)
            && !ty.is_numeric()
        {
            compiler.error(column, format!("a ranking is by a number, and `{}` is of type {ty}", column.value));
        }
    }
}
