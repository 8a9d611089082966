//! Which rows of a shard are at the end of a topic already: read backwards, as far as they can be.

use std::collections::BTreeSet;

use tideline_common::ports::{PortError, PortResult, ReadRequest};
use tideline_common::position::{Offset, Partition};
use tideline_common::record::Record;
use tideline_common::time::{Span, Timestamp};

use super::record::{Place, place};
use crate::context::Context;

/// Records that are looked at first; each further look goes back four times as far.
const FIRST_LOOK: u64 = 2_000;
/// Records of the widest look.
const WIDEST_LOOK: u64 = 32_000;
/// Records of a partition that are looked at, at most.
const MOST: u64 = 500_000;
/// Bytes of one read.
const READ_BYTES: usize = 4 << 20;
/// How far the clocks of those who append may be apart.
const APART: Span = Span::MINUTE;

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// The topic.
    pub(super) topic: &'a str,
    /// What the ids of the rows begin with.
    pub(super) prefix: &'a str,
    /// Rows of records from this offset on.
    pub(super) from: Offset,
    /// When the log took the first of these records: their rows are not older than that.
    pub(super) since: Timestamp,
}

/// Rows that are in `partitions`. A partition has the rows of a shard in order, so that one of a record before
/// [`Wanted::from`] ends the search; and so does what was appended long before that record.
pub(super) async fn there(
    context: &Context,
    wanted: &Wanted<'_>,
    partitions: impl IntoIterator<Item = Partition>,
) -> PortResult<BTreeSet<Place>> {
    let info = context.ports.log.topic(wanted.topic).await?;
    let mut found = BTreeSet::new();
    for partition in partitions {
        let Some((first, next)) = info.partitions.get(&partition).copied() else { continue };
        look(context, wanted, partition, (first, next), &mut found).await?;
    }
    Ok(found)
}

/// Looks through one partition, `[first, next)`.
async fn look(
    context: &Context,
    wanted: &Wanted<'_>,
    partition: Partition,
    (first, next): (Offset, Offset),
    found: &mut BTreeSet<Place>,
) -> PortResult<()> {
    let (mut end, mut size) = (next, FIRST_LOOK);
    while end > first {
        let start = end.saturating_sub(size).max(first);
        let (mut at, mut before) = (start, false);
        while at < end {
            let (records, next) = read(context, wanted.topic, partition, at, end).await?;
            at = next;
            for record in records.iter().filter(|record| record.offset < end) {
                before |= record.appended < wanted.since.minus(APART);
                match place(record, wanted.prefix) {
                    Some(place) if place.0 >= wanted.from => {
                        found.insert(place);
                    }
                    Some(_) => before = true,
                    None => {}
                }
            }
        }
        if before {
            return Ok(());
        }
        if next - start >= MOST {
            let (shard, topic) = (&context.shard, wanted.topic);
            tracing::warn!(%shard, topic, partition, looked_at = next - start, "rows that are further back may be appended again");
            return Ok(());
        }
        (end, size) = (start, (size * 4).min(WIDEST_LOOK));
    }
    Ok(())
}

/// Records of a partition from `at` on, a part of those before `end`, and where to go on.
async fn read(
    context: &Context,
    topic: &str,
    partition: Partition,
    at: Offset,
    end: Offset,
) -> PortResult<(Vec<Record>, Offset)> {
    let log = &context.ports.log;
    let request = ReadRequest {
        topic: topic.to_owned(),
        partition,
        from: at,
        max_records: (end - at) as usize,
        max_bytes: READ_BYTES,
        wait: context.config.read_wait.to_std(),
    };
    let records = match log.read(&request).await {
        // Retention has taken them since.
        Err(PortError::Expired { first }) if first > at => return Ok((Vec::new(), first)),
        answer => answer?,
    };
    if let Some(last) = records.last() {
        let next = last.offset + 1;
        return Ok((records, next));
    }
    // Offsets without a record, or a log that does not answer.
    let next = log.skip(topic, partition, at).await?;
    if next > at {
        return Ok((records, next));
    }
    let what = format!("partition {partition} of topic {topic}");
    Err(PortError::unavailable(what, format!("no record from offset {at} on, where there are some")))
}
