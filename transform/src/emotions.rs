//! `emotion(text)`, `emotions(text)` and `emotion_score(text, 'joy')` in SQL.

use polars::error::{PolarsResult, polars_bail, polars_err};
use polars::prelude::{Column, IntoColumn, StringChunked};
use polars_arrow::array::{Array, MutableBinaryViewArray};
use polars_plan::plans::{AExpr, IRPlan};
use polars_utils::arena::Node;
use tideline_enrich::emotion::{Emotion, Emotions};

use crate::functions::{self, argument, each, floats, texts};
use crate::types::string_lists;

/// The emotion that each text shows most.
pub(crate) fn emotion(columns: &mut [Column]) -> PolarsResult<Column> {
    let column = argument(columns, 0, "emotion")?;
    let texts = texts(column)?;
    let mut found = vec![Emotion::Neutral; texts.len()];
    each(&texts, 0, &mut found, &tideline_enrich::emotion);
    let names = texts.iter().zip(found).map(|(text, emotion)| text.map(|_| emotion.name()));
    let names: MutableBinaryViewArray<str> = names.collect();
    Ok(StringChunked::with_chunk(column.name().clone(), names.into()).into_column())
}

/// All emotions that each text shows.
pub(crate) fn emotions(columns: &mut [Column]) -> PolarsResult<Column> {
    let column = argument(columns, 0, "emotions")?;
    let texts = texts(column)?;
    let mut found = vec![None; texts.len()];
    each(&texts, 0, &mut found, &|text| Some(tideline_enrich::emotion::emotions(text)));
    let mut names = MutableBinaryViewArray::<str>::with_capacity(texts.len());
    let mut ends = Vec::with_capacity(texts.len() + 1);
    ends.push(0_i64);
    for emotions in &found {
        names.extend_values(emotions.iter().flat_map(Emotions::shown).map(Emotion::name));
        ends.push(names.len() as i64);
    }
    Ok(string_lists(column.name().clone(), names.into(), ends, texts.validity().cloned()).into_column())
}

/// The probability that each text shows the emotion that the second column names.
pub(crate) fn emotion_score(columns: &mut [Column]) -> PolarsResult<Column> {
    let (column, which) = (argument(columns, 0, "emotion_score")?, argument(columns, 1, "emotion_score")?);
    // The plan was checked: the emotion is a constant. An empty batch has no row that could say which.
    let emotion = match texts(&which.head(Some(1)))?.get(0) {
        None if which.is_empty() => Emotion::Neutral,
        name => named(name)?,
    };
    floats(column, &move |text| tideline_enrich::emotion::emotions(text).probability(emotion))
}

fn named(name: Option<&str>) -> PolarsResult<Emotion> {
    name.and_then(Emotion::named).ok_or_else(|| {
        let names = Emotion::ALL.map(|emotion| format!("'{emotion}'")).join(", ");
        polars_err!(InvalidOperation: "the second argument of `emotion_score` is one of {names}")
    })
}

/// Checks that every call of `emotion_score` in a plan names an emotion, in a constant.
pub(crate) fn check(plan: &IRPlan) -> PolarsResult<()> {
    for node in 0..plan.expr_arena.len() {
        let AExpr::AnonymousFunction { input, function, .. } = plan.expr_arena.get(Node(node)) else { continue };
        if !functions::is("emotion_score", function) {
            continue;
        }
        let [_, which] = input.as_slice() else {
            polars_bail!(InvalidOperation: "`emotion_score` takes 2 arguments, not {}", input.len());
        };
        named(match plan.expr_arena.get(which.node()) {
            AExpr::Literal(value) => value.extract_str(),
            _ => None,
        })?;
    }
    Ok(())
}
