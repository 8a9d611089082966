//! Dropping what retention no longer keeps.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use tideline_common::ports::{PortError, PortResult};
use tideline_common::position::{Offset, Partition};
use tideline_common::time::Timestamp;

use super::block::{self, Head};
use super::topic::{StoredFloor, Topic};
use super::{Inner, block_name, floor_key};
use crate::disk;

/// Blocks dropped in one batch: bounds the memory of a long-overdue retention.
const BATCH: usize = 1024;

impl Inner {
    /// Drops whole blocks whose append time is older than their topic's retention.
    pub(super) fn expire(&self, now: Timestamp, keep_from: &BTreeMap<(String, Partition), Offset>) -> PortResult<u64> {
        let _changing = self.changing.lock();
        let topics: Vec<_> = self.known.read().values().cloned().collect();
        let mut dropped = 0;
        for topic in topics {
            let Some(retention) = *topic.retention.lock() else { continue };
            let before = now.minus(retention);
            for partition in 0..topic.partitions.len() as Partition {
                let keep = keep_from.get(&(topic.name.clone(), partition)).copied().unwrap_or(Offset::MAX);
                loop {
                    let (records, more) = self.expire_batch(&topic, partition, before, keep)?;
                    dropped += records;
                    if !more {
                        break;
                    }
                }
            }
        }
        Ok(dropped)
    }

    /// Drops at most [`BATCH`] blocks; answers with the number of records and whether there may be more.
    fn expire_batch(
        &self,
        topic: &Topic,
        partition: Partition,
        before: Timestamp,
        keep: Offset,
    ) -> PortResult<(u64, bool)> {
        let what = format!("topic {}, partition {partition} of the log", topic.name);
        let state = topic.partition(partition)?;
        // Records that no reader sees yet are not touched.
        let (start, end) = (state.first(), *state.next.borrow());
        let mut batch = self.database.batch();
        let (mut floor, mut freed) = (None, 0);
        let key = |offset| block::key(topic.id, partition, offset);
        for entry in self.blocks.range(key(0)..key(end)) {
            let (key, value) = entry.into_inner().map_err(|e| disk::error(&what, e))?;
            let first = block::first_of(&key).unwrap_or_default();
            let head =
                Head::read(&value).map_err(|e| PortError::corrupt(block_name(&topic.name, partition, first), e))?;
            if head.appended >= before || head.next() > keep {
                break;
            }
            batch.remove(&self.blocks, key);
            freed += value.len() as u64;
            floor = Some((head.next(), head.appended, head.before + value.len() as u64));
            if batch.len() == BATCH {
                break;
            }
        }
        let Some((first, appended, before)) = floor else { return Ok((0, false)) };
        let more = batch.len() == BATCH;
        let stored = StoredFloor::V1 { first, appended, before };
        let stored = serde_json::to_vec(&stored).map_err(|e| PortError::invalid(&what, e))?;
        batch.insert(&self.floors, floor_key(topic.id, partition), stored);
        // Readers that come too late learn it from `first`, so it moves before the blocks go.
        state.first.store(first, Ordering::Release);
        batch.commit().map_err(|e| disk::error(&what, e))?;
        state.dropped.store(before, Ordering::Release);
        self.room.used.fetch_sub(freed, Ordering::Relaxed);
        Ok((first - start, more))
    }
}
