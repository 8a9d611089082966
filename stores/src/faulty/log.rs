//! A log with faults.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use tideline_common::ports::{Appended, Log, PortResult, ReadRequest, TopicInfo, TopicSpec};
use tideline_common::position::{Offset, Partition};
use tideline_common::record::{NewRecord, Record};
use tideline_common::time::Timestamp;

use super::Faults;

/// A log whose calls meet faults, as `log.` and the name of the call, about the topic.
#[derive(Debug, Clone)]
pub struct FaultyLog {
    inner: Arc<dyn Log>,
    faults: Faults,
}

impl FaultyLog {
    /// `inner` with `faults`.
    pub fn new(inner: Arc<dyn Log>, faults: Faults) -> Self {
        Self { inner, faults }
    }
}

#[async_trait]
impl Log for FaultyLog {
    async fn ensure_topic(&self, spec: &TopicSpec) -> PortResult<()> {
        self.faults.call("log.ensure_topic", &spec.name, true, self.inner.ensure_topic(spec)).await
    }

    async fn topics(&self) -> PortResult<Vec<TopicInfo>> {
        self.faults.call("log.topics", "", false, self.inner.topics()).await
    }

    async fn topic(&self, name: &str) -> PortResult<TopicInfo> {
        self.faults.call("log.topic", name, false, self.inner.topic(name)).await
    }

    async fn append(&self, topic: &str, records: Vec<NewRecord>, now: Timestamp) -> PortResult<Appended> {
        self.faults.call("log.append", topic, true, self.inner.append(topic, records, now)).await
    }

    async fn append_to(
        &self,
        topic: &str,
        partition: Partition,
        records: Vec<NewRecord>,
        now: Timestamp,
    ) -> PortResult<(Offset, Offset)> {
        let work = self.inner.append_to(topic, partition, records, now);
        self.faults.call("log.append_to", topic, true, work).await
    }

    async fn read(&self, request: &ReadRequest) -> PortResult<Vec<Record>> {
        self.faults.call("log.read", &request.topic, false, self.inner.read(request)).await
    }

    async fn skip(&self, topic: &str, partition: Partition, from: Offset) -> PortResult<Offset> {
        // Remembered, not asked for: it cannot fail by itself.
        self.inner.skip(topic, partition, from).await
    }

    async fn commit_hint(&self, group: &str, topic: &str, partition: Partition, next: Offset) -> PortResult<()> {
        // Not a durable step: a hint may be lost.
        self.faults.call("log.commit_hint", topic, false, self.inner.commit_hint(group, topic, partition, next)).await
    }

    async fn expire(&self, now: Timestamp, keep_from: &BTreeMap<(String, Partition), Offset>) -> PortResult<u64> {
        self.faults.call("log.expire", "", true, self.inner.expire(now, keep_from)).await
    }
}
