//! The Bronze chain of a source: which files hold what has not been taken in yet.
//!
//! A file's name says where it begins, the file itself where the next one does. That the files join is checked
//! while they are read; which to read follows from the names alone.

use std::collections::BTreeMap;

use tideline_common::ports::Objects;
use tideline_common::position::{Offset, Partition, Positions};

use crate::error::BatchError;

/// A file of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BronzeObject {
    pub(crate) path: String,
    pub(crate) first: Offset,
    pub(crate) size: u64,
}

/// The chain of each partition, ascending.
pub(crate) type Chains = BTreeMap<Partition, Vec<BronzeObject>>;

/// Files to read together, all of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) partition: Partition,
    pub(crate) files: Vec<BronzeObject>,
    /// Records before this are not wanted: they have been taken in.
    pub(crate) from: Offset,
    /// Records from here on are not wanted.
    pub(crate) until: Offset,
}

/// Lists the chains of a source.
pub(crate) async fn list(objects: &dyn Objects, source: &str) -> Result<Chains, BatchError> {
    let folder = format!("bronze/{source}");
    let mut chains = Chains::new();
    for object in objects.list(&folder).await? {
        let Some((partition, first)) = place_of(&object.path, &folder) else {
            tracing::debug!(path = object.path, "not a file of the chain");
            continue;
        };
        chains.entry(partition).or_default().push(BronzeObject { path: object.path, first, size: object.size });
    }
    for chain in chains.values_mut() {
        chain.sort_by_key(|file| file.first);
    }
    Ok(chains)
}

fn place_of(path: &str, folder: &str) -> Option<(Partition, Offset)> {
    let (partition, file) = path.strip_prefix(folder)?.strip_prefix('/')?.split_once('/')?;
    Some((partition.parse().ok()?, file.strip_suffix(".parquet")?.parse().ok()?))
}

/// The files of `chain` that may hold records in [position, until). A partition never read begins where its
/// chain does.
fn wanted(chain: &[BronzeObject], position: Option<Offset>, until: Offset) -> &[BronzeObject] {
    let end = chain.partition_point(|file| file.first < until);
    let chain = &chain[..end];
    let Some(position) = position else { return chain };
    let at = chain.partition_point(|file| file.first < position);
    match chain.get(at) {
        Some(file) if file.first == position => &chain[at..],
        // The file before may reach beyond the position, when small files have been made one.
        Some(_) => &chain[at.saturating_sub(1)..],
        None => &[],
    }
}

/// How much is read together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnitSize {
    pub(crate) bytes: u64,
    /// Records, as far as the names tell (the last file of a chain counts as none).
    pub(crate) records: u64,
}

/// Everything in [positions, until) as units: by partition, then offset.
pub(crate) fn units(chains: &Chains, positions: &Positions, until: Option<&Positions>, size: UnitSize) -> Vec<Unit> {
    let mut units = Vec::new();
    for (partition, chain) in chains {
        let position = positions.get(partition).copied();
        let until = match until {
            None => Offset::MAX,
            Some(until) => until.get(partition).copied().unwrap_or(0),
        };
        let files = wanted(chain, position, until);
        let mut unit: Vec<BronzeObject> = Vec::new();
        let (mut bytes, mut start) = (0, 0);
        for file in files {
            if !unit.is_empty() && (bytes + file.size > size.bytes || file.first.saturating_sub(start) >= size.records)
            {
                let files = std::mem::take(&mut unit);
                units.push(Unit { partition: *partition, files, from: position.unwrap_or(0), until });
                bytes = 0;
            }
            if unit.is_empty() {
                start = file.first;
            }
            bytes += file.size;
            unit.push(file.clone());
        }
        if !unit.is_empty() {
            units.push(Unit { partition: *partition, files: unit, from: position.unwrap_or(0), until });
        }
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(firsts: &[u64]) -> Vec<BronzeObject> {
        firsts.iter().map(|first| BronzeObject { path: format!("{first}"), first: *first, size: 10 }).collect()
    }

    fn firsts(files: &[BronzeObject]) -> Vec<u64> {
        files.iter().map(|file| file.first).collect()
    }

    #[test]
    fn only_what_follows_the_position_is_wanted() {
        let chain = chain(&[0, 10, 20]);
        assert_eq!(firsts(wanted(&chain, None, u64::MAX)), [0, 10, 20]);
        assert_eq!(firsts(wanted(&chain, Some(0), u64::MAX)), [0, 10, 20]);
        assert_eq!(firsts(wanted(&chain, Some(10), u64::MAX)), [10, 20]);
        assert_eq!(firsts(wanted(&chain, Some(30), u64::MAX)), Vec::<u64>::new());
        // A position inside a file: that file holds it.
        assert_eq!(firsts(wanted(&chain, Some(15), u64::MAX)), [10, 20]);
        assert_eq!(firsts(wanted(&chain, Some(0), 20)), [0, 10]);
    }

    #[test]
    fn units_are_bounded_and_of_one_partition() {
        let chains = Chains::from([(0, chain(&[0, 10, 20])), (1, chain(&[5, 6]))]);
        let of = |bytes, records| -> Vec<(u32, Vec<u64>)> {
            units(&chains, &Positions::new(), None, UnitSize { bytes, records })
                .iter()
                .map(|unit| (unit.partition, firsts(&unit.files)))
                .collect()
        };
        assert_eq!(of(20, 1_000), [(0, vec![0, 10]), (0, vec![20]), (1, vec![5, 6])]);
        assert_eq!(of(1_000, 10), [(0, vec![0]), (0, vec![10]), (0, vec![20]), (1, vec![5, 6])]);
        assert_eq!(of(1, 1_000).len(), 5);
    }

    #[test]
    fn names_that_are_no_positions_are_left_out() {
        assert_eq!(place_of("bronze/tweets/3/00000000000000000042.parquet", "bronze/tweets"), Some((3, 42)));
        assert_eq!(place_of("bronze/tweets/3/notes.txt", "bronze/tweets"), None);
        assert_eq!(place_of("bronze/tweets2/3/00000000000000000042.parquet", "bronze/tweets"), None);
    }
}
