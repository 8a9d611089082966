//! Old Bronze: joined without a change, at any crash, under readers and late writers; dropped as retention says.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use bytes::Bytes;
use support::folder::Crash;
use support::{Lake, SHOP, config, order, plan};
use tideline_batch::{BatchConfig, BatchError};
use tideline_common::checkpoint;
use tideline_common::generation::{Generation, Step};
use tideline_common::plan::Plan;
use tideline_common::ports::Objects;
use tideline_common::position::Shard;
use tideline_common::record::Record;
use tideline_common::time::{Span, Timestamp};
use tideline_transform::bronze::{self, chain};

fn joining() -> BatchConfig {
    BatchConfig { bronze_join_files: 3, bronze_keep_newest: 2, keep_versions: 1, ..config() }
}

fn orders(first: u64, count: u64) -> Vec<Record> {
    (first..first + count).map(|n| order(n, &format!("o{n}"), n as i64 * 60, "tea", n as f64)).collect()
}

/// A note that the speed layer has come to `position`.
async fn checkpoint_at(lake: &Lake, position: u64) {
    let folder = checkpoint::folder(&Shard::new("orders", 0));
    lake.folder.put(&format!("{folder}/{position:020}-0.ckpt"), Bytes::new()).await.unwrap();
}

/// Files of two records each up to 40, taken in by a version that is old enough.
async fn taken_in(plan: &Arc<Plan>) -> Lake {
    let lake = Lake::new();
    for first in (0..40).step_by(2) {
        lake.bronze("orders", 0, first, &orders(first, 2)).await;
    }
    checkpoint_at(&lake, 40).await;
    lake.layer_with(plan, BatchConfig { bronze_join_bytes: 0, ..joining() }).run().await.unwrap();
    lake.clock.advance(Span(2 * Span::HOUR.0));
    lake
}

/// All records of the chain, as a reader meets them.
async fn read(lake: &Lake) -> Vec<Record> {
    let objects = lake.folder.list("bronze/orders").await.unwrap();
    let files = objects.iter().map(|object| chain::parse("orders", &object.path, object.size).unwrap().1);
    let mut walk = chain::Walk::new(files.collect(), 0);
    let mut records = Vec::new();
    loop {
        match walk.step() {
            chain::Step::Read(file) => {
                let reached = walk.reached();
                let content = bronze::decode(lake.folder.get(&file.path).await.unwrap()).unwrap();
                walk.read(content.next);
                records.extend(content.records.into_iter().filter(|record| record.offset >= reached));
            }
            chain::Step::End => return records,
            gap @ chain::Step::Gap { .. } => panic!("{gap:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_files_are_joined_and_nothing_else_changes() {
    let plan = plan(SHOP);
    let lake = taken_in(&plan).await;
    let report = lake.layer_with(&plan, joining()).run().await.unwrap();
    assert!(report.is_clean(), "{:?}", report.warnings);
    assert_eq!((report.bronze.joined, report.bronze.written), (18, 1));
    let paths = lake.folder.paths("bronze/orders/0").await;
    let expected =
        [chain::joined_path("orders", 0, 0, 36), bronze::path("orders", 0, 36), bronze::path("orders", 0, 38)];
    assert_eq!(paths, expected);
    assert_eq!(read(&lake).await, orders(0, 40));
    let again = lake.layer_with(&plan, joining()).run().await.unwrap();
    assert_eq!((again.bronze, again.published), (tideline_batch::BronzeCounts::default(), None));
    // Made anew from what has been joined, it is the same.
    let before = lake.gold(&plan, &lake.current().await, "revenue").await;
    let rebuilt = lake.layer_with(&plan, joining()).rebuild(false).await.unwrap();
    assert_eq!(rebuilt.silver.records, 40);
    assert_eq!(lake.gold(&plan, &lake.current().await, "revenue").await, before);
    // A run goes on after a joined file.
    lake.bronze("orders", 0, 40, &orders(40, 3)).await;
    assert_eq!(lake.layer_with(&plan, joining()).run().await.unwrap().silver.records, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_settled_stays() {
    let plan = plan(SHOP);
    let lake = taken_in(&plan).await;
    // The oldest checkpoint counts.
    checkpoint_at(&lake, 9).await;
    let report = lake.layer_with(&plan, joining()).run().await.unwrap();
    assert_eq!((report.bronze.joined, report.bronze.written), (4, 1));
    assert_eq!(lake.folder.paths("bronze/orders/0").await[0], chain::joined_path("orders", 0, 0, 8));
    assert_eq!(read(&lake).await, orders(0, 40));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_replay_has_yet_to_read_stays() {
    let plan = plan(&SHOP.replace("dedupe = \"id\"", "dedupe = \"id\"\nretain = { bronze = \"90d\" }"));
    let lake = taken_in(&plan).await;
    let before = lake.folder.paths("bronze/orders/0").await;
    lake.folder.put(&Step::Begun.path(Generation(1)), Bytes::new()).await.unwrap();
    let report = lake.layer_with(&plan, joining()).run().await.unwrap();
    assert_eq!((report.bronze, report.is_clean()), (tideline_batch::BronzeCounts::default(), true));
    assert_eq!(lake.folder.paths("bronze/orders/0").await, before);
    lake.folder.put(&Step::Built.path(Generation(1)), Bytes::new()).await.unwrap();
    let report = lake.layer_with(&plan, joining()).run().await.unwrap();
    assert!(report.bronze.joined + report.bronze.dropped > 0, "{:?}", report.bronze);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_step_loses_nothing_and_the_next_run_goes_on() {
    let plan = plan(SHOP);
    let steady = taken_in(&plan).await;
    steady.folder.arm(None);
    steady.layer_with(&plan, joining()).run().await.unwrap();
    let steps = steady.folder.steps();
    let expected = steady.folder.paths("bronze").await;
    assert!(steps > 18, "{steps}");
    for step in 0..steps {
        for after in [false, true] {
            let lake = taken_in(&plan).await;
            lake.folder.arm(Some(Crash { step, after }));
            let report = lake.layer_with(&plan, joining()).run().await.unwrap();
            assert!(!report.is_clean(), "step {step}: it says that Bronze could not be tended");
            lake.folder.arm(None);
            assert_eq!(read(&lake).await, orders(0, 40), "step {step}");
            lake.layer_with(&plan, joining()).run().await.unwrap();
            assert_eq!(lake.folder.paths("bronze").await, expected, "step {step}");
            assert_eq!(read(&lake).await, orders(0, 40));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_at_once_do_no_harm() {
    let plan = plan(SHOP);
    let lake = taken_in(&plan).await;
    let (one, two) = (lake.layer_with(&plan, joining()), lake.layer_with(&plan, joining()));
    let (a, b) = tokio::join!(one.run(), two.run());
    a.unwrap();
    b.unwrap();
    assert_eq!(read(&lake).await, orders(0, 40));
    lake.layer_with(&plan, joining()).run().await.unwrap();
    assert_eq!(lake.folder.paths("bronze/orders/0").await.len(), 3);
    assert_eq!(read(&lake).await, orders(0, 40));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_writers_file_goes_if_it_is_equal_and_is_an_error_if_not() {
    let plan = plan(SHOP);
    let lake = taken_in(&plan).await;
    lake.layer_with(&plan, joining()).run().await.unwrap();
    lake.bronze("orders", 0, 10, &orders(10, 5)).await;
    assert_eq!(read(&lake).await, orders(0, 40));
    let report = lake.layer_with(&plan, joining()).run().await.unwrap();
    assert!(report.is_clean() && report.bronze.joined == 1, "{report:?}");
    assert_eq!(lake.folder.paths("bronze/orders/0").await.len(), 3);
    // The same offsets, other records.
    let forked: Vec<Record> = (10..12).map(|n| order(n, "other", 1, "coffee", 1.0)).collect();
    lake.bronze("orders", 0, 10, &forked).await;
    let report = lake.layer_with(&plan, joining()).run().await.unwrap();
    assert!(report.warnings.iter().any(|warning| warning.contains("different records at offset 10")), "{report:?}");
    assert_eq!(lake.folder.paths("bronze/orders/0").await.len(), 4, "nothing is deleted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_drops_old_bronze_from_its_beginning_and_a_rebuild_asks() {
    let text = SHOP.replace("dedupe = \"id\"", "dedupe = \"id\"\nretain = { bronze = \"90d\" }");
    let (plan, forever) = (plan(&text), plan(SHOP));
    assert_eq!(plan.source("orders").unwrap().version, forever.source("orders").unwrap().version);
    let lake = taken_in(&plan).await;
    // Records are a hundred days old, but the last file, and it is one of the newest.
    lake.folder.put("dead-letters/orders/0/00000000000000000002.ndjson", Bytes::new()).await.unwrap();
    lake.folder.put("dead-letters/orders/0/00000000000000000038.ndjson", Bytes::new()).await.unwrap();
    let gold = lake.gold(&plan, &lake.current().await, "revenue").await;
    let config = BatchConfig { bronze_join_bytes: 0, ..joining() };
    let report = lake.layer_with(&plan, config.clone()).run().await.unwrap();
    assert_eq!((report.bronze.dropped, report.warnings.as_slice()), (18, &[][..]));
    let paths = lake.folder.paths("bronze/orders/0").await;
    assert_eq!(paths, [bronze::path("orders", 0, 36), bronze::path("orders", 0, 38)]);
    assert_eq!(lake.folder.paths("dead-letters").await.len(), 1);
    assert_eq!(lake.gold(&plan, &lake.current().await, "revenue").await, gold, "Gold has it all");
    let refused = lake.layer_with(&plan, config.clone()).rebuild(false).await.unwrap_err();
    assert!(matches!(&refused, BatchError::Lossy { dropped } if dropped.contains("orders/0")), "{refused}");
    assert_eq!(lake.layer_with(&plan, config).rebuild(true).await.unwrap().silver.records, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_of_silver_keeps_gold_as_it_is() {
    let text = SHOP.replace("partition_by = [\"shop\"]", "partition_by = [\"shop\"]\nretain = { silver = \"10d\" }");
    let plan = plan(&text);
    let lake = Lake::new();
    let config = BatchConfig { bronze_join_bytes: 0, ..config() };
    let day = 86_400;
    lake.bronze("orders", 0, 0, &[order(0, "a", 10, "tea", 1.0), order(1, "b", 20, "tea", 2.0)]).await;
    lake.layer_with(&plan, config.clone()).run().await.unwrap();
    lake.bronze("orders", 0, 2, &[order(2, "c", 30 * day, "tea", 4.0)]).await;
    lake.layer_with(&plan, config.clone()).run().await.unwrap();
    let manifest = lake.current().await;
    assert_eq!(manifest.tables["sales"].files.len(), 1, "the old file is no longer named");
    let complete = manifest.tables["sales"].complete_from.unwrap();
    assert_eq!(complete, Timestamp(support::START + (20 * day * 1_000_000)));
    let gold = lake.gold(&plan, &manifest, "revenue").await;
    assert_eq!(gold.len(), 2);
    // Late for all that is kept: Gold of that day cannot be computed again, and is not.
    lake.bronze("orders", 0, 3, &[order(3, "d", 15, "tea", 8.0)]).await;
    let report = lake.layer_with(&plan, config.clone()).run().await.unwrap();
    assert_eq!(report.gold["revenue"].frozen, 1);
    assert_eq!(lake.gold(&plan, &lake.current().await, "revenue").await, gold);
    // From Bronze, which has it all, it can.
    lake.layer_with(&plan, config).rebuild(false).await.unwrap();
    let rebuilt = lake.gold(&plan, &lake.current().await, "revenue").await;
    assert_eq!(rebuilt.len(), 2);
    assert_ne!(rebuilt, gold, "the late record is in it");
}
