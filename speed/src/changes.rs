//! Changed panes on their way to the topics of changes.
//!
//! Appended beside the loop, in the order of the flushes, after the views have them. They are durable steps before a
//! checkpoint, as views and Bronze are: while some are missing there is none, so that a replay makes them again. A topic
//! that cannot be written holds up nothing else. What waits is bounded; beyond the bound it is given up, and when the
//! topic works again the shard starts again from its checkpoint, which makes all that is missing anew.
//!
//! How many records a flush is: see [`tideline_common::changes`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tideline_common::changes::Change;
use tideline_common::ports::{Flush, PortError};
use tideline_common::position::Offset;
use tideline_common::record::NewRecord;
use tideline_common::watermark::Watermark;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::SpeedError;
use crate::context::{Context, compute};

/// Records of one flush for one topic.
type Batch = (String, Vec<NewRecord>);

/// The changes of one flush.
#[derive(Debug)]
struct Waiting {
    position: Offset,
    batches: Vec<Batch>,
    bytes: usize,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Changes {
    /// Partitions of the topics, as far as they are known.
    partitions: Arc<BTreeMap<String, usize>>,
    sender: mpsc::UnboundedSender<Waiting>,
    shared: Arc<Shared>,
    appended: watch::Receiver<Offset>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Bytes that wait.
    bytes: AtomicUsize,
    /// Whether some were given up.
    gave_up: AtomicBool,
}

impl Changes {
    /// For a shard that stands at `position`; `None` when nobody wants its changes. Who waits for windows to close is told
    /// at once that the shard is there, and how far it has come: all that was before its position has been told.
    pub(crate) async fn start(context: &Arc<Context>, position: Offset, watermark: Watermark) -> Option<Self> {
        let topics: Vec<&String> = context.program.views.iter().filter_map(|view| view.changes.as_ref()).collect();
        if topics.is_empty() {
            return None;
        }
        let mut partitions = BTreeMap::new();
        for topic in topics {
            match context.ports.log.topic(topic).await {
                Ok(info) => {
                    partitions.insert(topic.clone(), info.partitions.len());
                }
                // Nothing waits for it: records are made for any number then.
                Err(error) => tracing::debug!(shard = %context.shard, topic, %error, "partitions are not known"),
            }
        }
        // Bounded by bytes, see `add`.
        let (sender, waiting) = mpsc::unbounded_channel();
        let (told, appended) = watch::channel(position);
        let shared = Arc::new(Shared::default());
        let hello = hello(context, &partitions, position, watermark);
        shared.bytes.fetch_add(hello.bytes, Ordering::SeqCst);
        // Received below.
        let _ = sender.send(hello);
        let task = append(Arc::clone(context), Arc::clone(&shared), waiting, told);
        Some(Self {
            partitions: Arc::new(partitions),
            sender,
            shared,
            appended,
            _task: AbortOnDropHandle::new(tokio::spawn(task)),
        })
    }

    /// Takes in what a flush has written.
    ///
    /// # Errors
    /// [`SpeedError::Panicked`].
    pub(crate) async fn add(
        &self,
        context: &Arc<Context>,
        flush: Flush,
        watermark: Watermark,
    ) -> Result<(), SpeedError> {
        if self.gave_up() {
            return Ok(());
        }
        let position = flush.progress.position;
        let (of, partitions) = (Arc::clone(context), Arc::clone(&self.partitions));
        let mut waiting = compute(move || encode(&of, &partitions, flush, watermark)).await?;
        let before = self.shared.bytes.fetch_add(waiting.bytes, Ordering::SeqCst);
        let bytes = before + waiting.bytes;
        // One flush alone is never too much.
        if before > 0 && bytes > context.config.max_change_bytes {
            self.shared.gave_up.store(true, Ordering::SeqCst);
            tracing::error!(shard = %context.shard, position, bytes, "changes are given up; no checkpoint until they are made again");
            metrics::counter!("tideline_speed_changes_given_up_total", &context.labels()).increment(1);
            // The other side must learn of it, even if it has just nothing to do.
            waiting.batches.clear();
        }
        // The other side ends only with the shard.
        let _ = self.sender.send(waiting);
        Ok(())
    }

    /// Up to where all changes have been appended.
    pub(crate) fn appended(&self) -> watch::Receiver<Offset> {
        self.appended.clone()
    }

    fn gave_up(&self) -> bool {
        self.shared.gave_up.load(Ordering::SeqCst)
    }
}

/// Ends when changes that were given up can be appended again: with the reason to start again. Never otherwise.
pub(crate) async fn again(changes: Option<&mut Changes>) -> SpeedError {
    match changes {
        // The sender goes only then.
        Some(changes) => while changes.appended.changed().await.is_ok() {},
        None => std::future::pending().await,
    }
    PortError::unavailable("the topic of changes", "changes were given up; they are made again from the checkpoint")
        .into()
}

/// That the shard is there, for those views whose windows somebody waits for.
fn hello(context: &Context, partitions: &BTreeMap<String, usize>, position: Offset, watermark: Watermark) -> Waiting {
    let (mut batches, mut bytes) = (Vec::new(), 0);
    for view in context.program.views.iter().filter(|view| view.closes) {
        let Some(topic) = &view.changes else { continue };
        let panes = tideline_common::state::StateBatch::new(&view.schema.fields);
        let (version, shard) = (view.schema.version.clone(), context.shard.clone());
        let change = Change { version, shard, position, watermark, panes };
        let records = partitions.get(topic).map_or_else(|| change.encode(), |count| change.encode_for(*count));
        bytes += size(&records);
        batches.push((topic.clone(), records));
    }
    Waiting { position, batches, bytes }
}

/// Memory of records, in bytes, about.
fn size(records: &[NewRecord]) -> usize {
    records.iter().map(|record| record.payload.len() + 96).sum()
}

fn encode(context: &Context, partitions: &BTreeMap<String, usize>, flush: Flush, watermark: Watermark) -> Waiting {
    let Flush { shard, mut panes, progress, .. } = flush;
    let position = progress.position;
    let (mut batches, mut bytes) = (Vec::new(), 0);
    for view in &context.program.views {
        let Some(topic) = &view.changes else { continue };
        let flushed = panes.iter_mut().find(|flushed| flushed.view.name == view.schema.name);
        let empty = || tideline_common::state::StateBatch::new(&view.schema.fields);
        // Also without a pane: who reads them learns how far the shard has come.
        let panes = flushed.map_or_else(empty, |flushed| std::mem::replace(&mut flushed.panes, empty()));
        let version = view.schema.version.clone();
        let change = Change { version, shard: shard.clone(), position, watermark, panes };
        let records = partitions.get(topic).map_or_else(|| change.encode(), |count| change.encode_for(*count));
        bytes += size(&records);
        batches.push((topic.clone(), records));
    }
    Waiting { position, batches, bytes }
}

/// Appends what comes, in order. Ends when some were given up and the topic works again.
async fn append(
    context: Arc<Context>,
    shared: Arc<Shared>,
    mut waiting: mpsc::UnboundedReceiver<Waiting>,
    told: watch::Sender<Offset>,
) {
    while let Some(Waiting { position, batches, bytes }) = waiting.recv().await {
        for (topic, records) in batches {
            append_one(&context, &topic, records).await;
        }
        shared.bytes.fetch_sub(bytes, Ordering::SeqCst);
        if shared.gave_up.load(Ordering::SeqCst) {
            return;
        }
        told.send_replace(position);
    }
}

/// Appends until it works, whatever the failure: nothing but checkpoints waits for it.
async fn append_one(context: &Context, topic: &str, records: Vec<NewRecord>) {
    const WHAT: &str = "append changes";
    let mut attempt = 0;
    loop {
        let now = context.ports.clock.now();
        match context.ports.log.append(topic, records.clone(), now).await {
            Ok(_) => break,
            Err(error) => {
                let pause = context.pause(attempt);
                tracing::warn!(shard = %context.shard, topic, attempt, ?pause, %error, "changes could not be appended, will try again");
                metrics::counter!("tideline_speed_retries_total", "source" => context.shard.source.clone(), "what" => WHAT)
                    .increment(1);
                context.status.pause(WHAT, Some(format!("{WHAT}: {error}")));
                tokio::time::sleep(pause).await;
                attempt = attempt.saturating_add(1);
            }
        }
    }
    if attempt > 0 {
        context.status.pause(WHAT, None);
    }
    metrics::counter!("tideline_speed_changes_total", &context.labels()).increment(records.len() as u64);
}
