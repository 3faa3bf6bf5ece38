//! Everything that can end an operation, against everything else, on real threads.
//!
//! Each race is run again and again for a few seconds, or `TOWER_LRO_ROUNDS` times. What a round does follows from its
//! seed, up to the threads; a round that fails shows it, and `TOWER_LRO_SEED` begins with it.

mod common {
    pub(crate) mod drive;
    pub(crate) mod store;
}

use common::{drive::*, store::Faulty};
use http::{Request, Response};
use std::{
    collections::HashMap,
    future::{Future, pending},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{sync::Barrier, task::JoinSet};
use tower_lro::{
    Limits, OperationId, Operations, Store,
    record::{Ending, Phase, Revision, Stop, Timestamp},
    store::{MemoryLimits, Settled},
};

/// Of each race, where nothing else is said.
const TIME: Duration = Duration::from_secs(3);

/// A generator of no quality but speed (xorshift).
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    /// Of their own for somebody else.
    fn split(&mut self) -> Self {
        Self(self.below(u64::MAX) | 1)
    }

    async fn sleep(&mut self, below: Duration) {
        let micros = self.below(below.as_micros() as u64 + 1);
        // A sleep is of a millisecond at least: what is shorter is spent in the queue.
        if micros < 1000 {
            for _ in 0..micros / 50 {
                tokio::task::yield_now().await;
            }
        } else {
            tokio::time::sleep(Duration::from_micros(micros)).await;
        }
    }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Runs a race on four threads, again and again. A round that takes 20 s has hung.
fn race<F: Future<Output = ()> + Send + 'static>(round: impl Fn(Dice) -> F) {
    let setting = |name| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().unwrap())
    };
    let rounds = setting("TOWER_LRO_ROUNDS");
    let first = setting("TOWER_LRO_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.unwrap().as_nanos() as u64
    });
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(4).enable_all().build().unwrap();
    let start = Instant::now();
    for number in 0.. {
        if rounds.map_or(start.elapsed() > TIME, |rounds| number >= rounds) {
            println!("{number} rounds");
            return;
        }
        let seed = first.wrapping_add(number).max(1);
        let shown = OnDrop(|| eprintln!("TOWER_LRO_SEED={seed}"));
        // Near seeds are to differ soon.
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        dice.below(2);
        let round = round(dice);
        runtime.block_on(async {
            // In every other round all threads have enough to do, so that each is stopped at any point of its way.
            let mut noise = JoinSet::new();
            for _ in 0..seed % 2 * 8 {
                noise.spawn(async {
                    loop {
                        tokio::task::yield_now().await;
                    }
                });
            }
            let round = tokio::time::timeout(Duration::from_secs(20), tokio::spawn(round));
            round.await.expect("nobody hangs").expect("the round holds");
        });
        shown.disarm();
    }
}

/// What became of each operation, by the engine's own account.
type Ends = Arc<Mutex<HashMap<OperationId, Vec<Phase>>>>;

fn told_of_ends(set: impl FnOnce(&mut Limits)) -> (Operations, Ends) {
    let ends = Ends::default();
    let told = ends.clone();
    let mut limits = Limits::default();
    set(&mut limits);
    let builder = Operations::builder().limits(limits).store(Faulty::mute());
    let builder = builder.shared_keys().on_end(move |record| {
        let mut told = told.lock().unwrap();
        told.entry(record.id).or_default().push(record.phase());
    });
    (builder.build().unwrap(), ends)
}

/// How an operation ended, as a client was told; `None` while it is pending or once it is gone.
fn seen(answer: &Answer) -> Option<String> {
    let outcome = answer.field("operation-outcome")?;
    Some(format!("{} {outcome} {}", answer.status, answer.text()))
}

#[test]
fn an_operation_ends_once_whatever_meets() {
    race(|mut dice| async move {
        let drains = dice.below(3) == 0;
        let keep_for = [millis(2), millis(8), millis(60_000)][dice.below(3) as usize];
        let (operations, ends) = told_of_ends(|limits| {
            limits.running = 4;
            limits.run_time = millis(5);
            limits.start_within = millis(20);
            limits.keep_for = keep_for;
            limits.cancel_grace = millis(dice.below(2) * 2);
        });
        let luck = Arc::new(Mutex::new(dice.split()));
        let inner = move |request: Request<Body>| {
            let (operation, mut dice) = (handle(&request), luck.lock().unwrap().split());
            async move {
                for step in 0..dice.below(4) {
                    operation.progress(0.1 * step as f32, "on its way");
                    dice.sleep(millis(3)).await;
                }
                match dice.below(8) {
                    0 => panic!("as the dice fell"),
                    1 => Err(Fault::other("as the dice fell")),
                    2 => pending().await,
                    3 => {
                        let _ = operation.detach().await;
                        Ok(ok("detached"))
                    }
                    _ => Ok(ok("done")),
                }
            }
        };
        let app = app(operations.layer(), inner);
        let mut everybody = JoinSet::new();
        for _ in 0..12 {
            let (app, operations, mut dice) = (app.clone(), operations.clone(), dice.split());
            everybody.spawn(async move {
                let wait = ["wait=0", "wait=0", "wait=5"][dice.below(3) as usize];
                let keyed = dice.below(2) == 0;
                let mut submit = with(post("/work"), "prefer", wait);
                if keyed {
                    let key = format!("\"{}\"", dice.below(u64::MAX));
                    submit = with(submit, "idempotency-key", &key);
                }
                let monitor = match send(&app, submit).await {
                    Ok(answer) if answer.status == 202 => answer.location(),
                    // Answered at once, refused, or as without the layer.
                    Ok(_) | Err(_) => return None,
                };
                let id = id_of(&monitor);
                let mut actors = JoinSet::new();
                for actor in 0..5 {
                    let (app, operations) = (app.clone(), operations.clone());
                    let (monitor, mut dice) = (monitor.clone(), dice.split());
                    actors.spawn(async move {
                        dice.sleep(millis(8)).await;
                        match actor {
                            0 if dice.below(2) == 0 => {
                                delete(&app, &monitor).await;
                            }
                            1 if dice.below(3) == 0 => {
                                operations.complete(id, ok("from outside")).await.unwrap();
                            }
                            2 if dice.below(3) == 0 => {
                                delete(&app, &format!("{monitor}/result")).await;
                            }
                            _ => {
                                let poll = with(request("GET", &monitor), "prefer", "wait=1");
                                return seen(&send(&app, poll).await.unwrap());
                            }
                        }
                        None
                    });
                }
                let mut all_seen: Vec<_> = actors.join_all().await.into_iter().flatten().collect();
                // What was detached and forgotten is ended at last.
                operations.cancel(id).await.unwrap();
                all_seen.extend(seen(&get(&app, &monitor).await));
                Some((id, all_seen))
            });
        }
        if drains {
            dice.sleep(millis(10)).await;
            operations.drain(millis(dice.below(5))).await;
        }
        let mut accepted = HashMap::new();
        while let Some(client) = everybody.join_next().await {
            accepted.extend(client.unwrap());
        }
        quiet(&operations).await;
        let ends = ends.lock().unwrap();
        for (id, seen) in &accepted {
            let ends = ends.get(id).map(Vec::as_slice).unwrap_or_default();
            assert_eq!(ends.len(), 1, "ended {ends:?}, seen {seen:?}");
            assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
        }
        assert!(ends.values().all(|ends| ends.len() == 1));
    });
}

#[test]
fn a_store_that_fails_now_and_then_changes_nothing_but_the_time() {
    race(|mut dice| async move {
        let store = Faulty::moody(dice.below(u64::MAX));
        let ends = Ends::default();
        let told = ends.clone();
        let calls = Arc::new(Mutex::new(HashMap::<OperationId, usize>::new()));
        let count = calls.clone();
        let operations = Operations::builder()
            .store(store.clone())
            .on_end(move |record| {
                let mut told = told.lock().unwrap();
                told.entry(record.id).or_default().push(record.phase());
            })
            .build()
            .unwrap();
        let luck = Arc::new(Mutex::new(dice.split()));
        let inner = move |request: Request<Body>| {
            let mut dice = luck.lock().unwrap().split();
            let id = handle(&request).id();
            *count.lock().unwrap().entry(id).or_default() += 1;
            async move {
                dice.sleep(millis(4)).await;
                Ok(ok("done"))
            }
        };
        let app = app(operations.layer(), inner);
        let mut clients = JoinSet::new();
        for _ in 0..16 {
            let (app, mut dice) = (app.clone(), dice.split());
            clients.spawn(async move {
                let answer = send(&app, post("/work")).await.unwrap();
                if answer.status != 202 {
                    assert_eq!(answer.refusal(), (503, "unavailable".into()));
                    return None;
                }
                let monitor = answer.location();
                let mut all_seen = Vec::new();
                for _ in 0..6 {
                    dice.sleep(millis(3)).await;
                    let answer = match dice.below(4) {
                        0 => delete(&app, &monitor).await,
                        _ => {
                            let poll = with(request("GET", &monitor), "prefer", "wait=1");
                            send(&app, poll).await.unwrap()
                        }
                    };
                    // It is there: nobody is told otherwise because the store can't say.
                    assert_ne!(answer.status, 404, "{answer}");
                    all_seen.extend(seen(&answer));
                }
                Some((monitor, all_seen))
            });
        }
        let accepted: Vec<_> = clients.join_all().await.into_iter().flatten().collect();
        store.heal();
        quiet(&operations).await;
        for (monitor, mut all_seen) in accepted {
            let answer = get(&app, &monitor).await;
            all_seen.push(seen(&answer).expect("it has ended"));
            assert!(
                all_seen.windows(2).all(|pair| pair[0] == pair[1]),
                "{all_seen:?}"
            );
            let id = id_of(&monitor);
            assert!(
                calls
                    .lock()
                    .unwrap()
                    .get(&id)
                    .is_none_or(|calls| *calls == 1)
            );
            // Told once, or not at all where nobody knew whose doing it was.
            assert!(
                ends.lock()
                    .unwrap()
                    .get(&id)
                    .is_none_or(|ends| ends.len() == 1)
            );
        }
        assert_eq!(held(operations.usage()), [0; 5]);
    });
}

#[test]
fn one_key_a_hundred_times_at_once_runs_once() {
    race(|mut dice| async move {
        let (operations, ends) = told_of_ends(|_| {});
        let calls = Arc::new(AtomicUsize::new(0));
        let (count, luck) = (calls.clone(), dice.split());
        let inner = move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            let mut dice = luck.clone();
            async move {
                dice.sleep(millis(3)).await;
                Ok(ok("done"))
            }
        };
        let app = app(operations.layer(), inner);
        let held = dice.below(2) == 0;
        let together = Arc::new(Barrier::new(100));
        let mut clients = JoinSet::new();
        for _ in 0..100 {
            let (app, together) = (app.clone(), together.clone());
            clients.spawn(async move {
                let mut submit = with(post("/work"), "idempotency-key", "\"one\"");
                if held {
                    submit = with(submit, "prefer", "wait=20");
                }
                together.wait().await;
                send(&app, submit).await.unwrap()
            });
        }
        let answers = clients.join_all().await;
        let mut monitors: Vec<_> = Vec::new();
        for answer in &answers {
            match answer.status.as_u16() {
                202 => monitors.push(answer.location()),
                200 if held => assert_eq!(answer.text(), "done"),
                _ => panic!("{answer}"),
            }
        }
        assert!(held || monitors.len() == 100);
        monitors.sort();
        monitors.dedup();
        assert!(monitors.len() <= 1, "{monitors:?}");
        for monitor in monitors {
            assert_eq!(outcome(&app, &monitor).await.text(), "done");
        }
        quiet(&operations).await;
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        assert_eq!(operations.usage().stored, 1);
        assert_eq!(ends.lock().unwrap().len(), 1);
    });
}

#[test]
fn a_detach_a_cancel_and_a_finish_have_one_winner() {
    race(|mut dice| async move {
        let (operations, ends) = told_of_ends(|_| {});
        let detached = Arc::new(Mutex::new(HashMap::new()));
        let luck = Arc::new(Mutex::new(dice.split()));
        let tell = detached.clone();
        let inner = move |request: Request<Body>| {
            let (operation, mut dice) = (handle(&request), luck.lock().unwrap().split());
            let tell = tell.clone();
            async move {
                // Asked for beside the handler, so that it meets its end.
                let mut other = dice.split();
                let asking = tokio::spawn(async move {
                    other.sleep(millis(2)).await;
                    let told = operation.detach().await;
                    tell.lock().unwrap().insert(operation.id(), told.is_ok());
                });
                if dice.below(2) == 0 {
                    let _ = asking.await;
                } else {
                    dice.sleep(millis(2)).await;
                }
                Ok(ok("done"))
            }
        };
        let app = app(operations.layer(), inner);
        let mut clients = JoinSet::new();
        for _ in 0..16 {
            let (app, operations, mut dice) = (app.clone(), operations.clone(), dice.split());
            clients.spawn(async move {
                let wait = ["wait=0", "wait=5"][dice.below(2) as usize];
                let answer = send(&app, with(post("/work"), "prefer", wait))
                    .await
                    .unwrap();
                if answer.status == 200 {
                    assert_eq!(answer.text(), "done");
                    return None;
                }
                let id = id_of(&answer.location());
                let cancelled = dice.below(2) == 0 && {
                    dice.sleep(millis(3)).await;
                    matches!(operations.cancel(id).await, Ok(Settled::Done(_)))
                };
                Some((id, answer.location(), cancelled))
            });
        }
        let accepted: Vec<_> = clients.join_all().await.into_iter().flatten().collect();
        quiet(&operations).await;
        until("every handle was answered", || {
            let told = detached.lock().unwrap();
            accepted
                .iter()
                .all(|(id, _, cancelled)| *cancelled || told.contains_key(id))
        })
        .await;
        for (id, monitor, cancelled) in accepted {
            let told = detached.lock().unwrap().get(&id).copied();
            let answer = get(&app, &monitor).await;
            match (cancelled, told) {
                (true, _) => assert_eq!(answer.refusal(), (410, "cancelled".into())),
                (false, Some(true)) => {
                    assert_eq!(answer.status, 202, "nobody else ends what was handed over");
                    operations.complete(id, ok("from the bus")).await.unwrap();
                    assert_eq!(get(&app, &monitor).await.text(), "from the bus");
                }
                (false, _) => assert_eq!(answer.text(), "done"),
            }
            assert_eq!(ends.lock().unwrap()[&id].len(), 1);
        }
    });
}

/// All that a reader can wait by.
async fn read_by(way: u64, app: &App, operations: &Operations, monitor: &str) {
    let wait = |uri: &str| with(request("GET", uri), "prefer", "wait=30");
    match way {
        0 | 1 => {
            let suffix = ["", "/result"][way as usize];
            let answer = send(app, wait(&format!("{monitor}{suffix}")))
                .await
                .unwrap();
            assert!(![202, 404].contains(&answer.status.as_u16()), "{answer}");
        }
        2 => {
            // From change to change, as a page that shows the progress.
            let mut tag = "\"0\"".to_owned();
            loop {
                let poll = with(wait(&format!("{monitor}/status")), "if-none-match", &tag);
                let answer = send(app, poll).await.unwrap();
                if answer.status == 410 || answer.json().get("ended").is_some() {
                    return;
                }
                let next = answer.field("etag").unwrap().to_owned();
                assert_ne!(next, tag);
                tag = next;
            }
        }
        _ => {
            let mut since = Revision(0);
            let id = id_of(monitor);
            while let Some(record) = operations.changed(id, since).await.unwrap() {
                if record.phase().is_ended() {
                    return;
                }
                assert!(record.revision > since);
                since = record.revision;
            }
        }
    }
}

#[test]
fn no_reader_misses_the_end() {
    race(|mut dice| async move {
        // The store hints at nothing: whoever wakes has been woken by the engine itself.
        let (operations, _) = told_of_ends(|limits| limits.readers_per_operation = 1000);
        let luck = Arc::new(Mutex::new(dice.split()));
        let inner = move |request: Request<Body>| {
            let (operation, mut dice) = (handle(&request), luck.lock().unwrap().split());
            async move {
                for step in 0..dice.below(30) {
                    operation.progress(0.01 * step as f32, "");
                    dice.sleep(Duration::from_micros(300)).await;
                }
                match dice.below(2) {
                    0 => pending().await,
                    _ => Ok(ok("done")),
                }
            }
        };
        let app = app(operations.layer(), inner);
        let before = Instant::now();
        let mut everybody = JoinSet::new();
        for _ in 0..4 {
            let monitor = accepted(&app, post("/work")).await;
            for number in 0..24 {
                let (app, operations) = (app.clone(), operations.clone());
                let (monitor, mut dice) = (monitor.clone(), dice.split());
                everybody.spawn(async move {
                    dice.sleep(millis(6)).await;
                    // A few go away before they are told.
                    let reading = read_by(number % 4, &app, &operations, &monitor);
                    let patience = if dice.below(4) == 0 {
                        dice.below(4)
                    } else {
                        60_000
                    };
                    let _ = tokio::time::timeout(millis(patience), reading).await;
                });
            }
            let (operations, mut dice) = (operations.clone(), dice.split());
            everybody.spawn(async move {
                dice.sleep(millis(8)).await;
                let id = id_of(&monitor);
                match dice.below(3) {
                    0 => drop(operations.complete(id, ok("from outside")).await),
                    _ => drop(operations.cancel(id).await),
                }
                if dice.below(2) == 0 {
                    drop(operations.forget(id).await);
                }
            });
        }
        everybody.join_all().await;
        assert!(
            before.elapsed() < Duration::from_secs(15),
            "somebody slept through it"
        );
        quiet(&operations).await;
    });
}

#[test]
fn no_reader_misses_an_end_that_comes_from_elsewhere() {
    race(|mut dice| async move {
        // Ended in the store, behind the engine's back, as another process would: only the store's hints tell of it.
        let store = Faulty::new(MemoryLimits::default());
        let operations = Operations::builder().store(store.clone()).build().unwrap();
        let inner = |_| pending::<Result<Response<Body>, Fault>>();
        let app = app(operations.layer(), inner);
        let before = Instant::now();
        for _ in 0..4 {
            let monitor = accepted(&app, post("/work")).await;
            let mut everybody = JoinSet::new();
            for number in 0..8 {
                let (app, operations) = (app.clone(), operations.clone());
                let (monitor, mut dice) = (monitor.clone(), dice.split());
                everybody.spawn(async move {
                    dice.sleep(millis(2)).await;
                    read_by(number % 4, &app, &operations, &monitor).await;
                });
            }
            let (store, id, mut dice) = (store.clone(), id_of(&monitor), dice.split());
            everybody.spawn(async move {
                dice.sleep(millis(2)).await;
                let ending = Ending::without_response(Stop::Cancelled, Timestamp::from_micros(1));
                store.complete(id, ending, None).await.unwrap();
            });
            everybody.join_all().await;
        }
        assert!(
            before.elapsed() < Duration::from_secs(15),
            "somebody slept through it"
        );
        assert_eq!(operations.usage().readers, 0);
    });
}

#[test]
fn no_bound_is_ever_exceeded() {
    race(|mut dice| async move {
        const RUNNING: usize = 3;
        const PLACES: u64 = 8;
        const READERS: u64 = 12;
        const STORED: u64 = 40;
        let operations = operations(|limits| {
            limits.running = RUNNING;
            limits.accepted = PLACES as usize - RUNNING;
            limits.readers = READERS as usize;
            limits.readers_per_operation = 5;
            limits.stored = STORED;
        });
        let running = Arc::new(AtomicUsize::new(0));
        let luck = Arc::new(Mutex::new(dice.split()));
        let inner = {
            let running = running.clone();
            move |_| {
                let (running, mut dice) = (running.clone(), luck.lock().unwrap().split());
                async move {
                    assert!(
                        running.fetch_add(1, Ordering::SeqCst) < RUNNING,
                        "too many run"
                    );
                    let _over = OnDrop(|| {
                        running.fetch_sub(1, Ordering::SeqCst);
                    });
                    dice.sleep(millis(2)).await;
                    Ok(ok("done"))
                }
            }
        };
        let app = app(operations.layer(), inner);
        let mut clients = JoinSet::new();
        for _ in 0..32 {
            let (app, operations, mut dice) = (app.clone(), operations.clone(), dice.split());
            clients.spawn(async move {
                let mut accepted = 0;
                for _ in 0..10 {
                    let body = trickle(b"x", Duration::from_micros(300), 1 + dice.below(3));
                    let submit = Request::post("/work").body(body).unwrap();
                    let answer = send(&app, submit).await.unwrap();
                    let usage = operations.usage();
                    assert!(
                        usage.uploading + usage.accepted + usage.running <= PLACES,
                        "{usage:?}"
                    );
                    assert!(usage.running <= RUNNING as u64, "{usage:?}");
                    assert!(usage.stored <= STORED, "{usage:?}");
                    if answer.status != 202 {
                        assert_eq!(answer.refusal(), (503, "full".into()));
                        continue;
                    }
                    accepted += 1;
                    let poll = with(request("GET", &answer.location()), "prefer", "wait=20");
                    let answer = send(&app, poll).await.unwrap();
                    assert!(operations.usage().readers <= READERS);
                    if answer.status != 202 {
                        assert_eq!(answer.text(), "done");
                    }
                }
                accepted
            });
        }
        let accepted: u64 = clients.join_all().await.into_iter().sum();
        assert!(accepted > 0);
        quiet(&operations).await;
        assert_eq!(running.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn what_is_accepted_while_a_drain_begins_has_ended_when_it_is_over() {
    race(|mut dice| async move {
        let (operations, ends) = told_of_ends(|limits| limits.running = 4);
        let luck = Arc::new(Mutex::new(dice.split()));
        let inner = move |_| {
            let mut dice = luck.lock().unwrap().split();
            async move {
                match dice.below(4) {
                    0 => pending().await,
                    _ => dice.sleep(millis(2)).await,
                }
                Ok(ok("done"))
            }
        };
        let app = app(operations.layer(), inner);
        let mut clients = JoinSet::new();
        for _ in 0..24 {
            let (app, mut dice) = (app.clone(), dice.split());
            clients.spawn(async move {
                let mut monitors = Vec::new();
                loop {
                    let answer = send(&app, post("/work")).await.unwrap();
                    match answer.status.as_u16() {
                        202 => monitors.push(answer.location()),
                        _ if answer.problem() == "full" => {}
                        _ => {
                            assert_eq!(answer.refusal(), (503, "draining".into()));
                            return monitors;
                        }
                    }
                    dice.sleep(millis(1)).await;
                }
            });
        }
        dice.sleep(millis(5)).await;
        let drained = operations.drain(millis(dice.below(10))).await;
        let told: usize = ends.lock().unwrap().len();
        for monitor in clients.join_all().await.into_iter().flatten() {
            let answer = get(&app, &monitor).await;
            assert!(seen(&answer).is_some(), "{drained:?} {answer}");
        }
        assert_eq!(ends.lock().unwrap().len(), told, "nothing ends after it");
        assert!(
            drained.finished + drained.interrupted <= told as u64,
            "{drained:?}"
        );
        let interrupted = Phase::Ended(Stop::Interrupted.outcome());
        let ends = ends.lock().unwrap();
        let count = ends.values().filter(|ends| ends[0] == interrupted).count();
        assert_eq!(drained.interrupted, count as u64);
        assert_eq!(held(operations.usage()), [0; 5]);
    });
}

#[test]
fn what_ends_is_given_back_in_one_step() {
    race(|dice| async move {
        let (operations, _) = told_of_ends(|limits| limits.running = 64);
        let luck = Arc::new(Mutex::new(dice));
        let inner = move |_| {
            let mut dice = luck.lock().unwrap().split();
            async move {
                dice.sleep(millis(2)).await;
                Ok(ok("done"))
            }
        };
        let app = app(operations.layer(), inner);
        for _ in 0..64 {
            assert_eq!(send(&app, post("/work")).await.unwrap().status, 202);
        }
        // On a thread of its own, so that it looks at any moment.
        let watch = move || {
            let late = Instant::now() + Duration::from_secs(20);
            loop {
                let usage = operations.usage();
                assert!(Instant::now() < late, "all end: {usage:?}");
                assert_eq!(usage.uploading, 0, "{usage:?}");
                if usage.accepted + usage.running == 0 {
                    return assert_eq!(held(usage), [0; 5]);
                }
            }
        };
        tokio::task::spawn_blocking(watch).await.unwrap();
    });
}
