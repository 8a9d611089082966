//! Rankings kept ready: the newest window of every view with `top`, in memory.
//!
//! A ranking needs every key of its window. Reading them from the stores takes as long as there are panes; so a copy of
//! the newest window's panes is kept (see [`kept`]), and brought up to date by what the speed layer appends to the
//! view's topic of changes. A request then reads no store at all.
//!
//! # How a copy is right
//! Changes are whole states of (shard, key, pane) as of a position, so of two for one row the one of the higher position
//! counts, and one that comes twice or late changes nothing. The speed layer writes the views first and appends the
//! changes after. A copy begins by noting the ends of the topic, then the progress of the shards, then it reads the
//! window from the store: whatever was appended before the ends is in what it reads, whatever comes after the ends it
//! will see. It counts as caught up when every shard has come past the progress that was read after the window. Each
//! record says which part of its change it is, so the copy knows up to which position it has everything, and says that
//! in the provenance. Panes below the boundary come from batch and are read once per manifest, whose panes never change.
//!
//! # When it does not answer
//! Whatever the copy cannot answer exactly is answered from the stores, as if there were no copy: another window than
//! the newest of the declared size, or the newest of these that has ended, one layer alone, a boundary that was moved, rows that may have expired; and every
//! request while a copy is loading, lags behind the speed layer, cannot read the log, or would need more memory than it
//! may have. [`Rankings::status`] and the metrics tell which. A copy that is in doubt is thrown away and read anew; as
//! the stores drop rows by their time to live, which no change tells, it is also read anew once in a twentieth of it.

mod batch;
mod follow;
mod frontier;
mod kept;
mod keys;
mod load;
mod sheet;
mod slot;
pub(crate) mod tail;
mod watch;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tideline_common::changes;
use tideline_common::manifest::Manifest;
use tideline_common::plan::{Plan, ViewPlan};
use tideline_common::ports::{Analytics, Clock, Log, Progress, SpeedViews};
use tideline_common::position::Shard;
use tideline_common::state::StateBatch;
use tideline_common::time::{Span, Timestamp};
use tokio::sync::watch::Receiver;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::boundary::Interval;
use crate::merge::TopRequest;
use crate::versions::Versions;
use slot::{Budget, Slot};

/// Bounds of rankings kept ready.
#[derive(Clone, Copy, Debug)]
pub struct RankingsConfig {
    /// Memory of the copies of all views, in bytes, estimated. A view that would need more is answered from the stores.
    pub max_bytes: usize,
    /// How often the newest manifest and the progress of the shards are looked at.
    pub refresh_interval: Duration,
    /// How long a copy may lag behind the speed views, or not hear from the log, before it no longer answers.
    pub max_lag: Duration,
    /// How long one read of a store may take.
    pub read_timeout: Duration,
    /// How long a copy may take to catch up with what was written while it was read.
    pub catch_up_timeout: Duration,
    /// How long to wait after a copy that could not be made, at first; up to 30 times as long when it goes on.
    pub retry_pause: Duration,
}

impl Default for RankingsConfig {
    fn default() -> Self {
        Self {
            max_bytes: 512 << 20,
            refresh_interval: Duration::from_millis(500),
            max_lag: Duration::from_secs(3),
            read_timeout: Duration::from_secs(30),
            catch_up_timeout: Duration::from_secs(10),
            retry_pause: Duration::from_secs(1),
        }
    }
}

/// Why a ranking is answered from the stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Because {
    /// The view has no `top`.
    NotKept,
    /// Another window than the newest of the declared size, or the newest that has ended of a view with many keys; or a
    /// view without data.
    OtherWindow,
    /// One layer alone, or a boundary that was moved.
    OtherLayer,
    /// Rows may have expired before batch took them in.
    Expired,
    /// The copy is being made.
    Loading,
    /// There is no topic of changes: the speed layer that makes it has not run yet.
    NoTopic,
    /// The log cannot be read.
    LogDown,
    /// A store from which the copy is made cannot be read.
    StoreDown,
    /// The speed views are ahead of the changes.
    Behind,
    /// The copy would need more memory than it may have, or merge too many panes.
    TooLarge,
    /// A change could not be read.
    Damaged,
}

impl Because {
    /// Its name in metrics and in the status.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotKept => "not_kept",
            Self::OtherWindow => "other_window",
            Self::OtherLayer => "other_layer",
            Self::Expired => "expired",
            Self::Loading => "loading",
            Self::NoTopic => "no_topic",
            Self::LogDown => "log_down",
            Self::StoreDown => "store_down",
            Self::Behind => "behind",
            Self::TooLarge => "too_large",
            Self::Damaged => "damaged",
        }
    }
}

/// Where a view's copy stands.
#[derive(Clone, Debug, Serialize)]
pub struct RankingStatus {
    /// Whether it answers.
    pub ready: bool,
    /// Why it does not.
    pub because: Option<Because>,
    /// Since when it stands like this, RFC 3339.
    pub since: String,
    /// Keys in the window.
    pub keys: usize,
    /// Rows in memory: one per pane, key and shard.
    pub rows: usize,
    /// Memory, in bytes, estimated.
    pub bytes: usize,
}

/// A ranking out of memory, with what its answer is made from.
#[derive(Debug)]
pub(crate) struct Ready {
    /// Keys and merged states, in the order of the ranking.
    pub(crate) rows: StateBatch,
    /// If it was asked for: merged states of the same keys in the window one slide before, and whether they have any.
    pub(crate) previous: Option<(StateBatch, Vec<bool>)>,
    /// The window.
    pub(crate) window: Interval,
    /// The manifest that the batch part is of.
    pub(crate) manifest: Option<Arc<Manifest>>,
    /// How far every shard is in.
    pub(crate) progress: Vec<(Shard, Progress)>,
}

/// What copies are made from.
#[derive(Clone, Debug)]
struct Ports {
    log: Arc<dyn Log>,
    views: Arc<dyn SpeedViews>,
    analytics: Arc<dyn Analytics>,
    clock: Arc<dyn Clock>,
}

/// See the module.
pub struct Rankings {
    slots: Vec<Arc<Slot>>,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl fmt::Debug for Rankings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rankings").field("slots", &self.slots).finish_non_exhaustive()
    }
}

impl Drop for Rankings {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Rankings {
    /// Begins to keep the rankings of every view of `plan` that has [some](changes::ranked), in the
    /// background, until `cancel` or until it is dropped. To be called within a Tokio runtime; no store has to be
    /// there yet.
    pub fn start(
        plan: &Arc<Plan>,
        log: Arc<dyn Log>,
        views: Arc<dyn SpeedViews>,
        analytics: Arc<dyn Analytics>,
        clock: Arc<dyn Clock>,
        config: RankingsConfig,
        cancel: &CancellationToken,
    ) -> Arc<Self> {
        let (cancel, tasks) = (cancel.child_token(), TaskTracker::new());
        let ports = Ports { log, views, analytics, clock };
        let versions = Versions::of(plan);
        let wanted: Vec<&ViewPlan> = plan.views.iter().filter(|view| changes::ranked(view)).collect();
        let mut slots = Vec::with_capacity(wanted.len());
        if !wanted.is_empty() {
            let (watched, watching) = watch::watch(ports.clone(), versions.clone(), config);
            tasks.spawn({
                let cancel = cancel.clone();
                async move {
                    cancel.run_until_cancelled(watching).await;
                }
            });
            let budget = Arc::new(Budget::new(config.max_bytes));
            for view in wanted {
                let slot = Arc::new(Slot::new(view.clone(), ports.clock.now()));
                let follow = follow::Follow::new(
                    Arc::clone(&slot),
                    ports.clone(),
                    versions.clone(),
                    config,
                    watched.clone(),
                    Arc::clone(&budget),
                );
                tasks.spawn(follow.run(cancel.clone()));
                slots.push(slot);
            }
        }
        tasks.close();
        Arc::new(Self { slots, tasks, cancel })
    }

    /// Stops, and waits until everything has stopped.
    pub async fn stop(&self) {
        self.cancel.cancel();
        self.tasks.wait().await;
    }

    /// Where the copy of each view stands, by view.
    pub fn status(&self) -> BTreeMap<String, RankingStatus> {
        self.slots.iter().map(|slot| (slot.view.name.clone(), slot.status())).collect()
    }

    /// Changes whenever the answer of a view may have; `None` for a view whose rankings are not kept.
    pub(crate) fn changes(&self, view: &ViewPlan) -> Option<Receiver<u64>> {
        self.slot(view).map(|slot| slot.changes())
    }

    fn slot(&self, view: &ViewPlan) -> Option<&Arc<Slot>> {
        self.slots.iter().find(|slot| slot.view.name == view.name && slot.view.version == view.version)
    }

    /// The first `limit` keys of a view's window by answer column `by`, from memory. `size` is the window's size; which
    /// one it is, and whether the one before is wanted too, the request says.
    pub(crate) fn top(
        &self,
        view: &ViewPlan,
        by: usize,
        limit: usize,
        size: Span,
        request: &TopRequest,
        now: Timestamp,
    ) -> Result<Ready, Because> {
        let slot = self.slot(view).ok_or(Because::NotKept)?;
        if size != view.window.size {
            return Err(Because::OtherWindow);
        }
        slot.top(by, limit, request.at, request.previous, now)
    }
}
