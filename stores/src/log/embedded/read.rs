//! Reading blocks, and waiting for them.

use std::sync::Arc;

use bytes::Bytes;
use tideline_common::ports::{PortError, PortResult, ReadRequest};
use tideline_common::position::Offset;
use tideline_common::record::Record;
use tokio::time::Instant;

use super::block::{self, Head};
use super::topic::{PartitionState, Topic};
use super::{Inner, block_name};
use crate::disk::{self, blocking};

/// See [`tideline_common::ports::Log::read`].
pub(super) async fn read(inner: &Arc<Inner>, request: &ReadRequest) -> PortResult<Vec<Record>> {
    let topic = inner.topic(&request.topic)?;
    let state = topic.partition(request.partition)?;
    let mut ends = state.next.subscribe();
    let deadline = Instant::now() + request.wait;
    if request.max_records == 0 {
        return Ok(Vec::new());
    }
    loop {
        check_expired(state, request.from)?;
        let next = *ends.borrow_and_update();
        if request.from < next {
            let (inner, topic, request) = (inner.clone(), topic.clone(), request.clone());
            return blocking("the log", move || inner.read_blocks(&topic, &request, next)).await;
        }
        // The partition cannot go away while `topic` is held, so only time ends this wait.
        if tokio::time::timeout_at(deadline, ends.wait_for(|next| *next > request.from)).await.is_err() {
            return Ok(Vec::new());
        }
    }
}

fn check_expired(state: &PartitionState, from: Offset) -> PortResult<()> {
    let first = state.first();
    if from < first { Err(PortError::Expired { first }) } else { Ok(()) }
}

impl Inner {
    /// Records of [from, next), which are there unless they expire meanwhile.
    fn read_blocks(&self, topic: &Topic, request: &ReadRequest, next: Offset) -> PortResult<Vec<Record>> {
        let what = format!("topic {}, partition {}", topic.name, request.partition);
        let failed = |e| disk::error(&what, e);
        let key = |offset| block::key(topic.id, request.partition, offset);
        let state = topic.partition(request.partition)?;
        // The block that holds `from` is the last one that begins at or before it.
        let start = match self.blocks.range(key(0)..=key(request.from)).next_back() {
            Some(entry) => block::first_of(&entry.key().map_err(failed)?).unwrap_or_default(),
            None => request.from,
        };
        let (mut records, mut count, mut bytes, mut full) = (Vec::new(), 0, 0usize, false);
        let mut expected = request.from;
        for entry in self.blocks.range(key(start)..key(next)) {
            let (key, value) = entry.into_inner().map_err(failed)?;
            let first = block::first_of(&key).unwrap_or_default();
            let damaged =
                |reason: String| PortError::corrupt(block_name(&topic.name, request.partition, first), reason);
            let value = Bytes::from_owner(value);
            let head = Head::read(&value).map_err(damaged)?;
            if head.first != first {
                return Err(damaged(format!("it says that it begins at {}", head.first)));
            }
            if first > expected || head.next() <= expected {
                break;
            }
            block::records(&value, request.from, &mut records, |size| {
                full = count == request.max_records || (count > 0 && bytes.saturating_add(size) > request.max_bytes);
                count += 1;
                bytes = bytes.saturating_add(size);
                !full
            })
            .map_err(damaged)?;
            expected = head.next();
            full |= records.len() >= request.max_records;
            if full {
                break;
            }
        }
        if !full && expected < next {
            check_expired(state, request.from)?;
            return Err(PortError::corrupt(
                block_name(&topic.name, request.partition, expected),
                format!("it is missing, and the partition goes on to {next}"),
            ));
        }
        Ok(records)
    }
}
