//! The store that stands as an example keeps the contract of stores: its own tests, run with all others.
//!
//! Included, and not marked as tested in the manifest: cargo would no longer build the program, which `examples` starts.
#![cfg(all(feature = "axum", feature = "testing"))]

#[path = "../examples/store.rs"]
#[expect(dead_code, reason = "the program is not started here")]
mod store;
