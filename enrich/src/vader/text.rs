//! A text becomes tokens: what the reference does before its rules, in one pass over the bytes.
//!
//! Of a lower-cased token only equality with an ASCII word and the substring "n't" are ever asked. Of all
//! characters outside ASCII only U+212A KELVIN SIGN lower-cases to ASCII alone (U+0130 leaves a combining dot), so
//! `str.lower` needs nothing but ASCII and that one sign.

use super::case::is_upper;
use super::lexicon::{KEY_BYTES_MAX, Key, Lexicon, Token, Word};

/// The bits of [`CLASS`].
const SPACE: u8 = 1;
/// May be the first byte of white space outside ASCII.
const WIDE: u8 = 1 << 1;
const NOT_ASCII: u8 = 1 << 2;
const UPPER: u8 = 1 << 3;
const LOWER: u8 = 1 << 4;
const APOSTROPHE: u8 = 1 << 5;
/// `!` or `?`.
const MARK: u8 = 1 << 6;
/// `string.punctuation`.
const PUNCTUATION: u8 = 1 << 7;

static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut byte = 0_u8;
    loop {
        classes[byte as usize] = match byte {
            // `str.isspace`: with the four separators, which Unicode's White_Space does not have.
            b'\t'..=b'\r' | 0x1C..=0x1F | b' ' => SPACE,
            0xC2 | 0xE1 | 0xE2 | 0xE3 => WIDE | NOT_ASCII,
            0x80.. => NOT_ASCII,
            b'A'..=b'Z' => UPPER,
            b'a'..=b'z' => LOWER,
            b'\'' => PUNCTUATION | APOSTROPHE,
            b'!' | b'?' => PUNCTUATION | MARK,
            _ if byte.is_ascii_punctuation() => PUNCTUATION,
            _ => 0,
        };
        if byte == u8::MAX {
            return classes;
        }
        byte += 1;
    }
}

/// The tokens of one text, and what the rules need to know of the whole of it.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    /// One per word.
    pub(super) all: Vec<Token>,
    /// The tokens that have a valence of their own, by index.
    pub(super) valenced: Vec<usize>,
    /// The first "but", by index.
    pub(super) but: Option<usize>,
    exclamation_marks: usize,
    question_marks: usize,
    all_caps: usize,
    /// The text with emoji described, then spaces, so that a key can be read anywhere in it.
    text: String,
}

impl Tokens {
    /// Replaces the tokens by those of `text`.
    pub(super) fn read(&mut self, lexicon: &Lexicon, text: &str) {
        self.text.clear();
        if text.is_ascii() {
            self.text.push_str(text);
        } else {
            describe_emoji(lexicon, text, &mut self.text);
        }
        let end = self.text.len();
        self.text.push_str(PADDING);
        self.split(lexicon, end);
    }

    /// Whether some, but not all words are in capitals (`allcap_differential`).
    pub(super) fn capitals_differ(&self) -> bool {
        0 < self.all_caps && self.all_caps < self.all.len()
    }

    /// `_punctuation_emphasis`: of up to four `!`, and of two or more `?`.
    pub(super) fn emphasis(&self) -> f64 {
        let exclamation = self.exclamation_marks.min(4) as f64 * 0.292;
        let question = match self.question_marks {
            0 | 1 => 0.0,
            count @ (2 | 3) => count as f64 * 0.18,
            _ => 0.96,
        };
        exclamation + question
    }

    /// Bytes that the buffer of the text takes.
    pub(super) fn capacity(&self) -> usize {
        self.text.capacity()
    }

    fn split(&mut self, lexicon: &Lexicon, end: usize) {
        self.all.clear();
        self.valenced.clear();
        self.but = None;
        (self.exclamation_marks, self.question_marks, self.all_caps) = (0, 0, 0);

        let bytes = self.text.as_bytes();
        let mut at = 0;
        while at < end {
            let start = at;
            let mut seen = 0;
            let mut space = 1;
            // The padding's first space ends the last word.
            loop {
                let class = CLASS[usize::from(bytes[at])];
                if class & (SPACE | WIDE) != 0 {
                    if class & SPACE != 0 {
                        break;
                    }
                    if let Some(length) = wide_space(&bytes[at..]) {
                        space = length;
                        break;
                    }
                }
                seen |= class;
                at += 1;
            }
            if at > start {
                let word = start..at;
                if seen & MARK != 0 {
                    for byte in &bytes[word.clone()] {
                        self.exclamation_marks += usize::from(*byte == b'!');
                        self.question_marks += usize::from(*byte == b'?');
                    }
                }
                let (from, to) = strip(bytes, word.start, word.end, seen);
                let mut token = if seen & NOT_ASCII == 0 {
                    if to - from <= KEY_BYTES_MAX {
                        lexicon.find(Key::read(bytes, from, to - from))
                    } else {
                        Token::default()
                    }
                } else {
                    find_with_kelvin(lexicon, &bytes[from..to])
                };
                if seen & APOSTROPHE != 0 && contains_nt(&bytes[from..to]) {
                    token.flags |= Token::NEGATES;
                }
                // What was stripped is ASCII punctuation, which has no case.
                if seen & LOWER == 0
                    && (seen & UPPER != 0 || seen & NOT_ASCII != 0)
                    && (seen & NOT_ASCII == 0 || is_upper(&self.text[from..to]))
                {
                    token.flags |= Token::ALL_CAPS;
                    self.all_caps += 1;
                }
                if token.is(Token::VALENCED) {
                    self.valenced.push(self.all.len());
                } else if token.word == Word::But && self.but.is_none() {
                    self.but = Some(self.all.len());
                }
                self.all.push(token);
            }
            at += space;
        }
    }
}

/// As many spaces as a key may be read beyond the text's end.
const PADDING: &str = "                        ";
const _: () = assert!(PADDING.len() == KEY_BYTES_MAX);

/// `polarity_scores`' first step: an emoji becomes its description, set off by a space from what is before it (but
/// not from what follows: "😀fine" reads "grinning facefine").
fn describe_emoji(lexicon: &Lexicon, text: &str, out: &mut String) {
    let bytes = text.as_bytes();
    let (mut at, mut copied) = (0, 0);
    while at < bytes.len() {
        if bytes[at].is_ascii() {
            at += 1;
            continue;
        }
        let Some(symbol) = text[at..].chars().next() else { break };
        if let Some(description) = lexicon.describe(symbol) {
            out.push_str(&text[copied..at]);
            if !out.is_empty() && !out.ends_with(' ') {
                out.push(' ');
            }
            out.push_str(description);
            copied = at + symbol.len_utf8();
        }
        at += symbol.len_utf8();
    }
    out.push_str(&text[copied..]);
}

/// The length of the white space (`str.isspace`) outside ASCII that `bytes` begin with.
#[inline]
fn wide_space(bytes: &[u8]) -> Option<usize> {
    match *bytes {
        // U+0085, U+00A0
        [0xC2, 0x85 | 0xA0, ..] => Some(2),
        // U+1680; U+2000 to U+200A, U+2028, U+2029, U+202F; U+205F; U+3000
        [0xE1, 0x9A, 0x80, ..]
        | [0xE2, 0x80, 0x80..=0x8A | 0xA8 | 0xA9 | 0xAF, ..]
        | [0xE2, 0x81, 0x9F, ..]
        | [0xE3, 0x80, 0x80, ..] => Some(3),
        _ => None,
    }
}

/// `_strip_punc_if_word`: a word without the punctuation around it, or whole if two characters or fewer remain.
#[inline]
fn strip(bytes: &[u8], start: usize, end: usize, seen: u8) -> (usize, usize) {
    if seen & PUNCTUATION == 0 {
        return (start, end);
    }
    let is_punctuation = |byte: u8| CLASS[usize::from(byte)] & PUNCTUATION != 0;
    let (mut from, mut to) = (start, end);
    while from < to && is_punctuation(bytes[from]) {
        from += 1;
    }
    while to > from && is_punctuation(bytes[to - 1]) {
        to -= 1;
    }
    let mut length = to - from;
    if seen & NOT_ASCII != 0 && length <= 8 {
        length = bytes[from..to].iter().filter(|byte| **byte & 0xC0 != 0x80).count();
    }
    if length <= 2 { (start, end) } else { (from, to) }
}

/// Whether a word contains "n't" in any case.
fn contains_nt(word: &[u8]) -> bool {
    word.windows(3).any(|part| part.eq_ignore_ascii_case(b"n't"))
}

/// Looks up a word that is not ASCII: known only if U+212A is all that is not.
#[cold]
fn find_with_kelvin(lexicon: &Lexicon, word: &[u8]) -> Token {
    const KELVIN: &[u8] = "\u{212A}".as_bytes();
    let mut buffer = [0; 2 * KEY_BYTES_MAX];
    let (mut rest, mut length) = (word, 0);
    while let [first, ..] = rest {
        if length == KEY_BYTES_MAX {
            return Token::default();
        }
        if first.is_ascii() {
            buffer[length] = *first;
            rest = &rest[1..];
        } else if let Some(after) = rest.strip_prefix(KELVIN) {
            buffer[length] = b'k';
            rest = after;
        } else {
            return Token::default();
        }
        length += 1;
    }
    lexicon.find(Key::read(&buffer, 0, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> usize {
        let mut tokens = Tokens::default();
        tokens.read(Lexicon::shared(), text);
        tokens.all.len()
    }

    #[test]
    fn every_white_space_of_python_splits() {
        let spaces = "\t\n\u{B}\u{C}\r\u{1C}\u{1D}\u{1E}\u{1F} \u{85}\u{A0}\u{1680}\u{2000}\u{2001}\u{2002}\u{2003}\
                      \u{2004}\u{2005}\u{2006}\u{2007}\u{2008}\u{2009}\u{200A}\u{2028}\u{2029}\u{202F}\u{205F}\u{3000}";
        for space in spaces.chars() {
            assert_eq!(words(&format!("{space}a{space}{space}b{space}")), 2, "{space:?}");
        }
        for joiner in ['\u{180E}', '\u{200B}', '\u{200D}', '\u{2060}', '\u{FEFF}', '\0'] {
            assert_eq!(words(&format!("a{joiner}b")), 1, "{joiner:?}");
        }
        assert_eq!(words(""), 0);
        assert_eq!(words(" \u{3000}\u{85}"), 0);
    }

    #[test]
    fn emoji_are_set_off_before_but_not_after() {
        let mut out = String::new();
        describe_emoji(Lexicon::shared(), "😀fine 😀😀\n😀 é", &mut out);
        assert_eq!(out, "grinning facefine grinning face grinning face\n grinning face é");
    }

    #[test]
    fn punctuation_is_stripped_from_words_of_three_characters() {
        let cases = [
            ("(good)", "good"),
            ("it's", "it's"),
            (":)", ":)"),
            ("'ok'", "'ok'"),
            ("...", "..."),
            ("\"été\"", "été"),
            ("(éé)", "(éé)"),
            ("((a))", "((a))"),
            ("a(b", "a(b"),
        ];
        for (word, expected) in cases {
            let seen = word.bytes().fold(0, |seen, byte| seen | CLASS[usize::from(byte)]);
            let (from, to) = strip(word.as_bytes(), 0, word.len(), seen);
            assert_eq!(&word[from..to], expected);
        }
    }

    #[test]
    fn the_kelvin_sign_is_a_k() {
        let find = |word: &str| find_with_kelvin(Lexicon::shared(), word.as_bytes());
        assert!(find("\u{212A}ind").word == Word::Kind);
        assert_eq!(find("\u{212A}indé"), Token::default());
        assert_eq!(find(&"\u{212A}".repeat(100)), Token::default());
    }
}
