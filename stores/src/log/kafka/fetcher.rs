//! Takes what librdkafka has fetched of one partition, many records at a time.
//!
//! The safe interface of the rdkafka crate hands over one record per call, with an allocation and an event each; that
//! costs more than everything else that is done to a record here (`bench/src/bin/kafka_consume.rs` measures both).
//! `rd_kafka_consume_batch_queue` hands over as many as there are.
#![allow(unsafe_code, reason = "consuming in batches is not in the safe interface of rdkafka, and it is the hot path")]

use std::ffi::{CStr, CString, c_void};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;

use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::{RDKafka, RDKafkaErrorCode, RDKafkaMessage, RDKafkaQueue, RDKafkaTopic};
use tideline_common::position::Offset;
use tokio::sync::Notify;

use super::client::Context;

/// The most records that are taken at once: as many as share one piece of memory.
const TAKE: usize = 512;

/// One partition, being fetched from one offset on for as long as this lives.
pub(super) struct Fetcher {
    /// Taken and not consumed yet are those from `consumed` on.
    taken: Vec<*mut RDKafkaMessage>,
    consumed: usize,
    queue: NonNull<RDKafkaQueue>,
    topic: NonNull<RDKafkaTopic>,
    partition: i32,
    /// Its address is the opaque of the queue's callback.
    wake: Arc<Notify>,
    /// Dropped after everything above was given back.
    client: BaseConsumer<Context>,
}

// SAFETY: librdkafka is thread safe; the pointers are owned by this value alone and are not tied to a thread.
unsafe impl Send for Fetcher {}
// SAFETY: everything that changes the fetcher takes `&mut self`; with `&self` messages are only read.
unsafe impl Sync for Fetcher {}

/// What comes next in a partition.
pub(super) enum Item<'a> {
    /// A record.
    Message(Message<'a>),
    /// The partition ended before this offset when it was last looked at.
    End(Offset),
    /// Fetching has failed.
    Failed(RDKafkaErrorCode),
}

/// A record in the memory of librdkafka.
pub(super) struct Message<'a>(&'a RDKafkaMessage);

/// Tells whoever waits that the queue is no longer empty.
unsafe extern "C" fn wake(_client: *mut RDKafka, opaque: *mut c_void) {
    // SAFETY: the opaque is the address of a `Notify` that the fetcher holds until the callback has been taken away;
    // librdkafka calls it and takes it away under the same lock.
    let wake = unsafe { &*opaque.cast::<Notify>() };
    wake.notify_one();
}

impl Fetcher {
    /// Begins to fetch `partition` of `topic` from `from` on. `wake` is notified when something has come.
    pub(super) fn start(
        client: BaseConsumer<Context>,
        topic: &str,
        partition: i32,
        from: i64,
        notify: Arc<Notify>,
    ) -> Result<Self, RDKafkaErrorCode> {
        let name = CString::new(topic).map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
        let native = client.client().native_ptr();
        // SAFETY: `native` is alive as long as `client`; a null configuration stands for the client's own.
        let topic = unsafe { sys::rd_kafka_topic_new(native, name.as_ptr(), ptr::null_mut()) };
        let topic = NonNull::new(topic).ok_or_else(last_error)?;
        // SAFETY: `native` is alive; a queue that is made here is given back in `drop`.
        let queue = unsafe { NonNull::new(sys::rd_kafka_queue_new(native)) };
        let Some(queue) = queue else {
            // SAFETY: made above, and not used again.
            unsafe { sys::rd_kafka_topic_destroy(topic.as_ptr()) };
            return Err(last_error());
        };
        let fetcher =
            Self { taken: Vec::with_capacity(TAKE), consumed: 0, queue, topic, partition, wake: notify, client };
        let opaque = Arc::as_ptr(&fetcher.wake).cast_mut().cast();
        // SAFETY: queue and topic are alive, and so is the opaque until `drop` takes the callback away.
        let started = unsafe {
            sys::rd_kafka_queue_cb_event_enable(queue.as_ptr(), Some(wake), opaque);
            sys::rd_kafka_consume_start_queue(topic.as_ptr(), partition, from, queue.as_ptr())
        };
        if started == 0 { Ok(fetcher) } else { Err(last_error()) }
    }

    /// The client, to serve its other events.
    pub(super) fn client(&self) -> &BaseConsumer<Context> {
        &self.client
    }

    /// Takes more when all that was taken has been consumed. Does not wait. Whether there is something.
    pub(super) fn refill(&mut self) -> bool {
        if self.consumed < self.taken.len() {
            return true;
        }
        self.taken.clear();
        self.consumed = 0;
        // SAFETY: the vector has room for `TAKE` pointers, and the call writes at most that many.
        let count = unsafe {
            sys::rd_kafka_consume_batch_queue(self.queue.as_ptr(), 0, self.taken.as_mut_ptr(), self.taken.capacity())
        };
        let count = usize::try_from(count).unwrap_or(0);
        // SAFETY: the call has written `count` pointers to messages that are ours now.
        unsafe { self.taken.set_len(count) };
        count > 0
    }

    /// How many items there are about: some may have been overtaken by events.
    pub(super) fn waiting(&self) -> usize {
        // SAFETY: the queue is alive until `drop`.
        let queued = unsafe { sys::rd_kafka_queue_length(self.queue.as_ptr()) };
        queued + self.taken.len() - self.consumed
    }

    /// What has been taken and not consumed.
    pub(super) fn items(&self) -> impl Iterator<Item = Item<'_>> {
        self.taken[self.consumed..].iter().map(|message| {
            // SAFETY: the pointer is valid until `consume` or `drop` gives the message back, which needs `&mut self`.
            let message = unsafe { &**message };
            match RDKafkaErrorCode::from(message.err) {
                RDKafkaErrorCode::NoError => Item::Message(Message(message)),
                RDKafkaErrorCode::PartitionEOF => Item::End(message.offset.max(0).unsigned_abs()),
                code => Item::Failed(code),
            }
        })
    }

    /// Gives the next `count` items back to librdkafka.
    pub(super) fn consume(&mut self, count: usize) {
        let until = (self.consumed + count).min(self.taken.len());
        for message in &self.taken[self.consumed..until] {
            // SAFETY: ours, given back once: `consumed` moves past it.
            unsafe { sys::rd_kafka_message_destroy(*message) };
        }
        self.consumed = until;
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        self.consume(usize::MAX - self.consumed);
        // SAFETY: all three are alive and are not used after this; once the callback has been taken away nobody holds
        // the address of `wake`. The client is dropped after them.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, ptr::null_mut());
            sys::rd_kafka_consume_stop(self.topic.as_ptr(), self.partition);
            sys::rd_kafka_queue_destroy(self.queue.as_ptr());
            sys::rd_kafka_topic_destroy(self.topic.as_ptr());
        }
    }
}

/// The error of the last call of this thread.
fn last_error() -> RDKafkaErrorCode {
    // SAFETY: reads a variable of this thread.
    unsafe { sys::rd_kafka_last_error() }.into()
}

impl<'a> Message<'a> {
    pub(super) fn offset(&self) -> Offset {
        self.0.offset.max(0).unsigned_abs()
    }

    pub(super) fn key(&self) -> Option<&'a [u8]> {
        // SAFETY: librdkafka says where the key is and how long, for as long as the message lives.
        unsafe { bytes(self.0.key, self.0.key_len) }
    }

    /// The payload; a record without one (a tombstone) has an empty one.
    pub(super) fn payload(&self) -> &'a [u8] {
        // SAFETY: as for the key.
        unsafe { bytes(self.0.payload, self.0.len) }.unwrap_or_default()
    }

    /// The timestamp in milliseconds, if it has one.
    pub(super) fn timestamp(&self) -> Option<i64> {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive, and the kind is written.
        let time = unsafe { sys::rd_kafka_message_timestamp(self.0, &raw mut kind) };
        (time >= 0).then_some(time)
    }

    /// Calls `each` with name and value of every header, in order.
    pub(super) fn headers(&self, mut each: impl FnMut(&CStr, &[u8])) {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is alive; the headers belong to it.
        let error = unsafe { sys::rd_kafka_message_headers(self.0, &raw mut headers) };
        if error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return;
        }
        for index in 0.. {
            let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the headers are alive; an index beyond their end is answered with an error.
            let error =
                unsafe { sys::rd_kafka_header_get_all(headers, index, &raw mut name, &raw mut value, &raw mut length) };
            if error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return;
            }
            // SAFETY: the name ends with a zero byte, the value has `length` bytes; both belong to the message.
            let (name, value) = unsafe { (CStr::from_ptr(name), bytes(value.cast_mut(), length)) };
            each(name, value.unwrap_or_default());
        }
    }
}

/// The bytes at an address, if it is one.
///
/// # Safety
/// They must be there, unchanged, for as long as `'a`.
unsafe fn bytes<'a>(address: *mut c_void, length: usize) -> Option<&'a [u8]> {
    if address.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    Some(unsafe { slice::from_raw_parts(address.cast(), length) })
}
