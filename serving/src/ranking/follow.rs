//! Keeping one view's copy: loading it, taking in changes, judging whether it may answer.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tideline_common::changes::Change;
use tideline_common::ports::{PortResult, Progress, ViewSchema};
use tideline_common::position::{Partition, Shard};
use tideline_common::record::Record;
use tideline_common::time::Timestamp;
use tokio_util::sync::CancellationToken;

use super::kept::Finished;
use super::slot::{Budget, Slot};
use super::tail::Read;
use super::watch::Watched;
use super::{Because, Ports, RankingsConfig};
use crate::versions::Versions;

/// Rows taken in, or keys finished, while requests wait.
pub(super) const CHUNK: usize = 512;
/// A copy is read anew once in this part of its rows' time to live, and not more often than once a minute.
const RELOADS_PER_TTL: u32 = 20;
const RELOAD_MIN: Duration = Duration::from_mins(1);
/// A copy that lags for so many times the bound is read anew.
const HOPELESS_LAGS: u32 = 3;
/// The longest pause between attempts, in first pauses.
const PAUSES_MAX: u32 = 30;

/// The follower of one view.
#[derive(Debug)]
pub(crate) struct Follow {
    pub(super) slot: Arc<Slot>,
    pub(super) ports: Ports,
    pub(super) versions: Versions,
    pub(super) config: RankingsConfig,
    pub(super) schema: ViewSchema,
    pub(super) watched: Watched,
    budget: Arc<Budget>,
    /// The share of the budget that the copy has.
    bytes: usize,
    measured: Instant,
}

/// Progress that the copy should have come to by now.
type Goal = (Instant, Arc<[(Shard, Progress)]>);

impl Follow {
    pub(crate) fn new(
        slot: Arc<Slot>,
        ports: Ports,
        versions: Versions,
        config: RankingsConfig,
        watched: Watched,
        budget: Arc<Budget>,
    ) -> Self {
        let schema = ViewSchema::from(&slot.view);
        Self { slot, ports, versions, config, schema, watched, budget, bytes: 0, measured: Instant::now() }
    }

    /// Keeps the copy until `cancel`.
    pub(crate) async fn run(mut self, cancel: CancellationToken) {
        let mut pauses = 1;
        loop {
            let began = Instant::now();
            let ended = cancel.run_until_cancelled(self.keep()).await;
            let because = match ended {
                Some(Err(because)) => because,
                Some(Ok(never)) => match never {},
                None => Because::Loading,
            };
            self.slot.stand(Some(because), self.ports.clock.now());
            self.slot.put(None);
            self.budget.change(std::mem::take(&mut self.bytes), 0);
            let labels = [("view", self.slot.view.name.clone()), ("because", because.name().to_owned())];
            metrics::counter!("tideline_serving_rankings_reloads_total", &labels).increment(1);
            if began.elapsed() > self.config.retry_pause * PAUSES_MAX {
                pauses = 1;
            }
            let pause = match because {
                Because::Loading => Duration::ZERO,
                // The speed layer makes it as soon as it starts.
                Because::NoTopic => self.config.retry_pause,
                _ => self.config.retry_pause * pauses,
            };
            pauses = (pauses * 2).min(PAUSES_MAX);
            if cancel.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    async fn keep(&mut self) -> Result<Infallible, Because> {
        // Before any row is read: a generation that comes after it is seen below.
        let known = self.watched.generation.wait_for(Option::is_some);
        drop(tokio::time::timeout(self.config.read_timeout, known).await.map_err(|_| Because::StoreDown)?);
        self.watched.generation.mark_unchanged();
        let mut tail = self.load().await?;
        self.slot.stand(None, self.ports.clock.now());
        let reload = self.schema.ttl.map(|ttl| (ttl.to_std() / RELOADS_PER_TTL).max(RELOAD_MIN));
        let reload = tokio::time::sleep(reload.unwrap_or(Duration::MAX));
        tokio::pin!(reload);
        let mut tick = tokio::time::interval(self.config.refresh_interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut heard: BTreeMap<Partition, Instant> = tail.partitions().map(|at| (at, Instant::now())).collect();
        let (mut goal, mut manifest_due): (Option<Goal>, bool) = (None, false);
        loop {
            tokio::select! {
                read = tail.next() => match read {
                    Read::Records(partition, records) => {
                        heard.insert(partition, Instant::now());
                        self.take(&records, true).await?;
                    }
                    Read::Ended(because) => return Err(because),
                },
                changed = self.watched.manifest.changed() => {
                    changed.map_err(|_| Because::StoreDown)?;
                    manifest_due = true;
                }
                // A replay has made the rows anew: nobody tells of them in changes.
                changed = self.watched.generation.changed() => {
                    return Err(if changed.is_ok() { Because::Loading } else { Because::StoreDown });
                }
                _ = tick.tick() => {
                    if manifest_due {
                        // The copy answers by the manifest before until the new one can be read.
                        match self.adopt_manifest().await {
                            Ok(()) => manifest_due = false,
                            Err(Because::StoreDown) => {}
                            Err(because) => return Err(because),
                        }
                    }
                    self.judge(&heard, &mut goal)?;
                }
                () = &mut reload => return Err(Because::Loading),
            }
        }
    }

    /// Decides whether the copy may answer now.
    fn judge(&self, heard: &BTreeMap<Partition, Instant>, goal: &mut Option<Goal>) -> Result<(), Because> {
        let silent = heard.values().map(Instant::elapsed).max().unwrap_or_default();
        let reached = |(_, goal): &Goal| self.slot.read(|kept| kept.frontier.has_reached(goal)).unwrap_or_default();
        if goal.as_ref().is_none_or(reached) {
            let progress = self.watched.progress.borrow().clone();
            // While the progress cannot be read nothing is written either.
            *goal = progress.map(|all| {
                let of_view = all.iter().filter(|(shard, _)| self.slot.view.sources.contains(&shard.source));
                (Instant::now(), of_view.cloned().collect())
            });
        }
        let lag = goal.as_ref().filter(|goal| !reached(goal)).map_or(Duration::ZERO, |(since, _)| since.elapsed());
        if lag > self.config.max_lag * HOPELESS_LAGS {
            return Err(Because::Behind);
        }
        let because = if silent > self.config.max_lag {
            Some(Because::LogDown)
        } else if lag > self.config.max_lag {
            Some(Because::Behind)
        } else {
            None
        };
        self.slot.stand(because, self.ports.clock.now());
        Ok(())
    }

    /// Takes in records of changes. `ready`: the columns are in use and are kept finished.
    pub(super) async fn take(&mut self, records: &[Record], ready: bool) -> Result<(), Because> {
        for record in records {
            let (change, part) = match Change::decode_part(&record.payload, &self.schema) {
                Ok(Some(read)) => read,
                // Of another version of the view.
                Ok(None) => continue,
                Err(error) => {
                    let view = &self.slot.view.name;
                    tracing::error!(%error, view, offset = record.offset, "a change cannot be read");
                    return Err(Because::Damaged);
                }
            };
            if let Some(end) = self.slot.read(|kept| kept.moves_to(&change)).flatten() {
                self.slide(end, ready).await;
            }
            let mut ids = Vec::new();
            for from in (0..change.panes.len()).step_by(CHUNK) {
                let rows = from..change.panes.len().min(from + CHUNK);
                self.slot.write(|kept| {
                    ids.clear();
                    kept.apply(&change, rows, &mut ids);
                    if let Some(window) = kept.window().filter(|_| ready) {
                        ids.sort_unstable();
                        ids.dedup();
                        let finished = kept.finish(&ids, window, None);
                        kept.install(finished);
                    }
                });
                tokio::task::yield_now().await;
            }
            self.slot.write(|kept| kept.frontier.note(&change.shard, change.position, change.watermark, part));
        }
        if ready && !records.is_empty() {
            self.slot.tell();
        }
        if !records.is_empty() && self.measured.elapsed() > self.config.refresh_interval {
            self.check_size()?;
        }
        Ok(())
    }

    /// Moves the window on to `end`.
    pub(super) async fn slide(&mut self, end: Timestamp, ready: bool) {
        let Some((window, ids)) = self.slot.read(|kept| kept.leaving(end)) else { return };
        let mut finished = Finished::default();
        for ids in ids.chunks(CHUNK).take_while(|_| ready) {
            if let Some(some) = self.slot.read(|kept| kept.finish(ids, window, None)) {
                finished.append(some);
            }
            tokio::task::yield_now().await;
        }
        self.slot.write(|kept| kept.slide(window, finished));
    }

    /// Measures the copy, and says when it is too large.
    pub(super) fn check_size(&mut self) -> Result<(), Because> {
        let bytes = self.slot.measure();
        self.measured = Instant::now();
        if !self.budget.change(self.bytes, bytes) {
            return Err(Because::TooLarge);
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Reads from a store, within the bound on its time.
    pub(super) async fn read<T>(
        &self,
        store: &'static str,
        read: impl Future<Output = PortResult<T>>,
    ) -> Result<T, Because> {
        match tokio::time::timeout(self.config.read_timeout, read).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                tracing::debug!(%error, store, view = self.slot.view.name, "rankings cannot be loaded");
                Err(Because::StoreDown)
            }
            Err(_) => Err(Because::StoreDown),
        }
    }
}
