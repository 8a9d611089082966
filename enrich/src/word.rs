//! Which characters words are made of: `\w` of Unicode's UTS #18, which has marks and joiners besides letters.

use std::sync::LazyLock;

use regex::Regex;

/// Whether `symbol` matches `\w`. Outside ASCII the crate `regex` itself decides, but for the dashes, quotation
/// marks and ellipses of U+2010 to U+2027, which often stand beside words.
pub(crate) fn is_word(symbol: char) -> bool {
    // The pattern is a constant that the tests compile.
    static WORD: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\A\w").ok());

    match symbol {
        '\0'..='\x7F' => symbol.is_ascii_alphanumeric() || symbol == '_',
        '\u{2010}'..='\u{2027}' => false,
        _ => WORD.as_ref().is_some_and(|word| word.is_match(symbol.encode_utf8(&mut [0; 4]))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use regex::Regex;

    use super::is_word;

    #[test]
    fn agrees_with_the_regex_on_every_character() {
        let expression = Regex::new(r"\A\w").unwrap();
        for symbol in '\0'..=char::MAX {
            assert_eq!(is_word(symbol), expression.is_match(symbol.encode_utf8(&mut [0; 4])), "{symbol:?}");
        }
    }
}
