//! Atomics, under a name of this crate's: `tests/models.rs` puts others in their place, which try every order. And locks.

pub(crate) use std::sync::atomic;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes a lock. That somebody panicked with it tells nothing: what can panic does not run under a lock.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
