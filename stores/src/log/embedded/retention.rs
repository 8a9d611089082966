//! Dropping what retention, or a topic's bound in bytes, no longer keeps.

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

/// Which blocks of a partition go, from its beginning on, until one of these says no.
#[derive(Clone, Copy)]
enum Goes {
    /// Those appended before a time that end at or before an offset.
    Older(Timestamp, Offset),
    /// As many as leave no more than so many bytes, except the newest.
    Beyond(u64),
}

impl Inner {
    /// Drops whole blocks whose append time is older than their topic's retention.
    pub(super) fn expire(&self, now: Timestamp, keep_from: &BTreeMap<(String, Partition), Offset>) -> PortResult<u64> {
        let _changing = self.changing.lock();
        let topics: Vec<_> = self.known.read().values().cloned().collect();
        let mut dropped = 0;
        for topic in topics {
            let Some(retention) = topic.keeps.lock().retention else { continue };
            let before = now.minus(retention);
            for partition in 0..topic.partitions.len() as Partition {
                let keep = keep_from.get(&(topic.name.clone(), partition)).copied().unwrap_or(Offset::MAX);
                dropped += self.drop_oldest(&topic, partition, Goes::Older(before, keep))?;
            }
        }
        Ok(dropped)
    }

    /// Drops the oldest blocks of a partition that is over the bound of its topic.
    pub(super) fn keep_to_bound(&self, topic: &Topic, partition: Partition) -> PortResult<()> {
        let Some(max) = topic.max_bytes() else { return Ok(()) };
        if topic.partition(partition)?.used() <= max {
            return Ok(());
        }
        let records = self.drop_oldest(topic, partition, Goes::Beyond(max))?;
        tracing::debug!(topic = topic.name, partition, records, max, "the oldest records are dropped");
        Ok(())
    }

    /// Drops the blocks that go; answers with the number of records.
    fn drop_oldest(&self, topic: &Topic, partition: Partition, goes: Goes) -> PortResult<u64> {
        let mut dropped = 0;
        loop {
            let (records, more) = self.drop_batch(topic, partition, goes)?;
            dropped += records;
            if !more {
                return Ok(dropped);
            }
        }
    }

    /// Drops at most [`BATCH`] blocks; answers with the number of records and whether there may be more.
    fn drop_batch(&self, topic: &Topic, partition: Partition, goes: Goes) -> PortResult<(u64, bool)> {
        let what = format!("topic {}, partition {partition} of the log", topic.name);
        let state = topic.partition(partition)?;
        let _dropping = state.dropping.lock();
        // Records that no reader sees yet are not touched.
        let (start, end) = (state.first(), *state.next.borrow());
        let mut used = state.used();
        let mut batch = self.database.batch();
        let mut floor = None;
        let key = |offset| block::key(topic.id, partition, offset);
        for entry in self.blocks.range(key(0)..key(end)) {
            let (key, value) = entry.into_inner().map_err(|e| disk::error(&what, e))?;
            let first = block::first_of(&key).unwrap_or_default();
            let head =
                Head::read(&value).map_err(|e| PortError::corrupt(block_name(&topic.name, partition, first), e))?;
            let stays = match goes {
                Goes::Older(before, keep) => head.appended >= before || head.next() > keep,
                Goes::Beyond(max) => used <= max || head.next() >= end,
            };
            if stays {
                break;
            }
            batch.remove(&self.blocks, key);
            used = used.saturating_sub(value.len() as u64);
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
        Ok((first - start, more))
    }
}
