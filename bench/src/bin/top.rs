//! Rankings: `top` over many active keys, read from the stores and kept ready, in one run, while changes flow in.
//!
//! The speed layer's panes are in the embedded views, its changes in the embedded log; the oldest panes of the window
//! are batch's, from memory: the stores' side of the comparison is favoured by that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use clap::Parser;
use tideline_common::aggregate::fold::{Event, fold};
use tideline_common::aggregate::{Aggregate, Function};
use tideline_common::changes::{self, Change};
use tideline_common::key::Key;
use tideline_common::manifest::{Manifest, ViewFiles};
use tideline_common::plan::{EventTime, Field, Measure, Plan, SourcePlan, Start, TimeFormat, ViewPlan};
use tideline_common::ports::{
    Analytics, Clock, Flush, Log, LookupRows, LookupSchema, PaneFlush, PanePage, PaneQuery, PortError, PortResult,
    Progress, ReportPage, ReportQuery, SpeedViews, TopicSpec, ViewSchema,
};
use tideline_common::position::Shard;
use tideline_common::state::StateBatch;
use tideline_common::time::{Span, Timestamp};
use tideline_common::value::{Type, Value};
use tideline_common::watermark::Watermark;
use tideline_common::window::Window;
use tideline_serving::merge::{Reader, ReaderConfig, TopAnswer, TopRequest};
use tideline_serving::ranking::{Rankings, RankingsConfig};
use tideline_stores::clock::SystemClock;
use tideline_stores::log::embedded::{EmbeddedLog, EmbeddedLogConfig};
use tideline_stores::views::embedded::{EmbeddedViews, EmbeddedViewsConfig};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser, Clone)]
struct Arguments {
    /// Active keys.
    #[arg(long, default_value_t = 100_000)]
    keys: usize,
    /// Panes of the window.
    #[arg(long, default_value_t = 5)]
    panes: i64,
    /// Of these, panes that are batch's.
    #[arg(long, default_value_t = 2)]
    batch_panes: i64,
    /// Shards of the speed layer.
    #[arg(long, default_value_t = 2)]
    shards: u32,
    /// Keys that change per second and shard while it is measured; 5 flushes a second.
    #[arg(long, default_value_t = 10_000)]
    changes: usize,
    /// Rankings read from the stores, and kept ready.
    #[arg(long, default_value_t = 12)]
    plain: usize,
    #[arg(long, default_value_t = 1_000)]
    kept: usize,
    /// Entries of a ranking.
    #[arg(long, default_value_t = 10)]
    limit: usize,
}

const PANE: Span = Span::MINUTE;

fn view(arguments: &Arguments) -> Result<ViewPlan> {
    let functions =
        [("n", Function::Count), ("mean", Function::Avg), ("close", Function::Last), ("high", Function::Max)];
    let (mut fields, mut measures, mut answer) = (Vec::new(), Vec::new(), Vec::new());
    for (name, function) in functions {
        let argument = (function != Function::Count).then(|| ("x".to_owned(), Type::Float));
        let aggregate = Aggregate::new(function, argument)?;
        let first = fields.len();
        let field = |suffix: &str| format!("{name}_{suffix}");
        let states = aggregate.states();
        fields.extend(states.iter().map(|spec| spec.field(field(spec.suffix), "t", Some("x".to_owned()))));
        let ty = aggregate.result_type();
        answer.push(Field { name: name.to_owned(), ty });
        let (states, name, sql) = ((first..fields.len()).collect(), name.to_owned(), name.to_owned());
        measures.push(Measure { name, table: "t".to_owned(), aggregate, states, ty, sql });
    }
    Ok(ViewPlan {
        name: "active".to_owned(),
        key: vec![Field { name: "key".to_owned(), ty: Type::String }],
        window: Window::new(Span(PANE.0 * arguments.panes), PANE)?,
        pane: PANE,
        measures,
        columns: Vec::new(),
        answer,
        fields,
        tables: vec!["t".to_owned()],
        sources: vec!["s".to_owned()],
        retain_speed: None,
        retain_batch: None,
        top: vec!["n".to_owned()],
        version: "1".to_owned(),
    })
}

fn plan(view: ViewPlan) -> Plan {
    let source = SourcePlan {
        name: "s".to_owned(),
        topic: "s".to_owned(),
        partitions: 2,
        retention: None,
        start: Start::Earliest,
        columns: vec![Field { name: "x".to_owned(), ty: Type::Float }],
        required: Vec::new(),
        event_time: EventTime { column: "t".to_owned(), format: TimeFormat::Rfc3339 },
        key: None,
        lateness: Span::MINUTE,
        max_ahead: None,
        idle_after: Span::MINUTE,
        dedupe: None,
        checks: Vec::new(),
        retain_bronze: None,
        version: "1".to_owned(),
    };
    Plan {
        name: "bench".to_owned(),
        sources: vec![source],
        tables: Vec::new(),
        views: vec![view],
        lookups: Vec::new(),
        reports: Vec::new(),
        alerts: Vec::new(),
        outputs: Vec::new(),
        predictions: Vec::new(),
        row_outputs: Vec::new(),
        endpoints: Vec::new(),
    }
}

/// Made-up numbers, the same in every run: `SplitMix64` (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// Adds the state of a key in a pane after `events` events.
fn push(states: &mut StateBatch, view: &ViewPlan, key: usize, pane: i64, events: u64, random: &mut Random) {
    let row = states.push_identity(&Key::of(&[Value::String(format!("key {key}"))]).0, Timestamp(pane * PANE.0));
    for event in 0..events {
        let argument = Value::Float((random.next() % 1_000) as f64 / 8.0);
        for (field, column) in view.fields.iter().zip(&mut states.states) {
            let time = Timestamp(pane * PANE.0 + event as i64);
            fold(field, column, row, Event { argument: &argument, time, sequence: event as i64 });
        }
    }
}

/// Gold in memory.
#[derive(Debug)]
struct Gold {
    manifest: Arc<Manifest>,
    states: StateBatch,
}

fn not_here<T>() -> PortResult<T> {
    Err(PortError::invalid("gold", "the benchmark does not read this"))
}

#[async_trait]
impl Analytics for Gold {
    async fn current(&self) -> PortResult<Option<Arc<Manifest>>> {
        Ok(Some(Arc::clone(&self.manifest)))
    }

    async fn panes(&self, _: &Manifest, _: &ViewSchema, _: &PaneQuery) -> PortResult<PanePage> {
        not_here()
    }

    async fn panes_between(&self, _: &Manifest, _: &ViewSchema, _: Timestamp, _: Timestamp) -> PortResult<StateBatch> {
        Ok(self.states.clone())
    }

    async fn newest_pane(&self, _: &Manifest, _: &ViewSchema) -> PortResult<Option<Timestamp>> {
        Ok(self.states.panes.iter().max().copied())
    }

    async fn report(&self, _: &Manifest, _: &str, _: &ReportQuery) -> PortResult<ReportPage> {
        not_here()
    }

    async fn rows(&self, _: &Manifest, _: &str, _: &LookupSchema, _: &Key, _: usize) -> PortResult<LookupRows> {
        not_here()
    }
}

/// The speed layer's two stores, and what it does with a flush.
#[derive(Clone)]
struct Speed {
    view: ViewPlan,
    views: Arc<EmbeddedViews>,
    log: Arc<EmbeddedLog>,
    clock: Arc<SystemClock>,
}

impl Speed {
    async fn flush(&self, partition: u32, position: u64, panes: StateBatch) -> Result<()> {
        let (now, shard) = (self.clock.now(), Shard::new("s", partition));
        let watermark = Watermark { highest: panes.panes.iter().max().copied(), last_appended: Some(now) };
        let progress =
            Progress { position, highest: watermark.highest, last_appended: Some(now), ..Progress::default() };
        let schema = ViewSchema::from(&self.view);
        let late = StateBatch::new(&self.view.fields[..1]);
        let of_view = PaneFlush { view: schema, panes: panes.clone(), late };
        let flush = Flush { shard: shard.clone(), panes: vec![of_view], rows: Vec::new(), progress };
        self.views.write(&flush, now).await?;
        let change = Change { version: self.view.version.clone(), shard, position, watermark, panes };
        self.log.append(&changes::topic(&self.view.name), change.encode(), now).await?;
        Ok(())
    }
}

fn print(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |q: f64| times[((times.len() - 1) as f64 * q) as usize].as_secs_f64() * 1e3;
    println!("{name:<28} {:>6} calls, ms: p50 {:.2}  p99 {:.2}  max {:.2}", times.len(), at(0.5), at(0.99), at(1.0));
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    let view = view(&arguments)?;
    let plan = Arc::new(plan(view.clone()));
    let log = Arc::new(EmbeddedLog::open(folder.path().join("log"), EmbeddedLogConfig::default())?);
    let views = Arc::new(EmbeddedViews::open(folder.path().join("views"), EmbeddedViewsConfig::default())?);
    let speed = Speed { view: view.clone(), views, log, clock: Arc::new(SystemClock) };
    let spec = TopicSpec { name: changes::topic(&view.name), partitions: 1, retention: None, max_bytes: None };
    speed.log.ensure_topic(&spec).await?;

    // Every key in every pane: the oldest panes in Gold, all in every shard.
    let mut random = Random(1);
    let mut gold = StateBatch::new(&view.fields);
    for key in 0..arguments.keys {
        for pane in 0..arguments.batch_panes {
            push(&mut gold, &view, key, pane, 1 + (key as u64 % 3), &mut random);
        }
    }
    let positions: Arc<Vec<AtomicU64>> = Arc::new((0..arguments.shards).map(|_| AtomicU64::new(0)).collect());
    for shard in 0..arguments.shards {
        for pane in arguments.batch_panes..arguments.panes {
            for keys in (0..arguments.keys).collect::<Vec<_>>().chunks(20_000) {
                let mut panes = StateBatch::new(&view.fields);
                for key in keys {
                    push(&mut panes, &view, *key, pane, 1 + (random.next() % 3), &mut random);
                }
                let position = positions[shard as usize].fetch_add(keys.len() as u64, Ordering::SeqCst);
                speed.flush(shard, position + keys.len() as u64, panes).await?;
            }
        }
    }
    let through = Some(Timestamp(arguments.batch_panes * PANE.0));
    let files = ViewFiles { plan: view.version.clone(), through, ..ViewFiles::default() };
    let manifest = Manifest { version: 1, views: [(view.name.clone(), files)].into(), ..Manifest::default() };
    let gold = Arc::new(Gold { manifest: Arc::new(manifest), states: gold });

    let reader = || {
        let (views, clock) = (speed.views.clone() as Arc<dyn SpeedViews>, speed.clock.clone());
        Reader::new(Arc::clone(&plan), views, gold.clone(), clock, ReaderConfig::default())
    };
    let plain = reader();
    let began = Instant::now();
    let (cancel, config) = (CancellationToken::new(), RankingsConfig::default());
    let (log, views) = (speed.log.clone(), speed.views.clone());
    let rankings = Rankings::start(&plan, log, views, gold.clone(), speed.clock.clone(), config, &cancel);
    let kept = reader().with_rankings(Arc::clone(&rankings));
    while !rankings.status()[&view.name].ready {
        ensure!(began.elapsed() < Duration::from_mins(2), "{:?}", rankings.status());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let status = &rankings.status()[&view.name];
    println!(
        "{} keys in {} panes, {} of them batch's, {} shards: {} rows in {} MiB, ready after {:.2} s",
        status.keys,
        arguments.panes,
        arguments.batch_panes,
        arguments.shards,
        status.rows,
        status.bytes >> 20,
        began.elapsed().as_secs_f64()
    );

    // Changes flow in, in the newest pane.
    let flowing: Vec<_> = (0..arguments.shards)
        .map(|shard| {
            let (speed, arguments, positions, cancel) =
                (speed.clone(), arguments.clone(), Arc::clone(&positions), cancel.clone());
            let mut random = Random(100 + u64::from(shard));
            tokio::spawn(async move {
                let mut tick = tokio::time::interval(Duration::from_millis(200));
                while cancel.run_until_cancelled(tick.tick()).await.is_some() {
                    let mut panes = StateBatch::new(&speed.view.fields);
                    let mut keys: Vec<usize> =
                        (0..arguments.changes / 5).map(|_| random.next() as usize % arguments.keys).collect();
                    keys.sort_unstable();
                    keys.dedup();
                    for key in &keys {
                        push(&mut panes, &speed.view, *key, arguments.panes - 1, 4 + random.next() % 4, &mut random);
                    }
                    let position = positions[shard as usize].fetch_add(keys.len() as u64, Ordering::SeqCst);
                    speed.flush(shard, position + keys.len() as u64, panes).await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();

    let request = |by: &str| TopRequest {
        view: view.name.clone(),
        by: Some(by.to_owned()),
        limit: Some(arguments.limit),
        ..TopRequest::default()
    };
    let columns = ["n", "mean", "close", "high"];
    let measure = async |reader: &Reader, calls: usize| -> Result<(Vec<Duration>, usize)> {
        let (mut times, mut from_memory) = (Vec::with_capacity(calls), 0);
        for call in 0..calls {
            let began = Instant::now();
            let answer: TopAnswer = reader.top(&request(columns[call % columns.len()])).await?;
            times.push(began.elapsed());
            ensure!(answer.rows.len() == arguments.limit.min(arguments.keys), "{} rows", answer.rows.len());
            from_memory += usize::from(answer.provenance.kept);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok((times, from_memory))
    };
    let (times, _) = measure(&plain, arguments.plain).await?;
    print("read from the stores", times);
    let (times, from_memory) = measure(&kept, arguments.kept).await?;
    print("kept ready", times);
    println!("{from_memory} of {} from memory", arguments.kept);
    ensure!(from_memory == arguments.kept, "some were not answered from memory: {:?}", rankings.status());

    // At rest, both say the same.
    cancel.cancel();
    for task in flowing {
        task.await.context("the changes")??;
    }
    let rankings = Rankings::start(
        &plan,
        speed.log.clone(),
        speed.views.clone(),
        gold.clone(),
        speed.clock.clone(),
        config,
        &CancellationToken::new(),
    );
    let again = reader().with_rankings(Arc::clone(&rankings));
    while !rankings.status()[&view.name].ready {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for by in columns {
        let (a, b) = (plain.top(&request(by)).await?, again.top(&request(by)).await?);
        ensure!(a.rows == b.rows && b.provenance.kept, "the answers differ by {by}");
    }
    println!("the answers are equal");
    Ok(())
}
