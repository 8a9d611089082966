//! How long to wait before something that failed is tried again.

use parking_lot::Mutex;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tideline_common::time::Span;

/// Exponential backoff with full jitter: before attempt *n* + 1 a time between nothing and `initial` · 2ⁿ, at most `max`,
/// all equally likely, so that many that failed together do not come back together.
///
/// Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog 2015.
#[derive(Debug)]
pub struct Backoff {
    initial: Span,
    max: Span,
    rng: Mutex<ChaCha8Rng>,
}

impl Backoff {
    /// From `initial` on, never longer than `max`. Without `initial` there is no wait at all. `seed` decides what chance is.
    pub fn new(initial: Span, max: Span, seed: u64) -> Self {
        Self { initial, max, rng: Mutex::new(ChaCha8Rng::seed_from_u64(seed)) }
    }

    /// The longest wait after `failures` failures in a row.
    pub fn bound(&self, failures: u32) -> Span {
        let doublings = failures.saturating_sub(1).min(40);
        let bound = self.initial.micros().saturating_mul(1_i64 << doublings);
        Span(bound.min(self.max.micros()).max(0))
    }

    /// A wait after `failures` failures in a row that is not shorter than the first bound: between `initial` and the bound, all
    /// equally likely. For what will hardly be otherwise any sooner.
    pub fn wait_at_least(&self, failures: u32) -> Span {
        let (least, bound) = (self.bound(1).micros(), self.bound(failures).micros());
        Span(self.rng.lock().random_range(least..=bound))
    }

    /// A wait after `failures` failures in a row.
    pub fn wait(&self, failures: u32) -> Span {
        let bound = self.bound(failures).micros();
        Span(self.rng.lock().random_range(0..=bound))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_double_up_to_the_longest() {
        let backoff = Backoff::new(Span::from_millis(500), Span::from_secs(60), 1);
        let bounds: Vec<i64> = (1..=9).map(|failures| backoff.bound(failures).micros() / 1_000).collect();
        assert_eq!(bounds, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(backoff.bound(u32::MAX), Span::from_secs(60));
    }

    #[test]
    fn waits_are_spread_over_the_whole_bound() {
        let backoff = Backoff::new(Span::SECOND, Span::from_secs(60), 7);
        let waits: Vec<i64> = (0..4_000).map(|_| backoff.wait(3).micros()).collect();
        let bound = 4_000_000;
        assert!(waits.iter().all(|wait| (0..=bound).contains(wait)));
        // A quarter of them in each quarter.
        for quarter in 0..4 {
            let range = quarter * bound / 4..(quarter + 1) * bound / 4;
            let share = waits.iter().filter(|wait| range.contains(wait)).count();
            assert!((880..1_120).contains(&share), "{share} in {range:?}");
        }
        assert_eq!(Backoff::new(Span::ZERO, Span::from_secs(60), 7).wait(5), Span::ZERO);
    }

    #[test]
    fn waits_with_a_least_are_spread_above_it() {
        let backoff = Backoff::new(Span::MINUTE, Span::from_secs(15 * 60), 7);
        assert_eq!(backoff.wait_at_least(1), Span::MINUTE);
        let waits: Vec<Span> = (0..1_000).map(|_| backoff.wait_at_least(9)).collect();
        assert!(waits.iter().all(|wait| (Span::MINUTE..=Span::from_secs(15 * 60)).contains(wait)));
        let late = waits.iter().filter(|wait| **wait > Span::from_secs(8 * 60)).count();
        assert!((440..560).contains(&late), "{late}");
        // The longest wait holds whatever the first one is.
        assert_eq!(Backoff::new(Span::MINUTE, Span::SECOND, 7).wait_at_least(3), Span::SECOND);
        assert_eq!(Backoff::new(Span::ZERO, Span::MINUTE, 7).wait_at_least(5), Span::ZERO);
    }
}
