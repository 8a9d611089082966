//! `tideline plan FILE`: what a definition becomes.

use std::path::PathBuf;

use clap::Args;

use crate::catalog;
use crate::command::print;

/// Shows panes, states with their merge rules, tables and the SQL of each layer.
#[derive(Debug, Args)]
pub struct Plan {
    /// The definition.
    file: PathBuf,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

impl Plan {
    /// Prints the plan.
    ///
    /// # Errors
    /// Every mistake of the definition.
    pub fn run(self) -> anyhow::Result<()> {
        let plan = catalog::load_file(&self.file)?;
        let text = if self.json { serde_json::to_string_pretty(&plan)? } else { plan.explain() };
        print(|out| writeln!(out, "{}", text.trim_end()))
    }
}
