//! How an operation stands: its record, and what the process that runs it knows beyond it.

use super::{Engine, Sweeper};
use crate::{
    record::{OperationId, Record, Sighting},
    store::{Lookup, StoreFuture},
};
use std::sync::Arc;

/// What was found of an operation, and what this process knows beyond its record.
pub(crate) struct Seen {
    pub(crate) lookup: Lookup,
    pub(crate) sighting: Option<Sighting>,
}

impl Seen {
    /// It is pending, and nobody here knows more.
    fn is_record_alone(&self) -> bool {
        let is_pending =
            matches!(&self.lookup, Lookup::Found(record) if !record.phase().is_ended());
        is_pending && self.sighting.is_none()
    }
}

/// The record as it would be if all that is known stood in it.
pub(super) fn current(record: &Record, sighting: Option<Sighting>) -> Record {
    let mut current = record.clone();
    if let Some(sighting) = sighting {
        current.observe(&sighting);
    }
    current
}

impl Engine {
    /// How an operation stands.
    ///
    /// A record that was read before the operation ended here says less than was known until then. So it is read again if
    /// anything has been removed meanwhile: what is removed had its end written down.
    pub(crate) fn find(self: &Arc<Self>, id: OperationId) -> StoreFuture<'_, Seen> {
        Sweeper::revive(self);
        let removals = self.live.removals(id);
        let is_behind =
            move |seen: &Seen| seen.is_record_alone() && self.live.removals(id) != removals;
        let first = match self.store.find(id).now() {
            Ok(lookup) => match lookup.map(|lookup| self.see(lookup)) {
                Ok(seen) if is_behind(&seen) => Ok(seen),
                answer => return StoreFuture::ready(answer),
            },
            Err(waiting) => Err(waiting),
        };
        StoreFuture::new(async move {
            let seen = match first {
                Ok(seen) => seen,
                Err(waiting) => self.see(waiting.await?),
            };
            Ok(match is_behind(&seen) {
                true => self.see(self.store.find(id).await?),
                false => seen,
            })
        })
    }

    fn see(self: &Arc<Self>, lookup: Lookup) -> Seen {
        let sighting = match &lookup {
            Lookup::Found(record) => self.sighting(record),
            Lookup::Gone { .. } | Lookup::Unknown => None,
        };
        Seen { lookup, sighting }
    }

    /// What this process knows of an operation beyond its record.
    pub(crate) fn sighting(self: &Arc<Self>, record: &Record) -> Option<Sighting> {
        if record.phase().is_ended() {
            return None;
        }
        let sighting = self.live.sighting(record.id, record.attempt);
        if sighting.is_none() && self.heartbeat.is_some() {
            // Whoever runs it may be gone, and nobody else here may have had a reason to look.
            Sweeper::wake(self);
        }
        sighting
    }
}
