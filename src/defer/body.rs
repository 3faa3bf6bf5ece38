use crate::{reply::ReplyBody, store::StoreError};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::{
    error::Error,
    fmt,
    pin::Pin,
    task::{Context, Poll},
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

/// An empty body: layers further out answer with it in this one's place.
impl<B> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::own(ReplyBody::default())
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = BodyError<B::Error>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.project().kind.project() {
            KindProj::Inner { body } => body.poll_frame(cx).map_err(BodyError::Inner),
            KindProj::Own { body } => Pin::new(body).poll_frame(cx).map_err(BodyError::Stored),
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

/// Why a [`ResponseBody`] breaks off.
#[derive(Debug)]
#[non_exhaustive]
pub enum BodyError<E> {
    /// The inner service's body does.
    Inner(E),
    /// What is stored of a response can't be read to its end.
    Stored(StoreError),
}

impl<E: fmt::Display> fmt::Display for BodyError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inner(error) => error.fmt(f),
            Self::Stored(error) => error.fmt(f),
        }
    }
}

/// For every error type that can be boxed. (Many bodies have boxed errors, for which [`Error`] is not implemented: so
/// [`BodyError`] can't implement it either.)
impl<E: Into<Box<dyn Error + Send + Sync>>> From<BodyError<E>> for Box<dyn Error + Send + Sync> {
    fn from(error: BodyError<E>) -> Self {
        match error {
            BodyError::Inner(error) => error.into(),
            BodyError::Stored(error) => error.into(),
        }
    }
}
