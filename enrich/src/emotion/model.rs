//! The trained model: `enrich/models/emotion.bin`, whose layout `enrich/models/model.py` describes.

use std::sync::LazyLock;

use super::CLASSES;

static FILE: &[u8] = include_bytes!("../../models/emotion.bin");

const MAGIC: &[u8] = b"TLEMOTE1";

/// No feature has this key, so that it marks an empty slot.
const EMPTY: u32 = 0;

/// One number per class, and one that stays 0 so that a row is a whole word.
pub(super) type Weights = [i8; CLASSES + 1];

/// A place of the table: both at once, so that a feature costs one read of memory.
#[derive(Debug, Clone, Copy)]
struct Slot {
    key: u32,
    weights: Weights,
}

/// Weights per feature in an open hash table, and how their sums become logits.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) scale: [f64; CLASSES],
    pub(super) bias: [f64; CLASSES],
    /// The logit from which on a text has an emotion.
    pub(super) threshold: [f64; CLASSES],
    slots: Box<[Slot]>,
    /// Bits of a key that are not part of its slot. Keys are mixed, so that their highest bits spread well.
    shift: u32,
}

impl Model {
    /// The model of this program.
    pub(super) fn shared() -> &'static Self {
        // The file is part of the program and the tests read it.
        static MODEL: LazyLock<Model> =
            LazyLock::new(|| Model::read(FILE).expect("the emotion model in the program is complete"));
        &MODEL
    }

    /// `None` unless `file` is a model from its first to its last byte.
    fn read(file: &[u8]) -> Option<Self> {
        let mut rest = file.strip_prefix(MAGIC)?;
        let count = u32::from_le_bytes(*take(&mut rest)?) as usize;
        let mut numbers = [[0.0; CLASSES]; 3];
        for number in numbers.as_flattened_mut() {
            *number = f64::from_le_bytes(*take(&mut rest)?);
        }
        let [scale, bias, threshold] = numbers;
        if !numbers.as_flattened().iter().all(|number| number.is_finite()) {
            return None;
        }
        let (keys, weights) = rest.split_at_checked(count.checked_mul(size_of::<u32>())?)?;
        let (keys, []) = keys.as_chunks::<{ size_of::<u32>() }>() else { return None };
        let (weights, []) = weights.as_chunks::<CLASSES>() else { return None };
        if weights.len() != count {
            return None;
        }

        // At most half of the slots are taken: two looks find most keys, or that they are absent.
        let slots = (count * 2).next_power_of_two().max(2);
        let shift = u32::BITS - slots.trailing_zeros();
        let mut model = Self {
            scale,
            bias,
            threshold,
            slots: vec![Slot { key: EMPTY, weights: [0; CLASSES + 1] }; slots].into_boxed_slice(),
            shift,
        };
        let mut last = EMPTY;
        for (key, weights) in keys.iter().zip(weights) {
            let key = u32::from_le_bytes(*key);
            if key <= last {
                return None;
            }
            last = key;
            let mut slot = model.slot(key);
            while model.slots[slot].key != EMPTY {
                slot = (slot + 1) & (slots - 1);
            }
            let slot = &mut model.slots[slot];
            slot.key = key;
            for (to, from) in slot.weights.iter_mut().zip(weights) {
                *to = from.cast_signed();
            }
        }
        Some(model)
    }

    fn slot(&self, key: u32) -> usize {
        (key >> self.shift) as usize
    }

    /// The weights of a feature, if it has any.
    #[inline]
    pub(super) fn find(&self, key: u32) -> Option<&Weights> {
        let mut slot = self.slot(key);
        loop {
            let found = &self.slots[slot];
            if found.key == key && key != EMPTY {
                return Some(&found.weights);
            }
            if found.key == EMPTY {
                return None;
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(keys: &[u32]) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        file.extend((keys.len() as u32).to_le_bytes());
        file.extend([1.0_f64; 3 * CLASSES].iter().flat_map(|number| number.to_le_bytes()));
        file.extend(keys.iter().flat_map(|key| key.to_le_bytes()));
        file.extend((0..keys.len()).flat_map(|row| [row as u8; CLASSES]));
        file
    }

    #[test]
    fn every_key_is_found_and_no_other() {
        // Neighbours share their highest bits, and the last ones go round to the first slots.
        let keys = [1, 2, 3, 4, 7, 1 << 20, u32::MAX - 3, u32::MAX - 2, u32::MAX - 1, u32::MAX];
        let model = Model::read(&file(&keys)).unwrap();
        for (row, key) in keys.iter().enumerate() {
            assert_eq!(model.find(*key).unwrap()[..CLASSES], [row as i8; CLASSES], "{key}");
        }
        for key in [0, 5, 6, 8, 1 << 19, u32::MAX - 4] {
            assert_eq!(model.find(key), None, "{key}");
        }
    }

    #[test]
    fn a_file_that_is_not_whole_is_no_model() {
        let whole = file(&[1, 2, 3]);
        assert!(Model::read(&whole).is_some());
        for length in 0..whole.len() {
            assert!(Model::read(&whole[..length]).is_none(), "{length} bytes");
        }
        assert!(Model::read(&[&whole[..], &[0]].concat()).is_none(), "a byte more");
        assert!(Model::read(&file(&[2, 1])).is_none(), "keys descend");
        assert!(Model::read(&file(&[1, 1])).is_none(), "a key twice");
        assert!(Model::read(&file(&[0, 1])).is_none(), "the key of empty slots");
        let mut endless = whole;
        endless[12..20].copy_from_slice(&f64::NAN.to_le_bytes());
        assert!(Model::read(&endless).is_none(), "a scale that is no number");
    }

    #[test]
    fn the_model_of_the_program_is_whole() {
        let model = Model::shared();
        let keys = model.slots.iter().filter(|slot| slot.key != EMPTY).count();
        assert!(keys > 10_000, "{keys} features");
        assert!(FILE.len() < 3 << 20, "{} bytes", FILE.len());
        assert!(model.scale.iter().all(|scale| *scale > 0.0));
    }
}
