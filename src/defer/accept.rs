//! The way of a deferred request, from its head to its 202.

use super::{
    MakeBody, Options, ReplyBody, ResponseBody, ResponseFuture,
    body::replay,
    compact::compact,
    future::vary_by_prefer,
    layer::Checked,
    rebuild::Buffered,
    recent::Recent,
    render::{Asked, render, without_body},
    service::Shared,
    upload,
    upload::{Extent, Upload},
};
use crate::{
    dialect::{Answer, Ask, Head, OptIn},
    operations::{Engine, Face, Live, Place},
    problem::{Problem, ProblemKind},
    record::{
        Content, Fingerprint, KeyUse, OperationId, Outcome, Owner, Record, Rerun, Sighting, Stop,
        StoredRequest, Submission, UniqueKey,
    },
    runner::{self, Hold, Kept, Reply, Task, Work},
    store::{Forget, Lookup, Settled, Store, StoreError, StoreErrorKind},
    trace,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version, header, request, response};
use http_body::Body;
use std::{
    borrow::Cow,
    error::Error,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};
use tokio::sync::oneshot;
use tower::util::ServiceExt;
use tower_service::Service;

type BoxError = Box<dyn Error + Send + Sync>;

/// Accepts a request: reads it, keeps it, spawns its task, and answers.
pub(super) fn accept<S, M, B, R>(
    inner: S,
    layer: Arc<Shared<M>>,
    request: Request<B>,
) -> impl Future<Output = Result<Response<ResponseBody<R>>, S::Error>>
where
    S: Service<Request<B>, Response = Response<R>> + Send + 'static,
    S::Error: Into<BoxError> + Send + 'static,
    S::Future: Send + 'static,
    M: MakeBody<B>,
    B: Body<Data = Bytes> + Send + 'static,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    let (head, body) = request.into_parts();
    let body = Upload::new(body, head.version);
    async move {
        let desk = Desk::new(&layer, &head);
        let mut body = pin!(body);
        // In a scope of its own, or the answer would take its room in the future's next state as well.
        let later = {
            let mut read = Extent::None;
            let begun = match desk.receive(&head, body.as_mut(), &mut read).await {
                Ok(received) => desk.begin(inner, &layer.make, head, received),
                Err(refusal) => Begun::Refused(Box::new(Refused {
                    response: desk.refusal(refusal, Some(Head::from(&head))),
                    read,
                    version: head.version,
                    headers: head.headers,
                })),
            };
            match begun {
                Begun::Answered(response) => return Ok(response),
                Begun::Waiting(waiting) => Ok(waiting),
                Begun::Refused(refused) => Err(refused),
            }
        };
        match later {
            Ok(waiting) => Box::pin(desk.answer(waiting)).await,
            Err(mut refused) => {
                Box::pin(refused.discard(desk.engine, desk.options.request_body, body)).await;
                Ok(refused.response)
            }
        }
    }
}

/// Answers HEAD as GET is where requests name their operations, if there is one of that name, and changes nothing by it
/// (RFC 9110, section 9.3.2). Others go to the inner service.
pub(super) async fn look<S, M, B, R>(
    inner: S,
    layer: Arc<Shared<M>>,
    request: Request<B>,
    vary: bool,
) -> Result<Response<ResponseBody<R>>, S::Error>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    let (head, body) = request.into_parts();
    let desk = Desk::new(&layer, &head);
    if let Some(response) = desk.look(&head).await {
        return Ok(response.map(ResponseBody::own));
    }
    let passed = inner.oneshot(Request::from_parts(head, body));
    ResponseFuture::passed(passed, vary).await
}

/// What has become of a request once its task is spawned.
enum Begun<R, E> {
    Answered(Response<ResponseBody<R>>),
    Waiting(Box<Waiting<E>>),
    Refused(Box<Refused<R>>),
}

/// An answer that must not be missed by a client that is still sending.
struct Refused<R> {
    response: Response<ResponseBody<R>>,
    read: Extent,
    version: Version,
    headers: HeaderMap,
}

impl<R> Refused<R> {
    async fn discard<B>(&mut self, engine: &Arc<Engine>, limit: u64, body: Pin<&mut Upload<B>>)
    where
        B: Body<Data = Bytes> + Send + 'static,
    {
        let (version, headers, response) = (self.version, &self.headers, &mut self.response);
        upload::discard(engine, limit, self.read, version, headers, body, response).await;
    }
}

/// A client that is to be answered later.
struct Waiting<E> {
    record: Arc<Record>,
    /// Where the store takes its time.
    kept: Option<oneshot::Receiver<Kept>>,
    /// Where the client does.
    reply: Option<oneshot::Receiver<Reply<E>>>,
}

/// Where a request is accepted.
struct Desk<'a> {
    engine: &'a Arc<Engine>,
    face: &'a Arc<Face>,
    options: &'a Options,
    recent: &'a Recent,
    opt_in: OptIn,
    /// How long the answer may be held back.
    hold: Duration,
    version: Version,
    /// What stands before the mount in the URLs of the answer.
    origin: Box<str>,
}

/// A request that may become an operation.
struct Received {
    body: Buffered,
    place: Place,
    owner: Option<Owner>,
    key: Option<Box<KeyUse>>,
}

/// Why it may not.
enum Refusal {
    Problem(Problem),
    /// The layer's own check says so.
    Checked(Box<Response<Bytes>>),
    /// It is a repeat of this one.
    Repeat(Arc<Record>),
    /// It is a poll of this one.
    Poll(Arc<Record>),
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl<'a> Desk<'a> {
    fn new<M>(layer: &'a Shared<M>, head: &request::Parts) -> Self {
        let (engine, face) = (&layer.operations.engine, &layer.operations.face);
        let asked = face.dialect.opt_in(head.into());
        let at_most = engine.limits.wait;
        // A client that asks for an answer before the work is done, and for no wait, gets none.
        let default = if asked.asked {
            Duration::ZERO
        } else {
            layer.options.wait
        };
        let hold = match layer.options.accept_only {
            true => Duration::ZERO,
            false => asked.wait.unwrap_or(default).min(at_most),
        };
        let opt_in = OptIn {
            asked: asked.asked,
            wait: asked
                .wait
                .map(|_| hold)
                .filter(|_| !layer.options.accept_only),
            one_way: asked.one_way,
            note: asked.note,
        };
        Self {
            origin: face.origin(head.into()).into(),
            engine,
            face,
            options: &layer.options,
            recent: &layer.recent,
            opt_in,
            hold,
            version: head.version,
        }
    }

    /// Decides from the head, then reads the body, then decides by both.
    async fn receive<B: Body<Data = Bytes>>(
        &self,
        head: &request::Parts,
        body: Pin<&mut Upload<B>>,
        read: &mut Extent,
    ) -> Result<Received, Refusal> {
        let (engine, limit) = (self.engine, self.options.request_body);
        if engine.is_draining() {
            return Err(upload::draining(engine).into());
        }
        let owner = self.face.principal(head.into());
        let key = self.key(head.into(), owner.as_ref())?;
        if upload::declared(head.into(), &*body) > limit {
            return Err(upload::too_large(limit).into());
        }
        // The place is taken before the body is read. A repeat needs none; whether it is one shows at its end, but only
        // with a key that is known it can be.
        let place = Place::take(engine);
        if place.is_none() {
            let known = match &key {
                Some(key) => engine.store.find_key(key).await,
                None => Ok(Lookup::Unknown),
            };
            match known {
                Ok(Lookup::Unknown) => return Err(upload::full(engine).into()),
                Ok(Lookup::Found(_) | Lookup::Gone { .. }) => {}
                Err(error) => return Err(self.unavailable(&error).into()),
            }
        }
        *read = Extent::Some;
        let body = upload::read(engine, body, limit).await;
        *read = match &body {
            Ok(_) => Extent::Whole,
            Err(problem) if problem.kind == ProblemKind::UploadFailed => Extent::Broken,
            Err(_) => Extent::Some,
        };
        let body = body?;
        let key = match key {
            Some(key) if self.face.is_named_by_request => {
                Box::pin(self.refuse_poll(&key)).await?;
                let fingerprint = None;
                Some(Box::new(KeyUse { key, fingerprint }))
            }
            Some(key) => {
                let fingerprint = Some(fingerprint(head, body.bytes()));
                let found = engine.store.find_key(&key).await;
                self.refuse_repeat(found, fingerprint.as_ref())?;
                Some(Box::new(KeyUse { key, fingerprint }))
            }
            None => None,
        };
        let mut place = place.ok_or_else(|| upload::full(engine))?;
        if let Some(checked) = self.check(head, body.bytes()) {
            checked
                .await
                .map_err(|refusal| Refusal::Checked(Box::new(refusal)))?;
        }
        if !place.accept() {
            return Err(upload::draining(engine).into());
        }
        Ok(Received {
            body,
            place,
            owner,
            key,
        })
    }

    /// Asks the layer's own check. Not `async`: the copy of the request is not to take room in who waits for it.
    fn check(&self, head: &request::Parts, body: &Bytes) -> Option<Checked> {
        let check = self.options.check.as_ref()?;
        Some(check(Request::from_parts(head.clone(), body.clone())))
    }

    /// The name of the request, where names count.
    fn key(&self, head: Head<'_>, owner: Option<&Owner>) -> Result<Option<UniqueKey>, Problem> {
        if owner.is_none() && !self.face.shared_keys {
            return Ok(None);
        }
        let rule = self.options.key.as_ref();
        let key: Option<Cow<'_, str>> = match rule {
            Some(rule) if !self.face.is_named_by_request => rule(head),
            rule => match rule.and_then(|rule| rule(head)) {
                Some(key) => Some(key),
                None => self.face.dialect.key(head)?,
            },
        };
        let key = match key {
            // Not to be met by an idempotency key, in which there can be no such character.
            Some(key) if self.face.is_named_by_request => Some(Cow::Owned(format!("\0{key}"))),
            None if self.face.is_named_by_request => {
                return Err(Problem::new(ProblemKind::KeyInvalid));
            }
            key => key,
        };
        Ok(key.map(|key| match owner {
            Some(owner) => UniqueKey::of(owner, &key),
            None => UniqueKey::shared(&key),
        }))
    }

    /// The answer to HEAD, if an operation has the name that the GET would have.
    async fn look(&self, head: &request::Parts) -> Option<Response<ReplyBody>> {
        let head = Head::from(head);
        let owner = self.face.principal(head);
        let as_get = Head {
            method: &Method::GET,
            ..head
        };
        let key = self.key(as_get, owner.as_ref()).ok()??;
        let response = match self.engine.store.find_key(&key).await {
            Ok(Lookup::Found(record)) => {
                let asked = Asked {
                    ask: Ask::Monitor,
                    is_done: false,
                };
                render(self.engine, self.face, &record, asked, head)
            }
            Ok(Lookup::Gone { .. } | Lookup::Unknown) => return None,
            Err(error) => {
                let problem = self.unavailable(&error);
                let response = self.face.dialect.problem(&problem, &self.opt_in);
                response.map(ReplyBody::new)
            }
        };
        Some(without_body(response, head))
    }

    /// A request that names its operation is a poll of it, unless it is gone, or has failed and somebody knows.
    async fn refuse_poll(&self, key: &UniqueKey) -> Result<(), Refusal> {
        let store = &self.engine.store;
        match store.find_key(key).await {
            Ok(Lookup::Found(record)) => self.refuse_poll_of(record).await,
            Ok(Lookup::Gone { .. } | Lookup::Unknown) => Ok(()),
            Err(error) => Err(self.unavailable(&error).into()),
        }
    }

    async fn refuse_poll_of(&self, record: Arc<Record>) -> Result<(), Refusal> {
        let Some(ending) = record
            .ending()
            .filter(|it| it.outcome != Outcome::Succeeded)
        else {
            return Err(Refusal::Poll(record));
        };
        let is_told = ending.answered;
        let id = record.id;
        drop(record);
        match self.engine.store.forget(id, Forget::Ended).await {
            Ok(Settled::Done(record)) if !is_told => Err(Refusal::Poll(record)),
            Ok(_) => Ok(()),
            Err(error) => Err(self.unavailable(&error).into()),
        }
    }

    fn refuse_repeat(
        &self,
        found: Result<Lookup, StoreError>,
        fingerprint: Option<&Fingerprint>,
    ) -> Result<(), Refusal> {
        match found {
            Ok(Lookup::Unknown) => Ok(()),
            Ok(Lookup::Found(record)) => Err(self.repeat(record, fingerprint)),
            Ok(Lookup::Gone { .. }) => Err(Problem::new(ProblemKind::Expired).into()),
            Err(error) => Err(self.unavailable(&error).into()),
        }
    }

    fn repeat(&self, record: Arc<Record>, fingerprint: Option<&Fingerprint>) -> Refusal {
        let same = record
            .submission
            .key
            .as_ref()
            .is_some_and(|used| used.fingerprint.as_ref() == fingerprint);
        if !same {
            Problem::new(ProblemKind::KeyReused).into()
        } else if fingerprint.is_none() {
            Refusal::Poll(record)
        } else if self.options.strict_keys && !record.phase().is_ended() {
            let problem = Problem::new(ProblemKind::KeyInUse);
            problem.retry_after(self.engine.retry_after()).into()
        } else {
            Refusal::Repeat(record)
        }
    }

    fn unavailable(&self, error: &StoreError) -> Problem {
        trace::store_failed("accept", error);
        match error.kind() {
            StoreErrorKind::Full => upload::full(self.engine),
            _ => Problem::new(ProblemKind::Unavailable).retry_after(self.engine.retry_after()),
        }
    }

    /// Makes an operation of the request.
    fn begin<S, M, B, R>(
        &self,
        inner: S,
        make: &M,
        mut head: request::Parts,
        received: Received,
    ) -> Begun<R, S::Error>
    where
        S: Service<Request<B>, Response = Response<R>> + Send + 'static,
        S::Error: Into<BoxError> + Send + 'static,
        S::Future: Send + 'static,
        M: MakeBody<B>,
        B: Body<Data = Bytes> + Send + 'static,
        R: Body<Data = Bytes> + Send + 'static,
        R::Error: Into<BoxError>,
    {
        let engine = self.engine;
        let Received {
            body,
            place,
            owner,
            key,
        } = received;
        // With a key the record comes first, so that duplicates meet; otherwise only what outlasts the wait is kept.
        let keep_first = self.hold.is_zero() || key.is_some();
        let record = self.record(&head, owner.as_ref(), key);
        // It is for this crate to say. There hardly ever is one, and to look through the names costs less than a hash.
        if head.headers.keys().any(|name| *name == runner::ATTEMPT) {
            head.headers.remove(runner::ATTEMPT);
        }
        compact(&mut head);
        if self.opt_in != OptIn::default()
            || self.options.accept_only
            || self.face.is_named_by_request
        {
            self.face.dialect.take_out(&mut head);
        }
        let rerun = record.submission.rerun.as_ref();
        let request = rerun.map(|_| Box::new(self.stored(&head, &body)));
        if self.options.accept_only
            && let Some(request) = request
        {
            return match runner::keep_queued(place, record.clone(), request) {
                Ok(kept) => Begun::Answered(self.kept(kept, &record)),
                Err(kept) => Begun::Waiting(Box::new(Waiting {
                    record,
                    kept: Some(kept),
                    reply: None,
                })),
            };
        }
        let live = Live::new(&record, engine);
        let task = Task::new(
            record.clone(),
            request,
            self.options.terms.clone(),
            Arc::new(live),
            place,
        );
        let (body, driver) = make.make(body).into_parts();
        let work = Work {
            inner,
            request: Box::new(Request::from_parts(head, body)),
            driver: driver.map(Box::new),
        };
        let (hold, reply) = match self.hold {
            Duration::ZERO => (None, None),
            at_most => {
                let (hold, reply) = Hold::new(at_most);
                (Some(hold), Some(reply))
            }
        };
        let kept = if keep_first {
            match runner::keep_and_spawn(task, hold, work) {
                Err(kept) => Some(kept),
                Ok(Kept::New(())) if reply.is_some() => None,
                Ok(kept) => return Begun::Answered(self.kept(kept, &record)),
            }
        } else {
            trace::spawn(runner::run(task, None, hold, work));
            None
        };
        Begun::Waiting(Box::new(Waiting {
            record,
            kept,
            reply,
        }))
    }

    /// Waits for what the client is to be told.
    async fn answer<R, E>(&self, waiting: Box<Waiting<E>>) -> Result<Response<ResponseBody<R>>, E> {
        let record = &waiting.record;
        if let Some(kept) = waiting.kept {
            // An error: the task was dropped with its runtime.
            let lost = |_| Kept::Failed(StoreError::new(StoreErrorKind::Unavailable));
            match kept.await.unwrap_or_else(lost) {
                Kept::New(()) if waiting.reply.is_some() => {}
                kept => return Ok(self.kept(kept, record)),
            }
        }
        let Some(reply) = waiting.reply else {
            return Ok(self.accepted(record));
        };
        match reply.await {
            Ok(Reply::Accepted) => match self.engine.sighting(record) {
                Some(sighting) => Ok(self.accepted_as(record, Some(&sighting), &self.opt_in)),
                // It has ended meanwhile, or somebody else has ended it.
                None => match self.engine.store.find(record.id).await {
                    Ok(Lookup::Found(record)) => Ok(self.accepted(&record)),
                    _ => Ok(self.accepted(record)),
                },
            },
            // What is asked for again has to be answered now as it will be then, validators and all.
            Ok(Reply::Response(_)) if self.face.is_named_by_request => {
                Ok(self.polled_first(record).await)
            }
            Ok(Reply::Response(captured)) => {
                let store = &self.engine.store;
                let mut body = ReplyBody::stored(store, &captured.stored, self.version);
                if record.submission.key.is_none() {
                    // It never became an operation.
                    body.remove_at_end();
                }
                let mut response = Response::new(body);
                if let Some(head) = captured.head {
                    response = Response::from_parts(*head, response.into_body());
                }
                Ok(self.at_once(record, response))
            }
            Ok(Reply::Error(error)) => Err(error),
            Ok(Reply::Stopped(stop)) => {
                if record.submission.key.is_some() {
                    self.engine.store.mark_read(record.id);
                }
                Ok(self.stopped(stop.outcome()))
            }
            Err(_) => Ok(self.stopped(Stop::Interrupted.outcome())),
        }
    }

    /// An answer within the wait.
    fn at_once<R>(
        &self,
        record: &Record,
        mut response: Response<ReplyBody>,
    ) -> Response<ResponseBody<R>> {
        let headers = response.headers_mut();
        self.face.dialect.applied(&self.opt_in, headers);
        vary_by_prefer(headers);
        if record.submission.key.is_some() {
            // It is kept for repeats, and was delivered as well as by the monitor: it may make room for others.
            response
                .body_mut()
                .tell_when_read(self.engine, record.id, false);
        }
        response.map(ResponseBody::own)
    }

    fn stopped<R>(&self, outcome: Outcome) -> Response<ResponseBody<R>> {
        let problem = Problem::of_outcome(outcome);
        let problem = problem.unwrap_or(Problem::new(ProblemKind::Lost));
        own(self.face.dialect.problem(&problem, &self.opt_in))
    }

    /// The answer to a poll of what has just ended within the wait.
    async fn polled_first<R>(&self, record: &Record) -> Response<ResponseBody<R>> {
        match self.engine.store.find(record.id).await {
            Ok(Lookup::Found(record)) => self.polled(&record, None),
            Ok(_) => self.refusal(Problem::new(ProblemKind::Expired).into(), None),
            Err(error) => self.refusal(self.unavailable(&error).into(), None),
        }
    }

    /// The answer to a poll. Without its head it had no conditions, or met an operation that came in between: then they
    /// are left unheeded, as they may be.
    fn polled<R>(&self, record: &Record, head: Option<Head<'_>>) -> Response<ResponseBody<R>> {
        let asked = Asked {
            ask: Ask::Monitor,
            is_done: false,
        };
        let (mut method_only, ()) = Request::new(()).into_parts();
        method_only.method = record.submission.method.clone();
        method_only.version = self.version;
        let head = head.unwrap_or_else(|| Head::from(&method_only));
        render(self.engine, self.face, record, asked, head).map(ResponseBody::own)
    }

    fn record(
        &self,
        head: &request::Parts,
        owner: Option<&Owner>,
        key: Option<Box<KeyUse>>,
    ) -> Arc<Record> {
        let (target, face) = (Head::from(head).target(), &self.face.name);
        let (note, keep_for) = (&self.opt_in.note, self.keep_for());
        let is_alike = |last: &Submission| {
            *last.target == *target
                && last.method == head.method
                && last.owner.as_ref() == owner
                && last.note == *note
                && last.keep_for == keep_for
        };
        let make = |key| {
            let method = head.method.clone();
            let mut submission = Submission::new(method, target.into(), face.clone(), keep_for);
            submission.owner = owner.cloned();
            submission.key = key;
            submission.note = note.clone();
            submission.rerun = self.rerun();
            Arc::new(submission)
        };
        let submission = match key {
            Some(_) => make(key),
            None => self.recent.like(is_alike, || make(None)),
        };
        let now = self.engine.clock.wall();
        let mut record = Record::new(OperationId::random(), submission, now);
        record.report = self.options.report.clone();
        Arc::new(record)
    }

    fn keep_for(&self) -> Duration {
        if self.opt_in.one_way {
            Duration::ZERO
        } else {
            self.options.keep_for
        }
    }

    fn rerun(&self) -> Option<Box<Rerun>> {
        let options = self.options;
        let can_be = self.engine.keeps_requests || options.accept_only;
        can_be.then(|| {
            Box::new(Rerun {
                queue: options.queue.clone(),
                attempts: options.attempts,
                start_within: options.terms.start_within,
                run_time: options.terms.run_time,
                response_body: options.terms.response_body,
            })
        })
    }

    /// What of the request is kept for those who may run it.
    #[cold]
    fn stored(&self, head: &request::Parts, body: &Buffered) -> StoredRequest {
        let (content, without) = (body.bytes().clone(), &self.options.not_stored);
        let content = Content::Inline(content);
        StoredRequest::capture(
            head,
            Head::from(head).original(),
            content,
            body.trailers(),
            without,
        )
    }

    fn accepted<R>(&self, record: &Record) -> Response<ResponseBody<R>> {
        self.accepted_as(record, self.engine.sighting(record).as_ref(), &self.opt_in)
    }

    fn accepted_as<R>(
        &self,
        record: &Record,
        sighting: Option<&Sighting>,
        opt_in: &OptIn,
    ) -> Response<ResponseBody<R>> {
        let (engine, face) = (self.engine, self.face);
        let response = engine.view(face, record, sighting, &self.origin, |view| {
            face.dialect.accepted(&view, opt_in)
        });
        let (parts, answer) = response.into_parts();
        let response = match answer {
            Answer::Bytes(bytes) | Answer::Instead(bytes) => {
                Response::from_parts(parts, ReplyBody::new(bytes))
            }
            answer => with_stored(&engine.store, parts, answer, record, self.version),
        };
        response.map(ResponseBody::own)
    }

    fn kept<R>(&self, kept: Kept, mine: &Record) -> Response<ResponseBody<R>> {
        let refusal = match (kept, &mine.submission.key) {
            (Kept::New(()), _) => return self.accepted_as(mine, None, &self.opt_in),
            (Kept::Existing(record), Some(key)) => self.repeat(record, key.fingerprint.as_ref()),
            (Kept::Gone, _) => Problem::new(ProblemKind::Expired).into(),
            (Kept::Failed(error), _) => self.unavailable(&error).into(),
            // Ids are random: nothing that exists has this one.
            (Kept::Existing(_), None) => upload::full(self.engine).into(),
        };
        self.refusal(refusal, None)
    }

    fn refusal<R>(&self, refusal: Refusal, head: Option<Head<'_>>) -> Response<ResponseBody<R>> {
        match refusal {
            Refusal::Problem(problem) => own(self.face.dialect.problem(&problem, &self.opt_in)),
            Refusal::Poll(record) => self.polled(&record, head),
            Refusal::Checked(response) => own(*response),
            Refusal::Repeat(record) => match record.ending() {
                // The first time it was answered at once: so it is again.
                Some(ending) if ending.answered => self.answered_before(&record),
                _ => {
                    // It is not held back, whatever the client would have waited.
                    let opt_in = OptIn {
                        wait: None,
                        ..self.opt_in.clone()
                    };
                    let sighting = self.engine.sighting(&record);
                    self.accepted_as(&record, sighting.as_ref(), &opt_in)
                }
            },
        }
    }

    fn answered_before<R>(&self, record: &Record) -> Response<ResponseBody<R>> {
        let origin = &self.origin;
        self.engine.view(self.face, record, None, origin, |view| {
            match (view.replay(), view.response(), view.ending()) {
                (Some(head), Some(stored), _) => {
                    let store = &self.engine.store;
                    self.at_once(record, replay(store, head, stored, self.version))
                }
                (_, _, Some(ending)) => self.stopped(ending.outcome),
                _ => self.stopped(Stop::Lost.outcome()),
            }
        })
    }
}

/// An answer with what is stored of the response in it.
#[cold]
fn with_stored(
    store: &Arc<dyn Store>,
    parts: response::Parts,
    answer: Answer,
    record: &Record,
    version: Version,
) -> Response<ReplyBody> {
    let stored = record.ending().and_then(|ending| ending.response.as_ref());
    match (answer, stored) {
        (Answer::Stored, Some(stored)) => replay(store, parts, stored, version),
        (Answer::Around { before, after }, Some(stored)) => {
            Response::from_parts(parts, ReplyBody::around(store, before, stored, after))
        }
        _ => Response::from_parts(parts, ReplyBody::default()),
    }
}

fn own<R>(response: Response<Bytes>) -> Response<ResponseBody<R>> {
    response.map(|bytes| ResponseBody::own(ReplyBody::new(bytes)))
}

fn fingerprint(head: &request::Parts, body: &Bytes) -> Fingerprint {
    let kind = head
        .headers
        .get(header::CONTENT_TYPE)
        .map(HeaderValue::as_bytes);
    Fingerprint::of(
        &head.method,
        Head::from(head).target(),
        kind.unwrap_or_default(),
        body,
    )
}
