//! The dialect's answer about an operation, with its body: for the monitor, and for repeats that are polls.

use super::{ReplyBody, body::replay};
use crate::{
    dialect::{Answer, Ask, Head, View},
    header::if_none_match_holds,
    operations::{Engine, Face},
    record::{Outcome, Record, Sighting},
};
use http::{HeaderMap, Method, Response, StatusCode, header};
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
    let polls = (face.counts_polls && ask.may_wait())
        .then(|| engine.polls.count(record.id, engine.clock.elapsed()));
    let origin = face.origin(head);
    let response = engine.view(face, record, sighting, &origin, |view| {
        let view = view.with_polls(polls).with_done(asked.is_done);
        face.dialect.answer(&view, ask, head)
    });
    let (mut parts, answer) = response.into_parts();
    if face.is_named_by_request {
        age(&mut parts.headers, engine, record);
    }
    let stored = record.response();
    // What stands for the result where there is one, such as a redirect to it, is not its delivery.
    let is_result = !matches!(answer, Answer::Bytes(_)) || stored.is_none();
    let mut response = match (answer, stored) {
        (Answer::Stored, Some(stored)) => replay(&engine.store, parts, stored, head.version),
        (Answer::Around { before, after }, Some(stored)) => Response::from_parts(
            parts,
            ReplyBody::around(&engine.store, before, stored, after),
        ),
        (Answer::Stored | Answer::Around { .. }, None) => {
            Response::from_parts(parts, ReplyBody::default())
        }
        (Answer::Bytes(bytes) | Answer::Instead(bytes), _) => {
            let tag = parts.headers.get(header::ETAG);
            if tag.is_some_and(|tag| !if_none_match_holds(head.headers, tag)) {
                parts.status = StatusCode::NOT_MODIFIED;
                parts.headers.remove(header::CONTENT_TYPE);
                return Response::from_parts(parts, ReplyBody::default());
            }
            Response::from_parts(parts, ReplyBody::new(bytes))
        }
    };
    let delivers = matches!(ask, Ask::Monitor | Ask::Result) && record.phase().is_ended();
    if delivers && is_result && head.method != Method::HEAD {
        let body = response.body_mut();
        body.tell_when_read(engine, record.id, polls.is_some());
    }
    response
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
    if let (false, Some(length)) = (has_none, body.size_hint().exact()) {
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
