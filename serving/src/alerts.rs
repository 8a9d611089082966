//! Alerts as they are fired, for whoever shows them live.
//!
//! Whichever process has fired one appends it to the topic [`alert::TOPIC`]; this follows the topic, gives every alert to
//! those who listen, each once, and remembers the newest. Who listens too slowly is told how many it has missed
//! ([`broadcast::error::RecvError::Lagged`]), and finds what is newest in [`Alerts::recent`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tideline_common::alert::{self, AlertEvent};
use tideline_common::ports::{Log, PortError, PortResult, ReadRequest};
use tideline_common::position::{Offset, Partition};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Alerts of one name that are remembered, and alerts that one who listens may be behind.
pub(crate) const RECENT: usize = 256;
/// The newest alerts of the topic that are looked through at the start, and that are known not to be told again.
const KNOWN: usize = 4_096;
/// How long one read waits for alerts.
const WAIT: Duration = Duration::from_millis(500);
/// Pause after something that failed, or while there is no topic: nothing declares an alert then.
const PAUSE: Duration = Duration::from_secs(1);

/// See the module. Dropping it ends the work.
#[derive(Debug)]
pub struct Alerts {
    shared: Arc<Shared>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Shared {
    sender: broadcast::Sender<Arc<AlertEvent>>,
    recent: Mutex<Recent>,
}

/// The newest alerts of each name: one that fires often does not push out those that fire seldom.
#[derive(Debug, Default)]
struct Recent {
    told: u64,
    /// With the place of each among all that were told.
    by_name: BTreeMap<String, VecDeque<(u64, Arc<AlertEvent>)>>,
}

impl Recent {
    fn push(&mut self, event: Arc<AlertEvent>) {
        self.told += 1;
        // Names are those of definitions: there are few.
        let of_name = self.by_name.entry(event.alert.clone()).or_default();
        of_name.push_back((self.told, event));
        if of_name.len() > RECENT {
            of_name.pop_front();
        }
    }

    fn all(&self) -> Vec<Arc<AlertEvent>> {
        let mut all: Vec<&(u64, Arc<AlertEvent>)> = self.by_name.values().flatten().collect();
        all.sort_unstable_by_key(|(place, _)| *place);
        all.into_iter().map(|(_, event)| Arc::clone(event)).collect()
    }
}

impl Alerts {
    /// Begins to follow the topic, in the background, until `cancel` or until it is dropped. To be called within a Tokio
    /// runtime; neither the log nor the topic has to be there yet.
    pub fn start(log: Arc<dyn Log>, cancel: CancellationToken) -> Self {
        let (sender, _) = broadcast::channel(RECENT);
        let shared = Arc::new(Shared { sender, recent: Mutex::default() });
        let follower = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            cancel.run_until_cancelled(follow(log, follower)).await;
        });
        Self { shared, _task: AbortOnDropHandle::new(task) }
    }

    /// Alerts that are fired from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<AlertEvent>> {
        self.shared.sender.subscribe()
    }

    /// The newest alerts of each name, oldest first.
    pub fn recent(&self) -> Vec<Arc<AlertEvent>> {
        self.shared.recent.lock().all()
    }
}

impl Shared {
    /// Takes in an alert. One that is in the topic again was told already.
    fn tell(&self, event: AlertEvent, known: &mut BTreeSet<String>, order: &mut VecDeque<String>) {
        if !known.insert(event.id.clone()) {
            return;
        }
        order.push_back(event.id.clone());
        if order.len() > KNOWN
            && let Some(oldest) = order.pop_front()
        {
            known.remove(&oldest);
        }
        let event = Arc::new(event);
        self.recent.lock().push(Arc::clone(&event));
        // Nobody has to listen.
        let _ = self.sender.send(event);
    }
}

async fn follow(log: Arc<dyn Log>, shared: Arc<Shared>) {
    let (mut known, mut order) = (BTreeSet::new(), VecDeque::new());
    let mut from: BTreeMap<Partition, Offset> = BTreeMap::new();
    loop {
        if let Err(error) = read(log.as_ref(), &shared, &mut from, (&mut known, &mut order)).await {
            if !matches!(error, PortError::NotFound { .. }) {
                tracing::warn!(%error, "alerts cannot be followed now");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Reads what there is in every partition; the topic has one, unless somebody has made it otherwise.
async fn read(
    log: &dyn Log,
    shared: &Shared,
    from: &mut BTreeMap<Partition, Offset>,
    (known, order): (&mut BTreeSet<String>, &mut VecDeque<String>),
) -> PortResult<()> {
    let info = log.topic(alert::TOPIC).await?;
    let wait = WAIT / u32::try_from(info.partitions.len().max(1)).unwrap_or(1);
    for (partition, (first, next)) in info.partitions {
        // The newest are told at the start, too: the page that asks first has something to show.
        let at = from.entry(partition).or_insert_with(|| first.max(next.saturating_sub(KNOWN as u64)));
        *at = (*at).max(first);
        let request = ReadRequest {
            topic: alert::TOPIC.to_owned(),
            partition,
            from: *at,
            max_records: RECENT,
            max_bytes: 4 << 20,
            wait,
        };
        for record in log.read(&request).await? {
            *at = record.offset + 1;
            match AlertEvent::from_json(&record.payload) {
                Ok(event) => shared.tell(event, known, order),
                Err(error) => tracing::warn!(%error, offset = record.offset, "a record is no alert"),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn one_that_fires_often_does_not_push_out_another() {
        let mut recent = Recent::default();
        let event = |alert: &str, n: usize| {
            let json = serde_json::json!({
                "id": format!("{alert}-{n}"), "alert": alert, "view": "v", "on": "running", "key": {},
                "window_start": "2024-05-06T00:00:00Z", "window_end": "2024-05-06T00:05:00Z", "columns": {}, "fired_at": "2024-05-06T00:01:00Z"
            });
            Arc::new(AlertEvent::from_json(json.to_string().as_bytes()).unwrap())
        };
        recent.push(event("seldom", 0));
        for n in 0..1_000 {
            recent.push(event("often", n));
        }
        recent.push(event("seldom", 1));
        let all: Vec<String> = recent.all().iter().map(|event| event.id.clone()).collect();
        assert_eq!(all.len(), 2 + RECENT);
        assert_eq!((all[0].as_str(), all[1].as_str()), ("seldom-0", "often-744"));
        assert_eq!(all.last().unwrap(), "seldom-1");
    }
}
