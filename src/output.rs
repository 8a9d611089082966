//! What commands print: tables for people, JSON and CSV for programs.

use std::io::{self, Write};

use clap::ValueEnum;
use serde_json::Value as Json;

/// How rows are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns.
    #[default]
    Table,
    /// One JSON array.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// Comma-separated values with a header.
    Csv,
}

/// Rows with named columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Column names.
    pub columns: Vec<String>,
    /// Rows: one value per column.
    pub rows: Vec<Vec<Json>>,
}

impl Rows {
    /// The rows of an answer: JSON objects; an object under `key` is spread into columns. The columns are those
    /// of the first row, then any that later rows add.
    pub fn of_objects(objects: &[Json]) -> Self {
        let mut table = Self::default();
        let mut place = std::collections::HashMap::new();
        for object in objects {
            let mut row = vec![Json::Null; table.columns.len()];
            let Some(map) = object.as_object() else { continue };
            for (name, value) in map {
                let spread = value.as_object().filter(|_| name == "key");
                let cells: Vec<(&String, &Json)> =
                    spread.map_or_else(|| vec![(name, value)], |inner| inner.iter().collect());
                for (name, value) in cells {
                    let at = *place.entry(name.clone()).or_insert_with(|| {
                        table.columns.push(name.clone());
                        table.columns.len() - 1
                    });
                    if row.len() <= at {
                        row.resize(at + 1, Json::Null);
                    }
                    row[at] = value.clone();
                }
            }
            table.rows.push(row);
        }
        for row in &mut table.rows {
            row.resize(table.columns.len(), Json::Null);
        }
        table
    }

    /// Writes the rows.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn write(&self, format: Format, out: &mut dyn Write) -> io::Result<()> {
        match format {
            Format::Table => self.write_table(out),
            Format::Csv => self.write_csv(out),
            Format::Ndjson => {
                for row in &self.rows {
                    writeln!(out, "{}", self.object(row))?;
                }
                Ok(())
            }
            Format::Json => {
                let all: Vec<Json> = self.rows.iter().map(|row| self.object(row)).collect();
                writeln!(out, "{}", Json::Array(all))
            }
        }
    }

    fn object(&self, row: &[Json]) -> Json {
        Json::Object(self.columns.iter().cloned().zip(row.iter().cloned()).collect())
    }

    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let cells: Vec<Vec<String>> = self.rows.iter().map(|row| row.iter().map(for_people).collect()).collect();
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|at| {
                let longest = cells.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
                longest.max(self.columns[at].chars().count())
            })
            .collect();
        // Numbers to the right, all else to the left.
        let right: Vec<bool> = (0..self.columns.len())
            .map(|at| self.rows.iter().all(|row| row[at].is_number() || row[at].is_null()) && !self.rows.is_empty())
            .collect();
        let line = |values: &[String], out: &mut dyn Write| -> io::Result<()> {
            let mut text = String::new();
            for (at, value) in values.iter().enumerate() {
                let pad = " ".repeat(widths[at] - value.chars().count());
                let (before, after) = if right[at] { (pad, String::new()) } else { (String::new(), pad) };
                text.push_str(&before);
                text.push_str(value);
                text.push_str(&after);
                text.push_str("  ");
            }
            writeln!(out, "{}", text.trim_end())
        };
        line(&self.columns, out)?;
        line(&widths.iter().map(|width| "─".repeat(*width)).collect::<Vec<_>>(), out)?;
        for row in &cells {
            line(row, out)?;
        }
        Ok(())
    }

    fn write_csv(&self, out: &mut dyn Write) -> io::Result<()> {
        let quote = |text: &str| {
            if text.contains([',', '"', '\n', '\r']) {
                format!("\"{}\"", text.replace('"', "\"\""))
            } else {
                text.to_owned()
            }
        };
        writeln!(out, "{}", self.columns.iter().map(|name| quote(name)).collect::<Vec<_>>().join(","))?;
        for row in &self.rows {
            let cells: Vec<String> = row
                .iter()
                .map(|value| match value {
                    Json::Null => String::new(),
                    Json::String(text) => quote(text),
                    other => quote(&other.to_string()),
                })
                .collect();
            writeln!(out, "{}", cells.join(","))?;
        }
        Ok(())
    }
}

/// The longest text that a table shows of one cell.
const CELL_CHARS_MAX: usize = 80;

fn for_people(value: &Json) -> String {
    match value {
        Json::Null => "-".to_owned(),
        Json::String(text) => {
            let text = text.replace(['\n', '\r', '\t'], " ");
            if text.chars().count() > CELL_CHARS_MAX {
                text.chars().take(CELL_CHARS_MAX - 1).chain(['…']).collect()
            } else {
                text
            }
        }
        Json::Number(number) if number.is_f64() => {
            let x = number.as_f64().unwrap_or_default();
            if x != 0.0 && (x.abs() < 1e-4 || x.abs() >= 1e12) { format!("{x:.4e}") } else { format!("{x:.4}") }
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn printed(format: Format) -> String {
        let rows = Rows::of_objects(&[
            json!({"key": {"symbol": "A"}, "mentions": 3, "sentiment": 0.25}),
            json!({"key": {"symbol": "B,\"C\""}, "mentions": null, "note": "late\nnews"}),
        ]);
        let mut out = Vec::new();
        rows.write(format, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn tables_align() {
        insta::assert_snapshot!(printed(Format::Table), @r#"
        symbol  mentions  sentiment  note
        ──────  ────────  ─────────  ─────────
        A              3     0.2500  -
        B,"C"          -          -  late news
        "#);
    }

    #[test]
    fn csv_quotes() {
        insta::assert_snapshot!(printed(Format::Csv), @r#"
        symbol,mentions,sentiment,note
        A,3,0.25,
        "B,""C""",,,"late
        news"
        "#);
    }

    #[test]
    fn ndjson_has_every_column_in_every_row() {
        insta::assert_snapshot!(printed(Format::Ndjson), @r#"
        {"symbol":"A","mentions":3,"sentiment":0.25,"note":null}
        {"symbol":"B,\"C\"","mentions":null,"sentiment":null,"note":"late\nnews"}
        "#);
    }
}
