//! What clients and handlers see of a store that fails, hangs, answers late, or does not know what it did.

mod common {
    pub(crate) mod drive;
    pub(crate) mod store;
}

use common::{
    drive::*,
    store::{CAUSE, Faulty, How, Verb},
};
use http::Request;
use std::{
    future::{Future, pending, ready},
    num::NonZeroU16,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::{sync::Semaphore, time::Instant};
use tower::service_fn;
use tower_lro::{
    Limits, Operations, Owner,
    record::{Outcome, Phase, Reason},
    store::{ListQuery, MemoryLimits, Settled, StateSet, StoreError, StoreErrorKind},
};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A server on a store that can be told to fail. The handler takes ten seconds, in steps of one.
struct Site {
    house: House,
    store: Faulty,
    calls: Arc<AtomicUsize>,
    ends: Arc<AtomicUsize>,
    /// When the handler was done.
    done: Arc<Mutex<Option<Instant>>>,
}

impl std::ops::Deref for Site {
    type Target = House;
    fn deref(&self) -> &House {
        &self.house
    }
}

fn site_with(store: Faulty, set: impl FnOnce(&mut Limits)) -> Site {
    let mut limits = Limits::default();
    limits.running = 1;
    set(&mut limits);
    let ends = Arc::new(AtomicUsize::new(0));
    let ended = ends.clone();
    let operations = Operations::builder()
        .limits(limits)
        .store(store.clone())
        .shared_keys()
        .on_end(move |_| {
            ended.fetch_add(1, Ordering::SeqCst);
        })
        .build()
        .unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let done = Arc::<Mutex<Option<Instant>>>::default();
    let (count, tell) = (calls.clone(), done.clone());
    let inner = move |request: Request<Body>| {
        count.fetch_add(1, Ordering::SeqCst);
        let tell = tell.clone();
        async move {
            if request.uri().path() == "/detach" && handle(&request).detach().await.is_ok() {
                return Ok(ok("on the bus"));
            }
            for _ in 0..10 {
                tokio::time::sleep(seconds(1)).await;
            }
            *tell.lock().unwrap() = Some(Instant::now());
            Ok(ok("done"))
        }
    };
    Site {
        house: House::new(&operations, app(operations.layer(), inner)),
        store,
        calls,
        ends,
        done,
    }
}

fn site(store: Faulty) -> Site {
    site_with(store, |_| {})
}

/// One that answers at once, and one that does not.
fn both() -> [Site; 2] {
    [site(Faulty::default()), site(Faulty::remote())]
}

impl Site {
    /// The store is well again, and so is everything else.
    async fn recovers(&self) {
        self.store.heal();
        quiet(&self.operations).await;
        let before = self.calls.load(Ordering::SeqCst);
        let monitor = self.accepted(post("/work")).await;
        assert_eq!(self.outcome(&monitor).await.text(), "done");
        quiet(&self.operations).await;
        assert_eq!(self.calls.load(Ordering::SeqCst), before + 1);
        self.never_sent(CAUSE);
    }
}

fn held_post(seconds: u64) -> Request<Body> {
    with(post("/work"), "prefer", &format!("wait={seconds}"))
}

fn keyed(request: Request<Body>) -> Request<Body> {
    with(request, "idempotency-key", "\"k\"")
}

/// Why a client that was refused may try again.
fn told(answer: &Answer) -> (u16, String, Option<&str>) {
    let (status, problem) = answer.refusal();
    (status, problem, answer.field("retry-after"))
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_stored_is_not_run() {
    for (kind, problem) in [
        (StoreErrorKind::Unavailable, "unavailable"),
        (StoreErrorKind::Corrupt, "unavailable"),
        (StoreErrorKind::Full, "full"),
        (StoreErrorKind::Uncertain, "unavailable"),
    ] {
        for site in both() {
            site.store.set(Verb::Create, How::Fail(kind));
            for request in [post("/work"), keyed(post("/work")), keyed(held_post(20))] {
                let answer = site.send(request).await.unwrap();
                assert_eq!(told(&answer), (503, problem.into(), Some("1")));
            }
            assert_eq!(site.calls.load(Ordering::SeqCst), 0);
            assert_eq!(site.operations.usage().stored, 0);
            site.recovers().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_cannot_be_looked_up_is_not_taken_for_a_new_one() {
    for site in both() {
        let kind = StoreErrorKind::Unavailable;
        site.store.set(Verb::FindKey, How::Fail(kind));
        let answer = site.send(keyed(post("/work"))).await.unwrap();
        assert_eq!(told(&answer), (503, "unavailable".into(), Some("1")));
        assert_eq!(site.calls.load(Ordering::SeqCst), 0);
        site.recovers().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_uncertain_create_is_repeated_and_the_operation_runs_once() {
    for times in [1, 2] {
        for site in both() {
            site.store.times(Verb::Create, How::Uncertain, times);
            let monitor = site.accepted(post("/work")).await;
            assert_eq!(site.store.calls(Verb::Create).len(), times + 1);
            assert_eq!(site.outcome(&monitor).await.text(), "done");
            assert_eq!(site.operations.usage().stored, 1);
            assert_eq!(site.calls.load(Ordering::SeqCst), 1);
            site.recovers().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_create_that_stays_uncertain_is_refused_and_not_run() {
    for site in both() {
        site.store.set(Verb::Create, How::Uncertain);
        let answer = site.send(post("/work")).await.unwrap();
        assert_eq!(told(&answer), (503, "unavailable".into(), Some("1")));
        assert_eq!(site.calls.load(Ordering::SeqCst), 0);
        site.recovers().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_202_does_not_leave_before_the_store_has_said_yes() {
    let site = site(Faulty::default());
    let gate = Arc::new(Semaphore::new(0));
    site.store.set(Verb::Create, How::Gated(gate.clone()));
    let submit = site.send(post("/work"));
    tokio::pin!(submit);
    assert!(
        tokio::time::timeout(seconds(60), &mut submit)
            .await
            .is_err()
    );
    assert_eq!(site.calls.load(Ordering::SeqCst), 0);
    assert_eq!(held(site.operations.usage()), [0, 0, 1, 0, 0]);
    gate.add_permits(1);
    assert_eq!(submit.await.unwrap().status, 202);
    site.recovers().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_while_it_is_stored_does_not_take_the_operation_with_it() {
    for key in [false, true] {
        let site = site(Faulty::default());
        site.store.set(Verb::Create, How::Late(seconds(5)));
        let request = if key {
            keyed(held_post(20))
        } else {
            post("/work")
        };
        let submit = site.send(request);
        assert!(tokio::time::timeout(seconds(1), submit).await.is_err());
        assert_eq!(held(site.operations.usage()), [0, 0, 1, 0, 0]);
        until("it is stored", || site.operations.usage().stored == 1).await;
        quiet(&site.operations).await;
        let page = site.operations.list(&ListQuery::all()).await.unwrap();
        assert_eq!(page.records[0].phase().as_str(), "succeeded");
        assert_eq!(site.calls.load(Ordering::SeqCst), 1);
        site.recovers().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_for_what_cannot_be_stored_waits_to_the_end() {
    for site in both() {
        let kind = StoreErrorKind::Unavailable;
        site.store.set(Verb::Create, How::Fail(kind));
        let before = Instant::now();
        let answer = site.send(held_post(2)).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "done"));
        assert_eq!(before.elapsed().as_secs(), 10);
        assert_eq!(site.operations.usage().stored, 0);

        // It is still the only one who wants to know.
        let answer = site.send(held_post(2));
        assert!(tokio::time::timeout(seconds(4), answer).await.is_err());
        let before = Instant::now();
        site.recovers().await;
        assert_eq!(before.elapsed().as_secs(), 10, "the work was dropped");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_does_not_hold_the_work_up() {
    let site = site(Faulty::default());
    site.store.set(Verb::Create, How::Late(seconds(60)));
    let before = Instant::now();
    let monitor = site.accepted(held_post(2)).await;
    assert_eq!(before.elapsed().as_secs(), 62);
    let done = site.done.lock().unwrap().unwrap();
    assert_eq!((done - before).as_secs(), 10);
    assert_eq!(site.outcome(&monitor).await.text(), "done");
    site.recovers().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_does_not_hold_a_limit_up() {
    let site = site_with(Faulty::default(), |limits| limits.run_time = seconds(5));
    site.store.set(Verb::Create, How::Late(seconds(60)));
    let monitor = site.accepted(held_post(2)).await;
    let answer = site.outcome(&monitor).await;
    assert_eq!(answer.refusal(), (504, "timed-out".into()));
    assert!(site.done.lock().unwrap().is_none());
    quiet(&site.operations).await;
}

#[tokio::test(start_paused = true)]
async fn a_finish_that_fails_is_tried_again_ever_more_slowly() {
    for kind in [StoreErrorKind::Unavailable, StoreErrorKind::Uncertain] {
        for site in both() {
            site.store.times(Verb::Finish, How::Fail(kind), 12);
            let monitor = site.accepted(post("/work")).await;
            until("it has failed", || site.store.calls(Verb::Finish).len() > 3).await;
            // Its end is not known to anybody yet.
            let pending = site.get(&monitor).await;
            assert_eq!(
                (pending.status.as_u16(), &pending.json()["status"]),
                (202, &"running".into())
            );
            assert_eq!(site.outcome(&monitor).await.text(), "done");
            assert_eq!(site.ends.load(Ordering::SeqCst), 1);
            assert_eq!(site.calls.load(Ordering::SeqCst), 1);

            let calls = site.store.calls(Verb::Finish);
            let pauses: Vec<_> = calls.windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert_eq!(pauses.len(), 12);
            assert!(pauses[0] >= millis(50), "{pauses:?}");
            assert!(
                pauses.is_sorted_by(|a, b| *a <= *b + millis(2)),
                "{pauses:?}"
            );
            assert!(pauses[11] <= millis(5002), "{pauses:?}");
            site.recovers().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_the_store_cannot_make_sense_of_is_an_error_at_once() {
    for site in both() {
        let corrupt = How::Fail(StoreErrorKind::Corrupt);
        site.store.times(Verb::Finish, corrupt, 1);
        let monitor = site.accepted(post("/work")).await;
        let answer = site.outcome(&monitor).await;
        assert_eq!(answer.refusal(), (500, "errored".into()));
        assert_eq!(site.calls.load(Ordering::SeqCst), 1);
        site.recovers().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_finish_that_never_succeeds_is_given_up_when_the_result_would_have_expired() {
    for site in [
        site_with(Faulty::default(), |limits| limits.keep_for = seconds(600)),
        site_with(Faulty::remote(), |limits| limits.keep_for = seconds(600)),
    ] {
        let kind = StoreErrorKind::Unavailable;
        site.store.set(Verb::Finish, How::Fail(kind));
        let before = Instant::now();
        site.accepted(post("/work")).await;
        assert_eq!(
            site.operations.usage().accepted + site.operations.usage().running,
            1
        );
        quiet(&site.operations).await;
        assert!((609..621).contains(&before.elapsed().as_secs()));
        site.recovers().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_that_finds_no_room_at_the_end_is_too_large() {
    for site in both() {
        site.store
            .times(Verb::Finish, How::Fail(StoreErrorKind::Full), 1);
        let monitor = site.accepted(post("/work")).await;
        let answer = site.outcome(&monitor).await;
        assert_eq!(answer.refusal(), (500, "result-too-large".into()));
        site.recovers().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_that_was_written_after_all_is_told_once() {
    for site in both() {
        site.store.times(Verb::Finish, How::Uncertain, 1);
        let before = Instant::now();
        let monitor = site.accepted(post("/work")).await;
        assert_eq!(site.outcome(&monitor).await.text(), "done");
        assert!(before.elapsed() < seconds(11), "its readers were woken");
        quiet(&site.operations).await;
        assert_eq!(site.ends.load(Ordering::SeqCst), 1);

        // The same for a client that waits.
        site.store.times(Verb::Finish, How::Uncertain, 1);
        let answer = site.send(keyed(held_post(30))).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "done"));
        quiet(&site.operations).await;
        assert_eq!(site.ends.load(Ordering::SeqCst), 2);
        site.recovers().await;
    }
}

/// Takes a step that ends what runs, and gives it up while the store is at it. Gives how often an end was told.
async fn stops_all_the_same<T: std::fmt::Debug>(
    verb: Verb,
    reason: &str,
    step: impl AsyncFnOnce(&Site, &str) -> T,
) -> usize {
    let site = site(Faulty::mute());
    let monitor = site.accepted(post("/work")).await;
    let reader = {
        let (app, monitor) = (site.app.clone(), monitor.clone());
        tokio::spawn(async move { outcome(&app, &monitor).await })
    };
    until("it is read", || site.operations.usage().readers == 1).await;
    let gate = Arc::new(Semaphore::new(0));
    site.store.set(verb, How::Gated(gate.clone()));
    let given_up = tokio::time::timeout(seconds(1), step(&site, &monitor)).await;
    assert!(given_up.is_err(), "{given_up:?}");
    let before = Instant::now();
    gate.add_permits(1);
    assert_eq!(reader.await.unwrap().refusal(), (410, reason.into()));
    quiet(&site.operations).await;
    assert!(
        before.elapsed() < seconds(1),
        "the handler was not left to run"
    );
    let told = site.ends.load(Ordering::SeqCst);
    site.recovers().await;
    told
}

#[tokio::test(start_paused = true)]
async fn a_cancel_that_nobody_waits_for_any_more_stops_the_handler_and_is_told() {
    let cancel = async |site: &Site, monitor: &str| site.send(request("DELETE", monitor)).await;
    let told = stops_all_the_same(Verb::Complete, "cancelled", cancel).await;
    assert_eq!(told, 1);
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_nobody_waits_for_any_more_stops_the_handler_and_is_told() {
    let remove = async |site: &Site, monitor: &str| site.operations.remove(id_of(monitor)).await;
    let told = stops_all_the_same(Verb::Forget, "expired", remove).await;
    assert_eq!(told, 0, "nobody learns how it ended");
}

#[tokio::test(start_paused = true)]
async fn an_uncertain_cancel_is_repeated_and_told_once() {
    for (site, times) in both().into_iter().chain(both()).zip([1, 1, 2, 2]) {
        site.store.times(Verb::Complete, How::Uncertain, times);
        let monitor = site.accepted(post("/work")).await;
        until("it runs", || site.operations.usage().running == 1).await;
        let before = Instant::now();
        let cancelled = site.send(request("DELETE", &monitor)).await.unwrap();
        assert_eq!(cancelled.json()["status"], "cancelled");
        quiet(&site.operations).await;
        assert!(before.elapsed() < seconds(1));
        assert_eq!(site.ends.load(Ordering::SeqCst), 1);

        // Where it stays uncertain the client is told so, and to ask again tells.
        site.store.set(Verb::Complete, How::Uncertain);
        let monitor = site.accepted(post("/work")).await;
        let answer = site.send(request("DELETE", &monitor)).await.unwrap();
        assert_eq!(answer.refusal(), (503, "unavailable".into()));
        site.store.heal();
        let before = Instant::now();
        let again = site.send(request("DELETE", &monitor)).await.unwrap();
        assert_eq!(again.json()["status"], "cancelled");
        quiet(&site.operations).await;
        assert!(before.elapsed() < seconds(1));
        site.recovers().await;
    }
}

/// That the store is away at the second try does not tell what became of the first.
#[tokio::test(start_paused = true)]
async fn a_cancel_that_was_uncertain_and_then_refused_stays_uncertain() {
    let site = site_with(Faulty::remote(), |_| {});
    let monitor = site.accepted(post("/work")).await;
    until("it runs", || site.operations.usage().running == 1).await;
    let store = &site.store;
    store.times(Verb::Complete, How::Uncertain, 1);
    let goes_away = async {
        while store.calls(Verb::Complete).is_empty() {
            tokio::task::yield_now().await;
        }
        store.set(Verb::Complete, How::Fail(StoreErrorKind::Unavailable));
    };
    let cancelling = site.operations.cancel(id_of(&monitor));
    let (cancelled, ()) = tokio::join!(cancelling, goes_away);
    assert_eq!(store.calls(Verb::Complete).len(), 2);
    assert_eq!(cancelled.unwrap_err().kind(), StoreErrorKind::Uncertain);
}

#[tokio::test(start_paused = true)]
async fn an_uncertain_removal_is_repeated_and_stops_the_handler() {
    for (site, times) in both().into_iter().chain(both()).zip([1, 1, 2, 2]) {
        site.store.times(Verb::Forget, How::Uncertain, times);
        let monitor = site.accepted(post("/work")).await;
        until("it runs", || site.operations.usage().running == 1).await;
        let before = Instant::now();
        let removed = site.operations.remove(id_of(&monitor)).await;
        // It was the first try that has done it.
        assert!(matches!(removed, Ok(Settled::Unknown)), "{removed:?}");
        quiet(&site.operations).await;
        assert!(before.elapsed() < seconds(1));
        assert_eq!(site.get(&monitor).await.refusal(), (410, "expired".into()));
        site.recovers().await;
    }
}

#[test]
fn what_is_let_go_of_needs_no_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let site = site(Faulty::default());
    let monitor = runtime.block_on(async {
        let monitor = site.accepted(post("/fail")).await;
        quiet(&site.operations).await;
        monitor
    });
    site.store.set(Verb::Forget, How::Uncertain);
    let mut forgotten = pin!(site.operations.forget(id_of(&monitor)));
    let forgotten = forgotten
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    let is_uncertain = |error: &StoreError| error.kind() == StoreErrorKind::Uncertain;
    assert!(
        matches!(&forgotten, Poll::Ready(Err(error)) if is_uncertain(error)),
        "{forgotten:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_does_not_wait_longer_than_it_wants_for_a_store_that_fails() {
    for site in both() {
        let kind = StoreErrorKind::Unavailable;
        site.store.set(Verb::Finish, How::Fail(kind));
        let before = Instant::now();
        let monitor = site.accepted(keyed(held_post(15))).await;
        assert_eq!(before.elapsed().as_secs(), 15);
        site.store.heal();
        assert_eq!(site.outcome(&monitor).await.text(), "done");
        site.recovers().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_answer_is_never_taken_for_one_that_does_not_know() {
    for site in both() {
        let kind = StoreErrorKind::Unavailable;
        let running = site.accepted(post("/work")).await;
        let refused = (503, "unavailable".into(), Some("1"));
        for verb in [Verb::Find, Verb::Complete, Verb::Forget] {
            site.store.set(verb, How::Fail(kind));
        }
        for method in ["GET", "DELETE"] {
            for suffix in ["", "/status", "/result"] {
                if (method, suffix) == ("DELETE", "/status") {
                    continue;
                }
                for wait in ["wait=0", "wait=30"] {
                    let poll = request(method, &format!("{running}{suffix}"));
                    let answer = site.send(with(poll, "prefer", wait)).await.unwrap();
                    assert_eq!(told(&answer), refused, "{method} {suffix} {wait}");
                }
            }
        }
        let head = site.send(request("HEAD", &running)).await.unwrap();
        assert_eq!((head.status.as_u16(), head.body.len()), (503, 0));

        let id = id_of(&running);
        assert!(site.operations.get(id).await.is_err());
        assert!(site.operations.cancel(id).await.is_err());
        assert!(site.operations.forget(id).await.is_err());
        assert!(site.operations.complete(id, ok("x")).await.is_err());

        // Where only the deed itself fails, the operation is as it was.
        site.store.heal();
        site.store.times(Verb::Complete, How::Fail(kind), 1);
        let answer = site.send(request("DELETE", &running)).await.unwrap();
        assert_eq!(told(&answer), refused);
        assert_eq!(site.outcome(&running).await.text(), "done");
        site.store.times(Verb::Forget, How::Fail(kind), 1);
        let result = format!("{running}/result");
        let answer = site.send(request("DELETE", &result)).await.unwrap();
        assert_eq!(told(&answer), refused);
        assert_eq!(site.get(&result).await.text(), "done");
        site.recovers().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_cannot_be_read_is_refused() {
    let store = Faulty::default();
    let operations = Operations::builder()
        .store(store.clone())
        .owner(|_| Some(Owner::new("somebody")))
        .build()
        .unwrap();
    let app = app(operations.layer(), |_| async { Ok(ok("done")) });
    assert_eq!(get(&app, "/operations").await.status, 200);
    store.set(Verb::List, How::Fail(StoreErrorKind::Unavailable));
    let answer = get(&app, "/operations").await;
    assert_eq!(told(&answer), (503, "unavailable".into(), Some("1")));
    assert!(operations.list(&ListQuery::all()).await.is_err());
}

/// What its filter leaves out is looked at as well.
#[tokio::test(start_paused = true)]
async fn a_list_of_few_among_many_asks_the_store_once() {
    let store = Faulty::default();
    let mut limits = Limits::default();
    limits.accepted = 10_000;
    let builder = Operations::builder().limits(limits);
    let operations = builder.store(store.clone()).build().unwrap();
    let work = |request: Request<Body>| {
        let fails = request.uri().path() == "/fails";
        ready(match fails {
            true => Err(Fault::other("on purpose")),
            false => Ok(ok("done")),
        })
    };
    let service = app(operations.layer(), work);
    let failed = accepted(&service, post("/fails")).await;
    for _ in 0..3_000 {
        accepted(&service, post("/work")).await;
    }
    quiet(&operations).await;
    let mut query = ListQuery::all();
    query.states = StateSet::default().with_name("failed");
    let mut found = Vec::new();
    loop {
        let asked = store.calls(Verb::List).len();
        let page = operations.list(&query).await.unwrap();
        assert_eq!(store.calls(Verb::List).len(), asked + 1);
        found.extend(page.records.iter().map(|record| record.id));
        match page.next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    assert_eq!(found, [id_of(&failed)]);
}

#[tokio::test(start_paused = true)]
async fn a_reader_is_told_when_the_store_fails_in_the_midst_of_its_wait() {
    let site = site(Faulty::default());
    let monitor = site.accepted(post("/work")).await;
    let poll = with(request("GET", &monitor), "prefer", "wait=30");
    let reading = site.send(poll);
    let failing = async {
        until("it waits", || site.operations.usage().readers == 1).await;
        let kind = StoreErrorKind::Unavailable;
        site.store.set(Verb::Find, How::Fail(kind));
    };
    let (answer, ()) = tokio::join!(reading, failing);
    assert_eq!(answer.unwrap().refusal(), (503, "unavailable".into()));
    site.recovers().await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_detached_ends_with_the_handler() {
    for site in both() {
        let kind = StoreErrorKind::Unavailable;
        site.store.set(Verb::Detach, How::Fail(kind));
        let monitor = site.accepted(post("/detach")).await;
        assert_eq!(site.outcome(&monitor).await.text(), "done");

        site.store.set(Verb::Create, How::Fail(kind));
        let answer = with(post("/detach"), "prefer", "wait=30");
        assert_eq!(site.send(answer).await.unwrap().text(), "done");
        site.recovers().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_uncertain_detach_is_repeated_and_the_end_comes_from_elsewhere() {
    for how in [How::Uncertain, How::Fail(StoreErrorKind::Uncertain)] {
        for site in both() {
            site.store.times(Verb::Detach, how.clone(), 2);
            let monitor = site.accepted(post("/detach")).await;
            until("it is detached", || {
                let usage = site.operations.usage();
                (usage.running, site.store.calls(Verb::Detach).len()) == (0, 3)
            })
            .await;
            assert_eq!(site.get(&monitor).await.json()["status"], "running");
            let completed = site
                .operations
                .complete(id_of(&monitor), ok("from the bus"));
            assert!(matches!(completed.await, Ok(Settled::Done(_))));
            assert_eq!(site.outcome(&monitor).await.text(), "from the bus");
            site.recovers().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_detached_while_the_store_is_swept_is_timed_out_in_time() {
    let site = site_with(Faulty::default(), |limits| limits.run_time = seconds(5));
    let gate = Arc::new(Semaphore::new(0));
    let times_out = |monitor: String| {
        let site = &site;
        async move {
            let before = Instant::now();
            let answer = site.outcome(&monitor).await;
            assert_eq!(answer.refusal(), (504, "timed-out".into()));
            assert!(before.elapsed() < seconds(6), "{:?}", before.elapsed());
        }
    };
    let first = site.accepted(post("/detach")).await;
    times_out(first).await;

    // The store has looked and found nothing; what comes now must not wait for the next round but one.
    site.store.set(Verb::Sweep, How::Gated(gate.clone()));
    let sweeps = site.store.calls(Verb::Sweep).len();
    until("it is swept", || {
        site.store.calls(Verb::Sweep).len() > sweeps
    })
    .await;
    let second = site.accepted(post("/detach")).await;
    until("it is detached", || site.operations.usage().running == 0).await;
    site.store.heal();
    gate.add_permits(1);
    times_out(second).await;
}

#[tokio::test(start_paused = true)]
async fn a_sweep_that_fails_or_panics_is_not_the_last() {
    for how in [How::Fail(StoreErrorKind::Unavailable), How::Panic] {
        let site = site_with(Faulty::default(), |limits| limits.keep_for = seconds(30));
        site.store.times(Verb::Sweep, how, 1);
        let monitor = site.accepted(post("/work")).await;
        assert_eq!(site.outcome(&monitor).await.text(), "done");
        until("a sweep has failed", || {
            !site.store.calls(Verb::Sweep).is_empty()
        })
        .await;
        let expired = site.get(&monitor).await;
        assert_eq!(expired.refusal(), (410, "expired".into()), "swept or not");
        site.recovers().await;
        until("it is swept", || site.operations.usage().stored == 0).await;
        assert_eq!(site.operations.usage().tombstones, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_panics_at_the_end_takes_nothing_with_it() {
    let [at_once, remote] = both();
    for site in [&at_once, &remote] {
        site.store.times(Verb::Finish, How::Panic, 1);
        let monitor = site.accepted(post("/work")).await;
        quiet(&site.operations).await;
        let answer = site.get(&monitor).await;
        if std::ptr::eq(site, &at_once) {
            assert_eq!(answer.refusal(), (500, "panicked".into()));
        } else {
            assert_eq!(answer.status, 202, "the claim is left to lapse");
        }
        site.recovers().await;
    }
}

/// As one does whose lock is poisoned.
#[tokio::test(start_paused = true)]
async fn a_store_that_panics_again_while_a_task_unwinds_takes_nothing_with_it() {
    let site = site(Faulty::default());
    site.store.times(Verb::Finish, How::Panic, 1);
    site.store.times(Verb::Complete, How::Panic, 1);
    let monitor = site.accepted(post("/work")).await;
    quiet(&site.operations).await;
    assert_eq!(site.store.calls(Verb::Complete).len(), 1);
    assert_eq!(site.get(&monitor).await.status, 202);
    site.recovers().await;
}

#[tokio::test(start_paused = true)]
async fn everything_works_on_a_store_that_takes_its_time() {
    let site = site(Faulty::remote());
    for verb in [
        Verb::Create,
        Verb::Find,
        Verb::FindKey,
        Verb::Finish,
        Verb::Complete,
        Verb::Detach,
        Verb::Forget,
    ] {
        site.store.set(verb, How::Late(millis(300)));
    }
    let monitor = site.accepted(keyed(post("/work"))).await;
    assert_eq!(site.accepted(keyed(post("/work"))).await, monitor);
    assert_eq!(site.get(&monitor).await.status, 202);
    let result = format!("{monitor}/result");
    assert_eq!(site.get(&result).await.refusal().0, 404);
    let early = site.send(request("DELETE", &result)).await.unwrap();
    assert_eq!(early.refusal(), (409, "result-not-ready".into()));
    assert_eq!(site.outcome(&monitor).await.text(), "done");
    let answer = site.send(request("DELETE", &result)).await.unwrap();
    assert_eq!(answer.status, 204);
    assert_eq!(site.get(&monitor).await.refusal(), (410, "expired".into()));

    let cancelled = site.accepted(post("/work")).await;
    site.send(request("DELETE", &cancelled)).await.unwrap();
    assert_eq!(
        site.outcome(&cancelled).await.refusal(),
        (410, "cancelled".into())
    );

    let detached = site
        .accepted(with(post("/detach"), "prefer", "wait=30"))
        .await;
    site.operations
        .complete(id_of(&detached), ok("from the bus"))
        .await
        .unwrap();
    assert_eq!(site.outcome(&detached).await.text(), "from the bus");
    assert_eq!(site.send(held_post(30)).await.unwrap().text(), "done");
    site.recovers().await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_does_not_wait_for_a_store_that_hangs() {
    for verb in [Verb::Create, Verb::Finish, Verb::Complete] {
        let site = site(Faulty::default());
        site.store.set(verb, How::Hang);
        let house = site.house.app.clone();
        tokio::spawn(async move { send(&house, post("/work")).await });
        until("it is there", || held(site.operations.usage()) != [0; 5]).await;
        let before = Instant::now();
        let drained = site.operations.drain(seconds(20)).await;
        assert!(before.elapsed() <= seconds(21), "{verb:?}");
        assert_eq!(
            drained.finished + drained.interrupted,
            1,
            "{verb:?} {drained:?}"
        );
    }
}

/// A worker on a store, and the monitor of what it runs, which may be run once more by another.
async fn at_work(store: &Faulty) -> (Operations, String) {
    let operations = Operations::builder().store(store.clone()).build().unwrap();
    let twice = const { NonZeroU16::new(2).unwrap() };
    let service = app(operations.layer().accept_only().attempts(twice), never);
    let monitor = accepted(&service, post("/work")).await;
    tokio::spawn(operations.worker("default", service_fn(never)).run());
    until("it runs", || operations.usage().running == 1).await;
    (operations, monitor)
}

async fn never(_: Request<Body>) -> Result<http::Response<Body>, Fault> {
    pending().await
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_when_a_worker_has_heard_that_there_is_nothing_to_do() {
    let site = site_with(Faulty::default(), |_| {});
    site.store.set(Verb::Claim, How::Late(seconds(10)));
    let never = service_fn(|_: Request<Body>| pending::<Result<http::Response<Body>, Fault>>());
    tokio::spawn(site.operations.worker("default", never).run());
    tokio::time::sleep(seconds(1)).await;
    let before = Instant::now();
    site.operations.drain(seconds(60)).await;
    assert!(before.elapsed() < seconds(10), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_cannot_be_handed_back_is_tried_again_while_the_drain_lasts() {
    let ways = [
        How::Fail(StoreErrorKind::Unavailable),
        How::Fail(StoreErrorKind::Uncertain),
        // It was handed back, and nobody here was told.
        How::Uncertain,
    ];
    for how in ways {
        for store in [Faulty::default(), Faulty::remote()] {
            let (operations, monitor) = at_work(&store).await;
            store.times(Verb::Release, how.clone(), 2);
            let drained = operations.drain(seconds(1)).await;
            assert_eq!(
                (drained.handed_back, drained.interrupted),
                (1, 0),
                "{how:?}"
            );
            let calls = store.calls(Verb::Release);
            let pauses: Vec<_> = calls.windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert_eq!(pauses.len(), 2, "{how:?}");
            assert!(
                pauses[0] >= millis(50) && pauses[1] > pauses[0],
                "{pauses:?}"
            );
            let record = operations.get(id_of(&monitor)).await.unwrap().unwrap();
            assert_eq!((record.phase().as_str(), record.attempt), ("accepted", 2));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_cannot_be_handed_back_before_the_drain_is_over_is_ended_as_interrupted() {
    for store in [Faulty::default(), Faulty::remote()] {
        let (operations, monitor) = at_work(&store).await;
        let unavailable = How::Fail(StoreErrorKind::Unavailable);
        store.set(Verb::Release, unavailable);
        let before = Instant::now();
        let drained = operations.drain(seconds(1)).await;
        assert!(before.elapsed() <= millis(1_501));
        assert_eq!((drained.handed_back, drained.interrupted), (0, 1));
        quiet(&operations).await;
        assert!(*store.calls(Verb::Release).last().unwrap() <= before + millis(1_501));
        let record = operations.get(id_of(&monitor)).await.unwrap().unwrap();
        let outcome = Phase::Ended(Outcome::Failed(Reason::Interrupted));
        assert_eq!(record.phase(), outcome);
    }
}

#[tokio::test(start_paused = true)]
async fn unread_results_and_pending_operations_are_never_let_go_for_room() {
    let store = Faulty::new(MemoryLimits::default().operations(2));
    let site = site_with(store, |limits| limits.running = 8);
    let first = site.accepted(post("/work")).await;
    let second = site.accepted(post("/work")).await;
    let refused = site.send(post("/work")).await.unwrap();
    assert_eq!(told(&refused), (503, "full".into(), Some("1")));
    until("both have ended", || site.ends.load(Ordering::SeqCst) == 2).await;
    let refused = site.send(post("/work")).await.unwrap();
    assert_eq!(
        told(&refused),
        (503, "full".into(), Some("1")),
        "nobody has read them"
    );

    assert_eq!(site.get(&second).await.text(), "done");
    let third = site.accepted(post("/work")).await;
    assert_eq!(site.get(&second).await.refusal(), (410, "expired".into()));
    assert_eq!(site.get(&first).await.text(), "done");
    assert_eq!(site.outcome(&third).await.text(), "done");
}
