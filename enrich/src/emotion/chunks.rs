//! What the chunks of texts say, remembered: texts are made of the same few thousand words again and again.
//!
//! A chunk's part in the sums of a text depends on the chunk alone, but for the pair that its first token makes with
//! the token before it. So the parts of short chunks are kept in a table with one place per hash, where the last chunk
//! stays. What is found there is what would be computed: the table changes how long a text takes, never its answer.

use super::model::{Model, Weights};
use super::{CLASSES, features};
use crate::tokens::PADDING;

/// Bytes of the longest chunk that is remembered: three words of the machine.
pub(super) const CHUNK_BYTES_MAX: usize = 3 * size_of::<u64>();
const _: () = assert!(CHUNK_BYTES_MAX <= PADDING.len());

/// Places of the table (a power of two); a third of a megabyte.
const PLACES: usize = 4096;

/// A chunk's part.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Part {
    chunk: [u64; 3],
    /// The weights of its tokens and of its pairs of tokens, added up, and how many these are.
    pub(super) words: [i16; CLASSES + 1],
    pub(super) word_features: u16,
    /// The same for its character n-grams.
    pub(super) grams: [i16; CLASSES + 1],
    pub(super) gram_features: u16,
    /// The hashes of its first and last token.
    pub(super) first: u64,
    pub(super) last: u64,
}

// A chunk has at most 4 · (24 + 1) n-grams of characters, and 24 tokens with 23 pairs: no sum of weights leaves 16 bits.
const _: () = assert!(4 * (CHUNK_BYTES_MAX + 1) * 128 < i16::MAX as usize);

/// The table.
#[derive(Debug)]
pub(super) struct Chunks {
    parts: Box<[Part]>,
}

impl Default for Chunks {
    fn default() -> Self {
        // No chunk is empty, so that an empty place is never found.
        Self { parts: vec![Part::default(); PLACES].into_boxed_slice() }
    }
}

impl Chunks {
    /// The part of `chunk`, which has at most [`CHUNK_BYTES_MAX`] bytes. `bytes` begin with the space before it and have
    /// padding behind it.
    pub(super) fn part(&mut self, model: &Model, chunk: &str, bytes: &[u8]) -> &Part {
        let key = key(bytes, chunk.len());
        let mixed = key[0]
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .wrapping_add(key[1].wrapping_mul(0xC2B2_AE3D_27D4_EB4F))
            .wrapping_add(key[2].wrapping_mul(0x1656_67B1_9E37_79F9));
        let part = &mut self.parts[(mixed >> (u64::BITS - PLACES.trailing_zeros())) as usize];
        if part.chunk != key {
            *part = compute(model, key, chunk, bytes);
        }
        part
    }
}

/// The chunk as three numbers: its bytes, little-endian, and zeros behind them.
fn key(bytes: &[u8], length: usize) -> [u64; 3] {
    let mut key = [0; 3];
    if let Some(long) = bytes.get(1..=CHUNK_BYTES_MAX) {
        let (words, _) = long.as_chunks();
        for (index, (to, word)) in key.iter_mut().zip(words).enumerate() {
            let inside = length.saturating_sub(index * size_of::<u64>()).min(size_of::<u64>());
            let mask = u64::MAX.checked_shr(64 - 8 * inside as u32).unwrap_or(0);
            *to = u64::from_le_bytes(*word) & mask;
        }
    }
    key
}

#[cold]
fn compute(model: &Model, key: [u64; 3], chunk: &str, bytes: &[u8]) -> Part {
    let mut part = Part { chunk: key, ..Part::default() };
    let mut before = None;
    for hash in features::hashes(chunk) {
        add(&mut part.words, model.find(features::word(hash)));
        part.word_features += 1;
        match before.replace(hash) {
            None => part.first = hash,
            Some(before) => {
                add(&mut part.words, model.find(features::pair(before, hash)));
                part.word_features += 1;
            }
        }
        part.last = hash;
    }
    features::grams(bytes, chunk.len() + 1, |key| {
        add(&mut part.grams, model.find(key));
        part.gram_features += 1;
    });
    part
}

fn add(sums: &mut [i16; CLASSES + 1], weights: Option<&Weights>) {
    if let Some(weights) = weights {
        for (sum, weight) in sums.iter_mut().zip(weights) {
            *sum += i16::from(*weight);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_that_differ_have_different_keys() {
        let mut keys = ahash::AHashSet::new();
        for length in 1..=CHUNK_BYTES_MAX {
            for last in ["a", "b", "é"] {
                let chunk = format!("{}{last}", "x".repeat(length - last.len().min(length)));
                if chunk.len() == length {
                    let bytes = format!(" {chunk} {PADDING}");
                    assert!(keys.insert(key(bytes.as_bytes(), length)), "{chunk}");
                    // What follows the chunk is not part of it.
                    let other = format!(" {chunk} other words{PADDING}");
                    assert!(!keys.insert(key(other.as_bytes(), length)), "{chunk}");
                }
            }
        }
    }

    #[test]
    fn a_remembered_part_is_the_computed_one() {
        let model = Model::shared();
        let mut chunks = Chunks::default();
        for round in 0..2 {
            for chunk in ["love", "hate,", "don't", "!!!", "a", "😀", "(thanks)", "abcdefghijklmnopqrstuvwx"] {
                let bytes = format!(" {chunk} {PADDING}");
                let part = *chunks.part(model, chunk, bytes.as_bytes());
                let fresh = compute(model, key(bytes.as_bytes(), chunk.len()), chunk, bytes.as_bytes());
                assert_eq!(format!("{part:?}"), format!("{fresh:?}"), "round {round}");
                assert!(part.word_features > 0 && part.gram_features > 2);
            }
        }
    }
}
