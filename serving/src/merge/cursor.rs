//! Cursors: where a page stopped, opaque to the caller.
//!
//! ```text
//! base64url( fingerprint u64 LE | varints and bytes of the position )
//! ```
//! The fingerprint is a hash of the query and of the position: a cursor of another query, or one that was changed, does
//! not match and is refused.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use tideline_common::state::{Reader, write_bytes, write_signed};
use tideline_common::time::Timestamp;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::QueryError;

/// The longest cursor that is looked at, in characters (keys are texts of records: at most a mebibyte).
const MAX_CURSOR: usize = 2 << 20;

/// Where a page of rows stopped: the last row it gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) key: Vec<u8>,
    pub(crate) start: Timestamp,
}

fn fingerprint(query: &str, position: &[u8]) -> u64 {
    let mut bytes = Vec::with_capacity(query.len() + position.len() + 8);
    write_bytes(query.as_bytes(), &mut bytes);
    bytes.extend_from_slice(position);
    xxh3_64(&bytes)
}

fn encode(query: &str, position: &[u8]) -> String {
    let mut bytes = fingerprint(query, position).to_le_bytes().to_vec();
    bytes.extend_from_slice(position);
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(query: &str, cursor: &str) -> Option<Vec<u8>> {
    if cursor.len() > MAX_CURSOR {
        return None;
    }
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (hash, position) = bytes.split_at_checked(8)?;
    (fingerprint(query, position).to_le_bytes() == hash).then(|| position.to_vec())
}

fn refused() -> QueryError {
    QueryError::parameter(
        "cursor",
        "is not one of this query: give the cursor of its last page with the same parameters, only `limit` may differ",
    )
}

impl Place {
    /// The cursor that goes on after this place; `query` says all that decides the rows.
    pub(crate) fn to_cursor(&self, query: &str) -> String {
        let mut bytes = Vec::new();
        write_signed(self.start.0, &mut bytes);
        write_bytes(&self.key, &mut bytes);
        encode(query, &bytes)
    }

    /// The place of a cursor.
    pub(crate) fn from_cursor(query: &str, cursor: &str) -> Result<Self, QueryError> {
        let bytes = decode(query, cursor).ok_or_else(refused)?;
        let mut reader = Reader::new(&bytes);
        let start = Timestamp(reader.signed().map_err(|_| refused())?);
        let key = reader.bytes().map_err(|_| refused())?.to_vec();
        Ok(Self { key, start })
    }
}

/// The cursor of a row number.
pub(crate) fn of_offset(query: &str, offset: u64) -> String {
    encode(query, &offset.to_le_bytes())
}

/// The row number of a cursor.
pub(crate) fn to_offset(query: &str, cursor: &str) -> Result<u64, QueryError> {
    let bytes: [u8; 8] = decode(query, cursor).and_then(|bytes| bytes.try_into().ok()).ok_or_else(refused)?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_its_own_query_reads_a_cursor() {
        let place = Place { key: vec![4, 65, 0, 0], start: Timestamp(-60) };
        let cursor = place.to_cursor("q1");
        assert_eq!(Place::from_cursor("q1", &cursor).unwrap(), place);
        assert!(Place::from_cursor("q2", &cursor).is_err());
        assert_eq!(to_offset("q", &of_offset("q", 77)).unwrap(), 77);
        for at in 0..cursor.len() {
            let mut changed = cursor.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert!(Place::from_cursor("q1", std::str::from_utf8(&changed).unwrap()).is_err(), "{at}");
        }
        for bad in ["", "x", "====", "é", "AAAAAAAAAAAAAAAA"] {
            assert!(Place::from_cursor("q1", bad).is_err(), "{bad}");
        }
    }
}
