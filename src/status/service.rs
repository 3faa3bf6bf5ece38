use super::answer::Monitor;
use crate::{
    dialect::{Address, Head},
    operations::Operations,
    problem::{Problem, ProblemKind},
    reply::ReplyBody,
};
use http::{Request, Response};
use pin_project_lite::pin_project;
use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
use tower_service::Service;

/// Answers under the mount. Made by [`Operations::status_service`].
///
/// Never fails, takes any request body, and reads none. Serve it with `nest_service`, `route_service`, or bare on hyper: it
/// matches paths with and without the mount's prefix. Where axum's routers have taken away only a part of the prefix, it
/// goes by the URI that the client asked for (feature `axum`).
#[derive(Clone, Debug)]
pub struct StatusService {
    operations: Operations,
}

impl StatusService {
    pub(crate) fn new(operations: Operations) -> Self {
        Self { operations }
    }
}

pub(super) fn answer<B>(
    operations: &Operations,
    address: Address,
    request: Request<B>,
) -> StatusFuture {
    let monitor = Monitor::new(operations);
    match monitor.answer_now(&address, Head::of(&request)) {
        Some(response) => StatusFuture::ready(response),
        None => {
            let (operations, (head, _)) = (operations.clone(), request.into_parts());
            StatusFuture::waiting(async move {
                let monitor = Monitor::new(&operations);
                monitor.answer(address, (&head).into()).await
            })
        }
    }
}

impl<B> Service<Request<B>> for StatusService {
    type Response = Response<ReplyBody>;
    type Error = Infallible;
    type Future = StatusFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> StatusFuture {
        let unknown = || Address::Problem(Problem::new(ProblemKind::Unknown));
        let address = self.operations.face.address(true, Head::of(&request));
        answer(&self.operations, address.unwrap_or_else(unknown), request)
    }
}

pin_project! {
    /// Response future of [`StatusService`].
    ///
    /// Dropping it gives a waiting reader's place back and changes nothing else.
    pub struct StatusFuture {
        kind: Kind,
    }
}

enum Kind {
    Ready(Option<Response<ReplyBody>>),
    Waiting(Pin<Box<dyn Future<Output = Response<ReplyBody>> + Send>>),
}

impl StatusFuture {
    fn ready(response: Response<ReplyBody>) -> Self {
        Self {
            kind: Kind::Ready(Some(response)),
        }
    }

    fn waiting(future: impl Future<Output = Response<ReplyBody>> + Send + 'static) -> Self {
        Self {
            kind: Kind::Waiting(Box::pin(future)),
        }
    }

    pub(super) fn poll_response(&mut self, cx: &mut Context<'_>) -> Poll<Response<ReplyBody>> {
        match &mut self.kind {
            Kind::Ready(response) => Poll::Ready(response.take().expect("polled after its end")),
            Kind::Waiting(future) => future.as_mut().poll(cx),
        }
    }
}

impl Future for StatusFuture {
    type Output = Result<Response<ReplyBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_response(cx).map(Ok)
    }
}

impl fmt::Debug for StatusFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StatusFuture")
    }
}
