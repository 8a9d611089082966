//! How predictions are doing, as it lies in the lake.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use support::{Faults, World, plan};
use tideline_common::ports::{Created, Location, ObjectInfo, Objects, PortError, PortResult};
use tideline_common::prediction::{
    FeatureStatus, ModelStatus, PredictionStatus, ReportFormat, WindowCounts, hour_of, report_path, status_path,
};
use tideline_serving::merge::{Reader, ReaderConfig};
use tower::ServiceExt;

#[derive(Debug, Default)]
struct Lake {
    objects: Mutex<BTreeMap<String, Bytes>>,
    faults: Faults,
}

#[async_trait]
impl Objects for Lake {
    async fn get(&self, path: &str) -> PortResult<Bytes> {
        self.faults.check().await?;
        self.objects.lock().get(path).cloned().ok_or_else(|| PortError::NotFound { what: path.to_owned() })
    }

    async fn put(&self, path: &str, bytes: Bytes) -> PortResult<()> {
        self.objects.lock().insert(path.to_owned(), bytes);
        Ok(())
    }

    async fn put_if_absent(&self, path: &str, bytes: Bytes) -> PortResult<Created> {
        self.put(path, bytes).await.map(|()| Created::Yes)
    }

    async fn list(&self, prefix: &str) -> PortResult<Vec<ObjectInfo>> {
        self.list_after(prefix, "").await
    }

    async fn list_after(&self, prefix: &str, after: &str) -> PortResult<Vec<ObjectInfo>> {
        self.faults.check().await?;
        let objects = self.objects.lock();
        let below = |path: &&String| path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
        let found = objects.keys().filter(below).filter(|path| path.as_str() > after);
        Ok(found.map(|path| ObjectInfo { path: path.clone(), size: 1 }).collect())
    }

    async fn delete(&self, path: &str) -> PortResult<()> {
        self.objects.lock().remove(path);
        Ok(())
    }

    fn location(&self, path: &str) -> Location {
        Location::Url(path.to_owned())
    }
}

fn status(partition: u32, evaluated: u64, error: f64, drift: &[&str]) -> PredictionStatus {
    PredictionStatus {
        prediction: "price".to_owned(),
        partition,
        through: Some("2024-05-06T20:00:00Z".to_owned()),
        written_at: "2024-05-06T20:10:00Z".to_owned(),
        refused: None,
        keys: 3,
        windows: WindowCounts { new: evaluated, ..WindowCounts::default() },
        models: vec![ModelStatus {
            version: "v1".to_owned(),
            predictions: evaluated + 1,
            evaluated,
            mae: error,
            rmse: 2.0 * error,
            r2: 0.5,
            intercept: 1.0,
            features: vec![FeatureStatus { name: "hour".to_owned(), mean: 1.0, variance: 2.0, weight: 3.0 }],
        }],
        drift: drift.iter().map(|hour| (*hour).to_owned()).collect(),
    }
}

fn world() -> (Arc<Lake>, World) {
    let mut world = World::new(&[], &[], None);
    let lake = Arc::new(Lake::default());
    let config = ReaderConfig::default();
    let reader =
        Reader::new(Arc::new(plan()), world.views.clone(), world.analytics.clone(), world.clock.clone(), config);
    world.reader = Arc::new(reader.watching(None, Some(lake.clone())));
    (lake, world)
}

fn put_status(lake: &Lake, status: &PredictionStatus) {
    let path = status_path(&status.prediction, status.partition);
    lake.objects.lock().insert(path, serde_json::to_vec(status).unwrap().into());
}

fn put_report(lake: &Lake, partition: u32, hour: &str, format: ReportFormat, content: &'static str) {
    let path = report_path("price", partition, hour_of(hour).unwrap(), format);
    lake.objects.lock().insert(path, content.into());
}

async fn get(router: &Router, uri: &str) -> (u16, String, Bytes) {
    let response = router.clone().oneshot(Request::get(uri).body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let media = parts.headers.get("content-type").map_or("", |media| media.to_str().unwrap()).to_owned();
    (parts.status.as_u16(), media, body.collect().await.unwrap().to_bytes())
}

async fn json_of(router: &Router, uri: &str) -> Json {
    serde_json::from_slice(&get(router, uri).await.2).unwrap()
}

#[tokio::test]
async fn what_has_not_predicted_yet_is_there_without_errors() {
    let (_, world) = world();
    let all = json_of(&world.router(), "/v1/predictions").await;
    let expected = json!({ "predictions": [{
        "name": "price", "view": "trades", "target": "close", "topic": "prices", "partitions": [],
        "models": [{
            "version": "v1", "features": [{ "name": "hour", "source": "hour" }], "learning_rate": 0.01, "l2": 0.001,
            "intercept_rate": 0.01, "clip_gradient": 1e12, "predictions": 0, "evaluated": 0, "mae": null, "rmse": null,
            "r2": null,
        }],
    }] });
    assert_eq!(all, expected);
}

#[tokio::test]
async fn errors_of_all_partitions_are_means_over_all_predictions() {
    let (lake, world) = world();
    put_status(&lake, &status(0, 30, 2.0, &[]));
    let one = json_of(&world.router(), "/v1/predictions/price").await;
    let model = &one["models"][0];
    assert_eq!((&model["mae"], &model["rmse"], &model["r2"]), (&json!(2.0), &json!(4.0), &json!(0.5)));
    assert_eq!(one["partitions"][0]["models"][0]["features"][0]["weight"], 3.0);
    put_status(&lake, &status(1, 10, 6.0, &[]));
    // One that works on none of the keys.
    put_status(&lake, &status(2, 0, 0.0, &[]));
    let one = json_of(&world.router(), "/v1/predictions/price").await;
    let model = &one["models"][0];
    assert_eq!((&model["predictions"], &model["evaluated"]), (&json!(43), &json!(40)));
    let close = |found: &Json, expected: f64| assert!((found.as_f64().unwrap() - expected).abs() < 1e-12, "{found}");
    close(&model["mae"], 3.0);
    close(&model["rmse"], (0.75 * 16.0 + 0.25 * 144.0_f64).sqrt());
    assert_eq!((&model["r2"], one["partitions"].as_array().unwrap().len()), (&Json::Null, 3));
}

#[tokio::test]
async fn the_newest_report_is_answered_unless_another_is_asked_for() {
    let (lake, world) = world();
    let router = world.router();
    assert_eq!(get(&router, "/v1/predictions/price/drift").await.0, 404, "there is none yet");
    put_status(&lake, &status(0, 30, 2.0, &["2024-05-06T20", "2024-05-06T18"]));
    put_status(&lake, &status(1, 30, 2.0, &["2024-05-06T21", "2024-05-06T20"]));
    put_report(&lake, 1, "2024-05-06T21", ReportFormat::Json, "\"one 21\"");
    put_report(&lake, 1, "2024-05-06T21", ReportFormat::Html, "<p>one 21");
    put_report(&lake, 0, "2024-05-06T20", ReportFormat::Json, "\"zero 20\"");
    put_report(&lake, 1, "2024-05-06T20", ReportFormat::Json, "\"one 20\"");
    let report = async |query: &str| {
        let (status, media, body) = get(&router, &format!("/v1/predictions/price/drift{query}")).await;
        assert_eq!((status, media.as_str()), (200, "application/json"), "{query}");
        serde_json::from_slice::<String>(&body).unwrap()
    };
    assert_eq!(report("").await, "one 21");
    assert_eq!(report("?at=2024-05-06T20:59:59Z").await, "zero 20", "the first partition that has it");
    assert_eq!(report("?at=2024-05-06T20:00:00Z&partition=1").await, "one 20");
    assert_eq!(report("?partition=0").await, "zero 20");
    let (status, media, body) = get(&router, "/v1/predictions/price/drift?format=html").await;
    assert_eq!((status, media.as_str(), body.as_ref()), (200, "text/html; charset=utf-8", &b"<p>one 21"[..]));
    for query in ["?at=2024-05-06T19:00:00Z", "?partition=7", "?at=2024-05-06T18:00:00Z"] {
        let (status, media, body) = get(&router, &format!("/v1/predictions/price/drift{query}")).await;
        assert_eq!((status, media.as_str()), (404, "application/problem+json"), "{query}");
        assert!(String::from_utf8_lossy(&body).contains("not-published"), "{query}");
    }
    for query in ["?at=soon", "?partition=-1", "?format=pdf"] {
        assert_eq!(get(&router, &format!("/v1/predictions/price/drift{query}")).await.0, 400, "{query}");
    }
    assert_eq!(get(&router, "/v1/predictions/prise").await.0, 404);
}

#[tokio::test]
async fn a_lake_that_is_down_or_damaged_is_a_problem() {
    let (lake, world) = world();
    let router = world.router();
    put_status(&lake, &status(0, 30, 2.0, &[]));
    lake.faults.down.store(true, std::sync::atomic::Ordering::SeqCst);
    let (status, _, body) = get(&router, "/v1/predictions").await;
    assert_eq!(status, 503);
    assert!(!String::from_utf8_lossy(&body).contains("secret"));
    lake.faults.down.store(false, std::sync::atomic::Ordering::SeqCst);
    lake.objects.lock().insert(status_path("price", 0), "no JSON".into());
    assert_eq!(get(&router, "/v1/predictions/price").await.0, 500);
}
