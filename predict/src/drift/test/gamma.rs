//! The upper incomplete gamma function, regularised: what χ² needs.

/// Terms that a series or a continued fraction may take; √a times some tens are needed for a as great as 1e8.
const TERMS_MAX: u32 = 1_000_000;

/// P(X ≥ `statistic`) of a χ² variable with `degrees` of freedom: Q(degrees / 2, statistic / 2).
pub(super) fn chi_square_tail(statistic: f64, degrees: f64) -> f64 {
    if statistic <= 0.0 || degrees <= 0.0 {
        return 1.0;
    }
    if statistic.is_infinite() {
        return 0.0;
    }
    let (a, x) = (degrees / 2.0, statistic / 2.0);
    // Left of its mean the lower function converges quickly, right of it the upper one (Abramowitz and Stegun, 6.5.29
    // and 6.5.31).
    let scale = (a * x.ln() - x - libm::lgamma(a)).exp();
    if x < a + 1.0 { (1.0 - scale * lower(a, x)).clamp(0.0, 1.0) } else { (scale * upper(a, x)).clamp(0.0, 1.0) }
}

/// Σ xⁿ / (a (a + 1) … (a + n)).
fn lower(a: f64, x: f64) -> f64 {
    let (mut term, mut sum) = (1.0 / a, 1.0 / a);
    for n in 1..TERMS_MAX {
        term *= x / (a + f64::from(n));
        sum += term;
        if term < sum * f64::EPSILON / 4.0 {
            break;
        }
    }
    sum
}

/// 1 / (x + 1 − a − 1 (1 − a) / (x + 3 − a − 2 (2 − a) / (…))), by Lentz's method.
fn upper(a: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let mut b = x + 1.0 - a;
    let mut c = 1.0 / TINY;
    let mut d = 1.0 / b;
    let mut fraction = d;
    for n in 1..TERMS_MAX {
        let n = f64::from(n);
        let step = -n * (n - a);
        b += 2.0;
        let nonzero = |value: f64| if value.abs() < TINY { TINY } else { value };
        d = 1.0 / nonzero(step * d + b);
        c = nonzero(b + step / c);
        fraction *= d * c;
        if (d * c - 1.0).abs() < f64::EPSILON {
            break;
        }
    }
    fraction
}
