//! Alerts as they are fired, for whoever shows them live.
//!
//! Whichever process has fired one appends it to the topic [`alert::TOPIC`]; this follows the topic, gives every alert to
//! those who listen, each once, and remembers the newest. What was in the topic before is remembered, and given to nobody:
//! it is not news. Who listens too slowly is told how many it has missed ([`broadcast::error::RecvError::Lagged`]), and
//! finds what is newest in [`Alerts::recent`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    /// Whether every alert that is fired from now on will be told.
    is_ready: AtomicBool,
}

/// Where a partition is read.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: Offset,
    /// Alerts before this are old.
    old_until: Offset,
}

/// What has been read of the topic.
#[derive(Debug, Default)]
struct Following {
    /// Whether it is known what was in the topic before: nothing, if there was none.
    has_begun: bool,
    places: BTreeMap<Partition, Place>,
    /// Identities of the newest alerts, and their order.
    known: BTreeSet<String>,
    order: VecDeque<String>,
}

impl Following {
    /// Whether an alert has not been seen yet.
    fn is_new(&mut self, id: &str) -> bool {
        if !self.known.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > KNOWN
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
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
        let shared = Arc::new(Shared { sender, recent: Mutex::default(), is_ready: AtomicBool::new(false) });
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

    /// Whether every alert that is fired from now on will be told: until the topic can be looked at for the first time,
    /// nobody knows which alerts are old.
    pub fn is_ready(&self) -> bool {
        self.shared.is_ready.load(Ordering::Acquire)
    }

    /// The newest alerts of each name, oldest first.
    pub fn recent(&self) -> Vec<Arc<AlertEvent>> {
        self.shared.recent.lock().all()
    }
}

async fn follow(log: Arc<dyn Log>, shared: Arc<Shared>) {
    let mut following = Following::default();
    loop {
        if let Err(error) = read(log.as_ref(), &shared, &mut following).await {
            if matches!(error, PortError::NotFound { .. }) {
                // Whatever is in it once it is there has been fired since.
                following.has_begun = true;
                shared.is_ready.store(true, Ordering::Release);
            } else {
                tracing::warn!(%error, "alerts cannot be followed now");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Reads what there is in every partition; the topic has one, unless somebody has made it otherwise.
async fn read(log: &dyn Log, shared: &Shared, following: &mut Following) -> PortResult<()> {
    let info = log.topic(alert::TOPIC).await?;
    let wait = WAIT / u32::try_from(info.partitions.len().max(1)).unwrap_or(1);
    for (partition, (first, next)) in &info.partitions {
        // The newest of those that were there at the start are remembered: the page that asks first has something to
        // show. A partition that comes later has nothing that is old.
        let new = if following.has_begun {
            Place { at: *first, old_until: *first }
        } else {
            Place { at: next.saturating_sub(KNOWN as u64).max(*first), old_until: *next }
        };
        let place = following.places.entry(*partition).or_insert(new);
        place.at = place.at.max(*first);
    }
    following.has_begun = true;
    shared.is_ready.store(true, Ordering::Release);
    for partition in info.partitions.into_keys() {
        let Some(Place { at, old_until }) = following.places.get(&partition).copied() else { continue };
        let request = ReadRequest {
            topic: alert::TOPIC.to_owned(),
            partition,
            from: at,
            max_records: RECENT,
            max_bytes: 4 << 20,
            wait,
        };
        for record in log.read(&request).await? {
            match AlertEvent::from_json(&record.payload) {
                // One that is in the topic again was told already.
                Ok(event) if !following.is_new(&event.id) => {}
                Ok(event) => {
                    let event = Arc::new(event);
                    shared.recent.lock().push(Arc::clone(&event));
                    if record.offset >= old_until {
                        // Nobody has to listen.
                        let _ = shared.sender.send(event);
                    }
                }
                Err(error) => tracing::warn!(%error, offset = record.offset, "a record is no alert"),
            }
            following.places.insert(partition, Place { at: record.offset + 1, old_until });
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
