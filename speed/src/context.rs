//! What all parts of one shard share, and how they try again.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use thread_priority::{ThreadPriority, ThreadPriorityValue, set_current_thread_priority};
use tideline_common::ports::{PortError, PortResult};
use tideline_common::position::Shard;
use tokio::sync::oneshot;

use crate::program::Program;
use crate::status::StatusCell;
use crate::{SpeedConfig, SpeedError, SpeedPorts};

/// How far a shard reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// Bronze, then the log, without end.
    Log,
    /// Bronze to its end; the log is not asked for anything.
    Bronze,
}

/// What all parts of one shard share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) shard: Shard,
    pub(crate) reads: Reads,
    pub(crate) program: Arc<Program>,
    pub(crate) ports: SpeedPorts,
    pub(crate) config: Arc<SpeedConfig>,
    pub(crate) status: Arc<StatusCell>,
    /// Says that nobody else in this process works on the shard, until the last of what works on it is gone. None
    /// before there was anything to do.
    pub(crate) _lease: Option<tokio::sync::OwnedMutexGuard<()>>,
}

impl Context {
    /// Labels of this shard's metrics.
    pub(crate) fn labels(&self) -> [(&'static str, String); 2] {
        [("source", self.shard.source.clone()), ("partition", self.shard.partition.to_string())]
    }

    /// Takes note of how long a stage of the work on some records took.
    pub(crate) fn spent(&self, stage: &'static str, time: Duration) {
        let [source, partition] = self.labels();
        metrics::histogram!("tideline_speed_stage_seconds", &[source, partition, ("stage", stage.to_owned())])
            .record(time.as_secs_f64());
    }

    /// The pause before attempt `attempt`, with jitter.
    pub(crate) fn pause(&self, attempt: u32) -> Duration {
        let seed = xxhash_rust::xxh3::xxh3_64(self.shard.source.as_bytes())
            ^ u64::from(self.shard.partition)
            ^ self.ports.clock.now().0 as u64;
        self.config.pause(attempt, seed)
    }

    /// Calls until it works. While it does not, the shard is paused, and says why: what waits for this call waits
    /// on, so reading stops when buffers are full.
    ///
    /// # Errors
    /// What trying again does not help against.
    pub(crate) async fn retry<T, F: Future<Output = PortResult<T>>>(
        &self,
        what: &'static str,
        call: impl FnMut() -> F,
    ) -> PortResult<T> {
        let told = |failure: Option<String>| {
            if failure.is_some() {
                metrics::counter!("tideline_speed_retries_total", "source" => self.shard.source.clone(), "what" => what)
                    .increment(1);
            }
            self.status.pause(what, failure);
        };
        persist(what, call, |attempt| self.pause(attempt), told).await
    }
}

/// Calls until it works, with pauses. `told` hears of every failure, and `None` when it works again.
///
/// # Errors
/// What trying again does not help against.
pub(crate) async fn persist<T, F: Future<Output = PortResult<T>>>(
    what: &'static str,
    mut call: impl FnMut() -> F,
    pause: impl Fn(u32) -> Duration,
    told: impl Fn(Option<String>),
) -> PortResult<T> {
    let mut attempt = 0;
    loop {
        match call().await {
            Err(error) if error.is_retryable() => {
                let pause = pause(attempt);
                tracing::warn!(what, attempt, ?pause, %error, "will try again");
                told(Some(format!("{what}: {error}")));
                tokio::time::sleep(pause).await;
                attempt = attempt.saturating_add(1);
            }
            answer => {
                if attempt > 0 {
                    told(None);
                }
                return answer;
            }
        }
    }
}

/// Runs a computation off the reactor.
///
/// # Errors
/// [`SpeedError::Panicked`].
pub(crate) async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, SpeedError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| match error.try_into_panic() {
        Ok(panic) => SpeedError::Panicked(text_of(&*panic)),
        Err(error) => SpeedError::Panicked(error.to_string()),
    })
}

/// How ready a thread is for which nobody waits: of 99, where 50 is a usual one. On Linux a nice value of 9.
const ASIDE: u8 = 25;

/// Runs a long computation for whose end no record waits, on a thread of its own with less priority than those that take
/// records in: what takes half a second every ten would else be the tail of their latency. It gets the time that is left
/// over, and as much as it needs once the shard waits for it.
///
/// # Errors
/// [`SpeedError::Panicked`].
pub(crate) async fn compute_aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SpeedError> {
    let (done, result) = oneshot::channel();
    let run = move || {
        // Where the system does not allow it, it runs as the others do.
        if let Ok(priority) = ThreadPriorityValue::try_from(ASIDE)
            && let Err(error) = set_current_thread_priority(ThreadPriority::Crossplatform(priority))
        {
            tracing::debug!(?error, "a thread keeps its priority");
        }
        // Nobody waits any more for what is not received.
        let _ = done.send(std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)));
    };
    let thread = std::thread::Builder::new().name("tideline-aside".to_owned()).spawn(run);
    thread.map_err(|error| SpeedError::Panicked(format!("cannot start a thread: {error}")))?;
    match result.await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(panic)) => Err(SpeedError::Panicked(text_of(&*panic))),
        Err(_) => Err(SpeedError::Panicked("the thread ended".to_owned())),
    }
}

/// What a panic says.
fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

/// Whether an object is gone.
pub(crate) const fn is_absent(error: &PortError) -> bool {
    matches!(error, PortError::NotFound { .. })
}
