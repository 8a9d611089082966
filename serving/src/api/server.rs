//! Runs the API on a listener, with bounds on connections and on the time to end.

use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Bounds of the server.
#[derive(Clone, Copy, Debug)]
pub struct ServeConfig {
    /// Connections at once; further ones wait in the listener's queue.
    pub max_connections: usize,
    /// How long a client may take to send the head of a request, and stay silent between two.
    pub header_timeout: Duration,
    /// How long requests at work may go on after shutdown.
    pub drain: Duration,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self { max_connections: 4_096, header_timeout: Duration::from_mins(1), drain: Duration::from_secs(10) }
    }
}

/// In a request's extensions: how what never ends by itself ends with the server.
#[derive(Clone, Debug)]
pub(crate) struct Closing {
    /// Cancelled when the server closes.
    pub(crate) token: CancellationToken,
    /// Cancelled when what has not ended by then is cut.
    pub(crate) cut: CancellationToken,
    /// What the server waits for, also when its connection is no longer HTTP.
    pub(crate) tasks: TaskTracker,
}

impl Closing {
    /// Of a server that never closes.
    pub(crate) fn never() -> Self {
        Self { token: CancellationToken::new(), cut: CancellationToken::new(), tasks: TaskTracker::new() }
    }
}

/// Serves `router` on `listener` until `shutdown`. Then no connection is accepted any more, requests at work are
/// finished within the bound of the configuration, and what is left after it is cut.
///
/// # Errors
/// Never at present: an accept that fails is logged and tried again.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
    config: ServeConfig,
) -> std::io::Result<()> {
    let (tasks, cut) = (TaskTracker::new(), CancellationToken::new());
    let closing = Closing { token: shutdown.clone(), cut: cut.clone(), tasks: tasks.clone() };
    let router = router.layer(Extension(closing));
    let connections = Arc::new(Semaphore::new(config.max_connections.clamp(1, Semaphore::MAX_PERMITS)));
    while let Some(Ok(permit)) = shutdown.run_until_cancelled(connections.clone().acquire_owned()).await {
        let stream = match shutdown.run_until_cancelled(listener.accept()).await {
            None => break,
            Some(Ok((stream, _))) => stream,
            Some(Err(error)) => {
                // Out of file descriptors, or a connection that was gone at once.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let connection = connection(stream, router.clone(), shutdown.clone(), cut.clone(), config.header_timeout);
        tasks.spawn(async move {
            connection.await;
            drop(permit);
        });
    }
    drop(listener);
    tasks.close();
    if tokio::time::timeout(config.drain, tasks.wait()).await.is_err() {
        tracing::warn!(connections = tasks.len(), "requests are cut: they did not end in time");
        cut.cancel();
        tasks.wait().await;
    }
    Ok(())
}

async fn connection(
    stream: TcpStream,
    router: Router,
    shutdown: CancellationToken,
    cut: CancellationToken,
    header_timeout: Duration,
) {
    // Answers go out at once, not when there is a full packet.
    let _ = stream.set_nodelay(true);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(header_timeout);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).with_upgrades();
    tokio::pin!(connection);
    let mut closing = false;
    loop {
        tokio::select! {
            () = cut.cancelled() => return,
            () = shutdown.cancelled(), if !closing => {
                closing = true;
                connection.as_mut().graceful_shutdown();
            }
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended with an error");
                }
                return;
            }
        }
    }
}
