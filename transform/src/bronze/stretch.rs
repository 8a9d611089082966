//! Stretches of a chain: files read whole, compared, and joined.

use bytes::Bytes;
use tideline_common::position::{Offset, Partition};
use tideline_common::record::Record;
use tideline_common::time::Timestamp;

use super::{BronzeError, decode_rows, encode_rows};

/// The records of `[first, next)`, and when each was written to Bronze.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The offset that it begins at.
    pub first: Offset,
    /// The offset that the chain goes on from.
    pub next: Offset,
    records: Vec<Record>,
    ingested: Vec<Timestamp>,
}

/// Why two stretches are not of one chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JointError {
    /// Nothing holds what is between them.
    #[error("nothing holds the offsets [{expected}, {found})")]
    Gap {
        /// Where the first one ends.
        expected: Offset,
        /// Where the second one begins.
        found: Offset,
    },
    /// They hold different records at the same offset.
    #[error("two files hold different records at offset {offset}")]
    Fork {
        /// The first offset at which they differ.
        offset: Offset,
    },
}

impl Stretch {
    /// The file that begins at `first` by its name.
    ///
    /// # Errors
    /// When the bytes are not a Bronze file, or one of other offsets.
    pub fn read(first: Offset, bytes: Bytes) -> Result<Self, BronzeError> {
        let mut ingested = Vec::new();
        let file = decode_rows(bytes, Some(&mut ingested))?;
        if file.next <= first || file.records.first().is_some_and(|record| record.offset < first) {
            return Err(BronzeError::Malformed(format!("it does not hold [{first}, {})", file.next)));
        }
        Ok(Self { first, next: file.next, records: file.records, ingested })
    }

    /// Number of records.
    pub const fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no record.
    pub const fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// When the log took the newest record.
    pub fn last_appended(&self) -> Option<Timestamp> {
        self.records.iter().map(|record| record.appended).max()
    }

    /// Appends what `other` has beyond this one; where they overlap they must be equal.
    ///
    /// # Errors
    /// A gap, or different records; this one is unchanged.
    pub fn append(&mut self, other: Self) -> Result<(), JointError> {
        if other.first > self.next {
            return Err(JointError::Gap { expected: self.next, found: other.first });
        }
        self.compare(&other)?;
        if other.next > self.next {
            let known = other.records.partition_point(|record| record.offset < self.next);
            self.records.extend(other.records.into_iter().skip(known));
            self.ingested.extend(other.ingested.into_iter().skip(known));
            self.next = other.next;
        }
        Ok(())
    }

    /// Checks that both hold the same where they overlap.
    ///
    /// # Errors
    /// [`JointError::Fork`].
    pub fn compare(&self, other: &Self) -> Result<(), JointError> {
        let (from, to) = (self.first.max(other.first), self.next.min(other.next));
        let (mine, theirs) = (self.between(from, to), other.between(from, to));
        if mine == theirs {
            return Ok(());
        }
        let differ = mine.iter().zip(theirs).find(|(a, b)| a != b).map(|(a, b)| a.offset.min(b.offset));
        let shorter = mine.len().min(theirs.len());
        let beyond = mine.get(shorter).or_else(|| theirs.get(shorter)).map(|record| record.offset);
        Err(JointError::Fork { offset: differ.or(beyond).unwrap_or(from) })
    }

    /// Whether it holds all of `[first, next)`.
    pub const fn covers(&self, first: Offset, next: Offset) -> bool {
        self.first <= first && next <= self.next
    }

    fn between(&self, from: Offset, to: Offset) -> &[Record] {
        let begin = self.records.partition_point(|record| record.offset < from);
        let end = self.records.partition_point(|record| record.offset < to);
        &self.records[begin.min(end)..end]
    }

    /// As a file.
    ///
    /// # Errors
    /// When Parquet refuses.
    pub fn encode(&self, source: &str, partition: Partition) -> Result<Bytes, BronzeError> {
        encode_rows(&self.records, source, partition, self.next, |row| self.ingested[row])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::bronze;

    fn record(offset: Offset, payload: &str) -> Record {
        Record {
            offset,
            appended: Timestamp(offset as i64),
            key: offset.is_multiple_of(2).then(|| Bytes::from_static(b"k")),
            headers: if offset.is_multiple_of(3) {
                vec![("h".to_owned(), Bytes::from_static(b"\0"))]
            } else {
                Vec::new()
            },
            payload: Bytes::from(format!("{payload}{offset}")),
        }
    }

    fn stretch(first: Offset, next: Offset, payload: &str) -> Stretch {
        let records: Vec<Record> = (first..next).map(|offset| record(offset, payload)).collect();
        let bytes = bronze::encode(&records, "s", 0, next, Timestamp(first as i64 * 1_000)).unwrap();
        Stretch::read(first, bytes).unwrap()
    }

    #[test]
    fn a_join_changes_no_byte_of_a_record() {
        let mut joined = stretch(5, 10, "x");
        joined.append(stretch(10, 17, "x")).unwrap();
        joined.append(stretch(12, 15, "x")).unwrap();
        joined.append(stretch(15, 20, "x")).unwrap();
        let bytes = joined.encode("s", 0).unwrap();
        assert_eq!(Stretch::read(5, bytes.clone()).unwrap(), joined);
        let file = bronze::decode(bytes).unwrap();
        assert_eq!((file.first, file.next), (5, 20));
        assert_eq!(file.records, (5..20).map(|offset| record(offset, "x")).collect::<Vec<_>>());
        // Each record keeps the time at which it was first written to Bronze.
        let ingested: Vec<i64> = joined.ingested.iter().map(|time| time.0).collect();
        assert_eq!(ingested[..5], [5_000; 5]);
        assert_eq!(ingested[5..12], [10_000; 7]);
        assert_eq!(ingested[12..], [15_000; 3]);
    }

    #[test]
    fn gaps_and_forks_are_found() {
        let mut joined = stretch(0, 10, "x");
        assert_eq!(joined.append(stretch(11, 12, "x")), Err(JointError::Gap { expected: 10, found: 11 }));
        assert_eq!(joined.append(stretch(8, 12, "y")), Err(JointError::Fork { offset: 8 }));
        // A record that only one of them has.
        let bytes = bronze::encode(&[record(7, "x"), record(9, "x")], "s", 0, 11, Timestamp(0)).unwrap();
        assert_eq!(joined.compare(&Stretch::read(7, bytes).unwrap()), Err(JointError::Fork { offset: 8 }));
        assert_eq!((joined.next, joined.len()), (10, 10));
        assert!(Stretch::read(11, bronze::encode(&[record(7, "x")], "s", 0, 12, Timestamp(0)).unwrap()).is_err());
    }
}
