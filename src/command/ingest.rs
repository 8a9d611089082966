//! `tideline ingest`: takes records in.

use std::sync::Arc;

use clap::Args;
use tideline_serving::api::{self, ApiParts, Scope};

use crate::command::role::Role;
use crate::command::up::guarded_config;
use crate::connectors::Connectors;
use crate::controls::{Status, Topics};
use crate::process::Process;
use crate::stores::Stores;

/// Takes records over HTTP into topics; what is acknowledged is in the log. Runs the connectors that the configuration has.
/// It keeps nothing: run as many as you like; of each connector one works, the others stand by.
#[derive(Debug, Args)]
pub struct Ingest {
    #[command(flatten)]
    role: Role,
    /// Address to listen at; port 0 is any that is free.
    #[arg(long, default_value = "127.0.0.1:8083", env = "TIDELINE_LISTEN")]
    listen: String,
}

impl Ingest {
    /// Runs until SIGTERM or SIGINT; requests at work are answered.
    ///
    /// # Errors
    /// Definitions, configuration or address that cannot be used.
    pub async fn run(self) -> anyhow::Result<()> {
        let (config, plan) = (self.role.config()?, self.role.plan()?);
        Connectors::check(&config, &plan)?;
        let stores = Stores::shared("ingest", &config).await?;
        let process = Process::begin(&self.listen, &config.serve).await?;
        let address = process.address()?;
        let guarded = guarded_config(&config, Scope::Ingest, process.shutdown())?;
        let appender = stores.appender(&plan)?;
        let connectors = Connectors::start(&config, &plan, &stores, &appender, process.shutdown())?;
        let router = api::router(ApiParts {
            reader: Arc::new(stores.reader(&plan, &config.serve)),
            topics: Arc::new(Topics(appender)),
            batch: None,
            agreement: None,
            live: None,
            status: Arc::new(Status::new(&plan, &stores).with_connectors(&connectors)),
            metrics: process.metrics(),
            config: guarded,
        });
        let cancel = process.shutdown().child_token();
        let topics = tokio::spawn(stores.ensure_topics_in_time(Arc::clone(&plan), cancel));
        tracing::info!(%address, pipelines = %plan.name, "tideline takes records");
        let served = process.serve(router).await;
        connectors.stop().await;
        topics.await?;
        tracing::info!("ingest has stopped");
        served
    }
}
