//! What is done to operations by others than their tasks: ends and removals, each seen through once it has begun.

use super::Engine;
use crate::{
    record::{BlobId, Ending, OperationId},
    store::{Forget, Settled, StoreError, StoreErrorKind, StoreFuture},
};
use std::sync::Arc;
use tokio::runtime::Handle;

impl Engine {
    /// Ends an operation from outside, and stops it where it runs here.
    pub(crate) async fn end_now(
        self: &Arc<Self>,
        id: OperationId,
        ending: Ending,
    ) -> Result<Settled, StoreError> {
        let (ours, blob) = ((ending.outcome, ending.at), ending.blob());
        self.see_through(
            move |engine| engine.complete(id, &ending),
            move |engine, settled, is_unsure| {
                let settled = match settled {
                    Ok(settled) if is_unsure => Ok(settled.after_uncertain(ours)),
                    settled => settled,
                };
                engine.conclude(settled, blob, is_unsure)
            },
        )
        .await
    }

    /// Lets go of an operation, tells who waits for it, and `stops` it where it runs here.
    pub(super) async fn let_go(
        self: &Arc<Self>,
        id: OperationId,
        which: Forget,
        stops: bool,
    ) -> Result<Settled, StoreError> {
        self.see_through(
            move |engine| engine.store.forget(id, which),
            move |engine, settled, is_unsure| {
                let is_gone = match settled {
                    Ok(Settled::Done(_)) => true,
                    // By a try of which nobody knew.
                    Ok(Settled::Unknown) => is_unsure,
                    Ok(Settled::Stands(_)) | Err(_) => false,
                };
                if is_gone {
                    if stops {
                        engine.live.end(id);
                    } else {
                        engine.live.forsake(engine, id);
                    }
                    engine.hub.ended(id);
                }
                settled
            },
        )
        .await
    }

    /// Takes a step, again while nobody knows whether it was taken, and does what follows from it, told whether a try before
    /// the last was such.
    ///
    /// At once, where the store can; else in a task of its own: whoever asked for it may go away in between.
    async fn see_through(
        self: &Arc<Self>,
        step: impl Fn(&Self) -> StoreFuture<'_, Settled> + Send + Sync + 'static,
        then: impl FnOnce(&Arc<Self>, Result<Settled, StoreError>, bool) -> Result<Settled, StoreError>
        + Send
        + 'static,
    ) -> Result<Settled, StoreError> {
        let was_unsure = match step(self).now() {
            Ok(settled) if !is_uncertain(&settled) => return then(self, settled, false),
            Ok(_) => true,
            Err(_) => false,
        };
        let engine = self.clone();
        let steps = async move {
            let (settled, is_unsure) = certain(|| step(&engine)).await;
            let is_unsure = was_unsure || is_unsure;
            // That the last try was refused does not tell what became of those before.
            let settled = settled.map_err(|error| match is_unsure {
                true => StoreError::caused_by(StoreErrorKind::Uncertain, error),
                false => error,
            });
            then(&engine, settled, is_unsure)
        };
        match Handle::try_current() {
            Ok(runtime) => runtime
                .spawn(steps)
                .await
                .unwrap_or_else(|_| Err(StoreError::new(StoreErrorKind::Uncertain))),
            Err(_) => steps.await,
        }
    }

    /// Has what goes on here know of an end, and lets go of the blob that was written for it if it is of no use.
    fn conclude(
        self: &Arc<Self>,
        settled: Result<Settled, StoreError>,
        blob: Option<BlobId>,
        is_unsure: bool,
    ) -> Result<Settled, StoreError> {
        match &settled {
            Ok(Settled::Unknown) if !is_unsure => self.discard(blob),
            Ok(settled) => {
                self.tell(settled);
                self.discard_unless_named(blob, settled);
            }
            Err(error) if error.kind() != StoreErrorKind::Uncertain => self.discard(blob),
            Err(_) => {}
        }
        settled
    }

    fn complete(&self, id: OperationId, ending: &Ending) -> StoreFuture<'_, Settled> {
        // What the handler has said must not be lost with its end.
        let last_words = self.live.last(id).map(|live| live.sighting());
        self.store.complete(id, ending.clone(), last_words)
    }

    /// Has what goes on here know of an end, be it one that nobody here was told of when it came.
    fn tell(self: &Arc<Self>, settled: &Settled) {
        match settled {
            Settled::Done(record) => self.ended_from_outside(record),
            Settled::Stands(record) if record.phase().is_ended() => {
                self.live.end(record.id);
                self.hub.ended(record.id);
            }
            Settled::Stands(_) | Settled::Unknown => {}
        }
    }
}

/// Takes a step that may be repeated, a few times while nobody knows whether it was taken. Also tells whether that was so of
/// a try before the last.
pub(crate) async fn certain<'a, T>(
    step: impl Fn() -> StoreFuture<'a, T>,
) -> (Result<T, StoreError>, bool) {
    const TRIES: u32 = 3;
    let (mut answer, mut is_unsure) = (step().await, false);
    for _ in 1..TRIES {
        if !is_uncertain(&answer) {
            break;
        }
        is_unsure = true;
        answer = step().await;
    }
    (answer, is_unsure)
}

/// Whether a step was taken or not, nobody knows.
pub(crate) fn is_uncertain<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(error) if error.kind() == StoreErrorKind::Uncertain)
}
