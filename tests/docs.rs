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
    let emitted = Regex::new(r#"(?:counter|gauge|histogram)!\(\s*"([a-z_0-9]+)""#).expect("a pattern");
    let mut in_code = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("readable");
        in_code.extend(emitted.captures_iter(&text).map(|found| found[1].to_owned()));
    }
    let in_docs = documented_metrics();
    assert!(in_code.len() > 20, "only {} metrics were found in the code", in_code.len());
    assert_eq!(in_code, in_docs);
}

/// The metrics of the table in docs/operations.md.
fn documented_metrics() -> BTreeSet<String> {
    let text = std::fs::read_to_string(root().join("docs/operations.md")).expect("readable");
    let (_, metrics) = text.split_once("\n## Metrics\n").expect("a section");
    let (table, _) = metrics.split_once("\n## ").expect("another section");
    let documented = Regex::new(r"(?m)^\| `([a-z_0-9]+)` \|").expect("a pattern");
    documented.captures_iter(table).map(|found| found[1].to_owned()).collect()
}

/// The files of a folder with this extension, by name.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).expect("readable");
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    found.retain(|path| path.extension().is_some_and(|there| there == extension));
    found.sort();
    assert!(!found.is_empty(), "{folder}: no .{extension}");
    found
}

#[test]
fn dashboards_and_alerts_name_metrics_that_there_are() {
    let there_are = documented_metrics();
    // A histogram is exported under three names of its own.
    let part = Regex::new(r"_(?:bucket|sum|count)$").expect("a pattern");
    // With colons: what a rule records under a name of its own.
    let named = Regex::new(r"[a-z_:]*\b(?:tideline|ml|process)_[a-z_:0-9]+").expect("a pattern");
    let recorded = Regex::new(r"(?m)- record: (\S+)$").expect("a pattern");
    let rules = files("infra/prometheus/rules", "yml");
    let texts: Vec<String> = rules.iter().map(|file| std::fs::read_to_string(file).expect("readable")).collect();
    let records: BTreeSet<&str> = texts
        .iter()
        .flat_map(|text| recorded.captures_iter(text))
        .filter_map(|found| found.get(1))
        .map(|found| found.as_str())
        .collect();
    let mut names = 0;
    for file in rules.into_iter().chain(files("dashboards/grafana/dashboards", "json")) {
        let text = std::fs::read_to_string(&file).expect("readable");
        for found in named.find_iter(&text) {
            let name = found.as_str();
            let known = if name.contains(':') {
                records.contains(name)
            } else {
                there_are.contains(name) || there_are.contains(part.replace(name, "").as_ref())
            };
            assert!(known, "{}: neither exported nor recorded: {name}", file.display());
            names += 1;
        }
    }
    assert!(names > 150, "only {names} metrics are named");
}

#[test]
fn every_alert_is_explained_and_tested_and_every_explained_alert_is_there() {
    let page = std::fs::read_to_string(root().join("docs/operations.md")).expect("readable");
    let heading = Regex::new(r"(?m)^### (Tideline\w+)\n\*(Critical|Warning)\.\*").expect("a pattern");
    let explained: BTreeSet<(String, String)> =
        heading.captures_iter(&page).map(|found| (found[1].to_owned(), found[2].to_lowercase())).collect();
    let begin = Regex::new(r"(?m)^\s*- alert: (\w+)$").expect("a pattern");
    let severity = Regex::new(r"labels: \{ severity: (\w+) \}").expect("a pattern");
    let mut alerts = BTreeSet::new();
    for file in files("infra/prometheus/rules", "yml") {
        let text = std::fs::read_to_string(&file).expect("readable");
        let tests = root().join("infra/prometheus/tests").join(file.file_name().expect("a name"));
        let tests = std::fs::read_to_string(tests).unwrap_or_default();
        let begins: Vec<usize> = begin.find_iter(&text).map(|found| found.start()).collect();
        for (at, found) in begin.captures_iter(&text).enumerate() {
            let (name, end) = (found[1].to_owned(), begins.get(at + 1).copied().unwrap_or(text.len()));
            let rule = &text[begins[at]..end];
            let level = severity.captures(rule).unwrap_or_else(|| panic!("{name} has no severity"))[1].to_owned();
            assert!(rule.contains("summary: "), "{name} has no summary");
            let anchor = format!("runbook_url: docs/operations.md#{}\n", name.to_lowercase());
            assert!(rule.contains(&anchor), "{name} has no {anchor}");
            // One test where it fires, one where it does not.
            let fires = Regex::new(&format!(r"alertname: {name}\n\s+eval_time")).expect("a pattern");
            assert!(fires.is_match(&tests), "{name} has no test in infra/prometheus/tests");
            assert!(alerts.insert((name, level)), "an alert is there twice");
        }
    }
    assert!(alerts.len() > 30, "only {} alerts", alerts.len());
    assert_eq!(alerts, explained);
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

#[test]
fn every_variable_of_the_definitions_is_documented_and_passed_on() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).expect("readable");
    let pattern = Regex::new(r"\$\{([A-Z0-9_]+)(?::-([^}]*))?\}").expect("a pattern");
    // With their defaults: the same variable has the same one wherever it is read.
    let mut variables = BTreeSet::new();
    for file in files("schema/pipelines", "toml") {
        let text = std::fs::read_to_string(&file).expect("readable");
        for found in pattern.captures_iter(&text) {
            let default =
                found.get(2).unwrap_or_else(|| panic!("{}: {} has no default", file.display(), &found[1])).as_str();
            variables.insert((found[1].to_owned(), default.to_owned()));
        }
    }
    let names: BTreeSet<&str> = variables.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.len() > 10, "{names:?}");
    assert_eq!(names.len(), variables.len(), "two defaults of one variable: {variables:?}");

    let page = read("docs/configuration.md");
    let (_, section) = page.split_once("\n## Variables of the definitions\n").expect("a section");
    let quoted = Regex::new("`([^`]+)`").expect("a pattern");
    let all = |cell: &str| quoted.captures_iter(cell).map(|found| found[1].to_owned()).collect::<Vec<_>>();
    let mut documented = BTreeSet::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split(" | ").collect();
        let defaults = all(cells[1]);
        for (at, name) in all(cells[0]).into_iter().enumerate() {
            documented.insert((name, defaults.get(at).cloned().unwrap_or_default()));
        }
    }
    assert_eq!(documented, variables);

    // Both ways of running it pass on all of them; tests/compose and tests/kubernetes look at what comes of it.
    let (compose, example) = (read("docker-compose.yml"), read(".env.example"));
    let manifests = read("infra/kubernetes/base/process.yaml") + &read("infra/kubernetes/base/variables.env");
    for (name, default) in &variables {
        assert!(compose.contains(&format!("\n  {name}: ${{{name}:-}}\n")), "docker-compose.yml lacks {name}");
        assert!(example.contains(&format!("\n# {name}={default}\n")), ".env.example lacks {name}, or its default");
        let given =
            manifests.contains(&format!("{{ name: {name}, valueFrom: ")) || manifests.contains(&format!("\n{name}=\n"));
        assert!(given, "infra/kubernetes/base lacks {name}");
    }
    // The roles, and everything in one process.
    assert_eq!(
        compose.matches("    <<: *variables\n").count(),
        2,
        "docker-compose.yml: variables that reach no container"
    );
}

#[test]
fn every_place_that_asks_for_a_node_asks_for_the_same() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).expect("readable");
    let package = read("dashboards/web/package.json");
    let engine = Regex::new(r#""node": ">=([0-9.]+)""#).expect("a pattern");
    let needed = &engine.captures(&package).expect("a version")[1];
    let asked = Regex::new(r"Node\.js ([0-9][0-9.]*) or newer").expect("a pattern");
    for path in ["README.md", "docs/page.md", "infra/web.sh", "serving/src/api/page.rs"] {
        let text = read(path);
        let found: Vec<&str> =
            asked.captures_iter(&text).filter_map(|found| found.get(1)).map(|found| found.as_str()).collect();
        assert!(!found.is_empty() && found.iter().all(|version| *version == needed), "{path}: {found:?}, not {needed}");
    }
}
