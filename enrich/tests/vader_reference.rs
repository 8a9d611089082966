//! The scores are those of the Python reference vaderSentiment 3.3.2 (see `fixtures/README.md` for the origin).

// Scores are rounded decimals, which are equal or not.
#![allow(clippy::unwrap_used, clippy::float_cmp)]

use proptest::prelude::*;
use serde_json::Value;
use tideline_enrich::vader::{Scorer, Scores, compound, scores};

/// The demand; what is reached is exact equality.
const TOLERANCE: f64 = 1e-4;

fn fixture() -> impl Iterator<Item = (String, [f64; 4])> {
    include_str!("fixtures/vader-reference.ndjson").split_terminator('\n').map(|line| {
        let row: Value = serde_json::from_str(line).unwrap();
        let scores = ["neg", "neu", "pos", "compound"].map(|name| row[name].as_f64().unwrap());
        (row["text"].as_str().unwrap().to_owned(), scores)
    })
}

fn as_array(scores: Scores) -> [f64; 4] {
    [scores.neg, scores.neu, scores.pos, scores.compound]
}

#[test]
fn every_text_of_the_fixture_scores_as_the_reference() {
    let (mut rows, mut exact) = (0, 0);
    let mut differing = Vec::new();
    for (text, expected) in fixture() {
        let actual = as_array(scores(&text));
        rows += 1;
        exact += usize::from(actual == expected);
        if actual.iter().zip(expected).any(|(actual, expected)| (actual - expected).abs() > TOLERANCE) {
            differing.push(format!("{text:?}\n  reference {expected:?}\n  here      {actual:?}"));
        }
    }
    assert!(differing.is_empty(), "{} of {rows} texts differ:\n{}", differing.len(), differing.join("\n"));
    assert!(rows > 2_500, "only {rows} rows");
    assert_eq!(exact, rows, "texts whose four scores are equal to the last bit");
}

#[test]
fn a_scorer_keeps_nothing_from_one_text_to_the_next() {
    let mut scorer = Scorer::new();
    let rows: Vec<_> = fixture().collect();
    for (text, expected) in rows.iter().chain(rows.iter().rev()) {
        assert_eq!(as_array(scorer.scores(text)), *expected, "{text:?}");
        assert_eq!(scorer.compound(text), expected[3], "{text:?}");
    }
}

#[test]
fn threads_agree() {
    let expected: Vec<_> = fixture().map(|(text, _)| compound(&text)).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let actual: Vec<_> = fixture().map(|(text, _)| compound(&text)).collect();
                assert_eq!(actual, expected);
            });
        }
    });
}

/// A text of megabytes, with the rule that is quadratic in the reference, ends in time for a test.
#[test]
fn huge_texts_are_scored() {
    let text = format!("{}but {}", "good bad ".repeat(100_000), "fine sad good ".repeat(100_000));
    let all = scores(&text);
    assert!(all.compound.abs() <= 1.0 && (all.neg + all.neu + all.pos - 1.0).abs() < 0.002, "{all:?}");
    assert_eq!(scores(&"x".repeat(5_000_000)), Scores { neu: 1.0, ..Scores::default() });
    assert_eq!(scores(&"!".repeat(1_000_000)).neu, 1.0);
    assert_eq!(compound("good"), 0.4404, "and the next text is not affected");
}

fn check(text: &str) -> Result<(), TestCaseError> {
    let all = scores(text);
    prop_assert!((-1.0..=1.0).contains(&all.compound));
    for share in [all.neg, all.neu, all.pos] {
        prop_assert!((0.0..=1.0).contains(&share));
    }
    let sum = all.neg + all.neu + all.pos;
    // Three roundings by half a thousandth each; a text without words has no shares.
    let blank = text.chars().all(|symbol| symbol.is_whitespace() || ('\u{1C}'..='\u{1F}').contains(&symbol));
    prop_assert!(if blank { sum == 0.0 } else { (sum - 1.0).abs() <= 0.001_501 }, "{all:?}");
    prop_assert_eq!(compound(text), all.compound);
    Ok(())
}

proptest! {
    #[test]
    fn any_text_has_sound_scores(text in any::<String>()) {
        check(&text)?;
    }

    #[test]
    fn any_text_of_known_words_has_sound_scores(
        words in proptest::collection::vec(
            prop_oneof![
                4 => proptest::sample::select(vec![
                    "good", "BAD", "not", "never", "so", "but", "very", "VERY", "kind", "of", "no", "nor", "least", "at",
                    "the", "shit", "bomb", "to", "die", "for", ":)", "😀", "isn't", "!!!", "??", "\u{212A}iss", "İ",
                ]).prop_map(str::to_owned),
                1 => any::<String>(),
            ],
            0..40,
        ),
        space in proptest::sample::select(vec![" ", "", "\u{85}", "\u{1F}", "\u{3000}"]),
    ) {
        check(&words.join(space))?;
    }

    /// White space around a text and its kind between words mean nothing.
    #[test]
    fn white_space_does_not_matter(words in proptest::collection::vec("[a-z]{1,6}|good|bad|not|but|very", 0..12)) {
        let wide = format!("\u{3000}\n{}\t", words.join("\u{A0} \u{1C}"));
        prop_assert_eq!(scores(&wide), scores(&words.join(" ")));
    }
}
