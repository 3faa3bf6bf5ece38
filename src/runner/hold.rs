//! A client that waits for the end, for as long as it said or may.

use super::{Captured, Next};
use crate::record::Stop;
use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{sync::oneshot, task::coop, time::Sleep};

/// The client waits: it is answered from the capture, or, when its patience ends, with a 202.
#[derive(Debug)]
pub(crate) struct Hold<E> {
    reply: oneshot::Sender<Reply<E>>,
    /// None once there is no record to be had: then it waits for the end, as without the layer.
    limit: Option<Pin<Box<Sleep>>>,
}

impl<E> Hold<E> {
    pub(crate) fn new(at_most: Duration) -> (Box<Self>, oneshot::Receiver<Reply<E>>) {
        let (reply, answer) = oneshot::channel();
        let limit = Some(Box::pin(tokio::time::sleep(at_most)));
        (Box::new(Self { reply, limit }), answer)
    }

    /// Whether it waits no longer; one who is not the `only_reader` may go away unnoticed.
    pub(super) fn poll<T>(&mut self, only_reader: bool, cx: &mut Context<'_>) -> Poll<Next<T>> {
        let news = poll_fn(|cx| {
            if only_reader && self.reply.poll_closed(cx).is_ready() {
                return Poll::Ready(Next::Unwanted);
            }
            match &mut self.limit {
                Some(limit) => limit.as_mut().poll(cx).map(|()| Next::Late),
                None => Poll::Pending,
            }
        });
        // Not to be kept from the client by a handler that is always busy.
        pin!(coop::unconstrained(news)).poll(cx)
    }

    /// There is nothing to tell before the end.
    pub(super) fn wait_for_the_end(&mut self) {
        self.limit = None;
    }

    pub(super) fn tell(self, reply: Reply<E>) {
        // It may have gone away.
        let _ = self.reply.send(reply);
    }
}

/// What a client that waits is told.
#[derive(Debug)]
pub(crate) enum Reply<E> {
    /// It takes longer; the operation is stored.
    Accepted,
    /// The inner service has answered.
    Response(Captured),
    /// The inner service has failed.
    Error(E),
    /// It ended without a response.
    Stopped(Stop),
}
