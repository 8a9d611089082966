//! Panes and windows: pure arithmetic.
//!
//! Time is cut into panes, aligned at the epoch; a pane's length is the greatest common divisor of a
//! window's size and slide. Only panes are stored; a window is a merge of panes.

use serde::{Deserialize, Serialize};

use crate::time::{Span, Timestamp};

/// A window: every `slide` one begins, and it lasts `size`. Tumbling when both are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Window {
    /// How long a window lasts; positive.
    pub size: Span,
    /// Distance between the starts of windows; positive, at most `size`.
    pub slide: Span,
}

/// Why a window cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// Zero or negative.
    #[error("a window's size and slide must be longer than zero")]
    NotPositive,
    /// Records between windows would be lost.
    #[error("slide {slide} is longer than size {size}: records between windows would belong to none")]
    Gap {
        /// The window's size.
        size: Span,
        /// The window's slide.
        slide: Span,
    },
    /// Panes cannot be cut.
    #[error("{span} is not a multiple of the pane, {pane}")]
    NotOfPanes {
        /// The span asked for.
        span: Span,
        /// The pane's length.
        pane: Span,
    },
    /// Too many panes in one window.
    #[error("a window of {size} over panes of {pane} merges more than {max} panes")]
    TooManyPanes {
        /// The window's size.
        size: Span,
        /// The pane's length.
        pane: Span,
        /// The most panes that one window may merge.
        max: i64,
    },
}

/// The most panes that one window may merge (a year of minutes).
pub const MAX_PANES_PER_WINDOW: i64 = 527_040;

impl Window {
    /// A window of `size` every `slide`.
    ///
    /// # Errors
    /// When either is not positive, or `slide` is longer than `size`.
    pub const fn new(size: Span, slide: Span) -> Result<Self, WindowError> {
        if size.0 <= 0 || slide.0 <= 0 {
            return Err(WindowError::NotPositive);
        }
        if slide.0 > size.0 {
            return Err(WindowError::Gap { size, slide });
        }
        Ok(Self { size, slide })
    }

    /// The length of its panes: gcd(size, slide).
    pub const fn pane(self) -> Span {
        let (mut a, mut b) = (self.size.0, self.slide.0);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        Span(a)
    }

    /// Checks that the window can be merged from panes of length `pane`.
    ///
    /// # Errors
    /// When size or slide is no multiple of the pane, or there are more than [`MAX_PANES_PER_WINDOW`] panes in it.
    pub const fn check_panes(self, pane: Span) -> Result<(), WindowError> {
        if self.size.0 % pane.0 != 0 {
            return Err(WindowError::NotOfPanes { span: self.size, pane });
        }
        if self.slide.0 % pane.0 != 0 {
            return Err(WindowError::NotOfPanes { span: self.slide, pane });
        }
        if self.size.0 / pane.0 > MAX_PANES_PER_WINDOW {
            return Err(WindowError::TooManyPanes { size: self.size, pane, max: MAX_PANES_PER_WINDOW });
        }
        Ok(())
    }

    /// Start of the first window that holds `time`.
    pub const fn first_start(self, time: Timestamp) -> Timestamp {
        // The first start greater than time - size.
        time.minus(self.size).floor(self.slide).plus(self.slide)
    }

    /// Start of the last window that holds `time`.
    pub const fn last_start(self, time: Timestamp) -> Timestamp {
        time.floor(self.slide)
    }

    /// End of the last window that holds `time`: when the watermark reaches it, `time` is late for every window.
    pub const fn last_end(self, time: Timestamp) -> Timestamp {
        self.last_start(time).plus(self.size)
    }

    /// Starts of all windows that hold `time`, ascending.
    pub fn starts(self, time: Timestamp) -> impl Iterator<Item = Timestamp> {
        let last = self.last_start(time);
        let mut next = self.first_start(time);
        std::iter::from_fn(move || {
            let start = next;
            next = next.plus(self.slide);
            (start <= last).then_some(start)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn starts_are_those_of_the_definition(size in 1i64..50, slide in 1i64..50, time in -1_000i64..1_000) {
            prop_assume!(slide <= size);
            let window = Window::new(Span(size), Span(slide)).unwrap();
            let naive: Vec<i64> = (-1_200..1_200).filter(|s| s % slide == 0 && *s <= time && time < s + size).collect();
            let starts: Vec<i64> = window.starts(Timestamp(time)).map(Timestamp::micros).collect();
            prop_assert_eq!(&starts, &naive);
            prop_assert_eq!(window.last_end(Timestamp(time)).0, naive.last().unwrap() + size);
            prop_assert!(window.check_panes(window.pane()).is_ok());
        }
    }

    #[test]
    fn bad_windows_say_why() {
        assert_eq!(Window::new(Span(0), Span(1)), Err(WindowError::NotPositive));
        assert!(matches!(Window::new(Span(1), Span(2)), Err(WindowError::Gap { .. })));
        let window = Window::new(Span(90), Span(60)).unwrap();
        assert_eq!(window.pane(), Span(30));
        assert!(matches!(window.check_panes(Span(60)), Err(WindowError::NotOfPanes { .. })));
    }
}
