//! RESTEasy's Asynchronous Job Service, beyond what its transcripts show: what the inner service sees, what becomes of work
//! that nobody will hear of, who reads a result that is removed, and requests that make no sense.
#![cfg(feature = "testing")]

mod common {
    pub(crate) mod exchange;
    pub(crate) mod hostile;
    pub(crate) mod store;
}

use bytes::Bytes;
use common::exchange::{Collected, ask, collected, request, submit};
use common::hostile::{method, run};
use common::store::{CAUSE, Faulty, How, Verb};
use http::{Method, Request, Response, header};
use http_body_util::Full;
use proptest::prelude::*;
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::sync::Notify;
use tower::{Layer, ServiceExt, service_fn};
use tower_lro::{
    Limits, Operations, RestEasy,
    dialect::{Dialect, OPERATION_OUTCOME},
    store::StoreErrorKind,
};

fn operations() -> Operations {
    let builder = Operations::builder().mount("/asynch/jobs");
    builder.dialect(RestEasy::new()).build().unwrap()
}

fn job() -> Request<Full<Bytes>> {
    request(Method::POST, "/reports?asynch=true", &[])
}

fn answer(body: &'static str) -> Response<Full<Bytes>> {
    Response::new(Full::from(body))
}

async fn by(operations: &Operations, method: Method, accepted: &Collected) -> Collected {
    let job = accepted.headers()[header::LOCATION].to_str().unwrap();
    ask(operations, request(method, job, &[])).await
}

/// Answers with the target that it sees.
async fn seen(operations: &Operations, target: &str) -> Collected {
    let inner = service_fn(async |request: Request<Full<Bytes>>| {
        let seen = request.uri().to_string();
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(seen)))
    });
    let request = request(Method::POST, target, &[]);
    let answer = operations.layer().layer(inner).oneshot(request).await;
    let answer = collected(answer.unwrap()).await;
    while operations.usage().running + operations.usage().accepted > 0 {
        tokio::task::yield_now().await;
    }
    answer
}

#[tokio::test(start_paused = true)]
async fn the_inner_service_does_not_see_the_opt_in() {
    let operations = operations();
    for (target, inner) in [
        ("/r?asynch=true", "/r"),
        ("/r?asynch", "/r"),
        ("/r?a=b%26&asynch=true&wait=5&oneway", "/r?a=b%26&wait=5"),
        (
            "http://example.com/r?x&%61synch=1",
            "http://example.com/r?x",
        ),
        ("/r?asynch=1&&asynchron=2", "/r?&asynchron=2"),
    ] {
        let accepted = seen(&operations, target).await;
        assert_eq!(accepted.status(), 202, "{target}");
        let result = by(&operations, Method::GET, &accepted).await;
        assert_eq!(result.body(), inner, "{target}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_ask_is_answered_by_the_inner_service() {
    let operations = operations();
    for target in [
        "/r",
        "/r?wait=1",
        "/r?ASYNCH=true",
        "/r?x=asynch",
        "/r?asynch+=1",
    ] {
        let passed = seen(&operations, target).await;
        assert_eq!(
            (passed.status().as_u16(), &**passed.body()),
            (200, target.as_bytes())
        );
    }
    assert_eq!(operations.usage().stored, 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_one_way_takes_no_room_in_the_end() {
    let mut limits = Limits::default();
    limits.stored = 3;
    let builder = Operations::builder().limits(limits);
    let operations = builder.dialect(RestEasy::new()).build().unwrap();
    for _ in 0..10 {
        let one_way = request(Method::POST, "/reports?oneway=true", &[]);
        let accepted = submit(&operations, one_way, answer("unheard")).await;
        assert_eq!(accepted.status(), 202);
        assert!(accepted.body().is_empty());
        assert!(!accepted.headers().contains_key(header::LOCATION));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(
        (operations.usage().stored, operations.usage().stored_bytes),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn work_goes_on_when_its_job_is_deleted() {
    let operations = operations();
    let (gate, done) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let (opened, finished) = (gate.clone(), done.clone());
    let inner = service_fn(move |_: Request<Full<Bytes>>| {
        let (opened, finished) = (opened.clone(), finished.clone());
        async move {
            opened.notified().await;
            finished.store(true, SeqCst);
            Ok::<_, Infallible>(answer("late"))
        }
    });
    let accepted = operations.layer().layer(inner).oneshot(job()).await;
    let accepted = collected(accepted.unwrap()).await;
    tokio::task::yield_now().await;
    for _ in 0..2 {
        let deleted = by(&operations, Method::DELETE, &accepted).await;
        assert_eq!(deleted.status(), 204);
    }
    gate.notify_one();
    while operations.usage().running > 0 {
        tokio::task::yield_now().await;
    }
    assert!(done.load(SeqCst));
    assert_eq!(by(&operations, Method::GET, &accepted).await.status(), 410);
}

#[tokio::test(start_paused = true)]
async fn one_of_many_reads_what_is_removed() {
    let operations = operations();
    let accepted = submit(&operations, job(), answer("once")).await;
    let take = || by(&operations, Method::POST, &accepted);
    let (first, second, third) = tokio::join!(take(), take(), take());
    let mut statuses = [first, second, third].map(|answer| answer.status().as_u16());
    statuses.sort();
    assert_eq!(statuses, [200, 410, 410]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_a_problem_even_of_a_delete() {
    let store = Faulty::default();
    let builder = Operations::builder().dialect(RestEasy::new());
    let operations = builder.store(store.clone()).build().unwrap();
    let accepted = submit(&operations, job(), answer("")).await;
    store.set(Verb::Find, How::Fail(StoreErrorKind::Unavailable));
    for method in [Method::GET, Method::POST, Method::DELETE] {
        let refused = by(&operations, method, &accepted).await;
        assert_eq!(refused.status(), 503);
        assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
        assert!(
            !refused.body().is_empty() && !String::from_utf8_lossy(refused.body()).contains(CAUSE)
        );
    }
}

#[test]
fn browsers_may_read_what_clients_need() {
    let names = RestEasy::new().header_names();
    for name in ["location", "retry-after", "allow", "operation-outcome"] {
        assert!(names.iter().any(|known| known == name), "{name}");
    }
}

fn target() -> impl Strategy<Value = String> {
    let query = "(&?(wait|asynch|oneway|%61synch|x)(=(-?[0-9]{0,21}|%|%2|true|\\+|%ff))?){0,4}";
    prop_oneof![
        (Just("/asynch/jobs/ID"), "(/[a-z]{0,3})?", query)
            .prop_map(|(job, rest, query)| format!("{job}{rest}?{query}")),
        "/asynch/jobs[!-~&&[^#\"<>\\\\^`{|}]]{0,40}",
        "/[!-~&&[^#\"<>\\\\^`{|}]]{0,16}",
        query.prop_map(|query| format!("/reports?{query}")),
    ]
    .prop_filter("no target", |text| text.parse::<http::Uri>().is_ok())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_request_is_without_a_lawful_answer(
        method in method(),
        target in target(),
    ) {
        let answer = run(async {
            let operations = operations();
            let accepted = submit(&operations, job(), answer("result")).await;
            let job = accepted.headers()[header::LOCATION].to_str().unwrap();
            let id = job.rsplit('/').next().unwrap();
            let target = target.replace("ID", id);
            ask(&operations, request(method.clone(), &target, &[])).await
        });
        match (answer.status().as_u16(), method.as_str()) {
            (200, "GET" | "HEAD" | "POST") => prop_assert_eq!(&answer.headers()[OPERATION_OUTCOME], "succeeded"),
            (204, "DELETE") => prop_assert!(answer.body().is_empty()),
            (204, "OPTIONS") | (405, _) => prop_assert!(answer.headers().contains_key(header::ALLOW)),
            (410, _) => {}
            other => prop_assert!(false, "{other:?}"),
        }
        prop_assert_eq!(&answer.headers()[header::CACHE_CONTROL], "no-store");
    }

    #[test]
    fn no_target_fails_a_request(target in target()) {
        let answer = run(async { seen(&operations(), &target).await });
        prop_assert!(matches!(answer.status().as_u16(), 200 | 202), "{}", answer.status());
    }
}
