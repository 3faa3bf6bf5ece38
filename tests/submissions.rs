//! What operations were submitted with: kept once for those that were submitted alike, and never mixed up.
#![cfg(feature = "testing")]

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use std::{convert::Infallible, num::NonZeroU16, sync::Arc};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_lro::{Fhir, Operations, Owner, dialect::Head, record::Submission};

type Body = Full<Bytes>;

fn operations() -> Operations {
    let user = |head: Head<'_>| head.headers.get("x-user").map(Owner::new);
    Operations::builder().owner(user).build().unwrap()
}

/// What is kept of a request to one service.
async fn kept<S, R>(operations: &Operations, mut layered: S, request: &[&str]) -> Arc<Submission>
where
    S: Service<Request<Body>, Response = Response<R>, Error = Infallible>,
{
    let [method, target, fields @ ..] = request else {
        panic!("a request has a method and a target");
    };
    let mut request = Request::builder().method(*method).uri(*target);
    for field in fields {
        let (name, value) = field.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    let request = request.body(Body::default()).unwrap();
    let answer = layered.ready().await.unwrap().call(request).await.unwrap();
    assert_eq!(answer.status(), 202);
    let headers = answer.headers();
    let monitor = headers
        .get("location")
        .unwrap_or_else(|| &headers["content-location"]);
    let monitor = monitor.to_str().unwrap();
    let id = monitor.rsplit('/').next().unwrap().parse().unwrap();
    operations.get(id).await.unwrap().unwrap().submission
}

async fn done(_: Request<Body>) -> Result<Response<Body>, Infallible> {
    Ok(Response::default())
}

#[tokio::test]
async fn operations_that_were_submitted_alike_share_what_is_kept_of_it() {
    let operations = operations();
    let layered = operations.layer().layer(service_fn(done));
    for request in [
        &["POST", "/a?x=1"][..],
        &["POST", "/a?x=1", "x-user: alice"],
    ] {
        let first = kept(&operations, layered.clone(), request).await;
        let second = kept(&operations, layered.clone(), request).await;
        assert!(Arc::ptr_eq(&first, &second), "{request:?}");
    }
}

/// As a router does that makes its services anew for each connection.
#[tokio::test]
async fn services_of_one_layer_share_it_too() {
    let operations = operations();
    let layer = operations.layer();
    let mut first = [const { None }; 2];
    for _ in 0..3 {
        for (target, first) in ["/a", "/b"].iter().zip(&mut first) {
            let layered = layer.layer(service_fn(done));
            let kept = kept(&operations, layered, &["POST", target]).await;
            let first = first.get_or_insert_with(|| kept.clone());
            assert!(Arc::ptr_eq(first, &kept), "{target}");
        }
    }
}

#[tokio::test]
async fn operations_that_differ_in_method_target_owner_or_key_have_each_their_own() {
    let operations = operations();
    let layered = operations.layer().layer(service_fn(done));
    let requests: [&[&str]; 7] = [
        &["POST", "/a"],
        &["PUT", "/a"],
        &["POST", "/a?"],
        &["POST", "/b"],
        &["POST", "/b", "x-user: alice"],
        &["POST", "/b", "x-user: bob"],
        &["POST", "/b", "x-user: bob", "idempotency-key: \"1\""],
    ];
    // Each beside each other, in both orders.
    for one in requests {
        for other in requests.into_iter().filter(|other| *other != one) {
            for request in [one, other] {
                let kept = kept(&operations, layered.clone(), request).await;
                assert_eq!(kept.method, request[0]);
                assert_eq!(&*kept.target, request[1]);
                let user = request
                    .get(2)
                    .map(|user| Owner::new(user.trim_start_matches("x-user: ")));
                assert_eq!(kept.owner, user, "{one:?} {other:?}");
                assert_eq!(kept.key.is_some(), request.len() == 4);
            }
        }
    }
}

#[tokio::test]
async fn what_one_client_preferred_is_not_kept_of_the_next() {
    let builder = Operations::builder().dialect(Fhir::bulk());
    let operations = builder.build().unwrap();
    let layered = operations.layer().layer(service_fn(done));
    let plain = &["GET", "/$export"][..];
    let separate = &["GET", "/$export", "prefer: separate-export-status"];
    for (request, has_note) in [(plain, false), (separate, true), (plain, false)] {
        let kept = kept(&operations, layered.clone(), request).await;
        assert_eq!(kept.note.is_some(), has_note, "{request:?}");
    }
}

#[tokio::test]
async fn what_a_layer_says_later_holds_for_what_is_submitted_later() {
    let operations = operations();
    let mut layer = operations.layer().accept_only();
    for attempts in [2, 3].map(|attempts| NonZeroU16::new(attempts).unwrap()) {
        layer = layer.attempts(attempts);
        let layered = layer.layer(service_fn(done));
        let kept = kept(&operations, layered, &["POST", "/a"]).await;
        assert_eq!(kept.rerun.as_ref().unwrap().attempts, attempts);
    }
}
