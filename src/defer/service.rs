use super::{
    MakeBody, Options, ResponseBody, ResponseFuture,
    accept::{accept, look},
    admit,
    layer::ByTrait,
};
use crate::{
    dialect::{Address, Head},
    operations::Operations,
};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;
use std::{
    error::Error,
    fmt,
    sync::Arc,
    task::{Context, Poll},
};
use tower::util::ServiceExt;
use tower_service::Service;

/// Runs the inner service in a task of its own and answers at once. Made by [`DeferLayer`](crate::DeferLayer).
///
/// Always ready: the inner service is cloned for each request, and the task waits until its clone is ready. So a concurrency
/// limit inside becomes a queue of accepted operations, and a load shedder outside does not see it.
#[derive(Clone)]
pub struct Defer<S, M = ByTrait> {
    inner: S,
    shared: Arc<Shared<M>>,
}

pub(super) struct Shared<M> {
    pub(super) operations: Operations,
    pub(super) options: Arc<Options>,
    pub(super) make: M,
}

impl<S, M> Defer<S, M> {
    pub(super) fn new(inner: S, operations: Operations, options: Arc<Options>, make: M) -> Self {
        Self {
            inner,
            shared: Arc::new(Shared {
                operations,
                options,
                make,
            }),
        }
    }

    pub(crate) fn operations(&self) -> &Operations {
        &self.shared.operations
    }

    /// The service inside.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service inside, to be changed.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The service inside, without the layer.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, M, B, R> Service<Request<B>> for Defer<S, M>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
    S::Future: Send + 'static,
    M: MakeBody<B> + Sync,
    B: Body<Data = Bytes> + Send + 'static,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B, R>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (head, admit) = (Head::of(&request), &self.shared.options.admit);
        let face = &self.shared.operations.face;
        let inner = self.inner.clone();
        // A layer around the monitors as well leaves them alone.
        let is_poll = |head| matches!(face.address(false, head), Some(Address::Operation(..)));
        let admits = |head| {
            admit::deferrable(head) && admit.admit(head) && face.admits(head) && !is_poll(head)
        };
        if admits(head) {
            return ResponseFuture::deferred(accept(inner, self.shared.clone(), request));
        }
        let vary = self.shared.options.go_by_prefer(face);
        let as_get = Head {
            method: &Method::GET,
            ..head
        };
        if face.is_named_by_request && *head.method == Method::HEAD && admits(as_get) {
            ResponseFuture::deferred(look(inner, self.shared.clone(), request, vary))
        } else {
            ResponseFuture::passed(inner.oneshot(request), vary)
        }
    }
}

impl<S: fmt::Debug, M> fmt::Debug for Defer<S, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Defer")
            .field("inner", &self.inner)
            .field("operations", &self.shared.operations)
            .finish_non_exhaustive()
    }
}
