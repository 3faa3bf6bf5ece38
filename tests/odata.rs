//! OData's asynchronous requests, beyond what their transcripts show: what is not deferred, how large results are
//! enveloped, what counts as delivered, and requests that make no sense.
#![cfg(feature = "testing")]

mod common {
    pub(crate) mod exchange;
    pub(crate) mod hostile;
    pub(crate) mod store;
}

use bytes::Bytes;
use common::exchange::{Collected, ask, collected, one_place, request, submit};
use common::hostile::{self, Words, answer_to, method, run, target};
use common::store::{CAUSE, Faulty, How, Verb};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use proptest::prelude::*;
use serde_json::Value;
use std::convert::Infallible;
use tower::{Layer, ServiceExt, service_fn};
use tower_lro::{
    OData, Operations, Rfc,
    dialect::{ASYNC_RESULT, Dialect},
    store::StoreErrorKind,
};

fn operations() -> Operations {
    Operations::builder().dialect(OData::new()).build().unwrap()
}

fn job(fields: &[(&str, &str)]) -> Request<Full<Bytes>> {
    request(Method::POST, "/Jobs", fields)
}

async fn get(operations: &Operations, accepted: &Collected, fields: &[(&str, &str)]) -> Collected {
    let monitor = accepted.headers()[header::LOCATION].to_str().unwrap();
    ask(operations, request(Method::GET, monitor, fields)).await
}

const ASK: (&str, &str) = ("prefer", "respond-async");
const ENVELOPE: (&str, &str) = ("accept", "application/http");

fn json(body: &'static str) -> Response<Full<Bytes>> {
    let response = Response::builder().header(header::CONTENT_TYPE, "application/json");
    response.body(Full::from(body)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_does_not_ask_is_never_answered_202() {
    let operations = operations();
    for fields in [
        &[][..],
        &[("prefer", "wait=0")],
        &[("prefer", "respond-async=no")],
        &[("prefer", "return=minimal"), ("odata-maxversion", "4.0")],
    ] {
        let answer = submit(&operations, job(fields), json("{}")).await;
        assert_eq!(answer.status(), 200, "{fields:?}");
        assert_eq!(answer.headers()[header::VARY], "prefer", "{fields:?}");
    }
    assert_eq!(operations.usage().stored, 0);
}

#[tokio::test(start_paused = true)]
async fn other_preferences_reach_the_handler() {
    let operations = operations();
    let prefer = (
        "prefer",
        "return=minimal, Respond-Async, wait=0, callback; url=\"x\"",
    );
    let accepted = submit(&operations, job(&[prefer]), json("{}")).await;
    assert_eq!(accepted.status(), 202);
    let result = get(&operations, &accepted, &[]).await;
    assert_eq!(
        result.headers()["seen"],
        "return=minimal, callback; url=\"x\""
    );
}

#[tokio::test(start_paused = true)]
async fn an_envelope_is_a_message_of_just_the_length_it_tells() {
    let operations = operations();
    // More than one piece, and bytes that are no text.
    let body: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
    let mut answer = Response::new(Full::from(body.clone()));
    let headers = answer.headers_mut();
    headers.append("x-many", HeaderValue::from_static("a"));
    headers.append("x-many", HeaderValue::from_bytes(b"\xe9").unwrap());
    headers.append("x-empty", HeaderValue::from_static(""));
    let accepted = submit(&operations, job(&[ASK]), answer).await;
    let enveloped = get(&operations, &accepted, &[ENVELOPE]).await;
    let message = enveloped.body();
    let end = message.windows(4).position(|four| four == b"\r\n\r\n");
    let (head, inner) = message.split_at(end.unwrap() + 4);
    assert_eq!(inner, body);
    let wanted: &[u8] = b"HTTP/1.1 200 OK\r\nx-many: a\r\nx-many: \xe9\r\nx-empty: \r\ncontent-length: 1000000\r\n\r\n";
    assert_eq!(head, wanted);
}

#[tokio::test(start_paused = true)]
async fn a_stored_304_keeps_no_length_of_what_it_has_not() {
    let operations = operations();
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::NOT_MODIFIED;
    let length = HeaderValue::from_static("7");
    answer.headers_mut().insert(header::CONTENT_LENGTH, length);
    let accepted = submit(&operations, job(&[ASK]), answer).await;
    let result = get(&operations, &accepted, &[]).await;
    assert_eq!((result.status().as_u16(), result.body().len()), (200, 0));
    assert_eq!(result.headers()[ASYNC_RESULT], "304");
    assert!(!result.headers().contains_key(header::CONTENT_LENGTH));
}

#[tokio::test(start_paused = true)]
async fn either_form_delivers_the_result() {
    for form in [&[][..], &[ENVELOPE]] {
        let operations = one_place(Operations::builder().dialect(OData::new()));
        let first = submit(&operations, job(&[ASK]), json("[1]")).await;
        // There is no room for another before, and there is after.
        assert_eq!(
            submit(&operations, job(&[ASK]), json("[2]")).await.status(),
            503
        );
        get(&operations, &first, form).await;
        assert_eq!(
            submit(&operations, job(&[ASK]), json("[2]")).await.status(),
            202
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_dialect_cancels_is_told_as_a_5xx() {
    let operations = operations();
    let plain = operations.also("/plain", Rfc::new()).unwrap();
    let inner = service_fn(|_: Request<Full<Bytes>>| async {
        std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>().await
    });
    let layer = operations.layer().layer(inner);
    let accepted = layer.oneshot(request(Method::POST, "/Jobs", &[ASK])).await;
    let accepted = collected(accepted.unwrap()).await;
    let monitor = accepted.headers()[header::LOCATION].to_str().unwrap();
    let id = monitor.rsplit('/').next().unwrap();
    let cancel = request(Method::DELETE, &format!("/plain/{id}"), &[]);
    assert_eq!(ask(&plain, cancel).await.status(), 200);
    let result = get(&operations, &accepted, &[]).await;
    assert_eq!(result.headers()[ASYNC_RESULT], "500");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_an_error_of_the_poll() {
    let store = Faulty::default();
    let builder = Operations::builder()
        .dialect(OData::new())
        .store(store.clone());
    let operations = builder.build().unwrap();
    let accepted = submit(&operations, job(&[ASK]), json("{}")).await;
    store.set(Verb::Find, How::Fail(StoreErrorKind::Unavailable));
    store.set(Verb::Create, How::Fail(StoreErrorKind::Unavailable));
    for refused in [
        get(&operations, &accepted, &[ENVELOPE]).await,
        submit(&operations, job(&[ASK]), json("{}")).await,
    ] {
        assert_eq!(refused.status(), 503);
        assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
        let error: Value = serde_json::from_slice(refused.body()).unwrap();
        assert_eq!(error["error"]["code"], "Unavailable");
        assert!(!error.to_string().contains(CAUSE));
    }
    store.heal();
    assert_eq!(get(&operations, &accepted, &[]).await.status(), 200);
}

#[test]
fn browsers_may_read_what_clients_need() {
    let names = OData::new().header_names();
    for name in [
        "location",
        "retry-after",
        "asyncresult",
        "preference-applied",
    ] {
        assert!(names.iter().any(|known| known == name), "{name}");
    }
}

/// Fields of requests, likely ones and others.
fn fields() -> impl Strategy<Value = HeaderMap> {
    hostile::fields(
        &["odata-maxversion", "idempotency-key"],
        &[
            "application/http",
            "application/http;q=0",
            "application/http;q=0.0, */*",
            "respond-async",
            "respond-async, wait=1",
            "4.0",
            "4.01",
            ",;=\"",
            "application/http;q",
        ],
    )
}

const WORDS: Words = Words {
    tails: &[":cancel", "/result"],
    names: &[],
    values: &[],
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_request_to_the_monitor_is_without_an_answer_in_odatas_form(
        method in method(),
        target in target("/operations", WORDS),
        fields in fields(),
    ) {
        let answer = answer_to(operations, method.clone(), target, fields);
        // Nothing is stored, so what is not about methods is unknown.
        match (answer.status().as_u16(), method.as_str()) {
            (204, "OPTIONS") | (404 | 405, "HEAD") => prop_assert!(answer.body().is_empty()),
            (404 | 405, _) => {
                let error: Value = serde_json::from_slice(answer.body()).unwrap();
                prop_assert!(error["error"]["code"].is_string() && error["error"]["message"].is_string());
                prop_assert!(matches!(answer.headers()["odata-version"].to_str(), Ok("4.0" | "4.01")));
            }
            other => prop_assert!(false, "{other:?}"),
        }
        prop_assert_eq!(&answer.headers()[header::CACHE_CONTROL], "no-store");
    }

    #[test]
    fn a_result_comes_in_one_of_two_forms_whatever_is_accepted(fields in fields()) {
        let answer = run(async {
            let operations = operations();
            let accepted = submit(&operations, job(&[ASK]), json("{}")).await;
            let monitor = accepted.headers()[header::LOCATION].to_str().unwrap();
            let mut request = request(Method::GET, monitor, &[]);
            request.headers_mut().extend(fields);
            ask(&operations, request).await
        });
        prop_assert_eq!(answer.status(), 200);
        match answer.headers().get(ASYNC_RESULT) {
            Some(status) => {
                prop_assert_eq!(status, "200");
                prop_assert_eq!(&answer.body()[..], b"{}");
            }
            None => {
                prop_assert_eq!(&answer.headers()[header::CONTENT_TYPE], "application/http");
                prop_assert!(answer.body().starts_with(b"HTTP/1.1 200 OK\r\n"));
                let is_whole = answer.body().ends_with(b"\r\n\r\n{}");
                prop_assert!(is_whole);
            }
        }
    }

    #[test]
    fn what_is_preferred_never_fails_a_request(fields in fields()) {
        let asks = {
            let mut asking = HeaderMap::new();
            asking.extend(fields.clone());
            asking
        };
        let answer = run(async {
            let operations = operations();
            let inner = service_fn(|_: Request<Full<Bytes>>| async { Ok::<_, Infallible>(json("{}")) });
            let mut request = request(Method::POST, "/Jobs", &[]);
            request.headers_mut().extend(asks);
            collected(operations.layer().layer(inner).oneshot(request).await.unwrap()).await
        });
        // Deferred, passed or in time; or the key is none, which is told where keys count.
        prop_assert!(matches!(answer.status().as_u16(), 200 | 202 | 400), "{}", answer.status());
        if answer.status() == 202 {
            prop_assert!(tower_lro::header::Prefer::parse(&fields).respond_async);
        }
    }
}
