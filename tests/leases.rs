//! Claims that lapse, stores that can't be reached meanwhile, and what is run again.
#![cfg(feature = "sqlite")]

#[path = "common/drive.rs"]
mod drive;
#[path = "common/durable.rs"]
mod durable;

use drive::{
    App, Body, Fault, OnDrop, accepted, app, full, get, handle, id_of, ok, outcome, post, request,
    send, until, with,
};
use durable::{Durable, Faults, LEASE};
use http::{Request, Response};
use std::{
    future::pending,
    num::NonZeroU16,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{sync::Semaphore, task::JoinHandle};
use tower::service_fn;
use tower_lro::{
    Limits, MemoryStore, OperationHandle, Operations, Store,
    record::{Revision, Sighting},
    store::{Claim, Settled, StoreErrorKind},
};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn times(attempts: u16) -> NonZeroU16 {
    NonZeroU16::new(attempts).unwrap()
}

fn over(store: impl Store) -> Operations {
    let mut limits = Limits::default();
    limits.request_body = 1 << 30;
    let operations = Operations::builder().store(store).limits(limits);
    operations.build().unwrap()
}

async fn never(_: Request<Body>) -> Result<Response<Body>, Fault> {
    pending().await
}

/// Runs what is queued with a handler.
fn work<F, Fut>(operations: &Operations, handler: F) -> JoinHandle<()>
where
    F: Fn(Request<Body>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Response<Body>, Fault>> + Send + 'static,
{
    tokio::spawn(operations.worker("default", service_fn(handler)).run())
}

/// Renewals get no answer, as if the process, or its way to the store, stood still.
const DEAF: Faults = Faults {
    down: false,
    renewals_hang: true,
    append: None,
    finish: None,
    complete: None,
    read: None,
};
const DOWN: Faults = Faults { down: true, ..DEAF };

/// Two processes on one store, which run what may be run twice; the second takes over what the first lets lapse.
struct Pair {
    store: Durable,
    here: Operations,
    there: Operations,
    /// Attempts that ended because they were dropped.
    dropped: Arc<Mutex<Vec<u16>>>,
    /// Lets attempts end.
    gates: [Arc<Semaphore>; 2],
    monitor: String,
}

impl Pair {
    /// The first attempt runs here, the second there, and nobody here knows.
    async fn overtaken() -> Self {
        let store = Durable::default();
        let (here, there) = (over(store.clone()), over(store.apart()));
        let dropped = Arc::default();
        let gates = [(); 2].map(|()| Arc::new(Semaphore::new(0)));
        let handler = {
            let (dropped, gates) = (Arc::clone(&dropped), gates.clone());
            move |request: Request<Body>| {
                let (dropped, gates) = (Arc::clone(&dropped), gates.clone());
                async move {
                    let attempt = handle(&request).attempt();
                    let noted = OnDrop(move || {
                        let dropped: &Mutex<Vec<u16>> = &dropped;
                        dropped.lock().unwrap().push(attempt);
                    });
                    let gate = &gates[usize::from(attempt) - 1];
                    gate.acquire().await.unwrap().forget();
                    noted.disarm();
                    Ok(ok(format!("by attempt {attempt}")))
                }
            }
        };
        let service = app(here.layer().attempts(times(2)), handler.clone());
        let monitor = accepted(&service, post("/")).await;
        until("it runs here", || here.usage().running == 1).await;
        store.break_down(DEAF);
        work(&there, handler);
        until("it runs there", || there.usage().running == 1).await;
        Self {
            store,
            here,
            there,
            dropped,
            gates,
            monitor,
        }
    }

    async fn outcome(&self) -> String {
        let elsewhere = app(self.there.layer(), never);
        outcome(&elsewhere, &self.monitor).await.text().to_owned()
    }
}

#[tokio::test(start_paused = true)]
async fn who_was_overtaken_stops_at_its_next_renewal() {
    let pair = Pair::overtaken().await;
    assert!(pair.dropped.lock().unwrap().is_empty());
    assert_eq!(pair.here.usage().running, 1);
    pair.store.break_down(Faults::default());
    until("it stops here", || pair.here.usage().running == 0).await;
    assert_eq!(*pair.dropped.lock().unwrap(), [1]);
    tokio::time::sleep(LEASE * 3).await;
    assert_eq!(pair.there.usage().running, 1);
    pair.gates[1].add_permits(1);
    assert_eq!(pair.outcome().await, "by attempt 2");
}

#[tokio::test(start_paused = true)]
async fn who_was_overtaken_ends_nothing() {
    let pair = Pair::overtaken().await;
    pair.gates[0].add_permits(1);
    until("it is over here", || pair.here.usage().running == 0).await;
    let elsewhere = app(pair.there.layer(), never);
    assert_eq!(get(&elsewhere, &pair.monitor).await.status, 202);
    pair.gates[1].add_permits(1);
    assert_eq!(pair.outcome().await, "by attempt 2");
}

#[tokio::test(start_paused = true)]
async fn a_process_listens_to_others_while_it_runs_something() {
    let store = Durable::default();
    let operations = over(store.clone());
    let service = app(operations.layer(), lasting(seconds(5)));
    for _ in 0..2 {
        assert_eq!(store.listeners(), 0);
        let monitor = accepted(&service, post("/")).await;
        tokio::time::sleep(seconds(1)).await;
        assert_eq!(store.listeners(), 1);
        tokio::time::sleep(seconds(6)).await;
        assert_eq!(get(&service, &monitor).await.text(), "done");
    }
    assert_eq!(store.listeners(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_elsewhere_is_heard_before_the_next_heartbeat() {
    let store = Durable::default();
    let (here, there) = (over(store.clone()), over(store.apart()));
    let service = app(here.layer(), never);
    let cancelled = accepted(&service, post("/")).await;
    let other = accepted(&service, post("/")).await;
    until("both run", || here.usage().running == 2).await;
    there.cancel(drive::id_of(&cancelled)).await.unwrap();
    assert_eq!(here.usage().running, 2);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(here.usage().running, 1);
    there.cancel(drive::id_of(&other)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(here.usage().running, 0);
    // Nobody asks for news of nothing.
    let renewals = store.renewals();
    tokio::time::sleep(LEASE * 10).await;
    assert_eq!(store.renewals(), renewals);
}

/// The same on a real file, of which either has its own sight.
#[tokio::test]
async fn a_cancel_by_another_process_is_heard_long_before_the_next_heartbeat() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let options = tower_lro::store::SqliteOptions::default().lease(seconds(90));
        over(options.open(folder.path().join("operations.db")).unwrap())
    };
    let (here, there) = (open(), open());
    let (dropped, mut stopped) = tokio::sync::mpsc::unbounded_channel();
    let service = app(here.layer(), move |_| {
        let dropped = dropped.clone();
        async move {
            let _noted = OnDrop(move || dropped.send(()).unwrap());
            pending().await
        }
    });
    let monitor = accepted(&service, post("/")).await;
    until("it runs", || here.usage().running == 1).await;
    there.cancel(drive::id_of(&monitor)).await.unwrap();
    let heard = tokio::time::timeout(seconds(20), stopped.recv()).await;
    assert_eq!(heard.expect("a third of a lease is 30 s"), Some(()));
}

#[tokio::test(start_paused = true)]
async fn what_was_detached_here_and_ends_elsewhere_is_told_here() {
    for (goes_on, remove) in [(false, false), (false, true), (true, false), (true, true)] {
        let store = Durable::default();
        let (here, there) = (over(store.clone()), over(store.apart()));
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let service = app(here.layer(), move |request| {
            let (operation, tell) = (handle(&request), tell.clone());
            async move {
                operation.detach().await.unwrap();
                tell.send(operation).unwrap();
                if goes_on {
                    pending::<()>().await;
                }
                Ok(ok("unheard"))
            }
        });
        accepted(&service, post("/")).await;
        let operation = told.recv().await.unwrap();
        tokio::time::sleep(LEASE * 10).await;
        assert_eq!(here.usage().running, u64::from(goes_on));
        assert!(!operation.is_cancelled());
        let done = match remove {
            true => there.remove(operation.id()).await,
            false => there
                .complete(operation.id(), ok("done"))
                .await
                .map_err(|_| unreachable!()),
        };
        assert!(matches!(done, Ok(Settled::Done(_))));
        let heard = tokio::time::timeout(seconds(2), operation.cancelled());
        heard.await.expect("a third of a lease is 4 s");
        until("nothing runs", || here.usage().running == 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_abandoned_here_runs_on() {
    for detaches in [false, true] {
        let here = over(Durable::default());
        let service = app(here.layer(), move |request| {
            let operation = handle(&request);
            async move {
                if detaches {
                    operation.detach().await.unwrap();
                }
                tokio::time::sleep(LEASE * 10).await;
                Ok(ok("unheard"))
            }
        });
        let monitor = accepted(&service, post("/")).await;
        until("it runs", || here.usage().running == 1).await;
        tokio::time::sleep(LEASE).await;
        here.abandon(id_of(&monitor)).await.unwrap();
        tokio::time::sleep(LEASE * 8).await;
        assert_eq!(here.usage().running, 1);
        until("nothing runs", || here.usage().running == 0).await;
    }
}

/// With real time: each runtime has its own.
#[test]
fn claims_outlive_the_runtime_in_which_they_were_seen_to() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let lease = Duration::from_millis(600);
        let options = tower_lro::store::SqliteOptions::default().lease(lease);
        over(options.open(folder.path().join("operations.db")).unwrap())
    };
    let (here, there) = (open(), open());
    let runtime = || {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.worker_threads(1).enable_all().build().unwrap()
    };
    let (first, second) = (runtime(), runtime());
    let service = app(here.layer(), never);
    first.block_on(accepted(&service, post("/")));
    second.block_on(async {
        let monitor = accepted(&service, post("/")).await;
        until("both run", || here.usage().running == 2).await;
        first.shutdown_background();
        let elsewhere = app(there.layer(), never);
        let polled = with(request("GET", &monitor), "prefer", "wait=3");
        let polled = send(&elsewhere, polled).await.unwrap();
        assert_eq!(polled.status, 202, "{}", polled.text());
    });
}

/// Of two runtimes of one process. What goes with one of them is not renewed on behalf of what runs on in the other.
#[test]
fn what_went_with_its_runtime_is_lost_though_others_of_its_process_run_on() {
    let folder = tempfile::tempdir().unwrap();
    let options = tower_lro::store::SqliteOptions::default().lease(seconds(1));
    let operations = over(options.open(folder.path().join("operations.db")).unwrap());
    let runtime = || {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.worker_threads(1).enable_all().build().unwrap()
    };
    let (first, second) = (runtime(), runtime());
    let service = app(operations.layer(), never);
    let gone = first.block_on(accepted(&service, post("/")));
    second.block_on(async {
        let stays = accepted(&service, post("/")).await;
        until("both run", || operations.usage().running == 2).await;
        drop(tokio::task::spawn_blocking(move || drop(first)).await);
        let polled = with(request("GET", &gone), "prefer", "wait=20");
        let polled = send(&service, polled).await.unwrap();
        assert_eq!(polled.problem(), "lost");
        assert_eq!(get(&service, &stays).await.status, 202);
    });
}

/// With real time: each runtime has its own.
#[test]
fn who_waits_hears_of_others_though_the_runtime_is_gone_that_listened() {
    let store = Durable::default();
    let (here, there) = (over(store.apart()), over(store.apart()));
    let runtime = || {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.worker_threads(1).enable_all().build().unwrap()
    };
    let (first, second) = (runtime(), runtime());
    second.block_on(async {
        let id = id_of(&accepted(&app(there.layer(), never), post("/")).await);
        until("it runs", || there.usage().running == 1).await;
        let watch =
            move |here: Operations| async move { here.changed(id, Revision(u64::MAX)).await };
        first.spawn(watch(here.clone()));
        until("one waits", || here.usage().readers == 1).await;
        let told = tokio::spawn(watch(here.clone()));
        until("both wait", || here.usage().readers == 2).await;
        first.shutdown_background();
        until("one waits", || here.usage().readers == 1).await;
        there.cancel(id).await.unwrap();
        let told = tokio::time::timeout(seconds(5), told).await;
        let record = told.expect("it waits for ever").unwrap().unwrap();
        assert!(record.unwrap().phase().is_ended());
    });
}

#[tokio::test(start_paused = true)]
async fn what_outlasts_its_wait_is_renewed_like_all_else() {
    let store = Durable::default();
    let (here, there) = (over(store.clone()), over(store.apart()));
    let service = app(here.layer(), lasting(LEASE * 4));
    let held = with(post("/"), "prefer", "wait=2");
    let monitor = send(&service, held).await.unwrap().location();
    let elsewhere = app(there.layer(), never);
    assert_eq!(get(&elsewhere, &monitor).await.status, 202);
    tokio::time::sleep(LEASE * 3).await;
    assert_eq!(get(&elsewhere, &monitor).await.status, 202);
    assert_eq!(outcome(&elsewhere, &monitor).await.text(), "done");
}

#[tokio::test(start_paused = true)]
async fn renewals_that_fail_are_tried_again_a_second_later_and_not_at_once() {
    let store = Durable::default();
    let operations = over(store.clone());
    let service = app(operations.layer(), never);
    accepted(&service, post("/")).await;
    until("it runs", || operations.usage().running == 1).await;
    tokio::time::sleep(seconds(1)).await;
    let faults = Faults {
        down: true,
        ..Faults::default()
    };
    store.break_down(faults);
    let before = store.renewals();
    for second in 1..=10 {
        tokio::time::advance(seconds(1)).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let tries = store.renewals() - before;
        assert!(tries <= second, "{tries} in {second} s");
    }
    assert!(store.renewals() > before + 1);
}

/// What runs for `time`.
fn lasting(time: Duration) -> impl Fn(Request<Body>) -> Lasting + Clone + Send + Sync + 'static {
    move |_| {
        Box::pin(async move {
            tokio::time::sleep(time).await;
            Ok(ok("done"))
        })
    }
}

type Lasting = std::pin::Pin<Box<dyn Future<Output = Result<Response<Body>, Fault>> + Send>>;

#[tokio::test(start_paused = true)]
async fn what_runs_outlives_renewals_that_fail() {
    let store = Durable::default();
    let operations = over(store.clone());
    let service = app(operations.layer(), lasting(LEASE * 6));
    let monitor = accepted(&service, post("/")).await;
    tokio::time::sleep(seconds(1)).await;
    store.break_down(DOWN);
    tokio::time::sleep(LEASE * 3).await;
    assert_eq!(get(&service, &monitor).await.refusal().0, 503);
    store.break_down(Faults::default());
    assert_eq!(outcome(&service, &monitor).await.text(), "done");
}

#[tokio::test(start_paused = true)]
async fn nobody_takes_its_own_claims_for_those_of_the_dead() {
    let store = Durable::default();
    let operations = over(store.clone());
    let service = app(operations.layer(), lasting(LEASE * 6));
    let monitor = accepted(&service, post("/")).await;
    tokio::time::sleep(seconds(1)).await;
    // Only renewals: sweeps could be done.
    store.break_down(DEAF);
    tokio::time::sleep(LEASE * 3).await;
    assert_eq!(get(&service, &monitor).await.status, 202);
    store.break_down(Faults::default());
    assert_eq!(outcome(&service, &monitor).await.text(), "done");
}

/// As a machine that is suspended, or a container that is frozen. Who looks on here holds no claim of its own.
#[tokio::test(start_paused = true)]
async fn who_stood_still_with_all_others_takes_nobody_for_dead() {
    let store = Durable::default();
    let (here, there) = (over(store.clone()), over(store.apart()));
    let service = app(here.layer(), lasting(LEASE * 6));
    let monitor = accepted(&service, post("/")).await;
    let elsewhere = app(there.layer(), never);
    assert_eq!(get(&elsewhere, &monitor).await.status, 202);
    tokio::time::sleep(LEASE).await;
    // Wakes up late.
    store.break_down(DEAF);
    tokio::time::advance(LEASE * 2).await;
    tokio::time::sleep(LEASE / 2).await;
    assert_eq!(get(&elsewhere, &monitor).await.status, 202);
    store.break_down(Faults::default());
    assert_eq!(outcome(&elsewhere, &monitor).await.text(), "done");
}

#[tokio::test(start_paused = true)]
async fn who_stood_still_takes_the_dead_for_dead_a_lease_later() {
    let store = Durable::default();
    let monitor = left_by_the_dead(&store);
    let service = app(over(store).layer(), never);
    assert_eq!(get(&service, &monitor).await.status, 202);
    tokio::time::sleep(seconds(1)).await;
    tokio::time::advance(LEASE * 2).await;
    tokio::time::sleep(LEASE - seconds(1)).await;
    assert_eq!(get(&service, &monitor).await.status, 202);
    tokio::time::sleep(seconds(2)).await;
    assert_eq!(get(&service, &monitor).await.problem(), "lost");
}

/// On a real file, whose store tells by the process's own clock that nobody has renewed a claim.
#[tokio::test]
async fn a_worker_takes_nothing_while_its_process_is_late() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let file = folder.path().join(format!("{round}.db"));
        let options = tower_lro::store::SqliteOptions::default().lease(seconds(1));
        let operations = over(options.open(file).unwrap());
        let worker = operations.worker("default", service_fn(never));
        let worker = tokio::spawn(worker.poll_every(Duration::from_millis(20)).run());
        let service = app(operations.layer(), lasting(seconds(4)));
        let monitor = accepted(&service, post("/")).await;
        tokio::time::sleep(Duration::from_millis(1000 + 60 * round)).await;
        // As a process that is stopped and woken.
        std::thread::sleep(seconds(2));
        let answer = get(&service, &format!("{monitor}?")).await;
        assert_eq!(answer.status, 202, "{answer}");
        assert_eq!(outcome(&service, &monitor).await.text(), "done");
        worker.abort();
    }
}

/// On a real file, where a worker that looks for work all the time is mostly the first to see what is due.
#[tokio::test]
async fn what_is_lost_is_told_once_and_wakes_who_waits() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let options = tower_lro::store::SqliteOptions::default();
        let options = options.lease(Duration::from_millis(300));
        options.open(folder.path().join("operations.db")).unwrap()
    };
    let dies = over(open());
    let lost = std::thread::spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        runtime.block_on(accepted(&app(dies.layer(), never), post("/")))
    });
    let lost = lost.join().unwrap();

    let (told, mut ended) = tokio::sync::mpsc::unbounded_channel();
    let operations = Operations::builder()
        .store(open())
        .on_end(move |record| {
            let _ = told.send(record.id);
        })
        .build()
        .unwrap();
    let worker = operations.worker("default", service_fn(never));
    let worker = tokio::spawn(worker.poll_every(Duration::from_millis(1)).run());
    let service = app(operations.layer(), lasting(Duration::ZERO));
    assert_eq!(outcome(&service, &lost).await.problem(), "lost");
    assert_eq!(ended.recv().await, Some(drive::id_of(&lost)));
    // Of it nobody is told again: the next to end is another.
    let next = accepted(&service, post("/")).await;
    assert_eq!(outcome(&service, &next).await.text(), "done");
    assert_eq!(ended.recv().await, Some(drive::id_of(&next)));
    worker.abort();
}

#[tokio::test(start_paused = true)]
async fn an_end_waits_for_a_store_that_is_away_longer_than_a_lease() {
    let store = Durable::default();
    let operations = over(store.clone());
    let service = app(operations.layer(), lasting(seconds(5)));
    let monitor = accepted(&service, post("/")).await;
    tokio::time::sleep(seconds(1)).await;
    store.break_down(DOWN);
    tokio::time::sleep(LEASE * 3).await;
    assert_eq!(operations.usage().running, 1);
    store.break_down(Faults::default());
    assert_eq!(outcome(&service, &monitor).await.text(), "done");
}

/// Runs something in a runtime of its own until something of it runs, and kills that, as a process is killed.
fn killed<F, Fut>(store: &Durable, begin: F) -> String
where
    F: FnOnce(Operations) -> Fut + Send + 'static,
    Fut: Future<Output = String>,
{
    let operations = over(store.apart());
    let thread = std::thread::spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        let told = runtime.block_on(async {
            let told = begin(operations.clone()).await;
            until("it runs", || operations.usage().running == 1).await;
            told
        });
        drop(runtime);
        told
    });
    thread.join().unwrap()
}

/// The monitor of what a process has accepted that was killed while it ran.
fn left_by_the_dead(store: &Durable) -> String {
    killed(store, async |operations| {
        accepted(&app(operations.layer(), never), post("/")).await
    })
}

#[tokio::test(start_paused = true)]
async fn a_poll_is_enough_to_find_what_was_lost() {
    let store = Durable::default();
    let monitor = left_by_the_dead(&store);
    // Nothing is accepted here, and nothing runs.
    let service = app(over(store).layer(), never);
    assert_eq!(get(&service, &monitor).await.status, 202);
    tokio::time::sleep(LEASE * 2).await;
    assert_eq!(get(&service, &monitor).await.problem(), "lost");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_what_was_lost_is_told_before_the_wait_is_over() {
    let store = Durable::default();
    let monitor = left_by_the_dead(&store);
    let service = app(over(store).layer(), never);
    let waiting = with(request("GET", &monitor), "prefer", "wait=45");
    let asked = tokio::time::Instant::now();
    let answer = send(&service, waiting).await.unwrap();
    assert_eq!(answer.problem(), "lost");
    assert!(asked.elapsed() <= LEASE * 2, "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_kills_its_process_each_time_ends_after_its_attempts() {
    let store = Durable::default();
    let runs = Arc::new(AtomicUsize::new(0));
    let handler = {
        let runs = runs.clone();
        move |_| {
            runs.fetch_add(1, SeqCst);
            pending()
        }
    };
    let service = app(over(store.apart()).layer(), never);
    let first = handler.clone();
    let monitor = killed(&store, async |operations| {
        let layer = operations.layer().attempts(times(3));
        accepted(&app(layer, first), post("/")).await
    });
    for attempt in 2..=3 {
        assert_eq!(get(&service, &monitor).await.status, 202);
        tokio::time::sleep(LEASE * 2).await;
        let json = get(&service, &format!("{monitor}/status")).await.json();
        assert_eq!(
            (&json["status"], &json["attempt"]),
            (&"accepted".into(), &attempt.into())
        );
        let again = handler.clone();
        killed(&store, async |operations| {
            work(&operations, again);
            String::new()
        });
    }
    tokio::time::sleep(LEASE * 2).await;
    assert_eq!(get(&service, &monitor).await.problem(), "lost");
    assert_eq!(runs.load(SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_claimed_by_a_worker_that_goes_is_run_all_the_same() {
    let store = Durable::default();
    let gate = store.gate_claims();
    let operations = over(store);
    let service = app(operations.layer().accept_only(), never);
    let worker = work(&operations, lasting(seconds(1)));
    let monitor = accepted(&service, post("/")).await;
    tokio::time::sleep(seconds(2)).await;
    worker.abort();
    tokio::time::sleep(seconds(1)).await;
    gate.add_permits(1);
    assert_eq!(outcome(&service, &monitor).await.text(), "done");
    // It has taken no more.
    let monitor = accepted(&service, post("/")).await;
    tokio::time::sleep(seconds(30)).await;
    assert_eq!(get(&service, &monitor).await.json()["status"], "accepted");
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_what_is_being_claimed_and_gives_it_back() {
    let store = Durable::default();
    let gate = store.gate_claims();
    let (here, there) = (over(store.clone()), over(store.apart()));
    let service = app(here.layer().accept_only(), never);
    work(&here, never);
    let monitor = accepted(&service, post("/")).await;
    tokio::time::sleep(seconds(2)).await;
    let drain = tokio::spawn({
        let here = here.clone();
        async move { here.drain(seconds(20)).await }
    });
    tokio::time::sleep(seconds(2)).await;
    assert!(!drain.is_finished());
    gate.add_permits(2);
    assert_eq!(drain.await.unwrap().handed_back, 1);
    work(&there, lasting(seconds(1)));
    let elsewhere = app(there.layer(), never);
    assert_eq!(outcome(&elsewhere, &monitor).await.text(), "done");
}

#[tokio::test(start_paused = true)]
async fn what_is_run_elsewhere_has_what_its_layer_allows() {
    let operations = over(Durable::default());
    let layer = operations.layer().accept_only();
    let slow = app(layer.clone().run_time(seconds(5)), never);
    let long = app(layer.response_body(3), never);
    let slow = (accepted(&slow, post("/slow")).await, slow);
    let long = (accepted(&long, post("/long")).await, long);
    work(&operations, |request| async move {
        match request.uri().path() {
            "/slow" => pending().await,
            _ => Ok(ok("four")),
        }
    });
    assert_eq!(
        outcome(&long.1, &long.0).await.problem(),
        "result-too-large"
    );
    tokio::time::sleep(seconds(6)).await;
    assert_eq!(get(&slow.1, &slow.0).await.problem(), "timed-out");
}

/// An operation whose request is long, and whose worker can't read it.
async fn unreadable(store: &Durable, kind: StoreErrorKind) -> (drive::App, String) {
    let operations = over(store.clone());
    let service = app(operations.layer().accept_only(), never);
    store.break_down(Faults {
        read: Some((1, kind)),
        ..Faults::default()
    });
    work(&operations, lasting(seconds(1)));
    let body = Request::post("/").body(full(vec![b'x'; 1 << 20])).unwrap();
    let monitor = accepted(&service, body).await;
    (service, monitor)
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_now_is_run_later() {
    let store = Durable::default();
    let (service, monitor) = unreadable(&store, StoreErrorKind::Unavailable).await;
    tokio::time::sleep(LEASE * 3).await;
    assert_eq!(get(&service, &monitor).await.json()["status"], "accepted");
    store.break_down(Faults::default());
    assert_eq!(outcome(&service, &monitor).await.text(), "done");
}

#[tokio::test(start_paused = true)]
async fn what_can_never_be_read_is_not_started() {
    let (service, monitor) = unreadable(&Durable::default(), StoreErrorKind::Unavailable).await;
    tokio::time::sleep(Limits::default().start_within + seconds(10)).await;
    assert_eq!(get(&service, &monitor).await.problem(), "not-started");
}

#[tokio::test(start_paused = true)]
async fn what_is_damaged_is_lost() {
    let (service, monitor) = unreadable(&Durable::default(), StoreErrorKind::Corrupt).await;
    tokio::time::sleep(seconds(5)).await;
    assert_eq!(get(&service, &monitor).await.problem(), "lost");
}

#[tokio::test(start_paused = true)]
async fn no_document_of_an_attempt_has_the_tag_of_one_of_the_attempt_before() {
    let store = Durable::default();
    let (here, there) = (over(store.clone()), over(store.apart()));
    // What is seen here is not known there.
    store.break_down(DEAF);
    let steps = [(); 2].map(|()| Arc::new(Semaphore::new(0)));
    let handler = {
        let steps = steps.clone();
        move |request: Request<Body>| {
            let handle = handle(&request);
            let step = steps[usize::from(handle.attempt()) - 1].clone();
            async move {
                for number in 1_u8.. {
                    step.acquire().await.unwrap().forget();
                    handle.progress(f32::from(number) / 8.0, "");
                }
                pending().await
            }
        }
    };
    let service = app(here.layer().attempts(times(2)), handler.clone());
    let elsewhere = app(there.layer(), never);
    let monitor = accepted(&service, post("/")).await;
    let status = format!("{monitor}/status");
    let tag = async |service: &App| {
        let answer = get(service, &status).await;
        answer.field("etag").unwrap().to_owned()
    };
    let tags = async |operations: &Operations, service: &App, step: &Semaphore| {
        until("it runs", || operations.usage().running == 1).await;
        tokio::task::yield_now().await;
        let mut tags = vec![tag(service).await];
        for _ in 0..8 {
            let id = id_of(&monitor);
            let since = operations.get(id).await.unwrap().unwrap().revision;
            step.add_permits(1);
            let changed = operations.changed(id, since).await.unwrap().unwrap();
            assert!(changed.revision > since);
            tags.push(tag(service).await);
        }
        tags
    };
    let first = tags(&here, &service, &steps[0]).await;
    let seen = here.get(id_of(&monitor)).await.unwrap().unwrap().revision;
    work(&there, handler);
    until("it is taken over", || there.usage().running == 1).await;

    // Whoever has seen more of the first attempt than there is of the second has news all the same.
    let news = there.changed(id_of(&monitor), seen);
    let news = tokio::time::timeout(seconds(1), news)
        .await
        .expect("there is news");
    assert_eq!(news.unwrap().unwrap().attempt, 2);
    let poll = with(
        request("GET", &status),
        "if-none-match",
        first.last().unwrap(),
    );
    let poll = send(&elsewhere, with(poll, "prefer", "wait=30"));
    let answer = tokio::time::timeout(seconds(1), poll)
        .await
        .expect("there is news");
    assert_eq!(answer.unwrap().json()["attempt"], 2);

    let second = tags(&there, &elsewhere, &steps[1]).await;
    assert_eq!(first[0], "\"running-2\"");
    for tag in &second {
        assert!(!first.contains(tag), "{tag} in {first:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_process_has_shown_is_no_news_at_another_that_does_not_know_it_yet() {
    let store = Durable::default();
    let (here, there) = (over(store.clone()), over(store.apart()));
    let service = app(here.layer(), |request: Request<Body>| {
        let handle = handle(&request);
        async move {
            handle.progress(0.5, "half");
            tokio::time::sleep(seconds(40)).await;
            handle.progress(0.75, "more");
            pending().await
        }
    });
    let elsewhere = app(there.layer(), never);
    let monitor = accepted(&service, post("/")).await;
    let status = format!("{monitor}/status");
    let tag = async || {
        let answer = get(&service, &status).await;
        answer.field("etag").unwrap().to_owned()
    };
    tokio::task::yield_now().await;
    let seen = tag().await;
    let behind = get(&elsewhere, &status).await;
    assert_ne!(behind.field("etag").unwrap(), seen);

    // As Apache's compression marks it, it is the same.
    let marked = seen.replace("\"running-3\"", "\"running-3-gzip\"");
    assert_ne!(marked, seen);
    for seen in [&seen, &marked] {
        let begun = tokio::time::Instant::now();
        let poll = with(request("GET", &status), "if-none-match", seen);
        let answer = send(&elsewhere, with(poll, "prefer", "wait=1")).await;
        assert!(answer.is_ok());
        assert_eq!(begun.elapsed(), seconds(1), "{seen}");
    }
    let poll = with(request("GET", &status), "if-none-match", &seen);
    let answer = send(&elsewhere, with(poll, "prefer", "wait=30")).await;
    assert_eq!(answer.unwrap().status, 304);
    let poll = with(request("GET", &status), "if-none-match", &seen);
    let answer = send(&elsewhere, with(poll, "prefer", "wait=30")).await;
    assert_eq!(answer.unwrap().json()["progress"]["fraction"], 0.75);
}

/// Attempts that run side by side in one process: the claim of the first has lapsed without its notice.
struct Twice {
    operations: Operations,
    service: App,
    monitor: String,
    /// Attempts that ended because they were dropped.
    dropped: Arc<Mutex<Vec<u16>>>,
    /// Lets the first attempt end.
    gate: Arc<Semaphore>,
    handles: Arc<Mutex<Vec<OperationHandle>>>,
}

impl Twice {
    async fn over(store: impl Store + Clone) -> Self {
        let operations = over(store.clone());
        let dropped = Arc::<Mutex<Vec<u16>>>::default();
        let handles = Arc::<Mutex<Vec<OperationHandle>>>::default();
        let gate = Arc::new(Semaphore::new(0));
        let handler = {
            let (dropped, handles, gate) = (dropped.clone(), handles.clone(), gate.clone());
            move |request: Request<Body>| {
                let (dropped, gate, handle) = (dropped.clone(), gate.clone(), handle(&request));
                handles.lock().unwrap().push(handle.clone());
                async move {
                    let attempt = handle.attempt();
                    let noted = OnDrop(move || dropped.lock().unwrap().push(attempt));
                    match attempt {
                        1 => gate.acquire().await.unwrap().forget(),
                        _ => pending().await,
                    }
                    noted.disarm();
                    Ok(ok("by the first"))
                }
            }
        };
        let service = app(operations.layer().accept_only().attempts(times(2)), never);
        let monitor = accepted(&service, post("/")).await;
        work(&operations, handler);
        until("the first runs", || handles.lock().unwrap().len() == 1).await;
        let twice = Self {
            operations,
            service,
            monitor,
            dropped,
            gate,
            handles,
        };
        // What the store does with a claim that has lapsed, at a moment when nobody here looks. The operation has the
        // first number that the store has drawn, and its claim the second.
        let id = id_of(&twice.monitor);
        let record = twice.operations.get(id).await.unwrap().unwrap();
        let seen = Sighting {
            revision: record.revision.next(),
            at: record.updated,
            started: record.started,
            report: None,
        };
        let lapsed = store.release(&Claim::new(id, 1, 2), &seen).await;
        assert!(matches!(lapsed, Ok(Settled::Done(_))), "{lapsed:?}");
        until("the second runs", || {
            twice.handles.lock().unwrap().len() == 2
        })
        .await;
        twice
    }

    async fn fraction(&self) -> serde_json::Value {
        let status = get(&self.service, &format!("{}/status", self.monitor)).await;
        status.json()["progress"]["fraction"].clone()
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_takes_its_own_operation_over_stops_the_run_before_at_once() {
    let store = Durable::default();
    let twice = Twice::over(store.clone()).await;
    until("the first has stopped", || {
        !twice.dropped.lock().unwrap().is_empty()
    })
    .await;
    assert_eq!(store.renewals(), 0, "nobody had to tell it");
    assert_eq!(*twice.dropped.lock().unwrap(), [1]);
    tokio::time::sleep(LEASE * 3).await;
    assert_eq!(twice.operations.usage().running, 1);
    twice
        .operations
        .cancel(id_of(&twice.monitor))
        .await
        .unwrap();
    until("the second has stopped", || {
        twice.dropped.lock().unwrap().len() == 2
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_cancel_reaches_all_runs_of_an_operation() {
    let twice = Twice::over(Arc::<MemoryStore>::default()).await;
    assert_eq!(twice.operations.usage().running, 2);
    twice
        .operations
        .cancel(id_of(&twice.monitor))
        .await
        .unwrap();
    until("both have stopped", || {
        twice.operations.usage().running == 0
    })
    .await;
    assert_eq!(twice.dropped.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_run_that_was_overtaken_leaves_the_other_to_be_seen_and_cancelled() {
    let twice = Twice::over(Arc::<MemoryStore>::default()).await;
    let handles = twice.handles.lock().unwrap().clone();
    handles[1].progress(0.5, "second");
    for _ in 0..5 {
        handles[0].progress(0.9, "first");
    }
    assert_eq!(twice.fraction().await, 0.5);
    twice.gate.add_permits(1);
    until("the first is over", || {
        twice.operations.usage().running == 1
    })
    .await;
    handles[1].progress(0.75, "second");
    assert_eq!(twice.fraction().await, 0.75);
    twice
        .operations
        .cancel(id_of(&twice.monitor))
        .await
        .unwrap();
    until("the second has stopped", || {
        twice.operations.usage().running == 0
    })
    .await;
    assert_eq!(*twice.dropped.lock().unwrap(), [2]);
    assert_eq!(twice.fraction().await, 0.75, "its last words are kept");
}
