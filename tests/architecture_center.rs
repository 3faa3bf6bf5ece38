//! The Architecture Center's pattern, beyond what its transcripts show: what counts as delivered, which failures clients are
//! shown, and requests that make no sense.
#![cfg(feature = "testing")]

mod common {
    pub(crate) mod exchange;
    pub(crate) mod hostile;
}

use bytes::Bytes;
use common::exchange::{Collected, ask, one_place, request, submit};
use common::hostile::{Words, answer_to, fields, method, run, target};
use http::{Method, Response, header};
use http_body_util::Full;
use proptest::prelude::*;
use serde_json::Value;
use tower_lro::{ArchitectureCenter, Operations, Rfc};

fn operations(dialect: ArchitectureCenter) -> Operations {
    Operations::builder().dialect(dialect).build().unwrap()
}

async fn accepted(operations: &Operations, answer: Response<Full<Bytes>>) -> Collected {
    submit(operations, request(Method::POST, "/reports", &[]), answer).await
}

fn location(response: &Collected) -> String {
    let location = response.headers()[header::LOCATION].to_str();
    location.unwrap().to_owned()
}

async fn get(operations: &Operations, url: &str) -> Collected {
    ask(operations, request(Method::GET, url, &[])).await
}

fn response(status: u16) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status);
    response.body(Full::from("text")).unwrap()
}

fn created(location: &str) -> Response<Full<Bytes>> {
    let response = Response::builder().status(201);
    let response = response.header(header::LOCATION, location);
    response.body(Full::default()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_redirect_to_what_was_made_delivers_and_one_to_the_result_does_not() {
    let operations = one_place(Operations::builder().dialect(ArchitectureCenter::new()));
    let monitor = location(&accepted(&operations, created("/reports/7")).await);
    assert_eq!(accepted(&operations, response(200)).await.status(), 503);
    assert_eq!(get(&operations, &monitor).await.status(), 303);
    let monitor = location(&accepted(&operations, response(200)).await);

    let redirect = get(&operations, &monitor).await;
    assert_eq!(redirect.status(), 303);
    assert_eq!(accepted(&operations, response(200)).await.status(), 503);
    assert_eq!(get(&operations, &location(&redirect)).await.body(), "text");
    assert_eq!(accepted(&operations, response(200)).await.status(), 202);
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_is_told_at_the_monitor_is_delivered_there() {
    for dialect in [ArchitectureCenter::new(), ArchitectureCenter::dotnet()] {
        for status in [422, 500] {
            let operations = one_place(Operations::builder().dialect(dialect));
            let monitor = location(&accepted(&operations, response(status)).await);
            assert_eq!(accepted(&operations, response(200)).await.status(), 503);
            assert!(get(&operations, &monitor).await.status().is_client_error());
            assert_eq!(accepted(&operations, response(200)).await.status(), 202);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_failure_passes_for_a_failed_poll() {
    let operations = operations(ArchitectureCenter::new());
    for status in 400..600 {
        let monitor = location(&accepted(&operations, response(status)).await);
        let told = get(&operations, &monitor).await.status().as_u16();
        let wanted = match status {
            408 | 425 | 429 | 500.. => 400,
            status => status,
        };
        assert_eq!(told, wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_document_embeds_no_problem_that_is_not_json() {
    let operations = operations(ArchitectureCenter::new().failures_as_documents());
    for body in ["{\"title\":", "[1]", "no", "{} {}", ""] {
        let failure = Response::builder().status(418);
        let failure = failure.header(header::CONTENT_TYPE, "application/problem+json");
        let failure = failure.body(Full::from(body)).unwrap();
        let monitor = location(&accepted(&operations, failure).await);
        let told = get(&operations, &monitor).await;
        let document: Value = serde_json::from_slice(told.body()).unwrap();
        assert_eq!(document["status"], "Failed");
        assert_eq!(document["error"]["detail"], "I'm a teapot", "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_dialect_shows_the_operation_under_its_own_urls() {
    let jobs = operations(ArchitectureCenter::new());
    let plain = jobs.also("/plain", Rfc::new()).unwrap();
    let monitor = location(&accepted(&jobs, response(200)).await);
    let id = monitor.strip_prefix("/operations/").unwrap();
    assert_eq!(get(&plain, &format!("/plain/{id}")).await.body(), "text");
    assert_eq!(get(&jobs, &monitor).await.status(), 303);
}

#[test]
fn a_template_that_is_no_url_is_refused_where_it_is_written() {
    for template in ["", "/a b", "/\u{e4}", "/a\n", "/\"", "/a\\b"] {
        let refused = std::panic::catch_unwind(|| ArchitectureCenter::new().target(template));
        assert!(refused.is_err(), "{template}");
    }
}

fn dialect() -> impl Strategy<Value = ArchitectureCenter> {
    prop::sample::select(vec![
        ArchitectureCenter::new(),
        ArchitectureCenter::new().failures_as_documents(),
        ArchitectureCenter::dotnet().target("/todos/{id}"),
    ])
}

const WORDS: Words = Words {
    tails: &["/result"],
    names: &["OnComplete"],
    values: &["Stream"],
};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn no_request_to_the_monitor_is_without_an_answer(
        dialect in dialect(),
        method in method(),
        target in target("/operations", WORDS),
        fields in fields(&[], &[]),
    ) {
        let answer = answer_to(|| operations(dialect), method.clone(), target, fields);
        match (answer.status().as_u16(), method.as_str()) {
            (204, "OPTIONS") | (404 | 405, "HEAD") => prop_assert!(answer.body().is_empty()),
            (404 | 405, _) => {
                prop_assert_eq!(&answer.headers()[header::CONTENT_TYPE], "application/problem+json");
                let problem: Value = serde_json::from_slice(answer.body()).unwrap();
                prop_assert_eq!(problem["status"].as_u64(), Some(answer.status().as_u16().into()));
            }
            other => prop_assert!(false, "{other:?}"),
        }
        prop_assert_eq!(&answer.headers()[header::CACHE_CONTROL], "no-store");
    }

    #[test]
    fn whatever_a_handler_answers_has_a_lawful_end(
        dialect in dialect(),
        status in 200_u16..600,
        place in "[ -~]{0,24}",
        body in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let answer = run(async {
            let operations = operations(dialect);
            let mut answer = Response::new(Full::from(body));
            *answer.status_mut() = status.try_into().unwrap();
            answer.headers_mut().insert(header::LOCATION, place.parse().unwrap());
            let monitor = location(&accepted(&operations, answer).await);
            get(&operations, &monitor).await
        });
        match answer.status().as_u16() {
            302 | 303 => prop_assert!(answer.headers().contains_key(header::LOCATION)),
            200 => prop_assert!(status >= 400),
            told => prop_assert!((400..500).contains(&told) && status >= 400, "{told}"),
        }
        prop_assert!(answer.headers().contains_key(header::EXPIRES));
        prop_assert!(!answer.headers().contains_key(header::RETRY_AFTER));
    }
}
