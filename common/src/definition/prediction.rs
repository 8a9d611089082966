//! `[predictions.NAME]`: what is predicted of a view, and by which versions of a model.

use toml_span::value::{Table as TomlTable, Value};

use super::format::ROOT;
use super::model::{Place, Placed};
use super::reader::{Context, Reader};
use super::sections::{DEFAULT_PARTITIONS, own_topic, reader_of, section_of};
use super::text::Text;
use crate::plan::Learning;
use crate::time::Span;

/// Windows kept per key.
const DEFAULT_BUFFER: i64 = 100;
/// Keys remembered.
const DEFAULT_KEYS: i64 = 10_000;

/// `[predictions.NAME]`.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// Its name.
    pub name: Text,
    /// The view.
    pub view: Option<Text>,
    /// The column that is predicted.
    pub target: Option<Text>,
    /// The topic; `None`: named after the pipeline.
    pub topic: Option<Text>,
    /// Whether a topic is written that could not be read, which was reported.
    pub topic_unknown: bool,
    /// Partitions of the topic when Tideline creates it.
    pub partitions: u32,
    /// How long the log keeps records.
    pub retention: Option<Span>,
    /// Windows kept per key.
    pub buffer: usize,
    /// Keys remembered.
    pub keys_max: usize,
    /// How late the next window may be.
    pub gap_max: Option<Placed<Span>>,
    /// Versions, side by side.
    pub models: Vec<PredictionModel>,
    /// Where the models stand.
    pub models_place: Place,
}

/// `[predictions.NAME.models.VERSION]`.
#[derive(Clone, Debug)]
pub struct PredictionModel {
    /// Its name.
    pub version: Text,
    /// What it sees.
    pub features: Vec<Text>,
    /// How it learns.
    pub learning: Learning,
}

/// Reads the section.
pub(super) fn prediction(name: Text, reader: Reader<'_, '_>, context: &mut Context<'_>) -> Prediction {
    let section = section_of(section_of(&ROOT, "predictions"), "models");
    let mut models = Vec::new();
    if reader.value("models").is_some_and(|value| value.as_table().is_some_and(TomlTable::is_empty)) {
        context.report.error(&reader.place_of_key("models"), "a prediction has at least one model");
    }
    for (version, value) in reader.names("models", context) {
        models.extend(model(version, value, section, context));
    }
    let topic = reader.filled("topic", context).inspect(|topic| own_topic(topic, context));
    let size =
        |key: &str, default: i64, context: &mut Context<'_>| reader.integer(key, context).unwrap_or(default) as usize;
    Prediction {
        view: reader.filled("view", context),
        target: reader.filled("target", context),
        topic_unknown: topic.is_none() && reader.value("topic").is_some(),
        topic,
        partitions: reader.integer("partitions", context).unwrap_or(DEFAULT_PARTITIONS) as u32,
        retention: reader.duration("retention", context).map(|kept| kept.value),
        buffer: size("buffer", DEFAULT_BUFFER, context),
        keys_max: size("keys_max", DEFAULT_KEYS, context),
        gap_max: reader.duration("gap_max", context),
        models,
        models_place: reader.place_of_key("models"),
        name,
    }
}

fn model(
    version: Text,
    value: &Value<'_>,
    section: &'static super::format::Section,
    context: &mut Context<'_>,
) -> Option<PredictionModel> {
    let reader = reader_of(section, &version.place, value, context)?;
    if reader.value("features").is_some_and(|value| value.as_array().is_some_and(Vec::is_empty)) {
        context.report.error(&reader.place_of_key("features"), "a model has at least one feature");
    }
    let usual = Learning::default();
    let mut number = |key: &str, usual: f64| reader.number(key, context).unwrap_or(usual);
    let learning = Learning {
        learning_rate: number("learning_rate", usual.learning_rate),
        l2: number("l2", usual.l2),
        intercept_rate: number("intercept_rate", usual.intercept_rate),
        clip_gradient: number("clip_gradient", usual.clip_gradient),
    };
    Some(PredictionModel { features: reader.texts("features", context), learning, version })
}
