//! A store whose claims lapse keeps the contract as well.
#![cfg(feature = "testing")]

#[path = "common/durable.rs"]
mod durable;

use durable::Durable;
use std::{sync::Arc, time::SystemTime};
use tower_lro::{
    store::{
        Clock, MemoryLimits,
        conformance::{Subject, Wanted},
    },
    store_conformance,
};

fn leased(wanted: Wanted) -> Subject {
    let clock = Clock::manual(SystemTime::now());
    let limits = MemoryLimits::default()
        .operations(wanted.operations)
        .bytes(wanted.bytes)
        .tombstones(wanted.tombstones)
        .tombstone_for(wanted.tombstone_for);
    let store = Durable::new(limits, clock.clone());
    Subject::new(Arc::new(store), clock)
}

store_conformance!(leased, leases);
