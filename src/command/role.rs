//! What the roles have in common: `speed`, `batch`, `serve` and `ingest` are one process each, over stores that they share.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use clap::Args;
use tideline_common::plan::Plan;
use tideline_common::ports::{Appended, PortError, PortResult};
use tideline_serving::api::ports::TopicWriter;

use crate::catalog;
use crate::config::Config;
use crate::models;

/// Definitions and configuration of a role.
#[derive(Debug, Clone, Args)]
pub struct Role {
    /// Folder of definitions.
    #[arg(long, default_value = catalog::DEFAULT_FOLDER, env = "TIDELINE_PIPELINES")]
    pub pipelines: PathBuf,
    /// Configuration; ./tideline.toml if there is one. It names the servers.
    #[arg(long, env = "TIDELINE_CONFIG")]
    pub config: Option<PathBuf>,
}

impl Role {
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

/// Topics of a process that takes no records.
#[derive(Debug)]
pub struct NoTopics;

#[async_trait]
impl TopicWriter for NoTopics {
    fn topics(&self) -> Vec<String> {
        Vec::new()
    }

    async fn append(&self, topic: &str, _: Vec<Bytes>) -> PortResult<Appended> {
        Err(PortError::NotFound { what: format!("topic {topic}: this process takes no records") })
    }
}
