//! What this crate costs, beside static answers and beside a table written by hand, in one interleaved run.
//!
//! See `benches/README.md`.

mod support;

use bytes::Bytes;
use http::{Response, uri::PathAndQuery};
use http_body::Body;
use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use support::{
    Bare, Call, Case, Contestant, Handrolled, Work,
    case::measured,
    deferred,
    harness::{Rounds, Turn, heading, nanos, per, row, timed, times},
    long_poll, read, runtime, submit, submit_all,
};
use tokio::{runtime::Runtime, task::JoinSet};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_lro::{Head, Operations};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--once") {
        return once(&arguments[at + 1..]);
    }
    // `cargo test --benches` only wants to know that it works.
    let measures = arguments.iter().any(|argument| argument == "--bench");
    if measures && std::env::var_os(TRIM).is_none() {
        return again_without_trimming(&arguments);
    }
    let wanted: Vec<_> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(*part));
    let rounds = if measures { 301 } else { 1 };
    if wants("cases") {
        cases(rounds);
    }
    if wants("stored") {
        stored(rounds, &if measures { sizes() } else { vec![COUNT] });
    }
    if wants("readers") {
        readers(if measures { 31 } else { 1 });
    }
    if measures && wants("instructions") {
        instructions();
    }
}

const TRIM: &str = "MALLOC_TRIM_THRESHOLD_";

/// glibc gives memory back when much of it is free, and gets it anew, page by page, in the next turn: now and then that
/// is more than all the rest, and which contestant it hits is chance. This can be told to a process only at its start.
fn again_without_trimming(arguments: &[String]) {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(arguments)
        .env(TRIM, "4000000000")
        .env("MALLOC_MMAP_THRESHOLD_", "4000000000")
        .status();
    std::process::exit(status.unwrap().code().unwrap_or(1));
}

fn turn<'a, C: Contestant>(
    runtime: &'a Runtime,
    case: Case,
    mut contestant: C,
    count: usize,
) -> Turn<'a> {
    let looked_at = case.prepare(runtime, &mut contestant);
    Box::new(move || {
        per(
            case.run(runtime, &mut contestant, &looked_at, count, timed),
            count,
        )
    })
}

const COUNT: usize = 256;

fn cases(rounds: usize) {
    let runtime = runtime();
    heading(
        "cases",
        &["bare", "handrolled", "tower-lro", "/ bare", "/ handrolled"],
    );
    pass_through(&runtime, rounds);
    for case in Case::ALL {
        let taken = Rounds::run(
            rounds,
            &mut [
                turn(&runtime, case, Bare::default(), COUNT),
                turn(&runtime, case, Handrolled::default(), COUNT),
                turn(&runtime, case, deferred(), COUNT),
            ],
        );
        row(
            case.name(),
            &[
                nanos(taken.median(0)),
                nanos(taken.median(1)),
                nanos(taken.median(2)),
                times(taken.ratio(2, 0)),
                times(taken.ratio(2, 1)),
            ],
        );
    }
}

/// The layer where it does nothing.
fn pass_through(runtime: &Runtime, rounds: usize) {
    let (bare, passing) = passing();
    let taken = Rounds::run(
        rounds,
        &mut [
            Box::new(|| pass(runtime, &bare, COUNT)),
            Box::new(|| pass(runtime, &passing, COUNT)),
        ],
    );
    row(
        "pass-through",
        &[
            nanos(taken.median(0)),
            "-".into(),
            nanos(taken.median(1)),
            times(taken.ratio(1, 0)),
            "-".into(),
        ],
    );
}

/// A service, and the same in a layer that lets everything pass.
fn passing() -> (impl Plain, impl Plain) {
    let work = Work::default();
    let inner = service_fn(move |request| {
        let answer = work.clone().call(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let operations = Operations::builder().build().unwrap();
    let layer = operations.layer().when(|_: Head<'_>| false);
    (inner.clone(), layer.layer(inner))
}

fn pass(runtime: &Runtime, service: &impl Plain, count: usize) -> f64 {
    let requests: Vec<_> = (0..count).map(|_| submit("/work")).collect();
    let start = Instant::now();
    measured(runtime, async {
        for request in requests {
            assert_ne!(service.answer(request).await, 0);
        }
    });
    per(start.elapsed(), count)
}

/// A service that is called once and read.
trait Plain {
    async fn answer(&self, request: Call) -> usize;
}

impl<S, B> Plain for S
where
    S: Service<Call, Response = Response<B>, Error = Infallible> + Clone,
    B: Body<Data = Bytes, Error: std::fmt::Debug> + Unpin,
{
    async fn answer(&self, request: Call) -> usize {
        let response = self.clone().oneshot(request).await;
        read(response.unwrap_or_else(|never| match never {})).await
    }
}

/// How many are stored: `STORED=1000,1000000` for others.
fn sizes() -> Vec<usize> {
    let sizes = std::env::var("STORED").unwrap_or_else(|_| "1000,10000,100000".into());
    let number = |size: &str| size.trim().parse().expect("STORED is a list of numbers");
    sizes.split(',').map(number).collect()
}

/// The same with much stored: all sizes take turns as well.
fn stored(rounds: usize, sizes: &[usize]) {
    let runtime = runtime();
    let stages: Vec<_> = sizes
        .iter()
        .map(|&size| {
            (
                Stage::new(&runtime, Handrolled::default(), size),
                Stage::new(&runtime, deferred(), size),
            )
        })
        .collect();
    for case in [Case::Accept, Case::Finish, Case::Poll, Case::Replay] {
        let mut turns: Vec<Turn<'_>> = Vec::new();
        for (by_hand, ours) in &stages {
            turns.push(Box::new(|| by_hand.run(&runtime, case)));
            turns.push(Box::new(|| ours.run(&runtime, case)));
        }
        let taken = Rounds::run(rounds, &mut turns);
        heading(
            &format!("{}, with stored", case.name()),
            &[
                "handrolled",
                "growth",
                "tower-lro",
                "growth",
                "/ handrolled",
            ],
        );
        for (at, size) in sizes.iter().enumerate() {
            let (by_hand, ours) = (2 * at, 2 * at + 1);
            row(
                &size.to_string(),
                &[
                    nanos(taken.median(by_hand)),
                    times(taken.ratio(by_hand, 0)),
                    nanos(taken.median(ours)),
                    times(taken.ratio(ours, 1)),
                    times(taken.ratio(ours, by_hand)),
                ],
            );
        }
    }
}

/// A contestant that has much stored already.
struct Stage<C> {
    contestant: RefCell<C>,
    /// Ended ones, in an order that no cache foresees.
    ended: Vec<PathAndQuery>,
    pending: Vec<PathAndQuery>,
    at: Cell<usize>,
}

impl<C: Contestant> Stage<C> {
    fn new(runtime: &Runtime, mut contestant: C, size: usize) -> Self {
        let ended = runtime.block_on(async {
            let ended = submit_all(&mut contestant, "/small", size).await;
            contestant.work().until_done(size).await;
            ended
        });
        let pending = Case::Poll.prepare(runtime, &mut contestant);
        Self {
            contestant: RefCell::new(contestant),
            ended,
            pending,
            at: Cell::new(0),
        }
    }

    fn run(&self, runtime: &Runtime, case: Case) -> f64 {
        let mut contestant = self.contestant.borrow_mut();
        let looked_at = if case == Case::Replay {
            // Ids are random, so neighbours here are none in the table. Every run looks at others.
            let from = self.at.get() % (self.ended.len() - COUNT + 1);
            self.at.set(from + COUNT);
            &self.ended[from..from + COUNT]
        } else {
            &self.pending
        };
        let taken = case.run(runtime, &mut *contestant, looked_at, COUNT, timed);
        per(taken, COUNT)
    }
}

/// Many that wait for one operation: from their requests to the last one's answer.
fn readers(rounds: usize) {
    let runtime = runtime();
    heading(
        "readers that wait, each",
        &["bare", "handrolled", "tower-lro", "/ bare", "/ handrolled"],
    );
    let (mut bare, mut by_hand, mut ours) = (Bare::default(), Handrolled::default(), deferred());
    for count in [1, 10, 100, 1_000, 10_000] {
        // As many in all for each, so that few readers are not measured by few.
        let times_over = 1_000_usize.div_ceil(count).min(100);
        let taken = Rounds::run(
            rounds,
            &mut [
                Box::new(|| wait(&runtime, &mut bare, count, times_over)),
                Box::new(|| wait(&runtime, &mut by_hand, count, times_over)),
                Box::new(|| wait(&runtime, &mut ours, count, times_over)),
            ],
        );
        row(
            &count.to_string(),
            &[
                nanos(taken.median(0)),
                nanos(taken.median(1)),
                nanos(taken.median(2)),
                times(taken.ratio(2, 0)),
                times(taken.ratio(2, 1)),
            ],
        );
    }
}

fn wait<C: Contestant>(
    runtime: &Runtime,
    contestant: &mut C,
    readers: usize,
    times_over: usize,
) -> f64 {
    let mut taken = Duration::ZERO;
    for _ in 0..times_over {
        let looked_at = runtime.block_on(async {
            let begun = contestant.work().begun();
            let made = submit_all(contestant, "/slow", 1).await;
            if C::RUNS {
                contestant.work().until_begun(begun + 1).await;
            }
            made
        });
        let start = Instant::now();
        runtime.block_on(async {
            let parked = Arc::new(AtomicUsize::new(0));
            let mut tasks = JoinSet::new();
            for _ in 0..readers {
                let (answer, parked) = (contestant.call(long_poll(&looked_at[0])), parked.clone());
                tasks.spawn(async move {
                    parked.fetch_add(1, Ordering::Relaxed);
                    read(answer.await).await
                });
            }
            // A task that has been polled has been polled to where it waits.
            while parked.load(Ordering::Relaxed) < readers {
                tokio::task::yield_now().await;
            }
            contestant.release();
            while let Some(read) = tasks.join_next().await {
                assert_eq!(read.unwrap(), 1024);
            }
        });
        taken += start.elapsed();
        runtime.block_on(contestant.forget(&looked_at));
    }
    per(taken, readers * times_over)
}

/// Runs itself under callgrind, which counts exactly.
fn instructions() {
    const COUNT: &str = "1000";
    let counted = |case: &str, contestant: &str| -> Option<String> {
        if (case, contestant) == ("pass-through", "handrolled") {
            return None;
        }
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg("--toggle-collect=*measured*")
            .arg(std::env::current_exe().ok()?)
            .args(["--once", case, contestant, COUNT])
            .output()
            .ok()?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let line = told.lines().find(|line| line.contains("Collected :"))?;
        let total: u64 = line.rsplit(' ').next()?.parse().ok()?;
        Some((total / (1000 + WARM as u64)).to_string())
    };
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("\nNo valgrind here: instructions are not counted.");
        return;
    }
    heading("instructions", &["bare", "handrolled", "tower-lro"]);
    let cases = Case::ALL.map(Case::name);
    for case in ["pass-through"].iter().chain(&cases) {
        let columns = ["bare", "handrolled", "tower-lro"]
            .map(|contestant| counted(case, contestant).unwrap_or_else(|| "-".into()));
        row(case, &columns);
    }
}

const WARM: usize = 32;

/// `--once CASE CONTESTANT COUNT`: for profilers. What counts is below the frame `measured`.
fn once(arguments: &[String]) {
    let [case, contestant, count] = arguments else {
        panic!("--once CASE CONTESTANT COUNT");
    };
    let runtime = runtime();
    let count = count.parse().expect("COUNT is a number");
    if case == "pass-through" {
        let (bare, passing) = passing();
        for count in [WARM, count] {
            match contestant.as_str() {
                "bare" => pass(&runtime, &bare, count),
                "tower-lro" => pass(&runtime, &passing, count),
                _ => panic!("nothing passes through `{contestant}`"),
            };
        }
        return;
    }
    let case = Case::named(case).expect("CASE is one of those that the table names");
    match contestant.as_str() {
        "bare" => repeat(&runtime, case, Bare::default(), count),
        "handrolled" => repeat(&runtime, case, Handrolled::default(), count),
        "tower-lro" => repeat(&runtime, case, deferred(), count),
        _ => panic!("CONTESTANT is bare, handrolled or tower-lro"),
    }
}

fn repeat<C: Contestant>(runtime: &Runtime, case: Case, mut contestant: C, count: usize) {
    let looked_at = case.prepare(runtime, &mut contestant);
    for count in [WARM, count] {
        case.run(runtime, &mut contestant, &looked_at, count, timed);
    }
}
