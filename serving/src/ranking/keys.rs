//! Keys by number, so that everything else about a key is found by index.

use hashbrown::HashTable;
use tideline_common::state::KeyColumn;
use xxhash_rust::xxh3::xxh3_64;

/// Number of a key within one copy.
pub(crate) type KeyId = u32;

/// Memory of a key beside its bytes: its end, its place in the index, its hash.
const KEY_BYTES: usize = 8 + 8 + 8;

/// Keys in their byte form, each once.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    column: KeyColumn,
    hashes: Vec<u64>,
    index: HashTable<KeyId>,
    bytes: usize,
}

impl Keys {
    /// Number of keys.
    pub(crate) const fn len(&self) -> usize {
        self.column.len()
    }

    /// The key of a number.
    pub(crate) fn get(&self, id: KeyId) -> &[u8] {
        self.column.get(id as usize)
    }

    /// The number of a key, given now if it has none.
    pub(crate) fn give(&mut self, key: &[u8]) -> KeyId {
        let hash = xxh3_64(key);
        if let Some(id) = self.index.find(hash, |id| self.column.get(*id as usize) == key) {
            return *id;
        }
        let id = self.column.len() as KeyId;
        self.column.push(key);
        self.hashes.push(hash);
        self.bytes += KEY_BYTES + key.len();
        let hashes = &self.hashes;
        self.index.insert_unique(hash, id, |id| hashes[*id as usize]);
        id
    }

    /// Memory, in bytes.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}
