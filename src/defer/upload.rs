//! Reads request bodies within their bounds, and refuses so that it is heard.

use super::{compact::compact_trailers, rebuild::Buffered};
use crate::{
    dialect::Head,
    operations::{Engine, UploadBytes},
    problem::{Problem, ProblemKind},
};
use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderValue, Response, Version, header};
use http_body::{Body, Frame};
use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};
use tokio::time::Sleep;

/// Length that the request announces, by `Content-Length` or by its body's own account.
pub(super) fn declared<B: Body>(head: Head<'_>, body: &B) -> u64 {
    let announced = head.headers.get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.parse().ok());
    body.size_hint().lower().max(announced.unwrap_or(0))
}

/// A request body on its way in. It is not polled again once it has ended or failed: few bodies allow that.
pub(super) struct Upload<'a, B> {
    body: Pin<&'a mut B>,
    left: Left,
}

/// What is still to come of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// All of it: nobody has been told to continue.
    All,
    Some,
    Nothing,
    /// It broke: whatever it is will never come.
    Lost,
}

impl<'a, B: Body<Data = Bytes>> Upload<'a, B> {
    pub(super) fn new(body: Pin<&'a mut B>) -> Self {
        let left = if body.is_end_stream() {
            Left::Nothing
        } else {
            Left::All
        };
        Self { body, left }
    }

    pub(super) fn body(&self) -> &B {
        &self.body
    }

    /// The next frame, unless [`Left`] tells why there is none.
    async fn frame(&mut self) -> Option<Frame<Bytes>> {
        if matches!(self.left, Left::Nothing | Left::Lost) {
            return None;
        }
        self.left = Left::Some;
        let frame = poll_fn(|cx| self.body.as_mut().poll_frame(cx)).await;
        match &frame {
            Some(Ok(_)) if !self.body.is_end_stream() => {}
            Some(Err(_)) => self.left = Left::Lost,
            Some(Ok(_)) | None => self.left = Left::Nothing,
        }
        frame?.ok()
    }
}

/// Reads a body of at most `limit` bytes into an allocation of just the right size.
pub(super) async fn read<B>(
    engine: &Arc<Engine>,
    body: &mut Upload<'_, B>,
    limit: u64,
) -> Result<Buffered, Problem>
where
    B: Body<Data = Bytes>,
{
    if body.left == Left::Nothing {
        return Ok(Buffered::default());
    }
    let mut collected = pin!(collect(engine, body, limit));
    // Most bodies have arrived with their heads: a timer is set for those that have not.
    let mut late: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        if let Poll::Ready(read) = collected.as_mut().poll(cx) {
            return Poll::Ready(read);
        }
        let late =
            late.get_or_insert_with(|| Box::pin(tokio::time::sleep(engine.limits.upload_time)));
        late.as_mut()
            .poll(cx)
            .map(|()| Err(Problem::new(ProblemKind::UploadTimeout)))
    })
    .await
}

async fn collect<B>(
    engine: &Arc<Engine>,
    body: &mut Upload<'_, B>,
    limit: u64,
) -> Result<Buffered, Problem>
where
    B: Body<Data = Bytes>,
{
    // Room is taken as it comes, not as it is announced: who announces much and sends nothing takes nothing.
    let mut room = UploadBytes::new(engine);
    let mut bytes = Vec::new();
    let mut trailers = HeaderMap::new();
    while let Some(frame) = body.frame().await {
        match frame.into_data() {
            Ok(data) => {
                let length = bytes.len() as u64 + data.remaining() as u64;
                if length > limit {
                    return Err(too_large(limit));
                }
                if !room.reserve(length) {
                    return Err(full(engine));
                }
                if bytes.is_empty() {
                    bytes.reserve_exact(data.len());
                }
                bytes.extend_from_slice(&data);
            }
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    if body.left == Left::Lost {
        return Err(Problem::new(ProblemKind::UploadFailed));
    }
    bytes.shrink_to_fit();
    compact_trailers(&mut trailers);
    Ok(Buffered::new(bytes).with_trailers(trailers))
}

pub(super) fn too_large(limit: u64) -> Problem {
    let detail = format!("The request body is longer than {limit} bytes.");
    Problem::new(ProblemKind::TooLarge).detail(detail)
}

pub(super) fn full(engine: &Engine) -> Problem {
    Problem::new(ProblemKind::Full).retry_after(engine.retry_after())
}

pub(super) fn draining(engine: &Engine) -> Problem {
    Problem::new(ProblemKind::Draining).retry_after(engine.retry_after())
}

/// Bytes that are read and thrown away, at least, before a connection is given up.
const DISCARD: u64 = 16 << 20;

/// Time that this may take.
const DISCARD_TIME: Duration = Duration::from_secs(5);

/// Makes sure that the client hears the answer to a request whose body has not been read to its end.
///
/// A client that is busy sending does not listen: what is left of the upload is read and thrown away, up to four times
/// the limit or 16 MiB, or for 5 s; then the connection is given up. One that waits for `100 Continue` has not begun to
/// send, and HTTP/2 can answer and reset the stream without harm to the others.
pub(super) async fn discard<B, T>(
    limit: u64,
    version: Version,
    headers: &HeaderMap,
    upload: Upload<'_, B>,
    response: &mut Response<T>,
) where
    B: Body<Data = Bytes>,
{
    if version > Version::HTTP_11 || upload.left == Left::Nothing {
        return;
    }
    // An expectation on HTTP/1.0 means nothing (RFC 9110, section 10.1.1), and one that was met means nothing any more.
    let expects = headers.get(header::EXPECT);
    let waits = expects.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
        && version == Version::HTTP_11
        && upload.left == Left::All;
    let at_most = limit.saturating_mul(4).max(DISCARD);
    let emptied = !waits && {
        let emptied = pin!(empty(upload, at_most));
        tokio::time::timeout(DISCARD_TIME, emptied)
            .await
            .unwrap_or(false)
    };
    if !emptied {
        let close = const { HeaderValue::from_static("close") };
        response.headers_mut().insert(header::CONNECTION, close);
    }
}

/// Whether the body was read to its end within `at_most` bytes.
async fn empty<B: Body<Data = Bytes>>(mut upload: Upload<'_, B>, at_most: u64) -> bool {
    let mut left = at_most;
    while let Some(frame) = upload.frame().await {
        let length = frame.data_ref().map_or(0, |data| data.remaining() as u64);
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return false,
        }
    }
    upload.left == Left::Nothing
}
