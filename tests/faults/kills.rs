//! Processes die at any time, with `kill -9`, while clients go on.

use crate::{
    house::{House, Node, path},
    raw::{Answer, Ask, PATIENCE},
    seed::{Chance, is_long},
};
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Instant,
};
use tokio::task::JoinSet;

const NODES: usize = 3;
const CLIENTS: u64 = 8;

/// A job that somebody got a 202 for.
struct Told {
    echo: String,
    monitor: String,
    body: Vec<u8>,
    /// The end, where its client has waited for it.
    end: Option<Answer>,
}

/// Where the processes are now.
type Doors = Arc<Mutex<Vec<SocketAddr>>>;

struct Run {
    house: House,
    told: Vec<Told>,
    nodes: Vec<Node>,
}

fn knock(doors: &Doors, chance: &mut Chance) -> SocketAddr {
    let doors = doors.lock().unwrap();
    doors[chance.index(doors.len())]
}

/// Lets clients submit, and sometimes wait, while processes are killed and started again.
async fn run(attempts: &str, kills: u64, chance: &mut Chance) -> Run {
    let house = House::new(&["--lease", "1", "--attempts", attempts, "--running", "64"]);
    let mut nodes = Vec::new();
    for n in 0..NODES {
        nodes.push(house.node(&format!("{n}.0")).await);
    }
    let doors: Doors = Arc::new(Mutex::new(nodes.iter().map(|node| node.address).collect()));
    let enough = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for n in 0..CLIENTS {
        clients.spawn(client(n, doors.clone(), enough.clone(), chance.split()));
    }

    for generation in 1..=kills {
        tokio::time::sleep(chance.millis(20..250)).await;
        let at = chance.index(NODES);
        nodes.remove(at).kill().await;
        // Now and then all are gone.
        if chance.one_in(10) {
            for node in nodes.drain(..) {
                node.kill().await;
            }
        }
        tokio::time::sleep(chance.millis(0..100)).await;
        while nodes.len() < NODES {
            let node = house.node(&format!("{generation}.{}", nodes.len())).await;
            nodes.push(node);
        }
        *doors.lock().unwrap() = nodes.iter().map(|node| node.address).collect();
    }
    enough.store(true, SeqCst);
    let told = clients.join_all().await;
    Run {
        house,
        told: told.into_iter().flatten().collect(),
        nodes,
    }
}

async fn client(n: u64, doors: Doors, enough: Arc<AtomicBool>, mut chance: Chance) -> Vec<Told> {
    let mut told = Vec::new();
    for job in 0.. {
        if enough.load(SeqCst) {
            break;
        }
        let echo = format!("{n}-{job}");
        let pause = chance.millis(0..150).as_millis();
        let mut target = format!("/plain/jobs?ms={pause}&echo={echo}");
        let mut body = format!(r#"{{"ok":true,"echo":"{echo}"}}"#).into_bytes();
        if chance.one_in(4) {
            // Some fit into their records, some do not.
            let size = chance.below(600_000);
            target += &format!("&size={size}");
            body = (0..size).map(|at| (at % 251) as u8).collect();
        }
        let freight = if chance.one_in(8) {
            chance.below(300_000)
        } else {
            0
        };
        let ask = Ask::post(&target, vec![b'x'; freight as usize]);
        let Ok(answer) = ask.try_send(knock(&doors, &mut chance)).await else {
            tokio::time::sleep(chance.millis(1..20)).await;
            continue;
        };
        if answer.status == 503 {
            // Locked for too long by those who are starting: nothing runs.
            continue;
        }
        let mut job = Told {
            monitor: path(&answer.monitor()),
            echo,
            body,
            end: None,
        };
        if chance.one_in(3) {
            let wait = Ask::get(&job.monitor).field("Prefer", "wait=5");
            let answer = wait.try_send(knock(&doors, &mut chance)).await;
            job.end = answer
                .ok()
                .filter(|answer| answer.field("operation-outcome").is_some());
        }
        told.push(job);
    }
    told
}

/// Waits for all ends, and sees that there is one for each, the same wherever it is asked for. Gives how many were lost.
async fn settle(run: &mut Run) -> usize {
    let nodes: Vec<_> = run.nodes.iter().map(|node| node.address).collect();
    let deadline = Instant::now() + 2 * PATIENCE;
    let told = std::mem::take(&mut run.told);
    let lost = Arc::new(AtomicU64::new(0));
    let mut checks = JoinSet::new();
    // So many at a time.
    let turns = Arc::new(tokio::sync::Semaphore::new(32));
    for (n, job) in told.into_iter().enumerate() {
        let (nodes, lost, turns) = (nodes.clone(), lost.clone(), turns.clone());
        checks.spawn(async move {
            let _turn = turns.acquire().await.unwrap();
            let end = loop {
                let wait = Ask::get(&job.monitor).field("Prefer", "wait=5");
                let answer = wait.send(nodes[n % nodes.len()]).await;
                if answer.status != 202 || answer.field("operation-outcome").is_some() {
                    break answer;
                }
                assert!(
                    Instant::now() < deadline,
                    "{} never ended: {answer:?}",
                    job.echo
                );
            };
            match end.field("operation-outcome") {
                Some("succeeded") => {
                    assert_eq!(end.status, 200, "{}", job.echo);
                    assert!(end.body == job.body, "{} has not its own result", job.echo);
                }
                Some("failed") => {
                    assert_eq!(
                        (end.status, &*end.problem()),
                        (500, "urn:tower-lro:problem:lost"),
                        "{}",
                        job.echo
                    );
                    lost.fetch_add(1, SeqCst);
                }
                _ => panic!("{} is unknown: {end:?}", job.echo),
            }
            for &node in &nodes {
                let again = Ask::get(&job.monitor).send(node).await;
                assert_eq!(said(&again), said(&end), "{}", job.echo);
            }
            if let Some(before) = &job.end {
                assert_eq!(said(before), said(&end), "{} has ended twice", job.echo);
            }
        });
    }
    while let Some(checked) = checks.join_next().await {
        checked.unwrap();
    }
    lost.load(SeqCst) as usize
}

/// What does not depend on when it is asked for.
fn said(answer: &Answer) -> (u16, Option<&str>, Option<&str>, &[u8]) {
    (
        answer.status,
        answer.field("operation-outcome"),
        answer.field("job-node"),
        &answer.body,
    )
}

/// How often each attempt of each job has begun.
fn begun(house: &House) -> HashMap<(String, u64), usize> {
    let mut begun = HashMap::new();
    for event in house.witnessed() {
        if event.event == "begins" {
            *begun.entry((event.echo, event.attempt)).or_default() += 1;
        }
    }
    begun
}

fn check_file(house: &House) {
    let file = rusqlite::Connection::open(house.file()).unwrap();
    let check = file.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
    assert_eq!(check.unwrap(), "ok");
}

fn kills() -> u64 {
    if is_long() { 200 } else { 6 }
}

#[tokio::test]
async fn killed_processes_leave_no_accepted_operation_unknown_and_run_none_twice() {
    let mut chance = Chance::new("kills with one attempt");
    let mut run = run("1", kills(), &mut chance).await;
    let told = run.told.len();

    let lost = settle(&mut run).await;

    let begun = begun(&run.house);
    for ((echo, attempt), times) in &begun {
        assert_eq!((*attempt, *times), (1, 1), "{echo} ran again");
    }
    check_file(&run.house);
    println!(
        "{} kills: {told} accepted, {} begun, {lost} lost",
        kills(),
        begun.len()
    );
    assert!(told > 0 && lost < told);
}

#[tokio::test]
async fn killed_processes_are_succeeded_where_attempts_remain() {
    let mut chance = Chance::new("kills with many attempts");
    let mut run = run("1000", kills(), &mut chance).await;
    let told = run.told.len();

    assert_eq!(settle(&mut run).await, 0, "lost though attempts remained");

    let begun = begun(&run.house);
    for ((echo, attempt), times) in &begun {
        assert_eq!(*times, 1, "attempt {attempt} of {echo} began twice");
    }
    check_file(&run.house);
    let again = begun.keys().filter(|(_, attempt)| *attempt > 1).count();
    println!(
        "{} kills: {told} accepted, {} begun, {again} again",
        kills(),
        begun.len()
    );
    assert!(again > 0, "nothing was taken over");
}

#[tokio::test]
async fn two_processes_that_race_for_claims_run_each_operation_once() {
    const JOBS: usize = 100;
    let house = House::new(&["--lease", "5"]);
    let web = house.node_with("web", &["--accept-only"]).await;
    let mut monitors = Vec::new();
    for n in 0..JOBS {
        monitors.push(web.submit(&format!("ms=20&echo={n}")).await);
    }
    assert_eq!(house.witnessed(), [], "run by a process that only accepts");

    // Few at a time, so that neither takes all.
    let few = ["--running", "4"];
    let (one, other) = tokio::join!(house.node_with("one", &few), house.node_with("other", &few));

    for (n, monitor) in monitors.iter().enumerate() {
        let end = web.outcome(monitor).await;
        assert_eq!(end.json()["echo"], n.to_string());
    }
    let events = house.witnessed();
    for (n, events) in (0..JOBS).map(|n| {
        let of = n.to_string();
        (n, events.iter().filter(move |event| event.echo == of))
    }) {
        let events: Vec<_> = events.map(|event| (&*event.event, event.attempt)).collect();
        assert_eq!(events, [("begins", 1), ("ends", 1)], "of {n}");
    }
    let by = |name| events.iter().filter(|event| event.node == name).count() / 2;
    println!("one ran {}, the other {}", by("one"), by("other"));
    assert!(by("one") > 0 && by("other") > 0, "there was no race");
    drop((one, other));
}
