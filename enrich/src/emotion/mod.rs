//! Which of seven emotions a text shows: those of Ekman, and neutral.
//!
//! A linear model over hashed n-grams of words and characters, trained on comments of Reddit that people labelled
//! (`GoEmotions`, Demszky et al., ACL 2020). `enrich/models/train.py` makes it; docs/enrichment.md defines it, says how
//! good it is and where it is not.
//!
//! # Layout
//!
//! - `features`: a text becomes keys.
//! - `model`: keys become weights.
//! - `chunks`: sums of weights, remembered for the words that come again.
//!
//! # Cost
//!
//! One pass over the text, one look into a table per chunk, and per n-gram (about four per byte) of chunks that were not
//! seen lately. Sums are of whole numbers, so that no order of addition and no processor changes which label is given.

mod chunks;
mod features;
mod model;

use std::cell::RefCell;
use std::fmt;

use self::chunks::{CHUNK_BYTES_MAX, Chunks};
use self::model::Model;
use crate::tokens::Normalised;

/// Buffers longer than this (bytes of text) are given back after use.
const RETAINED_BYTES_MAX: usize = 64 * 1024;

const CLASSES: usize = Emotion::ALL.len();

/// What a text shows. Without a label of its own, [`Neutral`](Emotion::Neutral).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Emotion {
    /// Anger, annoyance, disapproval.
    Anger,
    /// Disgust.
    Disgust,
    /// Fear, nervousness.
    Fear,
    /// All that is pleasant: joy, love, admiration, gratitude, amusement, pride, relief and others.
    Joy,
    /// None of the others.
    Neutral,
    /// Sadness, disappointment, embarrassment, grief, remorse.
    Sadness,
    /// Surprise, realization, confusion, curiosity.
    Surprise,
}

impl Emotion {
    /// All of them, in the order of the model and of the alphabet.
    pub const ALL: [Self; 7] =
        [Self::Anger, Self::Disgust, Self::Fear, Self::Joy, Self::Neutral, Self::Sadness, Self::Surprise];

    /// Its name, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Anger => "anger",
            Self::Disgust => "disgust",
            Self::Fear => "fear",
            Self::Joy => "joy",
            Self::Neutral => "neutral",
            Self::Sadness => "sadness",
            Self::Surprise => "surprise",
        }
    }

    /// The emotion of a [`name`](Self::name).
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|emotion| emotion.name() == name)
    }
}

impl fmt::Display for Emotion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How strongly a text shows each emotion.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Emotions {
    logits: [f64; CLASSES],
}

impl Emotions {
    /// The log-odds of an emotion.
    pub fn logit(&self, emotion: Emotion) -> f64 {
        self.logits[emotion as usize]
    }

    /// How likely readers would see an emotion in the text, from 0 to 1. A text may show several: the
    /// probabilities of the seven do not add up to 1.
    pub fn probability(&self, emotion: Emotion) -> f64 {
        let logit = self.logit(emotion);
        if logit >= 0.0 { 1.0 / (1.0 + (-logit).exp()) } else { 1.0 - 1.0 / (1.0 + logit.exp()) }
    }

    /// Whether a text has an emotion: its logit reaches the threshold that gave the best F1 in training.
    pub fn shows(&self, emotion: Emotion) -> bool {
        self.above(emotion) >= 0.0
    }

    fn above(&self, emotion: Emotion) -> f64 {
        self.logit(emotion) - Model::shared().threshold[emotion as usize]
    }

    /// The emotion that stands out most: the one farthest above its threshold, or least below it. On comments that the
    /// model had not seen it is right as often as the likeliest one, and finds rare emotions more often.
    pub fn strongest(&self) -> Emotion {
        let mut best = Emotion::ALL[0];
        for emotion in Emotion::ALL {
            if self.above(emotion) > self.above(best) {
                best = emotion;
            }
        }
        best
    }

    /// The emotions that the text [`shows`](Self::shows), in the order of [`Emotion::ALL`]; if none, the
    /// [`strongest`](Self::strongest) one, which is among them in any case.
    pub fn shown(&self) -> impl Iterator<Item = Emotion> + use<'_> {
        let strongest = self.strongest();
        Emotion::ALL.into_iter().filter(move |emotion| self.shows(*emotion) || *emotion == strongest)
    }
}

/// Reads texts one after another with buffers that are used again, and remembers what their words say.
///
/// The model is unpacked once per process and shared. The free functions use one reader per thread.
#[derive(Debug)]
pub struct Reader {
    model: &'static Model,
    text: Normalised,
    chunks: Chunks,
}

impl Reader {
    /// A reader that remembers nothing. The first one of a process also unpacks the model (some milliseconds).
    pub fn new() -> Self {
        Self { model: Model::shared(), text: Normalised::default(), chunks: Chunks::default() }
    }

    /// The emotions of `text`.
    pub fn emotions(&mut self, text: &str) -> Emotions {
        self.text.read(text);
        let (mut words, mut grams) = (Sums::default(), Sums::default());
        let mut before = None;
        // The space before the next chunk.
        let mut start = 0;
        for chunk in self.text.chunks() {
            let bytes = &self.text.bytes()[start..];
            start += chunk.len() + 1;
            if chunk.len() <= CHUNK_BYTES_MAX {
                let part = self.chunks.part(self.model, chunk, bytes);
                words.add(&part.words, u64::from(part.word_features));
                grams.add(&part.grams, u64::from(part.gram_features));
                if let Some(before) = before.replace(part.last) {
                    words.find(self.model, features::pair(before, part.first));
                }
            } else {
                for hash in features::hashes(chunk) {
                    words.find(self.model, features::word(hash));
                    if let Some(before) = before.replace(hash) {
                        words.find(self.model, features::pair(before, hash));
                    }
                }
                features::grams(bytes, chunk.len() + 1, |key| grams.find(self.model, key));
            }
        }
        if self.text.capacity() > RETAINED_BYTES_MAX {
            self.text = Normalised::default();
        }
        let (word_root, gram_root) = (words.root(), grams.root());
        let mut logits = [0.0; CLASSES];
        for (class, logit) in logits.iter_mut().enumerate() {
            let sum = words.weights[class] as f64 / word_root + grams.weights[class] as f64 / gram_root;
            *logit = self.model.bias[class] + self.model.scale[class] * sum;
        }
        Emotions { logits }
    }
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

/// The weights of a text's features of one kind, added up.
#[derive(Debug, Default)]
struct Sums {
    weights: [i64; CLASSES + 1],
    features: u64,
}

impl Sums {
    #[inline]
    fn add<T: Copy + Into<i64>>(&mut self, weights: &[T; CLASSES + 1], features: u64) {
        for (sum, weight) in self.weights.iter_mut().zip(weights) {
            *sum += (*weight).into();
        }
        self.features += features;
    }

    fn find(&mut self, model: &Model, key: u32) {
        self.add(model.find(key).unwrap_or(&[0; CLASSES + 1]), 1);
    }

    /// The square root of how many features there are, known or not: at least 1.
    fn root(&self) -> f64 {
        (self.features.max(1) as f64).sqrt()
    }
}

thread_local! {
    static READER: RefCell<Reader> = RefCell::new(Reader::new());
}

/// The emotions of a text.
///
/// ```
/// use tideline_enrich::emotion::{Emotion, emotions};
///
/// let emotions = emotions("I am so sorry for your loss");
/// assert_eq!(emotions.strongest(), Emotion::Sadness);
/// assert!(emotions.probability(Emotion::Sadness) > 0.5);
/// ```
pub fn emotions(text: &str) -> Emotions {
    READER.with_borrow_mut(|reader| reader.emotions(text))
}

/// The emotion that a text shows most.
///
/// ```
/// use tideline_enrich::emotion::Emotion;
///
/// assert_eq!(tideline_enrich::emotion("Thank you so much, this is amazing!"), Emotion::Joy);
/// ```
pub fn emotion(text: &str) -> Emotion {
    emotions(text).strongest()
}
