//! How many requests may be made: by a budget that is stated beforehand, and by what the server says.

use tideline_common::time::{Span, Timestamp};

use super::limits;

/// So many requests per window, such as `60/1m` or `300/15m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests.
    pub requests: u32,
    /// In any window of this length.
    pub window: Span,
}

/// A text that is not a budget.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a budget: write REQUESTS/WINDOW, such as 60/1m or 300/15m, from 1 request and 1 s on")]
pub struct RateError(String);

impl Rate {
    /// `requests` in any window of length `window`.
    pub const fn new(requests: u32, window: Span) -> Self {
        Self { requests, window }
    }
}

impl std::str::FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let error = || RateError(text.to_owned());
        let (requests, window) = text.split_once('/').ok_or_else(error)?;
        let requests: u32 = requests.trim().parse().map_err(|_| error())?;
        let window = Span::parse(window).map_err(|_| error())?;
        if requests == 0 || requests > 1_000_000 || window < Span::SECOND || window > Span::DAY {
            return Err(error());
        }
        Ok(Self { requests, window })
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.requests, self.window)
    }
}

/// A token bucket that keeps to a [`Rate`] in *any* window, wherever it begins, and stands still while the server said so.
///
/// A bucket that holds as many tokens as the rate allows, and is filled at the rate, lets nearly twice as many requests
/// through in the window after a rest. This one holds a tenth of them (one at least), and is filled with the rest:
/// `burst` + `window` · (`requests` − `burst`) / `window` = `requests`.
#[derive(Debug)]
pub struct Budget {
    burst: i64,
    /// Time that a token takes to come, in microseconds; `None`: no stated budget.
    refill: Option<i64>,
    /// When the bucket would have been empty, had it been filled since then: tokens = (now − `empty_at`) / refill.
    empty_at: Timestamp,
    held_until: Option<Timestamp>,
}

impl Budget {
    /// A full bucket at `now`; without a rate only what the server says holds.
    pub fn new(rate: Option<Rate>, now: Timestamp) -> Self {
        let Some(rate) = rate else {
            return Self { burst: 0, refill: None, empty_at: now, held_until: None };
        };
        let requests = i64::from(rate.requests);
        let burst = (requests / 10).max(1);
        // One request per window needs a window between them; rounded up, so that sums never exceed the rate.
        let refill = if requests == burst {
            rate.window.micros()
        } else {
            (rate.window.micros() + requests - burst - 1) / (requests - burst)
        };
        Self { burst, refill: Some(refill), empty_at: now.minus(Span(burst * refill)), held_until: None }
    }

    /// Takes a request from the budget, or says how long it takes until there may be one.
    ///
    /// # Errors
    /// The time to wait before asking again.
    pub fn take(&mut self, now: Timestamp) -> Result<(), Span> {
        if let Some(until) = self.held_until(now) {
            return Err(until.since(now));
        }
        self.held_until = None;
        let Some(refill) = self.refill else { return Ok(()) };
        // A full bucket overflows; a clock that was set back fills nothing, and does not wait for its old time either.
        self.empty_at = self.empty_at.max(now.minus(Span(self.burst * refill))).min(now);
        let have = now.since(self.empty_at);
        if have < Span(refill) {
            return Err(Span(refill - have.micros()));
        }
        self.empty_at = self.empty_at.plus(Span(refill));
        Ok(())
    }

    /// No request before `until`; an earlier end of a hold does not shorten one that is there.
    pub fn hold(&mut self, until: Timestamp, now: Timestamp) {
        self.held_until = self.held_until(now).max(Some(until));
    }

    /// Until when nothing is asked for because the server said so; `None` when that is over.
    pub fn held_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.held_until.filter(|until| limits::holds(*until, now))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rates_are_read() {
        assert_eq!("60/1m".parse::<Rate>().unwrap(), Rate::new(60, Span::MINUTE));
        assert_eq!("300/15m".parse::<Rate>().unwrap().to_string(), "300/15m");
        for bad in ["", "60", "0/1m", "x/1m", "1/x", "-1/1m", "1/1ms", "1/2d", "60/1m/1m"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_hold_is_kept_to_its_end() {
        let start = Timestamp::from_millis(5_000);
        let mut budget = Budget::new(None, start);
        assert_eq!(budget.take(start), Ok(()));
        budget.hold(start.plus(Span::MINUTE), start);
        budget.hold(start.plus(Span::SECOND), start);
        assert_eq!(budget.take(start), Err(Span::MINUTE));
        assert_eq!(budget.held_until(start), Some(start.plus(Span::MINUTE)));
        assert_eq!(budget.held_until(start.plus(Span::MINUTE)), None);
        assert_eq!(budget.take(start.plus(Span::MINUTE)), Ok(()));
        assert_eq!(budget.held_until(start), None);
    }

    #[test]
    fn a_clock_that_is_set_back_costs_a_token_at_most() {
        let mut budget = Budget::new(Some(Rate::new(60, Span::MINUTE)), Timestamp::from_millis(10_000_000));
        budget.take(Timestamp::from_millis(10_000_000)).unwrap();
        let wait = budget.take(Timestamp::from_millis(0)).unwrap_err();
        assert!(wait <= Span::from_secs(2), "{wait}");
        // A hold of the old time is none, and does not hide one of the new time.
        let mut budget = Budget::new(None, Timestamp::from_millis(0));
        budget.hold(Timestamp::from_millis(200_000_000), Timestamp::from_millis(190_000_000));
        assert_eq!(budget.take(Timestamp::from_millis(0)), Ok(()));
        budget.hold(Timestamp::from_millis(200_000_000), Timestamp::from_millis(190_000_000));
        budget.hold(Timestamp::from_millis(60_000), Timestamp::from_millis(0));
        assert_eq!(budget.take(Timestamp::from_millis(0)), Err(Span::MINUTE));
    }

    proptest! {
        /// Whoever asks as fast as they may, with rests of any length, never has more than the rate in any window.
        #[test]
        fn no_window_has_more_than_the_rate(
            requests in 1_u32..40,
            window_s in 1_i64..100,
            rests in prop::collection::vec((0_usize..60, 0_i64..200), 1..8),
        ) {
            let window = Span::from_secs(window_s);
            let mut now = Timestamp::from_millis(1_000_000);
            let mut budget = Budget::new(Some(Rate::new(requests, window)), now);
            let mut made = Vec::new();
            for (count, rest) in rests {
                for _ in 0..count {
                    while let Err(wait) = budget.take(now) {
                        prop_assert!(wait > Span::ZERO && wait <= window);
                        now = now.plus(wait);
                    }
                    made.push(now);
                }
                now = now.plus(Span::from_secs(rest));
            }
            for (index, first) in made.iter().enumerate() {
                let within = made[index..].iter().take_while(|at| at.since(*first) < window).count();
                prop_assert!(within <= requests as usize, "{within} in {window}");
            }
            // Nor is it slower than said: after the burst, one at each refill.
            let mut budget = Budget::new(Some(Rate::new(requests, window)), now);
            let start = now;
            for _ in 0..requests * 10 {
                while let Err(wait) = budget.take(now) {
                    now = now.plus(wait);
                }
            }
            let burst = i64::from(requests / 10).max(1);
            let refill = window.micros() as f64 / (i64::from(requests) - burst).max(1) as f64;
            let expected = (i64::from(requests) * 10 - burst) as f64 * refill;
            let took = now.since(start).micros() as f64;
            prop_assert!(took >= expected * 0.999 && took <= expected * 1.001 + 1_000.0, "{took} instead of {expected}");
        }
    }
}
