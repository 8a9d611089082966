//! The embedded log: topics in a database of fjall, for one process.
//!
//! # Bytes on disk
//! A database of four keyspaces:
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `blocks` | topic, partition, first offset | a block of records: see `block.rs` |
//! | `topics` | name | id, number of partitions, retention, bound in bytes (JSON with a format) |
//! | `floors` | topic, partition | where the partition begins since something expired (JSON with a format) |
//! | `hints` | group `00` topic `00` partition | next offset of the group, big endian |
//!
//! Blocks are kept apart from the tree (key-value separation), so that compaction does not copy them, and are
//! compressed with LZ4.
//!
//! # Appending
//! [`append`](Log::append) sorts records into blocks and hands them to one writer thread through a bounded queue.
//! The writer gives them offsets, commits everything that waits as one batch and makes it durable with one fsync
//! (group commit); then readers see it and appends are answered. A batch is written whole or not at all: what a
//! crash tears was never acknowledged, and the journal of fjall drops it.
//!
//! A record with a key goes to partition XXH3-64(key) mod n. Records without one go round robin in chunks of 512.
//!
//! # Room
//! Topics without a bound in bytes share that of the log: an append that does not fit is refused as full, and nothing is
//! dropped before its retention. A topic with a bound of its own takes no room of the others and is never refused for
//! it: once an append is written, the oldest blocks go, whole, until the partition is within its bound or has no more
//! than the newest block.
//!
//! # Reading
//! A reader seeks the block that holds its offset; keys, headers and payloads are slices of the block. At the end it
//! waits on the partition's next offset; nothing polls.

mod block;
mod read;
mod retention;
mod topic;
mod writer;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use fjall::config::CompressionPolicy;
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};
use parking_lot::{Mutex, RwLock};
use tideline_common::ports::{Appended, Log, PortError, PortResult, ReadRequest, TopicInfo, TopicSpec};
use tideline_common::position::{Offset, Partition};
use tideline_common::record::{NewRecord, Record};
use tideline_common::time::Timestamp;
use tokio::sync::{Semaphore, mpsc, oneshot};

use self::block::{Draft, Head};
use self::topic::{Keeps, PartitionState, StoredFloor, StoredTopic, Tail, Topic};
use self::writer::{Request, Room, Writer};
use super::spec::check_spec;
use crate::disk::{self, Reserve, blocking};

/// Records without a key that go to one partition before the next one's turn.
const CHUNK: usize = 512;

/// Bytes at which a block is closed.
const BLOCK_BYTES: usize = 512 << 10;

/// Records at which a block is closed.
const BLOCK_RECORDS: u32 = 4096;

/// Appends that may wait for the writer.
const QUEUE: usize = 1024;

/// What an append may be configured to take at most: the length of a block has 32 bits.
const APPEND_BYTES_MAX: usize = 1 << 30;

/// Bounds of an embedded log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbeddedLogConfig {
    /// Bytes of records (before compression) that topics without a bound of their own may hold together; appends beyond
    /// are refused as full. `None`: what the device holds.
    pub max_log_bytes: Option<u64>,
    /// Bytes of one append; a larger one is refused as invalid.
    pub max_append_bytes: usize,
    /// Bytes of appends that may wait for the writer; more wait before they are encoded.
    pub max_waiting_bytes: usize,
    /// Bytes that must stay free on the device; appends that would use them are refused as full.
    pub reserve_bytes: u64,
    /// Bytes of the cache of blocks.
    pub cache_bytes: u64,
}

impl Default for EmbeddedLogConfig {
    fn default() -> Self {
        Self {
            max_log_bytes: None,
            max_append_bytes: 64 << 20,
            max_waiting_bytes: 128 << 20,
            reserve_bytes: 256 << 20,
            cache_bytes: 32 << 20,
        }
    }
}

/// Keyspaces and topics, shared with calls that block.
pub(crate) struct Inner {
    database: Database,
    blocks: Keyspace,
    topics: Keyspace,
    floors: Keyspace,
    hints: Keyspace,
    known: RwLock<HashMap<String, Arc<Topic>>>,
    /// Held while a topic is made or records expire: one at a time.
    changing: Mutex<()>,
    room: Room,
}

/// A log in a folder of this machine, for one process. Dropping it waits for the appends on their way.
pub struct EmbeddedLog {
    inner: Arc<Inner>,
    config: EmbeddedLogConfig,
    queue: Option<mpsc::Sender<Request>>,
    waiting: Arc<Semaphore>,
    writer: Option<std::thread::JoinHandle<()>>,
}

impl std::fmt::Debug for EmbeddedLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedLog").field("config", &self.config).finish_non_exhaustive()
    }
}

impl EmbeddedLog {
    /// Opens the log in `folder`, creating it if needed. Blocks: reads where every partition begins and ends.
    ///
    /// # Errors
    /// When the folder cannot be used or another process has it, and `Corrupt` when what it holds cannot be read.
    pub fn open(folder: impl AsRef<Path>, config: EmbeddedLogConfig) -> PortResult<Self> {
        let folder = folder.as_ref();
        let what = "the log";
        let config = EmbeddedLogConfig { max_append_bytes: config.max_append_bytes.min(APPEND_BYTES_MAX), ..config };
        let database = disk::open(what, folder, |b| b.cache_size(config.cache_bytes).max_journaling_size(256 << 20))?;
        let options = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(32 << 20)
                .data_block_compression_policy(CompressionPolicy::all(CompressionType::Lz4))
        };
        let apart = KvSeparationOptions::default().compression(CompressionType::Lz4).separation_threshold(2 << 10);
        let keyspace = |name: &str, options: &dyn Fn() -> KeyspaceCreateOptions| {
            database.keyspace(name, options).map_err(|e| disk::error(what, e))
        };
        let blocks = keyspace("blocks", &|| options().with_kv_separation(Some(apart.clone())))?;
        let (topics, floors) = (keyspace("topics", &options)?, keyspace("floors", &options)?);
        let hints = keyspace("hints", &options)?;
        let room = Room { max: config.max_log_bytes, reserve: Reserve::new(folder, config.reserve_bytes) };
        let inner = Arc::new(Inner {
            database,
            blocks,
            topics,
            floors,
            hints,
            known: RwLock::default(),
            changing: Mutex::new(()),
            room,
        });
        inner.recover()?;
        let (sender, queue) = mpsc::channel(QUEUE);
        let writer = Writer { inner: inner.clone(), queue };
        let thread = std::thread::Builder::new()
            .name("tideline-log".to_owned())
            .spawn(move || writer.run())
            .map_err(|e| PortError::io(what, e))?;
        let waiting = Arc::new(Semaphore::new((config.max_waiting_bytes >> 10).max(1)));
        Ok(Self { inner, config, queue: Some(sender), waiting, writer: Some(thread) })
    }

    /// Bytes of records in topics without a bound of their own, before compression.
    pub fn used_bytes(&self) -> u64 {
        self.inner.used()
    }

    /// What [`commit_hint`](Log::commit_hint) noted last, if anything.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn hint(&self, group: &str, topic: &str, partition: Partition) -> PortResult<Option<Offset>> {
        let (inner, key) = (self.inner.clone(), hint_key(group, topic, partition));
        blocking("the log", move || {
            let value = inner.hints.get(key).map_err(|e| disk::error("the log", e))?;
            Ok(value.and_then(|v| v.as_ref().try_into().ok()).map(Offset::from_be_bytes))
        })
        .await
    }

    /// Sorts records into blocks by partition: all to `to`, or each to its own.
    fn sort(&self, topic: &Topic, to: Option<Partition>, records: &[NewRecord]) -> PortResult<Vec<(Partition, Draft)>> {
        let bytes: usize = records
            .iter()
            .map(|r| {
                let headers: usize = r.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
                r.payload.len() + r.key.as_ref().map_or(0, bytes::Bytes::len) + headers
            })
            .sum();
        if bytes > self.config.max_append_bytes {
            let reason = format!("{bytes} bytes; one append takes {} at most", self.config.max_append_bytes);
            return Err(PortError::invalid(format!("an append to topic {}", topic.name), reason));
        }
        let mut done = Vec::new();
        let mut open: BTreeMap<Partition, Draft> = BTreeMap::new();
        let (mut keyless, mut turn) = (0, 0);
        for record in records {
            let partition = if let Some(to) = to {
                to
            } else if let Some(key) = &record.key {
                topic.partition_of(key)
            } else {
                if keyless % CHUNK == 0 {
                    turn = topic.next_turn();
                }
                keyless += 1;
                turn
            };
            let draft = open.entry(partition).or_insert_with(Draft::new);
            draft.push(record);
            if (draft.bytes() >= BLOCK_BYTES || draft.records() >= BLOCK_RECORDS)
                && let Some(full) = open.remove(&partition)
            {
                done.push((partition, full));
            }
        }
        done.extend(open);
        Ok(done)
    }

    /// Hands blocks to the writer, and waits until they are durable.
    async fn write(&self, topic: Arc<Topic>, blocks: Vec<(Partition, Draft)>, now: Timestamp) -> PortResult<Appended> {
        let gone = || PortError::unavailable("the log", "its writer has ended");
        let queue = self.queue.as_ref().ok_or_else(gone)?;
        let kib = blocks.iter().map(|(_, b)| b.bytes()).sum::<usize>().div_ceil(1024);
        let permits = kib.clamp(1, (self.config.max_waiting_bytes >> 10).max(1)) as u32;
        let permit = self.waiting.clone().acquire_many_owned(permits).await.map_err(|_| gone())?;
        let (answer, answered) = oneshot::channel();
        let request = Request { topic, blocks, now, answer, _permit: permit };
        queue.send(request).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        // The writer ends when the queue closes, after what is in it.
        drop(self.queue.take());
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the writer of the log panicked");
        }
    }
}

fn hint_key(group: &str, topic: &str, partition: Partition) -> Vec<u8> {
    let mut key = [group.as_bytes(), &[0], topic.as_bytes(), &[0]].concat();
    key.extend_from_slice(&partition.to_be_bytes());
    key
}

fn floor_key(topic: u32, partition: Partition) -> [u8; 8] {
    let mut key = [0; 8];
    key[..4].copy_from_slice(&topic.to_be_bytes());
    key[4..].copy_from_slice(&partition.to_be_bytes());
    key
}

impl Inner {
    fn topic(&self, name: &str) -> PortResult<Arc<Topic>> {
        let topic = self.known.read().get(name).cloned();
        topic.ok_or_else(|| PortError::NotFound { what: format!("topic {name}") })
    }

    /// Value bytes of all blocks of topics that share the room of the log.
    fn used(&self) -> u64 {
        let shared = |topic: &&Arc<Topic>| topic.max_bytes().is_none();
        self.known.read().values().filter(shared).flat_map(|topic| &topic.partitions).map(PartitionState::used).sum()
    }

    /// Finds the topics, and where their partitions begin and end.
    fn recover(&self) -> PortResult<()> {
        for entry in self.topics.iter() {
            let (name, value) = entry.into_inner().map_err(|e| disk::error("the topics of the log", e))?;
            let name = String::from_utf8_lossy(&name).into_owned();
            let damaged = |e| PortError::corrupt(format!("topic {name} of the log"), e);
            let StoredTopic::V1 { id, partitions, retention, max_bytes } =
                serde_json::from_slice(&value).map_err(damaged)?;
            let states: Vec<_> =
                (0..partitions).map(|p| self.recover_partition(&name, id, p)).collect::<PortResult<_>>()?;
            let topic = Topic::new(id, &name, Keeps { retention, max_bytes }, states);
            self.known.write().insert(name.clone(), Arc::new(topic));
        }
        Ok(())
    }

    fn recover_partition(&self, topic: &str, id: u32, partition: Partition) -> PortResult<PartitionState> {
        let what = || format!("topic {topic}, partition {partition} of the log");
        let mut state = Tail { next: 0, appended: Timestamp::MIN, written: 0 };
        if let Some(value) = self.floors.get(floor_key(id, partition)).map_err(|e| disk::error(&what(), e))? {
            let floor = serde_json::from_slice(&value).map_err(|e| PortError::corrupt(what(), e))?;
            let StoredFloor::V1 { first, appended, before } = floor;
            state = Tail { next: first, appended, written: before };
        }
        let (floor, dropped) = (state.next, state.written);
        if let Some(last) = self.blocks.prefix(floor_key(id, partition)).next_back() {
            let (key, value) = last.into_inner().map_err(|e| disk::error(&what(), e))?;
            let at = block::first_of(&key).unwrap_or_default();
            let head = Head::read(&value).map_err(|e| PortError::corrupt(block_name(topic, partition, at), e))?;
            state = Tail { next: head.next(), appended: head.appended, written: head.before + value.len() as u64 };
        }
        Ok(PartitionState::new(floor, dropped, state))
    }

    fn ensure_topic(&self, spec: &TopicSpec) -> PortResult<()> {
        let what = format!("topic {}", spec.name);
        let _changing = self.changing.lock();
        let known = self.known.read().get(&spec.name).cloned();
        let keeps = Keeps { retention: spec.retention, max_bytes: spec.max_bytes };
        let (id, partitions) = match &known {
            Some(topic) if *topic.keeps.lock() == keeps => return Ok(()),
            Some(topic) => (topic.id, topic.partitions.len() as u32),
            None => (self.known.read().values().map(|t| t.id + 1).max().unwrap_or(1), spec.partitions),
        };
        let Keeps { retention, max_bytes } = keeps;
        let stored = StoredTopic::V1 { id, partitions, retention, max_bytes };
        let bytes = serde_json::to_vec(&stored).map_err(|e| PortError::invalid(&what, e))?;
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.topics, spec.name.as_bytes(), bytes);
        batch.commit().map_err(|e| disk::error(&what, e))?;
        if let Some(topic) = known {
            *topic.keeps.lock() = keeps;
        } else {
            let states = (0..partitions).map(|_| PartitionState::empty()).collect();
            let topic = Arc::new(Topic::new(id, &spec.name, keeps, states));
            self.known.write().insert(spec.name.clone(), topic);
        }
        Ok(())
    }
}

/// How a damaged block is named.
fn block_name(topic: &str, partition: Partition, first: Offset) -> String {
    format!("the block at offset {first} of topic {topic}, partition {partition}")
}

#[async_trait]
impl Log for EmbeddedLog {
    async fn ensure_topic(&self, spec: &TopicSpec) -> PortResult<()> {
        check_spec(spec)?;
        let (inner, spec) = (self.inner.clone(), spec.clone());
        blocking("the log", move || inner.ensure_topic(&spec)).await
    }

    async fn topics(&self) -> PortResult<Vec<TopicInfo>> {
        let mut topics: Vec<_> = self.inner.known.read().values().map(|t| t.info()).collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    async fn topic(&self, name: &str) -> PortResult<TopicInfo> {
        Ok(self.inner.topic(name)?.info())
    }

    async fn append(&self, topic: &str, records: Vec<NewRecord>, now: Timestamp) -> PortResult<Appended> {
        let topic = self.inner.topic(topic)?;
        if records.is_empty() {
            return Ok(Appended::new());
        }
        let blocks = self.sort(&topic, None, &records)?;
        drop(records);
        self.write(topic, blocks, now).await
    }

    async fn append_to(
        &self,
        topic: &str,
        partition: Partition,
        records: Vec<NewRecord>,
        now: Timestamp,
    ) -> PortResult<(Offset, Offset)> {
        let topic = self.inner.topic(topic)?;
        let end = *topic.partition(partition)?.next.borrow();
        if records.is_empty() {
            return Ok((end, end));
        }
        let blocks = self.sort(&topic, Some(partition), &records)?;
        drop(records);
        let appended = self.write(topic, blocks, now).await?;
        Ok(appended.get(&partition).copied().unwrap_or((end, end)))
    }

    async fn read(&self, request: &ReadRequest) -> PortResult<Vec<Record>> {
        read::read(&self.inner, request).await
    }

    async fn commit_hint(&self, group: &str, topic: &str, partition: Partition, next: Offset) -> PortResult<()> {
        self.inner.topic(topic)?.partition(partition)?;
        let (inner, key) = (self.inner.clone(), hint_key(group, topic, partition));
        blocking("the log", move || inner.hints.insert(key, next.to_be_bytes()).map_err(|e| disk::error("the log", e)))
            .await
    }

    async fn expire(&self, now: Timestamp, keep_from: &BTreeMap<(String, Partition), Offset>) -> PortResult<u64> {
        let (inner, keep_from) = (self.inner.clone(), keep_from.clone());
        blocking("the log", move || inner.expire(now, &keep_from)).await
    }
}

#[cfg(test)]
mod tests;
