//! How fast Silver becomes Gold: one view over a lake whose Silver is there already.
//!
//! `cargo run --release -p tideline-batch --example gold -- LAKE VIEW` recomputes all of Gold of `VIEW` and prints what it
//! took as JSON; with `--sql` it prints the statements for `ClickHouse` instead. `bench/batch.py` makes the lake, runs
//! this beside other engines and compares the results.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use polars::prelude::{DataType, IntoLazy, ParquetReader, SerReader, TimeUnit, col};
use support::{Folder, Lake, plan};
use tideline_batch::{BatchConfig, Manifests, sql};
use tideline_common::manifest::{Manifest, SourceProgress, TableFiles, TimedFile};
use tideline_common::plan::Plan;
use tideline_common::ports::{ManualClock, Objects};
use tideline_common::time::Timestamp;

/// `plain` has states that every SQL engine has, `maps` those that are maps.
const DEFINITION: &str = r#"
version = 1
name = "bench"

[sources.tweets]
topic = "tweets"
columns = { at = "int", symbol = "string", user_id = "string", sentiment = "float" }
event_time = { column = "at", format = "epoch_ms" }

[tables.mentions]
from = "tweets"
columns = { symbol = "symbol", user_id = "user_id", sentiment = "sentiment" }

[views.plain]
key = ["symbol"]
window = "1m"
measures.mentions = { table = "mentions", agg = "count()" }
measures.average = { table = "mentions", agg = "avg(sentiment)" }
measures.least = { table = "mentions", agg = "min(sentiment)" }
measures.most = { table = "mentions", agg = "max(sentiment)" }
measures.open = { table = "mentions", agg = "first(sentiment)" }
measures.close = { table = "mentions", agg = "last(sentiment)" }

[views.maps]
key = ["symbol"]
window = "1m"
measures.mentions = { table = "mentions", agg = "count()" }
measures.p95 = { table = "mentions", agg = "quantile(sentiment, 0.95)" }
measures.users = { table = "mentions", agg = "distinct(user_id)" }
"#;

/// The plan with one view.
fn plan_of(view: &str) -> Arc<Plan> {
    let mut plan = Plan::clone(&plan(DEFINITION));
    plan.views.retain(|other| other.name == view);
    assert!(!plan.views.is_empty(), "no view {view}");
    Arc::new(plan)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [lake, view, rest @ ..] = arguments.as_slice() else { panic!("LAKE VIEW [--sql]") };
    let plan = plan_of(view);
    if rest.iter().any(|argument| argument == "--sql") {
        println!("{}", sql::silver_to_gold(&plan, &plan.views[0]).unwrap());
        return;
    }
    let folder = Arc::new(Folder::at(lake));
    let lake = Lake { folder: folder.clone(), clock: Arc::new(ManualClock::new(Timestamp(support::START))) };
    publish_silver(&lake, &plan).await;
    let report = lake.layer_with(&plan, BatchConfig::default()).run().await.unwrap();
    let manifest = lake.current().await;
    let silver = &manifest.tables["mentions"].files;
    let files: Vec<&str> = manifest.views[view].files.iter().map(|file| file.path.as_str()).collect();
    let result = serde_json::json!({
        "rows": silver.iter().map(|file| file.rows).sum::<u64>(),
        "groups": report.gold[view].groups,
        "stages_ms": report.stages_ms,
        "files": files,
    });
    println!("{result}");
}

/// A version that has the Silver files there are, and nothing else: the next run makes all of Gold.
async fn publish_silver(lake: &Lake, plan: &Plan) {
    let mut files = Vec::new();
    for path in lake.folder.paths("silver/mentions").await {
        let bytes = lake.folder.get(&path).await.unwrap();
        let frame = ParquetReader::new(std::io::Cursor::new(bytes))
            .with_columns(Some(vec!["event_time".to_owned()]))
            .finish()
            .unwrap();
        let time = col("event_time").cast(DataType::Datetime(TimeUnit::Microseconds, None)).cast(DataType::Int64);
        let ends = frame.clone().lazy().select([time.clone().min().alias("min"), time.max().alias("max")]).collect();
        let ends = ends.unwrap();
        let end = |name: &str| Timestamp(ends.column(name).unwrap().i64().unwrap().get(0).unwrap());
        files.push(TimedFile { path, rows: frame.height() as u64, min_time: end("min"), max_time: end("max") });
    }
    let source = SourceProgress { plan: plan.sources[0].version.clone(), ..SourceProgress::default() };
    let manifests = Manifests::new(lake.folder.clone());
    let (_, taken) = manifests.newest().await.unwrap();
    let manifest = Manifest {
        version: taken + 1,
        run: format!("silver-{}", taken + 1),
        sources: BTreeMap::from([("tweets".to_owned(), source)]),
        tables: BTreeMap::from([(
            "mentions".to_owned(),
            TableFiles { plan: plan.tables[0].version.clone(), files, ..TableFiles::default() },
        )]),
        ..Manifest::default()
    };
    manifests.publish(&manifest).await.unwrap();
}
