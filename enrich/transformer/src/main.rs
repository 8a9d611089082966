//! A model as a program: Tideline starts it, and asks it over standard input.
//!
//! `tideline-transformer --labels FOLDER` prints the labels as one line of JSON and ends. `tideline-transformer FOLDER` loads
//! the model and prints such a line once it is ready; then each line of input is a JSON list of texts, and is answered by
//! one line: `{"probabilities": [[..], ..]}`, or `{"error": ".."}`. It ends with its input, so that it never outlives
//! the process that started it. To try a model out: `echo '["so good"]' | tideline-transformer FOLDER`.

use std::io::{BufRead, Write};
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use tideline_transformer::Classifier;

/// A line of output.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Line<'a> {
    Labels(&'a [String]),
    Probabilities(Vec<Vec<f64>>),
    Error(String),
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let result = match (arguments.next(), arguments.next(), arguments.next()) {
        (Some(flag), Some(folder), None) if flag == "--labels" => labels(folder.as_ref()),
        (Some(folder), None, None) => serve(folder.as_ref()),
        _ => {
            eprintln!("tideline-transformer [--labels] FOLDER: a model of Hugging Face, asked over standard input");
            return ExitCode::FAILURE;
        }
    };
    match result {
        Ok(code) => code,
        // Nobody reads any more: whoever asked is gone.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tideline-transformer: {error}");
            ExitCode::FAILURE
        }
    }
}

fn labels(folder: &Path) -> std::io::Result<ExitCode> {
    match tideline_transformer::labels(folder) {
        Ok(labels) => print(&Line::Labels(&labels)).map(|()| ExitCode::SUCCESS),
        Err(error) => print(&Line::Error(error.to_string())).map(|()| ExitCode::FAILURE),
    }
}

fn serve(folder: &Path) -> std::io::Result<ExitCode> {
    let classifier = match Classifier::load(folder) {
        Ok(classifier) => classifier,
        Err(error) => return print(&Line::Error(error.to_string())).map(|()| ExitCode::FAILURE),
    };
    print(&Line::Labels(classifier.labels()))?;
    let mut input = std::io::stdin().lock();
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        print(&answer(&classifier, &line))?;
    }
}

fn answer(classifier: &Classifier, line: &[u8]) -> Line<'static> {
    let texts: Vec<String> = match serde_json::from_slice(line) {
        Ok(texts) => texts,
        Err(error) => return Line::Error(format!("not a JSON list of texts: {error}")),
    };
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    match classifier.probabilities(&texts) {
        Ok(probabilities) => Line::Probabilities(probabilities),
        Err(error) => Line::Error(error.to_string()),
    }
}

fn print(line: &Line<'_>) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, line)?;
    out.write_all(b"\n")?;
    out.flush()
}
