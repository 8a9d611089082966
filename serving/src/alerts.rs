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

/// Alerts that are remembered, and that one who listens may be behind.
pub(crate) const RECENT: usize = 256;
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
    recent: Mutex<VecDeque<Arc<AlertEvent>>>,
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

    /// The newest alerts, oldest first.
    pub fn recent(&self) -> Vec<Arc<AlertEvent>> {
        self.shared.recent.lock().iter().cloned().collect()
    }
}

impl Shared {
    /// Takes in an alert. One that is in the topic again was told already.
    fn tell(&self, event: AlertEvent, known: &mut BTreeSet<String>, order: &mut VecDeque<String>) {
        if !known.insert(event.id.clone()) {
            return;
        }
        order.push_back(event.id.clone());
        if order.len() > RECENT
            && let Some(oldest) = order.pop_front()
        {
            known.remove(&oldest);
        }
        let event = Arc::new(event);
        let mut recent = self.recent.lock();
        recent.push_back(Arc::clone(&event));
        while recent.len() > RECENT {
            recent.pop_front();
        }
        drop(recent);
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
        let at = from.entry(partition).or_insert_with(|| first.max(next.saturating_sub(RECENT as u64)));
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
