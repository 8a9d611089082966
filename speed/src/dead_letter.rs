//! Dead letters: records that cannot be read, with the reason, beside the Bronze file that holds them.
//!
//! `dead-letters/<source>/<partition>/<first, 20 digits>.ndjson` belongs to the Bronze file of the same name and is
//! a function of it and of the source's plan: whoever writes it, and however often, it is the same. There is none
//! where nothing was rejected. One JSON object per line:
//!
//! ```text
//! {"v":1,"offset":17,"kind":"json","reason":"not JSON: …","appended":1700000000000000,"key":{…},"raw":{"text":"…"}}
//! ```
//! `raw` and `key` (absent without one) are `{"text": …}` where they are UTF-8, `{"hex": …}` otherwise: nothing of
//! a record is lost.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tideline_common::ports::{Objects, PortError, PortResult};
use tideline_common::position::{Offset, Partition, Shard};
use tideline_common::record::Record;
use tideline_common::time::Timestamp;

/// Folder of the dead letters in the lake.
pub const DEAD_LETTERS: &str = "dead-letters";

/// A record that was rejected, before it is written.
#[derive(Clone, Debug)]
pub(crate) struct Rejection {
    pub(crate) record: Record,
    pub(crate) kind: &'static str,
    pub(crate) reason: String,
}

/// A record that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where it came from.
    pub shard: Shard,
    /// Its place there.
    pub offset: Offset,
    /// Kind of the reason: one of a small fixed set, such as `json` or `bad_time`.
    pub kind: String,
    /// The reason, for a reader.
    pub reason: String,
    /// When the log took it.
    pub appended: Timestamp,
    /// Its partitioning key, if any.
    pub key: Option<Bytes>,
    /// The record, byte for byte.
    pub raw: Bytes,
}

/// Bytes in JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Raw {
    Text(String),
    Hex(String),
}

impl Raw {
    fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Hex(bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
                // Writing to a string cannot fail.
                let _ = write!(hex, "{byte:02x}");
                hex
            })),
        }
    }

    fn bytes(self) -> Option<Bytes> {
        match self {
            Self::Text(text) => Some(Bytes::from(text)),
            Self::Hex(hex) => {
                let digits: Option<Vec<u8>> =
                    hex.chars().map(|digit| digit.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
                let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
                Some(digits.chunks_exact(2).map(|pair| (pair[0] << 4) | pair[1]).collect::<Vec<u8>>().into())
            }
        }
    }
}

/// A line of a file.
#[derive(Serialize, Deserialize)]
struct Line {
    v: u32,
    offset: Offset,
    kind: String,
    reason: String,
    appended: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Raw>,
    raw: Raw,
}

/// The path of the dead letters of the Bronze file that begins at `first`.
pub fn path(source: &str, partition: Partition, first: Offset) -> String {
    format!("{DEAD_LETTERS}/{source}/{partition}/{first:020}.ndjson")
}

/// The file of these rejections.
pub(crate) fn encode(rejections: &[Rejection]) -> Result<Bytes, serde_json::Error> {
    let mut out = Vec::new();
    for rejection in rejections {
        let line = Line {
            v: 1,
            offset: rejection.record.offset,
            kind: rejection.kind.to_owned(),
            reason: rejection.reason.clone(),
            appended: rejection.record.appended,
            key: rejection.record.key.as_deref().map(Raw::of),
            raw: Raw::of(&rejection.record.payload),
        };
        serde_json::to_writer(&mut out, &line)?;
        out.push(b'\n');
    }
    Ok(out.into())
}

/// The dead letters of one file.
///
/// # Errors
/// [`PortError::Corrupt`] with the line that is not one.
pub fn decode(path: &str, bytes: &[u8]) -> PortResult<Vec<DeadLetter>> {
    let shard = shard_of(path).ok_or_else(|| PortError::corrupt(path, "not the path of a file of dead letters"))?;
    let lines = bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
    lines
        .map(|(at, line)| {
            let corrupt = |reason: String| PortError::corrupt(path, format!("line {}: {reason}", at + 1));
            let line: Line = serde_json::from_slice(line).map_err(|error| corrupt(error.to_string()))?;
            if line.v != 1 {
                return Err(corrupt(format!("format {} is not known", line.v)));
            }
            let not_hex = || corrupt("not hexadecimal".to_owned());
            Ok(DeadLetter {
                shard: shard.clone(),
                offset: line.offset,
                kind: line.kind,
                reason: line.reason,
                appended: line.appended,
                key: line.key.map(|key| key.bytes().ok_or_else(not_hex)).transpose()?,
                raw: line.raw.bytes().ok_or_else(not_hex)?,
            })
        })
        .collect()
}

fn shard_of(path: &str) -> Option<Shard> {
    let (folder, _) = path.strip_prefix(DEAD_LETTERS)?.strip_prefix('/')?.rsplit_once('/')?;
    let (source, partition) = folder.rsplit_once('/')?;
    Some(Shard::new(source, partition.parse().ok()?))
}

/// Paths of the files of dead letters, sorted: all, or those of one source.
///
/// # Errors
/// What the object store answers.
pub async fn files(objects: &dyn Objects, source: Option<&str>) -> PortResult<Vec<String>> {
    let folder = source.map_or_else(|| DEAD_LETTERS.to_owned(), |source| format!("{DEAD_LETTERS}/{source}"));
    Ok(objects.list(&folder).await?.into_iter().map(|object| object.path).collect())
}

/// Dead letters by source, partition and offset, at most `limit`; only those of `source` when given.
///
/// # Errors
/// What the object store answers; [`PortError::Corrupt`] for a file that cannot be read.
pub async fn list(objects: &dyn Objects, source: Option<&str>, limit: usize) -> PortResult<Vec<DeadLetter>> {
    let mut letters: Vec<DeadLetter> = Vec::new();
    let mut known = BTreeSet::new();
    for path in files(objects, source).await? {
        if letters.len() >= limit {
            break;
        }
        let bytes = match objects.get(&path).await {
            Ok(bytes) => bytes,
            // Retention has dropped it since it was listed.
            Err(PortError::NotFound { .. }) => continue,
            Err(error) => return Err(error),
        };
        // Files of a shard follow each other. A writer that was paused for long may have written some letters again,
        // in a file that begins elsewhere.
        for letter in decode(&path, &bytes)? {
            if letters.last().is_some_and(|last| last.shard != letter.shard) {
                known.clear();
            }
            if known.insert(letter.offset) {
                letters.push(letter);
            }
        }
    }
    letters.truncate(limit);
    Ok(letters)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        let rejection = |offset, key: Option<&'static [u8]>, raw: &'static [u8]| Rejection {
            record: Record {
                offset,
                appended: Timestamp(5),
                key: key.map(Bytes::from_static),
                headers: Vec::new(),
                payload: Bytes::from_static(raw),
            },
            kind: "json",
            reason: "not JSON: \"x\"".to_owned(),
        };
        let all = [
            rejection(1, None, b"{\"a\":\n\r broken \xe2\x82\xac"),
            rejection(2, Some(b"\xff\x00"), b"\x00\xfe"),
            rejection(9, Some(b"k"), b""),
        ];
        let path = path("tweets", 3, 1);
        let read = decode(&path, &encode(&all).unwrap()).unwrap();
        assert_eq!(read.len(), 3);
        for (letter, rejection) in read.iter().zip(&all) {
            assert_eq!(letter.shard, Shard::new("tweets", 3));
            assert_eq!(letter.offset, rejection.record.offset);
            assert_eq!((&letter.raw, &letter.key), (&rejection.record.payload, &rejection.record.key));
            assert_eq!((letter.kind.as_str(), &letter.reason), (rejection.kind, &rejection.reason));
        }
    }

    #[test]
    fn a_damaged_file_names_its_line() {
        let error = decode(&path("s", 0, 0), b"\n{\"v\":1}\n").unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
        let newer = br#"{"v":2,"offset":0,"kind":"","reason":"","appended":0,"raw":{"text":""}}"#;
        assert!(decode(&path("s", 0, 0), newer).unwrap_err().to_string().contains("format 2"));
        let odd = br#"{"v":1,"offset":0,"kind":"","reason":"","appended":0,"raw":{"hex":"abc"}}"#;
        assert!(decode(&path("s", 0, 0), odd).unwrap_err().to_string().contains("hexadecimal"));
    }
}
