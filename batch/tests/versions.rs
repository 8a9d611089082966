//! Publication: crashes, concurrent writers, rollback, deletion of what is old.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use support::folder::Crash;
use support::{Lake, SHOP, config, order, plan, visit};
use tideline_batch::{BatchConfig, BatchError, Manifests, RunState, files_of};
use tideline_common::manifest::Manifest;
use tideline_common::ports::Objects;
use tideline_common::record::Record;
use tideline_common::time::Span;

/// Two days of orders of one shop, from `first` on.
fn some(first: u64, count: u64) -> Vec<Record> {
    (first..first + count).map(|n| order(n, &format!("o{n}"), n as i64 * 20_000, "tea", n as f64)).collect()
}

async fn first_runs(lake: &Lake, config: &BatchConfig) {
    let plan = plan(SHOP);
    lake.bronze("orders", 0, 0, &some(0, 3)).await;
    lake.bronze("visits", 0, 0, &[visit(0, 5, "tea")]).await;
    lake.layer_with(&plan, config.clone()).run().await.unwrap();
    lake.clock.advance(Span(3 * Span::HOUR.0));
    lake.bronze("orders", 0, 3, &some(3, 3)).await;
    lake.layer_with(&plan, config.clone()).run().await.unwrap();
    // The next run has something of everything to do, old versions to delete included.
    lake.clock.advance(Span(3 * Span::HOUR.0));
    lake.bronze("orders", 0, 6, &some(6, 4)).await;
    lake.bronze("visits", 0, 1, &[visit(1, 5, "tea")]).await;
}

/// Every file that a kept version names is there.
async fn assert_whole(lake: &Lake) -> Vec<Manifest> {
    let manifests = Manifests::new(lake.folder.clone());
    let mut kept = Vec::new();
    for version in manifests.versions().await.unwrap() {
        let manifest = manifests.get(version).await.unwrap();
        for file in files_of(&manifest) {
            assert!(lake.folder.get(file).await.is_ok(), "version {version} names {file}");
        }
        kept.push(manifest);
    }
    kept
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_step_leaves_a_whole_version_and_the_next_run_heals() {
    let config = BatchConfig { keep_versions: 1, ..config() };
    let plan = plan(SHOP);
    let steady = Lake::new();
    first_runs(&steady, &config).await;
    steady.folder.arm(None);
    let report = steady.layer_with(&plan, config.clone()).run().await.unwrap();
    assert!(report.deleted > 0);
    let steps = steady.folder.steps();
    let expected = steady.gold(&plan, &steady.current().await, "revenue").await;
    assert!(steps > 8 && expected.len() == 10, "{steps} steps, {} groups", expected.len());

    for step in 0..steps {
        for after in [false, true] {
            let lake = Lake::new();
            first_runs(&lake, &config).await;
            lake.folder.arm(Some(Crash { step, after }));
            let crashed = lake.layer_with(&plan, config.clone()).run().await;
            lake.folder.arm(None);
            let readable = assert_whole(&lake).await;
            let newest = readable.last().unwrap().version;
            // A failed deletion is no failure of the run; everything before publication is.
            assert_eq!(crashed.is_ok(), newest == 3 && crashed.as_ref().is_ok_and(|run| run.published == Some(3)));

            let healed = lake.layer_with(&plan, config.clone()).run().await.unwrap();
            assert_eq!(healed.version, 3, "step {step}, after {after}");
            assert_eq!(lake.gold(&plan, &lake.current().await, "revenue").await, expected);

            // Whatever the crash left behind is deleted in the end.
            lake.clock.advance(Span(3 * Span::HOUR.0));
            lake.bronze("orders", 0, 10, &some(10, 1)).await;
            lake.layer_with(&plan, config.clone()).run().await.unwrap();
            lake.clock.advance(Span(3 * Span::HOUR.0));
            lake.bronze("orders", 0, 11, &some(11, 1)).await;
            lake.layer_with(&plan, config.clone()).run().await.unwrap();
            let kept = assert_whole(&lake).await;
            let named: BTreeSet<String> = kept.iter().flat_map(files_of).map(str::to_owned).collect();
            for folder in ["silver", "gold"] {
                for path in lake.folder.paths(folder).await {
                    let manifest = path.starts_with("gold/_manifests/");
                    assert!(manifest || named.contains(&path), "{path} is left over, step {step}, after {after}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_writers_one_loses_the_version_and_runs_again() {
    let (lake, plan) = (Lake::new(), plan(SHOP));
    lake.bronze("orders", 0, 0, &some(0, 6)).await;
    let (a, b) = (lake.layer(&plan), lake.layer(&plan));
    // A publishes while B is between its start and its publication.
    let other = Arc::clone(&a);
    b.before_run(move || {
        let other = Arc::clone(&other);
        async move { other.run().await.map(|_| ()).map_err(|error| error.to_string()) }
    });
    let (first, second) = tokio::join!(a.run(), b.run());
    let versions: BTreeSet<u64> = [first.unwrap().version, second.unwrap().version].into();
    let newest = lake.current().await;
    assert!(versions.contains(&newest.version));
    assert_eq!(newest.sources["orders"].records, 6);

    // The conditional put itself: a manifest of a version that is there already is refused.
    let manifests = Manifests::new(lake.folder.clone());
    let mut mine = newest.clone();
    mine.run = "another".into();
    let lost = manifests.publish(&mine).await.unwrap_err();
    assert!(matches!(lost, BatchError::LostRace { version } if version == newest.version));
    assert!(lost.is_retryable());
    manifests.publish(&newest).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_at_once_take_everything_in_once() {
    let (lake, plan) = (Lake::new(), plan(SHOP));
    lake.bronze("orders", 0, 0, &some(0, 10)).await;
    let layers: Vec<_> = (0..3).map(|_| lake.layer(&plan)).collect();
    let results = futures::future::join_all(layers.iter().map(|layer| layer.run())).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let manifest = lake.current().await;
    assert_eq!((manifest.sources["orders"].records, manifest.sources["orders"].duplicates), (10, 0));
    assert_eq!(manifest.tables["sales"].files.iter().map(|file| file.rows).sum::<u64>(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rollback_publishes_an_old_version_again() {
    let (lake, plan) = (Lake::new(), plan(SHOP));
    let layer = lake.layer(&plan);
    lake.bronze("orders", 0, 0, &some(0, 3)).await;
    layer.run().await.unwrap();
    lake.bronze("orders", 0, 3, &some(3, 3)).await;
    layer.run().await.unwrap();
    let manifests = layer.manifests();
    let back = layer.rollback(1).await.unwrap();
    assert_eq!(back.version, 3);
    let (old, new) = (manifests.get(1).await.unwrap(), lake.current().await);
    assert_eq!((old.sources, old.tables, old.views, old.reports), (new.sources, new.tables, new.views, new.reports));
    // The next run takes in again what came after it.
    assert_eq!(layer.run().await.unwrap().silver.records, 3);
    assert_eq!(lake.current().await.sources["orders"].records, 6);
    let missing = layer.rollback(99).await.unwrap_err();
    assert_eq!(missing.to_string(), "version 99 is not kept: kept are 1, 2, 3, 4");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_are_kept_by_number_and_by_age() {
    let (lake, plan) = (Lake::new(), plan(SHOP));
    let config = BatchConfig { keep_versions: 2, ..config() };
    let layer = lake.layer_with(&plan, config);
    for n in 0..5 {
        lake.bronze("orders", 0, n, &some(n, 1)).await;
        layer.run().await.unwrap();
        lake.clock.advance(Span::MINUTE);
        assert_whole(&lake).await;
    }
    // All are younger than the grace.
    assert_eq!(layer.manifests().versions().await.unwrap(), [1, 2, 3, 4, 5]);
    lake.clock.advance(Span(2 * Span::HOUR.0));
    lake.bronze("orders", 0, 5, &some(5, 1)).await;
    layer.run().await.unwrap();
    // Version 5 was the published one until now.
    assert_eq!(layer.manifests().versions().await.unwrap(), [5, 6]);
    assert_whole(&lake).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_run_works_one_waits() {
    let (lake, plan) = (Lake::new(), plan(SHOP));
    lake.bronze("orders", 0, 0, &some(0, 3)).await;
    let layer = lake.layer(&plan);
    let (entered, mut entries) = tokio::sync::mpsc::unbounded_channel();
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let held = Arc::clone(&gate);
    layer.before_run(move || {
        let (entered, held) = (entered.clone(), Arc::clone(&held));
        async move {
            entered.send(()).map_err(|error| error.to_string())?;
            held.acquire().await.map_err(|error| error.to_string())?.forget();
            Ok::<(), String>(())
        }
    });
    let first = layer.start();
    entries.recv().await.unwrap();
    let (second, third) = (layer.start(), layer.start());
    assert!(second != first && third == second);
    let state = |id| layer.status(id).unwrap().state;
    assert_eq!((state(&first), state(&second)), (RunState::Running, RunState::Queued));
    gate.add_permits(1);
    entries.recv().await.unwrap();
    assert_eq!((state(&first), state(&second)), (RunState::Succeeded, RunState::Running));
    let done = layer.status(&first).unwrap();
    assert_eq!(done.report.unwrap().published, Some(1));
    assert!(done.started_at.is_some() && done.finished_at.is_some() && done.stage.is_none());
    gate.add_permits(1);
    layer.shutdown().await;
    assert_eq!(layer.runs().len(), 2);
    assert!(matches!(layer.run().await, Err(BatchError::Cancelled)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_seal_is_a_warning() {
    let (lake, plan) = (Lake::new(), plan(SHOP));
    lake.bronze("orders", 0, 0, &some(0, 3)).await;
    let layer = lake.layer(&plan);
    layer.before_run(|| async { Err("speed is down") });
    let report = layer.run().await.unwrap();
    assert_eq!((report.silver.records, report.warnings.len(), report.is_clean()), (3, 1, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_schedule_begins_runs_and_ends_in_order() {
    let (lake, plan) = (Lake::new(), plan(SHOP));
    lake.bronze("orders", 0, 0, &some(0, 3)).await;
    let layer = lake.layer(&plan);
    let (entered, mut entries) = tokio::sync::mpsc::unbounded_channel();
    layer.before_run(move || {
        let sent = entered.send(()).map_err(|error| error.to_string());
        async move { sent }
    });
    let cancel = tokio_util::sync::CancellationToken::new();
    let (scheduled, token) = (Arc::clone(&layer), cancel.clone());
    let task = tokio::spawn(async move { scheduled.schedule("* * * * * *", token).await });
    entries.recv().await.unwrap();
    cancel.cancel();
    task.await.unwrap().unwrap();
    assert!(layer.runs().iter().all(|run| run.finished_at.is_some()));
    let refused = layer.schedule("*/5 * * * *", cancel).await.unwrap_err();
    assert!(matches!(refused, BatchError::Schedule { .. }), "{refused}");
}
