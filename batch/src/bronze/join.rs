//! Small files of a chain made one.
//!
//! Neighbours are joined when they fill a big file, or when there are enough of them and the biggest is at most half
//! of what comes out: so a record is written again only into a file at least twice as big, a logarithmic number of
//! times. What has come to half of the wanted size is left alone.

use std::ops::Range;

use tideline_common::ports::{Created, PortError};
use tideline_common::position::{Offset, Partition};
use tideline_transform::bronze::chain::{self, ChainFile};
use tideline_transform::bronze::stretch::{JointError, Stretch};

use super::{BronzeCounts, Settled, what};
use crate::context::Context;
use crate::error::BatchError;
use crate::lake;

/// Members of one joined file, at most.
const MEMBERS_MAX: usize = 1_000;

/// How big joined files are to be.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// Bytes of members, about.
    bytes: u64,
    /// Records, about: offsets are counted.
    records: u64,
    /// So many members are worth a file that is not full.
    files: usize,
}

/// The work on one chain.
pub(super) struct Joiner<'a> {
    pub(super) context: &'a Context,
    pub(super) source: &'a str,
    pub(super) partition: Partition,
    pub(super) counts: &'a mut BronzeCounts,
}

impl Joiner<'_> {
    /// Joins what is worth it of `candidates`, neighbours of one chain.
    pub(super) async fn join(&mut self, candidates: Vec<Settled>) -> Result<(), BatchError> {
        let config = &self.context.config;
        let sizes = Sizes {
            bytes: config.bronze_join_bytes,
            records: config.bronze_join_records.max(1),
            files: config.bronze_join_files.max(2),
        };
        for group in groups(&candidates, sizes) {
            self.context.check()?;
            self.join_group(&candidates[group]).await?;
        }
        Ok(())
    }

    async fn join_group(&mut self, members: &[Settled]) -> Result<(), BatchError> {
        let mut joined: Option<Stretch> = None;
        let mut done = Vec::with_capacity(members.len());
        for member in members {
            let Some(stretch) = self.read(&member.file).await? else {
                // Another process is at it.
                break;
            };
            match &mut joined {
                None => joined = Some(stretch),
                Some(joined) => match joined.append(stretch) {
                    Ok(()) => {}
                    // What joins them is a file that its name does not show as one: readers find it.
                    Err(JointError::Gap { .. }) => break,
                    Err(fork) => return Err(self.fork(&member.file, &fork)),
                },
            }
            done.push(&member.file);
        }
        let Some(joined) = joined.filter(|_| done.len() > 1) else { return Ok(()) };
        if !self.put(joined).await? {
            return Ok(());
        }
        self.counts.written += 1;
        for member in &done {
            self.context.lake.objects.delete(&member.path).await?;
            self.counts.joined += 1;
        }
        tracing::info!(source = self.source, partition = self.partition, members = done.len(), "Bronze files joined");
        Ok(())
    }

    /// Puts a joined file; false when it was there, and is gone: part of a bigger one, made by another process.
    async fn put(&self, joined: Stretch) -> Result<bool, BatchError> {
        let path = chain::joined_path(self.source, self.partition, joined.first, joined.next);
        let (source, partition, name) = (self.source.to_owned(), self.partition, path.clone());
        let (bytes, joined) = lake::blocking(move || {
            let bytes = joined.encode(&source, partition);
            Ok((bytes.map_err(|source| BatchError::Bronze { path: name, source })?, joined))
        })
        .await?;
        if self.context.lake.objects.put_if_absent(&path, bytes).await? == Created::Yes {
            return Ok(true);
        }
        // From an earlier attempt, of this process or another. Nothing is deleted for what is not the same.
        let file = ChainFile { path, first: joined.first, next: Some(joined.next), size: 0 };
        let Some(there) = self.read(&file).await? else { return Ok(false) };
        joined.compare(&there).map_err(|fork| self.fork(&file, &fork))?;
        Ok(there.covers(joined.first, joined.next))
    }

    /// Deletes files that joined ones hold: what a run that was cut off, two at once, or a late writer have left.
    pub(super) async fn clear(&mut self, files: &[ChainFile], limit: Offset) -> Result<(), BatchError> {
        let joined: Vec<&ChainFile> = files.iter().filter(|file| file.next.is_some_and(|next| next <= limit)).collect();
        for file in files {
            let within = |cover: &&&ChainFile| {
                cover.path != file.path
                    && cover.first <= file.first
                    && cover.next > Some(file.first)
                    && file.next.is_none_or(|next| cover.next >= Some(next))
            };
            // Of those around it the longest. Two joined files never hold each other: their names would be the same.
            let Some(cover) = joined.iter().filter(within).max_by_key(|cover| (cover.next, cover.first)) else {
                continue;
            };
            self.context.check()?;
            let Some(left) = self.read(file).await? else { continue };
            if !(cover.first <= left.first && cover.next >= Some(left.next)) {
                // It reaches beyond: readers may need it.
                continue;
            }
            let Some(cover) = self.read(cover).await? else { continue };
            cover.compare(&left).map_err(|fork| self.fork(file, &fork))?;
            self.context.lake.objects.delete(&file.path).await?;
            self.counts.joined += 1;
        }
        Ok(())
    }

    /// Reads a file; `None` when it is gone.
    async fn read(&self, file: &ChainFile) -> Result<Option<Stretch>, BatchError> {
        let bytes = match self.context.lake.objects.get(&file.path).await {
            Ok(bytes) => bytes,
            Err(PortError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let (first, path) = (file.first, file.path.clone());
        let stretch =
            lake::blocking(move || Stretch::read(first, bytes).map_err(|source| BatchError::Bronze { path, source }))
                .await?;
        match file.next {
            Some(next) if next != stretch.next => {
                let reason = format!("it ends at {}, not where its name says", stretch.next);
                Err(PortError::corrupt(format!("{} ({})", what(self.source, self.partition), file.path), reason).into())
            }
            _ => Ok(Some(stretch)),
        }
    }

    fn fork(&self, file: &ChainFile, error: &JointError) -> BatchError {
        BatchError::Fork {
            source_name: self.source.to_owned(),
            partition: self.partition,
            reason: error.to_string(),
            path: file.path.clone(),
        }
    }
}

/// Which neighbours to join.
fn groups(files: &[Settled], sizes: Sizes) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let mut start = 0;
    let mut close = |from: usize, to: usize| {
        if let Some(group) = worth(files, from..to, sizes) {
            groups.push(group);
        }
    };
    for (at, settled) in files.iter().enumerate() {
        // Big enough already.
        if settled.file.size * 2 > sizes.bytes || settled.next - settled.file.first > sizes.records / 2 {
            close(start, at);
            start = at + 1;
            continue;
        }
        let bytes: u64 = files[start..=at].iter().map(|settled| settled.file.size).sum();
        let records = settled.next - files[start].file.first;
        if bytes > sizes.bytes || records > sizes.records || at - start >= MEMBERS_MAX {
            close(start, at);
            start = at;
        }
    }
    close(start, files.len());
    groups
}

/// As much of a group as is worth the work, from its end.
fn worth(files: &[Settled], mut group: Range<usize>, sizes: Sizes) -> Option<Range<usize>> {
    while group.len() > 1 {
        let members = &files[group.clone()];
        let bytes: u64 = members.iter().map(|settled| settled.file.size).sum();
        let records = members.last()?.next - members.first()?.file.first;
        let biggest = members.iter().map(|settled| settled.file.size).max()?;
        let full = bytes * 2 > sizes.bytes || records > sizes.records / 2;
        if full || (group.len() >= sizes.files && biggest * 2 <= bytes) {
            return Some(group);
        }
        group.start += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(sizes: &[u64]) -> Vec<Settled> {
        let file = |(at, size): (usize, &u64)| Settled {
            file: ChainFile { path: at.to_string(), first: at as u64, next: None, size: *size },
            next: at as u64 + 1,
        };
        sizes.iter().enumerate().map(file).collect()
    }

    fn of(sizes: &[u64]) -> Vec<Range<usize>> {
        groups(&files(sizes), Sizes { bytes: 100, records: 1_000, files: 4 })
    }

    #[test]
    #[allow(clippy::single_range_in_vec_init, reason = "one group of several files")]
    fn neighbours_that_fill_a_file_are_joined() {
        assert!(of(&[]).is_empty());
        assert_eq!(of(&[30, 30]), [0..2]);
        assert_eq!(of(&[30, 30, 30, 30, 30]), [0..3, 3..5]);
        assert!(of(&[30, 60, 30]).is_empty(), "a big file between them");
        assert!(of(&[1, 1, 1]).is_empty(), "too few");
        assert_eq!(of(&[1, 1, 1, 1]), [0..4]);
        let few = Sizes { bytes: 100, records: 4, files: 9 };
        assert_eq!(groups(&files(&[1; 7]), few), [0..4, 4..7], "also when records fill it");
    }

    #[test]
    #[allow(clippy::single_range_in_vec_init, clippy::same_item_push, reason = "one group; a file each time")]
    fn a_record_is_rewritten_a_logarithmic_number_of_times() {
        assert_eq!(of(&[20, 1, 1, 1, 1]), [1..5], "a file is joined to as much as it holds, or left alone");
        // A new file of one byte each time, joined after each.
        let mut sizes: Vec<u64> = Vec::new();
        let mut rewritten = 0;
        for _ in 0..2_000 {
            sizes.push(1);
            for group in of(&sizes).into_iter().rev() {
                let sum: u64 = sizes[group.clone()].iter().sum();
                rewritten += sum;
                sizes.splice(group, [sum]);
            }
        }
        assert!(sizes.len() < 60, "{sizes:?}");
        assert!(rewritten < 2_000 * 7, "{rewritten}");
    }
}
