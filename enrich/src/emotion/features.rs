//! The n-grams of a text, as 32-bit keys: `features` of `enrich/models/text.py`.

use crate::tokens::{PADDING, tokens};

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
const FNV_OFFSET: u64 = 0xCBF2_9CE4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01B3;
/// Sets pairs of tokens apart from single ones.
const PAIR: u64 = 0x5BD1_E995_5BD1_E995;

/// Bytes of the shortest and the longest character n-gram.
const GRAM_BYTES: std::ops::RangeInclusive<usize> = 2..=5;
const _: () = assert!(*GRAM_BYTES.end() <= size_of::<u64>() && size_of::<u64>() <= PADDING.len());

/// The key of a 64-bit value.
fn mix(value: u64) -> u32 {
    (value.wrapping_mul(GOLDEN) >> 32) as u32
}

/// FNV-1a, 64 bits.
fn hash(token: &str) -> u64 {
    token.bytes().fold(FNV_OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME))
}

/// The hashes of a chunk's tokens.
pub(super) fn hashes(chunk: &str) -> impl Iterator<Item = u64> {
    tokens(chunk).map(hash)
}

/// The key of a token with this hash.
pub(super) fn word(hash: u64) -> u32 {
    mix(hash)
}

/// The key of two neighbouring tokens.
pub(super) fn pair(before: u64, hash: u64) -> u32 {
    mix(before.wrapping_mul(FNV_PRIME) ^ hash ^ PAIR)
}

/// Calls `each` with the key of every run of [`GRAM_BYTES`] bytes in a chunk with the spaces around it, repeats
/// included. `bytes` begin with the space before the chunk; the one after it is at `end`, and padding follows.
pub(super) fn grams(bytes: &[u8], end: usize, mut each: impl FnMut(u32)) {
    for at in 0..end {
        let Some(eight) = bytes[at..].first_chunk() else { break };
        let eight = u64::from_le_bytes(*eight);
        for length in GRAM_BYTES.take_while(|length| at + length <= end + 1) {
            each(mix(eight & (u64::MAX >> (64 - 8 * length))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{grams, mix};

    #[test]
    fn grams_stay_inside_their_chunk() {
        let mut found = Vec::new();
        grams(b" ab c            ", 3, |key| found.push(key));
        let key = |gram: &str| {
            let mut eight = [0; 8];
            eight[..gram.len()].copy_from_slice(gram.as_bytes());
            mix(u64::from_le_bytes(eight))
        };
        assert_eq!(found, [" a", " ab", " ab ", "ab", "ab ", "b "].map(key));
    }
}
