//! The functions of Tideline in SQL.
//!
//! Each is row-wise: the value of a row depends on that row alone, so that a batch may be cut anywhere.

use std::sync::{Arc, LazyLock};

use polars::error::{PolarsResult, polars_bail, polars_err};
use polars::prelude::{
    ChunkCast, Column, DataType, Field, Float64Chunked, Int64Chunked, IntoColumn, Schema, StringChunked, TimeUnit,
};
use polars_arrow::array::{Array, MutableBinaryViewArray, PrimitiveArray, Utf8ViewArray};
use polars_core::runtime::THREAD_POOL;
use polars_plan::dsl::{BaseColumnUdf, OpaqueColumnUdf, UserDefinedFunction};
use polars_plan::plans::IRPlan;
use polars_plan::prelude::FunctionOptions;
use polars_sql::function_registry::FunctionRegistry;
use tideline_common::time::{Span, Timestamp};

use crate::types::{TIME, string_lists};
use crate::{emotions, models, titles};

/// Names of Tideline's own functions, with how they are called.
pub(crate) const SIGNATURES: &[(&str, &str)] = &[
    ("cashtags", "cashtags(text): the distinct $SYMBOLs of a text, as a list; cashtags(text, 'all') keeps repeats"),
    ("churn_risk", "churn_risk(text): how likely a customer who writes this is about to leave, from 0 to 1"),
    ("classify", "classify('NAME', text): the label that a configured model finds likeliest"),
    (
        "classify_score",
        "classify_score('NAME', text, 'joy'): the probability of a label by a configured model, from 0 to 1",
    ),
    ("emotion", "emotion(text): anger, disgust, fear, joy, neutral, sadness or surprise, the one a text shows most"),
    ("emotion_score", "emotion_score(text, 'joy'): the probability that a text shows an emotion, from 0 to 1"),
    ("emotions", "emotions(text): all emotions that a text shows, as a list"),
    ("label", "label(score): positive, neutral or negative"),
    ("time_bucket", "time_bucket('1h', time): the start of the interval that holds a time"),
    ("titles", "titles(text, 'Dune', 'Alien'): the given titles that a text mentions, as a list"),
    ("toxicity", "toxicity(text): how toxic a text is, from 0 to 1"),
    ("vader", "vader(text): sentiment of a text, from -1 to 1"),
];

const NO_TITLES: &str = "`titles` takes a text and at least one title: titles(text, 'Dune')";

/// Texts that one thread scores before the work is worth sharing.
const PARALLEL_TEXTS: usize = 512;

/// The registry that SQL contexts look functions up in.
pub(crate) struct Functions {
    functions: Vec<UserDefinedFunction>,
}

/// The one registry: calls of one function are equal only if they come from the same.
static FUNCTIONS: LazyLock<Arc<Functions>> = LazyLock::new(|| {
    let text = DataType::String;
    let list = DataType::List(Box::new(DataType::String));
    let functions = vec![
        define("vader", vader, vec![Takes::Text], DataType::Float64),
        define_cashtags(list.clone()),
        define_titles(list.clone()),
        define("label", label, vec![Takes::Number], text.clone()),
        define("classify", models::classify, vec![Takes::Text, Takes::Text], text.clone()),
        define("classify_score", models::classify_score, vec![Takes::Text; 3], DataType::Float64),
        define("emotion", emotions::emotion, vec![Takes::Text], text),
        define("emotions", emotions::emotions, vec![Takes::Text], list),
        define("emotion_score", emotions::emotion_score, vec![Takes::Text, Takes::Text], DataType::Float64),
        define("toxicity", toxicity, vec![Takes::Text], DataType::Float64),
        define("churn_risk", churn_risk, vec![Takes::Text], DataType::Float64),
        define("time_bucket", time_bucket, vec![Takes::Text, Takes::Time], TIME),
    ];
    Arc::new(Functions { functions })
});

impl Functions {
    pub(crate) fn shared() -> Arc<dyn FunctionRegistry> {
        FUNCTIONS.clone()
    }
}

impl FunctionRegistry for Functions {
    fn register(&mut self, name: &str, _: UserDefinedFunction) -> PolarsResult<()> {
        polars_bail!(InvalidOperation: "`{name}`: functions are fixed")
    }

    fn get_udf(&self, name: &str) -> PolarsResult<Option<UserDefinedFunction>> {
        Ok(self.functions.iter().find(|function| function.name.as_str() == name).cloned())
    }

    fn contains(&self, name: &str) -> bool {
        self.functions.iter().any(|function| function.name.as_str() == name)
    }
}

/// What an argument must be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Text,
    Number,
    Time,
}

impl Takes {
    fn accepts(self, dtype: &DataType) -> bool {
        match self {
            _ if *dtype == DataType::Null => true,
            Self::Text => matches!(dtype, DataType::String | DataType::Unknown(_)),
            Self::Number => dtype.is_numeric() || matches!(dtype, DataType::Unknown(_)),
            Self::Time => matches!(dtype, DataType::Datetime(..) | DataType::Date),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Number => "a number",
            Self::Time => "a timestamp",
        }
    }
}

fn define(
    name: &'static str,
    function: fn(&mut [Column]) -> PolarsResult<Column>,
    takes: Vec<Takes>,
    gives: DataType,
) -> UserDefinedFunction {
    let field = move |_: &Schema, fields: &[Field]| -> PolarsResult<Field> {
        if fields.len() != takes.len() {
            polars_bail!(InvalidOperation: "`{name}` takes {} arguments, not {}", takes.len(), fields.len());
        }
        for (takes, field) in takes.iter().zip(fields) {
            if !takes.accepts(field.dtype()) {
                let found = crate::types::domain_type(field.dtype())
                    .map_or_else(|| field.dtype().to_string(), |ty| ty.to_string());
                polars_bail!(InvalidOperation: "`{name}` takes {}, not {found}", takes.name());
            }
        }
        Ok(Field::new(fields[0].name().clone(), gives.clone()))
    };
    let mut defined = UserDefinedFunction::new(name.into(), BaseColumnUdf::new(function, field));
    defined.options = FunctionOptions::elementwise();
    defined
}

/// `cashtags(text)` and `cashtags(text, 'all')`.
fn define_cashtags(gives: DataType) -> UserDefinedFunction {
    let field = move |_: &Schema, fields: &[Field]| -> PolarsResult<Field> {
        let (1 | 2, Some(text)) = (fields.len(), fields.first()) else {
            polars_bail!(InvalidOperation: "`cashtags` takes a text, and 'all' where repeats are wanted: cashtags(text, 'all')");
        };
        if fields.iter().any(|field| !Takes::Text.accepts(field.dtype())) {
            polars_bail!(InvalidOperation: "`cashtags` takes a string, and 'all' where repeats are wanted");
        }
        Ok(Field::new(text.name().clone(), gives.clone()))
    };
    let mut defined = UserDefinedFunction::new("cashtags".into(), BaseColumnUdf::new(cashtags, field));
    defined.options = FunctionOptions::elementwise();
    defined
}

/// The one function that takes any number of arguments.
fn define_titles(gives: DataType) -> UserDefinedFunction {
    let field = move |_: &Schema, fields: &[Field]| -> PolarsResult<Field> {
        let [text, titles @ ..] = fields else {
            polars_bail!(InvalidOperation: "{NO_TITLES}");
        };
        if titles.is_empty() {
            polars_bail!(InvalidOperation: "{NO_TITLES}");
        }
        if !Takes::Text.accepts(text.dtype()) {
            let found =
                crate::types::domain_type(text.dtype()).map_or_else(|| text.dtype().to_string(), |ty| ty.to_string());
            polars_bail!(InvalidOperation: "`titles` takes a string, not {found}");
        }
        Ok(Field::new(text.name().clone(), gives.clone()))
    };
    let mut defined = UserDefinedFunction::new("titles".into(), BaseColumnUdf::new(titles::titles, field));
    defined.options = FunctionOptions::elementwise();
    defined
}

/// Whether a function in a plan is ours of this name.
pub(crate) fn is(name: &str, function: &OpaqueColumnUdf) -> bool {
    FUNCTIONS.functions.iter().any(|known| known.name.as_str() == name && known.fun == *function)
}

/// Checks the arguments of our functions in a plan that have to be constants, before there is a row.
pub(crate) fn check(plan: &IRPlan) -> PolarsResult<()> {
    titles::check(plan)?;
    emotions::check(plan)?;
    models::check(plan)
}

pub(crate) fn argument<'a>(columns: &'a [Column], index: usize, name: &str) -> PolarsResult<&'a Column> {
    columns.get(index).ok_or_else(|| polars_err!(InvalidOperation: "`{name}` lacks argument {}", index + 1))
}

/// The texts of a column in one array.
pub(crate) fn texts(column: &Column) -> PolarsResult<Utf8ViewArray> {
    let series = column.as_materialized_series();
    let texts: StringChunked = match series.dtype() {
        DataType::String => series.str()?.rechunk().into_owned(),
        _ => series.cast(&DataType::String)?.str()?.rechunk().into_owned(),
    };
    Ok(texts.downcast_as_array().clone())
}

fn vader(columns: &mut [Column]) -> PolarsResult<Column> {
    floats(argument(columns, 0, "vader")?, &tideline_enrich::vader::compound)
}

fn toxicity(columns: &mut [Column]) -> PolarsResult<Column> {
    floats(argument(columns, 0, "toxicity")?, &tideline_enrich::toxicity)
}

fn churn_risk(columns: &mut [Column]) -> PolarsResult<Column> {
    floats(argument(columns, 0, "churn_risk")?, &tideline_enrich::churn_risk)
}

/// A number for every text of a column.
pub(crate) fn floats(column: &Column, score: &(dyn Fn(&str) -> f64 + Sync)) -> PolarsResult<Column> {
    let texts = texts(column)?;
    let mut scores = vec![0.0; texts.len()];
    each(&texts, 0, &mut scores, score);
    let scores = PrimitiveArray::<f64>::from_vec(scores).with_validity(texts.validity().cloned());
    Ok(Float64Chunked::with_chunk(column.name().clone(), scores).into_column())
}

/// Computes `value` of the texts from `start` on, halves on two threads where they are many.
pub(crate) fn each<T: Send>(texts: &Utf8ViewArray, start: usize, values: &mut [T], value: &(dyn Fn(&str) -> T + Sync)) {
    if values.len() > PARALLEL_TEXTS {
        let middle = values.len() / 2;
        let (left, right) = values.split_at_mut(middle);
        THREAD_POOL.join(|| each(texts, start, left, value), || each(texts, start + middle, right, value));
        return;
    }
    for (row, to) in values.iter_mut().enumerate() {
        if let Some(text) = texts.get(start + row) {
            *to = value(text);
        }
    }
}

fn cashtags(columns: &mut [Column]) -> PolarsResult<Column> {
    let column = argument(columns, 0, "cashtags")?;
    let texts = texts(column)?;
    let repeats = match columns.get(1) {
        None => false,
        // An empty batch has no row that could say otherwise.
        Some(which) if which.is_empty() => false,
        Some(which) if self::texts(which)?.iter().all(|which| which == Some("all")) => true,
        Some(_) => polars_bail!(InvalidOperation: "the second argument of `cashtags` is 'all' or absent"),
    };
    let mut symbols = MutableBinaryViewArray::<str>::with_capacity(texts.len());
    let mut ends = Vec::with_capacity(texts.len() + 1);
    ends.push(0_i64);
    for text in &texts {
        if repeats {
            symbols.extend_values(text.into_iter().flat_map(tideline_enrich::every_cashtag));
        } else {
            symbols.extend_values(text.into_iter().flat_map(tideline_enrich::cashtags));
        }
        ends.push(symbols.len() as i64);
    }
    Ok(string_lists(column.name().clone(), symbols.into(), ends, texts.validity().cloned()).into_column())
}

fn label(columns: &mut [Column]) -> PolarsResult<Column> {
    let column = argument(columns, 0, "label")?;
    let scores = column.as_materialized_series().cast(&DataType::Float64)?;
    let labels = scores.f64()?.iter().map(|score| score.map(tideline_enrich::label));
    let labels: MutableBinaryViewArray<str> = labels.collect();
    Ok(StringChunked::with_chunk(column.name().clone(), labels.into()).into_column())
}

fn time_bucket(columns: &mut [Column]) -> PolarsResult<Column> {
    let (span, time) = (argument(columns, 0, "time_bucket")?, argument(columns, 1, "time_bucket")?);
    let span = texts(span)?;
    let first = span.get(0);
    let same = span.iter().all(|text| text == first);
    let (Some(text), true) = (first, same) else {
        if span.is_empty() {
            return Ok(Int64Chunked::from_vec(time.name().clone(), Vec::new())
                .into_datetime(TimeUnit::Microseconds, None)
                .into_column());
        }
        polars_bail!(InvalidOperation: "the first argument of `time_bucket` must be a constant, such as '1h'");
    };
    let step = Span::parse(text).map_err(|error| polars_err!(InvalidOperation: "`time_bucket`: {error}"))?;
    if step.0 <= 0 {
        polars_bail!(InvalidOperation: "`time_bucket`: the interval must be longer than zero");
    }
    let times = time.as_materialized_series().cast(&TIME)?;
    let physical = times.datetime()?.physical().cast(&DataType::Int64)?;
    let mut floors: Int64Chunked = physical.i64()?.iter().map(|t| t.map(|t| Timestamp(t).floor(step).0)).collect();
    floors.rename(time.name().clone());
    Ok(floors.into_datetime(TimeUnit::Microseconds, None).into_column())
}
