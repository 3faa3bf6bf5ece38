//! Redfish's tasks, beyond what their transcripts show: who gets a result that is given once, what is delivered by it, and
//! requests that make no sense.
#![cfg(feature = "testing")]

mod common {
    pub(crate) mod exchange;
    pub(crate) mod hostile;
    pub(crate) mod store;
}

use bytes::Bytes;
use common::exchange::{Collected, ask, document, one_place, request, submit};
use common::hostile::{Words, fields, method, run, target};
use common::store::{CAUSE, Faulty, How, Verb};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use proptest::prelude::*;
use tower::ServiceExt;
use tower_lro::{
    Builder, Operations, Owner, Redfish, Rfc, dialect::Dialect, store::StoreErrorKind,
};

const TASKS: &str = "/redfish/v1/TaskService/Tasks";

fn builder() -> Builder {
    let builder = Operations::builder().mount(TASKS);
    let builder = builder.owner(|_| Some(Owner::new("everybody")));
    builder.dialect(Redfish::new())
}

fn operations() -> Operations {
    builder().build().unwrap()
}

fn job() -> Request<Full<Bytes>> {
    request(Method::POST, "/redfish/jobs", &[])
}

fn answer(body: &'static str) -> Response<Full<Bytes>> {
    Response::new(Full::from(body))
}

fn monitor(accepted: &Collected) -> &str {
    accepted.headers()[header::LOCATION].to_str().unwrap()
}

async fn get(operations: &Operations, target: &str) -> Collected {
    ask(operations, request(Method::GET, target, &[])).await
}

#[tokio::test(start_paused = true)]
async fn the_first_of_many_gets_the_result() {
    let operations = operations();
    let accepted = submit(&operations, job(), answer("once")).await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(get(&operations, monitor(&accepted)).await.status().as_u16());
    }
    assert_eq!(statuses, [200, 404, 404, 404]);
    // Another's has not been given.
    let other = submit(&operations, job(), answer("another")).await;
    assert_eq!(get(&operations, monitor(&other)).await.body(), "another");
}

#[tokio::test(start_paused = true)]
async fn a_result_that_was_not_read_to_its_end_is_given_again() {
    let operations = operations();
    let accepted = submit(&operations, job(), answer("once")).await;
    let poll = || request(Method::GET, monitor(&accepted), &[]);
    // Its connection breaks.
    let unread = operations.status_service().oneshot(poll()).await.unwrap();
    assert_eq!(unread.status(), 200);
    drop(unread);
    assert_eq!(ask(&operations, poll()).await.body(), "once");
    assert_eq!(ask(&operations, poll()).await.status(), 404);
}

#[tokio::test(start_paused = true)]
async fn another_dialect_still_has_what_was_given() {
    let operations = operations();
    let plain = operations.also("/plain", Rfc::new()).unwrap();
    let accepted = submit(&operations, job(), answer("once")).await;
    get(&operations, monitor(&accepted)).await;
    let id = document(&accepted)["Id"].as_str().unwrap().to_owned();
    assert_eq!(get(&plain, &format!("/plain/{id}")).await.body(), "once");
}

#[tokio::test(start_paused = true)]
async fn the_task_is_not_the_delivery_of_its_result() {
    let operations = one_place(builder());
    let first = submit(&operations, job(), answer("1")).await;
    let task = document(&first)["@odata.id"].as_str().unwrap().to_owned();
    get(&operations, &task).await;
    let refused = submit(&operations, job(), answer("2")).await;
    assert_eq!(refused.status(), 503);
    assert_eq!(get(&operations, monitor(&first)).await.body(), "1");
    assert_eq!(submit(&operations, job(), answer("2")).await.status(), 202);
}

#[tokio::test(start_paused = true)]
async fn urls_are_paths_behind_a_base_that_has_one() {
    let builder = builder().base_url("https://example.com/bmc");
    let operations = builder.build().unwrap();
    let accepted = submit(&operations, job(), answer("")).await;
    let task = document(&accepted);
    let path = format!("/bmc{TASKS}/{}", task["Id"].as_str().unwrap());
    assert_eq!(task["@odata.id"], path);
    assert_eq!(monitor(&accepted), format!("{path}/Monitor"));
    let tasks = document(&get(&operations, TASKS).await);
    assert_eq!(tasks["@odata.id"], format!("/bmc{TASKS}"));
    assert_eq!(tasks["Members"][0]["@odata.id"], path);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_an_error_of_the_poll() {
    let store = Faulty::default();
    let operations = builder().store(store.clone()).build().unwrap();
    let accepted = submit(&operations, job(), answer("")).await;
    for verb in [Verb::Find, Verb::Create] {
        store.set(verb, How::Fail(StoreErrorKind::Unavailable));
    }
    for refused in [
        get(&operations, monitor(&accepted)).await,
        submit(&operations, job(), answer("")).await,
    ] {
        assert_eq!(refused.status(), 503);
        assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
        let error = document(&refused);
        assert!(error["error"]["@Message.ExtendedInfo"][0]["MessageId"].is_string());
        assert!(!error.to_string().contains(CAUSE));
    }
}

#[test]
fn browsers_may_read_what_clients_need() {
    let names = Redfish::new().header_names();
    for name in ["location", "retry-after", "etag", "allow"] {
        assert!(names.iter().any(|known| known == name), "{name}");
    }
}

const WORDS: Words = Words {
    tails: &["/Monitor", "/Monitor/", "/monitor"],
    names: &["$top", "%24top", "$skip", "$", "after"],
    values: &[],
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_request_is_without_a_lawful_answer(
        method in method(),
        target in target(TASKS, WORDS),
        fields in fields(&[], &[]),
    ) {
        let mut asked = request(method.clone(), "/", &[]);
        *asked.uri_mut() = target;
        asked.headers_mut().extend(fields);
        let answer = run(async {
            let operations = operations();
            submit(&operations, job(), answer("result")).await;
            ask(&operations, asked).await
        });
        let headers = answer.headers();
        match (answer.status(), method.as_str()) {
            (StatusCode::NO_CONTENT, "OPTIONS") => prop_assert!(headers.contains_key(header::ALLOW)),
            (StatusCode::OK, "GET") => prop_assert!(document(&answer)["Members"].is_array()),
            (_, "HEAD") => prop_assert!(answer.body().is_empty()),
            (StatusCode::BAD_REQUEST | StatusCode::NOT_IMPLEMENTED, "GET")
            | (StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED, _) => {
                let error = document(&answer);
                prop_assert!(error["error"]["code"].is_string() && error["error"]["message"].is_string());
                prop_assert_eq!(&headers["odata-version"], "4.0");
            }
            other => prop_assert!(false, "{:?}", other),
        }
        prop_assert_eq!(&headers[header::CACHE_CONTROL], "no-store");
    }
}
