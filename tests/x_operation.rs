//! Commands with `X-Operation`, beyond what their transcripts show: queries, what counts as delivered, what a handler may
//! tell, and requests that make no sense.
#![cfg(feature = "testing")]

mod common {
    pub(crate) mod exchange;
    pub(crate) mod hostile;
}

use bytes::Bytes;
use common::exchange::{Collected, ask, collected, one_place, request, submit};
use common::hostile::{Words, answer_to, fields, method, run, target};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use proptest::prelude::*;
use serde_json::Value;
use std::convert::Infallible;
use tower::{Layer, ServiceExt, service_fn};
use tower_lro::{
    OperationHandle, Operations, Rfc, XOperation,
    dialect::{X_OPERATION, X_RESOURCE},
};

fn operations() -> Operations {
    let builder = Operations::builder().dialect(XOperation::new());
    builder.build().unwrap()
}

fn json_of(response: &Collected) -> Value {
    serde_json::from_slice(response.body()).unwrap()
}

fn response(status: u16, body: &'static str) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status);
    let response = response.header(header::CONTENT_TYPE, "application/json");
    response.body(Full::from(body)).unwrap()
}

async fn command(operations: &Operations, answer: Response<Full<Bytes>>) -> Collected {
    let request = request(Method::POST, "/reports", &[]);
    submit(operations, request, answer).await
}

/// The operation, by an address that is relative to the root of the API.
async fn get(operations: &Operations, accepted: &Collected) -> Collected {
    let operation = accepted.headers()[X_OPERATION].to_str().unwrap();
    let url = format!("/{operation}");
    ask(operations, request(Method::GET, &url, &[])).await
}

#[tokio::test(start_paused = true)]
async fn commands_are_deferred_and_queries_pass() {
    let operations = operations();
    for (method, status) in [
        (Method::POST, 202),
        (Method::PUT, 202),
        (Method::PATCH, 202),
        (Method::DELETE, 202),
        (Method::GET, 418),
        (Method::HEAD, 418),
        (Method::OPTIONS, 418),
    ] {
        let request = request(method.clone(), "/reports", &[]);
        let answer = submit(&operations, request, response(418, "{}")).await;
        assert_eq!(answer.status(), status, "{method}");
        assert_eq!(
            answer.headers().contains_key(X_OPERATION),
            status == 202,
            "{method}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_is_relative_to_the_root_of_the_api() {
    for mount in ["/operations", "/api/v1/operations"] {
        let builder = Operations::builder().mount(mount);
        let builder = builder.dialect(XOperation::new());
        let operations = builder.base_url("https://example.com").build().unwrap();
        let accepted = command(&operations, response(200, "{}")).await;
        let operation = accepted.headers()[X_OPERATION].to_str().unwrap();
        let id = operation.strip_prefix("operations/").unwrap();
        let url = format!("{mount}/{id}");
        let document = ask(&operations, request(Method::GET, &url, &[])).await;
        assert_eq!(json_of(&document)["requestId"], id);
    }
}

#[tokio::test(start_paused = true)]
async fn a_detached_command_is_created_until_its_event_comes() {
    let operations = operations();
    let handler = service_fn(async |request: Request<Full<Bytes>>| {
        let operation = request.extensions().get::<OperationHandle>().unwrap();
        operation.detach().await.unwrap();
        Ok::<_, Infallible>(response(500, "{}"))
    });
    let service = operations.layer().layer(handler);
    let sent = request(Method::POST, "/orders", &[]);
    let accepted = collected(service.oneshot(sent).await.unwrap()).await;
    while operations.usage().running + operations.usage().accepted > 0 {
        tokio::task::yield_now().await;
    }
    let document = json_of(&get(&operations, &accepted).await);
    assert_eq!(
        (&document["state"], &document["code"]),
        (&"created".into(), &Value::Null)
    );

    let id = document["id"].as_str().unwrap().parse().unwrap();
    let event = response(409, r#"{"code":"sold_out","message":"No more."}"#);
    operations.complete(id, event).await.unwrap();
    let document = json_of(&get(&operations, &accepted).await);
    assert_eq!(document["state"], "rejected");
    assert_eq!(document["code"], "sold_out");
    assert_eq!(document["success"], false);
    // It never flips.
    operations.complete(id, response(200, "")).await.unwrap();
    assert_eq!(json_of(&get(&operations, &accepted).await), document);
}

#[tokio::test(start_paused = true)]
async fn a_document_that_tells_the_end_delivers_it() {
    for dialect in [XOperation::new(), XOperation::new().forget_when_read()] {
        let operations = one_place(Operations::builder().dialect(dialect));
        let first = command(&operations, response(200, "[1]")).await;
        let refused = command(&operations, response(200, "")).await;
        assert_eq!(refused.status(), 503);
        get(&operations, &first).await;
        let second = command(&operations, response(200, "")).await;
        assert_eq!(second.status(), 202);
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_that_read_an_end_that_is_forgotten_one_gets_it() {
    let builder = Operations::builder().dialect(XOperation::new().forget_when_read());
    let operations = builder.build().unwrap();
    let accepted = command(&operations, response(200, "{}")).await;
    let (one, other) = tokio::join!(get(&operations, &accepted), get(&operations, &accepted));
    let mut both = [one.status(), other.status()];
    both.sort_unstable();
    assert_eq!(both, [StatusCode::OK, StatusCode::NOT_FOUND]);
    assert_eq!(operations.usage().stored, 0);
}

#[tokio::test(start_paused = true)]
async fn a_message_is_cut_between_characters() {
    let operations = operations();
    let long = "\u{e4}".repeat(600);
    let body = format!(r#"{{"message":"{long}"}}"#);
    let failure = Response::builder().status(400);
    let failure = failure.header(header::CONTENT_TYPE, "application/json");
    let failure = failure.body(Full::from(body)).unwrap();
    let accepted = command(&operations, failure).await;
    let document = json_of(&get(&operations, &accepted).await);
    assert_eq!(document["message"], "\u{e4}".repeat(500));
}

#[tokio::test(start_paused = true)]
async fn another_dialect_shows_the_operation_under_its_own_urls() {
    let commands = operations();
    let plain = commands.also("/plain", Rfc::new()).unwrap();
    let accepted = command(&commands, response(200, "[1]")).await;
    let id = json_of(&get(&commands, &accepted).await)["id"].clone();
    let url = format!("/plain/{}", id.as_str().unwrap());
    let replay = ask(&plain, request(Method::GET, &url, &[])).await;
    assert_eq!(replay.body(), "[1]");
}

#[test]
fn a_template_that_is_no_url_is_refused_where_it_is_written() {
    for template in ["", "a b", "\u{e4}", "a\r\nb: c"] {
        let refused = std::panic::catch_unwind(|| XOperation::new().resource(template));
        assert!(refused.is_err(), "{template}");
    }
}

fn dialect() -> impl Strategy<Value = XOperation> {
    prop::sample::select(vec![
        XOperation::new(),
        XOperation::new()
            .resource("reports/{id}")
            .forget_when_read(),
    ])
}

const WORDS: Words = Words {
    tails: &["/result"],
    names: &[],
    values: &[],
};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn no_request_to_the_monitor_is_without_an_answer(
        dialect in dialect(),
        method in method(),
        target in target("/operations", WORDS),
        fields in fields(&["x-operation", "x-resource"], &[]),
    ) {
        let operations = || Operations::builder().dialect(dialect).build().unwrap();
        let answer = answer_to(operations, method.clone(), target, fields);
        match (answer.status().as_u16(), method.as_str()) {
            (204, "OPTIONS") | (404 | 405, "HEAD") => prop_assert!(answer.body().is_empty()),
            (404 | 405, _) => {
                let problem = json_of(&answer);
                prop_assert_eq!(problem["status"].as_u64(), Some(answer.status().as_u16().into()));
            }
            other => prop_assert!(false, "{other:?}"),
        }
        prop_assert_eq!(&answer.headers()[header::CACHE_CONTROL], "no-store");
    }

    #[test]
    fn whatever_a_handler_answers_the_document_is_json(
        dialect in dialect(),
        status in 200_u16..600,
        place in "[ -~]{0,24}",
        body in "\\PC{0,32}",
    ) {
        let (accepted, document) = run(async {
            let operations = Operations::builder().dialect(dialect).build().unwrap();
            let mut answer = Response::new(Full::from(body));
            *answer.status_mut() = status.try_into().unwrap();
            answer.headers_mut().insert(header::LOCATION, place.parse().unwrap());
            answer.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
            let accepted = command(&operations, answer).await;
            let document = get(&operations, &accepted).await;
            (accepted, document)
        });
        prop_assert!(accepted.headers().contains_key(X_RESOURCE));
        let document = json_of(&document);
        let (state, success) = if status < 400 { ("completed", true) } else { ("rejected", false) };
        prop_assert_eq!(&document["state"], state);
        prop_assert_eq!(&document["success"], success);
        prop_assert_eq!(document.as_object().unwrap().len(), 12);
    }
}
