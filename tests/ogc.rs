//! Jobs of OGC API - Processes, beyond what their transcripts show: what is not deferred, what counts as delivered, moments
//! to the letter of RFC 3339, and requests that make no sense.
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
use serde_json::Value;
use std::time::{Duration, SystemTime};
use tower_lro::{
    Builder, OgcProcesses, Operations, Owner, Rfc,
    dialect::Dialect,
    store::{Clock, StoreErrorKind},
};

const EXECUTION: &str = "/ogc/processes/echo/execution";
const ASK: (&str, &str) = ("prefer", "respond-async");

fn builder() -> Builder {
    let builder = Operations::builder().mount("/ogc/jobs");
    let builder = builder.owner(|_| Some(Owner::new("everybody")));
    builder.dialect(OgcProcesses::new())
}

fn operations() -> Operations {
    builder().build().unwrap()
}

fn job(fields: &[(&str, &str)]) -> Request<Full<Bytes>> {
    request(Method::POST, EXECUTION, fields)
}

fn json(body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let response = Response::builder().header(header::CONTENT_TYPE, "application/json");
    response.body(Full::from(body.into())).unwrap()
}

async fn get(operations: &Operations, target: &str) -> Collected {
    ask(operations, request(Method::GET, target, &[])).await
}

fn monitor(accepted: &Collected) -> String {
    let location = accepted.headers()[header::LOCATION].to_str().unwrap();
    location.strip_prefix("http://example.com").unwrap().into()
}

#[tokio::test(start_paused = true)]
async fn what_does_not_ask_is_executed_at_once() {
    let operations = operations();
    for fields in [
        &[][..],
        &[("prefer", "respond-sync")],
        &[("prefer", "wait=1")],
    ] {
        let answer = submit(&operations, job(fields), json("{}")).await;
        assert_eq!(answer.status(), 200, "{fields:?}");
        assert_eq!(answer.headers()[header::VARY], "prefer", "{fields:?}");
    }
    assert_eq!(operations.usage().stored, 0);
}

#[tokio::test(start_paused = true)]
async fn other_preferences_reach_the_process() {
    let operations = operations();
    let prefer = ("prefer", "return=minimal, Respond-Async, wait=0");
    let accepted = submit(&operations, job(&[prefer]), json("{}")).await;
    assert_eq!(accepted.status(), 201);
    let results = get(&operations, &format!("{}/results", monitor(&accepted))).await;
    assert_eq!(results.headers()["seen"], "return=minimal");
}

#[tokio::test(start_paused = true)]
async fn results_are_delivered_by_their_own_address_only() {
    let operations = one_place(builder());
    let first = submit(&operations, job(&[ASK]), json("[1]")).await;
    get(&operations, &monitor(&first)).await;
    let refused = submit(&operations, job(&[ASK]), json("[2]")).await;
    assert_eq!(refused.status(), 503);
    get(&operations, &format!("{}/results", monitor(&first))).await;
    let accepted = submit(&operations, job(&[ASK]), json("[2]")).await;
    assert_eq!(accepted.status(), 201);
}

#[tokio::test(start_paused = true)]
async fn large_results_are_not_taken_apart() {
    let operations = operations();
    let large = format!(r#"{{"a":1,"b":"{}"}}"#, "x".repeat(1_000_000));
    let accepted = submit(&operations, job(&[ASK]), json(large.clone())).await;
    let results = format!("{}/results", monitor(&accepted));
    assert_eq!(get(&operations, &results).await.body(), &large);
    let one = get(&operations, &format!("{results}/a")).await;
    assert_eq!(one.status(), 404);
    let kind = document(&one)["type"].as_str().unwrap().to_owned();
    assert!(kind.ends_with("/1.0/result-not-available"), "{kind}");
}

#[tokio::test(start_paused = true)]
async fn jobs_of_other_mounts_are_not_listed_but_can_be_read() {
    let operations = operations();
    let plain = operations.also("/plain", Rfc::new()).unwrap();
    let accepted = submit(&plain, request(Method::POST, "/reports", &[]), json("{}")).await;
    let id = document(&accepted)["id"].as_str().unwrap().to_owned();
    let job = document(&get(&operations, &format!("/ogc/jobs/{id}")).await);
    assert_eq!((&job["jobID"], job.get("processID")), (&id.into(), None));
    let jobs = document(&get(&operations, "/ogc/jobs").await);
    assert_eq!(jobs["jobs"], Value::Array(Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn moments_are_those_of_rfc_3339() {
    let start = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_251_600_250);
    let operations = builder().clock(Clock::manual(start)).build().unwrap();
    submit(&operations, job(&[ASK]), json("{}")).await;
    for (datetime, listed) in [
        ("2026-11-21T09:00:00.25Z", Some(1)),
        ("2026-11-21T09:00:00.250999z", Some(1)),
        ("2026-11-21t09:00:00.249Z", Some(0)),
        ("2026-11-21T14:30:00.25%2b05:30", Some(1)),
        ("2026-11-21T03:30:00.25-05:30", Some(1)),
        ("2026-11-21T14:30:00.25+05:30", Some(1)),
        ("2026-11-21T09:00:00.25-00:00", Some(1)),
        ("2026-11-21T09:00:00.251Z/..", Some(0)),
        ("2026-11-21T09:00:00.25Z%2F..", Some(1)),
        ("2026-11-21T09:00:00.25Z/", Some(1)),
        ("../2026-11-21T09:00:00.25Z", Some(1)),
        ("1600-02-29T00:00:00Z/9999-12-31T23:59:59Z", Some(1)),
        ("9999-12-31T23:59:59-23:59", Some(0)),
        ("0000-01-01T00:00:00+23:59/..", Some(1)),
        ("2026-11-22T09:00:00Z/2026-11-21T09:00:00Z", Some(0)),
        ("2026-11-21 09:00:00Z", None),
        ("2026-02-29T00:00:00Z", None),
        ("1969-13-01T00:00:00Z/..", None),
        ("2026-11-21T09:00Z", None),
        ("2026-11-21T09:00:00+5:30", None),
        ("2026-11-21T09:00:00+05:60", None),
        ("2026-11-21T09:00:00.Z/x", None),
        ("/", None),
        ("", None),
        ("Z", None),
        ("aéé:é0", None),
    ] {
        let encoded = datetime.replace(' ', "%20").replace('é', "%c3%a9");
        let answer = get(&operations, &format!("/ogc/jobs?datetime={encoded}")).await;
        let count =
            (answer.status() == 200).then(|| document(&answer)["jobs"].as_array().unwrap().len());
        assert_eq!(count, listed, "{datetime}");
        if listed.is_none() {
            assert_eq!(answer.status(), 400, "{datetime}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_looked_through_leads_on() {
    let operations = operations();
    for process in ["rare", "echo", "echo", "echo", "rare", "echo"] {
        let target = format!("/ogc/processes/{process}/execution");
        let job = request(Method::POST, &target, &[ASK]);
        submit(&operations, job, json("{}")).await;
    }
    let mut target = "/ogc/jobs?processID=rare&limit=1".to_owned();
    let mut found = 0;
    for _ in 0..6 {
        let page = document(&get(&operations, &target).await);
        let jobs = page["jobs"].as_array().unwrap();
        assert!(jobs.iter().all(|job| job["processID"] == "rare"));
        found += jobs.len();
        let links = page["links"].as_array().unwrap();
        let Some(next) = links.iter().find(|link| link["rel"] == "next") else {
            break;
        };
        let next = next["href"].as_str().unwrap();
        target = next.strip_prefix("http://example.com").unwrap().into();
    }
    assert_eq!(found, 2);
}

#[tokio::test(start_paused = true)]
async fn a_page_leads_on_however_its_query_is_written() {
    let operations = operations();
    for _ in 0..5 {
        submit(&operations, job(&[ASK]), json("{}")).await;
    }
    let mut target = "/ogc/jobs?%61fter=667&limit=2&x=%61".to_owned();
    let mut found = Vec::new();
    for _ in 0..3 {
        let page = document(&get(&operations, &target).await);
        found.push(page["jobs"].as_array().unwrap().len());
        let links = page["links"].as_array().unwrap();
        let Some(next) = links.iter().find(|link| link["rel"] == "next") else {
            break;
        };
        let next = next["href"].as_str().unwrap();
        assert!(next.ends_with("&limit=2&x=%61") && !next.contains("%61fter"));
        target = next.strip_prefix("http://example.com").unwrap().into();
    }
    assert_eq!(found, [2, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_an_exception_of_the_poll() {
    let store = Faulty::default();
    let operations = builder().store(store.clone()).build().unwrap();
    let accepted = submit(&operations, job(&[ASK]), json("{}")).await;
    for verb in [Verb::Find, Verb::Create] {
        store.set(verb, How::Fail(StoreErrorKind::Unavailable));
    }
    for refused in [
        get(&operations, &monitor(&accepted)).await,
        submit(&operations, job(&[ASK]), json("{}")).await,
    ] {
        assert_eq!(refused.status(), 503);
        assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
        assert_eq!(
            refused.headers()[header::CONTENT_TYPE],
            "application/problem+json"
        );
        assert!(!document(&refused).to_string().contains(CAUSE));
    }
}

#[test]
fn browsers_may_read_what_clients_need() {
    let names = OgcProcesses::new().header_names();
    for name in ["location", "retry-after", "link", "preference-applied"] {
        assert!(names.iter().any(|known| known == name), "{name}");
    }
}

const WORDS: Words = Words {
    tails: &["/results"],
    names: &[
        "limit",
        "after",
        "status",
        "type",
        "processID",
        "datetime",
        "minDuration",
        "maxDuration",
    ],
    values: &[
        "running",
        "running,failed",
        "process",
        "/",
        "2026-11-21T09:00:00Z",
        "2026-11-21T09:00:00/..",
    ],
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_request_is_without_a_lawful_answer(
        method in method(),
        target in target("/ogc/jobs", WORDS),
        fields in fields(&[], &[]),
    ) {
        let mut asked = request(method.clone(), "/", &[]);
        *asked.uri_mut() = target;
        asked.headers_mut().extend(fields);
        let answer = run(async {
            let operations = operations();
            submit(&operations, job(&[ASK]), json("{}")).await;
            ask(&operations, asked).await
        });
        match (answer.status(), method.as_str()) {
            (StatusCode::NO_CONTENT, "OPTIONS") => prop_assert!(answer.headers().contains_key("allow")),
            (StatusCode::OK, "GET") => prop_assert!(document(&answer)["jobs"].is_array()),
            (StatusCode::OK | StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND, "HEAD") => {}
            (StatusCode::BAD_REQUEST, "GET") | (StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED, _) => {
                let exception = document(&answer);
                prop_assert_eq!(exception["status"].as_u64(), Some(answer.status().as_u16().into()));
                prop_assert!(exception["type"].is_string() && exception["title"].is_string());
            }
            other => prop_assert!(false, "{:?}", other),
        }
        prop_assert_eq!(&answer.headers()[header::CACHE_CONTROL], "no-store");
    }
}
