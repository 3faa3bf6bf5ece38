//! `Idempotency-Key`: a request that is sent again is the same operation again.
#![cfg(feature = "testing")]

mod harness;

use bytes::Bytes;
use harness::*;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::BodyExt;
use std::time::Duration;
use tower_lro::{Builder, Operations, store::Clock};

fn shared(builder: Builder) -> Operations {
    builder.shared_keys().build().unwrap()
}

fn keyed(key: &str) -> http::request::Builder {
    post("/reports?x=1")
        .header("idempotency-key", key)
        .header("content-type", "text/plain")
}

fn order(key: &str) -> Request<Body> {
    keyed(key).body(full("one report")).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_repeat_gets_the_same_202_and_location_while_accepted_and_while_running() {
    let (handler, gate) = gated();
    let operations = shared(limited(|limits| limits.running = 1));
    let client = client(&operations, &handler);

    let running = client.send(order("running")).await;
    start_of(&operations, running.id()).await;
    let waiting = client.send(order("waiting")).await;
    for (first, status) in [(&running, "running"), (&waiting, "accepted")] {
        let repeat = client
            .send(order(status.replace("accepted", "waiting").as_str()))
            .await;
        assert_eq!(repeat.status, 202);
        assert_eq!(repeat.location(), first.location());
        assert_eq!(repeat.json()["status"], status);
        assert_eq!(repeat.header("retry-after"), Some("1"));
    }
    gate.add_permits(2);
    end_of(&operations, waiting.id()).await;
    assert_eq!(handler.calls(), 2);
    assert_eq!(operations.usage().stored, 2);
}

#[tokio::test(start_paused = true)]
async fn a_repeat_gets_the_same_202_and_location_however_the_operation_ended() {
    let handler = try_handler(|request| async move {
        match request.headers()["x-end"].to_str().unwrap() {
            "succeeded" => Ok(Response::new(full("done"))),
            "failed" => Ok(Response::builder().status(422).body(full("no")).unwrap()),
            "errored" => Err(Fault("inner detail")),
            "panicked" => panic!("inner detail"),
            _ => std::future::pending().await,
        }
    });
    let operations = shared(Operations::builder());
    let client = client(&operations, &handler);
    for (end, status) in [
        ("succeeded", "succeeded"),
        ("failed", "failed"),
        ("errored", "failed"),
        ("panicked", "failed"),
        ("cancelled", "cancelled"),
    ] {
        let order = || keyed(end).header("x-end", end).body(full("")).unwrap();
        let first = client.send(order()).await;
        if end == "cancelled" {
            start_of(&operations, first.id()).await;
            client.delete(&first.location()).await;
        }
        end_of(&operations, first.id()).await;

        let repeat = client.send(order()).await;
        assert_eq!(repeat.status, 202, "{end}");
        assert_eq!(repeat.location(), first.location(), "{end}");
        assert_eq!(repeat.json()["status"], status, "{end}");
    }
    assert_eq!(handler.calls(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_key_used_for_another_request_is_422_and_leaves_the_first_alone() {
    let handler = takes(secs(60));
    let operations = shared(Operations::builder());
    let client = client(&operations, &handler);
    let first = client.send(order("k")).await;
    let others = || {
        [
            keyed("k").body(full("two reports")),
            keyed("k").body(full("")),
            keyed("k").uri("/reports?x=2").body(full("one report")),
            keyed("k").uri("/reports").body(full("one report")),
            keyed("k").uri("/other?x=1").body(full("one report")),
            keyed("k").method("PUT").body(full("one report")),
            post("/reports?x=1")
                .header("idempotency-key", "k")
                .body(full("one report")),
            post("/reports?x=1")
                .header("idempotency-key", "k")
                .header("content-type", "text/html")
                .body(full("one report")),
        ]
        .map(Result::unwrap)
    };
    for other in others() {
        client.send(other).await.is_problem(422, "key-reused");
    }
    end_of(&operations, first.id()).await;
    for other in others() {
        client.send(other).await.is_problem(422, "key-reused");
    }
    assert_eq!(client.get(&first.location()).await.body, "done");
    assert_eq!((handler.calls(), operations.usage().stored), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn fields_that_differ_from_one_try_to_the_next_do_not_make_another_request() {
    let operations = shared(Operations::builder());
    let client = client(&operations, &takes(secs(60)));
    let first = client.send(order("k")).await;
    let again = keyed("k")
        .header("traceparent", "00-1-2-00")
        .header("prefer", "respond-async, wait=20")
        .header("date", "Tue, 15 Nov 1994 08:12:31 GMT")
        .body(full("one report"))
        .unwrap();
    assert_eq!(client.send(again).await.location(), first.location());
}

#[tokio::test(start_paused = true)]
async fn strict_keys_refuse_a_repeat_until_the_operation_has_ended() {
    let (handler, gate) = gated();
    let operations = shared(limited(|limits| {
        limits.running = 1;
        limits.retry_after = secs(7);
    }));
    let client = Client(operations.layer().strict_keys().wrap(handler.clone()));
    let running = client.send(order("running")).await;
    start_of(&operations, running.id()).await;
    let waiting = client.send(order("waiting")).await;

    for key in ["running", "waiting"] {
        let repeat = client.send(order(key)).await;
        repeat.is_problem(409, "key-in-use");
        assert_eq!(repeat.header("retry-after"), Some("7"));
        let other = client.send(keyed(key).body(full("other")).unwrap()).await;
        other.is_problem(422, "key-reused");
    }
    gate.add_permits(2);
    end_of(&operations, waiting.id()).await;
    let repeat = client.send(order("waiting")).await;
    assert_eq!(
        (repeat.status.as_u16(), repeat.location()),
        (202, waiting.location())
    );
    assert_eq!(handler.calls(), 2);
}

/// Answers with everything that a response can have.
fn rich() -> Handler {
    handler(|_| async {
        tokio::time::sleep(secs(1)).await;
        let trailers = async {
            let value = HeaderValue::from_static("done");
            Some(Ok(HeaderMap::from_iter([(
                http::HeaderName::from_static("x-sum"),
                value,
            )])))
        };
        Response::builder()
            .status(201)
            .header("content-type", "text/csv")
            .header("location", "/reports/7")
            .header("set-cookie", "a=1")
            .header("set-cookie", "b=2")
            .header("trailer", "x-sum")
            .header("vary", "accept")
            .body(full("a,b").with_trailers(trailers).boxed_unsync())
            .unwrap()
    })
}

#[tokio::test(start_paused = true)]
async fn an_answer_within_a_wait_is_repeated_to_the_byte() {
    let handler = rich();
    let operations = shared(Operations::builder());
    let client = client(&operations, &handler);
    let order = || {
        let order = keyed("k").header("prefer", "wait=5");
        order.body(full("one report")).unwrap()
    };
    let first = client.send(order()).await;
    assert_eq!((first.status.as_u16(), first.after), (201, secs(1)));
    for _ in 0..3 {
        let repeat = client.send(order()).await;
        assert_eq!(repeat.after, Duration::ZERO);
        assert_eq!(repeat.status, first.status);
        assert_eq!(repeat.body, first.body);
        assert_eq!(repeat.trailers, first.trailers);
        assert_eq!(repeat.headers, first.headers);
    }
    assert_eq!(handler.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_repeat_without_the_wait_still_gets_the_answer_that_the_wait_gave() {
    let handler = rich();
    let operations = shared(Operations::builder());
    let client = client(&operations, &handler);
    let waiting = keyed("k")
        .header("prefer", "wait=5")
        .body(full("one report"));
    let first = client.send(waiting.unwrap()).await;
    let repeat = client.send(order("k")).await;
    assert_eq!((repeat.status, &repeat.body), (first.status, &first.body));
    assert_eq!(repeat.header("operation-outcome"), None);
    let other = client.send(keyed("k").body(full("other")).unwrap()).await;
    other.is_problem(422, "key-reused");
}

#[tokio::test(start_paused = true)]
async fn a_failure_within_a_wait_is_repeated_as_well() {
    let handler = try_handler(|request| async move {
        match request.headers()["x-end"].to_str().unwrap() {
            "failed" => Ok(Response::builder().status(503).body(full("no")).unwrap()),
            "errored" => Err(Fault("inner detail")),
            _ => panic!("inner detail"),
        }
    });
    let operations = shared(Operations::builder());
    let client = client(&operations, &handler);
    let order = |end: &str| {
        let order = keyed(end).header("x-end", end).header("prefer", "wait=5");
        order.body(full("")).unwrap()
    };
    let first = client.send(order("failed")).await;
    let repeat = client.send(order("failed")).await;
    assert_eq!((first.status.as_u16(), &first.body[..]), (503, &b"no"[..]));
    assert_eq!((repeat.status, &repeat.body), (first.status, &first.body));

    let first = client.send(order("panicked")).await;
    let repeat = client.send(order("panicked")).await;
    first.is_problem(500, "panicked");
    assert_eq!((repeat.status, &repeat.body), (first.status, &first.body));

    // There was no response, so there is none to repeat; but it is not run again.
    let first = client.try_send(order("errored")).await;
    assert_eq!(first.unwrap_err().to_string(), "inner detail");
    let repeat = client.send(order("errored")).await;
    assert_eq!(repeat.status, 202);
    let monitor = client.get(&repeat.location()).await;
    monitor.is_problem(500, "errored");
    assert_eq!(handler.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_ended_in_a_202_is_repeated_as_that_202() {
    let operations = shared(Operations::builder());
    let client = client(&operations, &takes(secs(10)));
    let order = || {
        let order = keyed("k").header("prefer", "wait=5");
        order.body(full("one report")).unwrap()
    };
    let first = client.send(order()).await;
    assert_eq!((first.status.as_u16(), first.after), (202, secs(5)));
    for ended in [false, true] {
        if ended {
            end_of(&operations, first.id()).await;
        }
        let repeat = client.send(order()).await;
        assert_eq!(
            (repeat.status.as_u16(), repeat.location()),
            (202, first.location())
        );
        assert_eq!(repeat.after, Duration::ZERO);
        // It was not held back, so no wait was applied.
        assert_eq!(repeat.header("preference-applied"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeat_meets_the_first_while_that_is_still_held_back() {
    let handler = takes(secs(3));
    let operations = shared(Operations::builder());
    let client = client(&operations, &handler);
    let first = tokio::spawn({
        let client = client.clone();
        let order = keyed("k")
            .header("prefer", "wait=5")
            .body(full("one report"));
        async move { client.send(order.unwrap()).await }
    });
    settled().await;
    let repeat = client.send(order("k")).await;
    assert_eq!(repeat.status, 202);
    let first = first.await.unwrap();
    assert_eq!(
        (first.status.as_u16(), &first.body[..]),
        (200, &b"done"[..])
    );
    // Both are told the same in the end.
    assert_eq!(client.get(&repeat.location()).await.body, "done");
    assert_eq!(handler.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_during_its_wait_finds_its_answer_by_its_key() {
    let handler = takes(secs(3));
    let operations = shared(Operations::builder());
    let client = client(&operations, &handler);
    let order = || {
        let order = keyed("k").header("prefer", "wait=5");
        order.body(full("one report")).unwrap()
    };
    let gone = tokio::time::timeout(secs(1), client.send(order())).await;
    assert!(gone.is_err());
    tokio::time::sleep(secs(10)).await;
    assert_eq!(client.send(order()).await.body, "done");
    assert_eq!(handler.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn answers_within_a_wait_make_room_like_all_that_was_read() {
    let operations = shared(limited(|limits| limits.stored = 2));
    let client = client(&operations, &takes(secs(1)));
    for key in ["a", "b", "c", "d"] {
        let order = keyed(key).header("prefer", "wait=5").body(full(""));
        assert_eq!(client.send(order.unwrap()).await.status, 200, "{key}");
    }
    assert_eq!(
        (operations.usage().stored, operations.usage().tombstones),
        (2, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn failures_that_were_told_within_a_wait_make_room_as_well() {
    let operations = shared(limited(|limits| {
        limits.stored = 2;
        limits.run_time = secs(1);
    }));
    let client = client(&operations, &takes(secs(60)));
    for key in ["a", "b", "c", "d"] {
        let order = keyed(key).header("prefer", "wait=5").body(full(""));
        let answer = client.send(order.unwrap()).await;
        answer.is_problem(504, "timed-out");
    }
    assert_eq!(
        (operations.usage().stored, operations.usage().tombstones),
        (2, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn a_key_over_a_tombstone_is_410_and_free_when_that_has_fallen() {
    let clock = Clock::manual(std::time::SystemTime::UNIX_EPOCH + secs(1_800_000_000));
    let handler = takes(secs(1));
    let operations = shared(Operations::builder().clock(clock.clone()));
    let client = client(&operations, &handler);

    let first = client.send(order("k")).await;
    end_of(&operations, first.id()).await;
    clock.advance(DAY - secs(1));
    assert_eq!(client.send(order("k")).await.location(), first.location());

    clock.advance(secs(1));
    client.send(order("k")).await.is_problem(410, "expired");
    let other = client.send(keyed("k").body(full("other")).unwrap()).await;
    other.is_problem(410, "expired");
    assert_eq!(handler.calls(), 1);

    // The tombstone is set when the operation is let go, which somebody has to come by for.
    tokio::time::sleep(2 * DAY).await;
    clock.advance(DAY - secs(1));
    client.send(order("k")).await.is_problem(410, "expired");
    clock.advance(secs(1));
    let second = client.send(order("k")).await;
    assert_eq!(second.status, 202);
    assert_ne!(second.location(), first.location());
    assert_eq!(handler.calls(), 1);
    end_of(&operations, second.id()).await;
    assert_eq!(handler.calls(), 2);
    assert_eq!(client.send(order("k")).await.location(), second.location());
}

#[tokio::test(start_paused = true)]
async fn a_key_stays_taken_when_its_operation_is_forgotten() {
    let operations = shared(Operations::builder());
    let client = client(&operations, &takes(secs(1)));
    let first = client.send(order("k")).await;
    end_of(&operations, first.id()).await;
    let result = format!("{}/result", first.location());
    assert_eq!(client.delete(&result).await.status, 204);
    client.send(order("k")).await.is_problem(410, "expired");
}

#[tokio::test(start_paused = true)]
async fn a_key_stays_taken_when_its_operation_makes_room_for_others() {
    let operations = shared(limited(|limits| limits.stored = 1));
    let client = client(&operations, &takes(secs(1)));
    let first = client.send(order("k")).await;
    end_of(&operations, first.id()).await;
    assert_eq!(client.get(&first.location()).await.body, "done");
    assert_eq!(client.send(order("other")).await.status, 202);
    client.send(order("k")).await.is_problem(410, "expired");
}

#[tokio::test(start_paused = true)]
async fn without_tombstones_a_key_goes_with_its_operation() {
    let operations = shared(limited(|limits| limits.tombstones = 0));
    let client = client(&operations, &takes(secs(1)));
    let first = client.send(order("k")).await;
    end_of(&operations, first.id()).await;
    operations.forget(first.id()).await.unwrap();
    assert_ne!(client.send(order("k")).await.location(), first.location());
}

#[tokio::test(start_paused = true)]
async fn two_owners_with_one_key_have_an_operation_each() {
    let handler = takes(secs(60));
    let operations = by_user(Operations::builder()).build().unwrap();
    let client = client(&operations, &handler);
    let of = |user: &str, body: &'static str| {
        let order = keyed("k").header("x-user", user);
        client.send(order.body(full(body)).unwrap())
    };
    let alice = of("alice", "one report").await;
    // Another body: to bob it must not even show that the key was used.
    let bob = of("bob", "two reports").await;
    assert_eq!((alice.status.as_u16(), bob.status.as_u16()), (202, 202));
    assert_ne!(alice.location(), bob.location());
    assert_eq!(of("alice", "one report").await.location(), alice.location());
    assert_eq!(of("bob", "two reports").await.location(), bob.location());
    of("alice", "two reports")
        .await
        .is_problem(422, "key-reused");

    end_of(&operations, alice.id()).await;
    operations.forget(alice.id()).await.unwrap();
    of("alice", "one report").await.is_problem(410, "expired");
    assert_eq!(of("bob", "two reports").await.location(), bob.location());
    assert_eq!(of("carol", "one report").await.status, 202);
    assert_eq!(operations.usage().stored, 2);
}

#[tokio::test(start_paused = true)]
async fn without_an_owner_rule_keys_do_not_count() {
    let handler = takes(secs(60));
    let operations = Operations::builder().build().unwrap();
    let client = client(&operations, &handler);
    let (first, second) = (client.send(order("k")).await, client.send(order("k")).await);
    assert_eq!((first.status.as_u16(), second.status.as_u16()), (202, 202));
    assert_ne!(first.location(), second.location());
    // What is not read can't be wrong.
    assert_eq!(client.send(order("\"broken")).await.status, 202);
    assert_eq!(operations.usage().stored, 3);
}

#[tokio::test(start_paused = true)]
async fn with_an_owner_rule_a_request_without_principal_has_no_keys() {
    let operations = by_user(Operations::builder()).build().unwrap();
    let client = client(&operations, &takes(secs(60)));
    let (first, second) = (client.send(order("k")).await, client.send(order("k")).await);
    assert_eq!((first.status.as_u16(), second.status.as_u16()), (202, 202));
    assert_ne!(first.location(), second.location());
    assert_eq!(client.send(order("\"broken")).await.status, 202);
}

#[test]
fn shared_keys_and_an_owner_rule_exclude_each_other() {
    let both = by_user(Operations::builder()).shared_keys().build();
    assert_eq!(both.unwrap_err().option, "shared_keys");
}

#[tokio::test(start_paused = true)]
async fn quoted_and_raw_spelling_are_one_key() {
    let operations = shared(Operations::builder());
    let client = client(&operations, &takes(secs(60)));
    let first = client.send(order("8e03978e-40d5")).await;
    for spelling in [
        "\"8e03978e-40d5\"",
        " 8e03978e-40d5 ",
        "\"8e03978e-40d5\";v=1",
    ] {
        let repeat = client.send(order(spelling)).await;
        assert_eq!(repeat.location(), first.location(), "{spelling}");
    }
    // Keys are compared by the letter.
    let other = client.send(order("8E03978E-40D5")).await;
    assert_ne!(other.location(), first.location());
}

#[tokio::test(start_paused = true)]
async fn a_malformed_key_is_400_before_the_body_is_read() {
    let handler = takes(secs(60));
    let operations = shared(Operations::builder());
    let client = client(&operations, &handler);
    let malformed = [
        vec![""],
        vec!["\"\""],
        vec!["two words"],
        vec!["\"open"],
        vec!["\"a\" \"b\""],
        vec!["\"a\\n\""],
        vec!["a", "a"],
        vec!["tab\tinside"],
    ];
    let long = "k".repeat(256);
    for lines in malformed.into_iter().chain([vec![&*long]]) {
        // The client waits with its body until it is asked for it.
        let mut request = post("/reports").header("expect", "100-continue");
        for line in &lines {
            request = request.header("idempotency-key", *line);
        }
        let answer = client.send(request.body(unread()).unwrap()).await;
        assert_eq!(answer.problem(), "key-invalid", "{lines:?}");
        assert_eq!(answer.status, 400, "{lines:?}");
        assert_eq!(answer.header("retry-after"), None);
    }
    let longest = client.send(order(&long[1..])).await;
    assert_eq!(longest.status, 202);
    end_of(&operations, longest.id()).await;
    assert_eq!((handler.calls(), operations.usage().stored), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_key_function_takes_the_place_of_the_field() {
    let operations = shared(Operations::builder());
    let layer = operations.layer().key(|head| {
        let value = head.headers.get("x-order")?;
        Some(value.to_str().ok()?.to_owned())
    });
    let client = Client(layer.wrap(takes(secs(60))));
    let send = |number: &str, key: &str| {
        let order = keyed(key).header("x-order", number);
        client.send(order.body(full("")).unwrap())
    };
    let first = send("7", "a").await;
    assert_eq!(send("7", "b").await.location(), first.location());
    assert_eq!(send("7", "\"broken").await.location(), first.location());
    assert_ne!(send("8", "a").await.location(), first.location());
    // No key: each is for itself.
    let unkeyed = || client.send(order("a"));
    assert_ne!(unkeyed().await.location(), unkeyed().await.location());
}

#[tokio::test(start_paused = true)]
async fn a_key_may_be_a_constant_of_the_layer() {
    let operations = shared(Operations::builder());
    let layer = operations.layer().key(|_| Some("the nightly import"));
    let client = Client(layer.wrap(takes(secs(60))));
    assert_eq!(
        client.submit().await.location(),
        client.submit().await.location()
    );
}

#[tokio::test(start_paused = true)]
async fn a_repeat_is_answered_when_the_server_is_full_and_others_are_not() {
    let (handler, gate) = gated();
    let operations = shared(limited(|limits| {
        limits.running = 1;
        limits.accepted = 0;
    }));
    let client = client(&operations, &handler);
    let first = client.send(order("k")).await;
    assert_eq!(client.send(order("k")).await.location(), first.location());
    for refused in [order("new"), post("/reports").body(full("")).unwrap()] {
        let refused = client.send(refused).await;
        refused.is_problem(503, "full");
        assert_eq!(refused.header("retry-after"), Some("1"));
    }
    gate.add_permits(1);
    end_of(&operations, first.id()).await;
    let usage = operations.usage();
    assert_eq!((usage.uploading, usage.accepted, usage.running), (0, 0, 0));
    assert_eq!(client.send(order("new")).await.status, 202);
}

#[tokio::test(start_paused = true)]
async fn a_repeat_is_answered_when_the_store_is_full() {
    let operations = shared(limited(|limits| limits.stored = 1));
    let client = client(&operations, &takes(secs(60)));
    let first = client.send(order("k")).await;
    client.send(order("new")).await.is_problem(503, "full");
    assert_eq!(client.send(order("k")).await.location(), first.location());
}

#[tokio::test(start_paused = true)]
async fn a_repeat_whose_body_arrives_slowly_is_answered_at_its_end() {
    for full in [false, true] {
        let (handler, _gate) = gated();
        let operations = shared(limited(|limits| {
            limits.running = 1;
            limits.accepted = usize::from(!full);
        }));
        let client = client(&operations, &handler);
        let first = client.send(order("k")).await;
        let (sender, body) = sending();
        let repeat = client.send(keyed("k").body(body).unwrap());
        let arrives = async move {
            for piece in ["one", " rep", "ort"] {
                tokio::time::sleep(secs(5)).await;
                send(&sender, piece);
            }
            tokio::time::sleep(secs(5)).await;
        };
        let (repeat, ()) = tokio::join!(repeat, arrives);
        assert_eq!((repeat.status.as_u16(), repeat.after), (202, secs(20)));
        assert_eq!(repeat.location(), first.location());
        assert_eq!(operations.usage().uploading_bytes, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_that_arrive_at_the_same_time_one_runs() {
    let handler = takes(secs(60));
    let operations = shared(Operations::builder());
    let client = client(&operations, &handler);
    let (senders, bodies): (Vec<_>, Vec<_>) = (0..10).map(|_| sending()).unzip();
    let all: Vec<_> = bodies
        .into_iter()
        .map(|body| {
            let client = client.clone();
            tokio::spawn(async move { client.send(keyed("k").body(body).unwrap()).await })
        })
        .collect();
    settled().await;
    assert_eq!(operations.usage().uploading, 10);
    for sender in senders {
        send(&sender, "one report");
    }
    let mut locations = Vec::new();
    for answer in all {
        locations.push(answer.await.unwrap().location());
    }
    locations.dedup();
    assert_eq!(locations.len(), 1);
    settled().await;
    assert_eq!((handler.calls(), operations.usage().stored), (1, 1));
    assert_eq!(operations.usage().running, 1);
}

#[tokio::test(start_paused = true)]
async fn the_key_stays_in_the_request_for_the_handler_to_use() {
    let handler = handler(|request| async move {
        let key = request.headers()["idempotency-key"].as_bytes();
        Response::new(full(Bytes::copy_from_slice(key)))
    });
    let operations = shared(Operations::builder());
    let client = client(&operations, &handler);
    let order = keyed("\"k\"").header("prefer", "wait=1").body(full(""));
    assert_eq!(client.send(order.unwrap()).await.body, "\"k\"");
}

#[tokio::test(start_paused = true)]
async fn methods_that_are_not_deferred_have_no_keys() {
    let handler = takes(secs(1));
    let operations = shared(Operations::builder());
    let client = client(&operations, &handler);
    for _ in 0..2 {
        let options = keyed("k").method(Method::OPTIONS).body(full(""));
        assert_eq!(client.send(options.unwrap()).await.body, "done");
    }
    assert_eq!((handler.calls(), operations.usage().stored), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn repeats_meet_in_a_store_that_takes_its_time() {
    for prefer in ["wait=0", "wait=20"] {
        let store = Faulty::remote();
        store.set_all(&How::Late(secs(1)));
        let handler = takes(secs(5));
        let operations = shared(Operations::builder().store(store.clone()));
        let client = client(&operations, &handler);
        let all: Vec<_> = (0..3)
            .map(|_| {
                let order = keyed("k").header("prefer", prefer).body(full("one report"));
                let client = client.clone();
                tokio::spawn(async move { client.send(order.unwrap()).await })
            })
            .collect();
        let mut answers = Vec::new();
        for answer in all {
            answers.push(answer.await.unwrap());
        }
        let (inline, accepted): (Vec<_>, Vec<_>) =
            answers.iter().partition(|answer| answer.status == 200);
        assert_eq!(
            inline.len(),
            usize::from(prefer == "wait=20"),
            "{answers:?}"
        );
        for answer in &accepted {
            assert_eq!(
                (answer.status.as_u16(), answer.location()),
                (202, accepted[0].location())
            );
        }
        end_of(&operations, accepted[0].id()).await;
        assert_eq!((handler.calls(), operations.usage().stored), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_refuses_what_has_a_key_and_runs_nothing() {
    let store = Faulty::remote();
    let handler = takes(secs(5));
    let operations = shared(Operations::builder().store(store.clone()));
    let client = client(&operations, &handler);
    store.set_all(&DOWN);
    for prefer in ["wait=0", "wait=20"] {
        let order = keyed("k").header("prefer", prefer).body(full("one report"));
        let answer = client.send(order.unwrap()).await;
        answer.is_problem(503, "unavailable");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    store.heal();
    assert_eq!(client.send(order("k")).await.status, 202);
    settled().await;
    assert_eq!((handler.calls(), operations.usage().running), (1, 1));
}
