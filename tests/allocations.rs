//! How often the hot paths allocate, and how much is kept: numbers that are promised, and that rot unseen when nobody
//! counts.
//!
//! Counted on the thread of the test, which is the runtime's as well. Growing an allocation counts as one more.

use allocation_counter::{AllocationInfo, measure};
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full};
use std::{
    cell::RefCell,
    convert::Infallible,
    future::{Future, pending},
    pin::pin,
    task::{Context, Poll, Waker},
};
use tokio::runtime::Runtime;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_lro::{Head, Limits, Operations, defer::rebuild::Rebuild, store::Settled};

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Tables that are empty, or full, are made larger now and then: what is usual shows once there is something in them.
fn usual(mut run: impl FnMut() -> AllocationInfo) -> u64 {
    let mut counts: Vec<_> = (0..2_000).map(|_| run().count_total).collect();
    counts.drain(..1_000);
    counts.sort_unstable();
    counts[counts.len() / 2]
}

fn get(target: &str) -> Request<Full<Bytes>> {
    Request::get(target).body(Full::default()).unwrap()
}

fn post<B: Default>() -> Request<B> {
    Request::post("/reports?x=1")
        .header(header::HOST, "example.com")
        .header(header::USER_AGENT, "curl/8.5.0")
        .header(header::ACCEPT, "*/*")
        .body(B::default())
        .unwrap()
}

/// What one call allocates until its response is there, which it is at once; the response is dropped outside.
fn call<S, B, R>(runtime: &Runtime, service: &mut S, request: Request<B>) -> (AllocationInfo, R)
where
    S: Service<Request<B>, Response = R, Error = Infallible>,
{
    // Polled by hand: blocking on a future has an allocation of its own.
    let _runtime = runtime.enter();
    let mut context = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut context).is_ready());
    let mut polled = Poll::Pending;
    let info = measure(|| polled = pin!(service.call(request)).poll(&mut context));
    match polled {
        Poll::Ready(Ok(response)) => (info, response),
        _ => panic!("it waits for something"),
    }
}

fn location<B>(response: &Response<B>) -> String {
    assert_eq!(response.status(), 202);
    let location = response.headers()[header::LOCATION].to_str();
    location.unwrap().to_owned()
}

#[test]
fn what_passes_allocates_nothing_more_than_without_the_layer() {
    let runtime = runtime();
    let inner = service_fn(async |request: Request<Full<Bytes>>| {
        // Something to count, so that the two can be told from two services that do nothing.
        let text = request.uri().to_string();
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text))))
    });
    let operations = Operations::builder().build().unwrap();
    let layer = operations.layer().when(|_: Head<'_>| false);

    let mut bare = service_fn(move |request| inner.oneshot(request));
    let mut layered = layer.layer(inner);
    let usual_of_bare = usual(|| call(&runtime, &mut bare, post()).0);
    assert_ne!(usual_of_bare, 0);
    for _ in 0..101 {
        let (info, response) = call(&runtime, &mut layered, post());
        assert_eq!(response.status(), 200);
        assert_eq!(info.count_total, usual_of_bare);
    }
}

/// From the call to the 202, the body empty and the inner service not yet called.
fn accepting<B>() -> u64
where
    B: Rebuild + Default,
{
    let runtime = runtime();
    let inner = service_fn(async |_: Request<B>| Ok(Response::new(Full::<Bytes>::default())));
    let operations = Operations::builder().build().unwrap();
    let mut service = operations.layer().layer(inner);
    let count = usual(|| {
        let (info, response) = call(&runtime, &mut service, post());
        location(&response);
        // The rest of the operation is none of this.
        runtime.block_on(async {
            while operations.usage().accepted > 0 {
                tokio::task::yield_now().await;
            }
        });
        info
    });
    assert_ne!(operations.usage().stored, 0);
    count
}

#[test]
fn accepting_an_empty_request_allocates_at_most_twelve_times() {
    let count = accepting::<Full<Bytes>>();
    assert!(count <= 12, "{count}");
}

#[cfg(feature = "axum")]
#[test]
fn accepting_an_empty_request_with_a_body_of_axum_allocates_at_most_twelve_times() {
    let count = accepting::<axum::body::Body>();
    assert!(count <= 12, "{count}");
}

#[test]
fn polling_allocates_for_head_and_body_only() {
    let runtime = runtime();
    let inner = service_fn(|_: Request<Full<Bytes>>| pending::<Result<Response<Full<Bytes>>, _>>());
    let operations = Operations::builder().build().unwrap();
    let mut service = operations.wrap(inner);
    let monitor = location(&call(&runtime, &mut service, post()).1);
    let count = usual(|| {
        let (info, response) = call(&runtime, &mut service, get(&monitor));
        assert_eq!(response.status(), 202);
        info
    });
    // Two for the map of its fields, one for `Location`, one for the status document.
    assert!(count <= 4, "{count}");
}

#[test]
fn replaying_allocates_for_the_head_only() {
    let runtime = runtime();
    let inner = service_fn(async |_: Request<Full<Bytes>>| {
        let response = Response::builder().header(header::CONTENT_TYPE, "text/plain");
        Ok(response
            .body(Full::new(Bytes::from(vec![b'x'; 1024])))
            .unwrap())
    });
    let operations = Operations::builder().build().unwrap();
    let mut service = operations.wrap(inner);
    let monitor = location(&call(&runtime, &mut service, post()).1);
    runtime.block_on(async {
        while operations.usage().accepted + operations.usage().running > 0 {
            tokio::task::yield_now().await;
        }
    });
    let read = RefCell::new(Bytes::new());
    let count = usual(|| {
        let (info, response) = call(&runtime, &mut service, get(&monitor));
        assert_eq!(response.status(), 200);
        let body = runtime.block_on(response.into_body().collect()).unwrap();
        read.replace(body.to_bytes());
        info
    });
    assert_eq!(read.borrow().len(), 1024);
    // Two for the map of its fields. The bytes are shared.
    assert!(count <= 2, "{count}");
}

/// Bytes that each of a thousand operations keeps, its share of the tables included.
fn kept<S>(inner: S) -> i64
where
    S: Service<Request<Full<Bytes>>, Response = Response<Full<Bytes>>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    const COUNT: i64 = 1_000;
    let runtime = runtime();
    let mut limits = Limits::default();
    limits.running = 10_000;
    let operations = Operations::builder().limits(limits).build().unwrap();
    let mut service = operations.layer().layer(inner);
    let mut thousand = || {
        for _ in 0..COUNT {
            location(&call(&runtime, &mut service, post()).1);
        }
        runtime.block_on(async {
            while operations.usage().accepted > 0 {
                tokio::task::yield_now().await;
            }
        });
    };
    // What is made once, for all.
    thousand();
    measure(thousand).bytes_current / COUNT
}

#[test]
fn a_pending_operation_keeps_at_most_a_kib_and_a_half() {
    let kept = kept(service_fn(|_| pending()));
    assert!((1..=1_536).contains(&kept), "{kept}");
}

#[test]
fn an_ended_operation_keeps_at_most_350_bytes_beyond_its_body() {
    let kept = kept(service_fn(async |_| {
        let response = Response::builder().header(header::CONTENT_TYPE, "text/plain");
        Ok(response
            .body(Full::new(Bytes::from(vec![b'x'; 1024])))
            .unwrap())
    }));
    assert!((1_024..=1_374).contains(&kept), "{kept}");
}

#[test]
fn a_store_in_memory_asks_the_heap_for_room_in_steps_and_never_twice() {
    let runtime = runtime();
    let (ended, has_ended) = std::sync::mpsc::channel();
    let builder = Operations::builder().on_end(move |record| ended.send(record.id).unwrap());
    let operations = builder.build().unwrap();
    let mut service = operations.layer().layer(service_fn(async |_| {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(vec![b'x'; 1024]))))
    }));
    let mut steps_of_a_thousand = || {
        let run = || {
            location(&call(&runtime, &mut service, post::<Full<Bytes>>()).1);
            let ending = measure(|| {
                runtime.block_on(async {
                    while operations.usage().accepted > 0 {
                        tokio::task::yield_now().await;
                    }
                });
            });
            ending.bytes_total > 48 << 10
        };
        let steps = std::iter::repeat_with(run).take(1_000);
        let steps = steps.filter(|it| *it).count();
        for id in has_ended.try_iter() {
            let forgotten = runtime.block_on(operations.forget(id));
            assert!(matches!(forgotten, Ok(Settled::Done(_))));
        }
        steps
    };
    // 1,280 bytes each, and a step is of 32 KiB.
    let steps = steps_of_a_thousand();
    assert!((35..=40).contains(&steps), "{steps}");
    assert_eq!(steps_of_a_thousand(), 0);
}
