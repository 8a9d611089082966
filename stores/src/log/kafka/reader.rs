//! Reading: one stream per reader of a partition, which goes on where the last read ended.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rdkafka::consumer::BaseConsumer;
use rdkafka::types::RDKafkaErrorCode;
use tideline_common::ports::{PortError, PortResult, ReadRequest};
use tideline_common::position::{Offset, Partition};
use tideline_common::record::Record;
use tideline_common::time::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::client::Context;
use super::config::KafkaLogConfig;
use super::error;
use super::fetcher::{Fetcher, Item, Message};
use super::topics::Topics;

/// A stream that nobody has read for so long is dropped, with what it has fetched.
const IDLE: Duration = Duration::from_secs(30);

/// Streams of one partition that wait for their reader; the one that waited longest makes room.
const WAITING: usize = 4;

/// The least and the most that one stream fetches ahead, in bytes. More than the most is slower: see `FETCH_BYTES`.
const PREFETCH: (usize, usize) = (256 << 10, 4 << 20);

/// How often the end of a partition is looked up for a reader that is beyond it.
const BEYOND: Duration = Duration::from_millis(50);

/// Where streams wait for their readers.
#[derive(Debug)]
pub(super) struct Readers {
    config: KafkaLogConfig,
    topics: Arc<Topics>,
    waiting: Mutex<HashMap<(String, Partition), Vec<Stream>>>,
    /// Bytes that streams may still fetch ahead.
    room: Arc<AtomicUsize>,
    sweeping: Mutex<bool>,
}

/// A partition, fetched from some offset on.
struct Stream {
    fetcher: Fetcher,
    wake: Arc<Notify>,
    /// The offset after the last record that was handed over.
    next: Offset,
    /// Where the partition ended when its end was reached; beyond `next` when the last offsets have no record.
    end: Offset,
    /// Whether the broker has answered: there was a record, or the end.
    answered: bool,
    used: Instant,
    _share: Share,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("next", &self.next).field("end", &self.end).finish_non_exhaustive()
    }
}

/// Bytes of the common room for fetching ahead, given back when dropped.
#[derive(Debug)]
struct Share {
    room: Arc<AtomicUsize>,
    bytes: usize,
}

impl Share {
    /// A quarter of what is left, so that the first streams are fast and any number stays within bounds.
    fn of(room: &Arc<AtomicUsize>) -> Self {
        let (least, most) = PREFETCH;
        let mut bytes = least;
        // Never fails: the closure always answers.
        let _ = room.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
            bytes = (left / 4).clamp(least, most);
            Some(left.saturating_sub(bytes))
        });
        Self { room: Arc::clone(room), bytes }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.fetch_add(self.bytes, Ordering::AcqRel);
    }
}

/// A stream on loan; goes back to where streams wait, also when the read is cancelled.
struct Loan<'a> {
    readers: &'a Readers,
    key: (String, Partition),
    stream: Option<Stream>,
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take() {
            self.readers.put_back(std::mem::take(&mut self.key), stream);
        }
    }
}

/// How taking records ended.
enum Taken {
    Records(Vec<Record>),
    Nothing,
    Failed(RDKafkaErrorCode),
}

impl Readers {
    pub(super) fn new(config: &KafkaLogConfig, topics: Arc<Topics>) -> Self {
        Self {
            config: config.clone(),
            topics,
            waiting: Mutex::default(),
            room: Arc::new(AtomicUsize::new(config.prefetch_bytes)),
            sweeping: Mutex::new(false),
        }
    }

    /// See [`tideline_common::ports::Log::read`].
    pub(super) async fn read(self: &Arc<Self>, request: &ReadRequest) -> PortResult<Vec<Record>> {
        let what = || format!("partition {} of topic {}", request.partition, request.topic);
        let deadline = Instant::now() + request.wait;
        if request.max_records == 0 {
            self.topics.require(&request.topic, request.partition).await?;
            return Ok(Vec::new());
        }
        loop {
            let mut loan = self.borrow(request).await?;
            // An answer of the broker is waited for in any case: until then nobody knows whether there is something.
            let patience = deadline.max(Instant::now() + self.config.request_timeout);
            let failed = loop {
                let Some(stream) = loan.stream.take() else {
                    return Err(PortError::unavailable(what(), "its stream was lost"));
                };
                let wake = Arc::clone(&stream.wake);
                let (stream, taken) = take(stream, request.max_records, request.max_bytes).await?;
                let answered = stream.answered;
                loan.stream = Some(stream);
                match taken {
                    Taken::Records(records) => return Ok(records),
                    Taken::Failed(code) => break code,
                    Taken::Nothing => {}
                }
                let until = if answered { deadline } else { patience };
                if tokio::time::timeout_at(until, wake.notified()).await.is_err() {
                    if answered {
                        return Ok(Vec::new());
                    }
                    return Err(PortError::unavailable(what(), "the broker does not answer"));
                }
            };
            if let Some(stream) = loan.stream.take() {
                discard(stream);
            }
            drop(loan);
            if !matches!(failed, RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) {
                if matches!(failed, RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) {
                    self.topics.forget(&request.topic);
                }
                return Err(error::of_code(what(), failed));
            }
            if !self.in_range(request, deadline).await? {
                return Ok(Vec::new());
            }
        }
    }

    /// Waits until the offset asked for is in the partition, or its end. False when that did not happen in time.
    async fn in_range(&self, request: &ReadRequest, deadline: Instant) -> PortResult<bool> {
        loop {
            let (first, next) = self.topics.bounds(&request.topic, request.partition).await?;
            if request.from < first {
                return Err(PortError::Expired { first });
            }
            if request.from <= next {
                return Ok(true);
            }
            let now = Instant::now();
            if now >= deadline {
                return Ok(false);
            }
            tokio::time::sleep_until(deadline.min(now + BEYOND)).await;
        }
    }

    /// See [`tideline_common::ports::Log::skip`].
    pub(super) fn skip(&self, topic: &str, partition: Partition, from: Offset) -> Offset {
        let waiting = self.waiting.lock();
        let streams = waiting.get(&(topic.to_owned(), partition)).map(Vec::as_slice).unwrap_or_default();
        streams.iter().filter(|s| s.stands_at(from)).map(|s| s.end).max().unwrap_or(from).max(from)
    }

    /// The stream that stands at the offset asked for, or a new one.
    async fn borrow(self: &Arc<Self>, request: &ReadRequest) -> PortResult<Loan<'_>> {
        let key = (request.topic.clone(), request.partition);
        let waits = {
            let mut waiting = self.waiting.lock();
            let streams = waiting.get_mut(&key);
            streams.and_then(|s| s.iter().position(|s| s.stands_at(request.from)).map(|at| s.swap_remove(at)))
        };
        if let Some(mut stream) = waits {
            stream.next = request.from;
            return Ok(Loan { readers: self, key, stream: Some(stream) });
        }
        self.topics.require(&request.topic, request.partition).await?;
        self.sweep();
        let readers = Arc::clone(self);
        let (topic, partition, from) = (request.topic.clone(), request.partition, request.from);
        let opened = tokio::task::spawn_blocking(move || readers.open(&topic, partition, from)).await;
        let stream = opened.map_err(|e| PortError::unavailable("a reader of Kafka", e))??;
        Ok(Loan { readers: self, key, stream: Some(stream) })
    }

    fn open(&self, topic: &str, partition: Partition, from: Offset) -> PortResult<Stream> {
        let what = || format!("partition {partition} of topic {topic}");
        let share = Share::of(&self.room);
        let config = self.config.reader(share.bytes);
        let client: BaseConsumer<Context> =
            config.create_with_context(Context::new("reader")).map_err(|e| error::port(what(), e))?;
        let offset = i64::try_from(from).map_err(|e| PortError::invalid(what(), e))?;
        let number = i32::try_from(partition).map_err(|e| PortError::invalid(what(), e))?;
        let wake = Arc::new(Notify::new());
        let fetcher = Fetcher::start(client, topic, number, offset, Arc::clone(&wake))
            .map_err(|code| error::of_code(what(), code))?;
        Ok(Stream { fetcher, wake, next: from, end: from, answered: false, used: Instant::now(), _share: share })
    }

    fn put_back(&self, key: (String, Partition), mut stream: Stream) {
        stream.used = Instant::now();
        let mut waiting = self.waiting.lock();
        let streams = waiting.entry(key).or_default();
        if streams.len() >= WAITING
            && let Some(oldest) = (0..streams.len()).min_by_key(|at| streams[*at].used)
        {
            discard(streams.swap_remove(oldest));
        }
        streams.push(stream);
    }

    /// Drops streams that nobody reads, now and then, until there are none.
    fn sweep(self: &Arc<Self>) {
        let mut sweeping = self.sweeping.lock();
        if *sweeping {
            return;
        }
        *sweeping = true;
        let readers = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(IDLE / 4).await;
                let Some(readers) = readers.upgrade() else { return };
                let mut sweeping = readers.sweeping.lock();
                let mut waiting = readers.waiting.lock();
                for streams in waiting.values_mut() {
                    for idle in streams.extract_if(.., |stream| stream.used.elapsed() >= IDLE) {
                        discard(idle);
                    }
                }
                waiting.retain(|_, streams| !streams.is_empty());
                // Streams on loan are not here; they come back, and the next new one sweeps again.
                if waiting.is_empty() {
                    *sweeping = false;
                    return;
                }
            }
        });
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        for (_, streams) in self.waiting.get_mut().drain() {
            streams.into_iter().for_each(discard);
        }
    }
}

/// Drops a stream where it may block: its client ends its threads.
fn discard(stream: Stream) {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(move || drop(stream))),
        Err(_) => drop(stream),
    }
}

/// Takes what is there, on a thread that may be kept busy.
async fn take(mut stream: Stream, max_records: usize, max_bytes: usize) -> PortResult<(Stream, Taken)> {
    let taken = tokio::task::spawn_blocking(move || {
        let taken = stream.take(max_records, max_bytes);
        (stream, taken)
    });
    taken.await.map_err(|e| PortError::unavailable("a reader of Kafka", e))
}

impl Stream {
    /// Whether the next record at or after `from` is the next one of this stream.
    const fn stands_at(&self, from: Offset) -> bool {
        self.next == from || (self.next < from && from <= self.end)
    }

    /// What has been fetched, within the bounds. Does not wait.
    fn take(&mut self, max_records: usize, max_bytes: usize) -> Taken {
        // Serves what else the client has to say; nothing of it belongs to the partition.
        while self.fetcher.client().poll(Duration::ZERO).is_some() {}
        let mut records = Vec::with_capacity(self.fetcher.waiting().min(max_records));
        let mut bytes = 0;
        while records.len() < max_records && (records.is_empty() || bytes < max_bytes) && self.fetcher.refill() {
            let plan = self.plan(max_records - records.len(), max_bytes.saturating_sub(bytes), records.is_empty());
            if plan.items > 0 {
                self.answered = true;
                self.copy(&plan, &mut records);
                bytes = bytes.saturating_add(plan.payload);
                self.fetcher.consume(plan.items);
                continue;
            }
            let end = match self.fetcher.items().next() {
                Some(Item::End(end)) => end,
                Some(Item::Failed(code)) if records.is_empty() => return Taken::Failed(code),
                // A failure waits until the records before it have been handed over; a record that is too large for
                // what is left waits as well.
                _ => break,
            };
            self.answered = true;
            self.end = self.end.max(end);
            self.fetcher.consume(1);
        }
        if records.is_empty() { Taken::Nothing } else { Taken::Records(records) }
    }

    /// How many of the messages at hand go into one answer.
    fn plan(&self, max_records: usize, max_bytes: usize, first: bool) -> Plan {
        let mut plan = Plan::default();
        for item in self.fetcher.items() {
            let Item::Message(message) = item else { break };
            let payload = message.payload().len();
            let room = plan.payload.saturating_add(payload) <= max_bytes || (first && plan.records == 0);
            if plan.records == max_records || !room {
                break;
            }
            plan.items += 1;
            // Records before the one asked for: a broker answers whole batches.
            if message.offset() >= self.next {
                plan.records += 1;
                plan.payload += payload;
                plan.arena += payload + message.key().map_or(0, <[u8]>::len);
            }
        }
        plan
    }

    /// Copies the messages of a plan into one piece of memory that their records share.
    fn copy(&mut self, plan: &Plan, records: &mut Vec<Record>) {
        let mut arena = Vec::with_capacity(plan.arena);
        for item in self.fetcher.items().take(plan.items) {
            if let Item::Message(message) = item
                && message.offset() >= self.next
            {
                arena.extend_from_slice(message.key().unwrap_or_default());
                arena.extend_from_slice(message.payload());
            }
        }
        let arena = Bytes::from(arena);
        let (mut at, mut next) = (0, self.next);
        for item in self.fetcher.items().take(plan.items) {
            let Item::Message(message) = item else { break };
            if message.offset() < self.next {
                continue;
            }
            let key = message.key().map(|key| {
                at += key.len();
                arena.slice(at - key.len()..at)
            });
            let payload = message.payload().len();
            records.push(Record {
                offset: message.offset(),
                appended: message.timestamp().map_or(Timestamp(0), Timestamp::from_millis),
                key,
                headers: headers(&message),
                payload: arena.slice(at..at + payload),
            });
            at += payload;
            next = message.offset() + 1;
        }
        self.next = next;
        self.end = self.end.max(next);
    }
}

/// What goes into one answer.
#[derive(Default)]
struct Plan {
    /// Messages, with those that are dropped.
    items: usize,
    records: usize,
    /// Bytes of payload.
    payload: usize,
    /// Bytes of payload and keys.
    arena: usize,
}

/// The headers of a message. Most have none.
fn headers(message: &Message<'_>) -> Vec<(String, Bytes)> {
    let mut headers = Vec::new();
    message.headers(|name, value| {
        headers.push((name.to_string_lossy().into_owned(), Bytes::copy_from_slice(value)));
    });
    headers
}
