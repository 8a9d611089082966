//! Who works on what, as a test says.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tideline_common::ports::{Handover, Membership, PortResult, Rebalance, Release, TopicPartition};
use tokio::sync::{Notify, oneshot};

use super::faults::Faults;
use super::log::MemoryLog;

/// What one process is told. Without a script it is given everything that the log has when it joins.
#[derive(Debug)]
pub struct Script {
    everything: Option<Arc<MemoryLog>>,
    changes: Mutex<VecDeque<Rebalance>>,
    came: Notify,
    pub topics: Mutex<Vec<String>>,
    pub left: Mutex<bool>,
}

/// Ends when a handover has been dropped.
pub type Released = oneshot::Receiver<()>;

#[derive(Debug)]
struct Tell(Option<oneshot::Sender<()>>);

impl Release for Tell {
    fn release(&mut self) {
        if let Some(sender) = self.0.take() {
            // Who does not wait does not care.
            let _ = sender.send(());
        }
    }
}

impl Script {
    /// Everything of the log.
    pub fn everything(log: &Arc<MemoryLog>) -> Arc<Self> {
        Arc::new(Self { everything: Some(Arc::clone(log)), ..Self::empty() })
    }

    /// Nothing, until it is told.
    pub fn nothing() -> Arc<Self> {
        Arc::new(Self::empty())
    }

    fn empty() -> Self {
        Self {
            everything: None,
            changes: Mutex::default(),
            came: Notify::new(),
            topics: Mutex::default(),
            left: Mutex::new(false),
        }
    }

    fn tell(&self, change: Rebalance) {
        self.changes.lock().push_back(change);
        self.came.notify_one();
    }

    pub fn assign(&self, partitions: &[TopicPartition]) {
        self.tell(Rebalance::Assigned(partitions.to_vec()));
    }

    pub fn revoke(&self, partitions: &[TopicPartition]) -> Released {
        let (sender, released) = oneshot::channel();
        let handover = Handover::new(Tell(Some(sender)));
        self.tell(Rebalance::Revoked { partitions: partitions.to_vec(), handover });
        released
    }

    pub fn lose(&self, partitions: &[TopicPartition]) {
        self.tell(Rebalance::Lost(partitions.to_vec()));
    }
}

/// The group as one process sees it.
#[derive(Debug)]
pub struct FaultyMembership(pub Arc<Script>, pub Arc<Faults>);

#[async_trait]
impl Membership for FaultyMembership {
    async fn join(&self, topics: &[String]) -> PortResult<()> {
        let work = async {
            *self.0.topics.lock() = topics.to_vec();
            if let Some(log) = &self.0.everything {
                let mut all = Vec::new();
                for topic in topics {
                    all.extend(log.partitions(topic).map(|partition| (topic.clone(), partition)));
                }
                self.0.assign(&all);
            }
            Ok(())
        };
        self.1.call("membership join", work).await
    }

    async fn next(&self) -> PortResult<Rebalance> {
        // A change that is there is never lost.
        self.1.call("membership next", async { Ok(()) }).await?;
        loop {
            let came = self.0.came.notified();
            if let Some(change) = self.0.changes.lock().pop_front() {
                return Ok(change);
            }
            came.await;
        }
    }

    async fn leave(&self) -> PortResult<()> {
        let work = async {
            *self.0.left.lock() = true;
            Ok(())
        };
        self.1.call("membership leave", work).await
    }
}
