//! Every bound: its default, its name in the docs, and its own clear answer when it is hit.
#![cfg(feature = "testing")]

mod harness;

use bytes::Bytes;
use harness::*;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Version};
use http_body::Frame;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tower_lro::{
    BuildError, Limits, OperationId, Operations, Rfc, Usage, Wrapped,
    record::{Outcome, Reason},
    store::{Clock, Settled},
};

const MIB: u64 = 1 << 20;

/// Name, default as the docs write it, and whether it is so.
type Bound = (&'static str, &'static str, fn(&Limits) -> bool);

const BOUNDS: &[Bound] = &[
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
    let documented = documented(include_str!("../src/operations/limits.rs"));
    let names: Vec<_> = BOUNDS.iter().map(|(name, ..)| *name).collect();
    let fields: Vec<_> = documented.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        fields, names,
        "a bound is missing here, or stands in another place"
    );
    let guide = include_str!("../src/docs/guide.md");
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

mod uploads {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_body_over_its_bound_is_413() {
        let handler = takes(secs(1));
        let operations = limited(|limits| limits.request_body = 10).build().unwrap();
        let client = with(&operations, &handler);
        client.send(sized(11)).await.is_problem(413, "too-large");
        // Told only by its bytes.
        let (sender, body) = sending();
        send(&sender, "12345");
        send(&sender, "123456");
        drop(sender);
        let answer = client.send(post("/").body(body).unwrap()).await;
        answer.is_problem(413, "too-large");
        assert_eq!(answer.header("retry-after"), None);
        // Told by its head, and not read at all where that does no harm.
        let declared = post("/")
            .header("expect", "100-continue")
            .header("content-length", "11");
        let answer = client.send(declared.body(unread()).unwrap()).await;
        answer.is_problem(413, "too-large");
        is_idle(&operations);
        assert_eq!(handler.calls(), 0);

        assert_eq!(client.send(sized(10)).await.status, 202);
        let (sender, body) = sending();
        send(&sender, "12345");
        send(&sender, "67890");
        drop(sender);
        assert_eq!(client.send(post("/").body(body).unwrap()).await.status, 202);
    }

    #[tokio::test(start_paused = true)]
    async fn a_layer_may_take_longer_and_shorter_requests() {
        let operations = limited(|limits| limits.request_body = 10).build().unwrap();
        for (bytes, takes_eleven) in [(5, false), (11, true), (u64::MAX, true)] {
            let layer = operations.layer().request_body(bytes);
            let client = Client(layer.wrap(takes(secs(1))));
            let answer = client.send(sized(11)).await;
            assert_eq!(answer.status == 202, takes_eleven, "{bytes}: {answer:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn uploads_in_progress_have_a_bound_together() {
        let operations = limited(|limits| limits.uploading_bytes = 10)
            .build()
            .unwrap();
        let client = with(&operations, &takes(secs(1)));
        let (sender, body) = sending();
        let first = tokio::spawn({
            let client = client.clone();
            // What is announced takes no room.
            let request = post("/").header("content-length", "9").body(body);
            async move { client.send(request.unwrap()).await }
        });
        settled().await;
        assert_eq!(
            (
                operations.usage().uploading,
                operations.usage().uploading_bytes
            ),
            (1, 0)
        );
        send(&sender, "123456");
        settled().await;
        assert_eq!(operations.usage().uploading_bytes, 6);

        let refused = client.send(sized(5)).await;
        refused.is_problem(503, "full");
        assert_eq!(refused.header("retry-after"), Some("1"));
        assert_eq!(client.send(sized(4)).await.status, 202);
        drop(sender);
        assert_eq!(first.await.unwrap().status, 202);
        assert_eq!(
            (
                operations.usage().uploading,
                operations.usage().uploading_bytes
            ),
            (0, 0)
        );
        assert_eq!(client.send(sized(10)).await.status, 202);
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_that_takes_too_long_is_408() {
        let handler = takes(secs(1));
        let operations = limited(|limits| limits.upload_time = secs(3))
            .build()
            .unwrap();
        let client = with(&operations, &handler);
        let (sender, body) = sending();
        let drip = tokio::spawn(async move {
            while sender
                .send(Ok(Frame::data(Bytes::from_static(b"x"))))
                .is_ok()
            {
                sleep(secs(1)).await;
            }
        });
        let request = post("/").version(Version::HTTP_2).body(body).unwrap();
        let answer = client.send(request).await;
        answer.is_problem(408, "upload-timeout");
        assert_eq!(answer.after, secs(3));
        is_idle(&operations);
        drip.await.unwrap();
        // One that takes as long as it may is taken.
        let (sender, body) = sending();
        let late = async move {
            sleep(secs(3) - Duration::from_millis(2)).await;
            send(&sender, "late");
        };
        let request = post("/").body(body).unwrap();
        assert_eq!(tokio::join!(client.send(request), late).0.status, 202);
        settled().await;
        assert_eq!(handler.calls(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_that_breaks_is_400_and_leaves_nothing() {
        let operations = Operations::builder().build().unwrap();
        let client = with(&operations, &takes(secs(1)));
        let (sender, body) = sending();
        send(&sender, "half");
        sender.send(Err(Fault("reset"))).unwrap();
        let answer = client.send(post("/").body(body).unwrap()).await;
        answer.is_problem(400, "upload-failed");
        assert_eq!(answer.header("connection"), Some("close"));
        is_idle(&operations);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_goes_away_mid_upload_leaves_nothing() {
        let handler = takes(secs(1));
        let operations = Operations::builder().build().unwrap();
        let client = with(&operations, &handler);
        let (sender, body) = sending();
        send(&sender, "half");
        let request = post("/").body(body).unwrap();
        let gone = tokio::time::timeout(secs(2), client.send(request)).await;
        assert!(gone.is_err());
        is_idle(&operations);
        assert_eq!(handler.calls(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_of_a_refused_upload_is_read_away_on_http_1_up_to_a_bound() {
        let operations = limited(|limits| limits.request_body = 10).build().unwrap();
        let client = with(&operations, &takes(secs(1)));
        let mebibyte = Bytes::from(vec![b'x'; 1 << 20]);
        for (pieces, closes) in [(15, false), (18, true)] {
            let (sender, body) = sending();
            for _ in 0..pieces {
                send(&sender, mebibyte.clone());
            }
            drop(sender);
            let answer = client.send(post("/").body(body).unwrap()).await;
            answer.is_problem(413, "too-large");
            assert_eq!(
                answer.header("connection"),
                closes.then_some("close"),
                "{pieces}"
            );
        }
        // Nor for ever.
        let (_sender, body) = sending();
        let request = post("/").header("content-length", "11").body(body).unwrap();
        let answer = client.send(request).await;
        assert_eq!(
            (answer.after, answer.header("connection")),
            (secs(5), Some("close"))
        );
        // Who has not begun to send is told not to.
        let expecting = post("/")
            .header("content-length", "11")
            .header("expect", "100-Continue")
            .body(unread());
        let answer = client.send(expecting.unwrap()).await;
        assert_eq!(
            (answer.after, answer.header("connection")),
            (Duration::ZERO, Some("close"))
        );
    }
}

mod places {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn beyond_running_operations_wait_in_their_order_and_beyond_accepted_there_is_503() {
        let (handler, gate) = gated();
        let operations = limited(|limits| {
            limits.running = 2;
            limits.accepted = 3;
        });
        let operations = operations.build().unwrap();
        let client = with(&operations, &handler);
        let mut accepted = Vec::new();
        for _ in 0..5 {
            accepted.push(client.submit().await);
        }
        settled().await;
        assert_eq!(
            (operations.usage().running, operations.usage().accepted),
            (2, 3)
        );
        let refused = client.send(sized(1)).await;
        refused.is_problem(503, "full");
        assert_eq!(refused.header("retry-after"), Some("1"));
        // From the head alone.
        let request = post("/")
            .header("expect", "100-continue")
            .body(unread())
            .unwrap();
        client.send(request).await.is_problem(503, "full");

        let mut running = 2;
        for ended in 0..5 {
            gate.add_permits(1);
            end_of(&operations, accepted[ended].id()).await;
            settled().await;
            running = (running + 1).min(5);
            for (at, answer) in accepted.iter().enumerate() {
                let started = operations.get(answer.id()).await.unwrap().unwrap().started;
                assert_eq!(started.is_some(), at < running, "{at} after {ended}");
            }
        }
        assert_eq!(
            (operations.usage().running, operations.usage().accepted),
            (0, 0)
        );
        assert_eq!(client.send(sized(1)).await.status, 202);
    }

    #[tokio::test(start_paused = true)]
    async fn uploads_take_places_among_the_accepted() {
        let operations = limited(|limits| {
            limits.running = 1;
            limits.accepted = 1;
        });
        let operations = operations.build().unwrap();
        let client = with(&operations, &takes(secs(60)));
        client.submit().await;
        let (sender, body) = sending();
        let uploading = tokio::spawn({
            let client = client.clone();
            async move { client.send(post("/").body(body).unwrap()).await }
        });
        settled().await;
        client.send(sized(1)).await.is_problem(503, "full");
        sender.send(Err(Fault("reset"))).unwrap();
        assert_eq!(uploading.await.unwrap().status, 400);
        assert_eq!(client.send(sized(1)).await.status, 202);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_operation_gives_its_place_back_at_once() {
        let operations = limited(|limits| {
            limits.running = 1;
            limits.accepted = 1;
        });
        let operations = operations.build().unwrap();
        let client = with(&operations, &takes(secs(60)));
        let (running, queued) = (client.submit().await, client.submit().await);
        for id in [queued.id(), running.id()] {
            client.send(sized(1)).await.is_problem(503, "full");
            operations.cancel(id).await.unwrap();
            settled().await;
            client.submit().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_gets_no_turn_in_time_is_not_started() {
        let (handler, _gate) = gated();
        let operations = limited(|limits| {
            limits.running = 1;
            limits.start_within = secs(20);
        });
        let operations = operations.build().unwrap();
        let client = with(&operations, &handler);
        client.submit().await;
        let began = Instant::now();
        let second = client.submit().await;
        let record = end_of(&operations, second.id()).await;
        assert_eq!(began.elapsed(), secs(20));
        assert!(record.started.is_none());
        let answer = client.get(&second.location()).await;
        answer.is_problem(500, "not-started");
        assert_eq!(answer.header("operation-outcome"), Some("failed"));
        assert_eq!(answer.header("retry-after"), None);
        assert_eq!((handler.calls(), operations.usage().accepted), (1, 0));
    }
}

mod runs {
    use super::*;

    /// Runs for this long, and tells whether it was dropped before.
    fn watched(time: Duration) -> (Handler, Arc<AtomicBool>) {
        struct Guard(Arc<AtomicBool>);
        impl Drop for Guard {
            fn drop(&mut self) {
                self.0.store(true, SeqCst);
            }
        }
        let dropped = Arc::new(AtomicBool::new(false));
        let flag = dropped.clone();
        let handler = handler(move |_| {
            let guard = Guard(flag.clone());
            async move {
                sleep(time).await;
                std::mem::forget(guard);
                Response::new(full("done"))
            }
        });
        (handler, dropped)
    }

    #[tokio::test(start_paused = true)]
    async fn what_runs_too_long_is_timed_out_and_dropped() {
        for by_layer in [false, true] {
            let operations = limited(|limits| limits.run_time = secs(if by_layer { 9 } else { 5 }));
            let operations = operations.build().unwrap();
            let (handler, dropped) = watched(secs(60));
            let layer = operations.layer();
            let layer = if by_layer {
                layer.run_time(secs(5))
            } else {
                layer
            };
            let client = Client(layer.wrap(handler));
            let began = Instant::now();
            let accepted = client.submit().await;
            let record = end_of(&operations, accepted.id()).await;
            assert_eq!(began.elapsed(), secs(5));
            assert_eq!(
                record.ending().unwrap().outcome,
                Outcome::Failed(Reason::TimedOut)
            );
            assert!(dropped.load(SeqCst));
            let answer = client.get(&accepted.location()).await;
            answer.is_problem(504, "timed-out");
            assert_eq!(answer.header("retry-after"), None);
            assert_eq!(operations.usage().running, 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_done_just_as_its_time_is_up_is_done() {
        let operations = limited(|limits| limits.run_time = secs(5)).build().unwrap();
        let client = with(&operations, &takes(secs(5)));
        let accepted = client.submit().await;
        end_of(&operations, accepted.id()).await;
        assert_eq!(client.get(&accepted.location()).await.body, "done");
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_runs_from_the_start_and_not_while_it_waits_for_it() {
        let operations = limited(|limits| {
            limits.running = 1;
            limits.run_time = secs(5);
        });
        let operations = operations.build().unwrap();
        let client = with(&operations, &takes(secs(4)));
        client.submit().await;
        let second = client.submit().await;
        end_of(&operations, second.id()).await;
        assert_eq!(client.get(&second.location()).await.body, "done");
    }

    #[tokio::test(start_paused = true)]
    async fn a_layer_may_set_as_good_as_no_bounds() {
        let clock = Clock::manual(std::time::SystemTime::UNIX_EPOCH);
        let operations = Operations::builder().clock(clock.clone()).build().unwrap();
        let layer = operations
            .layer()
            .run_time(Duration::MAX)
            .keep_for(Duration::MAX)
            .wait(Duration::MAX)
            .retry_after(Duration::MAX)
            .request_body(u64::MAX)
            .response_body(u64::MAX);
        let client = Client(layer.wrap(takes(20 * DAY)));
        let accepted = client.submit().await;
        assert_eq!(accepted.after, secs(30));
        assert_eq!(accepted.header("retry-after"), Some("86400"));
        let record = end_of(&operations, accepted.id()).await;
        assert_eq!(record.ending().unwrap().outcome, Outcome::Succeeded);
        clock.advance(100_000 * DAY);
        assert_eq!(client.get(&accepted.location()).await.body, "done");
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_handler_has_its_grace_and_by_default_none() {
        for grace in [Duration::ZERO, secs(5)] {
            let operations = limited(|limits| limits.cancel_grace = grace)
                .build()
                .unwrap();
            let wound_up = Arc::new(AtomicBool::new(false));
            let flag = wound_up.clone();
            let handler = with_handle(move |handle| {
                let flag = flag.clone();
                async move {
                    handle.cancelled().await;
                    sleep(secs(3)).await;
                    flag.store(true, SeqCst);
                }
            });
            let client = with(&operations, &handler);
            let accepted = client.submit().await;
            start_of(&operations, accepted.id()).await;
            let document = client.delete(&accepted.location()).await;
            // The operation is over at once, whatever its handler does.
            assert_eq!(document.json()["status"], "cancelled");
            settled().await;
            assert_eq!(operations.usage().running, u64::from(!grace.is_zero()));
            sleep(secs(4)).await;
            assert_eq!(wound_up.load(SeqCst), !grace.is_zero());
            assert_eq!(operations.usage().running, 0);
            client
                .get(&accepted.location())
                .await
                .is_problem(410, "cancelled");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_overstays_its_grace_is_dropped() {
        let operations = limited(|limits| limits.cancel_grace = secs(5))
            .build()
            .unwrap();
        let (handler, dropped) = watched(secs(60));
        let client = with(&operations, &handler);
        let accepted = client.submit().await;
        start_of(&operations, accepted.id()).await;
        operations.cancel(accepted.id()).await.unwrap();
        sleep(secs(5) - Duration::from_millis(2)).await;
        assert_eq!(
            (dropped.load(SeqCst), operations.usage().running),
            (false, 1)
        );
        sleep(Duration::from_millis(4)).await;
        assert_eq!(
            (dropped.load(SeqCst), operations.usage().running),
            (true, 0)
        );
    }
}

mod responses {
    use super::*;

    /// Answers `length` bytes in pieces of ten, without telling how many there are.
    fn long(length: usize) -> Handler {
        handler(move |_| {
            let (sender, body) = sending();
            for piece in vec![b'x'; length].chunks(10) {
                send(&sender, piece.to_vec());
            }
            async { Response::new(body) }
        })
    }

    async fn outcome_of(client: &Client<Wrapped<Handler>>, operations: &Operations) -> Answer {
        let accepted = client.submit().await;
        end_of(operations, accepted.id()).await;
        client.get(&accepted.location()).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_over_its_bound_fails_as_too_large() {
        let operations = limited(|limits| limits.response_body = 95).build().unwrap();
        let told =
            |length| handler(move |_| async move { Response::new(full(vec![b'x'; length])) });
        for (handler, fits) in [
            (long(95), true),
            (long(96), false),
            (told(95), true),
            (told(96), false),
        ] {
            let answer = outcome_of(&with(&operations, &handler), &operations).await;
            if fits {
                assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 95));
            } else {
                answer.is_problem(500, "result-too-large");
                assert_eq!(answer.header("operation-outcome"), Some("failed"));
            }
        }
        let layer = operations.layer().response_body(96);
        let answer = outcome_of(&Client(layer.wrap(long(96))), &operations).await;
        assert_eq!(answer.body.len(), 96);
        assert_eq!(operations.usage().running, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_endless_response_is_cut_off_at_the_bound() {
        let operations = limited(|limits| limits.response_body = 95).build().unwrap();
        let stopped = Arc::new(AtomicBool::new(false));
        let flag = stopped.clone();
        let handler = handler(move |_| {
            let (sender, body) = sending();
            let flag = flag.clone();
            tokio::spawn(async move {
                while sender
                    .send(Ok(Frame::data(Bytes::from_static(b"x"))))
                    .is_ok()
                {
                    sleep(secs(1)).await;
                }
                flag.store(true, SeqCst);
            });
            async { Response::new(body) }
        });
        let answer = outcome_of(&with(&operations, &handler), &operations).await;
        answer.is_problem(500, "result-too-large");
        sleep(secs(2)).await;
        assert!(stopped.load(SeqCst));
        assert_eq!(operations.usage().stored_bytes, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn trailers_have_the_bound_of_the_body() {
        let operations = limited(|limits| limits.response_body = 95).build().unwrap();
        let handler = handler(|_| {
            let (sender, body) = sending();
            let value = HeaderValue::try_from("x".repeat(96)).unwrap();
            let trailers = HeaderMap::from_iter([(HeaderName::from_static("x-sum"), value)]);
            sender.send(Ok(Frame::trailers(trailers))).unwrap();
            async { Response::new(body) }
        });
        let answer = outcome_of(&with(&operations, &handler), &operations).await;
        answer.is_problem(500, "result-too-large");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_completed_from_outside_has_the_bound_too() {
        let operations = limited(|limits| limits.response_body = 95).build().unwrap();
        let client = with(&operations, &takes(secs(60)));
        let accepted = client.submit().await;
        let complete =
            |length| operations.complete(accepted.id(), Response::new(full(vec![b'x'; length])));
        let error = complete(96).await.unwrap_err();
        assert!(
            matches!(error, tower_lro::CompleteError::TooLarge),
            "{error:?}"
        );
        // And the operation goes on as before.
        assert_eq!(client.get(&accepted.location()).await.status, 202);
        assert!(matches!(complete(95).await.unwrap(), Settled::Done(_)));
    }
}

mod storage {
    use super::*;

    async fn done(client: &Client<Wrapped<Handler>>, operations: &Operations) -> String {
        let accepted = client.submit().await;
        end_of(operations, accepted.id()).await;
        // They end one after the other.
        settled().await;
        accepted.location()
    }

    async fn statuses(client: &Client<Wrapped<Handler>>, monitors: &[&String]) -> Vec<u16> {
        let mut statuses = Vec::new();
        for monitor in monitors {
            statuses.push(
                client
                    .get(&format!("{monitor}/status"))
                    .await
                    .status
                    .as_u16(),
            );
        }
        statuses
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_read_makes_room_the_first_to_end_first() {
        let operations = limited(|limits| limits.stored = 3).build().unwrap();
        let client = with(&operations, &takes(secs(1)));
        let (a, b, c) = (
            done(&client, &operations).await,
            done(&client, &operations).await,
            done(&client, &operations).await,
        );
        // In another order than they ended.
        for monitor in [&c, &a, &b] {
            assert_eq!(client.get(monitor).await.body, "done");
        }
        let mut all = vec![&a, &b, &c];
        for gone in 1..=3 {
            client.submit().await;
            let wanted: Vec<_> = (0..3).map(|at| if at < gone { 410 } else { 200 }).collect();
            assert_eq!(statuses(&client, &all).await, wanted);
        }
        client.get(&a).await.is_problem(410, "expired");
        all.clear();
        assert_eq!(
            (operations.usage().stored, operations.usage().tombstones),
            (3, 3)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_unread_or_pending_never_makes_room() {
        let operations = limited(|limits| limits.stored = 2).build().unwrap();
        let client = with(&operations, &takes(secs(60)));
        let unread = done(&client, &operations).await;
        let pending = client.submit().await.location();
        // To look at it is not to read it.
        client.get(&format!("{unread}/status")).await;
        client.call(Request::head(&unread)).await;
        client.call(Request::head(format!("{unread}/result"))).await;
        operations
            .get(unread.rsplit_once('/').unwrap().1.parse().unwrap())
            .await
            .unwrap();
        // Nor is to begin to.
        let begun = operations.status_service();
        let half = tower::ServiceExt::oneshot(begun, Request::get(&unread).body(()).unwrap()).await;
        drop(half.unwrap());

        let refused = client.send(sized(1)).await;
        refused.is_problem(503, "full");
        assert_eq!(refused.header("retry-after"), Some("1"));
        assert_eq!(statuses(&client, &[&unread, &pending]).await, [200, 200]);
        assert_eq!(client.get(&format!("{unread}/result")).await.body, "done");
        client.submit().await;
        assert_eq!(statuses(&client, &[&unread, &pending]).await, [410, 200]);
        client.send(sized(1)).await.is_problem(503, "full");
    }

    #[tokio::test(start_paused = true)]
    async fn a_redirect_to_a_result_is_not_its_delivery() {
        let operations = limited(|limits| limits.stored = 1);
        let operations = operations.dialect(Rfc::see_other()).build().unwrap();
        let client = with(&operations, &takes(secs(1)));
        let monitor = done(&client, &operations).await;
        let redirect = client.get(&monitor).await;
        assert_eq!(redirect.status, 303);
        client.send(sized(1)).await.is_problem(503, "full");
        assert_eq!(client.get(&redirect.location()).await.body, "done");
        assert_eq!(client.send(sized(1)).await.status, 202);
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_without_a_response_is_read_with_its_problem() {
        let operations = limited(|limits| limits.stored = 1).build().unwrap();
        let client = with(&operations, &takes(secs(60)));
        let accepted = client.submit().await;
        operations.cancel(accepted.id()).await.unwrap();
        client.send(sized(1)).await.is_problem(503, "full");
        client
            .get(&accepted.location())
            .await
            .is_problem(410, "cancelled");
        assert_eq!(client.send(sized(1)).await.status, 202);
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_expired_makes_room_read_or_not() {
        let operations = limited(|limits| limits.stored = 1).build().unwrap();
        let client = with(&operations, &takes(secs(1)));
        done(&client, &operations).await;
        client.send(sized(1)).await.is_problem(503, "full");
        sleep(DAY).await;
        assert_eq!(client.send(sized(1)).await.status, 202);
    }

    /// Answers as many bytes as the request has.
    fn mirror() -> Handler {
        handler(|request| async move {
            let body = http_body_util::BodyExt::collect(request.into_body()).await;
            Response::new(full(body.unwrap().to_bytes()))
        })
    }

    async fn stored(
        client: &Client<Wrapped<Handler>>,
        operations: &Operations,
        length: usize,
    ) -> String {
        let accepted = client.send(sized(length)).await;
        end_of(operations, accepted.id()).await;
        settled().await;
        accepted.location()
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_make_room_as_operations_do() {
        let operations = limited(|limits| limits.stored_bytes = 1000)
            .build()
            .unwrap();
        let client = with(&operations, &mirror());
        let (a, b, c) = (
            stored(&client, &operations, 300).await,
            stored(&client, &operations, 300).await,
            stored(&client, &operations, 300).await,
        );
        assert_eq!(operations.usage().stored_bytes, 900);
        for monitor in [&c, &b] {
            assert_eq!(client.get(monitor).await.body.len(), 300);
        }
        let d = stored(&client, &operations, 300).await;
        assert_eq!(client.get(&d).await.body.len(), 300);
        assert_eq!(
            statuses(&client, &[&a, &b, &c, &d]).await,
            [200, 410, 200, 200]
        );
        assert_eq!(operations.usage().stored_bytes, 900);

        // No room can be made for this one beside what is unread.
        let e = stored(&client, &operations, 800).await;
        client.get(&e).await.is_problem(500, "result-too-large");
        // But without a need nothing goes.
        assert_eq!(statuses(&client, &[&a, &c, &d]).await, [200, 200, 200]);
        let f = stored(&client, &operations, 700).await;
        assert_eq!(client.get(&f).await.body.len(), 700);
        assert_eq!(
            statuses(&client, &[&a, &c, &d, &f]).await,
            [200, 410, 410, 200]
        );
        assert_eq!(operations.usage().stored_bytes, 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn with_no_byte_left_there_is_503_before_anything_runs() {
        let operations = limited(|limits| limits.stored_bytes = 100).build().unwrap();
        let client = with(&operations, &mirror());
        let unread = stored(&client, &operations, 100).await;
        client.send(sized(1)).await.is_problem(503, "full");
        assert_eq!(client.get(&unread).await.body.len(), 100);
        assert_eq!(client.send(sized(1)).await.status, 202);
    }

    #[tokio::test(start_paused = true)]
    async fn running_captures_count() {
        let (sender, body) = sending();
        let body = std::sync::Mutex::new(Some(body));
        let streaming = handler(move |_| {
            let body = body.lock().unwrap().take().unwrap();
            async { Response::new(body) }
        });
        let operations = limited(|limits| limits.stored_bytes = 100).build().unwrap();
        let capturing = with(&operations, &streaming).submit().await;
        settled().await;
        assert_eq!(operations.usage().stored_bytes, 0);
        for (piece, bytes) in [(40, 40), (40, 80)] {
            send(&sender, vec![b'x'; piece]);
            settled().await;
            assert_eq!(operations.usage().stored_bytes, bytes);
        }
        // Two that do not fit beside each other: the later one fails.
        let client = with(&operations, &mirror());
        let late = stored(&client, &operations, 30).await;
        client.get(&late).await.is_problem(500, "result-too-large");
        assert_eq!(operations.usage().stored_bytes, 80);
        drop(sender);
        end_of(&operations, capturing.id()).await;
        assert_eq!(client.get(&capturing.location()).await.body.len(), 80);
        assert_eq!(operations.usage().stored_bytes, 80);
    }

    #[tokio::test(start_paused = true)]
    async fn a_capture_that_is_given_up_gives_its_bytes_back() {
        let (sender, body) = sending();
        let body = std::sync::Mutex::new(Some(body));
        let streaming = handler(move |_| {
            let body = body.lock().unwrap().take().unwrap();
            async { Response::new(body) }
        });
        let operations = Operations::builder().build().unwrap();
        let client = with(&operations, &streaming);
        let accepted = client.submit().await;
        send(&sender, vec![b'x'; 40]);
        settled().await;
        assert_eq!(operations.usage().stored_bytes, 40);
        operations.cancel(accepted.id()).await.unwrap();
        settled().await;
        assert!(sender.is_closed());
        assert_eq!(
            (operations.usage().stored_bytes, operations.usage().running),
            (0, 0)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_completed_from_outside_finds_room_or_says_so() {
        let operations = limited(|limits| limits.stored_bytes = 100).build().unwrap();
        let client = with(&operations, &takes(secs(60)));
        let accepted = client.submit().await;
        let complete =
            |length| operations.complete(accepted.id(), Response::new(full(vec![b'x'; length])));
        let error = complete(101).await.unwrap_err();
        assert!(
            matches!(error, tower_lro::CompleteError::TooLarge),
            "{error:?}"
        );
        assert_eq!(operations.usage().stored_bytes, 0);
        complete(100).await.unwrap();
        assert_eq!(operations.usage().stored_bytes, 100);
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_ended_is_kept_for_its_time_and_then_remembered_for_its_own() {
        let operations = limited(|limits| {
            limits.keep_for = secs(100);
            limits.tombstone_for = secs(50);
        });
        let operations = operations.build().unwrap();
        for (layer, kept) in [
            (operations.layer(), 100),
            (operations.layer().keep_for(secs(10)), 10),
            (operations.layer().keep_for(secs(1000)), 1000),
        ] {
            let client = Client(layer.wrap(takes(secs(1))));
            let accepted = client.submit().await;
            let record = end_of(&operations, accepted.id()).await;
            assert_eq!(record.submission.keep_for, secs(kept));
            let tick = Duration::from_millis(10);
            sleep(secs(kept) - tick).await;
            assert_eq!(client.get(&accepted.location()).await.body, "done");
            sleep(tick).await;
            client
                .get(&accepted.location())
                .await
                .is_problem(410, "expired");
            assert!(operations.get(accepted.id()).await.unwrap().is_none());
            // The sweeper may come a moment later, and the tombstone stands from then on.
            sleep(secs(50) - tick).await;
            client
                .get(&accepted.location())
                .await
                .is_problem(410, "expired");
            sleep(secs(1)).await;
            client
                .get(&accepted.location())
                .await
                .is_problem(404, "unknown");
            sleep(secs(1)).await;
            is_idle(&operations);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_their_number_the_oldest_tombstones_go_first() {
        let operations = limited(|limits| limits.tombstones = 2).build().unwrap();
        let client = with(&operations, &takes(secs(1)));
        let mut monitors = Vec::new();
        for _ in 0..4 {
            let monitor = done(&client, &operations).await;
            assert_eq!(
                client.delete(&format!("{monitor}/result")).await.status,
                204
            );
            monitors.push(monitor);
            settled().await;
        }
        let monitors: Vec<_> = monitors.iter().collect();
        assert_eq!(statuses(&client, &monitors).await, [404, 404, 410, 410]);
        assert_eq!(operations.usage().tombstones, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn without_tombstones_what_is_gone_never_was() {
        for change in [
            |limits: &mut Limits| limits.tombstones = 0,
            |limits: &mut Limits| {
                limits.tombstone_for = Duration::ZERO;
            },
        ] {
            let operations = limited(change).build().unwrap();
            let client = with(&operations, &takes(secs(1)));
            let monitor = done(&client, &operations).await;
            client.delete(&format!("{monitor}/result")).await;
            client.get(&monitor).await.is_problem(404, "unknown");
            is_idle(&operations);
        }
    }
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
