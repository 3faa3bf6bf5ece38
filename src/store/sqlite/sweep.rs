//! What is due: expired and late operations, claims that have lapsed, tombstones, blobs that nobody wants.

use super::{
    error::{Fault, readable},
    sql,
    time::{Tick, after, micros, until},
    tx::{Going, Other, Tx, Unnamed},
};
use crate::{
    record::{Ending, Phase, Record, Stop},
    store::{StoreErrorKind, Swept},
    trace,
};
use rusqlite::params;
use std::{collections::HashMap, sync::Arc, time::Duration};

/// How long what can't be understood is left alone. By then a process that understands it may have the file open.
const PASSED_OVER: Duration = Duration::from_secs(60 * 60);

/// Pages that go back to the file system in one sweep.
const PAGES: u32 = 256;

impl Tx<'_> {
    /// Does what is due. Claims have lapsed, or not, as of when it was `asked` for, by the process's own clock.
    pub(super) fn sweep(&mut self, at_most: u32, asked: Tick) -> Result<Swept, Fault> {
        let mut swept = Swept::default();
        swept.done += self.lapse(at_most, asked, &mut swept.ended)?;
        while swept.done < at_most && self.drop_surplus()? {
            swept.done += 1;
        }
        while swept.done < at_most && self.do_due(&mut swept.ended)? {
            swept.done += 1;
        }
        while swept.done < at_most {
            let Some(due) = self.read(sql::DUE_BLOB, [self.now], Unnamed::read)? else {
                break;
            };
            self.let_go(&due)?;
            self.drop_chunks(due.number)?;
            swept.done += 1;
        }
        if swept.done < at_most {
            self.shrink()?;
        }
        let first = |statement| self.read(statement, [], |row| row.get::<_, Tick>(0));
        let dues = [first(sql::FIRST_DUE)?, first(sql::FIRST_DUE_BLOB)?];
        let dues = dues.into_iter().flatten().map(|due| until(self.now, due));
        swept.next = dues.chain(self.next_lapse(asked)).min();
        Ok(swept)
    }

    /// Does the first thing that is due.
    fn do_due(&mut self, ended: &mut Vec<Arc<Record>>) -> Result<bool, Fault> {
        match self.try_due(ended) {
            // It was read before anything was written.
            Err(fault) if fault.is_of_a_row() => {
                let place = self.read(sql::NEXT_DUE, [self.now], |row| row.get(0))?;
                if let Some(place) = place {
                    self.pass_over(place, None)?;
                }
                Ok(place.is_some())
            }
            done => done,
        }
    }

    /// Leaves what can't be understood to whoever can: nobody's, and looked at again later.
    fn pass_over(&mut self, place: i64, token: Option<i64>) -> Result<(), Fault> {
        trace::passed_over(place);
        let due = after(self.now, PASSED_OVER);
        self.write(sql::PASS_OVER, params![place, token, due])?;
        Ok(())
    }

    fn try_due(&mut self, ended: &mut Vec<Arc<Record>>) -> Result<bool, Fault> {
        let Some(row) = self.slot(sql::NEXT_DUE, [self.now])? else {
            return Ok(false);
        };
        if row.is_stone() {
            self.fall(row.place)?;
        } else if row.is_ended() {
            self.bury(&row, Going::Leaves)?;
        } else {
            let (row, record) = self.pending(row.place)?;
            let stop = match record.phase() {
                _ if row.waits => Stop::NotStarted,
                Phase::Running => Stop::TimedOut,
                // It was passed over before.
                _ => Stop::Lost,
            };
            let ending = Ending::without_response(stop, self.wall);
            ended.push(self.stop(&row, record, ending)?);
        }
        Ok(true)
    }

    fn pending(&self, place: i64) -> Result<(super::row::Row, Record), Fault> {
        match self.row(sql::BY_PLACE, [place])? {
            Some((row, Some(record))) => Ok((row, record)),
            _ => Err(StoreErrorKind::Corrupt.into()),
        }
    }

    /// Sees to claims that have lapsed: of processes that have shown no sign of life for their lease, and of this one
    /// where it does not renew them. Gives how many.
    fn lapse(
        &mut self,
        at_most: u32,
        asked: Tick,
        ended: &mut Vec<Arc<Record>>,
    ) -> Result<u32, Fault> {
        let mut done = 0;
        for node in self.dead(asked)? {
            let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
            let claims: Vec<(i64, i64)> =
                self.read_all(sql::OF_NODE, params![node, at_most - done], read)?;
            for (place, token) in claims {
                ended.extend(self.lapse_one(place, token)?);
                done += 1;
            }
            if done == at_most {
                return Ok(done);
            }
            self.write(sql::DELETE_NODE, [node])?;
            self.mind.others.remove(&node);
        }
        for (token, place) in self.abandoned(asked) {
            if done == at_most {
                break;
            }
            ended.extend(self.lapse_one(place, token)?);
            done += 1;
        }
        Ok(done)
    }

    /// Other processes whose heartbeat is the same as a lease ago.
    fn dead(&mut self, asked: Tick) -> Result<Vec<i64>, Fault> {
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let nodes: Vec<(i64, i64, Tick)> = self.read_all(sql::NODES, [], read)?;
        let now = self.shared.time.elapsed();
        let mut before = std::mem::take(&mut self.mind.others);
        let mut others = HashMap::with_capacity(nodes.len());
        let mut dead = Vec::new();
        for (id, beat, lease) in nodes {
            if Some(id) == self.done.node {
                continue;
            }
            let other = match before.remove(&id) {
                Some(other) if other.beat == beat => other,
                _ => Other {
                    beat,
                    lease,
                    seen: now,
                },
            };
            let silent = asked - other.seen;
            if silent > lease {
                dead.push(id);
            }
            // It has missed a beat. That it could have been written is shown by writing: where the disk is full this fails,
            // and nobody is silent.
            self.done.has_written |= silent > lease / 3;
            others.insert(id, other);
        }
        self.mind.others = others;
        Ok(dead)
    }

    /// Claims of this process that have not been renewed since a sweep saw them a lease ago.
    fn abandoned(&mut self, asked: Tick) -> Vec<(i64, i64)> {
        let (now, lease) = (self.shared.time.elapsed(), micros(self.shared.lease));
        let mut abandoned = Vec::new();
        for (token, watched) in &mut self.mind.held {
            let seen = *watched.seen.get_or_insert(now);
            // It may have been renewed in this very transaction.
            if asked - seen > lease && !self.done.held.iter().any(|(held, _)| held == token) {
                abandoned.push((*token, watched.place));
            }
        }
        abandoned.sort_unstable();
        abandoned
    }

    /// How long until the next claim lapses, if nobody renews any.
    fn next_lapse(&self, asked: Tick) -> Option<Duration> {
        let lease = micros(self.shared.lease);
        let held = self.mind.held.iter();
        let held = held.filter(|(token, _)| !self.done.void.contains(token));
        let own = held.map(|(_, watched)| watched.seen.unwrap_or(asked).saturating_add(lease));
        let others = self
            .mind
            .others
            .values()
            .map(|other| other.seen.saturating_add(other.lease));
        // It has lapsed when the lease is over.
        let next = own.chain(others).min()?;
        Some(until(asked, next.saturating_add(1)))
    }

    /// What ended by it.
    fn lapse_one(&mut self, place: i64, token: i64) -> Result<Option<Arc<Record>>, Fault> {
        self.done.void.push(token);
        let Some(found) = readable(self.row(sql::BY_PLACE, [place]))? else {
            self.pass_over(place, Some(token))?;
            return Ok(None);
        };
        let Some((row, Some(record))) = found else {
            return Ok(None);
        };
        if row.held() != Some(token) {
            return Ok(None);
        }
        let mut lapsed = record.clone();
        // Ended here, it is as lost as without a request: the ending is still to be written down.
        if self.has_request(place)? && lapsed.lapse(self.wall) && self.enqueue(&row, &lapsed)? {
            return Ok(None);
        }
        let lost = Ending::without_response(Stop::Lost, self.wall);
        self.stop(&row, record, lost).map(Some)
    }

    /// Gives pages back to the file system, when there are many that nothing needs.
    fn shrink(&mut self) -> Result<(), Fault> {
        let (all, free) = self.pages()?;
        if free > PAGES && free > all / 4 {
            // Each page is one step.
            self.read_all(&format!("PRAGMA incremental_vacuum({PAGES})"), [], |_| {
                Ok(())
            })?;
            self.done.has_written = true;
        }
        Ok(())
    }
}
