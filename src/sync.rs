//! Atomics, under a name of this crate's: `tests/models.rs` puts others in their place, which try every order.

pub(crate) use std::sync::atomic;
