//! What the client is told: at once, or after a wait.

use super::{Desk, receive::Refusal};
use crate::{
    defer::{ResponseBody, future::vary_by_prefer, upload},
    dialect::{Ask, Head, OptIn},
    problem::{Problem, ProblemKind},
    record::{Outcome, Record, Sighting, Stop},
    reply::{Asked, ReplyBody, render, replay, with_body},
    runner::{Kept, Reply},
    store::{Lookup, StoreError, StoreErrorKind},
};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body::Body;
use std::sync::Arc;
use tokio::sync::oneshot;

/// A client that is to be answered later.
pub(super) struct Waiting<E> {
    pub(super) record: Arc<Record>,
    /// Where the store takes its time.
    pub(super) kept: Option<oneshot::Receiver<Kept>>,
    /// Where the client does.
    pub(super) reply: Option<oneshot::Receiver<Reply<E>>>,
}

impl Desk<'_> {
    /// Waits for what the client is to be told.
    pub(super) async fn answer<R, E>(
        &self,
        waiting: Box<Waiting<E>>,
    ) -> Result<Response<ResponseBody<R>>, E> {
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
                    correct_length(&mut response);
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

    /// The answer to a poll, on its conditions: by its head, or by what is remembered of that.
    fn polled<R>(&self, record: &Record, head: Option<Head<'_>>) -> Response<ResponseBody<R>> {
        let asked = Asked {
            ask: Ask::Monitor,
            is_done: false,
        };
        let (unnamed, ()) = Request::new(()).into_parts();
        let remembered = || Head::from(self.initiating.as_deref().unwrap_or(&unnamed));
        let head = head.unwrap_or_else(remembered);
        let sighting = self.engine.sighting(record);
        let sighting = sighting.as_ref();
        render(self.engine, self.face, record, sighting, asked, head).map(ResponseBody::own)
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
        with_body(&engine.store, response, record, self.version).map(ResponseBody::own)
    }

    pub(super) fn kept<R>(&self, kept: Kept, mine: &Record) -> Response<ResponseBody<R>> {
        let refusal = match (kept, &mine.submission.key) {
            (Kept::New(()), _) => return self.accepted_as(mine, None, &self.opt_in),
            (Kept::Existing(record), Some(key)) => self.repeat(record, key.fingerprint.as_ref()),
            (Kept::Gone, _) => Problem::new(ProblemKind::Expired).into(),
            (Kept::Failed(error), _) => self.not_kept(&error).into(),
            // Ids are random: nothing that exists has this one.
            (Kept::Existing(_), None) => upload::full(self.engine).into(),
        };
        self.refusal(refusal, None)
    }

    pub(super) fn refusal<R>(
        &self,
        refusal: Refusal,
        head: Option<Head<'_>>,
    ) -> Response<ResponseBody<R>> {
        match refusal {
            Refusal::Problem(problem) => own(self.face.dialect.problem(&problem, &self.opt_in)),
            Refusal::Poll(record) => self.polled(&record, head),
            Refusal::Checked(mut response) => {
                if self.options.go_by_prefer(self.face) {
                    vary_by_prefer(response.headers_mut());
                }
                own(*response)
            }
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

/// Servers let a body pass that knows its length, whatever length stands beside it, and the client would read the rest
/// as the next answer. The length of a 304 is that of another response.
fn correct_length(response: &mut Response<ReplyBody>) {
    let (status, length) = (response.status(), response.body().size_hint().exact());
    let headers = response.headers_mut();
    if let Some(length) = length
        && status != StatusCode::NOT_MODIFIED
        && headers.contains_key(header::CONTENT_LENGTH)
    {
        match status {
            StatusCode::NO_CONTENT => headers.remove(header::CONTENT_LENGTH),
            _ => headers.insert(header::CONTENT_LENGTH, length.into()),
        };
    }
}

fn own<R>(response: Response<Bytes>) -> Response<ResponseBody<R>> {
    response.map(|bytes| ResponseBody::own(ReplyBody::new(bytes)))
}
