//! The Bronze chain of a partition: what its files hold by their names, and the order in which a reader takes them.
//!
//! ```text
//! <first>.parquet          written by the speed layer; where it ends is in the file
//! <first>-<next>.parquet   several of those, joined later: holds [first, next)
//! ```
//! Numbers have 20 digits, so paths sort by the first offset. Bronze is a function from offsets to records, so files
//! may overlap: one that was joined lies beside those it was made of until they are deleted, and a writer that was
//! paused for long may write again a file that is part of a joined one by now. What overlaps is equal. A reader goes
//! on from its position, takes from each file what it has not had, and passes over files that add nothing.

use std::collections::VecDeque;

use tideline_common::position::{Offset, Partition};

/// A file of a chain, as far as its path tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainFile {
    /// Path in the lake.
    pub path: String,
    /// The offset that it begins at.
    pub first: Offset,
    /// The offset that it ends before, when it is a joined one.
    pub next: Option<Offset>,
    /// Size in bytes.
    pub size: u64,
}

/// Folder of a source's chains.
pub fn source_folder(source: &str) -> String {
    format!("bronze/{source}")
}

/// Folder of a partition's chain.
pub fn folder(source: &str, partition: Partition) -> String {
    format!("bronze/{source}/{partition}")
}

/// Where the joined file of `[first, next)` lies.
pub fn joined_path(source: &str, partition: Partition, first: Offset, next: Offset) -> String {
    format!("bronze/{source}/{partition}/{first:020}-{next:020}.parquet")
}

/// A path that sorts before all files that begin at `first` or later, and after all that begin before it.
pub fn before(source: &str, partition: Partition, first: Offset) -> String {
    format!("bronze/{source}/{partition}/{first:020}")
}

/// The partition and file of a path in the folder of `source`; `None` for what is not a file of a chain.
pub fn parse(source: &str, path: &str, size: u64) -> Option<(Partition, ChainFile)> {
    let rest = path.strip_prefix("bronze/")?.strip_prefix(source)?.strip_prefix('/')?;
    let (partition, name) = rest.split_once('/')?;
    let name = name.strip_suffix(".parquet")?;
    let number = |text: &str| if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None };
    let (first, next) = match name.split_once('-') {
        Some((first, next)) => (number(first)?, Some(number(next)?)),
        None => (number(name)?, None),
    };
    if next.is_some_and(|next| next <= first) {
        return None;
    }
    Some((partition.parse().ok()?, ChainFile { path: path.to_owned(), first, next, size }))
}

/// Sorts files as a reader takes them: by their first offset, of several the longest joined one first.
pub fn sort(files: &mut [ChainFile]) {
    files.sort_by(|a, b| a.first.cmp(&b.first).then_with(|| b.next.cmp(&a.next)));
}

/// Drops files of which the names of others show that they are not needed: those within a joined one. Expects and
/// keeps the order of [`sort`].
pub fn without_covered(files: Vec<ChainFile>) -> Vec<ChainFile> {
    let mut kept: Vec<ChainFile> = Vec::with_capacity(files.len());
    let mut covered = 0;
    let mut files = files.into_iter().peekable();
    while let Some(file) = files.next() {
        match file.next {
            Some(next) if next <= covered => continue,
            Some(next) => covered = next,
            // It ends where the one after it begins, or before; if a joined one reaches as far, it adds nothing.
            None if file.first < covered && files.peek().is_some_and(|after| after.first <= covered) => continue,
            None => {}
        }
        kept.push(file);
    }
    kept
}

/// What a reader does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read this file, then tell where it ends ([`Walk::read`]).
    Read(ChainFile),
    /// Nothing holds `expected`, and the next file begins at `found`: list again, as files may have been joined since;
    /// if that does not help, records are lost.
    Gap {
        /// The offset looked for.
        expected: Offset,
        /// Where the next file begins.
        found: Offset,
    },
    /// The files end here.
    End,
}

/// How many files behind the position are remembered, for when nothing else joins it to the next.
const DEFERRED_MAX: usize = 1_000;
/// How many of them are looked into where the files end.
const LOOKS_MAX: usize = 8;

/// A reader's way through the files of a chain.
#[derive(Clone, Debug)]
pub struct Walk {
    files: VecDeque<ChainFile>,
    /// Everything before this has been had.
    reached: Offset,
    /// Files that begin before the position and most likely end before it too.
    deferred: VecDeque<ChainFile>,
    /// Whether a file that was read ends at the position.
    joint: bool,
    looks: usize,
}

impl Walk {
    /// A way through `files`, from `position` on.
    pub fn new(mut files: Vec<ChainFile>, position: Offset) -> Self {
        sort(&mut files);
        Self { files: files.into(), reached: position, deferred: VecDeque::new(), joint: false, looks: 0 }
    }

    /// Everything before this has been had.
    pub const fn reached(&self) -> Offset {
        self.reached
    }

    /// What to do next. After `Gap` and `End` it is the same again.
    pub fn step(&mut self) -> Step {
        loop {
            let Some(file) = self.files.front() else {
                // Where a file ends that was read, the chain ends if no other goes on.
                if self.joint || self.looks == LOOKS_MAX {
                    return Step::End;
                }
                self.looks += 1;
                return self.deferred.pop_back().map_or(Step::End, Step::Read);
            };
            if file.first > self.reached {
                let (expected, found) = (self.reached, file.first);
                return self.deferred.pop_back().map_or(Step::Gap { expected, found }, Step::Read);
            }
            let reached = self.reached;
            let Some(file) = self.files.pop_front() else { continue };
            let follower = self.files.front().is_some_and(|after| after.first <= reached);
            match file.next {
                // Covered by what was read, or by a longer file that begins as early.
                Some(next)
                    if next <= reached
                        || self.files.iter().take_while(|f| f.first <= reached).any(|f| f.next > Some(next)) => {}
                // In a chain without overlaps a file ends where the next begins.
                None if file.first < reached && follower => {
                    if self.deferred.len() == DEFERRED_MAX {
                        self.deferred.pop_front();
                    }
                    self.deferred.push_back(file);
                }
                Some(_) | None => return Step::Read(file),
            }
        }
    }

    /// Takes note that a file that was to be read ends before `next`: what is before it has been had.
    pub fn read(&mut self, next: Offset) {
        if next >= self.reached {
            self.joint = true;
            self.reached = next;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// A file [first, next); `joined` says so in its name.
    fn file(first: Offset, next: Offset, joined: bool) -> (ChainFile, Offset) {
        let path = if joined { joined_path("s", 0, first, next) } else { crate::bronze::path("s", 0, first) };
        (parse("s", &path, 1).unwrap().1, next)
    }

    /// Firsts of the files read, and how it ended.
    fn walk(files: &[(ChainFile, Offset)], position: Offset) -> (Vec<Offset>, Offset, Step) {
        let ends: BTreeMap<String, Offset> = files.iter().map(|(file, next)| (file.path.clone(), *next)).collect();
        let mut walk = Walk::new(files.iter().map(|(file, _)| file.clone()).collect(), position);
        let mut read = Vec::new();
        loop {
            match walk.step() {
                Step::Read(file) => {
                    read.push(file.first);
                    walk.read(ends[&file.path]);
                }
                end => return (read, walk.reached(), end),
            }
        }
    }

    fn plain(joints: &[Offset]) -> Vec<(ChainFile, Offset)> {
        joints.windows(2).map(|pair| file(pair[0], pair[1], false)).collect()
    }

    #[test]
    fn paths_tell_what_files_hold() {
        let of = |path: &str| parse("tweets", path, 7).map(|(partition, file)| (partition, file.first, file.next));
        assert_eq!(of("bronze/tweets/3/00000000000000000042.parquet"), Some((3, 42, None)));
        assert_eq!(of(&joined_path("tweets", 3, 42, 50)), Some((3, 42, Some(50))));
        for path in [
            "bronze/tweets/3/notes.txt",
            "bronze/tweets2/3/00000000000000000042.parquet",
            "bronze/tweets/3/00000000000000000042-.parquet",
            "bronze/tweets/3/+42.parquet",
            &joined_path("tweets", 3, 42, 42),
        ] {
            assert_eq!(of(path), None, "{path}");
        }
        let (plain, joined) = (crate::bronze::path("s", 0, 42), joined_path("s", 0, 42, 99));
        assert!(before("s", 0, 42) < joined && before("s", 0, 42) < plain);
        assert!(
            before("s", 0, 42) > crate::bronze::path("s", 0, 41) && before("s", 0, 42) > joined_path("s", 0, 41, 99)
        );
    }

    #[test]
    fn a_plain_chain_is_read_from_the_file_that_holds_the_position() {
        let chain = plain(&[0, 10, 20, 30, 40]);
        assert_eq!(walk(&chain, 0), (vec![0, 10, 20, 30], 40, Step::End));
        assert_eq!(walk(&chain, 20), (vec![20, 30], 40, Step::End));
        assert_eq!(walk(&chain, 25), (vec![20, 30], 40, Step::End));
        assert_eq!(walk(&chain, 40), (vec![30], 40, Step::End), "one look tells that the chain ends here");
        let holed = [&chain[..1], &chain[2..]].concat();
        assert_eq!(walk(&holed, 0), (vec![0], 10, Step::Gap { expected: 10, found: 20 }));
    }

    #[test]
    fn joined_files_take_the_place_of_theirs() {
        let mut chain = plain(&[0, 10, 20, 30, 40]);
        chain.push(file(0, 30, true));
        assert_eq!(walk(&chain, 0), (vec![0, 30], 40, Step::End));
        assert_eq!(walk(&chain, 10), (vec![0, 30], 40, Step::End));
        chain.push(file(0, 20, true));
        assert_eq!(walk(&chain, 0), (vec![0, 30], 40, Step::End), "the longest of several");
        chain.retain(|(file, _)| file.next.is_some() || file.first == 30);
        assert_eq!(walk(&chain, 25), (vec![0, 30], 40, Step::End));
        let kept = |files: &[(ChainFile, Offset)]| -> Vec<Offset> {
            let mut files: Vec<_> = files.iter().map(|(file, _)| file.clone()).collect();
            sort(&mut files);
            without_covered(files).iter().map(|file| file.first).collect()
        };
        assert_eq!(kept(&chain), [0, 30]);
        let mut chain = plain(&[0, 10, 20, 30, 40, 50]);
        chain.push(file(10, 40, true));
        assert_eq!(kept(&chain), [0, 10, 40]);
    }

    #[test]
    fn what_a_late_writer_left_is_passed_over_or_used() {
        let mut chain = vec![file(0, 100, true), file(50, 60, false), file(95, 140, false)];
        chain.extend(plain(&[100, 110, 120]));
        assert_eq!(walk(&chain, 0), (vec![0, 100, 110], 120, Step::End));
        // Someone went on where the late writer's file ends: it holds what joins them.
        chain.extend(plain(&[140, 150]));
        let (read, reached, end) = walk(&chain, 0);
        assert_eq!((read, reached, end), (vec![0, 100, 110, 95, 140], 150, Step::End));
    }

    proptest! {
        #[test]
        fn every_offset_is_reached_once_however_files_overlap(
            lengths in prop::collection::vec(1u64..9, 3..30),
            joins in prop::collection::vec((0usize..30, 1usize..8, any::<bool>()), 0..6),
            late in prop::collection::vec((0u64..150, 1u64..20), 0..4),
            position in 0u64..150,
        ) {
            let mut joints = vec![0];
            for length in lengths {
                joints.push(joints.last().unwrap() + length);
            }
            let end = *joints.last().unwrap();
            let mut files = plain(&joints);
            for (at, count, delete) in joins {
                // The newest file is never joined.
                let from = at % (joints.len() - 2);
                let to = (from + count).min(joints.len() - 2);
                let (first, next) = (joints[from], joints[to]);
                if delete {
                    files.retain(|(file, n)| file.first < first || *n > next);
                }
                files.push(file(first, next, true));
            }
            for (first, length) in late {
                // A file that begins where there is one is that one.
                let next = (first + length).min(end);
                if first < next && files.iter().all(|(file, _)| file.first != first || file.next.is_some()) {
                    files.push(file(first, next, false));
                }
            }
            files.sort_by(|(a, _), (b, _)| a.path.cmp(&b.path));
            files.dedup_by(|(a, _), (b, _)| a.path == b.path);
            let position = position.min(end);
            let (_, reached, step) = walk(&files, position);
            prop_assert_eq!((reached, step), (end, Step::End));
        }
    }
}
