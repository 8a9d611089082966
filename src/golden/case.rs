//! A golden folder, read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value as Json;
use tideline_common::plan::{Plan, ViewPlan};

use crate::catalog;

/// What a golden folder holds.
#[derive(Debug)]
pub struct Case {
    /// The plan of its definition.
    pub plan: Plan,
    /// Topic → records.
    pub input: BTreeMap<String, Vec<Bytes>>,
    /// View → expected rows.
    pub views: BTreeMap<String, Vec<Json>>,
    /// Report → expected rows.
    pub reports: BTreeMap<String, Vec<Json>>,
    /// Output → expected rows: of a view those of all windows, of which those that have closed must come; of a table all.
    pub outputs: BTreeMap<String, Vec<Json>>,
    /// Prediction → expected records, of all windows, likewise.
    pub predictions: BTreeMap<String, Vec<Json>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    definition: PathBuf,
}

impl Case {
    /// Reads a folder.
    ///
    /// # Errors
    /// What is missing or wrong in it: a view without expected rows, an input for a topic that no source has.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let head = folder.join("golden.toml");
        let text = std::fs::read_to_string(&head).with_context(|| format!("cannot read {}", head.display()))?;
        let head: Head = toml::from_str(&text).with_context(|| head.display().to_string())?;
        let plan = catalog::load_file(&folder.join(&head.definition))?;
        let mut input = BTreeMap::new();
        for (topic, path) in files(&folder.join("input"))? {
            if !plan.sources.iter().any(|source| source.topic == topic) {
                bail!("{}: no source of the definition reads the topic {topic}", path.display());
            }
            let bytes = Bytes::from(std::fs::read(&path)?);
            let records: Vec<Bytes> = bytes
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
                .map(|line| bytes.slice_ref(line))
                .collect();
            input.insert(topic, records);
        }
        let views = expected(&folder.join("expected"))?;
        for name in views.keys() {
            if plan.view(name).is_none() {
                bail!("expected/{name}.ndjson: the definition has no such view");
            }
        }
        for view in &plan.views {
            if !views.contains_key(&view.name) && !feeds_itself(&plan, view) {
                bail!("{}: expected/{}.ndjson is missing", folder.display(), view.name);
            }
        }
        let reports = expected(&folder.join("expected/reports"))?;
        for report in &plan.reports {
            if !reports.contains_key(&report.name) {
                bail!("{}: expected/reports/{}.ndjson is missing", folder.display(), report.name);
            }
        }
        let outputs = expected(&folder.join("expected/outputs"))?;
        let of_views = plan.outputs.iter().map(|output| &output.name);
        for output in of_views.chain(plan.row_outputs.iter().map(|output| &output.name)) {
            if !outputs.contains_key(output) {
                bail!("{}: expected/outputs/{output}.ndjson is missing", folder.display());
            }
        }
        let predictions = expected(&folder.join("expected/predictions"))?;
        for prediction in &plan.predictions {
            if !predictions.contains_key(&prediction.name) {
                bail!("{}: expected/predictions/{}.ndjson is missing", folder.display(), prediction.name);
            }
        }
        Ok(Self { plan, input, views, reports, outputs, predictions })
    }
}

/// Whether a view is made from what the pipeline itself writes when windows close: what it holds depends on which have.
fn feeds_itself(plan: &Plan, view: &ViewPlan) -> bool {
    let outputs = plan.outputs.iter().map(|output| &output.topic);
    let written: Vec<&String> = outputs.chain(plan.predictions.iter().map(|prediction| &prediction.topic)).collect();
    view.sources.iter().filter_map(|source| plan.source(source)).any(|source| written.contains(&&source.topic))
}

/// The `.ndjson` files of a folder by name; none when there is no such folder.
fn files(folder: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        entries => entries.with_context(|| format!("cannot read {}", folder.display()))?,
    };
    for entry in entries {
        let path = entry?.path();
        if let (Some(name), Some("ndjson")) = (path.file_stem(), path.extension().and_then(|e| e.to_str())) {
            found.push((name.to_string_lossy().into_owned(), path));
        }
    }
    found.sort();
    Ok(found)
}

fn expected(folder: &Path) -> anyhow::Result<BTreeMap<String, Vec<Json>>> {
    let mut all = BTreeMap::new();
    for (name, path) in files(folder)? {
        let text = std::fs::read_to_string(&path)?;
        let rows: Result<Vec<Json>, _> =
            text.lines().filter(|line| !line.is_empty()).map(serde_json::from_str).collect();
        all.insert(name, rows.with_context(|| path.display().to_string())?);
    }
    Ok(all)
}
