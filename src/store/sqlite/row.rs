//! What a row of the table of operations says.

use super::{
    error::Fault,
    time::{Tick, timestamp},
};
use crate::{
    record::{
        BlobId, Ending, OperationId, Outcome, Owner, Phase, Reason, Record, Report, Revision,
        State, Submission,
    },
    store::{ListQuery, Lookup, StoreErrorKind},
};
use std::sync::Arc;
use uuid::Uuid;

/// The phase of a tombstone.
const GONE: i64 = 9;

/// What is in the column `phase`.
pub(super) fn number(phase: Phase) -> i64 {
    match phase {
        Phase::Accepted => 0,
        Phase::Running => 1,
        Phase::Ended(Outcome::Succeeded) => 2,
        Phase::Ended(Outcome::Failed(_)) => 3,
        Phase::Ended(Outcome::Cancelled) => 4,
    }
}

/// An operation or a tombstone, without what is long.
pub(super) struct Row {
    pub(super) place: i64,
    pub(super) id: OperationId,
    phase: i64,
    pub(super) due: Option<Tick>,
    pub(super) size: u64,
    pub(super) is_read: bool,
    /// Of the claim that holds, or by which it was detached.
    token: Option<i64>,
    pub(super) waits: bool,
    pub(super) owner: Option<Owner>,
    pub(super) response: Option<BlobId>,
}

impl Row {
    pub(super) fn read(row: &rusqlite::Row<'_>) -> Result<Self, Fault> {
        let owner: Option<[u8; 32]> = row.get(8)?;
        let response: Option<[u8; 16]> = row.get(9)?;
        Ok(Self {
            place: row.get(0)?,
            id: OperationId::from_uuid(Uuid::from_bytes(row.get(1)?)),
            phase: row.get(2)?,
            due: row.get(3)?,
            size: unsigned(row.get(4)?),
            is_read: row.get(5)?,
            token: row.get(6)?,
            waits: row.get(7)?,
            owner: owner.map(Owner::from_hash),
            response: response.map(|id| BlobId::from_uuid(Uuid::from_bytes(id))),
        })
    }

    pub(super) fn is_ended(&self) -> bool {
        (2..=4).contains(&self.phase)
    }

    /// The token of the claim, while it holds.
    pub(super) fn held(&self) -> Option<i64> {
        self.token.filter(|_| self.due.is_none())
    }

    /// The token of the claim that was given up, for another to end the operation.
    pub(super) fn given_up(&self) -> Option<i64> {
        self.token.filter(|_| self.due.is_some())
    }

    pub(super) fn is_stone(&self) -> bool {
        self.phase == GONE
    }

    fn is_due(&self, now: Tick) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// Whether it is an operation, and has not expired.
    pub(super) fn is_here(&self, now: Tick) -> bool {
        !(self.is_stone() || self.is_ended() && self.is_due(now))
    }

    /// Whether it is a tombstone that nobody has swept yet.
    pub(super) fn has_fallen(&self, now: Tick) -> bool {
        self.is_stone() && self.is_due(now)
    }

    /// What it is known as, with whatever is long in it.
    pub(super) fn look_up(self, row: &rusqlite::Row<'_>, now: Tick) -> Result<Lookup, Fault> {
        if self.is_here(now) {
            return Ok(Lookup::Found(Arc::new(record(&self, row)?)));
        }
        if self.has_fallen(now) {
            return Ok(Lookup::Unknown);
        }
        Ok(Lookup::Gone { owner: self.owner })
    }
}

/// The record in a row.
pub(super) fn record(of: &Row, row: &rusqlite::Row<'_>) -> Result<Record, Fault> {
    let mut record = head(of, row)?;
    finish(of, row, &mut record)?;
    Ok(record)
}

/// The record in a row, if it is wanted. What is long is read only then.
pub(super) fn wanted(
    of: &Row,
    row: &rusqlite::Row<'_>,
    query: &ListQuery,
    now: Tick,
) -> Result<Option<Record>, Fault> {
    if !of.is_here(now) {
        return Ok(None);
    }
    let phase = match of.phase {
        0 => Phase::Accepted,
        1 => Phase::Running,
        2 => Phase::Ended(Outcome::Succeeded),
        3 => Phase::Ended(Outcome::Failed(Reason::Response)),
        _ => Phase::Ended(Outcome::Cancelled),
    };
    if query.states.is_some_and(|states| !states.contains(phase)) {
        return Ok(None);
    }
    let mut record = head(of, row)?;
    let rest = ListQuery {
        states: None,
        ..query.clone()
    };
    if !rest.wants(&record) {
        return Ok(None);
    }
    finish(of, row, &mut record)?;
    Ok(Some(record))
}

/// Whatever is in a record but its ending.
fn head(of: &Row, row: &rusqlite::Row<'_>) -> Result<Record, Fault> {
    let submission = Submission::decode(
        row.get_ref(15)?
            .as_blob()
            .or(Err(StoreErrorKind::Corrupt))?,
    )?;
    let attempt: i64 = row.get(11)?;
    let started: Option<i64> = row.get(13)?;
    let report = match row
        .get_ref(16)?
        .as_blob_or_null()
        .or(Err(StoreErrorKind::Corrupt))?
    {
        Some(bytes) => Some(Arc::new(Report::decode(bytes)?)),
        None => None,
    };
    let mut record = Record::new(of.id, submission, timestamp(row.get(12)?));
    record.revision = Revision(unsigned(row.get(10)?));
    record.attempt = u16::try_from(attempt).or(Err(StoreErrorKind::Corrupt))?;
    record.started = started.map(timestamp);
    record.updated = timestamp(row.get(14)?);
    record.report = report;
    if of.phase == 1 {
        record.state = State::Running;
    }
    Ok(record)
}

fn finish(of: &Row, row: &rusqlite::Row<'_>, record: &mut Record) -> Result<(), Fault> {
    if of.is_ended() {
        let ending = Ending::decode(
            row.get_ref(17)?
                .as_blob()
                .or(Err(StoreErrorKind::Corrupt))?,
        )?;
        if number(Phase::Ended(ending.outcome)) != of.phase {
            return Err(StoreErrorKind::Corrupt.into());
        }
        record.state = State::Ended(ending);
    }
    Ok(())
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
