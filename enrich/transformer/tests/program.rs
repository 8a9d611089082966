//! The program: what it is asked, line by line.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tideline_transformer::Classifier;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/single")
}

/// What it prints for `input`, and whether it ended well.
fn run(arguments: &[&Path], input: &str) -> (Vec<Value>, bool) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tideline-transformer"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that ends early does not read.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    (lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), output.status.success())
}

#[test]
fn it_answers_each_line() {
    let (lines, ended_well) = run(&[&folder()], "[\"so good\", \"two\\nlines\"]\nno json\n[]\n");
    assert!(ended_well);
    assert_eq!(lines[0], json!({"labels": ["anger", "joy", "neutral"]}));
    let expected = Classifier::load(&folder()).unwrap().probabilities(&["so good", "two\nlines"]).unwrap();
    assert_eq!(lines[1], json!({"probabilities": expected}));
    assert!(lines[2]["error"].as_str().unwrap().starts_with("not a JSON list of texts"));
    assert_eq!(lines[3], json!({"probabilities": []}));
    assert_eq!(lines.len(), 4);
}

#[test]
fn labels_need_no_weights() {
    let (lines, ended_well) = run(&["--labels".as_ref(), &folder()], "");
    assert_eq!((lines, ended_well), (vec![json!({"labels": ["anger", "joy", "neutral"]})], true));
}

#[test]
fn what_is_wrong_is_a_line_too() {
    for arguments in [&["/nowhere".as_ref()] as &[&Path], &["--labels".as_ref(), "/nowhere".as_ref()]] {
        let (lines, ended_well) = run(arguments, "");
        assert_eq!((lines, ended_well), (vec![json!({"error": "/nowhere: there is no such folder"})], false));
    }
    assert_eq!(run(&[], ""), (vec![], false));
}
