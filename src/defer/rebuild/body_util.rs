//! The bodies of `http-body-util` that can hold any bytes.
//!
//! Not `Empty`, which holds none; not `Limited`, whose limit is not known here; and not `Either`,
//! as nothing says which side it was.

use bytes::Bytes;
use http_body_util::{
    BodyExt, Full,
    combinators::{BoxBody, UnsyncBoxBody},
};

use super::{Buffered, Rebuild, Rebuilt, with_trailers::WithTrailers};

/// Trailers are dropped: a `Full` has no place for them.
impl Rebuild for Full<Bytes> {
    fn rebuild(from: Buffered) -> Rebuilt<Self> {
        let (bytes, _) = from.into_parts();
        Rebuilt::ready(Full::new(bytes))
    }
}

impl<E: 'static> Rebuild for BoxBody<Bytes, E> {
    fn rebuild(from: Buffered) -> Rebuilt<Self> {
        let body = WithTrailers::from(from).map_err(|never| match never {});
        Rebuilt::ready(BoxBody::new(body))
    }
}

impl<E: 'static> Rebuild for UnsyncBoxBody<Bytes, E> {
    fn rebuild(from: Buffered) -> Rebuilt<Self> {
        let body = WithTrailers::from(from).map_err(|never| match never {});
        Rebuilt::ready(UnsyncBoxBody::new(body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::defer::rebuild::tests::{keeps_everything, read, trailers};

    use http_body::Body;

    #[tokio::test]
    async fn full_keeps_the_very_bytes_and_drops_trailers() {
        let bytes = Bytes::from(vec![7; 1000]);
        let address = bytes.as_ptr();
        let from = Buffered::new(bytes).with_trailers(trailers([("x-sum", "1")]));

        let (body, driver) = Full::rebuild(from.clone()).into_parts();
        assert!(driver.is_none());
        assert_eq!(body.size_hint().exact(), Some(1000));

        let read = read::<Full<Bytes>>(from).await;
        assert_eq!(read.bytes().as_ptr(), address);
        assert!(read.trailers().is_none());
    }

    #[tokio::test]
    async fn full_of_nothing_is_at_its_end() {
        let (body, _) = Full::rebuild(Buffered::default()).into_parts();
        assert!(body.is_end_stream());
    }

    #[tokio::test]
    async fn boxed_bodies_keep_everything() {
        keeps_everything::<BoxBody<Bytes, std::io::Error>>().await;
        keeps_everything::<UnsyncBoxBody<Bytes, std::io::Error>>().await;
    }

    #[tokio::test]
    async fn the_error_of_a_boxed_body_need_not_cross_threads() {
        keeps_everything::<UnsyncBoxBody<Bytes, std::rc::Rc<()>>>().await;
    }
}
