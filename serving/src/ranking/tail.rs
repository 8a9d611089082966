//! Following a topic, as that of changes: one reader per partition, all into one bounded queue.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tideline_common::ports::{Log, PortError, ReadRequest};
use tideline_common::position::{Offset, Partition};
use tideline_common::record::Record;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Because;

/// Records and bytes of one read.
const MAX_RECORDS: usize = 1_024;
const MAX_BYTES: usize = 4 << 20;
/// How long a read waits for records: a reader that says nothing for long has no log.
const WAIT: Duration = Duration::from_millis(500);
/// Pause after a read that failed.
const PAUSE: Duration = Duration::from_millis(250);
/// Reads that wait to be taken in.
const QUEUE: usize = 4;

/// What a reader has to say.
#[derive(Debug)]
pub(crate) enum Read {
    /// These records of a partition came; none, also a sign of life.
    Records(Partition, Vec<Record>),
    /// The partition can no longer be followed.
    Ended(Because),
}

/// The readers of a topic; dropped, they end.
#[derive(Debug)]
pub(crate) struct Tail {
    reads: mpsc::Receiver<Read>,
    partitions: Vec<Partition>,
    _readers: JoinSet<()>,
}

impl Tail {
    /// Reads every partition of `topic` from the given offset on.
    pub(crate) fn of(log: &Arc<dyn Log>, topic: &str, from: &BTreeMap<Partition, Offset>) -> Self {
        let (queue, reads) = mpsc::channel(QUEUE);
        let mut readers = JoinSet::new();
        for (partition, from) in from {
            let request = ReadRequest {
                topic: topic.to_owned(),
                partition: *partition,
                from: *from,
                max_records: MAX_RECORDS,
                max_bytes: MAX_BYTES,
                wait: WAIT,
            };
            readers.spawn(read(Arc::clone(log), request, queue.clone()));
        }
        Self { reads, partitions: from.keys().copied().collect(), _readers: readers }
    }

    /// The partitions that are read.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = Partition> {
        self.partitions.iter().copied()
    }

    /// What comes next.
    pub(crate) async fn next(&mut self) -> Read {
        self.reads.recv().await.unwrap_or(Read::Ended(Because::LogDown))
    }
}

async fn read(log: Arc<dyn Log>, mut request: ReadRequest, queue: mpsc::Sender<Read>) {
    loop {
        let read = match log.read(&request).await {
            Ok(records) => {
                if let Some(last) = records.last() {
                    request.from = last.offset + 1;
                }
                Read::Records(request.partition, records)
            }
            Err(error) if error.is_retryable() => {
                tracing::debug!(%error, topic = request.topic, "a topic cannot be read now");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(error) => {
                tracing::warn!(%error, topic = request.topic, "a topic can no longer be followed from where it was");
                Read::Ended(match error {
                    PortError::NotFound { .. } => Because::NoTopic,
                    _ => Because::Behind,
                })
            }
        };
        let ended = matches!(read, Read::Ended(_));
        if queue.send(read).await.is_err() || ended {
            return;
        }
    }
}
