//! Records of which a view or lookup would get a key that no store takes.
//!
//! A key is what table and view make of a record, and a table is evaluated after rows have been judged. So that a record
//! is rejected in time and in both layers alike, the rows of those few are made twice whose payload is large enough: what
//! expressions of a key can make of a payload is bounded by its size and their text.

use std::sync::Arc;

use polars::prelude::DataFrame;
use tideline_common::key;
use tideline_common::plan::{Field, Plan, SourcePlan, TablePlan};
use tideline_common::value::Type;

use crate::expression::columns_used;
use crate::frame::frame_to_columns;
use crate::reason::Reason;
use crate::{SEQUENCE, TransformError};

/// The most bytes that a byte of a payload becomes in a text of it: changes of case lengthen some characters.
const GROWTH: usize = 3;
/// The most bytes that a number or a time becomes in a text.
const NUMBER: usize = 512;
/// Functions whose result is not bounded by the sum of what they take.
const UNBOUNDED: [&str; 3] = ["lpad", "rpad", "replace"];

/// The keys that are made of one table.
#[derive(Debug)]
pub(crate) struct TableKeys {
    /// What has the key, and its columns.
    keys: Vec<(Arc<str>, Vec<Field>)>,
    /// The least payload of which one of them may be too long.
    from: usize,
}

impl TableKeys {
    /// Of `table`, over `source`.
    pub(crate) fn new(plan: &Plan, table: &TablePlan, source: &SourcePlan) -> Self {
        let views = plan.views_of(&table.name).map(|view| (format!("view `{}`", view.name), &view.key));
        let lookups = plan.lookups_of(&table.name).map(|lookup| (format!("lookup `{}`", lookup.name), &lookup.key));
        let has_text = |key: &&Vec<Field>| key.iter().any(|field| field.ty == Type::String);
        let keys = views.chain(lookups).filter(|(_, key)| has_text(key));
        let keys: Vec<(Arc<str>, Vec<Field>)> = keys.map(|(what, key)| (what.into(), key.clone())).collect();
        let from = keys.iter().map(|(_, key)| least_payload(key, table, &source.columns)).min().unwrap_or(usize::MAX);
        Self { keys, from }
    }

    /// Whether a record with a payload of `bytes` may have a key that is too long.
    pub(crate) const fn may_be_too_long(&self, bytes: usize) -> bool {
        bytes >= self.from
    }

    /// The rows of the table with a key that is too long: their sequences, and why.
    pub(crate) fn too_long(&self, rows: &DataFrame) -> Result<Vec<(i64, Reason)>, TransformError> {
        let mut found = Vec::new();
        let sequences = rows.column(SEQUENCE)?.i64()?;
        let mut bytes = Vec::new();
        for (of, fields) in &self.keys {
            let columns = frame_to_columns(fields, rows)?;
            for (row, sequence) in sequences.iter().enumerate() {
                bytes.clear();
                key::encode_row(&columns, row, &mut bytes);
                if bytes.len() > key::MAX_BYTES {
                    let reason = Reason::LongKey { of: of.clone(), bytes: bytes.len() };
                    found.push((sequence.unwrap_or_default(), reason));
                }
            }
        }
        Ok(found)
    }
}

/// The least payload of which `key` may be too long.
fn least_payload(key: &[Field], table: &TablePlan, source: &[Field]) -> usize {
    let (mut factor, mut fixed) = (0, 0);
    for field in key {
        fixed += 16;
        let Some(column) = table.columns.iter().find(|column| column.name == field.name) else { continue };
        if field.ty != Type::String {
            continue;
        }
        let sql = column.sql.to_lowercase();
        if UNBOUNDED.iter().any(|function| sql.contains(function)) {
            return 0;
        }
        // Each time that a column is named, and not less often.
        let used = columns_used(&column.sql, source);
        let named: usize = used.iter().map(|name| sql.matches(&name.to_lowercase()).count().max(1)).sum();
        factor += GROWTH * named;
        // Literals, of which zeros take two bytes.
        fixed += 2 * sql.len() + NUMBER * (1 + named);
    }
    match key::MAX_BYTES.checked_sub(fixed) {
        Some(left) if factor > 0 => left / factor,
        Some(_) => usize::MAX,
        None => 0,
    }
}
