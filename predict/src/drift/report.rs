//! What a comparison found. Serialised, it is the JSON form of the report; numbers that JSON cannot say are null.

use serde::Serialize;

use super::sample::Kind;

/// The version of the report's form.
pub const FORMAT: u32 = 1;

/// A stretch of time and what is in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Extent {
    /// Where it begins, RFC 3339.
    pub from: String,
    /// Where it ends, RFC 3339; not included.
    pub to: String,
    /// The greatest number of rows of a column in it.
    pub rows: usize,
}

/// The report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DriftReport {
    /// [`FORMAT`].
    pub format: u32,
    /// What is predicted.
    pub prediction: String,
    /// What is taken for normal.
    pub reference: Extent,
    /// What is asked about.
    pub current: Extent,
    /// Whether the features as a whole have drifted.
    pub dataset: DatasetDrift,
    /// Each feature.
    pub features: Vec<ColumnDrift>,
    /// The errors of each version.
    pub errors: Vec<ErrorDrift>,
    /// Missing values and outliers of each feature.
    pub quality: Vec<Quality>,
}

/// Drift over all features that could be tested.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DatasetDrift {
    /// Features that were tested.
    pub tested: usize,
    /// Those that have drifted.
    pub drifted: usize,
    /// drifted / tested; 0 when none was tested.
    pub share: f64,
    /// The share from which on the data set has drifted.
    pub threshold: f64,
    /// Whether it has.
    pub drift: bool,
}

/// How a column was tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Two-sample Kolmogorov–Smirnov; the score is a p-value.
    KolmogorovSmirnov,
    /// Pearson's χ²; the score is a p-value.
    ChiSquare,
    /// z-test of two proportions; the score is a p-value.
    ProportionsZ,
    /// Wasserstein distance over the reference's standard deviation.
    Wasserstein,
    /// Jensen–Shannon distance.
    JensenShannon,
}

impl Method {
    /// As people say it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KolmogorovSmirnov => "Kolmogorov–Smirnov p-value",
            Self::ChiSquare => "χ² p-value",
            Self::ProportionsZ => "z-test p-value",
            Self::Wasserstein => "Wasserstein distance over σ",
            Self::JensenShannon => "Jensen–Shannon distance",
        }
    }

    /// Whether a small score says that there is drift.
    pub const fn is_p_value(self) -> bool {
        matches!(self, Self::KolmogorovSmirnov | Self::ChiSquare | Self::ProportionsZ)
    }
}

/// What a test said.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Verdict {
    /// It could be tested.
    Tested {
        /// How.
        method: Method,
        /// What came of it.
        score: f64,
        /// From where on it is drift.
        threshold: f64,
        /// Whether it is.
        drifted: bool,
    },
    /// It could not.
    Untested {
        /// Why.
        reason: String,
    },
}

impl Verdict {
    /// Whether there is drift; `None` when it could not be tested.
    pub const fn drifted(&self) -> Option<bool> {
        match self {
            Self::Tested { drifted, .. } => Some(*drifted),
            Self::Untested { .. } => None,
        }
    }
}

/// A part of a column's range, or one of its values.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bin {
    /// What is in it.
    pub label: String,
    /// Share of the reference, 0 to 1.
    pub reference: f64,
    /// Share of the current sample, 0 to 1.
    pub current: f64,
}

/// A column of both samples.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ColumnDrift {
    /// Its name.
    pub column: String,
    /// Its kind.
    pub kind: Kind,
    /// What the test said.
    pub verdict: Verdict,
    /// How both samples are distributed: ten equal parts of a numeric range, or the most frequent categories.
    pub distribution: Vec<Bin>,
}

/// Errors of a version in one sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ErrorStatistics {
    /// Predictions that were compared.
    pub count: usize,
    /// Mean of predicted less actual: positive where too much is predicted.
    pub mean: f64,
    /// Standard deviation of the sample (n − 1); null for fewer than two.
    pub deviation: Option<f64>,
    /// Mean absolute error.
    pub mae: f64,
    /// Root of the mean squared error.
    pub rmse: f64,
}

/// Errors of a version in both samples.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ErrorDrift {
    /// The version.
    pub version: String,
    /// Whether its errors have drifted.
    pub drift: ColumnDrift,
    /// In the reference; null when there are none.
    pub reference: Option<ErrorStatistics>,
    /// In the current sample; null when there are none.
    pub current: Option<ErrorStatistics>,
}

/// A number of rows among all.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Share {
    /// How many.
    pub count: usize,
    /// Of how many.
    pub of: usize,
    /// count / of; 0 of none.
    pub share: f64,
}

/// Whether a column is as complete, and within the range, as it was.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Quality {
    /// Its name.
    pub column: String,
    /// Missing values of the reference.
    pub missing_reference: Share,
    /// Missing values of the current sample.
    pub missing_current: Share,
    /// Whether the current share is within 10 % of the reference's (Evidently: `eq(Reference(relative=0.1))`).
    pub missing_as_before: bool,
    /// Outliers; null for categories, and where the reference has no value.
    pub outliers: Option<Outliers>,
}

/// Values outside of the range of the reference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Outliers {
    /// Least value of the reference.
    pub left: f64,
    /// Greatest value of the reference.
    pub right: f64,
    /// Values of the current sample outside, among those that are there.
    pub current: Share,
    /// Whether there are none (Evidently's default for values out of range: 0).
    pub none: bool,
}
