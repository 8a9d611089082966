//! A speed store with shards, and a log, in memory: what the speed layer does to both with a flush, step by step.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, clippy::missing_panics_doc)]

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tideline_common::changes::Change;
use tideline_common::generation::Generation;
use tideline_common::key::Key;
use tideline_common::ports::{
    Appended, Created, Flush, KeySelector, Location, Log, LookupRows, LookupSchema, ObjectInfo, Objects, PanePage,
    PaneQuery, PortError, PortResult, Progress, ReadRequest, ShardPanes, SpeedViews, TopicInfo, TopicSpec, ViewSchema,
};
use tideline_common::position::{Offset, Partition, Shard};
use tideline_common::record::{NewRecord, Record};
use tideline_common::state::{StateBatch, StateTable};
use tideline_common::time::Timestamp;
use tideline_common::watermark::Watermark;
use tokio::sync::Notify;

use super::{Event, Faults, view};

type Row = (Offset, StateBatch);

/// Key, pane and shard.
type Place = (Vec<u8>, Timestamp, Shard);

/// Speed views of the test view, with shards and positions.
#[derive(Debug, Default)]
pub struct ShardedViews {
    /// Position and state of each row.
    pub rows: Mutex<BTreeMap<Place, Row>>,
    pub progress: Mutex<BTreeMap<Shard, Progress>>,
    pub faults: Faults,
    /// Calls of reads of many panes.
    pub sweeps: AtomicUsize,
    pub generation: AtomicU64,
}

impl ShardedViews {
    /// Takes in a change as a store does: a higher position replaces a row.
    pub fn take(&self, change: &Change) {
        let mut rows = self.rows.lock();
        for row in 0..change.panes.len() {
            let (key, pane) = (change.panes.keys.get(row).to_vec(), change.panes.panes[row]);
            let place = rows.entry((key, pane, change.shard.clone()));
            let mut state = StateBatch::new(&view().fields);
            state.push_from(&change.panes, row);
            let known = place.or_insert_with(|| (0, state.clone()));
            if change.position > known.0 {
                *known = (change.position, state);
            }
        }
        let mut progress = self.progress.lock();
        let own = progress.entry(change.shard.clone()).or_default();
        if change.position > own.position {
            own.position = change.position;
            (own.highest, own.last_appended) = (change.watermark.highest, change.watermark.last_appended);
        }
    }

    fn between(&self, from: Timestamp, to: Timestamp, shard: Option<&Shard>) -> StateBatch {
        let mut out = StateBatch::new(&view().fields);
        for ((_, pane, of), (_, state)) in self.rows.lock().iter() {
            if (from..to).contains(pane) && shard.is_none_or(|shard| shard == of) {
                out.push_from(state, 0);
            }
        }
        out
    }
}

#[async_trait]
impl SpeedViews for ShardedViews {
    async fn write(&self, _: &Flush, _: Timestamp) -> PortResult<()> {
        Ok(())
    }

    async fn panes(&self, _: &ViewSchema, query: &PaneQuery, _: Timestamp) -> PortResult<PanePage> {
        self.faults.check().await?;
        let all = self.between(query.from, query.to, None);
        let mut panes = StateBatch::new(&view().fields);
        for row in 0..all.len() {
            let wanted = match &query.keys {
                KeySelector::One(key) => all.keys.get(row) == key.as_bytes(),
                KeySelector::All { after } => after.as_ref().is_none_or(|key| all.keys.get(row) > key.as_bytes()),
            };
            if wanted {
                panes.push_from(&all, row);
            }
        }
        Ok(PanePage { panes, more_after: None })
    }

    async fn late(&self, _: &ViewSchema, _: &PaneQuery, _: Timestamp) -> PortResult<PanePage> {
        Ok(PanePage { panes: StateBatch::new(&[]), more_after: None })
    }

    async fn newest_pane(&self, _: &ViewSchema, _: Timestamp) -> PortResult<Option<Timestamp>> {
        self.faults.check().await?;
        Ok(self.rows.lock().keys().map(|(_, pane, _)| *pane).max())
    }

    async fn panes_between(
        &self,
        _: &ViewSchema,
        from: Timestamp,
        to: Timestamp,
        _: Timestamp,
    ) -> PortResult<StateBatch> {
        self.sweeps.fetch_add(1, Ordering::SeqCst);
        self.faults.check().await?;
        Ok(self.between(from, to, None))
    }

    async fn shards_between(
        &self,
        _: &ViewSchema,
        from: Timestamp,
        to: Timestamp,
        _: Timestamp,
    ) -> PortResult<Vec<ShardPanes>> {
        self.sweeps.fetch_add(1, Ordering::SeqCst);
        self.faults.check().await?;
        let shards: Vec<Shard> = self.progress.lock().keys().cloned().collect();
        let of = |shard: Shard| ShardPanes { panes: self.between(from, to, Some(&shard)), shard };
        Ok(shards.into_iter().map(of).filter(|of| !of.panes.is_empty()).collect())
    }

    async fn generation(&self) -> PortResult<Generation> {
        Ok(Generation(self.generation.load(Ordering::SeqCst)))
    }

    async fn rows(&self, lookup: &LookupSchema, _: &Key, _: usize, _: Timestamp) -> PortResult<LookupRows> {
        self.faults.check().await?;
        Ok(LookupRows::new(&lookup.columns))
    }

    async fn progress(&self) -> PortResult<Vec<(Shard, Progress)>> {
        self.faults.check().await?;
        Ok(self.progress.lock().iter().map(|(shard, progress)| (shard.clone(), progress.clone())).collect())
    }

    async fn sync(&self) -> PortResult<()> {
        Ok(())
    }

    async fn expire(&self, _: &[ViewSchema], _: &[LookupSchema], _: Timestamp) -> PortResult<u64> {
        Ok(0)
    }
}

type Partitions = BTreeMap<Partition, (Offset, Vec<Record>)>;

/// A log.
#[derive(Debug, Default)]
pub struct MemoryLog {
    pub topics: Mutex<HashMap<String, Partitions>>,
    pub faults: Faults,
    pub more: Notify,
}

impl MemoryLog {
    pub fn create(&self, topic: &str, partitions: u32) {
        let partitions = (0..partitions).map(|at| (at, (0, Vec::new()))).collect();
        self.topics.lock().entry(topic.to_owned()).or_insert(partitions);
    }

    /// Gives a topic more partitions.
    pub fn grow(&self, topic: &str, partitions: u32) {
        let mut topics = self.topics.lock();
        let known = topics.get_mut(topic).unwrap();
        for at in 0..partitions {
            known.entry(at).or_default();
        }
    }

    /// Appends by key, as every log does.
    pub fn add(&self, topic: &str, records: &[NewRecord]) {
        let mut topics = self.topics.lock();
        let partitions = topics.get_mut(topic).unwrap();
        for record in records {
            let at = u32::from(record.key.as_ref().unwrap()[0]) % partitions.len() as u32;
            let (first, kept) = partitions.get_mut(&at).unwrap();
            let offset = *first + kept.len() as u64;
            kept.push(Record {
                offset,
                appended: Timestamp(0),
                key: record.key.clone(),
                headers: Vec::new(),
                payload: record.payload.clone(),
            });
        }
        self.more.notify_waiters();
    }

    /// Forgets all records.
    pub fn forget(&self, topic: &str) {
        for (first, kept) in self.topics.lock().get_mut(topic).unwrap().values_mut() {
            *first += kept.len() as u64;
            kept.clear();
        }
    }
}

#[async_trait]
impl Log for MemoryLog {
    async fn ensure_topic(&self, spec: &TopicSpec) -> PortResult<()> {
        self.create(&spec.name, spec.partitions);
        Ok(())
    }

    async fn topics(&self) -> PortResult<Vec<TopicInfo>> {
        self.faults.check().await?;
        let info = |(name, partitions): (&String, &Partitions)| TopicInfo {
            name: name.clone(),
            partitions: partitions
                .iter()
                .map(|(at, (first, kept))| (*at, (*first, first + kept.len() as u64)))
                .collect(),
        };
        Ok(self.topics.lock().iter().map(info).collect())
    }

    async fn topic(&self, name: &str) -> PortResult<TopicInfo> {
        let found = self.topics().await?.into_iter().find(|topic| topic.name == name);
        found.ok_or_else(|| PortError::NotFound { what: name.to_owned() })
    }

    async fn append(&self, topic: &str, records: Vec<NewRecord>, _: Timestamp) -> PortResult<Appended> {
        self.faults.check().await?;
        self.add(topic, &records);
        Ok(Appended::new())
    }

    async fn append_to(
        &self,
        topic: &str,
        _: Partition,
        _: Vec<NewRecord>,
        _: Timestamp,
    ) -> PortResult<(Offset, Offset)> {
        Err(PortError::unavailable(topic, "not asked for"))
    }

    async fn read(&self, request: &ReadRequest) -> PortResult<Vec<Record>> {
        self.faults.check().await?;
        let until = tokio::time::Instant::now() + request.wait.min(Duration::from_millis(20));
        loop {
            let more = self.more.notified();
            {
                let topics = self.topics.lock();
                let (first, kept) = &topics[&request.topic][&request.partition];
                if request.from < *first {
                    return Err(PortError::Expired { first: *first });
                }
                let found: Vec<Record> =
                    kept.iter().skip((request.from - first) as usize).take(request.max_records).cloned().collect();
                if !found.is_empty() {
                    return Ok(found);
                }
            }
            if tokio::time::timeout_at(until, more).await.is_err() {
                return Ok(Vec::new());
            }
        }
    }

    async fn commit_hint(&self, _: &str, _: &str, _: Partition, _: Offset) -> PortResult<()> {
        Ok(())
    }

    async fn expire(&self, _: Timestamp, _: &BTreeMap<(String, Partition), Offset>) -> PortResult<u64> {
        Ok(0)
    }
}

/// The speed layer of one shard: takes in events one by one, and makes changes of what they changed.
#[derive(Debug)]
pub struct Worker {
    pub shard: Shard,
    pub position: Offset,
    table: StateTable,
    watermark: Watermark,
}

impl Worker {
    pub fn new(partition: Partition) -> Self {
        let (table, watermark) = (StateTable::new(&view().fields), Watermark::default());
        Self { shard: Shard::new("feed", partition), position: 0, table, watermark }
    }

    pub fn take(&mut self, event: &Event) {
        let states = super::states(std::slice::from_ref(event));
        self.table.merge(&states);
        self.position += 1;
        self.watermark.observe(Timestamp(event.time), Timestamp(self.position as i64));
    }

    /// What has changed since this was last called.
    pub fn change(&mut self) -> Change {
        Change {
            version: view().version,
            shard: self.shard.clone(),
            position: self.position,
            watermark: self.watermark,
            panes: self.table.take_changed(),
        }
    }
}

/// Both stores as the speed layer fills them.
#[derive(Clone, Debug, Default)]
pub struct Speed {
    pub views: Arc<ShardedViews>,
    pub log: Arc<MemoryLog>,
}

impl Speed {
    pub const TOPIC: &str = "tideline.changes.trades";

    pub fn new(partitions: u32) -> Self {
        let speed = Self::default();
        speed.log.create(Self::TOPIC, partitions);
        speed
    }

    /// A flush: the views first, then the changes.
    pub fn flush(&self, change: &Change) {
        self.views.take(change);
        self.log.add(Self::TOPIC, &change.encode());
    }
}

/// A lake that only answers whether it is there.
#[derive(Debug, Default)]
pub struct EmptyLake(pub Faults);

#[async_trait]
impl Objects for EmptyLake {
    async fn get(&self, path: &str) -> PortResult<Bytes> {
        self.0.check().await?;
        Err(PortError::NotFound { what: path.to_owned() })
    }

    async fn put(&self, _: &str, _: Bytes) -> PortResult<()> {
        self.0.check().await
    }

    async fn put_if_absent(&self, _: &str, _: Bytes) -> PortResult<Created> {
        self.0.check().await.map(|()| Created::Yes)
    }

    async fn list(&self, _: &str) -> PortResult<Vec<ObjectInfo>> {
        self.0.check().await.map(|()| Vec::new())
    }

    async fn list_after(&self, prefix: &str, _: &str) -> PortResult<Vec<ObjectInfo>> {
        self.list(prefix).await
    }

    async fn delete(&self, _: &str) -> PortResult<()> {
        self.0.check().await
    }

    fn location(&self, path: &str) -> Location {
        Location::Url(path.to_owned())
    }
}
