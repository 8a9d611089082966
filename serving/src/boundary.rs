//! Which layer answers for which panes.
//!
//! # The whole merge in prose
//! Time is cut into panes. The batch layer publishes, per view, an instant called `through`: every pane that ends at or
//! before it has been recomputed from Bronze, late records included, and belongs to batch. Every other pane belongs to
//! the speed layer. The *boundary* is `through` rounded down to a whole pane, so that no pane is cut in two: a pane
//! that begins before the boundary is read from Gold, one that begins at or after it from the speed views, and never
//! from both. What an answer needs is one interval of panes `[from, to)`; the boundary splits it into `[from, b)` for
//! batch and `[b, to)` for speed. The two are contiguous by construction: no hole, no overlap, one of them may be
//! empty. A batch layer that is ahead of the query answers it alone, and so does the speed layer before the first run.
//!
//! Gold and the speed views hold the same states (one plan, one transform), so the panes of both are merged into
//! windows by the states' merge rules, whatever side a pane came from; only then measures are finished and formulas
//! evaluated. A window may take its older panes from batch and its newer ones from speed.
//!
//! The boundary comes from one manifest, read before anything else and used for every read of the answer; the speed
//! views never remove a pane because batch has it. A run that publishes during the answer changes nothing in it.
//!
//! Three things can go wrong, and each is said in the answer (`provenance.missing`) instead of being left out:
//! - *A layer cannot be read.* Its interval is missing; windows that reach into it are marked `partial`.
//! - *The boundary is not known*, because no manifest could be read since the start. Speed answers for everything it
//!   still has, and the whole interval of batch is named as missing.
//! - *Speed has forgotten what batch has not yet taken in*: rows of the speed views live for `retain.speed` after their
//!   last write. If the manifest is older than that, panes after the boundary may have expired. Where the manifest's
//!   positions show that batch has every record that speed has, batch takes over all panes (Gold holds those after
//!   `through` too), and nothing is missing; otherwise the interval that may have expired is named.

use serde::{Serialize, Serializer};
use tideline_common::time::{Span, Timestamp};

/// Which layer an answer is asked from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// Batch up to the boundary, speed after it.
    #[default]
    Merged,
    /// The speed views alone.
    Speed,
    /// What batch has published, alone; also panes after `through`, as far as their records were there.
    Batch,
}

impl Layer {
    /// Its name in queries.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Merged => "merged",
            Self::Speed => "speed",
            Self::Batch => "batch",
        }
    }

    /// The layer of this name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Merged, Self::Speed, Self::Batch].into_iter().find(|layer| layer.name() == text)
    }
}

/// A stretch of time `[from, to)`, never empty; [`Timestamp::MIN`] and [`Timestamp::MAX`] are "unbounded" and `null`
/// in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Interval {
    /// Its first instant.
    #[serde(serialize_with = "bound")]
    pub from: Timestamp,
    /// The first instant after it.
    #[serde(serialize_with = "bound")]
    pub to: Timestamp,
}

// The signatures are serde's.
#[allow(clippy::trivially_copy_pass_by_ref)]
pub(crate) fn bound<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    if *at == Timestamp::MIN || *at == Timestamp::MAX {
        serializer.serialize_none()
    } else {
        serializer.collect_str(at)
    }
}

impl Interval {
    /// All of time.
    pub const ALL: Self = Self { from: Timestamp::MIN, to: Timestamp::MAX };

    /// `[from, to)`, `None` when it would be empty.
    pub fn new(from: Timestamp, to: Timestamp) -> Option<Self> {
        (from < to).then_some(Self { from, to })
    }

    /// Whether an instant is in it.
    pub fn contains(self, at: Timestamp) -> bool {
        self.from <= at && at < self.to
    }

    /// The interval as long as this that begins so much earlier; `None` at the beginning of time.
    pub fn before(self, by: Span) -> Option<Self> {
        Self::new(self.from.minus(by), self.to.minus(by)).filter(|before| before.from < self.from)
    }

    /// Whether both share an instant.
    pub fn overlaps(self, other: Self) -> bool {
        self.from < other.to && other.from < self.to
    }
}

/// The split of one interval of panes between the layers: the intervals of both are contiguous, disjoint, and together
/// are the whole. See the module for the merge that rests on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// Panes that begin here are batch's.
    pub batch: Option<Interval>,
    /// Panes that begin here are speed's.
    pub speed: Option<Interval>,
}

impl Split {
    /// Splits `panes` for `layer`. `through` is the view's in the manifest, `None` when nothing belongs to batch yet;
    /// `pane` is the length of a pane.
    pub fn of(layer: Layer, panes: Interval, through: Option<Timestamp>, pane: Span) -> Self {
        match layer {
            Layer::Speed => Self { batch: None, speed: Some(panes) },
            Layer::Batch => Self { batch: Some(panes), speed: None },
            Layer::Merged => {
                let boundary = boundary(through, pane).max(panes.from).min(panes.to);
                Self { batch: Interval::new(panes.from, boundary), speed: Interval::new(boundary, panes.to) }
            }
        }
    }

    /// Everything belongs to batch, because it has every record that speed has.
    pub const fn batch_only(panes: Interval) -> Self {
        Self { batch: Some(panes), speed: None }
    }
}

/// The boundary: panes that begin before it belong to batch. The end of the last pane that ends at or before `through`.
pub fn boundary(through: Option<Timestamp>, pane: Span) -> Timestamp {
    match through {
        None | Some(Timestamp::MIN) => Timestamp::MIN,
        Some(Timestamp::MAX) => Timestamp::MAX,
        Some(at) => at.floor(pane),
    }
}

/// Why a part of an answer is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The layer's store could not be reached.
    Unavailable,
    /// The layer's store did not answer in time.
    TimedOut,
    /// What the layer has stored cannot be read.
    Damaged,
    /// The manifest cannot be read, so what belongs to batch is not known; speed answers instead as far as it can.
    BoundaryUnknown,
    /// Speed rows may have passed their time to live before batch took them in.
    Expired,
}

impl Reason {
    /// Its name in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::TimedOut => "timed_out",
            Self::Damaged => "damaged",
            Self::BoundaryUnknown => "boundary_unknown",
            Self::Expired => "expired",
        }
    }
}

/// A part that an answer should have and has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// The layer that should have answered.
    pub layer: Layer,
    /// The panes.
    #[serde(flatten)]
    pub panes: Interval,
    /// Why.
    pub reason: Reason,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Every pane of the interval is in exactly one of both, and batch's panes are those that end by `through`.
        #[test]
        fn no_hole_and_no_overlap(from in -50i64..50, length in 1i64..50, through in prop::option::of(-120i64..120), pane in 1i64..7) {
            let panes = Interval::new(Timestamp(from * pane), Timestamp((from + length) * pane)).unwrap();
            let split = Split::of(Layer::Merged, panes, through.map(Timestamp), Span(pane));
            let holds = |part: Option<Interval>, at: i64| part.is_some_and(|p| p.from.0 <= at && at < p.to.0);
            for index in from..from + length {
                let start = index * pane;
                prop_assert!(holds(split.batch, start) != holds(split.speed, start));
                prop_assert_eq!(holds(split.batch, start), through.is_some_and(|t| start + pane <= t));
            }
            prop_assert_eq!(split.batch.or(split.speed).unwrap().from, panes.from);
            prop_assert_eq!(split.speed.or(split.batch).unwrap().to, panes.to);
        }
    }

    #[test]
    fn unbounded_time_is_split_too() {
        let split = Split::of(Layer::Merged, Interval::ALL, Some(Timestamp(125)), Span(60));
        assert_eq!(split.batch, Interval::new(Timestamp::MIN, Timestamp(120)));
        assert_eq!(split.speed, Interval::new(Timestamp(120), Timestamp::MAX));
        assert_eq!(Split::of(Layer::Merged, Interval::ALL, None, Span(60)).batch, None);
        let json = serde_json::to_string(&split.batch).unwrap();
        assert_eq!(json, r#"{"from":null,"to":"1970-01-01T00:00:00.000120Z"}"#);
    }

    #[test]
    fn a_layer_alone_answers_for_everything() {
        let panes = Interval::new(Timestamp(0), Timestamp(100)).unwrap();
        assert_eq!(
            Split::of(Layer::Speed, panes, Some(Timestamp(50)), Span(10)),
            Split { batch: None, speed: Some(panes) }
        );
        assert_eq!(
            Split::of(Layer::Batch, panes, Some(Timestamp(50)), Span(10)),
            Split { batch: Some(panes), speed: None }
        );
    }
}
