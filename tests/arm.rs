//! Azure Resource Manager, beyond what its transcripts show: what counts as delivered, whose URLs are told, and requests
//! that make no sense.
#![cfg(feature = "testing")]

mod common {
    pub(crate) mod exchange;
    pub(crate) mod hostile;
}

use bytes::Bytes;
use common::exchange::{Collected, ask, document, is_delivered, request, response, submit};
use common::hostile::{Words, answer_to, fields, method, target};
use http::{Method, Request, header};
use http_body_util::Full;
use proptest::prelude::*;
use serde_json::json;
use tower_lro::{Arm, Azure, Operations, dialect::AZURE_ASYNC_OPERATION};

fn job(method: Method) -> Request<Full<Bytes>> {
    request(method, "/things/x", &[])
}

fn field(answer: &Collected, name: header::HeaderName) -> String {
    answer.headers()[name].to_str().unwrap().to_owned()
}

async fn get(operations: &Operations, url: &str) -> Collected {
    ask(operations, request(Method::GET, url, &[])).await
}

#[tokio::test(start_paused = true)]
async fn what_is_all_that_a_client_wants_delivers_the_result() {
    let text = || response(200, "text/plain", "text");
    let json = || response(200, "application/json", "[1]");
    for (method, answer, replay, delivers) in [
        (Method::POST, text(), true, true),
        (Method::POST, text(), false, false),
        (Method::POST, json(), false, true),
        (Method::PUT, json(), false, true),
        (Method::PATCH, text(), false, true),
        (Method::DELETE, response(204, "text/plain", ""), false, true),
        (Method::POST, response(500, "text/plain", "no"), false, true),
    ] {
        let shown = format!("{method} {answer:?}");
        let monitor = if replay {
            header::LOCATION
        } else {
            AZURE_ASYNC_OPERATION
        };
        let builder = Operations::builder().dialect(Arm::new());
        let asked = |first: &Collected| field(first, monitor);
        let delivered = is_delivered(builder, || job(method.clone()), answer, asked).await;
        assert_eq!(delivered, delivers, "{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn both_of_azures_dialects_show_one_operation() {
    let builder = Operations::builder()
        .mount("/providers/P")
        .dialect(Arm::new());
    let arm = builder.build().unwrap();
    let azure = arm.also("/azure", Azure::new()).unwrap();
    let answer = response(200, "application/json", "[1]");
    let accepted = submit(&arm, job(Method::POST), answer).await;
    let url = field(&accepted, AZURE_ASYNC_OPERATION);
    let (begin, id) = url.rsplit_once('/').unwrap();
    assert_eq!(begin, "http://example.com/providers/P/operationStatuses");
    let shown = document(&get(&arm, &url).await);
    let wanted = format!("/providers/P/operationStatuses/{id}");
    assert_eq!(
        (&shown["id"], &shown["properties"]),
        (&json!(wanted), &json!([1]))
    );
    let shown = document(&get(&azure, &format!("/azure/{id}")).await);
    assert_eq!(shown["result"], json!([1]));
}

#[tokio::test(start_paused = true)]
async fn what_is_odd_in_an_address_is_odd_in_the_resource_and_no_more() {
    let operations = Operations::builder().dialect(Arm::new()).build().unwrap();
    for (target, id, name) in [
        ("/", "", ""),
        ("/?x", "", ""),
        ("/a/%22%5c/?y/z", "/a/%22%5c", "%22%5c"),
        ("/providers/", "/providers", "providers"),
        ("/a'b", "/a'b", "a'b"),
    ] {
        let put = request(Method::PUT, target, &[]);
        let accepted = submit(&operations, put, response(200, "text/plain", "")).await;
        assert_eq!(accepted.status(), 201);
        let resource = document(&accepted);
        assert_eq!(
            (&resource["id"], &resource["name"]),
            (&json!(id), &json!(name))
        );
    }
}

const WORDS: Words = Words {
    tails: &["/cancel", "/operationStatuses"],
    names: &["api-version"],
    values: &["2020-01-01"],
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_request_is_without_an_answer_in_azures_form(
        method in method(),
        target in prop_oneof![
            target("/operations/operationStatuses", WORDS),
            target("/operations/operationResults", WORDS),
            target("/operations", WORDS),
        ],
        fields in fields(&[], &[]),
    ) {
        let operations = || Operations::builder().dialect(Arm::new()).build().unwrap();
        let answer = answer_to(operations, method.clone(), target, fields);
        prop_assert_eq!(&answer.headers()[header::CACHE_CONTROL], "no-store");
        match (answer.status().as_u16(), method.as_str()) {
            (204, "OPTIONS") | (404 | 405, "HEAD") => prop_assert!(answer.body().is_empty()),
            (404 | 405, _) => {
                let error = &document(&answer)["error"];
                prop_assert!(error["code"].is_string() && error["message"].is_string());
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }
}
