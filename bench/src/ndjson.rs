//! Files of records, one a line.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use bytes::Bytes;

/// The records of a file, gzipped when its name ends in `.gz`.
///
/// # Errors
/// A file that cannot be read.
pub fn read(file: &Path) -> Result<Vec<Bytes>> {
    let raw = std::fs::read(file).with_context(|| file.display().to_string())?;
    let mut text = Vec::new();
    if file.extension().is_some_and(|extension| extension == "gz") {
        flate2::read::GzDecoder::new(raw.as_slice()).read_to_end(&mut text)?;
    } else {
        text = raw;
    }
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Ok(lines.map(Bytes::copy_from_slice).collect())
}
