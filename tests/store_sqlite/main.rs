//! The store in a file keeps the contract of stores, and what else a file is for.
#![cfg(all(feature = "sqlite", feature = "testing"))]

mod blobs;
mod counting;
mod damage;
mod durability;
mod opening;
mod sharing;
mod support;

use proptest::{collection::vec, prelude::*};
use std::{sync::Arc, time::SystemTime};
use tower_lro::store::{
    Clock, SqliteOptions,
    conformance::{Subject, Wanted, model},
};

fn sqlite(wanted: Wanted) -> Subject {
    // What is synced here is not looked for: where there is a disk in memory, that will do.
    let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let directory = directory.unwrap();
    let clock = Clock::manual(SystemTime::now());
    let store = SqliteOptions::default()
        .operations(wanted.operations)
        .bytes(wanted.bytes)
        .tombstones(wanted.tombstones)
        .tombstone_for(wanted.tombstone_for)
        .clock(clock.clone())
        .open(directory.path().join("operations.db"))
        .unwrap();
    Subject::new(Arc::new(store), clock).holding(directory)
}

mod contract {
    use super::sqlite;

    tower_lro::store_conformance!(sqlite, leases);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn any_script_is_followed(script in vec(any::<u32>(), 0..200), tight in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(model::follows(sqlite, tight, &script));
    }
}
