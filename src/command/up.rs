//! `tideline up`: everything in one process, embedded.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tideline_serving::api::{self, ApiConfig, ApiParts, MetricsText, ServeConfig};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::command::place::Place;
use crate::config::Config;
use crate::controls::{Process, Runs, Topics};
use crate::platform::{Platform, Stores};

/// Runs everything in one process: log, speed layer, batch layer and HTTP API.
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
        let listen = self.listen.as_ref().unwrap_or(&config.serve.listen);
        // The address and the folder before anything is started: a second process fails here, at once.
        let stores = Stores::open(&self.place.data, &config).await?;
        let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen at {listen}"))?;
        let metrics = install_metrics()?;
        let mut platform = Platform::start(plan, stores, &config).await?;
        platform.follow_agreement();
        let shutdown = shutdown_signal()?;
        let address = listener.local_addr()?;
        tracing::info!(%address, data = %self.place.data.display(), pipelines = %platform.plan.name, "tideline is up");

        let schedule = spawn_schedule(&platform, &config, shutdown.child_token());
        let upkeep = metrics.clone();
        let metrics_upkeep = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(5)).await;
                upkeep.run_upkeep();
            }
        });
        let router = router(&platform, &config, Arc::new(move || metrics.render()));
        let served = api::serve(listener, router, shutdown.clone(), ServeConfig::default()).await;
        shutdown.cancel();
        metrics_upkeep.abort();
        if let Some(schedule) = schedule {
            schedule.await?;
        }
        platform.stop().await;
        tracing::info!("tideline has stopped");
        served.context("the HTTP server failed")
    }
}

/// The HTTP API over a platform; `metrics` prints the metrics of the process.
pub fn router(platform: &Platform, config: &Config, metrics: MetricsText) -> axum::Router {
    let parts = ApiParts {
        reader: Arc::clone(&platform.reader),
        topics: Arc::new(Topics(Arc::clone(&platform.appender))),
        batch: Some(Arc::new(Runs(Arc::clone(&platform.batch)))),
        agreement: Some(Arc::clone(&platform.agreements) as _),
        status: Arc::new(Process {
            plan: Arc::clone(&platform.plan),
            speed: Arc::clone(&platform.speed),
            batch: Arc::clone(&platform.batch),
            log: Arc::clone(&platform.stores.log),
            agreements: Arc::clone(&platform.agreements),
        }),
        metrics,
        config: ApiConfig {
            max_record_bytes: config.serve.max_record_bytes,
            max_body_bytes: config.serve.max_body_bytes,
            ..ApiConfig::default()
        },
    };
    api::router(parts)
}

fn spawn_schedule(
    platform: &Platform,
    config: &Config,
    cancel: CancellationToken,
) -> Option<tokio::task::JoinHandle<()>> {
    if config.batch.schedule.is_empty() {
        return None;
    }
    let (batch, expression) = (Arc::clone(&platform.batch), config.batch.schedule.clone());
    Some(tokio::spawn(async move {
        if let Err(error) = batch.schedule(&expression, cancel).await {
            tracing::error!(%error, "the schedule of batch runs has failed");
        }
    }))
}

/// Installs the Prometheus recorder of the process.
fn install_metrics() -> anyhow::Result<PrometheusHandle> {
    let seconds = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &seconds)?
        .install_recorder()
        .context("cannot install the metrics recorder")
}

/// A token that SIGTERM or SIGINT cancels.
fn shutdown_signal() -> anyhow::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let token = CancellationToken::new();
    let cancelled = token.clone();
    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = term.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "stopping in order");
        cancelled.cancel();
        // A second signal does not wait.
        tokio::select! { _ = term.recv() => {}, _ = interrupt.recv() => {} }
        tracing::warn!("second signal: stopping at once");
        std::process::exit(130);
    });
    Ok(token)
}
