//! The sentiment class of a compound score.

/// The compound score from which on a text counts as positive, and at whose negative it counts as negative
/// (inclusive on both sides), as recommended by the authors of VADER (Hutto and Gilbert, ICWSM 2014; README,
/// "About the Scoring").
pub const THRESHOLD: f64 = 0.05;

/// `"positive"`, `"neutral"` or `"negative"` for a compound score in −1 to 1.
///
/// A NaN, which VADER never gives, is neutral.
///
/// ```
/// assert_eq!(tideline_enrich::label(0.05), "positive");
/// assert_eq!(tideline_enrich::label(0.0499), "neutral");
/// assert_eq!(tideline_enrich::label(-0.05), "negative");
/// ```
pub fn label(compound: f64) -> &'static str {
    if compound >= THRESHOLD {
        "positive"
    } else if compound <= -THRESHOLD {
        "negative"
    } else {
        "neutral"
    }
}

#[cfg(test)]
mod tests {
    use super::label;

    #[test]
    fn thresholds_are_inclusive() {
        let cases = [
            (1.0, "positive"),
            (0.05, "positive"),
            (0.0499, "neutral"),
            (0.0, "neutral"),
            (-0.0, "neutral"),
            (-0.0499, "neutral"),
            (-0.05, "negative"),
            (-1.0, "negative"),
            (f64::NAN, "neutral"),
        ];
        for (compound, expected) in cases {
            assert_eq!(label(compound), expected, "{compound}");
        }
    }
}
