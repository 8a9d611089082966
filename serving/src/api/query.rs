//! Query strings: every parameter is known, given once, and read in one place.

use axum::http::Uri;
use tideline_common::time::{Span, Timestamp};

use super::problem::{ApiResult, Problem};
use crate::boundary::Layer;
use crate::merge::{At, KeyFilter};

/// The parameters of a request that have not been taken yet.
#[derive(Debug)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
    taken: Vec<&'static str>,
}

/// The earliest and the latest time that a request may name: years 1 and 9999.
const TIMES: (i64, i64) = (-62_135_596_800_000_000, 253_402_300_799_999_999);

pub(crate) fn invalid(name: &str, message: impl std::fmt::Display) -> Problem {
    Problem::new("invalid-parameter", format!("`{name}` {message}")).parameter(name)
}

/// The time that a parameter names.
fn time(name: &str, text: String) -> ApiResult<Timestamp> {
    // In a query string a `+` is a space: an offset of `+01:00` that was not escaped is still understood.
    let text = if text.contains('T') { text.replace(' ', "+") } else { text };
    let time = Timestamp::parse(&text).map_err(|error| invalid(name, format!("cannot be read: {error}")))?;
    if (TIMES.0..=TIMES.1).contains(&time.0) { Ok(time) } else { Err(invalid(name, "is not in the years 1 to 9999")) }
}

impl Query {
    pub(crate) fn of(uri: &Uri) -> Self {
        let text = uri.query().unwrap_or_default().as_bytes();
        Self { pairs: form_urlencoded::parse(text).into_owned().collect(), taken: Vec::new() }
    }

    /// Takes a parameter as text.
    pub(crate) fn text(&mut self, name: &'static str) -> ApiResult<Option<String>> {
        self.taken.push(name);
        let mut found = None;
        let mut twice = false;
        self.pairs.retain_mut(|(key, value)| {
            if key != name {
                return true;
            }
            twice |= found.replace(std::mem::take(value)).is_some();
            false
        });
        if twice { Err(invalid(name, "is given twice")) } else { Ok(found) }
    }

    /// Takes a parameter that may be there more than once.
    pub(crate) fn texts(&mut self, name: &'static str) -> Vec<String> {
        self.taken.push(name);
        let (named, rest) = std::mem::take(&mut self.pairs).into_iter().partition(|(key, _)| key == name);
        self.pairs = rest;
        named.into_iter().map(|(_, value): (String, String)| value).collect()
    }

    /// Takes a time.
    pub(crate) fn time(&mut self, name: &'static str) -> ApiResult<Option<Timestamp>> {
        self.text(name)?.map(|text| time(name, text)).transpose()
    }

    /// Takes `at`: the end of a window, or `complete`.
    pub(crate) fn at(&mut self) -> ApiResult<At> {
        match self.text("at")? {
            None => Ok(At::Newest),
            Some(text) if text == "complete" => Ok(At::Complete),
            Some(text) => time("at", text).map(At::End),
        }
    }

    /// Takes a span of time.
    pub(crate) fn span(&mut self, name: &'static str) -> ApiResult<Option<Span>> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let span = Span::parse(&text).map_err(|error| invalid(name, format!("cannot be read: {error}")))?;
        if span.0 <= 0 { Err(invalid(name, "must be longer than zero")) } else { Ok(Some(span)) }
    }

    /// Takes a number that is not negative.
    pub(crate) fn number(&mut self, name: &'static str) -> ApiResult<Option<u64>> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        text.parse().map(Some).map_err(|_| invalid(name, format!("`{text}` is not a whole number from 0")))
    }

    /// Takes `limit`.
    pub(crate) fn limit(&mut self) -> ApiResult<Option<usize>> {
        Ok(self.number("limit")?.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)))
    }

    /// Takes `true` or `false`; false when it is not there.
    pub(crate) fn flag(&mut self, name: &'static str) -> ApiResult<bool> {
        match self.text(name)?.as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(invalid(name, format!("`{other}` is neither true nor false"))),
        }
    }

    /// Takes a number from `least` to `most`.
    pub(crate) fn bounded(&mut self, name: &'static str, least: usize, most: usize) -> ApiResult<Option<usize>> {
        let Some(number) = self.number(name)? else { return Ok(None) };
        match usize::try_from(number) {
            Ok(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => Err(invalid(name, format!("is not from {least} to {most}"))),
        }
    }

    /// Takes `layer`.
    pub(crate) fn layer(&mut self) -> ApiResult<Layer> {
        let Some(text) = self.text("layer")? else { return Ok(Layer::default()) };
        Layer::parse(&text).ok_or_else(|| invalid("layer", format!("`{text}` is none of merged, speed, batch")))
    }

    /// Takes `format`: whether CSV is wanted.
    pub(crate) fn csv(&mut self) -> ApiResult<bool> {
        match self.text("format")?.as_deref() {
            None | Some("json") => Ok(false),
            Some("csv") => Ok(true),
            Some(other) => Err(invalid("format", format!("`{other}` is neither json nor csv"))),
        }
    }

    /// Takes `key` or the `key.<column>`s.
    pub(crate) fn key(&mut self) -> ApiResult<KeyFilter> {
        let whole = self.text("key")?;
        self.taken.push("key.<column>");
        let columns = self.prefixed("key.");
        match (whole, columns.is_empty()) {
            (Some(_), false) => Err(invalid("key", "is given together with `key.<column>`: use one of both")),
            (Some(text), true) => Ok(KeyFilter::Text(text)),
            (None, false) => Ok(KeyFilter::Columns(columns)),
            (None, true) => Ok(KeyFilter::All),
        }
    }

    fn prefixed(&mut self, prefix: &str) -> Vec<(String, String)> {
        let (named, rest) = std::mem::take(&mut self.pairs).into_iter().partition(|(name, _)| name.starts_with(prefix));
        self.pairs = rest;
        named.into_iter().map(|(name, value): (String, String)| (name[prefix.len()..].to_owned(), value)).collect()
    }

    /// Takes all that is left, as conditions on columns; `where.<column>` names one that is called as a parameter is.
    pub(crate) fn filters(&mut self) -> Vec<(String, String)> {
        let mut filters = self.prefixed("where.");
        filters.append(&mut self.pairs);
        filters
    }

    /// Refuses what is left.
    pub(crate) fn done(self) -> ApiResult<()> {
        let Some((name, _)) = self.pairs.first() else { return Ok(()) };
        let names: Vec<&str> = self.pairs.iter().map(|(name, _)| name.as_str()).collect();
        let known: Vec<String> = self.taken.iter().map(|&name| name.to_owned()).collect();
        let suggestion = tideline_common::formula::suggest(name, self.taken.iter().copied()).map(str::to_owned);
        let detail = if known.is_empty() {
            format!("`{}` is not a parameter here; there are none", names.join("`, `"))
        } else {
            format!("`{}` is not a parameter here; there are: {}", names.join("`, `"), known.join(", "))
        };
        Err(Problem::new("unknown-parameter", detail).parameter(name).known(known, suggestion))
    }
}
