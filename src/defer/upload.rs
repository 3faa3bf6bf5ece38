//! Reads request bodies within their bounds, and refuses so that it is heard.

use super::{compact::compact_trailers, rebuild::Buffered};
use crate::{
    dialect::Head,
    operations::{Discard, Engine, UploadBytes},
    problem::{Problem, ProblemKind},
};
use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderValue, Response, Version, header};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{task::coop, time::Sleep};

/// Length that the request announces, by `Content-Length` or by its body's own account.
pub(super) fn declared<B: Body>(head: Head<'_>, body: &B) -> u64 {
    let hint = body.size_hint();
    hint.exact().unwrap_or_else(|| {
        let announced = head.headers.get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|value| value.to_str().ok()?.parse().ok());
        hint.lower().max(announced.unwrap_or(0))
    })
}

/// Reads a body of at most `limit` bytes into an allocation of just the right size.
pub(super) async fn read<B>(
    engine: &Arc<Engine>,
    body: Pin<&mut Upload<B>>,
    limit: u64,
) -> Result<Buffered, Problem>
where
    B: Body<Data = Bytes>,
{
    if body.is_end_stream() {
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
        // A body that is always ready uses up what a task may do in one go. Its time ends all the same.
        pin!(coop::unconstrained(late))
            .poll(cx)
            .map(|()| Err(Problem::new(ProblemKind::UploadTimeout)))
    })
    .await
}

async fn collect<B>(
    engine: &Arc<Engine>,
    mut body: Pin<&mut Upload<B>>,
    limit: u64,
) -> Result<Buffered, Problem>
where
    B: Body<Data = Bytes>,
{
    // Room is taken as it comes, not as it is announced: who announces much and sends nothing takes nothing.
    let mut room = UploadBytes::new(engine);
    let mut bytes = Vec::new();
    let mut trailers = None;
    while !body.is_end_stream() {
        let frame = poll_fn(|cx| body.as_mut().poll_frame(cx));
        let Some(frame) = coop::cooperative(frame).await else {
            // With hyper an HTTP/2 stream ends so that its client has given up with `NO_ERROR`, in some versions with `CANCEL`.
            if body.size_hint().lower() > 0 {
                return Err(Problem::new(ProblemKind::UploadFailed));
            }
            // Where nothing tells what is missing, hyper drops who reads it, once that is pending.
            if body.is_http_2() && !body.is_end_stream() {
                tokio::task::yield_now().await;
            }
            break;
        };
        let Ok(frame) = frame else {
            return Err(Problem::new(ProblemKind::UploadFailed));
        };
        match frame.into_data() {
            Ok(data) => {
                let length = bytes.len() as u64 + data.remaining() as u64;
                if length > limit {
                    return Err(too_large(limit));
                }
                if length > bytes.capacity() as u64 {
                    // Exact at first, as most bodies come in one piece; then with room to grow, as long as there is any.
                    let ample = (2 * bytes.capacity() as u64).clamp(length, limit);
                    let Some(capacity) = [ample, length].into_iter().find(|all| room.reserve(*all))
                    else {
                        return Err(full(engine));
                    };
                    bytes.reserve_exact(capacity as usize - bytes.len());
                }
                bytes.extend_from_slice(&data);
            }
            Err(frame) => {
                let Ok(fields) = frame.into_trailers() else {
                    continue;
                };
                let lengths = fields
                    .iter()
                    .map(|(name, value)| name.as_str().len() + value.len());
                let length: usize = lengths.sum();
                if (bytes.len() + length) as u64 > limit {
                    return Err(too_large(limit));
                }
                if !room.reserve((bytes.capacity() + length) as u64) {
                    return Err(full(engine));
                }
                trailers = Some(Box::new(fields));
            }
        }
    }
    bytes.shrink_to_fit();
    let body = Buffered::new(bytes);
    Ok(match trailers {
        Some(mut trailers) => {
            compact_trailers(&mut trailers);
            body.with_trailers(*trailers)
        }
        None => body,
    })
}

pub(super) fn target_too_long(limit: usize) -> Problem {
    let detail = format!("The target of the request is longer than {limit} bytes.");
    Problem::new(ProblemKind::TargetTooLong).detail(detail)
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

pin_project! {
    /// A request body that can be read on behind the answer to its request.
    #[project = UploadProj]
    pub(super) enum Upload<B> {
        Here { #[pin] body: B },
        /// Where it can be taken away; `None`: it has been.
        Apart { body: Option<Pin<Box<B>>> },
    }
}

impl<B: Body<Data = Bytes>> Upload<B> {
    pub(super) fn new(body: B, version: Version) -> Self {
        // What has arrived whole is not read on.
        if version > Version::HTTP_11 && !body.is_end_stream() {
            let body = Some(Box::pin(body));
            Self::Apart { body }
        } else {
            Self::Here { body }
        }
    }

    fn is_http_2(&self) -> bool {
        matches!(self, Self::Apart { .. })
    }

    fn read_behind(self: Pin<&mut Self>, at_most: u64, discard: Discard)
    where
        B: Send + 'static,
    {
        let UploadProj::Apart { body } = self.project() else {
            return;
        };
        if let Some(mut body) = body.take() {
            tokio::spawn(async move {
                let emptied = empty(body.as_mut(), at_most);
                let _ = tokio::time::timeout(DISCARD_TIME, emptied).await;
                drop(discard);
            });
        }
    }
}

impl<B: Body<Data = Bytes>> Body for Upload<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project() {
            UploadProj::Here { body } => body.poll_frame(cx),
            UploadProj::Apart { body: Some(body) } => body.as_mut().poll_frame(cx),
            UploadProj::Apart { body: None } => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Here { body } => body.is_end_stream(),
            Self::Apart { body } => body.as_ref().is_none_or(|body| body.is_end_stream()),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Here { body } => body.size_hint(),
            Self::Apart { body: Some(body) } => body.size_hint(),
            Self::Apart { body: None } => SizeHint::with_exact(0),
        }
    }
}

/// How far a body that is refused has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// Not at all: nobody has been told to continue.
    None,
    Some,
    /// To its end: it must not be polled again.
    Whole,
    /// To where it broke.
    Broken,
}

/// Makes sure that the client hears the answer to a request whose body has not been read to its end.
///
/// A client that is busy sending does not listen: what is left of the upload is read and thrown away, up to four times
/// the limit or 16 MiB, or for 5 s; then the connection is given up. One that waits for `100 Continue` has not begun to
/// send. On HTTP/2 clients do listen, so the rest is read behind the answer; but were it not read, the stream would be
/// reset right behind the answer (RFC 9113, section 8.1), and some then forget what they have heard.
///
/// No more than [`Limits::discards`](crate::Limits::discards) at a time: the others are cut off.
pub(super) async fn discard<B, T>(
    engine: &Arc<Engine>,
    limit: u64,
    read: Extent,
    version: Version,
    headers: &HeaderMap,
    body: Pin<&mut Upload<B>>,
    response: &mut Response<T>,
) where
    B: Body<Data = Bytes> + Send + 'static,
{
    if read == Extent::Whole || (read != Extent::Broken && body.is_end_stream()) {
        return;
    }
    let at_most = limit.saturating_mul(4).max(DISCARD);
    if version > Version::HTTP_11 {
        if read != Extent::Broken
            && let Some(discard) = Discard::begin(engine)
        {
            body.read_behind(at_most, discard);
        }
        return;
    }
    // An expectation on HTTP/1.0 means nothing (RFC 9110, section 10.1.1), and one that was met means nothing any more.
    let expects = headers.get(header::EXPECT);
    let waits = expects.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
        && version == Version::HTTP_11
        && read == Extent::None;
    let emptied = match Discard::begin(engine) {
        Some(_discard) if !waits && read != Extent::Broken => {
            let emptied = pin!(empty(body, at_most));
            tokio::time::timeout(DISCARD_TIME, emptied)
                .await
                .unwrap_or(false)
        }
        _ => false,
    };
    if !emptied {
        let close = const { HeaderValue::from_static("close") };
        response.headers_mut().insert(header::CONNECTION, close);
    }
}

/// Whether the body was read to its end within `at_most` bytes.
async fn empty<B: Body<Data = Bytes>>(mut body: Pin<&mut B>, at_most: u64) -> bool {
    let mut left = at_most;
    while !body.is_end_stream() {
        let frame = poll_fn(|cx| body.as_mut().poll_frame(cx));
        let Some(frame) = coop::cooperative(frame).await else {
            return true;
        };
        let Ok(frame) = frame else { return false };
        let length = frame.data_ref().map_or(0, |data| data.remaining() as u64);
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return false,
        }
    }
    true
}
