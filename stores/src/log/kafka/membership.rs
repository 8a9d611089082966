//! Membership as a consumer group: Kafka shares the partitions out, and nothing is ever fetched through it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use tideline_common::ports::{Handover, Membership, PortError, PortResult, Rebalance, Release, TopicPartition};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio_util::sync::CancellationToken;

use super::client::Context;
use super::config::KafkaLogConfig;
use super::error;

/// How often a wait looks whether the group is being left.
const TICK: Duration = Duration::from_millis(100);

/// Changes that may wait for a call of `next`.
const CHANGES: usize = 64;

/// A member that has not called `next` for so long is not polled for, so that the group's own clock starts.
const GRACE: Duration = Duration::from_secs(5);

/// A member of the group of [`KafkaLogConfig::group`].
///
/// One thread serves the group: it heartbeats, takes part in rebalances (cooperative and sticky: what stays is not
/// interrupted) and tells of them. Assigned partitions are paused at once.
///
/// - *Revoked* waits for the handover, at most [`KafkaLogConfig::handover_timeout`]; after that the partitions go
///   without it, and are told as lost.
/// - *Lost* is told when the group has given the partitions away by itself: the session had run out (the process was
///   stopped, or cut off), or nobody had called `next` for [`KafkaLogConfig::max_poll_interval`].
/// - A member that is dropped leaves the group in the background; one that is killed is found missing after
///   [`KafkaLogConfig::session_timeout`].
#[derive(Debug)]
pub struct KafkaMembership {
    config: KafkaLogConfig,
    member: Arc<Member>,
    changes: tokio::sync::Mutex<Option<Receiver<PortResult<Rebalance>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread, the callbacks and the callers share.
#[derive(Debug)]
pub(super) struct Member {
    /// Cancelled when the group is being left.
    leaving: CancellationToken,
    /// Calls of `next` that are waiting, and when the last one ended.
    waiting: AtomicUsize,
    awaited: Mutex<Instant>,
    joined: AtomicBool,
    consumer: Mutex<Weak<BaseConsumer<Rebalances>>>,
}

impl Member {
    /// The client that is the member, while there is one.
    pub(super) fn consumer(&self) -> Option<Arc<BaseConsumer<Rebalances>>> {
        self.consumer.lock().upgrade()
    }

    /// Whether somebody still listens for changes.
    fn is_attended(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0 || self.awaited.lock().elapsed() < GRACE
    }
}

/// Counts a call of `next` that waits.
struct Waiting<'a>(&'a Member);

impl<'a> Waiting<'a> {
    fn new(member: &'a Member) -> Self {
        member.waiting.fetch_add(1, Ordering::AcqRel);
        Self(member)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        *self.0.awaited.lock() = Instant::now();
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Receives rebalances, on the thread that polls.
pub(super) struct Rebalances {
    context: Context,
    member: Arc<Member>,
    changes: Sender<PortResult<Rebalance>>,
    handover_timeout: Duration,
}

/// Tells the thread that partitions have been put down.
#[derive(Debug)]
struct PutDown(SyncSender<()>);

impl Release for PutDown {
    fn release(&mut self) {
        // The thread may have given up waiting.
        let _ = self.0.try_send(());
    }
}

impl Rebalances {
    /// Tells of a change. When nobody listens any more, nobody works on the partitions either.
    fn tell(&self, change: Rebalance) {
        if self.changes.blocking_send(Ok(change)).is_err() {
            tracing::debug!("a rebalance that nobody waits for");
        }
    }

    fn assigned(&self, consumer: &BaseConsumer<Self>, list: &mut TopicPartitionList) {
        // From the end on: committed offsets are of no interest, and nothing is fetched anyway.
        let outcome = list
            .set_all_offsets(KafkaOffset::End)
            .and_then(|()| consumer.incremental_assign(list))
            .and_then(|()| if list.count() > 0 { consumer.pause(list) } else { Ok(()) });
        if let Err(error) = outcome {
            tracing::error!(%error, "an assignment of partitions could not be taken up");
        }
        let partitions = named(list);
        tracing::info!(?partitions, "partitions assigned");
        if !partitions.is_empty() {
            self.tell(Rebalance::Assigned(partitions));
        }
    }

    fn revoked(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let partitions = named(list);
        let lost = consumer.assignment_lost();
        tracing::info!(?partitions, lost, "partitions revoked");
        if !partitions.is_empty() && !self.member.leaving.is_cancelled() {
            if lost {
                self.tell(Rebalance::Lost(partitions));
            } else {
                let (put_down, waits) = sync_channel(1);
                let handover = Handover::new(PutDown(put_down));
                self.tell(Rebalance::Revoked { partitions: partitions.clone(), handover });
                if !self.handed_over(&waits) {
                    tracing::warn!(?partitions, "partitions were not put down in time, and are given away");
                    self.tell(Rebalance::Lost(partitions));
                }
            }
        }
        if let Err(error) = consumer.incremental_unassign(list) {
            // The group may have forgotten us meanwhile: then there is nothing to give away.
            tracing::warn!(%error, "revoked partitions could not be given away");
        }
    }

    /// Waits for the handover. False when it did not come in time.
    fn handed_over(&self, waits: &std::sync::mpsc::Receiver<()>) -> bool {
        let deadline = Instant::now() + self.handover_timeout;
        while Instant::now() < deadline && !self.member.leaving.is_cancelled() {
            match waits.recv_timeout(TICK) {
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return true,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        self.member.leaving.is_cancelled()
    }
}

impl ClientContext for Rebalances {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.context.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }
}

impl ConsumerContext for Rebalances {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, kind: RDKafkaRespErr, list: &mut TopicPartitionList) {
        match kind {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assigned(consumer, list),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => self.revoked(consumer, list),
            other => tracing::error!(error = %RDKafkaErrorCode::from(other), "a rebalance failed"),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(%error, "progress could not be noted");
        }
    }
}

fn named(list: &TopicPartitionList) -> Vec<TopicPartition> {
    list.elements().iter().map(|e| (e.topic().to_owned(), e.partition().unsigned_abs())).collect()
}

impl KafkaMembership {
    /// A member to be; it connects when it joins.
    ///
    /// # Errors
    /// `Invalid` for a configuration that cannot be.
    pub fn new(config: KafkaLogConfig) -> PortResult<Self> {
        config.check()?;
        let member = Member {
            leaving: CancellationToken::new(),
            waiting: AtomicUsize::new(0),
            awaited: Mutex::new(Instant::now()),
            joined: AtomicBool::new(false),
            consumer: Mutex::default(),
        };
        Ok(Self { config, member: Arc::new(member), changes: tokio::sync::Mutex::new(None), thread: Mutex::new(None) })
    }

    pub(super) fn member(&self) -> Weak<Member> {
        Arc::downgrade(&self.member)
    }

    fn left(&self) -> PortError {
        PortError::invalid(format!("group {}", self.config.group), "it has been left")
    }
}

impl Drop for KafkaMembership {
    fn drop(&mut self) {
        self.member.leaving.cancel();
    }
}

#[async_trait]
impl Membership for KafkaMembership {
    async fn join(&self, topics: &[String]) -> PortResult<()> {
        let what = format!("group {}", self.config.group);
        if self.member.leaving.is_cancelled() {
            return Err(self.left());
        }
        if self.member.joined.swap(true, Ordering::AcqRel) {
            return Err(PortError::invalid(what, "it has been joined already"));
        }
        let (sender, receiver) = mpsc::channel(CHANGES);
        let context = Rebalances {
            context: Context::new("membership"),
            member: Arc::clone(&self.member),
            changes: sender.clone(),
            handover_timeout: self.config.handover_timeout,
        };
        let made: KafkaResult<BaseConsumer<Rebalances>> = self.config.member().create_with_context(context);
        let consumer = Arc::new(made.map_err(|e| error::port(&what, e))?);
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).map_err(|e| error::port(&what, e))?;
        *self.member.consumer.lock() = Arc::downgrade(&consumer);
        *self.member.awaited.lock() = Instant::now();
        *self.changes.lock().await = Some(receiver);
        let member = Arc::clone(&self.member);
        let thread = std::thread::Builder::new().name("tideline-group".to_owned()).spawn(move || {
            serve(&consumer, &member, &sender);
            // Dropping it leaves the group.
            drop(consumer);
        });
        *self.thread.lock() = Some(thread.map_err(|e| PortError::io(&what, e))?);
        Ok(())
    }

    async fn next(&self) -> PortResult<Rebalance> {
        let _waiting = Waiting::new(&self.member);
        let mut changes = tokio::select! {
            changes = self.changes.lock() => changes,
            () = self.member.leaving.cancelled() => return Err(self.left()),
        };
        let Some(receiver) = changes.as_mut() else {
            return Err(PortError::invalid(format!("group {}", self.config.group), "it has not been joined"));
        };
        tokio::select! {
            () = self.member.leaving.cancelled() => Err(self.left()),
            change = receiver.recv() => change.unwrap_or_else(|| Err(self.left())),
        }
    }

    async fn leave(&self) -> PortResult<()> {
        self.member.leaving.cancel();
        // A change that nobody will take must not hold the thread up.
        drop(self.changes.lock().await.take());
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            let ended = tokio::task::spawn_blocking(move || thread.join().is_ok()).await;
            if !ended.unwrap_or(false) {
                tracing::error!("the thread of the group panicked");
            }
        }
        Ok(())
    }
}

/// Serves the group until it is left.
fn serve(consumer: &BaseConsumer<Rebalances>, member: &Member, changes: &Sender<PortResult<Rebalance>>) {
    let mut attended = true;
    while !member.leaving.is_cancelled() {
        if !member.is_attended() {
            if std::mem::replace(&mut attended, false) {
                tracing::warn!("nobody asks for changes of the group; its partitions will go to another process");
            }
            std::thread::sleep(TICK);
            continue;
        }
        attended = true;
        match consumer.poll(TICK) {
            // A record can slip through between the assignment and the pause.
            None | Some(Ok(_)) => {}
            Some(Err(error)) => {
                let port = error::port("the group", error);
                if port.is_retryable() {
                    tracing::debug!(error = %port, "membership");
                } else if changes.try_send(Err(port)).is_err() {
                    tracing::debug!("nobody takes the error of the group");
                }
            }
        }
    }
}
