//! What can be asked.

use tideline_common::key::Key;
use tideline_common::plan::{Field, ViewPlan};
use tideline_common::time::{Span, Timestamp};
use tideline_common::value::Value;
use tideline_common::window::Window;

use crate::boundary::Layer;
use crate::error::QueryError;

/// Rows when no limit is given.
pub const DEFAULT_LIMIT: usize = 1_000;
/// The most rows of one answer.
pub const MAX_LIMIT: usize = 100_000;
/// The most entries of a ranking.
pub const MAX_TOP: usize = 10_000;

/// Which key.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum KeyFilter {
    /// All keys.
    #[default]
    All,
    /// One key as text: the value of a view's only key column just as it is, or the values of several, in order, with
    /// a comma between them (`\,` is a comma in a value, `\\` a backslash). `\N` is null.
    Text(String),
    /// One key as (column, text), one per key column, in any order. `\N` is null.
    Columns(Vec<(String, String)>),
    /// One key as values.
    Values(Vec<Value>),
}

/// Which rows of a view.
#[derive(Clone, Debug, Default)]
pub struct RowsRequest {
    /// The view.
    pub view: String,
    /// Which key.
    pub key: KeyFilter,
    /// Windows that begin at this or later.
    pub from: Option<Timestamp>,
    /// Windows that begin before this.
    pub to: Option<Timestamp>,
    /// Size of the windows: any multiple of the pane; `None`: the declared one.
    pub window: Option<Span>,
    /// Distance of their starts: any multiple of the pane. `None`: the declared one for the declared size, otherwise
    /// the size (tumbling).
    pub slide: Option<Span>,
    /// Which layer.
    pub layer: Layer,
    /// Rows at most, 1 to [`MAX_LIMIT`]; `None`: [`DEFAULT_LIMIT`].
    pub limit: Option<usize>,
    /// Where the page before stopped: [`super::RowsAnswer::cursor`].
    pub cursor: Option<String>,
    /// Puts the boundary elsewhere than where the manifest has it, for tests of the merge.
    pub boundary: Option<Timestamp>,
}

/// Which window of a ranking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum At {
    /// The newest: it ends with the newest pane with data, and is still filling.
    #[default]
    Newest,
    /// The newest that has ended: it ends where the newest pane with data begins, and not later than now.
    Complete,
    /// The one that ends at this time, rounded down to a whole pane.
    End(Timestamp),
}

impl At {
    /// Where the window ends, when the newest pane with data, of a length of `pane`, ends at `newest`.
    pub(crate) fn end(self, newest: Option<Timestamp>, pane: Span, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Newest => newest,
            Self::Complete => newest.map(|end| end.minus(pane).min(now.floor(pane))),
            Self::End(at) => Some(at.floor(pane)),
        }
    }
}

/// Which ranking.
#[derive(Clone, Debug, Default)]
pub struct TopRequest {
    /// The view.
    pub view: String,
    /// The answer column that ranks, descending; `None`: the first of the view's `top`, or its first rankable column.
    pub by: Option<String>,
    /// Entries at most, 1 to [`MAX_TOP`]; `None`: 10.
    pub limit: Option<usize>,
    /// Size of the window: any multiple of the pane; `None`: the declared one.
    pub window: Option<Span>,
    /// Which window of that size.
    pub at: At,
    /// Whether the window that began one slide before is wanted too, for the direction of each row.
    pub previous: bool,
    /// Which layer.
    pub layer: Layer,
    /// As [`RowsRequest::boundary`].
    pub boundary: Option<Timestamp>,
}

/// Which rows of a lookup.
#[derive(Clone, Debug, Default)]
pub struct LookupRequest {
    /// The lookup.
    pub lookup: String,
    /// Which key; [`KeyFilter::All`] is refused unless the lookup has no key columns.
    pub key: KeyFilter,
    /// Rows at most, 1 to the lookup's own limit; `None`: that limit, at most [`DEFAULT_LIMIT`].
    pub limit: Option<usize>,
    /// Which layer.
    pub layer: Layer,
}

/// Which rows of a report.
#[derive(Clone, Debug, Default)]
pub struct ReportRequest {
    /// The report.
    pub report: String,
    /// Equality conditions as (column, text); `\N` is null.
    pub filters: Vec<(String, String)>,
    /// Rows to skip.
    pub offset: u64,
    /// Rows at most, 1 to [`MAX_LIMIT`]; `None`: [`DEFAULT_LIMIT`].
    pub limit: Option<usize>,
    /// Where the page before stopped; not together with `offset`.
    pub cursor: Option<String>,
}

/// The limit to use, when `limit` is asked for.
pub(crate) fn checked_limit(limit: Option<usize>, default: usize, most: usize) -> Result<usize, QueryError> {
    match limit {
        None => Ok(default),
        Some(limit) if (1..=most).contains(&limit) => Ok(limit),
        Some(limit) => Err(QueryError::parameter("limit", format!("{limit} is not from 1 to {most}"))),
    }
}

/// The windows to answer with: the declared ones, or those asked for when they are whole panes.
pub(crate) fn checked_window(plan: &ViewPlan, size: Option<Span>, slide: Option<Span>) -> Result<Window, QueryError> {
    let wanted = size.unwrap_or(plan.window.size);
    let step = slide.unwrap_or(if wanted == plan.window.size { plan.window.slide } else { wanted });
    let (size_name, slide_name) = ("window", if slide.is_some() { "slide" } else { "window" });
    for (name, span) in [(size_name, wanted), (slide_name, step)] {
        if span.0 <= 0 {
            return Err(QueryError::parameter(name, "must be longer than zero"));
        }
        if span.0 % plan.pane.0 != 0 {
            let message = format!("{span} is not a multiple of the pane of view `{}`, {}", plan.name, plan.pane);
            return Err(QueryError::parameter(name, message));
        }
    }
    let window = Window::new(wanted, step).map_err(|error| QueryError::parameter(slide_name, error))?;
    window.check_panes(plan.pane).map_err(|error| QueryError::parameter(size_name, error))?;
    Ok(window)
}

impl KeyFilter {
    /// The key in byte form, `None` for all keys. `columns` are the key columns of what is asked.
    pub(crate) fn resolve(&self, columns: &[Field]) -> Result<Option<Key>, QueryError> {
        let texts: Vec<(&Field, Option<String>)> = match self {
            Self::All => return Ok(None),
            Self::Values(values) => {
                if values.len() != columns.len() {
                    return Err(arity(columns, values.len()));
                }
                return Ok(Some(Key::of(values)));
            }
            Self::Text(text) => {
                let parts = if columns.len() == 1 { vec![whole(text)] } else { split(text)? };
                if parts.len() != columns.len() {
                    return Err(arity(columns, parts.len()));
                }
                columns.iter().zip(parts).collect()
            }
            Self::Columns(pairs) => by_column(columns, pairs)?,
        };
        let mut values = Vec::with_capacity(texts.len());
        for (field, text) in texts {
            values.push(match text {
                None => Value::Null,
                Some(text) => Value::parse(&text, field.ty)
                    .map_err(|error| QueryError::parameter("key", format!("column `{}`: {error}", field.name)))?,
            });
        }
        Ok(Some(Key::of(&values)))
    }
}

fn whole(text: &str) -> Option<String> {
    (text != "\\N").then(|| text.to_owned())
}

fn arity(columns: &[Field], given: usize) -> QueryError {
    let names: Vec<&str> = columns.iter().map(|f| f.name.as_str()).collect();
    let message = if names.is_empty() {
        "there are no key columns: leave the key out".to_owned()
    } else {
        format!(
            "the key has {} ({}), {given} given; a comma within a value is written `\\,`",
            count(names.len(), "column"),
            names.join(", ")
        )
    };
    QueryError::parameter("key", message)
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("{n} {what}") } else { format!("{n} {what}s") }
}

/// Splits at commas that no backslash precedes.
fn split(text: &str) -> Result<Vec<Option<String>>, QueryError> {
    let mut parts = Vec::new();
    let (mut part, mut null) = (String::new(), false);
    let mut letters = text.chars();
    loop {
        match letters.next() {
            Some('\\') => match letters.next() {
                Some('N') if part.is_empty() && !null => null = true,
                Some(letter @ (',' | '\\')) => part.push(letter),
                _ => {
                    return Err(QueryError::parameter(
                        "key",
                        "after a backslash comes a comma, a backslash or N (null)",
                    ));
                }
            },
            letter @ (Some(',') | None) => {
                let text = std::mem::take(&mut part);
                if null && !text.is_empty() {
                    return Err(QueryError::parameter("key", "`\\N` (null) stands alone"));
                }
                parts.push((!std::mem::take(&mut null)).then_some(text));
                if letter.is_none() {
                    return Ok(parts);
                }
            }
            Some(letter) => part.push(letter),
        }
    }
}

fn by_column<'a>(
    columns: &'a [Field],
    pairs: &[(String, String)],
) -> Result<Vec<(&'a Field, Option<String>)>, QueryError> {
    for (at, (name, _)) in pairs.iter().enumerate() {
        let parameter = format!("key.{name}");
        if !columns.iter().any(|field| field.name == *name) {
            let names: Vec<&str> = columns.iter().map(|f| f.name.as_str()).collect();
            let message = format!("`{name}` is not a key column; those are: {}", names.join(", "));
            return Err(QueryError::parameter(parameter, message));
        }
        if pairs[..at].iter().any(|(earlier, _)| earlier == name) {
            return Err(QueryError::parameter(parameter, "given twice"));
        }
    }
    columns
        .iter()
        .map(|field| match pairs.iter().find(|(name, _)| *name == field.name) {
            Some((_, text)) => Ok((field, whole(text))),
            None => {
                Err(QueryError::parameter(format!("key.{}", field.name), "missing: a key needs all of its columns"))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tideline_common::value::Type;

    use super::*;

    fn fields(types: &[Type]) -> Vec<Field> {
        types.iter().enumerate().map(|(at, ty)| Field { name: format!("k{at}"), ty: *ty }).collect()
    }

    #[test]
    fn texts_become_keys() {
        let one = fields(&[Type::String]);
        let key = |text: &str, fields: &[Field]| {
            KeyFilter::Text(text.to_owned()).resolve(fields).unwrap().unwrap().values().unwrap()
        };
        assert_eq!(key("a,b\\", &one), [Value::String("a,b\\".into())]);
        assert_eq!(key("\\N", &one), [Value::Null]);
        let two = fields(&[Type::String, Type::Int]);
        assert_eq!(key("a\\,b\\\\,7", &two), [Value::String("a,b\\".into()), Value::Int(7)]);
        assert_eq!(key(",7", &two), [Value::String(String::new()), Value::Int(7)]);
        assert_eq!(key("\\N,7", &two), [Value::Null, Value::Int(7)]);
        for bad in ["a", "a,b", "a,1,2", "a\\", "a\\x,1", "\\Nx,1"] {
            assert!(KeyFilter::Text(bad.to_owned()).resolve(&two).is_err(), "{bad}");
        }
        let pairs = |pairs: &[(&str, &str)]| {
            KeyFilter::Columns(pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()).resolve(&two)
        };
        let values = pairs(&[("k1", "7"), ("k0", "a,b")]).unwrap().unwrap().values().unwrap();
        assert_eq!(values, [Value::String("a,b".into()), Value::Int(7)]);
        assert!(pairs(&[("k1", "7")]).unwrap_err().to_string().starts_with("key.k0: missing"));
        assert!(pairs(&[("k1", "7"), ("k1", "7")]).is_err());
        assert!(pairs(&[("x", "7")]).is_err());
        assert!(KeyFilter::Text(String::new()).resolve(&[]).is_err());
    }
}
