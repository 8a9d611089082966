//! The newest rows of an output: its topic, followed once for all who watch it.
//!
//! The newest records are kept, as many as a frame can have. Who comes late to them, or takes them seldom, gets those
//! and the number of the others.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::value::RawValue;
use tideline_common::plan::RowOutputPlan;
use tideline_common::ports::{Log, PortError};
use tideline_common::position::{Offset, Partition};
use tideline_common::record::Record;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::MESSAGES_MAX;
use crate::ranking::tail::{Read, Tail};

/// The most bytes of records that are kept, beside the newest one.
const BYTES_MAX: usize = 4 << 20;
/// Pause after something that failed, or while there is no topic yet.
const PAUSE: Duration = Duration::from_secs(1);

/// The records `next - rows.len()..next` of those that have come.
#[derive(Debug, Default)]
struct Newest {
    next: u64,
    bytes: usize,
    rows: VecDeque<Arc<RawValue>>,
}

impl Newest {
    /// Takes in records. What is no JSON, which nothing of ours has written, stands as null.
    fn take(&mut self, records: &[Record]) {
        let skipped = records.len().saturating_sub(MESSAGES_MAX);
        if skipped > 0 {
            self.rows.clear();
            self.bytes = 0;
        }
        self.next += skipped as u64;
        for record in &records[skipped..] {
            let row = serde_json::from_slice::<Box<RawValue>>(&record.payload).unwrap_or_else(|error| {
                tracing::debug!(%error, offset = record.offset, "a record of an output is not JSON");
                RawValue::NULL.to_owned()
            });
            self.next += 1;
            self.bytes += row.get().len();
            self.rows.push_back(Arc::from(row));
            while self.rows.len() > MESSAGES_MAX || (self.bytes > BYTES_MAX && self.rows.len() > 1) {
                self.bytes -= self.rows.pop_front().map_or(0, |row| row.get().len());
            }
        }
    }
}

#[derive(Debug)]
struct Shared {
    output: String,
    topic: String,
    newest: Mutex<Newest>,
    /// Whether every record that is appended from now on will come.
    is_ready: AtomicBool,
}

/// See the module. Dropping it ends the work.
#[derive(Debug)]
pub(super) struct RowFeed {
    shared: Arc<Shared>,
    _task: AbortOnDropHandle<()>,
}

/// The newest records that somebody has not had, and how many others there were.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) rows: Vec<Arc<RawValue>>,
    pub(super) skipped: u64,
}

impl RowFeed {
    pub(super) fn start(
        output: &RowOutputPlan,
        log: Arc<dyn Log>,
        changed: watch::Sender<u64>,
        cancel: CancellationToken,
    ) -> Self {
        let (output, topic) = (output.name.clone(), output.topic.clone());
        let shared = Arc::new(Shared { output, topic, newest: Mutex::default(), is_ready: AtomicBool::new(false) });
        let following = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            cancel.run_until_cancelled(follow(&following, &log, &changed)).await;
        });
        Self { shared, _task: AbortOnDropHandle::new(task) }
    }

    pub(super) fn output(&self) -> &str {
        &self.shared.output
    }

    pub(super) fn topic(&self) -> &str {
        &self.shared.topic
    }

    /// Whether every record that is appended from now on will be seen.
    pub(super) fn is_ready(&self) -> bool {
        self.shared.is_ready.load(Ordering::Acquire)
    }

    /// How many records have come.
    pub(super) fn next(&self) -> u64 {
        self.shared.newest.lock().next
    }

    /// The newest of those from `seen` on, at most `max`; `seen` is then behind them. `None` when there are none.
    pub(super) fn take(&self, seen: &mut u64, max: usize) -> Option<Taken> {
        let newest = self.shared.newest.lock();
        let new = newest.next - std::mem::replace(seen, newest.next);
        if new == 0 {
            return None;
        }
        let take = newest.rows.len().min(max).min(usize::try_from(new).unwrap_or(usize::MAX));
        let rows = newest.rows.range(newest.rows.len() - take..).cloned().collect();
        Some(Taken { rows, skipped: new - take as u64 })
    }
}

/// Follows the topic from its end. When it can no longer be followed from where it was, goes on at its end.
async fn follow(shared: &Shared, log: &Arc<dyn Log>, changed: &watch::Sender<u64>) {
    // All of a topic that was not there is new.
    let mut is_new = false;
    loop {
        match log.topic(&shared.topic).await {
            Ok(info) => {
                let at = |(first, next)| if is_new { first } else { next };
                let from: BTreeMap<Partition, Offset> =
                    info.partitions.into_iter().map(|(partition, ends)| (partition, at(ends))).collect();
                is_new = false;
                shared.is_ready.store(true, Ordering::Release);
                let mut tail = Tail::of(log, &shared.topic, &from);
                while let Read::Records(_, records) = tail.next().await {
                    if !records.is_empty() {
                        shared.newest.lock().take(&records);
                        changed.send_modify(|changes| *changes += 1);
                    }
                }
            }
            // The speed layer makes it as soon as it starts.
            Err(PortError::NotFound { .. }) => {
                is_new = true;
                shared.is_ready.store(true, Ordering::Release);
            }
            Err(error) => tracing::warn!(%error, topic = shared.topic, "rows cannot be followed now"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tideline_common::time::Timestamp;

    use super::*;

    fn records(from: u64, count: u64, size: usize) -> Vec<Record> {
        let record = |offset: u64| Record {
            offset,
            appended: Timestamp(0),
            key: None,
            headers: Vec::new(),
            payload: format!("{{\"n\":{offset},\"text\":\"{}\"}}", "x".repeat(size)).into(),
        };
        (from..from + count).map(record).collect()
    }

    #[test]
    fn the_newest_are_kept_and_no_more_than_a_bound() {
        let mut newest = Newest::default();
        newest.take(&records(0, 10, 1));
        assert_eq!((newest.next, newest.rows.len()), (10, 10));
        newest.take(&records(10, 2_000, 1));
        assert_eq!((newest.next, newest.rows.len()), (2_010, MESSAGES_MAX));
        assert!(newest.rows.back().unwrap().get().starts_with("{\"n\":2009,"));
        newest.take(&records(2_010, 8, 1 << 20));
        assert_eq!((newest.next, newest.rows.len()), (2_018, 3));
        assert!(newest.bytes <= BYTES_MAX);
        newest.take(&records(2_018, 1, 8 << 20));
        assert_eq!(newest.rows.len(), 1, "one that is larger than all is kept");
        newest.take(&[Record { payload: "{".into(), ..records(2_019, 1, 0).remove(0) }]);
        assert_eq!((newest.next, newest.rows[0].get()), (2_020, "null"));
        assert_eq!(newest.bytes, 4);
    }
}
