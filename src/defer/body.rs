use crate::{
    operations::Engine,
    record::{Content, OperationId, StoredResponse},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version, header, response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::SystemTime,
};

pin_project! {
    /// Body of a response that has passed a [`Defer`](crate::Defer): the inner service's own, or one of this crate's.
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<B> {
        Inner { #[pin] body: B },
        Own { body: ReplyBody },
    }
}

impl<B> ResponseBody<B> {
    pub(crate) fn inner(body: B) -> Self {
        Self {
            kind: Kind::Inner { body },
        }
    }

    pub(crate) fn own(body: ReplyBody) -> Self {
        Self {
            kind: Kind::Own { body },
        }
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().kind.project() {
            KindProj::Inner { body } => body.poll_frame(cx),
            KindProj::Own { body } => Poll::Ready(body.next_frame().map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner { body } => body.is_end_stream(),
            Kind::Own { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner { body } => body.size_hint(),
            Kind::Own { body } => body.size_hint(),
        }
    }
}

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Inner { .. } => "ResponseBody::Inner",
            Kind::Own { .. } => "ResponseBody::Own",
        })
    }
}

/// Body of this crate's own answers: documents, problems, and replays, which share the stored bytes.
#[derive(Default)]
pub struct ReplyBody {
    data: Bytes,
    trailers: Option<Box<HeaderMap>>,
    /// The length is not told where trailers follow on HTTP/1, which has them only in chunked bodies.
    unsized_: bool,
    read: Option<Read>,
}

/// Bodies are handed to the connection in pieces of so many bytes, so that what a client has stopped to read is not taken
/// for read.
const PIECE: usize = 256 << 10;

/// Tells the store when the result has been handed to the connection whole.
struct Read {
    engine: Arc<Engine>,
    id: OperationId,
}

impl ReplyBody {
    /// A body of these bytes.
    pub(crate) fn new(data: Bytes) -> Self {
        Self {
            data,
            ..Self::default()
        }
    }

    /// A stored body and its trailers, for a request of this version.
    pub(crate) fn stored(response: &StoredResponse, version: Version) -> Self {
        let mut trailers = HeaderMap::new();
        for (name, value) in response.trailers() {
            trailers.append(name, value);
        }
        let trailers = (!trailers.is_empty()).then(|| Box::new(trailers));
        let bodiless = matches!(
            response.status(),
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
        let unsized_ = trailers.is_some() && version <= Version::HTTP_11 && !bodiless;
        Self {
            data: match response.body() {
                Content::Inline(bytes) => bytes,
                Content::Blob { .. } => Bytes::new(),
            },
            trailers,
            unsized_,
            read: None,
        }
    }

    /// Has the store told when it has been read to its end.
    pub(crate) fn tell_when_read(&mut self, engine: &Arc<Engine>, id: OperationId) {
        self.read = Some(Read {
            engine: engine.clone(),
            id,
        });
        self.told_if_over();
    }

    fn told_if_over(&mut self) {
        if self.is_end_stream()
            && let Some(read) = self.read.take()
        {
            read.engine.store.mark_read(read.id);
        }
    }

    fn next_frame(&mut self) -> Option<Frame<Bytes>> {
        let frame = if !self.data.is_empty() {
            let next = self.data.len().min(PIECE);
            Some(Frame::data(self.data.split_to(next)))
        } else {
            self.trailers
                .take()
                .map(|trailers| Frame::trailers(*trailers))
        };
        self.told_if_over();
        frame
    }
}

/// The stored response behind its head, as it is sent now: the date of a message is when it was sent (RFC 9110, section
/// 6.6.1), and trailers are announced. A head without a date gets one from the server.
pub(crate) fn replay(
    mut head: response::Parts,
    stored: &StoredResponse,
    version: Version,
) -> Response<ReplyBody> {
    let body = ReplyBody::stored(stored, version);
    if head.headers.contains_key(header::DATE) {
        let now = httpdate::fmt_http_date(SystemTime::now());
        let now = HeaderValue::try_from(now).expect("dates are visible ASCII");
        head.headers.insert(header::DATE, now);
    }
    if let Some(trailers) = body.trailers.as_deref() {
        let names: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
        let names = HeaderValue::try_from(names.join(", ")).expect("names are tokens");
        head.headers.insert(header::TRAILER, names);
    }
    Response::from_parts(head, body)
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.next_frame().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.unsized_ {
            SizeHint::default()
        } else {
            SizeHint::with_exact(self.data.len() as u64)
        }
    }
}

impl fmt::Debug for ReplyBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplyBody")
            .field("len", &self.data.len())
            .finish_non_exhaustive()
    }
}
