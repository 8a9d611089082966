//! The definition file: TOML with SQL expressions, read with the place of everything in it.
//!
//! [`parse`] checks the form (keys, kinds of values, names, durations, environment references);
//! [`crate::plan::compile`] checks the meaning. [`crate::plan::load`] does both and reports all mistakes at once.
//!
//! # Layout
//! `format` the catalogue of keys · `schema` the JSON Schema made of it · `reader` tables by their catalogue entry ·
//! `sections`, `prediction`, `steps` from TOML to the `model` · `text` strings with places · `diagnostic` mistakes

mod diagnostic;
pub mod format;
mod model;
mod prediction;
mod reader;
pub mod schema;
mod sections;
mod steps;
mod text;

use std::sync::Arc;

pub(crate) use diagnostic::Report as Findings;
pub use diagnostic::{Diagnostic, Diagnostics, SourceFile};
pub use model::{
    Alert, Definition, Endpoint, Lookup, Measure, NamedSql, Output, Place, Placed, Report, Source, SourceColumn, Step,
    Table, View,
};
pub use prediction::{Prediction, PredictionModel};
pub(crate) use reader::did_you_mean;
pub use text::Text;

/// Reads a variable of the environment.
pub type Environment<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Reads a definition. `file` is the name that diagnostics print; `env` resolves `${VAR}`.
///
/// # Errors
/// Every mistake of form, with its place.
pub fn parse(file: &str, text: &str, env: &Environment<'_>) -> Result<Definition, Diagnostics> {
    let (definition, findings) = read(file, text, env);
    match (definition, findings.finish()) {
        (Some(definition), None) => Ok(definition),
        (_, found) => Err(found.unwrap_or(Diagnostics(Vec::new()))),
    }
}

/// Reads as much of a definition as makes sense, with the mistakes found; `None` when it is not TOML or of a
/// version that this program does not know.
pub(crate) fn read(file: &str, text: &str, env: &Environment<'_>) -> (Option<Definition>, Findings) {
    let file = Arc::new(SourceFile { name: file.to_owned(), text: text.to_owned() });
    let mut context = reader::Context { file: file.clone(), env, report: Findings::new(file) };
    let root = match toml_span::parse(text) {
        Ok(root) => root,
        Err(error) => {
            let (message, help) = syntax(&error);
            context.report.add(&reader::place_of(error.span), message, help);
            return (None, context.report);
        }
    };
    let Some(table) = root.as_table() else {
        context.report.error(&(0..0), "a definition is a TOML table");
        return (None, context.report);
    };
    // A newer format may mean anything by the rest.
    if let Some(version) = table.get("version")
        && let Some(number) = version.as_integer()
        && number != format::VERSION
    {
        let message = format!("version {number} of the format is not known to this program, which reads version 1");
        let help = if number > format::VERSION { "use a newer tideline" } else { "write version = 1" };
        context.report.add(&reader::place_of(version.span), message, Some(help.into()));
        return (None, context.report);
    }
    let definition = sections::definition(table, &mut context);
    // Kind and presence of `version` are the catalogue's to check.
    if let Some(version) = table.get("version").filter(|version| version.as_integer().is_none()) {
        context.report.error(&reader::place_of(version.span), "`version` is an integer: version = 1");
    }
    (Some(definition), context.report)
}

/// What is wrong with the TOML itself.
fn syntax(error: &toml_span::Error) -> (String, Option<String>) {
    use toml_span::ErrorKind;
    match &error.kind {
        ErrorKind::DuplicateKey { key, .. } => (format!("`{key}` is defined twice"), None),
        ErrorKind::DuplicateTable { name, .. } => (format!("table `{name}` is defined twice"), None),
        ErrorKind::UnquotedString => {
            ("a value that is neither quoted nor a number".into(), Some("put it in quotes".into()))
        }
        _ => (format!("not TOML: {error}"), None),
    }
}
