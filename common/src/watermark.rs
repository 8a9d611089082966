//! Event-time progress of one partition, and of several together.
//!
//! The watermark of a partition is its highest event time minus the source's lateness: no window ending at or
//! before it is open. It depends on the records alone (their order in the partition), never on the clock, so
//! that a replay decides the same about every record. Only [`combine`] looks at the clock: a partition from
//! which nothing has come for a while does not hold the others back.

use serde::{Deserialize, Serialize};

use crate::time::{Span, Timestamp};
use crate::window::Window;

/// Progress of one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermark {
    /// Highest event time seen, `None` before the first record.
    pub highest: Option<Timestamp>,
    /// When the log took the last record.
    pub last_appended: Option<Timestamp>,
}

impl Watermark {
    /// Takes note of a record.
    pub fn observe(&mut self, event_time: Timestamp, appended: Timestamp) {
        self.highest = Some(self.highest.map_or(event_time, |h| h.max(event_time)));
        self.last_appended = Some(self.last_appended.map_or(appended, |h| h.max(appended)));
    }

    /// The watermark: highest event time − lateness.
    pub fn at(&self, lateness: Span) -> Option<Timestamp> {
        self.highest.map(|h| h.minus(lateness))
    }
}

/// Whether a record at `time` is late, when the highest event time before it in its partition is `highest`: no
/// window that holds it is still open (window end + lateness is not ahead of `highest`).
pub fn is_late(window: Window, time: Timestamp, highest: Timestamp, lateness: Span) -> bool {
    window.last_end(time).plus(lateness) <= highest
}

/// The watermark of several partitions: the least of those that are not idle. A partition is idle when its last
/// record was appended longer than `idle_after` before `now`; with all idle, the highest counts, so that the end
/// of a stream does close; partitions without a record do not count. `None` when nothing has come yet.
pub fn combine(
    partitions: impl IntoIterator<Item = Watermark>,
    lateness: Span,
    idle_after: Span,
    now: Timestamp,
) -> Option<Timestamp> {
    let mut active: Option<Timestamp> = None;
    let mut idle: Option<Timestamp> = None;
    for partition in partitions {
        let (Some(at), Some(appended)) = (partition.at(lateness), partition.last_appended) else { continue };
        if now.since(appended) > idle_after {
            idle = Some(idle.map_or(at, |i| i.max(at)));
        } else {
            active = Some(active.map_or(at, |a| a.min(at)));
        }
    }
    active.or(idle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(highest: i64, appended: i64) -> Watermark {
        Watermark { highest: Some(Timestamp(highest)), last_appended: Some(Timestamp(appended)) }
    }

    #[test]
    fn the_slowest_active_partition_holds_back() {
        let at = |marks: &[Watermark], now| combine(marks.iter().copied(), Span(10), Span(100), Timestamp(now));
        assert_eq!(at(&[], 0), None);
        assert_eq!(at(&[Watermark::default(), mark(50, 1)], 1), Some(Timestamp(40)));
        assert_eq!(at(&[mark(50, 1_000), mark(90, 1_000)], 1_050), Some(Timestamp(40)));
        assert_eq!(at(&[mark(50, 1), mark(90, 1_000)], 1_050), Some(Timestamp(80)));
        assert_eq!(at(&[mark(50, 1), mark(90, 1)], 1_050), Some(Timestamp(80)));
    }

    #[test]
    fn late_is_when_the_last_window_has_closed() {
        let window = Window { size: Span(5), slide: Span(1) };
        // Windows holding 7 start at 3..=7; the last ends at 12.
        assert!(!is_late(window, Timestamp(7), Timestamp(13), Span(2)));
        assert!(is_late(window, Timestamp(7), Timestamp(14), Span(2)));
    }
}
