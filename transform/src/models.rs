//! `classify('NAME', text)` and `classify_score('NAME', text, 'joy')` in SQL: models that the operator configures.
//!
//! What computes them is told once per process, with [`install`]: this crate opens no file and starts nothing.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, OnceLock};

use polars::error::{PolarsResult, polars_bail, polars_err};
use polars::prelude::{Column, Float64Chunked, IntoColumn, StringChunked};
use polars_arrow::array::{Array, MutableBinaryViewArray, MutablePrimitiveArray, Utf8ViewArray};
use polars_plan::dsl::OpaqueColumnUdf;
use polars_plan::plans::{AExpr, IRPlan};
use polars_utils::arena::Node;

use crate::functions::{self, argument, texts};

/// Texts that a model is asked for at a time.
pub const TEXTS_MAX: usize = 100;
/// Probabilities are rounded to so many parts of 1: what processors of different kinds compute differs by less, so that
/// the layers agree on different machines too, but for a probability that lies between two by chance.
const STEPS: f64 = 10_000.0;

/// A model that tells labels apart. The answer to a text follows from the text alone.
pub trait Model: fmt::Debug + Send + Sync {
    /// Its labels. It need not be ready for that.
    ///
    /// # Errors
    /// What is wrong with it.
    fn labels(&self) -> Result<Vec<String>, String>;

    /// Makes it ready to answer, where it is not yet: a process that only reads expressions never needs it.
    ///
    /// # Errors
    /// What is wrong with it.
    fn prepare(&self) -> Result<(), String>;

    /// For each of at most [`TEXTS_MAX`] texts the probability of each label.
    ///
    /// # Errors
    /// Why there is no answer.
    fn probabilities(&self, texts: &[&str]) -> Result<Vec<Vec<f64>>, String>;
}

/// Models by name.
pub type Models = BTreeMap<String, Arc<dyn Model>>;

static MODELS: OnceLock<Models> = OnceLock::new();

/// Tells which models there are. Once per process: the first ones stay, as expressions have been compiled with them.
pub fn install(models: Models) {
    let _ = MODELS.set(models);
}

fn named(name: &str) -> PolarsResult<&'static dyn Model> {
    static NONE: Models = BTreeMap::new();
    let models = MODELS.get().unwrap_or(&NONE);
    models.get(name).map(AsRef::as_ref).ok_or_else(|| {
        let known: Vec<&str> = models.keys().map(String::as_str).collect();
        let known = if known.is_empty() {
            "no model is configured".to_owned()
        } else {
            format!("there are {}", known.join(", "))
        };
        polars_err!(InvalidOperation:
            "there is no model '{name}', which [models.{name}] in the configuration would name the folder of; {known}")
    })
}

fn of_model<T>(name: &str, result: Result<T, String>) -> PolarsResult<T> {
    result.map_err(|message| polars_err!(ComputeError: "model '{name}': {message}"))
}

/// The place of a label among those of the model.
fn place(name: &str, label: &str) -> PolarsResult<usize> {
    let labels = of_model(name, named(name)?.labels())?;
    labels.iter().position(|known| known == label).ok_or_else(
        || polars_err!(InvalidOperation: "model '{name}' has no label '{label}', but {}", labels.join(", ")),
    )
}

/// The likeliest label of each text; of those that are equally likely the first.
pub(crate) fn classify(columns: &mut [Column]) -> PolarsResult<Column> {
    let column = argument(columns, 1, "classify")?;
    let texts = texts(column)?;
    let mut labels = MutableBinaryViewArray::<str>::with_capacity(texts.len());
    // An empty batch has no row that could say which model.
    if !texts.is_empty() {
        let name = constant(argument(columns, 0, "classify")?, "classify")?;
        let all = of_model(&name, named(&name)?.labels())?;
        for answer in answers(&name, &texts)? {
            labels.push(answer.map(|probabilities| all[highest(&probabilities)].as_str()));
        }
    }
    Ok(StringChunked::with_chunk(column.name().clone(), labels.into()).into_column())
}

/// The probability of one label for each text.
pub(crate) fn classify_score(columns: &mut [Column]) -> PolarsResult<Column> {
    let column = argument(columns, 1, "classify_score")?;
    let texts = texts(column)?;
    let mut scores = MutablePrimitiveArray::<f64>::with_capacity(texts.len());
    if !texts.is_empty() {
        let name = constant(argument(columns, 0, "classify_score")?, "classify_score")?;
        let place = place(&name, &constant(argument(columns, 2, "classify_score")?, "classify_score")?)?;
        for answer in answers(&name, &texts)? {
            scores.push(answer.map(|probabilities| probabilities[place]));
        }
    }
    Ok(Float64Chunked::with_chunk(column.name().clone(), scores.into()).into_column())
}

/// The text of a constant. The plan was checked: all rows have the same.
fn constant(column: &Column, function: &str) -> PolarsResult<String> {
    let first = texts(&column.head(Some(1)))?;
    first.get(0).map(str::to_owned).ok_or_else(|| polars_err!(InvalidOperation: "{}", not_constant(function)))
}

fn not_constant(function: &str) -> String {
    match function {
        "classify" => "the first argument of `classify` names a model, in single quotes: classify('emotion', text)",
        _ => "the first argument of `classify_score` names a model and the third a label, in single quotes: classify_score('emotion', text, 'joy')",
    }
    .to_owned()
}

/// The rounded probabilities of each text; none of a null. Equal texts are asked for once.
fn answers(name: &str, texts: &Utf8ViewArray) -> PolarsResult<Vec<Option<Vec<f64>>>> {
    let model = named(name)?;
    let labels = of_model(name, model.labels())?.len();
    let mut places: HashMap<&str, usize> = HashMap::with_capacity(texts.len());
    let mut distinct: Vec<&str> = Vec::new();
    for text in texts.iter().flatten() {
        places.entry(text).or_insert_with(|| {
            distinct.push(text);
            distinct.len() - 1
        });
    }
    let mut found: Vec<Vec<f64>> = Vec::with_capacity(distinct.len());
    for texts in distinct.chunks(TEXTS_MAX) {
        let answers = of_model(name, model.probabilities(texts))?;
        if answers.len() != texts.len() || answers.iter().any(|answer| answer.len() != labels) {
            polars_bail!(ComputeError: "model '{name}' did not answer each of {} texts with {labels} probabilities", texts.len());
        }
        let round = |answer: Vec<f64>| answer.into_iter().map(|p| (p * STEPS).round() / STEPS).collect();
        found.extend(answers.into_iter().map(round));
    }
    Ok(texts.iter().map(|text| Some(found[places[text?]].clone())).collect())
}

/// The place of the highest; of equal ones the first.
fn highest(probabilities: &[f64]) -> usize {
    let mut highest = 0;
    for (place, probability) in probabilities.iter().enumerate() {
        if *probability > probabilities[highest] {
            highest = place;
        }
    }
    highest
}

/// Checks that every call in a plan names a model that there is, and a label of it, in constants.
pub(crate) fn check(plan: &IRPlan) -> PolarsResult<()> {
    for call in calls(plan) {
        let (name, label) = call?;
        named(&name)?;
        if let Some(label) = label {
            place(&name, &label)?;
        }
    }
    Ok(())
}

/// Makes the models of a plan ready.
pub(crate) fn prepare(plan: &IRPlan) -> PolarsResult<()> {
    for call in calls(plan) {
        let (name, _) = call?;
        of_model(&name, named(&name)?.prepare())?;
    }
    Ok(())
}

/// The model, and the label, of each call in a plan.
fn calls(plan: &IRPlan) -> impl Iterator<Item = PolarsResult<(String, Option<String>)>> {
    (0..plan.expr_arena.len()).filter_map(|node| {
        let AExpr::AnonymousFunction { input, function, .. } = plan.expr_arena.get(Node(node)) else { return None };
        let which = called(function)?;
        let text = |argument: usize| match plan.expr_arena.get(input.get(argument)?.node()) {
            AExpr::Literal(value) => value.extract_str().map(str::to_owned),
            _ => None,
        };
        let constants = match which {
            "classify" => text(0).map(|name| (name, None)),
            _ => text(0).zip(text(2)).map(|(name, label)| (name, Some(label))),
        };
        Some(constants.ok_or_else(|| polars_err!(InvalidOperation: "{}", not_constant(which))))
    })
}

/// Which of the two a function in a plan is.
fn called(function: &OpaqueColumnUdf) -> Option<&'static str> {
    ["classify", "classify_score"].into_iter().find(|name| functions::is(name, function))
}
