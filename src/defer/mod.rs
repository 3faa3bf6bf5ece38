//! Work that outlives the exchange it came in with.

pub mod rebuild;
