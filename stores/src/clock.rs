//! The wall clock of this machine.

use tideline_common::ports::Clock;
use tideline_common::time::Timestamp;

/// The clock of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place that reads the wall clock: everyone else asks the port"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(chrono::Utc::now().timestamp_micros())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_runs_forward_from_a_plausible_time() {
        let first = SystemClock.now();
        assert!(first > Timestamp::from_micros(1_700_000_000_000_000), "{first}");
        assert!(SystemClock.now() >= first);
    }
}
