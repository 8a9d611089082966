//! The crates depend on each other only where the design allows it (`docs/ARCHITECTURE.md`).

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Crate → the crates that it may use; none other, in tests neither.
const ALLOWED: [(&str, &[&str]); 12] = [
    ("tideline-features", &[]),
    ("tideline-common", &[]),
    ("tideline-enrich", &[]),
    ("tideline-transform", &["tideline-common", "tideline-enrich"]),
    ("tideline-speed", &["tideline-common", "tideline-transform"]),
    ("tideline-batch", &["tideline-common", "tideline-transform"]),
    ("tideline-ingest", &["tideline-common"]),
    ("tideline-serving", &["tideline-common"]),
    ("tideline-predict", &["tideline-common"]),
    // The Parquet schema of Gold lives in transform (docs/adr/0001).
    ("tideline-stores", &["tideline-common", "tideline-transform"]),
    // A layer at full speed needs a log that costs nothing: it is measured alone, over stores in this process. So are
    // rankings, which a server keeps in its memory: what is timed is the answer, without HTTP.
    (
        "tideline-bench",
        &[
            "tideline-common",
            "tideline-enrich",
            "tideline-transform",
            "tideline-speed",
            "tideline-serving",
            "tideline-stores",
        ],
    ),
    (
        "tideline",
        &[
            "tideline-common",
            "tideline-enrich",
            "tideline-transform",
            "tideline-speed",
            "tideline-batch",
            "tideline-ingest",
            "tideline-serving",
            "tideline-predict",
            "tideline-stores",
        ],
    ),
];

/// No code: only the features of third-party crates (see `infra/features/Cargo.toml`).
const FEATURES: &str = "tideline-features";

/// The one vendor of an edge: connectors ask APIs over HTTP (docs/adr/0012), against a server of their own in tests.
const EDGE: (&str, [&str; 2]) = ("tideline-ingest", ["reqwest", "axum"]);

/// What the pure crates must never know.
const VENDORS: [&str; 9] =
    ["polars", "fjall", "object_store", "parquet", "axum", "reqwest", "rdkafka", "scylla", "clickhouse"];

fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let names = |package: &serde_json::Value| {
        let dependencies = package["dependencies"].as_array().expect("dependencies");
        dependencies.iter().map(|d| d["name"].as_str().expect("name").to_owned()).collect()
    };
    let packages = metadata["packages"].as_array().expect("packages");
    packages.iter().map(|p| (p["name"].as_str().expect("name").to_owned(), names(p))).collect()
}

#[test]
fn layers_never_see_each_other() {
    let found = dependencies();
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.into_iter().collect();
    for (package, dependencies) in &found {
        let allowed = allowed.get(package.as_str()).unwrap_or_else(|| panic!("{package} is in no layer: add it here"));
        for dependency in dependencies.iter().filter(|name| found.contains_key(*name) && *name != FEATURES) {
            assert!(allowed.contains(&dependency.as_str()), "{package} must not depend on {dependency}");
        }
    }
    assert_eq!(found.len(), ALLOWED.len());
}

#[test]
fn pure_crates_know_no_vendor() {
    let found = dependencies();
    for package in ["tideline-common", "tideline-enrich", "tideline-ingest", "tideline-predict"] {
        for vendor in VENDORS {
            if package == EDGE.0 && EDGE.1.contains(&vendor) {
                continue;
            }
            assert!(!found[package].iter().any(|name| name.starts_with(vendor)), "{package} must not know {vendor}");
        }
    }
}
