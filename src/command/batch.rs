//! `tideline batch`: the batch layer, as scheduled or now.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use bytes::Bytes;
use clap::Args;
use tideline_serving::api::{self, ApiParts, Scope};

use crate::agreement::Agreements;
use crate::client::Client;
use crate::command::place::Place;
use crate::command::role::NoTopics;
use crate::command::up::{api_config, spawn_schedule};
use crate::config::Config;
use crate::controls::{Runs, Status};
use crate::platform::Platform;
use crate::process::Process;
use crate::stores::Stores;

/// Runs the batch layer: as scheduled, until it is stopped, over stores that processes share; or once. With embedded
/// stores `--once` runs in this process, or, while `tideline up` has the folder, in that one.
#[derive(Debug, Args)]
pub struct Batch {
    /// Run now and exit.
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    place: Place,
    /// Server to ask when it has the folder; by default that of the configuration.
    #[arg(long, env = "TIDELINE_URL")]
    url: Option<String>,
    /// Address of runs, agreement, health, status and metrics of the standing role; port 0 is any that is free.
    #[arg(long, default_value = "127.0.0.1:8082", env = "TIDELINE_LISTEN")]
    listen: String,
}

impl Batch {
    /// Runs until SIGTERM or SIGINT; or once, and prints the report of the run.
    ///
    /// # Errors
    /// Definitions, stores or an address that cannot be used, a run that fails.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.place.config()?;
        if !self.once {
            return self.stand(&config).await;
        }
        let stores = match Stores::open(&self.place.data, &config).await {
            Ok(stores) => stores,
            Err(failure) => return ask(&Client::of_holder(failure, self.url.as_deref(), &config).await?).await,
        };
        let plan = self.place.plan()?;
        let report = if stores.is_shared() {
            // The speed layer is somebody else's: the run takes in the Bronze there is.
            stores.batch(&plan, &config)?.run().await?
        } else {
            let platform = Platform::start(plan, stores, &config).await?;
            let outcome = platform.batch.run().await;
            platform.stop().await;
            outcome?
        };
        println!("{}", serde_json::to_string_pretty(&report)?);
        Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// The standing role.
    async fn stand(&self, config: &Config) -> anyhow::Result<ExitCode> {
        let plan = self.place.plan()?;
        let stores = Stores::shared("batch", config).await?;
        let process = Process::begin(&self.listen).await?;
        let address = process.address()?;
        let batch = stores.batch(&plan, config)?;
        let agreements =
            Arc::new(Agreements::new(Arc::clone(&batch), Arc::clone(&stores.views), Arc::clone(&stores.clock)));
        let status = Status::new(&plan, &stores).without_log().with_batch(&batch, &agreements);
        let router = api::router(ApiParts {
            reader: Arc::new(stores.reader(&plan, &config.serve)),
            topics: Arc::new(NoTopics),
            batch: Some(Arc::new(Runs(Arc::clone(&batch)))),
            agreement: Some(Arc::clone(&agreements) as _),
            status: Arc::new(status),
            metrics: process.metrics(),
            config: api_config(config, Scope::Batch),
        });
        let cancel = process.shutdown().child_token();
        let schedule = spawn_schedule(&batch, config, cancel.clone());
        let follow = tokio::spawn(agreements.follow(cancel));
        tracing::info!(%address, pipelines = %plan.name, schedule = config.batch.schedule, "the batch layer is up");
        let served = process.serve(router).await;
        batch.shutdown().await;
        if let Some(schedule) = schedule {
            schedule.await?;
        }
        follow.await?;
        tracing::info!("the batch layer has stopped");
        served.map(|()| ExitCode::SUCCESS)
    }
}

/// Starts a run in a server and waits for it.
async fn ask(client: &Client) -> anyhow::Result<ExitCode> {
    let started = client.post("/v1/batch/runs", Bytes::new()).await?;
    let Some(id) = started["id"].as_str() else { bail!("the server answered without an id: {started}") };
    loop {
        let run = client.get(&format!("/v1/batch/runs/{id}"), &[]).await?;
        match run["state"].as_str() {
            Some("succeeded") => {
                println!("{}", serde_json::to_string_pretty(&run)?);
                return Ok(ExitCode::SUCCESS);
            }
            Some("failed") => bail!("run {id} failed: {}", run["error"].as_str().unwrap_or("no reason given")),
            _ => tokio::time::sleep(std::time::Duration::from_millis(200)).await,
        }
    }
}
