//! Durable Functions' HTTP API, beyond what its transcripts show: what counts as delivered, what lists hold, what is waited
//! for, and requests that make no sense.
#![cfg(feature = "testing")]

mod common {
    pub(crate) mod exchange;
    pub(crate) mod hostile;
}

use bytes::Bytes;
use common::exchange::{
    Collected, ask, collected, document, is_delivered, request, response, submit,
};
use common::hostile::{Words, answer_to, fields, method, target};
use http::{Method, Request, Response, header};
use http_body_util::Full;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::{convert::Infallible, future::pending, time::Duration};
use tokio::time::Instant;
use tower::{Layer, ServiceExt, service_fn};
use tower_lro::{
    Builder, DurableFunctions, Limits, Operations, Owner,
    dialect::{CONTINUATION_TOKEN, Dialect, View},
};

const TOKEN: &str = "x-ms-continuation-token";

fn builder() -> Builder {
    let builder = Operations::builder().mount("/instances");
    builder.dialect(DurableFunctions::new())
}

fn owned() -> Operations {
    let builder = builder().owner(|_| Some(Owner::new("everybody")));
    builder.build().unwrap()
}

fn job() -> Request<Full<Bytes>> {
    request(Method::POST, "/orchestrators/Words", &[])
}

fn instance(accepted: &Collected) -> String {
    accepted.headers()[header::LOCATION]
        .to_str()
        .unwrap()
        .into()
}

async fn get(operations: &Operations, url: &str) -> Value {
    document(&ask(operations, request(Method::GET, url, &[])).await)
}

#[tokio::test(start_paused = true)]
async fn what_is_all_there_is_to_tell_delivers_the_result() {
    for (answer, suffix, delivers) in [
        (response(200, "application/json", "[1]"), "", true),
        (response(200, "application/json", ""), "", true),
        (response(500, "text/plain", "no"), "", true),
        (response(200, "text/plain", "text"), "/output", true),
        (response(200, "text/plain", "text"), "", false),
    ] {
        let shown = format!("{answer:?} {suffix}");
        let asked = |first: &Collected| instance(first) + suffix;
        let delivered = is_delivered(builder(), job, answer, asked).await;
        assert_eq!(delivered, delivers, "{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn lists_hold_small_outputs_and_addresses_of_large_ones() {
    let operations = owned();
    let large = format!("\"{}\"", "x".repeat(View::SMALL));
    for (status, body) in [(200, "[1]"), (200, &*large), (400, &*large)] {
        submit(
            &operations,
            job(),
            response(status, "application/json", body.to_owned()),
        )
        .await;
    }
    let list = get(&operations, "/instances").await;
    assert_eq!(list[2]["output"], json!([1]));
    assert_eq!(list[0]["output"], "Bad Request");
    let output = list[1]["output"].as_str().unwrap();
    assert_eq!(
        get(&operations, output).await,
        json!("x".repeat(View::SMALL))
    );
}

#[tokio::test(start_paused = true)]
async fn what_only_claims_to_be_json_spoils_no_document() {
    let operations = owned();
    submit(&operations, job(), response(200, "application/json", "[1]")).await;
    for body in [
        &b"{\"a\":"[..],
        b"{} {}",
        b"\"\xff\"",
        b"\xef\xbb\xbf{}",
        b"NaN",
    ] {
        let answer = response(200, "application/json", body);
        let accepted = submit(&operations, job(), answer).await;
        let alone = get(&operations, &instance(&accepted)).await;
        let output = alone["output"].as_str().unwrap();
        let stored = ask(&operations, request(Method::GET, output, &[])).await;
        assert_eq!(stored.body(), body, "{output}");
    }
    let list = get(&operations, "/instances").await;
    assert_eq!(list.as_array().map(Vec::len), Some(6));
    assert_eq!(list[5]["output"], json!([1]));
}

#[tokio::test(start_paused = true)]
async fn a_list_of_many_is_read_to_its_end() {
    let operations = owned();
    for _ in 0..230 {
        submit(&operations, job(), response(200, "application/json", "1")).await;
    }
    let (mut names, mut token) = (Vec::new(), None::<String>);
    loop {
        let fields: Vec<_> = token.iter().map(|token| (TOKEN, &**token)).collect();
        let page = ask(
            &operations,
            request(Method::GET, "/instances?top=1000", &fields),
        )
        .await;
        let list = document(&page);
        names.extend(
            list.as_array()
                .unwrap()
                .iter()
                .map(|found| found["instanceId"].to_string()),
        );
        let Some(next) = page.headers().get(CONTINUATION_TOKEN) else {
            break;
        };
        token = Some(next.to_str().unwrap().to_owned());
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 230);
}

#[tokio::test(start_paused = true)]
async fn only_what_asks_for_both_times_in_seconds_is_held() {
    let mut limits = Limits::default();
    limits.wait = Duration::from_secs(30);
    let operations = builder().limits(limits).build().unwrap();
    let inner = service_fn(async |_: Request<Full<Bytes>>| {
        pending::<Result<Response<Full<Bytes>>, Infallible>>().await
    });
    for (query, seconds) in [
        ("timeout=2.5&pollingInterval=1", 2.5),
        ("pollingInterval=0.1&timeout=4", 4.0),
        ("timeout=1e9&pollingInterval=1", 30.0),
        ("timeout=1e300&pollingInterval=1", 30.0),
        ("timeout=2&pollingInterval=1e300", 2.0),
        ("timeout=2", 0.0),
        ("pollingInterval=2", 0.0),
        ("timeout=-2&pollingInterval=1", 0.0),
        ("timeout=-inf&pollingInterval=1", 0.0),
        ("timeout=NaN&pollingInterval=1", 0.0),
        ("timeout=inf&pollingInterval=1", 30.0),
        ("timeout=2s&pollingInterval=1", 0.0),
        ("timeout=2&pollingInterval=soon", 0.0),
    ] {
        let begun = Instant::now();
        let start = request(Method::POST, &format!("/orchestrators/Words?{query}"), &[]);
        let answer = operations
            .layer()
            .layer(inner)
            .oneshot(start)
            .await
            .unwrap();
        assert_eq!(collected(answer).await.status(), 202);
        // The timer counts whole milliseconds.
        let held = begun.elapsed().as_secs_f64();
        assert!((held - seconds).abs() < 0.01, "{query}: {held}");
    }
}

#[tokio::test]
async fn the_inner_service_does_not_see_how_long_its_request_is_held() {
    let operations = builder().build().unwrap();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let inner = service_fn(move |request: Request<Full<Bytes>>| {
        tell.send(request.uri().to_string()).unwrap();
        async { Ok::<_, Infallible>(response(200, "text/plain", "")) }
    });
    for (query, seen) in [
        ("?timeout=9&pollingInterval=1", "/Words"),
        (
            "?a=%20b&time%6fut=9&&pollingInterval=1&c",
            "/Words?a=%20b&&c",
        ),
        // What does not hold it is the inner service's own.
        ("?timeout=9&c", "/Words?timeout=9&c"),
    ] {
        let start = request(Method::POST, &format!("/Words{query}"), &[]);
        let answer = operations.layer().layer(inner.clone()).oneshot(start).await;
        collected(answer.unwrap()).await;
        assert_eq!(told.recv().await.unwrap(), seen);
    }
}

#[test]
fn what_does_not_hold_a_request_is_left_in_it() {
    for target in [
        "/Words?timeout=9&c",
        "/Words?",
        "/Words?timeout=x&pollingInterval=1",
    ] {
        let (mut head, _) = request(Method::POST, target, &[]).into_parts();
        DurableFunctions::new().take_out(&mut head);
        assert_eq!(head.uri, target);
    }
}

const WORDS: Words = Words {
    tails: &[
        "/terminate",
        "/output",
        "/suspend",
        "/restart",
        "/raiseEvent/x",
    ],
    names: &[
        "top",
        "runtimeStatus",
        "createdTimeFrom",
        "createdTimeTo",
        "instanceIdPrefix",
    ],
    values: &["Running,Failed", "Running%2CFailed", "99999999999"],
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_request_is_without_an_answer_in_the_apis_form(
        method in method(),
        target in target("/instances", WORDS),
        fields in fields(&[TOKEN], &["1", "99999999999999999999"]),
        with_owner: bool,
    ) {
        let operations = || match with_owner {
            true => owned(),
            false => builder().build().unwrap(),
        };
        let answer = answer_to(operations, method.clone(), target, fields);
        prop_assert_eq!(&answer.headers()[header::CACHE_CONTROL], "no-store");
        match (answer.status().as_u16(), method.as_str()) {
            (404, _) | (204, "OPTIONS") | (_, "HEAD") => prop_assert!(answer.body().is_empty()),
            (200, "GET") => prop_assert_eq!(&answer.body()[..], b"[]"),
            (400 | 405 | 501, _) => prop_assert!(document(&answer)["Message"].is_string()),
            other => prop_assert!(false, "{other:?}"),
        }
    }
}
