//! Which windows can change no more: pure arithmetic.

use tideline_common::time::Timestamp;
use tideline_common::window::Window;

/// The start of the first window that may still change when the shards of a view with windows of `view` have come to
/// `watermark`: every window of `window` that starts before it is final.
///
/// A record is late, and left to batch, when no window of the view that holds it is open any more
/// ([`tideline_common::watermark::is_late`]). Until then it changes its pane, and with it *every* window that holds the
/// pane, those that have ended included. A window is therefore final when the last of the view's windows that holds its
/// last instant has ended: at its own end where windows do not overlap, and `size − slide` later where they do.
pub(super) fn first_open(window: Window, view: Window, watermark: Timestamp) -> Timestamp {
    // t is final ⟺ floor(t, view.slide) + view.size ≤ watermark ⟺ t < final_before
    let final_before = watermark.minus(view.size).floor(view.slide).plus(view.slide);
    // Of a window that starts at s the last instant is s + size − 1: final ⟺ s + size ≤ final_before
    final_before.minus(window.size).floor(window.slide).plus(window.slide)
}

/// The first pane that a window which starts at `start` or later, or the one `before` it, needs.
pub(super) fn first_needed(window: Window, start: Timestamp, before: bool) -> Timestamp {
    if before { start.minus(window.slide) } else { start }
}

/// The first start after `after`, if given, of a window that holds something of a pane.
pub(super) fn first_start(window: Window, pane: Timestamp, from: Option<Timestamp>) -> Timestamp {
    let first = window.first_start(pane);
    from.map_or(first, |from| first.max(from.ceil(window.slide)))
}

/// Starts of the windows that hold a pane and have not closed, ascending.
pub(super) fn open_starts(
    window: Window,
    pane: Timestamp,
    through: Option<Timestamp>,
) -> impl Iterator<Item = Timestamp> {
    window.starts(pane).filter(move |start| through.is_none_or(|through| *start >= through))
}

/// Whether a window that holds the pane has closed.
pub(super) fn has_closed(window: Window, pane: Timestamp, through: Option<Timestamp>) -> bool {
    through.is_some_and(|through| window.first_start(pane) < through)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use tideline_common::time::Span;
    use tideline_common::watermark::is_late;

    use super::*;

    proptest! {
        /// A window is before the first open one just when every instant in it is late.
        #[test]
        fn final_is_when_every_instant_is_late(
            slide in 1i64..8, more in 0i64..8, own_slide in 1i64..8, own_more in 0i64..8, highest in -40i64..40, lateness in 0i64..5,
        ) {
            let (size, own_size) = (slide + more, own_slide + own_more);
            let view = Window::new(Span(size), Span(slide)).unwrap();
            let window = Window::new(Span(own_size), Span(own_slide)).unwrap();
            let open = first_open(window, view, Timestamp(highest - lateness));
            for start in (-20..20).map(|n| n * own_slide) {
                let all_late = (start..start + own_size)
                    .all(|t| is_late(view, Timestamp(t), Timestamp(highest), Span(lateness)));
                prop_assert_eq!(Timestamp(start) < open, all_late, "{}", start);
            }
        }
    }

    #[test]
    fn windows_that_overlap_settle() {
        let sliding = Window::new(Span::from_secs(300), Span::MINUTE).unwrap();
        let minute = |n: i64| Timestamp(n * Span::MINUTE.0);
        // The window that starts at 0 ends at 5, and is final at 9.
        assert_eq!(first_open(sliding, sliding, minute(9)), minute(1));
        assert_eq!(first_open(sliding, sliding, Timestamp(minute(9).0 - 1)), minute(0));
        let tumbling = Window::new(Span::MINUTE, Span::MINUTE).unwrap();
        assert_eq!(first_open(tumbling, tumbling, minute(1)), minute(1));
    }
}
