//! The Bronze chain of a shard: what is there, and the records that wait to join it.
//!
//! A file `[first, next)` is named by `first` and created only if absent; the next one begins at its `next`. So
//! two writers cannot fork the chain: the loser adopts the winner's file, drops what is in it, and goes on after it.
//! Old files are joined to bigger ones by the batch layer, and vanish; see [`tideline_transform::bronze::chain`].

use std::sync::Arc;

use tideline_common::ports::PortError;
use tideline_common::position::{Offset, Shard};
use tideline_common::record::Record;
use tideline_transform::bronze::chain::{self, ChainFile};
use tideline_transform::bronze::{self, BronzeFile};
use xxhash_rust::xxh3::xxh3_64;

use crate::SpeedError;
use crate::context::{Context, compute, is_absent};
use crate::dead_letter::Rejection;

/// How many of the newest files are looked into for the end of the chain: one would do, but for writers that were
/// paused for long and have left files that overlap others.
const NEWEST: usize = 4;

/// Files of the chain in the order of [`chain::sort`]: all, or those that begin at `from` or later.
pub(crate) async fn files(context: &Context, from: Option<Offset>) -> Result<Vec<ChainFile>, SpeedError> {
    let Shard { source, partition } = &context.shard;
    let folder = chain::folder(source, *partition);
    let objects = match from {
        None => context.retry("list Bronze", || context.ports.objects.list(&folder)).await?,
        Some(from) => {
            let before = chain::before(source, *partition, from);
            context.retry("list Bronze", || context.ports.objects.list_after(&folder, &before)).await?
        }
    };
    let files = objects.iter().filter_map(|object| chain::parse(source, &object.path, object.size));
    let mut files: Vec<ChainFile> =
        files.filter(|(owner, _)| *owner == context.shard.partition).map(|(_, file)| file).collect();
    chain::sort(&mut files);
    Ok(files)
}

/// Where the chain of `files` ends; `None` without files.
pub(crate) async fn end(context: &Context, files: &[ChainFile]) -> Result<Option<Offset>, SpeedError> {
    let mut end = None;
    for file in files.iter().rev().take(NEWEST) {
        let next = match file.next {
            Some(next) => Some(next),
            // One that has vanished is part of a joined one, which is in the next listing.
            None => read(context, file).await?.map(|file| file.next),
        };
        end = end.max(next);
    }
    if end.is_none() && !files.is_empty() {
        let what = format!("the end of Bronze of {}", context.shard);
        return Err(PortError::unavailable(what, "its newest files have vanished").into());
    }
    Ok(end)
}

/// Reads a file; `None` when it is not there any more.
///
/// # Errors
/// Also when it ends before it begins, or elsewhere than its name says, or holds records that are not its own.
pub(crate) async fn read(context: &Context, file: &ChainFile) -> Result<Option<BronzeFile>, SpeedError> {
    let bytes = match context.retry("read Bronze", || context.ports.objects.get(&file.path)).await {
        Ok(bytes) => bytes,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let (path, first) = (&file.path, file.first);
    let content = compute(move || bronze::decode(bytes)).await?;
    let content = content.map_err(|source| SpeedError::Bronze { path: path.clone(), source })?;
    let ours = first..content.next;
    if ours.is_empty()
        || file.next.is_some_and(|next| next != content.next)
        || content.records.iter().any(|record| !ours.contains(&record.offset))
    {
        let reason = format!("its records are not those of [{first}, {})", file.next.unwrap_or(content.next));
        return Err(PortError::corrupt(path, reason).into());
    }
    Ok(Some(content))
}

/// Where the file ends that someone else has put at `first`, or the joined one that it is part of by now.
pub(crate) async fn end_of(context: &Context, first: Offset) -> Result<Offset, SpeedError> {
    let Shard { source, partition } = &context.shard;
    let path = bronze::path(source, *partition, first);
    let file = ChainFile { path: path.clone(), first, next: None, size: 0 };
    if let Some(content) = read(context, &file).await? {
        return Ok(content.next);
    }
    let joined = files(context, None).await?;
    let holders = joined.iter().filter(|file| file.first <= first).filter_map(|file| file.next);
    let next = holders.filter(|next| *next > first).max();
    next.ok_or_else(|| PortError::unavailable(path, "it was there, and is gone").into())
}

/// Fingerprints of the records of one file, by offset.
pub(crate) fn fingerprints(records: &[Record]) -> Vec<(Offset, u64)> {
    records.iter().map(|record| (record.offset, xxh3_64(&record.payload))).collect()
}

/// Checks that `records` of the file at `path` are those that were `seen` in the file before it, where both have them.
///
/// # Errors
/// When they differ: the chain has forked.
pub(crate) fn compare(path: &str, seen: &[(Offset, u64)], records: &[Record]) -> Result<(), SpeedError> {
    let differs = |record: &&Record| {
        let at = seen.binary_search_by_key(&record.offset, |(offset, _)| *offset);
        at.is_ok_and(|at| seen[at].1 != xxh3_64(&record.payload))
    };
    match records.iter().find(differs) {
        None => Ok(()),
        Some(record) => {
            let reason = format!("its record at offset {} differs from that of the file before it", record.offset);
            Err(PortError::corrupt(path, reason).into())
        }
    }
}

/// Records that wait for Bronze, and dead letters that wait for their file.
#[derive(Debug)]
pub(crate) struct Buffer {
    /// End of the chain, as far as is known.
    pub(crate) next: Offset,
    /// First offset of the file that ends there, as far as is known.
    tail: Option<Offset>,
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
    /// An empty buffer after a chain that ends at `next` with the file that begins at `tail`.
    pub(crate) const fn new(next: Offset, tail: Option<Offset>) -> Self {
        Self {
            next,
            tail,
            records: Vec::new(),
            rejections: Vec::new(),
            unsettled: Vec::new(),
            bytes: 0,
            rejected_bytes: 0,
        }
    }

    /// Bytes held, records that are also rejected counted twice.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes + self.rejected_bytes
    }

    /// First offset of the file that will end at `position`, or does.
    pub(crate) fn tail(&self, position: Offset) -> Option<Offset> {
        if position > self.next { Some(self.next) } else { self.tail }
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
        self.tail = self.tail(position);
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
        self.tail = Some(taken.first);
        self.next = next;
    }

    /// Takes note of a file that is there, whose records are about to be replayed. `whole`: from its first on.
    pub(crate) fn replay(&mut self, first: Offset, next: Offset, whole: bool) {
        if next >= self.next {
            self.tail = Some(first);
        }
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
        let mut buffer = Buffer::new(10, None);
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
        let mut buffer = Buffer::new(10, None);
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
