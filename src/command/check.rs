//! `tideline check [FILE..]`: are these definitions right?

use std::path::PathBuf;

use clap::Args;

use crate::config::Config;
use crate::{catalog, models};

/// Validates definitions and prints every mistake with file, line and column; loads the configured models once.
#[derive(Debug, Args)]
pub struct Check {
    /// Definitions; all of schema/pipelines when none is named.
    files: Vec<PathBuf>,
    /// Configuration, which names models; ./tideline.toml if there is one.
    #[arg(long, env = "TIDELINE_CONFIG")]
    config: Option<PathBuf>,
}

impl Check {
    /// Prints what is right, and fails with all that is wrong.
    ///
    /// # Errors
    /// Every mistake, and a model that cannot be used.
    pub fn run(self) -> anyhow::Result<()> {
        let config = Config::load(self.config.as_deref(), std::env::vars())?;
        models::install(&config);
        let files = if self.files.is_empty() { catalog::files(catalog::DEFAULT_FOLDER.as_ref())? } else { self.files };
        let plan = catalog::load(&files)?;
        models::check(&config)?;
        for file in &files {
            println!("{}: ok", file.display());
        }
        println!(
            "{} sources, {} tables, {} views, {} lookups, {} reports, {} alerts",
            plan.sources.len(),
            plan.tables.len(),
            plan.views.len(),
            plan.lookups.len(),
            plan.reports.len(),
            plan.alerts.len(),
        );
        Ok(())
    }
}
