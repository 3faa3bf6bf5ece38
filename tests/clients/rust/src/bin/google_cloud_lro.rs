//! google-cloud-lro against the dialect `GoogleRest`: `/v1` of the workbench. Its poller as generated clients make it, and the
//! generated client of google.longrunning.Operations.

use clients::{Tests, base};
use google_cloud_auth::credentials::anonymous;
use google_cloud_gax::{
    error::rpc::Code, exponential_backoff::ExponentialBackoffBuilder,
    paginator::ItemPaginator as _, polling_error_policy::Aip194Strict,
};
use google_cloud_longrunning::{
    client::Operations,
    model::{Operation, operation::Result as Ended},
};
use google_cloud_lro::{Poller, PollingResult, internal};
use google_cloud_wkt::{Struct, Value};
use serde_json::json;
use std::{sync::Arc, time::Duration};

async fn client() -> Operations {
    let builder = Operations::builder().with_endpoint(base());
    let credentials = anonymous::Builder::new().build();
    builder.with_credentials(credentials).build().await.unwrap()
}

/// What the method of a generated client does: the first answer is an operation.
async fn start(job: serde_json::Value) -> Operation {
    let post = reqwest::Client::new().post(base() + "/v1/jobs:run");
    let answer = post.json(&job).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json().await.unwrap()
}

async fn poller(job: serde_json::Value) -> impl Poller<Value, Struct> {
    let client = client().await;
    let backoff = ExponentialBackoffBuilder::new()
        .with_initial_delay(Duration::from_millis(100))
        .with_maximum_delay(Duration::from_millis(500));
    internal::new_poller::<Value, Struct, _, _, _, _>(
        Arc::new(Aip194Strict),
        Arc::new(backoff.build().unwrap()),
        move || async { Ok(internal::Operation::new(start(job).await)) },
        move |name| {
            let client = client.clone();
            async move {
                let operation = client.get_operation().set_name(name).send().await?;
                Ok(internal::Operation::new(operation))
            }
        },
    )
}

async fn it_polls_to_the_result() {
    let poller = poller(json!({"ms": 400, "echo": "é"})).await;
    let found = poller.until_done().await.unwrap();
    assert_eq!(found, json!({"ok": true, "echo": "é"}));
}

async fn it_sees_the_progress() {
    let mut poller = poller(json!({"ms": 2000, "steps": 2})).await;
    let mut states = Vec::new();
    loop {
        match poller.poll().await.unwrap() {
            PollingResult::InProgress(metadata) => {
                let state = metadata.unwrap()["state"].as_str().unwrap().to_owned();
                states.push(state);
            }
            PollingResult::Completed(found) => break assert!(found.is_ok()),
            PollingResult::PollingError(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(states.iter().any(|state| state == "RUNNING"), "{states:?}");
}

async fn it_reports_what_failed_with_its_code() {
    for (job, code, message) in [
        (
            json!({"outcome": "fail", "echo": "why"}),
            Code::InvalidArgument,
            "why",
        ),
        (
            json!({"outcome": "fail", "status": 404, "echo": "where"}),
            Code::NotFound,
            "where",
        ),
        (
            json!({"outcome": "panic", "echo": "x"}),
            Code::Internal,
            "The operation ended with an internal error.",
        ),
    ] {
        let error = poller(job).await.until_done().await.unwrap_err();
        let status = error.status().unwrap();
        assert_eq!((status.code, status.message.as_str()), (code, message));
    }
}

async fn it_cancels() {
    let client = client().await;
    let name = start(json!({"ms": 60000})).await.name;
    for _ in 0..2 {
        client
            .cancel_operation()
            .set_name(&name)
            .send()
            .await
            .unwrap();
    }
    let operation = client.get_operation().set_name(&name).send().await.unwrap();
    let Some(Ended::Error(status)) = operation.result else {
        panic!("{operation:?}")
    };
    assert!(operation.done);
    assert_eq!(status.code, 1);
}

async fn it_deletes() {
    let client = client().await;
    let name = start(json!({"echo": "x"})).await.name;
    client
        .delete_operation()
        .set_name(&name)
        .send()
        .await
        .unwrap();
    let error = client
        .get_operation()
        .set_name(&name)
        .send()
        .await
        .unwrap_err();
    let status = error.status().unwrap_or_else(|| panic!("{error:?}"));
    assert_eq!(
        (error.http_status_code(), status.code),
        (Some(404), Code::NotFound)
    );
}

async fn it_lists_page_by_page() {
    let client = client().await;
    let mut names = Vec::new();
    for at in 0..5 {
        let name = start(json!({"echo": at.to_string()})).await.name;
        let is_done = || client.get_operation().set_name(&name).send();
        while !is_done().await.unwrap().done {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        names.push(name);
    }
    let mut items = client
        .list_operations()
        .set_name("operations")
        .set_page_size(2)
        .set_filter("done=true")
        .by_item();
    let mut found = Vec::new();
    while found.len() < 5 {
        found.push(items.next().await.unwrap().unwrap().name);
    }
    names.reverse();
    assert_eq!(found, names);
}

#[tokio::main]
async fn main() {
    // Nothing here is encrypted, but clients are made as if it were.
    let provider = rustls::crypto::ring::default_provider();
    provider.install_default().unwrap();
    let mut tests = Tests::default();
    tests
        .run("it_polls_to_the_result", it_polls_to_the_result())
        .await;
    tests
        .run("it_sees_the_progress", it_sees_the_progress())
        .await;
    let failing = it_reports_what_failed_with_its_code();
    tests
        .run("it_reports_what_failed_with_its_code", failing)
        .await;
    tests.run("it_cancels", it_cancels()).await;
    tests.run("it_deletes", it_deletes()).await;
    tests
        .run("it_lists_page_by_page", it_lists_page_by_page())
        .await;
    tests.end()
}
