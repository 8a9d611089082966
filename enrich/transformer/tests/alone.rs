//! The answer to a text does not depend on the texts that are asked with it: to the last bit.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proptest::prelude::*;
use tideline_transformer::Classifier;

static CLASSIFIER: LazyLock<Classifier> = LazyLock::new(|| {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/single");
    Classifier::load(&folder).unwrap()
});

fn bits(answer: &[f64]) -> Vec<u64> {
    answer.iter().map(|probability| probability.to_bits()).collect()
}

/// Words, so that many texts share a length, and anything.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => proptest::collection::vec(prop_oneof!["[a-z]{1,8}", "😀", "<pad>", "的"], 0..30).prop_map(|words| words.join(" ")),
        1 => any::<String>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_text_has_the_same_answer_in_any_batch(texts in proptest::collection::vec(text(), 1..150), split in 0_usize..150) {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let together = CLASSIFIER.probabilities(&texts).unwrap();
        let (left, right) = texts.split_at(split.min(texts.len()));
        let apart = [CLASSIFIER.probabilities(left).unwrap(), CLASSIFIER.probabilities(right).unwrap()].concat();
        let backwards: Vec<&str> = texts.iter().rev().copied().collect();
        let mut backwards = CLASSIFIER.probabilities(&backwards).unwrap();
        backwards.reverse();
        for (at, text) in texts.iter().enumerate() {
            let alone = CLASSIFIER.probabilities(&[text]).unwrap().remove(0);
            prop_assert_eq!(bits(&together[at]), bits(&alone), "{:?}", text);
            prop_assert_eq!(bits(&apart[at]), bits(&alone));
            prop_assert_eq!(bits(&backwards[at]), bits(&alone));
            let sum: f64 = alone.iter().sum();
            prop_assert!((sum - 1.0).abs() < 1e-12);
        }
    }
}

#[test]
fn no_texts_have_no_answers() {
    assert!(CLASSIFIER.probabilities(&[]).unwrap().is_empty());
}

#[test]
fn what_follows_the_last_token_is_not_read() {
    let long = "word ".repeat(200);
    let longer = format!("{long} and more, which is {}", "not read ".repeat(10_000));
    let answers = CLASSIFIER.probabilities(&[&long, &longer]).unwrap();
    assert_eq!(bits(&answers[0]), bits(&answers[1]));
    assert_eq!(CLASSIFIER.tokens(&longer).unwrap().len(), CLASSIFIER.max_tokens());
}
