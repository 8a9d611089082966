//! What retention does not keep of Bronze: files of which every record is older, from the beginning of the chain on,
//! and the dead letters before the new beginning.
//!
//! Age counts from when the log took a record. The chain loses its beginning, never its midst: whoever is cut off
//! leaves a chain that begins later. Files are settled (see [`super`]), and taken in by every version that is kept.

use tideline_common::ports::PortError;
use tideline_common::position::{Offset, Partition};
use tideline_common::time::Span;
use tideline_transform::bronze::stretch::Stretch;

use super::{BronzeCounts, Settled};
use crate::context::Context;
use crate::error::BatchError;
use crate::lake;

/// Drops what is older than `retention` of `candidates`, which begin where the chain does.
pub(super) async fn drop_expired(
    context: &Context,
    source: &str,
    partition: Partition,
    candidates: Vec<Settled>,
    retention: Span,
    counts: &mut BronzeCounts,
) -> Result<(), BatchError> {
    let edge = context.now.minus(retention);
    let mut beginning = None;
    for Settled { file, next } in candidates {
        context.check()?;
        let bytes = match context.lake.objects.get(&file.path).await {
            Ok(bytes) => bytes,
            // Another process has dropped it, or joined it a moment ago: the next run sees what it is part of.
            Err(PortError::NotFound { .. }) => break,
            Err(error) => return Err(error.into()),
        };
        let (first, path) = (file.first, file.path.clone());
        let read = move || Stretch::read(first, bytes).map_err(|source| BatchError::Bronze { path, source });
        let stretch = lake::blocking(read).await?;
        // A file of nothing is as old as the one after it.
        if stretch.next != next || stretch.last_appended().is_some_and(|appended| appended >= edge) {
            break;
        }
        context.lake.objects.delete(&file.path).await?;
        counts.dropped += 1;
        beginning = Some(next);
    }
    let Some(beginning) = beginning else { return Ok(()) };
    tracing::info!(source, partition, beginning, files = counts.dropped, "Bronze before this offset dropped");
    drop_dead_letters(context, source, partition, beginning).await
}

/// Drops the dead letters of records before `beginning`. What is left by a run that was cut off goes with the next.
async fn drop_dead_letters(
    context: &Context,
    source: &str,
    partition: Partition,
    beginning: Offset,
) -> Result<(), BatchError> {
    let folder = format!("dead-letters/{source}/{partition}");
    for object in context.lake.objects.list(&folder).await? {
        let name = object.path.strip_prefix(&folder).and_then(|name| name.strip_prefix('/'));
        let first: Option<Offset> = name.and_then(|name| name.strip_suffix(".ndjson")?.parse().ok());
        // They have the name of the file of Bronze that held them, which ended where the next began.
        if first.is_some_and(|first| first < beginning) {
            context.lake.objects.delete(&object.path).await?;
        }
    }
    Ok(())
}
