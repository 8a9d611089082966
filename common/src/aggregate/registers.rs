//! `HyperLogLog`: how many distinct values there are, in 2^15 registers.
//!
//! A value's 64-bit xxh3 hash names a register by its first 15 bits; the register keeps the greatest rank (position
//! of the first one) among the other 49. The estimate is Ertl's improved one ("New cardinality estimation
//! algorithms for `HyperLogLog` sketches", 2017, arXiv:1702.01284, algorithm 6): without tables, without a switch
//! between ranges, unbiased from nothing to 2^60. The standard error is 1.04 / √2^15 = 0.57 %.
//!
//! Registers that are zero are not stored, so a small set costs what it holds.

use xxhash_rust::xxh3::xxh3_64;

/// Bits of a hash that name the register.
pub const PRECISION: u32 = 15;
/// Number of registers.
pub const REGISTERS: usize = 1 << PRECISION;
/// Bits of a hash that rank it.
const RANKED: u32 = 64 - PRECISION;

/// The register of a hash, and its rank: from 1 to 50.
#[inline]
pub const fn register(hash: u64) -> (i32, i64) {
    let rank = (hash << PRECISION).leading_zeros();
    ((hash >> RANKED) as i32, (if rank > RANKED { RANKED } else { rank }) as i64 + 1)
}

/// The hash of a text.
#[inline]
pub fn hash_str(text: &str) -> u64 {
    xxh3_64(text.as_bytes())
}

/// The hash of an integer; also of an instant, as its microseconds.
#[inline]
pub fn hash_i64(i: i64) -> u64 {
    xxh3_64(&i.to_le_bytes())
}

/// The hash of a float: that of the integer when it is one, so that a column read as float counts like one read
/// as integer. 0 and −0 are one value, and so are all NaNs.
#[inline]
pub fn hash_f64(x: f64) -> u64 {
    // Between ±2^63 the cast is exact for whole numbers.
    #[allow(clippy::float_cmp)] // a whole number is exactly its own whole part
    let is_whole = x.trunc() == x;
    if is_whole && x.abs() < 9_223_372_036_854_775_808.0 {
        return hash_i64(x as i64);
    }
    let bits = if x.is_nan() { f64::NAN.to_bits() } else { x.to_bits() };
    xxh3_64(&bits.to_be_bytes())
}

/// The hash of a truth value.
#[inline]
pub fn hash_bool(b: bool) -> u64 {
    hash_i64(i64::from(b))
}

/// How many distinct values left these registers (register → rank; absent ones are zero; what is out of range
/// is not counted).
pub fn estimate(registers: &[(i32, i64)]) -> i64 {
    // How many registers have each rank.
    let mut ranks = [0_u32; RANKED as usize + 2];
    for &(register, rank) in registers {
        if (0..REGISTERS as i32).contains(&register) && (1..=i64::from(RANKED) + 1).contains(&rank) {
            ranks[rank as usize] += 1;
        }
    }
    let used: u32 = ranks.iter().sum();
    let m = REGISTERS as f64;
    let zeros = (m - f64::from(used)).max(0.0);
    if used == 0 {
        return 0;
    }
    let mut z = m * tau(1.0 - f64::from(ranks[RANKED as usize + 1]) / m);
    for rank in (1..=RANKED as usize).rev() {
        z = 0.5 * (z + f64::from(ranks[rank]));
    }
    z += m * sigma(zeros / m);
    // α∞ = 1 / (2 ln 2).
    (m * m / (2.0 * std::f64::consts::LN_2 * z)).round() as i64
}

/// σ(x) = x + Σ x^(2^k) 2^(k−1).
fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z <= before {
            return z;
        }
    }
}

/// τ(x) = (1 − x − Σ (1 − x^(2^−k))² 2^−k) / 3.
fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x).powi(2) * y;
        if z >= before {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The estimate after each of `counts` distinct values.
    fn estimates(seed: i64, counts: &[i64]) -> Vec<i64> {
        let mut ranks = vec![0_i64; REGISTERS];
        let mut next = 0;
        let mut estimates = Vec::new();
        for count in counts {
            while next < *count {
                let (register, rank) = register(hash_i64(seed * 1_000_000_007 + next));
                ranks[register as usize] = ranks[register as usize].max(rank);
                next += 1;
            }
            let used: Vec<(i32, i64)> = (0..).zip(ranks.iter().copied()).filter(|(_, rank)| *rank > 0).collect();
            estimates.push(estimate(&used));
        }
        estimates
    }

    #[test]
    fn estimates_are_within_two_percent_from_one_to_a_million() {
        let counts = [1, 2, 10, 100, 1_000, 10_000, 30_000, 60_000, 82_000, 100_000, 200_000, 1_000_000];
        let seeds = 24;
        let mut bias = vec![0.0; counts.len()];
        for seed in 0..seeds {
            for (at, (count, estimate)) in counts.iter().zip(estimates(seed, &counts)).enumerate() {
                let error = (estimate - count) as f64;
                // Of a hundred values some may share a register: whole numbers, not percents, until there are more.
                let allowed = (0.02 * *count as f64).max(4.0);
                assert!(error.abs() <= allowed, "seed {seed}: {count} are estimated as {estimate}");
                bias[at] += error / *count as f64 / seeds as f64;
            }
        }
        // The mean of 24 estimates has a standard error of 0.12 %: no bump where the ranges of older
        // estimators meet (at 2.5 · 2^15 = 82,000).
        assert!(bias.iter().all(|bias| bias.abs() < 0.004), "{bias:?}");
    }

    #[test]
    fn small_sets_are_counted_almost_exactly() {
        for seed in 0..30 {
            for (count, estimate) in [1, 2, 5, 20].into_iter().zip(estimates(seed, &[1, 2, 5, 20])) {
                assert!((estimate - count).abs() <= 1, "seed {seed}: {count} are estimated as {estimate}");
            }
        }
        assert_eq!(estimate(&[]), 0);
    }

    #[test]
    fn hashes_of_texts_are_as_good_as_those_of_integers() {
        let mut used = std::collections::BTreeMap::new();
        for i in 0..100_000 {
            let (register, rank) = register(hash_str(&format!("user-{i}")));
            let own = used.entry(register).or_insert(rank);
            *own = rank.max(*own);
        }
        let estimate = estimate(&used.into_iter().collect::<Vec<_>>());
        assert!((98_000..=102_000).contains(&estimate), "{estimate}");
    }

    #[test]
    fn registers_and_ranks_are_in_range() {
        assert_eq!(register(0), (0, 50));
        assert_eq!(register(u64::MAX), (REGISTERS as i32 - 1, 1));
        assert_eq!(register(1), (0, 49));
        assert_eq!(register(1 << 48), (0, 1));
        assert_eq!(register(1 << 49), (1, 50));
    }

    #[test]
    fn equal_values_hash_equally() {
        assert_eq!(hash_f64(0.0), hash_f64(-0.0));
        assert_eq!(hash_f64(3.0), hash_i64(3));
        assert_eq!(hash_f64(-3e15), hash_i64(-3_000_000_000_000_000));
        assert_eq!(hash_f64(f64::NAN), hash_f64(-f64::NAN));
        assert_ne!(hash_f64(0.5), hash_f64(0.25));
        assert_ne!(hash_f64(1e300), hash_f64(2e300));
    }

    #[test]
    fn damaged_registers_and_full_ones_are_harmless() {
        assert_eq!(estimate(&[(-1, 3), (1 << 20, 3), (0, 0), (0, 99)]), 0);
        let full: Vec<(i32, i64)> = (0..REGISTERS as i32).map(|register| (register, 50)).collect();
        assert!(estimate(&full) > 1 << 60);
    }
}
