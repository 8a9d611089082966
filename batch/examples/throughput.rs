//! How fast the batch layer is: 100,000 orders of 30 days and 50 shops, from Bronze to Gold and reports, then
//! 1,000 more. `cargo run --release -p tideline-batch --example throughput`
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../tests/support/mod.rs"]
mod support;

use support::{Lake, SHOP, order, plan};
use tideline_batch::BatchConfig;
use tideline_common::record::Record;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let (lake, plan) = (Lake::new(), plan(SHOP));
    let record = |n: u64| order(n, &format!("o{n}"), n as i64 * 26, &format!("shop{}", n * 7 % 50), (n % 1_000) as f64);
    for file in 0..100 {
        let records: Vec<Record> = (file * 1_000..(file + 1) * 1_000).map(record).collect();
        lake.bronze("orders", 0, file * 1_000, &records).await;
    }
    let layer = lake.layer_with(&plan, BatchConfig::default());
    let first = layer.run().await.unwrap();
    lake.bronze("orders", 0, 100_000, &(100_000..101_000).map(record).collect::<Vec<_>>()).await;
    let second = layer.run().await.unwrap();
    for run in [first, second] {
        println!("{} records, {} groups: {:?} ms", run.silver.records, run.gold["revenue"].groups, run.stages_ms);
    }
}
