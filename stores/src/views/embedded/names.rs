//! Short numbers for the names of views, lookups and shards, so that keys are short.

use std::collections::HashMap;

use fjall::{Keyspace, OwnedWriteBatch};
use tideline_common::ports::{PortError, PortResult};
use tideline_common::position::Shard;

use crate::disk;

/// What has a number.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Name {
    /// A version of a view.
    View(String, String),
    /// A version of a lookup.
    Lookup(String, String),
    Shard(Shard),
}

impl Name {
    /// Kind, name, zero, and the rest.
    fn key(&self) -> Vec<u8> {
        let (kind, name, rest) = match self {
            Self::View(name, version) => (b'v', name, version.as_bytes().to_vec()),
            Self::Lookup(name, version) => (b'l', name, version.as_bytes().to_vec()),
            Self::Shard(shard) => (b's', &shard.source, shard.partition.to_be_bytes().to_vec()),
        };
        [&[kind], name.as_bytes(), &[0], &rest].concat()
    }

    fn read(key: &[u8]) -> Option<Self> {
        let (kind, rest) = key.split_first()?;
        let zero = rest.iter().position(|b| *b == 0)?;
        let name = String::from_utf8(rest[..zero].to_vec()).ok()?;
        let rest = &rest[zero + 1..];
        let version = || String::from_utf8(rest.to_vec()).ok();
        Some(match kind {
            b'v' => Self::View(name, version()?),
            b'l' => Self::Lookup(name, version()?),
            b's' => Self::Shard(Shard::new(name, u32::from_be_bytes(rest.try_into().ok()?))),
            _ => return None,
        })
    }
}

/// The key of the next number: numbers are never given twice, so that rows of something dropped can never
/// come back under another name.
const NEXT: &[u8] = b"n";

/// All numbers given.
#[derive(Debug, Default)]
pub(super) struct Names {
    numbers: HashMap<Name, u32>,
    next: u32,
}

impl Names {
    pub(super) fn open(keyspace: &Keyspace) -> PortResult<Self> {
        let what = "the names of the speed views";
        let mut names = Self::default();
        for entry in keyspace.iter() {
            let (key, value) = entry.into_inner().map_err(|e| disk::error(what, e))?;
            let number = u32::from_be_bytes(value.as_ref().try_into().map_err(|e| PortError::corrupt(what, e))?);
            if key.as_ref() == NEXT {
                names.next = number;
            } else {
                let name = Name::read(&key).ok_or_else(|| PortError::corrupt(what, format!("{key:?} is no name")))?;
                names.numbers.insert(name, number);
            }
        }
        Ok(names)
    }

    pub(super) fn get(&self, name: &Name) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// The shard that has this number.
    pub(super) fn shard(&self, number: u32) -> Option<Shard> {
        self.numbers.iter().find_map(|(name, of)| match name {
            Name::Shard(shard) if *of == number => Some(shard.clone()),
            _ => None,
        })
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&Name, u32)> {
        self.numbers.iter().map(|(name, number)| (name, *number))
    }

    /// The number of a name, given now if it has none: stored with `batch`, known once [`Names::learn`] is told.
    pub(super) fn give(
        &self,
        name: &Name,
        new: &mut Vec<(Name, u32)>,
        keyspace: &Keyspace,
        batch: &mut OwnedWriteBatch,
    ) -> u32 {
        let known = self.get(name).or_else(|| new.iter().find(|(n, _)| n == name).map(|(_, number)| *number));
        known.unwrap_or_else(|| {
            let number = self.next + new.len() as u32;
            batch.insert(keyspace, name.key(), number.to_be_bytes());
            batch.insert(keyspace, NEXT, (number + 1).to_be_bytes());
            new.push((name.clone(), number));
            number
        })
    }

    /// Takes over numbers whose batch is written.
    pub(super) fn learn(&mut self, new: Vec<(Name, u32)>) {
        self.next += new.len() as u32;
        self.numbers.extend(new);
    }

    /// Forgets a name whose rows are gone.
    pub(super) fn forget(&mut self, name: &Name, keyspace: &Keyspace) -> PortResult<()> {
        keyspace.remove(name.key()).map_err(|e| disk::error("the names of the speed views", e))?;
        self.numbers.remove(name);
        Ok(())
    }
}
