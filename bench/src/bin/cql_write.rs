//! Speed views on a CQL server under the load of the stock pipeline: what a flush takes, and what reads take.
//!
//! At 10,000 events/s and a flush each 200 ms, a flush has some hundred panes of (symbol, minute) and 1,500 rows of lookups.
//! Flushes are written at their rate (`--every`), or one after the other as fast as they go (`--every 0`).

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use tideline_common::column::Column;
use tideline_common::key::Key;
use tideline_common::plan::Field;
use tideline_common::ports::{
    Clock as _, Flush, KeySelector, LookupRows, LookupSchema, PaneFlush, PaneQuery, Progress, SpeedViews, ViewSchema,
};
use tideline_common::position::Shard;
use tideline_common::state::{Input, MapColumn, Rule, StateBatch, StateColumn, StateField};
use tideline_common::time::{Span, Timestamp};
use tideline_common::value::{Type, Value};
use tideline_stores::clock::SystemClock;
use tideline_stores::views::scylla::{ScyllaConfig, ScyllaViews};

#[derive(Parser)]
struct Arguments {
    /// `host:port` of the server.
    #[arg(long, env = "TIDELINE_TEST_CQL")]
    server: String,
    #[arg(long, default_value = "tideline_bench")]
    keyspace: String,
    /// Shards that write, each its own flushes.
    #[arg(long, default_value_t = 2)]
    shards: u32,
    /// Flushes of each shard.
    #[arg(long, default_value_t = 100)]
    flushes: u64,
    /// Milliseconds from one flush of a shard to the next; 0: at once.
    #[arg(long, default_value_t = 200)]
    every: u64,
    /// Changed panes of a flush.
    #[arg(long, default_value_t = 300)]
    panes: usize,
    /// Rows of lookups of a flush.
    #[arg(long, default_value_t = 1_500)]
    rows: usize,
    /// Symbols; rows fall on them as words do on ranks (Zipf).
    #[arg(long, default_value_t = 2_000)]
    symbols: usize,
    #[arg(long, default_value_t = ScyllaConfig::default().write_concurrency)]
    concurrency: usize,
    /// Partitions in a batch.
    #[arg(long, default_value_t = ScyllaConfig::default().batch_partitions)]
    partitions: usize,
    /// Bytes of a batch over partitions.
    #[arg(long, default_value_t = ScyllaConfig::default().batch_partitions_bytes)]
    bytes: usize,
}

fn field(name: &str, rule: Rule, ty: Type) -> StateField {
    StateField { name: name.to_owned(), rule, ty, input: Input::Value, table: "t".to_owned(), argument: None }
}

/// The view of the stock pipeline.
fn view() -> ViewSchema {
    ViewSchema {
        name: "symbol_sentiment".to_owned(),
        version: "bench".to_owned(),
        key: vec![Field { name: "symbol".to_owned(), ty: Type::String }],
        fields: vec![
            field("mentions__count", Rule::Sum, Type::Int),
            field("sentiment__sum", Rule::Sum, Type::Float),
            field("sentiment__count", Rule::Sum, Type::Int),
            field("sentiment__buckets", Rule::MapSum, Type::Int),
            field("open_price__first", Rule::First, Type::Float),
            field("close_price__last", Rule::Last, Type::Float),
            field("volume__sum", Rule::Sum, Type::Int),
            field("volume__count", Rule::Sum, Type::Int),
        ],
        pane: Span::MINUTE,
        ttl: Some(Span(Span::DAY.0 * 3)),
    }
}

fn lookup() -> LookupSchema {
    let column = |name: &str, ty| Field { name: name.to_owned(), ty };
    LookupSchema {
        name: "tweets".to_owned(),
        version: "bench".to_owned(),
        key: vec![column("symbol", Type::String)],
        columns: vec![column("text", Type::String), column("user_id", Type::String), column("sentiment", Type::Float)],
        limit: 1_000,
        ttl: Some(Span(Span::DAY.0 * 7)),
    }
}

/// Numbers that look like chance, the same in every run.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// A rank below `n`, the k-th with a probability like 1/k.
    fn rank(&mut self, n: usize) -> usize {
        let x = self.next() as f64 / f64::from(1u32 << 31);
        (((n as f64).powf(x)) as usize - 1).min(n - 1)
    }
}

fn symbol(rank: usize) -> Key {
    Key::of(&[Value::String(format!("SYM{rank}"))])
}

fn flush(arguments: &Arguments, shard: u32, number: u64, now: Timestamp, chance: &mut Chance) -> Flush {
    let (view, lookup) = (view(), lookup());
    let pane = now.floor(Span::MINUTE);
    let mut panes = StateBatch::new(&view.fields);
    let mut seen = std::collections::HashSet::new();
    while panes.len() < arguments.panes.min(arguments.symbols) {
        let rank = if panes.len().is_multiple_of(2) {
            chance.rank(arguments.symbols)
        } else {
            chance.next() as usize % arguments.symbols
        };
        if !seen.insert(rank) {
            continue;
        }
        let at = panes.push_identity(symbol(rank).as_bytes(), pane);
        for column in &mut panes.states {
            match column {
                StateColumn::SumInt(v) => v[at] = number as i64,
                StateColumn::SumFloat(v) => v[at] = number as f64 / 3.0,
                StateColumn::MapSum(MapColumn::Int(v)) => v[at] = (0..20).map(|b| (b * 7, number as i64)).collect(),
                // The prices are another shard's.
                _ => {}
            }
        }
    }
    let mut rows = LookupRows::new(&lookup.columns);
    for n in 0..arguments.rows {
        rows.keys.push(symbol(chance.rank(arguments.symbols)).as_bytes());
        rows.times.push(Timestamp(now.0 + n as i64));
        rows.sequences.push(tideline_common::position::sequence(shard, number * arguments.rows as u64 + n as u64));
        rows.ordinals.push(0);
        if let [Column::String(text), Column::String(user), Column::Float(sentiment)] = &mut rows.columns[..] {
            text.push(Some(
                "$TSLA is going to the moon, and here are some more words so that it looks like a tweet http://t.co/x",
            ));
            user.push(Some("123456789"));
            sentiment.push(Some(0.25));
        }
    }
    let late = StateBatch::new(&[field("late", Rule::Sum, Type::Int)]);
    Flush {
        shard: Shard::new("tweets", shard),
        panes: vec![PaneFlush { view, panes, late }],
        rows: vec![(lookup, rows)],
        progress: Progress { position: number + 1, written_at: now, ..Progress::default() },
    }
}

fn quantiles(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |q: f64| times[((times.len() - 1) as f64 * q) as usize].as_secs_f64() * 1e3;
    println!("{name}: p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms, max {:.1} ms", at(0.5), at(0.95), at(0.99), at(1.0));
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let arguments = std::sync::Arc::new(Arguments::parse());
    let config = ScyllaConfig {
        nodes: vec![arguments.server.clone()],
        keyspace: arguments.keyspace.clone(),
        write_concurrency: arguments.concurrency,
        batch_partitions: arguments.partitions,
        batch_partitions_bytes: arguments.bytes,
        ..ScyllaConfig::default()
    };
    let views = ScyllaViews::connect(config)?;
    views.migrate(&[view()], &[lookup()]).await?;
    // Positions go on from the last run, or nothing would be replaced.
    let first = views.progress().await?.iter().map(|(_, progress)| progress.position).max().unwrap_or(0);
    let start = Instant::now();
    let mut shards = Vec::new();
    for shard in 0..arguments.shards {
        let (views, arguments) = (views.clone(), arguments.clone());
        shards.push(tokio::spawn(async move {
            let mut chance = Chance(u64::from(shard) + 1);
            let mut times = Vec::new();
            let mut tick = (arguments.every > 0).then(|| tokio::time::interval(Duration::from_millis(arguments.every)));
            for number in 0..arguments.flushes {
                if let Some(tick) = &mut tick {
                    tick.tick().await;
                }
                let now = SystemClock.now();
                let flush = flush(&arguments, shard, first + number, now, &mut chance);
                let start = Instant::now();
                views.write(&flush, now).await?;
                times.push(start.elapsed());
            }
            anyhow::Ok(times)
        }));
    }
    let mut times = Vec::new();
    for shard in shards {
        times.extend(shard.await??);
    }
    let seconds = start.elapsed().as_secs_f64();
    let flushes = times.len();
    let rows = flushes * (arguments.panes * 2 + arguments.rows);
    println!(
        "{flushes} flushes of {} panes and {} rows in {seconds:.1} s: {:.0} rows/s",
        arguments.panes,
        arguments.rows,
        rows as f64 / seconds
    );
    quantiles("flush", times);

    let now = SystemClock.now();
    let mut reads = Vec::new();
    for n in 0..50 {
        let start = Instant::now();
        views.rows(&lookup(), &symbol(n % 20), 100, now).await?;
        reads.push(start.elapsed());
    }
    quantiles("100 rows of a lookup", reads);
    let (mut reads, mut found) = (Vec::new(), 0);
    for _ in 0..20 {
        let start = Instant::now();
        let to = now.plus(Span::MINUTE);
        found = views.panes_between(&view(), to.minus(Span(Span::MINUTE.0 * 6)), to, now).await?.len();
        reads.push(start.elapsed());
    }
    quantiles(&format!("panes_between of 5 minutes, {found} panes"), reads);

    // A day of one key: two shards of 1,440 panes.
    let day = ViewSchema { name: "day".to_owned(), ..view() };
    let end = now.floor(Span::MINUTE);
    for shard in 0..2 {
        let mut panes = StateBatch::new(&day.fields);
        for minute in 0..1_440 {
            panes.push_identity(symbol(0).as_bytes(), end.minus(Span(Span::MINUTE.0 * minute)));
            if let StateColumn::MapSum(MapColumn::Int(v)) = &mut panes.states[3] {
                v[minute as usize] = (0..20).map(|b| (b * 7, minute)).collect();
            }
        }
        let late = StateBatch::new(&[field("late", Rule::Sum, Type::Int)]);
        let flush = Flush {
            shard: Shard::new("day", shard),
            panes: vec![PaneFlush { view: day.clone(), panes, late }],
            rows: Vec::new(),
            progress: Progress { position: first + 1, written_at: now, ..Progress::default() },
        };
        let start = Instant::now();
        views.write(&flush, now).await?;
        println!("flush of 1,440 panes of one key: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    }
    let query =
        PaneQuery { keys: KeySelector::One(symbol(0)), from: Timestamp::MIN, to: Timestamp::MAX, max_rows: usize::MAX };
    let mut reads = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        let page = views.panes(&day, &query, now).await?;
        anyhow::ensure!(page.panes.len() >= 2_880, "{} panes", page.panes.len());
        reads.push(start.elapsed());
    }
    quantiles("24 h of one key, 2,880 panes", reads);
    let mut reads = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        views.newest_pane(&day, now).await?;
        reads.push(start.elapsed());
    }
    quantiles("newest pane", reads);
    Ok(())
}
