//! The memory store keeps the contract of stores.
#![cfg(feature = "testing")]

use http::Method;
use proptest::{collection::vec, prelude::*};
use std::{
    num::NonZeroU32,
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};
use tower_lro::{
    record::{Ending, OperationId, Phase, Record, Stop, Submission},
    store::{
        Claim, Clock, Created, Forget, Intent, Lookup, MemoryLimits, MemoryStore, Settled, Store,
        StoreFuture,
        conformance::{Subject, Wanted, model},
    },
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

mod contract {
    use super::memory;

    tower_lro::store_conformance!(memory);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_script_is_followed(script in vec(any::<u32>(), 0..300), tight in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(model::follows(memory, tight, &script));
    }
}

/// A store, its clock, and a shorthand for answers that are there at once.
struct Memory {
    store: MemoryStore,
    clock: Clock,
}

fn now<T>(answer: StoreFuture<'_, T>) -> T {
    answer.now().expect("at once").expect("an answer")
}

impl Memory {
    fn new(limits: MemoryLimits) -> Self {
        let clock = Clock::manual(SystemTime::now());
        Self {
            store: MemoryStore::new(limits, clock.clone()),
            clock,
        }
    }

    /// Creates an operation that nobody but the store holds.
    fn create(&self) -> (Claim, Weak<Record>) {
        let submission = Submission::new(
            Method::POST,
            "/reports".into(),
            "/operations".into(),
            Duration::from_secs(60),
        );
        let record = Record::new(OperationId::random(), submission, self.clock.wall());
        let record = Arc::new(record);
        match now(self.store.create(&record, Intent::Run(None))) {
            Created::New(claim) => (claim, Arc::downgrade(&record)),
            other => panic!("expected a new operation, got {other:?}"),
        }
    }

    fn end(&self, claim: &Claim) -> Weak<Record> {
        let ending = Ending::without_response(Stop::Cancelled, self.clock.wall());
        match now(self.store.complete(claim.id(), ending, None)) {
            Settled::Done(record) => Arc::downgrade(&record),
            other => panic!("expected it to end, got {other:?}"),
        }
    }
}

#[test]
fn what_is_forgotten_is_freed() {
    let memory = Memory::new(MemoryLimits::default());
    let (claim, _) = memory.create();
    let record = memory.end(&claim);
    assert!(record.upgrade().is_some());
    now(memory.store.forget(claim.id(), Forget::Ended));
    assert!(record.upgrade().is_none());
}

#[test]
fn what_expires_is_freed() {
    let memory = Memory::new(MemoryLimits::default());
    let (claim, _) = memory.create();
    let record = memory.end(&claim);
    memory.clock.advance(Duration::from_secs(60));
    now(memory.store.sweep(NonZeroU32::MIN));
    assert!(record.upgrade().is_none());
}

#[test]
fn what_is_let_go_to_make_room_is_freed() {
    let memory = Memory::new(MemoryLimits::default().operations(1));
    let (claim, _) = memory.create();
    let record = memory.end(&claim);
    memory.store.mark_read(claim.id());
    memory.create();
    assert!(record.upgrade().is_none());
}

#[test]
fn a_record_that_nobody_else_holds_is_changed_where_it_is() {
    let memory = Memory::new(MemoryLimits::default());
    let (claim, _) = memory.create();
    let address = |lookup| match lookup {
        Lookup::Found(record) => Arc::as_ptr(&record),
        other => panic!("expected it found, got {other:?}"),
    };
    let before = address(now(memory.store.find(claim.id())));
    memory.end(&claim);
    assert_eq!(before, address(now(memory.store.find(claim.id()))));
}

#[test]
fn a_reader_keeps_what_it_has_read() {
    let memory = Memory::new(MemoryLimits::default());
    let (claim, _) = memory.create();
    let Lookup::Found(before) = now(memory.store.find(claim.id())) else {
        panic!("not found")
    };
    memory.end(&claim);
    assert_eq!(before.phase(), Phase::Accepted);
}

#[test]
fn debug_shows_usage_only() {
    let memory = Memory::new(MemoryLimits::default());
    let (claim, _) = memory.create();
    let text = format!("{:?}", memory.store);
    assert!(text.contains("operations: 1"));
    assert!(!text.contains(&claim.id().to_string()[..8]));
}
