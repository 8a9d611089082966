//! What changes, over a WebSocket and a real connection: frames, bounds, who may connect, and how it ends.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use serde_json::{Map, Value as Json, json};
use support::store::{Speed, Worker};
use support::{Event, PANE, World, states};
use tideline_common::alert::{self, AlertEvent};
use tideline_common::plan::AlertOn;
use tideline_common::ports::{Analytics, Clock, SpeedViews};
use tideline_common::record::NewRecord;
use tideline_common::time::Timestamp;
use tideline_serving::api::{ApiParts, ServeConfig, router, serve};
use tideline_serving::live::Live;
use tideline_serving::merge::{Reader, ReaderConfig};
use tideline_serving::ranking::{Rankings, RankingsConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

/// How long a frame may take.
const PATIENCE: Duration = Duration::from_secs(20);

fn ten() -> Vec<Event> {
    (0..10)
        .flat_map(|at| [Event::new(at * 60 + 5, "A", 1, 1.0, at), Event::new(at * 60 + 6, "B", 1, 2.0, at)])
        .collect()
}

fn world() -> World {
    let world = World::new(&ten(), &ten(), Some(Timestamp(5 * PANE.0)));
    world.log.create(alert::TOPIC, 1);
    world.log.create("feed.processed", 2);
    world
}

/// A server, until it is dropped.
struct Server {
    address: String,
    shutdown: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    async fn start(parts: ApiParts) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(serve(listener, router(parts), shutdown.clone(), ServeConfig::default()));
        Self { address, shutdown, task }
    }

    async fn connect(&self, query: &str) -> Socket {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        let request = format!("ws://{}/v1/live{query}", self.address).into_client_request().unwrap();
        Socket(tokio_tungstenite::client_async(request, stream).await.unwrap().0)
    }

    /// The problem with which a socket is refused.
    async fn refused(&self, query: &str, headers: &[(&str, &str)]) -> Json {
        let headers: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let headers = headers.concat();
        let head = format!(
            "GET /v1/live{query} HTTP/1.1\r\nhost: {}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n",
            self.address
        );
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let (mut bytes, mut buffer) = (Vec::new(), [0; 4_096]);
        loop {
            let read = tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap().unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&bytes));
            bytes.extend_from_slice(&buffer[..read]);
            let text = String::from_utf8_lossy(&bytes);
            assert!(!text.starts_with("HTTP/1.1 101"), "{query}: it is not refused");
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            if let Ok(json) = serde_json::from_str::<Json>(body) {
                assert!(head.starts_with(&format!("HTTP/1.1 {}", json["status"])), "{text}");
                return json;
            }
        }
    }
}

struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    /// The next frame that is not a ping.
    async fn message(&mut self) -> Option<Message> {
        loop {
            match tokio::time::timeout(PATIENCE, self.0.next()).await.expect("a frame in time") {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(message)) => return Some(message),
                Some(Err(Error::ConnectionClosed)) | None => return None,
                Some(Err(error)) => panic!("{error}"),
            }
        }
    }

    /// The next event, and its data.
    async fn any(&mut self) -> (String, Json) {
        match self.message().await {
            Some(Message::Text(text)) => {
                let mut json: Json = serde_json::from_str(&text).unwrap();
                (json["event"].as_str().unwrap().to_owned(), json["data"].take())
            }
            other => panic!("{other:?}"),
        }
    }

    /// The next event that is no heartbeat.
    async fn event(&mut self) -> (String, Json) {
        loop {
            let (event, data) = self.any().await;
            if event != "heartbeat" {
                return (event, data);
            }
        }
    }

    /// The data of the next heartbeat that `is` so; nothing else is sent before it.
    async fn heartbeat(&mut self, is: impl Fn(&Json) -> bool) -> Json {
        loop {
            let (event, data) = self.any().await;
            assert_eq!(event, "heartbeat", "{data}");
            if is(&data) {
                return data;
            }
        }
    }

    async fn expect(&mut self, event: &str) -> Json {
        let (found, data) = self.event().await;
        assert_eq!(found, event, "{data}");
        data
    }

    /// The code that it is closed with; whatever is sent before it is read.
    async fn closed(&mut self) -> u16 {
        loop {
            match self.message().await {
                Some(Message::Close(frame)) => return frame.unwrap().code.into(),
                Some(_) => {}
                None => panic!("gone without a close"),
            }
        }
    }
}

fn keys(window: &Json) -> Vec<&str> {
    window["rows"].as_array().unwrap().iter().map(|row| row["key"]["symbol"].as_str().unwrap()).collect()
}

/// Speed holds these events from now on.
fn holds(world: &World, events: &[Event], position: u64) {
    *world.views.states.lock() = states(events);
    world.views.progress.lock()[0].1.position = position;
}

fn fired(id: usize, name: &str) -> NewRecord {
    let event = AlertEvent {
        id: id.to_string(),
        alert: name.to_owned(),
        view: "trades".to_owned(),
        on: AlertOn::Running,
        key: Map::from_iter([("symbol".to_owned(), Json::from("A"))]),
        window_start: "2024-05-06T00:00:00Z".to_owned(),
        window_end: "2024-05-06T00:05:00Z".to_owned(),
        columns: Map::new(),
        previous: None,
        fired_at: "2024-05-06T00:05:01Z".to_owned(),
    };
    NewRecord { key: Some("alert".into()), headers: Vec::new(), payload: event.to_json().into() }
}

fn rows(numbers: std::ops::Range<usize>) -> Vec<NewRecord> {
    numbers
        .map(|n| NewRecord {
            key: Some(vec![n as u8].into()),
            headers: Vec::new(),
            payload: format!("{{\"n\":{n}}}").into(),
        })
        .collect()
}

#[tokio::test]
async fn a_view_is_sent_whole_and_then_what_changes() {
    let world = world();
    let server = Server::start(world.parts()).await;
    let mut socket = server.connect("?interval=50ms&view=trades&output=none&alert=none").await;
    let data = socket.expect("metrics:initial").await;
    assert!(data["at"].as_str().unwrap().ends_with('Z'));
    let window = &data["views"]["trades"];
    assert_eq!(
        (&window["window_start"], &window["window_end"]),
        (&json!("1970-01-01T00:05:00Z"), &json!("1970-01-01T00:10:00Z"))
    );
    let row = json!({ "key": { "symbol": "A", "venue": 1 }, "n": 5, "total": 5.0, "mean": 1.0, "low": 1.0, "close": 1.0,
        "p50": window["rows"][0]["p50"], "ratio": 1.0 });
    assert_eq!((keys(window), &window["rows"][0]), (vec!["A", "B"], &row));
    assert!(window["freshness_ms"].is_i64() && window.get("partial").is_none());

    // One key changes: only it is sent. Progress without a change sends nothing.
    let mut events = ten();
    world.views.progress.lock()[0].1.position = 13;
    tokio::time::sleep(Duration::from_millis(150)).await;
    events.push(Event::new(9 * 60 + 30, "B", 1, 5.0, 99));
    holds(&world, &events, 14);
    let window = socket.expect("metrics:update").await["views"]["trades"].take();
    assert_eq!((keys(&window), &window["rows"][0]["n"]), (vec!["B"], &json!(6)));
    // A window that moves on is sent whole.
    events.push(Event::new(10 * 60 + 1, "C", 1, 5.0, 100));
    holds(&world, &events, 15);
    let window = socket.expect("metrics:update").await["views"]["trades"].take();
    assert_eq!((window["window_start"].as_str(), keys(&window).len()), (Some("1970-01-01T00:06:00Z"), 3));

    // Whoever comes later has all of it at once, and as many rows as asked for.
    let mut late = server.connect("?view=trades&rows=1&output=none&alert=none").await;
    let window = late.expect("metrics:initial").await["views"]["trades"].take();
    assert_eq!(keys(&window).len(), 1);
    let mut more = server.connect("?view=trades&rows=2&output=none&alert=none").await;
    assert_eq!(keys(&more.expect("metrics:initial").await["views"]["trades"]).len(), 2);
}

#[tokio::test]
async fn a_window_of_long_rows_comes_in_several_frames() {
    let long = |n: i64| format!("{n:03}{}", "x".repeat(20_000));
    let mut events: Vec<Event> = (0..100).map(|n| Event::new(9 * 60, &long(n), 1, 1.0, n)).collect();
    let world = World::new(&events, &events, None);
    let server = Server::start(world.parts()).await;
    let mut socket = server.connect("?interval=50ms&view=trades&output=none&alert=none").await;
    let (mut found, mut frames) = (Vec::new(), 0);
    loop {
        let Some(Message::Text(text)) = socket.message().await else { panic!("no frame") };
        let json: Json = serde_json::from_str(&text).unwrap();
        if json["event"] == "heartbeat" {
            continue;
        }
        assert_eq!(json["event"], if frames == 0 { "metrics:initial" } else { "metrics:update" });
        assert!(text.len() < 600 << 10, "{} bytes", text.len());
        let window = &json["data"]["views"]["trades"];
        assert_eq!(window["window_end"], "1970-01-01T00:10:00Z");
        found.extend(keys(window).into_iter().map(|key| key[..3].parse::<i64>().unwrap()));
        frames += 1;
        if window.get("truncated").is_none() {
            break;
        }
        assert_eq!(window["truncated"], true);
    }
    // In the order of the ranking, each once.
    assert_eq!(found, (0..100).collect::<Vec<_>>());
    assert!((4..8).contains(&frames), "{frames} frames");
    // Then only what changes.
    events.push(Event::new(9 * 60 + 1, &long(99), 1, 1.0, 100));
    holds(&world, &events, 13);
    let window = socket.expect("metrics:update").await["views"]["trades"].take();
    assert_eq!((keys(&window), window.get("truncated")), (vec![long(99).as_str()], None));
}

#[tokio::test]
async fn a_heartbeat_says_how_fresh_a_view_is_that_does_not_change() {
    let mut world = world();
    world.api.heartbeat_interval = Duration::from_millis(100);
    let server = Server::start(world.parts()).await;
    let mut socket = server.connect("?interval=50ms&view=trades&output=none&alert=none").await;
    let window = socket.expect("metrics:initial").await["views"]["trades"].take();
    assert_eq!(window["freshness_ms"], 10_000);
    let expected = json!({ "time": "1970-01-01T00:11:40Z", "views": { "trades": { "freshness_ms": 10_000 } } });
    assert_eq!(socket.heartbeat(|_| true).await, expected);
    // Time goes on, and nothing else: no other frame says so.
    world.clock.set(Timestamp(720_000_000));
    let expected = json!({ "time": "1970-01-01T00:12:00Z", "views": { "trades": { "freshness_ms": 30_000 } } });
    assert_eq!(socket.heartbeat(|beat| beat["time"] == expected["time"]).await, expected);
    // A record that changes no row is one nevertheless.
    {
        let mut progress = world.views.progress.lock();
        (progress[0].1.position, progress[0].1.last_appended) = (13, Some(Timestamp(719_000_000)));
    }
    socket.heartbeat(|beat| beat["views"]["trades"]["freshness_ms"] == 1_000).await;

    // Without views, and of one that cannot be had.
    let mut socket = server.connect("?view=none&output=none&alert=none").await;
    socket.expect("metrics:initial").await;
    assert_eq!(socket.heartbeat(|_| true).await["views"], json!({}));
    world.views.faults.down.store(true, Ordering::SeqCst);
    world.analytics.faults.down.store(true, Ordering::SeqCst);
    let mut socket = server.connect("?interval=50ms&view=trades&rows=7&output=none&alert=none").await;
    socket.expect("metrics:initial").await;
    loop {
        // What it had before may come first.
        let (event, data) = socket.any().await;
        if event == "heartbeat" && data["views"] == json!({ "trades": { "freshness_ms": null } }) {
            break;
        }
    }
}

#[tokio::test]
async fn rows_of_outputs_come_in_few_frames_the_newest_first_of_all() {
    let world = world();
    world.log.add("feed.processed", &rows(0..10));
    let server = Server::start(world.parts()).await;
    let mut socket = server.connect("?view=none&alert=none&messages=3&interval=50ms").await;
    assert_eq!(socket.expect("metrics:initial").await["views"], json!({}));
    // What was there before is not shown, what comes from now on is.
    world.log.add("feed.processed", &rows(10..11));
    let data = socket.expect("message:new").await;
    let expected = json!({ "output": "processed", "topic": "feed.processed", "messages": [{ "n": 10 }], "skipped": 0 });
    assert_eq!(data, expected);
    // Many at once: the newest, and how many others there were.
    world.log.add("feed.processed", &rows(1_000..1_100));
    let (mut last, mut skipped) = (Vec::new(), 0);
    while last.len() + skipped < 100 {
        let data = socket.expect("message:new").await;
        let messages = data["messages"].as_array().unwrap();
        assert!(messages.len() <= 3);
        last.extend(messages.iter().map(|row| row["n"].as_u64().unwrap()));
        skipped += data["skipped"].as_u64().unwrap() as usize;
    }
    assert_eq!(last.len() + skipped, 100, "every row is shown or counted");
    assert!(last.contains(&1_099) || last.contains(&1_098), "{last:?}");
}

/// Rows that are gone before they could be read are counted, and the topic is followed from where it was.
#[tokio::test]
async fn rows_of_a_topic_that_cannot_be_followed_for_a_while_are_shown_or_counted() {
    let world = world();
    let server = Server::start(world.parts()).await;
    let mut socket = server.connect("?view=none&alert=none&interval=50ms").await;
    socket.expect("metrics:initial").await;
    world.log.add("feed.processed", &rows(0..3));
    let mut seen = 0;
    while seen < 3 {
        seen += socket.expect("message:new").await["messages"].as_array().unwrap().len();
    }
    world.log.faults.down.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.log.add("feed.processed", &rows(3..13));
    world.log.forget("feed.processed");
    world.log.add("feed.processed", &rows(13..17));
    world.log.faults.down.store(false, Ordering::SeqCst);
    let (mut numbers, mut skipped) = (Vec::new(), 0);
    while numbers.len() as u64 + skipped < 14 {
        let data = socket.expect("message:new").await;
        skipped += data["skipped"].as_u64().unwrap();
        numbers.extend(data["messages"].as_array().unwrap().iter().map(|row| row["n"].as_u64().unwrap()));
    }
    numbers.sort_unstable();
    assert_eq!((numbers, skipped), (vec![13, 14, 15, 16], 10));
}

#[tokio::test]
async fn partitions_that_a_topic_gets_later_are_shown() {
    let world = world();
    let server = Server::start(world.parts()).await;
    let mut socket = server.connect("?view=none&alert=none&interval=50ms").await;
    socket.expect("metrics:initial").await;
    world.log.grow("feed.processed", 3);
    // By its key it goes into the new partition, before anybody has looked at that.
    world.log.add("feed.processed", &rows(5..6));
    assert_eq!(socket.expect("message:new").await["messages"], json!([{ "n": 5 }]));
    world.log.add("feed.processed", &rows(6..7));
    let data = socket.expect("message:new").await;
    assert_eq!((&data["messages"], &data["skipped"]), (&json!([{ "n": 6 }]), &json!(0)));
}

#[tokio::test]
async fn alerts_are_told_as_they_fire_and_the_last_are_listed() {
    let world = world();
    world.log.add(alert::TOPIC, &[fired(1, "jump"), fired(2, "other")]);
    let server = Server::start(world.parts()).await;
    let mut socket = server.connect("?view=none&output=none&alert=jump").await;
    socket.expect("metrics:initial").await;
    world.log.add(alert::TOPIC, &[fired(3, "other"), fired(4, "jump")]);
    let data = socket.expect("alert:jump").await;
    assert_eq!((&data["id"], &data["view"], &data["key"]["symbol"]), (&json!("4"), &json!("trades"), &json!("A")));

    let list = async |query: &str| {
        let mut stream = TcpStream::connect(&server.address).await.unwrap();
        let head = format!("GET /v1/alerts{query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        serde_json::from_str::<Json>(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    };
    let ids = |json: &Json| -> Vec<String> {
        json["alerts"].as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&list("").await), ["4", "3", "2", "1"]);
    assert_eq!(ids(&list("?limit=1&alert=jump").await), ["4"]);
    assert_eq!(list("?alert=jmp").await["suggestion"], "jump");
    assert_eq!(list("?limit=0").await["parameter"], "limit");
}

#[tokio::test]
async fn alerts_that_are_fired_too_fast_are_counted() {
    let world = world();
    let server = Server::start(world.parts()).await;
    let mut socket = server.connect("?view=none&output=none&alert=jump").await;
    socket.expect("metrics:initial").await;
    let many: Vec<NewRecord> = (0..1_000).map(|id| fired(id, "jump")).collect();
    world.log.add(alert::TOPIC, &many);
    let (mut shown, mut missed) = (Vec::new(), 0);
    while shown.last() != Some(&999) {
        match socket.event().await {
            (event, data) if event == "alerts:missed" => missed += data["missed"].as_u64().unwrap(),
            (event, data) => {
                assert_eq!(event, "alert:jump");
                shown.push(data["id"].as_str().unwrap().parse::<u64>().unwrap());
            }
        }
    }
    assert!(missed > 0, "{} were read as fast as they came", shown.len());
    assert_eq!(shown.len() as u64 + missed, 1_000, "every alert is shown or counted");
    assert!(shown.is_sorted());
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said_before_the_upgrade() {
    let mut world = world();
    world.api.origins = vec!["https://pages.example".to_owned()];
    let server = Server::start(world.parts()).await;
    for (query, kind, parameter) in [
        ("?views=trades", "unknown-parameter", "views"),
        ("?interval=10ms", "invalid-parameter", "interval"),
        ("?interval=2m", "invalid-parameter", "interval"),
        ("?rows=0", "invalid-parameter", "rows"),
        ("?rows=1001", "invalid-parameter", "rows"),
        ("?messages=2001", "invalid-parameter", "messages"),
        ("?view=none&view=trades", "invalid-parameter", "view"),
    ] {
        let json = server.refused(query, &[]).await;
        assert_eq!(json["type"], format!("urn:tideline:problem:{kind}"), "{query}: {json}");
        assert_eq!(json["parameter"], parameter, "{query}");
    }
    for (query, kind, known) in [
        ("?view=trade", "unknown-view", "trades"),
        ("?output=proccessed", "unknown-output", "processed"),
        ("?alert=jumps", "unknown-alert", "jump"),
    ] {
        let json = server.refused(query, &[]).await;
        assert_eq!(json["type"], format!("urn:tideline:problem:{kind}"), "{query}");
        assert_eq!((&json["known"], &json["suggestion"]), (&json!([known]), &json!(known)), "{query}");
    }
    // Pages of others may not connect; this server's own and those that are configured may.
    for origin in ["https://evil.example", "http://pages.example", "null", ""] {
        let json = server.refused("", &[("origin", origin)]).await;
        assert_eq!(json["type"], "urn:tideline:problem:forbidden-origin", "{origin}");
    }
    let own = format!("http://{}", server.address);
    for origin in [own.as_str(), "https://pages.example"] {
        let stream = TcpStream::connect(&server.address).await.unwrap();
        let mut request = format!("ws://{}/v1/live", server.address).into_client_request().unwrap();
        request.headers_mut().insert("origin", origin.parse().unwrap());
        let (stream, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        Socket(stream).expect("metrics:initial").await;
    }
    // Without an upgrade.
    let mut stream = TcpStream::connect(&server.address).await.unwrap();
    stream.write_all(b"GET /v1/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 426") && answer.contains("upgrade: websocket"), "{answer}");
    assert!(answer.contains("urn:tideline:problem:upgrade-required"), "{answer}");
}

#[tokio::test]
async fn sockets_have_a_bound_and_give_their_place_back() {
    let mut world = world();
    world.api.max_live = 2;
    let server = Server::start(world.parts()).await;
    let mut first = server.connect("").await;
    let mut second = server.connect("").await;
    first.expect("metrics:initial").await;
    second.expect("metrics:initial").await;
    assert_eq!(server.refused("", &[]).await["type"], "urn:tideline:problem:overloaded");
    first.0.close(None).await.unwrap();
    while first.message().await.is_some() {}
    let began = Instant::now();
    loop {
        let stream = TcpStream::connect(&server.address).await.unwrap();
        let request = format!("ws://{}/v1/live", server.address).into_client_request().unwrap();
        if tokio_tungstenite::client_async(request, stream).await.is_ok() {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "the place of a socket that is closed is never given back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_client_that_talks_is_told_and_one_that_goes_on_is_closed() {
    let world = world();
    let server = Server::start(world.parts()).await;
    let mut socket = server.connect("?view=none").await;
    socket.expect("metrics:initial").await;
    socket.0.send(Message::text("subscribe")).await.unwrap();
    let problem = socket.expect("problem").await;
    assert_eq!((&problem["type"], problem.get("view")), (&json!("urn:tideline:problem:unknown-frame"), None));
    socket.0.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    assert_eq!(socket.expect("problem").await["type"], "urn:tideline:problem:unknown-frame");
    for _ in 0..200 {
        // It may be closed in between.
        if socket.0.send(Message::text("again")).await.is_err() {
            break;
        }
    }
    assert_eq!(socket.closed().await, 1008);

    let mut socket = server.connect("?view=none").await;
    socket.expect("metrics:initial").await;
    socket.0.send(Message::text("x".repeat(8 << 10))).await.unwrap();
    assert_eq!(socket.closed().await, 1008);
}

#[tokio::test]
async fn a_view_that_cannot_be_had_is_a_problem_once_and_then_there_again() {
    let world = world();
    world.views.faults.down.store(true, Ordering::SeqCst);
    world.analytics.faults.down.store(true, Ordering::SeqCst);
    let server = Server::start(world.parts()).await;
    let mut socket = server.connect("?interval=50ms&output=none&alert=none").await;
    assert_eq!(socket.expect("metrics:initial").await["views"], json!({}));
    let problem = socket.expect("problem").await;
    assert_eq!((&problem["type"], &problem["view"]), (&json!("urn:tideline:problem:unavailable"), &json!("trades")));
    assert!(!problem.to_string().contains("secret"));
    tokio::time::sleep(Duration::from_millis(300)).await;
    world.views.faults.down.store(false, Ordering::SeqCst);
    world.analytics.faults.down.store(false, Ordering::SeqCst);
    // No second problem in between. One layer may be back before the other.
    loop {
        let window = socket.expect("metrics:update").await["views"]["trades"].take();
        if window.get("partial").is_none() {
            assert_eq!((window["window_end"].as_str(), keys(&window)), (Some("1970-01-01T00:10:00Z"), vec!["A", "B"]));
            break;
        }
    }
    // One layer alone: a part is missing, and is told.
    world.views.faults.down.store(true, Ordering::SeqCst);
    let window = socket.expect("metrics:update").await["views"]["trades"].take();
    assert_eq!(window["partial"], true, "{window}");
}

/// A client that does not read: what it has not had is replaced by what is newest, and other clients go on.
#[tokio::test]
async fn a_slow_client_misses_what_is_replaced_and_holds_up_nobody() {
    let world = world();
    let server = Server::start(world.parts()).await;
    let slow = TcpStream::connect(&server.address).await.unwrap();
    let request = format!("ws://{}/v1/live?interval=50ms&messages=500&view=none&alert=none", server.address);
    let mut slow =
        Socket(tokio_tungstenite::client_async(request.into_client_request().unwrap(), slow).await.unwrap().0);
    slow.expect("metrics:initial").await;
    let mut quick = server.connect("?interval=50ms&messages=1&view=none&alert=none").await;
    quick.expect("metrics:initial").await;
    // Far more than the buffers of a connection hold: 500 records of 16 KiB a frame.
    let padding = "x".repeat(16 << 10);
    let mut sent = 0;
    let mut last = Vec::new();
    for round in 0..40 {
        let records: Vec<NewRecord> = (0..100)
            .map(|n| NewRecord {
                key: Some(vec![n as u8].into()),
                headers: Vec::new(),
                payload: format!("{{\"n\":{},\"text\":\"{padding}\"}}", sent + n).into(),
            })
            .collect();
        sent += records.len();
        world.log.add("feed.processed", &records);
        if round > 2 {
            last.push(quick.expect("message:new").await["messages"][0]["n"].as_u64().unwrap());
        } else {
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
    }
    assert!(last.is_sorted() && last.last().unwrap() + 1_000 > sent as u64, "{last:?}");
    // Now it reads: what was under way, and then what is newest, not all that there was.
    let (mut shown, mut skipped, mut newest) = (0, 0, 0);
    while let Ok(Some(Ok(message))) = tokio::time::timeout(Duration::from_secs(2), slow.0.next()).await {
        let Message::Text(text) = message else { continue };
        let json: Json = serde_json::from_str(&text).unwrap();
        if json["event"] == "heartbeat" {
            continue;
        }
        let messages = json["data"]["messages"].as_array().unwrap();
        shown += messages.len() as u64;
        skipped += json["data"]["skipped"].as_u64().unwrap();
        newest = messages.iter().map(|row| row["n"].as_u64().unwrap()).max().unwrap_or(newest);
    }
    assert!(skipped > 1_000 && shown < 3_000, "{shown} shown, {skipped} skipped");
    assert!(newest + 10 > sent as u64, "{newest} of {sent}");
}

#[tokio::test]
async fn a_client_that_gives_no_sign_of_life_is_closed() {
    let mut world = world();
    world.api.ping_interval = Duration::from_millis(50);
    world.api.silence_max = Duration::from_millis(400);
    let server = Server::start(world.parts()).await;
    // One that answers pings stays.
    let mut alive = server.connect("?view=none").await;
    alive.expect("metrics:initial").await;
    let mut dead = TcpStream::connect(&server.address).await.unwrap();
    let head = "GET /v1/live?view=none HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    dead.write_all(head.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let reading = tokio::time::timeout(PATIENCE, dead.read_to_end(&mut bytes));
    let answering = async {
        loop {
            let _ = tokio::time::timeout(Duration::from_millis(20), alive.0.next()).await;
        }
    };
    tokio::select! {
        read = reading => { read.expect("it is closed").unwrap(); }
        () = answering => {}
    }
    assert!(bytes.starts_with(b"HTTP/1.1 101"));
    let close = [0x88, 2 + b"no answer to pings".len() as u8, 0x03, 0xf0];
    assert!(bytes.windows(close.len()).any(|part| part == close), "{}", String::from_utf8_lossy(&bytes));
    world.log.add(alert::TOPIC, &[fired(1, "jump")]);
    alive.expect("alert:jump").await;
}

#[tokio::test]
async fn a_server_that_ends_says_so_and_waits_for_no_one() {
    let world = world();
    let server = Server::start(world.parts()).await;
    let mut socket = server.connect("").await;
    socket.expect("metrics:initial").await;
    // One that reads nothing more.
    let _deaf = server.connect("").await;
    let began = Instant::now();
    server.shutdown.cancel();
    assert_eq!(socket.closed().await, 1001);
    drop(socket);
    server.task.await.unwrap().unwrap();
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

/// A server whose rankings are kept in memory, with one key in one pane, and the speed layer that it follows.
async fn kept_ready() -> (Server, Speed, Worker) {
    let world = world();
    let (speed, plan) = (Speed::new(1), Arc::new(support::plan()));
    let mut worker = Worker::new(0);
    worker.take(&Event::new(65, "A", 1, 1.0, 1));
    speed.flush(&worker.change());
    *world.analytics.manifest.lock() = None;
    let (analytics, clock) = (world.analytics.clone() as Arc<dyn Analytics>, world.clock.clone() as Arc<dyn Clock>);
    let views = speed.views.clone() as Arc<dyn SpeedViews>;
    let rankings = Rankings::start(
        &plan,
        speed.log.clone(),
        views.clone(),
        analytics.clone(),
        clock.clone(),
        RankingsConfig { refresh_interval: Duration::from_millis(20), ..RankingsConfig::default() },
        &CancellationToken::new(),
    );
    while !rankings.status()["trades"].ready {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let reader = Reader::new(plan, views, analytics, clock, ReaderConfig::default()).with_rankings(rankings);
    let reader = Arc::new(reader);
    let live = Live::start(reader.clone(), speed.log.clone(), &CancellationToken::new());
    let server = Server::start(ApiParts { reader, live: Some(live), ..world.parts() }).await;
    (server, speed, worker)
}

/// Where rankings are kept, a change is sent as soon as it is told, and no store is read for it.
#[tokio::test]
async fn what_is_kept_in_memory_is_sent_without_a_read_of_the_stores() {
    let (server, speed, mut worker) = kept_ready().await;
    let mut socket = server.connect("?interval=50ms&output=none&alert=none").await;
    assert_eq!(keys(&socket.expect("metrics:initial").await["views"]["trades"]), ["A"]);
    let sweeps = speed.views.sweeps.load(Ordering::SeqCst);
    for n in 2..12 {
        worker.take(&Event::new(65 + n, "B", 1, 1.0, n));
        speed.flush(&worker.change());
        let window = socket.expect("metrics:update").await["views"]["trades"].take();
        assert_eq!((keys(&window), &window["rows"][0]["n"]), (vec!["B"], &json!(n - 1)));
    }
    assert_eq!(speed.views.sweeps.load(Ordering::SeqCst), sweeps, "panes were read from the store");
}

/// Server-sent events of a view, as they come.
struct Events {
    stream: TcpStream,
    text: String,
}

impl Events {
    async fn of(server: &Server, query: &str) -> Self {
        let mut stream = TcpStream::connect(&server.address).await.unwrap();
        let head = format!("GET /v1/views/trades/live{query} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        Self { stream, text: String::new() }
    }

    /// The next event and its data; `None` when there is none for so long.
    async fn within(&mut self, wait: Duration) -> Option<(String, Json)> {
        let mut buffer = vec![0; 65_536];
        let until = tokio::time::Instant::now() + wait;
        loop {
            // Each is a chunk of its own: nothing stands between its two lines.
            if let Some(at) = self.text.find("event: ")
                && let Some((event, rest)) = self.text[at + 7..].split_once("\ndata: ")
                && let Some((data, rest)) = rest.split_once("\n\n")
            {
                let found = (event.to_owned(), serde_json::from_str(data).unwrap());
                let rest = rest.to_owned();
                self.text = rest;
                return Some(found);
            }
            let read = tokio::time::timeout_at(until, self.stream.read(&mut buffer)).await.ok()?.unwrap();
            assert!(read > 0, "the stream has ended: {}", self.text);
            self.text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
    }

    async fn expect(&mut self, event: &str) -> Json {
        let (found, data) = self.within(PATIENCE).await.expect("an event in time");
        assert_eq!(found, event, "{data}");
        data
    }
}

/// What is kept in memory trails the progress of the stores: a change that comes last, and after it, is sent too.
#[tokio::test]
async fn a_stream_of_events_sends_a_change_that_trails_the_progress() {
    let (server, speed, mut worker) = kept_ready().await;
    let mut events = Events::of(&server, "?interval=100ms").await;
    assert_eq!(keys(&events.expect("rows").await), ["A"]);
    for n in 2..5 {
        worker.take(&Event::new(65 + n, "B", 1, 1.0, n));
        let change = worker.change();
        speed.views.take(&change);
        // The stream looks several times before the rankings are told, and nothing else ever comes.
        assert!(events.within(Duration::from_millis(400)).await.is_none(), "the rankings have not been told");
        speed.log.add(Speed::TOPIC, &change.encode());
        let rows = events.expect("rows").await;
        let row = rows["rows"].as_array().unwrap().iter().find(|row| row["key"]["symbol"] == "B").unwrap();
        assert_eq!((&row["n"], &rows["provenance"]["kept"]), (&json!(n - 1), &json!(true)));
    }
}

#[tokio::test]
async fn a_stream_of_events_tells_ranks_and_a_problem_once() {
    let world = world();
    let server = Server::start(world.parts()).await;
    let mut events = Events::of(&server, "?interval=100ms&by=total").await;
    let ranks = |rows: &Json| -> Vec<u64> {
        rows["rows"].as_array().unwrap().iter().map(|row| row["rank"].as_u64().unwrap()).collect()
    };
    let rows = events.expect("rows").await;
    assert_eq!((keys(&rows), ranks(&rows)), (vec!["B", "A"], vec![1, 2]));
    // The last of them changes and stays there: its rank is that among all.
    let mut now = ten();
    now.push(Event::new(9 * 60 + 30, "A", 1, 1.0, 99));
    holds(&world, &now, 14);
    let rows = events.expect("rows").await;
    assert_eq!((keys(&rows), ranks(&rows)), (vec!["A"], vec![2]));
    // It overtakes the other, which has not changed but for its rank.
    now.push(Event::new(9 * 60 + 31, "A", 1, 100.0, 100));
    holds(&world, &now, 15);
    let rows = events.expect("rows").await;
    assert_eq!((keys(&rows), ranks(&rows)), (vec!["A", "B"], vec![1, 2]));

    // What cannot be had is told once, and then that it is over, though no row has changed.
    world.views.faults.down.store(true, Ordering::SeqCst);
    world.analytics.faults.down.store(true, Ordering::SeqCst);
    let problem = loop {
        match events.within(PATIENCE).await.unwrap() {
            (event, data) if event == "problem" => break data,
            // One layer may be known to be down before the other.
            (event, _) => assert_eq!(event, "rows"),
        }
    };
    assert_eq!((&problem["status"], &problem["view"]), (&json!(503), &json!("trades")));
    assert!(events.within(Duration::from_millis(500)).await.is_none(), "it was told already");
    world.views.faults.down.store(false, Ordering::SeqCst);
    world.analytics.faults.down.store(false, Ordering::SeqCst);
    let rows = events.expect("rows").await;
    assert!(!ranks(&rows).is_empty());
}
