//! The two-sample test of Kolmogorov and Smirnov.

use super::kolmogorov::survival;

/// Samples up to this size are compared exactly, as `SciPy` does by default.
const EXACT_MAX: usize = 10_000;

/// p-value of the two-sided two-sample test, as `scipy.stats.ks_2samp`: exact while both samples have at most 10,000
/// values, by the limiting distribution beyond. Both samples ascending and not empty.
pub fn kolmogorov_smirnov(first: &[f64], second: &[f64]) -> f64 {
    let (n1, n2) = (first.len() as u64, second.len() as u64);
    let g = gcd(n1, n2);
    let lcm = n1 / g * n2;
    // The greatest distance of the two distribution functions is h / lcm.
    let h = greatest_distance(first, second) / g;
    if h == 0 {
        return 1.0;
    }
    if first.len().max(second.len()) <= EXACT_MAX {
        let p = if n1 == n2 { outside_square(n1, h) } else { outside_band(n1, n2, g, h) };
        // Rounding may carry it past 1; `SciPy` takes that for a failure of the exact method.
        if (0.0..=1.0).contains(&p) {
            return p;
        }
    }
    let (n1, n2) = (n1 as f64, n2 as f64);
    let n = (n1 * n2 / (n1 + n2)).round_ties_even();
    survival(n, h as f64 / lcm as f64).clamp(0.0, 1.0)
}

/// max |i·n2 − j·n1| over all values, of which i of the first sample and j of the second are not greater.
fn greatest_distance(first: &[f64], second: &[f64]) -> u64 {
    let (n1, n2) = (first.len() as u64, second.len() as u64);
    let (mut i, mut j, mut greatest) = (0, 0, 0);
    while i < first.len() && j < second.len() {
        let at = first[i].min(second[j]);
        i += first[i..].iter().take_while(|x| **x <= at).count();
        j += second[j..].iter().take_while(|x| **x <= at).count();
        greatest = greatest.max((i as u64 * n2).abs_diff(j as u64 * n1));
    }
    greatest
}

const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Share of the paths of n steps up and n to the right, in any order, that come as far as h from the diagonal
/// (Gnedenko and Korolyuk 1951): 2 Σ ± C(2n, n − kh) / C(2n, n), from the last term to the first, each as a product with
/// the one before it, so that nothing cancels.
fn outside_square(n: u64, h: u64) -> f64 {
    let mut p = 0.0;
    for k in (0..=n / h).rev() {
        let (below, above) = (n - k * h, n + k * h);
        // The factors run into 0 where the term has no paths.
        let ratio = (0..h).fold(1.0, |ratio, j| (below as f64 - j as f64) * ratio / (above + j + 1) as f64);
        p = ratio * (1.0 - p);
    }
    2.0 * p
}

/// Share of the paths of m steps to the right and n up, in any order, that leave the band |x/m − y/n| < h / lcm (Hodges
/// 1958; Viehmann 2021, arXiv:2102.08037, who follows the share that has left it, not the one that has not):
/// p(x, y) = (x · p(x − 1, y) + y · p(x, y − 1)) / (x + y), 1 outside of the band, 0 at its beginning.
fn outside_band(n1: u64, n2: u64, g: u64, h: u64) -> f64 {
    let (m, n) = (n1.max(n2), n1.min(n2));
    let (mg, ng) = ((m / g) as i64, (n / g) as i64);
    let (h, last) = (h as i64, n as i64);
    // Of the column at hand: p per y. What no column has written yet is above the band, where p is 1.
    let mut column = vec![1.0; n as usize + 1];
    let end = (h + mg - 1) / mg;
    column[..end.min(last + 1) as usize].fill(0.0);
    for x in 1..=m as i64 {
        let low = ((ng * x - h).div_euclid(mg) + 1).clamp(0, last);
        let high = ((ng * x + h + mg - 1) / mg).min(last + 1);
        if high <= low {
            return 1.0;
        }
        // Below the band p is 1; below 0 there is nothing, and the factor y is 0.
        let mut p = if low == 0 { 0.0 } else { 1.0 };
        for y in low..high {
            let here = &mut column[y as usize];
            p = (*here * x as f64 + p * y as f64) / (x + y) as f64;
            *here = p;
        }
    }
    column[n as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All ways to lay 2 and 3 values in order, counted by hand: 10 ways; the distance is 1 in two of them.
    #[test]
    fn small_samples_are_counted() {
        let first = [1.0, 2.0];
        assert!((kolmogorov_smirnov(&first, &[3.0, 4.0, 5.0]) - 0.2).abs() < 1e-15);
        assert!((kolmogorov_smirnov(&first, &[3.0, 4.0]) - 1.0 / 3.0).abs() < 1e-15);
        assert!((kolmogorov_smirnov(&first, &first) - 1.0).abs() < 1e-15);
        assert!((kolmogorov_smirnov(&[7.0], &[7.0, 7.0, 7.0]) - 1.0).abs() < 1e-15);
    }

    #[test]
    fn the_two_exact_methods_agree_on_squares() {
        for n in [1_u64, 2, 7, 30, 200] {
            for h in 1..=n {
                let (a, b) = (outside_square(n, h), outside_band(n, n, n, h));
                assert!((a - b).abs() < 1e-12, "n {n}, h {h}: {a} and {b}");
            }
        }
    }
}
