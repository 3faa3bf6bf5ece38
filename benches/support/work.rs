use super::Call;
use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body_util::Full;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::Notify;

/// The handler behind each contestant. It costs little, so that what is measured is what stands before it.
#[derive(Clone, Default)]
pub struct Work(Arc<State>);

#[derive(Default)]
struct State {
    gate: Notify,
    begun: AtomicUsize,
    done: AtomicUsize,
}

pub static KIB: [u8; 1024] = [b'x'; 1024];

impl Work {
    /// `/slow` waits for [`open`](Self::open); `/small` answers 32 bytes, the others 1 KiB. None keeps the request.
    pub fn call(self, request: Call) -> impl Future<Output = Response<Full<Bytes>>> {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        let path = request.uri().path();
        let (waits, length) = (path == "/slow", if path == "/small" { 32 } else { 1024 });
        drop(request);
        async move {
            if waits {
                self.0.gate.notified().await;
            }
            let mut response = Response::new(Full::new(Bytes::copy_from_slice(&KIB[..length])));
            let kind = const { HeaderValue::from_static("application/octet-stream") };
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            self.0.done.fetch_add(1, Ordering::Relaxed);
            response
        }
    }

    /// Lets all that waits go on.
    pub fn open(&self) {
        self.0.gate.notify_waiters();
    }

    pub fn begun(&self) -> usize {
        self.0.begun.load(Ordering::Relaxed)
    }

    pub fn done(&self) -> usize {
        self.0.done.load(Ordering::Relaxed)
    }

    /// Waits until so many calls have begun.
    pub async fn until_begun(&self, count: usize) {
        while self.begun() < count {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until so many have come to their end. What a task does after that it does before anyone else's turn comes.
    pub async fn until_done(&self, count: usize) {
        while self.done() < count {
            tokio::task::yield_now().await;
        }
    }
}
