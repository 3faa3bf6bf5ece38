//! Inner services are called only when they have said that they are ready, and wait for it in line.

mod common {
    pub(crate) mod drive;
}

use common::drive::*;
use http::{Request, Response};
use std::{
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::Semaphore;
use tower::{Service, ServiceExt, limit::ConcurrencyLimit, load_shed::LoadShed, service_fn};
use tower_lro::admit::{self, Admit};

/// Ready at the third time of asking, for one call. A clone has not been asked.
struct Strict {
    asked: usize,
    calls: Arc<AtomicUsize>,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self {
            asked: 0,
            calls: self.calls.clone(),
        }
    }
}

impl Service<Request<Body>> for Strict {
    type Response = Response<Body>;
    type Error = Fault;
    type Future = Ready<Result<Response<Body>, Fault>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.asked += 1;
        if self.asked < 3 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        assert!(self.asked >= 3, "called without being ready");
        self.asked = 0;
        self.calls.fetch_add(1, Ordering::SeqCst);
        ready(Ok(ok("done")))
    }
}

#[tokio::test(start_paused = true)]
async fn every_clone_is_driven_to_readiness() {
    let operations = operations(|_| {});
    let inner = Strict {
        asked: 0,
        calls: Arc::default(),
    };
    let calls = inner.calls.clone();
    let layer = operations
        .layer()
        .when(admit::unsafe_methods().or(admit::asked()));
    let app = around(layer, inner);

    let monitor = accepted(&app, post("/work")).await;
    assert_eq!(outcome(&app, &monitor).await.text(), "done");
    let held = send(&app, with(post("/work"), "prefer", "wait=5")).await;
    assert_eq!(held.unwrap().text(), "done");
    // What passes is driven as well.
    for method in ["GET", "OPTIONS"] {
        assert_eq!(
            send(&app, request(method, "/work")).await.unwrap().text(),
            "done"
        );
    }
    assert_eq!(calls.load(Ordering::SeqCst), 4);

    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let app = app.clone();
        clients.spawn(async move {
            let monitor = accepted(&app, post("/work")).await;
            outcome(&app, &monitor).await.status.as_u16()
        });
    }
    assert_eq!(clients.join_all().await, [200; 100]);
    assert_eq!(calls.load(Ordering::SeqCst), 104);
    quiet(&operations).await;
}

#[tokio::test(start_paused = true)]
async fn an_inner_concurrency_limit_is_a_queue() {
    let operations = operations(|_| {});
    let gate = Arc::new(Semaphore::new(0));
    let waiting = gate.clone();
    let inner = service_fn(move |_: Request<Body>| {
        let gate = waiting.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            Ok::<_, Fault>(ok("done"))
        }
    });
    let app = around(operations.layer(), ConcurrencyLimit::new(inner, 1));
    let mut monitors = Vec::new();
    for _ in 0..3 {
        monitors.push(accepted(&app, post("/work")).await);
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    let status = async |monitor: &str| {
        let document = get(&app, &format!("{monitor}/status")).await.json();
        let started = document.get("started").is_some();
        let status = document["status"].as_str().unwrap().to_owned();
        assert_eq!(started, status != "accepted", "{document}");
        status
    };
    for expected in [
        ["running", "accepted", "accepted"],
        ["succeeded", "running", "accepted"],
        ["succeeded", "succeeded", "running"],
        ["succeeded", "succeeded", "succeeded"],
    ] {
        for (monitor, expected) in monitors.iter().zip(expected) {
            assert_eq!(status(monitor).await, expected);
        }
        gate.add_permits(1);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    quiet(&operations).await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_in_the_inner_queue_is_not_started_in_time() {
    let operations = operations(|limits| limits.start_within = Duration::from_secs(30));
    let inner =
        service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Fault>>());
    let app = around(operations.layer(), ConcurrencyLimit::new(inner, 1));
    let first = accepted(&app, post("/work")).await;
    let second = accepted(&app, post("/work")).await;
    let answer = outcome(&app, &second).await;
    assert_eq!(answer.refusal(), (500, "not-started".into()));
    assert_eq!(get(&app, &first).await.json()["status"], "running");
    delete(&app, &first).await;
    // The limit's permit was given back with the one that had it.
    let third = accepted(&app, post("/work")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(get(&app, &third).await.json()["status"], "running");
    delete(&app, &third).await;
    quiet(&operations).await;
}

#[tokio::test(start_paused = true)]
async fn a_load_shedder_outside_sees_a_service_that_is_always_ready() {
    let operations = operations(|_| {});
    let inner =
        service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Fault>>());
    let service = operations.wrap(ConcurrencyLimit::new(inner, 1));
    let mut shed = LoadShed::new(service);
    for _ in 0..10 {
        let response = shed
            .ready()
            .await
            .unwrap()
            .call(post("/work"))
            .await
            .unwrap();
        assert_eq!(response.status(), 202);
    }
}
