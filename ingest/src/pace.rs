//! So many per second.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// A rate, such as `500/s`, `500` (the same) or `30/m`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    per_second: f64,
}

/// A text that is not a rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a rate: use a positive number per second or minute, such as 500/s or 30/m")]
pub struct RateError(String);

impl Rate {
    /// A rate of `per_second`, which must be positive and finite.
    ///
    /// # Errors
    /// When it is not.
    pub fn per_second(per_second: f64) -> Result<Self, RateError> {
        if per_second.is_finite() && per_second > 0.0 {
            Ok(Self { per_second })
        } else {
            Err(RateError(per_second.to_string()))
        }
    }

    /// Records per second.
    pub const fn get(self) -> f64 {
        self.per_second
    }
}

impl std::str::FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let (number, divisor) = match text.split_once('/') {
            None | Some((_, "s")) => (text.split('/').next().unwrap_or(text), 1.0),
            Some((number, "m")) => (number, 60.0),
            Some(_) => return Err(RateError(text.to_owned())),
        };
        let number: f64 = number.trim().parse().map_err(|_| RateError(text.to_owned()))?;
        Self::per_second(number / divisor).map_err(|_| RateError(text.to_owned()))
    }
}

/// Holds a loop to a rate. A loop that was held up catches up by at most one second's worth: after a stall there
/// is no burst without bound.
#[derive(Debug)]
pub struct Pace {
    rate: Rate,
    next: Option<Instant>,
}

impl Pace {
    /// Starts with the first batch.
    pub const fn new(rate: Rate) -> Self {
        Self { rate, next: None }
    }

    /// How many records make a sensible batch: about 50 batches a second, at least one record each.
    pub fn batch(&self) -> usize {
        ((self.rate.per_second / 50.0).round() as usize).clamp(1, 10_000)
    }

    /// When a batch of `records` that is ready at `now` may go.
    fn slot(&mut self, now: Instant, records: usize) -> Instant {
        let earliest = now.checked_sub(Duration::from_secs(1)).unwrap_or(now);
        let slot = self.next.unwrap_or(now).max(earliest);
        self.next = Some(slot + Duration::from_secs_f64(records as f64 / self.rate.per_second));
        slot
    }

    /// Waits until `records` more may go.
    pub async fn wait(&mut self, records: usize) {
        let slot = self.slot(Instant::now(), records);
        sleep_until(slot).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rates_are_read() {
        assert_eq!("500/s".parse::<Rate>().unwrap().get().to_string(), "500");
        assert_eq!("500".parse::<Rate>().unwrap().get().to_string(), "500");
        assert_eq!("30/m".parse::<Rate>().unwrap().get().to_string(), "0.5");
        for bad in ["", "x", "-1/s", "0", "5/h", "inf", "1/s/s"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_thousand_at_a_hundred_a_second_take_ten_seconds() {
        let start = Instant::now();
        let mut pace = Pace::new(Rate::per_second(100.0).unwrap());
        let slots: Vec<Instant> = (0..100).map(|_| pace.slot(start, 10)).collect();
        // The last batch goes at the end of the one before it.
        assert_eq!(slots[99].duration_since(start).as_millis(), 9_900);
    }

    #[test]
    fn a_stall_is_made_up_for_by_a_second_at_most() {
        let start = Instant::now();
        let mut pace = Pace::new(Rate::per_second(10.0).unwrap());
        pace.slot(start, 1);
        let later = start + Duration::from_mins(1);
        let at_once = (0..100).take_while(|_| pace.slot(later, 1) <= later).count();
        assert!((10..=11).contains(&at_once), "{at_once}");
    }
}
