use super::{Address, Answer, Ask, ListAsk, View};
use crate::{
    header::tags_of_if_none_match,
    json,
    problem::{Problem, ProblemKind},
    record::{OperationId, Outcome, Record, Report, Revision, StoredResponse, Timestamp},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, response};
use serde_json::value::RawValue;
use std::{
    borrow::Cow,
    collections::BTreeMap,
    io::Write,
    time::{Duration, UNIX_EPOCH},
};

/// Content type of the status document.
pub const STATUS_DOCUMENT: &str = "application/json";

/// Writes the status document of the default dialect: one shape for every state, absent members omitted, times in
/// RFC 3339 and UTC.
///
/// ```json
/// {"id":"…","status":"accepted|running|succeeded|failed|cancelled","created":"…","started":"…","updated":"…",
///  "ended":"…","expires":"…","attempt":1,"progress":{"fraction":0.4,"message":"…"},"metadata":…,
///  "request":{"method":"POST","target":"/reports?x=1"},"resource":"/reports/7",
///  "result":{"status":201,"type":"application/json","length":123},"problem":{…},
///  "links":{"monitor":"…","status":"…","result":"…"}}
/// ```
pub fn status_document(view: &View<'_>, out: &mut Vec<u8>) {
    let record = view.record();
    let id = view.links().id();
    out.extend_from_slice(b"{\"id\":\"");
    out.extend_from_slice(&id);
    out.extend_from_slice(b"\",\"status\":\"");
    out.extend_from_slice(view.phase().as_str().as_bytes());
    out.push(b'"');
    time(out, ",\"created\":", Some(record.created));
    time(out, ",\"started\":", view.started());
    time(out, ",\"updated\":", Some(view.updated()));
    time(out, ",\"ended\":", view.ending().map(|ending| ending.at));
    time(out, ",\"expires\":", record.expires());
    out.extend_from_slice(b",\"attempt\":");
    json::number(out, record.attempt.into());
    if let Some(report) = view.report() {
        progress(report, out);
        if let Some(metadata) = &report.metadata {
            out.extend_from_slice(b",\"metadata\":");
            out.extend_from_slice(metadata.get().as_bytes());
        }
    }
    // A method is a token: it has nothing to escape.
    out.extend_from_slice(b",\"request\":{\"method\":\"");
    out.extend_from_slice(record.submission.method.as_str().as_bytes());
    out.extend_from_slice(b"\",\"target\":");
    json::string(out, &record.submission.target);
    out.push(b'}');
    if let Some(resource) = view.report().and_then(|report| report.resource.as_ref()) {
        out.extend_from_slice(b",\"resource\":");
        json::string(out, resource);
    }
    if let Some(response) = view.response() {
        out.extend_from_slice(b",\"result\":{\"status\":");
        out.extend_from_slice(response.status().as_str().as_bytes());
        let kind = response
            .fields()
            .find(|(name, _)| name == http::header::CONTENT_TYPE);
        if let Some(kind) = kind.as_ref().and_then(|(_, value)| value.to_str().ok()) {
            out.extend_from_slice(b",\"type\":");
            json::string(out, kind);
        }
        out.extend_from_slice(b",\"length\":");
        json::number(out, response.body_len());
        out.push(b'}');
    }
    let failure = view.ending().and_then(|ending| match ending.outcome {
        crate::record::Outcome::Failed(_) => Problem::of_outcome(ending.outcome),
        _ => None,
    });
    if let Some(problem) = failure {
        out.extend_from_slice(b",\"problem\":");
        problem.write_json(out);
    }
    out.extend_from_slice(b",\"links\":{\"monitor\":\"");
    let begin = out.len();
    view.links().write_named(out, &id, "");
    let monitor = begin..out.len();
    out.extend_from_slice(b"\",\"status\":\"");
    out.extend_from_within(monitor.clone());
    out.extend_from_slice(b"/status\",\"result\":\"");
    out.extend_from_within(monitor);
    out.extend_from_slice(b"/result\"}}");
}

/// Writes what the handler says of how far it is, if it says so.
pub(super) fn progress(report: &Report, out: &mut Vec<u8>) {
    if report.fraction.is_some() || report.message.is_some() {
        out.extend_from_slice(b",\"progress\":{");
        if let Some(fraction) = report.fraction {
            // Writing to a `Vec` can't fail.
            let _ = write!(out, "\"fraction\":{fraction}");
        }
        if let Some(message) = &report.message {
            let comma = if report.fraction.is_some() { "," } else { "" };
            out.extend_from_slice(comma.as_bytes());
            out.extend_from_slice(b"\"message\":");
            json::string(out, message);
        }
        out.push(b'}');
    }
}

#[inline]
pub(super) fn time(out: &mut Vec<u8>, name: &str, time: Option<Timestamp>) {
    if let Some(time) = time {
        out.extend_from_slice(name.as_bytes());
        out.push(b'"');
        time.write(out);
        out.push(b'"');
    }
}

/// Writes a string, or `null`.
pub(super) fn string_or_null(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => json::string(out, text),
        None => out.extend_from_slice(b"null"),
    }
}

/// Writes the members of an error as OData has them (JSON format, section 21.1), and Azure after it.
pub(super) fn error_object(code: &str, message: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"code\":");
    json::string(out, code);
    out.extend_from_slice(b",\"message\":");
    json::string(out, message);
    out.push(b'}');
}

/// The members of a JSON object, unread.
type Members<'a> = BTreeMap<String, &'a RawValue>;

/// A member that is a string.
fn text(members: &Members<'_>, name: &str) -> Option<String> {
    serde_json::from_str(members.get(name)?.get()).ok()
}

/// An error object has a code and a message at least.
fn is_error_object(value: &RawValue) -> bool {
    let members: Result<Members<'_>, _> = serde_json::from_str(value.get());
    members.is_ok_and(|members| {
        text(&members, "code").is_some() && text(&members, "message").is_some()
    })
}

/// Writes the error object of a failure: the handler's own, or one that is made of its status and its words.
pub(super) fn error_of(view: &View<'_>, outcome: Outcome, out: &mut Vec<u8>) {
    let Some(response) = view.response() else {
        let problem = problem_of(outcome);
        return error_object(&error_code(problem.kind), &problem.detail, out);
    };
    let body = view.small_json();
    let told: Option<Members<'_>> = body
        .as_deref()
        .and_then(|body| serde_json::from_slice(body).ok());
    let told = told.unwrap_or_default();
    if let Some(error) = told.get("error").filter(|error| is_error_object(error)) {
        return out.extend_from_slice(error.get().as_bytes());
    }
    let reason = response.status().canonical_reason().unwrap_or("Error");
    let message = text(&told, "detail").or_else(|| text(&told, "title"));
    let message = message.unwrap_or_else(|| reason.to_owned());
    let code: String = reason.chars().filter(char::is_ascii_alphanumeric).collect();
    error_object(&code, &message, out);
}

/// A problem as an error object, and nothing beside it.
pub(super) fn error_response(problem: &Problem) -> Response<Bytes> {
    let mut response = problem.to_response().map(|_| {
        let mut body = b"{\"error\":".to_vec();
        error_object(&error_code(problem.kind), &problem.detail, &mut body);
        body.push(b'}');
        body.into()
    });
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// What an error of this kind is called there: its name in Pascal case.
pub(super) fn error_code(kind: ProblemKind) -> Cow<'static, str> {
    match kind {
        // What was there and is not any more is none of a stranger's business, nor of an old client's.
        ProblemKind::Unknown | ProblemKind::Expired => "OperationNotFound".into(),
        ProblemKind::Method => "MethodNotAllowed".into(),
        kind => {
            let words = kind.name().split('-').map(|word| {
                let (first, rest) = word.split_at(1);
                first.to_ascii_uppercase() + rest
            });
            words.collect::<String>().into()
        }
    }
}

/// The entity tag of a status document. Strong: two documents of one operation with one tag are the same to the byte.
///
/// The state is part of it. What a handler says at the very moment of the end is shown, but may come too late to be
/// counted: an end with the same count must not pass for it, or who has that tag would never hear of the end.
#[must_use]
pub fn entity_tag(view: &View<'_>) -> HeaderValue {
    let (phase, revision) = (view.phase().as_str(), view.revision().0);
    HeaderValue::try_from(format!("\"{phase}-{revision}\"")).expect("letters and digits in quotes")
}

/// The revision of the last document that the client has, by the tags in `If-None-Match`. What compression on the way has
/// put behind the number, as Apache does, is looked past.
pub(crate) fn last_seen(headers: &HeaderMap) -> Option<Revision> {
    let revision = |tag| str::from_utf8(tag).ok()?.split('-').nth(1)?.parse().ok();
    let revisions = tags_of_if_none_match(headers).filter_map(revision);
    revisions.max().map(Revision)
}

/// What a document is, unless its protocol has a type of its own.
pub(super) const JSON: HeaderValue = HeaderValue::from_static(STATUS_DOCUMENT);

/// What all answers say to caches, unless their URL is the resource's own.
pub(super) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// What answers that depend on `Prefer` tell caches, in `Vary`.
pub(super) const VARY_PREFER: HeaderValue = HeaderValue::from_static("prefer");

/// Methods of a resource that is only read.
pub(super) const READ_ONLY: &[Method] = &[Method::GET, Method::HEAD, Method::OPTIONS];

/// Path of the initiating request.
pub(super) fn path<'a>(view: &View<'a>) -> &'a str {
    let target = &view.record().submission.target;
    target.split('?').next().unwrap_or_default()
}

/// What is asked of a resource that knows these methods, and these only: GET and HEAD ask `read`, and one method more may ask
/// something else.
pub(super) fn asked(
    method: &Method,
    id: OperationId,
    read: Option<Ask>,
    other: Option<(Method, Ask)>,
    methods: &'static [Method],
) -> Address {
    let ask = match (method, other) {
        (&Method::GET | &Method::HEAD, _) => read,
        (method, Some((other, ask))) if *method == other => Some(ask),
        _ => None,
    };
    match ask {
        Some(ask) => Address::Operation(id, ask),
        None if *method == Method::OPTIONS => Address::Options(methods),
        None => Address::Problem(Problem::new(ProblemKind::Method).allow(methods)),
    }
}

/// What is asked of a list, which is only read: `list` is what the query asks for.
pub(super) fn asked_of_list(
    method: &Method,
    list: impl FnOnce() -> Result<ListAsk, Problem>,
) -> Address {
    match *method {
        Method::GET | Method::HEAD => Address::List(list()),
        Method::OPTIONS => Address::Options(READ_ONLY),
        _ => Address::Problem(Problem::new(ProblemKind::Method).allow(READ_ONLY)),
    }
}

/// An answer of the monitor's own, without a body.
pub(super) fn own(status: StatusCode) -> Response<Answer> {
    let mut response = Response::new(Answer::Bytes(Bytes::new()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    response
}

/// An answer of the monitor's own, with a body in JSON.
pub(super) fn own_json<T>(status: StatusCode, body: T) -> Response<T> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    response
}

/// A document of the monitor's: all that there is to be told of an end, unless the result `is_elsewhere`.
pub(super) fn whole(view: &View<'_>, document: Vec<u8>, is_elsewhere: bool) -> Answer {
    match view.phase().is_ended() && !is_elsewhere {
        true => Answer::Instead(document.into()),
        false => Answer::Bytes(document.into()),
    }
}

/// The stored response at an address of its own, if there is one.
pub(super) fn replayed(view: &View<'_>) -> Option<Response<Answer>> {
    view.replay().map(stored)
}

/// The stored body behind a head of its own.
pub(super) fn stored(mut head: response::Parts) -> Response<Answer> {
    head.headers.insert(header::CACHE_CONTROL, NO_STORE);
    Response::from_parts(head, Answer::Stored)
}

/// Whether the stored response has a body.
pub(super) fn has_body(view: &View<'_>) -> bool {
    view.response()
        .is_some_and(|response| response.body_len() > 0)
}

/// The problem, where what is not there any more is as if it had never been.
pub(super) fn as_unknown(problem: &Problem) -> Problem {
    problem.clone().status(match problem.kind {
        ProblemKind::Expired => StatusCode::NOT_FOUND,
        _ => problem.status,
    })
}

/// Whether the stored response is a problem (RFC 9457), by its type.
pub(super) fn is_problem(view: &View<'_>) -> bool {
    let is_of = |stored| is_of_type(stored, "application/problem+json");
    view.response().is_some_and(is_of)
}

/// Whether the stored response is of a media type, whatever its parameters.
pub(super) fn is_of_type(stored: &StoredResponse, media_type: &str) -> bool {
    let told = field(stored, &header::CONTENT_TYPE).unwrap_or_default();
    let essence = told.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(media_type)
}

/// A field of the stored response.
pub(super) fn field(stored: &StoredResponse, wanted: &HeaderName) -> Option<String> {
    let (_, value) = stored.fields().find(|(name, _)| name == wanted)?;
    value.to_str().ok().map(str::to_owned)
}

/// Tells by `Expires` when the operation does, unless the handler knows better.
pub(super) fn expires(record: &Record, headers: &mut HeaderMap) {
    if headers.contains_key(header::EXPIRES) {
        return;
    }
    let date = record.expires().and_then(|at| {
        let at = UNIX_EPOCH + Duration::from_micros(at.as_micros());
        HeaderValue::try_from(httpdate::fmt_http_date(at)).ok()
    });
    if let Some(date) = date {
        headers.insert(header::EXPIRES, date);
    }
}

/// The body of a failure, if it is JSON that can be looked into.
pub(super) struct Told(Option<serde_json::Map<String, serde_json::Value>>);

impl Told {
    pub(super) fn of(view: &View<'_>) -> Self {
        let body = view.small_json();
        Self(body.and_then(|body| serde_json::from_slice(&body).ok()))
    }

    pub(super) fn is_object(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn member(&self, name: &str) -> Option<&str> {
        self.0.as_ref()?.get(name)?.as_str()
    }

    /// A member, whatever it is, if there is one that is not null.
    pub(super) fn into_value(self, name: &str) -> Option<serde_json::Value> {
        self.0?.remove(name).filter(|value| !value.is_null())
    }

    /// What a problem says for people (RFC 9457), or else what the status means.
    pub(super) fn text(&self, status: StatusCode) -> String {
        let told = self.member("detail").or_else(|| self.member("title"));
        let reason = status.canonical_reason().unwrap_or("Error");
        told.unwrap_or(reason).to_owned()
    }
}

/// The problem that an operation without a response ended in.
pub(super) fn problem_of(ended: Outcome) -> Problem {
    Problem::of_outcome(ended).unwrap_or(Problem::new(ProblemKind::Lost))
}

/// How far it is in whole percent, if the handler says so.
pub(super) fn percent(view: &View<'_>) -> Option<u64> {
    let fraction = view.report()?.fraction?;
    Some(match view.ending() {
        Some(ending) if ending.outcome == Outcome::Succeeded => 100,
        _ => whole_percent(fraction),
    })
}

/// Rounded down, but for what a fraction loses as an `f32`: the nearest to 0.29 is below it.
pub(super) fn whole_percent(fraction: f32) -> u64 {
    // Half of the step between those next to 1: the most that is lost, and too little to reach it.
    const LOST: f64 = f32::EPSILON as f64 / 4.0;
    ((f64::from(fraction) + LOST) * 100.0) as u64
}

/// Whether a template of a URL has nothing that no URL has.
pub(super) const fn is_template(template: &str) -> bool {
    let bytes = template.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_graphic() || matches!(bytes[at], b'"' | b'<' | b'>' | b'\\') {
            return false;
        }
        at += 1;
    }
    at > 0
}

/// A template with the operation's id in it.
pub(super) fn filled(template: &str, id: OperationId) -> String {
    template.replace("{id}", &id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_percent_is_told_as_it_is_and_what_is_not_through_is_no_100() {
        for percent in 0..=100_u8 {
            let fraction = f32::from(percent) / 100.0;
            assert_eq!(whole_percent(fraction), u64::from(percent), "{fraction}");
        }
        for (fraction, percent) in [
            (f32::MIN_POSITIVE, 0),
            (0.009_999, 0),
            (0.125, 12),
            (0.299_999, 29),
            (0.999_999_9, 99),
            (1.0_f32.next_down(), 99),
        ] {
            assert_eq!(whole_percent(fraction), percent, "{fraction}");
        }
    }
}
