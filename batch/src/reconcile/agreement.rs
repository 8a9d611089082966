//! What a comparison of the layers found.

use std::collections::BTreeMap;

use serde::Serialize;
use tideline_common::time::Timestamp;

/// Examples kept per view.
pub(super) const EXAMPLES: usize = 20;

/// Why the layers differ on a (key, pane).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// The speed layer left late rows of this group to batch, and counted them.
    Late,
    /// The speed rows may have outlived their time to live: a partition has had no record of this group for longer.
    Expired,
    /// A duplicate in this pane came from another partition than its first copy: only batch can see that.
    Duplicate,
    /// The layers stand at different positions, and what lies between may belong to this group.
    NotYet,
    /// A bug.
    Unexplained,
}

impl Difference {
    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Expired => "expired",
            Self::Duplicate => "duplicate",
            Self::NotYet => "not_yet",
            Self::Unexplained => "unexplained",
        }
    }
}

/// A group on which the layers differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Example {
    /// Values of the key, as text; `null` as nothing.
    pub key: Vec<String>,
    /// Start of the pane.
    pub pane: Timestamp,
    /// Why.
    pub because: Difference,
    /// The first state column that differs; `None` when one side lacks the group.
    pub field: Option<String>,
    /// The speed layer's state, `None` when it lacks the group.
    pub speed: Option<String>,
    /// Batch's state, `None` when it lacks the group.
    pub batch: Option<String>,
}

/// The comparison of one view.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ViewAgreement {
    /// Panes that end at or before this were compared; `None`: nothing was.
    pub through: Option<Timestamp>,
    /// Why nothing was compared.
    pub skipped: Option<String>,
    /// Groups that either side has.
    pub compared: u64,
    /// … on which both agree.
    pub equal: u64,
    /// … that only batch has, as far as they are in one of the counts below too.
    pub missing_in_speed: u64,
    /// … that only the speed layer has, likewise.
    pub missing_in_batch: u64,
    /// Explained by [`Difference::Late`].
    pub late: u64,
    /// Explained by [`Difference::Expired`].
    pub expired: u64,
    /// Explained by [`Difference::Duplicate`].
    pub duplicate: u64,
    /// Explained by [`Difference::NotYet`].
    pub not_yet: u64,
    /// Not explained.
    pub unexplained: u64,
    /// The first differences met, unexplained ones before others.
    pub examples: Vec<Example>,
}

impl ViewAgreement {
    pub(super) fn count(&mut self, because: Difference, by: u64) {
        match because {
            Difference::Late => self.late += by,
            Difference::Expired => self.expired += by,
            Difference::Duplicate => self.duplicate += by,
            Difference::NotYet => self.not_yet += by,
            Difference::Unexplained => self.unexplained += by,
        }
    }

    /// Whether another example of this kind would be kept.
    pub(super) fn wants(&self, because: Difference) -> bool {
        self.examples.len() < EXAMPLES || because == Difference::Unexplained
    }

    pub(super) fn keep(&mut self, example: Example) {
        if self.examples.len() >= EXAMPLES {
            let weaker = self.examples.iter().rposition(|kept| kept.because != Difference::Unexplained);
            match weaker {
                Some(at) if example.because == Difference::Unexplained => {
                    self.examples.remove(at);
                }
                _ => return,
            }
        }
        let at = if example.because == Difference::Unexplained {
            self.examples.partition_point(|kept| kept.because == Difference::Unexplained)
        } else {
            self.examples.len()
        };
        self.examples.insert(at, example);
    }
}

/// The comparison of all views.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Agreement {
    /// The version that was compared; 0: nothing is published yet.
    pub version: u64,
    /// When.
    pub at: Timestamp,
    /// By view.
    pub views: BTreeMap<String, ViewAgreement>,
}

impl Agreement {
    /// Differences that nothing explains, over all views.
    pub fn unexplained(&self) -> u64 {
        self.views.values().map(|view| view.unexplained).sum()
    }
}
