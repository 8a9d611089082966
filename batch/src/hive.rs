//! Folders of Hive-partitioned tables: `<column>=<value>/…`.
//!
//! Values are written as Hive does it: percent-encoded, null (and, as in Hive, the empty text) as
//! [`DEFAULT`]. The partition columns stay in the files too, so a file says by itself what it holds and a name
//! that had to be cut loses nothing.

use polars::prelude::{AnyValue, DataFrame};
use tideline_common::time::Timestamp;
use xxhash_rust::xxh3::xxh3_64;

/// Name of the partition without a value.
pub(crate) const DEFAULT: &str = "__HIVE_DEFAULT_PARTITION__";

/// Longest encoded value: a name in a folder has at most 255 bytes on common file systems.
const LONGEST: usize = 180;

/// The folder part for one value: `symbol=TSLA`. Values beyond [`LONGEST`] bytes are cut and end in a hash.
pub(crate) fn part(column: &str, value: Option<&str>) -> String {
    let value = match value {
        None | Some("") => DEFAULT.to_owned(),
        Some(text) => {
            let encoded = encode(text);
            if encoded.len() > LONGEST {
                format!("{}-{:016x}", &encoded[..LONGEST - 17], xxh3_64(text.as_bytes()))
            } else {
                encoded
            }
        }
    };
    format!("{}={value}", encode(column))
}

/// The folder of the rows of `frame`, which are alike in `columns`: that of its first row.
pub(crate) fn folder(frame: &DataFrame, columns: &[String]) -> polars::prelude::PolarsResult<String> {
    let mut parts = Vec::with_capacity(columns.len());
    for name in columns {
        let column = frame.column(name)?;
        let value = column.get(0)?;
        let text = match &value {
            AnyValue::Null => None,
            AnyValue::String(text) => Some((*text).to_owned()),
            AnyValue::StringOwned(text) => Some(text.to_string()),
            AnyValue::Datetime(micros, ..) => Some(Timestamp(*micros).to_string()),
            other => Some(other.to_string()),
        };
        parts.push(part(name, text.as_deref()));
    }
    Ok(parts.join("/"))
}

fn encode(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    // A value of dots alone would name another folder.
    let dots = text.bytes().all(|b| b == b'.');
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || (byte == b'.' && !dots) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_safe_names() {
        assert_eq!(part("symbol", Some("TSLA")), "symbol=TSLA");
        assert_eq!(part("symbol", None), "symbol=__HIVE_DEFAULT_PARTITION__");
        assert_eq!(part("symbol", Some("")), "symbol=__HIVE_DEFAULT_PARTITION__");
        assert_eq!(part("city", Some("a/b=c %é")), "city=a%2Fb%3Dc%20%25%C3%A9");
        assert_eq!(part("x", Some("..")), "x=%2E%2E");
        assert_eq!(part("x", Some("1.5")), "x=1.5");
    }

    #[test]
    fn long_values_stay_apart() {
        let (a, b) = (part("x", Some(&"a".repeat(999))), part("x", Some(&"a".repeat(998))));
        assert!(a.len() < 200 && a != b);
    }
}
