//! The facade for single-page applications, beyond what its transcripts show: what counts as delivered, documents that are
//! always JSON, and requests that make no sense.
#![cfg(feature = "testing")]

mod common {
    pub(crate) mod exchange;
    pub(crate) mod hostile;
}

use bytes::Bytes;
use common::exchange::{Collected, ask, document, one_place, request, response, submit};
use common::hostile::{Words, answer_to, fields, method, run, target};
use http::{Method, Response, header};
use http_body_util::Full;
use proptest::prelude::*;
use serde_json::json;
use tower_lro::{Operations, Rfc, Spa};

fn operations() -> Operations {
    let builder = Operations::builder().dialect(Spa::new());
    builder.build().unwrap()
}

async fn accepted(operations: &Operations, answer: Response<Full<Bytes>>) -> Collected {
    let request = request(Method::POST, "/reports", &[]);
    submit(operations, request, answer).await
}

fn location(accepted: &Collected) -> String {
    document(accepted)["location"].as_str().unwrap().to_owned()
}

async fn get(operations: &Operations, url: &str) -> Collected {
    ask(operations, request(Method::GET, url, &[])).await
}

#[tokio::test(start_paused = true)]
async fn a_run_delivers_unless_it_points_at_its_result() {
    let operations = one_place(Operations::builder().dialect(Spa::new()));
    let text = || response(200, "text/plain", "text");
    for answer in [
        response(200, "application/json", "[1]"),
        response(204, "text/plain", ""),
        response(500, "text/plain", "no"),
    ] {
        let monitor = location(&accepted(&operations, answer.clone()).await);
        assert_eq!(
            accepted(&operations, text()).await.status(),
            503,
            "{answer:?}"
        );
        get(&operations, &monitor).await;
    }
    let monitor = location(&accepted(&operations, text()).await);
    let run = document(&get(&operations, &monitor).await);
    assert_eq!(accepted(&operations, text()).await.status(), 503);
    let link = &run["properties"]["response"]["outputsLink"];
    assert_eq!(link["contentSize"], 4);
    let result = get(&operations, link["uri"].as_str().unwrap()).await;
    assert_eq!(result.body(), "text");
    assert_eq!(accepted(&operations, text()).await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_member_is_written_as_json_has_it() {
    let name = "the \"URL\"";
    let builder = Operations::builder().dialect(Spa::new().member(name));
    let operations = builder.build().unwrap();
    let accepted = accepted(&operations, response(200, "text/plain", "")).await;
    assert!(document(&accepted)[name].is_string());
}

#[tokio::test(start_paused = true)]
async fn another_dialect_shows_the_operation_under_its_own_urls() {
    let spa = operations();
    let plain = spa.also("/plain", Rfc::new()).unwrap();
    let monitor = location(&accepted(&spa, response(200, "text/plain", "text")).await);
    let id = monitor.rsplit('/').next().unwrap();
    let replay = get(&plain, &format!("/plain/{id}")).await;
    assert_eq!(replay.body(), "text");
}

const WORDS: Words = Words {
    tails: &["/result", "/cancel"],
    names: &["api-version"],
    values: &["2016-06-01"],
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
            (204, "OPTIONS") | (404 | 405, "HEAD") => prop_assert!(answer.body().is_empty()),
            (404 | 405, _) => {
                let error = document(&answer);
                prop_assert!(error["error"]["code"].is_string() && error["error"]["message"].is_string());
            }
            other => prop_assert!(false, "{other:?}"),
        }
        prop_assert_eq!(&answer.headers()[header::CACHE_CONTROL], "no-store");
    }

    #[test]
    fn whatever_is_asked_and_answered_the_run_is_json(
        status in 200_u16..600,
        path in "/[!-;=-~]{0,16}",
        value in prop_oneof![Just(json!({"a": "\"\n"})), Just(json!(null)), Just(json!("x"))],
        is_json: bool,
    ) {
        let (path, kind) = (path.replace('#', "?"), if is_json { "application/json" } else { "x/y" });
        prop_assume!(path.parse::<http::Uri>().is_ok());
        let run = run(async {
            let operations = operations();
            let answer = response(status, kind, value.to_string());
            let accepted = submit(&operations, request(Method::POST, &path, &[]), answer).await;
            get(&operations, &location(&accepted)).await
        });
        prop_assert_eq!(run.status(), 200);
        let run = document(&run);
        let properties = &run["properties"];
        let wanted = if status >= 400 { "Failed" } else { "Succeeded" };
        prop_assert_eq!(&properties["status"], wanted);
        let body = properties["outputs"].get("body");
        let has_body = !matches!(status, 204 | 205 | 304);
        prop_assert_eq!(body.is_some(), status < 400 && is_json && has_body);
        if let Some(body) = body {
            prop_assert_eq!(&body["value"], &value);
        }
    }
}
