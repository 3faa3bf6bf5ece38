use super::ResponseBody;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
use tower::util::Oneshot;
use tower_service::Service;

pin_project! {
    /// Response future of [`Defer`](crate::Defer).
    ///
    /// # Cancel safety
    ///
    /// Dropped while the request is being read, it leaves nothing behind. Once the operation is being stored, it runs on to
    /// its end, though nobody gets the 202. Dropped during a [wait](crate#wait) without an idempotency key, it drops the work.
    /// For a request that passes, it drops the inner service's future.
    pub struct ResponseFuture<S: Service<Request<B>>, B, R> {
        #[pin]
        kind: Kind<S, B, R>,
    }
}

type Deferred<R, E> = Pin<Box<dyn Future<Output = Result<Response<ResponseBody<R>>, E>> + Send>>;

pin_project! {
    #[project = KindProj]
    enum Kind<S: Service<Request<B>>, B, R> {
        Passed { #[pin] future: Oneshot<S, Request<B>>, vary: bool },
        Deferred { future: Deferred<R, S::Error> },
    }
}

impl<S: Service<Request<B>>, B, R> ResponseFuture<S, B, R> {
    pub(super) fn passed(future: Oneshot<S, Request<B>>, vary: bool) -> Self {
        Self {
            kind: Kind::Passed { future, vary },
        }
    }

    pub(super) fn deferred(
        future: impl Future<Output = Result<Response<ResponseBody<R>>, S::Error>> + Send + 'static,
    ) -> Self {
        Self {
            kind: Kind::Deferred {
                future: Box::pin(future),
            },
        }
    }
}

impl<S, B, R> Future for ResponseFuture<S, B, R>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Output = Result<Response<ResponseBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProj::Deferred { future } => future.as_mut().poll(cx),
            KindProj::Passed { future, vary } => future.poll(cx).map_ok(|mut response| {
                if *vary {
                    vary_by_prefer(response.headers_mut());
                }
                response.map(ResponseBody::inner)
            }),
        }
    }
}

/// Tells caches that `Prefer` decides, whether or not this request had it (RFC 7240, section 2).
pub(super) fn vary_by_prefer(headers: &mut HeaderMap) {
    let told = headers.get_all(header::VARY).iter().any(|value| {
        let mut names = value
            .as_bytes()
            .split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii);
        names.any(|name| name == b"*" || name.eq_ignore_ascii_case(b"prefer"))
    });
    if !told {
        let vary = with_prefer(headers);
        headers.insert(header::VARY, vary);
    }
}

/// In one line: of several nginx before 1.23 keeps responses by the last, and would give anybody what differs by the others.
fn with_prefer(headers: &HeaderMap) -> HeaderValue {
    let lines = headers.get_all(header::VARY).iter();
    let mut members: Vec<_> = lines
        .map(HeaderValue::as_bytes)
        .filter(|line| !line.is_empty())
        .collect();
    if members.is_empty() {
        return HeaderValue::from_static("prefer");
    }
    members.push(b"prefer");
    HeaderValue::from_bytes(&members.join(&b", "[..])).expect("lines and commas make a line")
}

impl<S: Service<Request<B>>, B, R> fmt::Debug for ResponseFuture<S, B, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Passed { .. } => "ResponseFuture::Passed",
            Kind::Deferred { .. } => "ResponseFuture::Deferred",
        })
    }
}
