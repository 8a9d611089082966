//! How fast windows are predicted and learnt from, and what their state takes: one thread, trendscope's eleven features,
//! full buffers.
//!
//! ```sh
//! cargo run --release -p tideline-predict --example learning [WINDOWS] [KEYS]     # 1,000,000 and 10,000
//! ```
#![allow(clippy::print_stdout)]

use std::time::Instant;

use tideline_common::key::Key;
use tideline_common::time::{Span, Timestamp};
use tideline_common::value::Value;
use tideline_predict::feature::standard;
use tideline_predict::predictor::Predictor;
use tideline_predict::regression::Learning;
use tideline_predict::spec::{ModelSpec, PredictorSpec};

fn main() {
    let argument =
        |at: usize, default: i64| std::env::args().nth(at).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (windows, keys) = (argument(1, 1_000_000), argument(2, 10_000).max(1));
    let trends = [("mentions", "mentions_count"), ("sentiment", "avg_sentiment"), ("popularity", "popularity")];
    let features = standard(&["popularity", "mentions_count", "avg_sentiment"], &trends, 5);
    for versions in [1, 2] {
        let model = |number: i32| ModelSpec {
            version: format!("v{number}"),
            features: features.clone(),
            learning: Learning { learning_rate: 0.01 / f64::from(number), ..Learning::default() },
        };
        let spec = PredictorSpec::new("trend_score", Span::MINUTE, (1..=versions).map(model).collect());
        let Ok(mut predictor) = Predictor::new(spec.clone()) else { unreachable!("the spec is right") };
        let names: Vec<Key> = (0..keys).map(|key| Key::of(&[Value::String(format!("title number {key}"))])).collect();
        let began = Instant::now();
        let mut settled = 0;
        for number in 0..windows {
            let (key, minute) = (number % keys, number / keys);
            // Cheap numbers that differ: what is timed is the predictor.
            let noise = (number.wrapping_mul(2_654_435_761) >> 7 & 0xFFFF) as f64 / 65_536.0;
            let observed =
                predictor.observe(&names[key as usize], Timestamp(minute * Span::MINUTE.0), |name| match name {
                    "popularity" => Some((100 + key % 50) as f64 + noise),
                    "mentions_count" => Some((noise * 40.0).floor()),
                    "avg_sentiment" => Some(noise * 2.0 - 1.0),
                    "trend_score" => Some(40.0 + 120.0 * noise),
                    _ => None,
                });
            settled += observed.settled.len();
        }
        let took = began.elapsed();
        let rate = windows as f64 / took.as_secs_f64();
        println!(
            "{versions} version(s): {rate:.0} windows/s ({windows} windows of {keys} keys in {took:.2?}, {settled} settled)"
        );
        let began = Instant::now();
        let bytes = predictor.state();
        let wrote = began.elapsed();
        let began = Instant::now();
        let restored = Predictor::restore(spec, &bytes).map(|restored| restored.keys());
        println!(
            "  state: {:.1} MB, {:.0} bytes a key; written in {wrote:.2?}, read back in {:.2?}: {restored:?} keys",
            bytes.len() as f64 / 1e6,
            bytes.len() as f64 / predictor.keys() as f64,
            began.elapsed(),
        );
    }
}
