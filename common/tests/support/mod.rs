//! A definition without mistakes, and an engine that knows just enough SQL to type what the tests write.

use tideline_common::definition::Diagnostics;
use tideline_common::plan::{self, ExpressionError, ExpressionTypes, Field, Plan};
use tideline_common::value::Type;

pub(crate) const CLEAN: &str = r#"version = 1
name = "clean"

[sources.events]
topic = "events"
partitions = 4
lateness = "1m"
columns.id = "int"
columns.at = "string"
columns.label = "text"
columns.amount = "float"
columns.tags = "string[]"
event_time = "at"
dedupe = "label"
checks.id = "id > 0"

[tables.rows]
from = "events"
columns = { id = "id", amount = "amount", label = "label", tag = "unnest(tags)" }
where = "amount > 0"

[views.totals]
key = ["tag"]
window = { size = "10m", slide = "5m" }
measures.total = { table = "rows", agg = "sum(amount)" }
columns.double = "quadruple / 2"
columns.quadruple = "total * 4"
measures.mean = { table = "rows", agg = "avg(amount)" }
measures.events = { table = "rows", agg = "count()" }
retain = { speed = "1h" }
top = ["total"]
"#;

/// [`CLEAN`] with one part replaced, which must be there.
pub(crate) fn with(from: &str, to: &str) -> String {
    assert!(CLEAN.contains(from), "{from}");
    CLEAN.replace(from, to)
}

pub(crate) fn load_with(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Plan, Diagnostics> {
    plan::load("pipeline.toml", text, env, &Engine)
}

pub(crate) fn load(text: &str) -> Result<Plan, Diagnostics> {
    load_with(text, &|_| None)
}

pub(crate) fn diagnostics(text: &str) -> Diagnostics {
    load(text).err().unwrap_or(Diagnostics(Vec::new()))
}

/// Types expressions by their look: a comparison is a condition, a known call has its function's type, a column its
/// own, arithmetic is a float.
struct Engine;

impl ExpressionTypes for Engine {
    fn type_of(&self, sql: &str, columns: &[Field]) -> Result<Type, ExpressionError> {
        let sql = sql.trim();
        if let Some(field) = columns.iter().find(|field| field.name == sql) {
            return Ok(field.ty);
        }
        if [" > ", " < ", " = ", " >= ", " <= ", " IS ", " IN ", " AND "].iter().any(|sign| sql.contains(sign)) {
            return Ok(Type::Bool);
        }
        if sql.contains("||") || sql.starts_with('\'') {
            return Ok(Type::String);
        }
        match sql.split_once('(').map(|(name, _)| name) {
            Some("vader" | "abs" | "toxicity" | "churn_risk") | None => Ok(Type::Float),
            Some("cashtags") => Ok(Type::Strings),
            Some("label" | "lower" | "trim" | "NULLIF" | "emotion" | "CAST" | "COALESCE") => Ok(Type::String),
            Some("length") => Ok(Type::Int),
            Some(name) => Err(ExpressionError { message: format!("unsupported function '{name}'"), at: None }),
        }
    }
}
