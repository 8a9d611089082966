//! Appending: records go to librdkafka's queue, and the answer waits until every one of them is acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use tideline_common::ports::{Appended, PortError, PortResult};
use tideline_common::position::Partition;
use tideline_common::record::NewRecord;
use tideline_common::time::Timestamp;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::client::Context;
use super::config::KafkaLogConfig;
use super::error;
use super::partitioner::{Turns, of_key};

/// What a record takes in the queue, beside its bytes.
const OVERHEAD: usize = 128;

/// Appends of more records than this are queued where they may keep a thread busy.
const INLINE: usize = 64;

/// How much longer than librdkafka's own limit an acknowledgement is waited for.
const GRACE: Duration = Duration::from_secs(5);

/// Appends records.
pub(super) struct Producer {
    config: KafkaLogConfig,
    /// The largest record that librdkafka sends, in bytes.
    max_record_bytes: usize,
    native: Mutex<Arc<Native>>,
    /// Held while the records of one append are queued, so that they stay together.
    queueing: Arc<Mutex<()>>,
    turns: Turns,
    /// KiB of records that may wait for their acknowledgement.
    room: Arc<Semaphore>,
    room_kib: u32,
}

type Native = ThreadedProducer<Deliveries>;

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("room_kib", &self.room.available_permits()).finish_non_exhaustive()
    }
}

/// Where records go.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// Each to the partition of its key, of so many; without one, in turn.
    ByKey { partitions: u32 },
    /// All to one partition.
    In(Partition),
}

/// One append on its way.
struct Pending {
    /// Records that have no answer yet.
    left: AtomicUsize,
    outcome: Mutex<Outcome>,
    done: Notify,
    _room: OwnedSemaphorePermit,
}

#[derive(Default)]
struct Outcome {
    appended: Appended,
    /// The first failure, and of how many.
    failure: Option<(RDKafkaErrorCode, Partition)>,
    failed: usize,
}

impl Pending {
    /// Takes note of answers to `count` records.
    fn answered(&self, count: usize) {
        if self.left.fetch_sub(count, Ordering::AcqRel) == count {
            self.done.notify_one();
        }
    }
}

/// Receives the answers to records.
struct Deliveries(Context);

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Arc<Pending>;

    fn delivery(&self, result: &DeliveryResult<'_>, pending: Arc<Pending>) {
        let mut outcome = pending.outcome.lock();
        match result {
            Ok(message) => {
                let offset = message.offset().max(0).unsigned_abs();
                let range = outcome.appended.entry(message.partition().unsigned_abs()).or_insert((offset, offset));
                *range = (range.0.min(offset), range.1.max(offset + 1));
            }
            Err((error, message)) => {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
                outcome.failure.get_or_insert((code, message.partition().unsigned_abs()));
                outcome.failed += 1;
            }
        }
        drop(outcome);
        pending.answered(1);
    }
}

/// Bytes of a record in the queue.
fn size(record: &NewRecord) -> usize {
    let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    record.payload.len() + record.key.as_ref().map_or(0, bytes::Bytes::len) + headers
}

fn create(config: &KafkaLogConfig) -> PortResult<Arc<Native>> {
    let made = Native::from_config_and_context(&config.producer(), Deliveries(Context::new("producer")));
    Ok(Arc::new(made.map_err(|e| error::port("the producer of Kafka", e))?))
}

impl Producer {
    /// Makes the client; it connects when it is needed.
    pub(super) fn new(config: &KafkaLogConfig) -> PortResult<Self> {
        let limit = config.producer().get("message.max.bytes").and_then(|bytes| bytes.parse().ok());
        let room_kib = (config.max_waiting_bytes >> 10).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize)) as u32;
        Ok(Self {
            max_record_bytes: limit.unwrap_or(usize::MAX),
            native: Mutex::new(create(config)?),
            queueing: Arc::default(),
            turns: Turns::new(),
            room: Arc::new(Semaphore::new(room_kib as usize)),
            room_kib,
            config: config.clone(),
        })
    }

    /// See [`tideline_common::ports::Log::append`].
    pub(super) async fn append(
        &self,
        topic: &str,
        place: Place,
        records: Vec<NewRecord>,
        now: Timestamp,
    ) -> PortResult<Appended> {
        let what = format!("an append to topic {topic}");
        let kib = self.check(&what, &records)?;
        let room = Arc::clone(&self.room).acquire_many_owned(kib.clamp(1, self.room_kib));
        let room = match tokio::time::timeout(self.config.request_timeout, room).await {
            Ok(room) => room.map_err(|e| PortError::unavailable(&what, e))?,
            Err(late) => {
                return Err(PortError::Full { what: "the queue of appends to Kafka".to_owned(), source: late.into() });
            }
        };
        let pending = Arc::new(Pending {
            left: AtomicUsize::new(records.len()),
            outcome: Mutex::default(),
            done: Notify::new(),
            _room: room,
        });
        let native = Arc::clone(&self.native.lock());
        let placed: Vec<Partition> = match place {
            Place::In(partition) => vec![partition; records.len()],
            Place::ByKey { partitions } => {
                let mut turn = self.turns.start();
                let of =
                    |r: &NewRecord| r.key.as_ref().map_or_else(|| turn.next(partitions), |k| of_key(k, partitions));
                records.iter().map(of).collect()
            }
        };
        let largest = records.iter().map(size).enumerate().max_by_key(|(_, size)| *size).unwrap_or_default();
        let millis = now.0.div_euclid(1_000).max(0);
        let (queueing, waiting, to) = (Arc::clone(&self.queueing), Arc::clone(&pending), topic.to_owned());
        let queue = move || {
            let _together = queueing.lock();
            queue_all(&native, &to, &records, &placed, millis, &waiting);
        };
        if pending.left.load(Ordering::Relaxed) <= INLINE {
            queue();
        } else {
            tokio::task::spawn_blocking(queue).await.map_err(|e| PortError::unavailable(&what, e))?;
        }
        if tokio::time::timeout(self.config.request_timeout + GRACE, pending.done.notified()).await.is_err() {
            return Err(PortError::unavailable(what, "the broker does not answer"));
        }
        let outcome = std::mem::take(&mut *pending.outcome.lock());
        match outcome.failure {
            None => Ok(outcome.appended),
            Some((code, partition)) => Err(self.failed(what, code, partition, outcome.failed, largest)),
        }
    }

    /// The error for an append of which `count` records failed.
    fn failed(
        &self,
        what: String,
        code: RDKafkaErrorCode,
        partition: Partition,
        count: usize,
        largest: (usize, usize),
    ) -> PortError {
        match code {
            RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::MessageBatchTooLarge => {
                let (at, bytes) = largest;
                let reason = format!("{code}; the largest is record {at} with {bytes} bytes (see max.message.bytes)");
                return PortError::invalid(what, reason);
            }
            // An idempotent producer that cannot keep its promise does nothing more: the next append takes a new one.
            RDKafkaErrorCode::Fatal | RDKafkaErrorCode::OutOfOrderSequenceNumber => match create(&self.config) {
                Ok(fresh) => *self.native.lock() = fresh,
                Err(error) => tracing::error!(%error, "no new producer"),
            },
            _ => {}
        }
        error::of_code(format!("{what} ({count} records not acknowledged, one of them in partition {partition})"), code)
    }

    /// Checks the sizes before anything is queued; answers the room that is needed in KiB.
    fn check(&self, what: &str, records: &[NewRecord]) -> PortResult<u32> {
        let mut bytes = 0;
        for (at, record) in records.iter().enumerate() {
            let size = size(record);
            if size + OVERHEAD > self.max_record_bytes {
                let most = self.max_record_bytes - OVERHEAD.min(self.max_record_bytes);
                return Err(PortError::invalid(what, format!("record {at} has {size} bytes; {most} at most")));
            }
            bytes += size;
        }
        if bytes > self.config.max_append_bytes {
            let reason = format!("{bytes} bytes; one append takes {} at most", self.config.max_append_bytes);
            return Err(PortError::invalid(what, reason));
        }
        Ok(u32::try_from((bytes + OVERHEAD * records.len()).div_ceil(1024)).unwrap_or(u32::MAX))
    }
}

/// Queues records in order. One that is not taken ends it: what comes after it is not sent.
fn queue_all(
    native: &Native,
    topic: &str,
    records: &[NewRecord],
    placed: &[Partition],
    millis: i64,
    pending: &Arc<Pending>,
) {
    for (at, (record, partition)) in records.iter().zip(placed).enumerate() {
        let mut message = BaseRecord::with_opaque_to(topic, Arc::clone(pending))
            .partition(*partition as i32)
            .payload(record.payload.as_ref())
            .timestamp(millis);
        if let Some(key) = &record.key {
            message = message.key(key.as_ref());
        }
        if !record.headers.is_empty() {
            let headers = OwnedHeaders::new_with_capacity(record.headers.len());
            let headers = record.headers.iter().fold(headers, |headers, (name, value)| {
                headers.insert(Header { key: name, value: Some(value.as_ref()) })
            });
            message = message.headers(headers);
        }
        if let Err((error, _)) = native.send::<[u8], [u8]>(message) {
            let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
            let left = records.len() - at;
            let mut outcome = pending.outcome.lock();
            outcome.failure.get_or_insert((code, *partition));
            outcome.failed += left;
            drop(outcome);
            pending.answered(left);
            return;
        }
    }
}
