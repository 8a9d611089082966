//! The commands, one file each.

pub mod batch;
pub mod check;
pub mod dead_letters;
pub mod drift;
pub mod generate;
pub mod ingest;
pub mod migrate;
pub mod place;
pub mod plan;
pub mod produce;
pub mod query;
pub mod replay;
pub mod role;
pub mod serve;
pub mod speed;
pub mod sql;
pub mod status;
pub mod test;
pub mod up;
pub mod verify;

use std::io::Write;

/// Runs `print` on standard output, buffered. A reader that went away (`| head`) ends the output, not in an error.
///
/// # Errors
/// When `print` fails for another reason.
pub fn print(print: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> anyhow::Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    match print(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
