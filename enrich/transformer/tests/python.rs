//! The answers of the Python implementation, transformers on torch: `make.py` writes them down.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tideline_transformer::Classifier;

#[derive(Deserialize)]
struct Expected {
    texts: Vec<String>,
    #[serde(flatten)]
    models: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct Model {
    labels: Vec<String>,
    answers: Vec<Answer>,
}

#[derive(Deserialize)]
struct Answer {
    ids: Vec<u32>,
    probabilities: Vec<f64>,
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models").join(name)
}

fn compare(name: &str) {
    let expected: Expected = serde_json::from_str(include_str!("expected.json")).unwrap();
    let model: Model = serde_json::from_value(expected.models[name].clone()).unwrap();
    let classifier = Classifier::load(&folder(name)).unwrap();
    assert_eq!(classifier.labels(), model.labels);
    assert_eq!(tideline_transformer::labels(&folder(name)).unwrap(), model.labels);
    let texts: Vec<&str> = expected.texts.iter().map(String::as_str).collect();
    assert_eq!((texts.len(), model.answers.len()), (43, 43));
    let answers = classifier.probabilities(&texts).unwrap();
    let mut farthest = 0.0_f64;
    for ((text, answer), expected) in texts.iter().zip(&answers).zip(&model.answers) {
        assert_eq!(classifier.tokens(text).unwrap(), expected.ids, "{text:?}");
        assert_eq!(answer.len(), expected.probabilities.len());
        for (found, expected) in answer.iter().zip(&expected.probabilities) {
            assert!((found - expected).abs() <= 1e-5, "{text:?}: {found} instead of {expected}");
            farthest = farthest.max((found - expected).abs());
        }
    }
    let longest = model.answers.iter().map(|answer| answer.ids.len()).max().unwrap();
    assert_eq!(longest, classifier.max_tokens(), "a text is cut");
    println!("{name}: {} texts, at most {farthest:.1e} apart", texts.len());
}

#[test]
fn one_label_is_true() {
    compare("single");
}

#[test]
fn each_label_is_true_or_not() {
    compare("multi");
}
