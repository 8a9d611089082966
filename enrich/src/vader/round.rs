//! Python's `round(x, digits)`: the decimal nearest to the exact binary value, ties to even.

/// `x` (finite, |x| ≤ 1) rounded to `DIGITS` decimal digits.
///
/// Scaling by a power of ten rounds, which could turn a value just below a tie into the tie itself. So near a
/// tie the scaling's error is computed exactly (a fused multiply-add) and decides. The quotient of the two
/// integers is the double nearest to the decimal, which is what Python's parse of the decimal gives.
pub(super) fn round<const DIGITS: u32>(x: f64) -> f64 {
    /// Far above the error of the scaling (2⁻⁴⁰ for products up to 10⁴), far below what lies between ties.
    const NEAR: f64 = 1e-9;

    let scale = f64::from(10_u32.pow(DIGITS));
    let magnitude = x.abs();
    let scaled = magnitude * scale;
    let below = scaled.floor();
    let over_tie = (scaled - below) - 0.5;
    let up = if over_tie.abs() > NEAR {
        over_tie > 0.0
    } else {
        let exact = over_tie + magnitude.mul_add(scale, -scaled);
        exact > 0.0 || (exact >= 0.0 && below % 2.0 >= 1.0)
    };
    let rounded = if up { below + 1.0 } else { below };
    (rounded / scale).copysign(x)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp)]
mod tests {
    use proptest::prelude::*;

    use super::round;

    #[test]
    fn ties_that_binary_holds_exactly_go_to_even() {
        // Values of Python 3.11's round(x, 3) and round(x, 4).
        assert_eq!(round::<3>(0.0625), 0.062);
        assert_eq!(round::<3>(0.1875), 0.188);
        assert_eq!(round::<3>(0.3125), 0.312);
        assert_eq!(round::<3>(0.4375), 0.438);
        assert_eq!(round::<3>(0.9375), 0.938);
        assert_eq!(round::<4>(0.03125), 0.0312);
        assert_eq!(round::<4>(-0.03125), -0.0312);
        assert_eq!(round::<4>(0.09375), 0.0938);
    }

    #[test]
    fn decimal_ties_go_where_their_binary_value_lies() {
        // 0.0005 is stored as slightly more than a tie, 0.0015 as slightly more, 0.0035 as more, 0.0045 as less.
        assert_eq!(round::<3>(0.0005), 0.001);
        assert_eq!(round::<3>(0.0015), 0.002);
        assert_eq!(round::<3>(0.0025), 0.003);
        assert_eq!(round::<3>(0.0035), 0.004);
        assert_eq!(round::<3>(0.0045), 0.004);
        assert_eq!(round::<3>(0.0), 0.0);
        assert_eq!(round::<3>(1.0), 1.0);
        assert_eq!(round::<4>(-1.0), -1.0);
    }

    proptest! {
        /// The standard library formats the exact binary value, so it serves as the slow, independent answer.
        #[test]
        fn equals_exact_decimal_formatting(x in -1.0..=1.0_f64) {
            prop_assert_eq!(round::<3>(x), format!("{x:.3}").parse::<f64>().unwrap());
            prop_assert_eq!(round::<4>(x), format!("{x:.4}").parse::<f64>().unwrap());
        }

        /// Neighbours of decimal ties, where the scaling alone would go wrong.
        #[test]
        fn equals_exact_decimal_formatting_at_ties(k in 0..10_000_u32, ulps in -3..=3_i64) {
            for (digits, tie) in [(3, (f64::from(k % 1_000) + 0.5) / 1e3), (4, (f64::from(k) + 0.5) / 1e4)] {
                let x = f64::from_bits((tie.to_bits() as i64 + ulps) as u64);
                let ours = if digits == 3 { round::<3>(x) } else { round::<4>(x) };
                prop_assert_eq!(ours, format!("{x:.digits$}").parse::<f64>().unwrap());
            }
        }
    }
}
