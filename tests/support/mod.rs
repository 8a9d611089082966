//! What the tests of bad input and of faults share: requests to the routes of a platform, and what its lake holds.

// Each test program uses a part of it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod world;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::Value as Json;
use tideline::command::up::router;
use tideline::config::Config;
use tideline::platform::Platform;
use tideline_common::ports::Objects;
use tideline_common::position::Partition;
use tideline_common::record::Record;
use tideline_common::time::Span;
use tideline_transform::bronze;
use tower::ServiceExt;

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A path of the repository.
pub fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// No schedule, and short waits.
pub fn config() -> Config {
    let mut config = Config::default();
    config.batch.schedule = String::new();
    config.speed.flush_interval = Span::from_millis(20);
    config.speed.linger = Span::from_millis(5);
    config.speed.retry_initial = Span::from_millis(2);
    config.speed.retry_max = Span::from_millis(20);
    config.speed.monitor_interval = Span::from_millis(50);
    config
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The answer as a whole problem document of this kind.
    pub fn problem(&self, status: u16, kind: &str) -> Json {
        let json = self.json();
        assert_eq!((self.status.as_u16(), json["status"].as_u64()), (status, Some(u64::from(status))), "{json}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{json}");
        assert_eq!(json["type"], format!("urn:tideline:problem:{kind}"), "{json}");
        for part in ["title", "detail"] {
            assert!(json[part].as_str().is_some_and(|text| !text.is_empty()), "{part}: {json}");
        }
        assert_eq!(status == 503, !self.header("retry-after").is_empty(), "{json}");
        json
    }
}

/// The routes of a platform.
pub fn routes(platform: &Platform, config: &Config) -> Router {
    router(platform, config, Arc::new(String::new))
}

/// One request.
pub async fn send(router: &Router, method: Method, uri: &str, body: impl Into<Body>) -> Answer {
    let request = Request::builder().method(method).uri(uri).body(body.into()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    Answer { status: parts.status, headers: parts.headers, body: body.collect().await.unwrap().to_bytes() }
}

pub async fn get(router: &Router, uri: &str) -> Answer {
    send(router, Method::GET, uri, Body::empty()).await
}

/// Posts records as lines; the number that was accepted.
pub async fn post(router: &Router, topic: &str, records: &[Bytes]) -> Answer {
    send(router, Method::POST, &format!("/v1/topics/{topic}"), lines(records)).await
}

/// Records as a body.
pub fn lines(records: &[Bytes]) -> Vec<u8> {
    let mut body = Vec::new();
    for record in records {
        body.extend_from_slice(record);
        body.push(b'\n');
    }
    body
}

/// Waits until everything that the log holds is in Bronze and visible.
pub async fn caught_up(platform: &Platform) {
    platform.speed.seal().await.unwrap();
    until("the speed layer has caught up", || async {
        platform.speed.status().iter().all(|shard| shard.flushed >= shard.position && shard.lag() == 0)
    })
    .await;
}

/// Waits until something holds.
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "it never came about that {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Bronze of a source by partition and place. Panics unless the files of each partition follow one another without a
/// hole or an overlap, which is what makes every record be there exactly once.
pub async fn bronze(objects: &dyn Objects, source: &str) -> BTreeMap<(Partition, u64), Record> {
    let mut all = BTreeMap::new();
    let mut ends: BTreeMap<Partition, u64> = BTreeMap::new();
    let mut paths: Vec<String> =
        objects.list(&format!("bronze/{source}")).await.unwrap().into_iter().map(|object| object.path).collect();
    paths.sort();
    for path in paths {
        let partition: Partition = path.split('/').nth(2).unwrap().parse().unwrap();
        let file = bronze::decode(objects.get(&path).await.unwrap()).unwrap();
        let end = ends.entry(partition).or_default();
        assert_eq!(file.first, *end, "{path} does not begin where the one before it ends");
        *end = file.next;
        for record in file.records {
            assert!(all.insert((partition, record.offset), record).is_none(), "{path}: a place twice");
        }
    }
    all
}

/// Payloads of Bronze, sorted.
pub async fn payloads(objects: &dyn Objects, source: &str) -> Vec<Bytes> {
    let mut payloads: Vec<Bytes> = bronze(objects, source).await.into_values().map(|record| record.payload).collect();
    payloads.sort();
    payloads
}

/// Records, sorted.
pub fn sorted<'a>(records: impl IntoIterator<Item = &'a Bytes>) -> Vec<Bytes> {
    let mut records: Vec<Bytes> = records.into_iter().cloned().collect();
    records.sort();
    records
}

/// Records of a topic that the log holds.
pub async fn in_log(platform: &Platform, topic: &str) -> u64 {
    let info = platform.stores.log.topic(topic).await.unwrap();
    info.partitions.values().map(|(first, next)| next - first).sum()
}
