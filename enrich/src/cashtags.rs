//! The `$SYMBOL`s of a text: the regular expression `\$([A-Z]{1,6})\b`, by hand.
//!
//! As the class takes ASCII capitals only and all of them are word characters, the expression's backtracking never
//! succeeds with fewer letters than there are: a run of one to six capitals matches if no word character follows.
//! `\b` is that of Python's `re` and, but for marks, of Java: words are made of letters, numbers and `_`, so that
//! `$TSLAé` and `$TSLA_` are no symbols, `$TSLA’s` and `$T🅾PPIN` hold one. (The crate `regex` follows UTS #18, where
//! squared letters such as 🅾 belong to words: on 24,714 real tweets it finds 16 symbols less than both.)

use std::sync::LazyLock;

use ahash::AHashSet;
use memchr::memchr;
use regex::Regex;

/// Most letters of a symbol.
pub const SYMBOL_LETTERS_MAX: usize = 6;

/// Symbols that are compared one by one before a hash set takes over.
const INLINE: usize = 16;

/// The distinct symbols of `text` without their `$`, in the order of their first appearance.
///
/// ```
/// let symbols: Vec<&str> = tideline_enrich::cashtags("$TSLA up, $AAPL down, $TSLA again; not $tsla").collect();
/// assert_eq!(symbols, ["TSLA", "AAPL"]);
/// ```
pub fn cashtags(text: &str) -> Cashtags<'_> {
    Cashtags { text, at: 0, seen: Seen { first: [""; INLINE], count: 0, others: None } }
}

/// All symbols of `text` without their `$`, in order, repeats included.
///
/// ```
/// let symbols: Vec<&str> = tideline_enrich::every_cashtag("$TSLA up, $AAPL down, $TSLA again").collect();
/// assert_eq!(symbols, ["TSLA", "AAPL", "TSLA"]);
/// ```
pub fn every_cashtag(text: &str) -> impl Iterator<Item = &str> {
    let mut at = 0;
    std::iter::from_fn(move || next_symbol(text, &mut at))
}

/// The iterator of [`cashtags`]. It allocates only from the seventeenth distinct symbol on.
#[derive(Debug, Clone)]
pub struct Cashtags<'a> {
    text: &'a str,
    at: usize,
    seen: Seen<'a>,
}

#[derive(Debug, Clone)]
struct Seen<'a> {
    first: [&'a str; INLINE],
    count: usize,
    others: Option<AHashSet<&'a str>>,
}

/// Whether `symbol` goes on with a word: a letter, a number or `_`.
fn is_word(symbol: char) -> bool {
    // The pattern is a constant that the tests compile.
    static WORD: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\A[\p{L}\p{N}_]").ok());

    match symbol {
        '\0'..='\x7F' => symbol.is_ascii_alphanumeric() || symbol == '_',
        // Dashes, quotation marks and ellipses, which often stand beside symbols.
        '\u{2010}'..='\u{2027}' => false,
        _ => WORD.as_ref().is_some_and(|word| word.is_match(symbol.encode_utf8(&mut [0; 4]))),
    }
}

impl<'a> Iterator for Cashtags<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        loop {
            let symbol = next_symbol(self.text, &mut self.at)?;
            if self.seen.insert(symbol) {
                return Some(symbol);
            }
        }
    }
}

/// The first symbol from `at` on; `at` is then where to go on.
fn next_symbol<'a>(text: &'a str, at: &mut usize) -> Option<&'a str> {
    let bytes = text.as_bytes();
    loop {
        let start = *at + memchr(b'$', &bytes[*at..])? + 1;
        // One more than allowed tells a run that is too long.
        let letters =
            bytes[start..].iter().take(SYMBOL_LETTERS_MAX + 1).take_while(|byte| byte.is_ascii_uppercase()).count();
        *at = start + letters;
        if (1..=SYMBOL_LETTERS_MAX).contains(&letters) && !text[*at..].starts_with(is_word) {
            return Some(&text[start..*at]);
        }
    }
}

impl<'a> Seen<'a> {
    /// Whether `symbol` is new.
    fn insert(&mut self, symbol: &'a str) -> bool {
        if self.first[..self.count].contains(&symbol) {
            return false;
        }
        if self.count < INLINE {
            self.first[self.count] = symbol;
            self.count += 1;
            return true;
        }
        self.others.get_or_insert_default().insert(symbol)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;
    use regex::Regex;

    use super::{cashtags, every_cashtag};

    /// By the crate `regex`, which has no look-ahead: what may follow is captured, and looked for again from there.
    fn by_regex(text: &str) -> Vec<&str> {
        let expression = Regex::new(r"\$([A-Z]{1,6})([\p{L}\p{N}_])?").unwrap();
        let (mut seen, mut at, mut symbols) = (HashSet::new(), 0, Vec::new());
        while let Some(captures) = expression.captures_at(text, at) {
            let symbol = captures.get(1).unwrap();
            at = symbol.end();
            if captures.get(2).is_none() && seen.insert(symbol.as_str()) {
                symbols.push(symbol.as_str());
            }
        }
        symbols
    }

    fn symbols(text: &str) -> Vec<&str> {
        cashtags(text).collect()
    }

    #[test]
    fn boundaries() {
        let none: [&str; 0] = [];
        assert_eq!(symbols("$A"), ["A"]);
        assert_eq!(symbols("$ABCDEF"), ["ABCDEF"]);
        assert_eq!(symbols("$ABCDEFG $A1 $Ab $A_ $aB $ 5$ $5 $"), none);
        assert_eq!(symbols("x$TSLA,$AAPL$GOOG"), ["TSLA", "AAPL", "GOOG"]);
        assert_eq!(symbols("$$AAPL $AAPL.B $AAPL"), ["AAPL"]);
        // As Python 3.11 answers: re.findall(r"\$([A-Z]{1,6})\b", text).
        let odd = "$TSLA’s $GM… $FBé $MA\u{301} $V\u{200D}x $GE中 $T🅾PPIN $C² $BAC½ $GS① $F१ $GEª $IBM\u{16EE}";
        assert_eq!(symbols(odd), ["TSLA", "GM", "MA", "V", "T"]);
        assert_eq!(symbols(""), none);
    }

    #[test]
    fn repeats_are_kept_where_they_are_wanted() {
        let every: Vec<&str> = every_cashtag("$A $B $A $ABCDEFG $A_ $A").collect();
        assert_eq!(every, ["A", "B", "A", "A"]);
    }

    #[test]
    fn many_symbols_stay_distinct_and_in_order() {
        let names: Vec<String> = (0..600_u32)
            .map(|n| [n / 26 / 26, n / 26 % 26, n % 26].iter().map(|d| char::from(b'A' + *d as u8)).collect())
            .collect();
        let text = format!("${} ${}", names.join(" $"), names.join(" $"));
        assert_eq!(symbols(&text), names);
    }

    proptest! {
        #[test]
        fn equals_the_regex(text in r"(\$|\$[A-Z]{1,8}|[A-Z]|[a-z_ 0-9.,]|’|…|é|\PC|\p{M}|\u{200D}){0,40}") {
            prop_assert_eq!(symbols(&text), by_regex(&text));
        }

        #[test]
        fn equals_the_regex_on_any_text(text in any::<String>()) {
            prop_assert_eq!(symbols(&text), by_regex(&text));
        }
    }
}
