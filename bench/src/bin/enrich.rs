//! The text functions alone: how fast they are, and how good.
//!
//! `speed` gives texts per second of one core, each function in turn, the texts read before the clock starts.
//! `emotion` gives F1 on labelled comments. `signals` writes what the scores are made of, for
//! `enrich/models/calibrate.py`.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use flate2::read::MultiGzDecoder;
use serde_json::{Value, json};
use tideline_enrich::emotion::{self, Emotion};
use tideline_enrich::{churn, toxicity, vader};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures the text functions over the field `text` of NDJSON rows and prints JSON.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Texts per second on one thread, of each function.
    Speed {
        /// NDJSON, or NDJSON in gzip if the name ends in `.gz`.
        file: PathBuf,
        /// Rounds over all texts go on until this much time is over, for each function.
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
    },
    /// F1 of the emotions shown, against the field `emotions`: each class, and their mean.
    Emotion {
        /// NDJSON with `text` and `emotions`, a list; `.gz` too.
        file: PathBuf,
    },
    /// One row per text: the signals of toxicity and churn risk, their scores, and the probability of each emotion.
    Signals {
        /// NDJSON with `text`; `.gz` too.
        file: PathBuf,
    },
}

/// What is measured of a text.
type Function = fn(&str) -> f64;

fn main() -> Result<()> {
    match Arguments::parse().what {
        What::Speed { file, seconds } => speed(&texts(&rows(&file)?)?, seconds),
        What::Emotion { file } => f1(&rows(&file)?),
        What::Signals { file } => signals(&texts(&rows(&file)?)?),
    }
}

fn rows(path: &Path) -> Result<Vec<Value>> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let reader: Box<dyn Read> = if path.extension().is_some_and(|extension| extension == "gz") {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    let mut rows = Vec::new();
    for (number, line) in (1..).zip(BufReader::new(reader).lines()) {
        let place = || format!("{}:{number}", path.display());
        rows.push(serde_json::from_str(&line.with_context(place)?).with_context(place)?);
    }
    ensure!(!rows.is_empty(), "{} holds no rows", path.display());
    Ok(rows)
}

fn texts(rows: &[Value]) -> Result<Vec<&str>> {
    let text = |(number, row): (usize, &'_ Value)| format!("row {number}: no string `text` in {row}");
    (1..).zip(rows).map(|(number, row)| row["text"].as_str().with_context(|| text((number, row)))).collect()
}

fn speed(texts: &[&str], seconds: f64) -> Result<()> {
    let enough = Duration::try_from_secs_f64(seconds).context("--seconds")?;
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    let functions: [(&str, Function); 4] = [
        ("vader", vader::compound),
        ("emotion", |text| f64::from(emotion::emotion(text) as u8)),
        ("toxicity", toxicity::toxicity),
        ("churn_risk", churn::churn_risk),
    ];
    for (name, function) in functions {
        // The first call builds what is shared.
        let mut sum = function(texts[0]);
        let (mut rounds, mut best) = (0_u32, Duration::MAX);
        let start = Instant::now();
        while rounds == 0 || start.elapsed() < enough {
            let round = Instant::now();
            sum += texts.iter().map(|text| function(text)).sum::<f64>();
            best = best.min(round.elapsed());
            rounds += 1;
        }
        let rate = texts.len() as f64 * f64::from(rounds) / start.elapsed().as_secs_f64();
        let report = json!({
            "function": name,
            "texts": texts.len(),
            "bytes": bytes,
            "rounds": rounds,
            "texts_per_second": rate.round(),
            "texts_per_second_best_round": (texts.len() as f64 / best.as_secs_f64()).round(),
            "nanoseconds_per_text": (1e9 / rate).round(),
            // Printed so that the scoring cannot be left out as unused.
            "mean": sum / (texts.len() as f64 * f64::from(rounds)),
        });
        println!("{report}");
    }
    Ok(())
}

fn f1(rows: &[Value]) -> Result<()> {
    let classes = Emotion::ALL.len();
    let (mut both, mut given, mut labelled) = (vec![0_u32; classes], vec![0_u32; classes], vec![0_u32; classes]);
    let mut strongest_labelled = 0_u32;
    for (row, text) in rows.iter().zip(texts(rows)?) {
        let labels = row["emotions"].as_array().with_context(|| format!("no list `emotions` in {row}"))?;
        let labels: Vec<&str> = labels.iter().filter_map(Value::as_str).collect();
        ensure!(labels.iter().all(|name| Emotion::named(name).is_some()), "not an emotion: {row}");
        let found = emotion::emotions(text);
        strongest_labelled += u32::from(labels.contains(&found.strongest().name()));
        for class in Emotion::ALL {
            let (shown, label) = (found.shows(class), labels.contains(&class.name()));
            both[class as usize] += u32::from(shown && label);
            given[class as usize] += u32::from(shown);
            labelled[class as usize] += u32::from(label);
        }
    }
    let f1 = |class: Emotion| {
        let class = class as usize;
        2.0 * f64::from(both[class]) / f64::from((given[class] + labelled[class]).max(1))
    };
    let each: serde_json::Map<_, _> =
        Emotion::ALL.map(|class| (class.to_string(), json!(f1(class)))).into_iter().collect();
    let report = json!({
        "texts": rows.len(),
        "f1": each,
        "macro_f1": Emotion::ALL.map(f1).iter().sum::<f64>() / classes as f64,
        "strongest_is_labelled": f64::from(strongest_labelled) / rows.len() as f64,
    });
    println!("{report}");
    Ok(())
}

fn signals(texts: &[&str]) -> Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for text in texts {
        let (toxicity, churn, emotions) = (toxicity::signals(text), churn::signals(text), emotion::emotions(text));
        let emotions: serde_json::Map<_, _> = Emotion::ALL
            .map(|emotion| (emotion.to_string(), json!(emotions.probability(emotion))))
            .into_iter()
            .collect();
        let row = json!({
            "text": text,
            "toxicity": {
                "score": toxicity.score(),
                "slurs": toxicity.slurs,
                "threats": toxicity.threats,
                "attacks": toxicity.attacks,
                "insults": toxicity.insults,
                "demeaning": toxicity.demeaning,
                "personal": toxicity.personal,
                "profanity": toxicity.profanity,
            },
            "churn": {
                "score": churn.score(),
                "leave": churn.leave,
                "waver": churn.waver,
                "complaint": churn.complaint,
                "stay": churn.stay,
                "sentiment": churn.sentiment,
            },
            "emotions": emotions,
        });
        writeln!(out, "{row}")?;
    }
    Ok(out.flush()?)
}
