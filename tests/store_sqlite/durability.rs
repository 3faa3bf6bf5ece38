//! What is on the disk when, by whatever clock.

use super::support::{
    KEEP_FOR, PATIENCE, Place, Running, accept, body, child, file_of_child, find, finish, phase,
    totals_are_true,
};
use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tower_lro::{
    OperationId, Store,
    record::{Outcome, Phase},
    store::{Clock, SqliteOptions, SqliteStore},
};

#[tokio::test]
async fn what_was_kept_is_there_when_it_is_opened_again() {
    let place = Place::new();
    let (pending, ended, usage) = {
        let store = place.open();
        let pending = accept(&store, 1).await.id();
        let claim = accept(&store, 1).await;
        finish(&store, &claim, b"some text").await;
        (pending, claim.id(), store.usage())
    };
    let store = place.open();
    assert_eq!(store.usage(), usage);
    assert_eq!(phase(&store, pending).await, Some(Phase::Accepted));
    assert_eq!(body(&find(&store, ended).await.unwrap()), "some text");
}

/// Rounds of what is killed at random; more behind a variable.
fn rounds() -> u32 {
    let asked = std::env::var("TOWER_LRO_KILLS").ok();
    asked.and_then(|rounds| rounds.parse().ok()).unwrap_or(5)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_was_answered_before_a_kill_is_there() {
    if let Some(path) = file_of_child() {
        return accepts_for_ever(&path).await;
    }
    let place = Place::new();
    let mut accepted = Vec::new();
    let mut ended = HashMap::new();
    let (rounds, seed) = (rounds(), u64::from(std::process::id()));
    println!("seed {seed}");
    for round in 0..rounds {
        let mut running = Running::start(child(
            "durability::whatever_was_answered_before_a_kill_is_there",
            &place.path(),
        ));
        // Somewhere in what it does, each time elsewhere.
        let lines = 20
            + seed
                .wrapping_mul(2_654_435_761)
                .wrapping_add(u64::from(round) * 977)
                % 300;
        let mut heard: Vec<_> = (0..lines).map(|_| running.hear("did")).collect();
        running.kill();
        // What it said before it was dead, it had been answered.
        heard.extend(std::iter::from_fn(|| running.try_hear("did")));
        for said in heard {
            let words: Vec<_> = said.split(' ').collect();
            match words[..] {
                ["accept", id] => accepted.push(id.parse::<OperationId>().unwrap()),
                ["end", id, text] => {
                    ended.insert(id.parse::<OperationId>().unwrap(), text.to_owned());
                }
                // Cut off by the kill.
                _ => {}
            }
        }
        let sql = place.sql();
        let whole: String = sql
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(whole, "ok");
        let store = place.open();
        for id in &accepted {
            assert!(find(&store, *id).await.is_some(), "{id} was accepted");
        }
        for (id, text) in &ended {
            let record = find(&store, *id).await.unwrap();
            assert_eq!(record.phase(), Phase::Ended(Outcome::Succeeded));
            assert_eq!(body(&record), text.as_bytes());
        }
        totals_are_true(&sql);
    }
    assert!(
        accepted.len() > 20 && ended.len() > 10,
        "{} {}",
        accepted.len(),
        ended.len()
    );
}

async fn accepts_for_ever(path: &Path) {
    let store = Arc::new(SqliteStore::open(path).unwrap());
    let tasks = (0..8).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            for count in 0_u64.. {
                let claim = accept(&store, 1).await;
                println!("did accept {}", claim.id());
                let text = format!("{number}-{count}");
                finish(&store, &claim, text.as_bytes()).await;
                println!("did end {} {text}", claim.id());
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        let _ = tokio::time::timeout(PATIENCE, task).await;
    }
}

fn at(wall: SystemTime) -> (Clock, SqliteOptions) {
    let clock = Clock::manual(wall);
    (clock.clone(), SqliteOptions::default().clock(clock))
}

#[tokio::test]
async fn time_goes_on_while_nobody_has_it_open() {
    let place = Place::new();
    let begin = SystemTime::now();
    let id = {
        let store = place.open_with(at(begin).1);
        let claim = accept(&store, 1).await;
        finish(&store, &claim, b"some text").await;
        claim.id()
    };
    let nearly = place.open_with(at(begin + KEEP_FOR - Duration::from_secs(1)).1);
    assert_eq!(
        phase(&nearly, id).await,
        Some(Phase::Ended(Outcome::Succeeded))
    );
    drop(nearly);
    let over = place.open_with(at(begin + KEEP_FOR).1);
    assert_eq!(phase(&over, id).await, None);
}

#[tokio::test]
async fn a_wall_clock_that_is_set_back_while_nobody_has_it_open_revives_nothing() {
    let place = Place::new();
    let begin = SystemTime::now();
    let (expired, kept) = {
        let (clock, options) = at(begin);
        let store = place.open_with(options);
        let first = accept(&store, 1).await;
        finish(&store, &first, b"").await;
        clock.advance(KEEP_FOR);
        let second = accept(&store, 1).await;
        finish(&store, &second, b"").await;
        (first.id(), second.id())
    };
    let (clock, options) = at(UNIX_EPOCH);
    let store = place.open_with(options);
    assert_eq!(phase(&store, expired).await, None);
    assert!(phase(&store, kept).await.is_some());
    clock.advance(KEEP_FOR);
    assert_eq!(phase(&store, kept).await, None);
}

#[tokio::test]
async fn a_wall_clock_that_is_set_while_it_is_open_decides_nothing_later() {
    let place = Place::new();
    let begin = SystemTime::now();
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    let id = {
        let (clock, options) = at(begin);
        let store = place.open_with(options);
        let claim = accept(&store, 1).await;
        finish(&store, &claim, b"").await;
        clock.set_wall(begin + year);
        accept(&store, 1).await;
        claim.id()
    };
    let store = place.open_with(at(begin + year).1);
    assert!(phase(&store, id).await.is_some());
}

#[tokio::test]
async fn what_is_deleted_makes_the_file_smaller() {
    let place = Place::new();
    let (clock, options) = at(SystemTime::now());
    let store = Arc::new(place.open_with(options));
    let text = vec![b'x'; 20_000];
    for _ in 0..500 {
        let claim = accept(&store, 1).await;
        finish(&store, &claim, &text).await;
    }
    let sql = place.sql();
    let pages = || {
        sql.query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    let before = pages();
    clock.advance(KEEP_FOR);
    for _ in 0..20 {
        store.sweep(super::support::ALL).await.unwrap();
    }
    assert!(pages() < before / 2, "{} of {before}", pages());
}

#[tokio::test]
async fn the_log_stays_bounded_while_there_is_always_somebody_who_reads() {
    const LOG: u64 = 64 << 20;
    let place = Place::new();
    let store = place.open_with(SqliteOptions::default().inline_limit(1 << 20));
    let enough = Arc::new(AtomicBool::new(false));
    let readers = [place.sql(), place.sql()];
    let reading = std::thread::spawn({
        let enough = enough.clone();
        move || {
            let turns = readers
                .iter()
                .zip(readers.iter().skip(1).chain(&readers))
                .cycle();
            for (reader, before) in turns.take_while(|_| !enough.load(SeqCst)) {
                let begin = "BEGIN; SELECT * FROM meta";
                reader.execute_batch(begin).unwrap();
                if !before.is_autocommit() {
                    before.execute_batch("ROLLBACK").unwrap();
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    });
    let text = vec![b'x'; 1 << 20];
    let mut log = 0;
    for _ in 0..200 {
        let claim = accept(&store, 1).await;
        finish(&store, &claim, &text).await;
        let mut path = place.path().into_os_string();
        path.push("-wal");
        log = log.max(std::fs::metadata(path).unwrap().len());
    }
    enough.store(true, SeqCst);
    reading.join().unwrap();
    // A slow machine may miss its readers once: then the log is begun anew when it has grown as much again.
    assert!(log < LOG * 5 / 2, "{log} bytes");
}
