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
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::MESSAGES_MAX;
use crate::ranking::tail::{Read, Tail};

/// The most bytes of records that are kept, beside the newest one.
const BYTES_MAX: usize = 4 << 20;
/// Pause after something that failed, or while there is no topic yet.
const PAUSE: Duration = Duration::from_secs(1);
/// How often it is looked whether the topic has got more partitions.
const LOOK: Duration = Duration::from_secs(5);

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

    /// So many records have come that can no longer be read. Those before them are let go: what is kept is the newest
    /// without a gap.
    fn skip(&mut self, records: u64) {
        if records > 0 {
            self.rows.clear();
            self.bytes = 0;
            self.next += records;
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

/// Where the partitions of the topic are read from on.
#[derive(Debug, Default)]
struct Places {
    /// Whether it is known what was in the topic before: nothing, if there was none.
    has_begun: bool,
    next: BTreeMap<Partition, Offset>,
}

impl Places {
    /// Takes in the ends of the partitions; answers with the number of records that are gone before they were read.
    fn resume(&mut self, partitions: &BTreeMap<Partition, (Offset, Offset)>) -> u64 {
        let mut gone = 0;
        for (partition, (first, next)) in partitions {
            // All of a partition that was not there is new.
            let begin = if self.has_begun { *first } else { *next };
            let place = self.next.entry(*partition).or_insert(begin);
            gone += first.saturating_sub(*place);
            // Past the end: the topic was made anew.
            *place = (*place).min(*next).max(*first);
        }
        self.next.retain(|partition, _| partitions.contains_key(partition));
        self.has_begun = true;
        gone
    }
}

/// Follows the topic from its end. When it can no longer be followed, goes on where it was; records that are gone by then
/// are counted as skipped.
async fn follow(shared: &Shared, log: &Arc<dyn Log>, changed: &watch::Sender<u64>) {
    let mut places = Places::default();
    loop {
        match log.topic(&shared.topic).await {
            Ok(info) => {
                let gone = places.resume(&info.partitions);
                if gone > 0 {
                    tracing::warn!(gone, topic = shared.topic, "rows are gone before they were read");
                    shared.newest.lock().skip(gone);
                    changed.send_modify(|changes| *changes += 1);
                }
                shared.is_ready.store(true, Ordering::Release);
                if read(shared, log, changed, &mut places.next).await {
                    continue;
                }
            }
            // The speed layer makes it as soon as it starts.
            Err(PortError::NotFound { .. }) => {
                places = Places { has_begun: true, next: BTreeMap::new() };
                shared.is_ready.store(true, Ordering::Release);
            }
            Err(error) => tracing::warn!(%error, topic = shared.topic, "rows cannot be followed now"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Reads every partition from its place on, until one can no longer be followed: `false`; or until there are others:
/// `true`.
async fn read(
    shared: &Shared,
    log: &Arc<dyn Log>,
    changed: &watch::Sender<u64>,
    places: &mut BTreeMap<Partition, Offset>,
) -> bool {
    let mut tail = Tail::of(log, &shared.topic, places);
    let mut look = tokio::time::interval_at(Instant::now() + LOOK, LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            read = tail.next() => {
                let Read::Records(partition, records) = read else { return false };
                if let Some(last) = records.last() {
                    places.insert(partition, last.offset + 1);
                    shared.newest.lock().take(&records);
                    changed.send_modify(|changes| *changes += 1);
                }
            }
            _ = look.tick() => {
                // A log that cannot be read now is the readers' to tell.
                let info = log.topic(&shared.topic).await;
                if info.is_ok_and(|info| info.partitions.keys().any(|partition| !places.contains_key(partition))) {
                    return true;
                }
            }
        }
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

    #[test]
    fn what_is_gone_is_counted_and_nothing_shown_twice() {
        let mut newest = Newest::default();
        newest.take(&records(0, 3, 1));
        newest.skip(0);
        assert_eq!((newest.next, newest.rows.len()), (3, 3));
        newest.skip(4);
        assert_eq!((newest.next, newest.rows.len(), newest.bytes), (7, 0, 0));
        newest.take(&records(7, 1, 1));
        assert_eq!((newest.next, newest.rows.len()), (8, 1));
    }

    #[test]
    fn partitions_are_resumed_where_they_were() {
        let mut places = Places::default();
        let ends = |ends: &[(Offset, Offset)]| -> BTreeMap<Partition, (Offset, Offset)> {
            (0..).zip(ends.iter().copied()).collect()
        };
        let at = |places: &Places| places.next.values().copied().collect::<Vec<_>>();
        assert_eq!((places.resume(&ends(&[(0, 10), (3, 3)])), at(&places)), (0, vec![10, 3]));
        // One that is new from its beginning, the others from where they were, without what is gone.
        places.next.insert(0, 12);
        assert_eq!((places.resume(&ends(&[(5, 20), (7, 9), (0, 4)])), at(&places)), (4, vec![12, 7, 0]));
        // Made anew, and of fewer partitions.
        assert_eq!((places.resume(&ends(&[(0, 2)])), at(&places)), (0, vec![2]));
        // One that was not there.
        let mut places = Places { has_begun: true, next: BTreeMap::new() };
        assert_eq!((places.resume(&ends(&[(1, 9)])), at(&places)), (0, vec![1]));
    }
}
