//! two-oh-two, beyond what its transcripts show: the project's own test, what counts as delivered, and requests that make no
//! sense.
#![cfg(feature = "testing")]

mod common {
    pub(crate) mod exchange;
    pub(crate) mod hostile;
}

use bytes::Bytes;
use common::exchange::{Collected, ask, collected, one_place, request, submit};
use common::hostile::{Words, answer_to, fields, method, run, target};
use http::{Method, Request, Response, header};
use http_body_util::Full;
use proptest::prelude::*;
use serde_json::Value;
use std::{convert::Infallible, time::Duration};
use tower::{Layer, ServiceExt, service_fn};
use tower_lro::{Operations, Rfc, TwoOhTwo};

fn operations() -> Operations {
    let builder = Operations::builder().dialect(TwoOhTwo::new());
    builder.build().unwrap()
}

async fn accepted(operations: &Operations, answer: Response<Full<Bytes>>) -> Collected {
    let request = request(Method::GET, "/deferredjob", &[]);
    submit(operations, request, answer).await
}

fn location(response: &Collected) -> String {
    let location = response.headers()[header::LOCATION].to_str();
    location.unwrap().to_owned()
}

async fn get(operations: &Operations, url: &str) -> Collected {
    ask(operations, request(Method::GET, url, &[])).await
}

fn json(status: u16, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status);
    let response = response.header(header::CONTENT_TYPE, "application/json");
    response.body(Full::new(body.into())).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_projects_own_test_passes() {
    let operations = operations();
    let job = service_fn(async |_: Request<Full<Bytes>>| {
        tokio::time::sleep(Duration::from_secs(2)).await;
        Ok::<_, Infallible>(json(200, "\"Result of long-running process.\""))
    });
    let service = operations.layer().layer(job);
    let asked = request(Method::GET, "/deferredjob", &[]);
    let started = collected(service.oneshot(asked).await.unwrap()).await;
    assert_eq!(started.status(), 202);
    let monitor = location(&started);

    assert_eq!(get(&operations, &monitor).await.status(), 200);
    tokio::time::sleep(Duration::from_secs(3)).await;
    for _ in 0..2 {
        let done = get(&operations, &monitor).await;
        assert_eq!(done.status(), 201);
        let result = get(&operations, &location(&done)).await;
        assert_eq!(result.status(), 200);
        assert_eq!(
            result.body(),
            r#"{"result":"Result of long-running process."}"#
        );
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_result_delivers() {
    let operations = one_place(Operations::builder().dialect(TwoOhTwo::new()));
    for answer in [json(200, "[1]"), json(204, ""), json(500, "{}")] {
        let monitor = location(&accepted(&operations, answer.clone()).await);
        let result = location(&get(&operations, &monitor).await);
        assert_eq!(
            accepted(&operations, answer.clone()).await.status(),
            503,
            "{answer:?}"
        );
        get(&operations, &result).await;
    }
    assert_eq!(accepted(&operations, json(200, "")).await.status(), 202);
}

#[tokio::test(start_paused = true)]
async fn a_long_result_stands_in_the_document_too() {
    let operations = operations();
    let long = format!("[{}1]", "1,".repeat(200_000));
    let monitor = location(&accepted(&operations, json(200, long.clone())).await);
    let result = location(&get(&operations, &monitor).await);
    let result = get(&operations, &result).await;
    assert_eq!(result.body(), &format!("{{\"result\":{long}}}"));
}

#[tokio::test(start_paused = true)]
async fn another_dialect_tells_how_it_failed() {
    let two = operations();
    let plain = two.also("/plain", Rfc::new()).unwrap();
    let monitor = location(&accepted(&two, json(418, "{}")).await);
    let id = monitor.strip_prefix("/operations/monitor/").unwrap();
    assert_eq!(get(&plain, &format!("/plain/{id}")).await.status(), 418);
}

const WORDS: Words = Words {
    tails: &["/monitor", "/result", "/monitor/", "/result/"],
    names: &[],
    values: &[],
};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn no_request_to_the_monitor_is_without_an_answer(
        method in method(),
        target in target("/operations", WORDS),
        fields in fields(&[], &[]),
    ) {
        let answer = answer_to(operations, method.clone(), target, fields);
        match (answer.status().as_u16(), method.as_str()) {
            (204, "OPTIONS") | (404 | 405 | 422, "HEAD") => prop_assert!(answer.body().is_empty()),
            (404 | 405 | 422, _) => {
                prop_assert_eq!(&answer.headers()[header::CONTENT_TYPE], "application/json");
                let error: Value = serde_json::from_slice(answer.body()).unwrap();
                prop_assert!(error["message"].is_string());
            }
            other => prop_assert!(false, "{other:?}"),
        }
        prop_assert_eq!(&answer.headers()[header::CACHE_CONTROL], "no-store");
    }

    #[test]
    fn whatever_a_handler_answers_has_a_lawful_end(
        status in 200_u16..600,
        kind in "[ -~]{0,24}",
        body in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let (done, result) = run(async {
            let operations = operations();
            let mut answer = Response::new(Full::from(body));
            *answer.status_mut() = status.try_into().unwrap();
            answer.headers_mut().insert(header::CONTENT_TYPE, kind.parse().unwrap());
            let monitor = location(&accepted(&operations, answer).await);
            let done = get(&operations, &monitor).await;
            let result = get(&operations, &location(&done)).await;
            (done, result)
        });
        prop_assert_eq!(done.status(), 201);
        prop_assert_eq!(result.status() == 422, status >= 400);
    }
}
