//! The speed layer in this process over a log in memory: what it takes in per second, and where the time goes.
//!
//! Two partitions of tweets are loaded first; then the layer reads them from the beginning, keeps views (embedded), writes
//! Bronze and checkpoints (a local folder), and is sealed: everything is durable when the clock stops. With `--file` the
//! tweets are that file's, repeated (`tweets.ndjson.gz`); without, they are made up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use clap::Parser;
use tideline_bench::ndjson;
use tideline_bench::spent::{Spent, cpu};
use tideline_common::plan::{self, Plan};
use tideline_common::ports::{
    Appended, KeySelector, Log, PaneQuery, PortError, PortResult, ReadRequest, SpeedViews, TopicInfo, TopicSpec,
    ViewSchema,
};
use tideline_common::position::{Offset, Partition};
use tideline_common::record::{NewRecord, Record};
use tideline_common::state::StateColumn;
use tideline_common::time::Timestamp;
use tideline_speed::{SpeedConfig, SpeedLayer, SpeedPorts};
use tideline_stores::clock::SystemClock;
use tideline_stores::membership::Everything;
use tideline_stores::objects::ObjectStoreObjects;
use tideline_stores::views::embedded::{EmbeddedViews, EmbeddedViewsConfig};
use tideline_transform::SqlTypes;
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Arguments {
    /// NDJSON with `created_at`, `text` and `user_id`, gzipped when it ends in `.gz`.
    #[arg(long)]
    file: Option<PathBuf>,
    /// Every tweet so many times in a row.
    #[arg(long, default_value_t = 40)]
    repeat: usize,
    /// Partitions.
    #[arg(long, default_value_t = 2)]
    partitions: u32,
    /// What is averaged: `length` or `vader`; both when absent.
    #[arg(long)]
    job: Option<String>,
    /// Threads of the runtime.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Where Bronze, checkpoints and views go; a temporary folder when absent.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// `[speed]` of the configuration, as JSON.
    #[arg(long, default_value = "{}")]
    config: String,
    /// Runs of each job.
    #[arg(long, default_value_t = 1)]
    runs: usize,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let spent = Spent::install()?;
    let tweets = match &arguments.file {
        Some(file) => ndjson::read(file)?,
        None => generate(24_714),
    };
    let log = Arc::new(Loaded::new(&tweets, arguments.repeat, arguments.partitions));
    println!(
        "{} records of {} bytes on average in {} partitions",
        log.len(),
        log.bytes() / log.len().max(1),
        arguments.partitions
    );
    let config: SpeedConfig = serde_json::from_str(&arguments.config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(arguments.threads).enable_all().build()?;
    for job in ["length", "vader"] {
        if arguments.job.as_deref().is_none_or(|wanted| wanted == job) {
            for _ in 0..arguments.runs {
                let temporary = tempfile::tempdir()?;
                let folder = arguments.folder.as_deref().unwrap_or(temporary.path()).join(job);
                runtime.block_on(run(job, &log, &folder, config.clone(), spent))?;
            }
        }
    }
    Ok(())
}

/// Job A of the peers (`bench/peers`); with VADER in place of the length.
fn definition(job: &str) -> Result<Plan> {
    let (column, measures) = match job {
        "vader" => ("score = \"vader(text)\"", &["avg(score)", "stddev(score)"][..]),
        _ => ("len = \"length(text)\"", &["avg(len)", "stddev(len)"][..]),
    };
    let text = format!(
        r#"
version = 1
name = "peers"

[sources.tweets]
topic = "tweets"
columns = {{ created_at = "string", text = "string", user_id = "string" }}
required = ["text"]
event_time = {{ column = "created_at", format = "%Y-%m-%d %H:%M:%S" }}
start = "earliest"
lateness = "2m"

[tables.symbols]
from = "tweets"
columns = {{ symbol = "unnest(cashtags(text, 'all'))", {column} }}

[views.by_symbol]
key = ["symbol"]
window = {{ size = "5m", slide = "1m" }}
measures.count = {{ table = "symbols", agg = "count()" }}
measures.mean = {{ table = "symbols", agg = "{}" }}
measures.deviation = {{ table = "symbols", agg = "{}" }}
"#,
        measures[0], measures[1]
    );
    plan::load("peers.toml", &text, &|_| None, &SqlTypes).map_err(|mistakes| anyhow!("{mistakes}"))
}

async fn run(job: &str, log: &Arc<Loaded>, folder: &Path, config: SpeedConfig, spent: &Spent) -> Result<()> {
    let plan = Arc::new(definition(job)?);
    let objects = Arc::new(ObjectStoreObjects::local(folder.join("lake"), 0)?);
    let views = Arc::new(EmbeddedViews::open(folder.join("views"), EmbeddedViewsConfig::default())?);
    let log_port: Arc<dyn Log> = Arc::clone(log) as _;
    let ports = SpeedPorts {
        membership: Arc::new(Everything::new(Arc::clone(&log_port), Duration::from_secs(1))),
        log: log_port,
        objects,
        views: Arc::clone(&views) as _,
        clock: Arc::new(SystemClock),
    };
    spent.clear();
    let (stop, began, cpu_before) = (CancellationToken::new(), Instant::now(), cpu());
    let config = SpeedConfig { seal_timeout: tideline_common::time::Span::HOUR, ..config };
    let handle = SpeedLayer::start(Arc::clone(&plan), ports, config, stop.clone()).await?;
    handle.seal().await?;
    let (elapsed, cpu) = (began.elapsed(), cpu().saturating_sub(cpu_before));
    let records = log.len() as f64;
    println!(
        "job {job}: {:.0} events/s, {:.2} s, {:.2} µs of CPU per event",
        records / elapsed.as_secs_f64(),
        elapsed.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / records,
    );
    for (stage, (seconds, calls)) in spent.stages() {
        println!("  {stage:<40} {:6.3} µs per event  {calls:6} times  {seconds:.2} s", seconds * 1e6 / records);
    }
    stop.cancel();
    handle.join().await;
    let view = ViewSchema::from(plan.view("by_symbol").context("no view")?);
    let (panes, rows) = answers(&*views, &view).await?;
    println!(
        "  {panes} panes hold {rows} symbol rows; {:?}",
        handle.status().iter().map(|s| s.late).collect::<Vec<_>>()
    );
    Ok(())
}

/// Panes in the store, and the rows behind them: what must not depend on speed.
async fn answers(views: &dyn SpeedViews, view: &ViewSchema) -> Result<(usize, i64)> {
    let (mut after, mut panes, mut rows) = (None, 0, 0);
    loop {
        let query = PaneQuery {
            keys: KeySelector::All { after },
            from: Timestamp(i64::MIN),
            to: Timestamp(i64::MAX),
            max_rows: 100_000,
        };
        let page = views.panes(view, &query, Timestamp(0)).await?;
        panes += page.panes.len();
        let at = view.fields.iter().position(|field| field.name.contains("count")).unwrap_or(0);
        if let StateColumn::SumInt(counts) = &page.panes.states[at] {
            rows += counts.iter().sum::<i64>();
        }
        match page.more_after {
            Some(key) => after = Some(key),
            None => return Ok((panes, rows)),
        }
    }
}

/// A log in memory, loaded before.
#[derive(Debug)]
struct Loaded(Vec<Vec<Record>>);

/// Records that share one arena, as those of one fetch do.
const ARENA_RECORDS: usize = 1_000;

impl Loaded {
    fn new(tweets: &[Bytes], repeat: usize, partitions: u32) -> Self {
        let mut all: Vec<Vec<&Bytes>> = vec![Vec::new(); partitions as usize];
        // Alternating, as the topic of the peers.
        for (at, tweet) in tweets.iter().flat_map(|tweet| std::iter::repeat_n(tweet, repeat)).enumerate() {
            all[at % partitions as usize].push(tweet);
        }
        Self(all.into_iter().map(|tweets| arenas(&tweets)).collect())
    }

    fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    fn bytes(&self) -> usize {
        self.0.iter().flatten().map(|record| record.payload.len()).sum()
    }
}

fn arenas(tweets: &[&Bytes]) -> Vec<Record> {
    let mut records = Vec::with_capacity(tweets.len());
    for chunk in tweets.chunks(ARENA_RECORDS) {
        let mut arena = BytesMut::with_capacity(chunk.iter().map(|tweet| tweet.len()).sum());
        for tweet in chunk {
            arena.extend_from_slice(tweet);
        }
        let (arena, mut from) = (arena.freeze(), 0);
        for tweet in chunk {
            let payload = arena.slice(from..from + tweet.len());
            from += tweet.len();
            let offset = records.len() as Offset;
            let appended = Timestamp(1_700_000_000_000_000 + records.len() as i64);
            records.push(Record { offset, appended, key: None, headers: Vec::new(), payload });
        }
    }
    records
}

#[async_trait]
impl Log for Loaded {
    async fn ensure_topic(&self, _: &TopicSpec) -> PortResult<()> {
        Ok(())
    }

    async fn topics(&self) -> PortResult<Vec<TopicInfo>> {
        Ok(vec![self.topic("tweets").await?])
    }

    async fn topic(&self, name: &str) -> PortResult<TopicInfo> {
        let ends = self.0.iter().enumerate().map(|(at, records)| (at as Partition, (0, records.len() as Offset)));
        Ok(TopicInfo { name: name.to_owned(), partitions: ends.collect() })
    }

    async fn append(&self, topic: &str, _: Vec<NewRecord>, _: Timestamp) -> PortResult<Appended> {
        Err(PortError::invalid(topic, "it is only read"))
    }

    async fn append_to(
        &self,
        topic: &str,
        _: Partition,
        _: Vec<NewRecord>,
        _: Timestamp,
    ) -> PortResult<(Offset, Offset)> {
        Err(PortError::invalid(topic, "it is only read"))
    }

    async fn read(&self, request: &ReadRequest) -> PortResult<Vec<Record>> {
        let all = &self.0[request.partition as usize];
        let from = (request.from as usize).min(all.len());
        let (mut bytes, mut to) = (0, from);
        while to < all.len() && to - from < request.max_records && (to == from || bytes < request.max_bytes) {
            bytes += all[to].payload.len();
            to += 1;
        }
        if to == from {
            tokio::time::sleep(request.wait).await;
        }
        Ok(all[from..to].to_vec())
    }

    async fn commit_hint(&self, _: &str, _: &str, _: Partition, _: Offset) -> PortResult<()> {
        Ok(())
    }

    async fn expire(&self, _: Timestamp, _: &BTreeMap<(String, Partition), Offset>) -> PortResult<u64> {
        Ok(0)
    }
}

/// Tweets of a few words and symbols, a few seconds apart.
fn generate(count: usize) -> Vec<Bytes> {
    const SYMBOLS: [&str; 10] = ["AAPL", "TSLA", "GOOG", "FB", "AMZN", "C", "MSFT", "NFLX", "GE", "LGF"];
    let tweet = |at: usize| {
        let time = Timestamp(1_388_534_400_000_000 + at as i64 * 20_000_000).to_string();
        let created_at = time.replace('T', " ").replace('Z', "");
        let (one, two) = (SYMBOLS[at * 7 % 10], SYMBOLS[at * 13 % 10]);
        let text =
            format!("great earnings beat, ${one} is not bad today but ${two} was the worst of them http://t.co/{at}");
        serde_json::json!({ "created_at": created_at, "text": text, "user_id": (at * 31 % 9_973).to_string() })
    };
    (0..count).map(|at| Bytes::from(tweet(at).to_string())).collect()
}
