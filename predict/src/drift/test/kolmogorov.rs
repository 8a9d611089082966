//! The distribution of Kolmogorov's statistic of n values: P(Dₙ > d).
//!
//! Which method where, as in Simard and L'Ecuyer (2011), *Journal of Statistical Software* 39(11), and in `SciPy`'s
//! `kolmogn`, whose cuts are kept: two of the methods are approximations, and the cut decides which one is seen.

use std::f64::consts::PI;

/// P(Dₙ > d) for n ≥ 1 values, n whole.
pub(super) fn survival(n: f64, d: f64) -> f64 {
    let t = n * d;
    if d >= 1.0 {
        return 0.0;
    }
    if t <= 0.5 || n < 1.0 {
        return 1.0;
    }
    if t <= 1.0 {
        // Ruben and Gambino: n! ((2t − 1) / n)ⁿ.
        let log = libm::lgamma(n + 1.0) + n * ((2.0 * t - 1.0) / n).ln();
        return 1.0 - log.exp();
    }
    if t >= n - 1.0 {
        return 2.0 * (1.0 - d).powf(n);
    }
    let square = t * d;
    // Far out, both sides are reached so rarely together that it is twice one side (exact from d = 1/2 on).
    let far = d >= 0.5 || square > 4.0 && n <= 140.0 || square >= 2.2 && n > 140.0;
    if far {
        return if n > 140.0 && d < 0.5 && square >= 370.0 { 0.0 } else { 2.0 * one_sided(n, d) };
    }
    if n <= 140.0 || n <= 100_000.0 && n * d.powf(1.5) <= 1.4 { 1.0 - durbin(n, d) } else { 1.0 - pelz_good(n, d) }
}

/// P(Dₙ⁺ ≥ d), of one side (Smirnov 1944): d Σ C(n, v) (d + v/n)^(v − 1) (1 − d − v/n)^(n − v), all terms positive.
fn one_sided(n: f64, d: f64) -> f64 {
    let mut sum = 0.0;
    let (mut v, mut log_choose) = (0.0, 0.0_f64);
    loop {
        let (below, above) = (d + v / n, 1.0 - d - v / n);
        if above <= 0.0 {
            break;
        }
        sum += (log_choose + (v - 1.0) * below.ln() + (n - v) * above.ln()).exp();
        log_choose += ((n - v) / (v + 1.0)).ln();
        v += 1.0;
    }
    d * sum
}

/// P(Dₙ ≤ d), exact: the middle of n! / nⁿ Hⁿ with Durbin's matrix H, whose power is taken by squaring (Marsaglia, Tsang
/// and Wang 2003). The matrix has about 2nd rows, some tens where it is used.
fn durbin(n: f64, d: f64) -> f64 {
    let k = (n * d).ceil() as usize;
    let h = k as f64 - n * d;
    let m = 2 * k - 1;
    let mut matrix = Matrix::zero(m);
    let mut factorial = 1.0;
    // 1 / j! on the diagonals; the first column and the last row less h^j / j!.
    let mut inverse = Vec::with_capacity(m + 1);
    for j in 0..=m {
        if j > 0 {
            factorial /= j as f64;
        }
        inverse.push(factorial);
    }
    for row in 0..m {
        for column in 0..m.min(row + 2) {
            *matrix.at(row, column) = inverse[row + 1 - column];
        }
    }
    for (j, inverse) in inverse.iter().enumerate().skip(1) {
        let less = h.powi(j as i32) * inverse;
        *matrix.at(j - 1, 0) -= less;
        *matrix.at(m - 1, m - j) -= less;
    }
    // The corner has lost both, and one half of its overlap.
    if 2.0 * h > 1.0 {
        *matrix.at(m - 1, 0) += (2.0 * h - 1.0).powi(m as i32) * inverse[m];
    }
    let (power, mut exponent) = matrix.power(n as u64, k - 1);
    let mut p = power;
    for i in 1..=n as u64 {
        p *= i as f64 / n;
        if p < 1e-140 {
            p *= 1e140;
            exponent -= 140;
        }
    }
    (p * 10.0_f64.powi(exponent)).clamp(0.0, 1.0)
}

/// A square matrix.
#[derive(Clone)]
struct Matrix {
    size: usize,
    cells: Vec<f64>,
}

impl Matrix {
    fn zero(size: usize) -> Self {
        Self { size, cells: vec![0.0; size * size] }
    }

    fn at(&mut self, row: usize, column: usize) -> &mut f64 {
        &mut self.cells[row * self.size + column]
    }

    fn times(&self, other: &Self) -> Self {
        let mut product = Self::zero(self.size);
        for (row, cells) in self.cells.chunks(self.size).enumerate() {
            let out = &mut product.cells[row * self.size..(row + 1) * self.size];
            for (factor, line) in cells.iter().zip(other.cells.chunks(self.size)) {
                for (sum, cell) in out.iter_mut().zip(line) {
                    *sum += factor * cell;
                }
            }
        }
        product
    }

    /// The cell in the middle of the n-th power, times ten to an exponent, which keeps all of it in range.
    fn power(mut self, mut n: u64, middle: usize) -> (f64, i32) {
        let mut result: Option<(Self, i32)> = None;
        let mut exponent = 0;
        loop {
            if n & 1 == 1 {
                result = Some(match result {
                    None => (self.clone(), exponent),
                    Some((power, of)) => rescaled(power.times(&self), of + exponent, middle),
                });
            }
            n >>= 1;
            if n == 0 {
                break;
            }
            (self, exponent) = rescaled(self.times(&self), 2 * exponent, middle);
        }
        let (mut power, exponent) = result.unwrap_or((self, 0));
        (*power.at(middle, middle), exponent)
    }
}

fn rescaled(mut matrix: Matrix, exponent: i32, middle: usize) -> (Matrix, i32) {
    if *matrix.at(middle, middle) <= 1e140 {
        return (matrix, exponent);
    }
    for cell in &mut matrix.cells {
        *cell *= 1e-140;
    }
    (matrix, exponent + 140)
}

/// P(Dₙ ≤ d), approximate: K₀(z) + K₁(z)/√n + K₂(z)/n + K₃(z)/n^1.5 with z = d √n (Pelz and Good 1976), each in the form
/// whose sums converge for small z.
fn pelz_good(n: f64, d: f64) -> f64 {
    let z = n.sqrt() * d;
    let z2 = z * z;
    let (z4, z6) = (z2 * z2, z2 * z2 * z2);
    let (pi2, pi4, pi6) = (PI.powi(2), PI.powi(4), PI.powi(6));
    // Below, not even the greatest term is a number.
    if pi2 / (8.0 * z2) > 708.0 {
        return 0.0;
    }
    let terms = (16.0 * z / PI).ceil() as i32;
    let mut k = [0.0; 4];
    for i in (1..=terms).rev() {
        // Over the halves: u = (i − 1/2)².
        let u = (f64::from(i) - 0.5).powi(2);
        let e = (-pi2 * u / (2.0 * z2)).exp();
        k[0] += e;
        k[1] += (pi2 * u - z2) * e;
        k[2] += (6.0 * z6 + 2.0 * z4 + (2.0 * z4 - 5.0 * z2) * pi2 * u + (1.0 - 2.0 * z2) * pi4 * u * u) * e;
        k[3] += (-30.0 * z6 - 90.0 * z6 * z2
            + (135.0 * z4 - 96.0 * z6) * pi2 * u
            + (212.0 * z4 - 60.0 * z2) * pi4 * u * u
            + (5.0 - 30.0 * z2) * pi6 * u * u * u)
            * e;
    }
    let root = (2.0 * PI).sqrt();
    for (k, scale) in k.iter_mut().zip([z, 6.0 * z4, 72.0 * z6 * z, 6480.0 * z4 * z6]) {
        *k *= root / scale;
    }
    let (mut second, mut third) = (0.0, 0.0);
    for i in (1..=terms).rev() {
        // Over the wholes: u = i².
        let u = f64::from(i).powi(2);
        let e = (-pi2 * u / (2.0 * z2)).exp();
        second += u * e;
        third += (3.0 * z2 - pi2 * u) * u * e;
    }
    k[2] -= pi2 * root / (36.0 * z2 * z) * second;
    k[3] += pi2 * root / (216.0 * z6) * third;
    k[0] + k[1] / n.sqrt() + k[2] / n + k[3] / (n * n.sqrt())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Every method, against `scipy.stats.kstwo.sf` (`tests/fixtures/make_evidently.py`).
    #[test]
    fn tails_are_scipys() {
        let (mut compared, mut wrong) = (0, Vec::new());
        for line in include_str!("../../../tests/fixtures/tests.ndjson").lines() {
            let case: serde_json::Value = serde_json::from_str(line).unwrap();
            if case["test"] != "kolmogorov" {
                continue;
            }
            let float = |field: &str| case[field].as_str().unwrap().parse::<f64>().unwrap();
            let (n, d, expected) = (case["n"].as_f64().unwrap(), float("d"), float("score"));
            let tail = survival(n, d);
            compared += 1;
            // One less something has no more than 1e-13 in all.
            if (tail - expected).abs() > 1e-9 * expected + 1e-13 {
                wrong.push(format!("n {n}, d {d}: {tail:e} here, {expected:e} there"));
            }
        }
        assert!(wrong.is_empty() && compared == 300, "of {compared}:\n{}", wrong.join("\n"));
    }

    #[test]
    fn durbin_and_the_approximation_meet() {
        for d in [0.01, 0.015, 0.02, 0.03, 0.04] {
            let (exact, near) = (durbin(1000.0, d), pelz_good(1000.0, d));
            assert!((exact - near).abs() < 1e-6, "d {d}: {exact} and {near}");
        }
    }
}
