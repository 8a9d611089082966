//! The API over HTTP: every endpoint, every bad input with its problem, the description, the server.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value as Json;
use support::{Event, PANE, World};
use tideline_common::ports::PortError;
use tideline_common::time::Timestamp;
use tideline_serving::api::agreement::{Agreement, Example, ViewAgreement};
use tideline_serving::api::{KINDS, ServeConfig, openapi, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

fn ten() -> Vec<Event> {
    (0..10)
        .flat_map(|at| [Event::new(at * 60 + 5, "A", 1, 1.0, at), Event::new(at * 60 + 6, "B", 1, 2.0, at)])
        .collect()
}

fn world() -> World {
    World::new(&ten(), &ten(), Some(Timestamp(5 * PANE.0)))
}

struct Answer {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&self.body)))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

async fn send(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    Answer { status: parts.status, headers: parts.headers, body: body.collect().await.unwrap().to_bytes().to_vec() }
}

async fn get(router: &Router, uri: &str) -> Answer {
    send(router, Request::get(uri).body(Body::empty()).unwrap()).await
}

async fn post(router: &Router, uri: &str, body: impl Into<Body>) -> Answer {
    send(router, Request::post(uri).body(body.into()).unwrap()).await
}

/// Asserts that an answer is a problem of this kind, complete and with its status.
fn problem(answer: &Answer, kind: &str) -> Json {
    let json = answer.json();
    assert_eq!(json["type"], format!("urn:tideline:problem:{kind}"), "{json}");
    let (_, status, title) = KINDS.iter().find(|(slug, ..)| *slug == kind).unwrap();
    assert_eq!((answer.status.as_u16(), json["status"].as_u64().unwrap()), (*status, u64::from(*status)));
    assert_eq!(json["title"], *title);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert!(json["instance"].as_str().unwrap().starts_with('/'));
    assert!(!json["detail"].as_str().unwrap().is_empty());
    if *status == 503 {
        assert!(!answer.header("retry-after").is_empty());
    }
    json
}

#[tokio::test]
async fn rows_have_the_shape_of_the_contract() {
    let router = world().router();
    let answer =
        get(&router, "/v1/views/trades/rows?key=A,1&from=1970-01-01T00:04:00Z&to=1970-01-01T00:06:00Z&window=1m").await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, "application/json"));
    let json = answer.json();
    let expected = serde_json::json!({
        "key": { "symbol": "A", "venue": 1 },
        "window_start": "1970-01-01T00:04:00Z", "window_end": "1970-01-01T00:05:00Z",
        "n": 1, "total": 1.0, "mean": 1.0, "low": 1.0, "close": 1.0, "p50": json["rows"][0]["p50"], "ratio": 1.0,
    });
    assert_eq!(json["rows"][0], expected);
    assert_eq!(json["rows"].as_array().unwrap().len(), 2);
    assert_eq!(json["provenance"]["batch"]["to"], "1970-01-01T00:05:00Z");
    assert_eq!(json["provenance"]["speed"]["from"], "1970-01-01T00:05:00Z");
    assert_eq!((&json["cursor"], &json["provenance"]["missing"]), (&Json::Null, &serde_json::json!([])));
    // The same key by its columns, an offset whose plus was not escaped, and as CSV.
    let by_column = get(&router, "/v1/views/trades/rows?key.venue=1&key.symbol=A&from=1970-01-01T01:04:00+01:00&to=1970-01-01T00:06:00Z&window=1m").await;
    assert_eq!(by_column.json()["rows"], json["rows"]);
    let csv = get(&router, "/v1/views/trades/rows?key=A,1&window=1m&limit=1&format=csv").await;
    let text = String::from_utf8(csv.body.clone()).unwrap();
    assert!(
        text.starts_with(
            "symbol,venue,window_start,window_end,n,total,mean,low,close,p50,ratio\r\nA,1,1970-01-01T00:00:00Z,"
        ),
        "{text}"
    );
    assert!(!csv.header("x-next-cursor").is_empty());
}

#[tokio::test]
async fn pages_join_to_the_whole() {
    let router = world().router();
    let whole = get(&router, "/v1/views/trades/rows").await.json()["rows"].as_array().unwrap().clone();
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = get(&router, &format!("/v1/views/trades/rows?limit=3{cursor}")).await.json();
        rows.extend(page["rows"].as_array().unwrap().clone());
        let Some(next) = page["cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(rows, whole);
}

#[tokio::test]
async fn bad_queries_are_problems_that_name_the_parameter() {
    let router = world().router();
    let cases = [
        ("/v1/views/trades/rows?from=yesterday", "invalid-parameter", "from"),
        ("/v1/views/trades/rows?from=99999-01-01T00:00:00Z", "invalid-parameter", "from"),
        ("/v1/views/trades/rows?from=2020-01-02&to=2020-01-01", "invalid-parameter", "to"),
        ("/v1/views/trades/rows?from=2020-01-01&to=2020-01-01", "invalid-parameter", "to"),
        ("/v1/views/trades/rows?window=0s", "invalid-parameter", "window"),
        ("/v1/views/trades/rows?window=-5m", "invalid-parameter", "window"),
        ("/v1/views/trades/rows?window=90s", "invalid-parameter", "window"),
        ("/v1/views/trades/rows?window=1m&slide=2m", "invalid-parameter", "slide"),
        ("/v1/views/trades/rows?window=9999999999999d", "invalid-parameter", "window"),
        ("/v1/views/trades/rows?limit=-1", "invalid-parameter", "limit"),
        ("/v1/views/trades/rows?limit=100001", "invalid-parameter", "limit"),
        ("/v1/views/trades/rows?layer=both", "invalid-parameter", "layer"),
        ("/v1/views/trades/rows?cursor=%00%FF", "invalid-parameter", "cursor"),
        ("/v1/views/trades/rows?key=A", "invalid-parameter", "key"),
        ("/v1/views/trades/rows?key=A,1&key=B,1", "invalid-parameter", "key"),
        ("/v1/views/trades/rows?key=A,1&key.venue=1", "invalid-parameter", "key"),
        ("/v1/views/trades/rows?key.venue=1", "invalid-parameter", "key.symbol"),
        ("/v1/views/trades/rows?format=xml", "invalid-parameter", "format"),
        ("/v1/views/trades/rows?windw=5m", "unknown-parameter", "windw"),
        ("/v1/views/trades/top?by=nope", "invalid-parameter", "by"),
        ("/v1/views/trades/top?at=never", "invalid-parameter", "at"),
        ("/v1/views/trades/top?at=completed", "invalid-parameter", "at"),
        ("/v1/views/trades/live?limit=5000", "invalid-parameter", "limit"),
        ("/v1/views/trades/live?limit=0", "invalid-parameter", "limit"),
        ("/v1/views/trades/live?interval=99ms", "invalid-parameter", "interval"),
        ("/v1/views/trades/live?interval=61s", "invalid-parameter", "interval"),
        ("/v1/lookups/latest", "invalid-parameter", "key"),
        ("/v1/reports/summary?nope=1", "invalid-parameter", "nope"),
        ("/v1/reports/summary?where.limit=x", "invalid-parameter", "limit"),
        ("/v1/views?x=1", "unknown-parameter", "x"),
    ];
    for (uri, kind, parameter) in cases {
        let json = problem(&get(&router, uri).await, kind);
        assert_eq!(json["parameter"], parameter, "{uri}: {json}");
    }
    let json = problem(&get(&router, "/v1/views/trades/rows?windw=5m").await, "unknown-parameter");
    assert_eq!(json["suggestion"], "window");
}

#[tokio::test]
async fn unknown_things_are_problems_that_say_what_there_is() {
    let router = world().router();
    let json = problem(&get(&router, "/v1/views/tradse/rows?layer=nonsense").await, "unknown-view");
    assert_eq!((&json["suggestion"], &json["known"]), (&"trades".into(), &serde_json::json!(["trades"])));
    for (uri, kind) in [
        ("/v1/views/x", "unknown-view"),
        ("/v1/views/x/top", "unknown-view"),
        ("/v1/views/x/live", "unknown-view"),
        ("/v1/lookups/x?key=A", "unknown-lookup"),
        ("/v1/reports/x", "unknown-report"),
        ("/v1/batch/runs/x", "unknown-run"),
        ("/v1/nothing", "unknown-path"),
        ("/nothing", "unknown-path"),
    ] {
        problem(&get(&router, uri).await, kind);
    }
    problem(&post(&router, "/v1/topics/fed", "{}").await, "unknown-topic");
    let delete = Request::builder().method(Method::DELETE).uri("/v1/views").body(Body::empty()).unwrap();
    let answer = send(&router, delete).await;
    problem(&answer, "method-not-allowed");
    assert!(answer.header("allow").contains("GET"), "{:?}", answer.headers);
    problem(&get(&router, "/v1/topics/feed").await, "method-not-allowed");
}

#[tokio::test]
async fn lines_become_records_byte_for_byte() {
    let world = world();
    let router = world.router();
    let answer = post(&router, "/v1/topics/feed", "{\"a\": 1 }\r\n\n\nnot json\n\u{e9}").await;
    assert_eq!(answer.json(), serde_json::json!({ "accepted": 3, "positions": { "0": [0, 3] } }));
    assert_eq!(world.topics.records.lock().as_slice(), [&b"{\"a\": 1 }"[..], b"not json", "\u{e9}".as_bytes()]);
    let empty = post(&router, "/v1/topics/feed", "\n\r\n").await;
    assert_eq!((empty.status, empty.json()["accepted"].as_u64()), (StatusCode::OK, Some(0)));

    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(b"one\ntwo\n").unwrap();
    let gzip = gzip.finish().unwrap();
    let zipped = |body: Vec<u8>| {
        Request::post("/v1/topics/feed").header("content-encoding", "gzip").body(Body::from(body)).unwrap()
    };
    assert_eq!(send(&router, zipped(gzip.clone())).await.json()["positions"]["0"], serde_json::json!([3, 5]));
    problem(&send(&router, zipped(gzip[..gzip.len() / 2].to_vec())).await, "invalid-body");
    problem(&send(&router, zipped(b"plain".to_vec())).await, "invalid-body");
    let brotli = Request::post("/v1/topics/feed").header("content-encoding", "br").body(Body::from("x")).unwrap();
    problem(&send(&router, brotli).await, "unsupported-encoding");
    assert_eq!(world.topics.records.lock().len(), 5, "what was refused has appended nothing");
}

#[tokio::test]
async fn bodies_and_records_have_bounds() {
    let mut world = world();
    world.api.max_record_bytes = 10;
    world.api.max_body_bytes = 100;
    let router = world.router();
    let json = problem(&post(&router, "/v1/topics/feed", "ok\n\n12345678901\nok").await, "record-too-large");
    assert_eq!(json["line"], 3);
    problem(&post(&router, "/v1/topics/feed", "123456789\n".repeat(11)).await, "body-too-large");
    // A small body that unpacks to a large one.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all("a\n".repeat(1 << 20).as_bytes()).unwrap();
    let bomb = Request::post("/v1/topics/feed")
        .header("content-encoding", "gzip")
        .body(Body::from(gzip.finish().unwrap()))
        .unwrap();
    problem(&send(&router, bomb).await, "body-too-large");
    assert!(world.topics.records.lock().is_empty());
    assert_eq!(post(&router, "/v1/topics/feed", "123456789\n".repeat(10)).await.json()["accepted"], 10);

    // The default bound of a record is a mebibyte, and one of five is refused.
    let router = self::world().router();
    assert_eq!(post(&router, "/v1/topics/feed", "x".repeat(1 << 20)).await.json()["accepted"], 1);
    let json =
        problem(&post(&router, "/v1/topics/feed", format!("{{}}\n{}", "x".repeat(5 << 20))).await, "record-too-large");
    assert_eq!(json["line"], 2);
}

#[tokio::test]
async fn a_log_that_cannot_take_records_says_so_and_when_to_come_again() {
    let mut world = world();
    let router = world.router();
    *world.topics.answer.lock() = Some(PortError::io("/secret/disk", std::io::ErrorKind::StorageFull.into()));
    let json = problem(&post(&router, "/v1/topics/feed", "x").await, "full");
    assert!(!json.to_string().contains("secret"));
    *world.topics.answer.lock() = Some(PortError::unavailable("broker", "down"));
    problem(&post(&router, "/v1/topics/feed", "x").await, "unavailable");
    *world.topics.answer.lock() = Some(PortError::corrupt("/secret", "bits"));
    let json = problem(&post(&router, "/v1/topics/feed", "x").await, "internal");
    assert!(!json.to_string().contains("secret"));
    world.topics.panics.store(true, Ordering::SeqCst);
    problem(&post(&router, "/v1/topics/feed", "x").await, "internal");
    world.topics.panics.store(false, Ordering::SeqCst);

    world.api.max_bodies_bytes = 64 << 10;
    let router = world.router();
    problem(&post(&router, "/v1/topics/feed", "123456789\n".repeat(20_000)).await, "overloaded");
    // A body that stands still holds its place until its time is over; others are sent away meanwhile.
    world.api.max_requests = 1;
    world.api.body_timeout = Duration::from_millis(300);
    let router = world.router();
    let stalled = tokio::spawn({
        let router = router.clone();
        async move {
            post(
                &router,
                "/v1/topics/feed",
                Body::from_stream(futures::stream::pending::<Result<&[u8], std::io::Error>>()),
            )
            .await
        }
    });
    let busy = loop {
        let answer = get(&router, "/v1/views").await;
        if answer.status != StatusCode::OK {
            break answer;
        }
        tokio::task::yield_now().await;
    };
    problem(&busy, "overloaded");
    assert_eq!(get(&router, "/healthz").await.status, StatusCode::OK);
    problem(&stalled.await.unwrap(), "body-timeout");
    assert_eq!(get(&router, "/v1/views").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_layer_that_is_down_is_in_the_answer_and_both_are_a_problem() {
    let world = world();
    let router = world.router();
    world.views.faults.down.store(true, Ordering::SeqCst);
    let json = get(&router, "/v1/views/trades/rows").await.json();
    assert_eq!(
        json["provenance"]["missing"][0],
        serde_json::json!({ "layer": "speed", "from": "1970-01-01T00:05:00Z", "to": null, "reason": "unavailable" })
    );
    assert!(json["rows"].as_array().unwrap().iter().any(|row| row["partial"] == true));
    let ready = get(&router, "/readyz").await;
    assert_eq!((ready.status, &ready.json()["checks"][0]["ok"]), (StatusCode::SERVICE_UNAVAILABLE, &Json::Bool(false)));
    world.analytics.faults.down.store(true, Ordering::SeqCst);
    let json = problem(&get(&router, "/v1/views/trades/rows").await, "unavailable");
    assert!(!json.to_string().contains("secret"));
    problem(&get(&router, "/v1/views/trades/top").await, "unavailable");
    problem(&get(&router, "/v1/lookups/latest?key=A").await, "unavailable");
    problem(&get(&router, "/v1/reports/summary").await, "unavailable");
}

#[tokio::test]
async fn a_process_without_a_batch_layer_names_the_one_that_has() {
    let world = world();
    let router = tideline_serving::api::router(tideline_serving::api::ApiParts { batch: None, ..world.parts() });
    for answer in [post(&router, "/v1/batch/runs", "").await, get(&router, "/v1/batch/runs").await] {
        assert!(problem(&answer, "no-batch-layer")["detail"].as_str().unwrap().contains("`tideline batch`"));
    }
    problem(&get(&router, "/v1/batch/runs/x").await, "no-batch-layer");
}

#[tokio::test]
async fn a_role_answers_for_what_it_does() {
    use tideline_serving::api::Scope;
    let paths =
        ["/v1/views", "/v1/topics/feed", "/v1/batch/runs", "/v1/agreement", "/v1/status", "/readyz", "/metrics"];
    let scopes = [
        (Scope::Everything, [true; 7]),
        (Scope::Ingest, [false, true, false, false, true, true, true]),
        (Scope::Batch, [false, false, true, true, true, true, true]),
        (Scope::Operations, [false, false, false, false, true, true, true]),
    ];
    for (scope, expected) in scopes {
        let mut world = world();
        world.api.scope = scope;
        // Only queries need the layers.
        world.views.faults.down.store(true, Ordering::SeqCst);
        let router = world.router();
        for (path, expected) in paths.into_iter().zip(expected) {
            let answer = get(&router, path).await;
            assert_eq!(answer.status != StatusCode::NOT_FOUND, expected, "{scope:?} {path}");
        }
        let ready = get(&router, "/readyz").await.status;
        assert_eq!(ready == StatusCode::OK, scope != Scope::Everything, "{scope:?}");
    }
}

#[tokio::test]
async fn rankings_lookups_reports_runs_and_status() {
    let world = world();
    let router = world.router();
    let top = get(&router, "/v1/views/trades/top?by=total&limit=1").await.json();
    assert_eq!((&top["rows"][0]["rank"], &top["rows"][0]["key"]["symbol"]), (&1.into(), &"B".into()));
    assert_eq!(top["window_end"], "1970-01-01T00:10:00Z");
    // The newest window is still filling; the one before its newest pane has ended.
    for path in ["/v1/views/trades/top?at=complete&previous=true", "/api/trades/totals?at=complete"] {
        assert_eq!(get(&router, path).await.json()["window_end"], "1970-01-01T00:09:00Z", "{path}");
    }
    let lookup = get(&router, "/v1/lookups/latest?key=A&limit=1").await.json();
    assert_eq!(lookup["rows"], serde_json::json!([{ "event_time": "1970-01-01T00:09:05Z", "x": 1.0 }]));
    let report = get(&router, "/v1/reports/summary?name=r1&where.limit=3").await.json();
    assert_eq!(report["rows"], serde_json::json!([{ "name": "r1", "limit": 3.0 }]));
    assert_eq!(get(&router, "/v1/reports").await.json()["reports"][0]["columns"][1]["name"], "limit");
    assert_eq!(
        get(&router, "/v1/views/trades").await.json()["columns"][0],
        serde_json::json!({ "name": "n", "type": "int" })
    );
    assert_eq!(get(&router, "/v1/lookups").await.json()["lookups"][0]["limit"], 3);

    let run = post(&router, "/v1/batch/runs", Body::empty()).await;
    assert_eq!((run.status, run.header("location")), (StatusCode::ACCEPTED, "/v1/batch/runs/run0"));
    assert_eq!(get(&router, run.header("location")).await.json()["state"], "running");
    problem(&post(&router, "/v1/batch/runs", Body::empty()).await, "run-in-progress");
    assert_eq!(get(&router, "/v1/batch/runs").await.json()["runs"][0]["id"], "run0");

    let status = get(&router, "/v1/status").await.json();
    assert_eq!((&status["shards"][0]["position"], &status["manifest"]["version"]), (&12.into(), &7.into()));
    assert_eq!(status["views"]["trades"]["through"], "1970-01-01T00:05:00Z");
    assert_eq!(get(&router, "/readyz").await.json()["ready"], true);
    world.status.0.store(true, Ordering::SeqCst);
    let ready = get(&router, "/readyz").await;
    assert_eq!((ready.status, &ready.json()["checks"][2]["detail"]), (StatusCode::SERVICE_UNAVAILABLE, &"full".into()));
    assert_eq!(get(&router, "/metrics").await.body, b"tideline_up 1\n");
    *world.analytics.manifest.lock() = None;
    problem(&get(&router, "/v1/reports/summary").await, "not-published");
}

#[tokio::test]
async fn layers_are_compared_on_demand_one_comparison_at_a_time() {
    let mut world = world();
    world.api.compare_wait = Duration::from_millis(20);
    let source = world.agreement.clone().unwrap();
    let example = Example {
        key: vec!["A".into(), "1".into()],
        pane: "1970-01-01T00:04:00Z".into(),
        because: "unexplained".into(),
        field: Some("n".into()),
        speed: Some("2".into()),
        batch: Some("1".into()),
    };
    let found =
        ViewAgreement { compared: 3, equal: 2, unexplained: 1, examples: vec![example], ..ViewAgreement::default() };
    let views = [("trades".to_owned(), found)].into();
    let told = Agreement { version: 7, at: "1970-01-01T00:10:00Z".into(), unexplained: 1, views };
    *source.answer.lock() = told.clone();
    let router = world.router();
    let answer = get(&router, "/v1/agreement").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json()["views"]["trades"]["examples"][0]["because"], "unexplained");
    // What a client reads is what was written.
    assert_eq!(serde_json::from_slice::<Agreement>(&answer.body).unwrap(), told);
    // The description lists exactly the fields that there are.
    let schemas = &openapi(&support::plan())["components"]["schemas"];
    for (schema, value) in [("Agreement", &answer.json()), ("ViewAgreement", &answer.json()["views"]["trades"])] {
        let described: Vec<&String> = schemas[schema]["properties"].as_object().unwrap().keys().collect();
        assert_eq!(described, value.as_object().unwrap().keys().collect::<Vec<_>>(), "{schema}");
    }
    assert_eq!(problem(&get(&router, "/v1/agreement?view=trades").await, "unknown-parameter")["parameter"], "view");

    source.fails.store(true, Ordering::SeqCst);
    let json = problem(&get(&router, "/v1/agreement").await, "unavailable");
    assert!(!json.to_string().contains("secret"));
    source.fails.store(false, Ordering::SeqCst);

    // While one is at work no other begins: it waits, and is then sent away.
    source.go.forget_permits(usize::MAX);
    let before = source.begun.load(Ordering::SeqCst);
    let working = tokio::spawn({
        let router = router.clone();
        async move { get(&router, "/v1/agreement").await }
    });
    while source.begun.load(Ordering::SeqCst) == before {
        tokio::task::yield_now().await;
    }
    let busy = get(&router, "/v1/agreement").await;
    problem(&busy, "overloaded");
    assert_eq!(busy.header("retry-after"), "10");
    assert_eq!(source.begun.load(Ordering::SeqCst), before + 1);
    // One that goes away leaves its place; one that takes too long is given up.
    working.abort();
    assert!(working.await.is_err());
    world.api.compare_timeout = Duration::from_millis(20);
    problem(&get(&world.router(), "/v1/agreement").await, "timeout");
    source.go.add_permits(8);
    assert_eq!(get(&router, "/v1/agreement").await.status, StatusCode::OK);

    world.agreement = None;
    problem(&get(&world.router(), "/v1/agreement").await, "unavailable");
}

/// The description and the router are made from one table; this holds the description to what `OpenAPI` asks, and the
/// router to what it says.
#[tokio::test]
async fn the_description_is_whole_and_true() {
    let router = world().router();
    let json = get(&router, "/openapi.json").await.json();
    assert_eq!(json, openapi(&support::plan()));
    assert_eq!(json["openapi"], "3.1.0");
    // The contract of the design.
    for (path, method) in [
        ("/v1/topics/{topic}", "post"),
        ("/v1/views", "get"),
        ("/v1/views/{view}", "get"),
        ("/v1/views/{view}/rows", "get"),
        ("/v1/views/{view}/top", "get"),
        ("/v1/views/{view}/live", "get"),
        ("/v1/live", "get"),
        ("/v1/alerts", "get"),
        ("/api/trades/totals", "get"),
        ("/v1/lookups/{lookup}", "get"),
        ("/v1/reports/{report}", "get"),
        ("/v1/predictions", "get"),
        ("/v1/predictions/{prediction}", "get"),
        ("/v1/predictions/{prediction}/drift", "get"),
        ("/v1/agreement", "get"),
        ("/v1/status", "get"),
        ("/healthz", "get"),
        ("/readyz", "get"),
        ("/metrics", "get"),
        ("/openapi.json", "get"),
        ("/v1/batch/runs", "post"),
        ("/v1/batch/runs", "get"),
        ("/v1/batch/runs/{id}", "get"),
    ] {
        assert!(json["paths"][path][method].is_object(), "{method} {path}");
    }
    // The bounds that the socket has: `tests/live.rs` holds it to them.
    let parameters = json["paths"]["/v1/live"]["get"]["parameters"].as_array().unwrap();
    let most = |name: &str| parameters.iter().find(|of| of["name"] == name).unwrap()["schema"]["maximum"].clone();
    assert_eq!((most("messages"), most("rows")), (2_000.into(), 1_000.into()));
    let schemas = json["components"]["schemas"].as_object().unwrap();
    let mut used = std::collections::BTreeSet::new();
    references(&json, &mut used);
    assert_eq!(used, schemas.keys().cloned().collect(), "every reference has a schema and every schema is used");
    let mut ids = std::collections::BTreeSet::new();
    for (path, item) in json["paths"].as_object().unwrap() {
        let declared: Vec<&str> =
            item["parameters"].as_array().into_iter().flatten().map(|p| p["name"].as_str().unwrap()).collect();
        let named: Vec<&str> = path.split(['{', '}']).skip(1).step_by(2).collect();
        assert_eq!(declared, named, "{path}");
        let uri = path
            .replace("{topic}", "feed")
            .replace("{view}", "trades")
            .replace("{lookup}", "latest")
            .replace("{report}", "summary")
            .replace("{prediction}", "price")
            .replace("{id}", "x");
        for method in ["get", "post", "put", "delete"] {
            if method == "get" && path.ends_with("/live") {
                continue;
            }
            let request =
                Request::builder().method(method.to_uppercase().as_str()).uri(&uri).body(Body::empty()).unwrap();
            let answer = send(&router, request).await;
            let Some(operation) = item.get(method) else {
                assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path} is not described");
                continue;
            };
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()));
            let response = &operation["responses"][answer.status.as_str()];
            let media = answer.header("content-type").split(';').next().unwrap().to_owned();
            assert!(response["content"][media.as_str()].is_object(), "{method} {path}: {} {media}", answer.status);
            assert!(response["description"].is_string());
            // Every parameter that is described is known: whatever is wrong with its value, it is not unknown.
            for parameter in operation["parameters"].as_array().into_iter().flatten().filter(|p| p["style"] != "form") {
                let name = parameter["name"].as_str().unwrap();
                let answer = get(&router, &format!("{uri}?{name}=5m")).await;
                assert!(!String::from_utf8_lossy(&answer.body).contains("unknown-parameter"), "{path} {name}");
            }
        }
    }
}

fn references(json: &Json, used: &mut std::collections::BTreeSet<String>) {
    match json {
        Json::Object(map) => {
            if let Some(name) = map.get("$ref").and_then(Json::as_str) {
                used.insert(name.strip_prefix("#/components/schemas/").unwrap().to_owned());
            }
            map.values().for_each(|value| references(value, used));
        }
        Json::Array(list) => list.iter().for_each(|value| references(value, used)),
        _ => {}
    }
}

async fn started(
    world: &World,
    drain: Duration,
) -> (String, CancellationToken, tokio::task::JoinHandle<std::io::Result<()>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let shutdown = CancellationToken::new();
    let config = ServeConfig { drain, ..ServeConfig::default() };
    let server = tokio::spawn(serve(listener, world.router(), shutdown.clone(), config));
    (address, shutdown, server)
}

#[tokio::test]
async fn live_streams_send_what_changed_and_end_with_the_server() {
    let world = world();
    let (address, shutdown, server) = started(&world, Duration::from_secs(30)).await;
    let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
    stream.write_all(b"GET /v1/views/trades/live?interval=100ms&window=1m HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut text = String::new();
    let mut buffer = vec![0; 65_536];
    while !text.contains("\n\n") || !text.contains("event: rows") {
        let n = stream.read(&mut buffer).await.unwrap();
        text.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
    }
    assert!(
        text.contains("text/event-stream") && text.contains(r#""symbol":"A""#) && text.contains(r#""symbol":"B""#),
        "{text}"
    );
    // One key changes: only it is sent.
    let mut events = ten();
    events.push(Event::new(9 * 60 + 30, "A", 1, 5.0, 99));
    *world.views.states.lock() = support::states(&events);
    world.views.progress.lock()[0].1.position = 13;
    text.clear();
    while !text.contains("\n\n") {
        let n = stream.read(&mut buffer).await.unwrap();
        text.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
    }
    assert!(
        text.contains(r#""n":2"#) && text.contains(r#""symbol":"A""#) && !text.contains(r#""symbol":"B""#),
        "{text}"
    );
    shutdown.cancel();
    server.await.unwrap().unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
}

#[tokio::test]
async fn the_server_finishes_requests_at_work_and_cuts_those_that_never_end() {
    let world = world();
    let (address, shutdown, server) = started(&world, Duration::from_secs(30)).await;
    let mut half = tokio::net::TcpStream::connect(&address).await.unwrap();
    half.write_all(b"POST /v1/topics/feed HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n{}").await.unwrap();
    // Wait until the request is at work: another connection is answered after it was accepted.
    let mut other = tokio::net::TcpStream::connect(&address).await.unwrap();
    other.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    other.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"), "{answer}");
    shutdown.cancel();
    half.write_all(b"{}").await.unwrap();
    let mut answer = String::new();
    half.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains(r#"{"accepted":1"#), "{answer}");
    server.await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(&address).await.is_err(), "nobody listens any more");

    let (address, shutdown, server) = started(&world, Duration::from_millis(50)).await;
    let mut stuck = tokio::net::TcpStream::connect(&address).await.unwrap();
    stuck.write_all(b"POST /v1/topics/feed HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n{}").await.unwrap();
    let mut other = tokio::net::TcpStream::connect(&address).await.unwrap();
    other.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    other.read_to_string(&mut String::new()).await.unwrap();
    shutdown.cancel();
    server.await.unwrap().unwrap();
    assert_eq!(world.topics.records.lock().len(), 1, "half a body was not appended");
}
