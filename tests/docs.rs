//! The documentation names what is there, and all of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use regex::Regex;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_metric_is_documented_and_every_documented_metric_is_emitted() {
    let mut files = Vec::new();
    for crate_folder in ["speed", "batch", "serving", "stores", "ingest", "."] {
        sources(&root().join(crate_folder).join("src"), &mut files);
    }
    let emitted = Regex::new(r#"(?:counter|gauge|histogram)!\(\s*"(tideline_[a-z_]+)""#).expect("a pattern");
    let mut in_code = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("readable");
        in_code.extend(emitted.captures_iter(&text).map(|found| found[1].to_owned()));
    }
    let documented = Regex::new(r"(?m)^\| `(tideline_[a-z_]+)` \|").expect("a pattern");
    let text = std::fs::read_to_string(root().join("docs/operations.md")).expect("readable");
    let in_docs: BTreeSet<String> = documented.captures_iter(&text).map(|found| found[1].to_owned()).collect();
    assert!(in_code.len() > 20, "only {} metrics were found in the code", in_code.len());
    assert_eq!(in_code, in_docs);
}

#[test]
fn dashboards_and_alerts_name_metrics_that_there_are() {
    let documented = Regex::new(r"(?m)^\| `(tideline_[a-z_]+)` \|").expect("a pattern");
    let text = std::fs::read_to_string(root().join("docs/operations.md")).expect("readable");
    let there_are: BTreeSet<String> = documented.captures_iter(&text).map(|found| found[1].to_owned()).collect();
    // A histogram is exported under three names of its own.
    let part = Regex::new(r"_(?:bucket|sum|count)$").expect("a pattern");
    let named = Regex::new(r"\btideline_[a-z_]+").expect("a pattern");
    for file in ["dashboards/grafana/dashboards/tideline.json", "infra/prometheus/rules/tideline.yml"] {
        let text = std::fs::read_to_string(root().join(file)).expect("readable");
        let mut names = 0;
        for found in named.find_iter(&text) {
            let name = found.as_str();
            assert!(
                there_are.contains(name) || there_are.contains(part.replace(name, "").as_ref()),
                "{file}: the program exports no {name}"
            );
            names += 1;
        }
        assert!(names > 5, "{file}: only {names} metrics");
    }
}

#[test]
fn links_of_the_documentation_lead_somewhere() {
    let link = Regex::new(r"\]\(([^)#:]+)(?:#[^)]*)?\)").expect("a pattern");
    let mut pages = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    for entry in std::fs::read_dir(root().join("docs")).expect("readable") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
    for page in pages {
        let text = std::fs::read_to_string(&page).expect("readable");
        for found in link.captures_iter(&text) {
            let target = page.parent().expect("a folder").join(&found[1]);
            assert!(target.exists(), "{}: {} leads nowhere", page.display(), &found[1]);
        }
    }
}

#[test]
fn every_key_of_the_configuration_is_documented() {
    let text = std::fs::read_to_string(root().join("docs/configuration.md")).expect("readable");
    let documented =
        Regex::new(r"`((?:log|lake|views|analytics|speed|close|batch|serve|tracking)\.[a-z_]+)`").expect("a pattern");
    let in_docs: BTreeSet<String> = documented.captures_iter(&text).map(|found| found[1].to_owned()).collect();
    // A key that the program does not know makes it refuse the file: each documented one must be known.
    for key in &in_docs {
        let (section, name) = key.split_once('.').expect("a section");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("tideline.toml");
        // A wrong type is another error than an unknown key.
        std::fs::write(&file, format!("[{section}]\n{name} = [[]]\n")).expect("written");
        let error =
            tideline::config::Config::load(Some(&file), std::iter::empty()).expect_err("a wrong type").to_string();
        assert!(!error.contains("unknown field"), "{key}: {error}");
    }
    assert!(in_docs.len() >= 35, "{in_docs:?}");
}

#[test]
fn every_key_of_connectors_is_documented_and_every_documented_key_is_known() {
    let text = std::fs::read_to_string(root().join("docs/connectors.md")).expect("readable");
    let (_, keys) = text.split_once("## Keys").expect("a section");
    let (table, _) = keys.split_once("##").expect("another section");
    let key = Regex::new(r"`([a-z_]+)`").expect("a pattern");
    let first_cells =
        table.lines().filter_map(|line| line.strip_prefix("| `")).filter_map(|line| line.split(" | ").next());
    let in_docs: BTreeSet<String> = first_cells
        .flat_map(|cell| key.captures_iter(&format!("`{cell}")).map(|found| found[1].to_owned()).collect::<Vec<_>>())
        .collect();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tideline.toml");
    std::fs::write(&file, "[connectors.x]\nnobodys_key = 1\n").expect("written");
    let error = tideline::config::Config::load(Some(&file), std::iter::empty()).expect_err("unknown").to_string();
    let (_, expected) = error.split_once("expected one of ").expect("a list of keys");
    let known: BTreeSet<String> = key.captures_iter(expected).map(|found| found[1].to_owned()).collect();
    assert!(known.len() > 20, "{error}");
    assert_eq!(known, in_docs);
}
