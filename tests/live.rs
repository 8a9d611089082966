//! The pipeline `customer-sentiment` as a page sees it: over a WebSocket of a whole process, and at the paths of its
//! endpoints. What is shown in the end must be what the golden folder expects.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use axum::Router;
use bytes::Bytes;
use futures::StreamExt;
use serde_json::{Value as Json, json};
use support::world::World;
use support::{PATIENCE, caught_up, get, root, routes};
use tideline::config::Config;
use tideline::golden::case::Case;
use tideline::platform::Platform;
use tideline_common::ports::Clock;
use tideline_common::time::{Span, Timestamp};
use tideline_serving::api::{ServeConfig, serve};
use tideline_stores::clock::SystemClock;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_util::sync::CancellationToken;

const RAW: &str = "sentiment.raw";

/// A process that serves, and the case that it is fed with.
struct Process {
    case: Case,
    platform: Platform,
    routes: Router,
    address: String,
    shutdown: CancellationToken,
    server: JoinHandle<std::io::Result<()>>,
    _world: World,
}

impl Process {
    async fn start() -> Self {
        let case = Case::read(&root("tests/golden/customer-sentiment")).unwrap();
        let world = World::new();
        // After the last message.
        let end = Timestamp::parse("2024-05-07T01:00:00Z").unwrap();
        world.clock.advance(Span(end.0 - world.clock.now().0));
        let config = support::config();
        let platform = world.start(&case, &config).await;
        let routes = routes(&platform, &config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(listener, routes.clone(), shutdown.clone(), ServeConfig::default()));
        Self { case, platform, routes, address, shutdown, server, _world: world }
    }

    async fn connect(&self, query: &str) -> Socket {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        let request = format!("ws://{}/v1/live{query}", self.address).into_client_request().unwrap();
        Socket(tokio_tungstenite::client_async(request, stream).await.unwrap().0)
    }

    async fn append(&self, records: &[Bytes]) {
        for part in records.chunks(50) {
            self.platform.appender.append(RAW, part.to_vec()).await.unwrap();
        }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.server.await.unwrap().unwrap();
        self.platform.stop().await;
    }
}

struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    async fn message(&mut self) -> Message {
        loop {
            match tokio::time::timeout(PATIENCE, self.0.next()).await.expect("a frame in time") {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(message)) => return message,
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next event that is no heartbeat.
    async fn event(&mut self) -> (String, Json) {
        loop {
            let Message::Text(text) = self.message().await else { panic!("no text") };
            let mut json: Json = serde_json::from_str(&text).unwrap();
            if json["event"] != "heartbeat" {
                return (json["event"].as_str().unwrap().to_owned(), json["data"].take());
            }
        }
    }
}

/// What a page that takes in every frame shows of one view.
#[derive(Default)]
struct Shown {
    start: Json,
    rows: BTreeMap<String, Json>,
}

impl Shown {
    fn take(&mut self, window: &Json) {
        if window["window_start"] != self.start {
            self.start = window["window_start"].clone();
            self.rows.clear();
        }
        for row in window["rows"].as_array().unwrap() {
            self.rows.insert(row["key"].to_string(), row.clone());
        }
    }
}

/// The golden rows of the newest window of a view, by key, without the window.
fn newest(case: &Case, view: &str) -> (Json, BTreeMap<String, Json>) {
    let rows = &case.views[view];
    let last = rows.iter().map(|row| row["window_start"].as_str().unwrap()).max().unwrap();
    let of_last = rows.iter().filter(|row| row["window_start"] == last);
    (json!(last), of_last.map(|row| (row["key"].to_string(), row.clone())).collect())
}

fn same(found: &Json, expected: &Json) -> bool {
    expected.as_object().unwrap().iter().filter(|(name, _)| !name.starts_with("window_")).all(|(name, want)| {
        let have = &found[name];
        match (want.as_f64(), have.as_f64()) {
            (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * a.abs().max(1.0),
            _ => want == have,
        }
    })
}

fn all_same(found: &BTreeMap<String, Json>, expected: &BTreeMap<String, Json>) -> bool {
    found.len() == expected.len()
        && expected.iter().all(|(key, row)| found.get(key).is_some_and(|found| same(found, row)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_sees_messages_metrics_and_alerts_as_they_come() {
    let process = Process::start().await;
    let mut socket = process.connect("?interval=50ms&view=sentiment_overall&view=sentiment_by_city&messages=20").await;
    let (event, data) = socket.event().await;
    assert_eq!(event, "metrics:initial");
    assert_eq!(data["views"]["sentiment_overall"]["rows"], json!([]));

    let records = process.case.input[RAW].clone();
    process.append(&records).await;
    let expected = ["sentiment_overall", "sentiment_by_city"].map(|view| (view, newest(&process.case, view)));
    let mut shown: BTreeMap<&str, Shown> = expected.iter().map(|(view, _)| (*view, Shown::default())).collect();
    let (mut messages, mut skipped, mut alerts) = (Vec::new(), 0, 0);
    let rows =
        std::fs::read_to_string(root("tests/golden/customer-sentiment/expected/outputs/processed.ndjson")).unwrap();
    let rows: BTreeMap<String, Json> = rows
        .lines()
        .map(|line| serde_json::from_str::<Json>(line).unwrap())
        .map(|row| (row["id"].as_str().unwrap().to_owned(), row))
        .collect();
    let began = Instant::now();
    loop {
        let whole = expected
            .iter()
            .all(|(view, (start, rows))| shown[view].start == *start && all_same(&shown[view].rows, rows));
        if whole && alerts > 0 && messages.len() + skipped >= rows.len() {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "whole: {whole}, {alerts} alerts, {} messages", messages.len() + skipped);
        let (event, data) = socket.event().await;
        match event.as_str() {
            "metrics:update" => {
                for (view, window) in data["views"].as_object().unwrap() {
                    shown.get_mut(view.as_str()).unwrap().take(window);
                }
            }
            "message:new" => {
                assert_eq!((&data["output"], &data["topic"]), (&json!("processed"), &json!("sentiment.processed")));
                let new = data["messages"].as_array().unwrap();
                assert!(new.len() <= 20);
                messages.extend(new.iter().cloned());
                skipped += data["skipped"].as_u64().unwrap() as usize;
            }
            "alert:churn" => {
                alerts += 1;
                assert_eq!(data["view"], "customers_at_risk");
                assert!(data["columns"]["churn_risk"].as_f64().unwrap() >= 0.9, "{data}");
                assert!(data["key"]["author"].is_string() && data["columns"]["last_text"].is_string());
            }
            // Faster than they could be sent.
            "alerts:missed" => alerts += data["missed"].as_u64().unwrap(),
            other => panic!("{other}: {data}"),
        }
    }
    assert_eq!(messages.len() + skipped, rows.len(), "every message is shown or counted, once");
    for message in &messages {
        let expected = &rows[message["id"].as_str().unwrap()];
        assert!(same(message, expected), "{message} {expected}");
    }

    // A client that comes now has all of that at once.
    let mut late = process.connect("?view=sentiment_by_city&output=none&alert=none").await;
    let (_, data) = late.event().await;
    let mut city = Shown::default();
    city.take(&data["views"]["sentiment_by_city"]);
    assert!(all_same(&city.rows, &expected[1].1.1));

    // The server ends: it says so, and waits for nobody.
    let shutdown = process.shutdown.clone();
    shutdown.cancel();
    loop {
        match socket.message().await {
            Message::Close(frame) => {
                assert_eq!(u16::from(frame.unwrap().code), 1001);
                break;
            }
            Message::Text(_) => {}
            other => panic!("{other:?}"),
        }
    }
    drop((socket, late));
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_answer_with_the_newest_window_or_another() {
    let process = Process::start().await;
    process.append(&process.case.input[RAW].clone()).await;
    caught_up(&process.platform).await;
    for (path, view) in [
        ("overall", "sentiment_overall"),
        ("geo", "sentiment_by_city"),
        ("products", "sentiment_by_product"),
        ("channels", "sentiment_by_channel"),
        ("platforms", "sentiment_by_platform"),
    ] {
        let (start, expected) = newest(&process.case, view);
        let answer = get(&process.routes, &format!("/api/metrics/{path}")).await.json();
        assert_eq!((&answer["view"], &answer["window_start"]), (&json!(view), &start), "{path}");
        let names: Vec<&String> = answer.as_object().unwrap().keys().collect();
        assert_eq!(names, ["view", "window_start", "window_end", "rows", "provenance"]);
        let rows = answer["rows"].as_array().unwrap();
        let found = rows.iter().map(|row| (row["key"].to_string(), row.clone())).collect();
        assert!(all_same(&found, &expected), "{path}: {answer}");
        assert!(rows.windows(2).all(|two| two[0]["messages"].as_i64() >= two[1]["messages"].as_i64()), "{path}");
    }
    // A message of a clock that is minutes fast (the log goes by the real time) takes the newest window nowhere.
    let fast = SystemClock.now().plus(Span::from_secs(540));
    let message = format!(
        r#"{{"id":"fast","created_at":"{fast}","text":"Cancel my plan","channel":"support","platform":"email"}}"#
    );
    process.append(&[Bytes::from(message)]).await;
    caught_up(&process.platform).await;
    let (start, _) = newest(&process.case, "sentiment_overall");
    assert_eq!(get(&process.routes, "/api/metrics/overall").await.json()["window_start"], start);
    let at = "at=2024-05-06T23:56:00Z";
    let hour = get(&process.routes, &format!("/api/metrics/geo?{at}&window=2m&limit=3")).await.json();
    assert_eq!(hour["window_start"], "2024-05-06T23:54:00Z");
    assert_eq!(hour["rows"].as_array().unwrap().len(), 3);
    let csv = get(&process.routes, &format!("/api/metrics/overall?{at}&format=csv")).await;
    assert!(csv.body.starts_with(b"scope,window_start,window_end,messages,avg_sentiment,"), "{:?}", csv.body);
    get(&process.routes, "/api/metrics/geo?window=90s").await.problem(400, "invalid-parameter");
    get(&process.routes, "/api/metrics/geo?by=messages").await.problem(400, "unknown-parameter");
    get(&process.routes, "/api/metrics/geo?limit=10001").await.problem(400, "invalid-parameter");
    get(&process.routes, "/api/metrics/nowhere").await.problem(404, "unknown-path");
    let described = get(&process.routes, "/openapi.json").await.json();
    assert!(described["paths"]["/api/metrics/geo"]["get"]["operationId"] == "getEndpoint_geo");

    support::until("alerts are listed", || async {
        !get(&process.routes, "/v1/alerts?alert=churn").await.json()["alerts"].as_array().unwrap().is_empty()
    })
    .await;
    get(&process.routes, "/v1/alerts?alert=chrn").await.problem(404, "unknown-alert");
    process.stop().await;
}

/// A client that reads nothing while much comes holds up neither the process nor others, and has what is newest when it
/// reads again.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_holds_up_nobody() {
    let process = Process::start().await;
    let mut slow = process.connect("?interval=50ms&messages=500").await;
    slow.event().await;
    let records = process.case.input[RAW].clone();
    process.append(&records).await;
    caught_up(&process.platform).await;
    // Others see it meanwhile.
    let (start, expected) = newest(&process.case, "sentiment_overall");
    support::until("the newest window is there", || async {
        let answer = get(&process.routes, "/api/metrics/overall").await.json();
        answer["window_start"] == start && same(&answer["rows"][0], expected.values().next().unwrap())
    })
    .await;
    let mut shown = Shown::default();
    let began = Instant::now();
    while !(shown.start == start && all_same(&shown.rows, &expected)) {
        assert!(began.elapsed() < PATIENCE, "{:?}", shown.rows);
        let (event, data) = slow.event().await;
        if event == "metrics:update" && !data["views"]["sentiment_overall"].is_null() {
            shown.take(&data["views"]["sentiment_overall"]);
        }
    }
    tokio::time::timeout(Duration::from_secs(20), process.stop()).await.expect("it ends in time");
}

/// Configured origins reach the API.
#[test]
fn origins_are_configured() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tideline.toml");
    let load = |text: &str| {
        std::fs::write(&file, text).unwrap();
        Config::load(Some(&file), std::iter::empty()).map_err(|error| error.to_string())
    };
    let config =
        load("[serve]\norigins = [\"https://pages.example\", \"http://localhost:5173\"]\nmax_live = 7\n").unwrap();
    let api = tideline::command::up::api_config(&config, tideline_serving::api::Scope::Everything);
    assert_eq!((api.origins.len(), api.max_live), (2, 7));
    for wrong in ["https://pages.example/", "pages.example", "https://", "ftp://x", "https://*.example"] {
        let error = load(&format!("[serve]\norigins = [\"{wrong}\"]\n")).unwrap_err();
        assert!(error.contains("is no origin"), "{wrong}: {error}");
    }
    assert!(load("[serve]\norigins = [\"*\"]\n").is_ok());
    assert!(load("[serve]\nmax_live = 0\n").unwrap_err().contains("serve.max_live"));
}
