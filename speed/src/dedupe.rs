//! Keys of records seen, to find duplicates.
//!
//! A key is remembered until every window of every view of the source that holds its event time has closed:
//! until then a duplicate could be counted, after that it is late in any case. Whether a key counts as
//! remembered depends on the highest event time before the record in question, never on when the set was
//! swept, so that the same records give the same duplicates in batches of any size.
//!
//! A checkpoint holds all keys, millions of them where much comes in. Ordering and writing those takes longer than a
//! reader should wait for an answer, so a checkpoint takes a [`Snapshot`], which costs nothing, and is made beside the
//! loop. As long as one exists the keys in it stay as they are, and new ones are kept apart.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use tideline_common::plan::SourcePlan;
use tideline_common::state::{CodecError, Reader, write_signed, write_varint};
use tideline_common::time::{Span, Timestamp};
use tideline_common::window::Window;

/// Keys are hashes already: their low half is their hash.
#[derive(Clone, Copy, Debug, Default)]
struct Low(u64);

impl Hasher for Low {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}

/// Until when a key is remembered.
#[derive(Clone, Debug)]
pub(crate) struct Horizon {
    windows: Vec<Window>,
    lateness: Span,
}

impl Horizon {
    /// Of a source whose rows go to views of these windows. Without any, of the hour of the event time, which
    /// is how far the batch layer looks.
    pub(crate) fn new(source: &SourcePlan, windows: impl IntoIterator<Item = Window>) -> Self {
        let mut windows: Vec<Window> = windows.into_iter().collect();
        if windows.is_empty() {
            windows.push(Window { size: Span::HOUR, slide: Span::HOUR });
        }
        Self { windows, lateness: source.lateness }
    }

    /// The highest event time from which on a key with event time `time` is forgotten.
    fn of(&self, time: Timestamp) -> Timestamp {
        let end = self.windows.iter().map(|window| window.last_end(time)).max().unwrap_or(time);
        end.plus(self.lateness)
    }
}

/// Keys, each with the highest event time from which on it is forgotten.
type Keys = HashMap<u128, i64, BuildHasherDefault<Low>>;

/// Remembered keys of one shard.
#[derive(Clone, Debug)]
pub(crate) struct DedupeSet {
    horizon: Horizon,
    /// All keys; while there is a snapshot, those that have come since, which stand above the snapshot's.
    own: Keys,
    /// Keys that a snapshot has too, if there is one.
    shared: Option<Arc<Keys>>,
    added_since_sweep: usize,
}

/// The keys as they were at one moment, to be written.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot(Arc<Keys>);

impl DedupeSet {
    pub(crate) fn new(horizon: Horizon) -> Self {
        Self { horizon, own: Keys::default(), shared: None, added_since_sweep: 0 }
    }

    /// Number of keys, forgotten ones that have not been swept included.
    pub(crate) fn len(&self) -> usize {
        self.own.len() + self.shared.as_ref().map_or(0, |shared| shared.len())
    }

    /// Memory in bytes, estimated: key, time, control byte.
    pub(crate) fn bytes(&self) -> usize {
        (self.own.capacity() + self.shared.as_ref().map_or(0, |shared| shared.capacity())) * 33
    }

    /// Takes note of a key; whether it was remembered, when the highest event time before its record was
    /// `highest` (`i64::MIN` before the first).
    pub(crate) fn is_duplicate(&mut self, key: u128, time: Timestamp, highest: i64) -> bool {
        let forget_at = self.horizon.of(time).0;
        if let Some(known) = self.own.get_mut(&key) {
            if *known > highest {
                return true;
            }
            *known = forget_at;
            return false;
        }
        let known = self.shared.as_ref().and_then(|shared| shared.get(&key));
        if known.is_some_and(|known| *known > highest) {
            return true;
        }
        // One that is late for every view need not be remembered. One that the snapshot has forgotten is noted as any
        // other: it stands above that.
        if forget_at > highest || known.is_some() {
            self.own.insert(key, forget_at);
            self.added_since_sweep += 1;
        }
        false
    }

    /// Has all keys in one place. A snapshot that is still there keeps its own.
    fn gather(&mut self) {
        let Some(shared) = self.shared.take() else { return };
        match Arc::try_unwrap(shared) {
            Ok(mut keys) => {
                keys.extend(self.own.drain());
                self.own = keys;
            }
            Err(shared) => {
                for (key, at) in shared.iter() {
                    self.own.entry(*key).or_insert(*at);
                }
            }
        }
    }

    /// The keys as they are now.
    pub(crate) fn snapshot(&mut self) -> Snapshot {
        self.gather();
        let keys = Arc::new(std::mem::take(&mut self.own));
        self.shared = Some(Arc::clone(&keys));
        Snapshot(keys)
    }

    /// Drops what is forgotten, when there may be enough of it to be worth a pass.
    pub(crate) fn sweep(&mut self, highest: i64) {
        // As long as there is a snapshot its keys are not worth a copy.
        if self.shared.as_ref().is_some_and(|shared| Arc::strong_count(shared) == 1) {
            self.gather();
        }
        if self.shared.is_none() && self.added_since_sweep * 2 > self.own.len() {
            self.sweep_now(highest);
        }
    }

    /// Drops what is forgotten.
    pub(crate) fn sweep_now(&mut self, highest: i64) {
        self.gather();
        self.own.retain(|_, at| *at > highest);
        self.added_since_sweep = 0;
        if self.own.capacity() > 4 * self.own.len() + 1024 {
            self.own.shrink_to(2 * self.own.len());
        }
    }

    /// Adds what [`Snapshot::write`] wrote.
    pub(crate) fn read(&mut self, reader: &mut Reader<'_>) -> Result<(), CodecError> {
        for _ in 0..reader.varint()? {
            let key = reader.take(16)?.try_into().map_err(|_| reader.error("a key of 16 bytes"))?;
            self.own.insert(u128::from_le_bytes(key), reader.signed()?);
        }
        Ok(())
    }
}

impl Snapshot {
    /// Appends all keys: varint n, then per key, ascending, 16 bytes little endian and when it is forgotten.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let mut keys: Vec<(u128, i64)> = self.0.iter().map(|(key, at)| (*key, *at)).collect();
        keys.sort_unstable();
        out.reserve(10 + keys.len() * 26);
        write_varint(keys.len() as u64, out);
        for (key, at) in keys {
            out.extend_from_slice(&key.to_le_bytes());
            write_signed(at, out);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn set(windows: &[(i64, i64)], lateness: i64) -> DedupeSet {
        let windows = windows.iter().map(|(size, slide)| Window { size: Span(*size), slide: Span(*slide) }).collect();
        DedupeSet::new(Horizon { windows, lateness: Span(lateness) })
    }

    #[test]
    fn a_key_is_remembered_until_its_last_window_closes() {
        // Event time 7: the last window of the longer view is [5, 15), which closes at 17.
        for (highest, duplicate) in [(7, true), (16, true), (17, false)] {
            let mut set = set(&[(5, 1), (10, 5)], 2);
            assert!(!set.is_duplicate(1, Timestamp(7), i64::MIN));
            assert_eq!(set.is_duplicate(1, Timestamp(7), highest), duplicate, "{highest}");
        }
    }

    #[test]
    fn sweeping_changes_no_answer() {
        let mut swept = set(&[(5, 5)], 0);
        let mut never = swept.clone();
        for i in 0..500_u64 {
            let (key, time) = (u128::from(i * 7 % 40), Timestamp((i * 3 % 90) as i64));
            let highest = i as i64 / 6;
            assert_eq!(swept.is_duplicate(key, time, highest), never.is_duplicate(key, time, highest), "{i}");
            swept.sweep_now(highest);
        }
        assert!(swept.len() <= never.len());
        swept.sweep_now(i64::MAX);
        assert_eq!(swept.len(), 0);
    }

    #[test]
    fn keys_survive_their_bytes() {
        let mut set = set(&[(5, 5)], 0);
        for key in [3, 1, u128::MAX] {
            set.is_duplicate(key, Timestamp(2), i64::MIN);
        }
        let mut bytes = Vec::new();
        set.snapshot().write(&mut bytes);
        let mut other = DedupeSet::new(set.horizon.clone());
        other.read(&mut Reader::new(&bytes)).unwrap();
        assert!(other.is_duplicate(u128::MAX, Timestamp(2), 4) && !other.is_duplicate(2, Timestamp(2), 4));
        assert!(other.read(&mut Reader::new(&bytes[..bytes.len() - 1])).is_err());
    }

    #[test]
    fn a_snapshot_changes_no_answer_and_stays_as_it_is() {
        let mut with = set(&[(5, 5)], 0);
        let mut without = with.clone();
        let mut snapshots: Vec<(Snapshot, Vec<u8>)> = Vec::new();
        for i in 0..600_u64 {
            let (key, time) = (u128::from(i * 7 % 40), Timestamp((i * 3 % 90) as i64));
            let highest = i as i64 / 6;
            assert_eq!(with.is_duplicate(key, time, highest), without.is_duplicate(key, time, highest), "{i}");
            match i % 50 {
                0 => {
                    let mut bytes = Vec::new();
                    let snapshot = with.snapshot();
                    snapshot.write(&mut bytes);
                    let mut expected = Vec::new();
                    without.clone().snapshot().write(&mut expected);
                    assert_eq!(bytes, expected, "{i}");
                    snapshots.push((snapshot, bytes));
                }
                10 => with.sweep(highest),
                // Both, so that they remember the same: a sweep is seen in bytes, not in answers.
                20 if i % 100 == 20 => [&mut with, &mut without].into_iter().for_each(|set| set.sweep_now(highest)),
                40 if i % 150 == 40 => snapshots.clear(),
                _ => {}
            }
            for (snapshot, bytes) in &snapshots {
                let mut now = Vec::new();
                snapshot.write(&mut now);
                assert_eq!(now, *bytes, "{i}");
            }
        }
    }

    #[test]
    fn keys_are_in_one_place_again_when_the_snapshot_is_gone() {
        let mut set = set(&[(5, 5)], 0);
        assert!(!set.is_duplicate(1, Timestamp(2), i64::MIN));
        let snapshot = set.snapshot();
        assert!(!set.is_duplicate(2, Timestamp(2), i64::MIN) && set.is_duplicate(1, Timestamp(2), i64::MIN));
        set.sweep(0);
        assert_eq!((set.own.len(), set.len()), (1, 2));
        drop(snapshot);
        set.sweep(0);
        assert_eq!((set.own.len(), set.len(), set.shared.is_some()), (2, 2, false));
    }
}
