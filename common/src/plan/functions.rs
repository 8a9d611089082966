//! Functions that expressions may and may not call, and where an engine's complaint about one belongs.

use std::ops::Range;

use super::expression::Names;
use crate::definition::Text;
use crate::formula::suggest;

/// Functions that make one value of many rows, and have no place where each row stands for itself.
pub(super) const AGGREGATES: &[&str] = &[
    "count",
    "sum",
    "avg",
    "min",
    "max",
    "first",
    "last",
    "stddev",
    "stddev_samp",
    "stdev",
    "variance",
    "var",
    "var_samp",
    "median",
    "quantile_cont",
    "quantile_disc",
    "corr",
    "covar",
    "covar_samp",
    "array_agg",
    "first_value",
    "last_value",
    "lag",
    "lead",
    "row_number",
    "rank",
    "dense_rank",
    "ntile",
];
/// Functions whose value does not follow from the record: a replay would give other rows.
pub(super) const UNSTABLE: &[&str] =
    &["now", "random", "rand", "uuid", "current_timestamp", "current_date", "current_time"];
/// Functions to suggest: ours and the usual ones.
const FUNCTIONS: &[&str] = &[
    "vader",
    "cashtags",
    "titles",
    "label",
    "emotion",
    "emotion_score",
    "emotions",
    "toxicity",
    "churn_risk",
    "classify",
    "classify_score",
    "time_bucket",
    "unnest",
    "abs",
    "ceil",
    "floor",
    "round",
    "sqrt",
    "ln",
    "log",
    "exp",
    "power",
    "mod",
    "sign",
    "length",
    "char_length",
    "lower",
    "upper",
    "trim",
    "ltrim",
    "rtrim",
    "substr",
    "substring",
    "left",
    "right",
    "concat",
    "concat_ws",
    "replace",
    "starts_with",
    "ends_with",
    "strpos",
    "regexp_like",
    "coalesce",
    "nullif",
    "ifnull",
    "greatest",
    "least",
    "date_part",
    "strftime",
];

/// The word that begins at `at`.
pub(super) fn word(sql: &str, at: usize) -> Range<usize> {
    let rest = sql.get(at..).unwrap_or("");
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    at..at + end
}

/// Where an engine's complaint belongs: at the offset that it gives, else at a function that it names.
pub(super) fn locate(sql: &Text, message: &str, at: Option<usize>, names: &Names) -> (Range<usize>, Option<String>) {
    let lower = message.to_ascii_lowercase();
    let function = names.functions.iter().find(|(name, _)| {
        lower.contains(&format!("'{name}'"))
            || lower.contains(&format!("`{name}`"))
            || lower.contains(&format!("{name}("))
    });
    let help = function
        // An engine may have a suggestion of its own.
        .filter(|(name, _)| !FUNCTIONS.contains(&name.as_str()) && !lower.contains("did you mean"))
        .and_then(|(name, _)| suggest(name, FUNCTIONS.iter().copied()))
        .map(|like| format!("did you mean `{like}`?"));
    let place = match (at, function) {
        (Some(at), _) => sql.place_of(word(&sql.value, at)),
        (None, Some((_, place))) => sql.place_of(place.clone()),
        (None, None) => sql.place.clone(),
    };
    (place, help)
}
