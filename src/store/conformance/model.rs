//! A store compared with a model of it that is too simple to be wrong: plain maps, and [`Phase::after`].

use super::{Draft, MOMENT, Make, START_WITHIN, Subject, TOMBSTONE_FOR, Wanted};
use crate::{
    record::{
        Ending, Event, OperationId, Outcome, Owner, Phase, Queue, Reason, Record, Revision,
        Sighting, Stop, UniqueKey,
    },
    store::{
        Claim, Claimed, Created, Forget, Intent, ListQuery, Lookup, Settled, StateSet, StoreError,
        StoreErrorKind, StoreUsage,
    },
};
use std::{collections::HashMap, num::NonZeroU16, time::Duration};

/// Does what `script` says to a store and to the model, and compares every answer.
///
/// Each number is one step, so that a property test can draw and shrink scripts. With `tight` limits the store has to
/// let results go all the time.
pub async fn follows(make: Make, tight: bool, script: &[u32]) {
    let wanted = if tight {
        Wanted {
            operations: 5,
            bytes: 60,
            ..Wanted::default()
        }
    } else {
        Wanted::default()
    };
    let mut run = Run {
        subject: make(wanted),
        model: Model {
            wanted,
            ..Model::default()
        },
        tight,
        given: Vec::new(),
    };
    for (index, number) in script.iter().enumerate() {
        run.pass(MOMENT).await;
        let step = run.take(*number).await;
        let (is, should) = (run.subject.store.usage(), run.model.usage());
        assert_eq!(is, should, "after step {index}, {step}");
    }
}

/// Scripts drawn from a fixed seed, with room to spare.
pub async fn a_store_with_room_follows_the_model(make: Make) {
    follows_many(make, false).await;
}

pub(super) async fn follows_many(make: Make, tight: bool) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = || {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 32) as u32
    };
    for _ in 0..100 {
        let script: Vec<u32> = (0..200).map(|_| draw()).collect();
        follows(make, tight, &script).await;
    }
}

#[derive(Default)]
struct Model {
    wanted: Wanted,
    now: Duration,
    created: u64,
    set_aside: u64,
    kept: HashMap<OperationId, Kept>,
    gone: HashMap<OperationId, Gone>,
    keys: HashMap<u32, OperationId>,
}

#[derive(Clone)]
struct Kept {
    created: u64,
    owner: Option<Owner>,
    key: Option<u32>,
    keep_for: Duration,
    token: u64,
    phase: Phase,
    revision: u64,
    size: u64,
    detached: bool,
    due: Option<Duration>,
    ended: Duration,
    read: bool,
    /// Nobody has the right to run it, and somebody may take it.
    waits: bool,
    attempt: u16,
    /// How often it may be run, where its request is kept.
    attempts: Option<u16>,
}

impl Kept {
    fn is_claimed(&self) -> bool {
        !self.phase.is_ended() && !self.detached && !self.waits
    }
}

struct Gone {
    owner: Option<Owner>,
    key: Option<u32>,
    falls: Duration,
}

/// An answer, stripped to what is compared.
#[derive(Debug, PartialEq)]
enum Answer {
    New,
    Queued,
    Existing(Brief),
    Gone(Option<Owner>),
    Unknown,
    Done(Brief),
    Stands(Brief),
    Full,
}

type Brief = (OperationId, Phase, u64, u64);

fn brief(record: &Record) -> Brief {
    (
        record.id,
        record.phase(),
        record.revision.0,
        record.size() as u64,
    )
}

impl Answer {
    /// What a create tells of it.
    fn without_owner(self) -> Self {
        if let Self::Gone(_) = self {
            Self::Gone(None)
        } else {
            self
        }
    }
}

impl From<Lookup> for Answer {
    fn from(lookup: Lookup) -> Self {
        match lookup {
            Lookup::Found(record) => Self::Existing(brief(&record)),
            Lookup::Gone { owner } => Self::Gone(owner),
            Lookup::Unknown => Self::Unknown,
        }
    }
}

fn settled(answer: Result<Settled, StoreError>) -> Answer {
    match answer {
        Ok(Settled::Done(record)) => Answer::Done(brief(&record)),
        Ok(Settled::Stands(record)) => Answer::Stands(brief(&record)),
        Ok(Settled::Unknown) => Answer::Unknown,
        Err(error) => failed(&error),
    }
}

fn failed(error: &StoreError) -> Answer {
    assert_eq!(error.kind(), StoreErrorKind::Full);
    Answer::Full
}

impl Model {
    fn has_expired(&self, kept: &Kept) -> bool {
        kept.phase.is_ended() && kept.due.is_some_and(|due| due <= self.now)
    }

    fn brief(&self, id: OperationId) -> Brief {
        let kept = &self.kept[&id];
        (id, kept.phase, kept.revision, kept.size)
    }

    fn is_here(&self, id: OperationId) -> bool {
        self.kept
            .get(&id)
            .is_some_and(|kept| !self.has_expired(kept))
    }

    fn find(&self, id: OperationId) -> Answer {
        if self.is_here(id) {
            return Answer::Existing(self.brief(id));
        }
        let owner = self.kept.get(&id).map(|kept| kept.owner.clone());
        let owner = owner.or_else(|| self.gone.get(&id).map(|gone| gone.owner.clone()));
        owner.map_or(Answer::Unknown, Answer::Gone)
    }

    fn find_key(&self, key: u32) -> Answer {
        self.keys
            .get(&key)
            .map_or(Answer::Unknown, |id| self.find(*id))
    }

    fn bytes(&self) -> u64 {
        let request = super::request().size() as u64;
        let held = self.kept.values().map(|kept| match kept.attempts {
            Some(_) if !kept.phase.is_ended() && !kept.detached => request,
            _ => kept.size,
        });
        self.set_aside + held.sum::<u64>()
    }

    fn usage(&self) -> StoreUsage {
        let unread = self
            .kept
            .values()
            .filter(|kept| kept.phase.is_ended() && !kept.read);
        StoreUsage {
            operations: self.kept.len() as u64,
            bytes: self.bytes(),
            unread: unread.count() as u64,
            tombstones: self.gone.len() as u64,
        }
    }

    fn remove(&mut self, id: OperationId) {
        let Kept { owner, key, .. } = self.kept.remove(&id).unwrap();
        let falls = self.now + TOMBSTONE_FOR;
        self.gone.insert(id, Gone { owner, key, falls });
    }

    /// Whether `bytes` more have room, once as much as it takes has been let go.
    fn has_room(&mut self, bytes: u64) -> bool {
        let read = |kept: &&Kept| kept.read;
        let evictable: u64 = self.kept.values().filter(read).map(|kept| kept.size).sum();
        if self.bytes() - evictable + bytes > self.wanted.bytes {
            return self.bytes() + bytes <= self.wanted.bytes;
        }
        while self.bytes() + bytes > self.wanted.bytes {
            assert!(self.evict());
        }
        true
    }

    fn has_place(&mut self) -> bool {
        while self.kept.len() as u64 >= self.wanted.operations || self.bytes() >= self.wanted.bytes
        {
            let read = |kept: &&Kept| kept.read;
            let evictable: u64 = self.kept.values().filter(read).map(|kept| kept.size).sum();
            if self.bytes() - evictable >= self.wanted.bytes || !self.evict() {
                return false;
            }
        }
        true
    }

    fn evict(&mut self) -> bool {
        let read = self.kept.iter().filter(|(_, kept)| kept.read);
        let first = read.min_by_key(|(_, kept)| kept.ended).map(|(id, _)| *id);
        first.inspect(|id| self.remove(*id)).is_some()
    }

    fn create(&mut self, id: OperationId, draft: &Planned) -> Answer {
        if let Some(key) = draft.key {
            match self.find_key(key) {
                Answer::Existing(found) if found.0 == id => {}
                Answer::Unknown => {}
                other => return other.without_owner(),
            }
        }
        match self.find(id) {
            Answer::Existing(_) if draft.queued => return Answer::Queued,
            Answer::Existing(_) if self.kept[&id].is_claimed() => return Answer::New,
            Answer::Unknown => {}
            other => return other.without_owner(),
        }
        if !self.has_place() {
            return Answer::Full;
        }
        self.created += 1;
        self.keys.extend(draft.key.map(|key| (key, id)));
        let kept = Kept {
            created: self.created,
            owner: draft.owner.clone(),
            key: draft.key,
            keep_for: draft.keep_for,
            token: 0,
            phase: Phase::Accepted,
            revision: 1,
            size: 0,
            detached: false,
            due: draft.queued.then_some(self.now + START_WITHIN),
            ended: Duration::ZERO,
            read: false,
            waits: draft.queued,
            attempt: 1,
            attempts: draft.attempts,
        };
        self.kept.insert(id, kept);
        match draft.queued {
            true => Answer::Queued,
            false => Answer::New,
        }
    }

    /// What is taken, oldest first, each with its attempt.
    fn claim(&mut self, at_most: u16) -> Vec<(OperationId, u16)> {
        let mut waiting: Vec<_> = self
            .kept
            .iter_mut()
            .filter(|(_, kept)| kept.waits)
            .collect();
        waiting.sort_by_key(|(_, kept)| kept.created);
        let taken = waiting.into_iter().take(usize::from(at_most));
        let take = |(id, kept): (&OperationId, &mut Kept)| {
            (kept.waits, kept.due) = (false, None);
            (*id, kept.attempt)
        };
        taken.map(take).collect()
    }

    fn release(&mut self, id: OperationId, token: u64, sighting: &Sighting) -> Answer {
        if !self.is_here(id) {
            return Answer::Unknown;
        }
        let (phase, revision) = self.seen(id, sighting);
        let now = self.now;
        let kept = self.kept.get_mut(&id).unwrap();
        let held = kept.is_claimed() && kept.token == token;
        let attempt = kept.attempt + u16::from(phase != Phase::Accepted);
        let may = held && kept.attempts.is_some_and(|attempts| attempt <= attempts);
        let Some(phase) = phase.after(Event::Release).filter(|_| may) else {
            return Answer::Stands(self.brief(id));
        };
        kept.revision = Revision(revision).next_in(attempt).0;
        (kept.phase, kept.attempt) = (phase, attempt);
        (kept.waits, kept.due) = (true, Some(now + START_WITHIN));
        Answer::Done(self.brief(id))
    }

    /// All claims lapse. What ends by it.
    fn lapse(&mut self) -> Vec<OperationId> {
        let (now, mut ended) = (self.now, Vec::new());
        for (id, kept) in self.kept.iter_mut().filter(|(_, kept)| kept.is_claimed()) {
            let again = kept.phase.after(Event::Release);
            match again.filter(|_| kept.attempts.is_some_and(|most| kept.attempt < most)) {
                Some(phase) => {
                    kept.attempt += 1;
                    (kept.phase, kept.waits) = (phase, true);
                    kept.due = Some(now + START_WITHIN);
                }
                None => {
                    let lost = Event::End(Outcome::Failed(Reason::Lost));
                    kept.phase = kept.phase.after(lost).unwrap();
                    kept.ended = now;
                    kept.due = Some(now + kept.keep_for);
                    ended.push(*id);
                }
            }
        }
        ended
    }

    /// How it would stand with what was seen.
    fn seen(&self, id: OperationId, sighting: &Sighting) -> (Phase, u64) {
        let Kept {
            phase, revision, ..
        } = self.kept[&id];
        if sighting.revision.0 <= revision {
            return (phase, revision);
        }
        let started = sighting.started.and_then(|_| phase.after(Event::Start));
        (started.unwrap_or(phase), sighting.revision.0)
    }

    fn end(
        &mut self,
        id: OperationId,
        token: Option<u64>,
        sighting: Option<&Sighting>,
        ending: &Ending,
    ) -> Answer {
        if !self.is_here(id) {
            return Answer::Unknown;
        }
        let kept = &self.kept[&id];
        let may = token.is_none_or(|token| token == kept.token && kept.is_claimed());
        let (phase, revision) = sighting.map_or((kept.phase, kept.revision), |sighting| {
            self.seen(id, sighting)
        });
        let Some(phase) = phase.after(Event::End(ending.outcome)).filter(|_| may) else {
            return Answer::Stands(self.brief(id));
        };
        let size = ending
            .response
            .as_ref()
            .map_or(0, |response| response.size() as u64);
        if !self.has_room(size) {
            return Answer::Full;
        }
        let now = self.now;
        let kept = self.kept.get_mut(&id).unwrap();
        kept.phase = phase;
        kept.revision = revision + 1;
        kept.size = size;
        kept.ended = now;
        kept.waits = false;
        kept.due = Some(now + kept.keep_for);
        Answer::Done(self.brief(id))
    }

    fn detach(
        &mut self,
        id: OperationId,
        token: u64,
        sighting: &Sighting,
        within: Duration,
    ) -> Answer {
        if !self.is_here(id) {
            return Answer::Unknown;
        }
        let (phase, revision) = self.seen(id, sighting);
        let now = self.now;
        let kept = self.kept.get_mut(&id).unwrap();
        if kept.detached && kept.token == token && !kept.phase.is_ended() {
            return Answer::Done(self.brief(id));
        }
        if !kept.is_claimed() || kept.token != token || phase.after(Event::Report).is_none() {
            return Answer::Stands(self.brief(id));
        }
        kept.detached = true;
        kept.phase = phase;
        kept.revision = revision;
        kept.due = Some(now + within);
        Answer::Done(self.brief(id))
    }

    fn forget(&mut self, id: OperationId) -> Answer {
        if !self.is_here(id) {
            return Answer::Unknown;
        }
        let brief = self.brief(id);
        if !self.kept[&id].phase.is_ended() {
            return Answer::Stands(brief);
        }
        self.remove(id);
        Answer::Done(brief)
    }

    fn mark_read(&mut self, id: OperationId) {
        if self.is_here(id) {
            let kept = self.kept.get_mut(&id).unwrap();
            kept.read = kept.phase.is_ended();
        }
    }

    /// What timed out, and how long it is until the next thing is due.
    fn sweep(&mut self) -> (Vec<OperationId>, Option<Duration>) {
        let now = self.now;
        let mut ended = Vec::new();
        for (id, kept) in &mut self.kept {
            if !kept.phase.is_ended() && kept.due.is_some_and(|due| due <= now) {
                let reason = match kept.waits {
                    true => Reason::NotStarted,
                    false => Reason::TimedOut,
                };
                kept.waits = false;
                kept.phase = kept
                    .phase
                    .after(Event::End(Outcome::Failed(reason)))
                    .unwrap();
                kept.revision += 1;
                kept.ended = now;
                kept.due = Some(now + kept.keep_for);
                ended.push(*id);
            }
        }
        let expired = self
            .kept
            .iter()
            .filter(|(_, kept)| self.has_expired(kept))
            .map(|(id, _)| *id);
        for id in expired.collect::<Vec<_>>() {
            self.remove(id);
        }
        let keys = &mut self.keys;
        self.gone.retain(|id, gone| {
            let stands = gone.falls > now;
            if !stands
                && let Some(key) = gone.key
                && keys.get(&key) == Some(id)
            {
                keys.remove(&key);
            }
            stands
        });
        let dues = self.kept.values().filter_map(|kept| kept.due);
        let next = dues.chain(self.gone.values().map(|gone| gone.falls)).min();
        ended.sort();
        (ended, next.map(|next| next - now))
    }

    fn list(&self, query: &ListQuery) -> Vec<OperationId> {
        let mut wanted: Vec<_> = self
            .kept
            .iter()
            .filter(|(_, kept)| !self.has_expired(kept))
            .filter(|(_, kept)| {
                query
                    .states
                    .is_none_or(|states| states.contains(kept.phase))
            })
            .filter(|(_, kept)| query.owner.is_none() || query.owner == kept.owner)
            .map(|(id, kept)| (kept.created, *id))
            .collect();
        wanted.sort_by_key(|(created, _)| std::cmp::Reverse(*created));
        wanted.into_iter().map(|(_, id)| id).collect()
    }
}

/// What a submission is to be.
#[derive(Clone)]
struct Planned {
    owner: Option<Owner>,
    key: Option<u32>,
    keep_for: Duration,
    /// How often it may be run, if its request is to be kept.
    attempts: Option<u16>,
    queued: bool,
}

impl Planned {
    fn draft(&self, id: OperationId) -> Draft {
        Draft {
            id: Some(id),
            owner: self.owner.clone(),
            key: self.key.map(named),
            keep_for: Some(self.keep_for),
            ..self.attempts.map_or_else(Draft::default, Draft::attempts)
        }
    }
}

impl Run {
    async fn keep(&self, planned: &Planned, id: OperationId) -> Result<Created, StoreError> {
        let record = self.subject.draw(planned.draft(id));
        let request = super::request();
        let intent = match (planned.attempts, planned.queued) {
            (None, _) => Intent::Run(None),
            (Some(_), false) => Intent::Run(Some(&request)),
            (Some(_), true) => Intent::Queue(&request),
        };
        self.subject.store.create(&record, intent).await
    }
}

fn named(key: u32) -> UniqueKey {
    UniqueKey::shared(&key.to_string())
}

struct Run {
    subject: Subject,
    model: Model,
    tight: bool,
    /// Every claim that was ever given, with what it was given for.
    given: Vec<(Claim, Planned)>,
}

/// Takes choices out of a number.
struct Choices(u32);

impl Choices {
    fn below(&mut self, count: u32) -> u32 {
        let choice = self.0 % count;
        self.0 /= count;
        choice
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(u32::try_from(choices.len()).unwrap()) as usize].clone()
    }
}

impl Run {
    /// Lets time pass, and has done what is due then.
    async fn pass(&mut self, time: Duration) {
        let claims = self.given.iter().map(|(claim, _)| claim);
        self.subject.pass(time, claims).await;
        self.model.now += time;
        let swept = self.subject.sweep().await;
        let mut ended: Vec<_> = swept.ended.iter().map(|record| record.id).collect();
        ended.sort();
        let (should, next) = self.model.sweep();
        assert_eq!(ended, should, "sweep");
        match self.subject.store.lease() {
            None => assert_eq!(swept.next, next, "sweep"),
            // A claim that lapses is due as well.
            Some(_) => assert!(swept.next <= next || next.is_none(), "sweep"),
        }
    }

    /// Takes a step, and tells its name.
    async fn take(&mut self, number: u32) -> &'static str {
        let mut choices = Choices(number);
        let kind = choices.below(24);
        if self.given.is_empty() || kind < 4 {
            self.create(&mut choices).await;
            return "create";
        }
        if kind == 4 {
            self.create_again(&mut choices).await;
            return "create again";
        }
        let Self {
            subject,
            model,
            given,
            ..
        } = self;
        let store = &subject.store;
        // Mostly one of the last, which are likely to be there still.
        let back = choices.below(8) as usize % given.len();
        let (claim, _) = &given[given.len() - 1 - back];
        let id = claim.id();
        match kind {
            5 => {
                assert_eq!(
                    Answer::from(store.find(id).await.unwrap()),
                    model.find(id),
                    "find"
                );
                "find"
            }
            6 => {
                let key = choices.below(3);
                let is = Answer::from(store.find_key(&named(key)).await.unwrap());
                assert_eq!(is, model.find_key(key), "find key");
                "find key"
            }
            7..=10 => {
                let sighting = sighting(subject, model, id, &mut choices);
                let ending = ending(subject, &mut choices);
                let should = model.end(id, Some(claim.token()), Some(&sighting), &ending);
                let is = settled(store.finish(claim, &sighting, &mut Some(ending)).await);
                assert_eq!(is, should, "finish");
                "finish"
            }
            11 | 12 => {
                let ending = ending(subject, &mut choices);
                let sighting =
                    (choices.below(2) == 0).then(|| sighting(subject, model, id, &mut choices));
                let should = model.end(id, None, sighting.as_ref(), &ending);
                let is = settled(store.complete(id, ending, sighting).await);
                assert_eq!(is, should, "complete");
                "complete"
            }
            13 => {
                let sighting = sighting(subject, model, id, &mut choices);
                // Two that time out in one sweep end at once, and no one can say which is to be let go first.
                let within = if self.tight {
                    1_000_000
                } else {
                    choices.of(&[3, 30])
                };
                let within = Duration::from_secs(within);
                let should = model.detach(id, claim.token(), &sighting, within);
                let is = settled(store.detach(claim, &sighting, within).await);
                assert_eq!(is, should, "detach");
                "detach"
            }
            14 => {
                let should = model.forget(id);
                assert_eq!(
                    settled(store.forget(id, Forget::Ended).await),
                    should,
                    "forget"
                );
                "forget"
            }
            15 => {
                subject.mark_read(id).await;
                model.mark_read(id);
                "mark read"
            }
            16 => {
                if model.set_aside > 0 {
                    store.give_back(model.set_aside);
                    model.set_aside = 0;
                } else {
                    let bytes = u64::from(choices.below(40));
                    let should = model.has_room(bytes);
                    assert_eq!(subject.set_aside(bytes).await, should, "set aside");
                    model.set_aside = if should { bytes } else { 0 };
                }
                "set aside"
            }
            17 => {
                let time = choices.of(&[1, 5, 60, 700]);
                self.pass(Duration::from_secs(time)).await;
                "pass"
            }
            18 | 19 => {
                let sighting = sighting(subject, model, id, &mut choices);
                let should = model.release(id, claim.token(), &sighting);
                let is = settled(store.release(claim, &sighting).await);
                assert_eq!(is, should, "release");
                "release"
            }
            20 => {
                self.claim(&mut choices).await;
                "claim"
            }
            21 => {
                self.lapse().await;
                "lapse"
            }
            _ => {
                self.list(&mut choices).await;
                "list"
            }
        }
    }

    async fn create_again(&mut self, choices: &mut Choices) {
        let back = choices.below(8) as usize % self.given.len();
        let (claim, planned) = &self.given[self.given.len() - 1 - back];
        let (id, planned) = (claim.id(), planned.clone());
        let is = self.keep(&planned, id).await;
        let should = self.model.create(id, &planned);
        // Once nobody knows the id any more, it is a new operation.
        if let Ok(Created::New(claim)) = &is
            && let Some(kept) = self.model.kept.get_mut(&id)
            && kept.token != claim.token()
        {
            kept.token = claim.token();
            let claim = Claim::new(id, claim.attempt(), claim.token());
            self.given.push((claim, planned));
        }
        assert_eq!(created(is, id), should, "create again");
    }

    async fn claim(&mut self, choices: &mut Choices) {
        let at_most = choices.of(&[1, 3, 100]);
        let should = self.model.claim(at_most);
        let at_most = NonZeroU16::new(at_most).unwrap();
        let claimed = self.subject.store.claim(&Queue::default(), at_most).await;
        let claimed = claimed.unwrap();
        let is = claimed.iter().map(|it| (it.claim.id(), it.claim.attempt()));
        let is: Vec<_> = is.collect();
        assert_eq!(is, should, "claim");
        for Claimed { claim, .. } in claimed {
            self.model.kept.get_mut(&claim.id()).unwrap().token = claim.token();
            let mut given = self.given.iter();
            let (_, planned) = given.find(|(known, _)| known.id() == claim.id()).unwrap();
            self.given.push((claim, planned.clone()));
        }
    }

    /// Lets all claims lapse, where they do.
    async fn lapse(&mut self) {
        // Those that lapse together end at once, and no one can say which is to be let go first.
        let Some(lease) = self.subject.store.lease().filter(|_| !self.tight) else {
            return;
        };
        self.subject.sweep().await;
        let time = lease + MOMENT;
        self.subject.clock.advance(time);
        self.model.now += time;
        let (mut should, _) = self.model.sweep();
        should.extend(self.model.lapse());
        // What is kept for no time goes at once.
        self.model.sweep();
        let swept = self.subject.sweep().await;
        let mut ended: Vec<_> = swept.ended.iter().map(|record| record.id).collect();
        ended.sort();
        should.sort();
        assert_eq!(ended, should, "lapse");
        for (id, kept) in &mut self.model.kept {
            // How many changes a lapse is made of is the store's affair.
            if let Lookup::Found(record) = self.subject.find(*id).await {
                assert!(record.revision.0 >= kept.revision, "lapse");
                kept.revision = record.revision.0;
            }
        }
    }

    async fn create(&mut self, choices: &mut Choices) {
        let owners = [None, Some("alice"), Some("bob")];
        let planned = Planned {
            owner: choices.of(&owners).map(Owner::new),
            key: choices.of(&[None, None, Some(0), Some(1), Some(2)]),
            keep_for: Duration::from_secs(choices.of(&[0, 2, 40])),
            // A request that finds no room is another case's affair.
            attempts: choices
                .of(&[None, Some(1), Some(2)])
                .filter(|_| !self.tight),
            queued: false,
        };
        let planned = Planned {
            queued: planned.attempts.is_some() && choices.below(2) == 0,
            ..planned
        };
        let id = OperationId::random();
        let is = self.keep(&planned, id).await;
        let should = self.model.create(id, &planned);
        if let Ok(Created::Queued) = &is {
            // One that was never given, so that the operation is met with.
            self.given
                .push((Claim::new(id, 1, u64::MAX), planned.clone()));
        }
        if let Ok(Created::New(claim)) = &is {
            let claim = Claim::new(claim.id(), claim.attempt(), claim.token());
            if let Some(kept) = self.model.kept.get_mut(&id) {
                kept.token = claim.token();
            }
            self.given.push((claim, planned));
        }
        assert_eq!(created(is, id), should, "create");
    }

    async fn list(&self, choices: &mut Choices) {
        let owner = choices
            .of(&[None, Some("alice"), Some("bob")])
            .map(Owner::new);
        let states = choices.of(&[
            None,
            Some(["accepted", "running"]),
            Some(["succeeded", "failed"]),
        ]);
        let states = states.map(|names| {
            names.iter().fold(StateSet::default(), |set, name| {
                set.with_name(name).unwrap()
            })
        });
        let limit = NonZeroU16::new(choices.of(&[1, 3, 100])).unwrap();
        let mut query = ListQuery {
            owner,
            states,
            limit,
            ..ListQuery::all()
        };
        let mut listed = Vec::new();
        loop {
            let page = self.subject.store.list(&query).await.unwrap();
            listed.extend(page.records.iter().map(|record| record.id));
            query.after = page.next;
            if page.next.is_none() {
                break;
            }
        }
        assert_eq!(listed, self.model.list(&query), "list");
    }
}

fn created(answer: Result<Created, StoreError>, id: OperationId) -> Answer {
    match answer {
        Ok(Created::New(claim)) => {
            assert_eq!(claim.id(), id);
            Answer::New
        }
        Ok(Created::Queued) => Answer::Queued,
        Ok(Created::Existing(record)) => Answer::Existing(brief(&record)),
        Ok(Created::Gone) => Answer::Gone(None),
        Err(error) => failed(&error),
    }
}

/// What may have been seen of an operation: that it started, nothing, or nothing new.
fn sighting(subject: &Subject, model: &Model, id: OperationId, choices: &mut Choices) -> Sighting {
    let next = model.kept.get(&id).map_or(1, |kept| kept.revision + 1);
    let started = subject.seen(next);
    match choices.below(4) {
        0 => Sighting {
            started: None,
            ..started
        },
        1 => Sighting {
            revision: Revision(1),
            ..started
        },
        _ => started,
    }
}

fn ending(subject: &Subject, choices: &mut Choices) -> Ending {
    let stops = [
        Stop::Cancelled,
        Stop::Panicked,
        Stop::NotStarted,
        Stop::Interrupted,
        Stop::Lost,
    ];
    match choices.below(4) {
        0 => subject.stopped(choices.of(&stops)),
        1 => Ending::with_response(super::response(7), true, subject.clock.wall()),
        _ => subject.success(choices.below(30) as usize),
    }
}
