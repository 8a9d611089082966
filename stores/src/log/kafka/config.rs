//! What a Kafka log is configured with, and the configuration of each of its clients.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rdkafka::ClientConfig;
use tideline_common::ports::{PortError, PortResult};

/// How to reach a Kafka cluster, and the bounds of what is kept in memory for it.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaLogConfig {
    /// `host:port` of some brokers; the others are found through them.
    pub brokers: Vec<String>,
    /// The group whose members share the partitions.
    pub group: String,
    /// Replication factor of topics that are created here.
    pub replication_factor: i32,
    /// Properties of librdkafka, handed over as they are and after everything else (`security.protocol`,
    /// `sasl.password`, ...). The ones that guarantees rest on are refused: see [`KafkaLogConfig::check`].
    pub properties: BTreeMap<String, String>,
    /// Longest time that a call waits for the cluster's answer. An append that was not acknowledged by then fails.
    pub request_timeout: Duration,
    /// Bytes of records of one append; a larger one is refused as invalid.
    pub max_append_bytes: usize,
    /// Bytes of records (with 128 more each) that may wait for their acknowledgement; further appends wait.
    pub max_waiting_bytes: usize,
    /// Bytes that are fetched ahead of the readers, over all partitions.
    pub prefetch_bytes: usize,
    /// After how long without a heartbeat the group gives a member's partitions to the others.
    pub session_timeout: Duration,
    /// After how long without a call of `next` a member is taken for stuck, and leaves the group by itself.
    pub max_poll_interval: Duration,
    /// How long the group waits for the handover of revoked partitions; after that they are lost.
    pub handover_timeout: Duration,
}

impl KafkaLogConfig {
    /// The configuration for the cluster of `brokers`, with the bounds that suit most.
    pub fn new(brokers: Vec<String>, group: impl Into<String>) -> Self {
        Self {
            brokers,
            group: group.into(),
            replication_factor: 1,
            properties: BTreeMap::new(),
            request_timeout: Duration::from_secs(10),
            max_append_bytes: 64 << 20,
            max_waiting_bytes: 128 << 20,
            prefetch_bytes: 64 << 20,
            session_timeout: Duration::from_secs(6),
            max_poll_interval: Duration::from_mins(1),
            handover_timeout: Duration::from_secs(25),
        }
    }

    /// Checks the bounds and the properties, without connecting.
    ///
    /// # Errors
    /// `Invalid` with the key and what is wrong with it; a value is never part of it, it may be a password.
    pub fn check(&self) -> PortResult<()> {
        let wrong = |key: &str, reason: &str| Err(PortError::invalid(format!("the Kafka log's `{key}`"), reason));
        if self.brokers.iter().all(|broker| broker.trim().is_empty()) {
            return wrong("brokers", "at least one host:port is needed");
        }
        if self.group.is_empty() {
            return wrong("group", "it must not be empty");
        }
        if self.replication_factor < 1 {
            return wrong("replication_factor", "it must be at least 1");
        }
        if self.max_poll_interval < self.session_timeout {
            return wrong("max_poll_interval", "it must not be less than session_timeout");
        }
        if self.handover_timeout >= self.max_poll_interval {
            return wrong("handover_timeout", "it must be less than max_poll_interval");
        }
        for key in self.properties.keys() {
            if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| refused == key) {
                return wrong(&format!("properties.{key}"), reason);
            }
        }
        for config in [self.producer(), self.admin(), self.reader(1 << 20), self.member()] {
            config.create_native_config().map_err(|error| super::error::port("the configuration of Kafka", error))?;
        }
        Ok(())
    }

    /// What all clients have in common.
    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.brokers.join(","))
            .set("client.id", "tideline")
            .set("socket.keepalive.enable", "true")
            .set("socket.timeout.ms", millis(self.request_timeout))
            // A broker that comes back is found again within a second.
            .set("reconnect.backoff.max.ms", "1000")
            .set("log.connection.close", "false")
            .set("topic.metadata.refresh.interval.ms", "5000")
            // A missing topic is told at once, not after half a minute.
            .set("topic.metadata.propagation.max.ms", "2000")
            .set("allow.auto.create.topics", "false");
        config
    }

    fn finish(&self, mut config: ClientConfig) -> ClientConfig {
        for (key, value) in &self.properties {
            config.set(key, value);
        }
        config
    }

    /// The client that appends.
    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", millis(self.request_timeout))
            .set("request.timeout.ms", millis(self.request_timeout))
            // Appends come in batches; one of a single record must not wait for company.
            .set("linger.ms", "1")
            .set("message.max.bytes", (8 << 20).to_string())
            .set("batch.size", "1000000")
            // Bounded before: by the bytes that may wait, which count each record's overhead.
            .set("queue.buffering.max.messages", "0")
            .set("queue.buffering.max.kbytes", ((self.max_waiting_bytes + self.max_append_bytes) >> 9).to_string())
            .set("compression.type", "lz4");
        self.finish(config)
    }

    /// The client that looks up and changes topics.
    pub(super) fn admin(&self) -> ClientConfig {
        self.finish(self.client())
    }

    /// The client that reads one partition, at most `prefetch` bytes ahead.
    pub(super) fn reader(&self, prefetch: usize) -> ClientConfig {
        let mut config = self.client();
        config
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // A position that has expired is an error, never a silent jump.
            .set("auto.offset.reset", "error")
            // Tells where the reader stands when offsets at the end have no record.
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .set("queued.min.messages", "10000000")
            .set("queued.max.messages.kbytes", (prefetch >> 10).max(1).to_string())
            // Looks again soon whether there is room: the default of a second would stall a fast reader.
            .set("fetch.queue.backoff.ms", "2")
            .set("fetch.message.max.bytes", prefetch.min(FETCH_BYTES).to_string())
            .set("fetch.max.bytes", FETCH_BYTES.to_string())
            .set("fetch.min.bytes", "1")
            // Only how long a request lies at the broker while nothing comes: an append answers it at once.
            .set("fetch.wait.max.ms", "500")
            .set("fetch.error.backoff.ms", "50")
            .set("check.crcs", "false");
        self.finish(config)
    }

    /// The client that is a member of the group; it never fetches.
    pub(super) fn member(&self) -> ClientConfig {
        let mut config = self.committer(&self.group);
        config
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", millis(self.session_timeout))
            .set("heartbeat.interval.ms", millis((self.session_timeout / 6).max(Duration::from_millis(100))))
            .set("max.poll.interval.ms", millis(self.max_poll_interval))
            .set("auto.offset.reset", "latest")
            .set("queued.min.messages", "1")
            .set("queued.max.messages.kbytes", "1")
            .set("fetch.message.max.bytes", "1024");
        config
    }

    /// A client that notes progress of `group`, without being a member.
    pub(super) fn committer(&self, group: &str) -> ClientConfig {
        let mut config = self.client();
        config.set("group.id", group).set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
        self.finish(config)
    }
}

/// Bytes of one partition in one answer. Measured: with larger ones, and more of them waiting, records have left the
/// processor's cache before they are read, which doubles their cost.
const FETCH_BYTES: usize = 1 << 20;

fn millis(time: Duration) -> String {
    time.as_millis().max(1).to_string()
}

/// Properties that may not be set, and why.
const REFUSED: &[(&str, &str)] = &[
    ("bootstrap.servers", "set log.brokers"),
    ("metadata.broker.list", "set log.brokers"),
    ("group.id", "set log.group"),
    ("group.instance.id", "members come and go by name of the process that runs them"),
    ("group.protocol", "the handover of partitions rests on the classic protocol"),
    ("group.remote.assignor", "the handover of partitions rests on cooperative-sticky"),
    ("partition.assignment.strategy", "the handover of partitions rests on cooperative-sticky"),
    ("session.timeout.ms", "set log.session_timeout"),
    ("max.poll.interval.ms", "it must exceed the time that a handover takes"),
    ("enable.idempotence", "without it a retry could append twice and out of order"),
    ("acks", "an append is acknowledged when every replica in sync has it"),
    ("request.required.acks", "an append is acknowledged when every replica in sync has it"),
    ("transactional.id", "appends are not transactions"),
    ("partitioner", "records with equal keys stay in one partition only if it never changes"),
    ("enable.auto.commit", "positions are kept in checkpoints"),
    ("auto.commit.enable", "positions are kept in checkpoints"),
    ("enable.auto.offset.store", "positions are kept in checkpoints"),
    ("auto.offset.reset", "a position that has expired must be told"),
    ("enable.partition.eof", "readers learn from it where a partition ends"),
    ("isolation.level", "records of aborted transactions must not be counted"),
    ("allow.auto.create.topics", "topics are created with the partitions and the retention of the definition"),
    ("log.queue", "the log lines of librdkafka go where those of Tideline go"),
];

// By hand: properties may hold passwords and keys.
impl fmt::Debug for KafkaLogConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaLogConfig")
            .field("brokers", &self.brokers)
            .field("group", &self.group)
            .field("replication_factor", &self.replication_factor)
            .field("properties", &self.properties.keys())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(properties: &[(&str, &str)]) -> KafkaLogConfig {
        let properties = properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        KafkaLogConfig { properties, ..KafkaLogConfig::new(vec!["127.0.0.1:1".to_owned()], "g") }
    }

    #[test]
    fn properties_come_last_and_reach_every_client() {
        let config = config(&[("security.protocol", "sasl_ssl"), ("client.id", "mine"), ("linger.ms", "7")]);
        config.check().unwrap();
        for client in [config.producer(), config.admin(), config.reader(1 << 20), config.member()] {
            assert_eq!(client.get("security.protocol"), Some("sasl_ssl"));
            assert_eq!(client.get("client.id"), Some("mine"));
        }
        assert_eq!(config.producer().get("linger.ms"), Some("7"));
        assert_eq!(config.producer().get("acks"), Some("all"));
    }

    #[test]
    fn properties_that_guarantees_rest_on_are_refused_by_name() {
        for (key, _) in REFUSED {
            let error = config(&[(key, "x")]).check().unwrap_err();
            assert!(matches!(error, PortError::Invalid { .. }), "{error:?}");
            assert!(error.to_string().contains(key), "{error}");
        }
    }

    #[test]
    fn a_wrong_property_is_told_without_its_value() {
        for (key, value) in [("no.such.property", "secret"), ("linger.ms", "secret"), ("security.protocol", "secret")] {
            let error = config(&[(key, value)]).check().unwrap_err();
            assert!(matches!(error, PortError::Invalid { .. }), "{error:?}");
            assert!(error.to_string().contains(key), "{error}");
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
    }

    #[test]
    fn passwords_are_not_printed() {
        let config = config(&[("sasl.password", "hunter2")]);
        let printed = format!("{config:?}");
        assert!(printed.contains("sasl.password") && !printed.contains("hunter2"), "{printed}");
    }

    #[test]
    fn bounds_that_contradict_each_other_are_refused() {
        let base = config(&[]);
        let second = Duration::from_secs(1);
        let cases = [
            ("brokers", KafkaLogConfig { brokers: Vec::new(), ..base.clone() }),
            ("group", KafkaLogConfig { group: String::new(), ..base.clone() }),
            ("replication_factor", KafkaLogConfig { replication_factor: 0, ..base.clone() }),
            ("max_poll_interval", KafkaLogConfig { max_poll_interval: second, ..base.clone() }),
            ("handover_timeout", KafkaLogConfig { handover_timeout: base.max_poll_interval, ..base.clone() }),
        ];
        for (key, config) in cases {
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
