//! What Polars says about an expression, for the author of a definition.

use polars::error::PolarsError;
use polars::prelude::Schema;
use polars_sql::keywords::all_functions;
use tideline_common::plan::{ExpressionError, is_bare_function};

use crate::functions::SIGNATURES;

pub(crate) const TYPES: &str = "bool, int, float, string, timestamp, strings";
pub(crate) const NOT_ROW_WISE: &str =
    "must be row-wise: aggregates belong in measures; window functions, sorting and subqueries in reports";

/// The error, without the engine's own vocabulary.
pub(crate) fn friendly(error: &PolarsError, sql: &str, schema: &Schema) -> ExpressionError {
    let text = error.to_string();
    let at = position(&text, sql);
    // Polars adds the plan in which it happened after the first paragraph.
    let first = text.split("\n\n").next().unwrap_or(&text).trim();
    if let Some(name) = quoted_after(first, "unsupported function '") {
        let at = find_word(sql, name);
        return ExpressionError { message: unknown_function(name), at };
    }
    if let PolarsError::ColumnNotFound(name) = root(error) {
        let name = name.to_string();
        let name = quoted_after(&name, "\"").map_or(name.trim_matches('\'').to_owned(), str::to_owned);
        let at = find_word(sql, &name);
        return ExpressionError { message: unknown_column(&name, schema), at };
    }
    let message = ["sql parser error: ", "Sql interface error: ", "SQL error: ", "invalid operation: "]
        .iter()
        .fold(first.to_owned(), |text, noise| text.replace(noise, ""));
    ExpressionError { message, at }
}

fn root(error: &PolarsError) -> &PolarsError {
    match error {
        PolarsError::Context { error, .. } => root(error),
        other => other,
    }
}

fn quoted_after<'a>(text: &'a str, before: &str) -> Option<&'a str> {
    let rest = &text[text.find(before)? + before.len()..];
    rest.find(['\'', '"']).map(|end| &rest[..end])
}

fn unknown_function(name: &str) -> String {
    if is_bare_function(name) {
        return format!(
            "`{name}` alone is a function in SQL, and not one that is here; a column of that name is written in \
             double quotes: \"{name}\""
        );
    }
    let known = SIGNATURES.iter().map(|(name, _)| (*name).to_owned());
    let theirs = all_functions().into_iter().map(str::to_lowercase);
    let names: Vec<String> = known.chain(theirs).collect();
    match nearest(&name.to_lowercase(), names.iter().map(String::as_str)) {
        Some(like) => format!("unknown function `{name}`; did you mean `{like}`?"),
        None => {
            let ours: Vec<&str> = SIGNATURES.iter().map(|(_, signature)| *signature).collect();
            format!("unknown function `{name}`; besides SQL's there are {}", ours.join("; "))
        }
    }
}

fn unknown_column(name: &str, schema: &Schema) -> String {
    let names: Vec<&str> = schema.iter_names().map(polars::prelude::PlSmallStr::as_str).collect();
    match nearest(name, names.iter().copied()) {
        Some(like) => format!("unknown column `{name}`; did you mean `{like}`?"),
        None => format!("unknown column `{name}`; there are {}", names.join(", ")),
    }
}

/// Byte offset of a word in the expression.
fn find_word(sql: &str, word: &str) -> Option<usize> {
    sql.to_ascii_lowercase().find(&word.to_ascii_lowercase())
}

/// Where the parser stopped: it counts lines and columns from 1, and the expression begins on the second line.
fn position(text: &str, sql: &str) -> Option<usize> {
    let number = |after: &str| -> Option<usize> {
        let rest = &text[text.find(after)? + after.len()..];
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    let (line, column) = (number("Line: ")?, number("Column: ")?);
    let mut start = 0;
    for text in sql.split('\n').take(line.checked_sub(2)?) {
        start += text.len() + 1;
    }
    Some((start + column.saturating_sub(1)).min(sql.len()))
}

/// The name most like `name`, if one is like it: at most a third of its letters differ.
fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance * 3 <= name.len().max(candidate.len()))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(x != y)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}
