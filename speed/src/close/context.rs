//! What all that is at work on one partition of a view's changes shares.

use std::sync::Arc;
use std::time::Duration;

use tideline_common::changes;
use tideline_common::plan::{Plan, ViewPlan};
use tideline_common::ports::{Clock, Log, Objects, PortResult, SpeedViews, Webhook};
use tideline_common::position::{Partition, Shard};

use super::config::CloseConfig;
use super::consumer::Consumers;
use super::marks::Ends;
use super::state::State;
use super::status::Cell;
use crate::context::persist;

/// What closing windows needs from the outside world, beside the group that shares the work.
#[derive(Clone, Debug)]
pub(super) struct Ports {
    pub(super) log: Arc<dyn Log>,
    pub(super) objects: Arc<dyn Objects>,
    pub(super) views: Arc<dyn SpeedViews>,
    pub(super) webhook: Arc<dyn Webhook>,
    pub(super) clock: Arc<dyn Clock>,
    /// Who waits for windows beside outputs and alerts.
    pub(super) others: Arc<dyn Consumers>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) plan: Arc<Plan>,
    pub(super) view: Arc<ViewPlan>,
    pub(super) partition: Partition,
    pub(super) ports: Ports,
    pub(super) config: Arc<CloseConfig>,
    pub(super) status: Arc<Cell>,
}

impl Context {
    /// What it is called in errors.
    pub(super) fn name(&self) -> String {
        format!("closing windows of view {}, partition {}", self.view.name, self.partition)
    }

    /// Labels of its metrics.
    pub(super) fn labels(&self) -> [(&'static str, String); 2] {
        [("view", self.view.name.clone()), ("partition", self.partition.to_string())]
    }

    pub(super) fn topic(&self) -> String {
        changes::topic(&self.view.name)
    }

    /// A state of which nothing is known yet.
    pub(super) fn fresh(&self) -> State {
        State::new(&self.plan, &self.view, self.partition, self.ports.others.as_ref())
    }

    /// The pause before attempt `attempt`, with jitter.
    pub(super) fn pause(&self, attempt: u32) -> Duration {
        let seed = xxhash_rust::xxh3::xxh3_64(self.view.name.as_bytes()) ^ self.ports.clock.now().0 as u64;
        self.config.pause(attempt, seed)
    }

    /// Calls until it works; while it does not, the status says why.
    ///
    /// # Errors
    /// What trying again does not help against.
    pub(super) async fn retry<T, F: Future<Output = PortResult<T>>>(
        &self,
        what: &'static str,
        call: impl FnMut() -> F,
    ) -> PortResult<T> {
        let told = |failure: Option<String>| {
            if failure.is_some() {
                metrics::counter!("tideline_close_retries_total", "view" => self.view.name.clone(), "what" => what)
                    .increment(1);
            }
            self.status.pause(failure);
        };
        persist(what, call, |attempt| self.pause(attempt), told).await
    }

    /// Where the partitions of the sources behind the view begin and end now.
    pub(super) async fn ends(&self) -> PortResult<Ends> {
        let mut ends = Ends::new();
        for source in self.plan.sources.iter().filter(|source| self.view.sources.contains(&source.name)) {
            let info = self.ports.log.topic(&source.topic).await?;
            let shard = |partition| Shard::new(&source.name, partition);
            ends.extend(info.partitions.into_iter().map(|(partition, range)| (shard(partition), range)));
        }
        Ok(ends)
    }
}
