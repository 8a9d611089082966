//! In-memory doubles of the ports, and a plan to ask about.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, clippy::missing_panics_doc)]

pub mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tideline_common::aggregate::fold::{Event as Contribution, state_of};
use tideline_common::aggregate::{Aggregate, Function};
use tideline_common::column::Column;
use tideline_common::formula::Formula;
use tideline_common::key::Key;
use tideline_common::manifest::{Manifest, ReportFiles, SourceProgress, ViewFiles};
use tideline_common::plan::{
    AlertOn, AlertPlan, Computed, EndpointPlan, EventTime, FeaturePlan, FeatureSource, Field, Learning, LookupPlan,
    Measure, ModelPlan, Plan, PredictionPlan, ReportPlan, RowOutputPlan, SourcePlan, Start, TimeFormat, ViewPlan,
};
use tideline_common::ports::{
    Analytics, Appended, Flush, KeySelector, LookupRows, LookupSchema, ManualClock, PanePage, PaneQuery, PortError,
    PortResult, Progress, ReportPage, ReportQuery, ShardPanes, SpeedViews, ViewSchema,
};
use tideline_common::position::Shard;
use tideline_common::state::{StateBatch, StateTable};
use tideline_common::time::{Span, Timestamp};
use tideline_common::value::{Type, Value};
use tideline_common::watermark::Watermark;
use tideline_common::window::Window;
use tideline_serving::api::agreement::{Agreement, AgreementSource, CompareError};
use tideline_serving::api::ports::{BatchControl, Check, Run, RunState, StartError, StatusSource, TopicWriter};
use tideline_serving::api::{ApiConfig, ApiParts};
use tideline_serving::live::Live;
use tideline_serving::merge::{Reader, ReaderConfig};
use tokio_util::sync::CancellationToken;

pub const PANE: Span = Span::MINUTE;

/// A record of the test source.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub time: i64,
    pub symbol: Option<String>,
    pub venue: i64,
    pub x: f64,
    pub sequence: i64,
    pub shard: u32,
}

impl Event {
    pub fn new(secs: i64, symbol: &str, venue: i64, x: f64, sequence: i64) -> Self {
        Self { time: secs * 1_000_000, symbol: Some(symbol.to_owned()), venue, x, sequence, shard: 0 }
    }

    pub fn key(&self) -> Vec<Value> {
        vec![self.symbol.clone().map_or(Value::Null, Value::String), Value::Int(self.venue)]
    }

    pub fn pane(&self) -> Timestamp {
        Timestamp(self.time).floor(PANE)
    }
}

fn field(name: &str, ty: Type) -> Field {
    Field { name: name.into(), ty }
}

/// The view `trades`: key (symbol, venue), windows of 5m every 1m.
pub fn view() -> ViewPlan {
    let functions = [
        ("n", Function::Count),
        ("total", Function::Sum),
        ("mean", Function::Avg),
        ("low", Function::Min),
        ("close", Function::Last),
        ("p50", Function::Quantile(0.5)),
    ];
    let (mut fields, mut measures, mut answer) = (Vec::new(), Vec::new(), Vec::new());
    for (name, function) in functions {
        let argument = (function != Function::Count).then(|| ("x".to_owned(), Type::Float));
        let aggregate = Aggregate::new(function, argument).unwrap();
        let mut states = Vec::new();
        for spec in aggregate.states() {
            states.push(fields.len());
            fields.push(spec.field(format!("{name}_{}", spec.suffix), "trades", Some("x".into())));
        }
        let ty = aggregate.result_type();
        answer.push(field(name, ty));
        measures.push(Measure { name: name.into(), table: "trades".into(), aggregate, states, ty, sql: name.into() });
    }
    let (formula, ty) = Formula::compile("total / n", &answer).unwrap();
    answer.push(field("ratio", ty));
    ViewPlan {
        name: "trades".into(),
        key: vec![field("symbol", Type::String), field("venue", Type::Int)],
        window: Window::new(Span(5 * PANE.0), PANE).unwrap(),
        pane: PANE,
        measures,
        columns: vec![Computed { name: "ratio".into(), formula, ty }],
        answer,
        fields,
        tables: vec!["trades".into()],
        sources: vec!["feed".into()],
        retain_speed: None,
        retain_batch: None,
        top: vec!["n".into()],
        version: "v1".into(),
    }
}

pub fn plan() -> Plan {
    Plan {
        name: "test".into(),
        sources: vec![SourcePlan {
            name: "feed".into(),
            topic: "feed".into(),
            partitions: 2,
            retention: None,
            retain_bronze: None,
            start: Start::Earliest,
            columns: vec![field("x", Type::Float)],
            required: Vec::new(),
            event_time: EventTime { column: "t".into(), format: TimeFormat::Rfc3339 },
            key: None,
            lateness: Span::MINUTE,
            max_ahead: Some(Span::MINUTE),
            idle_after: Span::MINUTE,
            dedupe: None,
            checks: Vec::new(),
            version: "s1".into(),
        }],
        tables: Vec::new(),
        views: vec![view()],
        lookups: vec![LookupPlan {
            name: "latest".into(),
            table: "trades".into(),
            source: "feed".into(),
            key: vec![field("symbol", Type::String)],
            columns: vec![field("x", Type::Float)],
            limit: 3,
            retain_speed: None,
            version: "l1".into(),
        }],
        reports: vec![ReportPlan {
            name: "summary".into(),
            from: "trades".into(),
            steps: Vec::new(),
            inputs: vec!["trades".into()],
            order_by: Vec::new(),
            version: "r1".into(),
        }],
        alerts: vec![AlertPlan {
            name: "jump".into(),
            view: "trades".into(),
            on: AlertOn::Running,
            when: Formula::compile("n > 100", &view().answer).unwrap().0,
            webhook: None,
            secret: None,
        }],
        outputs: Vec::new(),
        predictions: vec![PredictionPlan {
            name: "price".into(),
            view: "trades".into(),
            target: "close".into(),
            topic: "prices".into(),
            partitions: 1,
            retention: None,
            buffer: 10,
            keys_max: 10,
            gap_max: None,
            models: vec![ModelPlan {
                version: "v1".into(),
                features: vec![FeaturePlan { name: "hour".into(), source: FeatureSource::Hour }],
                learning: Learning::default(),
            }],
        }],
        row_outputs: vec![RowOutputPlan {
            name: "processed".into(),
            table: "trades".into(),
            source: "feed".into(),
            topic: "feed.processed".into(),
            key: Vec::new(),
            columns: vec![field("event_time", Type::Timestamp), field("x", Type::Float)],
            partitions: 2,
            retention: None,
        }],
        endpoints: vec![EndpointPlan {
            name: "totals".into(),
            path: "/api/trades/totals".into(),
            view: "trades".into(),
            by: Some("total".into()),
            limit: 1,
        }],
    }
}

/// States of events: one row per (shard, key, pane), sorted by key and pane.
pub fn states(events: &[Event]) -> StateBatch {
    let view = view();
    let mut shards: BTreeMap<u32, StateTable> = BTreeMap::new();
    for event in events {
        let table = shards.entry(event.shard).or_insert_with(|| StateTable::new(&view.fields));
        let mut one = StateBatch::new(&view.fields);
        one.push_identity(&Key::of(&event.key()).0, event.pane());
        let argument = Value::Float(event.x);
        let row = Contribution { argument: &argument, time: Timestamp(event.time), sequence: event.sequence };
        one.states = view.fields.iter().map(|field| state_of(field, row)).collect();
        table.merge(&one);
    }
    let mut rows: Vec<(Vec<u8>, Timestamp, u32, usize)> = Vec::new();
    for (shard, table) in &shards {
        let groups = table.groups();
        rows.extend((0..groups.len()).map(|row| (groups.keys.get(row).to_vec(), groups.panes[row], *shard, row)));
    }
    rows.sort();
    let mut sorted = StateBatch::new(&view.fields);
    for (_, _, shard, row) in rows {
        sorted.push_from(shards[&shard].groups(), row);
    }
    sorted
}

/// What a store should do instead of answering.
#[derive(Debug, Default)]
pub struct Faults {
    pub down: AtomicBool,
    pub damaged: AtomicBool,
    pub hangs: AtomicBool,
    /// Reads that still work before `down` counts.
    pub after: AtomicUsize,
}

impl Faults {
    pub async fn check(&self) -> PortResult<()> {
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.damaged.load(Ordering::SeqCst) {
            return Err(PortError::corrupt("/secret/path", "bits"));
        }
        if self.down.load(Ordering::SeqCst) {
            let left = self.after.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
            if left.is_err() {
                return Err(PortError::unavailable("/secret/path", "no route to host"));
            }
        }
        Ok(())
    }
}

fn page(states: &StateBatch, query: &PaneQuery) -> PanePage {
    let mut panes = StateBatch::new(&view().fields);
    let mut more_after = None;
    for row in 0..states.len() {
        let key = states.keys.get(row);
        let wanted = match &query.keys {
            KeySelector::All { after } => after.as_ref().is_none_or(|after| key > after.as_bytes()),
            KeySelector::One(one) => key == one.as_bytes(),
        };
        if !wanted || states.panes[row] < query.from || states.panes[row] >= query.to {
            continue;
        }
        if panes.len() >= query.max_rows && panes.keys.get(panes.len() - 1) != key {
            more_after = Some(Key(panes.keys.get(panes.len() - 1).to_vec()));
            break;
        }
        panes.push_from(states, row);
    }
    PanePage { panes, more_after }
}

fn between(states: &StateBatch, from: Timestamp, to: Timestamp) -> StateBatch {
    page(states, &PaneQuery { keys: KeySelector::All { after: None }, from, to, max_rows: usize::MAX }).panes
}

fn lookup_rows(events: &[Event], key: &Key, limit: usize) -> LookupRows {
    let mut rows = LookupRows::new(&[field("x", Type::Float)]);
    let mut found: Vec<&Event> = events.iter().filter(|e| Key::of(&e.key()[..1]) == *key).collect();
    found.sort_by_key(|e| std::cmp::Reverse((e.time, e.sequence)));
    for event in found.into_iter().take(limit) {
        rows.keys.push(key.as_bytes());
        rows.times.push(Timestamp(event.time));
        rows.sequences.push(event.sequence);
        rows.ordinals.push(0);
        if let Column::Float(column) = &mut rows.columns[0] {
            column.push(Some(event.x));
        }
    }
    rows
}

#[derive(Debug)]
pub struct MemoryViews {
    pub states: Mutex<StateBatch>,
    pub events: Mutex<Vec<Event>>,
    pub progress: Mutex<Vec<(Shard, Progress)>>,
    pub faults: Faults,
}

#[async_trait]
impl SpeedViews for MemoryViews {
    async fn write(&self, _: &Flush, _: Timestamp) -> PortResult<()> {
        Ok(())
    }

    async fn panes(&self, _: &ViewSchema, query: &PaneQuery, _: Timestamp) -> PortResult<PanePage> {
        self.faults.check().await?;
        Ok(page(&self.states.lock(), query))
    }

    async fn late(&self, _: &ViewSchema, _: &PaneQuery, _: Timestamp) -> PortResult<PanePage> {
        Ok(PanePage { panes: StateBatch::new(&[]), more_after: None })
    }

    async fn newest_pane(&self, _: &ViewSchema, _: Timestamp) -> PortResult<Option<Timestamp>> {
        self.faults.check().await?;
        Ok(self.states.lock().panes.iter().max().copied())
    }

    async fn panes_between(
        &self,
        _: &ViewSchema,
        from: Timestamp,
        to: Timestamp,
        _: Timestamp,
    ) -> PortResult<StateBatch> {
        self.faults.check().await?;
        Ok(between(&self.states.lock(), from, to))
    }

    async fn shards_between(
        &self,
        _: &ViewSchema,
        from: Timestamp,
        to: Timestamp,
        _: Timestamp,
    ) -> PortResult<Vec<ShardPanes>> {
        self.faults.check().await?;
        let events = self.events.lock();
        let shards: BTreeSet<u32> = events.iter().map(|event| event.shard).collect();
        let of = |shard: u32| {
            let own: Vec<Event> = events.iter().filter(|event| event.shard == shard).cloned().collect();
            ShardPanes { shard: Shard::new("feed", shard), panes: between(&states(&own), from, to) }
        };
        Ok(shards.into_iter().map(of).filter(|of| !of.panes.is_empty()).collect())
    }

    async fn rows(&self, _: &LookupSchema, key: &Key, limit: usize, _: Timestamp) -> PortResult<LookupRows> {
        self.faults.check().await?;
        Ok(lookup_rows(&self.events.lock(), key, limit))
    }

    async fn progress(&self) -> PortResult<Vec<(Shard, Progress)>> {
        if self.faults.after.load(Ordering::SeqCst) == 0 {
            self.faults.check().await?;
        }
        Ok(self.progress.lock().clone())
    }

    async fn sync(&self) -> PortResult<()> {
        Ok(())
    }

    async fn expire(&self, _: &[ViewSchema], _: &[LookupSchema], _: Timestamp) -> PortResult<u64> {
        Ok(0)
    }
}

#[derive(Debug)]
pub struct MemoryAnalytics {
    pub manifest: Mutex<Option<Arc<Manifest>>>,
    pub states: Mutex<StateBatch>,
    pub events: Mutex<Vec<Event>>,
    pub report: Mutex<Vec<(String, f64)>>,
    pub faults: Faults,
    /// Only the manifest cannot be read.
    pub blind: AtomicBool,
    /// The manifest is waited for in vain.
    pub slow_manifest: AtomicBool,
}

#[async_trait]
impl Analytics for MemoryAnalytics {
    async fn current(&self) -> PortResult<Option<Arc<Manifest>>> {
        if self.slow_manifest.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.blind.load(Ordering::SeqCst) {
            return Err(PortError::unavailable("manifest", "no route to host"));
        }
        Ok(self.manifest.lock().clone())
    }

    async fn panes(&self, _: &Manifest, _: &ViewSchema, query: &PaneQuery) -> PortResult<PanePage> {
        self.faults.check().await?;
        Ok(page(&self.states.lock(), query))
    }

    async fn panes_between(
        &self,
        _: &Manifest,
        _: &ViewSchema,
        from: Timestamp,
        to: Timestamp,
    ) -> PortResult<StateBatch> {
        self.faults.check().await?;
        Ok(between(&self.states.lock(), from, to))
    }

    async fn newest_pane(&self, _: &Manifest, _: &ViewSchema) -> PortResult<Option<Timestamp>> {
        self.faults.check().await?;
        Ok(self.states.lock().panes.iter().max().copied())
    }

    async fn report(&self, _: &Manifest, _: &str, query: &ReportQuery) -> PortResult<ReportPage> {
        self.faults.check().await?;
        let columns = report_columns();
        let rows: Vec<Vec<Value>> = self
            .report
            .lock()
            .iter()
            .map(|(name, x)| vec![Value::String(name.clone()), Value::Float(*x)])
            .filter(|row| query.filters.iter().all(|(name, value)| row[usize::from(name == "limit")] == *value))
            .collect();
        let rest = rows.len().saturating_sub(query.offset as usize);
        Ok(ReportPage {
            columns,
            rows: rows.into_iter().skip(query.offset as usize).take(query.limit).collect(),
            more: rest > query.limit,
        })
    }

    async fn rows(&self, _: &Manifest, _: &str, _: &LookupSchema, key: &Key, limit: usize) -> PortResult<LookupRows> {
        self.faults.check().await?;
        Ok(lookup_rows(&self.events.lock(), key, limit))
    }
}

/// The second column has the name of a parameter.
pub fn report_columns() -> Vec<Field> {
    vec![field("name", Type::String), field("limit", Type::Float)]
}

pub fn manifest(through: Option<Timestamp>) -> Manifest {
    let files = ViewFiles { plan: "v1".into(), through, ..ViewFiles::default() };
    let mark = Watermark { highest: Some(Timestamp(600_000_000)), last_appended: Some(Timestamp(600_000_000)) };
    Manifest {
        version: 7,
        run: "run-7".into(),
        published_at: Timestamp(700_000_000),
        sources: BTreeMap::from([(
            "feed".into(),
            SourceProgress {
                positions: BTreeMap::from([(0, 10)]),
                watermarks: BTreeMap::from([(0, mark)]),
                ..SourceProgress::default()
            },
        )]),
        views: BTreeMap::from([("trades".into(), files)]),
        reports: BTreeMap::from([(
            "summary".into(),
            ReportFiles { columns: report_columns(), ..ReportFiles::default() },
        )]),
        ..Manifest::default()
    }
}

#[derive(Debug)]
pub struct MemoryTopics {
    pub records: Mutex<Vec<Bytes>>,
    pub answer: Mutex<Option<PortError>>,
    pub panics: AtomicBool,
}

#[async_trait]
impl TopicWriter for MemoryTopics {
    fn topics(&self) -> Vec<String> {
        vec!["feed".into()]
    }

    async fn append(&self, _: &str, records: Vec<Bytes>) -> PortResult<Appended> {
        assert!(!self.panics.load(Ordering::SeqCst), "the writer panics");
        if let Some(error) = self.answer.lock().take() {
            return Err(error);
        }
        let mut kept = self.records.lock();
        let first = kept.len() as u64;
        kept.extend(records);
        Ok(Appended::from([(0, (first, kept.len() as u64))]))
    }
}

#[derive(Debug, Default)]
pub struct MemoryBatch(pub Mutex<Vec<Run>>);

#[async_trait]
impl BatchControl for MemoryBatch {
    async fn start(&self) -> Result<Run, StartError> {
        let mut runs = self.0.lock();
        if let Some(run) = runs.iter().find(|run| run.state == RunState::Running) {
            return Err(StartError::Busy { running: run.id.clone() });
        }
        let run = Run {
            id: format!("run{}", runs.len()),
            state: RunState::Running,
            started_at: Timestamp(0),
            finished_at: None,
            report: serde_json::Value::Null,
            error: None,
        };
        runs.push(run.clone());
        Ok(run)
    }

    async fn run(&self, id: &str) -> Option<Run> {
        self.0.lock().iter().find(|run| run.id == id).cloned()
    }

    async fn runs(&self) -> Vec<Run> {
        self.0.lock().clone()
    }
}

#[derive(Debug, Default)]
pub struct MemoryStatus(pub AtomicBool);

#[async_trait]
impl StatusSource for MemoryStatus {
    async fn status(&self) -> serde_json::Value {
        serde_json::json!({ "shards": 2 })
    }

    async fn checks(&self) -> Vec<Check> {
        let bad = self.0.load(Ordering::SeqCst);
        vec![Check { name: "log".into(), ok: !bad, detail: bad.then(|| "full".into()) }]
    }
}

/// Compares nothing: answers what it is told to.
#[derive(Debug)]
pub struct MemoryAgreement {
    pub answer: Mutex<Agreement>,
    pub fails: AtomicBool,
    /// Comparisons begun, and those at work now.
    pub begun: AtomicUsize,
    /// A comparison ends when it gets a permit.
    pub go: tokio::sync::Semaphore,
}

impl Default for MemoryAgreement {
    fn default() -> Self {
        Self {
            answer: Mutex::new(Agreement { at: "1970-01-01T00:00:00Z".into(), ..Agreement::default() }),
            fails: AtomicBool::new(false),
            begun: AtomicUsize::new(0),
            go: tokio::sync::Semaphore::new(tokio::sync::Semaphore::MAX_PERMITS),
        }
    }
}

#[async_trait]
impl AgreementSource for MemoryAgreement {
    async fn compare(&self) -> Result<Agreement, CompareError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let _permit = self.go.acquire().await.unwrap();
        if self.fails.load(Ordering::SeqCst) {
            return Err(CompareError("/secret/gold is gone".into()));
        }
        Ok(self.answer.lock().clone())
    }
}

/// A whole process in memory.
#[derive(Debug)]
pub struct World {
    pub views: Arc<MemoryViews>,
    pub analytics: Arc<MemoryAnalytics>,
    pub topics: Arc<MemoryTopics>,
    pub batch: Arc<MemoryBatch>,
    pub agreement: Option<Arc<MemoryAgreement>>,
    pub status: Arc<MemoryStatus>,
    pub clock: Arc<ManualClock>,
    pub reader: Arc<Reader>,
    /// Of alerts and outputs.
    pub log: Arc<store::MemoryLog>,
    pub api: ApiConfig,
}

impl World {
    /// Batch and speed hold these events.
    pub fn new(batch: &[Event], speed: &[Event], through: Option<Timestamp>) -> Self {
        Self::with(
            plan(),
            batch,
            speed,
            through,
            ReaderConfig { layer_timeout: Duration::from_millis(200), ..ReaderConfig::default() },
        )
    }

    pub fn with(
        plan: Plan,
        batch: &[Event],
        speed: &[Event],
        through: Option<Timestamp>,
        config: ReaderConfig,
    ) -> Self {
        let progress = Progress {
            position: 12,
            highest: Some(Timestamp(660_000_000)),
            last_appended: Some(Timestamp(690_000_000)),
            ..Progress::default()
        };
        let views = Arc::new(MemoryViews {
            states: Mutex::new(states(speed)),
            events: Mutex::new(speed.to_vec()),
            progress: Mutex::new(vec![(Shard::new("feed", 0), progress)]),
            faults: Faults::default(),
        });
        let analytics = Arc::new(MemoryAnalytics {
            manifest: Mutex::new(Some(Arc::new(manifest(through)))),
            states: Mutex::new(states(batch)),
            events: Mutex::new(batch.to_vec()),
            report: Mutex::new((0..5).map(|i| (format!("r{}", i % 2), f64::from(i))).collect()),
            faults: Faults::default(),
            blind: AtomicBool::new(false),
            slow_manifest: AtomicBool::new(false),
        });
        let clock = Arc::new(ManualClock::new(Timestamp(700_000_000)));
        let reader = Arc::new(Reader::new(Arc::new(plan), views.clone(), analytics.clone(), clock.clone(), config));
        Self {
            views,
            analytics,
            topics: Arc::new(MemoryTopics {
                records: Mutex::default(),
                answer: Mutex::default(),
                panics: AtomicBool::new(false),
            }),
            batch: Arc::default(),
            agreement: Some(Arc::default()),
            status: Arc::default(),
            clock,
            reader,
            log: Arc::default(),
            api: ApiConfig::default(),
        }
    }

    pub fn router(&self) -> axum::Router {
        tideline_serving::api::router(self.parts())
    }

    pub fn parts(&self) -> ApiParts {
        ApiParts {
            reader: self.reader.clone(),
            topics: self.topics.clone(),
            batch: Some(self.batch.clone()),
            agreement: self.agreement.clone().map(|source| source as _),
            live: Some(Live::start(self.reader.clone(), self.log.clone(), &CancellationToken::new())),
            status: self.status.clone(),
            metrics: Arc::new(|| "tideline_up 1\n".to_owned()),
            config: self.api.clone(),
        }
    }
}
