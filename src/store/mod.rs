//! Where operations are kept, and the contract that every such place keeps.
//!
//! [`MemoryStore`] is the default. [`Store`] is the contract; the feature `testing` adds `conformance`, the suite
//! of small named cases that tells whether an implementation keeps it.
//!
//! **Stable**: what is added to the trait has a default, or comes with a release that says that it breaks.

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

/// Keeps operations.
///
/// # Contract
///
/// **Atomicity.** Every verb is one atomic step: no reader and no other verb sees half of it. A verb whose condition
/// does not hold changes nothing and says in `Ok` what stands instead, so that nobody reads twice to learn who won.
///
/// **Moves.** The state moves only as [`Phase::after`] allows. Whatever verbs race, an operation ends exactly once. Its
/// [revision](Record::revision) grows with each move, and with the next attempt to where
/// [that begins](crate::record::Revision::next_in).
///
/// **Errors.** `Err` means that the store could not answer. With [`StoreErrorKind::Uncertain`] the step may have been
/// taken or not: it may be repeated with the same id or claim, and repeating a step that was taken is harmless. With
/// every other kind nothing was written.
///
/// An operation that is kept but can't be understood, damaged or written by a later version, is no other's affair: verbs
/// that name it answer [`StoreErrorKind::Corrupt`]; [`claim`](Self::claim), [`renew`](Self::renew), [`list`](Self::list) and
/// [`sweep`](Self::sweep) pass it over.
///
/// **Cancellation.** A future that is dropped before its end may have taken its step or not, but never half of it.
/// None has an effect before it is first polled, except those that are [ready](StoreFuture::ready) from the start.
///
/// **Clocks.** The store decides by one clock of its own when something is due; the timestamps it is given and gives
/// are for showing.
///
/// **Claims.** Whoever runs an operation holds its [`Claim`], one at a time. It is void, and every write that names it is
/// refused (but for a [`detach`](Self::detach) that is repeated), once the operation has ended, was detached, released, or
/// forgotten, or once a [sweep](Self::sweep) has found that it has lapsed. Claims lapse where the store has a
/// [lease](Self::lease), which is renewed by
/// [`renew`](Self::renew) alone. What becomes of an operation whose claim lapses is for [`Record::lapse`] to say.
///
/// **Ends.** Of its own accord a store ends operations in [`sweep`](Self::sweep) alone, which tells of each once, to
/// whoever swept.
///
/// **Requests.** What [`create`](Self::create) is given with the request can be [released](Self::release), and be
/// [claimed](Self::claim) by others. It is kept until the operation has ended.
///
/// **Visibility.** What a verb has written, every later verb through the same store sees.
///
/// # Implementing
///
/// `examples/store.rs` is a store in plain maps behind one lock, which uses nothing that is not public: a place to begin.
///
/// Run `conformance` (feature `testing`) against it. [`Record::observe`], [`Record::release`], [`Record::lapse`] and
/// [`Record::end`] make the lawful moves for stores that hold records as they are: on a copy, which replaces the record if
/// the move was lawful and the claim, where one is named, holds. Stores that write records down need to understand a
/// record's id, revision, phase, attempt and times, the owner, key, face and queue of its submission, and how long it is
/// kept; the rest they take and give back [encoded](crate::record::Submission::encode).
///
/// The suite asks one process that lives. What holds when it dies, when the disk is full, when something stored is damaged
/// and when several share the store, and which failures leave a step [uncertain](StoreErrorKind::Uncertain), is for the
/// author to test. [`mark_read`](Self::mark_read),
/// [`set_aside`](Self::set_aside) and [`usage`](Self::usage) are called where nothing can be waited for: a store elsewhere
/// answers them from memory, and passes on what it was told with a later verb.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Keeps a new operation, its key, its request where one is given, and the right to run it, in one step; idempotent
    /// on the id. The request is given where the submission has a [`Rerun`](crate::record::Rerun), and only there.
    ///
    /// With a key that another operation or tombstone has, nothing is written and that one is told; likewise with an id
    /// whose claim is void, or that is gone. Neither needs room. A key [without
    /// fingerprint](crate::record::KeyUse::fingerprint) is taken over from a tombstone, which then has none.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Full`] when there is no room, and none can be made by letting go of finished operations whose
    /// results have been read, the first to end first. Operations that have not ended, and unread results, are never
    /// let go.
    fn create<'a>(
        &'a self,
        record: &'a Arc<Record>,
        intent: Intent<'a>,
    ) -> StoreFuture<'a, Created>;

    /// Takes operations of a queue that nobody has the right to run: those that were created for the queue, released,
    /// or found lapsed by a [`sweep`](Self::sweep) with attempts left; oldest first.
    ///
    /// It sees to nothing else that is due: claims that have lapsed, and what comes too late to be claimed, are for the
    /// sweep.
    fn claim<'a>(&'a self, queue: &'a Queue, at_most: NonZeroU16) -> StoreFuture<'a, Vec<Claimed>>;

    /// Renews the leases of all claims that this process holds, and takes in what it has seen of their operations, in
    /// one round trip. Answers with those of them that are void: who runs such a one is to stop.
    ///
    /// Never called where there is no [lease](Self::lease).
    fn renew<'a>(&'a self, held: &'a [Held]) -> StoreFuture<'a, Vec<OperationId>> {
        let _ = held;
        StoreFuture::ready(Ok(Vec::new()))
    }

    /// Gives the right to run an operation back, as [`Record::release`] says, for another to claim.
    ///
    /// It [stands](Settled::Stands) when the claim is void, when its attempts are used up, and when the request was not
    /// kept. Who must have claimed it anew is as for a new one: [`Rerun::start_within`](crate::record::Rerun::start_within)
    /// counts from here.
    fn release<'a>(&'a self, claim: &'a Claim, sighting: &'a Sighting) -> StoreFuture<'a, Settled>;

    /// Looks an operation up. One that is due to expire is already [`Lookup::Gone`].
    fn find(&self, id: OperationId) -> StoreFuture<'_, Lookup>;

    /// Looks up the operation that a key belongs to.
    fn find_key<'a>(&'a self, key: &'a UniqueKey) -> StoreFuture<'a, Lookup>;

    /// Operations, newest first.
    fn list<'a>(&'a self, query: &'a ListQuery) -> StoreFuture<'a, Page>;

    /// Ends the operation if it has not ended and `claim` still holds.
    ///
    /// `ending` is there when this is called, and is left there with an error, so that it can be tried again; who keeps
    /// it takes it out.
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

    /// Ends the operation if it has not ended, whoever holds the claim, which is void from then on. A `sighting` is what
    /// the caller knows of it, if it happens to run it.
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

    /// Gives up the claim of an operation that runs, without an end: from then on only [`complete`](Self::complete) ends
    /// it, or [`sweep`](Self::sweep), as timed out, when `within` has passed.
    ///
    /// One that has not started [stands](Settled::Stands). By the claim that was given up so already, it is
    /// [done](Settled::Done) and changes nothing, while the operation has not ended: who is uncertain whether it was done
    /// learns so by doing it again.
    fn detach<'a>(
        &'a self,
        claim: &'a Claim,
        sighting: &'a Sighting,
        within: Duration,
    ) -> StoreFuture<'a, Settled>;

    /// Forgets an operation, and answers with it as it was; a tombstone stays, with its owner and key.
    ///
    /// One that has not ended [stands](Settled::Stands) where `which` is [`Forget::Ended`]; with [`Forget::Any`] it goes
    /// too, and its claim is void. A body among the [blobs](Self::blobs) stays for who reads it: see [`Blobs`].
    fn forget(&self, id: OperationId, which: Forget) -> StoreFuture<'_, Settled>;

    /// Hears that the result, or the problem of an end without one, has been delivered to a client whole. A hint, for
    /// stores that make room by it; it means nothing before the end. It counts at the latest with the next verb that
    /// writes.
    fn mark_read(&self, id: OperationId) {
        let _ = id;
    }

    /// Sets `bytes` aside for a response that is coming in. A hint: stores that bound what they hold refuse with
    /// `false` when there is no room, and count it until [`give_back`](Self::give_back). What has to go for it is gone at
    /// the latest with the next verb that writes.
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
    /// operation names. Costs what is due, never what is stored.
    ///
    /// A process that has stood still asks for none until a lease has passed, since all others may have stood still with
    /// it. What passes between the call and the step is not to count as their silence either.
    fn sweep(&self, at_most: NonZeroU32) -> StoreFuture<'_, Swept>;

    /// What it holds now. Never waits; a store elsewhere answers from what it counts.
    fn usage(&self) -> StoreUsage;

    /// Hints of operations that changed, by whomever, and of some that can be claimed; they may come late, twice, or for
    /// nothing.
    fn changes(&self) -> Box<dyn Changes>;

    /// How long a claim holds that is not renewed. Asked once. `None`: for ever, as in a store that ends with the process.
    fn lease(&self) -> Option<Duration> {
        None
    }

    /// Whether [`create`](Self::create) is to be given the requests of all operations, not only of those that are
    /// [queued](Intent::Queue). Asked once; `true` for stores that outlive the process.
    fn keeps_requests(&self) -> bool {
        false
    }

    /// Where it keeps long bodies, if elsewhere.
    fn blobs(&self) -> Option<&dyn Blobs> {
        None
    }
}

/// Keeps long bodies, in chunks.
///
/// # Contract
///
/// A blob is written by one process, under an id that nobody else has, its chunks one after the other and counted from 0;
/// then [`create`](Store::create), [`finish`](Store::finish) or [`complete`](Store::complete) names it. So nothing is
/// fenced here, and the blobs may live in another engine than the records. To append a chunk again that was appended
/// before is harmless. Once named, a blob is on disk where the record is.
///
/// A blob that no operation names (any more) is removed by whoever knows that it is of no use, or else by
/// [`sweep`](Store::sweep), an hour after the later of the last time a chunk was appended, be it again, and the end of the
/// operation that named it: it may be being written, or read. Who can't write it on or name it for long appends its first
/// chunk again. One that no operation names any more goes earlier where its room is needed.
pub trait Blobs: fmt::Debug + Send + Sync {
    /// Bodies up to so many bytes are kept in their records.
    fn inline_limit(&self) -> usize;

    /// Keeps a chunk, of any length but none.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Full`] when there is no room.
    fn append(&self, blob: BlobId, index: u32, chunk: Bytes) -> StoreFuture<'_, ()>;

    /// Reads a chunk as it was appended; `None` where there is none.
    fn read(&self, blob: BlobId, index: u32) -> StoreFuture<'_, Option<Bytes>>;

    /// Removes all of it; what is not there is removed already.
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

/// What a hint says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// This operation may have changed.
    Operation(OperationId),
    /// There may be something to [claim](Store::claim).
    Claimable,
    /// Hints may have been lost; whatever somebody waits for is to be read again.
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
