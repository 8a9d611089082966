//! The newest rows of a key, out of Silver.

use polars::prelude::{IdxSize, SortMultipleOptions};
use tideline_common::key::Key;
use tideline_common::manifest::{Manifest, TimedFile};
use tideline_common::plan::{EVENT_TIME, Field};
use tideline_common::ports::{LookupRows, LookupSchema, PortError, PortResult};
use tideline_common::value::Value;
use tideline_transform::frame::lookup_rows;
use tideline_transform::{ORDINAL, SEQUENCE};

use super::scan::{Lake, collect, key_equals, key_values};

/// Files read at once.
const FILES: usize = 16;

/// The name of a Hive folder without a value (null, or an empty text).
const NO_VALUE: &str = "__HIVE_DEFAULT_PARTITION__";

/// From this length on, the name of a Hive folder may be cut and end in a hash.
const MAY_BE_CUT: usize = 180;

/// See [`tideline_common::ports::Analytics::rows`].
pub(super) async fn rows(
    lake: &Lake,
    manifest: &Manifest,
    table: &str,
    lookup: &LookupSchema,
    key: &Key,
    limit: usize,
) -> PortResult<LookupRows> {
    let mut newest = LookupRows::new(&lookup.columns);
    let limit = limit.min(lookup.limit);
    let Some(silver) = manifest.tables.get(table) else { return Ok(newest) };
    let values = key_values(&lookup.key, key)?;
    let mut files: Vec<&TimedFile> =
        silver.files.iter().filter(|f| f.rows > 0 && may_hold(&f.path, &lookup.key, &values)).collect();
    files.sort_by_key(|f| std::cmp::Reverse(f.max_time));
    let what = format!("Silver of table {table}");
    for files in files.chunks(FILES) {
        // Files come newest first: once the oldest row kept is newer than all that follows, nothing can change.
        let is_done = newest.len() >= limit && newest.times.last().is_none_or(|last| files[0].max_time < *last);
        if is_done {
            break;
        }
        let (filter, schema, name) = (key_equals(&lookup.key, &values), lookup.clone(), what.clone());
        let head = IdxSize::try_from(limit).unwrap_or(IdxSize::MAX);
        let read = lake.read(&what, files.iter().map(|f| f.path.clone()).collect(), move |scan| {
            let order = SortMultipleOptions::default().with_order_descending(true);
            let scan = scan.filter(filter.clone()).sort([EVENT_TIME, SEQUENCE, ORDINAL], order).limit(head);
            lookup_rows(&schema, &collect(&name, scan)?).map_err(|e| PortError::corrupt(&name, e))
        });
        if let Some(read) = read.await? {
            newest = merge(lookup, &newest, &read, limit);
        }
    }
    Ok(newest)
}

/// Whether a file may hold rows of a key, by the Hive folders of its path.
fn may_hold(path: &str, fields: &[Field], values: &[Value]) -> bool {
    path.split('/').filter_map(|part| part.split_once('=')).all(|(column, folder)| {
        let Some(at) = fields.iter().position(|f| decode(column).is_some_and(|c| c == f.name)) else { return true };
        if folder.len() >= MAY_BE_CUT - 1 {
            return true;
        }
        match (&values[at], decode(folder)) {
            (Value::Null, _) => folder == NO_VALUE,
            (Value::String(text), _) if text.is_empty() => folder == NO_VALUE,
            (Value::String(text), Some(folder)) => *text == folder,
            (Value::Int(number), Some(folder)) => number.to_string() == folder,
            // Other types have more than one way of being written.
            _ => true,
        }
    })
}

/// Percent-decoded text, `None` when it is none.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |b: Option<u8>| char::from(b?).to_digit(16);
            let (high, low) = (digit(rest.next())?, digit(rest.next())?);
            bytes.push((high * 16 + low) as u8);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// The newest of two lists that are each newest first.
fn merge(lookup: &LookupSchema, a: &LookupRows, b: &LookupRows, limit: usize) -> LookupRows {
    let identity = |rows: &LookupRows, row: usize| (rows.times[row], rows.sequences[row], rows.ordinals[row]);
    let mut out = LookupRows::new(&lookup.columns);
    let (mut i, mut j) = (0, 0);
    while out.len() < limit && (i < a.len() || j < b.len()) {
        let take_a = j >= b.len() || (i < a.len() && identity(a, i) >= identity(b, j));
        let (rows, row) = if take_a { (a, i) } else { (b, j) };
        if take_a {
            i += 1;
        } else {
            j += 1;
        }
        out.keys.push(rows.keys.get(row));
        out.times.push(rows.times[row]);
        out.sequences.push(rows.sequences[row]);
        out.ordinals.push(rows.ordinals[row]);
        for (column, from) in out.columns.iter_mut().zip(&rows.columns) {
            column.push_from(from, row);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use tideline_common::value::Type;

    use super::*;

    #[test]
    fn folders_of_other_keys_are_passed_over() {
        let fields = [Field { name: "symbol".to_owned(), ty: Type::String }];
        let holds = |path: &str, value: Value| may_hold(path, &fields, &[value]);
        let text = |s: &str| Value::String(s.to_owned());
        assert!(holds("silver/t/symbol=TSLA/1.parquet", text("TSLA")));
        assert!(!holds("silver/t/symbol=TSLA/1.parquet", text("AAPL")));
        assert!(holds("silver/t/symbol=%24T%20x/1.parquet", text("$T x")));
        assert!(holds("silver/t/day=1/1.parquet", text("AAPL")), "another column says nothing");
        assert!(holds("silver/t/symbol=__HIVE_DEFAULT_PARTITION__/1.parquet", Value::Null));
        assert!(!holds("silver/t/symbol=__HIVE_DEFAULT_PARTITION__/1.parquet", text("x")));
        assert!(!holds("silver/t/symbol=TSLA/1.parquet", Value::Null));
        let cut = format!("silver/t/symbol={}/1.parquet", "x".repeat(180));
        assert!(holds(&cut, text("anything that long")));
    }
}
