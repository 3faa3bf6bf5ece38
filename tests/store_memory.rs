//! The memory store keeps the contract of stores.

use std::{sync::Arc, time::SystemTime};
use tower_lro::{
    store::{
        Clock, MemoryLimits, MemoryStore,
        conformance::{Subject, Wanted},
    },
    store_conformance,
};

fn memory(wanted: Wanted) -> Subject {
    let clock = Clock::manual(SystemTime::now());
    let limits = MemoryLimits::default()
        .operations(wanted.operations)
        .bytes(wanted.bytes)
        .tombstones(wanted.tombstones)
        .tombstone_for(wanted.tombstone_for);
    Subject::new(Arc::new(MemoryStore::new(limits, clock.clone())), clock)
}

store_conformance!(memory);
