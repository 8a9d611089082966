//! A row as a record, with its identity.
//!
//! The header `tideline-id` is `<output>/<source>/<partition>/<offset>/<row>`: the record that the row is from, and its place
//! among the rows of that record. Names have letters, digits and `_` only. It is the same in every copy of a row, and says
//! which rows are in a topic already.

use std::io::Write;

use bytes::Bytes;
use tideline_common::position::{Offset, Shard};
use tideline_common::record::{NewRecord, Record};
use tideline_transform::JsonRow;

use crate::close::ID_HEADER;

/// Where a row is from: the offset of its record, and its place among the rows of that.
pub(super) type Place = (Offset, u32);

/// A row to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) place: Place,
    pub(super) record: NewRecord,
}

impl Row {
    /// Bytes of its record.
    pub(super) fn size(&self) -> usize {
        let NewRecord { key, headers, payload } = &self.record;
        let headers: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        payload.len() + key.as_ref().map_or(0, Bytes::len) + headers
    }
}

/// What the ids of the rows of a shard in an output begin with.
pub(super) fn prefix(output: &str, shard: &Shard) -> String {
    format!("{output}/{}/{}/", shard.source, shard.partition)
}

/// The records of rows, whose ids begin with `prefix`.
pub(super) fn records(prefix: &str, rows: Vec<JsonRow>) -> Vec<Row> {
    let mut ids = Vec::with_capacity(rows.len() * (prefix.len() + 14));
    let mut ends = Vec::with_capacity(rows.len());
    for row in &rows {
        ids.extend_from_slice(prefix.as_bytes());
        // Memory takes everything.
        let _ = write!(ids, "{}/{}", row.offset, row.ordinal);
        ends.push(ids.len());
    }
    let (ids, mut start) = (Bytes::from(ids), 0);
    let record = |(row, end): (JsonRow, usize)| {
        let id = ids.slice(std::mem::replace(&mut start, end)..end);
        let headers = vec![(ID_HEADER.to_owned(), id)];
        Row { place: (row.offset, row.ordinal), record: NewRecord { key: row.key, headers, payload: row.object } }
    };
    rows.into_iter().zip(ends).map(record).collect()
}

/// Where the row of a record is from; `None` when it is not one whose id begins with `prefix`.
pub(super) fn place(record: &Record, prefix: &str) -> Option<Place> {
    let (_, id) = record.headers.iter().find(|(name, _)| name == ID_HEADER)?;
    let (offset, ordinal) = std::str::from_utf8(id).ok()?.strip_prefix(prefix)?.split_once('/')?;
    Some((offset.parse().ok()?, ordinal.parse().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tideline_common::time::Timestamp;

    use super::*;

    #[test]
    fn an_id_says_where_a_row_is_from() {
        let row = |offset, ordinal| JsonRow { offset, ordinal, key: None, object: Bytes::from_static(b"{}") };
        let shard = Shard::new("messages", 12);
        let rows = records(&prefix("processed", &shard), vec![row(7, 0), row(7, 1), row(u64::from(u32::MAX) + 9, 0)]);
        let ids: Vec<&[u8]> = rows.iter().map(|row| row.record.headers[0].1.as_ref()).collect();
        assert_eq!(ids[1], b"processed/messages/12/7/1");
        let read = |row: &Row, prefix: &str| {
            let NewRecord { key, headers, payload } = row.record.clone();
            place(&Record { offset: 3, appended: Timestamp(0), key, headers, payload }, prefix)
        };
        for row in &rows {
            assert_eq!(read(row, &prefix("processed", &shard)), Some(row.place));
            // Of another output, source, or partition, whose number begins alike.
            for other in [prefix("process", &shard), prefix("processed", &Shard::new("messages", 1))] {
                assert_eq!(read(row, &other), None, "{other}");
            }
        }
        let mut without = rows[0].clone();
        without.record.headers.clear();
        assert_eq!(read(&without, &prefix("processed", &shard)), None);
    }
}
