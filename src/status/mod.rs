//! Answers at the status monitor: finds the operation, waits if asked to, and says how it stands or replays its result.

mod answer;
mod service;
mod wrapped;

pub use self::{
    service::{StatusFuture, StatusService},
    wrapped::{Wrapped, WrappedFuture},
};
