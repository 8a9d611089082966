//! Text to syntax tree, bounded: no text makes the parser, or what walks its tree, run out of stack.

use sqlparser::ast::Expr;
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use super::{FormulaError, MistakeKind};

/// Bytes of an expression, at most.
const BYTES_MAX: usize = 64 * 1024;
/// Tokens of an expression, at most: also a bound on the depth of `a + b + c + …`, which nests to the left.
const TOKENS_MAX: usize = 1_000;
/// Parentheses within parentheses, and `CASE` within `CASE`, at most.
const NESTING_MAX: usize = 30;

/// The tree of `sql`.
pub(super) fn parse(sql: &str) -> Result<Expr, FormulaError> {
    let too_large = |message: String, at| FormulaError { message, at, kind: MistakeKind::TooLarge };
    if sql.len() > BYTES_MAX {
        return Err(too_large(format!("a formula has at most {BYTES_MAX} bytes, not {}", sql.len()), None));
    }
    let mut tokens = Tokenizer::new(&GenericDialect, sql)
        .tokenize_with_location()
        .map_err(|e| syntax_error(e.message, offset(sql, e.location)))?;
    tokens.retain(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF));
    if tokens.is_empty() {
        return Err(syntax_error("an expression is expected, and there is nothing".to_owned(), Some(0)));
    }
    if tokens.len() > TOKENS_MAX {
        let at = offset(sql, tokens[TOKENS_MAX].span.start);
        return Err(too_large(format!("a formula has at most {TOKENS_MAX} words and signs"), at));
    }
    if let Some(token) = deepest(&tokens) {
        let message = format!("a formula is nested at most {NESTING_MAX} deep");
        return Err(too_large(message, offset(sql, token.span.start)));
    }
    let mut parser = Parser::new(&GenericDialect).with_tokens_with_locations(tokens);
    let expression = parser.parse_expr().map_err(|error| match error {
        ParserError::RecursionLimitExceeded => too_large("a formula is nested too deeply".to_owned(), None),
        ParserError::ParserError(message) | ParserError::TokenizerError(message) => located(sql, &message),
    })?;
    let rest = parser.peek_token();
    if rest.token != Token::EOF {
        let message = format!("the expression ends before `{}`", rest.token);
        return Err(syntax_error(message, offset(sql, rest.span.start)));
    }
    Ok(expression)
}

/// The first token that is nested too deeply.
fn deepest(tokens: &[TokenWithSpan]) -> Option<&TokenWithSpan> {
    let mut depth = 0_usize;
    tokens.iter().find(|token| {
        let word = match &token.token {
            Token::Word(word) if word.quote_style.is_none() => word.value.as_str(),
            _ => "",
        };
        match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
            Token::RParen | Token::RBracket | Token::RBrace => depth = depth.saturating_sub(1),
            _ if word.eq_ignore_ascii_case("case") => depth += 1,
            _ if word.eq_ignore_ascii_case("end") => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > NESTING_MAX
    })
}

fn syntax_error(message: String, at: Option<usize>) -> FormulaError {
    FormulaError { message, at, kind: MistakeKind::Syntax }
}

/// The parser says where in the text of its message: ` at Line: 1, Column: 5`.
fn located(sql: &str, message: &str) -> FormulaError {
    let parts = message.rsplit_once(" at Line: ").and_then(|(what, place)| {
        let (line, column) = place.split_once(", Column: ")?;
        Some((what, Location { line: line.trim().parse().ok()?, column: column.trim().parse().ok()? }))
    });
    match parts {
        Some((what, place)) => syntax_error(what.to_owned(), offset(sql, place)),
        // Without a place it stopped at the end.
        None => syntax_error(message.to_owned(), message.contains("EOF").then_some(sql.len())),
    }
}

/// The byte offset of a place, which counts lines and characters from 1; `None` for the empty place.
pub(super) fn offset(sql: &str, place: Location) -> Option<usize> {
    let (line, column) = (usize::try_from(place.line).ok()?, usize::try_from(place.column).ok()?);
    if line == 0 || column == 0 {
        return None;
    }
    let start: usize = sql.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let rest = sql.get(start..)?;
    Some(start + rest.char_indices().nth(column - 1).map_or(rest.len(), |(at, _)| at))
}
