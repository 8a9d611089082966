//! Drift figures are those of Evidently 0.7.23, single tests those of `SciPy` 1.17.1 as Evidently calls them
//! (`fixtures/make_evidently.py` made what is compared with).
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use serde_json::Value;
use tideline_common::time::Timestamp;
use tideline_predict::drift::report::{Method, Verdict};
use tideline_predict::drift::sample::{Column, Sample};
use tideline_predict::drift::test::{Counts, chi_square, jensen_shannon, kolmogorov_smirnov, proportions, wasserstein};
use tideline_predict::drift::{DriftSpec, compare};

fn lines(fixture: &str) -> Vec<Value> {
    fixture.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn float(text: &Value) -> f64 {
    text.as_str().unwrap().parse().unwrap()
}

/// Equal to 1e-9 of the value; of p-values that are one less something, `SciPy` has 1e-13 in all.
fn equal(actual: f64, expected: f64) -> bool {
    (actual - expected).abs() <= 1e-9 * expected.abs() + 1e-13 || actual.is_nan() && expected.is_nan()
}

/// What `Draw` of the script draws: (count, scale, shift, step).
struct Draw(u64);

impl Draw {
    fn one(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / 2.0_f64.powi(53)
    }

    fn sample(&mut self, recipe: &Value) -> Vec<f64> {
        let recipe: Vec<f64> = recipe.as_array().unwrap().iter().map(float).collect();
        let [count, scale, shift, step] = recipe[..] else { panic!("{recipe:?}") };
        let mut next = || {
            let x = (self.one() + self.one() + self.one()) * scale + shift;
            if step > 0.0 { (x / step).floor() * step } else { x }
        };
        (0..count as usize).map(|_| next()).collect()
    }
}

#[test]
fn single_tests_are_scipys() {
    let mut compared = BTreeMap::new();
    let mut wrong = Vec::new();
    for case in lines(include_str!("fixtures/tests.ndjson")) {
        let test = case["test"].as_str().unwrap();
        // The limit by itself is compared where it is.
        if test == "kolmogorov" {
            continue;
        }
        let score = {
            let mut draw = Draw(case["seed"].as_u64().unwrap());
            let (mut a, mut b) = (draw.sample(&case["reference"]), draw.sample(&case["current"]));
            let at_most = |most: i64| move |x: &f64| (*x as i64).clamp(if most == 1 { 0 } else { i64::MIN }, most);
            let most = if test == "proportions" { 1 } else { i64::MAX };
            let counts = Counts::of(a.iter().map(at_most(most)), b.iter().map(at_most(most)));
            a.sort_by(f64::total_cmp);
            b.sort_by(f64::total_cmp);
            match test {
                "kolmogorov_smirnov" => kolmogorov_smirnov(&a, &b),
                "wasserstein" => wasserstein(&a, &b),
                "chi_square" => chi_square(&counts),
                "jensen_shannon" => jensen_shannon(&counts),
                "proportions" => proportions(&counts),
                other => panic!("{other}"),
            }
        };
        let expected = float(&case["score"]);
        *compared.entry(test.to_owned()).or_insert(0) += 1;
        if !equal(score, expected) {
            wrong.push(format!("{test} {} {}: {score:e} here, {expected:e} there", case["reference"], case["current"]));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(compared["kolmogorov_smirnov"] > 100 && compared.len() == 5, "{compared:?}");
}

fn numbers(text: &Value) -> Vec<Option<f64>> {
    let number = |word: &str| if word == "-" { None } else { Some(word.parse().unwrap()) };
    text.as_str().unwrap().split_whitespace().map(number).collect()
}

fn column(entry: &Value, side: &str) -> Column {
    let name = entry["column"].as_str().unwrap();
    if entry["kind"] == "numeric" {
        return Column::numeric(name, numbers(&entry[side]));
    }
    let words = entry[side].as_str().unwrap().split_whitespace();
    Column::categorical(name, words.map(|word| (word != "-").then(|| word.to_owned())).collect())
}

fn sample(features: Vec<Column>, errors: Vec<Column>) -> Sample {
    Sample { from: Timestamp(0), to: Timestamp(1), features, errors }
}

#[test]
fn reports_are_evidentlys() {
    let mut methods = BTreeMap::new();
    for case in lines(include_str!("fixtures/evidently.ndjson")) {
        let name = case["name"].as_str().unwrap();
        let columns = case["columns"].as_array().unwrap();
        let side = |side: &str| sample(columns.iter().map(|entry| column(entry, side)).collect(), Vec::new());
        let report = compare("score", &side("reference"), &side("current"), &DriftSpec::default());
        for ((entry, drift), quality) in columns.iter().zip(&report.features).zip(&report.quality) {
            let place = format!("{name}, {}", drift.column);
            let Verdict::Tested { method, score, threshold, drifted } = &drift.verdict else {
                panic!("{place}: untested")
            };
            *methods.entry(format!("{method:?}")).or_insert(0) += 1;
            assert!(equal(*score, float(&entry["score"])), "{place}: {score:e} here, {} there", entry["score"]);
            assert_eq!(*drifted, entry["drifted"], "{place}");
            // "... The drift detection method is K-S p_value. The drift threshold is 0.05."
            let theirs = match method {
                Method::KolmogorovSmirnov => "K-S p_value",
                Method::ChiSquare => "chi-square p_value",
                Method::ProportionsZ => "Z-test p_value",
                Method::Wasserstein => "Wasserstein distance (normed)",
                Method::JensenShannon => "Jensen-Shannon distance",
            };
            let description = entry["description"].as_str().unwrap();
            assert!(
                description.contains(&format!("method is {theirs}. The drift threshold is {threshold:.2}.")),
                "{place}: {description}"
            );
            let missing = quality.missing_current;
            // Evidently counts what is infinite as there; here it is missing.
            if drift.column != "infinite" {
                assert!(equal(missing.count as f64, float(&entry["missing"][0])), "{place}: {missing:?}");
                assert!(equal(missing.share, float(&entry["missing"][1])), "{place}: {missing:?}");
                assert_eq!(quality.missing_as_before, entry["missing_as_before"], "{place}");
            }
            if let Some(outliers) = quality.outliers
                && drift.column != "infinite"
            {
                assert!(
                    equal(outliers.left, float(&entry["range"][0])) && equal(outliers.right, float(&entry["range"][1]))
                );
                assert!(equal(outliers.current.count as f64, float(&entry["outside"][0])), "{place}: {outliers:?}");
                assert!(equal(outliers.current.share, float(&entry["outside"][1])), "{place}: {outliers:?}");
            }
        }
        assert_eq!(report.dataset.drifted as u64, case["drifted"]["count"].as_u64().unwrap(), "{name}");
        assert!(equal(report.dataset.share, float(&case["drifted"]["share"])), "{name}");
        assert_eq!(report.dataset.drift, case["dataset_drift"], "{name}");
    }
    assert_eq!(methods.len(), 5, "every test is used: {methods:?}");
}

#[test]
fn errors_of_predictions_are_evidentlys() {
    for (number, case) in lines(include_str!("fixtures/errors.ndjson")).iter().enumerate() {
        let side = |side: &str| {
            let of = |field: &str| numbers(&case[side][field]);
            let errors = of("actual").into_iter().zip(of("predicted")).map(|(a, p)| Some(p? - a?)).collect();
            sample(Vec::new(), vec![Column::numeric("v1", errors)])
        };
        let report = compare("score", &side("reference"), &side("current"), &DriftSpec::default());
        let version = &report.errors[0];
        for (side, statistics) in [("reference", version.reference.unwrap()), ("current", version.current.unwrap())] {
            for (field, value) in [
                ("mean", statistics.mean),
                ("deviation", statistics.deviation.unwrap()),
                ("mae", statistics.mae),
                ("rmse", statistics.rmse),
            ] {
                let expected = float(&case[side][field]);
                assert!(equal(value, expected), "case {number}, {side} {field}: {value:e} here, {expected:e} there");
            }
        }
        let Verdict::Tested { score, .. } = version.drift.verdict else { panic!("case {number} is untested") };
        assert!(equal(score, float(&case["score"])), "case {number}: {score:e}");
    }
}
