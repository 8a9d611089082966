//! Predictions: what is predicted of a view's next window, and by which versions of a model.

use serde::Serialize;

use super::compile::{Compiler, Rows};
use super::{Plan, ViewPlan};
use crate::definition::format::{MAX_FEATURES, MAX_MODELS};
use crate::definition::{self, Text};
use crate::time::Span;

/// A column of a view whose next value is predicted from the closed windows.
#[derive(Clone, Debug, Serialize)]
pub struct PredictionPlan {
    /// Name, unique among predictions.
    pub name: String,
    /// The view.
    pub view: String,
    /// The column that is predicted.
    pub target: String,
    /// The topic that predictions go to.
    pub topic: String,
    /// Partitions of the topic when Tideline creates it.
    pub partitions: u32,
    /// How long the log keeps its records; `None`: for ever.
    pub retention: Option<Span>,
    /// Windows kept per key.
    pub buffer: usize,
    /// Keys remembered.
    pub keys_max: usize,
    /// A prediction is compared with the next window of its key only if that begins at most so much later; `None`: with
    /// the next one, however late.
    pub gap_max: Option<Span>,
    /// Versions, side by side.
    pub models: Vec<ModelPlan>,
}

/// A version of a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelPlan {
    /// Its name.
    pub version: String,
    /// What it sees, in this order.
    pub features: Vec<FeaturePlan>,
    /// How it learns.
    #[serde(flatten)]
    pub learning: Learning,
}

/// How a version learns.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Learning {
    /// Step length of the weights.
    pub learning_rate: f64,
    /// Weight of the squared weights in the loss.
    pub l2: f64,
    /// Step length of the intercept.
    pub intercept_rate: f64,
    /// The greatest magnitude of the loss's gradient.
    pub clip_gradient: f64,
}

impl Default for Learning {
    fn default() -> Self {
        Self { learning_rate: 0.01, l2: 0.001, intercept_rate: 0.01, clip_gradient: 1e12 }
    }
}

/// A named input of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FeaturePlan {
    /// Its name, unique within a model.
    pub name: String,
    /// Where it comes from.
    #[serde(flatten)]
    pub source: FeatureSource,
}

/// Where a feature comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FeatureSource {
    /// The value of a column.
    Value {
        /// The column.
        column: String,
    },
    /// The value less that of the window before.
    Delta {
        /// The column.
        column: String,
    },
    /// The mean over the newest windows.
    Average {
        /// The column.
        column: String,
        /// How many windows.
        windows: usize,
    },
    /// The hour of the window's start, UTC.
    Hour,
    /// The day of the week of the window's start, UTC.
    DayOfWeek,
}

impl std::fmt::Display for FeatureSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Value { column } => f.write_str(column),
            Self::Delta { column } => write!(f, "delta({column})"),
            Self::Average { column, windows } => write!(f, "ma({column}, {windows})"),
            Self::Hour => f.write_str(HOUR),
            Self::DayOfWeek => f.write_str(DAY_OF_WEEK),
        }
    }
}

const HOUR: &str = "hour";
const DAY_OF_WEEK: &str = "day_of_week";
/// Windows of an average that does not say how many.
const AVERAGE_WINDOWS: usize = 5;
/// Columns that a record of a prediction has beside the key's and the target's.
const RECORD_COLUMNS: [&str; 5] = ["timestamp", "window_end", "prediction_error", "model_version", "status"];

/// Compiles a prediction; views, sources and outputs are in `plan`. `None` when it has mistakes that leave nothing to say.
pub(super) fn prediction(
    compiler: &mut Compiler<'_>,
    prediction: &definition::Prediction,
    plan: &Plan,
) -> Option<PredictionPlan> {
    let name = &prediction.name;
    if prediction.models.len() > MAX_MODELS {
        let message = format!("{} versions side by side: the most is {MAX_MODELS}", prediction.models.len());
        compiler.findings.error(&prediction.models_place, message);
    }
    let topic = match &prediction.topic {
        Some(topic) => topic.clone(),
        None => Text::plain(format!("{}.predictions.{}", plan.name, name.value), name.place.clone()),
    };
    if !prediction.topic_unknown {
        writes_alone(compiler, &topic, plan);
    }
    let view = compiler.find(prediction.view.as_ref()?, "view", &plan.views, |view| &view.name)?;
    reads_not_what_it_writes(compiler, &topic, view, plan);
    let target = prediction.target.as_ref();
    for field in &view.key {
        let of_target = |prefix: &str| target.is_some_and(|target| field.name == format!("{prefix}_{}", target.value));
        if RECORD_COLUMNS.contains(&field.name.as_str()) || of_target("actual") || of_target("predicted") {
            let message = format!("view `{}` has a key column `{}`, which every prediction has", view.name, field.name);
            compiler.error(prediction.view.as_ref()?, message);
        }
    }
    if let Some(gap) = &prediction.gap_max
        && gap.value < view.window.slide
    {
        let message = format!("gap_max of {} is shorter than the slide of the view, {}", gap.value, view.window.slide);
        compiler.findings.error(&gap.place, message);
    }
    // Key and window are no numbers that change: only columns of the answer are learnt from.
    let known = compiler.views.iter().find(|rows| rows.name == view.name)?;
    let answer = |name: &str| view.answer.iter().any(|field| field.name == name);
    let rows = Rows {
        name: view.name.clone(),
        columns: known.columns.iter().filter(|(name, _)| answer(name)).cloned().collect(),
        complete: known.complete,
    };
    let of = format!("view `{}`", view.name);
    if let Some(target) = target {
        number(compiler, target, &rows, &of, "what is predicted");
    }
    let models = prediction.models.iter().map(|model| ModelPlan {
        version: model.version.value.clone(),
        features: features(compiler, model, prediction.buffer, &rows, &of),
        learning: model.learning,
    });
    Some(PredictionPlan {
        models: models.collect(),
        name: name.value.clone(),
        view: view.name.clone(),
        target: target?.value.clone(),
        topic: topic.value,
        partitions: prediction.partitions,
        retention: prediction.retention,
        buffer: prediction.buffer,
        keys_max: prediction.keys_max,
        gap_max: prediction.gap_max.as_ref().map(|gap| gap.value),
    })
}

/// Reports a topic that something else of the definition writes to: nobody could tell them apart.
fn writes_alone(compiler: &mut Compiler<'_>, topic: &Text, plan: &Plan) {
    let output = plan.outputs.iter().find(|other| other.topic == topic.value).map(|other| ("output", &other.name));
    let other = plan.predictions.iter().find(|other| other.topic == topic.value);
    if let Some((kind, other)) = output.or(other.map(|other| ("prediction", &other.name))) {
        let message = format!("{kind} `{other}` writes to the topic `{}` already", topic.value);
        compiler.error(topic, message);
    }
}

fn reads_not_what_it_writes(compiler: &mut Compiler<'_>, topic: &Text, view: &ViewPlan, plan: &Plan) {
    let reads = |name: &&String| plan.source(name).is_some_and(|source| source.topic == topic.value);
    if let Some(source) = view.sources.iter().find(reads) {
        let message = format!("view `{}` is made from `{}`, which source `{source}` reads", view.name, topic.value);
        compiler.findings.add(&topic.place, message, Some("what it writes would come back to it for ever".into()));
    }
}

/// A column that must be a number.
fn number(compiler: &mut Compiler<'_>, column: &Text, rows: &Rows, of: &str, what: &str) {
    if let Some(ty) = compiler.column(column, rows, of)
        && !ty.is_numeric()
    {
        compiler.error(column, format!("{what} is a number, and `{}` is of type {ty}", column.value));
    }
}

fn features(
    compiler: &mut Compiler<'_>,
    model: &definition::PredictionModel,
    buffer: usize,
    rows: &Rows,
    of: &str,
) -> Vec<FeaturePlan> {
    let version = &model.version;
    if model.features.len() > MAX_FEATURES {
        let message =
            format!("model `{}` has {} features: the most is {MAX_FEATURES}", version.value, model.features.len());
        compiler.error(version, message);
    }
    let mut all: Vec<FeaturePlan> = Vec::new();
    for text in &model.features {
        let Some((name, source, column)) = parse(text) else {
            let message = format!("`{}` is no feature", text.value);
            let help = "a feature is a column, hour, day_of_week, delta(column) or ma(column, windows), and may be named: `name = …`";
            compiler.findings.add(&text.place, message, Some(help.into()));
            continue;
        };
        if let Some(column) = &column {
            number(compiler, column, rows, of, "a feature");
        }
        if let FeatureSource::Average { windows, .. } = &source
            && !(1..=buffer).contains(windows)
        {
            let message = format!("an average is over 1 to {buffer} windows, the buffer, not {windows}");
            compiler.error(text, message);
        }
        if all.iter().any(|other| other.name == name) {
            let message = format!("model `{}` has a feature `{name}` already", version.value);
            compiler.findings.add(&text.place, message, Some("name one of them: `name = …`".into()));
            continue;
        }
        all.push(FeaturePlan { name, source });
    }
    all
}

/// Reads `[name =] column | hour | day_of_week | delta(column) | ma(column[, windows])`; the column with its place.
fn parse(text: &Text) -> Option<(String, FeatureSource, Option<Text>)> {
    let whole = text.value.as_str();
    let (name, from) = match whole.find('=') {
        Some(at) => (Some(word(whole[..at].trim())?), at + 1),
        None => (None, 0),
    };
    let part = |from: usize, to: usize| -> Option<Text> {
        let inner = &whole[from..to];
        let begin = from + (inner.len() - inner.trim_start().len());
        let found = text.part(begin..begin + inner.trim().len());
        word(&found.value)?;
        Some(found)
    };
    let body = &whole[from..];
    let Some(open) = body.find('(').map(|at| from + at) else {
        let column = part(from, whole.len())?;
        let own = column.value.clone();
        let (source, column) = match own.as_str() {
            HOUR => (FeatureSource::Hour, None),
            DAY_OF_WEEK => (FeatureSource::DayOfWeek, None),
            _ => (FeatureSource::Value { column: own.clone() }, Some(column)),
        };
        return Some((name.unwrap_or(own), source, column));
    };
    let close = whole.trim_end().strip_suffix(')')?.len();
    let comma = whole[open..close].find(',').map(|at| open + at);
    let column = part(open + 1, comma.unwrap_or(close))?;
    let windows = match comma {
        Some(comma) => Some(whole[comma + 1..close].trim().parse::<usize>().ok()?),
        None => None,
    };
    let (prefix, source) = match (whole[from..open].trim(), windows) {
        ("delta", None) => ("delta", FeatureSource::Delta { column: column.value.clone() }),
        ("ma", windows) => {
            let windows = windows.unwrap_or(AVERAGE_WINDOWS);
            ("ma", FeatureSource::Average { column: column.value.clone(), windows })
        }
        _ => return None,
    };
    Some((name.unwrap_or_else(|| format!("{prefix}_{}", column.value)), source, Some(column)))
}

/// The text, if it is a name.
fn word(text: &str) -> Option<String> {
    let mut chars = text.chars();
    let first = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    (first && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feature(text: &str) -> Option<(String, String, Option<usize>)> {
        let (name, source, column) = parse(&Text::plain(text, 10..10 + text.len()))?;
        Some((name, source.to_string(), column.map(|column| column.place.start - 10)))
    }

    fn is(text: &str, name: &str, source: &str, column: Option<usize>) {
        assert_eq!(feature(text), Some((name.to_owned(), source.to_owned(), column)), "{text}");
    }

    #[test]
    fn features_are_read_with_the_place_of_their_column() {
        is("popularity", "popularity", "popularity", Some(0));
        is(" p = popularity ", "p", "popularity", Some(5));
        is("hour", "hour", "hour", None);
        is("dow = day_of_week", "dow", "day_of_week", None);
        is("delta(mentions_count)", "delta_mentions_count", "delta(mentions_count)", Some(6));
        is("delta_mentions = delta( mentions_count )", "delta_mentions", "delta(mentions_count)", Some(24));
        is("ma(a)", "ma_a", "ma(a, 5)", Some(3));
        is("ma_a = ma(a, 12)", "ma_a", "ma(a, 12)", Some(10));
    }

    #[test]
    fn what_is_no_feature_is_none() {
        for text in [
            "",
            "=",
            "a b",
            "1a",
            "a =",
            "= a",
            "delta()",
            "delta(a, 2)",
            "ma(a, b)",
            "ma(a,)",
            "ma(a",
            "max(a)",
            "a)",
            "ma(a))",
            "x = y = z",
            "ma(a) b",
            "ma(a, -1)",
        ] {
            assert_eq!(feature(text), None, "{text}");
        }
    }
}
