//! Texts per second of a model: `cargo run --release --example speed -- FOLDER [TEXTS]`.
//!
//! Texts of 5 to 40 words, 1,000 unless told, in requests of 100.

use std::time::Instant;

use tideline_transformer::{Classifier, ModelError};

fn main() -> Result<(), ModelError> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().unwrap_or_else(|| "tests/models/single".to_owned());
    let count: usize = arguments.next().and_then(|count| count.parse().ok()).unwrap_or(1000);
    let started = Instant::now();
    let classifier = Classifier::load(folder.as_ref())?;
    println!("loaded in {:.2} s, {} labels", started.elapsed().as_secs_f64(), classifier.labels().len());
    let words = ["the", "service", "was", "not", "good", "and", "delivery", "late", "again", "I", "love", "it"];
    let texts: Vec<String> = (0..count)
        .map(|text| (0..5 + text * 7 % 36).map(|word| words[(text + word * 5) % 12]).collect::<Vec<_>>().join(" "))
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let started = Instant::now();
    let mut tokens = 0;
    for texts in texts.chunks(100) {
        classifier.probabilities(texts)?;
        for text in texts {
            tokens += classifier.tokens(text)?.len();
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{count} texts, {tokens} tokens in {seconds:.2} s: {:.0} texts/s", count as f64 / seconds);
    let first = texts.get(..100).unwrap_or(&texts);
    let together = classifier.probabilities(first)?;
    let mut differ = 0;
    for (text, together) in first.iter().zip(&together) {
        differ += usize::from(classifier.probabilities(&[text])?[0] != *together);
    }
    println!("{differ} of {} texts have another answer alone than together", first.len());
    Ok(())
}
