//! Columns that are named like a word of SQL.

use sqlparser::dialect::GenericDialect;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer, TokenizerError, Word};

/// Words that are functions of SQL without parentheses: where there is such a column, it is meant.
const FUNCTIONS: &[Keyword] = &[
    Keyword::CURRENT_CATALOG,
    Keyword::CURRENT_DATE,
    Keyword::CURRENT_TIME,
    Keyword::CURRENT_TIMESTAMP,
    Keyword::CURRENT_USER,
    Keyword::LOCALTIME,
    Keyword::LOCALTIMESTAMP,
    Keyword::SESSION_USER,
    Keyword::USER,
];

/// Words that begin something else: a call if a parenthesis follows, an interval if a value follows, a query, which
/// has no place in an expression over one row. Otherwise a column is meant.
const OPENING: &[Keyword] =
    &[Keyword::EXISTS, Keyword::INTERVAL, Keyword::SELECT, Keyword::STRUCT, Keyword::TRIM, Keyword::WITH];

/// Whether SQL reads `word`, written without quotes and parentheses, as a function.
pub fn is_bare_function(word: &str) -> bool {
    FUNCTIONS.iter().any(|keyword| format!("{keyword:?}").eq_ignore_ascii_case(word))
}

/// An expression whose columns that are named like a word of SQL are in double quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// The expression.
    pub sql: String,
    /// Bytes of the original at which a quote was put in, ascending.
    inserted: Vec<usize>,
}

impl Quoted {
    /// The byte of the original that byte `at` of the quoted expression was.
    pub fn original(&self, at: usize) -> usize {
        let before = self.inserted.iter().enumerate().take_while(|(index, place)| **place + index < at).count();
        at - before
    }
}

/// Puts double quotes around the words of the row-level expression `sql` that name a column (by `is_column`) and
/// would be read as something else. What is no SQL stays as it is: its reader says why.
pub fn quote_columns(sql: &str, is_column: impl Fn(&str) -> bool) -> Quoted {
    let mut quoted = Quoted { sql: String::with_capacity(sql.len()), inserted: Vec::new() };
    let mut end = 0;
    if let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location() {
        for (index, token) in tokens.iter().enumerate() {
            if !is_taken(&tokens, index, &is_column) {
                continue;
            }
            for place in [offset(sql, token.span.start), offset(sql, token.span.end)] {
                quoted.sql.push_str(&sql[end..place]);
                quoted.sql.push('"');
                quoted.inserted.push(place);
                end = place;
            }
        }
    }
    quoted.sql.push_str(&sql[end..]);
    quoted
}

/// The tokens of an expression, with columns as [`quote_columns`] has them and the places of the original.
pub(super) fn tokens(sql: &str, is_column: impl Fn(&str) -> bool) -> Result<Vec<TokenWithSpan>, TokenizerError> {
    let mut tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location()?;
    for index in 0..tokens.len() {
        if is_taken(&tokens, index, &is_column)
            && let Token::Word(word) = &mut tokens[index].token
        {
            quote(word);
        }
    }
    Ok(tokens)
}

/// How to write the column whose name alone keeps `sql` from being an expression, as `parses` says of its tokens.
pub(super) fn advice(
    sql: &str,
    is_column: impl Fn(&str) -> bool,
    parses: impl Fn(Vec<TokenWithSpan>) -> bool,
) -> Option<String> {
    let tokens = tokens(sql, &is_column).ok()?;
    let mut words: Vec<&str> = Vec::new();
    for token in &tokens {
        if let Token::Word(word) = &token.token
            && word.keyword != Keyword::NoKeyword
            && is_column(&word.value)
            && !words.contains(&word.value.as_str())
        {
            words.push(&word.value);
        }
    }
    let word = words.into_iter().find(|name| {
        let mut tokens = tokens.clone();
        for token in &mut tokens {
            if let Token::Word(word) = &mut token.token
                && word.value == *name
            {
                quote(word);
            }
        }
        parses(tokens)
    })?;
    Some(format!("`{word}` is a word of SQL: the column of that name is written in double quotes, \"{word}\""))
}

fn quote(word: &mut Word) {
    word.quote_style = Some('"');
    word.keyword = Keyword::NoKeyword;
}

fn is_taken(tokens: &[TokenWithSpan], index: usize, is_column: &impl Fn(&str) -> bool) -> bool {
    let Token::Word(word) = &tokens[index].token else { return false };
    let taken = FUNCTIONS.contains(&word.keyword) || OPENING.contains(&word.keyword);
    if word.quote_style.is_some() || !taken || !is_column(&word.value) {
        return false;
    }
    let mut after = tokens[index + 1..].iter().filter(|token| !matches!(token.token, Token::Whitespace(_)));
    match after.next().map(|token| &token.token) {
        Some(Token::LParen) => false,
        Some(Token::SingleQuotedString(_) | Token::Number(..)) => word.keyword != Keyword::INTERVAL,
        _ => true,
    }
}

/// The byte at a place that sqlparser gives.
pub(super) fn offset(sql: &str, location: Location) -> usize {
    let mut start = 0;
    for _ in 1..location.line {
        start = sql[start..].find('\n').map_or(sql.len(), |at| start + at + 1);
    }
    let column = location.column.saturating_sub(1) as usize;
    sql[start..].char_indices().nth(column).map_or(sql.len(), |(at, _)| start + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(sql: &str) -> String {
        quote_columns(sql, |name| ["user", "current_date", "n", "interval", "trim"].contains(&name)).sql
    }

    #[test]
    fn columns_are_quoted_where_they_would_be_read_as_calls() {
        assert_eq!(quoted("user"), "\"user\"");
        assert_eq!(quoted("é || user || 'user'\n|| current_date"), "é || \"user\" || 'user'\n|| \"current_date\"");
        assert_eq!(quoted("length(user) > n -- user"), "length(\"user\") > n -- user");
        assert_eq!(quoted("interval > 3 AND trim = trim(n)"), "\"interval\" > 3 AND \"trim\" = trim(n)");
        for same in
            ["interval '1 day'", "exists", "\"user\"", "user (1)", "USER", "session_user", "users", "'user", "n", ""]
        {
            assert_eq!(quoted(same), same);
        }
    }

    #[test]
    fn places_are_those_of_the_original() {
        let sql = "user || n || user + x";
        let quoted = quote_columns(sql, |name| name == "user");
        for (at, _) in quoted.sql.match_indices(['n', '+', 'x', 'u']) {
            assert_eq!(sql[quoted.original(at)..].chars().next(), quoted.sql[at..].chars().next());
        }
        assert_eq!(quoted.original(quoted.sql.len()), sql.len());
    }

    #[test]
    fn bare_functions_are_known_in_any_case() {
        assert!(is_bare_function("user") && is_bare_function("Session_User"));
        assert!(!is_bare_function("now") && !is_bare_function("users"));
    }
}
