//! The log on Kafka, and membership as a consumer group.
//!
//! # Guarantees
//! - An append is answered when every replica in sync has its records (`acks=all`, idempotent producer: librdkafka's
//!   own retries neither repeat nor reorder). Records of one append that go to one partition are sent in order and
//!   together; other producers' records may lie between them. Kafka has no "all or none" without transactions: an
//!   append that *fails* may have left some of its records, and a caller that tries again may append them twice.
//! - A reader sees every committed record of a partition once and in order, from the offset that it names. Offsets may
//!   have no record (transaction markers, aborted or compacted records); where they are the last ones of a partition,
//!   [`Log::skip`] tells where to go on.
//! - An offset that retention has taken is [`PortError::Expired`], never
//!   a silent jump.
//!
//! # Append time
//! Topics that are made here carry the broker's clock (`LogAppendTime`), not the `now` of the append. Topics that were
//! there keep their own setting; with `CreateTime` it is what their producers say.
//!
//! # Reading
//! One client of librdkafka per reader of a partition fetches ahead, within its share of a common bound. A read takes
//! what is there in batches on a blocking thread, copies it into one piece of memory per batch, and waits for a wake
//! up by librdkafka when there is nothing: no thread waits for a partition.

mod client;
mod config;
mod error;
mod fetcher;
mod membership;
mod partitioner;
mod producer;
mod progress;
mod reader;
mod topics;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use tideline_common::ports::{Appended, Log, PortError, PortResult, ReadRequest, TopicInfo, TopicSpec};
use tideline_common::position::{Offset, Partition};
use tideline_common::record::{NewRecord, Record};
use tideline_common::time::Timestamp;

pub use self::config::KafkaLogConfig;
pub use self::membership::KafkaMembership;
use self::producer::{Place, Producer};
use self::progress::Progress;
use self::reader::Readers;
use self::topics::Topics;
use super::spec::{check_name, check_spec};

/// A log on a Kafka cluster, for any number of processes.
#[derive(Debug)]
pub struct KafkaLog {
    topics: Arc<Topics>,
    readers: Arc<Readers>,
    producer: Producer,
    progress: Arc<Progress>,
}

impl KafkaLog {
    /// The log on the cluster that `config` names. It connects when it is first used: a cluster that is down makes
    /// calls fail with `Unavailable`, not this.
    ///
    /// # Errors
    /// `Invalid` for a configuration that cannot be.
    pub fn new(config: KafkaLogConfig) -> PortResult<Self> {
        config.check()?;
        let topics = Arc::new(Topics::new(&config)?);
        Ok(Self {
            readers: Arc::new(Readers::new(&config, Arc::clone(&topics))),
            producer: Producer::new(&config)?,
            topics,
            progress: Arc::new(Progress::new(config)),
        })
    }

    /// Notes the progress of the group as this member of it. Kafka takes it from nobody else while the group has
    /// members.
    pub fn note_progress_as(&self, membership: &KafkaMembership) {
        self.progress.through(membership.member());
    }
}

#[async_trait]
impl Log for KafkaLog {
    async fn ensure_topic(&self, spec: &TopicSpec) -> PortResult<()> {
        self.topics.ensure(spec).await
    }

    async fn topics(&self) -> PortResult<Vec<TopicInfo>> {
        let mut topics = self.topics.all().await?;
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    async fn topic(&self, name: &str) -> PortResult<TopicInfo> {
        self.topics.one(name).await
    }

    async fn append(&self, topic: &str, records: Vec<NewRecord>, now: Timestamp) -> PortResult<Appended> {
        let partitions = self.topics.partitions(topic).await?;
        if records.is_empty() {
            return Ok(Appended::new());
        }
        self.producer.append(topic, Place::ByKey { partitions }, records, now).await
    }

    async fn append_to(
        &self,
        topic: &str,
        partition: Partition,
        records: Vec<NewRecord>,
        now: Timestamp,
    ) -> PortResult<(Offset, Offset)> {
        self.topics.require(topic, partition).await?;
        if records.is_empty() {
            let info = self.topics.one(topic).await?;
            let end = info.partitions.get(&partition).map_or(0, |(_, next)| *next);
            return Ok((end, end));
        }
        let appended = self.producer.append(topic, Place::In(partition), records, now).await?;
        let range = appended.get(&partition).copied();
        range.ok_or_else(|| PortError::unavailable(format!("an append to topic {topic}"), "it went to no partition"))
    }

    async fn read(&self, request: &ReadRequest) -> PortResult<Vec<Record>> {
        self.readers.read(request).await
    }

    async fn skip(&self, topic: &str, partition: Partition, from: Offset) -> PortResult<Offset> {
        Ok(self.readers.skip(topic, partition, from))
    }

    async fn commit_hint(&self, group: &str, topic: &str, partition: Partition, next: Offset) -> PortResult<()> {
        self.topics.require(topic, partition).await?;
        if !self.progress.is_due(group, topic, partition) {
            return Ok(());
        }
        let (progress, group, topic) = (Arc::clone(&self.progress), group.to_owned(), topic.to_owned());
        let noted = tokio::task::spawn_blocking(move || progress.note(&group, &topic, partition, next)).await;
        // For monitoring only: what cannot be noted is told, and nothing else.
        match noted {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "progress could not be noted"),
            Err(error) => tracing::debug!(%error, "progress could not be noted"),
        }
        Ok(())
    }

    /// Kafka does it by itself.
    async fn expire(&self, _now: Timestamp, _keep_from: &BTreeMap<(String, Partition), Offset>) -> PortResult<u64> {
        Ok(0)
    }
}
