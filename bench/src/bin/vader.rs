//! VADER alone: texts per second of one core, all four scores, the texts read before the clock starts.
//!
//! `bench/vader/side_by_side.py` runs this beside the Python reference and gives the ratio.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use flate2::read::MultiGzDecoder;
use serde_json::{Value, json};
use tideline_enrich::vader::Scorer;

/// Scores the field `text` of NDJSON rows over and over on one thread and prints one line of JSON.
#[derive(Parser)]
struct Arguments {
    /// NDJSON, or NDJSON in gzip if the name ends in `.gz`.
    file: PathBuf,
    /// Rounds over all texts go on until this much time is over.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Writes the scores of each text to this file, one JSON array `[neg, neu, pos, compound]` a line.
    #[arg(long)]
    scores: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let texts = read(&arguments.file).with_context(|| format!("reading {}", arguments.file.display()))?;
    ensure!(!texts.is_empty(), "{} holds no texts", arguments.file.display());
    let mut scorer = Scorer::new();
    if let Some(path) = &arguments.scores {
        write(path, &texts, &mut scorer).with_context(|| format!("writing {}", path.display()))?;
    }

    let enough = Duration::try_from_secs_f64(arguments.seconds).context("--seconds")?;
    let (mut rounds, mut best, mut sum) = (0_u32, Duration::MAX, 0.0);
    let start = Instant::now();
    while rounds == 0 || start.elapsed() < enough {
        let round = Instant::now();
        for text in &texts {
            sum += scorer.scores(text).compound;
        }
        best = best.min(round.elapsed());
        rounds += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    let texts_per_second = texts.len() as f64 * f64::from(rounds) / seconds;
    let report = json!({
        "texts": texts.len(),
        "bytes": texts.iter().map(String::len).sum::<usize>(),
        "rounds": rounds,
        "texts_per_second": texts_per_second,
        "texts_per_second_best_round": texts.len() as f64 / best.as_secs_f64(),
        "nanoseconds_per_text": 1e9 / texts_per_second,
        // Printed so that the scoring cannot be left out as unused.
        "compound_mean": sum / f64::from(rounds) / texts.len() as f64,
    });
    println!("{report}");
    Ok(())
}

fn read(path: &Path) -> Result<Vec<String>> {
    let file = File::open(path)?;
    let reader: Box<dyn Read> = if path.extension().is_some_and(|extension| extension == "gz") {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    let mut texts = Vec::new();
    for (number, line) in (1..).zip(BufReader::new(reader).lines()) {
        let row: Value = serde_json::from_str(&line?).with_context(|| format!("line {number}"))?;
        let text = row["text"].as_str().with_context(|| format!("line {number}: no string `text`"))?;
        texts.push(text.to_owned());
    }
    Ok(texts)
}

fn write(path: &Path, texts: &[String], scorer: &mut Scorer) -> Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    for text in texts {
        let scores = scorer.scores(text);
        writeln!(out, "{}", json!([scores.neg, scores.neu, scores.pos, scores.compound]))?;
    }
    Ok(out.flush()?)
}
