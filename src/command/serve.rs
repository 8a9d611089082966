//! `tideline serve`: a server of queries.

use std::sync::Arc;

use clap::Args;
use tideline_serving::api::{self, ApiParts, Scope};
use tideline_serving::live::Live;

use crate::agreement::Agreements;
use crate::command::role::Role;
use crate::command::up::guarded_config;
use crate::controls::{Status, Topics};
use crate::process::Process;
use crate::stores::Stores;

/// Answers queries, and takes records into topics. It keeps nothing: run as many as you like.
#[derive(Debug, Args)]
pub struct Serve {
    #[command(flatten)]
    role: Role,
    /// Address to listen at; by default that of the configuration.
    #[arg(long, env = "TIDELINE_LISTEN")]
    listen: Option<String>,
}

impl Serve {
    /// Runs until SIGTERM or SIGINT.
    ///
    /// # Errors
    /// Definitions, configuration or address that cannot be used.
    pub async fn run(self) -> anyhow::Result<()> {
        let (config, plan) = (self.role.config()?, self.role.plan()?);
        let stores = Stores::shared("serve", &config).await?;
        let process = Process::begin(self.listen.as_ref().unwrap_or(&config.serve.listen), &config.serve).await?;
        let address = process.address()?;
        let guarded = guarded_config(&config, Scope::Everything, process.shutdown())?;
        // Compared on demand: the batch role compares by itself after each version.
        let batch = stores.batch(&plan, &config)?;
        let agreements = Agreements::new(batch, Arc::clone(&stores.views), Arc::clone(&stores.clock));
        let reader = Arc::new(stores.ranking_reader(&plan, &config.serve, process.shutdown()));
        let live = Live::start(Arc::clone(&reader), Arc::clone(&stores.log), process.shutdown());
        let router = api::router(ApiParts {
            reader,
            topics: Arc::new(Topics(stores.appender(&plan)?)),
            batch: None,
            agreement: Some(Arc::new(agreements)),
            live: Some(live),
            status: Arc::new(Status::new(&plan, &stores).without_log()),
            metrics: process.metrics(),
            config: guarded,
        });
        let cancel = process.shutdown().child_token();
        let topics = tokio::spawn(stores.ensure_topics_in_time(Arc::clone(&plan), cancel));
        tracing::info!(%address, pipelines = %plan.name, "tideline serves");
        let served = process.serve(router).await;
        topics.await?;
        tracing::info!("the server has stopped");
        served
    }
}
