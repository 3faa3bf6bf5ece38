use super::{ReplyBody, replay};
use crate::{
    dialect::{Answer, Ask, Head, View},
    header::{if_match_holds, if_none_match_holds, is_targeted, remove_targeted},
    operations::{Engine, Face},
    problem::{Problem, ProblemKind},
    record::{Outcome, Record, Sighting},
    store::Store,
};
use http::{HeaderMap, Method, Response, StatusCode, Version, header};
use http_body::Body;
use std::sync::Arc;

/// What was asked, and what came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) ask: Ask,
    /// The deed was done.
    pub(crate) is_done: bool,
}

/// The dialect's answer with its body: the stored one for a replay, none where the client has it already.
pub(crate) fn render(
    engine: &Arc<Engine>,
    face: &Face,
    record: &Record,
    sighting: Option<&Sighting>,
    asked: Asked,
    head: Head<'_>,
) -> Response<ReplyBody> {
    let ask = asked.ask;
    let polls = (face.counts_polls && ask.may_wait()).then(|| {
        let (id, now) = (record.id, engine.clock.elapsed());
        match *head.method {
            // It asks for nothing but to be read (RFC 9110, section 9.2.1): the GET after it is not the second.
            Method::HEAD => engine.polls.look(id, now),
            _ => engine.polls.count(id, now),
        }
    });
    let origin = face.origin(head);
    let mut response = engine.view(face, record, sighting, &origin, |view| {
        let view = view.with_polls(polls).with_done(asked.is_done);
        face.dialect.answer(&view, ask, head)
    });
    // A monitor is not the resource that the handler has told caches of. What is stored is looked through sooner than a map.
    if matches!(response.body(), Answer::Stored)
        && !face.is_named_by_request
        && let Some(stored) = record.response()
        && stored.fields().names().any(is_targeted)
    {
        remove_targeted(response.headers_mut());
    }
    let is_refused = response.status() == StatusCode::PRECONDITION_FAILED;
    if face.is_named_by_request && !is_refused {
        age(response.headers_mut(), engine, record);
    }
    if let Answer::Bytes(_) | Answer::Instead(_) = response.body()
        && let Some(tag) = response.headers().get(header::ETAG)
    {
        // What was done was done on other conditions, and those of initiating requests are about their result.
        let is_document = ask.is_read() && !face.is_named_by_request;
        if is_document && !if_match_holds(head.headers, tag) {
            let (dialect, problem) = (&face.dialect, Problem::new(ProblemKind::Precondition));
            let problem = dialect.problem(&problem, &dialect.opt_in(head));
            return problem.map(ReplyBody::new);
        }
        if !if_none_match_holds(head.headers, tag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response.headers_mut().remove(header::CONTENT_TYPE);
            return response.map(|_| ReplyBody::untold());
        }
    }
    // What stands for the result where there is one, such as a redirect to it, is not its delivery.
    let is_result = !matches!(response.body(), Answer::Bytes(_)) || record.response().is_none();
    let asks_for_it = matches!(ask, Ask::Monitor | Ask::Result) && head.method != Method::HEAD;
    let mut response = with_body(&engine.store, response, record, head.version);
    if asks_for_it && is_result && record.phase().is_ended() {
        let body = response.body_mut();
        body.tell_when_read(engine, record.id, polls.is_some());
    }
    response
}

/// The dialect's answer with the body that it asks for.
pub(crate) fn with_body(
    store: &Arc<dyn Store>,
    response: Response<Answer>,
    record: &Record,
    version: Version,
) -> Response<ReplyBody> {
    let (parts, answer) = response.into_parts();
    match (answer, record.response()) {
        (Answer::Stored, Some(stored)) => replay(store, parts, stored, version),
        (Answer::Around { before, after }, Some(stored)) => {
            Response::from_parts(parts, ReplyBody::around(store, before, stored, after))
        }
        (Answer::Stored | Answer::Around { .. }, None) => {
            Response::from_parts(parts, ReplyBody::default())
        }
        (Answer::Bytes(bytes) | Answer::Instead(bytes), _) => {
            Response::from_parts(parts, ReplyBody::new(bytes))
        }
    }
}

/// HEAD gets what GET would, but the body (RFC 9110, section 9.3.2).
pub(crate) fn without_body(response: Response<ReplyBody>, head: Head<'_>) -> Response<ReplyBody> {
    if head.method != Method::HEAD {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let has_none = matches!(
        parts.status,
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
    );
    // On HTTP/2 hyper tells no length of what is empty.
    let is_told = |length: &u64| *length > 0 || head.version <= Version::HTTP_11;
    let Some(length) = body.size_hint().exact().filter(|_| !has_none) else {
        return Response::from_parts(parts, ReplyBody::untold());
    };
    if is_told(&length) {
        parts.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    Response::from_parts(parts, ReplyBody::default())
}

/// A result that caches may keep is as old as its end (RFC 9111, section 5.1), whatever new `Date` it is sent with.
fn age(headers: &mut HeaderMap, engine: &Engine, record: &Record) {
    if let Some(ending) = record.ending()
        && ending.outcome == Outcome::Succeeded
    {
        let now = engine.clock.wall().as_micros();
        let age = now.saturating_sub(ending.at.as_micros()) / 1_000_000;
        headers.insert(header::AGE, age.into());
    }
}

impl Engine {
    /// Calls `render` with the view of a record.
    pub(crate) fn view<T>(
        &self,
        face: &Face,
        record: &Record,
        sighting: Option<&Sighting>,
        origin: &str,
        render: impl FnOnce(View<'_>) -> T,
    ) -> T {
        let accepted_by = self.accepted_by(face, record);
        render(accepted_by.view(face, record, sighting, origin, self.retry_after()))
    }
}
