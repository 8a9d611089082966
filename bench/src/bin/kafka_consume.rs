//! Records out of Kafka: `KafkaLog::read` beside a plain loop over librdkafka, in the same run and through the same
//! partitions. Prints records per second, the processor time per record of this process (librdkafka's threads
//! included) and the ratio.
//!
//! `kafka_consume --brokers 127.0.0.1:9092 --topic tweets --fill tweets.ndjson.gz --repeat 40` fills the topic first,
//! unless it has records already.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::Parser;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use tideline_common::ports::{Log, ReadRequest, TopicSpec};
use tideline_common::record::NewRecord;
use tideline_common::time::Timestamp;
use tideline_stores::log::kafka::{KafkaLog, KafkaLogConfig};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Arguments {
    /// `host:port` of the broker.
    #[arg(long, default_value = "127.0.0.1:9092")]
    brokers: String,
    /// Topic that is read.
    #[arg(long, default_value = "tweets")]
    topic: String,
    /// NDJSON, gzipped or not, that an empty topic is filled with.
    #[arg(long)]
    fill: Option<PathBuf>,
    /// How often each record of the file is appended.
    #[arg(long, default_value_t = 40)]
    repeat: usize,
    /// Partitions of a topic that is made.
    #[arg(long, default_value_t = 2)]
    partitions: u32,
    /// Rounds of each way of reading, alternating; the median counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Records of one read.
    #[arg(long, default_value_t = 10_000)]
    batch: usize,
    /// Reads through the log only, to profile it.
    #[arg(long)]
    log_only: bool,
    /// `key=value` of librdkafka, for both ways of reading; may be repeated.
    #[arg(long = "property")]
    properties: Vec<String>,
    /// Measures how long a record takes from the append to the reader, instead of how many pass.
    #[arg(long)]
    latency: bool,
}

/// Partition, first offset, and the one after the last.
type Spans = Vec<(u32, u64, u64)>;

#[derive(Clone, Copy, Default)]
struct Round {
    records: u64,
    bytes: u64,
    seconds: f64,
    processor: f64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let log = Arc::new(open(&arguments)?);
    if arguments.latency {
        return latency(&log, &arguments).await;
    }
    if let Some(file) = &arguments.fill {
        fill(&log, file, &arguments).await?;
    }
    let spans: Spans =
        log.topic(&arguments.topic).await?.partitions.into_iter().map(|(p, (first, next))| (p, first, next)).collect();
    let total: u64 = spans.iter().map(|(_, first, next)| next - first).sum();
    ensure!(total > 0, "topic {} is empty: --fill it", arguments.topic);
    println!("{total} records in {} partitions of {}", spans.len(), arguments.topic);
    let (mut ours, mut plain, mut single) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..arguments.rounds {
        if !arguments.log_only {
            plain.push(consume_plain(&arguments, &spans, spans.len())?);
            single.push(consume_plain(&arguments, &spans, 1)?);
        }
        // A log of its own: no stream goes on where the last round ended.
        let log = Arc::new(open(&arguments)?);
        ours.push(consume_log(&log, &arguments, &spans).await?);
    }
    let show = |name: &str, rounds: &mut Vec<Round>| {
        rounds.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let median = rounds[rounds.len() / 2];
        let each = median.processor * 1e6 / median.records as f64;
        let rate = median.records as f64 / median.seconds;
        println!(
            "{name:<44} {rate:>10.0} records/s {:>7.1} MB/s {each:>6.3} us of processor per record",
            median.bytes as f64 / 1e6 / median.seconds,
        );
        (rate, each)
    };
    let ours = show("KafkaLog::read", &mut ours);
    if arguments.log_only {
        return Ok(());
    }
    let plain = show("rdkafka, poll, a client per partition", &mut plain);
    let single = show("rdkafka, poll, one client", &mut single);
    for (name, other) in [("a client per partition", plain), ("one client", single)] {
        println!("KafkaLog / {name}: rate {:.2}, processor {:.2}", ours.0 / other.0, ours.1 / other.1);
    }
    Ok(())
}

fn properties(arguments: &Arguments) -> Result<BTreeMap<String, String>> {
    let pairs = arguments.properties.iter().map(|property| {
        let (key, value) = property.split_once('=').with_context(|| format!("{property} is not key=value"))?;
        Ok((key.to_owned(), value.to_owned()))
    });
    pairs.collect()
}

fn open(arguments: &Arguments) -> Result<KafkaLog> {
    let config = KafkaLogConfig::new(vec![arguments.brokers.clone()], "bench");
    Ok(KafkaLog::new(KafkaLogConfig { properties: properties(arguments)?, ..config })?)
}

/// Fills the topic, unless it has records.
async fn fill(log: &KafkaLog, file: &Path, arguments: &Arguments) -> Result<()> {
    let spec =
        TopicSpec { name: arguments.topic.clone(), partitions: arguments.partitions, retention: None, max_bytes: None };
    log.ensure_topic(&spec).await?;
    if log.topic(&spec.name).await?.partitions.values().any(|(first, next)| next > first) {
        return Ok(());
    }
    let mut content = Vec::new();
    let opened = std::fs::File::open(file).with_context(|| file.display().to_string())?;
    if file.extension().is_some_and(|extension| extension == "gz") {
        flate2::read::GzDecoder::new(opened).read_to_end(&mut content)?;
    } else {
        std::io::BufReader::new(opened).read_to_end(&mut content)?;
    }
    let content = Bytes::from(content);
    let lines = content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let lines: Vec<Bytes> = lines.map(|line| content.slice_ref(line)).collect();
    let started = Instant::now();
    for chunk in lines.chunks(250) {
        let repeated = chunk.iter().flat_map(|line| std::iter::repeat_n(line, arguments.repeat));
        let records = repeated.map(|line| NewRecord { payload: line.clone(), ..NewRecord::default() }).collect();
        log.append(&spec.name, records, Timestamp(0)).await?;
    }
    let count = lines.len() * arguments.repeat;
    println!("filled with {count} records, {:.0} records/s", count as f64 / started.elapsed().as_secs_f64());
    Ok(())
}

/// Processor time of this process so far, in seconds.
fn processor() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| -> Result<f64> { Ok(fields.get(at).context("no processor time in /proc")?.parse()?) };
    // User and system time are fields 14 and 15, in ticks of 10 ms; two fields are before the bracket.
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}

async fn consume_log(log: &Arc<KafkaLog>, arguments: &Arguments, spans: &Spans) -> Result<Round> {
    let (started, before) = (Instant::now(), processor()?);
    let mut tasks = Vec::new();
    for (partition, first, next) in spans.clone() {
        let (log, topic, max_records) = (Arc::clone(log), arguments.topic.clone(), arguments.batch);
        tasks.push(tokio::spawn(async move {
            let (mut at, mut records, mut bytes) = (first, 0, 0);
            while at < next {
                let wait = Duration::from_secs(10);
                let request =
                    ReadRequest { topic: topic.clone(), partition, from: at, max_records, max_bytes: 64 << 20, wait };
                let read = log.read(&request).await?;
                at = match read.last() {
                    Some(last) => last.offset + 1,
                    None => log.skip(&topic, partition, at).await?,
                };
                records += read.len() as u64;
                bytes += read.iter().map(|record| record.payload.len() as u64).sum::<u64>();
            }
            anyhow::Ok((records, bytes))
        }));
    }
    let mut round = Round::default();
    for task in tasks {
        let (records, bytes) = task.await??;
        round.records += records;
        round.bytes += bytes;
    }
    Ok(Round { seconds: started.elapsed().as_secs_f64(), processor: processor()? - before, ..round })
}

/// A plain loop per client; the partitions are dealt to `clients` of them.
fn consume_plain(arguments: &Arguments, spans: &Spans, clients: usize) -> Result<Round> {
    let (started, before) = (Instant::now(), processor()?);
    let mut round = Round::default();
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for client in 0..clients {
            let own: Spans = spans.iter().skip(client).step_by(clients).copied().collect();
            threads.push(scope.spawn(move || poll(arguments, &own)));
        }
        for thread in threads {
            let (records, bytes) = thread.join().map_err(|_| anyhow::anyhow!("a consumer panicked"))??;
            round.records += records;
            round.bytes += bytes;
        }
        anyhow::Ok(())
    })?;
    Ok(Round { seconds: started.elapsed().as_secs_f64(), processor: processor()? - before, ..round })
}

fn poll(arguments: &Arguments, spans: &Spans) -> Result<(u64, u64)> {
    // Fetched as much at once as by the log, so that the way of taking it is what differs.
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &arguments.brokers)
        .set("group.id", "bench-plain")
        .set("enable.auto.commit", "false")
        .set("queued.min.messages", "10000000")
        .set("queued.max.messages.kbytes", "4096")
        .set("fetch.queue.backoff.ms", "2")
        .set("fetch.message.max.bytes", "1048576");
    config.extend(properties(arguments)?);
    let consumer: BaseConsumer = config.create()?;
    let mut list = TopicPartitionList::new();
    for (partition, first, _) in spans {
        list.add_partition_offset(&arguments.topic, *partition as i32, Offset::Offset(*first as i64))?;
    }
    consumer.assign(&list)?;
    let wanted: u64 = spans.iter().map(|(_, first, next)| next - first).sum();
    let (mut records, mut bytes) = (0, 0);
    while records < wanted {
        let message = consumer.poll(Duration::from_secs(10)).context("nothing came")??;
        records += 1;
        bytes += message.payload().map_or(0, |payload| payload.len() as u64);
    }
    Ok((records, bytes))
}

/// Appends a record now and then, and takes the time until a reader has it.
async fn latency(log: &Arc<KafkaLog>, arguments: &Arguments) -> Result<()> {
    let topic = format!("{}-latency", arguments.topic);
    log.ensure_topic(&TopicSpec { name: topic.clone(), partitions: 1, retention: None, max_bytes: None }).await?;
    let mut at = log.topic(&topic).await?.partitions[&0].1;
    let (sender, mut sent) = tokio::sync::mpsc::unbounded_channel();
    let (appender, to) = (Arc::clone(log), topic.clone());
    let appends = tokio::spawn(async move {
        for _ in 0..500 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let now = Instant::now();
            let record = NewRecord { payload: Bytes::from_static(b"{}"), ..NewRecord::default() };
            appender.append(&to, vec![record], Timestamp(0)).await?;
            sender.send((now, now.elapsed()))?;
        }
        anyhow::Ok(())
    });
    let (mut seen, mut acknowledged) = (Vec::new(), Vec::new());
    while seen.len() < 500 {
        let wait = Duration::from_secs(10);
        let request =
            ReadRequest { topic: topic.clone(), partition: 0, from: at, max_records: 1000, max_bytes: 1 << 20, wait };
        let read = log.read(&request).await?;
        let arrived = Instant::now();
        at += read.len() as u64;
        for _ in read {
            let (started, took) = sent.recv().await.context("fewer were appended than read")?;
            seen.push(arrived.duration_since(started));
            acknowledged.push(took);
        }
    }
    appends.await??;
    for (name, mut times) in [("acknowledged", acknowledged), ("with the reader", seen)] {
        times.sort();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        println!("{name:<16} p50 {:.2} ms, p99 {:.2} ms, most {:.2} ms", at(0.5), at(0.99), at(1.0));
    }
    Ok(())
}
