//! Topics: what there is, where partitions begin and end, and making them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::metadata::MetadataTopic;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use tideline_common::ports::{PortError, PortResult, TopicInfo, TopicSpec};
use tideline_common::position::{Offset, Partition};
use tideline_common::time::Span;

use super::client::Context;
use super::config::KafkaLogConfig;
use super::error;

/// How long the number of partitions of a topic is taken for known.
const KNOWN: Duration = Duration::from_secs(5);

/// How often a topic that was just made is looked for.
const LOOK: Duration = Duration::from_millis(50);

/// Property of a topic: how long its records are kept, in milliseconds; -1 for ever.
const RETENTION: &str = "retention.ms";

/// Property of a topic: how many bytes of each partition are kept, in whole segments.
const RETENTION_BYTES: &str = "retention.bytes";

/// Topics of the cluster that are not records of anybody begin like this.
const INTERNAL: &str = "__";

/// Looks up and makes topics.
pub(super) struct Topics {
    config: KafkaLogConfig,
    client: Mutex<Connected>,
    admin: Mutex<Option<Arc<AdminClient<Context>>>>,
    /// Number of partitions, and when it was looked up.
    known: Mutex<HashMap<String, (u32, Instant)>>,
    /// Held while a topic is made: one at a time.
    making: tokio::sync::Mutex<()>,
}

/// The client that asks, and since when it is in use.
struct Connected {
    client: Arc<BaseConsumer<Context>>,
    since: Instant,
}

impl Connected {
    /// Makes one; it connects when it is needed.
    fn new(config: &KafkaLogConfig) -> PortResult<Self> {
        let made: KafkaResult<_> = config.admin().create_with_context(Context::new("topics"));
        let client = Arc::new(made.map_err(|e| error::port("the client of Kafka", e))?);
        Ok(Self { client, since: Instant::now() })
    }
}

impl std::fmt::Debug for Topics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Topics").field("known", &self.known.lock().len()).finish_non_exhaustive()
    }
}

fn missing(topic: &str) -> PortError {
    PortError::NotFound { what: format!("topic {topic}") }
}

fn named(topic: &str) -> String {
    format!("topic {topic}")
}

/// Runs what waits for the cluster, where it may wait.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> PortResult<T> + Send + 'static) -> PortResult<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| PortError::unavailable("a request to Kafka", e))?
}

impl Topics {
    /// Makes the client.
    pub(super) fn new(config: &KafkaLogConfig) -> PortResult<Self> {
        Ok(Self {
            config: config.clone(),
            client: Mutex::new(Connected::new(config)?),
            admin: Mutex::new(None),
            known: Mutex::default(),
            making: tokio::sync::Mutex::new(()),
        })
    }

    /// Asks the cluster. A client that gets no answer is replaced: one that has lost its broker may not look for it again
    /// as long as it lives, seen after brokers that stood still for longer than their session.
    fn ask<T>(&self, what: &str, request: impl FnOnce(&BaseConsumer<Context>) -> KafkaResult<T>) -> PortResult<T> {
        let client = Arc::clone(&self.client.lock().client);
        let answer = request(&client).map_err(|e| error::port(what, e));
        if let Err(error @ PortError::Unavailable { .. }) = &answer {
            let mut connected = self.client.lock();
            // Others may have replaced it; and brokers that refuse at once are no reason to make clients without end.
            if Arc::ptr_eq(&connected.client, &client) && connected.since.elapsed() >= KNOWN {
                tracing::debug!(%error, "a new client asks for topics from now on");
                *connected = Connected::new(&self.config)?;
            }
        }
        answer
    }

    /// All topics with their bounds.
    pub(super) async fn all(self: &Arc<Self>) -> PortResult<Vec<TopicInfo>> {
        let topics = Arc::clone(self);
        blocking(move || {
            let timeout = topics.config.request_timeout;
            let metadata = topics.ask("the topics of Kafka", |client| client.fetch_metadata(None, timeout))?;
            let found = metadata.topics().iter().filter(|t| !t.name().starts_with(INTERNAL));
            let names = found.map(|t| Ok((t.name().to_owned(), topics.learn(t)?))).collect::<PortResult<Vec<_>>>()?;
            topics.look_up(&names)
        })
        .await
    }

    /// One topic with its bounds.
    pub(super) async fn one(self: &Arc<Self>, name: &str) -> PortResult<TopicInfo> {
        let (topics, name) = (Arc::clone(self), name.to_owned());
        blocking(move || {
            let partitions = match topics.recent(&name) {
                Some(partitions) => partitions,
                None => topics.count(&name)?,
            };
            let found = topics.look_up(&[(name.clone(), partitions)]);
            if found.as_ref().is_err_and(|e| matches!(e, PortError::NotFound { .. })) {
                topics.forget(&name);
            }
            found?.pop().ok_or_else(|| missing(&name))
        })
        .await
    }

    /// Where a partition begins and ends.
    pub(super) async fn bounds(self: &Arc<Self>, topic: &str, partition: Partition) -> PortResult<(Offset, Offset)> {
        let info = self.one(topic).await?;
        let bounds = info.partitions.get(&partition).copied();
        bounds.ok_or_else(|| PortError::NotFound { what: format!("partition {partition} of topic {topic}") })
    }

    /// The number of partitions of a topic, as it was a few seconds ago at most. Nobody who knows an older one waits for
    /// the cluster: it is looked up beside, so that an append never hangs on a lookup.
    pub(super) async fn partitions(self: &Arc<Self>, topic: &str) -> PortResult<u32> {
        let before = self.known.lock().get_mut(topic).map(|(partitions, at)| {
            let is_old = at.elapsed() >= KNOWN;
            if is_old {
                // Others do not look meanwhile.
                *at = Instant::now();
            }
            (*partitions, is_old)
        });
        let (topics, name) = (Arc::clone(self), topic.to_owned());
        match before {
            Some((partitions, false)) => Ok(partitions),
            Some((partitions, true)) => {
                tokio::task::spawn_blocking(move || match topics.count(&name) {
                    // A cluster that does not answer now has not lost the topic.
                    Ok(_) | Err(PortError::Unavailable { .. }) => {}
                    Err(error) => {
                        tracing::debug!(topic = name, %error, "the topic is not known any more");
                        topics.forget(&name);
                    }
                });
                Ok(partitions)
            }
            None => blocking(move || topics.count(&name)).await,
        }
    }

    /// Answers `NotFound` unless the topic has the partition.
    pub(super) async fn require(self: &Arc<Self>, topic: &str, partition: Partition) -> PortResult<()> {
        if partition < self.partitions(topic).await? {
            return Ok(());
        }
        // It may have been added just now.
        self.forget(topic);
        if partition < self.partitions(topic).await? {
            return Ok(());
        }
        Err(PortError::NotFound { what: format!("partition {partition} of topic {topic}") })
    }

    /// Looks the topic up anew the next time.
    pub(super) fn forget(&self, topic: &str) {
        self.known.lock().remove(topic);
    }

    fn recent(&self, topic: &str) -> Option<u32> {
        let known = self.known.lock();
        known.get(topic).filter(|(_, at)| at.elapsed() < KNOWN).map(|(partitions, _)| *partitions)
    }

    /// Asks for the number of partitions.
    fn count(&self, name: &str) -> PortResult<u32> {
        super::check_name(name)?;
        let timeout = self.config.request_timeout;
        let metadata = self.ask(&named(name), |client| client.fetch_metadata(Some(name), timeout))?;
        metadata.topics().iter().find(|t| t.name() == name).map_or_else(|| Err(missing(name)), |t| self.learn(t))
    }

    /// Takes note of the number of partitions.
    fn learn(&self, topic: &MetadataTopic) -> PortResult<u32> {
        if let Some(error) = topic.error() {
            self.forget(topic.name());
            return Err(error::of_code(named(topic.name()), error.into()));
        }
        let partitions = topic.partitions().len() as u32;
        if partitions == 0 {
            return Err(missing(topic.name()));
        }
        self.known.lock().insert(topic.name().to_owned(), (partitions, Instant::now()));
        Ok(partitions)
    }

    /// Where the partitions of topics begin and end: two requests to each broker, whatever their number.
    fn look_up(&self, topics: &[(String, u32)]) -> PortResult<Vec<TopicInfo>> {
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        let what = "the offsets of Kafka";
        let ask = |offset: KafkaOffset| -> PortResult<HashMap<(String, Partition), Offset>> {
            let mut list = TopicPartitionList::new();
            for (name, partitions) in topics {
                for partition in 0..*partitions {
                    list.add_partition_offset(name, partition as i32, offset).map_err(|e| error::port(what, e))?;
                }
            }
            let timeout = self.config.request_timeout;
            let answer = self.ask(what, |client| client.offsets_for_times(list, timeout))?;
            let mut offsets = HashMap::new();
            for element in answer.elements() {
                element.error().map_err(|e| error::port(named(element.topic()), e))?;
                let KafkaOffset::Offset(offset) = element.offset() else {
                    let reason = format!("offset of partition {} not told", element.partition());
                    return Err(PortError::unavailable(named(element.topic()), reason));
                };
                let partition = element.partition().unsigned_abs();
                offsets.insert((element.topic().to_owned(), partition), offset.max(0).unsigned_abs());
            }
            Ok(offsets)
        };
        // The ends first: what expires in between cannot make a beginning larger than its end.
        let ends = ask(KafkaOffset::End)?;
        let begins = ask(KafkaOffset::Beginning)?;
        let info = |(name, partitions): &(String, u32)| {
            let bounds = |partition: Partition| {
                let key = (name.clone(), partition);
                let next = ends.get(&key)?;
                Some((partition, ((*begins.get(&key)?).min(*next), *next)))
            };
            TopicInfo {
                name: name.clone(),
                partitions: (0..*partitions).filter_map(bounds).collect::<BTreeMap<_, _>>(),
            }
        };
        Ok(topics.iter().map(info).collect())
    }

    /// See [`tideline_common::ports::Log::ensure_topic`].
    pub(super) async fn ensure(self: &Arc<Self>, spec: &TopicSpec) -> PortResult<()> {
        super::check_spec(spec)?;
        let _making = self.making.lock().await;
        let what = || named(&spec.name);
        self.forget(&spec.name);
        let (topics, name) = (Arc::clone(self), spec.name.clone());
        match blocking(move || topics.count(&name)).await {
            Ok(_) => return self.keep_for(spec).await,
            Err(PortError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        let (retention, bytes) = (retention_millis(spec.retention), spec.max_bytes.map(|bytes| bytes.to_string()));
        let mut topic =
            NewTopic::new(&spec.name, spec.partitions as i32, TopicReplication::Fixed(self.config.replication_factor))
                .set(RETENTION, &retention)
                .set("cleanup.policy", "delete")
                // The broker's clock: retention and latency then do not depend on what a producer says.
                .set("message.timestamp.type", "LogAppendTime");
        if let Some(bytes) = &bytes {
            topic = topic.set(RETENTION_BYTES, bytes);
        }
        let made = self.admin()?.create_topics([&topic], &self.options()).await.map_err(|e| error::port(what(), e))?;
        for outcome in made {
            match outcome {
                Ok(_) => tracing::info!(topic = spec.name, partitions = spec.partitions, retention, "topic created"),
                // Another process was faster.
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {
                    self.visible(spec).await?;
                    return self.keep_for(spec).await;
                }
                Err((_, code)) => return Err(error::of_code(what(), code)),
            }
        }
        self.visible(spec).await
    }

    /// Waits until brokers know the topic that was just made, and lead its partitions.
    async fn visible(self: &Arc<Self>, spec: &TopicSpec) -> PortResult<()> {
        let deadline = Instant::now() + self.config.request_timeout;
        loop {
            let (topics, name) = (Arc::clone(self), spec.name.clone());
            let found = blocking(move || {
                topics.forget(&name);
                let partitions = topics.count(&name)?;
                topics.look_up(&[(name, partitions)])
            });
            match found.await {
                Ok(_) => return Ok(()),
                Err(PortError::NotFound { .. } | PortError::Unavailable { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(LOOK).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes over the retention and the bound in bytes, if the topic has others. A topic that is there keeps its own
    /// when none is asked for.
    async fn keep_for(&self, spec: &TopicSpec) -> PortResult<()> {
        let retention = spec.retention.map(|kept| (RETENTION, retention_millis(Some(kept))));
        let bytes = spec.max_bytes.map(|bytes| (RETENTION_BYTES, bytes.to_string()));
        let wanted: HashMap<&str, String> = retention.into_iter().chain(bytes).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let what = || named(&spec.name);
        let (admin, options) = (self.admin()?, self.options());
        let resource = ResourceSpecifier::Topic(&spec.name);
        let described = admin.describe_configs([&resource], &options).await.map_err(|e| error::port(what(), e))?;
        let mut entries = HashMap::new();
        let mut same = 0;
        for outcome in described {
            for entry in outcome.map_err(|code| error::of_code(what(), code))?.entries {
                same += usize::from(entry.value.is_some() && wanted.get(&*entry.name) == entry.value.as_ref());
                // Altering resets what is not named: whatever was set for this topic is named again.
                if entry.source == ConfigSource::DynamicTopic
                    && !entry.is_read_only
                    && let Some(value) = entry.value
                {
                    entries.insert(entry.name, value);
                }
            }
        }
        if same == wanted.len() {
            return Ok(());
        }
        entries.extend(wanted.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        let mut change = AlterConfig::new(ResourceSpecifier::Topic(&spec.name));
        for (name, value) in &entries {
            change = change.set(name, value);
        }
        let changed = admin.alter_configs([&change], &options).await.map_err(|e| error::port(what(), e))?;
        for outcome in changed {
            outcome.map_err(|(_, code)| error::of_code(what(), code))?;
        }
        tracing::info!(topic = spec.name, ?wanted, "retention of the topic changed");
        Ok(())
    }

    fn options(&self) -> AdminOptions {
        let timeout = Some(self.config.request_timeout);
        AdminOptions::new().request_timeout(timeout).operation_timeout(timeout)
    }

    /// The client that changes topics; made when it is needed.
    fn admin(&self) -> PortResult<Arc<AdminClient<Context>>> {
        let mut admin = self.admin.lock();
        if let Some(admin) = &*admin {
            return Ok(Arc::clone(admin));
        }
        let made = AdminClient::from_config_and_context(&self.config.admin(), Context::new("admin"));
        let made = Arc::new(made.map_err(|e| error::port("the client of Kafka", e))?);
        *admin = Some(Arc::clone(&made));
        Ok(made)
    }
}

/// A retention as Kafka takes it.
fn retention_millis(retention: Option<Span>) -> String {
    retention.map_or_else(|| "-1".to_owned(), |kept| ((kept.0.max(0) + 999) / 1000).max(1).to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Topics of a cluster that nobody can reach, asked with much patience.
    fn unreachable() -> Arc<Topics> {
        let mut config = KafkaLogConfig::new(vec!["127.0.0.1:1".to_owned()], "g");
        config.request_timeout = KNOWN;
        Arc::new(Topics::new(&config).unwrap())
    }

    fn long_ago() -> Instant {
        Instant::now().checked_sub(2 * KNOWN).unwrap()
    }

    #[tokio::test]
    async fn nobody_who_knows_the_partitions_waits_for_a_lookup() {
        let topics = unreachable();
        topics.known.lock().insert("t".to_owned(), (3, long_ago()));
        // Less than the patience of one request; and the second does not ask at all.
        for _ in 0..2 {
            let partitions = tokio::time::timeout(KNOWN * 4 / 5, topics.partitions("t")).await;
            assert_eq!(partitions.unwrap().unwrap(), 3);
        }
        assert!(topics.recent("t").is_some());
    }

    #[tokio::test]
    async fn a_client_without_an_answer_is_replaced_but_not_at_once() {
        let topics = unreachable();
        let client = || Arc::clone(&topics.client.lock().client);
        let ask = |name: &str| match topics.ask(name, |c| c.fetch_metadata(Some("t"), Duration::from_millis(10))) {
            Err(PortError::Unavailable { .. }) => (),
            other => panic!("{:?}", other.map(drop)),
        };
        let first = client();
        ask("young");
        assert!(Arc::ptr_eq(&first, &client()));
        topics.client.lock().since = long_ago();
        ask("old");
        assert!(!Arc::ptr_eq(&first, &client()));
    }

    #[test]
    fn a_retention_is_rounded_up_to_milliseconds() {
        assert_eq!(retention_millis(None), "-1");
        assert_eq!(retention_millis(Some(Span::HOUR)), "3600000");
        assert_eq!(retention_millis(Some(Span(1_001))), "2");
        assert_eq!(retention_millis(Some(Span(0))), "1", "0 and -1 mean something else");
    }
}
