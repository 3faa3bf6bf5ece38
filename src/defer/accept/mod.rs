//! The way of a deferred request, from its head to its 202.

mod answer;
mod receive;

use self::{answer::Waiting, receive::Received};
use super::{
    MakeBody, Options, ResponseBody, ResponseFuture,
    compact::compact,
    rebuild::Buffered,
    service::Shared,
    upload::{self, Extent, Upload},
};
use crate::{
    dialect::{Head, OptIn},
    operations::{Engine, Face, Live},
    problem::{Problem, ProblemKind},
    record::{Content, KeyUse, OperationId, Owner, Record, Rerun, StoredRequest, Submission},
    runner::{self, Drive, Hold, Kept, Task, Work},
    store::{StoreError, StoreErrorKind},
    trace,
};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version, request};
use http_body::Body;
use std::{
    error::Error,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};
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
        let mut desk = Desk::new(&layer, &head);
        let mut body = pin!(body);
        // In a scope of its own, or the answer would take its room in the future's next state as well.
        let later = {
            let mut read = Extent::None;
            let begun = match desk.receive(&head, body.as_mut(), &mut read).await {
                Ok(received) => {
                    desk.remember(&head);
                    desk.begin(inner, &layer.make, head, received)
                }
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

/// Where a request is accepted.
struct Desk<'a> {
    engine: &'a Arc<Engine>,
    face: &'a Arc<Face>,
    options: &'a Options,
    opt_in: OptIn,
    /// How long the answer may be held back.
    hold: Duration,
    version: Version,
    /// A request that names its operation, once that is begun: on which conditions it wants the answer.
    initiating: Option<Box<request::Parts>>,
    /// What stands before the mount in the URLs of the answer.
    origin: Box<str>,
}

impl<'a> Desk<'a> {
    fn new<M>(layer: &'a Shared<M>, head: &request::Parts) -> Self {
        let (engine, face) = (&layer.operations.engine, &layer.operations.face);
        let mut opt_in = face.dialect.opt_in(head.into());
        let hold = if layer.options.accept_only {
            opt_in.wait = None;
            Duration::ZERO
        } else {
            // A client that asks for an answer before the work is done, and for no wait, gets none.
            let default = if opt_in.asked {
                Duration::ZERO
            } else {
                layer.options.wait
            };
            opt_in.wait.unwrap_or(default).min(engine.limits.wait)
        };
        opt_in.wait = opt_in.wait.map(|_| hold);
        Self {
            origin: face.origin(head.into()).into(),
            engine,
            face,
            options: &layer.options,
            opt_in,
            hold,
            version: head.version,
            initiating: None,
        }
    }

    /// Its answer may be that to a poll, and the request has gone to the inner service by then.
    fn remember(&mut self, head: &request::Parts) {
        if self.face.is_named_by_request {
            self.initiating = Some(Box::new(head.clone()));
        }
    }

    fn unavailable(&self, error: &StoreError) -> Problem {
        trace::store_failed("accept", error);
        self.not_kept(error)
    }

    /// The log has it from where it failed.
    fn not_kept(&self, error: &StoreError) -> Problem {
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
        compact(&mut head, &self.options.not_stored);
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
            drive: Drive::new(driver, self.options.terms.run_time),
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
            None => self.options.recent.like(target, is_alike, || make(None)),
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
}
