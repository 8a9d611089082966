//! Runs: which there were, which there is, and what came of them. Bounded; lost with the process (the manifests
//! are what lasts).

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tideline_common::ports::Loaded;
use tideline_common::time::Timestamp;

use crate::bronze::BronzeCounts;
use crate::engine::GoldEngine;
use crate::gold::GoldCounts;
use crate::reports::ReportOutcome;
use crate::silver::SilverCounts;

/// Id of a run: a ULID, ordered by the time at which the run was asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct RunId(pub String);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It waits for the one before it.
    Queued,
    /// It works.
    Running,
    /// It has done its work (also when there was nothing to publish).
    Succeeded,
    /// It has published nothing.
    Failed,
}

/// What a run works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The speed layer writes down what it has.
    Seal,
    /// Bronze to Silver.
    Silver,
    /// Silver to Gold.
    Gold,
    /// Reports.
    Reports,
    /// The manifest.
    Publish,
    /// The store of analytics takes the version in.
    Load,
    /// What no version needs is deleted.
    Collect,
    /// Small files of Bronze are joined, and what retention does not keep is dropped.
    Bronze,
}

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RunReport {
    /// Its id.
    pub run: String,
    /// The version that it published; `None` when nothing had changed.
    pub published: Option<u64>,
    /// The version that is published now.
    pub version: u64,
    /// Bronze to Silver.
    pub silver: SilverCounts,
    /// Silver to Gold, by view.
    pub gold: BTreeMap<String, GoldCounts>,
    /// Which engine made the Gold of a view, of those with something to compute.
    pub engines: BTreeMap<String, GoldEngine>,
    /// How far batch answers now, by view.
    pub through: BTreeMap<String, Option<Timestamp>>,
    /// Reports, by name.
    pub reports: BTreeMap<String, ReportOutcome>,
    /// What the store of analytics took in; `None` without one, and when it failed (then there is a warning).
    pub loaded: Option<Loaded>,
    /// What went wrong without ending the run.
    pub warnings: Vec<String>,
    /// Objects deleted.
    pub deleted: u64,
    /// What was done to old Bronze.
    pub bronze: BronzeCounts,
    /// Milliseconds per stage.
    pub stages_ms: BTreeMap<Stage, u64>,
}

impl RunReport {
    /// Whether a report failed or a warning was given.
    pub fn is_clean(&self) -> bool {
        self.warnings.is_empty()
            && self.reports.values().all(|outcome| !matches!(outcome, ReportOutcome::Failed { .. }))
    }
}

/// A run, as the registry knows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunStatus {
    /// Its id.
    pub id: RunId,
    /// Where it is.
    pub state: RunState,
    /// What it works on, while it does.
    pub stage: Option<Stage>,
    /// When it was asked for.
    pub queued_at: Timestamp,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// What it did.
    pub report: Option<RunReport>,
    /// Why it failed.
    pub error: Option<String>,
}

/// The runs of this process, oldest first.
#[derive(Debug)]
pub(crate) struct Registry {
    runs: Mutex<VecDeque<RunStatus>>,
    history: usize,
}

impl Registry {
    pub(crate) const fn new(history: usize) -> Self {
        Self { runs: Mutex::new(VecDeque::new()), history }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<RunStatus>> {
        // A list of plain values: a panic elsewhere leaves it whole.
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a queued run and forgets the oldest finished ones.
    pub(crate) fn add(&self, id: RunId, now: Timestamp) {
        let mut runs = self.lock();
        runs.push_back(RunStatus {
            id,
            state: RunState::Queued,
            stage: None,
            queued_at: now,
            started_at: None,
            finished_at: None,
            report: None,
            error: None,
        });
        let mut finished = runs.iter().filter(|run| run.finished_at.is_some()).count();
        while finished > self.history {
            let Some(oldest) = runs.iter().position(|run| run.finished_at.is_some()) else { break };
            runs.remove(oldest);
            finished -= 1;
        }
    }

    /// The queued run, or a new one: whether it is new, and its id.
    pub(crate) fn queue(&self, new: impl FnOnce() -> RunId, now: Timestamp) -> (bool, RunId) {
        if let Some(queued) = self.lock().iter().find(|run| run.state == RunState::Queued) {
            return (false, queued.id.clone());
        }
        let id = new();
        self.add(id.clone(), now);
        (true, id)
    }

    pub(crate) fn update(&self, id: &RunId, change: impl FnOnce(&mut RunStatus)) {
        if let Some(run) = self.lock().iter_mut().rev().find(|run| run.id == *id) {
            change(run);
        }
    }

    pub(crate) fn get(&self, id: &RunId) -> Option<RunStatus> {
        self.lock().iter().rev().find(|run| run.id == *id).cloned()
    }

    /// All runs, newest first.
    pub(crate) fn all(&self) -> Vec<RunStatus> {
        self.lock().iter().rev().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn id(n: u32) -> RunId {
        RunId(format!("{n}"))
    }

    #[test]
    fn only_finished_runs_are_forgotten() {
        let registry = Registry::new(2);
        registry.add(id(0), Timestamp(0));
        for n in 1..6 {
            registry.add(id(n), Timestamp(0));
            registry.update(&id(n), |run| run.finished_at = Some(Timestamp(1)));
        }
        registry.add(id(6), Timestamp(0));
        let left: Vec<RunId> = registry.all().into_iter().map(|run| run.id).collect();
        assert_eq!(left, [id(6), id(5), id(4), id(0)]);
        assert!(registry.get(&id(1)).is_none());
    }

    #[test]
    fn at_most_one_run_waits() {
        let registry = Registry::new(2);
        let (new, first) = registry.queue(|| id(1), Timestamp(0));
        let (again, same) = registry.queue(|| id(2), Timestamp(0));
        assert!(new && !again && first == same);
        registry.update(&first, |run| run.state = RunState::Running);
        assert_eq!(registry.queue(|| id(3), Timestamp(0)), (true, id(3)));
    }
}
