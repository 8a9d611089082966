//! What every standing process has: an address, metrics, and an end in order.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tideline_common::ports::Clock;
use tideline_serving::api::{self, MetricsText, ServeConfig, Tls, TlsFiles};
use tideline_stores::clock::SystemClock;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::config;

/// How often histograms are folded, so that they do not grow between scrapes.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// A process that stands until it is told to stop.
#[derive(Debug)]
pub struct Process {
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    metrics: PrometheusHandle,
    shutdown: CancellationToken,
    _upkeep: AbortOnDropHandle<()>,
}

impl Process {
    /// Takes the address, installs the metrics, and listens to signals.
    ///
    /// # Errors
    /// An address that is taken, and files of TLS that cannot be used.
    pub async fn begin(listen: &str, config: &config::ServeConfig) -> anyhow::Result<Self> {
        let tls = config.tls.as_ref().map(tls).transpose()?;
        let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen at {listen}"))?;
        let metrics = install_metrics()?;
        let upkeep = metrics.clone();
        let upkeep = tokio::spawn(async move {
            loop {
                if let Some(bytes) = resident_bytes() {
                    metrics::gauge!("process_resident_memory_bytes").set(bytes as f64);
                }
                tokio::time::sleep(METRICS_UPKEEP).await;
                upkeep.run_upkeep();
            }
        });
        Ok(Self { listener, tls, metrics, shutdown: shutdown_signal()?, _upkeep: AbortOnDropHandle::new(upkeep) })
    }

    /// Cancelled by SIGTERM or SIGINT.
    pub const fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Prints the metrics.
    pub fn metrics(&self) -> MetricsText {
        let metrics = self.metrics.clone();
        Arc::new(move || metrics.render())
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn address(&self) -> anyhow::Result<std::net::SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// Answers requests until the process is told to stop, and those at work to their end.
    ///
    /// # Errors
    /// A server that fails.
    pub async fn serve(self, router: axum::Router) -> anyhow::Result<()> {
        let config = ServeConfig { tls: self.tls, ..ServeConfig::default() };
        let served = api::serve(self.listener, router, self.shutdown.clone(), config).await;
        self.shutdown.cancel();
        served.context("the HTTP server failed")
    }
}

fn tls(config: &config::ServeTlsConfig) -> anyhow::Result<Arc<Tls>> {
    let files = TlsFiles { certificate: config.certificate.clone(), key: config.key.clone() };
    Ok(Arc::new(Tls::load(files).context("serve.tls cannot be used")?))
}

/// Installs the Prometheus recorder of the process.
fn install_metrics() -> anyhow::Result<PrometheusHandle> {
    let short = [1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 1e-3, 1e-2, 0.1];
    let seconds = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &seconds)?
        // One window is learnt from in millionths of a second.
        .set_buckets_for_metric(Matcher::Full("ml_update_seconds".to_owned()), &short)?
        .set_buckets_for_metric(Matcher::Full("ml_prediction_seconds".to_owned()), &short)?
        .install_recorder()
        .context("cannot install the metrics recorder")?;
    // Of the process itself, under the names that every exporter has.
    metrics::gauge!("process_start_time_seconds").set(SystemClock.now().0 as f64 / 1e6);
    metrics::gauge!("tideline_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

/// Memory of this process, in bytes; `None` where the system does not tell.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = resident.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// A token that SIGTERM or SIGINT cancels.
///
/// # Errors
/// When the system lets nobody listen to signals.
pub fn shutdown_signal() -> anyhow::Result<CancellationToken> {
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
