//! What is particular to analytics over Parquet; what every adapter must do is in the conformance suite.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use tideline_common::manifest::{ReportFile, ReportFiles, StoredManifest, manifest_path};
use tideline_common::plan::Field;
use tideline_common::ports::PortError;
use tideline_common::value::Type;

use super::*;
use crate::faulty::{Faults, FaultyObjects};
use crate::objects::ObjectStoreObjects;

fn manifest(version: u64) -> Bytes {
    serde_json::to_vec(&StoredManifest::V1(Manifest { version, ..Manifest::default() })).unwrap().into()
}

async fn put(objects: &dyn Objects, version: u64, bytes: impl Into<Bytes>) {
    objects.put(&manifest_path(version), bytes.into()).await.unwrap();
}

fn analytics() -> (Arc<dyn Objects>, Faults, ParquetAnalytics) {
    let faults = Faults::new(1);
    let objects: Arc<dyn Objects> =
        Arc::new(FaultyObjects::new(Arc::new(ObjectStoreObjects::memory()), faults.clone()));
    let analytics = ParquetAnalytics::new(objects.clone(), ParquetAnalyticsConfig::default());
    (objects, faults, analytics)
}

#[tokio::test]
async fn a_damaged_manifest_is_passed_over_and_fetched_once() {
    let (objects, faults, analytics) = analytics();
    put(&*objects, 1, manifest(1)).await;
    put(&*objects, 2, "{ torn").await;
    put(&*objects, 3, manifest(7)).await;
    objects.put("gold/_manifests/notes.txt", Bytes::new()).await.unwrap();
    assert_eq!(analytics.current().await.unwrap().unwrap().version, 1);
    let fetched = faults.calls("objects.get");
    assert_eq!(analytics.current().await.unwrap().unwrap().version, 1);
    assert_eq!(faults.calls("objects.get"), fetched, "nothing new, nothing fetched");
    put(&*objects, 4, manifest(4)).await;
    assert_eq!(analytics.current().await.unwrap().unwrap().version, 4);
    assert_eq!(faults.calls("objects.get"), fetched + 1);
}

#[tokio::test]
async fn only_damage_is_not_the_same_as_nothing() {
    let (objects, _, analytics) = analytics();
    put(&*objects, 1, "{}").await;
    for _ in 0..2 {
        let error = analytics.current().await.unwrap_err();
        assert!(matches!(&error, PortError::Corrupt { what, .. } if *what == manifest_path(1)), "{error:?}");
    }
}

#[tokio::test]
async fn an_unknown_format_is_an_error_that_says_so() {
    let (objects, _, analytics) = analytics();
    put(&*objects, 1, manifest(1)).await;
    put(&*objects, 2, r#"{"format":"2","anything":{}}"#).await;
    let error = analytics.current().await.unwrap_err().to_string();
    assert!(error.contains("format \"2\" is unknown") && error.contains(&manifest_path(2)), "{error}");
}

#[tokio::test]
async fn a_file_that_is_missing_or_damaged_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let local: Arc<dyn Objects> = Arc::new(ObjectStoreObjects::local(folder.path(), 0).unwrap());
    for objects in [local, Arc::new(ObjectStoreObjects::memory())] {
        let analytics = ParquetAnalytics::new(objects.clone(), ParquetAnalyticsConfig::default());
        let path = "gold/_reports/r/1.parquet".to_owned();
        let report = ReportFiles {
            columns: vec![Field { name: "n".to_owned(), ty: Type::Int }],
            files: vec![ReportFile { path: path.clone(), rows: 1 }],
            ..ReportFiles::default()
        };
        let mut manifest = Manifest::default();
        manifest.reports.insert("r".to_owned(), report);
        let query = ReportQuery { limit: 1, ..ReportQuery::default() };
        for damage in [None, Some("no Parquet"), Some("PAR1 nor this PAR1")] {
            if let Some(damage) = damage {
                objects.put(&path, Bytes::from(damage)).await.unwrap();
            }
            let error = analytics.report(&manifest, "r", &query).await.unwrap_err();
            assert!(matches!(error, PortError::Corrupt { .. }), "{error:?}");
            assert!(error.to_string().contains(&path), "{error}");
        }
    }
}

/// Prints what reads cost here; asserts nothing about time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn measure_reads() {
    use std::time::Instant;

    use tideline_common::ports::KeySelector;
    use tideline_common::state::{Input, Rule, StateField};
    use tideline_common::time::Span;
    use tideline_common::value::Value;

    let folder = tempfile::tempdir().unwrap();
    let objects: Arc<dyn Objects> = Arc::new(ObjectStoreObjects::local(folder.path(), 0).unwrap());
    let field = |name: &str| StateField {
        name: name.to_owned(),
        rule: Rule::Sum,
        ty: Type::Int,
        input: Input::One,
        table: String::new(),
        argument: None,
    };
    let view = ViewSchema {
        name: "v".to_owned(),
        version: "1".to_owned(),
        key: vec![Field { name: "k".to_owned(), ty: Type::Int }],
        fields: vec![field("a"), field("b")],
        pane: Span(1),
        ttl: None,
    };
    let key = |k: i64| Key::of(&[Value::Int(k)]);
    // Ten files of 50 panes of 1,000 keys.
    let part = |n: i64| {
        let mut batch = StateBatch::new(&view.fields);
        for k in 0..1_000 {
            for p in n * 50..(n + 1) * 50 {
                batch.push_identity(key(k).as_bytes(), Timestamp(p));
            }
        }
        batch
    };
    let publication = crate::conformance::analytics::Publication {
        version: 1,
        views: vec![(view.clone(), (0..10).map(part).collect())],
        ..Default::default()
    };
    crate::conformance::analytics::publish_to_lake(&*objects, &publication, 4_096).await;
    let analytics = ParquetAnalytics::new(objects, ParquetAnalyticsConfig::default());
    let manifest = analytics.current().await.unwrap().unwrap();
    let query = |keys, to, max_rows| PaneQuery { keys, from: Timestamp(0), to: Timestamp(to), max_rows };
    for round in ["first", "again"] {
        let start = Instant::now();
        analytics.current().await.unwrap();
        println!("{round}: current, nothing new: {:?}", start.elapsed());
        let start = Instant::now();
        let one = analytics.panes(&manifest, &view, &query(KeySelector::One(key(7)), 500, 1)).await.unwrap();
        println!("{round}: 500 panes of one key out of 500,000: {:?}", start.elapsed());
        assert_eq!(one.panes.len(), 500);
        let start = Instant::now();
        let between = analytics.panes_between(&manifest, &view, Timestamp(100), Timestamp(200)).await.unwrap();
        println!("{round}: 100,000 panes of all keys: {:?}", start.elapsed());
        assert_eq!(between.len(), 100_000);
        let start = Instant::now();
        let page =
            analytics.panes(&manifest, &view, &query(KeySelector::All { after: None }, 500, 1_000)).await.unwrap();
        println!("{round}: a page of 1,000 rows: {:?}", start.elapsed());
        assert_eq!(page.panes.len(), 1_000);
    }
}
