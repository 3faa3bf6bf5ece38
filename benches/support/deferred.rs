use super::{Call, Contestant, Work};
use bytes::Bytes;
use http::{Response, uri::PathAndQuery};
use http_body_util::Full;
use std::{convert::Infallible, future::Future, time::Duration};
use tower::{Service, service_fn};
use tower_lro::{Limits, Operations, defer::ResponseBody, store::Settled};

/// This crate: one service for both sides, in memory, with bounds that no bench comes near.
pub fn deferred() -> impl Contestant {
    let mut limits = Limits::default();
    limits.running = 1 << 24;
    limits.accepted = 1 << 24;
    limits.stored = 1 << 24;
    limits.stored_bytes = 1 << 40;
    limits.readers = 1 << 20;
    limits.readers_per_operation = 1 << 20;
    limits.wait = Duration::from_secs(60);
    limits.keep_for = Duration::from_secs(10 * 60);
    // What a bench forgets is to leave nothing behind.
    limits.tombstones = 0;
    let operations = Operations::builder().limits(limits).build().unwrap();
    let work = Work::default();
    let inner = {
        let work = work.clone();
        service_fn(move |request| {
            let answer = work.clone().call(request);
            async move { Ok(answer.await) }
        })
    };
    Deferred {
        service: operations.wrap(inner),
        operations,
        work,
    }
}

struct Deferred<S> {
    operations: Operations,
    service: S,
    work: Work,
}

type Answer = Response<ResponseBody<Full<Bytes>>>;

impl<S> Contestant for Deferred<S>
where
    S: Service<Call, Response = Answer, Error = Infallible> + 'static,
    S::Future: Send + 'static,
{
    type Body = ResponseBody<Full<Bytes>>;

    fn call(&mut self, request: Call) -> impl Future<Output = Answer> + Send + 'static {
        let answer = self.service.call(request);
        async move { answer.await.unwrap_or_else(|never| match never {}) }
    }

    fn work(&self) -> &Work {
        &self.work
    }

    async fn forget(&mut self, locations: &[PathAndQuery]) {
        for location in locations {
            let id = location.path().rsplit('/').next().unwrap().parse().unwrap();
            let forgotten = self.operations.forget(id).await.unwrap();
            assert!(matches!(forgotten, Settled::Done(_)));
        }
    }
}
