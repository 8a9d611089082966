//! A text as chunks and tokens, the reading that the word lists and the emotion model share.
//!
//! docs/enrichment.md defines it; `enrich/models/text.py` does the same in Python, and the fixtures hold both to the
//! same answers. Classes of characters are ranges of code points that are written down here, so that no Unicode
//! version of a compiler or an interpreter changes a score.

/// Equal characters in a row that are kept: "sooooo" reads "sooo".
const RUN_MAX: u8 = 3;

/// Bytes behind the text that may be read, so that three words of the machine can be taken from any place of it.
pub(crate) const PADDING: &str = "                        ";

/// What a character is to the tokeniser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Ends a chunk.
    Space,
    /// Left out as if it were not there: joiners, variation selectors, skin tones.
    Ignored,
    /// A token of its own: emoji, arrows, typographic punctuation.
    Symbol,
    /// ASCII punctuation; a run of it is a token.
    Punctuation,
    /// `'`: inside a word part of it, elsewhere punctuation.
    Apostrophe,
    /// A letter or digit of ASCII, and all that is nothing else.
    Word,
}

impl Class {
    /// The class of a character.
    pub(crate) const fn of(symbol: char) -> Self {
        match symbol {
            '\0'..=' ' | '\x7F'..='\u{A0}' => Self::Space,
            'a'..='z' | 'A'..='Z' | '0'..='9' => Self::Word,
            '\'' => Self::Apostrophe,
            '!'..='~' => Self::Punctuation,
            _ => Self::outside_ascii(symbol),
        }
    }

    const fn outside_ascii(symbol: char) -> Self {
        match symbol {
            '\u{1680}' | '\u{2000}'..='\u{200A}' | '\u{2028}' | '\u{2029}' | '\u{202F}' | '\u{205F}' | '\u{3000}' => {
                Self::Space
            }
            '\u{AD}'
            | '\u{FEFF}'
            | '\u{200B}'..='\u{200F}'
            | '\u{2060}'..='\u{206F}'
            | '\u{FE00}'..='\u{FE0F}'
            | '\u{1F3FB}'..='\u{1F3FF}'
            | '\u{E0000}'..='\u{E0FFF}' => Self::Ignored,
            'ª' | 'µ' | 'º' => Self::Word,
            '\u{A1}'..='\u{BF}'
            | '×'
            | '÷'
            | '\u{2010}'..='\u{205E}'
            | '\u{20A0}'..='\u{20CF}'
            | '\u{2190}'..='\u{2BFF}'
            | '\u{3001}'..='\u{303F}'
            | '\u{1F000}'..='\u{1FAFF}' => Self::Symbol,
            _ => Self::Word,
        }
    }
}

/// A text with its characters normalised: ASCII letters lower-case, curly single quotes as `'`, nothing that is
/// ignored, no character more than [`RUN_MAX`] times in a row, and exactly one space before and after each chunk.
#[derive(Debug, Default)]
pub(crate) struct Normalised {
    text: String,
    /// Where the last chunk's space ends and the padding begins.
    end: usize,
}

impl Normalised {
    /// Replaces the text.
    pub(crate) fn read(&mut self, text: &str) {
        self.text.clear();
        self.text.push(' ');
        let (mut last, mut run) = (' ', 1_u8);
        for symbol in text.chars() {
            let symbol = match symbol {
                'A'..='Z' => symbol.to_ascii_lowercase(),
                '\u{2018}' | '\u{2019}' => '\'',
                _ => symbol,
            };
            let symbol = match Class::of(symbol) {
                Class::Ignored => continue,
                Class::Space => ' ',
                _ => symbol,
            };
            if symbol != last {
                (last, run) = (symbol, 1);
            } else if symbol == ' ' || run == RUN_MAX {
                continue;
            } else {
                run += 1;
            }
            self.text.push(symbol);
        }
        if last != ' ' {
            self.text.push(' ');
        }
        self.end = self.text.len();
        self.text.push_str(PADDING);
    }

    /// The chunks, each without the spaces around it.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = &str> {
        self.text[..self.end].split_ascii_whitespace()
    }

    /// All bytes: a space, then each chunk and a space, then [`PADDING`].
    pub(crate) fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// Bytes that the buffer takes.
    pub(crate) fn capacity(&self) -> usize {
        self.text.capacity()
    }
}

/// The tokens of a chunk: words with the apostrophes inside them, runs of ASCII punctuation, symbols one by one.
pub(crate) fn tokens(chunk: &str) -> impl Iterator<Item = &str> {
    let mut rest = chunk;
    std::iter::from_fn(move || {
        let mut symbols = rest.chars();
        let first = Class::of(symbols.next()?);
        let mut end = rest.len() - symbols.as_str().len();
        while let Some(next) = symbols.next() {
            let next = Class::of(next);
            let goes_on = match first {
                Class::Word => {
                    let inside = || symbols.clone().next().is_some_and(|after| Class::of(after) == Class::Word);
                    next == Class::Word || (next == Class::Apostrophe && inside())
                }
                Class::Punctuation | Class::Apostrophe => matches!(next, Class::Punctuation | Class::Apostrophe),
                _ => false,
            };
            if !goes_on {
                break;
            }
            end = rest.len() - symbols.as_str().len();
        }
        let (token, after) = rest.split_at(end);
        rest = after;
        Some(token)
    })
}

#[cfg(test)]
mod tests {
    use super::{Normalised, tokens};

    fn read(text: &str) -> Vec<Vec<String>> {
        let mut normalised = Normalised::default();
        normalised.read(text);
        normalised.chunks().map(|chunk| tokens(chunk).map(str::to_owned).collect()).collect()
    }

    fn words(text: &str) -> Vec<String> {
        read(text).into_iter().flatten().collect()
    }

    #[test]
    fn words_keep_the_apostrophes_inside_them() {
        assert_eq!(words("Don't"), ["don't"]);
        assert_eq!(
            words("DON\u{2019}T 'quoted' rock'n'roll '' y'' 'tis"),
            ["don't", "'", "quoted", "'", "rock'n'roll", "''", "y", "''", "'", "tis"]
        );
    }

    #[test]
    fn punctuation_runs_and_symbols_are_tokens() {
        assert_eq!(words("What?!?! :-) (really)..."), ["what", "?!?!", ":-)", "(", "really", ")..."]);
        assert_eq!(words("ok😀😀fine👍🏽 “so”—é"), ["ok", "😀", "😀", "fine", "👍", "“", "so", "”", "—", "é"]);
    }

    #[test]
    fn runs_are_cut_and_what_is_ignored_does_not_end_them() {
        assert_eq!(words("Soooooo s\u{200B}o a\u{AD}aa\u{FE0F}aaa !!!!!!"), ["sooo", "so", "aaa", "!!!"]);
        assert_eq!(words("😀😀😀😀😀"), ["😀", "😀", "😀"]);
    }

    #[test]
    fn chunks_end_at_every_space() {
        assert_eq!(read("a,b\u{3000}c\td\u{A0}\u{85}e\n"), [vec!["a", ",", "b"], vec!["c"], vec!["d"], vec!["e"]]);
        assert!(read("").is_empty());
        assert!(read(" \u{2003}\u{0}\n").is_empty());
    }

    #[test]
    fn one_space_is_around_each_chunk() {
        let mut normalised = Normalised::default();
        for (text, expected) in
            [("", " "), ("  ", " "), ("A  b", " a b "), (" a\u{200D} ", " a "), ("\u{200D} \u{200D}x", " x ")]
        {
            normalised.read(text);
            assert_eq!(&normalised.bytes()[..normalised.end], expected.as_bytes(), "{text:?}");
        }
    }
}
