//! Calling the inner service, and taking in what it answers.

use super::{BoxError, OperationHandle, PATIENCE, Terms, Work, capture, drive::beside};
use crate::{
    operations::{CompleteError, Engine, Live, Turn},
    record::{Capture, Stop, StoredResponse, TooLarge},
};
use bytes::Bytes;
use http::{Request, Response, response};
use http_body::Body;
use std::{
    future::{Future, pending, poll_fn},
    sync::Arc,
};
use tower_service::Service;

/// What the inner service has answered.
#[derive(Debug)]
pub(crate) struct Captured {
    /// For a client that waits.
    pub(crate) head: Option<Box<response::Parts>>,
    pub(crate) stored: StoredResponse,
    /// The verdict.
    pub(super) is_failure: bool,
}

pub(super) enum Failure<E> {
    /// The inner service returned an error.
    Inner(E),
    Stop(Stop, Option<BoxError>),
}

impl<E> From<TooLarge> for Failure<E> {
    fn from(TooLarge: TooLarge) -> Self {
        Self::Stop(Stop::TooLarge, None)
    }
}

impl<E> From<CompleteError> for Failure<E> {
    fn from(error: CompleteError) -> Self {
        match error {
            CompleteError::Interim => Self::Stop(Stop::Errored, None),
            CompleteError::Body(cause) => Self::Stop(Stop::Errored, Some(cause)),
            CompleteError::TooLarge => Self::Stop(Stop::TooLarge, None),
            CompleteError::Store(error) => Self::Stop(Stop::Errored, Some(error.into())),
        }
    }
}

/// Waits for the turn, calls the inner service, takes its whole response in.
pub(super) fn execute<'a, S, B, R>(
    engine: &'a Engine,
    turn: Turn<'a>,
    live: &'a Arc<Live>,
    target: &'a str,
    terms: &'a Terms,
    work: Work<S, B>,
    held: bool,
) -> impl Future<Output = Result<Captured, Failure<S::Error>>> + use<'a, S, B, R>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    let Work {
        mut inner,
        mut request,
        mut drive,
    } = work;
    async move {
        turn.taken().await;
        let ready = poll_fn(|cx| inner.poll_ready(cx)).await;
        // Where it refuses to be called it has begun all the same: what never began could not fail as it did.
        if !live.start(engine) {
            // It was told to stop at this very moment, and is about to be dropped.
            return pending().await;
        }
        ready.map_err(Failure::Inner)?;
        let handle = OperationHandle::new(live.clone());
        request.extensions_mut().insert(handle);
        let response = beside(&mut drive, inner.call(unboxed(request))).await;
        let response = response.map_err(Failure::Inner)?;
        let (is_failure, head, begun, body) = begin(engine, target, terms, response, held)?;
        // In a box: while the handler runs, which may be long, no room is set aside for what comes after it.
        let patience = engine.limits.keep_for.max(PATIENCE);
        let captured = Box::pin(capture(&engine.store, begun, body, patience));
        let stored = beside(&mut drive, captured).await?;
        Ok(Captured {
            head,
            stored,
            is_failure,
        })
    }
}

/// Frees the box. Moved out of in an `async` block, it would stay to the block's end.
#[expect(clippy::boxed_local)]
fn unboxed<T>(boxed: Box<T>) -> T {
    *boxed
}

type Begun<R> = (bool, Option<Box<response::Parts>>, Capture, R);

/// Whether the response is a failure, its head if somebody waits for it, and what is to be captured.
///
/// A function, since an `async` block would hold a head that it has looked at while the body comes in.
fn begin<R: Body, E>(
    engine: &Engine,
    target: &str,
    terms: &Terms,
    response: Response<R>,
    held: bool,
) -> Result<Begun<R>, Failure<E>> {
    let (head, body) = response.into_parts();
    if head.status.is_informational() {
        let cause = format!("a deferred request was answered {}", head.status);
        return Err(Failure::Stop(Stop::Errored, Some(cause.into())));
    }
    let is_failure = engine.is_failure(&head);
    let begun = Capture::begin(&head, target, body.size_hint().lower(), terms.response_body)?;
    let head = held.then(|| Box::new(head));
    Ok((is_failure, head, begun, body))
}
