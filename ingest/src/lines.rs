//! NDJSON: every non-empty line is a record, kept as it is, also when it does not parse.

use bytes::Bytes;

/// A line over the bound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} has {bytes} bytes, more than the {max} that a record may have")]
pub struct TooLong {
    /// Line number, from 1.
    pub line: usize,
    /// Its length in bytes.
    pub bytes: usize,
    /// The bound.
    pub max: usize,
}

/// The records of a body, sharing its memory. The end of a line is `\n` or `\r\n`; a last line without an end is
/// a record too; lines that are empty or only white space are none.
///
/// # Errors
/// The first line longer than `max_record_bytes`: then no record of the body may be taken.
pub fn records(body: &Bytes, max_record_bytes: usize) -> Result<Vec<Bytes>, TooLong> {
    let mut records = Vec::new();
    let mut start = 0;
    let mut line = 0;
    while start < body.len() {
        line += 1;
        let end = memchr::memchr(b'\n', &body[start..]).map_or(body.len(), |at| start + at);
        let mut stop = end;
        if stop > start && body[stop - 1] == b'\r' {
            stop -= 1;
        }
        let text = &body[start..stop];
        if !text.iter().all(u8::is_ascii_whitespace) {
            if text.len() > max_record_bytes {
                return Err(TooLong { line, bytes: text.len(), max: max_record_bytes });
            }
            records.push(body.slice(start..stop));
        }
        start = end + 1;
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_kept_as_they_are() {
        let body = Bytes::from_static(b"{\"a\":1}\r\n\n  \n not json \xff\n{\"b\":2}");
        let records = records(&body, 100).unwrap();
        assert_eq!(records, [&b"{\"a\":1}"[..], b" not json \xff", b"{\"b\":2}"]);
    }

    #[test]
    fn a_long_line_is_named() {
        let body = Bytes::from_static(b"ok\n\nabcdef\n");
        assert_eq!(records(&body, 5), Err(TooLong { line: 3, bytes: 6, max: 5 }));
        assert_eq!(records(&body, 6).unwrap().len(), 2);
    }

    proptest! {
        #[test]
        fn what_is_joined_comes_apart(lines in prop::collection::vec("[a-z]{1,9}", 0..20)) {
            let body = Bytes::from(lines.join("\n"));
            let found = records(&body, 9).unwrap();
            prop_assert_eq!(found, lines.iter().map(|l| Bytes::copy_from_slice(l.as_bytes())).collect::<Vec<_>>());
        }
    }
}
