//! The distance of the earth's mover.

/// First Wasserstein distance, ∫ |F − G|, over the standard deviation of the reference (of the population; 0.001 where it
/// is less). Both samples ascending and not empty.
pub fn wasserstein(reference: &[f64], current: &[f64]) -> f64 {
    let (n, m) = (reference.len() as f64, current.len() as f64);
    let (mut i, mut j) = (0, 0);
    let mut distance = 0.0;
    let mut at = f64::min(reference[0], current[0]);
    while i < reference.len() || j < current.len() {
        let next = match (reference.get(i), current.get(j)) {
            (Some(a), Some(b)) => a.min(*b),
            (Some(x), None) | (None, Some(x)) => *x,
            (None, None) => break,
        };
        distance += (i as f64 / n - j as f64 / m).abs() * (next - at);
        at = next;
        i += reference[i..].iter().take_while(|x| **x <= next).count();
        j += current[j..].iter().take_while(|x| **x <= next).count();
    }
    distance / deviation(reference).max(0.001)
}

/// Standard deviation of a population.
fn deviation(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moved_by_one_is_one() {
        let reference = [0.0, 1.0, 1.0, 2.0];
        let moved: Vec<f64> = reference.iter().map(|x| x + 1.0).collect();
        assert!((wasserstein(&reference, &moved) - 1.0 / 0.5_f64.sqrt()).abs() < 1e-15);
        assert!(wasserstein(&reference, &reference).abs() < 1e-15);
        assert!((wasserstein(&[3.0, 3.0], &[3.5]) - 500.0).abs() < 1e-9, "σ is taken for 0.001 at least");
    }
}
