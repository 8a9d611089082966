//! What people who query `ClickHouse` see of the pipeline `movie-viewing`: what speed knows, then what batch has published and
//! speed after it. Every answer must be that of the golden folder.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use support::{caught_up, root, until};
use tideline::config::{AnalyticsKind, Config};
use tideline::golden::case::Case;
use tideline::platform::{Platform, Stores};
use tideline_common::ports::Clock;
use tideline_common::time::Timestamp;
use tideline_stores::clock::SystemClock;

/// The views of the pipeline, with the columns of their answers.
const VIEWS: [(&str, &str, &[&str]); 4] = [
    ("stream_movie_views", "movie_id", &["views"]),
    ("stream_user_activity", "user_id", &["events"]),
    ("stream_event_distribution", "event_type", &["events"]),
    ("stream_ratings", "movie_id", &["ratings", "avg_rating"]),
];

/// The answer to a query, without a database unless the query names one.
async fn ask(url: &str, database: &str, sql: String) -> String {
    let url = format!("{}/?database={database}", url.trim_end_matches('/'));
    let answer = reqwest::Client::new().post(url).body(sql.clone()).send().await.unwrap();
    let is_success = answer.status().is_success();
    let text = answer.text().await.unwrap();
    assert!(is_success, "{sql}: {text}");
    text
}

/// (key, start of the window) → values, as `ClickHouse` answers.
async fn answers(config: &Config, (view, key, columns): (&str, &str, &[&str])) -> BTreeMap<(String, i64), Vec<f64>> {
    let values: Vec<String> = columns.iter().map(|column| format!("toFloat64({column})")).collect();
    let sql = format!("SELECT {key}, toUnixTimestamp(window_start), {} FROM {view}", values.join(", "));
    let text = ask(&config.analytics.url, &config.analytics.database, sql).await;
    let mut rows = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.split('\t');
        let group = (fields.next().unwrap().to_owned(), fields.next().unwrap().parse().unwrap());
        let values = fields.map(|value| value.parse().unwrap()).collect();
        assert!(rows.insert(group, values).is_none(), "{view}: a group twice: {line}");
    }
    rows
}

/// The same of the golden folder.
fn expected(case: &Case, (view, key, columns): (&str, &str, &[&str])) -> BTreeMap<(String, i64), Vec<f64>> {
    let row = |row: &serde_json::Value| {
        let start = Timestamp::parse(row["window_start"].as_str().unwrap()).unwrap();
        let values = columns.iter().map(|column| row[*column].as_f64().unwrap()).collect();
        ((row["key"][key].as_str().unwrap().to_owned(), start.0 / 1_000_000), values)
    };
    case.views[view].iter().map(row).collect()
}

async fn all_equal(config: &Config, case: &Case) -> bool {
    for view in VIEWS {
        if answers(config, view).await != expected(case, view) {
            return false;
        }
    }
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn people_see_batch_and_after_it_speed() {
    let Some(url) = std::env::var("TIDELINE_TEST_CLICKHOUSE").ok().filter(|url| !url.is_empty()) else {
        eprintln!("SKIPPED people_see_batch_and_after_it_speed: TIDELINE_TEST_CLICKHOUSE is not set");
        return;
    };
    let case = Case::read(&root("tests/golden/movie-viewing")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut config = support::config();
    config.analytics.kind = AnalyticsKind::Clickhouse;
    config.analytics.url = url;
    config.analytics.database = format!("streams_{}", SystemClock.now().0);
    let open = || async {
        let stores = Stores::open(folder.path(), &config).await.unwrap();
        Platform::start(Arc::new(case.plan.clone()), stores, &config).await.unwrap()
    };
    let append = |platform: &Platform, part: std::ops::Range<usize>| {
        let appender = Arc::clone(&platform.appender);
        let of = |(topic, records): (&String, &Vec<Bytes>)| {
            let range = part.start * records.len() / 3..part.end * records.len() / 3;
            (topic.clone(), records[range].to_vec())
        };
        let parts: Vec<(String, Vec<Bytes>)> = case.input.iter().map(of).collect();
        async move {
            for (topic, records) in parts {
                appender.append(&topic, records).await.unwrap();
            }
        }
    };
    let platform = open().await;
    append(&platform, 0..1).await;
    caught_up(&platform).await;
    // The first part, as soon as the tables are there: from speed alone.
    until("speed is seen before batch has run", || async {
        let sql = format!(
            "SELECT count() FROM system.tables WHERE database = '{}' AND name = 'stream_movie_views'",
            config.analytics.database
        );
        ask(&config.analytics.url, "default", sql).await.trim() == "1" && !answers(&config, VIEWS[0]).await.is_empty()
    })
    .await;
    append(&platform, 1..2).await;
    caught_up(&platform).await;
    // A version in between: batch up to its boundary.
    assert!(platform.batch.run().await.unwrap().is_clean());
    platform.stop().await;

    // Another process goes on where the first has stopped.
    let platform = open().await;
    append(&platform, 2..3).await;
    caught_up(&platform).await;
    until("people see all of speed after batch", || all_equal(&config, &case)).await;
    let report = platform.batch.run().await.unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert!(report.through.values().all(Option::is_some), "{report:?}");
    for view in VIEWS {
        assert_eq!(answers(&config, view).await, expected(&case, view), "{}", view.0);
    }
    platform.stop().await;
    ask(&config.analytics.url, "default", format!("DROP DATABASE {}", config.analytics.database)).await;
}
