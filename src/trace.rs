//! What only logs see. Without the feature `tracing`, nothing.

use crate::record::{OperationId, Record, Stop};
#[cfg(feature = "tracing")]
use crate::record::{Outcome, Phase};
use std::{error::Error, future::Future};
use tokio::task::JoinHandle;

/// Spawns in the caller's span.
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    // In a box of its own, since spawning moves what is spawned three times.
    let task = Box::pin(task);
    #[cfg(feature = "tracing")]
    if !tracing::Span::current().is_disabled() {
        return tokio::spawn(tracing::Instrument::in_current_span(task));
    }
    tokio::spawn(task)
}

/// Why an operation ended without a response.
pub(crate) fn stopped(id: OperationId, stop: Stop, cause: Option<&dyn Error>) {
    #[cfg(feature = "tracing")]
    tracing::warn!(operation = ?id, ?stop, cause = cause.map(tracing::field::display), "operation stopped");
    #[cfg(not(feature = "tracing"))]
    let _ = (id, stop, cause);
}

/// Why an operation ended that nobody here runs.
pub(crate) fn swept(record: &Record) {
    #[cfg(feature = "tracing")]
    if let Phase::Ended(Outcome::Failed(stop)) = record.phase() {
        tracing::warn!(operation = ?record.id, ?stop, "operation stopped");
    }
    #[cfg(not(feature = "tracing"))]
    let _ = record;
}

/// What a handler panicked with.
pub(crate) fn panicked(id: OperationId, payload: &(dyn std::any::Any + Send)) {
    #[cfg(feature = "tracing")]
    {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        tracing::error!(operation = ?id, panic = text.unwrap_or("no text"), "handler panicked");
    }
    #[cfg(not(feature = "tracing"))]
    let _ = (id, payload);
}

/// What is stored here can't be understood, and is left as it is.
#[cfg(feature = "sqlite")]
pub(crate) fn passed_over(place: i64) {
    #[cfg(feature = "tracing")]
    tracing::error!(
        place,
        "stored operation can't be understood: damaged, or of a later version"
    );
    #[cfg(not(feature = "tracing"))]
    let _ = place;
}

/// The store could not answer.
pub(crate) fn store_failed(verb: &'static str, error: &crate::store::StoreError) {
    #[cfg(feature = "tracing")]
    tracing::error!(verb, error = error as &dyn Error, "store failed");
    #[cfg(not(feature = "tracing"))]
    let _ = (verb, error);
}
