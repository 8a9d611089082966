//! Which test for which column, and the report of all.

use serde::{Deserialize, Serialize};

use super::report::{
    Bin, ColumnDrift, DatasetDrift, DriftReport, ErrorDrift, ErrorStatistics, Extent, FORMAT, Method, Outliers,
    Quality, Share, Verdict,
};
use super::sample::{Column, Sample, Values, sorted};
use super::test::{Counts, chi_square, jensen_shannon, kolmogorov_smirnov, proportions, wasserstein};

/// Thresholds, and the bounds between tests. The defaults are Evidently's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DriftSpec {
    /// p-values from here downwards are drift.
    pub p_value: f64,
    /// Distances from here upwards are drift.
    pub distance: f64,
    /// Share of drifted features from which on the data set has drifted.
    pub drift_share: f64,
    /// Share of missing values: what it may differ by, of the reference's.
    pub missing_relative: f64,
}

impl Default for DriftSpec {
    fn default() -> Self {
        Self { p_value: 0.05, distance: 0.1, drift_share: 0.5, missing_relative: 0.1 }
    }
}

/// References up to this size are tested for significance, greater ones by distance: there, any difference is significant.
const SIGNIFICANCE_ROWS_MAX: usize = 1_000;
/// Columns of up to so many values are compared by the frequency of each.
const FEW_VALUES: usize = 5;
/// Parts of a numeric range, and categories, that the report shows.
const BINS: usize = 10;

/// Compares the samples, column by column of the reference. A column that one of them lacks is reported as untested, and
/// so is one without a value in one of them; Evidently refuses such data as a whole.
pub fn compare(prediction: &str, reference: &Sample, current: &Sample, spec: &DriftSpec) -> DriftReport {
    let features: Vec<ColumnDrift> =
        pairs(&reference.features, &current.features).map(|(a, b)| column(a, b, spec)).collect();
    let tested = features.iter().filter_map(|feature| feature.verdict.drifted()).count();
    let drifted = features.iter().filter(|feature| feature.verdict.drifted() == Some(true)).count();
    let share = if tested == 0 { 0.0 } else { drifted as f64 / tested as f64 };
    DriftReport {
        format: FORMAT,
        prediction: prediction.to_owned(),
        reference: extent(reference),
        current: extent(current),
        dataset: DatasetDrift {
            tested,
            drifted,
            share,
            threshold: spec.drift_share,
            drift: tested > 0 && share >= spec.drift_share,
        },
        features,
        errors: pairs(&reference.errors, &current.errors).map(|(a, b)| errors(a, b, spec)).collect(),
        quality: pairs(&reference.features, &current.features).map(|(a, b)| quality(a, b, spec)).collect(),
    }
}

/// Each column of the reference with that of the same name.
fn pairs<'a>(reference: &'a [Column], current: &'a [Column]) -> impl Iterator<Item = (&'a Column, Option<&'a Values>)> {
    reference.iter().map(|column| {
        let same = current.iter().find(|other| other.name == column.name);
        (column, same.map(|other| &other.values))
    })
}

fn extent(sample: &Sample) -> Extent {
    let rows = sample.features.iter().chain(&sample.errors).map(|column| column.values.len()).max();
    Extent { from: sample.from.to_string(), to: sample.to.to_string(), rows: rows.unwrap_or(0) }
}

fn column(reference: &Column, current: Option<&Values>, spec: &DriftSpec) -> ColumnDrift {
    let (verdict, distribution) = match (&reference.values, current) {
        (_, None) => (untested("the current sample has no such column"), Vec::new()),
        (Values::Numeric(a), Some(Values::Numeric(b))) => {
            let (a, b) = (sorted(a), sorted(b));
            (numeric(&a, &b, spec), ranges(&a, &b))
        }
        (Values::Categorical(a), Some(Values::Categorical(b))) => {
            let (a, b): (Vec<&str>, Vec<&str>) =
                (a.iter().flatten().map(String::as_str).collect(), b.iter().flatten().map(String::as_str).collect());
            (categorical(&a, &b, spec), categories(&a, &b))
        }
        _ => (untested("one sample has numbers, the other categories"), Vec::new()),
    };
    ColumnDrift { column: reference.name.clone(), kind: reference.values.kind(), verdict, distribution }
}

fn untested(reason: &str) -> Verdict {
    Verdict::Untested { reason: reason.to_owned() }
}

fn numeric(reference: &[f64], current: &[f64], spec: &DriftSpec) -> Verdict {
    if let Some(verdict) = empty(reference.len(), current.len()) {
        return verdict;
    }
    let bits = |values: &[f64]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let counts = Counts::of(bits(reference), bits(current));
    if counts.pairs.len() <= FEW_VALUES {
        by_counts(reference.len(), &counts, spec)
    } else if reference.len() <= SIGNIFICANCE_ROWS_MAX {
        // Here alone Evidently takes the threshold itself for drift.
        let score = kolmogorov_smirnov(reference, current);
        tested(Method::KolmogorovSmirnov, score, spec.p_value, score <= spec.p_value)
    } else {
        let score = wasserstein(reference, current);
        tested(Method::Wasserstein, score, spec.distance, score >= spec.distance)
    }
}

fn categorical(reference: &[&str], current: &[&str], spec: &DriftSpec) -> Verdict {
    let counts = || Counts::of(reference.iter(), current.iter());
    empty(reference.len(), current.len()).unwrap_or_else(|| by_counts(reference.len(), &counts(), spec))
}

fn by_counts(reference_rows: usize, counts: &Counts, spec: &DriftSpec) -> Verdict {
    if reference_rows > SIGNIFICANCE_ROWS_MAX {
        let score = jensen_shannon(counts);
        return tested(Method::JensenShannon, score, spec.distance, score >= spec.distance);
    }
    let (method, score) = if counts.pairs.len() > 2 {
        (Method::ChiSquare, chi_square(counts))
    } else {
        (Method::ProportionsZ, proportions(counts))
    };
    tested(method, score, spec.p_value, score < spec.p_value)
}

const fn tested(method: Method, score: f64, threshold: f64, drifted: bool) -> Verdict {
    Verdict::Tested { method, score, threshold, drifted }
}

fn empty(reference: usize, current: usize) -> Option<Verdict> {
    match (reference, current) {
        (0, _) => Some(untested("the reference has no value")),
        (_, 0) => Some(untested("the current sample has no value")),
        _ => None,
    }
}

/// Shares of ten equal parts of the range of both; one part where there is one value. Both ascending.
fn ranges(reference: &[f64], current: &[f64]) -> Vec<Bin> {
    let ends = |values: &[f64]| values.first().copied().zip(values.last().copied());
    let (least, greatest) = match (ends(reference), ends(current)) {
        (Some((a, b)), Some((c, d))) => (a.min(c), b.max(d)),
        (Some(ends), None) | (None, Some(ends)) => ends,
        (None, None) => return Vec::new(),
    };
    let bins = if least < greatest { BINS } else { 1 };
    let edge =
        |bin: usize| if bin == bins { greatest } else { least + (greatest - least) * (bin as f64 / bins as f64) };
    let share = |values: &[f64], bin: usize| {
        let below = |edge: f64| values.partition_point(|x| *x < edge);
        let end = if bin + 1 == bins { values.len() } else { below(edge(bin + 1)) };
        if values.is_empty() { 0.0 } else { (end - below(edge(bin))) as f64 / values.len() as f64 }
    };
    let bin = |at: usize| Bin {
        label: format!("{} – {}", short(edge(at)), short(edge(at + 1))),
        reference: share(reference, at),
        current: share(current, at),
    };
    (0..bins).map(bin).collect()
}

/// Shares of the categories, the most frequent ones of both together first; what is beyond them as one.
fn categories(reference: &[&str], current: &[&str]) -> Vec<Bin> {
    let mut counts = std::collections::BTreeMap::<&str, (usize, usize)>::new();
    for value in reference {
        counts.entry(value).or_default().0 += 1;
    }
    for value in current {
        counts.entry(value).or_default().1 += 1;
    }
    let share = |count: usize, of: usize| if of == 0 { 0.0 } else { count as f64 / of as f64 };
    let bin = |label: String, (r, c): (usize, usize)| Bin {
        label,
        reference: share(r, reference.len()),
        current: share(c, current.len()),
    };
    let mut bins: Vec<Bin> = counts.into_iter().map(|(value, counts)| bin(value.to_owned(), counts)).collect();
    bins.sort_by(|a, b| (b.reference + b.current).total_cmp(&(a.reference + a.current)));
    if bins.len() > BINS {
        let rest = bins.split_off(BINS - 1);
        let sum = |of: fn(&Bin) -> f64| rest.iter().map(of).sum();
        let label = format!("{} others", rest.len());
        bins.push(Bin { label, reference: sum(|bin| bin.reference), current: sum(|bin| bin.current) });
    }
    bins
}

/// A number in a few digits.
pub(super) fn short(x: f64) -> String {
    if x == 0.0 || (1e-3..1e7).contains(&x.abs()) {
        let digits = (3 - x.abs().max(1e-3).log10().floor() as i32).clamp(0, 6) as usize;
        let text = format!("{x:.digits$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    } else {
        format!("{x:.3e}")
    }
}

fn errors(reference: &Column, current: Option<&Values>, spec: &DriftSpec) -> ErrorDrift {
    let statistics = |values: &Values| match values {
        Values::Numeric(values) => statistics(&sorted(values)),
        Values::Categorical(_) => None,
    };
    ErrorDrift {
        version: reference.name.clone(),
        drift: column(reference, current, spec),
        reference: statistics(&reference.values),
        current: current.and_then(statistics),
    }
}

fn statistics(errors: &[f64]) -> Option<ErrorStatistics> {
    let n = errors.len() as f64;
    let mean_of = |value: &dyn Fn(f64) -> f64| errors.iter().map(|error| value(*error)).sum::<f64>() / n;
    if errors.is_empty() {
        return None;
    }
    let mean = mean_of(&|error| error);
    let spread = mean_of(&|error| (error - mean) * (error - mean));
    Some(ErrorStatistics {
        count: errors.len(),
        mean,
        deviation: (errors.len() > 1).then(|| (spread * n / (n - 1.0)).sqrt()),
        mae: mean_of(&f64::abs),
        rmse: mean_of(&|error| error * error).sqrt(),
    })
}

fn quality(reference: &Column, current: Option<&Values>, spec: &DriftSpec) -> Quality {
    let missing = |values: &Values| {
        let present = match values {
            Values::Numeric(values) => sorted(values).len(),
            Values::Categorical(values) => values.iter().flatten().count(),
        };
        share(values.len() - present, values.len())
    };
    let (before, now) = (missing(&reference.values), current.map_or(share(0, 0), missing));
    let outliers = match (&reference.values, current) {
        (Values::Numeric(a), Some(Values::Numeric(b))) => outliers(&sorted(a), &sorted(b)),
        _ => None,
    };
    // As Evidently's approximate values: never closer than 1e-12.
    let tolerance = (before.share * spec.missing_relative).max(1e-12);
    Quality {
        column: reference.name.clone(),
        missing_reference: before,
        missing_current: now,
        missing_as_before: before.share - tolerance <= now.share && now.share <= before.share + tolerance,
        outliers,
    }
}

fn share(count: usize, of: usize) -> Share {
    Share { count, of, share: if of == 0 { 0.0 } else { count as f64 / of as f64 } }
}

fn outliers(reference: &[f64], current: &[f64]) -> Option<Outliers> {
    let (left, right) = (*reference.first()?, *reference.last()?);
    let outside = current.iter().filter(|x| !(left..=right).contains(*x)).count();
    Some(Outliers { left, right, current: share(outside, current.len()), none: outside == 0 })
}

#[cfg(test)]
mod tests {
    use tideline_common::time::Timestamp;

    use super::*;

    fn sample(features: Vec<Column>) -> Sample {
        Sample { from: Timestamp(0), to: Timestamp(3_600_000_000), features, errors: Vec::new() }
    }

    #[test]
    fn numbers_are_short() {
        for (x, text) in
            [(0.0, "0"), (1.0, "1"), (12.345_678, "12.35"), (-0.012_345, "-0.01235"), (123_456.7, "123457")]
        {
            assert_eq!(short(x), text);
        }
        assert_eq!(short(1.234_567e-9), "1.235e-9");
        assert_eq!(short(2.0e12), "2.000e12");
    }

    #[test]
    fn what_cannot_be_tested_says_why() {
        let numbers = |values: &[f64]| values.iter().copied().map(Some).collect::<Vec<_>>();
        let reference = sample(vec![
            Column::numeric("gone", numbers(&[1.0, 2.0])),
            Column::numeric("empty", numbers(&[1.0, 2.0])),
            Column::numeric("null before", vec![None, Some(f64::NAN)]),
            Column::numeric("kind", numbers(&[1.0])),
        ]);
        let current = sample(vec![
            Column::numeric("empty", vec![None, None]),
            Column::numeric("null before", numbers(&[3.0])),
            Column::categorical("kind", vec![Some("one".to_owned())]),
            Column::numeric("new", numbers(&[3.0])),
        ]);
        let report = compare("score", &reference, &current, &DriftSpec::default());
        let reasons: Vec<String> = report
            .features
            .iter()
            .map(|feature| match &feature.verdict {
                Verdict::Untested { reason } => format!("{}: {reason}", feature.column),
                tested @ Verdict::Tested { .. } => format!("{tested:?}"),
            })
            .collect();
        assert_eq!(
            reasons,
            [
                "gone: the current sample has no such column",
                "empty: the current sample has no value",
                "null before: the reference has no value",
                "kind: one sample has numbers, the other categories",
            ]
        );
        assert_eq!((report.dataset.tested, report.dataset.drift), (0, false));
        assert!(!report.quality[1].missing_as_before && report.quality[1].missing_current.count == 2);
        assert_eq!(report.quality[2].missing_reference.count, 2);
    }

    #[test]
    fn distributions_are_whole() {
        let names = |n: usize| (0..n).map(|i| Some(format!("c{}", i % 15))).collect::<Vec<_>>();
        let reference = sample(vec![
            Column::numeric("n", (0..100).map(|i| Some(f64::from(i))).collect()),
            Column::numeric("constant", vec![Some(5.0); 10]),
            Column::categorical("c", names(40)),
        ]);
        let current = sample(vec![
            Column::numeric("n", (50..150).map(|i| Some(f64::from(i))).collect()),
            Column::numeric("constant", vec![Some(5.0); 3]),
            Column::categorical("c", names(20)),
        ]);
        let report = compare("score", &reference, &current, &DriftSpec::default());
        let lengths: Vec<usize> = report.features.iter().map(|feature| feature.distribution.len()).collect();
        assert_eq!(lengths, [10, 1, 10]);
        assert_eq!(report.features[2].distribution[9].label, "6 others");
        for feature in &report.features {
            let sums = feature.distribution.iter().fold((0.0, 0.0), |(r, c), bin| (r + bin.reference, c + bin.current));
            assert!((sums.0 - 1.0).abs() < 1e-12 && (sums.1 - 1.0).abs() < 1e-12, "{}: {sums:?}", feature.column);
        }
        let outliers = report.quality[0].outliers.map(|o| (o.left, o.right, o.current.count, o.none));
        assert_eq!(outliers, Some((0.0, 99.0, 50, false)));
        assert_eq!(report.quality[1].outliers.map(|o| o.none), Some(true));
    }
}
