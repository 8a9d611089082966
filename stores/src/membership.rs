//! Membership of one process that does everything.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tideline_common::ports::{Log, Membership, PortError, PortResult, Rebalance, TopicPartition};
use tokio::sync::{Mutex, watch};

/// Assigns every partition of the topics to this process, those that are added later too.
#[derive(Debug)]
pub struct Everything {
    log: Arc<dyn Log>,
    interval: Duration,
    state: Mutex<State>,
    left: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    topics: Option<Vec<String>>,
    assigned: BTreeSet<TopicPartition>,
}

impl Everything {
    /// All partitions of topics of `log`; new ones are looked for every `interval`.
    pub fn new(log: Arc<dyn Log>, interval: Duration) -> Self {
        Self { log, interval, state: Mutex::default(), left: watch::Sender::new(false) }
    }

    /// Partitions that are not assigned yet.
    async fn look(&self, topics: &[String], assigned: &BTreeSet<TopicPartition>) -> PortResult<Vec<TopicPartition>> {
        let mut new = Vec::new();
        for topic in topics {
            let info = self.log.topic(topic).await?;
            let all = info.partitions.into_keys().map(|partition| (topic.clone(), partition));
            new.extend(all.filter(|partition| !assigned.contains(partition)));
        }
        Ok(new)
    }
}

/// What everything there is is called in errors.
const WHAT: &str = "the membership of this process";

#[async_trait]
impl Membership for Everything {
    async fn join(&self, topics: &[String]) -> PortResult<()> {
        let mut state = self.state.lock().await;
        if state.topics.is_some() {
            return Err(PortError::invalid(WHAT, "it has been joined already"));
        }
        let topics: BTreeSet<String> = topics.iter().cloned().collect();
        state.topics = Some(topics.into_iter().collect());
        Ok(())
    }

    async fn next(&self) -> PortResult<Rebalance> {
        let mut left = self.left.subscribe();
        let search = async {
            let mut state = self.state.lock().await;
            let State { topics, assigned } = &mut *state;
            let topics = topics.as_ref().ok_or_else(|| PortError::invalid(WHAT, "it has not been joined"))?;
            // At once the first time, and as long as there is something new.
            loop {
                match self.look(topics, assigned).await {
                    Ok(new) if !new.is_empty() => {
                        assigned.extend(new.iter().cloned());
                        return Ok(Rebalance::Assigned(new));
                    }
                    Ok(_) => {}
                    // The topics exist, and the log may come back.
                    Err(error) if error.is_retryable() => tracing::warn!(%error, "partitions could not be looked up"),
                    Err(error) => return Err(error),
                }
                tokio::time::sleep(self.interval).await;
            }
        };
        tokio::select! {
            biased;
            _ = left.wait_for(|left| *left) => Err(PortError::invalid(WHAT, "it has been left")),
            change = search => change,
        }
    }

    async fn leave(&self) -> PortResult<()> {
        self.left.send_replace(true);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use tideline_common::ports::{Appended, ReadRequest, TopicInfo, TopicSpec};
    use tideline_common::position::{Offset, Partition};
    use tideline_common::record::{NewRecord, Record};
    use tideline_common::time::Timestamp;

    use super::*;
    use crate::conformance::membership::{GroupFixture, suite};

    /// A log of which only the topics are looked at. It fails every third time.
    #[derive(Debug, Default)]
    struct Topics {
        partitions: parking_lot::Mutex<BTreeMap<String, u32>>,
        asked: std::sync::atomic::AtomicUsize,
    }

    #[async_trait]
    impl Log for Topics {
        async fn ensure_topic(&self, spec: &TopicSpec) -> PortResult<()> {
            self.partitions.lock().insert(spec.name.clone(), spec.partitions);
            Ok(())
        }

        async fn topics(&self) -> PortResult<Vec<TopicInfo>> {
            Err(PortError::unavailable("topics", "not asked for"))
        }

        async fn topic(&self, name: &str) -> PortResult<TopicInfo> {
            if self.asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed).is_multiple_of(3) {
                return Err(PortError::unavailable(name, "away for a moment"));
            }
            let partitions = self.partitions.lock().get(name).copied();
            let partitions = partitions.ok_or_else(|| PortError::NotFound { what: name.to_owned() })?;
            Ok(TopicInfo { name: name.to_owned(), partitions: (0..partitions).map(|p| (p, (0, 0))).collect() })
        }

        async fn append(&self, topic: &str, _: Vec<NewRecord>, _: Timestamp) -> PortResult<Appended> {
            Err(PortError::unavailable(topic, "not asked for"))
        }

        async fn append_to(
            &self,
            topic: &str,
            _: Partition,
            _: Vec<NewRecord>,
            _: Timestamp,
        ) -> PortResult<(Offset, Offset)> {
            Err(PortError::unavailable(topic, "not asked for"))
        }

        async fn read(&self, request: &ReadRequest) -> PortResult<Vec<Record>> {
            Err(PortError::unavailable(&request.topic, "not asked for"))
        }

        async fn commit_hint(&self, _: &str, topic: &str, _: Partition, _: Offset) -> PortResult<()> {
            Err(PortError::unavailable(topic, "not asked for"))
        }

        async fn expire(&self, _: Timestamp, _: &BTreeMap<(String, Partition), Offset>) -> PortResult<u64> {
            Ok(0)
        }
    }

    #[async_trait]
    impl GroupFixture for Arc<Topics> {
        async fn topic(&mut self, name: &str, partitions: u32) -> String {
            let spec = TopicSpec { name: name.to_owned(), partitions, retention: None, max_bytes: None };
            self.ensure_topic(&spec).await.unwrap();
            name.to_owned()
        }

        async fn member(&mut self) -> Arc<dyn Membership> {
            let log: Arc<dyn Log> = Arc::<Topics>::clone(self);
            Arc::new(Everything::new(log, Duration::from_millis(10)))
        }
    }

    #[tokio::test]
    async fn everything_is_a_membership() {
        suite(Arc::<Topics>::default, false).await;
    }

    #[tokio::test]
    async fn a_topic_that_is_not_there_is_an_error() {
        let membership = Everything::new(Arc::<Topics>::default(), Duration::from_millis(1));
        membership.join(&["none".to_owned()]).await.unwrap();
        let error = membership.next().await.unwrap_err();
        assert!(matches!(error, PortError::NotFound { .. }), "{error:?}");
    }
}
