//! Tests over how often each value occurs.

use std::collections::BTreeMap;

use super::gamma::chi_square_tail;

/// How often each value occurs in the reference and in the current sample, in the order of the values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// (in the reference, in the current sample) per value; never both 0.
    pub pairs: Vec<(u64, u64)>,
}

impl Counts {
    /// Counts values.
    pub fn of<T: Ord>(reference: impl IntoIterator<Item = T>, current: impl IntoIterator<Item = T>) -> Self {
        let mut counts: BTreeMap<T, (u64, u64)> = BTreeMap::new();
        for value in reference {
            counts.entry(value).or_default().0 += 1;
        }
        for value in current {
            counts.entry(value).or_default().1 += 1;
        }
        Self { pairs: counts.into_values().collect() }
    }

    fn totals(&self) -> (f64, f64) {
        let (reference, current) = self.pairs.iter().fold((0, 0), |(r, c), (pr, pc)| (r + pr, c + pc));
        (reference as f64, current as f64)
    }
}

/// p-value of Pearson's χ² test that the current sample has the frequencies of the reference: k − 1 degrees of freedom
/// over all k values of both. A value that the reference lacks makes it 0.
pub fn chi_square(counts: &Counts) -> f64 {
    let (reference, current) = counts.totals();
    let norm = current / reference;
    let statistic = counts.pairs.iter().map(|(reference, current)| {
        let expected = *reference as f64 * norm;
        let difference = *current as f64 - expected;
        difference * difference / expected
    });
    chi_square_tail(statistic.sum(), counts.pairs.len() as f64 - 1.0)
}

/// p-value of the two-sided z-test that one of two values is as frequent in both samples; 1 where there is one value only.
pub fn proportions(counts: &Counts) -> f64 {
    let (reference, current) = counts.totals();
    let [_, (second_reference, second_current)] = counts.pairs[..] else { return 1.0 };
    let (p1, p2) = (second_reference as f64 / reference, second_current as f64 / current);
    let pooled = (p1 * reference + p2 * current) / (reference + current);
    let z = (p1 - p2) / (pooled * (1.0 - pooled) * (1.0 / reference + 1.0 / current)).sqrt();
    // 2 (1 − Φ(|z|)), without the subtraction.
    libm::erfc(z.abs() / std::f64::consts::SQRT_2)
}

/// Jensen–Shannon distance: the square root of the divergence, natural logarithms; from 0 to √ln 2.
pub fn jensen_shannon(counts: &Counts) -> f64 {
    let (reference, current) = counts.totals();
    let entropy = |p: f64, middle: f64| if p > 0.0 { p * (p / middle).ln() } else { 0.0 };
    let (left, right) = counts.pairs.iter().fold((0.0, 0.0), |(left, right), (r, c)| {
        let (p, q) = (*r as f64 / reference, *c as f64 / current);
        let middle = f64::midpoint(p, q);
        (left + entropy(p, middle), right + entropy(q, middle))
    });
    // Rounding may leave less than nothing of two samples that are the same.
    (f64::midpoint(left, right)).max(0.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_cases_by_hand() {
        let counts = Counts::of("aabb".chars(), "aabb".chars());
        assert_eq!(counts.pairs, [(2, 2), (2, 2)]);
        assert!((proportions(&counts) - 1.0).abs() < 1e-15 && jensen_shannon(&counts) == 0.0);
        assert!((chi_square(&counts) - 1.0).abs() < 1e-15);
        let apart = Counts::of("aa".chars(), "bb".chars());
        assert!((jensen_shannon(&apart) - std::f64::consts::LN_2.sqrt()).abs() < 1e-15);
        assert!(chi_square(&apart) == 0.0, "the reference expects none of them");
        // Six throws of three kinds; χ² = 2 with two degrees of freedom: p = 1 / e.
        let dice = Counts { pairs: vec![(2, 4), (2, 2), (2, 0)] };
        assert!((chi_square(&dice) - (-2.0_f64).exp()).abs() < 1e-15, "χ² = 4");
    }
}
