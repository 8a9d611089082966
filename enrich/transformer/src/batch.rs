//! Which texts are computed together.

/// Texts of one batch.
pub const BATCH_TEXTS_MAX: usize = 100;
/// Tokens of one batch, padding included. It bounds memory: what a layer of the size of `RoBERTa-base` computes of 4,096
/// tokens is some 150 MiB.
pub const BATCH_TOKENS_MAX: usize = 4096;
/// Texts are padded to a multiple of this many tokens.
const STEP: usize = 8;

/// A text as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tokens {
    /// The place of the text among those that were asked for.
    pub(crate) index: usize,
    pub(crate) ids: Vec<u32>,
}

impl Tokens {
    /// The length that it is padded to: its own tokens decide, nothing else.
    fn padded(&self) -> usize {
        self.ids.len().max(1).next_multiple_of(STEP)
    }
}

/// Texts of one padded length.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) texts: Vec<Tokens>,
    pub(crate) length: usize,
}

/// Cuts `texts` into batches: of one padded length, and within the bounds.
pub(crate) fn batches(mut texts: Vec<Tokens>) -> Vec<Batch> {
    texts.sort_by_key(Tokens::padded);
    let mut batches: Vec<Batch> = Vec::new();
    for text in texts {
        let length = text.padded();
        match batches.last_mut() {
            Some(batch) if batch.length == length && batch.texts.len() < texts_max(length) => batch.texts.push(text),
            _ => batches.push(Batch { texts: vec![text], length }),
        }
    }
    batches
}

/// Texts of a batch of `length`; one is always allowed.
const fn texts_max(length: usize) -> usize {
    let max = BATCH_TOKENS_MAX / length;
    match max {
        0 => 1,
        max if max > BATCH_TEXTS_MAX => BATCH_TEXTS_MAX,
        max => max,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn batches_hold_every_text_once_and_keep_their_bounds(lengths in proptest::collection::vec(0_usize..600, 0..500)) {
            let texts: Vec<Tokens> =
                lengths.iter().enumerate().map(|(index, length)| Tokens { index, ids: vec![7; *length] }).collect();
            let batches = batches(texts);
            let mut seen = vec![false; lengths.len()];
            for batch in &batches {
                prop_assert!(batch.texts.len() <= BATCH_TEXTS_MAX);
                prop_assert!(batch.texts.len() * batch.length <= BATCH_TOKENS_MAX);
                for text in &batch.texts {
                    prop_assert!(!std::mem::replace(&mut seen[text.index], true));
                    prop_assert_eq!(text.padded(), batch.length);
                    prop_assert!(text.ids.len() <= batch.length && batch.length < text.ids.len().max(1) + STEP);
                }
            }
            prop_assert!(seen.into_iter().all(|seen| seen));
        }
    }
}
