//! What a request body is made by, beside whoever reads the body.

use crate::defer::rebuild::Driver;
use pin_project_lite::pin_project;
use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::runtime::Handle;

/// Goes on in a task of its own when it is dropped, for as long as somebody has the body: a handler may have given it to
/// a task, and have returned.
#[derive(Debug)]
pub(crate) struct Drive {
    driver: Driver,
    /// How long it goes on at most.
    within: Duration,
}

impl Drive {
    /// Few bodies have a driver: a box takes less room of all the others.
    pub(crate) fn new(driver: Option<Driver>, within: Duration) -> Option<Box<Self>> {
        driver.map(|driver| Box::new(Self { driver, within }))
    }
}

impl Drop for Drive {
    fn drop(&mut self) {
        let (mut driver, within) = (self.driver.take(), self.within);
        // What it panics with is not the operation's affair.
        let polled = catch_unwind(AssertUnwindSafe(|| {
            Pin::new(&mut driver).poll(&mut Context::from_waker(Waker::noop()))
        }));
        if let Ok(Poll::Pending) = polled
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(async move {
                let _ = tokio::time::timeout(within, driver).await;
            });
        }
    }
}

pin_project! {
    /// A type, since an `async fn` would hold the work several times over, and each operation pays for its size.
    pub(super) struct Beside<'a, F> {
        drive: &'a mut Option<Box<Drive>>,
        #[pin]
        work: F,
    }
}

pub(super) fn beside<F: Future>(drive: &mut Option<Box<Drive>>, work: F) -> Beside<'_, F> {
    Beside { drive, work }
}

impl<F: Future> Future for Beside<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if let Poll::Ready(done) = this.work.poll(cx) {
            return Poll::Ready(done);
        }
        // What it has made wakes the work.
        if let Some(drive) = this.drive {
            let _ = Pin::new(&mut drive.driver).poll(cx);
        }
        Poll::Pending
    }
}
