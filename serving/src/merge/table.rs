//! Answers as flat tables: for CSV and for terminals.

use std::borrow::Cow;

use tideline_common::plan::Field;
use tideline_common::value::Value;

use super::answer::{CurrentAnswer, LookupAnswer, ReportAnswer, Row, RowsAnswer, TopAnswer};
use crate::boundary::Missing;

/// An answer that can be read as rows under column names.
pub trait Table {
    /// Names of the columns.
    fn names(&self) -> Vec<&str>;

    /// Number of rows.
    fn row_count(&self) -> usize;

    /// The values of a row, one per name. Panics past the end.
    fn row(&self, at: usize) -> Vec<Cow<'_, Value>>;

    /// Parts that should be in it and are not.
    fn missing(&self) -> &[Missing] {
        &[]
    }

    /// As CSV (RFC 4180): a header, then the rows; null is nothing at all, an empty text `""`.
    fn to_csv(&self) -> String {
        let mut out = String::new();
        let push = |out: &mut String, fields: &mut dyn Iterator<Item = Cow<'_, str>>| {
            for (at, field) in fields.enumerate() {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(&field);
            }
            out.push_str("\r\n");
        };
        push(&mut out, &mut self.names().into_iter().map(quoted));
        for at in 0..self.row_count() {
            let row = self.row(at);
            let cell = |value: &Cow<'_, Value>| match value.as_ref() {
                Value::Null => Cow::Borrowed(""),
                Value::String(text) if text.is_empty() => Cow::Borrowed("\"\""),
                other => Cow::Owned(quoted(&other.to_string()).into_owned()),
            };
            push(&mut out, &mut row.iter().map(cell));
        }
        out
    }
}

/// A field, in quotes where it must be.
fn quoted(text: &str) -> Cow<'_, str> {
    if text.contains([',', '"', '\n', '\r']) {
        Cow::Owned(format!("\"{}\"", text.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(text)
    }
}

fn window_row(row: &Row) -> Vec<Cow<'_, Value>> {
    let mut values: Vec<_> = row.key.iter().map(Cow::Borrowed).collect();
    values.extend([row.start, row.end].map(|at| Cow::Owned(Value::Timestamp(at))));
    values.extend(row.values.iter().map(Cow::Borrowed));
    values
}

fn window_names<'a>(key: &'a [Field], columns: &'a [Field]) -> Vec<&'a str> {
    let key = key.iter().map(|field| field.name.as_str());
    let columns = columns.iter().map(|field| field.name.as_str());
    key.chain(["window_start", "window_end"]).chain(columns).collect()
}

impl Table for RowsAnswer {
    fn names(&self) -> Vec<&str> {
        window_names(&self.key, &self.columns)
    }

    fn row_count(&self) -> usize {
        self.rows.len()
    }

    fn row(&self, at: usize) -> Vec<Cow<'_, Value>> {
        window_row(&self.rows[at])
    }

    fn missing(&self) -> &[Missing] {
        &self.provenance.missing
    }
}

impl Table for TopAnswer {
    fn names(&self) -> Vec<&str> {
        let mut names = window_names(&self.key, &self.columns);
        if self.previous.is_some() {
            names.extend(["previous", "direction"]);
        }
        names
    }

    fn row_count(&self) -> usize {
        self.rows.len()
    }

    fn row(&self, at: usize) -> Vec<Cow<'_, Value>> {
        let mut values = window_row(&self.rows[at]);
        if let Some((before, direction)) = self.before(at) {
            let direction = direction.map_or(Value::Null, |direction| Value::String(direction.name().into()));
            values.extend([Cow::Borrowed(before.value()), Cow::Owned(direction)]);
        }
        values
    }

    fn missing(&self) -> &[Missing] {
        &self.provenance.missing
    }
}

impl Table for CurrentAnswer {
    fn names(&self) -> Vec<&str> {
        self.0.names()
    }

    fn row_count(&self) -> usize {
        self.0.row_count()
    }

    fn row(&self, at: usize) -> Vec<Cow<'_, Value>> {
        self.0.row(at)
    }

    fn missing(&self) -> &[Missing] {
        self.0.missing()
    }
}

impl Table for LookupAnswer {
    fn names(&self) -> Vec<&str> {
        std::iter::once("event_time").chain(self.columns.iter().map(|field| field.name.as_str())).collect()
    }

    fn row_count(&self) -> usize {
        self.rows.len()
    }

    fn row(&self, at: usize) -> Vec<Cow<'_, Value>> {
        let (time, values) = &self.rows[at];
        std::iter::once(Cow::Owned(Value::Timestamp(*time))).chain(values.iter().map(Cow::Borrowed)).collect()
    }

    fn missing(&self) -> &[Missing] {
        &self.provenance.missing
    }
}

impl Table for ReportAnswer {
    fn names(&self) -> Vec<&str> {
        self.columns.iter().map(|field| field.name.as_str()).collect()
    }

    fn row_count(&self) -> usize {
        self.rows.len()
    }

    fn row(&self, at: usize) -> Vec<Cow<'_, Value>> {
        self.rows[at].iter().map(Cow::Borrowed).collect()
    }
}
