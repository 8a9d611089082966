//! Which partition a record goes to.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};

use tideline_common::position::Partition;

/// Records without a key that go to one partition before the next one's turn: enough for batches that compress.
const CHUNK: usize = 512;

/// Murmur2 with the seed of Kafka's Java client.
const fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ bytes.len() as u32;
    let mut rest = bytes;
    while let Some((word, after)) = rest.split_first_chunk::<4>() {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
        rest = after;
    }
    if !rest.is_empty() {
        let mut at = rest.len();
        while at > 0 {
            at -= 1;
            hash ^= (rest[at] as u32) << (8 * at);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// The partition of a key, as Kafka's Java client chooses it: producers of other systems agree with us.
pub(super) const fn of_key(key: &[u8], partitions: u32) -> Partition {
    (murmur2(key) & 0x7fff_ffff) % partitions
}

/// Gives records without a key their partitions, in turn.
#[derive(Debug)]
pub(super) struct Turns(AtomicU32);

impl Turns {
    /// Begins anywhere, so that processes that start together do not all begin with the first partition.
    pub(super) fn new() -> Self {
        Self(AtomicU32::new(RandomState::new().hash_one(std::process::id()) as u32))
    }

    /// Partitions for the records of one append.
    pub(super) fn start(&self) -> Turn<'_> {
        Turn { turns: self, taken: 0, current: 0 }
    }
}

/// See [`Turns::start`].
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    taken: usize,
    current: u32,
}

impl Turn<'_> {
    /// The partition of the next record without a key.
    pub(super) fn next(&mut self, partitions: u32) -> Partition {
        if self.taken.is_multiple_of(CHUNK) {
            self.current = self.turns.0.fetch_add(1, Ordering::Relaxed);
        }
        self.taken += 1;
        self.current % partitions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_the_java_client() {
        // From UtilsTest of Apache Kafka.
        let cases: [(&[u8], i32); 8] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
            (b"", 275_646_681),
            (b"kafka", -798_503_068),
        ];
        for (key, hash) in cases {
            assert_eq!(murmur2(key) as i32, hash, "{}", String::from_utf8_lossy(key));
            assert_eq!(of_key(key, 12), (hash & 0x7fff_ffff) as u32 % 12);
        }
    }

    #[test]
    fn records_without_a_key_take_turns_in_chunks() {
        let turns = Turns::new();
        let mut seen = [0; 3];
        for _ in 0..6 {
            let mut turn = turns.start();
            let first = turn.next(3);
            assert!((1..CHUNK).all(|_| turn.next(3) == first), "one partition per chunk");
            seen[first as usize] += 1;
            assert_ne!(turn.next(3), first, "then the next");
        }
        assert!(seen.iter().all(|n| *n > 0), "{seen:?}");
    }
}
