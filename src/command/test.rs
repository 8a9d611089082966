//! `tideline test [FOLDER..]`: golden tests of definitions.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;

use crate::config::Config;
use crate::{golden, models};

/// Where golden folders are looked for when none is named.
const DEFAULT_FOLDER: &str = "tests/golden";

/// Runs golden folders: speed only, speed killed and resumed, batch only, merged with the boundary at every pane.
#[derive(Debug, Args)]
pub struct Test {
    /// Golden folders, or folders of them; tests/golden when none is named.
    folders: Vec<PathBuf>,
    /// Configuration, which names models; ./tideline.toml if there is one.
    #[arg(long, env = "TIDELINE_CONFIG")]
    config: Option<PathBuf>,
}

impl Test {
    /// Prints a line per case and every difference.
    ///
    /// # Errors
    /// A folder that cannot be run.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        models::install(&Config::load(self.config.as_deref(), std::env::vars())?);
        let folders = if self.folders.is_empty() { vec![PathBuf::from(DEFAULT_FOLDER)] } else { self.folders };
        let mut cases = Vec::new();
        for folder in folders {
            cases.extend(find(&folder)?);
        }
        let (mut passed, mut failed) = (0, 0);
        for case in cases {
            let shown = case.display().to_string();
            let checks = tokio::task::spawn_blocking(move || golden::run(&case))
                .await?
                .with_context(|| format!("{shown} cannot be run"))?;
            let wrong: Vec<_> = checks.iter().filter(|check| !check.differences.is_empty()).collect();
            passed += checks.len() - wrong.len();
            failed += wrong.len();
            println!("{shown}: {} checks, {} failed", checks.len(), wrong.len());
            for check in wrong {
                println!("  {}", check.name);
                for difference in &check.differences {
                    println!("    {difference}");
                }
            }
        }
        println!("{passed} passed, {failed} failed");
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// The golden folders at or directly below `folder`.
fn find(folder: &PathBuf) -> anyhow::Result<Vec<PathBuf>> {
    if folder.join("golden.toml").is_file() {
        return Ok(vec![folder.clone()]);
    }
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.join("golden.toml").is_file() {
            found.push(path);
        }
    }
    found.sort();
    if found.is_empty() {
        bail!("{} is no golden folder and holds none (a golden folder has a golden.toml)", folder.display());
    }
    Ok(found)
}
