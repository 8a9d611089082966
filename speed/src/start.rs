//! Where a shard began: written once, before anything else of it, so that it is the same for every process.
//!
//! `checkpoints/<source>/<partition>/start` holds the offset as text. Two processes that begin a shard at the same time
//! see different ends (or beginnings) of the log; would each begin at its own, there were two chains in Bronze.

use tideline_common::checkpoint::start_path;
use tideline_common::ports::{Created, PortError, PortResult};
use tideline_common::position::Offset;

use crate::context::Context;

/// Where the shard begins: at `proposed`, unless it has begun elsewhere before.
pub(crate) async fn settle(context: &Context, proposed: Offset) -> PortResult<Offset> {
    let path = start_path(&context.shard);
    let objects = &context.ports.objects;
    let bytes = bytes::Bytes::from(proposed.to_string());
    match context.retry("write start", || objects.put_if_absent(&path, bytes.clone())).await? {
        Created::Yes => Ok(proposed),
        Created::Exists => {
            let bytes = context.retry("read start", || objects.get(&path)).await?;
            let offset = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok());
            offset.ok_or_else(|| PortError::corrupt(path, "not an offset"))
        }
    }
}
