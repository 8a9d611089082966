//! Paths of objects: checked before they reach a store, so that every store takes the same ones.

use object_store::path::Path;
use tideline_common::ports::{PortError, PortResult};

/// The longest part of a path in bytes: what file systems take, less room for the suffix of a file being written.
const PART_MAX: usize = 240;

/// The longest path in bytes: what S3 takes.
const PATH_MAX: usize = 1024;

/// A path of an object.
pub(super) fn parse(path: &str) -> PortResult<Path> {
    let invalid = |reason: &str| PortError::invalid(format!("the object path {path:?}"), reason);
    if path.len() > PATH_MAX {
        return Err(invalid("it is longer than 1024 bytes"));
    }
    for part in path.split('/') {
        if part.is_empty() {
            return Err(invalid("it has an empty part"));
        }
        if part == "." || part == ".." {
            return Err(invalid("it has a part that is relative"));
        }
        if part.len() > PART_MAX {
            return Err(invalid("it has a part longer than 240 bytes"));
        }
        if part.chars().any(|c| c.is_control() || c == '\\') {
            return Err(invalid("it has a control character or a backslash"));
        }
        // The name of a file that is being written: such an object would be invisible in a folder.
        if part.rsplit_once('#').is_some_and(|(_, end)| !end.is_empty() && end.bytes().all(|b| b.is_ascii_digit())) {
            return Err(invalid("a part ends with # and digits, which is kept for files being written"));
        }
    }
    Path::parse(path).map_err(|e| PortError::invalid(format!("the object path {path:?}"), e))
}
