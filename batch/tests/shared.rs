//! Bronze to Silver shared by several processes, of which some die.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use support::{Folder, Lake, SHOP, config, order, plan, visit};
use tideline_batch::{BatchConfig, BatchLayer, BatchPorts, files_of};
use tideline_common::manifest::Manifest;
use tideline_common::plan::Plan;
use tideline_common::ports::{Created, Location, ObjectInfo, Objects, PortError, PortResult};
use tideline_common::record::Record;
use tideline_common::time::Span;
use tokio_util::sync::CancellationToken;

/// What a process sees of the store: after so many writes it is dead. The write that kills it may have come through.
#[derive(Debug)]
struct Mortal {
    folder: Arc<Folder>,
    left: AtomicI64,
    died: AtomicU64,
    /// How long each write takes.
    delay: Duration,
}

impl Mortal {
    fn new(folder: &Arc<Folder>, writes: i64) -> Arc<Self> {
        Arc::new(Self {
            folder: folder.clone(),
            left: AtomicI64::new(writes),
            died: AtomicU64::new(0),
            delay: Duration::ZERO,
        })
    }

    /// One that lives, slowly: there is time for others.
    fn slow(folder: &Arc<Folder>) -> Arc<Self> {
        let (left, died) = (AtomicI64::new(i64::MAX), AtomicU64::new(0));
        Arc::new(Self { folder: folder.clone(), left, died, delay: Duration::from_millis(4) })
    }

    fn alive(&self) -> PortResult<()> {
        if self.left.load(Ordering::SeqCst) >= 0 { Ok(()) } else { Err(PortError::unavailable("the process", "dead")) }
    }

    /// Whether this write happens, and whether its answer arrives.
    async fn write(&self) -> (bool, bool) {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        if left == 0 {
            self.died.store(1, Ordering::SeqCst);
        }
        (left > 0 || (left == 0 && self.folder.steps().is_multiple_of(2)), left > 0)
    }
}

#[async_trait]
impl Objects for Mortal {
    async fn get(&self, path: &str) -> PortResult<Bytes> {
        self.alive()?;
        self.folder.get(path).await
    }

    async fn put(&self, path: &str, bytes: Bytes) -> PortResult<()> {
        let (happens, answered) = self.write().await;
        if happens {
            self.folder.put(path, bytes).await?;
        }
        if answered { Ok(()) } else { self.alive().and(Err(PortError::unavailable("the process", "dead"))) }
    }

    async fn put_if_absent(&self, path: &str, bytes: Bytes) -> PortResult<Created> {
        let (happens, answered) = self.write().await;
        let created = if happens { self.folder.put_if_absent(path, bytes).await? } else { Created::Exists };
        if answered { Ok(created) } else { Err(PortError::unavailable("the process", "dead")) }
    }

    async fn list(&self, prefix: &str) -> PortResult<Vec<ObjectInfo>> {
        self.alive()?;
        self.folder.list(prefix).await
    }

    async fn list_after(&self, prefix: &str, after: &str) -> PortResult<Vec<ObjectInfo>> {
        self.alive()?;
        self.folder.list_after(prefix, after).await
    }

    async fn delete(&self, path: &str) -> PortResult<()> {
        self.alive()?;
        self.folder.delete(path).await
    }

    fn location(&self, path: &str) -> Location {
        self.folder.location(path)
    }
}

/// Orders of two partitions and visits, in many small files, with duplicates within a file, across files, across
/// partitions, and of an earlier run.
async fn bronze(lake: &Lake, seed: u64, from: u64, files: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    for partition in 0..2_u32 {
        let mut offset = from;
        for _ in 0..files {
            let first = offset;
            let mut records: Vec<Record> = Vec::new();
            for _ in 0..random.random_range(1..8) {
                let id = random.random_range(0..60_u64);
                // Duplicates carry the same event time.
                let record = order(offset, &format!("o{id}"), id as i64 * 9_000, &format!("s{}", id % 4), id as f64);
                let broken = support::record(offset, "{".to_owned());
                records.push(if random.random_range(0..15) == 0 { broken } else { record });
                offset += 1;
            }
            lake.bronze("orders", partition, first, &records).await;
        }
    }
    lake.bronze("visits", 0, from, &(from..from + 9).map(|n| visit(n, n as i64 * 700, "s1")).collect::<Vec<_>>()).await;
}

fn shared() -> BatchConfig {
    BatchConfig { share: true, share_records: 9, lease: Span(Span::SECOND.0), share_poll: Span(5_000), ..config() }
}

fn layer(plan: &Arc<Plan>, lake: &Lake, objects: Arc<dyn Objects>, config: BatchConfig) -> Arc<BatchLayer> {
    let ports = BatchPorts { objects, ..lake.ports() };
    Arc::new(BatchLayer::new(plan.clone(), ports, config).unwrap())
}

/// Rows of a table, each as text, sorted; and how often each is there.
async fn silver(lake: &Lake, manifest: &Manifest, table: &str) -> BTreeMap<String, u64> {
    let mut rows = BTreeMap::new();
    for file in &manifest.tables[table].files {
        let frame = lake.folder.frame(&file.path).await;
        assert_eq!(frame.height() as u64, file.rows, "{}", file.path);
        for row in 0..frame.height() {
            let text: Vec<String> = frame.columns().iter().map(|column| column.get(row).unwrap().to_string()).collect();
            *rows.entry(text.join("|")).or_default() += 1;
        }
    }
    rows
}

/// What a version says that must not depend on who did the work.
async fn content(lake: &Lake, plan: &Plan) -> (String, BTreeMap<String, u64>, BTreeMap<(Vec<u8>, i64), String>) {
    let manifest = lake.current().await;
    for file in files_of(&manifest) {
        assert!(lake.folder.get(file).await.is_ok(), "{file} is named and not there");
    }
    let progress: Vec<String> = manifest
        .sources
        .values()
        .map(|source| {
            let seen: u64 = source.seen.iter().map(|file| file.rows).sum();
            let counts = (source.records, source.rejected, source.duplicates, seen);
            format!("{:?} {:?} {counts:?}", source.positions, source.watermarks)
        })
        .collect();
    let mut rows = silver(lake, &manifest, "sales").await;
    rows.extend(silver(lake, &manifest, "visitors").await);
    (progress.join("\n"), rows, lake.gold(plan, &manifest, "revenue").await)
}

/// Two runs, each with new Bronze, as `run` does them.
async fn two_runs(seed: u64, run: impl AsyncFn(&Lake, &Arc<Plan>)) -> (Lake, Arc<Plan>) {
    let (lake, plan) = (Lake::new(), plan(SHOP));
    for from in [0, 1_000] {
        if from > 0 {
            // The chain goes on where it ended.
            fill(&lake, from).await;
        }
        bronze(&lake, seed + from, from, 12).await;
        run(&lake, &plan).await;
    }
    (lake, plan)
}

/// A file that brings each chain to `to`: one record that cannot be read, at the end of the gap.
async fn fill(lake: &Lake, to: u64) {
    let next = lake.current().await;
    for (source, progress) in &next.sources {
        for (partition, position) in &progress.positions {
            let records: Vec<Record> = (*position..to).map(|offset| support::record(offset, "{".to_owned())).collect();
            lake.bronze(source, *partition, *position, &records).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_else_is_needed() {
    let (alone, plan) = two_runs(7, async |lake, plan| {
        lake.layer(plan).run().await.unwrap();
    })
    .await;
    let (lake, _) = two_runs(7, async |lake, plan| {
        let report = layer(plan, lake, lake.folder.clone(), shared()).run().await.unwrap();
        assert!(report.is_clean(), "{report:?}");
        assert!(lake.folder.paths("silver/_runs").await.is_empty(), "nothing is left lying");
    })
    .await;
    assert_eq!(content(&lake, &plan).await, content(&alone, &plan).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_dies_the_result_is_that_of_one_process() {
    let mut deaths = 0;
    for seed in 0..12 {
        let (alone, plan) = two_runs(seed, async |lake, plan| {
            lake.layer(plan).run().await.unwrap();
        })
        .await;
        let expected = content(&alone, &plan).await;
        let died = AtomicU64::new(0);
        let (lake, _) = two_runs(seed, async |lake, plan| {
            let mut random = StdRng::seed_from_u64(seed);
            let cancel = CancellationToken::new();
            let mut workers = Vec::new();
            let mut mortals = Vec::new();
            for _ in 0..3 {
                let objects = Mortal::new(&lake.folder, random.random_range(0..25));
                let worker = layer(plan, lake, objects.clone(), shared());
                let cancel = cancel.clone();
                workers.push(tokio::spawn(async move { worker.work(cancel).await }));
                mortals.push(objects);
            }
            let clock = lake.clock.clone();
            let ticking = tokio::spawn(async move {
                loop {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    clock.advance(Span(Span::SECOND.0 / 5));
                }
            });
            let coordinator = layer(plan, lake, Mortal::slow(&lake.folder), shared());
            let report = coordinator.run().await.unwrap();
            assert!(report.is_clean(), "{report:?}");
            ticking.abort();
            cancel.cancel();
            for worker in workers {
                worker.await.unwrap();
            }
            died.fetch_add(mortals.iter().map(|mortal| mortal.died.load(Ordering::SeqCst)).sum(), Ordering::SeqCst);
        })
        .await;
        assert_eq!(content(&lake, &plan).await, expected, "seed {seed}");
        deaths += died.load(Ordering::SeqCst);
    }
    assert!(deaths >= 5, "only {deaths} workers died");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_dies_costs_its_run_only() {
    let (alone, plan) = two_runs(3, async |lake, plan| {
        lake.layer(plan).run().await.unwrap();
    })
    .await;
    let expected = content(&alone, &plan).await;
    for writes in [0, 1, 2, 5, 9, 14, 20, 33, 60] {
        let (lake, _) = two_runs(3, async |lake, plan| {
            let mortal = Mortal::new(&lake.folder, writes);
            let _ = layer(plan, lake, mortal, shared()).run().await;
            layer(plan, lake, lake.folder.clone(), shared()).run().await.unwrap();
        })
        .await;
        assert_eq!(content(&lake, &plan).await, expected, "after {writes} writes");
        // What the dead one left is deleted when it is old.
        lake.clock.advance(Span(3 * Span::HOUR.0));
        lake.bronze("visits", 0, 1_009, &[visit(1_009, 5, "s1")]).await;
        layer(&plan, &lake, lake.folder.clone(), shared()).run().await.unwrap();
        assert!(lake.folder.paths("silver/_runs").await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_definition_takes_no_part() {
    let (lake, ours) = (Lake::new(), plan(SHOP));
    bronze(&lake, 1, 0, 12).await;
    let theirs = plan(&SHOP.replace(r#"amount = "amount","#, r#"amount = "amount * 2","#));
    let cancel = CancellationToken::new();
    let stranger = layer(&theirs, &lake, lake.folder.clone(), shared());
    let working = {
        let cancel = cancel.clone();
        tokio::spawn(async move { stranger.work(cancel).await })
    };
    let report = layer(&ours, &lake, Mortal::slow(&lake.folder), shared()).run().await.unwrap();
    cancel.cancel();
    working.await.unwrap();
    assert!(report.is_clean());
    let alone = Lake::new();
    bronze(&alone, 1, 0, 12).await;
    alone.layer(&ours).run().await.unwrap();
    assert_eq!(content(&lake, &ours).await, content(&alone, &ours).await);
}
