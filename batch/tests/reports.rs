//! The reports of the two pipelines that come with the platform, against results worked out by hand.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::sync::Arc;

use polars::prelude::{AnyValue, DataFrame};
use support::{Lake, SHOP, START, order, record};
use tideline_batch::ReportOutcome;
use tideline_common::plan::Plan;
use tideline_common::record::Record;

fn pipeline(name: &str) -> Arc<Plan> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schema/pipelines").join(name);
    support::plan(&std::fs::read_to_string(path).unwrap())
}

async fn report(lake: &Lake, name: &str) -> DataFrame {
    let manifest = lake.current().await;
    let report = manifest.reports.get(name).unwrap_or_else(|| panic!("no report {name}"));
    let frame = lake.folder.frame(&report.files[0].path).await;
    assert_eq!(frame.height() as u64, report.rows);
    let names: Vec<&str> = report.columns.iter().map(|field| field.name.as_str()).collect();
    let columns: Vec<&str> = frame.columns().iter().map(|column| column.name().as_str()).collect();
    assert_eq!(columns, names);
    frame
}

fn text(frame: &DataFrame, column: &str) -> Vec<String> {
    let column = frame.column(column).unwrap();
    (0..frame.height())
        .map(|row| match column.get(row).unwrap() {
            AnyValue::String(text) => text.to_owned(),
            other => other.to_string(),
        })
        .collect()
}

fn numbers(frame: &DataFrame, column: &str) -> Vec<Option<f64>> {
    let column = frame.column(column).unwrap();
    (0..frame.height()).map(|row| column.get(row).unwrap().extract::<f64>()).collect()
}

fn assert_close(actual: &[Option<f64>], expected: &[Option<f64>]) {
    let same = actual.len() == expected.len()
        && actual.iter().zip(expected).all(|pair| match pair {
            (Some(a), Some(b)) => (a - b).abs() < 1e-9,
            (a, b) => a == b,
        });
    assert!(same, "{actual:?} is not {expected:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn movie_viewing() {
    let (lake, plan) = (Lake::new(), pipeline("movie-viewing.toml"));
    // (user, movie, type, time, duration, rating)
    let events = [
        ("u1", "m1", "view", "2024-01-01T00:00:01Z", Some(100.0), None),
        ("u1", "m2", "view", "2024-01-01T00:00:02Z", Some(50.0), None),
        ("u2", "m1", "view", "2024-01-01T00:00:12Z", None, None),
        ("u2", "m1", "complete", "2024-01-01T01:00:00Z", Some(30.0), None),
        ("u1", "m1", "rating", "2024-01-01T01:00:05Z", None, Some(5.0)),
        ("u2", "m1", "rating", "2024-01-01T01:00:06Z", None, Some(2.0)),
        ("u1", "m1", "view", "2024-01-01T01:30:00Z", Some(60.0), None),
    ];
    let mut records: Vec<Record> = Vec::new();
    for (n, (user, movie, kind, time, duration, rating)) in events.iter().enumerate() {
        let json = serde_json::json!({"event_id": format!("e{n}"), "user_id": user, "movie_id": movie, "event_type": kind,
            "timestamp": time, "duration": duration, "rating": rating});
        records.push(Record {
            appended: tideline_common::time::Timestamp(START + 7_200_000_000),
            ..record(n as u64, json.to_string())
        });
    }
    // The same event again.
    records.push(Record { offset: 7, ..records[0].clone() });
    lake.bronze("viewing", 0, 0, &records).await;
    let run = lake.layer(&plan).run().await.unwrap();
    assert!(run.is_clean(), "{run:?}");
    assert_eq!(run.silver.duplicates, 1);

    let users = report(&lake, "batch_user_stats").await;
    assert_eq!(text(&users, "user_id"), ["u1", "u2"]);
    assert_close(&numbers(&users, "total_events"), &[Some(4.0), Some(3.0)]);
    assert_close(&numbers(&users, "movies_watched"), &[Some(2.0), Some(1.0)]);
    assert_close(&numbers(&users, "avg_duration"), &[Some(70.0), Some(30.0)]);

    let movies = report(&lake, "batch_popular_movies").await;
    assert_eq!(text(&movies, "movie_id"), ["m1", "m2"]);
    assert_close(&numbers(&movies, "rank"), &[Some(1.0), Some(2.0)]);
    assert_close(&numbers(&movies, "views"), &[Some(3.0), Some(1.0)]);
    assert_close(&numbers(&movies, "viewers"), &[Some(2.0), Some(1.0)]);

    let ratings = report(&lake, "batch_ratings_stats").await;
    assert_close(&numbers(&ratings, "avg_rating"), &[Some(3.5)]);
    assert_close(&numbers(&ratings, "rating_5"), &[Some(1.0)]);
    assert_close(&numbers(&ratings, "rating_2"), &[Some(1.0)]);
    assert_close(&numbers(&ratings, "rating_3"), &[Some(0.0)]);

    let hours = report(&lake, "batch_hourly_stats").await;
    assert_close(&numbers(&hours, "events"), &[Some(3.0), Some(4.0)]);
    assert_close(&numbers(&hours, "active_users"), &[Some(2.0), Some(2.0)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_sentiment_moving_average() {
    let (lake, plan) = (Lake::new(), pipeline("stock-sentiment.toml"));
    let tweets: Vec<Record> = (0..12)
        .map(|n| {
            let words = ["great", "terrible", "fine"][n as usize % 3];
            let json = serde_json::json!({"created_at": format!("2024-01-01 00:{n:02}:00"), "text": format!("$TSLA is {words} today"), "user_id": "u"});
            Record { appended: tideline_common::time::Timestamp(START + 3_600_000_000), ..record(n, json.to_string()) }
        })
        .collect();
    lake.bronze("tweets", 0, 0, &tweets).await;
    let run = lake.layer(&plan).run().await.unwrap();
    assert!(run.is_clean(), "{run:?}");
    let trend = report(&lake, "batch_trend_analysis").await;
    let scores: Vec<f64> = numbers(&trend, "sentiment_score").into_iter().flatten().collect();
    assert_eq!((scores.len(), text(&trend, "topic")[0].as_str()), (12, "TSLA"));
    assert!(scores[0] > 0.5 && scores[1] < -0.3 && (scores[0] - scores[3]).abs() < 1e-12);
    // The mean of the last ten scores, of fewer at the start, in the order of time.
    let expected: Vec<Option<f64>> = (0..12_usize)
        .map(|row| {
            let frame = &scores[row.saturating_sub(9)..=row];
            Some(frame.iter().sum::<f64>() / frame.len() as f64)
        })
        .collect();
    assert_close(&numbers(&trend, "moving_avg_10"), &expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_gives_the_answers_of_its_declared_window() {
    let (lake, plan) = (Lake::new(), support::plan(SHOP));
    // Two orders in minute 2, one in minute 4, one a day later, across two Gold files.
    let day = 86_400;
    let records = [
        order(0, "a", 120, "tea", 1.0),
        order(1, "b", 130, "tea", 2.0),
        order(2, "c", 250, "tea", 4.0),
        order(3, "d", day - 60, "tea", 8.0),
        order(4, "e", day + 60, "tea", 16.0),
    ];
    lake.bronze("orders", 0, 0, &records).await;
    lake.layer(&plan).run().await.unwrap();
    let frame = report(&lake, "busiest").await;
    let starts: Vec<i64> = frame
        .column("window_start")
        .unwrap()
        .as_materialized_series()
        .datetime()
        .unwrap()
        .physical()
        .iter()
        .map(|start| (start.unwrap() - START) / 60_000_000)
        .collect();
    // Windows of 5 minutes every minute with more than one order: those that hold minute 2 (3 orders when minute
    // 4 too), and those that hold both sides of midnight.
    assert_eq!(starts, [-2, -1, 0, 1, 2, 1437, 1438, 1439]);
    let orders: Vec<f64> = numbers(&frame, "orders").into_iter().flatten().collect();
    assert_eq!(orders, [2.0, 2.0, 3.0, 3.0, 3.0, 2.0, 2.0, 2.0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_report_keeps_its_last_result_and_is_tried_again() {
    let lake = Lake::new();
    let good = support::plan(SHOP);
    lake.bronze("orders", 0, 0, &[order(0, "a", 10, "tea", 1.0)]).await;
    lake.layer(&good).run().await.unwrap();
    let before = lake.current().await;
    // The same report, broken behind the compiler's back.
    let mut broken = (*good).clone();
    let totals = broken.reports.iter_mut().find(|report| report.name == "totals").unwrap();
    totals.version = "0000000000000000".into();
    totals.steps = vec![tideline_common::plan::Step::Sql { sql: "SELECT nothing_like_it FROM sales".into() }];
    lake.bronze("orders", 0, 1, &[order(1, "b", 20, "tea", 2.0)]).await;
    let broken = lake.layer(&Arc::new(broken));
    for _ in 0..2 {
        let run = broken.run().await.unwrap();
        assert!(
            matches!(&run.reports["totals"], ReportOutcome::Failed { error } if error.contains("nothing_like_it")),
            "{run:?}"
        );
        let after = lake.current().await;
        assert_eq!((after.version, &after.reports["totals"]), (2, &before.reports["totals"]));
        assert_eq!(after.sources["orders"].records, 2);
    }
    let run = lake.layer(&good).run().await.unwrap();
    assert_eq!(run.reports["totals"], ReportOutcome::Computed { rows: 1 });
}
