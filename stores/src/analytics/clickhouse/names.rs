//! Names and literals in `ClickHouse` SQL.

use std::fmt::Write as _;

/// A name, quoted.
pub(super) fn name(name: &str) -> String {
    quoted(name, '`')
}

/// A text, as a literal.
pub(super) fn literal(text: &str) -> String {
    quoted(text, '\'')
}

fn quoted(text: &str, quote: char) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\0' => out.push_str("\\0"),
            '\n' => out.push_str("\\n"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// Names, quoted, with commas between them.
pub(super) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(name).collect();
    names.join(", ")
}

/// Bytes as hexadecimal digits: what is in a parameter needs no escapes then.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        // Writing to a text cannot fail.
        let _ = write!(out, "{byte:02X}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_a_quoted_name() {
        assert_eq!(name("a"), "`a`");
        assert_eq!(name("a`; DROP TABLE b; --"), "`a\\`; DROP TABLE b; --`");
        assert_eq!(literal("it's\\"), "'it\\'s\\\\'");
        assert_eq!(list(["a", "b`"]), "`a`, `b\\``");
        assert_eq!(hex(b"\x00\xFFa"), "00FF61");
    }
}
