//! Other ways to an operation than its id: its key and its owner.

use crate::{
    record::{OperationId, Owner, UniqueKey},
    sync::lock,
};
use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    mem,
    sync::{Mutex, MutexGuard},
};

const SHARDS: usize = 64;

/// A map in parts, each under its own lock.
struct Sharded<K, V>(Box<[Mutex<HashMap<K, V>>]>);

impl<K, V> Default for Sharded<K, V> {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }
}

impl<K: Eq + Hash, V> Sharded<K, V> {
    /// The part for what is named by a hash with this first byte.
    fn lock(&self, first: u8) -> MutexGuard<'_, HashMap<K, V>> {
        lock(&self.0[usize::from(first) % SHARDS])
    }
}

#[cfg(test)]
impl<K, V> Sharded<K, V> {
    fn len(&self) -> usize {
        self.0.iter().map(|part| part.lock().unwrap().len()).sum()
    }
}

/// Makes a map that is mostly empty smaller. Gives the one that was too large, to be freed elsewhere.
fn shrink<K: Eq + Hash, V>(map: &mut HashMap<K, V>) -> Option<HashMap<K, V>> {
    (map.capacity() > 64 && map.len() < map.capacity() / 8).then(|| {
        let other = HashMap::with_capacity_and_hasher(2 * map.len(), map.hasher().clone());
        let mut old = mem::replace(map, other);
        map.extend(old.drain());
        old
    })
}

type Key = [u8; 32];

/// What each key names: an operation, or one that is gone but has its tombstone.
#[derive(Default)]
pub(super) struct Keys(Sharded<Key, OperationId>);

impl Keys {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn lock(&self, key: &UniqueKey) -> NamedBy<'_> {
        NamedBy {
            key: *key.as_hash(),
            map: self.0.lock(key.as_hash()[0]),
        }
    }

    /// Frees the key, unless by now it names another operation.
    pub(super) fn remove(&self, key: &UniqueKey, id: OperationId) {
        let mut map = self.0.lock(key.as_hash()[0]);
        let outgrown = if map.get(key.as_hash()) == Some(&id) {
            map.remove(key.as_hash());
            shrink(&mut map)
        } else {
            None
        };
        drop(map);
        drop(outgrown);
    }
}

/// What one key names. While it is held, nobody else can make the key name something.
pub(super) struct NamedBy<'a> {
    key: Key,
    map: MutexGuard<'a, HashMap<Key, OperationId>>,
}

impl NamedBy<'_> {
    pub(super) fn get(&self) -> Option<OperationId> {
        self.map.get(&self.key).copied()
    }

    pub(super) fn set(&mut self, id: OperationId) {
        self.map.insert(self.key, id);
    }
}

/// Each owner's operations in the order of their creation: sequence and hash.
#[derive(Default)]
pub(super) struct Owners(Sharded<Owner, BTreeMap<u64, u64>>);

impl Owners {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Enters an operation at the place that is drawn for it, while the owner's list stands still: so the list never
    /// gets an item in front of one that a reader has passed.
    pub(super) fn insert(&self, owner: &Owner, hash: u64, draw: impl FnOnce() -> u64) -> u64 {
        let mut map = self.0.lock(owner.as_hash()[0]);
        let sequence = draw();
        map.entry(owner.clone()).or_default().insert(sequence, hash);
        sequence
    }

    pub(super) fn remove(&self, owner: &Owner, sequence: u64) {
        let mut map = self.0.lock(owner.as_hash()[0]);
        let Some(list) = map.get_mut(owner) else {
            return;
        };
        list.remove(&sequence);
        let empty = if list.is_empty() {
            map.remove_entry(owner)
        } else {
            None
        };
        let outgrown = shrink(&mut map);
        drop(map);
        drop((empty, outgrown));
    }

    /// The last `at_most` before `sequence`, newest first.
    pub(super) fn before(&self, owner: &Owner, sequence: u64, at_most: usize) -> Vec<(u64, u64)> {
        let map = self.0.lock(owner.as_hash()[0]);
        let newest_first = map
            .get(owner)
            .into_iter()
            .flat_map(|list| list.range(..sequence).rev());
        newest_first
            .take(at_most)
            .map(|(sequence, hash)| (*sequence, *hash))
            .collect()
    }
}
