use super::{
    Address, Answer, Ask, Dialect, Head, OptIn, Route, View,
    document::{NO_STORE, own_json, problem_of, progress, time},
};
use crate::{
    header::{if_match_holds, if_none_match_holds, remove_targeted, retry_after},
    json,
    problem::{Problem, ProblemKind},
    record::{OperationId, Outcome},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, request};
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// Polling by entity tags at the URL itself: no monitor, for clients that repeat a GET until it is there.
///
/// | the same `GET` | pending | succeeded | failed, cancelled |
/// | --- | --- | --- | --- |
/// | plain | 202, `ETag`, `Retry-After` | the stored response with an `ETag` | the stored response or its problem, without one |
/// | with that tag in `If-None-Match` | 304 | 304 | |
/// | with another in `If-Match` | 202 | 412 | |
///
/// GETs are the same whose method, target and `Accept`, `Accept-Charset`, `Accept-Encoding` and `Accept-Language` are, of
/// one owner: they join one operation. So there must be an [owner rule](crate::Builder::owner), or
/// [shared keys](crate::Builder::shared_keys). Hosts are not told apart: who answers for several takes an `Operations` for
/// each, or an owner rule that tells them apart. Other methods are not deferred, nor are requests that an owner rule takes for
/// nobody's. HEAD is answered as the GET would be where that has begun, without the body, and begins nothing: otherwise it
/// goes to the inner service. A failure that it shows is still to be told to a GET.
///
/// What has succeeded is an ordinary resource for [as long as it is kept](crate::DeferLayer::keep_for): the handler's
/// `ETag`, `Last-Modified`, `Cache-Control`, `Expires` and `Vary` stand, with `Age` beside them. A 200 without `ETag` is
/// given one, and a response without word for caches has them [ask each time](SameUrl#caches). After that the next GET begins
/// anew. What has failed, or was cancelled, is told to one GET, and the next begins anew: a client that gives up on the
/// first failure sees it, and one that goes on tries again.
///
/// The inner service does not see preconditions and ranges (`If-None-Match`, `If-Match`, `If-Modified-Since`,
/// `If-Unmodified-Since`, `If-Range`, `Range`), which are about what is stored.
///
/// ```
/// use tower_lro::{Operations, Owner, SameUrl};
///
/// let operations = Operations::builder()
///     .dialect(SameUrl::new())
///     .owner(|head| head.headers.get("x-user").map(|user| Owner::new(user.as_bytes())))
///     .build()?;
/// # Ok::<_, tower_lro::BuildError>(())
/// ```
///
/// # Caches
///
/// A response that says nothing to caches gets `Cache-Control: no-cache` (`private, no-cache` where it has an owner): it may
/// be kept, and is asked for again with its tag each time.
///
/// # Off the standard
///
/// 304 is defined where an unconditional request would be answered 200 (RFC 9110, section 15.4.5), which the one while
/// pending is not: it is for clients that know. Others leave `If-None-Match` out and see 202. The tag of what is pending is
/// never that of the result.
#[derive(Clone, Copy, Debug, Default)]
pub struct SameUrl(());

impl SameUrl {
    /// The dialect. It has no options.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

/// What the client accepts names the operation along with its URL: another representation is another result.
const ACCEPTS: [HeaderName; 4] = [
    header::ACCEPT,
    header::ACCEPT_CHARSET,
    header::ACCEPT_ENCODING,
    header::ACCEPT_LANGUAGE,
];

impl Dialect for SameUrl {
    fn address(&self, _: Head<'_>, _: Route<'_>) -> Option<Address> {
        None
    }

    fn admits(&self, head: Head<'_>) -> bool {
        *head.method == Method::GET
    }

    fn is_named_by_request(&self) -> bool {
        true
    }

    fn key<'a>(&self, head: Head<'a>) -> Result<Option<Cow<'a, str>>, Problem> {
        let mut key = format!("{} {}", head.method, head.target());
        for name in &ACCEPTS {
            for value in head.headers.get_all(name) {
                // No value has a line's end in it: none can pass for another.
                key.push('\n');
                key.push_str(name.as_str());
                key.push(' ');
                key.extend(value.as_bytes().iter().map(|byte| char::from(*byte)));
            }
        }
        Ok(Some(key.into()))
    }

    fn take_out(&self, head: &mut request::Parts) {
        for name in [
            header::IF_NONE_MATCH,
            header::IF_MATCH,
            header::IF_MODIFIED_SINCE,
            header::IF_UNMODIFIED_SINCE,
            header::IF_RANGE,
            header::RANGE,
        ] {
            head.headers.remove(name);
        }
    }

    fn accepted(&self, view: &View<'_>, _: &OptIn) -> Response<Answer> {
        pending(view)
    }

    fn answer(&self, view: &View<'_>, _: Ask, head: Head<'_>) -> Response<Answer> {
        match view.ending() {
            None => pending(view),
            Some(ending) if ending.outcome == Outcome::Succeeded => succeeded(view, head),
            Some(ending) => failed(view, ending.outcome),
        }
    }

    fn header_names(&self) -> &'static [HeaderName] {
        static NAMES: [HeaderName; 4] = [
            header::ETAG,
            header::RETRY_AFTER,
            header::AGE,
            header::ALLOW,
        ];
        &NAMES
    }
}

/// The engine makes a 304 of it for who has the tag.
fn pending(view: &View<'_>) -> Response<Answer> {
    let body = json::written(|out| {
        out.extend_from_slice(b"{\"status\":\"");
        out.extend_from_slice(view.phase().as_str().as_bytes());
        out.push(b'"');
        time(out, ",\"created\":", Some(view.record().created));
        time(out, ",\"started\":", view.started());
        if let Some(report) = view.report() {
            progress(report, out);
        }
        out.push(b'}');
    });
    let mut response = own_json(StatusCode::ACCEPTED, Answer::Bytes(body));
    let headers = response.headers_mut();
    // Weak: it stands for all documents of what is pending, so that progress is no news.
    headers.insert(header::ETAG, tag("W/\"pending-", view.id()));
    headers.insert(header::RETRY_AFTER, retry_after(view.retry_after()));
    response
}

fn succeeded(view: &View<'_>, head: Head<'_>) -> Response<Answer> {
    let Some(mut replay) = view.replay() else {
        return problem(ProblemKind::Lost);
    };
    let headers = &mut replay.headers;
    if !headers.contains_key(header::CACHE_CONTROL) && !headers.contains_key(header::EXPIRES) {
        let caches = match view.record().submission.owner {
            Some(_) => const { HeaderValue::from_static("private, no-cache") },
            None => const { HeaderValue::from_static("no-cache") },
        };
        headers.insert(header::CACHE_CONTROL, caches);
    }
    if replay.status == StatusCode::OK {
        if !headers.contains_key(header::ETAG) {
            headers.insert(header::ETAG, tag("\"", view.id()));
        }
        if is_another(head.headers, headers) {
            return problem(ProblemKind::Precondition);
        }
        if has_it(head.headers, headers) {
            return not_modified(headers);
        }
    }
    Response::from_parts(replay, Answer::Stored)
}

/// Whether the representation is not the one that the client wants (RFC 9110, section 13.2.2).
fn is_another(conditions: &HeaderMap, current: &HeaderMap) -> bool {
    if conditions.contains_key(header::IF_MATCH) {
        let tag = current.get(header::ETAG);
        return tag.is_some_and(|tag| !if_match_holds(conditions, tag));
    }
    is_modified_since(conditions, &header::IF_UNMODIFIED_SINCE, current).unwrap_or(false)
}

/// Whether the client has the representation (RFC 9110, section 13.2.2).
fn has_it(conditions: &HeaderMap, current: &HeaderMap) -> bool {
    if conditions.contains_key(header::IF_NONE_MATCH) {
        let tag = current.get(header::ETAG);
        return tag.is_some_and(|tag| !if_none_match_holds(conditions, tag));
    }
    is_modified_since(conditions, &header::IF_MODIFIED_SINCE, current) == Some(false)
}

/// `None` where either date is missing, or is none.
fn is_modified_since(
    conditions: &HeaderMap,
    condition: &HeaderName,
    current: &HeaderMap,
) -> Option<bool> {
    let date = |headers: &HeaderMap, name| {
        let value = headers.get(name)?.to_str().ok()?;
        httpdate::parse_http_date(value).ok()
    };
    let since = date(conditions, condition)?;
    Some(date(current, &header::LAST_MODIFIED)? > since)
}

/// With the fields that a 304 has to have (RFC 9110, section 15.4.5); its date is the server's to add.
fn not_modified(headers: &HeaderMap) -> Response<Answer> {
    let mut response = Response::new(Answer::Bytes(Bytes::new()));
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    for name in [
        header::CACHE_CONTROL,
        header::CONTENT_LOCATION,
        header::ETAG,
        header::EXPIRES,
        header::VARY,
    ] {
        for value in headers.get_all(&name) {
            response.headers_mut().append(&name, value.clone());
        }
    }
    response
}

/// Nothing of it is to be kept, or compared with.
fn failed(view: &View<'_>, outcome: Outcome) -> Response<Answer> {
    let Some(mut replay) = view.replay() else {
        return problem_of(outcome).to_response().map(Answer::Bytes);
    };
    for name in [header::ETAG, header::LAST_MODIFIED, header::EXPIRES] {
        replay.headers.remove(name);
    }
    remove_targeted(&mut replay.headers);
    replay.headers.insert(header::CACHE_CONTROL, NO_STORE);
    Response::from_parts(replay, Answer::Stored)
}

fn problem(kind: ProblemKind) -> Response<Answer> {
    Problem::new(kind).to_response().map(Answer::Bytes)
}

/// A tag of one operation. Its id, which is a secret, does not show.
fn tag(prefix: &str, id: OperationId) -> HeaderValue {
    let hash = Sha256::digest(id.as_uuid().as_bytes());
    let (hash, _) = hash.split_at(8);
    let mut tag = prefix.to_owned();
    for byte in hash {
        tag.push_str(&format!("{byte:02x}"));
    }
    tag.push('"');
    HeaderValue::try_from(tag).expect("prefixes and hexadecimal digits are visible ASCII")
}
