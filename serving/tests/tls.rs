//! The server on its socket: TLS, renewed certificates, and clients that do not read.
#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::WebSocketUpgrade;
use axum::extract::ws::Message;
use axum::routing::get;
use futures::stream;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use tideline_serving::api::{ServeConfig, Tls, TlsFiles, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

/// The longest that anything here is waited for.
const WAIT: Duration = Duration::from_secs(30);

struct Server {
    address: String,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Server {
    async fn start(router: Router, config: ServeConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap().to_string(), CancellationToken::new());
        let task = tokio::spawn(serve(listener, router, shutdown.clone(), config));
        Self { address, shutdown, task }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        timeout(WAIT, self.task).await.unwrap().unwrap().unwrap();
    }
}

fn files(folder: &Path) -> TlsFiles {
    TlsFiles { certificate: folder.join("server.pem"), key: folder.join("key.pem") }
}

/// Writes a new certificate and its key, and returns the certificate.
fn renew(files: &TlsFiles) -> String {
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(&files.key, pair.signing_key.serialize_pem()).unwrap();
    std::fs::write(&files.certificate, pair.cert.pem()).unwrap();
    pair.cert.pem()
}

/// Asks over TLS, trusting one certificate.
async fn ask(
    address: &str,
    certificate: &str,
    versions: &[&'static SupportedProtocolVersion],
) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn tls_is_spoken_and_renewed_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let files = files(folder.path());
    let old = renew(&files);
    let tls = Some(Arc::new(Tls::load(files.clone()).unwrap()));
    let config = ServeConfig { tls, tls_renewal: Duration::from_millis(20), ..ServeConfig::default() };
    let server = Server::start(Router::new().route("/", get(|| async { "hello" })), config).await;
    for versions in [&[&version::TLS13], &[&version::TLS12]] {
        let answer = ask(&server.address, &old, versions).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
    }
    let new = renew(&files);
    let both = [&version::TLS13, &version::TLS12];
    let renewed = async {
        while ask(&server.address, &new, &both).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(WAIT, renewed).await.unwrap();
    assert!(ask(&server.address, &old, &both).await.is_err());
    // What cannot be used changes nothing.
    std::fs::write(&files.certificate, "nothing").unwrap();
    sleep(Duration::from_millis(200)).await;
    assert!(ask(&server.address, &new, &both).await.unwrap().ends_with("hello"));
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_tls_is_closed_and_holds_nothing_up() {
    let folder = tempfile::tempdir().unwrap();
    let files = files(folder.path());
    let certificate = renew(&files);
    let tls = Some(Arc::new(Tls::load(files).unwrap()));
    let config = ServeConfig { tls, ..ServeConfig::default() };
    let server = Server::start(Router::new().route("/", get(|| async { "hello" })), config).await;
    // Says nothing at all.
    let silent = TcpStream::connect(&server.address).await.unwrap();
    let mut plain = TcpStream::connect(&server.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // An alert of TLS at most; whether it comes before the end of the connection is up to TCP.
    let _ = timeout(Duration::from_secs(5), plain.read_to_end(&mut answer)).await.unwrap();
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP") && answer.len() < 16, "{answer:?}");
    assert!(ask(&server.address, &certificate, &[&version::TLS13]).await.unwrap().ends_with("hello"));
    // Nor does it hold up the end.
    let began = std::time::Instant::now();
    server.stop().await;
    assert!(began.elapsed() < Duration::from_secs(5));
    drop(silent);
}

/// Tells when what holds it is gone.
struct Held(mpsc::UnboundedSender<()>);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// A stream of bytes and a socket, neither of which ends.
fn endless(gone: mpsc::UnboundedSender<()>) -> Router {
    let of_socket = gone.clone();
    Router::new()
        .route(
            "/",
            get(move || async move {
                let chunks = stream::unfold(Held(gone), |held| async {
                    Some((Ok::<_, Infallible>(Bytes::from(vec![b'x'; 65_536])), held))
                });
                Body::from_stream(chunks)
            }),
        )
        .route(
            "/socket",
            get(move |upgrade: WebSocketUpgrade| async move {
                upgrade.on_upgrade(async move |mut socket| {
                    let _held = Held(of_socket);
                    while socket.send(Message::Binary(Bytes::from(vec![0; 65_536]))).await.is_ok() {}
                })
            }),
        )
}

async fn open(address: &str, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

const STREAM: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
const SOCKET: &str = "GET /socket HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                      sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[tokio::test]
async fn a_client_that_does_not_read_loses_its_connection() {
    for request in [STREAM, SOCKET] {
        let (gone, mut is_gone) = mpsc::unbounded_channel();
        let config = ServeConfig { write_timeout: Duration::from_millis(300), ..ServeConfig::default() };
        let server = Server::start(endless(gone), config).await;
        let stalled = open(&server.address, request).await;
        timeout(WAIT, is_gone.recv()).await.unwrap().unwrap();
        drop(stalled);
        server.stop().await;
    }
}

#[tokio::test]
async fn a_client_that_reads_slowly_keeps_its_connection() {
    for request in [STREAM, SOCKET] {
        let (gone, mut is_gone) = mpsc::unbounded_channel();
        let config = ServeConfig {
            write_timeout: Duration::from_secs(2),
            drain: Duration::from_millis(1),
            ..ServeConfig::default()
        };
        let server = Server::start(endless(gone), config).await;
        let mut slow = open(&server.address, request).await;
        // In all far longer than nothing may be taken, and each time enough for the windows of TCP to open again.
        let mut buffer = vec![0; 4 << 20];
        for _ in 0..10 {
            sleep(Duration::from_millis(400)).await;
            slow.read_exact(&mut buffer).await.unwrap();
        }
        assert!(is_gone.try_recv().is_err());
        drop(slow);
        timeout(WAIT, is_gone.recv()).await.unwrap().unwrap();
        server.stop().await;
    }
}
