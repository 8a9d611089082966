//! Faults at chosen port calls. A process of a test has one of these in front of the stores that it shares with
//! the processes before and after it.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tideline_common::ports::{PortError, PortResult};
use tokio::sync::Notify;

/// Around a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Before,
    After,
}

/// What happens there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The process dies: this call never answers, and none that comes after it does anything. Others that are under way
    /// are over when [`Faults::died`] says so: what arrives later than a successor is there is a case of its own.
    Kill,
    /// The call answers with an error that may pass.
    Fail,
    /// The process stands still: this call and all that come after it wait until it is resumed.
    Pause,
}

#[derive(Debug, Default)]
struct State {
    calls: BTreeMap<&'static str, usize>,
    at: Option<(&'static str, usize, When, Act)>,
    dead: bool,
    /// Calls that are doing something.
    working: usize,
    paused: bool,
    full: Option<&'static str>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Faults {
    state: Mutex<State>,
    died: Notify,
    paused: Notify,
    resumed: Notify,
}

impl Faults {
    pub fn none() -> Arc<Self> {
        Arc::default()
    }

    /// `act` at the call of this name and number, from 0 on.
    pub fn at(name: &'static str, call: usize, when: When, act: Act) -> Arc<Self> {
        let faults = Self::default();
        faults.state.lock().at = Some((name, call, when, act));
        Arc::new(faults)
    }

    /// `act` at the next call of this name.
    pub fn next(&self, name: &'static str, when: When, act: Act) {
        let mut state = self.state.lock();
        let call = state.calls.get(name).copied().unwrap_or(0);
        state.at = Some((name, call, when, act));
    }

    /// Calls whose name begins with `prefix` find the disk full; `None`: there is room again.
    pub fn full(&self, prefix: Option<&'static str>) {
        self.state.lock().full = prefix;
    }

    /// Calls of this name so far.
    pub fn calls(&self, name: &str) -> usize {
        self.state.lock().calls.get(name).copied().unwrap_or(0)
    }

    /// Ends when the process has died, and nothing that it did is under way any more.
    pub async fn died(&self) {
        self.died.notified().await;
    }

    /// Ends when the process stands still.
    pub async fn paused(&self) {
        self.paused.notified().await;
    }

    /// Lets a process that stands still go on.
    pub fn resume(&self) {
        let mut state = self.state.lock();
        state.at = None;
        state.paused = false;
        self.resumed.notify_waiters();
    }

    /// A call: what it does is done between the two points where something may happen.
    pub async fn call<T>(&self, name: &'static str, work: impl Future<Output = PortResult<T>>) -> PortResult<T> {
        let call = {
            let mut state = self.state.lock();
            let calls = state.calls.entry(name).or_default();
            *calls += 1;
            *calls - 1
        };
        self.point(name, call, When::Before).await?;
        let Some(working) = self.begin(name) else { return std::future::pending().await };
        if self.state.lock().full.is_some_and(|prefix| name.starts_with(prefix)) {
            return Err(PortError::Full { what: name.to_owned(), source: "no space left".into() });
        }
        let answer = work.await;
        drop(working);
        self.point(name, call, When::After).await?;
        answer
    }

    /// A call is about to do something; `None` when the process is dead.
    fn begin(&self, name: &str) -> Option<Working<'_>> {
        let mut state = self.state.lock();
        if state.dead {
            return None;
        }
        // Reading changes nothing, and may wait for long.
        let counts = usize::from(name != "log read");
        state.working += counts;
        Some(Working { faults: self, counts })
    }

    fn tell(&self, state: &State) {
        if state.dead && state.working == 0 {
            self.died.notify_one();
        }
    }

    async fn point(&self, name: &'static str, call: usize, when: When) -> PortResult<()> {
        let act = {
            let mut state = self.state.lock();
            let act = state.at.filter(|(n, c, w, _)| (*n, *c, *w) == (name, call, when)).map(|(.., act)| act);
            if act == Some(Act::Kill) {
                state.dead = true;
                self.tell(&state);
            }
            if act == Some(Act::Pause) && !state.paused {
                state.paused = true;
                self.paused.notify_one();
            }
            if state.dead {
                Some(Act::Kill)
            } else if state.paused {
                Some(Act::Pause)
            } else {
                act
            }
        };
        match act {
            Some(Act::Kill) => std::future::pending().await,
            Some(Act::Pause) => loop {
                let resumed = self.resumed.notified();
                if !self.state.lock().paused {
                    return Ok(());
                }
                resumed.await;
            },
            Some(Act::Fail) => Err(PortError::unavailable("a port", "injected")),
            None => Ok(()),
        }
    }
}

/// A call that is doing something.
struct Working<'a> {
    faults: &'a Faults,
    counts: usize,
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        let mut state = self.faults.state.lock();
        state.working -= self.counts;
        self.faults.tell(&state);
    }
}
