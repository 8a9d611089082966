//! The Bronze chain of a source: which files hold what has not been taken in yet.
//!
//! A file's name says where it begins, the file itself (and the name of a joined one) where the next one does. That
//! the files join is checked while they are read; which to read follows from the names alone.

use std::collections::BTreeMap;

use tideline_common::ports::Objects;
use tideline_common::position::{Offset, Partition, Positions};
use tideline_transform::bronze::chain::{self, ChainFile};

use crate::error::BatchError;

/// The chain of each partition, in the order of [`chain::sort`].
pub(crate) type Chains = BTreeMap<Partition, Vec<ChainFile>>;

/// Files to read together, all of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) partition: Partition,
    pub(crate) files: Vec<ChainFile>,
    /// Records before this are not wanted: they have been taken in.
    pub(crate) from: Offset,
    /// Records from here on are not wanted.
    pub(crate) until: Offset,
}

/// Lists the chains of a source.
pub(crate) async fn list(objects: &dyn Objects, source: &str) -> Result<Chains, BatchError> {
    let mut chains = Chains::new();
    for object in objects.list(&chain::source_folder(source)).await? {
        let Some((partition, file)) = chain::parse(source, &object.path, object.size) else {
            tracing::debug!(path = object.path, "not a file of the chain");
            continue;
        };
        chains.entry(partition).or_default().push(file);
    }
    for files in chains.values_mut() {
        chain::sort(files);
    }
    Ok(chains)
}

/// The files of `files` that may hold records in [position, until). A partition never read begins where its
/// chain does. `careful`: also those that do so only if files overlap.
fn wanted(files: &[ChainFile], position: Option<Offset>, until: Offset, careful: bool) -> Vec<ChainFile> {
    let end = files.partition_point(|file| file.first < until);
    let mut files = files[..end].to_vec();
    if !careful {
        files = chain::without_covered(files);
    }
    let Some(position) = position else { return files };
    let holds = |(at, file): (usize, &ChainFile)| match (file.next, files.get(at + 1)) {
        _ if file.first >= position => true,
        (Some(next), _) => next > position,
        (None, _) if careful => true,
        // It ends where the next one begins, as far as the names tell.
        (None, after) => after.is_some_and(|after| after.first > position),
    };
    files.iter().enumerate().filter(|place| holds(*place)).map(|(_, file)| file.clone()).collect()
}

/// How much is read together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnitSize {
    pub(crate) bytes: u64,
    /// Records, as far as the names tell (the last file of a chain counts as none).
    pub(crate) records: u64,
}

/// Everything in [positions, until) as units: by partition, then offset. `careful` as for [`wanted`].
pub(crate) fn units(
    chains: &Chains,
    positions: &Positions,
    until: Option<&Positions>,
    size: UnitSize,
    careful: bool,
) -> Vec<Unit> {
    let mut units = Vec::new();
    for (partition, chain) in chains {
        let position = positions.get(partition).copied();
        let until = match until {
            None => Offset::MAX,
            Some(until) => until.get(partition).copied().unwrap_or(0),
        };
        let files = wanted(chain, position, until, careful);
        units.extend(cut(Unit { partition: *partition, files, from: position.unwrap_or(0), until }, size));
    }
    units
}

/// A unit as several of at most `size`, about.
pub(crate) fn cut(whole: Unit, size: UnitSize) -> Vec<Unit> {
    let Unit { partition, files, from, until } = whole;
    let mut units = Vec::new();
    let mut unit: Vec<ChainFile> = Vec::new();
    let (mut bytes, mut start) = (0, 0);
    for file in files {
        if !unit.is_empty() && (bytes + file.size > size.bytes || file.first.saturating_sub(start) >= size.records) {
            units.push(Unit { partition, files: std::mem::take(&mut unit), from, until });
            bytes = 0;
        }
        if unit.is_empty() {
            start = file.first;
        }
        bytes += file.size;
        unit.push(file);
    }
    if !unit.is_empty() {
        units.push(Unit { partition, files: unit, from, until });
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(firsts: &[u64]) -> Vec<ChainFile> {
        let file = |first: &u64| ChainFile { path: format!("{first}"), first: *first, next: None, size: 10 };
        firsts.iter().map(file).collect()
    }

    fn firsts(files: &[ChainFile]) -> Vec<u64> {
        files.iter().map(|file| file.first).collect()
    }

    #[test]
    fn only_what_follows_the_position_is_wanted() {
        let chain = chain(&[0, 10, 20]);
        let of = |position, until| firsts(&wanted(&chain, position, until, false));
        assert_eq!(of(None, u64::MAX), [0, 10, 20]);
        assert_eq!(of(Some(0), u64::MAX), [0, 10, 20]);
        assert_eq!(of(Some(10), u64::MAX), [10, 20]);
        assert_eq!(of(Some(30), u64::MAX), Vec::<u64>::new());
        // A position inside a file: that file holds it.
        assert_eq!(of(Some(15), u64::MAX), [10, 20]);
        assert_eq!(of(Some(0), 20), [0, 10]);
        assert_eq!(firsts(&wanted(&chain, Some(15), u64::MAX, true)), [0, 10, 20]);
    }

    #[test]
    fn joined_files_stand_for_theirs() {
        let mut chain = chain(&[0, 10, 20, 30]);
        chain.push(ChainFile { path: "0-30".to_owned(), first: 0, next: Some(30), size: 20 });
        chain::sort(&mut chain);
        let of = |position, careful| -> Vec<String> {
            wanted(&chain, position, u64::MAX, careful).into_iter().map(|file| file.path).collect()
        };
        assert_eq!(of(None, false), ["0-30", "30"]);
        assert_eq!(of(Some(15), false), ["0-30", "30"]);
        assert_eq!(of(Some(30), false), ["30"]);
        assert_eq!(of(Some(40), false), Vec::<String>::new());
        assert_eq!(of(Some(30), true), ["0", "10", "20", "30"]);
    }

    #[test]
    fn units_are_bounded_and_of_one_partition() {
        let chains = Chains::from([(0, chain(&[0, 10, 20])), (1, chain(&[5, 6]))]);
        let of = |bytes, records| -> Vec<(u32, Vec<u64>)> {
            units(&chains, &Positions::new(), None, UnitSize { bytes, records }, false)
                .iter()
                .map(|unit| (unit.partition, firsts(&unit.files)))
                .collect()
        };
        assert_eq!(of(20, 1_000), [(0, vec![0, 10]), (0, vec![20]), (1, vec![5, 6])]);
        assert_eq!(of(1_000, 10), [(0, vec![0]), (0, vec![10]), (0, vec![20]), (1, vec![5, 6])]);
        assert_eq!(of(1, 1_000).len(), 5);
    }
}
