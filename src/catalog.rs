//! A folder of definitions, made one plan.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tideline_common::plan::{self, Plan};
use tideline_transform::SqlTypes;

/// Where definitions are looked for when nothing else is said.
pub const DEFAULT_FOLDER: &str = "schema/pipelines";

/// The definition files of `folder`: those that end in `.toml`, by name.
///
/// # Errors
/// A folder that cannot be read or holds no definition.
pub fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("cannot read the folder of definitions {}", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        bail!("{} holds no definition (no file that ends in .toml)", folder.display());
    }
    Ok(files)
}

/// Reads one definition; `${VAR}` comes from the environment of the process.
///
/// # Errors
/// A file that cannot be read, or every mistake in it, with its place.
pub fn load_file(path: &Path) -> anyhow::Result<Plan> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    load_text(&path.display().to_string(), &text)
}

/// Reads a definition from text; `name` is what diagnostics call it.
///
/// # Errors
/// Every mistake in it, with its place.
pub fn load_text(name: &str, text: &str) -> anyhow::Result<Plan> {
    plan::load(name, text, &|variable| std::env::var(variable).ok(), &SqlTypes)
        .map_err(|mistakes| anyhow::anyhow!("{mistakes}"))
}

/// Reads all of `files` into one plan. Mistakes of every file are reported together.
///
/// # Errors
/// Every mistake, and names that two files share.
pub fn load(files: &[PathBuf]) -> anyhow::Result<Plan> {
    let mut plans = Vec::new();
    let mut mistakes = Vec::new();
    for file in files {
        match load_file(file) {
            Ok(plan) => plans.push(plan),
            Err(error) => mistakes.push(error.to_string()),
        }
    }
    if !mistakes.is_empty() {
        bail!("{}", mistakes.join("\n"));
    }
    Plan::merge(plans).map_err(|clashes| {
        anyhow::anyhow!("{}", clashes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })
}
