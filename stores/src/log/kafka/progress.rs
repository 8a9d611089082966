//! Progress of groups, committed to Kafka so that its tools can show the lag. Nothing ever reads it here.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use tideline_common::ports::PortResult;
use tideline_common::position::{Offset, Partition};

use super::client::Context;
use super::config::KafkaLogConfig;
use super::error;
use super::membership::Member;

/// The progress of a partition is committed at most once in this time.
const INTERVAL: Duration = Duration::from_secs(5);

/// Groups that progress is noted for, each with a client of its own. What is beyond is not noted.
const GROUPS: usize = 8;

/// Commits progress.
pub(super) struct Progress {
    config: KafkaLogConfig,
    /// Our member of the configured group: while a group has members, only they may commit.
    member: Mutex<Weak<Member>>,
    committers: Mutex<HashMap<String, Arc<BaseConsumer<Context>>>>,
    noted: Mutex<HashMap<(String, String, Partition), Instant>>,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress").field("partitions", &self.noted.lock().len()).finish_non_exhaustive()
    }
}

impl Progress {
    pub(super) fn new(config: KafkaLogConfig) -> Self {
        Self { config, member: Mutex::default(), committers: Mutex::default(), noted: Mutex::default() }
    }

    /// From now on the configured group's progress is committed by this member.
    pub(super) fn through(&self, member: Weak<Member>) {
        *self.member.lock() = member;
    }

    /// Whether it is time to commit the progress of a partition again.
    pub(super) fn is_due(&self, group: &str, topic: &str, partition: Partition) -> bool {
        let mut noted = self.noted.lock();
        let key = (group.to_owned(), topic.to_owned(), partition);
        let due = noted.get(&key).is_none_or(|at| at.elapsed() >= INTERVAL);
        if due {
            noted.insert(key, Instant::now());
        }
        due
    }

    /// Hands the commit to a client, which sends it in its own time. May block for a moment.
    pub(super) fn note(&self, group: &str, topic: &str, partition: Partition, next: Offset) -> PortResult<()> {
        let what = || format!("progress of group {group}");
        let mut list = TopicPartitionList::new();
        let offset = KafkaOffset::Offset(i64::try_from(next).unwrap_or(i64::MAX));
        list.add_partition_offset(topic, partition as i32, offset).map_err(|e| error::port(what(), e))?;
        let member = if group == self.config.group { self.member.lock().upgrade() } else { None };
        let sent = match member.as_ref().and_then(|member| member.consumer()) {
            // The group refuses a member that it has given up, but not one that has joined again and has other
            // partitions now: it must not set back what whoever has this one commits.
            Some(consumer) => match consumer.assignment() {
                Ok(mine) if mine.find_partition(topic, partition as i32).is_none() => Ok(()),
                Ok(_) => commit(&consumer, &list),
                Err(error) => Err(error),
            },
            None => match self.committer(group)? {
                Some(consumer) => {
                    // Takes in the outcome of earlier ones.
                    while consumer.poll(Duration::ZERO).is_some() {}
                    commit(&consumer, &list)
                }
                None => Ok(()),
            },
        };
        sent.map_err(|e| error::port(what(), e))
    }

    fn committer(&self, group: &str) -> PortResult<Option<Arc<BaseConsumer<Context>>>> {
        let mut committers = self.committers.lock();
        if let Some(consumer) = committers.get(group) {
            return Ok(Some(Arc::clone(consumer)));
        }
        if committers.len() >= GROUPS {
            tracing::debug!(group, "progress is not noted: too many groups");
            return Ok(None);
        }
        let made: KafkaResult<BaseConsumer<Context>> =
            self.config.committer(group).create_with_context(Context::new("progress"));
        let made = Arc::new(made.map_err(|e| error::port(format!("progress of group {group}"), e))?);
        committers.insert(group.to_owned(), Arc::clone(&made));
        Ok(Some(made))
    }
}

fn commit<C: ConsumerContext>(consumer: &BaseConsumer<C>, list: &TopicPartitionList) -> KafkaResult<()> {
    consumer.commit(list, CommitMode::Async)
}
