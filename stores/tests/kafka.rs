//! The log and the membership on a real Kafka broker, which `TIDELINE_TEST_KAFKA` names (`host:port`).
//!
//! Every test uses topics and groups of its own, so that they run side by side and again and again on one broker.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests; names are made of the wall clock")]

#[path = "support/kafka.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use rdkafka::admin::{
    AdminClient, AdminOptions, NewPartitions, NewTopic, OwnedResourceSpecifier, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset as KafkaOffset, TopicPartitionList};
use support::{broker, spec, unique};
use tideline_common::ports::{
    Appended, Log, Membership, PortError, PortResult, ReadRequest, Rebalance, TopicInfo, TopicSpec,
};
use tideline_common::position::{Offset, Partition};
use tideline_common::record::{NewRecord, Record};
use tideline_common::time::{Span, Timestamp};
use tideline_stores::conformance::log::Time;
use tideline_stores::conformance::membership::GroupFixture;
use tideline_stores::conformance::{self, Fixture};
use tideline_stores::log::kafka::{KafkaLog, KafkaLogConfig, KafkaMembership};

/// How long a test waits for what is certain to come.
const SOON: Duration = Duration::from_secs(30);

fn config(broker: &str) -> KafkaLogConfig {
    KafkaLogConfig::new(vec![broker.to_owned()], unique("group"))
}

fn log(broker: &str) -> KafkaLog {
    KafkaLog::new(config(broker)).unwrap()
}

fn client(broker: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker);
    config
}

fn admin(broker: &str) -> AdminClient<DefaultClientContext> {
    client(broker).create().unwrap()
}

fn record(key: Option<&str>, text: &str) -> NewRecord {
    NewRecord {
        key: key.map(|k| Bytes::copy_from_slice(k.as_bytes())),
        headers: Vec::new(),
        payload: Bytes::copy_from_slice(text.as_bytes()),
    }
}

fn records(count: usize) -> Vec<NewRecord> {
    (0..count).map(|n| record(None, &n.to_string())).collect()
}

fn request(topic: &str, partition: Partition, from: Offset, wait: Duration) -> ReadRequest {
    ReadRequest { topic: topic.to_owned(), partition, from, max_records: 10_000, max_bytes: 64 << 20, wait }
}

/// Records from `from` on until the end that the log tells; and where a reader then stands.
async fn read_to_end(log: &dyn Log, topic: &str, partition: Partition, from: Offset) -> (Vec<Record>, Offset) {
    let end = log.topic(topic).await.unwrap().partitions[&partition].1;
    let (mut all, mut at, deadline) = (Vec::new(), from, Instant::now() + SOON);
    while at < end {
        assert!(Instant::now() < deadline, "at {at}, and the end is {end}");
        let read = log.read(&request(topic, partition, at, Duration::from_millis(200))).await.unwrap();
        at = match read.last() {
            Some(last) => last.offset + 1,
            None => log.skip(topic, partition, at).await.unwrap(),
        };
        all.extend(read);
    }
    (all, at)
}

fn offsets(records: &[Record]) -> Vec<Offset> {
    records.iter().map(|r| r.offset).collect()
}

/// A log whose topics have a prefix, so that it looks empty on a broker that is not.
#[derive(Debug)]
struct Prefixed {
    log: KafkaLog,
    prefix: String,
}

impl Prefixed {
    /// What has no name keeps none.
    fn full(&self, name: &str) -> String {
        if name.is_empty() { String::new() } else { format!("{}-{name}", self.prefix) }
    }
}

#[async_trait]
impl Log for Prefixed {
    async fn ensure_topic(&self, spec: &TopicSpec) -> PortResult<()> {
        self.log.ensure_topic(&TopicSpec { name: self.full(&spec.name), ..spec.clone() }).await
    }

    async fn topics(&self) -> PortResult<Vec<TopicInfo>> {
        let topics = self.log.topics().await?.into_iter();
        let ours = topics.filter_map(|info| {
            let name = info.name.strip_prefix(&self.prefix)?.strip_prefix('-')?.to_owned();
            Some(TopicInfo { name, ..info })
        });
        Ok(ours.collect())
    }

    async fn topic(&self, name: &str) -> PortResult<TopicInfo> {
        Ok(TopicInfo { name: name.to_owned(), ..self.log.topic(&self.full(name)).await? })
    }

    async fn append(&self, topic: &str, records: Vec<NewRecord>, now: Timestamp) -> PortResult<Appended> {
        self.log.append(&self.full(topic), records, now).await
    }

    async fn append_to(
        &self,
        topic: &str,
        partition: Partition,
        records: Vec<NewRecord>,
        now: Timestamp,
    ) -> PortResult<(Offset, Offset)> {
        self.log.append_to(&self.full(topic), partition, records, now).await
    }

    async fn read(&self, request: &ReadRequest) -> PortResult<Vec<Record>> {
        self.log.read(&ReadRequest { topic: self.full(&request.topic), ..request.clone() }).await
    }

    async fn skip(&self, topic: &str, partition: Partition, from: Offset) -> PortResult<Offset> {
        self.log.skip(&self.full(topic), partition, from).await
    }

    async fn commit_hint(&self, group: &str, topic: &str, partition: Partition, next: Offset) -> PortResult<()> {
        self.log.commit_hint(group, &self.full(topic), partition, next).await
    }

    async fn expire(&self, now: Timestamp, keep_from: &BTreeMap<(String, Partition), Offset>) -> PortResult<u64> {
        self.log.expire(now, keep_from).await
    }
}

/// A prefix of the topics of a broker, opened again and again.
struct Opened {
    broker: String,
    prefix: String,
}

#[async_trait]
impl Fixture<dyn Log> for Opened {
    async fn open(&mut self) -> Arc<dyn Log> {
        Arc::new(Prefixed { log: log(&self.broker), prefix: self.prefix.clone() })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_on_kafka() {
    let Some(broker) = broker("the_log_on_kafka") else { return };
    conformance::log::suite(|| Opened { broker: broker.clone(), prefix: unique("log") }, Time::Own).await;
}

/// A group of its own, and topics of which the partitions can be added to.
struct Group {
    broker: String,
    config: KafkaLogConfig,
    topics: HashMap<String, String>,
}

impl Group {
    fn new(broker: &str) -> Self {
        Self { broker: broker.to_owned(), config: config(broker), topics: HashMap::new() }
    }
}

#[async_trait]
impl GroupFixture for Group {
    async fn topic(&mut self, name: &str, partitions: u32) -> String {
        if let Some(full) = self.topics.get(name) {
            let more = NewPartitions::new(full, partitions as usize);
            let grown = admin(&self.broker).create_partitions([&more], &AdminOptions::new()).await.unwrap();
            assert!(grown.iter().all(Result::is_ok), "{grown:?}");
            return full.clone();
        }
        let full = unique(name);
        log(&self.broker).ensure_topic(&spec(&full, partitions)).await.unwrap();
        self.topics.insert(name.to_owned(), full.clone());
        full
    }

    async fn member(&mut self) -> Arc<dyn Membership> {
        Arc::new(KafkaMembership::new(self.config.clone()).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_membership_on_kafka() {
    let Some(broker) = broker("the_membership_on_kafka") else { return };
    conformance::membership::suite(|| Group::new(&broker), true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_go_where_other_producers_put_them() {
    let Some(broker) = broker("keys_go_where_other_producers_put_them") else { return };
    let (log, ours, theirs) = (log(&broker), unique("ours"), unique("theirs"));
    for topic in [&ours, &theirs] {
        log.ensure_topic(&spec(topic, 7)).await.unwrap();
    }
    let keys: Vec<String> = (0..300).map(|n| format!("key {}", n * n)).chain([String::new()]).collect();
    log.append(&ours, keys.iter().map(|k| record(Some(k), k)).collect(), Timestamp(0)).await.unwrap();
    let producer: BaseProducer = client(&broker).set("partitioner", "murmur2_random").create().unwrap();
    for key in &keys {
        producer.send(BaseRecord::to(&theirs).key(key).payload(key)).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(SOON).unwrap();
    let mut seen = 0;
    for partition in 0..7 {
        let keys = |records: Vec<Record>| -> BTreeSet<Bytes> { records.into_iter().map(|r| r.key.unwrap()).collect() };
        let ours = keys(read_to_end(&log, &ours, partition, 0).await.0);
        assert_eq!(ours, keys(read_to_end(&log, &theirs, partition, 0).await.0), "partition {partition}");
        seen += ours.len();
    }
    assert_eq!(seen, keys.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_pass_over_what_transactions_leave_behind() {
    let Some(broker) = broker("readers_pass_over_what_transactions_leave_behind") else { return };
    let (log, topic) = (log(&broker), unique("transactions"));
    log.ensure_topic(&spec(&topic, 1)).await.unwrap();
    let next = async |log: &KafkaLog| log.topic(&topic).await.unwrap().partitions[&0].1;
    let producer: BaseProducer = client(&broker).set("transactional.id", unique("id")).create().unwrap();
    let send = |texts: &[&str]| {
        for text in texts {
            let sent = producer.send(BaseRecord::<(), str>::to(&topic).payload(text));
            sent.map_err(|(error, _)| error).unwrap();
        }
        producer.flush(SOON).unwrap();
    };
    producer.init_transactions(SOON).unwrap();
    producer.begin_transaction().unwrap();
    send(&["a", "b", "c"]);
    assert_eq!(next(&log).await, 0, "an open transaction is not there yet");
    assert!(log.read(&request(&topic, 0, 0, Duration::from_millis(300))).await.unwrap().is_empty());
    producer.commit_transaction(SOON).unwrap();
    producer.begin_transaction().unwrap();
    send(&["x", "y"]);
    producer.abort_transaction(SOON).unwrap();
    // Three records and a marker, two aborted records and a marker, which the broker writes in its own time.
    let deadline = Instant::now() + SOON;
    while next(&log).await < 7 {
        assert!(Instant::now() < deadline, "{}", next(&log).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (read, at) = read_to_end(&log, &topic, 0, 0).await;
    assert_eq!(offsets(&read), [0, 1, 2]);
    assert_eq!(at, 7, "a reader reaches the end without a record there");
    // And goes on from there, with the same stream and with a new one.
    let appended = log.append(&topic, records(2), Timestamp(0)).await.unwrap();
    assert_eq!(appended, BTreeMap::from([(0, (7, 9))]));
    for log in [&log, &self::log(&broker)] {
        assert_eq!(offsets(&read_to_end(log, &topic, 0, 7).await.0), [7, 8]);
        assert_eq!(offsets(&read_to_end(log, &topic, 0, 3).await.0), [7, 8], "markers in between are passed over");
        assert_eq!(offsets(&read_to_end(log, &topic, 0, 2).await.0), [2, 7, 8]);
    }
}

/// Lets records expire as retention does, at once.
async fn delete_before(broker: &str, topic: &str, first: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, KafkaOffset::Offset(first)).unwrap();
    let deleted = admin(broker).delete_records(&list, &AdminOptions::new()).await.unwrap();
    assert!(deleted.elements().iter().all(|e| e.error().is_ok()), "{deleted:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_offset_is_told_and_not_passed_over() {
    let Some(broker) = broker("an_expired_offset_is_told_and_not_passed_over") else { return };
    let (log, topic) = (log(&broker), unique("expiry"));
    log.ensure_topic(&spec(&topic, 1)).await.unwrap();
    log.append(&topic, records(100), Timestamp(0)).await.unwrap();
    delete_before(&broker, &topic, 40).await;
    assert_eq!(log.topic(&topic).await.unwrap().partitions[&0], (40, 100));
    for from in [0, 39] {
        let error = log.read(&request(&topic, 0, from, Duration::ZERO)).await.unwrap_err();
        assert!(matches!(error, PortError::Expired { first: 40 }), "{error:?}");
    }
    assert_eq!(read_to_end(&log, &topic, 0, 40).await.0.len(), 60);
    delete_before(&broker, &topic, 100).await;
    assert_eq!(log.topic(&topic).await.unwrap().partitions[&0], (100, 100));
    let error = log.read(&request(&topic, 0, 99, SOON)).await.unwrap_err();
    assert!(matches!(error, PortError::Expired { first: 100 }), "{error:?}");
    // A stream that stands at the end is not disturbed.
    assert!(log.read(&request(&topic, 0, 100, Duration::from_millis(50))).await.unwrap().is_empty());
    log.append(&topic, records(1), Timestamp(0)).await.unwrap();
    assert_eq!(offsets(&log.read(&request(&topic, 0, 100, SOON)).await.unwrap()), [100]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_beyond_the_end_waits_for_it() {
    let Some(broker) = broker("a_reader_beyond_the_end_waits_for_it") else { return };
    let (log, topic) = (Arc::new(log(&broker)), unique("beyond"));
    log.ensure_topic(&spec(&topic, 1)).await.unwrap();
    log.append(&topic, records(3), Timestamp(0)).await.unwrap();
    let reader = tokio::spawn({
        let (log, topic) = (Arc::clone(&log), topic.clone());
        async move { log.read(&request(&topic, 0, 5, SOON)).await }
    });
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!reader.is_finished() || log.topic(&topic).await.unwrap().partitions[&0].1 > 5);
        log.append(&topic, records(1), Timestamp(0)).await.unwrap();
    }
    assert_eq!(reader.await.unwrap().unwrap()[0].offset, 5);
}

/// The configuration of a topic, of what was set for it.
async fn settings(broker: &str, topic: &str) -> BTreeMap<String, String> {
    let resource = ResourceSpecifier::Topic(topic);
    let described = admin(broker).describe_configs([&resource], &AdminOptions::new()).await.unwrap();
    let resource = described.into_iter().next().unwrap().unwrap();
    assert_eq!(resource.specifier, OwnedResourceSpecifier::Topic(topic.to_owned()));
    resource.entries.into_iter().filter_map(|e| Some((e.name, e.value?))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_made_once_and_take_over_the_retention() {
    let Some(broker) = broker("topics_are_made_once_and_take_over_the_retention") else { return };
    let topic = unique("retention");
    let kept = |span| TopicSpec { retention: Some(span), ..spec(&topic, 3) };
    // Several processes start at the same time.
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let (log, spec) = (log(&broker), kept(Span::HOUR));
        tasks.push(tokio::spawn(async move { log.ensure_topic(&spec).await }));
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let log = log(&broker);
    assert_eq!(log.topic(&topic).await.unwrap().partitions.len(), 3);
    assert_eq!(settings(&broker, &topic).await["retention.ms"], "3600000");
    log.ensure_topic(&kept(Span::DAY)).await.unwrap();
    assert_eq!(settings(&broker, &topic).await["retention.ms"], "86400000");
    log.ensure_topic(&spec(&topic, 3)).await.unwrap();
    assert_eq!(settings(&broker, &topic).await["retention.ms"], "86400000", "none asked for: it stays");
    // The bound in bytes, of a topic that has none yet and of a new one.
    log.ensure_topic(&TopicSpec { max_bytes: Some(9 << 20), ..spec(&topic, 3) }).await.unwrap();
    let both = settings(&broker, &topic).await;
    assert_eq!((&*both["retention.ms"], &*both["retention.bytes"]), ("86400000", "9437184"));
    let bounded = TopicSpec { max_bytes: Some(1 << 30), ..spec(&unique("bounded"), 1) };
    log.ensure_topic(&bounded).await.unwrap();
    let new = settings(&broker, &bounded.name).await;
    assert_eq!((&*new["retention.ms"], &*new["retention.bytes"]), ("-1", "1073741824"));
    // What somebody else has set for a topic stays when the retention changes.
    let theirs = unique("theirs");
    let new = NewTopic::new(&theirs, 1, TopicReplication::Fixed(1)).set("max.message.bytes", "123456");
    admin(&broker).create_topics([&new], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
    log.ensure_topic(&TopicSpec { name: theirs.clone(), ..kept(Span::DAY) }).await.unwrap();
    let settings = settings(&broker, &theirs).await;
    assert_eq!((&*settings["retention.ms"], &*settings["max.message.bytes"]), ("86400000", "123456"));
    assert_eq!(log.topic(&theirs).await.unwrap().partitions.len(), 1, "an existing topic keeps its partitions");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_are_too_large_are_refused_with_their_place() {
    let Some(broker) = broker("records_that_are_too_large_are_refused_with_their_place") else { return };
    let (log, topic) = (log(&broker), unique("large"));
    log.ensure_topic(&spec(&topic, 1)).await.unwrap();
    // Refused here, and by the broker, whose own limit is a megabyte.
    for size in [9 << 20, 3 << 20] {
        // Nothing that could be compressed.
        let mut state = 1_u64;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        });
        let payload = noise.take(size).collect::<Vec<u8>>().into();
        let batch = vec![record(None, "small"), NewRecord { payload, ..NewRecord::default() }];
        let error = log.append(&topic, batch, Timestamp(0)).await.unwrap_err();
        assert!(matches!(&error, PortError::Invalid { reason, .. } if reason.contains("record 1")), "{error:?}");
    }
    log.append(&topic, records(1), Timestamp(0)).await.expect("the next one is taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_away_is_unavailable_in_time() {
    // Nothing listens there: no broker is needed for this.
    let config = KafkaLogConfig {
        request_timeout: Duration::from_secs(1),
        ..KafkaLogConfig::new(vec!["127.0.0.1:9".to_owned()], "group")
    };
    let log = KafkaLog::new(config).expect("it connects later");
    let started = Instant::now();
    let errors = [
        log.topic("t").await.map(drop).unwrap_err(),
        log.topics().await.map(drop).unwrap_err(),
        log.ensure_topic(&spec("t", 1)).await.unwrap_err(),
        log.append("t", records(1), Timestamp(0)).await.map(drop).unwrap_err(),
        log.read(&request("t", 0, 0, Duration::ZERO)).await.map(drop).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, PortError::Unavailable { .. }) && error.is_retryable(), "{error:?}");
    }
    assert!(started.elapsed() < SOON, "bounded: {:?}", started.elapsed());
}

/// What a group has committed for partition 0.
fn committed(broker: &str, group: &str, topic: &str) -> KafkaOffset {
    let consumer: BaseConsumer = client(broker).set("group.id", group).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, 0);
    consumer.committed_offsets(list, SOON).unwrap().elements()[0].offset()
}

async fn until_committed(broker: &str, group: &str, topic: &str, next: i64) {
    let deadline = Instant::now() + SOON;
    loop {
        let (broker, group, topic) = (broker.to_owned(), group.to_owned(), topic.to_owned());
        let found = tokio::task::spawn_blocking(move || committed(&broker, &group, &topic)).await.unwrap();
        if found == KafkaOffset::Offset(next) {
            return;
        }
        assert!(Instant::now() < deadline, "{found:?}, not {next}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_is_shown_to_the_tools_of_kafka() {
    let Some(broker) = broker("progress_is_shown_to_the_tools_of_kafka") else { return };
    let (config, topic) = (config(&broker), unique("progress"));
    let log = KafkaLog::new(config.clone()).unwrap();
    log.ensure_topic(&spec(&topic, 1)).await.unwrap();
    let alone = unique("alone");
    log.commit_hint(&alone, &topic, 0, 12).await.unwrap();
    until_committed(&broker, &alone, &topic, 12).await;
    // A group with members takes it from its members only.
    let membership = KafkaMembership::new(config.clone()).unwrap();
    log.note_progress_as(&membership);
    membership.join(std::slice::from_ref(&topic)).await.unwrap();
    assert!(matches!(membership.next().await.unwrap(), Rebalance::Assigned(_)));
    log.commit_hint(&config.group, &topic, 0, 34).await.unwrap();
    until_committed(&broker, &config.group, &topic, 34).await;
    membership.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_stuck_loses_its_partitions() {
    let Some(broker) = broker("a_member_that_is_stuck_loses_its_partitions") else { return };
    let mut group = Group::new(&broker);
    group.config.max_poll_interval = Duration::from_secs(6);
    group.config.handover_timeout = Duration::from_secs(1);
    let topics = [group.topic("t", 2).await];
    let stuck = group.member().await;
    stuck.join(&topics).await.unwrap();
    assert!(matches!(stuck.next().await.unwrap(), Rebalance::Assigned(_)));
    // It is not heard of any more, while another one is there.
    let other = group.member().await;
    other.join(&topics).await.unwrap();
    let (mut taken, deadline) = (BTreeSet::new(), Instant::now() + 2 * SOON);
    while taken.len() < 2 {
        let change = tokio::time::timeout_at(deadline.into(), other.next()).await.expect("they are given away");
        if let Rebalance::Assigned(partitions) = change.unwrap() {
            taken.extend(partitions);
        }
    }
    // When it comes to, it is told that they are lost: all that it had, and nothing twice.
    let mut lost = BTreeSet::new();
    while lost.len() < 2 {
        match tokio::time::timeout_at(deadline.into(), stuck.next()).await.expect("it is told").unwrap() {
            Rebalance::Lost(partitions) => {
                for partition in partitions {
                    assert!(lost.insert(partition.clone()), "{partition:?} is lost twice");
                }
            }
            Rebalance::Revoked { handover, .. } => drop(handover),
            change @ Rebalance::Assigned(_) => panic!("{change:?}"),
        }
    }
    assert_eq!(lost, taken);
    stuck.leave().await.unwrap();
    other.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handover_that_does_not_come_is_not_waited_for_for_ever() {
    let Some(broker) = broker("a_handover_that_does_not_come_is_not_waited_for_for_ever") else { return };
    let mut group = Group::new(&broker);
    group.config.handover_timeout = Duration::from_secs(1);
    let topics = [group.topic("t", 2).await];
    let slow = group.member().await;
    slow.join(&topics).await.unwrap();
    assert!(matches!(slow.next().await.unwrap(), Rebalance::Assigned(_)));
    let other = group.member().await;
    other.join(&topics).await.unwrap();
    let Rebalance::Revoked { partitions, handover } = slow.next().await.unwrap() else { panic!("not revoked") };
    let lost = tokio::time::timeout(SOON, slow.next()).await.expect("it is not waited for").unwrap();
    assert!(matches!(&lost, Rebalance::Lost(lost) if *lost == partitions), "{lost:?}");
    let taken = tokio::time::timeout(SOON, other.next()).await.expect("it is given away").unwrap();
    assert!(matches!(&taken, Rebalance::Assigned(taken) if *taken == partitions), "{taken:?}");
    drop(handover);
    slow.leave().await.unwrap();
    other.leave().await.unwrap();
}
