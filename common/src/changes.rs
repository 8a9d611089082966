//! Changed panes of a view, as they travel in the log: for rankings that are kept ready, and for whatever closes windows.
//!
//! Views that need it (see [`wanted`]) have a topic of their own. With every flush a shard appends the whole states of
//! the panes that changed, cut into records of bounded size. Keys are hashed into buckets, and the bucket is the key of
//! the record: all changes of one key of the view are in one partition of the topic. They are absolute, and carry the
//! position that they are "as of": of two for one (shard, key, pane) the one of the higher position counts, so one that
//! is read again, or late, changes nothing.
//!
//! # Volume
//! A flush appends for each such view the panes that changed since the last one, each once, as it writes them to the
//! views; and so many records as there are buckets, plus one for each [`RECORD_BYTES`] of panes at most. A topic of one
//! partition, which is what the speed layer makes, needs one bucket, so a flush is one record as a rule. Nothing is
//! appended while no records come.
//!
//! ```text
//! record  format 2 | version text | source text | partition varint | position varint
//!         | highest: 0, or 1 and signed | last appended: the same | part varint | parts varint
//!         | buckets u8 | bucket u8 | last of its bucket: 0 or 1 | rows varint | row*
//! row     key bytes | pane signed | states (see crate::state)
//! ```
//! Format 1, which is still read, lacked the bucket and what goes with it.

use bytes::Bytes;

use crate::plan::{Plan, ViewPlan};
use crate::ports::ViewSchema;
use crate::position::{Offset, Partition, Shard};
use crate::record::NewRecord;
use crate::state::{CodecError, Reader, StateBatch, write_bytes, write_signed, write_varint};
use crate::time::Timestamp;
use crate::watermark::Watermark;

/// Number of the format.
const FORMAT: u8 = 2;
/// The format before: without buckets.
const FORMAT_WITHOUT_BUCKETS: u8 = 1;
/// Buckets of keys: the most partitions of a topic of changes that can share the work.
pub const BUCKETS: u8 = 16;
/// A record is cut when its rows have reached this many bytes.
pub const RECORD_BYTES: usize = 256 << 10;

/// The topic of the changes of a view.
pub fn topic(view: &str) -> String {
    format!("tideline.changes.{view}")
}

/// Whether rankings of a view are kept ready from its changes.
pub fn ranked(view: &ViewPlan) -> bool {
    !view.top.is_empty()
}

/// Whether the changes of a view are wanted by anyone: by rankings, or by what waits for its windows to close.
pub fn wanted(plan: &Plan, view: &ViewPlan) -> bool {
    ranked(view) || plan.closes(&view.name)
}

/// The bucket of a key of a view, of `buckets`.
pub fn bucket(key: &[u8], buckets: u8) -> u8 {
    (xxhash_rust::xxh3::xxh3_64(key) % u64::from(buckets)) as u8
}

/// Which of the records of a change one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its number, from 0.
    pub part: u64,
    /// How many there are.
    pub parts: u64,
    /// The keys that it speaks of; `None` in records of a format that did not say so.
    pub bucket: Option<BucketPart>,
}

/// The keys that a record speaks of: those of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketPart {
    /// Its number, from 0.
    pub bucket: u8,
    /// Of how many: one means that every key may be in it.
    pub buckets: u8,
    /// Whether no record of the same change follows that has keys of this bucket: who has read up to here knows all of
    /// them as of the change's position.
    pub last: bool,
}

/// Changed panes of one view, from one shard.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Version of the view's plan.
    pub version: String,
    /// Whose states these are.
    pub shard: Shard,
    /// Everything before this offset is in the states.
    pub position: Offset,
    /// Event-time progress of the shard at the position.
    pub watermark: Watermark,
    /// Whole states of the groups that changed. May be empty: then it tells progress only.
    pub panes: StateBatch,
}

impl Change {
    /// The records of this change, for a topic of any number of partitions. A bucket without a row gets a record without
    /// rows, so that every partition learns of the progress.
    pub fn encode(&self) -> Vec<NewRecord> {
        self.encode_into(BUCKETS)
    }

    /// As [`encode`](Self::encode), for a topic of `partitions`: one alone needs no buckets.
    pub fn encode_for(&self, partitions: usize) -> Vec<NewRecord> {
        self.encode_into(if partitions == 1 { 1 } else { BUCKETS })
    }

    fn encode_into(&self, buckets: u8) -> Vec<NewRecord> {
        let mut open: Vec<(Vec<u8>, u64)> = vec![(Vec::new(), 0); usize::from(buckets)];
        let mut written = vec![false; usize::from(buckets)];
        let mut cuts: Vec<(u8, Vec<u8>, u64)> = Vec::new();
        let mut cut = |bucket: usize, rows: &mut Vec<u8>, count: &mut u64| {
            cuts.push((bucket as u8, std::mem::take(rows), std::mem::take(count)));
        };
        for row in 0..self.panes.len() {
            let key = self.panes.keys.get(row);
            let bucket = usize::from(bucket(key, buckets));
            let (rows, count) = &mut open[bucket];
            write_bytes(key, rows);
            write_signed(self.panes.panes[row].0, rows);
            self.panes.write_states(row, rows);
            *count += 1;
            written[bucket] = true;
            if rows.len() >= RECORD_BYTES {
                cut(bucket, rows, count);
            }
        }
        for (bucket, (rows, count)) in open.iter_mut().enumerate() {
            if *count > 0 || !written[bucket] {
                cut(bucket, rows, count);
            }
        }
        let parts = cuts.len() as u64;
        let mut last = vec![0; usize::from(buckets)];
        for (part, (bucket, ..)) in cuts.iter().enumerate() {
            last[usize::from(*bucket)] = part;
        }
        let record = |(part, (bucket, rows, count)): (usize, (u8, Vec<u8>, u64))| {
            let of = BucketPart { bucket, buckets, last: last[usize::from(bucket)] == part };
            NewRecord {
                key: Some(vec![bucket].into()),
                headers: Vec::new(),
                payload: self.record(&rows, count, (part as u64, parts), of),
            }
        };
        cuts.into_iter().enumerate().map(record).collect()
    }

    fn record(&self, rows: &[u8], count: u64, (part, parts): (u64, u64), of: BucketPart) -> Bytes {
        let mut out = Vec::with_capacity(rows.len() + 67);
        out.push(FORMAT);
        write_bytes(self.version.as_bytes(), &mut out);
        write_bytes(self.shard.source.as_bytes(), &mut out);
        write_varint(u64::from(self.shard.partition), &mut out);
        write_varint(self.position, &mut out);
        for time in [self.watermark.highest, self.watermark.last_appended] {
            out.push(u8::from(time.is_some()));
            if let Some(time) = time {
                write_signed(time.0, &mut out);
            }
        }
        write_varint(part, &mut out);
        write_varint(parts, &mut out);
        out.extend_from_slice(&[of.buckets, of.bucket, u8::from(of.last)]);
        write_varint(count, &mut out);
        out.extend_from_slice(rows);
        out.into()
    }

    /// Reads a record; `None` when it is of another version of the view than `view`.
    ///
    /// # Errors
    /// Bytes that are not such a record.
    pub fn decode(bytes: &[u8], view: &ViewSchema) -> Result<Option<Self>, CodecError> {
        Ok(Self::decode_part(bytes, view)?.map(|(change, _)| change))
    }

    /// As [`decode`](Self::decode), with the place of the record among those of its change: a reader has all of the
    /// change when it has all of its parts.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_part(bytes: &[u8], view: &ViewSchema) -> Result<Option<(Self, Part)>, CodecError> {
        let mut reader = Reader::new(bytes);
        let format = reader.byte()?;
        if format != FORMAT && format != FORMAT_WITHOUT_BUCKETS {
            return Err(CodecError { at: 0, what: "a format that this program knows" });
        }
        let version = reader.text()?.to_owned();
        if version != view.version {
            return Ok(None);
        }
        let source = reader.text()?.to_owned();
        let partition = Partition::try_from(reader.varint()?);
        let partition = partition.map_err(|_| CodecError { at: 0, what: "a partition" })?;
        let position = reader.varint()?;
        let mut times = [None; 2];
        for time in &mut times {
            if reader.byte()? != 0 {
                *time = Some(Timestamp(reader.signed()?));
            }
        }
        let (part, parts) = (reader.varint()?, reader.varint()?);
        if part >= parts {
            return Err(CodecError { at: 0, what: "a part that is one of the parts" });
        }
        let bucket = if format == FORMAT {
            let (buckets, bucket, last) = (reader.byte()?, reader.byte()?, reader.byte()? != 0);
            if bucket >= buckets || buckets > BUCKETS {
                return Err(reader.error("a bucket that is one of the buckets"));
            }
            Some(BucketPart { bucket, buckets, last })
        } else {
            None
        };
        let mut panes = StateBatch::new(&view.fields);
        for _ in 0..reader.varint()? {
            let key = reader.bytes()?;
            let pane = Timestamp(reader.signed()?);
            panes.read_states(key, pane, &mut reader)?;
        }
        let [highest, last_appended] = times;
        let shard = Shard { source, partition };
        let change = Self { version, shard, position, watermark: Watermark { highest, last_appended }, panes };
        Ok(Some((change, Part { part, parts, bucket })))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plan::Field;
    use crate::state::{Input, Rule, StateColumn, StateField};
    use crate::time::Span;
    use crate::value::Type;

    fn view() -> ViewSchema {
        ViewSchema {
            name: "v".to_owned(),
            version: "1234".to_owned(),
            key: vec![Field { name: "k".to_owned(), ty: Type::String }],
            fields: vec![StateField {
                name: "n".to_owned(),
                rule: Rule::Sum,
                ty: Type::Int,
                input: Input::One,
                table: "t".to_owned(),
                argument: None,
            }],
            pane: Span::SECOND,
            ttl: None,
        }
    }

    fn change(rows: usize) -> Change {
        let view = view();
        let mut panes = StateBatch::new(&view.fields);
        for row in 0..rows {
            let at = panes.push_identity(format!("key {row}").as_bytes(), Timestamp(row as i64 * 1_000_000));
            if let StateColumn::SumInt(sums) = &mut panes.states[0] {
                sums[at] = row as i64;
            }
        }
        let watermark = Watermark { highest: Some(Timestamp(7)), last_appended: None };
        Change { version: "1234".to_owned(), shard: Shard::new("s", 3), position: 99, watermark, panes }
    }

    /// So many rows that each of `buckets` is cut: each takes more than 10 bytes.
    fn more_than_fits(buckets: u8) -> usize {
        usize::from(buckets) * RECORD_BYTES / 10
    }

    #[test]
    fn records_read_back_by_the_bucket_of_their_keys() {
        let count = more_than_fits(BUCKETS);
        let change = change(count);
        let records = change.encode();
        assert!(records.len() >= 2 * usize::from(BUCKETS), "cut by size: {}", records.len());
        let mut rows = 0;
        for (at, record) in records.iter().enumerate() {
            assert!(record.payload.len() < 2 * RECORD_BYTES);
            let (read, part) = Change::decode_part(&record.payload, &view()).unwrap().unwrap();
            assert_eq!((part.part, part.parts), (at as u64, records.len() as u64));
            let of = part.bucket.unwrap();
            assert_eq!((record.key.as_deref(), of.buckets), (Some(&[of.bucket][..]), BUCKETS));
            let later = records[at + 1..].iter().any(|later| later.key == record.key);
            assert_eq!(of.last, !later, "{at}");
            assert_eq!((read.position, &read.shard, read.watermark), (99, &change.shard, change.watermark));
            assert!(read.panes.keys.iter().all(|key| record.key.as_deref() == Some(&[bucket(key, BUCKETS)])));
            rows += read.panes.len();
        }
        assert_eq!(rows, count);
    }

    #[test]
    fn a_topic_of_one_partition_gets_as_few_records_as_the_bytes_need() {
        for rows in [0, 1, 500, more_than_fits(1)] {
            let change = change(rows);
            let records = change.encode_for(1);
            let bytes: usize = records.iter().map(|record| record.payload.len()).sum();
            assert!(!records.is_empty() && records.len() <= 1 + bytes / RECORD_BYTES, "{}: {bytes}", records.len());
            let mut panes = StateBatch::new(&view().fields);
            for (at, record) in records.iter().enumerate() {
                let (read, part) = Change::decode_part(&record.payload, &view()).unwrap().unwrap();
                assert_eq!((part.part, part.parts), (at as u64, records.len() as u64));
                let last = at + 1 == records.len();
                assert_eq!(part.bucket, Some(BucketPart { bucket: 0, buckets: 1, last }));
                for row in 0..read.panes.len() {
                    let mut states = Vec::new();
                    read.panes.write_states(row, &mut states);
                    let (key, pane) = (read.panes.keys.get(row), read.panes.panes[row]);
                    panes.read_states(key, pane, &mut Reader::new(&states)).unwrap();
                }
            }
            assert_eq!(panes, change.panes);
        }
        assert!(change(more_than_fits(1)).encode_for(1).len() > 1, "cut by size");
        assert_eq!(change(1).encode_for(2), change(1).encode(), "of several each is told of the progress");
    }

    #[test]
    fn every_bucket_learns_of_progress() {
        let records = change(1).encode();
        assert_eq!(records.len(), usize::from(BUCKETS));
        let rows = |record: &NewRecord| Change::decode(&record.payload, &view()).unwrap().unwrap().panes.len();
        assert_eq!(records.iter().map(rows).sum::<usize>(), 1);
    }

    #[test]
    fn the_format_without_buckets_is_read() {
        let change = change(3);
        let new = &change.encode_for(1)[0].payload;
        let of = BucketPart { bucket: 0, buckets: 1, last: true };
        // What the first program wrote: no bucket.
        let head = change.record(&[], 0, (0, 1), of).len() - 4;
        let mut old = new.to_vec();
        old.drain(head..head + 3);
        old[0] = FORMAT_WITHOUT_BUCKETS;
        let (read, part) = Change::decode_part(&old, &view()).unwrap().unwrap();
        assert_eq!((read, part), (change, Part { part: 0, parts: 1, bucket: None }));
    }

    #[test]
    fn other_versions_are_skipped_and_damage_is_told() {
        let records = change(2).encode();
        let full = records.iter().max_by_key(|record| record.payload.len()).unwrap();
        let other = ViewSchema { version: "5678".to_owned(), ..view() };
        assert_eq!(Change::decode(&full.payload, &other).unwrap(), None);
        for cut in 0..full.payload.len() {
            assert!(Change::decode(&full.payload[..cut], &view()).is_err(), "{cut}");
        }
    }
}
