//! Bad input, over HTTP and into a whole platform: each with a clear error, and nothing lost.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Method;
use bytes::Bytes;
use serde_json::{Value as Json, json};
use support::{caught_up, config, get, in_log, post, root, send};
use tempfile::TempDir;
use tideline::catalog;
use tideline::platform::{Platform, Stores};
use tideline_speed::dead_letter;

struct World {
    platform: Platform,
    router: Router,
    _folder: TempDir,
}

/// Both systems, embedded, in a folder of their own.
async fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let plan = catalog::load(&catalog::files(&root(catalog::DEFAULT_FOLDER)).unwrap()).unwrap();
    let config = config();
    let stores = Stores::open(folder.path(), &config).await.unwrap();
    let platform = Platform::start(Arc::new(plan), stores, &config).await.unwrap();
    let router = support::routes(&platform, &config);
    World { platform, router, _folder: folder }
}

fn tweet(second: u32, text: &str) -> Bytes {
    json!({"created_at": format!("2024-05-06 13:50:{second:02}"), "text": text, "user_id": second.to_string()})
        .to_string()
        .into()
}

/// Tweets that cannot be read, each with the kind of its reason and a part of the reason.
fn bad_tweets() -> Vec<(Bytes, &'static str, &'static str)> {
    let text = |text: &'static str| Bytes::from_static(text.as_bytes());
    let deep: String = "[".repeat(400_000);
    let deep_inside = format!(r#"{{"created_at":"2024-05-06 13:50:00","text":"$TSLA","x":{}"#, "[".repeat(400_000));
    vec![
        (text(r#"{"created_at":"2024-05-06 13:50:00","text":"$TSLA""#), "json", "byte 50"),
        (text(r#"{"created_at":"2024-05-06 13:50:00" "text":"$TSLA"}"#), "json", "byte 36"),
        (text(r#"{"created_at":"2024-05-06 13:50:00","text":"$TSLA"} {}"#), "json", "byte"),
        (text("{'created_at': 1}"), "json", "byte 1"),
        (text("created_at,text,user_id"), "json", "byte 0"),
        (text("   "), "json", "byte"),
        (text("\u{feff}{}"), "json", "byte 0"),
        (text("\u{0}\u{1}\u{2}"), "json", "byte 0"),
        (text(r#"{"created_at":"2024-05-06 13:50:00","text":"\ud83d $TSLA"}"#), "json", "byte"),
        (Bytes::from(deep), "json", "byte"),
        (Bytes::from(deep_inside), "json", "byte"),
        (text("[1, 2, 3]"), "not_object", "object"),
        (text("null"), "not_object", "object"),
        (text("\"$TSLA\""), "not_object", "object"),
        (text("{}"), "missing_time", "`created_at`"),
        (text(r#"{"text":"$TSLA","user_id":"1"}"#), "missing_time", "`created_at`"),
        (text(r#"{"created_at":null,"text":"$TSLA","user_id":"1"}"#), "missing_time", "`created_at`"),
        (text(r#"{"created_at":"yesterday","text":"$TSLA"}"#), "bad_time", "`yesterday`"),
        (text(r#"{"created_at":"2024-02-30 00:00:00","text":"$TSLA"}"#), "bad_time", "`2024-02-30 00:00:00`"),
        (text(r#"{"created_at":"","text":"$TSLA"}"#), "bad_time", "created_at"),
        (text(r#"{"created_at":"9000-01-01 00:00:00","text":"$TSLA"}"#), "ahead_of_time", "9000-01-01"),
        (text(r#"{"created_at":"2024-05-06 13:50:00","text":42}"#), "type", "`text`"),
        (text(r#"{"created_at":1714993200,"text":"$TSLA"}"#), "bad_time", "`1714993200`"),
        (text(r#"{"created_at":"2024-05-06 13:50:00","text":{"a":1}}"#), "type", "`text`"),
        (text(r#"{"created_at":"2024-05-06 13:50:00","text":"","user_id":"1"}"#), "check", "`text`"),
        (text(r#"{"created_at":"2024-05-06 13:50:00","user_id":"1"}"#), "check", "`text`"),
        (Bytes::from_static(b"\xff\xfe\x00\x80\xc3\x28"), "utf8", "byte 0"),
        (Bytes::from_static(b"{\"created_at\":\"2024-05-06 13:50:00\",\"text\":\"$TSLA \xe2\x82\"}"), "utf8", "byte"),
    ]
}

fn bad_prices() -> Vec<(Bytes, &'static str, &'static str)> {
    let price = |fields: &str| Bytes::from(format!(r#"{{"trade_timestamp":"2024-05-06 13:50:00",{fields}}}"#));
    vec![
        (price(r#""open_price":1.0"#), "missing", "`symbol`"),
        (price(r#""symbol":null,"open_price":1.0"#), "missing", "`symbol`"),
        (price(r#""symbol":"","open_price":1.0"#), "check", "`symbol`"),
        (price(r#""symbol":"TSLA","close_price":-0.01"#), "check", "`close_price`"),
        (price(r#""symbol":"TSLA","close_price":"1.5 USD""#), "type", "`close_price`"),
        (price(r#""symbol":"TSLA","volume":"many""#), "type", "`volume`"),
        (price(r#""symbol":"TSLA","volume":true"#), "type", "`volume`"),
        (price(r#""symbol":"TSLA","volume":9223372036854775808"#), "range", "`volume`"),
        (price(r#""symbol":"TSLA","close_price":1e999"#), "range", "`close_price`"),
        (price(r#""symbol":["TSLA"]"#), "type", "`symbol`"),
        (price(r#""symbol":"TSLA","close_price":NaN"#), "json", "byte"),
    ]
}

/// Bad and good ones in turn.
fn mixed(bad: &[(Bytes, &str, &str)], mut good: impl FnMut(u32) -> Bytes) -> Vec<Bytes> {
    bad.iter().zip(0..).flat_map(|((bad, ..), at)| [good(at), bad.clone()]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_cannot_be_read_become_dead_letters_and_the_others_count() {
    let world = world().await;
    let (tweets, prices) = (bad_tweets(), bad_prices());
    let good_price = |at: u32| {
        let at_time = format!("2024-05-06 13:50:{at:02}");
        Bytes::from(
            json!({"symbol": "TSLA", "trade_timestamp": at_time, "open_price": 2.0, "close_price": 3.0, "volume": 5})
                .to_string(),
        )
    };
    let sent = [
        ("tweets", "tweets", mixed(&tweets, |at| tweet(at, "$TSLA is fine")), tweets),
        ("stock-prices", "stock_prices", mixed(&prices, good_price), prices),
    ];
    for (topic, _, records, _) in &sent {
        let answer = post(&world.router, topic, records).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["accepted"], records.len(), "{topic}");
    }
    caught_up(&world.platform).await;

    let objects = world.platform.stores.objects.as_ref();
    for (_, source, records, bad) in &sent {
        // Bronze has every record, byte for byte, once.
        let bronze = support::bronze(objects, source).await;
        assert_eq!(support::payloads(objects, source).await, support::sorted(records), "{source}");
        // One dead letter per bad record, at the place of the record, and none for any other.
        let letters = dead_letter::list(objects, Some(source), 10_000).await.unwrap();
        let mut by_raw: BTreeMap<&[u8], Vec<_>> = BTreeMap::new();
        for letter in &letters {
            by_raw.entry(&letter.raw).or_default().push(letter);
            let record = &bronze[&(letter.shard.partition, letter.offset)];
            assert_eq!((&record.payload, record.appended), (&letter.raw, letter.appended), "{letter:?}");
            assert_eq!(letter.shard.source, *source);
        }
        assert_eq!(letters.len(), bad.len(), "{source}");
        let mut wrong = Vec::new();
        for (raw, kind, part) in bad {
            let shown = String::from_utf8_lossy(&raw[..raw.len().min(80)]);
            let found = by_raw.get(&raw[..]).unwrap_or_else(|| panic!("no dead letter for {shown}"));
            assert_eq!(found.len(), 1, "{shown}");
            let reason = &found[0].reason;
            if found[0].kind != *kind || !reason.contains(part) || reason.len() > 500 {
                wrong.push(format!("{shown}: {} instead of {kind}: {reason}", found[0].kind));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        let status = world.platform.speed.status();
        let of = status.iter().filter(|status| status.shard.source == *source);
        let counts = of.fold((0, 0), |sum, status| (sum.0 + status.records, sum.1 + status.rejected));
        assert_eq!(counts, (records.len() as u64, bad.len() as u64), "{source}");
    }

    // The healthy half counts, in both layers alike.
    world.platform.batch.run().await.unwrap();
    for layer in ["speed", "batch", "merged"] {
        let uri = format!("/v1/views/symbol_sentiment/rows?window=1h&layer={layer}");
        let rows = get(&world.router, &uri).await.json();
        let row = &rows["rows"][0];
        assert_eq!(rows["rows"].as_array().map(Vec::len), Some(1), "{layer}: {rows}");
        assert_eq!(row["key"]["symbol"], "TSLA", "{layer}");
        assert_eq!(row["mentions"], bad_tweets().len(), "{layer}");
        assert_eq!(row["volume"], 5 * bad_prices().len(), "{layer}");
        assert_eq!(row["price_change"], 0.5, "{layer}");
    }
    assert_eq!(get(&world.router, "/readyz").await.status, 200);
    world.platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_five_megabytes_refuses_its_request_whole() {
    let world = world().await;
    let large = tweet(3, &"x".repeat(5 << 20));
    let records = [tweet(1, "$TSLA"), tweet(2, "$TSLA"), large, tweet(4, "$TSLA")];
    let problem = post(&world.router, "tweets", &records).await.problem(413, "record-too-large");
    assert_eq!(problem["line"], 3, "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("line 3") && detail.contains("1048576") && detail.contains("nothing was appended"),
        "{detail}"
    );
    assert_eq!(in_log(&world.platform, "tweets").await, 0);
    // A body beyond its bound is refused too.
    let body: Vec<Bytes> = (0..66).map(|_| Bytes::from(vec![b'x'; 1 << 20])).collect();
    let problem = post(&world.router, "tweets", &body).await.problem(413, "body-too-large");
    assert!(problem["detail"].as_str().unwrap().contains("67108864"), "{problem}");
    assert_eq!(in_log(&world.platform, "tweets").await, 0);
    // What was right about it can be sent again; the largest record that is allowed is taken.
    let most = Bytes::from(vec![b'x'; 1 << 20]);
    let again = [records[0].clone(), records[1].clone(), most, records[3].clone()];
    assert_eq!(post(&world.router, "tweets", &again).await.json()["accepted"], 4);
    caught_up(&world.platform).await;
    assert_eq!(support::payloads(world.platform.stores.objects.as_ref(), "tweets").await, support::sorted(&again));
    let rows = get(&world.router, "/v1/views/symbol_sentiment/rows?window=1h").await.json();
    assert_eq!(rows["rows"][0]["mentions"], 3, "{rows}");
    world.platform.stop().await;
}

/// What `known` must hold, or the text that `detail` must.
fn says(problem: &Json, uri: &str, parts: &[&str]) {
    let detail = problem["detail"].as_str().unwrap();
    for part in parts {
        let known = problem["known"].as_array().is_some_and(|known| known.iter().any(|name| name == part));
        assert!(known || detail.contains(part), "{uri}: nothing of `{part}` in {problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_that_make_no_sense_are_problems_that_say_what_would() {
    let world = world().await;
    let router = &world.router;
    // With data: an empty platform might answer before it looks.
    assert_eq!(post(router, "tweets", &[tweet(1, "$TSLA up"), tweet(2, "$AAPL up")]).await.status, 200);
    caught_up(&world.platform).await;

    let unknown: &[(&str, &str, &[&str])] = &[
        ("/v1/views/symbol_sentimet/rows", "unknown-view", &["symbol_sentiment", "stream_movie_views"]),
        ("/v1/views/nope", "unknown-view", &["symbol_sentiment"]),
        ("/v1/views/nope/top", "unknown-view", &["symbol_sentiment"]),
        ("/v1/views/nope/live", "unknown-view", &["symbol_sentiment"]),
        ("/v1/views/%00%C3%A9/rows", "unknown-view", &["symbol_sentiment"]),
        ("/v1/lookups/nope?key=TSLA", "unknown-lookup", &["tweets", "market_data"]),
        ("/v1/reports/nope", "unknown-report", &["batch_trend_analysis", "batch_popular_movies"]),
        ("/v1/batch/runs/nope", "unknown-run", &["nope"]),
        ("/v1/reports/batch_trend_analysis", "not-published", &["batch_trend_analysis", "next batch run"]),
        ("/v1/nothing", "unknown-path", &[]),
        ("/v2/views", "unknown-path", &[]),
        ("/nothing", "unknown-path", &[]),
    ];
    for (uri, kind, parts) in unknown {
        says(&get(router, uri).await.problem(404, kind), uri, parts);
    }
    get(router, "/v1/views/%ff/rows").await.problem(400, "request-refused");
    let topic = send(router, Method::POST, "/v1/topics/tweet", "{}\n").await.problem(404, "unknown-topic");
    says(&topic, "tweet", &["tweets", "stock-prices", "movie-viewing-events"]);
    assert_eq!(topic["suggestion"], "tweets");

    for (method, uri) in [
        (Method::GET, "/v1/topics/tweets"),
        (Method::DELETE, "/v1/topics/tweets"),
        (Method::POST, "/v1/views"),
        (Method::PUT, "/v1/views/symbol_sentiment/rows"),
        (Method::DELETE, "/v1/batch/runs"),
        (Method::POST, "/readyz"),
    ] {
        let answer = send(router, method.clone(), uri, Body::empty()).await;
        let problem = answer.problem(405, "method-not-allowed");
        assert!(!answer.header("allow").is_empty(), "{method} {uri}: {problem}");
    }

    // On /rows: query, kind, parameter, and what the detail says.
    let rows: &[(&str, &str, &str, &[&str])] = &[
        ("from=2024-01-02&to=2024-01-01", "invalid-parameter", "to", &["2024-01-02"]),
        ("from=2024-01-01&to=2024-01-01", "invalid-parameter", "to", &["not later than"]),
        ("from=yesterday", "invalid-parameter", "from", &["cannot be read"]),
        ("to=2024-13-01", "invalid-parameter", "to", &["cannot be read"]),
        ("to=2024-02-30T00:00:00Z", "invalid-parameter", "to", &["cannot be read"]),
        ("from=99999-01-01T00:00:00Z", "invalid-parameter", "from", &["from"]),
        ("from=", "invalid-parameter", "from", &["cannot be read"]),
        ("window=0", "invalid-parameter", "window", &["window"]),
        ("window=0s", "invalid-parameter", "window", &["longer than zero"]),
        ("window=-5m", "invalid-parameter", "window", &["window"]),
        ("window=90s", "invalid-parameter", "window", &["pane", "1m", "symbol_sentiment"]),
        ("window=99999999999999d", "invalid-parameter", "window", &["window"]),
        ("slide=10s", "invalid-parameter", "slide", &["pane", "1m"]),
        ("window=5m&slide=10m", "invalid-parameter", "slide", &["10m", "5m"]),
        ("slide=0s", "invalid-parameter", "slide", &["longer than zero"]),
        ("layer=gold", "invalid-parameter", "layer", &["merged, speed, batch"]),
        ("limit=0", "invalid-parameter", "limit", &["1 to 100000"]),
        ("limit=100001", "invalid-parameter", "limit", &["1 to 100000"]),
        ("limit=-1", "invalid-parameter", "limit", &["-1"]),
        ("limit=many", "invalid-parameter", "limit", &["many"]),
        ("limit=99999999999999999999999", "invalid-parameter", "limit", &["limit"]),
        ("cursor=nonsense", "invalid-parameter", "cursor", &["cursor"]),
        ("cursor=%00%ff", "invalid-parameter", "cursor", &["cursor"]),
        ("key=TSLA&key=AAPL", "invalid-parameter", "key", &["twice"]),
        ("key.venue=1", "invalid-parameter", "key.venue", &["venue"]),
        ("format=xml", "invalid-parameter", "format", &["json", "csv"]),
        ("windw=5m", "unknown-parameter", "windw", &["window", "slide", "cursor"]),
    ];
    let mut wrong = Vec::new();
    for (query, kind, parameter, parts) in rows {
        let uri = format!("/v1/views/symbol_sentiment/rows?{query}");
        let answer = get(router, &uri).await;
        let problem = answer.json();
        let text = problem.to_string();
        let said = parts.iter().all(|part| text.contains(part)) && problem["parameter"] == *parameter;
        let slug = format!("urn:tideline:problem:{kind}");
        if answer.status != 400 || problem["type"] != slug || !said {
            wrong.push(format!("{uri}: {text}"));
            continue;
        }
        answer.problem(400, kind);
        assert_eq!(problem["instance"], "/v1/views/symbol_sentiment/rows", "{uri}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // A cursor belongs to its query.
    let page = get(router, "/v1/views/symbol_sentiment/rows?limit=1").await.json();
    let cursor = page["cursor"].as_str().unwrap();
    let other = format!("/v1/views/symbol_sentiment/rows?limit=1&window=1h&cursor={cursor}");
    assert_eq!(get(router, &other).await.problem(400, "invalid-parameter")["parameter"], "cursor");
    let cut = format!("/v1/views/symbol_sentiment/rows?limit=1&cursor={}", &cursor[..cursor.len() - 3]);
    assert_eq!(get(router, &cut).await.problem(400, "invalid-parameter")["parameter"], "cursor");

    for (uri, kind, parameter) in [
        ("/v1/views/symbol_sentiment/top?by=nope", "invalid-parameter", "by"),
        ("/v1/views/symbol_sentiment/top?limit=10001", "invalid-parameter", "limit"),
        ("/v1/views/symbol_sentiment/top?at=never", "invalid-parameter", "at"),
        ("/v1/views/symbol_sentiment/top?window=7s", "invalid-parameter", "window"),
        ("/v1/lookups/tweets", "invalid-parameter", "key"),
        ("/v1/lookups/tweets?key=TSLA&limit=1001", "invalid-parameter", "limit"),
        ("/v1/views?limit=1", "unknown-parameter", "limit"),
        ("/v1/status?verbose=1", "unknown-parameter", "verbose"),
    ] {
        let problem = get(router, uri).await.problem(400, kind);
        assert_eq!(problem["parameter"], parameter, "{uri}: {problem}");
    }
    // After a run, reports are as strict.
    world.platform.batch.run().await.unwrap();
    for (query, parameter) in
        [("nope=1", "nope"), ("limit=0", "limit"), ("cursor=x", "cursor"), ("offset=-1", "offset")]
    {
        let uri = format!("/v1/reports/batch_trend_analysis?{query}");
        assert_eq!(get(router, &uri).await.problem(400, "invalid-parameter")["parameter"], parameter, "{uri}");
    }

    // None of it hurt.
    let rows = get(router, "/v1/views/symbol_sentiment/rows?window=1h").await.json();
    assert_eq!(rows["rows"].as_array().map(Vec::len), Some(2), "{rows}");
    assert_eq!(get(router, "/readyz").await.status, 200);
    world.platform.stop().await;
}
