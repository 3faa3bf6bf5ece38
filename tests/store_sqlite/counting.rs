//! Syncs and statements, counted.

use super::support::{Place, Running, accept, as_child, file_of_child, finish, renew};
use std::{fs, path::Path, process::Command, sync::Arc};
use tower_lro::{
    Store,
    store::{Forget, SqliteStore},
};

#[tokio::test]
async fn each_answer_that_something_depends_on_has_its_sync() {
    let place = Place::new();
    let store = place.open();
    let syncs = || store.work().syncs;
    let before = syncs();
    let claim = accept(&store, 2).await;
    assert_eq!(syncs(), before + 1);
    finish(&store, &claim, b"").await;
    assert_eq!(syncs(), before + 2);
    store.forget(claim.id(), Forget::Ended).await.unwrap();
    assert_eq!(syncs(), before + 3);
}

#[tokio::test]
async fn a_heartbeat_is_written_and_not_synced() {
    let place = Place::new();
    let store = place.open();
    let claim = accept(&store, 2).await;
    let before = store.work();
    for _ in 0..10 {
        assert!(renew(&store, &[&claim]).await.is_empty());
    }
    let after = store.work();
    assert_eq!(
        (after.commits, after.syncs),
        (before.commits + 10, before.syncs)
    );
}

#[tokio::test]
async fn what_finds_nothing_to_do_writes_nothing() {
    let place = Place::new();
    let store = place.open();
    accept(&store, 2).await;
    let before = store.work().commits;
    super::support::claim(&store).await;
    store.sweep(super::support::ALL).await.unwrap();
    assert_eq!(store.work().commits, before);
}

#[tokio::test]
async fn who_comes_at_once_shares_a_sync() {
    let place = Place::new();
    let store = Arc::new(place.open());
    accept(&store, 1).await;
    let before = store.work();
    // Held up, so that all wait when it goes on.
    let mut other = place.sql();
    let lock = other
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .unwrap();
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { accept(&store, 1).await })
        })
        .collect();
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    lock.rollback().unwrap();
    for task in tasks {
        task.await.unwrap();
    }
    let after = store.work();
    // The first of them went alone, or with some.
    assert!(after.syncs - before.syncs <= 2, "{after:?} {before:?}");
    assert_eq!(store.usage().operations, 65);
}

/// As the kernel saw it, where there is somebody to ask.
#[tokio::test]
async fn the_disk_is_told_before_anybody_is() {
    if let Some(path) = file_of_child() {
        return accepts_one_after_the_other(&path).await;
    }
    let place = Place::new();
    if Command::new("strace").arg("-V").output().is_err() {
        println!("strace is not installed: not checked");
        return;
    }
    let log = place.directory().join("calls");
    let mut command = Command::new("strace");
    command
        .args([
            "-f",
            "-qq",
            "-s",
            "80",
            "-e",
            "trace=fdatasync,fsync,write",
            "-o",
        ])
        .arg(&log)
        .arg(std::env::current_exe().unwrap());
    as_child(
        &mut command,
        "counting::the_disk_is_told_before_anybody_is",
        &place.path(),
    );
    let lines = Running::start(command).rest();
    if !lines.iter().any(|line| line.contains("accepted")) {
        println!("strace may not look here: not checked");
        return;
    }
    let calls = fs::read_to_string(log).unwrap();
    let (mut synced, mut answers) = (false, 0);
    for call in calls.lines() {
        // Begun in one thread, it may be told of as resumed.
        let is_sync = call.contains("fdatasync") || call.contains("fsync");
        if is_sync && call.ends_with("= 0") {
            synced = true;
        } else if call.contains("\"accepted") {
            assert!(synced, "answered before it was on disk, after {answers}");
            synced = false;
            answers += 1;
        }
    }
    assert_eq!(answers, 20);
}

async fn accepts_one_after_the_other(path: &Path) {
    let store = SqliteStore::open(path).unwrap();
    println!();
    for _ in 0..20 {
        let claim = accept(&store, 1).await;
        println!("accepted {}", claim.id());
    }
}
