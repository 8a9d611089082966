//! How toxic a text is: rude or hateful towards somebody, from 0 to 1.
//!
//! Phrases of the list `terms.txt` in six categories are counted, with what stands
//! around them; a logistic function makes a number of the counts. There is no labelled data behind the list: its
//! weights are a judgement, corrected by 260 comments that one person labelled. docs/enrichment.md says how well
//! that works and where it does not.

use std::cell::RefCell;
use std::sync::LazyLock;

use crate::phrases::{Numbered, Phrases};
use crate::tokens::Normalised;

/// Buffers longer than this (bytes of text) are given back after use.
const RETAINED_BYTES_MAX: usize = 64 * 1024;

/// The categories of the list, in the order of the constants below.
const CATEGORIES: &[&str] = &["you", "slur", "threat", "attack", "insult", "demeaning", "profanity"];
const SLUR: usize = 1;
const THREAT: usize = 2;
const ATTACK: usize = 3;
const INSULT: usize = 4;
const DEMEANING: usize = 5;
const PROFANITY: usize = 6;

/// Whom an insult is for when one of these stands near it.
const YOU: &[&str] = &["you", "u", "ya", "you're", "youre", "your", "ur", "yourself", "yourselves", "yall", "y'all"];
/// Tokens on either side of an insult in which [`YOU`] makes it personal.
const NEAR_TOKENS: usize = 4;

static PHRASES: LazyLock<Phrases> = LazyLock::new(|| {
    // The list is part of the program and the tests read it.
    Phrases::read(include_str!("terms.txt"), CATEGORIES).expect("the list in the program is right")
});

/// What of a text speaks for its being toxic. Each number counts phrases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Signals {
    /// Words that degrade a group of people.
    pub slurs: u32,
    /// Threats, and wishes that somebody dies.
    pub threats: u32,
    /// What is said at somebody: "shut up", "go to hell".
    pub attacks: u32,
    /// Names that people are called: "idiot".
    pub insults: u32,
    /// Qualities that are demeaning of people, and harsh of things: "stupid", "disgusting".
    pub demeaning: u32,
    /// Insults and demeaning words near a "you".
    pub personal: u32,
    /// Strong language, whomever it is for.
    pub profanity: u32,
}

impl Signals {
    /// The toxicity of a text with these signals, from 0 to 1. More of one signal never lowers it.
    pub fn score(&self) -> f64 {
        let parts = [
            (self.slurs, weights::SLUR),
            (self.threats, weights::THREAT),
            (self.attacks, weights::ATTACK),
            (self.insults, weights::INSULT),
            (self.demeaning, weights::DEMEANING),
            (self.personal, weights::PERSONAL),
            (self.profanity, weights::PROFANITY),
        ];
        let sum: f64 = parts.iter().map(|(count, weight)| weight * crate::risk::saturate(*count)).sum();
        crate::risk::logistic(weights::BIAS + sum)
    }
}

/// Log-odds, from `enrich/models/calibrate.py`.
mod weights {
    pub(super) const BIAS: f64 = -4.01;
    pub(super) const SLUR: f64 = 5.00;
    pub(super) const THREAT: f64 = 4.00;
    pub(super) const ATTACK: f64 = 4.96;
    pub(super) const INSULT: f64 = 3.33;
    pub(super) const DEMEANING: f64 = 1.75;
    pub(super) const PERSONAL: f64 = 1.72;
    pub(super) const PROFANITY: f64 = 1.87;
}

#[derive(Debug, Default)]
struct Buffers {
    text: Normalised,
    numbered: Numbered,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

/// What of a text speaks for its being toxic.
pub fn signals(text: &str) -> Signals {
    BUFFERS.with_borrow_mut(|buffers| {
        let mut signals = Signals::default();
        buffers.text.read(text);
        PHRASES.find(&buffers.text, &mut buffers.numbered, |found, context| {
            let count = match found.category {
                // "not an idiot" is none; of a slur or a threat the mention is bad enough.
                SLUR => &mut signals.slurs,
                THREAT => &mut signals.threats,
                ATTACK => &mut signals.attacks,
                PROFANITY => &mut signals.profanity,
                INSULT if !found.negated => &mut signals.insults,
                DEMEANING if !found.negated => &mut signals.demeaning,
                _ => return,
            };
            *count += 1;
            if matches!(found.category, INSULT | DEMEANING) && context.beside(found, NEAR_TOKENS, YOU) {
                signals.personal += 1;
            }
        });
        if buffers.text.capacity() > RETAINED_BYTES_MAX {
            *buffers = Buffers::default();
        }
        signals
    })
}

/// How toxic a text is, from 0 to 1: the probability that a reader finds it rude or hateful towards somebody.
///
/// ```
/// use tideline_enrich::toxicity;
///
/// assert!(toxicity("Thanks, that was very kind of you.") < 0.1);
/// assert!(toxicity("Shut up, you stupid idiot") > 0.9);
/// ```
pub fn toxicity(text: &str) -> f64 {
    signals(text).score()
}
