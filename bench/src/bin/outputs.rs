//! Rows as they come, in this process: over the embedded log, views and lake, as `tideline up` has them.
//!
//! First what is there already is taken in as fast as it goes: records per second, and processor time per record, with the
//! outputs of the definition and without them. Then records come at a rate: how long after its acknowledgement a row of each
//! can be read in the topic of the output.
//!
//! ```text
//! tideline generate customer-sentiment --count 60000 --seed 3 > messages.ndjson
//! outputs --file messages.ndjson
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use clap::Parser;
use parking_lot::Mutex;
use serde_json::{Map, Value as Json};
use tideline_bench::ndjson;
use tideline_bench::spent::{Spent, cpu};
use tideline_common::plan::{self, Plan, RowOutputPlan};
use tideline_common::ports::{Clock, Log, PortError, ReadRequest, TopicSpec};
use tideline_common::position::{Offset, Partition};
use tideline_common::record::NewRecord;
use tideline_common::time::Span;
use tideline_speed::close::ID_HEADER;
use tideline_speed::{SpeedConfig, SpeedHandle, SpeedLayer, SpeedPorts};
use tideline_stores::clock::SystemClock;
use tideline_stores::log::embedded::{EmbeddedLog, EmbeddedLogConfig};
use tideline_stores::membership::Everything;
use tideline_stores::objects::ObjectStoreObjects;
use tideline_stores::views::embedded::{EmbeddedViews, EmbeddedViewsConfig};
use tideline_transform::SqlTypes;
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Arguments {
    /// Records of the definition's source, as `tideline generate` makes them (NDJSON, .gz too).
    #[arg(long)]
    file: PathBuf,
    /// The definition: one source with an `id` of its own for each record, and at least one output of a table.
    #[arg(long, default_value = "schema/pipelines/customer-sentiment.toml")]
    definition: PathBuf,
    /// Records that are there already.
    #[arg(long, default_value_t = 600_000)]
    records: usize,
    /// Records per second, after that.
    #[arg(long, default_value_t = 12_000)]
    rate: usize,
    /// For so long.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Threads of the runtime.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

/// How often records are appended.
const EVERY: Duration = Duration::from_millis(20);
/// Records of one append, of those that are there already.
const CHUNK: usize = 5_000;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let spent = Spent::install()?;
    let text =
        std::fs::read_to_string(&arguments.definition).with_context(|| arguments.definition.display().to_string())?;
    let name = arguments.definition.display().to_string();
    let plan = plan::load(&name, &text, &|_| None, &SqlTypes).map_err(|mistakes| anyhow!("{mistakes}"))?;
    if plan.row_outputs.is_empty() {
        bail!("{name} has no output of a table");
    }
    let records = Records::new(&plan, &ndjson::read(&arguments.file)?)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(arguments.threads).enable_all().build()?;
    for with in [true, false, true] {
        let mut plan = plan.clone();
        if !with {
            plan.row_outputs.clear();
        }
        println!("{} outputs", if with { "with" } else { "without" });
        runtime.block_on(fill(Arc::new(plan), &records, arguments.records, spent))?;
    }
    runtime.block_on(pace(Arc::new(plan), &records, &arguments, spent))
}

/// Records, each of which may come again under another id and time.
struct Records {
    /// Key of the source, if it is a column.
    key: Option<String>,
    time: String,
    bodies: Vec<Map<String, Json>>,
}

impl Records {
    fn new(plan: &Plan, lines: &[Bytes]) -> Result<Self> {
        let source = plan.sources.first().context("no source")?;
        // Those that are broken on purpose are left out.
        let bodies: Vec<_> = lines.iter().filter_map(|line| serde_json::from_slice(line).ok()).collect();
        if bodies.is_empty() {
            bail!("no records");
        }
        Ok(Self { key: source.key.clone(), time: source.event_time.column.clone(), bodies })
    }

    /// Record number `at`, as of now.
    fn record(&self, at: usize, now: &Json) -> NewRecord {
        let mut body = self.bodies[at % self.bodies.len()].clone();
        let id = Json::from(format!("r{at}"));
        body.insert("id".to_owned(), id.clone());
        body.insert(self.time.clone(), now.clone());
        let key = self.key.as_deref().map(|key| body.get(key).unwrap_or(&id).as_str().unwrap_or_default().to_owned());
        NewRecord { key: key.map(Bytes::from), headers: Vec::new(), payload: Json::Object(body).to_string().into() }
    }

    fn records(&self, from: usize, count: usize) -> Vec<NewRecord> {
        let now = Json::from(SystemClock.now().to_string());
        (from..from + count).map(|at| self.record(at, &now)).collect()
    }
}

/// A log with the topics of a plan, and a speed layer over it.
struct World {
    plan: Arc<Plan>,
    log: Arc<EmbeddedLog>,
    folder: tempfile::TempDir,
}

impl World {
    async fn new(plan: Arc<Plan>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let log = Arc::new(EmbeddedLog::open(folder.path().join("log"), EmbeddedLogConfig::default())?);
        for source in &plan.sources {
            let (name, partitions) = (source.topic.clone(), source.partitions);
            log.ensure_topic(&TopicSpec { name, partitions, retention: None, max_bytes: None }).await?;
        }
        Ok(Self { plan, log, folder })
    }

    fn topic(&self) -> &str {
        &self.plan.sources[0].topic
    }

    async fn start(&self, stop: &CancellationToken) -> Result<SpeedHandle> {
        let path: &Path = self.folder.path();
        let log: Arc<dyn Log> = Arc::clone(&self.log) as _;
        let ports = SpeedPorts {
            membership: Arc::new(Everything::new(Arc::clone(&log), Duration::from_secs(1))),
            log,
            objects: Arc::new(ObjectStoreObjects::local(path.join("lake"), 0)?),
            views: Arc::new(EmbeddedViews::open(path.join("views"), EmbeddedViewsConfig::default())?),
            clock: Arc::new(SystemClock),
        };
        let config = SpeedConfig { seal_timeout: Span::HOUR, ..SpeedConfig::default() };
        Ok(SpeedLayer::start(Arc::clone(&self.plan), ports, config, stop.clone()).await?)
    }

    /// Rows in the topic of an output.
    async fn told(&self, output: &RowOutputPlan) -> Result<u64> {
        Ok(self.log.topic(&output.topic).await?.partitions.values().map(|(first, next)| next - first).sum())
    }
}

fn print(spent: &Spent, records: usize) {
    for (stage, (seconds, calls)) in spent.stages() {
        println!("  {stage:<40} {:6.3} µs per record  {calls:6} times  {seconds:.2} s", seconds * 1e6 / records as f64);
    }
}

/// Takes in what is there already.
async fn fill(plan: Arc<Plan>, records: &Records, count: usize, spent: &Spent) -> Result<()> {
    let world = World::new(plan).await?;
    let mut at = 0;
    while at < count {
        let chunk = records.records(at, CHUNK.min(count - at));
        at += chunk.len();
        world.log.append(world.topic(), chunk, SystemClock.now()).await?;
    }
    spent.clear();
    let (stop, began, before) = (CancellationToken::new(), Instant::now(), cpu());
    let handle = world.start(&stop).await?;
    handle.seal().await?;
    let (elapsed, used) = (began.elapsed(), cpu().saturating_sub(before));
    println!(
        "  {:.0} records/s, {:.2} s, {:.2} µs of CPU per record",
        count as f64 / elapsed.as_secs_f64(),
        elapsed.as_secs_f64(),
        used.as_secs_f64() * 1e6 / count as f64
    );
    print(spent, count);
    for output in &world.plan.row_outputs {
        let (told, statuses) = (world.told(output).await?, handle.status());
        let rows: u64 = statuses.iter().map(|s| s.records - s.rejected - s.duplicates).sum();
        println!("  {} rows in {}, of {rows} records that are neither rejected nor duplicates", told, output.topic);
    }
    stop.cancel();
    handle.join().await;
    Ok(())
}

/// When the append of the records of a partition before an offset was acknowledged, in order.
type Acknowledged = Vec<Mutex<Vec<(Offset, Instant)>>>;

/// Takes in what comes at a rate.
async fn pace(plan: Arc<Plan>, records: &Records, arguments: &Arguments, spent: &Spent) -> Result<()> {
    let world = World::new(plan).await?;
    let (stop, reading) = (CancellationToken::new(), CancellationToken::new());
    let handle = world.start(&stop).await?;
    let partitions = world.plan.sources[0].partitions;
    let acknowledged: Arc<Acknowledged> = Arc::new((0..partitions).map(|_| Mutex::default()).collect());
    let output = world.plan.row_outputs[0].clone();
    let readers: Vec<_> = (0..output.partitions)
        .map(|partition| {
            let (log, topic) = (Arc::clone(&world.log), output.topic.clone());
            tokio::spawn(follow(log, topic, partition, Arc::clone(&acknowledged), reading.clone()))
        })
        .collect();
    spent.clear();
    let (began, before) = (Instant::now(), cpu());
    let (mut sent, mut behind, mut making) = (0, Duration::ZERO, Duration::ZERO);
    while began.elapsed() < Duration::from_secs(arguments.seconds) {
        let due = began + EVERY.mul_f64(sent as f64 / (arguments.rate as f64 * EVERY.as_secs_f64()));
        match due.checked_duration_since(Instant::now()) {
            Some(pause) => tokio::time::sleep(pause).await,
            None => behind = behind.max(due.elapsed()),
        }
        let made = Instant::now();
        let chunk = records.records(sent, (arguments.rate as f64 * EVERY.as_secs_f64()) as usize);
        making += made.elapsed();
        sent += chunk.len();
        let appended = world.log.append(world.topic(), chunk, SystemClock.now()).await?;
        let now = Instant::now();
        for (partition, (_, next)) in appended {
            acknowledged[partition as usize].lock().push((next, now));
        }
    }
    let used = cpu().saturating_sub(before);
    let elapsed = began.elapsed();
    handle.seal().await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    reading.cancel();
    let mut times = Vec::new();
    for reader in readers {
        times.extend(reader.await??);
    }
    times.sort_unstable();
    let at = |q: f64| times[((times.len() - 1) as f64 * q) as usize].as_secs_f64() * 1e3;
    println!(
        "{} records at {}/s, at most {:.0} ms behind: {:.2} cores, {:.2} of them to make the records",
        sent,
        arguments.rate,
        behind.as_secs_f64() * 1e3,
        used.as_secs_f64() / elapsed.as_secs_f64(),
        making.as_secs_f64() / elapsed.as_secs_f64(),
    );
    println!(
        "  acknowledged to readable in {}, ms: p50 {:.1}  p90 {:.1}  p99 {:.1}  max {:.1}  ({} rows)",
        output.topic,
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0),
        times.len()
    );
    print(spent, sent);
    stop.cancel();
    handle.join().await;
    Ok(())
}

/// Reads a partition of an output's topic: for each row the time since its record was acknowledged.
async fn follow(
    log: Arc<EmbeddedLog>,
    topic: String,
    partition: Partition,
    acknowledged: Arc<Acknowledged>,
    stop: CancellationToken,
) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    let mut request = ReadRequest {
        topic,
        partition,
        from: 0,
        max_records: 10_000,
        max_bytes: 8 << 20,
        wait: Duration::from_millis(100),
    };
    while !stop.is_cancelled() {
        let records = match log.read(&request).await {
            // It is made when the layer starts.
            Err(PortError::NotFound { .. }) => {
                tokio::time::sleep(EVERY).await;
                continue;
            }
            records => records?,
        };
        let now = Instant::now();
        for record in &records {
            let id = record.headers.iter().find(|(name, _)| name == ID_HEADER).context("a row has an id")?;
            let id = std::str::from_utf8(&id.1)?;
            let mut parts = id.rsplit('/').skip(1);
            let offset: Offset = parts.next().context("an offset")?.parse()?;
            let source: usize = parts.next().context("a partition")?.parse()?;
            let known = acknowledged[source].lock();
            let at = known.partition_point(|(next, _)| *next <= offset);
            // A row may be there before its record's append is answered.
            times.push(known.get(at).map_or(Duration::ZERO, |(_, at)| now.saturating_duration_since(*at)));
        }
        if let Some(last) = records.last() {
            request.from = last.offset + 1;
        }
    }
    Ok(times)
}
