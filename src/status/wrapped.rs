use super::{StatusFuture, service::answer};
use crate::{
    defer::{ByTrait, Defer, ResponseBody},
    dialect::Head,
};
use http::{Method, Request, Response};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
use tower_service::Service;

/// Answers under the mount and defers the rest. Made by [`Operations::wrap`](crate::Operations::wrap) or
/// [`DeferLayer::wrap`](crate::DeferLayer::wrap).
#[derive(Clone)]
pub struct Wrapped<S, M = ByTrait> {
    defer: Defer<S, M>,
}

impl<S, M> Wrapped<S, M> {
    pub(crate) fn new(defer: Defer<S, M>) -> Self {
        Self { defer }
    }
}

impl<S, M, B, R> Service<Request<B>> for Wrapped<S, M>
where
    Defer<S, M>: Service<Request<B>, Response = Response<ResponseBody<R>>>,
{
    type Response = Response<ResponseBody<R>>;
    type Error = <Defer<S, M> as Service<Request<B>>>::Error;
    type Future = WrappedFuture<<Defer<S, M> as Service<Request<B>>>::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.defer.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let operations = self.defer.operations();
        // A tunnel has no resource (RFC 9110, section 9.3.6), whatever its target looks like.
        let address = match *request.method() {
            Method::CONNECT => None,
            // No router has taken all of the mount away: other paths are not ours.
            _ => operations.face.address(false, Head::of(&request)),
        };
        let kind = match address {
            Some(address) => Kind::Status {
                future: answer(operations, address, request),
            },
            None => Kind::Defer {
                future: self.defer.call(request),
            },
        };
        WrappedFuture { kind }
    }
}

impl<S: fmt::Debug, M> fmt::Debug for Wrapped<S, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wrapped")
            .field("defer", &self.defer)
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// Response future of [`Wrapped`].
    pub struct WrappedFuture<F> {
        #[pin]
        kind: Kind<F>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<F> {
        Status { future: StatusFuture },
        Defer { #[pin] future: F },
    }
}

impl<F, R, E> Future for WrappedFuture<F>
where
    F: Future<Output = Result<Response<ResponseBody<R>>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProj::Defer { future } => future.poll(cx),
            KindProj::Status { future } => future
                .poll_response(cx)
                .map(|response| Ok(response.map(ResponseBody::own))),
        }
    }
}

impl<F> fmt::Debug for WrappedFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WrappedFuture")
    }
}
