//! Alerts reach whoever listens, each once.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Map;
use support::store::MemoryLog;
use tideline_common::alert::{self, AlertEvent};
use tideline_common::plan::AlertOn;
use tideline_common::record::NewRecord;
use tideline_serving::alerts::Alerts;
use tokio_util::sync::CancellationToken;

fn record(number: usize) -> NewRecord {
    let event = AlertEvent {
        id: format!("{number}"),
        alert: "crash".to_owned(),
        view: "v".to_owned(),
        on: AlertOn::Closed,
        key: Map::new(),
        window_start: "2024-05-06T00:00:00Z".to_owned(),
        window_end: "2024-05-06T00:05:00Z".to_owned(),
        columns: Map::new(),
        previous: None,
        fired_at: "2024-05-06T00:05:01Z".to_owned(),
    };
    NewRecord { key: Some("crash".into()), headers: Vec::new(), payload: event.to_json().into() }
}

async fn until(alerts: &Alerts, count: usize) -> Vec<String> {
    for _ in 0..2_000 {
        let recent: Vec<String> = alerts.recent().iter().map(|event| event.id.clone()).collect();
        if recent.len() >= count {
            return recent;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never {count}: {:?}", alerts.recent());
}

#[tokio::test]
async fn alerts_are_told_once_and_the_newest_are_kept() {
    let log = Arc::new(MemoryLog::default());
    log.create(alert::TOPIC, 1);
    // What was fired before, one of them twice, and something that is no alert.
    log.add(alert::TOPIC, &[record(1), record(2), record(1)]);
    log.add(alert::TOPIC, &[NewRecord { payload: "{}".into(), ..record(0) }]);
    let alerts = Alerts::start(log.clone(), CancellationToken::new());
    assert_eq!(until(&alerts, 2).await, ["1", "2"]);
    let mut listener = alerts.subscribe();
    log.add(alert::TOPIC, &[record(2), record(3)]);
    assert_eq!(listener.recv().await.unwrap().id, "3");
    // More than is kept: who does not listen is told what it has missed.
    let many: Vec<NewRecord> = (4..400).map(record).collect();
    for part in many.chunks(50) {
        log.add(alert::TOPIC, part);
    }
    for _ in 0..2_000 {
        if alerts.recent().last().is_some_and(|event| event.id == "399") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(alerts.recent().len(), 256);
    assert!(matches!(listener.recv().await, Err(tokio::sync::broadcast::error::RecvError::Lagged(_))));
}

async fn until_ready(alerts: &Alerts) {
    for _ in 0..2_000 {
        if alerts.is_ready() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never ready");
}

/// Who listens before the topic could be read is not told what was fired long ago.
#[tokio::test]
async fn what_was_fired_before_is_remembered_and_told_to_nobody() {
    let log = Arc::new(MemoryLog::default());
    log.create(alert::TOPIC, 1);
    log.add(alert::TOPIC, &(1..600).map(record).collect::<Vec<_>>());
    log.faults.down.store(true, Ordering::SeqCst);
    let alerts = Alerts::start(log.clone(), CancellationToken::new());
    let mut listener = alerts.subscribe();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!alerts.is_ready() && alerts.recent().is_empty());
    log.faults.down.store(false, Ordering::SeqCst);
    until_ready(&alerts).await;
    log.add(alert::TOPIC, &[record(599), record(600)]);
    assert_eq!(listener.recv().await.unwrap().id, "600");
    let recent = until(&alerts, 256).await;
    assert_eq!((recent[0].as_str(), recent[255].as_str()), ("345", "600"));
}

#[tokio::test]
async fn the_topic_may_come_later() {
    let log = Arc::new(MemoryLog::default());
    let alerts = Alerts::start(log.clone(), CancellationToken::new());
    let mut listener = alerts.subscribe();
    until_ready(&alerts).await;
    log.create(alert::TOPIC, 2);
    log.add(alert::TOPIC, &[record(1)]);
    assert_eq!(until(&alerts, 1).await, ["1"]);
    assert_eq!(listener.recv().await.unwrap().id, "1", "there was no topic: it is new");
}
