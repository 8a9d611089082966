//! A log in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tideline_common::ports::{Appended, Log, PortError, PortResult, ReadRequest, TopicInfo, TopicSpec};
use tideline_common::position::{Offset, Partition};
use tideline_common::record::{NewRecord, Record};
use tideline_common::time::Timestamp;
use tokio::sync::Notify;

use super::faults::Faults;

#[derive(Debug, Clone, Default)]
struct Part {
    first: Offset,
    records: Vec<Record>,
}

impl Part {
    fn next(&self) -> Offset {
        self.first + self.records.len() as u64
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct MemoryLog {
    topics: Mutex<BTreeMap<String, Vec<Part>>>,
    came: Notify,
}

impl MemoryLog {
    pub fn copy(&self) -> Self {
        Self { topics: Mutex::new(self.topics.lock().clone()), came: Notify::new() }
    }

    pub fn create(&self, topic: &str, partitions: u32) {
        let mut topics = self.topics.lock();
        topics.entry(topic.to_owned()).or_insert_with(|| (0..partitions).map(|_| Part::default()).collect());
    }

    /// Appends to one partition.
    pub fn push(&self, topic: &str, partition: Partition, payloads: &[Bytes], appended: Timestamp) {
        let mut topics = self.topics.lock();
        let part = &mut topics.get_mut(topic).unwrap()[partition as usize];
        for payload in payloads {
            let offset = part.next();
            let record = Record {
                offset,
                appended,
                key: offset.is_multiple_of(3).then(|| Bytes::from(format!("k{offset}"))),
                headers: if offset.is_multiple_of(5) { vec![("h".to_owned(), payload.slice(..1))] } else { Vec::new() },
                payload: payload.clone(),
            };
            part.records.push(record);
        }
        drop(topics);
        self.came.notify_waiters();
    }

    /// Appends records as they are; those of one key to one partition.
    fn append(&self, topic: &str, records: Vec<NewRecord>, appended: Timestamp) {
        let mut topics = self.topics.lock();
        let parts = topics.get_mut(topic).unwrap();
        for record in records {
            let sum: usize = record.key.iter().flatten().map(|byte| usize::from(*byte)).sum();
            let at = sum % parts.len();
            let part = &mut parts[at];
            let NewRecord { key, headers, payload } = record;
            let offset = part.next();
            part.records.push(Record { offset, appended, key, headers, payload });
        }
        drop(topics);
        self.came.notify_waiters();
    }

    /// Appends records to a partition as they are.
    fn append_to(&self, topic: &str, partition: Partition, records: Vec<NewRecord>, appended: Timestamp) {
        let mut topics = self.topics.lock();
        let part = &mut topics.get_mut(topic).unwrap()[partition as usize];
        for NewRecord { key, headers, payload } in records {
            let offset = part.next();
            part.records.push(Record { offset, appended, key, headers, payload });
        }
        drop(topics);
        self.came.notify_waiters();
    }

    /// Records of all partitions of a topic; none where there is no such topic.
    pub fn records(&self, topic: &str) -> Vec<Record> {
        let topics = self.topics.lock();
        topics.get(topic).into_iter().flatten().flat_map(|part| part.records.iter().cloned()).collect()
    }

    /// Records of a partition.
    pub fn partition(&self, topic: &str, partition: Partition) -> Vec<Record> {
        self.topics.lock()[topic][partition as usize].records.clone()
    }

    /// Payloads of a partition.
    pub fn payloads(&self, topic: &str, partition: Partition) -> Vec<Bytes> {
        self.topics.lock()[topic][partition as usize].records.iter().map(|record| record.payload.clone()).collect()
    }

    /// Partitions of a topic.
    pub fn partitions(&self, topic: &str) -> std::ops::Range<Partition> {
        0..self.topics.lock().get(topic).map_or(0, |parts| parts.len() as Partition)
    }

    /// Forgets a topic.
    pub fn drop_topic(&self, topic: &str) {
        self.topics.lock().remove(topic);
    }

    /// Drops the records before `first`.
    pub fn expire_before(&self, topic: &str, partition: Partition, first: Offset) {
        let mut topics = self.topics.lock();
        let part = &mut topics.get_mut(topic).unwrap()[partition as usize];
        part.records.drain(..(first - part.first) as usize);
        part.first = first;
    }

    fn slice(&self, request: &ReadRequest) -> PortResult<Vec<Record>> {
        let topics = self.topics.lock();
        let part = topics
            .get(&request.topic)
            .and_then(|parts| parts.get(request.partition as usize))
            .ok_or_else(|| PortError::NotFound { what: request.topic.clone() })?;
        if request.from < part.first {
            return Err(PortError::Expired { first: part.first });
        }
        let mut bytes = 0;
        let from = ((request.from - part.first) as usize).min(part.records.len());
        Ok(part.records[from..]
            .iter()
            .take(request.max_records)
            .take_while(|record| {
                let first = bytes == 0;
                bytes += record.payload.len() + 1;
                first || bytes <= request.max_bytes
            })
            .cloned()
            .collect())
    }

    fn info(&self, name: &str) -> PortResult<TopicInfo> {
        let topics = self.topics.lock();
        let parts = topics.get(name).ok_or_else(|| PortError::NotFound { what: name.to_owned() })?;
        let partitions = parts.iter().enumerate().map(|(at, part)| (at as u32, (part.first, part.next()))).collect();
        Ok(TopicInfo { name: name.to_owned(), partitions })
    }
}

/// The log as one process sees it.
#[derive(Debug)]
pub struct FaultyLog(pub Arc<MemoryLog>, pub Arc<Faults>);

#[async_trait]
impl Log for FaultyLog {
    async fn ensure_topic(&self, spec: &TopicSpec) -> PortResult<()> {
        let work = async {
            self.0.create(&spec.name, spec.partitions);
            Ok(())
        };
        self.1.call("log ensure_topic", work).await
    }

    async fn topics(&self) -> PortResult<Vec<TopicInfo>> {
        let names: Vec<String> = self.0.topics.lock().keys().cloned().collect();
        names.iter().map(|name| self.0.info(name)).collect()
    }

    async fn topic(&self, name: &str) -> PortResult<TopicInfo> {
        self.1.call("log topic", async { self.0.info(name) }).await
    }

    async fn append(&self, topic: &str, records: Vec<NewRecord>, now: Timestamp) -> PortResult<Appended> {
        let work = async {
            self.0.info(topic)?;
            self.0.append(topic, records, now);
            Ok(Appended::new())
        };
        self.1.call("log append", work).await
    }

    async fn append_to(
        &self,
        topic: &str,
        partition: Partition,
        records: Vec<NewRecord>,
        now: Timestamp,
    ) -> PortResult<(Offset, Offset)> {
        let work = async {
            let next = |info: TopicInfo| info.partitions[&partition].1;
            let first = next(self.0.info(topic)?);
            self.0.append_to(topic, partition, records, now);
            Ok((first, next(self.0.info(topic)?)))
        };
        self.1.call("log append_to", work).await
    }

    async fn read(&self, request: &ReadRequest) -> PortResult<Vec<Record>> {
        let work = async {
            let wait = async {
                loop {
                    let came = self.0.came.notified();
                    tokio::pin!(came);
                    came.as_mut().enable();
                    let records = self.0.slice(request)?;
                    if !records.is_empty() {
                        return Ok(records);
                    }
                    came.await;
                }
            };
            tokio::time::timeout(request.wait, wait).await.unwrap_or(Ok(Vec::new()))
        };
        self.1.call("log read", work).await
    }

    async fn commit_hint(&self, _: &str, _: &str, _: Partition, _: Offset) -> PortResult<()> {
        self.1.call("log commit_hint", async { Ok(()) }).await
    }

    async fn expire(&self, _: Timestamp, _: &BTreeMap<(String, Partition), Offset>) -> PortResult<u64> {
        Ok(0)
    }
}
