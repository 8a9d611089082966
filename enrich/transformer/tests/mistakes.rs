//! What is wrong with a folder is said with the folder or the file.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use tideline_transformer::{CONFIG, Classifier, ModelError, TOKENIZER, WEIGHTS};

/// A copy of a model that works.
fn copy() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/single");
    for name in [CONFIG, TOKENIZER, WEIGHTS] {
        std::fs::copy(from.join(name), folder.path().join(name)).unwrap();
    }
    Classifier::load(folder.path()).unwrap();
    folder
}

/// A copy whose file `name`, JSON, was changed.
fn changed(name: &str, change: impl FnOnce(&mut Value)) -> TempDir {
    let folder = copy();
    let file = folder.path().join(name);
    let mut value: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(&file, value.to_string()).unwrap();
    folder
}

fn wrong(folder: &Path, file: &str, part: &str) -> ModelError {
    let error = Classifier::load(folder).unwrap_err();
    let message = error.to_string();
    assert!(message.contains(part), "{message}");
    assert!(message.contains(folder.to_str().unwrap()) && message.contains(file), "{message}");
    error
}

#[test]
fn files_that_are_missing_or_damaged() {
    assert!(matches!(wrong(Path::new("/nowhere"), "", "no such folder"), ModelError::NoFolder { .. }));
    for name in [CONFIG, TOKENIZER, WEIGHTS] {
        let folder = copy();
        std::fs::remove_file(folder.path().join(name)).unwrap();
        let error = wrong(folder.path(), name, "there is no");
        assert!(matches!(error, ModelError::Missing { file, .. } if file == name), "{error}");
        std::fs::write(folder.path().join(name), "{\"half\": ").unwrap();
        assert!(matches!(wrong(folder.path(), name, ""), ModelError::Invalid { .. }));
        std::fs::remove_file(folder.path().join(name)).unwrap();
        std::fs::create_dir(folder.path().join(name)).unwrap();
        assert!(matches!(wrong(folder.path(), name, ""), ModelError::Read { .. }));
    }
    let folder = copy();
    let file = folder.path().join(WEIGHTS);
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    assert!(matches!(wrong(folder.path(), WEIGHTS, ""), ModelError::Invalid { .. }));
}

#[test]
fn models_of_another_kind() {
    let unsupported = |key: &str, value: Value, part: &str| {
        let folder = changed(CONFIG, |config| config[key] = value);
        let error = wrong(folder.path(), CONFIG, part);
        assert!(matches!(error, ModelError::Unsupported { .. }), "{error}");
    };
    unsupported("model_type", json!("bert"), "model_type is \"bert\"; only RoBERTa");
    unsupported("model_type", json!(null), "there is no model_type");
    unsupported("architectures", json!(["RobertaForMaskedLM"]), "its architecture is RobertaForMaskedLM");
    unsupported("hidden_act", json!("swish"), "hidden_act is \"swish\"");
    unsupported("position_embedding_type", json!("relative_key"), "position_embedding_type is \"relative_key\"");
    unsupported("problem_type", json!("regression"), "problem_type is \"regression\"");
    // What lacks its keys too is told by its kind.
    let folder = copy();
    std::fs::write(folder.path().join(CONFIG), "{\"model_type\": \"t5\"}").unwrap();
    wrong(folder.path(), CONFIG, "model_type is \"t5\"");
}

#[test]
fn weights_that_do_not_fit() {
    let folder = changed(CONFIG, |config| config["hidden_size"] = json!(48));
    let error = wrong(folder.path(), WEIGHTS, "config.json asks for");
    assert!(matches!(error, ModelError::Shape { .. }), "{error}");
    let folder = changed(CONFIG, |config| config["num_hidden_layers"] = json!(3));
    let error = wrong(folder.path(), WEIGHTS, "there is no tensor `roberta.encoder.layer.2.");
    assert!(matches!(error, ModelError::NoTensor { .. }), "{error}");
    let folder = changed(CONFIG, |config| config["vocab_size"] = json!(401));
    wrong(folder.path(), WEIGHTS, "`roberta.embeddings.word_embeddings.weight` has the shape [400, 24]");
    let folder = changed(CONFIG, |config| config["vocab_size"] = json!(300));
    wrong(folder.path(), TOKENIZER, "it has a token 399, and config.json a vocab_size of 300");
    let folder = changed(TOKENIZER, |tokenizer| tokenizer["post_processor"] = json!(null));
    wrong(folder.path(), TOKENIZER, "no post_processor");
}

#[test]
fn sizes_that_make_no_sense() {
    let invalid = |key: &str, value: Value, part: &str| {
        let folder = changed(CONFIG, |config| config[key] = value);
        assert!(matches!(wrong(folder.path(), CONFIG, part), ModelError::Invalid { .. }));
    };
    invalid("num_attention_heads", json!(0), "num_attention_heads is 0");
    invalid("num_attention_heads", json!(5), "hidden_size 24 does not divide into 5");
    invalid("max_position_embeddings", json!(3), "leaves no room");
    invalid("hidden_size", json!("wide"), "invalid type");
}

#[test]
fn labels_that_do_not_fit() {
    let with = |labels: Value| changed(CONFIG, |config| config["id2label"] = labels);
    let folder = with(json!({"0": "a", "1": "b"}));
    let error = wrong(folder.path(), WEIGHTS, "tell 3 labels apart where config.json names 2");
    assert!(matches!(error, ModelError::LabelCount { expected: 2, found: 3, .. }), "{error}");
    // What is left out is what transformers takes for granted: two labels.
    let folder = with(json!(null));
    wrong(folder.path(), WEIGHTS, "names 2");
    wrong(with(json!({"0": "a", "2": "b", "3": "c"})).path(), CONFIG, "none for 1");
    wrong(with(json!({"0": "a", "1": "a", "2": "c"})).path(), CONFIG, "\"a\" twice");
    wrong(with(json!({})).path(), CONFIG, "no labels");
    let error = tideline_transformer::labels(with(json!({})).path()).unwrap_err();
    assert!(error.to_string().contains("no labels"));
}
