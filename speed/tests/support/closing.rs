//! A plan whose windows somebody waits for, a receiver of alerts, and what must come of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::Value as Json;
use tideline_common::alert::{self, AlertEvent};
use tideline_common::plan::{self, Plan, ViewPlan};
use tideline_common::ports::{ManualClock, PortResult, ViewSchema, Webhook, WebhookAnswer, WebhookPost};
use tideline_common::position::{Partition, Shard};
use tideline_common::record::NewRecord;
use tideline_common::state::{CodecError, Reader, StateBatch, StateTable, write_bytes, write_varint};
use tideline_common::time::{Span, Timestamp};
use tideline_common::value::Value;
use tideline_common::window::Window;
use tideline_speed::close::consumer::{Consumer, Consumers, Effect, KeyWindow};
use tideline_speed::close::{CloseConfig, CloseHandle, CloseLayer, ClosePorts, ID_HEADER};
use tideline_transform::SqlTypes;
use tokio_util::sync::CancellationToken;

use super::World;
use super::faults::Faults;
use super::log::FaultyLog;
use super::membership::{FaultyMembership, Script};
use super::objects::FaultyObjects;
use super::views::FaultyViews;

pub const CLOSED: &str = "closed";
pub const WIDE: &str = "wide";
pub const COUNTS: &str = "counts";
const VIEW: &str = "sliding";

/// See the module.
pub fn plan(partitions: u32) -> Plan {
    let text = format!(
        r#"
version = 1
name = "test"

[sources.events]
topic = "events"
columns = {{ at = "int", id = "string", who = "string", amount = "float" }}
event_time = {{ column = "at", format = "epoch_ms" }}
lateness = "5s"
dedupe = "id"
partitions = {partitions}

[tables.rows]
from = "events"
columns = {{ who = "who", amount = "amount" }}

[views.sliding]
key = ["who"]
window = {{ size = "30s", slide = "10s" }}
measures.n = {{ table = "rows", agg = "count()" }}
measures.total = {{ table = "rows", agg = "sum(amount)" }}
columns.mean = "total / n"

[outputs.closed]
view = "sliding"
topic = "closed"

[outputs.wide]
view = "sliding"
topic = "wide"
window = "1m"
columns = ["total"]

[alerts.much]
view = "sliding"
when = "total > 20"
webhook = "http://receiver/much"
secret = "hush"

[alerts.more]
view = "sliding"
when = "total > 1.5 * prev(total)"

[alerts.soon]
view = "sliding"
on = "running"
when = "n >= 3"
webhook = "http://receiver/soon"
"#
    );
    plan::load("test.toml", &text, &|_| None, &SqlTypes).unwrap()
}

/// Everything soon and often.
pub fn config() -> CloseConfig {
    CloseConfig {
        round_interval: Span::from_millis(5),
        checkpoint_interval: Span::from_millis(15),
        read_wait: Span::from_millis(5),
        max_round_rows: 7,
        retry_initial: Span::from_millis(1),
        retry_max: Span::from_millis(2),
        webhook_retry_initial: Span::from_millis(1),
        webhook_retry_max: Span::from_millis(2),
        ..CloseConfig::default()
    }
}

/// What the other side of a webhook has been sent, and answers.
#[derive(Debug, Default)]
pub struct Receiver {
    pub posts: Mutex<Vec<WebhookPost>>,
    /// Posts to addresses that end so are taken by nobody.
    pub gone: Mutex<Option<&'static str>>,
    answers: Mutex<VecDeque<WebhookAnswer>>,
}

impl Receiver {
    /// What it answers next, before it takes everything.
    pub fn answer(&self, status: u16) {
        self.answers.lock().push_back(WebhookAnswer { status, retry_after: None });
    }
}

#[derive(Debug)]
struct FaultyWebhook(Arc<Receiver>, Arc<Faults>);

#[async_trait]
impl Webhook for FaultyWebhook {
    async fn post(&self, post: &WebhookPost) -> PortResult<WebhookAnswer> {
        let work = async {
            self.0.posts.lock().push(post.clone());
            if self.0.gone.lock().is_some_and(|end| post.url.ends_with(end)) {
                return Ok(WebhookAnswer { status: 503, retry_after: None });
            }
            let answer = self.0.answers.lock().pop_front();
            Ok(answer.unwrap_or(WebhookAnswer { status: 204, retry_after: None }))
        };
        self.1.call("webhook post", work).await
    }
}

/// A consumer that the crate does not know: it tells how many windows of a key it has seen, which it has to remember.
#[derive(Debug)]
struct Counting;

#[derive(Debug)]
struct Count(Window, BTreeMap<Vec<u8>, u64>);

impl Consumers for Counting {
    fn of(&self, _: &Plan, view: &ViewPlan, _: Partition) -> Vec<Box<dyn Consumer>> {
        vec![Box::new(Count(view.window, BTreeMap::new()))]
    }
}

impl Consumer for Count {
    fn name(&self) -> String {
        "count".to_owned()
    }

    fn window(&self) -> Window {
        self.0
    }

    fn closed(&mut self, window: &KeyWindow<'_>, effects: &mut Vec<Effect>) {
        let count = self.1.entry(window.key.to_vec()).or_default();
        *count += 1;
        let payload = format!("{} {} {count}", window.key_values[0], window.start).into();
        effects
            .push(Effect::Append { topic: COUNTS.to_owned(), record: NewRecord { payload, ..NewRecord::default() } });
    }

    fn save(&self, out: &mut Vec<u8>) {
        write_varint(self.1.len() as u64, out);
        for (key, count) in &self.1 {
            write_bytes(key, out);
            write_varint(*count, out);
        }
    }

    fn restore(&mut self, reader: &mut Reader<'_>) -> Result<(), CodecError> {
        for _ in 0..reader.varint()? {
            let key = reader.bytes()?.to_vec();
            self.1.insert(key, reader.varint()?);
        }
        Ok(())
    }
}

/// A process that closes windows.
#[derive(Debug)]
pub struct Closing {
    pub handle: CloseHandle,
    pub stop: CancellationToken,
}

impl World {
    pub fn close_ports(&self, receiver: &Arc<Receiver>, script: &Arc<Script>, faults: &Arc<Faults>) -> ClosePorts {
        ClosePorts {
            log: Arc::new(FaultyLog(self.log.clone(), faults.clone())),
            membership: Arc::new(FaultyMembership(script.clone(), faults.clone())),
            objects: Arc::new(FaultyObjects(self.objects.clone(), faults.clone())),
            views: Arc::new(FaultyViews(self.views.clone(), faults.clone())),
            webhook: Arc::new(FaultyWebhook(receiver.clone(), faults.clone())),
            clock: Arc::new(ManualClock::new(Timestamp(2_000_000))),
            others: Arc::new(Counting),
        }
    }

    pub async fn close(
        &self,
        plan: &Plan,
        config: CloseConfig,
        receiver: &Arc<Receiver>,
        faults: &Arc<Faults>,
    ) -> Closing {
        self.close_as(plan, config, receiver, &Script::everything(&self.log), faults).await
    }

    pub async fn close_as(
        &self,
        plan: &Plan,
        config: CloseConfig,
        receiver: &Arc<Receiver>,
        script: &Arc<Script>,
        faults: &Arc<Faults>,
    ) -> Closing {
        self.log.create(COUNTS, 1);
        let stop = CancellationToken::new();
        let ports = self.close_ports(receiver, script, faults);
        let handle = CloseLayer::start(Arc::new(plan.clone()), ports, config, stop.clone()).await.unwrap();
        Closing { handle, stop }
    }

    /// Rows that a reader of the views finds in the windows that can change no more, by start and key.
    fn final_rows(&self, view: &ViewPlan, window: Window) -> BTreeMap<(Timestamp, Vec<u8>), Vec<Value>> {
        let contents = self.views.contents();
        let highest = contents.progress.values().filter_map(|progress| progress.highest).min();
        let Some(watermark) = highest.map(|highest| highest.minus(Span::from_secs(5))) else { return BTreeMap::new() };
        let name = format!("{VIEW}@{}", ViewSchema::from(view).version);
        let mut table = StateTable::new(&view.fields);
        for ((of, kind, _, key, pane), bytes) in &contents.panes {
            if *of != name || *kind != "panes" {
                continue;
            }
            let mut one = StateBatch::new(&view.fields);
            one.read_states(key, Timestamp(*pane), &mut Reader::new(bytes)).unwrap();
            for start in window.starts(Timestamp(*pane)) {
                let last = start.plus(window.size).minus(Span(1));
                if view.window.last_end(last) <= watermark {
                    table.merge_row(key, start, &one, 0);
                }
            }
        }
        let groups = table.groups();
        (0..groups.len())
            .map(|row| ((groups.panes[row], groups.keys.get(row).to_vec()), view.answer(groups, row)))
            .collect()
    }

    /// What must have come of the windows that can change no more: records by topic, and alerts on closed windows.
    pub fn expected(&self, plan: &Plan) -> Outcome {
        let view = plan.view(VIEW).unwrap();
        let mut outcome = Outcome::default();
        for output in &plan.outputs {
            let rows = self.final_rows(view, output.window);
            let records = outcome.records.entry(output.topic.clone()).or_default();
            for ((start, key), values) in &rows {
                let who = tideline_common::key::decode(key).unwrap()[0].to_string();
                let mut row = BTreeMap::from([
                    ("who".to_owned(), Json::from(who)),
                    ("window_start".to_owned(), Json::from(start.to_string())),
                    ("window_end".to_owned(), Json::from(start.plus(output.window.size).to_string())),
                ]);
                for at in &output.columns {
                    row.insert(view.answer[*at].name.clone(), values[*at].to_json());
                }
                let fields: Vec<String> = row.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
                records.insert(fields.join(" "));
            }
        }
        let rows = self.final_rows(view, view.window);
        let number = |values: &[Value], at: usize| values[at].as_f64().unwrap();
        for ((start, key), values) in &rows {
            let total = number(values, 1);
            let before = rows.get(&(start.minus(view.window.slide), key.clone()));
            let fired = [
                ("much", total > 20.0),
                ("more", before.is_some_and(|before| total > 1.5 * number(before, 1))),
                // Whenever it was looked at: counts do not fall.
                ("soon", number(values, 0) >= 3.0),
            ];
            let declared = |name: &str| plan.alerts.iter().any(|alert| alert.name == name);
            for (name, _) in fired.into_iter().filter(|(name, fired)| *fired && declared(name)) {
                outcome.alerts.insert(AlertEvent::id(name, VIEW, key, *start));
            }
        }
        outcome
    }

    /// What has come of it. Copies of one identity are the same, records and posts.
    pub fn closed(&self, plan: &Plan, receiver: &Receiver) -> Outcome {
        let mut outcome = Outcome::default();
        // What is posted was told before.
        let posts = receiver.posts.lock().clone();
        for output in &plan.outputs {
            let mut by_id: BTreeMap<String, (Option<bytes::Bytes>, bytes::Bytes)> = BTreeMap::new();
            let records = outcome.records.entry(output.topic.clone()).or_default();
            for record in self.log.records(&output.topic) {
                let (name, id) = &record.headers[0];
                assert_eq!(name, ID_HEADER);
                let id = String::from_utf8(id.to_vec()).unwrap();
                let content = (record.key.clone(), record.payload.clone());
                assert_eq!(*by_id.entry(id).or_insert_with(|| content.clone()), content, "copies differ");
                let row: BTreeMap<String, Json> = serde_json::from_slice(&record.payload).unwrap();
                assert_eq!(record.key.unwrap(), row["who"].as_str().unwrap().as_bytes().to_vec());
                let fields: Vec<String> = row.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
                records.insert(fields.join(" "));
            }
            assert_eq!(by_id.len(), records.len(), "one window, one identity");
        }
        // What a consumer remembers goes on after a restart: of each key the windows are counted without a gap.
        let mut counts: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for record in self.log.records(COUNTS) {
            let text = String::from_utf8(record.payload.to_vec()).unwrap();
            let (who, start, count) = {
                let mut parts = text.split(' ').map(str::to_owned);
                (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap().parse().unwrap())
            };
            let known = *counts.entry(who).or_default().entry(start).or_insert(count);
            assert_eq!(known, count, "{text}: counted twice, and not the same");
        }
        for (who, starts) in &counts {
            assert!(starts.values().copied().eq(1..=starts.len() as u64), "{who}: {starts:?}");
        }
        let mut contents: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for record in self.log.records(alert::TOPIC) {
            let event = AlertEvent::from_json(&record.payload).unwrap();
            let content = record.payload.to_vec();
            assert_eq!(*contents.entry(event.id.clone()).or_insert_with(|| content.clone()), content, "copies differ");
            outcome.alerts.insert(event.id);
        }
        for post in posts {
            assert_eq!(contents.get(&post.id), Some(&post.body.to_vec()), "what is posted is what is told");
            outcome.posted.insert(post.id);
        }
        outcome
    }
}

/// What must not depend on faults.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// Topic → rows, as text.
    pub records: BTreeMap<String, BTreeSet<String>>,
    /// Ids of alerts that were told.
    pub alerts: BTreeSet<String>,
    /// Ids of alerts that were posted.
    pub posted: BTreeSet<String>,
}

impl Closing {
    /// Waits until what has closed is what must have, and every alert with a webhook was posted.
    pub async fn until_closed(&self, world: &World, plan: &Plan, receiver: &Receiver) {
        let mut last = None;
        for _ in 0..4_000 {
            // A fault may be meant for this very call.
            let _ = self.handle.look().await;
            let idle = |status: &tideline_speed::close::CloseStatus| status.lag() == 0 && status.posts == 0;
            let idle = !self.handle.status().is_empty() && self.handle.status().iter().all(idle);
            let (mut expected, found) = (world.expected(plan), world.closed(plan, receiver));
            // Windows that have not closed may have fired an alert that looks at running ones.
            let ids = |outcome: &Outcome, name: &str| -> BTreeSet<String> {
                let told = world.log.records(alert::TOPIC).into_iter();
                let told = told.filter_map(|record| AlertEvent::from_json(&record.payload).ok());
                let of = told.filter(|event| event.alert == name && outcome.alerts.contains(&event.id));
                of.map(|event| event.id).collect()
            };
            let running = ids(&found, "soon");
            expected.alerts.extend(running.iter().cloned());
            expected.posted = ids(&found, "much").into_iter().chain(running).collect();
            if idle && expected == found {
                return;
            }
            last = Some((expected, found));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (expected, found) = last.unwrap();
        let count = |outcome: &Outcome| {
            let records: Vec<usize> = outcome.records.values().map(BTreeSet::len).collect();
            (records, outcome.alerts.len(), outcome.posted.len())
        };
        let extra: Vec<_> = found.records[CLOSED].difference(&expected.records[CLOSED]).collect();
        panic!(
            "expected {:?}, found {:?}, too much {extra:?}: {:?}",
            count(&expected),
            count(&found),
            self.handle.status()
        );
    }

    pub async fn end(self) {
        self.stop.cancel();
        self.handle.join().await;
    }
}

/// The shard of a partition.
pub fn shard(partition: u32) -> Shard {
    Shard::new(super::SOURCE, partition)
}
