//! The place of one view's copy: what requests read and its follower writes.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};
use tideline_common::plan::ViewPlan;
use tideline_common::time::Timestamp;
use tokio::sync::watch;

use super::kept::Kept;
use super::{Because, RankingStatus, Ready};
use crate::merge::At;

/// Memory that the copies of all views share.
#[derive(Debug)]
pub(crate) struct Budget {
    max: usize,
    used: AtomicUsize,
}

impl Budget {
    pub(crate) const fn new(max: usize) -> Self {
        Self { max, used: AtomicUsize::new(0) }
    }

    /// Changes the share of a copy from `old` to `new` bytes; `false` when that is too much together, and the share
    /// stays.
    pub(crate) fn change(&self, old: usize, new: usize) -> bool {
        let fits = |used: usize| Some(used - old + new).filter(|sum| new <= old || *sum <= self.max);
        self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits).is_ok()
    }
}

#[derive(Debug)]
struct Standing {
    because: Option<Because>,
    since: Timestamp,
    keys: usize,
    rows: usize,
    bytes: usize,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) view: ViewPlan,
    kept: RwLock<Option<Kept>>,
    standing: Mutex<Standing>,
    /// Counts what may change an answer.
    changes: watch::Sender<u64>,
}

impl Slot {
    pub(crate) fn new(view: ViewPlan, now: Timestamp) -> Self {
        let standing = Standing { because: Some(Because::Loading), since: now, keys: 0, rows: 0, bytes: 0 };
        Self { view, kept: RwLock::new(None), standing: Mutex::new(standing), changes: watch::Sender::new(0) }
    }

    /// Wakes those who wait for another answer.
    pub(crate) fn tell(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Sees every [`tell`](Self::tell) from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Says where the copy stands: `None`, it answers.
    pub(crate) fn stand(&self, because: Option<Because>, now: Timestamp) {
        let mut standing = self.standing.lock();
        let changed = standing.because != because;
        if changed {
            (standing.because, standing.since) = (because, now);
            let view = &self.view.name;
            match because {
                None => tracing::info!(view, keys = standing.keys, "rankings are kept ready"),
                Some(Because::Loading) => tracing::debug!(view, "rankings are being loaded"),
                Some(because) => {
                    tracing::warn!(view, because = because.name(), "rankings are answered from the stores");
                }
            }
        }
        drop(standing);
        if changed {
            self.tell();
        }
        let ready = if because.is_none() { 1.0 } else { 0.0 };
        metrics::gauge!("tideline_serving_rankings_ready", "view" => self.view.name.clone()).set(ready);
    }

    /// Puts a copy there, or takes it away.
    pub(crate) fn put(&self, kept: Option<Kept>) {
        *self.kept.write() = kept;
        self.measure();
    }

    /// Reads the copy.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Kept) -> T) -> Option<T> {
        self.kept.read().as_ref().map(read)
    }

    /// Changes the copy.
    pub(crate) fn write<T>(&self, write: impl FnOnce(&mut Kept) -> T) -> Option<T> {
        self.kept.write().as_mut().map(write)
    }

    /// Measures the copy; answers with its bytes.
    pub(crate) fn measure(&self) -> usize {
        let (keys, rows, bytes) = self.read(|kept| (kept.present(), kept.rows(), kept.bytes())).unwrap_or_default();
        {
            let mut standing = self.standing.lock();
            (standing.keys, standing.rows, standing.bytes) = (keys, rows, bytes);
        }
        let view = || self.view.name.clone();
        metrics::gauge!("tideline_serving_rankings_keys", "view" => view()).set(keys as f64);
        metrics::gauge!("tideline_serving_rankings_bytes", "view" => view()).set(bytes as f64);
        bytes
    }

    pub(crate) fn status(&self) -> RankingStatus {
        let standing = self.standing.lock();
        RankingStatus {
            ready: standing.because.is_none(),
            because: standing.because,
            since: standing.since.to_string(),
            keys: standing.keys,
            rows: standing.rows,
            bytes: standing.bytes,
        }
    }

    /// See [`super::Rankings::top`].
    pub(crate) fn top(
        &self,
        by: usize,
        limit: usize,
        at: At,
        previous: bool,
        now: Timestamp,
    ) -> Result<Ready, Because> {
        // Held while the ranking is made: the copy is not taken away in between.
        let kept = self.kept.read();
        if let Some(because) = self.standing.lock().because {
            return Err(because);
        }
        let kept = kept.as_ref().ok_or(Because::Loading)?;
        let newest = kept.window().ok_or(Because::OtherWindow)?;
        let end = at.end(Some(newest.to), self.view.pane, now);
        let (window, ranked) = if end == Some(newest.to) {
            (newest, kept.rank(by, limit))
        } else {
            let ended = kept.ended().filter(|ended| at == At::Complete && end == Some(ended.to));
            let ended = ended.ok_or(Because::OtherWindow)?;
            (ended, kept.rank_window(by, limit, ended))
        };
        let (rows, ids) = ranked.ok_or(Because::OtherWindow)?;
        let before = if previous { Some(kept.previous(&ids, window).ok_or(Because::OtherWindow)?) } else { None };
        let (manifest, progress) = (kept.batch.manifest.clone(), kept.frontier.progress());
        Ok(Ready { rows, previous: before, window, manifest, progress })
    }
}
