//! Every store down, slow, and back: what is answered, what is said to be missing, and what `/readyz` tells.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value as Json;
use support::store::{EmptyLake, MemoryLog};
use support::{Event, Faults, PANE, World, plan};
use tideline_common::time::Timestamp;
use tideline_serving::guard::GuardConfig;
use tideline_serving::merge::{Reader, ReaderConfig};
use tower::ServiceExt;

/// Ten panes of two keys, in both layers; the boundary is in the middle.
const MIDDLE: i64 = 5;

struct Stores {
    world: World,
    log: Arc<MemoryLog>,
    lake: Arc<EmptyLake>,
    router: axum::Router,
}

/// The time that a read of a store may take.
const PATIENCE: Duration = Duration::from_millis(200);

impl Stores {
    fn new() -> Self {
        let events: Vec<Event> = (0..10)
            .flat_map(|at| [Event::new(at * 60 + 5, "A", 1, 1.0, at), Event::new(at * 60 + 6, "B", 1, 2.0, at)])
            .collect();
        let mut world = World::new(&events, &events, Some(Timestamp(MIDDLE * PANE.0)));
        let (log, lake) = (Arc::new(MemoryLog::default()), Arc::new(EmptyLake::default()));
        log.create("feed", 2);
        let guard = GuardConfig {
            small_timeout: PATIENCE,
            probe_interval: Duration::from_millis(20),
            check_ttl: Duration::from_millis(20),
            ..GuardConfig::default()
        };
        let config = ReaderConfig { layer_timeout: PATIENCE, guard, ..ReaderConfig::default() };
        let (views, analytics, clock) = (world.views.clone(), world.analytics.clone(), world.clock.clone());
        let reader = Reader::new(Arc::new(plan()), views, analytics, clock, config);
        world.reader = Arc::new(reader.watching(Some(log.clone()), Some(lake.clone())));
        let router = world.router();
        Self { world, log, lake, router }
    }

    fn faults(&self, store: &str) -> &Faults {
        match store {
            "speed_views" => &self.world.views.faults,
            "analytics" => &self.world.analytics.faults,
            "log" => &self.log.faults,
            _ => &self.lake.0,
        }
    }

    fn fail(&self, store: &str, slow: bool, fails: bool) {
        let faults = self.faults(store);
        (if slow { &faults.hangs } else { &faults.down }).store(fails, Ordering::SeqCst);
        if store == "analytics" {
            let analytics = &self.world.analytics;
            (if slow { &analytics.slow_manifest } else { &analytics.blind }).store(fails, Ordering::SeqCst);
        }
    }

    async fn get(&self, uri: &str) -> (StatusCode, String, Vec<u8>) {
        let response = self.router.clone().oneshot(Request::get(uri).body(Body::empty()).unwrap()).await.unwrap();
        let missing = response.headers().get("x-missing").map_or("", |value| value.to_str().unwrap()).to_owned();
        (response.status(), missing, response.into_body().collect().await.unwrap().to_bytes().to_vec())
    }

    async fn json(&self, uri: &str) -> (StatusCode, String, Json) {
        let (status, missing, body) = self.get(uri).await;
        (status, missing, serde_json::from_slice(&body).unwrap())
    }

    /// What `/readyz` says of a store.
    async fn ready(&self, store: &str) -> (StatusCode, Json) {
        let (status, _, ready) = self.json("/readyz").await;
        let check = ready["checks"].as_array().unwrap().iter().find(|check| check["name"] == store).unwrap().clone();
        assert_eq!(ready["ready"], status == StatusCode::OK);
        (status, check)
    }

    async fn until_ready(&self, store: &str) {
        let began = Instant::now();
        while self.ready(store).await.1["ok"] != true {
            assert!(began.elapsed() < Duration::from_secs(20), "{store} does not come back");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// The parts of an answer follow each other without a hole or an overlap, from the first pane asked for to the last.
fn is_contiguous(provenance: &Json, from: &str, to: &str) {
    let mut parts: Vec<(String, String)> = Vec::new();
    let missing = provenance["missing"].as_array().unwrap();
    for part in [&provenance["batch"], &provenance["speed"]].into_iter().chain(missing) {
        if part.is_object() {
            parts.push((part["from"].as_str().unwrap().to_owned(), part["to"].as_str().unwrap().to_owned()));
        }
    }
    parts.sort();
    assert_eq!((parts[0].0.as_str(), parts[parts.len() - 1].1.as_str()), (from, to), "{provenance}");
    assert!(parts.windows(2).all(|pair| pair[0].1 == pair[1].0), "{provenance}");
}

const FROM: &str = "1970-01-01T00:01:00Z";
const TO: &str = "1970-01-01T00:09:00Z";

fn rows() -> String {
    format!("/v1/views/trades/rows?window=1m&from={FROM}&to={TO}")
}

#[tokio::test]
async fn each_layer_down_or_slow_leaves_the_other_and_says_so() {
    for (store, layer) in [("speed_views", "speed"), ("analytics", "batch")] {
        for slow in [false, true] {
            let stores = Stores::new();
            let (_, none, whole) = stores.json(&rows()).await;
            assert_eq!((whole["rows"].as_array().unwrap().len(), none.as_str()), (16, ""));
            stores.until_ready(store).await;
            stores.fail(store, slow, true);
            let (status, missing, answer) = stores.json(&rows()).await;
            let reason = if slow { "timed_out" } else { "unavailable" };
            assert_eq!((status, missing), (StatusCode::OK, format!("{layer}={reason}")), "{store} {slow}");
            assert_eq!(answer["rows"].as_array().unwrap().len(), 8, "{store} {slow}");
            assert!(answer["provenance"][layer].is_null());
            is_contiguous(&answer["provenance"], FROM, TO);
            // CSV has no other place for it than the header.
            let (status, missing, _) = stores.get(&format!("{}&format=csv", rows())).await;
            assert_eq!((status, missing), (StatusCode::OK, format!("{layer}={reason}")));
            let (_, missing, top) = stores.json("/v1/views/trades/top?at=1970-01-01T00:08:00Z").await;
            assert_eq!(missing, format!("{layer}={reason}"), "{top}");
            let (_, _, alone) = stores.json(&format!("{}&layer={layer}", rows())).await;
            assert_eq!(alone["type"], "urn:tideline:problem:unavailable");

            let (status, check) = stores.ready(store).await;
            assert_eq!((status, &check["ok"]), (StatusCode::SERVICE_UNAVAILABLE, &Json::Bool(false)), "{check}");
            assert_eq!(check["since"], stores.world.reader.clock().now().to_string());
            stores.fail(store, slow, false);
            stores.until_ready(store).await;
            let (_, missing, again) = stores.json(&rows()).await;
            assert_eq!((missing.as_str(), &again["rows"]), ("", &whole["rows"]), "{store} {slow}");
            is_contiguous(&again["provenance"], FROM, TO);
        }
    }
}

#[tokio::test]
async fn a_slow_store_is_waited_for_once_and_not_by_every_request() {
    let stores = Stores::new();
    stores.fail("speed_views", true, true);
    stores.json(&rows()).await;
    let began = Instant::now();
    for _ in 0..50 {
        let (status, missing, _) = stores.json(&rows()).await;
        assert_eq!((status, missing.as_str()), (StatusCode::OK, "speed=timed_out"));
    }
    // Fifty times the patience would be ten seconds, and each request waits for several reads.
    assert!(began.elapsed() < 25 * PATIENCE, "{:?}", began.elapsed());
}

#[tokio::test]
async fn both_layers_down_is_a_problem_and_the_way_back() {
    let stores = Stores::new();
    stores.fail("speed_views", false, true);
    stores.fail("analytics", false, true);
    let (status, _, problem) = stores.json(&rows()).await;
    assert_eq!(
        (status, &problem["type"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"urn:tideline:problem:unavailable".into())
    );
    let (status, _, status_json) = stores.json("/v1/status").await;
    assert_eq!((status, &status_json["shards"], &status_json["manifest"]), (StatusCode::OK, &Json::Null, &Json::Null));
    stores.fail("speed_views", false, false);
    stores.fail("analytics", false, false);
    stores.until_ready("speed_views").await;
    stores.until_ready("analytics").await;
    let (status, missing, _) = stores.json(&rows()).await;
    assert_eq!((status, missing.as_str()), (StatusCode::OK, ""));
}

#[tokio::test]
async fn what_is_watched_beside_is_told_and_takes_nothing_away() {
    for store in ["log", "lake"] {
        for slow in [false, true] {
            let stores = Stores::new();
            stores.until_ready(store).await;
            tokio::time::sleep(Duration::from_millis(30)).await;
            stores.fail(store, slow, true);
            let (status, check) = stores.ready(store).await;
            assert_eq!((status, &check["ok"], &check["needed"]), (StatusCode::OK, &false.into(), &false.into()));
            assert!(check["since"].is_string());
            let (status, missing, answer) = stores.json(&rows()).await;
            assert_eq!((status, missing.as_str()), (StatusCode::OK, ""), "{store} {slow}");
            is_contiguous(&answer["provenance"], FROM, TO);
            assert_eq!(stores.get("/v1/status").await.0, StatusCode::OK);
            stores.fail(store, slow, false);
            stores.until_ready(store).await;
        }
    }
}

#[tokio::test]
async fn the_status_says_how_far_the_log_is_ahead() {
    let stores = Stores::new();
    let record = tideline_common::record::NewRecord { key: Some(vec![0].into()), ..Default::default() };
    stores.log.add("feed", &vec![record; 20]);
    let (_, _, status) = stores.json("/v1/status").await;
    // The shard stands at 12.
    assert_eq!((&status["shards"][0]["partition"], &status["shards"][0]["lag"]), (&0.into(), &8.into()));
    stores.fail("log", false, true);
    let (_, _, status) = stores.json("/v1/status").await;
    assert_eq!(status["shards"][0]["lag"], Json::Null);
}

#[tokio::test]
async fn progress_of_another_version_counts_as_none() {
    let stores = Stores::new();
    let (_, _, before) = stores.json(&rows()).await;
    assert_eq!(before["provenance"]["positions"]["speed"]["feed"]["0"], 12);
    stores.world.views.progress.lock()[0].1.version = "another".into();
    let (_, _, answer) = stores.json(&rows()).await;
    assert_eq!(answer["provenance"]["positions"]["speed"]["feed"], serde_json::json!({}));
    let age = |answer: &Json| answer["provenance"]["freshness_ms"].as_i64().unwrap();
    assert!(age(&answer) > age(&before), "only batch's records count");
    stores.world.views.progress.lock()[0].1.version = plan().version_of("feed");
    let (_, _, answer) = stores.json(&rows()).await;
    assert_eq!(answer["provenance"]["positions"], before["provenance"]["positions"]);
}
