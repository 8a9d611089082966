//! Predictions, errors and states are those of River 0.26.0 (`fixtures/make_river.py` made what is compared with).
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use serde_json::Value;
use tideline_common::key::Key;
use tideline_common::time::{Span, Timestamp};
use tideline_common::value::Value as Cell;
use tideline_predict::feature::standard;
use tideline_predict::metrics::Errors;
use tideline_predict::predictor::{Arrival, Predictor};
use tideline_predict::regression::{Learning, LinearRegression};
use tideline_predict::scaler::StandardScaler;
use tideline_predict::spec::{ModelSpec, PredictorSpec};

/// The demand; what is reached is some units in the last place.
const TOLERANCE: f64 = 1e-9;

fn lines(fixture: &str) -> Vec<Value> {
    fixture.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Numbers of a text; "-" is null. Exact, as `str::parse` is.
fn numbers(text: &Value) -> Vec<Option<f64>> {
    let number = |word: &str| if word == "-" { None } else { Some(word.parse().unwrap()) };
    text.as_str().unwrap().split_whitespace().map(number).collect()
}

fn floats(text: &Value) -> Vec<f64> {
    numbers(text).into_iter().map(Option::unwrap).collect()
}

/// Fails unless the two are equal to 1e-9 of the greater magnitude, or of 1.
fn assert_equal(actual: f64, expected: f64, place: &dyn std::fmt::Display) {
    let scale = expected.abs().max(actual.abs()).max(1.0);
    assert!((actual - expected).abs() <= TOLERANCE * scale, "{place}: {actual:e} here, {expected:e} in River");
}

fn learning(settings: &Value) -> Learning {
    let setting = |name: &str| settings[name].as_str().unwrap().parse().unwrap();
    Learning {
        learning_rate: setting("learning_rate"),
        l2: setting("l2"),
        intercept_rate: setting("intercept_rate"),
        clip_gradient: setting("clip_gradient"),
    }
}

/// The rows that `shared` of the script makes.
fn shared(count: usize, features: usize) -> Vec<Vec<f64>> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut draw = move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / 2.0_f64.powi(53)
    };
    let row = |number: usize| {
        let mut row: Vec<f64> =
            (0..features).map(|i| draw() * [0.1, 1.0, 10.0, 100.0, 1000.0][i % 5] + i as f64).collect();
        let sign = if number < count / 2 { 1.0 } else { -1.0 };
        row.push(sign * (2.0 * row[0] - 0.5 * row[1]) + 0.01 * row[2] + draw());
        row
    };
    (0..count).map(row).collect()
}

#[test]
fn the_learner_is_rivers() {
    let cases = lines(include_str!("fixtures/river.ndjson"));
    let mut compared = 0;
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let learning = learning(&case["settings"]);
        let rows: Vec<Vec<f64>> = match case["rows"].as_array() {
            Some(rows) => rows.iter().map(|row| numbers(row).iter().map(|x| x.unwrap_or(f64::NAN)).collect()).collect(),
            None => shared(case["count"].as_u64().unwrap() as usize, floats(&case["weights"]).len()),
        };
        let features = rows[0].len() - 1;
        let (mut scaler, mut regression) = (StandardScaler::new(features), LinearRegression::new(features));
        let (mut errors, mut scaled) = (Errors::default(), Vec::new());
        let every = case["every"].as_u64().unwrap() as usize;
        let mut expected = floats(&case["predictions"]).into_iter().zip(case["errors"].as_array().unwrap());
        for (number, row) in rows.iter().enumerate() {
            let (sample, target) = (&row[..features], row[features]);
            scaler.transform(sample, &mut scaled);
            let predicted = regression.predict(&scaled);
            errors.update(target, predicted);
            scaler.learn(sample);
            scaler.transform(sample, &mut scaled);
            regression.learn(&scaled, target, &learning);
            if number % every == every - 1 {
                let (prediction, running) = expected.next().unwrap();
                let place = format!("{name}, row {number}");
                assert_equal(predicted, prediction, &place);
                let metrics = errors.metrics();
                for (actual, expected) in [metrics.mae, metrics.rmse, metrics.r2].into_iter().zip(floats(running)) {
                    assert_equal(actual, expected, &place);
                }
                compared += 1;
            }
        }
        assert!(expected.next().is_none(), "{name}");
        assert_equal(regression.intercept, floats(&case["intercept"])[0], &name);
        let state = |field: &str| floats(&case[field]);
        let (weights, counts, means, variances) =
            (state("weights"), state("counts"), state("means"), state("variances"));
        for (at, scale) in scaler.scales().iter().enumerate() {
            let place = format!("{name}, feature {at}");
            assert_equal(regression.weights[at], weights[at], &place);
            assert_equal(scale.count as f64, counts[at], &place);
            assert_equal(scale.mean, means[at], &place);
            assert_equal(scale.variance, variances[at], &place);
        }
    }
    assert!(cases.len() >= 16 && compared > 2_000, "{} cases, {compared} rows", cases.len());
}

/// A feature that was constant for long, and changes: the model is thrown off just as River's is, and a bound on the gradient
/// keeps it near.
#[test]
fn a_change_of_what_was_constant_is_rivers() {
    let mut worst = Vec::new();
    for case in &lines(include_str!("fixtures/calendar.ndjson")) {
        let name = case["name"].as_str().unwrap();
        let learning = learning(&case["settings"]);
        let number = |field: &str| case[field].as_u64().unwrap() as usize;
        let (constant, from) = (number("constant"), number("from"));
        let expected = floats(&case["predictions"]);
        let (mut scaler, mut regression) = (StandardScaler::new(2), LinearRegression::new(2));
        let (mut scaled, mut greatest) = (Vec::new(), 0.0_f64);
        for row in 0..from + expected.len() {
            let other = (row * 37 % 101) as f64 / 100.0;
            let (sample, target) = ([if row < constant { 10.0 } else { 11.0 }, other], 50.0 + 10.0 * other);
            scaler.transform(&sample, &mut scaled);
            let predicted = regression.predict(&scaled);
            if row >= from {
                assert_equal(predicted, expected[row - from], &format!("{name}, row {row}"));
                greatest = greatest.max((predicted - target).abs());
            }
            scaler.learn(&sample);
            scaler.transform(&sample, &mut scaled);
            if row == constant {
                let root = (constant as f64).sqrt();
                assert_equal(scaled[0], root, &"the first that is another is scaled to the root of those before it");
            }
            regression.learn(&scaled, target, &learning);
        }
        assert_equal(regression.intercept, floats(&case["intercept"])[0], &name);
        for (at, scale) in scaler.scales().iter().enumerate() {
            assert_equal(regression.weights[at], floats(&case["weights"])[at], &format!("{name}, weight {at}"));
            assert_equal(scale.variance, floats(&case["variances"])[at], &format!("{name}, variance {at}"));
        }
        worst.push(greatest);
    }
    assert!(worst[0] > 10_000.0 && worst[1] < 500.0, "{worst:?}");
}

fn spec() -> PredictorSpec {
    let trends = [("mentions", "mentions_count"), ("sentiment", "avg_sentiment"), ("popularity", "popularity")];
    let features = standard(&["popularity", "mentions_count", "avg_sentiment"], &trends, 5);
    let model = |version: &str, learning_rate, l2| ModelSpec {
        version: version.to_owned(),
        features: features.clone(),
        learning: Learning { learning_rate, l2, ..Learning::default() },
    };
    PredictorSpec::new("trend_score", Span::MINUTE, vec![model("v1", 0.01, 0.001), model("v2", 0.05, 0.01)])
}

/// Windows of several titles with two versions side by side: features, predictions, errors, what comes again, what is
/// corrected, what comes out of order.
#[test]
fn windows_give_what_river_says_of_their_features() {
    let names = ["popularity", "mentions_count", "avg_sentiment", "trend_score"];
    let mut predictor = Predictor::new(spec()).unwrap();
    let (mut settled, mut arrivals) = (0, HashMap::new());
    for (number, line) in lines(include_str!("fixtures/windows.ndjson")).iter().enumerate() {
        let key = Key::of(&[Cell::String(line["key"].as_str().unwrap().to_owned())]);
        let start = Timestamp(line["start"].as_i64().unwrap() * Span::SECOND.0);
        let columns = numbers(&line["columns"]);
        let value = |name: &str| columns[names.iter().position(|column| *column == name).unwrap()];
        let observed = predictor.observe(&key, start, value);
        let arrival = match line["arrival"].as_str().unwrap() {
            "new" => Arrival::New,
            "repeated" => Arrival::Repeated,
            "corrected" => Arrival::Corrected,
            "out_of_order" => Arrival::OutOfOrder,
            other => panic!("{other}"),
        };
        assert_eq!(observed.arrival, arrival, "line {number}");
        *arrivals.entry(line["arrival"].as_str().unwrap().to_owned()).or_insert(0) += 1;
        let of = |field: &str| line.get(field).and_then(Value::as_object).cloned().unwrap_or_default();
        assert_eq!(observed.predictions.len(), of("predicted").len(), "line {number}");
        for prediction in &observed.predictions {
            let expected = floats(&line["predicted"][&*prediction.version])[0];
            assert_equal(prediction.predicted.unwrap(), expected, &format!("line {number}, {}", prediction.version));
            assert_eq!((prediction.made_at, prediction.window), (start, start.plus(Span::MINUTE)));
        }
        assert_eq!(observed.settled.len(), of("settled").len(), "line {number}");
        for was in &observed.settled {
            let metrics = predictor.models().iter().find(|m| m.version() == &*was.version).unwrap().metrics();
            let actual =
                [was.predicted.unwrap(), was.actual, was.error.unwrap(), metrics.mae, metrics.rmse, metrics.r2];
            let expected = floats(&line["settled"][&*was.version]);
            for (actual, expected) in actual.into_iter().zip(expected) {
                assert_equal(actual, expected, &format!("line {number}, {} settled", was.version));
            }
            assert_eq!(was.window, start);
            settled += 1;
        }
    }
    assert!(settled > 1_400, "only {settled} predictions were settled");
    assert!(arrivals.values().all(|count| *count >= 5) && arrivals.len() == 4, "{arrivals:?}");
    let counters = predictor.counters();
    assert_eq!(counters.repeated as i32, arrivals["repeated"]);
    assert_eq!(counters.corrected as i32, arrivals["corrected"]);
    assert_eq!(counters.out_of_order as i32, arrivals["out_of_order"]);
    assert!(counters.without_target > 5);
}
