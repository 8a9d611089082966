//! What the tests stand on: a clock, a server, a log and an object store in memory, and connectors over them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response, StatusCode};
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value as Json;
use tideline_common::ports::{
    Appended, Clock, Created, Location, Log, ManualClock, ObjectInfo, Objects, PortError, PortResult, ReadRequest,
    TopicInfo, TopicSpec,
};
use tideline_common::position::{Offset, Partition};
use tideline_common::record::{NewRecord, Record};
use tideline_common::time::{Span, Timestamp};
use tideline_ingest::appender::Appender;
use tideline_ingest::connector::config::ConnectorConfig;
use tideline_ingest::connector::mentions::Titles;
use tideline_ingest::connector::runner::{Runner, Step, Surroundings};
use tideline_ingest::connector::status::Status;
use tideline_ingest::connector::time::{Pause, Time};
use tokio_util::sync::CancellationToken;

/// Time that passes when somebody waits, and then at once. While something else is waited for it passes beat by beat, when a
/// test says so.
#[derive(Debug)]
pub struct TestTime {
    clock: ManualClock,
    pauses: Mutex<Vec<Span>>,
    /// Whether pauses do not end.
    still: AtomicBool,
    beat: tokio::sync::Notify,
}

impl Clock for TestTime {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

#[async_trait]
impl Pause for TestTime {
    async fn pause(&self, span: Span) {
        self.pauses.lock().push(span);
        if self.still.load(Ordering::SeqCst) {
            return std::future::pending().await;
        }
        self.clock.advance(span);
        tokio::task::yield_now().await;
    }

    async fn beat(&self, span: Span) {
        self.beat.notified().await;
        self.clock.advance(span);
    }
}

/// A request that the server got.
#[derive(Clone, Debug)]
pub struct Asked {
    pub at: Timestamp,
    pub path: String,
    pub query: BTreeMap<String, String>,
    pub headers: HeaderMap,
    pub body: String,
}

impl Asked {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn param(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }
}

/// What the server does.
#[derive(Clone, Debug)]
pub enum Reply {
    /// An answer.
    Say(u16, Vec<(&'static str, String)>, String),
    /// The beginning of an answer, then the connection is cut.
    Cut(String),
    /// Nothing, for as long as anyone waits.
    Hang,
}

impl Reply {
    pub fn ok(body: &Json) -> Self {
        Self::Say(200, Vec::new(), body.to_string())
    }

    pub fn status(status: u16) -> Self {
        Self::Say(status, Vec::new(), String::new())
    }

    pub fn with(self, name: &'static str, value: impl Into<String>) -> Self {
        match self {
            Self::Say(status, mut headers, body) => {
                headers.push((name, value.into()));
                Self::Say(status, headers, body)
            }
            other => other,
        }
    }
}

type Answering = Box<dyn Fn(&Asked, usize) -> Reply + Send + Sync>;

struct Shared {
    answer: Mutex<Answering>,
    asked: Mutex<Vec<Asked>>,
    time: Arc<TestTime>,
}

/// A server on a port of its own.
pub struct Server {
    pub url: String,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Answers each request, which is the so-manieth (from 0 on), as `answer` says.
    pub async fn start(world: &World, answer: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        let answer: Mutex<Answering> = Mutex::new(Box::new(answer));
        let shared = Arc::new(Shared { answer, asked: Mutex::default(), time: Arc::clone(&world.time) });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().fallback(answering).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, shared, task }
    }

    /// Answers otherwise from now on; requests are counted from 0 again.
    pub fn answer(&self, answer: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) {
        *self.shared.answer.lock() = Box::new(answer);
        self.shared.asked.lock().clear();
    }

    /// The requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().clone()
    }
}

async fn answering(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let url = reqwest::Url::parse(&format!("http://x{}", parts.uri)).unwrap();
    let asked = Asked {
        at: shared.time.now(),
        path: parts.uri.path().to_owned(),
        query: url.query_pairs().into_owned().collect(),
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    let number = {
        let mut all = shared.asked.lock();
        all.push(asked.clone());
        all.len() - 1
    };
    let reply = (shared.answer.lock())(&asked, number);
    match reply {
        Reply::Say(status, headers, body) => {
            let mut response = Response::new(Body::from(body));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            for (name, value) in headers {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            response
        }
        Reply::Cut(beginning) => {
            let chunks = [Ok(Bytes::from(beginning)), Err(std::io::Error::other("the connection is cut"))];
            Response::new(Body::from_stream(futures::stream::iter(chunks)))
        }
        Reply::Hang => std::future::pending().await,
    }
}

/// A log in memory, of one partition a topic, that fails when told.
#[derive(Debug, Default)]
pub struct MemoryLog {
    topics: Mutex<BTreeMap<String, Vec<Bytes>>>,
    failures: Mutex<u32>,
}

impl MemoryLog {
    fn fail(&self) -> PortResult<()> {
        let mut failures = self.failures.lock();
        if *failures == 0 {
            return Ok(());
        }
        *failures -= 1;
        Err(PortError::unavailable("the log", "told to fail"))
    }
}

/// Titles that are mentioned where a text contains them, in their own spelling.
#[derive(Debug, Default)]
pub struct Contained(Vec<String>);

impl Titles for Contained {
    fn learn(&mut self, title: &str) {
        self.0.push(title.to_owned());
    }

    fn mentions(&self, text: &str) -> Vec<String> {
        self.0.iter().filter(|title| text.contains(*title)).cloned().collect()
    }
}

#[async_trait]
impl Log for MemoryLog {
    async fn ensure_topic(&self, spec: &TopicSpec) -> PortResult<()> {
        self.topics.lock().entry(spec.name.clone()).or_default();
        Ok(())
    }

    async fn topics(&self) -> PortResult<Vec<TopicInfo>> {
        Ok(Vec::new())
    }

    async fn topic(&self, name: &str) -> PortResult<TopicInfo> {
        let topics = self.topics.lock();
        let records = topics.get(name).ok_or_else(|| PortError::NotFound { what: name.to_owned() })?;
        let partitions = BTreeMap::from([(0, (0, records.len() as Offset))]);
        Ok(TopicInfo { name: name.to_owned(), partitions })
    }

    async fn append(&self, topic: &str, records: Vec<NewRecord>, _: Timestamp) -> PortResult<Appended> {
        self.fail()?;
        let mut topics = self.topics.lock();
        let records_there =
            topics.get_mut(topic).ok_or_else(|| PortError::NotFound { what: format!("topic {topic}") })?;
        let first = records_there.len() as Offset;
        records_there.extend(records.into_iter().map(|record| record.payload));
        Ok(Appended::from([(0, (first, records_there.len() as Offset))]))
    }

    async fn append_to(
        &self,
        topic: &str,
        _: Partition,
        records: Vec<NewRecord>,
        now: Timestamp,
    ) -> PortResult<(Offset, Offset)> {
        Ok(self.append(topic, records, now).await?[&0])
    }

    async fn read(&self, request: &ReadRequest) -> PortResult<Vec<Record>> {
        self.fail()?;
        let topics = self.topics.lock();
        let record = |(at, payload): (usize, &Bytes)| Record {
            offset: at as Offset,
            appended: Timestamp(0),
            key: None,
            headers: Vec::new(),
            payload: payload.clone(),
        };
        // A few at a time, so that it takes several reads.
        let from = request.from as usize;
        Ok(topics[&request.topic].iter().enumerate().skip(from).take(2).map(record).collect())
    }

    async fn commit_hint(&self, _: &str, _: &str, _: Partition, _: Offset) -> PortResult<()> {
        Ok(())
    }

    async fn expire(&self, _: Timestamp, _: &BTreeMap<(String, Partition), Offset>) -> PortResult<u64> {
        Ok(0)
    }
}

/// An object store in memory that fails when told.
#[derive(Debug, Default)]
pub struct MemoryObjects {
    objects: Mutex<BTreeMap<String, Bytes>>,
    /// Puts that fail from now on: before anything is written, or after.
    failing: Mutex<Vec<Failing>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// Nothing is written.
    Before,
    /// It is written, and nobody hears of it.
    After,
}

#[async_trait]
impl Objects for MemoryObjects {
    async fn get(&self, path: &str) -> PortResult<Bytes> {
        self.objects.lock().get(path).cloned().ok_or_else(|| PortError::NotFound { what: path.to_owned() })
    }

    async fn put(&self, path: &str, bytes: Bytes) -> PortResult<()> {
        self.objects.lock().insert(path.to_owned(), bytes);
        Ok(())
    }

    async fn put_if_absent(&self, path: &str, bytes: Bytes) -> PortResult<Created> {
        let failing = self.failing.lock().pop();
        let fail = || Err(PortError::unavailable("the object store", "told to fail"));
        if failing == Some(Failing::Before) {
            return fail();
        }
        let mut objects = self.objects.lock();
        if objects.contains_key(path) {
            return Ok(Created::Exists);
        }
        objects.insert(path.to_owned(), bytes);
        if failing == Some(Failing::After) { fail() } else { Ok(Created::Yes) }
    }

    async fn list(&self, prefix: &str) -> PortResult<Vec<ObjectInfo>> {
        self.list_after(prefix, "").await
    }

    async fn list_after(&self, prefix: &str, after: &str) -> PortResult<Vec<ObjectInfo>> {
        let prefix = format!("{prefix}/");
        let objects = self.objects.lock();
        let found = objects.iter().filter(|(path, _)| path.starts_with(&prefix) && path.as_str() > after);
        Ok(found.map(|(path, bytes)| ObjectInfo { path: path.clone(), size: bytes.len() as u64 }).collect())
    }

    async fn delete(&self, path: &str) -> PortResult<()> {
        self.objects.lock().remove(path);
        Ok(())
    }

    fn location(&self, path: &str) -> Location {
        Location::Url(path.to_owned())
    }
}

/// Where the tests' connectors live: 2026-01-05 12:00 UTC, until somebody waits.
pub struct World {
    pub time: Arc<TestTime>,
    pub log: Arc<MemoryLog>,
    pub objects: Arc<MemoryObjects>,
}

/// The topic that every test's connector appends to.
pub const TOPIC: &str = "records";

impl World {
    pub fn new() -> Self {
        let clock = ManualClock::new(Timestamp::parse("2026-01-05T12:00:00Z").unwrap());
        let time = Arc::new(TestTime {
            clock,
            pauses: Mutex::default(),
            still: AtomicBool::new(false),
            beat: tokio::sync::Notify::new(),
        });
        let log = Arc::new(MemoryLog::default());
        log.topics.lock().insert(TOPIC.to_owned(), Vec::new());
        Self { time, log, objects: Arc::default() }
    }

    pub fn now(&self) -> Timestamp {
        self.time.now()
    }

    pub fn advance(&self, span: Span) {
        self.time.clock.advance(span);
    }

    /// From now on time passes only by beats, and as it is advanced: a pause does not end.
    pub fn stand_still(&self) {
        self.time.still.store(true, Ordering::SeqCst);
    }

    /// A beat passes for whoever waits for something else.
    pub fn beat(&self) {
        self.time.beat.notify_one();
    }

    /// How long was waited, wait by wait, since this was last asked.
    pub fn pauses(&self) -> Vec<Span> {
        std::mem::take(&mut *self.time.pauses.lock())
    }

    /// The next `count` appends fail.
    pub fn fail_appends(&self, count: u32) {
        *self.log.failures.lock() = count;
    }

    /// The next puts fail, the first one as `failing` ends.
    pub fn fail_puts(&self, failing: &[Failing]) {
        *self.objects.failing.lock() = failing.to_vec();
    }

    /// Paths of all objects.
    pub fn paths(&self) -> Vec<String> {
        self.objects.objects.lock().keys().cloned().collect()
    }

    /// The object with the last path.
    pub fn last_object(&self) -> Json {
        serde_json::from_slice(self.objects.objects.lock().last_key_value().unwrap().1).unwrap()
    }

    /// Records of another topic.
    pub fn tell(&self, topic: &str, records: &[Json]) {
        let payloads = records.iter().map(|record| Bytes::from(record.to_string()));
        self.log.topics.lock().entry(topic.to_owned()).or_default().extend(payloads);
    }

    /// Records that were appended since this was last asked.
    pub fn take_records(&self) -> Vec<Json> {
        let taken = std::mem::take(self.log.topics.lock().get_mut(TOPIC).unwrap());
        taken.iter().map(|payload| serde_json::from_slice(payload).unwrap()).collect()
    }

    /// One field of them.
    pub fn take(&self, field: &str) -> Vec<String> {
        let text = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        self.take_records().iter().map(|record| text(&record[field])).collect()
    }

    pub fn surroundings(&self) -> Surroundings {
        let log: Arc<dyn Log> = Arc::clone(&self.log) as _;
        let clock: Arc<dyn Clock> = Arc::clone(&self.time) as _;
        Surroundings {
            appender: Arc::new(Appender::new(Arc::clone(&log), Arc::clone(&clock), BTreeMap::new())),
            log,
            titles: || Box::new(Contained::default()),
            objects: Arc::clone(&self.objects) as _,
            time: Time::new(clock, Arc::clone(&self.time) as _),
            max_record_bytes: 4_000,
            holder: "test".to_owned(),
            lease: None,
        }
    }

    /// The connector `test` as a file configures it, over `server`. It does not wait between attempts.
    pub fn connector(&self, server: &Server, kind: &str, keys: &str) -> Tester {
        Self::connector_in(self.surroundings(), server, kind, keys)
    }

    pub fn connector_in(around: Surroundings, server: &Server, kind: &str, keys: &str) -> Tester {
        let retry = if keys.contains("retry_initial") { "" } else { "retry_initial = \"0s\"\nretry_max = \"0s\"\n" };
        let base = if keys.contains("base =") { String::new() } else { format!("base = \"{}\"\n", server.url) };
        let text = format!("kind = \"{kind}\"\ntopic = \"{TOPIC}\"\n{base}{retry}{keys}");
        let config: ConnectorConfig = toml::from_str(&text).unwrap();
        config.check("test").unwrap();
        Tester { runner: config.connector("test", around).unwrap(), every: None }
    }
}

/// A connector whose steps are taken one by one.
pub struct Tester {
    pub runner: Runner,
    every: Option<Span>,
}

impl Tester {
    /// Steps until there is something to wait for; answers how long that is.
    pub async fn settle(&mut self) -> Span {
        let cancel = CancellationToken::new();
        for _ in 0..1_000 {
            if let Step::Wait(span) = self.runner.step(&cancel).await {
                self.every = Some(span);
                return span;
            }
        }
        panic!("a connector goes on and on: {:?}", self.status());
    }

    /// Lets the time of the last wait pass, and polls again.
    pub async fn again(&mut self, world: &World) -> Span {
        world.advance(self.every.unwrap());
        self.settle().await
    }

    pub fn status(&self) -> Status {
        self.runner.status().get()
    }
}
