use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::Buffered;

/// A `Full` that ends with trailers, for the types that box what they are given.
///
/// The combinator of this name in `http-body-util` takes its trailers from a future, so it cannot
/// tell that there are none: it never says that it is at its end, and forgets its length there.
#[derive(Debug)]
pub(super) struct WithTrailers {
    data: Bytes,
    trailers: Option<HeaderMap>,
}

impl From<Buffered> for WithTrailers {
    fn from(from: Buffered) -> Self {
        let (data, trailers) = from.into_parts();
        Self { data, trailers }
    }
}

impl Body for WithTrailers {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = if self.data.is_empty() {
            self.trailers.take().map(Frame::trailers)
        } else {
            Some(Frame::data(std::mem::take(&mut self.data)))
        };
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::defer::rebuild::tests::trailers;

    use http_body_util::BodyExt;

    #[tokio::test]
    async fn data_comes_before_trailers_and_the_length_counts_down() {
        let end = trailers([("x-sum", "1")]);
        let mut body = WithTrailers::from(Buffered::new("abc").with_trailers(end.clone()));
        assert_eq!(body.size_hint().exact(), Some(3));
        assert!(!body.is_end_stream());

        let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(data, "abc");
        assert_eq!(body.size_hint().exact(), Some(0));
        assert!(!body.is_end_stream());

        let last = body.frame().await.unwrap().unwrap();
        assert_eq!(last.into_trailers().unwrap(), end);
        assert!(body.is_end_stream());
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn data_alone_is_the_end() {
        let mut body = WithTrailers::from(Buffered::new("abc"));
        body.frame().await.unwrap().unwrap();
        assert!(body.is_end_stream());
    }
}
