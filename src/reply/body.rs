use crate::{
    operations::Engine,
    record::{Content, OperationId, StoredResponse},
    runner::BlobReader,
    store::{Store, StoreError},
    trace,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version, header, response};
use http_body::{Body, Frame, SizeHint};
use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::SystemTime,
};

/// Body of this crate's own answers: documents, problems, and replays, which share the stored bytes.
#[derive(Default)]
pub struct ReplyBody {
    data: Bytes,
    /// What comes after the data, from a blob.
    rest: Option<Box<BlobReader>>,
    trailers: Option<Box<HeaderMap>>,
    /// What goes before and after the data.
    around: Option<Box<Around>>,
    /// Where there is nothing that has a length, and where trailers follow on HTTP/1, which has them only in chunked bodies.
    hides_length: bool,
    read: Option<Read>,
}

/// Bodies are handed to the connection in pieces of so many bytes, so that what a client has stopped to read is not taken
/// for read.
const PIECE: usize = 256 << 10;

struct Around {
    before: Bytes,
    after: Bytes,
}

impl Around {
    fn len(&self) -> u64 {
        (self.before.len() + self.after.len()) as u64
    }
}

/// Tells the store when the result has been handed to the connection whole.
struct Read {
    engine: Arc<Engine>,
    id: OperationId,
    counted: bool,
}

impl ReplyBody {
    /// A body of these bytes.
    pub(crate) fn new(data: Bytes) -> Self {
        Self {
            data,
            ..Self::default()
        }
    }

    /// No body, and no length: frameworks that tell the lengths of bodies would tell of none what is wrong of a 304.
    pub(crate) fn untold() -> Self {
        Self {
            hides_length: true,
            ..Self::default()
        }
    }

    /// A stored body and its trailers, for a request of this version.
    pub(crate) fn stored(
        store: &Arc<dyn Store>,
        response: &StoredResponse,
        version: Version,
    ) -> Self {
        let mut trailers = HeaderMap::new();
        for (name, value) in response.trailers() {
            trailers.append(name, value);
        }
        let trailers = (!trailers.is_empty()).then(|| Box::new(trailers));
        let bodiless = matches!(
            response.status(),
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
        let hides_length = trailers.is_some() && version <= Version::HTTP_11 && !bodiless;
        let (data, rest) = match response.body() {
            Content::Inline(bytes) => (bytes, None),
            Content::Blob { id, len } => {
                let reader = BlobReader::new(store.clone(), id, len);
                (Bytes::new(), Some(Box::new(reader)))
            }
        };
        Self {
            data,
            rest,
            trailers,
            hides_length,
            ..Self::default()
        }
    }

    /// A stored body between two pieces, without its trailers.
    pub(crate) fn around(
        store: &Arc<dyn Store>,
        before: Bytes,
        response: &StoredResponse,
        after: Bytes,
    ) -> Self {
        Self {
            trailers: None,
            hides_length: false,
            around: Some(Box::new(Around { before, after })),
            ..Self::stored(store, response, Version::HTTP_11)
        }
    }

    /// Removes what is stored elsewhere once it has been read: no record names it (any more).
    pub(crate) fn remove_at_end(&mut self) {
        if let Some(rest) = &mut self.rest {
            rest.remove_at_end();
        }
    }

    /// Has the store told when it has been read to its end, and where results are `counted`, counts it then.
    pub(crate) fn tell_when_read(&mut self, engine: &Arc<Engine>, id: OperationId, counted: bool) {
        self.read = Some(Read {
            engine: engine.clone(),
            id,
            counted,
        });
        self.tell_if_over();
    }

    fn tell_if_over(&mut self) {
        if self.is_end_stream()
            && let Some(read) = self.read.take()
        {
            read.engine.store.mark_read(read.id);
            if read.counted {
                read.engine.polls.gave_result(read.id);
            }
        }
    }
}

/// The stored response behind its head, as it is sent now: the date of a message is when it was sent (RFC 9110, section
/// 6.6.1), and trailers are announced. A head without a date gets one from the server.
pub(crate) fn replay(
    store: &Arc<dyn Store>,
    mut head: response::Parts,
    stored: &StoredResponse,
    version: Version,
) -> Response<ReplyBody> {
    let body = ReplyBody::stored(store, stored, version);
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
    type Error = StoreError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StoreError>>> {
        let this = &mut *self;
        if let Some(around) = &mut this.around
            && !around.before.is_empty()
        {
            let before = std::mem::take(&mut around.before);
            return Poll::Ready(Some(Ok(Frame::data(before))));
        }
        if this.data.is_empty()
            && let Some(rest) = &mut this.rest
        {
            match ready!(rest.poll_next(cx)) {
                Some(Ok(chunk)) => this.data = chunk,
                Some(Err(error)) => {
                    trace::store_failed("replay", &error);
                    return Poll::Ready(Some(Err(error)));
                }
                None => {}
            }
            if rest.left() == 0 {
                this.rest = None;
            }
        }
        let frame = if !this.data.is_empty() {
            let next = this.data.len().min(PIECE);
            Some(Frame::data(this.data.split_to(next)))
        } else if let Some(around) = this.around.take()
            && !around.after.is_empty()
        {
            Some(Frame::data(around.after))
        } else {
            this.trailers
                .take()
                .map(|trailers| Frame::trailers(*trailers))
        };
        this.tell_if_over();
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty()
            && self.rest.is_none()
            && self.trailers.is_none()
            && self.around.as_ref().is_none_or(|around| around.len() == 0)
    }

    fn size_hint(&self) -> SizeHint {
        if self.hides_length {
            SizeHint::default()
        } else {
            let rest = self.rest.as_ref().map_or(0, |rest| rest.left());
            let around = self.around.as_ref().map_or(0, |around| around.len());
            SizeHint::with_exact(self.data.len() as u64 + rest + around)
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
