//! `tideline up`: everything in one process.

use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use tideline_common::generation::Generation;
use tideline_serving::api::auth::Auth;
use tideline_serving::api::{self, ApiConfig, ApiParts, MetricsText, Scope};
use tideline_stores::clock::SystemClock;
use tokio_util::sync::CancellationToken;

use crate::command::place::Place;
use crate::config::Config;
use crate::connectors::Connectors;
use crate::controls::{Runs, Status, Topics};
use crate::platform::{Platform, Stores};
use crate::process::Process;
use crate::web;

/// Runs everything in one process: log, speed layer, batch layer, HTTP API, and the connectors that the configuration has.
/// What it names no server for is embedded.
#[derive(Debug, Args)]
pub struct Up {
    #[command(flatten)]
    place: Place,
    /// Address to listen at; by default that of the configuration.
    #[arg(long)]
    listen: Option<String>,
}

impl Up {
    /// Runs until SIGTERM or SIGINT, then stops in order.
    ///
    /// # Errors
    /// Definitions, configuration, data folder or address that cannot be used.
    pub async fn run(self) -> anyhow::Result<()> {
        let config = self.place.config()?;
        let plan = self.place.plan()?;
        Connectors::check(&config, &plan)?;
        let listen = self.listen.as_ref().unwrap_or(&config.serve.listen);
        // The folder, the address and the keys of tokens before anything is started: a second process fails here, at once.
        let stores = Stores::open(&self.place.data, &config).await?;
        let process = Process::begin(listen, &config.serve).await?;
        let api = guarded_config(&config, Scope::Everything, process.shutdown())?;
        let mut platform = Platform::start(plan, stores, &config).await?;
        platform.follow_agreement();
        let address = process.address()?;
        tracing::info!(%address, data = %self.place.data.display(), pipelines = %platform.plan.name, "tideline is up");

        let watch = spawn_replay_watch(&platform.stores, platform.generation, process.shutdown().clone());
        let schedule = spawn_schedule(&platform.batch, &config, process.shutdown().child_token());
        let connectors =
            Connectors::start(&config, &platform.plan, &platform.stores, &platform.appender, process.shutdown())?;
        let router = router_beside(&platform, api, &connectors, process.metrics());
        let served = process.serve(router).await;
        // Before the speed layer, so that it sees what they have brought.
        connectors.stop().await;
        if let Some(schedule) = schedule {
            schedule.await?;
        }
        platform.stop().await;
        tracing::info!("tideline has stopped");
        served?;
        watch.await?
    }
}

/// Ends a process whose generation of speed views a replay has taken over from: begun again, it goes on with the new one.
/// What it still writes of its own goes to what nobody reads any more.
pub fn spawn_replay_watch(
    stores: &Stores,
    generation: Generation,
    shutdown: CancellationToken,
) -> tokio::task::JoinHandle<anyhow::Result<()>> {
    let superseded = stores.clone().superseded(generation, shutdown.child_token());
    tokio::spawn(async move {
        let Some(Generation(number)) = superseded.await else { return Ok(()) };
        tracing::warn!(generation = number, "a replay has made the speed views anew: this process ends in order");
        shutdown.cancel();
        bail!("a replay has made the speed views anew (generation {number}): start this process again")
    })
}

/// The HTTP API over a platform, for this process alone: no tokens are checked; `metrics` prints the metrics of the process.
pub fn router(platform: &Platform, config: &Config, metrics: MetricsText) -> axum::Router {
    router_beside(platform, api_config(config, Scope::Everything), &Connectors::default(), metrics)
}

/// As [`router`], of a process that runs connectors too.
fn router_beside(
    platform: &Platform,
    config: ApiConfig,
    connectors: &Connectors,
    metrics: MetricsText,
) -> axum::Router {
    let status = Status::new(&platform.plan, &platform.stores)
        .with_speed(&platform.speed, &platform.close)
        .with_connectors(connectors)
        .with_batch(&platform.batch, &platform.agreements);
    api::router(ApiParts {
        reader: Arc::clone(&platform.reader),
        topics: Arc::new(Topics(Arc::clone(&platform.appender))),
        batch: Some(Arc::new(Runs(Arc::clone(&platform.batch)))),
        agreement: Some(Arc::clone(&platform.agreements) as _),
        live: Some(Arc::clone(&platform.live)),
        status: Arc::new(status),
        metrics,
        config,
    })
}

/// The API as configured for whoever connects: tokens are checked where keys for them are named. Files of keys are
/// looked at again until `shutdown`.
///
/// # Errors
/// Keys that cannot be used.
pub fn guarded_config(config: &Config, scope: Scope, shutdown: &CancellationToken) -> anyhow::Result<ApiConfig> {
    let mut api = api_config(config, scope);
    if let Some(auth) = &config.serve.auth {
        let tokens = auth.tokens().map_err(anyhow::Error::msg)?;
        let auth = Arc::new(Auth::load(tokens, Arc::new(SystemClock)).context("serve.auth cannot be used")?);
        tokio::spawn(Arc::clone(&auth).follow(shutdown.clone()));
        api.auth = Some(auth);
    }
    Ok(api)
}

/// Bounds of the API as configured; no tokens are checked.
pub fn api_config(config: &Config, scope: Scope) -> ApiConfig {
    ApiConfig {
        scope,
        max_record_bytes: config.serve.max_record_bytes,
        max_body_bytes: config.serve.max_body_bytes,
        web: web::folder(config.serve.web.as_deref()),
        max_live: config.serve.max_live,
        origins: config.serve.origins.clone(),
        ..ApiConfig::default()
    }
}

/// Runs the batch layer as scheduled, until `cancel`; `None` where nothing is scheduled.
pub fn spawn_schedule(
    batch: &Arc<tideline_batch::BatchLayer>,
    config: &Config,
    cancel: CancellationToken,
) -> Option<tokio::task::JoinHandle<()>> {
    if config.batch.schedule.is_empty() {
        return None;
    }
    let (batch, expression) = (Arc::clone(batch), config.batch.schedule.clone());
    Some(tokio::spawn(async move {
        if let Err(error) = batch.schedule(&expression, cancel).await {
            tracing::error!(%error, "the schedule of batch runs has failed");
        }
    }))
}
