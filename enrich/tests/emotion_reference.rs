//! The emotion model gives what its Python side gives, and is as good as its documentation says (see
//! `fixtures/README.md` for the origin of both files).

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::Value;
use tideline_enrich::emotion::{Emotion, Emotions, Reader, emotions};

/// The demand; sums of whole numbers, one division and one product per kind leave nothing to differ.
const TOLERANCE: f64 = 1e-6;

fn rows(fixture: &str) -> impl Iterator<Item = Value> {
    fixture.split_terminator('\n').map(|line| serde_json::from_str(line).unwrap())
}

fn reference() -> impl Iterator<Item = (String, Vec<f64>)> {
    rows(include_str!("fixtures/emotion-reference.ndjson")).map(|row| {
        let text = row["text"].as_str().unwrap().repeat(row["times"].as_u64().unwrap_or(1) as usize);
        let logits = row["logits"].as_array().unwrap().iter();
        (text, logits.map(|logit| logit.as_str().unwrap().parse().unwrap()).collect())
    })
}

fn logits(emotions: &Emotions) -> Vec<f64> {
    Emotion::ALL.map(|emotion| emotions.logit(emotion)).to_vec()
}

#[test]
fn every_text_of_the_fixture_scores_as_in_python() {
    let (mut count, mut exact) = (0, 0);
    let mut differing = Vec::new();
    for (text, expected) in reference() {
        let actual = logits(&emotions(&text));
        count += 1;
        exact += usize::from(actual == expected);
        if actual.iter().zip(&expected).any(|(actual, expected)| (actual - expected).abs() > TOLERANCE) {
            let start: String = text.chars().take(80).collect();
            differing.push(format!("{start:?}\n  python {expected:?}\n  here   {actual:?}"));
        }
    }
    assert!(differing.is_empty(), "{} of {count} texts differ:\n{}", differing.len(), differing.join("\n"));
    assert!(count > 800, "only {count} rows");
    assert_eq!(exact, count, "texts whose logits are equal to the last bit");
}

#[test]
fn a_reader_keeps_nothing_from_one_text_to_the_next() {
    let mut reader = Reader::new();
    let all: Vec<_> = reference().collect();
    for (text, expected) in all.iter().chain(all.iter().rev()) {
        assert_eq!(logits(&reader.emotions(text)), *expected);
    }
}

#[test]
fn threads_agree() {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for (text, expected) in reference() {
                    assert_eq!(logits(&emotions(&text)), expected);
                }
            });
        }
    });
}

/// The macro-F1 of `train.py`'s model on the same 500 comments, as `fixtures.py` prints it.
const HELD_OUT_MACRO_F1: f64 = 0.607_473_598_983_306_2;

#[test]
fn held_out_comments_have_the_f1_that_is_documented() {
    let (mut both, mut given, mut labelled) = ([0_u32; 7], [0_u32; 7], [0_u32; 7]);
    let mut count = 0;
    for row in rows(include_str!("fixtures/emotion-held-out.ndjson")) {
        let labels: Vec<_> = row["emotions"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        let found = emotions(row["text"].as_str().unwrap());
        count += 1;
        for emotion in Emotion::ALL {
            let (shown, label) = (found.shows(emotion), labels.contains(&emotion.name()));
            both[emotion as usize] += u32::from(shown && label);
            given[emotion as usize] += u32::from(shown);
            labelled[emotion as usize] += u32::from(label);
        }
    }
    let f1 = |class: usize| 2.0 * f64::from(both[class]) / f64::from(given[class] + labelled[class]);
    let macro_f1 = (0..7).map(f1).sum::<f64>() / 7.0;
    assert_eq!(count, 500);
    assert!((macro_f1 - HELD_OUT_MACRO_F1).abs() < 1e-12, "{macro_f1}");
}

#[test]
fn names_and_emotions_are_one_to_one() {
    for emotion in Emotion::ALL {
        assert_eq!(Emotion::named(emotion.name()), Some(emotion));
    }
    assert_eq!(Emotion::named("Joy"), None);
    assert!(Emotion::ALL.map(Emotion::name).is_sorted());
}

fn check(text: &str) -> Result<(), TestCaseError> {
    let found = emotions(text);
    let shown: Vec<_> = found.shown().collect();
    prop_assert!(!shown.is_empty());
    prop_assert!(shown.is_sorted());
    prop_assert!(shown.contains(&found.strongest()));
    for emotion in Emotion::ALL {
        prop_assert!(found.logit(emotion).is_finite());
        prop_assert!((0.0..=1.0).contains(&found.probability(emotion)));
        prop_assert!(!found.shows(emotion) || shown.contains(&emotion));
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_text_has_sound_emotions(text in any::<String>()) {
        check(&text)?;
    }

    /// Case, curly quotes, joiners and the kind of white space mean nothing.
    #[test]
    fn what_the_tokeniser_ignores_does_not_matter(words in proptest::collection::vec("[a-z]{1,6}|don't|love|!|😀", 0..12)) {
        let plain = words.join(" ");
        let odd = words.iter().map(|word| word.to_uppercase().replace('\'', "\u{2019}") + "\u{200D}\u{FE0F}");
        let odd = format!("\u{3000}{}\n", odd.collect::<Vec<_>>().join("\u{A0} \t"));
        prop_assert_eq!(emotions(&odd), emotions(&plain));
    }
}
