//! Connections, and the end of them.
//!
//! `hyper_util::server::graceful` does this as well, and asks whether the end has come at each step of each connection: a
//! hundredth of what a request costs, which is to be the library's alone here.

use hyper_util::server::graceful::GracefulConnection;
use pin_project_lite::pin_project;
use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};
use tokio::sync::Notify;

/// All connections that are open.
#[derive(Clone, Default)]
pub(crate) struct Connections(Arc<Shared>);

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    open: Mutex<Open>,
    /// Told when the last one is closed.
    none: Notify,
}

#[derive(Default)]
struct Open {
    next: u64,
    /// Of those that are open, until they are told.
    wakers: HashMap<u64, Option<Waker>>,
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connections {
    /// Drives a connection, which has nothing more to answer once they are all to be [closed](Self::close).
    pub(crate) fn drive<C: GracefulConnection>(&self, connection: C) -> Driven<C> {
        let mut open = self.0.open();
        let number = open.next;
        open.next += 1;
        open.wakers.insert(number, None);
        Driven {
            connection,
            state: State::New,
            place: Place {
                shared: self.0.clone(),
                number,
            },
        }
    }

    /// Tells all to close when they have answered what they were asked, and waits until they have.
    pub(crate) async fn close(&self) {
        loop {
            let none = self.0.none.notified();
            tokio::pin!(none);
            none.as_mut().enable();
            let wakers: Vec<_> = {
                let mut open = self.0.open();
                self.0.is_over.store(true, Ordering::Release);
                if open.wakers.is_empty() {
                    return;
                }
                open.wakers.values_mut().filter_map(Option::take).collect()
            };
            wakers.into_iter().for_each(Waker::wake);
            none.await;
        }
    }
}

/// Among those that are open.
struct Place {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.shared.open();
        open.wakers.remove(&self.number);
        if open.wakers.is_empty() {
            self.shared.none.notify_waiters();
        }
    }
}

pin_project! {
    pub(crate) struct Driven<C> {
        #[pin]
        connection: C,
        state: State,
        place: Place,
    }
}

enum State {
    New,
    Open,
    Closing,
}

impl<C: GracefulConnection> Future for Driven<C> {
    type Output = C::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let mut this = self.project();
        let Place { shared, number } = this.place;
        if matches!(this.state, State::New) {
            // Once is enough: it stays in its task, whose waker is always the same.
            let waker = Some(cx.waker().clone());
            shared.open().wakers.insert(*number, waker);
            *this.state = State::Open;
        }
        if matches!(this.state, State::Open) && shared.is_over.load(Ordering::Acquire) {
            this.connection.as_mut().graceful_shutdown();
            *this.state = State::Closing;
        }
        this.connection.poll(cx)
    }
}
