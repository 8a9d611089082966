//! How likely it is that a customer who writes this is about to leave, from 0 to 1.
//!
//! Phrases of the list `terms.txt` in four categories are counted and joined with the sentiment of [`crate::vader`]; a
//! logistic function makes a number of them. No public data says who left after writing what: the list and the
//! messages that its weights were fitted to were written for this project. docs/enrichment.md says what follows.

use std::cell::RefCell;
use std::sync::LazyLock;

use crate::phrases::{Numbered, Phrases};
use crate::tokens::Normalised;

/// Buffers longer than this (bytes of text) are given back after use.
const RETAINED_BYTES_MAX: usize = 64 * 1024;

/// The categories of the list, in the order of the constants below. What is in `other` counts for nothing: "noise
/// cancelling" is no cancelling.
const CATEGORIES: &[&str] = &["leave", "waver", "complaint", "stay", "other"];
const LEAVE: usize = 0;
const WAVER: usize = 1;
const COMPLAINT: usize = 2;
const STAY: usize = 3;

static PHRASES: LazyLock<Phrases> = LazyLock::new(|| {
    // The list is part of the program and the tests read it.
    Phrases::read(include_str!("terms.txt"), CATEGORIES).expect("the list in the program is right")
});

/// What of a text speaks for or against its writer's leaving. The counts are of phrases.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Signals {
    /// A decision to leave, or a step towards it: "cancel my subscription".
    pub leave: u32,
    /// A thought of it, or a condition: "considering a switch", "fed up".
    pub waver: u32,
    /// What went wrong: "charged twice", "still waiting".
    pub complaint: u32,
    /// Satisfaction, praise, an intention to stay.
    pub stay: u32,
    /// The compound score of [`crate::vader`], from −1 to 1.
    pub sentiment: f64,
}

impl Signals {
    /// The churn risk of a text with these signals, from 0 to 1. More signals of leaving, wavering or complaint never
    /// lower it, more of staying or a better sentiment never raise it.
    pub fn score(&self) -> f64 {
        let sum = weights::LEAVE * crate::risk::saturate(self.leave)
            + weights::WAVER * crate::risk::saturate(self.waver)
            + weights::COMPLAINT * crate::risk::saturate(self.complaint)
            + weights::STAY * crate::risk::saturate(self.stay)
            + weights::SENTIMENT * self.sentiment;
        crate::risk::logistic(weights::BIAS + sum)
    }
}

/// Log-odds, from `enrich/models/calibrate.py`.
mod weights {
    pub(super) const BIAS: f64 = -2.03;
    pub(super) const LEAVE: f64 = 4.62;
    pub(super) const WAVER: f64 = 3.43;
    pub(super) const COMPLAINT: f64 = 0.62;
    pub(super) const STAY: f64 = -1.47;
    pub(super) const SENTIMENT: f64 = -0.94;
}

#[derive(Debug, Default)]
struct Buffers {
    text: Normalised,
    numbered: Numbered,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

/// What of a text speaks for or against its writer's leaving.
pub fn signals(text: &str) -> Signals {
    BUFFERS.with_borrow_mut(|buffers| {
        let mut signals = Signals { sentiment: crate::vader::compound(text), ..Signals::default() };
        buffers.text.read(text);
        PHRASES.find(&buffers.text, &mut buffers.numbered, |found, _| {
            let count = match (found.category, found.negated) {
                (LEAVE, false) => &mut signals.leave,
                (WAVER, false) => &mut signals.waver,
                (COMPLAINT, false) => &mut signals.complaint,
                // "I am not leaving"; but "not amazing" is no complaint, and "no trouble" no praise.
                (STAY, false) | (LEAVE, true) => &mut signals.stay,
                _ => return,
            };
            *count += 1;
        });
        if buffers.text.capacity() > RETAINED_BYTES_MAX {
            *buffers = Buffers::default();
        }
        signals
    })
}

/// How likely it is that the writer of a text is about to leave as a customer, from 0 to 1.
///
/// ```
/// use tideline_enrich::churn_risk;
///
/// assert!(churn_risk("Third outage this month. Cancel my subscription.") > 0.8);
/// assert!(churn_risk("Love the new dashboard, thank you!") < 0.05);
/// ```
pub fn churn_risk(text: &str) -> f64 {
    signals(text).score()
}
