//! VADER sentiment, equal to the Python reference vaderSentiment 3.3.2 on all four scores.
//!
//! C.J. Hutto and E.E. Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media
//! Text", ICWSM 2014. What counts is the reference's code, quirks included; the comments name its functions.
//!
//! # Layout
//!
//! - `lexicon`: every word that the rules know, in one hash table: one lookup per token.
//! - `text`: emoji to descriptions, splitting, stripping: a text becomes tokens.
//! - `case`: `str.isupper`.
//! - `rules`: tokens become valences (boosters, negations, special cases, "least", "but").
//! - `round`: Python's `round(x, digits)`.
//!
//! # Cost
//!
//! One pass over the bytes, one table lookup per token, rules only at the few tokens that carry a valence; no
//! allocation once a [`Scorer`]'s buffers have grown to the longest usual text.

mod case;
mod lexicon;
mod round;
mod rules;
mod text;

use std::cell::RefCell;

use self::lexicon::Lexicon;
use self::round::round;
use self::rules::Valence;
use self::text::Tokens;

/// Buffers longer than this (bytes of text) are given back after use, so that one huge text does not pin its
/// memory for the life of a thread.
const RETAINED_BYTES_MAX: usize = 64 * 1024;

/// The value that the reference assumes as the largest usual sum of valences (`normalize`'s `alpha`).
const NORMALIZATION_ALPHA: f64 = 15.0;

/// The four scores of a text.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Scores {
    /// Share of negative tokens, 0 to 1, rounded to three digits.
    pub neg: f64,
    /// Share of neutral tokens, 0 to 1, rounded to three digits.
    pub neu: f64,
    /// Share of positive tokens, 0 to 1, rounded to three digits.
    pub pos: f64,
    /// Normalised sum of all valences, −1 (most negative) to 1 (most positive), rounded to four digits.
    pub compound: f64,
}

/// Scores texts one after another with buffers that are used again.
///
/// The lexicon is built once per process and shared. The free functions [`scores`] and [`compound`] use one
/// scorer per thread; hold your own where a thread-local is not wanted.
#[derive(Debug)]
pub struct Scorer {
    lexicon: &'static Lexicon,
    tokens: Tokens,
    valences: Vec<Valence>,
}

/// What is left of a text when the rules are done: valences, their sum, and the emphasis of its punctuation.
struct Evaluation<'a> {
    tokens: usize,
    /// The valences that are not zero, in the order of the text.
    valences: &'a [Valence],
    emphasis: f64,
}

impl Scorer {
    /// A scorer with empty buffers. The first one of a process also builds the lexicon (some milliseconds).
    pub fn new() -> Self {
        Self { lexicon: Lexicon::shared(), tokens: Tokens::default(), valences: Vec::new() }
    }

    /// All four scores of `text` (`SentimentIntensityAnalyzer.polarity_scores`).
    pub fn scores(&mut self, text: &str) -> Scores {
        let scores = self.evaluate(text).scores();
        self.give_back();
        scores
    }

    /// The compound score of `text` alone.
    pub fn compound(&mut self, text: &str) -> f64 {
        let compound = self.evaluate(text).compound();
        self.give_back();
        compound
    }

    fn evaluate(&mut self, text: &str) -> Evaluation<'_> {
        self.tokens.read(self.lexicon, text);
        rules::valences(&self.tokens, &mut self.valences);
        Evaluation { tokens: self.tokens.all.len(), valences: &self.valences, emphasis: self.tokens.emphasis() }
    }

    fn give_back(&mut self) {
        if self.tokens.capacity() > RETAINED_BYTES_MAX {
            self.tokens = Tokens::default();
            self.valences = Vec::new();
        }
    }
}

impl Default for Scorer {
    fn default() -> Self {
        Self::new()
    }
}

impl Evaluation<'_> {
    /// `score_valence`, the part for `compound`.
    fn compound(&self) -> f64 {
        let mut sum = 0.0;
        for valence in self.valences {
            sum += valence.value;
        }
        if sum > 0.0 {
            sum += self.emphasis;
        } else if sum < 0.0 {
            sum -= self.emphasis;
        }
        round::<4>((sum / (sum * sum + NORMALIZATION_ALPHA).sqrt()).clamp(-1.0, 1.0))
    }

    /// `score_valence` with `_sift_sentiment_scores`: a token counts 1 for being there, plus its valence.
    fn scores(&self) -> Scores {
        if self.tokens == 0 {
            return Scores::default();
        }
        let (mut pos, mut neg) = (0.0, 0.0);
        for valence in self.valences {
            if valence.value > 0.0 {
                pos += valence.value + 1.0;
            } else {
                neg += valence.value - 1.0;
            }
        }
        let neu = (self.tokens - self.valences.len()) as f64;
        // The comparison is made once: the emphasis goes to the larger side only.
        if pos > f64::abs(neg) {
            pos += self.emphasis;
        } else if pos < f64::abs(neg) {
            neg -= self.emphasis;
        }
        let total = pos + f64::abs(neg) + neu;
        Scores {
            neg: round::<3>(f64::abs(neg / total)),
            neu: round::<3>(neu / total),
            pos: round::<3>(f64::abs(pos / total)),
            compound: self.compound(),
        }
    }
}

thread_local! {
    static SCORER: RefCell<Scorer> = RefCell::new(Scorer::new());
}

/// All four VADER scores of `text`, by this thread's [`Scorer`].
///
/// ```
/// let scores = tideline_enrich::vader::scores("VADER is smart, handsome, and funny!");
/// assert_eq!((scores.neg, scores.neu, scores.pos, scores.compound), (0.0, 0.248, 0.752, 0.8439));
/// ```
pub fn scores(text: &str) -> Scores {
    SCORER.with_borrow_mut(|scorer| scorer.scores(text))
}

/// The VADER compound score of `text` in −1 to 1, by this thread's [`Scorer`].
///
/// ```
/// assert_eq!(tideline_enrich::vader::compound("Today SUX!"), -0.5461);
/// ```
pub fn compound(text: &str) -> f64 {
    SCORER.with_borrow_mut(|scorer| scorer.compound(text))
}
