//! Every bound: its default, its name in the docs, and its own clear answer when it is hit.
#![cfg(feature = "testing")]

#[path = "../harness/mod.rs"]
mod harness;
mod places;
mod responses;
mod runs;
mod storage;
mod uploads;

use bytes::Bytes;
use harness::*;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Version};
use http_body::{Body as _, Frame};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tower::ServiceExt;
use tower_lro::{
    BuildError, Limits, OperationId, Operations, Rfc, Usage, Wrapped,
    record::{Outcome, Reason},
    store::{Clock, Settled},
};

const MIB: u64 = 1 << 20;

/// Name, default as the docs write it, and whether it is so.
type Bound = (&'static str, &'static str, fn(&Limits) -> bool);

const BOUNDS: &[Bound] = &[
    ("target", "8 KiB", |limits| limits.target == 8 << 10),
    ("request_body", "2 MiB", |limits| {
        limits.request_body == 2 * MIB
    }),
    ("uploading_bytes", "64 MiB", |limits| {
        limits.uploading_bytes == 64 * MIB
    }),
    ("upload_time", "30 s", |limits| {
        limits.upload_time == secs(30)
    }),
    ("discards", "1,024", |limits| limits.discards == 1024),
    ("response_body", "16 MiB", |limits| {
        limits.response_body == 16 * MIB
    }),
    ("running", "256", |limits| limits.running == 256),
    ("accepted", "1,024", |limits| limits.accepted == 1024),
    ("start_within", "10 min", |limits| {
        limits.start_within == secs(600)
    }),
    ("run_time", "1 h", |limits| limits.run_time == secs(3600)),
    ("cancel_grace", "0", |limits| limits.cancel_grace.is_zero()),
    ("keep_for", "24 h", |limits| limits.keep_for == DAY),
    ("tombstone_for", "24 h", |limits| {
        limits.tombstone_for == DAY
    }),
    ("tombstones", "100,000", |limits| {
        limits.tombstones == 100_000
    }),
    ("stored", "100,000", |limits| limits.stored == 100_000),
    ("stored_bytes", "256 MiB", |limits| {
        limits.stored_bytes == 256 * MIB
    }),
    ("wait", "30 s", |limits| limits.wait == secs(30)),
    ("readers", "10,000", |limits| limits.readers == 10_000),
    ("readers_per_operation", "100", |limits| {
        limits.readers_per_operation == 100
    }),
    ("retry_after", "1 s", |limits| limits.retry_after == secs(1)),
];

/// The documentation of each field.
fn documented(source: &str) -> Vec<(String, String)> {
    let (_, fields) = source.split_once("pub struct Limits {").unwrap();
    let (fields, _) = fields.split_once("\n}").unwrap();
    let (mut docs, mut all) = (String::new(), Vec::new());
    for line in fields.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            docs.push_str(text);
        } else if let Some(field) = line.strip_prefix("pub ") {
            let (name, _) = field.split_once(':').unwrap();
            all.push((name.to_owned(), std::mem::take(&mut docs)));
        }
    }
    all
}

#[test]
fn every_bound_has_its_default_and_is_documented_with_it() {
    let defaults = Limits::default();
    let documented = documented(include_str!("../../src/operations/limits.rs"));
    let names: Vec<_> = BOUNDS.iter().map(|(name, ..)| *name).collect();
    let fields: Vec<_> = documented.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        fields, names,
        "a bound is missing here, or stands in another place"
    );
    let guide = include_str!("../../src/docs/guide.md");
    for ((name, text, is_so), (_, docs)) in BOUNDS.iter().zip(&documented) {
        assert!(is_so(&defaults), "{name}");
        assert!(docs.contains(&format!("Default {text}")), "{name}: {docs}");
        let row = guide
            .lines()
            .find(|line| line.starts_with('|') && line.contains(&format!("(Limits::{name})")))
            .unwrap_or_else(|| panic!("the guide does not know {name}"));
        assert!(row.contains(text), "{row}");
    }
}

fn with(operations: &Operations, handler: &Handler) -> Client<Wrapped<Handler>> {
    client(operations, handler)
}

fn sized(length: usize) -> Request<Body> {
    post("/reports").body(full(vec![b'x'; length])).unwrap()
}

/// Asserts that nothing of a request is left.
#[track_caller]
fn is_idle(operations: &Operations) {
    assert_eq!(operations.usage(), Usage::default());
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_in_whole_seconds_of_at_least_one() {
    for (delay, told) in [
        (Duration::ZERO, "1"),
        (Duration::from_millis(1), "1"),
        (secs(1), "1"),
        (Duration::from_millis(1001), "2"),
        (secs(90), "90"),
        (DAY, "86400"),
    ] {
        let operations = limited(|limits| {
            limits.retry_after = delay;
            limits.running = 1;
            limits.accepted = 0;
        });
        let operations = operations.build().unwrap();
        let client = with(&operations, &takes(secs(60)));
        let accepted = client.submit().await;
        let pending = accepted.location();
        for answer in [
            accepted,
            client.get(&pending).await,
            client.get(&format!("{pending}/status")).await,
            client.get(&format!("{pending}/result")).await,
            client.delete(&format!("{pending}/result")).await,
            client.send(sized(1)).await,
        ] {
            assert_eq!(answer.header("retry-after"), Some(told), "{answer:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_may_set_its_own_delay_and_a_handler_another() {
    let operations = limited(|limits| {
        limits.running = 1;
        limits.accepted = 1;
    });
    let operations = operations.build().unwrap();
    let handler = with_handle(|handle| async move {
        handle.progress(0.5, "half");
        sleep(secs(10)).await;
        handle.retry_after(secs(60));
        sleep(secs(10)).await;
    });
    let client = Client(operations.layer().retry_after(secs(20)).wrap(handler));
    let accepted = client.submit().await;
    assert_eq!(accepted.header("retry-after"), Some("20"));
    assert!(accepted.json().get("progress").is_none());
    sleep(secs(5)).await;
    let pending = client.get(&accepted.location()).await;
    assert_eq!(pending.header("retry-after"), Some("20"));
    assert_eq!(pending.json()["progress"]["message"], "half");
    sleep(secs(10)).await;
    let pending = client.get(&accepted.location()).await;
    assert_eq!(pending.header("retry-after"), Some("60"));
    // Queued ones and refusals: the layer's own, and the engine's.
    assert_eq!(client.submit().await.header("retry-after"), Some("20"));
    assert_eq!(client.send(sized(1)).await.header("retry-after"), Some("1"));
    end_of(&operations, accepted.id()).await;
    assert_eq!(
        client.get(&accepted.location()).await.header("retry-after"),
        None
    );
}

#[test]
fn a_value_that_cannot_be_is_refused_by_its_name_outside_of_a_runtime() {
    let eleven_years = 11 * 365 * DAY;
    type Change = fn(&mut Limits, Duration);
    let times: &[(&str, Change)] = &[
        ("upload_time", |limits, time| limits.upload_time = time),
        ("start_within", |limits, time| limits.start_within = time),
        ("run_time", |limits, time| limits.run_time = time),
        ("keep_for", |limits, time| limits.keep_for = time),
        ("cancel_grace", |limits, time| limits.cancel_grace = time),
        ("tombstone_for", |limits, time| limits.tombstone_for = time),
        ("wait", |limits, time| limits.wait = time),
        ("retry_after", |limits, time| limits.retry_after = time),
    ];
    for (at, (option, set)) in times.iter().enumerate() {
        for (time, can_be) in [
            (Duration::ZERO, at >= 4),
            (secs(1), true),
            (eleven_years, false),
            (Duration::MAX, false),
        ] {
            let built = limited(|limits| set(limits, time)).build();
            match built {
                Ok(_) => assert!(can_be, "{option} {time:?}"),
                Err(error) => assert_eq!((error.option, can_be), (*option, false)),
            }
        }
    }
    type Zero = (&'static str, fn(&mut Limits), bool);
    let zeros: &[Zero] = &[
        ("target", |limits| limits.target = 0, false),
        ("running", |limits| limits.running = 0, false),
        ("stored", |limits| limits.stored = 0, false),
        ("stored_bytes", |limits| limits.stored_bytes = 0, false),
        ("accepted", |limits| limits.accepted = 0, true),
        ("request_body", |limits| limits.request_body = 0, true),
        ("response_body", |limits| limits.response_body = 0, true),
        ("uploading_bytes", |limits| limits.uploading_bytes = 0, true),
        ("discards", |limits| limits.discards = 0, true),
        ("tombstones", |limits| limits.tombstones = 0, true),
        ("readers", |limits| limits.readers = 0, true),
        (
            "readers_per_operation",
            |limits| limits.readers_per_operation = 0,
            true,
        ),
    ];
    for (option, set, can_be) in zeros {
        let built = limited(set).build();
        let refused = built.map(drop).map_err(|error| error.option);
        assert_eq!(refused, if *can_be { Ok(()) } else { Err(*option) });
    }
    assert_eq!(
        times.len() + zeros.len(),
        BOUNDS.len(),
        "a bound is not tried here"
    );
    let largest = limited(|limits| {
        limits.running = usize::MAX;
        limits.accepted = usize::MAX;
        limits.discards = usize::MAX;
        limits.readers = usize::MAX;
        limits.readers_per_operation = usize::MAX;
        limits.stored = u64::MAX;
        limits.stored_bytes = u64::MAX;
        limits.tombstones = u64::MAX;
        limits.uploading_bytes = u64::MAX;
        limits.request_body = u64::MAX;
        limits.response_body = u64::MAX;
    });
    assert!(largest.build().is_ok());
}

#[test]
fn what_else_cannot_be_is_refused_by_its_name() {
    let refused = |builder: tower_lro::Builder| -> BuildError { builder.build().unwrap_err() };
    for mount in [
        "",
        "/",
        "operations",
        "/operations/",
        "/a//b",
        "/a/../b",
        "/{id}",
        "/a b",
        "/a?b",
    ] {
        assert_eq!(
            refused(Operations::builder().mount(mount)).option,
            "mount",
            "{mount}"
        );
    }
    for base in [
        "example.com",
        "/x",
        "ftp://example.com",
        "https://me:secret@example.com",
        "https://example.com/?x",
        "https://example.com/#x",
        "https://example.com/a\"b",
        "https://example.com/{id}",
        "https://example.com/ä",
        "https://example.com:65536",
        "https://[::1]:99999/api",
    ] {
        assert_eq!(
            refused(Operations::builder().base_url(base)).option,
            "base_url",
            "{base}"
        );
    }
    for base in [
        "https://example.com",
        "http://[::1]:8080/api/",
        "https://example.com/a%20b/",
    ] {
        assert!(
            Operations::builder().base_url(base).build().is_ok(),
            "{base}"
        );
    }
    let operations = Operations::builder().build().unwrap();
    assert_eq!(
        operations
            .also("/operations", Rfc::new())
            .unwrap_err()
            .option,
        "mount"
    );
    assert_eq!(
        operations.also("other", Rfc::new()).unwrap_err().option,
        "mount"
    );

    let mut limits = Limits::default();
    limits.running = 0;
    let error = refused(Operations::builder().limits(limits));
    assert!(
        error.to_string().starts_with("option `running`: "),
        "{error}"
    );
    assert!(error.message.len() > 10 && std::error::Error::source(&error).is_none());
}

#[tokio::test(start_paused = true)]
async fn what_is_built_outside_of_a_runtime_works_inside() {
    let operations = std::thread::spawn(|| Operations::builder().build().unwrap());
    let operations = operations.join().unwrap();
    let client = with(&operations, &takes(secs(1)));
    let accepted = client.submit().await;
    end_of(&operations, accepted.id()).await;
    assert_eq!(client.get(&accepted.location()).await.body, "done");
    let never: OperationId = OperationId::random();
    assert!(operations.get(never).await.unwrap().is_none());
}
