use super::{MemoryLimits, kept::Entry};
use crate::store::StoreUsage;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What there is to be room for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Need {
    Operation,
    Bytes(u64),
}

/// Bytes by which what is kept has to grow before that is told.
const STEP: u64 = 32 << 10;

/// Bytes that an operation takes beside its response, roughly.
const EACH: u64 = 256;

/// Counts what is kept, and never above the limits: room is reserved before anything is put into it.
///
/// The numbers order nothing else, so relaxed atomics are enough.
#[derive(Debug)]
pub(super) struct Ledger {
    limits: MemoryLimits,
    operations: AtomicU64,
    bytes: AtomicU64,
    unread: AtomicU64,
    /// Results that were read, and may be let go to make room. One counts until it is accounted for as removed.
    evictable: AtomicU64,
    /// Bytes of them.
    evictable_bytes: AtomicU64,
    tombstones: AtomicU64,
    /// Bytes from which on it is told that more is kept than ever before.
    step: AtomicU64,
}

impl Ledger {
    pub(super) fn new(limits: MemoryLimits) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            limits,
            operations: zero(),
            bytes: zero(),
            unread: zero(),
            evictable: zero(),
            evictable_bytes: zero(),
            tombstones: zero(),
            step: zero(),
        }
    }

    pub(super) fn limits(&self) -> &MemoryLimits {
        &self.limits
    }

    /// Takes a place for one more operation. None is given while there is no room for a single byte of a response.
    pub(super) fn reserve_operation(&self) -> bool {
        self.bytes.load(Relaxed) < self.limits.bytes
            && reserve(&self.operations, 1, self.limits.operations)
    }

    pub(super) fn reserve_bytes(&self, bytes: u64) -> bool {
        reserve(&self.bytes, bytes, self.limits.bytes)
    }

    /// Whether more is kept than ever before; told once for each step.
    pub(super) fn has_grown(&self) -> bool {
        let now = self.bytes.load(Relaxed) + EACH * self.operations.load(Relaxed);
        let step = self.step.load(Relaxed);
        let next = now + STEP;
        now > step
            && self
                .step
                .compare_exchange(step, next, Relaxed, Relaxed)
                .is_ok()
    }

    pub(super) fn release_bytes(&self, bytes: u64) {
        release(&self.bytes, bytes);
    }

    pub(super) fn has_room(&self, need: Need) -> bool {
        self.would_have_room(need, 0, 0)
    }

    /// Whether there would be room if all that was read were gone.
    pub(super) fn can_make_room(&self, need: Need) -> bool {
        let bytes = self.evictable_bytes.load(Relaxed);
        self.would_have_room(need, self.evictable.load(Relaxed), bytes)
    }

    fn would_have_room(&self, need: Need, operations: u64, bytes: u64) -> bool {
        let operations = self.operations.load(Relaxed).saturating_sub(operations);
        let bytes = self.bytes.load(Relaxed).saturating_sub(bytes);
        match need {
            Need::Operation => operations < self.limits.operations && bytes < self.limits.bytes,
            Need::Bytes(more) => bytes
                .checked_add(more)
                .is_some_and(|sum| sum <= self.limits.bytes),
        }
    }

    pub(super) fn ended(&self) {
        self.unread.fetch_add(1, Relaxed);
    }

    pub(super) fn was_read(&self, bytes: u64) {
        release(&self.unread, 1);
        self.evictable.fetch_add(1, Relaxed);
        self.evictable_bytes.fetch_add(bytes, Relaxed);
    }

    /// Gives back a place that nothing has come to.
    pub(super) fn release_operation(&self) {
        release(&self.operations, 1);
    }

    pub(super) fn removed(&self, entry: &Entry) {
        let bytes = entry.record.size() as u64;
        release(&self.operations, 1);
        release(&self.bytes, bytes);
        if entry.is_unread() {
            release(&self.unread, 1);
        } else if entry.is_read() {
            release(&self.evictable, 1);
            release(&self.evictable_bytes, bytes);
        }
    }

    #[cfg(test)]
    pub(super) fn evictable(&self) -> [u64; 2] {
        [&self.evictable, &self.evictable_bytes].map(|count| count.load(Relaxed))
    }

    pub(super) fn tombstones_set(&self, more: u64) {
        self.tombstones.fetch_add(more, Relaxed);
    }

    pub(super) fn tombstones_fell(&self, less: u64) {
        release(&self.tombstones, less);
    }

    pub(super) fn has_too_many_tombstones(&self) -> bool {
        self.tombstones.load(Relaxed) > self.limits.tombstones
    }

    pub(super) fn usage(&self) -> StoreUsage {
        StoreUsage {
            operations: self.operations.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            unread: self.unread.load(Relaxed),
            tombstones: self.tombstones.load(Relaxed),
        }
    }
}

fn reserve(count: &AtomicU64, more: u64, limit: u64) -> bool {
    let step = |now: u64| now.checked_add(more).filter(|sum| *sum <= limit);
    count.fetch_update(Relaxed, Relaxed, step).is_ok()
}

/// Stops at zero: a caller that gives back more than it took must not make the store look full for ever.
fn release(count: &AtomicU64, less: u64) {
    if less == 0 {
        return;
    }
    let _ = count.fetch_update(Relaxed, Relaxed, |now| Some(now.saturating_sub(less)));
}
