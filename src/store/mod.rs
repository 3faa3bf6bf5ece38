//! Where operations are kept, and the contract that every store keeps.
//!
//! [`MemoryStore`] is the default. [`Store`] is the contract; the feature `testing` adds `conformance`, the suite
//! of small named cases that tells whether an implementation keeps it.
//!
//! **Stable**: additions to the trait have defaults; anything else comes in a release that is marked as breaking.

mod clock;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod future;
mod hints;
mod memory;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(all(feature = "sqlite", any(test, feature = "testing")))]
pub use self::sqlite::SqliteWork;
#[cfg(feature = "sqlite")]
pub use self::sqlite::{SqliteError, SqliteErrorKind, SqliteOptions, SqliteStore};
pub use self::{
    clock::Clock,
    future::StoreFuture,
    memory::{MemoryLimits, MemoryStore},
};

use crate::record::{
    BlobId, Ending, Malformed, OperationId, Outcome, Owner, Phase, Queue, Record, Sighting,
    StoredRequest, Timestamp, UniqueKey,
};
use bytes::Bytes;
use std::{
    error::Error,
    fmt,
    num::{NonZeroU16, NonZeroU32},
    sync::Arc,
    time::Duration,
};

/// Keeps operations. Its methods are called verbs here.
///
/// # Contract
///
/// **Atomicity.** Every verb is one atomic step: no reader and no other verb sees half of it. A verb whose condition
/// does not hold changes nothing, and returns in `Ok` what stands instead, so that nobody has to read again to learn who won.
///
/// **Moves.** The state moves only as [`Phase::after`] allows. Whatever verbs race, an operation ends exactly once. Its
/// [revision](Record::revision) grows with each move, and with the next attempt to where
/// [that begins](crate::record::Revision::next_in).
///
/// **Errors.** `Err` means that the store could not answer. With [`StoreErrorKind::Uncertain`] the step may have been
/// taken or not: it may be repeated with the same id or claim, and repeating a step that was taken is harmless. With
/// every other kind nothing was written.
///
/// An operation that is kept but can't be read, because it is damaged or was written by a later version, affects no other:
/// verbs that name it answer [`StoreErrorKind::Corrupt`]; [`claim`](Self::claim), [`renew`](Self::renew),
/// [`list`](Self::list) and [`sweep`](Self::sweep) pass it over.
///
/// **Cancellation.** A future that is dropped before its end may have taken its step or not, but never half of it.
/// None has an effect before it is first polled, except those that are [ready](StoreFuture::ready) from the start.
///
/// **Clocks.** The store decides by one clock of its own when something is due; timestamps, those that it is given and those
/// that it sets, are only for showing.
///
/// **Claims.** Whoever runs an operation holds its [`Claim`]; there is one at a time. A claim is void once the operation has
/// ended, was detached, released or forgotten, or once a [sweep](Self::sweep) has found that the claim has lapsed. A write
/// that names a void claim is refused, except for a [`detach`](Self::detach) that is repeated. Claims lapse if the store has
/// a [lease](Self::lease), which only [`renew`](Self::renew) renews. [`Record::lapse`] says what becomes of an operation
/// whose claim has lapsed.
///
/// **Ends.** A store ends operations of its own accord only in [`sweep`](Self::sweep), which tells whoever called it of each
/// one, once.
///
/// **Requests.** An operation that is [created](Self::create) with its request can be [released](Self::release), and
/// [claimed](Self::claim) by others. The request is kept until the operation has ended.
///
/// **Visibility.** Every later verb through the same store sees what a verb has written.
///
/// # Implementing
///
/// `examples/store.rs` is a store in plain maps behind one lock, made of public items only: begin there.
///
/// Run `conformance` (feature `testing`) against your store. [`Record::observe`], [`Record::release`], [`Record::lapse`] and
/// [`Record::end`] make the lawful moves for stores that hold records as they are. Call them on a copy, and replace the
/// record by that if the move was lawful and the claim, where one is named, holds. Stores that write records down need to
/// understand a record's id, revision, phase, attempt and times, the owner, key, face and queue of its submission, and how
/// long it is kept; the rest they store and give back [encoded](crate::record::Submission::encode).
///
/// The suite tests one process, which does not die. Test yourself what holds when it dies, when the disk is full, when
/// something stored is damaged and when several processes share the store, and which failures leave a step
/// [uncertain](StoreErrorKind::Uncertain). [`mark_read`](Self::mark_read), [`set_aside`](Self::set_aside) and
/// [`usage`](Self::usage) are called where nothing can be waited for: a store elsewhere answers them from memory, and passes
/// on what it was told with a later verb.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Keeps a new operation, its key, its request where one is given, and the right to run it, in one step; idempotent
    /// on the id. The request is given where the submission has a [`Rerun`](crate::record::Rerun), and only there.
    ///
    /// If another operation or tombstone has the key, nothing is written and that one is returned; likewise if an operation
    /// with this id is here and its claim is void, or is gone. Neither needs room. A key [without
    /// fingerprint](crate::record::KeyUse::fingerprint) is taken over from a tombstone, which then has none.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Full`] when there is no room, and none can be made by letting go of operations that have ended and
    /// whose results have been read, the first to end first. Operations that have not ended, and unread results, are never
    /// let go to make room.
    fn create<'a>(
        &'a self,
        record: &'a Arc<Record>,
        intent: Intent<'a>,
    ) -> StoreFuture<'a, Created>;

    /// Takes operations of a queue that nobody has the right to run: those that were created for the queue, released,
    /// or found lapsed by a [`sweep`](Self::sweep) with attempts left; oldest first.
    ///
    /// Nothing else that is due is done here: claims that have lapsed, and operations that were not claimed in time, are left
    /// to the sweep.
    fn claim<'a>(&'a self, queue: &'a Queue, at_most: NonZeroU16) -> StoreFuture<'a, Vec<Claimed>>;

    /// Renews the leases of claims that this process holds, and takes in what it has seen of their operations, in one round
    /// trip. Returns those of them that are void: whoever runs such an operation is to stop.
    ///
    /// Never called where there is no [lease](Self::lease).
    fn renew<'a>(&'a self, held: &'a [Held]) -> StoreFuture<'a, Vec<OperationId>> {
        let _ = held;
        StoreFuture::ready(Ok(Vec::new()))
    }

    /// Gives the right to run an operation back, as [`Record::release`] says, for another to claim.
    ///
    /// It [stands](Settled::Stands) when the claim is void, when its attempts are used up, and when the request was not
    /// kept. [`Rerun::start_within`](crate::record::Rerun::start_within), the time within which it must be claimed, begins
    /// anew.
    fn release<'a>(&'a self, claim: &'a Claim, sighting: &'a Sighting) -> StoreFuture<'a, Settled>;

    /// Looks an operation up. One that is due to expire is already [`Lookup::Gone`].
    fn find(&self, id: OperationId) -> StoreFuture<'_, Lookup>;

    /// Looks up the operation that a key belongs to.
    fn find_key<'a>(&'a self, key: &'a UniqueKey) -> StoreFuture<'a, Lookup>;

    /// Operations, newest first.
    fn list<'a>(&'a self, query: &'a ListQuery) -> StoreFuture<'a, Page>;

    /// Ends the operation if it has not ended and `claim` still holds.
    ///
    /// `ending` is `Some` when this is called. A store that keeps it takes it out; with an error it is left there, so that the
    /// caller can try again.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Full`] when there is no room for the response.
    fn finish<'a>(
        &'a self,
        claim: &'a Claim,
        sighting: &'a Sighting,
        ending: &'a mut Option<Ending>,
    ) -> StoreFuture<'a, Settled>;

    /// Ends the operation if it has not ended, whoever holds the claim, which is void from then on. `sighting` is what the
    /// caller knows of the operation, if it happens to run it.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Full`] when there is no room for the response.
    fn complete(
        &self,
        id: OperationId,
        ending: Ending,
        sighting: Option<Sighting>,
    ) -> StoreFuture<'_, Settled>;

    /// Gives up the claim of a running operation without ending it: from then on only [`complete`](Self::complete) ends
    /// it, or [`sweep`](Self::sweep), as timed out, when `within` has passed.
    ///
    /// An operation that has not started [stands](Settled::Stands). Repeated with the claim that was given up, this is
    /// [done](Settled::Done) and changes nothing as long as the operation has not ended: so a caller who is uncertain whether
    /// it was done repeats it.
    fn detach<'a>(
        &'a self,
        claim: &'a Claim,
        sighting: &'a Sighting,
        within: Duration,
    ) -> StoreFuture<'a, Settled>;

    /// Forgets an operation, and returns it as it was; a tombstone stays, with its owner and key.
    ///
    /// One that has not ended [stands](Settled::Stands) where `which` is [`Forget::Ended`]; with [`Forget::Any`] it is
    /// forgotten too, and its claim is void. A body among the [blobs](Self::blobs) stays for those who are reading it: see
    /// [`Blobs`].
    fn forget(&self, id: OperationId, which: Forget) -> StoreFuture<'_, Settled>;

    /// Notes that the result, or the problem of an end without one, has been delivered to a client whole. A hint, for stores
    /// that make room by letting go of what was read; before the end it means nothing. It takes effect with the next verb that
    /// writes, at the latest.
    fn mark_read(&self, id: OperationId) {
        let _ = id;
    }

    /// Sets `bytes` aside for a response that is coming in. A hint: stores that bound what they hold return `false` when there
    /// is no room, and otherwise count the bytes until [`give_back`](Self::give_back). What has to be let go for them is gone
    /// with the next verb that writes, at the latest.
    fn set_aside(&self, bytes: u64) -> bool {
        let _ = bytes;
        true
    }

    /// Gives back what was [set aside](Self::set_aside).
    fn give_back(&self, bytes: u64) {
        let _ = bytes;
    }

    /// Does what is due, at most `at_most` things of it: lets go of what has expired, ends detached operations whose
    /// time is up and those that nobody has claimed in time, sees to lapsed claims, drops old tombstones and blobs that no
    /// operation names. Its cost depends on what is due, never on what is stored.
    ///
    /// A process that has stood still does not call this until a lease has passed, since the others may have stood still with
    /// it. In the same way, the time between the call and the step must not count as their silence.
    fn sweep(&self, at_most: NonZeroU32) -> StoreFuture<'_, Swept>;

    /// What it holds now. Never waits; a store elsewhere answers from what it counts.
    fn usage(&self) -> StoreUsage;

    /// Hints at operations that have changed, whoever changed them, and at some that can be claimed. Hints may come late,
    /// twice, or for nothing.
    fn changes(&self) -> Box<dyn Changes>;

    /// How long a claim holds that is not renewed. Asked once. `None` means for ever, as in a store that ends with the process.
    fn lease(&self) -> Option<Duration> {
        None
    }

    /// Whether [`create`](Self::create) is to be given the requests of all operations, not only of those that are
    /// [queued](Intent::Queue). Asked once; `true` for stores that outlive the process.
    fn keeps_requests(&self) -> bool {
        false
    }

    /// Where it keeps long bodies, if not in its records.
    fn blobs(&self) -> Option<&dyn Blobs> {
        None
    }
}

/// Keeps long bodies, in chunks.
///
/// # Contract
///
/// A blob is written by one process, under an id that nobody else has: its chunks one after the other, counted from 0. Then
/// [`create`](Store::create), [`finish`](Store::finish) or [`complete`](Store::complete) names it. So nothing needs fencing
/// here, and the blobs may live in another engine than the records. Appending a chunk a second time is harmless. Once it is
/// named, a blob is as durable as the record that names it.
///
/// A blob that no operation names, or names any more, is removed by whoever knows that it is of no use. Otherwise
/// [`sweep`](Store::sweep) removes it, an hour after a chunk was last appended (be it a second time) or after the operation
/// that named it let go of it, whichever is later: until then it may be being written, or read. A writer that can't go on for long
/// appends the first chunk again. A blob that no operation names any more goes earlier if its room is needed.
pub trait Blobs: fmt::Debug + Send + Sync {
    /// Bytes of a body up to which it is kept in its record.
    fn inline_limit(&self) -> usize;

    /// Keeps a chunk, which must not be empty.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Full`] when there is no room.
    fn append(&self, blob: BlobId, index: u32, chunk: Bytes) -> StoreFuture<'_, ()>;

    /// Reads a chunk as it was appended; `None` where there is none.
    fn read(&self, blob: BlobId, index: u32) -> StoreFuture<'_, Option<Bytes>>;

    /// Removes a blob with all its chunks. One that is not there counts as removed.
    fn remove(&self, blob: BlobId) -> StoreFuture<'_, ()>;
}

/// Who is to run what [`Store::create`] keeps.
#[derive(Clone, Copy, Debug)]
pub enum Intent<'a> {
    /// The caller, who is given the claim.
    Run(Option<&'a StoredRequest>),
    /// Whoever [claims](Store::claim) it.
    Queue(&'a StoredRequest),
}

impl<'a> Intent<'a> {
    /// The request, if it is to be kept.
    #[must_use]
    pub const fn request(self) -> Option<&'a StoredRequest> {
        match self {
            Self::Run(request) => request,
            Self::Queue(request) => Some(request),
        }
    }
}

/// Which operations [`Store::forget`] forgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forget {
    /// One that has ended.
    Ended,
    /// One that is pending too: nobody will learn how it ends.
    Any,
}

/// What [`Store::claim`] gives.
#[derive(Debug)]
pub struct Claimed {
    /// The right to run it.
    pub claim: Claim,
    /// The operation.
    pub record: Arc<Record>,
    /// What the inner service is to be called with.
    pub request: StoredRequest,
}

/// A claim that is to be renewed.
#[derive(Clone, Debug)]
pub struct Held {
    /// The operation.
    pub id: OperationId,
    /// The claim's [token](Claim::token).
    pub token: u64,
    /// What the store may not know of it yet.
    pub sighting: Option<Sighting>,
}

/// Hints of changes. See [`Store::changes`].
pub trait Changes: fmt::Debug + Send {
    /// The next hint.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no hint.
    fn next(&mut self) -> std::pin::Pin<Box<dyn Future<Output = Change> + Send + '_>>;
}

/// What a hint is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// This operation may have changed.
    Operation(OperationId),
    /// There may be something to [claim](Store::claim).
    Claimable,
    /// Hints may have been lost: whoever waits for something must read it again.
    Resync,
}

/// The right of one process to run one operation. Fences every write of its holder.
#[derive(Debug, PartialEq, Eq)]
pub struct Claim {
    id: OperationId,
    attempt: u16,
    token: u64,
}

impl Claim {
    /// Made by stores; `token` differs for every claim that was ever given for the operation.
    #[must_use]
    pub const fn new(id: OperationId, attempt: u16, token: u64) -> Self {
        Self { id, attempt, token }
    }

    /// The operation.
    #[must_use]
    pub const fn id(&self) -> OperationId {
        self.id
    }

    /// Which attempt at running the operation it is for.
    #[must_use]
    pub const fn attempt(&self) -> u16 {
        self.attempt
    }

    /// Differs for every claim that was ever given for the operation: by it a store refuses the writes of one that is void.
    #[must_use]
    pub const fn token(&self) -> u64 {
        self.token
    }
}

/// What [`Store::create`] did.
#[derive(Debug)]
pub enum Created {
    /// The operation is kept, and the caller may run it.
    New(Claim),
    /// The operation is kept for its queue, or has been before.
    Queued,
    /// The key belongs to this one, or it is the operation itself, and its claim is void.
    Existing(Arc<Record>),
    /// The key belongs to one that is gone, or the operation itself is.
    Gone,
}

/// What is known under a name.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// It is here.
    Found(Arc<Record>),
    /// It was here: expired, forgotten, or let go to make room.
    Gone {
        /// Whose it was: nobody else may learn that it existed.
        owner: Option<Owner>,
    },
    /// It never was, or that is forgotten too.
    Unknown,
}

/// What a verb found.
#[derive(Clone, Debug)]
pub enum Settled {
    /// The verb did its work; the operation as it is now, or was when it was forgotten.
    Done(Arc<Record>),
    /// Something else was there first, and stands.
    Stands(Arc<Record>),
    /// There is no such operation (any more).
    Unknown,
}

impl Settled {
    /// What is settled when an earlier try may have done it already, with this outcome at this time.
    pub(crate) fn after_uncertain(self, ours: (Outcome, Timestamp)) -> Self {
        match self {
            Self::Stands(record)
                if record.ending().map(|ending| (ending.outcome, ending.at)) == Some(ours) =>
            {
                Self::Done(record)
            }
            other => other,
        }
    }
}

/// Which operations to list.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListQuery {
    /// Only this owner's. Without one: everybody's.
    pub owner: Option<Owner>,
    /// Only those that stand so. Without any: all.
    pub states: Option<StateSet>,
    /// Only those that were accepted by this face.
    pub face: Option<Arc<str>>,
    /// Only those that were created at this time or later.
    pub since: Option<Timestamp>,
    /// Only those that were created before this time.
    pub until: Option<Timestamp>,
    /// Only those after this place, as the page before told it.
    pub after: Option<Cursor>,
    /// At most as many, from 1 to 1,000.
    pub limit: NonZeroU16,
}

impl ListQuery {
    /// The newest twenty of everybody's.
    #[must_use]
    pub fn all() -> Self {
        Self {
            owner: None,
            states: None,
            face: None,
            since: None,
            until: None,
            after: None,
            limit: const { NonZeroU16::new(20).unwrap() },
        }
    }

    /// The newest twenty of `owner`'s.
    #[must_use]
    pub fn of(owner: Owner) -> Self {
        Self {
            owner: Some(owner),
            ..Self::all()
        }
    }

    /// Whether a record is wanted.
    #[must_use]
    pub fn wants(&self, record: &Record) -> bool {
        let Record {
            created,
            submission,
            ..
        } = record;
        self.states
            .is_none_or(|states| states.contains(record.phase()))
            && (self.owner.as_ref()).is_none_or(|owner| submission.owner.as_ref() == Some(owner))
            && (self.face.as_ref()).is_none_or(|face| submission.face == *face)
            && self.since.is_none_or(|since| *created >= since)
            && self.until.is_none_or(|until| *created < until)
    }
}

/// A set of states: accepted, running, succeeded, failed, cancelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateSet(u8);

impl StateSet {
    /// Adds the state with this name, as status documents spell it; `None` if there is none.
    #[must_use]
    pub fn with_name(self, name: &str) -> Option<Self> {
        let bit = match name {
            "accepted" => 0,
            "running" => 1,
            "succeeded" => 2,
            "failed" => 3,
            "cancelled" => 4,
            _ => return None,
        };
        Some(Self(self.0 | 1 << bit))
    }

    /// Adds both states that are not an end where one of them is in it.
    pub(crate) const fn with_pending_if_any(self) -> Self {
        const PENDING: u8 = 0b11;
        match self.0 & PENDING {
            0 => self,
            _ => Self(self.0 | PENDING),
        }
    }

    /// Whether a state is in both.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether the state is in it.
    #[must_use]
    pub fn contains(self, phase: Phase) -> bool {
        Self::default()
            .with_name(phase.as_str())
            .is_some_and(|one| self.intersects(one))
    }
}

/// A place in a list. Opaque; means something only to the store that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(pub u64);

/// Part of a list.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Newest first.
    pub records: Vec<Arc<Record>>,
    /// Where to go on, when there may be more: for [`ListQuery::after`].
    pub next: Option<Cursor>,
}

/// What [`Store::sweep`] did.
#[derive(Clone, Debug, Default)]
pub struct Swept {
    /// Things done. As many as were allowed: there may be more that is due.
    pub done: u32,
    /// Time until the next thing is due.
    pub next: Option<Duration>,
    /// Operations that it ended.
    pub ended: Vec<Arc<Record>>,
}

/// What a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreUsage {
    /// Operations, pending and ended.
    pub operations: u64,
    /// Bytes of responses, those coming in included, and of requests that are kept to be run.
    pub bytes: u64,
    /// Ended operations that were not [marked as read](Store::mark_read), and so are not let go to make room.
    pub unread: u64,
    /// Tombstones.
    pub tombstones: u64,
}

/// The store could not answer.
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// What kind of [`StoreError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// There is no room.
    Full,
    /// It can't be reached.
    Unavailable,
    /// It may have done it or not. See [`Store`], "Errors".
    Uncertain,
    /// What it holds can't be understood.
    Corrupt,
}

impl StoreError {
    /// An error with no cause of its own.
    #[must_use]
    pub const fn new(kind: StoreErrorKind) -> Self {
        Self { kind, source: None }
    }

    /// An error with its cause.
    #[must_use]
    pub fn caused_by(
        kind: StoreErrorKind,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self {
            kind,
            source: Some(source.into()),
        }
    }

    /// What to branch on.
    #[must_use]
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

impl From<Malformed> for StoreError {
    fn from(malformed: Malformed) -> Self {
        Self::caused_by(StoreErrorKind::Corrupt, malformed)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            StoreErrorKind::Full => "the store is full",
            StoreErrorKind::Unavailable => "the store is unavailable",
            StoreErrorKind::Uncertain => "the store may have written or not",
            StoreErrorKind::Corrupt => "the store holds something that can't be understood",
        })
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn Error + 'static))
    }
}

impl<S: Store + ?Sized> Store for Arc<S> {
    fn create<'a>(
        &'a self,
        record: &'a Arc<Record>,
        intent: Intent<'a>,
    ) -> StoreFuture<'a, Created> {
        (**self).create(record, intent)
    }
    fn claim<'a>(&'a self, queue: &'a Queue, at_most: NonZeroU16) -> StoreFuture<'a, Vec<Claimed>> {
        (**self).claim(queue, at_most)
    }
    fn renew<'a>(&'a self, held: &'a [Held]) -> StoreFuture<'a, Vec<OperationId>> {
        (**self).renew(held)
    }
    fn release<'a>(&'a self, claim: &'a Claim, sighting: &'a Sighting) -> StoreFuture<'a, Settled> {
        (**self).release(claim, sighting)
    }
    fn find(&self, id: OperationId) -> StoreFuture<'_, Lookup> {
        (**self).find(id)
    }
    fn find_key<'a>(&'a self, key: &'a UniqueKey) -> StoreFuture<'a, Lookup> {
        (**self).find_key(key)
    }
    fn list<'a>(&'a self, query: &'a ListQuery) -> StoreFuture<'a, Page> {
        (**self).list(query)
    }
    fn finish<'a>(
        &'a self,
        claim: &'a Claim,
        sighting: &'a Sighting,
        ending: &'a mut Option<Ending>,
    ) -> StoreFuture<'a, Settled> {
        (**self).finish(claim, sighting, ending)
    }
    fn complete(
        &self,
        id: OperationId,
        ending: Ending,
        sighting: Option<Sighting>,
    ) -> StoreFuture<'_, Settled> {
        (**self).complete(id, ending, sighting)
    }
    fn detach<'a>(
        &'a self,
        claim: &'a Claim,
        sighting: &'a Sighting,
        within: Duration,
    ) -> StoreFuture<'a, Settled> {
        (**self).detach(claim, sighting, within)
    }
    fn forget(&self, id: OperationId, which: Forget) -> StoreFuture<'_, Settled> {
        (**self).forget(id, which)
    }
    fn mark_read(&self, id: OperationId) {
        (**self).mark_read(id);
    }
    fn set_aside(&self, bytes: u64) -> bool {
        (**self).set_aside(bytes)
    }
    fn give_back(&self, bytes: u64) {
        (**self).give_back(bytes);
    }
    fn sweep(&self, at_most: NonZeroU32) -> StoreFuture<'_, Swept> {
        (**self).sweep(at_most)
    }
    fn usage(&self) -> StoreUsage {
        (**self).usage()
    }
    fn changes(&self) -> Box<dyn Changes> {
        (**self).changes()
    }
    fn lease(&self) -> Option<Duration> {
        (**self).lease()
    }
    fn keeps_requests(&self) -> bool {
        (**self).keeps_requests()
    }
    fn blobs(&self) -> Option<&dyn Blobs> {
        (**self).blobs()
    }
}

const _: fn(&dyn Store, &dyn Blobs) = |_, _| {};
