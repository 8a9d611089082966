//! Guards: what stands between queries and a store that may be down or slow.
//!
//! Every read of a store passes its guard. It bounds how many reads are at work at once and how long one may take, and
//! it is a circuit breaker: a store that failed [`GuardConfig::failures`] times in a row, or was too slow for a small
//! read, is not asked any more, so that requests do not wait for a dead store one after the other; they get its last
//! failure at once. Meanwhile the guard probes the store by itself, at intervals that grow when the store only seems to
//! be back, and lets reads pass again when a probe succeeds. No request is the guinea pig.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tideline_common::ports::{Analytics, Clock, Log, Objects, PortError, PortResult, SpeedViews};
use tideline_common::time::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::boundary::Reason;

/// Bounds of the reads of one store.
#[derive(Clone, Copy, Debug)]
pub struct GuardConfig {
    /// Reads at work at once; further ones wait, at most as long as a read may take.
    pub max_reads: usize,
    /// How long one read may take.
    pub timeout: Duration,
    /// How long a read may take that every store answers quickly: of a manifest, of progress, a probe.
    pub small_timeout: Duration,
    /// Failures in a row after which the store is left alone.
    pub failures: u32,
    /// How long after that it is probed, and then between probes; up to 16 times as long when it fails again and again.
    pub probe_interval: Duration,
    /// How long the outcome of a check counts.
    pub check_ttl: Duration,
}

impl Default for GuardConfig {
    fn default() -> Self {
        Self {
            max_reads: 64,
            timeout: Duration::from_secs(10),
            small_timeout: Duration::from_secs(5),
            failures: 3,
            probe_interval: Duration::from_millis(500),
            check_ttl: Duration::from_secs(1),
        }
    }
}

/// The cheapest call that tells whether a store works.
#[async_trait]
pub trait Probe: Send + Sync + std::fmt::Debug {
    /// Calls the store.
    async fn probe(&self) -> PortResult<()>;
}

/// Stores that can be probed.
#[derive(Debug)]
pub(crate) enum Store {
    Views(Arc<dyn SpeedViews>),
    Analytics(Arc<dyn Analytics>),
    Log(Arc<dyn Log>),
    Objects(Arc<dyn Objects>),
}

#[async_trait]
impl Probe for Store {
    async fn probe(&self) -> PortResult<()> {
        match self {
            Self::Views(views) => views.progress().await.map(drop),
            Self::Analytics(analytics) => analytics.current().await.map(drop),
            Self::Log(log) => log.topics().await.map(drop),
            Self::Objects(objects) => match objects.get("probe").await {
                // There is none: the store has said so.
                Err(PortError::NotFound { .. }) => Ok(()),
                other => other.map(drop),
            },
        }
    }
}

/// How large a read is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// Bounded by nothing but the query.
    Any,
    /// Every store answers it quickly.
    Small,
}

/// What a store last did.
#[derive(Debug)]
struct State {
    /// Failures in a row.
    failures: u32,
    /// Since when it has been failing, and how.
    failing: Option<(Timestamp, Reason)>,
    /// Whether it is left alone.
    open: bool,
    /// How often it was left alone since a read last succeeded.
    trips: u32,
    /// When it was last heard of, by a read or by a check.
    heard: Option<Instant>,
}

/// Whether a store works, for readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Health {
    /// Since when it has been failing, and how; `None`: it works.
    pub(crate) failing: Option<(Timestamp, Reason)>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Guard {
    name: &'static str,
    config: GuardConfig,
    clock: Arc<dyn Clock>,
    probe: Arc<dyn Probe>,
    permits: Semaphore,
    state: Mutex<State>,
    /// Held by the check at work.
    checking: tokio::sync::Mutex<()>,
}

impl Guard {
    pub(crate) fn new(name: &'static str, probe: Store, clock: Arc<dyn Clock>, config: GuardConfig) -> Arc<Self> {
        Arc::new(Self {
            name,
            config,
            clock,
            probe: Arc::new(probe),
            permits: Semaphore::new(config.max_reads.clamp(1, Semaphore::MAX_PERMITS)),
            state: Mutex::new(State { failures: 0, failing: None, open: false, trips: 0, heard: None }),
            checking: tokio::sync::Mutex::new(()),
        })
    }

    /// The store's name.
    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    /// Reads from the store. A failure or a delay is the store's, and told as such.
    pub(crate) async fn read<T>(
        self: &Arc<Self>,
        size: Size,
        read: impl Future<Output = PortResult<T>>,
    ) -> Result<T, ReadError> {
        if let Some(reason) = self.refusal() {
            self.count("refused");
            return Err(ReadError::Down(reason));
        }
        let bound = match size {
            Size::Any => self.config.timeout,
            Size::Small => self.config.small_timeout.min(self.config.timeout),
        };
        let Ok(Ok(_permit)) = tokio::time::timeout(bound, self.permits.acquire()).await else {
            self.count("queued_too_long");
            return Err(ReadError::Down(Reason::TimedOut));
        };
        // It may have been found dead while this one waited.
        if let Some(reason) = self.refusal() {
            self.count("refused");
            return Err(ReadError::Down(reason));
        }
        let began = Instant::now();
        let answer = tokio::time::timeout(bound, read).await;
        metrics::histogram!("tideline_serving_store_read_seconds", "store" => self.name)
            .record(began.elapsed().as_secs_f64());
        match answer {
            Ok(Ok(answer)) => {
                self.works(true);
                self.count("ok");
                Ok(answer)
            }
            Ok(Err(error)) if error.is_retryable() => {
                tracing::warn!(%error, store = self.name, "a store could not be read");
                self.count("failed");
                self.fails(Reason::Unavailable, 1);
                Err(ReadError::Down(Reason::Unavailable))
            }
            Ok(Err(error)) => {
                // It answers, if nothing good.
                self.works(true);
                self.count("failed");
                Err(ReadError::Port(error))
            }
            Err(_) => {
                tracing::warn!(store = self.name, timeout = ?bound, "a store did not answer in time");
                self.count("timed_out");
                self.fails(Reason::TimedOut, if size == Size::Small { self.config.failures } else { 1 });
                Err(ReadError::Down(Reason::TimedOut))
            }
        }
    }

    fn count(&self, outcome: &'static str) {
        metrics::counter!("tideline_serving_store_reads_total", "store" => self.name, "outcome" => outcome)
            .increment(1);
    }

    /// Why the store is left alone now.
    fn refusal(&self) -> Option<Reason> {
        let state = self.state.lock();
        state.failing.filter(|_| state.open).map(|(_, reason)| reason)
    }

    fn works(&self, by_read: bool) {
        let mut state = self.state.lock();
        if state.failing.take().is_some() {
            tracing::info!(store = self.name, "a store works again");
        }
        (state.failures, state.open, state.heard) = (0, false, Some(Instant::now()));
        if by_read {
            state.trips = 0;
        }
        metrics::gauge!("tideline_serving_store_up", "store" => self.name).set(1.0);
    }

    fn fails(self: &Arc<Self>, reason: Reason, weight: u32) {
        let mut state = self.state.lock();
        state.heard = Some(Instant::now());
        state.failures = state.failures.saturating_add(weight);
        let since = state.failing.map_or_else(|| self.clock.now(), |(since, _)| since);
        state.failing = Some((since, reason));
        metrics::gauge!("tideline_serving_store_up", "store" => self.name).set(0.0);
        if state.failures >= self.config.failures && !state.open {
            state.open = true;
            let pause = self.config.probe_interval * (1 << state.trips.min(4));
            state.trips += 1;
            tracing::warn!(store = self.name, "a store is left alone until a probe succeeds");
            tokio::spawn(recover(Arc::downgrade(self), pause));
        }
    }

    /// Whether the store works: what is known, when that is fresh; else a call of its probe. Many at once make one call.
    pub(crate) async fn check(self: &Arc<Self>) -> Health {
        let known = || {
            let state = self.state.lock();
            let fresh = state.open || state.heard.is_some_and(|at| at.elapsed() < self.config.check_ttl);
            fresh.then_some(Health { failing: state.failing })
        };
        if let Some(health) = known() {
            return health;
        }
        let _one = self.checking.lock().await;
        if let Some(health) = known() {
            return health;
        }
        self.call().await;
        Health { failing: self.state.lock().failing }
    }

    /// Calls the probe, once.
    async fn call(self: &Arc<Self>) {
        match tokio::time::timeout(self.config.small_timeout.min(self.config.timeout), self.probe.probe()).await {
            Ok(Err(error)) if error.is_retryable() => {
                tracing::debug!(%error, store = self.name, "a probe failed");
                self.fails(Reason::Unavailable, 1);
            }
            // What is damaged answers.
            Ok(_) => self.works(false),
            Err(_) => self.fails(Reason::TimedOut, self.config.failures),
        }
    }
}

/// Probes a store that is left alone until it works, or until nobody wants it any more.
async fn recover(guard: Weak<Guard>, pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        let Some(guard) = guard.upgrade() else { return };
        guard.call().await;
        if !guard.state.lock().open {
            return;
        }
    }
}

/// Why a read has no answer.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The store cannot be read now.
    Down(Reason),
    /// It answered that it cannot give this.
    Port(PortError),
}

impl ReadError {
    /// What a failed read of a layer is told as; the error itself goes to the log.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Down(reason) => *reason,
            Self::Port(PortError::Corrupt { .. }) => Reason::Damaged,
            Self::Port(_) => Reason::Unavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use tideline_common::ports::ManualClock;

    use super::*;

    #[derive(Debug, Default)]
    struct Patient {
        sick: AtomicBool,
        probes: AtomicU32,
    }

    #[async_trait]
    impl Probe for Patient {
        async fn probe(&self) -> PortResult<()> {
            self.probes.fetch_add(1, Ordering::SeqCst);
            if self.sick.load(Ordering::SeqCst) { failure() } else { Ok(()) }
        }
    }

    fn failure() -> PortResult<()> {
        Err(PortError::unavailable("store", "no route to host"))
    }

    fn guard(config: GuardConfig) -> (Arc<Guard>, Arc<Patient>) {
        let patient = Arc::new(Patient::default());
        let guard = Guard {
            name: "test",
            config,
            clock: Arc::new(ManualClock::new(Timestamp(7))),
            probe: patient.clone(),
            permits: Semaphore::new(config.max_reads),
            state: Mutex::new(State { failures: 0, failing: None, open: false, trips: 0, heard: None }),
            checking: tokio::sync::Mutex::new(()),
        };
        (Arc::new(guard), patient)
    }

    async fn read(guard: &Arc<Guard>, answer: PortResult<()>) -> Result<(), Reason> {
        guard.read(Size::Any, async { answer }).await.map_err(|error| error.reason())
    }

    /// Short times: tests wait for what must happen, and are not in a hurry.
    fn quick() -> GuardConfig {
        GuardConfig {
            timeout: Duration::from_millis(400),
            small_timeout: Duration::from_millis(100),
            probe_interval: Duration::from_millis(20),
            check_ttl: Duration::from_millis(100),
            ..GuardConfig::default()
        }
    }

    async fn until(what: impl Fn() -> bool) {
        let waiting = async {
            while !what() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("it never happened");
    }

    #[tokio::test]
    async fn a_dead_store_is_left_alone_and_found_again_by_probes() {
        let (guard, patient) = guard(quick());
        patient.sick.store(true, Ordering::SeqCst);
        for _ in 0..3 {
            assert_eq!(read(&guard, failure()).await, Err(Reason::Unavailable));
        }
        // A read that would succeed is not even begun.
        assert_eq!(read(&guard, Ok(())).await, Err(Reason::Unavailable));
        assert_eq!(guard.check().await.failing, Some((Timestamp(7), Reason::Unavailable)));
        until(|| patient.probes.load(Ordering::SeqCst) >= 3).await;
        assert_eq!(read(&guard, Ok(())).await, Err(Reason::Unavailable), "a probe that fails changes nothing");
        patient.sick.store(false, Ordering::SeqCst);
        until(|| guard.refusal().is_none()).await;
        assert_eq!(read(&guard, Ok(())).await, Ok(()));
        assert_eq!(guard.check().await, Health { failing: None });
    }

    #[tokio::test]
    async fn one_failure_among_successes_changes_nothing() {
        let (guard, _) = guard(quick());
        for _ in 0..10 {
            assert!(read(&guard, failure()).await.is_err());
            assert!(read(&guard, failure()).await.is_err());
            assert_eq!(read(&guard, Ok(())).await, Ok(()));
        }
        // What is damaged is no reason to leave the store alone.
        for _ in 0..10 {
            assert_eq!(read(&guard, Err(PortError::corrupt("x", "bits"))).await, Err(Reason::Damaged));
        }
        assert_eq!(read(&guard, Ok(())).await, Ok(()));
    }

    #[tokio::test]
    async fn a_small_read_that_hangs_is_enough() {
        let (guard, patient) = guard(quick());
        patient.sick.store(true, Ordering::SeqCst);
        let hangs = guard.read(Size::Small, std::future::pending::<PortResult<()>>()).await;
        assert_eq!(hangs.map_err(|error| error.reason()), Err(Reason::TimedOut));
        assert!(read(&guard, Ok(())).await.is_err(), "refused at once");
    }

    #[tokio::test]
    async fn reads_at_work_are_bounded() {
        let (guard, _) = guard(GuardConfig { max_reads: 1, ..quick() });
        let slow = guard.read(Size::Any, async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            Ok(())
        });
        let (slow, waiting) = tokio::join!(slow, guard.read(Size::Small, async { Ok(()) }));
        assert!(slow.is_ok());
        assert!(matches!(waiting, Err(ReadError::Down(Reason::TimedOut))));
        assert_eq!(read(&guard, Ok(())).await, Ok(()), "waiting is not the store's failure");
    }

    #[tokio::test]
    async fn checks_are_cheap() {
        let (guard, patient) = guard(quick());
        futures::future::join_all((0..20).map(|_| guard.check())).await;
        assert_eq!(patient.probes.load(Ordering::SeqCst), 1);
        patient.sick.store(true, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert!(guard.check().await.failing.is_some(), "old knowledge does not count");
        assert_eq!(patient.probes.load(Ordering::SeqCst), 2);
    }
}
