//! Faults, as decorators over the ports: what a layer does when a store fails, is slow, is full, or when the
//! process dies before or after a durable step.
//!
//! A [`Faults`] is shared by the decorators of one test. Faults are chosen by operation (`log.append`,
//! `objects.put_if_absent`, `views.write` …), by what the call is about (a part of a path, topic or view), and by
//! count or by a seeded chance: the same calls in the same order meet the same faults.
//!
//! ```
//! # use tideline_stores::faulty::{Fault, Faults, Kind};
//! let faults = Faults::new(1);
//! faults.add(Fault::on("objects.put_if_absent", Kind::ErrorAfter).about("checkpoints/").skip(2).times(1));
//! ```

mod analytics;
mod log;
mod objects;
mod views;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tideline_common::ports::{PortError, PortResult};

pub use analytics::FaultyAnalytics;
pub use log::FaultyLog;
pub use objects::FaultyObjects;
pub use views::FaultyViews;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The call fails and has done nothing.
    ErrorBefore,
    /// The call has done its work, and the answer is lost.
    ErrorAfter,
    /// The call fails for lack of room and has done nothing.
    Full,
    /// The call takes this much longer.
    Delay(Duration),
    /// The process dies before the call does anything: this and every later call fails until [`Faults::revive`].
    CrashBefore,
    /// The process dies after the call has done its work.
    CrashAfter,
}

/// A fault, and which calls meet it.
#[derive(Clone, Debug)]
pub struct Fault {
    operation: String,
    about: String,
    skip: u64,
    times: u64,
    chance: f64,
    kind: Kind,
}

impl Fault {
    /// Every call of an operation, or of all whose name begins with a text that ends in `.`, such as `log.`.
    pub fn on(operation: impl Into<String>, kind: Kind) -> Self {
        Self { operation: operation.into(), about: String::new(), skip: 0, times: u64::MAX, chance: 1.0, kind }
    }

    /// Only calls about something whose name holds `part`.
    #[must_use]
    pub fn about(mut self, part: impl Into<String>) -> Self {
        self.about = part.into();
        self
    }

    /// Not the first `calls` of them.
    #[must_use]
    pub const fn skip(mut self, calls: u64) -> Self {
        self.skip = calls;
        self
    }

    /// At most so many of them.
    #[must_use]
    pub const fn times(mut self, calls: u64) -> Self {
        self.times = calls;
        self
    }

    /// Each with this probability, drawn from the seed.
    #[must_use]
    pub const fn chance(mut self, probability: f64) -> Self {
        self.chance = probability;
        self
    }

    fn matches(&self, operation: &str, about: &str) -> bool {
        let named = if self.operation.ends_with('.') {
            operation.starts_with(&self.operation)
        } else {
            operation == self.operation
        };
        named && about.contains(&self.about)
    }
}

#[derive(Debug, Default)]
struct State {
    faults: Vec<Fault>,
    /// A crash at a durable step of any port, counted from 1.
    crash_at: Option<(u64, Kind)>,
    steps: u64,
    calls: BTreeMap<&'static str, u64>,
    crashed: bool,
    random: u64,
}

impl State {
    /// A uniform number in [0, 1): `SplitMix64` (Steele, Lea, Flood 2014).
    fn draw(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn choose(&mut self, operation: &'static str, about: &str, durable: bool) -> Option<Kind> {
        *self.calls.entry(operation).or_default() += 1;
        if durable {
            self.steps += 1;
            if let Some((step, kind)) = self.crash_at
                && step == self.steps
            {
                return Some(kind);
            }
        }
        for i in 0..self.faults.len() {
            if !self.faults[i].matches(operation, about) {
                continue;
            }
            if self.faults[i].skip > 0 {
                self.faults[i].skip -= 1;
                continue;
            }
            if self.faults[i].times == 0 || (self.faults[i].chance < 1.0 && self.draw() >= self.faults[i].chance) {
                continue;
            }
            self.faults[i].times -= 1;
            return Some(self.faults[i].kind);
        }
        None
    }
}

/// The faults of a test, shared by its decorators.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<State>>);

impl Faults {
    /// No faults yet; `seed` decides those by chance.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State { random: seed, ..State::default() })))
    }

    /// Adds a fault. Of several that apply, the one added first is met.
    pub fn add(&self, fault: Fault) {
        self.0.lock().faults.push(fault);
    }

    /// Removes all faults; a crashed process stays crashed.
    pub fn clear(&self) {
        let mut state = self.0.lock();
        state.faults.clear();
        state.crash_at = None;
    }

    /// Lets the process die before ([`Kind::CrashBefore`]) or after ([`Kind::CrashAfter`]) its durable step number
    /// `step`, counted from 1 over all ports since the last [`revive`](Self::revive): a test counts the
    /// [`steps`](Self::steps) of a run without faults, and then repeats it with a crash at each.
    pub fn crash_at(&self, step: u64, kind: Kind) {
        self.0.lock().crash_at = Some((step, kind));
    }

    /// Durable steps so far: calls that write.
    pub fn steps(&self) -> u64 {
        self.0.lock().steps
    }

    /// Calls of an operation so far.
    pub fn calls(&self, operation: &str) -> u64 {
        self.0.lock().calls.get(operation).copied().unwrap_or_default()
    }

    /// Whether the process has died.
    pub fn is_crashed(&self) -> bool {
        self.0.lock().crashed
    }

    /// The process is started again: calls work, and steps are counted anew.
    pub fn revive(&self) {
        let mut state = self.0.lock();
        state.crashed = false;
        state.crash_at = None;
        state.steps = 0;
    }

    fn check_alive(&self, operation: &'static str) -> PortResult<()> {
        if self.is_crashed() { Err(injected(operation, "the process is gone")) } else { Ok(()) }
    }

    /// A call of `operation` about something, with the fault that it meets.
    async fn call<T: Send>(
        &self,
        operation: &'static str,
        about: &str,
        durable: bool,
        work: impl Future<Output = PortResult<T>> + Send,
    ) -> PortResult<T> {
        self.check_alive(operation)?;
        let kind = self.0.lock().choose(operation, about, durable);
        match kind {
            None => {}
            Some(Kind::ErrorBefore) => return Err(injected(operation, "an injected fault, before the effect")),
            Some(Kind::Full) => {
                return Err(PortError::Full { what: operation.to_owned(), source: "an injected full disk".into() });
            }
            Some(Kind::Delay(delay)) => tokio::time::sleep(delay).await,
            Some(Kind::CrashBefore) => {
                self.0.lock().crashed = true;
                return Err(injected(operation, "an injected crash, before the effect"));
            }
            Some(Kind::ErrorAfter) => {
                work.await?;
                return Err(injected(operation, "an injected fault, after the effect"));
            }
            Some(Kind::CrashAfter) => {
                let result = work.await;
                self.0.lock().crashed = true;
                result?;
                return Err(injected(operation, "an injected crash, after the effect"));
            }
        }
        let answer = work.await;
        // Who has died meanwhile does not get the answer.
        self.check_alive(operation)?;
        answer
    }
}

fn injected(operation: &str, reason: &str) -> PortError {
    PortError::unavailable(operation, reason)
}

#[cfg(test)]
mod tests;
