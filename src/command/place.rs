//! Options that say which data, definitions and configuration a command works with.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tideline_common::plan::Plan;

use crate::catalog;
use crate::config::Config;
use crate::models;

/// Data folder, definitions, configuration.
#[derive(Debug, Clone, Args)]
pub struct Place {
    /// Data folder.
    #[arg(long, default_value = "./.tideline", env = "TIDELINE_DATA")]
    pub data: PathBuf,
    /// Folder of definitions.
    #[arg(long, default_value = catalog::DEFAULT_FOLDER, env = "TIDELINE_PIPELINES")]
    pub pipelines: PathBuf,
    /// Configuration; ./tideline.toml if there is one.
    #[arg(long, env = "TIDELINE_CONFIG")]
    pub config: Option<PathBuf>,
}

impl Place {
    /// The configuration.
    ///
    /// # Errors
    /// One that cannot be used.
    pub fn config(&self) -> anyhow::Result<Config> {
        Ok(Config::load(self.config.as_deref(), std::env::vars())?)
    }

    /// The plan of all definitions of the folder. Their expressions know the configured models.
    ///
    /// # Errors
    /// Every mistake in them, and a configuration that cannot be used.
    pub fn plan(&self) -> anyhow::Result<Arc<Plan>> {
        models::install(&self.config()?);
        Ok(Arc::new(catalog::load(&catalog::files(&self.pipelines)?)?))
    }
}
