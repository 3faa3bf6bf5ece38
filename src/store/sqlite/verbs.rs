//! The verbs that write, each in the transaction of its group.

use super::{
    error::{Fault, readable},
    readers::LOOKS,
    room::Need,
    row::{self, Row, number, signed, unsigned},
    sql,
    time::{after, micros_of},
    tx::{Going, Kept, Named, Standing, Tx},
};
use crate::{
    record::{Ending, Event, OperationId, Queue, Record, Sighting, StoredRequest, Submission},
    store::{Change, Claim, Claimed, Created, Forget, Held, Settled, StoreErrorKind},
};
use rusqlite::params;
use std::{sync::Arc, time::Duration};

/// What [`Store::create`](crate::store::Store::create) is given, written down.
pub(super) struct New {
    pub(super) record: Arc<Record>,
    pub(super) submission: Vec<u8>,
    pub(super) request: Option<(StoredRequest, Vec<u8>)>,
    pub(super) queued: bool,
}

impl New {
    fn of(&self) -> &Submission {
        &self.record.submission
    }
}

/// An end that is to be written, and what it is written as.
pub(super) struct NewEnd {
    pub(super) ending: Ending,
    pub(super) encoded: Vec<u8>,
    pub(super) sighting: Option<Sighting>,
}

impl NewEnd {
    pub(super) fn new(ending: Ending, sighting: Option<Sighting>) -> Self {
        Self {
            encoded: ending.encode(),
            ending,
            sighting,
        }
    }
}

/// The claim of an operation, as far as it is one's own to hold.
fn claim(row: &Row, record: &Record) -> Option<Claim> {
    let token = row.held().map(unsigned)?;
    Some(Claim::new(record.id, record.attempt, token))
}

impl Tx<'_> {
    pub(super) fn create(&mut self, new: &New) -> Result<Created, Fault> {
        if !self.shared.room.has(Need::Operation)
            && let Some(created) = self.stands_in_the_way(new)?
        {
            return Ok(created);
        }
        if let Err(fault) = self.may_grow() {
            return self.stands_in_the_way(new)?.ok_or(fault);
        }
        self.reserve(Need::Operation)?;
        let bytes = new
            .request
            .as_ref()
            .map_or(0, |(request, _)| request.size() as u64);
        if bytes > 0
            && let Err(fault) = self.reserve(Need::Bytes(bytes))
        {
            self.take_back(0);
            return match self.stands_in_the_way(new)? {
                Some(created) => Ok(created),
                None => Err(fault),
            };
        }
        // Twice at most: after what had fallen was swept away.
        for _ in 0..2 {
            if let Some(created) = self.insert(new, bytes)? {
                return Ok(created);
            }
            if let Some(created) = self.stands_in_the_way(new)? {
                self.take_back(bytes);
                return Ok(created);
            }
        }
        self.take_back(bytes);
        Err(StoreErrorKind::Corrupt.into())
    }

    fn take_back(&mut self, bytes: u64) {
        self.release(bytes);
        let totals = &mut self.shared.room.taken().totals;
        totals.operations = totals.operations.saturating_sub(1);
    }

    /// `None` if its key or its id is not free.
    fn insert(&mut self, new: &New, bytes: u64) -> Result<Option<Created>, Fault> {
        let record = &*new.record;
        let place = self.draw();
        let waits = new.of().rerun.as_deref().filter(|_| new.queued);
        let node = if new.queued { None } else { Some(self.node()?) };
        let values = params![
            place,
            record.id.as_uuid().as_bytes(),
            number(record.phase()),
            signed(record.revision.0),
            record.attempt,
            micros_of(record.created),
            micros_of(record.updated),
            waits.map(|rerun| after(self.now, rerun.start_within)),
            node,
            node.map(|_| place),
            waits.map(|rerun| rerun.queue.name()),
            new.of().owner.as_ref().map(|owner| owner.as_hash()),
            new.of().key.as_ref().map(|used| used.key.as_hash()),
            new.submission,
            record.report.as_ref().map(|report| report.encode()),
            record.started.map(micros_of),
        ];
        if self.write(sql::INSERT, values)? == 0 {
            return Ok(None);
        }
        if let Some((request, encoded)) = &new.request {
            let blob = request.body().blob();
            let mut size = bytes;
            if let Some(blob) = blob {
                match self.name_blob(blob, request.body().len()) {
                    Ok(more) => size += more,
                    Err(fault) => {
                        // Whoever is refused has nothing here.
                        self.write(sql::DELETE, [place])?;
                        self.take_back(bytes);
                        return Err(fault);
                    }
                }
            }
            let blob = blob.map(|blob| *blob.as_uuid().as_bytes());
            self.write(
                sql::INSERT_REQUEST,
                params![place, signed(size), blob, encoded],
            )?;
        }
        if new.queued {
            self.tell(Change::Claimable)?;
            return Ok(Some(Created::Queued));
        }
        self.hold(place, place);
        Ok(Some(Created::New(Claim::new(
            record.id,
            record.attempt,
            unsigned(place),
        ))))
    }

    /// What has the key or the id already.
    fn stands_in_the_way(&mut self, new: &New) -> Result<Option<Created>, Fault> {
        let id = new.record.id;
        if let Some(used) = &new.of().key {
            match self.by_key(&used.key)? {
                Named::Here(kept) if kept.row.id != id => {
                    return Ok(Some(Created::Existing(Arc::new(kept.record))));
                }
                // A name of the request itself ends with the operation.
                Named::Gone if used.fingerprint.is_none() => {
                    self.write(sql::FREE_KEY, [used.key.as_hash()])?;
                }
                Named::Gone => return Ok(Some(Created::Gone)),
                Named::Here(_) | Named::Nothing => {}
            }
        }
        let found = self.by_id(id)?;
        Ok(match self.resolve(found)? {
            Named::Nothing => None,
            Named::Gone => Some(Created::Gone),
            Named::Here(_) if new.queued => Some(Created::Queued),
            Named::Here(kept) => Some(match claim(&kept.row, &kept.record) {
                Some(claim) => Created::New(claim),
                None => Created::Existing(Arc::new(kept.record)),
            }),
        })
    }

    pub(super) fn end_by(
        &mut self,
        id: OperationId,
        by: Option<&Claim>,
        new: &NewEnd,
    ) -> Result<Settled, Fault> {
        let Some(kept) = self.kept(id)? else {
            return Ok(Settled::Unknown);
        };
        let Kept { row, record } = *kept;
        let fenced = by.is_some_and(|by| claim(&row, &record).as_ref() != Some(by));
        let mut ended = record.clone();
        if let Some(sighting) = &new.sighting {
            ended.observe(sighting);
        }
        if fenced
            || ended
                .phase()
                .after(Event::End(new.ending.outcome))
                .is_none()
        {
            return Ok(Settled::Stands(Arc::new(record)));
        }
        let response = new.ending.response.as_ref();
        let bytes = response.map_or(0, |response| response.size() as u64);
        if bytes > 0 {
            self.reserve(Need::Bytes(bytes))?;
        }
        ended.end(new.ending.clone());
        match self.end(&row, ended, &new.encoded) {
            Ok(record) => Ok(Settled::Done(record)),
            Err(fault) => {
                // Whoever is refused has nothing here.
                self.release(bytes);
                Err(fault)
            }
        }
    }

    pub(super) fn detach(
        &mut self,
        by: &Claim,
        sighting: &Sighting,
        within: Duration,
    ) -> Result<Settled, Fault> {
        let Some(kept) = self.kept(by.id())? else {
            return Ok(Settled::Unknown);
        };
        let Kept { row, record } = *kept;
        let token = signed(by.token());
        if row.given_up() == Some(token) {
            return Ok(Settled::Done(Arc::new(record)));
        }
        let mut detached = record.clone();
        detached.observe(sighting);
        let lawful = detached.phase().after(Event::Report).is_some();
        if !lawful || claim(&row, &record).as_ref() != Some(by) {
            return Ok(Settled::Stands(Arc::new(record)));
        }
        let due = after(self.now, within);
        self.void(&row);
        self.update(row.place, &detached, Standing::Detached { token, due })?;
        // Whoever ends it from here on, nobody runs it again.
        self.drop_request(row.place)?;
        self.tell(Change::Operation(detached.id))?;
        Ok(Settled::Done(Arc::new(detached)))
    }

    pub(super) fn give_back_claim(
        &mut self,
        by: &Claim,
        sighting: &Sighting,
    ) -> Result<Settled, Fault> {
        let Some(kept) = self.kept(by.id())? else {
            return Ok(Settled::Unknown);
        };
        let Kept { row, record } = *kept;
        let mut released = record.clone();
        released.observe(sighting);
        let holds = claim(&row, &record).as_ref() == Some(by);
        if holds
            && self.has_request(row.place)?
            && released.release(sighting.at)
            && self.enqueue(&row, &released)?
        {
            return Ok(Settled::Done(Arc::new(released)));
        }
        Ok(Settled::Stands(Arc::new(record)))
    }

    pub(super) fn has_request(&self, place: i64) -> Result<bool, Fault> {
        Ok(self.read(sql::HAS_REQUEST, [place], |_| Ok(()))?.is_some())
    }

    pub(super) fn forget(&mut self, id: OperationId, which: Forget) -> Result<Settled, Fault> {
        let Some(kept) = self.kept(id)? else {
            return Ok(Settled::Unknown);
        };
        let Kept { row, record } = *kept;
        if which == Forget::Ended && !row.is_ended() {
            return Ok(Settled::Stands(Arc::new(record)));
        }
        self.bury(&row, Going::Leaves)?;
        Ok(Settled::Done(Arc::new(record)))
    }

    pub(super) fn mark_read(&mut self, id: OperationId) -> Result<(), Fault> {
        let marked =
            self.write_returning(sql::MARK_READ, [id.as_uuid().as_bytes()], |row| row.get(0))?;
        if let Some(size) = marked {
            let totals = &mut self.shared.room.taken().totals;
            totals.unread = totals.unread.saturating_sub(1);
            totals.evictable += 1;
            totals.evictable_bytes += unsigned(size);
        }
        Ok(())
    }

    pub(super) fn claim(&mut self, queue: &Queue, at_most: u16) -> Result<Vec<Claimed>, Fault> {
        let waiting = self.waiting(queue, at_most)?;
        let mut claimed = Vec::with_capacity(waiting.len());
        for (Kept { row, record }, request) in waiting {
            let (node, token) = (self.node()?, self.draw());
            self.update(row.place, &record, Standing::Held { node, token })?;
            self.hold(token, row.place);
            claimed.push(Claimed {
                claim: Claim::new(record.id, record.attempt, unsigned(token)),
                record: Arc::new(record),
                request,
            });
        }
        Ok(claimed)
    }

    /// What waits in a queue. What can't be understood is passed over, and in time ended by who does, as not started.
    fn waiting(&self, queue: &Queue, at_most: u16) -> Result<Vec<(Kept, StoredRequest)>, Fault> {
        let mut prepared = self.prepare(sql::WAITING)?;
        let mut rows = prepared.query(params![
            queue.name(),
            self.now,
            u32::from(at_most) + u32::from(LOOKS)
        ])?;
        let mut waiting = Vec::new();
        while waiting.len() < usize::from(at_most)
            && let Some(found) = rows.next()?
        {
            waiting.extend(readable(self.with_request(found))?);
        }
        Ok(waiting)
    }

    fn with_request(&self, found: &rusqlite::Row<'_>) -> Result<(Kept, StoredRequest), Fault> {
        let row = Row::read(found)?;
        let record = row::record(&row, found)?;
        let request: Option<Vec<u8>> =
            self.read(sql::READ_REQUEST, [row.place], |row| row.get(0))?;
        let request = StoredRequest::decode(&request.ok_or(StoreErrorKind::Corrupt)?)?;
        Ok((Kept { row, record }, request))
    }

    pub(super) fn renew(&mut self, held: &[Held]) -> Result<Vec<OperationId>, Fault> {
        if let Some(node) = self.done.node {
            self.beat(node)?;
        }
        let mut void = Vec::new();
        for Held {
            id,
            token,
            sighting,
        } in held
        {
            let token = signed(*token);
            let found: Option<(i64, Option<i64>)> =
                self.read(sql::TOKEN, [id.as_uuid().as_bytes()], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })?;
            let Some((place, _)) = found.filter(|(_, held)| *held == Some(token)) else {
                void.push(*id);
                self.done.void.push(token);
                continue;
            };
            self.hold(token, place);
            if let Some(sighting) = sighting {
                // What can't be understood is still held, and so are the others.
                readable(self.observe(*id, token, sighting))?;
            }
        }
        Ok(void)
    }

    fn observe(&mut self, id: OperationId, token: i64, sighting: &Sighting) -> Result<(), Fault> {
        let (Some(kept), Some(node)) = (self.kept(id)?, self.done.node) else {
            return Ok(());
        };
        let Kept { row, mut record } = *kept;
        if record.observe(sighting) {
            self.update(row.place, &record, Standing::Held { node, token })?;
            self.tell(Change::Operation(id))?;
        }
        Ok(())
    }
}
