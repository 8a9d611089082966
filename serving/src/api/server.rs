//! Runs the API on a listener, with or without TLS, and with bounds on connections, on clients that do not read, and on
//! the time to end.

use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::files::LOOK_AGAIN;
use super::tls::Tls;

/// How long a client may take for the handshake of TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a client may take nothing of what is written to it, where nothing else is said.
const WRITE_TIMEOUT: Duration = Duration::from_mins(1);

/// Bounds of the server.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// Connections at once; further ones wait in the listener's queue.
    pub max_connections: usize,
    /// How long a client may take to send the head of a request, and stay silent between two.
    pub header_timeout: Duration,
    /// How long a client may take nothing of what is written to it: then its connection ends, and what it holds is free.
    pub write_timeout: Duration,
    /// How long requests at work may go on after shutdown.
    pub drain: Duration,
    /// TLS; plain HTTP when absent.
    pub tls: Option<Arc<Tls>>,
    /// How often the files of certificate and key are looked at again.
    pub tls_renewal: Duration,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            max_connections: 4_096,
            header_timeout: Duration::from_mins(1),
            write_timeout: WRITE_TIMEOUT,
            drain: Duration::from_secs(10),
            tls: None,
            tls_renewal: LOOK_AGAIN,
        }
    }
}

/// In a request's extensions: how what never ends by itself ends with the server, or with the request's token.
#[derive(Clone, Debug)]
pub(crate) struct Closing {
    /// Cancelled when the server closes.
    pub(crate) token: CancellationToken,
    /// Cancelled when what has not ended by then is cut.
    pub(crate) cut: CancellationToken,
    /// What the server waits for, also when its connection is no longer HTTP.
    pub(crate) tasks: TaskTracker,
    /// When the token that the request came with expires; `None` where none is needed.
    pub(crate) until: Option<Instant>,
}

impl Closing {
    /// Of a server that never closes.
    pub(crate) fn never() -> Self {
        Self { token: CancellationToken::new(), cut: CancellationToken::new(), tasks: TaskTracker::new(), until: None }
    }

    /// Waits until the token of the request has expired; for ever where none is needed.
    pub(crate) async fn expired(&self) {
        match self.until {
            Some(until) => tokio::time::sleep_until(until).await,
            None => pending().await,
        }
    }

    /// Waits for some time; `None` when the server closes or the token of the request expires before.
    pub(crate) async fn rest(&self, time: Duration) -> Option<()> {
        tokio::select! {
            () = self.token.cancelled() => None,
            () = self.expired() => None,
            () = tokio::time::sleep(time) => Some(()),
        }
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
    let closing = Closing { token: shutdown.clone(), cut: cut.clone(), tasks: tasks.clone(), until: None };
    let router = router.layer(Extension(closing));
    let config = Arc::new(config);
    if let Some(tls) = &config.tls {
        tasks.spawn(Arc::clone(tls).follow(config.tls_renewal, shutdown.clone()));
    }
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
        let ends = Ends { shutdown: shutdown.clone(), cut: cut.clone() };
        let connection = connection(stream, router.clone(), ends, Arc::clone(&config));
        tasks.spawn(async move {
            connection.await;
            drop(permit);
        });
    }
    drop(listener);
    tasks.close();
    if timeout(config.drain, tasks.wait()).await.is_err() {
        tracing::warn!(connections = tasks.len(), "requests are cut: they did not end in time");
        cut.cancel();
        tasks.wait().await;
    }
    Ok(())
}

/// What ends a connection.
struct Ends {
    /// In order.
    shutdown: CancellationToken,
    /// At once.
    cut: CancellationToken,
}

async fn connection(stream: TcpStream, router: Router, ends: Ends, config: Arc<ServeConfig>) {
    // Answers go out at once, not when there is a full packet.
    let _ = stream.set_nodelay(true);
    // Below TLS, which takes some of what is written before it is sent.
    let stream = Patient::new(stream, config.write_timeout);
    let Some(tls) = &config.tls else {
        return converse(stream, router, ends, &config).await;
    };
    let handshake = timeout(HANDSHAKE, tls.acceptor().accept(stream));
    // Whoever is not done with it when the server closes has asked for nothing yet.
    match ends.shutdown.run_until_cancelled(handshake).await {
        None => {}
        Some(Ok(Ok(stream))) => converse(stream, router, ends, &config).await,
        Some(Ok(Err(error))) => tracing::debug!(%error, "a connection has not become TLS"),
        Some(Err(_)) => tracing::debug!("a connection has not become TLS in time"),
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    ends: Ends,
    config: &ServeConfig,
) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(config.header_timeout);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).with_upgrades();
    tokio::pin!(connection);
    let mut closing = false;
    loop {
        tokio::select! {
            () = ends.cut.cancelled() => return,
            () = ends.shutdown.cancelled(), if !closing => {
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

/// A stream on which writing fails when the other side has taken nothing for too long. Without it, whoever stops to read
/// an answer that never ends holds its connection, and its place among live streams, until TCP gives up.
struct Patient<S> {
    stream: S,
    patience: Duration,
    /// Ends the patience; there while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    const fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, stalled: None }
    }

    /// What a write has come to, with the patience it is given.
    fn watch(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client has taken nothing for too long")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    // Of a socket, neither waits.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
