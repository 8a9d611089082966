//! What the tests of this crate stand on: ports in memory, a plan, records, and a process that can be killed.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod closing;
pub mod faults;
pub mod log;
pub mod membership;
pub mod objects;
pub mod plan;
pub mod telling;
pub mod views;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tideline_common::changes::{self, Change};
use tideline_common::checkpoint;
use tideline_common::plan::Plan;
use tideline_common::ports::{ManualClock, ViewSchema};
use tideline_common::position::{Offset, Shard};
use tideline_common::record::Record;
use tideline_common::time::{Span, Timestamp};
use tideline_speed::{
    CHECKPOINTS, ShardCondition, ShardStatus, SpeedConfig, SpeedHandle, SpeedLayer, SpeedPorts, dead_letter,
};
use tideline_transform::bronze;
use tideline_transform::bronze::chain::{self, ChainFile, Step, Walk};
use tideline_transform::bronze::stretch::Stretch;
use tokio_util::sync::CancellationToken;

use faults::Faults;
use log::{FaultyLog, MemoryLog};
use membership::{FaultyMembership, Script};
use objects::{FaultyObjects, MemoryObjects};
use views::{Contents, FaultyViews, MemoryViews};

pub const TOPIC: &str = "events";
pub const SOURCE: &str = "events";

/// What outlives a process.
#[derive(Debug, Clone, Default)]
pub struct World {
    pub log: Arc<MemoryLog>,
    pub objects: Arc<MemoryObjects>,
    pub views: Arc<MemoryViews>,
}

/// A configuration in which everything happens soon and often.
pub fn config() -> SpeedConfig {
    SpeedConfig {
        flush_interval: Span::from_millis(10),
        linger: Span::ZERO,
        checkpoint_interval: Span::from_millis(10),
        max_batch_records: 7,
        max_bronze_bytes: 4_000,
        retry_initial: Span::from_millis(1),
        retry_max: Span::from_millis(2),
        read_wait: Span::from_millis(20),
        monitor_interval: Span::from_secs(60),
        shutdown_timeout: Span::from_secs(20),
        seal_timeout: Span::from_secs(20),
        ..SpeedConfig::default()
    }
}

/// A running speed layer, one process of a test.
#[derive(Debug)]
pub struct Process {
    pub handle: SpeedHandle,
    pub stop: CancellationToken,
    pub faults: Arc<Faults>,
}

impl World {
    /// A world whose log holds `payloads` in partition 0.
    pub fn with(payloads: &[Bytes]) -> Self {
        let world = Self::default();
        world.log.create(TOPIC, 1);
        world.push(0, payloads);
        world
    }

    /// Another world that holds the same.
    pub fn copy(&self) -> Self {
        Self {
            log: Arc::new(self.log.copy()),
            objects: Arc::new(self.objects.copy()),
            views: Arc::new(self.views.copy()),
        }
    }

    pub fn push(&self, partition: u32, payloads: &[Bytes]) {
        self.log.push(TOPIC, partition, payloads, Timestamp(1_000_000));
    }

    pub fn ports(&self, faults: &Arc<Faults>) -> SpeedPorts {
        self.ports_of(faults, &Script::everything(&self.log))
    }

    pub fn ports_of(&self, faults: &Arc<Faults>, script: &Arc<Script>) -> SpeedPorts {
        SpeedPorts {
            log: Arc::new(FaultyLog(self.log.clone(), faults.clone())),
            membership: Arc::new(FaultyMembership(script.clone(), faults.clone())),
            objects: Arc::new(FaultyObjects(self.objects.clone(), faults.clone())),
            views: Arc::new(FaultyViews(self.views.clone(), faults.clone())),
            clock: Arc::new(ManualClock::new(Timestamp(2_000_000))),
        }
    }

    pub async fn start(&self, plan: &Plan, config: SpeedConfig, faults: &Arc<Faults>) -> Process {
        self.start_as(plan, config, faults, &Script::everything(&self.log)).await
    }

    /// A process that works on what the script says.
    pub async fn start_as(
        &self,
        plan: &Plan,
        config: SpeedConfig,
        faults: &Arc<Faults>,
        script: &Arc<Script>,
    ) -> Process {
        let stop = CancellationToken::new();
        let plan = Arc::new(plan.clone());
        let handle = SpeedLayer::start(plan, self.ports_of(faults, script), config, stop.clone()).await.unwrap();
        Process { handle, stop, faults: faults.clone() }
    }

    /// Runs without a fault until everything in the log is sealed, and stops in order.
    pub async fn run(&self, plan: &Plan, config: SpeedConfig) -> Vec<ShardStatus> {
        let process = self.start(plan, config, &Faults::none()).await;
        process.handle.seal().await.unwrap();
        process.end().await
    }

    /// Everything that a reader of the views and the lake can see.
    pub fn outcome(&self, partitions: u32) -> Outcome {
        let bronze = (0..partitions).map(|partition| (partition, self.bronze(partition))).collect();
        let dead = self.objects.paths(dead_letter::DEAD_LETTERS);
        let dead = dead.iter().flat_map(|path| dead_letter::decode(path, &self.objects.read(path)).unwrap());
        let dead = dead.map(|d| (d.shard.partition, d.offset, d.kind, d.raw, d.key)).collect();
        Outcome { views: self.views.contents(), bronze, dead }
    }

    /// Whether the topic of changes tells what the view holds: per shard, key and pane the states of the highest position,
    /// and of every shard how far it has come.
    pub fn check_changes(&self, plan: &Plan) {
        let view = ViewSchema::from(plan.view(plan::CHANGING).unwrap());
        let mut panes: BTreeMap<_, (u64, Vec<u8>)> = BTreeMap::new();
        let mut positions: BTreeMap<Shard, u64> = BTreeMap::new();
        for record in self.log.records(&changes::topic(&view.name)) {
            let Some(change) = Change::decode(&record.payload, &view).unwrap() else { continue };
            let position = positions.entry(change.shard.clone()).or_default();
            *position = change.position.max(*position);
            for row in 0..change.panes.len() {
                let key = (change.shard.clone(), change.panes.keys.get(row).to_vec(), change.panes.panes[row].0);
                let mut bytes = Vec::new();
                change.panes.write_states(row, &mut bytes);
                let told = panes.entry(key).or_default();
                if change.position >= told.0 {
                    *told = (change.position, bytes);
                }
            }
        }
        let name = format!("{}@{}", view.name, view.version);
        let contents = self.views.contents();
        let held = contents.panes.into_iter().filter(|(key, _)| key.0 == name && key.1 == "panes");
        let held: BTreeMap<_, _> = held.map(|(key, states)| ((key.2, key.3, key.4), states)).collect();
        let told: BTreeMap<_, _> = panes.into_iter().map(|(key, (_, states))| (key, states)).collect();
        assert!(told == held, "changes tell {} panes, the view holds {}", told.len(), held.len());
        let progress = contents.progress.into_iter().map(|(shard, progress)| (shard, progress.position));
        assert_eq!(positions, progress.collect());
    }

    /// Checkpoints, oldest first. Other objects lie beside them.
    pub fn checkpoints(&self) -> Vec<String> {
        let mut paths = self.objects.paths(CHECKPOINTS);
        paths.retain(|path| checkpoint::position_of(path).is_some());
        paths
    }

    /// Files of the Bronze chain, as a reader takes them.
    pub fn files(&self, partition: u32) -> Vec<ChainFile> {
        let paths = self.objects.paths(&format!("bronze/{SOURCE}/{partition}/"));
        let mut files: Vec<_> = paths.iter().map(|path| chain::parse(SOURCE, path, 1).unwrap().1).collect();
        chain::sort(&mut files);
        files
    }

    /// Records of the Bronze chain, which has no hole. Unless some of its files were joined, it has no overlap either;
    /// what overlaps is the same.
    pub fn bronze(&self, partition: u32) -> Vec<Record> {
        let files = self.files(partition);
        let joined = files.iter().any(|file| file.next.is_some());
        let mut records: BTreeMap<Offset, Record> = BTreeMap::new();
        let mut walk = Walk::new(files.clone(), files.first().map_or(0, |file| file.first));
        loop {
            match walk.step() {
                Step::Read(file) => {
                    assert!(joined || file.first == walk.reached(), "{} joins the file before it", file.path);
                    let content = bronze::decode(self.objects.read(&file.path)).unwrap();
                    walk.read(content.next);
                    for record in content.records {
                        let known = records.entry(record.offset).or_insert_with(|| record.clone());
                        assert_eq!(*known, record, "{}", file.path);
                    }
                }
                Step::Gap { expected, found } => panic!("nothing from {expected} to {found}: {files:?}"),
                Step::End => return records.into_values().collect(),
            }
        }
    }

    /// Joins the neighbours among the files of `[from, to)` that the batch layer might join: those that end at the oldest
    /// checkpoint or before, except the newest of the chain. Answers how many are gone.
    pub fn join(&self, partition: u32, from: Offset, to: Offset) -> usize {
        let oldest = self.checkpoints().iter().filter_map(|path| checkpoint::position_of(path)).min().unwrap_or(0);
        let mut files = self.files(partition);
        files.pop();
        let mut joined: Option<Stretch> = None;
        let mut members = Vec::new();
        for file in files {
            let stretch = Stretch::read(file.first, self.objects.read(&file.path)).unwrap();
            if stretch.first < from || stretch.next > to.min(oldest) {
                continue;
            }
            match &mut joined {
                None => joined = Some(stretch),
                Some(joined) => joined.append(stretch).unwrap(),
            }
            members.push(file.path);
        }
        let Some(joined) = joined.filter(|_| members.len() > 1) else { return 0 };
        let path = chain::joined_path(SOURCE, partition, joined.first, joined.next);
        self.objects.write(&path, joined.encode(SOURCE, partition).unwrap());
        members.retain(|member| *member != path);
        for member in &members {
            self.objects.remove(member);
        }
        members.len()
    }
}

/// What must not depend on faults.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub views: Contents,
    pub bronze: BTreeMap<u32, Vec<Record>>,
    /// (partition, offset, kind, raw, key)
    pub dead: Vec<(u32, u64, String, Bytes, Option<Bytes>)>,
}

impl Outcome {
    /// Each dead letter once: those of a file that was written again, by a writer that had been paused for long, may be
    /// there twice. Who lists them sees each once.
    pub fn with_letters_once(mut self) -> Self {
        self.dead.sort_by_key(|letter| (letter.0, letter.1));
        self.dead.dedup();
        self
    }
}

impl Process {
    /// Stops in order.
    pub async fn end(self) -> Vec<ShardStatus> {
        self.stop.cancel();
        self.handle.join().await;
        self.handle.status()
    }

    /// Waits until all shards have begun: what comes now they read from the log.
    pub async fn ready(&self) {
        let running = |status: &ShardStatus| status.condition == ShardCondition::Running;
        self.until("ready", |statuses| !statuses.is_empty() && statuses.iter().all(running)).await;
    }

    /// Waits until a condition holds.
    pub async fn until(&self, what: &str, condition: impl Fn(&[ShardStatus]) -> bool) {
        for _ in 0..10_000 {
            if condition(&self.handle.status()) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        panic!("never {what}: {:?}", self.handle.status());
    }
}

/// A small generator, so that tests need no seed but a number.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

/// Records whose event times jump about: some are late, some duplicates, some cannot be read. Amounts are
/// multiples of 1/4, so that sums are exact in any order.
pub fn payloads(count: u64, seed: u64) -> Vec<Bytes> {
    let mut numbers = Numbers(seed);
    let mut past: Vec<Bytes> = Vec::new();
    for i in 0..count {
        let payload = match numbers.below(12) {
            0 => Bytes::from_static(b"{\"at\": broken \xff"),
            1 => Bytes::from(format!("{{\"who\":\"u{i}\"}}")),
            2 | 3 if !past.is_empty() => past[past.len() - 1 - numbers.below((i / 2 + 1).min(9)) as usize].clone(),
            n => {
                let back = if n == 4 { 90_000 + numbers.below(300_000) } else { numbers.below(15_000) };
                let at = (1_700_000_000_000 + i * 3_000).saturating_sub(back);
                let (user, amount) = (numbers.below(4), numbers.below(40) as f64 / 4.0);
                format!("{{\"at\":{at},\"id\":\"r{i}\",\"who\":\"u{user}\",\"amount\":{amount:?}}}").into()
            }
        };
        past.push(payload);
    }
    past
}
