//! A block: the records of one append that went to one partition, as one value.
//!
//! ```text
//! key     topic u32 | partition u32 | first offset u64                      big endian: byte order is log order
//! value   format u8 = 1 | records u32 | appended i64 | before u64 | first u64 | body length u32
//!         | CRC-32 of the body u32 | CRC-32 of the header up to here u32    little endian, 41 bytes
//!         | body
//! body    per record: key | headers n varint, n × (name | value) | payload
//! key     varint: 0 none, else length + 1, then the bytes
//! others  varint length, then the bytes
//! ```
//! Offsets of a block are consecutive. `before` is the number of value bytes of all earlier blocks of the
//! partition, also of those that have expired: the size of a partition is a subtraction.

use bytes::Bytes;
use tideline_common::position::{Offset, Partition};
use tideline_common::record::{Header, NewRecord, Record};
use tideline_common::state::{CodecError, Reader, write_bytes, write_varint};
use tideline_common::time::Timestamp;

const FORMAT: u8 = 1;

/// Bytes of a header.
pub(super) const HEADER: usize = 41;

/// The key of the block that begins at `first`.
pub(super) fn key(topic: u32, partition: Partition, first: Offset) -> [u8; 16] {
    let mut key = [0; 16];
    key[..4].copy_from_slice(&topic.to_be_bytes());
    key[4..8].copy_from_slice(&partition.to_be_bytes());
    key[8..].copy_from_slice(&first.to_be_bytes());
    key
}

/// The first offset in a key, `None` when it is no key of a block.
pub(super) fn first_of(key: &[u8]) -> Option<Offset> {
    key.get(8..16).filter(|_| key.len() == 16)?.try_into().ok().map(Offset::from_be_bytes)
}

/// Records on their way into the log: a value with room for the header, which the writer fills in.
#[derive(Debug)]
pub(super) struct Draft {
    value: Vec<u8>,
    records: u32,
}

impl Draft {
    pub(super) fn new() -> Self {
        Self { value: vec![0; HEADER], records: 0 }
    }

    pub(super) fn push(&mut self, record: &NewRecord) {
        let out = &mut self.value;
        match &record.key {
            None => write_varint(0, out),
            Some(key) => {
                write_varint(key.len() as u64 + 1, out);
                out.extend_from_slice(key);
            }
        }
        write_varint(record.headers.len() as u64, out);
        for (name, value) in &record.headers {
            write_bytes(name.as_bytes(), out);
            write_bytes(value, out);
        }
        write_bytes(&record.payload, out);
        self.records += 1;
    }

    pub(super) const fn records(&self) -> u32 {
        self.records
    }

    /// Size of the value in bytes.
    pub(super) const fn bytes(&self) -> usize {
        self.value.len()
    }

    /// The value, with its place in the log.
    pub(super) fn seal(mut self, first: Offset, appended: Timestamp, before: u64) -> Vec<u8> {
        let (header, body) = self.value.split_at_mut(HEADER);
        header[0] = FORMAT;
        header[1..5].copy_from_slice(&self.records.to_le_bytes());
        header[5..13].copy_from_slice(&appended.0.to_le_bytes());
        header[13..21].copy_from_slice(&before.to_le_bytes());
        header[21..29].copy_from_slice(&first.to_le_bytes());
        header[29..33].copy_from_slice(&(body.len() as u32).to_le_bytes());
        header[33..37].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
        let crc = crc32fast::hash(&header[..37]);
        header[37..41].copy_from_slice(&crc.to_le_bytes());
        self.value
    }
}

/// What a block says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) first: Offset,
    pub(super) records: u32,
    pub(super) appended: Timestamp,
    pub(super) before: u64,
    body_len: usize,
    body_crc: u32,
}

impl Head {
    /// The header of a value, checked.
    pub(super) fn read(value: &[u8]) -> Result<Self, String> {
        let header = value.get(..HEADER).ok_or_else(|| format!("{} bytes are no block", value.len()))?;
        if header[0] != FORMAT {
            return Err(format!("format {} is unknown (this program knows {FORMAT})", header[0]));
        }
        let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        if crc32fast::hash(&header[..37]) != word(37) {
            return Err("the checksum of the header is wrong".to_owned());
        }
        let head = Self {
            records: word(1),
            appended: Timestamp(long(5) as i64),
            before: long(13),
            first: long(21),
            body_len: word(29) as usize,
            body_crc: word(33),
        };
        if head.body_len != value.len() - HEADER {
            return Err(format!("{} bytes of records instead of {}", value.len() - HEADER, head.body_len));
        }
        Ok(head)
    }

    /// The offset after the block.
    pub(super) const fn next(&self) -> Offset {
        self.first + self.records as u64
    }
}

/// Reads the records of a block from offset `from` on, while `take` accepts them (it is told the bytes of each).
/// Keys, headers and payloads are slices of `value`, not copies.
pub(super) fn records(
    value: &Bytes,
    from: Offset,
    out: &mut Vec<Record>,
    mut take: impl FnMut(usize) -> bool,
) -> Result<(), String> {
    let head = Head::read(value)?;
    let body = &value[HEADER..];
    if crc32fast::hash(body) != head.body_crc {
        return Err("the checksum of the records is wrong".to_owned());
    }
    let mut reader = Reader::new(body);
    for offset in head.first..head.next() {
        let (record, bytes) =
            record(value, &mut reader, offset, head.appended, offset >= from).map_err(|e| e.to_string())?;
        if let Some(record) = record {
            if !take(bytes) {
                return Ok(());
            }
            out.push(record);
        }
    }
    if reader.is_done() { Ok(()) } else { Err("bytes follow the last record".to_owned()) }
}

fn record(
    value: &Bytes,
    reader: &mut Reader<'_>,
    offset: Offset,
    appended: Timestamp,
    wanted: bool,
) -> Result<(Option<Record>, usize), CodecError> {
    let key = match reader.varint()? {
        0 => None,
        n => Some(reader.take(usize::try_from(n - 1).map_err(|_| reader.error("a length"))?)?),
    };
    let mut headers: Vec<Header> = Vec::new();
    for _ in 0..reader.varint()? {
        let (name, header) = (reader.text()?, reader.bytes()?);
        if wanted {
            headers.push((name.to_owned(), value.slice_ref(header)));
        }
    }
    let payload = reader.bytes()?;
    if !wanted {
        return Ok((None, 0));
    }
    let bytes = payload.len();
    let record = Record {
        offset,
        appended,
        key: key.map(|key| value.slice_ref(key)),
        headers,
        payload: value.slice_ref(payload),
    };
    Ok((Some(record), bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn new_record() -> impl Strategy<Value = NewRecord> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
        (prop::option::of(bytes()), prop::collection::vec(("[a-z]{0,5}", bytes()), 0..3), bytes())
            .prop_map(|(key, headers, payload)| NewRecord { key, headers, payload })
    }

    fn sealed(records: &[NewRecord]) -> Bytes {
        let mut draft = Draft::new();
        for record in records {
            draft.push(record);
        }
        draft.seal(40, Timestamp(7), 99).into()
    }

    proptest! {
        #[test]
        fn a_block_reads_back_from_any_offset(new in prop::collection::vec(new_record(), 1..10), skip in 0u64..10) {
            let value = sealed(&new);
            let mut read = Vec::new();
            records(&value, 40 + skip, &mut read, |_| true).unwrap();
            let expected: Vec<Record> = new.iter().enumerate().skip(skip as usize).map(|(i, r)| Record {
                offset: 40 + i as u64,
                appended: Timestamp(7),
                key: r.key.clone(),
                headers: r.headers.clone(),
                payload: r.payload.clone(),
            }).collect();
            prop_assert_eq!(read, expected);
            let head = Head::read(&value).unwrap();
            prop_assert_eq!((head.before, head.next()), (99, 40 + new.len() as u64));
        }

        #[test]
        fn any_flipped_bit_is_found(new in prop::collection::vec(new_record(), 1..4), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut bytes = sealed(&new).to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(records(&Bytes::from(bytes), 0, &mut Vec::new(), |_| true).is_err());
        }

        #[test]
        fn noise_is_an_error_not_a_panic(noise in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(records(&Bytes::from(noise), 0, &mut Vec::new(), |_| true).is_err());
        }
    }
}
