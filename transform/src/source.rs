//! Records of a source to rows of its tables.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use polars::prelude::{
    BooleanChunked, ChunkExplode, Column, DataFrame, DataType, ExplodeOptions, IdxCa, Int64Chunked, IntoColumn,
};
use polars_arrow::array::Array;
use tideline_common::plan::{EVENT_TIME, Field, Plan, SourcePlan, TablePlan};
use tideline_common::position::{Partition, sequence};
use tideline_common::record::Record;
use tideline_common::value::Type;
use xxhash_rust::xxh3::xxh3_128;

use crate::decode::Decoder;
use crate::expression::{Evaluated, Output, Program, columns_used};
use crate::long_keys::TableKeys;
use crate::reason::{Reason, Rejected};
use crate::rows::keep_flagged;
use crate::{Decoded, HIGHEST, ORDINAL, SEQUENCE, SourceRows, TransformError};

/// Everything that is done to records of one source, compiled once.
#[derive(Debug)]
pub struct SourceTransform {
    decoder: Decoder,
    checks: Option<(Vec<Arc<str>>, Program)>,
    dedupe: Option<Program>,
    key: Option<(Decoder, Program)>,
    tables: Vec<TableTransform>,
}

/// The rows of one table.
#[derive(Debug)]
struct TableTransform {
    name: String,
    columns: Program,
    unnest: Option<usize>,
    filter: Option<Program>,
    keys: TableKeys,
}

impl SourceTransform {
    /// Compiles the source `source` of `plan` and its tables.
    ///
    /// # Errors
    /// When the plan has no such source, or an expression cannot be run.
    pub fn new(plan: &Plan, source: &str) -> Result<Self, TransformError> {
        let source = plan.source(source).ok_or_else(|| TransformError::unknown("source", source))?;
        let what = format!("source `{}`", source.name);
        let fields = source_fields(source);
        let checks = if source.checks.is_empty() {
            None
        } else {
            let names = source.checks.iter().map(|check| check.name.as_str().into()).collect();
            let outputs: Vec<Output<'_>> = source
                .checks
                .iter()
                .map(|check| Output { name: &check.name, sql: &check.sql, ty: Type::Bool })
                .collect();
            Some((names, Program::new(&what, &outputs, &fields)?))
        };
        let dedupe = source.dedupe.as_deref().map(|sql| text_program(&what, "dedupe", sql, &fields)).transpose()?;
        let key = source.key.as_deref().map(|sql| key_program(&what, sql, source)).transpose()?;
        let programs: Vec<(String, Vec<Output<'_>>)> = plan.tables_of(&source.name).map(table_outputs).collect();
        // Compiled together: what several tables have of one text is computed once.
        let programs = Program::several(&programs, &fields)?;
        let tables = plan
            .tables_of(&source.name)
            .zip(programs)
            .map(|(table, columns)| TableTransform::new(plan, table, source, columns))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { decoder: Decoder::new(source), checks, dedupe, key, tables })
    }

    /// Decodes records of one partition, in offset order. A bad record is rejected and costs no other.
    ///
    /// # Errors
    /// When an expression cannot be evaluated: never because of a record's content alone.
    pub fn decode(&self, partition: Partition, records: &[Record]) -> Result<Decoded, TransformError> {
        let decoded = self.decoder.decode(records);
        let mut rows = SourceRows {
            partition,
            columns: decoded.filled,
            event_times: decoded.event_times,
            offsets: decoded.offsets,
            appended: decoded.appended,
            dedupe: None,
            highest: None,
        };
        let (mut indexes, mut rejected) = (decoded.indexes, decoded.rejected);
        if let Some((names, program)) = &self.checks
            && !rows.is_empty()
        {
            check(names, program, &mut rows, &mut indexes, &mut rejected)?;
        }
        self.reject_long_keys(records, &mut rows, &indexes, &mut rejected)?;
        if let Some(program) = &self.dedupe {
            let texts = program.evaluate(&rows.source_frame()?)?;
            rows.dedupe = Some(texts[0].str()?.iter().map(|text| text.map(|text| xxh3_128(text.as_bytes()))).collect());
        }
        Ok(Decoded { rows, rejected })
    }

    /// Moves the rows with a key that no store takes to the rejected ones.
    fn reject_long_keys(
        &self,
        records: &[Record],
        rows: &mut SourceRows,
        indexes: &[u32],
        rejected: &mut Vec<Rejected>,
    ) -> Result<(), TransformError> {
        let mut long: HashMap<i64, Reason> = HashMap::new();
        for table in &self.tables {
            let payload = |index: &u32| records.get(*index as usize).map_or(0, |record| record.payload.len());
            let is_large = |index: &u32| table.keys.may_be_too_long(payload(index));
            // Hardly ever is one, and nothing is made for the others.
            if !indexes.iter().any(is_large) {
                continue;
            }
            let large: Vec<bool> = indexes.iter().map(is_large).collect();
            let mut some = rows.clone();
            some.retain(&large)?;
            for (sequence, reason) in table.keys.too_long(&table.rows(&some, &mut Evaluated::default())?)? {
                long.entry(sequence).or_insert(reason);
            }
        }
        if long.is_empty() {
            return Ok(());
        }
        let mut keep = vec![true; rows.len()];
        for (row, offset) in rows.offsets.iter().enumerate() {
            if let Some(reason) = long.remove(&sequence(rows.partition, *offset)) {
                keep[row] = false;
                rejected.push(Rejected { index: indexes[row] as usize, offset: *offset, reason });
            }
        }
        rejected.sort_by_key(|rejected| rejected.index);
        rows.retain(&keep)
    }

    /// Rows of a table: its columns, `event_time`, `_sequence`, `_ordinal` and, when set, `_highest`. Expressions
    /// are evaluated once per record, before `unnest`; a list without elements, or null, makes no row.
    ///
    /// # Errors
    /// When the source has no such table, or an expression cannot be evaluated.
    pub fn table_rows(&self, table: &str, rows: &SourceRows) -> Result<DataFrame, TransformError> {
        self.tables_over(rows).rows(table)
    }

    /// Rows of several tables, one after the other, over the same rows of the source: what expressions of one have computed
    /// is there for the next.
    pub fn tables_over<'a>(&'a self, rows: &'a SourceRows) -> TablesOver<'a> {
        TablesOver { transform: self, rows, evaluated: Evaluated::default() }
    }

    /// Partition keys of raw records, by the source's `key` expression: its text. `None` where the record cannot
    /// be read, the key is null, or the source declares none.
    pub fn keys(&self, payloads: &[Bytes]) -> Vec<Option<Bytes>> {
        let nothing = || vec![None; payloads.len()];
        let Some((decoder, program)) = &self.key else { return nothing() };
        let (columns, readable) = decoder.columns(payloads.iter().map(AsRef::as_ref));
        let keys = DataFrame::new(payloads.len(), columns).map_err(TransformError::from);
        let Ok(keys) = keys.and_then(|frame| program.evaluate(&frame)) else { return nothing() };
        let Some(Ok(texts)) = keys.first().map(|column| column.str()) else { return nothing() };
        let key = |(text, readable): (Option<&str>, bool)| {
            text.filter(|_| readable).map(|text| Bytes::copy_from_slice(text.as_bytes()))
        };
        texts.iter().zip(readable).map(key).collect()
    }
}

/// See [`SourceTransform::tables_over`].
#[derive(Debug)]
pub struct TablesOver<'a> {
    transform: &'a SourceTransform,
    rows: &'a SourceRows,
    evaluated: Evaluated,
}

impl TablesOver<'_> {
    /// Rows of a table, as [`SourceTransform::table_rows`] has them.
    ///
    /// # Errors
    /// As [`SourceTransform::table_rows`].
    pub fn rows(&mut self, table: &str) -> Result<DataFrame, TransformError> {
        let found = self.transform.tables.iter().find(|known| known.name == table);
        found.ok_or_else(|| TransformError::unknown("table", table))?.rows(self.rows, &mut self.evaluated)
    }
}

/// What is evaluated for a table, and whose it is.
fn table_outputs(table: &TablePlan) -> (String, Vec<Output<'_>>) {
    let outputs = table.columns.iter().map(|column| Output {
        name: &column.name,
        sql: &column.sql,
        ty: if column.unnest { Type::Strings } else { column.ty },
    });
    (table_name(table), outputs.collect())
}

fn table_name(table: &TablePlan) -> String {
    format!("table `{}`", table.name)
}

/// The columns that expressions over a source may use.
fn source_fields(source: &SourcePlan) -> Vec<Field> {
    let mut fields: Vec<Field> = source.columns.iter().filter(|field| field.name != EVENT_TIME).cloned().collect();
    fields.push(Field { name: EVENT_TIME.to_owned(), ty: Type::Timestamp });
    fields
}

/// `sql` as text, whatever its type is.
fn text_program(what: &str, name: &str, sql: &str, fields: &[Field]) -> Result<Program, TransformError> {
    let sql = format!("CAST((\n{sql}\n) AS VARCHAR)");
    Program::new(what, &[Output { name, sql: &sql, ty: Type::String }], fields)
}

/// The key expression, with a decoder of no more than the columns that it uses.
fn key_program(what: &str, sql: &str, source: &SourcePlan) -> Result<(Decoder, Program), TransformError> {
    let mut narrow = source.clone();
    let used = columns_used(sql, &source_fields(source));
    narrow.columns.retain(|field| used.contains(&field.name));
    narrow.required.clear();
    let program = text_program(what, "key", sql, &narrow.columns)?;
    Ok((Decoder::new(&narrow), program))
}

/// Moves the rows that fail a check to the rejected ones.
fn check(
    names: &[Arc<str>],
    program: &Program,
    rows: &mut SourceRows,
    indexes: &mut Vec<u32>,
    rejected: &mut Vec<Rejected>,
) -> Result<(), TransformError> {
    let passed = program.evaluate(&rows.source_frame()?)?;
    let mut keep = vec![true; rows.len()];
    for (name, passed) in names.iter().zip(&passed) {
        let passed = passed.bool()?;
        if passed.null_count() == 0 && passed.all() {
            continue;
        }
        for (row, passed) in passed.iter().enumerate() {
            if keep[row] && passed != Some(true) {
                keep[row] = false;
                let (index, offset) = (indexes[row] as usize, rows.offsets[row]);
                rejected.push(Rejected { index, offset, reason: Reason::Check { name: name.clone() } });
            }
        }
    }
    rejected.sort_by_key(|rejected| rejected.index);
    rows.retain(&keep)?;
    keep_flagged(indexes, &keep);
    Ok(())
}

impl TableTransform {
    fn new(plan: &Plan, table: &TablePlan, of: &SourcePlan, columns: Program) -> Result<Self, TransformError> {
        let what = table_name(table);
        let mut fields: Vec<Field> =
            table.columns.iter().map(|column| Field { name: column.name.clone(), ty: column.ty }).collect();
        fields.push(Field { name: EVENT_TIME.to_owned(), ty: Type::Timestamp });
        let filter = table
            .filter
            .as_deref()
            .map(|sql| Program::new(&what, &[Output { name: "where", sql, ty: Type::Bool }], &fields));
        Ok(Self {
            name: table.name.clone(),
            columns,
            unnest: table.columns.iter().position(|column| column.unnest),
            filter: filter.transpose()?,
            keys: TableKeys::new(plan, table, of),
        })
    }

    fn rows(&self, source: &SourceRows, evaluated: &mut Evaluated) -> Result<DataFrame, TransformError> {
        let mut columns = self.columns.evaluate_after(&source.source_frame()?, evaluated)?;
        columns.extend(source.system_columns());
        let mut height = source.len();
        let ordinals = match self.unnest {
            Some(at) => {
                let (rows, ordinals) = unnest(&mut columns, at)?;
                height = rows;
                ordinals
            }
            None => vec![0; height],
        };
        let ordinals = Int64Chunked::from_vec(ORDINAL.into(), ordinals).into_column();
        // `_highest` comes last, when it is there.
        let at = columns.iter().position(|column| column.name() == HIGHEST).unwrap_or(columns.len());
        debug_assert!(columns.iter().any(|column| column.name() == SEQUENCE));
        columns.insert(at, ordinals);
        let rows = DataFrame::new(height, columns)?;
        let Some(filter) = &self.filter else { return Ok(rows) };
        let kept = filter.evaluate(&rows)?;
        let kept: &BooleanChunked = kept[0].bool()?;
        if kept.null_count() == 0 && kept.all() {
            return Ok(rows);
        }
        Ok(rows.filter(kept)?)
    }
}

/// Makes one row per element of list column `at`; the number of rows, and the place of each among those of its
/// record.
fn unnest(columns: &mut [Column], at: usize) -> Result<(usize, Vec<i64>), TransformError> {
    let lists = columns[at].list()?.rechunk().into_owned();
    let array = lists.downcast_as_array();
    let length = |row| if array.is_valid(row) { array.offsets().length_at(row) as i64 } else { 0 };
    let lengths: Vec<i64> = (0..array.len()).map(length).collect();
    let total: i64 = lengths.iter().sum();
    let mut rows = Vec::with_capacity(total as usize);
    let mut ordinals = Vec::with_capacity(total as usize);
    for (row, length) in lengths.iter().enumerate() {
        for ordinal in 0..*length {
            rows.push(row as u32);
            ordinals.push(ordinal);
        }
    }
    let taken = IdxCa::from_vec("".into(), rows);
    for (index, column) in columns.iter_mut().enumerate() {
        if index == at {
            let elements = lists.explode(ExplodeOptions { empty_as_null: false, keep_nulls: false })?;
            *column = elements.with_name(column.name().clone()).into_column();
        } else {
            *column = column.take(&taken)?;
        }
    }
    debug_assert!(columns[at].dtype() == &DataType::String && columns[at].len() == ordinals.len());
    Ok((ordinals.len(), ordinals))
}
