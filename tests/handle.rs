//! What handlers say through their handle, and what programs do with operations.
#![cfg(feature = "testing")]

mod harness;

use bytes::Bytes;
use harness::*;
use http::{Request, Response, Uri, response};
use std::{
    collections::BTreeMap,
    num::NonZeroU16,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    sync::{Semaphore, oneshot},
    time::{sleep, timeout},
};
use tower_lro::{
    CompleteError, MemoryStore, MetadataError, OperationHandle, OperationId, Operations, Owner,
    Record, Usage, Wrapped,
    record::{Content, Outcome, Reason},
    store::{ListQuery, Settled, StateSet},
};

fn operations() -> Operations {
    Operations::builder().build().unwrap()
}

/// A handler that hands its handle out and then waits.
fn handing() -> (Handler, Arc<Mutex<Vec<OperationHandle>>>, Arc<Semaphore>) {
    let handles = Arc::new(Mutex::new(Vec::new()));
    let gate = Arc::new(Semaphore::new(0));
    let (out, wait) = (handles.clone(), gate.clone());
    let handler = with_handle(move |handle| {
        out.lock().unwrap().push(handle);
        let gate = wait.clone();
        async move { gate.acquire().await.unwrap().forget() }
    });
    (handler, handles, gate)
}

struct Running {
    operations: Operations,
    client: Client<Wrapped<Handler>>,
    handle: OperationHandle,
    gate: Arc<Semaphore>,
    monitor: String,
}

impl Running {
    async fn new() -> Self {
        Self::of(operations()).await
    }

    async fn of(operations: Operations) -> Self {
        let (handler, handles, gate) = handing();
        let client = client(&operations, &handler);
        let accepted = client.submit().await;
        start_of(&operations, accepted.id()).await;
        let handle = handles.lock().unwrap().pop().unwrap();
        let monitor = accepted.location();
        assert_eq!(handle.id(), accepted.id());
        Self {
            operations,
            client,
            handle,
            gate,
            monitor,
        }
    }

    async fn status(&self) -> Answer {
        self.client.get(&format!("{}/status", self.monitor)).await
    }

    async fn document(&self) -> serde_json::Value {
        self.status().await.json()
    }

    async fn record(&self) -> Record {
        self.operations
            .get(self.handle.id())
            .await
            .unwrap()
            .unwrap()
    }

    async fn end(&self) -> Record {
        self.gate.add_permits(1);
        end_of(&self.operations, self.handle.id()).await
    }
}

mod says {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn progress_is_seen_at_once_and_stays_after_the_end() {
        let running = Running::new().await;
        assert!(running.document().await.get("progress").is_none());
        let cases = [
            (
                0.4,
                "rendering",
                serde_json::json!({"fraction": 0.4, "message": "rendering"}),
            ),
            (1.5, "", serde_json::json!({"fraction": 1.0})),
            (-1.0, "", serde_json::json!({"fraction": 0.0})),
            (f32::INFINITY, "", serde_json::json!({"fraction": 1.0})),
            (f32::NEG_INFINITY, "", serde_json::json!({"fraction": 0.0})),
            (
                f32::NAN,
                "no idea",
                serde_json::json!({"message": "no idea"}),
            ),
            (0.5, "\"quoted\" \\ \u{1} ä", {
                serde_json::json!({"fraction": 0.5, "message": "\"quoted\" \\ \u{1} ä"})
            }),
        ];
        for (fraction, message, shown) in cases {
            running.handle.progress(fraction, message);
            let progress = running.document().await["progress"].clone();
            assert_eq!(progress["message"], shown["message"]);
            assert_eq!(
                progress["fraction"]
                    .as_f64()
                    .map(|fraction| fraction as f32),
                shown["fraction"].as_f64().map(|fraction| fraction as f32)
            );
        }
        running.handle.progress(f32::NAN, String::new());
        assert!(running.document().await.get("progress").is_none());
        running.handle.progress(0.75, String::from("last words"));
        running.end().await;
        let document = running.document().await;
        assert_eq!(document["status"], "succeeded");
        assert_eq!(document["progress"]["message"], "last words");
    }

    #[tokio::test(start_paused = true)]
    async fn each_word_is_a_change() {
        let running = Running::new().await;
        let mut tags = vec![running.status().await.header("etag").unwrap().to_owned()];
        let mut revision = running.record().await.revision;
        let words: [fn(&OperationHandle); 4] = [
            |handle| handle.progress(0.5, "half"),
            |handle| handle.metadata(&7).unwrap(),
            |handle| handle.resource(&Uri::from_static("/reports/7")),
            |handle| handle.retry_after(secs(5)),
        ];
        for word in words {
            word(&running.handle);
            let tag = running.status().await.header("etag").unwrap().to_owned();
            assert!(!tags.contains(&tag));
            tags.push(tag);
            let record = running.record().await;
            assert!(record.revision > revision);
            revision = record.revision;
        }
        running.end().await;
        let tag = running.status().await.header("etag").unwrap().to_owned();
        assert!(!tags.contains(&tag));
    }

    #[tokio::test(start_paused = true)]
    async fn metadata_is_any_json_of_at_most_4_kib() {
        let running = Running::new().await;
        let pages = BTreeMap::from([("pages", 7), ("of", 9)]);
        running.handle.metadata(&pages).unwrap();
        let shown = serde_json::json!({"pages": 7, "of": 9});
        assert_eq!(running.document().await["metadata"], shown);
        // Two quotes and the text.
        running.handle.metadata(&"x".repeat(4094)).unwrap();
        assert_eq!(running.document().await["metadata"], "x".repeat(4094));
        let error = running.handle.metadata(&"x".repeat(4095)).unwrap_err();
        assert!(matches!(error, MetadataError::TooLong), "{error:?}");
        assert!(std::error::Error::source(&error).is_none());
        // Escapes count as they are written.
        let error = running.handle.metadata(&"\"".repeat(2048)).unwrap_err();
        assert!(matches!(error, MetadataError::TooLong), "{error:?}");
        let unwritable = BTreeMap::from([((1, 2), 3)]);
        let error = running.handle.metadata(&unwritable).unwrap_err();
        assert!(matches!(error, MetadataError::Json(_)), "{error:?}");
        assert!(std::error::Error::source(&error).is_some());
        // What was attached before stays.
        assert_eq!(running.document().await["metadata"], "x".repeat(4094));
        running.handle.metadata(&()).unwrap();
        assert!(running.document().await["metadata"].is_null());
        running.end().await;
        assert!(running.document().await["metadata"].is_null());
        assert!(
            running
                .document()
                .await
                .as_object()
                .unwrap()
                .contains_key("metadata")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_resource_is_shown_as_it_is_given() {
        let running = Running::new().await;
        for uri in [
            "/reports/7?x=1",
            "https://example.com/reports/7",
            "reports:443",
        ] {
            running.handle.resource(&uri.parse().unwrap());
            assert_eq!(running.document().await["resource"], uri);
        }
        running.end().await;
        assert_eq!(running.document().await["resource"], "reports:443");
    }

    #[tokio::test(start_paused = true)]
    async fn the_retry_delay_is_on_every_pending_answer_and_on_no_other() {
        let running = Running::new().await;
        for (delay, told) in [
            (Duration::ZERO, "1"),
            (Duration::from_millis(1500), "2"),
            (secs(90), "90"),
            (Duration::MAX, "86400"),
        ] {
            running.handle.retry_after(delay);
            for answer in [
                running.client.get(&running.monitor).await,
                running.status().await,
                running
                    .client
                    .get(&format!("{}/result", running.monitor))
                    .await,
                running
                    .client
                    .delete(&format!("{}/result", running.monitor))
                    .await,
            ] {
                assert_eq!(answer.header("retry-after"), Some(told), "{answer:?}");
            }
        }
        running.end().await;
        for path in ["", "/status", "/result"] {
            let answer = running
                .client
                .get(&format!("{}{path}", running.monitor))
                .await;
            assert_eq!(answer.header("retry-after"), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn words_do_not_take_each_others_place() {
        let running = Running::new().await;
        running.handle.metadata(&1).unwrap();
        running.handle.resource(&Uri::from_static("/r"));
        running.handle.retry_after(secs(9));
        running.handle.progress(0.5, "half");
        let report = running.record().await.report.unwrap();
        assert_eq!(report.metadata.as_ref().unwrap().get(), "1");
        assert_eq!(
            (report.resource.as_deref(), report.retry_after),
            (Some("/r"), Some(secs(9)))
        );
        assert_eq!(
            (report.fraction, report.message.as_deref()),
            (Some(0.5), Some("half"))
        );
        assert_eq!(
            running.end().await.report.unwrap().message.as_deref(),
            Some("half")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_attempt_is_1_and_shown() {
        let running = Running::new().await;
        assert_eq!(
            (
                running.handle.attempt(),
                running.document().await["attempt"].as_u64()
            ),
            (1, Some(1))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_end_nothing_is_heard() {
        let running = Running::new().await;
        running.handle.progress(0.5, "half");
        running.end().await;
        settled().await;
        let before = (running.document().await, running.status().await.headers);
        running.handle.progress(0.9, "too late");
        running.handle.metadata(&7).unwrap();
        assert_eq!(
            (running.document().await, running.status().await.headers),
            before
        );
        assert!(running.handle.is_cancelled());
        running.handle.cancelled().await;
        assert!(running.handle.detach().await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn last_words_are_heard_however_it_ends() {
        for end in ["cancel", "complete", "panic", "drain"] {
            let operations = operations();
            let handler = with_handle(move |handle| async move {
                handle.progress(0.5, "last words");
                match end {
                    "panic" => panic!("the secret"),
                    _ => std::future::pending().await,
                }
            });
            let client = client(&operations, &handler);
            let id = client.submit().await.id();
            settled().await;
            match end {
                "cancel" => drop(operations.cancel(id).await.unwrap()),
                "complete" => drop(
                    operations
                        .complete(id, Response::new(empty()))
                        .await
                        .unwrap(),
                ),
                "drain" => drop(operations.drain(secs(1)).await),
                _ => {}
            }
            let record = end_of(&operations, id).await;
            let message = record
                .report
                .as_ref()
                .and_then(|report| report.message.as_deref());
            assert_eq!(message, Some("last words"), "{end}");
            assert!(record.started.is_some(), "{end}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_the_tag_of_a_last_word_hears_of_the_end() {
        // A word that comes while the end is written is shown and then lost; its tag must not be the end's.
        let store = Faulty::default();
        let running =
            Running::of(Operations::builder().store(store.clone()).build().unwrap()).await;
        store.set_slow(2);
        let cancelling = tokio::spawn({
            let (operations, id) = (running.operations.clone(), running.handle.id());
            async move { operations.cancel(id).await.unwrap() }
        });
        sleep(secs(1)).await;
        running.handle.progress(0.9, "a last word");
        store.set_slow(0);
        let word = running.status().await;
        assert_eq!(word.json()["progress"]["message"], "a last word");
        cancelling.await.unwrap();
        let request = Request::get(format!("{}/status", running.monitor));
        let tag = word.header("etag").unwrap();
        let answer = running
            .client
            .call(request.header("if-none-match", tag))
            .await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["status"]),
            (200, &"cancelled".into())
        );
    }
}

mod is_told {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_hears_of_a_cancel_an_end_from_outside_a_time_limit_and_a_shutdown() {
        for end in ["cancel", "complete", "time", "drain"] {
            let operations = limited(|limits| limits.run_time = secs(100))
                .build()
                .unwrap();
            let running = Running::of(operations).await;
            let handle = running.handle.clone();
            assert!(!handle.is_cancelled());
            let hears = tokio::spawn(async move { handle.cancelled().await });
            settled().await;
            assert!(!hears.is_finished());
            let id = running.handle.id();
            match end {
                "cancel" => drop(running.operations.cancel(id).await.unwrap()),
                "complete" => {
                    let response = Response::new(empty());
                    drop(running.operations.complete(id, response).await.unwrap());
                }
                "drain" => drop(running.operations.drain(secs(1)).await),
                _ => drop(end_of(&running.operations, id).await),
            }
            timeout(secs(1), hears).await.expect(end).unwrap();
            assert!(running.handle.is_cancelled());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn dropping_the_wait_for_a_cancel_changes_nothing() {
        let running = Running::new().await;
        assert!(timeout(secs(1), running.handle.cancelled()).await.is_err());
        assert!(!running.handle.is_cancelled());
        assert_eq!(
            running.end().await.ending().unwrap().outcome,
            Outcome::Succeeded
        );
    }
}

mod outlives {
    use super::*;
    use std::sync::Weak;

    #[tokio::test(start_paused = true)]
    async fn a_handle_that_is_kept_keeps_nothing_alive() {
        let store = Arc::new(MemoryStore::default());
        let kept: Weak<MemoryStore> = Arc::downgrade(&store);
        let hook = Arc::new(());
        let hooked = Arc::downgrade(&hook);
        let operations = Operations::builder()
            .store(store)
            .on_end(move |_| drop(hook.clone()))
            .build()
            .unwrap();
        let tasks = tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks();
        let handle = {
            let running = Running::of(operations).await;
            // Readers have come and gone.
            let request = Request::get(&running.monitor).header("prefer", "wait=1");
            running.client.call(request).await;
            running.handle.progress(0.5, "half");
            running.end().await;
            running.handle.clone()
        };
        settled().await;
        assert!(kept.upgrade().is_none() && hooked.upgrade().is_none());
        let now = tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks();
        assert_eq!(now, tasks, "a task goes on");

        handle.progress(0.9, "hello?");
        handle.metadata(&1).unwrap();
        handle.resource(&Uri::from_static("/r"));
        handle.retry_after(secs(1));
        assert!(handle.is_cancelled() && handle.detach().await.is_err());
        assert_eq!(handle.attempt(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn running_work_goes_on_after_the_last_handle_and_then_all_goes() {
        let store = Arc::new(MemoryStore::default());
        let kept = Arc::downgrade(&store);
        let ended = Arc::new(AtomicUsize::new(0));
        let count = ended.clone();
        let builder = Operations::builder().store(store).on_end(move |_| {
            count.fetch_add(1, SeqCst);
        });
        let operations = builder.build().unwrap();
        client(&operations, &takes(secs(10))).submit().await;
        drop(operations);
        sleep(secs(9)).await;
        assert!(kept.upgrade().is_some());
        sleep(secs(2)).await;
        assert!(kept.upgrade().is_none());
        assert_eq!(ended.load(SeqCst), 1);
    }
}

mod detached {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_end_comes_from_whoever_completes_it() {
        let operations = operations();
        let handler = with_handle(|handle| async move {
            handle.detach().await.unwrap();
            // Again: nothing else.
            handle.detach().await.unwrap();
        });
        let client = client(&operations, &handler);
        let accepted = client.submit().await;
        sleep(secs(60)).await;
        let pending = client.get(&accepted.location()).await;
        assert_eq!(
            (pending.status.as_u16(), &pending.json()["status"]),
            (202, &"running".into())
        );
        let usage = operations.usage();
        assert_eq!((usage.accepted, usage.running, usage.stored), (0, 0, 1));

        let response = Response::builder()
            .status(201)
            .header("location", "7")
            .header("connection", "close, x-hop")
            .header("x-hop", "1");
        let settled = operations.complete(accepted.id(), response.body(full("made")).unwrap());
        let Settled::Done(record) = settled.await.unwrap() else {
            panic!("it has not ended before")
        };
        assert_eq!(record.ending().unwrap().outcome, Outcome::Succeeded);
        let answer = client.get(&accepted.location()).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.body[..]),
            (201, &b"made"[..])
        );
        // By the replay table: as a handler's own.
        assert_eq!(answer.header("location"), Some("/7"));
        assert_eq!(
            (answer.header("x-hop"), answer.header("connection")),
            (None, None)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_handlers_own_end_does_not_count() {
        for end in ["response", "error", "panic"] {
            let operations = operations();
            let handler = try_handler(move |request| async move {
                let handle = request.extensions().get::<OperationHandle>().unwrap();
                handle.detach().await.unwrap();
                sleep(secs(1)).await;
                match end {
                    "response" => Ok(Response::new(full("not this"))),
                    "error" => Err(Fault("nor this")),
                    _ => panic!("nor this"),
                }
            });
            let client = client(&operations, &handler);
            let accepted = client.submit().await;
            sleep(secs(60)).await;
            assert_eq!(client.get(&accepted.location()).await.status, 202, "{end}");
            assert_eq!(operations.usage().running, 0, "{end}");
            operations
                .complete(accepted.id(), Response::new(full("this")))
                .await
                .unwrap();
            assert_eq!(client.get(&accepted.location()).await.body, "this", "{end}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn its_run_time_ends_it_when_nobody_else_does() {
        let ended = Arc::new(Mutex::new(Vec::new()));
        let seen = ended.clone();
        let builder = limited(|limits| limits.run_time = secs(100));
        let operations = builder
            .on_end(move |record| seen.lock().unwrap().push(record.ending().unwrap().outcome))
            .build()
            .unwrap();
        let handler = with_handle(|handle| async move {
            sleep(secs(30)).await;
            handle.detach().await.unwrap();
        });
        let client = client(&operations, &handler);
        let accepted = client.submit().await;
        sleep(secs(129)).await;
        assert_eq!(client.get(&accepted.location()).await.status, 202);
        sleep(secs(2)).await;
        client
            .get(&accepted.location())
            .await
            .is_problem(504, "timed-out");
        assert_eq!(*ended.lock().unwrap(), [Outcome::Failed(Reason::TimedOut)]);
        let late = operations
            .complete(accepted.id(), Response::new(empty()))
            .await;
        assert!(matches!(late, Ok(Settled::Stands(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancel_ends_it() {
        let operations = operations();
        let handler = with_handle(|handle| async move { handle.detach().await.unwrap() });
        let client = client(&operations, &handler);
        let accepted = client.submit().await;
        settled().await;
        assert_eq!(
            client.delete(&accepted.location()).await.json()["status"],
            "cancelled"
        );
        let late = operations
            .complete(accepted.id(), Response::new(empty()))
            .await;
        assert!(matches!(late, Ok(Settled::Stands(_))));
        client
            .get(&accepted.location())
            .await
            .is_problem(410, "cancelled");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_handler_has_spawned_goes_on_with_its_handle() {
        let running = Running::new().await;
        running.handle.progress(0.1, "handed over");
        running.handle.detach().await.unwrap();
        running.gate.add_permits(1);
        settled().await;
        // The handler has returned.
        assert_eq!(running.operations.usage().running, 0);
        assert!(!running.handle.is_cancelled());
        let tag = running.status().await.header("etag").unwrap().to_owned();
        running.handle.progress(0.6, "in the background");
        let status = running.status().await;
        assert_eq!(status.json()["progress"]["message"], "in the background");
        assert_ne!(status.header("etag"), Some(&*tag));

        let (hears, heard) = oneshot::channel();
        let handle = running.handle.clone();
        tokio::spawn(async move {
            handle.cancelled().await;
            hears.send(()).unwrap();
        });
        running
            .operations
            .cancel(running.handle.id())
            .await
            .unwrap();
        timeout(secs(1), heard).await.unwrap().unwrap();
        assert_eq!(
            running.document().await["progress"]["message"],
            "in the background"
        );
        running.handle.progress(0.9, "too late");
        assert_eq!(
            running.document().await["progress"]["message"],
            "in the background"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_watches_a_detached_operation_hears_of_its_time_limit() {
        let operations = limited(|limits| limits.run_time = secs(100))
            .build()
            .unwrap();
        let running = Running::of(operations).await;
        running.handle.detach().await.unwrap();
        running.gate.add_permits(1);
        settled().await;
        running.handle.progress(0.6, "in the background");
        let tag = running.status().await.header("etag").unwrap().to_owned();
        let mut answer;
        loop {
            let request = Request::get(format!("{}/status", running.monitor));
            let request = request
                .header("prefer", "wait=30")
                .header("if-none-match", &tag);
            answer = running.client.call(request).await;
            if answer.status != 304 {
                break;
            }
            assert!(!answer.after.is_zero(), "it is to be waited for");
        }
        assert_eq!(
            answer.json()["problem"]["type"],
            "urn:tower-lro:problem:timed-out"
        );
        assert!(running.handle.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_neither_waits_for_it_nor_ends_it() {
        let running = Running::new().await;
        running.handle.detach().await.unwrap();
        running.gate.add_permits(1);
        settled().await;
        let drained = running.operations.drain(secs(5)).await;
        assert_eq!((drained.finished, drained.interrupted), (0, 0));
        assert!(!running.record().await.phase().is_ended());
        let response = Response::new(full("later"));
        running
            .operations
            .complete(running.handle.id(), response)
            .await
            .unwrap();
        assert_eq!(running.client.get(&running.monitor).await.body, "later");
    }

    #[tokio::test(start_paused = true)]
    async fn a_detach_that_the_store_refuses_leaves_the_end_to_the_handler() {
        let store = Faulty::default();
        let running =
            Running::of(Operations::builder().store(store.clone()).build().unwrap()).await;
        store.set_down(true);
        running.handle.detach().await.unwrap_err();
        running.handle.progress(0.5, "still heard");
        store.set_down(false);
        let record = running.end().await;
        assert_eq!(record.ending().unwrap().outcome, Outcome::Succeeded);
        assert_eq!(
            record.report.unwrap().message.as_deref(),
            Some("still heard")
        );
    }
}

mod complete {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_ends_what_runs_and_stops_its_handler() {
        let running = Running::new().await;
        let id = running.handle.id();
        let settled_ = running
            .operations
            .complete(id, Response::new(full("from outside")))
            .await;
        assert!(matches!(settled_, Ok(Settled::Done(_))));
        settled().await;
        assert!(running.handle.is_cancelled());
        assert_eq!(running.operations.usage().running, 0);
        running.gate.add_permits(1);
        settled().await;
        assert_eq!(
            running.client.get(&running.monitor).await.body,
            "from outside"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_what_waits_for_its_turn_and_that_never_runs() {
        let operations = limited(|limits| limits.running = 1).build().unwrap();
        let (handler, gate) = gated();
        let client = client(&operations, &handler);
        let first = client.submit().await;
        let second = client.submit().await;
        operations
            .complete(second.id(), Response::new(full("from outside")))
            .await
            .unwrap();
        settled().await;
        assert_eq!(operations.usage().accepted, 0);
        gate.add_permits(2);
        end_of(&operations, first.id()).await;
        settled().await;
        assert_eq!(handler.calls(), 1);
        assert_eq!(client.get(&second.location()).await.body, "from outside");
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_ended_stands() {
        let running = Running::new().await;
        running.end().await;
        let id = running.handle.id();
        for _ in 0..2 {
            let late = running
                .operations
                .complete(id, Response::new(full("late")))
                .await
                .unwrap();
            let Settled::Stands(record) = late else {
                panic!("{late:?}")
            };
            assert_eq!(record.ending().unwrap().outcome, Outcome::Succeeded);
        }
        assert_eq!(running.client.get(&running.monitor).await.body, "done");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_gone_or_never_was_is_unknown() {
        let running = Running::new().await;
        running.end().await;
        let id = running.handle.id();
        running.operations.forget(id).await.unwrap();
        for id in [id, OperationId::random()] {
            let answer = running
                .operations
                .complete(id, Response::new(empty()))
                .await;
            assert!(matches!(answer, Ok(Settled::Unknown)));
            assert!(matches!(
                running.operations.cancel(id).await,
                Ok(Settled::Unknown)
            ));
            assert!(matches!(
                running.operations.forget(id).await,
                Ok(Settled::Unknown)
            ));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_that_fails_or_is_interim_leaves_the_operation_as_it_was() {
        let running = Running::new().await;
        let id = running.handle.id();
        let (sender, body) = sending();
        send(&sender, "half");
        sender.send(Err(Fault("reset"))).unwrap();
        let error = running
            .operations
            .complete(id, Response::new(body))
            .await
            .unwrap_err();
        assert!(matches!(error, CompleteError::Body(_)), "{error:?}");
        assert_eq!(
            std::error::Error::source(&error).unwrap().to_string(),
            "reset"
        );
        for status in [100, 101, 103] {
            let interim = Response::builder().status(status).body(empty()).unwrap();
            let error = running.operations.complete(id, interim).await.unwrap_err();
            assert!(matches!(error, CompleteError::Interim), "{error:?}");
        }
        assert_eq!(running.operations.usage().stored_bytes, 0);
        running.end().await;
        assert_eq!(running.client.get(&running.monitor).await.body, "done");
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_down_says_so() {
        let store = Faulty::default();
        let running =
            Running::of(Operations::builder().store(store.clone()).build().unwrap()).await;
        let (operations, id) = (&running.operations, running.handle.id());
        store.set_down(true);
        let error = operations
            .complete(id, Response::new(empty()))
            .await
            .unwrap_err();
        assert!(matches!(error, CompleteError::Store(_)), "{error:?}");
        assert!(operations.cancel(id).await.is_err() && operations.get(id).await.is_err());
        assert!(operations.forget(id).await.is_err());
        assert!(operations.list(&ListQuery::all()).await.is_err());
        let since = tower_lro::record::Revision(0);
        assert!(operations.changed(id, since).await.is_err());
        running
            .client
            .get(&running.monitor)
            .await
            .is_problem(503, "unavailable");
        store.set_down(false);
        assert!(!running.handle.is_cancelled());
        running.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_interim_response_of_a_handler_is_an_error() {
        let operations = operations();
        let handler = handler(|_| async { Response::builder().status(101).body(empty()).unwrap() });
        let client = client(&operations, &handler);
        let accepted = client.submit().await;
        end_of(&operations, accepted.id()).await;
        client
            .get(&accepted.location())
            .await
            .is_problem(500, "errored");
    }
}

mod verdict {
    use super::*;

    fn answering(status: u16) -> Handler {
        handler(move |_| async move {
            let response = Response::builder().status(status).header("x-failed", "yes");
            response.body(full("said")).unwrap()
        })
    }

    async fn outcome(operations: &Operations, status: u16) -> Option<String> {
        let client = client(operations, &answering(status));
        let accepted = client.submit().await;
        let record = end_of(operations, accepted.id()).await;
        let answer = client.get(&accepted.location()).await;
        // Replayed either way.
        assert_eq!(
            (answer.status.as_u16(), &answer.body[..]),
            (status, &b"said"[..])
        );
        let told = answer.header("operation-outcome").map(str::to_owned);
        assert_eq!(told.as_deref(), Some(record.phase().as_str()));
        let document = client
            .get(&format!("{}/status", accepted.location()))
            .await
            .json();
        assert_eq!(
            (&document["status"], &document["result"]["status"]),
            (&told.clone().unwrap().into(), &status.into())
        );
        assert!(document.get("problem").is_none());
        told
    }

    #[tokio::test(start_paused = true)]
    async fn by_default_4xx_and_5xx_are_failures() {
        let operations = operations();
        for (status, told) in [
            (200, "succeeded"),
            (202, "succeeded"),
            (303, "succeeded"),
            (399, "succeeded"),
            (400, "failed"),
            (404, "failed"),
            (503, "failed"),
            (599, "failed"),
            (600, "succeeded"),
        ] {
            assert_eq!(
                outcome(&operations, status).await.as_deref(),
                Some(told),
                "{status}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_policy_of_ones_own_sees_the_head() {
        let builder = Operations::builder().verdict(|head: &response::Parts| {
            head.status.as_u16() == 200 && head.headers["x-failed"] == "yes"
        });
        let operations = builder.build().unwrap();
        assert_eq!(outcome(&operations, 200).await.as_deref(), Some("failed"));
        assert_eq!(
            outcome(&operations, 500).await.as_deref(),
            Some("succeeded")
        );

        let running = Running::of(operations.clone()).await;
        let response = Response::builder()
            .header("x-failed", "yes")
            .body(empty())
            .unwrap();
        running
            .operations
            .complete(running.handle.id(), response)
            .await
            .unwrap();
        let record = running.record().await;
        assert_eq!(
            record.ending().unwrap().outcome,
            Outcome::Failed(Reason::Response)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_policy_that_panics_ends_that_operation_and_nothing_else() {
        let builder = Operations::builder().verdict(|head: &response::Parts| {
            assert_ne!(head.status.as_u16(), 299, "the secret");
            false
        });
        let operations = builder.build().unwrap();
        let client = client(&operations, &answering(299));
        let accepted = client.submit().await;
        end_of(&operations, accepted.id()).await;
        client
            .get(&accepted.location())
            .await
            .is_problem(500, "panicked");
        assert_eq!(
            outcome(&operations, 200).await.as_deref(),
            Some("succeeded")
        );
        assert_eq!(operations.usage().running, 0);
    }
}

mod on_end {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_called_once_for_every_end_with_the_record_as_it_is_stored() {
        let ended: Arc<Mutex<Vec<Record>>> = Arc::default();
        let seen = ended.clone();
        let operations = limited(|limits| limits.run_time = secs(100))
            .on_end(move |record| seen.lock().unwrap().push(record.clone()))
            .build()
            .unwrap();
        let handler = try_handler(|request| async move {
            match request.headers()["x-end"].to_str().unwrap() {
                "succeeded" => Ok(Response::new(full("done"))),
                "failed" => Ok(Response::builder().status(500).body(empty()).unwrap()),
                "errored" => Err(Fault("inner detail")),
                "panicked" => panic!("inner detail"),
                _ => std::future::pending().await,
            }
        });
        let client = client(&operations, &handler);
        let ends = [
            "succeeded",
            "failed",
            "errored",
            "panicked",
            "timed out",
            "cancelled",
            "completed",
        ];
        for end in ends {
            let id = client.call(post("/").header("x-end", end)).await.id();
            settled().await;
            for _ in 0..2 {
                match end {
                    "cancelled" => drop(operations.cancel(id).await.unwrap()),
                    "completed" => drop(operations.complete(id, Response::new(empty())).await),
                    _ => {}
                }
            }
            let stored = end_of(&operations, id).await;
            settled().await;
            let told = std::mem::take(&mut *ended.lock().unwrap());
            assert_eq!(told.len(), 1, "{end}");
            assert_eq!((told[0].id, told[0].revision), (id, stored.revision));
            assert_eq!(
                told[0].ending().unwrap().outcome,
                stored.ending().unwrap().outcome
            );
            operations.forget(id).await.unwrap();
        }
        let id = client.call(post("/").header("x-end", "drained")).await.id();
        settled().await;
        operations.drain(secs(1)).await;
        let told = ended.lock().unwrap();
        assert_eq!(told.len(), 1);
        assert_eq!(
            told[0].ending().unwrap().outcome,
            Outcome::Failed(Reason::Interrupted)
        );
        assert_eq!(told[0].id, id);
    }

    #[tokio::test(start_paused = true)]
    async fn what_it_sees_others_see_as_well() {
        let slot: Arc<Mutex<Option<Operations>>> = Arc::default();
        let (inside, seen) = (slot.clone(), Arc::new(AtomicUsize::new(0)));
        let count = seen.clone();
        let operations = Operations::builder()
            .on_end(move |record| {
                let operations = inside.lock().unwrap().clone().unwrap();
                let id = record.id;
                let count = count.clone();
                tokio::spawn(async move {
                    let found = operations.get(id).await.unwrap().unwrap();
                    assert!(found.phase().is_ended());
                    count.fetch_add(1, SeqCst);
                });
            })
            .build()
            .unwrap();
        *slot.lock().unwrap() = Some(operations.clone());
        let accepted = client(&operations, &takes(secs(1))).submit().await;
        end_of(&operations, accepted.id()).await;
        settled().await;
        assert_eq!(seen.load(SeqCst), 1);
        slot.lock().unwrap().take();
    }

    #[tokio::test(start_paused = true)]
    async fn a_hook_that_panics_harms_nobody() {
        let operations = Operations::builder()
            .on_end(|_| panic!("in the hook"))
            .build()
            .unwrap();
        let client = client(&operations, &takes(secs(5)));
        let accepted = client.submit().await;
        let request = Request::get(accepted.location()).header("prefer", "wait=30");
        let answer = client.call(request).await;
        assert_eq!((&answer.body[..], answer.after), (&b"done"[..], secs(5)));
        settled().await;
        assert_eq!(operations.usage().running, 0);
        let cancelled = client.submit().await;
        assert!(matches!(
            operations.cancel(cancelled.id()).await,
            Ok(Settled::Done(_))
        ));
        assert_eq!(client.get(&accepted.location()).await.body, "done");
        // A reader that comes later is told as well, and a shutdown ends.
        let drained = operations.drain(secs(1)).await;
        assert_eq!(drained.interrupted, 0);
    }
}

mod programs {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn get_gives_an_operation_as_it_is_now() {
        let running = Running::new().await;
        let record = running.record().await;
        assert_eq!(record.phase().as_str(), "running");
        assert!(record.started.is_some() && record.ending().is_none());
        assert_eq!(
            (
                record.submission.method.as_str(),
                &*record.submission.target
            ),
            ("POST", "/reports")
        );
        running.handle.progress(0.5, "half");
        assert!(running.record().await.revision > record.revision);
        running.end().await;
        let ended = running.record().await;
        let response = ended.ending().unwrap().response.as_ref().unwrap();
        assert_eq!(
            (response.status().as_u16(), response.body()),
            (200, Content::Inline("done".into()))
        );
        running.operations.forget(ended.id).await.unwrap();
        assert!(running.operations.get(ended.id).await.unwrap().is_none());
        assert!(
            running
                .operations
                .get(OperationId::random())
                .await
                .unwrap()
                .is_none()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn changed_gives_each_change_and_the_end() {
        let running = Running::new().await;
        let id = running.handle.id();
        let first = running.record().await;
        let watch = |since| running.operations.changed(id, since);
        // What has changed already is there at once.
        let before = tower_lro::record::Revision(first.revision.0 - 1);
        assert_eq!(
            watch(before).await.unwrap().unwrap().revision,
            first.revision
        );
        assert!(timeout(secs(60), watch(first.revision)).await.is_err());
        assert_eq!(running.operations.usage().readers, 0);

        let says = async {
            sleep(secs(1)).await;
            running.handle.progress(0.5, "half");
        };
        let (changed, ()) = tokio::join!(watch(first.revision), says);
        let changed = changed.unwrap().unwrap();
        assert_eq!(
            changed.report.as_ref().unwrap().message.as_deref(),
            Some("half")
        );

        let ends = async {
            sleep(secs(1)).await;
            running.gate.add_permits(1);
        };
        let (ended, ()) = tokio::join!(watch(changed.revision), ends);
        let ended = ended.unwrap().unwrap();
        assert!(ended.phase().is_ended());
        // It has ended: there is nothing to wait for, whatever is known.
        for since in [ended.revision, tower_lro::record::Revision(u64::MAX)] {
            assert!(watch(since).await.unwrap().unwrap().phase().is_ended());
        }
        running.operations.forget(id).await.unwrap();
        assert!(watch(ended.revision).await.unwrap().is_none());
        let never = running
            .operations
            .changed(OperationId::random(), ended.revision);
        assert!(never.await.unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn programs_that_watch_count_as_readers_and_are_not_refused() {
        let builder = limited(|limits| {
            limits.readers = 1;
            limits.readers_per_operation = 1;
        });
        let running = Running::of(builder.build().unwrap()).await;
        let (id, since) = (running.handle.id(), running.record().await.revision);
        let watching: Vec<_> = (0..3)
            .map(|_| {
                let operations = running.operations.clone();
                tokio::spawn(async move { operations.changed(id, since).await.unwrap().unwrap() })
            })
            .collect();
        settled().await;
        assert_eq!(running.operations.usage().readers, 3);
        let request = Request::get(&running.monitor).header("prefer", "wait=30");
        assert_eq!(running.client.call(request).await.after, Duration::ZERO);
        running.gate.add_permits(1);
        for watcher in watching {
            assert!(watcher.await.unwrap().phase().is_ended());
        }
        assert_eq!(running.operations.usage().readers, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn cancel_ends_what_has_not_ended_and_changes_nothing_else() {
        let running = Running::new().await;
        let id = running.handle.id();
        let Settled::Done(record) = running.operations.cancel(id).await.unwrap() else {
            panic!("it has not ended before")
        };
        assert_eq!(record.ending().unwrap().outcome, Outcome::Cancelled);
        let Settled::Stands(again) = running.operations.cancel(id).await.unwrap() else {
            panic!("it has ended before")
        };
        assert_eq!(again.revision, record.revision);
        assert_eq!(running.client.delete(&running.monitor).await.status, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn forget_lets_go_of_what_has_ended_only() {
        let running = Running::new().await;
        let id = running.handle.id();
        assert!(matches!(
            running.operations.forget(id).await,
            Ok(Settled::Stands(_))
        ));
        running.end().await;
        let Settled::Done(record) = running.operations.forget(id).await.unwrap() else {
            panic!("it has ended")
        };
        assert_eq!(record.id, id);
        assert!(matches!(
            running.operations.forget(id).await,
            Ok(Settled::Unknown)
        ));
        running
            .client
            .get(&running.monitor)
            .await
            .is_problem(410, "expired");
        let usage = running.operations.usage();
        assert_eq!(
            (usage.stored, usage.stored_bytes, usage.tombstones),
            (0, 0, 1)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn list_gives_everybodys_or_one_owners_newest_first() {
        let operations = by_user(limited(|limits| limits.running = 1))
            .build()
            .unwrap();
        let (handler, gate) = gated();
        let client = client(&operations, &handler);
        let mut all = Vec::new();
        for user in ["alice", "bob", "alice", "bob", "alice"] {
            let id = client.call(post("/").header("x-user", user)).await.id();
            settled().await;
            all.insert(0, (user, id));
        }
        let ids = |of: Option<&str>| -> Vec<OperationId> {
            let wanted = all
                .iter()
                .filter(|(user, _)| of.is_none_or(|of| *user == of));
            wanted.map(|(_, id)| *id).collect()
        };
        let two = NonZeroU16::new(2).unwrap();
        for (mut query, wanted) in [
            (ListQuery::all(), ids(None)),
            (ListQuery::of(Owner::new("alice")), ids(Some("alice"))),
            (ListQuery::of(Owner::new("carol")), Vec::new()),
        ] {
            query.limit = two;
            let mut seen = Vec::new();
            loop {
                let page = operations.list(&query).await.unwrap();
                assert!(page.records.len() <= 2);
                seen.extend(page.records.iter().map(|record| record.id));
                query.after = page.next;
                if page.next.is_none() {
                    break;
                }
            }
            assert_eq!(seen, wanted);
        }
        let in_state = |name: &'static str| {
            let operations = &operations;
            async move {
                let mut query = ListQuery::all();
                query.states = StateSet::default().with_name(name);
                let page = operations.list(&query).await.unwrap();
                for record in &page.records {
                    assert_eq!(record.phase().as_str(), name);
                }
                page.records.len()
            }
        };
        assert_eq!(
            (in_state("running").await, in_state("accepted").await),
            (1, 4)
        );
        gate.add_permits(5);
        end_of(&operations, all[0].1).await;
        assert_eq!(
            (in_state("running").await, in_state("succeeded").await),
            (0, 5)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn usage_follows_an_operation_through_its_stages() {
        let operations = limited(|limits| limits.running = 1).build().unwrap();
        let (handler, gate) = gated();
        let client = client(&operations, &handler);
        let usage = || operations.usage();
        assert_eq!(usage(), Usage::default());

        let (sender, body) = sending();
        let uploading = tokio::spawn({
            let client = client.clone();
            async move { client.send(post("/").body(body).unwrap()).await }
        });
        send(&sender, "12345");
        settled().await;
        assert_eq!(
            (usage().uploading, usage().uploading_bytes, usage().stored),
            (1, 5, 0)
        );
        drop(sender);
        let first = uploading.await.unwrap();
        settled().await;
        assert_eq!((usage().uploading, usage().uploading_bytes), (0, 0));
        assert_eq!(
            (usage().running, usage().accepted, usage().stored),
            (1, 0, 1)
        );

        let second = client.submit().await;
        assert_eq!(
            (usage().running, usage().accepted, usage().stored),
            (1, 1, 2)
        );
        let reading = tokio::spawn({
            let (client, monitor) = (client.clone(), second.location());
            async move {
                client
                    .call(Request::get(monitor).header("prefer", "wait=30"))
                    .await
            }
        });
        settled().await;
        assert_eq!(usage().readers, 1);
        gate.add_permits(2);
        assert_eq!(reading.await.unwrap().body, "done");
        assert_eq!(
            (usage().running, usage().accepted, usage().readers),
            (0, 0, 0)
        );
        assert_eq!(
            (usage().stored, usage().stored_bytes, usage().tombstones),
            (2, 8, 0)
        );
        operations.forget(first.id()).await.unwrap();
        assert_eq!(
            (usage().stored, usage().stored_bytes, usage().tombstones),
            (1, 4, 1)
        );
        sleep(DAY).await;
        sleep(DAY + secs(1)).await;
        assert_eq!(usage(), Usage::default());
    }
}

#[cfg(feature = "axum")]
mod extractor {
    use super::*;
    use axum::{Router, body::Body, routing::post};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    async fn required(handle: OperationHandle) -> String {
        handle.id().to_string()
    }

    async fn optional(handle: Option<OperationHandle>) -> String {
        handle.map_or("none".into(), |handle| handle.id().to_string())
    }

    async fn call(app: &Router, method: &str, target: &str) -> (Response<()>, Bytes) {
        let request = Request::builder().method(method).uri(target);
        let request = request.body(Body::empty()).unwrap();
        let (head, body) = app.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (Response::from_parts(head, ()), body)
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_there_in_what_is_deferred_and_an_option_of_it_elsewhere() {
        let operations = operations();
        let app: Router = Router::new()
            .route("/required", post(required).route_layer(operations.layer()))
            .route("/optional", post(optional).route_layer(operations.layer()))
            .route("/passing/required", post(required))
            .route("/passing/optional", post(optional))
            .fallback_service(operations.status_service());
        for target in ["/required", "/optional"] {
            let (accepted, _) = call(&app, "POST", target).await;
            let location = accepted.headers()["location"].to_str().unwrap();
            let (_, id) = location.rsplit_once('/').unwrap();
            end_of(&operations, id.parse().unwrap()).await;
            assert_eq!(call(&app, "GET", location).await.1, id);
        }
        let (refused, _) = call(&app, "POST", "/passing/required").await;
        assert_eq!(refused.status(), 500);
        assert_eq!(call(&app, "POST", "/passing/optional").await.1, "none");
    }
}
