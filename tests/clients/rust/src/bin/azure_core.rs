//! azure_core against the dialect `Arm`: `/subscriptions` of the workbench. Its poller as generated clients make it, by
//! `Azure-AsyncOperation`, and then the resource itself.
//!
//! It takes all states for the end that are none of InProgress, Succeeded, Failed and Canceled, and wants JSON in each answer,
//! so neither `Azure` nor an action that is accepted without a body is for it.

use azure_core::{
    Error,
    error::ErrorKind,
    http::{
        ClientOptions, JsonFormat, Method, Pipeline, RawResponse, Request, Response, Url,
        headers::{HeaderName, Headers, RETRY_AFTER},
        poller::{
            Poller, PollerContinuation, PollerResult, PollerState, PollerStatus, StatusMonitor,
            get_retry_after,
        },
    },
    json,
};
use clients::{Tests, base};
use futures::StreamExt;
use serde::Deserialize;
use serde_json::Value;

const ASYNC_OPERATION: HeaderName = HeaderName::from_static("azure-asyncoperation");

#[derive(Deserialize)]
struct Status {
    status: Option<PollerStatus>,
    error: Option<Value>,
    #[serde(rename = "percentComplete")]
    percent: Option<f64>,
}

impl StatusMonitor for Status {
    type Output = Value;
    type Format = JsonFormat;

    fn status(&self) -> PollerStatus {
        self.status.clone().unwrap_or_default()
    }
}

fn pipeline() -> Pipeline {
    Pipeline::new(
        Some("tests"),
        Some("0.0.0"),
        ClientOptions::default(),
        Vec::new(),
        Vec::new(),
        None,
    )
}

fn thing() -> String {
    let thing = azure_core::Uuid::new_v4();
    format!(
        "{}/subscriptions/s/resourceGroups/rg/providers/Workbench.Demo/things/{thing}",
        base()
    )
}

fn begin(url: &str, properties: Value) -> Poller<Status> {
    let (pipeline, target) = (pipeline(), url.parse::<Url>().unwrap());
    let body = serde_json::json!({"properties": properties}).to_string();
    Poller::new(
        move |state: PollerState, options| {
            let (pipeline, target, body) = (pipeline.clone(), target.clone(), body.clone());
            Box::pin(async move {
                let mut request = match state {
                    PollerState::Initial => {
                        let mut request = Request::new(target.clone(), Method::Put);
                        request.insert_header("content-type", "application/json");
                        request.set_body(body);
                        request
                    }
                    PollerState::More(PollerContinuation::Links { next_link, .. }) => {
                        Request::new(next_link, Method::Get)
                    }
                    PollerState::More(other) => unreachable!("{other}"),
                };
                let asked = request.url().clone();
                let answer = pipeline.send(&options.context, &mut request, None).await?;
                let (code, headers, body) = answer.deconstruct();
                let next = headers.get_optional_str(&ASYNC_OPERATION);
                let next_link = next.map_or(Ok(asked), str::parse)?;
                let retry_after = get_retry_after(&headers, &[RETRY_AFTER], &options);
                let status: Status = json::from_json(&body)?;
                let response: Response<Status> =
                    RawResponse::from_bytes(code, headers, body).into();
                Ok(match status.status() {
                    PollerStatus::InProgress => PollerResult::InProgress {
                        response,
                        retry_after,
                        continuation: PollerContinuation::Links {
                            next_link,
                            final_link: None,
                        },
                    },
                    PollerStatus::Succeeded => PollerResult::Succeeded {
                        response,
                        target: Box::new(move || {
                            Box::pin(async move {
                                let mut request = Request::new(target, Method::Get);
                                let answer =
                                    pipeline.send(&options.context, &mut request, None).await?;
                                let (code, _, body) = answer.deconstruct();
                                Ok(RawResponse::from_bytes(code, Headers::new(), body).into())
                            })
                        }),
                    },
                    _ => PollerResult::Done { response },
                })
            })
        },
        None,
    )
}

async fn it_puts_a_resource_and_has_it_when_it_is_made() {
    let url = thing();
    let made = begin(&url, serde_json::json!({"ms": 800, "color": "red"}))
        .await
        .unwrap();
    let made: Value = made.into_model().unwrap();
    assert_eq!(made["properties"]["provisioningState"], "Succeeded");
    assert_eq!(made["properties"]["color"], "red");
    assert!(url.ends_with(made["id"].as_str().unwrap()));
}

async fn it_sees_the_progress() {
    let mut poller = begin(&thing(), serde_json::json!({"ms": 3500, "steps": 7}));
    let mut seen = Vec::new();
    while let Some(status) = poller.next().await {
        let status = status.unwrap().into_model().unwrap();
        seen.push((status.status(), status.percent.unwrap_or(0.0)));
    }
    let (last, before) = seen.split_last().unwrap();
    assert_eq!(*last, (PollerStatus::Succeeded, 100.0));
    let progress = |(status, percent): &(PollerStatus, f64)| {
        *status == PollerStatus::InProgress && *percent > 0.0
    };
    assert!(before.iter().any(progress), "{seen:?}");
}

async fn it_sees_what_failed() {
    let mut poller = begin(
        &thing(),
        serde_json::json!({"ms": 10, "outcome": "fail", "echo": "why"}),
    );
    let mut last = None;
    while let Some(status) = poller.next().await {
        last = Some(status.unwrap().into_model().unwrap());
    }
    let last = last.unwrap();
    assert_eq!(last.status(), PollerStatus::Failed);
    let wanted = serde_json::json!({"code": "JobFailed", "message": "why"});
    assert_eq!(last.error, Some(wanted));
}

async fn it_is_told_at_once_of_a_bad_request() {
    let refused: Result<_, Error> = begin(&thing(), serde_json::json!({"ms": -1})).await;
    let error = refused.err().unwrap();
    let ErrorKind::HttpResponse {
        status, error_code, ..
    } = error.kind()
    else {
        panic!("{error:?}")
    };
    assert_eq!(
        (u16::from(*status), error_code.as_deref()),
        (400, Some("InvalidJob"))
    );
}

#[tokio::main]
async fn main() {
    // Nothing here is encrypted, but clients are made as if it were.
    let provider = rustls::crypto::ring::default_provider();
    provider.install_default().unwrap();
    let mut tests = Tests::default();
    let making = it_puts_a_resource_and_has_it_when_it_is_made();
    tests
        .run("it_puts_a_resource_and_has_it_when_it_is_made", making)
        .await;
    tests
        .run("it_sees_the_progress", it_sees_the_progress())
        .await;
    tests
        .run("it_sees_what_failed", it_sees_what_failed())
        .await;
    let refused = it_is_told_at_once_of_a_bad_request();
    tests
        .run("it_is_told_at_once_of_a_bad_request", refused)
        .await;
    tests.end()
}
