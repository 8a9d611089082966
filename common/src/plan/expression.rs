//! What can be said of an SQL text before an engine sees it: the names in it, with their places.

use std::ops::{ControlFlow, Range};

use sqlparser::ast::{Expr, FunctionArguments, Ident, ObjectName, Query, Statement, Visit, Visitor};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use super::functions::UNSTABLE;
use super::quoting::{self, offset};

/// Names found in an SQL text. Places are byte ranges of it.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Columns that are written on their own.
    pub(super) columns: Vec<(String, Range<usize>)>,
    /// Columns that are written with a table: (table, column).
    pub(super) qualified: Vec<(String, String, Range<usize>)>,
    /// Functions, in lower case.
    pub(super) functions: Vec<(String, Range<usize>)>,
    /// Tables.
    pub(super) relations: Vec<(String, Range<usize>)>,
    /// What a common table expression or an alias of a table defines.
    pub(super) defined: Vec<String>,
    /// Functions called with OVER.
    pub(super) windowed: Vec<Range<usize>>,
    /// Number of queries, nested ones included.
    pub(super) queries: usize,
}

/// A text that is not SQL.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) message: String,
    pub(super) at: Option<usize>,
}

/// Parses one expression over rows whose columns `is_column` knows.
pub(super) fn expression(sql: &str, is_column: impl Fn(&str) -> bool) -> Result<(Expr, Names), SyntaxError> {
    let tokens = quoting::tokens(sql, &is_column).map_err(|e| syntax(sql, &e.into()))?;
    let parsed = parse_tokens(sql, tokens);
    let unknown = |names: &Names| names.columns.iter().find(|(name, _)| !is_column(name)).map(|(_, place)| place.start);
    let fits = |tokens| parse_tokens(sql, tokens).is_ok_and(|(_, names)| unknown(&names).is_none());
    let (at, message) = match &parsed {
        Err(error) => (error.at, format!("{}; ", error.message)),
        // `not IS NULL` parses as the negation of a column `IS`.
        Ok((_, names)) => match unknown(names) {
            Some(at) => (Some(at), String::new()),
            None => return parsed,
        },
    };
    match quoting::advice(sql, &is_column, fits) {
        Some(advice) => Err(SyntaxError { message: format!("{message}{advice}"), at }),
        None => parsed,
    }
}

fn parse_tokens(sql: &str, tokens: Vec<TokenWithSpan>) -> Result<(Expr, Names), SyntaxError> {
    let dialect = GenericDialect {};
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    let parsed = parser.parse_expr().map_err(|e| syntax(sql, &e))?;
    let next = parser.peek_token();
    if next.token != Token::EOF {
        let at = offset(sql, next.span.start);
        return Err(SyntaxError { message: format!("unexpected `{}` after the expression", next.token), at: Some(at) });
    }
    let names = names(sql, &parsed);
    Ok((parsed, names))
}

/// Parses one SELECT.
pub(super) fn select(sql: &str) -> Result<(Box<Query>, Names), SyntaxError> {
    let mut statements = Parser::parse_sql(&GenericDialect {}, sql).map_err(|e| syntax(sql, &e))?;
    match (statements.pop(), statements.is_empty()) {
        (Some(Statement::Query(query)), true) => {
            let names = names(sql, query.as_ref());
            Ok((query, names))
        }
        (Some(_), true) => Err(SyntaxError { message: "a step is a SELECT".into(), at: Some(0) }),
        _ => Err(SyntaxError { message: "a step is exactly one SELECT".into(), at: Some(0) }),
    }
}

fn syntax(sql: &str, error: &ParserError) -> SyntaxError {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.clone(),
        ParserError::RecursionLimitExceeded => "nested too deeply".to_owned(),
    };
    let (message, at) = match text.rsplit_once(" at Line: ") {
        Some((message, place)) => {
            let mut numbers = place.split(", Column: ").map(|n| n.trim().parse::<u64>().ok());
            let at = match (numbers.next().flatten(), numbers.next().flatten()) {
                (Some(line), Some(column)) => Some(offset(sql, Location { line, column })),
                _ => None,
            };
            (message.to_owned(), at)
        }
        // What is missing is missing at the end.
        None if text.ends_with("EOF") => (text, Some(sql.trim_end().len())),
        None => (text, None),
    };
    SyntaxError { message: format!("not SQL: {message}"), at }
}

fn names(sql: &str, node: &impl Visit) -> Names {
    let mut collector = Collector { sql, names: Names::default() };
    let _ = node.visit(&mut collector);
    collector.names
}

struct Collector<'a> {
    sql: &'a str,
    names: Names,
}

impl Collector<'_> {
    fn place(&self, ident: &Ident) -> Range<usize> {
        offset(self.sql, ident.span.start)..offset(self.sql, ident.span.end)
    }

    fn object(&self, name: &ObjectName) -> Option<(String, Range<usize>)> {
        let ident = name.0.last()?.as_ident()?;
        Some((ident.value.clone(), self.place(ident)))
    }
}

impl Visitor for Collector<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.names.queries += 1;
        if let Some(with) = &query.with {
            self.names.defined.extend(with.cte_tables.iter().map(|cte| cte.alias.name.value.clone()));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let found = self.object(relation);
        self.names.relations.extend(found);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(ident) => {
                let place = self.place(ident);
                self.names.columns.push((ident.value.clone(), place));
            }
            Expr::CompoundIdentifier(parts) => {
                if let [.., table, column] = parts.as_slice() {
                    let place = self.place(column);
                    self.names.qualified.push((table.value.clone(), column.value.clone(), place));
                }
            }
            Expr::Function(function) => {
                if let Some((name, place)) = self.object(&function.name) {
                    // Such as `user`: no engine here has these functions, so that a column is meant.
                    let bare = matches!(function.args, FunctionArguments::None);
                    if bare && !UNSTABLE.contains(&name.to_ascii_lowercase().as_str()) {
                        self.names.columns.push((name, place));
                        return ControlFlow::Continue(());
                    }
                    if function.over.is_some() {
                        self.names.windowed.push(place.clone());
                    }
                    self.names.functions.push((name.to_ascii_lowercase(), place));
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// A call that is the whole of a text: `name(argument, …)`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// The function.
    pub(super) name: Range<usize>,
    /// Its arguments, trimmed.
    pub(super) arguments: Vec<Range<usize>>,
}

/// The call that `sql` is, if it is one and nothing else.
pub(super) fn call(sql: &str) -> Option<Call> {
    let start = sql.len() - sql.trim_start().len();
    let name_length = sql[start..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
    let name = start..start + name_length;
    let open = name.end + sql[name.end..].find(|c: char| !c.is_whitespace())?;
    if name.is_empty() || sql.as_bytes()[open] != b'(' {
        return None;
    }
    let (mut depth, mut quote, mut from) = (0_usize, None, open + 1);
    let mut arguments = Vec::new();
    for (at, c) in sql[open..].char_indices().map(|(at, c)| (open + at, c)) {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"' | '`') => quote = Some(c),
            (None, '(' | '[') => depth += 1,
            (None, ')' | ']') => {
                depth -= 1;
                if depth == 0 {
                    if !sql[at + 1..].trim().is_empty() {
                        return None;
                    }
                    let last = trim(sql, from..at);
                    if !(arguments.is_empty() && last.is_empty()) {
                        arguments.push(last);
                    }
                    return Some(Call { name, arguments });
                }
            }
            (None, ',') if depth == 1 => {
                arguments.push(trim(sql, from..at));
                from = at + 1;
            }
            _ => {}
        }
    }
    None
}

fn trim(sql: &str, range: Range<usize>) -> Range<usize> {
    let part = &sql[range.clone()];
    let start = range.start + (part.len() - part.trim_start().len());
    start..start + part.trim().len()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn calls_are_taken_apart() {
        let parts = |sql: &str| {
            call(sql).map(|call| {
                let arguments: Vec<String> = call.arguments.iter().map(|a| sql[a.clone()].to_owned()).collect();
                (sql[call.name].to_owned(), arguments)
            })
        };
        let expect = |name: &str, arguments: &[&str]| {
            Some((name.to_owned(), arguments.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>()))
        };
        assert_eq!(parts(" count ( ) "), expect("count", &[]));
        assert_eq!(parts("quantile(f(a, b), 0.5)"), expect("quantile", &["f(a, b)", "0.5"]));
        assert_eq!(parts("count_if(x = '),(' AND y)"), expect("count_if", &["x = '),(' AND y"]));
        assert_eq!(parts("sum(a) + 1"), None);
        assert_eq!(parts("sum(a"), None);
        assert_eq!(parts("(a)"), None);
        assert_eq!(parts("f(a,)"), expect("f", &["a", ""]));
    }

    #[test]
    fn names_have_places() {
        let sql = "a + length(\n  b) > sum(c) OVER () AND t.d";
        let (_, names) = expression(sql, |_| false).unwrap();
        let columns: Vec<&str> = names.columns.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(columns, ["a", "b", "c"]);
        for (name, place) in names.columns.iter().chain(&names.functions) {
            assert_eq!(&sql[place.clone()], name);
        }
        assert_eq!((names.windowed.len(), names.qualified.len()), (1, 1));
    }

    #[test]
    fn columns_may_be_named_like_functions_without_parentheses() {
        let sql = "user || current_date";
        let (_, names) = expression(sql, |name| name == "user" || name == "current_date").unwrap();
        assert_eq!(names.columns, [("user".to_owned(), 0..4), ("current_date".to_owned(), 8..20)]);
        assert!(names.functions.is_empty());
        let (_, names) = expression(sql, |_| false).unwrap();
        assert_eq!((names.columns.len(), names.functions.len()), (1, 1));
        let error = expression("not IS NOT NULL", |name| name == "not").unwrap_err();
        assert!(error.message.contains("double quotes, \"not\""), "{}", error.message);
    }

    #[test]
    fn syntax_errors_have_places() {
        for (sql, at) in [("a + * b", 4), ("a b", 2), ("f(a", 3), ("é + )", 5)] {
            let error = expression(sql, |_| false).unwrap_err();
            assert_eq!(error.at, Some(at), "{sql}: {error:?}");
        }
    }
}
