//! Request bodies, made again from bytes.
//!
//! A request that is answered before its work is done must have been read to its end: hyper never
//! ends the body of an HTTP/1 request whose response went out first, and the client may hang up. So
//! the middleware reads the body into memory. The inner service knows nothing of that: it is a
//! `Service<Request<B>>` and stays one, because a body of the *same* type `B` is made from what was
//! read. This is what [`Rebuild`] is for.
//!
//! # Which bodies
//!
//! | body | feature | trailers |
//! | --- | --- | --- |
//! | `http_body_util::Full<Bytes>` | | dropped, it has no place for them |
//! | `http_body_util::combinators::BoxBody<Bytes, E>` | | kept |
//! | `http_body_util::combinators::UnsyncBoxBody<Bytes, E>` | | kept |
//! | `axum::body::Body` | `axum` | kept |
//! | `hyper::body::Incoming` | `hyper` | kept |
//! | `tonic::body::Body` | `tonic` | kept |
//!
//! A type of your own implements the trait in a few lines; see [`Rebuild`], also for the types of
//! other crates.
//!
//! # Bodies that want a driver
//!
//! Nearly every body is made on the spot and is then on its own. `Incoming` is different: only a
//! connection of hyper's can make one, and somebody must poll that connection for as long as the
//! body is read, as a server does. For these [`Rebuilt`] holds a [`Driver`] beside the body.
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::{BodyExt, Full};
//! use tower_lro::defer::rebuild::{Buffered, Rebuild};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (body, driver) = Full::<Bytes>::rebuild(Buffered::new("a report, please")).into_parts();
//!
//! // A `Full` needs nobody. Where there is a driver, it is polled beside the reader.
//! let read = body.collect();
//! let read = match driver {
//!     Some(mut driver) => driver.beside(read).await?,
//!     None => read.await?,
//! };
//! assert_eq!(read.to_bytes(), "a report, please");
//! # Ok(())
//! # }
//! ```

mod body_util;
mod with_trailers;

#[cfg(feature = "axum")]
mod axum;
#[cfg(feature = "hyper")]
mod hyper;
#[cfg(feature = "tonic")]
mod tonic;

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body;

/// A body type that can be made again from bytes.
///
/// The module documentation [lists the types](self#which-bodies) that implement it.
///
/// # Contract
///
/// The body yields exactly the bytes of the [`Buffered`] it is made from, in any number of frames,
/// and then its trailers, if the type can carry trailers. Where the type can say its length, its
/// `size_hint` is exact before the first frame. An empty body is at its end from the start
/// (`is_end_stream`), unless trailers follow.
///
/// `rebuild` does not fail and does not wait. It may be called outside of a runtime and must not
/// spawn anything: what has to go on beside the body is handed out as its [`Driver`].
///
/// # Your own body type
///
/// ```
/// use std::{convert::Infallible, pin::Pin, task::{Context, Poll}};
///
/// use bytes::Bytes;
/// use http_body::{Body, Frame, SizeHint};
/// use http_body_util::{BodyExt, Full};
/// use tower_lro::defer::rebuild::{Buffered, Rebuild, Rebuilt};
///
/// /// The request body of some service.
/// struct Upload {
///     data: Full<Bytes>,
/// }
///
/// impl Body for Upload {
///     type Data = Bytes;
///     type Error = Infallible;
///
///     fn poll_frame(
///         mut self: Pin<&mut Self>,
///         cx: &mut Context<'_>,
///     ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
///         Pin::new(&mut self.data).poll_frame(cx)
///     }
///
///     fn is_end_stream(&self) -> bool {
///         self.data.is_end_stream()
///     }
///
///     fn size_hint(&self) -> SizeHint {
///         self.data.size_hint()
///     }
/// }
///
/// impl Rebuild for Upload {
///     fn rebuild(from: Buffered) -> Rebuilt<Self> {
///         Full::rebuild(from).map(|data| Upload { data })
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (upload, driver) = Upload::rebuild(Buffered::new("abc")).into_parts();
/// assert_eq!(upload.size_hint().exact(), Some(3));
/// assert!(driver.is_none());
/// assert_eq!(upload.collect().await.unwrap().to_bytes(), "abc");
/// # }
/// ```
///
/// A wrapper around `hyper::body::Incoming` is as short: [`Rebuilt::map`] takes the driver along.
///
/// # Body types of other crates
///
/// The orphan rules bar you from implementing the trait for them. Either wrap the type in one of your
/// own as above, or give the layer a function that makes a [`Rebuilt`] of it from a [`Buffered`].
#[diagnostic::on_unimplemented(
    message = "a request body of type `{Self}` cannot be made again from bytes",
    label = "this body does not implement `Rebuild`",
    note = "the bodies of axum, hyper and tonic do, with the features of these names of `tower-lro`",
    note = "for a body type of your own or of another crate see the docs of `Rebuild`"
)]
pub trait Rebuild: Body<Data = Bytes> + Send + Sized + 'static {
    /// Makes a body that yields what was read.
    fn rebuild(from: Buffered) -> Rebuilt<Self>;
}

/// What was read of a request body: its bytes, and its trailers if it had any.
///
/// Clones share the bytes.
#[derive(Clone, Default)]
pub struct Buffered {
    bytes: Bytes,
    /// In a box: few bodies have any, and each would take the room.
    trailers: Option<Box<HeaderMap>>,
}

impl Buffered {
    /// A body of these bytes, without trailers.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self {
            bytes: bytes.into(),
            trailers: None,
        }
    }

    /// Lets these trailers follow the bytes. An empty map is the same as no trailers.
    #[must_use]
    pub fn with_trailers(mut self, trailers: HeaderMap) -> Self {
        self.trailers = (!trailers.is_empty()).then(|| Box::new(trailers));
        self
    }

    /// The bytes of the body.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The trailers. If there are any, the map is not empty.
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_deref()
    }

    /// Takes the bytes and the trailers out.
    pub fn into_parts(self) -> (Bytes, Option<HeaderMap>) {
        (self.bytes, self.trailers.map(|trailers| *trailers))
    }
}

/// Shows how much was read, not what: a client's upload has no business in a log.
impl fmt::Debug for Buffered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffered")
            .field("length", &self.bytes.len())
            .field("trailers", &self.trailers().map(HeaderMap::len))
            .finish()
    }
}

/// A body made again, and its [`Driver`] if it wants one.
#[derive(Debug)]
#[must_use = "a body with a driver stands still unless the driver is polled"]
pub struct Rebuilt<B> {
    body: B,
    driver: Option<Driver>,
}

impl<B> Rebuilt<B> {
    /// A body that needs nothing further.
    pub const fn ready(body: B) -> Self {
        Self { body, driver: None }
    }

    /// A body that makes progress only while `driver` is polled.
    pub fn driven(body: B, driver: impl Future<Output = ()> + Send + 'static) -> Self {
        Self {
            body,
            driver: Some(Driver {
                future: Some(Box::pin(driver)),
            }),
        }
    }

    /// Wraps the body and keeps its driver.
    pub fn map<C>(self, wrap: impl FnOnce(B) -> C) -> Rebuilt<C> {
        Rebuilt {
            body: wrap(self.body),
            driver: self.driver,
        }
    }

    /// Takes the body and the driver out.
    pub fn into_parts(self) -> (B, Option<Driver>) {
        (self.body, self.driver)
    }
}

/// What must be polled beside the reader of a body, for as long as the body may be read.
///
/// That is longer than the handler runs if the response it returned streams the request body, or if
/// the body went to a task of its own. The driver ends by itself when all of the body was passed on
/// or the body was dropped, and lets go of the bytes then. A body that is kept and never read leaves
/// it pending, at no cost but the memory. Polling it after its end is fine: it is ready again.
///
/// The layer polls it beside the handler, and after that in a task of its own while somebody still
/// has the body, for as long again as an operation [may run](crate::Limits::run_time) at most. What
/// it holds then counts towards no limit.
///
/// Dropped before its end, it cuts the body off: the reader of an `Incoming` gets an error, or, with
/// hyper before 1.10, what looks like the end of the body.
#[must_use = "the body stands still unless its driver is polled"]
pub struct Driver {
    future: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Driver {
    /// What is left in its place is over.
    pub(crate) fn take(&mut self) -> Self {
        let future = self.future.take();
        Self { future }
    }

    /// Drives the body until `work` is done. Work that is done does not wait for the driver.
    ///
    /// # Cancel safety
    ///
    /// When the returned future is dropped, `work` is dropped with it; the driver can go on beside
    /// something else.
    pub async fn beside<F: Future>(&mut self, work: F) -> F::Output {
        let mut work = pin!(work);
        poll_fn(|cx| {
            let output = work.as_mut().poll(cx);
            if output.is_pending() {
                let _ = Pin::new(&mut *self).poll(cx);
            }
            output
        })
        .await
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // One that panics is over.
        let Some(mut future) = self.future.take() else {
            return Poll::Ready(());
        };
        let polled = future.as_mut().poll(cx);
        if polled.is_pending() {
            self.future = Some(future);
        }
        polled
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("ended", &self.future.is_none())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use http::HeaderValue;
    use http_body_util::{BodyExt, Full};
    use tokio::sync::oneshot;

    pub(super) fn trailers<const N: usize>(fields: [(&'static str, &'static str); N]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(name, HeaderValue::from_static(value));
        }
        map
    }

    /// Reads a rebuilt body as a middleware would let its handler do.
    pub(super) async fn read<B: Rebuild>(from: Buffered) -> Buffered
    where
        B::Error: fmt::Debug,
    {
        let (body, driver) = B::rebuild(from).into_parts();
        let work = async {
            let collected = body.collect().await.unwrap();
            let trailers = collected.trailers().cloned();
            Buffered::new(collected.to_bytes()).with_trailers(trailers.unwrap_or_default())
        };
        match driver {
            Some(mut driver) => driver.beside(work).await,
            None => work.await,
        }
    }

    /// The contract of [`Rebuild`] for a type that is made at once and keeps trailers.
    pub(super) async fn keeps_everything<B: Rebuild>()
    where
        B::Error: fmt::Debug,
    {
        let fields = trailers([("x-sum", "1"), ("x-sum", "2"), ("x-end", "")]);

        for data in ["", "some data"] {
            for trailers in [HeaderMap::new(), fields.clone()] {
                let buffered = Buffered::new(data).with_trailers(trailers.clone());

                let (body, driver) = B::rebuild(buffered.clone()).into_parts();
                assert!(driver.is_none());
                assert_eq!(body.size_hint().exact(), Some(data.len() as u64));
                assert_eq!(body.is_end_stream(), data.is_empty() && trailers.is_empty());

                let (bytes, read) = read::<B>(buffered).await.into_parts();
                assert_eq!(bytes, data);
                assert_eq!(read.unwrap_or_default(), trailers);
            }
        }
    }

    #[test]
    fn everything_can_cross_threads() {
        fn send<T: Send>() {}
        fn sync<T: Sync>() {}

        send::<Buffered>();
        sync::<Buffered>();
        send::<Driver>();
        send::<Rebuilt<Full<Bytes>>>();
    }

    #[test]
    fn no_trailers_and_empty_trailers_are_the_same() {
        let buffered = Buffered::new("abc").with_trailers(HeaderMap::new());
        assert!(buffered.trailers().is_none());
        assert!(buffered.into_parts().1.is_none());
    }

    #[test]
    fn debug_does_not_show_what_was_sent() {
        let buffered = Buffered::new("secret").with_trailers(trailers([("x-key", "secret")]));
        assert_eq!(
            format!("{buffered:?}"),
            "Buffered { length: 6, trailers: Some(1) }"
        );
    }

    #[tokio::test]
    async fn finished_work_does_not_wait_for_its_driver() {
        let (_body, driver) = Rebuilt::driven((), std::future::pending()).into_parts();
        assert_eq!(driver.unwrap().beside(async { 7 }).await, 7);
    }

    #[tokio::test]
    async fn work_goes_on_after_its_driver_has_ended() {
        let (ended, end) = oneshot::channel();
        let (_body, driver) =
            Rebuilt::driven((), async move { ended.send(()).unwrap() }).into_parts();
        let mut driver = driver.unwrap();

        let work = async {
            end.await.unwrap();
            tokio::task::yield_now().await;
            7
        };
        assert_eq!(driver.beside(work).await, 7);

        driver.await;
    }

    #[test]
    fn a_wrapped_body_keeps_its_driver() {
        let rebuilt = Rebuilt::driven(1, async {}).map(|body| body + 1);
        let (body, driver) = rebuilt.into_parts();
        assert_eq!(body, 2);
        assert!(driver.is_some());
    }
}
