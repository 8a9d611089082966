//! The writer: one thread that takes appends from a bounded queue and makes all that wait durable with one fsync.

use std::collections::HashMap;
use std::sync::Arc;

use fjall::PersistMode;
use tideline_common::ports::{Appended, PortError, PortResult};
use tideline_common::position::Partition;
use tideline_common::time::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::Inner;
use super::block::{self, Draft};
use super::topic::{Tail, Topic};
use crate::disk::{self, Reserve};

/// Appends that share an fsync, at most.
const GROUP_MAX: usize = 1024;

/// Bytes after which a group takes no more appends.
const GROUP_BYTES_MAX: usize = 16 << 20;

/// An append on its way.
pub(super) struct Request {
    pub(super) topic: Arc<Topic>,
    /// Blocks in the order in which they go to their partitions.
    pub(super) blocks: Vec<(Partition, Draft)>,
    pub(super) now: Timestamp,
    pub(super) answer: oneshot::Sender<PortResult<Appended>>,
    /// Its share of the bytes that may be on their way, given back when it is done.
    pub(super) _permit: OwnedSemaphorePermit,
}

impl Request {
    pub(super) fn bytes(&self) -> usize {
        self.blocks.iter().map(|(_, draft)| draft.bytes()).sum()
    }
}

/// Sizes that the writer keeps within bounds.
#[derive(Debug)]
pub(super) struct Room {
    /// Of the blocks of topics that have no bound of their own.
    pub(super) max: Option<u64>,
    pub(super) reserve: Reserve,
}

pub(super) struct Writer {
    pub(super) inner: Arc<Inner>,
    pub(super) queue: mpsc::Receiver<Request>,
}

impl Writer {
    /// Works until every sender is gone and the queue is empty.
    pub(super) fn run(mut self) {
        while let Some(first) = self.queue.blocking_recv() {
            let mut bytes = first.bytes();
            let mut group = vec![first];
            while bytes < GROUP_BYTES_MAX
                && group.len() < GROUP_MAX
                && let Ok(request) = self.queue.try_recv()
            {
                bytes += request.bytes();
                group.push(request);
            }
            self.write(group);
        }
    }

    fn write(&self, group: Vec<Request>) {
        let mut batch = self.inner.database.batch().durability(Some(PersistMode::SyncAll));
        let mut tails: HashMap<(u32, Partition), (Arc<Topic>, Tail)> = HashMap::new();
        let mut written = Vec::with_capacity(group.len());
        // What is there, and what this group adds to it: of topics that share the room, and of all.
        let used = self.inner.used();
        let (mut shared, mut all) = (0, 0);
        for request in group {
            let bytes = request.bytes() as u64;
            let of_shared = if request.topic.max_bytes().is_none() { bytes } else { 0 };
            if let Err(error) = self.check_room(&request.topic, used, shared + of_shared, all + bytes) {
                let _ = request.answer.send(Err(error));
                continue;
            }
            shared += of_shared;
            all += bytes;
            let mut appended = Appended::new();
            for (partition, draft) in request.blocks {
                let (_, tail) = tails.entry((request.topic.id, partition)).or_insert_with(|| {
                    let tail = *request.topic.partitions[partition as usize].tail.lock();
                    (request.topic.clone(), tail)
                });
                // Append times never go back within a partition, whatever the clock does.
                tail.appended = tail.appended.max(request.now);
                let first = tail.next;
                let size = draft.bytes() as u64;
                tail.next += u64::from(draft.records());
                let value = draft.seal(first, tail.appended, tail.written);
                tail.written += size;
                batch.insert(&self.inner.blocks, block::key(request.topic.id, partition, first), value);
                appended.entry(partition).or_insert((first, first)).1 = tail.next;
            }
            written.push((request.answer, appended));
        }
        if written.is_empty() {
            return;
        }
        match batch.commit() {
            Ok(()) => {
                // Readers see records only now that they are durable.
                for ((_, partition), (topic, tail)) in &tails {
                    let state = &topic.partitions[*partition as usize];
                    *state.tail.lock() = *tail;
                    state.next.send_replace(tail.next);
                }
                for (answer, appended) in written {
                    // Who no longer waits does not miss the answer.
                    let _ = answer.send(Ok(appended));
                }
                for ((_, partition), (topic, _)) in tails {
                    // What is over its bound is tried again with the next append.
                    if let Err(error) = self.inner.keep_to_bound(&topic, partition) {
                        tracing::error!(%error, topic = topic.name, "the oldest records could not be dropped");
                    }
                }
            }
            Err(error) => {
                let error = disk::error("the log", error);
                tracing::error!(%error, appends = written.len(), "writing the log failed");
                for (answer, _) in written {
                    let copy = match &error {
                        PortError::Full { what, source } => {
                            PortError::Full { what: what.clone(), source: source.to_string().into() }
                        }
                        other => PortError::unavailable("the log", other.to_string()),
                    };
                    let _ = answer.send(Err(copy));
                }
            }
        }
    }

    /// Whether there is room for what is to be written: `shared` bytes beside `used` ones of the topics that share the
    /// room, `all` on the device.
    fn check_room(&self, topic: &Topic, used: u64, shared: u64, all: u64) -> PortResult<()> {
        let room = &self.inner.room;
        if let Some(max) = room.max
            && topic.max_bytes().is_none()
            && used.saturating_add(shared) > max
        {
            let source = format!(
                "{used} of {max} bytes are used and {shared} more do not fit; shorten a retention or raise max_log_bytes"
            );
            return Err(PortError::Full { what: format!("the log, for topic {}", topic.name), source: source.into() });
        }
        room.reserve.check("the log", all)
    }
}
