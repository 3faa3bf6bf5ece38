//! Google's operations over REST, beyond what their transcripts show: what counts as delivered, names of mounts, what lists
//! hold, and requests that make no sense.
#![cfg(feature = "testing")]

mod common {
    pub(crate) mod exchange;
    pub(crate) mod hostile;
}

use bytes::Bytes;
use common::exchange::{
    Collected, ask, document, is_delivered, one_place, request, response, submit,
};
use common::hostile::{Words, answer_to, fields, method, target};
use http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use proptest::prelude::*;
use serde_json::{Value, json};
use tower_lro::{GoogleRest, Operations, Owner, Rfc, dialect::View};

fn operations() -> Operations {
    let builder = Operations::builder().dialect(GoogleRest::new());
    builder.build().unwrap()
}

fn owned() -> Operations {
    let builder = Operations::builder().mount("/v1/operations");
    let builder = builder.owner(|_| Some(Owner::new("everybody")));
    builder.dialect(GoogleRest::new()).build().unwrap()
}

fn job() -> Request<Full<Bytes>> {
    request(Method::POST, "/v1/jobs:run", &[])
}

fn name(accepted: &Collected) -> String {
    document(accepted)["name"].as_str().unwrap().to_owned()
}

async fn get(operations: &Operations, target: &str) -> Value {
    document(&ask(operations, request(Method::GET, target, &[])).await)
}

#[tokio::test(start_paused = true)]
async fn what_is_all_there_is_to_tell_delivers_the_result() {
    for (answer, query, delivers) in [
        (response(200, "application/json", "[1]"), "", true),
        (response(200, "application/json", ""), "", true),
        (response(500, "text/plain", "no"), "", true),
        (response(200, "text/plain", "text"), "?alt=media", true),
        (response(200, "text/plain", "text"), "", false),
    ] {
        let shown = format!("{answer:?} {query}");
        let builder = Operations::builder().dialect(GoogleRest::new());
        let asked = |first: &Collected| format!("/{}{query}", name(first));
        let delivered = is_delivered(builder, job, answer, asked).await;
        assert_eq!(delivered, delivers, "{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_refused_tells_nobody_of_an_end() {
    for (query, status, delivers) in [("?timeout=1s", 200, true), ("?timeout=soon", 400, false)] {
        let operations = one_place(Operations::builder().dialect(GoogleRest::new()));
        // No final response: the operation ends without one.
        let interim = response(103, "text/plain", "");
        let accepted = submit(&operations, job(), interim.clone()).await;
        let wait = format!("/{}:wait{query}", name(&accepted));
        let waited = ask(&operations, request(Method::POST, &wait, &[])).await;
        assert_eq!(waited.status(), status);
        let next = submit(&operations, job(), interim).await;
        assert_eq!(next.status() != 503, delivers, "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn names_are_those_that_clients_put_behind_the_version() {
    for (mount, parent) in [
        ("/v1/operations", "operations"),
        ("/v1/projects/p/operations", "projects/p/operations"),
    ] {
        let builder = Operations::builder()
            .mount(mount)
            .dialect(GoogleRest::new());
        let operations = builder.build().unwrap();
        let accepted = submit(&operations, job(), response(200, "application/json", "1")).await;
        let name = name(&accepted);
        assert!(name.starts_with(&format!("{parent}/")), "{name}");
        let operation = get(&operations, &format!("/v1/{name}")).await;
        assert_eq!(
            (&operation["name"], &operation["done"]),
            (&json!(name), &json!(true))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn another_dialects_operation_is_shown_under_this_one() {
    let plain = Operations::builder().mount("/plain").build().unwrap();
    let google = plain.also("/v1/operations", GoogleRest::new()).unwrap();
    let accepted = submit(&plain, job(), response(200, "application/json", "[1]")).await;
    let id = document(&accepted)["id"].as_str().unwrap().to_owned();
    let operation = get(&google, &format!("/v1/operations/{id}")).await;
    assert_eq!(operation["name"], format!("operations/{id}"));
    assert_eq!(operation["response"]["value"], json!([1]));
    let elsewhere = plain.also("/azure", Rfc::new()).unwrap();
    assert_eq!(get(&elsewhere, &format!("/azure/{id}")).await, json!([1]));
}

#[tokio::test(start_paused = true)]
async fn lists_hold_small_results_and_links_to_large_ones() {
    let operations = owned();
    let large = format!("\"{}\"", "x".repeat(View::SMALL));
    for body in ["[1]", large.as_str()] {
        submit(
            &operations,
            job(),
            response(200, "application/json", body.to_owned()),
        )
        .await;
    }
    submit(&operations, job(), response(400, "text/plain", "no")).await;
    let list = get(&operations, "/v1/operations").await;
    let list = list["operations"].as_array().unwrap();
    let value = |at: usize| &list[at]["response"]["value"];
    assert_eq!(
        list[0]["error"],
        json!({"code": 3, "message": "Bad Request"})
    );
    assert_eq!(value(2), &json!([1]));
    let link = value(1)["mediaLink"].as_str().unwrap();
    assert_eq!(get(&operations, link).await, json!("x".repeat(View::SMALL)));
}

#[tokio::test(start_paused = true)]
async fn lists_are_of_their_mount() {
    let operations = owned();
    let other = operations.also("/v1/projects/p/operations", GoogleRest::new());
    submit(&operations, job(), response(200, "application/json", "1")).await;
    let list = get(&other.unwrap(), "/v1/projects/p/operations").await;
    assert_eq!(list, json!({}));
}

#[tokio::test(start_paused = true)]
async fn an_error_that_is_not_of_googles_form_is_not_told_on() {
    let operations = operations();
    for body in [
        r#"{"error":{"status":"OK","message":7,"details":[{"reason":"x"}]}}"#,
        r#"{"error":{"status":"NO_SUCH_CODE","details":{}}}"#,
        r#"{"error":"why"}"#,
        r#"{"error":null}"#,
        "[]",
        "{",
    ] {
        let answer = response(409, "application/json", body);
        let accepted = submit(&operations, job(), answer).await;
        let operation = get(&operations, &format!("/{}", name(&accepted))).await;
        let wanted = json!({"code": 10, "message": "Conflict"});
        assert_eq!(operation["error"], wanted, "{body}");
    }
}

const WORDS: Words = Words {
    tails: &[":cancel", ":wait", ":"],
    names: &["timeout", "filter", "pageSize", "pageToken", "alt"],
    values: &[
        "1.5s",
        "-1s",
        "done=true",
        "done%3Dfalse",
        "media",
        "99999999999",
    ],
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_request_is_without_an_answer_in_googles_form(
        method in method(),
        target in target("/operations", WORDS),
        fields in fields(&[], &[]),
        with_owner: bool,
    ) {
        let operations = || {
            let builder = Operations::builder().dialect(GoogleRest::new());
            let builder = match with_owner {
                true => builder.owner(|_| Some(Owner::new("everybody"))),
                false => builder,
            };
            builder.build().unwrap()
        };
        let answer = answer_to(operations, method.clone(), target, fields);
        prop_assert_eq!(&answer.headers()[header::CACHE_CONTROL], "no-store");
        let status = answer.status();
        match (status, method.as_str()) {
            (_, "HEAD") | (StatusCode::NO_CONTENT, "OPTIONS") => prop_assert!(answer.body().is_empty()),
            (StatusCode::OK, "GET") => prop_assert_eq!(&answer.body()[..], b"{}"),
            _ => {
                prop_assert!(matches!(status.as_u16(), 400 | 404 | 405), "{}", status);
                let error = &document(&answer)["error"];
                prop_assert_eq!(&error["code"], status.as_u16());
                prop_assert!(error["message"].is_string() && error["status"].is_string());
                prop_assert_eq!(&error["details"], &json!([]));
            }
        }
    }
}
