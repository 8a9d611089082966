//! `tideline batch`: the batch layer, as scheduled or now.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use axum::routing::get;
use bytes::Bytes;
use clap::Args;
use tideline_batch::{BatchConfig, BatchLayer, BatchPorts, EngineKind};
use tideline_serving::api::{self, ApiParts, Scope};
use tideline_stores::clock::SystemClock;

use crate::agreement::Agreements;
use crate::client::{Client, Token};
use crate::command::place::Place;
use crate::command::role::NoTopics;
use crate::command::up::{guarded_config, spawn_schedule};
use crate::config::Config;
use crate::controls::{Runs, Status};
use crate::platform::Platform;
use crate::process::Process;
use crate::stores::{self, Stores};

/// Runs the batch layer: as scheduled, until it is stopped, over stores that processes share; or once. With embedded
/// stores `--once` runs in this process, or, while `tideline up` has the folder, in that one.
#[derive(Debug, Args)]
pub struct Batch {
    /// Run now and exit.
    #[arg(long)]
    once: bool,
    /// Only help with the runs of others: take shares of Bronze to Silver (`batch.share`) until stopped. It needs nothing
    /// but the lake, publishes nothing, and may be killed at any time.
    #[arg(long, conflicts_with = "once")]
    worker: bool,
    #[command(flatten)]
    place: Place,
    /// Server to ask when it has the folder; by default that of the configuration.
    #[arg(long, env = "TIDELINE_URL")]
    url: Option<String>,
    #[command(flatten)]
    token: Token,
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
        if self.worker {
            return self.help(&config).await;
        }
        if !self.once {
            return self.stand(&config).await;
        }
        let stores = match Stores::open(&self.place.data, &config).await {
            Ok(stores) => stores,
            Err(failure) => {
                return ask(&Client::of_holder(failure, self.url.as_deref(), &self.token, &config).await?).await;
            }
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

    /// Works on what others share.
    async fn help(&self, config: &Config) -> anyhow::Result<ExitCode> {
        let plan = self.place.plan()?;
        if config.lake.url.is_none() {
            bail!("`tideline batch --worker` works over a lake that processes share: name it in lake.url");
        }
        let ports =
            BatchPorts { objects: stores::lake(config)?, clock: Arc::new(SystemClock), publication: None, sql: None };
        // Gold is not for workers.
        let batch = BatchConfig { engine: EngineKind::Polars, ..config.batch.clone() };
        let batch = Arc::new(BatchLayer::new(Arc::clone(&plan), ports, batch)?);
        let process = Process::begin(&self.listen, &config.serve).await?;
        let (address, metrics) = (process.address()?, process.metrics());
        let router = axum::Router::new()
            .route("/healthz", get(|| async { "ok" }))
            .route("/metrics", get(move || async move { metrics() }));
        let (helper, cancel) = (Arc::clone(&batch), process.shutdown().child_token());
        let work = tokio::spawn(async move { helper.work(cancel).await });
        tracing::info!(%address, pipelines = %plan.name, "a batch worker is up");
        let served = process.serve(router).await;
        batch.shutdown().await;
        work.await?;
        tracing::info!("the batch worker has stopped");
        served.map(|()| ExitCode::SUCCESS)
    }

    /// The standing role.
    async fn stand(&self, config: &Config) -> anyhow::Result<ExitCode> {
        let plan = self.place.plan()?;
        let stores = Stores::shared("batch", config).await?;
        let process = Process::begin(&self.listen, &config.serve).await?;
        let address = process.address()?;
        let guarded = guarded_config(config, Scope::Batch, process.shutdown())?;
        let batch = stores.batch(&plan, config)?;
        let agreements =
            Arc::new(Agreements::new(Arc::clone(&batch), Arc::clone(&stores.views), Arc::clone(&stores.clock)));
        let status = Status::new(&plan, &stores).without_log().with_batch(&batch, &agreements);
        let router = api::router(ApiParts {
            reader: Arc::new(stores.reader(&plan, &config.serve)),
            topics: Arc::new(NoTopics),
            batch: Some(Arc::new(Runs(Arc::clone(&batch)))),
            agreement: Some(Arc::clone(&agreements) as _),
            live: None,
            status: Arc::new(status),
            metrics: process.metrics(),
            config: guarded,
        });
        let cancel = process.shutdown().child_token();
        let schedule = spawn_schedule(&batch, config, cancel.clone());
        let streams = stores.spawn_streams(&plan, &cancel);
        // What the runs of others share.
        let helper = config.batch.share.then(|| {
            let (batch, cancel) = (Arc::clone(&batch), cancel.clone());
            tokio::spawn(async move { batch.work(cancel).await })
        });
        let follow = tokio::spawn(agreements.follow(cancel));
        tracing::info!(%address, pipelines = %plan.name, schedule = config.batch.schedule, "the batch layer is up");
        let served = process.serve(router).await;
        batch.shutdown().await;
        if let Some(schedule) = schedule {
            schedule.await?;
        }
        follow.await?;
        streams.await?;
        if let Some(helper) = helper {
            helper.await?;
        }
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
