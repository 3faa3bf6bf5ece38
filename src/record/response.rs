use super::{BlobId, Content, end_to_end::keep_of_response, reference::rewrite};
use crate::header::lines;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, response};
use std::fmt;
use uuid::Uuid;

/// The inner service's whole final response as it is kept: status, fields, body, trailers.
///
/// All of it lies in one allocation of just the right size, which pins nothing else: no slice of a connection's
/// buffer, no [`HeaderMap`] (an empty one with a single field takes over 600 bytes). Replays share the bytes. A body that
/// is too long for that is a [blob](Content::Blob), and its name lies in its place.
#[derive(Clone)]
pub struct StoredResponse {
    pub(super) status: StatusCode,
    pub(super) is_blob: bool,
    pub(super) fields_end: u32,
    pub(super) body_end: usize,
    pub(super) bytes: Bytes,
}

impl StoredResponse {
    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The fields that may outlive the connection, in order.
    pub fn fields(&self) -> Fields<'_> {
        Fields::within(&self.bytes, 0, self.fields_end as usize)
    }

    /// The body as it was sent, never decoded.
    #[must_use]
    pub fn body(&self) -> Content {
        match self.blob() {
            Some((id, len)) => Content::Blob { id, len },
            None => Content::Inline(self.bytes.slice(self.fields_end as usize..self.body_end)),
        }
    }

    /// Length of the body in bytes.
    #[must_use]
    pub fn body_len(&self) -> u64 {
        match self.blob() {
            Some((_, len)) => len,
            None => (self.body_end - self.fields_end as usize) as u64,
        }
    }

    pub(super) fn body_blob(&self) -> Option<BlobId> {
        self.blob().map(|(id, _)| id)
    }

    fn blob(&self) -> Option<(BlobId, u64)> {
        if !self.is_blob {
            return None;
        }
        let name = &self.bytes[self.fields_end as usize..self.body_end];
        let (id, len) = name.split_first_chunk::<16>()?;
        let len = u64::from_be_bytes(*len.first_chunk()?);
        Some((BlobId::from_uuid(Uuid::from_bytes(*id)), len))
    }

    /// The trailer fields, in order.
    pub fn trailers(&self) -> Fields<'_> {
        Fields::within(&self.bytes, self.body_end, self.bytes.len())
    }

    /// Bytes that keeping it takes, a blob not counted.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }
}

impl fmt::Debug for StoredResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredResponse")
            .field("status", &self.status)
            .field("fields", &self.fields().count())
            .field("body_len", &self.body_len())
            .finish_non_exhaustive()
    }
}

/// Iterator over stored fields.
#[derive(Clone)]
pub struct Fields<'a> {
    bytes: &'a Bytes,
    at: usize,
    end: usize,
}

/// Set in a field's name length when its value must never be indexed by HPACK.
const SENSITIVE: u16 = 1 << 15;

impl<'a> Fields<'a> {
    pub(super) fn within(bytes: &'a Bytes, at: usize, end: usize) -> Self {
        Self { bytes, at, end }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.end
    }

    fn advance(&mut self, length: usize) -> Option<std::ops::Range<usize>> {
        let to = self.at.checked_add(length).filter(|to| *to <= self.end)?;
        Some(std::mem::replace(&mut self.at, to)..to)
    }

    /// Of the next field's name and value.
    fn lengths(&mut self) -> Option<(usize, usize)> {
        let lengths = self.advance(6)?;
        let [a, b, c, d, e, f] = self.bytes.get(lengths)?.try_into().ok()?;
        let name = u16::from_be_bytes([a, b]) & !SENSITIVE;
        Some((name.into(), u32::from_be_bytes([c, d, e, f]) as usize))
    }

    /// The names as they are stored, in lower case: nothing is made of them.
    pub(crate) fn names(mut self) -> impl Iterator<Item = &'a [u8]> {
        std::iter::from_fn(move || {
            let (name, value) = self.lengths()?;
            let (name, _) = (self.advance(name)?, self.advance(value)?);
            self.bytes.get(name)
        })
    }
}

impl Iterator for Fields<'_> {
    type Item = (HeaderName, HeaderValue);

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.at;
        let (name, value) = self.lengths()?;
        let is_sensitive = self.bytes.get(at)? & SENSITIVE.to_be_bytes()[0] != 0;
        let (name, value) = (self.advance(name)?, self.advance(value)?);
        // As HTTP/2 has them, in which quotes are let through that `from_bytes` refuses.
        let name = HeaderName::from_lowercase(self.bytes.get(name)?).ok()?;
        let mut value = HeaderValue::from_maybe_shared(self.bytes.slice(value)).ok()?;
        value.set_sensitive(is_sensitive);
        Some((name, value))
    }

    /// Makes none of them.
    fn count(self) -> usize {
        self.names().count()
    }
}

/// Shows how many are left, not what: they lie beside a body, and among them are cookies.
impl fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fields")
            .field("left", &self.clone().count())
            .finish_non_exhaustive()
    }
}

/// Names in the head of a response, at most: a map holds 24,576, and replays add some.
const NAMES: usize = 24_000;

fn is_bodiless(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
    )
}

/// Takes a response in as it comes, up to a limit.
#[derive(Debug)]
pub(crate) struct Capture {
    status: StatusCode,
    fields_end: u32,
    /// The head's fields, and what is held of the body.
    buffer: Vec<u8>,
    trailers: Vec<u8>,
    /// Length of the body by its head's account; 0 where that gives none.
    told: u64,
    limit: u64,
    /// What of the body is in a blob, and so no longer in the buffer.
    blob: Option<(BlobId, u64)>,
}

/// The response is longer than may be stored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

impl Capture {
    /// Begins with the head, keeping what may outlive its connection; references in it that are relative are resolved
    /// against `target`, since the replay is answered from another URL.
    pub(crate) fn begin(
        head: &response::Parts,
        target: &str,
        expected_body: u64,
        limit: u64,
    ) -> Result<Self, TooLarge> {
        let expected_body = match is_bodiless(head.status) {
            true => 0,
            false => expected_body,
        };
        if expected_body > limit || head.headers.keys_len() > NAMES {
            return Err(TooLarge);
        }
        // Most responses lose nothing but their `Content-Length`: what is taken for more is given back at the end.
        let stays = |(name, _): &(&HeaderName, &HeaderValue)| *name != header::CONTENT_LENGTH;
        let length =
            |(name, value): (&HeaderName, &HeaderValue)| 6 + name.as_str().len() + value.len();
        let fields: usize = head.headers.iter().filter(stays).map(length).sum();
        // Trust the announcement up to a point: what was not sent must not be allocated.
        let expected = usize::try_from(expected_body.min(1 << 20)).unwrap_or(0);
        let mut buffer = Vec::with_capacity(fields + expected);
        for (name, value) in keep_of_response(&head.headers).chain(told_length(head)) {
            match rewrite(target, name, value) {
                Some(value) => put(&mut buffer, name, &value),
                None => put(&mut buffer, name, value),
            }
        }
        let fields_end = u32::try_from(buffer.len()).map_err(|_| TooLarge)?;
        Ok(Self {
            status: head.status,
            fields_end,
            buffer,
            trailers: Vec::new(),
            told: body_length(head).unwrap_or(0),
            limit,
            blob: None,
        })
    }

    /// Whether the status forbids that a body is replayed.
    pub(crate) fn is_bodiless(&self) -> bool {
        is_bodiless(self.status)
    }

    pub(crate) fn data(&mut self, data: &[u8]) -> Result<(), TooLarge> {
        if self.is_bodiless() {
            return Ok(());
        }
        self.check_limit(data.len())?;
        self.buffer.extend_from_slice(data);
        Ok(())
    }

    /// Refuses what would go over the limit with `more` bytes.
    fn check_limit(&self, more: usize) -> Result<(), TooLarge> {
        let more = self.trailers.len() + more;
        if self.body_len() + more as u64 > self.limit {
            Err(TooLarge)
        } else {
            Ok(())
        }
    }

    fn body_len(&self) -> u64 {
        let in_blob = self.blob.map_or(0, |(_, len)| len);
        in_blob + self.held() as u64
    }

    /// Whether the body is shorter than its head has told. What was sent so is not whole (RFC 9112, section 8), and a
    /// replay with a length of its own would seem to be.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.body_len() < self.told
    }

    /// Bytes of the body that are held here.
    pub(crate) fn held(&self) -> usize {
        self.buffer.len() - self.fields_end as usize
    }

    /// Takes out what is held of the body, as the next part of a blob.
    pub(crate) fn spill(&mut self, to: BlobId) -> Bytes {
        let held = self.buffer.split_off(self.fields_end as usize);
        let (_, len) = self.blob.get_or_insert((to, 0));
        *len += held.len() as u64;
        held.into()
    }

    pub(crate) fn trailers(&mut self, trailers: &HeaderMap) -> Result<(), TooLarge> {
        for (name, value) in keep_of_response(trailers) {
            put(&mut self.trailers, name, value);
        }
        self.check_limit(0)
    }

    /// Of a body that is in a blob nothing is held any more, and its name takes its place.
    pub(crate) fn end(mut self) -> StoredResponse {
        if let Some((id, len)) = self.blob {
            debug_assert_eq!(self.held(), 0);
            self.buffer.extend_from_slice(id.as_uuid().as_bytes());
            self.buffer.extend_from_slice(&len.to_be_bytes());
        }
        let body_end = self.buffer.len();
        self.buffer.extend_from_slice(&self.trailers);
        self.buffer.shrink_to_fit();
        StoredResponse {
            status: self.status,
            is_blob: self.blob.is_some(),
            fields_end: self.fields_end,
            body_end,
            bytes: self.buffer.into(),
        }
    }
}

/// Of the body that follows this head, by its own account.
fn body_length(head: &response::Parts) -> Option<u64> {
    let told = lines(&head.headers, header::CONTENT_LENGTH).next()?;
    let told = told.to_str().ok()?.parse().ok();
    told.filter(|_| !is_bodiless(head.status))
}

/// `Content-Length` is made anew wherever there is a body; a 304 has none, and tells the length of another's.
fn told_length(head: &response::Parts) -> Option<(&HeaderName, &HeaderValue)> {
    if head.status != StatusCode::NOT_MODIFIED {
        return None;
    }
    let told = head.headers.get(header::CONTENT_LENGTH)?;
    Some((&header::CONTENT_LENGTH, told))
}

pub(super) fn put(buffer: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    let sensitive = if value.is_sensitive() { SENSITIVE } else { 0 };
    // Names are at most 2^16 - 1 bytes by `http`'s own check, and no sane one uses the top bit.
    let (Ok(name_len), Ok(value_len)) = (
        u16::try_from(name.as_str().len()),
        u32::try_from(value.len()),
    ) else {
        return;
    };
    if name_len & SENSITIVE != 0 {
        return;
    }
    buffer.extend_from_slice(&(name_len | sensitive).to_be_bytes());
    buffer.extend_from_slice(&value_len.to_be_bytes());
    buffer.extend_from_slice(name.as_str().as_bytes());
    buffer.extend_from_slice(value.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Response;

    fn capture(response: Response<&str>, trailers: &HeaderMap) -> StoredResponse {
        let (head, body) = response.into_parts();
        let mut capture = Capture::begin(&head, "/reports", body.len() as u64, 1 << 20).unwrap();
        for piece in body.as_bytes().chunks(3) {
            capture.data(piece).unwrap();
        }
        capture.trailers(trailers).unwrap();
        capture.end()
    }

    fn shown(fields: Fields<'_>) -> Vec<String> {
        fields
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect()
    }

    #[test]
    fn fields_body_and_trailers_come_back() {
        let response = Response::builder()
            .status(201)
            .header("set-cookie", "a=1")
            .header("x-custom", "")
            .header("set-cookie", "b=2")
            .header("connection", "x-hop")
            .header("x-hop", "1")
            .header("content-length", "9")
            .header("location", "7")
            .body("some text")
            .unwrap();
        let trailers = HeaderMap::from_iter([(
            HeaderName::from_static("x-sum"),
            HeaderValue::from_static("9"),
        )]);
        let stored = capture(response, &trailers);
        assert_eq!(stored.status(), 201);
        let mut fields = shown(stored.fields());
        fields.sort();
        assert_eq!(
            fields,
            [
                "location: /7",
                "set-cookie: a=1",
                "set-cookie: b=2",
                "x-custom: "
            ]
        );
        assert_eq!(stored.body(), Content::Inline("some text".into()));
        assert_eq!(stored.body_len(), 9);
        assert_eq!(shown(stored.trailers()), ["x-sum: 9"]);
    }

    #[test]
    fn neither_fields_nor_the_body_beside_them_are_shown() {
        let response = Response::builder()
            .header("set-cookie", "secret=1")
            .header("x-custom", "a")
            .body("a secret")
            .unwrap();
        let stored = capture(response, &HeaderMap::new());
        let mut fields = stored.fields();
        assert_eq!(format!("{fields:?}"), "Fields { left: 2, .. }");
        fields.next();
        assert_eq!(format!("{fields:?}"), "Fields { left: 1, .. }");
    }

    #[test]
    fn trailers_lose_what_is_about_one_connection_as_fields_do() {
        let trailers = ["x-sum", "connection", "keep-alive", "x-hop"].map(|name| {
            let value = if name == "connection" { "x-hop" } else { "1" };
            (HeaderName::from_static(name), value.parse().unwrap())
        });
        let stored = capture(Response::new(""), &HeaderMap::from_iter(trailers));
        assert_eq!(shown(stored.trailers()), ["x-sum: 1"]);
    }

    #[test]
    fn a_body_in_a_blob_leaves_its_name() {
        let response = Response::builder().header("x-custom", "1").body("");
        let head = response.unwrap().into_parts().0;
        let mut capture = Capture::begin(&head, "/reports", 0, 21).unwrap();
        let id = BlobId::random();
        capture.data(b"some").unwrap();
        assert_eq!(capture.held(), 4);
        assert_eq!(capture.spill(id), "some");
        capture.data(b" text").unwrap();
        // The limit is for the whole of it.
        assert_eq!(capture.data(b"more than fits"), Err(TooLarge));
        assert_eq!(capture.spill(id), " text");
        let trailers = [(
            HeaderName::from_static("x-sum"),
            HeaderValue::from_static("9"),
        )];
        capture.trailers(&HeaderMap::from_iter(trailers)).unwrap();
        assert_eq!(capture.held(), 0);
        let stored = capture.end();
        assert_eq!(stored.body(), Content::Blob { id, len: 9 });
        assert_eq!(stored.body_len(), 9);
        assert_eq!(shown(stored.fields()), ["x-custom: 1"]);
        assert_eq!(shown(stored.trailers()), ["x-sum: 9"]);
    }

    #[test]
    fn the_allocation_has_just_the_right_size() {
        let stored = capture(Response::new("some text"), &HeaderMap::new());
        let vec: Vec<u8> = stored.bytes.into();
        assert_eq!((vec.capacity(), vec.len()), (9, 9));
    }

    #[test]
    fn a_body_over_the_limit_is_too_large_announced_or_not() {
        let head = Response::new(()).into_parts().0;
        assert_eq!(Capture::begin(&head, "/", 11, 10).err(), Some(TooLarge));
        let mut capture = Capture::begin(&head, "/", 0, 10).unwrap();
        assert_eq!(capture.data(&[0; 10]), Ok(()));
        assert_eq!(capture.data(&[0; 1]), Err(TooLarge));
    }

    #[test]
    fn sensitive_values_stay_sensitive() {
        let mut secret = HeaderValue::from_static("s");
        secret.set_sensitive(true);
        let response = Response::builder()
            .header("x-a", secret)
            .header("x-b", "p")
            .body("");
        let stored = capture(response.unwrap(), &HeaderMap::new());
        let flags: Vec<_> = stored
            .fields()
            .map(|(_, value)| value.is_sensitive())
            .collect();
        assert_eq!(flags, [true, false]);
    }

    #[test]
    fn a_304_keeps_its_length_and_a_204_gets_no_body() {
        let build = |status: u16| {
            Response::builder()
                .status(status)
                .header("content-length", "4")
                .body("oops")
                .unwrap()
        };
        let stored = capture(build(304), &HeaderMap::new());
        assert_eq!(
            (shown(stored.fields()), stored.body_len()),
            (vec!["content-length: 4".into()], 0)
        );
        let stored = capture(build(204), &HeaderMap::new());
        assert_eq!((shown(stored.fields()).len(), stored.body_len()), (0, 0));
    }
}
