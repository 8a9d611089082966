//! From counted signals to a number between 0 and 1.

/// How much of a signal there is when it was found `count` times: the second time adds less than the first, and
/// after the fourth nothing does.
pub(crate) fn saturate(count: u32) -> f64 {
    f64::from(count.min(4)).sqrt()
}

/// The logistic function: log-odds as a probability.
pub(crate) fn logistic(log_odds: f64) -> f64 {
    if log_odds >= 0.0 { 1.0 / (1.0 + (-log_odds).exp()) } else { 1.0 - 1.0 / (1.0 + log_odds.exp()) }
}

#[cfg(test)]
mod tests {
    use super::{logistic, saturate};

    #[test]
    fn the_logistic_function_is_symmetric_and_never_leaves_its_range() {
        assert!((logistic(0.0) - 0.5).abs() < 1e-15);
        assert!((logistic(3.0_f64.ln()) - 0.75).abs() < 1e-15);
        for x in [0.1, 1.0, 10.0, 700.0, 1e9, f64::INFINITY] {
            assert!((logistic(x) + logistic(-x) - 1.0).abs() < 1e-15, "{x}");
            assert!((0.0..=1.0).contains(&logistic(-x)), "{x}");
        }
    }

    #[test]
    fn signals_saturate() {
        let all: Vec<f64> = [0, 1, 2, 4, 5, u32::MAX].map(saturate).to_vec();
        assert_eq!(all, [0.0, 1.0, 2.0_f64.sqrt(), 2.0, 2.0, 2.0]);
    }
}
