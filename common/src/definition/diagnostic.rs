//! Mistakes in a definition, each with its place.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;

/// A definition file as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Its name, as diagnostics print it.
    pub name: String,
    /// Its text.
    pub text: String,
}

impl SourceFile {
    /// Line and column (both from 1; columns count characters) of the byte at `offset`, and the line's text.
    fn locate(&self, offset: usize) -> (usize, usize, &str) {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &self.text[..offset];
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let end = self.text[offset..].find('\n').map_or(self.text.len(), |at| offset + at);
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        (line, self.text[start..offset].chars().count() + 1, self.text[start..end].trim_end_matches('\r'))
    }
}

/// One mistake, for people ([`fmt::Display`]: as rustc prints it) and for programs (serde).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Name of the file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// How many characters are meant, at least 1, all on that line.
    pub length: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The line itself.
    pub source: String,
}

impl Diagnostic {
    /// A mistake at a byte range of `file`.
    pub fn new(file: &SourceFile, place: &Range<usize>, message: impl Into<String>, help: Option<String>) -> Self {
        let (line, column, source) = file.locate(place.start);
        let meant = file.text.get(place.start..place.end.max(place.start)).unwrap_or("");
        let length = meant.lines().next().unwrap_or("").chars().count().max(1);
        Self { file: file.name.clone(), line, column, length, message: message.into(), help, source: source.to_owned() }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        writeln!(f, "{}:{}:{}: error: {}", self.file, self.line, self.column, self.message)?;
        writeln!(f, "{margin} |")?;
        // A tab is one column wide in the count, and so must be in print.
        writeln!(f, "{number} | {}", self.source.replace('\t', " "))?;
        write!(f, "{margin} | {}{}", " ".repeat(self.column - 1), "^".repeat(self.length))?;
        if let Some(help) = &self.help {
            write!(f, "\n{margin} = help: {help}")?;
        }
        Ok(())
    }
}

/// All mistakes of a definition, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.0 {
            writeln!(f, "{diagnostic}\n")?;
        }
        let plural = if self.0.len() == 1 { "" } else { "s" };
        write!(f, "{} error{plural}", self.0.len())
    }
}

impl std::error::Error for Diagnostics {}

/// Collects mistakes while a file is read and compiled.
#[derive(Debug)]
pub(crate) struct Report {
    file: Arc<SourceFile>,
    found: Vec<(usize, Diagnostic)>,
}

/// More mistakes than this are not printed: they tell nothing new.
const MAX_DIAGNOSTICS: usize = 100;

impl Report {
    pub(crate) fn new(file: Arc<SourceFile>) -> Self {
        Self { file, found: Vec::new() }
    }

    pub(crate) fn error(&mut self, place: &Range<usize>, message: impl Into<String>) {
        self.add(place, message, None);
    }

    pub(crate) fn add(&mut self, place: &Range<usize>, message: impl Into<String>, help: Option<String>) {
        let diagnostic = Diagnostic::new(&self.file, place, message, help);
        if !self.found.iter().any(|(_, other)| *other == diagnostic) {
            self.found.push((place.start, diagnostic));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.found.len()
    }

    /// The mistakes in the order of the file; `None` without any.
    pub(crate) fn finish(mut self) -> Option<Diagnostics> {
        self.found.sort_by_key(|(at, _)| *at);
        self.found.truncate(MAX_DIAGNOSTICS);
        (!self.found.is_empty()).then(|| Diagnostics(self.found.into_iter().map(|(_, d)| d).collect()))
    }
}
