//! FHIR's asynchronous patterns, beyond what their transcripts show: what is deferred, which outcomes of a handler's are
//! believed, how many polls are too many, and requests that make no sense.
#![cfg(feature = "testing")]

mod common {
    pub(crate) mod exchange;
    pub(crate) mod hostile;
    pub(crate) mod store;
}

use bytes::Bytes;
use common::exchange::{Collected, ask, collected, document, one_place, request, response, submit};
use common::hostile::{self, Words, answer_to, method, run, target};
use common::store::{CAUSE, Faulty, How, Verb};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::{convert::Infallible, time::Duration};
use tower::{Layer, ServiceExt, service_fn};
use tower_lro::{
    Fhir, Limits, OperationHandle, Operations,
    dialect::{Dialect, View, X_PROGRESS},
    store::StoreErrorKind,
};

fn operations(dialect: Fhir) -> Operations {
    Operations::builder().dialect(dialect).build().unwrap()
}

async fn poll(operations: &Operations, accepted: &Collected) -> Collected {
    let location = accepted.headers()[header::CONTENT_LOCATION].to_str();
    ask(operations, request(Method::GET, location.unwrap(), &[])).await
}

const ASK: (&str, &str) = ("prefer", "respond-async");

fn kick_off() -> Request<Full<Bytes>> {
    request(Method::GET, "/fhir/$export", &[ASK])
}

#[tokio::test(start_paused = true)]
async fn an_export_is_deferred_unasked_and_an_interaction_is_not() {
    for (dialect, asked, status) in [
        (Fhir::bulk(), false, 202),
        (Fhir::bulk(), true, 202),
        (Fhir::bundle(), false, 200),
        (Fhir::bundle(), true, 202),
    ] {
        let fields: &[_] = if asked { &[ASK] } else { &[] };
        let request = request(Method::GET, "/fhir/Patient/$everything", fields);
        let ok = response(200, "application/fhir+json", "{}");
        let answer = submit(&operations(dialect), request, ok).await;
        assert_eq!(answer.status(), status, "{dialect:?}, asked: {asked}");
        assert!(!answer.headers().contains_key(header::LOCATION));
        if dialect.reads_prefer() {
            assert_eq!(answer.headers()[header::VARY], "prefer");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn other_preferences_reach_the_handler() {
    let operations = operations(Fhir::bulk());
    let prefer = "handling=lenient, respond-async, Separate-Export-Status";
    let request = request(Method::GET, "/fhir/$export", &[("prefer", prefer)]);
    let accepted = submit(
        &operations,
        request,
        response(200, "application/json", "{}"),
    )
    .await;
    let complete = poll(&operations, &accepted).await;
    assert_eq!(complete.headers()["seen"], "handling=lenient");
}

#[tokio::test(start_paused = true)]
async fn only_an_outcome_is_believed_to_be_one() {
    let padding = "x".repeat(View::SMALL);
    let large = format!(r#"{{"resourceType":"OperationOutcome","text":"{padding}"}}"#);
    let outcome = r#"{"resourceType":"OperationOutcome","issue":[]}"#;
    for (kind, body, believed) in [
        ("application/json; charset=utf-8", outcome, true),
        ("Application/FHIR+json; fhirVersion=4.0", outcome, true),
        ("application/fhir+json", &large, true),
        ("application/fhir+xml", "<OperationOutcome/>", true),
        ("application/json", &large, false),
        ("application/json", r#"{"resourceType":"Patient"}"#, false),
        (
            "application/json",
            r#"{"resourceType":"OperationOutcome""#,
            false,
        ),
        ("application/json", r#"["OperationOutcome"]"#, false),
        ("text/plain", outcome, false),
        ("application/fhir+ndjson", outcome, false),
    ] {
        for dialect in [Fhir::bulk(), Fhir::bundle()] {
            let operations = operations(dialect);
            let failure = response(404, kind, body.to_owned());
            let accepted = submit(&operations, kick_off(), failure).await;
            let ended = poll(&operations, &accepted).await;
            let made = json!({"resourceType": "OperationOutcome", "issue": [
                {"severity": "error", "code": "not-found", "diagnostics": "Not Found"}]});
            if dialect.reads_prefer() {
                let told = &document(&ended)["entry"][0]["response"]["outcome"];
                // What is no JSON can't stand there.
                let believed = believed && !kind.ends_with("xml");
                assert_eq!(*told == made, !believed, "{kind}: {body:.60}");
                assert_eq!(told["resourceType"], "OperationOutcome");
            } else {
                let told = (ended.status().as_u16(), ended.body() == body);
                assert_eq!(told, (404, believed), "{kind}: {body:.60}");
                if !believed {
                    assert_eq!(document(&ended), made, "{kind}: {body:.60}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_resource_is_embedded_as_it_is() {
    let operations = operations(Fhir::bundle());
    let body = format!(
        r#"{{"resourceType":"Bundle","x":"{}"}}"#,
        "y".repeat(1_000_000)
    );
    let resource = response(200, "application/fhir+json", body.clone());
    let accepted = submit(&operations, kick_off(), resource).await;
    let bundle = document(&poll(&operations, &accepted).await);
    assert_eq!(bundle["entry"][0]["resource"].to_string(), body);
}

#[tokio::test(start_paused = true)]
async fn what_is_encoded_can_only_be_had_elsewhere() {
    let operations = operations(Fhir::bundle());
    let mut resource = response(200, "application/fhir+json", "{}");
    let encoding = HeaderValue::from_static("x-any");
    resource
        .headers_mut()
        .insert(header::CONTENT_ENCODING, encoding);
    let accepted = submit(&operations, kick_off(), resource).await;
    let bundle = document(&poll(&operations, &accepted).await);
    assert_eq!(bundle["entry"][0]["resource"], Value::Null);
    let link = bundle["entry"][0]["link"][0]["url"].as_str().unwrap();
    let result = ask(&operations, request(Method::GET, link, &[])).await;
    assert_eq!(result.body(), "{}");
    assert_eq!(result.headers()[header::CONTENT_ENCODING], "x-any");
}

#[tokio::test(start_paused = true)]
async fn what_tells_all_of_a_result_delivers_it() {
    for (dialect, status, kind, body) in [
        (Fhir::bulk(), 200, "application/json", "{}"),
        (Fhir::bulk(), 400, "text/plain", "no"),
        (Fhir::bundle(), 200, "application/fhir+json", "{}"),
        (Fhir::bundle(), 400, "application/fhir+json", "{}"),
        (Fhir::bundle(), 200, "text/plain", ""),
    ] {
        let operations = one_place(Operations::builder().dialect(dialect));
        let answer = || response(status, kind, body);
        let first = submit(&operations, kick_off(), answer()).await;
        let refused = submit(&operations, kick_off(), answer()).await;
        assert_eq!(refused.status(), 503);
        assert_eq!(document(&refused)["issue"][0]["code"], "transient");
        poll(&operations, &first).await;
        let room = submit(&operations, kick_off(), answer()).await;
        assert_eq!(room.status(), 202, "{dialect:?} {status} {kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_bundle_that_links_to_the_result_does_not_deliver_it() {
    let operations = one_place(Operations::builder().dialect(Fhir::bundle()));
    let text = || response(200, "text/plain", "text");
    let first = submit(&operations, kick_off(), text()).await;
    poll(&operations, &first).await;
    let refused = submit(&operations, kick_off(), text()).await;
    assert_eq!(refused.status(), 503);
}

#[tokio::test(start_paused = true)]
async fn who_polls_as_often_as_told_is_never_told_off_and_who_does_not_is() {
    let operations = operations(Fhir::bulk());
    let inner = service_fn(|_: Request<Full<Bytes>>| async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        Ok::<_, Infallible>(response(200, "application/json", "{}"))
    });
    let service = operations.layer().layer(inner);
    let accepted = collected(service.oneshot(kick_off()).await.unwrap()).await;
    for _ in 0..10 {
        let pending = poll(&operations, &accepted).await;
        assert_eq!(pending.status(), 202);
        let wait = pending.headers()[header::RETRY_AFTER].to_str().unwrap();
        tokio::time::sleep(Duration::from_secs(wait.parse().unwrap())).await;
    }
    let mut seen = Vec::new();
    for _ in 0..10 {
        seen.push(poll(&operations, &accepted).await.status().as_u16());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(
        (seen[0], seen[1..].iter().all(|status| *status == 429)),
        (202, true)
    );
    // It did the export no harm.
    tokio::time::sleep(Duration::from_secs(30)).await;
    for _ in 0..10 {
        assert_eq!(poll(&operations, &accepted).await.status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn who_polls_as_told_is_not_told_off_though_the_handler_would_have_longer_than_a_day() {
    const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
    let mut limits = Limits::default();
    limits.run_time = 2 * WEEK;
    let builder = Operations::builder().dialect(Fhir::bulk()).limits(limits);
    let operations = builder.build().unwrap();
    let inner = service_fn(|request: Request<Full<Bytes>>| async move {
        let operation = request.extensions().get::<OperationHandle>();
        operation.unwrap().retry_after(WEEK);
        tokio::time::sleep(WEEK).await;
        Ok::<_, Infallible>(response(200, "application/json", "{}"))
    });
    let service = operations.layer().layer(inner);
    let accepted = collected(service.oneshot(kick_off()).await.unwrap()).await;
    tokio::task::yield_now().await;
    for _ in 0..3 {
        let pending = poll(&operations, &accepted).await;
        let wait = pending.headers()[header::RETRY_AFTER].to_str().unwrap();
        assert_eq!((pending.status().as_u16(), wait), (202, "86400"));
        tokio::time::sleep(Duration::from_secs(86_400)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn progress_can_always_be_put_into_a_field() {
    for (message, shown) in [
        ("50 of 100", "50 of 100"),
        (" a\r\nset-cookie: b\u{7f} ", "a??set-cookie: b?"),
        ("é\u{1f600}", "??"),
        ("", "50%"),
        ("  ", "50%"),
    ] {
        let operations = operations(Fhir::bulk());
        let inner = service_fn(move |request: Request<Full<Bytes>>| async move {
            let operation = request.extensions().get::<OperationHandle>().unwrap();
            operation.progress(0.5, message);
            std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>().await
        });
        let service = operations.layer().layer(inner);
        let accepted = collected(service.oneshot(kick_off()).await.unwrap()).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let pending = poll(&operations, &accepted).await;
        assert_eq!(pending.headers()[X_PROGRESS], shown, "{message:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_transient() {
    for dialect in [Fhir::bulk(), Fhir::bundle()] {
        let store = Faulty::default();
        let builder = Operations::builder().dialect(dialect).store(store.clone());
        let operations = builder.build().unwrap();
        let ok = || response(200, "application/json", "{}");
        let accepted = submit(&operations, kick_off(), ok()).await;
        store.set(Verb::Find, How::Fail(StoreErrorKind::Unavailable));
        store.set(Verb::Create, How::Fail(StoreErrorKind::Unavailable));
        for refused in [
            poll(&operations, &accepted).await,
            submit(&operations, kick_off(), ok()).await,
        ] {
            assert_eq!(refused.status(), 503);
            assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
            assert_eq!(document(&refused)["issue"][0]["code"], "transient");
            assert!(
                !refused
                    .body()
                    .windows(CAUSE.len())
                    .any(|part| part == CAUSE.as_bytes())
            );
        }
        store.heal();
        assert_eq!(poll(&operations, &accepted).await.status(), 200);
    }
}

#[test]
fn browsers_may_read_what_clients_need() {
    let names = Fhir::bulk().header_names();
    for name in ["content-location", "retry-after", "x-progress", "expires"] {
        assert!(names.iter().any(|known| known == name), "{name}");
    }
}

fn fields() -> impl Strategy<Value = HeaderMap> {
    hostile::fields(
        &["idempotency-key"],
        &[
            "respond-async,separate-export-status",
            "separate-export-status=1",
        ],
    )
}

fn dialect() -> impl Strategy<Value = Fhir> {
    prop::sample::select(vec![Fhir::bulk(), Fhir::bundle()])
}

const WORDS: Words = Words {
    tails: &["/result", ":cancel"],
    names: &[],
    values: &[],
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_request_to_the_polling_location_is_without_an_answer_in_fhirs_form(
        dialect in dialect(),
        method in method(),
        target in target("/operations", WORDS),
        fields in fields(),
    ) {
        let answer = answer_to(|| operations(dialect), method.clone(), target, fields);
        match (answer.status().as_u16(), method.as_str()) {
            (204, "OPTIONS") | (404 | 405, "HEAD") => prop_assert!(answer.body().is_empty()),
            (404 | 405, _) => {
                let outcome = document(&answer);
                prop_assert_eq!(&outcome["resourceType"], "OperationOutcome");
                prop_assert!(outcome["issue"][0]["code"].is_string());
                prop_assert_eq!(&answer.headers()[header::CONTENT_TYPE], "application/fhir+json");
            }
            other => prop_assert!(false, "{other:?}"),
        }
        prop_assert_eq!(&answer.headers()[header::CACHE_CONTROL], "no-store");
    }

    #[test]
    fn what_a_handler_answers_never_passes_for_a_word_of_the_monitor(
        status in 200_u16..600,
        kind in "[ -~]{0,24}",
        body in prop::collection::vec(any::<u8>(), 0..64),
        extra in fields(),
    ) {
        let mut answer = Response::new(Full::from(body));
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        answer.headers_mut().insert(header::CONTENT_TYPE, kind.parse().unwrap());
        answer.headers_mut().extend(extra);
        let (bulk, bundle) = run(async {
            let mut seen = Vec::new();
            for dialect in [Fhir::bulk(), Fhir::bundle()] {
                let operations = operations(dialect);
                let accepted = submit(&operations, kick_off(), answer.clone()).await;
                seen.push(poll(&operations, &accepted).await);
            }
            let bundle = seen.pop().unwrap();
            (seen.pop().unwrap(), bundle)
        });
        prop_assert!(!matches!(bulk.status().as_u16(), 202 | 429 | 503));
        if bulk.status().is_client_error() || bulk.status().is_server_error() {
            let kind = bulk.headers()[header::CONTENT_TYPE].to_str().unwrap();
            prop_assert!(kind.contains("json") || kind.contains("fhir"), "{kind}");
        }
        prop_assert_eq!(bundle.status(), 200);
        let bundle = document(&bundle);
        let told = bundle["entry"][0]["response"]["status"].as_str().unwrap();
        prop_assert!(told.starts_with(&status.to_string()));
    }

    #[test]
    fn what_is_preferred_never_fails_a_kick_off(dialect in dialect(), target in target("/operations", WORDS), fields in fields()) {
        let mut kick_off = request(Method::GET, "/", &[]);
        *kick_off.uri_mut() = target;
        kick_off.headers_mut().extend(fields);
        let ok = response(200, "application/json", "{}");
        let answer = run(async { submit(&operations(dialect), kick_off, ok).await });
        prop_assert!(matches!(answer.status().as_u16(), 200 | 202 | 400), "{}", answer.status());
    }
}
