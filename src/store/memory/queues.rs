use crate::{record::Queue, sync::lock};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard},
};

/// What nobody has the right to run, by its queue, oldest first.
#[derive(Debug, Default)]
pub(super) struct Queues(Mutex<HashMap<Queue, BTreeMap<u64, u64>>>);

impl Queues {
    fn lock(&self) -> MutexGuard<'_, HashMap<Queue, BTreeMap<u64, u64>>> {
        lock(&self.0)
    }

    pub(super) fn insert(&self, queue: &Queue, sequence: u64, hash: u64) {
        let mut queues = self.lock();
        if let Some(queue) = queues.get_mut(queue) {
            queue.insert(sequence, hash);
        } else {
            queues.insert(queue.clone(), BTreeMap::from([(sequence, hash)]));
        }
    }

    pub(super) fn remove(&self, queue: &Queue, sequence: u64) {
        let mut queues = self.lock();
        if let Some(waiting) = queues.get_mut(queue) {
            waiting.remove(&sequence);
            if waiting.is_empty() {
                queues.remove(queue);
            }
        }
    }

    /// Takes the oldest out: its sequence and hash. It may be gone.
    pub(super) fn pop(&self, queue: &Queue) -> Option<(u64, u64)> {
        let mut queues = self.lock();
        let waiting = queues.get_mut(queue)?;
        let first = waiting.pop_first();
        if waiting.is_empty() {
            queues.remove(queue);
        }
        first
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().values().map(BTreeMap::len).sum()
    }
}
