//! Records to states in memory: decode → rows of a table → states of a view → pane map, one partition per thread.
//!
//! Without a file the tweets are made up from a seed; with one (NDJSON, gzipped or not) they are that file's,
//! repeated, so that real texts can be measured: `transform --file tweets.ndjson.gz`.

use std::io::Read;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Parser;
use tideline_common::aggregate::{Aggregate, Function};
use tideline_common::plan::{
    EventTime, Field, Measure, Plan, SourcePlan, Start, TableColumn, TablePlan, TimeFormat, ViewPlan,
};
use tideline_common::record::Record;
use tideline_common::state::StateTable;
use tideline_common::time::{Span, Timestamp};
use tideline_common::value::Type;
use tideline_common::window::Window;
use tideline_transform::{SourceTransform, ViewTransform};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Arguments {
    /// NDJSON with `created_at`, `text` and `user_id`, gzipped when it ends in `.gz`.
    #[arg(long)]
    file: Option<std::path::PathBuf>,
    /// Records per thread.
    #[arg(long, default_value_t = 400_000)]
    records: usize,
    /// Threads, each with a partition of its own.
    #[arg(long, default_value_t = 2)]
    threads: u32,
    /// Seed of the made-up tweets.
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let tweets = match &arguments.file {
        Some(file) => read(file)?,
        None => generate(24_714, arguments.seed),
    };
    let bytes: usize = tweets.iter().map(Bytes::len).sum();
    println!("{} tweets of {} bytes on average", tweets.len(), bytes / tweets.len().max(1));
    for (name, sentiment) in [("vader(text)", "vader(text)"), ("length(text)", "length(text) * 1.0")] {
        for batch in [10_000, 500] {
            measure(&arguments, &tweets, name, &plan(sentiment)?, batch)?;
        }
    }
    Ok(())
}

/// Where the time of one thread went.
#[derive(Default, Clone, Copy)]
struct Spent {
    decode: Duration,
    rows: Duration,
    states: Duration,
    merge: Duration,
    mentions: usize,
    groups: usize,
}

fn measure(arguments: &Arguments, tweets: &[Bytes], name: &str, plan: &Plan, batch: usize) -> Result<()> {
    let (start, cpu_before) = (Instant::now(), cpu());
    let spent = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..arguments.threads)
            .map(|partition| scope.spawn(move || run(arguments.records, tweets, plan, partition, batch)))
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<Spent>>| {
            thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?
        };
        threads.into_iter().map(join).collect::<Result<Vec<Spent>>>()
    })?;
    let (elapsed, cpu) = (start.elapsed(), cpu().saturating_sub(cpu_before));
    let records = arguments.records * arguments.threads as usize;
    let rate = records as f64 / elapsed.as_secs_f64();
    let per = |part: fn(&Spent) -> Duration| {
        let total: Duration = spent.iter().map(part).sum();
        total.as_nanos() as f64 / records as f64
    };
    println!(
        "sentiment = {name}, batches of {batch}: {rate:.0} events/s; {:.0} ns of CPU per event; wall ns: decode {:.0}, rows {:.0}, states \
         {:.0}, merge {:.0}; {} mentions, {} groups",
        cpu.as_nanos() as f64 / records as f64,
        per(|s| s.decode),
        per(|s| s.rows),
        per(|s| s.states),
        per(|s| s.merge),
        spent.iter().map(|s| s.mentions).sum::<usize>(),
        spent.iter().map(|s| s.groups).sum::<usize>(),
    );
    Ok(())
}

/// Time that this process was on a processor, ended threads included: what a run costs even where others share the
/// machine. Zero where there is no `/proc`.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Fields 14 and 15, user and system time, in hundredths of a second (USER_HZ); the name before may hold spaces.
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

fn run(count: usize, tweets: &[Bytes], plan: &Plan, partition: u32, batch: usize) -> Result<Spent> {
    let source = SourceTransform::new(plan, "tweets")?;
    let view = ViewTransform::new(plan, "symbol_sentiment")?;
    let fields = &plan.view("symbol_sentiment").context("no view")?.fields;
    let mut table = StateTable::new(fields);
    let mut spent = Spent::default();
    let mut offset = 0;
    let mut highest = i64::MIN;
    while offset < count {
        let end = (offset + batch).min(count);
        let records: Vec<Record> = (offset..end)
            .map(|offset| Record {
                offset: offset as u64,
                appended: Timestamp(0),
                key: None,
                headers: Vec::new(),
                payload: tweets[(offset * 2 + partition as usize) % tweets.len()].clone(),
            })
            .collect();
        let start = Instant::now();
        let decoded = source.decode(partition, &records)?;
        spent.decode += start.elapsed();
        let start = Instant::now();
        let mut rows = decoded.rows;
        let mut before = Vec::with_capacity(rows.len());
        for time in rows.event_times() {
            before.push(highest);
            highest = highest.max(*time);
        }
        // The file begins again and again: lateness is measured, but nothing is left out as late.
        rows.set_highest(before)?;
        let mentions = source.table_rows("mentions", &rows)?;
        spent.rows += start.elapsed();
        spent.mentions += mentions.height();
        let start = Instant::now();
        let states = view.speed_states("mentions", &mentions)?;
        spent.states += start.elapsed();
        let start = Instant::now();
        table.merge(&states.on_time);
        spent.merge += start.elapsed();
        offset = end;
    }
    spent.groups = table.len();
    Ok(spent)
}

/// The pipeline, as its definition would compile.
fn plan(sentiment: &str) -> Result<Plan> {
    let text = |name: &str| Field { name: name.to_owned(), ty: Type::String };
    let column =
        |name: &str, sql: &str, ty, unnest| TableColumn { name: name.to_owned(), sql: sql.to_owned(), ty, unnest };
    let source = SourcePlan {
        name: "tweets".to_owned(),
        topic: "tweets".to_owned(),
        partitions: 2,
        retention: None,
        retain_bronze: None,
        start: Start::Earliest,
        columns: vec![text("created_at"), text("text"), text("user_id")],
        required: Vec::new(),
        event_time: EventTime {
            column: "created_at".to_owned(),
            format: TimeFormat::Pattern("%Y-%m-%d %H:%M:%S".to_owned()),
        },
        key: Some("user_id".to_owned()),
        // As long as the file, so that its second reading is not late.
        lateness: Span(10 * 365 * Span::DAY.0),
        max_ahead: None,
        idle_after: Span::MINUTE,
        dedupe: None,
        checks: Vec::new(),
        version: "bench".to_owned(),
    };
    let table = TablePlan {
        name: "mentions".to_owned(),
        source: "tweets".to_owned(),
        columns: vec![
            column("text", "text", Type::String, false),
            column("user_id", "user_id", Type::String, false),
            column("sentiment", sentiment, Type::Float, false),
            column("symbol", "cashtags(text)", Type::String, true),
        ],
        filter: Some("symbol IS NOT NULL".to_owned()),
        partition_by: vec!["symbol".to_owned()],
        retain_silver: None,
        version: "bench".to_owned(),
    };
    let mut fields = Vec::new();
    let mut measures = Vec::new();
    for (name, function) in
        [("mentions", Function::Count), ("sentiment", Function::Avg), ("p95", Function::Quantile(0.95))]
    {
        let argument = (function != Function::Count).then(|| ("sentiment".to_owned(), Type::Float));
        let aggregate = Aggregate::new(function, argument.clone())?;
        let mut states = Vec::new();
        for spec in aggregate.states() {
            states.push(fields.len());
            let argument = argument.as_ref().map(|(sql, _)| sql.clone());
            fields.push(spec.field(format!("{name}_{}", spec.suffix), "mentions", argument));
        }
        let ty = aggregate.result_type();
        let table = "mentions".to_owned();
        measures.push(Measure { name: name.to_owned(), table, aggregate, states, ty, sql: String::new() });
    }
    let window = Window { size: Span(5 * Span::MINUTE.0), slide: Span::MINUTE };
    let view = ViewPlan {
        name: "symbol_sentiment".to_owned(),
        key: vec![text("symbol")],
        window,
        pane: window.pane(),
        answer: measures.iter().map(|m| Field { name: m.name.clone(), ty: m.ty }).collect(),
        measures,
        columns: Vec::new(),
        fields,
        tables: vec!["mentions".to_owned()],
        sources: vec!["tweets".to_owned()],
        retain_speed: None,
        retain_batch: None,
        top: Vec::new(),
        version: "bench".to_owned(),
    };
    Ok(Plan {
        name: "bench".to_owned(),
        sources: vec![source],
        tables: vec![table],
        views: vec![view],
        lookups: Vec::new(),
        reports: Vec::new(),
        alerts: Vec::new(),
        outputs: Vec::new(),
        predictions: Vec::new(),
        row_outputs: Vec::new(),
        endpoints: Vec::new(),
    })
}

fn read(file: &std::path::Path) -> Result<Vec<Bytes>> {
    let raw = std::fs::read(file).with_context(|| file.display().to_string())?;
    let mut text = Vec::new();
    if file.extension().is_some_and(|extension| extension == "gz") {
        flate2::read::GzDecoder::new(raw.as_slice()).read_to_end(&mut text)?;
    } else {
        text = raw;
    }
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Ok(lines.map(Bytes::copy_from_slice).collect())
}

/// Tweets of words and symbols drawn from a seed (`SplitMix64`, Steele et al. 2014), a few seconds apart.
fn generate(count: usize, seed: u64) -> Vec<Bytes> {
    const WORDS: &[&str] = &[
        "great",
        "bad",
        "not",
        "very",
        "good",
        "loss",
        "the",
        "stock",
        "earnings",
        "beat",
        "today",
        "buy",
        "sell",
        "http://t.co/x1",
        "love",
        "hate",
        ":)",
        "market",
        "is",
        "up",
        "down",
        "WOW",
        "but",
        "worst",
        "won't",
        "amazing!",
    ];
    const SYMBOLS: &[&str] = &["AAPL", "TSLA", "GOOG", "FB", "AMZN", "C", "MSFT", "NFLX", "GE", "LGF"];
    let mut state = seed;
    let mut draw = |n: usize| {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % n as u64) as usize
    };
    let mut time = Timestamp(1_388_534_400_000_000);
    (0..count)
        .map(|_| {
            time = time.plus(Span((1 + draw(100) as i64) * Span::SECOND.0));
            let mut text = String::new();
            for _ in 0..8 + draw(12) {
                text.push_str(WORDS[draw(WORDS.len())]);
                text.push(' ');
            }
            for _ in 0..=draw(2) {
                text.push('$');
                text.push_str(SYMBOLS[draw(SYMBOLS.len())]);
                text.push(' ');
            }
            let created_at = time.to_string().replace('T', " ").replace('Z', "");
            let tweet =
                serde_json::json!({ "created_at": created_at, "text": text, "user_id": draw(100_000).to_string() });
            Bytes::from(tweet.to_string())
        })
        .collect()
}
