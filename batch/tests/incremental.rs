//! A run's result depends on Bronze, not on how many runs it took.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use support::{Lake, SHOP, START, order, plan, visit};
use tideline_batch::{BatchConfig, BatchError, ReportOutcome};
use tideline_common::manifest::Manifest;
use tideline_common::plan::Plan;
use tideline_common::record::Record;
use tideline_common::time::{Span, Timestamp};

const SHOPS: [&str; 4] = ["tea", "a/b c", "é", "books"];

/// Orders of one partition: mostly forward in time, with stragglers and duplicates.
fn orders(random: &mut StdRng, partition: u32, count: u64) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    for offset in 0..count {
        if offset > 5 && random.random_range(0..10) == 0 {
            let again = records[random.random_range(0..records.len())].clone();
            records.push(Record { offset, ..again });
            continue;
        }
        let straggle = if random.random_range(0..6) == 0 { random.random_range(0..90_000) } else { 0 };
        let seconds = offset as i64 * 2_000 + random.random_range(0..60) - straggle;
        let shop = SHOPS[random.random_range(0..SHOPS.len())];
        records.push(order(
            offset,
            &format!("{partition}-{offset}"),
            seconds,
            shop,
            f64::from(random.random_range(-50..50)) / 4.0,
        ));
    }
    records
}

fn visits(random: &mut StdRng, count: u64) -> Vec<Record> {
    (0..count).map(|offset| visit(offset, offset as i64 * 3_000, SHOPS[random.random_range(0..SHOPS.len())])).collect()
}

/// Everything that readers see, in a form that can be compared.
async fn published(lake: &Lake, plan: &Plan) -> BTreeMap<String, String> {
    let manifest = lake.current().await;
    let mut all = BTreeMap::new();
    for view in &plan.views {
        all.insert(view.name.clone(), format!("{:?}", lake.gold(plan, &manifest, &view.name).await));
    }
    for (name, files) in &manifest.tables {
        let mut rows = Vec::new();
        for file in &files.files {
            let frame = lake.folder.frame(&file.path).await;
            assert_eq!(frame.height() as u64, file.rows);
            for row in 0..frame.height() {
                rows.push(format!("{:?}", frame.get_row(row).unwrap().0));
            }
        }
        rows.sort();
        all.insert(name.clone(), rows.join("\n"));
    }
    for (name, report) in &manifest.reports {
        let mut frames = Vec::new();
        for file in &report.files {
            frames.push(format!("{:?}", lake.folder.frame(&file.path).await));
        }
        all.insert(name.clone(), frames.join("\n"));
    }
    for (name, source) in &manifest.sources {
        let counts = (source.records, source.rejected, source.duplicates, &source.positions, &source.watermarks);
        all.insert(format!("{name} progress"), format!("{counts:?}"));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_split_over_runs_publishes_the_same() {
    let plan = plan(SHOP);
    for seed in 0..4 {
        let mut random = StdRng::seed_from_u64(seed);
        let shards: Vec<(&str, u32, Vec<Record>)> = vec![
            ("orders", 0, orders(&mut random, 0, 90)),
            ("orders", 1, orders(&mut random, 1, 60)),
            ("visits", 0, visits(&mut random, 40)),
        ];
        let whole = Lake::new();
        for (source, partition, records) in &shards {
            whole.bronze(source, *partition, 0, records).await;
        }
        whole.layer_with(&plan, BatchConfig::default()).run().await.unwrap();
        let expected = published(&whole, &plan).await;

        let lake = Lake::new();
        let layer = lake.layer(&plan);
        let mut next = vec![0; shards.len()];
        for run in 0..5 {
            for (shard, (source, partition, records)) in shards.iter().enumerate() {
                // Several files per run, some runs without any.
                for _ in 0..random.random_range(0..4) {
                    let left = records.len() - next[shard];
                    let take = if run == 4 { left } else { random.random_range(0..=left.min(20)) };
                    if take > 0 {
                        let file = &records[next[shard]..next[shard] + take];
                        lake.bronze(source, *partition, next[shard] as u64, file).await;
                        next[shard] += take;
                    }
                }
                if run == 4 && next[shard] < records.len() {
                    lake.bronze(source, *partition, next[shard] as u64, &records[next[shard]..]).await;
                }
            }
            layer.run().await.unwrap();
        }
        let actual = published(&lake, &plan).await;
        // A boundary once published is never undercut, so it may be ahead of one that was never published before.
        let through = |manifest: &Manifest| manifest.views["revenue"].through;
        assert!(through(&lake.current().await) >= through(&whole.current().await));
        for (name, expected) in &expected {
            assert_eq!(&actual[name], expected, "{name}, seed {seed}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_new_publishes_nothing() {
    let (lake, plan) = (Lake::new(), plan(SHOP));
    lake.bronze("orders", 0, 0, &[order(0, "a", 10, "tea", 1.5)]).await;
    let layer = lake.layer(&plan);
    assert_eq!(layer.run().await.unwrap().published, Some(1));
    let again = layer.run().await.unwrap();
    assert_eq!((again.published, again.version), (None, 1));
    assert_eq!(again.reports["totals"], ReportOutcome::Unchanged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_event_corrects_its_pane_and_leaves_other_buckets_alone() {
    let (lake, plan) = (Lake::new(), plan(SHOP));
    let day = 86_400;
    let first =
        [order(0, "a", 10, "tea", 1.0), order(1, "b", day + 10, "tea", 2.0), order(2, "c", 2 * day, "tea", 4.0)];
    lake.bronze("orders", 0, 0, &first).await;
    let layer = lake.layer(&plan);
    layer.run().await.unwrap();
    let before = lake.current().await;
    assert_eq!(before.views["revenue"].files.len(), 3);

    lake.bronze("orders", 0, 3, &[order(3, "d", day + 20, "tea", 8.0)]).await;
    let report = layer.run().await.unwrap();
    assert_eq!((report.gold["revenue"].recomputed, report.gold["revenue"].carried), (1, 2));
    let after = lake.current().await;
    let (old, new) = (&before.views["revenue"].files, &after.views["revenue"].files);
    assert_eq!((&old[0], &old[2]), (&new[0], &new[2]));
    assert_ne!(old[1], new[1]);
    let answers = totals(&lake).await;
    assert_eq!(answers, [("tea".to_owned(), 4, 15.0)]);
    // The boundary stays where it was, although an old record came last.
    assert_eq!(after.views["revenue"].through, Some(Timestamp(START + (2 * day - 60) * 1_000_000)));
    assert_eq!(before.views["revenue"].through, after.views["revenue"].through);
}

/// Rows of the report `totals`.
async fn totals(lake: &Lake) -> Vec<(String, i64, f64)> {
    let manifest = lake.current().await;
    let frame = lake.folder.frame(&manifest.reports["totals"].files[0].path).await;
    let shops = frame.column("shop").unwrap().str().unwrap();
    let orders = frame.column("orders").unwrap().i64().unwrap();
    let revenue = frame.column("revenue").unwrap().f64().unwrap();
    (0..frame.height())
        .map(|row| (shops.get(row).unwrap().to_owned(), orders.get(row).unwrap(), revenue.get(row).unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_are_left_out_across_runs_and_partitions() {
    let (lake, plan) = (Lake::new(), plan(SHOP));
    lake.bronze("orders", 0, 0, &[order(0, "a", 10, "tea", 1.0), order(1, "a", 10, "tea", 1.0)]).await;
    let layer = lake.layer(&plan);
    layer.run().await.unwrap();
    // Again from another partition, and once with another event time: that is another hour, and no duplicate.
    lake.bronze("orders", 1, 0, &[order(0, "a", 10, "tea", 1.0), order(1, "a", 7_200, "tea", 1.0)]).await;
    lake.bronze("orders", 0, 2, &[order(2, "a", 10, "tea", 1.0), order(3, "b", 20, "tea", 2.0)]).await;
    let report = layer.run().await.unwrap();
    assert_eq!((report.silver.records, report.silver.duplicates), (4, 2));
    let manifest = lake.current().await;
    assert_eq!((manifest.sources["orders"].records, manifest.sources["orders"].duplicates), (6, 3));
    assert_eq!(totals(&lake).await, [("tea".to_owned(), 3, 4.0)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_records_are_counted_and_cost_no_other() {
    let (lake, plan) = (Lake::new(), plan(SHOP));
    let records = [
        order(0, "a", 10, "tea", 1.0),
        support::record(1, "{broken".into()),
        support::record(2, r#"{"id":"x","at":"soon","shop":"tea"}"#.into()),
        order(3, "b", 10, "", 1.0),
        order(4, "c", 11, "tea", 2.0),
    ];
    lake.bronze("orders", 0, 0, &records).await;
    let report = lake.layer(&plan).run().await.unwrap();
    assert_eq!((report.silver.records, report.silver.rejected), (5, 3));
    assert_eq!(totals(&lake).await, [("tea".to_owned(), 2, 3.0)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_in_the_chain_stops_the_run_and_names_itself() {
    let (lake, plan) = (Lake::new(), plan(SHOP));
    lake.bronze("orders", 0, 0, &[order(0, "a", 10, "tea", 1.0)]).await;
    let layer = lake.layer(&plan);
    layer.run().await.unwrap();
    lake.bronze("orders", 0, 5, &[order(5, "b", 20, "tea", 1.0)]).await;
    let error = layer.run().await.unwrap_err();
    assert!(matches!(error, BatchError::Gap { partition: 0, expected: 1, found: 5, .. }), "{error}");
    assert_eq!(lake.current().await.version, 1);
    // The missing file comes: the run goes on.
    let missing: Vec<Record> = (1..5).map(|offset| order(offset, &format!("x{offset}"), 15, "tea", 1.0)).collect();
    lake.bronze("orders", 0, 1, &missing).await;
    assert_eq!(layer.run().await.unwrap().silver.records, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_made_of_several_goes_on_where_batch_stopped() {
    let (lake, plan) = (Lake::new(), plan(SHOP));
    let records: Vec<Record> = (0..6).map(|n| order(n, &format!("{n}"), n as i64 * 10, "tea", 1.0)).collect();
    lake.bronze("orders", 0, 0, &records[..2]).await;
    let layer = lake.layer(&plan);
    layer.run().await.unwrap();
    // [0, 2) and [2, 4) become one file.
    lake.bronze("orders", 0, 0, &records[..4]).await;
    lake.bronze("orders", 0, 4, &records[4..]).await;
    assert_eq!(layer.run().await.unwrap().silver.records, 4);
    assert_eq!(totals(&lake).await, [("tea".to_owned(), 6, 6.0)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_table_is_made_again_and_others_go_on() {
    let lake = Lake::new();
    let before = plan(SHOP);
    let mut random = StdRng::seed_from_u64(7);
    let records = orders(&mut random, 0, 60);
    lake.bronze("orders", 0, 0, &records[..40]).await;
    lake.bronze("visits", 0, 0, &visits(&mut random, 10)).await;
    lake.layer(&before).run().await.unwrap();
    let old = lake.current().await;
    lake.bronze("orders", 0, 40, &records[40..]).await;

    let changed = SHOP.replace("amount = \"amount\", buyer", "amount = \"amount * 2\", buyer").replace(
        "[views.revenue]",
        "[tables.buyers]\nfrom = \"orders\"\ncolumns = { buyer = \"buyer\" }\n\n[views.revenue]",
    );
    let after = plan(&changed);
    lake.layer(&after).run().await.unwrap();
    let new = lake.current().await;
    assert_eq!(old.tables["visitors"], new.tables["visitors"]);
    assert!(old.tables["sales"].files.iter().all(|file| !new.tables["sales"].files.contains(file)));
    assert_ne!(old.tables["sales"].plan, new.tables["sales"].plan);

    let scratch = Lake::new();
    scratch.bronze("orders", 0, 0, &records).await;
    let mut random = StdRng::seed_from_u64(7);
    orders(&mut random, 0, 60);
    scratch.bronze("visits", 0, 0, &visits(&mut random, 10)).await;
    scratch.layer(&after).run().await.unwrap();
    assert_eq!(published(&lake, &after).await, published(&scratch, &after).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_table_does_not_double_the_others() {
    let lake = Lake::new();
    let mut random = StdRng::seed_from_u64(8);
    let records = orders(&mut random, 0, 50);
    lake.bronze("orders", 0, 0, &records[..30]).await;
    lake.layer(&plan(SHOP)).run().await.unwrap();
    lake.bronze("orders", 0, 30, &records[30..]).await;
    let more = plan(&format!("{SHOP}\n[tables.buyers]\nfrom = \"orders\"\ncolumns = {{ buyer = \"buyer\" }}\n"));
    lake.layer(&more).run().await.unwrap();
    let scratch = Lake::new();
    scratch.bronze("orders", 0, 0, &records).await;
    scratch.layer(&more).run().await.unwrap();
    assert_eq!(published(&lake, &more).await, published(&scratch, &more).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_panes_are_forgotten_relative_to_the_newest() {
    let (lake, plan) = (Lake::new(), plan(SHOP));
    let day = 86_400;
    lake.bronze("orders", 0, 0, &[order(0, "a", 0, "tea", 1.0), order(1, "b", 59 * day, "tea", 1.0)]).await;
    let layer = lake.layer(&plan);
    layer.run().await.unwrap();
    assert_eq!(lake.current().await.views["revenue"].files.len(), 2);
    lake.bronze("orders", 0, 2, &[order(2, "c", 61 * day, "tea", 1.0)]).await;
    layer.run().await.unwrap();
    let files = lake.current().await.views["revenue"].files.clone();
    assert_eq!(files.len(), 2);
    assert_eq!(files[0].min_time, Timestamp(START + 59 * Span::DAY.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silver_is_partitioned_as_hive_does_it() {
    let (lake, plan) = (Lake::new(), plan(SHOP));
    let records: Vec<Record> =
        SHOPS.iter().zip(0..).map(|(shop, offset)| order(offset, &format!("{offset}"), 10, shop, 1.0)).collect();
    lake.bronze("orders", 0, 0, &records).await;
    lake.layer(&plan).run().await.unwrap();
    let mut folders: Vec<String> = lake
        .folder
        .paths("silver/sales")
        .await
        .iter()
        .map(|path| path.rsplit_once('/').unwrap().0.to_owned())
        .collect();
    folders.sort();
    assert_eq!(
        folders,
        ["silver/sales/shop=%C3%A9", "silver/sales/shop=a%2Fb%20c", "silver/sales/shop=books", "silver/sales/shop=tea"]
    );
}
