//! The bytes of keys and values: see the module's table.

use fjall::Slice;
use tideline_common::ports::{LookupRows, PortError, PortResult};
use tideline_common::state::{CodecError, Reader, write_bytes, write_signed, write_value, write_varint};
use tideline_common::time::Timestamp;
use tideline_common::value::Value;

const FORMAT: u8 = 1;
const SIGN: u64 = 1 << 63;

/// Bytes of a pane's start and a shard, at the end of a key of the index.
const SUFFIX: usize = 12;

/// Bytes of a time, a sequence and an ordinal, at the end of a key of a row.
const ROW_SUFFIX: usize = 20;

/// Tag of a list of texts, beyond those of [`write_value`].
const STRINGS: u8 = 6;

/// A table of panes: the states of a version of a view, or its late counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Table(pub(super) u32);

impl Table {
    pub(super) const fn states(view: u32) -> Self {
        Self(view * 2)
    }

    pub(super) const fn late(view: u32) -> Self {
        Self(view * 2 + 1)
    }

    pub(super) const fn prefix(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }

    /// The least bytes after all keys of this table.
    pub(super) const fn end(self) -> [u8; 4] {
        (self.0 + 1).to_be_bytes()
    }
}

const fn ordered(number: i64) -> [u8; 8] {
    ((number as u64) ^ SIGN).to_be_bytes()
}

fn unordered(bytes: &[u8]) -> i64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[..8]);
    (u64::from_be_bytes(word) ^ SIGN) as i64
}

/// Where panes that start at `pane` begin.
pub(super) fn pane_bound(table: Table, pane: Timestamp) -> Vec<u8> {
    [&table.prefix()[..], &ordered(pane.0)].concat()
}

pub(super) fn pane_key(table: Table, pane: Timestamp, key: &[u8], shard: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + key.len());
    out.extend_from_slice(&table.prefix());
    out.extend_from_slice(&ordered(pane.0));
    out.extend_from_slice(key);
    out.extend_from_slice(&shard.to_be_bytes());
    out
}

/// Pane, key and shard of a pane's key.
pub(super) fn split_pane(bytes: &[u8]) -> PortResult<(Timestamp, &[u8], u32)> {
    if bytes.len() < 16 {
        return Err(PortError::corrupt("a key of the speed views", "it is too short"));
    }
    let (front, shard) = bytes.split_at(bytes.len() - 4);
    Ok((Timestamp(unordered(&front[4..12])), &front[12..], word(shard)))
}

/// Where panes of `key` from `pane` on begin in the index.
pub(super) fn index_bound(table: Table, key: &[u8], pane: Timestamp) -> Vec<u8> {
    [&table.prefix()[..], key, &ordered(pane.0)].concat()
}

/// After all panes of `key` in the index, and before the next key.
pub(super) fn index_after(table: Table, key: &[u8]) -> Vec<u8> {
    [&table.prefix()[..], key, &[0xFF; SUFFIX], &[0]].concat()
}

pub(super) fn index_key(table: Table, key: &[u8], pane: Timestamp, shard: u32) -> Vec<u8> {
    let mut out = index_bound(table, key, pane);
    out.extend_from_slice(&shard.to_be_bytes());
    out
}

/// Key, pane and shard of a key of the index.
pub(super) fn split_index(bytes: &[u8]) -> PortResult<(&[u8], Timestamp, u32)> {
    if bytes.len() < 4 + SUFFIX {
        return Err(PortError::corrupt("a key of the speed views", "it is too short"));
    }
    let (front, suffix) = bytes.split_at(bytes.len() - SUFFIX);
    Ok((&front[4..], Timestamp(unordered(suffix)), word(&suffix[8..])))
}

fn word(bytes: &[u8]) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[..4]);
    u32::from_be_bytes(word)
}

/// What stands before the states in a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) position: u64,
    pub(super) written_at: Timestamp,
}

impl Stamp {
    pub(super) fn write(self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        write_varint(self.position, out);
        write_signed(self.written_at.0, out);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> PortResult<Self> {
        let damaged = |e: CodecError| PortError::corrupt("a row of the speed views", e);
        let format = reader.byte().map_err(damaged)?;
        if format != FORMAT {
            let reason = format!("format {format} is unknown (this program knows {FORMAT})");
            return Err(PortError::corrupt("a row of the speed views", reason));
        }
        let position = reader.varint().map_err(damaged)?;
        Ok(Self { position, written_at: Timestamp(reader.signed().map_err(damaged)?) })
    }
}

/// Where the rows of `key` begin.
pub(super) fn rows_bound(lookup: u32, key: &[u8]) -> Vec<u8> {
    [&lookup.to_be_bytes()[..], key].concat()
}

/// The key of row `row`: the newest sorts first.
pub(super) fn row_key(lookup: u32, rows: &LookupRows, row: usize) -> Vec<u8> {
    let mut out = rows_bound(lookup, rows.keys.get(row));
    out.extend(ordered(rows.times[row].0).map(|b| !b));
    out.extend(ordered(rows.sequences[row]).map(|b| !b));
    out.extend(rows.ordinals[row].to_be_bytes().map(|b| !b));
    out
}

/// Key, time, sequence and ordinal of a row's key.
pub(super) fn split_row(bytes: &[u8]) -> PortResult<(&[u8], Timestamp, i64, u32)> {
    if bytes.len() < 4 + ROW_SUFFIX {
        return Err(PortError::corrupt("a key of the lookups", "it is too short"));
    }
    let (front, suffix) = bytes.split_at(bytes.len() - ROW_SUFFIX);
    let suffix: Vec<u8> = suffix.iter().map(|b| !b).collect();
    Ok((&front[4..], Timestamp(unordered(&suffix)), unordered(&suffix[8..]), word(&suffix[16..])))
}

/// The value of row `row`.
pub(super) fn row_value(rows: &LookupRows, row: usize, stamp: Stamp) -> Vec<u8> {
    let mut out = Vec::new();
    stamp.write(&mut out);
    for column in &rows.columns {
        match column.value(row) {
            Value::Strings(list) => {
                out.push(STRINGS);
                write_varint(list.len() as u64, &mut out);
                for text in list {
                    write_bytes(text.as_bytes(), &mut out);
                }
            }
            value => write_value(&value, &mut out),
        }
    }
    out
}

/// Adds a row to `rows`.
pub(super) fn read_row(key: &Slice, reader: &mut Reader<'_>, rows: &mut LookupRows) -> PortResult<()> {
    let (key, time, sequence, ordinal) = split_row(key)?;
    let damaged = |e: CodecError| PortError::corrupt("a row of the lookups", e);
    for column in &mut rows.columns {
        let mut ahead = reader.clone();
        if ahead.byte().map_err(damaged)? == STRINGS {
            let mut list = Vec::new();
            for _ in 0..ahead.varint().map_err(damaged)? {
                list.push(ahead.text().map_err(damaged)?.to_owned());
            }
            column.push(&Value::Strings(list));
            *reader = ahead;
        } else {
            column.push(&reader.value().map_err(damaged)?);
        }
    }
    rows.keys.push(key);
    rows.times.push(time);
    rows.sequences.push(sequence);
    rows.ordinals.push(ordinal);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use tideline_common::key::Key;

    use super::*;

    proptest! {
        #[test]
        fn index_order_is_key_then_pane(a in "[\\x00a]{0,3}", b in "[\\x00a]{0,3}", p in any::<i64>(), q in any::<i64>(), s in 0u32..9, t in 0u32..9) {
            let (x, y) = (Key::of(&[Value::String(a)]), Key::of(&[Value::String(b)]));
            let of = |key: &Key, pane, shard| index_key(Table(4), key.as_bytes(), Timestamp(pane), shard);
            prop_assert_eq!(of(&x, p, s).cmp(&of(&y, q, t)), (&x, p, s).cmp(&(&y, q, t)));
            let bytes = of(&x, p, s);
            prop_assert_eq!(split_index(&bytes).unwrap(), (x.as_bytes(), Timestamp(p), s));
            let after = index_after(Table(4), x.as_bytes());
            prop_assert!(of(&x, i64::MAX, u32::MAX) < after);
            if y > x {
                prop_assert!(after < of(&y, i64::MIN, 0));
            }
            let of = |key: &Key, pane, shard| pane_key(Table(4), Timestamp(pane), key.as_bytes(), shard);
            prop_assert_eq!(of(&x, p, s).cmp(&of(&y, q, t)), (p, &x, s).cmp(&(q, &y, t)));
            let bytes = of(&x, p, s);
            prop_assert_eq!(split_pane(&bytes).unwrap(), (Timestamp(p), x.as_bytes(), s));
        }

        #[test]
        fn damage_is_an_error_not_a_panic(noise in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = split_index(&noise);
            let _ = split_pane(&noise);
            let _ = split_row(&noise);
            let mut reader = Reader::new(&noise);
            if Stamp::read(&mut reader).is_ok() {
                let mut rows = LookupRows::new(&[]);
                let _ = read_row(&Slice::from(&noise[..]), &mut reader, &mut rows);
            }
        }
    }
}
