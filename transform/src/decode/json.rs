//! One JSON object, read in place: RFC 8259, nothing more, without a tree of values.

use crate::reason::Reason;

/// Deepest nesting, that of the record itself included.
const DEPTH_MAX: usize = 128;

/// What a member of the object holds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Slot<'a> {
    /// The object has no such member.
    #[default]
    Absent,
    Null,
    Bool(bool),
    /// A number without fraction and exponent, within 64 bits.
    Int(i64),
    /// Any other number that a float can hold.
    Float(f64),
    /// A number beyond what a float can hold.
    TooLarge,
    /// A text without escapes.
    Text(&'a str),
    /// A text with escapes: a range of [`Scratch::text`].
    Unescaped(usize, usize),
    /// A list of texts: a range of [`Scratch::texts`].
    Texts(usize, usize),
    /// Something that no column can hold.
    Other(&'static str),
}

/// What the slots of one record point into; reused from record to record.
#[derive(Debug, Default)]
pub(crate) struct Scratch<'a> {
    /// Unescaped texts, end to end.
    pub(crate) text: String,
    /// Elements of lists, end to end: only `Text` and `Unescaped`.
    pub(crate) texts: Vec<Slot<'a>>,
}

impl<'a> Scratch<'a> {
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.texts.clear();
    }

    /// The text of a slot that is one.
    pub(crate) fn text_of<'s>(&'s self, slot: Slot<'a>) -> Option<&'s str>
    where
        'a: 's,
    {
        match slot {
            Slot::Text(text) => Some(text),
            Slot::Unescaped(start, end) => self.text.get(start..end),
            _ => None,
        }
    }
}

/// Which slot a member belongs to.
pub(crate) trait Members {
    /// The index of the slot of member `name`, the `nth` of its object; `None`: it is of no interest.
    fn find(&self, name: &str, nth: usize) -> Option<usize>;
}

/// Reads the object in `text` into `slots`, one per member of interest; of members with one name the last counts.
///
/// # Errors
/// Where it stops being JSON, or that it is no object.
pub(crate) fn read_object<'a>(
    text: &'a str,
    members: &impl Members,
    slots: &mut [Slot<'a>],
    scratch: &mut Scratch<'a>,
) -> Result<(), Reason> {
    let mut cursor = Cursor { text, bytes: text.as_bytes(), at: 0 };
    cursor.space();
    let read = if cursor.peek() == Some(b'{') {
        cursor.object(members, slots, scratch).map(|()| true)
    } else {
        cursor.skip(0).map(|_| false)
    };
    let end = |cursor: &mut Cursor<'_>| {
        cursor.space();
        if cursor.at == cursor.bytes.len() { Ok(()) } else { Err(Expected("the end")) }
    };
    match read.and_then(|is_object| end(&mut cursor).map(|()| is_object)) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Reason::NotObject),
        Err(Expected(expected)) => Err(Reason::Json { at: cursor.at, expected }),
    }
}

struct Expected(&'static str);

struct Cursor<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    #[inline]
    fn take(&mut self, byte: u8, expected: &'static str) -> Result<(), Expected> {
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        Err(Expected(expected))
    }

    fn object(
        &mut self,
        members: &impl Members,
        slots: &mut [Slot<'a>],
        scratch: &mut Scratch<'a>,
    ) -> Result<(), Expected> {
        self.at += 1;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        for nth in 0.. {
            let name = self.string(scratch)?;
            let slot = scratch.text_of(name).and_then(|name| members.find(name, nth));
            self.space();
            self.take(b':', "a colon")?;
            self.space();
            match slot.and_then(|slot| slots.get_mut(slot)) {
                Some(slot) => *slot = self.value(scratch)?,
                None => {
                    self.skip(1)?;
                }
            }
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return Err(Expected("a comma or the end of the object")),
            }
            self.space();
        }
        self.at += 1;
        Ok(())
    }

    fn value(&mut self, scratch: &mut Scratch<'a>) -> Result<Slot<'a>, Expected> {
        match self.peek() {
            Some(b'"') => self.string(scratch),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'[') => self.list(scratch),
            _ => self.skip(1),
        }
    }

    /// A list, as texts when that is all it has.
    fn list(&mut self, scratch: &mut Scratch<'a>) -> Result<Slot<'a>, Expected> {
        let start = scratch.texts.len();
        let mut other = false;
        self.at += 1;
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Slot::Texts(start, start));
        }
        loop {
            if self.peek() == Some(b'"') {
                let text = self.string(scratch)?;
                scratch.texts.push(text);
            } else {
                self.skip(2)?;
                other = true;
            }
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return Err(Expected("a comma or the end of the list")),
            }
            self.space();
        }
        self.at += 1;
        Ok(if other {
            Slot::Other("a list of other things than strings")
        } else {
            Slot::Texts(start, scratch.texts.len())
        })
    }

    /// Checks a value at nesting `depth` without keeping it, but for what takes no room.
    fn skip(&mut self, depth: usize) -> Result<Slot<'a>, Expected> {
        match self.peek() {
            Some(b'"') => {
                self.skip_string()?;
                Ok(Slot::Other("a string"))
            }
            Some(b'{') => {
                self.skip_members(depth, b'}')?;
                Ok(Slot::Other("an object"))
            }
            Some(b'[') => {
                self.skip_members(depth, b']')?;
                Ok(Slot::Other("a list"))
            }
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Slot::Bool(true)),
            Some(b'f') => self.word("false", Slot::Bool(false)),
            Some(b'n') => self.word("null", Slot::Null),
            _ => Err(Expected("a value")),
        }
    }

    fn skip_members(&mut self, depth: usize, end: u8) -> Result<(), Expected> {
        if depth + 1 > DEPTH_MAX {
            return Err(Expected("less than 128 levels"));
        }
        self.at += 1;
        self.space();
        if self.peek() == Some(end) {
            self.at += 1;
            return Ok(());
        }
        loop {
            if end == b'}' {
                self.skip_string()?;
                self.space();
                self.take(b':', "a colon")?;
                self.space();
            }
            self.skip(depth + 1)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(byte) if byte == end => break,
                _ => return Err(Expected("a comma or an end")),
            }
            self.space();
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self, word: &'static str, slot: Slot<'a>) -> Result<Slot<'a>, Expected> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(slot);
        }
        Err(Expected(word))
    }

    /// Moves on to the next quote, backslash or control character.
    #[inline]
    fn pass_plain(&mut self) {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const TOPS: u64 = 0x8080_8080_8080_8080;
        // Eight bytes at a time: the lowest top bit that is set marks the first such byte ("Bit Twiddling Hacks",
        // S. E. Anderson, "determine if a word has a zero byte", "a byte less than n").
        while let Some(chunk) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            let word = u64::from_le_bytes(*chunk);
            let zero = |x: u64| x.wrapping_sub(ONES) & !x;
            let special = zero(word ^ (ONES * u64::from(b'"')))
                | zero(word ^ (ONES * u64::from(b'\\')))
                | (word.wrapping_sub(ONES * 0x20) & !word);
            if special & TOPS != 0 {
                self.at += (special & TOPS).trailing_zeros() as usize / 8;
                return;
            }
            self.at += 8;
        }
        while self.peek().is_some_and(|byte| byte != b'"' && byte != b'\\' && byte >= 0x20) {
            self.at += 1;
        }
    }

    fn string(&mut self, scratch: &mut Scratch<'a>) -> Result<Slot<'a>, Expected> {
        self.take(b'"', "a string")?;
        let start = self.at;
        self.pass_plain();
        if self.peek() == Some(b'"') {
            let text = &self.text[start..self.at];
            self.at += 1;
            return Ok(Slot::Text(text));
        }
        let from = scratch.text.len();
        scratch.text.push_str(&self.text[start..self.at]);
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Slot::Unescaped(from, scratch.text.len()));
                }
                Some(b'\\') => {
                    let character = self.escape()?;
                    scratch.text.push(character);
                }
                _ => return Err(Expected("the end of the string")),
            }
            let start = self.at;
            self.pass_plain();
            scratch.text.push_str(&self.text[start..self.at]);
        }
    }

    fn skip_string(&mut self) -> Result<(), Expected> {
        self.take(b'"', "a string")?;
        loop {
            self.pass_plain();
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.escape()?;
                }
                _ => return Err(Expected("the end of the string")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Expected> {
        self.at += 1;
        let character = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err(Expected("an escape")),
        };
        self.at += 1;
        Ok(character)
    }

    fn unicode(&mut self) -> Result<char, Expected> {
        let first = self.hex()?;
        let code = match first {
            0xD800..=0xDBFF => {
                if self.peek() != Some(b'\\') || self.bytes.get(self.at + 1) != Some(&b'u') {
                    return Err(Expected("the second half of a surrogate pair"));
                }
                self.at += 1;
                let second = self.hex()?;
                if !(0xDC00..=0xDFFF).contains(&second) {
                    return Err(Expected("the second half of a surrogate pair"));
                }
                0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00)
            }
            code => code,
        };
        char::from_u32(code).ok_or(Expected("the first half of a surrogate pair"))
    }

    /// The four digits after the `u` at the cursor.
    fn hex(&mut self) -> Result<u32, Expected> {
        let mut code = 0;
        for index in 1..=4 {
            let digit = self.bytes.get(self.at + index).and_then(|byte| char::from(*byte).to_digit(16));
            code = code * 16 + digit.ok_or(Expected("four hexadecimal digits"))?;
        }
        self.at += 5;
        Ok(code)
    }

    fn digits(&mut self) -> Result<(), Expected> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err(Expected("a digit")) } else { Ok(()) }
    }

    fn number(&mut self) -> Result<Slot<'a>, Expected> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        let mut whole = true;
        if self.peek() == Some(b'.') {
            whole = false;
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            whole = false;
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = &self.text[start..self.at];
        if whole && let Ok(number) = text.parse() {
            return Ok(Slot::Int(number));
        }
        Ok(match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Slot::Float(number),
            _ => Slot::TooLarge,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    struct Names(&'static [&'static str]);

    impl Members for Names {
        fn find(&self, name: &str, _: usize) -> Option<usize> {
            self.0.iter().position(|known| *known == name)
        }
    }

    fn read(text: &str) -> Result<String, Reason> {
        let mut scratch = Scratch::default();
        let mut slots = [Slot::default()];
        read_object(text, &Names(&["a"]), &mut slots, &mut scratch)?;
        Ok(scratch.text_of(slots[0]).map_or_else(|| format!("{:?}", slots[0]), str::to_owned))
    }

    #[test]
    fn values() {
        for (value, expected) in [
            ("null", "Null"),
            ("true", "Bool(true)"),
            ("-0", "Int(0)"),
            ("9223372036854775807", "Int(9223372036854775807)"),
            ("9223372036854775808", "Float(9.223372036854776e18)"),
            ("3.0", "Float(3.0)"),
            ("1e2", "Float(100.0)"),
            ("1e999", "TooLarge"),
            (r#""x""#, "x"),
            (r#""tab\t \u00e9 \ud83d\ude00 \/""#, "tab\t é 😀 /"),
            ("[ ]", "Texts(0, 0)"),
            (r#"["x" , "y"]"#, "Texts(0, 2)"),
            (r#"["x",1]"#, "Other(\"a list of other things than strings\")"),
            (r#"{"b":[{}]}"#, "Other(\"an object\")"),
        ] {
            assert_eq!(read(&format!(" {{ \"b\" : [1,{{}}] , \"a\" : {value} }} ")).unwrap(), expected, "{value}");
        }
        assert_eq!(read("{}").unwrap(), "Absent");
        assert_eq!(read(r#"{"a":1,"a":"x"}"#).unwrap(), "x");
        assert_eq!(read(r#"{"\u0061":1}"#).unwrap(), "Int(1)");
        assert_eq!(read("[1]"), Err(Reason::NotObject));
        assert_eq!(read("1"), Err(Reason::NotObject));
    }

    #[test]
    fn deep_nesting_is_refused() {
        let nested = |depth: usize| format!("{{\"b\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(&nested(100)).is_ok());
        assert!(matches!(read(&nested(100_000)), Err(Reason::Json { .. })));
    }

    fn json() -> impl Strategy<Value = String> {
        // Pieces of JSON, so that much of what is drawn nearly is.
        let piece = prop_oneof![
            Just("{\"a\":"),
            Just("{"),
            Just("}"),
            Just("["),
            Just("]"),
            Just(","),
            Just(":"),
            Just("\"a\""),
            Just("1"),
            Just("-"),
            Just("0"),
            Just(".5"),
            Just("e+3"),
            Just("null"),
            Just("tru"),
            Just("e"),
            Just(" "),
            Just("\"\\u00"),
            Just("e9\""),
            Just("\\ud83d"),
            Just("\\"),
            Just("\""),
            Just("\n"),
            Just("é"),
            Just("\u{1}"),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn accepts_what_serde_json_accepts(text in json()) {
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            match read(&text) {
                Ok(_) => prop_assert!(theirs.is_ok_and(|value| value.is_object()), "{}", text),
                Err(Reason::NotObject) => prop_assert!(theirs.is_ok_and(|value| !value.is_object()), "{}", text),
                Err(_) => prop_assert!(theirs.is_err(), "{}", text),
            }
        }

        #[test]
        fn texts_read_as_serde_json_wrote_them(text in "\\PC{0,40}|[\\x00-\\x7f]{0,40}") {
            let record = serde_json::json!({ "a": text }).to_string();
            prop_assert_eq!(read(&record).unwrap(), text);
        }
    }
}
