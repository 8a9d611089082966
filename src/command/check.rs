//! `tideline check [FILE..]`: are these definitions right?

use std::path::PathBuf;

use clap::Args;

use crate::catalog;

/// Validates definitions and prints every mistake with file, line and column.
#[derive(Debug, Args)]
pub struct Check {
    /// Definitions; all of schema/pipelines when none is named.
    files: Vec<PathBuf>,
}

impl Check {
    /// Prints what is right, and fails with all that is wrong.
    ///
    /// # Errors
    /// Every mistake.
    pub fn run(self) -> anyhow::Result<()> {
        let files = if self.files.is_empty() { catalog::files(catalog::DEFAULT_FOLDER.as_ref())? } else { self.files };
        let plan = catalog::load(&files)?;
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
