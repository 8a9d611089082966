//! The Bronze chain of a shard: what is there, and the records that wait to join it.
//!
//! A file `[first, next)` is named by `first` and created only if absent; the next one begins at its `next`. So
//! two writers cannot fork the chain: the loser adopts the winner's file, drops what is in it, and goes on after it.

use std::sync::Arc;

use tideline_common::ports::PortError;
use tideline_common::position::{Offset, Shard};
use tideline_common::record::Record;
use tideline_transform::bronze::{self, BronzeFile};

use crate::SpeedError;
use crate::context::{Context, compute};
use crate::dead_letter::Rejection;

/// First offsets of the chain's files after `after`, ascending.
pub(crate) async fn files(context: &Context, after: Option<Offset>) -> Result<Vec<Offset>, SpeedError> {
    let Shard { source, partition } = &context.shard;
    let folder = format!("bronze/{source}/{partition}");
    let objects = match after {
        None => context.retry("list Bronze", || context.ports.objects.list(&folder)).await?,
        Some(after) => {
            let after = bronze::path(source, *partition, after);
            context.retry("list Bronze", || context.ports.objects.list_after(&folder, &after)).await?
        }
    };
    let mut files: Vec<Offset> = objects
        .iter()
        .filter_map(|object| {
            object.path.strip_prefix(&folder)?.strip_prefix('/')?.strip_suffix(".parquet")?.parse().ok()
        })
        .collect();
    files.sort_unstable();
    Ok(files)
}

/// Reads the file that begins at `first`.
///
/// # Errors
/// Also when it ends before it begins, or holds records that are not its own.
pub(crate) async fn read(context: &Context, first: Offset) -> Result<BronzeFile, SpeedError> {
    let path = bronze::path(&context.shard.source, context.shard.partition, first);
    let bytes = context.retry("read Bronze", || context.ports.objects.get(&path)).await?;
    let file = compute(move || bronze::decode(bytes)).await?;
    let file = file.map_err(|source| SpeedError::Bronze { path: path.clone(), source })?;
    let ours = first..file.next;
    if ours.is_empty() || file.records.iter().any(|record| !ours.contains(&record.offset)) {
        return Err(PortError::corrupt(path, format!("its records are not those of [{first}, {})", file.next)).into());
    }
    Ok(file)
}

/// Records that wait for Bronze, and dead letters that wait for their file.
#[derive(Debug)]
pub(crate) struct Buffer {
    /// End of the chain, as far as is known.
    pub(crate) next: Offset,
    /// Records from `next` on.
    pub(crate) records: Vec<Record>,
    /// Rejected records, ascending, of files whose dead letters are not written yet.
    pub(crate) rejections: Vec<Rejection>,
    /// Files of others whose dead letters are not written yet: [first, next), ascending.
    pub(crate) unsettled: Vec<(Offset, Offset)>,
    bytes: usize,
    rejected_bytes: usize,
}

/// Memory of a record beyond its payload, in bytes.
const RECORD_BYTES: usize = 96;

fn size(record: &Record) -> usize {
    let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len() + 56).sum();
    RECORD_BYTES + record.payload.len() + record.key.as_ref().map_or(0, bytes::Bytes::len) + headers
}

impl Buffer {
    /// An empty buffer after a chain that ends at `next`.
    pub(crate) const fn new(next: Offset) -> Self {
        Self { next, records: Vec::new(), rejections: Vec::new(), unsettled: Vec::new(), bytes: 0, rejected_bytes: 0 }
    }

    /// Bytes held, records that are also rejected counted twice.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes + self.rejected_bytes
    }

    /// Adds records, of which those before `next` are in Bronze already.
    pub(crate) fn push(&mut self, records: Vec<Record>) {
        let known = records.partition_point(|record| record.offset < self.next);
        self.bytes += records[known..].iter().map(size).sum::<usize>();
        if known == 0 && self.records.is_empty() {
            self.records = records;
        } else {
            self.records.extend(records.into_iter().skip(known));
        }
    }

    /// Adds rejected records.
    pub(crate) fn reject(&mut self, rejections: Vec<Rejection>) {
        self.rejected_bytes += rejections.iter().map(|rejection| size(&rejection.record)).sum::<usize>();
        self.rejections.extend(rejections);
    }

    /// Takes out what the file `[self.next, position)` will hold, with the dead letters and foreign files before
    /// `position`. The chain then counts as ending at `position`.
    pub(crate) fn take(&mut self, position: Offset) -> Taken {
        let first = self.next;
        self.next = self.next.max(position);
        self.bytes = 0;
        let cut = self.rejections.partition_point(|rejection| rejection.record.offset < position);
        let settled = self.unsettled.partition_point(|(_, next)| *next <= position);
        let rest = self.rejections.split_off(cut);
        let rejections = std::mem::replace(&mut self.rejections, rest);
        self.rejected_bytes = self.rejections.iter().map(|rejection| size(&rejection.record)).sum();
        Taken {
            first,
            next: self.next,
            records: Arc::new(std::mem::take(&mut self.records)),
            rejections,
            foreign: self.unsettled.drain(..settled).collect(),
        }
    }

    /// Puts back what was taken, as another writer's file `[taken.first, next)` is there instead.
    pub(crate) fn adopt(&mut self, taken: Taken, next: Offset) {
        let mut unsettled = taken.foreign;
        unsettled.push((taken.first, next));
        unsettled.append(&mut self.unsettled);
        self.unsettled = unsettled;
        let mut rejections = taken.rejections;
        rejections.append(&mut self.rejections);
        self.rejections = rejections;
        self.rejected_bytes = self.rejections.iter().map(|rejection| size(&rejection.record)).sum();
        let mut records = Arc::unwrap_or_clone(taken.records);
        records.append(&mut self.records);
        records.retain(|record| record.offset >= next);
        self.bytes = records.iter().map(size).sum();
        self.records = records;
        self.next = next;
    }

    /// Takes note of a file that is there, whose records are about to be replayed. `whole`: from its first on.
    pub(crate) fn replay(&mut self, first: Offset, next: Offset, whole: bool) {
        self.next = self.next.max(next);
        if whole {
            self.unsettled.push((first, next));
        }
    }
}

/// What goes into one file of Bronze, and beside it.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) first: Offset,
    pub(crate) next: Offset,
    pub(crate) records: Arc<Vec<Record>>,
    /// Rejected records of this file and of `foreign` ones.
    pub(crate) rejections: Vec<Rejection>,
    /// Files of others whose dead letters go with this.
    pub(crate) foreign: Vec<(Offset, Offset)>,
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tideline_common::time::Timestamp;

    use super::*;

    fn records(offsets: std::ops::Range<u64>) -> Vec<Record> {
        offsets
            .map(|offset| Record {
                offset,
                appended: Timestamp(0),
                key: None,
                headers: Vec::new(),
                payload: Bytes::from_static(b"abc"),
            })
            .collect()
    }

    fn rejections(offsets: std::ops::Range<u64>) -> Vec<Rejection> {
        records(offsets).into_iter().map(|record| Rejection { record, kind: "json", reason: String::new() }).collect()
    }

    fn offsets(records: &[Record]) -> Vec<u64> {
        records.iter().map(|record| record.offset).collect()
    }

    #[test]
    fn a_shorter_winner_leaves_the_remainder() {
        let mut buffer = Buffer::new(10);
        buffer.push(records(10..20));
        buffer.reject(rejections(11..13));
        let taken = buffer.take(20);
        assert_eq!((taken.first, taken.next, buffer.next, buffer.bytes()), (10, 20, 20, 0));
        buffer.push(records(20..22));
        buffer.adopt(taken, 14);
        assert_eq!(offsets(&buffer.records), (14..22).collect::<Vec<_>>());
        let taken = buffer.take(22);
        assert_eq!((taken.first, taken.next, taken.records.len()), (14, 22, 8));
        assert_eq!(taken.foreign, [(10, 14)]);
        assert_eq!(taken.rejections.len(), 2);
    }

    #[test]
    fn a_longer_winner_takes_what_is_read_later_too() {
        let mut buffer = Buffer::new(10);
        buffer.push(records(10..20));
        let taken = buffer.take(20);
        buffer.adopt(taken, 30);
        assert!(buffer.records.is_empty() && buffer.bytes() == 0);
        buffer.push(records(20..33));
        assert_eq!(offsets(&buffer.records), [30, 31, 32]);
        // Dead letters of the winner's file wait until all of it has been seen.
        buffer.reject(rejections(25..32));
        let taken = buffer.take(33);
        assert_eq!((taken.first, taken.foreign.as_slice()), (30, &[(10, 30)][..]));
        assert_eq!(taken.rejections.len(), 7);
        assert!(buffer.bytes() == 0 && buffer.rejections.is_empty());
    }
}
