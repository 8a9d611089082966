//! A database of its own for every test, and a way to cut a client off.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tideline_common::plan::Plan;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A database that is dropped with this value.
pub(crate) struct Database {
    pub(crate) url: String,
    pub(crate) name: String,
}

/// A new database on the server that `TIDELINE_TEST_CLICKHOUSE` names. Without one: says so, and `None`.
pub(crate) fn database(test: &str) -> Option<Database> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let Some(url) = std::env::var("TIDELINE_TEST_CLICKHOUSE").ok().filter(|url| !url.is_empty()) else {
        eprintln!("SKIPPED {test}: TIDELINE_TEST_CLICKHOUSE is not set");
        return None;
    };
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Some(Database { url, name: format!("tideline_test_{}_{number}", std::process::id()) })
}

impl Database {
    /// The answer to a query, in the database.
    pub(crate) async fn ask(&self, sql: &str) -> String {
        self.try_ask(sql, "").await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The answer to a query of an id (or none, when it is empty), or what the server says against it.
    pub(crate) async fn try_ask(&self, sql: &str, id: &str) -> Result<String, String> {
        let id = if id.is_empty() { String::new() } else { format!("&query_id={id}") };
        let url = format!("{}/?database={}{id}", self.url.trim_end_matches('/'), self.name);
        let answer = reqwest::Client::new().post(url).body(sql.to_owned()).send().await.unwrap();
        let is_success = answer.status().is_success();
        let text = answer.text().await.unwrap();
        if is_success { Ok(text) } else { Err(text) }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (url, sql) = (self.url.clone(), format!("DROP DATABASE IF EXISTS `{}`", self.name));
        // On a thread of its own: this one may be in the middle of an async task, or of a panic.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime
                .block_on(async { reqwest::Client::new().post(url).body(sql).send().await })
                .map_err(std::io::Error::other)
        });
        if !matches!(dropping.join(), Ok(Ok(_))) {
            eprintln!("database {} was not dropped", self.name);
        }
    }
}

/// A proxy of HTTP that lets a number of requests through, and nothing after them: as if the client were killed.
pub(crate) struct Proxy {
    pub(crate) url: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    requests: AtomicU64,
    /// The last request: its number, and whether the server gets it.
    cut: Mutex<(u64, bool)>,
    /// The ids that queries had.
    ids: Mutex<Vec<String>>,
}

impl Proxy {
    /// A proxy in front of the server at `url`.
    pub(crate) async fn start(url: &str) -> Self {
        let upstream = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State { cut: Mutex::new((u64::MAX, false)), ..State::default() });
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, upstream.clone(), shared.clone()));
            }
        });
        Self { url: format!("http://{address}"), state }
    }

    /// Counts from 0 again, and lets nothing through from request `at` on; `executed`: that one reaches the server, and
    /// its answer is lost.
    pub(crate) fn cut_at(&self, at: u64, executed: bool) {
        *self.state.cut.lock() = (at, executed);
        self.state.requests.store(0, Ordering::SeqCst);
    }

    /// The ids of the queries that clients gave one, in the order of the requests.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.state.ids.lock().clone()
    }

    /// Requests since then.
    pub(crate) fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::SeqCst)
    }
}

async fn serve(mut client: TcpStream, upstream: String, state: Arc<State>) {
    let mut buffer = Vec::new();
    while let Some(request) = message(&mut client, &mut buffer).await {
        let number = state.requests.fetch_add(1, Ordering::SeqCst) + 1;
        state.ids.lock().extend(query_id(&request));
        let (at, executed) = *state.cut.lock();
        if number > at || (number == at && !executed) {
            return;
        }
        let Ok(mut server) = TcpStream::connect(&upstream).await else { return };
        if server.write_all(&request).await.is_err() {
            return;
        }
        let Some(answer) = message(&mut server, &mut Vec::new()).await else { return };
        if number == at || client.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// The id of a request's query.
fn query_id(request: &[u8]) -> Option<String> {
    let line = String::from_utf8_lossy(request.split(|byte| *byte == b'\r').next()?).into_owned();
    let (_, id) = line.split_once("query_id=")?;
    id.split(['&', ' ']).next().map(str::to_owned)
}

/// The next message of HTTP, whole.
async fn message(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(length) = length(buffer) {
            let rest = buffer.split_off(length);
            return Some(std::mem::replace(buffer, rest));
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// The length of the message that `bytes` begin with, once it is whole.
fn length(bytes: &[u8]) -> Option<usize> {
    let find = |from: usize, what: &[u8]| bytes[from..].windows(what.len()).position(|w| w == what).map(|at| from + at);
    let body = find(0, b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..body]).to_ascii_lowercase();
    if head.contains("transfer-encoding: chunked") {
        let mut at = body;
        loop {
            let end = find(at, b"\r\n")?;
            let size = usize::from_str_radix(std::str::from_utf8(&bytes[at..end]).ok()?.trim(), 16).ok()?;
            at = end + 2 + size + 2;
            if bytes.len() < at {
                return None;
            }
            if size == 0 {
                return Some(at);
            }
        }
    }
    let size = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0);
    (bytes.len() >= body + size).then_some(body + size)
}

/// The names of the pipelines of this repository.
pub(crate) fn pipelines() -> Vec<String> {
    let folder = std::fs::read_dir(format!("{}/../schema/pipelines", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let mut names: Vec<String> = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| std::path::Path::new(name).extension().is_some_and(|extension| extension == "toml"));
    names.sort();
    names
}

/// The plan of a pipeline of this repository.
pub(crate) fn plan(file: &str) -> Plan {
    let path = format!("{}/../schema/pipelines/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    tideline_common::plan::load(file, &text, &|_| None, &tideline_transform::SqlTypes).unwrap()
}
