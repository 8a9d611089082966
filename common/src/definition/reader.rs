//! Reads tables of TOML by their [`Section`]: refuses unknown keys, finds missing ones, converts values; every
//! mistake is reported and reading goes on.

use std::collections::HashSet;
use std::sync::Arc;

use toml_span::value::{Table as TomlTable, Value, ValueInner};

use super::diagnostic::{Report, SourceFile};
use super::format::{Key, Kind, Section};
use super::model::{Place, Placed};
use super::text::Text;
use crate::formula::suggest;
use crate::time::Span;

/// What reading any part of a file needs.
pub(super) struct Context<'a> {
    pub(super) file: Arc<SourceFile>,
    pub(super) env: &'a super::Environment<'a>,
    pub(super) report: Report,
}

/// A table of the file that follows a section of the format.
#[derive(Clone, Copy)]
pub(super) struct Reader<'t, 'de> {
    section: &'static Section,
    table: &'t TomlTable<'de>,
}

/// "did you mean" for a name among `known`, else the list of what there is.
pub(crate) fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut all: Vec<&str> = Vec::new();
    for name in known {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    match suggest(name, all.iter().copied()) {
        Some(like) => Some(format!("did you mean `{like}`?")),
        None if all.is_empty() => None,
        None if all.len() > MAX_LISTED => {
            Some(format!("there is {} and {} more", all[..MAX_LISTED].join(", "), all.len() - MAX_LISTED))
        }
        None => Some(format!("there is {}", all.join(", "))),
    }
}

/// More names than this are not listed.
const MAX_LISTED: usize = 16;

/// What a TOML value is, with its article.
pub(super) fn a_kind(value: &Value<'_>) -> &'static str {
    match value.as_ref() {
        ValueInner::String(_) => "a string",
        ValueInner::Integer(_) => "an integer",
        ValueInner::Float(_) => "a float",
        ValueInner::Boolean(_) => "a boolean",
        ValueInner::Array(_) => "a list",
        ValueInner::Table(_) => "a table",
    }
}

pub(super) fn place_of(span: toml_span::Span) -> Place {
    span.start..span.end
}

/// What TOML calls a value of that kind.
fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::String | Kind::Choice(_) => "a string",
        Kind::Sql => "a string with an SQL expression",
        Kind::Duration => "a duration, such as \"5m\"",
        Kind::Integer(..) => "an integer",
        Kind::Number(..) | Kind::Positive(_) => "a number",
        Kind::Strings => "a list of strings",
        Kind::StringOrStrings => "a string or a list of strings",
        Kind::Types => "a table of types, such as { id = \"int\" }",
        Kind::Expressions => "a table of SQL expressions",
        Kind::Table(_) | Kind::Named(_) => "a table",
        Kind::StringOr(_) => "a string or a table",
        Kind::DurationOr(_) => "a duration or a table",
        Kind::Tables(_) => "a list of tables",
    }
}

impl<'t, 'de> Reader<'t, 'de> {
    /// Reads `table`, found at `place`, by `section`.
    pub(super) fn new(
        section: &'static Section,
        table: &'t TomlTable<'de>,
        place: &Place,
        context: &mut Context<'_>,
    ) -> Self {
        for (key, _) in in_order(table) {
            if !section.keys.iter().any(|known| known.name == key.name) {
                let help = did_you_mean(&key.name, section.keys.iter().map(|known| known.name));
                let message = format!("unknown key `{}` of {}", key.name, section.with_article());
                context.report.add(&place_of(key.span), message, help);
            }
        }
        for key in section.keys.iter().filter(|key| key.required && !table.contains_key(key.name)) {
            context.report.add(
                place,
                format!("`{}` is missing", key.name),
                Some(format!("{}: {}", key.name, key.about)),
            );
        }
        Self { section, table }
    }

    fn key(&self, name: &str) -> &'static Key {
        static NONE: Key = Key { name: "", kind: Kind::String, required: false, about: "" };
        let key = self.section.keys.iter().find(|key| key.name == name);
        debug_assert!(key.is_some(), "`{name}` is not in the catalogue of a {}", self.section.name);
        key.unwrap_or(&NONE)
    }

    pub(super) fn value(&self, name: &str) -> Option<&'t Value<'de>> {
        let _ = self.key(name);
        self.table.get(name)
    }

    pub(super) fn wrong(&self, name: &str, value: &Value<'_>, context: &mut Context<'_>) {
        let message = format!("`{name}` is {}, not {}", kind_name(&self.key(name).kind), a_kind(value));
        context.report.error(&place_of(value.span), message);
    }

    pub(super) fn text(&self, name: &str, context: &mut Context<'_>) -> Option<Text> {
        let value = self.value(name)?;
        if value.as_str().is_none() {
            self.wrong(name, value, context);
            return None;
        }
        context.text(value)
    }

    /// A text that must not be empty.
    pub(super) fn filled(&self, name: &str, context: &mut Context<'_>) -> Option<Text> {
        let text = self.text(name, context)?;
        if text.value.trim().is_empty() {
            context.report.error(&text.place, format!("`{name}` is empty"));
            return None;
        }
        Some(text)
    }

    pub(super) fn choice(&self, name: &str, context: &mut Context<'_>) -> Option<String> {
        let text = self.text(name, context)?;
        let Kind::Choice(choices) = self.key(name).kind else { return Some(text.value) };
        if choices.contains(&text.as_str()) {
            return Some(text.value);
        }
        let message = format!("`{name}` is one of {}, not `{}`", choices.join(", "), text.value);
        let help = suggest(&text.value, choices.iter().copied()).map(|like| format!("did you mean `{like}`?"));
        context.report.add(&text.place, message, help);
        None
    }

    pub(super) fn integer(&self, name: &str, context: &mut Context<'_>) -> Option<i64> {
        let value = self.value(name)?;
        let place = place_of(value.span);
        let number = match value.as_ref() {
            ValueInner::Integer(number) => Some(*number),
            // From the environment, where everything is text.
            ValueInner::String(text) if text.contains("${") => {
                let text = context.text(value)?;
                text.value.trim().parse().ok()
            }
            _ => None,
        };
        let Some(number) = number else {
            self.wrong(name, value, context);
            return None;
        };
        if let Kind::Integer(least, most) = self.key(name).kind
            && !(least..=most).contains(&number)
        {
            context.report.error(&place, format!("`{name}` is from {least} to {most}, not {number}"));
            return None;
        }
        Some(number)
    }

    /// A number, whole or not.
    pub(super) fn number(&self, name: &str, context: &mut Context<'_>) -> Option<f64> {
        let value = self.value(name)?;
        let number = match value.as_ref() {
            ValueInner::Float(number) => Some(*number),
            ValueInner::Integer(number) => Some(*number as f64),
            // From the environment, where everything is text.
            ValueInner::String(text) if text.contains("${") => {
                let text = context.text(value)?;
                text.value.trim().parse().ok()
            }
            _ => None,
        };
        let Some(number) = number else {
            self.wrong(name, value, context);
            return None;
        };
        let (good, bounds) = match self.key(name).kind {
            Kind::Number(least, most) => ((least..=most).contains(&number), format!("from {least} to {most}")),
            Kind::Positive(most) => (number > 0.0 && number <= most, format!("greater than 0 and at most {most}")),
            _ => (true, String::new()),
        };
        if !good {
            context.report.error(&place_of(value.span), format!("`{name}` is {bounds}, not {number}"));
            return None;
        }
        Some(number)
    }

    pub(super) fn duration(&self, name: &str, context: &mut Context<'_>) -> Option<Placed<Span>> {
        let text = self.text(name, context)?;
        context.span(&text)
    }

    pub(super) fn texts(&self, name: &str, context: &mut Context<'_>) -> Vec<Text> {
        let Some(value) = self.value(name) else { return Vec::new() };
        if matches!(self.key(name).kind, Kind::StringOrStrings) && value.as_str().is_some() {
            return self.filled(name, context).into_iter().collect();
        }
        let Some(list) = value.as_array() else {
            self.wrong(name, value, context);
            return Vec::new();
        };
        let mut texts: Vec<Text> = Vec::new();
        for item in list {
            if item.as_str().is_none() {
                let message = format!("`{name}` is a list of strings; this is {}", a_kind(item));
                context.report.error(&place_of(item.span), message);
            } else if let Some(text) = context.text(item) {
                if texts.iter().any(|other| other.value == text.value) {
                    context.report.error(&text.place, format!("`{}` is in `{name}` twice", text.value));
                } else {
                    texts.push(text);
                }
            }
        }
        texts
    }

    /// The table under `name`, with its place.
    pub(super) fn table(&self, name: &str, context: &mut Context<'_>) -> Option<(&'t TomlTable<'de>, Place)> {
        let value = self.value(name)?;
        let Some(table) = value.as_table() else {
            self.wrong(name, value, context);
            return None;
        };
        Some((table, self.place_of_key(name)))
    }

    pub(super) fn place_of_key(&self, name: &str) -> Place {
        self.table.get_key_value(name).map_or(0..0, |(key, _)| place_of(key.span))
    }

    /// The names under `name` with their values, in the order of the file; a name that is none is reported.
    pub(super) fn names(&self, name: &str, context: &mut Context<'_>) -> Vec<(Text, &'t Value<'de>)> {
        let Some((table, _)) = self.table(name, context) else { return Vec::new() };
        let mut names = Vec::new();
        for (key, value) in in_order(table) {
            let text = Text::plain(key.name.as_ref(), place_of(key.span));
            if context.check_name(&text) {
                names.push((text, value));
            }
        }
        names
    }
}

/// The entries of a table in the order of the file.
pub(super) fn in_order<'t, 'de>(table: &'t TomlTable<'de>) -> Vec<(&'t toml_span::value::Key<'de>, &'t Value<'de>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span.start);
    entries
}

/// Longest name of anything.
const MAX_NAME: usize = 128;

impl Context<'_> {
    /// The text of a string, its references resolved.
    pub(super) fn text(&mut self, value: &Value<'_>) -> Option<Text> {
        let text = Text::new(value.as_str()?, &self.file.text, place_of(value.span));
        match text.resolve(self.env) {
            Ok(text) => Some(text),
            Err(errors) => {
                for error in errors {
                    self.report.add(&error.place, error.message, error.help);
                }
                None
            }
        }
    }

    pub(super) fn span(&mut self, text: &Text) -> Option<Placed<Span>> {
        match Span::parse(&text.value) {
            Ok(value) => Some(Placed { value, place: text.place.clone() }),
            Err(error) => {
                self.report.error(&text.place, error.to_string());
                None
            }
        }
    }

    /// Whether this may name something: `[A-Za-z_][A-Za-z0-9_]*`, the first `_` being ours.
    pub(super) fn check_name(&mut self, name: &Text) -> bool {
        let mut chars = name.value.chars();
        let first = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        let message = if !first || !chars.all(|c| c.is_ascii_alphanumeric() || c == '_') {
            format!("`{}` is not a name: use letters, digits and `_`, not starting with a digit", name.value)
        } else if name.value.starts_with('_') {
            format!("`{}` is not a name of yours: those that start with `_` are Tideline's", name.value)
        } else if name.value.len() > MAX_NAME {
            format!("a name has at most {MAX_NAME} characters")
        } else {
            return true;
        };
        self.report.error(&name.place, message);
        false
    }

    /// As [`check_name`](Self::check_name), and not one of `reserved`.
    pub(super) fn check_column(&mut self, name: &Text, reserved: &[&str]) -> bool {
        if reserved.contains(&name.value.as_str()) {
            self.report
                .error(&name.place, format!("`{}` is a column that is always there: choose another name", name.value));
            return false;
        }
        true
    }

    /// Reports a name that is there twice.
    pub(super) fn check_unique<'n>(&mut self, names: impl Iterator<Item = &'n Text>, what: &str) {
        let mut seen = HashSet::new();
        for name in names {
            if !seen.insert(name.value.as_str()) {
                self.report.error(&name.place, format!("{what} `{}` is defined twice", name.value));
            }
        }
    }
}
