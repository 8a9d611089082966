//! Connectors in a platform: what an API tells is answered by the views, and an API that fails is nobody else's trouble.

#![allow(clippy::unwrap_used)]

mod support;

use axum::Json as Body;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use serde_json::{Value as Json, json};
use support::world::{World, case};
use support::{caught_up, config, get, in_log, root, routes, until};
use tideline::config::Config;
use tideline::connectors::Connectors;
use tideline::controls::Status;
use tideline::golden::case::Case;
use tideline::platform::Platform;
use tideline_common::time::Span;
use tideline_serving::api::ports::StatusSource;
use tokio_util::sync::CancellationToken;

/// Bars of a minute from 13:50 on, 2024-05-06.
async fn chart(
    Path(symbol): Path<String>,
    Query(asked): Query<std::collections::BTreeMap<String, String>>,
) -> (StatusCode, Body<Json>) {
    let number = |name: &str| asked[name].parse::<i64>().unwrap();
    let first = 1_715_003_400;
    let bars: Vec<i64> = (0..60).map(|minute| first + minute * 60).collect();
    let bars: Vec<i64> = bars.into_iter().filter(|at| (number("period1")..=number("period2")).contains(at)).collect();
    let quote = json!({
        "open": vec![100.0; bars.len()], "close": vec![101.0; bars.len()], "volume": vec![7; bars.len()],
    });
    let result = json!({ "meta": { "symbol": symbol }, "timestamp": bars, "indicators": { "quote": [quote] } });
    (StatusCode::OK, Body(json!({ "chart": { "result": [result], "error": null } })))
}

/// An API that tells prices, and one that always fails; its address.
async fn server() -> String {
    let router = axum::Router::new()
        .route("/v8/finance/chart/{symbol}", axum::routing::get(chart))
        .fallback(|| async { StatusCode::INTERNAL_SERVER_ERROR });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

fn configured(server: &str, topic: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tideline.toml");
    let text = format!(
        "[connectors.prices]\nkind = \"stocks\"\ntopic = \"{topic}\"\nbase = \"{server}\"\nsymbols = [\"TSLA\"]\n\
         every = \"30s\"\nskip_existing = false\n\
         [connectors.posts]\nkind = \"twitter\"\ntopic = \"tweets\"\nbase = \"{server}\"\ntoken = \"t\"\nquery = \"$TSLA\"\n\
         skip_existing = false\nretry_initial = \"1ms\"\nretry_max = \"2ms\"\n\
         [connectors.resting]\nkind = \"tmdb\"\ntopic = \"nobody reads it\"\napi_key = \"k\"\nenabled = false\n"
    );
    std::fs::write(&file, text).unwrap();
    let connectors = Config::load(Some(&file), std::iter::empty()).unwrap().connectors;
    Config { connectors, ..config() }
}

fn connectors(platform: &Platform, config: &Config) -> Connectors {
    Connectors::start(config, &platform.plan, &platform.stores, &platform.appender, &CancellationToken::new()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_api_tells_is_answered_and_one_that_fails_is_alone() {
    let (world, case) = (World::new(), case(1));
    let config = configured(&server().await, "stock-prices");
    let platform = world.start(&case, &config).await;
    let running = connectors(&platform, &config);
    // 13:50 to 13:59: at 14:00 ten bars are over.
    until("the prices are in the log", || async { in_log(&platform, "stock-prices").await == 10 }).await;
    let status = Status::new(&platform.plan, &platform.stores).with_connectors(&running);
    let of = |status: &Json, name: &str| {
        status["connectors"].as_array().unwrap().iter().find(|one| one["name"] == name).cloned().unwrap_or_default()
    };
    until("the other has failed", || async { of(&status.status().await, "posts")["state"] == "failing" }).await;
    until("the cursor is noted", || async { of(&status.status().await, "prices")["state"] == "running" }).await;
    let told = status.status().await;
    assert_eq!(of(&told, "prices")["records"], 10);
    assert!(of(&told, "posts")["error"].as_str().unwrap().contains("500"), "{told}");
    assert_eq!(of(&told, "resting"), Json::Null);
    caught_up(&platform).await;
    let rows = get(&routes(&platform, &config), "/v1/lookups/market_data?key=TSLA&limit=100").await.json();
    assert_eq!(rows["rows"].as_array().unwrap().len(), 10, "{rows}");
    assert_eq!(rows["rows"][0]["close_price"], 101.0, "{rows}");
    running.stop().await;
    assert_eq!(of(&status.status().await, "prices")["state"], "stopped");

    // Another process goes on after the last bar: five minutes later there are five more.
    let running = connectors(&platform, &config);
    world.clock.advance(Span::from_secs(300));
    until("the next prices are in the log", || async { in_log(&platform, "stock-prices").await >= 15 }).await;
    running.stop().await;
    assert_eq!(in_log(&platform, "stock-prices").await, 15);
    platform.stop().await;
}

#[test]
fn a_topic_that_nobody_reads_is_a_mistake() {
    let case = case(1);
    let config = configured("http://127.0.0.1:1", "stok-prices");
    let error = Connectors::check(&config, &case.plan).unwrap_err().to_string();
    assert!(error.contains("connectors.prices.topic = \"stok-prices\"") && error.contains("stock-prices"), "{error}");
    let config = Config { connectors: configured("http://127.0.0.1:1", "stock-prices").connectors, ..config };
    Connectors::check(&config, &case.plan).unwrap();
}

#[test]
fn comments_whose_mentions_are_read_need_titles() {
    let case = Case::read(&root("tests/golden/trendscope")).unwrap();
    let check = |topic: &str, more: &str| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tideline.toml");
        let text = format!(
            "[connectors.comments]\nkind = \"reddit\"\ntopic = \"{topic}\"\nsubreddit = \"movies\"\nclient_id = \"a\"\n\
             client_secret = \"b\"\nuser_agent = \"test\"\n{more}"
        );
        std::fs::write(&file, text).unwrap();
        let connectors = Config::load(Some(&file), std::iter::empty()).unwrap().connectors;
        Connectors::check(&Config { connectors, ..config() }, &case.plan).map_err(|error| error.to_string())
    };
    let error = check("reddit_stream", "").unwrap_err();
    assert!(
        error.starts_with("connectors.comments.titles_topic: source `reddit` has a column `movie_mentions`"),
        "{error}"
    );
    check("reddit_stream", "titles_topic = \"tmdb_stream\"").unwrap();
    // It may rest, and a source that reads no mentions needs none.
    check("reddit_stream", "enabled = false").unwrap();
    check("tmdb_stream", "").unwrap();
}
