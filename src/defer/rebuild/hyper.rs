//! hyper's `Incoming` has no constructor: only a connection makes one. So hyper's own HTTP/1 server
//! is given the body as a request that is all in memory, and the body of that request is the one we
//! want.
//!
//! - The first poll of the connection reads the head, and with it the first 8 kB, since memory is
//!   never "not ready". A body that fits is complete then, and no driver is left. Of a longer one,
//!   hyper reads the next part when the last was taken, at most some 400 kB at once. Each byte is
//!   copied once, into hyper's buffer.
//! - The request is answered at once, on a connection that is not kept alive. Such a connection has
//!   nothing left to do but to pass the body on, so it ends when the body was passed on *or
//!   dropped*, and frees the bytes. Were the answer held back, the connection would wait for it
//!   after the body was dropped.
//! - Parsing cannot fail on the head or the data, which are written here. It can on trailers: on a
//!   name with a `"`, which only HTTP/2 lets through, and on more than 16 KiB of them. The body then
//!   ends with an error.

use std::{
    convert::Infallible,
    future::{Future, ready},
    io,
    pin::Pin,
    sync::mpsc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Empty;
use hyper::{
    body::Incoming,
    rt::{Read, ReadBufCursor, Write},
    server::conn::http1,
    service::service_fn,
};

use super::{Buffered, Rebuild, Rebuilt};

/// How many fields hyper takes in a head, and in trailers, unless told otherwise.
const DEFAULT_MAX_HEADERS: usize = 100;

/// Made by hyper's own HTTP/1 server, which reads the bytes in memory. More than some 8 kB want the
/// [`Driver`](super::Driver), as do trailers. The length is known unless there are trailers. Of a
/// trailer that is repeated, hyper before 1.11 keeps the last value only.
#[cfg_attr(docsrs, doc(cfg(feature = "hyper")))]
impl Rebuild for Incoming {
    fn rebuild(from: Buffered) -> Rebuilt<Self> {
        let mut server = http1::Builder::new();
        server
            .keep_alive(false)
            .half_close(true)
            .auto_date_header(false);
        if let Some(trailers) = from.trailers() {
            // One more, since hyper before 1.11 refuses the last.
            server.max_headers(DEFAULT_MAX_HEADERS.max(trailers.len() + 1));
        }

        let (sender, receiver) = mpsc::sync_channel(1);
        let service = service_fn(move |request: Request<Incoming>| {
            let _ = sender.try_send(request.into_body());
            ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
        });

        let mut connection = server.serve_connection(InMemory::request(from), service);
        let first = Pin::new(&mut connection).poll(&mut Context::from_waker(Waker::noop()));
        let body = receiver
            .try_recv()
            .expect("hyper hands a request out as soon as its head was read");

        // Errors of the connection need no second way out: hyper gives them to the body.
        match first {
            Poll::Ready(_) => Rebuilt::ready(body),
            Poll::Pending => Rebuilt::driven(body, async move {
                let _ = connection.await;
            }),
        }
    }
}

/// The connection of a client that has sent all it will send, and takes any answer.
#[derive(Debug)]
struct InMemory {
    unread: [Bytes; 3],
}

impl InMemory {
    /// A request with this body. Trailers need the chunked coding, here with the data as one chunk.
    fn request(from: Buffered) -> Self {
        const HEAD: &str = "POST / HTTP/1.1\r\nhost: localhost\r\n";

        let (data, trailers) = from.into_parts();
        let length = data.len();
        let (head, tail) = match trailers {
            None => (
                format!("{HEAD}content-length: {length}\r\n\r\n"),
                Bytes::new(),
            ),
            Some(trailers) if data.is_empty() => (
                format!("{HEAD}transfer-encoding: chunked\r\n\r\n"),
                last_chunk("", &trailers),
            ),
            Some(trailers) => (
                format!("{HEAD}transfer-encoding: chunked\r\n\r\n{length:x}\r\n"),
                last_chunk("\r\n", &trailers),
            ),
        };
        Self {
            unread: [head.into(), data, tail],
        }
    }
}

/// The end of a chunked body, after the end of the chunk before it (RFC 9112, section 7.1).
fn last_chunk(before: &str, trailers: &HeaderMap) -> Bytes {
    let mut end = Vec::from(before);
    end.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        end.extend_from_slice(name.as_str().as_bytes());
        end.extend_from_slice(b": ");
        end.extend_from_slice(value.as_bytes());
        end.extend_from_slice(b"\r\n");
    }
    end.extend_from_slice(b"\r\n");
    end.into()
}

impl Read for InMemory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        for part in &mut self.unread {
            // `split_to` lets go of a part with its last byte; `advance` would hold on to it.
            let read = part.split_to(part.len().min(buf.remaining()));
            buf.put_slice(&read);
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for InMemory {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::defer::rebuild::{
        Driver,
        tests::{read, trailers},
    };

    use std::{sync::Arc, time::Duration};

    use http::{HeaderName, HeaderValue};
    use http_body::Body;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    const LARGE: usize = 300_000;
    const HUGE: usize = 8 << 20;

    /// No two parts of it are equal, so that a lost or a swapped one shows.
    fn data(length: usize) -> Bytes {
        (0_u64..)
            .flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
            .take(length)
            .collect()
    }

    /// Bytes that tell, by the count of the `Arc`, whether they are still in memory.
    fn watched(length: usize) -> (Bytes, Arc<()>) {
        struct Watched(Bytes, #[expect(dead_code)] Arc<()>);
        impl AsRef<[u8]> for Watched {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        let watch = Arc::new(());
        let bytes = Bytes::from_owner(Watched(data(length), watch.clone()));
        (bytes, watch)
    }

    fn driven(from: Buffered) -> (Incoming, Driver) {
        let (body, driver) = Incoming::rebuild(from).into_parts();
        (body, driver.expect("a driver for a long body"))
    }

    fn poll_once(driver: &mut Driver) -> Poll<()> {
        Pin::new(driver).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn bodies_of_any_length_come_back_whole() {
        for length in [0, 1, 8_000, 8_191, 8_192, 8_193, 65_536, LARGE, HUGE] {
            let data = data(length);
            let (body, _driver) = Incoming::rebuild(Buffered::new(data.clone())).into_parts();
            assert_eq!(body.size_hint().exact(), Some(length as u64));
            assert_eq!(body.is_end_stream(), length == 0);

            let read = read::<Incoming>(Buffered::new(data.clone())).await;
            assert!(read.bytes() == &data, "{length} bytes were changed");
            assert!(read.trailers().is_none());
        }
    }

    #[tokio::test]
    async fn trailers_come_back_after_data_of_any_length() {
        let end = trailers([("x-sum", "1"), ("x-empty", "")]);
        for length in [0, 1, 8_192, LARGE] {
            let data = data(length);
            let from = Buffered::new(data.clone()).with_trailers(end.clone());

            let read = read::<Incoming>(from).await;
            assert!(read.bytes() == &data, "{length} bytes were changed");
            assert_eq!(read.trailers(), Some(&end));
        }
    }

    /// Needs hyper 1.11.
    #[tokio::test]
    async fn repeated_trailers_come_back_in_order() {
        let end = trailers([("x-sum", "1"), ("x-end", ""), ("x-sum", "2")]);
        let read = read::<Incoming>(Buffered::new("abc").with_trailers(end.clone())).await;
        assert_eq!(read.trailers(), Some(&end));
    }

    #[tokio::test]
    async fn more_trailers_than_hyper_takes_by_itself() {
        let end: HeaderMap = (0..250)
            .map(|n| {
                let name = HeaderName::try_from(format!("x-{n}")).unwrap();
                (name, HeaderValue::from(n))
            })
            .collect();
        let read = read::<Incoming>(Buffered::new("abc").with_trailers(end.clone())).await;
        assert_eq!(read.trailers(), Some(&end));
    }

    #[tokio::test]
    async fn trailers_hyper_refuses_are_an_error_and_not_an_end() {
        let quoted = HeaderName::from_lowercase(b"x-\"quoted\"").unwrap();
        let long = HeaderName::from_static("x-long");

        for (name, length) in [(quoted, 1), (long, 20_000)] {
            let mut end = HeaderMap::new();
            end.insert(name, "x".repeat(length).try_into().unwrap());
            let (mut body, mut driver) = driven(Buffered::new("abc").with_trailers(end));

            let work = async {
                let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
                assert_eq!(data, "abc");
                body.frame().await.unwrap().unwrap_err();
            };
            driver.beside(work).await;
        }
    }

    #[test]
    fn needs_no_runtime_and_no_driver_when_short() {
        let (body, driver) = Incoming::rebuild(Buffered::new(data(8_000))).into_parts();
        assert!(driver.is_none());
        assert_eq!(body.size_hint().exact(), Some(8_000));
    }

    #[tokio::test]
    async fn a_handler_of_hyper_is_served_unchanged() {
        async fn handler(
            request: Request<Incoming>,
        ) -> Result<Response<(Bytes, Option<HeaderMap>)>, hyper::Error> {
            let collected = request.into_body().collect().await?;
            let trailers = collected.trailers().cloned();
            Ok(Response::new((collected.to_bytes(), trailers)))
        }

        let data = data(LARGE);
        let end = trailers([("x-sum", "1")]);
        let (body, mut driver) = driven(Buffered::new(data.clone()).with_trailers(end.clone()));

        let service = tower::service_fn(handler);
        let response = driver.beside(service.oneshot(Request::new(body))).await;
        let (read, trailers) = response.unwrap().into_body();
        assert!(read == data);
        assert_eq!(trailers, Some(end));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_gets_all_of_it() {
        let data = data(HUGE);
        let (mut body, mut driver) = driven(Buffered::new(data.clone()));

        let work = async {
            let mut at = 0;
            while let Some(frame) = body.frame().await {
                let part = frame.unwrap().into_data().unwrap();
                assert!(part == data[at..at + part.len()]);
                at += part.len();
                assert_eq!(body.size_hint().exact(), Some((data.len() - at) as u64));
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            at
        };
        assert_eq!(driver.beside(work).await, HUGE);
    }

    #[tokio::test]
    async fn a_reader_in_another_task_gets_all_of_it() {
        let data = data(HUGE);
        let (body, driver) = driven(Buffered::new(data.clone()));

        let driver = tokio::spawn(driver);
        let reader = tokio::spawn(body.collect());
        assert!(reader.await.unwrap().unwrap().to_bytes() == data);
        driver.await.unwrap();
    }

    #[tokio::test]
    async fn the_driver_ends_and_frees_the_bytes_when_all_was_read() {
        let (bytes, watch) = watched(HUGE);
        let (body, mut driver) = driven(Buffered::new(bytes));
        assert_eq!(Arc::strong_count(&watch), 2);

        driver.beside(body.collect()).await.unwrap();
        assert_eq!(Arc::strong_count(&watch), 1);
        assert!(poll_once(&mut driver).is_ready());
    }

    #[tokio::test]
    async fn the_driver_ends_and_frees_the_bytes_when_the_body_is_dropped_halfway() {
        let (bytes, watch) = watched(HUGE);
        let (mut body, mut driver) = driven(Buffered::new(bytes));

        driver.beside(body.frame()).await.unwrap().unwrap();
        assert!(poll_once(&mut driver).is_pending());

        drop(body);
        (&mut driver).await;
        assert_eq!(Arc::strong_count(&watch), 1);
    }

    #[tokio::test]
    async fn the_driver_ends_when_the_body_is_dropped_unread() {
        let (body, driver) = driven(Buffered::new(data(LARGE)));
        drop(body);
        driver.await;
    }

    #[tokio::test]
    async fn the_driver_hears_of_a_drop_while_it_waits() {
        let (body, mut driver) = driven(Buffered::new(data(LARGE)));
        assert!(poll_once(&mut driver).is_pending());

        let driver = tokio::spawn(driver);
        tokio::task::yield_now().await;
        assert!(!driver.is_finished());

        drop(body);
        driver.await.unwrap();
    }

    #[tokio::test]
    async fn a_body_that_is_kept_and_never_read_leaves_the_driver_pending() {
        let (bytes, watch) = watched(LARGE);
        let (body, mut driver) = driven(Buffered::new(bytes));

        let work = async {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        };
        driver.beside(work).await;
        assert!(poll_once(&mut driver).is_pending());

        drop(driver);
        assert_eq!(Arc::strong_count(&watch), 1);
        drop(body);
    }

    #[test]
    fn what_is_made_can_cross_threads() {
        fn send<T: Send>() {}
        send::<Rebuilt<Incoming>>();
    }
}
