//! Strings of a definition: environment references resolved, and every byte traceable to its place.

use std::ops::Range;

/// A string value, after escapes and environment references, that knows where each of its bytes came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The value.
    pub value: String,
    /// Where it is in the file, quotes aside.
    pub place: Range<usize>,
    /// From the byte `.0` of the value on, it stands at `.1` of the file; ascending. Within a run the two go in
    /// step when `.2`; otherwise (an escape, a reference) the whole run stands at one place.
    runs: Vec<(usize, usize, bool)>,
}

/// Why a string's references could not be resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReferenceError {
    pub(crate) place: Range<usize>,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Text {
    /// A name or other text that stands in the file as it is.
    pub(crate) fn plain(value: impl Into<String>, place: Range<usize>) -> Self {
        let start = place.start;
        Self { value: value.into(), place, runs: vec![(0, start, true)] }
    }

    /// The string `value` that `toml` shows at `place` (between its quotes).
    pub(crate) fn new(value: &str, file: &str, place: Range<usize>) -> Self {
        let raw = file.get(place.clone()).unwrap_or("");
        let runs = if raw == value { vec![(0, place.start, true)] } else { unescape_runs(raw, place.start) };
        Self { value: value.to_owned(), place, runs }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.value
    }

    /// The place of a byte range of the value.
    pub fn place_of(&self, range: Range<usize>) -> Range<usize> {
        let start = self.locate(range.start);
        let end = if range.end > range.start { self.locate(range.end - 1) + 1 } else { start + 1 };
        start..end.max(start + 1).min(self.place.end.max(start + 1))
    }

    fn locate(&self, at: usize) -> usize {
        let run = self.runs.partition_point(|(from, _, _)| *from <= at).saturating_sub(1);
        let Some(&(from, stands, in_step)) = self.runs.get(run) else { return self.place.start };
        if in_step { stands + at.saturating_sub(from) } else { stands }
    }

    /// A part of this text, on its own.
    pub(crate) fn part(&self, range: Range<usize>) -> Self {
        let value = self.value.get(range.clone()).unwrap_or("").to_owned();
        let place = self.place_of(range.clone());
        let runs = std::iter::once((0, self.locate(range.start), self.run_in_step(range.start)))
            .chain(
                self.runs
                    .iter()
                    .filter(|(from, _, _)| *from > range.start && *from < range.end)
                    .map(|(from, at, step)| (from - range.start, *at, *step)),
            )
            .collect();
        Self { value, place, runs }
    }

    fn run_in_step(&self, at: usize) -> bool {
        let run = self.runs.partition_point(|(from, _, _)| *from <= at).saturating_sub(1);
        self.runs.get(run).is_none_or(|run| run.2)
    }

    /// Resolves `${NAME}` and `${NAME:-default}`; `$${` is a literal `${`. What a variable holds is taken as it
    /// is, never read again.
    pub(crate) fn resolve(self, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, Vec<ReferenceError>> {
        if !self.value.contains("${") {
            return Ok(self);
        }
        let (mut value, mut runs, mut errors) = (String::new(), Vec::new(), Vec::new());
        let copy = |value: &mut String, runs: &mut Vec<(usize, usize, bool)>, range: Range<usize>| {
            if !range.is_empty() {
                let part = self.part(range);
                runs.extend(part.runs.iter().map(|(from, at, step)| (from + value.len(), *at, *step)));
                value.push_str(&part.value);
            }
        };
        let mut at = 0;
        while let Some(found) = self.value[at..].find("${").map(|found| at + found) {
            if found > at && self.value.as_bytes()[found - 1] == b'$' {
                copy(&mut value, &mut runs, at..found - 1);
                copy(&mut value, &mut runs, found..found + 2);
                at = found + 2;
                continue;
            }
            copy(&mut value, &mut runs, at..found);
            let Some(end) = self.value[found..].find('}').map(|end| found + end) else {
                errors.push(ReferenceError {
                    place: self.place_of(found..self.value.len()),
                    message: "`${` without `}`".into(),
                    help: Some("write `$${` for a literal `${`".into()),
                });
                return Err(errors);
            };
            let inner = &self.value[found + 2..end];
            let (name, default) = inner.split_once(":-").map_or((inner, None), |(name, d)| (name, Some(d)));
            let place = self.place_of(found..end + 1);
            if is_variable(name) {
                match env(name).filter(|set| default.is_none() || !set.is_empty()).or(default.map(str::to_owned)) {
                    Some(set) => {
                        runs.push((value.len(), place.start, false));
                        value.push_str(&set);
                    }
                    None => errors.push(ReferenceError {
                        place,
                        message: format!("environment variable `{name}` is not set"),
                        help: Some(format!("set it, or give a default: `${{{name}:-default}}`")),
                    }),
                }
            } else {
                errors.push(ReferenceError {
                    place,
                    message: format!("`{name}` is not the name of an environment variable"),
                    help: Some("use letters, digits and `_`, not starting with a digit".into()),
                });
            }
            at = end + 1;
        }
        copy(&mut value, &mut runs, at..self.value.len());
        if !errors.is_empty() {
            return Err(errors);
        }
        if runs.is_empty() {
            runs.push((0, self.place.start, true));
        }
        Ok(Self { value, place: self.place, runs })
    }
}

fn is_variable(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The runs of a basic TOML string whose raw text is `raw`, starting at `start` of the file.
fn unescape_runs(raw: &str, start: usize) -> Vec<(usize, usize, bool)> {
    let mut runs = vec![(0, start, true)];
    let (mut at, mut value_at) = (0, 0);
    while at < raw.len() {
        let rest = &raw[at..];
        if rest.starts_with("\r\n") {
            // A multi-line string's line end is one character of the value.
            runs.push((value_at, start + at, false));
            (at, value_at) = (at + 2, value_at + 1);
            runs.push((value_at, start + at, true));
            continue;
        }
        let Some(first) = rest.chars().next() else { break };
        if first != '\\' {
            (at, value_at) = (at + first.len_utf8(), value_at + first.len_utf8());
            continue;
        }
        let (raw_length, value_length) = escape_lengths(rest);
        runs.push((value_at, start + at, false));
        (at, value_at) = (at + raw_length, value_at + value_length);
        runs.push((value_at, start + at, true));
    }
    runs
}

/// Bytes of the escape at the start of `rest`, and of what it stands for.
fn escape_lengths(rest: &str) -> (usize, usize) {
    let code = |digits: usize| {
        let char = rest.get(2..2 + digits).and_then(|hex| u32::from_str_radix(hex, 16).ok()).and_then(char::from_u32);
        (2 + digits, char.map_or(1, char::len_utf8))
    };
    match rest.as_bytes().get(1) {
        Some(b'x') => code(2),
        Some(b'u') => code(4),
        Some(b'U') => code(8),
        Some(b' ' | b'\t' | b'\r' | b'\n') => {
            (rest[1..].find(|c: char| !c.is_ascii_whitespace()).map_or(rest.len(), |end| end + 1), 0)
        }
        _ => (2.min(rest.len()), 1),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("example.org".into()),
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("${HOST}".into()),
            _ => None,
        }
    }

    fn resolve(text: &str) -> Result<String, Vec<String>> {
        let text = Text::plain(text, 0..text.len());
        text.resolve(&env).map(|t| t.value).map_err(|e| e.into_iter().map(|e| e.message).collect())
    }

    #[test]
    fn references_read_the_environment() {
        assert_eq!(resolve("http://${HOST}/x").unwrap(), "http://example.org/x");
        assert_eq!(resolve("${NONE:-a:b}${EMPTY:-c}${EMPTY}").unwrap(), "a:bc");
        assert_eq!(resolve("$${HOST} ${NONE:-} $HOST {x}").unwrap(), "${HOST}  $HOST {x}");
        assert_eq!(resolve("${NESTED}").unwrap(), "${HOST}");
        let errors = resolve("${NONE} ${1X:-d}").unwrap_err();
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(resolve("a ${HOST").unwrap_err()[0].contains("without"));
    }

    #[test]
    fn places_survive_references_and_escapes() {
        let file = r#"x = "a \"b\" \u00e9 ${HOST} c""#;
        let text = Text::new("a \"b\" \u{e9} ${HOST} c", file, 5..file.len() - 1).resolve(&env).unwrap();
        assert_eq!(text.value, "a \"b\" \u{e9} example.org c");
        let place = |what: &str| {
            let at = text.value.find(what).unwrap();
            text.place_of(at..at + what.len())
        };
        assert_eq!(&file[place("b")], "b");
        assert_eq!(&file[place(" c")], " c");
        assert_eq!(place("example").start, file.find("${").unwrap());
        let end = text.value.len();
        let part = text.part(end - 1..end);
        assert_eq!((part.as_str(), &file[part.place_of(0..1)]), ("c", "c"));
    }

    #[test]
    fn places_survive_line_ends() {
        let file = "x = \"\"\"\r\na \\\r\n   b\r\nc\"\"\"";
        let value = "a b\nc";
        let start = file.find('a').unwrap();
        let text = Text::new(value, file, start..file.len() - 3);
        for what in ["a", "b", "c"] {
            let at = value.find(what).unwrap();
            assert_eq!(&file[text.place_of(at..at + 1)], what);
        }
    }
}
