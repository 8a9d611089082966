//! `DDSketch`: quantiles with a bound on their relative error.
//!
//! Masson, Rim, Lee: "`DDSketch`: A Fast and Fully-Mergeable Quantile Sketch with Relative-Error Guarantees",
//! PVLDB 12 (2019). Values share a bucket when they are within a factor of each other; the bucket answers with
//! the number whose relative distance to both of its ends l and u is the same, 2lu / (l + u), which is within
//! α = (u − l) / (u + l) of every value in it.
//!
//! The paper's bucket is `⌈log_γ x⌉`. Here the logarithm is replaced by the quadratic that equals it at every power of
//! two (as in the authors' own implementation), because it takes no call and no rounding that could differ between
//! machines: x = (1 + s)·2^e with 0 ≤ s < 1 falls into bucket 38·e + ⌊38·s(4 − s)/3⌋. The quadratic's slope
//! is at worst 3/4 of what a logarithm needs, so 38 buckets per octave give α < 0.0099 where a true logarithm would
//! need 35 (the property test holds it at 0.0099 over all magnitudes).
//!
//! Bucket numbers are in the order of the values: negative values have the negated number of their magnitude,
//! 0 is bucket 0 together with the subnormal numbers (below 2.3e-308), infinities have the outermost numbers.

/// Buckets per octave.
pub const PER_OCTAVE: u32 = 38;
/// Bits of a float's mantissa.
pub const MANTISSA_BITS: u32 = 52;
const MANTISSA: u64 = (1 << MANTISSA_BITS) - 1;
const ONE: u64 = 1023 << MANTISSA_BITS;
const INFINITE_EXPONENT: u32 = 2047;

/// The bucket of `x`; `None` for NaN.
#[inline]
pub fn bucket(x: f64) -> Option<i32> {
    let bits = x.to_bits();
    let exponent = ((bits >> MANTISSA_BITS) & 0x7FF) as u32;
    if exponent == 0 {
        return Some(0);
    }
    if exponent == INFINITE_EXPONENT && bits & MANTISSA != 0 {
        return None;
    }
    let s = f64::from_bits(bits & MANTISSA | ONE) - 1.0;
    let step = (s * (4.0 - s) * (f64::from(PER_OCTAVE) / 3.0)) as u32;
    let magnitude = (exponent * PER_OCTAVE + step) as i32;
    Some(if x < 0.0 { -magnitude } else { magnitude })
}

/// The value that a bucket answers with.
pub fn value(bucket: i32) -> f64 {
    let magnitude = bucket.unsigned_abs();
    let (exponent, step) = (magnitude / PER_OCTAVE, magnitude % PER_OCTAVE);
    // Inverse of s(4 − s)/3, plus one.
    let bound = |step: u32| 3.0 - (4.0 - 3.0 * f64::from(step) / f64::from(PER_OCTAVE)).sqrt();
    let absolute = if exponent == 0 {
        0.0
    } else if exponent >= INFINITE_EXPONENT {
        f64::INFINITY
    } else {
        let (low, high) = (bound(step), bound(step + 1));
        let scale = f64::from_bits(u64::from(exponent) << MANTISSA_BITS);
        scale * (2.0 * low * high / (low + high))
    };
    if bucket < 0 { -absolute } else { absolute }
}

/// The lower `q`-quantile of bucket → count pairs in ascending order: the bucket of the value at rank
/// ⌊q·(n − 1)⌋ among n. `None` without any. Counts below 1 are not counted.
pub fn quantile(buckets: &[(i32, i64)], q: f64) -> Option<f64> {
    let counted = || buckets.iter().filter(|(_, count)| *count > 0);
    let n = counted().fold(0_i64, |n, (_, count)| n.saturating_add(*count));
    let rank = (q.clamp(0.0, 1.0) * (n - 1).max(0) as f64) as i64;
    let mut below = 0_i64;
    counted()
        .find(|(_, count)| {
            below = below.saturating_add(*count);
            below > rank
        })
        // With more than 2^53 values the rank is rounded, and may be rounded past the end.
        .or_else(|| counted().next_back())
        .map(|(bucket, _)| value(*bucket))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::float_cmp)]
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    /// The bound that the buckets are made for.
    const ALPHA: f64 = 0.0099;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

        #[test]
        fn a_bucket_is_within_one_percent_of_every_value(bits in any::<u64>()) {
            let x = f64::from_bits(bits);
            prop_assume!(x.is_normal());
            let answer = value(bucket(x).unwrap());
            prop_assert!((answer - x).abs() <= ALPHA * x.abs(), "{x} answers {answer}");
        }

        #[test]
        fn buckets_are_in_the_order_of_their_values(x in any::<f64>(), y in any::<f64>(), near in 0.0..0.1_f64) {
            for (x, y) in [(x, y), (x, x * (1.0 + near)), (x, x.next_up())] {
                if let (Some(a), Some(b)) = (bucket(x), bucket(y)) {
                    prop_assert!(if x <= y { a <= b } else { a >= b }, "{x}: {a}, {y}: {b}");
                }
            }
        }
    }

    #[test]
    fn both_ends_of_every_bucket_are_within_the_bound() {
        // One octave, edge by edge: the bucket changes between two neighbouring floats.
        let mut edges = 0;
        let mut x = 1.0_f64;
        while x < 2.0 {
            let (mut inside, mut outside) = (x, 2.0_f64);
            while inside.next_up() < outside {
                let middle = inside + (outside - inside) / 2.0;
                if bucket(middle) == bucket(x) { inside = middle } else { outside = middle }
            }
            let answer = value(bucket(x).unwrap());
            for end in [x, inside] {
                assert!((answer - end).abs() <= ALPHA * end, "{end} answers {answer}");
            }
            edges += 1;
            x = outside;
        }
        assert_eq!(edges, PER_OCTAVE);
    }

    #[test]
    fn the_outermost_values() {
        for x in [0.0, -0.0, f64::MIN_POSITIVE / 2.0, 5e-324, -5e-324] {
            assert_eq!((bucket(x), value(bucket(x).unwrap())), (Some(0), 0.0));
        }
        assert_eq!(bucket(f64::NAN), None);
        assert_eq!(bucket(-f64::NAN), None);
        for x in [f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(value(bucket(x).unwrap()), x);
        }
        for x in [f64::MAX, f64::MIN, f64::MIN_POSITIVE, -f64::MIN_POSITIVE, 1.0, -1.0] {
            let answer = value(bucket(x).unwrap());
            assert!((answer / x - 1.0).abs() <= ALPHA, "{x} answers {answer}");
        }
        // Damaged numbers answer something, and do not panic.
        assert_eq!(value(i32::MAX), f64::INFINITY);
        assert_eq!(value(i32::MIN), f64::NEG_INFINITY);
    }

    #[test]
    fn ranks_count_from_zero_and_round_down() {
        let buckets = [(bucket(-5.0).unwrap(), 1), (0, 2), (bucket(7.0).unwrap(), 0), (bucket(100.0).unwrap(), 1)];
        let at = |q| quantile(&buckets, q).unwrap();
        assert!((at(0.0) + 5.0).abs() <= 0.05);
        assert_eq!((at(0.34), at(0.5), at(0.99)), (0.0, 0.0, 0.0));
        assert!((at(1.0) - 100.0).abs() <= 1.0);
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[(1, 0), (2, -5)], 0.5), None);
        // Counts past 64 bits, of damaged data: an answer, and no panic.
        assert_eq!(quantile(&[(0, i64::MAX), (77_786, i64::MAX)], 1.0), Some(f64::INFINITY));
    }
}
